//! Closing: all states, RST rules, TIME_WAIT, orphans.

use super::pair::{Link, Pair};
use super::solo::*;
use crate::tcp::{Events, Flags, Options, Segment, SeqNum, State, Sysctl, TcpError, TcpOptions};
use crate::time::{Duration, Instant};

const FA: Flags = FIN.with(ACK);

// RFC 9293 MUST-13
#[test]
fn active_close_state_by_state() {
    let mut t = Solo::open();
    t.tcb.shutdown_write(t.now);
    assert_eq!(t.tcb.state, State::FinWait1);
    assert_eq!(t.sends(), [(FA, 1, 1, 0)]);
    t.gets(ACK, 1, 2, 0);
    assert_eq!(t.tcb.state, State::FinWait2);
    assert_eq!(
        t.tcb.deadline(),
        Instant::NEVER,
        "FIN_WAIT_2 without close never ends"
    );
    // Half-closed: the peer still sends.
    let o = t.gets(PSH.with(ACK), 1, 2, 100);
    assert!(o.events.has(Events::READABLE));
    t.sends();
    let o = t.gets(FA, 101, 2, 0);
    assert!(o.events.has(Events::PEER_FIN));
    assert_eq!(t.tcb.state, State::TimeWait);
    assert_eq!(t.sends(), [(ACK, 2, 102, 0)]);
    assert_eq!(t.tcb.deadline(), t.now + Duration::from_secs(60));
    t.pass(Duration::from_secs(60));
    assert!(t.fire().events.has(Events::CLOSED));
    assert_eq!(t.tcb.state, State::Closed);
}

// RFC 9293 MUST-12
#[test]
fn passive_close_state_by_state() {
    let mut t = Solo::open();
    t.gets(FA, 1, 1, 0);
    assert_eq!(t.tcb.state, State::CloseWait);
    t.pass(ms(1));
    t.fire();
    assert_eq!(t.sends(), [(ACK, 1, 2, 0)]);
    // Writing goes on.
    t.write(10);
    assert_eq!(t.sends(), [(PSH.with(ACK), 1, 2, 10)]);
    t.tcb.close(t.now, false);
    assert_eq!(t.tcb.state, State::LastAck);
    assert_eq!(t.sends(), [(FA, 11, 2, 0)]);
    let o = t.gets(ACK, 2, 12, 0);
    assert_eq!((o.acked, t.tcb.state), (10, State::Closed));
    assert!(o.events.has(Events::CLOSED) && !o.events.has(Events::ERROR));
}

#[test]
fn both_close_at_once() {
    let mut t = Solo::open();
    t.tcb.shutdown_write(t.now);
    t.sends();
    t.gets(FA, 1, 1, 0);
    assert_eq!(t.tcb.state, State::Closing);
    assert_eq!(t.sends(), [(ACK, 2, 2, 0)]);
    t.gets(ACK, 2, 2, 0);
    assert_eq!(t.tcb.state, State::TimeWait);
    // FIN and ACK of our FIN in one: straight to TIME_WAIT.
    let mut t = Solo::open();
    t.tcb.shutdown_write(t.now);
    t.sends();
    t.gets(FA, 1, 2, 0);
    assert_eq!(t.tcb.state, State::TimeWait);
}

#[test]
fn fin_rides_on_the_last_data() {
    let mut t = Solo::open();
    t.write(100);
    t.tcb.close(t.now, false);
    assert_eq!(t.sends(), [(FA.with(PSH), 1, 1, 100)]);
    let o = t.gets(ACK, 1, 102, 0);
    assert_eq!((o.acked, t.tcb.state), (100, State::FinWait2));
    assert_eq!(
        (t.tcb.send_queue(), t.tcb.snd_una()),
        (0, SeqNum(ISS) + 101)
    );
}

#[test]
fn a_lost_fin_is_sent_again() {
    let mut t = Solo::open();
    t.write(10);
    t.tcb.shutdown_write(t.now);
    t.sends();
    t.gets(ACK, 1, 11, 0);
    assert_eq!(t.tcb.state, State::FinWait1);
    t.now = t.tcb.deadline();
    t.fire();
    assert_eq!(t.sends(), [(FA, 11, 1, 0)]);
}

// RFC 9293 SHLD-3
#[test]
fn close_with_unread_data_resets() {
    let mut t = Solo::open();
    t.gets(PSH.with(ACK), 1, 1, 50);
    t.sends();
    t.tcb.close(t.now, true);
    assert_eq!(t.tcb.state, State::Closed);
    assert_eq!(t.sends(), [(RST.with(ACK), 1, 51, 0)]);
    assert_eq!(t.sends(), []);
    assert_eq!(t.tcb.error(), None);
}

#[test]
fn abort_resets() {
    let mut t = Solo::open();
    t.tcb.abort(t.now);
    assert_eq!(t.sends(), [(RST.with(ACK), 1, 1, 0)]);
    assert_eq!(t.tcb.state, State::Closed);
    let mut t = Solo::connecting(
        TcpOptions::default(),
        &Sysctl::default(),
        super::pair::path(),
    );
    t.sends();
    t.tcb.abort(t.now);
    assert_eq!(t.sends(), [], "no RST from SYN_SENT");
}

// RFC 9293 SHLD-3
#[test]
fn data_after_close_is_reset() {
    // In FIN_WAIT_2, as an orphan.
    let mut t = Solo::open();
    t.tcb.close(t.now, false);
    t.sends();
    t.gets(ACK, 1, 2, 0);
    assert_eq!(t.tcb.state, State::FinWait2);
    let r = t.gets(ACK, 1, 2, 5).reset.unwrap();
    assert_eq!((r.flags, r.seq), (RST, SeqNum(ISS) + 2));
    assert_eq!(t.tcb.state, State::Closed);
    // In FIN_WAIT_1, with or without the ACK of our FIN.
    for ack in [1, 2] {
        let mut t = Solo::open();
        t.tcb.close(t.now, false);
        t.sends();
        assert!(t.gets(ACK, 1, ack, 5).reset.is_some());
        assert_eq!(t.tcb.state, State::Closed);
    }
    // After shutdown(SHUT_WR) alone it is data.
    let mut t = Solo::open();
    t.tcb.shutdown_write(t.now);
    t.sends();
    assert!(t.gets(ACK, 1, 2, 5).events.has(Events::READABLE));
}

/// Behind a FIN there is nothing: what says that it is there is ignored, and what says that there is
/// other text in the FIN's place resets.
// RFC 9293 SHLD-3
#[test]
fn what_comes_behind_a_fin() {
    for closes in [false, true] {
        let mut t = Solo::open();
        t.gets(FA.with(PSH), 1, 1, 10);
        t.sends();
        if closes {
            t.tcb.close(t.now, false);
            t.sends();
        } else {
            t.tcb.shutdown_read();
        }
        let o = t.gets(ACK, 12, 1, 10);
        assert!(o.reset.is_none() && !o.events.has(Events::READABLE));
        assert_eq!(t.sends(), []);
        let r = t.gets(ACK, 5, 1, 10).reset.unwrap();
        assert_eq!((r.flags, r.seq), (RST, SeqNum(ISS) + 1));
        assert_eq!(t.tcb.state, State::Closed);
    }
    // The FIN again, with what is before it.
    let mut t = Solo::open();
    t.gets(FA, 1, 1, 10);
    t.sends();
    assert!(t.gets(FA, 5, 1, 6).reset.is_none());
    assert_eq!(t.sends(), [(ACK, 1, 12, 0)]);
}

/// An orphan in FIN_WAIT_2 knows but numbers: whatever is not the FIN ends it.
#[test]
fn an_orphans_fin_wait_2_is_but_numbers() {
    let orphan = || {
        let mut t = Solo::open();
        t.tcb.close(t.now, false);
        t.sends();
        t.gets(ACK, 1, 2, 0);
        assert_eq!(t.tcb.state, State::FinWait2);
        t
    };
    // Any RST in the window; out of it one is answered.
    let mut t = orphan();
    t.gets(RST, 0x1000_0000, 0, 0);
    assert_eq!(t.sends(), [(ACK, 2, 1, 0)]);
    t.gets(RST, 1000, 0, 0);
    assert_eq!((t.sends(), t.tcb.state), (vec![], State::Closed));
    // A SYN in the window.
    let mut t = orphan();
    let r = t.gets(SYN, 1000, 0, 0).reset.unwrap();
    assert!(r.flags.has(RST) && t.tcb.state == State::Closed);
    // A bare ACK or what lacks one changes nothing.
    let mut t = orphan();
    t.gets(ACK, 1, 2, 0);
    t.gets(FIN, 1, 0, 0);
    assert_eq!((t.sends(), t.tcb.state), (vec![], State::FinWait2));
    t.gets(FA, 1, 2, 0);
    assert_eq!(t.sends(), [(ACK, 2, 2, 0)]);
    assert_eq!(t.tcb.state, State::TimeWait);
    // A FIN further on.
    let mut t = orphan();
    assert!(t.gets(FA, 5, 2, 0).reset.is_some());
    assert_eq!(t.tcb.state, State::Closed);
    // One that stays for longer than TIME_WAIT is a whole connection at first.
    let mut t = Solo::open();
    t.tcb.options.linger2 = 70;
    t.tcb.close(t.now, false);
    t.sends();
    t.gets(ACK, 1, 2, 0);
    t.gets(RST, 1000, 0, 0);
    assert_eq!(
        (t.sends(), t.tcb.state),
        (vec![(ACK, 2, 1, 0)], State::FinWait2)
    );
    t.pass(Duration::from_secs(10));
    t.fire();
    t.gets(RST, 1000, 0, 0);
    assert_eq!(t.tcb.state, State::Closed);
}

/// A path that is gone takes one doubling back, if it is the segment that is sent again.
#[test]
fn a_path_that_is_away_takes_a_doubling_back() {
    let mut t = Solo::open();
    t.write(10);
    t.sends();
    for _ in 0..2 {
        t.now = t.tcb.deadline();
        t.fire();
        t.sends();
    }
    let (now, deadline) = (t.now, t.tcb.deadline());
    t.tcb.path_is_away(now, SeqNum(ISS) + 2);
    t.tcb
        .on_icmp(now, TcpError::HostUnreachable, false, SeqNum(ISS) + 1);
    assert_eq!(t.tcb.deadline(), deadline);
    t.tcb.path_is_away(now, SeqNum(ISS) + 1);
    assert_eq!(t.tcb.deadline().since(now) * 2, deadline.since(now));
}

#[test]
fn fin_wait_2_ends_for_orphans_only() {
    let mut t = Solo::open();
    t.tcb.close(t.now, false);
    t.sends();
    t.gets(ACK, 1, 2, 0);
    assert_eq!(t.tcb.deadline(), t.now + Duration::from_secs(60));
    t.pass(Duration::from_secs(60));
    t.fire();
    assert_eq!(t.tcb.state, State::Closed);
    assert_eq!(t.sends(), []);
    // TCP_LINGER2.
    let o = TcpOptions {
        linger2: 5,
        ..TcpOptions::default()
    };
    let mut t = Solo::open_with(o, &Sysctl::default(), offers());
    t.tcb.shutdown_write(t.now);
    t.sends();
    t.gets(ACK, 1, 2, 0);
    t.tcb.close(t.now, false);
    assert_eq!(t.tcb.deadline(), t.now + Duration::from_secs(5));
    let o = TcpOptions {
        linger2: -1,
        ..TcpOptions::default()
    };
    let mut t = Solo::open_with(o, &Sysctl::default(), offers());
    t.tcb.close(t.now, false);
    t.sends();
    assert!(t.gets(ACK, 1, 2, 0).reset.is_some());
    assert_eq!(t.tcb.state, State::Closed);
}

// RFC 9293 MUST-12
#[test]
fn errors_of_a_reset() {
    let mut t = Solo::open();
    let o = t.gets(RST, 1, 0, 0);
    assert!(o.events.has(Events::ERROR) && o.events.has(Events::CLOSED) && o.reset.is_none());
    assert_eq!(t.tcb.error(), Some(TcpError::Reset));
    let mut t = Solo::open();
    t.gets(FA, 1, 1, 0);
    t.gets(RST, 2, 0, 0);
    assert_eq!(t.tcb.error(), Some(TcpError::BrokenPipe));
    // One below, after a FIN.
    let mut t = Solo::open();
    t.gets(FA, 1, 1, 0);
    t.gets(RST, 1, 0, 0);
    assert_eq!(t.tcb.error(), Some(TcpError::BrokenPipe));
}

// RFC 5961 S3.2-1, S3.2-3, S3.2-4, S4.2-1, S4.2-2, S7-1, S1.1-1, S3.2-5, S4.2-3
#[test]
fn blind_resets_and_syns_are_challenged() {
    // RFC 5961: in the window but not exact: a challenge ACK; outside: nothing.
    let mut t = Solo::open();
    t.gets(RST, 2, 0, 0);
    assert_eq!(t.sends(), [(ACK, 1, 1, 0)]);
    t.gets(RST, 3, 0, 0);
    assert_eq!(t.sends(), [], "at most twice a second");
    t.pass(ms(500));
    t.gets(SYN, 500, 0, 0);
    assert_eq!(t.sends(), [(ACK, 1, 1, 0)]);
    t.pass(ms(500));
    t.gets(SYN, 0x3000_0000, 0, 0);
    assert_eq!(t.sends(), [(ACK, 1, 1, 0)], "a SYN anywhere");
    t.pass(ms(500));
    t.gets(RST, 0x3000_0000, 0, 0);
    assert_eq!(t.sends(), []);
    assert_eq!(t.tcb.state, State::Established);
}

// RFC 5961 S5.2-1, S5.2-2, S7-1
#[test]
fn acks_that_are_not_believed() {
    let mut t = Solo::open();
    t.write(10);
    t.sends();
    // Of what was never sent: a challenge, nothing else of the segment counts.
    let o = t.gets(ACK, 1, 5000, 10);
    assert!(!o.events.has(Events::READABLE));
    assert_eq!(t.sends(), [(ACK, 11, 1, 0)]);
    t.gets(ACK, 1, 5000, 10);
    assert_eq!(t.sends(), [], "at most twice a second");
    t.pass(ms(500));
    // Far too old (RFC 5961, section 5): a challenge.
    let o = t.gets(ACK, 1, 0x8000_0100, 10);
    assert!(!o.events.has(Events::READABLE));
    assert_eq!(t.sends(), [(ACK, 11, 1, 0)]);
    assert_eq!(t.tcb.snd_una(), SeqNum(ISS) + 1);
}

fn in_time_wait() -> Solo {
    let mut t = Solo::open();
    t.tcb.shutdown_write(t.now);
    t.sends();
    t.gets(FA, 1, 2, 0);
    assert_eq!(t.tcb.state, State::TimeWait);
    t.sends();
    t
}

// RFC 6191 S2-2, S2-4
#[test]
fn time_wait_and_what_may_come() {
    // The FIN again: acknowledged, and the wait starts over.
    let mut t = in_time_wait();
    t.pass(Duration::from_secs(30));
    t.gets(FA, 1, 2, 0);
    assert_eq!(t.sends(), [(ACK, 2, 2, 0)]);
    assert_eq!(t.tcb.deadline(), t.now + Duration::from_secs(60));
    // A new SYN: beyond RCV.NXT it reopens, below it is acknowledged.
    assert!(t.gets(SYN, 0xffff_0000, 0, 0).reopen.is_none());
    assert_eq!(t.sends(), [(ACK, 2, 2, 0)]);
    let least = t.gets(SYN, 3, 0, 0).reopen.unwrap();
    assert!(least.gt(t.tcb.snd_nxt()));
    // RST assassinates, unless forbidden (RFC 1337).
    t.gets(RST, 2, 0, 0);
    assert_eq!(t.tcb.state, State::Closed);
    let mut t = in_time_wait();
    t.tcb.sysctl.tcp_rfc1337 = 1;
    t.gets(RST, 2, 0, 0);
    assert_eq!(t.tcb.state, State::TimeWait);
    t.gets(RST, 77, 0, 0);
    assert_eq!(t.tcb.state, State::TimeWait);
}

// RFC 9293 SHLD-4
// RFC 6191 S2-1
#[test]
fn time_wait_reopens_by_timestamp() {
    let with = Options {
        timestamps: Some((100, 0)),
        ..offers()
    };
    let mut t = Solo::connecting(
        TcpOptions::default(),
        &Sysctl::default(),
        super::pair::path(),
    );
    t.polled();
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = with;
    t.give(syn);
    t.sends();
    t.tcb.shutdown_write(t.now);
    t.sends();
    t.peer_options.timestamps = Some((200, 0));
    t.gets(FA, 1, 2, 0);
    assert_eq!(t.tcb.state, State::TimeWait);
    // Lower number, later clock.
    t.peer_options.timestamps = Some((201, 0));
    assert!(t.gets(SYN, 0xffff_ff00, 0, 0).reopen.is_some());
    t.peer_options.timestamps = Some((100, 0));
    assert!(t.gets(SYN, 50, 0, 0).reopen.is_none(), "an old duplicate");
}

#[test]
fn orphans_give_up_sooner() {
    // tcp_orphan_retries 0 means 8: about 100 s.
    let mut t = Solo::open();
    t.write(10);
    t.tcb.close(t.now, false);
    let start = t.now;
    t.timeline(start, start + Duration::from_secs(10_000));
    assert_eq!(t.tcb.state, State::Closed);
    let secs = t.now.since(start).as_secs();
    assert!((100..250).contains(&secs), "{secs}");
}

/// A peer that answers every probe of its window, and never opens it, can't hold what nobody has any
/// more: the answers don't begin the doubling anew.
#[test]
fn an_orphan_before_a_closed_window_ends() {
    for tcp_orphan_retries in [0, 8] {
        let sysctl = Sysctl {
            tcp_orphan_retries,
            ..Sysctl::default()
        };
        let mut t = Solo::open_with(TcpOptions::default(), &sysctl, offers());
        t.window = 0;
        t.gets(ACK, 1, 1, 0);
        t.write(10);
        t.tcb.close(t.now, false);
        let start = t.now;
        let mut answered = 0;
        while t.tcb.state != State::Closed {
            if !t.polled().is_empty() {
                t.gets(ACK, 1, 1, 0);
                answered += 1;
            }
            assert!(t.now.since(start) < Duration::from_secs(1200));
            t.now = t.now.max(t.tcb.deadline());
            t.fire();
        }
        assert!((8..=12).contains(&answered), "{answered}");
    }
    // The same, but the program is there: as long as it likes.
    let mut t = Solo::open();
    t.window = 0;
    t.gets(ACK, 1, 1, 0);
    t.write(10);
    for _ in 0..100 {
        t.polled();
        t.gets(ACK, 1, 1, 0);
        t.now = t.now.max(t.tcb.deadline());
        t.fire();
    }
    assert_eq!(t.tcb.state, State::Established);
}

/// Two ends whose numbers don't fit together answer each other's ACKs, but not for ever (RFC 5961,
/// section 7).
#[test]
fn wrong_acks_make_no_storm() {
    let mut ends = [Solo::open(), Solo::open()];
    // Each finds the other's numbers beyond its window.
    ends[0].gets(ACK, 1_000_000, 1, 0);
    let (mut answers, mut before) = (0, usize::MAX);
    for _ in 0..1000 {
        let mut now = 0;
        for n in 0..2 {
            let told = ends[n].polled().len();
            for _ in 0..told {
                ends[1 - n].gets(ACK, 1_000_000, 1, 0);
            }
            now += told;
        }
        answers += now;
        before = now;
        for end in &mut ends {
            end.pass(ms(1));
        }
    }
    assert_eq!(before, 0);
    assert!((2..=4).contains(&answers), "{answers} in a second");
}

// RFC 9293 MUST-47, MUST-56, SHLD-25
// RFC 1122 S3.2.2.1-3
// RFC 5927 S4.1-1, S5.2-1
#[test]
fn icmp_is_soft_once_open() {
    let mut t = Solo::open();
    t.write(10);
    t.sends();
    // About a number that isn't in flight: somebody guesses.
    for quoted in [0, 12, 0x4000_0000] {
        let quoted = SeqNum(ISS) + quoted;
        let o = t
            .tcb
            .on_icmp(t.now, TcpError::HostUnreachable, true, quoted);
        assert!(!o.events.has(Events::SOFT_ERROR), "{quoted:?}");
    }
    let o = t
        .tcb
        .on_icmp(t.now, TcpError::HostUnreachable, true, SeqNum(ISS) + 1);
    assert!(o.events.has(Events::SOFT_ERROR));
    assert_eq!(t.tcb.state, State::Established);
    let start = t.now;
    t.timeline(start, start + Duration::from_secs(3000));
    assert_eq!(
        t.tcb.error(),
        Some(TcpError::HostUnreachable),
        "explains the time-out"
    );
    // Progress forgets it.
    let mut t = Solo::open();
    t.write(10);
    t.sends();
    t.tcb
        .on_icmp(t.now, TcpError::HostUnreachable, false, SeqNum(ISS) + 1);
    t.gets(ACK, 1, 11, 0);
    assert_eq!(t.tcb.error(), None);
}

#[test]
fn resets_for_nobody() {
    let mut seg = Segment {
        src_port: 1,
        dst_port: 2,
        seq: SeqNum(10),
        len: 5,
        flags: SYN.with(FIN),
        ..Segment::default()
    };
    let r = crate::tcp::reset_for(&seg).unwrap();
    assert_eq!((r.src_port, r.dst_port), (2, 1));
    assert_eq!(
        (r.flags, r.seq, r.ack),
        (RST.with(ACK), SeqNum(0), SeqNum(17))
    );
    seg.flags = ACK;
    seg.ack = SeqNum(99);
    let r = crate::tcp::reset_for(&seg).unwrap();
    assert_eq!((r.flags, r.seq, r.ack), (RST, SeqNum(99), SeqNum(0)));
    seg.flags = RST;
    assert!(crate::tcp::reset_for(&seg).is_none());
}

#[test]
fn simultaneous_close_over_a_link() {
    for seed in 0..200 {
        let loss = if seed % 2 == 0 { 0 } else { 15 };
        let link = Link {
            delay_us: 5000,
            loss,
            ..Link::default()
        };
        let mut p = Pair::new(seed, link);
        p.connect(0);
        p.run_for(Duration::from_secs(20));
        if p.state(0) != State::Established || p.state(1) != State::Established {
            continue;
        }
        let now = p.now;
        for i in 0..2 {
            p.end(i).write(now, 500);
            p.end(i).tcb.shutdown_write(now);
        }
        p.run_for(Duration::from_secs(50));
        for i in 0..2 {
            assert!(
                matches!(p.state(i), State::TimeWait | State::Closed),
                "{seed} {:?}",
                p.state(i)
            );
            assert!(p.end(i).eof);
        }
        p.run_for(Duration::from_secs(120));
        assert_eq!((p.state(0), p.state(1)), (State::Closed, State::Closed));
    }
}
