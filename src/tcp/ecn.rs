//! Explicit congestion notification (RFC 3168, section 6.1), after Linux's `tcp_ecn_*`.

use super::{Flags, Segment, State, Tcb};

/// The codepoint ECT(0) in the IP header (RFC 3168, section 5).
pub(super) const ECT0: u8 = 2;
/// The codepoint CE.
const CE: u8 = 3;

/// tcp_ecn: ask for it when opening; else only agree when asked.
const ASK: u8 = 1;

/// One connection's part in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Ecn {
    /// Agreed upon.
    pub ok: bool,
    /// The next new data bears CWR.
    queue_cwr: bool,
    /// ACKs bear ECE until the peer's CWR.
    pub demand_cwr: bool,
    /// The peer's segments have borne ECT.
    pub seen: bool,
}

impl Ecn {
    /// The reduction was undone before the peer heard of it.
    pub(super) fn withdraw_cwr(&mut self) {
        self.queue_cwr = false;
    }
}

impl Tcb {
    /// ECE and CWR of a SYN or SYN+ACK (section 6.1.1). A SYN that goes again asks no more
    /// (section 6.1.1.1; Linux: tcp_ecn_fallback).
    // RFC 3168 S6.1.1-6, S6.1.1-8
    pub(super) fn ecn_of_syn(&self, answer: bool, again: bool) -> Flags {
        if answer {
            return if self.ecn.ok { Flags::ECE } else { Flags::NONE };
        }
        let ask = self.sysctl.tcp_ecn == ASK;
        if ask && !(again && self.sysctl.tcp_ecn_fallback != 0) {
            Flags::ECE.with(Flags::CWR)
        } else {
            Flags::NONE
        }
    }

    /// The peer's SYN asks for it.
    // RFC 3168 S6.1.1-1
    pub(super) fn ecn_asked(&mut self, syn: &Segment) {
        let asked = syn.flags.has(Flags::ECE.with(Flags::CWR));
        self.ecn.ok = asked && syn.ecn == 0 && self.sysctl.tcp_ecn != 0;
    }

    /// The peer's SYN+ACK agrees.
    // RFC 3168 S6.1.1-3, S6.1.1-7
    pub(super) fn ecn_answered(&mut self, seg: &Segment) {
        self.ecn.ok =
            self.sysctl.tcp_ecn == ASK && seg.flags.has(Flags::ECE) && !seg.flags.has(Flags::CWR);
    }

    /// The next new data tells the peer that the window was reduced.
    pub(super) fn ecn_queue_cwr(&mut self) {
        if self.ecn.ok {
            self.ecn.queue_cwr = true;
        }
    }

    /// Mark a segment. `fresh`: it bears data that was never sent (section 6.1.5: nothing else
    /// is ECT).
    // RFC 3168 S6.1.1-2, S6.1.1-4, S6.1.2-1, S6.1.2-4, S6.1.2-5, S6.1.4-1, S6.1.5-1, S6.1.6-1, S5-2, S5.2-1, S5.2-2
    // RFC 9293 SHLD-8
    pub(super) fn ecn_mark(&mut self, seg: &mut Segment, fresh: bool) {
        if !self.ecn.ok {
            return;
        }
        if fresh && seg.len > 0 {
            seg.ecn = ECT0;
            if core::mem::take(&mut self.ecn.queue_cwr) {
                seg.flags = seg.flags.with(Flags::CWR);
            }
        }
        if self.ecn.demand_cwr {
            seg.flags = seg.flags.with(Flags::ECE);
        }
    }

    /// A segment came: what its marks say to a receiver.
    // RFC 3168 S6.1.1-5, S6.1.6-2
    pub(super) fn ecn_received(&mut self, seg: &Segment) {
        if !self.ecn.ok || self.state == State::TimeWait {
            return;
        }
        if seg.flags.has(Flags::CWR) {
            self.ecn.demand_cwr = false;
            if seg.seq_len() > 0 {
                // The peer's window may be a single segment.
                self.delack.now = true;
            }
        }
        // (What came before says nothing.)
        if seg.len == 0 || !seg.end().gt(self.rcv_nxt) {
            return;
        }
        match seg.ecn {
            0 => {
                // Probably sent again.
                if self.ecn.seen {
                    self.raise_quickack_to(2);
                }
            }
            CE => {
                if !self.ecn.demand_cwr {
                    self.raise_quickack_to(2);
                    self.ecn.demand_cwr = true;
                }
                self.ecn.seen = true;
            }
            _ => self.ecn.seen = true,
        }
    }
}
