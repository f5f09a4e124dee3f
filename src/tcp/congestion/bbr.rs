//! BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00), with Linux's constants and
//! additions (`tcp_bbr.c`): a model of the path, its bandwidth and its least round-trip time,
//! sets rate and window; loss hardly does.
//!
//! Bandwidth is in segments per microsecond, times 2^24; gains are in 256ths.

use super::filter::MaxFilter;
use super::{Acked, Congestion, Start};
use crate::time::{Duration, Instant};

const BW_SCALE: u32 = 24;
const UNIT: u32 = 256;
const HIGH_GAIN: u32 = UNIT * 2885 / 1000 + 1;
const DRAIN_GAIN: u32 = UNIT * 1000 / 2885;
const CWND_GAIN: u32 = UNIT * 2;
const CYCLE: [u32; 8] = [
    UNIT * 5 / 4,
    UNIT * 3 / 4,
    UNIT,
    UNIT,
    UNIT,
    UNIT,
    UNIT,
    UNIT,
];
/// Rounds for which a bandwidth is believed.
const BW_ROUNDS: u32 = 10;
const MIN_RTT_LIFE: Duration = Duration::from_secs(10);
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
const LEAST_CWND: u32 = 4;
/// The pipe is full when the bandwidth has not grown by a quarter for three rounds.
const FULL_BW_THRESH: u32 = UNIT * 5 / 4;
const FULL_BW_ROUNDS: u8 = 3;
// A policer: bandwidths of two intervals with much loss that are about the same.
const LT_MIN_ROUNDS: u32 = 4;
const LT_LOSS_THRESH: u64 = 50;
const LT_MAX_ROUNDS: u32 = 48;
// How far ACKs may run ahead of what the model expects.
const EXTRA_ROUNDS: u8 = 5;
const EXTRA_MOST_US: u64 = 100_000;
const EPOCH_MOST: u32 = 0xf_ffff;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// Ramp up until the pipe is full.
    #[default]
    Startup,
    /// Let the queue go that this made.
    Drain,
    /// Cycle around the estimated bandwidth.
    ProbeBw,
    /// Send little, to see the least round-trip time.
    ProbeRtt,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Bbr {
    mode: Mode,
    cycle: u8,
    full_bw_cnt: u8,
    extra_rounds: u8,
    extra_index: bool,
    was_recovering: bool,
    conserve: bool,
    round_start: bool,
    idle_restart: bool,
    probe_rtt_round_done: bool,
    full: bool,
    has_rtt: bool,
    lt_sampling: bool,
    lt_use: bool,
    /// What gains are told: none yet (0), those that the handshake's ACK left (1), the mode's (2).
    told: u8,
    /// Microseconds; 0: unknown.
    min_rtt: u32,
    min_rtt_at: Instant,
    probe_rtt_done: Option<Instant>,
    bw: MaxFilter,
    rounds: u32,
    next_round: u32,
    cycle_at: Instant,
    prior_cwnd: u32,
    full_bw: u32,
    lt_rounds: u32,
    lt_bw: u32,
    lt_delivered: u32,
    lt_lost: u32,
    lt_at: Instant,
    epoch_at: Instant,
    epoch_acked: u32,
    extra: [u32; 2],
    /// Bytes a second.
    rate: u64,
}

/// What is needed of the connection to compute with.
#[derive(Clone, Copy)]
struct Sizes {
    mss: u32,
    cwnd: u32,
}

impl Bbr {
    pub(super) fn pacing_rate(&self) -> Option<u64> {
        (self.rate > 0).then_some(self.rate)
    }

    /// An ACK of the SYN came. Linux has BBR look at it before it is set up, and so it takes the
    /// least round trip for long expired: the gains of that are told until the next ACK.
    pub(super) fn on_syn_acked(&mut self) {
        self.told = 1;
    }

    /// The connection is open, or has BBR from now on (Linux: `bbr_init`).
    pub(super) fn begin(&mut self, start: &Start, cwnd: u32) {
        self.min_rtt = start.min_rtt_us.map_or(0, |us| us.max(1));
        self.min_rtt_at = start.now;
        self.next_round = start.delivered;
        self.epoch_at = start.now;
        let mss = start.mss.max(1);
        self.set_rate(0, HIGH_GAIN, Sizes { mss, cwnd }, start.srtt_us);
    }

    /// `struct tcp_bbr_info`.
    pub(super) fn info(&self, mss: u32) -> [u32; 5] {
        let (pacing, cwnd) = match self.told {
            0 => (0, 0),
            1 => (UNIT, UNIT),
            _ => (self.pacing_gain(), self.cwnd_gain()),
        };
        let bw = (u128::from(self.bandwidth()) * u128::from(mss) * 1_000_000) >> BW_SCALE;
        let bw = u64::try_from(bw).unwrap_or(u64::MAX);
        [bw as u32, (bw >> 32) as u32, self.min_rtt, pacing, cwnd]
    }

    fn max_bw(&self) -> u32 {
        self.bw.get()
    }

    fn bandwidth(&self) -> u32 {
        if self.lt_use {
            self.lt_bw
        } else {
            self.max_bw()
        }
    }

    fn pacing_gain(&self) -> u32 {
        match self.mode {
            Mode::Startup => HIGH_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::ProbeBw if self.lt_use => UNIT,
            Mode::ProbeBw => CYCLE[usize::from(self.cycle % 8)],
            Mode::ProbeRtt => UNIT,
        }
    }

    fn cwnd_gain(&self) -> u32 {
        match self.mode {
            Mode::Startup | Mode::Drain => HIGH_GAIN,
            Mode::ProbeBw => CWND_GAIN,
            Mode::ProbeRtt => UNIT,
        }
    }

    /// Bytes a second, less one in a hundred so that no queue is built.
    fn to_rate(bw: u64, mss: u32, gain: u32) -> u64 {
        let rate = u128::from(bw) * u128::from(mss) * u128::from(gain) / u128::from(UNIT);
        let rate = (rate * 990_000) >> BW_SCALE;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    fn set_rate(&mut self, bw: u32, gain: u32, s: Sizes, srtt_us: u32) {
        if !self.has_rtt && srtt_us > 0 || self.rate == 0 {
            self.has_rtt = srtt_us > 0;
            let rtt = if srtt_us > 0 { srtt_us } else { 1000 };
            let first = (u64::from(s.cwnd) << BW_SCALE) / u64::from(rtt);
            self.rate = Bbr::to_rate(first, s.mss, HIGH_GAIN).max(1);
        }
        let rate = Bbr::to_rate(bw.into(), s.mss, gain);
        if self.full || rate > self.rate {
            self.rate = rate.max(1);
        }
    }

    /// The bandwidth-delay product, in segments.
    fn bdp(&self, bw: u32, gain: u32) -> u32 {
        if self.min_rtt == 0 {
            return super::INITIAL_WINDOW;
        }
        let w = u64::from(bw) * u64::from(self.min_rtt);
        let scaled = (u128::from(w) * u128::from(gain)) >> 8;
        u32::try_from(scaled.div_ceil(1 << BW_SCALE)).unwrap_or(u32::MAX >> 2)
    }

    /// Room for what is being cut into segments and for delayed ACKs.
    fn with_budget(&self, cwnd: u32, s: Sizes) -> u32 {
        let cwnd = cwnd.saturating_add(3 * tso_segs(self.rate, s.mss));
        let even = cwnd.saturating_add(1) & !1;
        if self.mode == Mode::ProbeBw && self.cycle == 0 {
            even.saturating_add(2)
        } else {
            even
        }
    }

    fn inflight(&self, bw: u32, gain: u32, s: Sizes) -> u32 {
        self.with_budget(self.bdp(bw, gain), s)
    }

    pub(super) fn on_ack(&mut self, c: &mut Congestion, a: &Acked) {
        self.told = 2;
        let s = Sizes {
            mss: a.mss.max(1),
            cwnd: c.cwnd,
        };
        self.update_bw(a, s);
        self.update_aggregation(a, s);
        self.update_cycle(a, s);
        self.check_full(a);
        self.check_drain(c, a, s);
        self.update_min_rtt(c, a);
        let bw = self.bandwidth();
        self.set_rate(bw, self.pacing_gain(), s, a.srtt_us);
        self.set_cwnd(c, a, bw, s);
    }

    fn update_bw(&mut self, a: &Acked, s: Sizes) {
        self.round_start = false;
        let r = &a.rate;
        let (Some(prior), Some(count)) = (r.prior_delivered, r.delivered) else {
            return;
        };
        if (prior.wrapping_sub(self.next_round) as i32) >= 0 {
            self.next_round = a.delivered;
            self.rounds = self.rounds.wrapping_add(1);
            self.round_start = true;
            self.conserve = false;
        }
        self.long_term(a, r.losses, r.app_limited, s);
        let bw = (u64::from(count) << BW_SCALE) / r.interval_us.max(1);
        let bw = u32::try_from(bw).unwrap_or(u32::MAX);
        if !r.app_limited || bw >= self.max_bw() {
            self.bw.update(BW_ROUNDS, self.rounds, bw);
        }
    }

    /// Is there a policer (`bbr_lt_bw_sampling`)?
    fn long_term(&mut self, a: &Acked, losses: u32, app_limited: bool, s: Sizes) {
        if self.lt_use {
            if self.mode == Mode::ProbeBw && self.round_start {
                self.lt_rounds += 1;
                if self.lt_rounds >= LT_MAX_ROUNDS {
                    self.forget_long_term(a);
                    self.enter_probe_bw(a);
                }
            }
            return;
        }
        if !self.lt_sampling {
            if losses == 0 {
                return;
            }
            self.begin_long_term(a);
            self.lt_sampling = true;
        }
        if app_limited {
            return self.forget_long_term(a);
        }
        self.lt_rounds += u32::from(self.round_start);
        if self.lt_rounds < LT_MIN_ROUNDS {
            return;
        }
        if self.lt_rounds > 4 * LT_MIN_ROUNDS {
            return self.forget_long_term(a);
        }
        let lost = u64::from(a.lost.wrapping_sub(self.lt_lost));
        let delivered = u64::from(a.delivered.wrapping_sub(self.lt_delivered));
        if losses == 0 || delivered == 0 || (lost << 8) < LT_LOSS_THRESH * delivered {
            return;
        }
        let us = a.now.since(self.lt_at).as_micros() as u64;
        if us < 1000 {
            return;
        }
        let bw = u32::try_from((delivered << BW_SCALE) / us).unwrap_or(u32::MAX);
        if self.lt_bw > 0 {
            let diff = bw.abs_diff(self.lt_bw);
            let near = u64::from(diff) * u64::from(UNIT) <= 32 * u64::from(self.lt_bw);
            if near || Bbr::to_rate(diff.into(), s.mss, UNIT) <= 500 {
                self.lt_bw = (bw >> 1) + (self.lt_bw >> 1);
                self.lt_use = true;
                self.lt_rounds = 0;
                return;
            }
        }
        self.lt_bw = bw;
        self.begin_long_term(a);
    }

    fn begin_long_term(&mut self, a: &Acked) {
        self.lt_at = a.now;
        self.lt_delivered = a.delivered;
        self.lt_lost = a.lost;
        self.lt_rounds = 0;
    }

    fn forget_long_term(&mut self, a: &Acked) {
        self.lt_bw = 0;
        self.lt_use = false;
        self.lt_sampling = false;
        self.begin_long_term(a);
    }

    fn update_aggregation(&mut self, a: &Acked, s: Sizes) {
        let new = a.rate.acked_sacked;
        if new == 0 || a.rate.delivered.is_none() {
            return;
        }
        if self.round_start {
            self.extra_rounds += 1;
            if self.extra_rounds >= EXTRA_ROUNDS {
                self.extra_rounds = 0;
                self.extra_index = !self.extra_index;
                self.extra[usize::from(self.extra_index)] = 0;
            }
        }
        let us = a.now.since(self.epoch_at).as_micros() as u64;
        let expected = (u128::from(self.bandwidth()) * u128::from(us)) >> BW_SCALE;
        let mut expected = u32::try_from(expected).unwrap_or(u32::MAX);
        if self.epoch_acked <= expected || self.epoch_acked + new >= EPOCH_MOST {
            self.epoch_acked = 0;
            self.epoch_at = a.now;
            expected = 0;
        }
        self.epoch_acked = (self.epoch_acked + new).min(EPOCH_MOST);
        let extra = self.epoch_acked.saturating_sub(expected).min(s.cwnd);
        let slot = &mut self.extra[usize::from(self.extra_index)];
        *slot = (*slot).max(extra);
    }

    fn update_cycle(&mut self, a: &Acked, s: Sizes) {
        if self.mode != Mode::ProbeBw {
            return;
        }
        let long = a.now.since(self.cycle_at).as_micros() > u128::from(self.min_rtt);
        let gain = self.pacing_gain();
        let inflight = a.rate.prior_in_flight;
        let next = if gain == UNIT {
            long
        } else if gain > UNIT {
            long && (a.rate.losses > 0 || inflight >= self.inflight(self.max_bw(), gain, s))
        } else {
            long || inflight <= self.inflight(self.max_bw(), UNIT, s)
        };
        if next {
            self.advance_cycle(a);
        }
    }

    fn advance_cycle(&mut self, a: &Acked) {
        self.cycle = (self.cycle + 1) % 8;
        self.cycle_at = a.now;
    }

    fn enter_probe_bw(&mut self, a: &Acked) {
        self.mode = Mode::ProbeBw;
        // Anywhere but where it drains; by the connection's numbers, which nobody else has.
        let chance = (a.una.0 ^ (a.now.0 >> 10) as u32).wrapping_mul(0x9e37_79b9) >> 16;
        self.cycle = 7 - (chance % 7) as u8;
        self.advance_cycle(a);
    }

    fn check_full(&mut self, a: &Acked) {
        if self.full || !self.round_start || a.rate.app_limited {
            return;
        }
        let thresh = (u64::from(self.full_bw) * u64::from(FULL_BW_THRESH)) >> 8;
        if u64::from(self.max_bw()) >= thresh {
            self.full_bw = self.max_bw();
            self.full_bw_cnt = 0;
            return;
        }
        self.full_bw_cnt += 1;
        self.full = self.full_bw_cnt >= FULL_BW_ROUNDS;
    }

    fn check_drain(&mut self, c: &mut Congestion, a: &Acked, s: Sizes) {
        if self.mode == Mode::Startup && self.full {
            self.mode = Mode::Drain;
            c.ssthresh = self.inflight(self.max_bw(), UNIT, s);
        }
        if self.mode == Mode::Drain && a.in_flight <= self.inflight(self.max_bw(), UNIT, s) {
            self.enter_probe_bw(a);
        }
    }

    fn update_min_rtt(&mut self, c: &mut Congestion, a: &Acked) {
        let expired = a.now > self.min_rtt_at + MIN_RTT_LIFE;
        if let Some(rtt) = a.rate.rtt_us
            && (self.min_rtt == 0 || rtt < self.min_rtt || (expired && !a.rate.ack_delayed))
        {
            self.min_rtt = rtt.max(1);
            self.min_rtt_at = a.now;
        }
        if expired && !self.idle_restart && self.mode != Mode::ProbeRtt {
            self.save_cwnd(c.cwnd);
            self.mode = Mode::ProbeRtt;
            self.probe_rtt_done = None;
        }
        if self.mode == Mode::ProbeRtt {
            c.note_limited = true;
            match self.probe_rtt_done {
                None if a.in_flight <= LEAST_CWND => {
                    self.probe_rtt_done = Some(a.now + PROBE_RTT_TIME);
                    self.probe_rtt_round_done = false;
                    self.next_round = a.delivered;
                }
                None => {}
                Some(_) => {
                    self.probe_rtt_round_done |= self.round_start;
                    if self.probe_rtt_round_done {
                        self.check_probe_rtt_done(c, a);
                    }
                }
            }
        }
        if a.rate.delivered.is_some_and(|d| d > 0) {
            self.idle_restart = false;
        }
    }

    fn check_probe_rtt_done(&mut self, c: &mut Congestion, a: &Acked) {
        if self.probe_rtt_done.is_none_or(|done| a.now <= done) {
            return;
        }
        self.min_rtt_at = a.now;
        c.cwnd = c.cwnd.max(self.prior_cwnd);
        if self.full {
            self.enter_probe_bw(a);
        } else {
            self.mode = Mode::Startup;
        }
    }

    fn set_cwnd(&mut self, c: &mut Congestion, a: &Acked, bw: u32, s: Sizes) {
        let acked = a.rate.acked_sacked;
        let mut cwnd = c.cwnd;
        if acked > 0 && !self.recover_or_restore(&mut cwnd, a, acked) {
            let mut target = self.bdp(bw, self.cwnd_gain());
            if self.full {
                let most = (u64::from(bw) * EXTRA_MOST_US) >> BW_SCALE;
                let extra = u64::from(self.extra[0].max(self.extra[1])).min(most);
                target = target.saturating_add(extra as u32);
            }
            let target = self.with_budget(target, s);
            if self.full {
                cwnd = (cwnd + acked).min(target);
            } else if cwnd < target || a.delivered < super::INITIAL_WINDOW {
                cwnd += acked;
            }
            cwnd = cwnd.max(LEAST_CWND);
        }
        c.cwnd = cwnd.min(c.clamp).max(1);
        if self.mode == Mode::ProbeRtt {
            c.cwnd = c.cwnd.min(LEAST_CWND);
        }
    }

    /// In the first round of a recovery one segment goes for one that left; after the recovery
    /// the window is what it was.
    fn recover_or_restore(&mut self, cwnd: &mut u32, a: &Acked, acked: u32) -> bool {
        if a.rate.losses > 0 {
            *cwnd = cwnd.saturating_sub(a.rate.losses).max(1);
        }
        if a.recovering && !a.after_timeout && !self.was_recovering {
            self.conserve = true;
            self.next_round = a.delivered;
            *cwnd = a.in_flight + acked;
        } else if self.was_recovering && !a.recovering {
            *cwnd = (*cwnd).max(self.prior_cwnd);
            self.conserve = false;
        }
        self.was_recovering = a.recovering;
        if self.conserve {
            *cwnd = (*cwnd).max(a.in_flight + acked);
        }
        self.conserve
    }

    pub(super) fn save_cwnd(&mut self, cwnd: u32) {
        self.prior_cwnd = if !self.was_recovering && self.mode != Mode::ProbeRtt {
            cwnd
        } else {
            self.prior_cwnd.max(cwnd)
        };
    }

    pub(super) fn on_timeout(&mut self) {
        self.was_recovering = true;
        self.full_bw = 0;
        self.round_start = true;
    }

    pub(super) fn on_undo(&mut self) {
        self.full_bw = 0;
        self.full_bw_cnt = 0;
        self.lt_bw = 0;
        self.lt_use = false;
        self.lt_sampling = false;
    }

    /// The first segment after nothing was in flight, because there was nothing to send.
    pub(super) fn on_first_sent(&mut self, now: Instant, mss: u32, cwnd: u32) {
        self.idle_restart = true;
        self.epoch_at = now;
        self.epoch_acked = 0;
        if self.mode == Mode::ProbeBw {
            let s = Sizes { mss, cwnd };
            self.set_rate(self.bandwidth(), UNIT, s, 0);
        }
    }
}

/// How many segments go at once: a millisecond's worth (Linux: `bbr_tso_segs_goal`).
pub(super) fn tso_segs(rate: u64, mss: u32) -> u32 {
    let least = if rate < 1_200_000 >> 3 { 1 } else { 2 };
    let bytes = u32::try_from(rate >> 10).unwrap_or(u32::MAX).min(65_215);
    (bytes / mss.max(1)).max(least).min(0x7f)
}
