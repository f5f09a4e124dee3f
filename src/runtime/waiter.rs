//! Each thread's waiter: its number in the stack, and its bell.

use super::{Runtime, high};
use crate::stack::Host;
use crate::stack::wait::MAX_WAITERS;
use crate::sys::{self, Fd, bell};
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Waiters of threads that ended, for others to use: number in the low half, bell above.
static IDLE: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
/// Those that more threads had than there are places: the next thread of this process that
/// waits gives their numbers back, as only it has the lock.
static GONE: [AtomicU64; MAX_WAITERS / 64 + 1] =
    [const { AtomicU64::new(0) }; MAX_WAITERS / 64 + 1];
static ANY_GONE: AtomicBool = AtomicBool::new(false);
/// How many forks lie between this process and the one that loaded the library.
static FORKS: AtomicU32 = AtomicU32::new(0);

struct Own {
    id: Cell<u16>,
    bell: Cell<i32>,
    forks: Cell<u32>,
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.id.get() == 0 || self.forks.get() != FORKS.load(Ordering::Relaxed) {
            return;
        }
        let packed = (self.bell.get() as u64) << 32 | u64::from(self.id.get());
        for place in &IDLE {
            if place
                .compare_exchange(0, packed, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
        super::own::remove(self.bell.get());
        let _ = sys::close(self.bell.get());
        let id = usize::from(self.id.get());
        if let Some(word) = GONE.get(id / 64) {
            word.fetch_or(1 << (id % 64), Ordering::AcqRel);
            ANY_GONE.store(true, Ordering::Release);
        }
    }
}

thread_local! {
    static OWN: Own = const { Own { id: Cell::new(0), bell: Cell::new(-1), forks: Cell::new(0) } };
}

/// Give back the numbers of this process's threads that ended.
pub(super) fn give_back(host: &mut Host<'_>) {
    if ANY_GONE.load(Ordering::Relaxed) && ANY_GONE.swap(false, Ordering::AcqRel) {
        for (word, first) in GONE.iter().zip((0..).step_by(64)) {
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                host.free_idle_waiter(first + bits.trailing_zeros() as u16);
                bits &= bits - 1;
            }
        }
    }
}

/// The calling thread's waiter, if it ever waited.
pub(super) fn current() -> Option<u16> {
    OWN.try_with(|o| {
        (o.id.get() != 0 && o.forks.get() == FORKS.load(Ordering::Relaxed)).then_some(o.id.get())
    })
    .ok()
    .flatten()
}

/// The calling thread's waiter and the descriptor of its bell.
pub(super) fn obtain(runtime: &Runtime) -> Option<(u16, i32)> {
    OWN.try_with(|o| {
        let forks = FORKS.load(Ordering::Relaxed);
        if o.id.get() != 0 && o.forks.get() == forks {
            return Some((o.id.get(), o.bell.get()));
        }
        let (id, bell) = idle().or_else(|| make(runtime))?;
        o.id.set(id);
        o.bell.set(bell);
        o.forks.set(forks);
        Some((id, bell))
    })
    .ok()
    .flatten()
}

fn idle() -> Option<(u16, i32)> {
    IDLE.iter()
        .find_map(|place| match place.swap(0, Ordering::AcqRel) {
            0 => None,
            packed => Some((packed as u16, (packed >> 32) as i32)),
        })
}

fn make(runtime: &Runtime) -> Option<(u16, i32)> {
    let id = {
        let mut s = runtime.enter();
        give_back(&mut s);
        let pid = s.pid;
        s.new_waiter(pid, sys::process::tid())?
    };
    // A name that is taken belongs to a waiter whose process died, and whose descriptors
    // somebody else still holds; try the next number.
    let bell = match bell::hang(&runtime.bell_name(id)).and_then(high) {
        Ok(bell) => bell,
        Err(_) => {
            runtime.enter().free_waiter(id);
            return None;
        }
    };
    Some((id, Fd::into_raw(bell)))
}

/// In the child of a fork: all waiters are the parent's.
pub(super) fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    for word in &GONE {
        word.store(0, Ordering::Relaxed);
    }
    for place in &IDLE {
        let packed = place.swap(0, Ordering::AcqRel);
        if packed != 0 {
            super::own::remove((packed >> 32) as i32);
            let _ = sys::close((packed >> 32) as i32);
        }
    }
    // The forking thread's own bell; those of other threads stay open, which costs a number.
    let _ = OWN.try_with(|o| {
        if o.id.get() != 0 {
            super::own::remove(o.bell.get());
            let _ = sys::close(o.bell.get());
            o.id.set(0);
        }
    });
}
