//! Congestion control: the place where algorithms differ.
//!
//! The window is counted in segments, as Linux does. [`Congestion`] holds what every algorithm
//! shares and asks the chosen one (by [`Algorithm`], an enum because no vtable may lie in
//! shared memory) how to grow and how far to fall.

mod newreno;

/// The initial window (RFC 6928).
pub const INITIAL_WINDOW: u32 = 10;

/// `ssthresh` before any loss (Linux: `TCP_INFINITE_SSTHRESH`).
pub const NO_SSTHRESH: u32 = 0x7fff_ffff;

/// Which algorithm a connection runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582.
    #[default]
    NewReno,
}

/// The congestion window and what moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Congestion {
    algorithm: Algorithm,
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
    /// Bytes acknowledged that do not make a segment yet.
    acked_bytes: u32,
    /// Before the last reduction, to undo it.
    prior: (u32, u32),
}

impl Default for Congestion {
    fn default() -> Congestion {
        Congestion {
            algorithm: Algorithm::NewReno,
            limited: false,
            cwnd: INITIAL_WINDOW,
            // RFC 5681 S3.1-5
            ssthresh: NO_SSTHRESH,
            cwnd_cnt: 0,
            max_out: 0,
            acked_bytes: 0,
            prior: (0, 0),
        }
    }
}

impl Congestion {
    /// The congestion window, in segments.
    pub fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// The slow start threshold, in segments.
    pub fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    /// Below the threshold.
    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// More than one SYN was lost: start with one segment (RFC 5681, section 3.1, with Linux's
    /// allowance of one).
    pub fn start_small(&mut self) {
        self.cwnd = 1;
    }

    /// `out` segments are out after sending; `limited`: more would have gone but for `cwnd`.
    pub fn on_sent(&mut self, out: u32, limited: bool, new_window: bool) {
        if new_window || limited || (!self.limited && out > self.max_out) {
            self.limited = limited;
            self.max_out = out;
        }
    }

    /// The window is in use, so that an ACK may raise it (RFC 5681, section 3.1; RFC 7661).
    fn is_limited(&self) -> bool {
        self.limited || (self.in_slow_start() && self.cwnd < self.max_out.saturating_mul(2))
    }

    /// `bytes` were newly acknowledged outside of fast recovery.
    // RFC 9293 MUST-19
    // RFC 5681 S3.1-1
    pub fn on_ack(&mut self, bytes: u32, mss: u32) {
        self.acked_bytes = self.acked_bytes.saturating_add(bytes);
        let segments = self.acked_bytes / mss.max(1);
        // A short segment is a segment: its ACK counts for one (as in Linux, which counts
        // packets), or a program of small writes would never leave the initial window.
        let segments = segments.max(1);
        self.acked_bytes = self
            .acked_bytes
            .saturating_sub(segments.saturating_mul(mss));
        if self.is_limited() {
            match self.algorithm {
                Algorithm::NewReno => newreno::on_ack(self, segments),
            }
        }
    }

    /// A loss was found by duplicate ACKs: the window becomes `ssthresh` (RFC 6582, section 3.2,
    /// step 2; in-flight accounting does what inflating the window did).
    // RFC 5681 S3.2-6, S3.2-7, S3.2-10
    pub fn on_fast_retransmit(&mut self) {
        self.remember();
        self.ssthresh = self.reduced();
        self.cwnd = self.ssthresh;
        self.cwnd_cnt = 0;
    }

    /// The retransmission timer ran out. `first`: not a repetition without progress, for which
    /// `ssthresh` is left as it is (RFC 5681, section 3.1).
    // RFC 5681 S3.1-10, S3.1-11
    pub fn on_timeout(&mut self, first: bool) {
        if first {
            self.remember();
            self.ssthresh = self.reduced();
        }
        self.cwnd = 1;
        self.cwnd_cnt = 0;
        self.acked_bytes = 0;
    }

    /// The loss was none: back to the window before it.
    pub fn undo(&mut self) {
        let (cwnd, ssthresh) = self.prior;
        self.cwnd = self.cwnd.max(cwnd);
        self.ssthresh = self.ssthresh.max(ssthresh);
    }

    /// Nothing was sent for `idle_rtos` times the RTO (RFC 5681, section 4.1, by halves as RFC
    /// 2861 and Linux's `tcp_cwnd_restart` do).
    pub fn on_idle(&mut self, idle_rtos: u64) {
        self.ssthresh = self.kept_ssthresh();
        let restart = INITIAL_WINDOW.min(self.cwnd);
        for _ in 0..idle_rtos.min(32) {
            if self.cwnd <= restart {
                break;
            }
            self.cwnd >>= 1;
        }
        self.cwnd = self.cwnd.max(restart);
    }

    fn remember(&mut self) {
        self.prior = (self.cwnd, self.kept_ssthresh());
    }

    /// Linux's `tcp_current_ssthresh`.
    fn kept_ssthresh(&self) -> u32 {
        self.ssthresh.max((self.cwnd >> 1) + (self.cwnd >> 2))
    }

    fn reduced(&self) -> u32 {
        match self.algorithm {
            Algorithm::NewReno => newreno::ssthresh(self.cwnd),
        }
    }
}
