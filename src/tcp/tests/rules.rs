//! What the RFCs ask and no other test shows, rule by rule.

use super::solo::*;
use crate::tcp::{Events, Flags, SeqNum, State, Sysctl, TcpError, TcpOptions};
use crate::time::Duration;

const PA: Flags = PSH.with(ACK);

// RFC 9293 MUST-65
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
#[test]
fn a_shrunk_window_holds_new_data_back_and_lets_old_go() {
    let mut t = shrunk(1460);
    t.write(5000);
    assert_eq!(t.sends(), [], "nothing new");
    // What fits into the window goes again, and no more.
    let mut again = Vec::new();
    while again.is_empty() {
        t.now = t.tcb.deadline();
        t.tcb.on_timer(t.now);
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
        t.tcb.on_timer(t.now);
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
        t.tcb.on_timer(t.now);
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
        t.tcb.on_timer(t.now);
        sent = t.sends();
    }
    assert_eq!(sent[0].1, 1461);
}

// RFC 9293 SHLD-14
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
            t.tcb.on_timer(t.now);
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
