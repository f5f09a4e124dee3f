//! EPOLLERR of the error queue (MSG_ZEROCOPY's completions, timestamps of what was sent).
//!
//! A near end can't be made to show it: AF_UNIX knows no error but that of a far end that has
//! gone. So what epoll_wait(2) gives is mended: the sets say themselves which sockets they hold,
//! in /proc/self/fdinfo. That costs a file on each wait, so only a program that was seen to use
//! error queues pays.

use crate::errno::Result;
use crate::fdtable::{self, Entry};
use crate::memory;
use crate::polling::poll_bits;
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, Ordering};
use libc::epoll_event;
use parking_lot::Mutex;
use std::ffi::CString;
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::Ready;
use utcp_stack::sys::{io, syscall};

/// Bits of an entry that are no events.
const PRIVATE: u32 = (libc::EPOLLWAKEUP | libc::EPOLLONESHOT | libc::EPOLLET) as u32 | 1 << 28;
/// No socket of ours ever shows it: an EPOLLONESHOT entry asks for it that has fired.
const FIRED: u32 = 0x400;
/// Always asked for.
const UNASKED: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

static USED: AtomicBool = AtomicBool::new(false);

/// The program uses error queues.
pub fn used() {
    USED.store(true, Ordering::Relaxed);
}

/// Whether it does.
pub fn is_used() -> bool {
    USED.load(Ordering::Relaxed)
}

/// By set and descriptor: how many notices had come when an edge was shown.
#[derive(Clone, Copy)]
struct Seen {
    set: c_int,
    fd: c_int,
    came: u32,
}

struct Edges {
    seen: [Option<Seen>; 64],
    next: usize,
}

static EDGES: Mutex<Edges> = Mutex::new(Edges {
    seen: [None; 64],
    next: 0,
});

impl Edges {
    fn place(&mut self, set: c_int, fd: c_int) -> Option<&mut Option<Seen>> {
        let at = |s: &Option<Seen>| matches!(s, Some(s) if s.set == set && s.fd == fd);
        self.seen.iter_mut().find(|s| at(s))
    }

    fn is_new(&mut self, set: c_int, fd: c_int, came: u32) -> bool {
        !matches!(self.place(set, fd), Some(Some(s)) if s.came == came)
    }

    fn show(&mut self, set: c_int, fd: c_int, came: u32) {
        let seen = Some(Seen { set, fd, came });
        if let Some(place) = self.place(set, fd) {
            *place = seen;
            return;
        }
        // One that is forgotten shows an edge too many.
        let next = self.next % self.seen.len();
        self.next = next + 1;
        if let Some(place) = self.seen.get_mut(next) {
            *place = seen;
        }
    }
}

/// epoll_ctl(2) was called: what is there is an edge again.
pub fn changed(set: c_int, fd: c_int) {
    if is_used()
        && let Some(place) = EDGES.lock().place(set, fd)
    {
        *place = None;
    }
}

/// An entry of a set, for a socket whose error queue has held something.
pub struct Noticed {
    fd: c_int,
    asked: u32,
    data: u64,
    ready: Ready,
    came: u32,
}

/// The entries of `set` for sockets whose error queues have held something. To be asked for before the
/// kernel's events are taken, which disarms EPOLLONESHOT.
pub fn entries(rt: &Runtime, set: c_int) -> Vec<Noticed> {
    let text = CString::new(format!("/proc/self/fdinfo/{set}")).ok();
    let Some(text) = text.and_then(|path| io::read_file(&path)) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&text);
    let host = rt.enter();
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let mut after = |name| words.find(|w| *w == name).and_then(|_| words.next());
        let fd: c_int = after("tfd:")?.parse().ok()?;
        let asked = u32::from_str_radix(after("events:")?, 16).ok()?;
        let data = u64::from_str_radix(after("data:")?, 16).ok()?;
        let Entry::Ours(id) = fdtable::known(fd) else {
            return None;
        };
        let socket = host.socket(id).ok().filter(|s| s.errors.came != 0)?;
        let (ready, came) = (socket.ready_now(), socket.errors.came);
        Some(Noticed {
            fd,
            asked,
            data,
            ready,
            came,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// The kernel gave `got` events, and there is room for `most`: add what it doesn't know.
pub fn mend(
    set: c_int,
    entries: &[Noticed],
    events: *mut epoll_event,
    got: c_int,
    most: c_int,
) -> Result<c_int> {
    let mut got = got;
    let mut edges = EDGES.lock();
    for e in entries {
        let wanted = e.asked & !PRIVATE;
        if wanted == 0 || wanted & FIRED != 0 {
            continue;
        }
        // What was taken again has still been an edge.
        let pending = e.ready.has(Ready::ERR);
        let mut known = false;
        for i in 0..got {
            let at = events.wrapping_add(i as usize);
            let mut event: epoll_event = memory::read(at.cast_const())?;
            if event.u64 == e.data {
                if pending {
                    event.events |= libc::EPOLLERR as u32;
                    memory::write(at, event)?;
                }
                known = true;
                break;
            }
        }
        let edge = e.asked & libc::EPOLLET as u32 != 0;
        let due = if edge {
            edges.is_new(set, e.fd, e.came)
        } else {
            pending
        };
        let bits = u32::from(poll_bits(e.ready) as u16) & (wanted | UNASKED);
        if !known && due && bits == 0 {
            edges.show(set, e.fd, e.came);
        } else if !known && due && got < most {
            let event = epoll_event {
                events: bits,
                u64: e.data,
            };
            memory::write(events.wrapping_add(got as usize), event)?;
            got += 1;
            known = true;
            if e.asked & libc::EPOLLONESHOT as u32 != 0 {
                disarm(set, e);
            }
        }
        if known {
            edges.show(set, e.fd, e.came);
        }
    }
    Ok(got)
}

/// An entry with EPOLLONESHOT has fired, and the kernel doesn't know.
fn disarm(set: c_int, e: &Noticed) {
    let event = epoll_event {
        events: e.asked & PRIVATE | FIRED,
        u64: e.data,
    };
    let args = [
        set as usize,
        libc::EPOLL_CTL_MOD as usize,
        e.fd as usize,
        (&raw const event) as usize,
        0,
        0,
    ];
    // SAFETY: `event` lives.
    let _ = unsafe { syscall(libc::SYS_epoll_ctl, args) };
}
