//! Where a call goes: to the stack, to the kernel, or (observed) to the kernel with a note.

use crate::args::Args;
use crate::errno::{self, Result, Returned};
use crate::{blocked, fdtable, observe, process, trace};
use core::ffi::c_int;
use utcp_stack::runtime::{Runtime, Session};
use utcp_stack::stack::{Error, SockId};
use utcp_stack::sys::Errno;

/// A socket of the stack, in a call by descriptor.
#[derive(Clone, Copy)]
pub struct Sock {
    /// The program's descriptor.
    pub fd: c_int,
    /// The socket.
    pub id: SockId,
    /// The stack.
    pub rt: &'static Runtime,
}

impl Sock {
    /// The socket behind `fd`, if it is the stack's.
    #[inline]
    pub fn at(fd: c_int) -> Option<Sock> {
        let id = fdtable::ours(fd)?;
        Some(Sock {
            fd,
            id,
            rt: process::attached()?,
        })
    }

    /// Take the stack's lock. EBADF if the handle is stale: the descriptor was closed by means
    /// that we could not see.
    pub fn enter(&self) -> Result<Session<'static>> {
        let session = self.rt.enter();
        match session.socket(self.id) {
            Ok(s) if !s.orphan => Ok(session),
            _ => Err(STALE),
        }
    }
}

/// What a stale handle gives; [`dispatch`] looks again then.
const STALE: Errno = Errno(libc::EBADF);

/// What a cancelled call gives; never seen by the program.
pub const CANCELLED: Errno = Errno(-1);

/// What a call gives that a handler with SA_RESTART interrupted, and that is to be made again;
/// never seen by the program.
pub const RESTART: Errno = Errno(-2);

/// The errno of a stack's error, as [`Result`].
pub fn failed<T>(e: Error) -> Result<T> {
    Err(errno::of(e))
}

/// Run a call on descriptor `fd`: `stack` if it is one of the stack's sockets, else `kernel`.
/// `args` prints the arguments: before the call without its value, and after it with.
///
/// A thread can be cancelled inside `kernel` and before it waits, a signal handler may jump out,
/// all of which unwinds or leaves this function: it must hold nothing that has to be dropped.
#[inline(always)]
pub fn dispatch<T: Returned>(
    name: &'static str,
    fd: c_int,
    args: impl Fn(&mut Args, Option<i64>),
    stack: impl Fn(Sock) -> Result<T>,
    kernel: impl Fn() -> T,
) -> T {
    if observe::active() {
        return observe::call(name, fd, &args, &kernel);
    }
    match Sock::at(fd) {
        None => kernel(),
        Some(sock) => match on_stack(name, sock, &args, &stack) {
            Some(result) => end(result),
            None => {
                blocked::deliver();
                kernel()
            }
        },
    }
}

/// [`dispatch`] for a call that is a cancellation point.
#[inline(always)]
pub fn dispatch_cancellable<T: Returned>(
    name: &'static str,
    fd: c_int,
    args: impl Fn(&mut Args, Option<i64>),
    stack: impl Fn(Sock) -> Result<T>,
    kernel: impl Fn() -> T,
) -> T {
    blocked::cancellation_point();
    dispatch(name, fd, args, stack, kernel)
}

/// The result of a call on the stack as the program sees it, after the handlers of the signals
/// that interrupted it.
#[inline]
pub fn end<T: Returned>(result: Result<T>) -> T {
    blocked::deliver();
    if let Err(CANCELLED) = result {
        blocked::cancellation_point();
        errno::set(libc::EINTR);
        return T::FAILED;
    }
    errno::returned(result)
}

/// Act on a cancellation of this thread. Does not return then.
pub fn test_cancel() {
    unsafe extern "C" {
        fn pthread_testcancel();
    }
    // SAFETY: no arguments; the callers keep nothing to be dropped.
    unsafe { pthread_testcancel() };
}

/// `None` if the descriptor turned out not to be the stack's any more.
#[inline(never)]
fn on_stack<T: Returned>(
    name: &'static str,
    sock: Sock,
    args: &dyn Fn(&mut Args, Option<i64>),
    stack: &dyn Fn(Sock) -> Result<T>,
) -> Option<Result<T>> {
    let tracing = trace::enabled(sock.rt);
    if tracing {
        trace::enter(sock, name, args);
    }
    let mut now = sock;
    let result = loop {
        match stack(now) {
            Err(RESTART) => {
                // The handler may have closed the descriptor.
                blocked::deliver();
                now = Sock::at(sock.fd)?;
            }
            Err(STALE) if is_stale(now) => {
                let stale = now;
                now = look_again(stale)?;
                if now.id == stale.id {
                    // Named as ours, but the stack knows it no more (it was recovered after a
                    // crash).
                    break Err(Errno(libc::ECONNRESET));
                }
            }
            result => break result,
        }
    };
    if tracing {
        trace::leave(sock, name, args, result);
    }
    Some(result)
}

/// Whether it is this socket, and not another argument, that the call gave EBADF for.
#[cold]
fn is_stale(sock: Sock) -> bool {
    sock.enter().is_err()
}

/// The handle was stale: what the descriptor is now.
#[cold]
fn look_again(stale: Sock) -> Option<Sock> {
    fdtable::forget_socket(stale.fd, stale.id);
    Sock::at(stale.fd)
}
