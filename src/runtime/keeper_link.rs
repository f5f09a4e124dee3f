//! Noticing that the keeper died.
//!
//! Without one, timers wait for the next call, and the readiness that the kernel shows stays as
//! it is. So every thread that waits polls the connection to the keeper too, and one that
//! doesn't wait looks at it now and then.

use super::Runtime;
use crate::sys::io;
use crate::time::{Duration, Instant};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// How often a process that makes calls looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// A process's connection to its keeper, as far as it concerns those who wait.
#[derive(Debug, Default)]
pub(super) struct KeeperLink {
    /// It hangs up when the keeper dies. (If the program closed it: what has the number now.)
    fd: AtomicI32,
    /// To be called then.
    revive: Option<fn(&Runtime)>,
    /// When it was looked at last, in nanoseconds.
    looked: AtomicU64,
    /// See [`Runtime::shares_keeper`].
    shared: AtomicBool,
}

impl Runtime {
    /// `fd` is the connection to the keeper; when that dies, `revive` is called (without the
    /// lock, with signals blocked). It gets another one and says so by
    /// [`Runtime::keeper_is_at`].
    pub fn with_keeper(mut self, fd: i32, revive: fn(&Runtime)) -> Runtime {
        self.keeper.revive = Some(revive);
        self.keeper_is_at(fd);
        self
    }

    /// There was a fork. Parent and child share the connection, so the keeper would not hear of
    /// their ends: `revive` is called at the next call into the stack, to announce this process.
    /// (Most children that make none run another program at once.)
    pub fn shares_keeper(&self) {
        self.keeper.shared.store(true, Ordering::Relaxed);
        self.keeper.looked.store(0, Ordering::Relaxed);
    }

    /// There is another connection to the keeper.
    pub fn keeper_is_at(&self, fd: i32) {
        self.keeper.fd.store(fd, Ordering::Relaxed);
    }

    /// What hangs up when the keeper dies; -1 if nobody would do anything about it.
    pub(super) fn keeper_fd(&self) -> i32 {
        match self.keeper.revive {
            Some(_) => self.keeper.fd.load(Ordering::Relaxed),
            None => -1,
        }
    }

    /// `fd` hung up. Gives the connection to the new keeper; -1 if there is none for now.
    pub(super) fn keeper_died(&self, fd: i32) -> i32 {
        if let Some(revive) = self.keeper.revive {
            revive(self);
        }
        let new = self.keeper_fd();
        if new == fd { -1 } else { new }
    }

    /// A call is over: look, if it is time to.
    pub(super) fn look_for_keeper(&self, now: Instant) {
        let looked = Instant(self.keeper.looked.load(Ordering::Relaxed));
        let fd = self.keeper_fd();
        if fd < 0 || now.since(looked) < INTERVAL {
            return;
        }
        self.keeper.looked.store(now.0, Ordering::Relaxed);
        if self.keeper.shared.swap(false, Ordering::Relaxed) {
            self.keeper_died(fd);
            return;
        }
        let mut fds = [io::PollFd::new(fd, 0)];
        if io::poll(&mut fds, Some(Duration::ZERO)) != Ok(0) {
            self.keeper_died(fd);
        }
    }
}
