//! Finding what dead processes left behind that has no far end to tell.
//!
//! A socket that is merely bound has no far end yet, one that showed an error has none any
//! more, and a keeper that takes over has none at all. Their descriptors' names tell instead:
//! a name is there as long as any process holds the descriptor, whatever process that is. It
//! is the same with waiters and their bells, and with tracers. (Process ids would tell less: descriptors are
//! passed on, ids are used again, and mean nothing across pid namespaces.)
//!
//! A process that ended may also have been about to ring somebody's bell. So after each end
//! everybody who waits is rung, once.

use super::far::Fars;
use crate::runtime::Runtime;
use crate::stack::SockId;
use crate::sys::{self, io, unix};
use crate::time::{Duration, Instant};

/// What has no name is given this long to get one: a socket is made before its descriptor is.
const GRACE: Duration = Duration::from_secs(1);
/// The same if its owner's process has ended. (The kernel may leave a name out of one listing.)
const SHORT_GRACE: Duration = Duration::from_millis(10);
/// How often to look while there is something that could be left behind ...
pub const INTERVAL: Duration = Duration::from_secs(2);
/// ... and at the most this part of the time.
const SHARE: u32 = 200;
/// The same while processes come and go.
const BUSY_SHARE: u32 = 20;
/// After a process's connection ended: its other descriptors are closed right after.
const AFTER_AN_END: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(60),
    Duration::from_millis(250),
    Duration::from_millis(1100),
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
    /// Not again before this.
    rest: Instant,
    /// Sockets whose names were missing ([`SockId::number`]).
    nameless: Missing<u64>,
    /// The same of sockets with far ends.
    silent: Missing<u64>,
    /// Waiters whose bells were missing: number and process.
    mute: Missing<(u16, u32)>,
}

impl Default for Sweep {
    fn default() -> Sweep {
        Sweep {
            next: Instant::NEVER,
            step: AFTER_AN_END.len(),
            ended: Instant::NEVER,
            rest: Instant(0),
            nameless: Missing(Vec::new()),
            silent: Missing(Vec::new()),
            mute: Missing(Vec::new()),
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
        self.next = self.next.min(at.max(self.rest));
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
        let ring = self.step == 0;
        let names = Names::read(runtime.nonce());
        let ends = self.far_ends(fars, to_close, &names, now);
        let sockets = self.sockets(runtime, fars, to_close, &names, now);
        let waiters = self.waiters(runtime, ring, &names, now);
        let tracers = tracers(runtime);
        let spent = sys::now().since(now);
        self.rest = now + spent * BUSY_SHARE;
        self.step = (self.step + 1).min(AFTER_AN_END.len());
        self.next = match AFTER_AN_END.get(self.step) {
            Some(after) => (self.ended + *after).max(self.rest),
            None if ends || sockets || waiters || tracers => now + INTERVAL.max(spent * SHARE),
            None => Instant::NEVER,
        };
    }

    /// Far ends should tell by themselves. One that somehow did not would keep the stack for
    /// ever.
    fn far_ends(
        &mut self,
        fars: &Fars,
        to_close: &mut Vec<SockId>,
        names: &Names,
        now: Instant,
    ) -> bool {
        let mut missing = Vec::new();
        for id in fars.ids().filter(|id| !names.has_socket(*id)) {
            let since = self.silent.since(id.number(), now);
            if now.since(since) >= GRACE {
                to_close.push(id);
            } else {
                missing.push((id.number(), since));
            }
        }
        self.silent.replace(missing);
        !self.silent.is_empty()
    }

    /// True when some are left that might be found gone later.
    fn sockets(
        &mut self,
        runtime: &Runtime,
        fars: &Fars,
        to_close: &mut Vec<SockId>,
        names: &Names,
        now: Instant,
    ) -> bool {
        let mut left = false;
        // A process may leave many.
        let mut last = (0, false);
        let mut ended = |pid: u32| {
            if last.0 != pid {
                last = (pid, has_ended(pid));
            }
            last.1
        };
        let mut nameless = Vec::new();
        let mut cursor = 1;
        while cursor != 0 {
            let mut portion = [(SockId::default(), 0); PORTION];
            let Some(count) = portion_of_sockets(runtime, fars, &mut cursor, &mut portion) else {
                return true;
            };
            for &(id, owner) in portion.iter().take(count) {
                if names.has_socket(id) {
                    left = true;
                    continue;
                }
                let since = self.nameless.since(id.number(), now);
                let missing = now.since(since);
                if missing >= GRACE || missing >= SHORT_GRACE && ended(owner) {
                    to_close.push(id);
                } else {
                    nameless.push((id.number(), since));
                    left = true;
                }
            }
        }
        self.nameless.replace(nameless);
        left
    }

    /// Ring them, if asked to, and give back the numbers of those whose processes ended. True
    /// when some are left that might be found gone later.
    fn waiters(&mut self, runtime: &Runtime, ring: bool, names: &Names, now: Instant) -> bool {
        let mut mute = Vec::new();
        let mut cursor = 1;
        while cursor != 0 {
            let mut portion = [(0u16, 0u32); PORTION];
            let Some(count) = portion_of_waiters(runtime, ring, &mut cursor, &mut portion) else {
                return true;
            };
            for &waiter in portion.iter().take(count) {
                if ring {
                    runtime.ring(waiter.0);
                }
                if names.has_bell(waiter.0) {
                    continue;
                }
                let since = self.mute.since(waiter, now);
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
        self.mute.replace(mute);
        !self.mute.is_empty()
    }
}

/// Take the places of dead tracers back; true when others are left.
fn tracers(runtime: &Runtime) -> bool {
    let host = runtime.enter_until(sys::now() + LOCK_PATIENCE, false);
    host.is_none_or(|mut host| host.sh.trace.tracers != 0 && runtime.sweep_tracers(&mut host))
}

/// What was missing at the last look, since then; sorted, as it may be a hundred thousand sockets.
#[derive(Debug)]
struct Missing<K>(Vec<(K, Instant)>);

impl<K: Copy + Ord> Missing<K> {
    /// Since when it has been known to be missing.
    fn since(&self, key: K, now: Instant) -> Instant {
        let found = self.0.binary_search_by_key(&key, |(k, _)| *k);
        let found = found.ok().and_then(|i| self.0.get(i));
        found.map_or(now, |(_, since)| *since)
    }

    fn replace(&mut self, mut new: Vec<(K, Instant)>) {
        new.sort_unstable();
        self.0 = new;
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether no process holds the descriptor of socket `id`, which has been given its name. False
/// too if the lock is not to be had: a program that asks the same under the lock is not to take
/// us for another that holds it.
pub fn is_gone(runtime: &Runtime, id: SockId) -> bool {
    let Ok(scratch) = unix::socket(unix::Kind::Stream, false) else {
        return false;
    };
    let Some(host) = runtime.enter_until(sys::now() + LOCK_PATIENCE, false) else {
        return false;
    };
    let free = runtime.nobody_has(&scratch, id);
    drop(scratch);
    drop(host);
    free
}

/// The process has ended, though its parent may not have waited for it.
pub fn has_ended(pid: u32) -> bool {
    let path = std::ffi::CString::new(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some(stat) = io::read_file(&path) else {
        return true;
    };
    // The state comes after the name, which may hold any character, in parentheses.
    let after = stat.iter().rposition(|b| *b == b')').unwrap_or(0);
    matches!(stat.get(after + 2), None | Some(b'Z' | b'X'))
}

/// The names of a stack's descriptors and bells that are there.
#[derive(Debug, Default)]
struct Names {
    /// [`SockId::number`], sorted.
    sockets: Vec<u64>,
    /// Sorted.
    bells: Vec<u16>,
    /// The listing can't be read (there is no /proc): everything counts as there.
    unknown: bool,
}

impl Names {
    fn read(nonce: u64) -> Names {
        match io::read_file(c"/proc/self/net/unix") {
            Some(listing) => Names::parse(&listing, nonce),
            None => Names {
                unknown: true,
                ..Names::default()
            },
        }
    }

    /// Lines end in the name, in which a NUL is shown as `@`.
    fn parse(listing: &[u8], nonce: u64) -> Names {
        let mut names = Names::default();
        let prefix = format!("@utcp/{nonce:x}/");
        for line in listing.split(|b| *b == b'\n') {
            let start = line.iter().rposition(|b| *b == b' ').map_or(0, |i| i + 1);
            let name = line.get(start..).unwrap_or_default();
            let Some(name) = name.strip_prefix(prefix.as_bytes()) else {
                continue;
            };
            let name = core::str::from_utf8(name).unwrap_or_default();
            if let Some(id) = name.strip_prefix("bell") {
                names.bells.extend(id.parse::<u16>());
            } else {
                names.sockets.extend(u64::from_str_radix(name, 16));
            }
        }
        names.sockets.sort_unstable();
        names.bells.sort_unstable();
        names
    }

    fn has_socket(&self, id: SockId) -> bool {
        self.unknown || self.sockets.binary_search(&id.number()).is_ok()
    }

    fn has_bell(&self, waiter: u16) -> bool {
        self.unknown || self.bells.binary_search(&waiter).is_ok()
    }
}

/// Sockets from `cursor` on that a program holds and that have no far end here, each with its
/// owner; `cursor` is where to go on, 0 at the end. `None`: the lock was not to be had.
fn portion_of_sockets(
    runtime: &Runtime,
    fars: &Fars,
    cursor: &mut u32,
    portion: &mut [(SockId, u32); PORTION],
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
        *place = (id, socket.owner.pid);
        count += 1;
    }
    *cursor = 0;
    Some(count)
}

/// The same for waiters, each with its process. Those that are to be rung are marked so that
/// others ring them again.
fn portion_of_waiters(
    runtime: &Runtime,
    ring: bool,
    cursor: &mut u32,
    portion: &mut [(u16, u32); PORTION],
) -> Option<usize> {
    let mut host = runtime.enter_until(sys::now() + LOCK_PATIENCE, false)?;
    let mut count = 0;
    for index in *cursor..=host.sh.waiters.high_water() {
        let Some(waiter) = host.sh.waiters.get_mut(index) else {
            continue;
        };
        let Some(place) = portion.get_mut(count) else {
            *cursor = index;
            return Some(count);
        };
        waiter.rung &= !ring;
        *place = (index as u16, waiter.pid);
        count += 1;
    }
    *cursor = 0;
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let listing = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            00000000bd78bbc9: 00000002 00000000 00000000 0001 01 75031 @utcp/ab/500000001\n\
            00000000bd78bbc9: 00000002 00000000 00000000 0002 01 75031 @utcp/ab/bell0\n\
            00000000bd78bbc9: 00000002 00000000 00000000 0002 01 75031 @utcp/ab/bell17\n\
            00000000bd78bbc9: 00000002 00000000 00000000 0001 01 75031 @utcp/ac/700000001\n\
            00000000bd78bbc9: 00000002 00000000 00000000 0001 01 75031 /run/@utcp/ab/1\n\
            00000000bd78bbc9: 00000002 00000000 00000000 0001 01 75031\n";
        let names = Names::parse(listing, 0xab);
        let id = |index, generation| SockId { index, generation };
        assert!(names.has_socket(id(1, 5)));
        assert!(!names.has_socket(id(1, 7)));
        assert!(names.has_bell(0) && names.has_bell(17) && !names.has_bell(1));
        assert_eq!((names.sockets.len(), names.bells.len()), (1, 2));
    }

    #[test]
    fn ends_are_seen() {
        assert!(!has_ended(crate::sys::process::pid()));
        assert!(has_ended(1 << 30));
    }
}
