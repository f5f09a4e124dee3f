//! Pieces of packets, beside a simple model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| utcp_fuzz::fragments::run(data));
