//! MSG_FASTOPEN and TCP_FASTOPEN_CONNECT: connect(2) and send(2) in one (Linux:
//! `tcp_sendmsg_fastopen`).

use crate::dispatch::Sock;
use crate::errno::{self, Result};
use crate::lifecycle::{timeout, wait};
use crate::memory::Access;
use crate::sockaddr::Given;
use crate::vectors::Buffers;
use crate::{ends, sysctl, transfer};
use core::ffi::c_int;
use libc::{sockaddr, socklen_t};
use utcp_stack::addr::Endpoint;
use utcp_stack::stack::stamping::RECORD;
use utcp_stack::stack::{Error, Host};
use utcp_stack::sys::Errno;

/// As much as a SYN could carry.
const MOST: usize = 65_535;

/// sendto(2) or sendmsg(2), with an address or not.
pub fn send(
    s: Sock,
    data: Buffers,
    flags: c_int,
    to: *const sockaddr,
    len: socklen_t,
) -> Result<isize> {
    if flags & libc::MSG_FASTOPEN == 0 {
        return transfer::send(s, data, flags);
    }
    let deferred = |s: &utcp_stack::stack::Socket| s.deferred.is_some();
    if s.enter()?.socket(s.id).is_ok_and(deferred) {
        return send_deferred(s, data, flags);
    }
    if to.is_null() || (len as usize) < size_of::<libc::sa_family_t>() {
        return begin(s, data, flags, |_| Err(Errno(libc::EINVAL)));
    }
    let given = Given::read(to, len)?;
    if given.family() == libc::AF_UNSPEC {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    begin(s, data, flags, |host| {
        let family = host.socket(s.id).map_err(errno::of)?.family;
        given.for_connect(family)
    })
}

/// The first send after a connect that TCP_FASTOPEN_CONNECT put off.
pub fn send_deferred(s: Sock, data: Buffers, flags: c_int) -> Result<isize> {
    begin(s, data, flags, |host| {
        let to = host.socket(s.id).map_err(errno::of)?.deferred;
        to.ok_or(Errno(libc::EPIPE))
    })
}

/// Connect with what fits on the SYN, wait if that is wanted, send the rest.
fn begin(
    s: Sock,
    mut data: Buffers,
    flags: c_int,
    to: impl FnOnce(&Host<'_>) -> Result<Endpoint>,
) -> Result<isize> {
    // What can't be read doesn't keep the SYN from being sent (Linux: `tcp_send_syn_data`).
    let readable = data.look(Access::Read).is_ok() && !data.is_bad();
    {
        let mut host = s.enter()?;
        if host.socket(s.id).is_ok_and(|socket| socket.connecting) {
            // It tells how the connect before it went, as connect would, and then sends.
            let waits = host.socket(s.id).is_ok_and(|socket| !socket.nonblock)
                && flags & libc::MSG_DONTWAIT == 0;
            let limit = host
                .socket(s.id)
                .map_or(0, |socket| socket.options.sndtimeo);
            let opened = host.connect_result(s.id);
            ends::lower(&mut host, s.fd, s.id);
            drop(host);
            match opened {
                // A signal handler with SA_RESTART came in between.
                Err(Error::Already) if waits => {
                    wait(s, timeout(limit), Errno(libc::EALREADY), |host| {
                        connected(host, s)
                    })??;
                }
                other => other.map_err(errno::of)?,
            }
            return transfer::send(s, data, flags);
        }
    }
    let (sysctl, _) = sysctl::now();
    // Before the lock is taken, under which nothing is allocated.
    let first = data.with_input(|parts| {
        let mut first = Vec::new();
        for part in parts.iter().filter(|_| readable) {
            let n = part.len().min(MOST - first.len());
            first.extend_from_slice(&part[..n]);
        }
        first
    });
    let (taken, limit, nonblock, fresh) = {
        let mut host = s.enter()?;
        host.follow_settings(s.id, &sysctl).map_err(errno::of)?;
        let may = host.may_connect_fast(s.id).map_err(errno::of);
        let to = may.and_then(|()| to(&host))?;
        let socket = host.socket(s.id).map_err(errno::of)?;
        let nonblock = socket.nonblock || flags & libc::MSG_DONTWAIT != 0;
        let begun = host.connect_fast_or_ask(s.id, to, readable.then_some(&first[..]), !nonblock);
        ends::lower(&mut host, s.fd, s.id);
        let taken = begun.map_err(errno::of)?;
        let socket = host.socket(s.id).map_err(errno::of)?;
        (
            taken,
            timeout(socket.options.sndtimeo),
            nonblock,
            !socket.has_far,
        )
    };
    if fresh {
        ends::connect_far(s.rt, s.fd, s.id);
    }
    data.advance(taken);
    if nonblock {
        // However far the handshake is: it is reported later.
        return match taken {
            0 => Err(Errno(libc::EINPROGRESS)),
            n => ended(s, n, flags),
        };
    }
    let first = {
        let mut host = s.enter()?;
        connected(&mut host, s)
    };
    match first {
        Some(r) => r?,
        None => wait(s, limit, Errno(libc::EINPROGRESS), |host| {
            connected(host, s)
        })??,
    }
    if data.left() == 0 {
        return ended(s, data.done(), flags);
    }
    transfer::send(s, data, flags)
}

/// How the handshake ended, if it did.
fn connected(host: &mut Host<'_>, s: Sock) -> Option<Result<()>> {
    match host.connect_result(s.id) {
        Err(Error::Already) => None,
        other => {
            ends::lower(host, s.fd, s.id);
            Some(other.map_err(errno::of))
        }
    }
}

/// All `n` bytes of the call went on the SYN: MSG_ZEROCOPY's completion, timestamps.
fn ended(s: Sock, n: usize, flags: c_int) -> Result<isize> {
    if n > 0 {
        let zerocopy = flags & libc::MSG_ZEROCOPY != 0;
        let mut host = s.enter()?;
        let socket = host.socket(s.id).ok();
        if zerocopy || socket.is_some_and(|s| s.options.timestamping & RECORD != 0) {
            crate::errepoll::used();
            host.send_ended(s.id, zerocopy, None);
        }
    }
    Ok(n as isize)
}
