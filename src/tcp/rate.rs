//! Samples of the delivery rate (draft-cheng-iccrg-delivery-rate-estimation), as Linux takes
//! them: for BBR, and for TCP_INFO.

use super::SeqNum;
use super::Tcb;
use super::news::News;
use super::sent::{APP_LIMITED, SACKED, Sent, micros_since};
use crate::time::{Duration, Instant};

/// What one ACK says of the rate.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateSample {
    /// `delivered` when the newest segment that it acknowledges was sent; and when that was.
    pub prior_delivered: Option<u32>,
    pub(super) prior_at: Instant,
    pub(super) last_end: SeqNum,
    pub(super) first_at: Instant,
    pub(super) sent_at: Instant,
    /// The sender had nothing more to send then.
    pub app_limited: bool,
    /// Segments delivered in `interval_us`; none if nothing can be said.
    pub delivered: Option<u32>,
    /// Microseconds.
    pub interval_us: u64,
    /// The newest segment's round-trip time, microseconds.
    pub rtt_us: Option<u32>,
    /// Segments newly delivered and newly lost.
    pub acked_sacked: u32,
    /// See `acked_sacked`.
    pub losses: u32,
    /// In flight before the ACK.
    pub prior_in_flight: u32,
    /// The ACK may have been delayed.
    pub ack_delayed: bool,
}

/// What is remembered between ACKs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Rate {
    /// When `delivered` last rose, and when the flight began that ended then.
    delivered_at: Instant,
    first_at: Instant,
    /// When `delivered` passes this, the sender is no longer short of data.
    pub app_limited: u32,
    /// The best sample for TCP_INFO: segments, microseconds.
    pub best: (u32, u32),
    pub best_limited: bool,
}

impl Tcb {
    /// What a record of something being sent now (`s.at` is set) remembers.
    pub(super) fn rate_stamp(&mut self, now: Instant, s: &mut Sent) {
        if self.sent.packets_out == 0 {
            self.rate.first_at = now;
            self.rate.delivered_at = now;
        }
        s.since_first = micros_since(self.rate.first_at, s.at);
        s.since_delivered = micros_since(self.rate.delivered_at, s.at);
        s.delivered = self.recovery.delivered;
        s.flags &= !APP_LIMITED;
        if self.rate.app_limited != 0 {
            s.flags |= APP_LIMITED;
        }
    }

    /// A record was delivered (for the first time: not if it was reported before).
    pub(super) fn rate_delivered(&mut self, s: &Sent, news: &mut News) {
        if s.is(SACKED) {
            return;
        }
        let r = &mut news.rate;
        if r.prior_delivered.is_none() || s.after(self.rate.first_at, r.last_end) {
            r.prior_delivered = Some(s.delivered);
            let before = |us: u32| s.at - Duration::from_micros(us.into());
            r.prior_at = before(s.since_delivered);
            r.app_limited = s.is(APP_LIMITED);
            r.last_end = s.end;
            r.first_at = before(s.since_first);
            r.sent_at = s.at;
            self.rate.first_at = s.at;
        }
    }

    /// Linux's `tcp_rate_gen`.
    pub(super) fn rate_sample(&mut self, now: Instant, news: &mut News) {
        let delivered = self.recovery.delivered;
        let rate = &mut self.rate;
        if rate.app_limited != 0 && (delivered.wrapping_sub(rate.app_limited) as i32) > 0 {
            rate.app_limited = 0;
        }
        let new = delivered.wrapping_sub(news.delivered_before);
        if new > 0 {
            rate.delivered_at = now;
        }
        let r = &mut news.rate;
        r.acked_sacked = new;
        r.losses = self.recovery.lost.wrapping_sub(news.lost_before);
        r.prior_in_flight = news.in_flight_before;
        r.rtt_us = news.rtt;
        r.ack_delayed = news.delayed;
        let Some(prior) = r.prior_delivered else {
            return;
        };
        if self.recovery.reneged {
            return;
        }
        let count = delivered.wrapping_sub(prior);
        let us = |from: Instant, to: Instant| to.since(from).as_micros() as u64;
        // Both ways of looking at it, and the slower counts.
        r.interval_us = us(r.first_at, r.sent_at).max(us(r.prior_at, now));
        if r.interval_us < u64::from(self.rtt.min_rtt) || r.interval_us == 0 {
            return;
        }
        r.delivered = Some(count);
        let (best, best_us) = rate.best;
        let better = u64::from(count) * u64::from(best_us) >= u64::from(best) * r.interval_us;
        if !r.app_limited || better {
            rate.best = (count, u32::try_from(r.interval_us).unwrap_or(u32::MAX));
            rate.best_limited = r.app_limited;
        }
    }

    /// Nothing more to send though the window is open (Linux: `tcp_rate_check_app_limited`).
    pub(super) fn note_app_limited(&mut self) {
        let unsent = self.snd_end.diff(self.snd_nxt).max(0).unsigned_abs();
        let in_flight = self.sent.in_flight();
        if unsent < u32::from(self.snd_mss)
            && in_flight < self.cc.cwnd()
            && self.sent.lost_out <= self.sent.retrans_out
        {
            self.rate.app_limited = self.recovery.delivered.wrapping_add(in_flight).max(1);
        }
    }
}
