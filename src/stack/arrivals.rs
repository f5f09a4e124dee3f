//! When what was received came (SO_TIMESTAMP and its kin): a time for each piece of payload,
//! beside the pieces, so that who doesn't ask for it doesn't pay for it.
//!
//! As in Linux, pieces are stamped once any socket asks. Of pieces that are put together the
//! time of the one put at the end counts, though it may have come before the others; of a call
//! that reads several, that of the last.

use super::shared::MAX_CHUNKS;
use super::{Host, SockId, SocketOptions};
use crate::time::Instant;

/// By piece; 0: not known.
#[repr(C)]
pub struct Arrivals {
    /// Some socket asks, or did.
    pub(super) wanted: bool,
    times: [Instant; MAX_CHUNKS + 1],
}

impl Arrivals {
    /// The piece `chunk` has something that came at `at`.
    pub(super) fn note(&mut self, chunk: u32, at: Instant) {
        if self.wanted
            && let Some(place) = self.times.get_mut(chunk as usize)
        {
            *place = at;
        }
    }

    /// When the piece came.
    pub(super) fn of(&self, chunk: u32) -> Instant {
        let time = self.times.get(chunk as usize).filter(|_| self.wanted);
        time.copied().unwrap_or(Instant(0))
    }
}

/// What a program asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Asked {
    /// Nothing.
    #[default]
    No = 0,
    /// SO_TIMESTAMP.
    Micros,
    /// SO_TIMESTAMPNS.
    Nanos,
}

impl SocketOptions {
    /// Timestamps by SO_TIMESTAMPING come with what is received.
    pub fn stamps_received(&self) -> bool {
        use super::stamping::{OPT_RX_FILTER, RX_SOFTWARE, SOFTWARE};
        let has = |bit| self.timestamping & bit != 0;
        has(SOFTWARE) && (has(RX_SOFTWARE) || !has(OPT_RX_FILTER))
    }
}

impl Host<'_> {
    /// A call has read up to byte `end` of the receive queue: remember when its last piece came.
    pub(super) fn remember_arrival(&mut self, index: u32, end: usize) {
        if !self.sh.arrivals.wanted {
            return;
        }
        let mut i = self.sh.sockets[index].rx.head;
        let mut left = end;
        while let Some(c) = self.sh.chunks.get(i) {
            if left <= c.len as usize {
                break;
            }
            left -= c.len as usize;
            i = c.next;
        }
        let at = self.sh.arrivals.of(i);
        if let Some(q) = self.sh.error_queues.get_mut(index as usize) {
            q.read_at = at;
        }
    }

    /// When the last piece came of which something was read; `None`: that isn't known.
    pub fn read_at(&self, id: SockId) -> Option<Instant> {
        let index = self.index_of(id).ok().filter(|_| self.sh.arrivals.wanted)?;
        let at = self.sh.error_queues.get(index as usize)?.read_at;
        (at != Instant(0)).then_some(at)
    }
}
