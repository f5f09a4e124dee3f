//! ICMP that this host sends: echo replies of any size, errors, and how many of them
//! (Linux: `icmp_global_allow`, `inet_peer_xrlim_allow`).

use super::buffers::BufId;
use super::{Host, Shared};
use crate::addr::Addr;
use crate::time::{Duration, Instant};
use crate::wire::protocol::{ICMP, ICMPV6, IGMP, NO_NEXT_HEADER, TCP, UDP};
use crate::wire::{self, ErrorMessage};

/// Hosts whose share of messages is remembered.
const PEERS: usize = 64;
/// So many intervals' messages may go at once to one host (Linux: `XRLIM_BURST_FACTOR`).
const PEER_BURST: u64 = 6;
/// The largest piece that an echo reply is cut into.
const PIECE: usize = 2048;

/// What one host may still be sent.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Peer {
    to: Addr,
    at: Instant,
    /// Milliseconds' worth of messages.
    tokens: u64,
}

/// What may still be sent.
#[derive(Debug)]
#[repr(C)]
pub struct IcmpBudget {
    at: Instant,
    credit: u32,
    peers: [Peer; PEERS],
}

impl IcmpBudget {
    /// One message more, to anybody: `per_second`, and `burst` at once.
    fn take_global(&mut self, now: Instant, per_second: u32, burst: u32) -> bool {
        let ms = if self.at == Instant(0) {
            1000
        } else {
            now.since(self.at).as_millis().min(1000) as u64
        };
        // Linux looks at the clock every 20 ms at most.
        if ms >= 20 {
            let more = u64::from(per_second) * ms / 1000;
            self.credit = (u64::from(self.credit) + more).min(burst.into()) as u32;
            self.at = now;
        }
        let allowed = self.credit > 0;
        self.credit = self.credit.saturating_sub(1);
        allowed
    }

    /// One message more to `to`: one every `interval_ms`.
    fn take_peer(&mut self, now: Instant, to: Addr, interval_ms: u64) -> bool {
        if interval_ms == 0 {
            return true;
        }
        let sum = to.0.iter().fold(0usize, |sum, b| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*b))
        });
        let Some(peer) = self.peers.get_mut(sum % PEERS) else {
            return false;
        };
        if peer.to != to {
            *peer = Peer {
                to,
                at: now,
                tokens: PEER_BURST * interval_ms,
            };
        }
        let passed = now.since(peer.at).as_millis() as u64;
        peer.at = peer.at + Duration::from_millis(passed);
        peer.tokens = (peer.tokens + passed).min(PEER_BURST * interval_ms);
        let allowed = peer.tokens >= interval_ms;
        if allowed {
            peer.tokens -= interval_ms;
        }
        allowed
    }
}

impl Host<'_> {
    /// Whether an ICMP message of `kind` may be sent to `to` now.
    pub(super) fn icmp_allowed(&mut self, to: Addr, kind: u8) -> bool {
        let ip = self.ip_settings();
        let limited = if to.is_v4() {
            kind < 32 && ip.icmp_ratemask >> kind & 1 != 0
        } else {
            // Linux's default mask: all errors but "packet too big".
            kind < 128 && kind != 2
        };
        if !limited {
            return true;
        }
        let interval = if to.is_v4() {
            ip.icmp_ratelimit
        } else {
            // Linux gives routes to many hosts more: this host's is one to its network.
            ip.ratelimit6 >> 2
        };
        let Shared { icmp, .. } = &mut *self.sh;
        icmp.take_global(self.now, ip.icmp_msgs_per_sec, ip.icmp_msgs_burst)
            && icmp.take_peer(self.now, to, interval.into())
    }

    /// Send an ICMP error, if it is within bounds.
    pub(super) fn send_icmp_error(&mut self, to: Addr, packet: &[u8]) {
        let kind = packet.get(if to.is_v4() { 20 } else { 40 });
        let Some(&kind) = kind else { return };
        if self.icmp_allowed(to, kind) {
            self.sh.counters.icmp_out += 1;
            self.send_packet(packet);
        }
    }

    /// Nobody here understands the packet, which lies in `buf`: say so, where that is due.
    // RFC 1122 S3.2.2-5, S3.2.2-6, S3.2.2-8, S3.2.2.1-1
    pub(super) fn answer_unknown(
        &mut self,
        dst: Addr,
        src: Addr,
        proto: u8,
        buf: BufId,
        at: (usize, usize),
    ) {
        if !self.is_ours(dst) || !self.may_be_answered(src) {
            return;
        }
        let Some(packet) = self.sh.buffers.bytes(buf).get(at.0..at.0 + at.1) else {
            return;
        };
        let mut out = [0u8; 1280];
        let (us, peer) = (dst.ip(), src.ip());
        let message = match proto {
            UDP => Some(ErrorMessage::PortUnreachable),
            // Of these it is known what they are.
            TCP | ICMP if dst.is_v4() => None,
            IGMP if dst.is_v4() => None,
            TCP | ICMPV6 | NO_NEXT_HEADER if !dst.is_v4() => None,
            _ => Some(ErrorMessage::ProtocolUnreachable),
        };
        let n = message.and_then(|m| wire::emit_icmp_error(m, us, peer, packet, &mut out));
        if let Some(n) = n {
            self.send_icmp_error(src, &out[..n]);
        }
    }

    /// An echo request for `us`, whose ICMP message lies in `buf`, `len` bytes from `at` on: it
    /// becomes the reply where it lies.
    // RFC 1122 S3.2.2.6-1, S3.2.2.6-2, S3.2.2.6-3
    pub(super) fn answer_echo(&mut self, us: Addr, to: Addr, buf: BufId, at: usize, len: usize) {
        let ip = self.ip_settings();
        self.sh.counters.icmp_in += 1;
        let ignored = if us.is_v4() {
            ip.icmp_echo_ignore_all
        } else {
            ip.echo_ignore_all6
        };
        if ignored != 0 || !self.icmp_allowed(to, if us.is_v4() { 0 } else { 129 }) {
            return;
        }
        let header = if us.is_v4() { 20 } else { 40 };
        let Some(start) = at.checked_sub(header) else {
            return;
        };
        self.sh.ip_id = self.sh.ip_id.wrapping_add(1);
        let id = self.sh.ip_id;
        let bytes = self.sh.buffers.bytes_mut(buf);
        let Some(packet) = bytes.get_mut(start..at + len) else {
            return;
        };
        if !wire::make_echo_reply(us.ip(), to.ip(), id, packet) {
            return;
        }
        self.sh.counters.icmp_out += 1;
        let mtu = usize::from(self.sh.config.mtu.max(576));
        let total = header + len;
        let most = mtu.min(PIECE);
        let mut out = [0u8; PIECE];
        let mut sent = 0;
        loop {
            let packet = self.sh.buffers.bytes(buf).get(start..start + total);
            let Some(packet) = packet else { return };
            // What fits goes whole.
            let piece = if total <= out.len() && total <= mtu {
                out[..total].copy_from_slice(packet);
                Some((total, len))
            } else {
                wire::fragment::cut(packet, sent, most, id.into(), &mut out)
            };
            let Some((n, done)) = piece else { return };
            sent += done;
            self.send_packet(&out[..n]);
            if sent >= len {
                return;
            }
        }
    }
}
