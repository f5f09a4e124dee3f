//! Where PSH stands, what a segment may hold, and how many go together.

use super::pair::path;
use super::solo::{ACK, PSH, SYN, Solo, ms, offers};
use crate::tcp::{Flags, Sysctl, TcpOptions};

const PA: Flags = Flags(PSH.0 | ACK.0);

/// A connection over 10 ms, as a host with TSO has it.
fn far() -> Solo {
    let mut t = Solo::connecting(TcpOptions::default(), &Sysctl::default(), path());
    t.max_payload = 65_000;
    t.polled();
    t.pass(ms(10));
    let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
    syn.options = offers();
    t.give(syn);
    t.polled();
    t
}

// RFC 9293 MUST-61
#[test]
fn a_write_ends_with_psh_but_not_with_more() {
    let mut t = far();
    t.tcb.app_wrote_more(t.now, 1460);
    assert_eq!(t.sends(), [(ACK, 1, 1, 1460)]);
    t.write(1460);
    assert_eq!(t.sends(), [(PA, 1461, 1, 1460)]);
    // What is appended takes the mark away ...
    t.tcb.options.cork = true;
    t.write(10);
    t.tcb.app_wrote_more(t.now, 10);
    assert_eq!(t.sends(), []);
    // ... and no wish to hurry sets it again.
    t.tcb.push();
    assert_eq!(t.sends(), [(ACK, 2921, 1, 20)]);
}

#[test]
fn records_have_segments_of_their_own() {
    let mut t = far();
    t.write(100);
    t.write(100);
    t.tcb.set_record_end(100);
    // What has something behind it does not wait for Nagle; the last one does.
    t.tcb.app_wrote_more(t.now, 5);
    assert_eq!(t.sends(), [(PA, 1, 1, 100)]);
    t.tcb.set_record_end(200);
    assert_eq!(t.sends(), [(PA, 101, 1, 100)]);
    t.tcb.push();
    assert_eq!(t.sends(), [(ACK, 201, 1, 5)]);
}

#[test]
fn as_much_goes_together_as_a_millisecond_carries() {
    let mut t = far();
    t.write(7300);
    // Twice ten segments in 10 ms: two a millisecond.
    let sent = t.sends();
    assert_eq!(sent[..2], [(PA, 1, 1, 2920), (PA, 2921, 1, 2920)]);
    assert_eq!(sent[2], (PA, 5841, 1, 1460));
    // tcp_min_tso_segs bounds it from below.
    t.tcb.sysctl.tcp_min_tso_segs = 4;
    t.gets(ACK, 1, 7301, 0);
    t.write(5840);
    assert_eq!(t.sends(), [(PA, 7301, 1, 5840)]);
}

#[test]
fn an_idle_window_shrinks_when_it_is_written_not_when_it_is_probed() {
    let mut t = far();
    t.max_payload = 0;
    let mut una = 1;
    for _ in 0..3 {
        t.write(20 * 1460);
        una += t.sends().iter().map(|s| s.3).sum::<u32>();
        t.pass(ms(10));
        t.gets(ACK, 1, una, 0);
        una += t.sends().iter().map(|s| s.3).sum::<u32>();
        t.pass(ms(10));
        t.gets(ACK, 1, una, 0);
    }
    let grown = t.tcb.info(t.now).snd_cwnd;
    assert!(grown > 20, "{grown}");
    t.window = 0;
    t.gets(ACK, 1, una, 0);
    t.write(1460);
    let until = t.now + ms(5000);
    let since = t.now;
    assert!(t.timeline(since, until).len() >= 3, "probes");
    assert_eq!(t.tcb.info(t.now).snd_cwnd, grown);
    // The window opens: now it counts.
    t.window = 60_000;
    t.gets(ACK, 1, una, 0);
    assert_eq!(t.tcb.info(t.now).snd_cwnd, 10);
}

/// What forced a push in the middle of a long write stays marked while that write fills the same
/// buffer, and when more follows it; another call that appends takes the mark away.
#[test]
fn a_buffer_that_was_pushed_keeps_its_psh() {
    for begins in [false, true] {
        let mut t = far();
        t.max_payload = 0;
        t.tcb.app_wrote_more(t.now, 12 * 1460);
        t.tcb.app_wrote(t.now, 0);
        t.tcb.tail_grew(0, 1460, begins);
        t.tcb.app_wrote_more(t.now, 1460);
        t.tcb.app_wrote_more(t.now, 5 * 1460);
        let mut pushed = Vec::new();
        for acked in [10, 18] {
            let ends = t.sends().into_iter().filter(|s| s.0 == PA);
            pushed.extend(ends.map(|s| (s.1 - 1) / 1460 + 1));
            t.pass(ms(10));
            t.gets(ACK, 1, acked * 1460 + 1, 0);
        }
        assert_eq!(pushed, if begins { vec![] } else { vec![13] }, "{begins}");
    }
}
