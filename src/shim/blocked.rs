//! Threads of this process that are blocked in the stack.
//!
//! Three things need to know them. A close of the last descriptor while another thread is
//! blocked on it: the kernel's socket lives until that thread's call returns, and so does ours,
//! by a copy of the descriptor that the thread closes then ([`keep_for_blocked`]). A
//! cancellation: pthread_cancel must wake a thread that waits in the stack, which knows nothing
//! of it ([`cancel`]). And fork: none of them is in the child.

use crate::{lifecycle, process};
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use utcp_stack::runtime::{Runtime, Wait, Woken, high, own};
use utcp_stack::stack::{Host, SockId};
use utcp_stack::sys::{self, io};

/// A blocked thread.
struct Place {
    /// 0: free.
    thread: AtomicU64,
    /// The socket that its call is on ([`SockId::number`]); 0 for poll and its kin.
    socket: AtomicU64,
    /// pthread_cancel was called for the thread.
    cancelled: AtomicBool,
    /// A copy of the socket's descriptor, which was closed meanwhile; -1: none.
    kept: AtomicI32,
}

const PLACES: usize = 1024;
static BLOCKED: [Place; PLACES] = [const {
    Place {
        thread: AtomicU64::new(0),
        socket: AtomicU64::new(0),
        cancelled: AtomicBool::new(false),
        kept: AtomicI32::new(-1),
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
    let cancelled = || cancellable && place.is_some_and(|p| p.cancelled.load(Ordering::Acquire));
    let woken = runtime.block(wait, |host, fds| {
        if cancelled() {
            return Some(None);
        }
        attempt(host, fds).map(Some)
    });
    if let Some(place) = place {
        leave(place);
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
    place.cancelled.store(false, Ordering::Release);
    place
        .socket
        .store(on.map_or(0, SockId::number), Ordering::Release);
    Some(place)
}

fn leave(place: &Place) {
    let socket = place.socket.swap(0, Ordering::AcqRel);
    let kept = place.kept.swap(-1, Ordering::AcqRel);
    place.thread.store(0, Ordering::Release);
    if kept < 0 {
        return;
    }
    let id = SockId::from_number(socket);
    if !give(id, kept) {
        own::remove(kept);
        let _ = sys::close(kept);
        if let Some(runtime) = process::attached() {
            lifecycle::released(runtime, id);
        }
    }
}

/// Descriptor `fd` of socket `id` is about to be closed. If a thread is blocked in a call on it
/// the socket is to live until that call returns.
pub fn keep_for_blocked(fd: c_int, id: SockId) {
    if process::in_vfork_child() || !BLOCKED.iter().any(|p| on_socket(p, id)) {
        return;
    }
    let Ok(copy) = io::dup_from(fd, 3).and_then(high) else {
        return;
    };
    let copy = copy.into_raw();
    own::add(copy);
    if !give(id, copy) {
        own::remove(copy);
        let _ = sys::close(copy);
    }
}

fn on_socket(place: &Place, id: SockId) -> bool {
    place.socket.load(Ordering::Acquire) == id.number()
}

/// Leave a kept descriptor to a thread that is blocked on `id`.
fn give(id: SockId, kept: c_int) -> bool {
    BLOCKED.iter().any(|place| {
        on_socket(place, id)
            && place
                .kept
                .compare_exchange(-1, kept, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            && (on_socket(place, id)
                // It left in between; unless it saw the descriptor, that is still ours.
                || place
                    .kept
                    .compare_exchange(kept, -1, Ordering::AcqRel, Ordering::Relaxed)
                    .is_err())
    })
}

/// pthread_cancel was called for `thread`: have it look, if it waits in the stack.
pub fn cancel(runtime: &Runtime, thread: libc::pthread_t) {
    let mut found = false;
    for place in &BLOCKED {
        if place.thread.load(Ordering::Acquire) == thread {
            place.cancelled.store(true, Ordering::Release);
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
            place.cancelled.store(false, Ordering::Relaxed);
            let kept = place.kept.swap(-1, Ordering::Relaxed);
            if kept >= 0 {
                own::remove(kept);
                let _ = sys::close(kept);
            }
            place.thread.store(0, Ordering::Relaxed);
        }
    }
}
