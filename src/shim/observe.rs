//! Programs on the kernel's stack, watched: with `UTCP_OBSERVE` set to a file's path or a
//! descriptor's number nothing is intercepted, and every call on a TCP socket is noted there
//! before and after, as a line of JSON in one write. See docs/observe.md.

use crate::args::Args;
use crate::errno::{self, Returned};
use crate::{kernel, lifecycle, sockaddr, tcp_info};
use core::ffi::{CStr, c_int};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicI32, Ordering};
use libc::{sockaddr as SockAddr, socklen_t};
use utcp_stack::runtime::{high, own};
use utcp_stack::sys::{self, Fd, io, process, syscall};
use utcp_stack::tcp::State;

/// Where notes go: a descriptor, or one of these.
static NOTES: AtomicI32 = AtomicI32::new(UNKNOWN);
const UNKNOWN: i32 = -2;
const NOWHERE: i32 = -1;

/// Whether this program is only watched.
#[inline]
pub fn active() -> bool {
    match NOTES.load(Ordering::Relaxed) {
        NOWHERE => false,
        UNKNOWN => find() != NOWHERE,
        _ => true,
    }
}

#[cold]
fn find() -> i32 {
    let saved = errno::get();
    let notes = open().unwrap_or(NOWHERE);
    errno::set(saved);
    // Another thread may have been faster; its descriptor is as good.
    match NOTES.compare_exchange(UNKNOWN, notes, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => notes,
        Err(theirs) => theirs,
    }
}

fn open() -> Option<i32> {
    // SAFETY: the name ends in a NUL; the value is copied before anybody can change it.
    let value = unsafe {
        let value = libc::getenv(c"UTCP_OBSERVE".as_ptr());
        if value.is_null() {
            return None;
        }
        CStr::from_ptr(value)
    };
    let text = value.to_bytes();
    if text.is_empty() {
        return None;
    }
    if text.iter().all(u8::is_ascii_digit) {
        return core::str::from_utf8(text).ok()?.parse().ok();
    }
    let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC;
    // SAFETY: the path ends in a NUL.
    let fd = unsafe {
        syscall(
            libc::SYS_openat,
            [
                libc::AT_FDCWD as usize,
                value.as_ptr() as usize,
                flags as usize,
                0o600,
                0,
                0,
            ],
        )
    }
    .ok()?;
    let fd = high(Fd::own(fd as i32)).ok()?.into_raw();
    own::add(fd);
    Some(fd)
}

/// A call on descriptor `fd`.
pub fn call<T: Returned>(
    name: &str,
    fd: c_int,
    args: &dyn Fn(&mut Args, Option<i64>),
    kernel: &dyn Fn() -> T,
) -> T {
    if !is_tcp(fd) {
        return kernel();
    }
    // After close nothing can be asked any more.
    let before = Socket::of(fd);
    enter(name, fd, args);
    let ret = kernel();
    let after = if name == "close" {
        before
    } else {
        Socket::of(fd)
    };
    leave(name, fd, args, ret.number(), &after);
    ret
}

/// A call that makes a socket.
pub fn call_new(
    name: &str,
    args: &dyn Fn(&mut Args, Option<i64>),
    kernel: &dyn Fn() -> c_int,
) -> c_int {
    let fd = kernel();
    if is_tcp(fd) {
        // Its kind is known only now; nothing can come between.
        enter(name, -1, args);
        leave(name, -1, args, fd.into(), &Socket::of(fd));
    }
    fd
}

/// A call on many descriptors: noted if its arguments name any.
pub fn call_many(
    name: &str,
    args: &dyn Fn(&mut Args, Option<i64>),
    kernel: &dyn Fn() -> c_int,
) -> c_int {
    enter(name, -1, args);
    let ret = kernel();
    leave(name, -1, args, ret.into(), &Socket::default());
    ret
}

fn option(fd: c_int, level: c_int, name: c_int, value: &mut [u8]) -> bool {
    let mut len = value.len() as socklen_t;
    // SAFETY: value and length are valid for the call.
    unsafe {
        kernel::call(
            libc::SYS_getsockopt,
            [
                fd as usize,
                level as usize,
                name as usize,
                value.as_mut_ptr() as usize,
                &raw mut len as usize,
                0,
            ],
        )
    }
    .is_ok()
}

fn int_option(fd: c_int, name: c_int) -> Option<c_int> {
    let mut value = [0; 4];
    option(fd, libc::SOL_SOCKET, name, &mut value).then(|| c_int::from_ne_bytes(value))
}

fn is_tcp(fd: c_int) -> bool {
    let (Some(domain), Some(kind), Some(protocol)) = (
        int_option(fd, libc::SO_DOMAIN),
        int_option(fd, libc::SO_TYPE),
        int_option(fd, libc::SO_PROTOCOL),
    ) else {
        return false;
    };
    lifecycle::is_tcp(domain, kind, protocol).is_some()
}

/// What the kernel says of a socket.
#[derive(Clone, Copy, Default)]
struct Socket {
    local: Option<sockaddr::Given>,
    peer: Option<sockaddr::Given>,
    state: Option<&'static str>,
}

impl Socket {
    fn of(fd: c_int) -> Socket {
        let mut info = [0; 104];
        let state = option(fd, libc::SOL_TCP, libc::TCP_INFO, &mut info)
            .then(|| state_name(info[0]))
            .flatten();
        Socket {
            local: address(libc::SYS_getsockname, fd),
            peer: address(libc::SYS_getpeername, fd),
            state,
        }
    }
}

fn address(number: libc::c_long, fd: c_int) -> Option<sockaddr::Given> {
    let mut bytes = [0u8; size_of::<libc::sockaddr_storage>()];
    let mut len = bytes.len() as socklen_t;
    // SAFETY: address and length are valid for the call.
    let got = unsafe {
        kernel::call(
            number,
            [
                fd as usize,
                bytes.as_mut_ptr() as usize,
                &raw mut len as usize,
                0,
                0,
                0,
            ],
        )
    };
    got.ok()?;
    sockaddr::Given::read(bytes.as_ptr().cast::<SockAddr>(), len).ok()
}

fn state_name(number: u8) -> Option<&'static str> {
    let all = [
        (State::Closed, "CLOSED"),
        (State::Listen, "LISTEN"),
        (State::SynSent, "SYN_SENT"),
        (State::SynReceived, "SYN_RECEIVED"),
        (State::Established, "ESTABLISHED"),
        (State::FinWait1, "FIN_WAIT_1"),
        (State::FinWait2, "FIN_WAIT_2"),
        (State::CloseWait, "CLOSE_WAIT"),
        (State::Closing, "CLOSING"),
        (State::LastAck, "LAST_ACK"),
        (State::TimeWait, "TIME_WAIT"),
    ];
    let found = all
        .iter()
        .find(|(state, _)| tcp_info::state_number(*state) == number)?;
    Some(found.1)
}

fn enter(name: &str, fd: c_int, args: &dyn Fn(&mut Args, Option<i64>)) {
    let saved = errno::get();
    let mut line = Line::begin("enter", name, fd, args, None);
    line.end();
    errno::set(saved);
}

fn leave(name: &str, fd: c_int, args: &dyn Fn(&mut Args, Option<i64>), ret: i64, socket: &Socket) {
    let saved = errno::get();
    let error = if ret == -1 { saved } else { 0 };
    let mut line = Line::begin("return", name, fd, args, Some(ret));
    let _ = write!(line, ",\"ret\":{ret},\"errno\":{error}");
    if let Some(local) = &socket.local {
        let _ = write!(line, ",\"local\":\"{local}\"");
    }
    if let Some(peer) = &socket.peer {
        let _ = write!(line, ",\"peer\":\"{peer}\"");
    }
    if let Some(state) = socket.state {
        let _ = write!(line, ",\"state\":\"{state}\"");
    }
    line.end();
    errno::set(saved);
}

/// A line under construction.
struct Line {
    bytes: [u8; 1024],
    len: usize,
}

impl Line {
    fn begin(
        event: &str,
        name: &str,
        fd: c_int,
        args: &dyn Fn(&mut Args, Option<i64>),
        ret: Option<i64>,
    ) -> Line {
        let mut line = Line {
            bytes: [0; 1024],
            len: 0,
        };
        let mut text = Args::new();
        args(&mut text, ret);
        let (time, pid, tid) = (sys::now().0, process::pid(), process::tid());
        let _ = write!(
            line,
            "{{\"time\":{time},\"pid\":{pid},\"tid\":{tid},\"event\":\"{event}\",\
             \"name\":\"{name}\",\"fd\":{fd},\"args\":\"",
        );
        for c in text.as_str().chars() {
            let _ = match c {
                '"' | '\\' => write!(line, "\\{c}"),
                ' '..='\u{7e}' => line.write_char(c),
                _ => write!(line, "\\u{:04x}", u32::from(c)),
            };
        }
        let _ = line.write_str("\"");
        line
    }

    fn end(&mut self) {
        let _ = self.write_str("}\n");
        let notes = NOTES.load(Ordering::Relaxed);
        if let Some(line) = self.bytes.get(..self.len) {
            let _ = io::write(notes, line);
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + s.len());
        place.ok_or(fmt::Error)?.copy_from_slice(s.as_bytes());
        self.len += s.len();
        Ok(())
    }
}
