//! poll and select over sockets of the stack and other descriptors together.

use crate::blocked::{self, Ended};
use crate::dispatch::CANCELLED;
use crate::errno::Result;
use crate::fdtable::{self, Entry};
use crate::memory;
use crate::process;
use crate::scratch::Scratch;
use core::ffi::{c_int, c_short};
use libc::{fd_set, nfds_t, pollfd};
use utcp_stack::runtime::{Runtime, Wait, Woken};
use utcp_stack::stack::{Host, Ready, SockId};
use utcp_stack::sys::Errno;
use utcp_stack::time::Duration;

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
    ended.map(|n| n as c_int)
}

/// Wait until one of the items has something to report, and fill in what; how many have.
fn wait(
    rt: &'static Runtime,
    items: &mut Items,
    timeout: Option<Duration>,
    mask: Option<u64>,
) -> Result<usize> {
    let mut sockets: Scratch<SockId, FEW> = Scratch::new(items.len())?;
    let mut others: Scratch<pollfd, FEW> = Scratch::new(items.len())?;
    loop {
        let (socks, fds) = sort(items, &mut sockets, &mut others);
        let wait = Wait {
            sockets: socks,
            fds,
            timeout,
            sigmask: mask,
            restartable: false,
        };
        let ended = blocked::block(rt, None, wait, |host, fds| gather(host, items, fds));
        let count = match ended {
            Ended::Woken(Woken::Ready(count)) => count,
            Ended::Woken(Woken::TimedOut) => Ok(0),
            Ended::Woken(Woken::Interrupted) => return Err(Errno(libc::EINTR)),
            Ended::Cancelled => return Err(CANCELLED),
        };
        match count {
            Ok(n) => return Ok(n),
            // A handle was stale: the descriptor is something else now.
            Err(Stale) => {
                for i in items.iter_mut() {
                    *i = item(i.fd, i.events);
                }
            }
        }
    }
}

/// A descriptor was closed behind our back.
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
                    poll_bits(s.ready_now()) & asked
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
    libc::POLLIN | libc::POLLRDNORM | libc::POLLRDBAND | libc::POLLHUP | libc::POLLERR,
    libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND | libc::POLLERR,
    libc::POLLPRI,
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
    wait(rt, &mut items, timeout, mask)?;
    if items.iter().any(|i| i.revents & libc::POLLNVAL != 0) {
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
