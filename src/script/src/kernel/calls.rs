//! Requests as real system calls.

use crate::request::{Reply, Request};
use core::ffi::{c_int, c_void};

fn reply(value: i64) -> Reply {
    if value < 0 {
        let e = std::io::Error::last_os_error();
        Reply::error(e.raw_os_error().unwrap_or(libc::EIO))
    } else {
        Reply::value(value)
    }
}

fn with_data(value: i64, data: impl FnOnce() -> Vec<u8>) -> Reply {
    let mut r = reply(value);
    if r.errno == 0 {
        r.data = data();
    }
    r
}

/// The programs that scripts start, beside this one too, are not to keep its sockets.
const CLOEXEC: i32 = libc::SOCK_CLOEXEC;

/// Make the call, in the calling thread.
pub(super) fn perform(request: &Request) -> Reply {
    match request {
        Request::Socket {
            domain,
            kind,
            protocol,
        } => {
            // SAFETY: no pointers.
            reply(unsafe { libc::socket(*domain, *kind | CLOEXEC, *protocol) }.into())
        }
        Request::Bind { fd, addr } => {
            // SAFETY: the bytes live during the call.
            reply(unsafe { libc::bind(*fd, addr.as_ptr().cast(), addr.len() as _) }.into())
        }
        Request::Connect { fd, addr } => {
            // SAFETY: the bytes live during the call.
            reply(unsafe { libc::connect(*fd, addr.as_ptr().cast(), addr.len() as _) }.into())
        }
        // SAFETY: no pointers.
        Request::Listen { fd, backlog } => reply(unsafe { libc::listen(*fd, *backlog) }.into()),
        Request::Accept { fd, flags } => {
            named(|addr, len| {
                // SAFETY: `named` gives room for any address.
                unsafe { libc::accept4(*fd, addr, len, *flags | CLOEXEC) }.into()
            })
        }
        Request::SockName { fd } => named(|addr, len| {
            // SAFETY: as above.
            unsafe { libc::getsockname(*fd, addr, len) }.into()
        }),
        Request::PeerName { fd } => named(|addr, len| {
            // SAFETY: as above.
            unsafe { libc::getpeername(*fd, addr, len) }.into()
        }),
        Request::Recv {
            fd,
            len,
            flags,
            control: 0,
        } => {
            let mut buffer = vec![0u8; *len];
            // SAFETY: the buffer has room for `len` bytes.
            let n = unsafe { libc::recv(*fd, buffer.as_mut_ptr().cast(), *len, *flags) } as i64;
            buffer.truncate(usize::try_from(n).unwrap_or(0));
            if flags & (libc::MSG_TRUNC | libc::MSG_PEEK) == libc::MSG_TRUNC {
                buffer.clear();
            }
            with_data(n, || buffer)
        }
        Request::Recv {
            fd,
            len,
            flags,
            control,
        } => {
            let (mut buffer, mut control) = (vec![0u8; *len], vec![0u8; *control]);
            let mut part = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: *len,
            };
            // SAFETY: all zero is a msghdr without anything.
            let mut msg: libc::msghdr = unsafe { core::mem::zeroed() };
            (msg.msg_iov, msg.msg_iovlen) = (&raw mut part, 1);
            (msg.msg_control, msg.msg_controllen) = (control.as_mut_ptr().cast(), control.len());
            // SAFETY: everything that the message points to lives during the call.
            let n = unsafe { libc::recvmsg(*fd, &raw mut msg, *flags) } as i64;
            buffer.truncate(usize::try_from(n).unwrap_or(0));
            control.truncate(msg.msg_controllen);
            let mut reply = with_data(n, || buffer);
            (reply.control, reply.flags) = (control, msg.msg_flags);
            reply
        }
        Request::Send {
            fd,
            data,
            parts,
            flags,
            to,
        } if !parts.is_empty() => {
            // Apart from each other in memory: what is not counts as one for MSG_ZEROCOPY.
            let mut at = data.as_slice();
            let mut apart = Vec::new();
            for len in parts {
                let (part, rest) = at.split_at(*len);
                apart.push([part, &[0]].concat());
                at = rest;
            }
            let vector = |p: &mut Vec<u8>| libc::iovec {
                iov_base: p.as_mut_ptr().cast(),
                iov_len: p.len() - 1,
            };
            let mut vectors: Vec<_> = apart.iter_mut().map(vector).collect();
            // SAFETY: a struct of pointers and numbers.
            let mut msg: libc::msghdr = unsafe { core::mem::zeroed() };
            (msg.msg_iov, msg.msg_iovlen) = (vectors.as_mut_ptr(), vectors.len());
            if !to.is_empty() {
                msg.msg_name = to.as_ptr().cast_mut().cast();
                msg.msg_namelen = to.len() as _;
            }
            // SAFETY: everything that the message points to lives during the call.
            let n = unsafe { libc::sendmsg(*fd, &raw const msg, flags | libc::MSG_NOSIGNAL) };
            if flags & libc::MSG_ZEROCOPY != 0 {
                // The kernel reads it when it pleases.
                core::mem::forget(apart);
            }
            reply(n as i64)
        }
        Request::Send {
            fd,
            data,
            flags,
            to,
            ..
        } => {
            let flags = flags | libc::MSG_NOSIGNAL;
            let (addr, len) = if to.is_empty() {
                (core::ptr::null(), 0)
            } else {
                (to.as_ptr(), to.len())
            };
            // SAFETY: data and address live during the call.
            let n = unsafe {
                libc::sendto(
                    *fd,
                    data.as_ptr().cast(),
                    data.len(),
                    flags,
                    addr.cast(),
                    len as _,
                )
            };
            reply(n as i64)
        }
        // SAFETY: a descriptor of the script's own.
        Request::Close { fd } => reply(unsafe { libc::close(*fd) }.into()),
        // SAFETY: no pointers.
        Request::Shutdown { fd, how } => reply(unsafe { libc::shutdown(*fd, *how) }.into()),
        Request::SetOpt {
            fd,
            level,
            name,
            value,
        } => {
            let at: *const c_void = value.as_ptr().cast();
            // SAFETY: the value lives during the call.
            let r = unsafe { libc::setsockopt(*fd, *level, *name, at, value.len() as _) };
            reply(r.into())
        }
        Request::GetOpt {
            fd,
            level,
            name,
            room,
        } => {
            let mut value = vec![0u8; *room];
            let mut len = *room as libc::socklen_t;
            let at: *mut c_void = value.as_mut_ptr().cast();
            // SAFETY: the value has room for `len` bytes.
            let r = unsafe { libc::getsockopt(*fd, *level, *name, at, &mut len) };
            value.truncate(len as usize);
            with_data(r.into(), || value)
        }
        Request::Fcntl { fd, cmd, arg } => {
            // SAFETY: commands that take an int.
            reply(unsafe { libc::fcntl(*fd, *cmd, *arg as c_int) }.into())
        }
        Request::Ioctl { fd, request, arg } => {
            let mut value = *arg;
            // SAFETY: requests that read or write an int.
            let r = unsafe { libc::ioctl(*fd, *request as _, &mut value) };
            with_data(r.into(), || value.to_ne_bytes().to_vec())
        }
        Request::Poll { fds, timeout_ms } => {
            let one = |&(fd, events): &(i32, i16)| libc::pollfd {
                fd,
                events,
                revents: 0,
            };
            let mut polled: Vec<libc::pollfd> = fds.iter().map(one).collect();
            // SAFETY: that many pollfds, which live during the call.
            let n = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as _, *timeout_ms) };
            let mut r = reply(n.into());
            let ready = polled
                .iter()
                .map(|p| (p.revents as u16 as u32, p.fd as u64));
            r.ready = ready.collect();
            r
        }
        // SAFETY: no pointers.
        Request::EpollCreate { flags } => reply(unsafe { libc::epoll_create1(*flags) }.into()),
        Request::EpollCtl {
            epoll,
            op,
            fd,
            events,
            data,
        } => {
            let mut event = libc::epoll_event {
                events: *events,
                u64: *data,
            };
            // SAFETY: the event lives during the call.
            reply(unsafe { libc::epoll_ctl(*epoll, *op, *fd, &mut event) }.into())
        }
        Request::EpollWait {
            epoll,
            most,
            timeout_ms,
        } => {
            let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; (*most).clamp(1, 1024)];
            let room = events.len() as c_int;
            // SAFETY: room for that many events.
            let n = unsafe { libc::epoll_wait(*epoll, events.as_mut_ptr(), room, *timeout_ms) };
            events.truncate(usize::try_from(n).unwrap_or(0));
            let mut r = reply(n.into());
            r.ready = events.iter().map(|e| ({ e.events }, { e.u64 })).collect();
            r
        }
    }
}

fn named(call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> i64) -> Reply {
    let mut addr = [0u8; 128];
    let mut len = addr.len() as libc::socklen_t;
    let r = call(addr.as_mut_ptr().cast(), &mut len);
    let len = (len as usize).min(addr.len());
    with_data(r, || addr[..len].to_vec())
}
