//! Processes and network namespaces for tests.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// A network namespace, from within.
pub struct World {
    namespace: std::path::PathBuf,
}

impl World {
    /// Run `test` in a process and a network namespace of its own. A user who isn't root gets a
    /// user namespace too; where that is not allowed the test is passed over, and says so.
    pub fn run(test: impl FnOnce(&World) + UnwindSafe) {
        prepare_report();
        let (mut reader, writer) = pipe();
        let child = fork(move || {
            REPORT.store(writer.as_raw_fd(), Ordering::Relaxed);
            if let Err(why) = enter() {
                let _ = write!(&writer, "skipped: {why}");
                return;
            }
            let namespace = std::fs::read_link("/proc/self/ns/net").unwrap();
            test(&World { namespace });
        });
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        let status = child.wait();
        assert_eq!(status, 0, "{said}");
        if !said.is_empty() {
            eprintln!("{said}");
        }
    }

    /// The process ids of the keepers of this namespace.
    pub fn keepers(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").unwrap();
        processes
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
                let comm = std::fs::read(entry.path().join("comm")).ok()?;
                let namespace = std::fs::read_link(entry.path().join("ns/net")).ok()?;
                (comm == b"utcp-keeper\n" && namespace == self.namespace).then_some(pid)
            })
            .collect()
    }

    /// Whether there is a network device of that name.
    pub fn device_exists(&self, name: &str) -> bool {
        crate::link::config::describe(name).is_ok()
    }

    /// The namespace's AF_UNIX sockets.
    pub fn names(&self) -> String {
        std::fs::read_to_string("/proc/self/net/unix").unwrap()
    }
}

/// A process that a test started; killed when forgotten.
pub struct Child(i32);

impl Child {
    /// Run `body` in a forked process.
    pub fn fork(body: impl FnOnce()) -> Child {
        fork(body)
    }

    /// Wait for its end; its exit status, or minus the signal that killed it.
    pub fn wait(self) -> i32 {
        let status = wait(self.0);
        std::mem::forget(self);
        status
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.0
    }

    /// SIGKILL it, and wait.
    pub fn kill(self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    /// Send it a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: our own child.
        unsafe { libc::kill(self.0, signal) };
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        wait(self.0);
    }
}

/// Wait until `done`; fail after a while.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(8);
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
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
    unsafe {
        let no_root = 1 << 0 | 1 << 1;
        libc::prctl(libc::PR_SET_SECUREBITS, no_root, 0, 0, 0);
        libc::syscall(libc::SYS_capset, &header, &none);
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
    match File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("/dev/net/tun: {e}")),
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
/// another thread at that moment.
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

fn fork(body: impl FnOnce()) -> Child {
    // SAFETY: the child takes no lock that another thread may have held, other than malloc's,
    // which glibc resets.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            let done = catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        child => Child(child),
    }
}

fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        -libc::WTERMSIG(status)
    }
}
