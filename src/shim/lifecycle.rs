//! socket, bind, listen, accept, connect, shutdown, close on the stack.

use crate::blocked::{self, Ended};
use crate::dispatch::{CANCELLED, RESTART, Sock, failed};
use crate::errno::Result;
use crate::fdtable::{self, Entry};
use crate::reserved::Reserved;
use crate::sockaddr::{self, Given};
use crate::{attach, ends, errno, kernel, memory, process, sysctl};
use core::ffi::c_int;
use libc::{sockaddr as SockAddr, socklen_t};
use utcp_stack::runtime::{Runtime, Wait, Woken};
use utcp_stack::stack::{Error, Family, Host, How, Owner, SockId};
use utcp_stack::sys::Errno;
use utcp_stack::sys::process::{euid, pid};
use utcp_stack::tcp::State;
use utcp_stack::time::Duration;

/// Whether socket(2) with these arguments is the stack's.
pub fn is_tcp(domain: c_int, kind: c_int, protocol: c_int) -> Option<Family> {
    let family = match domain {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return None,
    };
    let plain = kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) == libc::SOCK_STREAM;
    (plain && matches!(protocol, 0 | libc::IPPROTO_TCP)).then_some(family)
}

/// Whether these arguments ask for Multipath TCP, which this host hasn't got: it is not to be had
/// from the kernel's host beside it either.
pub fn is_mptcp(domain: c_int, kind: c_int, protocol: c_int) -> bool {
    protocol == libc::IPPROTO_MPTCP && is_tcp(domain, kind, libc::IPPROTO_TCP).is_some()
}

/// socket(2).
pub fn socket(family: Family, flags: c_int) -> Result<(&'static Runtime, SockId, c_int)> {
    let rt = process::stack()?;
    attach::check(rt);
    let near = ends::near(flags)?;
    let owner = owner(near.raw());
    let (sysctl, ip) = sysctl::now();
    let id = {
        let mut host = rt.enter();
        host.set_ip_settings(&ip);
        let created = host.create(family, owner, &sysctl);
        if created == Err(Error::NoBuffers) {
            drop(host);
            process::complain(
                "no socket: all of the stack's are in use; `utcp ss -ap` shows whose, and another \
                 stack (UTCP_STACK=NAME) has its own",
            );
            return failed(Error::NoBuffers);
        }
        let id = created.map_err(errno::of)?;
        let _ = host.set_nonblock(id, flags & libc::SOCK_NONBLOCK != 0);
        id
    };
    if let Err(e) = ends::name(rt, near.raw(), id) {
        rt.enter().close(id);
        return Err(e);
    }
    let fd = near.into_raw();
    fdtable::set(fd, Entry::Ours(id));
    Ok((rt, id, fd))
}

/// This process, with a descriptor's near end.
fn owner(near: c_int) -> Owner {
    Owner {
        pid: pid(),
        uid: euid(),
        inode: kernel::inode(near),
    }
}

/// bind(2).
pub fn bind(s: Sock, addr: *const SockAddr, len: socklen_t) -> Result<c_int> {
    let given = Given::read(addr, len)?;
    let (family, limit) = {
        let host = s.enter()?;
        let socket = host.socket(s.id).map_err(errno::of)?;
        (socket.family, socket.sysctl.ip_unprivileged_port_start)
    };
    let to = given.for_bind(family)?;
    let privileged = to.port != 0 && to.port < limit && kernel::may_bind_low_ports();
    let mut host = s.enter()?;
    let mut bound = host.bind(s.id, to, privileged);
    if bound == Err(Error::AddrInUse) && ends::close_those_gone(s.rt, &mut host, to.port) {
        bound = host.bind(s.id, to, privileged);
    }
    bound.map(|()| 0).map_err(errno::of)
}

/// bindresvport(3): a port below 1024, tried in libc's order: from 600 up, then from 512.
pub fn bind_reserved(s: Sock, addr: *mut libc::sockaddr_in) -> Result<c_int> {
    const PORTS: u32 = 1024 - 600;
    let mut to: libc::sockaddr_in = if addr.is_null() {
        libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: 0 },
            sin_zero: [0; 8],
        }
    } else {
        memory::read(addr.cast_const())?
    };
    if c_int::from(to.sin_family) != libc::AF_INET {
        return Err(Errno(libc::EAFNOSUPPORT));
    }
    let first = pid() % PORTS;
    let ports = (0..PORTS)
        .map(|n| 600 + (first + n) % PORTS)
        .chain(512..600);
    for port in ports {
        to.sin_port = (port as u16).to_be();
        let len = size_of::<libc::sockaddr_in>() as socklen_t;
        match bind(s, (&raw const to).cast(), len) {
            Err(Errno(libc::EADDRINUSE)) => {}
            Ok(_) if !addr.is_null() => return memory::write(addr, to).map(|()| 0),
            other => return other,
        }
    }
    Err(Errno(libc::EADDRINUSE))
}

/// listen(2).
pub fn listen(s: Sock, backlog: c_int) -> Result<c_int> {
    let (sysctl, _) = sysctl::now();
    let fresh = {
        let mut host = s.enter()?;
        let _ = host.follow_settings(s.id, &sysctl);
        host.listen(s.id, backlog).map_err(errno::of)?;
        !host.socket(s.id).map_err(errno::of)?.has_far
    };
    if fresh {
        ends::connect_far(s.rt, s.fd, s.id);
    }
    Ok(0)
}

/// accept(2), accept4(2).
pub fn accept(s: Sock, addr: *mut SockAddr, len: *mut socklen_t, flags: c_int) -> Result<c_int> {
    if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 {
        return Err(Errno(libc::EINVAL));
    }
    // A handler could fork, or never return, while the connection has no name yet.
    blocked::hold();
    // The descriptor comes first, as in the kernel: without one the connection stays queued.
    let near = ends::near(flags | libc::SOCK_CLOEXEC)?;
    let reserved = Reserved::new(near.raw(), flags & libc::SOCK_CLOEXEC != 0);
    let owner = owner(near.raw());
    let nonblock = flags & libc::SOCK_NONBLOCK != 0;
    let attempt = |host: &mut Host<'_>| match host.accept(s.id, owner) {
        Err(Error::WouldBlock) => None,
        Err(e) => Some(Err(e)),
        Ok((child, peer)) => {
            ends::lower(host, s.fd, s.id);
            let _ = host.set_nonblock(child, nonblock);
            let family = host.socket(child).map_or(Family::V4, |c| c.family);
            Some(Ok((child, peer, family)))
        }
    };
    let (first, limit, waits) = {
        let mut host = s.enter()?;
        let l = host.socket(s.id).map_err(errno::of)?;
        let (limit, waits) = (timeout(l.options.rcvtimeo), !l.nonblock);
        (attempt(&mut host), limit, waits)
    };
    let accepted = match first {
        Some(r) => r,
        None if waits => wait(s, limit, Errno(libc::EAGAIN), |host| attempt(host))?,
        None => return Err(Errno(libc::EAGAIN)),
    };
    let (child, peer, family) = accepted.map_err(errno::of)?;
    // A bad address costs the connection, in the kernel too.
    let told = if addr.is_null() {
        Ok(())
    } else {
        sockaddr::write(family, peer, addr, len)
    };
    let done = told.and_then(|()| ends::name(s.rt, near.raw(), child));
    if let Err(e) = done {
        s.rt.enter().close(child);
        return Err(e);
    }
    ends::connect_far(s.rt, near.raw(), child);
    drop(reserved);
    let fd = near.into_raw();
    fdtable::set(fd, Entry::Ours(child));
    Ok(fd)
}

/// connect(2).
pub fn connect(s: Sock, addr: *const SockAddr, len: socklen_t) -> Result<c_int> {
    let given = Given::read(addr, len)?;
    if given.len() < size_of::<libc::sa_family_t>() {
        return Err(Errno(libc::EINVAL));
    }
    if given.family() == libc::AF_UNSPEC {
        s.enter()?.dissolve(s.id).map_err(errno::of)?;
        return Ok(0);
    }
    let (sysctl, _) = sysctl::now();
    let (begun, timeout, nonblock, has_far) = {
        let mut host = s.enter()?;
        host.follow_settings(s.id, &sysctl).map_err(errno::of)?;
        let socket = host.socket(s.id).map_err(errno::of)?;
        let (sndtimeo, nonblock) = (socket.options.sndtimeo, socket.nonblock);
        let to = given.for_connect(socket.family)?;
        let later = socket.options.fastopen_connect && !socket.connecting;
        let mut begun = if later {
            match host.connect_later(s.id, to) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Error::InProgress),
                Err(e) => Err(e),
            }
        } else {
            host.connect(s.id, to)
        };
        if begun == Err(Error::InProgress) && !nonblock {
            // On the loopback it is done already.
            begun = match host.connect_result(s.id) {
                Err(Error::Already) => begun,
                other => other,
            };
        }
        let has_far = host.socket(s.id).is_ok_and(|s| s.has_far);
        ends::lower(&mut host, s.fd, s.id);
        (begun, timeout(sndtimeo), nonblock, has_far)
    };
    if !has_far && matches!(begun, Ok(()) | Err(Error::InProgress)) {
        ends::connect_far(s.rt, s.fd, s.id);
    }
    let pending = match begun {
        Ok(()) => return Ok(0),
        Err(e @ (Error::InProgress | Error::Already)) => errno::of(e),
        Err(e) => return failed(e),
    };
    if nonblock {
        return Err(pending);
    }
    let done = wait(s, timeout, pending, |host| {
        match host.connect_result(s.id) {
            Err(Error::Already) => None,
            other => {
                ends::lower(host, s.fd, s.id);
                Some(other)
            }
        }
    })?;
    done.map(|()| 0).map_err(errno::of)
}

/// shutdown(2).
pub fn shutdown(s: Sock, how: c_int) -> Result<c_int> {
    let how = match how {
        libc::SHUT_RD => How::Read,
        libc::SHUT_WR => How::Write,
        libc::SHUT_RDWR => How::Both,
        _ => return Err(Errno(libc::EINVAL)),
    };
    s.enter()?.shutdown(s.id, how).map_err(errno::of)?;
    Ok(0)
}

/// close(2) of a descriptor that is one of our sockets.
pub fn close(s: Sock) -> Result<c_int> {
    fdtable::forget_socket(s.fd, s.id);
    blocked::keep_for_blocked(s.fd, s.id);
    ends::close_near(s.fd)?;
    released(s.rt, s.id);
    Ok(0)
}

/// A descriptor of `id` was closed in this process, by close or by being replaced.
pub fn released(rt: &'static Runtime, id: SockId) {
    if process::in_vfork_child() {
        // The parent has it still.
        return;
    }
    if ends::closed(rt, id) {
        linger(rt, id);
    }
}

/// SO_LINGER with a time: close returns when the data and the FIN are acknowledged, or the
/// time is over (inet_release; O_NONBLOCK makes no difference).
fn linger(rt: &'static Runtime, id: SockId) {
    let seconds = match rt.enter().socket(id) {
        Ok(s) => s.options.linger.unwrap_or(0),
        Err(_) => return,
    };
    let wait = Wait {
        sockets: &[id],
        timeout: Some(Duration::from_secs(seconds.into())),
        ..Wait::default()
    };
    let handlers_wait = blocked::is_held();
    let _ = blocked::block(rt, wait, |host, _| match host.info(id) {
        Ok((State::FinWait1 | State::Closing | State::LastAck, _)) => None,
        _ => Some(()),
    });
    if !handlers_wait {
        blocked::deliver();
    }
}

/// A time limit as sockets keep it: microseconds, 0 for none, `u64::MAX` for no wait.
pub fn timeout(micros: u64) -> Option<Duration> {
    match micros {
        0 => None,
        u64::MAX => Some(Duration::ZERO),
        micros => Some(Duration::from_micros(micros)),
    }
}

/// Block in a call on socket `s` until `attempt` gives something. `late` is the errno when
/// the time is over. The caller lets go of all it has and passes EINTR and [`RESTART`] on to
/// [`crate::dispatch`], where handlers run.
pub fn wait<R>(
    s: Sock,
    timeout: Option<Duration>,
    late: Errno,
    mut attempt: impl FnMut(&mut Host<'_>) -> Option<R>,
) -> Result<R> {
    let sockets = [s.id];
    let wait = Wait {
        sockets: &sockets,
        timeout,
        stops: true,
        ..Wait::default()
    };
    match blocked::block(s.rt, wait, |host, _| attempt(host)) {
        Ended::Woken(Woken::Ready(r)) => Ok(r),
        Ended::Woken(Woken::TimedOut) => Err(late),
        // sock_intr_errno: with a time limit a call is never restarted.
        Ended::Woken(Woken::Interrupted { restart: true }) if timeout.is_none() => Err(RESTART),
        Ended::Woken(Woken::Interrupted { .. }) => Err(Errno(libc::EINTR)),
        Ended::Cancelled => Err(CANCELLED),
    }
}
