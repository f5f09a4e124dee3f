//! poll and select over sockets of the stack and other descriptors together.

use crate::blocked::{self, Ended};
use crate::dispatch::CANCELLED;
use crate::errno::Result;
use crate::fdtable::{self, Entry};
use crate::memory;
use crate::process;
use core::ffi::{c_int, c_short};
use libc::{fd_set, nfds_t, pollfd};
use utcp_stack::runtime::{Runtime, Scratch, Wait, Woken};
use utcp_stack::stack::{Host, Ready, SockId};
use utcp_stack::sys::process::limit;
use utcp_stack::sys::{self, Errno};
use utcp_stack::time::{Duration, Instant};

/// How many descriptors fit without a mapping.
const FEW: usize = 32;

/// A descriptor that is waited for.
#[derive(Clone, Copy)]
struct Item {
    fd: c_int,
    events: c_short,
    revents: c_short,
    /// Of the stack's sockets.
    id: Option<SockId>,
}

impl Item {
    /// It was a socket of the stack, and is it no longer.
    fn is_stale(&self) -> bool {
        self.id.is_some() && fdtable::ours(self.fd) != self.id
    }
}

type Items = Scratch<Item, FEW>;

/// poll's bits for what the stack says.
pub fn poll_bits(r: Ready) -> c_short {
    let pairs = [
        (Ready::IN, libc::POLLIN | libc::POLLRDNORM),
        (Ready::OUT, libc::POLLOUT | libc::POLLWRNORM),
        (Ready::PRI, libc::POLLPRI),
        (Ready::ERR, libc::POLLERR),
        (Ready::HUP, libc::POLLHUP),
        (Ready::RDHUP, libc::POLLRDHUP),
    ];
    pairs
        .iter()
        .filter(|(ready, _)| r.has(*ready))
        .fold(0, |all, (_, bits)| all | bits)
}

/// Whether a descriptor needs this process to run the stack while it is waited for.
fn concerns_us(fd: c_int) -> bool {
    fd >= 0 && matches!(fdtable::look(fd), Entry::Ours(_) | Entry::Set)
}

fn item(fd: c_int, events: c_short) -> Item {
    let id = if fd < 0 { None } else { fdtable::ours(fd) };
    Item {
        fd,
        events,
        revents: 0,
        id,
    }
}

/// The program's array, if it can be one.
///
/// # Safety
/// `fds` must point to `n` entries or be wrong in a way that can be told.
unsafe fn entries<'a>(fds: *mut pollfd, n: nfds_t) -> Option<&'a mut [pollfd]> {
    let n = usize::try_from(n).ok()?;
    let plausible = n < 1 << 24 && memory::plausible(fds as usize, n * size_of::<pollfd>());
    if n == 0 || !plausible {
        return None;
    }
    // SAFETY: the caller vouches for it.
    Some(unsafe { core::slice::from_raw_parts_mut(fds, n) })
}

/// poll(2) and ppoll(2); `None` if no socket of the stack is concerned.
///
/// # Safety
/// `fds` must point to `n` entries or be wrong in a way that can be told.
pub unsafe fn poll(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: Option<Duration>,
    mask: Option<u64>,
) -> Option<Result<c_int>> {
    // SAFETY: the caller vouches for it.
    let fds = unsafe { entries(fds, n) }?;
    if !fds.iter().any(|f| concerns_us(f.fd)) {
        return None;
    }
    let rt = process::attached()?;
    // Linux: do_sys_poll. Who asks for a few is within any limit.
    let most = || limit(libc::RLIMIT_NOFILE).map_or(u64::MAX, |limit| limit.soft);
    if fds.len() > FEW && fds.len() as u64 > most() {
        return Some(Err(Errno(libc::EINVAL)));
    }
    Some(poll_mixed(rt, fds, timeout, mask))
}

fn poll_mixed(
    rt: &'static Runtime,
    fds: &mut [pollfd],
    timeout: Option<Duration>,
    mask: Option<u64>,
) -> Result<c_int> {
    let mut items = Items::new(fds.len())?;
    for f in fds.iter() {
        items.push(item(f.fd, f.events));
    }
    let ended = wait(rt, &mut items, timeout, mask);
    for (f, i) in fds.iter_mut().zip(items.iter()) {
        f.revents = if ended.is_ok() { i.revents } else { 0 };
    }
    ended.map(|found| found.count as c_int)
}

/// What [`wait`] found.
struct Found {
    /// How many items have something to report.
    count: usize,
    /// When it looked the first time.
    at_once: bool,
}

/// Wait until one of the items has something to report, and fill in what.
fn wait(
    rt: &'static Runtime,
    items: &mut Items,
    timeout: Option<Duration>,
    mask: Option<u64>,
) -> Result<Found> {
    // A handler that jumps out would leave what is on the heap.
    blocked::hold();
    let mut looked = 0_usize;
    let mut sockets: Scratch<SockId, FEW> = Scratch::new(items.len())?;
    let mut others: Scratch<pollfd, FEW> = Scratch::new(items.len())?;
    let waits = timeout != Some(Duration::ZERO);
    let end = timeout.map_or(Instant::NEVER, |t| match waits {
        true => sys::now() + t,
        false => Instant(0),
    });
    let mut left = timeout;
    loop {
        let (socks, fds) = sort(items, &mut sockets, &mut others);
        let wait = Wait {
            sockets: socks,
            fds,
            timeout: left,
            sigmask: mask,
            stops: false,
        };
        let ended = blocked::block(rt, wait, |host, fds| {
            looked = looked.saturating_add(1);
            gather(host, items, fds)
        });
        let found = |count| Found {
            count,
            at_once: looked <= 1,
        };
        match ended {
            Ended::Woken(Woken::Ready(Ok(n))) => return Ok(found(n)),
            Ended::Woken(Woken::Ready(Err(Stale))) => {
                left = timeout.map(|_| end.since(sys::now()));
            }
            // Another thread may have closed a descriptor, which is seen when poll looks again.
            Ended::Woken(Woken::TimedOut) if waits && items.iter().any(Item::is_stale) => {
                left = Some(Duration::ZERO);
            }
            Ended::Woken(Woken::TimedOut) => return Ok(found(0)),
            Ended::Woken(Woken::Interrupted { .. }) => return Err(Errno(libc::EINTR)),
            Ended::Cancelled => return Err(CANCELLED),
        }
        for i in items.iter_mut() {
            *i = item(i.fd, i.events);
        }
    }
}

/// A descriptor was closed: it is something else now, or nothing.
struct Stale;

/// The stack's sockets and the kernel's descriptors among the items. The latter keep their
/// order; if there are none, there is nothing for the kernel to poll.
fn sort<'a>(
    items: &[Item],
    sockets: &'a mut Scratch<SockId, FEW>,
    others: &'a mut Scratch<pollfd, FEW>,
) -> (&'a [SockId], &'a mut [pollfd]) {
    sockets.clear();
    others.clear();
    for i in items {
        match i.id {
            Some(id) => sockets.push(id),
            None => others.push(pollfd {
                fd: i.fd,
                events: i.events,
                revents: 0,
            }),
        }
    }
    (&*sockets, &mut *others)
}

/// Under the lock: what each item has to report; `None` if none has anything.
fn gather(
    host: &Host<'_>,
    items: &mut [Item],
    fds: &[pollfd],
) -> Option<core::result::Result<usize, Stale>> {
    let mut count = 0;
    let mut fds = fds.iter();
    for i in items.iter_mut() {
        i.revents = match i.id {
            None => fds.next().map_or(0, |f| f.revents),
            Some(id) => match host.socket(id) {
                Ok(s) if !s.orphan => {
                    let asked = i.events | libc::POLLERR | libc::POLLHUP;
                    let found = poll_bits(s.ready_now()) & asked;
                    // Closed by another thread: what happens to it wakes the call, which then
                    // sees that.
                    if found != 0 && i.is_stale() {
                        return Some(Err(Stale));
                    }
                    found
                }
                _ => {
                    fdtable::forget_socket(i.fd, id);
                    return Some(Err(Stale));
                }
            },
        };
        count += usize::from(i.revents != 0);
    }
    (count > 0).then_some(Ok(count))
}

/// The sets of select(2): to be read, written, and those with urgent data.
#[derive(Clone, Copy)]
pub struct Sets {
    /// In this order; each may be null.
    pub sets: [*mut fd_set; 3],
    /// One past the highest descriptor.
    pub n: c_int,
}

/// Kernel: POLLIN_SET, POLLOUT_SET, POLLEX_SET.
const REPORTED: [c_short; 3] = [
    libc::POLLIN
        | libc::POLLRDNORM
        | libc::POLLRDBAND
        | libc::POLLHUP
        | libc::POLLERR
        | libc::POLLNVAL,
    libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND | libc::POLLERR | libc::POLLNVAL,
    libc::POLLPRI | libc::POLLNVAL,
];

const BITS: usize = u64::BITS as usize;

impl Sets {
    fn words(&self) -> usize {
        usize::try_from(self.n).unwrap_or(0).div_ceil(BITS)
    }

    fn plausible(&self) -> bool {
        self.n > 0
            && self
                .sets
                .iter()
                .all(|s| s.is_null() || memory::plausible(*s as usize, self.words() * 8))
    }

    fn word(&self, set: usize, word: usize) -> u64 {
        let at = self.sets[set].cast::<u64>();
        if at.is_null() {
            return 0;
        }
        // SAFETY: the sets have `n` bits, as select demands.
        let bits = unsafe { at.add(word).read() };
        let last = self.n as usize - word * BITS;
        if last < BITS {
            bits & ((1 << last) - 1)
        } else {
            bits
        }
    }

    /// Call `f` with each descriptor that is in some set, and which sets.
    pub fn each(&self, mut f: impl FnMut(c_int, [bool; 3])) {
        for word in 0..self.words() {
            let bits = [0, 1, 2].map(|set| self.word(set, word));
            let mut any = bits[0] | bits[1] | bits[2];
            while any != 0 {
                let bit = any.trailing_zeros();
                any &= any - 1;
                let fd = (word * BITS) as c_int + bit as c_int;
                f(fd, bits.map(|b| b >> bit & 1 != 0));
            }
        }
    }

    fn clear(&self) {
        for set in self.sets {
            if !set.is_null() {
                // SAFETY: the sets have `n` bits, in whole words.
                unsafe { core::ptr::write_bytes(set.cast::<u64>(), 0, self.words()) };
            }
        }
    }

    fn insert(&self, set: usize, fd: c_int) {
        let fd = fd as usize;
        // SAFETY: `fd` came out of this set.
        unsafe {
            let at = self.sets[set].cast::<u64>().add(fd / BITS);
            at.write(at.read() | 1 << (fd % BITS));
        }
    }
}

/// select(2) and pselect(2); `None` if no socket of the stack is concerned.
///
/// # Safety
/// The sets must have `n` bits each.
pub unsafe fn select(
    sets: Sets,
    timeout: Option<Duration>,
    mask: Option<u64>,
) -> Option<Result<c_int>> {
    if !sets.plausible() {
        return None;
    }
    let (mut count, mut ours) = (0, false);
    sets.each(|fd, _| {
        count += 1;
        ours |= concerns_us(fd);
    });
    if !ours {
        return None;
    }
    let rt = process::attached()?;
    Some(select_mixed(rt, sets, count, timeout, mask))
}

fn select_mixed(
    rt: &'static Runtime,
    sets: Sets,
    count: usize,
    timeout: Option<Duration>,
    mask: Option<u64>,
) -> Result<c_int> {
    let mut items = Items::new(count)?;
    sets.each(|fd, wanted| {
        let events = (0..3)
            .filter(|set| wanted[*set])
            .fold(0, |all, set| all | REPORTED[set]);
        items.push(item(fd, events));
    });
    let found = wait(rt, &mut items, timeout, mask)?;
    // What is closed later is ready in every way.
    if found.at_once && items.iter().any(|i| i.revents & libc::POLLNVAL != 0) {
        return Err(Errno(libc::EBADF));
    }
    let mut total = 0;
    let mut at = 0;
    let mut found: Scratch<(c_int, [bool; 3]), FEW> = Scratch::new(count)?;
    sets.each(|fd, wanted| {
        let revents = items.get(at).map_or(0, |i| i.revents);
        at += 1;
        let ready = [0, 1, 2].map(|set| wanted[set] && revents & REPORTED[set] != 0);
        found.push((fd, ready));
    });
    sets.clear();
    for (fd, ready) in found.iter() {
        for (set, is) in ready.iter().enumerate() {
            if *is {
                sets.insert(set, *fd);
                total += 1;
            }
        }
    }
    Ok(total)
}
