//! Signals while a thread waits.
//!
//! The thread sleeps in poll(2) with every signal blocked and a signalfd among the descriptors,
//! which becomes readable when a signal is pending that the program does not block. Only so it
//! can be known afterwards *which* handler ran, and so whether SA_RESTART has the call go on
//! (poll itself gives EINTR always).

use super::high;
use crate::sys::process::{Signals, block_signals, set_mask};
use crate::sys::signals::{Action, action, claim, pending, signalfd};
use crate::sys::{self, Fd};
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// signalfds by the mask they report; threads mostly have the same.
static MASKS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
static FDS: [AtomicI32; 8] = [const { AtomicI32::new(-1) }; 8];

/// A signalfd that reports what a mask lets through.
pub(super) enum Watch {
    /// Kept for all threads with this mask.
    Kept(i32),
    /// There are more masks than are kept: for this wait alone.
    Own(Fd),
    /// No descriptor is left.
    Without,
}

impl Watch {
    /// For a thread that sleeps with the mask `blocked`.
    pub(super) fn over(blocked: Signals) -> Watch {
        // Never zero, so that zero can mean "free".
        let mask = !blocked.0 | 1 << (libc::SIGKILL - 1);
        for (m, fd) in MASKS.iter().zip(&FDS) {
            let have = m.load(Ordering::Acquire);
            if have == mask {
                let fd = fd.load(Ordering::Acquire);
                if fd >= 0 {
                    return Watch::Kept(fd);
                }
            }
            if have == 0
                && m.compare_exchange(0, mask, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                let Ok(made) = make(mask) else {
                    m.store(0, Ordering::Release);
                    return Watch::Without;
                };
                let made = made.into_raw();
                fd.store(made, Ordering::Release);
                return Watch::Kept(made);
            }
        }
        make(mask).map_or(Watch::Without, Watch::Own)
    }

    /// The descriptor to poll.
    pub(super) fn fd(&self) -> Option<i32> {
        match self {
            Watch::Kept(fd) => Some(*fd),
            Watch::Own(fd) => Some(fd.raw()),
            Watch::Without => None,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Watch::Own(fd) = self {
            super::own::remove(fd.raw());
        }
    }
}

fn make(mask: u64) -> sys::Result<Fd> {
    signalfd(Signals(mask)).and_then(high)
}

/// What there is to be let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    /// No signal.
    Nothing,
    /// These, that no handler is for.
    NoHandler(Signals),
    /// One that has a handler, with SA_RESTART or without.
    Handler {
        /// Its number.
        signal: i32,
        /// SA_RESTART.
        restart: bool,
    },
}

/// Signals that stop the process, and the one by which SIGSTOP shows afterwards, which can't be
/// blocked: nobody sends SIGCONT to a process that runs.
const STOPS: [i32; 4] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGCONT];

/// What is pending that `blocked` does not block.
fn due(blocked: Signals) -> Due {
    let due = pending().0 & !blocked.0;
    if due == 0 {
        return Due::Nothing;
    }
    // The kernel takes the lowest number first; that one's flags decide about the call.
    (1..=64)
        .filter(|signal| due >> (signal - 1) & 1 == 1)
        .find_map(|signal| match action(signal) {
            Action::Handler { restart } => Some(Due::Handler { signal, restart }),
            Action::NoHandler => None,
        })
        .unwrap_or(Due::NoHandler(Signals(due)))
}

/// Let through what `blocked` does not block and no handler is for: such signals alone, since the
/// process may be stopped by one, and what arrives meanwhile may have a handler. Tells whether
/// the wait is over, and so whether the call is to be made again: a signal with a handler is
/// due; or the process was stopped and continues, where that `stops` a wait.
pub(super) fn pass(blocked: Signals, stops: bool) -> Option<bool> {
    let mut stopped = false;
    loop {
        match due(blocked) {
            Due::Nothing => return (stopped && stops).then_some(true),
            // One that was sent to the process interrupts one thread, though all see it.
            Due::Handler { signal, restart } if claim(signal) => return Some(restart),
            Due::Handler { .. } => {}
            Due::NoHandler(signals) => {
                stopped |= STOPS.iter().any(|s| signals.0 >> (s - 1) & 1 == 1);
                set_mask(Signals(!signals.0));
                block_signals();
            }
        }
    }
}
