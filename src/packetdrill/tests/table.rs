//! The table of functions that packetdrill gets, as a C program sees it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What `host.c` prints.
const SEEN: &str = "\
the peer's SYN: S., 0 bytes, after 0 ms
nothing comes: S., 0 bytes, after 1000 ms
nothing comes: S., 0 bytes, after 2000 ms
state 1, window 1
three seconds of sleep take 3000 ms
write: 5
written: P., 5 bytes, after 3000 ms
the peer's data: ., 0 bytes, after 0 ms
poll: 1 5
unread: 8, read: 8 hi there
read: -1 EAGAIN
closed: F., 0 bytes, after 0 ms
the peer's FIN: ., 0 bytes, after 0 ms
";

fn host() -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packetdrill-host");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host.c");
    let built = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o"])
        .args([&program, &source])
        .arg("-ldl")
        .output()
        .expect("cc, of the package gcc");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    program
}

#[test]
fn a_handshake_in_virtual_time() {
    let this = std::env::current_exe().expect("this test's own file");
    // Beside this test, where cargo puts what it builds for tests.
    let library = this.with_file_name("libutcp_packetdrill.so");
    let got = Command::new(host())
        .arg(library)
        .output()
        .expect("the host");
    let said = String::from_utf8_lossy(&got.stdout);
    assert_eq!(said, SEEN, "{}", String::from_utf8_lossy(&got.stderr));
    assert!(got.status.success());
}
