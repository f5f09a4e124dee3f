//! CUBIC (RFC 9438), in integers: windows in segments, time in 1024ths of a second.

use super::hystart::{HyStart, Verdict};
use super::{Acked, Congestion};
use crate::time::Instant;

/// beta_cubic, 0.7, in 1024ths (section 4.6).
// RFC 9438 S4.6-2
const BETA: u64 = 717;
/// C, 0.4, in 1024ths (section 5).
// RFC 9438 S5.1-1
const C: u64 = 410;
/// alpha_cubic, 3 (1 - beta) / (1 + beta), in 1024ths (section 4.3).
const ALPHA: u64 = 3 * (1024 - BETA) * 1024 / (1024 + BETA);

/// Windows are computed in parts of a segment of this many bits, for an ACK may raise a window of
/// thousands by little.
const FINE: u32 = 20;

/// Section 4.1.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Cubic {
    /// When this stage of congestion avoidance began; 0: it has not.
    epoch: Instant,
    /// Segments.
    w_max: u32,
    /// Where the curve is flat: the greater of `w_max` and the window at the epoch's start.
    origin: u32,
    /// `K`, 1024ths of a second.
    k: u32,
    /// `cwnd_prior`.
    cwnd_prior: u32,
    /// `W_est`, in parts of a segment.
    w_est: u64,
    /// Parts of a segment by which the window is to grow.
    credit: u64,
    /// Before the last reduction, for [`Cubic::on_undo`].
    before: (u32, u32),
    hystart: HyStart,
}

/// The integer below the cube root.
fn cube_root(n: u64) -> u32 {
    let (mut low, mut high) = (0u64, 1 << 21);
    while low + 1 < high {
        let middle = (low + high) / 2;
        if middle * middle * middle <= n {
            low = middle;
        } else {
            high = middle;
        }
    }
    low as u32
}

impl Cubic {
    /// Slow start, watched by HyStart++.
    // RFC 9438 S4.10-2
    pub(super) fn on_rtt(&mut self, c: &mut Congestion, a: &Acked) {
        // RFC 9406 S4.3-4
        if c.in_slow_start()
            && c.ssthresh == super::NO_SSTHRESH
            && self.hystart.on_ack(a) == Verdict::Leave
        {
            c.ssthresh = c.cwnd;
        }
    }

    // RFC 9438 S4.4-1, S4.5-1, S4.10-1
    pub(super) fn on_ack(&mut self, c: &mut Congestion, a: &Acked) {
        let mut segs = a.segs;
        if c.in_slow_start() {
            segs = if c.ssthresh == super::NO_SSTHRESH {
                let growth = self.hystart.growth(segs);
                c.slow_start(growth);
                0
            } else {
                c.slow_start(segs)
            };
            if segs == 0 {
                return;
            }
        }
        let target = self.target(c, a);
        let cwnd = u64::from(c.cwnd.max(1));
        // Section 4.3: where Reno would be faster, its window counts.
        // RFC 9438 S4.3-1
        let est = u32::try_from(self.w_est >> FINE).unwrap_or(u32::MAX);
        if est > c.cwnd && target < self.w_est {
            c.cwnd = est;
        } else {
            // Section 4.4: "cwnd MUST be incremented by (target - cwnd)/cwnd" for each segment,
            // the target being no more than half a window away.
            let most = cwnd << (FINE - 1);
            let mut more = target.saturating_sub(cwnd << FINE).min(most);
            if self.w_max == 0 {
                // Nothing was lost yet: a twentieth each round trip at least, as in Linux.
                more = more.max((cwnd << FINE) / 20);
            }
            // And a hundredth of a segment, so that the flat part is left at last.
            more = more.max((1 << FINE) / 100);
            self.credit += more * u64::from(segs) / cwnd;
            let whole = u32::try_from(self.credit >> FINE).unwrap_or(0);
            self.credit &= (1 << FINE) - 1;
            c.cwnd = c.cwnd.saturating_add(whole);
        }
        c.cwnd = c.cwnd.min(c.clamp).min(super::NO_SSTHRESH);
    }

    /// `W_cubic(t + RTT)`, in parts of a segment; `W_est` moves on (sections 4.2 and 4.3).
    fn target(&mut self, c: &Congestion, a: &Acked) -> u64 {
        let cwnd = c.cwnd.max(1);
        if self.epoch == Instant(0) {
            self.epoch = a.now;
            self.w_est = u64::from(cwnd) << FINE;
            self.credit = 0;
            if self.cwnd_prior == 0 {
                self.cwnd_prior = cwnd;
            }
            if cwnd < self.w_max {
                // K = cubic_root((W_max - cwnd_epoch) / C), in 1024ths of a second.
                let n = u64::from(self.w_max - cwnd) * ((1u64 << 40) / C);
                self.k = cube_root(n.min(1 << 62));
                self.origin = self.w_max;
            } else {
                self.k = 0;
                self.origin = cwnd;
            }
        }
        // Section 4.3, with alpha 1 once the old window is reached again.
        // RFC 9438 S4.3-2
        let alpha = if self.w_est >> FINE >= u64::from(self.cwnd_prior) {
            1024
        } else {
            ALPHA
        };
        self.w_est += ((alpha * u64::from(a.segs)) << (FINE - 10)) / u64::from(cwnd);
        let elapsed = a.now.since(self.epoch).as_micros() as u64 + u64::from(a.srtt_us);
        let t = ((elapsed << 10) / 1_000_000).min(1 << 20);
        let k = u64::from(self.k);
        let off = t.abs_diff(k);
        // C (t - K)^3: 1024ths times 2^30ths, to parts of a segment.
        let delta = ((u128::from(off).pow(3) * u128::from(C)) >> (40 - FINE)).min(1 << 52) as u64;
        let origin = u64::from(self.origin) << FINE;
        if t < k {
            origin.saturating_sub(delta)
        } else {
            origin + delta
        }
    }

    /// Section 4.6, and 4.7: fast convergence.
    // RFC 9438 S4.6-1, S4.7-1
    pub(super) fn ssthresh(&mut self, cwnd: u32) -> u32 {
        self.before = (self.w_max, self.cwnd_prior);
        self.epoch = Instant(0);
        self.w_max = if cwnd < self.w_max {
            (u64::from(cwnd) * (1024 + BETA) / 2048) as u32
        } else {
            cwnd
        };
        self.cwnd_prior = cwnd;
        ((u64::from(cwnd) * BETA / 1024) as u32).max(2)
    }

    /// Section 4.8: after a timeout the curve begins anew, when slow start is over: with K = 0,
    /// from the window that there is then (Linux: `bictcp_reset`).
    // RFC 9438 S4.8-1
    pub(super) fn on_timeout(&mut self) {
        self.epoch = Instant(0);
        self.w_max = 0;
        self.hystart = HyStart::default();
    }

    /// Section 4.9: what the reduction changed goes back.
    pub(super) fn on_undo(&mut self) {
        (self.w_max, self.cwnd_prior) = self.before;
        self.epoch = Instant(0);
    }

    /// Section 4.2: the time in which nothing was sent is none of the curve's (Linux:
    /// `cubictcp_cwnd_event`).
    // RFC 9438 S4.2-1
    pub(super) fn on_first_sent(&mut self, now: Instant, last_sent: Instant) {
        if self.epoch != Instant(0) {
            let idle = now.since(last_sent);
            self.epoch = (self.epoch + idle).min(now);
        }
    }
}
