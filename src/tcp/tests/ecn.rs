//! Explicit congestion notification, rule by rule (RFC 3168, section 6.1).

use super::recovery::{MSS, RTT, at, info};
use super::solo::*;
use crate::tcp::{Flags, Segment, SeqNum, Sysctl, Tcb, TcpOptions};

const ECE: Flags = Flags::ECE;
const CWR: Flags = Flags::CWR;
const CE: u8 = 3;

/// ESTABLISHED at 100 ms, with ECN.
fn open() -> Solo {
    let s = Sysctl {
        tcp_ecn: 1,
        ..super::recovery::reno()
    };
    let mut t = Solo::connecting(TcpOptions::default(), &s, super::pair::path());
    t.polled();
    t.pass(RTT);
    let mut answer = t.peer(SYN.with(ACK).with(ECE), 0, 1, 0);
    answer.options = offers();
    t.give(answer);
    t.polled();
    assert!(info(&t).ecn);
    t
}

fn marked(t: &Solo, seq: u32, len: u32) -> Segment {
    let mut s = t.peer(ACK, seq, 1, len);
    s.ecn = CE;
    s
}

fn tells(t: &mut Solo, flag: Flags) -> Vec<bool> {
    let all = t.polled();
    all.iter().map(|x| x.segment.flags.has(flag)).collect()
}

// RFC 3168 S6.1.1-1
#[test]
fn only_a_syn_that_asks_is_answered() {
    let answer = |flags: Flags, ecn: u8| {
        let s = Sysctl::default();
        let mut t = Solo::connecting(TcpOptions::default(), &s, super::pair::path());
        let mut syn = t.peer(SYN.with(flags), 0, 0, 0);
        syn.options = offers();
        syn.ecn = ecn;
        let path = super::pair::path();
        t.tcb = Tcb::accept(t.now, SeqNum(ISS), path, TcpOptions::default(), &s, &syn);
        let f = t.polled()[0].segment.flags;
        (f.has(ECE), f.has(CWR))
    };
    assert_eq!(answer(ECE.with(CWR), 0), (true, false));
    for flags in [Flags::NONE, ECE, CWR] {
        assert_eq!(answer(flags, 0), (false, false), "{flags:?}");
    }
    // No host sets ECT on a SYN: something on the way did.
    assert_eq!(answer(ECE.with(CWR), 2), (false, false));
}

// RFC 3168 S6.1.1-4, S6.1.2-6
#[test]
fn each_reduction_is_told_once_and_nothing_grows_meanwhile() {
    let mut t = open();
    t.write(60 * MSS);
    t.polled();
    let mut acked = 0;
    for round in 0..2 {
        t.pass(RTT);
        let flight = info(&t).unacked;
        let before = info(&t).snd_cwnd;
        let mut told = 0;
        for _ in 0..flight {
            acked += 1;
            t.gets(ACK.with(ECE), 1, at(acked), 0);
            assert!(info(&t).snd_cwnd <= before, "round {round}");
            told += tells(&mut t, CWR).iter().filter(|&&x| x).count();
        }
        assert_eq!(told, 1, "round {round}");
        assert!(info(&t).snd_ssthresh < before, "round {round}");
    }
    // Without ECE nothing is told.
    t.pass(RTT);
    while info(&t).unacked > 0 && acked < 55 {
        acked += 1;
        t.gets(ACK, 1, at(acked), 0);
        if info(&t).ca_state == 0 {
            assert!(tells(&mut t, CWR).iter().all(|&x| !x));
        } else {
            t.polled();
        }
    }
}

// RFC 3168 S6.1.5-2
#[test]
fn marks_outside_of_the_window_say_nothing() {
    let mut t = open();
    t.gets(ACK, 1, 1, 100);
    t.polled();
    for seq in [0x2000_0000, 0xe000_0000] {
        t.give(marked(&t, seq, 100));
        assert!(tells(&mut t, ECE).iter().all(|&x| !x), "{seq:#x}");
    }
    t.give(marked(&t, 101, 100));
    assert_eq!(tells(&mut t, ECE), [true]);
}

// RFC 3168 S6.1.6-1
#[test]
fn window_probes_bear_no_marks() {
    let mut t = open();
    t.write(10 * MSS);
    t.polled();
    t.pass(RTT);
    // A reduction is yet to be told, and the window closes.
    t.window = 0;
    t.gets(ACK.with(ECE), 1, at(10), 0);
    t.write(10 * MSS);
    assert_eq!(t.polled().len(), 0);
    let mut probes = 0;
    while probes < 3 {
        t.now = t.tcb.deadline();
        t.fire();
        for x in t.polled() {
            probes += 1;
            assert_eq!((x.segment.ecn, x.segment.flags.has(CWR)), (0, false));
        }
        t.gets(ACK, 1, at(10), 0);
    }
    t.window = 60_000;
    t.gets(ACK, 1, at(10), 0);
    let data = t.polled();
    assert!(data[0].segment.flags.has(CWR) && data[0].segment.ecn != 0);
}

// RFC 3168 S6.1.6-2
#[test]
fn a_mark_on_a_window_probe_is_heeded() {
    let mut t = open();
    let mut seq = 1;
    while t.tcb.receive_window() > 0 {
        let window = t.tcb.receive_window();
        t.gets(ACK, seq, 1, window);
        seq += window;
        t.polled();
        // The ACK may be a delayed one.
        if t.tcb.deadline() <= t.now + ms(1000) {
            t.now = t.tcb.deadline();
            t.fire();
            t.polled();
        }
    }
    t.give(marked(&t, seq, 1));
    assert_eq!(tells(&mut t, ECE), [true]);
}
