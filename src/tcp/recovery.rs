//! Repairing loss: the states of Linux's `tcp_fastretrans_alert`, with RACK (RFC 8985) to find
//! what is lost (RFC 6582's rules where the peer sends no SACKs), and PRR (RFC 6937) to pace the
//! way down.
//!
//! ```text
//!            SACKs or duplicate ACKs          loss found
//!   +------+ ------------------------> +----------+ -----> +----------+
//!   | Open |                           | Disorder |        | Recovery |
//!   +------+ <------------------------ +----------+        +----------+
//!     |  ^ ^      all acknowledged                            |  |
//! ECE |  | +----------------------------------------(1)-------+  | timeout
//!     v  |(1)                                                    v
//!   +-----+                  timeout, from anywhere           +------+
//!   | CWR |-------------------------------------------------->| Loss |--(1)--> Open
//!   +-----+                                                   +------+
//!   (1) `recover` is acknowledged, or the loss turned out to be none (undo.rs)
//! ```

use super::mib::Mib;
use super::news::News;
use super::sent::{EVER_RETRANS, LOST, RETRANS, SACKED, Sent, SentList};
use super::tail::Tail;
use super::{SeqNum, Tcb};
use crate::time::Instant;

/// What the sender is at; the numbers are TCP_INFO's (`tcpi_ca_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub(super) enum CaState {
    /// No trouble.
    #[default]
    Open = 0,
    /// Something is reported or doubtful.
    Disorder = 1,
    /// The window is being reduced, though nothing was lost (ECN).
    Cwr = 2,
    /// Fast recovery.
    Recovery = 3,
    /// After a timeout.
    Loss = 4,
}

/// The state of loss recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Recovery {
    pub ca: CaState,
    /// F-RTO is at work (RFC 5682).
    pub frto: bool,
    /// Nothing is to be sent again until the next ACK (RFC 5682, section 2.1, step 2b).
    pub hold: bool,
    /// ... and new data goes first, whatever Nagle and TCP_CORK say.
    pub push_new: bool,
    /// The peer threw away what it had reported.
    pub reneged: bool,
    /// `snd_nxt` when the trouble began: `recover` of RFC 6582, `high_seq` in Linux.
    pub recover: SeqNum,
    /// `snd_una` when the window was reduced, if that may be undone.
    pub undo_marker: Option<SeqNum>,
    /// Segments sent again that were not reported as duplicates; negative: none was sent.
    pub undo_retrans: i32,
    /// The clock of timestamps at the first retransmission (RFC 3522).
    pub retrans_ts: Option<u32>,
    /// RFC 6937.
    pub prr_delivered: u32,
    pub prr_out: u32,
    /// Segments by which order is disturbed; how often it was.
    pub reordering: u32,
    pub reord_seen: u32,
    pub dsack_dups: u32,
    /// Segments delivered, and lost, ever.
    pub delivered: u32,
    /// Those of them whose ACK had ECE.
    pub delivered_ce: u32,
    pub lost: u32,
    /// Until this is acknowledged the use made of the congestion window is watched (Linux:
    /// `cwnd_usage_seq`).
    pub usage_end: SeqNum,
}

impl Recovery {
    pub(super) fn new(una: SeqNum, reordering: u32) -> Recovery {
        Recovery {
            ca: CaState::Open,
            frto: false,
            hold: false,
            push_new: false,
            reneged: false,
            recover: una,
            undo_marker: None,
            undo_retrans: 0,
            retrans_ts: None,
            prr_delivered: 0,
            prr_out: 0,
            reordering,
            reord_seen: 0,
            dsack_dups: 0,
            delivered: 0,
            delivered_ce: 0,
            lost: 0,
            usage_end: una,
        }
    }
}

/// What [`Tcb::resend_all`] sends again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resend {
    /// Everything: what a SYN carried, and its answer did not acknowledge.
    All,
    /// What is longer than a segment may be now.
    Long,
    /// The same where that has not changed: only a probe of the path's MTU can be too long.
    Probe,
}

impl Tcb {
    /// In fast recovery or after a timeout.
    pub(super) fn recovering(&self) -> bool {
        self.recovery.ca >= CaState::Recovery
    }

    /// The window is being reduced (Linux: `tcp_in_cwnd_reduction`).
    pub(super) fn reducing(&self) -> bool {
        matches!(self.recovery.ca, CaState::Cwr | CaState::Recovery)
    }

    /// Something in flight was sent again.
    pub(super) fn any_sent_again(&self, sent: &[Sent]) -> bool {
        self.sent.retrans_out > 0
            || SentList::get(sent, self.sent.head()).is_some_and(|s| s.is(EVER_RETRANS))
    }

    /// Linux's `tcp_mark_skb_lost`.
    pub(super) fn mark_lost(&mut self, i: u32, sent: &mut [Sent]) {
        let Some(&s) = SentList::get(sent, i) else {
            return;
        };
        if s.is(SACKED) {
            return;
        }
        let n = u32::from(s.segs);
        if s.is(LOST) {
            if s.is(RETRANS) {
                self.sent.change(sent, i, |s| s.flags &= !RETRANS);
                self.recovery.lost = self.recovery.lost.wrapping_add(n);
                self.noted.add(Mib::LostRetransmit, n);
            }
        } else {
            self.sent.change(sent, i, |s| s.flags |= LOST);
            self.recovery.lost = self.recovery.lost.wrapping_add(n);
        }
        let before = |h: &Sent| s.start.lt(h.start);
        if SentList::get(sent, self.sent.hint).is_none_or(before) {
            self.sent.hint = i;
        }
    }

    /// The ACK is doubtful, or the state is (Linux: `tcp_fastretrans_alert`).
    // RFC 6675 S5-2, S5-3, S5-4, S5-9
    pub(super) fn alert(&mut self, now: Instant, dups: u32, news: &mut News, sent: &mut [Sent]) {
        let una = self.snd_una;
        if self.sent.packets_out == 0 {
            self.sent.sacked_out = 0;
        }
        if news.ece {
            self.cc.forget_prior();
        }
        if self.reneging(now, news) {
            return;
        }
        if self.recovery.ca == CaState::Open {
            self.recovery.retrans_ts = None;
        } else if una.ge(self.recovery.recover) {
            match self.recovery.ca {
                // Until something sent after the reduction is acknowledged: the CWR bit is
                // to reach the peer.
                CaState::Cwr if una != self.recovery.recover => {
                    self.end_reduction();
                    self.recovery.ca = CaState::Open;
                }
                CaState::Recovery => {
                    if !self.sack_ok {
                        self.sent.sacked_out = 0;
                    }
                    if self.try_undo_recovery(news, sent) {
                        return;
                    }
                    self.end_reduction();
                }
                _ => {}
            }
        }
        match self.recovery.ca {
            CaState::Recovery => {
                if !news.advanced {
                    self.add_dupacks(dups);
                } else if self.try_undo_partial(news, sent) {
                    return;
                }
                if self.try_undo_dsack() {
                    self.try_to_open(news, sent);
                }
                self.identify_loss(now, news, sent);
                if self.recovery.ca != CaState::Recovery {
                    if self.sent.lost_out == 0 {
                        return;
                    }
                    self.enter_recovery(news.ece);
                }
            }
            CaState::Loss => {
                self.go_on_after_timeout(dups, news, sent);
                self.identify_loss(now, news, sent);
                if !(self.recovery.ca == CaState::Open || news.lost_retrans) {
                    return;
                }
                self.maybe_recover(news, sent);
            }
            _ => {
                if !self.sack_ok {
                    if news.advanced {
                        self.sent.sacked_out = 0;
                    }
                    self.add_dupacks(dups);
                }
                if self.recovery.ca <= CaState::Disorder {
                    self.try_undo_dsack();
                }
                self.identify_loss(now, news, sent);
                self.maybe_recover(news, sent);
            }
        }
    }

    fn maybe_recover(&mut self, news: &News, sent: &mut [Sent]) {
        if self.sent.lost_out == 0 {
            self.try_to_open(news, sent);
        } else if !self.mtu_probe_lost(sent) {
            self.enter_recovery(news.ece);
        }
    }

    /// Without SACK each duplicate ACK stands for a segment that left the network (RFC 5681,
    /// section 3.2), but for the one that is missing.
    // RFC 3042 S2-3
    // RFC 5681 S3.2-5
    pub(super) fn add_dupacks(&mut self, n: u32) {
        if self.sack_ok || n == 0 {
            return;
        }
        let before = self.sent.sacked_out;
        self.sent.sacked_out = before.saturating_add(n);
        self.check_dupacks(0);
        let more = self.sent.sacked_out.saturating_sub(before);
        self.recovery.delivered = self.recovery.delivered.wrapping_add(more);
    }

    /// No more duplicate ACKs count than segments may have arrived; true if some did not (Linux:
    /// `tcp_limit_reno_sacked`).
    fn bound_dupacks(&mut self) -> bool {
        let holes = self.sent.lost_out.max(1).min(self.sent.packets_out);
        let most = self.sent.packets_out - holes;
        let too_many = self.sent.sacked_out > most;
        if too_many {
            self.sent.sacked_out = most;
        }
        too_many
    }

    /// More duplicate ACKs than segments are out, of which `acked` were acknowledged just now, are
    /// reordering: as much as that, be it less than was thought before (Linux:
    /// `tcp_check_reno_reordering`).
    fn check_dupacks(&mut self, acked: u32) {
        if self.bound_dupacks() {
            let seen = self.sent.packets_out.saturating_add(acked);
            let r = &mut self.recovery;
            r.reordering = seen.min(self.sysctl.tcp_max_reordering);
            r.reord_seen = r.reord_seen.saturating_add(1);
            self.noted.note(Mib::RenoReorder);
        }
    }

    /// Segments were acknowledged that duplicate ACKs had stood for (Linux:
    /// `tcp_remove_reno_sacks`).
    // RFC 6675 S5-1
    pub(super) fn drop_dupacks(&mut self, segs: u32) {
        let dups = self.sent.sacked_out;
        if segs > 0 {
            // One of them was the missing one.
            let new = segs.saturating_sub(dups).max(1);
            self.recovery.delivered = self.recovery.delivered.wrapping_add(new);
            self.sent.sacked_out = dups.saturating_sub(segs - 1);
        }
        self.check_dupacks(segs);
    }

    // RFC 8985 S4-1, S1-1, S9.2-1
    fn identify_loss(&mut self, now: Instant, news: &mut News, sent: &mut [Sent]) {
        if self.sent.packets_out == 0 {
            return;
        }
        if !self.sack_ok {
            return self.mark_head_lost(news.advanced, sent);
        }
        let before = self.sent.retrans_out;
        if self.rack_mark_lost(now, sent) {
            news.set_timer = false;
        }
        if before > self.sent.retrans_out {
            news.lost_retrans = true;
        }
    }

    /// RFC 6582, section 3.2, steps 2 and 3: the third duplicate, or a partial acknowledgment.
    fn mark_head_lost(&mut self, advanced: bool, sent: &mut [Sent]) {
        let found = match self.recovery.ca {
            CaState::Recovery => advanced,
            CaState::Loss => false,
            _ => self.sent.sacked_out >= self.recovery.reordering,
        };
        let head = self.sent.head();
        if !found || SentList::get(sent, head).is_none_or(|s| s.is(LOST)) {
            return;
        }
        if let Some(&s) = SentList::get(sent, head)
            && s.segs > 1
        {
            let mss = s.seg_len();
            self.sent.split(sent, head, s.start + mss, mss);
        }
        self.mark_lost(head, sent);
        self.bound_dupacks();
    }

    /// Fast recovery begins (RFC 6582, section 3.2, step 2; RFC 6675, section 5, step 4).
    // RFC 2018 S5.1-1
    // RFC 5681 S3.2-11
    pub(super) fn enter_recovery(&mut self, ece: bool) {
        self.noted.note(if self.sack_ok {
            Mib::SackRecovery
        } else {
            Mib::RenoRecovery
        });
        self.start_undo();
        if !self.reducing() {
            if ece {
                self.cc.forget_prior();
            } else {
                self.cc.remember_ssthresh(self.reducing());
            }
            self.start_reduction();
        }
        self.recovery.ca = CaState::Recovery;
        self.recovery.hold = false;
    }

    /// Linux's `tcp_init_cwnd_reduction`.
    pub(super) fn start_reduction(&mut self) {
        self.recovery.recover = self.snd_nxt;
        self.timers.tail = Tail::None;
        self.recovery.prr_delivered = 0;
        self.recovery.prr_out = 0;
        self.cc.reduce(self.sent.in_flight());
        self.ecn_queue_cwr();
    }

    /// ECN, or a tail loss that a probe repaired: the window is reduced, nothing is sent again.
    // RFC 3168 S5-1, S6.1.2-2
    pub(super) fn enter_cwr(&mut self) {
        self.cc.forget_prior();
        if self.recovery.ca < CaState::Cwr {
            self.recovery.undo_marker = None;
            self.start_reduction();
            self.recovery.ca = CaState::Cwr;
        }
    }

    /// RFC 6937, with Linux's PRR-SSRB and its guard against new losses.
    // RFC 6937 S3-1
    // RFC 5681 S4.3-2
    // RFC 8985 S9.3-1, S9.3-2
    pub(super) fn proportional_rate(&mut self, delivered: u32, lost: u32, advanced: bool) {
        let prior = self.cc.prior_cwnd();
        if delivered == 0 || prior == 0 || self.cc.is_model_based() {
            return;
        }
        let in_flight = self.sent.in_flight();
        let ssthresh = self.cc.ssthresh();
        let r = &mut self.recovery;
        r.prr_delivered = r.prr_delivered.saturating_add(delivered);
        let more = if in_flight > ssthresh {
            // "Proportional Rate Reduction".
            let share = (u64::from(ssthresh) * u64::from(r.prr_delivered)).div_ceil(prior.into());
            u32::try_from(share)
                .unwrap_or(u32::MAX)
                .saturating_sub(r.prr_out)
        } else {
            let mut more = r.prr_delivered.saturating_sub(r.prr_out).max(delivered);
            if advanced && lost == 0 {
                more += 1;
            }
            more.min(ssthresh - in_flight)
        };
        // The first retransmission goes in any case.
        let more = more.max(u32::from(r.prr_out == 0));
        self.cc.set_cwnd(in_flight + more);
    }

    /// Linux's `tcp_end_cwnd_reduction`.
    // RFC 5681 S3.2-10, S4.3-4
    pub(super) fn end_reduction(&mut self) {
        if self.recovery.ca == CaState::Cwr || self.recovery.undo_marker.is_some() {
            self.cc.end_reduction();
        }
    }

    pub(super) fn try_to_open(&mut self, news: &News, sent: &[Sent]) {
        if !self.any_sent_again(sent) {
            self.recovery.retrans_ts = None;
        }
        if news.ece {
            self.enter_cwr();
        }
        if self.recovery.ca != CaState::Cwr {
            self.keep_open(sent);
        }
    }

    /// Linux's `tcp_try_keep_open`.
    pub(super) fn keep_open(&mut self, sent: &[Sent]) {
        let doubtful = self.sent.left_out() > 0 || self.any_sent_again(sent);
        let state = if doubtful {
            CaState::Disorder
        } else {
            CaState::Open
        };
        if self.recovery.ca != state {
            self.recovery.ca = state;
            self.recovery.recover = self.snd_nxt;
        }
    }

    /// RFC 2018, section 8: the first segment was reported and is not acknowledged. Linux waits
    /// half a round trip for it to be reordering, and then takes it for a timeout.
    fn reneging(&mut self, now: Instant, news: &mut News) -> bool {
        if !news.reneging {
            return false;
        }
        if news.set_timer {
            let half = u64::from(self.rtt.srtt8 >> 4).max(10_000);
            self.timers.pending = super::timers::Pending::Retransmit;
            self.timers.rexmit_at = now + core::time::Duration::from_micros(half);
            news.set_timer = false;
        }
        // Until then nothing goes again, but new data may.
        self.recovery.hold = true;
        true
    }

    /// The retransmission timer ran out (RFC 5681, section 3.1; Linux: `tcp_enter_loss`).
    // RFC 6675 S5.1-1, S5.1-2, S5.1-3, S5.1-5
    // RFC 4015 S3.1-2
    pub(super) fn enter_loss(&mut self, now: Instant, sent: &mut [Sent]) {
        let ca = self.recovery.ca;
        let first_trouble = ca < CaState::Recovery;
        self.mark_timed_out(now, sent);
        if ca <= CaState::Disorder
            || self.recovery.recover.le(self.snd_una)
            || (ca == CaState::Loss && self.timers.retransmits == 0)
        {
            self.cc.remember_ssthresh(self.reducing());
            self.cc.on_timeout(self.sent.in_flight());
            self.start_undo();
        }
        self.cc.set_cwnd_after_timeout(self.sent.in_flight() + 1);
        // So many duplicates and yet a timeout: order is not that much disturbed.
        let usual = u32::from(self.sysctl.tcp_reordering);
        if ca <= CaState::Disorder && self.sent.sacked_out >= usual {
            self.recovery.reordering = self.recovery.reordering.min(usual);
        }
        self.timers.tail = Tail::None;
        self.recovery.ca = CaState::Loss;
        self.recovery.recover = self.snd_nxt;
        self.recovery.hold = false;
        self.ecn_queue_cwr();
        // RFC 5682 S2.1-2, S2.1-3, S3.1-2, S3.1-3
        // RFC 5682, section 2.1, step 1, with Linux's leave for repeated timeouts.
        self.recovery.frto =
            self.sysctl.tcp_frto != 0 && (first_trouble || self.timers.retransmits > 0);
        self.owes.rexmit = true;
    }

    /// Linux's `tcp_timeout_mark_lost`: all that is not reported, but with SACK not what was
    /// sent too recently.
    fn mark_timed_out(&mut self, now: Instant, sent: &mut [Sent]) {
        let head = self.sent.head();
        let reneged = SentList::get(sent, head).is_some_and(|s| s.is(SACKED));
        if reneged {
            self.recovery.reneged = true;
            self.noted.note(Mib::SackReneging);
            self.sent.seen = Default::default();
        } else if !self.sack_ok {
            self.sent.sacked_out = 0;
        }
        let mut i = head;
        while let Some(&s) = SentList::get(sent, i) {
            if reneged {
                self.sent.change(sent, i, |s| s.flags &= !SACKED);
            }
            let recent = !reneged && self.sack_ok && i != head && self.rack_left(now, &s, 0) > 0;
            if !recent {
                self.mark_lost(i, sent);
            }
            i = SentList::next(sent, i);
        }
        self.sent.hint = head;
    }

    /// Send again what is in flight and did not arrive for another reason than congestion (Linux:
    /// `tcp_simple_retransmit`).
    pub(super) fn resend_all(&mut self, sent: &mut [Sent], what: Resend) {
        let mss = u32::from(self.snd_mss).max(1);
        let mut i = self.sent.head();
        while let Some(&s) = SentList::get(sent, i) {
            let text = self.text_of(&s);
            let long = if s.segs > 1 { s.seg_len() } else { text } > mss;
            let goes = match what {
                Resend::All => true,
                Resend::Long => long,
                Resend::Probe => long && s.segs == 1,
            };
            if goes && !s.is(SACKED) {
                self.mark_lost(i, sent);
                let segs = u16::try_from(text.div_ceil(mss)).unwrap_or(u16::MAX);
                self.sent.change(sent, i, |s| {
                    s.segs = segs.max(1);
                    s.mss = self.snd_mss;
                });
            }
            i = SentList::next(sent, i);
        }
        if self.sent.lost_out == 0 {
            return;
        }
        if !self.sack_ok {
            self.bound_dupacks();
        }
        // "Don't muck with the congestion window here."
        if self.recovery.ca != CaState::Loss {
            self.recovery.recover = self.snd_nxt;
            self.cc.keep_ssthresh();
            self.cc.forget_prior();
            self.recovery.undo_marker = None;
            self.recovery.ca = CaState::Loss;
        }
        self.recovery.frto = false;
        self.recovery.hold = false;
    }
}
