//! The retransmission timeout (RFC 6298), with Linux's estimator.
//!
//! Linux differs from the RFC in three ways, all kept here: the deviation's floor is the least
//! RTO (200 ms) rather than the whole RTO's (1 s); a sudden *fall* of the round-trip time raises
//! the deviation by an eighth of what a rise would; and the deviation falls only once a round
//! trip, from the largest of that round trip.

use super::SeqNum;
use crate::time::{Duration, Instant};

/// RTO before any measurement, microseconds (RFC 6298, section 2.1).
pub const INITIAL_US: u32 = 1_000_000;
/// RTO when the handshake gave no measurement (RFC 6298, section 5.7).
pub const FALLBACK_US: u32 = 3_000_000;

/// tcp_min_rtt_wlen.
const MIN_RTT_LIFE: Duration = Duration::from_secs(300);

/// Smoothed round-trip time and what follows from it. Times are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RttEstimator {
    /// Eight times the smoothed round-trip time; 0 before the first measurement.
    pub srtt8: u32,
    /// Four times the mean deviation.
    pub mdev: u32,
    /// The largest `mdev` of this round trip.
    mdev_max: u32,
    /// What is added to the smoothed time: four deviations, never less than the least RTO.
    pub rttvar: u32,
    /// A round trip is over when this is acknowledged.
    rtt_seq: SeqNum,
    /// The current timeout, backed off as the case may be.
    pub rto: u32,
    /// The least measurement of the last five minutes.
    pub min_rtt: u32,
    rto_min: u32,
    rto_max: u32,
    /// When `min_rtt` was measured.
    min_rtt_at: Instant,
    /// When the SYN was sent, if only once.
    syn_at: Option<Instant>,
}

impl RttEstimator {
    /// Nothing measured yet.
    pub fn new(rto_min_ms: u32, rto_max_ms: u32) -> RttEstimator {
        RttEstimator {
            srtt8: 0,
            mdev: INITIAL_US,
            mdev_max: INITIAL_US,
            rttvar: INITIAL_US,
            rtt_seq: SeqNum(0),
            // RFC 6298 S2.1-1
            rto: INITIAL_US,
            min_rtt: u32::MAX,
            rto_min: 0,
            rto_max: 0,
            min_rtt_at: Instant(0),
            syn_at: None,
        }
        .within(rto_min_ms, rto_max_ms)
    }

    /// The same with other limits, which count from the next timeout on.
    pub fn within(self, rto_min_ms: u32, rto_max_ms: u32) -> RttEstimator {
        RttEstimator {
            rto_min: rto_min_ms.saturating_mul(1000).max(1000),
            rto_max: rto_max_ms.saturating_mul(1000).max(1_000_000),
            ..self
        }
    }

    /// The current timeout.
    pub fn rto(&self) -> Duration {
        Duration::from_micros(u64::from(self.rto))
    }

    /// The largest timeout.
    pub fn rto_max(&self) -> Duration {
        Duration::from_micros(u64::from(self.rto_max))
    }

    /// The SYN is sent.
    pub fn syn_sent(&mut self, now: Instant) {
        self.syn_at = Some(now);
    }

    /// The SYN went again: its acknowledgment no longer tells which copy it is for (Karn; RFC
    /// 6298, section 3).
    pub fn syn_again(&mut self) {
        self.syn_at = None;
    }

    /// The peer opened, too, and our SYN goes with an ACK: it is that one whose acknowledgment is
    /// timed, unless the SYN went again before.
    pub fn syn_crossed(&mut self, now: Instant) {
        self.syn_at = self.syn_at.map(|_| now);
    }

    /// The SYN was acknowledged: the measurement, if there is one.
    pub fn syn_acked(&mut self, now: Instant) -> Option<u32> {
        self.syn_at.take().map(|at| micros(now.since(at)))
    }

    /// A round-trip time that is too short for the estimator's granularity may still be the
    /// least (Linux: `tcp_update_rtt_min`). The least of five minutes counts.
    pub fn note_min(&mut self, now: Instant, us: u32) {
        // RFC 8985 S6.2-1
        if us <= self.min_rtt || now.since(self.min_rtt_at) > MIN_RTT_LIFE {
            self.min_rtt = us;
            self.min_rtt_at = now;
        }
    }

    /// The least of the last minutes, microseconds, if any was measured.
    pub fn least(&self) -> Option<u32> {
        (self.min_rtt != u32::MAX).then_some(self.min_rtt)
    }

    /// A measurement: RFC 6298, sections 2.2 and 2.3, as `tcp_rtt_estimator` has it.
    // RFC 9293 MUST-18
    // RFC 6298 S2.2-1, S2.3-1, S2.3-2, S2.4-1, S4-1
    pub fn sample(&mut self, us: u32, una: SeqNum, nxt: SeqNum) {
        let us = us.min(self.rto_max).max(1);
        if self.srtt8 == 0 {
            self.srtt8 = us.saturating_mul(8).max(1);
            self.mdev = us.saturating_mul(2);
            self.rttvar = self.mdev.max(self.rto_min);
            self.mdev_max = self.rttvar;
            self.rtt_seq = nxt;
        } else {
            let error = i64::from(us) - i64::from(self.srtt8 >> 3);
            self.srtt8 = (i64::from(self.srtt8) + error).clamp(1, i64::from(u32::MAX)) as u32;
            let mut m = error.abs() - i64::from(self.mdev >> 2);
            if error < 0 && m > 0 {
                m >>= 3;
            }
            self.mdev = (i64::from(self.mdev) + m).clamp(0, i64::from(u32::MAX)) as u32;
            if self.mdev > self.mdev_max {
                self.mdev_max = self.mdev;
                self.rttvar = self.rttvar.max(self.mdev_max);
            }
            if una.gt(self.rtt_seq) {
                if self.mdev_max < self.rttvar {
                    self.rttvar -= (self.rttvar - self.mdev_max) >> 2;
                }
                self.rtt_seq = nxt;
                self.mdev_max = self.rto_min;
            }
        }
        self.rto = self.computed();
    }

    /// Double the timeout (RFC 6298, section 5.5).
    pub fn back_off(&mut self) {
        self.rto = self.rto.saturating_mul(2).min(self.rto_max);
    }

    /// The timeout as measured, `backoff` times doubled (RFC 6069, section 4.2).
    pub fn set_backed_off(&mut self, backoff: u8) {
        let base = if self.srtt8 == 0 {
            INITIAL_US
        } else {
            self.computed()
        };
        let rto = u64::from(base) << backoff.min(32);
        self.rto = rto.min(u64::from(self.rto_max)) as u32;
    }

    /// The handshake gave no measurement: 3 s (RFC 6298, section 5.7).
    pub fn fall_back(&mut self) {
        self.rttvar = FALLBACK_US;
        self.mdev = FALLBACK_US;
        self.mdev_max = FALLBACK_US;
        self.rto = FALLBACK_US;
    }

    fn computed(&self) -> u32 {
        (self.srtt8 >> 3)
            .saturating_add(self.rttvar)
            .min(self.rto_max)
    }
}

fn micros(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}
