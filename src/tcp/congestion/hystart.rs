//! HyStart++ (RFC 9406): slow start ends when round trips grow longer, before anything is lost.

use super::Acked;
use crate::tcp::SeqNum;

// Section 4.3, in microseconds.
// RFC 9406 S4.3-1
const MIN_RTT_THRESH: u32 = 4000;
const MAX_RTT_THRESH: u32 = 16_000;
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u8 = 8;
// RFC 9406 S4.3-3
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;
/// The most segments for one ACK (section 4.2: `L`, for senders that do not pace). What an ACK
/// covers beyond it is due to aggregation on the way.
const L: u32 = 8;

/// The current round and what was measured in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct HyStart {
    /// When this is acknowledged, the round is over.
    window_end: SeqNum,
    last_round_min: u32,
    current_round_min: u32,
    /// What `current_round_min` was when conservative slow start began.
    css_baseline: u32,
    samples: u8,
    css_rounds: u8,
    in_css: bool,
    started: bool,
    /// Segments acknowledged that did not raise the window yet.
    rest: u16,
}

/// What an ACK means for slow start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Go,
    /// Leave slow start: `ssthresh` is `cwnd`.
    Leave,
}

impl Default for HyStart {
    fn default() -> HyStart {
        HyStart {
            window_end: SeqNum(0),
            last_round_min: u32::MAX,
            current_round_min: u32::MAX,
            css_baseline: u32::MAX,
            samples: 0,
            css_rounds: 0,
            in_css: false,
            started: false,
            rest: 0,
        }
    }
}

impl HyStart {
    fn begin_round(&mut self, a: &Acked) {
        self.window_end = a.nxt;
        self.last_round_min = self.current_round_min;
        self.current_round_min = u32::MAX;
        self.samples = 0;
    }

    /// An ACK in slow start.
    pub(super) fn on_ack(&mut self, a: &Acked) -> Verdict {
        if !self.started {
            self.started = true;
            self.begin_round(a);
        } else if a.una.ge(self.window_end) {
            if self.in_css {
                self.css_rounds += 1;
                if self.css_rounds >= CSS_ROUNDS {
                    return Verdict::Leave;
                }
            }
            self.begin_round(a);
        }
        let Some(rtt) = a.rtt_us else {
            return Verdict::Go;
        };
        self.current_round_min = self.current_round_min.min(rtt);
        self.samples = self.samples.saturating_add(1);
        if self.samples < N_RTT_SAMPLE || self.current_round_min == u32::MAX {
            return Verdict::Go;
        }
        if self.in_css {
            // It was no more than a disturbance.
            if self.current_round_min < self.css_baseline {
                self.css_baseline = u32::MAX;
                self.in_css = false;
                self.css_rounds = 0;
            }
        } else if self.last_round_min != u32::MAX {
            let more =
                (self.last_round_min / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
            if self.current_round_min >= self.last_round_min.saturating_add(more) {
                self.css_baseline = self.current_round_min;
                self.in_css = true;
                self.css_rounds = 0;
            }
        }
        Verdict::Go
    }

    /// By how many segments the window may grow for `segs`.
    // RFC 9406 S4.3-2
    pub(super) fn growth(&mut self, segs: u32) -> u32 {
        if !self.in_css {
            return segs;
        }
        let all = u32::from(self.rest) + segs.min(L);
        self.rest = (all % CSS_GROWTH_DIVISOR) as u16;
        all / CSS_GROWTH_DIVISOR
    }
}
