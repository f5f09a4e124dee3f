//! Impairment: a model of a bad link, as a pure function of a seed.
//!
//! A [`Channel`] is one direction of a link. It is asked about each packet on the wire
//! ([`Channel::judge`]) and answers with its [`Fate`]; it never holds or changes a packet
//! itself, and has no clock. So the live stack (`src/stack/impair.rs`), the simulated network of
//! the tests and a forwarder between two kernels are impaired by the same code.
//!
//! # The same seed, the same fate
//!
//! What happens to a packet depends on the seed, the direction, and the packet's number in that
//! direction: the 17th packet is lost in every run. Nothing else is drawn from: not the time,
//! which differs from run to run, and not the content, in which initial sequence numbers, ports
//! and timestamps differ (and by which a retransmission would share the fate of its original,
//! for ever). Three things make the promise hold further than it would otherwise:
//!
//! - Packets that carry something (data, SYN, FIN) and bare acknowledgments are numbered apart.
//!   How many acknowledgments there are is a matter of timing; they don't shift the fates of the
//!   data.
//! - Each question (is it lost? corrupted? late?) is drawn by itself from seed and number, not
//!   from a common stream. Adding `duplicate=1%` changes nothing about which packets are lost.
//! - Large segments are cut before they are judged, as the wire would see them.
//!
//! What depends on time by its nature (a queue's overflow, an outage) is not bound to numbers.
//!
//! # Order of events
//!
//! outage, MTU, bottleneck (queue, then rate), loss on the wire, delay with jitter, reordering;
//! a packet that arrives may be corrupted and may arrive twice. Jitter alone keeps the order, as
//! a queue would; `reorder` holds single packets back so that those behind overtake them.
#![forbid(unsafe_code)]

mod settings;
mod text;

#[cfg(test)]
mod tests;

pub use settings::{Chance, Outage, Profile, Settings, Where};
pub use text::{KEYS, Key};

use crate::time::{Duration, Instant};
use core::ops::Range;

/// The most packets that a bottleneck's queue can be told to hold.
pub const MAX_QUEUE: usize = 8192;
/// The queue of a bottleneck whose length isn't said.
pub const DEFAULT_QUEUE: u32 = 100;

/// What a packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Anything that takes sequence space, and everything that isn't TCP.
    Carrying = 0,
    /// An acknowledgment without data.
    Bare = 1,
}

/// Why a packet does not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Drop {
    /// It was lost on the wire.
    #[default]
    Loss = 0,
    /// The bottleneck's queue was full.
    Queue = 1,
    /// The link was out.
    Outage = 2,
    /// It is larger than the path's MTU.
    TooBig = 3,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It does not arrive.
    Dropped(Drop),
    /// It arrives.
    Arrives(Arrival),
}

impl Fate {
    /// Nothing is done to the packet but that it comes later: others may share that.
    fn is_unharmed(&self) -> bool {
        matches!(self, Fate::Arrives(a) if !a.twice && a.flip.is_none())
    }
}

/// The packets of one large segment: each is judged, and those that arrive unharmed at the same
/// time, one behind the other, go on together.
#[derive(Debug)]
pub struct Runs {
    pieces: usize,
    at: usize,
    /// What was judged of the next already.
    next: Option<Fate>,
}

impl Runs {
    /// For a segment of so many packets.
    pub fn of(pieces: usize) -> Runs {
        Runs {
            pieces,
            at: 0,
            next: None,
        }
    }

    /// The next packets that share a fate, which `judge` tells of each in turn.
    pub fn next(&mut self, mut judge: impl FnMut(usize) -> Fate) -> Option<(Range<usize>, Fate)> {
        if self.at >= self.pieces {
            return None;
        }
        let fate = self.next.take().unwrap_or_else(|| judge(self.at));
        let mut run = self.at..self.at + 1;
        while fate.is_unharmed() && run.end < self.pieces {
            let other = judge(run.end);
            if other != fate {
                self.next = Some(other);
                break;
            }
            run.end += 1;
        }
        self.at = run.end;
        Some((run, fate))
    }
}

/// How a packet arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When; not before the time at which it was judged.
    pub due: Instant,
    /// Another copy arrives right behind it.
    pub twice: bool,
    /// It was held back for others to overtake it.
    pub late: bool,
    /// One bit is wrong on arrival: this number, modulo the packet's length in bits.
    pub flip: Option<u64>,
}

impl Arrival {
    /// Damage `packet`, if it is to be.
    pub fn corrupt(&self, packet: &mut [u8]) {
        let bits = packet.len() as u64 * 8;
        if let Some(bit) = self.flip.and_then(|n| n.checked_rem(bits))
            && let Some(byte) = packet.get_mut((bit / 8) as usize)
        {
            *byte ^= 1 << (bit % 8);
        }
    }
}

/// What a channel has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Stats {
    /// Packets judged.
    pub packets: u64,
    /// Lost on the wire.
    pub lost: u64,
    /// That found the queue full.
    pub queue_drops: u64,
    /// Lost in outages.
    pub outage_drops: u64,
    /// Larger than the MTU.
    pub too_big: u64,
    /// That arrived damaged.
    pub corrupted: u64,
    /// That arrived twice.
    pub duplicated: u64,
    /// That were held back for others.
    pub reordered: u64,
}

/// The link's direction; each draws numbers of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Out of the stack.
    Out = 0,
    /// Into the stack.
    In = 1,
    /// On the loopback.
    Loop = 2,
}

/// What each draw is for. The numbers are part of what a seed means: don't renumber.
#[derive(Clone, Copy)]
enum Draw {
    Loss = 1,
    Turn = 2,
    Jitter = 3,
    Late = 4,
    Lateness = 5,
    Twice = 6,
    Corrupt = 7,
    Bit = 8,
}

/// One direction of a link. Plain data; zero is a channel that impairs nothing. Not `Copy`: it
/// is large.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Channel {
    on: bool,
    profile: Profile,
    seed: u64,
    since: Instant,
    /// How many packets of each [`Kind`] were judged.
    count: [u64; 2],
    /// The Gilbert-Elliott model's state, for each kind.
    bad: [bool; 2],
    /// When the packet before arrives, for keeping the order.
    last_due: Instant,
    /// When the bottleneck will have sent all that it has.
    idle_at: Instant,
    /// The queue: when each of its packets has been sent; from `first` on, `queued` of them.
    first: u32,
    queued: u32,
    sent_at: [Instant; MAX_QUEUE],
    stats: Stats,
}

impl Default for Channel {
    fn default() -> Channel {
        Channel {
            on: false,
            profile: Profile::default(),
            seed: 0,
            since: Instant(0),
            count: [0; 2],
            bad: [false; 2],
            last_due: Instant(0),
            idle_at: Instant(0),
            first: 0,
            queued: 0,
            sent_at: [Instant(0); MAX_QUEUE],
            stats: Stats::default(),
        }
    }
}

impl Channel {
    /// A channel with these properties.
    pub fn new(profile: Profile, seed: u64, way: Way, now: Instant) -> Channel {
        let mut channel = Channel::default();
        channel.set(profile, seed, way, now);
        channel
    }

    /// Change its properties. Packets are counted from the first again, outages from `now` on.
    pub fn set(&mut self, profile: Profile, seed: u64, way: Way, now: Instant) {
        self.on = !profile.is_clear();
        self.profile = profile;
        self.seed = mix(seed ^ (way as u64 + 1) << 32);
        self.since = now;
        self.count = [0; 2];
        self.bad = [false; 2];
        self.last_due = now;
        self.idle_at = now;
        (self.first, self.queued) = (0, 0);
        self.stats = Stats::default();
    }

    /// It does anything at all.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Its properties.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What it has done since it was set.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The fate of a packet of `len` bytes (the IP packet, as on the wire) that enters the link
    /// at `now`.
    pub fn judge(&mut self, now: Instant, len: usize, kind: Kind) -> Fate {
        if !self.on {
            return Fate::Arrives(Arrival {
                due: now,
                twice: false,
                late: false,
                flip: None,
            });
        }
        let kind = kind as usize;
        let number = self.count[kind];
        self.count[kind] += 1;
        self.stats.packets += 1;
        let id = Packet {
            seed: mix(self.seed ^ kind as u64),
            number,
        };
        // First, so that the chain goes on whatever else happens to the packet.
        let lost = self.wire_loses(&id, kind);
        if self.profile.outage.covers(self.since, now) {
            self.stats.outage_drops += 1;
            return Fate::Dropped(Drop::Outage);
        }
        if self.profile.mtu != 0 && len > self.profile.mtu as usize {
            self.stats.too_big += 1;
            return Fate::Dropped(Drop::TooBig);
        }
        let Some(sent) = self.bottleneck(now, len) else {
            self.stats.queue_drops += 1;
            return Fate::Dropped(Drop::Queue);
        };
        if lost {
            self.stats.lost += 1;
            return Fate::Dropped(Drop::Loss);
        }
        Fate::Arrives(self.arrival(&id, sent))
    }

    fn wire_loses(&mut self, id: &Packet, kind: usize) -> bool {
        let chain = self.profile.chain();
        let bad = &mut self.bad[kind];
        let turn = if *bad { chain.to_good } else { chain.to_bad };
        *bad ^= id.happens(Draw::Turn, turn);
        let loss = if *bad { chain.bad } else { chain.good };
        id.happens(Draw::Loss, loss)
    }

    /// When the bottleneck has sent the packet; `None` when its queue is full.
    fn bottleneck(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Profile { rate, queue, .. } = self.profile;
        if rate == 0 {
            return Some(now);
        }
        while self.queued > 0 && self.sent_at[self.first as usize % MAX_QUEUE] <= now {
            self.first = (self.first + 1) % MAX_QUEUE as u32;
            self.queued -= 1;
        }
        let queue = if queue == 0 { DEFAULT_QUEUE } else { queue };
        // The one that is being sent is in the queue no more.
        if self.queued as usize > (queue as usize).min(MAX_QUEUE - 1) {
            return None;
        }
        let nanos = (len as u128 * 8 * 1_000_000_000).div_ceil(u128::from(rate));
        let took = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let sent = self.idle_at.max(now) + took;
        self.idle_at = sent;
        self.sent_at[(self.first + self.queued) as usize % MAX_QUEUE] = sent;
        self.queued += 1;
        Some(sent)
    }

    fn arrival(&mut self, id: &Packet, sent: Instant) -> Arrival {
        let p = self.profile;
        let spread = 2 * p.jitter;
        let delay = match spread {
            0 => p.delay,
            _ => (p.delay + id.below(Draw::Jitter, spread + 1)).saturating_sub(p.jitter),
        };
        let mut due = sent + Duration::from_nanos(delay);
        let late = id.happens(Draw::Late, p.reorder);
        if late {
            due = due.max(self.last_due);
            // At least half of the longest, or nothing would overtake it.
            let least = p.reorder_by.div_ceil(2);
            let extra = least + id.below(Draw::Lateness, p.reorder_by - least + 1);
            due = due + Duration::from_nanos(extra);
            self.stats.reordered += 1;
        } else {
            due = due.max(self.last_due);
            self.last_due = due;
        }
        let twice = id.happens(Draw::Twice, p.duplicate);
        let damaged = id.happens(Draw::Corrupt, p.corrupt);
        self.stats.duplicated += u64::from(twice);
        self.stats.corrupted += u64::from(damaged);
        Arrival {
            due,
            twice,
            late,
            flip: damaged.then(|| id.draw(Draw::Bit)),
        }
    }
}

/// A packet as far as chance knows it.
struct Packet {
    seed: u64,
    number: u64,
}

impl Packet {
    fn draw(&self, what: Draw) -> u64 {
        mix(mix(self.seed ^ (what as u64) << 48) ^ self.number)
    }

    fn happens(&self, what: Draw, chance: Chance) -> bool {
        chance.of(self.draw(what))
    }

    /// A number below `end`.
    fn below(&self, what: Draw, end: u64) -> u64 {
        ((u128::from(self.draw(what)) * u128::from(end)) >> 64) as u64
    }
}

/// Any two inputs, however alike, give outputs that have nothing in common (the finalizer of
/// SplitMix64, a bijection).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
