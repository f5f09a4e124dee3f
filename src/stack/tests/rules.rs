//! What the RFCs ask of the host, rule by rule.

use super::packets::{PEER, icmp, ipv4};
use super::*;
use crate::stack::Opt;
use crate::tcp::{Flags, Options, Segment, SeqNum};
use crate::wire::{self, Packet};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
pub(super) const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

pub(super) fn host() -> TestHost {
    let mut host = TestHost::new(1);
    host.with(|h| {
        (h.sh.config.addr6, h.sh.config.prefix6) = (Addr::v6(OWN6), 64);
    });
    host
}

/// The segments that were sent to the wire, with their packets.
pub(super) fn sent(host: &mut TestHost) -> Vec<(Segment, Vec<u8>)> {
    let packets: Vec<Vec<u8>> = host.wire.out.drain(..).collect();
    let parsed = packets.into_iter().map(|p| match wire::parse(&p, false) {
        Ok(Packet::Tcp { segment, .. }) => (segment, p),
        other => panic!("{other:?}"),
    });
    parsed.collect()
}

/// A segment of `peer` arrives.
pub(super) fn give(host: &mut TestHost, peer: IpAddr, to: IpAddr, segment: Segment) {
    let payload = vec![0; segment.len as usize];
    host.wire
        .inward
        .push_back(packets::tcp(peer, to, &segment, &payload));
    host.with(|h| h.receive(10));
}

/// An ACK of `seg`, or the SYN+ACK that answers it, with these options.
pub(super) fn answer(seg: &Segment, options: Options) -> Segment {
    let syn = seg.flags.has(Flags::SYN);
    Segment {
        src_port: seg.dst_port,
        dst_port: seg.src_port,
        seq: if syn { SeqNum(7000) } else { seg.ack },
        ack: seg.end(),
        flags: if syn {
            Flags::SYN.with(Flags::ACK)
        } else {
            Flags::ACK
        },
        window: 60_000,
        options,
        ..Segment::default()
    }
}

/// A connection to `PEER`'s port 80.
fn connected(host: &mut TestHost, prepare: impl FnOnce(&mut Host<'_>, SockId)) -> SockId {
    let c = host.with(|h| {
        let c = create(h);
        prepare(h, c);
        let to = Endpoint::new(Addr::v4(PEER), 80);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        c
    });
    let syn = sent(host)[0].0;
    let own = Ipv4Addr::new(10, 0, 0, 1);
    give(
        host,
        PEER.into(),
        own.into(),
        answer(&syn, Options::default()),
    );
    assert_eq!(host.with(|h| h.connect_result(c)), Ok(()));
    c
}

// RFC 9293 MUST-46
#[test]
fn no_connection_to_a_group() {
    host().with(|h| {
        let groups = [
            [224, 0, 0, 1],
            [255; 4],
            [10, 0, 0, 255],
            [127, 255, 255, 255],
        ];
        for group in groups {
            let c = create(h);
            let to = Endpoint::new(v4(group), 80);
            assert_eq!(h.connect(c, to), Err(Error::NetUnreachable), "{group:?}");
            h.close(c);
        }
    });
}

// RFC 9293 MUST-41, MUST-42
#[test]
fn a_port_of_a_half_open_connection_can_be_listened_at() {
    host().with(|h| {
        let c = create(h);
        h.set_option(c, Opt::ReuseAddr, 1).unwrap();
        h.bind(c, Endpoint::new(Addr::ANY4, 9000), true).unwrap();
        let to = Endpoint::new(Addr::v4(PEER), 80);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        let before = (h.local_addr(c), h.info(c).unwrap().0);
        assert_eq!(before.1, State::SynSent);
        let l = create(h);
        h.set_option(l, Opt::ReuseAddr, 1).unwrap();
        h.bind(l, Endpoint::new(Addr::ANY4, 9000), true).unwrap();
        h.listen(l, 5).unwrap();
        assert_eq!((h.local_addr(c), h.info(c).unwrap().0), before);
        // A second listener is an error, and the first is none the worse.
        let other = create(h);
        h.set_option(other, Opt::ReuseAddr, 1).unwrap();
        let at = Endpoint::new(Addr::ANY4, 9000);
        assert_eq!(h.bind(other, at, true), Err(Error::AddrInUse));
        assert_eq!(h.info(l).unwrap().0, State::Listen);
    });
}

// RFC 9293 MUST-43, MUST-44, MUST-45
// RFC 1122 S3.2.1.3-1, S3.3.4.2-1
#[test]
fn the_local_address_is_chosen_once() {
    let mut host = host();
    let c = connected(&mut host, |_, _| {});
    let own = Addr::v4(Ipv4Addr::new(10, 0, 0, 1));
    host.with(|h| {
        assert_eq!(h.local_addr(c).unwrap().addr, own);
        send(h, c, b"hello").unwrap();
    });
    for (_, packet) in sent(&mut host) {
        assert_eq!(packet[12..16], [10, 0, 0, 1]);
    }
    // Named by the program.
    host.with(|h| {
        let c = create(h);
        h.bind(c, Endpoint::new(v4([127, 0, 0, 7]), 0), true)
            .unwrap();
        let to = Endpoint::new(v4([127, 0, 0, 1]), 1);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        assert_eq!(h.local_addr(c).unwrap().addr, v4([127, 0, 0, 7]));
    });
}

// RFC 9293 MUST-48, SHLD-21, SHLD-22, MUST-49
// RFC 1122 S3.2.1.6-1, S3.2.1.7-3
#[test]
fn diffserv_and_ttl_are_the_programs() {
    let mut host = host();
    let c = connected(&mut host, |h, c| {
        h.set_option(c, Opt::Tos, 0xb8).unwrap();
        h.set_option(c, Opt::Ttl, 7).unwrap();
    });
    let (_, ack) = sent(&mut host).pop().unwrap();
    assert_eq!((ack[1], ack[8]), (0xb8, 7));
    // While it lasts.
    host.with(|h| {
        h.set_option(c, Opt::Tos, 0x28).unwrap();
        send(h, c, b"hello").unwrap();
    });
    let (_, data) = sent(&mut host).pop().unwrap();
    assert_eq!((data[1], data[8]), (0x28, 7));
}

// RFC 9293 MUST-15
#[test]
fn a_peer_without_mss_takes_the_least() {
    let mut host = host();
    let c = connected(&mut host, |_, _| {});
    assert_eq!(host.with(|h| h.info(c).unwrap().1.snd_mss), 536);
    // Over IPv6, when we connect ...
    let c = host.with(|h| {
        let c = h
            .create(Family::V6, Owner::default(), &Sysctl::default())
            .unwrap();
        let to = Endpoint::new(Addr::v6(PEER6), 80);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        c
    });
    let syn = sent(&mut host).pop().unwrap().0;
    let none = Options::default();
    give(&mut host, PEER6.into(), OWN6.into(), answer(&syn, none));
    assert_eq!(host.with(|h| h.info(c).unwrap().1.snd_mss), 1220);
    sent(&mut host);
    // ... and when the peer does.
    let l = host.with(|h| {
        let l = h
            .create(Family::V6, Owner::default(), &Sysctl::default())
            .unwrap();
        h.bind(l, Endpoint::new(Addr::ANY6, 9000), true).unwrap();
        h.listen(l, 5).unwrap();
        l
    });
    let syn = Segment {
        src_port: 4000,
        dst_port: 9000,
        seq: SeqNum(99),
        flags: Flags::SYN,
        window: 60_000,
        ..Segment::default()
    };
    give(&mut host, PEER6.into(), OWN6.into(), syn);
    let mut ack = answer(&sent(&mut host).pop().unwrap().0, none);
    (ack.seq, ack.flags) = (SeqNum(100), Flags::ACK);
    give(&mut host, PEER6.into(), OWN6.into(), ack);
    host.with(|h| {
        let (s, _) = h.accept(l, Owner::default()).unwrap();
        assert_eq!(h.info(s).unwrap().1.snd_mss, 1220);
    });
}

/// What the host sends when `packet` arrives.
pub(super) fn answers(host: &mut TestHost, packet: Vec<u8>) -> Vec<Vec<u8>> {
    host.wire.inward.push_back(packet);
    host.with(|h| h.receive(10));
    host.wire.out.drain(..).collect()
}

pub(super) const UDP: [u8; 8] = [0x10, 0, 0x20, 0, 0, 8, 0, 0];

// RFC 1122 S3.2.2-5, S3.2.2-6, S3.2.2-7, S3.2.2-8, S3.3.8-1
#[test]
fn icmp_errors_answer_what_they_may() {
    let mut host = host();
    let (peer, own) = ([10, 0, 0, 9], [10, 0, 0, 1]);
    let told = answers(&mut host, ipv4(peer, own, 17, 64, &UDP));
    assert_eq!(
        (told.len(), told[0][9], told[0][20], told[0][21]),
        (1, 1, 3, 3)
    );
    assert_eq!((&told[0][12..16], &told[0][16..20]), (&own[..], &peer[..]));
    for nobody in [
        [0; 4],
        [127, 0, 0, 1],
        own,
        [10, 0, 0, 255],
        [224, 0, 0, 1],
        [255; 4],
    ] {
        let none = answers(&mut host, ipv4(nobody, own, 17, 64, &UDP));
        assert!(none.is_empty(), "{nobody:?}");
    }
    for group in [[10, 0, 0, 255], [224, 0, 0, 1], [255; 4]] {
        let none = answers(&mut host, ipv4(peer, group, 17, 64, &UDP));
        assert!(none.is_empty(), "{group:?}");
    }
    let mut fragment = ipv4(peer, own, 17, 64, &UDP);
    fragment[7] = 5;
    packets::mend_ipv4(&mut fragment);
    assert!(answers(&mut host, fragment).is_empty());
    // An error about a datagram nobody sent.
    let error = icmp([&[3, 3, 0, 0, 0, 0, 0, 0][..], &told[0]].concat());
    assert!(answers(&mut host, ipv4(peer, own, 1, 64, &error)).is_empty());
}

// RFC 1122 S3.1-1, S3.2.2-1, S3.2.2.6-1, S3.2.2.6-2, S3.2.2.6-3
#[test]
fn echo_is_answered_and_the_unknown_is_not() {
    let mut host = host();
    let (peer, own) = ([10, 0, 0, 9], [10, 0, 0, 1]);
    let ask = icmp(vec![8, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
    let told = answers(&mut host, ipv4(peer, own, 1, 64, &ask));
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0][12..16], told[0][20]), (&own[..], 0));
    assert_eq!(told[0][24..], ask[4..]);
    let unknown = icmp(vec![200, 0, 0, 0, 1, 2, 3, 4]);
    assert!(answers(&mut host, ipv4(peer, own, 1, 64, &unknown)).is_empty());
}

// RFC 1122 S3.1-2, S3.2.1.3-2, S3.2.1.7-2
#[test]
fn packets_that_are_not_for_us() {
    let mut host = host();
    let syn = Segment {
        src_port: 4000,
        dst_port: 9000,
        flags: Flags::SYN,
        ..Segment::default()
    };
    give(
        &mut host,
        PEER.into(),
        Ipv4Addr::new(10, 0, 0, 77).into(),
        syn,
    );
    assert!(host.wire.out.is_empty());
    // A TTL of 1 is enough to arrive.
    let mut segment = [0; wire::MAX_HEADERS];
    let own = Ipv4Addr::new(10, 0, 0, 1);
    let full = wire::Checksum::Full;
    let header = wire::IpHeader {
        ttl: 1,
        ..wire::IpHeader::between(PEER.into(), own.into())
    };
    let (len, _) = wire::emit_tcp(&header, &syn, &[], full, &mut segment);
    let told = answers(&mut host, segment[..len].to_vec());
    assert_eq!(told.len(), 1, "a RST");
    // What is damaged is counted.
    let before = host.with(|h| h.sh.counters.in_errs);
    assert!(answers(&mut host, segment[..len - 1].to_vec()).is_empty());
    assert_eq!(host.with(|h| h.sh.counters.in_errs), before + 1);
}

// RFC 1122 S3.2.1.7-1, S3.3.1.1-1, S3.3.1.2-1
#[test]
fn routes_and_ttls() {
    host().with(|h| {
        let c = create(h);
        assert_eq!(h.set_option(c, Opt::Ttl, 0), Err(Error::Invalid));
        let far = Endpoint::new(v4([192, 0, 2, 1]), 80);
        assert_eq!(h.connect(c, far), Err(Error::NetUnreachable));
        h.sh.config.gateway4 = v4([10, 0, 0, 254]);
        assert_eq!(h.connect(c, far), Err(Error::InProgress));
        let c = create(h);
        let near = Endpoint::new(Addr::v4(PEER), 80);
        assert_eq!(h.connect(c, near), Err(Error::InProgress));
    });
}

// RFC 1191 S3-4, S3-9
#[test]
fn df_is_set_and_a_silent_router_is_believed() {
    let mut host = host();
    let c = host.with(|h| {
        let c = create(h);
        let to = Endpoint::new(Addr::v4(PEER), 80);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        c
    });
    let syn = sent(&mut host).pop().unwrap();
    assert_eq!(syn.1[6] & 0x40, 0x40);
    let offers = Options {
        mss: Some(1460),
        ..Options::default()
    };
    let own = Ipv4Addr::new(10, 0, 0, 1);
    give(&mut host, PEER.into(), own.into(), answer(&syn.0, offers));
    host.with(|h| send(h, c, &[0; 4000]).unwrap());
    let data = sent(&mut host);
    assert!(data.iter().all(|s| s.1[6] & 0x40 != 0));
    // "Fragmentation needed", without a word how much.
    let quoted = &data.last().unwrap().1[..28];
    let error = icmp([&[3, 4, 0, 0, 0, 0, 0, 0][..], quoted].concat());
    let again = answers(
        &mut host,
        ipv4([10, 0, 0, 254], [10, 0, 0, 1], 1, 64, &error),
    );
    // Linux: that is net.ipv4.route.min_pmtu, and on so narrow a path routers may cut.
    assert_eq!(host.with(|h| h.info(c).unwrap().1.snd_mss), 512);
    assert!(!again.is_empty() && again.iter().all(|p| p[6] & 0x40 == 0));
}

// RFC 8201 S4-1, S4-2, S4-3, S4-4
#[test]
fn packet_too_big_within_reason() {
    let mut host = host();
    let c = host.with(|h| {
        let c = h
            .create(Family::V6, Owner::default(), &Sysctl::default())
            .unwrap();
        let to = Endpoint::new(Addr::v6(PEER6), 80);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        c
    });
    let syn = sent(&mut host).pop().unwrap().0;
    let offers = Options {
        mss: Some(1440),
        ..Options::default()
    };
    give(&mut host, PEER6.into(), OWN6.into(), answer(&syn, offers));
    host.with(|h| send(h, c, &[0; 3000]).unwrap());
    let data = sent(&mut host).pop().unwrap().1;
    let mut too_big = |mtu: u32| {
        let mut m = vec![2, 0, 0, 0];
        m.extend(mtu.to_be_bytes());
        m.extend(&data[..60]);
        let mut sum = wire::Sum::new();
        sum.add_pseudo_header(&PEER6.octets(), &OWN6.octets(), 58, m.len());
        sum.add(&m);
        m[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
        let mut p = vec![0x60, 0, 0, 0, 0, m.len() as u8, 58, 64];
        p.extend(PEER6.octets());
        p.extend(OWN6.octets());
        p.extend(m);
        answers(&mut host, p);
        host.with(|h| h.info(c).unwrap().1.snd_mss)
    };
    assert_eq!(too_big(1279), 1440);
    assert_eq!(too_big(68), 1440);
    assert_eq!(too_big(1400), 1340);
    assert_eq!(too_big(1450), 1340);
    assert_eq!(too_big(1280), 1220);
}

// RFC 1122 S3.3.2-1, S3.3.2-2
#[test]
fn large_packets_are_put_together() {
    for len in [576 - 40, 1460, 60_000] {
        let mut host = host();
        let segment = Segment {
            src_port: 4000,
            dst_port: 9000,
            seq: SeqNum(1),
            flags: Flags::ACK.with(Flags::PSH),
            len,
            ..Segment::default()
        };
        let payload = vec![7; len as usize];
        let (peer, own) = (PEER.octets(), [10, 0, 0, 1]);
        let whole = packets::tcp(PEER.into(), own.into(), &segment, &payload).split_off(20);
        let pieces = whole.chunks(1400).count();
        let mut told = Vec::new();
        for (i, part) in whole.chunks(1400).enumerate() {
            let mut p = ipv4(peer, own, 6, 64, part);
            let more = if i + 1 < pieces { 0x2000 } else { 0 };
            p[6..8].copy_from_slice(&((i * 1400 / 8) as u16 | more).to_be_bytes());
            packets::mend_ipv4(&mut p);
            told.extend(answers(&mut host, p));
        }
        assert_eq!(told.len(), 1, "{len}");
        match wire::parse(&told[0], false) {
            Ok(Packet::Tcp { segment, .. }) => assert!(segment.flags.has(Flags::RST)),
            other => panic!("{other:?}"),
        }
    }
}

// RFC 2018 S4-5, S4-6, S4-7
#[test]
fn sacks_of_the_hosts_queue() {
    let mut host = host();
    host.with(|h| {
        // Each is answered at once.
        let sysctl = Sysctl {
            tcp_comp_sack_nr: 0,
            ..Sysctl::default()
        };
        let c = h.create(Family::V4, Owner::default(), &sysctl).unwrap();
        let to = Endpoint::new(Addr::v4(PEER), 80);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
    });
    let syn = sent(&mut host)[0].0;
    let offers = Options {
        mss: Some(1460),
        sack_permitted: true,
        ..Options::default()
    };
    let own = Ipv4Addr::new(10, 0, 0, 1);
    give(&mut host, PEER.into(), own.into(), answer(&syn, offers));
    let mut ack = answer(&sent(&mut host)[0].0, Options::default());
    let first = ack.seq;
    ack.len = 100;
    let mut starts = Vec::new();
    // The last joins two; of those not told lately the lowest comes first.
    for at in [900, 100, 700, 300, 1100, 500, 600] {
        ack.seq = first + at;
        give(&mut host, PEER.into(), own.into(), ack);
        starts.insert(0, at);
        if at == 600 {
            starts = vec![500, 1100, 300, 100];
        }
        let o = sent(&mut host)[0].0.options;
        let blocks = &o.sack[..usize::from(o.sack_len)];
        let told: Vec<u32> = blocks.iter().map(|b| b.0 - first).collect();
        assert_eq!(told, starts[..starts.len().min(4)]);
    }
}

/// Who asks for AccECN (AE, CWR and ECE), which is left out, gets plain ECN.
#[test]
fn a_request_for_accecn_gets_plain_ecn() {
    let mut host = host();
    super::floods::listener(&mut host, 5);
    let syn = Segment {
        flags: Flags::SYN.with(Flags::ECE).with(Flags::CWR),
        ..packets::syn(4000)
    };
    let mut packet = packets::to_us(PEER, &syn, &[]);
    packet[32] |= 1;
    let sum = u16::from_be_bytes([packet[36], packet[37]]);
    let (less, borrow) = sum.overflowing_sub(0x100);
    packet[36..38].copy_from_slice(&(less - u16::from(borrow)).to_be_bytes());
    host.wire.inward.push_back(packet);
    host.with(|h| h.receive(10));
    let (answer, bytes) = sent(&mut host).remove(0);
    assert_eq!(answer.flags, Flags::SYN.with(Flags::ACK).with(Flags::ECE));
    assert_eq!(bytes[32] & 15, 0);
}
