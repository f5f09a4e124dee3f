//! Link x buffer x algorithm: goodput, fairness and recovery time, compared with what
//! `matrix.txt` has recorded (UTCP_BLESS=1 records anew); and the algorithms' models.

use super::sim::{Link, Sim};
use crate::tcp::congestion::Algorithm;
use crate::tcp::{Sysctl, TcpOptions};
use crate::time::Duration;
use std::fmt::Write;

const ALGORITHMS: [Algorithm; 3] = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn link(mbit: u64, rtt: u64, buffer: f64) -> Link {
    let bdp = mbit * 1_000_000 * rtt / 1000 / 8 / 1500;
    Link {
        rate: mbit * 1_000_000,
        rtt: millis(rtt),
        queue: ((bdp as f64 * buffer) as usize).max(8),
        ..Link::default()
    }
}

/// One line of the table.
fn cell(out: &mut String, name: &str, l: Link, algorithm: Algorithm) {
    let mut one = Sim::new(7, l);
    one.flow(algorithm, secs(0));
    one.run(secs(20));
    let goodput = one.goodput(0, secs(5), secs(20)) / l.rate as f64 * 100.0;
    let info = one.info(0);
    let again = f64::from(info.total_retrans) / f64::from(info.data_segs_out.max(1)) * 100.0;

    let mut two = Sim::new(8, l);
    two.flow(algorithm, secs(0));
    two.flow(algorithm, secs(2));
    two.run(secs(40));
    let jain = two.fairness(secs(20), secs(40));

    let outage = (secs(8), millis(700));
    let mut cut = Sim::new(
        9,
        Link {
            outage: Some(outage),
            ..l
        },
    );
    cut.flow(algorithm, secs(0));
    cut.run(secs(30));
    let back = cut.recovered(outage.0 + outage.1, 0.5 * goodput / 100.0);
    let back = back.map_or("never".to_owned(), |d| format!("{:.1}", d.as_secs_f64()));
    writeln!(
        out,
        "{name:26} {:6} {goodput:7.1} {again:7.2} {jain:6.3} {back:>6}",
        algorithm.name()
    )
    .unwrap();
}

#[test]
fn the_matrix_is_as_recorded() {
    let mut out = String::from(
        "# link, buffer (in bandwidth-delay products), loss; goodput in percent of the rate, segments\n\
         # sent again in percent, Jain's index of two flows, seconds to half the goodput after an\n\
         # outage of 0.7 s\n",
    );
    for (mbit, rtt) in [(20, 20), (10, 100), (50, 40)] {
        for buffer in [0.25, 1.0, 4.0] {
            for algorithm in ALGORITHMS {
                let l = link(mbit, rtt, buffer);
                let name = format!("{mbit} Mbit/s {rtt} ms x{buffer}");
                cell(&mut out, &name, l, algorithm);
            }
        }
    }
    for loss in [1000, 10_000, 50_000] {
        for algorithm in ALGORITHMS {
            let mut l = link(10, 50, 1.0);
            l.loss = loss;
            let name = format!("10 Mbit/s 50 ms x1 {}%", loss as f64 / 10_000.0);
            cell(&mut out, &name, l, algorithm);
        }
    }
    for algorithm in ALGORITHMS {
        let mut l = link(10, 50, 1.0);
        l.jitter = millis(10);
        cell(&mut out, "10 Mbit/s 50 ms x1 jitter", l, algorithm);
    }
    as_recorded("matrix.txt", &out);
}

fn as_recorded(name: &str, out: &str) {
    let path = format!("{}/src/tcp/tests/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UTCP_BLESS").is_some() {
        std::fs::write(&path, out).unwrap();
    }
    let recorded = std::fs::read_to_string(path).unwrap_or_default();
    assert!(out == recorded, "UTCP_BLESS=1 records this:\n{out}");
}

/// What happens at ten seconds, or all the time, to one flow for each algorithm: its goodput
/// before and after, and how long it took to have half of that before again.
#[test]
fn trouble_is_as_recorded() {
    let base = || link(10, 50, 1.0);
    let troubles: [(&str, Link, u64); 8] = [
        ("nothing", base(), 0),
        (
            "an outage of 2 s",
            Link {
                outage: Some((secs(10), secs(2))),
                ..base()
            },
            2000,
        ),
        (
            "a burst: all lost for 60 ms",
            Link {
                outage: Some((secs(10), millis(60))),
                ..base()
            },
            60,
        ),
        (
            "the MTU falls to 1000",
            Link {
                mtu: Some((secs(10), 1000)),
                ..base()
            },
            0,
        ),
        (
            "0.1% lost, rows of 4",
            Link {
                loss: 1000,
                burst: 4,
                ..base()
            },
            0,
        ),
        (
            "0.1% corrupted",
            Link {
                corrupt: 1000,
                ..base()
            },
            0,
        ),
        (
            "2% twice",
            Link {
                duplicate: 20_000,
                ..base()
            },
            0,
        ),
        ("a queue of 8 packets", Link { queue: 8, ..base() }, 0),
    ];
    let mut out = String::from(
        "# 10 Mbit/s, 50 ms, a queue of one bandwidth-delay product; percent of the rate from 5 to 10 s and\n\
         # from 15 to 30 s, seconds after the trouble at 10 s until half of the former is reached again\n",
    );
    for (name, l, lasts) in troubles {
        for algorithm in ALGORITHMS {
            let mut sim = Sim::new(11, l);
            sim.flow(algorithm, secs(0));
            sim.run(secs(30));
            let percent = 100.0 / l.rate as f64;
            let before = sim.goodput(0, secs(5), secs(10)) * percent;
            let after = sim.goodput(0, secs(15), secs(30)) * percent;
            let back = sim.recovered(secs(10) + millis(lasts), 0.5 * before / 100.0);
            let back = back.map_or("never".to_owned(), |d| format!("{:.1}", d.as_secs_f64()));
            writeln!(
                out,
                "{name:30} {:6} {before:7.1} {after:7.1} {back:>6}",
                algorithm.name()
            )
            .unwrap();
        }
    }
    as_recorded("trouble.txt", &out);
}

/// Several flows at one bottleneck: of one algorithm, and of two that meet.
#[test]
fn fairness_is_as_recorded() {
    let mut out = String::from(
        "# Four flows that start 2 s apart, 20 Mbit/s, buffer in bandwidth-delay products; from 60 to 120 s:\n\
         # goodput of all and the first two's share of it in percent, Jain's index\n",
    );
    use Algorithm::{Bbr, Cubic, NewReno};
    let mixes = [
        ("reno", [NewReno; 4]),
        ("cubic", [Cubic; 4]),
        ("bbr", [Bbr; 4]),
        ("2 cubic, 2 reno", [Cubic, Cubic, NewReno, NewReno]),
        ("2 cubic, 2 bbr", [Cubic, Cubic, Bbr, Bbr]),
    ];
    for (rtt, buffer) in [(20, 1.0), (100, 1.0), (40, 4.0)] {
        for (name, mix) in mixes {
            let l = link(20, rtt, buffer);
            let mut sim = Sim::new(21, l);
            for (i, algorithm) in mix.into_iter().enumerate() {
                sim.flow(algorithm, secs(2 * i as u64));
            }
            sim.run(secs(120));
            let (from, to) = (secs(60), secs(120));
            let each: Vec<f64> = (0..4).map(|f| sim.goodput(f, from, to)).collect();
            let all: f64 = each.iter().sum();
            writeln!(
                out,
                "{rtt:4} ms x{buffer} {name:16} {:6.1} {:6.1} {:6.3}",
                all / l.rate as f64 * 100.0,
                (each[0] + each[1]) / all * 100.0,
                sim.fairness(from, to)
            )
            .unwrap();
        }
    }
    as_recorded("fairness.txt", &out);
}

/// A receiver's buffer that grows by need is as good as one that was large from the start, also
/// where the segments that wait behind gaps fill it (Linux: `tcp_rcvbuf_grow`).
#[test]
fn autotuning_allows_for_gaps() {
    for loss in [0, 20_000] {
        let goodput = |small| {
            let mut l = link(200, 100, 1.0);
            l.loss = loss;
            let mut sim = Sim::new(5, l);
            sim.flow(Algorithm::Bbr, secs(0));
            if small {
                sim.small_buffer(131_072);
            }
            sim.run(secs(8));
            sim.goodput(0, secs(1), secs(8)) / 1e6
        };
        let (grows, large) = (goodput(true), goodput(false));
        assert!(grows > 0.9 * large, "{loss}: {grows} of {large}");
    }
}

/// Where segments are lost but never overtake each other, and no ACK is lost, the sender sees no
/// reordering, and repeats nothing that arrived: compressed SACKs tell of every block in time.
#[test]
fn compressed_sacks_do_not_look_like_reordering() {
    for loss in [10_000, 30_000, 100_000] {
        let mut l = link(500, 10, 1.0);
        l.loss = loss;
        let mut sim = Sim::new(7, l);
        sim.flow(Algorithm::Bbr, secs(0));
        sim.run(secs(4));
        let i = sim.info(0);
        assert!(i.total_retrans > 200, "{loss}: {}", i.total_retrans);
        assert_eq!((i.reord_seen, i.dsack_dups), (0, 0), "{loss}");
    }
}

/// Segments a second that one flow sends where one in a hundred is lost, at 50 ms.
fn at_one_percent(algorithm: Algorithm) -> f64 {
    let of_seed = |seed| {
        let mut l = link(100, 50, 4.0);
        l.loss = 10_000;
        let mut sim = Sim::new(seed, l);
        sim.flow(algorithm, secs(0));
        sim.run(secs(10));
        let before = sim.info(0).data_segs_out;
        sim.run(secs(110));
        f64::from(sim.info(0).data_segs_out - before) / 100.0
    };
    (1..=6).map(of_seed).sum::<f64>() / 6.0
}

/// Mathis, Semke, Mahdavi, Ott (1997): W = sqrt(3 / 2p).
#[test]
fn newreno_keeps_to_its_model() {
    let model = (1.5f64 / 0.01).sqrt() / 0.05;
    let is = at_one_percent(Algorithm::NewReno);
    assert!((is / model - 1.0).abs() < 0.1, "{is} of {model}");
}

/// RFC 9438, section 5.1: at such loss the Reno-friendly region, whose average is the same.
#[test]
fn cubic_keeps_to_its_model() {
    let (c, beta, p, rtt) = (0.4f64, 0.7f64, 0.01f64, 0.05f64);
    let cubic = (c * (3.0 + beta) / (4.0 * (1.0 - beta))).powf(0.25) * (rtt / p).powf(0.75);
    let alpha = 3.0 * (1.0 - beta) / (1.0 + beta);
    let friendly = (alpha * (1.0 + beta) / (2.0 * (1.0 - beta) * p)).sqrt();
    let model = cubic.max(friendly) / rtt;
    let is = at_one_percent(Algorithm::Cubic);
    assert!((is / model - 1.0).abs() < 0.1, "{is} of {model}");
}

#[test]
fn bbr_is_not_moved_by_one_percent_of_loss() {
    let mut l = link(10, 50, 2.0);
    l.loss = 10_000;
    // Of what is left of the rate after headers and losses.
    let model = l.rate as f64 * (1.0 - 0.01) * 1448.0 / 1500.0;
    for seed in 1..=6 {
        let mut sim = Sim::new(seed, l);
        sim.flow(Algorithm::Bbr, secs(0));
        sim.run(secs(20));
        let share = sim.goodput(0, secs(5), secs(20)) / model;
        assert!((share - 1.0).abs() < 0.1, "{seed}: {share}");
    }
}

// RFC 3168 S5-1
// RFC 9293 SHLD-8
#[test]
fn marks_are_answered_without_loss() {
    let mut l = link(10, 40, 4.0);
    l.mark = 20;
    let mut sim = Sim::new(4, l);
    let sysctl = Sysctl {
        tcp_ecn: 1,
        ..Sysctl::default()
    };
    sim.flow_with(secs(0), sysctl, TcpOptions::default());
    sim.run(secs(20));
    let info = sim.info(0);
    assert!(info.ecn, "agreed");
    assert_eq!((sim.dropped, info.total_retrans), (0, 0));
    assert!(info.snd_cwnd < 120, "{}", info.snd_cwnd);
    let share = sim.goodput(0, secs(5), secs(20)) / l.rate as f64;
    assert!(share > 0.85, "{share}");
}

#[test]
fn a_pacing_rate_is_kept() {
    let mut sim = Sim::new(5, link(100, 20, 1.0));
    let options = TcpOptions {
        max_pacing_rate: 250_000,
        ..TcpOptions::default()
    };
    sim.flow_with(secs(0), Sysctl::default(), options);
    sim.run(secs(10));
    let rate = sim.goodput(0, secs(2), secs(10)) / 8.0;
    assert!((230_000.0..=252_000.0).contains(&rate), "{rate}");
}
