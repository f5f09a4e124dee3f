//! Handshakes: options, windows, refusal, retries, both sides at once.

use super::pair::{Link, Pair, path};
use super::solo::*;
use crate::tcp::{
    Events, Flags, Options, Path, Segment, SeqNum, State, Sysctl, Tcb, TcpError, TcpOptions,
};
use crate::time::{Duration, Instant};

fn syn_of(p: Path) -> Segment {
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), p);
    t.polled()[0].segment
}

// RFC 9293 MUST-14, MUST-67, SHLD-5
// RFC 1191 S3.1-1
// RFC 7323 S2.3-1, S3.2-8
// RFC 3168 S6.1.1-6
#[test]
fn syn_as_linux_sends_it() {
    // tcpdump, 6.18, MTU 1500: win 64240, options [mss 1460,sackOK,TS,nop,wscale 10].
    let syn = syn_of(path());
    assert_eq!(syn.flags, Flags::SYN);
    assert_eq!(syn.window, 64_240);
    assert_eq!(syn.options.mss, Some(1460));
    assert_eq!(syn.options.wscale, Some(10));
    assert!(syn.options.sack_permitted);
    assert_eq!(syn.options.timestamps.map(|t| t.1), Some(0));
    // lo: win 65495, mss 65495.
    let syn = syn_of(Path {
        mss: 65_495,
        ..path()
    });
    assert_eq!((syn.window, syn.options.mss), (65_495, Some(65_495)));
}

// RFC 7323 S2.2-4
#[test]
fn syn_of_a_small_locked_buffer() {
    let p = Path {
        rcv_buf: 8192,
        rcv_buf_locked: true,
        header: 40,
        ip_options: 0,
        ..path()
    };
    let syn = syn_of(p);
    assert_eq!((syn.window, syn.options.wscale), (2920, Some(0)));
}

// RFC 7323 S2.2-3, S2.3-5, S2.3-7, S2.3-8
#[test]
fn windows_of_a_handshake_as_linux_has_them() {
    let mut p = Pair::new(
        1,
        Link {
            delay_us: 100,
            ..Link::default()
        },
    );
    p.connect(0);
    p.run_for(ms(1));
    let synack = p.end(1).log[0].1;
    // tcpdump: win 65160, then win 63 (64240 rounded up, scaled by 10).
    assert_eq!(synack.window, 65_160);
    assert_eq!(synack.flags, Flags::SYN.with(Flags::ACK));
    assert_eq!(p.end(0).log[1].1.window, 63);
    let now = p.now;
    p.end(0).write(now, 5);
    p.run_for(ms(1));
    // tcpdump: the server's ACK of five bytes says win 64, and comes at once.
    let ack = p.end(1).log[1].1;
    assert_eq!((ack.window, ack.len), (64, 0));
    let now = p.now;
    p.end(1).read(now, 5);
    p.end(1).write(now, 6);
    p.run_for(ms(1));
    let reply = p.end(1).log[2].1;
    assert_eq!((reply.window, reply.len), (64, 6));
    assert!(reply.flags.has(Flags::PSH));
    assert_eq!(p.end(0).log.last().unwrap().1.window, 63);
    // Close: FIN; the other side delays its ACK and lets it ride on its own FIN.
    let (now, before) = (p.now, [p.end(0).log.len(), p.end(1).log.len()]);
    p.end(0).tcb.close(now, false);
    p.run_for(ms(1));
    assert!(p.end(1).eof);
    let now = p.now;
    p.end(1).tcb.close(now, false);
    p.run_for(ms(1));
    let flags = |p: &mut Pair, i: usize| {
        let from = before[i];
        p.end(i).log[from..]
            .iter()
            .map(|l| l.1.flags)
            .collect::<Vec<_>>()
    };
    assert_eq!(flags(&mut p, 0), [FIN.with(ACK), ACK]);
    assert_eq!(flags(&mut p, 1), [FIN.with(ACK)]);
    assert_eq!((p.state(0), p.state(1)), (State::TimeWait, State::Closed));
}

#[test]
fn loopback_segments_are_half_a_window() {
    let mut p = Pair::new(
        1,
        Link {
            delay_us: 10,
            ..Link::default()
        },
    );
    p.path.mss = 65_495;
    p.connect(0);
    p.run_for(ms(1));
    assert_eq!(p.end(1).log[0].1.window, 65_483);
    assert_eq!(p.end(1).log[0].1.options.mss, Some(65_495));
    assert_eq!(p.end(0).log[1].1.window, 64);
    assert_eq!(p.end(0).tcb.mss(), 32_741);
    // The window of the first ACK and the MSS that follows from it, as tcpdump showed them.
    let now = p.now;
    p.end(0).write(now, 32_741);
    p.run_for(ms(1));
    assert_eq!(p.end(1).log[1].1.window, 93);
    assert!((47_000..48_000).contains(&p.end(0).tcb.mss()));
}

// RFC 9293 MUST-15
// RFC 7323 S2.2-1, S2.3-4, S2.3-6, S3.2-10
#[test]
fn options_are_used_only_if_both_offer_them() {
    let mut t = Solo::open_with(
        TcpOptions::default(),
        &Sysctl::default(),
        Options::default(),
    );
    let i = t.tcb.info(t.now);
    assert!(!i.timestamps && !i.sack && !i.wscale_ok);
    assert_eq!((i.snd_mss, i.rcv_wscale), (536, 0));
    let mut syn = Segment {
        flags: SYN,
        window: 1000,
        ..Segment::default()
    };
    syn.options = offers();
    let s = Sysctl {
        tcp_sack: 0,
        ..Sysctl::default()
    };
    let mut tcb = Tcb::accept(t.now, SeqNum(5), path(), TcpOptions::default(), &s, &syn);
    let answer = tcb.poll_transmit(t.now, 0, &mut t.sent).unwrap().segment;
    assert_eq!(answer.options.timestamps, None);
    assert!(!answer.options.sack_permitted);
    assert_eq!(answer.options.wscale, Some(10));
}

#[test]
fn default_mss_for_ipv6() {
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    t.tcb.set_default_mss(1220);
    t.polled();
    t.gets(SYN.with(ACK), 0, 1, 0);
    assert_eq!(t.tcb.mss(), 1220);
}

// RFC 9293 MUST-14
#[test]
fn maxseg_bounds_both_ways() {
    let o = TcpOptions {
        maxseg: 700,
        ..TcpOptions::default()
    };
    let mut t = Solo::connecting(o, &Sysctl::default(), path());
    assert_eq!(t.polled()[0].segment.options.mss, Some(700));
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = offers();
    t.give(syn);
    assert_eq!(t.tcb.mss(), 700);
}

#[test]
fn refused() {
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    t.polled();
    // A RST without an acceptable ACK means nothing.
    t.gets(RST, 0, 0, 0);
    t.gets(RST.with(ACK), 0, 0, 0);
    assert_eq!(t.tcb.state, State::SynSent);
    let o = t.gets(RST.with(ACK), 0, 1, 0);
    assert!(o.events.has(Events::ERROR) && o.events.has(Events::CLOSED));
    assert_eq!(t.tcb.error(), Some(TcpError::Refused));
    assert_eq!(t.tcb.state, State::Closed);
    assert_eq!(t.tcb.deadline(), Instant::NEVER);
}

#[test]
fn bad_ack_in_syn_sent_is_reset() {
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    t.polled();
    for ack in [0, 2] {
        let r = t.gets(SYN.with(ACK), 0, ack, 0).reset.unwrap();
        assert_eq!((r.flags, r.seq), (RST, SeqNum(ISS) + ack));
    }
    assert_eq!(t.tcb.state, State::SynSent);
}

// RFC 9293 MUST-23
#[test]
fn a_silent_host_is_given_up_on_linux_schedule() {
    // Measured on 6.18: SYNs 1, 2, 3, 4, 5, 7, 11, 19, 35, 67 s after the first; ETIMEDOUT at 131.
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    let start = t.now;
    let at = t.timeline(start, start + Duration::from_secs(1000));
    let seconds: Vec<u64> = at.iter().map(|ms| ms / 1000).collect();
    assert_eq!(seconds, [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67]);
    assert_eq!(t.now.since(start).as_secs(), 131);
    assert_eq!(t.tcb.error(), Some(TcpError::TimedOut));
    assert_eq!(t.tcb.state, State::Closed);
}

#[test]
fn syncnt_and_user_timeout_shorten_it() {
    let o = TcpOptions {
        syncnt: 1,
        ..TcpOptions::default()
    };
    let mut t = Solo::connecting(o, &Sysctl::default(), path());
    let start = t.now;
    t.timeline(start, start + Duration::from_secs(1000));
    // retransmits_timed_out: a boundary of one is 3 s since the first SYN.
    assert_eq!(t.now.since(start).as_secs(), 3);
    let o = TcpOptions {
        user_timeout: 2500,
        ..TcpOptions::default()
    };
    let mut t = Solo::connecting(o, &Sysctl::default(), path());
    let start = t.now;
    t.timeline(start, start + Duration::from_secs(1000));
    assert_eq!(t.now.since(start).as_millis(), 2500);
}

// RFC 6298 S2.1-1
#[test]
fn a_child_is_given_up_after_five_synacks() {
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    let syn = t.peer(SYN, 0, 0, 0);
    t.tcb = Tcb::accept(
        t.now,
        SeqNum(ISS),
        path(),
        TcpOptions::default(),
        &Sysctl::default(),
        &syn,
    );
    let start = t.now;
    let at = t.timeline(start, start + Duration::from_secs(1000));
    let seconds: Vec<u64> = at.iter().map(|ms| ms / 1000).collect();
    assert_eq!(seconds, [0, 1, 3, 7, 15, 31]);
    assert_eq!(t.now.since(start).as_secs(), 63);
    assert_eq!(t.tcb.state, State::Closed);
}

fn child() -> Solo {
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    let syn = t.peer(SYN, 0, 0, 0);
    t.tcb = Tcb::accept(
        t.now,
        SeqNum(ISS),
        path(),
        TcpOptions::default(),
        &Sysctl::default(),
        &syn,
    );
    assert_eq!(t.sends(), [(SYN.with(ACK), 0, 1, 0)]);
    t
}

// RFC 9293 MUST-11
#[test]
fn a_child_and_what_may_come() {
    // The SYN again: SYN+ACK again, but not more than twice a second.
    let mut t = child();
    t.gets(SYN, 0, 0, 0);
    assert_eq!(t.sends(), [(SYN.with(ACK), 0, 1, 0)]);
    t.gets(SYN, 0, 0, 0);
    assert_eq!(t.sends(), []);
    // An ACK of something else: RST, and the child stays.
    let r = t.gets(ACK, 1, 7, 0).reset.unwrap();
    assert_eq!((r.flags, r.seq), (RST, SeqNum(ISS) + 7));
    assert_eq!(t.tcb.state, State::SynReceived);
    // Data without ACK is dropped; out of window it is answered.
    t.gets(Flags::NONE, 1, 0, 10);
    assert_eq!(t.sends(), []);
    t.gets(ACK, 0x2000_0000, 1, 10);
    assert_eq!(t.sends(), [(ACK, 1, 1, 0)]);
    // Data with the ACK: ESTABLISHED and readable in one.
    let o = t.gets(PSH.with(ACK), 1, 1, 10);
    assert!(o.events.has(Events::CONNECTED) && o.events.has(Events::READABLE));
    assert_eq!(t.tcb.state, State::Established);
    // A FIN with the ACK.
    let mut t = child();
    t.gets(FIN.with(ACK), 1, 1, 0);
    assert_eq!(t.tcb.state, State::CloseWait);
    // A RST in the window; a new SYN in the window.
    let mut t = child();
    t.gets(RST, 1, 0, 0);
    assert_eq!(t.tcb.state, State::Closed);
    let mut t = child();
    assert!(t.gets(SYN, 100, 0, 0).reset.is_some());
    assert_eq!(t.tcb.state, State::Closed);
}

/// The ACK that completes the handshake echoes a timestamp that a SYN+ACK bore, or one in between.
#[test]
fn a_childs_ack_must_echo_a_synack() {
    let child = || {
        let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
        t.peer_options.timestamps = Some((500, 0));
        let syn = t.peer(SYN, 0, 0, 0);
        t.peer_options.mss = None;
        let (o, s) = (TcpOptions::default(), Sysctl::default());
        t.tcb = Tcb::accept(t.now, SeqNum(ISS), path(), o, &s, &syn);
        let (first, _) = t.polled()[0].segment.options.timestamps.unwrap();
        (t, first)
    };
    let echo = |t: &mut Solo, stamp: u32, flags: Flags| {
        t.peer_options.timestamps = Some((520, stamp));
        t.gets(flags, 1, 1, 0)
    };
    let (mut t, first) = child();
    echo(&mut t, first.wrapping_sub(1), ACK);
    assert_eq!(t.sends(), [(ACK, 1, 1, 0)]);
    // The answers are limited, and a RST gets none.
    echo(&mut t, first.wrapping_add(1), ACK);
    echo(&mut t, first.wrapping_add(1), RST.with(ACK));
    assert_eq!((t.sends(), t.tcb.state), (vec![], State::SynReceived));
    t.pass(Duration::from_secs(1));
    t.fire();
    assert_eq!(t.sends(), [(SYN.with(ACK), 0, 1, 0)]);
    t.pass(Duration::from_millis(20));
    echo(&mut t, first.wrapping_add(1001), ACK);
    assert_eq!(t.sends(), [(ACK, 1, 1, 0)]);
    echo(&mut t, first.wrapping_add(500), ACK);
    assert_eq!(t.tcb.state, State::Established);
    // None is fine.
    let (mut t, _) = child();
    echo(&mut t, 0, ACK);
    assert_eq!(t.tcb.state, State::Established);
}

/// TCP_DEFER_ACCEPT: whose ACK came is not asked again until the last timeout but one, and not
/// given up before the last.
#[test]
fn a_child_that_waits_for_data_is_asked_again_late() {
    let mut t = child();
    t.tcb.options.syncnt = 2;
    t.tcb.handshake_waits(4);
    let start = t.now;
    let at = t.timeline(start, start + Duration::from_secs(100));
    assert_eq!(at.iter().map(|ms| ms / 1000).collect::<Vec<_>>(), [15]);
    assert_eq!(t.now.since(start).as_secs(), 31);
    assert_eq!(t.tcb.state, State::Closed);
}

/// A child whose program has it already (Fast Open) gets one SYN+ACK more.
#[test]
fn an_early_child_has_one_try_more() {
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    let syn = t.peer(SYN, 0, 0, 0);
    let (o, s) = (TcpOptions::default(), Sysctl::default());
    t.tcb = Tcb::accept(t.now, SeqNum(ISS), path(), o, &s, &syn);
    t.tcb.accept_fast(t.now, &syn, &mut t.rx);
    let start = t.now;
    let at = t.timeline(start, start + Duration::from_secs(1000));
    let seconds: Vec<u64> = at.iter().map(|ms| ms / 1000).collect();
    assert_eq!(seconds, [0, 1, 3, 7, 15, 31, 63]);
    assert_eq!(t.tcb.state, State::Closed);
}

/// Two timeouts make the first flight small, SYN+ACKs that the peer asked for don't.
// RFC 5681 S3.1-3, S3.1-4
#[test]
fn a_synack_that_timed_out_twice_means_a_small_start() {
    let cwnd = |t: &Solo| t.tcb.info(t.now).snd_cwnd;
    let mut t = child();
    for _ in 0..2 {
        t.now = t.tcb.deadline();
        t.fire();
        t.sends();
    }
    t.gets(ACK, 1, 1, 0);
    assert_eq!(cwnd(&t), 1);
    let mut t = child();
    for _ in 0..2 {
        t.pass(Duration::from_millis(600));
        t.gets(SYN, 0, 0, 0);
        assert_eq!(t.sends(), [(SYN.with(ACK), 0, 1, 0)]);
    }
    t.gets(ACK, 1, 1, 0);
    assert_eq!(cwnd(&t), 10);
}

// RFC 9293 MUST-10, MUST-11
#[test]
fn both_open_at_once() {
    for seed in 0..200 {
        let link = Link {
            delay_us: 1000,
            loss: if seed < 5 { 0 } else { 20 },
            ..Link::default()
        };
        let mut p = Pair::new(seed, link);
        let now = p.now;
        for who in 0..2 {
            let iss = SeqNum(p.rng.next() as u32);
            let tcb = Tcb::connect(now, iss, p.path, p.options, &p.sysctl);
            p.ends[who] = Some(super::pair::End::new(tcb));
        }
        p.flush();
        if seed < 5 {
            p.run_for(ms(1));
            assert_eq!(
                (p.state(0), p.state(1)),
                (State::SynReceived, State::SynReceived)
            );
        }
        p.run_for(Duration::from_secs(30));
        if p.state(0) == State::Closed {
            continue; // 20 % loss may end a handshake
        }
        let now = p.now;
        p.end(0).write(now, 100);
        p.end(1).write(now, 200);
        p.run_for(Duration::from_secs(60));
        assert_eq!(
            (p.state(0), p.state(1)),
            (State::Established, State::Established),
            "{seed}"
        );
        let now = p.now;
        assert_eq!(
            (p.end(0).read(now, 999), p.end(1).read(now, 999)),
            (200, 100)
        );
    }
}

#[test]
fn connect_to_oneself() {
    // Linux: a socket that connects to its own port meets its own SYN.
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    for _ in 0..10 {
        for tx in t.polled() {
            t.tcb.on_segment(t.now, &tx.segment, &mut t.rx, &mut t.sent);
        }
        t.pass(ms(50));
        if t.tcb.deadline() <= t.now {
            t.fire();
        }
    }
    assert_eq!(t.tcb.state, State::Established);
    t.write(5);
    let tx = t.polled()[0];
    t.rx.hand = (0..5).map(super::pair::byte_at).collect();
    let o = t.tcb.on_segment(t.now, &tx.segment, &mut t.rx, &mut t.sent);
    assert!(o.events.has(Events::READABLE) && o.acked == 0);
}

// RFC 9293 SHLD-26
#[test]
fn icmp_while_connecting() {
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    t.polled();
    t.tcb
        .on_icmp(t.now, TcpError::HostUnreachable, false, SeqNum(ISS + 5));
    assert_eq!(t.tcb.state, State::SynSent, "not a number in flight");
    t.tcb
        .on_icmp(t.now, TcpError::HostUnreachable, false, SeqNum(ISS));
    assert_eq!(t.tcb.state, State::Closed);
    assert_eq!(t.tcb.error(), Some(TcpError::HostUnreachable));
}

// RFC 6298 S5.7-1
// RFC 5681 S3.1-4
// RFC 6928 S2-1
#[test]
fn a_lost_syn_means_three_seconds() {
    // RFC 6298, section 5.7: without a measurement RTO is 3 s when data flows.
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    let start = t.now;
    t.timeline(start, start + ms(1500));
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = offers();
    t.give(syn);
    assert_eq!(t.tcb.info(t.now).rto_us, 3_000_000);
    assert_eq!(t.tcb.info(t.now).snd_cwnd, 10);
}

// RFC 9293 MUST-8, SHLD-1, MUST-9
// RFC 6528 S3-1, S3-2
// RFC 7323 S7.1-1
#[test]
fn initial_numbers() {
    use crate::tcp::{initial_seq, timestamp_offset};
    let key = [7; 16];
    let a = initial_seq(Instant(0), &key, b"one");
    assert_ne!(a, initial_seq(Instant(0), &key, b"two"));
    assert_ne!(a, initial_seq(Instant(0), &[8; 16], b"one"));
    // 64 ns a tick.
    assert_eq!(initial_seq(Instant(6400), &key, b"one"), a + 100);
    assert_ne!(timestamp_offset(&key, b"one"), a.0);
}

#[test]
fn a_connection_is_small() {
    // What is in flight is recorded elsewhere (see `Sent`); the rest is counters, timers, what
    // the congestion controller knows and the host's settings.
    assert!(size_of::<Tcb>() <= 1544, "{}", size_of::<Tcb>());
}
