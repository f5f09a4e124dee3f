//! What keeps TCP Fast Open from doing harm.
//!
//! Clients: where something on the way swallows what Fast Open sends, it pauses for all
//! destinations, twice as long each time (`tcp_fastopen_blackhole_timeout_sec`).
//!
//! Servers: a connection ahead of its handshake that a RST ends after accept may have been opened
//! with somebody else's address. It goes on counting against its listener's TCP_FASTOPEN for a
//! minute, so that no more of them can be opened in that time.

use super::{Host, Shared, SockId, Socket};
use crate::tcp::Verdict;
use crate::time::{Duration, Instant};

/// How long a reset connection counts.
const MINUTE: Duration = Duration::from_secs(60);
/// As many are remembered, of all listeners; one more takes the place of the oldest.
const RESETS: usize = 4096;
/// The pause is doubled so often at most.
const DOUBLINGS: u32 = 6;

/// Fast Open pauses, or has paused.
#[derive(Debug)]
#[repr(C)]
pub struct Pause {
    since: Instant,
    /// How often in a row it was swallowed.
    times: u32,
    /// The setting as the latest connect found it, whichever socket's: a change of it begins anew
    /// (Linux: any writing).
    setting: u32,
}

/// One connection that was reset.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Reset {
    /// Its listener; none: the place is free.
    listener: SockId,
    until: Instant,
}

/// Connections that were reset in the last minute, of all listeners. In a ring: they end in the
/// order in which they began.
#[derive(Debug)]
#[repr(C)]
pub struct Resets {
    ring: [Reset; RESETS],
    /// Where the next is put.
    next: u32,
    /// How many there are.
    count: u32,
}

impl Resets {
    /// Those of `listener`.
    pub(super) fn count(&self, listener: SockId) -> u32 {
        if self.count == 0 || listener == SockId::default() {
            return 0;
        }
        let its = self.ring.iter().filter(|r| r.listener == listener);
        its.count() as u32
    }

    /// One more; gives the listener whose oldest one is forgotten for it.
    fn push(&mut self, listener: SockId, until: Instant) -> SockId {
        let at = self.next as usize % RESETS;
        let forgotten = core::mem::replace(&mut self.ring[at], Reset { listener, until });
        self.next = (at as u32 + 1) % RESETS as u32;
        self.count += u32::from(forgotten.listener == SockId::default());
        forgotten.listener
    }

    /// Forget the oldest one of `listener` if its time is over.
    fn expire(&mut self, listener: SockId, now: Instant) -> bool {
        if self.count == 0 {
            return false;
        }
        let (young, old) = self.ring.split_at_mut(self.next as usize % RESETS);
        let mut by_age = old.iter_mut().chain(young);
        let Some(oldest) = by_age.find(|r| r.listener == listener) else {
            return false;
        };
        if oldest.until > now {
            return false;
        }
        *oldest = Reset::default();
        self.count -= 1;
        true
    }

    /// Only those count that `counts` says it of, by listener and end; how many there are is counted
    /// anew.
    fn recount(&mut self, mut counts: impl FnMut(SockId, Instant) -> bool) {
        self.count = 0;
        for r in &mut self.ring {
            if r.listener != SockId::default() && counts(r.listener, r.until) {
                self.count += 1;
            } else {
                *r = Reset::default();
            }
        }
        self.next %= RESETS as u32;
    }
}

impl Shared {
    /// Whether Fast Open pauses now, and whether it has paused before (Linux:
    /// `tcp_fastopen_active_should_disable`). `setting`: for how many seconds it does.
    pub(super) fn fast_open_pauses(&mut self, setting: u32, now: Instant) -> (bool, bool) {
        let pause = &mut self.fast_pause;
        if pause.setting != setting {
            (pause.setting, pause.times) = (setting, 0);
        }
        if setting == 0 || pause.times == 0 {
            return (false, false);
        }
        let doubled = 1u64 << (pause.times - 1).min(DOUBLINGS);
        let end = pause.since + Duration::from_secs(u64::from(setting) * doubled);
        (now < end, true)
    }

    /// What was sent by Fast Open seems to be swallowed (Linux: `tcp_fastopen_active_disable`). For
    /// how long it pauses is what the latest connect found: a socket's own copy may be older.
    pub(super) fn pause_fast_open(&mut self, now: Instant) {
        if self.fast_pause.setting == 0 {
            return;
        }
        self.fast_pause.since = now;
        self.fast_pause.times = self.fast_pause.times.saturating_add(1);
        self.counters.fastopen_blackhole += 1;
    }
}

impl Host<'_> {
    /// A connection is over: it may tell something of Fast Open on the way.
    pub(super) fn judge_fast_open(&mut self, index: u32) {
        let s = &self.sh.sockets[index];
        match s.tcb.fast_open_verdict() {
            Verdict::None => {}
            Verdict::Swallowed => self.sh.pause_fast_open(self.now),
            Verdict::Works if self.is_local(s.remote.addr) => {}
            Verdict::Works => self.sh.fast_pause.times = 0,
        }
    }

    /// An early connection that the program had accepted was reset: it goes on counting, while its
    /// listener is one.
    pub(super) fn fast_reset_counts(&mut self, listener: SockId) {
        if !self.socket(listener).is_ok_and(|l| l.listening) {
            return;
        }
        let until = self.now + MINUTE;
        let forgotten = self.sh.fast_resets.push(listener, until);
        self.count_fast(listener, 1);
        self.count_fast(forgotten, -1);
    }

    /// The socket becomes a listener: what was reset when it was one before doesn't count any more.
    pub(super) fn forget_fast_resets(&mut self, index: u32) {
        let id = self.id_of(index, &self.sh.sockets[index]);
        let before = self.sh.fast_resets.count;
        if before > 0 {
            self.sh.fast_resets.recount(|l, _| l != id);
            let gone = before - self.sh.fast_resets.count;
            self.count_fast(id, -(gone as i32));
        }
    }

    /// After a death: those that still count are added to their listeners' counts.
    pub(super) fn recount_fast_resets(&mut self) {
        let Shared {
            fast_resets,
            sockets,
            ..
        } = &mut *self.sh;
        fast_resets.recount(|id, until| {
            let l = sockets.get_mut(id.index);
            let its = |l: &&mut Socket| l.generation == id.generation && l.listening;
            let l = l.filter(its).filter(|_| until > self.now);
            l.map(|l| l.fast_pending = l.fast_pending.saturating_add(1))
                .is_some()
        });
    }

    /// Whether the listener has room for one more connection ahead of its handshake (Linux:
    /// `tcp_fastopen_queue_check`).
    // RFC 7413 S4.2-2
    pub(super) fn fast_queue_has_room(&mut self, listener: u32) -> bool {
        let l = &self.sh.sockets[listener];
        let (most, pending, id) = (l.options.fastopen, l.fast_pending, self.id_of(listener, l));
        if most == 0 {
            return false;
        }
        if pending < most {
            return true;
        }
        if !self.sh.fast_resets.expire(id, self.now) {
            self.sh.counters.fastopen_listen_overflow += 1;
            return false;
        }
        self.count_fast(id, -1);
        true
    }

    /// So many more count against the listener's TCP_FASTOPEN.
    pub(super) fn count_fast(&mut self, listener: SockId, more: i32) {
        if let Ok(l) = self.index_of(listener) {
            let l = &mut self.sh.sockets[l];
            l.fast_pending = l.fast_pending.saturating_add_signed(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(n: u32) -> SockId {
        SockId {
            index: n,
            generation: 1,
        }
    }

    #[test]
    fn resets_are_bounded_and_end_in_order() {
        let mut resets = Resets {
            ring: [Reset::default(); RESETS],
            next: 0,
            count: 0,
        };
        let at = |n: u32| Instant(u64::from(n) + 1);
        for n in 0..RESETS as u32 {
            assert_eq!(resets.push(listener(n % 2 + 1), at(n)), SockId::default());
        }
        assert_eq!(resets.count(listener(1)), RESETS as u32 / 2);
        // The oldest one makes room.
        assert_eq!(resets.push(listener(3), at(9999)), listener(1));
        assert_eq!(resets.count(listener(1)), RESETS as u32 / 2 - 1);
        assert!(!resets.expire(listener(1), at(1)), "its oldest is of 2 now");
        assert!(resets.expire(listener(1), at(2)));
        assert!(!resets.expire(listener(1), at(3)));
        assert!(resets.expire(listener(2), at(1)));
        assert!(!resets.expire(listener(4), at(99_999)));
        resets.recount(|_, _| true);
        assert_eq!(resets.count as usize, RESETS - 2);
        resets.recount(|l, until| l == listener(3) || until <= at(9));
        assert_eq!(resets.count(listener(1)), 3, "those of 4, 6 and 8");
        assert_eq!(resets.count(listener(2)), 4);
        assert_eq!(resets.count, 8);
    }
}
