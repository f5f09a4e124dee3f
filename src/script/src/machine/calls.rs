//! System calls on a [`Machine`]: descriptors, errnos, blocking.

use super::{Descriptor, Machine, epoll, options};
use crate::ancillary::Control;
use crate::errno;
use crate::request::{Reply, Request};
use utcp_stack::addr::{Addr, Endpoint};
use utcp_stack::stack::{Error, Family, How, Opt, Owner, Ready, SockId};
use utcp_stack::tcp::State;
use utcp_stack::time::{Duration, Instant};

/// How far a call has come that may have to wait.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub begun: bool,
    /// Bytes sent, or received.
    pub done: usize,
    pub data: Vec<u8>,
    /// When it stops waiting.
    pub deadline: Instant,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress {
            begun: false,
            done: 0,
            data: Vec::new(),
            deadline: Instant::NEVER,
        }
    }
}

/// What a call gives, an errno, or that it must wait.
pub(super) enum Stop {
    Errno(i32),
    Wait,
}

pub(super) type Result<T> = core::result::Result<T, Stop>;

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Errno(errno::of(e).0)
    }
}

impl From<i32> for Stop {
    fn from(e: i32) -> Stop {
        Stop::Errno(e)
    }
}

/// A socket behind a descriptor.
#[derive(Clone, Copy)]
pub(super) struct Sock {
    pub id: SockId,
    pub nonblock: bool,
    pub family: Family,
}

/// The endpoint in a sockaddr, with the checks of bind and connect.
pub(super) fn endpoint(bytes: &[u8], family: Family) -> Result<Endpoint> {
    let port = |b: &[u8]| u16::from_be_bytes([b[2], b[3]]);
    let named = match bytes {
        [a, b, ..] => i32::from(u16::from_ne_bytes([*a, *b])),
        _ => return Err(libc::EINVAL.into()),
    };
    match family {
        Family::V4 => {
            if bytes.len() < 16 {
                return Err(libc::EINVAL.into());
            }
            if named != libc::AF_INET {
                return Err(libc::EAFNOSUPPORT.into());
            }
            let addr = core::net::Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            Ok(Endpoint::new(Addr::v4(addr), port(bytes)))
        }
        Family::V6 => {
            if named == libc::AF_INET6 && bytes.len() < 24 {
                return Err(libc::EINVAL.into());
            }
            if named != libc::AF_INET6 {
                return Err(libc::EAFNOSUPPORT.into());
            }
            let mut addr = [0; 16];
            addr.copy_from_slice(&bytes[8..24]);
            Ok(Endpoint::new(Addr(addr), port(bytes)))
        }
    }
}

/// A sockaddr of `family`.
fn sockaddr(family: Family, e: Endpoint) -> Vec<u8> {
    match family {
        Family::V4 => {
            let mut out = (libc::AF_INET as u16).to_ne_bytes().to_vec();
            out.extend(e.port.to_be_bytes());
            out.extend(&e.addr.0[12..]);
            out.extend([0; 8]);
            out
        }
        Family::V6 => {
            let mut out = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
            out.extend(e.port.to_be_bytes());
            out.extend([0; 4]);
            out.extend(e.addr.0);
            out.extend([0; 4]);
            out
        }
    }
}

/// Readiness as poll and epoll have it.
pub(super) fn poll_bits(r: Ready) -> u32 {
    let bits = [
        (Ready::IN, libc::POLLIN | libc::POLLRDNORM),
        (Ready::OUT, libc::POLLOUT | libc::POLLWRNORM),
        (Ready::PRI, libc::POLLPRI),
        (Ready::ERR, libc::POLLERR),
        (Ready::HUP, libc::POLLHUP),
        (Ready::RDHUP, libc::POLLRDHUP),
    ];
    bits.iter()
        .filter(|(b, _)| r.has(*b))
        .fold(0, |all, (_, bits)| all | *bits as u32)
}

impl Machine {
    /// Try a call; `None` if it has to wait.
    pub(super) fn attempt(&mut self, request: &Request, p: &mut Progress) -> Option<Reply> {
        let r = self.perform(request, p);
        p.begun = true;
        match r {
            Ok(reply) => Some(reply),
            Err(Stop::Errno(e)) => Some(Reply::error(e)),
            Err(Stop::Wait) => None,
        }
    }

    fn perform(&mut self, request: &Request, p: &mut Progress) -> Result<Reply> {
        let zero = Reply::value(0);
        if let Request::Connect { fd, .. }
        | Request::Listen { fd, .. }
        | Request::Send { fd, .. }
        | Request::SetOpt { fd, .. } = request
            && let Some(&Descriptor::Socket { id, .. }) = self.descriptors.get(fd)
        {
            let sysctl = self.sysctl;
            let _ = self.with(|h| h.follow_settings(id, &sysctl));
        }
        match request {
            Request::Socket {
                domain,
                kind,
                protocol,
            } => self.socket(*domain, *kind, *protocol),
            Request::Bind { fd, addr } => {
                let s = self.sock(*fd)?;
                let to = endpoint(addr, s.family)?;
                self.with(|h| h.bind(s.id, to, true))?;
                Ok(zero)
            }
            Request::Listen { fd, backlog } => {
                let s = self.sock(*fd)?;
                self.with(|h| h.listen(s.id, *backlog))?;
                Ok(zero)
            }
            Request::Accept { fd, flags } => self.accept(*fd, *flags, p),
            Request::Connect { fd, addr } => self.connect(*fd, addr, p),
            Request::Recv {
                fd,
                len,
                flags,
                control,
            } => {
                let mut control = Control::new(*control);
                let mut reply = self.recv(*fd, *len, *flags, &mut control, p)?;
                reply.control = control.bytes().to_vec();
                if control.truncated {
                    reply.flags |= libc::MSG_CTRUNC;
                }
                Ok(reply)
            }
            Request::Send {
                fd,
                data,
                parts,
                flags,
                to,
            } => {
                let reply = match self.send_fast(*fd, data, *flags, to, p)? {
                    Some(reply) => reply,
                    None => self.send(*fd, data, parts, *flags, p)?,
                };
                if reply.value > 0 {
                    let s = self.sock(*fd)?;
                    let zerocopy = flags & libc::MSG_ZEROCOPY != 0;
                    self.with(|h| h.send_ended(s.id, zerocopy, None));
                }
                Ok(reply)
            }
            Request::Close { fd } => self.close(*fd, p),
            Request::Shutdown { fd, how } => {
                let s = self.sock(*fd)?;
                let how = match *how {
                    libc::SHUT_RD => How::Read,
                    libc::SHUT_WR => How::Write,
                    libc::SHUT_RDWR => How::Both,
                    _ => return Err(libc::EINVAL.into()),
                };
                self.with(|h| h.shutdown(s.id, how))?;
                Ok(zero)
            }
            Request::SetOpt {
                fd,
                level,
                name,
                value,
            } => {
                let s = self.sock(*fd)?;
                self.with(|h| options::set(h, s.id, s.family, *level, *name, value))
                    .map_err(Stop::Errno)?;
                Ok(zero)
            }
            Request::GetOpt {
                fd,
                level,
                name,
                room,
            } => {
                let s = self.sock(*fd)?;
                let mut value = self
                    .with(|h| options::get(h, s.id, s.family, *level, *name))
                    .map_err(Stop::Errno)?;
                value.truncate(*room);
                Ok(Reply::data(0, value))
            }
            Request::Fcntl { fd, cmd, arg } => self.fcntl(*fd, *cmd, *arg),
            Request::Ioctl { fd, request, .. } => {
                let s = self.sock(*fd)?;
                let n = match *request {
                    libc::FIONREAD => self.with(|h| h.readable_bytes(s.id))?,
                    0x8905 /* SIOCATMARK */ => self.with(|h| h.at_mark(s.id))?.into(),
                    libc::TIOCOUTQ => self.with(|h| h.unacked_bytes(s.id))?,
                    _ => return Err(libc::EINVAL.into()),
                };
                Ok(Reply::data(0, (n as i32).to_ne_bytes().to_vec()))
            }
            Request::Poll { fds, timeout_ms } => self.poll(fds, *timeout_ms, p),
            Request::EpollCreate { .. } => {
                let fd = self.new_fd(Descriptor::Epoll(epoll::Interest::default()));
                Ok(Reply::value(fd.into()))
            }
            Request::EpollCtl {
                epoll,
                op,
                fd,
                events,
                data,
            } => {
                self.epoll_ctl(*epoll, *op, *fd, *events, *data)
                    .map_err(Stop::Errno)?;
                Ok(zero)
            }
            Request::EpollWait {
                epoll,
                most,
                timeout_ms,
            } => {
                let ready = self.epoll_ready(*epoll, *most).map_err(Stop::Errno)?;
                if ready.is_empty() {
                    self.wait_ms(*timeout_ms, p)?;
                }
                Ok(Reply {
                    value: ready.len() as i64,
                    ready,
                    ..Reply::default()
                })
            }
            Request::SockName { fd } => {
                let s = self.sock(*fd)?;
                let e = self.with(|h| h.local_addr(s.id))?;
                Ok(Reply::data(0, sockaddr(s.family, e)))
            }
            Request::PeerName { fd } => {
                let s = self.sock(*fd)?;
                let e = self.with(|h| h.peer_addr(s.id))?;
                Ok(Reply::data(0, sockaddr(s.family, e)))
            }
        }
    }

    pub(super) fn new_fd(&mut self, d: Descriptor) -> i32 {
        let fd = (self.first_fd..)
            .find(|n| !self.descriptors.contains_key(n))
            .unwrap_or(i32::MAX);
        self.descriptors.insert(fd, d);
        fd
    }

    pub(super) fn sock(&mut self, fd: i32) -> Result<Sock> {
        match self.descriptors.get(&fd) {
            Some(&Descriptor::Socket { id, nonblock, .. }) => {
                let family = self.with(|h| h.socket(id).map(|s| s.family))?;
                Ok(Sock {
                    id,
                    nonblock,
                    family,
                })
            }
            Some(Descriptor::Epoll(_)) => Err(libc::ENOTSOCK.into()),
            None => Err(libc::EBADF.into()),
        }
    }

    /// Poll bits of a descriptor.
    pub(super) fn readiness(&mut self, fd: i32) -> Option<u32> {
        match self.descriptors.get(&fd)? {
            &Descriptor::Socket { id, .. } => {
                let ready = self.with(|h| h.socket(id).map(|s| s.ready_now()));
                Some(ready.map_or(libc::POLLNVAL as u32, poll_bits))
            }
            Descriptor::Epoll(_) => Some(0),
        }
    }

    /// Wait, for at most that long from the first time on; 0 microseconds: for ever.
    pub(super) fn wait(&mut self, nonblock: bool, limit_us: u64, p: &mut Progress) -> Result<()> {
        if nonblock {
            return Ok(());
        }
        if !p.begun && limit_us > 0 {
            p.deadline = self.wire.now + Duration::from_micros(limit_us);
        }
        if self.wire.now < p.deadline {
            return Err(Stop::Wait);
        }
        Ok(())
    }

    /// As poll's timeout: 0 doesn't wait, a negative one waits for ever.
    fn wait_ms(&mut self, ms: i32, p: &mut Progress) -> Result<()> {
        let us = u64::try_from(ms).unwrap_or(0) * 1000;
        self.wait(ms == 0, us, p)
    }

    fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<Reply> {
        let family = match domain {
            libc::AF_INET => Family::V4,
            libc::AF_INET6 => Family::V6,
            _ => return Err(libc::EAFNOSUPPORT.into()),
        };
        if kind & 15 != libc::SOCK_STREAM || !matches!(protocol, 0 | libc::IPPROTO_TCP) {
            return Err(libc::EPROTONOSUPPORT.into());
        }
        let sysctl = self.sysctl;
        let owner = Owner {
            pid: 1,
            ..Owner::default()
        };
        let id = self.with(|h| h.create(family, owner, &sysctl))?;
        let fd = self.new_fd(Descriptor::Socket {
            id,
            nonblock: kind & libc::SOCK_NONBLOCK != 0,
            flags: 0,
        });
        Ok(Reply::value(fd.into()))
    }

    fn accept(&mut self, fd: i32, flags: i32, p: &mut Progress) -> Result<Reply> {
        let s = self.sock(fd)?;
        let owner = Owner {
            pid: 1,
            ..Owner::default()
        };
        match self.with(|h| h.accept(s.id, owner)) {
            Ok((id, peer)) => {
                let fd = self.new_fd(Descriptor::Socket {
                    id,
                    nonblock: flags & libc::SOCK_NONBLOCK != 0,
                    flags: 0,
                });
                Ok(Reply::data(fd.into(), sockaddr(s.family, peer)))
            }
            Err(Error::WouldBlock) => {
                let limit = self.with(|h| h.get_option(s.id, Opt::RcvTimeo))?;
                self.wait(s.nonblock, limit as u64, p)?;
                Err(libc::EAGAIN.into())
            }
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn connect(&mut self, fd: i32, addr: &[u8], p: &mut Progress) -> Result<Reply> {
        let s = self.sock(fd)?;
        if addr.len() < 2 {
            return Err(libc::EINVAL.into());
        }
        let named = u16::from_ne_bytes([addr[0], addr[1]]);
        if i32::from(named) == libc::AF_UNSPEC {
            self.with(|h| h.dissolve(s.id))?;
            return Ok(Reply::value(0));
        }
        let to = endpoint(addr, s.family)?;
        let later = self.with(|h| {
            h.socket(s.id)
                .is_ok_and(|s| s.options.fastopen_connect && !s.connecting)
        });
        let r = if p.begun {
            self.with(|h| h.connect_result(s.id))
        } else if later {
            match self.with(|h| h.connect_later(s.id, to)) {
                Ok(true) => return Ok(Reply::value(0)),
                Ok(false) => Err(Error::InProgress),
                Err(e) => Err(e),
            }
        } else {
            self.with(|h| h.connect(s.id, to))
        };
        match r {
            Ok(()) => Ok(Reply::value(0)),
            Err(e @ (Error::InProgress | Error::Already)) => {
                if !p.begun && !s.nonblock {
                    // It may be over already.
                    match self.with(|h| h.connect_result(s.id)) {
                        Err(Error::Already) => {}
                        Ok(()) => return Ok(Reply::value(0)),
                        Err(e) => return Err(e.into()),
                    }
                }
                let limit = self.with(|h| h.get_option(s.id, Opt::SndTimeo))?;
                self.wait(s.nonblock, limit as u64, p)?;
                Err(if s.nonblock { e } else { Error::InProgress }.into())
            }
            Err(e) => Err(e.into()),
        }
    }

    fn close(&mut self, fd: i32, p: &mut Progress) -> Result<Reply> {
        if !p.begun {
            match self.descriptors.get(&fd) {
                None => return Err(libc::EBADF.into()),
                Some(Descriptor::Epoll(_)) => {
                    self.descriptors.remove(&fd);
                    return Ok(Reply::value(0));
                }
                Some(_) => self.forget_in_epolls(fd),
            }
        }
        let Some(&Descriptor::Socket { id, .. }) = self.descriptors.get(&fd) else {
            return Ok(Reply::value(0));
        };
        let linger = self.with(|h| h.get_option(id, Opt::Linger)).unwrap_or(-1);
        if !p.begun {
            self.with(|h| h.close(id));
        }
        // SO_LINGER waits while data or the FIN are not acknowledged (sk_stream_wait_close).
        let under_way = self.with(|h| {
            h.socket(id).is_ok_and(|s| {
                matches!(s.state(), State::FinWait1 | State::Closing | State::LastAck)
            })
        });
        if linger > 0 && under_way {
            self.wait(false, linger as u64 * 1_000_000, p)?;
        }
        self.descriptors.remove(&fd);
        Ok(Reply::value(0))
    }

    fn fcntl(&mut self, fd: i32, cmd: i32, arg: i64) -> Result<Reply> {
        let s = self.sock(fd)?;
        let Some(Descriptor::Socket {
            nonblock, flags, ..
        }) = self.descriptors.get_mut(&fd)
        else {
            return Err(libc::EBADF.into());
        };
        Ok(Reply::value(match cmd {
            libc::F_GETFL => {
                let on = if *nonblock { libc::O_NONBLOCK } else { 0 };
                i64::from(libc::O_RDWR | on)
            }
            libc::F_SETFL => {
                *nonblock = arg as i32 & libc::O_NONBLOCK != 0;
                let on = *nonblock;
                self.with(|h| h.set_nonblock(s.id, on))?;
                0
            }
            libc::F_GETFD => i64::from(*flags),
            libc::F_SETFD => {
                *flags = arg as i32;
                0
            }
            _ => return Err(libc::EINVAL.into()),
        }))
    }

    fn poll(&mut self, fds: &[(i32, i16)], timeout_ms: i32, p: &mut Progress) -> Result<Reply> {
        let always = (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) as u32;
        let mut ready = Vec::new();
        for (fd, events) in fds {
            let bits = match self.readiness(*fd) {
                Some(bits) => bits & (*events as u16 as u32 | always),
                None if *fd < 0 => 0,
                None => libc::POLLNVAL as u32,
            };
            ready.push((bits, *fd as u64));
        }
        let count = ready.iter().filter(|(bits, _)| *bits != 0).count();
        if count == 0 {
            self.wait_ms(timeout_ms, p)?;
        }
        Ok(Reply {
            value: count as i64,
            ready,
            ..Reply::default()
        })
    }
}
