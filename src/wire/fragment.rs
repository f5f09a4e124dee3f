//! Pieces of IP packets: IPv4's (RFC 791, section 3.2) and IPv6's (RFC 8200, section 4.5).

use super::ip::{IPV4_HEADER, IPV6_HEADER, not_unicast};
use super::protocol::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ICMPV6, ROUTING, TCP, UDP};
use super::{Sum, be16, be32};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest header of a fragmented packet that is taken; longer ones serve only attacks.
pub const MAX_HEADER: usize = 256;
/// The most a whole packet holds.
const MAX_PACKET: usize = 65_535;

/// One piece of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Pieces of one packet have the same.
    pub id: u32,
    /// IPv4's protocol, which tells packets apart too; of IPv6 the first piece's counts.
    pub proto: u8,
    /// Where in the packet the piece belongs, in bytes after the header.
    pub offset: u32,
    /// It isn't the last.
    pub more: bool,
    /// The packet's header (IPv6: the part that each piece repeats).
    pub header: &'a [u8],
    /// Where in the header it says what follows.
    pub next_at: u8,
    /// The piece.
    pub data: &'a [u8],
}

/// The piece of a packet that `packet` is; none if it is no piece, or one that can't be part of
/// any packet.
pub fn parse(packet: &[u8]) -> Option<Fragment<'_>> {
    let f = match packet.first()? >> 4 {
        4 => parse_v4(packet)?,
        6 => parse_v6(packet)?,
        _ => return None,
    };
    let end = f.offset as usize + f.data.len();
    let fits = end + f.header.len() <= MAX_PACKET && f.header.len() <= MAX_HEADER;
    let whole_units = !f.more || f.data.len() % 8 == 0;
    let somebodys = !not_unicast(f.src) && !not_unicast(f.dst);
    (fits && whole_units && somebodys && !f.data.is_empty()).then_some(f)
}

fn parse_v4(packet: &[u8]) -> Option<Fragment<'_>> {
    let h = packet.first_chunk::<IPV4_HEADER>()?;
    let packet = packet.get(..usize::from(be16([h[2], h[3]])))?;
    let (header, data) = packet.split_at_checked(usize::from(h[0] & 15) * 4)?;
    let mut sum = Sum::new();
    sum.add(header);
    if header.len() < IPV4_HEADER || sum.fold() != 0xffff {
        return None;
    }
    let place = be16([h[6], h[7]]);
    (place & 0x3fff != 0).then_some(Fragment {
        src: Ipv4Addr::new(h[12], h[13], h[14], h[15]).into(),
        dst: Ipv4Addr::new(h[16], h[17], h[18], h[19]).into(),
        id: be16([h[4], h[5]]).into(),
        proto: h[9],
        offset: u32::from(place & 0x1fff) * 8,
        more: place & 0x2000 != 0,
        header,
        next_at: 9,
        data,
    })
}

fn parse_v6(packet: &[u8]) -> Option<Fragment<'_>> {
    let h = packet.first_chunk::<IPV6_HEADER>()?;
    let packet = packet.get(..IPV6_HEADER + usize::from(be16([h[4], h[5]])))?;
    let (mut next_at, mut at) = (6, IPV6_HEADER);
    // Each is eight bytes at least, so this ends.
    while let HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS = *packet.get(next_at)? {
        next_at = at;
        at += 8 + 8 * usize::from(*packet.get(at + 1)?);
    }
    if *packet.get(next_at)? != FRAGMENT {
        return None;
    }
    let (header, rest) = packet.split_at_checked(at)?;
    let (f, data) = rest.split_first_chunk::<8>()?;
    let place = be16([f[2], f[3]]);
    let src: [u8; 16] = *h.get(8..)?.first_chunk()?;
    let dst: [u8; 16] = *h.get(24..)?.first_chunk()?;
    (place & 0xfff9 != 0).then_some(Fragment {
        src: Ipv6Addr::from(src).into(),
        dst: Ipv6Addr::from(dst).into(),
        id: be32([f[4], f[5], f[6], f[7]]),
        proto: f[0],
        offset: u32::from(place & 0xfff8),
        more: place & 1 != 0,
        header,
        next_at: u8::try_from(next_at).ok()?,
        data,
    })
}

impl Fragment<'_> {
    /// A packet's first piece that holds too little of the header above IP to tell whose it is: to
    /// be dropped, in IPv6 (RFC 8200, section 4.5; Linux: `ipv6frag_thdr_truncated`).
    pub fn lacks_header(&self) -> bool {
        if self.src.is_ipv4() || self.offset > 0 {
            return false;
        }
        let (mut next, mut at) = (self.proto, 0);
        while let HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS = next {
            let Some([after, len]) = self.data.get(at..at + 2) else {
                // Linux does not mind a chain that it can't follow.
                return false;
            };
            next = *after;
            at += 8 + 8 * usize::from(*len);
        }
        let least = match next {
            TCP => 20,
            UDP | ICMPV6 => 8,
            _ => 1,
        };
        at + least > self.data.len()
    }

    /// The ECN field of this piece, as one bit of a set (Linux: `ip4_frag_ecn`).
    pub fn ecn(&self) -> u8 {
        let of = |h: &[u8]| match h {
            [first, tos, ..] if first >> 4 == 4 => tos & 3,
            [_, class, ..] => class >> 4 & 3,
            _ => 0,
        };
        1 << of(self.header)
    }
}

/// What the pieces' ECN fields (a set, see [`Fragment::ecn`]) make of the first's: bits that are
/// added to it. None: they contradict each other, and the packet is dropped.
// RFC 3168 S5.3-1, S5.3-2, S5.3-3
pub fn merged_ecn(seen: u8) -> Option<u8> {
    const NOT_ECT: u8 = 1 << 0;
    const CE: u8 = 1 << 3;
    if seen & NOT_ECT != 0 && seen != NOT_ECT {
        return None;
    }
    Some(if seen & CE != 0 && seen != CE { 3 } else { 0 })
}

/// Cut a whole packet without options: write the piece of at most `most` bytes whose content begins
/// `sent` bytes into the packet's. Gives the piece's length and how much content it has.
pub fn cut(
    packet: &[u8],
    sent: usize,
    most: usize,
    id: u32,
    out: &mut [u8],
) -> Option<(usize, usize)> {
    let v4 = packet.first()? >> 4 == 4;
    let ip_len = if v4 { IPV4_HEADER } else { IPV6_HEADER };
    let header_len = if v4 { ip_len } else { ip_len + 8 };
    let (header, content) = packet.split_at_checked(ip_len)?;
    let left = content.get(sent..)?;
    let room = most.min(out.len()).checked_sub(header_len)? & !7;
    let n = left.len().min(room);
    let (piece, more) = (left.get(..n)?, n < left.len());
    out.get_mut(..ip_len)?.copy_from_slice(header);
    out.get_mut(header_len..header_len + n)?
        .copy_from_slice(piece);
    let place = u16::try_from(sent).ok()?;
    if v4 {
        let h = out.first_chunk_mut::<IPV4_HEADER>()?;
        let total = u16::try_from(header_len + n).ok()?;
        [h[2], h[3]] = total.to_be_bytes();
        [h[6], h[7]] = (place >> 3 | if more { 0x2000 } else { 0 }).to_be_bytes();
        [h[10], h[11]] = [0, 0];
        let mut sum = Sum::new();
        sum.add(h);
        [h[10], h[11]] = sum.checksum().to_be_bytes();
    } else {
        let (h, rest) = out.split_first_chunk_mut::<IPV6_HEADER>()?;
        [h[4], h[5]] = u16::try_from(8 + n).ok()?.to_be_bytes();
        let next = core::mem::replace(&mut h[6], FRAGMENT);
        let f = rest.first_chunk_mut::<8>()?;
        let [p0, p1] = (place | u16::from(more)).to_be_bytes();
        let [i0, i1, i2, i3] = id.to_be_bytes();
        *f = [next, 0, p0, p1, i0, i1, i2, i3];
    }
    (n > 0).then_some((header_len + n, n))
}

/// Make the first piece's header the whole packet's: `proto` follows it, with `len` bytes; `ecn` is
/// added to its ECN field.
pub fn make_whole(header: &mut [u8], next_at: u8, proto: u8, len: usize, ecn: u8) {
    if let Some(next) = header.get_mut(usize::from(next_at)) {
        *next = proto;
    }
    let total = u16::try_from(header.len() + len).unwrap_or(u16::MAX);
    match header.first().map(|b| b >> 4) {
        Some(4) if header.len() >= IPV4_HEADER => {
            let [t0, t1] = total.to_be_bytes();
            header[1] |= ecn;
            header[2..4].copy_from_slice(&[t0, t1]);
            header[6..8].fill(0);
            header[10..12].fill(0);
            let mut sum = Sum::new();
            sum.add(header);
            let sum = sum.checksum().to_be_bytes();
            header[10..12].copy_from_slice(&sum);
        }
        Some(6) if header.len() >= IPV6_HEADER => {
            let after = total.saturating_sub(IPV6_HEADER as u16);
            header[1] |= ecn << 4;
            header[4..6].copy_from_slice(&after.to_be_bytes());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v6(extensions: &[u8], first: u8, place: u16, data: &[u8]) -> Vec<u8> {
        let mut p = vec![0x60, 0, 0, 0, 0, 0, first, 64];
        p.extend([0xfd; 16]);
        p.extend([0xfe; 16]);
        p.extend(extensions);
        p.extend([6, 0]);
        p.extend(place.to_be_bytes());
        p.extend([0, 0, 0, 9]);
        p.extend(data);
        let len = (p.len() - 40) as u16;
        p[4..6].copy_from_slice(&len.to_be_bytes());
        p
    }

    #[test]
    fn a_piece_of_an_ipv6_packet() {
        let p = v6(&[], 44, 16 | 1, &[1; 24]);
        let f = parse(&p).unwrap();
        assert_eq!((f.offset, f.more, f.id, f.proto), (16, true, 9, 6));
        assert_eq!((f.header.len(), f.next_at, f.data.len()), (40, 6, 24));
    }

    #[test]
    fn extension_headers_belong_to_each_piece() {
        let p = v6(&[44, 0, 1, 4, 0, 0, 0, 0], 60, 8, &[1; 3]);
        let f = parse(&p).unwrap();
        assert_eq!((f.header.len(), f.next_at, f.more), (48, 40, false));
        let mut header = f.header.to_vec();
        make_whole(&mut header, f.next_at, f.proto, 100, 0);
        assert_eq!((header[40], &header[4..6]), (6, &[0, 108][..]));
    }

    // RFC 3168 S5.3-1, S5.3-2, S5.3-3
    #[test]
    fn ecn_of_the_pieces() {
        let (not_ect, ect1, ect0, ce) = (1, 2, 4, 8);
        for seen in 1..16 {
            let mixed = seen & not_ect != 0 && seen != not_ect;
            let marks = seen & ce != 0 && seen & (ect0 | ect1) != 0;
            let expected = (!mixed).then_some(if marks { 3 } else { 0 });
            assert_eq!(merged_ecn(seen), expected, "{seen:#b}");
        }
        let mut header = v6(&[], 44, 1, &[1; 8])[..40].to_vec();
        header[1] |= 2 << 4;
        make_whole(&mut header, 6, 6, 8, 3);
        assert_eq!(header[1] >> 4 & 3, 3);
    }

    #[test]
    fn cut_and_whole_again() {
        let mut whole = v6(&[], 58, 0, &[7; 3000]);
        whole.drain(40..48);
        whole[4..6].copy_from_slice(&3000u16.to_be_bytes());
        let (mut sent, mut again) = (0, Vec::<u8>::new());
        let mut out = [0; 2048];
        while sent < 3000 {
            let (n, done) = cut(&whole, sent, 1280, 5, &mut out).unwrap();
            let f = parse(&out[..n]).unwrap();
            assert!(n <= 1280 && f.offset as usize == sent && f.proto == 58 && f.id == 5);
            assert_eq!(f.more, sent + done < 3000);
            again.extend(f.data);
            sent += done;
        }
        assert_eq!(again, whole[40..]);
    }

    #[test]
    fn what_is_no_piece() {
        // Whole (an atomic fragment), of uneven length though not the last, without content,
        // beyond the largest packet.
        assert!(parse(&v6(&[], 44, 0, &[1; 8])).is_none());
        assert!(parse(&v6(&[], 44, 1, &[1; 9])).is_none());
        assert!(parse(&v6(&[], 44, 8, &[])).is_none());
        assert!(parse(&v6(&[], 44, 0xfff8, &[1; 64])).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for first in [0x45, 0x4f, 0x60] {
                let mut bytes = bytes.clone();
                if let Some(b) = bytes.first_mut() {
                    *b = first;
                }
                if let Some(f) = parse(&bytes) {
                    let mut header = f.header.to_vec();
                    make_whole(&mut header, f.next_at, f.proto, f.data.len(), 3);
                }
            }
        }
    }
}
