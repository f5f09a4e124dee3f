//! System calls on a [`Machine`]: descriptors, errnos, blocking.

use super::{Descriptor, Machine, epoll, options};
use crate::ancillary::{Control, without_packet};
use crate::errno;
use crate::request::{Reply, Request};
use std::io::{IoSlice, IoSliceMut};
use utcp_stack::addr::{Addr, Endpoint};
use utcp_stack::stack::{Error, Family, How, Opt, Owner, Ready, RecvFlags, SendFlags, SockId};
use utcp_stack::tcp::State;
use utcp_stack::time::{Duration, Instant};

/// How far a call has come that may have to wait.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    begun: bool,
    /// Bytes sent, or received.
    done: usize,
    data: Vec<u8>,
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
enum Stop {
    Errno(i32),
    Wait,
}

type Result<T> = core::result::Result<T, Stop>;

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
struct Sock {
    id: SockId,
    nonblock: bool,
    family: Family,
}

/// The endpoint in a sockaddr, with the checks of bind and connect.
fn endpoint(bytes: &[u8], family: Family) -> Result<Endpoint> {
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

    fn sock(&mut self, fd: i32) -> Result<Sock> {
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
    fn wait(&mut self, nonblock: bool, limit_us: u64, p: &mut Progress) -> Result<()> {
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

    fn connect(&mut self, fd: i32, addr: &[u8], p: &mut Progress) -> Result<Reply> {
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

    /// MSG_FASTOPEN, and the first send under TCP_FASTOPEN_CONNECT: connects. None where there is
    /// (something left) to be sent in the usual way.
    fn send_fast(
        &mut self,
        fd: i32,
        data: &[u8],
        flags: i32,
        to: &[u8],
        p: &mut Progress,
    ) -> Result<Option<Reply>> {
        let s = self.sock(fd)?;
        let (deferred, connecting) = self.with(|h| {
            h.socket(s.id)
                .map_or((None, false), |s| (s.deferred, s.connecting))
        });
        let first = !p.begun && (deferred.is_some() || flags & libc::MSG_FASTOPEN != 0);
        if first && connecting {
            // It tells how the connect before it went, as connect would, and then sends.
            return match self.with(|h| h.connect_result(s.id)) {
                Ok(()) => Ok(None),
                Err(e) => Err(e.into()),
            };
        }
        if first {
            let to = match (deferred, to) {
                (Some(to), _) => to,
                (None, [a, b, ..]) => {
                    let named = u16::from_ne_bytes([*a, *b]);
                    if i32::from(named) == libc::AF_UNSPEC {
                        return Err(libc::EOPNOTSUPP.into());
                    }
                    self.with(|h| h.may_connect_fast(s.id))?;
                    endpoint(to, s.family)?
                }
                _ => {
                    self.with(|h| h.may_connect_fast(s.id))?;
                    return Err(libc::EINVAL.into());
                }
            };
            let waits = !s.nonblock && flags & libc::MSG_DONTWAIT == 0;
            p.done = self.with(|h| h.connect_fast(s.id, to, data, waits))?;
        } else if !(p.begun && connecting) {
            return Ok(None);
        }
        match self.with(|h| h.connect_result(s.id)) {
            Ok(()) if p.done == data.len() => Ok(Some(Reply::value(p.done as i64))),
            Ok(()) => Ok(None),
            Err(Error::Already) => {
                let nonblock = s.nonblock || flags & libc::MSG_DONTWAIT != 0;
                let limit = self.with(|h| h.get_option(s.id, Opt::SndTimeo))?;
                self.wait(nonblock, limit as u64, p)?;
                match p.done {
                    0 => Err(libc::EINPROGRESS.into()),
                    n => Ok(Some(Reply::value(n as i64))),
                }
            }
            Err(e) => Err(e.into()),
        }
    }

    fn send(
        &mut self,
        fd: i32,
        data: &[u8],
        parts: &[usize],
        flags: i32,
        p: &mut Progress,
    ) -> Result<Reply> {
        let vectors = cut(data, parts);
        let s = self.sock(fd)?;
        let send_flags = SendFlags {
            oob: flags & libc::MSG_OOB != 0,
            more: flags & libc::MSG_MORE != 0,
            eor: flags & libc::MSG_EOR != 0,
            stamps: None,
            zerocopy: flags & libc::MSG_ZEROCOPY != 0,
        };
        loop {
            let over = self.with(|h| {
                h.socket(s.id)
                    .map_or(true, |s| s.error.is_some() || s.snd_shutdown)
            });
            if p.done > 0 && (p.done == data.len() || over) {
                return Ok(Reply::value(p.done as i64));
            }
            // Whoever waits for room is woken when a third is free (sk_stream_write_space).
            if p.begun && !over && self.readiness(fd).unwrap_or(0) & libc::POLLOUT as u32 == 0 {
                let limit = self.with(|h| h.get_option(s.id, Opt::SndTimeo))?;
                self.wait(s.nonblock, limit as u64, p)?;
            }
            match self.with(|h| h.send(s.id, &vectors, p.done, send_flags)) {
                Ok(n) => {
                    p.done += n;
                    if p.done == data.len() {
                        return Ok(Reply::value(p.done as i64));
                    }
                }
                Err(Error::WouldBlock) => {
                    let limit = self.with(|h| h.get_option(s.id, Opt::SndTimeo))?;
                    let nonblock = s.nonblock || flags & libc::MSG_DONTWAIT != 0;
                    self.wait(nonblock, limit as u64, p)?;
                    return match p.done {
                        0 => Err(libc::EAGAIN.into()),
                        n => Ok(Reply::value(n as i64)),
                    };
                }
                Err(_) if p.done > 0 => return Ok(Reply::value(p.done as i64)),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The oldest entry of the error queue.
    fn recv_notice(&mut self, s: Sock, control: &mut Control) -> Result<Reply> {
        let notice = self.with(|h| h.take_notice(s.id))?.ok_or(libc::EAGAIN)?;
        let asked = self.with(|h| h.get_option(s.id, Opt::Timestamping))? as u32;
        let at = self.epoch + notice.at.since(super::BOOT);
        control.put_notice(&notice, s.family, asked, libc::SO_TIMESTAMPING, at);
        let mut reply = Reply::value(0);
        reply.flags = libc::MSG_ERRQUEUE;
        if without_packet(&notice, asked) {
            reply.flags |= libc::MSG_TRUNC;
        }
        Ok(reply)
    }

    fn recv(
        &mut self,
        fd: i32,
        len: usize,
        flags: i32,
        control: &mut Control,
        p: &mut Progress,
    ) -> Result<Reply> {
        let s = self.sock(fd)?;
        if flags & libc::MSG_ERRQUEUE != 0 {
            return self.recv_notice(s, control);
        }
        let peek = flags & libc::MSG_PEEK != 0;
        if flags & libc::MSG_OOB != 0 {
            let byte = self.with(|h| h.recv_urgent(s.id, peek))?;
            let data: Vec<u8> = byte.into_iter().take(len).collect();
            return Ok(Reply::data(data.len() as i64, data));
        }
        let lowat = self.with(|h| h.get_option(s.id, Opt::RcvLowat))? as usize;
        let target = if flags & libc::MSG_WAITALL != 0 {
            len
        } else {
            lowat.min(len)
        };
        let mut ended = Ok(());
        loop {
            let done = p.data.len();
            if done > 0 && done == len {
                break;
            }
            let mut part = vec![0; len - done];
            let recv_flags = RecvFlags {
                peek,
                peek_offset: if peek { done } else { 0 },
                trunc: false,
            };
            let some = done > 0;
            let nothing_more = self.with(|h| {
                h.socket(s.id).map_or(true, |s| {
                    let seen = if peek { done } else { 0 };
                    s.rx.bytes as usize <= seen
                        && (s.error.is_some()
                            || s.eof
                            || s.rcv_shutdown
                            || s.state() == State::Closed)
                })
            });
            if some && nothing_more {
                break;
            }
            match self.with(|h| h.recv(s.id, &mut [IoSliceMut::new(&mut part)], recv_flags)) {
                Ok(0) => break,
                Ok(n) => {
                    p.data.extend(&part[..n]);
                    if n < part.len() && p.data.len() >= target {
                        break;
                    }
                }
                Err(Error::WouldBlock) => {
                    if done >= target.max(1) {
                        break;
                    }
                    let limit = self.with(|h| h.get_option(s.id, Opt::RcvTimeo))?;
                    let nonblock = s.nonblock || flags & libc::MSG_DONTWAIT != 0;
                    self.wait(nonblock, limit as u64, p)?;
                    ended = Err(libc::EAGAIN);
                    break;
                }
                Err(e) => {
                    ended = Err(errno::of(e).0);
                    break;
                }
            }
        }
        let data = core::mem::take(&mut p.data);
        let (options, came) = self.with(|h| {
            let options = h.socket(s.id).map(|s| s.options);
            options.map(|o| (o, h.read_at(s.id)))
        })?;
        if let Some(came) = came.filter(|_| !data.is_empty()) {
            control.put_arrival(&options, self.epoch + came.since(super::BOOT));
        }
        if options.inq {
            control.put_inq(self.with(|h| h.inq(s.id))?);
        }
        match ended {
            Err(e) if data.is_empty() => Err(e.into()),
            _ if flags & libc::MSG_TRUNC != 0 && !peek => {
                Ok(Reply::data(data.len() as i64, Vec::new()))
            }
            _ => Ok(Reply::data(data.len() as i64, data)),
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

/// The vectors of a call: `data` in pieces of these lengths; in one if there are none.
fn cut<'a>(mut data: &'a [u8], parts: &[usize]) -> Vec<IoSlice<'a>> {
    let mut vectors = Vec::new();
    for &len in parts {
        let (part, rest) = data.split_at(len.min(data.len()));
        vectors.push(IoSlice::new(part));
        data = rest;
    }
    if parts.is_empty() || !data.is_empty() {
        vectors.push(IoSlice::new(data));
    }
    vectors
}
