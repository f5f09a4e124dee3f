//! Thousands of seeds: every byte arrives once and in order, or both sides get an error.

use super::pair::{Link, Pair};
use crate::tcp::{State, TcpOptions};
use crate::time::Duration;

/// True if it succeeded, false if both sides got an error.
fn transfer(seed: u64, bad: bool) -> bool {
    let mut rng = super::pair::Rng(seed ^ 0xabcdef);
    let link = Link {
        delay_us: rng.below(20_000),
        jitter_us: rng.below(2_000),
        loss: if bad { rng.below(25) } else { 0 },
        duplicate: if bad { rng.below(10) } else { 0 },
        reorder: if bad { rng.below(20) } else { 0 },
    };
    let mut p = Pair::new(seed, link);
    p.options = TcpOptions {
        nodelay: rng.chance(50),
        // So that a side learns of the other's death.
        keepalive: true,
        keepidle: 30,
        keepintvl: 5,
        ..TcpOptions::default()
    };
    if rng.chance(30) {
        p.sysctl.tcp_sack = 0;
    }
    if rng.chance(30) {
        p.sysctl.tcp_timestamps = 0;
    }
    if rng.chance(30) {
        p.sysctl.tcp_window_scaling = 0;
    }
    if rng.chance(30) {
        p.path.rcv_buf = 2304 + rng.below(20_000) as u32;
        p.path.rcv_buf_locked = true;
    }
    let total = [rng.below(60_000), rng.below(60_000)];
    let buffer = 1 + rng.below(30_000);
    let chunk = 1 + rng.below(3000);
    let read = 200 + rng.below(6000) as usize;
    let lazy = rng.below(5);
    p.connect(0);
    p.end(0).max_payload = if rng.chance(50) { 65_000 } else { 0 };
    let start = p.now;
    let mut closed = [false; 2];
    loop {
        for i in 0..2 {
            if p.ends[i].is_none() {
                continue;
            }
            let now = p.now;
            let end = p.end(i);
            if matches!(
                end.tcb.state,
                State::SynSent | State::SynReceived | State::Closed
            ) {
                continue;
            }
            while end.wrote < total[i] && end.wrote - end.acked < buffer {
                let n = chunk.min(total[i] - end.wrote);
                end.write(now, n as u32);
            }
            if end.wrote == total[i] && !closed[i] {
                closed[i] = true;
                end.tcb.shutdown_write(now);
            }
            if rng.below(lazy + 1) == 0 {
                let end = p.end(i);
                end.read(now, read);
            }
        }
        p.flush();
        let until = p.now + Duration::from_millis(50);
        if !p.step(until) {
            p.now = until;
        }
        let ended = |p: &Pair, i: usize| matches!(p.state(i), State::TimeWait | State::Closed);
        if ended(&p, 0) && ended(&p, 1) {
            break;
        }
        assert!(
            p.now.since(start) < Duration::from_secs(8000),
            "seed {seed}: no end: {:?} {:?} {:?}",
            link,
            p.ends[0].as_ref().map(|e| e.tcb),
            p.ends[1].as_ref().map(|e| e.tcb),
        );
    }
    if p.ends[1].is_none() {
        assert!(p.error(0).is_some());
        return false;
    }
    if let Some(i) = (0..2).find(|&i| p.error(i).is_some()) {
        // The other side got an error, too; or had all there was.
        let other = p.end(1 - i);
        let whole = other.eof && other.acked == other.wrote;
        assert!(whole || other.tcb.error().is_some(), "seed {seed}");
        return false;
    }
    let now = p.now;
    for i in 0..2 {
        p.end(i).read(now, usize::MAX);
        let other = p.end(1 - i).wrote;
        assert_eq!(p.end(i).read, other, "seed {seed}: bytes of the stream");
        assert!(p.end(i).eof, "seed {seed}: end of file");
    }
    true
}

#[test]
fn clean_links_carry_everything() {
    for seed in 0..200 {
        assert!(transfer(seed, false), "seed {seed}");
    }
}

#[test]
fn bad_links_carry_everything() {
    let good = (0..3000).filter(|&seed| transfer(seed, true)).count();
    // A quarter of all packets lost may end a handshake, seldom.
    assert!(good > 2970, "{good}");
}
