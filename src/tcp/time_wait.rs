//! TIME_WAIT (RFC 9293, section 3.6.1; RFC 1337), after Linux's `tcp_timewait_state_process`.

use super::mib::Mib;
use super::open::TIMESTAMPS_LEN;
use super::{Flags, Outcome, Segment, SeqNum, State, Tcb, reset_for};
use crate::time::Instant;

/// What a connection in TIME_WAIT leaves to one of this side that takes its place (RFC 6191; Linux:
/// `tcp_twsk_unique`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    snd_nxt: SeqNum,
    ts_recent: u32,
    ts_recent_at: Instant,
}

impl Former {
    /// The new connection's first sequence number.
    pub fn next_iss(&self) -> SeqNum {
        next_iss(self.snd_nxt)
    }
}

/// The sequence number with which a connection begins in place of one that sent up to `snd_nxt`: no
/// segment of the old one is in its window.
fn next_iss(snd_nxt: SeqNum) -> SeqNum {
    match snd_nxt + 65_537 {
        SeqNum(0) => SeqNum(1),
        iss => iss,
    }
}

impl Tcb {
    /// What is left to a connection in place of this one; nothing without timestamps, which alone
    /// tell the old segments from the new.
    pub fn former(&self) -> Option<Former> {
        self.ts_ok.then_some(Former {
            snd_nxt: self.snd_nxt,
            ts_recent: self.ts_recent,
            ts_recent_at: self.ts_recent_at,
        })
    }

    /// Straight after [`Tcb::connect`] with [`Former::next_iss`]: the peer's clock is known.
    pub fn succeed(&mut self, former: Former) {
        self.ts_recent = former.ts_recent;
        self.ts_recent_at = former.ts_recent_at;
        if self.sysctl.tcp_timestamps != 0 {
            self.choose_window(u32::from(self.advmss.saturating_sub(TIMESTAMPS_LEN)));
        }
    }

    /// Both FINs are acknowledged: wait for 2 MSL.
    // RFC 9293 MUST-13
    pub(super) fn enter_time_wait(&mut self, now: Instant, out: &mut Outcome) {
        let owed = self.owes.ack;
        self.noted.add(Mib::Tw, u32::from(!self.is_stand_in()));
        if self.state == State::FinWait2 && self.orphan {
            // Linux has forgotten the socket in FIN_WAIT_2 already: the window stays as it was
            // before the FIN.
            self.rcv_wnd = self.rcv_wnd.saturating_add(1);
        }
        self.timers.rexmit_at = Instant::NEVER;
        self.delack.cancel();
        self.owes.ack = owed;
        // The last that the connection counts.
        self.segs_out = self.segs_out.wrapping_add(owed.into());
        self.owes.rexmit = false;
        self.owes.probe = false;
        self.enter(State::TimeWait, out);
        self.arm_time_wait(now);
    }

    /// TIME_WAIT is cut short, for there are too many (`tcp_max_tw_buckets`), or because a new SYN
    /// takes its place.
    pub fn end_time_wait(&mut self) {
        if self.state == State::TimeWait {
            self.done(&mut Outcome::default());
        }
    }

    /// Nothing but numbers is kept of the connection, by Linux: its window stays as it was told.
    pub(super) fn window_stands(&self) -> bool {
        match self.state {
            State::TimeWait => true,
            State::FinWait2 => self.is_stand_in(),
            State::SynReceived => self.passive && !self.is_early(),
            _ => false,
        }
    }

    /// The SYN that could have opened the connection anew ([`Outcome::reopen`]) found nobody who
    /// listens: it is answered as any other segment.
    pub fn stay_in_time_wait(&mut self) {
        self.owes.ack = self.state == State::TimeWait;
    }

    pub(super) fn in_time_wait(&mut self, now: Instant, seg: &Segment, out: &mut Outcome) {
        let flags = seg.flags;
        let paws_failed = self.paws_rejects(now, seg);
        // In window there is but a RST or a bare ACK.
        if !paws_failed && seg.seq == self.rcv_nxt && (seg.seq_len() == 0 || flags.has(Flags::RST))
        {
            if flags.has(Flags::RST) {
                // TIME_WAIT assassination (RFC 1337), which the sysctl forbids.
                if self.sysctl.tcp_rfc1337 == 0 {
                    self.done(out);
                }
                return;
            }
            self.arm_time_wait(now);
            if self.ts_ok
                && let Some((tsval, _)) = seg.options.timestamps
            {
                self.ts_recent = tsval;
                self.ts_recent_at = now;
            }
            return;
        }
        // A new SYN that cannot be an old duplicate: its number is beyond, or its clock is.
        // RFC 9293 SHLD-4
        // RFC 6191 S2-1, S2-2
        let later = self.ts_ok
            && seg
                .options
                .timestamps
                .is_some_and(|t| (self.ts_recent.wrapping_sub(t.0) as i32) < 0);
        if flags.has(Flags::SYN)
            && !flags.has(Flags::RST)
            && !flags.has(Flags::ACK)
            && !paws_failed
            && (seg.seq.gt(self.rcv_nxt) || later)
        {
            out.reopen = Some(next_iss(self.snd_nxt));
            return;
        }
        if flags.has(Flags::RST) {
            return;
        }
        // A FIN again, or another segment out of window: our ACK was lost. Section 3.10.7.4:
        // "Acknowledge it, and restart the 2 MSL timeout".
        if paws_failed || flags.has(Flags::ACK) {
            self.arm_time_wait(now);
        }
        if self.oow_answer_allowed(now, seg, Mib::SkippedTimeWait) {
            self.owes.ack = true;
        }
    }

    /// FIN_WAIT_2 of an orphan: whatever is not the FIN that it waits for ends it.
    pub(super) fn in_orphans_fin_wait_2(&mut self, now: Instant, seg: &Segment, out: &mut Outcome) {
        let flags = seg.flags;
        if self.paws_rejects(now, seg) || !self.inside(seg, self.receive_window()) {
            // Linux answers even a RST.
            if self.oow_answer_allowed(now, seg, Mib::SkippedFinWait2) {
                self.owes.ack = true;
            }
            return;
        }
        if flags.has(Flags::RST) {
            return self.done(out);
        }
        let syn = flags.has(Flags::SYN) && seg.seq.ge(self.rcv_nxt);
        let new = seg.seq_len() > 0 && seg.end().gt(self.rcv_nxt);
        if !syn && (!flags.has(Flags::ACK) || !new) {
            return;
        }
        if syn || !flags.has(Flags::FIN) || seg.end() != self.rcv_nxt + 1 {
            out.reset = reset_for(seg);
            return self.done(out);
        }
        self.update_ts_recent_if_ok(now, seg);
        self.take_fin(now, out);
    }
}
