//! The stack as a process uses it: its lock, its device, waiting and waking.
//!
//! A thread enters ([`Runtime::enter`]): that blocks its signals, takes the lock, repairs the
//! state if the last owner died, and drains the device. It then calls the [`Host`]. Leaving
//! gives the lock back and wakes whom the calls concern. [`Runtime::block`] is every blocking
//! call: the thread that waits polls the device itself (it *drives*), so that a segment wakes
//! the program directly.
//!
//! Locks: the arena's alone. No allocation while it is held, and no other lock below it.

mod block;
mod keeper_link;
pub mod own;
mod scratch;
mod signals;
mod tracing;
mod waiter;

pub use block::{Wait, Woken};
pub use scratch::Scratch;
pub use tracing::Tracer;

use crate::arena::{Arena, Guard};
use crate::link::{Device, Mode, NoDevice, Tun};
use crate::stack::wait::{MAX_WAITERS, WakeSet};
use crate::stack::{Host, Open, Shared, SockId};
use crate::sys::process::{Signals, block_signals, set_mask};
use crate::sys::unix::{self, Name};
use crate::sys::{self, Fd, bell};
use crate::time::Instant;
use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use keeper_link::KeeperLink;

/// What the keeper does, in `Open::keeper_mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KeeperMode {
    /// It polls the device and runs the timers.
    Driving = 0,
    /// Threads drive; it looks every millisecond whether one does.
    Shallow = 1,
    /// One thread has been driving for long; it sleeps until rung.
    Deep = 2,
}

/// The waiter number of the keeper's bell.
pub const KEEPER: u16 = 0;

/// The most packets that one entry takes from the device, so that a flood can't keep a thread.
const PACKETS_PER_ENTRY: usize = 64;
/// So many of them are of one time; then the clock is read again.
const PACKETS_AT_ONCE: usize = 8;
/// The same for timers, and for packets that links held.
const TIMERS_AT_ONCE: usize = 128;
/// How often timers are run in one entry.
const TIMER_ROUNDS: usize = 32;

enum Link {
    Tun(Tun),
    None(NoDevice),
}

/// A process's access to a stack.
pub struct Runtime {
    arena: Arena<Shared>,
    /// Used under the arena's lock only.
    link: UnsafeCell<Link>,
    tun_fd: Option<i32>,
    mode: Option<Mode>,
    nonce: u64,
    clapper: Fd,
    pid: AtomicU32,
    /// See [`Runtime::raise_by`]; 0: none.
    raise: AtomicUsize,
    keeper: KeeperLink,
}

// SAFETY: `link` is used under the arena's lock only; the rest is made of Sync types.
unsafe impl Sync for Runtime {}
// SAFETY: nothing belongs to a thread.
unsafe impl Send for Runtime {}

impl Runtime {
    /// Use the stack in `arena`, with its device. Fails when no descriptor is left.
    pub fn over(arena: Arena<Shared>, tun: Option<Tun>) -> sys::Result<Runtime> {
        let nonce = arena.lock().nonce;
        let clapper = high(bell::clapper()?)?;
        Ok(Runtime {
            arena,
            tun_fd: tun.as_ref().map(Tun::raw_fd),
            mode: tun.as_ref().map(Tun::mode),
            link: UnsafeCell::new(tun.map_or(Link::None(NoDevice), Link::Tun)),
            nonce,
            clapper,
            pid: AtomicU32::new(sys::process::pid()),
            raise: AtomicUsize::new(0),
            keeper: KeeperLink::default(),
        })
    }

    /// The arena.
    pub fn arena(&self) -> &Arena<Shared> {
        &self.arena
    }

    /// The device's descriptor.
    pub fn tun_fd(&self) -> Option<i32> {
        self.tun_fd
    }

    /// The device's descriptor and how packets stand on it, for a keeper that takes over.
    pub fn device(&self) -> Option<(i32, Mode)> {
        self.tun_fd.zip(self.mode)
    }

    /// The part of the state that is used without the lock.
    pub fn open(&self) -> &Open {
        // SAFETY: `Open` is made of atomics; the pointer is to it alone.
        unsafe { &(*self.arena.as_ptr()).open }
    }

    /// The stack's nonce.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The name of waiter `id`'s bell.
    pub fn bell_name(&self, id: u16) -> Name {
        Name::new(format_args!("utcp/{:x}/bell{id}", self.nonce))
    }

    /// The name of the descriptor of socket `number` ([`crate::stack::SockId::number`]).
    pub fn socket_name(&self, number: u64) -> Name {
        Name::new(format_args!("utcp/{:x}/{number:x}", self.nonce))
    }

    /// Whether no process has a descriptor of socket `id`: as long as one does, its name is taken.
    /// If it is free, `scratch`, a fresh [`unix::Kind::Stream`] socket, has it now, and whoever asks
    /// before that is closed is told that somebody holds it.
    pub fn nobody_has(&self, scratch: &Fd, id: SockId) -> bool {
        unix::bind(scratch.raw(), &self.socket_name(id.number())).is_ok()
    }

    /// Ring waiter `id`.
    pub fn ring(&self, id: u16) {
        bell::ring(self.clapper.raw(), &self.bell_name(id));
    }

    /// This process is a child made by fork: what belonged to the parent's threads is not its.
    pub fn after_fork_child(&self) {
        self.pid.store(sys::process::pid(), Ordering::Relaxed);
        waiter::forked();
    }

    /// Take the lock, with signals blocked until the session is dropped.
    pub fn enter(&self) -> Session<'_> {
        self.enter_masked(Some(block_signals()))
    }

    /// For the keeper, whose other duties must not wait for an owner of the lock who is stopped:
    /// take the lock by `end` or not at all, and leave the device's packets to the driver
    /// unless `receive`. The keeper's signals need no blocking.
    pub fn enter_until(&self, end: Instant, receive: bool) -> Option<Session<'_>> {
        let guard = self.arena.lock_until(end)?;
        Some(self.session(guard, None, receive))
    }

    fn enter_masked(&self, restore: Option<Signals>) -> Session<'_> {
        self.session(self.arena.lock(), restore, true)
    }

    fn session<'a>(
        &'a self,
        mut guard: Guard<'a, Shared>,
        restore: Option<Signals>,
        receive: bool,
    ) -> Session<'a> {
        let recovered = guard.recovered();
        // SAFETY: the lock is held for as long as the session lives; the guard is kept beside
        // the host and not used meanwhile, so the reference is unique.
        let sh: &mut Shared = unsafe { &mut *core::ptr::from_mut(&mut *guard) };
        // SAFETY: under the lock, as `link` demands.
        let device: &mut dyn Device = match unsafe { &mut *self.link.get() } {
            Link::Tun(t) => t,
            Link::None(n) => n,
        };
        let now = sh.pace.stack(sys::now());
        let mut host = Host {
            sh,
            device,
            now,
            pid: self.pid.load(Ordering::Relaxed),
            tid: 0,
            wakes: WakeSet::default(),
        };
        if recovered {
            host.recover();
            // The guard's own words, beside what the host borrows.
            guard.mended();
        }
        if receive && self.tun_fd.is_some() {
            let mut left = PACKETS_PER_ENTRY;
            while left > 0 && host.receive(PACKETS_AT_ONCE) == PACKETS_AT_ONCE {
                left -= PACKETS_AT_ONCE;
                host.now = host.sh.pace.stack(sys::now());
            }
            if host.device.is_gone() && host.sh.config.has_device {
                host.sh.device_is_gone();
            }
        }
        for _ in 0..TIMER_ROUNDS {
            if host.next_deadline() > host.now {
                break;
            }
            host.run_some_timers(TIMERS_AT_ONCE);
            host.now = host.sh.pace.stack(sys::now());
        }
        Session {
            runtime: self,
            host: ManuallyDrop::new(host),
            guard: ManuallyDrop::new(guard),
            restore,
        }
    }

    /// Have `raise` called under the lock before it is given back, when the readiness of
    /// descriptors is to be raised: a process that holds far ends does so itself.
    pub fn raise_by(&self, raise: fn(&mut Host<'_>)) {
        self.raise.store(raise as usize, Ordering::Release);
    }

    fn mirror(&self, host: &mut Host<'_>) {
        let raise = self.raise.load(Ordering::Acquire);
        if host.sh.mirror_len == 0 || raise == 0 {
            return;
        }
        // SAFETY: only `raise_by` stores there, a function of this type.
        let raise: fn(&mut Host<'_>) = unsafe { core::mem::transmute(raise) };
        raise(host);
        if host.sh.mirror_len == 0 {
            (host.wakes.keeper_now, host.wakes.keeper_soon) = (false, false);
        }
    }

    fn deliver(&self, wakes: &WakeSet, everybody: Option<&[u64; MAX_WAITERS / 64 + 1]>) {
        if wakes.is_empty() {
            return;
        }
        let own = waiter::current();
        let ring = |id: u16| {
            if Some(id) != own {
                self.ring(id);
            }
        };
        wakes.iter().for_each(ring);
        if let Some(everybody) = everybody {
            let known = |id: &u16| everybody[usize::from(*id) / 64] >> (id % 64) & 1 == 1;
            (1..=MAX_WAITERS as u16).filter(known).for_each(ring);
        }
        let mode = self.open().keeper_mode.load(Ordering::Relaxed);
        let mut keeper =
            wakes.keeper_now || wakes.keeper_soon && mode != KeeperMode::Shallow as u32;
        if wakes.timer {
            match self.open().driver.load(Ordering::Relaxed) as u16 {
                KEEPER => keeper = true,
                driver if Some(driver) != own => self.ring(driver),
                _ => {}
            }
        }
        if keeper {
            self.ring(KEEPER);
        }
    }
}

/// Move a descriptor of the library out of the program's way: high up, close-on-exec.
pub fn high(fd: Fd) -> sys::Result<Fd> {
    let limit = sys::process::limit(libc::RLIMIT_NOFILE)?;
    // Not higher than needed: fork copies the table up to the highest number in use, which
    // costs 10 us at 4,032 and 120 us at 19,000.
    let soft = i32::try_from(limit.soft).unwrap_or(i32::MAX).min(1 << 12);
    // The lowest number that is tried; when all above are taken, stay where we are.
    for least in [soft - 64, soft / 2] {
        if let Ok(moved) = sys::io::dup_from(fd.raw(), least.max(3)) {
            own::add(moved.raw());
            return Ok(moved);
        }
    }
    Ok(fd)
}

/// The stack's lock, held; derefs to the [`Host`].
pub struct Session<'a> {
    runtime: &'a Runtime,
    host: ManuallyDrop<Host<'a>>,
    guard: ManuallyDrop<Guard<'a, Shared>>,
    restore: Option<Signals>,
}

impl<'a> Session<'a> {
    /// Whose lock it is.
    pub fn runtime(&self) -> &'a Runtime {
        self.runtime
    }
}

impl<'a> Deref for Session<'a> {
    type Target = Host<'a>;
    fn deref(&self) -> &Host<'a> {
        &self.host
    }
}

impl<'a> DerefMut for Session<'a> {
    fn deref_mut(&mut self) -> &mut Host<'a> {
        &mut self.host
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.runtime.mirror(&mut self.host);
        self.host.finish();
        let (wakes, now) = (self.host.wakes, self.host.sh.pace.real(self.host.now));
        // Rare: after a death, or when there are too many to name.
        let everybody = wakes.all.then(|| {
            let mut set = [0u64; MAX_WAITERS / 64 + 1];
            for (id, _) in self.host.sh.waiters.iter_in_use() {
                set[id as usize / 64] |= 1 << (id % 64);
            }
            set
        });
        // SAFETY: each is dropped once, the host (which borrows what the guard guards) first.
        unsafe {
            ManuallyDrop::drop(&mut self.host);
            ManuallyDrop::drop(&mut self.guard);
        }
        self.runtime.deliver(&wakes, everybody.as_ref());
        self.runtime.look_for_keeper(now);
        if let Some(mask) = self.restore {
            set_mask(mask);
        }
    }
}
