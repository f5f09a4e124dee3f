//! Calls on the stack's sockets as events, while somebody traces.

use crate::args::Args;
use crate::dispatch::Sock;
use crate::errno::{Result, Returned};
use core::ffi::c_int;
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::SockId;
use utcp_stack::sys::{self, process};
use utcp_stack::trace::{Event, Text, What};

/// Whether somebody traces.
#[inline]
pub fn enabled(rt: &Runtime) -> bool {
    // SAFETY: the arena is mapped; a number that others change is read as a volatile one, and
    // an old value does no harm.
    unsafe { (&raw const (*rt.arena().as_ptr()).trace.tracers).read_volatile() != 0 }
}

/// A program made a call.
#[cold]
pub fn enter(sock: Sock, name: &'static str, args: &dyn Fn(&mut Args, Option<i64>)) {
    let mut text = Args::new();
    args(&mut text, None);
    let what = What::Enter {
        name: Text::new(name),
        fd: sock.fd,
        args: Text::new(text.as_str()),
    };
    push(sock.rt, sock.id, what);
}

/// The call returned.
#[cold]
pub fn leave<T: Returned>(
    sock: Sock,
    name: &'static str,
    args: &dyn Fn(&mut Args, Option<i64>),
    result: Result<T>,
) {
    let (ret, errno) = match result {
        Ok(v) => (v.number(), 0),
        Err(e) => (-1, e.0),
    };
    made(sock.rt, sock.id, name, sock.fd, args, ret, errno);
}

/// A call that has no socket when it begins (socket(2)), or many (poll): all at its return.
#[cold]
pub fn made(
    rt: &Runtime,
    id: SockId,
    name: &'static str,
    fd: c_int,
    args: &dyn Fn(&mut Args, Option<i64>),
    ret: i64,
    errno: c_int,
) {
    let mut text = Args::new();
    args(&mut text, Some(ret));
    let what = What::Return {
        name: Text::new(name),
        fd,
        args: Text::new(text.as_str()),
        ret,
        errno,
    };
    push(rt, id, what);
}

/// A call without a socket began.
#[cold]
pub fn begun(rt: &Runtime, name: &'static str, args: &dyn Fn(&mut Args, Option<i64>)) {
    let mut text = Args::new();
    args(&mut text, None);
    let what = What::Enter {
        name: Text::new(name),
        fd: -1,
        args: Text::new(text.as_str()),
    };
    push(rt, SockId::default(), what);
}

fn push(rt: &Runtime, id: SockId, what: What) {
    let tid = process::tid();
    let mut session = rt.enter();
    let event = Event {
        number: 0,
        time: sys::now(),
        pid: session.pid,
        tid,
        socket: id.number(),
        what,
    };
    session.sh.trace.push(event);
}
