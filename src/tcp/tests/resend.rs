//! What goes again and when, where the peer's reports and the segments' sizes are awkward.

use super::recovery::{MSS, RTT, at, far, info, reno, sack, sent, timed_out};
use super::solo::*;
use crate::tcp::{SeqNum, Sysctl};

/// Numbers relative to ISS, and lengths.
fn pieces(t: &mut Solo) -> Vec<(u32, u32)> {
    let all = t.polled();
    let data = all.iter().filter(|tx| tx.segment.len > 0);
    data.map(|tx| (tx.segment.seq.0 - ISS, tx.segment.len))
        .collect()
}

// RFC 2018 S5-1
#[test]
fn reports_are_of_segments_as_they_were_sent() {
    let mut t = far(&reno(), false);
    t.max_payload = 65_000;
    // Something of the peer's is missing: each segment reports that, and is shorter for it.
    t.gets(ACK, 101, 1, 100);
    t.polled();
    let size = MSS - 12;
    t.write(10 * size);
    let sent = pieces(&mut t);
    assert!(sent.iter().any(|p| p.1 >= 2 * size), "{sent:?}");
    assert_eq!(info(&t).unacked, 10);
    t.pass(RTT);
    for n in 2..5 {
        let mut seg = t.peer(ACK, 1, 1, 0);
        let edge = |n: u32| SeqNum(ISS) + 1 + n * size;
        seg.options.sack[0] = (edge(1), edge(n));
        seg.options.sack_len = 1;
        t.give(seg);
        assert_eq!(info(&t).sacked, n - 1);
    }
    // The second to the fourth arrived: the first is lost, and alone.
    assert_eq!(pieces(&mut t)[0], (1, size));
    // A part of them is acknowledged.
    t.gets(ACK, 1, 1 + 6 * size, 0);
    assert_eq!(info(&t).unacked, 4);
}

// RFC 5682 S3.1-1
#[test]
fn where_no_new_data_can_go_the_lost_goes_at_once() {
    let mut t = timed_out(false);
    t.pass(ms(100));
    // Eleven segments are out. There is room for a part of the twelfth, which is none.
    t.window = (10 * MSS + 100) as u16;
    t.gets(ACK, 1, at(1), 0);
    assert_eq!(sent(&mut t)[0], 1);
    assert_eq!(info(&t).ca_state, 4);
}

// RFC 5682 S3.1-1
#[test]
fn new_data_that_is_asked_for_waits_for_nothing() {
    let mut t = far(&reno(), false);
    t.write(3 * MSS);
    assert_eq!(sent(&mut t).len(), 3);
    t.tcb.options.cork = true;
    t.write(100);
    assert_eq!(sent(&mut t).len(), 0);
    for _ in 0..2 {
        t.now = t.tcb.deadline();
        t.fire();
        t.polled();
    }
    // The cork is out of date by now: another one.
    assert_eq!(info(&t).ca_state, 4);
    t.write(200);
    t.gets(ACK, 1, at(1), 0);
    let new = pieces(&mut t);
    assert!(
        new.iter().all(|p| p.0 >= at(3)) && !new.is_empty(),
        "{new:?}"
    );
}

// RFC 3708 S3-1
#[test]
fn the_report_of_a_probe_undoes_no_recovery() {
    let mut t = far(&reno(), false);
    t.write(5 * MSS);
    assert_eq!(sent(&mut t).len(), 5);
    t.now = t.tcb.deadline();
    t.fire();
    assert_eq!(sent(&mut t), [4]);
    t.pass(ms(10));
    // All but the first arrived, and then the probe.
    t.give(sack(&t, 0, &[(1, 5)]));
    assert_eq!(sent(&mut t), [0]);
    t.pass(RTT);
    t.give(sack(&t, 5, &[(4, 5)]));
    let i = info(&t);
    assert_eq!((i.ca_state, i.snd_ssthresh, i.dsack_dups), (0, 5, 1));
}

// RFC 2883 S5-1
#[test]
fn what_was_sent_once_more_may_be_acknowledged_and_reported_together() {
    let mut t = far(&reno(), false);
    t.write(10 * MSS);
    t.polled();
    t.pass(RTT);
    t.give(sack(&t, 0, &[(1, 4)]));
    assert_eq!(sent(&mut t), [0]);
    // It was only late, and the ACK of the first copy was lost.
    t.pass(ms(5));
    t.give(sack(&t, 10, &[(0, 1)]));
    let i = info(&t);
    assert_eq!((i.ca_state, i.dsack_dups), (0, 1));
    assert!(i.snd_ssthresh > 1000, "{}", i.snd_ssthresh);
}

// RFC 8985 S7.3-5
#[test]
fn a_first_copy_that_came_late_tells_nothing_of_the_second() {
    let size = MSS - 12;
    let mut t = far(&reno(), true);
    t.write(8 * size);
    t.polled();
    let first = t.tcb.ts_now(t.now);
    t.pass(RTT);
    let mut seg = t.peer(ACK, 1, 1, 0);
    let edge = |n: u32| SeqNum(ISS) + 1 + n * size;
    seg.options.sack[0] = (edge(1), edge(4));
    seg.options.sack_len = 1;
    t.give(seg);
    assert_eq!(pieces(&mut t), [(1, size)]);
    t.pass(ms(150));
    t.peer_options.timestamps = Some((2, first));
    t.gets(ACK, 1, 1 + 4 * size, 0);
    assert_eq!(pieces(&mut t), []);
    let i = info(&t);
    assert_eq!((i.ca_state, i.lost, i.total_retrans), (0, 0, 1));
}

/// Five short segments, all lost.
fn short_ones(collapse: u8) -> Solo {
    let s = Sysctl {
        tcp_retrans_collapse: collapse,
        ..reno()
    };
    let mut t = far(&s, false);
    t.tcb.options.nodelay = true;
    for _ in 0..5 {
        t.write(10);
        assert_eq!(pieces(&mut t).len(), 1);
    }
    for _ in 0..2 {
        t.now = t.tcb.deadline();
        t.fire();
        if info(&t).ca_state == 4 {
            break;
        }
        t.polled();
    }
    assert_eq!(info(&t).ca_state, 4);
    t
}

#[test]
fn short_segments_go_again_together() {
    let mut t = short_ones(1);
    assert_eq!(pieces(&mut t), [(1, 50)]);
    let i = info(&t);
    assert_eq!((i.unacked, i.lost, i.retrans), (1, 1, 1));
    // A part of it arrived before.
    t.pass(RTT);
    t.gets(ACK, 1, 31, 0);
    t.gets(ACK, 1, 51, 0);
    assert_eq!(info(&t).unacked, 0);
}

#[test]
fn unless_they_are_not_to() {
    let mut t = short_ones(0);
    assert_eq!(pieces(&mut t), [(1, 10)]);
    assert_eq!(info(&t).unacked, 5);
}

#[test]
fn who_joins_takes_its_duplicate_ack_along() {
    let s = Sysctl {
        tcp_sack: 0,
        ..reno()
    };
    let mut t = far(&s, false);
    // The first ACK after the SYN counts as a window update.
    t.gets(ACK, 1, 1, 0);
    t.tcb.options.nodelay = true;
    for _ in 0..4 {
        t.write(10);
        assert_eq!(pieces(&mut t).len(), 1);
    }
    t.pass(RTT);
    for _ in 0..3 {
        t.gets(ACK, 1, 1, 0);
    }
    assert_eq!(pieces(&mut t), [(1, 40)]);
    let i = info(&t);
    assert_eq!((i.unacked, i.sacked, i.lost, i.retrans), (1, 0, 1, 1));
    t.pass(RTT);
    t.gets(ACK, 1, 41, 0);
    let i = info(&t);
    assert_eq!((i.unacked, i.sacked, i.lost, i.reord_seen), (0, 0, 0, 0));
}

/// The copies of several short segments are one, and the originals are reported one by one: each
/// is a part of a segment, which says nothing. All of them say that it is there.
#[test]
fn a_segment_that_is_reported_in_parts_is_reported() {
    let mut t = far(&reno(), false);
    t.tcb.options.nodelay = true;
    for len in [MSS, 10, 10, 10, 10, 10, MSS, MSS, MSS] {
        t.write(len);
        assert_eq!(pieces(&mut t).len(), 1);
    }
    t.pass(RTT);
    let reported = |t: &mut Solo, end: u32| {
        let mut seg = t.peer(ACK, 1, 1, 0);
        seg.options.sack[0] = (SeqNum(ISS) + at(1), SeqNum(ISS) + end);
        seg.options.sack_len = 1;
        t.give(seg);
    };
    let mut seg = t.peer(ACK, 1, 1, 0);
    let (last, end) = (at(1) + 50, at(1) + 50 + 3 * MSS);
    seg.options.sack[0] = (SeqNum(ISS) + last, SeqNum(ISS) + end);
    seg.options.sack_len = 1;
    t.give(seg);
    assert_eq!(pieces(&mut t), [(1, MSS), (at(1), 50)]);
    for n in 1..5 {
        reported(&mut t, at(1) + n * 10);
        assert_eq!(info(&t).sacked, 3);
    }
    reported(&mut t, end);
    assert_eq!(info(&t).sacked, 4);
}

#[test]
fn a_fin_is_no_byte_of_a_segment() {
    let mut t = far(&reno(), false);
    t.max_payload = 65_000;
    t.write(2 * MSS);
    t.tcb.close(t.now, false);
    assert_eq!(pieces(&mut t), [(1, 2 * MSS)]);
    assert_eq!(info(&t).unacked, 2);
    // The timeout sends the first half alone: the other is a whole segment, with the FIN.
    while info(&t).ca_state != 4 {
        t.now = t.tcb.deadline();
        t.fire();
        t.polled();
    }
    assert_eq!(info(&t).unacked, 2);
}

#[test]
fn reordering_is_not_learnt_of_a_loss_that_can_not_be_undone() {
    for (undo, seen) in [(true, 1), (false, 0)] {
        let mut t = timed_out(false);
        t.tcb.recovery.frto = false;
        if !undo {
            t.tcb.recovery.undo_marker = None;
        }
        t.give(sack(&t, 0, &[(5, 6)]));
        t.give(sack(&t, 0, &[(3, 4), (5, 6)]));
        assert_eq!(info(&t).ca_state, 4);
        assert_eq!(info(&t).reord_seen, seen, "to be undone: {undo}");
    }
}

/// Its first copy arrived, as far as is known, and so it is no longer lost; but it is the timer's to
/// send all the same.
#[test]
fn a_timeout_sends_the_first_segment_whatever_became_of_it() {
    let mut t = timed_out(true);
    let edge = |n: u32| 1 + n * (MSS - 12);
    let begins = |t: &mut Solo| -> Vec<u32> { pieces(t).iter().map(|p| p.0).collect() };
    t.tcb.recovery.frto = false;
    let old = t.tcb.ts_now(t.now).wrapping_sub(50);
    t.pass(ms(10));
    // Of the second copy: two more go again.
    let now = t.tcb.ts_now(t.now);
    t.peer_options.timestamps = Some((1000, now));
    t.gets(ACK, 1, edge(1), 0);
    assert_eq!(begins(&mut t), [edge(1), edge(2)]);
    // Of the first copy: nothing was lost.
    t.peer_options.timestamps = Some((1001, old));
    t.gets(ACK, 1, edge(2), 0);
    let i = info(&t);
    assert_eq!((i.ca_state, i.lost, i.retrans), (1, 0, 1));
    t.polled();
    while info(&t).ca_state != 4 {
        t.now = t.tcb.deadline();
        t.fire();
        if info(&t).ca_state != 4 {
            t.polled();
        }
    }
    assert_eq!(begins(&mut t)[0], edge(2));
}
