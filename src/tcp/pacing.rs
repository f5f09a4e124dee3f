//! Pacing: not faster than a rate (Linux: `tcp_update_skb_after_send` and its `pacing_timer`).

use super::Tcb;
use crate::time::{Duration, Instant};

/// The pace counts from this segment of a connection on.
const UNPACED: u32 = 10;

/// So much too early is no harm: waking up would take as long. (The rate is kept all the same,
/// for what went early is counted.)
const SLACK: Duration = Duration::from_micros(200);

/// When the next segment may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Pacing {
    /// Not before this.
    pub next: Instant,
    /// Something waits for that.
    pub waits: bool,
    /// The connection has had BBR or a rate of its program's, and so is paced for good (Linux:
    /// `SK_PACING_NEEDED`).
    pub needed: bool,
}

impl Tcb {
    /// Bytes a second, if sending is paced at all.
    pub(super) fn pacing_rate(&self) -> Option<u64> {
        let most = match self.options.max_pacing_rate {
            0 => u64::MAX,
            n => n,
        };
        let rate = || self.cc.pacing_rate().unwrap_or_else(|| self.usual_rate());
        self.pacing.needed.then(|| rate().min(most))
    }

    /// Its algorithm, or its program, may want the connection to be paced.
    pub(super) fn note_pacing(&mut self) {
        self.pacing.needed |= self.cc.is_model_based() || self.options.max_pacing_rate != 0;
    }

    /// Linux's `tcp_update_pacing_rate`: twice the window in a round trip in slow start, a fifth
    /// more than it afterwards. Bytes a second.
    pub(super) fn usual_rate(&self) -> u64 {
        let cwnd = self.cc.cwnd();
        let percent = if cwnd < self.cc.ssthresh() / 2 {
            self.sysctl.tcp_pacing_ss_ratio
        } else {
            self.sysctl.tcp_pacing_ca_ratio
        };
        let window = u64::from(self.snd_mss) * u64::from(cwnd.max(self.sent.packets_out));
        match self.rtt.srtt8 >> 3 {
            0 => u64::MAX,
            us => (window * 10_000).saturating_mul(percent.into()) / u64::from(us),
        }
    }

    /// Nothing may be sent now: the pacing timer runs.
    pub(super) fn paced(&mut self, now: Instant) -> bool {
        let wait = self.pacing.next > now + SLACK && self.pacing_rate().is_some();
        self.pacing.waits = wait;
        wait
    }

    /// `len` bytes go out.
    pub(super) fn pace(&mut self, now: Instant, len: u32) {
        let Some(rate) = self.pacing_rate() else {
            return;
        };
        // With those that go now.
        let segs = len.div_ceil(self.current_mss());
        if rate == u64::MAX || self.data_segs_out.saturating_add(segs) < UNPACED {
            return;
        }
        let mut ns = u64::from(len) * 1_000_000_000 / rate.max(1);
        // "take into account OS jitter": what was late is made up for, by half at most.
        let late = now.since(self.pacing.next).as_nanos() as u64;
        if self.pacing.next != Instant(0) {
            ns -= (ns / 2).min(late);
        }
        self.pacing.next = now.max(self.pacing.next) + Duration::from_nanos(ns);
    }
}
