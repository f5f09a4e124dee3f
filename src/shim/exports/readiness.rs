//! Waiting for descriptors.

use super::alias;
use crate::args::{Args, POLL};
use crate::dispatch::end;
use crate::errno::Result;
use crate::fdtable::{self, Entry};
use crate::messages::duration;
use crate::polling::{self, Sets};
use crate::{blocked, epoll, memory, observe, process, real, trace};
use core::ffi::c_int;
use libc::{epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};
use utcp_stack::stack::SockId;
use utcp_stack::sys::Errno;
use utcp_stack::time::Duration;

/// A time limit in milliseconds; negative is none.
fn millis(timeout: c_int) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

/// A time limit that may be null.
fn limit(timeout: *const timespec) -> Result<Option<Duration>> {
    if timeout.is_null() {
        return Ok(None);
    }
    duration(&memory::read(timeout)?).map(Some)
}

/// The kernel's part of a signal mask that may be null.
fn signals(mask: *const sigset_t) -> Result<Option<u64>> {
    if mask.is_null() {
        return Ok(None);
    }
    memory::read(mask.cast::<u64>()).map(Some)
}

/// A call that waits for several descriptors, of which some are the stack's: with its trace.
fn waiting(
    name: &'static str,
    args: &dyn Fn(&mut Args, Option<i64>),
    call: impl FnOnce() -> Option<Result<c_int>>,
) -> Option<Result<c_int>> {
    blocked::cancellation_point();
    let tracing = process::attached().filter(|rt| trace::enabled(rt));
    if let Some(rt) = tracing {
        trace::begun(rt, name, args);
    }
    let result = call();
    if let (Some(rt), Some(result)) = (tracing, result) {
        let (ret, errno) = result.map_or_else(|e| (-1, e.0), |n| (i64::from(n), 0));
        trace::made(rt, SockId::default(), name, -1, args, ret, errno);
    }
    result
}

fn poll_args(a: &mut Args, ret: Option<i64>, fds: *mut pollfd, n: nfds_t) {
    a.put(format_args!("["));
    for i in 0..(n as usize).min(4) {
        let Ok(f) = memory::read(fds.wrapping_add(i).cast::<u64>()) else {
            break;
        };
        let (fd, events, revents) = (f as u32 as c_int, (f >> 32) as i16, (f >> 48) as i16);
        let shown = if ret.is_some() { revents } else { events };
        let comma = if i == 0 { "" } else { ", " };
        a.put(format_args!("{comma}{fd}:"));
        let mut bits = Args::new();
        bits.flags(shown.into(), POLL);
        a.put(format_args!("{}", bits.as_str()));
    }
    a.put(format_args!("]"));
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    let args = |a: &mut Args, ret: Option<i64>| {
        poll_args(a, ret, fds, n);
        a.number(timeout.into());
    };
    // SAFETY: the caller's arguments.
    let kernel = || unsafe { real::poll(fds, n, timeout) };
    if observe::active() {
        return observe::call_many("poll", &args, &kernel);
    }
    // SAFETY: the caller's arguments.
    let call = || unsafe { polling::poll(fds, n, millis(timeout), None) };
    match waiting("poll", &args, call) {
        Some(result) => end(result),
        None => kernel(),
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn ppoll(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let args = |a: &mut Args, ret: Option<i64>| poll_args(a, ret, fds, n);
    // SAFETY: the caller's arguments.
    let kernel = || unsafe { real::ppoll(fds, n, timeout, mask) };
    if observe::active() {
        return observe::call_many("ppoll", &args, &kernel);
    }
    let (Ok(limit), Ok(mask)) = (limit(timeout), signals(mask)) else {
        // The kernel knows the errno.
        return kernel();
    };
    // SAFETY: the caller's arguments.
    let call = || unsafe { polling::poll(fds, n, limit, mask) };
    match waiting("ppoll", &args, call) {
        Some(result) => end(result),
        None => kernel(),
    }
}

alias! {
    __poll = poll: fn(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int;
    __select = select: fn(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *mut timeval) -> c_int;
}

fn select_args(a: &mut Args, sets: &Sets) {
    a.number(sets.n.into());
    for (name, set) in ["r", "w", "e"].iter().zip(0..) {
        if sets.sets[set].is_null() {
            a.word("NULL");
            continue;
        }
        a.next().put(format_args!("{name}["));
        let mut first = true;
        sets.each(|fd, wanted| {
            if wanted[set] {
                a.put(format_args!("{}{fd}", if first { "" } else { " " }));
                first = false;
            }
        });
        a.put(format_args!("]"));
    }
}

/// select's time limit.
fn timeval_limit(t: timeval) -> Result<Duration> {
    let (Ok(s), Ok(us)) = (u64::try_from(t.tv_sec), u64::try_from(t.tv_usec)) else {
        return Err(Errno(libc::EINVAL));
    };
    // The kernel takes more than a million microseconds here.
    Ok(Duration::from_secs(s).saturating_add(Duration::from_micros(us)))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn select(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    let sets = Sets { sets: [r, w, e], n };
    let args = |a: &mut Args, _: Option<i64>| select_args(a, &sets);
    // SAFETY: the caller's arguments.
    let kernel = || unsafe { real::select(n, r, w, e, timeout) };
    if observe::active() {
        return observe::call_many("select", &args, &kernel);
    }
    let limit = if timeout.is_null() {
        None
    } else {
        match memory::read(timeout.cast_const()).and_then(timeval_limit) {
            Ok(limit) => Some(limit),
            // The kernel knows the errno.
            Err(_) => return kernel(),
        }
    };
    let began = utcp_stack::sys::now();
    // SAFETY: the caller's arguments.
    let call = || unsafe { polling::select(sets, limit, None) };
    match waiting("select", &args, call) {
        Some(result) => {
            if let Some(limit) = limit {
                // Linux tells how much was left.
                let left = limit.saturating_sub(utcp_stack::sys::now().since(began));
                let left = timeval {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_usec: left.subsec_micros().into(),
                };
                let _ = memory::write(timeout, left);
            }
            end(result)
        }
        None => kernel(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pselect(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    e: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let sets = Sets { sets: [r, w, e], n };
    let args = |a: &mut Args, _: Option<i64>| select_args(a, &sets);
    // SAFETY: the caller's arguments.
    let kernel = || unsafe { real::pselect(n, r, w, e, timeout, mask) };
    if observe::active() {
        return observe::call_many("pselect", &args, &kernel);
    }
    let (Ok(limit), Ok(signals)) = (limit(timeout), signals(mask)) else {
        return kernel();
    };
    // SAFETY: the caller's arguments.
    let call = || unsafe { polling::select(sets, limit, signals) };
    match waiting("pselect", &args, call) {
        Some(result) => end(result),
        None => kernel(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_create(size: c_int) -> c_int {
    // SAFETY: the caller's arguments.
    crate::fars::wanted();
    fdtable::set_other(unsafe { real::epoll_create(size) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_create1(flags: c_int) -> c_int {
    // SAFETY: the caller's arguments.
    crate::fars::wanted();
    fdtable::set_other(unsafe { real::epoll_create1(flags) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_ctl(
    set: c_int,
    op: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    // SAFETY: the caller's arguments.
    let kernel = || unsafe { real::epoll_ctl(set, op, fd, event) };
    if observe::active() {
        return kernel();
    }
    let entry = fdtable::look(fd);
    if op != libc::EPOLL_CTL_DEL
        && let (Entry::Ours(id), Some(rt)) = (entry, process::attached())
    {
        epoll::watched(rt, id);
    }
    let done = crate::errepoll::changing(set, fd, kernel);
    if done == 0 && op == libc::EPOLL_CTL_ADD {
        epoll::added(set, fd);
    }
    done
}

fn epoll_wait_on(
    name: &'static str,
    set: c_int,
    events: *mut epoll_event,
    most: c_int,
    limit: Option<Duration>,
    mask: Option<u64>,
) -> Option<c_int> {
    let rt = epoll::concerned(set)?;
    let args = |a: &mut Args, _: Option<i64>| {
        a.number(set.into()).number(most.into());
    };
    let call = || Some(epoll::wait(rt, set, events, most, limit, mask));
    waiting(name, &args, call).map(end)
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_wait(
    set: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: c_int,
) -> c_int {
    if !observe::active()
        && let Some(n) = epoll_wait_on("epoll_wait", set, events, most, millis(timeout), None)
    {
        return n;
    }
    // SAFETY: the caller's arguments.
    unsafe { real::epoll_wait(set, events, most, timeout) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_pwait(
    set: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    if !observe::active()
        && let Ok(signals) = signals(mask)
        && let Some(n) = epoll_wait_on("epoll_pwait", set, events, most, millis(timeout), signals)
    {
        return n;
    }
    // SAFETY: the caller's arguments.
    unsafe { real::epoll_pwait(set, events, most, timeout, mask) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn epoll_pwait2(
    set: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    if !observe::active()
        && let (Ok(signals), Ok(limit)) = (signals(mask), limit(timeout))
        && let Some(n) = epoll_wait_on("epoll_pwait2", set, events, most, limit, signals)
    {
        return n;
    }
    // SAFETY: the caller's arguments.
    unsafe { real::epoll_pwait2(set, events, most, timeout, mask) }
}
