//! Data: read, recv, write and send in all their forms.

use crate::interface::{Data, failed, is_ours, reply};
use crate::memory;
use core::ffi::{c_int, c_void};
use libc::{iovec, msghdr, sockaddr, socklen_t, ssize_t};
use utcp_script::request::Request;

unsafe fn receive(data: Data, fd: c_int, parts: &[iovec], flags: c_int) -> ssize_t {
    let len = parts.iter().map(|p| p.iov_len).sum();
    let r = reply(
        data,
        Request::Recv {
            fd,
            len,
            flags,
            control: 0,
        },
    );
    // SAFETY: the caller's.
    unsafe { memory::scatter(parts, &r.data) };
    r.value as ssize_t
}

pub(crate) unsafe extern "C" fn read(
    data: Data,
    fd: c_int,
    at: *mut c_void,
    len: usize,
) -> ssize_t {
    if !is_ours(fd) {
        // SAFETY: the caller's.
        return unsafe { libc::read(fd, at, len) };
    }
    // SAFETY: the caller's.
    unsafe { recv(data, fd, at, len, 0) }
}

pub(crate) unsafe extern "C" fn readv(
    data: Data,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
) -> ssize_t {
    if !is_ours(fd) {
        // SAFETY: the caller's.
        return unsafe { libc::readv(fd, parts, count) };
    }
    // SAFETY: the caller's.
    unsafe { receive(data, fd, memory::iovecs(parts, count.max(0) as usize), 0) }
}

pub(crate) unsafe extern "C" fn recv(
    data: Data,
    fd: c_int,
    at: *mut c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    if at.is_null() && len > 0 {
        return failed::<i64>(libc::EFAULT) as ssize_t;
    }
    let part = iovec {
        iov_base: at,
        iov_len: len,
    };
    // SAFETY: the caller's.
    unsafe { receive(data, fd, &[part], flags) }
}

pub(crate) unsafe extern "C" fn recvfrom(
    data: Data,
    fd: c_int,
    at: *mut c_void,
    len: usize,
    flags: c_int,
    _: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    if !addr_len.is_null() {
        // SAFETY: the caller's. TCP gives no address.
        unsafe { *addr_len = 0 };
    }
    // SAFETY: the caller's.
    unsafe { recv(data, fd, at, len, flags) }
}

pub(crate) unsafe extern "C" fn recvmsg(
    data: Data,
    fd: c_int,
    msg: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    if msg.is_null() {
        return failed(libc::EFAULT);
    }
    // SAFETY: the caller's.
    unsafe {
        let parts = memory::parts(msg);
        let request = Request::Recv {
            fd,
            len: parts.iter().map(|p| p.iov_len).sum(),
            flags,
            control: (*msg).msg_controllen,
        };
        let r = reply(data, request);
        if r.errno == 0 {
            memory::scatter(parts, &r.data);
            memory::put((*msg).msg_control, (*msg).msg_controllen, &r.control);
            (*msg).msg_controllen = r.control.len();
            (*msg).msg_flags = r.flags;
            (*msg).msg_namelen = 0;
        }
        r.value as ssize_t
    }
}

pub(crate) fn transmit(
    data: Data,
    fd: c_int,
    bytes: Vec<u8>,
    flags: c_int,
    to: Vec<u8>,
) -> ssize_t {
    transmit_parts(data, fd, (bytes, Vec::new()), flags, to)
}

/// With the lengths of the buffers that it is in.
fn transmit_parts(
    data: Data,
    fd: c_int,
    (bytes, parts): (Vec<u8>, Vec<usize>),
    flags: c_int,
    to: Vec<u8>,
) -> ssize_t {
    let request = Request::Send {
        fd,
        data: bytes,
        parts,
        flags,
        to,
    };
    reply(data, request).value as ssize_t
}

pub(crate) unsafe extern "C" fn write(
    data: Data,
    fd: c_int,
    at: *const c_void,
    len: usize,
) -> ssize_t {
    if !is_ours(fd) {
        // SAFETY: the caller's.
        return unsafe { libc::write(fd, at, len) };
    }
    if at.is_null() && len > 0 {
        return failed::<i64>(libc::EFAULT) as ssize_t;
    }
    // SAFETY: the caller's.
    let bytes = unsafe { memory::bytes(at, len) };
    transmit(data, fd, bytes, 0, Vec::new())
}

pub(crate) unsafe extern "C" fn writev(
    data: Data,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
) -> ssize_t {
    if !is_ours(fd) {
        // SAFETY: the caller's.
        return unsafe { libc::writev(fd, parts, count) };
    }
    // SAFETY: the caller's.
    let bytes = unsafe { memory::gather(memory::iovecs(parts, count.max(0) as usize)) };
    transmit_parts(data, fd, bytes, 0, Vec::new())
}

pub(crate) unsafe extern "C" fn send(
    data: Data,
    fd: c_int,
    at: *const c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    if at.is_null() && len > 0 {
        return failed::<i64>(libc::EFAULT) as ssize_t;
    }
    // SAFETY: the caller's.
    let bytes = unsafe { memory::bytes(at, len) };
    transmit(data, fd, bytes, flags, Vec::new())
}

pub(crate) unsafe extern "C" fn sendto(
    data: Data,
    fd: c_int,
    at: *const c_void,
    len: usize,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> ssize_t {
    if at.is_null() && len > 0 {
        return failed::<i64>(libc::EFAULT) as ssize_t;
    }
    // SAFETY: the caller's.
    let (bytes, to) = unsafe {
        (
            memory::bytes(at, len),
            memory::bytes(addr.cast(), addr_len as usize),
        )
    };
    transmit(data, fd, bytes, flags, to)
}

pub(crate) unsafe extern "C" fn sendmsg(
    data: Data,
    fd: c_int,
    msg: *const msghdr,
    flags: c_int,
) -> ssize_t {
    if msg.is_null() {
        return failed(libc::EFAULT);
    }
    // SAFETY: the caller's.
    let (bytes, to) = unsafe {
        (
            memory::gather(memory::parts(msg)),
            memory::bytes((*msg).msg_name, (*msg).msg_namelen as usize),
        )
    };
    transmit_parts(data, fd, bytes, flags, to)
}
