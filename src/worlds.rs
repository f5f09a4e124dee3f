//! Tests in processes and network namespaces of their own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

/// Run `test` in a forked process, in a new network namespace; a user who isn't root gets a
/// user namespace with it. Where that or the TUN device is closed to this user the test fails,
/// and says which command opens it: a test that did not run has not passed.
pub fn in_namespace(test: impl FnOnce() + UnwindSafe) {
    prepare_report();
    let (mut reader, writer) = pipe();
    let child = fork(move || {
        REPORT.store(writer.as_raw_fd(), Ordering::Relaxed);
        match enter() {
            Ok(()) => test(),
            Err(why) => {
                let _ = write!(&writer, "not run: {why}");
                // SAFETY: ends the child without running the parent's exit handlers.
                unsafe { libc::_exit(2) }
            }
        }
    });
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    let status = wait(child);
    assert_eq!(status, 0, "{said}");
    if !said.is_empty() {
        eprintln!("{said}");
    }
}

/// Run `body` in a forked process; its id. A panic is exit status 1.
pub fn fork(body: impl FnOnce()) -> i32 {
    prepare_report();
    // SAFETY: the child takes no lock that another thread may have held, other than malloc's,
    // which glibc resets, and the panic hook's, which is not written to any more.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let done = catch_unwind(AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        child => child,
    }
}

/// Wait for a child's end; its exit status, or minus the signal that killed it.
pub fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        -libc::WTERMSIG(status)
    }
}

/// Give up every capability, but not the uid.
pub fn drop_capabilities() {
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
    // SAFETY: the kernel's structures for version 3; this process's thread alone. Without
    // SECBIT_NOROOT, exec would give root its capabilities back.
    let done = unsafe {
        let no_root = 1 << 0 | 1 << 1;
        libc::prctl(libc::PR_SET_SECUREBITS, no_root, 0, 0, 0);
        libc::syscall(libc::SYS_capset, &header, &none)
    };
    assert_eq!(done, 0);
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
            "no network namespace can be made: {why}; {}",
            crate::sys::remedy::namespaces()
        ));
    }
    if uid != 0 {
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(|e| e.to_string())?;
    }
    match crate::sys::io::open(c"/dev/net/tun", libc::O_RDWR) {
        Ok(_) => Ok(()),
        Err(e) => Err(crate::link::node_error(e).to_string()),
    }
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    assert_eq!(
        unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) },
        0
    );
    // SAFETY: both are open and nobody else's.
    unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) }
}

/// Where panics of this process are told, if anywhere.
static REPORT: AtomicI32 = AtomicI32::new(-1);

/// Tell panics to `REPORT`. The hook itself is set before any fork: its lock may be held by
/// another thread at that moment, and the child would wait for it for ever.
fn prepare_report() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let report = REPORT.load(Ordering::Relaxed);
            if report < 0 {
                return before(info);
            }
            let _ = crate::sys::io::write(report, format!("{info}\n").as_bytes());
        }));
    });
}
