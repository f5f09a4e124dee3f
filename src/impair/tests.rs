//! The model by itself.

use super::*;

const MS: u64 = 1_000_000;

fn settings(text: &str) -> Settings {
    Settings::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn channel(text: &str) -> Channel {
    let s = settings(text);
    Channel::new(s.out, s.seed, Way::Out, Instant(0))
}

/// The fates of `n` packets of 1000 bytes, one each millisecond.
fn fates(channel: &mut Channel, n: u64) -> Vec<Fate> {
    let at = |i: u64| Instant(i * MS);
    (0..n)
        .map(|i| channel.judge(at(i), 1000, Kind::Carrying))
        .collect()
}

fn lost(fates: &[Fate]) -> Vec<usize> {
    let dropped = |f: &Fate| matches!(f, Fate::Dropped(_));
    (0..fates.len()).filter(|i| dropped(&fates[*i])).collect()
}

#[test]
fn a_perfect_link_does_nothing() {
    assert!(!channel("seed=3").is_on());
    for fate in fates(&mut channel("seed=3"), 10) {
        assert!(matches!(fate, Fate::Arrives(a) if !a.twice && a.flip.is_none()));
    }
}

#[test]
fn the_same_seed_loses_the_same_packets_whatever_the_time() {
    let text = "loss=5% delay=20ms±10ms reorder=2% duplicate=3% corrupt=1% seed=7";
    let first = lost(&fates(&mut channel(text), 5000));
    // At other times, with acknowledgments between, and of another size.
    let mut other = channel(text);
    let mut again = Vec::new();
    for i in 0..5000u64 {
        for _ in 0..i % 3 {
            other.judge(Instant(i * 77), 52, Kind::Bare);
        }
        if let Fate::Dropped(_) = other.judge(Instant(i * 78), 60 + i as usize, Kind::Carrying) {
            again.push(i as usize);
        }
    }
    assert_eq!(first, again);
    assert!((200..300).contains(&first.len()), "{}", first.len());
    let seed8 = lost(&fates(&mut channel("loss=5% seed=8"), 5000));
    assert_ne!(first, seed8);
    // What else happens changes nothing about the losses.
    assert_eq!(first, lost(&fates(&mut channel("loss=5% seed=7"), 5000)));
    // The other direction has a fate of its own.
    let s = settings("loss=5% seed=7");
    let mut inward = Channel::new(s.in_, s.seed, Way::In, Instant(0));
    assert_ne!(first, lost(&fates(&mut inward, 5000)));
    // Setting it again begins anew.
    inward.set(s.out, s.seed, Way::Out, Instant(99));
    assert_eq!(first, lost(&fates(&mut inward, 5000)));
}

#[test]
fn shares_are_what_they_are_said_to_be() {
    let n = 200_000;
    let mut c = channel("loss=2% reorder=1% duplicate=1.5% corrupt=0.1%");
    fates(&mut c, n);
    let s = c.stats();
    let near = |is: u64, percent: f64| {
        let should = n as f64 * percent / 100.0;
        assert!(
            (is as f64 - should).abs() < 5.0 * should.sqrt(),
            "{is} of {should}: {s:?}"
        );
    };
    near(s.lost, 2.0);
    near(s.reordered, 0.98);
    near(s.duplicated, 1.47);
    near(s.corrupted, 0.098);
    assert_eq!(s.packets, n);
    assert_eq!(lost(&fates(&mut channel("loss=100%"), 1000)).len(), 1000);
}

#[test]
fn bursts_lose_as_much_in_longer_pieces() {
    let n = 400_000;
    let runs = |text: &str| {
        let lost = lost(&fates(&mut channel(text), n));
        let runs = 1 + lost.windows(2).filter(|w| w[1] != w[0] + 1).count();
        (
            lost.len() as f64 / n as f64,
            lost.len() as f64 / runs as f64,
        )
    };
    let (loss, length) = runs("loss=5% burst=8 seed=1");
    assert!((0.045..0.055).contains(&loss), "{loss}");
    assert!((7.0..9.0).contains(&length), "{length}");
    let (_, length) = runs("loss=5% seed=1");
    assert!(length < 1.1, "{length}");
    // The full model: a fifth of the time in a state that loses half.
    let (loss, _) = runs("gemodel=1%,4%,50%,0%");
    assert!((0.09..0.11).contains(&loss), "{loss}");
}

#[test]
fn jitter_keeps_the_order_and_reordering_does_not() {
    let dues = |text: &str| -> Vec<u64> {
        let mut c = channel(text);
        let arrival = |f| match f {
            Fate::Arrives(a) => a.due.0,
            Fate::Dropped(d) => panic!("{d:?}"),
        };
        fates(&mut c, 3000).into_iter().map(arrival).collect()
    };
    let steady = dues("delay=50ms±10ms");
    assert!(steady.is_sorted());
    for (i, due) in steady.iter().enumerate() {
        let took = due - i as u64 * MS;
        assert!((40 * MS..=60 * MS).contains(&took), "{took}");
    }
    let mixed = dues("delay=50ms reorder=5%,8ms");
    let overtaken = mixed.windows(2).filter(|w| w[1] < w[0]).count();
    assert!((100..200).contains(&overtaken), "{overtaken}");
    for (i, due) in mixed.iter().enumerate() {
        assert!((50 * MS..=58 * MS).contains(&(due - i as u64 * MS)));
    }
}

#[test]
fn a_bottleneck_queues_and_then_drops() {
    // 1000 bytes at 8 Mbit/s take a millisecond.
    let mut c = channel("rate=8mbit queue=10 delay=5ms");
    let mut arrived = Vec::new();
    for _ in 0..100 {
        if let Fate::Arrives(a) = c.judge(Instant(0), 1000, Kind::Carrying) {
            arrived.push(a.due.0);
        }
    }
    // One is being sent, ten wait.
    let should: Vec<u64> = (1..=11).map(|i| i * MS + 5 * MS).collect();
    assert_eq!(arrived, should);
    assert_eq!(c.stats().queue_drops, 89);
    // After a while there is room again.
    assert!(matches!(
        c.judge(Instant(3 * MS), 1000, Kind::Carrying),
        Fate::Arrives(a) if a.due.0 == 17 * MS
    ));
    assert!(matches!(
        c.judge(Instant(90 * MS), 500, Kind::Bare),
        Fate::Arrives(a) if a.due.0 == 95 * MS + MS / 2
    ));
}

#[test]
fn a_queue_goes_round() {
    let mut c = channel("rate=8mbit queue=8191");
    for i in 0..30_000u64 {
        let fate = c.judge(Instant(i * MS), 1000, Kind::Carrying);
        assert!(matches!(fate, Fate::Arrives(a) if a.due.0 == (i + 1) * MS));
    }
}

#[test]
fn what_is_larger_than_the_mtu_does_not_pass() {
    let mut c = channel("mtu=1400");
    assert!(matches!(
        c.judge(Instant(0), 1400, Kind::Carrying),
        Fate::Arrives(_)
    ));
    assert_eq!(
        c.judge(Instant(0), 1401, Kind::Carrying),
        Fate::Dropped(Drop::TooBig)
    );
    assert_eq!(c.stats().too_big, 1);
}

#[test]
fn outages_once_and_again() {
    let out = |text: &str, ms: u64| {
        matches!(
            channel(text).judge(Instant(ms * MS), 100, Kind::Bare),
            Fate::Dropped(Drop::Outage)
        )
    };
    for (ms, down) in [
        (0, false),
        (9_999, false),
        (10_000, true),
        (11_999, true),
        (12_000, false),
    ] {
        assert_eq!(out("outage=2s@10s", ms), down, "{ms}");
    }
    for (ms, down) in [
        (0, false),
        (28_000, true),
        (30_000, false),
        (59_000, true),
        (60_000, false),
    ] {
        assert_eq!(out("outage=2s/30s", ms), down, "{ms}");
    }
}

#[test]
fn one_bit_is_wrong_in_a_corrupted_packet() {
    for fate in fates(&mut channel("corrupt=100%"), 500) {
        let Fate::Arrives(a) = fate else { panic!() };
        let mut packet = [0u8; 77];
        a.corrupt(&mut packet);
        assert_eq!(packet.iter().map(|b| b.count_ones()).sum::<u32>(), 1);
        a.corrupt(&mut []);
    }
}

#[test]
fn text_is_read_and_written_alike() {
    for text in [
        "seed=0",
        "loss=2% delay=50ms±10ms reorder=1%,5ms duplicate=1% corrupt=0.1% rate=20mbit queue=100 \
         mtu=1400 seed=7",
        "loss=0.000001% burst=5 seed=1",
        "gemodel=1%,25%,100%,0% black-hole=on mtu=600 seed=18446744073709551615",
        "out.loss=2% in.loss=3% in.delay=1.5s on=lo seed=4",
        "delay=200us outage=2s@10s on=tun seed=4",
        "outage=500ms/1min rate=1.5gbit seed=4",
    ] {
        let one = settings(text);
        assert_eq!(one, settings(&one.to_string()), "{one}");
    }
    assert_eq!(
        settings("delay=50ms+-10ms loss=2% rate=20Mbit/s").to_string(),
        "loss=2% delay=50ms±10ms rate=20mbit seed=0"
    );
    let s = settings("reorder=1% in.loss=off out.mtu=1400");
    assert_eq!(s.to_string(), "reorder=1%,5ms out.mtu=1400 seed=0");
}

#[test]
fn mistakes_say_what_is_allowed() {
    for (text, part) in [
        ("loss", "no key=value"),
        ("loss=2", "as in 2%"),
        ("loss=101%", "100%"),
        ("loss=-1%", "100%"),
        ("loss=1e3%", "100%"),
        ("loss=.%", "100%"),
        ("delay=50", "needs a unit"),
        ("delay=5ms±10ms", "jitter"),
        ("delay=99999s", "up to an hour"),
        ("rate=20", "20mbit"),
        ("rate=1bit", "1kbit"),
        ("queue=10", "rate"),
        ("rate=1mbit queue=9000", "8191"),
        ("burst=4", "loss"),
        ("black-hole=on", "mtu"),
        ("mtu=10", "68"),
        ("gemodel=1%", "good to bad"),
        ("outage=2s", "2s@10s"),
        ("outage=3s/2s", "come back"),
        ("on=eth0", "lo, tun or both"),
        ("in.seed=2", "both directions"),
        ("up.loss=2%", "in or out"),
        ("lost=2%", "there are loss, burst"),
        ("seed=x", "whole number"),
    ] {
        let why = Settings::parse(text).expect_err(text);
        assert!(why.contains(part), "{text}: {why}");
    }
}

#[test]
fn every_key_has_an_example_that_is_right() {
    for key in KEYS {
        let value = key
            .example
            .split(" or ")
            .next()
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        let value = if key.name == "gemodel" {
            key.example
        } else {
            value
        };
        let mut s = Settings::default();
        assert_eq!(s.set(None, key.name, value), Ok(()), "{}", key.name);
    }
}

#[test]
fn the_loopback_follows_what_goes_out() {
    let [out, in_, lo] = settings("out.loss=2% in.loss=3%").profiles();
    assert_eq!((out, lo), (lo, out));
    assert_ne!(out, in_);
    let [out, in_, lo] = settings("loss=2% on=lo").profiles();
    assert!(out.is_clear() && in_.is_clear() && !lo.is_clear());
    let [out, in_, lo] = settings("loss=2% on=tun").profiles();
    assert!(!out.is_clear() && !in_.is_clear() && lo.is_clear());
}
