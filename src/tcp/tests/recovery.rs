//! Loss recovery, rule by rule: a peer at 100 ms that reports what the test wants.

use super::solo::*;
use crate::tcp::congestion::Algorithm;
use crate::tcp::{Flags, Info, Segment, SeqNum, State, Sysctl, TcpOptions};
use crate::time::Duration;

pub const MSS: u32 = 1460;
const MSS_WITH_TIMESTAMPS: u32 = MSS - 12;
pub const RTT: Duration = Duration::from_millis(100);

pub fn reno() -> Sysctl {
    Sysctl {
        tcp_congestion_control: Algorithm::NewReno,
        ..Sysctl::default()
    }
}

/// ESTABLISHED at 100 ms.
pub fn far(s: &Sysctl, timestamps: bool) -> Solo {
    let mut t = Solo::connecting(TcpOptions::default(), s, super::pair::path());
    t.polled();
    t.pass(RTT);
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = offers();
    if timestamps {
        syn.options.timestamps = Some((1, t.tcb.ts_now(t.now)));
        t.peer_options.timestamps = Some((1, 0));
    }
    t.give(syn);
    t.polled();
    assert_eq!(t.tcb.state, State::Established);
    t
}

/// Segment `n`, from 0.
pub fn at(n: u32) -> u32 {
    1 + n * MSS
}

pub fn sack(t: &Solo, ack: u32, blocks: &[(u32, u32)]) -> Segment {
    let mut seg = t.peer(ACK, 1, at(ack), 0);
    for (slot, b) in seg.options.sack.iter_mut().zip(blocks) {
        *slot = (SeqNum(ISS) + at(b.0), SeqNum(ISS) + at(b.1));
    }
    seg.options.sack_len = blocks.len() as u8;
    seg
}

/// The segments that are sent, by number.
pub fn sent(t: &mut Solo) -> Vec<u32> {
    let all = t.polled();
    all.iter()
        .filter(|tx| tx.segment.len > 0)
        .map(|tx| (tx.segment.seq.0 - ISS - 1) / MSS)
        .collect()
}

pub fn info(t: &Solo) -> Info {
    t.tcb.info(t.now)
}

/// Ten segments are out, and more is queued.
pub fn ten(s: &Sysctl) -> Solo {
    let mut t = far(s, false);
    t.write(40 * MSS);
    assert_eq!(sent(&mut t), (0..10).collect::<Vec<_>>());
    t.pass(RTT);
    t
}

// RFC 8985 S1-1, S3.3.2-2, S4-3, S6.2-2, S8-1
#[test]
fn rack_waits_a_quarter_of_the_round_trip_for_reordering() {
    let mut t = ten(&reno());
    t.give(sack(&t, 0, &[(1, 2)]));
    assert_eq!(info(&t).ca_state, 1, "Disorder");
    // Limited transmit (RFC 3042).
    assert_eq!(sent(&mut t), [10]);
    let start = t.now;
    t.now = t.tcb.deadline();
    // A quarter of 100 ms, and two.
    assert_eq!(t.now.since(start).as_millis(), 27);
    t.fire();
    assert_eq!(info(&t).ca_state, 3, "Recovery");
    assert_eq!(sent(&mut t), [0]);
}

// RFC 8985 S3.3.2-1
#[test]
fn three_segments_above_are_enough() {
    let mut t = ten(&reno());
    t.give(sack(&t, 0, &[(1, 4)]));
    assert_eq!(info(&t).ca_state, 3);
    assert_eq!((info(&t).sacked, info(&t).lost), (3, 1));
    assert_eq!(sent(&mut t)[0], 0);
    assert_eq!(info(&t).retrans, 1);
}

// RFC 6675 S4-5
#[test]
fn a_late_segment_is_none_lost() {
    let mut t = ten(&reno());
    t.give(sack(&t, 0, &[(1, 2)]));
    t.polled();
    t.pass(ms(10));
    t.gets(ACK, 1, at(2), 0);
    let i = info(&t);
    assert_eq!((i.ca_state, i.total_retrans, i.reord_seen), (0, 0, 1));
}

// RFC 6675 S4-3, S5-2, S5-3, S4-7, S5-9, S5-10
// RFC 6937 S3-1
// RFC 5681 S4.3-2, S3.1-13, S4.3-4
// RFC 8985 S9.3-1, S9.3-2
#[test]
fn proportional_rate_reduction() {
    let mut t = ten(&reno());
    t.give(sack(&t, 0, &[(1, 4)]));
    assert_eq!(sent(&mut t), [0, 10]);
    assert_eq!(info(&t).snd_ssthresh, 5);
    // One out for two that left, down to half.
    let mut out = Vec::new();
    for n in 5..11 {
        t.give(sack(&t, 0, &[(1, n)]));
        let now = sent(&mut t);
        out.push(now.len());
    }
    assert_eq!(out.iter().sum::<usize>(), 3, "{out:?}");
    t.pass(RTT);
    t.gets(ACK, 1, at(11), 0);
    t.polled();
    t.pass(RTT);
    t.gets(ACK, 1, at(14), 0);
    let i = info(&t);
    assert_eq!((i.ca_state, i.snd_ssthresh), (0, 5));
    assert!((5..=7).contains(&i.snd_cwnd), "{}", i.snd_cwnd);
}

// RFC 6675 S4-2, S4-8
#[test]
fn many_holes_are_each_filled_once() {
    let mut t = far(&reno(), false);
    t.tcb.cc.set_cwnd(400);
    t.window = 65_535;
    t.tcb.snd_wscale = 4;
    t.gets(ACK, 1, 1, 0);
    t.write(300 * MSS);
    assert_eq!(sent(&mut t).len(), 300);
    t.pass(RTT);
    // Every other segment is lost.
    let mut again = Vec::new();
    for n in (1..300).step_by(2) {
        t.give(sack(&t, 0, &[(n, n + 1)]));
        again.extend(sent(&mut t));
    }
    assert_eq!(info(&t).sacked, 150);
    for _ in 0..400 {
        t.pass(RTT);
        // What was sent again arrives.
        let Some(&n) = again.first() else { break };
        again.remove(0);
        t.give(sack(&t, 0, &[(n, n + 1)]));
        again.extend(sent(&mut t));
        if n != 0 {
            assert!(again.iter().all(|&m| m != n), "{n} again");
        }
    }
    assert!(info(&t).total_retrans >= 149, "{}", info(&t).total_retrans);
}

// RFC 8985 S9.2-1
#[test]
fn a_lost_retransmission_is_found() {
    let mut t = ten(&reno());
    t.give(sack(&t, 0, &[(1, 4)]));
    assert_eq!(sent(&mut t), [0, 10]);
    t.pass(ms(50));
    t.give(sack(&t, 0, &[(1, 10)]));
    t.polled();
    // What was sent after it arrives: it would have, too.
    t.pass(ms(51));
    t.give(sack(&t, 0, &[(1, 11)]));
    let again = sent(&mut t);
    assert!(again.contains(&0), "{again:?} {:?}", info(&t));
}

/// Several ACKs are processed at one moment: what they let go was sent one after the other.
#[test]
fn what_was_sent_before_a_retransmission_says_nothing_of_it() {
    let mut t = ten(&reno());
    let mut order = Vec::new();
    for upto in 2..5 {
        t.give(sack(&t, 0, &[(1, upto)]));
        order.extend(sent(&mut t));
    }
    let first = order.iter().position(|&n| n == 0).expect("sent again");
    assert!(first > 0, "new data first: {order:?}");
    t.pass(RTT);
    t.give(sack(&t, 0, &[(1, 10 + first as u32)]));
    let again = sent(&mut t);
    assert!(!again.contains(&0), "{order:?}, then {again:?}");
}

#[test]
fn a_lost_retransmission_is_found_beneath_an_old_timestamp() {
    let mut t = far(&reno(), true);
    t.write(8 * MSS_WITH_TIMESTAMPS);
    t.polled();
    t.pass(RTT);
    let sack = |t: &Solo, blocks: &[(u32, u32)]| {
        let mut seg = t.peer(ACK, 1, 1, 0);
        for (slot, b) in seg.options.sack.iter_mut().zip(blocks) {
            let at = |n: u32| SeqNum(ISS) + 1 + n * MSS_WITH_TIMESTAMPS;
            *slot = (at(b.0), at(b.1));
        }
        seg.options.sack_len = blocks.len() as u8;
        seg
    };
    let mut again = Vec::new();
    for blocks in [&[(1, 2), (3, 8)][..], &[(1, 8)]] {
        t.give(sack(&t, blocks));
        let all = t.polled();
        again.extend(all.iter().map(|tx| tx.segment.seq.0 - ISS - 1));
        t.pass(ms(101));
    }
    // Both holes; then the first once more, whatever timestamp the peer has to echo.
    assert_eq!(again, [0, 2 * MSS_WITH_TIMESTAMPS, 0], "{:?}", info(&t));
}

// RFC 2883 S5-1
// RFC 3708 S3-1
#[test]
fn duplicates_reported_undo_the_reduction() {
    let mut t = ten(&reno());
    t.give(sack(&t, 0, &[(1, 4)]));
    sent(&mut t);
    assert_eq!(info(&t).snd_ssthresh, 5);
    t.pass(ms(5));
    t.gets(ACK, 1, at(4), 0);
    t.polled();
    // RFC 2883: segment 0 came twice.
    t.pass(RTT);
    t.give(sack(&t, 10, &[(0, 1)]));
    let i = info(&t);
    assert_eq!((i.ca_state, i.dsack_dups), (0, 1));
    assert!(i.snd_cwnd >= 10, "{}", i.snd_cwnd);
    assert!(i.snd_ssthresh > 1000, "{}", i.snd_ssthresh);
}

/// The timer runs out with ten segments out (after the loss probe).
pub fn timed_out(timestamps: bool) -> Solo {
    let mut t = far(&reno(), timestamps);
    t.write(40 * MSS);
    t.polled();
    for _ in 0..2 {
        t.now = t.tcb.deadline();
        t.fire();
        t.polled();
    }
    let i = info(&t);
    assert_eq!((i.ca_state, i.retransmits), (4, 1));
    assert_eq!((i.snd_cwnd, i.snd_ssthresh), (1, 5));
    t
}

// RFC 5682 S3.1-1
#[test]
fn f_rto_finds_that_nothing_was_lost() {
    let mut t = timed_out(false);
    // (The loss probe was new data.)
    assert_eq!(info(&t).lost, 11);
    t.pass(ms(10));
    // The first ACK: new data goes, nothing old.
    t.gets(ACK, 1, at(2), 0);
    let new = sent(&mut t);
    assert!(new.iter().all(|&n| n > 10) && !new.is_empty(), "{new:?}");
    // The second one acknowledges what was sent but once.
    t.gets(ACK, 1, at(4), 0);
    let i = info(&t);
    assert_eq!((i.ca_state, i.lost), (0, 0));
    assert!(i.snd_cwnd >= 10, "{}", i.snd_cwnd);
    let new = sent(&mut t);
    assert!(new.iter().all(|&n| n > 10), "{new:?}");
}

// RFC 5682 S3.1-1
#[test]
fn f_rto_finds_a_loss() {
    let mut t = timed_out(false);
    t.pass(ms(100));
    t.gets(ACK, 1, at(1), 0);
    let new = sent(&mut t);
    assert!(new.iter().all(|&n| n > 10) && !new.is_empty(), "{new:?}");
    t.pass(RTT);
    // The new segment is reported, the hole stays.
    t.give(sack(&t, 1, &[(11, 12)]));
    assert_eq!(sent(&mut t)[0], 1);
    assert_eq!(info(&t).ca_state, 4);
}

// RFC 4015 S2-1
#[test]
fn eifel_undoes_a_timeout() {
    let mut t = far(&reno(), true);
    t.write(40 * MSS);
    t.polled();
    let sent_at = t.tcb.ts_now(t.now);
    for _ in 0..2 {
        t.now = t.tcb.deadline();
        t.fire();
        t.polled();
    }
    assert_eq!(info(&t).ca_state, 4);
    t.pass(ms(5));
    t.peer_options.timestamps = Some((2, sent_at));
    t.gets(ACK, 1, 1 + MSS, 0);
    assert_eq!(info(&t).ca_state, 0);
    assert!(info(&t).snd_cwnd >= 10);
}

// RFC 8985 S7.4.2-1, S7.4.2-2
#[test]
fn a_probe_that_repaired_a_loss_costs_half_the_window() {
    let mut t = far(&reno(), false);
    t.write(5 * MSS);
    assert_eq!(sent(&mut t).len(), 5);
    t.pass(RTT);
    t.gets(ACK, 1, at(4), 0);
    t.now = t.tcb.deadline();
    t.fire();
    assert_eq!(sent(&mut t), [4]);
    t.write(2 * MSS);
    assert_eq!(sent(&mut t), [5, 6]);
    t.pass(RTT);
    t.gets(ACK, 1, at(7), 0);
    let i = info(&t);
    assert!(i.snd_ssthresh < 10, "{}", i.snd_ssthresh);
    assert_eq!((i.ca_state, i.total_retrans), (0, 1));
}

#[test]
fn the_records_of_a_tcb_may_run_out() {
    let mut t = far(&reno(), false);
    t.sent.truncate(6);
    t.tcb.snd_wscale = 4;
    t.tcb.cc.set_cwnd(100);
    t.gets(ACK, 1, 1, 0);
    t.write(50 * MSS);
    assert_eq!(sent(&mut t).len(), 50);
    assert_eq!(info(&t).unacked, 50);
    t.pass(RTT);
    t.give(sack(&t, 0, &[(1, 5)]));
    t.gets(ACK, 1, at(50), 0);
    assert_eq!(info(&t).unacked, 0);
}

#[test]
fn sacks_are_compressed_after_the_third() {
    let mut t = far(&reno(), false);
    // Two segments in order, so that the handshake's quick ACKs are no matter.
    t.tcb.delack.quick = 0;
    let mut acks = Vec::new();
    for n in 1..12 {
        t.tcb.delack.quick = 0;
        t.gets(ACK, 1 + n * 100, 1, 100);
        acks.push(t.polled().len());
    }
    assert_eq!(acks, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let start = t.now;
    t.now = t.tcb.deadline();
    assert_eq!(t.now.since(start).as_micros(), 1000);
    t.fire();
    let all = t.polled();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].segment.options.sack[0].1, SeqNum(IRS) + 1201);
    // The hole is filled: at once.
    t.gets(ACK, 1, 1, 100);
    assert_eq!(t.polled().len(), 1);
}

#[test]
fn ecn_is_agreed_upon_and_heeded() {
    let s = Sysctl {
        tcp_ecn: 1,
        ..reno()
    };
    let mut t = Solo::connecting(TcpOptions::default(), &s, super::pair::path());
    let syn = t.polled()[0].segment;
    assert!(syn.flags.has(Flags::ECE.with(Flags::CWR)) && syn.ecn == 0);
    t.pass(RTT);
    let mut answer = t.peer(SYN.with(ACK).with(Flags::ECE), 0, 1, 0);
    answer.options = offers();
    t.give(answer);
    assert!(t.polled().iter().all(|a| a.segment.ecn == 0));
    assert!(info(&t).ecn);
    t.write(40 * MSS);
    let out = t.polled();
    assert!(out.iter().all(|d| d.segment.ecn == 2));
    t.pass(RTT);
    // The peer saw CE: half the window, once a round trip, and CWR with the next new data.
    t.gets(ACK.with(Flags::ECE), 1, at(2), 0);
    let i = info(&t);
    assert_eq!((i.ca_state, i.snd_ssthresh), (2, 5));
    let mut cwr = 0;
    for n in 3..11 {
        t.gets(ACK.with(Flags::ECE), 1, at(n), 0);
        let out = t.polled();
        cwr += out
            .iter()
            .filter(|d| d.segment.flags.has(Flags::CWR))
            .count();
    }
    assert_eq!((cwr, info(&t).snd_ssthresh), (1, 5));
    assert_eq!(info(&t).total_retrans, 0);
    // The other way: CE is echoed until CWR comes.
    let mut seg = t.peer(ACK, 1, at(10), 100);
    seg.ecn = 3;
    t.give(seg);
    assert!(t.polled()[0].segment.flags.has(Flags::ECE));
    let mut seg = t.peer(ACK.with(Flags::CWR), 101, at(10), 100);
    seg.ecn = 2;
    t.give(seg);
    assert!(t.polled().iter().all(|a| !a.segment.flags.has(Flags::ECE)));
}

#[test]
fn a_thin_stream_does_not_back_off() {
    let mut t = far(&reno(), false);
    t.tcb.options.thin_linear = true;
    // Past the first slow start.
    t.tcb.cc.keep_ssthresh();
    t.write(100);
    t.polled();
    let mut waits = Vec::new();
    for _ in 0..9 {
        let before = t.now;
        t.now = t.tcb.deadline();
        waits.push(t.now.since(before).as_millis());
        t.fire();
        t.polled();
    }
    // The loss probe, the timer, and six more at the same distance.
    assert_eq!(waits[2], waits[6], "{waits:?}");
    assert!(waits[8] > waits[6], "{waits:?}");
}

#[test]
fn more_is_waited_for() {
    let mut t = far(&reno(), false);
    t.tcb.app_wrote_more(t.now, 100);
    assert_eq!(t.polled().len(), 0);
    t.write(100);
    assert_eq!(t.polled()[0].segment.len, 200);
}

#[test]
fn quickack_and_pingpong() {
    let mut t = far(&reno(), false);
    t.tcb.set_quickack(0);
    assert!(!t.tcb.quickack());
    t.gets(ACK, 1, 1, 100);
    assert_eq!(t.polled().len(), 0, "waits for an answer to ride on");
    t.tcb.app_read(t.now, 100);
    assert_eq!(t.polled().len(), 0);
    t.tcb.set_quickack(1);
    assert!(t.tcb.quickack());
    assert_eq!(t.polled().len(), 1);
}
