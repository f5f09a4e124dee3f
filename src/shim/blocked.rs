//! Threads of this process that are blocked in the stack.
//!
//! Three things need to know them. A close of the last descriptor while another thread is
//! blocked on it: the kernel's socket lives until that thread's call returns, and so does ours
//! ([`close_deferred`]). A cancellation: pthread_cancel must wake a thread that waits in the
//! stack, which knows nothing of it ([`cancel`]). And fork: none of them is in the child.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use utcp_stack::runtime::{Runtime, Wait, Woken};
use utcp_stack::stack::{Host, SockId};

/// A blocked thread.
struct Place {
    /// 0: free.
    thread: AtomicU64,
    /// The socket that its call is on ([`SockId::number`]); 0 for poll and its kin.
    socket: AtomicU64,
    /// See the constants below.
    flags: AtomicU8,
}

/// pthread_cancel was called for the thread.
const CANCELLED: u8 = 1;
/// The last descriptor of its socket was closed: the thread closes the socket when it returns.
const CLOSE: u8 = 2;

const PLACES: usize = 1024;
static BLOCKED: [Place; PLACES] = [const {
    Place {
        thread: AtomicU64::new(0),
        socket: AtomicU64::new(0),
        flags: AtomicU8::new(0),
    }
}; PLACES];

/// How a blocking call ended.
pub enum Ended<R> {
    /// As [`Runtime::block`] says.
    Woken(Woken<R>),
    /// The thread is to be cancelled.
    Cancelled,
}

/// [`Runtime::block`], with this thread on the list of those blocked. `on` is the socket whose
/// call this is.
pub fn block<R>(
    runtime: &Runtime,
    on: Option<SockId>,
    wait: Wait<'_>,
    mut attempt: impl FnMut(&mut Host<'_>, &[libc::pollfd]) -> Option<R>,
) -> Ended<R> {
    let place = enter(on);
    let cancellable = cancellable();
    let flags = |f: u8| place.is_some_and(|p| p.flags.load(Ordering::Acquire) & f != 0);
    let woken = runtime.block(wait, |host, fds| {
        if cancellable && flags(CANCELLED) {
            return Some(None);
        }
        attempt(host, fds).map(Some)
    });
    let close = place.is_some_and(leave);
    if close && let Some(id) = on {
        runtime.enter().close(id);
    }
    match woken {
        Woken::Ready(Some(r)) => Ended::Woken(Woken::Ready(r)),
        Woken::Ready(None) => Ended::Cancelled,
        Woken::TimedOut => Ended::Woken(Woken::TimedOut),
        Woken::Interrupted => Ended::Woken(Woken::Interrupted),
    }
}

/// Whether this thread can be cancelled now.
fn cancellable() -> bool {
    const ENABLE: c_int = 0;
    const DISABLE: c_int = 1;
    unsafe extern "C" {
        fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    }
    let mut old = ENABLE;
    // SAFETY: `old` is valid; disabling has no other effect.
    unsafe { pthread_setcancelstate(DISABLE, &mut old) };
    if old == ENABLE {
        // SAFETY: as it was. Nothing acts on a cancellation here: the type is deferred, or the
        // program has to know what it does.
        unsafe { pthread_setcancelstate(ENABLE, core::ptr::null_mut()) };
    }
    old == ENABLE
}

fn enter(on: Option<SockId>) -> Option<&'static Place> {
    // SAFETY: no arguments.
    let this = unsafe { libc::pthread_self() } as u64;
    let place = BLOCKED.iter().find(|p| {
        p.thread.load(Ordering::Relaxed) == 0
            && p.thread
                .compare_exchange(0, this, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    })?;
    place.flags.store(0, Ordering::Release);
    place
        .socket
        .store(on.map_or(0, SockId::number), Ordering::Release);
    Some(place)
}

/// True if the thread is to close its socket.
fn leave(place: &Place) -> bool {
    place.socket.store(0, Ordering::Release);
    let flags = place.flags.swap(0, Ordering::AcqRel);
    place.thread.store(0, Ordering::Release);
    flags & CLOSE != 0
}

/// The last descriptor of `id` is closed: leave the rest to a thread that is blocked on it, if
/// there is one.
pub fn close_deferred(id: SockId) -> bool {
    for place in &BLOCKED {
        if place.socket.load(Ordering::Acquire) == id.number() {
            place.flags.fetch_or(CLOSE, Ordering::AcqRel);
            // It may have left meanwhile, without seeing the flag.
            if place.socket.load(Ordering::Acquire) == id.number() {
                return true;
            }
        }
    }
    false
}

/// pthread_cancel was called for `thread`: have it look, if it waits in the stack.
pub fn cancel(runtime: &Runtime, thread: libc::pthread_t) {
    let mut found = false;
    for place in &BLOCKED {
        if place.thread.load(Ordering::Acquire) == thread as u64 {
            place.flags.fetch_or(CANCELLED, Ordering::AcqRel);
            found = true;
        }
    }
    if !found {
        return;
    }
    // Which waiter is the thread's is known to the thread alone: wake all of this process.
    let mut ids = [0u16; 1024];
    let mut count = 0;
    {
        let session = runtime.enter();
        let pid = session.pid;
        for (id, waiter) in session.sh.waiters.iter_in_use() {
            if waiter.pid == pid
                && let Some(place) = ids.get_mut(count)
            {
                *place = id as u16;
                count += 1;
            }
        }
    }
    for id in &ids[..count] {
        runtime.ring(*id);
    }
}

/// In the child of a fork: the threads are the parent's.
pub fn forget_all() {
    for place in &BLOCKED {
        if place.thread.load(Ordering::Relaxed) != 0 {
            place.socket.store(0, Ordering::Relaxed);
            place.flags.store(0, Ordering::Relaxed);
            place.thread.store(0, Ordering::Relaxed);
        }
    }
}
