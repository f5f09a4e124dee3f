//! Flows over one bottleneck, in virtual time: rate, delay, a queue that drops what does not
//! fit, losses, an outage. Each flow is two connections; the bytes are only counted.

use super::pair::Rng;
use crate::tcp::congestion::Algorithm;
use crate::tcp::{Path, RecvQueue, Segment, Sent, SeqNum, State, Sysctl, Tcb, TcpOptions};
use crate::time::{Duration, Instant};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The way from senders to receivers; the way back has the delay alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Bits a second.
    pub rate: u64,
    /// Both ways together, without queueing.
    pub rtt: Duration,
    /// Packets that wait at most.
    pub queue: usize,
    /// Losses at random, per million.
    pub loss: u64,
    /// Up to this much longer on the way, which disturbs their order.
    pub jitter: Duration,
    /// From then on, for so long, all is lost.
    pub outage: Option<(Duration, Duration)>,
    /// From this many packets waiting on, ECT packets are marked; 0: never.
    pub mark: usize,
}

/// Bytes of headers that a packet has on the wire.
const HEADERS: u64 = 40;

/// Received ranges.
#[derive(Default)]
struct Ranges {
    held: Vec<(SeqNum, SeqNum)>,
    last: SeqNum,
    ready: u32,
}

impl RecvQueue for Ranges {
    fn insert(&mut self, nxt: SeqNum, seq: SeqNum, _: u32, len: u32) -> SeqNum {
        self.last = seq;
        let mut new = (seq, seq + len);
        self.held.retain(|h| {
            let apart = h.1.lt(new.0) || h.0.gt(new.1);
            if !apart {
                new = (new.0.min(h.0), new.1.max(h.1));
            }
            apart
        });
        self.held.push(new);
        let mut next = nxt;
        if new.0.le(nxt) {
            next = new.1.max(nxt);
            self.held.pop();
        }
        self.ready += next - nxt;
        next
    }
    fn cut(&mut self, _: SeqNum) {}
    fn sack_blocks(&self, _: SeqNum, out: &mut [(SeqNum, SeqNum); 4]) -> usize {
        let latest = |h: &&(SeqNum, SeqNum)| h.0.le(self.last) && h.1.gt(self.last);
        let first = self.held.iter().find(latest);
        let rest = self.held.iter().rev().filter(|h| Some(*h) != first);
        let mut n = 0;
        for (slot, h) in out.iter_mut().zip(first.into_iter().chain(rest)) {
            *slot = *h;
            n += 1;
        }
        n
    }
}

struct End {
    tcb: Option<Tcb>,
    rx: Ranges,
    sent: Vec<Sent>,
    wrote: u64,
    acked: u64,
    read: u64,
}

struct Flow {
    ends: [End; 2],
    sysctl: Sysctl,
    options: TcpOptions,
    /// Bytes read by the receiver at each tenth of a second.
    history: Vec<u64>,
}

enum Event {
    Arrives(usize, usize, Segment),
    Timer(usize, usize),
    Starts(usize),
}

/// The simulation.
pub struct Sim {
    pub now: Instant,
    pub begin: Instant,
    pub link: Link,
    flows: Vec<Flow>,
    events: BinaryHeap<Reverse<(Instant, u64)>>,
    what: std::collections::HashMap<u64, Event>,
    order: u64,
    rng: Rng,
    free_at: Instant,
    leaving: VecDeque<Instant>,
    pub dropped: u64,
}

impl Sim {
    pub fn new(seed: u64, link: Link) -> Sim {
        let now = Instant(1_000_000_000_000);
        Sim {
            now,
            begin: now,
            link,
            flows: Vec::new(),
            events: BinaryHeap::new(),
            what: Default::default(),
            order: 0,
            rng: Rng(seed),
            free_at: now,
            leaving: VecDeque::new(),
            dropped: 0,
        }
    }

    /// A transfer without end, from `after` on.
    pub fn flow(&mut self, algorithm: Algorithm, after: Duration) {
        self.flow_with(
            after,
            Sysctl {
                tcp_congestion_control: algorithm,
                ..Sysctl::default()
            },
            TcpOptions::default(),
        );
    }

    pub fn flow_with(&mut self, after: Duration, sysctl: Sysctl, options: TcpOptions) {
        let end = || End {
            tcb: None,
            rx: Ranges::default(),
            sent: vec![Sent::default(); 40_000],
            wrote: 0,
            acked: 0,
            read: 0,
        };
        let start = self.begin + after;
        self.flows.push(Flow {
            ends: [end(), end()],
            sysctl,
            options,
            history: Vec::new(),
        });
        self.post(start, Event::Starts(self.flows.len() - 1));
    }

    fn post(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order)));
        self.what.insert(self.order, event);
    }

    fn path() -> Path {
        Path {
            mss: 1460,
            rcv_buf: 32 << 20,
            rcv_buf_locked: true,
            header: 40,
            ts_offset: 77,
        }
    }

    /// A packet comes to the bottleneck.
    fn forward(&mut self, flow: usize, mut seg: Segment) {
        while self.leaving.front().is_some_and(|&at| at <= self.now) {
            self.leaving.pop_front();
        }
        let Link {
            rate,
            rtt,
            queue,
            loss,
            jitter,
            outage,
            mark,
        } = self.link;
        let since = self.now.since(self.begin);
        let out = outage.is_some_and(|(from, long)| since >= from && since < from + long);
        let lost =
            out || (loss > 0 && self.rng.below(1_000_000) < loss) || self.leaving.len() >= queue;
        if lost {
            self.dropped += 1;
            return;
        }
        if mark > 0 && self.leaving.len() >= mark && seg.ecn != 0 {
            seg.ecn = 3;
        }
        let bits = (u64::from(seg.len) + HEADERS) * 8;
        let takes = Duration::from_nanos(bits * 1_000_000_000 / rate);
        self.free_at = self.free_at.max(self.now) + takes;
        self.leaving.push_back(self.free_at);
        let extra = self.rng.below(jitter.as_micros() as u64 + 1);
        let at = self.free_at + rtt / 2 + Duration::from_micros(extra);
        self.post(at, Event::Arrives(flow, 1, seg));
    }

    /// Let an end send, read, and set its timer.
    fn pump(&mut self, f: usize, e: usize) {
        const QUEUE: u64 = 16 << 20;
        loop {
            let now = self.now;
            let end = &mut self.flows[f].ends[e];
            let Some(tcb) = end.tcb.as_mut() else { return };
            if e == 0 && end.wrote - end.acked < QUEUE && tcb.state == State::Established {
                tcb.app_wrote(now, 1 << 20);
                end.wrote += 1 << 20;
            }
            if end.rx.ready > 0 {
                let n = core::mem::take(&mut end.rx.ready);
                end.read += u64::from(n);
                tcb.app_read(now, n);
            }
            let Some(tx) = tcb.poll_transmit(now, 0, &mut end.sent) else {
                let deadline = tcb.deadline();
                if deadline != Instant::NEVER {
                    self.post(deadline.max(now), Event::Timer(f, e));
                }
                return;
            };
            if e == 0 {
                self.forward(f, tx.segment);
            } else {
                let at = self.now + self.link.rtt / 2;
                self.post(at, Event::Arrives(f, 0, tx.segment));
            }
        }
    }

    /// Until `end` after the beginning.
    pub fn run(&mut self, end: Duration) {
        let end = self.begin + end;
        let tenth = Duration::from_millis(100);
        let mut tick = self.now + tenth;
        while let Some(&Reverse((at, id))) = self.events.peek() {
            if at > end {
                break;
            }
            while tick <= at {
                for f in &mut self.flows {
                    f.history.push(f.ends[1].read);
                }
                tick = tick + tenth;
            }
            self.events.pop();
            self.now = self.now.max(at);
            let now = self.now;
            match self.what.remove(&id) {
                None => {}
                Some(Event::Starts(f)) => {
                    let flow = &mut self.flows[f];
                    let iss = SeqNum(self.rng.next() as u32);
                    flow.ends[0].tcb = Some(Tcb::connect(
                        now,
                        iss,
                        Sim::path(),
                        flow.options,
                        &flow.sysctl,
                    ));
                    self.pump(f, 0);
                }
                Some(Event::Timer(f, e)) => {
                    let End { tcb, sent, .. } = &mut self.flows[f].ends[e];
                    let tcb = tcb.as_mut().expect("a timer without connection");
                    if tcb.deadline() <= now {
                        let out = tcb.on_timer(now, sent);
                        assert!(tcb.deadline() > now, "a timer that does not rest: {tcb:?}");
                        self.flows[f].ends[e].acked += u64::from(out.acked);
                        self.pump(f, e);
                    }
                }
                Some(Event::Arrives(f, e, seg)) => {
                    let Flow {
                        ends,
                        sysctl,
                        options,
                        ..
                    } = &mut self.flows[f];
                    let end = &mut ends[e];
                    match end.tcb.as_mut() {
                        None => {
                            let iss = SeqNum(self.rng.next() as u32);
                            end.tcb =
                                Some(Tcb::accept(now, iss, Sim::path(), *options, sysctl, &seg));
                        }
                        Some(tcb) => {
                            let out = tcb.on_segment(now, &seg, &mut end.rx, &mut end.sent);
                            end.acked += u64::from(out.acked);
                        }
                    }
                    self.pump(f, e);
                }
            }
        }
        self.now = end;
        for f in &self.flows {
            for e in &f.ends {
                if let Some(tcb) = &e.tcb {
                    tcb.check_sent(&e.sent).expect("records in order");
                }
            }
        }
    }

    /// Bits a second that a flow's receiver got between two times after the beginning.
    pub fn goodput(&self, flow: usize, from: Duration, to: Duration) -> f64 {
        let h = &self.flows[flow].history;
        let at = |d: Duration| {
            let i = (d.as_millis() / 100) as usize;
            h.get(i.min(h.len().saturating_sub(1)))
                .copied()
                .unwrap_or(0)
        };
        (at(to) - at(from)) as f64 * 8.0 / (to - from).as_secs_f64()
    }

    pub fn info(&self, flow: usize) -> crate::tcp::Info {
        let tcb = self.flows[flow].ends[0].tcb.as_ref().expect("started");
        tcb.info(self.now)
    }

    /// How long after `from` the flows together had `share` of the rate again, over half a
    /// second.
    pub fn recovered(&self, from: Duration, share: f64) -> Option<Duration> {
        let step = Duration::from_millis(100);
        let wide = step * 5;
        let mut at = from;
        while at + wide <= self.now.since(self.begin) {
            let sum: f64 = (0..self.flows.len())
                .map(|f| self.goodput(f, at, at + wide))
                .sum();
            if sum >= share * self.link.rate as f64 {
                return Some(at - from);
            }
            at += step;
        }
        None
    }
}
