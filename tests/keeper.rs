//! The library itself as a keeper: executed, serving, and gone. (The keeper's own tests, which
//! use their test program for it, are in `src/keeper/tests.rs`.)

use std::path::Path;
use std::time::{Duration, Instant};
use utcp_stack::config::Config;
use utcp_stack::keeper::attach;

/// Run `test` in a process and a network namespace of its own.
fn in_namespace(test: fn()) {
    // SAFETY: the child takes no lock that another thread may have held, other than malloc's,
    // which glibc resets.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: no pointers.
            let entered = unsafe {
                let user = if libc::getuid() == 0 {
                    0
                } else {
                    libc::CLONE_NEWUSER
                };
                libc::unshare(user | libc::CLONE_NEWNET) == 0
            };
            let status = match entered {
                false => 77,
                true => i32::from(std::panic::catch_unwind(test).is_err()),
            };
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(status) }
        }
        child => {
            assert!(child > 0);
            let mut status = 0;
            // SAFETY: our own child; a place for its status.
            unsafe { libc::waitpid(child, &mut status, 0) };
            assert_ne!(
                libc::WEXITSTATUS(status),
                77,
                "not run: no network namespace can be made; {}",
                utcp_stack::sys::remedy::namespaces()
            );
            assert_eq!(status, 0);
        }
    }
}

fn is_up(device: &str) -> bool {
    std::fs::read_to_string("/proc/self/net/dev")
        .unwrap()
        .contains(device)
}

#[test]
fn the_library_is_its_own_keeper() {
    in_namespace(|| {
        let started = Instant::now();
        let attachment = attach(&Config::default()).unwrap();
        println!("attached after {:?}", started.elapsed());
        let arena = &attachment.arena;
        // SAFETY: an atomic, reached by its own pointer.
        let pid = unsafe { &(*arena.as_ptr()).open.keeper_pid };
        let pid = pid.load(std::sync::atomic::Ordering::Relaxed);
        let proc = |what| Path::new("/proc").join(pid.to_string()).join(what);
        let exe = std::fs::read_link(proc("exe")).unwrap();
        assert_eq!(exe.file_name().unwrap(), "libutcp.so");
        assert_eq!(
            std::fs::read(proc("cmdline")).unwrap(),
            b"utcp-keeper\0default\0"
        );
        assert_eq!(std::fs::read(proc("comm")).unwrap(), b"utcp-keeper\n");
        assert!(attachment.conn.is_alive());
        if attachment.tun.is_some() {
            assert!(is_up("utcp0:"));
        }
        // Another process finds the same stack.
        let again = attach(&Config::default()).unwrap();
        let nonce = attachment.arena.lock().nonce;
        assert_eq!(again.arena.lock().nonce, nonce);
        drop((attachment, again));
        let end = Instant::now() + Duration::from_secs(30);
        // A zombie has no image any more.
        while std::fs::read_link(proc("exe")).is_ok() {
            assert!(Instant::now() < end, "the keeper does not leave");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(!is_up("utcp0:"));
    });
}

#[test]
fn run_by_hand_it_says_what_it_is() {
    let exe = std::env::current_exe().unwrap();
    let beside = exe.ancestors().skip(1).take(2);
    let library = beside
        .map(|folder| folder.join("libutcp.so"))
        .find(|path| path.exists())
        .expect("libutcp.so is built with this test");
    let output = std::process::Command::new(library).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("LD_PRELOAD"));
}
