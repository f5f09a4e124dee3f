//! Sockets come and go.

use super::alias;
use crate::args::Args;
use crate::dispatch::{dispatch, dispatch_cancellable, end};
use crate::errno;
use crate::{lifecycle, names, observe, process, real, sockopt, trace};
use core::ffi::{c_int, c_void};
use libc::{sockaddr, sockaddr_in, socklen_t};
use utcp_stack::sys::Errno;

fn socket_args(a: &mut Args, domain: c_int, kind: c_int, protocol: c_int) {
    a.one_of(
        domain,
        &[
            (libc::AF_INET, "AF_INET"),
            (libc::AF_INET6, "AF_INET6"),
            (libc::AF_UNIX, "AF_UNIX"),
        ],
    );
    a.flags(
        kind,
        &[
            (libc::SOCK_STREAM, "SOCK_STREAM"),
            (libc::SOCK_CLOEXEC, "SOCK_CLOEXEC"),
            (libc::SOCK_NONBLOCK, "SOCK_NONBLOCK"),
        ],
    );
    a.one_of(protocol, &[(libc::IPPROTO_TCP, "IPPROTO_TCP")]);
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let args = |a: &mut Args, _: Option<i64>| socket_args(a, domain, kind, protocol);
    // SAFETY: the caller's arguments.
    let kernel = || unsafe { real::socket(domain, kind, protocol) };
    if observe::active() {
        return observe::call_new("socket", &args, &kernel);
    }
    if lifecycle::is_mptcp(domain, kind, protocol) {
        return errno::returned(Err(Errno(libc::EPROTONOSUPPORT)));
    }
    let Some(family) = lifecycle::is_tcp(domain, kind, protocol) else {
        let fd = kernel();
        crate::fdtable::set_other(fd);
        return fd;
    };
    if let Some(rt) = process::attached()
        && trace::enabled(rt)
    {
        trace::begun(rt, "socket", &args);
    }
    match lifecycle::socket(family, kind) {
        Ok((rt, id, fd)) => {
            if trace::enabled(rt) {
                trace::made(rt, id, "socket", -1, &args, fd.into(), 0);
            }
            fd
        }
        Err(e) => errno::returned(Err(e)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    dispatch(
        "bind",
        fd,
        |a, _| {
            a.address(addr, len);
        },
        |s| lifecycle::bind(s, addr, len),
        // SAFETY: the caller's arguments.
        || unsafe { real::bind(fd, addr, len) },
    )
}

/// libc's own would bind by a call inside libc.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bindresvport(fd: c_int, addr: *mut sockaddr_in) -> c_int {
    dispatch(
        "bindresvport",
        fd,
        |a, _| {
            a.address(addr.cast(), size_of::<sockaddr_in>() as socklen_t);
        },
        |s| lifecycle::bind_reserved(s, addr),
        // SAFETY: the caller's arguments.
        || unsafe { real::bindresvport(fd, addr) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn listen(fd: c_int, backlog: c_int) -> c_int {
    dispatch(
        "listen",
        fd,
        |a, _| {
            a.number(backlog.into());
        },
        |s| lifecycle::listen(s, backlog),
        // SAFETY: the caller's arguments.
        || unsafe { real::listen(fd, backlog) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    dispatch_cancellable(
        "accept",
        fd,
        |a, ret| accept_args(a, ret, addr, len),
        |s| lifecycle::accept(s, addr, len, 0),
        // SAFETY: the caller's arguments.
        || unsafe { real::accept(fd, addr, len) },
    )
}

fn accept_args(a: &mut Args, ret: Option<i64>, addr: *mut sockaddr, len: *mut socklen_t) {
    if ret.is_some_and(|r| r >= 0) {
        a.filled(addr, len);
    } else {
        a.next().pointer(addr.cast());
        a.next().pointer(len.cast());
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn accept4(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    dispatch_cancellable(
        "accept4",
        fd,
        |a, ret| {
            accept_args(a, ret, addr, len);
            a.flags(
                flags,
                &[
                    (libc::SOCK_CLOEXEC, "SOCK_CLOEXEC"),
                    (libc::SOCK_NONBLOCK, "SOCK_NONBLOCK"),
                ],
            );
        },
        |s| lifecycle::accept(s, addr, len, flags),
        // SAFETY: the caller's arguments.
        || unsafe { real::accept4(fd, addr, len, flags) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    dispatch_cancellable(
        "connect",
        fd,
        |a, _| {
            a.address(addr, len);
        },
        |s| lifecycle::connect(s, addr, len),
        // SAFETY: the caller's arguments.
        || unsafe { real::connect(fd, addr, len) },
    )
}

alias! {
    __connect = connect: fn(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn shutdown(fd: c_int, how: c_int) -> c_int {
    dispatch(
        "shutdown",
        fd,
        |a, _| {
            a.one_of(
                how,
                &[
                    (libc::SHUT_RD, "SHUT_RD"),
                    (libc::SHUT_WR, "SHUT_WR"),
                    (libc::SHUT_RDWR, "SHUT_RDWR"),
                ],
            );
        },
        |s| lifecycle::shutdown(s, how),
        // SAFETY: the caller's arguments.
        || unsafe { real::shutdown(fd, how) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn getsockname(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    dispatch(
        "getsockname",
        fd,
        |a, ret| accept_args(a, ret, addr, len),
        |s| names::getsockname(s, addr, len),
        // SAFETY: the caller's arguments.
        || unsafe { real::getsockname(fd, addr, len) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn getpeername(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    dispatch(
        "getpeername",
        fd,
        |a, ret| accept_args(a, ret, addr, len),
        |s| names::getpeername(s, addr, len),
        // SAFETY: the caller's arguments.
        || unsafe { real::getpeername(fd, addr, len) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    dispatch(
        "getsockopt",
        fd,
        |a, ret| {
            crate::args::option(a, level, name);
            match ret {
                Some(0) => {
                    let n = crate::memory::read(len).unwrap_or(0);
                    a.option_value(value, n);
                }
                _ => {
                    a.next().pointer(value);
                }
            }
        },
        |s| sockopt::get(s, level, name, value, len),
        // SAFETY: the caller's arguments.
        || unsafe { real::getsockopt(fd, level, name, value, len) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    dispatch(
        "setsockopt",
        fd,
        |a, _| {
            crate::args::option(a, level, name);
            a.option_value(value, len);
        },
        |s| sockopt::set(s, level, name, value, len),
        // SAFETY: the caller's arguments.
        || unsafe { real::setsockopt(fd, level, name, value, len) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sockatmark(fd: c_int) -> c_int {
    dispatch(
        "sockatmark",
        fd,
        |_, _| {},
        |s| {
            let host = s.enter()?;
            host.at_mark(s.id).map(c_int::from).map_err(errno::of)
        },
        // SAFETY: the caller's arguments.
        || unsafe { real::sockatmark(fd) },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn isfdtype(fd: c_int, kind: c_int) -> c_int {
    // The near end is a socket too.
    // SAFETY: the caller's arguments.
    end(Ok(unsafe { real::isfdtype(fd, kind) }))
}
