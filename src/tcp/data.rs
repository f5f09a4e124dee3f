//! The segment's text and FIN (RFC 9293, section 3.10.7.4, seventh and eighth check), after
//! Linux's `tcp_data_queue` and `tcp_fin`.

use super::mib::Mib;
use super::{Events, Flags, Outcome, RecvQueue, Segment, SeqNum, State, Tcb, reset_for};
use crate::time::Instant;

impl Tcb {
    /// Queue payload; false if the connection ended over it.
    pub(super) fn take_payload(
        &mut self,
        now: Instant,
        seg: &Segment,
        rx: &mut impl RecvQueue,
        out: &mut Outcome,
    ) -> bool {
        if self.state == State::Closed {
            return false;
        }
        // Nothing follows a FIN. What pretends to is ignored; text from before it to behind it is
        // data that nobody will read (Linux: `tcp_rcv_state_process`, step 7).
        let closed = match self.state {
            State::CloseWait | State::Closing | State::LastAck if seg.seq.ge(self.rcv_nxt) => {
                return true;
            }
            State::CloseWait | State::Closing | State::LastAck => true,
            State::FinWait1 | State::FinWait2 => self.rcv_shutdown,
            _ => false,
        };
        // RFC 1122, section 4.2.2.13: data after the program closed is answered by a RST.
        // RFC 9293 SHLD-3
        if closed && self.data_after_close(seg) {
            self.noted.note(Mib::AbortOnData);
            out.reset = reset_for(seg);
            self.reset_by_peer(out);
            return false;
        }
        if seg.seq_len() == 0 || seg.flags.has(Flags::SYN) {
            return true;
        }
        if self.fin_received {
            // Nothing follows a FIN: a retransmission, or nonsense.
            if !seg.end().gt(self.rcv_nxt) {
                self.note_duplicate(seg.seq, seg.end());
                self.enter_quickack();
                self.delack.scheduled = true;
            }
            return true;
        }
        let window = self.receive_window();
        let edge = self.rcv_nxt + window;
        let text_end = seg.seq + seg.len;
        let fin = seg.flags.has(Flags::FIN);
        if !seg.end().gt(self.rcv_nxt) {
            // All of it came before: the ACK was lost.
            self.noted.note(Mib::DelayedAckLost);
            self.note_duplicate(seg.seq, seg.end());
            self.enter_quickack();
            self.delack.scheduled = true;
            return true;
        }
        let bare_fin = fin && text_end.le(self.rcv_nxt);
        let next_is_fin = bare_fin && seg.seq == self.rcv_nxt;
        if (window == 0 || seg.seq.ge(edge)) && !next_is_fin {
            // Out of window, "e.g. zero window probe".
            if window == 0 {
                self.noted.note(Mib::ZeroWindowDrop);
            }
            self.enter_quickack();
            self.delack.scheduled = true;
            return true;
        }
        if seg.seq.lt(self.rcv_nxt) {
            self.note_duplicate(seg.seq, self.rcv_nxt);
        }
        // Trim to the window (section 3.10.7.4, first check).
        let start = seg.seq.max(self.rcv_nxt);
        let mut end = text_end.min(edge);
        if let Some(fin_at) = self.fin_at {
            end = end.min(fin_at);
        }
        let fin_again = fin && self.fin_at == Some(text_end);
        // Of two the peer is done with the first that is reached.
        if fin && text_end.le(edge) && self.fin_at.is_none_or(|at| text_end.lt(at)) {
            self.fin_at = Some(text_end);
            rx.cut(text_end);
        }
        let expected = self.rcv_nxt;
        self.delack.scheduled = true;
        if end.gt(start) {
            self.keep(now, seg, start, end, rx, out);
        } else if self.fin_at.is_some_and(|fin| fin.gt(expected)) {
            let ahead = u32::from(seg.seq.gt(expected));
            self.noted.add(Mib::OfoQueue, ahead);
            self.rcv_ooopack = self.rcv_ooopack.wrapping_add(ahead);
            self.refresh_blocks(rx);
        }
        if fin_again && text_end.gt(expected) {
            // A FIN is held like a byte.
            match &mut self.dsack {
                Some((_, end)) if *end == text_end => *end = text_end + 1,
                Some(_) => {}
                None => {
                    self.noted.note(Mib::OfoMerge);
                    self.note_duplicate_as(text_end, text_end + 1, false);
                }
            }
        }
        if self.fin_at == Some(self.rcv_nxt) {
            self.take_fin(now, out);
        } else if start.gt(expected) && self.rcv_nxt == expected {
            // Out of order: RFC 5681, section 4.2, with `compress_ack`. A lone FIN has no block
            // that would tell.
            self.delack.now |= end.le(start);
        }
        true
    }

    // RFC 9293 SHLD-31
    fn keep(
        &mut self,
        now: Instant,
        seg: &Segment,
        start: SeqNum,
        end: SeqNum,
        rx: &mut impl RecvQueue,
        out: &mut Outcome,
    ) {
        let before = self.rcv_nxt;
        let gap = self.rcv_sack_len > 0 || start.gt(before);
        if start.gt(before) {
            let pieces = self.pieces_of(end - start);
            self.rcv_ooopack = self.rcv_ooopack.wrapping_add(pieces);
            self.noted.note(Mib::OfoQueue);
            self.measure_rcv_mss(seg);
        }
        self.note_overlap(start, end);
        if start.gt(before) {
            self.tell_held_back(start, end);
        }
        let next = rx.insert(before, start, start - seg.seq, end - start);
        // A queue may know better than to answer nonsense, but we do not rely on it.
        let most = before + self.receive_window();
        let next = next.max(before).min(most);
        let next = self.fin_at.map_or(next, |fin| next.min(fin));
        self.rcv_nxt = next;
        if gap {
            let had = self.rcv_sack_len > 0;
            self.refresh_blocks(rx);
            if start.gt(before) && self.rcv_sack_len > 0 {
                self.note_ahead(end, end - start, !had);
            }
            // RFC 5681 S3.2-2, S4.2-6
            // (With a FIN of its own it ends the stream, and there is no gap to Linux.)
            let ends = seg.flags.has(Flags::FIN) && self.fin_at == Some(next) && end == next;
            if had && self.rcv_sack_len == 0 && !ends {
                // RFC 5681, section 4.2: at once "when the incoming segment fills in all or
                // part of a gap in the sequence space".
                self.delack.now = true;
            }
        }
        if next.gt(before) {
            // Where it did not go by now, the ACK of this tells more.
            self.owes.early.len = 0;
            let got = next - before;
            self.bytes_received = self.bytes_received.saturating_add(u64::from(got));
            out.events.add(Events::READABLE);
            self.note_data_received(now, seg);
        } else if start == before {
            // No memory: say so, and that what came is not acknowledged.
            self.delack.now = true;
        }
    }

    /// The blocks held, for our SACK options: what changed comes first, the others keep the order
    /// in which they were reported last (RFC 2018, section 4).
    // RFC 2018 S4-7
    fn refresh_blocks(&mut self, rx: &impl RecvQueue) {
        let mut blocks = self.rcv_sack;
        if let Some(unused) = blocks.get_mut(usize::from(self.rcv_sack_len)..) {
            unused.fill((SeqNum(0), SeqNum(0)));
        }
        let mut n = rx.sack_blocks(self.rcv_nxt, &mut blocks).min(blocks.len());
        // A FIN ahead of its turn is held, too.
        if let Some(fin) = self.fin_at.filter(|fin| fin.gt(self.rcv_nxt)) {
            let told = self.rcv_sack.iter().take(usize::from(self.rcv_sack_len));
            let known = told.clone().any(|b| b.1 == fin + 1);
            if let Some(b) = blocks.iter_mut().take(n).find(|b| b.1 == fin) {
                b.1 = fin + 1;
            } else if n < blocks.len() {
                let at = if known { n } else { 0 };
                blocks.copy_within(at..n, at + 1);
                if let Some(b) = blocks.get_mut(at) {
                    *b = (fin, fin + 1);
                }
                n += 1;
            }
        }
        self.rcv_sack = blocks;
        self.rcv_sack_len = n as u8;
    }

    /// A segment ahead of its turn moves the blocks. Where one would leave the first two places
    /// and reports are held back, they are told before: an ACK that tells three blocks has then
    /// told each in one of the first two places, and no lost ACK hides one (Linux:
    /// `tcp_sack_new_ofo_skb`). What the segment itself changed is told with the next, unless it
    /// made a block grow that was told before: the peer sees that at once.
    // RFC 2018 S4-7
    fn tell_held_back(&mut self, start: SeqNum, end: SeqNum) {
        const SURE: usize = 2;
        let told = usize::from(self.rcv_sack_len);
        if self.delack.compressed == 0 || told < SURE {
            return;
        }
        let touches = |b: &(SeqNum, SeqNum)| start.le(b.1) && b.0.le(end);
        let held = self.rcv_sack.iter_mut().take(told);
        if let Some((place, block)) = held.enumerate().find(|(_, b)| touches(b)) {
            if place < SURE {
                return;
            }
            *block = (block.0.min(start), block.1.max(end));
        }
        self.delack.compressed -= 1;
        self.owes.early = self.blocks_to_tell();
        self.dsack = None;
        self.note_ack_sent();
    }

    /// What comes a second time while it is held is a duplicate, too (RFC 2883, section 4.1.2).
    fn note_overlap(&mut self, start: SeqNum, end: SeqNum) {
        let whole = (start, end);
        let held = self.rcv_sack.iter().take(usize::from(self.rcv_sack_len));
        if start.gt(self.rcv_nxt) {
            let covers = |a: &(SeqNum, SeqNum), b: &(SeqNum, SeqNum)| a.0.le(b.0) && b.1.le(a.1);
            let one = held
                .clone()
                .filter(|b| covers(b, &whole) || covers(&whole, b));
            self.noted.add(Mib::OfoMerge, one.count() as u32);
        }
        let common = held.map(|b| (b.0.max(start), b.1.min(end)));
        let first = common.filter(|c| c.0.lt(c.1)).min_by_key(|c| c.0 - start);
        if let (Some((start, end)), None) = (first, self.dsack) {
            // What fills a hole has moved RCV.NXT by the time that Linux looks.
            let old = whole.0 == self.rcv_nxt;
            self.note_duplicate_as(start, end, old);
        }
    }

    /// Remember a duplicate to report (RFC 2883, section 4).
    pub(super) fn note_duplicate(&mut self, start: SeqNum, end: SeqNum) {
        self.note_duplicate_as(start, end, start.lt(self.rcv_nxt));
    }

    fn note_duplicate_as(&mut self, start: SeqNum, end: SeqNum, old: bool) {
        if self.sack_ok && self.sysctl.tcp_dsack != 0 && start.lt(end) {
            self.noted.note(if old {
                Mib::DsackOldSent
            } else {
                Mib::DsackOfoSent
            });
            self.dsack = Some((start, end));
        }
    }

    /// The peer's FIN is next (Linux: `tcp_fin`).
    pub(super) fn take_fin(&mut self, now: Instant, out: &mut Outcome) {
        self.rcv_nxt += 1;
        self.fin_received = true;
        self.rcv_sack_len = 0;
        self.delack.scheduled = true;
        // RFC 9293 MUST-12
        out.events.add(Events::PEER_FIN);
        match self.state {
            State::SynReceived | State::Established => {
                // An answer, our own FIN maybe, is likely to follow.
                self.delack.pingpong = true;
                self.enter(State::CloseWait, out);
            }
            State::FinWait1 => {
                self.owes.ack = true;
                self.enter(State::Closing, out);
            }
            State::FinWait2 => {
                self.owes.ack = true;
                self.enter_time_wait(now, out);
            }
            _ => {}
        }
    }
}
