//! The error queue of a socket, which recvmsg(2) reads with MSG_ERRQUEUE: completions of
//! MSG_ZEROCOPY, and timestamps of what was sent (SO_TIMESTAMPING).
//!
//! The queue is bounded: what finds it full is lost. This stack copies what it sends, so a
//! MSG_ZEROCOPY send is complete when the call returns, and its notice says that it was copied.

use super::{Host, Result, SockId, Socket};
use crate::tcp::SeqNum;
use crate::time::Instant;

/// Notices a socket holds at most.
const NOTICES: usize = 32;
/// Writes whose last bytes wait for their timestamps.
const STAMPS: usize = 32;

/// SOF_TIMESTAMPING_*: bits of SO_TIMESTAMPING.
pub mod stamping {
    /// A timestamp when the device has it.
    pub const TX_SOFTWARE: u32 = 1 << 1;
    /// A timestamp of what is received.
    pub const RX_SOFTWARE: u32 = 1 << 3;
    /// Timestamps by software are reported.
    pub const SOFTWARE: u32 = 1 << 4;
    /// Notices bear the offset of the byte in the stream.
    pub const OPT_ID: u32 = 1 << 7;
    /// A timestamp when it is handed to the device.
    pub const TX_SCHED: u32 = 1 << 8;
    /// A timestamp when it is acknowledged.
    pub const TX_ACK: u32 = 1 << 9;
    /// Notices come without the packet.
    pub const OPT_TSONLY: u32 = 1 << 11;
    /// Statistics come along (only with `OPT_TSONLY`).
    pub const OPT_STATS: u32 = 1 << 12;
    /// Offsets count from what was written, not from what was acknowledged, when it was set.
    pub const OPT_ID_TCP: u32 = 1 << 16;
    /// Those of what is received are reported to who asked for them, only.
    pub const OPT_RX_FILTER: u32 = 1 << 17;
    /// All that Linux 6.18 knows.
    pub const MASK: u32 = (1 << 19) - 1;
    /// Those that one call may ask for by itself; devices' own stamps never come.
    pub const PER_CALL: u32 = RECORD | 1 | 1 << 18;
    /// Those that ask for a timestamp of something sent.
    pub const RECORD: u32 = TX_SOFTWARE | TX_SCHED | TX_ACK;
}

/// What a notice is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum NoticeKind {
    /// MSG_ZEROCOPY sends `low` to `high` are complete, and were copied.
    #[default]
    ZeroCopy = 0,
    /// The byte with the key `low` was handed to the device (SCM_TSTAMP_SCHED).
    Scheduled,
    /// The device has it (SCM_TSTAMP_SND).
    Sent,
    /// The peer acknowledged it (SCM_TSTAMP_ACK).
    Acked,
}

/// An entry of the error queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// See [`NoticeKind`].
    pub low: u32,
    /// See [`NoticeKind`].
    pub high: u32,
    /// When.
    pub at: Instant,
}

/// The last byte of a write.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Stamp {
    at: SeqNum,
    /// SO_TIMESTAMPING's bits that ask for it.
    asked: u16,
    sent: bool,
}

/// One socket's; how many entries count stands with the socket ([`Waiting`]), so that an unused
/// queue's memory is never touched.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ErrorQueue {
    /// Of what was received: see `arrivals.rs`.
    pub(super) read_at: Instant,
    notices: [Notice; NOTICES],
    stamps: [Stamp; STAMPS],
}

/// A socket's part of its error queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Waiting {
    /// Where the notices begin, and how many there are.
    head: u8,
    notices: u8,
    /// The same of stamps.
    stamp_head: u8,
    stamps: u8,
    /// Notices that ever came: an edge, for epoll.
    pub came: u32,
    /// The number of the next MSG_ZEROCOPY send.
    next_zerocopy: u32,
    /// What keys count from.
    pub(super) key_base: SeqNum,
}

impl Waiting {
    /// There is something to be read with MSG_ERRQUEUE.
    pub fn any(&self) -> bool {
        self.notices > 0
    }
}

impl Socket {
    /// The timestamps of what is sent that a call with `stamps` asks for.
    fn stamps_asked(&self, stamps: Option<u32>) -> u16 {
        (stamps.unwrap_or(self.options.timestamping) & stamping::RECORD) as u16
    }
}

impl Host<'_> {
    fn add_notice(&mut self, index: u32, kind: NoticeKind, low: u32) {
        let (Some(s), Some(q)) = (
            self.sh.sockets.get_mut(index),
            self.sh.error_queues.get_mut(index as usize),
        ) else {
            return;
        };
        let w = &mut s.errors;
        let place = |n: u8| (usize::from(w.head) + usize::from(n)) % NOTICES;
        // Completions that follow each other are told as one.
        if let Some(last) = w.notices.checked_sub(1).map(place)
            && kind == NoticeKind::ZeroCopy
            && let Some(old) = q.notices.get_mut(last)
            && old.kind == kind
            && old.high.wrapping_add(1) == low
            && low != old.low
        {
            old.high = low;
        } else if usize::from(w.notices) < NOTICES
            && let Some(free) = q.notices.get_mut(place(w.notices))
        {
            *free = Notice {
                kind,
                low,
                high: low,
                at: self.now,
            };
            w.notices += 1;
        } else {
            self.sh.counters.no_buffers += 1;
        }
        let s = &mut self.sh.sockets[index];
        s.errors.came = s.errors.came.wrapping_add(1);
        let watched = s.watched;
        // 0: none ever came.
        self.sh.notices_came = self.sh.notices_came.wrapping_add(1).max(1);
        self.notify(index);
        // The descriptor shows nothing of it, so nobody who is woken can tell the others.
        if watched {
            self.wake_sleepers();
        }
    }

    /// recvmsg(2) with MSG_ERRQUEUE: the oldest notice.
    pub fn take_notice(&mut self, id: SockId) -> Result<Option<Notice>> {
        let index = self.index_of(id)?;
        self.touch(index);
        let w = &mut self.sh.sockets[index].errors;
        if w.notices == 0 {
            return Ok(None);
        }
        let at = usize::from(w.head) % NOTICES;
        w.head = ((at + 1) % NOTICES) as u8;
        w.notices -= 1;
        let q = self.sh.error_queues.get(index as usize);
        Ok(q.and_then(|q| q.notices.get(at)).copied())
    }

    /// A call to send is over, with some bytes sent: number it if it had MSG_ZEROCOPY, and see to
    /// it that its last byte is stamped, also if it ended short.
    pub fn send_ended(&mut self, id: SockId, zerocopy: bool, stamps: Option<u32>) {
        let Ok(index) = self.index_of(id) else { return };
        let s = &self.sh.sockets[index];
        let numbered = zerocopy && s.options.zerocopy;
        let stamped = s.stamps_asked(stamps) != 0;
        if !numbered && !stamped {
            return;
        }
        self.touch(index);
        if stamped && self.sh.sockets[index].tcb.unsent() > 0 {
            self.stamp_last(index, stamps);
        }
        if numbered {
            let w = &mut self.sh.sockets[index].errors;
            let number = w.next_zerocopy;
            w.next_zerocopy = number.wrapping_add(1);
            self.add_notice(index, NoticeKind::ZeroCopy, number);
        }
    }

    /// The last byte written is to have a timestamp, if the program asked for any.
    pub(super) fn stamp_last(&mut self, index: u32, stamps: Option<u32>) {
        let s = &mut self.sh.sockets[index];
        let asked = s.stamps_asked(stamps);
        if asked == 0 {
            return;
        }
        let Some(q) = self.sh.error_queues.get_mut(index as usize) else {
            return;
        };
        let at = SeqNum((s.tcb.snd_una() + s.tcb.send_queue()).0.wrapping_sub(1));
        let w = &mut s.errors;
        let place = |n: u8| (usize::from(w.stamp_head) + usize::from(n)) % STAMPS;
        let last = w.stamps.checked_sub(1).map(place);
        // Bytes that Linux would have in one sk_buff have one timestamp, the last one's.
        let (nxt, tail) = (s.tcb.snd_nxt(), s.tx.tail_skb);
        if let Some(old) = last.and_then(|l| q.stamps.get_mut(l))
            && !old.sent
            && old.at.ge(nxt)
            && at - old.at < tail
        {
            old.at = at;
            old.asked |= asked;
        } else if usize::from(w.stamps) < STAMPS
            && let Some(free) = q.stamps.get_mut(place(w.stamps))
        {
            *free = Stamp {
                at,
                asked,
                sent: false,
            };
            w.stamps += 1;
        }
    }

    /// `len` bytes from `seq` on go out for the first time.
    pub(super) fn stamps_sent(&mut self, index: u32, seq: SeqNum, len: u32) {
        let s = &self.sh.sockets[index];
        let w = s.errors;
        for n in 0..w.stamps {
            let place = (usize::from(w.stamp_head) + usize::from(n)) % STAMPS;
            let queue = self.sh.error_queues.get_mut(index as usize);
            let Some(stamp) = queue.and_then(|q| q.stamps.get_mut(place)) else {
                return;
            };
            if stamp.sent || stamp.at.lt(seq) || !stamp.at.lt(seq + len) {
                continue;
            }
            stamp.sent = true;
            let asked = u32::from(stamp.asked);
            let key = stamp.at.0.wrapping_sub(w.key_base.0);
            if asked & stamping::TX_SCHED != 0 {
                self.add_notice(index, NoticeKind::Scheduled, key);
            }
            if asked & stamping::TX_SOFTWARE != 0 {
                self.add_notice(index, NoticeKind::Sent, key);
            }
        }
    }

    /// The peer acknowledged more.
    pub(super) fn stamps_acked(&mut self, index: u32) {
        loop {
            let s = &mut self.sh.sockets[index];
            let una = s.tcb.snd_una();
            let w = &mut s.errors;
            let place = usize::from(w.stamp_head) % STAMPS;
            let queue = self.sh.error_queues.get(index as usize);
            let stamp = queue.and_then(|q| q.stamps.get(place));
            let Some(&Stamp { at, asked, .. }) = stamp.filter(|s| w.stamps > 0 && s.at.lt(una))
            else {
                return;
            };
            w.stamp_head = ((place + 1) % STAMPS) as u8;
            w.stamps -= 1;
            let key = at.0.wrapping_sub(w.key_base.0);
            if u32::from(asked) & stamping::TX_ACK != 0 {
                self.add_notice(index, NoticeKind::Acked, key);
            }
        }
    }

    /// TCP_INQ: bytes that recv can still give; at the end of the stream one, so that the program
    /// goes on to read it (Linux: `tcp_inq_hint`).
    pub fn inq(&self, id: SockId) -> Result<u32> {
        let s = self.socket(id)?;
        Ok((s.rx.bytes + u32::from(s.eof && !s.eof_read)).max(u32::from(s.eof)))
    }
}
