//! A listener and its hostile peers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| utcp_fuzz::listener::run(data));
