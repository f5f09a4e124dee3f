//! The ACK field (RFC 9293, section 3.10.7.4, fifth check), after Linux's `tcp_ack`.

use super::mib::Mib;
use super::news::News;
use super::recovery::CaState;
use super::sent::{PARTLY, SACKED, Sent, SentList, micros_since};
use super::{Events, Flags, Outcome, Segment, SeqNum, Tcb};
use crate::time::Instant;

/// What the ACK field turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckResult {
    /// In `[snd_una, snd_nxt]`.
    Good,
    /// Below `snd_una`, by little: of no use, the rest of the segment may be.
    Old,
    /// Far too old, or of what was never sent: the segment is not believed.
    Bad,
}

impl Tcb {
    /// What the peer has acknowledged since the beginning: an active opener's SYN and the FIN are
    /// bytes here, as in Linux's `bytes_acked`.
    pub(super) fn numbers_acked(&self) -> u64 {
        let opened = self.snd_una != self.iss;
        self.bytes_acked + u64::from(opened && !self.passive) + u64::from(self.fin_acked())
    }

    /// Take acknowledgment and window; an ACK that is not believed gets a challenge ACK.
    pub(super) fn take_ack(
        &mut self,
        now: Instant,
        seg: &Segment,
        sent: &mut [Sent],
        out: &mut Outcome,
    ) -> AckResult {
        let ack = seg.ack;
        let before = self.snd_una;
        let mut news = self.news(seg);
        if ack.lt(before) {
            // RFC 5961, section 5.2: "The ACK value is considered acceptable only if it is in
            // the range of ((SND.UNA - MAX.SND.WND) <= SEG.ACK <= SND.NXT)".
            // RFC 5961 S5.2-1, S5.2-2
            let span = u64::from(self.max_window).min(self.numbers_acked()) as u32;
            if before - ack > span {
                self.challenge(now);
                return AckResult::Bad;
            }
            self.take_sacks(now, seg, sent, &mut news);
            if news.sacked || news.dsack {
                self.alert(now, 0, &mut news, sent);
                self.note_delivered(&news);
            }
            return AckResult::Old;
        }
        if ack.gt(self.snd_nxt) {
            // RFC 9293, section 3.10.7.4: "If the ACK acks something not yet sent (SEG.ACK >
            // SND.NXT), then send an ACK, drop the segment, and return".
            self.challenge(now);
            return AckResult::Bad;
        }
        if self.ts_ok {
            self.update_ts_recent(now, seg);
        }
        let idle = self.sent.packets_out == 0;
        news.window_update = self.take_window(now, seg);
        if ack != before {
            let payload_from = self.snd_una();
            self.snd_una = ack;
            // RFC 2018 S8-3
            // RFC 6675 S4-1
            out.acked = self.snd_una() - payload_from;
            self.bytes_acked = self.bytes_acked.saturating_add(u64::from(out.acked));
            if out.acked > 0 {
                out.events.add(Events::ACKED);
            }
            news.advanced = true;
            self.timers.retransmits = 0;
            if let Some(since) = self.timers.rto_since.take() {
                let ms = u32::try_from(now.since(since).as_millis()).unwrap_or(u32::MAX);
                self.timers.rto_time_ms = self.timers.rto_time_ms.saturating_add(ms);
            }
            if self.snd_up.lt(ack) {
                self.snd_up = ack;
            }
        }
        self.take_sacks(now, seg, sent, &mut news);
        // (An old ACK's report moves no such count, as in Linux.)
        self.recovery.delivered = self.recovery.delivered.wrapping_add(news.sack_delivered);
        news.ece = self.ecn.ok && seg.flags.has(Flags::ECE) && !seg.flags.has(Flags::SYN);
        // "Something worked": RFC 1122, section 4.2.3.9's record is out of date.
        self.soft_error = None;
        self.timers.probes_out = 0;
        self.rcv_tstamp = now;
        if idle {
            if news.dsack {
                self.alert(now, 0, &mut news, sent);
            }
            self.note_delivered(&news);
            self.end_tail_probe(ack, &news);
            self.on_ack_while_probing(now);
            return AckResult::Good;
        }
        self.acknowledge(now, seg, sent, &mut news);
        self.rack_adapt(&news);
        self.end_tail_probe(ack, &news);
        self.recovery.hold = false;
        self.recovery.push_new = false;
        let doubtful = !news.not_dup()
            || news.sacked
            || news.ece
            || news.dsack
            || self.recovery.ca != CaState::Open;
        if doubtful {
            // RFC 5681, section 2: no data, no window update, nothing new acknowledged.
            let dup = !news.advanced && !news.not_dup() && !news.dsack;
            self.alert(now, u32::from(dup), &mut news, sent);
        }
        if news.advanced && !self.recovering() {
            self.timers.retrans_stamp = None;
        }
        // RFC 6928 S9-1
        if news.set_timer {
            // RFC 6298, sections 5.2 and 5.3.
            self.rearm_probe(now, sent, true);
        }
        if self.sent.packets_out == 0 && self.snd_end.le(self.snd_nxt) {
            self.busy.spend(now, super::info::Spent::Idle);
        }
        self.rate_sample(now, &mut news);
        self.note_delivered(&news);
        self.control_congestion(now, &news);
        AckResult::Good
    }

    /// Linux's `tcp_newly_delivered`.
    fn note_delivered(&mut self, news: &News) {
        let new = self.recovery.delivered.wrapping_sub(news.delivered_before);
        self.noted.add(Mib::Delivered, new);
        if news.ece {
            self.recovery.delivered_ce = self.recovery.delivered_ce.wrapping_add(new);
            self.noted.add(Mib::DeliveredCe, new);
        }
    }

    fn news(&self, seg: &Segment) -> News {
        News {
            una_before: self.snd_una,
            fack_before: self.highest_reported(),
            in_flight_before: self.sent.in_flight(),
            delivered_before: self.recovery.delivered,
            lost_before: self.recovery.lost,
            data: seg.seq_len() > 0,
            reord: self.snd_nxt,
            tsecr: seg
                .options
                .timestamps
                .filter(|_| self.ts_ok)
                .map(|t| t.1)
                .filter(|&e| e != 0),
            ..News::default()
        }
    }

    /// Records below `snd_una` are done (Linux: `tcp_clean_rtx_queue`).
    fn acknowledge(&mut self, now: Instant, seg: &Segment, sent: &mut [Sent], news: &mut News) {
        let una = self.snd_una;
        let (mut first_at, mut last_at) = (None, None);
        // The lowest number acknowledged that was neither reported nor sent again.
        let mut reord = self.snd_nxt;
        let mut i = self.sent.head();
        while let Some(&s) = SentList::get(sent, i) {
            if s.start.ge(una) {
                break;
            }
            let whole = s.end.le(una);
            let mut done = s;
            if !whole {
                let left = (s.end - una).div_ceil(s.seg_len().max(1)).max(1);
                let left = u16::try_from(left).unwrap_or(u16::MAX).min(s.segs);
                // Linux cuts nothing off a single segment: its beginning stays what it was, and
                // when the rest is acknowledged it looks like a hole that was filled late.
                let partly = if s.segs == 1 { PARTLY } else { 0 };
                self.sent.change(sent, i, |s| {
                    s.start = una;
                    s.segs = left;
                    s.flags |= partly;
                });
                done.end = una;
                done.segs = s.segs - left;
                if done.segs == 0 {
                    break;
                }
            }
            news.segs_acked += u32::from(done.segs);
            news.acked = true;
            if s.again() {
                news.retrans_acked = true;
            } else if !s.is(SACKED) {
                last_at = Some(s.at);
                first_at.get_or_insert(s.at);
                let before = u32::from(s.is(PARTLY));
                reord = reord.min(SeqNum(s.start.0.wrapping_sub(before)));
                if s.end.le(self.recovery.recover) {
                    news.orig = true;
                }
            }
            if self.sack_ok && !s.is(SACKED) {
                let n = u32::from(done.segs);
                self.recovery.delivered = self.recovery.delivered.wrapping_add(n);
                // The ACK is of the first copy: when the second was sent says nothing.
                let spurious = s.again() && news.echoes_before(self.ts_now(s.at));
                if !spurious {
                    self.rack_advance(now, &s);
                }
            }
            self.rate_delivered(&done, news);
            if !whole {
                break;
            }
            i = self.sent.remove(sent, i);
        }
        let head = SentList::get(sent, self.sent.head()).copied();
        if news.advanced && head.is_some_and(|s| s.is(SACKED)) {
            news.reneging = true;
        }
        let updated = self.measure_rtt(now, seg, (first_at, last_at), news);
        if news.acked {
            news.set_timer = true;
            self.check_mtu_probe();
            if !self.sack_ok {
                self.drop_dupacks(news.segs_acked);
                if news.retrans_acked {
                    news.orig = false;
                }
            } else if reord.lt(news.fack_before) {
                // A hole that was never sent again got filled.
                // It reaches to what is reported now, or to the ACK if nothing is.
                self.note_reordering_below(reord, self.highest_reported(), Mib::SackReorder);
            }
        } else if let (Some(head), Some(at), true) = (head, news.first_sack_at, updated)
            && at < head.at
        {
            // The SACK is of what was sent before the first one was, last. Of what was sent after
            // it reports might put the timeout off for ever.
            news.set_timer = true;
        }
    }

    /// Linux's `tcp_cong_control`.
    // RFC 3168 S6.1.2-6
    fn control_congestion(&mut self, now: Instant, news: &News) {
        let delivered = news.rate.acked_sacked;
        if self.reducing() && !self.cc.is_model_based() {
            self.proportional_rate(delivered, news.rate.losses, news.advanced);
            return;
        }
        let usual = u32::from(self.sysctl.tcp_reordering);
        let progress = if self.recovery.reordering > usual {
            news.acked || news.sacked
        } else {
            news.acked
        };
        if progress || self.cc.is_model_based() {
            let acked = super::congestion::Acked {
                now,
                segs: delivered,
                rtt_us: news.rtt,
                srtt_us: self.rtt.srtt8 >> 3,
                una: self.snd_una,
                nxt: self.snd_nxt,
                delivered: self.recovery.delivered,
                lost: self.recovery.lost,
                in_flight: self.sent.in_flight(),
                mss: self.snd_mss.into(),
                recovering: self.recovering(),
                after_timeout: self.recovery.ca == CaState::Loss,
                rate: news.rate,
            };
            let slow_start = self.cc.ssthresh() == super::congestion::NO_SSTHRESH;
            self.cc.on_ack(&acked);
            if slow_start && self.cc.ssthresh() < super::congestion::NO_SSTHRESH {
                self.noted.note(Mib::HystartDelayDetect);
                self.noted.add(Mib::HystartDelayCwnd, self.cc.ssthresh());
            }
            if self.cc.take_limited() {
                let out = self.recovery.delivered.wrapping_add(self.sent.in_flight());
                self.rate.app_limited = out.max(1);
            }
        }
    }

    /// RFC 9293's window update (section 3.10.7.4), as Linux's `tcp_may_update_window` has it;
    /// true if it was one.
    fn take_window(&mut self, now: Instant, seg: &Segment) -> bool {
        // RFC 7323 S2.3-7
        let shift = if seg.flags.has(Flags::SYN) {
            0
        } else {
            self.snd_wscale
        };
        let window = u32::from(seg.window) << shift;
        let newer = seg.ack.gt(self.snd_una)
            || seg.seq.gt(self.snd_wl1)
            || (seg.seq == self.snd_wl1 && (window > self.snd_wnd || window == 0));
        if !newer {
            return false;
        }
        self.snd_wl1 = seg.seq;
        if window != self.snd_wnd && self.unsent() > 0 {
            self.restart_after_idle(now);
        }
        self.snd_wnd = window;
        if window > self.max_window {
            self.max_window = window;
            self.sync_mss();
        }
        true
    }

    /// RFC 6298, section 3 (Karn) and RFC 7323, section 4 (RTTM), as `tcp_ack_update_rtt` has
    /// it; true if there was a measurement.
    // RFC 6298 S3-1, S3-2
    fn measure_rtt(
        &mut self,
        now: Instant,
        seg: &Segment,
        acked: (Option<Instant>, Option<Instant>),
        news: &mut News,
    ) -> bool {
        let us = |at| micros_since(at, now);
        let (first, last) = if news.retrans_acked {
            (None, None)
        } else {
            acked
        };
        let mut sample = first.map(us);
        news.rtt = last.map(us);
        // A single short flight: the peer may have waited before it answered.
        news.delayed = news.segs_acked == 1
            && self.sent.packets_out == 0
            && self.rtt.min_rtt != u32::MAX
            && sample.is_some_and(|s| s > self.rtt.min_rtt.saturating_add(1000));
        if let Some(at) = news.first_sack_at {
            sample = sample.or(Some(us(at)));
            news.rtt = news.last_sack_at.map(us);
        }
        // RFC 7323 S4.1-1
        if sample.is_none() && self.ts_ok && news.acked {
            sample = self.ts_sample(now, seg);
            news.rtt = news.rtt.or(sample);
        }
        if let Some(us) = news.rtt {
            self.rtt.note_min(now, us);
        }
        if let Some(us) = sample {
            self.take_sample(us);
        }
        sample.is_some()
    }

    /// A valid measurement ends the backing off (RFC 6298, section 5).
    fn take_sample(&mut self, us: u32) {
        self.rtt.sample(us, self.snd_una, self.snd_nxt);
        self.timers.backoff = 0;
    }

    /// The round-trip time by the echoed timestamp, microseconds.
    pub(super) fn ts_sample(&self, now: Instant, seg: &Segment) -> Option<u32> {
        let (_, tsecr) = seg.options.timestamps?;
        if tsecr == 0 {
            return None;
        }
        let ms = self.ts_now(now).wrapping_sub(tsecr);
        // More than 2^20 ms is no round trip but a lie.
        (ms < 1 << 20).then(|| ms.max(1) * 1000)
    }

    /// TS.Recent (RFC 7323, section 4.3, rule 2): "If SEG.TSval >= TS.Recent and SEG.SEQ <=
    /// Last.ACK.sent, then SEG.TSval is copied to TS.Recent".
    // RFC 7323 S3.2-9, S4.3-1, S4.3-2, S4.3-3, S5.2-3
    pub(super) fn update_ts_recent(&mut self, now: Instant, seg: &Segment) {
        if let Some((tsval, _)) = seg.options.timestamps
            && seg.seq.le(self.rcv_wup)
            && (self.ts_recent.wrapping_sub(tsval) as i32 <= 0 || self.ts_recent_expired(now))
        {
            self.ts_recent = tsval;
            self.ts_recent_at = now;
        }
    }
}
