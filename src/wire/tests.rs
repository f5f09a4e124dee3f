//! Layouts, refusals and ICMP, by example; round trips and hostile bytes are in `properties`.

mod ip_options;
mod properties;

use super::*;
use crate::tcp::{Flags, Options, SeqNum};
use core::net::{Ipv4Addr, Ipv6Addr};
use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader};

const A4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const B4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));
const A6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd75, 0x7463, 0x7000, 0, 0, 0, 0, 1));
const B6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd75, 0x7463, 0x7000, 0, 0, 0, 0, 2));

/// The whole packet, with the checksum in full.
fn packet(src: IpAddr, dst: IpAddr, segment: &Segment, payload: &[&[u8]]) -> Vec<u8> {
    let mut out = [0xee; MAX_HEADERS];
    let header = IpHeader {
        id: 7,
        ..IpHeader::between(src, dst)
    };
    let (len, _) = emit_tcp(&header, segment, payload, Checksum::Full, &mut out);
    let mut packet = out[..len].to_vec();
    for part in payload {
        packet.extend_from_slice(part);
    }
    packet
}

/// The TCP options in an emitted segment.
fn emitted_options(options: Options) -> Vec<u8> {
    let segment = Segment {
        options,
        ..Segment::default()
    };
    packet(A4, B4, &segment, &[])[40..].to_vec()
}

/// Set IPv4's header checksum right after a change.
fn mend_v4(packet: &mut [u8]) {
    let header_len = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let mut sum = Sum::new();
    sum.add(&packet[..header_len]);
    packet[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
}

/// An IPv4 packet made by etherparse.
fn v4(src: [u8; 4], dst: [u8; 4], proto: u8, body: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header::new(body.len() as u16, 64, IpNumber(proto), src, dst).unwrap();
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], body].concat()
}

/// An IPv6 packet made by etherparse.
fn v6(src: IpAddr, dst: IpAddr, proto: u8, body: &[u8]) -> Vec<u8> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) else {
        unreachable!()
    };
    let header = Ipv6Header {
        payload_length: body.len() as u16,
        next_header: IpNumber(proto),
        hop_limit: 64,
        source: src.octets(),
        destination: dst.octets(),
        ..Ipv6Header::default()
    };
    [&header.to_bytes()[..], body].concat()
}

fn octets(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(a) => a.octets(),
        IpAddr::V6(_) => unreachable!(),
    }
}

fn icmp4(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let mut sum = Sum::new();
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    v4(octets(A4), octets(B4), 1, &message)
}

fn icmp6(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (A6, B6) else {
        unreachable!()
    };
    let mut sum = Sum::new();
    sum.add_pseudo_header(&src.octets(), &dst.octets(), 58, message.len());
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    v6(A6, B6, 58, &message)
}

#[track_caller]
fn refused(packet: &[u8], why: Malformed) {
    match parse(packet, false) {
        Err(e) => assert_eq!(e, why),
        Ok(p) => panic!("{why:?} expected, got {p:?}"),
    }
}

fn syn() -> Segment {
    Segment {
        src_port: 40000,
        dst_port: 80,
        seq: SeqNum(0x01020304),
        flags: Flags::SYN,
        window: 64240,
        options: Options {
            mss: Some(1460),
            wscale: Some(7),
            sack_permitted: true,
            timestamps: Some((0x11121314, 0)),
            ..Options::default()
        },
        ..Segment::default()
    }
}

// --- the layout of options is Linux's -------------------------------------------------------

// RFC 9293 MUST-68, MUST-69
#[test]
fn syn_options_are_laid_out_as_linux_does() {
    assert_eq!(
        emitted_options(syn().options),
        [
            2, 4, 0x05, 0xb4, // mss 1460
            4, 2, 8, 10, 0x11, 0x12, 0x13, 0x14, 0, 0, 0, 0, // sackOK, TS
            1, 3, 3, 7, // nop, wscale 7
        ]
    );
    let without_timestamps = Options {
        timestamps: None,
        ..syn().options
    };
    assert_eq!(
        emitted_options(without_timestamps),
        [2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]
    );
    let without_sack = Options {
        sack_permitted: false,
        ..syn().options
    };
    assert_eq!(
        emitted_options(without_sack),
        [
            2, 4, 0x05, 0xb4, 1, 1, 8, 10, 0x11, 0x12, 0x13, 0x14, 0, 0, 0, 0, 1, 3, 3, 7
        ]
    );
}

#[test]
fn data_options_are_laid_out_as_linux_does() {
    let block = (SeqNum(0x21222324), SeqNum(0x31323334));
    let options = Options {
        timestamps: Some((1, 2)),
        sack: [block; 4],
        sack_len: 1,
        ..Options::default()
    };
    assert_eq!(
        emitted_options(options),
        [
            1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, // nop, nop, TS
            1, 1, 5, 10, 0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x34, // nop, nop, sack
        ]
    );
}

// RFC 2018 S4-6
#[test]
fn sack_blocks_that_do_not_fit_are_left_out() {
    let mut options = Options {
        timestamps: Some((1, 2)),
        sack_len: 4,
        ..Options::default()
    };
    assert_eq!(options_len(&options), 12 + 4 + 3 * 8);
    options.timestamps = None;
    assert_eq!(options_len(&options), 4 + 4 * 8);
    options.sack_len = 200;
    assert_eq!(emitted_options(options).len(), 36);
    options = Options {
        sack_len: 4,
        ..syn().options
    };
    assert_eq!(options_len(&options), 20 + 4 + 2 * 8);
    assert_eq!(emitted_options(options).len(), 40);
}

// --- reading options ------------------------------------------------------------------------

fn parse_options(raw: &[u8], flags: Flags) -> Options {
    let mut header = TcpHeader::new(1, 2, 3, 4);
    header.syn = flags.has(Flags::SYN);
    header.ack = true;
    header.set_options_raw(raw).unwrap();
    let packet = v4(octets(A4), octets(B4), 6, &header.to_bytes());
    match parse(&packet, true) {
        Ok(Packet::Tcp { segment, .. }) => segment.options,
        other => panic!("{other:?}"),
    }
}

// RFC 7323 S2.2-2
#[test]
fn syn_options_count_in_syn_only() {
    let raw = [2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7];
    let options = parse_options(&raw, Flags::ACK);
    assert_eq!(options, Options::default());
    let options = parse_options(&raw, Flags::SYN);
    assert_eq!(options.mss, Some(1460));
    assert_eq!(options.wscale, Some(7));
    assert!(options.sack_permitted);
}

// RFC 9293 MUST-4, MUST-6, MUST-7, MUST-64
// RFC 7323 S2.3-2
#[test]
fn odd_options_are_read_as_linux_does() {
    let read = |raw| parse_options(raw, Flags::SYN);
    // Unknown ones are skipped, wrong lengths for the kind too.
    let options = read(&[254, 6, 1, 2, 3, 4, 3, 4, 7, 0, 2, 4, 1, 0]);
    assert_eq!((options.mss, options.wscale), (Some(256), None));
    // Nothing is read beyond the end or an impossible length.
    assert_eq!(read(&[0, 2, 4, 1, 0]).mss, None);
    assert_eq!(read(&[254, 1, 2, 4, 1, 0]).mss, None);
    assert_eq!(read(&[254, 0, 2, 4, 1, 0]).mss, None);
    assert_eq!(read(&[254, 60, 2, 4, 1, 0]).mss, None);
    // The last one counts; a zero MSS doesn't; a shift is at most 14.
    assert_eq!(read(&[2, 4, 1, 0, 2, 4, 2, 0]).mss, Some(512));
    assert_eq!(read(&[2, 4, 0, 0]).mss, None);
    assert_eq!(read(&[3, 3, 200]).wscale, Some(14));
    // SACK blocks come whole.
    assert_eq!(read(&[5, 9, 1, 2, 3, 4, 5, 6, 7]).sack_len, 0);
    assert_eq!(read(&[5, 2]).sack_len, 0);
}

// --- what is refused ------------------------------------------------------------------------

#[test]
fn truncated_at_any_length() {
    for (src, dst) in [(A4, B4), (A6, B6)] {
        let whole = packet(src, dst, &syn(), &[b"hello"]);
        for len in 0..whole.len() {
            refused(&whole[..len], Malformed::Truncated);
        }
        let padded = [&whole[..], &[0; 9]].concat();
        match parse(&padded, false) {
            Ok(Packet::Tcp {
                segment, payload, ..
            }) => {
                assert_eq!(segment.len, 5);
                assert_eq!(&padded[payload..payload + 5], b"hello");
            }
            other => panic!("{other:?}"),
        }
    }
}

// RFC 9293 MUST-2, MUST-3
#[test]
fn every_flipped_bit_of_a_segment_is_noticed() {
    for (src, dst) in [(A4, B4), (A6, B6)] {
        let whole = packet(src, dst, &syn(), &[b"hello"]);
        let ip_len = if src.is_ipv4() { 20 } else { 40 };
        for bit in ip_len * 8..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad, false).is_err(), "bit {bit}");
        }
    }
    let whole = packet(A4, B4, &syn(), &[b"hello"]);
    for bit in 0..160 {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // (With another version it may be a packet of another kind.)
        let parsed = parse(&bad, true);
        assert!(!matches!(parsed, Ok(Packet::Tcp { .. })), "bit {bit}");
    }
}

// RFC 1122 S3.2.1.2-1
#[test]
fn verified_skips_the_transport_checksum_alone() {
    let mut whole = packet(A4, B4, &syn(), &[b"hello"]);
    let last = whole.len() - 1;
    whole[last] ^= 1;
    refused(&whole, Malformed::Checksum);
    assert!(parse(&whole, true).is_ok());
    whole[10] ^= 1;
    assert!(matches!(parse(&whole, true), Err(Malformed::Checksum)));
}

// RFC 1122 S3.2.1.1-1, S3.2.2-7
#[test]
fn bad_ip_headers() {
    let good = packet(A4, B4, &syn(), &[b"hello"]);
    let with = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        bad
    };
    let mended = |at: usize, value: u8| {
        let mut bad = with(at, value);
        mend_v4(&mut bad);
        bad
    };
    refused(&[], Malformed::Truncated);
    refused(&with(0, 0x55), Malformed::BadHeader);
    refused(&with(0, 0x44), Malformed::BadHeader);
    refused(&with(3, 19), Malformed::BadHeader);
    refused(&mended(6, 0x20), Malformed::Fragment);
    refused(&mended(7, 0x01), Malformed::Fragment);
    // A data offset of 4 words, and one beyond the packet.
    let mut short = packet(A4, B4, &Segment::default(), &[]);
    short[32] = 0x40;
    assert!(matches!(parse(&short, true), Err(Malformed::BadHeader)));
    short[32] = 0x60;
    assert!(matches!(parse(&short, true), Err(Malformed::Truncated)));
}

// RFC 9293 MUST-57, MUST-63
// RFC 1122 S3.2.1.3-3
#[test]
fn impossible_addresses() {
    let bad4 = [[0, 0, 0, 0], [224, 0, 0, 1], [239, 1, 2, 3], [255; 4]];
    for bad in bad4 {
        let bad = IpAddr::V4(bad.into());
        refused(&packet(bad, B4, &syn(), &[]), Malformed::BadHeader);
        refused(&packet(A4, bad, &syn(), &[]), Malformed::BadHeader);
    }
    let zero_net = IpAddr::V4([0, 1, 2, 3].into());
    assert!(parse(&packet(zero_net, B4, &syn(), &[]), false).is_ok());
    for bad in ["::", "ff02::1", "::ffff:127.0.0.1"] {
        let bad = bad.parse().unwrap();
        refused(&packet(bad, B6, &syn(), &[]), Malformed::BadHeader);
        refused(&packet(A6, bad, &syn(), &[]), Malformed::BadHeader);
    }
    // Nobody is to be pinged at a group's address; a DHCP server may hear from 0.0.0.0.
    let mut echo = icmp4(&[8, 0, 0, 0, 0, 1, 0, 1]);
    echo[12..16].fill(0);
    mend_v4(&mut echo);
    refused(&echo, Malformed::BadHeader);
    let discover = v4([0; 4], [255; 4], 17, &[0; 8]);
    assert!(matches!(
        parse(&discover, false),
        Ok(Packet::Other { proto: 17, .. })
    ));
}

// --- IPv4 options, IPv6 extension headers ---------------------------------------------------

// RFC 9293 MUST-50
// RFC 1122 S3.2.1.8-3, S3.2.1.8-4
#[test]
fn ipv4_options() {
    let plain = packet(A4, B4, &syn(), &[b"hello"]);
    let with_options = |options: &[u8]| {
        let mut p = [&plain[..20], options, &plain[20..]].concat();
        p[0] = 0x45 + (options.len() / 4) as u8;
        p[3] += options.len() as u8;
        mend_v4(&mut p);
        p
    };
    for good in [
        &[1, 1, 1, 0][..],
        &[7, 7, 4, 0, 0, 0, 0, 0],
        &[148, 4, 0, 0],
    ] {
        let p = with_options(good);
        match parse(&p, false) {
            Ok(Packet::Tcp { payload, .. }) => assert_eq!(&p[payload..], b"hello"),
            other => panic!("{other:?}"),
        }
    }
    for bad in [
        [131, 3, 3, 0],
        [7, 0, 0, 0],
        [7, 2, 0, 0],
        [148, 2, 0, 0],
        [7, 9, 0, 0],
        [1, 1, 1, 7],
    ] {
        refused(&with_options(&bad), Malformed::BadHeader);
    }
}

#[test]
fn ipv6_extension_headers() {
    let plain = packet(A6, B6, &syn(), &[b"hello"]);
    let tcp = &plain[40..];
    let with = |first: u8, extensions: &[u8]| v6(A6, B6, first, &[extensions, tcp].concat());
    let good: [(u8, &[u8]); 5] = [
        (0, &[6, 0, 5, 2, 0, 0, 1, 0]),  // router alert, PadN
        (60, &[6, 0, 1, 4, 0, 0, 0, 0]), // PadN
        (43, &[6, 0, 4, 0, 0, 0, 0, 0]), // a route that is used up
        (44, &[6, 0, 0, 0, 9, 9, 9, 9]), // an atomic fragment
        (0, &[60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]), // two
    ];
    for (first, extensions) in good {
        let p = with(first, extensions);
        match parse(&p, false) {
            Ok(Packet::Tcp {
                payload, segment, ..
            }) => {
                assert_eq!(&p[payload..], b"hello");
                assert_eq!(segment.options, syn().options);
            }
            other => panic!("{first}: {other:?}"),
        }
    }
    let bad: [(u8, &[u8], Malformed); 9] = [
        (44, &[6, 0, 0, 1, 9, 9, 9, 9], Malformed::Fragment),
        (44, &[6, 0, 0, 64, 9, 9, 9, 9], Malformed::Fragment), // the last, at 64
        (44, &[6, 0, 1, 0, 9, 9, 9, 9], Malformed::Fragment),
        (43, &[6, 0, 0, 1, 0, 0, 0, 0], Malformed::BadHeader),
        (0, &[6, 0, 0xc2, 4, 0, 1, 0, 0], Malformed::BadHeader), // jumbo payload
        (60, &[6, 0, 0x7e, 4, 0, 0, 0, 0], Malformed::BadHeader), // unknown, "drop me"
        (60, &[6, 0, 1, 5, 0, 0, 0, 0], Malformed::BadHeader),
        (60, &[6, 200, 1, 4, 0, 0, 0, 0], Malformed::Truncated),
        (
            60,
            &[0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0],
            Malformed::BadHeader,
        ), // hop-by-hop second
    ];
    for (first, extensions, why) in bad {
        refused(&with(first, extensions), why);
    }
    // Nothing behind an authentication header is believed.
    let authenticated = with(51, &[6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert!(matches!(
        parse(&authenticated, false),
        Ok(Packet::Other { proto: 51, .. })
    ));
}

// --- ICMP -----------------------------------------------------------------------------------

// RFC 1122 S3.2.2.6-1, S3.2.2.6-3
#[test]
fn echo_and_its_reply() {
    let body = [0x12, 0x34, 0, 1, b'a', b'b', b'c'];
    let v4_request = icmp4(&[&[8, 0, 0, 0][..], &body].concat());
    let v6_request = icmp6(&[&[128, 0, 0, 0][..], &body].concat());
    for request in [v4_request, v6_request] {
        let Ok(Packet::Echo { src, dst, body: b }) = parse(&request, false) else {
            panic!()
        };
        assert_eq!(b, body);
        let mut out = [0; 200];
        let n = emit_echo_reply(dst, src, b, &mut out).unwrap();
        // The reply differs in addresses, type and checksum; our parser checks the latter.
        match parse(&out[..n], false) {
            Ok(Packet::Other {
                proto, body: reply, ..
            }) => {
                assert_eq!(reply[0], if proto == 1 { 0 } else { 129 });
                assert_eq!(&reply[4..], body);
            }
            other => panic!("{other:?}"),
        }
        for short in 0..n {
            assert_eq!(emit_echo_reply(dst, src, b, &mut out[..short]), None);
        }
        let mut bad = request.clone();
        *bad.last_mut().unwrap() ^= 1;
        refused(&bad, Malformed::Checksum);
    }
    assert_eq!(emit_echo_reply(A4, A6, &body, &mut [0; 200]), None);
    assert_eq!(emit_echo_reply(A4, B4, &[0; 65535], &mut [0; 70000]), None);
}

// RFC 6633 S2-2, S8-1
// RFC 5927 S6.2-1
// RFC 9293 MUST-54, MUST-55
// RFC 1122 S3.2.2-3, S3.2.2.1-2, S3.2.2.4-1, S3.2.2.5-2
#[test]
fn errors_about_a_segment() {
    use IcmpError::*;
    let v4_cases = [
        (3, 0, NetUnreachable),
        (3, 1, HostUnreachable),
        (3, 2, ProtocolUnreachable),
        (3, 3, PortUnreachable),
        (3, 4, TooBig(1400)),
        (3, 5, Other),
        (3, 6, NetUnknown),
        (3, 9, NetUnknown),
        (3, 10, HostUnknown),
        (3, 13, HostUnknown),
        (3, 77, Other),
        (4, 0, Other),
        (11, 0, TimeExceeded),
        (11, 1, Other),
        (12, 0, ParameterProblem),
    ];
    let v6_cases = [
        (1, 0, NetUnreachable),
        (1, 1, Prohibited),
        (1, 2, HostUnknown),
        (1, 3, HostUnknown),
        (1, 4, PortUnreachable),
        (1, 5, Prohibited),
        (1, 6, Prohibited),
        (1, 99, Other),
        (2, 0, TooBig(1400)),
        (3, 0, TimeExceeded),
        (4, 1, ParameterProblem),
    ];
    let check = |v4: bool, t: u8, code: u8, want: IcmpError| {
        let (us, them) = if v4 { (B4, A4) } else { (B6, A6) };
        let quoted = packet(us, them, &syn(), &[b"hello"]);
        let ip_len = if v4 { 20 } else { 40 };
        // RFC 792's IP header and 8 bytes are enough.
        for cut in [ip_len + 8, quoted.len()] {
            let message = [
                &[t, code, 0, 0, 0, 0, 1400u16.to_be_bytes()[0], 0x78][..],
                &quoted[..cut],
            ]
            .concat();
            let p = if v4 { icmp4(&message) } else { icmp6(&message) };
            match parse(&p, false) {
                Ok(Packet::Error {
                    from,
                    local,
                    remote,
                    seq,
                    kind,
                }) => {
                    assert_eq!(from, them);
                    assert_eq!(local, (us, 40000));
                    assert_eq!(remote, (them, 80));
                    assert_eq!(seq, SeqNum(0x01020304));
                    assert_eq!(kind, want, "type {t} code {code}");
                }
                other => panic!("{other:?}"),
            }
        }
        // Cut shorter, it's about nobody's segment.
        let message = [&[t, code, 0, 0, 0, 0, 0, 0][..], &quoted[..ip_len + 7]].concat();
        let p = if v4 { icmp4(&message) } else { icmp6(&message) };
        assert!(matches!(parse(&p, false), Ok(Packet::Other { .. })));
    };
    for (t, code, want) in v4_cases {
        check(true, t, code, want);
    }
    for (t, code, want) in v6_cases {
        check(false, t, code, want);
    }
}

// RFC 1122 S3.2.2-2, S3.2.2.1-1
#[test]
fn port_unreachable_quotes_the_datagram() {
    let long = [0x55; 3000];
    for (us, them, most) in [(A4, B4, 576), (A6, B6, 1280)] {
        let segment = packet(them, us, &syn(), &[&long]);
        let (unreachable, mut out) = (ErrorMessage::PortUnreachable, [0; 1500]);
        let n = emit_icmp_error(unreachable, us, them, &segment, &mut out).unwrap();
        assert_eq!(n, most);
        // It happens to quote TCP, so our own parser understands it.
        match parse(&out[..n], false) {
            Ok(Packet::Error {
                local, kind, from, ..
            }) => {
                assert_eq!((from, local), (us, (them, 40000)));
                assert_eq!(kind, IcmpError::PortUnreachable);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            emit_icmp_error(unreachable, us, them, &segment, &mut out[..most - 1]),
            None
        );
    }
}
