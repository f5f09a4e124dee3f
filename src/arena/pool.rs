//! A fixed number of slots of one type, allocated and freed by index.

use core::ops::{Index, IndexMut};

/// Data of which any copy of the bytes is as good as the original, and zero a valid value.
///
/// # Safety
/// All-zero bytes must be a valid value; no pointers or references.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($t:ty)*) => { $(
        // SAFETY: a number.
        unsafe impl Plain for $t {}
    )* };
}
plain!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

// SAFETY: an array is as plain as its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// In `next`: the slot is in use. (0 ends the free list.)
const USED: u32 = u32::MAX;

/// `N` slots of `T`, numbered 1 to `N`; 0 is no slot, so a zeroed index field is "none".
///
/// Zeroed memory is an empty pool. A slot that was never allocated is never touched, so a
/// large pool costs the memory that was in use at its peak: freed slots are used again, the
/// last freed first (its memory is the most likely to be in the cache), and only when there is
/// none does the high-water mark rise.
///
/// Which slots are in use is derived from what refers to them: after a death in the lock,
/// [`Pool::rebuild`] makes it anew.
///
/// It is not `Copy`: a pool is too large for any stack, and lives in an arena only.
#[repr(C)]
pub struct Pool<T, const N: usize> {
    /// Slots 1 to `high` have been allocated at some time.
    high: u32,
    /// The first free slot at or below `high`.
    free: u32,
    in_use: u32,
    reserved: u32,
    /// Of slot i at i-1: the next free slot, or [`USED`].
    next: [u32; N],
    slots: [T; N],
}

impl<T: Plain, const N: usize> Pool<T, N> {
    /// How many slots there are.
    pub const CAPACITY: u32 = {
        assert!(N < USED as usize);
        N as u32
    };

    /// Take a slot; `None` when all are in use. It holds zero or what its last user left.
    pub fn alloc(&mut self) -> Option<u32> {
        let index = match self.free {
            0 => {
                if self.high >= Self::CAPACITY {
                    return None;
                }
                self.high + 1
            }
            index => index,
        };
        let next = self.next.get_mut(index as usize - 1)?;
        if self.free != 0 {
            self.free = *next;
        }
        *next = USED;
        self.high = self.high.max(index);
        self.in_use += 1;
        Some(index)
    }

    /// Take a slot and fill it with zero.
    pub fn alloc_zeroed(&mut self) -> Option<u32> {
        let index = self.alloc()?;
        let slot = self.slots.get_mut(index as usize - 1)?;
        // SAFETY: zero is a valid T (Plain). Written in place: T may be large.
        unsafe { core::ptr::write_bytes(slot, 0, 1) };
        Some(index)
    }

    /// Give slot `index` back. One that isn't in use is left alone.
    pub fn free(&mut self, index: u32) {
        debug_assert!(self.is_in_use(index), "slot {index} freed but not in use");
        if !self.is_in_use(index) {
            return;
        }
        self.next[index as usize - 1] = self.free;
        self.free = index;
        self.in_use -= 1;
    }

    /// Whether slot `index` is in use.
    pub fn is_in_use(&self, index: u32) -> bool {
        // The mark first: what lies above it shall stay untouched, even by reading.
        index <= self.high && self.next.get((index as usize).wrapping_sub(1)) == Some(&USED)
    }

    /// The content of slot `index`, if it is in use.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        if self.is_in_use(index) {
            self.slots.get(index as usize - 1)
        } else {
            None
        }
    }

    /// The content of slot `index`, if it is in use.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        if self.is_in_use(index) {
            self.slots.get_mut(index as usize - 1)
        } else {
            None
        }
    }

    /// The contents of two different slots in use, the second to be written.
    pub fn pair_mut(&mut self, from: u32, to: u32) -> Option<(&T, &mut T)> {
        if !self.is_in_use(from) || !self.is_in_use(to) {
            return None;
        }
        let places = [from as usize - 1, to as usize - 1];
        let [from, to] = self.slots.get_disjoint_mut(places).ok()?;
        Some((&*from, to))
    }

    /// How many slots are in use.
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    /// How many slots were ever in use: no slot above this number was.
    pub fn high_water(&self) -> u32 {
        self.high.min(Self::CAPACITY)
    }

    /// The slots in use, in the order of their numbers.
    pub fn iter_in_use(&self) -> impl Iterator<Item = (u32, &T)> {
        (1..=self.high_water()).filter_map(|index| Some((index, self.get(index)?)))
    }

    /// The content of slot `index`, in use or not, if it was ever allocated. For recovery, which
    /// can't trust the marks.
    pub fn slot(&self, index: u32) -> Option<&T> {
        let i = (index as usize).checked_sub(1)?;
        if index <= self.high {
            self.slots.get(i)
        } else {
            None
        }
    }

    /// See [`Pool::slot`].
    pub fn slot_mut(&mut self, index: u32) -> Option<&mut T> {
        let i = (index as usize).checked_sub(1)?;
        if index <= self.high {
            self.slots.get_mut(i)
        } else {
            None
        }
    }

    /// Whether every slot that was ever allocated is either in use or in the free list, once,
    /// and both are as many as counted.
    pub fn free_list_is_sound(&self) -> bool {
        let high = self.high_water();
        let used = (1..=high).filter(|i| self.is_in_use(*i)).count() as u32;
        let (mut free, mut i) = (0, self.free);
        while i != 0 {
            if i > high || self.is_in_use(i) || free > high {
                return false;
            }
            free += 1;
            i = self.next[i as usize - 1];
        }
        used == self.in_use && used + free == high
    }

    /// [`Pool::rebuild`] by what the slots themselves say.
    pub fn rebuild_slots(&mut self, live: impl Fn(&T) -> bool) {
        self.forget_use();
        for index in 1..=self.high {
            if self.slot(index).is_some_and(&live) {
                self.claim(index);
            }
        }
        self.rebuild_claimed();
    }

    /// Make the free list anew: the slots for which `live` says so are in use, no other is.
    pub fn rebuild(&mut self, live: impl Fn(u32) -> bool) {
        self.forget_use();
        for index in 1..=self.high {
            if live(index) {
                self.claim(index);
            }
        }
        self.rebuild_claimed();
    }

    /// The same in steps, without memory besides: no slot counts as in use, until
    /// [`Pool::claim`] says so of each; then comes [`Pool::rebuild_claimed`].
    pub fn forget_use(&mut self) {
        self.high = self.high_water();
        self.free = 0;
        self.in_use = 0;
        self.next[..self.high as usize].fill(0);
    }

    /// Slot `index` is in use; false if that was said already, or there is no such slot.
    pub fn claim(&mut self, index: u32) -> bool {
        let there = (1..=self.high).contains(&index) && !self.is_in_use(index);
        if there {
            self.next[index as usize - 1] = USED;
        }
        there
    }

    /// Take [`Pool::claim`] back.
    pub fn disclaim(&mut self, index: u32) {
        if self.is_in_use(index) {
            self.next[index as usize - 1] = 0;
        }
    }

    /// The free list of all slots that were not claimed.
    pub fn rebuild_claimed(&mut self) {
        self.free = 0;
        self.in_use = 0;
        // Downwards, so that low numbers are handed out first.
        for index in (1..=self.high).rev() {
            let next = &mut self.next[index as usize - 1];
            if *next == USED {
                self.in_use += 1;
            } else {
                *next = self.free;
                self.free = index;
            }
        }
    }
}

impl<T: Plain, const N: usize> Index<u32> for Pool<T, N> {
    type Output = T;
    /// # Panics
    /// When the slot isn't in use. Only for indices that the stack made itself.
    fn index(&self, index: u32) -> &T {
        match self.get(index) {
            Some(slot) => slot,
            None => panic!("slot {index} is not in use"),
        }
    }
}

impl<T: Plain, const N: usize> IndexMut<u32> for Pool<T, N> {
    /// # Panics
    /// When the slot isn't in use. Only for indices that the stack made itself.
    fn index_mut(&mut self, index: u32) -> &mut T {
        match self.get_mut(index) {
            Some(slot) => slot,
            None => panic!("slot {index} is not in use"),
        }
    }
}
