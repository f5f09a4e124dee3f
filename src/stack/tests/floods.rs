//! What many hostile packets can make the host keep: bounded, and others go on.

use super::packets::{PEER, syn, to_us};
use super::*;
use crate::tcp::{Segment, SeqNum};
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
