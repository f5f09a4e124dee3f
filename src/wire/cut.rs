//! Packets as they would be on a wire: large segments cut, checksums complete.
//!
//! A device with offload takes and gives TCP segments of up to 64 KiB and leaves the checksum
//! to others. Who wants to treat each packet of the wire by itself cuts them here.

use super::ip::{IPV4_HEADER, IPV6_HEADER};
use super::protocol::TCP;
use super::{Sum, be16, be32};
use crate::tcp::Flags;
use core::ops::Range;

/// How a packet is to be cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    ip_len: usize,
    /// Of the IP and TCP headers; the whole packet if it isn't cut.
    headers: usize,
    /// Payload of each piece but the last.
    size: usize,
    /// Payload in all.
    payload: usize,
}

impl Cut {
    /// Cut `packet` to pieces of `size` bytes of payload. `None` if it is no TCP packet, or so
    /// small that there is nothing to cut.
    pub fn of(packet: &[u8], size: usize) -> Option<Cut> {
        let (ip_len, proto, end) = match packet.first()? >> 4 {
            4 => {
                let h = packet.first_chunk::<IPV4_HEADER>()?;
                let total = usize::from(be16([h[2], h[3]]));
                (usize::from(h[0] & 15) * 4, h[9], total)
            }
            6 => {
                let h = packet.first_chunk::<IPV6_HEADER>()?;
                let body = usize::from(be16([h[4], h[5]]));
                (IPV6_HEADER, h[6], IPV6_HEADER + body)
            }
            _ => return None,
        };
        let tcp = packet.get(ip_len..end.min(packet.len()))?;
        let headers = ip_len + usize::from(tcp.get(12)? >> 4) * 4;
        let payload = end.min(packet.len()).checked_sub(headers)?;
        let least = if packet[0] >> 4 == 4 {
            IPV4_HEADER
        } else {
            IPV6_HEADER
        };
        if proto != TCP || ip_len < least || headers < ip_len + 20 || size == 0 || payload <= size {
            return None;
        }
        Some(Cut {
            ip_len,
            headers,
            size,
            payload,
        })
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.payload.div_ceil(self.size)
    }

    /// Payload of each piece but the last.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The headers' length.
    pub fn headers(&self) -> usize {
        self.headers
    }

    /// That of the IP header.
    pub fn ip_len(&self) -> usize {
        self.ip_len
    }

    /// The length of the pieces in `run`, in one packet, headers included.
    pub fn len(&self, run: &Range<usize>) -> usize {
        let before = |n: usize| n.saturating_mul(self.size).min(self.payload);
        self.headers + before(run.end).saturating_sub(before(run.start))
    }

    /// Write the pieces in `run` of `packet` into `out`, as one packet; gives its length, or
    /// `None` when it doesn't fit. A single piece gets complete checksums, as on a wire; several
    /// leave TCP's to be completed when they are cut, like `packet`.
    ///
    /// As segmentation offload does it: FIN and PSH are on the last piece only, CWR on the
    /// first (RFC 3168, section 6.1.2), the IPv4 identification counts up.
    pub fn write(&self, packet: &[u8], run: &Range<usize>, out: &mut [u8]) -> Option<usize> {
        let Cut {
            ip_len,
            headers,
            size,
            ..
        } = *self;
        let (n, len) = (run.start, self.len(run));
        let out = out.get_mut(..len)?;
        let at = headers + n * size;
        let (head, body) = out.split_at_mut_checked(headers)?;
        head.copy_from_slice(packet.get(..headers)?);
        body.copy_from_slice(packet.get(at..at + (len - headers))?);
        if head[0] >> 4 == 4 {
            let id = be16([head[4], head[5]]).wrapping_add(n as u16);
            [head[2], head[3]] = (len as u16).to_be_bytes();
            [head[4], head[5]] = id.to_be_bytes();
            [head[10], head[11]] = [0, 0];
            let mut sum = Sum::new();
            sum.add(head.get(..ip_len)?);
            [head[10], head[11]] = sum.checksum().to_be_bytes();
        } else {
            [head[4], head[5]] = ((len - IPV6_HEADER) as u16).to_be_bytes();
        }
        let tcp = head.get_mut(ip_len..)?;
        let seq = be32([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add((n * size) as u32);
        [tcp[4], tcp[5], tcp[6], tcp[7]] = seq.to_be_bytes();
        if run.end < self.pieces() {
            tcp[13] &= !(Flags::FIN.0 | Flags::PSH.0);
        }
        if n > 0 {
            tcp[13] &= !Flags::CWR.0;
        }
        fill_tcp_checksum(out, ip_len, run.len() > 1)?;
        Some(len)
    }
}

/// The checksum of the TCP packet in `out`, over all of it; or what is to be there before it is
/// completed.
fn fill_tcp_checksum(out: &mut [u8], ip_len: usize, partial: bool) -> Option<()> {
    let at = ip_len + super::CHECKSUM_AT;
    out.get_mut(at..at + 2)?.fill(0);
    let mut sum = Sum::new();
    let body = out.len() - ip_len;
    if out[0] >> 4 == 4 {
        let options = out.get(IPV4_HEADER..ip_len)?;
        match super::ip_options::destination(options) {
            None => sum.add_pseudo_header(out.get(12..16)?, out.get(16..20)?, TCP, body),
            Some(to) => sum.add_pseudo_header(out.get(12..16)?, &to.octets(), TCP, body),
        }
    } else {
        sum.add_pseudo_header(out.get(8..24)?, out.get(24..40)?, TCP, body);
    }
    let word = if partial {
        sum.fold()
    } else {
        sum.add(out.get(ip_len..)?);
        sum.checksum()
    };
    out.get_mut(at..at + 2)?
        .copy_from_slice(&word.to_be_bytes());
    Some(())
}

/// Complete a checksum that was left to the device: the one `offset` behind `start`, which
/// covers everything from `start` on and holds the pseudo-header's sum. `None`: there is no
/// such place.
pub fn complete_checksum(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let mut sum = Sum::new();
    sum.add(packet.get(start..)?);
    let at = start.checked_add(offset)?;
    packet
        .get_mut(at..at.checked_add(2)?)?
        .copy_from_slice(&sum.checksum().to_be_bytes());
    Some(())
}

/// The packet is a TCP segment that takes no sequence space and resets nothing: an
/// acknowledgment alone.
pub fn is_bare_ack(packet: &[u8]) -> bool {
    let look = || {
        let (ip_len, proto, end) = match packet.first()? >> 4 {
            4 => (
                usize::from(packet[0] & 15) * 4,
                *packet.get(9)?,
                usize::from(be16([*packet.get(2)?, *packet.get(3)?])),
            ),
            _ => (
                IPV6_HEADER,
                *packet.get(6)?,
                IPV6_HEADER + usize::from(be16([*packet.get(4)?, *packet.get(5)?])),
            ),
        };
        let tcp = packet.get(ip_len..end.min(packet.len()))?;
        let header = usize::from(*tcp.get(12)? >> 4) * 4;
        let takes = Flags(*tcp.get(13)? & (Flags::SYN.0 | Flags::FIN.0 | Flags::RST.0)).0 != 0;
        Some(proto == TCP && !takes && header == tcp.len())
    };
    look().unwrap_or(false)
}

/// A router may cut the packet: IPv4 without DF.
pub fn may_fragment(packet: &[u8]) -> bool {
    matches!(packet, [first, _, _, _, _, _, flags, ..] if first >> 4 == 4 && flags & 0x40 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::{Segment, SeqNum};
    use crate::wire::{Checksum, IpHeader, MAX_HEADERS, Packet, emit_tcp, parse};
    use core::net::IpAddr;

    fn packet(v6: bool, payload: &[u8], flags: Flags, checksum: Checksum) -> (Vec<u8>, usize) {
        let (src, dst): (IpAddr, IpAddr) = if v6 {
            ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())
        } else {
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())
        };
        let mut segment = Segment {
            src_port: 1,
            dst_port: 2,
            seq: SeqNum(u32::MAX - 100),
            flags,
            len: payload.len() as u32,
            ..Segment::default()
        };
        segment.options.timestamps = Some((1, 2));
        let mut out = [0; MAX_HEADERS];
        let header = IpHeader {
            id: 0xffff,
            ..IpHeader::between(src, dst)
        };
        let (len, ip_len) = emit_tcp(&header, &segment, &[payload], checksum, &mut out);
        ([&out[..len], payload].concat(), ip_len)
    }

    #[test]
    fn pieces_are_whole_packets_and_make_up_the_segment() {
        let data: Vec<u8> = (0..10_001u32).map(|i| ((i * 31) >> 3) as u8).collect();
        let flags = Flags(Flags::ACK.0 | Flags::PSH.0 | Flags::FIN.0 | Flags::CWR.0);
        for v6 in [false, true] {
            let (big, _) = packet(v6, &data, flags, Checksum::Partial);
            let cut = Cut::of(&big, 1448).unwrap();
            assert_eq!(cut.pieces(), 7);
            let mut next = SeqNum(u32::MAX - 100);
            let mut got = Vec::new();
            for n in 0..cut.pieces() {
                let mut out = [0; 2048];
                let len = cut.write(&big, &(n..n + 1), &mut out).unwrap();
                assert_eq!(len, cut.len(&(n..n + 1)));
                // Its checksums are verified.
                let Packet::Tcp {
                    segment, payload, ..
                } = parse(&out[..len], false).unwrap()
                else {
                    panic!()
                };
                assert_eq!(segment.seq, next);
                assert_eq!(segment.options.timestamps, Some((1, 2)));
                let last = n == 6;
                assert_eq!(segment.flags.has(Flags::FIN), last);
                assert_eq!(segment.flags.has(Flags::PSH), last);
                assert_eq!(segment.flags.has(Flags::CWR), n == 0);
                next += segment.len;
                got.extend_from_slice(&out[payload..len]);
                assert!(!is_bare_ack(&out[..len]));
            }
            assert_eq!(got, data);
            assert!(cut.write(&big, &(0..1), &mut [0; 100]).is_none());
            // Cut in two and those again, it is the same pieces.
            for run in [0..3, 3..7] {
                let mut out = vec![0; cut.len(&run)];
                assert_eq!(cut.write(&big, &run, &mut out), Some(out.len()));
                let again = Cut::of(&out, 1448).unwrap();
                assert_eq!(again.pieces(), run.len());
                for (n, whole) in run.enumerate() {
                    let (mut one, mut other) = ([0; 2048], [0; 2048]);
                    let len = again.write(&out, &(n..n + 1), &mut one).unwrap();
                    assert_eq!(cut.write(&big, &(whole..whole + 1), &mut other), Some(len));
                    assert_eq!(one, other);
                }
                // And the checksum is completed as that of the whole is.
                let tcp = cut.ip_len();
                complete_checksum(&mut out, tcp, crate::wire::CHECKSUM_AT).unwrap();
                assert!(parse(&out, false).is_ok());
            }
            let mut out = vec![0; big.len()];
            assert_eq!(cut.write(&big, &(0..7), &mut out), Some(big.len()));
            assert_eq!(out, big);
            assert!(Cut::of(&big, 10_001).is_none());
            assert!(Cut::of(&big[..50], 10).is_none());
        }
    }

    #[test]
    fn checksums_are_completed() {
        for v6 in [false, true] {
            let (mut packet, ip_len) = packet(v6, b"hello", Flags::ACK, Checksum::Partial);
            assert!(parse(&packet, false).is_err());
            complete_checksum(&mut packet, ip_len, crate::wire::CHECKSUM_AT).unwrap();
            assert!(parse(&packet, false).is_ok());
            assert!(complete_checksum(&mut packet, 70, 60).is_none());
        }
    }

    #[test]
    fn acknowledgments_alone() {
        for v6 in [false, true] {
            for (payload, flags, bare) in [
                (&b""[..], Flags::ACK, true),
                (b"x", Flags::ACK, false),
                (b"", Flags(Flags::ACK.0 | Flags::FIN.0), false),
                (b"", Flags::SYN, false),
                (b"", Flags::RST, false),
            ] {
                let (packet, _) = packet(v6, payload, flags, Checksum::Full);
                assert_eq!(is_bare_ack(&packet), bare);
                assert!(!may_fragment(&packet));
            }
        }
        assert!(!is_bare_ack(&[]));
        assert!(!is_bare_ack(&[0x45; 10]));
    }
}
