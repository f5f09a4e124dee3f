//! Congestion control: the place where algorithms differ.
//!
//! The window is counted in segments, as Linux does. [`Congestion`] holds what every algorithm
//! shares and asks the chosen one (by [`Algorithm`], an enum because no vtable may lie in
//! shared memory) how to grow and how far to fall.

mod bbr;
mod cubic;
mod filter;
mod hystart;
mod newreno;

use crate::tcp::RateSample;
use crate::tcp::SeqNum;
use crate::time::{Duration, Instant};
use bbr::Bbr;
use cubic::Cubic;

/// The initial window (RFC 6928).
// RFC 7413 S4.2.2-3
pub const INITIAL_WINDOW: u32 = 10;

/// `ssthresh` before any loss (Linux: `TCP_INFINITE_SSTHRESH`).
pub const NO_SSTHRESH: u32 = 0x7fff_ffff;

/// A time in 32 bits, as Linux keeps it here.
fn millis(now: Instant) -> u32 {
    now.millis() as u32
}

/// Which algorithm a connection runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582.
    NewReno = 0,
    /// RFC 9438 and RFC 9406; Linux's default.
    #[default]
    Cubic = 1,
    /// BBR, version 1.
    Bbr = 2,
}

impl Algorithm {
    /// All there are, the default one first, as `net.ipv4.tcp_available_congestion_control`
    /// lists them.
    pub const ALL: [Algorithm; 3] = [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr];

    /// Linux's name.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::NewReno => "reno",
            Algorithm::Cubic => "cubic",
            Algorithm::Bbr => "bbr",
        }
    }

    /// The algorithm with this number (as `as u8` gives it).
    pub fn numbered(n: u8) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|a| *a as u8 == n)
    }

    /// The algorithm that Linux calls `name`.
    pub fn named(name: &[u8]) -> Option<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|a| a.name().as_bytes() == name)
    }
}

/// What an algorithm keeps for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, u8)]
enum Own {
    NewReno,
    Cubic(Cubic),
    Bbr(Bbr),
}

impl Own {
    fn new(algorithm: Algorithm) -> Own {
        match algorithm {
            Algorithm::NewReno => Own::NewReno,
            Algorithm::Cubic => Own::Cubic(Cubic::default()),
            Algorithm::Bbr => Own::Bbr(Bbr::default()),
        }
    }
}

/// What is known of a connection where an algorithm begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Now.
    pub now: Instant,
    /// The least round-trip time, microseconds; `None`: none was measured.
    pub min_rtt_us: Option<u32>,
    /// The smoothed round-trip time, microseconds; 0: unknown.
    pub srtt_us: u32,
    /// Segments delivered, ever.
    pub delivered: u32,
    /// Bytes of a full segment.
    pub mss: u32,
}

/// An ACK, as far as it concerns congestion control.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// Now.
    pub now: Instant,
    /// Segments newly delivered.
    pub segs: u32,
    /// The round-trip time that it measured, microseconds.
    pub rtt_us: Option<u32>,
    /// The smoothed round-trip time, microseconds; 0: unknown.
    pub srtt_us: u32,
    /// The connection's `snd_una` and `snd_nxt`.
    pub una: SeqNum,
    /// See `una`.
    pub nxt: SeqNum,
    /// Segments delivered, and lost, ever; in flight.
    pub delivered: u32,
    /// See `delivered`.
    pub lost: u32,
    /// See `delivered`.
    pub in_flight: u32,
    /// Bytes of a full segment.
    pub mss: u32,
    /// Losses are being repaired; after a timeout.
    pub recovering: bool,
    /// See `recovering`.
    pub after_timeout: bool,
    /// The rate at which segments are delivered.
    pub rate: RateSample,
}

/// The congestion window and what moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Congestion {
    /// The sender was held back by `cwnd` in this window of data (RFC 7661 in spirit; Linux:
    /// `is_cwnd_limited`).
    limited: bool,
    /// Segments.
    cwnd: u32,
    /// Segments.
    ssthresh: u32,
    /// Segments acknowledged since the last step of congestion avoidance.
    cwnd_cnt: u32,
    /// The most segments that were out in this window of data.
    max_out: u32,
    /// The most segments that were out since `used_at`, when the window was last found to be in
    /// use, or fitted to the use made of it (Linux: `snd_cwnd_used`, `snd_cwnd_stamp`);
    /// milliseconds, 0 before anything was sent.
    used: u32,
    used_at: u32,
    /// Before the last reduction; `prior_ssthresh` is 0 when it can't be undone.
    prior_cwnd: u32,
    prior_ssthresh: u32,
    /// The most the window may be (Linux: `snd_cwnd_clamp`).
    clamp: u32,
    /// The algorithm holds the sender back: rates measured now say little.
    note_limited: bool,
    own: Own,
}

impl Default for Congestion {
    fn default() -> Congestion {
        Congestion::new(Algorithm::default())
    }
}

impl Congestion {
    /// Before anything was sent.
    pub fn new(algorithm: Algorithm) -> Congestion {
        Congestion {
            limited: false,
            cwnd: INITIAL_WINDOW,
            // RFC 5681 S3.1-5
            ssthresh: NO_SSTHRESH,
            cwnd_cnt: 0,
            max_out: 0,
            used: 0,
            used_at: 0,
            prior_cwnd: 0,
            prior_ssthresh: 0,
            clamp: u32::MAX,
            note_limited: false,
            own: Own::new(algorithm),
        }
    }

    /// The algorithm that is used.
    pub fn algorithm(&self) -> Algorithm {
        match self.own {
            Own::NewReno => Algorithm::NewReno,
            Own::Cubic(_) => Algorithm::Cubic,
            Own::Bbr(_) => Algorithm::Bbr,
        }
    }

    /// TCP_CONGESTION: the window stays, what the old algorithm knew is forgotten.
    pub fn choose(&mut self, algorithm: Algorithm, start: &Start) {
        if self.algorithm() != algorithm {
            self.own = Own::new(algorithm);
            self.begin(start);
        }
    }

    /// The handshake is over: what it measured is where the algorithm begins.
    pub fn begin(&mut self, start: &Start) {
        if let Own::Bbr(b) = &mut self.own {
            b.begin(start, self.cwnd);
        }
    }

    /// The congestion window, in segments.
    pub fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// The slow start threshold, in segments.
    pub fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    /// The window before the last reduction.
    pub fn prior_cwnd(&self) -> u32 {
        self.prior_cwnd
    }

    /// Below the threshold.
    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// The algorithm sets the window itself, in and out of recovery.
    pub fn is_model_based(&self) -> bool {
        matches!(self.own, Own::Bbr(_))
    }

    /// Bytes a second at which to send, if the algorithm says so.
    pub fn pacing_rate(&self) -> Option<u64> {
        match &self.own {
            Own::Bbr(b) => b.pacing_rate(),
            _ => None,
        }
    }

    /// More than one SYN was lost: start with one segment (RFC 5681, section 3.1, with Linux's
    /// allowance of one).
    pub fn start_small(&mut self) {
        self.cwnd = 1;
    }

    /// `out` segments are out after sending; `limited`: more would have gone but for `cwnd`.
    /// True if this is what counts now, until all of it is acknowledged (which is `new_window`).
    pub fn on_sent(&mut self, out: u32, limited: bool, new_window: bool) -> bool {
        let counts = new_window || limited || (!self.limited && out > self.max_out);
        if counts {
            self.limited = limited;
            self.max_out = out;
        }
        counts
    }

    /// After [`Congestion::on_sent`]: the window decays halfway to what is used of it, once in
    /// each `rto` (if it is to decay at all) in which the window was not what held the sender
    /// back. `calm`: nor did a loss, or the send buffer (RFC 2861, section 3.1; Linux:
    /// `tcp_cwnd_application_limited`).
    pub fn on_used(&mut self, now: Instant, out: u32, rto: Option<Duration>, calm: bool) {
        let now = millis(now);
        if self.is_limited() || self.used_at == 0 {
            self.used = 0;
            self.used_at = now;
            return;
        }
        self.used = self.used.max(out);
        let since = u128::from(now.wrapping_sub(self.used_at));
        if self.is_model_based() || rto.is_none_or(|rto| since < rto.as_millis()) {
            return;
        }
        self.used_at = now;
        if calm {
            let used = self.used.max(INITIAL_WINDOW);
            if used < self.cwnd {
                self.keep_ssthresh();
                self.cwnd = (self.cwnd + used) / 2;
            }
            self.used = 0;
        }
    }

    /// The window is in use, so that an ACK may raise it (RFC 5681, section 3.1; RFC 7661).
    // RFC 9438 S4.6-3
    fn is_limited(&self) -> bool {
        self.limited || (self.in_slow_start() && self.cwnd < self.max_out.saturating_mul(2))
    }

    /// An ACK, outside of recovery.
    // RFC 5681 S3.1-1
    // RFC 9293 MUST-19
    pub fn on_ack(&mut self, a: &Acked) {
        self.used_at = millis(a.now);
        let mut own = self.own;
        match &mut own {
            Own::NewReno if self.is_limited() => newreno::on_ack(self, a.segs),
            Own::NewReno => {}
            Own::Cubic(c) => {
                c.on_rtt(self, a);
                if self.is_limited() {
                    c.on_ack(self, a);
                }
            }
            Own::Bbr(b) => b.on_ack(self, a),
        }
        self.own = own;
    }

    /// The window is going to be reduced (Linux: `tcp_init_cwnd_reduction`).
    // RFC 5681 S3.2-6, S3.2-7, S4.3-1
    pub fn reduce(&mut self, _in_flight: u32) {
        self.prior_cwnd = self.cwnd;
        self.cwnd_cnt = 0;
        self.ssthresh = self.reduced();
    }

    /// The retransmission timer ran out: RFC 5681, equation (4).
    // RFC 5681 S3.1-10
    pub fn on_timeout(&mut self, _in_flight: u32) {
        self.prior_cwnd = self.cwnd;
        self.ssthresh = self.reduced();
        match &mut self.own {
            Own::NewReno => {}
            Own::Cubic(c) => c.on_timeout(),
            Own::Bbr(b) => b.on_timeout(),
        }
    }

    /// After a timeout all starts over, with what is still in flight and one segment.
    // RFC 5681 S3.1-11
    pub fn set_cwnd_after_timeout(&mut self, cwnd: u32) {
        self.cwnd = cwnd.max(1);
        self.cwnd_cnt = 0;
    }

    /// During a reduction the window follows what is in flight (RFC 6937).
    pub fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd.max(1);
    }

    /// The reduction is over: `cwnd` is `ssthresh` (RFC 6937).
    pub fn end_reduction(&mut self) {
        if self.is_model_based() {
            return;
        }
        if self.ssthresh < NO_SSTHRESH {
            self.cwnd = self.ssthresh;
        }
    }

    /// A reduction that is no loss's is not undone.
    pub fn forget_prior(&mut self) {
        self.prior_ssthresh = 0;
    }

    /// To be undone to this. `reducing`: `ssthresh` has been reduced already.
    pub fn remember_ssthresh(&mut self, reducing: bool) {
        self.prior_ssthresh = if reducing {
            self.ssthresh
        } else {
            self.kept_ssthresh()
        };
    }

    /// The loss was none: back to the window before it. True if `ssthresh` went back, too.
    // RFC 9438 S4.9.2-1
    pub fn undo(&mut self) -> bool {
        if self.prior_ssthresh == 0 {
            return false;
        }
        match &mut self.own {
            Own::NewReno => self.cwnd = self.cwnd.max(self.prior_cwnd),
            Own::Cubic(c) => {
                self.cwnd = self.cwnd.max(self.prior_cwnd);
                c.on_undo();
            }
            Own::Bbr(b) => b.on_undo(),
        }
        let back = self.prior_ssthresh > self.ssthresh;
        self.ssthresh = self.ssthresh.max(self.prior_ssthresh);
        back
    }

    /// The algorithm holds the sender back by itself, since this was last asked.
    pub fn take_limited(&mut self) -> bool {
        core::mem::take(&mut self.note_limited)
    }

    /// The peer acknowledged the SYN.
    pub fn on_syn_acked(&mut self) {
        if let Own::Bbr(b) = &mut self.own {
            b.on_syn_acked();
        }
    }

    /// See [`crate::tcp::Tcb::congestion_info`].
    pub fn model(&self, mss: u32) -> Option<[u32; 5]> {
        match &self.own {
            Own::Bbr(b) => Some(b.info(mss)),
            _ => None,
        }
    }

    /// How many congestion windows a send buffer holds (Linux: `sndbuf_expand`).
    pub fn windows_to_buffer(&self) -> u32 {
        match &self.own {
            Own::Bbr(_) => 3,
            _ => 2,
        }
    }

    /// How many segments go at once at a pace.
    pub fn burst(&self, rate: u64, mss: u32) -> u32 {
        bbr::tso_segs(rate, mss)
    }

    /// Nothing was sent for `idle_rtos` times the RTO (RFC 5681, section 4.1, by halves as RFC
    /// 2861 and Linux's `tcp_cwnd_restart` do).
    pub fn on_idle(&mut self, now: Instant, idle_rtos: u64) {
        self.used = 0;
        self.used_at = millis(now);
        self.keep_ssthresh();
        let restart = INITIAL_WINDOW.min(self.cwnd);
        for _ in 0..idle_rtos.min(32) {
            if self.cwnd <= restart {
                break;
            }
            self.cwnd >>= 1;
        }
        self.cwnd = self.cwnd.max(restart);
    }

    /// The first segment after nothing was in flight: the time between does not count. `short`:
    /// there was nothing to send.
    pub fn on_first_sent(&mut self, now: Instant, last_sent: Instant, mss: u32, short: bool) {
        match &mut self.own {
            Own::NewReno => {}
            Own::Cubic(c) => c.on_first_sent(now, last_sent),
            Own::Bbr(b) if short => b.on_first_sent(now, mss, self.cwnd),
            Own::Bbr(_) => {}
        }
    }

    /// Segments have another size: as many bytes, in `cwnd` of them (Linux:
    /// `tcp_mtup_probe_success`).
    pub fn rescale(&mut self, cwnd: u32) {
        self.remember_ssthresh(false);
        self.cwnd = cwnd.max(1);
        self.cwnd_cnt = 0;
        self.keep_ssthresh();
    }

    /// The window may come back here (Linux: `tcp_current_ssthresh`).
    pub fn keep_ssthresh(&mut self) {
        self.ssthresh = self.kept_ssthresh();
    }

    fn kept_ssthresh(&self) -> u32 {
        self.ssthresh.max((self.cwnd >> 1) + (self.cwnd >> 2))
    }

    fn reduced(&mut self) -> u32 {
        let (cwnd, ssthresh) = (self.cwnd, self.ssthresh);
        match &mut self.own {
            Own::NewReno => newreno::ssthresh(cwnd),
            Own::Cubic(c) => c.ssthresh(cwnd),
            Own::Bbr(b) => {
                b.save_cwnd(cwnd);
                ssthresh
            }
        }
    }

    /// Slow start (RFC 5681, section 3.1, equation (2), for as many segments as the ACK covers;
    /// RFC 3465). Gives what was not used up.
    fn slow_start(&mut self, segs: u32) -> u32 {
        let grown = self.cwnd.saturating_add(segs).min(self.ssthresh);
        let rest = segs.saturating_sub(grown - self.cwnd);
        self.cwnd = grown.min(self.clamp);
        rest
    }

    /// One segment for each `window` acknowledged (Linux: `tcp_cong_avoid_ai`).
    // RFC 5681 S3.1-7, S3.1-8
    fn avoid(&mut self, window: u32, segs: u32) {
        let window = window.max(1);
        if self.cwnd_cnt >= window {
            self.cwnd_cnt = 0;
            self.cwnd += 1;
        }
        self.cwnd_cnt = self.cwnd_cnt.saturating_add(segs);
        if self.cwnd_cnt >= window {
            let steps = self.cwnd_cnt / window;
            self.cwnd_cnt -= steps * window;
            self.cwnd = self.cwnd.saturating_add(steps);
        }
        self.cwnd = self.cwnd.min(self.clamp).min(NO_SSTHRESH);
    }
}
