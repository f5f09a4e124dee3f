//! Two endpoints over a simulated link, in virtual time.
//!
//! Every byte has a value that follows from its place in the stream, so a receiver can check
//! place and content at once.

use crate::tcp::{
    Events, Flags, Outcome, Path, RecvQueue, Segment, Sent, SeqNum, State, Sysctl, Tcb, TcpError,
    TcpOptions,
};
use crate::time::{Duration, Instant};

/// A small generator of random numbers (splitmix64), seeded.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The byte at place `n` of a stream.
pub fn byte_at(n: u64) -> u8 {
    (n.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

/// A receive queue that keeps everything.
#[derive(Default)]
pub struct Queue {
    /// In order, not yet read.
    pub ready: Vec<u8>,
    /// Out of order: start, bytes.
    pub ahead: Vec<(SeqNum, Vec<u8>)>,
    /// Payload of the segment in hand.
    pub hand: Vec<u8>,
    /// Refuse to keep more than this.
    pub limit: Option<usize>,
    last: Option<SeqNum>,
}

impl RecvQueue for Queue {
    fn insert(&mut self, rcv_nxt: SeqNum, seq: SeqNum, skip: u32, len: u32) -> SeqNum {
        if self
            .limit
            .is_some_and(|l| self.ready.len() + len as usize > l)
        {
            return rcv_nxt;
        }
        let bytes = self.hand[skip as usize..(skip + len) as usize].to_vec();
        self.ahead.push((seq, bytes));
        self.last = Some(seq);
        let mut next = rcv_nxt;
        loop {
            let at = self
                .ahead
                .iter()
                .position(|(s, b)| s.le(next) && (*s + b.len() as u32).gt(next));
            let Some(at) = at else { break };
            let (s, b) = self.ahead.swap_remove(at);
            let skip = (next - s) as usize;
            self.ready.extend_from_slice(&b[skip..]);
            next += (b.len() - skip) as u32;
        }
        self.ahead.retain(|(s, b)| (*s + b.len() as u32).gt(next));
        next
    }

    fn cut(&mut self, end: SeqNum) {
        self.ahead.retain(|(start, _)| start.lt(end));
        for (start, bytes) in &mut self.ahead {
            bytes.truncate((end - *start) as usize);
        }
    }

    fn sack_blocks(&self, rcv_nxt: SeqNum, out: &mut [(SeqNum, SeqNum); 4]) -> usize {
        let mut runs: Vec<(SeqNum, SeqNum)> = self
            .ahead
            .iter()
            .map(|(s, b)| (*s, *s + b.len() as u32))
            .collect();
        runs.sort_by_key(|r| r.0 - rcv_nxt);
        let mut merged: Vec<(SeqNum, SeqNum)> = Vec::new();
        for r in runs {
            match merged.last_mut() {
                Some(m) if r.0.le(m.1) => m.1 = m.1.max(r.1),
                _ => merged.push(r),
            }
        }
        let told = *out;
        let holds = |r: &(SeqNum, SeqNum), at: SeqNum| r.0.le(at) && at.lt(r.1);
        merged.sort_by_key(|r| match self.last {
            Some(last) if holds(r, last) => 0,
            _ => {
                let before = told.iter().position(|t| t.0 != t.1 && holds(r, t.0));
                before.map_or(told.len(), |place| place) + 1
            }
        });
        let n = merged.len().min(4);
        out[..n].copy_from_slice(&merged[..n]);
        n
    }
}

/// One end: a connection, its program and its buffers.
pub struct End {
    pub tcb: Tcb,
    pub rx: Queue,
    /// Place in the stream of the send queue's first byte.
    pub acked: u64,
    /// Bytes the program wrote.
    pub wrote: u64,
    /// Bytes the program read.
    pub read: u64,
    pub events: Events,
    pub eof: bool,
    /// What was sent, for tests that look at it.
    pub log: Vec<(Instant, Segment)>,
    pub max_payload: u32,
    pub edge: Option<SeqNum>,
    pub sent: Vec<Sent>,
}

impl End {
    pub fn new(tcb: Tcb) -> End {
        End {
            tcb,
            rx: Queue::default(),
            acked: 0,
            wrote: 0,
            read: 0,
            events: Events::default(),
            eof: false,
            log: Vec::new(),
            max_payload: 0,
            edge: None,
            sent: vec![Sent::default(); 4000],
        }
    }

    pub fn take(&mut self, o: Outcome) -> Option<Segment> {
        self.acked += u64::from(o.acked);
        self.events.add(o.events);
        if o.events.has(Events::PEER_FIN) {
            self.eof = true;
        }
        assert!(
            self.acked <= self.wrote,
            "acknowledged more than was written"
        );
        o.reset
    }

    /// The records are in order.
    pub fn check(&self) {
        if let Err(why) = self.tcb.check_sent(&self.sent) {
            panic!("{why}: {:?}", self.tcb);
        }
    }

    /// Write `n` bytes.
    pub fn write(&mut self, now: Instant, n: u32) {
        self.tcb.app_wrote(now, n);
        self.wrote += u64::from(n);
    }

    /// Read up to `n` bytes and check them.
    pub fn read(&mut self, now: Instant, n: usize) -> usize {
        let n = n.min(self.rx.ready.len());
        for (i, b) in self.rx.ready.drain(..n).enumerate() {
            let place = self.read + i as u64;
            assert_eq!(b, byte_at(place), "wrong byte at {place}");
        }
        self.read += n as u64;
        if n > 0 {
            self.tcb.app_read(now, n as u32);
        }
        n
    }

    /// All segments that are to be sent, with payload.
    pub fn poll(&mut self, now: Instant) -> Vec<(Segment, Vec<u8>)> {
        let mut out = Vec::new();
        while let Some(t) = self
            .tcb
            .poll_transmit(now, self.max_payload, &mut self.sent)
        {
            let place = self.acked + u64::from(t.offset);
            assert!(
                place + u64::from(t.segment.len) <= self.wrote,
                "sends bytes that were not written: {t:?}"
            );
            if t.segment.len > 0 && t.segment.len > u32::from(t.mss) {
                assert!(self.max_payload > 0 && t.segment.len <= self.max_payload);
            }
            // (Linux rounds down in TIME_WAIT, where nothing can follow.)
            let synchronized = self.tcb.state != State::TimeWait
                && !t.segment.flags.has(Flags::SYN)
                && t.segment.flags.has(Flags::ACK);
            if synchronized {
                let edge =
                    t.segment.ack + (u32::from(t.segment.window) << self.tcb.info(now).rcv_wscale);
                if let Some(old) = self.edge {
                    assert!(
                        edge.ge(old),
                        "the window's right edge moved left: {:?} {:?}",
                        t,
                        self.tcb
                    );
                }
                self.edge = Some(edge);
            }
            let bytes = (0..u64::from(t.segment.len))
                .map(|i| byte_at(place + i))
                .collect();
            self.log.push((now, t.segment));
            out.push((t.segment, bytes));
            assert!(
                out.len() < 5000,
                "sends without end: {:?} {:?}",
                t,
                self.tcb
            );
        }
        out
    }
}

/// How the link treats packets, in percent and microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    pub delay_us: u64,
    pub jitter_us: u64,
    pub loss: u64,
    pub duplicate: u64,
    pub reorder: u64,
}

struct Packet {
    at: Instant,
    order: u64,
    to: usize,
    segment: Segment,
    bytes: Vec<u8>,
}

/// Two ends and what is between them.
pub struct Pair {
    pub now: Instant,
    pub ends: [Option<End>; 2],
    pub link: Link,
    pub rng: Rng,
    pub sysctl: Sysctl,
    pub path: Path,
    pub options: TcpOptions,
    pub blackhole: bool,
    wire: Vec<Packet>,
    order: u64,
    pub last_syn: Option<Segment>,
}

pub fn path() -> Path {
    Path {
        mss: 1460,
        rcv_buf: 131_072,
        rcv_buf_locked: false,
        header: 40,
        ip_options: 0,
        ts_offset: 0x1234_5678,
    }
}

impl Pair {
    pub fn new(seed: u64, link: Link) -> Pair {
        Pair {
            now: Instant(1_000_000_000_000),
            ends: [None, None],
            link,
            rng: Rng(seed),
            sysctl: Sysctl::default(),
            path: path(),
            options: TcpOptions::default(),
            blackhole: false,
            wire: Vec::new(),
            order: 0,
            last_syn: None,
        }
    }

    pub fn connect(&mut self, who: usize) {
        let iss = SeqNum(self.rng.next() as u32);
        let tcb = Tcb::connect(self.now, iss, self.path, self.options, &self.sysctl);
        self.ends[who] = Some(End::new(tcb));
        self.flush();
    }

    /// A handshake over a good link.
    pub fn established(seed: u64, link: Link) -> Pair {
        let mut p = Pair::new(seed, link);
        p.connect(0);
        p.run_for(Duration::from_micros(
            10 * (link.delay_us + link.jitter_us + 1),
        ));
        assert_eq!(p.end(0).tcb.state, State::Established);
        assert_eq!(p.end(1).tcb.state, State::Established);
        p
    }

    pub fn end(&mut self, i: usize) -> &mut End {
        self.ends[i].as_mut().expect("no such end yet")
    }

    pub fn state(&self, i: usize) -> State {
        self.ends[i].as_ref().map_or(State::Listen, |e| e.tcb.state)
    }

    pub fn send(&mut self, from: usize, segment: Segment, bytes: Vec<u8>) {
        if self.blackhole || self.rng.chance(self.link.loss) {
            return;
        }
        let copies = 1 + u64::from(self.rng.chance(self.link.duplicate));
        for _ in 0..copies {
            let mut us = self.link.delay_us + self.rng.below(self.link.jitter_us + 1);
            if self.rng.chance(self.link.reorder) {
                us += self.link.delay_us * (1 + self.rng.below(4));
            }
            self.order += 1;
            self.wire.push(Packet {
                at: self.now + Duration::from_micros(us),
                order: self.order,
                to: 1 - from,
                segment,
                bytes: bytes.clone(),
            });
        }
    }

    pub fn flush(&mut self) {
        let now = self.now;
        for i in 0..2 {
            if let Some(end) = self.ends[i].as_mut() {
                for (segment, bytes) in end.poll(now) {
                    self.send(i, segment, bytes);
                }
            }
        }
    }

    fn deliver(&mut self, p: Packet) {
        let now = self.now;
        let listening = self.ends[p.to].is_none();
        if listening {
            let f = p.segment.flags;
            if f.has(Flags::SYN) && !f.has(Flags::ACK) && !f.has(Flags::RST) {
                let iss = SeqNum(self.rng.next() as u32);
                let tcb = Tcb::accept(now, iss, self.path, self.options, &self.sysctl, &p.segment);
                self.last_syn = Some(p.segment);
                let mut end = End::new(tcb);
                end.max_payload = self.ends[1 - p.to].as_ref().map_or(0, |e| e.max_payload);
                self.ends[p.to] = Some(end);
            }
            return;
        }
        let end = self.end(p.to);
        end.rx.hand = p.bytes;
        let End { tcb, rx, sent, .. } = end;
        let outcome = tcb.on_segment(now, &p.segment, rx, sent);
        end.check();
        let reset = end.take(outcome);
        if let Some(reset) = reset {
            self.send(p.to, reset, Vec::new());
        }
    }

    /// When something happens next.
    pub fn next_at(&self) -> Instant {
        let wire = self.wire.iter().map(|p| p.at).min();
        let timers = self.ends.iter().flatten().map(|e| e.tcb.deadline()).min();
        wire.unwrap_or(Instant::NEVER)
            .min(timers.unwrap_or(Instant::NEVER))
    }

    /// Let the next thing happen, if it does before `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        self.flush();
        let at = self.next_at();
        if at > until || at == Instant::NEVER {
            return false;
        }
        self.now = self.now.max(at);
        let now = self.now;
        let due = self
            .wire
            .iter()
            .enumerate()
            .filter(|(_, p)| p.at <= now)
            .min_by_key(|(_, p)| (p.at, p.order))
            .map(|(i, _)| i);
        if let Some(i) = due {
            let p = self.wire.swap_remove(i);
            self.deliver(p);
        } else {
            for i in 0..2 {
                if let Some(end) = self.ends[i].as_mut()
                    && end.tcb.deadline() <= now
                {
                    let outcome = end.tcb.on_timer(now, &mut end.sent);
                    end.check();
                    assert!(end.tcb.deadline() > now, "a timer that does not rest");
                    let reset = end.take(outcome);
                    assert!(reset.is_none());
                }
            }
        }
        self.flush();
        true
    }

    pub fn run_for(&mut self, d: Duration) {
        let until = self.now + d;
        while self.step(until) {}
        self.now = until;
    }

    pub fn error(&self, i: usize) -> Option<TcpError> {
        self.ends[i].as_ref().and_then(|e| e.tcb.error())
    }
}
