//! The journal of what is being changed, and what is done after a process died inside the lock.
//!
//! Truth is in the sockets; tables, heap, free lists and reference counts are derived from
//! them. Whoever changes a connection names its socket in the journal first. After a death the
//! sockets of the journal are reset, and everything derived is made anew from all others.
//!
//! A process can be killed between any two instructions, so the order of some writes matters
//! ([`in_this_order`]); nothing else of the memory model does, since the lock lies between the
//! dead process and whoever looks.

use super::queue::Queue;
use super::shared::JOURNAL;
use super::{Host, Shared, Socket};
use crate::tcp::{Flags, Segment, State, Tcb, TcpError, forget_records, rebuild_records};
use core::sync::atomic::{Ordering, compiler_fence};

/// What is written above is in memory before what is written below.
pub(super) fn in_this_order() {
    compiler_fence(Ordering::SeqCst);
}

/// The sockets that the dead process was changing.
struct Suspects {
    indices: [u32; JOURNAL],
    count: usize,
    /// They were too many to be named.
    all: bool,
}

impl Suspects {
    fn has(&self, index: u32) -> bool {
        self.all || self.indices[..self.count].contains(&index)
    }
}

impl Host<'_> {
    /// The socket is about to be changed: should this process die meanwhile, it is reset.
    pub(super) fn touch(&mut self, index: u32) {
        let Shared {
            journal,
            journal_len,
            ..
        } = &mut *self.sh;
        let n = *journal_len as usize;
        if journal[..n.min(JOURNAL)].contains(&index) {
            return;
        }
        if let Some(place) = journal.get_mut(n) {
            *place = index;
        }
        in_this_order();
        *journal_len = journal_len.saturating_add(1);
        in_this_order();
    }

    /// All changes to sockets that were touched since the journal was `touched` long are
    /// complete. To be called by loops over independent work, which else might touch more
    /// sockets than the journal can name.
    pub(super) fn settled(&mut self, touched: u32) {
        in_this_order();
        self.sh.journal_len = self.sh.journal_len.min(touched);
    }

    /// The lock is about to be given back in good order.
    pub fn finish(&mut self) {
        self.settled(0);
        let sleeps_until = self.sh.open.sleeper_deadline.load(Ordering::Relaxed);
        if self.next_wakeup().0 < sleeps_until {
            self.wakes.timer = true;
        }
    }

    /// Make the state whole again. May itself be interrupted by death, and is then begun anew:
    /// the journal stays until all is done.
    pub fn recover(&mut self) {
        self.sh.counters.recoveries += 1;
        let mut suspects = self.suspects();
        self.sh.looped.lose();
        self.sh.fragments.lose();
        self.sh.links.held.lose_looped();
        self.sh.tx_waiting.clear();
        self.sh.mirror_len = 0;
        self.sh.sockets.rebuild_slots(|s| s.generation != 0);
        self.sh.waiters.rebuild_slots(|w| w.pid != 0);
        self.isolate(&suspects);
        if !self.recount() {
            // A queue is broken whose socket nobody was changing: that socket was added.
            suspects = self.suspects();
            self.isolate(&suspects);
            self.recount();
        }
        self.sh.links.held.rebuild();
        self.attend();
        self.sh.rebuild_tables();
        self.rebuild_timers(&suspects);
        self.rebuild_listeners();
        self.tally_all();
        // From here on the others can be used, and the RSTs delivered.
        let touched = self.sh.journal_len;
        self.deliver_looped();
        self.drop_lost_children();
        for index in 1..=self.sh.sockets.high_water() {
            if suspects.has(index) {
                self.reset_suspect(index);
                self.settled(touched);
            }
        }
        self.tally_all();
        self.settled(0);
        self.go_on();
    }

    fn suspects(&self) -> Suspects {
        let count = self.sh.journal_len as usize;
        Suspects {
            indices: self.sh.journal,
            count: count.min(JOURNAL),
            all: count > JOURNAL,
        }
    }

    /// Nothing of the suspects counts any more but who they are and whom they talked to.
    fn isolate(&mut self, suspects: &Suspects) {
        for index in 1..=self.sh.sockets.high_water() {
            if !suspects.has(index) {
                continue;
            }
            let Some(s) = self.sh.sockets.get_mut(index) else {
                continue;
            };
            s.tcb.lose_sent();
            s.tx = Queue::default();
            s.rx = Queue::default();
            s.ooo = Queue::default();
            s.hashed = false;
            s.embryonic = false;
            s.tx_pending = false;
            s.has_port &= !s.orphan && (s.listening || s.port_locked);
            s.listening &= s.has_port;
        }
    }

    /// Pieces and references, from the sockets' queues. If a queue is broken, its socket is
    /// added to the journal, and this false.
    fn recount(&mut self) -> bool {
        self.sh.chunks.forget_use();
        self.sh.buffers.forget_references();
        forget_records(&mut self.sh.sent);
        let mut whole = true;
        for index in 1..=self.sh.sockets.high_water() {
            let Some(s) = self.sh.sockets.get(index) else {
                continue;
            };
            let queues = [s.tx, s.rx, s.ooo];
            let claimed = s.tcb.claim_sent(&mut self.sh.sent);
            if !queues.iter().all(|q| count_queue(self.sh, q)) || !claimed {
                self.touch(index);
                whole = false;
            }
        }
        let Shared { links, buffers, .. } = &mut *self.sh;
        links.held.recount(buffers);
        self.sh.chunks.rebuild_claimed();
        self.sh.buffers.rebuild();
        rebuild_records(&mut self.sh.sent);
        whole
    }

    fn rebuild_timers(&mut self, suspects: &Suspects) {
        self.sh.timers.clear();
        for index in 1..=self.sh.sockets.high_water() {
            if let Some(s) = self.sh.sockets.get_mut(index) {
                s.timer_slot = 0;
                if !suspects.has(index) {
                    self.arm(index);
                }
            }
        }
    }

    /// Children find their listeners again, in the order in which they were made.
    fn rebuild_listeners(&mut self) {
        let high = self.sh.sockets.high_water();
        for index in 1..=high {
            if let Some(s) = self.sh.sockets.get_mut(index) {
                (s.accept_head, s.accept_tail, s.accept_next) = (0, 0, 0);
                (s.accept_len, s.syn_len, s.syn_young, s.fast_pending) = (0, 0, 0, 0);
            }
        }
        for index in 1..=high {
            if let Some(s) = self.sh.sockets.get_mut(index) {
                s.early = s.is_early();
                let (early, parent) = (s.early, s.parent);
                if early && let Ok(l) = self.index_of(parent) {
                    self.sh.sockets[l].fast_pending += 1;
                }
            }
            let Some(s) = self.sh.sockets.get(index).filter(|s| s.embryonic) else {
                continue;
            };
            if let Some(l) = self.listener_of(s) {
                if s.was_connected {
                    self.queue_by_age(l, index);
                } else {
                    let young = s.young;
                    self.sh.sockets[l].syn_len += 1;
                    self.sh.sockets[l].syn_young += u32::from(young);
                }
            }
        }
        self.recount_fast_resets();
    }

    fn listener_of(&self, child: &Socket) -> Option<u32> {
        let l = self.index_of(child.parent).ok()?;
        let s = &self.sh.sockets[l];
        (s.listening && !s.orphan).then_some(l)
    }

    /// The listener was being closed: go on with that.
    fn drop_lost_children(&mut self) {
        for index in 1..=self.sh.sockets.high_water() {
            if let Some(s) = self.sh.sockets.get(index)
                && s.embryonic
                && self.listener_of(s).is_none()
            {
                self.drop_child(index);
                self.deliver_looped();
            }
        }
    }

    /// Into listener `l`'s accept queue, behind all older children.
    fn queue_by_age(&mut self, l: u32, child: u32) {
        let sockets = &mut self.sh.sockets;
        let age = sockets[child].generation;
        let (mut prev, mut next) = (0, sockets[l].accept_head);
        while let Some(s) = sockets.get(next).filter(|s| s.generation < age) {
            prev = next;
            next = s.accept_next;
        }
        sockets[child].accept_next = next;
        match prev {
            0 => sockets[l].accept_head = child,
            prev => sockets[prev].accept_next = child,
        }
        if next == 0 {
            sockets[l].accept_tail = child;
        }
        sockets[l].accept_len += 1;
    }

    /// End a connection whose state can't be trusted: a RST for the peer, an error for the
    /// program. The RST first: should we die before the end, it is sent again, which is better
    /// than not at all.
    fn reset_suspect(&mut self, index: u32) {
        let Some(s) = self.sh.sockets.get(index) else {
            return;
        };
        let alive = s.open && s.tcb.state != State::Closed;
        self.sh.counters.recovered_resets += u64::from(alive);
        if s.open && !matches!(s.tcb.state, State::SynSent | State::TimeWait) {
            self.send_reset(index);
        }
        if self.sh.sockets[index].orphan {
            return self.free(index);
        }
        self.no_longer_early(index);
        let s = &mut self.sh.sockets[index];
        if alive {
            s.error = Some(TcpError::Reset);
            (s.snd_shutdown, s.rcv_shutdown) = (true, true);
            // What was received and not read is lost: this is no orderly end.
            s.eof = false;
        }
        s.urgent = super::urgent::Urgent::None;
        s.tcb = Tcb::closed();
        if !s.has_port && !s.open {
            let any = s.any();
            (s.local.addr, s.local.port) = (any, 0);
            (s.addr_locked, s.port_locked) = (false, false);
        }
    }

    /// Tell the peer. CLOSED connections may still owe it a RST, too.
    fn send_reset(&mut self, index: u32) {
        let s = &self.sh.sockets[index];
        let (local, remote) = (s.local, s.remote);
        // Death may have come while they were being written.
        let pair = !remote.addr.is_any() && local.addr.is_v4() == remote.addr.is_v4();
        if !pair || self.sh.find_connection(local, remote).is_some() {
            // Or the pair of endpoints belongs to another connection now.
            return;
        }
        // A peer on this host may have lost segments with the loopback: say what it expects, or
        // it would doubt the RST (RFC 5961).
        let peer = self.sh.find_connection(remote, local);
        let expected = peer.map(|p| self.sh.sockets[p].tcb.rcv_nxt());
        let segment = Segment {
            seq: expected.unwrap_or(s.tcb.snd_nxt()),
            ack: s.tcb.rcv_nxt(),
            flags: Flags::RST.with(Flags::ACK),
            ..Segment::default()
        };
        let none = crate::wire::IpOptions::NONE;
        self.send_stray(local, remote, segment, &none);
        self.deliver_looped();
    }

    /// Nobody knows what the dead process still had to do: everybody looks again.
    fn go_on(&mut self) {
        self.wakes.all = true;
        self.wakes.timer = true;
        for index in 1..=self.sh.sockets.high_water() {
            let Some(s) = self.sh.sockets.get_mut(index) else {
                continue;
            };
            s.mirror_queued = false;
            let waits = core::mem::take(&mut s.tx_pending);
            self.forget_dead_waiters(index);
            self.mirror_later(index);
            if waits {
                self.touch(index);
                self.output(index);
                self.deliver_looped();
                self.settled(0);
            }
        }
    }

    /// Only waiters that exist are waited for.
    pub(super) fn forget_dead_waiters(&mut self, index: u32) {
        let Shared {
            sockets, waiters, ..
        } = &mut *self.sh;
        if let Some(Socket { waiters: names, .. }) = sockets.get_mut(index) {
            for w in names {
                if *w != 0 && !waiters.is_in_use(u32::from(*w)) {
                    *w = 0;
                }
            }
        }
    }
}

/// Claim a queue's pieces and count their references; false, with nothing claimed, if the list
/// is not sound.
fn count_queue(sh: &mut Shared, q: &Queue) -> bool {
    let (mut bytes, mut chunks, mut last) = (0u32, 0u32, 0);
    let mut i = q.head;
    let broken = loop {
        if i == 0 {
            break bytes != q.bytes || chunks != q.chunks || last != q.tail;
        }
        let Some(&c) = sh.chunks.slot(i) else {
            break true;
        };
        if !sh.chunks.claim(i) {
            break true;
        }
        if !sh.buffers.recount(c.buf) {
            sh.chunks.disclaim(i);
            break true;
        }
        bytes = bytes.wrapping_add(c.len);
        chunks += 1;
        last = i;
        i = c.next;
    };
    if broken {
        let mut i = q.head;
        for _ in 0..chunks {
            let Some(&c) = sh.chunks.slot(i) else { break };
            sh.chunks.disclaim(i);
            sh.buffers.uncount(c.buf);
            i = c.next;
        }
    }
    !broken
}
