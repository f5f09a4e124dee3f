//! packetdrill's table of functions.

use crate::host::{FIRST_FD, Outside};
use crate::memory;
use crate::transfer::{
    read, readv, recv, recvfrom, recvmsg, send, sendmsg, sendto, transmit, write, writev,
};
use core::ffi::{c_int, c_long, c_longlong, c_uint, c_ulong, c_void};
use libc::{epoll_event, iovec, msghdr, pollfd, sockaddr, socklen_t, ssize_t, timeval};
use std::time::Duration;
use utcp_script::request::{Reply, Request};

pub(crate) type Data = *mut c_void;

/// Linux's number, which the libc crate lacks.
const SIOCATMARK: c_ulong = 0x8905;

/// `struct packetdrill_interface`. `fcntl` and `ioctl` are variadic there; their third argument
/// is passed as here.
#[repr(C)]
#[allow(missing_docs)]
pub struct Interface {
    pub userdata: Data,
    pub free: extern "C" fn(Data),
    pub socket: extern "C" fn(Data, c_int, c_int, c_int) -> c_int,
    pub bind: unsafe extern "C" fn(Data, c_int, *const sockaddr, socklen_t) -> c_int,
    pub listen: extern "C" fn(Data, c_int, c_int) -> c_int,
    pub accept: unsafe extern "C" fn(Data, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub connect: unsafe extern "C" fn(Data, c_int, *const sockaddr, socklen_t) -> c_int,
    pub read: unsafe extern "C" fn(Data, c_int, *mut c_void, usize) -> ssize_t,
    pub readv: unsafe extern "C" fn(Data, c_int, *const iovec, c_int) -> ssize_t,
    pub recv: unsafe extern "C" fn(Data, c_int, *mut c_void, usize, c_int) -> ssize_t,
    pub recvfrom: unsafe extern "C" fn(
        Data,
        c_int,
        *mut c_void,
        usize,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    pub recvmsg: unsafe extern "C" fn(Data, c_int, *mut msghdr, c_int) -> ssize_t,
    pub write: unsafe extern "C" fn(Data, c_int, *const c_void, usize) -> ssize_t,
    pub writev: unsafe extern "C" fn(Data, c_int, *const iovec, c_int) -> ssize_t,
    pub send: unsafe extern "C" fn(Data, c_int, *const c_void, usize, c_int) -> ssize_t,
    pub sendto: unsafe extern "C" fn(
        Data,
        c_int,
        *const c_void,
        usize,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    pub sendmsg: unsafe extern "C" fn(Data, c_int, *const msghdr, c_int) -> ssize_t,
    pub fcntl: extern "C" fn(Data, c_int, c_int, c_long) -> c_int,
    pub ioctl: unsafe extern "C" fn(Data, c_int, c_ulong, *mut c_int) -> c_int,
    pub close: extern "C" fn(Data, c_int) -> c_int,
    pub shutdown: extern "C" fn(Data, c_int, c_int) -> c_int,
    pub getsockopt:
        unsafe extern "C" fn(Data, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    pub setsockopt:
        unsafe extern "C" fn(Data, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub poll: unsafe extern "C" fn(Data, *mut pollfd, c_ulong, c_int) -> c_int,
    pub netdev_send: unsafe extern "C" fn(Data, *const c_void, usize) -> c_int,
    pub netdev_receive:
        unsafe extern "C" fn(Data, *mut c_void, *mut usize, *mut c_longlong) -> c_int,
    pub usleep: extern "C" fn(Data, c_uint) -> c_int,
    pub gettimeofday: unsafe extern "C" fn(Data, *mut timeval, *mut c_void) -> c_int,
    pub epoll_create: extern "C" fn(Data, c_int) -> c_int,
    pub epoll_ctl: unsafe extern "C" fn(Data, c_int, c_int, c_int, *mut epoll_event) -> c_int,
    pub epoll_wait: unsafe extern "C" fn(Data, c_int, *mut epoll_event, c_int, c_int) -> c_int,
    pub pipe: unsafe extern "C" fn(Data, *mut c_int) -> c_int,
    pub splice:
        unsafe extern "C" fn(Data, c_int, *mut i64, c_int, *mut i64, usize, c_uint) -> ssize_t,
}

/// The table, with `outside` behind it.
pub fn table(outside: &'static Outside) -> Interface {
    Interface {
        userdata: core::ptr::from_ref(outside).cast_mut().cast(),
        free,
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv,
        recv,
        recvfrom,
        recvmsg,
        write,
        writev,
        send,
        sendto,
        sendmsg,
        fcntl,
        ioctl,
        close,
        shutdown,
        getsockopt: getsockopt_of,
        setsockopt,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create,
        epoll_ctl,
        epoll_wait,
        pipe,
        splice,
    }
}

fn outside(data: Data) -> &'static Outside {
    // SAFETY: packetdrill hands back the table's own `userdata`, which lives for ever.
    unsafe { &*data.cast::<Outside>() }
}

fn set_errno(e: c_int) {
    // SAFETY: libc gives a pointer to this thread's errno.
    unsafe { *libc::__errno_location() = e };
}

pub(crate) fn failed<T: From<i8>>(e: c_int) -> T {
    set_errno(e);
    T::from(-1)
}

pub(crate) fn reply(data: Data, request: Request) -> Reply {
    let r = outside(data).call(request);
    if r.errno != 0 {
        set_errno(r.errno);
    }
    r
}

fn int(data: Data, request: Request) -> c_int {
    reply(data, request).value as c_int
}

extern "C" fn free(_: Data) {}

extern "C" fn socket(data: Data, domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    int(
        data,
        Request::Socket {
            domain,
            kind,
            protocol,
        },
    )
}

unsafe extern "C" fn bind(data: Data, fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the caller's.
    let addr = unsafe { memory::bytes(addr.cast(), len as usize) };
    int(data, Request::Bind { fd, addr })
}

extern "C" fn listen(data: Data, fd: c_int, backlog: c_int) -> c_int {
    int(data, Request::Listen { fd, backlog })
}

unsafe extern "C" fn accept(
    data: Data,
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let r = reply(data, Request::Accept { fd, flags: 0 });
    if r.errno == 0 {
        // SAFETY: the caller's.
        unsafe { memory::put_address(addr, len, &r.data) };
    }
    r.value as c_int
}

unsafe extern "C" fn connect(
    data: Data,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: the caller's.
    let addr = unsafe { memory::bytes(addr.cast(), len as usize) };
    int(data, Request::Connect { fd, addr })
}

extern "C" fn fcntl(data: Data, fd: c_int, cmd: c_int, arg: c_long) -> c_int {
    if !is_ours(fd) {
        // SAFETY: the commands that scripts have take an int.
        return unsafe { libc::fcntl(fd, cmd, arg as c_int) };
    }
    int(data, Request::Fcntl { fd, cmd, arg })
}

unsafe extern "C" fn ioctl(data: Data, fd: c_int, request: c_ulong, value: *mut c_int) -> c_int {
    let r = reply(
        data,
        Request::Ioctl {
            fd,
            request,
            arg: 0,
        },
    );
    // SAFETY: the requests that succeed write an int.
    unsafe { memory::put(value.cast(), size_of::<c_int>(), &r.data) };
    r.value as c_int
}

extern "C" fn close(data: Data, fd: c_int) -> c_int {
    if !is_ours(fd) {
        // SAFETY: no pointers.
        return unsafe { libc::close(fd) };
    }
    int(data, Request::Close { fd })
}

/// close(2) on the stack, for whom there is no waiting: the script is over.
pub fn close_on(outside: &Outside, fd: c_int) -> c_int {
    let r = outside.call(Request::Close { fd });
    if r.errno != 0 {
        return failed(r.errno);
    }
    0
}

extern "C" fn shutdown(data: Data, fd: c_int, how: c_int) -> c_int {
    int(data, Request::Shutdown { fd, how })
}

/// getsockopt(2) on the stack.
pub fn getsockopt(
    outside: &Outside,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if len.is_null() || value.is_null() {
        return failed(libc::EFAULT);
    }
    // SAFETY: as for getsockopt(2).
    let room = unsafe { *len } as usize;
    let r = outside.call(Request::GetOpt {
        fd,
        level,
        name,
        room,
    });
    if r.errno != 0 {
        return failed(r.errno);
    }
    // SAFETY: as for getsockopt(2).
    unsafe {
        memory::put(value, room, &r.data);
        *len = r.data.len() as socklen_t;
    }
    0
}

unsafe extern "C" fn getsockopt_of(
    data: Data,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    getsockopt(outside(data), fd, level, name, value, len)
}

unsafe extern "C" fn setsockopt(
    data: Data,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: the caller's.
    let value = unsafe { memory::bytes(value, len as usize) };
    let request = Request::SetOpt {
        fd,
        level,
        name,
        value,
    };
    int(data, request)
}

unsafe extern "C" fn poll(
    data: Data,
    fds: *mut pollfd,
    count: c_ulong,
    timeout_ms: c_int,
) -> c_int {
    if fds.is_null() {
        return failed(libc::EFAULT);
    }
    // SAFETY: the caller's.
    let fds = unsafe { core::slice::from_raw_parts_mut(fds, count as usize) };
    let request = Request::Poll {
        fds: fds.iter().map(|p| (p.fd, p.events)).collect(),
        timeout_ms,
    };
    let r = reply(data, request);
    for (fd, (bits, _)) in fds.iter_mut().zip(&r.ready) {
        fd.revents = *bits as i16;
    }
    r.value as c_int
}

unsafe extern "C" fn netdev_send(data: Data, at: *const c_void, len: usize) -> c_int {
    // SAFETY: the caller's.
    let packet = unsafe { memory::bytes(at, len) };
    outside(data).send(&packet);
    0
}

unsafe extern "C" fn netdev_receive(
    data: Data,
    at: *mut c_void,
    len: *mut usize,
    time: *mut c_longlong,
) -> c_int {
    // Not a packet: packetdrill would ask again and again after an error.
    let nothing = (
        Duration::ZERO,
        b"\xf0 nothing leaves the stack any more".to_vec(),
    );
    let (when, packet) = outside(data).receive().unwrap_or(nothing);
    // SAFETY: the caller's.
    unsafe {
        memory::put(at, *len, &packet);
        *len = packet.len().min(*len);
        *time = when.as_micros() as c_longlong;
    }
    0
}

extern "C" fn usleep(data: Data, micros: c_uint) -> c_int {
    outside(data).sleep(Duration::from_micros(micros.into()));
    0
}

unsafe extern "C" fn gettimeofday(data: Data, time: *mut timeval, _: *mut c_void) -> c_int {
    let now = outside(data).now();
    // SAFETY: the caller's.
    unsafe {
        time.write(timeval {
            tv_sec: now.as_secs() as libc::time_t,
            tv_usec: now.subsec_micros().into(),
        });
    }
    0
}

extern "C" fn epoll_create(data: Data, _: c_int) -> c_int {
    int(data, Request::EpollCreate { flags: 0 })
}

unsafe extern "C" fn epoll_ctl(
    data: Data,
    epoll: c_int,
    op: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    let (events, value) = if event.is_null() {
        (0, 0)
    } else {
        // SAFETY: the caller's.
        unsafe { ((*event).events, (*event).u64) }
    };
    let request = Request::EpollCtl {
        epoll,
        op,
        fd,
        events,
        data: value,
    };
    int(data, request)
}

unsafe extern "C" fn epoll_wait(
    data: Data,
    epoll: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout_ms: c_int,
) -> c_int {
    let Ok(most) = usize::try_from(most) else {
        return failed(libc::EINVAL);
    };
    let request = Request::EpollWait {
        epoll,
        most,
        timeout_ms,
    };
    let r = reply(data, request);
    for (i, (bits, value)) in r.ready.iter().enumerate() {
        let event = epoll_event {
            events: *bits,
            u64: *value,
        };
        // SAFETY: the caller's: there is room for `most`.
        unsafe { events.add(i).write_unaligned(event) };
    }
    r.value as c_int
}

unsafe extern "C" fn pipe(_: Data, ends: *mut c_int) -> c_int {
    // SAFETY: the caller's: room for two.
    unsafe { libc::pipe(ends) }
}

unsafe extern "C" fn splice(
    data: Data,
    from: c_int,
    from_at: *mut i64,
    to: c_int,
    to_at: *mut i64,
    len: usize,
    flags: c_uint,
) -> ssize_t {
    // Neither a pipe nor a socket has a position, and what packetdrill points at is what its script
    // says for the pointer: 0 for NULL.
    let position = |at: *mut i64| {
        // SAFETY: null, or the caller's.
        !at.is_null() && unsafe { *at } != 0
    };
    if position(from_at) || position(to_at) {
        return failed(libc::ESPIPE);
    }
    let none = core::ptr::null_mut();
    let len = len.min(65536);
    match (is_ours(from), is_ours(to)) {
        // SAFETY: no pointers.
        (false, false) => unsafe { libc::splice(from, none, to, none, len, flags) },
        (true, true) => failed(libc::EINVAL),
        (true, false) => {
            if at_mark(data, from) {
                // Linux's `tcp_read_sock` stops at urgent data, and never passes it.
                return 0;
            }
            let r = reply(
                data,
                Request::Recv {
                    fd: from,
                    len,
                    flags: 0,
                    control: 0,
                },
            );
            match r.errno {
                // SAFETY: the bytes live during the call.
                0 => unsafe { libc::write(to, r.data.as_ptr().cast(), r.data.len()) },
                _ => r.value as ssize_t,
            }
        }
        (false, true) => {
            let mut bytes = vec![0u8; len];
            // SAFETY: the buffer has room for `len` bytes.
            let n = unsafe { libc::read(from, bytes.as_mut_ptr().cast(), len) };
            let Ok(n) = usize::try_from(n) else { return n };
            bytes.truncate(n);
            transmit(data, to, bytes, 0, Vec::new())
        }
    }
}

/// sendfile(2) to a socket of the stack.
pub fn sendfile_on(outside: &Outside, fd: c_int, from: c_int, at: *mut i64, len: usize) -> ssize_t {
    let mut bytes = vec![0u8; len.min(1 << 20)];
    let room = bytes.len();
    let into = bytes.as_mut_ptr().cast();
    // SAFETY: the buffer has that much room; `at` is null or the caller's.
    let n = unsafe {
        if at.is_null() {
            libc::read(from, into, room)
        } else {
            libc::pread(from, into, room, *at)
        }
    };
    let Ok(n) = usize::try_from(n) else { return n };
    bytes.truncate(n);
    let r = outside.call(Request::Send {
        fd,
        data: bytes,
        parts: Vec::new(),
        flags: 0,
        to: Vec::new(),
    });
    if r.errno != 0 {
        return failed::<i64>(r.errno) as ssize_t;
    }
    if !at.is_null() {
        // SAFETY: the caller's.
        unsafe { *at += r.value };
    }
    r.value as ssize_t
}

/// The next byte to be read is the urgent one.
fn at_mark(data: Data, fd: c_int) -> bool {
    let request = Request::Ioctl {
        fd,
        request: SIOCATMARK,
        arg: 0,
    };
    let r = outside(data).call(request);
    r.errno == 0 && r.data.first().is_some_and(|b| *b != 0)
}

/// The stack's descriptors; all others are the process's own.
pub(crate) fn is_ours(fd: c_int) -> bool {
    fd >= FIRST_FD
}
