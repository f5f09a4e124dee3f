//! Packetization layer path MTU discovery (RFC 4821), after Linux's `tcp_mtu_probe` and
//! `tcp_mtu_probing`: what ICMP would tell is found out with segments of data. Without probing
//! (`tcp_mtu_probing` 0) nothing here does anything; with 1 it begins when retransmissions stay
//! without answer, with 2 when the connection opens.
//!
//! Sizes are those of a segment without IP header, TCP header and options: the MTU less
//! [`super::Path::header`].

use super::mib::Mib;
use super::recovery::CaState;
use super::sent::Sent;
use super::{SeqNum, Tcb, Transmit};
use crate::time::{Duration, Instant};

/// Linux's model of give-up times builds on this RTO (`TCP_RTO_MIN`).
const MODEL_RTO_MIN_MS: u64 = 200;
/// A probe wants a congestion window of so many segments.
const LEAST_WINDOW: u32 = 11;

/// What is known of the size that the path carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct MtuSearch {
    /// The search is on.
    pub enabled: bool,
    /// Bytes of IP and bare TCP header.
    pub header: u8,
    /// The largest size that may pass, and the largest that is known to.
    pub high: u32,
    pub low: u32,
    /// The size of the probe under way; 0: there is none.
    pub probe: u32,
    /// Its first byte and just after its last.
    pub start: SeqNum,
    pub end: SeqNum,
    /// When the search began.
    pub since: Instant,
}

/// What [`Tcb::mtu_probe`] decided.
pub(super) enum Probe {
    /// Nothing is to be probed: go on.
    No,
    /// A probe will go as soon as there is room for it: send nothing until then.
    Wait,
    /// This one.
    Sent(Transmit),
}

/// Linux's timers are late by a part of what they are set to: the RTO is rounded up to a tick, and
/// the timer wheel rounds up by a tick of up to an eighth. With 4 ms a tick three doublings of
/// 200 ms and some are late by a thirty-second together (3.03 s instead of 2.94), and a limit of
/// three seconds is reached by a timeout that comes just before it here, where timers are exact.
const LATENESS: u32 = 32;

impl Tcb {
    fn timestamps_len(&self) -> u32 {
        if self.ts_ok {
            super::open::TIMESTAMPS_LEN.into()
        } else {
            0
        }
    }

    /// The payload of segments of `size` (Linux: `tcp_mtu_to_mss`).
    pub(super) fn size_to_mss(&self, size: u32) -> u32 {
        let floor = self.sysctl.tcp_min_snd_mss.max(super::open::LEAST_MSS);
        let most = size.min(self.mss_clamp.into());
        let bare = most.saturating_sub(self.ip_options.into());
        bare.max(floor.into()) - self.timestamps_len()
    }

    /// The size of segments with a payload of `mss` (Linux: `tcp_mss_to_mtu`).
    fn mss_to_size(&self, mss: u32) -> u32 {
        mss + self.timestamps_len() + u32::from(self.ip_options)
    }

    /// The connection opens (Linux: `tcp_mtup_init`).
    // RFC 4821 S4-13, S7.1-3, S7.2-1, S7.2-2, S7.2-3, S7.2-4
    pub(super) fn start_mtu_search(&mut self, now: Instant) {
        self.mtu.enabled = self.sysctl.tcp_mtu_probing > 1;
        self.mtu.high = self.mss_clamp.into();
        self.mtu.low = self.mss_to_size(self.sysctl.tcp_base_mss);
        self.mtu.probe = 0;
        self.mtu.since = now;
    }

    /// What the search allows a segment to carry; the path's own size bounds the search.
    // RFC 4821 S7.1-1
    pub(super) fn bound_by_search(&mut self, mss: u16) -> u16 {
        self.mtu.high = self.mtu.high.min(self.path_mss.into());
        if !self.mtu.enabled {
            return mss;
        }
        let known = self.size_to_mss(self.mtu.low);
        u16::try_from(known).map_or(mss, |known| mss.min(known))
    }

    /// Retransmissions stay without answer: perhaps what is large is lost, and nobody says so
    /// (Linux: `tcp_mtu_probing`).
    // RFC 4821 S4-9, S7.7-1, S7.7-2
    // RFC 9293 MUST-20, SHLD-10
    pub(super) fn suspect_black_hole(&mut self, now: Instant) {
        let silent = |since| {
            let limit = self.model_timeout(self.sysctl.tcp_retries1.into(), MODEL_RTO_MIN_MS);
            let exact = now.since(since);
            exact + exact / LATENESS >= Duration::from_millis(limit)
        };
        if self.sysctl.tcp_mtu_probing == 0
            || self.timers.retransmits == 0
            || !self.timers.retrans_stamp.is_some_and(silent)
        {
            return;
        }
        if self.mtu.enabled {
            let mss = (self.size_to_mss(self.mtu.low) / 2)
                .min(self.sysctl.tcp_base_mss)
                .max(self.sysctl.tcp_mtu_probe_floor)
                .max(self.sysctl.tcp_min_snd_mss.into());
            self.mtu.low = self.mss_to_size(mss);
        } else {
            self.mtu.enabled = true;
            self.mtu.since = now;
        }
        self.sync_mss();
    }

    /// Whether data is to go as a probe (Linux: `tcp_mtu_probe`): where a search is on, nothing
    /// is doubtful, and enough follows the probe that its loss will be noticed.
    // RFC 4821 S7.1-2, S7.3-1, S7.4-1, S7.4-2, S7.4-3
    pub(super) fn mtu_probe(&mut self, now: Instant, sent: &mut [Sent]) -> Probe {
        if !self.mtu.enabled
            || self.mtu.probe != 0
            || self.recovery.ca != CaState::Open
            || self.cc.cwnd() < LEAST_WINDOW
            || self.rcv_sack_len > 0
            || self.dsack.is_some()
        {
            return Probe::No;
        }
        let (low, high) = (self.mtu.low, self.mtu.high);
        let size = self.size_to_mss((high + low) / 2);
        let behind = (self.recovery.reordering + 1).saturating_mul(self.snd_mss.into());
        let needed = size.saturating_add(behind);
        // Linux compares as signed numbers: a range upside down is too small as well.
        let worth = high.saturating_sub(low) >= self.sysctl.tcp_probe_threshold.max(1);
        if size > self.size_to_mss(high) || !worth {
            self.search_again(now);
            return Probe::No;
        }
        if self.snd_end.diff(self.snd_nxt) < i32::try_from(needed).unwrap_or(i32::MAX)
            || self.snd_wnd < needed
        {
            return Probe::No;
        }
        if (self.snd_nxt + needed).gt(self.window_edge()) {
            return Probe::Wait;
        }
        let in_flight = self.sent.in_flight();
        if in_flight + 2 > self.cc.cwnd() {
            return if in_flight == 0 {
                Probe::No
            } else {
                Probe::Wait
            };
        }
        self.mtu.probe = self.mss_to_size(size);
        self.mtu.start = self.snd_nxt;
        self.mtu.end = self.snd_nxt + size;
        // It takes the room of two.
        self.cc.set_cwnd(self.cc.cwnd() - 1);
        Probe::Sent(self.send_new_as(now, size, false, false, size, sent))
    }

    /// A segment is the probe: it goes whole, though it is longer than others.
    pub(super) fn is_mtu_probe(&self, seq: SeqNum, len: u32) -> bool {
        self.mtu.probe != 0 && seq == self.mtu.start && seq + len == self.mtu.end
    }

    /// The search is over; after `tcp_probe_interval` it begins anew (Linux:
    /// `tcp_mtu_check_reprobe`).
    // RFC 1191 S3-5, S3-8
    // RFC 4821 S7.3-2, S7.3-3
    fn search_again(&mut self, now: Instant) {
        let interval = Duration::from_secs(self.sysctl.tcp_probe_interval.into());
        if now.since(self.mtu.since) < interval {
            return;
        }
        self.mtu.probe = 0;
        self.mtu.high = self.mss_clamp.into();
        self.mtu.low = self.mss_to_size(self.current_mss());
        self.mtu.since = now;
    }

    /// Something was acknowledged: the probe, too? Then segments are as large from now on, and
    /// the window holds as many bytes as before.
    // RFC 4821 S4-8, S5.1-1, S7.6-1
    pub(super) fn check_mtu_probe(&mut self) {
        if self.mtu.probe == 0 || self.mtu.end.gt(self.snd_una) {
            return;
        }
        let header = u64::from(self.mtu.header);
        let old = u64::from(self.mss_to_size(self.snd_mss.into())) + header;
        let new = u64::from(self.mtu.probe) + header;
        let cwnd = u64::from(self.cc.cwnd()) * old / new;
        self.cc.rescale(u32::try_from(cwnd).unwrap_or(u32::MAX));
        self.noted.note(Mib::MtupSuccess);
        self.mtu.low = self.mtu.probe;
        self.mtu.probe = 0;
        self.sync_mss();
    }

    /// A loss was found. If it is the probe's, and nothing else's, the path doesn't carry it:
    /// that is no congestion, and the data goes again in smaller segments.
    // RFC 4821 S4-3, S4-4, S4-5, S6.1-1, S7.6-1, S7.6.2-1
    pub(super) fn mtu_probe_lost(&mut self, sent: &mut [Sent]) -> bool {
        if self.recovery.ca >= CaState::Cwr || self.mtu.probe == 0 || self.snd_una != self.mtu.start
        {
            return false;
        }
        self.noted.note(Mib::MtupFail);
        self.mtu.high = self.mtu.probe - 1;
        self.mtu.probe = 0;
        self.cc.set_cwnd(self.cc.cwnd() + 1);
        self.resend_all(sent, super::recovery::Resend::Probe);
        true
    }
}
