//! A NETLINK_ROUTE socket.

use super::{Fd, Result, syscall};

/// Open a socket to the network configuration of this process's network namespace.
pub fn open() -> Result<Fd> {
    let args = [
        libc::AF_NETLINK as usize,
        (libc::SOCK_RAW | libc::SOCK_CLOEXEC) as usize,
        libc::NETLINK_ROUTE as usize,
        0,
        0,
        0,
    ];
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_socket, args) }.map(|fd| Fd::own(fd as i32))
}

/// Send one message to the kernel.
pub fn send(fd: &Fd, message: &[u8]) -> Result<usize> {
    let args = [
        fd.raw() as usize,
        message.as_ptr() as usize,
        message.len(),
        0,
        0,
        0,
    ];
    // SAFETY: `message` is readable for its length; without an address the kernel is meant.
    unsafe { syscall(libc::SYS_sendto, args) }
}

/// Wait for messages; several may come at once.
pub fn recv(fd: &Fd, buf: &mut [u8]) -> Result<usize> {
    let args = [
        fd.raw() as usize,
        buf.as_mut_ptr() as usize,
        buf.len(),
        0,
        0,
        0,
    ];
    // SAFETY: `buf` is writable for its length; no address is asked for.
    unsafe { syscall(libc::SYS_recvfrom, args) }
}
