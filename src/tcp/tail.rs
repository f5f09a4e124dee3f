//! The tail loss probe (RFC 8985, section 7): the last segment in flight has nothing behind it
//! whose SACK would tell of its loss, so one segment is sent before the retransmission timer
//! would run out.

use super::mib::Mib;
use super::news::News;
use super::recovery::CaState;
use super::sent::{Sent, SentList};
use super::timers::Pending;
use super::{SeqNum, Tcb, Transmit};
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
    // RFC 8985 S7.2-2, S7.2-3
    fn probe_timeout(&self) -> Option<Duration> {
        let calm = matches!(self.recovery.ca, CaState::Open | CaState::Cwr);
        if !matches!(self.sysctl.tcp_early_retrans, 3 | 4)
            || !self.sack_ok
            || !calm
            || self.sent.sacked_out > 0
            || self.sent.packets_out == 0
        {
            return None;
        }
        if self.rtt.srtt8 == 0 {
            return Some(Duration::from_secs(1));
        }
        // A single segment's ACK may be delayed (by Linux at most for the least RTO).
        let more = if self.sent.packets_out == 1 {
            u64::from(self.options.rto_min_ms(&self.sysctl)) * 1000
        } else {
            LEAST_US
        };
        Some(Duration::from_micros(u64::from(self.rtt.srtt8 / 4) + more))
    }

    /// A probe's timer may be started (Linux: `tcp_schedule_loss_probe`).
    pub(super) fn may_probe(&self) -> bool {
        self.probe_timeout().is_some()
    }

    /// Start the probe's timer, or the retransmission timer. `all`: all in flight counts as
    /// sent now.
    // RFC 8985 S7.2-1
    pub(super) fn rearm_probe(&mut self, now: Instant, sent: &[Sent], all: bool) {
        let Some(timeout) = self.probe_timeout() else {
            return self.rearm_retransmit_from_head(now, sent);
        };
        let mut at = now + timeout.min(self.rtt.rto());
        if !all && let Some(s) = SentList::get(sent, self.sent.head()) {
            // Not after the retransmission timer would run out.
            let rto = s.at + self.rtt.rto();
            if rto > now {
                at = at.min(rto);
            }
        }
        self.timers.pending = Pending::LossProbe;
        self.timers.rexmit_at = at;
    }

    /// The probe's timer ran out (section 7.3). With a probe the retransmission timer starts over;
    /// where there is one on the way already it goes on as if there had been none.
    // RFC 8985 S7.3-1, S7.3-2
    pub(super) fn on_probe_timer(&mut self, now: Instant, sent: &mut [Sent]) {
        if self.timers.tail == Tail::None && self.sent.packets_out > 0 {
            self.timers.tail = Tail::Owed;
        }
        self.rearm_retransmit_from_head(now, sent);
    }

    /// The probe that is owed: new data if there is any, else the last segment again.
    // RFC 8985 S7.3-3, S7.3-4, S7.3-5, S7.3-6
    pub(super) fn tail_probe(&mut self, now: Instant, sent: &mut [Sent]) -> Option<Transmit> {
        if self.timers.tail != Tail::Owed {
            return None;
        }
        self.timers.tail = Tail::None;
        if self.recovering() || self.sent.packets_out == 0 {
            return None;
        }
        let mss = self.current_mss();
        let unsent = self.unsent_of_record();
        // A FIN that waits for the congestion window is new, too, as in Linux.
        let fin = self.fin_queued && !self.fin_sent() && unsent == self.unsent();
        if (unsent > 0 || fin) && self.first_segment_fits() {
            let probe = self.send_new(now, unsent.min(mss), fin && unsent <= mss, false, sent);
            self.rearm_retransmit(now);
            self.timers.tail = Tail::New;
            self.tail_end = self.snd_nxt;
            self.noted.note(Mib::LossProbes);
            return Some(probe);
        }
        // The last segment of the last record.
        let last = SentList::get(sent, self.sent.tail()).copied()?;
        let text_end = last.end.min(self.snd_end);
        let text = text_end.diff(last.start).max(0).unsigned_abs();
        if last.segs > 1 && text > mss {
            let tail = match text % mss {
                0 => mss,
                n => n,
            };
            let cut = SeqNum(text_end.0.wrapping_sub(tail));
            self.sent.split(sent, self.sent.tail(), cut, mss);
        }
        let i = self.sent.tail();
        let last = SentList::get(sent, i).copied()?;
        if last.start != self.snd_una && last.start.ge(self.window_edge()) {
            return None;
        }
        self.timers.tail = Tail::Again;
        self.tail_end = self.snd_nxt;
        let probe = self.send_again(now, i, mss, sent);
        self.rearm_retransmit(now);
        self.noted.add(Mib::LossProbes, probe.is_some().into());
        probe
    }

    /// An ACK came: what became of the probe (section 7.4; Linux: `tcp_process_tlp_ack`).
    // RFC 8985 S7.4.2-1, S7.4.2-2
    pub(super) fn end_tail_probe(&mut self, ack: SeqNum, news: &News) {
        if !matches!(self.timers.tail, Tail::New | Tail::Again) || ack.lt(self.tail_end) {
            return;
        }
        match self.timers.tail {
            // Both copies arrived: nothing was lost.
            Tail::Again if news.dsack_of_probe => self.timers.tail = Tail::None,
            // Later data is acknowledged and the second copy never was: the probe repaired a
            // loss, which was congestion's.
            Tail::Again if ack.gt(self.tail_end) => {
                self.timers.tail = Tail::None;
                self.noted.note(Mib::LossProbeRecovery);
                if self.recovery.ca < CaState::Cwr {
                    self.cc.forget_prior();
                    self.start_reduction();
                    self.recovery.ca = CaState::Cwr;
                    self.end_reduction();
                    self.recovery.ca = CaState::Open;
                }
            }
            Tail::Again if !news.advanced && !news.not_dup() && !news.sacked => {
                self.timers.tail = Tail::None;
            }
            Tail::Again => {}
            _ => self.timers.tail = Tail::None,
        }
    }
}
