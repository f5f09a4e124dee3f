//! RACK (RFC 8985): a segment is lost if one that was sent sufficiently later has arrived.

use super::news::News;
use super::sent::{LOST, RETRANS, SACKED, Sent, SentList, micros_since};
use super::timers::Pending;
use super::{SeqNum, Tcb};
use crate::time::{Duration, Instant};

/// Linux's `TCP_TIMEOUT_MIN_US`.
const LEAST: Duration = Duration::from_millis(2);
/// Recoveries for which a widened window is kept (RFC 8985, section 6.2, step 4).
pub(super) const PERSIST: u8 = 16;
/// tcp_recovery: the window is not adapted.
const STATIC_WINDOW: u8 = 2;
/// tcp_recovery: reordering is borne even when many segments were reported.
const NO_THRESHOLD: u8 = 4;

/// RFC 8985, section 5.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Rack {
    /// `RACK.xmit_ts` and `RACK.end_seq`: of the latest segment sent that arrived.
    at: Instant,
    end: SeqNum,
    /// `RACK.rtt`, microseconds.
    pub rtt_us: u32,
    /// `delivered` when the window was last widened.
    last_delivered: u32,
    /// Quarters of the least round-trip time.
    steps: u8,
    pub persist: u8,
    /// Something arrived since losses were last looked for.
    pub advanced: bool,
    /// A duplicate was reported that a wider window may have spared.
    pub dsack_seen: bool,
}

impl Tcb {
    /// A record arrived (RFC 8985, section 6.2, steps 1 and 2).
    // RFC 8985 S7.3-5
    pub(super) fn rack_advance(&mut self, now: Instant, s: &Sent) {
        let rtt = micros_since(s.at, now);
        if s.again() {
            // Which copy was it? Not the last if that had no time to arrive. The timestamp does
            // not tell: what is echoed beneath a hole is as old as the hole, so that no lost
            // retransmission would be found until it is filled. Linux does not ask it either.
            if rtt < self.rtt.min_rtt {
                return;
            }
        }
        let rack = &mut self.rack;
        rack.advanced = true;
        rack.rtt_us = rtt;
        if s.after(rack.at, rack.end) {
            rack.at = s.at;
            rack.end = s.end;
        }
    }

    /// The reordering window (section 6.2, step 4), microseconds.
    // RFC 8985 S3.3.2-1, S3.3.2-2, S3.3.2-4, S3.3.2-5
    fn reordering_window(&self) -> u32 {
        if self.recovery.reord_seen == 0 {
            let no_threshold = self.sysctl.tcp_recovery & NO_THRESHOLD != 0;
            if self.recovering()
                || self.sent.sacked_out >= self.recovery.reordering && !no_threshold
            {
                return 0;
            }
        }
        let steps = u32::from(self.rack.steps.max(1));
        (self.rtt.min_rtt / 4)
            .saturating_mul(steps)
            .min(self.rtt.srtt8 >> 3)
    }

    /// What is left of the time that a record has to arrive in; microseconds.
    pub(super) fn rack_left(&self, now: Instant, s: &Sent, window: u32) -> i64 {
        i64::from(self.rack.rtt_us) + i64::from(window) - i64::from(micros_since(s.at, now))
    }

    /// Section 6.2, step 5: `RACK_detect_loss`. Gives the time after which to look again.
    fn rack_detect(&mut self, now: Instant, sent: &mut [Sent]) -> u32 {
        let window = self.reordering_window();
        let (at, end) = (self.rack.at, self.rack.end);
        let mut again = 0;
        let mut i = self.sent.head();
        while let Some(&s) = SentList::get(sent, i) {
            let arrived_later = Sent { at, end, ..s }.after(s.at, s.end);
            if !arrived_later && !s.again() {
                // All that follows was sent later still.
                break;
            }
            let lost = s.is(LOST) && !s.is(RETRANS);
            if arrived_later && !lost && !s.is(SACKED) {
                let left = self.rack_left(now, &s, window);
                if left <= 0 {
                    self.mark_lost(i, sent);
                } else {
                    again = again.max(u32::try_from(left).unwrap_or(u32::MAX));
                }
            }
            i = SentList::next(sent, i);
        }
        again
    }

    /// After an ACK (Linux: `tcp_rack_mark_lost`): true if the reordering timer was started.
    // RFC 8985 S6.2-2, S8-1
    pub(super) fn rack_mark_lost(&mut self, now: Instant, sent: &mut [Sent]) -> bool {
        if !self.rack.advanced {
            return false;
        }
        self.rack.advanced = false;
        let again = self.rack_detect(now, sent);
        if again == 0 {
            return false;
        }
        let wait = Duration::from_micros(u64::from(again)) + LEAST;
        self.timers.pending = Pending::Reorder;
        self.timers.rexmit_at = now + wait.min(self.rtt.rto());
        true
    }

    /// The reordering timer ran out (section 6.3).
    pub(super) fn on_reorder_timer(&mut self, now: Instant, sent: &mut [Sent]) {
        let before = self.sent.in_flight();
        let lost = self.recovery.lost;
        self.rack_detect(now, sent);
        if before != self.sent.in_flight() {
            if self.recovery.ca != super::recovery::CaState::Recovery {
                self.enter_recovery(false);
                let lost = self.recovery.lost.wrapping_sub(lost);
                self.proportional_rate(1, lost, false);
            }
            self.recovery.hold = false;
        }
        if self.timers.rexmit_at == Instant::NEVER {
            self.rearm_retransmit_from_head(now, sent);
        }
    }

    /// Section 6.2, step 4: a round trip with duplicates widens the window.
    // RFC 8985 S4-4, S3.3.2-3
    pub(super) fn rack_adapt(&mut self, news: &News) {
        let Some(prior) = news.rate.prior_delivered else {
            return;
        };
        if self.sysctl.tcp_recovery & STATIC_WINDOW != 0 {
            return;
        }
        let rack = &mut self.rack;
        if (prior.wrapping_sub(rack.last_delivered) as i32) < 0 {
            rack.dsack_seen = false;
        }
        if rack.dsack_seen {
            rack.steps = rack.steps.max(1).saturating_add(1);
            rack.dsack_seen = false;
            rack.last_delivered = self.recovery.delivered;
            rack.persist = PERSIST;
        } else if rack.persist == 0 {
            rack.steps = 1;
        }
    }
}
