//! What the RFCs ask and no other test shows, rule by rule.

use super::solo::*;
use crate::tcp::{Events, Flags, Options, SeqNum, State, Sysctl, TcpError, TcpOptions};
use crate::time::Duration;

const PA: Flags = PSH.with(ACK);

// RFC 9293 MUST-65
// RFC 2018 S2-1
#[test]
fn an_mss_option_is_for_syns() {
    let mut t = Solo::connecting(
        TcpOptions::default(),
        &Sysctl::default(),
        super::pair::path(),
    );
    assert!(t.polled()[0].segment.options.mss.is_some());
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = offers();
    t.give(syn);
    t.write(3000);
    t.tcb.shutdown_write(t.now);
    let sent = t.polled();
    assert!(sent.len() >= 3);
    for tx in sent {
        let o = tx.segment.options;
        assert_eq!((o.mss, o.wscale, o.sack_permitted), (None, None, false));
    }
}

// RFC 9293 MUST-1, REC-1
#[test]
fn large_windows_are_not_negative() {
    let mut o = offers();
    o.wscale = Some(14);
    let mut t = Solo::open_with(TcpOptions::default(), &Sysctl::default(), o);
    t.window = 0xffff;
    t.gets(ACK, 1, 1, 0);
    assert_eq!(t.tcb.window_edge(), SeqNum(ISS) + 1 + (0xffff << 14));
    t.write(1460);
    assert_eq!(t.sends(), [(PA, 1, 1, 1460)]);
}

/// 5840 bytes in flight when the peer takes its window back to `window`.
fn shrunk(window: u16) -> Solo {
    let mut t = Solo::open();
    t.write(5840);
    assert_eq!(t.sends().len(), 4);
    t.window = window;
    t.gets(ACK, 1, 1461, 0);
    t
}

// RFC 9293 SHLD-15, SHLD-16, SHLD-17, MUST-34
// RFC 7323 S2.4-1, S2.4-4
#[test]
fn a_shrunk_window_holds_new_data_back_and_lets_old_go() {
    let mut t = shrunk(1460);
    t.write(5000);
    assert_eq!(t.sends(), [], "nothing new");
    // What fits into the window goes again, and no more.
    let mut again = Vec::new();
    while again.is_empty() {
        t.now = t.tcb.deadline();
        t.fire();
        again = t.sends();
        again.retain(|s| s.1 == 1461);
    }
    assert_eq!(again[0].3, 1460);
    // All inside the window is acknowledged. Beyond it nothing is, for an hour, in which the
    // peer answers.
    t.window = 0;
    t.gets(ACK, 1, 2921, 0);
    let end = t.now + Duration::from_secs(3600);
    while t.now < end {
        t.now = t.tcb.deadline();
        t.fire();
        if !t.sends().is_empty() {
            t.gets(ACK, 1, 2921, 0);
        }
    }
    assert_eq!(t.tcb.state, State::Established);
}

// RFC 9293 MUST-35
#[test]
fn a_window_shrunk_to_nothing_is_probed() {
    let mut t = shrunk(0);
    assert_eq!(t.sends(), []);
    let mut gaps = Vec::new();
    let mut last = t.now;
    while gaps.len() < 8 {
        t.now = t.tcb.deadline();
        t.fire();
        if t.sends().is_empty() {
            continue;
        }
        gaps.push(t.now.since(last).as_millis());
        last = t.now;
        t.gets(ACK, 1, 1461, 0);
    }
    assert!(gaps[7] >= 100 * gaps[1].min(gaps[0]), "{gaps:?}");
    t.window = 60_000;
    t.gets(ACK, 1, 1461, 0);
    let mut sent = t.sends();
    if sent.is_empty() {
        t.now = t.tcb.deadline();
        t.fire();
        sent = t.sends();
    }
    assert_eq!(sent[0].1, 1461);
}

// RFC 9293 SHLD-14
// RFC 7323 S2.4-2, S2.4-3
#[test]
fn the_right_edge_stays_where_it_is() {
    let mut t = Solo::open();
    let edge = |t: &mut Solo| {
        let s = t.polled().pop().unwrap().segment;
        s.ack + (u32::from(s.window) << t.tcb.info(t.now).rcv_wscale)
    };
    t.gets(PA, 1, 1, 1000);
    let before = edge(&mut t);
    t.tcb.set_rcv_buf(4608);
    t.gets(PA, 1001, 1, 1000);
    assert!(edge(&mut t).ge(before));
}

/// Unread data fills the window.
fn closed() -> (Solo, u32) {
    let mut t = Solo::open();
    let mut at = 1;
    while t.tcb.receive_window() > 0 {
        let window = t.tcb.receive_window();
        t.gets(ACK, at, 1, window);
        at += window;
        t.polled();
        if t.tcb.deadline() <= t.now + Duration::from_secs(1) {
            t.now = t.tcb.deadline();
            t.fire();
            t.polled();
        }
    }
    (t, at)
}

// RFC 9293 MUST-66
#[test]
fn urgent_pointer_and_reset_pass_a_closed_window() {
    let (mut t, at) = closed();
    let mut seg = t.peer(ACK.with(Flags::URG), at, 1, 1);
    seg.urgent = 1;
    let o = t.give(seg);
    assert!(o.events.has(Events::URGENT) && !o.events.has(Events::READABLE));
    t.sends();
    assert!(t.gets(RST, at, 0, 0).events.has(Events::ERROR));
    assert_eq!(t.tcb.state, State::Closed);
}

// RFC 9293 MUST-31
#[test]
fn urgent_data_of_any_length() {
    let mut t = Solo::open();
    t.max_payload = 65_000;
    t.write(10);
    t.sends();
    t.tcb.app_wrote_urgent(t.now, 100_000);
    // The pointer is further than its field says until it isn't.
    let end = SeqNum(ISS) + 100_011;
    let mut acked = 11;
    let mut told = Vec::new();
    while acked < 100_011 {
        t.gets(ACK, 1, acked, 0);
        for tx in t.polled() {
            let s = tx.segment;
            if s.flags.has(Flags::URG) {
                told.push(s.seq + u32::from(s.urgent));
            }
            acked = acked.max((s.seq + s.len) - SeqNum(ISS));
        }
    }
    assert!(told.contains(&end) && told.iter().all(|at| at.le(end)));
    // The other way: the mark moves on with the pointer.
    let mut seg = t.peer(ACK.with(Flags::URG), 1, acked, 1000);
    seg.urgent = 0xffff;
    assert!(t.give(seg).events.has(Events::URGENT));
    let mut seg = t.peer(ACK.with(Flags::URG), 1001, acked, 1000);
    seg.urgent = 0xffff;
    assert!(t.give(seg).events.has(Events::URGENT));
    assert_eq!(t.tcb.urgent_mark(), Some(SeqNum(IRS) + 1000 + 0xffff));
}

// RFC 9293 SHLD-2
#[test]
fn a_reset_may_carry_data() {
    let mut t = Solo::open();
    t.gets(RST, 1, 0, 30);
    assert_eq!(
        (t.tcb.state, t.tcb.error()),
        (State::Closed, Some(TcpError::Reset))
    );
}

// RFC 9293 MUST-25, MUST-28
#[test]
fn keepalive_is_off_and_two_hours_by_default() {
    let o = TcpOptions::default();
    assert!(!o.keepalive);
    let mut t = Solo::open();
    assert_eq!(t.tcb.deadline(), crate::time::Instant::NEVER);
    t.tcb.options.keepalive = true;
    t.tcb.options_changed(t.now);
    assert!(t.tcb.deadline() >= t.now + Duration::from_secs(7200));
}

// RFC 9293 MUST-58
#[test]
fn one_ack_is_for_all_that_came_before_it() {
    let mut t = Solo::open();
    for i in 0..5 {
        t.gets(ACK, 1 + 1000 * i, 1, 1000);
    }
    assert_eq!(t.sends(), [(ACK, 1, 5001, 0)]);
}

// RFC 9293 MUST-22
#[test]
fn syns_are_given_up_by_the_same_rule() {
    let s = Sysctl {
        tcp_syn_retries: 2,
        tcp_syn_linear_timeouts: 0,
        ..Sysctl::default()
    };
    let mut t = Solo::connecting(TcpOptions::default(), &s, super::pair::path());
    let start = t.now;
    let at = t.timeline(start, start + Duration::from_secs(600));
    assert_eq!(at, [0, 1000, 3000]);
    assert_eq!(t.tcb.error(), Some(TcpError::TimedOut));
}

/// ESTABLISHED with timestamps; the peer's clock says 10,000 and echoes what our SYN said.
fn stamped() -> Solo {
    let mut t = Solo::connecting(
        TcpOptions::default(),
        &Sysctl::default(),
        super::pair::path(),
    );
    let ours = t.polled()[0].segment.options.timestamps.unwrap().0;
    t.peer_options.timestamps = Some((10_000, ours));
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = Options {
        timestamps: t.peer_options.timestamps,
        ..offers()
    };
    t.give(syn);
    t.polled();
    t
}

// RFC 7323 S3.2-1, S3.2-2, S3.2-6, S5.2-6
#[test]
fn timestamps_are_in_every_segment() {
    let mut t = stamped();
    t.write(3000);
    t.tcb.shutdown_write(t.now);
    let mut sent = t.polled();
    t.gets(PA, 1, 1, 10);
    t.gets(PA, 5000, 1, 10);
    sent.extend(t.polled());
    t.tcb.abort(t.now);
    sent.extend(t.polled());
    assert!(sent.len() >= 5 && sent.last().unwrap().segment.flags.has(RST));
    for tx in sent {
        assert_eq!(tx.segment.options.timestamps.map(|o| o.1), Some(10_000));
    }
}

// RFC 7323 S3.2-3, S3.2-4
#[test]
fn a_segment_may_lack_its_timestamps() {
    let mut t = stamped();
    t.peer_options.timestamps = None;
    assert!(t.gets(PA, 1, 1, 10).events.has(Events::READABLE));
    assert_eq!(t.tcb.state, State::Established);
}

// RFC 7323 S3.2-7
#[test]
fn timestamps_that_were_not_agreed_say_nothing() {
    let mut t = Solo::open();
    for (i, stamp) in [5000, 1, 0xffff_0000].into_iter().enumerate() {
        t.peer_options.timestamps = Some((stamp, 77));
        let o = t.gets(PA, 1 + 10 * i as u32, 1, 10);
        assert!(o.events.has(Events::READABLE));
        assert!(
            t.polled()
                .iter()
                .all(|s| s.segment.options.timestamps.is_none())
        );
    }
}

// RFC 7323 S3.2-5
#[test]
fn the_echo_counts_only_in_an_ack() {
    let mut t = Solo::connecting(
        TcpOptions::default(),
        &Sysctl::default(),
        super::pair::path(),
    );
    let ours = t.polled()[0].segment.options.timestamps.unwrap().0;
    let mut syn = t.peer(SYN, 0, 0, 0);
    syn.options = offers();
    syn.options.timestamps = Some((5, ours.wrapping_add(1_000_000)));
    t.give(syn);
    assert_eq!(t.tcb.state, State::SynReceived);
    assert_eq!(t.tcb.info(t.now).rtt_us, 0);
}

// RFC 7323 S4.1-1
#[test]
fn only_an_ack_of_something_new_measures() {
    let mut t = stamped();
    t.write(10);
    let ours = t.polled()[0].segment.options.timestamps.unwrap().0;
    let before = t.tcb.info(t.now).rtt_us;
    t.pass(ms(150));
    t.peer_options.timestamps = Some((10_001, ours));
    t.gets(ACK, 1, 1, 0);
    t.gets(PA, 1, 1, 10);
    assert_eq!(t.tcb.info(t.now).rtt_us, before);
    t.gets(ACK, 11, 11, 0);
    assert!(t.tcb.info(t.now).rtt_us > before);
}

// RFC 7323 S5.2-2
#[test]
fn a_resets_timestamp_is_not_remembered() {
    let mut t = stamped();
    t.peer_options.timestamps = Some((10_500, 0));
    t.gets(RST, 5, 0, 0);
    let challenge = t.polled()[0].segment;
    assert_eq!(challenge.options.timestamps.map(|o| o.1), Some(10_000));
}

// RFC 7323 S5.4-1, S5.4-2, S5.4-3, S4.1-2
#[test]
fn the_clock_of_timestamps_ticks_each_millisecond() {
    let mut t = stamped();
    let stamp = |t: &mut Solo| {
        t.gets(ACK, 5000, 1, 10);
        t.polled()[0].segment.options.timestamps.unwrap().0
    };
    let before = stamp(&mut t);
    t.pass(Duration::from_secs(100));
    assert_eq!(stamp(&mut t), before.wrapping_add(100_000));
}

// RFC 6298 S2.2-1, S2.4-1, S4-1
#[test]
fn the_first_measurement_and_many_equal_ones() {
    let mut t = no_probes();
    let exchange = |t: &mut Solo, at: u32| {
        t.write(10);
        t.sends();
        t.pass(ms(100));
        t.gets(ACK, 1, at + 10, 0);
    };
    let rtt = |t: &Solo| (t.tcb.info(t.now).rtt_us, t.tcb.info(t.now).rto_us);
    // The handshake took no time; from there SRTT moves by an eighth.
    exchange(&mut t, 1);
    let first = rtt(&t);
    assert!((12_000..13_000).contains(&first.0), "{first:?}");
    for i in 1..200 {
        exchange(&mut t, 1 + 10 * i);
    }
    let (srtt, rto) = rtt(&t);
    assert!((99_000..=100_000).contains(&srtt), "{srtt}");
    assert!(rto >= srtt + 200_000 && rto < 2_000_000, "{rto}");
}

/// Without SACK, and so without tail loss probes.
fn no_probes() -> Solo {
    let s = Sysctl {
        tcp_sack: 0,
        ..Sysctl::default()
    };
    Solo::open_with(TcpOptions::default(), &s, offers())
}

// RFC 6298 S3-2, S5.1-1, S5.2-1, S5.3-1
// RFC 6928 S9-1
#[test]
fn the_retransmission_timer_runs_while_data_is_in_flight() {
    let mut t = no_probes();
    assert_eq!(t.tcb.deadline(), crate::time::Instant::NEVER);
    t.write(2920);
    assert_eq!(t.sends().len(), 2);
    let first = t.tcb.deadline();
    assert!(first > t.now);
    // More data leaves it as it is.
    t.pass(ms(50));
    t.write(1460);
    t.sends();
    assert_eq!(t.tcb.deadline(), first);
    let before = t.tcb.info(t.now).rtt_us;
    t.gets(ACK, 1, 1461, 0);
    assert!(t.tcb.info(t.now).rtt_us > before, "measured");
    assert!(t.tcb.deadline() > first);
    assert!(t.tcb.deadline().since(t.now).as_micros() >= u128::from(t.tcb.info(t.now).rto_us));
    t.gets(ACK, 1, 4381, 0);
    assert_eq!(t.tcb.deadline(), crate::time::Instant::NEVER);
}

// RFC 6298 S5-1, S5.4-1, S5.5-1, S5.6-1
#[test]
fn each_timeout_sends_the_first_segment_and_doubles() {
    let mut t = no_probes();
    t.write(2920);
    t.sends();
    let mut gaps = Vec::new();
    for _ in 0..6 {
        let before = t.now;
        t.now = t.tcb.deadline();
        t.fire();
        let sent = t.sends();
        assert_eq!((sent.len(), sent[0].1), (1, 1), "{sent:?}");
        gaps.push(t.now.since(before).as_millis());
    }
    assert!(gaps.windows(2).all(|w| w[1] == 2 * w[0]), "{gaps:?}");
}

// RFC 5681 S3.1-3, S3.1-5
#[test]
fn the_handshake_leaves_the_windows_as_they_begin() {
    let t = Solo::open();
    let i = t.tcb.info(t.now);
    assert_eq!(i.snd_cwnd, 10);
    assert!(i.snd_ssthresh > 1 << 20);
}

// RFC 5681 S4.2-4
#[test]
fn a_segment_gets_one_ack_at_most() {
    let mut t = Solo::open();
    let starts = [1, 1001, 3001, 5001, 3001, 2001, 1, 4001, 6001, 9001];
    for at in starts {
        t.gets(PA, at, 1, 1000);
        assert!(t.sends().len() <= 1);
        t.tcb.app_read(t.now, 1000);
        t.sends();
    }
}

// RFC 1191 S3-2, S3-3
#[test]
fn a_path_is_never_found_wider_or_absurdly_narrow() {
    let mut t = Solo::open();
    t.write(2920);
    t.sends();
    t.tcb
        .on_packet_too_big(t.now, 1000, SeqNum(ISS) + 1, &mut t.sent);
    t.tcb
        .on_packet_too_big(t.now, 1400, SeqNum(ISS) + 1, &mut t.sent);
    assert_eq!(t.tcb.mss(), 1000);
    t.tcb
        .on_packet_too_big(t.now, 28, SeqNum(ISS) + 1, &mut t.sent);
    assert_eq!(t.tcb.mss(), 512);
}

// RFC 5961 S3.2-1, S3.2-2, S4.2-4
#[test]
fn a_reset_counts_where_it_should() {
    let mut t = Solo::open();
    t.gets(RST, 0x3000_0000, 0, 0);
    assert_eq!((t.sends(), t.tcb.state), (vec![], State::Established));
    t.gets(RST, 1, 0, 0);
    assert_eq!((t.sends(), t.tcb.state), (vec![], State::Closed));
}

// RFC 2018 S4-1, S4-2
#[test]
fn sacks_go_where_they_are_permitted() {
    let mut t = no_probes();
    t.gets(ACK, 1001, 1, 100);
    assert_eq!(t.polled()[0].segment.options.sack_len, 0);
    let mut t = Solo::open();
    t.gets(ACK, 1001, 1, 100);
    assert_eq!(t.polled()[0].segment.options.sack_len, 1);
    // Also on segments with data.
    t.write(10);
    assert_eq!(t.polled()[0].segment.options.sack_len, 1);
}

// RFC 2018 S4-7
#[test]
fn sacks_tell_the_latest_again() {
    // Each is answered at once.
    let sysctl = Sysctl {
        tcp_comp_sack_nr: 0,
        ..Sysctl::default()
    };
    let mut t = Solo::open_with(TcpOptions::default(), &sysctl, offers());
    let mut starts = Vec::new();
    for at in [901, 101, 701, 301, 1101, 501] {
        t.gets(ACK, at, 1, 100);
        starts.insert(0, at);
        let o = t.polled()[0].segment.options;
        let told: Vec<u32> = o.sack[..usize::from(o.sack_len)]
            .iter()
            .map(|b| b.0 - SeqNum(IRS))
            .collect();
        assert_eq!(told, starts[..starts.len().min(4)]);
    }
}

// RFC 5681 S3.2-5
// RFC 3042 S2-3
#[test]
fn with_sack_a_duplicate_without_news_sends_nothing() {
    let mut t = Solo::open();
    t.write(60_000);
    assert_eq!(t.sends().len(), 10);
    for _ in 0..2 {
        t.gets(ACK, 1, 1, 0);
        assert_eq!(t.sends(), []);
    }
}

// RFC 3168 S6.1.1-2, S6.1.1-5, S6.1.1-8, S6.1.2-1, S6.1.2-2, S6.1.2-4, S6.1.2-5, S6.1.4-1, S6.1.5-1, S5-2, S5.2-1, S5.2-2
#[test]
fn ecn_end_to_end() {
    let (ce, ect0) = (3, 2);
    let s = Sysctl {
        tcp_ecn: 1,
        ..Sysctl::default()
    };
    let mut t = Solo::connecting(TcpOptions::default(), &s, super::pair::path());
    let syn = t.polled()[0].segment;
    assert!(syn.flags.has(Flags::ECE.with(Flags::CWR)) && syn.ecn == 0);
    let mut answer = t.peer(SYN.with(ACK).with(Flags::ECE), 0, 1, 0);
    answer.options = offers();
    t.give(answer);
    assert_eq!(t.polled()[0].segment.ecn, 0, "a bare ACK");
    t.write(40 * 1460);
    assert!(t.polled().iter().all(|x| x.segment.ecn == ect0));
    // The peer saw a mark: the window shrinks, once, and the next new data says so.
    t.pass(ms(20));
    t.gets(ACK.with(Flags::ECE), 1, 1461, 0);
    t.gets(ACK.with(Flags::ECE), 1, 2921, 0);
    assert!(t.tcb.info(t.now).snd_ssthresh < 10);
    t.gets(ACK.with(Flags::ECE), 1, 10 * 1460 + 1, 0);
    let sent = t.polled();
    let told = sent.iter().filter(|x| x.segment.flags.has(Flags::CWR));
    assert_eq!(
        (told.count(), sent[0].segment.flags.has(Flags::CWR)),
        (1, true)
    );
    // What goes again is neither ECT nor CWR.
    let mut again = Vec::new();
    while again.is_empty() {
        t.now = t.tcb.deadline();
        t.fire();
        again = t.polled();
        again.retain(|x| x.retransmit);
    }
    for x in again {
        assert!(x.segment.ecn == 0 && !x.segment.flags.has(Flags::CWR));
    }
    // We saw a mark: each ACK says so until the peer heard.
    let mut data = t.peer(PA, 1, 1, 100);
    data.ecn = ce;
    t.give(data);
    t.gets(PA, 101, 1, 100);
    assert!(t.polled().iter().all(|x| x.segment.flags.has(Flags::ECE)));
    t.gets(PA.with(Flags::CWR), 201, 1, 100);
    assert!(!t.polled().last().unwrap().segment.flags.has(Flags::ECE));
}

// RFC 3168 S6.1.1-3, S6.1.1-7
#[test]
fn no_ecn_with_a_peer_that_declines() {
    let s = Sysctl {
        tcp_ecn: 1,
        ..Sysctl::default()
    };
    for flags in [Flags::NONE, Flags::CWR, Flags::ECE.with(Flags::CWR)] {
        let mut t = Solo::connecting(TcpOptions::default(), &s, super::pair::path());
        t.polled();
        let mut answer = t.peer(SYN.with(ACK).with(flags), 0, 1, 0);
        answer.options = offers();
        t.give(answer);
        assert_eq!(t.tcb.state, State::Established);
        t.write(1460);
        assert!(t.polled().iter().all(|x| x.segment.ecn == 0));
    }
}
