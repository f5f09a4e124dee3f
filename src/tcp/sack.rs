//! SACK options of the peer (RFC 2018, section 5; RFC 2883): what they say of the records in
//! flight, after Linux's `tcp_sacktag_write_queue`.

use super::mib::Mib;
use super::news::News;
use super::recovery::CaState;
use super::sent::{LOST, RETRANS, SACKED, Sent, SentList};
use super::tail::Tail;
use super::{Segment, SeqNum, Tcb};
use crate::time::Instant;

type Block = (SeqNum, SeqNum);

impl Tcb {
    /// What the peer holds beyond `snd_una`.
    // RFC 2018 S5-1
    // RFC 6675 S4-6, S5-7, S5.1-4
    pub(super) fn take_sacks(
        &mut self,
        now: Instant,
        seg: &Segment,
        sent: &mut [Sent],
        news: &mut News,
    ) {
        let o = &seg.options;
        let blocks = o.sack.get(..usize::from(o.sack_len)).unwrap_or(&[]);
        if !self.sack_ok || blocks.is_empty() {
            return;
        }
        let reported = self.duplicate_reported(seg.ack, blocks);
        if reported {
            let below = blocks[0].0.lt(seg.ack);
            self.noted.note(if below {
                Mib::DsackRecv
            } else {
                Mib::DsackOfoRecv
            });
        }
        let twice = reported && self.note_dsack(blocks[0], news);
        let mut valid = [((SeqNum(0), SeqNum(0)), false); 4];
        let mut n = 0;
        for (i, &(start, end)) in blocks.iter().enumerate() {
            let dup = i == 0 && twice;
            if !self.block_is_valid((start, end), dup) {
                self.note_discarded(end, dup, seg.ack);
            } else if end.gt(news.una_before)
                && let Some(slot) = valid.get_mut(n)
            {
                *slot = ((start, end), dup);
                n += 1;
            }
        }
        // The lowest first: which is the first that was reported counts.
        let una = self.snd_una;
        let valid = valid.get_mut(..n).unwrap_or_default();
        valid.sort_by_key(|(b, _)| b.0.diff(una));
        let mut passed = false;
        for i in 0..n {
            let Some(&((start, end), dup)) = valid.get(i) else {
                break;
            };
            // A duplicate within the block before was looked at with that, unless there was nothing
            // behind it at which to stop.
            if dup && passed {
                continue;
            }
            let next_dup = valid.get(i + 1).filter(|(_, dup)| *dup).map(|(b, _)| *b);
            // What was told before needs no second look.
            let known = |b: &&Block| b.0.le(start) && b.1.gt(start) && b.0 != b.1;
            let from = match self.sent.seen.iter().find(known) {
                Some(b) if !dup => b.1.min(end),
                _ => start,
            };
            if from.lt(end) {
                // A record that was reported in part only is looked at again whole.
                let first = self.sent.find(sent, from);
                let dups = if dup { Some((start, end)) } else { next_dup };
                self.tag(now, (start, end), first, dups, sent, news);
                passed = next_dup.is_some_and(|d| d.1.le(end)) && end != self.snd_nxt;
            }
        }
        let mut seen = [(SeqNum(0), SeqNum(0)); 4];
        let told = blocks.iter().skip(usize::from(twice));
        for (slot, b) in seen.iter_mut().zip(told) {
            if b.0.lt(b.1) && b.0.ge(self.snd_una) && b.1.le(self.snd_nxt) {
                *slot = *b;
            }
        }
        self.sent.seen = seen;
        // In Loss only while what was lost may yet turn out not to be.
        let r = &self.recovery;
        let counts = r.ca != CaState::Loss || r.undo_marker.is_some();
        if counts && self.sent.sacked_out > 0 {
            self.note_reordering(news.reord, Mib::SackReorder);
        }
    }

    /// Why a block counts for nothing. Those that only come late are none of the peer's faults.
    fn note_discarded(&mut self, end: SeqNum, dup: bool, ack: SeqNum) {
        let why = match self.recovery.undo_marker {
            _ if self.sent.packets_out == 0 => return,
            None if dup => Mib::DsackIgnoredNoUndo,
            Some(_) if dup => Mib::DsackIgnoredOld,
            _ if ack != self.snd_una && end.le(self.snd_una) => return,
            _ => Mib::SackDiscard,
        };
        self.noted.note(why);
    }

    /// RFC 2883, section 4: the first block reports a duplicate if it is below the ACK, or
    /// within the second.
    // RFC 2883 S5-1
    fn duplicate_reported(&self, ack: SeqNum, blocks: &[Block]) -> bool {
        match (blocks.first(), blocks.get(1)) {
            (Some(first), _) if first.0.lt(ack) => true,
            (Some(first), Some(second)) => first.0.ge(second.0) && first.1.le(second.1),
            _ => false,
        }
    }

    /// A report of what is in flight, or (a duplicate's) of what was since the window was
    /// reduced; anything else is an old report or nonsense (Linux: `tcp_is_sackblock_valid`).
    fn block_is_valid(&self, (start, end): Block, dup: bool) -> bool {
        if start.ge(end) || end.gt(self.snd_nxt) {
            return false;
        }
        if start.gt(self.snd_una) {
            return true;
        }
        match self.recovery.undo_marker {
            Some(marker) if dup && end.le(self.snd_una) => {
                start.ge(marker) || (end.gt(marker) && end - start <= self.max_window)
            }
            _ => false,
        }
    }

    /// A duplicate is reported (Linux: `tcp_dsack_seen`). False if it can't be ours.
    fn note_dsack(&mut self, (start, end): Block, news: &mut News) -> bool {
        // Longer than any window: nothing of it is believed, and nothing counted.
        if start.ge(end) || end - start > self.max_window {
            self.noted.note(Mib::DsackIgnoredDubious);
            return false;
        }
        let mss = u32::from(self.snd_mss).max(1);
        let segs = (end - start).div_ceil(mss);
        // The tail loss probe's own duplicate says nothing of reordering (RFC 8985, 7.4).
        let probe = matches!(self.timers.tail, Tail::New | Tail::Again);
        let of_probe = probe && segs == 1 && end == self.tail_end;
        let r = &mut self.recovery;
        r.dsack_dups = r.dsack_dups.saturating_add(segs);
        // A peer that reports more duplicates than were sent is not believed.
        if r.dsack_dups > self.total_retrans {
            self.noted.note(Mib::DsackIgnoredDubious);
            return false;
        }
        self.noted.add(Mib::DsackRecvSegs, segs);
        news.dsack = true;
        news.dsack_of_probe = of_probe;
        if r.reord_seen > 0 && !of_probe {
            self.rack.dsack_seen = true;
        }
        // They did arrive.
        news.sack_delivered += segs;
        // Below what is still remembered: plain counting.
        if let Some(marker) = r.undo_marker
            && r.undo_retrans > 0
            && end.le(news.una_before)
            && end.gt(marker)
        {
            r.undo_retrans = (r.undo_retrans - segs as i32).max(0);
        }
        true
    }

    /// Mark the records from `i` on that block `b` reports, those in `dups` a second time (Linux:
    /// `tcp_sacktag_walk`).
    fn tag(
        &mut self,
        now: Instant,
        b: Block,
        mut i: u32,
        dups: Option<Block>,
        sent: &mut [Sent],
        news: &mut News,
    ) {
        while let Some(&s) = SentList::get(sent, i) {
            if s.start.ge(b.1) {
                break;
            }
            let next = SentList::next(sent, i);
            let dup = dups.is_some_and(|d| s.end.gt(d.0) && s.start.lt(d.1));
            if s.is(SACKED) && !dup {
                self.sent.found_at(i);
                i = next;
                continue;
            }
            // The part that is reported in whole segments, of the size they were sent in; a single
            // one is reported whole or not at all.
            let mut at = i;
            let (several, mss) = (s.segs > 1, s.seg_len());
            if s.start.lt(b.0) {
                let cut = s.start + (b.0 - s.start).div_ceil(mss) * mss;
                if !several || cut.ge(s.end) || !self.sent.split(sent, i, cut, mss) {
                    i = next;
                    continue;
                }
                at = SentList::next(sent, i);
            }
            let Some(&s) = SentList::get(sent, at) else {
                break;
            };
            if s.end.gt(b.1) {
                let whole = (b.1.diff(s.start).max(0).unsigned_abs()) / mss * mss;
                if s.segs == 1 || whole == 0 || !self.sent.split(sent, at, s.start + whole, mss) {
                    break;
                }
            }
            let whole = |s: &Sent, d: Block| s.start.ge(d.0) && s.end.le(d.1);
            let dup = SentList::get(sent, at).is_some_and(|s| dups.is_some_and(|d| whole(s, d)));
            self.tag_record(now, at, dup, sent, news);
            let at = self.sent.merge_sacked(sent, at);
            self.sent.found_at(at);
            i = SentList::next(sent, at);
        }
    }

    /// Linux's `tcp_sacktag_one`.
    fn tag_record(&mut self, now: Instant, i: u32, dup: bool, sent: &mut [Sent], news: &mut News) {
        let Some(&s) = SentList::get(sent, i) else {
            return;
        };
        if dup && s.again() {
            let r = &mut self.recovery;
            if r.undo_retrans > 0 && r.undo_marker.is_some_and(|m| s.end.gt(m)) {
                r.undo_retrans = (r.undo_retrans - i32::from(s.segs)).max(0);
            }
            if s.is(SACKED) {
                news.reord = news.reord.min(s.start);
            }
        }
        if s.end.le(self.snd_una) {
            return;
        }
        if !s.is(SACKED) {
            self.rack_advance(now, &s);
            let mut clear = LOST;
            if s.is(RETRANS) {
                // Lost and sent again: the copy arrived. Not lost: the first one did, and the
                // copy is still on its way.
                if s.is(LOST) {
                    clear = LOST | RETRANS;
                }
            } else if !s.again() {
                // In a hole, and never sent again: it was overtaken.
                if self.sent.sacked_out > 0 && s.start.lt(self.sent.fack) {
                    news.reord = news.reord.min(s.start);
                }
                if s.end.le(self.recovery.recover) {
                    news.orig = true;
                }
                news.first_sack_at.get_or_insert(s.at);
                news.last_sack_at = Some(s.at);
            }
            self.sent
                .change(sent, i, |s| s.flags = s.flags & !clear | SACKED);
            self.rate_delivered(&s, news);
            news.sacked = true;
            news.sack_delivered += u32::from(s.segs);
            if self.sent.sacked_out == u32::from(s.segs) || s.end.gt(self.sent.fack) {
                self.sent.fack = s.end;
            }
        }
        // RFC 2883: the copy that is in flight was one too many.
        if dup && s.is(RETRANS) {
            self.sent.change(sent, i, |s| s.flags &= !RETRANS);
        }
    }

    /// `from` was passed by what was sent after it: reordering to so many segments is to be
    /// borne (Linux: `tcp_check_sack_reordering`).
    pub(super) fn note_reordering(&mut self, from: SeqNum, seen: Mib) {
        self.note_reordering_below(from, self.highest_reported(), seen);
    }

    /// `seen`: as what it counts.
    pub(super) fn note_reordering_below(&mut self, from: SeqNum, fack: SeqNum, seen: Mib) {
        if from.ge(fack) {
            return;
        }
        let mss = u32::from(self.snd_mss).max(1);
        let metric = (fack - from).div_ceil(mss);
        let r = &mut self.recovery;
        if metric > r.reordering {
            r.reordering = metric.min(self.sysctl.tcp_max_reordering.max(1));
        }
        r.reord_seen = r.reord_seen.saturating_add(1);
        self.noted.note(seen);
    }

    /// The end of what was reported; `snd_una` if nothing was.
    pub(super) fn highest_reported(&self) -> SeqNum {
        if self.sack_ok && self.sent.sacked_out > 0 {
            self.sent.fack.max(self.snd_una)
        } else {
            self.snd_una
        }
    }
}
