//! What was lost goes again (RFC 6675, section 5), after Linux's `tcp_xmit_retransmit_queue` and
//! `tcp_retransmit_skb`.

use super::mib::Mib;
use super::recovery::CaState;
use super::sent::{
    APP_LIMITED, ENDS_RECORD, EVER_RETRANS, LOST, PUSHED, RETRANS, SACKED, Sent, SentList,
};
use super::{Flags, Tcb, Transmit};
use crate::time::Instant;

impl Tcb {
    /// What was lost, once more (Linux: `tcp_xmit_retransmit_queue`).
    // RFC 6675 S4-2, S4-5, S4-8, S5-10
    pub(super) fn retransmission(
        &mut self,
        now: Instant,
        max_payload: u32,
        sent: &mut [Sent],
    ) -> Option<Transmit> {
        let forced = self.owes.rexmit;
        // What went again and was reported counts as on its way, if it was not lost when it was
        // (Linux: `tcp_sacktag_one`): the timer's retransmission doesn't ask for that.
        let timeout = forced && self.recovery.ca == CaState::Loss;
        let enough = !timeout && self.sent.retrans_out >= self.sent.lost_out;
        if enough || self.recovery.hold {
            self.owes.rexmit &= self.recovery.hold;
            return None;
        }
        let mut quota = self.cc.cwnd().saturating_sub(self.sent.in_flight());
        if forced {
            quota = quota.max(1);
        }
        if quota == 0 || (!forced && self.paced(now)) {
            return None;
        }
        let mut i = match self.sent.hint {
            0 => self.sent.head(),
            hint => hint,
        };
        let lost = |s: &Sent| s.is(LOST) && !s.is(RETRANS | SACKED);
        while !timeout && SentList::get(sent, i).is_some_and(|s| !lost(s)) {
            i = SentList::next(sent, i);
        }
        self.sent.hint = i;
        self.owes.rexmit = false;
        let mss = self.current_mss();
        let mut bound = self.burst(max_payload, mss);
        if forced && self.timers.retransmits > 0 {
            // A timeout probes with a single segment.
            bound = bound.min(mss);
        }
        bound = bound.min(quota.saturating_mul(mss));
        let first = SentList::get(sent, i)?.start == self.snd_una;
        let tx = self.send_again(now, i, bound, sent)?;
        let segs = SentList::get(sent, i).map_or(1, |s| u32::from(s.segs));
        self.sent.change(sent, i, |s| s.flags |= RETRANS);
        // A timeout sends the one, whatever the window has room for; the next ACK tells more.
        let by_timer = timeout && self.timers.retransmits > 0;
        self.recovery.hold |= by_timer;
        if !by_timer {
            let how = match self.recovery.ca {
                CaState::Loss => Mib::SlowStartRetrans,
                _ => Mib::FastRetrans,
            };
            self.noted.add(how, segs);
        }
        self.sent.hint = SentList::next(sent, i);
        self.count_for_undo(segs);
        self.timers.retrans_stamp.get_or_insert(now);
        let stamp = self.ts_now(now);
        self.recovery.retrans_ts.get_or_insert(stamp);
        if self.reducing() {
            self.recovery.prr_out = self.recovery.prr_out.saturating_add(segs);
        }
        // The first segment goes again: its ACK is a round trip away (RFC 6298, 5.1).
        let armed = self.timers.rexmit_at != Instant::NEVER;
        let reorder = self.timers.pending == super::timers::Pending::Reorder;
        if !armed || (first && !forced && !reorder) {
            self.rearm_retransmit(now);
        }
        Some(tx)
    }

    /// F-RTO asked for new data (RFC 5682, section 2.1, step 2b), and this is what could go. If
    /// nothing could, what was lost goes at once (Linux: `tcp_xmit_recovery`).
    pub(super) fn nothing_new(
        &mut self,
        now: Instant,
        max_payload: u32,
        sent: &mut [Sent],
    ) -> Option<Transmit> {
        let asked = core::mem::take(&mut self.recovery.push_new);
        if !asked || !self.recovery.hold || self.snd_nxt.gt(self.recovery.recover) {
            return None;
        }
        self.recovery.frto = false;
        self.recovery.hold = false;
        self.retransmission(now, max_payload, sent)
    }

    /// Send record `i` again, or as much of it as `bound` and the window allow: it is cut there.
    /// `None` if the window allows nothing.
    pub(super) fn send_again(
        &mut self,
        now: Instant,
        i: u32,
        mut bound: u32,
        sent: &mut [Sent],
    ) -> Option<Transmit> {
        let start = SentList::get(sent, i)?.start;
        let mss = self.current_mss();
        // The peer's window may have shrunk under what was sent.
        // RFC 9293 SHLD-16
        let window = self.window_edge().diff(start);
        if window <= 0 {
            if start != self.snd_una {
                return None;
            }
            bound = bound.min(mss);
        } else if bound > window.unsigned_abs() {
            let window = window.unsigned_abs();
            bound = if window >= mss {
                window - window % mss
            } else {
                window
            };
        }
        let packets_out = self.sent.packets_out;
        self.collapse(i, bound.min(mss), sent);
        let s = *SentList::get(sent, i)?;
        let text = self.text_of(&s);
        let len = text.min(bound);
        if len < text && !self.sent.split(sent, i, start + len, mss) {
            // No record is free: all of it counts as sent again, the rest is found lost later.
            self.sent.change(sent, i, |s| s.flags |= EVER_RETRANS);
        }
        self.drop_dupacks_of_fewer(packets_out);
        let packets_out = self.sent.packets_out;
        let fin = s.end.gt(self.snd_end) && len == text;
        if len == 0 && !fin {
            return None;
        }
        let mut flags = Flags::NONE;
        // (That several pieces have one is no mark of theirs: one of them alone has none.)
        if len > 0 && (len > mss || (s.is(PUSHED) && len == text)) {
            flags = flags.with(Flags::PSH);
        }
        if fin {
            flags = flags.with(Flags::FIN);
        }
        // An MTU probe that is sent again tells nothing (Linux: "Inconclusive MTU probe").
        // RFC 4821 S7.6.4-1, S7.6.4-2
        self.mtu.probe = 0;
        let at = self.sent.moment(now);
        let mut stamped = Sent { at, ..s };
        self.rate_stamp(now, &mut stamped);
        let segs = u16::try_from(len.div_ceil(mss).max(1)).unwrap_or(u16::MAX);
        self.sent.change(sent, i, |s| {
            s.at = at;
            s.segs = segs;
            s.mss = mss as u16;
            s.flags = s.flags & !APP_LIMITED | EVER_RETRANS | stamped.flags & APP_LIMITED;
            s.delivered = stamped.delivered;
            s.since_delivered = stamped.since_delivered;
            s.since_first = stamped.since_first;
        });
        self.drop_dupacks_of_fewer(packets_out);
        self.pace(now, len);
        if len > 0 {
            self.note_data_sent(now);
        }
        self.total_retrans = self.total_retrans.wrapping_add(u32::from(segs));
        self.bytes_sent = self.bytes_sent.saturating_add(u64::from(len));
        self.bytes_retrans = self.bytes_retrans.saturating_add(u64::from(len));
        Some(self.transmit(start, true, |tcb| tcb.segment(now, start, flags, len)))
    }

    /// What was sent as `before` segments is fewer now: duplicate ACKs had stood for those that are
    /// no more (Linux: `tcp_adjust_pcount`).
    pub(super) fn drop_dupacks_of_fewer(&mut self, before: u32) {
        if !self.sack_ok {
            let fewer = before.saturating_sub(self.sent.packets_out);
            self.sent.sacked_out = self.sent.sacked_out.saturating_sub(fewer);
        }
    }

    /// Bytes of data in a record.
    pub(super) fn text_of(&self, s: &Sent) -> u32 {
        s.end.min(self.snd_end).diff(s.start).max(0).unsigned_abs()
    }

    /// The short record `i` goes again in a segment of up to `space` bytes: the short ones behind it
    /// go in it, too, lost or not (Linux: `tcp_retrans_try_collapse`).
    fn collapse(&mut self, i: u32, space: u32, sent: &mut [Sent]) {
        let whole = |s: &Sent| self.text_of(s) >= self.current_mss();
        if self.sysctl.tcp_retrans_collapse == 0 || SentList::get(sent, i).is_none_or(whole) {
            return;
        }
        while let Some(&s) = SentList::get(sent, i)
            && let Some(&next) = SentList::get(sent, s.next)
        {
            let alone = |s: &Sent| s.segs > 1 || s.is(SACKED);
            let apart = alone(&s) || alone(&next) || s.is(ENDS_RECORD);
            let fits = self.text_of(&s) + self.text_of(&next) <= space;
            if apart || !fits || next.end.gt(self.window_edge()) {
                break;
            }
            self.sent.join_next(sent, i);
        }
    }
}
