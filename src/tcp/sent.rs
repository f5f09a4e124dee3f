//! What is in flight: one record for each run of segments that went out together, in order of
//! sequence numbers (Linux: the retransmission queue of sk_buffs).
//!
//! The records of all connections of a host share one slice (`&mut [Sent]`, two for each
//! connection at least), which the owner of the connections keeps and lends to every call that
//! may need it; a connection has a list in it. So a connection may have as many holes as its window has segments, and an idle one costs
//! nothing. Zeroed memory is an empty slice of records; record 0 is the head of the free list.
//! Should there be no free record, neighbours share one: less is known then, nothing is wrong.

use super::SeqNum;
use crate::time::{Duration, Instant};

/// The peer reported it (RFC 2018).
pub(super) const SACKED: u16 = 1;
/// It was sent again, and that copy is in flight.
pub(super) const RETRANS: u16 = 2;
/// It is taken for lost.
pub(super) const LOST: u16 = 4;
/// It was sent again at some time.
pub(super) const EVER_RETRANS: u16 = 8;
/// The program had nothing more to send then (delivery rates of it are lower bounds).
pub(super) const APP_LIMITED: u16 = 16;
/// It ends where a write ended that was to be pushed: it has a PSH, also when sent again.
pub(super) const PUSHED: u16 = 32;
/// It is a single segment, of which a part was acknowledged.
pub(super) const PARTLY: u16 = 64;
/// A write with MSG_EOR ended where it ends.
pub(super) const ENDS_RECORD: u16 = 256;
/// It has the FIN, whose number is no byte of a segment's size.
pub(super) const WITH_FIN: u16 = 512;
/// What says something of a record's end.
const OF_THE_END: u16 = PUSHED | ENDS_RECORD | WITH_FIN;
/// The slot is on no list (while lists are being rebuilt).
const UNCLAIMED: u16 = 128;

/// A run of segments that was sent together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
// RFC 8985 S4-3
pub struct Sent {
    pub(super) start: SeqNum,
    pub(super) end: SeqNum,
    pub(super) next: u32,
    pub(super) prev: u32,
    /// When it was last sent.
    pub(super) at: Instant,
    /// What had been delivered when it was sent, and when that had been; and when the flight
    /// began that this ends (draft-cheng-iccrg-delivery-rate-estimation): microseconds before `at`.
    pub(super) since_delivered: u32,
    pub(super) since_first: u32,
    pub(super) delivered: u32,
    /// Segments on the wire.
    pub(super) segs: u16,
    /// Bytes in each of them but the last, if there are several: less than the connection's MSS
    /// where options took room, and what the MSS was when it was sent.
    pub(super) mss: u16,
    pub(super) flags: u16,
}

impl Sent {
    pub(super) fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
    /// Bytes in its first segment (Linux: `tcp_skb_seglen`).
    pub(super) fn seg_len(&self) -> u32 {
        if self.segs > 1 {
            u32::from(self.mss).max(1)
        } else {
            self.end - self.start
        }
    }
    /// It was sent more than once.
    pub(super) fn again(&self) -> bool {
        self.is(RETRANS | EVER_RETRANS)
    }
    /// RFC 8985, section 6.2: `RACK_sent_after`.
    pub(super) fn after(&self, at: Instant, end: SeqNum) -> bool {
        self.at > at || (self.at == at && self.end.gt(end))
    }
}

/// The microseconds since something was sent, as noted by [`SentList::moment`]: rounded up, for
/// that may be some nanoseconds late.
pub(super) fn micros_since(sent_at: Instant, now: Instant) -> u32 {
    let us = now.since(sent_at).as_nanos().div_ceil(1000);
    u32::try_from(us).unwrap_or(u32::MAX)
}

/// One connection's records and what they add up to, in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
// RFC 8985 S4-2
pub(super) struct SentList {
    head: u32,
    tail: u32,
    records: u32,
    /// Where the next retransmission is looked for.
    pub hint: u32,
    /// Where the last SACK block ended.
    sack_hint: u32,
    /// Sent and not acknowledged.
    pub packets_out: u32,
    /// Reported by SACK; without SACK, duplicate ACKs that stand for segments.
    pub sacked_out: u32,
    pub lost_out: u32,
    pub retrans_out: u32,
    /// When something was sent last (see [`SentList::moment`]).
    last_at: Instant,
    /// The end of the highest segment reported.
    pub fack: SeqNum,
    /// The blocks of the last SACK, which often come again.
    pub seen: [(SeqNum, SeqNum); 4],
}

/// Take a free slot. Half of them are kept for `first` records, so that every connection has
/// one (the slice has two for each connection there may be).
fn alloc(pool: &mut [Sent], first: bool) -> Option<u32> {
    let most = pool.len() / if first { 1 } else { 2 };
    let head = *pool.first()?;
    if head.start.0 as usize + 1 >= most {
        return None;
    }
    let i = if head.next != 0 {
        head.next
    } else {
        head.prev + 1
    };
    let next = pool.get(i as usize)?.next;
    let head = pool.first_mut()?;
    if head.next != 0 {
        head.next = next;
    } else {
        head.prev = i;
    }
    head.start += 1;
    Some(i)
}

fn release(pool: &mut [Sent], i: u32) {
    if i == 0 {
        return;
    }
    let free = pool.first().map_or(0, |h| h.next);
    if let Some(slot) = pool.get_mut(i as usize) {
        *slot = Sent {
            next: free,
            ..Sent::default()
        };
        if let Some(head) = pool.first_mut() {
            head.next = i;
            head.start = SeqNum(head.start.0.saturating_sub(1));
        }
    }
}

/// Begin to find out again which records are free: nothing is claimed.
pub fn forget_records(pool: &mut [Sent]) {
    let high = pool.first().map_or(0, |h| h.prev) as usize;
    for slot in pool.iter_mut().skip(1).take(high) {
        slot.flags |= UNCLAIMED;
    }
}

/// All lists were claimed: what was not is free.
pub fn rebuild_records(pool: &mut [Sent]) {
    let high = pool.first().map_or(0, |h| h.prev).min(pool.len() as u32);
    if let Some(head) = pool.first_mut() {
        head.next = 0;
        head.start = SeqNum(high);
    }
    for i in (1..=high).rev() {
        if pool.get(i as usize).is_some_and(|s| s.is(UNCLAIMED)) {
            release(pool, i);
        }
    }
}

/// How many records are in use.
pub fn records_in_use(pool: &[Sent]) -> u32 {
    pool.first().map_or(0, |h| h.start.0)
}

impl SentList {
    pub(super) fn head(&self) -> u32 {
        self.head
    }
    pub(super) fn records(&self) -> u32 {
        self.records
    }
    pub(super) fn tail(&self) -> u32 {
        self.tail
    }

    /// Linux's `tcp_packets_in_flight`; RFC 6675's `pipe`, in segments.
    // RFC 3042 S2-1, S2-2
    // RFC 5681 S3.2-3, S3.2-4, S3.2-8, S3.2-9
    // RFC 6675 S4-7
    pub(super) fn in_flight(&self) -> u32 {
        (self.packets_out + self.retrans_out).saturating_sub(self.sacked_out + self.lost_out)
    }

    /// Reported or lost.
    pub(super) fn left_out(&self) -> u32 {
        self.sacked_out + self.lost_out
    }

    fn count(&mut self, s: &Sent, more: bool) {
        let n = u32::from(s.segs);
        let add = |to: &mut u32, counts: bool| {
            if counts {
                *to = if more {
                    to.saturating_add(n)
                } else {
                    to.saturating_sub(n)
                };
            }
        };
        add(&mut self.packets_out, true);
        add(&mut self.sacked_out, s.is(SACKED));
        add(&mut self.lost_out, s.is(LOST));
        add(&mut self.retrans_out, s.is(RETRANS));
    }

    /// The record `i`; a default one if there is none.
    pub(super) fn get(pool: &[Sent], i: u32) -> Option<&Sent> {
        if i == 0 {
            return None;
        }
        pool.get(i as usize)
    }

    pub(super) fn next(pool: &[Sent], i: u32) -> u32 {
        SentList::get(pool, i).map_or(0, |s| s.next)
    }

    /// Change a record; the sums follow.
    pub(super) fn change(&mut self, pool: &mut [Sent], i: u32, f: impl FnOnce(&mut Sent)) {
        if i == 0 {
            return;
        }
        if let Some(s) = pool.get_mut(i as usize) {
            self.count(s, false);
            f(s);
            self.count(s, true);
        }
    }

    /// The time to note of what is sent now. Many ACKs may be processed at one moment, and what
    /// they let go, new data and retransmissions, would seem to have been sent at once; but RACK
    /// wants to know what was sent before what. So no two have the same.
    pub(super) fn moment(&mut self, now: Instant) -> Instant {
        self.last_at = now.max(self.last_at + Duration::from_nanos(1));
        self.last_at
    }

    /// More was sent.
    pub(super) fn push(&mut self, pool: &mut [Sent], new: Sent) {
        let Some(i) = alloc(pool, self.tail == 0) else {
            // No record is left: the last one stands for this, too.
            return self.change(pool, self.tail, |last| {
                last.end = new.end;
                last.at = new.at;
                last.since_delivered = new.since_delivered;
                last.since_first = new.since_first;
                last.segs = last.segs.saturating_add(new.segs);
                last.flags = last.flags & !(SACKED | OF_THE_END) | new.flags & OF_THE_END;
            });
        };
        self.count(&new, true);
        if let Some(slot) = pool.get_mut(i as usize) {
            *slot = Sent {
                next: 0,
                prev: self.tail,
                ..new
            };
        }
        match pool.get_mut(self.tail as usize).filter(|_| self.tail != 0) {
            Some(last) => last.next = i,
            None => self.head = i,
        }
        self.tail = i;
        self.records += 1;
    }

    /// Take a record out; its sums with it. Gives the next one.
    pub(super) fn remove(&mut self, pool: &mut [Sent], i: u32) -> u32 {
        let Some(&s) = SentList::get(pool, i) else {
            return 0;
        };
        self.count(&s, false);
        self.unlink(pool, i, s);
        s.next
    }

    fn unlink(&mut self, pool: &mut [Sent], i: u32, s: Sent) {
        match pool.get_mut(s.prev as usize).filter(|_| s.prev != 0) {
            Some(prev) => prev.next = s.next,
            None => self.head = s.next,
        }
        match pool.get_mut(s.next as usize).filter(|_| s.next != 0) {
            Some(next) => next.prev = s.prev,
            None => self.tail = s.prev,
        }
        if self.hint == i {
            self.hint = s.next;
        }
        if self.sack_hint == i {
            self.sack_hint = s.prev;
        }
        self.records = self.records.saturating_sub(1);
        release(pool, i);
    }

    /// Cut record `i` in two at `at`; the second half is a record behind it. False if there is
    /// no free one (or nothing to cut).
    pub(super) fn split(&mut self, pool: &mut [Sent], i: u32, at: SeqNum, mss: u32) -> bool {
        let Some(&whole) = SentList::get(pool, i) else {
            return false;
        };
        if at.le(whole.start) || at.ge(whole.end) {
            return false;
        }
        let Some(j) = alloc(pool, false) else {
            return false;
        };
        self.count(&whole, false);
        let pieces = |len: u32| u16::try_from(len.div_ceil(mss.max(1)).max(1)).unwrap_or(u16::MAX);
        let size = u16::try_from(mss).unwrap_or(u16::MAX);
        let first = Sent {
            end: at,
            mss: size,
            segs: pieces(at - whole.start),
            next: j,
            // The second half has the end.
            flags: whole.flags & !OF_THE_END,
            ..whole
        };
        let second = Sent {
            start: at,
            mss: size,
            segs: pieces(whole.end - at - u32::from(whole.is(WITH_FIN))),
            prev: i,
            ..whole
        };
        self.count(&first, true);
        self.count(&second, true);
        if let Some(slot) = pool.get_mut(i as usize) {
            *slot = first;
        }
        if let Some(slot) = pool.get_mut(j as usize) {
            *slot = second;
        }
        match pool
            .get_mut(whole.next as usize)
            .filter(|_| whole.next != 0)
        {
            Some(next) => next.prev = j,
            None => self.tail = j,
        }
        self.records += 1;
        true
    }

    /// Record `i` was reported: it becomes one with the one before it, if that was, and then with the one
    /// behind it, where their segments are of the same length (Linux: `tcp_shift_skb_data`).
    pub(super) fn merge_sacked(&mut self, pool: &mut [Sent], i: u32) -> u32 {
        let prev = SentList::get(pool, i).map_or(0, |s| s.prev);
        if !self.merge_with_next(pool, prev) {
            return i;
        }
        self.merge_with_next(pool, prev);
        prev
    }

    fn merge_with_next(&mut self, pool: &mut [Sent], i: u32) -> bool {
        let next = SentList::next(pool, i);
        let (Some(&a), Some(&b)) = (SentList::get(pool, i), SentList::get(pool, next)) else {
            return false;
        };
        let plain = |s: &Sent| s.flags & (SACKED | RETRANS | LOST) == SACKED;
        let fits = a.seg_len() == b.seg_len() && a.segs.checked_add(b.segs).is_some();
        if !plain(&a) || !plain(&b) || !fits {
            return false;
        }
        if let Some(s) = pool.get_mut(i as usize) {
            s.mss = u16::try_from(b.seg_len()).unwrap_or(u16::MAX);
            s.end = b.end;
            s.segs += b.segs;
            s.at = s.at.max(b.at);
            // (What was sent once and what was sent twice are no longer told apart, nor in Linux.)
            s.flags |= b.flags & (EVER_RETRANS | OF_THE_END);
        }
        // Its segments are counted with the other now.
        self.unlink(pool, next, b);
        true
    }

    /// The record behind `i` becomes a part of it, and goes in the same segment.
    pub(super) fn join_next(&mut self, pool: &mut [Sent], i: u32) {
        let next = SentList::next(pool, i);
        let Some(&n) = SentList::get(pool, next) else {
            return;
        };
        self.count(&n, false);
        self.change(pool, i, |s| {
            s.end = n.end;
            s.flags |= n.flags & (EVER_RETRANS | OF_THE_END);
        });
        self.unlink(pool, next, n);
    }

    /// The record in which `at` lies, or the first one after it; looked for from where the last
    /// block was found.
    pub(super) fn find(&self, pool: &[Sent], at: SeqNum) -> u32 {
        let mut i = match SentList::get(pool, self.sack_hint) {
            Some(_) => self.sack_hint,
            None => self.head,
        };
        while let Some(s) = SentList::get(pool, i).filter(|s| s.start.gt(at) && s.prev != 0) {
            i = s.prev;
        }
        while let Some(s) = SentList::get(pool, i).filter(|s| s.end.le(at)) {
            i = s.next;
        }
        i
    }

    pub(super) fn found_at(&mut self, i: u32) {
        self.sack_hint = i;
    }

    /// Forget all.
    pub(super) fn clear(&mut self, pool: &mut [Sent]) {
        let SentList {
            sacked_out,
            lost_out,
            retrans_out,
            ..
        } = *self;
        while self.head != 0 {
            let before = self.head;
            self.remove(pool, before);
            if self.head == before {
                break;
            }
        }
        // (What Linux does not take back, either, TCP_INFO goes on telling.)
        *self = SentList {
            sacked_out,
            lost_out,
            retrans_out,
            ..SentList::default()
        };
    }

    /// Claim the list's records (see [`forget_records`]); false if it is broken.
    pub(super) fn claim(&self, pool: &mut [Sent]) -> bool {
        let (mut i, mut prev, mut n) = (self.head, 0, 0);
        let mut sums = SentList::default();
        while i != 0 {
            let Some(s) = pool.get_mut(i as usize) else {
                return false;
            };
            if !s.is(UNCLAIMED) || s.prev != prev || n >= self.records {
                return false;
            }
            s.flags &= !UNCLAIMED;
            sums.count(s, true);
            n += 1;
            prev = i;
            i = s.next;
        }
        prev == self.tail && n == self.records && sums.packets_out == self.packets_out
    }

    /// What is wrong with the list, for tests and diagnosis: the number of its records, if
    /// nothing is.
    pub(super) fn check(&self, pool: &[Sent], una: SeqNum, nxt: SeqNum) -> Result<u32, String> {
        let (mut i, mut prev, mut n, mut at) = (self.head, 0, 0, una);
        let mut sums = SentList::default();
        while i != 0 {
            let Some(s) = SentList::get(pool, i) else {
                return Err(format!("no record {i}"));
            };
            if s.prev != prev || n > self.records || s.start != at || s.end.le(s.start) {
                return Err(format!("record {i} is {s:?} at {at:?}, after {prev}"));
            }
            if s.segs == 0 {
                return Err(format!("record {i} has no segment: {s:?}"));
            }
            if s.is(SACKED) && s.is(LOST) {
                return Err(format!("record {i} is both reported and lost: {s:?}"));
            }
            sums.count(s, true);
            (n, prev, at) = (n + 1, i, s.end);
            i = s.next;
        }
        if prev != self.tail || n != self.records || at != nxt {
            return Err(format!("ends at {at:?} for {nxt:?}, {n} records: {self:?}"));
        }
        let counted = (sums.packets_out, sums.lost_out, sums.retrans_out);
        if counted != (self.packets_out, self.lost_out, self.retrans_out) {
            return Err(format!("counts are {counted:?}: {self:?}"));
        }
        // With SACK what is reported is marked; without, it is a number.
        let reported = sums.sacked_out;
        if self.sacked_out > self.packets_out || reported > 0 && reported != self.sacked_out {
            return Err(format!("{reported} reported: {self:?}"));
        }
        Ok(n)
    }
}
