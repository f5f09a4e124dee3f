//! sendfile to a socket of the stack: through a buffer.

use crate::dispatch::{CANCELLED, Sock};
use crate::errno::Result;
use crate::memory as program;
use crate::transfer;
use crate::vectors::Buffers;
use core::ffi::c_int;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};
use libc::off_t;
use utcp_stack::sys::{Errno, memory, syscall};

/// Bytes of a [`Buffer`].
pub const BUFFER: usize = 256 << 10;

/// Linux's: what one call moves at most.
const MAX_RW_COUNT: usize = (i32::MAX as usize) & !4095;

/// A buffer that the last call left for the next.
static SPARE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());

/// Memory for what passes through.
pub struct Buffer(NonNull<u8>);

impl Buffer {
    /// One of [`BUFFER`] bytes.
    pub fn take() -> Result<Buffer> {
        match NonNull::new(SPARE.swap(core::ptr::null_mut(), Ordering::AcqRel)) {
            Some(at) => Ok(Buffer(at)),
            None => memory::map(None, BUFFER).map(Buffer),
        }
    }

    /// Where it is.
    pub fn at(&self) -> NonNull<u8> {
        self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let kept = SPARE.compare_exchange(
            core::ptr::null_mut(),
            self.0.as_ptr(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if kept.is_err() {
            // SAFETY: mapped in `take`, and ours alone.
            unsafe { memory::unmap(self.0, BUFFER) };
        }
    }
}

/// sendfile(2).
pub fn sendfile(s: Sock, from: c_int, offset: *mut off_t, n: usize) -> Result<isize> {
    let own_position = offset.is_null();
    let given = match own_position {
        true => None,
        false => Some(program::read(offset.cast_const())?),
    };
    // That it can be read at all comes first, and whether at a position.
    let nothing = NonNull::dangling();
    let start = match (read_at(from, nothing, 0, 0), given) {
        (Err(Errno(libc::ESPIPE)), None) | (Err(Errno(libc::EISDIR)), _) => {
            return Err(Errno(libc::EINVAL));
        }
        (Err(e), _) => return Err(e),
        (Ok(_), Some(at)) => at,
        (Ok(_), None) => seek(from, 0, libc::SEEK_CUR).map_err(|_| Errno(libc::EINVAL))?,
    };
    if start < 0 {
        return Err(Errno(libc::EINVAL));
    }
    let buffer = Buffer::take()?;
    let mut at = start;
    let mut left = n.min(MAX_RW_COUNT);
    let ended = loop {
        if left == 0 {
            break Ok(());
        }
        let got = match read_at(from, buffer.0, left.min(BUFFER), at) {
            Ok(0) => break Ok(()),
            Ok(got) => got,
            Err(e) => break Err(e),
        };
        let data = Buffers::one(buffer.0.as_ptr().cast(), got);
        let sent = transfer::send(s, data, 0);
        match sent {
            Ok(sent) => {
                at += sent as off_t;
                left -= sent as usize;
                if (sent as usize) < got {
                    break Ok(());
                }
            }
            Err(e) => break Err(e),
        }
    };
    let done = at - start;
    if own_position {
        let _ = seek(from, at, libc::SEEK_SET);
    } else {
        program::write(offset, at)?;
    }
    match ended {
        Err(CANCELLED) => Err(CANCELLED),
        Err(e) if done == 0 => Err(e),
        _ => Ok(done as isize),
    }
}

fn seek(fd: c_int, offset: off_t, whence: c_int) -> Result<off_t> {
    // SAFETY: no pointers.
    unsafe {
        syscall(
            libc::SYS_lseek,
            [fd as usize, offset as usize, whence as usize, 0, 0, 0],
        )
    }
    .map(|at| at as off_t)
}

/// pread(2), of no more than fits into `buffer`.
fn read_at(fd: c_int, buffer: NonNull<u8>, n: usize, at: off_t) -> Result<usize> {
    // SAFETY: `n` bytes fit.
    unsafe {
        syscall(
            libc::SYS_pread64,
            [fd as usize, buffer.as_ptr() as usize, n, at as usize, 0, 0],
        )
    }
}
