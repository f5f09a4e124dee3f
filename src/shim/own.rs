//! Descriptors of the library's own: the connection to the keeper, the device, bells. Programs
//! that close what they don't know must not close them.

use crate::errno::Result;
use crate::{blocked, fdtable, kernel, lifecycle, observe, process};
use core::ffi::{c_int, c_uint};
use libc::{CLOSE_RANGE_CLOEXEC, CLOSE_RANGE_UNSHARE};
use utcp_stack::runtime::own;
use utcp_stack::stack::SockId;
use utcp_stack::sys::Errno;

/// Whether `fd` is one.
#[inline]
pub fn is(fd: c_int) -> bool {
    own::is(fd) && !process::in_vfork_child()
}

/// close_range(2) around them; `None` if there is nothing to be careful of.
pub fn close_range(first: c_uint, last: c_uint, flags: c_int) -> Option<Result<c_int>> {
    if observe::active() || first > last {
        return None;
    }
    let rt = process::attached();
    if rt.is_none() || process::in_vfork_child() {
        // What vfork's child closes is its own; ours go at exec in any case.
        if rt.is_none() {
            fdtable::forget_range(first, last);
        }
        return None;
    }
    if flags & !(CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE) as c_int != 0 {
        return Some(Err(Errno(libc::EINVAL)));
    }
    let closes = flags & CLOSE_RANGE_CLOEXEC as c_int == 0;
    let mut start = first;
    let mut result = Ok(0);
    while start <= last {
        // The next of ours ends a stretch.
        let stop = own::next(start).filter(|n| *n <= last);
        let end = stop.map_or(last, |n| n.wrapping_sub(1));
        if stop != Some(start) {
            result = stretch(start, end, flags, closes);
        }
        let Some(next) = stop.unwrap_or(last).checked_add(1) else {
            break;
        };
        start = next;
    }
    Some(result)
}

fn stretch(first: c_uint, last: c_uint, flags: c_int, closes: bool) -> Result<c_int> {
    if !closes {
        return raw(first, last, flags);
    }
    // Sockets of ours in the range, a few at a time: their close has to act at once.
    let mut from = first;
    loop {
        let mut batch: [Option<SockId>; 64] = [None; 64];
        let mut n = 0;
        let mut upto = last;
        fdtable::each_ours(from, last, |fd, id| {
            if n < batch.len() {
                blocked::keep_for_blocked(fd, id);
            }
            if let Some(place) = batch.get_mut(n) {
                *place = Some(id);
                n += 1;
                if n == 64 {
                    upto = fd as c_uint;
                }
            }
        });
        fdtable::forget_range(from, upto);
        raw(from, upto, flags)?;
        if let Some(rt) = process::attached() {
            for id in batch.into_iter().flatten() {
                lifecycle::released(rt, id);
            }
        }
        if upto >= last {
            return Ok(0);
        }
        from = upto + 1;
    }
}

fn raw(first: c_uint, last: c_uint, flags: c_int) -> Result<c_int> {
    // SAFETY: no pointers.
    unsafe {
        kernel::call(
            libc::SYS_close_range,
            [first as usize, last as usize, flags as usize, 0, 0, 0],
        )
    }
}
