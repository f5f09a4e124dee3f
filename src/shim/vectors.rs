//! The program's buffers: one, or a `struct iovec` array.

use crate::errno::Result;
use crate::memory::{self, Access};
use core::ffi::{c_int, c_void};
use libc::iovec;
use std::io::{IoSlice, IoSliceMut};
use utcp_stack::sys::Errno;

/// Linux's UIO_MAXIOV.
pub const MAX: usize = 1024;
/// Linux's MAX_RW_COUNT: no call moves more.
const MAX_BYTES: usize = 0x7fff_f000;
/// How many buffers are handed to the stack at a time.
pub const WINDOW: usize = 64;

/// Buffers to be filled or emptied in order, and how far that is.
pub struct Buffers {
    at: *const iovec,
    count: usize,
    /// A single buffer has its vector here.
    single: iovec,
    /// Bytes in all, bounded by [`MAX_BYTES`].
    total: usize,
    /// The program's pointers can't be right: EFAULT, once bytes would be copied.
    bad: bool,
    /// Bytes done.
    done: usize,
    /// Whole vectors before the position, and bytes past them.
    passed: usize,
    offset: usize,
}

const NOWHERE: iovec = iovec {
    iov_base: core::ptr::null_mut(),
    iov_len: 0,
};

impl Buffers {
    /// One buffer.
    pub fn one(at: *const c_void, len: usize) -> Buffers {
        let total = len.min(MAX_BYTES);
        Buffers {
            at: core::ptr::null(),
            count: 1,
            single: iovec {
                iov_base: at.cast_mut(),
                iov_len: total,
            },
            total,
            bad: !memory::plausible(at as usize, total),
            done: 0,
            passed: 0,
            offset: 0,
        }
    }

    /// `count` vectors at `at`; `too_many` is what the call gives for more than [`MAX`].
    ///
    /// # Safety
    /// `at` must point to `count` vectors, or be wrong in a way that can be told (null).
    pub unsafe fn many(at: *const iovec, count: usize, too_many: c_int) -> Result<Buffers> {
        if count > MAX {
            return Err(Errno(too_many));
        }
        if !memory::is_there(at as usize, count * size_of::<iovec>(), Access::Read) {
            return Err(Errno(libc::EFAULT));
        }
        let mut total: usize = 0;
        let mut bad = false;
        for i in 0..count {
            // SAFETY: the caller vouches for `count` vectors.
            let v = unsafe { at.add(i).read() };
            if isize::try_from(v.iov_len).is_err() {
                return Err(Errno(libc::EINVAL));
            }
            // Of vectors the kernel looks at the addresses at once.
            if memory::is_outside(v.iov_base as usize, v.iov_len) {
                return Err(Errno(libc::EFAULT));
            }
            bad |= !memory::plausible(v.iov_base as usize, v.iov_len);
            total = total.saturating_add(v.iov_len);
        }
        Ok(Buffers {
            at,
            count,
            single: NOWHERE,
            total: total.min(MAX_BYTES),
            bad,
            done: 0,
            passed: 0,
            offset: 0,
        })
    }

    /// Look whether the memory is there, before it is read or written. What no program can have
    /// is an error at once, as in the kernel (access_ok); what it hasn't, once bytes would be copied.
    pub fn look(&mut self, access: Access) -> Result<()> {
        if memory::is_outside(self.single.iov_base as usize, self.single.iov_len) {
            return Err(Errno(libc::EFAULT));
        }
        self.bad = self.bad
            || (0..self.count).any(|i| {
                let v = self.vector(i);
                !memory::is_there(v.iov_base as usize, v.iov_len, access)
            });
        Ok(())
    }

    /// Bytes in all.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Bytes would be copied from or to where no memory can be: EFAULT. Nothing is offered to
    /// the stack then.
    pub fn is_bad(&self) -> bool {
        self.bad
    }

    /// Bytes done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Bytes left.
    pub fn left(&self) -> usize {
        self.total - self.done
    }

    fn vector(&self, i: usize) -> iovec {
        if self.at.is_null() {
            if i == 0 { self.single } else { NOWHERE }
        } else if i < self.count {
            // SAFETY: one of `count` vectors, by `many`'s contract.
            unsafe { self.at.add(i).read() }
        } else {
            NOWHERE
        }
    }

    /// The buffers from the position on, at most [`WINDOW`] of them; how many.
    fn window(&self, mut put: impl FnMut(usize, *mut u8, usize)) -> usize {
        let mut left = if self.bad { 0 } else { self.left() };
        let mut n = 0;
        let mut skip = self.offset;
        for i in self.passed..self.count {
            if n == WINDOW || left == 0 {
                break;
            }
            let v = self.vector(i);
            let len = (v.iov_len - skip.min(v.iov_len)).min(left);
            if len > 0 {
                // Within the buffer, as `skip` is.
                put(n, v.iov_base.cast::<u8>().wrapping_add(skip), len);
                n += 1;
                left -= len;
            }
            skip = 0;
        }
        n
    }

    /// `n` bytes more are done.
    pub fn advance(&mut self, n: usize) {
        self.done += n;
        let mut n = n;
        while n > 0 && self.passed < self.count {
            let rest = self.vector(self.passed).iov_len - self.offset;
            if n < rest {
                self.offset += n;
                return;
            }
            n -= rest;
            self.passed += 1;
            self.offset = 0;
        }
    }

    /// Call `f` with the buffers from the position on, to be read.
    pub fn with_input<R>(&self, f: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); WINDOW];
        let n = self.window(|i, at, len| {
            // SAFETY: the program says that `len` bytes are there; they aren't null or past
            // the address space, and are only read.
            slices[i] = IoSlice::new(unsafe { core::slice::from_raw_parts(at, len) });
        });
        f(&slices[..n])
    }

    /// Call `f` with the buffers from the position on, to be written.
    pub fn with_output<R>(&self, f: impl FnOnce(&mut [IoSliceMut<'_>]) -> R) -> R {
        let mut slices = [const { core::mem::MaybeUninit::<IoSliceMut<'_>>::uninit() }; WINDOW];
        let n = self.window(|i, at, len| {
            // SAFETY: the program says that `len` bytes are there for us to write; they aren't
            // null or past the address space.
            slices[i].write(IoSliceMut::new(unsafe {
                core::slice::from_raw_parts_mut(at, len)
            }));
        });
        // SAFETY: the first `n` were written above; the type changes from MaybeUninit<T> to T.
        let slices = unsafe {
            core::slice::from_raw_parts_mut(slices.as_mut_ptr().cast::<IoSliceMut<'_>>(), n)
        };
        f(slices)
    }
}
