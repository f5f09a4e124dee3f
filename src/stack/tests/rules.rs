//! What the RFCs ask of the host, rule by rule.

use super::*;
use crate::stack::Opt;
use crate::tcp::{Flags, Options, Segment, SeqNum};
use crate::wire::{self, Packet};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

fn host() -> TestHost {
    let mut host = TestHost::new(1);
    host.with(|h| {
        (h.sh.config.addr6, h.sh.config.prefix6) = (Addr::v6(OWN6), 64);
    });
    host
}

/// The segments that were sent to the wire, with their packets.
fn sent(host: &mut TestHost) -> Vec<(Segment, Vec<u8>)> {
    let packets: Vec<Vec<u8>> = host.wire.out.drain(..).collect();
    let parsed = packets.into_iter().map(|p| match wire::parse(&p, false) {
        Ok(Packet::Tcp { segment, .. }) => (segment, p),
        other => panic!("{other:?}"),
    });
    parsed.collect()
}

/// A segment of `peer` arrives.
fn give(host: &mut TestHost, peer: IpAddr, to: IpAddr, segment: Segment) {
    let mut headers = [0; wire::MAX_HEADERS];
    let sum = wire::Checksum::Full;
    let (len, _) = wire::emit_tcp(peer, to, &segment, &[], 0, 64, 1, sum, &mut headers);
    host.wire.inward.push_back(headers[..len].to_vec());
    host.with(|h| h.receive(10));
}

/// An ACK of `seg`, or the SYN+ACK that answers it, with these options.
fn answer(seg: &Segment, options: Options) -> Segment {
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
        let groups = [[224, 0, 0, 1], [255; 4], [10, 0, 0, 255], [127, 255, 255, 255]];
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
