//! Two stacks, and a hostile link between them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| utcp_fuzz::link::run(data));
