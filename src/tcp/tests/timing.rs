//! Timers: retransmission, persist, keepalive, delayed ACK.

use super::solo::*;
use crate::tcp::{Options, State, Sysctl, TcpError, TcpOptions, TimerName};
use crate::time::{Duration, Instant};

// RFC 9293 MUST-20, SHLD-11
#[test]
fn data_gets_fifteen_retries_worth_of_time() {
    let mut t = Solo::open();
    // A round trip is known: RTO is 200 ms and a little.
    t.write(1);
    t.sends();
    t.pass(ms(1));
    t.gets(ACK, 1, 2, 0);
    t.write(100);
    let start = t.now;
    let at = t.timeline(start, start + Duration::from_secs(5000));
    assert_eq!(&at[..5], [0, 200, 400, 800, 1601]);
    // Linux's model: 924.6 s since the first timeout, found out when the timer next
    // runs out (measured on 6.18 with tcp_retries2 = 3: 6.6 s for a model of 3 s).
    // (The second is the tail loss probe, which doesn't count.)
    assert_eq!(at.len(), 18);
    let died = t.now.since(start).as_secs();
    assert!((924..1050).contains(&died), "{died}");
    assert_eq!(t.tcb.error(), Some(TcpError::TimedOut));
    assert_eq!(t.tcb.state, State::Closed);
    assert_eq!(t.sends(), [], "no RST");
}

#[test]
fn three_retries_as_measured() {
    let s = Sysctl {
        tcp_retries2: 3,
        ..Sysctl::default()
    };
    let mut t = Solo::open_with(TcpOptions::default(), &s, offers());
    t.write(100);
    let start = t.now;
    t.timeline(start, start + Duration::from_secs(100));
    // 6.18 took 6.6 s, its loss probe of 0.2 s included.
    let died = t.now.since(start).as_millis();
    assert!((6300..6700).contains(&died), "{died}");
}

// RFC 9293 MUST-21
#[test]
fn user_timeout_ends_it_in_time() {
    let o = TcpOptions {
        user_timeout: 5000,
        ..TcpOptions::default()
    };
    let mut t = Solo::open_with(o, &Sysctl::default(), offers());
    t.write(100);
    let start = t.now;
    t.timeline(start, start + Duration::from_secs(100));
    let died = t.now.since(start).as_millis();
    // Since the first timeout, the loss probe before it not counted.
    assert!((5000..5500).contains(&died), "{died}");
}

// RFC 9293 MUST-18
// RFC 6298 S2.3-2
#[test]
fn rtt_is_measured_and_rto_follows() {
    let mut t = Solo::open();
    t.write(10);
    t.sends();
    t.pass(ms(100));
    t.gets(ACK, 1, 11, 0);
    // RFC 6298 with Linux's floor: SRTT 0 ms (the handshake's) moves by an eighth.
    let i = t.tcb.info(t.now);
    assert!(i.rto_us >= 200_000 && i.rto_us < 500_000, "{}", i.rto_us);
    assert!(i.rtt_us >= 12_000 && i.rtt_us < 13_000, "{}", i.rtt_us);
}

// RFC 9293 MUST-18
// RFC 6298 S3-1
#[test]
fn karn_no_measurement_of_what_was_sent_twice() {
    let mut t = Solo::open();
    let before = t.tcb.info(t.now).rtt_us;
    t.write(10);
    t.sends();
    t.now = t.tcb.deadline();
    t.fire();
    assert_eq!(t.sends().len(), 1);
    let backed_off = t.tcb.info(t.now).rto_us;
    t.pass(ms(1));
    t.gets(ACK, 1, 11, 0);
    let i = t.tcb.info(t.now);
    assert_eq!((i.rtt_us, i.rto_us), (before, backed_off));
}

// RFC 6298 S3-1
#[test]
fn timestamps_measure_what_was_sent_twice() {
    let mut t = Solo::connecting(
        TcpOptions::default(),
        &Sysctl::default(),
        super::pair::path(),
    );
    let ts = t.polled()[0].segment.options.timestamps.unwrap().0;
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = Options {
        timestamps: Some((5, ts)),
        ..offers()
    };
    t.give(syn);
    t.sends();
    t.write(10);
    t.sends();
    t.now = t.tcb.deadline();
    t.fire();
    let ts = t.polled()[0].segment.options.timestamps.unwrap().0;
    t.pass(ms(40));
    t.peer_options.timestamps = Some((6, ts));
    t.gets(ACK, 1, 11, 0);
    let i = t.tcb.info(t.now);
    assert!(i.rtt_us > 4000 && i.rto_us < 400_000, "{i:?}");
    assert_eq!(i.backoff, 0);
}

// RFC 9293 MUST-36, SHLD-29, SHLD-30, MUST-37
#[test]
fn a_closed_window_is_probed_forever() {
    let mut t = Solo::open();
    t.window = 0;
    t.gets(ACK, 1, 1, 0);
    t.write(100);
    assert_eq!(t.sends(), []);
    assert_eq!(t.tcb.info(t.now).timer.0, TimerName::Persist);
    let start = t.now;
    // Answered probes: RTO, doubled each time up to 120 s; never given up.
    let mut gaps = Vec::new();
    let mut last = start;
    for _ in 0..30 {
        t.now = t.tcb.deadline();
        t.fire();
        assert_eq!(t.sends(), [(ACK, 0, 1, 0)], "a bare ACK, one below SND.UNA");
        gaps.push(t.now.since(last).as_millis() as u64);
        last = t.now;
        t.gets(ACK, 1, 1, 0);
    }
    assert_eq!(&gaps[..4], [200, 400, 800, 1600]);
    assert_eq!(gaps[29], 120_000);
    assert_eq!(t.tcb.state, State::Established);
    // The window opens.
    t.window = 1000;
    t.gets(ACK, 1, 1, 0);
    assert_eq!(t.sends(), [(PSH.with(ACK), 1, 1, 100)]);
}

#[test]
fn unanswered_probes_end_it() {
    let mut t = Solo::open();
    t.window = 0;
    t.gets(ACK, 1, 1, 0);
    t.write(100);
    let start = t.now;
    let at = t.timeline(start, start + Duration::from_secs(5000));
    assert_eq!(at.len(), 15);
    assert_eq!(t.tcb.error(), Some(TcpError::TimedOut));
}

// RFC 9293 MUST-38
#[test]
fn a_small_window_is_used_by_the_probe() {
    // Sender's silly-window avoidance: 10 bytes of window are not worth a segment, until the
    // probe timer says so.
    let mut t = Solo::open();
    t.window = 10;
    t.gets(ACK, 1, 1, 0);
    t.write(100);
    assert_eq!(t.sends(), []);
    t.now = t.tcb.deadline();
    t.fire();
    assert_eq!(t.sends(), [(PSH.with(ACK), 1, 1, 10)]);
}

fn keepalive() -> TcpOptions {
    TcpOptions {
        keepalive: true,
        keepidle: 10,
        keepintvl: 5,
        keepcnt: 3,
        ..TcpOptions::default()
    }
}

// RFC 9293 MUST-27, MUST-29
#[test]
fn keepalive_dies() {
    let mut t = Solo::open_with(keepalive(), &Sysctl::default(), offers());
    let start = t.now;
    let at = t.timeline(start, start + Duration::from_secs(1000));
    // Three probes and a RST.
    assert_eq!(at, [10_000, 15_000, 20_000, 25_000]);
    assert_eq!(t.tcb.error(), Some(TcpError::TimedOut));
}

// RFC 9293 MUST-26, SHLD-12
#[test]
fn keepalive_lives() {
    let mut t = Solo::open_with(keepalive(), &Sysctl::default(), offers());
    for _ in 0..10 {
        t.now = t.tcb.deadline();
        t.fire();
        assert_eq!(t.sends(), [(ACK, 0, 1, 0)]);
        t.pass(ms(5));
        t.gets(ACK, 1, 1, 0);
        // The timer finds that it was heard of.
        t.now = t.tcb.deadline();
        t.fire();
        assert_eq!(t.sends(), []);
    }
    assert_eq!(t.tcb.state, State::Established);
    // Answering the peer's probe.
    t.pass(ms(600));
    t.gets(ACK, 0, 1, 0);
    assert_eq!(t.sends(), [(ACK, 1, 1, 0)]);
}

// RFC 9293 MUST-26
#[test]
fn keepalive_waits_while_data_is_in_flight() {
    let mut t = Solo::open_with(keepalive(), &Sysctl::default(), offers());
    t.write(10);
    t.sends();
    let start = t.now;
    t.timeline(start, start + Duration::from_secs(60));
    assert_eq!(t.tcb.info(t.now).probes, 0);
    assert_eq!(t.tcb.state, State::Established);
}

// RFC 9293 MUST-24
#[test]
fn keepalive_switched_on_later() {
    let mut t = Solo::open();
    assert_eq!(t.tcb.deadline(), Instant::NEVER);
    t.tcb.options = keepalive();
    t.tcb.options_changed(t.now);
    assert_eq!(t.tcb.deadline(), t.now + Duration::from_secs(10));
    t.tcb.options.keepalive = false;
    t.tcb.options_changed(t.now);
    assert_eq!(t.tcb.deadline(), Instant::NEVER);
}

// RFC 9293 SHLD-18, MUST-40
// RFC 5681 S4.2-1, S4.2-2
#[test]
fn quickack_then_delay() {
    let mut t = Solo::open();
    // 16 segments are acknowledged at once ...
    let mut at_once = 0;
    for i in 0..40 {
        t.gets(PSH.with(ACK), 1 + i, 1, 1);
        t.tcb.app_read(t.now, 0);
        at_once += t.sends().len();
        t.pass(ms(1));
    }
    assert!((16..=17).contains(&at_once), "{at_once}");
    // ... then the ACK waits 40 ms.
    let due = t.tcb.deadline();
    assert!(due != Instant::NEVER && due <= t.now + ms(40));
    t.now = due;
    t.fire();
    assert_eq!(t.sends().len(), 1);
}

// RFC 9293 SHLD-19
// RFC 5681 S4.2-3
#[test]
fn every_second_full_segment_is_acknowledged() {
    let mut t = Solo::open();
    t.tcb.delack.ato = 40;
    t.tcb.delack.rcv_mss = 1000;
    t.tcb.delack.pingpong = true;
    t.gets(ACK, 1, 1, 1000);
    assert_eq!(t.sends(), []);
    t.gets(ACK, 1001, 1, 1000);
    assert_eq!(t.sends(), [(ACK, 1, 2001, 0)]);
}

#[test]
fn an_ack_rides_on_data() {
    let mut t = Solo::open();
    t.tcb.delack.ato = 40;
    t.tcb.delack.pingpong = true;
    t.gets(PSH.with(ACK), 1, 1, 5);
    assert_eq!(t.sends(), []);
    t.write(7);
    assert_eq!(t.sends(), [(PSH.with(ACK), 1, 6, 7)]);
    // Nothing is owed any more.
    let start = t.now;
    t.gets(ACK, 6, 8, 0);
    assert_eq!(t.timeline(start, start + ms(500)), [] as [u64; 0]);
}

// RFC 7323 S3.2-6, S5.2-1, S5.3-1, S5.2-3, S5.3-2
#[test]
fn paws_and_its_exceptions() {
    let mut t = Solo::connecting(
        TcpOptions::default(),
        &Sysctl::default(),
        super::pair::path(),
    );
    t.polled();
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = Options {
        timestamps: Some((10_000, 0)),
        ..offers()
    };
    t.give(syn);
    assert_eq!(t.polled()[0].segment.options.timestamps.unwrap().1, 10_000);
    // Older data is dropped and acknowledged.
    t.peer_options.timestamps = Some((5000, 0));
    let o = t.gets(ACK, 1, 1, 10);
    assert!(!o.events.has(crate::tcp::Events::READABLE));
    assert_eq!(t.sends().len(), 1);
    // Newer data is taken and echoed.
    t.peer_options.timestamps = Some((10_005, 0));
    t.gets(ACK, 1, 1, 10);
    assert_eq!(t.polled()[0].segment.options.timestamps.unwrap().1, 10_005);
    // RFC 7323, section 4.3: a segment beyond Last.ACK.sent does not update it.
    t.peer_options.timestamps = Some((10_050, 0));
    t.gets(ACK, 100, 1, 10);
    assert_eq!(t.polled()[0].segment.options.timestamps.unwrap().1, 10_005);
    // A RST is taken in spite of its timestamp.
    t.peer_options.timestamps = Some((1, 0));
    t.gets(RST, 11, 0, 0);
    assert_eq!(t.tcb.state, State::Closed);
}

#[test]
fn a_fin_is_acknowledged_late() {
    // After data, with the delayed ACK: our own FIN may follow soon.
    let mut t = Solo::open();
    t.gets(PSH.with(ACK), 1, 1, 1);
    assert_eq!(t.sends().len(), 1, "quickack");
    t.tcb.app_read(t.now, 1);
    t.pass(ms(150));
    t.gets(FIN.with(ACK), 2, 1, 0);
    t.tcb.app_read(t.now, 0);
    let start = t.now;
    assert_eq!(t.timeline(start, start + ms(300)), [40]);
    // When no data ever came, at once, but for a tick.
    let mut t = Solo::open();
    t.pass(ms(150));
    t.gets(FIN.with(ACK), 1, 1, 0);
    let start = t.now;
    assert_eq!(t.timeline(start, start + ms(300)), [1]);
}

// RFC 8985 S7.2-1, S7.3-4
#[test]
fn a_lost_tail_is_probed_for() {
    let mut t = Solo::open();
    t.pass(ms(1));
    t.write(1);
    t.sends();
    t.pass(ms(1));
    t.gets(ACK, 1, 2, 0);
    // Two segments: the last of them goes again after two round trips and 2 ms.
    t.write(1600);
    assert_eq!(t.sends().len(), 2);
    let start = t.now;
    t.now = t.tcb.deadline();
    assert!(t.now.since(start) <= ms(5), "{:?}", t.now.since(start));
    t.fire();
    let probe = t.sends();
    assert_eq!(probe.len(), 1);
    assert_eq!(probe[0].1 + probe[0].3, 1602, "{probe:?}");
    let i = t.tcb.info(t.now);
    assert_eq!((i.retransmits, i.total_retrans), (0, 1));
    assert_eq!(i.timer.0, TimerName::On);
    let cwnd = i.snd_cwnd;
    // Then the retransmission timer, counted from the probe.
    assert!(t.tcb.deadline().since(t.now) >= ms(200));
    // Both copies arrive: the second ACK tells, and nothing is slowed down.
    t.pass(ms(1));
    t.gets(ACK, 1, 1602, 0);
    t.gets(ACK, 1, 1602, 0);
    t.write(10);
    t.sends();
    t.gets(ACK, 1, 1612, 0);
    assert!(t.tcb.info(t.now).snd_cwnd >= cwnd);
}

#[test]
fn no_probe_without_sack() {
    let s = Sysctl {
        tcp_sack: 0,
        ..Sysctl::default()
    };
    let mut o = offers();
    o.sack_permitted = false;
    let mut t = Solo::open_with(TcpOptions::default(), &s, o);
    t.write(100);
    let start = t.now;
    let at = t.timeline(start, start + ms(1700));
    assert_eq!(at, [0, 200, 600, 1400]);
    assert_eq!(t.tcb.info(t.now).retransmits, 3);
}

/// What is behind a gap can't be read and takes its part of the buffer, so that grows by it
/// (Linux: `tcp_rcvbuf_grow`), unless tcp_moderate_rcvbuf says no.
#[test]
fn what_is_behind_a_gap_has_room_of_its_own() {
    for moderate in [1, 0] {
        let sysctl = Sysctl {
            tcp_moderate_rcvbuf: moderate,
            ..Sysctl::default()
        };
        let mut t = Solo::open_with(TcpOptions::default(), &sysctl, offers());
        let before = t.tcb.rcv_buf();
        for n in 1..44 {
            t.gets(ACK, 1 + n * 1460, 1, 1460);
            t.polled();
        }
        let grown = t.tcb.rcv_buf() > before;
        assert_eq!(grown, moderate == 1, "{before} {}", t.tcb.rcv_buf());
    }
}
