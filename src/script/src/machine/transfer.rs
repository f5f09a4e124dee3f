//! Data through a [`Machine`]'s sockets: send and recv in all their forms.

use super::Machine;
use super::calls::{Progress, Result, Sock, endpoint};
use crate::ancillary::{Control, without_packet};
use crate::errno;
use crate::request::Reply;
use std::io::{IoSlice, IoSliceMut};
use utcp_stack::stack::{Error, Opt, RecvFlags, SendFlags};
use utcp_stack::tcp::State;

impl Machine {
    /// MSG_FASTOPEN, and the first send under TCP_FASTOPEN_CONNECT: connects. None where there is
    /// (something left) to be sent in the usual way.
    pub(super) fn send_fast(
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

    pub(super) fn send(
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

    pub(super) fn recv(
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
