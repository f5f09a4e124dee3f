//! send(2) and recv(2): bytes from the program into the connection, and back.

use super::queue::{Pools, pools};
use super::{Error, Host, Result, Shared, SockId};
use crate::tcp::State;
use std::io::{IoSlice, IoSliceMut};

/// Flags of send(2) that reach the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SendFlags {
    /// MSG_OOB: the last byte is urgent.
    pub oob: bool,
    /// MSG_MORE: what is less than a segment may wait for more.
    pub more: bool,
    /// MSG_EOR: what is written later goes into segments of its own.
    pub eor: bool,
    /// The timestamps that this call asks for, in place of the socket's (SO_TIMESTAMPING's bits).
    pub stamps: Option<u32>,
    /// MSG_ZEROCOPY: no segment holds more than `MAX_PARTS` of the program's buffers.
    pub zerocopy: bool,
}

/// Linux's MAX_SKB_FRAGS: what MSG_ZEROCOPY sends is not copied together there, and an sk_buff has
/// so many pages at most.
const MAX_PARTS: u8 = 17;

/// Flags of recv(2) that reach the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecvFlags {
    /// MSG_PEEK: leave the data.
    pub peek: bool,
    /// With `peek`: how many bytes were peeked at already by this call.
    pub peek_offset: usize,
    /// MSG_TRUNC: drop the data instead of copying it.
    pub trunc: bool,
}

impl Host<'_> {
    /// send(2): copies what fits, at least one byte or [`Error::WouldBlock`]. `skip` bytes of
    /// `data` were sent already.
    pub fn send(
        &mut self,
        id: SockId,
        data: &[IoSlice<'_>],
        skip: usize,
        flags: SendFlags,
    ) -> Result<usize> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        let state = s.state();
        if s.deferred.is_some() {
            return Err(Error::WouldBlock);
        }
        let early = s.is_early();
        if s.open
            && matches!(state, State::SynSent | State::SynReceived)
            && s.error.is_none()
            && !early
        {
            return Err(Error::WouldBlock);
        }
        if s.error.is_some()
            || s.snd_shutdown
            || !(early || matches!(state, State::Established | State::CloseWait))
        {
            return Err(s.error.take().map_or(Error::Pipe, Error::from));
        }
        self.touch(index);
        // What an sk_buff is filled to follows from it.
        self.follow_path(index);
        let total: usize = data.iter().map(|d| d.len()).sum();
        let total = total.saturating_sub(skip);
        let mut skip = skip;
        let (mut done, mut told) = (0, 0);
        let mut short = false;
        'parts: for part in data {
            let Some(mut part) = part.get(skip..) else {
                skip -= part.len();
                continue;
            };
            skip = 0;
            let zerocopy = flags.zerocopy && self.sh.sockets[index].options.zerocopy;
            let mut counted = !zerocopy;
            while !part.is_empty() {
                let Shared {
                    sockets,
                    chunks,
                    buffers,
                    counters,
                    ..
                } = &mut *self.sh;
                let s = &mut sockets[index];
                let mut p = Pools { chunks, buffers };
                if !counted && s.tail_parts >= MAX_PARTS && s.tail_unsent() > 0 {
                    s.tx.end_record(&mut p);
                }
                let (room, new_skb) = s.send_room(s.tx.at_record_end(&p));
                let n = part.len().min(room as usize);
                let copied = s.tx.append(&mut p, &part[..n], new_skb);
                if new_skb {
                    // What is left of a part counts in each that has some of it.
                    (s.tail_parts, counted) = (0, !zerocopy);
                } else if copied > 0 {
                    let untold = (done - told) as u32;
                    s.tcb.tail_grew(untold, copied as u32, done == 0);
                }
                if !counted && copied > 0 {
                    s.tail_parts = s.tail_parts.saturating_add(1);
                    counted = true;
                }
                done += copied;
                part = &part[copied..];
                if n == 0 || copied < n {
                    counters.no_buffers += u64::from(copied < n);
                    short = true;
                    break 'parts;
                }
                if n == room as usize && done < total && !flags.oob {
                    s.tcb.app_wrote_more(self.now, (done - told) as u32);
                    told = done;
                    self.filled_one(index);
                }
            }
        }
        if done == 0 && total > 0 {
            self.sh.sockets[index].tcb.set_no_space(self.now, true);
            return Err(Error::WouldBlock);
        }
        let rest = (done - told) as u32;
        let s = &mut self.sh.sockets[index];
        if short {
            // The rest will come when there is room: until then this is all.
            s.tcb.app_wrote(self.now, rest);
            s.tcb.push();
            s.tcb.set_no_space(self.now, true);
        } else if flags.oob {
            s.tcb.app_wrote_urgent(self.now, rest);
        } else if flags.more && total > 0 {
            s.tcb.app_wrote_more(self.now, rest);
        } else if total > 0 {
            s.tcb.app_wrote(self.now, rest);
        }
        if flags.eor && !short && total > 0 {
            let mut tx = s.tx;
            tx.end_record(&mut pools!(self.sh));
            self.sh.sockets[index].tx = tx;
        }
        if !short && total > 0 {
            self.stamp_last(index, flags.stamps);
        }
        self.output(index);
        self.deliver_looped();
        self.mirror_later(index);
        Ok(done)
    }

    /// recv(2): what is there, 0 at end of file, else [`Error::WouldBlock`].
    pub fn recv(
        &mut self,
        id: SockId,
        out: &mut [IoSliceMut<'_>],
        flags: RecvFlags,
    ) -> Result<usize> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        if s.listening {
            return Err(Error::NotConnected);
        }
        let (skip, most) = s.readable();
        if most as usize <= flags.peek_offset {
            if skip > 0 && !flags.peek {
                self.pass_over_urgent(index);
            }
            let s = &mut self.sh.sockets[index];
            // Linux's order: end of file, the pending error, own shutdown, never connected.
            if s.eof {
                s.eof_read |= !flags.peek;
                return Ok(0);
            }
            if flags.peek_offset == 0
                && let Some(e) = s.error.take()
            {
                self.mirror_later(index);
                return Err(e.into());
            }
            return match s.state() {
                _ if s.rcv_shutdown => Ok(0),
                // TCP_FASTOPEN_CONNECT put the connect off: for Linux this is SYN_SENT.
                _ if s.deferred.is_some() => Err(Error::WouldBlock),
                State::Closed => Err(Error::NotConnected),
                State::TimeWait => Ok(0),
                _ => Err(Error::WouldBlock),
            };
        }
        self.touch(index);
        let queue = self.sh.sockets[index].rx;
        let p = pools!(self.sh);
        let mut offset = skip as usize + flags.peek_offset;
        let mut left = most as usize - flags.peek_offset;
        let mut done = 0;
        for part in out.iter_mut() {
            let want = part.len().min(left);
            let n = if flags.trunc && !flags.peek {
                want
            } else {
                queue.peek(&p, offset, &mut part[..want])
            };
            offset += n;
            left -= n;
            done += n;
        }
        if done > 0 {
            self.remember_arrival(index, skip as usize + flags.peek_offset + done);
        }
        if !flags.peek && done > 0 {
            let mut queue = queue;
            let taken = skip + done as u32;
            queue.consume(&mut pools!(self.sh), taken);
            let s = &mut self.sh.sockets[index];
            s.rx = queue;
            s.tcb.app_read(self.now, taken);
            self.pass_urgent(index);
            self.output(index);
            self.deliver_looped();
            self.mirror_later(index);
        }
        Ok(done)
    }

    /// Bytes that recv could give (FIONREAD).
    pub fn readable_bytes(&self, id: SockId) -> Result<u32> {
        let s = self.socket(id)?;
        if s.listening {
            Err(Error::Invalid)
        } else {
            Ok(s.bytes_to_mark())
        }
    }

    /// Bytes not yet acknowledged, the FIN as one (SIOCOUTQ).
    pub fn unacked_bytes(&self, id: SockId) -> Result<u32> {
        let s = self.socket(id)?;
        if s.listening {
            Err(Error::Invalid)
        } else {
            Ok(if s.open {
                s.tcb.unacked_numbers()
            } else {
                s.tx.bytes
            })
        }
    }

    /// Bytes not yet sent, the FIN as one (SIOCOUTQNSD).
    pub fn unsent_bytes(&self, id: SockId) -> Result<u32> {
        if self.socket(id)?.listening {
            return Err(Error::Invalid);
        }
        Ok(self.info(id)?.1.notsent_bytes)
    }
}
