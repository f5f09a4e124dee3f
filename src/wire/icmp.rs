//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, errors about this host's segments, and those
//! that it sends itself.

use super::ip::{self, IPV4_HEADER, IPV6_HEADER, Ip};
use super::protocol::{ICMP, ICMPV6, TCP};
use super::{ErrorMessage, IcmpError, Malformed, Packet, Sum, be16, be32};
use crate::tcp::SeqNum;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
use etherparse::icmpv6::DestUnreachableCode;
use etherparse::{Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type};

/// The ICMP header: type, code, checksum and four bytes whose meaning depends on the type.
const ICMP_HEADER: usize = 8;

const V4_ECHO_REPLY: u8 = 0;
const V4_UNREACHABLE: u8 = 3;
const V4_QUENCH: u8 = 4;
const V4_ECHO: u8 = 8;
const V4_TIME_EXCEEDED: u8 = 11;
const V4_PARAMETER_PROBLEM: u8 = 12;
const V4_PROTOCOL_UNREACHABLE: u8 = 2;
const V4_PORT_UNREACHABLE: u8 = 3;

const V4_FRAGMENTATION_NEEDED: u8 = 4;

const V6_UNREACHABLE: u8 = 1;
const V6_TOO_BIG: u8 = 2;
const V6_TIME_EXCEEDED: u8 = 3;
const V6_PARAMETER_PROBLEM: u8 = 4;
const V6_ECHO: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;
const V6_PORT_UNREACHABLE: u8 = 4;
const V6_UNKNOWN_HEADER: u8 = 1;
const V6_INCOMPLETE_HEADER: u8 = 3;

/// The code of a time that was exceeded in reassembly.
const REASSEMBLY: u8 = 1;

/// Hops that this host's own ICMP messages may make.
const TTL: u8 = 64;

/// Linux sends its IPv4 errors with precedence "internetwork control" (RFC 1812, section
/// 4.3.2.5).
// RFC 1122 S3.2.2-4
const TOS_ERROR: u8 = 0xc0;

/// Read an ICMP message.
pub(super) fn parse_v4<'a>(ip: &Ip<'a>, verified: bool) -> Result<Packet<'a>, Malformed> {
    let message = Icmpv4Slice::from_slice(ip.body).map_err(|_| Malformed::Truncated)?;
    if !verified {
        let mut sum = Sum::new();
        sum.add(ip.body);
        if sum.fold() != 0xffff {
            return Err(Malformed::Checksum);
        }
    }
    let quoted = ip.body.get(ICMP_HEADER..).unwrap_or_default();
    match message.type_u8() {
        V4_ECHO => echo(ip),
        V4_UNREACHABLE | V4_QUENCH | V4_TIME_EXCEEDED | V4_PARAMETER_PROBLEM => {
            let Some((local, remote, seq)) = quoted_v4(quoted) else {
                return Ok(other(ip));
            };
            Ok(Packet::Error {
                from: ip.src,
                local,
                remote,
                seq,
                kind: kind_v4(&message.icmp_type()),
            })
        }
        _ => Ok(other(ip)),
    }
}

/// Read an ICMPv6 message.
pub(super) fn parse_v6<'a>(ip: &Ip<'a>, verified: bool) -> Result<Packet<'a>, Malformed> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src, ip.dst) else {
        return Err(Malformed::BadHeader);
    };
    let message = Icmpv6Slice::from_slice(ip.body).map_err(|_| Malformed::Truncated)?;
    if !verified {
        let mut sum = Sum::new();
        sum.add_pseudo_header(&src.octets(), &dst.octets(), ICMPV6, ip.body.len());
        sum.add(ip.body);
        if sum.fold() != 0xffff {
            return Err(Malformed::Checksum);
        }
    }
    let quoted = ip.body.get(ICMP_HEADER..).unwrap_or_default();
    match message.type_u8() {
        V6_ECHO => echo(ip),
        V6_UNREACHABLE..=V6_PARAMETER_PROBLEM => {
            let Some((local, remote, seq)) = quoted_v6(quoted) else {
                return Ok(other(ip));
            };
            Ok(Packet::Error {
                from: ip.src,
                local,
                remote,
                seq,
                kind: kind_v6(&message.icmp_type()),
            })
        }
        _ => Ok(other(ip)),
    }
}

fn echo<'a>(ip: &Ip<'a>) -> Result<Packet<'a>, Malformed> {
    let unspecified = match ip.src {
        IpAddr::V4(a) => a.octets()[0] == 0,
        IpAddr::V6(a) => a.is_unspecified(),
    };
    if unspecified {
        return Err(Malformed::BadHeader);
    }
    Ok(Packet::Echo {
        src: ip.src,
        dst: ip.dst,
        body: ip.body.get(4..).unwrap_or_default(),
    })
}

// RFC 1122 S3.2.2-1
fn other<'a>(ip: &Ip<'a>) -> Packet<'a> {
    Packet::Other {
        src: ip.src,
        dst: ip.dst,
        proto: ip.proto,
        body: ip.body,
    }
}

/// Source, destination and sequence number of a quoted segment.
type Quoted = ((IpAddr, u16), (IpAddr, u16), SeqNum);

/// The quoted packet's header is ours as the sender of the error saw it; only as much of the
/// segment as RFC 792 promises (8 bytes) is needed.
fn quoted_v4(quoted: &[u8]) -> Option<Quoted> {
    let h = quoted.first_chunk::<IPV4_HEADER>()?;
    let header_len = usize::from(h[0] & 15) * 4;
    let offset = be16([h[6], h[7]]) & 0x1fff;
    if h[0] >> 4 != 4 || header_len < IPV4_HEADER || offset != 0 || h[9] != TCP {
        return None;
    }
    let src = Ipv4Addr::new(h[12], h[13], h[14], h[15]);
    let dst = Ipv4Addr::new(h[16], h[17], h[18], h[19]);
    quoted_segment(src.into(), dst.into(), quoted.get(header_len..)?)
}

/// This stack sends TCP without extension headers, so a quoted packet that has some isn't its.
fn quoted_v6(quoted: &[u8]) -> Option<Quoted> {
    let (h, rest) = quoted.split_first_chunk::<IPV6_HEADER>()?;
    if h[0] >> 4 != 6 || h[6] != TCP {
        return None;
    }
    let (_, addresses) = h.split_at(8);
    let src = Ipv6Addr::from(*addresses.first_chunk::<16>()?);
    let dst = Ipv6Addr::from(*addresses.last_chunk::<16>()?);
    quoted_segment(src.into(), dst.into(), rest)
}

fn quoted_segment(src: IpAddr, dst: IpAddr, segment: &[u8]) -> Option<Quoted> {
    let &[s0, s1, d0, d1, q0, q1, q2, q3] = segment.first_chunk::<8>()?;
    Some((
        (src, be16([s0, s1])),
        (dst, be16([d0, d1])),
        SeqNum(be32([q0, q1, q2, q3])),
    ))
}

/// What the codes mean to a connection: the grouping of Linux's `icmp_err_convert`, in which
/// IPv4's prohibitions are unreachable networks and hosts.
// RFC 1122 S3.2.2.1-2, S3.2.2.4-1, S3.2.2.5-2
fn kind_v4(message: &Icmpv4Type) -> IcmpError {
    use DestUnreachableHeader as D;
    match message {
        Icmpv4Type::DestinationUnreachable(code) => match code {
            D::Network => IcmpError::NetUnreachable,
            D::Host => IcmpError::HostUnreachable,
            D::NetworkUnknown | D::NetworkProhibited | D::TosNetwork => IcmpError::NetUnknown,
            D::HostUnknown
            | D::Isolated
            | D::HostProhibited
            | D::TosHost
            | D::FilterProhibited
            | D::HostPrecedenceViolation
            | D::PrecedenceCutoff => IcmpError::HostUnknown,
            D::Protocol => IcmpError::ProtocolUnreachable,
            D::Port => IcmpError::PortUnreachable,
            D::FragmentationNeeded { next_hop_mtu } => IcmpError::TooBig(u32::from(*next_hop_mtu)),
            D::SourceRouteFailed => IcmpError::Other,
        },
        // Running out of time to reassemble is not the path's fault; Linux ignores it, too.
        Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit) => IcmpError::TimeExceeded,
        Icmpv4Type::ParameterProblem(_) => IcmpError::ParameterProblem,
        _ => IcmpError::Other,
    }
}

/// As [`kind_v4`], after `icmpv6_err_convert`.
fn kind_v6(message: &Icmpv6Type) -> IcmpError {
    use DestUnreachableCode as D;
    match message {
        Icmpv6Type::DestinationUnreachable(code) => match code {
            D::NoRoute => IcmpError::NetUnreachable,
            D::Prohibited | D::SourceAddressFailedPolicy | D::RejectRoute => IcmpError::Prohibited,
            D::BeyondScope | D::Address => IcmpError::HostUnknown,
            D::Port => IcmpError::PortUnreachable,
        },
        Icmpv6Type::PacketTooBig { mtu } => IcmpError::TooBig(*mtu),
        Icmpv6Type::TimeExceeded(_) => IcmpError::TimeExceeded,
        Icmpv6Type::ParameterProblem(_) => IcmpError::ParameterProblem,
        _ => IcmpError::Other,
    }
}

/// Write an echo reply; see [`super::emit_echo_reply`].
// RFC 1122 S3.2.2.6-1, S3.2.2.6-2, S3.2.2.6-3
pub(super) fn emit_echo_reply(
    src: IpAddr,
    dst: IpAddr,
    body: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let kind = match src {
        IpAddr::V4(_) => V4_ECHO_REPLY,
        IpAddr::V6(_) => V6_ECHO_REPLY,
    };
    emit(src, dst, [kind, 0], 0, [body, &[]], out)
}

/// See [`super::make_echo_reply`].
pub(super) fn make_echo_reply(src: IpAddr, dst: IpAddr, id: u16, packet: &mut [u8]) -> Option<()> {
    let mut sum = Sum::new();
    let (kind, message) = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (header, message) = packet.split_first_chunk_mut::<IPV4_HEADER>()?;
            if message.len() > 0xffff - IPV4_HEADER {
                return None;
            }
            ip::emit_v4(header, (src, dst), ICMP, 0, TTL, id, message.len());
            super::allow_fragments(header);
            (V4_ECHO_REPLY, message)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (header, message) = packet.split_first_chunk_mut::<IPV6_HEADER>()?;
            if message.len() > 0xffff {
                return None;
            }
            ip::emit_v6(header, (src, dst), ICMPV6, 0, TTL, message.len());
            sum.add_pseudo_header(&src.octets(), &dst.octets(), ICMPV6, message.len());
            (V6_ECHO_REPLY, message)
        }
        _ => return None,
    };
    let head = message.first_chunk_mut::<4>()?;
    *head = [kind, 0, 0, 0];
    sum.add(message);
    let [c0, c1] = sum.checksum().to_be_bytes();
    let head = message.first_chunk_mut::<4>()?;
    *head = [kind, 0, c0, c1];
    Some(())
}

/// See [`super::emit_icmp_error`].
// RFC 1122 S3.2.2-2, S3.3.8-1, S3.2.2.1-1, S3.2.2.5-1
pub(super) fn emit_error(
    message: ErrorMessage,
    src: IpAddr,
    dst: IpAddr,
    original: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let v4 = src.is_ipv4();
    // Type, code, and the rest of the header.
    let (kind, code, rest) = match message {
        ErrorMessage::PortUnreachable if v4 => (V4_UNREACHABLE, V4_PORT_UNREACHABLE, 0),
        ErrorMessage::PortUnreachable => (V6_UNREACHABLE, V6_PORT_UNREACHABLE, 0),
        ErrorMessage::ProtocolUnreachable if v4 => (V4_UNREACHABLE, V4_PROTOCOL_UNREACHABLE, 0),
        ErrorMessage::ProtocolUnreachable => {
            // Where it says which header follows.
            let at = u32::try_from(ip::last_next_header(original)?).ok()?;
            (V6_PARAMETER_PROBLEM, V6_UNKNOWN_HEADER, at)
        }
        ErrorMessage::ReassemblyTimeout if v4 => (V4_TIME_EXCEEDED, REASSEMBLY, 0),
        ErrorMessage::ReassemblyTimeout => (V6_TIME_EXCEEDED, REASSEMBLY, 0),
        // There is no such thing in IPv4.
        ErrorMessage::IncompleteHeader if v4 => return None,
        ErrorMessage::IncompleteHeader => (V6_PARAMETER_PROBLEM, V6_INCOMPLETE_HEADER, 0),
        // RFC 1191 has 16 bits for it, behind two bytes that are zero: the same place.
        ErrorMessage::TooBig(mtu) if v4 => (V4_UNREACHABLE, V4_FRAGMENTATION_NEEDED, mtu),
        ErrorMessage::TooBig(mtu) => (V6_TOO_BIG, 0, mtu),
    };
    let (tos, most) = match v4 {
        // RFC 1812, section 4.3.2.3: as much as fits in 576 bytes.
        true => (TOS_ERROR, 576 - IPV4_HEADER - ICMP_HEADER),
        // RFC 4443, section 2.4 (c): as much as fits in the least MTU.
        false => (0, 1280 - IPV6_HEADER - ICMP_HEADER),
    };
    let quoted = original.get(..most).unwrap_or(original);
    let parts = [&rest.to_be_bytes()[..], quoted];
    emit(src, dst, [kind, code], tos, parts, out)
}

/// Write a whole packet: IP header, type and code, checksum, `parts`. `None` if it doesn't fit
/// in `out` or in an IP packet, or the addresses are of different families.
fn emit(
    src: IpAddr,
    dst: IpAddr,
    type_and_code: [u8; 2],
    tos: u8,
    parts: [&[u8]; 2],
    out: &mut [u8],
) -> Option<usize> {
    let body_len = 4 + parts[0].len() + parts[1].len();
    if body_len > 0xffff - IPV4_HEADER {
        return None;
    }
    let mut sum = Sum::new();
    let ip_len = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header = out.first_chunk_mut::<IPV4_HEADER>()?;
            ip::emit_v4(header, (src, dst), ICMP, tos, TTL, 0, body_len);
            IPV4_HEADER
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = out.first_chunk_mut::<IPV6_HEADER>()?;
            ip::emit_v6(header, (src, dst), ICMPV6, tos, TTL, body_len);
            sum.add_pseudo_header(&src.octets(), &dst.octets(), ICMPV6, body_len);
            IPV6_HEADER
        }
        _ => return None,
    };
    sum.add(&type_and_code);
    for part in parts {
        sum.add(part);
    }
    let message = out.get_mut(ip_len..ip_len + body_len)?;
    let (header, rest) = message.split_first_chunk_mut::<4>()?;
    let [c0, c1] = sum.checksum().to_be_bytes();
    *header = [type_and_code[0], type_and_code[1], c0, c1];
    let (first, second) = rest.split_at_mut_checked(parts[0].len())?;
    first.copy_from_slice(parts[0]);
    second.copy_from_slice(parts[1]);
    Some(ip_len + body_len)
}
