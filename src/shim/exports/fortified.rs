//! What programs call that were compiled with _FORTIFY_SOURCE: the same with the buffer's true
//! size. When that is too small libc's own function says so and ends the program.

use super::{data, readiness};
use crate::real;
use core::ffi::{c_int, c_void};
use libc::{nfds_t, pollfd, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec};

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __read_chk(
    fd: c_int,
    buf: *mut c_void,
    n: size_t,
    room: size_t,
) -> ssize_t {
    // SAFETY: the caller's arguments.
    unsafe {
        if n > room {
            return real::__read_chk(fd, buf, n, room);
        }
        data::read(fd, buf, n)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __recv_chk(
    fd: c_int,
    buf: *mut c_void,
    n: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's arguments.
    unsafe {
        if n > room {
            return real::__recv_chk(fd, buf, n, room, flags);
        }
        data::recv(fd, buf, n, flags)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    n: size_t,
    room: size_t,
    flags: c_int,
    from: *mut sockaddr,
    len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller's arguments.
    unsafe {
        if n > room {
            return real::__recvfrom_chk(fd, buf, n, room, flags, from, len);
        }
        data::recvfrom(fd, buf, n, flags, from, len)
    }
}

fn too_many(n: nfds_t, room: size_t) -> bool {
    (room / size_of::<pollfd>()) < n as usize
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __poll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: c_int,
    room: size_t,
) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe {
        if too_many(n, room) {
            return real::__poll_chk(fds, n, timeout, room);
        }
        readiness::poll(fds, n, timeout)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __ppoll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    room: size_t,
) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe {
        if too_many(n, room) {
            return real::__ppoll_chk(fds, n, timeout, mask, room);
        }
        readiness::ppoll(fds, n, timeout, mask)
    }
}
