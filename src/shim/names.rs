//! getsockname and getpeername.

use crate::dispatch::Sock;
use crate::errno::{self, Result};
use crate::sockaddr;
use core::ffi::c_int;
use libc::{sockaddr as SockAddr, socklen_t};
use utcp_stack::addr::Endpoint;
use utcp_stack::sys::Errno;
use utcp_stack::tcp::State;

/// getsockname(2).
pub fn getsockname(s: Sock, addr: *mut SockAddr, len: *mut socklen_t) -> Result<c_int> {
    let (family, local) = {
        let host = s.enter()?;
        let socket = host.socket(s.id).map_err(errno::of)?;
        (socket.family, socket.local)
    };
    sockaddr::write(family, local, addr, len)?;
    Ok(0)
}

/// getpeername(2).
pub fn getpeername(s: Sock, addr: *mut SockAddr, len: *mut socklen_t) -> Result<c_int> {
    let peer = peer(s)?;
    let family = s.enter()?.socket(s.id).map_err(errno::of)?.family;
    sockaddr::write(family, peer, addr, len)?;
    Ok(0)
}

/// The peer's address.
pub fn peer(s: Sock) -> Result<Endpoint> {
    let host = s.enter()?;
    // The kernel's socket is CLOSE once the connection is in TIME_WAIT.
    if host
        .socket(s.id)
        .is_ok_and(|s| s.state() == State::TimeWait)
    {
        return Err(Errno(libc::ENOTCONN));
    }
    host.peer_addr(s.id).map_err(errno::of)
}
