//! TCP and IP options, beside another implementation.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| utcp_fuzz::options::run(data));
