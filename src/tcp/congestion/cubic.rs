//! CUBIC (RFC 9438), in integers: windows in segments, time in 1024ths of a second.

use super::hystart::{HyStart, Verdict};
use super::{Acked, Congestion};
use crate::time::Instant;

/// beta_cubic, 0.7, in 1024ths (section 4.6).
const BETA: u64 = 717;
/// C, 0.4, in 1024ths (section 5).
const C: u64 = 410;
/// alpha_cubic, 3 (1 - beta) / (1 + beta), in 1024ths (section 4.3).
const ALPHA: u64 = 3 * (1024 - BETA) * 1024 / (1024 + BETA);

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
    /// `W_est`, in 1024ths of a segment.
    w_est: u64,
    /// Parts of a segment by which the window is to grow, in 1024ths.
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
    pub(super) fn on_rtt(&mut self, c: &mut Congestion, a: &Acked) {
        // RFC 9406, section 4.3: for the first slow start only.
        if c.in_slow_start()
            && c.ssthresh == super::NO_SSTHRESH
            && self.hystart.on_ack(a) == Verdict::Leave
        {
            c.ssthresh = c.cwnd;
        }
    }

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
        // Section 4.4: "cwnd MUST be incremented by (target - cwnd)/cwnd" for each segment.
        let more = u64::from(target).saturating_sub(cwnd << 10).min(cwnd << 9);
        // Section 4.3: never slower than Reno would be.
        let est = self.w_est.saturating_sub(cwnd << 10);
        self.credit += more.max(est) * u64::from(segs) / cwnd;
        if more == 0 && est == 0 {
            // Linux: a hundredth of the window each round trip, so that the curve's flat part
            // is left at last.
            self.credit += 1024 * u64::from(segs) / (100 * cwnd);
        }
        let whole = u32::try_from(self.credit >> 10).unwrap_or(0);
        self.credit &= 1023;
        c.cwnd = c
            .cwnd
            .saturating_add(whole)
            .min(c.clamp)
            .min(super::NO_SSTHRESH);
    }

    /// `W_cubic(t + RTT)`, in 1024ths of a segment; `W_est` moves on (sections 4.2 and 4.3).
    fn target(&mut self, c: &Congestion, a: &Acked) -> u64 {
        let cwnd = c.cwnd.max(1);
        if self.epoch == Instant(0) {
            self.epoch = a.now;
            self.w_est = u64::from(cwnd) << 10;
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
        let alpha = if self.w_est >> 10 >= u64::from(self.cwnd_prior) {
            1024
        } else {
            ALPHA
        };
        self.w_est += alpha * u64::from(a.segs) / u64::from(cwnd);
        let elapsed = a.now.since(self.epoch).as_micros() as u64 + u64::from(a.srtt_us);
        let t = ((elapsed << 10) / 1_000_000).min(1 << 20);
        let k = u64::from(self.k);
        let off = t.abs_diff(k);
        // C (t - K)^3: 1024ths times 2^30ths, to 1024ths of a segment.
        let delta = (u128::from(off).pow(3) * u128::from(C) >> 30).min(1 << 42) as u64;
        let origin = u64::from(self.origin) << 10;
        if t < k {
            origin.saturating_sub(delta)
        } else {
            origin + delta
        }
    }

    /// Section 4.6, and 4.7: fast convergence.
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

    /// Section 4.8: after a timeout the curve begins anew, when slow start is over.
    pub(super) fn on_timeout(&mut self) {
        self.epoch = Instant(0);
        self.hystart = HyStart::default();
    }

    /// Section 4.9: what the reduction changed goes back.
    pub(super) fn on_undo(&mut self) {
        (self.w_max, self.cwnd_prior) = self.before;
        self.epoch = Instant(0);
    }

    /// Section 5.8: the time in which nothing was sent is none of the curve's.
    pub(super) fn on_first_sent(&mut self, now: Instant, last_sent: Instant) {
        if self.epoch != Instant(0) {
            let idle = now.since(last_sent);
            self.epoch = (self.epoch + idle).min(now);
        }
    }
}
