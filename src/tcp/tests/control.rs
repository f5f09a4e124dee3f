//! Congestion control, rule by rule.

use super::sim::{Link, Sim};
use crate::tcp::congestion::{Acked, Algorithm, Congestion};
use crate::tcp::{RateSample, SeqNum, Sysctl};
use crate::time::{Duration, Instant};

pub fn ack(now: Instant, segs: u32) -> Acked {
    Acked {
        now,
        segs,
        rtt_us: Some(100_000),
        srtt_us: 100_000,
        una: SeqNum(1),
        nxt: SeqNum(1000),
        delivered: segs,
        lost: 0,
        in_flight: 10,
        mss: 1460,
        recovering: false,
        after_timeout: false,
        rate: RateSample::default(),
    }
}

pub fn at_window(algorithm: Algorithm, cwnd: u32) -> Congestion {
    let mut c = Congestion::new(algorithm);
    c.set_cwnd(cwnd);
    c.on_sent(cwnd, true, true);
    c
}

#[test]
fn names_are_linuxs() {
    for a in Algorithm::ALL {
        assert_eq!(Algorithm::named(a.name().as_bytes()), Some(a));
        assert_eq!(Algorithm::numbered(a as u8), Some(a));
    }
    assert_eq!(Algorithm::named(b"vegas"), None);
    assert_eq!(Sysctl::default().tcp_congestion_control.name(), "cubic");
}

#[test]
fn cubic_undoes_once() {
    let mut c = at_window(Algorithm::Cubic, 1000);
    c.remember_ssthresh(false);
    c.reduce(1000);
    c.end_reduction();
    assert!(c.undo());
    assert_eq!(c.cwnd(), 1000);
    c.forget_prior();
    assert!(!c.undo(), "once");
}

#[test]
fn reno_grows_by_one_each_round_trip() {
    let mut c = at_window(Algorithm::NewReno, 20);
    c.reduce(20);
    c.end_reduction();
    for _ in 0..10 {
        c.on_sent(c.cwnd(), true, true);
        c.on_ack(&ack(Instant(5), c.cwnd()));
    }
    assert_eq!(c.cwnd(), 20);
    // Not while the window is not in use (RFC 7661).
    c.on_sent(3, false, true);
    c.on_ack(&ack(Instant(6), 30));
    assert_eq!(c.cwnd(), 20);
}

#[test]
fn a_window_that_is_not_used_up_decays() {
    let rto = Duration::from_millis(200);
    let at = |ms: u64| Instant(0) + Duration::from_millis(ms);
    let mut c = at_window(Algorithm::NewReno, 100);
    c.on_used(at(1000), 100, Some(rto), true);
    let mut uses = |ms: u64, out: u32, rto: Option<Duration>, calm: bool| {
        c.on_sent(out, false, true);
        c.on_used(at(ms), out, rto, calm);
        (c.cwnd(), c.ssthresh())
    };
    let (none, some) = (uses(1100, 40, Some(rto), true), Some(rto));
    assert_eq!(none, (100, crate::tcp::congestion::NO_SSTHRESH));
    // Where the setting is off, and where a loss or the buffer held it back, it stays.
    assert_eq!(uses(1201, 20, None, true).0, 100);
    assert_eq!(uses(1201, 20, some, false).0, 100);
    assert_eq!(uses(1400, 20, some, true).0, 100);
    // A timeout later: halfway to the 40 that were out, and never below the initial window.
    assert_eq!(uses(1401, 20, some, true).0, 70);
    assert_eq!(uses(1601, 3, some, true).0, 40);
    for n in 9..20 {
        uses(200 * n + 1, 3, some, true);
    }
    assert_eq!(c.cwnd(), 10);
}

/// RFC 9406: slow start that turns cautious overruns the queue by far less than NewReno's.
#[test]
fn hystart_spares_the_queue() {
    let link = Link {
        rate: 20_000_000,
        rtt: Duration::from_millis(80),
        queue: 280,
        ..Link::default()
    };
    let first_seconds = |algorithm| {
        let mut sim = Sim::new(1, link);
        sim.flow(algorithm, Duration::ZERO);
        sim.run(Duration::from_secs(3));
        (
            sim.dropped,
            sim.goodput(0, Duration::from_secs(1), Duration::from_secs(3)),
        )
    };
    let (dropped, goodput) = first_seconds(Algorithm::Cubic);
    let (reno, _) = first_seconds(Algorithm::NewReno);
    assert!(dropped * 2 < reno, "{dropped} {reno}");
    assert!(goodput > 0.75 * link.rate as f64, "{goodput}");
}

/// BBR keeps the queue short where a loss-based algorithm fills it.
#[test]
fn bbr_keeps_the_queue_short() {
    let link = Link {
        rate: 10_000_000,
        rtt: Duration::from_millis(40),
        queue: 400,
        ..Link::default()
    };
    let smoothed = |algorithm| {
        let mut sim = Sim::new(1, link);
        sim.flow(algorithm, Duration::ZERO);
        // Looked at often: in the 200 ms of BBR's PROBE_RTT the queue is short whatever else it does.
        let mut seen: Vec<u32> = (50..150)
            .map(|tenth| {
                sim.run(Duration::from_millis(100 * tenth));
                sim.info(0).rtt_us
            })
            .collect();
        seen.sort_unstable();
        seen[seen.len() / 2]
    };
    let (bbr, reno) = (smoothed(Algorithm::Bbr), smoothed(Algorithm::NewReno));
    assert!(bbr < 100_000 && reno > 150_000, "{bbr} {reno}");
}
