//! The tail loss probe (RFC 8985, section 7): the last segment in flight has nothing behind it
//! whose SACK would tell of its loss, so one segment is sent before the retransmission timer
//! would run out.

use super::timers::Pending;
use super::{Flags, Segment, SeqNum, Tcb, Transmit};
use crate::time::{Duration, Instant};

/// Linux's `TCP_TIMEOUT_MIN_US`.
const LEAST_US: u64 = 2000;

/// What the probe under way was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tail {
    /// There is none.
    #[default]
    None,
    /// To be sent.
    Owed,
    /// Data that had not been sent before.
    New,
    /// What had been sent last, again.
    Again,
}

impl Tcb {
    /// `TLP_calc_PTO` (section 7.2); `None` where a probe is not allowed.
    fn probe_timeout(&self) -> Option<Duration> {
        if !self.sack_ok || self.recovering() || self.board.bytes() > 0 || self.retries_begun() {
            return None;
        }
        let out = self.snd_nxt - self.snd_una;
        if out == 0 {
            return None;
        }
        if self.rtt.srtt8 == 0 {
            return Some(Duration::from_secs(1).min(self.rtt.rto()));
        }
        // A single segment's ACK may be delayed (by Linux at most for the least RTO).
        let more = if out <= u32::from(self.snd_mss) {
            u64::from(self.sysctl.tcp_rto_min_ms) * 1000
        } else {
            LEAST_US
        };
        let timeout = Duration::from_micros(u64::from(self.rtt.srtt8 / 4) + more);
        Some(timeout.min(self.rtt.rto()))
    }

    fn retries_begun(&self) -> bool {
        self.timers.retransmits > 0
    }

    /// All in flight counts as sent now: start the probe's timer, or the retransmission timer.
    pub(super) fn rearm_probe(&mut self, now: Instant) {
        match self.probe_timeout() {
            Some(timeout) => {
                self.timers.pending = Pending::LossProbe;
                self.timers.rexmit_at = now + timeout;
            }
            None => self.rearm_retransmit(now),
        }
    }

    /// More was sent while the probe's timer ran: with a second segment in flight no delayed
    /// ACK is to be waited for.
    pub(super) fn tighten_probe(&mut self, now: Instant) {
        if self.timers.pending == Pending::LossProbe
            && let Some(timeout) = self.probe_timeout()
        {
            self.timers.rexmit_at = self.timers.rexmit_at.min(now + timeout);
        }
    }

    /// The probe's timer ran out (section 7.3): the retransmission timer starts over.
    pub(super) fn on_probe_timer(&mut self, now: Instant) {
        if !self.recovering() && self.timers.tail == Tail::None && self.snd_una != self.snd_nxt {
            self.timers.tail = Tail::Owed;
        }
        self.rearm_retransmit(now);
    }

    /// The probe that is owed: new data if there is any, else the last segment again.
    pub(super) fn tail_probe(&mut self, now: Instant) -> Option<Transmit> {
        if self.timers.tail != Tail::Owed {
            return None;
        }
        self.timers.tail = Tail::None;
        if self.recovering() || self.snd_una == self.snd_nxt {
            return None;
        }
        let mss = self.current_mss();
        let unsent = self.snd_end.diff(self.snd_nxt).max(0).unsigned_abs();
        if unsent > 0 && self.first_segment_fits() {
            let probe = self.send_new(now, unsent.min(mss), false, false);
            self.rearm_retransmit(now);
            self.timers.tail = Tail::New;
            self.tail_end = self.snd_nxt;
            return Some(probe);
        }
        let fin = self.fin_sent();
        let text_end = SeqNum(self.snd_nxt.0.wrapping_sub(u32::from(fin)));
        let first = self.snd_una();
        let len = text_end.diff(first).max(0).unsigned_abs().min(mss);
        let start = SeqNum(text_end.0.wrapping_sub(len));
        if start != first && start.ge(self.window_edge()) {
            return None;
        }
        self.timers.tail = Tail::Again;
        self.tail_end = self.snd_nxt;
        self.rtt.retransmitted(start, self.snd_nxt);
        self.total_retrans = self.total_retrans.wrapping_add(1);
        let mut flags = Flags::NONE;
        if len > 0 && text_end == self.snd_end {
            flags = flags.with(Flags::PSH);
        }
        if fin {
            flags = flags.with(Flags::FIN);
        }
        Some(self.transmit(start, true, |tcb| tcb.segment(now, start, flags, len)))
    }

    /// An ACK came: what became of the probe (section 7.4; Linux: `tcp_process_tlp_ack`).
    pub(super) fn end_tail_probe(&mut self, seg: &Segment, acked: u32, duplicate: bool) {
        let ack = seg.ack;
        if self.timers.tail == Tail::None || ack.lt(self.tail_end) {
            return;
        }
        let reported = &seg.options;
        let twice = reported.sack_len > 0 && reported.sack[0].0.lt(ack);
        match self.timers.tail {
            // Both copies arrived: nothing was lost.
            Tail::Again if twice || (acked == 0 && duplicate) => self.timers.tail = Tail::None,
            // Later data is acknowledged and the second copy never was: the probe repaired a
            // loss, which was congestion's.
            Tail::Again if ack.gt(self.tail_end) => {
                self.timers.tail = Tail::None;
                if !self.recovering() {
                    self.cc.on_fast_retransmit();
                }
            }
            Tail::Again => {}
            _ => self.timers.tail = Tail::None,
        }
    }
}
