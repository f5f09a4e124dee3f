//! The program's memory, where its pointers may be wrong.
//!
//! The kernel gives EFAULT for a bad pointer; we must not die of it. Small things (addresses,
//! option values, message headers) are copied by the kernel, off the hot path. The payload of
//! send and recv is copied directly, after a look at what can be told from the numbers.

use crate::errno::Result;
use core::ffi::c_void;
use core::mem::MaybeUninit;
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

/// Whether `len` bytes can be at `at` at all.
pub fn plausible(at: usize, len: usize) -> bool {
    len == 0 || (4096..TASK_SIZE).contains(&at) && len <= TASK_SIZE - at
}
