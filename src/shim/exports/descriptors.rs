//! Descriptors as such.

use super::alias;
use crate::dispatch::dispatch;
use crate::errno::{self, Result};
use crate::fdtable;
use crate::own;
use crate::{descriptors, lifecycle, observe, process, real};
use core::ffi::{c_int, c_uint};
use libc::{c_ulong, off_t};
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::SockId;
use utcp_stack::sys::Errno;

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    if own::is(fd) {
        // As far as the program is concerned nothing is there.
        errno::set(libc::EBADF);
        return -1;
    }
    // What was never looked at need not be looked at now: if it should be the last reference to
    // a socket, the keeper sees that it is gone.
    if let fdtable::Entry::Unknown | fdtable::Entry::Other = fdtable::known(fd)
        && !observe::active()
    {
        fdtable::forget(fd);
        // SAFETY: the caller's arguments.
        return unsafe { real::close(fd) };
    }
    dispatch(
        "close",
        fd,
        |_, _| {},
        lifecycle::close,
        || {
            fdtable::forget(fd);
            // SAFETY: the caller's arguments.
            unsafe { real::close(fd) }
        },
    )
}

alias! {
    __close = close: fn(fd: c_int) -> c_int;
    __dup2 = dup2: fn(fd: c_int, to: c_int) -> c_int;
    __fcntl = fcntl: fn(fd: c_int, cmd: c_int, arg: usize) -> c_int;
    fcntl64 = fcntl: fn(fd: c_int, cmd: c_int, arg: usize) -> c_int;
    lseek = lseek64: fn(fd: c_int, offset: off_t, whence: c_int) -> off_t;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    match own::close_range(first, last, flags) {
        Some(result) => errno::returned(result),
        // SAFETY: the caller's arguments.
        None => unsafe { real::close_range(first, last, flags) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn closefrom(first: c_int) {
    if own::close_range(first.max(0) as c_uint, c_uint::MAX, 0).is_none() {
        // SAFETY: the caller's arguments.
        unsafe { real::closefrom(first) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup(fd: c_int) -> c_int {
    // SAFETY: the caller's arguments.
    let new = unsafe { real::dup(fd) };
    if new >= 0 && !observe::active() {
        fdtable::copy(fd, new);
    }
    new
}

/// What `to` is before something else takes its place.
fn replaced(to: c_int) -> Option<(&'static Runtime, SockId)> {
    match fdtable::known(to) {
        fdtable::Entry::Ours(id) => Some((process::attached()?, id)),
        _ => None,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup2(fd: c_int, to: c_int) -> c_int {
    // SAFETY: the caller's arguments.
    duplicate(fd, to, || unsafe { real::dup2(fd, to) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int {
    // SAFETY: the caller's arguments.
    duplicate(fd, to, || unsafe { real::dup3(fd, to, flags) })
}

fn duplicate(fd: c_int, to: c_int, call: impl Fn() -> c_int) -> c_int {
    if fd == to || observe::active() {
        return call();
    }
    if own::is(to) {
        errno::set(libc::EBUSY);
        return -1;
    }
    let saved = errno::get();
    let result: Result<c_int> = descriptors::dup3(fd, to, replaced(to), || match call() {
        -1 => Err(Errno(errno::get())),
        new => Ok(new),
    });
    if result.is_ok() {
        errno::set(saved);
    }
    errno::returned(result)
}

const COMMANDS: &[(c_int, &str)] = &[
    (libc::F_DUPFD, "F_DUPFD"),
    (libc::F_GETFD, "F_GETFD"),
    (libc::F_SETFD, "F_SETFD"),
    (libc::F_GETFL, "F_GETFL"),
    (libc::F_SETFL, "F_SETFL"),
    (libc::F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"),
];

// In C the third argument is one of "...": with this calling convention it comes where a third
// argument does.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fcntl(fd: c_int, cmd: c_int, arg: usize) -> c_int {
    dispatch(
        "fcntl",
        fd,
        |a, _| {
            a.one_of(cmd, COMMANDS);
            if cmd == libc::F_SETFL {
                a.flags(
                    arg as c_int,
                    &[
                        (libc::O_NONBLOCK, "O_NONBLOCK"),
                        (libc::O_RDWR, "O_RDWR"),
                        (libc::O_ASYNC, "O_ASYNC"),
                    ],
                );
            } else {
                a.number(arg as i64);
            }
        },
        |s| descriptors::fcntl(s, cmd, arg),
        || {
            // SAFETY: the caller's arguments.
            let done = unsafe { real::fcntl64(fd, cmd, arg) };
            if done >= 0 && matches!(cmd, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
                fdtable::copy(fd, done);
            }
            done
        },
    )
}

const REQUESTS: &[(c_int, &str)] = &[
    (libc::FIONREAD as c_int, "FIONREAD"),
    (libc::FIONBIO as c_int, "FIONBIO"),
    (libc::TIOCOUTQ as c_int, "SIOCOUTQ"),
    (0x8905, "SIOCATMARK"),
];

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ioctl(fd: c_int, request: c_ulong, arg: usize) -> c_int {
    dispatch(
        "ioctl",
        fd,
        |a, _| {
            a.one_of(request as c_int, REQUESTS);
            a.option_value(arg as *const _, 4);
        },
        |s| descriptors::ioctl(s, request, arg),
        // SAFETY: the caller's arguments.
        || unsafe { real::ioctl(fd, request, arg) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn lseek64(fd: c_int, offset: off_t, whence: c_int) -> off_t {
    // The near end gives ESPIPE, as a TCP socket does.
    // SAFETY: the caller's arguments.
    unsafe { real::lseek64(fd, offset, whence) }
}
