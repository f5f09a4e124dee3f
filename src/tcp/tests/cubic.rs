//! CUBIC (RFC 9438), HyStart++ (RFC 9406), and NewReno's window beside them, rule by rule.

use super::control::{ack, at_window};
use crate::tcp::SeqNum;
use crate::tcp::congestion::{Acked, Algorithm, Congestion, NO_SSTHRESH};
use crate::time::{Duration, Instant};

const START: Instant = Instant(1_000_000_000);

/// A round trip: all of the window is in use and acknowledged.
fn round(c: &mut Congestion, now: &mut Instant, rtt: Duration) {
    *now = *now + rtt;
    c.on_sent(c.cwnd(), true, true);
    let us = rtt.as_micros() as u32;
    c.on_ack(&Acked {
        rtt_us: Some(us),
        srtt_us: us,
        ..ack(*now, c.cwnd())
    });
}

fn rounds(c: &mut Congestion, now: &mut Instant, n: u32) -> u32 {
    for _ in 0..n {
        round(c, now, Duration::from_millis(100));
    }
    c.cwnd()
}

fn lose(c: &mut Congestion) {
    c.reduce(c.cwnd());
    c.end_reduction();
}

/// The curve with C = 0.4 and beta = 0.7: from 700 it is concave up to 1000 after 9.1 s, then
/// convex.
// RFC 9438 S4.4-1, S4.5-1, S4.6-1, S4.6-2, S5.1-1
#[test]
fn the_curve() {
    let mut c = at_window(Algorithm::Cubic, 1000);
    lose(&mut c);
    assert_eq!((c.cwnd(), c.ssthresh()), (700, 700));
    let mut now = START;
    let model = |t: f64| 1000.0 + 0.4 * (t - (300.0f64 / 0.4).cbrt()).powi(3);
    rounds(&mut c, &mut now, 1);
    for second in 1..=14 {
        let is = f64::from(rounds(&mut c, &mut now, 10));
        let (low, high) = (
            model(f64::from(second) - 0.2),
            model(f64::from(second) + 0.1),
        );
        assert!(
            (low - 3.0..=high + 3.0).contains(&is),
            "{second} s: {is}, {low} to {high}"
        );
    }
}

/// Nothing in flight for a minute: the curve goes on where it was.
// RFC 9438 S4.2-1
#[test]
fn idle_time_is_none_of_the_curves() {
    let grown = |idle: u64| {
        let mut c = at_window(Algorithm::Cubic, 1000);
        lose(&mut c);
        let mut now = START;
        rounds(&mut c, &mut now, 30);
        let last = now;
        now = now + Duration::from_secs(idle);
        c.on_first_sent(now, last, 1460, true);
        rounds(&mut c, &mut now, 10)
    };
    assert!(
        grown(60).abs_diff(grown(0)) <= 2,
        "{} {}",
        grown(60),
        grown(0)
    );
}

/// At a short round trip the curve is flat for long; Reno's growth, by 0.53 segments a round
/// trip, is faster. Once it has reached the old window it is a whole segment.
// RFC 9438 S4.3-1, S4.3-2
#[test]
fn renos_window_counts_where_it_is_larger() {
    let mut c = at_window(Algorithm::Cubic, 100);
    lose(&mut c);
    assert_eq!(c.cwnd(), 70);
    let mut now = START;
    let rtt = Duration::from_millis(1);
    let mut windows = Vec::new();
    for _ in 0..300 {
        round(&mut c, &mut now, rtt);
        windows.push(c.cwnd());
    }
    // (100 - 70) / 0.53 = 57 round trips up to there; found out every 31 ms.
    let reached = windows.iter().position(|&w| w >= 100).unwrap();
    assert!((50..=72).contains(&reached), "{reached}");
    let beyond = windows[reached + 200] - windows[reached];
    assert!((165..=210).contains(&beyond), "{beyond}");
}

/// A window that the program does not fill stays.
// RFC 9438 S4.6-3
#[test]
fn an_unused_window_does_not_grow() {
    let mut c = at_window(Algorithm::Cubic, 100);
    lose(&mut c);
    let mut now = START;
    for _ in 0..50 {
        now = now + Duration::from_millis(100);
        c.on_sent(10, false, true);
        c.on_ack(&ack(now, 10));
    }
    assert_eq!(c.cwnd(), 70);
}

/// Fast convergence: a maximum below the one before is taken for 0.85 of it, so that the plateau
/// is lower than the window was.
// RFC 9438 S4.7-1
#[test]
fn a_falling_maximum_makes_room() {
    // Both at 700 when they lose; one had been at 1000 before.
    let plateau = |fell: bool| {
        let mut c = at_window(Algorithm::Cubic, if fell { 1000 } else { 700 });
        lose(&mut c);
        if fell {
            lose(&mut c);
        }
        assert_eq!(c.cwnd(), 490);
        let mut now = START;
        let (mut least, mut at) = (u32::MAX, 0);
        let mut before = rounds(&mut c, &mut now, 10);
        // Where it grows by least is the plateau.
        for _ in 0..12 {
            let w = rounds(&mut c, &mut now, 10);
            if w - before < least {
                (least, at) = (w - before, w);
            }
            before = w;
        }
        at
    };
    let (alone, fell) = (plateau(false), plateau(true));
    assert!((690..=715).contains(&alone), "{alone}");
    assert!((585..=610).contains(&fell), "{fell}");
}

/// After a timeout the old maximum is no more aimed at (Linux then grows by a twentieth each round
/// trip, as where nothing was lost yet), and W_est starts from the window.
// RFC 9438 S4.8-1
// RFC 5681 S3.1-11
#[test]
fn a_timeout_forgets_the_maximum() {
    let mut c = at_window(Algorithm::Cubic, 20);
    lose(&mut c);
    let mut now = START;
    // So quickly that the window is Reno's.
    let rtt = Duration::from_millis(10);
    for _ in 0..200 {
        round(&mut c, &mut now, rtt);
    }
    let before = c.cwnd();
    assert!(before > 150, "{before}");
    c.on_timeout(before);
    c.set_cwnd_after_timeout(0);
    assert_eq!(c.cwnd(), 1);
    let ssthresh = c.ssthresh();
    assert_eq!(ssthresh, before * 717 / 1024);
    while c.in_slow_start() {
        round(&mut c, &mut now, rtt);
    }
    let mut windows = Vec::new();
    for _ in 0..5 {
        round(&mut c, &mut now, rtt);
        windows.push(c.cwnd());
    }
    let twentieth = ssthresh / 20;
    assert!(
        windows[0] <= ssthresh + 2 * twentieth + 2,
        "{ssthresh} {windows:?}"
    );
    let grown = windows[4] - ssthresh;
    assert!(
        (4 * twentieth..=8 * twentieth).contains(&grown),
        "{ssthresh} {windows:?}"
    );
}

/// After a timeout at 10 the window is 7, slow start being over, and Reno's would be 8 after 14
/// ACKs. That is found out when the next reckoning is due, and then what was acknowledged
/// meanwhile counts.
// RFC 9438 S4.3-1
#[test]
fn growth_is_reckoned_a_few_times_a_round_trip() {
    let mut c = at_window(Algorithm::Cubic, 10);
    c.on_timeout(10);
    c.set_cwnd_after_timeout(0);
    let mut now = START;
    let mut acks = |c: &mut Congestion, n: u32| {
        for _ in 0..n {
            now = now + Duration::from_millis(1);
            c.on_sent(c.cwnd(), true, true);
            c.on_ack(&ack(now, 1));
        }
        now = now + Duration::from_millis(40);
        c.cwnd()
    };
    assert_eq!(acks(&mut c, 6), 7);
    assert_eq!(acks(&mut c, 8), 7);
    assert_eq!(acks(&mut c, 8), 7, "the 14th is in the middle of a burst");
    assert_eq!(acks(&mut c, 1), 8);
    assert_eq!(acks(&mut c, 1), 8);
}

/// The loss proves to have been none only after the window is larger than before it.
// RFC 9438 S4.9.2-1
#[test]
fn a_late_undo_takes_nothing_away() {
    let mut c = at_window(Algorithm::Cubic, 100);
    c.remember_ssthresh(false);
    lose(&mut c);
    let mut now = START;
    let grown = rounds(&mut c, &mut now, 150);
    assert!(grown > 110, "{grown}");
    assert!(c.undo());
    assert_eq!(c.cwnd(), grown);
}

/// Without loss and without growing round trips each ACK adds what it acknowledges, up to
/// ssthresh.
// RFC 9438 S4.10-1
#[test]
fn slow_start_doubles() {
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno] {
        let mut c = at_window(algorithm, 10);
        let mut now = START;
        for n in 1..=5 {
            assert_eq!(rounds(&mut c, &mut now, 1), 10 << n);
        }
    }
}

/// Slow start of one segment an ACK, whose every round trip has a length of its own.
struct Slow {
    c: Congestion,
    now: Instant,
    una: u32,
}

impl Slow {
    fn new() -> Slow {
        Slow {
            c: at_window(Algorithm::Cubic, 10),
            now: START,
            una: 0,
        }
    }

    /// A round with so many samples of this round-trip time; by how much each ACK of `segs` grew
    /// the window at its end.
    fn round(&mut self, samples: u32, rtt_us: u32, segs: u32) -> u32 {
        let nxt = self.una + 1000;
        for i in 0..samples {
            self.una += 1;
            self.now = self.now + Duration::from_millis(1);
            self.step(rtt_us, nxt + i, 1);
        }
        let before = self.c.cwnd();
        self.step(rtt_us, nxt + samples, segs);
        let grown = self.c.cwnd() - before;
        self.una = nxt + 2000;
        grown
    }

    fn step(&mut self, rtt_us: u32, nxt: u32, segs: u32) {
        self.c.on_sent(self.c.cwnd(), true, true);
        self.c.on_ack(&Acked {
            rtt_us: Some(rtt_us),
            srtt_us: rtt_us,
            una: SeqNum(self.una),
            nxt: SeqNum(nxt + 1000),
            ..ack(self.now, segs)
        });
    }
}

/// An eighth more than the round before, but 4 ms at least and 16 at most, in eight samples: then
/// a quarter of the growth, for five rounds.
// RFC 9406 S4.3-1, S4.3-3
// RFC 9438 S4.10-2
#[test]
fn hystart_turns_cautious() {
    for (rtt, more) in [(8_000, 4_000), (40_000, 5_000), (400_000, 16_000)] {
        for (samples, add, cautious) in [(12, more, true), (12, more - 1, false), (6, more, false)]
        {
            let mut s = Slow::new();
            assert_eq!(s.round(12, rtt, 4), 4);
            let grown = s.round(samples, rtt + add, 4);
            let name = format!("{rtt} + {add}, {samples} samples");
            assert_eq!(grown, if cautious { 1 } else { 4 }, "{name}");
        }
    }
    let mut s = Slow::new();
    s.round(12, 40_000, 4);
    for round in 0..6 {
        assert_eq!(s.c.ssthresh(), NO_SSTHRESH, "{round}");
        s.round(12, 50_000, 4);
    }
    assert!(s.c.ssthresh() <= s.c.cwnd(), "{:?}", s.c);
}

/// It was a disturbance: round trips are short again, slow start goes on.
#[test]
fn hystart_goes_back() {
    let mut s = Slow::new();
    s.round(12, 40_000, 4);
    assert_eq!(s.round(12, 50_000, 4), 1);
    s.round(12, 40_000, 4);
    assert_eq!(s.round(12, 40_000, 4), 4);
    assert_eq!(s.c.ssthresh(), NO_SSTHRESH);
}

/// After a loss ssthresh is known, and round trips that grow longer change nothing.
// RFC 9406 S4.3-4
#[test]
fn hystart_watches_the_first_slow_start_only() {
    let mut s = Slow::new();
    s.c = at_window(Algorithm::Cubic, 100);
    s.c.on_timeout(0);
    s.c.set_cwnd_after_timeout(0);
    let threshold = s.c.ssthresh();
    assert_ne!(threshold, NO_SSTHRESH);
    s.round(1, 40_000, 1);
    assert_eq!(s.round(12, 90_000, 1), 1);
    assert_eq!(s.c.ssthresh(), threshold);
}

/// Once it is cautious an ACK of many segments counts for eight.
// RFC 9406 S4.3-2
#[test]
fn hystart_bounds_an_ack() {
    let mut s = Slow::new();
    s.round(12, 40_000, 4);
    assert_eq!(s.round(12, 50_000, 40), 2);
}

/// A segment for each round trip, whether its ACKs come one by one or all in one.
// RFC 5681 S3.1-7, S3.1-8
#[test]
fn reno_adds_a_segment_each_round_trip() {
    for single in [true, false] {
        let mut c = at_window(Algorithm::NewReno, 40);
        lose(&mut c);
        for n in 0..20 {
            let window = c.cwnd();
            assert_eq!(window, 20 + n, "{single}");
            let (acks, each) = if single { (window, 1) } else { (1, window) };
            for _ in 0..acks {
                c.on_sent(c.cwnd(), true, true);
                c.on_ack(&ack(START, each));
            }
        }
    }
}
