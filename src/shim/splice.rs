//! splice between a pipe and a socket of the stack: through a buffer, and nothing is lost on the
//! way: only what the other side has taken is taken from this one.

use crate::dispatch::Sock;
use crate::errno::{self, Result};
use crate::sendfile::{BUFFER, Buffer};
use crate::transfer;
use crate::vectors::Buffers;
use core::ffi::{c_int, c_uint};
use utcp_stack::runtime::high;
use utcp_stack::sys::{Errno, Fd, io, syscall};

const INVALID: Errno = Errno(libc::EINVAL);
/// What a pipe that polls as writable has room for in any case.
const ONE_PAGE: usize = 4096;

/// From the socket to the pipe `to`.
pub fn receive(s: Sock, to: c_int, n: usize, flags: c_uint) -> Result<isize> {
    if n == 0 {
        return Ok(0);
    }
    room_in(to, flags)?;
    if at_mark(s)? {
        // Linux's `tcp_read_sock` stops at urgent data, and never passes it.
        return Ok(0);
    }
    let buffer = Buffer::take()?;
    let part = |n| Buffers::one(buffer.at().as_ptr().cast(), n);
    let (seen, _) = transfer::recv(s, part(n.min(BUFFER)), libc::MSG_PEEK)?;
    if seen <= 0 || at_mark(s)? {
        return Ok(0);
    }
    let written = put(to, &buffer, seen as usize)?;
    // What was seen is there still, unless another thread read it.
    transfer::recv(s, part(written), libc::MSG_DONTWAIT)?;
    Ok(written as isize)
}

/// From the pipe `from` to the socket.
pub fn send(s: Sock, from: c_int, n: usize, flags: c_uint) -> Result<isize> {
    if n == 0 {
        return Ok(0);
    }
    let (out, copy) = io::pipe()?;
    let (out, copy) = (high(out)?, high(copy)?);
    let wait = flags & libc::SPLICE_F_NONBLOCK;
    let there = tee(from, &copy, n.min(BUFFER), wait)?;
    drop(copy);
    if there == 0 {
        return Ok(0);
    }
    let buffer = Buffer::take()?;
    let there = fetch(out.raw(), &buffer, there)?;
    let more = if flags & libc::SPLICE_F_MORE != 0 {
        libc::MSG_MORE
    } else {
        0
    };
    let data = Buffers::one(buffer.at().as_ptr().cast(), there);
    let sent = transfer::send(s, data, more)?;
    let mut left = usize::try_from(sent).unwrap_or(0);
    while left > 0 {
        match fetch(from, &buffer, left)? {
            0 => break,
            gone => left -= gone,
        }
    }
    Ok(sent)
}

/// The next byte to be read is the urgent one.
fn at_mark(s: Sock) -> Result<bool> {
    let host = s.enter()?;
    let waits = host.socket(s.id).map_err(errno::of)?.rx.bytes > 0;
    Ok(waits && host.at_mark(s.id).map_err(errno::of)?)
}

/// EINVAL if it is none: splice needs one at one end.
pub fn is_pipe(fd: c_int) -> Result<()> {
    // SAFETY: zero is a valid `stat`.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: `stat` outlives the call.
    unsafe {
        syscall(
            libc::SYS_fstat,
            [fd as usize, &raw mut stat as usize, 0, 0, 0, 0],
        )
    }?;
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFIFO => Ok(()),
        _ => Err(INVALID),
    }
}

/// Wait until the pipe takes something.
fn room_in(pipe: c_int, flags: c_uint) -> Result<()> {
    // SAFETY: no pointers.
    let status = unsafe {
        syscall(
            libc::SYS_fcntl,
            [pipe as usize, libc::F_GETFL as usize, 0, 0, 0, 0],
        )
    }?;
    let now = flags & libc::SPLICE_F_NONBLOCK != 0 || status & libc::O_NONBLOCK as usize != 0;
    let mut fds = [io::PollFd::new(pipe, libc::POLLOUT)];
    let limit = now.then_some(utcp_stack::time::Duration::ZERO);
    match io::poll(&mut fds, limit)? {
        0 => Err(Errno(libc::EAGAIN)),
        _ => Ok(()),
    }
}

/// Write to the pipe what fits, at once.
fn put(pipe: c_int, buffer: &Buffer, n: usize) -> Result<usize> {
    let part = |n| libc::iovec {
        iov_base: buffer.at().as_ptr().cast(),
        iov_len: n,
    };
    let iov = part(n);
    let no_wait = libc::RWF_NOWAIT as usize;
    let args = [
        pipe as usize,
        &raw const iov as usize,
        1,
        usize::MAX,
        usize::MAX,
        no_wait,
    ];
    // SAFETY: the buffer has `n` bytes, and outlives the call.
    match unsafe { syscall(libc::SYS_pwritev2, args) } {
        // Older kernels don't know it of pipes.
        Err(Errno(libc::EOPNOTSUPP)) => {}
        other => return other,
    }
    let args = [
        pipe as usize,
        buffer.at().as_ptr() as usize,
        n.min(ONE_PAGE),
        0,
        0,
        0,
    ];
    // SAFETY: as above.
    unsafe { syscall(libc::SYS_write, args) }
}

fn tee(from: c_int, to: &Fd, n: usize, flags: c_uint) -> Result<usize> {
    let args = [from as usize, to.raw() as usize, n, flags as usize, 0, 0];
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_tee, args) }
}

fn fetch(pipe: c_int, buffer: &Buffer, n: usize) -> Result<usize> {
    let args = [
        pipe as usize,
        buffer.at().as_ptr() as usize,
        n.min(BUFFER),
        0,
        0,
        0,
    ];
    // SAFETY: the buffer has that much room.
    unsafe { syscall(libc::SYS_read, args) }
}
