//! Several hosts on wires that lose, double, delay and corrupt packets, in virtual time.
//!
//! Every byte arrives once and in order, or there is an error; every connection that is closed
//! comes to its end; and after each step everything is in order on every host (as
//! [`TestHost::with`] checks).

use super::program::{Ledger, Program, Reader, Rng, Trying, fill, seeds};
use super::sequences::assert_empty;
use super::*;
use crate::impair::{Arrival, Chance, Channel, Fate, Kind, Outage, Profile, Settings, Way};
use crate::stack::{How, Opt};
use crate::tcp::Flags;
use crate::wire;
use std::collections::BTreeMap;

/// How many there are on a net, by its seed.
const HOSTS: core::ops::RangeInclusive<u64> = 2..=6;

/// How the wires treat packets.
fn any_weather(rng: &mut Rng) -> Profile {
    let delay = [0, 100, 5000, 40_000][rng.below(4)] * 1000;
    let percent = |rng: &mut Rng, choice: &[u32]| Chance::percent(choice[rng.below(choice.len())]);
    Profile {
        delay,
        jitter: [0, 0, delay / 8, delay][rng.below(4)],
        reorder: percent(rng, &[0, 0, 5, 40]),
        reorder_by: 1 + delay / 2,
        loss: percent(rng, &[0, 1, 5, 20]),
        burst: [0, 0, 4][rng.below(3)],
        duplicate: percent(rng, &[0, 0, 5]),
        corrupt: percent(rng, &[0, 0, 3]),
        rate: [0, 0, 100_000_000, 2_000_000][rng.below(4)],
        queue: [0, 10, 1000][rng.below(3)],
        outage: match rng.below(4) {
            0 => Outage {
                length: 300_000_000,
                start: 100_000_000,
                // No part of the longest timer's two minutes, which it would meet each time.
                every: 1_700_000_000,
            },
            _ => Outage::default(),
        },
        ..Profile::default()
    }
}

/// Hosts, and the packets between them.
struct Net {
    hosts: Vec<TestHost>,
    weather: Profile,
    /// What leaves each host passes one.
    wires: Vec<Channel>,
    rng: Rng,
    now: Instant,
    /// By time and order of arrival: to which host, what.
    under_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    count: u64,
}

fn v6(last: u8) -> Addr {
    let mut a = [0; 16];
    (a[0], a[15]) = (0xfd, last);
    Addr(a)
}

impl Net {
    fn new(seed: u64) -> Net {
        let mut rng = Rng(seed);
        let count = HOSTS.start() + seed % (HOSTS.end() - HOSTS.start() + 1);
        let mut hosts: Vec<TestHost> = (0..count as u8)
            .map(|n| {
                let mut host = TestHost::new(n + 1);
                host.with(|h| {
                    (h.sh.config.addr6, h.sh.config.prefix6) = (v6(n + 1), 64);
                });
                host
            })
            .collect();
        let now = hosts[0].now;
        let weather = any_weather(&mut rng);
        if rng.chance(30) {
            // The hosts' own links, too; but no loss on them, for the sake of RSTs.
            let mut inside = Settings {
                out: any_weather(&mut rng),
                in_: any_weather(&mut rng),
                seed,
                ..Settings::default()
            };
            for p in [&mut inside.out, &mut inside.in_] {
                (p.loss, p.corrupt, p.queue) = (Chance::NEVER, Chance::NEVER, 8000);
            }
            for host in &mut hosts {
                host.with(|h| h.impair(&inside));
            }
        }
        let wire = |n| Channel::new(weather, seed * 8 + n, Way::Out, now);
        Net {
            now,
            weather,
            wires: (0..count).map(wire).collect(),
            hosts,
            rng,
            under_way: BTreeMap::new(),
            count: 0,
        }
    }

    /// An address of a host.
    fn address(&mut self, host: usize) -> Addr {
        let n = host as u8 + 1;
        [v4([10, 0, 0, n]), v6(n)][self.rng.below(2)]
    }

    /// Let a host do something; its packets go under way.
    fn with<R>(&mut self, host: usize, f: impl FnOnce(&mut Host<'_>) -> R) -> R {
        let h = &mut self.hosts[host];
        h.now = self.now;
        let r = h.with(f);
        let out: Vec<Vec<u8>> = h.wire.out.drain(..).collect();
        for packet in out {
            self.send(host, packet);
        }
        r
    }

    fn change_weather(&mut self, weather: Profile) {
        self.weather = weather;
        for wire in &mut self.wires {
            wire.set(weather, self.rng.next(), Way::Out, self.now);
        }
    }

    fn send(&mut self, from: usize, mut packet: Vec<u8>) {
        // The last byte of either family's destination address.
        let last = if packet[0] >> 4 == 4 { 19 } else { 39 };
        let to = usize::from(packet[last]).wrapping_sub(1);
        let kind = if wire::is_bare_ack(&packet) {
            Kind::Bare
        } else {
            Kind::Carrying
        };
        let mut fate = self.wires[from].judge(self.now, packet.len(), kind);
        // A RST is not sent again, and the other end might wait for ever.
        let flags = packet[last + 14];
        if Flags(flags).has(Flags::RST) {
            let due = self.now + Duration::from_nanos(self.weather.delay);
            fate = Fate::Arrives(Arrival {
                due,
                twice: false,
                late: false,
                flip: None,
            });
        }
        let Fate::Arrives(arrival) = fate else { return };
        if to >= self.hosts.len() {
            return;
        }
        if arrival.twice {
            self.put(arrival.due, to, packet.clone());
        }
        // Checksums find any single wrong bit.
        arrival.corrupt(&mut packet);
        self.put(arrival.due, to, packet);
    }

    fn put(&mut self, due: Instant, to: usize, packet: Vec<u8>) {
        self.count += 1;
        self.under_way.insert((due, self.count), (to, packet));
    }

    /// When something happens by itself.
    fn next(&mut self) -> Instant {
        let packet = self.under_way.first_key_value().map(|(k, _)| k.0);
        let timers = self
            .hosts
            .iter_mut()
            .map(|h| h.arena.lock().next_deadline());
        let never = Instant::NEVER;
        packet.unwrap_or(never).min(timers.min().unwrap_or(never))
    }

    /// Let the next thing happen, if it does before `end`; else it is `end` then.
    fn step(&mut self, end: Instant) -> bool {
        let next = self.next();
        if next > end || next == Instant::NEVER {
            self.now = self.now.max(end);
            return false;
        }
        self.now = self.now.max(next);
        let due = |e: &std::collections::btree_map::OccupiedEntry<'_, _, _>| {
            let key: &(Instant, u64) = e.key();
            key.0 <= next
        };
        let mut to = None;
        while let Some(entry) = self.under_way.first_entry().filter(due) {
            let (host, packet) = entry.remove();
            self.hosts[host].wire.inward.push_back(packet);
            to = Some(host);
            if self.rng.chance(50) {
                break;
            }
        }
        for host in 0..self.hosts.len() {
            let arrived = !self.hosts[host].wire.inward.is_empty();
            let timer = self.hosts[host].arena.lock().next_deadline();
            if arrived || timer <= self.now {
                self.with(host, |h| {
                    h.receive(1000);
                    h.run_timers();
                });
            }
        }
        to.is_some() || next <= end
    }

    /// Hours of good weather.
    fn let_all_end(&mut self) {
        self.change_weather(Profile::default());
        for host in 0..self.hosts.len() {
            self.with(host, |h| h.impair(&Settings::default()));
        }
        let end = self.now + Duration::from_secs(24 * 3600);
        while self.step(end) {}
        for host in 0..self.hosts.len() {
            self.with(host, |h| assert_empty(h));
        }
    }
}

/// One end of a transfer.
#[derive(Debug)]
struct End {
    host: usize,
    socket: Option<SockId>,
    /// What it is going to send, and has.
    stream: u64,
    total: u64,
    wrote: u64,
    reader: Reader,
    eof: bool,
    error: Option<Error>,
    /// It ends without waiting for the other's end.
    hasty: bool,
    /// How seldom it reads.
    lazy: usize,
    over: bool,
}

impl End {
    fn new(rng: &mut Rng, host: usize, hasty: usize) -> End {
        let most = [10, 5000, 60_000][rng.below(3)];
        End {
            host,
            socket: None,
            stream: rng.next(),
            total: 8 + rng.below(most) as u64,
            wrote: 0,
            reader: Reader::default(),
            eof: false,
            error: None,
            hasty: rng.chance(hasty),
            lazy: rng.below(4),
            over: false,
        }
    }

    /// Send, receive, finish.
    fn act(&mut self, h: &mut Host<'_>, rng: &mut Rng) {
        let Some(id) = self.socket else { return };
        if self.over {
            return;
        }
        let mut buf = vec![0; 1 + rng.below(20_000)];
        while self.wrote < self.total {
            let n = buf.len().min((self.total - self.wrote) as usize);
            fill(self.stream, self.wrote, &mut buf[..n]);
            match send(h, id, &buf[..n]) {
                Ok(n) => self.wrote += n as u64,
                Err(Error::WouldBlock) => break,
                Err(e) => self.error = Some(e),
            }
            if self.error.is_some() {
                break;
            }
            if self.wrote == self.total && !self.hasty {
                let _ = h.shutdown(id, How::Write);
            }
        }
        while rng.below(self.lazy + 1) == 0 && !self.eof && self.error.is_none() {
            match recv(h, id, buf.len()) {
                Ok(data) if data.is_empty() => self.eof = true,
                Ok(data) => self.reader.take(&data, false),
                Err(Error::WouldBlock) => break,
                Err(e) => self.error = Some(e),
            }
        }
        let done = self.wrote == self.total && (self.eof || self.hasty && rng.chance(20));
        if done || self.error.is_some() {
            h.close(id);
            self.over = true;
        }
    }
}

/// Settings for wires on which a fifth of the packets may be lost: nobody gives up.
fn patient(rng: &mut Rng) -> Sysctl {
    Sysctl {
        tcp_sack: rng.below(3).min(1) as u8,
        tcp_timestamps: rng.below(3).min(1) as u8,
        tcp_window_scaling: rng.below(3).min(1) as u8,
        tcp_syn_retries: 60,
        tcp_synack_retries: 60,
        tcp_retries2: 60,
        tcp_orphan_retries: 60,
        ..Sysctl::default()
    }
}

/// Some transfers at a time, from beginning to end.
fn transfers(seed: u64) {
    let _trying = Trying(seed);
    let mut net = Net::new(seed);
    let hasty = [0, 0, 20][net.rng.below(3)];
    let mut pairs = Vec::new();
    for n in 0..1 + net.rng.below(4) {
        let client = net.rng.below(net.hosts.len());
        let server = net.rng.below(net.hosts.len());
        let to = Endpoint::new(net.address(server), 80 + n as u16);
        let sysctl = patient(&mut net.rng);
        let l = net.with(server, |h| {
            let l = h.create(Family::V6, Owner::default(), &sysctl).unwrap();
            // A RST that is lost leaves the other end waiting, but for this.
            h.set_option(l, Opt::KeepAlive, 1).unwrap();
            h.bind(l, Endpoint::new(Addr::ANY6, to.port), true).unwrap();
            h.listen(l, 5).unwrap();
            l
        });
        let options = [
            (Opt::NoDelay, net.rng.below(2) as i64),
            (Opt::RcvBuf, 1 + net.rng.below(50_000) as i64),
            (Opt::SndBuf, 1 + net.rng.below(50_000) as i64),
            (Opt::KeepAlive, 1),
        ];
        let set = 8 + net.rng.below(8);
        let sysctl = patient(&mut net.rng);
        let c = net.with(client, |h| {
            let c = h.create(Family::V6, Owner::default(), &sysctl).unwrap();
            for (i, (opt, value)) in options.into_iter().enumerate() {
                if set >> i & 1 == 1 {
                    h.set_option(c, opt, value).unwrap();
                }
            }
            assert_eq!(h.connect(c, to), Err(Error::InProgress));
            c
        });
        let mut ends = [
            End::new(&mut net.rng, client, hasty),
            End::new(&mut net.rng, server, hasty),
        ];
        ends[0].socket = Some(c);
        pairs.push((l, ends));
    }
    let (start, mut idle) = (net.now, 0);
    while pairs.iter().any(|(_, ends)| ends.iter().any(|e| !e.over)) {
        for (l, ends) in &mut pairs {
            if ends[1].socket.is_none() {
                let host = ends[1].host;
                let got = net.with(host, |h| h.accept(*l, Owner::default()).ok());
                ends[1].socket = got.map(|(s, _)| s);
            }
            for end in ends {
                if net.rng.chance(60) {
                    let mut rng = Rng(net.rng.next());
                    net.with(end.host, |h| end.act(h, &mut rng));
                }
            }
        }
        // Retransmissions may be minutes apart.
        let most = [1, 20, 300][net.rng.below(3)] << idle.min(10);
        let end = net.now + Duration::from_millis(most);
        idle += 1;
        for _ in 0..1 + net.rng.below(20) {
            if !net.step(end) {
                break;
            }
            idle = 0;
        }
        let took = net.now.since(start);
        assert!(took < Duration::from_secs(12 * 3600), "{pairs:#?}");
    }
    for (_, [a, b]) in &pairs {
        for (from, to) in [(a, b), (b, a)] {
            if to.eof {
                assert_eq!(to.reader.got, from.wrote, "seed {seed}: at the end");
                assert_eq!(to.reader.id(), Some(from.stream), "seed {seed}: whose");
            }
            // Nobody hurried, so nothing can have gone wrong.
            if hasty == 0 {
                assert_eq!((to.eof, to.error), (true, None), "seed {seed}: {to:?}");
            }
        }
    }
    for (l, [_, server]) in &pairs {
        net.with(server.host, |h| h.close(*l));
    }
    net.let_all_end();
}

#[test]
fn transfers_over_bad_wires() {
    for seed in seeds(0..2500) {
        transfers(seed);
    }
}

/// Programs that do anything, on all hosts.
fn chaos(seed: u64) -> usize {
    let _trying = Trying(seed);
    let mut net = Net::new(seed);
    let mut places = Vec::new();
    for port in 80..82 {
        for host in 0..net.hosts.len() {
            places.push(Endpoint::new(net.address(host), port));
        }
    }
    let ledger = Ledger::default();
    let mut programs: Vec<Program> = (0..net.hosts.len() as u64)
        .map(|n| Program::new(seed * 3 + n, &places, &ledger))
        .collect();
    for p in &mut programs {
        p.most = 8;
    }
    for _ in 0..150 {
        let host = net.rng.below(net.hosts.len());
        net.with(host, |h| programs[host].step(h));
        let end = net.now + Duration::from_millis(net.rng.below(100) as u64);
        for _ in 0..net.rng.below(6) {
            if !net.step(end) {
                break;
            }
        }
    }
    // Now all of them finish, in better weather.
    let loss = net.weather.loss.min(Chance::percent(1));
    net.change_weather(Profile {
        loss,
        ..net.weather
    });
    for turn in 0..120 {
        for (host, program) in programs.iter_mut().enumerate() {
            net.with(host, |h| program.wind_down(h));
        }
        let end = net.now + Duration::from_millis(10 << (turn / 12).min(10));
        while net.step(end) {}
    }
    for (host, program) in programs.iter_mut().enumerate() {
        net.with(host, |h| program.assert_finished(h));
        net.with(host, |h| program.end(h));
    }
    net.let_all_end();
    programs.iter().map(|p| p.whole).sum()
}

#[test]
fn anything_over_bad_wires() {
    let whole: usize = seeds(0..600).map(chaos).sum();
    assert!(whole > 300, "{whole} streams were read to their ends");
}
