//! Headers on the wire: parsing and emitting IPv4, IPv6, TCP and ICMP, checksums, options.
//!
//! The usual packet (TCP directly after an IP header without options) is read here in one pass
//! over fixed offsets; extension headers and ICMP types go through etherparse's slices. Nothing
//! allocates.
#![forbid(unsafe_code)]

mod checksum;
mod cut;
pub mod fragment;
mod icmp;
mod ip;
mod ip_options;
pub mod protocol;
mod tcp;
#[cfg(test)]
mod tests;

pub use checksum::Sum;
pub use cut::{Cut, complete_checksum, is_bare_ack, may_fragment};
pub use ip::IPV4_HEADER;
pub use ip_options::{IpOptions, MAX_IP_OPTIONS, Mark, Refused};
pub use tcp::CHECKSUM_AT;

use crate::tcp::Segment;
use core::net::IpAddr;

/// The longest IP plus TCP header this stack emits: IPv4 with options (60) and TCP (60).
pub const MAX_HEADERS: usize = 120;

/// What a packet turned out to be. Slices point into the packet.
#[derive(Debug)]
pub enum Packet<'a> {
    /// A TCP segment for somebody.
    Tcp {
        /// Source address.
        src: IpAddr,
        /// Destination address.
        dst: IpAddr,
        /// The header; `len` is the payload's length.
        segment: Segment,
        /// Where in the packet the payload starts; it is `segment.len` bytes long.
        payload: usize,
        /// The IPv4 TOS or IPv6 traffic class.
        tos: u8,
        /// IPv4's options, which are in order.
        ip_options: &'a [u8],
    },
    /// An echo request, to be answered with the same identifier, sequence number and data.
    Echo {
        /// Source address.
        src: IpAddr,
        /// Destination address.
        dst: IpAddr,
        /// The ICMP message after its checksum: identifier, sequence number, data.
        body: &'a [u8],
    },
    /// An ICMP error about a TCP segment that this host sent.
    Error {
        /// Who reported it.
        from: IpAddr,
        /// The quoted segment's source (us), destination and sequence number.
        local: (IpAddr, u16),
        /// The quoted segment's destination.
        remote: (IpAddr, u16),
        /// The quoted sequence number.
        seq: crate::tcp::SeqNum,
        /// What is wrong.
        kind: IcmpError,
    },
    /// A datagram or other protocol; `proto` is the IP protocol number.
    Other {
        /// Source address.
        src: IpAddr,
        /// Destination address.
        dst: IpAddr,
        /// IP protocol number.
        proto: u8,
        /// The transport header and payload.
        body: &'a [u8],
    },
}

/// ICMP and ICMPv6 errors by meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpError {
    /// Network unreachable / no route to destination.
    NetUnreachable,
    /// Host unreachable.
    HostUnreachable,
    /// Network unknown, prohibited, or unreachable for the type of service: for good, perhaps.
    NetUnknown,
    /// As [`IcmpError::NetUnknown`], of a host / address unreachable.
    HostUnknown,
    /// Protocol unreachable.
    ProtocolUnreachable,
    /// Port unreachable.
    PortUnreachable,
    /// Fragmentation needed / packet too big, with the next hop's MTU (0: not told).
    TooBig(u32),
    /// Administratively prohibited.
    Prohibited,
    /// Time exceeded.
    TimeExceeded,
    /// Parameter problem.
    ParameterProblem,
    /// Any other.
    Other,
}

/// Why a packet was not understood; it is dropped and counted under this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Shorter than its headers say.
    Truncated,
    /// A header field out of its range.
    BadHeader,
    /// IP, TCP or ICMP checksum wrong.
    Checksum,
    /// A piece of a packet, for [`fragment::parse`].
    Fragment,
}

/// Parse one IP packet. `verified`: the transport checksum is known to be good or left to be
/// filled in by offload, and is not looked at. What follows the IP packet's end is ignored.
///
/// A source that can't be one (multicast, broadcast) is refused in every packet, one that is
/// unspecified where an answer would go to it; whether the addresses fit the interface
/// (127.0.0.1 from outside, a subnet's broadcast) is for the caller to say.
#[inline]
// RFC 1122 S3.1-1
pub fn parse(packet: &[u8], verified: bool) -> Result<Packet<'_>, Malformed> {
    let ip = ip::parse(packet)?;
    match (ip.proto, ip.src) {
        (protocol::TCP, _) => parse_tcp(&ip, verified),
        (protocol::ICMP, IpAddr::V4(_)) => icmp::parse_v4(&ip, verified),
        (protocol::ICMPV6, IpAddr::V6(_)) => icmp::parse_v6(&ip, verified),
        _ => Ok(Packet::Other {
            src: ip.src,
            dst: ip.dst,
            proto: ip.proto,
            body: ip.body,
        }),
    }
}

// RFC 9293 MUST-3
#[inline]
fn parse_tcp<'a>(ip: &ip::Ip<'a>, verified: bool) -> Result<Packet<'a>, Malformed> {
    if ip::not_unicast(ip.src) || ip::not_unicast(ip.dst) {
        return Err(Malformed::BadHeader);
    }
    let (segment, header_len) = tcp::parse(ip.body)?;
    if !verified {
        let mut sum = Sum::new();
        let dst = final_destination(ip.dst, ip.options);
        add_pseudo_header(&mut sum, ip.src, dst, ip.body.len());
        sum.add(ip.body);
        if sum.fold() != 0xffff {
            return Err(Malformed::Checksum);
        }
    }
    Ok(Packet::Tcp {
        src: ip.src,
        dst: ip.dst,
        segment: Segment {
            ecn: ip.tos & 3,
            ..segment
        },
        payload: ip.start + header_len,
        tos: ip.tos,
        ip_options: ip.options,
    })
}

/// Where a packet to `dst` goes in the end, by the source route in its options.
#[inline]
fn final_destination(dst: IpAddr, options: &[u8]) -> IpAddr {
    if options.is_empty() {
        return dst;
    }
    ip_options::destination(options).map_or(dst, IpAddr::V4)
}

fn add_pseudo_header(sum: &mut Sum, src: IpAddr, dst: IpAddr, len: usize) {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            sum.add_pseudo_header(&src.octets(), &dst.octets(), protocol::TCP, len);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            sum.add_pseudo_header(&src.octets(), &dst.octets(), protocol::TCP, len);
        }
        _ => debug_assert!(false, "addresses of different families"),
    }
}

/// How the transport checksum of an emitted segment is to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// In full, over these payload parts.
    Full,
    /// Pseudo-header only; the device does the rest (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    Partial,
}

/// What the IP header of a packet to be emitted says, beside its lengths.
#[derive(Clone, Copy, Debug)]
pub struct IpHeader<'a> {
    /// Of the same family as `dst`.
    pub src: IpAddr,
    /// The other end.
    pub dst: IpAddr,
    /// IPv4 TOS or IPv6 traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4's identification.
    pub id: u16,
    /// IPv4's; they count for nothing in IPv6.
    pub options: &'a IpOptions,
}

impl IpHeader<'_> {
    /// Nothing special: TTL 64, no options, identification 0.
    pub const fn between(src: IpAddr, dst: IpAddr) -> IpHeader<'static> {
        IpHeader {
            src,
            dst,
            tos: 0,
            ttl: 64,
            id: 0,
            options: &IpOptions::NONE,
        }
    }
}

/// Write the IP and TCP headers of `segment` into `out`; returns their length and the IP header's length.
/// `payload` is what will follow (for lengths and, with [`Checksum::Full`], the checksum). DF is set.
///
/// The addresses are of one family (else nothing is written and both lengths are 0), and
/// headers and payload fit in one IP packet of at most 65,535 bytes. SACK blocks that don't fit
/// in the header are left out.
#[inline]
pub fn emit_tcp(
    header: &IpHeader<'_>,
    segment: &Segment,
    payload: &[&[u8]],
    checksum: Checksum,
    out: &mut [u8; MAX_HEADERS],
) -> (usize, usize) {
    let &IpHeader {
        src,
        dst,
        tos,
        ttl,
        id,
        options,
    } = header;
    let options = options.as_bytes();
    let (ip_len, last) = match (src, dst) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (
            ip::IPV4_HEADER + options.len(),
            final_destination(dst, options),
        ),
        (IpAddr::V6(_), IpAddr::V6(_)) => (ip::IPV6_HEADER, dst),
        _ => {
            debug_assert!(false, "addresses of different families");
            return (0, 0);
        }
    };
    let (ip_out, tcp_out) = out.split_at_mut(ip_len);
    let Some(tcp_out) = tcp_out.first_chunk_mut::<{ tcp::MAX_HEADER }>() else {
        return (0, 0);
    };
    let tcp_len = tcp::emit(segment, tcp_out);
    let body_len = payload.iter().fold(tcp_len, |len, part| len + part.len());

    let mut sum = Sum::new();
    add_pseudo_header(&mut sum, src, last, body_len);
    // RFC 9293 MUST-2
    let sum = match checksum {
        Checksum::Partial => sum.fold(),
        Checksum::Full => {
            sum.add(tcp_out.get(..tcp_len).unwrap_or_default());
            for part in payload {
                sum.add(part);
            }
            sum.checksum()
        }
    };
    [tcp_out[CHECKSUM_AT], tcp_out[CHECKSUM_AT + 1]] = sum.to_be_bytes();

    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            if let Some((h, rest)) = ip_out.split_first_chunk_mut() {
                ip::emit_v4(
                    h,
                    (src, dst),
                    protocol::TCP,
                    tos,
                    ttl,
                    id,
                    rest.len() + body_len,
                );
                if !options.is_empty() {
                    rest.copy_from_slice(options);
                    ip::has_options(ip_out);
                }
            }
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            if let Some(h) = ip_out.first_chunk_mut() {
                ip::emit_v6(h, (src, dst), protocol::TCP, tos, ttl, body_len);
            }
        }
        _ => {}
    }
    (ip_len + tcp_len, ip_len)
}

/// Write an echo reply to `out`; returns its length, or `None` when it does not fit.
/// `src` answers `dst`; `body` is as in [`Packet::Echo`].
pub fn emit_echo_reply(src: IpAddr, dst: IpAddr, body: &[u8], out: &mut [u8]) -> Option<usize> {
    icmp::emit_echo_reply(src, dst, body, out)
}

/// What this host says of a packet by ICMP or ICMPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorMessage {
    /// Nobody has the datagram's port.
    PortUnreachable,
    /// Nobody here knows the protocol: "protocol unreachable" (RFC 792), or ICMPv6's
    /// "unrecognized next header" (RFC 4443, section 3.4).
    ProtocolUnreachable,
    /// Its other pieces did not come in time (RFC 792; RFC 4443, section 3.3).
    ReassemblyTimeout,
    /// IPv6: the first piece lacks a part of the header chain (RFC 8200, section 4.5).
    IncompleteHeader,
    /// A router's: the next link carries so many bytes. "Fragmentation needed" (RFC 1191, section
    /// 4) or "packet too big" (RFC 4443, section 3.2).
    TooBig(u32),
}

/// Write `message` from `src` to `dst`, quoting the IP packet `original` or its first piece; returns
/// the length, or `None` when it does not fit.
///
/// The caller sees to it that no multicast, broadcast or ICMP error is answered (RFC 1122,
/// section 3.2.2; RFC 4443, section 2.4 (e)) and limits the rate.
pub fn emit_icmp_error(
    message: ErrorMessage,
    src: IpAddr,
    dst: IpAddr,
    original: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    icmp::emit_error(message, src, dst, original, out)
}

/// Make `packet` an echo reply from `src` to `dst`: the request's ICMP message, behind room for an
/// IP header without options. False if it is no such thing.
pub fn make_echo_reply(src: IpAddr, dst: IpAddr, id: u16, packet: &mut [u8]) -> bool {
    icmp::make_echo_reply(src, dst, id, packet).is_some()
}

/// Take DF out of an IPv4 header: routers may cut the packet.
pub fn allow_fragments(packet: &mut [u8]) {
    let Some(&[first, _, _, _, _, _, flags]) = packet.first_chunk() else {
        return;
    };
    let header = packet.get_mut(..usize::from(first & 15) * 4);
    if let Some(h) = header.filter(|h| first >> 4 == 4 && h.len() >= ip::IPV4_HEADER)
        && flags & 0x40 != 0
    {
        h[6] &= !0x40;
        ip::sum_v4(h);
    }
}

/// Source and destination of an IP packet, as its header has them.
pub fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at| {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::from(bytes))
    };
    let v6 = |at| {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::from(bytes))
    };
    match packet.first()? >> 4 {
        4 => Some((v4(12)?, v4(16)?)),
        6 => Some((v6(8)?, v6(24)?)),
        _ => None,
    }
}

/// An address and a port.
pub type Endpoint = (IpAddr, u16);

/// Source and destination of a TCP segment, or of anything else with port numbers.
pub fn endpoints(packet: &[u8]) -> Option<(Endpoint, Endpoint)> {
    let (src, dst) = addresses(packet)?;
    let at = match src {
        IpAddr::V4(_) => usize::from(packet.first()? & 15) * 4,
        IpAddr::V6(_) => 40,
    };
    let &[a, b, c, d] = packet.get(at..)?.first_chunk()?;
    Some(((src, be16([a, b])), (dst, be16([c, d]))))
}

/// The length of `options` as emitted, padded to a multiple of four.
pub fn options_len(options: &crate::tcp::Options) -> usize {
    tcp::options_len(options)
}

const fn be16(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}

const fn be32(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}
