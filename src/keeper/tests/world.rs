//! Processes and network namespaces for tests.

use crate::worlds::{fork, in_namespace, wait};
use std::panic::UnwindSafe;
use std::time::{Duration, Instant};

/// A network namespace, from within.
pub struct World {
    namespace: std::path::PathBuf,
}

impl World {
    /// Run `test` in a process and a network namespace of its own.
    pub fn run(test: impl FnOnce(&World) + UnwindSafe) {
        in_namespace(move || {
            let namespace = std::fs::read_link("/proc/self/ns/net").unwrap();
            test(&World { namespace });
        });
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
        Child(fork(body))
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
    let end = Instant::now() + Duration::from_secs(40);
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
