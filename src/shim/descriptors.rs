//! dup, fcntl, ioctl and their kin on descriptors of the stack's sockets.

use crate::dispatch::Sock;
use crate::errno::{self, Result};
use crate::fdtable::{self, Entry};
use crate::lifecycle;
use crate::{blocked, kernel, memory};
use core::ffi::c_int;
use libc::c_ulong;
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::SockId;
use utcp_stack::sys::{Errno, close, syscall};

/// dup2 and dup3 when a socket of the stack is concerned on either side. `replaced` is what
/// `to` was.
pub fn dup3(
    from: c_int,
    to: c_int,
    replaced: Option<(&'static Runtime, SockId)>,
    duplicate: impl FnOnce() -> Result<c_int>,
) -> Result<c_int> {
    // A thread that uses `to` meanwhile must not take it for what it was.
    fdtable::forget(to);
    if let Some((_, id)) = replaced {
        blocked::keep_for_blocked(to, id);
    }
    let done = duplicate();
    match (done, replaced) {
        (Ok(_), Some((rt, id))) => {
            fdtable::copy(from, to);
            lifecycle::released(rt, id);
        }
        (Ok(_), None) => fdtable::copy(from, to),
        (Err(_), Some((_, id))) => fdtable::set(to, Entry::Ours(id)),
        (Err(_), None) => {}
    }
    done
}

/// fcntl(2).
pub fn fcntl(s: Sock, cmd: c_int, arg: usize) -> Result<c_int> {
    let done = kernel::fcntl(s.fd, cmd, arg)?;
    match cmd {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => fdtable::set(done, Entry::Ours(s.id)),
        libc::F_SETFL => {
            let flags = arg as c_int;
            let mut host = s.enter()?;
            let _ = host.set_nonblock(s.id, flags & libc::O_NONBLOCK != 0);
            if flags & libc::O_ASYNC != 0 {
                // SIGIO comes when the mirror changes.
                let _ = host.watch(s.id);
            }
        }
        libc::F_SETOWN | F_SETOWN_EX => {
            // SIGURG comes when the mirror changes, as SIGIO does.
            let _ = s.enter()?.has_owner(s.id);
        }
        _ => {}
    }
    Ok(done)
}

const SIOCOUTQNSD: c_ulong = 0x894b;
const SIOCATMARK: c_ulong = 0x8905;
const FIOSETOWN: c_ulong = 0x8901;
const SIOCSPGRP: c_ulong = 0x8902;
const SIOCGPGRP: c_ulong = 0x8904;
const F_SETOWN_EX: c_int = 15;

/// ioctl(2).
pub fn ioctl(s: Sock, request: c_ulong, arg: usize) -> Result<c_int> {
    // The kernel looks at the lower half only.
    let request = request & 0xffff_ffff;
    let answer = |value: u32| memory::write(arg as *mut c_int, value as c_int).map(|()| 0);
    match request {
        libc::FIONREAD => {
            let n = s.enter()?.readable_bytes(s.id).map_err(errno::of)?;
            answer(n)
        }
        libc::TIOCOUTQ => {
            let n = s.enter()?.unacked_bytes(s.id).map_err(errno::of)?;
            answer(n)
        }
        SIOCOUTQNSD => {
            let n = s.enter()?.unsent_bytes(s.id).map_err(errno::of)?;
            answer(n)
        }
        SIOCATMARK => {
            let at = s.enter()?.at_mark(s.id).map_err(errno::of)?;
            answer(at.into())
        }
        libc::FIONBIO => {
            let on: c_int = memory::read(arg as *const c_int)?;
            pass_on(s, request, arg)?;
            let _ = s.enter()?.set_nonblock(s.id, on != 0);
            Ok(0)
        }
        libc::FIOASYNC => {
            let _ = s.enter()?.watch(s.id);
            pass_on(s, request, arg)
        }
        FIOSETOWN | SIOCSPGRP => {
            let done = pass_on(s, request, arg)?;
            let _ = s.enter()?.has_owner(s.id);
            Ok(done)
        }
        // What concerns the descriptor.
        libc::FIOCLEX | libc::FIONCLEX | FIOSETOWN..=SIOCGPGRP => pass_on(s, request, arg),
        // What concerns interfaces and routes: asked of a socket of the kernel's.
        0x8900..=0x89ff => on_kernel_socket(request, arg),
        _ => Err(Errno(libc::ENOTTY)),
    }
}

fn pass_on(s: Sock, request: c_ulong, arg: usize) -> Result<c_int> {
    raw_ioctl(s.fd, request, arg)
}

fn raw_ioctl(fd: c_int, request: c_ulong, arg: usize) -> Result<c_int> {
    // SAFETY: the kernel checks the program's pointer.
    unsafe {
        kernel::call(
            libc::SYS_ioctl,
            [fd as usize, request as usize, arg, 0, 0, 0],
        )
    }
}

fn on_kernel_socket(request: c_ulong, arg: usize) -> Result<c_int> {
    let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize;
    // SAFETY: no pointers.
    let fd = unsafe { syscall(libc::SYS_socket, [libc::AF_INET as usize, kind, 0, 0, 0, 0]) }?;
    let done = raw_ioctl(fd as c_int, request, arg);
    let _ = close(fd as c_int);
    done
}
