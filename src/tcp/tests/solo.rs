//! One connection and a hand-written peer: send it segments, look at what it sends.

use super::pair::{Queue, byte_at, path};
use crate::tcp::{
    Events, Flags, Options, Outcome, Path, Segment, Sent, SeqNum, State, Sysctl, Tcb, TcpOptions,
    Transmit, records_in_use,
};
use crate::time::{Duration, Instant};

pub const ISS: u32 = 1000;
pub const IRS: u32 = 0xffff_fff0; // the peer's numbers wrap

pub const FIN: Flags = Flags::FIN;
pub const SYN: Flags = Flags::SYN;
pub const RST: Flags = Flags::RST;
pub const PSH: Flags = Flags::PSH;
pub const ACK: Flags = Flags::ACK;

/// A connection under test. Numbers are told relative to ISS and IRS.
pub struct Solo {
    pub now: Instant,
    pub tcb: Tcb,
    pub rx: Queue,
    pub window: u16,
    pub max_payload: u32,
    pub peer_options: Options,
    pub sent: Vec<Sent>,
}

/// What a peer like Linux offers in its SYN, less timestamps.
pub fn offers() -> Options {
    Options {
        mss: Some(1460),
        wscale: Some(0),
        sack_permitted: true,
        ..Options::default()
    }
}

impl Solo {
    pub fn connecting(o: TcpOptions, s: &Sysctl, p: Path) -> Solo {
        let now = Instant(50_000_000_000);
        Solo {
            now,
            tcb: Tcb::connect(now, SeqNum(ISS), p, o, s),
            rx: Queue::default(),
            window: 60_000,
            max_payload: 0,
            peer_options: Options::default(),
            sent: vec![Sent::default(); 2000],
        }
    }

    /// ESTABLISHED by an active open, without timestamps.
    pub fn open() -> Solo {
        Solo::open_with(TcpOptions::default(), &Sysctl::default(), offers())
    }

    pub fn open_with(o: TcpOptions, s: &Sysctl, offers: Options) -> Solo {
        let mut t = Solo::connecting(o, s, path());
        assert_eq!(t.polled().len(), 1);
        let mut syn = t.peer(SYN.with(ACK), 0, 1, 0);
        syn.options = offers;
        let e = t.give(syn).events;
        assert!(e.has(Events::CONNECTED));
        assert_eq!(t.tcb.state, State::Established);
        let acks = t.polled();
        assert_eq!(acks.len(), 1);
        assert_eq!(acks[0].segment.flags, ACK);
        t
    }

    /// A segment from the peer: number and acknowledgment relative to IRS and ISS.
    pub fn peer(&self, flags: Flags, seq: u32, ack: u32, len: u32) -> Segment {
        Segment {
            flags,
            seq: SeqNum(IRS) + seq,
            ack: SeqNum(ISS) + ack,
            window: self.window,
            len,
            options: self.peer_options,
            ..Segment::default()
        }
    }

    pub fn give(&mut self, seg: Segment) -> Outcome {
        let first = u64::from((seg.seq.0).wrapping_sub(IRS + 1));
        self.rx.hand = (0..u64::from(seg.len))
            .map(|i| byte_at(first + i))
            .collect();
        let outcome = self
            .tcb
            .on_segment(self.now, &seg, &mut self.rx, &mut self.sent);
        self.check();
        outcome
    }

    /// The same in one go.
    pub fn gets(&mut self, flags: Flags, seq: u32, ack: u32, len: u32) -> Outcome {
        self.give(self.peer(flags, seq, ack, len))
    }

    pub fn polled(&mut self) -> Vec<Transmit> {
        let mut all = Vec::new();
        while let Some(t) = self
            .tcb
            .poll_transmit(self.now, self.max_payload, &mut self.sent)
        {
            self.check();
            all.push(t);
            assert!(all.len() < 1000);
        }
        all
    }

    /// What is sent now: flags, number relative to ISS, acknowledgment relative to IRS, length.
    pub fn sends(&mut self) -> Vec<(Flags, u32, u32, u32)> {
        self.polled()
            .iter()
            .map(|t| {
                let s = &t.segment;
                (
                    s.flags,
                    s.seq.0.wrapping_sub(ISS),
                    s.ack.0.wrapping_sub(IRS),
                    s.len,
                )
            })
            .collect()
    }

    /// Run the timers that are due.
    pub fn fire(&mut self) -> Outcome {
        let outcome = self.tcb.on_timer(self.now, &mut self.sent);
        self.check();
        outcome
    }

    fn check(&self) {
        let records = self.tcb.check_sent(&self.sent);
        assert_eq!(records, Ok(records_in_use(&self.sent)));
    }

    pub fn write(&mut self, n: u32) {
        self.tcb.app_wrote(self.now, n);
    }

    pub fn pass(&mut self, d: Duration) {
        self.now = self.now + d;
    }

    /// Let timers run until `until`, noting when something was sent (since `since`, in ms).
    pub fn timeline(&mut self, since: Instant, until: Instant) -> Vec<u64> {
        let mut at = Vec::new();
        loop {
            if !self.polled().is_empty() {
                at.push(self.now.since(since).as_millis() as u64);
            }
            let next = self.tcb.deadline();
            if next > until {
                return at;
            }
            self.now = self.now.max(next);
            self.fire();
        }
    }
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
