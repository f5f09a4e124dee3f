//! A script's calls: from their text to a [`Request`], and whether the reply is the right one.

use crate::check::pattern;
use crate::flow::PORT;
use crate::model::{Call, Expr, ExprKind};
use crate::names;
use crate::request::{Reply, Request};
use std::collections::HashMap;
use std::net::IpAddr;

/// What calls are about, so far.
#[derive(Clone, Debug)]
pub struct Program {
    /// The real descriptors by the script's.
    fds: HashMap<i64, i32>,
    /// Bytes written and read so far, by the script's descriptor.
    written: HashMap<i64, u32>,
    read: HashMap<i64, u32>,
    /// What `...` stands for: the host's address, the remote one, and the family of sockets.
    pub local: IpAddr,
    /// See `local`.
    pub remote: IpAddr,
    /// AF_INET or AF_INET6.
    pub domain: i32,
    /// The descriptor whose TCP_INFO code looks at (the real one).
    pub last: Option<i32>,
    /// Payload is [`pattern`] everywhere: the script gave no text and used no urgent data.
    pub plain: bool,
}

/// A descriptor that nothing has.
const NO_FD: i32 = 1_000_000;

type Result<T> = core::result::Result<T, String>;

fn arg(call: &Call, n: usize) -> Result<&Expr> {
    call.args
        .get(n)
        .ok_or_else(|| format!("{} lacks its argument {}", call.name, n + 1))
}

/// A number: itself, a constant, or several or-ed.
pub(crate) fn int(e: &Expr) -> Result<i64> {
    match &e.kind {
        ExprKind::Int(n) => Ok(*n),
        ExprKind::Word(w) => {
            names::constant(w).ok_or_else(|| format!("{}: {w} is not known", e.position))
        }
        ExprKind::Or(parts) => parts.iter().try_fold(0, |all, p| Ok(all | int(p)?)),
        _ => Err(format!("{}: a number is expected", e.position)),
    }
}

fn int32(e: &Expr) -> Result<i32> {
    // Constants like 0xffffffff are bits.
    Ok(int(e)? as i32)
}

fn size(e: &Expr) -> Result<usize> {
    let n = usize::try_from(int(e)?).ok().filter(|n| *n <= 1 << 26);
    n.ok_or_else(|| format!("{}: that length can't be", e.position))
}

pub(crate) fn field<'a>(e: &'a Expr, name: &str) -> Option<&'a Expr> {
    match &e.kind {
        ExprKind::Struct(fields) => fields
            .iter()
            .find(|(n, _)| n.as_deref() == Some(name))
            .map(|(_, e)| e),
        _ => None,
    }
}

/// The bytes of a sockaddr.
pub fn sockaddr(addr: IpAddr, port: u16, domain: i32) -> Vec<u8> {
    let port = port.to_be_bytes();
    match (addr, domain) {
        (IpAddr::V4(a), libc::AF_INET) => {
            let mut out = (libc::AF_INET as u16).to_ne_bytes().to_vec();
            out.extend(port);
            out.extend(a.octets());
            out.extend([0; 8]);
            out
        }
        (a, _) => {
            let a = match a {
                IpAddr::V4(a) if a.is_unspecified() => core::net::Ipv6Addr::UNSPECIFIED,
                IpAddr::V4(a) => a.to_ipv6_mapped(),
                IpAddr::V6(a) => a,
            };
            let mut out = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
            out.extend(port);
            out.extend([0; 4]);
            out.extend(a.octets());
            out.extend([0; 4]);
            out
        }
    }
}

impl Program {
    /// One that has done nothing.
    pub fn new(local: IpAddr, remote: IpAddr, domain: i32) -> Program {
        Program {
            fds: HashMap::new(),
            written: HashMap::new(),
            read: HashMap::new(),
            local,
            remote,
            domain,
            last: None,
            plain: true,
        }
    }

    fn fd(&self, e: &Expr) -> Result<i32> {
        Ok(self.fds.get(&int(e)?).copied().unwrap_or(NO_FD))
    }

    fn address(&self, e: &Expr, implied: IpAddr) -> Result<Vec<u8>> {
        if e.kind == ExprKind::Ellipsis {
            return Ok(sockaddr(implied, PORT, self.domain));
        }
        let bad = || format!("{}: this is no address", e.position);
        let family = int(field(e, "sa_family").ok_or_else(bad)?)? as i32;
        if family == libc::AF_UNSPEC {
            let mut out = vec![0; 16];
            out[2..4].copy_from_slice(&PORT.to_be_bytes());
            return Ok(out);
        }
        let port = match field(e, "sin_port").map(|p| &p.kind) {
            Some(ExprKind::Of(_, args)) => int(args.first().ok_or_else(bad)?)? as u16,
            Some(ExprKind::Int(n)) => *n as u16,
            _ => return Err(bad()),
        };
        let addr = match field(e, "sin_addr").map(|p| &p.kind) {
            Some(ExprKind::Of(_, args)) => match args.first().map(|a| &a.kind) {
                Some(ExprKind::Text(t, _)) => {
                    let text = core::str::from_utf8(t).map_err(|_| bad())?;
                    text.parse::<IpAddr>().map_err(|_| bad())?
                }
                _ => return Err(bad()),
            },
            _ => implied,
        };
        Ok(sockaddr(addr, port, family))
    }

    /// What to send: `n` bytes of a text, or of the pattern from the stream's position on.
    fn data(&mut self, fd: &Expr, e: &Expr, n: usize) -> Result<Vec<u8>> {
        match &e.kind {
            ExprKind::Ellipsis => {
                let at = self.written.get(&int(fd)?).copied().unwrap_or(0);
                let one = |i| pattern(at.wrapping_add(i));
                Ok((0..n as u32).map(one).collect())
            }
            ExprKind::Text(t, _) => {
                self.plain = false;
                let mut data = t.clone();
                data.resize(n, 0);
                Ok(data)
            }
            _ => Err(format!("{}: this can't be sent", e.position)),
        }
    }

    /// Bytes in each of some iovecs.
    fn vectors(e: &Expr) -> Result<Vec<usize>> {
        let ExprKind::Array(parts) = &e.kind else {
            return Err(format!("{}: an array of iovecs is expected", e.position));
        };
        let len = |p: &Expr| match &p.kind {
            ExprKind::Struct(f) if f.len() == 2 => size(&f[1].1),
            _ => Err(format!("{}: this is no iovec", p.position)),
        };
        parts.iter().map(len).collect()
    }

    /// Bytes in all of them.
    fn iovecs(e: &Expr) -> Result<usize> {
        Ok(Self::vectors(e)?.iter().sum())
    }

    fn all_ellipsis(fd: &Expr) -> Expr {
        Expr {
            position: fd.position,
            kind: ExprKind::Ellipsis,
        }
    }

    /// An option's value as bytes.
    fn option_value(e: &Expr) -> Result<Vec<u8>> {
        Ok(match &e.kind {
            ExprKind::Array(v) => {
                let mut out = Vec::new();
                for n in v {
                    match &n.kind {
                        ExprKind::Struct(_) => out.extend(Self::option_value(n)?),
                        _ => out.extend(int32(n)?.to_ne_bytes()),
                    }
                }
                out
            }
            ExprKind::Text(t, _) => t.clone(),
            ExprKind::Struct(fields) => {
                let mut out = Vec::new();
                for (name, v) in fields {
                    match name.as_deref() {
                        Some("tv_sec" | "tv_usec") => out.extend(int(v)?.to_ne_bytes()),
                        _ => out.extend(int32(v)?.to_ne_bytes()),
                    }
                }
                out
            }
            _ => int32(e)?.to_ne_bytes().to_vec(),
        })
    }

    /// The request that `call` stands for.
    pub fn request(&mut self, call: &Call) -> Result<Request> {
        let a = |n| arg(call, n);
        let flags = |n: usize| call.args.get(n).map_or(Ok(0), int32);
        let fd = || self.fd(arg(call, 0)?);
        Ok(match call.name.as_str() {
            "socket" => Request::Socket {
                domain: match a(0)?.kind {
                    ExprKind::Ellipsis => self.domain,
                    _ => int32(a(0)?)?,
                },
                kind: int32(a(1)?)?,
                protocol: int32(a(2)?)?,
            },
            "bind" => Request::Bind {
                fd: fd()?,
                addr: self.address(a(1)?, self.local)?,
            },
            "connect" => Request::Connect {
                fd: fd()?,
                addr: self.address(a(1)?, self.remote)?,
            },
            "listen" => Request::Listen {
                fd: fd()?,
                backlog: int32(a(1)?)?,
            },
            "accept" => Request::Accept {
                fd: fd()?,
                flags: 0,
            },
            "accept4" => Request::Accept {
                fd: fd()?,
                flags: flags(3)?,
            },
            "read" | "recv" | "recvfrom" => Request::Recv {
                fd: fd()?,
                len: size(a(2)?)?,
                flags: flags(3)?,
                control: 0,
            },
            "readv" => Request::Recv {
                fd: fd()?,
                len: Self::iovecs(a(1)?)?,
                flags: 0,
                control: 0,
            },
            "recvmsg" => Request::Recv {
                fd: fd()?,
                len: Self::iovecs(field(a(1)?, "msg_iov").ok_or("a msghdr has a msg_iov")?)?,
                flags: flags(2)?,
                control: match field(a(1)?, "msg_control") {
                    Some(_) => 256,
                    None => 0,
                },
            },
            "write" | "send" | "sendto" => {
                let to = match call.args.get(4).map(|e| &e.kind) {
                    Some(ExprKind::Ellipsis) => self.address(a(4)?, self.remote)?,
                    _ => Vec::new(),
                };
                Request::Send {
                    fd: fd()?,
                    data: self.data(a(0)?, a(1)?, size(a(2)?)?)?,
                    parts: Vec::new(),
                    flags: flags(3)?,
                    to,
                }
            }
            "writev" => {
                let parts = Self::vectors(a(1)?)?;
                let n = parts.iter().sum();
                Request::Send {
                    fd: fd()?,
                    data: self.data(a(0)?, &Self::all_ellipsis(a(0)?), n)?,
                    parts,
                    flags: 0,
                    to: Vec::new(),
                }
            }
            "sendmsg" => {
                let iov = field(a(1)?, "msg_iov").ok_or("a msghdr has a msg_iov")?;
                let parts = Self::vectors(iov)?;
                let n = parts.iter().sum();
                Request::Send {
                    fd: fd()?,
                    data: self.data(a(0)?, &Self::all_ellipsis(a(0)?), n)?,
                    parts,
                    flags: flags(2)?,
                    to: Vec::new(),
                }
            }
            "close" => Request::Close { fd: fd()? },
            "shutdown" => Request::Shutdown {
                fd: fd()?,
                how: int32(a(1)?)?,
            },
            "setsockopt" => Request::SetOpt {
                fd: fd()?,
                level: int32(a(1)?)?,
                name: int32(a(2)?)?,
                value: Self::option_value(a(3)?)?,
            },
            "getsockopt" => Request::GetOpt {
                fd: fd()?,
                level: int32(a(1)?)?,
                name: int32(a(2)?)?,
                room: match &a(4)?.kind {
                    ExprKind::Array(v) => v.first().map_or(Ok(4), size)?,
                    _ => size(a(4)?)?,
                },
            },
            "fcntl" => Request::Fcntl {
                fd: fd()?,
                cmd: int32(a(1)?)?,
                arg: call.args.get(2).map_or(Ok(0), int)?,
            },
            "ioctl" => Request::Ioctl {
                fd: fd()?,
                request: int(a(1)?)? as u64,
                arg: 0,
            },
            "poll" => Request::Poll {
                fds: self.pollfds(a(0)?)?,
                timeout_ms: int32(a(2)?)?,
            },
            "epoll_create" | "epoll_create1" => Request::EpollCreate { flags: 0 },
            "epoll_ctl" => self.epoll_ctl(call)?,
            "epoll_wait" => Request::EpollWait {
                epoll: fd()?,
                most: size(a(2)?)?,
                timeout_ms: int32(a(3)?)?,
            },
            "getsockname" => Request::SockName { fd: fd()? },
            "getpeername" => Request::PeerName { fd: fd()? },
            other => return Err(format!("there is no call {other} here")),
        })
    }

    fn pollfds(&self, e: &Expr) -> Result<Vec<(i32, i16)>> {
        let ExprKind::Array(items) = &e.kind else {
            return Err(format!("{}: an array is expected", e.position));
        };
        let one = |e: &Expr| {
            let bad = || format!("{}: this is no pollfd", e.position);
            let fd = self.fd(field(e, "fd").ok_or_else(bad)?)?;
            Ok((fd, int(field(e, "events").ok_or_else(bad)?)? as i16))
        };
        items.iter().map(one).collect()
    }

    fn epoll_ctl(&self, call: &Call) -> Result<Request> {
        let event = call.args.get(3);
        let value = |name| match event.and_then(|e| field(e, name)) {
            Some(e) => int(e).map(Some),
            None => Ok(None),
        };
        let mut data = None;
        for name in ["fd", "ptr", "u32", "u64"] {
            data = data.or(value(name)?);
        }
        Ok(Request::EpollCtl {
            epoll: self.fd(arg(call, 0)?)?,
            op: int32(arg(call, 1)?)?,
            fd: self.fd(arg(call, 2)?)?,
            events: value("events")?.unwrap_or(0) as u32,
            data: data.unwrap_or(0) as u64,
        })
    }

    /// Whether the call gave what the script says.
    pub fn check(&mut self, call: &Call, request: &Request, reply: &Reply) -> Result<()> {
        if reply.value < 0 {
            let name = names::errno_name(reply.errno);
            let expected = int(&call.result).unwrap_or(0);
            return match &call.errno {
                Some(e) if expected == -1 && *e == name => Ok(()),
                Some(e) => Err(format!("it failed with {name} instead of {e}")),
                None => Err(format!("it failed with {name}")),
            };
        }
        if let Some(e) = &call.errno {
            return Err(format!(
                "it gave {} instead of failing with {e}",
                reply.value
            ));
        }
        if matches!(
            request,
            Request::Socket { .. } | Request::Accept { .. } | Request::EpollCreate { .. }
        ) {
            let script = int(&call.result)?;
            if script < 0 {
                return Err("it gave a descriptor".to_owned());
            }
            self.fds.insert(script, reply.value as i32);
            self.written.remove(&script);
            self.read.remove(&script);
            if !matches!(request, Request::EpollCreate { .. }) {
                self.last = Some(reply.value as i32);
            }
            return Ok(());
        }
        if call.result.kind != ExprKind::Ellipsis && int(&call.result)? != reply.value {
            return Err(format!("it gave {}", reply.value));
        }
        match request {
            Request::Send { flags, .. } => {
                self.plain &= flags & libc::MSG_OOB == 0;
                let at = self.written.entry(int(arg(call, 0)?)?).or_insert(0);
                *at = at.wrapping_add(reply.value as u32);
                Ok(())
            }
            Request::Recv { flags, control, .. } => {
                if *control > 0 {
                    crate::control::check(arg(call, 1)?, reply)?;
                }
                self.check_data(call, *flags, reply)
            }
            Request::GetOpt { .. } => check_option(arg(call, 3)?, &reply.data),
            Request::Ioctl { .. } => match call.args.get(2) {
                Some(e) => check_option(e, &reply.data),
                None => Ok(()),
            },
            Request::Poll { .. } => check_poll(arg(call, 0)?, reply),
            Request::EpollWait { .. } => check_epoll(arg(call, 1)?, reply),
            Request::Close { .. } => {
                let script = int(arg(call, 0)?)?;
                if self.fds.remove(&script) == self.last {
                    self.last = self.fds.values().max().copied();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_data(&mut self, call: &Call, flags: i32, reply: &Reply) -> Result<()> {
        let script = int(arg(call, 0)?)?;
        let at = self.read.entry(script).or_insert(0);
        let from = *at;
        if flags & (libc::MSG_PEEK | libc::MSG_OOB) == 0 {
            *at = at.wrapping_add(reply.value as u32);
        }
        match call.args.get(1).map(|e| &e.kind) {
            Some(ExprKind::Text(t, _)) if *t != reply.data => Err(format!(
                "it read {:?}",
                String::from_utf8_lossy(&reply.data)
            )),
            Some(ExprKind::Text(..)) => Ok(()),
            _ => {
                let right = (0u32..).zip(&reply.data);
                let mut right = right.map(|(i, b)| pattern(from.wrapping_add(i)) == *b);
                if self.plain && !right.all(|r| r) {
                    return Err("it read other bytes than were sent".to_owned());
                }
                Ok(())
            }
        }
    }
}

/// Compare an option's value: `[1]`, `[1, 2]`, `{onoff=1, linger=2}`, `"text"`, `[...]`.
fn check_option(want: &Expr, got: &[u8]) -> Result<()> {
    match &want.kind {
        ExprKind::Ellipsis => return Ok(()),
        ExprKind::Array(v) if v.iter().any(|e| e.kind == ExprKind::Ellipsis) => return Ok(()),
        ExprKind::Text(t, _) => {
            let got = got.split(|b| *b == 0).next().unwrap_or(got);
            return if got == t {
                Ok(())
            } else {
                Err(format!("the value is {:?}", String::from_utf8_lossy(got)))
            };
        }
        _ => {}
    }
    let want = Program::option_value(want)?;
    let n = want.len().min(got.len());
    if n == 0 || want[..n] != got[..n] {
        let ints = got.chunks_exact(4);
        let ints = ints.map(|c| i32::from_ne_bytes([c[0], c[1], c[2], c[3]]).to_string());
        let ints: Vec<String> = ints.take(8).collect();
        return Err(format!("the value is [{}]", ints.join(", ")));
    }
    Ok(())
}

pub(crate) fn events(bits: u32) -> String {
    const NAMES: [&str; 9] = [
        "POLLIN",
        "POLLPRI",
        "POLLOUT",
        "POLLERR",
        "POLLHUP",
        "POLLNVAL",
        "POLLRDNORM",
        "POLLWRNORM",
        "POLLRDHUP",
    ];
    let set = NAMES
        .iter()
        .filter(|n| names::constant(n).is_some_and(|b| bits & b as u32 != 0));
    let set: Vec<&str> = set.copied().collect();
    if set.is_empty() {
        "0".to_owned()
    } else {
        set.join("|")
    }
}

fn check_poll(want: &Expr, reply: &Reply) -> Result<()> {
    let ExprKind::Array(items) = &want.kind else {
        return Ok(());
    };
    for (item, (bits, _)) in items.iter().zip(&reply.ready) {
        let want = field(item, "revents").map_or(Ok(0), int)? as u32;
        if want != *bits {
            return Err(format!("its revents are {}", events(*bits)));
        }
    }
    Ok(())
}

fn check_epoll(want: &Expr, reply: &Reply) -> Result<()> {
    let one = core::slice::from_ref(want);
    let items = match &want.kind {
        ExprKind::Array(items) => items.as_slice(),
        ExprKind::Struct(_) => one,
        _ => return Ok(()),
    };
    for (item, (bits, data)) in items.iter().zip(&reply.ready) {
        let want = field(item, "events").map_or(Ok(0), int)? as u32;
        if want != *bits {
            return Err(format!("its events are {}", events(*bits)));
        }
        for name in ["fd", "ptr", "u32", "u64"] {
            if let Some(e) = field(item, name)
                && int(e)? as u64 != *data
            {
                return Err(format!("its data are {data}"));
            }
        }
    }
    Ok(())
}
