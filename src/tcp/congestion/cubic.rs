//! CUBIC (RFC 9438), in integers: windows in segments, time in 1024ths of a second.

use super::hystart::{HyStart, Verdict};
use super::{Acked, Congestion};
use crate::time::{Duration, Instant};

/// beta_cubic, 0.7, in 1024ths (section 4.6).
// RFC 9438 S4.6-2
const BETA: u64 = 717;
/// C, 0.4, in 1024ths (section 5).
// RFC 9438 S5.1-1
const C: u64 = 410;
/// alpha_cubic, 3 (1 - beta) / (1 + beta), in 1024ths (section 4.3).
const ALPHA: u64 = 3 * (1024 - BETA) * 1024 / (1024 + BETA);

/// Where an ACK finds the window as it was, growth is reckoned anew no sooner than this (Linux:
/// `HZ / 32`); until then each ACK counts as the last reckoning said.
const STALE: Duration = Duration::from_micros(31_250);

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
    /// `W_est`, and the segments acknowledged since it last grew.
    w_est: u32,
    acked: u32,
    /// So many segments acknowledged make the window one larger, as was reckoned `at`, for a
    /// window `of`.
    cnt: u32,
    of: u32,
    at: Instant,
    /// The shortest round trip of late, microseconds.
    least_rtt: u32,
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
        // Just after a loss a queue is still draining.
        let calm = self.epoch == Instant(0) || a.now.since(self.epoch) >= Duration::from_secs(1);
        if let Some(us) = a.rtt_us.filter(|_| calm)
            && (self.least_rtt == 0 || us < self.least_rtt)
        {
            self.least_rtt = us.max(1);
        }
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
        self.reckon(c.cwnd.max(1), segs, a);
        c.avoid(self.cnt, segs);
        c.cwnd = c.cwnd.min(super::NO_SSTHRESH);
    }

    /// How many segments acknowledged raise the window (Linux: `bictcp_update`).
    fn reckon(&mut self, cwnd: u32, segs: u32, a: &Acked) {
        self.acked = self.acked.saturating_add(segs);
        let since = a.now.since(self.at);
        if self.of == cwnd && since < STALE {
            return;
        }
        if self.epoch == Instant(0) || since >= Duration::from_millis(1) {
            (self.of, self.at) = (cwnd, a.now);
            // Section 4.4: "cwnd MUST be incremented by (target - cwnd)/cwnd" for each segment;
            // on the flat part by a hundredth of that which one segment away would give, so that
            // it is left at last.
            self.cnt = match self.target(cwnd, segs, a).saturating_sub(cwnd) {
                0 => cwnd.saturating_mul(100),
                more => cwnd / more,
            };
            if self.w_max == 0 {
                // Nothing was lost yet: a twentieth each round trip at least, as in Linux.
                self.cnt = self.cnt.min(20);
            }
        }
        self.estimate(cwnd);
        // Half a window each round trip at most.
        self.cnt = self.cnt.max(2);
    }

    /// Section 4.3: where Reno would be faster, its window counts.
    // RFC 9438 S4.3-1
    fn estimate(&mut self, cwnd: u32) {
        loop {
            // With alpha 1 once the old window is reached again.
            // RFC 9438 S4.3-2
            let alpha = if self.w_est >= self.cwnd_prior {
                1024
            } else {
                ALPHA
            };
            let step = u32::try_from(u64::from(cwnd) * 1024 / alpha).unwrap_or(u32::MAX);
            if self.acked <= step {
                break;
            }
            self.acked -= step;
            self.w_est = self.w_est.saturating_add(1);
        }
        if self.w_est > cwnd {
            self.cnt = self.cnt.min(cwnd / (self.w_est - cwnd));
        }
    }

    /// `W_cubic(t + RTT)` (section 4.2).
    fn target(&mut self, cwnd: u32, segs: u32, a: &Acked) -> u32 {
        if self.epoch == Instant(0) {
            self.epoch = a.now;
            self.w_est = cwnd;
            self.acked = segs;
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
        let elapsed = a.now.since(self.epoch).as_micros() as u64 + u64::from(self.least_rtt);
        let t = ((elapsed << 10) / 1_000_000).min(1 << 20);
        let k = u64::from(self.k);
        // C (t - K)^3: 1024ths times 2^30ths.
        let delta = (u128::from(t.abs_diff(k)).pow(3) * u128::from(C)) >> 40;
        let delta = u32::try_from(delta).unwrap_or(u32::MAX);
        if t < k {
            self.origin.saturating_sub(delta)
        } else {
            self.origin.saturating_add(delta)
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
        self.of = 0;
        self.least_rtt = 0;
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
