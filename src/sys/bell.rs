//! Bells: datagram sockets with abstract names, that any process can ring and poll(2) hears.

use super::unix::Name;
use super::{Fd, Result, syscall};

fn socket() -> Result<Fd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    unsafe {
        syscall(
            libc::SYS_socket,
            [libc::AF_UNIX as usize, kind as usize, 0, 0, 0, 0],
        )
    }
    .map(|fd| Fd::own(fd as i32))
}

/// A bell called `name`: readable once it was rung.
pub fn hang(name: &Name) -> Result<Fd> {
    let fd = socket()?;
    super::unix::bind(fd.raw(), name)?;
    Ok(fd)
}

/// What rings: an unnamed socket.
pub fn clapper() -> Result<Fd> {
    socket()
}

/// Ring the bell called `name`. A bell that nobody has, or that rings already, is no error.
pub fn ring(clapper: i32, name: &Name) {
    let (addr, len) = name.as_raw();
    let byte = 0u8;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: one byte and a socket address of `len` bytes are valid for the call.
    let _ = unsafe {
        syscall(
            libc::SYS_sendto,
            [
                clapper as usize,
                &raw const byte as usize,
                1,
                flags as usize,
                addr as usize,
                len,
            ],
        )
    };
}

/// Silence a bell that rang once.
pub fn silence(bell: i32) {
    let mut buf = [0u8; 8];
    // SAFETY: `buf` is valid for writing.
    let _ = unsafe {
        syscall(
            libc::SYS_recvfrom,
            [
                bell as usize,
                &raw mut buf as usize,
                buf.len(),
                libc::MSG_DONTWAIT as usize,
                0,
                0,
            ],
        )
    };
}

/// Whether somebody has the bell called `name`; it is not rung.
pub fn hangs(name: &Name) -> bool {
    let Ok(fd) = socket() else { return true };
    super::unix::connect(fd.raw(), name) != Err(super::Errno(libc::ECONNREFUSED))
}
