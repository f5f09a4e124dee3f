//! Flows over one bottleneck, in virtual time: rate, delay, a queue that drops what does not
//! fit, losses alone and in bursts, corruption, duplication, jitter, an outage, an MTU that
//! falls. Each flow is two connections; the bytes are only counted. What must always hold is
//! looked at after every step.

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
    /// Losses come in rows of so many in the mean; 0: each by itself.
    pub burst: u64,
    /// Damaged on the way, per million: the receiver's checksum drops them.
    pub corrupt: u64,
    /// Arrive twice, per million.
    pub duplicate: u64,
    /// From then on packets have so many bytes at most; the sender is told.
    pub mtu: Option<(Duration, u16)>,
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
    rcv_buf: Option<u32>,
    /// Bytes read by the receiver at each tenth of a second.
    history: Vec<u64>,
}

enum Event {
    Arrives(usize, usize, Segment),
    TooBig(usize, SeqNum, u16),
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
    in_burst: bool,
    steps: u64,
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
            in_burst: false,
            steps: 0,
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
            rcv_buf: None,
            history: Vec::new(),
        });
        self.post(start, Event::Starts(self.flows.len() - 1));
    }

    /// The receiver of the last flow has a buffer of so many bytes, which grows by need.
    pub fn small_buffer(&mut self, bytes: u32) {
        if let Some(flow) = self.flows.last_mut() {
            flow.rcv_buf = Some(bytes);
        }
    }

    fn post(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order)));
        self.what.insert(self.order, event);
    }

    fn path(rcv_buf: Option<u32>) -> Path {
        Path {
            mss: 1460,
            rcv_buf: rcv_buf.unwrap_or(32 << 20),
            rcv_buf_locked: rcv_buf.is_none(),
            header: 40,
            ip_options: 0,
            ts_offset: 77,
        }
    }

    /// Lost by itself, or as one of a row (Gilbert's model).
    fn is_lost(&mut self) -> bool {
        let Link { loss, burst, .. } = self.link;
        if burst < 2 {
            return loss > 0 && self.rng.below(1_000_000) < loss;
        }
        self.in_burst = if self.in_burst {
            self.rng.below(burst) != 0
        } else {
            self.rng.below((1_000_000 - loss) * burst) < loss
        };
        self.in_burst
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
            corrupt,
            duplicate,
            mtu,
            jitter,
            outage,
            mark,
            ..
        } = self.link;
        let since = self.now.since(self.begin);
        let out = outage.is_some_and(|(from, long)| since >= from && since < from + long);
        if let Some((from, most)) = mtu
            && since >= from
            && u64::from(seg.len) + HEADERS > u64::from(most)
        {
            self.dropped += 1;
            let mss = most - HEADERS as u16;
            self.post(self.now + rtt / 2, Event::TooBig(flow, seg.seq, mss));
            return;
        }
        let lost = self.is_lost() || out || self.leaving.len() >= queue;
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
        if corrupt > 0 && self.rng.below(1_000_000) < corrupt {
            self.dropped += 1;
            return;
        }
        if duplicate > 0 && self.rng.below(1_000_000) < duplicate {
            self.post(at, Event::Arrives(flow, 1, seg));
        }
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
                self.check(f);
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
                        Sim::path(None),
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
                Some(Event::TooBig(f, quoted, mss)) => {
                    let End { tcb, sent, .. } = &mut self.flows[f].ends[0];
                    if let Some(tcb) = tcb {
                        tcb.on_packet_too_big(now, mss, quoted, sent);
                    }
                    self.pump(f, 0);
                }
                Some(Event::Arrives(f, e, seg)) => {
                    let Flow {
                        ends,
                        sysctl,
                        options,
                        rcv_buf,
                        ..
                    } = &mut self.flows[f];
                    let end = &mut ends[e];
                    match end.tcb.as_mut() {
                        None => {
                            let iss = SeqNum(self.rng.next() as u32);
                            let path = Sim::path(*rcv_buf);
                            end.tcb = Some(Tcb::accept(now, iss, path, *options, sysctl, &seg));
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
        for f in 0..self.flows.len() {
            self.check_records(f);
        }
    }

    fn check_records(&self, f: usize) {
        for e in &self.flows[f].ends {
            if let Some(tcb) = &e.tcb {
                tcb.check_sent(&e.sent).expect("records in order");
            }
        }
    }

    /// What holds after every step: the sequence space, what is in the buffers, timers.
    fn check(&mut self, f: usize) {
        let [from, to] = &self.flows[f].ends;
        let Some(tx) = &from.tcb else { return };
        assert!(
            matches!(tx.state, State::SynSent | State::Established),
            "the connection ended: {tx:?}"
        );
        if tx.state == State::SynSent {
            return;
        }
        // The sequence space.
        assert!(tx.snd_una.le(tx.snd_nxt) && tx.snd_nxt.le(tx.snd_end));
        let una = u64::from(tx.snd_una - tx.iss) - 1;
        assert_eq!(una, from.acked & 0xffff_ffff, "what was acknowledged");
        assert_eq!(
            u64::from(tx.snd_end - tx.snd_una),
            from.wrote - from.acked,
            "the send buffer"
        );
        let window = tx.snd_una + tx.max_window;
        assert!(tx.snd_nxt.le(window), "beyond any window that was offered");
        if let Some(rx) = &to.tcb {
            assert!(tx.snd_una.le(rx.rcv_nxt) && rx.rcv_nxt.le(tx.snd_nxt));
            let got = u64::from(rx.rcv_nxt - rx.irs) - 1;
            assert_eq!(got, (to.read + u64::from(to.rx.ready)) & 0xffff_ffff);
            let held: u32 = to.rx.held.iter().map(|h| h.1 - h.0).sum();
            assert!(held <= rx.receive_window(), "held beyond the window");
            assert!(to.rx.held.iter().all(|h| h.0.gt(rx.rcv_nxt)), "a gap");
        }
        // The program always has more to send, so something must be due: nothing is stuck.
        assert!(tx.deadline() != Instant::NEVER, "stuck: {tx:?}");
        // Each record, for its cost only now and then.
        self.steps += 1;
        if self.steps.is_multiple_of(64) {
            self.check_records(f);
        }
    }

    /// Jain's index of fairness between two times.
    pub fn fairness(&self, from: Duration, to: Duration) -> f64 {
        let shares: Vec<f64> = (0..self.flows.len())
            .map(|f| self.goodput(f, from, to))
            .collect();
        let sum: f64 = shares.iter().sum();
        let squares: f64 = shares.iter().map(|s| s * s).sum();
        sum * sum / (shares.len() as f64 * squares)
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
