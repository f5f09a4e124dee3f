//! After a process died inside the lock.
//!
//! Truth is in the sockets; tables, heap, free lists and reference counts are derived from
//! them. The sockets that the dead process was changing (its journal) are reset; everything
//! derived is made anew from the others.

use super::queue::{Queue, pools};
use super::{Host, Shared};
use crate::addr::Endpoint;
use crate::tcp::{Flags, Segment, State};
use core::sync::atomic::Ordering;

impl Host<'_> {
    /// Make the state whole again. Idempotent: may itself be interrupted by death.
    pub fn recover(&mut self) {
        self.sh.counters.recoveries += 1;
        let suspects = self.sh.journal_len as usize;
        let every = suspects > self.sh.journal.len();
        let high = self.sh.sockets.high_water();
        // 1. Which sockets live on.
        let mut resets = Vec::new();
        let mut dead = [0u32; super::shared::JOURNAL];
        let dead = if every {
            &mut dead[..0]
        } else {
            &mut dead[..suspects]
        };
        dead.copy_from_slice(&self.sh.journal[..dead.len()]);
        for index in 1..=high {
            let suspect = every || dead.contains(&index);
            let Some(s) = self.sh.sockets.slot(index) else {
                continue;
            };
            if s.generation == 0 || !suspect {
                continue;
            }
            resets.extend(self.condemn(index));
        }
        // 2. References and pieces, from the queues of those that live.
        self.sh.looped.clear();
        self.sh.tx_waiting.clear();
        self.sh.buffers.forget_references();
        let chunks_high = self.sh.chunks.high_water();
        let mut marks = vec![0u64; chunks_high as usize / 64 + 1];
        for index in 1..=high {
            if self
                .sh
                .sockets
                .slot(index)
                .is_none_or(|s| s.generation == 0)
            {
                continue;
            }
            let s = self.sh.sockets[index];
            let whole = [s.tx, s.rx, s.ooo]
                .iter()
                .all(|q| mark(self.sh, q, &mut marks));
            if !whole {
                // A queue that was not journalled is broken all the same: give it up. Its
                // pieces stay marked until the next recovery, which costs memory, not safety.
                self.condemn(index);
            }
        }
        self.sh
            .chunks
            .rebuild(|i| marks[i as usize / 64] >> (i % 64) & 1 == 1);
        self.sh.buffers.rebuild();
        // 3. Tables, timers, listeners' queues.
        self.sh.conn_table.fill(0);
        self.sh.port_table.fill(0);
        self.sh.timers.clear();
        self.sh.mirror_len = 0;
        self.sh.sockets.rebuild_slots(|s| s.generation != 0);
        for index in 1..=high {
            let Some(s) = self.sh.sockets.get_mut(index) else {
                continue;
            };
            let (hashed, has_port) = (s.hashed, s.has_port);
            (s.hashed, s.has_port, s.hash_next, s.port_next) = (false, false, 0, 0);
            (s.timer_slot, s.tx_pending, s.mirror_queued) = (0, false, false);
            (s.accept_head, s.accept_tail, s.accept_next) = (0, 0, 0);
            (s.accept_len, s.syn_len) = (0, 0);
            s.waiters = [0; super::socket::OWN_WAITERS];
            s.waiters_overflow = true;
            if hashed {
                self.sh.hash_connection(index);
            }
            if has_port {
                self.sh.link_port(index);
            }
        }
        self.rebuild_listeners(high);
        self.sh.journal_len = 0;
        // 4. Everybody looks again.
        for id in 1..=self.sh.waiters.high_water() {
            if let Some(w) = self.sh.waiters.get_mut(id) {
                w.everything = true;
            }
        }
        self.wakes.all = true;
        for index in 1..=high {
            if self.sh.sockets.get(index).is_some() {
                self.arm(index);
                self.mirror_later(index);
            }
        }
        for (local, remote, reset) in resets {
            self.send_stray(local, remote, reset);
        }
        self.deliver_looped();
    }

    /// Reset a socket whose state can't be trusted: the program gets an error,
    /// the peer the RST that is returned.
    fn condemn(&mut self, index: u32) -> Option<(Endpoint, Endpoint, Segment)> {
        self.sh.counters.recovered_resets += 1;
        let s = self.sh.sockets.slot_mut(index)?;
        let (local, remote) = (s.local, s.remote);
        let reset = s.open
            && !matches!(
                s.tcb.state,
                State::Closed | State::SynSent | State::TimeWait
            );
        let (seq, ack) = (s.tcb.snd_nxt(), s.tcb.rcv_nxt());
        s.tx = Queue::default();
        s.rx = Queue::default();
        s.ooo = Queue::default();
        if s.orphan {
            // Nobody holds it.
            s.generation = 0;
            s.hashed = false;
            s.has_port = false;
        } else {
            if s.open {
                s.error = Some(crate::tcp::TcpError::Reset);
                s.tcb = crate::tcp::Tcb::closed();
                s.snd_shutdown = true;
                s.rcv_shutdown = true;
            }
            s.connecting = false;
            s.hashed = false;
        }
        let segment = Segment {
            seq,
            ack,
            flags: Flags::RST.with(Flags::ACK),
            ..Segment::default()
        };
        reset.then_some((local, remote, segment))
    }

    /// Children find their listeners again, in the order in which they were made.
    fn rebuild_listeners(&mut self, high: u32) {
        let mut children: Vec<(u32, u32)> = (1..=high)
            .filter_map(|i| {
                let s = self.sh.sockets.get(i)?;
                s.embryonic.then_some((s.generation, i))
            })
            .collect();
        children.sort_unstable();
        for (_, i) in children {
            let s = &self.sh.sockets[i];
            let (parent, complete) = (s.parent, s.was_connected);
            match self.index_of(parent) {
                Ok(l) if self.sh.sockets[l].listening => {
                    if !complete {
                        self.sh.sockets[l].syn_len += 1;
                        continue;
                    }
                    let tail = self.sh.sockets[l].accept_tail;
                    if tail == 0 {
                        self.sh.sockets[l].accept_head = i;
                    } else {
                        self.sh.sockets[tail].accept_next = i;
                    }
                    let l = &mut self.sh.sockets[l];
                    l.accept_tail = i;
                    l.accept_len += 1;
                }
                _ => {
                    self.sh.sockets[i].embryonic = false;
                    self.free(i);
                }
            }
        }
    }

    /// The lock is about to be given back in good order.
    pub fn finish(&mut self) {
        self.sh.journal_len = 0;
        let sleeps_until = self.sh.open.sleeper_deadline.load(Ordering::Relaxed);
        if self.next_deadline().0 < sleeps_until {
            self.wakes.timer = true;
        }
    }
}

/// Mark a queue's pieces and count their references; false if the list is not sound.
fn mark(sh: &mut Shared, q: &Queue, marks: &mut [u64]) -> bool {
    let (mut bytes, mut chunks, mut last) = (0u32, 0u32, 0);
    let mut i = q.head;
    while i != 0 {
        let Some(word) = marks.get_mut(i as usize / 64) else {
            return false;
        };
        let bit = 1 << (i % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        let Some(&c) = sh.chunks.slot(i) else {
            return false;
        };
        if !sh.buffers.recount(c.buf) {
            return false;
        }
        bytes = bytes.wrapping_add(c.len);
        chunks += 1;
        last = i;
        i = c.next;
    }
    let _ = pools!(sh);
    bytes == q.bytes && chunks == q.chunks && last == q.tail
}
