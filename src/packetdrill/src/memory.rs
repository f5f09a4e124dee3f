//! What is at packetdrill's pointers.

use core::ffi::c_void;
use libc::{iovec, msghdr, sockaddr, socklen_t};

/// `len` bytes; none at null.
///
/// # Safety
/// Unless null, `at` points to that many bytes.
pub unsafe fn bytes(at: *const c_void, len: usize) -> Vec<u8> {
    if at.is_null() || len == 0 {
        return Vec::new();
    }
    // SAFETY: the caller's.
    unsafe { core::slice::from_raw_parts(at.cast::<u8>(), len) }.to_vec()
}

/// Write as many of `data` as there is room for.
///
/// # Safety
/// Unless null, `at` points to that much room.
pub unsafe fn put(at: *mut c_void, room: usize, data: &[u8]) {
    let n = data.len().min(room);
    if !at.is_null() {
        // SAFETY: the caller's; the two can't overlap.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), at.cast(), n) };
    }
}

/// Write an address and its length.
///
/// # Safety
/// As for accept(2).
pub unsafe fn put_address(at: *mut sockaddr, len: *mut socklen_t, data: &[u8]) {
    if at.is_null() || len.is_null() {
        return;
    }
    // SAFETY: the caller's.
    unsafe {
        put(at.cast(), *len as usize, data);
        *len = data.len() as socklen_t;
    }
}

/// The iovecs of a call.
///
/// # Safety
/// As for readv(2).
pub unsafe fn iovecs<'a>(at: *const iovec, count: usize) -> &'a [iovec] {
    if at.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's.
    unsafe { core::slice::from_raw_parts(at, count) }
}

/// The iovecs of a message.
///
/// # Safety
/// As for recvmsg(2).
pub unsafe fn parts<'a>(message: *const msghdr) -> &'a [iovec] {
    if message.is_null() {
        return &[];
    }
    // SAFETY: the caller's.
    unsafe { iovecs((*message).msg_iov, (*message).msg_iovlen) }
}

/// All bytes of iovecs, and their lengths.
///
/// # Safety
/// As for writev(2).
pub unsafe fn gather(parts: &[iovec]) -> (Vec<u8>, Vec<usize>) {
    // SAFETY: the caller's.
    let each = parts
        .iter()
        .map(|p| unsafe { bytes(p.iov_base, p.iov_len) });
    let each: Vec<Vec<u8>> = each.collect();
    (each.concat(), each.iter().map(Vec::len).collect())
}

/// Spread data over iovecs.
///
/// # Safety
/// As for readv(2).
pub unsafe fn scatter(parts: &[iovec], mut data: &[u8]) {
    for p in parts {
        let n = data.len().min(p.iov_len);
        // SAFETY: the caller's.
        unsafe { put(p.iov_base, p.iov_len, &data[..n]) };
        data = &data[n..];
    }
}
