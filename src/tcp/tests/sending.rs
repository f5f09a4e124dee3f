//! What is sent when: Nagle, windows, congestion, repair.

use super::solo::*;
use crate::tcp::congestion::Algorithm;
use crate::tcp::{Flags, Segment, SeqNum, State, Sysctl, TcpOptions};
use crate::time::Duration;

const PA: Flags = PSH.with(ACK);

fn no_sack() -> Solo {
    let s = Sysctl {
        tcp_sack: 0,
        tcp_congestion_control: Algorithm::NewReno,
        ..Sysctl::default()
    };
    Solo::open_with(TcpOptions::default(), &s, offers())
}

/// Numbers and lengths of what is sent.
fn runs(t: &mut Solo) -> Vec<(u32, u32)> {
    t.sends().iter().map(|s| (s.1, s.3)).collect()
}

// RFC 9293 SHLD-7, MUST-17, SHLD-27, MUST-60, MUST-61
#[test]
fn nagle_and_nodelay() {
    let mut t = Solo::open();
    t.write(10);
    assert_eq!(t.sends(), [(PA, 1, 1, 10)]);
    // A short segment is out: another waits, and what is written meanwhile joins it ...
    t.write(20);
    t.write(30);
    assert_eq!(t.sends(), []);
    // ... until the ACK.
    t.gets(ACK, 1, 11, 0);
    assert_eq!(t.sends(), [(PA, 11, 1, 50)]);
    // TCP_NODELAY lets it go.
    t.write(5);
    assert_eq!(t.sends(), []);
    t.tcb.options.nodelay = true;
    t.tcb.options_changed(t.now);
    assert_eq!(t.sends(), [(PA, 61, 1, 5)]);
}

#[test]
fn minshall_lets_the_tail_of_a_write_go() {
    // Only a *short* segment in flight holds a short one back.
    let mut t = Solo::open();
    t.write(1460);
    assert_eq!(t.sends(), [(PA, 1, 1, 1460)]);
    t.write(100);
    assert_eq!(t.sends(), [(PA, 1461, 1, 100)]);
}

#[test]
fn cork_holds_for_200_ms() {
    let mut t = Solo::open();
    t.tcb.options.cork = true;
    t.write(100);
    assert_eq!(t.sends(), []);
    t.write(1400);
    assert_eq!(t.sends(), [(ACK, 1, 1, 1460)]);
    t.gets(ACK, 1, 1461, 0);
    assert_eq!(t.sends(), []);
    let before = t.now;
    t.now = t.tcb.deadline();
    assert_eq!(t.now.since(before).as_millis(), 200);
    t.fire();
    assert_eq!(t.sends(), [(PA, 1461, 1, 40)]);
    // Uncorking sends at once.
    t.gets(ACK, 1, 1501, 0);
    t.write(9);
    assert_eq!(t.sends(), []);
    t.tcb.options.cork = false;
    t.tcb.options_changed(t.now);
    assert_eq!(t.sends(), [(PA, 1501, 1, 9)]);
}

// RFC 9293 SHLD-28, MUST-19
// RFC 5681 S3.1-1, S2-1
#[test]
fn ten_segments_to_begin_with() {
    let mut t = Solo::open();
    t.write(100_000);
    let sent = t.sends();
    assert_eq!(sent.len(), 10);
    assert!(sent.iter().all(|s| s.3 == 1460));
    // Slow start: two for each one acknowledged.
    t.gets(ACK, 1, 2921, 0);
    assert_eq!(t.sends().len(), 4);
    assert_eq!(t.tcb.info(t.now).snd_cwnd, 12);
}

#[test]
fn large_segments_for_tso() {
    let mut t = Solo::open();
    t.max_payload = 65_000;
    t.write(100_000);
    // Half the window at a time, in whole segments.
    assert_eq!(runs(&mut t), [(1, 7300), (7301, 7300)]);
    t.max_payload = 3000;
    t.gets(ACK, 1, 14_601, 0);
    let sent = runs(&mut t);
    assert_eq!(sent.len(), 10);
    assert!(sent.iter().all(|s| s.1 == 2920));
    // The last one may be short, and carries PSH.
    let mut t = Solo::open();
    t.max_payload = 65_000;
    t.write(3000);
    assert_eq!(t.sends(), [(PA, 1, 1, 3000)]);
}

// RFC 5681 S2-1
#[test]
fn the_window_bounds() {
    let mut t = Solo::open();
    t.window = 2000;
    t.gets(ACK, 1, 1, 0);
    t.write(10_000);
    // One full segment; the 540 bytes left are not worth one.
    assert_eq!(runs(&mut t), [(1, 1460)]);
    // A retracted window does not hurt.
    t.window = 100;
    t.gets(ACK, 1, 1, 0);
    assert_eq!(t.sends(), []);
    t.window = 0;
    t.gets(ACK, 1, 1, 0);
    assert_eq!(t.sends(), []);
    t.window = 20_000;
    t.gets(ACK, 1, 1461, 0);
    assert_eq!(t.sends().len(), 6);
}

// RFC 5681 S3.2-3, S3.2-4, S3.2-6, S3.2-7, S3.2-8, S3.2-9, S3.2-10, S3.2-11
// RFC 6675 S5-1
// RFC 3042 S2-1, S2-2
// RFC 8985 S4-1
#[test]
fn fast_retransmit_without_sack() {
    let mut t = no_sack();
    // The first ACK after the SYN counts as a window update, as on Linux.
    t.gets(ACK, 1, 1, 0);
    t.write(14_600);
    assert_eq!(t.sends().len(), 10);
    t.write(14_600);
    // Limited transmit (RFC 3042): each of two duplicates lets a new segment go.
    for i in 0..2 {
        t.gets(ACK, 1, 1, 0);
        assert_eq!(runs(&mut t), [(14_601 + 1460 * i, 1460)]);
    }
    t.gets(ACK, 1, 1, 0);
    assert_eq!(runs(&mut t), [(1, 1460)]);
    let i = t.tcb.info(t.now);
    // Proportional rate reduction: one out for one that left.
    assert_eq!((i.snd_ssthresh, i.snd_cwnd), (5, 9));
    // More duplicates: once half the window left the network, new data.
    let mut new = 0;
    for _ in 0..8 {
        t.gets(ACK, 1, 1, 0);
        new += t.sends().len();
    }
    assert!((1..=5).contains(&new), "{new}");
    // A partial ACK: the next hole at once (RFC 6582).
    t.gets(ACK, 1, 2921, 0);
    assert_eq!(runs(&mut t)[0], (2921, 1460));
    // A full ACK ends it.
    let nxt = t.tcb.snd_nxt() - SeqNum(ISS);
    t.gets(ACK, 1, nxt, 0);
    assert_eq!(t.tcb.info(t.now).snd_ssthresh, 5);
    assert!(matches!(t.tcb.info(t.now).snd_cwnd, 5 | 6));
    assert!(!t.tcb.recovering());
}

#[test]
fn duplicates_are_no_loss_when_they_carry_something() {
    let mut t = no_sack();
    t.write(14_600);
    t.sends();
    for i in 0..5 {
        t.gets(ACK, 1 + i * 10, 1, 10); // data
        t.sends();
    }
    assert!(!t.tcb.recovering());
}

fn sack(t: &Solo, ack: u32, blocks: &[(u32, u32)]) -> Segment {
    let mut seg = t.peer(ACK, 1, ack, 0);
    for (slot, b) in seg.options.sack.iter_mut().zip(blocks) {
        *slot = (SeqNum(ISS) + b.0, SeqNum(ISS) + b.1);
    }
    seg.options.sack_len = blocks.len() as u8;
    seg
}

// RFC 2018 S5-1, S5.1-1
// RFC 8985 S4-2
// RFC 6675 S4-6, S5-7
#[test]
fn sacked_data_is_not_sent_again() {
    let mut t = Solo::open();
    t.write(14_600);
    t.sends();
    // Segments 1 and 3 of ten are lost.
    let blocks = [(1461, 2921), (4381, 14_601)];
    // The peer answers late and was at no distance, so there is no time for reordering.
    t.pass(ms(1));
    t.give(sack(&t, 1, &blocks[..1]));
    assert_eq!(runs(&mut t), [(1, 1460)]);
    t.give(sack(&t, 1, &[blocks[1], blocks[0]]));
    assert_eq!(runs(&mut t), [(2921, 1460)]);
    t.give(sack(&t, 2921, &blocks[1..]));
    assert_eq!(t.sends(), []);
    t.gets(ACK, 1, 14_601, 0);
    assert!(!t.tcb.recovering());
}

#[test]
fn nonsense_in_sack_is_ignored() {
    let mut t = Solo::open();
    t.write(14_600);
    t.sends();
    for blocks in [
        [(0, 0x4000_0000), (20_000, 30_000)],
        [(5000, 4000), (0xffff_0000, 5)],
        [(1, 14_602), (0, 1)],
    ] {
        t.give(sack(&t, 1, &blocks));
        assert_eq!(t.sends(), []);
        assert_eq!(t.tcb.info(t.now).sacked, 0);
    }
}

// RFC 9293 MUST-19
// RFC 5681 S3.1-1, S3.1-10, S3.1-11
// RFC 2018 S5-3
#[test]
fn a_timeout_sends_one_and_starts_slowly() {
    let mut t = Solo::open();
    t.write(14_600);
    t.sends();
    t.now = t.tcb.deadline();
    t.fire();
    assert_eq!(runs(&mut t), [(13_141, 1460)], "the loss probe");
    t.now = t.tcb.deadline();
    t.fire();
    assert_eq!(runs(&mut t), [(1, 1460)]);
    let i = t.tcb.info(t.now);
    assert_eq!((i.snd_cwnd, i.snd_ssthresh, i.retransmits), (1, 7, 1));
    // The ACK lets two go, of the old data.
    t.gets(ACK, 1, 1461, 0);
    assert_eq!(runs(&mut t), [(1461, 1460), (2921, 1460)]);
}

// RFC 2018 S5-2, S5-3, S8-3
// RFC 6675 S4-1
#[test]
fn a_reneging_receiver_is_found_out() {
    let mut t = Solo::open();
    t.write(5840);
    t.sends();
    t.give(sack(&t, 1, &[(1461, 5841)]));
    t.sends();
    // It acknowledges the first and forgets the rest.
    t.gets(ACK, 1, 1461, 0);
    t.sends();
    let end = t.now + Duration::from_secs(3);
    let mut una = 1461;
    while t.now < end && una < 5841 {
        t.now = t.tcb.deadline();
        t.fire();
        for (seq, len) in runs(&mut t) {
            if seq <= una {
                una = una.max(seq + len);
            }
        }
        t.gets(ACK, 1, una, 0);
        for (seq, len) in runs(&mut t) {
            if seq <= una {
                una = una.max(seq + len);
            }
        }
        t.gets(ACK, 1, una, 0);
    }
    assert_eq!(una, 5841);
}

// RFC 5681 S4.1-1
#[test]
fn idle_shrinks_the_window() {
    let mut t = Solo::open();
    t.max_payload = 65_000;
    let mut acked = 1;
    for _ in 0..8 {
        t.write(60_000);
        for (seq, len) in runs(&mut t) {
            acked = seq + len;
        }
        t.pass(ms(10));
        t.gets(ACK, 1, acked, 0);
        for (seq, len) in runs(&mut t) {
            acked = seq + len;
        }
        t.gets(ACK, 1, acked, 0);
    }
    let grown = t.tcb.info(t.now).snd_cwnd;
    assert!(grown > 20, "{grown}");
    loop {
        let sent = runs(&mut t);
        let Some(&(seq, len)) = sent.last() else {
            break;
        };
        t.gets(ACK, 1, seq + len, 0);
    }
    t.pass(Duration::from_secs(60));
    t.write(10);
    t.sends();
    assert_eq!(t.tcb.info(t.now).snd_cwnd, 10);
}

// RFC 9293 MUST-16
// RFC 1191 S3-1, S3-6, S3-7, S6.3-2, S6.4-1, S6.4-2, S6.4-3
// RFC 4821 S4-9, S8-1
// RFC 7323 S5.7-1
// RFC 8201 S5.2-1, S5.4-1, S5.4-2, S4-7
#[test]
fn packet_too_big() {
    let mut t = Solo::open();
    t.write(2920);
    t.sends();
    t.tcb
        .on_packet_too_big(t.now, 1000, SeqNum(ISS) + 9000, &mut t.sent);
    assert_eq!(t.tcb.mss(), 1460, "not a number in flight");
    t.tcb
        .on_packet_too_big(t.now, 1000, SeqNum(ISS) + 1, &mut t.sent);
    assert_eq!(t.tcb.mss(), 1000);
    assert_eq!(
        runs(&mut t),
        [(1, 1000), (1001, 460), (1461, 1000), (2461, 460)]
    );
    assert_eq!(t.tcb.info(t.now).snd_cwnd, 10);
    // The same again, of another segment: that is known, and the data on its way.
    t.tcb
        .on_packet_too_big(t.now, 1000, SeqNum(ISS) + 1461, &mut t.sent);
    assert_eq!(runs(&mut t), []);
    // Nor does a path that is wider again make anything go once more.
    t.tcb.follow_path(1460);
    assert_eq!((t.tcb.mss(), runs(&mut t)), (1460, vec![]));
    t.tcb
        .on_packet_too_big(t.now, 1, SeqNum(ISS) + 1, &mut t.sent);
    assert_eq!(t.tcb.mss(), 512);
}

#[test]
fn a_tiny_mss_is_not_believed() {
    let mut o = offers();
    o.mss = Some(1);
    let t = Solo::open_with(TcpOptions::default(), &Sysctl::default(), o);
    assert_eq!(t.tcb.mss(), 48);
}

// RFC 9293 MUST-30, MUST-32, MUST-62
#[test]
fn urgent_data() {
    let mut t = Solo::open();
    t.write(10);
    t.tcb.app_wrote_urgent(t.now, 1);
    let s = t.polled()[0].segment;
    assert!(s.flags.has(Flags::URG));
    assert_eq!((s.urgent, s.len), (11, 11));
    // The other way: the byte before the pointer is the urgent one.
    let mut seg = t.peer(PA.with(Flags::URG), 1, 12, 5);
    seg.urgent = 5;
    let o = t.give(seg);
    assert!(o.events.has(crate::tcp::Events::URGENT));
    assert_eq!(t.tcb.urgent_mark(), Some(SeqNum(IRS) + 5));
    let s = t.polled();
    assert!(s.iter().all(|s| !s.segment.flags.has(Flags::URG)));
}

// RFC 9293 SHLD-31
// RFC 5681 S3.2-1, S3.2-2, S4.2-5, S4.2-6
// RFC 6582 S5-1
// RFC 2018 S4-3, S4-4, S4-5, S8-2
#[test]
fn out_of_order_is_acknowledged_with_sack() {
    let mut t = Solo::open();
    t.gets(ACK, 101, 1, 100);
    let s = t.polled()[0].segment;
    assert_eq!(s.ack, SeqNum(IRS) + 1);
    assert_eq!(s.options.sack_len, 1);
    assert_eq!(s.options.sack[0], (SeqNum(IRS) + 101, SeqNum(IRS) + 201));
    t.gets(ACK, 301, 1, 100);
    let s = t.polled()[0].segment;
    assert_eq!(s.options.sack_len, 2);
    assert_eq!(s.options.sack[0].0, SeqNum(IRS) + 301, "the latest first");
    // The gap is filled in part, then in full: an ACK at once each time.
    t.gets(ACK, 1, 1, 100);
    let s = t.polled()[0].segment;
    assert_eq!((s.ack, s.options.sack_len), (SeqNum(IRS) + 201, 1));
    t.gets(ACK, 201, 1, 100);
    let s = t.polled()[0].segment;
    assert_eq!((s.ack, s.options.sack_len), (SeqNum(IRS) + 401, 0));
    assert_eq!(t.rx.ready.len(), 400);
    // A duplicate is reported (RFC 2883).
    t.gets(ACK, 1, 1, 100);
    let s = t.polled()[0].segment;
    assert_eq!(s.options.sack[0], (SeqNum(IRS) + 1, SeqNum(IRS) + 101));
}

#[test]
fn a_fin_ahead_of_its_turn_waits() {
    let mut t = Solo::open();
    t.gets(FIN.with(ACK), 101, 1, 10);
    assert_eq!(t.tcb.state, State::Established);
    assert_eq!(t.sends().len(), 1);
    t.gets(ACK, 1, 1, 100);
    assert_eq!(t.tcb.state, State::CloseWait);
    assert_eq!(t.rx.ready.len(), 110);
    assert_eq!(t.tcb.rcv_nxt(), SeqNum(IRS) + 112);
}

// RFC 9293 MUST-39
#[test]
fn the_receiver_trims_to_its_window() {
    let mut t = Solo::open();
    let mut at = 1;
    let mut told = None;
    // More than the window, until there is none. Its end is told a little later, for the
    // reader may make room.
    while t.tcb.receive_window() > 0 {
        let window = t.tcb.receive_window();
        t.gets(ACK, at, 1, window + 500);
        at += window;
        assert_eq!(t.rx.ready.len() as u32, at - 1);
        told = t.polled().last().map(|s| s.segment.window);
        if told.is_none() {
            t.now = t.tcb.deadline();
            t.fire();
            told = t.polled().last().map(|s| s.segment.window);
        }
    }
    assert_eq!(told, Some(0));
    // Data is refused, and acknowledged so.
    let o = t.gets(ACK, at, 1, 1);
    assert!(!o.events.has(crate::tcp::Events::READABLE));
    assert_eq!(t.sends(), [(ACK, 1, at, 0)]);
    // A little room is not told (silly-window avoidance), much is.
    t.tcb.app_read(t.now, 100);
    assert_eq!(t.sends(), []);
    t.tcb.app_read(t.now, at / 2);
    assert_eq!(t.sends().len(), 1);
}

#[test]
fn a_queue_without_memory_keeps_nothing() {
    let mut t = Solo::open();
    t.rx.limit = Some(100);
    t.gets(ACK, 1, 1, 100);
    t.sends();
    t.gets(ACK, 101, 1, 100);
    assert_eq!(t.sends(), [(ACK, 1, 101, 0)]);
    t.rx.limit = None;
    t.gets(ACK, 101, 1, 100);
    assert_eq!(t.tcb.rcv_nxt(), SeqNum(IRS) + 201);
}

#[test]
fn the_buffer_grows_with_the_reader() {
    use super::pair::{Link, Pair};
    let mut p = Pair::established(
        3,
        Link {
            delay_us: 10_000,
            ..Link::default()
        },
    );
    let before = p.end(1).tcb.rcv_buf();
    p.end(0).max_payload = 60_000;
    for _ in 0..3000 {
        let now = p.now;
        let e = p.end(0);
        if e.wrote - e.acked < 4_000_000 {
            e.write(now, 100_000);
        }
        p.end(1).read(now, usize::MAX);
        let until = p.now + ms(1);
        while p.step(until) {
            let now = p.now;
            p.end(1).read(now, usize::MAX);
        }
        p.now = until;
    }
    let e = p.end(1);
    assert!(
        e.tcb.rcv_buf() > 8 * before,
        "{} {}",
        before,
        e.tcb.rcv_buf()
    );
    // 3 s, 20 ms a round trip: with 64 KiB that would be 10 MB.
    assert!(e.read > 50_000_000, "{}", e.read);
}

#[test]
fn segments_are_counted_as_on_the_wire() {
    let mut t = Solo::open();
    t.max_payload = 65_000;
    let before = t.tcb.info(t.now);
    assert_eq!((before.data_segs_out, before.data_segs_in), (0, 0));
    t.write(4000);
    assert_eq!(t.polled().len(), 1, "one large segment");
    let i = t.tcb.info(t.now);
    assert_eq!(i.data_segs_out, 3);
    assert_eq!(i.segs_out, before.segs_out + 3);
    // ACKs bear no data.
    t.gets(ACK, 1, 4001, 0);
    let i = t.tcb.info(t.now);
    assert_eq!((i.segs_in, i.data_segs_in), (before.segs_in + 1, 0));
    // Three segments that the link gathered, once the peer's size is known.
    t.gets(ACK, 1, 4001, 1460);
    t.gets(ACK, 1461, 4001, 4380);
    let i = t.tcb.info(t.now);
    assert_eq!((i.segs_in, i.data_segs_in), (before.segs_in + 5, 4));
}

/// TCP_INFO says for how long there was something to send, and for how much of that the peer's
/// window was closed; and when something was sent and came last.
#[test]
fn what_the_time_was_spent_on() {
    let told = |t: &Solo| {
        let i = t.tcb.info(t.now);
        (
            i.busy_us / 1000,
            i.rwnd_limited_us / 1000,
            i.sndbuf_limited_us,
        )
    };
    let mut t = Solo::open();
    t.pass(Duration::from_secs(1));
    assert_eq!(told(&t), (0, 0, 0));
    t.write(100);
    t.polled();
    t.pass(ms(100));
    t.gets(ACK, 1, 101, 0);
    t.pass(ms(70));
    assert_eq!(told(&t), (100, 0, 0));
    t.window = 0;
    t.gets(ACK, 1, 101, 0);
    t.write(100);
    assert!(t.polled().is_empty());
    t.pass(ms(150));
    assert_eq!(told(&t), (250, 150, 0));
    t.window = 60_000;
    t.gets(ACK, 1, 101, 0);
    assert_eq!(t.polled().len(), 1);
    t.pass(ms(50));
    assert_eq!(told(&t), (300, 150, 0));
    let i = t.tcb.info(t.now);
    assert_eq!((i.last_data_sent_ms, i.last_ack_recv_ms), (50, 50));
}
