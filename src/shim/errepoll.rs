//! EPOLLERR of the error queue (MSG_ZEROCOPY's completions, timestamps of what was sent).
//!
//! A near end can't be made to show it: AF_UNIX knows no error but that of a far end that has
//! gone. So what epoll_wait(2) gives is mended: the sets say themselves which sockets they hold,
//! in /proc/self/fdinfo. That costs a file on each wait, so only a program that was seen to use
//! error queues pays, from the stack's first notice on.
//!
//! Which entries there are, what the kernel gives for them, and what becomes of them is one step to
//! other threads that wait for the set or change it, as it is in the kernel. Other processes with
//! the same set don't take part: they may be shown an edge, or an EPOLLONESHOT entry's event, too.

use crate::errno::Result;
use crate::fdtable::{self, Entry};
use crate::memory;
use crate::polling::poll_bits;
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, Ordering};
use libc::epoll_event;
use std::collections::BTreeMap;
use std::ffi::CString;
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::{Ready, SockId};
use utcp_stack::sys::process::{block_signals, set_mask};
use utcp_stack::sys::{io, syscall};

/// Bits of an entry that are no events.
const PRIVATE: u32 = (libc::EPOLLWAKEUP | libc::EPOLLONESHOT | libc::EPOLLET) as u32 | 1 << 28;
/// No descriptor ever shows it, and it has no name: an EPOLLONESHOT entry asks for it that has fired.
const FIRED: u32 = 1 << 20;
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

struct State {
    /// By set and descriptor, of EPOLLET entries alone: how many notices had come when an edge was
    /// shown; `None` if what is there is an edge again.
    shown: BTreeMap<(c_int, c_int), Option<u32>>,
    /// The first entry that found no room the last time.
    next: usize,
    /// The only place there was was the kernel's the last time.
    kernels: bool,
}

/// A mutex of libc's: of those that are contended for while the process forks, the child can go on
/// with the forking thread's, where one with a queue of its own would be handed to a thread that
/// isn't there.
struct Locked {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    state: UnsafeCell<State>,
}

// SAFETY: who has the mutex has the state.
unsafe impl Sync for Locked {}

static STATE: Locked = Locked {
    mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    state: UnsafeCell::new(State {
        shown: BTreeMap::new(),
        next: 0,
        kernels: false,
    }),
};

/// With the lock, and signals blocked: a handler may wait for a set.
fn locked<R>(f: impl FnOnce(&mut State) -> R) -> R {
    let mask = block_signals();
    before_fork();
    // SAFETY: this thread has the mutex, and takes it once: `f` is given what there is.
    let done = f(unsafe { &mut *STATE.state.get() });
    after_fork();
    set_mask(mask);
    done
}

/// Around fork; see [`crate::process`]. Before all other locks, which are taken with this one held.
pub fn before_fork() {
    // SAFETY: a mutex that was never moved.
    unsafe { libc::pthread_mutex_lock(STATE.mutex.get()) };
}

/// See [`before_fork`]; in the parent and in the child.
pub fn after_fork() {
    // SAFETY: locked by `before_fork`, in this thread or the one it is a copy of.
    unsafe { libc::pthread_mutex_unlock(STATE.mutex.get()) };
}

/// epoll_ctl(2), which is `call`: afterwards what is there is an edge again.
pub fn changing(set: c_int, fd: c_int, call: impl FnOnce() -> c_int) -> c_int {
    if !is_used() {
        return call();
    }
    locked(|state| {
        let done = call();
        if done == 0
            && let Some(shown) = state.shown.get_mut(&(set, fd))
        {
            *shown = None;
        }
        done
    })
}

/// An entry of a set, for a socket whose error queue has held something.
struct Noticed {
    fd: c_int,
    asked: u32,
    data: u64,
    id: SockId,
    /// No other entry has the same data.
    alone: bool,
    ready: Ready,
    came: u32,
}

impl Noticed {
    fn has(&self, bits: c_int) -> bool {
        self.asked & bits as u32 != 0
    }

    fn fired(&self) -> bool {
        self.asked & FIRED != 0
    }

    /// It asks for events.
    fn armed(&self) -> bool {
        self.asked & !PRIVATE != 0 && !self.fired()
    }

    /// There is something in the error queue.
    fn pending(&self) -> bool {
        self.ready.has(Ready::ERR)
    }

    /// The events to be told.
    fn bits(&self) -> u32 {
        u32::from(poll_bits(self.ready) as u16) & (self.asked & !PRIVATE | UNASKED)
    }
}

/// The entries of `set` for sockets whose error queues have held something.
fn entries(rt: &Runtime, set: c_int) -> Vec<Noticed> {
    let text = CString::new(format!("/proc/self/fdinfo/{set}")).ok();
    let Some(text) = text.and_then(|path| io::read_file(&path)) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&text);
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let mut after = |name| words.find(|w| *w == name).and_then(|_| words.next());
        let fd: c_int = after("tfd:")?.parse().ok()?;
        let asked = u32::from_str_radix(after("events:")?, 16).ok()?;
        let data = u64::from_str_radix(after("data:")?, 16).ok()?;
        Some((fd, asked, data))
    };
    let all: Vec<_> = text.lines().filter_map(line).collect();
    let ours = |&(fd, asked, data): &(c_int, u32, u64)| {
        let Entry::Ours(id) = fdtable::known(fd) else {
            return None;
        };
        let mut e = Noticed {
            fd,
            asked,
            data,
            id,
            alone: false,
            ready: Ready(0),
            came: 0,
        };
        // Of interest for these only, which are few.
        e.alone = e.fired() && all.iter().filter(|o| o.2 == data).count() == 1;
        Some(e)
    };
    let mut found: Vec<Noticed> = all.iter().filter_map(ours).collect();
    if found.is_empty() {
        return found;
    }
    // The lock is everybody's: under it nothing but a look.
    let host = rt.enter();
    found.retain_mut(|e| match host.socket(e.id) {
        Ok(socket) if socket.errors.came != 0 => {
            (e.ready, e.came) = (socket.ready_now(), socket.errors.came);
            true
        }
        _ => false,
    });
    drop(host);
    found
}

/// epoll_wait(2) without waiting: what `ask` gives, which asks the kernel for as many events as it is
/// told to, and what the kernel doesn't know.
pub fn take(
    rt: &Runtime,
    set: c_int,
    events: *mut epoll_event,
    most: c_int,
    ask: impl FnOnce(c_int) -> Result<c_int>,
) -> Result<c_int> {
    locked(|state| {
        // Before the kernel's events are taken, which disarms EPOLLONESHOT.
        let entries = entries(rt, set);
        let waiting = |e: &Noticed| e.bits() != 0 && state.is_due(set, e);
        let any = entries.iter().any(waiting);
        let places = match most {
            1 if any => {
                state.kernels = !state.kernels;
                c_int::from(state.kernels)
            }
            // However much the kernel has, there is room for one of ours.
            2.. if any => most - 1,
            _ => most,
        };
        let got = if most == 1 && places == 0 {
            0
        } else {
            ask(places)?
        };
        state.mend(set, &entries, events, got, most)
    })
}

impl State {
    /// There is something to be told of the entry.
    fn is_due(&self, set: c_int, e: &Noticed) -> bool {
        if !e.armed() {
            false
        } else if e.has(libc::EPOLLET) {
            // What was taken again has still been an edge.
            self.shown.get(&(set, e.fd)) != Some(&Some(e.came))
        } else {
            e.pending()
        }
    }

    /// The kernel gave `got` events, and there is room for `most`: add what it doesn't know.
    fn mend(
        &mut self,
        set: c_int,
        entries: &[Noticed],
        events: *mut epoll_event,
        got: c_int,
        most: c_int,
    ) -> Result<c_int> {
        if entries.is_empty() {
            return Ok(got);
        }
        let mut list = memory::read_many(events.cast_const(), got.max(0) as usize)?;
        let mut changed = false;
        // The kernel adds these two to what is asked for, even by an entry that has fired.
        for e in entries.iter().filter(|e| e.fired() && e.alone) {
            list.retain(|event| event.u64 != e.data || event.events & !UNASKED != 0);
        }
        let mut told = Vec::new();
        let mut left_out = None;
        let start = self.next % entries.len();
        let (last, first) = entries.split_at(start);
        for (i, e) in first.iter().chain(last).enumerate() {
            if !e.armed() {
                continue;
            }
            if let Some(event) = list.iter_mut().find(|event| event.u64 == e.data) {
                if e.pending() {
                    event.events |= libc::EPOLLERR as u32;
                    changed = true;
                }
                told.push((e, false));
            } else if self.is_due(set, e) {
                let bits = e.bits();
                if bits == 0 {
                    told.push((e, false));
                } else if list.len() < most.max(0) as usize {
                    list.push(epoll_event {
                        events: bits,
                        u64: e.data,
                    });
                    changed = true;
                    told.push((e, e.has(libc::EPOLLONESHOT)));
                } else if left_out.is_none() {
                    left_out = Some((start + i) % entries.len());
                }
            }
        }
        if changed || list.len() < got.max(0) as usize {
            memory::write_many(events, &list)?;
        }
        self.next = left_out.unwrap_or(0);
        for (e, fires) in told {
            if e.has(libc::EPOLLET) {
                self.shown.insert((set, e.fd), Some(e.came));
            }
            if fires {
                disarm(set, e);
            }
        }
        self.forget_gone(set, entries);
        Ok(list.len() as c_int)
    }

    /// Forget entries that are no more. Not when they are taken out or closed, which signal
    /// handlers may do, who must not give memory back.
    fn forget_gone(&mut self, set: c_int, entries: &[Noticed]) {
        let edges = entries.iter().filter(|e| e.has(libc::EPOLLET)).count();
        let kept = self.shown.range((set, c_int::MIN)..=(set, c_int::MAX));
        if kept.count() <= edges {
            return;
        }
        let mut there: Vec<c_int> = entries.iter().map(|e| e.fd).collect();
        there.sort_unstable();
        self.shown.retain(|&(of, fd), _| {
            if of == set {
                there.binary_search(&fd).is_ok()
            } else {
                fdtable::known(of) == Entry::Set
            }
        });
    }
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
