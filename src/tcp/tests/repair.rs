//! Rules of loss recovery that `recovery.rs` leaves out: what stays known when it ends, what a
//! timeout changes, how long losses are waited for, and how undoing begins.

use super::recovery::*;
use super::solo::*;
use crate::tcp::{SeqNum, Sysctl, TcpOptions, TimerName};
use crate::time::Duration;

/// Fast recovery with ten segments out, of which 1 to 3 are reported.
fn recovering() -> Solo {
    let mut t = ten(&reno());
    t.give(sack(&t, 0, &[(1, 4)]));
    assert_eq!(sent(&mut t), [0, 10]);
    assert_eq!(info(&t).ca_state, 3);
    t
}

/// The next timer that runs out sends something.
fn timer(t: &mut Solo) -> Vec<u32> {
    for _ in 0..3 {
        t.now = t.tcb.deadline();
        t.fire();
        let out = sent(t);
        if !out.is_empty() {
            return out;
        }
    }
    panic!("nothing was sent");
}

// RFC 6675 S5-4
#[test]
fn the_end_of_recovery_forgets_nothing() {
    let mut t = recovering();
    t.write(10 * MSS);
    let mut top = 10;
    for n in 5..=10 {
        t.give(sack(&t, 0, &[(1, n)]));
        top = sent(&mut t).last().copied().unwrap_or(top);
    }
    assert!(top > 11, "{top}");
    // Up to 10 everything is acknowledged: recovery ends. The last that was sent is reported.
    t.pass(RTT);
    t.give(sack(&t, 0, &[(top, top + 1), (1, 10)]));
    sent(&mut t);
    assert_eq!(t.tcb.recovery.recover, SeqNum(ISS) + at(10));
    t.gets(ACK, 1, at(10), 0);
    // (Below it something was lost again: that is a recovery of its own.)
    assert!(t.tcb.recovery.recover.gt(SeqNum(ISS) + at(10)));
    assert_eq!(info(&t).sacked, 1);
}

// RFC 6675 S5.1-1, S5.1-2, S5.1-3, S5.1-4, S5.1-5
#[test]
fn a_timeout_ends_recovery_and_keeps_what_is_known() {
    let mut t = recovering();
    let again = timer(&mut t);
    assert_eq!(info(&t).ca_state, 4);
    assert_eq!(again[0], 0);
    // More is reported: no new recovery begins, but it counts.
    t.give(sack(&t, 0, &[(1, 8)]));
    assert_eq!((info(&t).ca_state, info(&t).sacked), (4, 7));
    let mut out = sent(&mut t);
    t.pass(RTT);
    t.gets(ACK, 1, at(8), 0);
    out.extend(sent(&mut t));
    // All of when fast recovery began is acknowledged, not all of when the timer ran out.
    t.pass(RTT);
    t.gets(ACK, 1, at(10), 0);
    assert_eq!(info(&t).ca_state, 4);
    out.extend(sent(&mut t));
    assert!(out.iter().all(|n| !(1..8).contains(n)), "{out:?}");
    t.pass(RTT);
    t.gets(ACK, 1, at(11), 0);
    assert_eq!(info(&t).ca_state, 0);
}

/// Ten segments from `una` on, the first of which is sent again for nothing: all arrive, and the
/// peer reports the second copy.
fn spurious(t: &mut Solo, una: u32) {
    t.write(10 * MSS);
    t.polled();
    t.pass(RTT);
    t.give(sack(t, una, &[(una + 1, una + 4)]));
    let mut out = sent(t);
    if !out.contains(&una) {
        t.now = t.tcb.deadline();
        t.fire();
        out = sent(t);
    }
    assert!(out.contains(&una), "{out:?}");
    t.gets(ACK, 1, at(una + 10), 0);
    t.polled();
    t.pass(RTT);
    t.give(sack(t, una + 10, &[(una, una + 1)]));
    t.polled();
}

/// How long a hole is waited for, ms.
fn patience(t: &mut Solo, una: u32) -> u128 {
    t.give(sack(t, una, &[(una + 1, una + 2)]));
    t.polled();
    let start = t.now;
    t.now = t.tcb.deadline();
    t.now.since(start).as_millis()
}

// RFC 8985 S4-4, S3.3.2-3, S3.3.2-4, S3.3.2-5
#[test]
fn duplicates_widen_the_reordering_window_up_to_a_round_trip() {
    let mut waits = Vec::new();
    for rounds in 0..7 {
        let mut t = far(&reno(), false);
        // Order was seen to be disturbed: else three reports are enough.
        t.write(10 * MSS);
        t.polled();
        t.pass(RTT);
        t.give(sack(&t, 0, &[(1, 2)]));
        t.polled();
        t.pass(ms(10));
        t.gets(ACK, 1, at(10), 0);
        t.polled();
        assert_eq!(info(&t).reord_seen, 1);
        for n in 1..=rounds {
            spurious(&mut t, 10 * n);
        }
        t.write(10 * MSS);
        t.polled();
        t.pass(RTT);
        let una = 10 * (rounds + 1);
        waits.push(patience(&mut t, una));
    }
    assert_eq!(waits[0], 27);
    assert!(waits[1] >= 50, "{waits:?}");
    assert!(waits[6] > waits[1] && waits[6] <= 130, "{waits:?}");
}

// RFC 8985 S6.2-1
#[test]
fn the_least_round_trip_is_of_the_last_five_minutes() {
    let mut t = Solo::open();
    let mut end = 1;
    let mut exchange = |t: &mut Solo, wait: Duration| {
        t.write(10);
        t.polled();
        t.pass(wait);
        end += 10;
        t.gets(ACK, 1, end, 0);
        info(t).min_rtt_us
    };
    exchange(&mut t, ms(10));
    let least = exchange(&mut t, ms(100));
    assert!(least <= 10_000, "{least}");
    t.pass(Duration::from_secs(301));
    assert_eq!(exchange(&mut t, ms(100)), 100_000);
}

// RFC 8985 S7.2-3, S7.3-3
#[test]
fn the_probe_waits_two_round_trips_and_is_new_data() {
    let mut t = far(&reno(), false);
    t.write(40 * MSS);
    t.polled();
    let start = t.now;
    t.now = t.tcb.deadline();
    assert_eq!(t.now.since(start).as_millis(), 202);
    t.fire();
    assert_eq!(sent(&mut t), [10]);
    // The ACK of a segment that is alone may be delayed.
    let mut t = far(&reno(), false);
    t.write(100);
    t.polled();
    assert!(t.tcb.deadline().since(t.now) > ms(202));
}

// RFC 8985 S7.2-2
#[test]
fn without_a_round_trip_the_probe_waits_a_second() {
    let mut t = Solo::connecting(
        TcpOptions::default(),
        &Sysctl::default(),
        super::pair::path(),
    );
    t.polled();
    t.now = t.tcb.deadline();
    t.fire();
    t.polled();
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = offers();
    t.give(syn);
    t.polled();
    assert_eq!(info(&t).rtt_us, 0);
    t.write(100);
    t.polled();
    assert_eq!(t.tcb.deadline().since(t.now).as_millis(), 1000);
}

// RFC 8985 S7.3-1, S7.3-2
#[test]
fn one_probe_at_a_time() {
    let mut t = far(&reno(), false);
    t.write(2 * MSS);
    t.polled();
    t.now = t.tcb.deadline();
    t.fire();
    assert_eq!(sent(&mut t), [1]);
    // More is sent while the probe is under way: no second one, but a timeout.
    t.write(MSS);
    assert_eq!(sent(&mut t), [2]);
    while info(&t).retransmits == 0 {
        assert_eq!(sent(&mut t), []);
        t.now = t.tcb.deadline();
        t.fire();
    }
    assert_eq!(info(&t).ca_state, 4);
}

// RFC 8985 S7.3-5, S7.3-6
#[test]
fn the_probe_counts_as_sent_when_it_was() {
    let mut t = far(&reno(), false);
    t.write(5 * MSS);
    t.polled();
    t.now = t.tcb.deadline();
    t.fire();
    assert_eq!(sent(&mut t), [4]);
    assert_eq!(info(&t).timer.0, TimerName::On);
    // What was sent a long time before it is lost, at once.
    t.pass(RTT);
    t.give(sack(&t, 0, &[(4, 5)]));
    assert_eq!(sent(&mut t)[0], 0);
}

// RFC 5682 S2.1-3, S3.1-3
// RFC 4015 S3.1-2
#[test]
fn a_second_timeout_begins_f_rto_anew_and_forgets_nothing() {
    let mut t = timed_out(false);
    assert_eq!(timer(&mut t), [0]);
    assert_eq!(info(&t).retransmits, 2);
    t.pass(ms(10));
    t.gets(ACK, 1, at(2), 0);
    let new = sent(&mut t);
    assert!(new.iter().all(|&n| n > 10) && !new.is_empty(), "{new:?}");
    t.gets(ACK, 1, at(4), 0);
    let i = info(&t);
    assert_eq!((i.ca_state, i.lost), (0, 0));
    assert!(i.snd_cwnd >= 10, "{}", i.snd_cwnd);
}

// RFC 5682 S3.1-2, S2.1-2
#[test]
fn a_timeout_in_recovery_is_believed() {
    let mut t = recovering();
    timer(&mut t);
    assert_eq!(info(&t).ca_state, 4);
    t.pass(RTT);
    t.gets(ACK, 1, at(4), 0);
    // What was out before goes again: F-RTO would have sent new data.
    let again = sent(&mut t);
    assert_eq!(again[0], 4, "{again:?}");
}

// RFC 5682 S2.1-4
#[test]
fn f_rto_waits_for_an_ack_that_says_something() {
    let mut t = timed_out(false);
    t.pass(ms(10));
    t.gets(ACK, 1, 1, 100);
    assert_eq!(sent(&mut t), []);
    t.gets(ACK, 101, at(2), 0);
    let new = sent(&mut t);
    assert!(new.iter().all(|&n| n > 10) && !new.is_empty(), "{new:?}");
}

// RFC 3522 S3.2-2
#[test]
fn eifel_compares_with_the_first_retransmission() {
    let mut t = far(&reno(), true);
    t.write(40 * MSS);
    t.polled();
    let mut first = None;
    while info(&t).retransmits < 2 {
        t.now = t.tcb.deadline();
        t.fire();
        for x in t.polled() {
            if x.retransmit && first.is_none() {
                first = x.segment.options.timestamps.map(|o| o.0);
            }
        }
    }
    // The ACK is of the first retransmission: it repaired a loss.
    t.pass(ms(5));
    t.peer_options.timestamps = Some((2, first.unwrap()));
    t.gets(ACK, 1, at(1), 0);
    assert_eq!(info(&t).ca_state, 4);
}

/// ESTABLISHED with timestamps; the peer's clock says 10,000.
fn stamped() -> Solo {
    let mut t = far(&Sysctl::default(), true);
    t.peer_options.timestamps = Some((10_000, 0));
    t.gets(ACK, 1, 1, 10);
    t.polled();
    t.tcb.set_quickack(0);
    t
}

fn echoed(t: &mut Solo) -> u32 {
    let ack = t.polled().pop().expect("an ACK").segment;
    ack.options.timestamps.expect("timestamps").1
}

// RFC 7323 S4.3-1
#[test]
fn a_delayed_ack_echoes_the_first_segment() {
    let mut t = stamped();
    t.peer_options.timestamps = Some((10_100, 0));
    t.gets(ACK, 11, 1, 10);
    assert_eq!(t.polled().len(), 0, "delayed");
    t.peer_options.timestamps = Some((10_200, 0));
    t.gets(ACK, 21, 1, 10);
    t.write(1);
    assert_eq!(echoed(&mut t), 10_100);
}

// RFC 7323 S3.2-9, S4.3-2, S4.3-3, S5.3-3
#[test]
fn what_fills_a_hole_is_echoed_and_what_waited_is_taken() {
    let mut t = stamped();
    t.peer_options.timestamps = Some((10_100, 0));
    t.gets(ACK, 21, 1, 10);
    assert_eq!(echoed(&mut t), 10_000);
    t.peer_options.timestamps = Some((10_500, 0));
    t.gets(ACK, 11, 1, 10);
    assert_eq!(echoed(&mut t), 10_500);
    // What had waited was not checked again: its timestamp would be too old by now.
    assert_eq!(t.rx.ready.len(), 30);
}

/// RFC 2883: the first block of the ACK is what came twice.
#[test]
fn duplicates_are_told() {
    let mut t = Solo::open();
    t.gets(ACK, 1, 1, 100);
    t.polled();
    t.gets(ACK, 1, 1, 100);
    let o = t.polled().pop().expect("an ACK").segment.options;
    assert_eq!(o.sack_len, 1);
    assert_eq!(o.sack[0], (SeqNum(IRS) + 1, SeqNum(IRS) + 101));
    // Told once.
    t.gets(ACK, 101, 1, 100);
    let o = t.polled().pop().expect("an ACK").segment.options;
    assert_eq!(o.sack_len, 0);
}
