//! Attacks that have a name: what the attacker gets, and what others notice of it.

use super::floods::{feed, listener, open};
use super::packets::{PEER, syn, to_us};
use super::*;
use crate::tcp::{Flags, Segment};
use core::net::Ipv4Addr;

/// A RST in the window that is not the exact one.
fn blind_reset(of: &Segment) -> Segment {
    Segment {
        seq: of.seq + 100,
        flags: Flags::RST,
        ..*of
    }
}

/// CVE-2016-5696: an attacker counts the challenge ACKs on a connection of its own to learn
/// whether those it provoked on another's were sent.
// RFC 5961 S7-1
#[test]
fn challenges_on_one_connection_tell_nothing_of_another() {
    let count = |spoofed: u32| {
        let mut host = TestHost::new(1);
        listener(&mut host, 5);
        let theirs = open(&mut host, 4000);
        let own = open(&mut host, 4001);
        let mut challenges = [0, 0];
        for _ in 0..10 {
            for _ in 0..spoofed {
                let told = feed(&mut host, to_us(PEER, &blind_reset(&theirs), &[]));
                challenges[0] += told.len();
            }
            for _ in 0..100 {
                let told = feed(&mut host, to_us(PEER, &blind_reset(&own), &[]));
                challenges[1] += told.len();
            }
            host.now = host.now + Duration::from_millis(500);
        }
        challenges
    };
    assert_eq!(count(0), [0, 10]);
    assert_eq!(count(100), [10, 10]);
}

/// A limit for all connections: about so many in a second, and not the same number each time.
// RFC 5961 S7-2
#[test]
fn challenges_of_all_connections_are_counted() {
    for (limit, least, most) in [(1, 1, 1), (8, 4, 11), (100, 50, 149)] {
        let mut host = TestHost::new(1);
        let l = listener(&mut host, 5);
        host.with(|h| {
            let s = &mut h.sh.sockets[l.index].sysctl;
            (s.tcp_challenge_ack_limit, s.tcp_invalid_ratelimit) = (limit, 0);
        });
        let ends = [open(&mut host, 4000), open(&mut host, 4001)];
        let mut counts = Vec::new();
        for second in 100..120 {
            host.now = Instant(second * 1_000_000_000);
            let mut count = 0;
            for n in 0..200 {
                let end = &ends[n % 2];
                count += feed(&mut host, to_us(PEER, &blind_reset(end), &[])).len();
            }
            assert!((least..=most).contains(&count), "{count}, limit {limit}");
            counts.push(count);
        }
        let sum = counts.iter().sum::<usize>() as u64;
        host.with(|h| assert_eq!(h.sh.counters.challenge_acks, sum));
        counts.dedup();
        assert_eq!(counts.len() > 1, limit > 1, "{counts:?}");
    }
}

/// The timestamp on the SYN+ACK that a SYN from `peer` gets, less what the clock says.
fn offset(host: &mut TestHost, peer: Ipv4Addr, port: u16) -> u32 {
    let mut seg = syn(port);
    seg.options.timestamps = Some((1, 0));
    let told = feed(host, to_us(peer, &seg, &[]));
    let tsval = told[0].options.timestamps.unwrap().0;
    tsval.wrapping_sub(host.now.millis() as u32)
}

#[test]
fn timestamps_do_not_tell_the_uptime() {
    let mut offsets = Vec::new();
    for secret in [1, 2] {
        let mut host = TestHost::new(1);
        host.arena.lock().secret = [secret; 16];
        listener(&mut host, 100);
        for n in 1..=32 {
            let peer = Ipv4Addr::new(10, 0, 0, 100 + n);
            let first = offset(&mut host, peer, 4000);
            // The same for all connections of a pair, or PAWS would refuse the next one.
            host.now = host.now + Duration::from_secs(10);
            assert_eq!(offset(&mut host, peer, 4001), first);
            offsets.push(first);
        }
    }
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), 64);
    // All over the range: a gap of half of it has a chance of one in 2^56.
    let next = offsets.iter().skip(1).chain(offsets.first());
    let gaps = offsets.iter().zip(next).map(|(a, b)| b.wrapping_sub(*a));
    assert!(gaps.max() < Some(1 << 31));
}

#[test]
fn nobody_can_choose_buckets() {
    let host = TestHost::new(1);
    let mut sh = host.arena.lock();
    let local = Endpoint::new(v4([10, 0, 0, 1]), 80);
    let remote = |n: u32| {
        let net = Ipv4Addr::from(0x0a01_0000 + (n >> 12));
        Endpoint::new(Addr::v4(net), 1024 + (n & 0xfff) as u16)
    };
    // Regular endpoints, in numbers: no bucket gets many of them.
    let mut full = vec![0u8; shared::CONN_BUCKETS];
    for n in 0..1 << 16 {
        full[sh.bucket(local, remote(n))] += 1;
    }
    assert!(full.iter().max() < Some(&12));
    // Those that share a bucket under one secret don't under another.
    let crowd: Vec<u32> = (0..1 << 20)
        .filter(|n| sh.bucket(local, remote(*n)) == 0)
        .collect();
    assert!(crowd.len() > 4, "{}", crowd.len());
    sh.secret = [77; 16];
    let mut elsewhere: Vec<usize> = crowd.iter().map(|n| sh.bucket(local, remote(*n))).collect();
    elsewhere.sort_unstable();
    elsewhere.dedup();
    assert!(elsewhere.len() + 1 >= crowd.len());
}

#[test]
fn who_uses_up_the_ports_to_one_place_harms_nobody_else() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 5);
    let sysctl = Sysctl {
        ip_local_port_range: [40_000, 40_099],
        ..Sysctl::default()
    };
    let connect = |h: &mut Host<'_>, to: [u8; 4], port: u16| {
        let c = h.create(Family::V4, Owner::default(), &sysctl).unwrap();
        (c, h.connect(c, Endpoint::new(v4(to), port)))
    };
    let taken = host.with(|h| {
        let mut taken = Vec::new();
        for _ in 0..100 {
            let (c, result) = connect(h, [10, 0, 0, 2], 80);
            assert_eq!(result, Err(Error::InProgress));
            taken.push(c);
        }
        for _ in 0..3 {
            let (c, result) = connect(h, [10, 0, 0, 2], 80);
            assert_eq!(result, Err(Error::AddrNotAvailable));
            // It may be used for something else.
            let elsewhere = Endpoint::new(v4([10, 0, 0, 2]), 81);
            assert_eq!(h.connect(c, elsewhere), Err(Error::InProgress));
            h.close(c);
        }
        // Another port of that host, and another host.
        for (to, port) in [([10, 0, 0, 2], 82), ([10, 0, 0, 3], 80)] {
            assert_eq!(connect(h, to, port).1, Err(Error::InProgress));
        }
        // A port that the program names.
        let c = create(h);
        h.bind(c, Endpoint::new(Addr::ANY4, 50_000), true).unwrap();
        let to = Endpoint::new(v4([10, 0, 0, 2]), 80);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        taken
    });
    // Who connects to us notices nothing.
    host.wire.out.clear();
    open(&mut host, 4000);
    host.with(|h| {
        assert!(h.accept(l, Owner::default()).is_ok());
        // One that ends makes room for one.
        h.close(taken[50]);
        assert_eq!(connect(h, [10, 0, 0, 2], 80).1, Err(Error::InProgress));
        let again = connect(h, [10, 0, 0, 2], 80).1;
        assert_eq!(again, Err(Error::AddrNotAvailable));
        // bind(2) to any port has Linux's other error.
        let s = h.create(Family::V4, Owner::default(), &sysctl).unwrap();
        let any = Endpoint::new(Addr::ANY4, 0);
        assert_eq!(h.bind(s, any, true), Err(Error::AddrInUse));
    });
}
