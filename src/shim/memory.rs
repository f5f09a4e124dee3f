//! The program's memory, where its pointers may be wrong.
//!
//! The kernel gives EFAULT for a bad pointer; we must not die of it. Small things (addresses,
//! option values, message headers) are copied by the kernel, off the hot path. The payload of
//! send and recv is copied directly; its first and its last page are tried before, by a system
//! call that touches them and does nothing else, and pages that were there once are not tried
//! again. So a pointer that was never right is an EFAULT, for nothing on a buffer that is used
//! twice; memory that was taken away under a program that goes on using it ends it.

use crate::errno::Result;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};
use utcp_stack::sys::{Errno, process, syscall};

/// One past the last address a program can have.
pub const TASK_SIZE: usize = 0x7fff_ffff_f000;

fn transfer(number: libc::c_long, ours: *mut u8, theirs: usize, len: usize) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    let local = libc::iovec {
        iov_base: ours.cast(),
        iov_len: len,
    };
    let remote = libc::iovec {
        iov_base: theirs as *mut c_void,
        iov_len: len,
    };
    // SAFETY: `ours` has `len` bytes (the callers' slices); the kernel checks `theirs`.
    let done = unsafe {
        syscall(
            number,
            [
                process::pid() as usize,
                &raw const local as usize,
                1,
                &raw const remote as usize,
                1,
                0,
            ],
        )
    };
    match done {
        Ok(n) if n == len => Ok(()),
        // A sandbox may forbid the call; then the pointer is believed.
        Err(Errno(libc::EPERM | libc::ENOSYS)) if plausible(theirs, len) => {
            let theirs = theirs as *mut u8;
            // SAFETY: the program says that `len` bytes are there.
            unsafe {
                if number == libc::SYS_process_vm_readv {
                    core::ptr::copy(theirs, ours, len);
                } else {
                    core::ptr::copy(ours, theirs, len);
                }
            }
            Ok(())
        }
        _ => Err(Errno(libc::EFAULT)),
    }
}

/// Read `out.len()` bytes at `from`.
pub fn read_bytes(from: *const u8, out: &mut [u8]) -> Result<()> {
    transfer(
        libc::SYS_process_vm_readv,
        out.as_mut_ptr(),
        from as usize,
        out.len(),
    )
}

/// Write `bytes` to `to`.
pub fn write_bytes(to: *mut u8, bytes: &[u8]) -> Result<()> {
    transfer(
        libc::SYS_process_vm_writev,
        bytes.as_ptr().cast_mut(),
        to as usize,
        bytes.len(),
    )
}

/// Types of C that any bytes are a value of.
///
/// # Safety
/// Any bytes must be a valid value, padding included.
pub unsafe trait Plain: Copy {}
// SAFETY: numbers.
unsafe impl Plain for i32 {}
// SAFETY: numbers.
unsafe impl Plain for u32 {}
// SAFETY: numbers.
unsafe impl Plain for i64 {}
// SAFETY: numbers.
unsafe impl Plain for u64 {}
// SAFETY: numbers.
unsafe impl Plain for libc::timespec {}
// SAFETY: numbers.
unsafe impl Plain for libc::timeval {}
// SAFETY: numbers and raw pointers.
unsafe impl Plain for libc::msghdr {}
// SAFETY: numbers and raw pointers.
unsafe impl Plain for libc::iovec {}
// SAFETY: numbers.
unsafe impl Plain for libc::linger {}
// SAFETY: numbers.
unsafe impl Plain for libc::epoll_event {}
// SAFETY: numbers.
unsafe impl Plain for libc::sockaddr_in {}

/// Read a value.
pub fn read<T: Plain>(from: *const T) -> Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    transfer(
        libc::SYS_process_vm_readv,
        value.as_mut_ptr().cast(),
        from as usize,
        size_of::<T>(),
    )?;
    // SAFETY: all bytes were written, and any are a value.
    Ok(unsafe { value.assume_init() })
}

/// Write a value.
pub fn write<T: Plain>(to: *mut T, value: T) -> Result<()> {
    transfer(
        libc::SYS_process_vm_writev,
        (&raw const value).cast_mut().cast(),
        to as usize,
        size_of::<T>(),
    )
}

/// Read `n` values.
pub fn read_many<T: Plain>(from: *const T, n: usize) -> Result<Vec<T>> {
    let mut values = Vec::<T>::with_capacity(n);
    transfer(
        libc::SYS_process_vm_readv,
        values.as_mut_ptr().cast(),
        from as usize,
        n * size_of::<T>(),
    )?;
    // SAFETY: the bytes of all were written, and any are a value.
    unsafe { values.set_len(n) };
    Ok(values)
}

/// Write values.
pub fn write_many<T: Plain>(to: *mut T, values: &[T]) -> Result<()> {
    transfer(
        libc::SYS_process_vm_writev,
        values.as_ptr().cast_mut().cast(),
        to as usize,
        size_of_val(values),
    )
}

/// What is to be done with memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It is read.
    Read,
    /// It is written to.
    Write,
}

const PAGE_BITS: u32 = 12;
/// How many pages are remembered, each at the place that its number falls on.
const PLACES: usize = 512;
/// A page that was there: its number, and below it whether it could be written to.
static KNOWN: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];

/// Whether the first and the last of `len` bytes at `at` are there to be read or written.
#[inline]
pub fn is_there(at: usize, len: usize, access: Access) -> bool {
    if len == 0 {
        return true;
    }
    if !plausible(at, len) {
        return false;
    }
    let last = at + (len - 1);
    page_is_there(at, access)
        && (at >> PAGE_BITS == last >> PAGE_BITS || page_is_there(last, access))
}

#[inline]
fn page_is_there(at: usize, access: Access) -> bool {
    let number = at >> PAGE_BITS;
    let place = &KNOWN[number % PLACES];
    let known = place.load(Ordering::Relaxed);
    if known >> 1 == number && (known & 1 == 1 || access == Access::Read) {
        return true;
    }
    let there = touch(at, access);
    if there {
        let writable = usize::from(access == Access::Write);
        place.store(number << 1 | writable, Ordering::Relaxed);
    }
    there
}

/// Have the kernel touch the word at `at`: futex(2) reads it to compare, or changes it by
/// nothing, atomically. Nobody waits there, so nobody is woken. (Of all calls that take a pointer this one is the
/// cheapest without an effect, and no sandbox forbids it.)
#[cold]
fn touch(at: usize, access: Access) -> bool {
    let word = at & !3;
    let private = libc::FUTEX_PRIVATE_FLAG;
    let (operation, last) = match access {
        Access::Read => (libc::FUTEX_CMP_REQUEUE | private, 0),
        // FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_NE, 0xfff) would wake waiters at the second
        // address, of which there are to be none.
        Access::Write => (
            libc::FUTEX_WAKE_OP | private,
            libc::FUTEX_OP(libc::FUTEX_OP_OR, 0, libc::FUTEX_OP_CMP_LT, 0),
        ),
    };
    // SAFETY: the kernel checks the address; the word is left as it is.
    let done = unsafe {
        syscall(
            libc::SYS_futex,
            [word, operation as usize, 0, 0, word, last as usize],
        )
    };
    done != Err(Errno(libc::EFAULT))
}

/// Whether some of `len` bytes at `at` are where no program has memory, be they none.
pub fn is_outside(at: usize, len: usize) -> bool {
    at.saturating_add(len) > TASK_SIZE
}

/// Whether `len` bytes can be at `at` at all.
pub fn plausible(at: usize, len: usize) -> bool {
    len == 0 || (4096..TASK_SIZE).contains(&at) && len <= TASK_SIZE - at
}
