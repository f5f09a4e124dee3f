//! The two ends of a socket's descriptor.
//!
//! The near end is the program's descriptor: an AF_UNIX stream socket bound to the socket's
//! name. The far end is connected to it when the socket leaves CLOSED, and given to the
//! keeper: by it the kernel shows readiness, and the keeper sees when the last reference to
//! the near end is gone.

use crate::attach;
use crate::errno::Result;
use crate::kernel;
use core::ffi::c_int;
use utcp_stack::keeper::mirror;
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::{Host, Ready, SockId};
use utcp_stack::sys::{self, Fd, unix};

/// A new near end, not bound yet, under the number that the kernel gives. Closed on drop.
pub fn near(flags: c_int) -> Result<Fd> {
    kernel::unix_stream(flags).map(Fd::own)
}

/// Bind the near end to the name of its socket, and tell the stack its inode. Until the stack
/// knows an inode, nobody concludes from the name being free that the socket is abandoned.
pub fn name(rt: &Runtime, near: c_int, id: SockId) -> Result<()> {
    unix::bind(near, &rt.socket_name(id.number()))?;
    let inode = kernel::inode(near);
    let mut host = rt.enter();
    if host.socket(id).is_ok()
        && let Some(s) = host.sh.sockets.get_mut(id.index)
    {
        s.owner.inode = inode;
    }
    Ok(())
}

/// Connect a near end to a new far end, and give that to the keeper. Without one (no descriptor
/// is left) the socket works, but isn't seen by epoll.
pub fn connect_far(rt: &Runtime, near: c_int, id: SockId) {
    let Ok(far) = mirror::pair(near) else { return };
    {
        let mut host = rt.enter();
        if host.has_far(id, Ready::OUT).is_err() {
            return;
        }
        lower(&mut host, near, id);
    }
    attach::send_far(rt, id, &far);
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
    host.lowered(id, over);
}

/// A descriptor of socket `id` was closed: if it was the last, close the socket.
///
/// As long as any process refers to the near end, its name is taken. Otherwise binding it
/// succeeds; a reference that goes later is seen by the keeper.
pub fn closed(rt: &Runtime, id: SockId) -> bool {
    let Ok(scratch) = unix::socket(unix::Kind::Stream, false) else {
        return false;
    };
    if unix::bind(scratch.raw(), &rt.socket_name(id.number())).is_err() {
        return false;
    }
    let mut host = rt.enter();
    let lingers = host
        .socket(id)
        .is_ok_and(|s| s.options.linger.is_some_and(|l| l > 0));
    host.close(id);
    lingers
}

/// Close the program's descriptor.
pub fn close_near(fd: c_int) -> Result<()> {
    sys::close(fd)
}
