//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers, down to the transport header.

use super::protocol::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
use super::{Malformed, Sum, be16, ip_options};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use etherparse::{Ipv6FragmentHeaderSlice, Ipv6RawExtHeaderSlice};

/// An IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// An IPv6 header without extension headers.
pub(super) const IPV6_HEADER: usize = 40;

/// An IP packet taken apart.
#[derive(Debug)]
pub(super) struct Ip<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    /// IPv4 TOS or IPv6 traffic class.
    pub(super) tos: u8,
    /// IPv4's, which are in order.
    pub(super) options: &'a [u8],
    /// What `body` is.
    pub(super) proto: u8,
    /// Where `body` starts in the packet.
    pub(super) start: usize,
    /// The transport header and payload, without link padding.
    pub(super) body: &'a [u8],
}

/// Read the IP headers of `packet`.
#[inline]
pub(super) fn parse(packet: &[u8]) -> Result<Ip<'_>, Malformed> {
    match packet.first() {
        None => Err(Malformed::Truncated),
        Some(b) if b >> 4 == 4 => parse_v4(packet),
        Some(b) if b >> 4 == 6 => parse_v6(packet),
        // RFC 1122 S3.2.1.1-1
        Some(_) => Err(Malformed::BadHeader),
    }
}

// RFC 1122 S3.2.1.7-2
#[inline]
fn parse_v4(packet: &[u8]) -> Result<Ip<'_>, Malformed> {
    let Some(h) = packet.first_chunk::<IPV4_HEADER>() else {
        return Err(Malformed::Truncated);
    };
    let header_len = usize::from(h[0] & 15) * 4;
    let total_len = usize::from(be16([h[2], h[3]]));
    if header_len < IPV4_HEADER || total_len < header_len {
        return Err(Malformed::BadHeader);
    }
    let Some(packet) = packet.get(..total_len) else {
        return Err(Malformed::Truncated);
    };
    let Some((header, body)) = packet.split_at_checked(header_len) else {
        return Err(Malformed::Truncated);
    };
    let mut sum = Sum::new();
    sum.add(header);
    // RFC 1122 S3.2.1.2-1
    if sum.fold() != 0xffff {
        return Err(Malformed::Checksum);
    }
    // More fragments, or an offset; DF and the reserved bit don't matter.
    // RFC 1122 S3.2.2-7
    if be16([h[6], h[7]]) & 0x3fff != 0 {
        return Err(Malformed::Fragment);
    }
    let src = Ipv4Addr::new(h[12], h[13], h[14], h[15]);
    let dst = Ipv4Addr::new(h[16], h[17], h[18], h[19]);
    // RFC 1122, section 3.2.1.3 (f) and (g).
    // RFC 1122 S3.2.1.3-3
    if src.is_multicast() || src.is_broadcast() {
        return Err(Malformed::BadHeader);
    }
    let options = header.get(IPV4_HEADER..).unwrap_or_default();
    if !options.is_empty() {
        ip_options::check_received(options)?;
    }
    Ok(Ip {
        src: src.into(),
        dst: dst.into(),
        tos: h[1],
        options,
        proto: h[9],
        start: header_len,
        body,
    })
}

#[inline]
fn parse_v6(packet: &[u8]) -> Result<Ip<'_>, Malformed> {
    let Some((h, rest)) = packet.split_first_chunk::<IPV6_HEADER>() else {
        return Err(Malformed::Truncated);
    };
    let payload_len = usize::from(be16([h[4], h[5]]));
    let Some(payload) = rest.get(..payload_len) else {
        return Err(Malformed::Truncated);
    };
    let (_, addresses) = h.split_at(8);
    let (Some(src), Some(dst)) = (addresses.first_chunk::<16>(), addresses.last_chunk::<16>())
    else {
        return Err(Malformed::Truncated);
    };
    let (src, dst) = (Ipv6Addr::from(*src), Ipv6Addr::from(*dst));
    // RFC 4291, section 2.7 for the multicast source. An IPv4-mapped address is a matter between
    // program and socket (RFC 4038, section 4.2) and on the wire could only be there to deceive.
    if src.is_multicast() || is_mapped(src) || is_mapped(dst) {
        return Err(Malformed::BadHeader);
    }
    let (proto, body) = match h[6] {
        next @ (HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) => {
            skip_extensions(next, payload)?
        }
        proto => (proto, payload),
    };
    Ok(Ip {
        src: src.into(),
        dst: dst.into(),
        tos: h[0] << 4 | h[1] >> 4,
        options: &[],
        proto,
        start: IPV6_HEADER + payload.len() - body.len(),
        body,
    })
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// Walk the extension headers (RFC 8200, section 4) up to the first that isn't one this host
/// knows; an authentication header is such, as there are no keys to verify it with.
fn skip_extensions(first: u8, payload: &[u8]) -> Result<(u8, &[u8]), Malformed> {
    let mut next = first;
    let mut rest = payload;
    let mut at_start = true;
    loop {
        let len = match next {
            HOP_BY_HOP if !at_start => return Err(Malformed::BadHeader),
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => {
                let header =
                    Ipv6RawExtHeaderSlice::from_slice(rest).map_err(|_| Malformed::Truncated)?;
                if next == ROUTING {
                    // RFC 5095: nothing that is still to be routed is for this host.
                    let segments_left = header.payload().get(1);
                    if segments_left != Some(&0) {
                        return Err(Malformed::BadHeader);
                    }
                } else {
                    check_v6_options(header.payload())?;
                }
                next = header.next_header().0;
                header.slice().len()
            }
            FRAGMENT => {
                let header =
                    Ipv6FragmentHeaderSlice::from_slice(rest).map_err(|_| Malformed::Truncated)?;
                // An "atomic" fragment is a whole packet (RFC 6946).
                // (etherparse's own answers leave out a part of the offset's bits.)
                let place = header.slice().get(2..4).map_or(0, |b| be16([b[0], b[1]]));
                if place & 0xfff9 != 0 {
                    return Err(Malformed::Fragment);
                }
                next = header.next_header().0;
                header.slice().len()
            }
            proto => return Ok((proto, rest)),
        };
        rest = rest.get(len..).ok_or(Malformed::Truncated)?;
        at_start = false;
    }
}

/// Where an IPv6 packet says which header follows the last that this host knows.
pub(super) fn last_next_header(packet: &[u8]) -> Option<usize> {
    let (mut next_at, mut at) = (6, IPV6_HEADER);
    loop {
        let len = match *packet.get(next_at)? {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => 8 + 8 * usize::from(*packet.get(at + 1)?),
            FRAGMENT => 8,
            _ => return Some(next_at),
        };
        next_at = at;
        at += len;
    }
}

/// An unknown option may be passed over only if its two highest bits say so (RFC 8200,
/// section 4.2). A jumbo payload (RFC 2675) isn't done and has these bits set.
fn check_v6_options(mut rest: &[u8]) -> Result<(), Malformed> {
    const PAD1: u8 = 0;
    loop {
        rest = match *rest {
            [] => return Ok(()),
            [PAD1, ref after @ ..] => after,
            [kind, len, ref after @ ..] if kind >> 6 == 0 => {
                after.get(usize::from(len)..).ok_or(Malformed::BadHeader)?
            }
            _ => return Err(Malformed::BadHeader),
        };
    }
}

/// No TCP segment may come from or go to `address`: RFC 9293, section 3.9.2.3. (The rest of
/// 0.0.0.0/8 is as good as other addresses, as for Linux since 5.3.)
// RFC 9293 MUST-57, MUST-63
#[inline]
pub(super) fn not_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_multicast() || a.is_broadcast() || a.is_unspecified(),
        IpAddr::V6(a) => a.is_multicast() || a.is_unspecified(),
    }
}

/// Write an IPv4 header with DF (RFC 1191).
// RFC 1191 S3-4
#[inline]
pub(super) fn emit_v4(
    out: &mut [u8; IPV4_HEADER],
    (src, dst): (Ipv4Addr, Ipv4Addr),
    proto: u8,
    tos: u8,
    ttl: u8,
    id: u16,
    body_len: usize,
) {
    let total_len = IPV4_HEADER + body_len;
    debug_assert!(total_len <= 0xffff);
    let total_len = u16::try_from(total_len).unwrap_or(u16::MAX).to_be_bytes();
    let id = id.to_be_bytes();
    let [s0, s1, s2, s3] = src.octets();
    let [d0, d1, d2, d3] = dst.octets();
    let mut h = [
        0x45,
        tos,
        total_len[0],
        total_len[1],
        id[0],
        id[1],
        0x40,
        0,
        ttl,
        proto,
        0,
        0,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ];
    let mut sum = Sum::new();
    sum.add(&h);
    [h[10], h[11]] = sum.checksum().to_be_bytes();
    *out = h;
}

/// The header has options behind what [`emit_v4`] wrote, which took them for content.
pub(super) fn has_options(header: &mut [u8]) {
    let words = header.len() / 4;
    if let Some(first) = header.first_mut() {
        *first = 0x40 | words as u8;
        sum_v4(header);
    }
}

/// Write the checksum of an IPv4 header.
pub(super) fn sum_v4(header: &mut [u8]) {
    if header.len() < IPV4_HEADER {
        return;
    }
    header[10..12].fill(0);
    let mut sum = Sum::new();
    sum.add(header);
    header[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
}

/// Write an IPv6 header; the flow label is zero.
// RFC 8201 S4-5
#[inline]
pub(super) fn emit_v6(
    out: &mut [u8; IPV6_HEADER],
    (src, dst): (Ipv6Addr, Ipv6Addr),
    proto: u8,
    tos: u8,
    ttl: u8,
    body_len: usize,
) {
    debug_assert!(body_len <= 0xffff);
    let [l0, l1] = u16::try_from(body_len).unwrap_or(u16::MAX).to_be_bytes();
    *out = [0; IPV6_HEADER];
    let (fixed, addresses) = out.split_at_mut(8);
    fixed.copy_from_slice(&[0x60 | tos >> 4, tos << 4, 0, 0, l0, l1, proto, ttl]);
    let (s, d) = addresses.split_at_mut(16);
    s.copy_from_slice(&src.octets());
    d.copy_from_slice(&dst.octets());
}
