//! Packets as bytes: a codec of the scripts' own, so that nothing is tested against itself.

use crate::model::TcpOption;
use core::net::IpAddr;

/// The number of TCP in an IP header.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP.
pub const ICMP: u8 = 1;
/// ICMPv6.
pub const ICMPV6: u8 = 58;

/// The IP header's part of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpHeader {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// TOS or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv6 flow label.
    pub flow_label: u32,
    /// Of IPv4: don't fragment.
    pub df: bool,
    /// What is in it.
    pub protocol: u8,
}

/// Control bits of a segment.
pub(crate) const FIN: u8 = 0x01;
/// See [`FIN`].
pub(crate) const SYN: u8 = 0x02;
/// See [`FIN`].
pub(crate) const ACK: u8 = 0x10;

/// A segment as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Segment {
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub urgent: u16,
    /// The options' bytes, padding included.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

/// One's complement sum of 16-bit words.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0u64;
    for part in parts {
        // Every part but the last is of even length.
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            total += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn octets(a: IpAddr) -> Vec<u8> {
    match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn pseudo_header(ip: &IpHeader, len: usize) -> Vec<u8> {
    let mut h = octets(ip.src);
    h.extend(octets(ip.dst));
    h.extend((len as u32).to_be_bytes());
    h.extend([0, 0, 0, ip.protocol]);
    h
}

/// A whole packet: header and `body`, whose own checksum is right already.
pub fn ip_packet(ip: &IpHeader, body: &[u8]) -> Vec<u8> {
    let mut p = Vec::with_capacity(40 + body.len());
    match ip.src {
        IpAddr::V4(_) => {
            let len = (20 + body.len()) as u16;
            p.extend([0x45, ip.tos]);
            p.extend(len.to_be_bytes());
            p.extend([0, 0, u8::from(ip.df) << 6, 0, ip.ttl, ip.protocol, 0, 0]);
            p.extend(octets(ip.src));
            p.extend(octets(ip.dst));
            let check = (!sum(&[&p])).to_be_bytes();
            p[10..12].copy_from_slice(&check);
        }
        IpAddr::V6(_) => {
            let first = 0x6000_0000 | u32::from(ip.tos) << 20 | ip.flow_label & 0xf_ffff;
            p.extend(first.to_be_bytes());
            p.extend((body.len() as u16).to_be_bytes());
            p.extend([ip.protocol, ip.ttl]);
            p.extend(octets(ip.src));
            p.extend(octets(ip.dst));
        }
    }
    p.extend(body);
    p
}

/// A packet of [`ip_packet`] in fragments of `size` bytes, a multiple of eight.
pub fn fragments(packet: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    let v6 = packet[0] >> 4 == 6;
    let (header, body) = packet.split_at(if v6 { 40 } else { 20 });
    let last = body.len().div_ceil(size).saturating_sub(1);
    let piece = |(i, piece): (usize, &[u8])| {
        let offset = (i * size) as u16;
        let more = i < last;
        let mut p = header.to_vec();
        if v6 {
            let len = (piece.len() + 8) as u16;
            p[4..6].copy_from_slice(&len.to_be_bytes());
            let next = core::mem::replace(&mut p[6], 44);
            p.extend([next, 0]);
            p.extend((offset | u16::from(more)).to_be_bytes());
            p.extend(u32::from(id).to_be_bytes());
        } else {
            let len = (20 + piece.len()) as u16;
            p[2..4].copy_from_slice(&len.to_be_bytes());
            p[4..6].copy_from_slice(&id.to_be_bytes());
            let field = offset >> 3 | u16::from(more) << 13;
            p[6..8].copy_from_slice(&field.to_be_bytes());
            p[10..12].fill(0);
            let check = (!sum(&[&p])).to_be_bytes();
            p[10..12].copy_from_slice(&check);
        }
        p.extend(piece);
        p
    };
    body.chunks(size).enumerate().map(piece).collect()
}

/// A segment's header without its checksum.
fn header(s: &Segment) -> Vec<u8> {
    let mut h = Vec::with_capacity(60);
    h.extend(s.src_port.to_be_bytes());
    h.extend(s.dst_port.to_be_bytes());
    h.extend(s.seq.to_be_bytes());
    h.extend(s.ack.to_be_bytes());
    h.extend([((20 + s.options.len()) / 4) as u8 * 16, s.flags]);
    h.extend(s.window.to_be_bytes());
    h.extend([0, 0]);
    h.extend(s.urgent.to_be_bytes());
    h.extend(&s.options);
    h
}

/// A packet with a segment.
pub fn tcp_packet(ip: &IpHeader, s: &Segment) -> Vec<u8> {
    let mut body = header(s);
    body.extend(&s.payload);
    let check = !sum(&[&pseudo_header(ip, body.len()), &body]);
    body[16..18].copy_from_slice(&check.to_be_bytes());
    ip_packet(ip, &body)
}

/// A packet with a datagram.
pub fn udp_packet(ip: &IpHeader, ports: (u16, u16), len: u16) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(ports.0.to_be_bytes());
    body.extend(ports.1.to_be_bytes());
    body.extend((8 + len).to_be_bytes());
    body.extend([0, 0]);
    body.resize(8 + usize::from(len), 0);
    let check = match !sum(&[&pseudo_header(ip, body.len()), &body]) {
        0 => 0xffff,
        c => c,
    };
    body[6..8].copy_from_slice(&check.to_be_bytes());
    ip_packet(ip, &body)
}

/// A packet with an ICMP message: type, code, the four bytes after the checksum, what it quotes.
pub fn icmp_packet(ip: &IpHeader, kind: u8, code: u8, rest: u32, quoted: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, code, 0, 0];
    body.extend(rest.to_be_bytes());
    body.extend(quoted);
    let check = if ip.protocol == ICMPV6 {
        !sum(&[&pseudo_header(ip, body.len()), &body])
    } else {
        !sum(&[&body])
    };
    body[2..4].copy_from_slice(&check.to_be_bytes());
    ip_packet(ip, &body)
}

/// A packet of the host's as a router quotes it: IP header and the first 8 bytes of a segment of
/// `len` bytes.
pub fn quoted_segment(ip: &IpHeader, s: &Segment, len: u16) -> Vec<u8> {
    let mut body = header(s);
    body.resize(body.len() + usize::from(len), 0);
    let mut p = ip_packet(ip, &body);
    p.truncate(if ip.src.is_ipv4() { 28 } else { 48 });
    p
}

/// A packet that left the host, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A segment.
    Tcp(IpHeader, Segment),
    /// A datagram: ports and length.
    Udp(IpHeader, (u16, u16), u16),
    /// An ICMP message: type and code.
    Icmp(IpHeader, u8, u8),
    /// Something else.
    Other(IpHeader),
}

fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn be32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// Take a packet apart; `None` says what is wrong with it: a length or a checksum.
pub fn parse(p: &[u8]) -> Result<Parsed, &'static str> {
    let (ip, body) = parse_ip(p)?;
    let whole = "a packet shorter than its headers say";
    match ip.protocol {
        TCP => {
            if sum(&[&pseudo_header(&ip, body.len()), body]) != 0xffff {
                return Err("a segment with a wrong checksum");
            }
            parse_tcp(body).map(|s| Parsed::Tcp(ip, s)).ok_or(whole)
        }
        UDP => (|| {
            let ports = (be16(body, 0)?, be16(body, 2)?);
            Some(Parsed::Udp(ip, ports, be16(body, 4)?.checked_sub(8)?))
        })()
        .ok_or(whole),
        ICMP | ICMPV6 => match body {
            [kind, code, ..] => Ok(Parsed::Icmp(ip, *kind, *code)),
            _ => Err(whole),
        },
        _ => Ok(Parsed::Other(ip)),
    }
}

fn parse_ip(p: &[u8]) -> Result<(IpHeader, &[u8]), &'static str> {
    let short = "a packet shorter than its IP header";
    match p.first().map(|b| b >> 4) {
        Some(4) => {
            let h = p.get(..20).ok_or(short)?;
            let header = usize::from(h[0] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
            let body = p.get(header..total).ok_or(short)?;
            if sum(&[p.get(..header).ok_or(short)?]) != 0xffff {
                return Err("an IP header with a wrong checksum");
            }
            let at = |i: usize| IpAddr::from([h[i], h[i + 1], h[i + 2], h[i + 3]]);
            let ip = IpHeader {
                src: at(12),
                dst: at(16),
                tos: h[1],
                ttl: h[8],
                flow_label: 0,
                df: h[6] & 0x40 != 0,
                protocol: h[9],
            };
            Ok((ip, body))
        }
        Some(6) => {
            let h = p.get(..40).ok_or(short)?;
            let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
            let body = p.get(40..40 + len).ok_or(short)?;
            let at = |i: usize| -> IpAddr {
                let mut a = [0u8; 16];
                a.copy_from_slice(&h[i..i + 16]);
                a.into()
            };
            let ip = IpHeader {
                src: at(8),
                dst: at(24),
                tos: h[0] << 4 | h[1] >> 4,
                ttl: h[7],
                flow_label: u32::from_be_bytes([0, h[1] & 15, h[2], h[3]]),
                df: true,
                protocol: h[6],
            };
            Ok((ip, body))
        }
        _ => Err("a packet of neither IPv4 nor IPv6"),
    }
}

fn parse_tcp(b: &[u8]) -> Option<Segment> {
    let header = usize::from(b.get(12)? >> 4) * 4;
    Some(Segment {
        src_port: be16(b, 0)?,
        dst_port: be16(b, 2)?,
        seq: be32(b, 4)?,
        ack: be32(b, 8)?,
        flags: *b.get(13)?,
        window: be16(b, 14)?,
        urgent: be16(b, 18)?,
        options: b.get(20..header)?.to_vec(),
        payload: b.get(header..)?.to_vec(),
    })
}

/// Options as bytes, padded to a multiple of four with end-of-options.
pub fn emit_options(options: &[TcpOption]) -> Vec<u8> {
    let mut out = Vec::new();
    for o in options {
        match o {
            TcpOption::Nop => out.push(1),
            TcpOption::Eol => out.push(0),
            TcpOption::Mss(n) => {
                out.extend([2, 4]);
                out.extend(n.to_be_bytes());
            }
            TcpOption::Wscale(n) => out.extend([3, 3, *n]),
            TcpOption::SackOk => out.extend([4, 2]),
            TcpOption::Sack(blocks) => {
                out.extend([5, 2 + 8 * blocks.len() as u8]);
                for (from, to) in blocks {
                    out.extend(from.to_be_bytes());
                    out.extend(to.to_be_bytes());
                }
            }
            TcpOption::Timestamp { val, ecr } => {
                out.extend([8, 10]);
                out.extend(val.to_be_bytes());
                out.extend(ecr.to_be_bytes());
            }
            TcpOption::FastOpen(cookie) => {
                out.extend([34, 2 + cookie.len() as u8]);
                out.extend(cookie);
            }
            TcpOption::FastOpenExperiment(cookie) => {
                out.extend([254, 4 + cookie.len() as u8, 0xf9, 0x89]);
                out.extend(cookie);
            }
            TcpOption::Other(kind, value) => {
                out.extend([*kind, 2 + value.len() as u8]);
                out.extend(value);
            }
        }
    }
    while out.len() % 4 != 0 {
        out.push(0);
    }
    out
}

/// Options out of bytes; `None` if they make no sense.
pub fn parse_options(mut b: &[u8]) -> Option<Vec<TcpOption>> {
    let mut out = Vec::new();
    while let Some((&kind, rest)) = b.split_first() {
        match kind {
            0 => {
                out.push(TcpOption::Eol);
                b = rest;
                continue;
            }
            1 => {
                out.push(TcpOption::Nop);
                b = rest;
                continue;
            }
            _ => {}
        }
        let len = usize::from(*rest.first()?);
        let value = b.get(2..len)?;
        b = b.get(len..)?;
        out.push(match (kind, value.len()) {
            (2, 2) => TcpOption::Mss(be16(value, 0)?),
            (3, 1) => TcpOption::Wscale(value[0]),
            (4, 0) => TcpOption::SackOk,
            (5, n) if n % 8 == 0 => TcpOption::Sack(
                value
                    .chunks(8)
                    .filter_map(|c| Some((be32(c, 0)?, be32(c, 4)?)))
                    .collect(),
            ),
            (8, 8) => TcpOption::Timestamp {
                val: be32(value, 0)?,
                ecr: be32(value, 4)?,
            },
            (34, _) => TcpOption::FastOpen(value.to_vec()),
            (254, n) if n >= 2 && value[..2] == [0xf9, 0x89] => {
                TcpOption::FastOpenExperiment(value[2..].to_vec())
            }
            _ => TcpOption::Other(kind, value.to_vec()),
        });
    }
    Some(out)
}

/// Options as a script has them.
pub fn show_options(options: &[TcpOption]) -> String {
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let each = options.iter().map(|o| match o {
        TcpOption::Nop => "nop".to_owned(),
        TcpOption::Eol => "eol".to_owned(),
        TcpOption::Mss(n) => format!("mss {n}"),
        TcpOption::Wscale(n) => format!("wscale {n}"),
        TcpOption::SackOk => "sackOK".to_owned(),
        TcpOption::Sack(b) => {
            let blocks = b.iter().map(|(f, t)| format!(" {f}:{t}"));
            format!("sack{}", blocks.collect::<String>())
        }
        TcpOption::Timestamp { val, ecr } => format!("TS val {val} ecr {ecr}"),
        TcpOption::FastOpen(c) => format!("FO {}", hex(c)),
        TcpOption::FastOpenExperiment(c) => format!("FOEXP {}", hex(c)),
        TcpOption::Other(kind, v) => format!("kind {kind} {}", hex(v)),
    });
    each.collect::<Vec<_>>().join(",")
}
