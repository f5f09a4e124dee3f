//! What many hostile packets can make the host keep: bounded, and others go on.

use super::packets::{PEER, syn, to_us};
use super::*;
use crate::stack::How;
use crate::tcp::{Flags, Segment, SeqNum};
use crate::wire::{self, Packet};
use core::net::Ipv4Addr;

pub fn feed(host: &mut TestHost, packet: Vec<u8>) -> Vec<Segment> {
    host.wire.inward.push_back(packet);
    host.with(|h| h.receive(10));
    let told = host
        .wire
        .out
        .drain(..)
        .map(|p| match wire::parse(&p, false) {
            Ok(Packet::Tcp { segment, .. }) => segment,
            other => panic!("{other:?}"),
        });
    told.collect()
}

/// The same without the check after each packet, which looks at everything.
pub fn feed_quickly(host: &mut TestHost, packets: impl Iterator<Item = Vec<u8>>) {
    host.wire.inward.extend(packets);
    host.with(|h| while h.receive(100) > 0 {});
    host.wire.out.clear();
}

pub fn listener(host: &mut TestHost, backlog: i32) -> SockId {
    host.with(|h| {
        let l = create(h);
        h.bind(l, Endpoint::new(Addr::ANY4, 80), true).unwrap();
        h.listen(l, backlog).unwrap();
        l
    })
}

/// Open a connection by hand; the segment to go on from.
pub fn open(host: &mut TestHost, port: u16) -> Segment {
    let told = feed(host, to_us(PEER, &syn(port), &[]));
    let ack = packets::completes(&told[0]);
    feed(host, to_us(PEER, &ack, &[]));
    ack
}

#[test]
fn a_flood_of_syns_is_remembered_up_to_the_backlog() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 128);
    let flood = (0..20_000u32).map(|n| {
        let from = Ipv4Addr::from(0x0b00_0000 + n * 7919);
        to_us(from, &syn((n % 60_000) as u16 + 1024), &[])
    });
    feed_quickly(&mut host, flood);
    assert_eq!(host.arena.lock().sockets.in_use(), 1 + 129);
    assert_eq!(host.arena.lock().counters.syncookies_sent, 20_000 - 129);
    // An honest client gets in meanwhile.
    open(&mut host, 4000);
    assert!(host.with(|h| h.accept(l, Owner::default())).is_ok());
    // And the half-open ones are forgotten in time.
    for _ in 0..400 {
        host.now = host.now + Duration::from_secs(1);
        host.with(|h| h.run_timers());
    }
    assert_eq!(host.arena.lock().sockets.in_use(), 2);
}

/// A queue that is more than half full keeps its other half for the young: who did not answer the
/// second SYN+ACK goes, until it is not.
#[test]
fn the_old_make_room_for_the_young() {
    for (count, left) in [(4, 4), (5, 4), (9, 4)] {
        let mut host = TestHost::new(1);
        listener(&mut host, 8);
        let syns = (0..count).map(|n| to_us(PEER, &syn(4000 + n), &[]));
        feed_quickly(&mut host, syns);
        let mut now = || {
            host.now = host.now + Duration::from_millis(100);
            host.with(|h| h.run_timers());
            host.arena.lock().sockets.in_use() - 1
        };
        for _ in 0..69 {
            assert_eq!(now(), u32::from(count));
        }
        let later: Vec<u32> = (0..200).map(|_| now()).collect();
        assert_eq!(later[5], left, "of {count}");
        assert!(later.iter().all(|n| [u32::from(count), left].contains(n)));
    }
}

/// Who brings a cookie back is not put off until data comes: there is no SYN+ACK to be sent again,
/// and a child without a timer would stay for ever.
#[test]
fn a_cookie_that_comes_back_is_accepted_at_once() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 0);
    host.with(|h| h.set_option(l, Opt::DeferAccept, 30))
        .unwrap();
    feed(&mut host, to_us(PEER, &syn(3999), &[]));
    open(&mut host, 4000);
    assert_eq!(host.arena.lock().counters.syncookies_recv, 1);
    assert!(host.with(|h| h.accept(l, Owner::default())).is_ok());
}

/// The SYN+ACK of a cookie agrees on what the connection will have when it comes back: without
/// timestamps neither scaling nor SACK nor ECN.
#[test]
fn a_cookie_agrees_on_what_comes_back() {
    for stamped in [false, true] {
        let mut host = TestHost::new(1);
        let l = listener(&mut host, 0);
        feed(&mut host, to_us(PEER, &syn(3999), &[]));
        let mut asks = syn(4000);
        asks.flags = Flags::SYN.with(Flags::ECE).with(Flags::CWR);
        asks.options.wscale = Some(7);
        asks.options.timestamps = stamped.then_some((500, 0));
        let told = feed(&mut host, to_us(PEER, &asks, &[]));
        let answer = &told[0];
        let agreed = (
            answer.options.wscale.is_some(),
            answer.options.sack_permitted,
            answer.flags.has(Flags::ECE),
        );
        assert_eq!(agreed, (stamped, stamped, stamped));
        let mut ack = packets::completes(answer);
        ack.options.timestamps = answer.options.timestamps.map(|t| (510, t.0));
        feed(&mut host, to_us(PEER, &ack, &[]));
        assert_eq!(host.arena.lock().counters.syncookies_recv, 1);
        let info = host.with(|h| {
            let (s, _) = h.accept(l, Owner::default()).unwrap();
            h.socket(s).unwrap().tcb.info(h.now)
        });
        assert_eq!((info.wscale_ok, info.sack, info.ecn), agreed);
    }
}

/// Three handshakes at a listener that has room for two of them; the last one's ACK.
fn one_too_many(host: &mut TestHost) -> (SockId, Segment) {
    let l = listener(host, 1);
    open(host, 4000);
    let told = [4001, 4002].map(|port| feed(host, to_us(PEER, &syn(port), &[]))[0]);
    let [ack, last] = told.map(|t| packets::completes(&t));
    feed(host, to_us(PEER, &ack, &[]));
    (l, last)
}

/// A handshake's last segment is looked at before the queue is.
#[test]
fn a_wrong_ack_is_reset_though_the_queue_is_full() {
    let mut host = TestHost::new(1);
    let (_, ack) = one_too_many(&mut host);
    assert!(feed(&mut host, to_us(PEER, &ack, &[])).is_empty());
    assert_eq!(host.arena.lock().counters.listen_overflows, 1);
    let wrong = Segment {
        ack: ack.ack + 9,
        ..ack
    };
    let told = feed(&mut host, to_us(PEER, &wrong, &[]));
    assert_eq!((told[0].flags, told[0].seq), (Flags::RST, wrong.ack));
    assert_eq!(host.arena.lock().counters.listen_overflows, 1);
}

/// The ACK of a handshake that echoes what was never sent opens nothing, and is counted.
#[test]
fn a_wrong_echo_is_counted() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 5);
    let mut asks = syn(4000);
    asks.options.timestamps = Some((500, 0));
    let told = feed(&mut host, to_us(PEER, &asks, &[]));
    let (stamp, _) = told[0].options.timestamps.unwrap();
    for (echo, opens) in [(stamp.wrapping_add(1), false), (stamp, true)] {
        let mut ack = packets::completes(&told[0]);
        ack.options.timestamps = Some((510, echo));
        feed(&mut host, to_us(PEER, &ack, &[]));
        let accepted = host.with(|h| h.accept(l, Owner::default()));
        assert_eq!(accepted.is_ok(), opens);
    }
    assert_eq!(host.arena.lock().counters.tsecr_rejected, 1);
}

#[test]
fn tcp_abort_on_overflow_resets() {
    let mut host = TestHost::new(1);
    let (l, ack) = one_too_many(&mut host);
    host.with(|h| {
        let index = h.index_of(l).unwrap();
        h.sh.sockets[index].sysctl.tcp_abort_on_overflow = 1;
    });
    let told = feed(&mut host, to_us(PEER, &ack, &[]));
    assert_eq!((told[0].flags, told[0].seq), (Flags::RST, ack.ack));
    let (syns, waiting) = host.with(|h| {
        let l = h.socket(l).unwrap();
        (l.syn_len, l.accept_len)
    });
    assert_eq!((syns, waiting), (0, 2));
    assert_eq!(host.arena.lock().sockets.in_use(), 3);
}

/// A connection in TIME_WAIT whose descriptor is open and has something to read; its last segment.
fn half_read(host: &mut TestHost, l: SockId) -> (SockId, Segment) {
    let ack = open(host, 4000);
    let s = host.with(|h| {
        let (s, _) = h.accept(l, Owner::default()).unwrap();
        h.shutdown(s, How::Write).unwrap();
        s
    });
    host.wire.out.clear();
    let fin = Segment {
        ack: ack.ack + 1,
        flags: Flags::FIN.with(Flags::ACK),
        len: 3,
        ..ack
    };
    feed(host, to_us(PEER, &fin, b"abc"));
    (s, fin)
}

fn state(host: &mut TestHost, s: SockId) -> State {
    host.with(|h| h.socket(s).unwrap().state())
}

/// A SYN opens the pair anew: a descriptor that is open keeps what came before.
#[test]
fn a_descriptor_outlives_its_time_wait() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 5);
    let (s, fin) = half_read(&mut host, l);
    assert_eq!(state(&mut host, s), State::TimeWait);
    let again = Segment {
        seq: fin.seq + 50_000,
        ..syn(4000)
    };
    let told = feed(&mut host, to_us(PEER, &again, &[]));
    assert!(told[0].flags.has(Flags::SYN.with(Flags::ACK)));
    assert_eq!(state(&mut host, s), State::Closed);
    assert_eq!(host.with(|h| recv(h, s, 10)), Ok(b"abc".to_vec()));
    assert_eq!(host.with(|h| recv(h, s, 10)), Ok(vec![]));
    feed(&mut host, to_us(PEER, &packets::completes(&told[0]), &[]));
    assert!(host.with(|h| h.accept(l, Owner::default())).is_ok());
    host.with(|h| h.close(s));
    assert_eq!(host.arena.lock().sockets.in_use(), 2);
}

/// Where nobody listens a SYN does not end TIME_WAIT.
#[test]
fn a_syn_for_nobody_leaves_time_wait_alone() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 5);
    let (s, fin) = half_read(&mut host, l);
    host.with(|h| h.close(l));
    let again = Segment {
        seq: fin.seq + 50_000,
        ..syn(4000)
    };
    for _ in 0..2 {
        let told = feed(&mut host, to_us(PEER, &again, &[]));
        assert_eq!((told[0].flags, told[0].ack), (Flags::ACK, fin.seq + 4));
    }
    assert_eq!(state(&mut host, s), State::TimeWait);
}

/// TCP_DEFER_ACCEPT: a bare ACK does not complete the handshake, data does.
#[test]
fn a_deferred_handshake_waits_for_data() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 5);
    host.with(|h| h.set_option(l, Opt::DeferAccept, 30))
        .unwrap();
    let ack = open(&mut host, 4000);
    assert!(host.with(|h| h.accept(l, Owner::default())).is_err());
    let data = Segment { len: 3, ..ack };
    feed(&mut host, to_us(PEER, &data, b"abc"));
    assert!(host.with(|h| h.accept(l, Owner::default())).is_ok());
}

/// Memory that the connections hold: bytes of buffers, pieces.
pub fn held(host: &TestHost) -> (usize, usize) {
    let sh = host.arena.lock();
    let (small, large) = sh.buffers.in_use();
    let bytes = small as usize * buffers::SMALL + large as usize * buffers::LARGE;
    (bytes, sh.chunks.in_use() as usize)
}

#[test]
fn tiny_segments_in_order_take_little_more_than_the_buffer() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 5);
    let mut seg = open(&mut host, 4000);
    host.with(|h| h.accept(l, Owner::default())).unwrap();
    seg.len = 1;
    let tiny = (0..60_000u32).map(|n| {
        let seg = Segment {
            seq: SeqNum(1001) + n,
            ..seg
        };
        to_us(PEER, &seg, &[7])
    });
    feed_quickly(&mut host, tiny);
    let (bytes, pieces) = held(&host);
    assert!(bytes <= 1 << 20, "{bytes} bytes, {pieces} pieces");
}

#[test]
fn tiny_segments_out_of_order_are_bounded() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 5);
    let mut seg = open(&mut host, 4000);
    host.with(|h| h.accept(l, Owner::default())).unwrap();
    seg.len = 1;
    let tiny = (1..30_000u32).map(|n| {
        let seg = Segment {
            seq: SeqNum(1001) + n * 2,
            ..seg
        };
        to_us(PEER, &seg, &[7])
    });
    feed_quickly(&mut host, tiny);
    let (bytes, pieces) = held(&host);
    assert!(bytes <= 1 << 20, "{bytes} bytes, {pieces} pieces");
}
