//! Packets as a peer makes them, with their checksums.

use crate::tcp::{Flags, Options, Segment, SeqNum};
use crate::wire::{self, Checksum, IpHeader};
use core::net::{IpAddr, Ipv4Addr};

/// The host's IPv4 address.
pub const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Another host's.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// A TCP segment in a packet with this identification.
pub fn numbered(src: IpAddr, dst: IpAddr, segment: &Segment, data: &[u8], id: u16) -> Vec<u8> {
    let mut h = [0; wire::MAX_HEADERS];
    let full = Checksum::Full;
    let header = IpHeader {
        id,
        ..IpHeader::between(src, dst)
    };
    let (n, _) = wire::emit_tcp(&header, segment, &[data], full, &mut h);
    [&h[..n], data].concat()
}

/// A TCP segment in a packet.
pub fn tcp(src: IpAddr, dst: IpAddr, segment: &Segment, data: &[u8]) -> Vec<u8> {
    numbered(src, dst, segment, data, 1)
}

/// The same from `from` to this host.
pub fn to_us(from: Ipv4Addr, segment: &Segment, data: &[u8]) -> Vec<u8> {
    tcp(from.into(), US.into(), segment, data)
}

/// A SYN from `port` to port 80.
pub fn syn(port: u16) -> Segment {
    Segment {
        src_port: port,
        dst_port: 80,
        seq: SeqNum(1000),
        flags: Flags::SYN,
        window: 60_000,
        options: Options {
            mss: Some(1460),
            sack_permitted: true,
            ..Options::default()
        },
        ..Segment::default()
    }
}

/// The ACK that completes the handshake that `answer`, a SYN+ACK, is a part of; what follows may
/// be made of it.
pub fn completes(answer: &Segment) -> Segment {
    Segment {
        src_port: answer.dst_port,
        dst_port: answer.src_port,
        seq: answer.ack,
        ack: answer.seq + 1,
        flags: Flags::ACK,
        window: 60_000,
        ..Segment::default()
    }
}

/// An IPv4 packet of any protocol.
pub fn ipv4(from: [u8; 4], to: [u8; 4], proto: u8, ttl: u8, body: &[u8]) -> Vec<u8> {
    let [l0, l1] = ((20 + body.len()) as u16).to_be_bytes();
    let mut p = vec![0x45, 0, l0, l1, 0, 9, 0, 0, ttl, proto, 0, 0];
    p.extend(from);
    p.extend(to);
    mend_ipv4(&mut p);
    p.extend(body);
    p
}

/// Make the checksum of an IPv4 header without options right.
pub fn mend_ipv4(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let mut sum = wire::Sum::new();
    sum.add(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
}

/// An ICMP message whose checksum is right.
pub fn icmp(mut message: Vec<u8>) -> Vec<u8> {
    let mut sum = wire::Sum::new();
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    message
}
