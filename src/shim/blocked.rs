//! Threads of this process that are blocked in the stack.
//!
//! Signal handlers run when the call has let go of all that it holds ([`deliver`]), as in the
//! kernel on the way back to the program: a handler may never return, but siglongjmp out of it.
//!
//! Three things need to know who is blocked. A close of the last descriptor while another
//! thread is blocked on it: the kernel's socket lives until that thread's call returns, and so
//! does ours, by a copy of the descriptor that is closed then ([`keep_for_blocked`]). A
//! cancellation: pthread_cancel must wake a thread that waits in the stack, which knows nothing
//! of it ([`cancel`]). And fork: none of them is in the child.

use crate::dispatch::test_cancel;
use crate::{lifecycle, process};
use core::cell::Cell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use utcp_stack::runtime::{Runtime, Wait, Woken, high, own};
use utcp_stack::stack::{Host, SockId};
use utcp_stack::sys::process::{Signals, block_signals, pid, set_mask, thread_exists, tid};
use utcp_stack::sys::{self, io};
use utcp_stack::time::Duration;

/// How many threads are blocked.
static BLOCKED: AtomicU32 = AtomicU32::new(0);

/// How a blocking call ended.
pub enum Ended<R> {
    /// As [`Runtime::block`] says. If it was interrupted the handler has not run yet:
    /// [`deliver`] is to be called when the call has let go of everything.
    Woken(Woken<R>),
    /// The thread is to be cancelled.
    Cancelled,
}

/// [`Runtime::block`], with this thread counted among those blocked.
pub fn block<R>(
    runtime: &'static Runtime,
    wait: Wait<'_>,
    mut attempt: impl FnMut(&mut Host<'_>, &[libc::pollfd]) -> Option<R>,
) -> Ended<R> {
    let cancellable = cancellable();
    let attempt = |host: &mut Host<'_>, fds: &[libc::pollfd]| {
        if cancellable && is_cancelled() {
            return Some(None);
        }
        attempt(host, fds).map(Some)
    };
    let held = DUE.get();
    // A call that goes on after a signal ended a part of it does not wait again.
    let over = held.is_some_and(|due| due.interrupted);
    let wait = match over {
        true => Wait {
            timeout: Some(Duration::ZERO),
            sigmask: None,
            ..wait
        },
        false => wait,
    };
    let sigmask = wait.sigmask;
    let after = held.map_or_else(block_signals, |due| due.after);
    BLOCKED.fetch_add(1, Ordering::SeqCst);
    let woken = runtime.block_masked(wait, after, attempt);
    BLOCKED.fetch_sub(1, Ordering::SeqCst);
    let woken = match woken {
        Woken::TimedOut if over => Woken::Interrupted { restart: false },
        other => other,
    };
    match woken {
        _ if over => {}
        Woken::Interrupted { .. } => set_due(Due {
            during: sigmask.map_or(after, Signals),
            after,
            interrupted: true,
        }),
        _ if held.is_some() => {}
        _ => {
            set_mask(after);
        }
    }
    release_kept(runtime);
    match woken {
        Woken::Ready(Some(r)) => Ended::Woken(Woken::Ready(r)),
        Woken::Ready(None) => Ended::Cancelled,
        Woken::TimedOut => Ended::Woken(Woken::TimedOut),
        Woken::Interrupted { restart } => Ended::Woken(Woken::Interrupted { restart }),
    }
}

// --- Signals

/// What [`deliver`] is to do.
#[derive(Clone, Copy)]
struct Due {
    /// The mask with which handlers run.
    during: Signals,
    /// The one after that.
    after: Signals,
    /// A signal has interrupted the call; else they are but held ([`hold`]).
    interrupted: bool,
}

thread_local! {
    /// This thread has all signals blocked until [`deliver`].
    static DUE: Cell<Option<Due>> = const { Cell::new(None) };
}

/// How many threads have such.
static DUE_THREADS: AtomicU32 = AtomicU32::new(0);

fn set_due(due: Due) {
    if DUE.replace(Some(due)).is_none() {
        DUE_THREADS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether handlers wait until [`deliver`] in this thread.
pub fn is_held() -> bool {
    DUE_THREADS.load(Ordering::Relaxed) != 0 && DUE.get().is_some()
}

/// No handler runs in this thread until [`deliver`], for a call that has what must not be left
/// half done, nor be forked. It ends in [`crate::dispatch`].
pub fn hold() {
    if !is_held() {
        let after = block_signals();
        set_due(Due {
            during: after,
            after,
            interrupted: false,
        });
    }
}

/// Run the handlers of the signals that interrupted this thread's call, if any did. They may
/// never return: the callers keep nothing to be dropped.
#[inline]
pub fn deliver() {
    if DUE_THREADS.load(Ordering::Relaxed) != 0 {
        deliver_now();
    }
}

#[cold]
fn deliver_now() {
    if let Some(Due { during, after, .. }) = DUE.take() {
        DUE_THREADS.fetch_sub(1, Ordering::Relaxed);
        set_mask(during);
        if during != after {
            set_mask(after);
        }
    }
}

// --- Cancellation

/// The tids of threads that pthread_cancel was called for, and that did not act on it yet; 0:
/// free. Libc doesn't tell whether a thread is one.
static CANCELLED: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];
/// How many there are.
static CANCELS: AtomicU32 = AtomicU32::new(0);
/// With so many, look which of the threads have ended: they may have been cancelled in libc.
static SWEEP_AT: AtomicU32 = AtomicU32::new(FEW_CANCELS);
const FEW_CANCELS: u32 = 8;
/// No place from here on was ever used: every call looks through those before.
static CANCELLED_END: AtomicUsize = AtomicUsize::new(0);

fn cancelled_threads() -> &'static [AtomicU32] {
    let end = CANCELLED_END.load(Ordering::SeqCst);
    CANCELLED.get(..end).unwrap_or(&CANCELLED)
}

thread_local! {
    /// [`this_thread`]; 0: nobody has asked.
    static TID: Cell<u32> = const { Cell::new(0) };
}

fn this_thread() -> u32 {
    match TID.get() {
        0 => {
            let tid = tid();
            TID.set(tid);
            tid
        }
        tid => tid,
    }
}

/// A thread's tid, of which libc tells only the clock: `~tid << 3`, and the kind of clock below
/// (Linux: `MAKE_THREAD_CPUCLOCK`).
///
/// # Safety
/// `thread` is not joined, nor has it ended detached.
pub unsafe fn tid_of(thread: libc::pthread_t) -> Option<u32> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: as the caller says.
    let failed = unsafe { libc::pthread_getcpuclockid(thread, &mut clock) };
    let tid = !(clock >> 3) as u32;
    (failed == 0 && clock < 0 && tid != 0).then_some(tid)
}

/// Give up a cancelled thread's place.
fn forget_cancelled(place: &AtomicU32, tid: u32) {
    if place
        .compare_exchange(tid, 0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
    {
        CANCELS.fetch_sub(1, Ordering::Release);
    }
}

/// Forget the cancelled threads that have ended.
fn sweep_cancelled() {
    let pid = pid();
    for place in cancelled_threads() {
        let tid = place.load(Ordering::Acquire);
        if tid != 0 && !thread_exists(pid, tid) {
            forget_cancelled(place, tid);
        }
    }
    let left = CANCELS.load(Ordering::Relaxed);
    SWEEP_AT.store(left.saturating_mul(2).max(FEW_CANCELS), Ordering::Relaxed);
}

fn is_cancelled() -> bool {
    // SeqCst: who cancels looks for blocked threads after it has said whom.
    CANCELS.load(Ordering::SeqCst) != 0 && {
        let this = this_thread();
        let is_this = |t: &AtomicU32| t.load(Ordering::Acquire) == this;
        cancelled_threads().iter().any(is_this)
    }
}

/// A call begins at which a thread can be cancelled: does not return if this one is to be.
#[inline]
pub fn cancellation_point() {
    if CANCELS.load(Ordering::Relaxed) != 0 {
        act_on_cancellation();
    }
}

#[cold]
fn act_on_cancellation() {
    // It stays for the calls after it can be cancelled again.
    if is_cancelled() && !cancellable() {
        return;
    }
    let this = this_thread();
    // libc knows from here on; and what was left by a thread that had this number is over.
    for place in cancelled_threads() {
        forget_cancelled(place, this);
    }
    test_cancel();
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

/// pthread_cancel was called for the thread `tid`: have it look, if it waits in the stack or is
/// about to.
pub fn cancel(runtime: Option<&Runtime>, tid: u32) {
    if CANCELS.load(Ordering::Relaxed) >= SWEEP_AT.load(Ordering::Relaxed) {
        sweep_cancelled();
    }
    let known = CANCELLED.iter().any(|t| t.load(Ordering::Acquire) == tid);
    // Without a place (a thousand threads are cancelled at once) it acts at its next call.
    let free = |t: &AtomicU32| {
        t.compare_exchange(0, tid, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    if !known && let Some(place) = CANCELLED.iter().position(free) {
        CANCELLED_END.fetch_max(place + 1, Ordering::SeqCst);
        CANCELS.fetch_add(1, Ordering::SeqCst);
    }
    let Some(runtime) = runtime.filter(|_| BLOCKED.load(Ordering::SeqCst) != 0) else {
        return;
    };
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

// --- Closing

/// A copy of a descriptor that was closed while a thread was blocked on its socket.
struct Kept {
    /// [`SockId::number`]; 0: free.
    socket: AtomicU64,
    fd: AtomicI32,
}

static KEPT: [Kept; 256] = [const {
    Kept {
        socket: AtomicU64::new(0),
        fd: AtomicI32::new(-1),
    }
}; 256];
/// How many there are.
static KEPT_COUNT: AtomicU32 = AtomicU32::new(0);

/// Descriptor `fd` of socket `id` is about to be closed. If a thread is blocked in a call on it
/// the socket is to live until that call returns.
pub fn keep_for_blocked(fd: c_int, id: SockId) {
    if BLOCKED.load(Ordering::SeqCst) == 0 || process::in_vfork_child() {
        return;
    }
    let Some(runtime) = process::attached() else {
        return;
    };
    if !runtime.enter().is_waited_for(id) {
        return;
    }
    let free = KEPT.iter().find(|k| {
        k.socket
            .compare_exchange(0, id.number(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    });
    let Some(kept) = free else { return };
    match io::dup_from(fd, 3).and_then(high) {
        Ok(copy) => {
            own::add(copy.raw());
            KEPT_COUNT.fetch_add(1, Ordering::SeqCst);
            kept.fd.store(copy.into_raw(), Ordering::SeqCst);
            // The thread may have left before it could see that.
            release_kept(runtime);
        }
        Err(_) => kept.socket.store(0, Ordering::Release),
    }
}

/// A thread was blocked, and is no longer: close what was kept for it.
fn release_kept(runtime: &'static Runtime) {
    if KEPT_COUNT.load(Ordering::SeqCst) == 0 {
        return;
    }
    for kept in &KEPT {
        if kept.fd.load(Ordering::SeqCst) < 0 {
            continue;
        }
        // Places are given up under the stack's lock: else another thread could do so, and a
        // third have this one for another socket, whose copy may have the same number.
        let ours = {
            let session = runtime.enter();
            let id = SockId::from_number(kept.socket.load(Ordering::Acquire));
            let over = !session.is_waited_for(id);
            let fd = match over {
                true => kept.fd.swap(-1, Ordering::AcqRel),
                false => -1,
            };
            (fd >= 0).then_some((fd, id))
        };
        if let Some((fd, id)) = ours {
            KEPT_COUNT.fetch_sub(1, Ordering::SeqCst);
            kept.socket.store(0, Ordering::Release);
            own::remove(fd);
            let _ = sys::close(fd);
            lifecycle::released(runtime, id);
        }
    }
}

/// Before a fork: whether this thread is cancelled is to be known in the child, where it has
/// another tid.
pub fn before_fork() {
    this_thread();
}

/// In the child of a fork: the threads are the parent's.
pub fn forget_all() {
    let cancelled = is_cancelled();
    TID.set(0);
    for place in cancelled_threads() {
        place.store(0, Ordering::Relaxed);
    }
    CANCELS.store(0, Ordering::Relaxed);
    if cancelled {
        CANCELLED[0].store(this_thread(), Ordering::Relaxed);
        CANCELS.store(1, Ordering::Relaxed);
    }
    BLOCKED.store(0, Ordering::Relaxed);
    DUE_THREADS.store(0, Ordering::Relaxed);
    KEPT_COUNT.store(0, Ordering::Relaxed);
    for kept in &KEPT {
        kept.socket.store(0, Ordering::Relaxed);
        let fd = kept.fd.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            own::remove(fd);
            let _ = sys::close(fd);
        }
    }
}
