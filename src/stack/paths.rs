//! What ICMP told of paths' MTUs: shared by the host's connections, and forgotten after a time
//! (RFC 1191, sections 6.2 and 6.3; Linux: exceptions of a route's next hop).
//!
//! A small table: an entry is made only for a message that quotes a sequence number in flight,
//! and one that finds no place takes that of the one that would be forgotten first.

use super::{Host, Shared};
use crate::addr::Addr;
use crate::tcp::SeqNum;
use crate::time::{Duration, Instant};

/// Paths that may be known at the same time.
pub const PATHS: usize = 256;
/// Places where a path may be.
const WAYS: usize = 8;
/// What every IPv6 link carries (RFC 8200, section 5).
const IPV6_MIN_MTU: u32 = 1280;
/// What every IPv4 link carries (RFC 791).
const IPV4_MIN_MTU: u32 = 68;

/// IP_PMTUDISC_*.
const DISCOVER_DONT: u8 = 0;
const DISCOVER_WANT: u8 = 1;
const DISCOVER_DO: u8 = 2;
const DISCOVER_INTERFACE: u8 = 4;

/// One path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Known {
    to: Addr,
    /// Bytes; 0: this place is free.
    mtu: u16,
    /// It is so narrow that packets go without DF (Linux: `rt_mtu_locked`).
    locked: bool,
    until: Instant,
}

/// See the module.
#[derive(Debug)]
#[repr(C)]
pub struct Paths {
    known: [Known; PATHS],
    /// Counts changes: connections that have seen this many know all.
    changes: u32,
    /// When the first is to be forgotten; 0: there is none.
    first: Instant,
}

impl Paths {
    fn set(to: Addr) -> usize {
        let sum = to.0.iter().fold(0usize, |sum, b| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*b))
        });
        sum % (PATHS / WAYS) * WAYS
    }

    /// What is known of the way to `to`.
    // RFC 4821 S5.2-2
    fn find(&self, to: Addr, now: Instant) -> Option<&Known> {
        if self.first == Instant(0) {
            return None;
        }
        let at = Paths::set(to);
        let ways = self.known.get(at..at + WAYS)?;
        ways.iter()
            .find(|k| k.mtu != 0 && k.to == to && k.until > now)
    }

    fn learn(&mut self, new: Known) {
        let at = Paths::set(new.to);
        let Some(ways) = self.known.get_mut(at..at + WAYS) else {
            return;
        };
        let same = ways.iter().position(|k| k.mtu != 0 && k.to == new.to);
        let place = same.or_else(|| (0..WAYS).min_by_key(|i| ways[*i].until));
        if let Some(k) = place.and_then(|i| ways.get_mut(i)) {
            *k = new;
        }
        self.changes = self.changes.wrapping_add(1);
        if self.first == Instant(0) || new.until < self.first {
            self.first = new.until;
        }
    }

    /// How often something has changed, what is forgotten by now included.
    pub(super) fn changes(&mut self, now: Instant) -> u32 {
        if self.first != Instant(0) && self.first <= now {
            for k in &mut self.known {
                if k.mtu != 0 && k.until <= now {
                    *k = Known::default();
                }
            }
            let left = self.known.iter().filter(|k| k.mtu != 0);
            self.first = left.map(|k| k.until).min().unwrap_or(Instant(0));
            self.changes = self.changes.wrapping_add(1);
        }
        self.changes
    }
}

impl Shared {
    /// The MTU that was learnt of the way to `to`, and whether it is locked.
    pub(super) fn learnt_mtu(&self, to: Addr, now: Instant) -> Option<(u32, bool)> {
        self.paths.find(to, now).map(|k| (k.mtu.into(), k.locked))
    }
}

impl Host<'_> {
    /// The socket's connection takes note of what has changed about paths.
    // RFC 1191 S6.2-1, S6.3-1
    pub(super) fn follow_path(&mut self, index: u32) {
        let changes = self.sh.paths.changes(self.now);
        let s = &self.sh.sockets[index];
        if s.paths_seen != changes {
            let mss = self.path_mss(s.local.addr, s.remote.addr);
            let s = &mut self.sh.sockets[index];
            s.paths_seen = changes;
            s.tcb.follow_path(mss);
        }
    }

    /// "Fragmentation needed" or "packet too big" about what the socket sent (Linux:
    /// `tcp_v4_mtu_reduced`, `tcp_v6_mtu_reduced`).
    // RFC 1191 S3-9, S6.2-1
    // RFC 4821 S5.2-3
    // RFC 8201 S4-2, S4-3
    pub(super) fn path_is_narrow(&mut self, index: u32, mtu: u32, quoted: SeqNum) {
        let s = &self.sh.sockets[index];
        let (local, remote) = (s.local.addr, s.remote.addr);
        if !s.tcb.is_in_flight(quoted) {
            return;
        }
        let v6 = !remote.is_v4();
        let (discover, header) = if v6 {
            (s.options.mtu_discover6, 60)
        } else {
            (s.options.mtu_discover, 40)
        };
        let deaf = discover >= DISCOVER_INTERFACE;
        let ip = self.ip_settings();
        let old = u32::from(self.path_mss(local, remote)) + header;
        let (mut mtu, mut locked, mut lasts) = (mtu.min(65_535), false, ip.mtu_expires);
        if v6 {
            if deaf || mtu < IPV6_MIN_MTU {
                return;
            }
            lasts = ip.mtu_expires6;
        } else {
            match ip.ip_no_pmtu_disc {
                1 => mtu = 0,
                2 => return,
                _ => {}
            }
            // Routers that don't tell give 0.
            if mtu < ip.min_pmtu.max(IPV4_MIN_MTU) {
                locked = true;
                mtu = old.min(ip.min_pmtu.max(IPV4_MIN_MTU));
            }
        }
        if mtu < old || locked {
            self.sh.paths.learn(Known {
                to: remote,
                mtu: mtu as u16,
                locked,
                until: self.now + Duration::from_secs(lasts.max(1).into()),
            });
        }
        if v6 || !(deaf || discover == DISCOVER_DONT) {
            let Shared { sockets, sent, .. } = &mut *self.sh;
            let mss = mtu.saturating_sub(header) as u16;
            let tcb = &mut sockets[index].tcb;
            tcb.on_packet_too_big(self.now, mss, quoted, sent);
        }
        self.output(index);
        self.deliver_looped();
    }

    /// Whether the socket's packets forbid routers to cut them (Linux: `ip_dont_fragment`).
    // RFC 1191 S3-4
    // RFC 4821 S4-2, S8-2
    pub(super) fn forbids_fragments(&self, index: u32) -> bool {
        let s = &self.sh.sockets[index];
        match s.options.mtu_discover {
            DISCOVER_DO => true,
            DISCOVER_WANT => {
                let learnt = self.sh.learnt_mtu(s.remote.addr, self.now);
                !learnt.is_some_and(|(_, locked)| locked)
            }
            _ => false,
        }
    }
}
