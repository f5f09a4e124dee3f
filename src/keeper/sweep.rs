//! Finding what dead processes left behind that has no far end to tell.
//!
//! A socket that is merely bound has no far end yet, one that showed an error has none any
//! more, and a keeper that takes over has none at all. Their descriptors' names tell instead:
//! as long as any process holds the descriptor, nobody else can bind its name. It is the same
//! with waiters and their bells.

use super::far::Fars;
use crate::runtime::Runtime;
use crate::stack::SockId;
use crate::sys::{self, bell, unix};
use crate::time::{Duration, Instant};

/// What has no name yet is given this long to get one.
const GRACE: Duration = Duration::from_secs(2);
/// How often to look while there are sockets without a far end ...
const INTERVAL: Duration = Duration::from_secs(2);
/// ... and at the most this part of the time.
const SHARE: u32 = 200;
/// After a process's connection ended: its other descriptors are closed right after.
const AFTER_AN_END: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(1000),
];
/// Sockets or waiters looked at under one hold of the lock.
const PORTION: usize = 128;
/// How long to wait for the lock.
const LOCK_PATIENCE: Duration = Duration::from_millis(50);

/// What is to be swept, and when.
#[derive(Debug)]
pub struct Sweep {
    next: Instant,
    /// Place in [`AFTER_AN_END`], counted from when `ended`.
    step: usize,
    ended: Instant,
    /// Sockets without inode, seen at this time.
    nameless: Vec<(SockId, Instant)>,
    /// Waiters without bell, seen at this time: number and process.
    mute: Vec<((u16, u32), Instant)>,
}

impl Default for Sweep {
    fn default() -> Sweep {
        Sweep {
            next: Instant::NEVER,
            step: AFTER_AN_END.len(),
            ended: Instant::NEVER,
            nameless: Vec::new(),
            mute: Vec::new(),
        }
    }
}

impl Sweep {
    /// When [`Sweep::run`] is to be called.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// It is time.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Sweep at `at` at the latest.
    pub fn soon(&mut self, at: Instant) {
        self.next = self.next.min(at);
    }

    /// A process ended, or is just ending.
    pub fn after_an_end(&mut self, now: Instant) {
        self.step = 0;
        self.ended = now;
        self.soon(now);
    }

    /// Look at everything that could have been left behind; sockets to be closed are added to
    /// `to_close`.
    pub fn run(
        &mut self,
        runtime: &Runtime,
        fars: &Fars,
        to_close: &mut Vec<SockId>,
        now: Instant,
    ) {
        let candidates = self.sockets(runtime, fars, to_close, now) | self.waiters(runtime, now);
        let spent = sys::now().since(now);
        self.step = (self.step + 1).min(AFTER_AN_END.len());
        self.next = match AFTER_AN_END.get(self.step) {
            Some(after) => self.ended + *after,
            None if candidates => now + INTERVAL.max(spent * SHARE),
            None => Instant::NEVER,
        };
    }

    /// True when some are left that might be found gone later.
    fn sockets(
        &mut self,
        runtime: &Runtime,
        fars: &Fars,
        to_close: &mut Vec<SockId>,
        now: Instant,
    ) -> bool {
        let mut left = false;
        let mut nameless = Vec::new();
        let mut cursor = 1;
        while cursor != 0 {
            let mut portion = [(SockId::default(), false); PORTION];
            let Some(count) = portion_of_sockets(runtime, fars, &mut cursor, &mut portion) else {
                return true;
            };
            for &(id, named) in portion.iter().take(count) {
                let since = self.nameless.iter().find(|(old, _)| *old == id);
                let since = since.map_or(now, |(_, since)| *since);
                if !named && now.since(since) < GRACE {
                    nameless.push((id, since));
                    left = true;
                } else if is_gone(runtime, id) {
                    to_close.push(id);
                } else {
                    left = true;
                }
            }
        }
        self.nameless = nameless;
        left
    }

    /// Give back the numbers of waiters whose processes ended. True when some are left that
    /// might be found gone later.
    fn waiters(&mut self, runtime: &Runtime, now: Instant) -> bool {
        let mut mute = Vec::new();
        let mut cursor = 1;
        while cursor != 0 {
            let mut portion = [(0u16, 0u32); PORTION];
            let Some(count) = portion_of_waiters(runtime, &mut cursor, &mut portion) else {
                return true;
            };
            for &waiter in portion.iter().take(count) {
                if bell::hangs(&runtime.bell_name(waiter.0)) {
                    continue;
                }
                let since = self.mute.iter().find(|(old, _)| *old == waiter);
                let since = since.map_or(now, |(_, since)| *since);
                if now.since(since) < GRACE {
                    mute.push((waiter, since));
                } else if let Some(mut host) =
                    runtime.enter_until(sys::now() + LOCK_PATIENCE, false)
                    && let Some(w) = host.sh.waiters.get(u32::from(waiter.0))
                    && w.pid == waiter.1
                {
                    host.free_waiter(waiter.0);
                }
            }
        }
        self.mute = mute;
        !self.mute.is_empty()
    }
}

/// Whether no process holds the descriptor of socket `id`.
pub fn is_gone(runtime: &Runtime, id: SockId) -> bool {
    let Ok(scratch) = unix::socket(unix::Kind::Stream, false) else {
        return false;
    };
    unix::bind(scratch.raw(), &runtime.socket_name(id.number())).is_ok()
}

/// Sockets from `cursor` on that a program holds and that have no far end here, and whether
/// their descriptors have names; `cursor` is where to go on, 0 at the end. `None`: the lock was
/// not to be had.
fn portion_of_sockets(
    runtime: &Runtime,
    fars: &Fars,
    cursor: &mut u32,
    portion: &mut [(SockId, bool); PORTION],
) -> Option<usize> {
    let host = runtime.enter_until(sys::now() + LOCK_PATIENCE, false)?;
    let mut count = 0;
    for index in *cursor..=host.sh.sockets.high_water() {
        let Some(socket) = host.sh.sockets.get(index) else {
            continue;
        };
        let id = SockId {
            index,
            generation: socket.generation,
        };
        if socket.orphan || socket.embryonic || socket.generation == 0 || fars.has(id) {
            continue;
        }
        let Some(place) = portion.get_mut(count) else {
            *cursor = index;
            return Some(count);
        };
        *place = (id, socket.owner.inode != 0);
        count += 1;
    }
    *cursor = 0;
    Some(count)
}

/// The same for waiters, each with its process.
fn portion_of_waiters(
    runtime: &Runtime,
    cursor: &mut u32,
    portion: &mut [(u16, u32); PORTION],
) -> Option<usize> {
    let host = runtime.enter_until(sys::now() + LOCK_PATIENCE, false)?;
    let mut count = 0;
    for index in *cursor..=host.sh.waiters.high_water() {
        let Some(waiter) = host.sh.waiters.get(index) else {
            continue;
        };
        let Some(place) = portion.get_mut(count) else {
            *cursor = index;
            return Some(count);
        };
        *place = (index as u16, waiter.pid);
        count += 1;
    }
    *cursor = 0;
    Some(count)
}
