//! Any bytes as an IP packet.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| utcp_fuzz::segment::run(data));
