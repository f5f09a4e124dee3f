//! Bytes in and out.

use super::alias;
use crate::args::{Args, MSG};
use crate::dispatch::{Sock, dispatch, dispatch_cancellable};
use crate::errno::Result;
use crate::fastopen;
use crate::messages;
use crate::sockaddr::Given;
use crate::transfer::{recv as receive, send as transmit};
use crate::vectors::Buffers;
use crate::{memory, real, sendfile as files, splice as pipes};
use core::ffi::{c_int, c_uint, c_void};
use libc::{iovec, mmsghdr, msghdr, off_t, size_t, sockaddr, socklen_t, ssize_t, timespec};
use utcp_stack::sys::Errno;

fn out_args(a: &mut Args, buf: *const c_void, n: size_t) {
    a.buffer(buf, n);
    a.number(n as i64);
}

fn in_args(a: &mut Args, ret: Option<i64>, buf: *const c_void, n: size_t) {
    match ret {
        Some(got) if got >= 0 => a.buffer(buf, got as usize),
        _ => a.next().pointer(buf),
    };
    a.number(n as i64);
}

fn vector_args(a: &mut Args, iov: *const iovec, n: c_int) {
    a.next().pointer(iov.cast());
    a.number(n.into());
}

/// The count of vectors of readv and writev.
fn vectors(iov: *const iovec, n: c_int) -> Result<Buffers> {
    let count = usize::try_from(n).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: the program says so.
    unsafe { Buffers::many(iov, count, libc::EINVAL) }
}

fn readv_on(s: Sock, iov: *const iovec, n: c_int, flags: c_int) -> Result<ssize_t> {
    let out = vectors(iov, n)?;
    // Match SYS5 behaviour, says Linux: nothing to read is no reason to wait.
    if out.total() == 0 {
        return Ok(0);
    }
    receive(s, out, flags).map(|(n, _)| n)
}

fn writev_on(s: Sock, iov: *const iovec, n: c_int, flags: c_int) -> Result<ssize_t> {
    let data = vectors(iov, n)?;
    // Nothing to write comes to no socket (do_iter_write), though write(2) does.
    if data.total() == 0 {
        s.enter()?;
        return Ok(0);
    }
    transmit(s, data, flags)
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn read(fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t {
    dispatch_cancellable(
        "read",
        fd,
        |a, ret| in_args(a, ret, buf, n),
        |s| {
            if n == 0 {
                return Ok(0);
            }
            receive(s, Buffers::one(buf, n), 0).map(|(n, _)| n)
        },
        // SAFETY: the caller's arguments.
        || unsafe { real::read(fd, buf, n) },
    )
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn write(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t {
    dispatch_cancellable(
        "write",
        fd,
        |a, _| out_args(a, buf, n),
        |s| transmit(s, Buffers::one(buf, n), 0),
        // SAFETY: the caller's arguments.
        || unsafe { real::write(fd, buf, n) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    dispatch_cancellable(
        "readv",
        fd,
        |a, _| vector_args(a, iov, n),
        |s| readv_on(s, iov, n, 0),
        // SAFETY: the caller's arguments.
        || unsafe { real::readv(fd, iov, n) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    dispatch_cancellable(
        "writev",
        fd,
        |a, _| vector_args(a, iov, n),
        |s| writev_on(s, iov, n, 0),
        // SAFETY: the caller's arguments.
        || unsafe { real::writev(fd, iov, n) },
    )
}

/// What a call with a file position gives on a socket.
fn no_position(s: Sock, at: off_t) -> Result<ssize_t> {
    s.enter()?;
    Err(Errno(if at < 0 { libc::EINVAL } else { libc::ESPIPE }))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pread64(fd: c_int, buf: *mut c_void, n: size_t, at: off_t) -> ssize_t {
    dispatch_cancellable(
        "pread64",
        fd,
        |a, ret| in_args(a, ret, buf, n),
        |s| no_position(s, at),
        // SAFETY: the caller's arguments.
        || unsafe { real::pread64(fd, buf, n, at) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwrite64(
    fd: c_int,
    buf: *const c_void,
    n: size_t,
    at: off_t,
) -> ssize_t {
    dispatch_cancellable(
        "pwrite64",
        fd,
        |a, _| out_args(a, buf, n),
        |s| no_position(s, at),
        // SAFETY: the caller's arguments.
        || unsafe { real::pwrite64(fd, buf, n, at) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn preadv64(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> ssize_t {
    dispatch_cancellable(
        "preadv",
        fd,
        |a, _| vector_args(a, iov, n),
        |s| no_position(s, at),
        // SAFETY: the caller's arguments.
        || unsafe { real::preadv64(fd, iov, n, at) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwritev64(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    at: off_t,
) -> ssize_t {
    dispatch_cancellable(
        "pwritev",
        fd,
        |a, _| vector_args(a, iov, n),
        |s| no_position(s, at),
        // SAFETY: the caller's arguments.
        || unsafe { real::pwritev64(fd, iov, n, at) },
    )
}

/// The flags of preadv2 and pwritev2 as those of recv and send.
fn rwf(flags: c_int) -> Result<c_int> {
    match flags & !(libc::RWF_HIPRI | libc::RWF_NOWAIT) {
        0 if flags & libc::RWF_NOWAIT != 0 => Ok(libc::MSG_DONTWAIT),
        0 => Ok(0),
        _ => Err(Errno(libc::EOPNOTSUPP)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn preadv64v2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    at: off_t,
    flags: c_int,
) -> ssize_t {
    dispatch_cancellable(
        "preadv2",
        fd,
        |a, _| vector_args(a, iov, n),
        |s| match at {
            -1 => readv_on(s, iov, n, rwf(flags)?),
            _ => no_position(s, at),
        },
        // SAFETY: the caller's arguments.
        || unsafe { real::preadv64v2(fd, iov, n, at, flags) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pwritev64v2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    at: off_t,
    flags: c_int,
) -> ssize_t {
    dispatch_cancellable(
        "pwritev2",
        fd,
        |a, _| vector_args(a, iov, n),
        |s| match at {
            -1 => writev_on(s, iov, n, rwf(flags)?),
            _ => no_position(s, at),
        },
        // SAFETY: the caller's arguments.
        || unsafe { real::pwritev64v2(fd, iov, n, at, flags) },
    )
}

alias! {
    __read = read: fn(fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t;
    __write = write: fn(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t;
    pread = pread64: fn(fd: c_int, buf: *mut c_void, n: size_t, at: off_t) -> ssize_t;
    __pread64 = pread64: fn(fd: c_int, buf: *mut c_void, n: size_t, at: off_t) -> ssize_t;
    pwrite = pwrite64: fn(fd: c_int, buf: *const c_void, n: size_t, at: off_t) -> ssize_t;
    __pwrite64 = pwrite64: fn(fd: c_int, buf: *const c_void, n: size_t, at: off_t) -> ssize_t;
    preadv = preadv64: fn(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> ssize_t;
    pwritev = pwritev64: fn(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> ssize_t;
    preadv2 = preadv64v2: fn(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> ssize_t;
    pwritev2 = pwritev64v2: fn(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> ssize_t;
    __send = send: fn(fd: c_int, buf: *const c_void, n: size_t, flags: c_int) -> ssize_t;
    sendfile = sendfile64: fn(out: c_int, from: c_int, offset: *mut off_t, n: size_t) -> ssize_t;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn send(
    fd: c_int,
    buf: *const c_void,
    n: size_t,
    flags: c_int,
) -> ssize_t {
    dispatch_cancellable(
        "send",
        fd,
        |a, _| {
            out_args(a, buf, n);
            a.flags(flags, MSG);
        },
        |s| fastopen::send(s, Buffers::one(buf, n), flags, core::ptr::null(), 0),
        // SAFETY: the caller's arguments.
        || unsafe { real::send(fd, buf, n, flags) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendto(
    fd: c_int,
    buf: *const c_void,
    n: size_t,
    flags: c_int,
    to: *const sockaddr,
    len: socklen_t,
) -> ssize_t {
    dispatch_cancellable(
        "sendto",
        fd,
        |a, _| {
            out_args(a, buf, n);
            a.flags(flags, MSG).address(to, len).number(len.into());
        },
        |s| {
            let data = Buffers::one(buf, n);
            // Fast Open apart, TCP has no use for the address, but it has to be one.
            if !to.is_null() {
                Given::read(to, len)?;
            }
            fastopen::send(s, data, flags, to, len)
        },
        // SAFETY: the caller's arguments.
        || unsafe { real::sendto(fd, buf, n, flags, to, len) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t {
    dispatch_cancellable(
        "sendmsg",
        fd,
        |a, _| {
            a.next().pointer(msg.cast());
            a.flags(flags, MSG);
        },
        |s| messages::send(s, msg, flags),
        // SAFETY: the caller's arguments.
        || unsafe { real::sendmsg(fd, msg, flags) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendmmsg(
    fd: c_int,
    msgs: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
) -> c_int {
    dispatch_cancellable(
        "sendmmsg",
        fd,
        |a, _| {
            a.next().pointer(msgs.cast());
            a.number(n.into()).flags(flags, MSG);
        },
        |s| messages::send_many(s, msgs, n, flags),
        // SAFETY: the caller's arguments.
        || unsafe { real::sendmmsg(fd, msgs, n, flags) },
    )
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn recv(
    fd: c_int,
    buf: *mut c_void,
    n: size_t,
    flags: c_int,
) -> ssize_t {
    dispatch_cancellable(
        "recv",
        fd,
        |a, ret| {
            in_args(a, ret, buf, n);
            a.flags(flags, MSG);
        },
        |s| receive(s, Buffers::one(buf, n), flags).map(|(n, _)| n),
        // SAFETY: the caller's arguments.
        || unsafe { real::recv(fd, buf, n, flags) },
    )
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    n: size_t,
    flags: c_int,
    from: *mut sockaddr,
    len: *mut socklen_t,
) -> ssize_t {
    dispatch_cancellable(
        "recvfrom",
        fd,
        |a, ret| {
            in_args(a, ret, buf, n);
            a.flags(flags, MSG);
            a.next().pointer(from.cast());
            a.next().pointer(len.cast());
        },
        |s| {
            let (got, _) = receive(s, Buffers::one(buf, n), flags)?;
            if !from.is_null() {
                // A connection's data has no address of its own.
                let room: c_int = memory::read(len.cast())?;
                if room < 0 {
                    return Err(Errno(libc::EINVAL));
                }
                memory::write(len, 0)?;
            }
            Ok(got)
        },
        // SAFETY: the caller's arguments.
        || unsafe { real::recvfrom(fd, buf, n, flags, from, len) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
    dispatch_cancellable(
        "recvmsg",
        fd,
        |a, _| {
            a.next().pointer(msg.cast());
            a.flags(flags, MSG);
        },
        |s| messages::recv(s, msg, flags),
        || {
            // SAFETY: the caller's arguments.
            let got = unsafe { real::recvmsg(fd, msg, flags) };
            if got >= 0 {
                // SAFETY: the kernel has filled it in.
                unsafe { messages::forget_received(msg) };
            }
            got
        },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvmmsg(
    fd: c_int,
    msgs: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    dispatch_cancellable(
        "recvmmsg",
        fd,
        |a, _| {
            a.next().pointer(msgs.cast());
            a.number(n.into()).flags(flags, MSG);
        },
        |s| messages::recv_many(s, msgs, n, flags, timeout),
        || {
            // SAFETY: the caller's arguments.
            let got = unsafe { real::recvmmsg(fd, msgs, n, flags, timeout) };
            for i in 0..usize::try_from(got).unwrap_or(0) {
                // SAFETY: the kernel has filled in so many.
                unsafe { messages::forget_received(&raw mut (*msgs.add(i)).msg_hdr) };
            }
            got
        },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendfile64(
    out: c_int,
    from: c_int,
    offset: *mut off_t,
    n: size_t,
) -> ssize_t {
    dispatch(
        "sendfile",
        out,
        |a, _| {
            a.number(from.into());
            a.next().pointer(offset.cast());
            a.number(n as i64);
        },
        |s| files::sendfile(s, from, offset, n),
        // SAFETY: the caller's arguments.
        || unsafe { real::sendfile64(out, from, offset, n) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn splice(
    from: c_int,
    from_at: *mut i64,
    to: c_int,
    to_at: *mut i64,
    n: size_t,
    flags: c_uint,
) -> ssize_t {
    // Neither a pipe nor a socket has a position.
    let positions = |of_pipe: *mut i64, of_socket: *mut i64| match () {
        () if !of_pipe.is_null() => Err(Errno(libc::ESPIPE)),
        () if !of_socket.is_null() => Err(Errno(libc::EINVAL)),
        () => Ok(()),
    };
    if !crate::observe::active() && Sock::at(to).is_some() {
        return dispatch_cancellable(
            "splice",
            to,
            |a, _| splice_args(a, from, to, n, flags),
            |s| {
                pipes::is_pipe(from)?;
                positions(from_at, to_at)?;
                pipes::send(s, from, n, flags)
            },
            // SAFETY: the caller's arguments.
            || unsafe { real::splice(from, from_at, to, to_at, n, flags) },
        );
    }
    dispatch_cancellable(
        "splice",
        from,
        |a, _| splice_args(a, from, to, n, flags),
        |s| {
            pipes::is_pipe(to)?;
            positions(to_at, from_at)?;
            pipes::receive(s, to, n, flags)
        },
        // SAFETY: the caller's arguments.
        || unsafe { real::splice(from, from_at, to, to_at, n, flags) },
    )
}

fn splice_args(a: &mut Args, from: c_int, to: c_int, n: size_t, flags: c_uint) {
    a.number(from.into());
    a.number(to.into());
    a.number(n as i64);
    a.number(flags.into());
}
