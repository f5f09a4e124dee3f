//! The fuzz targets' work on the committed inputs and on random ones, without a fuzzer.

#[path = "../fuzz/src/connection.rs"]
mod connection;
#[path = "../fuzz/src/fragments.rs"]
mod fragments;
#[path = "../fuzz/src/input.rs"]
mod input;
#[path = "../fuzz/src/link.rs"]
mod link;
#[path = "../fuzz/src/listener.rs"]
mod listener;
#[path = "../fuzz/src/options.rs"]
mod options;
#[path = "../fuzz/src/rig.rs"]
mod rig;
#[path = "../fuzz/src/segment.rs"]
mod segment;

use std::path::Path;

/// Run `target` on every committed input, then on `random` others.
fn try_all(target: fn(&[u8]), corpus: &str, random: u64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus");
    let mut count = 0;
    for entry in std::fs::read_dir(folder.join(corpus)).expect("the folder of inputs") {
        let path = entry.expect("an input").path();
        let input = std::fs::read(&path).expect("an input");
        let ran = std::panic::catch_unwind(|| target(&input));
        assert!(ran.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "no inputs for {corpus}");
    let mut state = 88_172_645_463_325_252u64;
    for n in 0..random {
        let len = 20 + n as usize % 600;
        let input: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(len)
        .collect();
        let ran = std::panic::catch_unwind(|| target(&input));
        assert!(ran.is_ok(), "random input {n}: {input:?}");
    }
}

#[test]
fn segments() {
    try_all(segment::run, "segment", 50_000);
}

#[test]
fn connections() {
    try_all(connection::run, "connection", 3000);
}

#[test]
fn options() {
    try_all(options::run, "options", 50_000);
}

#[test]
fn fragments() {
    try_all(fragments::run, "fragments", 1000);
}

#[test]
fn listeners() {
    try_all(listener::run, "listener", 800);
}

#[test]
fn links() {
    try_all(link::run, "link", 500);
}
