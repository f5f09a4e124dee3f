//! Signals that are pending while a thread has them blocked.

use super::process::{Signals, pid, tid};
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

/// Have `signal`, which is pending and blocked, be this thread's own: if it was sent to the
/// process, no other thread gets it any more. False: another has it already.
pub fn claim(signal: i32) -> bool {
    let set = 1u64 << (signal - 1);
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: all zero is a siginfo; the kernel writes it.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let info = &raw mut info as usize;
    // SAFETY: the set is eight bytes, as told, and the others are what the call takes.
    let taken = unsafe {
        syscall(
            libc::SYS_rt_sigtimedwait,
            [
                &raw const set as usize,
                info,
                &raw const now as usize,
                SET,
                0,
                0,
            ],
        )
    };
    if taken.is_err() {
        return false;
    }
    let (pid, tid, signal) = (pid() as usize, tid() as usize, signal as usize);
    // SAFETY: a siginfo of the kernel's own.
    let again = unsafe { syscall(libc::SYS_rt_tgsigqueueinfo, [pid, tid, signal, info, 0, 0]) };
    if again.is_err() {
        // No more signals can be queued: at least the handler runs.
        // SAFETY: no pointers.
        let _ = unsafe { syscall(libc::SYS_tgkill, [pid, tid, signal, 0, 0, 0]) };
    }
    true
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
