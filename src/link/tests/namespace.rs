//! Run a test in a process and a network namespace of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;

/// Run `test` in a forked process, in a new network namespace; a user who isn't root gets a
/// user namespace with it. Where neither is allowed the test is passed over, and says so.
pub(super) fn in_namespace(test: impl FnOnce() + std::panic::UnwindSafe) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    assert_eq!(
        unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) },
        0
    );
    // SAFETY: both are open and nobody else's.
    let (mut reader, mut writer) =
        unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) };
    // SAFETY: the child prints nothing and takes no lock that another thread may have held,
    // other than malloc's, which glibc resets.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let report = writer.try_clone().unwrap();
            std::panic::set_hook(Box::new(move |info| {
                let _ = write!(&report, "{info}");
            }));
            let done = match enter() {
                Ok(()) => std::panic::catch_unwind(test).is_ok(),
                Err(why) => {
                    let _ = write!(writer, "skipped: {why}");
                    true
                }
            };
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        child => {
            drop(writer);
            let mut said = String::new();
            reader.read_to_string(&mut said).unwrap();
            let mut status = 0;
            // SAFETY: `child` is ours, `status` is writable.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "{said}");
            if !said.is_empty() {
                eprintln!("{said}");
            }
        }
    }
}

fn enter() -> Result<(), String> {
    // SAFETY: these take no pointers; the process has one thread.
    let (uid, done) = unsafe {
        let uid = libc::getuid();
        let flags = if uid == 0 { 0 } else { libc::CLONE_NEWUSER };
        (uid, libc::unshare(flags | libc::CLONE_NEWNET))
    };
    if done != 0 {
        let why = std::io::Error::last_os_error();
        return Err(format!(
            "network namespaces need root, or `sudo sysctl kernel.unprivileged_userns_clone=1`: {why}"
        ));
    }
    if uid != 0 {
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(|e| e.to_string())?;
    }
    match crate::sys::io::open(c"/dev/net/tun", libc::O_RDWR) {
        Ok(_) => Ok(()),
        Err(e) => Err(crate::link::tun::node_error(e).to_string()),
    }
}

/// Give up every capability, but not the uid.
pub(super) fn drop_capabilities() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let none = [0u32; 6];
    // SAFETY: version 3 reads two sets of three words.
    let done = unsafe { libc::syscall(libc::SYS_capset, &header, none.as_ptr()) };
    assert_eq!(done, 0);
}
