//! Arrays for the length of a call: on the stack while they are small, else mapped. The heap is
//! no choice: poll and select may be called from signal handlers.

use crate::sys::{Errno, memory};
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// Up to `N` values of `T` on the stack, more in a mapping.
pub struct Scratch<T: Copy, const N: usize> {
    few: [MaybeUninit<T>; N],
    many: Option<NonNull<T>>,
    room: usize,
    len: usize,
}

impl<T: Copy, const N: usize> Scratch<T, N> {
    /// Room for `room` values.
    pub fn new(room: usize) -> Result<Scratch<T, N>, Errno> {
        let many = if room > N {
            let bytes = room
                .checked_mul(size_of::<T>())
                .ok_or(Errno(libc::EINVAL))?;
            Some(memory::map(None, bytes)?.cast())
        } else {
            None
        };
        Ok(Scratch {
            few: [const { MaybeUninit::uninit() }; N],
            many,
            room: room.max(N),
            len: 0,
        })
    }

    /// Append a value. (More than there is room for are dropped.)
    pub fn push(&mut self, value: T) {
        if self.len < self.room {
            // SAFETY: within the mapping of `room` values, or within `few`.
            unsafe { self.start().add(self.len).write(value) };
            self.len += 1;
        }
    }

    /// Forget the values.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    fn start(&mut self) -> *mut T {
        match self.many {
            Some(at) => at.as_ptr(),
            None => self.few.as_mut_ptr().cast(),
        }
    }
}

impl<T: Copy, const N: usize> Deref for Scratch<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        let start = match self.many {
            Some(at) => at.as_ptr().cast_const(),
            None => self.few.as_ptr().cast(),
        };
        // SAFETY: the first `len` values were written.
        unsafe { core::slice::from_raw_parts(start, self.len) }
    }
}

impl<T: Copy, const N: usize> DerefMut for Scratch<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        let len = self.len;
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut(self.start(), len) }
    }
}

impl<T: Copy, const N: usize> Drop for Scratch<T, N> {
    fn drop(&mut self) {
        if let Some(at) = self.many {
            // SAFETY: mapped in `new`; T is Copy, so nothing is to be dropped.
            unsafe { memory::unmap(at.cast(), self.room * size_of::<T>()) };
        }
    }
}
