//! Signals that are pending while a thread has them blocked.

use super::process::Signals;
use super::{Fd, Result, syscall};

/// Bytes of the kernel's sigset.
const SET: usize = 8;

/// signalfd4(2): readable for a thread that has a signal of `mask` pending.
pub fn signalfd(mask: Signals) -> Result<Fd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the mask is eight bytes, as told.
    unsafe {
        syscall(
            libc::SYS_signalfd4,
            [
                usize::MAX,
                &raw const mask.0 as usize,
                SET,
                flags as usize,
                0,
                0,
            ],
        )
    }
    .map(|fd| Fd::own(fd as i32))
}

/// rt_sigpending(2): blocked signals that wait for this thread.
pub fn pending() -> Signals {
    let mut set = 0u64;
    // SAFETY: eight bytes to write, as told.
    let _ = unsafe {
        syscall(
            libc::SYS_rt_sigpending,
            [&raw mut set as usize, SET, 0, 0, 0, 0],
        )
    };
    Signals(set)
}

/// What a signal does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// SIG_DFL, SIG_IGN.
    NoHandler,
    /// A handler, with SA_RESTART or without.
    Handler {
        /// SA_RESTART.
        restart: bool,
    },
}

/// The kernel's struct sigaction.
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// rt_sigaction(2), to look.
pub fn action(signal: i32) -> Action {
    let mut old = KernelAction {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    // SAFETY: no new action; `old` is what the kernel writes.
    let _ = unsafe {
        syscall(
            libc::SYS_rt_sigaction,
            [signal as usize, 0, &raw mut old as usize, SET, 0, 0],
        )
    };
    if old.handler == libc::SIG_DFL || old.handler == libc::SIG_IGN {
        return Action::NoHandler;
    }
    Action::Handler {
        restart: old.flags & libc::SA_RESTART as u64 != 0,
    }
}
