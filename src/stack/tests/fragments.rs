//! Packets in pieces: put together in any order, bounded whatever comes.

use super::*;
use crate::stack::fragments::PACKETS;
use crate::tcp::{Flags, Segment, SeqNum};
use crate::wire::{self, Packet};
use core::net::IpAddr;

/// Content after the IP header: a TCP header and data, to a port where nobody listens.
const LEN: usize = 20 + 460;

fn host() -> TestHost {
    let host = TestHost::new(1);
    host.arena.lock().config.addr6 = Addr::from(IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, 1]));
    host
}

fn us(v6: bool) -> IpAddr {
    if v6 {
        [0xfd, 0, 0, 0, 0, 0, 0, 1].into()
    } else {
        [10, 0, 0, 1].into()
    }
}

fn packet(v6: bool, id: u16) -> Vec<u8> {
    let peer: IpAddr = if v6 {
        [0xfd, 0, 0, 0, 0, 0, 0, 2].into()
    } else {
        [10, 0, 0, 2].into()
    };
    let segment = Segment {
        src_port: 7,
        dst_port: 9,
        seq: SeqNum(1),
        ack: SeqNum(2),
        flags: Flags::ACK,
        len: 460,
        ..Segment::default()
    };
    packets::numbered(peer, us(v6), &segment, &[0xab; 460], id)
}

/// The piece of `len` bytes from `at` on.
fn piece(packet: &[u8], id: u16, at: usize, len: usize) -> Vec<u8> {
    let v6 = packet[0] == 0x60;
    let header = if v6 { 40 } else { 20 };
    let more = at + len < packet.len() - header;
    let data = &packet[header + at..header + at + len];
    let mut p = packet[..header].to_vec();
    if v6 {
        p[6] = 44;
        let place = (at as u16) | u16::from(more);
        p.extend([6, 0, (place >> 8) as u8, place as u8, 0, 0]);
        p.extend(id.to_be_bytes());
        let after = (8 + len) as u16;
        p[4..6].copy_from_slice(&after.to_be_bytes());
    } else {
        let place = (at as u16) >> 3 | if more { 0x2000 } else { 0 };
        p[6..8].copy_from_slice(&place.to_be_bytes());
        p[2..4].copy_from_slice(&((20 + len) as u16).to_be_bytes());
        packets::mend_ipv4(&mut p);
    }
    p.extend(data);
    p
}

/// Feed packets; gives what was answered.
fn feed(h: &mut TestHost, packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    h.wire.inward.extend(packets);
    h.with(|h| h.receive(10_000));
    std::mem::take(&mut h.wire.out).into()
}

fn is_rst(packet: &[u8]) -> bool {
    matches!(
        wire::parse(packet, false),
        Ok(Packet::Tcp { segment, .. }) if segment.flags.has(Flags::RST)
    )
}

// RFC 1122 S3.2.1.4-1
#[test]
fn every_order_of_four_pieces() {
    let cuts = [(0, 128), (128, 8), (136, 200), (336, LEN - 336)];
    for v6 in [false, true] {
        let mut h = host();
        for n in 0..256usize {
            let order = [n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6];
            if (0..4).any(|i| !order.contains(&i)) {
                continue;
            }
            let whole = packet(v6, n as u16);
            let pieces = order.map(|i| piece(&whole, n as u16, cuts[i].0, cuts[i].1));
            let answers = feed(&mut h, pieces);
            assert!(answers.len() == 1 && is_rst(&answers[0]), "{order:?}");
        }
        assert_eq!(h.arena.lock().counters.reasm_fails, 0);
    }
}

/// RFC 8200, section 4.5: the first piece has the whole of a TCP header's 20 bytes, in IPv6.
#[test]
fn a_first_piece_tells_whose_it_is() {
    for v6 in [false, true] {
        for first in [8, 16, 24] {
            let mut h = host();
            let whole = packet(v6, 3);
            let pieces = [(0, first), (first, LEN - first)];
            let pieces = pieces.map(|(at, len)| piece(&whole, 3, at, len));
            let answers = feed(&mut h, pieces);
            assert_eq!(answers.len(), 1);
            if v6 && first < 20 {
                // Parameter problem, incomplete header chain; the pointer is zero.
                assert_eq!(answers[0][40..42], [4, 3]);
                assert_eq!(answers[0][44..48], [0; 4]);
                assert_eq!(answers[0][48..], piece(&whole, 3, 0, first)[..]);
            } else {
                assert!(is_rst(&answers[0]));
            }
        }
    }
}

// RFC 1122 S3.3.2-3, S3.3.2-5
#[test]
fn a_flood_of_first_pieces_holds_little_and_runs_out() {
    let mut h = host();
    for n in 0..2000u16 {
        let whole = packet(n & 1 == 0, n);
        assert!(feed(&mut h, [piece(&whole, n, 0, 64)]).is_empty());
    }
    let buffers = h.arena.lock().buffers.in_use();
    assert_eq!(buffers, (0, PACKETS as u32));
    h.now = h.now + Duration::from_secs(61);
    h.with(|h| h.run_timers());
    // The senders of those whose first piece had come are told, within bounds: one message to the
    // IPv4 sender, whose packets had less time, and six at once of the fifteen to the other.
    assert_eq!((PACKETS, h.wire.out.len()), (16, 7));
    assert_eq!(h.arena.lock().buffers.in_use(), (0, 0));
    assert_eq!(h.with(|h| h.next_deadline()), Instant::NEVER);
}

// RFC 5722 S4-2
#[test]
fn overlaps_and_lies_about_the_end_are_dropped() {
    for v6 in [false, true] {
        let mut h = host();
        let whole = packet(v6, 5);
        let overlapping = [(0, 64), (56, 64), (120, LEN - 120)];
        let pieces = overlapping.map(|(at, len)| piece(&whole, 5, at, len));
        assert!(feed(&mut h, pieces).is_empty());
        // The end comes before what is there already.
        let whole = packet(v6, 6);
        let short = &whole[..whole.len() - 400];
        let end = piece(short, 6, 64, short.len() - if v6 { 40 } else { 20 } - 64);
        assert!(feed(&mut h, [piece(&whole, 6, 200, 64), end]).is_empty());
        assert_eq!(h.arena.lock().counters.reasm_fails, 2);
        // Stretches without end: as many as are kept, then nothing.
        let whole = packet(v6, 7);
        for n in 0..29 {
            feed(&mut h, [piece(&whole, 7, n * 16, 8)]);
        }
        let held = h.arena.lock().buffers.in_use().1;
        assert!(held <= 2);
    }
}

#[test]
fn what_is_incomplete_is_lost_with_a_death() {
    let mut h = host();
    feed(&mut h, [piece(&packet(false, 1), 1, 0, 64)]);
    h.with(|h| h.recover());
    assert_eq!(h.arena.lock().buffers.in_use(), (0, 0));
}

/// The same piece with this ECN field.
fn with_ecn(mut piece: Vec<u8>, ecn: u8) -> Vec<u8> {
    if piece[0] == 0x60 {
        piece[1] |= ecn << 4;
        return piece;
    }
    piece[1] |= ecn;
    piece[10..12].fill(0);
    let mut sum = wire::Sum::new();
    sum.add(&piece[..20]);
    let sum = sum.checksum().to_be_bytes();
    piece[10..12].copy_from_slice(&sum);
    piece
}

// RFC 3168 S5.3-1, S5.3-2, S5.3-3
#[test]
fn congestion_that_a_piece_met_the_packet_met() {
    const NOT_ECT: u8 = 0;
    const ECT: u8 = 2;
    const CE: u8 = 3;
    for v6 in [false, true] {
        let mut h = host();
        for (n, (first, second, whole)) in [
            (NOT_ECT, NOT_ECT, true),
            (ECT, ECT, true),
            (ECT, CE, true),
            (CE, ECT, true),
            (CE, CE, true),
            (1, 2, true),
            (NOT_ECT, ECT, false),
            (NOT_ECT, CE, false),
            (CE, NOT_ECT, false),
        ]
        .into_iter()
        .enumerate()
        {
            let p = packet(v6, n as u16);
            let pieces = [
                with_ecn(piece(&p, n as u16, 0, 64), first),
                with_ecn(piece(&p, n as u16, 64, LEN - 64), second),
            ];
            let answers = feed(&mut h, pieces);
            assert_eq!(answers.len(), usize::from(whole), "{first} {second}");
        }
        assert_eq!(h.arena.lock().counters.reasm_fails, 3);
        assert_eq!(h.arena.lock().buffers.in_use(), (0, 0));
    }
}
