//! Packets that a modelled link holds until they are due.
//!
//! Truth is in the entries: one is there if it says so itself ([`Held::live`], written last and
//! taken back first). The heap that orders them is derived.

use super::buffers::{BufId, Buffers, LARGE};
use super::output::Looped;
use super::queue::Queue;
use super::recover::in_this_order;
use crate::arena::pool::{Plain, Pool};
use crate::impair::Way;
use crate::tcp::Flags;
use crate::time::Instant;

/// How many packets all links together hold; several in one buffer are one.
pub const MAX_HELD: usize = 1 << 14;
/// How many of them may be in large buffers, so that receiving never lacks one.
pub(super) const MAX_LARGE: u32 = 1 << 11;

/// A packet under way.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Held {
    /// This is a packet, and not the rest of one.
    live: bool,
    /// [`Way`] as a number.
    way: u8,
    /// Order of those that are due at the same time.
    order: u64,
    /// When it arrives.
    due: Instant,
    /// On the device: the packet, as on the wire.
    buf: BufId,
    /// Its length.
    len: u32,
    /// How it is to be cut.
    pieces: Pieces,
    /// On the loopback: the segment.
    looped: Looped,
}

// SAFETY: plain numbers, and enums that have a variant 0.
#[allow(unsafe_code)]
unsafe impl Plain for Held {}

/// Packets of the wire in one buffer, not cut yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Pieces {
    /// How many there are.
    pub count: u16,
    /// Payload of each but the last, in bytes; 0 if there is one.
    pub size: u16,
}

impl Pieces {
    /// A packet by itself.
    pub const ONE: Pieces = Pieces { count: 1, size: 0 };
}

/// What is held.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// A packet on the device.
    Packet {
        /// Out of the stack, or in.
        way: Way,
        /// Its bytes.
        buf: BufId,
        /// How many they are.
        len: usize,
        /// How they are to be cut.
        pieces: Pieces,
    },
    /// A segment on the loopback.
    Looped(Looped),
}

impl Load {
    fn way(&self) -> Way {
        match self {
            Load::Packet { way, .. } => *way,
            Load::Looped(_) => Way::Loop,
        }
    }

    /// How many packets of the wire it is.
    pub fn packets(&self) -> u32 {
        match self {
            Load::Packet { pieces, .. } => pieces.count.into(),
            Load::Looped(_) => 1,
        }
    }
}

impl Held {
    fn load(&self) -> Load {
        let (buf, len, pieces) = (self.buf, self.len as usize, self.pieces);
        match self.way {
            0 => Load::Packet {
                way: Way::Out,
                buf,
                len,
                pieces,
            },
            1 => Load::Packet {
                way: Way::In,
                buf,
                len,
                pieces,
            },
            _ => Load::Looped(self.looped),
        }
    }
}

/// All packets under way, the next to arrive first.
#[repr(C)]
pub struct Holding {
    order: u64,
    /// How many packets on each [`Way`].
    count: [u32; 3],
    large: u32,
    /// Entries in the heap, which begins at 1.
    len: u32,
    heap: [u32; MAX_HELD + 1],
    pool: Pool<Held, MAX_HELD>,
}

impl Holding {
    /// How many packets of the wire are under way there.
    pub fn count(&self, way: Way) -> u32 {
        self.count[way as usize]
    }

    /// There is room for one more in a large buffer.
    pub fn takes_large(&self) -> bool {
        self.large < MAX_LARGE
    }

    /// When the next arrives.
    #[inline]
    pub fn next_due(&self) -> Instant {
        if self.len == 0 {
            return Instant::NEVER;
        }
        self.key(1).0
    }

    /// Take charge of `load` until `due`. False when there is no room for it; then it stays
    /// the caller's.
    #[must_use]
    pub fn hold(&mut self, load: Load, due: Instant) -> bool {
        let large = is_large(&load);
        if large && !self.takes_large() {
            return false;
        }
        let Some(index) = self.pool.alloc() else {
            return false;
        };
        let mut entry = Held {
            way: load.way() as u8,
            order: self.order,
            due,
            ..Held::default()
        };
        match load {
            Load::Packet {
                buf, len, pieces, ..
            } => (entry.buf, entry.len, entry.pieces) = (buf, len as u32, pieces),
            Load::Looped(looped) => entry.looped = looped,
        }
        self.order += 1;
        self.pool[index] = entry;
        in_this_order();
        self.pool[index].live = true;
        in_this_order();
        self.count[entry.way as usize % 3] += load.packets();
        self.large += u32::from(large);
        self.push(index);
        true
    }

    /// The first one, if it is due.
    pub fn first(&self, now: Instant) -> Option<Load> {
        if self.next_due() > now {
            return None;
        }
        Some(self.pool.get(self.heap[1])?.load())
    }

    /// The first one, which there is, is the caller's.
    pub fn drop_first(&mut self) {
        let index = self.heap[1];
        let Some(load) = self.pool.get(index).map(Held::load) else {
            return;
        };
        in_this_order();
        self.pool[index].live = false;
        in_this_order();
        self.pop_first();
        self.pool.free(index);
        let count = &mut self.count[load.way() as usize];
        *count = count.saturating_sub(load.packets());
        self.large = self.large.saturating_sub(u32::from(is_large(&load)));
    }

    /// After a death: what is on the loopback is lost, but for RSTs, as
    /// [`super::output::LoopQueue`] has it. Payloads are forgotten.
    pub(super) fn lose_looped(&mut self) {
        for i in 1..=self.pool.high_water() {
            if let Some(h) = self.pool.slot_mut(i)
                && h.live
                && h.way == Way::Loop as u8
            {
                h.looped.payload = Queue::default();
                h.live = h.looped.segment.flags.has(Flags::RST);
            }
        }
    }

    /// After a death: count the references to buffers. An entry whose buffer is none goes.
    pub(super) fn recount(&mut self, buffers: &mut Buffers) {
        for i in 1..=self.pool.high_water() {
            if let Some(h) = self.pool.slot_mut(i)
                && h.live
                && h.way != Way::Loop as u8
            {
                h.live = buffers.recount(h.buf);
            }
        }
    }

    /// After a death: everything that is derived.
    pub(super) fn rebuild(&mut self) {
        self.pool.rebuild_slots(|h| h.live);
        self.len = 0;
        self.count = [0; 3];
        self.large = 0;
        for i in 1..=self.pool.high_water() {
            if let Some(load) = self.pool.get(i).map(Held::load) {
                self.count[load.way() as usize] += load.packets();
                self.large += u32::from(is_large(&load));
                self.push(i);
            }
        }
    }

    /// For `check.rs`: pool and heap agree, and the heap is one.
    pub(super) fn is_sound(&self) -> bool {
        let live = self.pool.iter_in_use().filter(|(_, h)| h.live).count();
        let ordered = (2..=self.len as usize).all(|i| self.key(i / 2) <= self.key(i));
        self.pool.free_list_is_sound()
            && live == self.pool.in_use() as usize
            && live == self.len as usize
            && self.count.iter().sum::<u32>() == self.loads().map(|l| l.packets()).sum::<u32>()
            && ordered
    }

    /// For `check.rs`: the buffers of packets, and the payloads of segments.
    pub(super) fn loads(&self) -> impl Iterator<Item = Load> {
        self.pool.iter_in_use().map(|(_, h)| h.load())
    }

    fn key(&self, at: usize) -> (Instant, u64) {
        let entry = self.pool.get(self.heap[at]);
        entry.map_or((Instant(0), 0), |h| (h.due, h.order))
    }

    fn push(&mut self, index: u32) {
        if self.len as usize >= MAX_HELD {
            return;
        }
        self.len += 1;
        let mut i = self.len as usize;
        self.heap[i] = index;
        while i > 1 && self.key(i) < self.key(i / 2) {
            self.heap.swap(i, i / 2);
            i /= 2;
        }
    }

    fn pop_first(&mut self) {
        let len = self.len as usize;
        self.heap[1] = self.heap[len];
        self.len -= 1;
        let (len, mut i) = (len - 1, 1);
        loop {
            let mut child = 2 * i;
            if child > len {
                break;
            }
            if child < len && self.key(child + 1) < self.key(child) {
                child += 1;
            }
            if self.key(i) <= self.key(child) {
                break;
            }
            self.heap.swap(i, child);
            i = child;
        }
    }
}

fn is_large(load: &Load) -> bool {
    matches!(load, Load::Packet { buf, .. } if Buffers::capacity(*buf) == LARGE)
}

/// The payload of a load, if it is a segment's.
pub(super) fn payload(load: &Load) -> Option<Queue> {
    match load {
        Load::Looped(l) => Some(l.payload),
        Load::Packet { .. } => None,
    }
}
