//! This process and its stack: attached when the first socket is made or found, then for good.

use crate::errno::Result;
use crate::{attach, blocked, ends, errepoll, fars, reserved};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::{SockId, settings};
use utcp_stack::sys::process::{Signals, block_signals, set_mask};
use utcp_stack::sys::{Errno, io};

static STACK: OnceCell<Runtime> = OnceCell::new();

/// Held while attaching, so that no fork comes between, and while the fork handlers run.
static ATTACHING: Mutex<()> = Mutex::new(());

/// The stack, if this process uses one.
#[inline]
pub fn attached() -> Option<&'static Runtime> {
    STACK.get()
}

/// The stack; starts to use it. The first failure is told on stderr.
pub fn stack() -> Result<&'static Runtime> {
    match STACK.get() {
        Some(runtime) => Ok(runtime),
        None => attach_now(attach::attach),
    }
}

/// The stack, if this process uses it or it is running.
pub fn running() -> Option<&'static Runtime> {
    match STACK.get() {
        Some(runtime) => Some(runtime),
        None => attach_now(attach::attach_running).ok(),
    }
}

#[cold]
fn attach_now(
    how: fn() -> core::result::Result<Runtime, attach::Failure>,
) -> Result<&'static Runtime> {
    // A signal handler that makes a socket meanwhile would wait for itself.
    let mask = block_signals();
    let guard = ATTACHING.lock();
    let done = STACK.get_or_try_init(|| {
        let runtime = how()?;
        settings::ask_for_syns(settings::Whose::Own, crate::sysctl::read_for_syn);
        // SAFETY: both are functions without arguments that may run in any thread.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_fork_child)) };
        Ok(runtime)
    });
    drop(guard);
    set_mask(mask);
    done.map_err(|failure: attach::Failure| {
        if let Some(line) = failure.line {
            complain(&line);
        }
        Errno(failure.errno)
    })
}

/// One line on stderr, once in a process.
pub fn complain(line: &str) {
    static SAID: AtomicU32 = AtomicU32::new(0);
    if SAID.swap(1, Ordering::Relaxed) == 0 {
        let _ = io::write(2, format!("utcp: {line}\n").as_bytes());
    }
}

/// Whether this process may use the descriptor of socket `id` whose name is `name`: it belongs
/// to the stack that this process uses, or would use.
pub fn belongs(name: &utcp_stack::sys::unix::Name, id: SockId) -> bool {
    running().is_some_and(|rt| rt.socket_name(id.number()) == *name)
}

/// The signal mask of the thread that forks; guarded by [`ATTACHING`].
static FORK_MASK: AtomicU64 = AtomicU64::new(0);

/// The child's memory is a copy in which other threads' locks stay locked for ever: so they are
/// all taken first. Signals are blocked meanwhile: a handler may need one of them.
extern "C" fn before_fork() {
    let mask = block_signals();
    blocked::before_fork();
    errepoll::before_fork();
    core::mem::forget(ATTACHING.lock());
    attach::before_fork();
    ends::before_fork();
    FORK_MASK.store(mask.0, Ordering::Relaxed);
}

extern "C" fn after_fork() {
    release_locks(false);
}

extern "C" fn in_fork_child() {
    blocked::forget_all();
    reserved::in_fork_child();
    fars::in_fork_child();
    if let Some(runtime) = attached() {
        runtime.after_fork_child();
    }
    release_locks(true);
}

fn release_locks(child: bool) {
    let mask = Signals(FORK_MASK.load(Ordering::Relaxed));
    ends::after_fork(child);
    attach::after_fork(child);
    // SAFETY: locked by `before_fork`, in this thread or the one it is a copy of.
    unsafe { ATTACHING.force_unlock() };
    errepoll::after_fork();
    set_mask(mask);
}

/// How many threads are waiting for a child of vfork.
static VFORKS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// This thread's memory is used by a child that vfork made.
    static VFORKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a child of vfork, which shares this memory, but not the descriptors.
#[inline]
pub fn in_vfork_child() -> bool {
    VFORKS.load(Ordering::Relaxed) != 0 && VFORKED.get()
}

/// A vfork is about to happen in this thread; what runs until [`vfork_over`] is the child.
pub fn vfork_begins() {
    VFORKS.fetch_add(1, Ordering::Relaxed);
    VFORKED.set(true);
}

/// The child of a vfork ended or has another image; we are the parent.
pub fn vfork_over() {
    VFORKED.set(false);
    VFORKS.fetch_sub(1, Ordering::Relaxed);
}

/// All that happens when a program starts.
#[ctor::ctor]
unsafe fn start() {
    if !crate::observe::active() {
        crate::fdtable::look_at_standard_descriptors();
    }
}
