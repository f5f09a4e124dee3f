//! Packetization layer path MTU discovery (RFC 4821).

use super::solo::*;
use crate::tcp::{Options, SeqNum, Sysctl, TcpOptions};
use crate::time::Duration;

fn searching(probing: u8) -> Solo {
    let s = Sysctl {
        tcp_mtu_probing: probing,
        ..Sysctl::default()
    };
    Solo::open_with(TcpOptions::default(), &s, offers())
}

/// Where the stream is: the number of the next byte, from 1.
fn next(t: &Solo) -> u32 {
    t.tcb.snd_nxt().0.wrapping_sub(ISS)
}

/// Send `n` bytes over a path that loses what is larger than `limit`, until all is acknowledged.
/// Gives the sizes that were lost.
fn send_over(t: &mut Solo, n: u32, limit: u32) -> Vec<u32> {
    let mut lost = Vec::new();
    let mut there: Vec<(u32, u32)> = Vec::new();
    t.write(n);
    let end = next(t) + n;
    let mut una = next(t);
    for _ in 0..200 {
        for (_, seq, _, len) in t.sends() {
            if len > limit {
                lost.push(len);
            } else if len > 0 {
                there.push((seq, seq + len));
            }
        }
        there.sort();
        for &(from, to) in &there {
            if from <= una {
                una = una.max(to);
            }
        }
        let top = there.iter().map(|r| r.1).max().unwrap_or(una);
        let hole = there.iter().find(|r| r.0 > una).map(|r| r.0);
        t.pass(ms(20));
        let mut ack = t.peer(ACK, 1, una, 0);
        if let Some(from) = hole {
            ack.options = Options {
                sack_len: 1,
                ..Options::default()
            };
            ack.options.sack[0] = (SeqNum(ISS) + from, SeqNum(ISS) + top);
        }
        t.give(ack);
        if una == end {
            return lost;
        }
    }
    panic!("{una} of {end}, lost {lost:?}");
}

// RFC 4821 S4-8, S4-13, S5.1-1, S7.1-1, S7.1-2, S7.1-3, S7.2-1, S7.2-2, S7.2-4, S7.6-1
#[test]
fn the_search_begins_at_the_base_and_goes_up_by_halves() {
    assert_eq!(searching(0).tcb.mss(), 1460);
    assert_eq!(searching(1).tcb.mss(), 1460);
    let mut t = searching(2);
    assert_eq!(t.tcb.mss(), 1024);
    // Ten segments are no window for a probe.
    assert_eq!(send_over(&mut t, 10 * 1024, 1460), []);
    assert_eq!((t.tcb.mss(), t.tcb.snd_cwnd()), (1024, 20));
    let first = next(&t);
    t.write(8000);
    let sent: Vec<_> = t.sends().iter().map(|s| (s.1 - first, s.3)).collect();
    assert_eq!(sent[..3], [(0, 1242), (1242, 1024), (2266, 1024)]);
    // On the wire it is one segment, though larger than others.
    assert_eq!(t.tcb.info(t.now).unacked, 8);
    t.pass(ms(20));
    t.gets(ACK, 1, first + 8000, 0);
    assert_eq!(t.tcb.mss(), 1242);
    // As many bytes as before, headers and all: 19 of 1064 are 15 of 1282 (and slow start goes on).
    assert!(t.tcb.snd_cwnd() >= 15);
    assert!(t.tcb.snd_cwnd() <= 15 + 8);
}

#[test]
fn a_probe_is_one_segment_for_the_device() {
    let mut t = searching(2);
    t.max_payload = 60_000;
    assert_eq!(send_over(&mut t, 10 * 1024, 60_000), []);
    t.write(20_000);
    let all = t.polled();
    assert_eq!((all[0].segment.len, all[0].mss), (1242, 1242));
    assert!(all[1].segment.len > 1024);
    assert_eq!(all[1].mss, 1024);
}

// RFC 4821 S4-3, S4-5, S6.1-1, S7.6-1, S7.6.2-1
#[test]
fn a_lost_probe_is_no_congestion() {
    let mut t = searching(2);
    send_over(&mut t, 10 * 1024, 1460);
    let (window, threshold) = (t.tcb.snd_cwnd(), t.tcb.info(t.now).snd_ssthresh);
    assert_eq!(send_over(&mut t, 8000, 1241), [1242]);
    assert_eq!(t.tcb.mss(), 1024);
    assert!(t.tcb.snd_cwnd() >= window, "{}", t.tcb.snd_cwnd());
    assert!(t.tcb.info(t.now).snd_ssthresh >= window.min(threshold) / 4 * 3);
}

// RFC 4821 S7.2-3, S7.3-1, S7.3-2, S7.3-3
// RFC 1191 S3-5, S3-8
#[test]
fn the_search_ends_and_begins_anew_after_its_interval() {
    let mut t = searching(2);
    send_over(&mut t, 10 * 1024, 1300);
    let mut lost = Vec::new();
    for _ in 0..12 {
        lost.extend(send_over(&mut t, 12_000, 1300));
    }
    // Fewer than tcp_probe_threshold (8) sizes are left.
    assert!((1293..=1300).contains(&t.tcb.mss()), "{}", t.tcb.mss());
    assert!(!lost.is_empty());
    assert_eq!(send_over(&mut t, 12_000, 1300), []);
    // The path may have become wider: that is tried after tcp_probe_interval.
    t.pass(Duration::from_secs(599));
    assert_eq!(send_over(&mut t, 12_000, 1300), []);
    t.pass(Duration::from_secs(2));
    send_over(&mut t, 12_000, 1460);
    for _ in 0..12 {
        assert_eq!(send_over(&mut t, 12_000, 1460), []);
    }
    assert!(t.tcb.mss() > 1450, "{}", t.tcb.mss());
}

// RFC 4821 S7.7-1, S7.7-2
// RFC 9293 MUST-20, SHLD-10
#[test]
fn a_black_hole_makes_segments_small() {
    for (probing, sizes) in [
        (0, vec![1460; 9]),
        (1, vec![1460, 1460, 1460, 1460, 1460, 1460, 1024, 512, 256]),
    ] {
        let mut t = searching(probing);
        t.write(1460);
        let mut seen = Vec::new();
        while seen.len() < sizes.len() {
            seen.extend(t.sends().iter().map(|s| s.3));
            t.now = t.now.max(t.tcb.deadline());
            t.fire();
        }
        // The second is the tail loss probe; tcp_retries1 doublings of 200 ms are three seconds.
        assert_eq!(seen, sizes);
    }
    // tcp_mtu_probe_floor is the least.
    let s = Sysctl {
        tcp_mtu_probing: 1,
        tcp_mtu_probe_floor: 400,
        ..Sysctl::default()
    };
    let mut t = Solo::open_with(TcpOptions::default(), &s, offers());
    t.write(1460);
    for _ in 0..12 {
        t.sends();
        t.now = t.now.max(t.tcb.deadline());
        t.fire();
    }
    assert_eq!(t.tcb.mss(), 400);
}

// RFC 4821 S7.4-1, S7.4-2
#[test]
fn a_probe_waits_for_calm() {
    let mut t = searching(2);
    send_over(&mut t, 10 * 1024, 1460);
    // Too little behind it for its loss to be noticed.
    t.write(5000);
    assert!(t.sends().iter().all(|s| s.3 <= 1024));
    t.pass(ms(20));
    t.gets(ACK, 1, next(&t), 0);
    // SACKs of ours vary the headers.
    t.gets(ACK, 101, next(&t), 50);
    t.write(8000);
    assert!(t.sends().iter().all(|s| s.3 <= 1024));
}

/// A probe takes the room of two segments: while there is room for one only, that stays empty, until
/// the next ACK.
// RFC 4821 S7.4-3
#[test]
fn data_waits_for_a_probe_until_the_next_ack() {
    let mut t = searching(2);
    send_over(&mut t, 10 * 1024, 1460);
    let first = next(&t);
    assert_eq!(t.tcb.snd_cwnd(), 20);
    // Each too little for a probe.
    for segments in [5, 5, 5, 4] {
        t.write(segments * 1024);
        assert_eq!(t.sends().len(), segments as usize);
    }
    t.write(8000);
    assert_eq!(t.sends(), []);
    t.pass(ms(20));
    t.gets(ACK, 1, first + 2048, 0);
    let sent: Vec<_> = t.sends().iter().map(|s| (s.1 - first, s.3)).collect();
    assert_eq!(sent[0], (19 * 1024, 1242));
}

/// What is lost before the probe is congestion; the probe, which was sent again with the rest, told
/// nothing, and the same size is tried when all is there.
// RFC 4821 S4-4, S7.6.4-1, S7.6.4-2
#[test]
fn a_probe_lost_among_others_tells_nothing() {
    let mut t = searching(2);
    send_over(&mut t, 10 * 1024, 1460);
    let first = next(&t);
    t.write(2048);
    assert_eq!(t.sends().len(), 2);
    t.write(8000);
    let sent: Vec<_> = t.sends().iter().map(|s| (s.1 - first, s.3)).collect();
    assert_eq!(sent[0], (2048, 1242));
    // Neither of the two before it, nor the probe.
    t.pass(ms(20));
    let window = t.tcb.snd_cwnd();
    for n in 1..=5 {
        let mut ack = t.peer(ACK, 1, first, 0);
        ack.options.sack_len = 1;
        let from = SeqNum(ISS) + first + 2048 + 1242;
        ack.options.sack[0] = (from, from + n * 1024);
        t.give(ack);
    }
    assert!(t.tcb.snd_cwnd() < window);
    t.fire();
    let again: Vec<_> = t.sends().iter().map(|s| (s.1 - first, s.3)).collect();
    assert_eq!(again.first(), Some(&(0, 1024)));
    assert_eq!(t.tcb.mss(), 1024);
    let end = next(&t);
    for _ in 0..9 {
        t.pass(ms(20));
        t.gets(ACK, 1, end, 0);
        t.sends();
    }
    assert_eq!(t.tcb.mss(), 1024);
    let mut probes = Vec::new();
    for _ in 0..40 {
        t.write(12_000);
        let sent = t.sends();
        probes.extend(sent.iter().map(|s| s.3).filter(|len| *len > 1024));
        if !probes.is_empty() {
            break;
        }
        t.pass(ms(20));
        let all = next(&t);
        t.gets(ACK, 1, all, 0);
        t.sends();
    }
    assert_eq!(probes.first(), Some(&1242));
}
