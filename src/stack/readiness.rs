//! What poll(2) says of a socket, when the send buffer is full, and mirroring.

use super::queue::Queue;
use super::shared::MIRROR_QUEUE;
use super::{Host, Ready, Result, SockId, Socket};
use crate::tcp::State;

/// What Linux counts for an sk_buff beside its data: `struct sk_buff` and the shared info.
const SKB_OVERHEAD: u32 = 1280;
/// The most data that one sk_buff of a TCP send queue holds.
const SKB_DATA: u32 = 32768;

/// Linux's sk_wmem_queued for a queue: data plus what the sk_buffs cost.
pub(super) fn wmem_queued(queue: &Queue, mss: u32) -> u32 {
    let per_skb = SKB_DATA.max(mss / 2);
    queue.bytes + queue.bytes.div_ceil(per_skb) * SKB_OVERHEAD
}

/// How many bytes may be appended before send must wait: Linux adds an sk_buff as long as
/// sk_wmem_queued is below sk_sndbuf, and fills that one.
pub(super) fn send_room(queue: &Queue, sndbuf: u32, mss: u32) -> u32 {
    let used = wmem_queued(queue, mss);
    if used >= sndbuf {
        return 0;
    }
    // The sk_buff in hand may be filled past the limit, up to its own size.
    (sndbuf - used).max(mss.min(SKB_DATA))
}

/// sk_stream_is_writable: a third of the buffer is free.
fn writable(s: &Socket) -> bool {
    let used = wmem_queued(&s.tx, u32::from(s.tcb.mss()));
    s.options.sndbuf.saturating_sub(used) >= used / 2
}

impl Socket {
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
        let rcv_shut = self.rcv_shutdown || self.eof;
        let never_open = state == State::Closed;
        if rcv_shut && self.snd_shutdown || never_open {
            r.add(Ready::HUP);
        }
        if rcv_shut {
            r.add(Ready::IN.with(Ready::RDHUP));
        }
        if !matches!(state, State::SynSent | State::SynReceived) {
            if self.rx.bytes >= self.options.rcvlowat.max(1) {
                r.add(Ready::IN);
            }
            if self.snd_shutdown || !self.open || writable(self) {
                r.add(Ready::OUT);
            }
            if self.urgent_at.is_some() && (self.urgent_byte.is_some() || self.options.oobinline) {
                r.add(Ready::PRI);
            }
        }
        if self.error.is_some() {
            r.add(Ready::ERR);
        }
        r
    }
}

impl Host<'_> {
    /// What poll(2) reports for the socket.
    pub fn ready(&self, id: SockId) -> Result<Ready> {
        Ok(self.socket(id)?.ready())
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
        if s.ready() == s.mirrored || waited_for && !s.watched {
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
        if watched {
            self.wakes.keeper_now = true;
        } else {
            self.wakes.keeper_soon = true;
        }
    }

    /// The next socket whose descriptor is to be made to show `.2` instead of `.1`; it counts as
    /// done.
    pub fn next_mirror(&mut self) -> Option<(SockId, Ready, Ready)> {
        while self.sh.mirror_len > 0 {
            let index = self.sh.mirror_queue[self.sh.mirror_head as usize % MIRROR_QUEUE];
            self.sh.mirror_head = (self.sh.mirror_head + 1) % MIRROR_QUEUE as u32;
            self.sh.mirror_len -= 1;
            let Some(s) = self.sh.sockets.get_mut(index) else {
                continue;
            };
            if !s.mirror_queued {
                continue;
            }
            s.mirror_queued = false;
            let (old, new) = (s.mirrored, s.ready());
            if old != new && s.has_far && !s.orphan {
                s.mirrored = new;
                return Some((
                    SockId {
                        index,
                        generation: s.generation,
                    },
                    old,
                    new,
                ));
            }
        }
        None
    }
}
