//! The two ends of a socket's descriptor.
//!
//! The near end is the program's descriptor: an AF_UNIX stream socket bound to the socket's
//! name. The far end is connected to it when the socket leaves CLOSED, and given to the
//! keeper: by it the kernel shows readiness, and the keeper sees when the last reference to
//! the near end is gone.

use crate::attach;
use crate::errno::Result;
use crate::process;
use crate::{fars, kernel};
use core::ffi::c_int;
use parking_lot::Mutex;
use utcp_stack::keeper::mirror;
use utcp_stack::runtime::{Runtime, high, own};
use utcp_stack::stack::{Host, Ready, SockId};
use utcp_stack::sys::process::{block_signals, set_mask};
use utcp_stack::sys::unix::Name;
use utcp_stack::sys::{self, Errno, Fd, unix};

/// A new near end, not bound yet, under the number that the kernel gives. Closed on drop.
pub fn near(flags: c_int) -> Result<Fd> {
    match kernel::unix_stream(flags).map(Fd::own) {
        // Ours are to make room for the program's.
        Err(Errno(libc::EMFILE))
            if process::attached().is_some_and(|rt| fars::forget_all(&mut rt.enter())) =>
        {
            kernel::unix_stream(flags).map(Fd::own)
        }
        made => made,
    }
}

/// Bind the near end to the name of its socket.
pub fn name(rt: &Runtime, near: c_int, id: SockId) -> Result<()> {
    unix::bind(near, &rt.socket_name(id.number()))
}

/// Connect a near end to a new far end, and give that to the keeper. Without a far end (no
/// descriptor is left) the socket works, but isn't seen by epoll.
pub fn connect_far(rt: &Runtime, near: c_int, id: SockId) {
    let far = pair(near, &rt.socket_name(id.number()));
    {
        let mut host = rt.enter();
        if host.socket(id).is_err() {
            return;
        }
        if host.socket(id).is_ok_and(|s| s.error.is_some()) {
            // It is over already (a refused connect on the loopback): a far end that closes
            // over unread data shows the error. The keeper finds the end by the name.
            drop(far);
            let _ = host.has_far(id, all_of_an_error());
            return;
        }
        if far.is_ok() {
            let _ = host.has_far(id, Ready::OUT);
            lower(&mut host, near, id);
        }
    }
    if let Ok(far) = far {
        attach::send_far(rt, id, &far);
        let mut host = rt.enter();
        // A keeper that took over meanwhile may have thought that the far end died with the old.
        if let Ok((false, shown)) = host.socket(id).map(|s| (s.has_far, s.mirrored)) {
            let _ = host.has_far(id, shown);
        }
        fars::keep(&mut host, id, far);
    }
}

/// Where near ends of this process connect to.
struct Listener {
    fd: Fd,
    name: Name,
    /// The descriptor may be closed by means that we can't see, and its number be another's.
    identity: (u64, u64),
}

static LISTENER: Mutex<Option<Listener>> = Mutex::new(None);

/// [`mirror::pair`], with a listener that is kept.
fn pair(near: c_int, name: &Name) -> sys::Result<Fd> {
    // One at a time; and a signal handler may make a socket.
    let mask = block_signals();
    let far = {
        let mut listener = LISTENER.lock();
        pair_at(&mut listener, near, name)
    };
    set_mask(mask);
    far
}

fn pair_at(kept: &mut Option<Listener>, near: c_int, name: &Name) -> sys::Result<Fd> {
    let intact = |l: &Listener| sys::io::identity(l.fd.raw()) == Ok(l.identity);
    if !kept.as_ref().is_some_and(intact)
        && let Some(lost) = kept.replace(listen()?)
    {
        own::remove(lost.fd.raw());
        let _ = lost.fd.into_raw();
    }
    let Some(listener) = kept else {
        return mirror::pair(near);
    };
    mirror::prepare(near)?;
    unix::connect(near, &listener.name)?;
    loop {
        let far = unix::accept(listener.fd.raw(), false)?;
        // Anybody in the network namespace might have connected first.
        if unix::peer_name(far.raw())? == *name {
            mirror::seal(near)?;
            return Ok(far);
        }
    }
}

fn listen() -> sys::Result<Listener> {
    let fd = high(unix::socket(unix::Kind::Stream, false)?)?;
    unix::autobind(fd.raw())?;
    unix::listen(fd.raw(), 64)?;
    Ok(Listener {
        name: unix::local_name(fd.raw())?,
        identity: sys::io::identity(fd.raw())?,
        fd,
    })
}

/// Around fork; see [`crate::process`].
pub fn before_fork() {
    core::mem::forget(LISTENER.lock());
}

/// In the parent, and in the child, whose near ends are not to connect to the parent's listener.
pub fn after_fork(child: bool) {
    // SAFETY: locked by `before_fork`, in this thread or the one it is a copy of.
    unsafe { LISTENER.force_unlock() };
    if child && let Some(parents) = LISTENER.lock().take() {
        own::remove(parents.fd.raw());
    }
}

/// What a near end shows whose far end closed over unread data.
fn all_of_an_error() -> Ready {
    [Ready::IN, Ready::OUT, Ready::RDHUP, Ready::HUP, Ready::ERR]
        .into_iter()
        .fold(Ready(0), Ready::with)
}

/// Take away what the near end shows and isn't true any more: only one who holds it can (see
/// [`utcp_stack::stack`]'s readiness). Under the lock, as the showing is.
pub fn lower(host: &mut Host<'_>, near: c_int, id: SockId) {
    let over = host.to_lower(id);
    if over == Ready(0) {
        return;
    }
    if over.has(Ready::PRI) {
        mirror::lower_pri(near);
    }
    if over.has(Ready::IN) {
        mirror::lower_in(near);
    }
    if over.has(Ready::OUT) {
        mirror::lower_out(near);
    }
    if over.has(Ready::ERR) {
        mirror::lower_err(near);
    }
    host.lowered(id, over);
}

/// A descriptor of socket `id` was closed: if it was the last, close the socket. True if that
/// is to linger.
///
/// As long as any process refers to the near end, its name is taken. Otherwise binding it
/// succeeds; a reference that goes later is seen by the keeper. The keeper asks the same way,
/// under the lock: who finds the name taken without the lock asks again with it.
pub fn closed(rt: &Runtime, id: SockId) -> bool {
    let Ok(scratch) = unix::socket(unix::Kind::Stream, false) else {
        return false;
    };
    let mut free = rt.nobody_has(&scratch, id);
    let mut host = rt.enter();
    free = free || rt.nobody_has(&scratch, id);
    // Nor should the keeper take us for the program.
    drop(scratch);
    if !free {
        return false;
    }
    let lingers = host
        .socket(id)
        .is_ok_and(|s| s.options.linger.is_some_and(|l| l > 0));
    host.close(id);
    fars::forget(&mut host, id);
    lingers
}

/// Close the sockets bound to `port` that no process has any more; true if there were any. The
/// keeper will hear of their ends too, but whoever has waited for a killed process may use its
/// port at once.
pub fn close_those_gone(rt: &Runtime, host: &mut Host<'_>, port: u16) -> bool {
    let mut bound = [SockId::default(); 16];
    let mut count = 0;
    for (place, id) in bound.iter_mut().zip(host.sh.bound_at(port)) {
        *place = id;
        count += 1;
    }
    let mut any = false;
    for &id in bound.iter().take(count) {
        let scratch = unix::socket(unix::Kind::Stream, false);
        if scratch.is_ok_and(|scratch| rt.nobody_has(&scratch, id)) {
            host.close(id);
            fars::forget(host, id);
            any = true;
        }
    }
    any
}

/// Close the program's descriptor.
pub fn close_near(fd: c_int) -> Result<()> {
    sys::close(fd)
}
