//! A loss that was none: undone when the peer reports duplicates for all that was sent again
//! (RFC 3708), when an acknowledgment echoes the timestamp of a first copy (Eifel, RFC 3522 and
//! RFC 4015), or when F-RTO finds that the first copies arrive (RFC 5682).

use super::Tcb;
use super::mib::Mib;
use super::news::News;
use super::rack::PERSIST;
use super::recovery::CaState;
use super::sent::{LOST, Sent, SentList};
use super::tail::Tail;

impl Tcb {
    /// From here on the reduction may be undone, when all copies that are in flight, a tail loss
    /// probe's too, and those to come are reported as duplicates.
    pub(super) fn start_undo(&mut self) {
        self.recovery.undo_marker = Some(self.snd_una);
        let probe = u32::from(self.timers.tail == Tail::Again);
        self.recovery.undo_retrans = match self.sent.retrans_out + probe {
            0 => -1,
            n => n as i32,
        };
    }

    /// Segments are being sent again.
    pub(super) fn count_for_undo(&mut self, segs: u32) {
        let r = &mut self.recovery;
        r.undo_retrans = r.undo_retrans.max(0).saturating_add(segs as i32);
    }

    /// The ACK was caused by what was sent before any retransmission (RFC 3522), or there was
    /// none.
    // RFC 3522 S3.2-2
    fn only_delayed(&self, news: &News) -> bool {
        match self.recovery.retrans_ts {
            Some(ts) => news.echoes_before(ts),
            // Without SACK the time is forgotten when all of the episode is acknowledged.
            None => self.sack_ok || self.snd_una.lt(self.recovery.recover),
        }
    }

    // RFC 4015 S2-1
    fn may_undo(&self, news: &News) -> bool {
        let r = &self.recovery;
        r.undo_marker.is_some() && (r.undo_retrans == 0 || self.only_delayed(news))
    }

    /// RFC 4015, section 3.2.
    fn undo_reduction(&mut self, unmark: bool, sent: &mut [Sent]) {
        if unmark {
            let mut i = self.sent.head();
            while i != 0 {
                self.sent.change(sent, i, |s| s.flags &= !LOST);
                i = SentList::next(sent, i);
            }
        }
        if self.cc.undo() {
            self.ecn.withdraw_cwr();
        }
        self.recovery.undo_marker = None;
        // Losses are looked for anew.
        self.rack.advanced = true;
    }

    /// Without SACK the state is held until something beyond `recover` is acknowledged (RFC
    /// 6582, section 4: no second fast retransmit for what was sent twice).
    fn must_not_reopen(&mut self, sent: &[Sent]) -> bool {
        if self.sack_ok || self.snd_una != self.recovery.recover {
            return false;
        }
        if !self.any_sent_again(sent) {
            self.recovery.retrans_ts = None;
        }
        true
    }

    /// All up to `recover` is acknowledged. True if the state is held.
    pub(super) fn try_undo_recovery(&mut self, news: &News, sent: &mut [Sent]) -> bool {
        if self.may_undo(news) {
            self.undo_reduction(false, sent);
            self.noted.note(match self.recovery.ca {
                CaState::Loss => Mib::LossUndo,
                _ => Mib::FullUndo,
            });
        } else {
            self.rack.persist = self.rack.persist.saturating_sub(1);
        }
        if self.must_not_reopen(sent) {
            return true;
        }
        self.recovery.ca = CaState::Open;
        self.recovery.reneged = false;
        self.timers.retrans_stamp = None;
        false
    }

    /// Every copy was reported to be one too many.
    // RFC 3708 S3-1
    pub(super) fn try_undo_dsack(&mut self) -> bool {
        let r = &self.recovery;
        if r.undo_marker.is_none() || r.undo_retrans != 0 {
            return false;
        }
        // A wider reordering window would have spared it (RFC 8985, section 6.2, step 4).
        self.rack.persist = PERSIST.min(self.rack.persist + 1);
        self.undo_reduction(false, &mut []);
        self.noted.note(Mib::DsackUndo);
        true
    }

    /// A partial acknowledgment of what was only late. True if nothing else is to be done.
    pub(super) fn try_undo_partial(&mut self, news: &News, sent: &mut [Sent]) -> bool {
        if self.recovery.undo_marker.is_none() || !self.only_delayed(news) {
            return false;
        }
        self.note_reordering(news.una_before, Mib::TsReorder);
        if self.sent.retrans_out > 0 {
            // New data goes on, nothing is marked or sent again.
            return true;
        }
        if !self.any_sent_again(sent) {
            self.recovery.retrans_ts = None;
        }
        self.undo_reduction(true, sent);
        self.noted.note(Mib::PartialUndo);
        self.keep_open(sent);
        false
    }

    fn try_undo_loss(&mut self, by_frto: bool, news: &News, sent: &mut [Sent]) -> bool {
        if !by_frto && !self.may_undo(news) {
            return false;
        }
        self.undo_reduction(true, sent);
        self.noted.note(Mib::LossUndo);
        if by_frto {
            self.noted.note(Mib::SpuriousRtos);
        }
        self.timers.retransmits = 0;
        if self.must_not_reopen(sent) {
            return true;
        }
        if by_frto || self.sack_ok {
            self.recovery.ca = CaState::Open;
            self.recovery.reneged = false;
        }
        true
    }

    /// An ACK after a timeout (Linux: `tcp_process_loss`).
    // RFC 5682 S3.1-1, S2.1-4
    pub(super) fn go_on_after_timeout(&mut self, dups: u32, news: &News, sent: &mut [Sent]) {
        let recovered = self.snd_una.ge(self.recovery.recover);
        if news.advanced && self.try_undo_loss(false, news, sent) {
            return;
        }
        if self.recovery.frto {
            // RFC 5682, section 3.1, step 3b: never retransmitted data was acknowledged.
            if news.orig && self.try_undo_loss(true, news, sent) {
                return;
            }
            if self.snd_nxt.gt(self.recovery.recover) {
                if news.sacked || dups > 0 {
                    // Step 3a: the loss was real.
                    self.recovery.frto = false;
                }
            } else if news.advanced && !recovered {
                self.recovery.recover = self.snd_nxt;
                // Step 2b: "transmit up to two new segments".
                let fin = self.fin_queued && !self.fin_sent();
                if (self.unsent() > 0 || fin) && self.window_edge().gt(self.snd_nxt) {
                    self.recovery.hold = true;
                    self.recovery.push_new = true;
                    return;
                }
                self.recovery.frto = false;
            }
        }
        if recovered {
            self.try_undo_recovery(news, sent);
            return;
        }
        if !self.sack_ok {
            if self.snd_nxt.gt(self.recovery.recover) && dups > 0 {
                self.add_dupacks(dups);
            } else if news.advanced {
                self.sent.sacked_out = 0;
            }
        }
    }
}
