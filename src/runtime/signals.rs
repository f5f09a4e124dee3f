//! Signals while a thread waits.
//!
//! The thread sleeps in poll(2) with every signal blocked and a signalfd among the descriptors,
//! which becomes readable when a signal is pending that the program does not block. Only so it
//! can be known afterwards *which* handler ran, and so whether SA_RESTART has the call go on
//! (poll itself gives EINTR always).

use super::high;
use crate::sys::process::{Signals, block_signals, set_mask};
use crate::sys::signals::{Action, action, pending, signalfd};
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// signalfds by the mask they report; threads mostly have the same.
static MASKS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
static FDS: [AtomicI32; 8] = [const { AtomicI32::new(-1) }; 8];

/// A signalfd that reports what `blocked` lets through; `None` when there is no descriptor left.
pub(super) fn watch(blocked: Signals) -> Option<i32> {
    // Never zero, so that zero can mean "free".
    let mask = !blocked.0 | 1 << (libc::SIGKILL - 1);
    for (m, fd) in MASKS.iter().zip(&FDS) {
        let have = m.load(Ordering::Acquire);
        if have == mask {
            let fd = fd.load(Ordering::Acquire);
            if fd >= 0 {
                return Some(fd);
            }
        }
        if have == 0
            && m.compare_exchange(0, mask, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            let made = signalfd(Signals(mask)).and_then(high).ok()?.into_raw();
            fd.store(made, Ordering::Release);
            return Some(made);
        }
    }
    // More than eight different masks: one for this call, replacing the last.
    let made = signalfd(Signals(mask)).and_then(high).ok()?.into_raw();
    let last = MASKS.len() - 1;
    MASKS[last].store(mask, Ordering::Release);
    let old = FDS[last].swap(made, Ordering::AcqRel);
    if old >= 0 {
        super::own::remove(old);
        let _ = crate::sys::close(old);
    }
    Some(made)
}

/// Let pending signals through that `blocked` does not block; true if the call they interrupt is
/// to give EINTR.
pub(super) fn take(blocked: Signals, restartable: bool) -> bool {
    let due = pending().0 & !blocked.0;
    if due == 0 {
        return false;
    }
    // The kernel takes the lowest number first; that one's flags decide about the call.
    let mut interrupts = false;
    for signal in 1..=64 {
        if due >> (signal - 1) & 1 == 1
            && let Action::Handler { restart } = action(signal)
        {
            interrupts = !(restart && restartable);
            break;
        }
    }
    set_mask(blocked);
    block_signals();
    interrupts
}
