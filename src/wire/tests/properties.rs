//! Round trips, cross-checks against etherparse as an independent implementation, hostile bytes.

use super::*;
use etherparse::{IpHeaders, TcpOptionElement};
use proptest::prelude::*;

prop_compose! {
    fn options(syn: bool)(
        mss in proptest::option::of(1u16..),
        wscale in proptest::option::of(0u8..=14),
        sack_permitted: bool,
        timestamps: Option<(u32, u32)>,
        sack: [(u32, u32); 4],
        sack_len in 0u8..=4,
    ) -> Options {
        let mut options = if syn {
            Options { mss, wscale, sack_permitted, timestamps, ..Options::default() }
        } else {
            Options { timestamps, ..Options::default() }
        };
        let room = (40 - options_len(&options)).saturating_sub(4) / 8;
        options.sack_len = sack_len.min(room as u8);
        for (slot, (a, b)) in options.sack.iter_mut().zip(sack).take(options.sack_len.into()) {
            *slot = (SeqNum(a), SeqNum(b));
        }
        options
    }
}

/// Any header; options for SYN only where the flag is set.
fn segment() -> impl Strategy<Value = Segment> {
    (any::<u8>(), any::<[u16; 4]>(), any::<[u32; 2]>()).prop_flat_map(|(flags, w, [seq, ack])| {
        let flags = Flags(flags);
        options(flags.has(Flags::SYN)).prop_map(move |options| Segment {
            src_port: w[0],
            dst_port: w[1],
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            flags,
            window: w[2],
            urgent: w[3],
            options,
            len: 0,
            ecn: 0,
        })
    })
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    let unicast4 = (1u8..=223, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| [a, b, c, d].into());
    let unicast6 = (1u8..=0xfe, any::<[u8; 15]>()).prop_map(|(a, rest)| {
        let mut octets = [a; 16];
        octets[1..].copy_from_slice(&rest);
        IpAddr::from(octets)
    });
    prop_oneof![
        (unicast4.clone(), unicast4).prop_map(|(a, b): (IpAddr, IpAddr)| (a, b)),
        (unicast6.clone(), unicast6),
    ]
}

proptest! {
    // RFC 9293 MUST-5
    #[test]
    fn what_is_emitted_is_parsed(
        (src, dst) in addresses(),
        segment in segment(),
        payload: Vec<Vec<u8>>,
        tos: u8, ttl: u8, id: u16,
    ) {
        let parts: Vec<&[u8]> = payload.iter().map(|p| &p[..]).collect();
        let flat = payload.concat();
        let mut out = [0xee; MAX_HEADERS];
        let header = IpHeader { tos, ttl, id, ..IpHeader::between(src, dst) };
        let (len, ip_len) = emit_tcp(&header, &segment, &parts, Checksum::Full, &mut out);
        prop_assert_eq!(len, ip_len + 20 + options_len(&segment.options));
        let packet = [&out[..len], &flat].concat();
        let want = Segment { len: flat.len() as u32, ecn: tos & 3, ..segment };
        match parse(&packet, false) {
            Ok(Packet::Tcp { src: s, dst: d, segment, payload, tos: t, ip_options: [] }) => {
                prop_assert_eq!((s, d, t), (src, dst, tos));
                prop_assert_eq!(segment, want);
                prop_assert_eq!(&packet[payload..], &flat[..]);
            }
            other => panic!("{other:?}"),
        }
    }

    /// etherparse reads what we wrote, and computes the same checksums.
    // RFC 8201 S4-5
    #[test]
    fn etherparse_agrees_with_what_is_emitted(
        (src, dst) in addresses(),
        segment in segment(),
        payload: Vec<u8>,
        tos: u8, ttl: u8, id: u16,
    ) {
        let mut out = [0; MAX_HEADERS];
        let header = IpHeader { tos, ttl, id, ..IpHeader::between(src, dst) };
        let (len, ip_len) = emit_tcp(&header, &segment, &[&payload], Checksum::Full, &mut out);
        let packet = [&out[..len], &payload].concat();
        let (ip, body) = IpHeaders::from_slice(&packet).unwrap();
        let (tcp, rest) = TcpHeader::from_slice(body.payload).unwrap();
        prop_assert_eq!(rest, &payload[..]);
        prop_assert_eq!(usize::from(tcp.header_len_u16()), len - ip_len);
        let checksum = match &ip {
            IpHeaders::Ipv4(h, _) => {
                prop_assert_eq!(h.calc_header_checksum(), h.header_checksum);
                prop_assert_eq!(h.dscp.value() << 2 | h.ecn.value(), tos);
                prop_assert_eq!((h.time_to_live, h.identification), (ttl, id));
                prop_assert!(h.dont_fragment && !h.more_fragments);
                tcp.calc_checksum_ipv4(h, rest).unwrap()
            }
            IpHeaders::Ipv6(h, _) => {
                prop_assert_eq!((h.traffic_class, h.hop_limit), (tos, ttl));
                tcp.calc_checksum_ipv6(h, rest).unwrap()
            }
        };
        prop_assert_eq!(tcp.checksum, checksum);
        prop_assert_eq!((tcp.source_port, tcp.destination_port), (segment.src_port, segment.dst_port));
        prop_assert_eq!((tcp.sequence_number, tcp.acknowledgment_number), (segment.seq.0, segment.ack.0));
        prop_assert_eq!((tcp.window_size, tcp.urgent_pointer), (segment.window, segment.urgent));
        prop_assert_eq!(
            [tcp.fin, tcp.syn, tcp.rst, tcp.psh, tcp.ack, tcp.urg, tcp.ece, tcp.cwr],
            core::array::from_fn(|bit| segment.flags.0 >> bit & 1 == 1)
        );
        let mut read = Options::default();
        for option in tcp.options_iterator() {
            match option.unwrap() {
                TcpOptionElement::Noop => {}
                TcpOptionElement::MaximumSegmentSize(mss) => read.mss = Some(mss),
                TcpOptionElement::WindowScale(shift) => read.wscale = Some(shift),
                TcpOptionElement::SelectiveAcknowledgementPermitted => read.sack_permitted = true,
                TcpOptionElement::Timestamp(value, echo) => read.timestamps = Some((value, echo)),
                TcpOptionElement::SelectiveAcknowledgement(first, more) => {
                    let blocks = [Some(first)].into_iter().chain(more).flatten();
                    for (slot, (a, b)) in read.sack.iter_mut().zip(blocks) {
                        *slot = (SeqNum(a), SeqNum(b));
                        read.sack_len += 1;
                    }
                }
            }
        }
        prop_assert_eq!(read, segment.options);
    }

    /// The device completes a partial checksum as virtio says: sum from the transport header
    /// on, the field included, and put the complement into the field.
    // RFC 9293 MUST-2
    #[test]
    fn partial_checksum_completes_to_the_full_one(
        (src, dst) in addresses(),
        segment in segment(),
        payload: Vec<u8>,
    ) {
        let mut out = [0; MAX_HEADERS];
        let parts: &[&[u8]] = &[&payload];
        let header = IpHeader::between(src, dst);
        let (len, ip_len) = emit_tcp(&header, &segment, parts, Checksum::Partial, &mut out);
        let mut sum = Sum::new();
        sum.add(&out[ip_len..len]);
        sum.add(&payload);
        let at = ip_len + CHECKSUM_AT;
        out[at..at + 2].copy_from_slice(&sum.checksum().to_be_bytes());
        let mut full = [0; MAX_HEADERS];
        emit_tcp(&header, &segment, parts, Checksum::Full, &mut full);
        prop_assert_eq!(&out[..len], &full[..len]);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes: Vec<u8>, version in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()], verified: bool) {
        if let Some(b) = bytes.first_mut() {
            *b = version;
        }
        let _ = parse(&bytes, verified);
    }

    /// Bytes that get past the first checks: right lengths and IPv4 checksum, any protocol.
    #[test]
    fn random_bodies_never_panic(
        body: Vec<u8>,
        is_v4: bool,
        proto in prop_oneof![Just(0u8), Just(1), Just(6), Just(43), Just(44), Just(58), Just(60), any::<u8>()],
        header_words in 5u8..=15,
    ) {
        let p = if is_v4 {
            let mut p = v4(octets(A4), octets(B4), proto, &body);
            p[0] = 0x40 | header_words;
            if p.len() >= usize::from(header_words) * 4 {
                mend_v4(&mut p);
            }
            p
        } else {
            v6(A6, B6, proto, &body)
        };
        if let Ok(Packet::Tcp { segment, payload, .. }) = parse(&p, true) {
            prop_assert!(payload + segment.len as usize <= p.len());
        }
    }

    /// A good packet with a few bytes changed.
    #[test]
    fn damaged_packets_never_panic(
        segment in segment(),
        is_v4: bool,
        payload: Vec<u8>,
        damage: [(proptest::sample::Index, u8); 4],
    ) {
        let (a, b) = if is_v4 { (A4, B4) } else { (A6, B6) };
        let mut p = packet(a, b, &segment, &[&payload]);
        for (at, value) in damage {
            let at = at.index(p.len());
            p[at] = value;
        }
        if is_v4 && p.len() >= usize::from(p[0] & 15) * 4 && p[0] & 15 >= 5 {
            mend_v4(&mut p);
        }
        let _ = parse(&p, true);
        let _ = parse(&p, false);
    }
}
