//! How many connections live on without a program, and what is done when they are too many.

use super::{Host, Socket};
use crate::stack::shared::MAX_SOCKETS;
use crate::tcp::State;

/// As what a socket is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Tally {
    /// Not at all.
    #[default]
    None = 0,
    /// In TIME_WAIT.
    TimeWait = 1,
    /// Closed by its program, and not over (Linux: `tcp_orphan_count`).
    Orphan = 2,
}

/// The counts: derived from the sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Tallies {
    /// In TIME_WAIT.
    pub time_waits: u32,
    /// Closed by their programs, and not over.
    pub orphans: u32,
}

/// Whatever `tcp_max_tw_buckets` says: half of the places stay for others.
const MOST_TIME_WAITS: u32 = MAX_SOCKETS as u32 / 2;
/// Whatever `tcp_max_orphans` says.
const MOST_ORPHANS: u32 = MAX_SOCKETS as u32 / 4;

impl Tallies {
    fn change(&mut self, was: Tally, is: Tally) {
        match was {
            Tally::None => {}
            Tally::TimeWait => self.time_waits = self.time_waits.saturating_sub(1),
            Tally::Orphan => self.orphans = self.orphans.saturating_sub(1),
        }
        match is {
            Tally::None => {}
            Tally::TimeWait => self.time_waits += 1,
            Tally::Orphan => self.orphans += 1,
        }
    }
}

impl Socket {
    /// As what it is to be counted.
    pub(super) fn counts_as(&self) -> Tally {
        match self.tcb.state {
            _ if !self.open || self.generation == 0 => Tally::None,
            State::TimeWait => Tally::TimeWait,
            State::Closed => Tally::None,
            _ if self.orphan && !self.embryonic => Tally::Orphan,
            _ => Tally::None,
        }
    }
}

impl Host<'_> {
    /// The socket at `index` may count as something else now.
    pub(super) fn tally(&mut self, index: u32) {
        let Some(s) = self.sh.sockets.get_mut(index) else {
            return;
        };
        let is = s.counts_as();
        let was = core::mem::replace(&mut s.tally, is);
        self.sh.tallies.change(was, is);
    }

    /// The socket at `index` counts as nothing any more.
    pub(super) fn untally(&mut self, index: u32) {
        if let Some(s) = self.sh.sockets.get_mut(index) {
            let was = core::mem::take(&mut s.tally);
            self.sh.tallies.change(was, Tally::None);
        }
    }

    /// Count all anew.
    pub(super) fn tally_all(&mut self) {
        self.sh.tallies = Tallies::default();
        for index in 1..=self.sh.sockets.high_water() {
            if let Some(s) = self.sh.sockets.get_mut(index) {
                s.tally = Tally::None;
                self.tally(index);
            }
        }
    }

    /// No connection more may be kept in TIME_WAIT.
    pub(super) fn time_waits_are_many(&self, index: u32) -> bool {
        let s = &self.sh.sockets[index];
        self.sh.tallies.time_waits >= s.sysctl.tcp_max_tw_buckets.min(MOST_TIME_WAITS)
    }

    /// No connection more may live on without its program, this one not counted.
    pub(super) fn orphans_are_many(&self, index: u32) -> bool {
        let s = &self.sh.sockets[index];
        self.sh.tallies.orphans >= s.sysctl.tcp_max_orphans.min(MOST_ORPHANS)
    }
}
