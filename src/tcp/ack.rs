//! The ACK field (RFC 9293, section 3.10.7.4, fifth check), after Linux's `tcp_ack`.

use super::{Events, Flags, Outcome, Segment, Tcb};
use crate::time::Instant;

/// Below this (microseconds) timestamps in milliseconds say little.
const COARSE_US: u32 = 8000;

/// What the ACK field turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckResult {
    /// In `[snd_una, snd_nxt]`.
    Good,
    /// Below `snd_una`, by little: of no use, the rest of the segment may be.
    Old,
    /// Far too old, or of what was never sent: the segment is not believed.
    Bad,
}

impl Tcb {
    /// Take acknowledgment and window; an ACK that is not believed gets a challenge ACK.
    pub(super) fn take_ack(&mut self, now: Instant, seg: &Segment, out: &mut Outcome) -> AckResult {
        let ack = seg.ack;
        let before = self.snd_una;
        if ack.lt(before) {
            // RFC 5961, section 5.2: "The ACK value is considered acceptable only if it is in
            // the range of ((SND.UNA - MAX.SND.WND) <= SEG.ACK <= SND.NXT)".
            // RFC 5961 S5.2-1, S5.2-2
            let span = u64::from(self.max_window).min(self.bytes_acked) as u32;
            if before - ack > span {
                self.challenge(now);
                return AckResult::Bad;
            }
            self.take_sacks(now, seg);
            return AckResult::Old;
        }
        if ack.gt(self.snd_nxt) {
            // RFC 9293, section 3.10.7.4: "If the ACK acks something not yet sent (SEG.ACK >
            // SND.NXT), then send an ACK, drop the segment, and return".
            self.challenge(now);
            return AckResult::Bad;
        }
        if self.ts_ok {
            self.update_ts_recent(now, seg);
        }
        let idle = before == self.snd_nxt;
        let window_update = self.take_window(seg);
        let acked = ack - before;
        if acked > 0 {
            let payload_from = self.snd_una();
            self.snd_una = ack;
            // RFC 2018 S8-3
            // RFC 6675 S4-1
            out.acked = self.snd_una() - payload_from;
            self.bytes_acked = self.bytes_acked.saturating_add(u64::from(out.acked));
            if out.acked > 0 {
                out.events.add(Events::ACKED);
            }
            self.timers.retransmits = 0;
            if self.snd_up.lt(ack) {
                self.snd_up = ack;
            }
            self.board.remove_below(ack);
        }
        let sacked = self.take_sacks(now, seg);
        // "Something worked": RFC 1122, section 4.2.3.9's record is out of date.
        self.soft_error = None;
        self.timers.probes_out = 0;
        self.rcv_tstamp = now;
        if idle {
            self.end_tail_probe(seg, 0, seg.seq_len() == 0 && !window_update);
            self.on_ack_while_probing(now);
            return AckResult::Good;
        }
        if acked > 0 {
            // RFC 7323 S4.1-1
            self.measure_rtt(now, seg);
            if !self.recovering() {
                self.timers.retrans_stamp = None;
            }
            let tsecr = seg.options.timestamps.filter(|_| self.ts_ok).map(|t| t.1);
            self.recover_on_ack(acked, tsecr);
            if self.recovering() {
                self.timers.retrans_stamp = None;
            }
            // RFC 6298, sections 5.2 and 5.3.
            // RFC 6928 S9-1
            self.rearm_probe(now);
        }
        // RFC 5681, section 2: no data, no window update, nothing new acknowledged.
        let duplicate = acked == 0 && seg.seq_len() == 0 && !window_update;
        self.end_tail_probe(seg, acked, duplicate && !sacked);
        if duplicate || sacked {
            self.recover_on_duplicate(now, sacked);
        }
        AckResult::Good
    }

    /// RFC 9293's window update (section 3.10.7.4), as Linux's `tcp_may_update_window` has it;
    /// true if it was one.
    fn take_window(&mut self, seg: &Segment) -> bool {
        let shift = if seg.flags.has(Flags::SYN) {
            0
        } else {
            self.snd_wscale
        };
        let window = u32::from(seg.window) << shift;
        let newer = seg.ack.gt(self.snd_una)
            || seg.seq.gt(self.snd_wl1)
            || (seg.seq == self.snd_wl1 && (window > self.snd_wnd || window == 0));
        if !newer {
            return false;
        }
        self.snd_wl1 = seg.seq;
        self.snd_wnd = window;
        if window > self.max_window {
            self.max_window = window;
            self.sync_mss();
        }
        true
    }

    /// What the peer holds beyond `snd_una` (RFC 2018); true if it told something new.
    // RFC 2018 S5-1
    fn take_sacks(&mut self, now: Instant, seg: &Segment) -> bool {
        if !self.sack_ok {
            return false;
        }
        let mut news = false;
        let o = &seg.options;
        for &(start, end) in o.sack.iter().take(usize::from(o.sack_len)) {
            // Anything else is a duplicate's report (RFC 2883) or nonsense.
            if start.lt(end) && start.gt(self.snd_una) && end.le(self.snd_nxt) {
                news |= self.board.insert(start, end);
                if let Some(us) = self.rtt.stop_by_sack(now, start, end) {
                    self.take_sample(us);
                }
            }
        }
        news
    }

    /// RFC 6298, section 3 (Karn) and RFC 7323, section 4 (RTTM).
    fn measure_rtt(&mut self, now: Instant, seg: &Segment) {
        let mut sample = self.rtt.stop(now, self.snd_una);
        if sample.is_none() && self.ts_ok {
            // One segment in a round trip is timed; timestamps measure with each ACK, but in
            // milliseconds. Where those are too coarse, the timed segment alone counts.
            let coarse = |us: u32| us < COARSE_US && self.rtt.srtt8 / 8 < 2 * COARSE_US;
            let needed = self.rtt.needs_timestamps();
            sample = self.ts_sample(now, seg).filter(|&us| needed || !coarse(us));
        }
        if let Some(us) = sample {
            self.take_sample(us);
        }
    }

    /// A valid measurement ends the backing off (RFC 6298, section 5).
    fn take_sample(&mut self, us: u32) {
        self.rtt.sample(us, self.snd_una, self.snd_nxt);
        self.timers.backoff = 0;
    }

    /// The round-trip time by the echoed timestamp, microseconds.
    pub(super) fn ts_sample(&self, now: Instant, seg: &Segment) -> Option<u32> {
        let (_, tsecr) = seg.options.timestamps?;
        if tsecr == 0 {
            return None;
        }
        let ms = self.ts_now(now).wrapping_sub(tsecr);
        // More than 2^20 ms is no round trip but a lie.
        (ms < 1 << 20).then(|| ms.max(1) * 1000)
    }

    /// TS.Recent (RFC 7323, section 4.3, rule 2): "If SEG.TSval >= TS.Recent and SEG.SEQ <=
    /// Last.ACK.sent, then SEG.TSval is copied to TS.Recent".
    pub(super) fn update_ts_recent(&mut self, now: Instant, seg: &Segment) {
        if let Some((tsval, _)) = seg.options.timestamps
            && seg.seq.le(self.rcv_wup)
            && (self.ts_recent.wrapping_sub(tsval) as i32 <= 0 || self.ts_recent_expired(now))
        {
            self.ts_recent = tsval;
            self.ts_recent_at = now;
        }
    }
}
