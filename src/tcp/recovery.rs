//! Finding and repairing loss: fast retransmit and fast recovery (RFC 5681, RFC 6582), with the
//! peer's SACKs where it sends them (RFC 6675), and what follows a timeout.
//!
//! What is lost is one range, `[rexmit_nxt, lost_end)`, less what the scoreboard holds: the
//! sender walks it once for each finding of loss.

use super::tail::Tail;
use super::{SeqNum, Tcb};
use crate::time::Instant;

/// What the sender is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// No loss known.
    #[default]
    Open,
    /// Repairing after duplicate ACKs.
    Fast,
    /// Repairing after a timeout.
    Loss,
}

/// The state of loss recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Recovery {
    pub phase: Phase,
    /// Duplicate ACKs in a row, outside of SACK.
    pub dupacks: u32,
    /// `snd_nxt` when the loss was found: `recover` of RFC 6582.
    pub recover: SeqNum,
    /// The next number to retransmit.
    pub rexmit_nxt: SeqNum,
    /// Where what is taken for lost ends.
    pub lost_end: SeqNum,
    /// The clock of timestamps at the first retransmission, to see a loss that was none (RFC
    /// 3522); `None` when there is nothing to undo.
    pub undo_ts: Option<u32>,
    /// Until this is acknowledged the use made of the congestion window is watched (Linux:
    /// `cwnd_usage_seq`).
    pub usage_end: SeqNum,
}

impl Recovery {
    pub(super) fn new(una: SeqNum) -> Recovery {
        Recovery {
            phase: Phase::Open,
            dupacks: 0,
            recover: SeqNum(una.0.wrapping_sub(1)),
            rexmit_nxt: una,
            lost_end: una,
            undo_ts: None,
            usage_end: una,
        }
    }
}

impl Tcb {
    /// Bytes in flight: sent, less what was acknowledged in any way, less what is lost and not
    /// sent again (RFC 6675, section 4, `pipe`).
    // RFC 5681 S3.2-3, S3.2-4, S3.2-8, S3.2-9, S3.2-5
    // RFC 3042 S2-1, S2-2, S2-3
    pub(super) fn in_flight(&self) -> u32 {
        let out = self.snd_nxt - self.snd_una;
        let held = if self.sack_ok {
            self.board.bytes()
        } else {
            // Without SACK each duplicate ACK stands for a segment that left the network.
            self.recovery
                .dupacks
                .saturating_mul(u32::from(self.snd_mss))
        };
        let lost = if self.recovering() {
            let from = self.recovery.rexmit_nxt.max(self.snd_una);
            self.board.unreported(from, self.recovery.lost_end)
        } else {
            0
        };
        out.saturating_sub(held).saturating_sub(lost)
    }

    /// The same in segments.
    pub(super) fn segments_in_flight(&self) -> u32 {
        self.in_flight().div_ceil(u32::from(self.snd_mss).max(1))
    }

    /// An ACK moved `snd_una` by `acked`.
    // RFC 6675 S5-1
    pub(super) fn recover_on_ack(&mut self, acked: u32, tsecr: Option<u32>) {
        let una = self.snd_una;
        self.recovery.dupacks = 0;
        let mss = u32::from(self.snd_mss);
        if !self.recovering() {
            self.cc.on_ack(acked, mss);
            self.recovery.rexmit_nxt = una;
            self.recovery.lost_end = una;
            return;
        }
        // RFC 3522 (Eifel): the ACK was caused by what was sent before any retransmission.
        if let (Some(undo), Some(tsecr)) = (self.recovery.undo_ts, tsecr)
            && tsecr != 0
            && (tsecr.wrapping_sub(undo) as i32) < 0
        {
            self.cc.undo();
            self.leave_recovery();
            return;
        }
        if una.ge(self.recovery.recover) {
            // RFC 6582, section 3.2, step 3: "full acknowledgment".
            if self.recovery.phase == Phase::Loss {
                self.cc.on_ack(acked, mss);
            }
            self.leave_recovery();
            return;
        }
        self.recovery.rexmit_nxt = self.recovery.rexmit_nxt.max(una);
        match self.recovery.phase {
            Phase::Loss => self.cc.on_ack(acked, mss),
            // "Partial acknowledgment": the segment it stops at is lost, too.
            Phase::Fast if !self.sack_ok => {
                self.recovery.lost_end = self.recovery.lost_end.max(una + mss);
                self.owes.rexmit = true;
            }
            _ => {}
        }
        self.clip_lost();
    }

    fn clip_lost(&mut self) {
        self.recovery.lost_end = self.recovery.lost_end.max(self.snd_una).min(self.snd_nxt);
    }

    fn leave_recovery(&mut self) {
        self.recovery = Recovery {
            recover: self.recovery.recover,
            usage_end: self.recovery.usage_end,
            ..Recovery::new(self.snd_una)
        };
        self.owes.rexmit = false;
        self.timers.retrans_stamp = None;
    }

    /// An ACK came that is a duplicate (RFC 5681, section 2) or brought SACKs.
    // RFC 2018 S5.1-1
    // RFC 5681 S3.2-11
    pub(super) fn recover_on_duplicate(&mut self, now: Instant, sacked: bool) {
        if self.snd_una == self.snd_nxt {
            return;
        }
        let mss = u32::from(self.snd_mss);
        if !self.sack_ok {
            let most = (self.snd_nxt - self.snd_una).div_ceil(mss.max(1));
            self.recovery.dupacks = self.recovery.dupacks.saturating_add(1).min(most);
        } else if !sacked {
            return;
        }
        if self.recovering() {
            self.extend_lost();
            return;
        }
        let threshold = u32::from(self.sysctl.tcp_reordering.max(1));
        let found = if self.sack_ok {
            // RFC 6675, section 4, IsLost: more than (DupThresh - 1) segments above are held.
            self.board.bytes() > (threshold - 1).saturating_mul(mss)
                || self.board.runs().len() >= threshold as usize
        } else {
            // RFC 6582, section 3.2, step 2: not for what an earlier recovery sent twice.
            self.recovery.dupacks >= threshold && self.snd_una.gt(self.recovery.recover)
        };
        if !found {
            return;
        }
        self.cc.on_fast_retransmit();
        self.timers.tail = Tail::None;
        self.recovery.phase = Phase::Fast;
        self.recovery.recover = self.snd_nxt;
        self.recovery.rexmit_nxt = self.snd_una;
        self.recovery.lost_end = self.snd_una + mss;
        self.recovery.undo_ts = Some(self.ts_now(now));
        self.owes.rexmit = true;
        self.extend_lost();
    }

    /// With SACK every hole below the highest block is lost (as RACK has it once in recovery).
    fn extend_lost(&mut self) {
        if let Some(start) = self.board.highest_start() {
            self.recovery.lost_end = self.recovery.lost_end.max(start);
        }
        self.clip_lost();
    }

    /// The retransmission timer ran out (RFC 5681, section 3.1; Linux: `tcp_enter_loss`): all
    /// that is not reported is lost.
    pub(super) fn enter_loss(&mut self, now: Instant) {
        let first = match self.recovery.phase {
            Phase::Open => true,
            Phase::Fast => self.recovery.recover.le(self.snd_una),
            Phase::Loss => self.recovery.recover.le(self.snd_una) || self.timers.retransmits == 0,
        };
        self.cc.on_timeout(first);
        if self.recovery.phase == Phase::Open || self.recovery.undo_ts.is_none() {
            self.recovery.undo_ts = Some(self.ts_now(now));
        }
        // RFC 2018, section 8: a receiver that reported the first byte and did not acknowledge
        // it has thrown it away.
        if self
            .board
            .runs()
            .first()
            .is_some_and(|r| r.0.le(self.snd_una))
        {
            self.board.clear();
        }
        self.timers.tail = Tail::None;
        self.recovery.phase = Phase::Loss;
        self.recovery.dupacks = 0;
        self.recovery.recover = self.snd_nxt;
        self.recovery.rexmit_nxt = self.snd_una;
        self.recovery.lost_end = self.snd_nxt;
        self.owes.rexmit = true;
    }

    /// Send all again that is in flight and longer than the path now allows (Linux:
    /// `tcp_simple_retransmit`): no congestion is meant.
    pub(super) fn resend_all(&mut self) {
        if self.snd_una == self.snd_nxt {
            return;
        }
        if self.recovery.phase == Phase::Open {
            self.recovery.phase = Phase::Loss;
            self.recovery.undo_ts = None;
        }
        self.recovery.recover = self.snd_nxt;
        self.recovery.rexmit_nxt = self.snd_una;
        self.recovery.lost_end = self.snd_nxt;
        self.owes.rexmit = true;
    }
}
