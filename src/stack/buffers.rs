//! Where payload lives: reference-counted buffers of two sizes.

use crate::arena::pool::{Plain, Pool};

/// Bytes in a small buffer: one segment of an Ethernet-sized MTU fits.
pub const SMALL: usize = 2048;
/// Bytes in a large buffer: 64 KiB of payload, and room for the headers of a packet that the
/// device wrote into it.
pub const LARGE: usize = 65536 + 512;
/// How many small buffers.
pub const SMALL_BUFFERS: usize = 1 << 17;
/// How many large buffers.
pub const LARGE_BUFFERS: usize = 1 << 14;

/// Large buffers that no queue may take: what the device has sent must be read whatever programs
/// and peers have piled up, or the ACKs that would free it are never seen. Twice as many as
/// modelled links hold, and packets in pieces.
pub const LARGE_RESERVED: u32 = 1 << 12;
/// Small buffers that only queues with nothing in them may take, so that who piles up much does
/// not keep the others from going on (Linux: the least of `tcp_rmem` and `tcp_wmem`).
pub const SMALL_RESERVED: u32 = 1 << 14;

/// A small buffer.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct SmallBuffer([u8; SMALL]);

/// A large buffer.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct LargeBuffer([u8; LARGE]);

// SAFETY: bytes.
#[allow(unsafe_code)]
unsafe impl Plain for SmallBuffer {}
// SAFETY: bytes.
#[allow(unsafe_code)]
unsafe impl Plain for LargeBuffer {}

/// Names a buffer; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct BufId(u32);

const LARGE_BIT: u32 = 1 << 31;

impl BufId {
    /// Not a buffer.
    pub const NONE: BufId = BufId(0);

    /// As a number.
    pub(super) fn number(self) -> u32 {
        self.0
    }

    fn large(self) -> Option<u32> {
        (self.0 & LARGE_BIT != 0).then_some(self.0 & !LARGE_BIT)
    }
}

/// All buffers.
#[repr(C)]
pub struct Buffers {
    small: Pool<SmallBuffer, SMALL_BUFFERS>,
    large: Pool<LargeBuffer, LARGE_BUFFERS>,
    small_refs: [u32; SMALL_BUFFERS + 1],
    large_refs: [u32; LARGE_BUFFERS + 1],
}

impl Buffers {
    /// A buffer for `len` bytes if there is one, with one reference: a small one if they fit.
    pub fn alloc(&mut self, len: usize) -> Option<BufId> {
        if len <= SMALL {
            let i = self.small.alloc()?;
            self.small_refs[i as usize] = 1;
            return Some(BufId(i));
        }
        let i = self.large.alloc()?;
        self.large_refs[i as usize] = 1;
        Some(BufId(i | LARGE_BIT))
    }

    /// A buffer for a part of a queue, for up to `len` bytes. `needy`: the queue holds nothing.
    /// When large ones are short it may be a small one.
    pub fn alloc_to_queue(&mut self, len: usize, needy: bool) -> Option<BufId> {
        if len > SMALL && self.may_queue_large() {
            return self.alloc(len);
        }
        if self.is_short() && !needy {
            return None;
        }
        self.alloc(len.min(SMALL))
    }

    /// Only queues with nothing in them get small buffers now.
    pub fn is_short(&self) -> bool {
        self.small.in_use() >= SMALL_BUFFERS as u32 - SMALL_RESERVED
    }

    /// A large buffer more may be part of a queue.
    pub fn may_queue_large(&self) -> bool {
        self.large.in_use() < LARGE_BUFFERS as u32 - LARGE_RESERVED
    }

    /// One more reference.
    pub fn retain(&mut self, id: BufId) {
        match id.large() {
            Some(i) => self.large_refs[i as usize] += 1,
            None => self.small_refs[id.0 as usize] += 1,
        }
    }

    /// One reference less; the last frees the buffer.
    pub fn release(&mut self, id: BufId) {
        if id == BufId::NONE {
            return;
        }
        match id.large() {
            Some(i) => {
                let refs = &mut self.large_refs[i as usize];
                *refs = refs.saturating_sub(1);
                if *refs == 0 {
                    self.large.free(i);
                }
            }
            None => {
                let refs = &mut self.small_refs[id.0 as usize];
                *refs = refs.saturating_sub(1);
                if *refs == 0 {
                    self.small.free(id.0);
                }
            }
        }
    }

    /// How many references.
    pub fn refs(&self, id: BufId) -> u32 {
        match id.large() {
            Some(i) => self.large_refs[i as usize],
            None => self.small_refs[id.0 as usize],
        }
    }

    /// The bytes.
    pub fn bytes(&self, id: BufId) -> &[u8] {
        match id.large() {
            Some(i) => self.large.get(i).map_or(&[], |b| &b.0[..]),
            None => self.small.get(id.0).map_or(&[], |b| &b.0[..]),
        }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self, id: BufId) -> &mut [u8] {
        match id.large() {
            Some(i) => self.large.get_mut(i).map_or(&mut [], |b| &mut b.0[..]),
            None => self.small.get_mut(id.0).map_or(&mut [], |b| &mut b.0[..]),
        }
    }

    /// The bytes of two different buffers, the second to be written.
    pub fn pair(&mut self, from: BufId, to: BufId) -> Option<(&[u8], &mut [u8])> {
        let Buffers { small, large, .. } = self;
        Some(match (from.large(), to.large()) {
            (Some(from), Some(to)) => {
                let (from, to) = large.pair_mut(from, to)?;
                (&from.0, &mut to.0)
            }
            (None, None) => {
                let (from, to) = small.pair_mut(from.0, to.0)?;
                (&from.0, &mut to.0)
            }
            (Some(from), None) => (&large.get(from)?.0, &mut small.get_mut(to.0)?.0),
            (None, Some(to)) => (&small.get(from.0)?.0, &mut large.get_mut(to)?.0),
        })
    }

    /// Capacity of the buffer.
    pub fn capacity(id: BufId) -> usize {
        if id.large().is_some() { LARGE } else { SMALL }
    }

    /// Small and large buffers in use.
    pub fn in_use(&self) -> (u32, u32) {
        (self.small.in_use(), self.large.in_use())
    }

    /// Whether the pools of small and large buffers are sound.
    pub(super) fn free_lists(&self) -> (bool, bool) {
        (
            self.small.free_list_is_sound(),
            self.large.free_list_is_sound(),
        )
    }

    /// Recount every reference: forget all, then [`Buffers::recount`] each one that is held,
    /// then [`Buffers::rebuild`].
    pub fn forget_references(&mut self) {
        for i in 0..=self.small.high_water() {
            self.small_refs[i as usize] = 0;
        }
        for i in 0..=self.large.high_water() {
            self.large_refs[i as usize] = 0;
        }
    }

    /// See [`Buffers::forget_references`]. False if `id` names no buffer.
    pub fn recount(&mut self, id: BufId) -> bool {
        let (i, high) = match id.large() {
            Some(i) => (i, self.large.high_water()),
            None => (id.0, self.small.high_water()),
        };
        if i == 0 || i > high {
            return false;
        }
        self.retain(id);
        true
    }

    /// Undo [`Buffers::recount`].
    pub fn uncount(&mut self, id: BufId) {
        let refs = match id.large() {
            Some(i) => self.large_refs.get_mut(i as usize),
            None => self.small_refs.get_mut(id.0 as usize),
        };
        if let Some(refs) = refs {
            *refs = refs.saturating_sub(1);
        }
    }

    /// See [`Buffers::forget_references`].
    pub fn rebuild(&mut self) {
        let Buffers {
            small,
            large,
            small_refs,
            large_refs,
        } = self;
        small.rebuild(|i| small_refs[i as usize] != 0);
        large.rebuild(|i| large_refs[i as usize] != 0);
    }
}
