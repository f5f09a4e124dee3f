//! What one acknowledgment told, collected while it is processed (Linux: the `FLAG_`s of
//! `tcp_ack`, `struct tcp_sacktag_state` and `struct rate_sample`).

use super::SeqNum;
use super::rate::RateSample;
use crate::time::Instant;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    pub una_before: SeqNum,
    /// The highest number reported before.
    pub fack_before: SeqNum,
    pub in_flight_before: u32,
    pub delivered_before: u32,
    pub lost_before: u32,
    /// `snd_una` moved.
    pub advanced: bool,
    /// A record was acknowledged.
    pub acked: bool,
    pub segs_acked: u32,
    /// The segment carried data.
    pub data: bool,
    pub window_update: bool,
    /// Something was newly reported.
    pub sacked: bool,
    /// ECE (RFC 3168, section 6.1.2).
    pub ece: bool,
    /// A duplicate was reported (RFC 2883) ...
    pub dsack: bool,
    /// ... of the tail loss probe.
    pub dsack_of_probe: bool,
    /// Segments newly reported, once or twice.
    pub sack_delivered: u32,
    /// Data was acknowledged or reported that was sent but once, before `recover`.
    pub orig: bool,
    /// What was sent again was acknowledged.
    pub retrans_acked: bool,
    /// The peer threw away what it had reported (RFC 2018, section 8).
    pub reneging: bool,
    /// The retransmission timer is to be started over.
    pub set_timer: bool,
    /// What was sent again is lost again.
    pub lost_retrans: bool,
    /// The lowest number that was overtaken.
    pub reord: SeqNum,
    pub first_sack_at: Option<Instant>,
    pub last_sack_at: Option<Instant>,
    /// The echoed timestamp, if it says anything.
    pub tsecr: Option<u32>,
    /// A round-trip time for congestion control, microseconds.
    pub rtt: Option<u32>,
    /// The ACK may have been delayed by the peer.
    pub delayed: bool,
    pub rate: RateSample,
}

impl News {
    /// Linux's `FLAG_NOT_DUP`.
    pub(super) fn not_dup(&self) -> bool {
        self.data || self.window_update || self.acked
    }

    /// The timestamp echoed is of before `ts` (RFC 3522, section 3.2).
    pub(super) fn echoes_before(&self, ts: u32) -> bool {
        self.tsecr.is_some_and(|e| (e.wrapping_sub(ts) as i32) < 0)
    }
}
