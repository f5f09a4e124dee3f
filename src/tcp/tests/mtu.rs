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

// RFC 4821 S7.2-1, S7.2-2
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

// RFC 4821 S7.6.2-1
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

// RFC 4821 S7.3-1
// RFC 1191 S3-5
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
