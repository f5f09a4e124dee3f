//! What connections cost in each of their states, and that no number of them takes more than the
//! bound.

use super::floods::{feed, feed_quickly, held, listener, open};
use super::packets::{PEER, syn, to_us};
use super::*;
use crate::stack::Opt;
use crate::stack::buffers::{BufId, LARGE, SMALL};
use crate::stack::queue::Chunk;
use crate::stack::shared::MAX_SOCKETS;
use crate::tcp::{Flags, Segment, Sent};
use core::mem::size_of;

/// Bytes for each socket in whatever state: itself, its deadline, its records of what is in
/// flight, its link in the pool. docs/security.md says so.
const SOCKET: usize = size_of::<Socket>() + 16 + 2 * size_of::<Sent>() + 4;

#[test]
fn a_socket_costs_what_is_said() {
    // By the compiler already.
    const { assert!(SOCKET <= 2472) };
    const { assert!(MAX_SOCKETS * SOCKET <= 309 << 20) };
    assert_eq!(size_of::<Chunk>() + 4, 28);
}

/// Half-open, idle and in TIME_WAIT, a connection holds no buffer.
#[test]
fn who_says_nothing_holds_no_buffer() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 600);
    let flood = (0..500).map(|n| to_us(PEER, &syn(1024 + n), &[]));
    feed_quickly(&mut host, flood);
    assert_eq!(host.arena.lock().sockets.in_use(), 501);
    assert_eq!(held(&host), (0, 0));
    // Data on a SYN is not kept either.
    let mut with_data = syn(2000);
    with_data.len = 1000;
    feed(&mut host, to_us(PEER, &with_data, &[1; 1000]));
    assert_eq!(held(&host), (0, 0));
    let acks: Vec<Segment> = (0..100).map(|n| open(&mut host, 10_000 + n)).collect();
    assert_eq!(held(&host), (0, 0));
    let waiting = close_all(&mut host, l, &acks);
    assert_eq!(waiting, 100);
    assert_eq!(held(&host), (0, 0));
}

/// Accept and close all connections, which `acks` opened; the peer closes, too. Gives how many
/// are in TIME_WAIT then.
fn close_all(host: &mut TestHost, l: SockId, acks: &[Segment]) -> u32 {
    for ack in acks {
        host.with(|h| {
            let (s, _) = h.accept(l, Owner::default()).unwrap();
            h.close(s);
        });
        let told: Vec<_> = host.wire.out.drain(..).collect();
        assert_eq!(told.len(), 1, "a FIN");
        let fin = Segment {
            flags: Flags::ACK.with(Flags::FIN),
            ack: ack.ack + 1,
            ..*ack
        };
        feed(host, to_us(PEER, &fin, &[]));
    }
    host.arena.lock().tallies.time_waits
}

/// A connection whose program reads nothing and has given it a buffer of `size`.
fn unread(host: &mut TestHost, size: i64) -> Segment {
    let l = listener(host, 5);
    host.with(|h| h.set_option(l, Opt::RcvBuf, size).unwrap());
    open(host, 4000)
}

/// Packets of `len` bytes with a gap of `gap` between them.
fn packets(first: Segment, len: u32, gap: u32) -> impl Iterator<Item = Vec<u8>> {
    let data = vec![7; len as usize];
    (0..2000u32).map(move |n| {
        let seg = Segment {
            seq: first.seq + gap + n * (len + gap),
            len,
            ..first
        };
        to_us(PEER, &seg, &data)
    })
}

/// Packets just too long for a small buffer don't hold a large one each.
#[test]
fn packets_hold_a_few_times_their_size_at_most() {
    const BUF: usize = 400_000;
    for (len, gap) in [(2049, 0), (2049, 1), (5000, 0), (16_000, 1), (30_000, 0)] {
        let mut host = TestHost::new(1);
        let first = unread(&mut host, BUF as i64 / 2);
        feed_quickly(&mut host, packets(first, len, gap));
        let (bytes, pieces) = held(&host);
        assert!(bytes > 16_000, "{len} {gap}: {bytes}");
        assert!(
            bytes <= 4 * BUF + 16 * LARGE,
            "{len} {gap}: {bytes} bytes in {pieces} pieces"
        );
    }
}

/// Whatever queues may take of the payload's memory is taken (without touching it).
fn use_up(h: &mut Host<'_>) -> Vec<BufId> {
    let mut taken = Vec::new();
    while h.sh.buffers.may_queue_large() {
        taken.extend(h.sh.buffers.alloc_to_queue(LARGE, false));
    }
    while let Some(buf) = h.sh.buffers.alloc_to_queue(SMALL, false) {
        taken.push(buf);
    }
    taken
}

/// A stack whose memory for payload is all in use reads its device: it would never see the ACKs
/// that free it. And who holds nothing still gets something.
#[test]
fn a_full_stack_goes_on() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 5);
    let (greedy, modest) = (open(&mut host, 4000), open(&mut host, 4001));
    let (g, m) = host.with(|h| {
        let g = h.accept(l, Owner::default()).unwrap().0;
        (g, h.accept(l, Owner::default()).unwrap().0)
    });
    let data = |first: Segment, from: u32, len: u32| {
        let seg = Segment {
            seq: first.seq + from,
            len,
            ..first
        };
        to_us(PEER, &seg, &vec![7; len as usize])
    };
    feed(&mut host, data(greedy, 0, 1000));
    host.with(|h| assert_eq!(send(h, g, &[1; 1000]), Ok(1000)));
    host.wire.out.clear();
    let acked = Segment {
        seq: greedy.seq + 1000,
        ack: greedy.ack + 1000,
        ..greedy
    };
    host.wire.inward.extend([
        // The one holds data already, and gets no more ...
        data(greedy, 1000, 1000),
        // ... the other gets its own, even large.
        data(modest, 0, 5000),
        to_us(PEER, &acked, &[]),
    ]);
    host.with(|h| {
        let taken = use_up(h);
        let before = h.sh.counters.no_buffers;
        // With something queued there is no more room ...
        assert_eq!(send(h, g, &[1; 60_000]).unwrap_or(0) % 2048, 1048);
        assert_eq!(send(h, g, &[1; 60_000]), Err(Error::WouldBlock));
        // ... with nothing there is.
        assert_eq!(send(h, m, &[1; 100]), Ok(100));
        assert_eq!(h.receive(10), 3);
        assert_eq!(h.readable_bytes(g), Ok(1000));
        assert_eq!(h.readable_bytes(m), Ok(5000));
        assert!(h.sh.counters.no_buffers > before);
        assert!(h.unacked_bytes(g).unwrap() < 60_000);
        // A new connection.
        for buf in taken {
            h.sh.buffers.release(buf);
        }
        assert!(send(h, g, &[1; 1000]).is_ok());
    });
    // What was dropped is accepted when it comes again.
    feed(&mut host, data(greedy, 1000, 1000));
    assert_eq!(host.with(|h| h.readable_bytes(g)), Ok(2000));
}

fn limited(host: &mut TestHost, sysctl: Sysctl) -> SockId {
    host.with(|h| {
        let l = h.create(Family::V4, Owner::default(), &sysctl).unwrap();
        h.bind(l, Endpoint::new(Addr::ANY4, 80), true).unwrap();
        h.listen(l, 500).unwrap();
        l
    })
}

#[test]
fn time_wait_is_kept_for_tcp_max_tw_buckets() {
    let mut host = TestHost::new(1);
    let l = limited(
        &mut host,
        Sysctl {
            tcp_max_tw_buckets: 30,
            ..Sysctl::default()
        },
    );
    let acks: Vec<Segment> = (0..100).map(|n| open(&mut host, 10_000 + n)).collect();
    assert_eq!(close_all(&mut host, l, &acks), 30);
    assert_eq!(host.arena.lock().sockets.in_use(), 31);
    // Some time later there is room again.
    host.now = host.now + Duration::from_secs(61);
    host.with(|h| h.run_timers());
    assert_eq!(host.arena.lock().sockets.in_use(), 1);
    let ack = open(&mut host, 20_000);
    assert_eq!(close_all(&mut host, l, &[ack]), 1);
}

#[test]
fn orphans_above_tcp_max_orphans_are_reset() {
    let mut host = TestHost::new(1);
    let l = limited(
        &mut host,
        Sysctl {
            tcp_max_orphans: 30,
            ..Sysctl::default()
        },
    );
    let acks: Vec<Segment> = (0..100).map(|n| open(&mut host, 10_000 + n)).collect();
    let mut resets = 0;
    for _ in &acks {
        host.with(|h| {
            let (s, _) = h.accept(l, Owner::default()).unwrap();
            send(h, s, b"never acknowledged").unwrap();
            h.close(s);
        });
        let told = host.wire.out.drain(..);
        resets += told.filter(|p| p[33] & Flags::RST.0 != 0).count();
    }
    assert_eq!(resets, 70);
    assert_eq!(host.arena.lock().tallies.orphans, 30);
    assert_eq!(host.arena.lock().sockets.in_use(), 31);
}

/// All places for sockets are taken: who has one notices nothing.
#[test]
fn a_stack_full_of_sockets_goes_on() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 100);
    let ours = open(&mut host, 4000);
    let (s, others) = host.with(|h| {
        let s = h.accept(l, Owner::default()).unwrap().0;
        let sysctl = Sysctl::default();
        let mut others = Vec::new();
        loop {
            match h.create(Family::V4, Owner::default(), &sysctl) {
                Ok(c) => others.push(c),
                Err(e) => break assert_eq!(e, Error::NoBuffers),
            }
            h.finish();
        }
        (s, others)
    });
    assert_eq!(others.len(), MAX_SOCKETS - 2);
    // A SYN is not answered, data is.
    let dropped = feed(&mut host, to_us(PEER, &syn(5000), &[]));
    assert!(dropped.is_empty(), "{dropped:?}");
    let data = Segment { len: 100, ..ours };
    feed(&mut host, to_us(PEER, &data, &[7; 100]));
    host.with(|h| {
        assert_eq!(recv(h, s, 1000).map(|d| d.len()), Ok(100));
        assert_eq!(send(h, s, &[1; 1000]), Ok(1000));
        // One is given back: one is to be had.
        h.close(others[1000]);
    });
    host.wire.out.clear();
    assert_eq!(feed(&mut host, to_us(PEER, &syn(5001), &[])).len(), 1);
    host.with(|h| {
        for other in others {
            h.close(other);
            h.finish();
        }
    });
    open(&mut host, 5002);
    assert!(host.with(|h| h.accept(l, Owner::default())).is_ok());
}

/// TIME_WAIT never takes all places, whatever `tcp_max_tw_buckets` says.
#[test]
fn half_of_the_places_are_never_in_time_wait() {
    let mut host = TestHost::new(1);
    let l = listener(&mut host, 100);
    host.with(|h| {
        h.sh.tallies.time_waits = MAX_SOCKETS as u32 / 2;
        assert!(h.time_waits_are_many(l.index));
        h.sh.tallies.time_waits -= 1;
        assert!(!h.time_waits_are_many(l.index));
        h.sh.tallies = Tallies::default();
        h.sh.tallies.orphans = MAX_SOCKETS as u32 / 4;
        assert!(h.orphans_are_many(l.index));
        h.sh.tallies = Tallies::default();
    });
}
