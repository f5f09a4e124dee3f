//! epoll: the kernel's own, on the near ends, whose readiness is mirrored from the moment a
//! socket is added. While a thread waits, it runs the stack.

use crate::blocked::{self, Ended};
use crate::dispatch::CANCELLED;
use crate::errepoll;
use crate::errno::Result;
use crate::fars;
use crate::fdtable::{self, Entry};
use crate::process;
use core::ffi::c_int;
use libc::{epoll_event, pollfd};
use utcp_stack::runtime::{Runtime, Wait, Woken};
use utcp_stack::stack::SockId;
use utcp_stack::sys::{self, Errno, syscall};
use utcp_stack::time::{Duration, Instant};

/// Linux's EP_MAX_EVENTS.
const MOST: c_int = (i32::MAX as usize / size_of::<epoll_event>()) as c_int;

/// A socket of the stack was added to a set (or changed in it): from now on its descriptor has
/// to show the truth at once.
pub fn watched(rt: &Runtime, id: SockId) {
    fars::wanted();
    let _ = rt.enter().watch(id);
}

/// Remember that descriptor `fd` was added to `set`.
pub fn added(set: c_int, fd: c_int) {
    if matches!(fdtable::known(fd), Entry::Ours(_) | Entry::Set) {
        fdtable::set(set, Entry::Set);
    }
}

/// The stack, if waiting for `set` has to run it.
#[inline]
pub fn concerned(set: c_int) -> Option<&'static Runtime> {
    match fdtable::known(set) {
        Entry::Set => process::attached(),
        _ => None,
    }
}

/// epoll_wait(2) and its kin on a set with sockets of the stack.
pub fn wait(
    rt: &'static Runtime,
    set: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: Option<Duration>,
    mask: Option<u64>,
) -> Result<c_int> {
    if !(1..=MOST).contains(&most) {
        return Err(Errno(libc::EINVAL));
    }
    let end = timeout.map_or(Instant::NEVER, |t| sys::now() + t);
    loop {
        // Before what is there is looked at: what comes from now on ends the wait.
        let came = errepoll::is_used().then(|| rt.enter().sh.notices_came);
        if let Some(came) = came.filter(|came| *came != 0) {
            let ready = take(rt, set, events, most, came)?;
            if ready > 0 {
                return Ok(ready);
            }
        }
        let mut fds = [pollfd {
            fd: set,
            events: libc::POLLIN,
            revents: 0,
        }];
        let wait = Wait {
            sockets: &[],
            fds: &mut fds,
            timeout: timeout.map(|_| end.since(sys::now())),
            // Without waiting no signal is let through (Linux: `ep_poll`).
            sigmask: mask.filter(|_| timeout != Some(Duration::ZERO)),
            stops: true,
        };
        let ended = blocked::block(rt, wait, |host, fds| {
            let now = host.sh.notices_came;
            // Another thread may have been the first to use an error queue, while this one slept.
            let noticed = errepoll::is_used() && came.is_none_or(|came| now != came);
            let ready = fds.first().is_some_and(|f| f.revents != 0);
            (ready || noticed).then_some(now)
        });
        let came = match ended {
            Ended::Woken(Woken::Ready(came)) => came,
            Ended::Woken(Woken::TimedOut) => return Ok(0),
            Ended::Woken(Woken::Interrupted { .. }) => return Err(Errno(libc::EINTR)),
            Ended::Cancelled => return Err(CANCELLED),
        };
        // Another thread may have been faster, or it was an edge that has gone.
        match take(rt, set, events, most, came)? {
            0 if sys::now() < end => {}
            n => return Ok(n),
        }
    }
}

/// epoll_wait without waiting, after `came` notices.
fn take(
    rt: &Runtime,
    set: c_int,
    events: *mut epoll_event,
    most: c_int,
    came: u32,
) -> Result<c_int> {
    if came == 0 || !errepoll::is_used() {
        return ask(set, events, most);
    }
    errepoll::take(rt, set, events, most, |most| ask(set, events, most))
}

fn ask(set: c_int, events: *mut epoll_event, most: c_int) -> Result<c_int> {
    // SAFETY: the kernel checks the program's pointer.
    unsafe {
        syscall(
            libc::SYS_epoll_wait,
            [set as usize, events as usize, most as usize, 0, 0, 0],
        )
    }
    .map(|n| n as c_int)
}
