//! A host in memory of its own, its wire, and its clock; after everything that it does the whole
//! state must be in order.

use crate::options::stay_in_order;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use utcp_stack::addr::Addr;
use utcp_stack::arena::Arena;
use utcp_stack::link::{Device, Sent, VnetHdr};
use utcp_stack::stack::wait::WakeSet;
use utcp_stack::stack::{Host, Shared};
use utcp_stack::tcp::{Segment, Sysctl};
use utcp_stack::time::Instant;
use utcp_stack::wire::{self, Checksum, IpHeader, IpOptions, MAX_HEADERS, Packet, Sum};

/// The wire to the peer.
#[derive(Default)]
pub struct Wire {
    pub inward: VecDeque<(VnetHdr, Vec<u8>)>,
    /// What was sent, if somebody looks at it.
    pub outward: Option<Vec<Vec<u8>>>,
    pub offload: bool,
    pub full: bool,
    /// The timestamp that was sent last.
    pub tsval: u32,
    /// How many packets were sent.
    pub sent: usize,
}

impl Device for Wire {
    fn send(&mut self, hdr: &VnetHdr, parts: &[&[u8]]) -> Sent {
        if self.full {
            return Sent::Full;
        }
        let packet = parts.concat();
        assert!(packet.len() <= 65_535, "a packet of {} bytes", packet.len());
        assert!(
            self.offload || packet.len() <= 1500,
            "{} bytes",
            packet.len()
        );
        // What this host sends, anybody must understand.
        match wire::parse(&packet, hdr.flags & VnetHdr::NEEDS_CSUM != 0) {
            Ok(Packet::Tcp { segment, .. }) => {
                self.tsval = segment.options.timestamps.map_or(self.tsval, |t| t.0);
            }
            Ok(_) | Err(wire::Malformed::Fragment) => {}
            Err(wire::Malformed::BadHeader)
                if packet[0] >> 4 == 4
                    && !stay_in_order(&packet[20..4 * usize::from(packet[0] & 15)]) => {}
            // A source route may lead by any address.
            Err(wire::Malformed::BadHeader)
                if packet[0] > 0x45 && (packet[16] >> 4 == 0xe || packet[16..20] == [255; 4]) => {}
            Err(_) if count_is_full(&packet) => {}
            Err(e) => panic!("sent what is {e:?}: {packet:?}"),
        }
        self.sent += 1;
        if let Some(outward) = &mut self.outward {
            outward.push(packet);
        }
        Sent::Done
    }
    fn recv_parts(&mut self, parts: &mut [&mut [u8]]) -> Option<(VnetHdr, usize)> {
        let (hdr, packet) = self.inward.pop_front()?;
        let mut rest = &packet[..];
        for part in parts {
            let n = rest.len().min(part.len());
            part[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
        }
        Some((hdr, packet.len() - rest.len()))
    }
    fn mtu(&self) -> u16 {
        1500
    }
    fn offload(&self) -> bool {
        self.offload
    }
}

/// An IPv4 timestamp's count of hosts that found no room is full: nobody takes that any more.
fn count_is_full(packet: &[u8]) -> bool {
    let options = packet.get(20..usize::from(packet[0] & 15) * 4);
    let full = |w: &[u8]| w[0] == 68 && w[3] >> 4 == 15;
    packet[0] >> 4 == 4 && options.is_some_and(|o| o.windows(4).any(full))
}

/// The IPv4 address of host `n`.
pub const fn v4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

/// The IPv6 address of host `n`.
pub const fn v6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n as u16)
}

pub struct Rig {
    pub arena: Arena<Shared>,
    pub wire: Wire,
    pub now: Instant,
    pub sysctl: Sysctl,
}

impl Rig {
    /// Host `n`.
    pub fn new(n: u8, offload: bool, sysctl: Sysctl) -> Rig {
        let arena = Arena::<Shared>::private().expect("memory");
        {
            let mut sh = arena.lock();
            sh.secret = [n; 16];
            (sh.config.addr4, sh.config.prefix4) = (Addr::v4(v4(n)), 24);
            (sh.config.addr6, sh.config.prefix6) = (Addr::v6(v6(n)), 64);
            (sh.config.mtu, sh.config.has_device) = (1500, true);
            sh.config.offload = offload;
        }
        Rig {
            arena,
            wire: Wire {
                offload,
                ..Wire::default()
            },
            now: Instant(1_000_000_000),
            sysctl,
        }
    }

    /// Let the host do something, and look whether all is well.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut Host<'_>) -> R) -> R {
        let mut guard = self.arena.lock();
        let mut host = Host {
            sh: &mut guard,
            device: &mut self.wire,
            now: self.now,
            pid: 1,
            tid: 1,
            wakes: WakeSet::default(),
        };
        let r = f(&mut host);
        host.finish();
        let wrong = host.check();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        r
    }

    /// A packet is put on the wire; [`Host::receive`] takes it in.
    pub fn arrives(&mut self, packet: Vec<u8>) {
        let hdr = VnetHdr {
            flags: if self.wire.offload {
                VnetHdr::DATA_VALID
            } else {
                0
            },
            ..VnetHdr::PLAIN
        };
        self.wire.inward.push_back((hdr, packet));
    }

    /// A TCP packet of several on the wire, which carry `size` bytes each, is put on it.
    pub fn arrives_large(&mut self, packet: Vec<u8>, size: u16) {
        let hdr = VnetHdr {
            flags: VnetHdr::DATA_VALID,
            gso_type: if packet[0] >> 4 == 4 {
                VnetHdr::GSO_TCPV4
            } else {
                VnetHdr::GSO_TCPV6
            },
            gso_size: size,
            ..VnetHdr::PLAIN
        };
        self.wire.inward.push_back((hdr, packet));
    }

    /// Whatever is on the wire is taken in.
    pub fn receive(&mut self) {
        self.with(|h| h.receive(64));
    }

    /// To the next timer; false if there is none.
    pub fn run_next_timer(&mut self) -> bool {
        let next = self.with(|h| h.next_deadline());
        if next == Instant::NEVER {
            return false;
        }
        self.now = self.now.max(next);
        self.with(|h| h.run_timers());
        true
    }

    /// Hours later nothing is left of sockets that were closed.
    pub fn let_all_end(&mut self) {
        self.wire.full = false;
        self.with(|h| h.receive(1000));
        for _ in 0..2000 {
            if !self.run_next_timer() {
                break;
            }
        }
        self.with(|h| {
            let mut left = Vec::new();
            h.table(|row| left.push(row));
            assert_eq!(h.sh.sockets.in_use(), 0, "{left:#?}");
            assert_eq!((h.sh.chunks.in_use(), h.sh.buffers.in_use()), (0, (0, 0)));
        });
    }
}

/// A TCP segment in an IP packet, checksums right.
pub fn tcp_packet(src: IpAddr, dst: IpAddr, segment: &Segment, payload: &[u8]) -> Vec<u8> {
    tcp_packet_with(src, dst, &[], segment, payload)
}

/// The same with IPv4 options, which may be any bytes.
pub fn tcp_packet_with(
    src: IpAddr,
    dst: IpAddr,
    options: &[u8],
    segment: &Segment,
    payload: &[u8],
) -> Vec<u8> {
    let mut headers = [0; MAX_HEADERS];
    let (full, parts, list) = (Checksum::Full, [payload], IpOptions::received(options));
    let out = &mut headers;
    let header = IpHeader {
        options: &list,
        ..IpHeader::between(src, dst)
    };
    let (n, _) = wire::emit_tcp(&header, segment, &parts, full, out);
    [&headers[..n], payload].concat()
}

/// The Internet checksum of `bytes`, into the two at `at`.
pub fn fill_in(bytes: &mut [u8], at: usize) {
    bytes[at..at + 2].fill(0);
    let mut sum = Sum::new();
    sum.add(bytes);
    let sum = sum.checksum().to_be_bytes();
    bytes[at..at + 2].copy_from_slice(&sum);
}

/// An ICMP error from `src` to `dst` about a segment that `dst` is said to have sent from port
/// `from` to `to`; `rest` are bytes 4 to 8 of the message.
pub fn icmp_error(
    (src, dst): (Ipv4Addr, Ipv4Addr),
    (kind, code): (u8, u8),
    rest: [u8; 4],
    quoted: (Ipv4Addr, u16, u16, u32),
) -> Vec<u8> {
    let (to, from_port, to_port, seq) = quoted;
    let mut inner = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    inner.extend(dst.octets().into_iter().chain(to.octets()));
    inner.extend(from_port.to_be_bytes());
    inner.extend(to_port.to_be_bytes());
    inner.extend(seq.to_be_bytes());
    let mut body = vec![kind, code, 0, 0];
    body.extend(rest);
    body.extend(inner);
    fill_in(&mut body, 2);
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 1, 0, 0];
    packet.extend(src.octets().into_iter().chain(dst.octets()));
    packet[3] = (20 + body.len()) as u8;
    fill_in(&mut packet, 10);
    packet.extend(body);
    packet
}
