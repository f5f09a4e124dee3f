//! Threads that wait for sockets, and how an event finds them.
//!
//! A thread that is going to block takes a [`Waiter`], names the sockets it waits for, gives
//! the lock back and sleeps in poll(2) with its bell (a datagram socket whose name follows from
//! the stack's nonce and the waiter's number) among the descriptors. Whoever changes a socket collects its waiters in a [`WakeSet`]
//! and wakes them after the lock is given back.

use super::recover::in_this_order;
use super::socket::OWN_WAITERS;
use super::{Host, SockId};
use crate::arena::pool::Plain;

/// How many threads of a stack can wait at once.
pub const MAX_WAITERS: usize = 1 << 13;

/// A thread that waits.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Waiter {
    /// It waits for more sockets than can name it: any event wakes it.
    pub everything: bool,
    /// It sleeps in poll or epoll, for descriptors.
    pub asleep: bool,
    /// Its bell was rung since it last looked: once is enough.
    pub rung: bool,
    /// Its process.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
}

// SAFETY: plain numbers.
#[allow(unsafe_code)]
unsafe impl Plain for Waiter {}

/// How many processes can have a [`Sleeper`] at once (by the low bits of their numbers).
pub const SLEEPERS: usize = 256;

/// A thread of a process that sleeps in poll or epoll, and raises the readiness of the process's
/// descriptors when it is woken.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Sleeper {
    pid: u32,
    waiter: u16,
}

/// Waiters to wake once the lock is given back.
#[derive(Clone, Copy, Debug, Default)]
pub struct WakeSet {
    ids: [u16; 32],
    len: usize,
    /// More than fit: wake everybody.
    pub all: bool,
    /// A descriptor that somebody watches shows the wrong readiness: the keeper is to mirror.
    pub keeper_now: bool,
    /// The same for one that nobody is known to watch: within a millisecond or so.
    pub keeper_soon: bool,
    /// A timer was set that is due before whoever sleeps for the timers wakes up.
    pub timer: bool,
}

impl WakeSet {
    /// Add waiter `id`.
    pub fn add(&mut self, id: u16) {
        if self.ids[..self.len].contains(&id) {
            return;
        }
        match self.ids.get_mut(self.len) {
            Some(place) => {
                *place = id;
                self.len += 1;
            }
            None => self.all = true,
        }
    }
    /// The waiters.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ids[..self.len].iter().copied()
    }
    /// Nobody to wake.
    pub fn is_empty(&self) -> bool {
        self.len == 0 && !self.all && !self.keeper_now && !self.keeper_soon && !self.timer
    }
}

impl Host<'_> {
    /// Take a waiter for this thread; `None` when all are taken.
    pub fn new_waiter(&mut self, pid: u32, tid: u32) -> Option<u16> {
        let id = self.sh.waiters.alloc()?;
        self.sh.waiters[id] = Waiter {
            everything: false,
            asleep: false,
            rung: false,
            pid,
            tid,
        };
        Some(id as u16)
    }

    /// Give a waiter back, which may still be named by sockets if its process died.
    pub fn free_waiter(&mut self, waiter: u16) {
        if let Some(w) = self.sh.waiters.get_mut(u32::from(waiter)) {
            *w = Waiter::default();
            in_this_order();
            self.sh.waiters.free(u32::from(waiter));
            for index in 1..=self.sh.sockets.high_water() {
                self.forget_dead_waiters(index);
            }
        }
    }

    /// Wake `waiter` on every event of `socket` from now on.
    pub fn wait_on(&mut self, socket: SockId, waiter: u16) {
        let Some(s) = self.sh.sockets.get_mut(socket.index) else {
            return;
        };
        if s.generation != socket.generation || s.waiters.contains(&waiter) {
            return;
        }
        match s.waiters.iter_mut().find(|w| **w == 0) {
            Some(place) => *place = waiter,
            None => {
                s.waiters_overflow = true;
                if let Some(w) = self.sh.waiters.get_mut(u32::from(waiter)) {
                    w.everything = true;
                }
            }
        }
    }

    /// Give back a waiter of this process that no socket names: its thread ended.
    pub fn free_idle_waiter(&mut self, waiter: u16) {
        let pid = self.pid;
        if let Some(w) = self.sh.waiters.get_mut(u32::from(waiter))
            && w.pid == pid
        {
            *w = Waiter::default();
            in_this_order();
            self.sh.waiters.free(u32::from(waiter));
        }
    }

    /// Whether a thread of this process sleeps until something happens to `socket`.
    pub fn is_waited_for(&self, socket: SockId) -> bool {
        let ours = |waiter: u32| self.sh.waiters.get(waiter).filter(|w| w.pid == self.pid);
        let Ok(s) = self.socket(socket) else {
            return false;
        };
        let named = |w: &u16| *w != 0 && ours(u32::from(*w)).is_some();
        let everything = |id: u32| ours(id).is_some_and(|w| w.everything);
        s.waiters.iter().any(named)
            || s.waiters_overflow && (1..=self.sh.waiters.high_water()).any(everything)
    }

    /// Give back the waiters of processes that are gone.
    pub fn reap_waiters(&mut self, gone: impl Fn(u32) -> bool) {
        for id in 1..=self.sh.waiters.high_water() {
            if self.sh.waiters.get(id).is_some_and(|w| gone(w.pid)) {
                self.free_waiter(id as u16);
            }
        }
    }

    /// The waiter, of this process, sleeps in poll from now on, or no longer.
    pub fn sleeps(&mut self, waiter: u16, asleep: bool) {
        let pid = self.pid;
        if let Some(w) = self.sh.waiters.get_mut(u32::from(waiter)) {
            w.asleep = asleep;
        }
        let place = &mut self.sh.sleepers[pid as usize % SLEEPERS];
        if asleep {
            *place = Sleeper { pid, waiter };
        } else if (place.pid, place.waiter) == (pid, waiter) {
            *place = Sleeper::default();
        }
    }

    /// Wake the sleeper of process `pid`, if it has one.
    pub(super) fn wake_sleeper(&mut self, pid: u32) {
        let place = self.sh.sleepers[pid as usize % SLEEPERS];
        if pid != 0 && place.pid == pid {
            self.wake_waiter(place.waiter);
        }
    }

    /// Wake all threads that sleep for descriptors, of whatever process.
    pub(super) fn wake_sleepers(&mut self) {
        for id in 1..=self.sh.waiters.high_water() {
            if self.sh.waiters.get(id).is_some_and(|w| w.asleep) {
                self.wake_waiter(id as u16);
            }
        }
    }

    /// The waiter is looking now; what happens from here on rings again.
    pub fn heard(&mut self, waiter: u16) {
        if let Some(w) = self.sh.waiters.get_mut(u32::from(waiter)) {
            w.rung = false;
        }
    }

    /// Undo [`Host::wait_on`].
    pub fn unwait(&mut self, socket: SockId, waiter: u16) {
        if let Some(s) = self.sh.sockets.get_mut(socket.index) {
            for w in &mut s.waiters {
                if *w == waiter {
                    *w = 0;
                }
            }
        }
        // It leaves all its sockets at once.
        if let Some(w) = self.sh.waiters.get_mut(u32::from(waiter)) {
            w.everything = false;
        }
    }

    /// Something happened to socket `index`: wake whoever waits for it, and have its readiness
    /// mirrored where somebody may be watching the descriptor.
    pub(super) fn notify(&mut self, index: u32) {
        let Some(s) = self.sh.sockets.get_mut(index) else {
            return;
        };
        let mut named: [u16; OWN_WAITERS] = [0; OWN_WAITERS];
        let mut n = 0;
        for &w in &s.waiters {
            if w != 0 {
                named[n] = w;
                n += 1;
            }
        }
        let overflow = s.waiters_overflow;
        for &w in &named[..n] {
            self.wake_waiter(w);
        }
        if overflow {
            let mut any = false;
            for id in 1..=self.sh.waiters.high_water() {
                if self.sh.waiters.get(id).is_some_and(|w| w.everything) {
                    any = true;
                    self.wake_waiter(id as u16);
                }
            }
            if !any && let Some(s) = self.sh.sockets.get_mut(index) {
                s.waiters_overflow = false;
            }
        }
        self.mirror_later(index);
    }

    fn wake_waiter(&mut self, id: u16) {
        if let Some(w) = self.sh.waiters.get_mut(u32::from(id))
            && !w.rung
        {
            w.rung = true;
            self.wakes.add(id);
        }
    }
}
