//! IPv4's options of connections (IP_OPTIONS), and of what comes.

use super::packets::{PEER, US, completes, syn};
use super::rules::{answer, sent};
use super::*;
use crate::stack::{IpSettings, Opt};
use crate::tcp::{Flags, Options, Segment};
use crate::wire::{self, Checksum, IpHeader, IpOptions, MAX_HEADERS, Packet};
use core::net::{IpAddr, Ipv4Addr};

const HOP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);

fn list(bytes: &[u8]) -> IpOptions {
    IpOptions::given(bytes, true).unwrap()
}

/// A segment of the peer with options.
fn give(host: &mut TestHost, options: &[u8], segment: Segment, data: &[u8]) {
    let segment = Segment {
        len: data.len() as u32,
        ..segment
    };
    let (mut out, full) = ([0; MAX_HEADERS], Checksum::Full);
    let header = IpHeader {
        options: &IpOptions::received(options),
        ..IpHeader::between(PEER.into(), US.into())
    };
    let (n, _) = wire::emit_tcp(&header, &segment, &[data], full, &mut out);
    host.wire.inward.push_back([&out[..n], data].concat());
    host.with(|h| h.receive(10));
}

/// Where the packets that were sent went, and their options.
fn on_the_wire(packets: &[(Segment, Vec<u8>)]) -> Vec<(IpAddr, Vec<u8>)> {
    let look = |p: &(Segment, Vec<u8>)| match wire::parse(&p.1, false) {
        Ok(Packet::Tcp {
            dst, ip_options, ..
        }) => (dst, ip_options.to_vec()),
        other => panic!("{other:?}"),
    };
    packets.iter().map(look).collect()
}

fn connect(host: &mut TestHost, options: &[u8]) -> (SockId, Segment) {
    let id = host.with(|h| {
        let id = create(h);
        h.set_ip_options(id, &list(options)).unwrap();
        let _ = h.connect(id, Endpoint::new(Addr::v4(PEER), 80));
        id
    });
    let out = sent(host);
    assert_eq!(out.len(), 1);
    let ip = 20 + list(options).as_bytes().len();
    assert_eq!(usize::from(out[0].1[0] & 15) * 4, ip);
    (id, out[0].0)
}

// RFC 1122 S3.2.1.8-1
#[test]
fn every_segment_has_the_list_and_is_so_much_smaller() {
    let mut host = TestHost::new(1);
    let want = [1; 40];
    let (id, ours) = connect(&mut host, &want);
    let mss = Options {
        mss: Some(1460),
        ..Options::default()
    };
    give(&mut host, &[], answer(&ours, mss), &[]);
    assert_eq!(host.with(|h| h.get_option(id, Opt::MaxSeg)), Ok(1420));
    host.with(|h| send(h, id, &[5; 5000])).unwrap();
    let out = sent(&mut host);
    assert!(out.len() > 4);
    assert!(on_the_wire(&out).iter().all(|(_, o)| o == &want));
    assert_eq!(out.iter().map(|(_, p)| p.len()).max(), Some(1500));
    // Another list, and none.
    for (new, mss) in [(&[1; 4][..], 1456), (&[], 1460)] {
        host.with(|h| {
            h.set_ip_options(id, &list(new)).unwrap();
            assert_eq!(h.ip_options(id).unwrap().as_bytes(), new);
            assert_eq!(h.get_option(id, Opt::MaxSeg), Ok(mss));
        });
    }
}

// RFC 9293 MUST-51
#[test]
fn a_source_route_goes_to_its_first_hop() {
    let mut host = TestHost::new(1);
    let mut route = vec![131, 7, 4];
    route.extend(HOP.octets());
    let id = host.with(|h| {
        let id = create(h);
        h.set_ip_options(id, &list(&route)).unwrap();
        let any = Endpoint::new(Addr::ANY4, 80);
        assert_eq!(h.connect(id, any), Err(Error::Invalid));
        let _ = h.connect(id, Endpoint::new(Addr::v4(PEER), 80));
        id
    });
    let mut there = vec![131, 7, 4];
    there.extend(PEER.octets());
    there.push(0);
    let out = sent(&mut host);
    assert_eq!(on_the_wire(&out), [(HOP.into(), there)]);
    give(&mut host, &[], answer(&out[0].0, Options::default()), &[]);
    // Those who are not on this wire have no strict route to anywhere.
    host.with(|h| {
        h.close(id);
        h.sh.config.gateway4 = Addr::v4(HOP);
        let id = create(h);
        let strict = [137, 7, 4, 192, 0, 2, 1];
        h.set_ip_options(id, &list(&strict)).unwrap();
        let _ = h.connect(id, Endpoint::new(Addr::v4(PEER), 81));
    });
    assert!(sent(&mut host).iter().all(|(s, _)| s.dst_port == 80));
}

/// 0.0.0.0 is this host, as in Linux's routes: what goes there is lost on the loopback.
#[test]
fn a_source_route_by_no_address_leads_nowhere() {
    let mut host = TestHost::new(1);
    let settings = IpSettings {
        accept_source_route: 1,
        ..IpSettings::default()
    };
    let (l, s) = host.with(|h| {
        h.set_ip_settings(&settings);
        let l = create(h);
        h.bind(l, Endpoint::new(Addr::ANY4, 80), true).unwrap();
        h.listen(l, 5).unwrap();
        let s = create(h);
        h.set_ip_options(s, &list(&[131, 7, 4, 0, 0, 0, 0]))
            .unwrap();
        let _ = h.connect(s, Endpoint::new(Addr::v4(PEER), 81));
        (l, s)
    });
    let own = host.with(|h| h.local_addr(s)).unwrap();
    assert_eq!(own.addr, Addr::v4(Ipv4Addr::LOCALHOST));
    let by_none = [131, 11, 12, 192, 0, 2, 9, 0, 0, 0, 0, 0];
    give(&mut host, &by_none, syn(4000), &[]);
    assert_eq!(host.with(|h| h.sh.sockets[l.index].syn_len), 1);
    host.with(|h| h.sh.sockets[l.index].sysctl.tcp_syncookies = 2);
    give(&mut host, &by_none, syn(4001), &[]);
    assert_eq!(host.with(|h| h.sh.counters.syncookies_sent), 1);
    assert_eq!(sent(&mut host), []);
}

// RFC 1122 S3.2.1.8-2
// RFC 9293 MUST-52
#[test]
fn a_child_answers_with_what_its_syn_had() {
    let mut host = TestHost::new(1);
    let l = host.with(|h| {
        let l = create(h);
        h.bind(l, Endpoint::new(Addr::ANY4, 80), true).unwrap();
        h.set_ip_options(l, &list(&[1; 4])).unwrap();
        h.listen(l, 5).unwrap();
        l
    });
    let asked = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let twice = [7, 11, 12, 10, 0, 0, 1, 10, 0, 0, 1, 0];
    give(&mut host, &asked, syn(4000), &[]);
    let out = sent(&mut host);
    assert_eq!(on_the_wire(&out), [(PEER.into(), twice.to_vec())]);
    let ack = completes(&out[0].0);
    give(&mut host, &[], ack, b"x");
    assert_eq!(on_the_wire(&sent(&mut host))[0].1, twice);
    host.with(|h| {
        let (s, _) = h.accept(l, Owner::default()).unwrap();
        let once = [7, 11, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(h.ip_options(s).unwrap().as_bytes(), once);
        assert_eq!(h.get_option(s, Opt::MaxSeg), Ok(1460 - 12));
        // Its own takes the place of that.
        h.set_ip_options(s, &list(&[1; 4])).unwrap();
        send(h, s, b"y").unwrap();
    });
    assert_eq!(on_the_wire(&sent(&mut host))[0].1, [1; 4]);
    // A RST, too, has what the segment had.
    let nobody = Segment {
        dst_port: 81,
        ..syn(4001)
    };
    give(&mut host, &asked, nobody, &[]);
    assert_eq!(on_the_wire(&sent(&mut host))[0].1, twice);
    // And so has a cookie.
    host.with(|h| h.sh.sockets[l.index].sysctl.tcp_syncookies = 2);
    give(&mut host, &asked, syn(4002), &[]);
    let out = sent(&mut host);
    assert_eq!(on_the_wire(&out)[0].1, twice);
    give(&mut host, &asked, completes(&out[0].0), b"x");
    assert_eq!(on_the_wire(&sent(&mut host))[0].1, twice);
}

// RFC 1122 S3.2.1.8-4
// RFC 9293 MUST-53
#[test]
fn source_routes_are_taken_where_the_setting_says_so() {
    let mut host = TestHost::new(1);
    host.with(|h| {
        let l = create(h);
        h.bind(l, Endpoint::new(Addr::ANY4, 80), true).unwrap();
        h.listen(l, 5).unwrap();
    });
    let mut ended = vec![131, 7, 8];
    ended.extend(HOP.octets());
    give(&mut host, &ended, syn(4000), &[]);
    assert_eq!(sent(&mut host), []);
    let settings = IpSettings {
        accept_source_route: 1,
        ..IpSettings::default()
    };
    host.with(|h| h.set_ip_settings(&settings));
    give(&mut host, &ended, syn(4000), &[]);
    let mut back = vec![131, 7, 4];
    back.extend(PEER.octets());
    back.push(0);
    let out = sent(&mut host);
    assert_eq!(on_the_wire(&out), [(HOP.into(), back)]);
    // One that goes on is not for this host.
    ended[2] = 4;
    give(&mut host, &ended, syn(4001), &[]);
    assert_eq!(sent(&mut host), []);
    // A strict one whose way back has a router in it.
    let strict = [137, 7, 8, 192, 0, 2, 1];
    give(&mut host, &strict, syn(4002), &[]);
    assert_eq!(sent(&mut host), []);
}

#[test]
fn the_loopback_carries_them() {
    TestHost::new(1).with(|h| {
        let l = create(h);
        h.bind(l, Endpoint::new(Addr::ANY4, 9000), true).unwrap();
        h.listen(l, 5).unwrap();
        let c = create(h);
        h.set_ip_options(c, &list(&[7, 7, 4, 0, 0, 0, 0])).unwrap();
        let _ = h.connect(c, Endpoint::new(v4([127, 0, 0, 1]), 9000));
        assert_eq!(h.connect_result(c), Ok(()));
        let (s, _) = h.accept(l, Owner::default()).unwrap();
        let full = [7, 7, 8, 127, 0, 0, 1, 0];
        assert_eq!(h.ip_options(s).unwrap().as_bytes(), full);
        send(h, c, &[1; 100_000]).unwrap();
        assert!(!recv(h, s, 1 << 17).unwrap().is_empty());
        // Nobody takes a source route.
        let c = create(h);
        h.set_ip_options(c, &list(&[131, 7, 4, 127, 0, 0, 1]))
            .unwrap();
        let _ = h.connect(c, Endpoint::new(v4([127, 0, 0, 1]), 9000));
        assert_eq!(h.connect_result(c), Err(Error::Already));
        assert_eq!(h.info(c).unwrap().0, State::SynSent);
    });
}

#[test]
fn time_wait_answers_in_kind() {
    let mut host = TestHost::new(1);
    let (id, ours) = connect(&mut host, &[1; 4]);
    give(&mut host, &[], answer(&ours, Options::default()), &[]);
    sent(&mut host);
    host.with(|h| h.close(id));
    let fin = sent(&mut host).pop().unwrap().0;
    let end = Segment {
        flags: Flags::FIN.with(Flags::ACK),
        ..answer(&fin, Options::default())
    };
    let end = Segment {
        seq: fin.ack,
        ..end
    };
    give(&mut host, &[], end, &[]);
    assert_eq!(on_the_wire(&sent(&mut host))[0].1, [1; 4]);
    host.now = host.now + Duration::from_secs(1);
    give(&mut host, &[], end, &[]);
    assert_eq!(on_the_wire(&sent(&mut host))[0].1, [0u8; 0]);
}
