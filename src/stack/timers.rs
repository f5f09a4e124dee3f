//! Deadlines: a binary heap of sockets by the time of their next timer.
//!
//! A deadline that moves later (each acknowledgment moves the retransmission timer) leaves the
//! heap as it is; the entry is put right when it comes up.

use super::shared::MAX_SOCKETS;
use crate::time::Instant;

/// One deadline.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Entry {
    at: Instant,
    socket: u32,
}

/// The heap. Positions count from 1; a socket remembers its own (`Socket::timer_slot`), which
/// the methods report through `moved(socket, position)`.
#[repr(C)]
pub struct TimerHeap {
    len: u32,
    entries: [Entry; MAX_SOCKETS + 1],
}

impl TimerHeap {
    /// Forget everything.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The earliest deadline and its socket.
    pub fn first(&self) -> Option<(Instant, u32)> {
        (self.len > 0).then(|| (self.entries[1].at, self.entries[1].socket))
    }

    /// The deadline at `position`.
    pub fn at(&self, position: u32) -> Instant {
        if position == 0 || position > self.len {
            return Instant::NEVER;
        }
        self.entries[position as usize].at
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The socket at `position`.
    pub(super) fn socket_at(&self, position: u32) -> u32 {
        let inside = 1..=self.len;
        if inside.contains(&position) {
            self.entries[position as usize].socket
        } else {
            0
        }
    }

    /// No entry is due before the one above it.
    pub(super) fn is_sound(&self) -> bool {
        (2..=self.len as usize).all(|i| self.entries[i / 2].at <= self.entries[i].at)
    }

    /// Add a socket that is not in the heap.
    pub fn insert(&mut self, socket: u32, at: Instant, moved: &mut impl FnMut(u32, u32)) {
        if self.len as usize >= MAX_SOCKETS {
            return;
        }
        self.len += 1;
        self.entries[self.len as usize] = Entry { at, socket };
        self.up(self.len, moved);
    }

    /// Give the entry at `position` another deadline.
    pub fn change(&mut self, position: u32, at: Instant, moved: &mut impl FnMut(u32, u32)) {
        if position == 0 || position > self.len {
            return;
        }
        self.entries[position as usize].at = at;
        let position = self.up(position, moved);
        self.down(position, moved);
    }

    /// Take the entry at `position` out; its socket is told position 0.
    pub fn remove(&mut self, position: u32, moved: &mut impl FnMut(u32, u32)) {
        if position == 0 || position > self.len {
            return;
        }
        moved(self.entries[position as usize].socket, 0);
        let last = self.entries[self.len as usize];
        self.len -= 1;
        if position <= self.len {
            self.entries[position as usize] = last;
            let position = self.up(position, moved);
            self.down(position, moved);
        }
    }

    fn up(&mut self, mut i: u32, moved: &mut impl FnMut(u32, u32)) -> u32 {
        let entry = self.entries[i as usize];
        while i > 1 && entry.at < self.entries[(i / 2) as usize].at {
            self.entries[i as usize] = self.entries[(i / 2) as usize];
            moved(self.entries[i as usize].socket, i);
            i /= 2;
        }
        self.entries[i as usize] = entry;
        moved(entry.socket, i);
        i
    }

    fn down(&mut self, mut i: u32, moved: &mut impl FnMut(u32, u32)) {
        let entry = self.entries[i as usize];
        loop {
            let mut child = i * 2;
            if child > self.len {
                break;
            }
            if child < self.len
                && self.entries[child as usize + 1].at < self.entries[child as usize].at
            {
                child += 1;
            }
            if entry.at <= self.entries[child as usize].at {
                break;
            }
            self.entries[i as usize] = self.entries[child as usize];
            moved(self.entries[i as usize].socket, i);
            i = child;
        }
        self.entries[i as usize] = entry;
        moved(entry.socket, i);
    }
}

impl super::Shared {
    /// See [`super::Host::next_deadline`].
    pub fn next_deadline(&self) -> Instant {
        let timer = self.timers.first().map_or(Instant::NEVER, |(at, _)| at);
        timer
            .min(self.links.held.next_due())
            .min(self.fragments.deadline())
    }
}

impl super::Host<'_> {
    /// Put the socket's entry where its connection's next deadline is.
    pub(super) fn arm(&mut self, index: u32) {
        let super::Shared {
            sockets, timers, ..
        } = &mut *self.sh;
        let Some(s) = sockets.get(index) else { return };
        let at = if s.open {
            s.tcb.deadline()
        } else {
            Instant::NEVER
        };
        let slot = s.timer_slot;
        let mut moved = |socket: u32, position: u32| {
            if let Some(s) = sockets.get_mut(socket) {
                s.timer_slot = position;
            }
        };
        match (slot, at) {
            (0, Instant::NEVER) => {}
            (0, at) => timers.insert(index, at, &mut moved),
            (slot, Instant::NEVER) => timers.remove(slot, &mut moved),
            (slot, at) if at < timers.at(slot) => timers.change(slot, at, &mut moved),
            _ => {}
        }
    }

    /// Take the socket out of the heap.
    pub(super) fn disarm(&mut self, index: u32) {
        let super::Shared {
            sockets, timers, ..
        } = &mut *self.sh;
        let Some(slot) = sockets.get(index).map(|s| s.timer_slot) else {
            return;
        };
        timers.remove(slot, &mut |socket, position| {
            if let Some(s) = sockets.get_mut(socket) {
                s.timer_slot = position;
            }
        });
    }

    /// Run every timer that is due, and deliver what each sends on the loopback. Before that,
    /// packets arrive that modelled links have held until now.
    pub fn run_timers(&mut self) {
        // A bound, so that a timer that re-arms itself in the past can't hold the lock.
        self.run_some_timers(4096);
    }

    /// As [`super::Host::run_timers`], `most` timers and `most` packets that links held: what takes long
    /// is not to be of one time.
    pub fn run_some_timers(&mut self, most: usize) {
        if self.sh.fragments.deadline() <= self.now {
            self.expire_fragments();
        }
        self.release_held(most);
        let touched = self.sh.journal_len;
        for _ in 0..most {
            let Some((at, index)) = self.sh.timers.first() else {
                break;
            };
            if at > self.now {
                break;
            }
            let Some(s) = self.sh.sockets.get_mut(index).filter(|s| s.open) else {
                self.disarm(index);
                continue;
            };
            let real = s.tcb.deadline();
            if real > self.now {
                self.disarm(index);
                self.arm(index);
                continue;
            }
            self.touch(index);
            let old = self.sh.sockets[index].tcb.state;
            if let Some(most) = self.synack_timer(index) {
                self.sh.sockets[index].tcb.limit_synacks(most);
            }
            let super::Shared { sockets, sent, .. } = &mut *self.sh;
            let outcome = sockets[index].tcb.on_timer(self.now, sent);
            self.disarm(index);
            self.settle(index, old, outcome);
            self.deliver_looped();
            self.settled(touched);
        }
    }

    /// When [`super::Host::run_timers`] is to be called next, in the stack's time.
    pub fn next_deadline(&self) -> Instant {
        self.sh.next_deadline()
    }

    /// The same by the clock.
    pub fn next_wakeup(&self) -> Instant {
        self.sh.pace.real(self.next_deadline())
    }
}
