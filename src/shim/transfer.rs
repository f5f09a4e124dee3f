//! Sending and receiving on the stack.

use crate::dispatch::{CANCELLED, Sock};
use crate::errno::Result;
use crate::fastopen;
use crate::lifecycle::{timeout, wait};
use crate::memory::Access;
use crate::vectors::Buffers;
use crate::{ends, errno, kernel};
use core::ffi::c_int;
use std::io::IoSliceMut;
use utcp_stack::stack::stamping::RECORD;
use utcp_stack::stack::{Asked, Error, Host, Ready, RecvFlags, SendFlags, SockId};
use utcp_stack::sys::Errno;
use utcp_stack::tcp::State;

/// send(2) and everything like it.
pub fn send(s: Sock, data: Buffers, flags: c_int) -> Result<isize> {
    send_stamped(s, data, flags, None)
}

/// The same, with the timestamps that this call asks for in place of the socket's.
pub fn send_stamped(s: Sock, data: Buffers, flags: c_int, stamps: Option<u32>) -> Result<isize> {
    let sent = send_quietly(s, data, flags, stamps);
    if sent == Err(Errno(libc::EPIPE)) && flags & libc::MSG_NOSIGNAL == 0 {
        kernel::raise(libc::SIGPIPE);
    }
    sent
}

fn send_quietly(s: Sock, mut data: Buffers, flags: c_int, stamps: Option<u32>) -> Result<isize> {
    data.look(Access::Read)?;
    let zerocopy = flags & libc::MSG_ZEROCOPY != 0;
    let records = |stamps: u32| stamps & RECORD != 0;
    // Before the first notice comes: who sleeps looks for it then.
    if zerocopy || stamps.is_some_and(records) {
        crate::errepoll::used();
    }
    let stack_flags = SendFlags {
        oob: flags & libc::MSG_OOB != 0,
        more: flags & libc::MSG_MORE != 0,
        eor: flags & libc::MSG_EOR != 0,
        stamps,
        zerocopy,
    };
    let mut attempt = |host: &mut Host<'_>| send_some(host, s, &mut data, stack_flags);
    let (limit, nonblock, stamped, first) = {
        let mut host = s.enter()?;
        let first = attempt(&mut host);
        match host.socket(s.id) {
            Ok(socket) if socket.deferred.is_some() => {
                drop(host);
                return fastopen::send_deferred(s, data, flags);
            }
            Ok(socket) => {
                let o = &socket.options;
                let stamped = records(stamps.unwrap_or(o.timestamping));
                (o.sndtimeo, socket.nonblock, stamped, first)
            }
            Err(_) => (0, true, false, first),
        }
    };
    let ended = match first {
        Some(r) => r,
        None if nonblock || flags & libc::MSG_DONTWAIT != 0 => Err(Errno(libc::EAGAIN)),
        None => {
            let mut asleep = false;
            wait(s, timeout(limit), Errno(libc::EAGAIN), |host| {
                // Who looks takes the first byte that is free, who sleeps is woken by what
                // poll(2) calls writable: a third of the buffer (Linux: sk_stream_write_space).
                let woken = !core::mem::replace(&mut asleep, true) || goes_on(host, s.id);
                woken.then(|| attempt(host)).flatten()
            })
            .and_then(|r| r)
        }
    };
    let sent = partial(ended, data.done());
    if matches!(sent, Ok(n) if n > 0) && (stamped || zerocopy) {
        crate::errepoll::used();
        // (Closed by another thread meanwhile, nobody is to be told.)
        if let Ok(mut host) = s.enter() {
            host.send_ended(s.id, zerocopy, stamps);
        }
    }
    sent
}

/// A sleeping send is woken: there is room enough, or there is no sense in waiting.
fn goes_on(host: &Host<'_>, id: SockId) -> bool {
    let why = Ready::OUT.with(Ready::ERR).with(Ready::HUP);
    host.ready(id).map_or(true, |ready| ready.any(why))
}

/// What was done before an error counts; the error stays for the next call.
fn partial(ended: Result<()>, done: usize) -> Result<isize> {
    match ended {
        Err(CANCELLED) => Err(CANCELLED),
        Err(e) if done == 0 => Err(e),
        _ => Ok(done as isize),
    }
}

/// Send what fits; `None` to wait.
fn send_some(
    host: &mut Host<'_>,
    s: Sock,
    data: &mut Buffers,
    flags: SendFlags,
) -> Option<Result<()>> {
    loop {
        if data.done() > 0 {
            if data.left() == 0 {
                ends::lower(host, s.fd, s.id);
                return Some(Ok(()));
            }
            // The next call is to find the error, not this one.
            let over = host
                .socket(s.id)
                .map_or(true, |s| s.error.is_some() || s.snd_shutdown);
            if over {
                return Some(Ok(()));
            }
        }
        let sent = data.with_input(|parts| {
            // Not all buffers of a call are handed over at a time: what the flags say is of the
            // last bytes, and those before wait for them.
            let last = parts.iter().map(|p| p.len()).sum::<usize>() == data.left();
            let flags = SendFlags {
                oob: flags.oob && last,
                eor: flags.eor && last,
                more: flags.more || !last,
                stamps: if last { flags.stamps } else { Some(0) },
                ..flags
            };
            host.send(s.id, parts, 0, flags)
        });
        match sent {
            Ok(_) if data.is_bad() => return Some(Err(Errno(libc::EFAULT))),
            Ok(0) if data.left() > 0 => {}
            Ok(n) => {
                data.advance(n);
                if data.left() == 0 {
                    ends::lower(host, s.fd, s.id);
                    return Some(Ok(()));
                }
                continue;
            }
            Err(Error::WouldBlock) => {}
            Err(e) => {
                ends::lower(host, s.fd, s.id);
                return Some(Err(errno::of(e)));
            }
        }
        ends::lower(host, s.fd, s.id);
        return None;
    }
}

/// What recvmsg tells beside the count.
#[derive(Clone, Copy, Default)]
pub struct Beside {
    /// It was urgent data.
    pub urgent: bool,
    /// The program wants to know how much is left (TCP_INQ).
    pub inq: bool,
    /// And when it came.
    pub stamped: bool,
}

/// recv(2) and everything like it.
pub fn recv(s: Sock, out: Buffers, flags: c_int) -> Result<(isize, Beside)> {
    recv_after(s, out, flags, false)
}

/// The same, after a `part` of what the program asked for: an error is for its next call then.
pub fn recv_after(s: Sock, mut out: Buffers, flags: c_int, part: bool) -> Result<(isize, Beside)> {
    let mut beside = Beside::default();
    if flags & libc::MSG_ERRQUEUE != 0 {
        // The program learns nothing but that there was something.
        let notice = s.enter()?.take_notice(s.id).map_err(errno::of)?;
        return notice.map(|_| (0, beside)).ok_or(Errno(libc::EAGAIN));
    }
    out.look(Access::Write)?;
    if flags & libc::MSG_OOB != 0 {
        beside.urgent = true;
        return recv_urgent(s, out, flags).map(|n| (n, beside));
    }
    let mut call = Recv {
        s,
        out,
        peek: flags & libc::MSG_PEEK != 0,
        trunc: flags & libc::MSG_TRUNC != 0,
        part,
        target: 1,
    };
    let (limit, nonblock, first) = {
        let mut host = s.enter()?;
        let socket = host.socket(s.id).map_err(errno::of)?;
        let (limit, nonblock) = (socket.options.rcvtimeo, socket.nonblock);
        beside.inq = socket.options.inq;
        beside.stamped = socket.options.timestamp != Asked::No || socket.options.stamps_received();
        let total = call.out.total();
        // sock_rcvlowat.
        call.target = if flags & libc::MSG_WAITALL != 0 {
            total
        } else {
            total.min(socket.options.rcvlowat as usize)
        }
        .max(1);
        (limit, nonblock, call.attempt(&mut host))
    };
    let ended = match first {
        Some(r) => r,
        None if nonblock || flags & libc::MSG_DONTWAIT != 0 => Err(Errno(libc::EAGAIN)),
        None => wait(s, timeout(limit), Errno(libc::EAGAIN), |host| {
            call.attempt(host)
        })
        .and_then(|r| r),
    };
    partial(ended, call.out.done()).map(|n| (n, beside))
}

/// A recv under way.
struct Recv {
    s: Sock,
    out: Buffers,
    peek: bool,
    trunc: bool,
    /// An error is for the next call.
    part: bool,
    /// How many bytes to wait for.
    target: usize,
}

impl Recv {
    /// Take what is there; `None` to wait.
    fn attempt(&mut self, host: &mut Host<'_>) -> Option<Result<()>> {
        let ended = self.take(host);
        if !self.peek || matches!(ended, Some(Err(_))) {
            ends::lower(host, self.s.fd, self.s.id);
        }
        ended
    }

    fn take(&mut self, host: &mut Host<'_>) -> Option<Result<()>> {
        loop {
            let done = self.out.done();
            if done > 0 && (self.out.left() == 0 || self.nothing_more(host)) {
                return Some(Ok(()));
            }
            if self.part && done == 0 && self.only_an_error(host) {
                return Some(Err(Errno(libc::EAGAIN)));
            }
            // Asked for nothing, there is no waiting if anything is there at all.
            if self.out.total() == 0 && host.socket(self.s.id).is_ok_and(|s| s.rx.bytes > 0) {
                return Some(Ok(()));
            }
            let flags = RecvFlags {
                peek: self.peek,
                peek_offset: if self.peek { done } else { 0 },
                trunc: false,
            };
            let id = self.s.id;
            let mut offered = 0;
            let got = if self.trunc {
                // Nothing is to be copied to the program, wherever it points.
                let mut nowhere = [0; 4096];
                offered = nowhere.len().min(self.out.left());
                let part = IoSliceMut::new(&mut nowhere[..offered]);
                host.recv(id, &mut [part], flags)
            } else {
                self.out.with_output(|parts| {
                    offered = parts.iter().map(|p| p.len()).sum();
                    host.recv(id, parts, flags)
                })
            };
            match got {
                Ok(0) if self.out.is_bad() && !self.trunc && has_data(host, id) => {
                    return Some(Err(Errno(libc::EFAULT)));
                }
                Ok(0) => return Some(Ok(())),
                Ok(n) => {
                    self.out.advance(n);
                    // What the sender adds because the window opens is for the next call.
                    if n < offered && self.out.done() >= self.target {
                        return Some(Ok(()));
                    }
                }
                Err(Error::WouldBlock) => {
                    return (self.out.done() >= self.target).then_some(Ok(()));
                }
                Err(e) => return Some(Err(errno::of(e))),
            }
        }
    }

    /// There is nothing to be told but what ended the connection.
    fn only_an_error(&self, host: &Host<'_>) -> bool {
        host.socket(self.s.id)
            .is_ok_and(|s| s.error.is_some() && !s.eof && s.rx.bytes == 0)
    }

    /// With some bytes in hand: there will be none after them, or an error that the next call
    /// is to find.
    fn nothing_more(&self, host: &Host<'_>) -> bool {
        let Ok(s) = host.socket(self.s.id) else {
            return true;
        };
        let seen = if self.peek { self.out.done() } else { 0 };
        // Linux stops at the urgent mark, whatever was asked for.
        if s.mark_is_after(seen as u32) {
            return true;
        }
        s.rx.bytes as usize <= seen
            && (s.error.is_some() || s.eof || s.rcv_shutdown || s.state() == State::Closed)
    }
}

fn has_data(host: &Host<'_>, id: SockId) -> bool {
    host.socket(id).is_ok_and(|s| s.next_readable() > 0)
}

/// recv with MSG_OOB (tcp_recv_urg): never blocks.
fn recv_urgent(s: Sock, out: Buffers, flags: c_int) -> Result<isize> {
    let mut host = s.enter()?;
    let peek = flags & libc::MSG_PEEK != 0;
    if host.socket(s.id).is_ok_and(|s| s.listening) {
        return Err(Errno(libc::ENOTCONN));
    }
    let byte = host.recv_urgent(s.id, peek).map_err(errno::of)?;
    ends::lower(&mut host, s.fd, s.id);
    let Some(byte) = byte else { return Ok(0) };
    if out.is_bad() && flags & libc::MSG_TRUNC == 0 {
        return Err(Errno(libc::EFAULT));
    }
    Ok(out.with_output(|parts| match parts.first_mut() {
        Some(part) if flags & libc::MSG_TRUNC == 0 => {
            part[0] = byte;
            1
        }
        Some(_) => 1,
        None => 0,
    }))
}
