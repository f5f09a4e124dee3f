//! When to acknowledge (RFC 9293, section 3.8.6.3; RFC 5681, section 4.2), as Linux does.
//!
//! The first segments of a connection are acknowledged at once (*quickack*), for the peer is in
//! slow start. A connection that answers what it receives (*pingpong*) waits, so that the ACK
//! rides on the answer. Every second full segment is acknowledged at once in any case.

use super::mib::Mib;
use super::{Flags, Segment, SeqNum, State, Tcb};
use crate::time::{Duration, Instant};

/// Linux: `TCP_MAX_QUICKACKS`.
const MAX_QUICKACKS: u32 = 16;
/// Linux: `TCP_ATO_MIN` and `TCP_DELACK_MIN`, milliseconds.
const ATO_MIN: u32 = 40;
/// Linux: `TCP_DELACK_MAX`, milliseconds.
pub(super) const DELACK_MAX: u32 = 200;
/// The same.
pub(super) const LONGEST: Duration = Duration::from_millis(DELACK_MAX as u64);
/// The most an interval estimate delays an ACK outside of pingpong, milliseconds.
const ATO_MAX: u32 = 500;
/// Room for TCP options in a header.
const BARE_HEADER: u32 = 20;

/// The receiver's acknowledgment machinery (Linux: `icsk_ack`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct DelayedAck {
    /// An ACK is owed, sooner or later.
    pub scheduled: bool,
    /// The protocol demands it now.
    pub now: bool,
    /// A small segment came (the end of a write, likely) ...
    pub pushed: bool,
    /// ... and another.
    pub pushed2: bool,
    /// Segments still to be acknowledged at once.
    pub quick: u8,
    /// The program answers what it receives.
    pub pingpong: bool,
    /// The size of the peer's segments, as estimated.
    pub rcv_mss: u16,
    last_seg: u16,
    /// How long to wait, milliseconds; 0 before the first data.
    pub ato: u32,
    /// When data last came.
    pub lrcvtime: Instant,
    /// The delayed ACK timer.
    pub at: Instant,
    /// SACKs that were held back, and duplicates sent since `rcv_nxt` was `dup_nxt` (Linux:
    /// `compressed_ack`, `dup_ack_counter`).
    pub compressed: u8,
    dups: u8,
    dup_nxt: SeqNum,
    /// When what is held back goes.
    pub compress_at: Instant,
}

impl DelayedAck {
    pub(super) fn new(now: Instant) -> DelayedAck {
        DelayedAck {
            scheduled: false,
            now: false,
            pushed: false,
            pushed2: false,
            quick: 0,
            pingpong: false,
            rcv_mss: super::window::DEFAULT_MSS,
            last_seg: 0,
            ato: 0,
            lrcvtime: now,
            at: Instant::NEVER,
            compressed: 0,
            dups: 0,
            dup_nxt: SeqNum(0),
            compress_at: Instant::NEVER,
        }
    }

    /// Nothing is owed any more.
    pub(super) fn cancel(&mut self) {
        self.scheduled = false;
        self.now = false;
        self.pushed = false;
        self.pushed2 = false;
        self.at = Instant::NEVER;
        self.compressed = 0;
        self.compress_at = Instant::NEVER;
    }

    fn in_quickack(&self) -> bool {
        self.quick > 0 && !self.pingpong
    }
}

impl Tcb {
    /// The number of segments that fit twice into the window are acknowledged at once.
    fn raise_quickack(&mut self) {
        self.raise_quickack_to_most(MAX_QUICKACKS);
    }

    /// Something is amiss: the next `most` segments are acknowledged at once (Linux:
    /// `tcp_enter_quickack_mode`).
    pub(super) fn raise_quickack_to(&mut self, most: u32) {
        self.raise_quickack_to_most(most);
        self.delack.pingpong = false;
        self.delack.ato = ATO_MIN;
    }

    fn raise_quickack_to_most(&mut self, most: u32) {
        let fits = self.rcv_wnd / (2 * u32::from(self.delack.rcv_mss).max(1));
        let quick = if fits == 0 { 2 } else { fits.min(most) };
        self.delack.quick = self.delack.quick.max(quick as u8);
    }

    /// Linux's `tcp_enter_quickack_mode`: something is amiss, be prompt.
    pub(super) fn enter_quickack(&mut self) {
        self.raise_quickack_to(MAX_QUICKACKS);
    }

    /// In-order data came (Linux: `tcp_event_data_recv`).
    pub(super) fn note_data_received(&mut self, now: Instant, seg: &Segment) {
        self.delack.scheduled = true;
        self.measure_rcv_mss(seg);
        let tsecr = seg.options.timestamps.filter(|_| self.ts_ok).map(|t| t.1);
        self.measure_rcv_rtt(now, tsecr, seg.len);
        let rto_ms = self.rtt.rto / 1000;
        if self.delack.ato == 0 {
            self.raise_quickack();
            self.delack.ato = ATO_MIN;
        } else {
            let gap =
                u32::try_from(now.since(self.delack.lrcvtime).as_millis()).unwrap_or(u32::MAX);
            if gap <= ATO_MIN / 2 {
                self.delack.ato = self.delack.ato / 2 + ATO_MIN / 2;
            } else if gap < self.delack.ato {
                self.delack.ato = (self.delack.ato / 2 + gap).min(rto_ms);
            } else if gap > rto_ms {
                // The peer restarts its window: it waits for our ACKs.
                self.raise_quickack();
            }
        }
        self.delack.lrcvtime = now;
        self.grow_window(seg.len);
    }

    /// Estimate the peer's MSS (Linux: `tcp_measure_rcv_mss`).
    pub(super) fn measure_rcv_mss(&mut self, seg: &Segment) {
        let previous = self.delack.last_seg;
        self.delack.last_seg = 0;
        let len = seg.len;
        if len >= u32::from(self.delack.rcv_mss) {
            if len != u32::from(self.delack.rcv_mss) {
                self.adjust_scaling_ratio(len);
            }
            self.delack.rcv_mss = len.min(u32::from(self.advmss)) as u16;
            if seg.flags.has(Flags::PSH) {
                self.delack.pushed = true;
            }
            return;
        }
        let header = self.header_len();
        let whole = len + header;
        let remnant = Flags::FIN
            .with(Flags::URG)
            .with(Flags::SYN)
            .with(Flags::PSH);
        if whole >= u32::from(super::window::DEFAULT_MSS) + BARE_HEADER
            || (whole >= 88 + BARE_HEADER && seg.flags.0 & remnant.0 == 0)
        {
            // A segment shorter than the estimate, twice in a row: that is its MSS.
            self.delack.last_seg = len as u16;
            if self.delack.last_seg == previous {
                self.delack.rcv_mss = self.delack.last_seg;
                return;
            }
        }
        if self.delack.pushed {
            self.delack.pushed2 = true;
        }
        self.delack.pushed = true;
    }

    fn header_len(&self) -> u32 {
        BARE_HEADER + if self.ts_ok { 12 } else { 0 }
    }

    /// After a segment: acknowledge now or later (Linux: `__tcp_ack_snd_check`).
    // RFC 9293 MUST-58, SHLD-19
    // RFC 5681 S3.2-1, S4.2-3, S4.2-4, S4.2-5
    // RFC 6582 S5-1
    // RFC 2018 S4-4
    pub(super) fn check_ack(&mut self, now: Instant) {
        if !self.delack.scheduled && !self.delack.now {
            return;
        }
        let pending = self.rcv_nxt.diff(self.rcv_wup).max(0).unsigned_abs();
        let two_segments = pending > u32::from(self.delack.rcv_mss)
            // "... and right edge of window advances far enough": else reading will do it.
            && self.window_to_offer() >= self.rcv_wnd;
        // RFC 5681, section 4.2: "a TCP receiver SHOULD send an immediate duplicate ACK when an
        // out-of-order segment arrives".
        if two_segments || self.delack.in_quickack() || self.delack.now {
            self.owes.ack = true;
        } else if self.rcv_sack_len > 0 {
            self.compress_ack(now);
        } else {
            self.delay_ack(now);
        }
    }

    /// The first three duplicate ACKs of a hole go at once, so that the peer sees the loss; what
    /// follows may be told in one (Linux: tcp_comp_sack_nr and its kin).
    fn compress_ack(&mut self, now: Instant) {
        const THRESHOLD: u8 = 3;
        let most = self.sysctl.tcp_comp_sack_nr;
        if !self.sack_ok || self.delack.compressed >= most {
            self.owes.ack = true;
            return;
        }
        if self.delack.dup_nxt != self.rcv_nxt {
            self.delack.dup_nxt = self.rcv_nxt;
            self.delack.dups = 0;
        }
        if self.delack.dups < THRESHOLD {
            self.delack.dups += 1;
            self.owes.ack = true;
            return;
        }
        self.delack.compressed += 1;
        if self.delack.compress_at != Instant::NEVER {
            return;
        }
        // A twentieth of the round-trip time, but no more than tcp_comp_sack_delay_ns.
        let mut rtt8 = self.drs.rtt8();
        if self.rtt.srtt8 > 0 && (rtt8 == 0 || self.rtt.srtt8 < rtt8) {
            rtt8 = self.rtt.srtt8;
        }
        let delay = (u64::from(rtt8) * 125 / 20).min(self.sysctl.tcp_comp_sack_delay_ns.into());
        self.delack.compress_at = now + Duration::from_nanos(delay);
    }

    /// What was held back goes.
    pub(super) fn on_compress_timer(&mut self) {
        self.delack.compress_at = Instant::NEVER;
        if self.delack.compressed > 0 {
            // One of them goes after all.
            self.delack.compressed -= 1;
            self.owes.ack = true;
        }
    }

    /// Linux's `tcp_send_delayed_ack`.
    // RFC 9293 SHLD-18, MUST-40
    // RFC 5681 S4.2-1, S4.2-2
    fn delay_ack(&mut self, now: Instant) {
        let mut ato = self.delack.ato;
        if ato > ATO_MIN {
            let mut most = ATO_MAX;
            if self.delack.pingpong || self.delack.pushed {
                most = DELACK_MAX;
            }
            if self.rtt.srtt8 > 0 {
                most = most.min((self.rtt.srtt8 / 8000).max(ATO_MIN));
            }
            ato = ato.min(most);
        }
        // Less than the least RTO of a peer like us; and a tick at least.
        ato = ato
            .min(self.options.delack_max_ms())
            .min(self.options.rto_min_ms(&self.sysctl).max(2) - 1)
            .max(1);
        let quarter = Duration::from_millis(u64::from(ato / 4));
        let at = now + Duration::from_millis(u64::from(ato));
        if self.delack.at != Instant::NEVER {
            if self.delack.at <= now + quarter {
                self.owes.ack = true;
                return;
            }
            self.delack.at = self.delack.at.min(at);
        } else {
            self.delack.at = at;
        }
        self.delack.scheduled = true;
    }

    /// The delayed ACK timer ran out.
    pub(super) fn on_delack_timer(&mut self) {
        self.delack.at = Instant::NEVER;
        if !self.delack.scheduled {
            return;
        }
        if self.delack.pingpong {
            // The answer did not come: it is no dialogue after all.
            self.delack.pingpong = false;
            self.delack.ato = ATO_MIN;
        } else {
            self.delack.ato = (self.delack.ato.saturating_mul(2)).min(self.rtt.rto / 1000);
        }
        self.noted.note(Mib::DelayedAcks);
        self.owes.ack = true;
    }

    /// A segment with an ACK is going out (Linux: `tcp_event_ack_sent`).
    pub(super) fn note_ack_sent(&mut self) {
        if self.delack.quick > 0 && self.delack.scheduled {
            self.delack.quick -= 1;
            if self.delack.quick == 0 {
                self.delack.ato = ATO_MIN;
            }
        }
        self.noted
            .add(Mib::AckCompressed, self.delack.compressed.into());
        self.delack.cancel();
        (self.owes.ack, self.owes.challenge) = (false, false);
    }

    /// TCP_QUICKACK: acknowledge at once from now on, or leave that to the answers; lasts until
    /// the traffic says otherwise. (Linux: `__tcp_sock_set_quickack`.)
    pub fn set_quickack(&mut self, value: i64) {
        self.delack.pingpong = value == 0;
        let open = matches!(self.state, State::Established | State::CloseWait);
        if value == 0 || !open || !self.delack.scheduled {
            return;
        }
        let pending = self.rcv_nxt.diff(self.rcv_wup).max(0).unsigned_abs();
        if pending > u32::from(self.delack.rcv_mss) || self.unread() == 0 && self.rcv_sack_len == 0
        {
            self.owes.ack = true;
        }
        self.delack.pingpong = value & 1 == 0;
    }

    /// What TCP_QUICKACK reads as.
    pub fn quickack(&self) -> bool {
        !self.delack.pingpong
    }

    /// Data is going out: an answer, if it follows closely on data received.
    pub(super) fn note_data_sent(&mut self, now: Instant) {
        self.lsndtime = now;
        if now.since(self.delack.lrcvtime) < Duration::from_millis(u64::from(self.delack.ato)) {
            self.delack.pingpong = true;
        }
    }

    /// The program took `n` bytes from the receive queue: the window may open.
    pub fn app_read(&mut self, now: Instant, n: u32) {
        let n = n.min(self.unread());
        self.copied_seq += n;
        self.adjust_rcv_space(now);
        if !matches!(
            self.state,
            State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait
        ) {
            return;
        }
        // Linux's `tcp_cleanup_rbuf`.
        if self.delack.scheduled {
            let pending = self.rcv_nxt.diff(self.rcv_wup).max(0).unsigned_abs();
            let emptied = self.unread() == 0 && self.rcv_sack_len == 0;
            let small = self.delack.pushed2 || (self.delack.pushed && !self.delack.pingpong);
            if pending > u32::from(self.delack.rcv_mss) || (n > 0 && small && emptied) {
                self.owes.ack = true;
            }
        }
        if n > 0 && !self.owes.ack && !self.fin_received && !self.rcv_shutdown {
            let left = self.receive_window();
            if left.saturating_mul(2) <= self.window_clamp {
                let offer = self.window_to_offer();
                if offer > 0 && offer >= left.saturating_mul(2) {
                    self.owes.ack = true;
                }
            }
        }
    }
}
