//! What poll(2) says of a socket, when the send buffer is full, and mirroring.
//!
//! A socket's descriptor is the near end of a pair of AF_UNIX sockets and shows a readiness of
//! its own, to be kept equal to the socket's. Bits are *raised* at the far end, by the keeper
//! ([`Host::next_mirror`]); IN, OUT and PRI can be *lowered* only at the near end, by a process
//! that has the descriptor: whoever has just made a call on the socket asks
//! [`Host::to_lower`], does it, and says so ([`Host::lowered`]). They are lowered by the calls
//! of such processes only, so nothing is missed. Both are done under the lock, so that neither
//! overtakes the other.
//!
//! A process that uses epoll keeps the far ends of its own sockets as well, and raises them
//! itself ([`Host::next_mirror_of`]): so a thread that waits in epoll is woken with no other
//! process in between.

use super::shared::MIRROR_QUEUE;
use super::urgent::Sigurg;
use super::{Host, Ready, Result, SockId, Socket};
use crate::tcp::State;

/// What Linux 6.18 counts for an sk_buff of a send queue beside its data
/// (docs/kernel-notes/sockbuf.md).
const SKB_OVERHEAD: u32 = 832;

/// Linux was seen to begin one more sk_buff than its sum of them explains, in queues of small
/// ones of which something had been acknowledged (docs/kernel-notes/sockbuf.md).
const ONE_MORE: u32 = 2048 + SKB_OVERHEAD;

impl Socket {
    /// Linux's sk_wmem_queued.
    pub fn wmem_queued(&self) -> u32 {
        let unsent = self.tcb.unsent().min(self.tx.bytes);
        let skbs = match (self.tx.bytes, unsent) {
            (0, _) => 0,
            (_, 0) => self.tcb.sent_records(),
            // All but the last are full.
            _ => self.tcb.sent_records() + unsent.div_ceil(self.tcb.size_goal()),
        };
        self.tx.bytes + skbs * SKB_OVERHEAD
    }

    /// What SO_MEMINFO tells, in bytes and in Linux's order: received and not read, the limit of
    /// that, with the device, SO_SNDBUF, reserved, in the send queue, for options, in the backlog;
    /// and packets dropped. Received data is counted without what holds it.
    pub fn meminfo(&self) -> [u32; 9] {
        let received = self.rx.bytes + self.ooo.bytes;
        let (rcvbuf, sndbuf) = (self.rcv_buf(), self.options.sndbuf);
        [received, rcvbuf, 0, sndbuf, 0, self.wmem_queued(), 0, 0, 0]
    }

    /// SO_RCVBUF as it is now: a connection's grows by itself.
    pub(super) fn rcv_buf(&self) -> u32 {
        match self.tcb.rcv_buf() {
            grown if self.open && grown > 0 => grown,
            _ => self.options.rcvbuf,
        }
    }

    /// How many bytes send may append now, and whether they begin a new sk_buff: the unsent one
    /// at the tail takes more until it is full; a new one may begin while the queue is below
    /// SO_SNDBUF, and is then filled whatever that says. `ended`: it takes no more (MSG_EOR).
    pub(super) fn send_room(&self, ended: bool) -> (u32, bool) {
        let goal = self.tcb.size_goal();
        let unsent = self.unsent();
        let tail = self.tail_unsent();
        let more = if self.tcb.has_acked() {
            ONE_MORE.min(goal)
        } else {
            0
        };
        if tail > 0 && tail < goal && !ended {
            (goal - tail, false)
        } else if u64::from(unsent) >= u64::from(self.notsent_lowat()) {
            (0, true)
        } else if self.wmem_queued() < self.options.sndbuf.saturating_add(more) {
            (goal, true)
        } else {
            (0, true)
        }
    }

    fn unsent(&self) -> u32 {
        let in_flight = self.tcb.snd_nxt() - self.tcb.snd_una();
        self.tx.bytes.saturating_sub(in_flight)
    }

    /// What of Linux's last sk_buff of the send queue is not sent yet.
    pub(super) fn tail_unsent(&self) -> u32 {
        self.unsent().min(self.tx.tail_skb)
    }

    /// TCP_NOTSENT_LOWAT: no more than so much waits to be sent.
    fn notsent_lowat(&self) -> u32 {
        match self.options.notsent_lowat {
            0 => self.sysctl.tcp_notsent_lowat,
            n => n,
        }
    }

    /// sk_stream_is_writable: a third of the buffer is free.
    pub(super) fn writable(&self) -> bool {
        let used = self.wmem_queued();
        let unsent = if self.open { self.unsent() } else { 0 };
        self.options.sndbuf.saturating_sub(used) >= used / 2
            && (unsent == 0 || u64::from(unsent) * 2 < u64::from(self.notsent_lowat()))
    }

    /// What poll(2) reports (Linux: tcp_poll).
    pub fn ready(&self) -> Ready {
        let state = self.state();
        let mut r = Ready(0);
        if state == State::Listen {
            if self.accept_len > 0 {
                r.add(Ready::IN);
            }
            return r;
        }
        if self.deferred.is_some() {
            // TCP_FASTOPEN_CONNECT: what is written first connects.
            r.add(Ready::OUT);
            return r;
        }
        let rcv_shut = self.rcv_shutdown || self.eof;
        // TIME_WAIT is not seen through a descriptor: for the program the socket is CLOSED.
        let closed = matches!(state, State::Closed | State::TimeWait);
        if rcv_shut && self.snd_shutdown || closed {
            r.add(Ready::HUP);
        }
        if rcv_shut {
            r.add(Ready::IN.with(Ready::RDHUP));
        }
        if !matches!(state, State::SynSent | State::SynReceived) || self.is_early() {
            if self.inline_bytes() >= self.options.rcvlowat.max(1) {
                r.add(Ready::IN);
            }
            if self.snd_shutdown || !self.open || self.writable() {
                r.add(Ready::OUT);
            }
            r.add(self.urgent_ready());
        }
        if self.error.is_some() {
            r.add(Ready::ERR);
        }
        r
    }

    /// As [`Socket::ready`], with what descriptors can't show: that the error queue isn't empty.
    pub fn ready_now(&self) -> Ready {
        let ready = self.ready();
        if self.errors.any() {
            ready.with(Ready::ERR)
        } else {
            ready
        }
    }

    /// There is an error that the descriptor doesn't show, and a process that has to close its far
    /// end first.
    pub fn error_is_held(&self) -> bool {
        self.watcher != 0 && self.error.is_some() && !self.mirrored.has(Ready::ERR)
    }
}

impl super::Shared {
    /// The sockets that wait to be mirrored.
    pub(super) fn mirror_queue(&self) -> impl Iterator<Item = u32> {
        (0..self.mirror_len)
            .map(|i| self.mirror_queue[(self.mirror_head + i) as usize % MIRROR_QUEUE])
    }
}

impl Host<'_> {
    /// What poll(2) reports for the socket.
    pub fn ready(&self, id: SockId) -> Result<Ready> {
        Ok(self.socket(id)?.ready_now())
    }

    /// The program may wait for the socket by its descriptor alone (epoll): keep the mirror
    /// right at once from now on.
    pub fn watch(&mut self, id: SockId) -> Result<()> {
        let index = self.index_of(id)?;
        self.sh.sockets[index].watched = true;
        self.mirror_later(index);
        Ok(())
    }

    /// The socket's descriptor has a far end now; `shown` is what it shows.
    pub fn has_far(&mut self, id: SockId, shown: Ready) -> Result<()> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        s.has_far = true;
        s.mirrored = shown;
        self.mirror_later(index);
        Ok(())
    }

    /// Queue the socket for mirroring if its descriptor shows something else than is true.
    pub(super) fn mirror_later(&mut self, index: u32) {
        let s = &mut self.sh.sockets[index];
        if !s.has_far || s.orphan || s.mirror_queued {
            return;
        }
        let waited_for = s.waiters.iter().any(|w| *w != 0);
        let renew = s.edge && s.watched || s.sigurg == Sigurg::Due;
        if s.mirrored.has(s.ready()) && !renew || waited_for && !s.watched {
            return;
        }
        if self.sh.mirror_len as usize >= MIRROR_QUEUE {
            // Whoever mirrors finds the rest by looking at every socket.
            self.wakes.keeper_now = true;
            return;
        }
        s.mirror_queued = true;
        let watched = s.watched;
        let at = (self.sh.mirror_head + self.sh.mirror_len) as usize % MIRROR_QUEUE;
        self.sh.mirror_queue[at] = index;
        self.sh.mirror_len += 1;
        let watcher = s.watcher;
        if watched {
            self.wakes.keeper_now = true;
            if watcher != self.pid {
                self.wake_sleeper(watcher);
            }
        } else {
            self.wakes.keeper_soon = true;
        }
    }

    /// The process `pid` holds the far end of the socket and raises it itself.
    pub fn set_watcher(&mut self, id: SockId, pid: u32) {
        if let Ok(index) = self.index_of(id) {
            self.sh.sockets[index].watcher = pid;
        }
    }

    /// As [`Host::next_mirror`], for the sockets that are `mine`; the others stay queued. Looks
    /// at `left` entries at most, and counts them down.
    pub fn next_mirror_of(
        &mut self,
        left: &mut u32,
        mine: impl Fn(SockId, &Socket) -> bool,
    ) -> Option<(SockId, Ready, Ready)> {
        while *left > 0 && self.sh.mirror_len > 0 {
            *left -= 1;
            let index = self.sh.mirror_queue[self.sh.mirror_head as usize % MIRROR_QUEUE];
            self.sh.mirror_head = (self.sh.mirror_head + 1) % MIRROR_QUEUE as u32;
            self.sh.mirror_len -= 1;
            let Some(s) = self.sh.sockets.get_mut(index) else {
                continue;
            };
            let generation = s.generation;
            let id = SockId { index, generation };
            if !s.mirror_queued {
                continue;
            }
            if !mine(id, s) {
                // To the end.
                let end = (self.sh.mirror_head + self.sh.mirror_len) as usize % MIRROR_QUEUE;
                self.sh.mirror_queue[end] = index;
                self.sh.mirror_len += 1;
                continue;
            }
            s.mirror_queued = false;
            let mut new = s.mirrored.with(s.ready());
            // For edge-triggered epoll, IN anew: something came while something was unread.
            let renew = if core::mem::take(&mut s.edge) {
                Ready::IN.0
            } else {
                0
            };
            let mut old = Ready(s.mirrored.0 & !renew);
            let mut shown = new;
            if s.sigurg == Sigurg::Due {
                // For the signal, PRI anew, whether the program has read on or not.
                s.sigurg = Sigurg::Owned;
                if s.mirrored.has(Ready::PRI) {
                    // What was there before becomes an ordinary byte.
                    shown.add(Ready::IN);
                    old = Ready(old.0 & !Ready::PRI.0);
                }
                new.add(Ready::PRI);
                shown.add(Ready::PRI);
            }
            if old != new && s.has_far && !s.orphan {
                s.mirrored = shown;
                return Some((id, old, new));
            }
        }
        None
    }

    /// What [`Host::next_mirror`] gave is not raised (all of `.2` that is not in `.1`): somebody
    /// else is to do it.
    pub fn unmirror(&mut self, id: SockId, old: Ready, new: Ready) {
        if let Ok(index) = self.index_of(id) {
            let s = &mut self.sh.sockets[index];
            s.mirrored = Ready(s.mirrored.0 & !(new.0 & !old.0));
            self.mirror_later(index);
        }
    }

    /// Queued sockets with an error to be shown, whose far ends a process holds beside the keeper:
    /// the error shows when the last holder closes. Each with that process.
    pub fn errors_held(&self) -> impl Iterator<Item = (SockId, u32)> + '_ {
        self.sh.mirror_queue().filter_map(|index| {
            let s = self.sh.sockets.get(index)?;
            let id = SockId {
                index,
                generation: s.generation,
            };
            (s.mirror_queued && s.has_far && s.error_is_held()).then_some((id, s.watcher))
        })
    }

    /// The next socket whose descriptor shows too little: raise what is in `.2` and not in `.1`
    /// before the lock is given back; it counts as done.
    pub fn next_mirror(&mut self) -> Option<(SockId, Ready, Ready)> {
        let mut left = self.sh.mirror_len;
        self.next_mirror_of(&mut left, |_, _| true)
    }

    /// What the descriptor shows and should not: of IN, OUT, PRI and ERR.
    pub fn to_lower(&self, id: SockId) -> Ready {
        let Ok(s) = self.socket(id) else {
            return Ready(0);
        };
        let can = Ready::IN
            .with(Ready::OUT)
            .with(Ready::PRI)
            .with(Ready::ERR)
            .0;
        // The end of the stream is readable by itself, and can't be lowered.
        let ended = s.mirrored.any(Ready::RDHUP.with(Ready::HUP));
        let can = if ended { can & !Ready::IN.0 } else { can };
        // Whether an error shows is known too late by whoever closes the far end last.
        let ready = s.ready();
        let shown = if ready.has(Ready::HUP) {
            s.mirrored.with(Ready::ERR)
        } else {
            s.mirrored
        };
        if s.has_far {
            Ready(shown.0 & !ready.0 & can)
        } else {
            Ready(0)
        }
    }

    /// The descriptor no longer shows `bits`.
    pub fn lowered(&mut self, id: SockId, bits: Ready) {
        if let Ok(index) = self.index_of(id) {
            let s = &mut self.sh.sockets[index];
            s.mirrored = Ready(s.mirrored.0 & !bits.0);
            self.mirror_later(index);
        }
    }
}
