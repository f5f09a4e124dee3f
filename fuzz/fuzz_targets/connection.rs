//! A host with connections, a hostile peer, and a program that calls in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| utcp_fuzz::connection::run(data));
