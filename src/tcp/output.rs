//! What to send next (RFC 9293, sections 3.7 and 3.8), after Linux's `tcp_write_xmit`.

use super::mib::Mib;
use super::mtu::Probe;
use super::recovery::CaState;
use super::sent::{ENDS_RECORD, PUSHED, Sent, WITH_FIN};
use super::tcb::{Push, Told};
use super::{Flags, Options, Segment, SeqNum, State, Tcb, Transmit};
use crate::time::Instant;

impl Tcb {
    /// The next segment to send, if any. `max_payload` bounds its payload (several MSS, for
    /// TSO); 0 means one MSS.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_payload: u32,
        sent: &mut [Sent],
    ) -> Option<Transmit> {
        self.gso = max_payload > 0;
        if self.owes.rst {
            self.owes.rst = false;
            return Some(self.reset(now));
        }
        if self.owes.early.len > 0 {
            let told = core::mem::take(&mut self.owes.early);
            let seq = self.acceptable_seq();
            return Some(self.transmit(self.snd_una(), false, |tcb| {
                tcb.segment_that_tells(now, seq, Flags::NONE, 0, &told)
            }));
        }
        let next = match self.state {
            State::Closed | State::Listen => None,
            State::SynSent => self.syn(now),
            State::SynReceived if self.fast.is_early() => self
                .syn(now)
                .or_else(|| self.new_data(now, max_payload, sent))
                .or_else(|| self.bare_ack(now)),
            State::SynReceived => self.syn(now).or_else(|| self.bare_ack(now)),
            State::TimeWait => self.bare_ack(now),
            _ => self
                .retransmission(now, max_payload, sent)
                .or_else(|| self.tail_probe(now, sent))
                .or_else(|| self.new_data(now, max_payload, sent))
                .or_else(|| self.nothing_new(now, max_payload, sent))
                .or_else(|| self.probe(now, sent))
                .or_else(|| self.bare_ack(now)),
        };
        if next.is_none() && self.state != State::Closed {
            self.check_persist(now);
        }
        self.check_invariants();
        next
    }

    /// The program appended `n` bytes to the send queue.
    // RFC 9293 MUST-61
    pub fn app_wrote(&mut self, now: Instant, n: u32) {
        self.app_wrote_more(now, n);
        self.push = Push::Usual;
        self.snd_psh = self.snd_end;
        if self.snd_mark.le(self.snd_nxt) {
            self.snd_mark = self.snd_end;
        }
    }

    /// `n` bytes went into the send queue's last buffer, behind `untold` that follow those
    /// which the connection has been told of. `begins`: they are the first of a call.
    pub fn tail_grew(&mut self, untold: u32, n: u32, begins: bool) {
        let end = self.snd_end + untold;
        if self.snd_mark == end && end.gt(self.snd_nxt) {
            // What another call appends to is no longer where a write ended, though it was pushed.
            if begins {
                self.snd_mark = self.snd_nxt;
                self.snd_moved = end;
            } else {
                self.snd_mark = end + n;
            }
        }
    }

    /// As [`Tcb::app_wrote`], with MSG_MORE: less than a segment is not sent for it, though
    /// the next segment or timer may let it go, and it has no PSH (Linux: `tcp_push`).
    pub fn app_wrote_more(&mut self, now: Instant, n: u32) {
        self.push = Push::Held;
        self.snd_half = self.max_window / 2;
        if self.can_queue() {
            if self.snd_end == self.snd_nxt {
                self.restart_after_idle(now);
            }
            // Half the sequence space is the most that can be told apart.
            let room = (1u32 << 30).saturating_sub(self.snd_end - self.snd_una);
            debug_assert!(n <= room, "a send queue of more than 1 GiB");
            self.snd_end += n.min(room);
        }
    }

    /// No segment carries bytes from both sides of `offset` in the send queue (MSG_EOR), until
    /// all before it is sent. 0: there is no such place.
    pub fn set_record_end(&mut self, offset: u32) {
        self.snd_record = self.snd_una() + offset;
    }

    /// Bytes not yet sent.
    pub fn unsent(&self) -> u32 {
        self.snd_end.diff(self.snd_nxt).max(0).unsigned_abs()
    }

    /// Bytes not yet sent that may share a segment with the first of them.
    pub(super) fn unsent_of_record(&self) -> u32 {
        let record = self.snd_record.diff(self.snd_nxt);
        match u32::try_from(record) {
            Ok(n) if n > 0 => n.min(self.unsent()),
            _ => self.unsent(),
        }
    }

    /// More than half the peer's largest window was written since a write was last pushed
    /// (Linux: `forced_push`).
    pub fn wrote_half_window(&self) -> bool {
        let since = self.snd_end.diff(self.snd_psh);
        since > 0 && since.unsigned_abs() > self.max_window / 2
    }

    /// The peer has acknowledged data.
    pub fn has_acked(&self) -> bool {
        self.bytes_acked > 0
    }

    /// Records of what is in flight: Linux's sk_buffs.
    pub fn sent_records(&self) -> u32 {
        self.sent.records()
    }

    /// `n` bytes were written with MSG_OOB: they are appended as [`Tcb::app_wrote`] does, and
    /// the urgent pointer is now at their end.
    pub fn app_wrote_urgent(&mut self, now: Instant, n: u32) {
        self.app_wrote(now, n);
        // It is pushed where it ends, and nowhere before.
        self.snd_half = u32::MAX;
        if self.can_queue() {
            self.snd_up = self.snd_end;
        }
    }

    /// What was written so far goes, whatever Nagle and TCP_CORK say (Linux:
    /// `TCP_NAGLE_PUSH`).
    pub fn push(&mut self) {
        self.push = Push::Now;
    }

    /// TCP_CORK was taken off, or a segment came and was not dropped: what MSG_MORE held goes, if
    /// Nagle lets it.
    pub fn uncorked(&mut self) {
        if self.push == Push::Held {
            self.push = Push::Usual;
        }
    }

    /// Just after the peer's window.
    pub(super) fn window_edge(&self) -> SeqNum {
        self.snd_una + self.snd_wnd
    }

    /// The payload a full segment carries now: the MSS less what SACK blocks take.
    pub(super) fn current_mss(&self) -> u32 {
        let blocks = self.sack_blocks_to_send();
        let sack = if blocks > 0 { 4 + 8 * blocks as u32 } else { 0 };
        u32::from(self.snd_mss).saturating_sub(sack).max(8)
    }

    // RFC 2018 S4-1, S4-2, S4-3, S4-6
    fn sack_blocks_to_send(&self) -> usize {
        if !self.sack_ok {
            return 0;
        }
        let room = if self.ts_ok { 3 } else { 4 };
        (usize::from(self.rcv_sack_len) + usize::from(self.dsack.is_some())).min(room)
    }

    /// SYN or SYN+ACK.
    fn syn(&mut self, now: Instant) -> Option<Transmit> {
        if !self.owes.syn {
            return None;
        }
        self.owes.syn = false;
        let answer = self.state == State::SynReceived;
        // Where both opened, our SYN is repeated with an ACK: it goes on offering what it did.
        let agreed_only = answer && self.passive;
        let offers = |agreed: bool, sysctl: u8| if agreed_only { agreed } else { sysctl != 0 };
        // RFC 7323 S2.2-4, S2.3-4
        let scales = offers(self.wscale_ok, self.sysctl.tcp_window_scaling);
        let mut options = Options {
            // RFC 9293 MUST-14, MUST-65, SHLD-5
            // RFC 1191 S3.1-1
            mss: Some(self.advmss),
            wscale: scales.then_some(self.syn_wscale),
            // RFC 2018 S2-1
            sack_permitted: offers(self.sack_ok, self.sysctl.tcp_sack),
            // RFC 7323 S3.2-8
            timestamps: offers(self.ts_ok, self.sysctl.tcp_timestamps)
                .then(|| (self.ts_now(now), self.ts_recent)),
            ..Options::default()
        };
        let retransmit = self.snd_nxt != self.iss;
        let len = self.fast_syn(&mut options, retransmit);
        // Where both opened, the first SYN+ACK counts as sent for the first time.
        let crosses = answer && !self.passive && self.timers.retransmits == 0;
        if retransmit && crosses {
            self.rtt.syn_crossed(now);
        } else if retransmit {
            self.noted.note(Mib::SynRetrans);
            self.rtt.syn_again();
            self.total_retrans = self.total_retrans.wrapping_add(1);
        } else {
            self.snd_nxt = self.iss + 1 + len;
            self.rtt.syn_sent(now);
            self.timers.retrans_stamp = Some(now);
        }
        if self.timers.rexmit_at == Instant::NEVER {
            self.rearm_retransmit(now);
        }
        if answer {
            self.owes.ack = false;
            if self.passive && !self.is_early() {
                self.lsndtime = now;
            }
        }
        self.segs_out = self.segs_out.wrapping_add(1);
        Some(Transmit {
            segment: Segment {
                seq: self.iss,
                ack: if answer { self.rcv_nxt } else { SeqNum(0) },
                // RFC 3168 S6.1.1-6
                flags: if answer {
                    Flags::SYN.with(Flags::ACK)
                } else {
                    Flags::SYN
                }
                .with(self.ecn_of_syn(answer, retransmit)),
                // "The window field in a segment where the SYN bit is set ... MUST NOT be
                // scaled" (RFC 7323, section 2.2).
                // RFC 7323 S2.2-3
                window: self.rcv_wnd.min(65_535) as u16,
                options,
                len,
                ..Segment::default()
            },
            offset: 0,
            mss: self.snd_mss,
            retransmit,
        })
    }

    /// A segment with an ACK: it takes care of what acknowledging is owed.
    pub(super) fn segment(&mut self, now: Instant, seq: SeqNum, flags: Flags, len: u32) -> Segment {
        let told = self.blocks_to_tell();
        let segment = self.segment_that_tells(now, seq, flags, len, &told);
        self.dsack = None;
        self.note_ack_sent();
        segment
    }

    /// What the SACK option says next.
    pub(super) fn blocks_to_tell(&self) -> Told {
        let mut told = Told::default();
        let held = self.rcv_sack.iter().take(usize::from(self.rcv_sack_len));
        let all = self.dsack.iter().chain(held);
        let room = self.sack_blocks_to_send();
        for (slot, block) in told.blocks.iter_mut().take(room).zip(all) {
            *slot = *block;
        }
        told.len = room as u8;
        told
    }

    fn segment_that_tells(
        &mut self,
        now: Instant,
        seq: SeqNum,
        flags: Flags,
        len: u32,
        told: &Told,
    ) -> Segment {
        let window = if self.window_stands() {
            (self.receive_window() >> self.rcv_wscale).min(65_535) as u16
        } else {
            self.advertise_window()
        };
        let mut options = Options {
            sack: told.blocks,
            sack_len: told.len,
            ..Options::default()
        };
        if self.ts_ok {
            // RFC 7323 S3.2-1, S3.2-2, S3.2-6, S5.2-6
            options.timestamps = Some((self.ts_now(now), self.ts_recent));
        }
        // What decides the size of the pieces on the wire.
        let mss = self.current_mss();
        self.count_out(
            len,
            if self.is_mtu_probe(seq, len) {
                len
            } else {
                mss
            },
        );
        let mut segment = Segment {
            seq,
            ack: self.rcv_nxt,
            flags: flags.with(Flags::ACK),
            window,
            options,
            len,
            ..Segment::default()
        };
        self.ecn_mark(&mut segment, false);
        // RFC 9293, section 3.8.5, with the pointer just past the urgent byte (RFC 6093).
        // RFC 9293 MUST-30, MUST-31, MUST-62
        if self.snd_up.gt(self.snd_una) && seq.lt(self.snd_up) {
            let ahead = self.snd_up - seq;
            if ahead <= 0xffff {
                segment.urgent = ahead as u16;
                segment.flags = segment.flags.with(Flags::URG);
            } else if (seq + 0xffff).gt(self.snd_nxt) {
                segment.urgent = 0xffff;
                segment.flags = segment.flags.with(Flags::URG);
            }
        }
        segment
    }

    /// Count a segment that the link cuts into pieces of `mss`.
    fn count_out(&mut self, len: u32, mss: u32) {
        // In TIME_WAIT Linux's connection is gone, and what is left of it counts nothing.
        if self.state == State::TimeWait {
            return;
        }
        let pieces = len.div_ceil(mss).max(1);
        self.segs_out = self.segs_out.wrapping_add(pieces);
        if len > 0 {
            self.data_segs_out = self.data_segs_out.wrapping_add(pieces);
        }
    }

    fn bare_ack(&mut self, now: Instant) -> Option<Transmit> {
        if !self.owes.ack && !self.owes.challenge {
            return None;
        }
        let seq = self.acceptable_seq();
        Some(self.transmit(self.snd_una(), false, |tcb| {
            tcb.segment(now, seq, Flags::NONE, 0)
        }))
    }

    fn reset(&mut self, now: Instant) -> Transmit {
        let seq = self.acceptable_seq();
        self.transmit(self.snd_una(), false, |tcb| {
            tcb.segment(now, seq, Flags::RST, 0)
        })
    }

    pub(super) fn transmit(
        &mut self,
        start: SeqNum,
        retransmit: bool,
        make: impl FnOnce(&mut Tcb) -> Segment,
    ) -> Transmit {
        let offset = start.diff(self.snd_una()).max(0).unsigned_abs();
        let mss = self.current_mss() as u16;
        Transmit {
            segment: make(self),
            offset,
            mss,
            retransmit,
        }
    }

    /// A number the peer finds in its window (Linux: `tcp_acceptable_seq`): `snd_nxt`, unless
    /// the window was shrunk below it.
    // RFC 9293 MUST-34
    // RFC 7323 S2.4-1
    fn acceptable_seq(&self) -> SeqNum {
        let edge = self.window_edge();
        if edge.ge(self.snd_nxt)
            || (self.wscale_ok && self.snd_nxt - edge < 1 << self.rcv_wscale)
            || self.state == State::SynReceived
        {
            self.snd_nxt
        } else {
            edge
        }
    }

    /// What may go at once: at a pace, no more than a millisecond's worth.
    pub(super) fn burst(&self, max_payload: u32, mss: u32) -> u32 {
        let bound = Self::bound(max_payload, mss);
        match self.pacing_rate() {
            Some(rate) if bound > mss => bound.min(self.cc.burst(rate, mss).saturating_mul(mss)),
            None if bound > mss => bound.min(self.autosize(mss).saturating_mul(mss)),
            _ => bound,
        }
    }

    /// How many segments go together (Linux: `tcp_tso_autosize`): a millisecond's worth at the
    /// rate at which the window would be paced, more where the round trip is short.
    fn autosize(&self, mss: u32) -> u32 {
        const GSO_MAX: u64 = 65_536;
        let rtts = self
            .rtt
            .min_rtt
            .checked_shr(self.sysctl.tcp_tso_rtt_log.into())
            .unwrap_or(0);
        let near = GSO_MAX.checked_shr(rtts).unwrap_or(0);
        let bytes = (self.usual_rate() >> 10).saturating_add(near).min(GSO_MAX);
        (bytes as u32 / mss.max(1)).max(self.sysctl.tcp_min_tso_segs.into())
    }

    /// `max_payload` in whole segments.
    fn bound(max_payload: u32, mss: u32) -> u32 {
        match max_payload {
            0 => mss,
            n if n < mss => n,
            n => n - n % mss,
        }
    }

    /// Whether the segment at `snd_nxt` fits into the window whole (Linux: `tcp_snd_wnd_test`),
    /// which is the sender's silly-window avoidance (RFC 9293, section 3.8.6.2.1).
    // RFC 9293 MUST-38, SHLD-15
    // RFC 7323 S2.4-4
    pub(super) fn first_segment_fits(&self) -> bool {
        let unsent = self.unsent_of_record();
        let mss = self.current_mss();
        let fin = u32::from(self.fin_queued && unsent == self.unsent() && unsent <= mss);
        (self.snd_nxt + unsent.min(mss) + fin).le(self.window_edge())
    }

    /// Data that was never sent, and the FIN.
    // RFC 5681 S2-1
    // RFC 9293 SHLD-27, SHLD-28
    // RFC 6675 S4-3
    fn new_data(&mut self, now: Instant, max_payload: u32, sent: &mut [Sent]) -> Option<Transmit> {
        if self.fin_sent() {
            return None;
        }
        let unsent = self.unsent_of_record();
        if unsent == 0 && !self.fin_queued {
            self.note_app_limited();
            return None;
        }
        let last = unsent == self.unsent();
        let mss = self.current_mss();
        if self.paced(now) {
            return None;
        }
        match self.mtu_probe(now, sent) {
            Probe::No => {}
            Probe::Wait => return None,
            Probe::Sent(probe) => return Some(probe),
        }
        let in_flight = self.sent.in_flight();
        let cwnd = self.cc.cwnd();
        if in_flight >= cwnd {
            // (The timer's one segment fills its window, but nobody asks for more.)
            let timed_out = self.recovery.hold && self.timers.retransmits > 0;
            if !timed_out || self.recovery.push_new {
                self.note_cwnd_use(now, true);
            }
            return None;
        }
        if !self.first_segment_fits() {
            self.busy.spend(now, super::info::Spent::Window);
            return None;
        }
        // Linux: at most half the window at once, so that two large segments are under way.
        let quota = (cwnd / 2).max(1).min(cwnd - in_flight);
        let len = if unsent <= mss {
            // What has something behind it waits for nothing.
            if last && self.nagle_holds(unsent, mss) {
                return None;
            }
            unsent.min(self.burst(max_payload, mss))
        } else {
            let window = self.window_edge() - self.snd_nxt;
            let most = self.burst(max_payload, mss).min(quota.saturating_mul(mss));
            let needed = unsent.min(window);
            if most <= needed {
                most
            } else if self.nagle_holds(needed % mss, mss) {
                needed - needed % mss
            } else {
                needed
            }
        };
        if len == 0 && unsent > 0 {
            return None;
        }
        let seq = self.snd_nxt;
        let window = self.window_edge() - seq;
        let fin = self.fin_queued && last && len == unsent && window > len;
        let push = !last && len == unsent;
        Some(self.send_new(now, len, fin, push, sent))
    }

    pub(super) fn send_new(
        &mut self,
        now: Instant,
        len: u32,
        fin: bool,
        push: bool,
        sent: &mut [Sent],
    ) -> Transmit {
        let mss = self.current_mss();
        self.send_new_as(now, len, fin, push, mss, sent)
    }

    /// The same in segments of `mss` bytes.
    pub(super) fn send_new_as(
        &mut self,
        now: Instant,
        len: u32,
        fin: bool,
        push: bool,
        mss: u32,
        sent: &mut [Sent],
    ) -> Transmit {
        let seq = self.snd_nxt;
        let end = seq + len;
        let mut flags = Flags::NONE;
        // PSH at the end of what was written, every half window (Linux: `forced_push`; the window is
        // that of the write, and where several segments are one sk_buff, only a full one is looked
        // at), and on every packet that the device cuts (so that the receiver's GRO hands them on).
        // RFC 9293 MUST-61
        let half = match self.gso {
            true => self.max_window / 2,
            false => self.snd_half,
        };
        let cut = len > mss;
        if self.snd_moved.gt(self.snd_pushed) && self.snd_moved.lt(end) {
            self.snd_pushed = self.snd_moved;
        }
        let half_passed = (!self.gso || self.snd_mark.le(seq))
            && i64::from(end.diff(self.snd_pushed)) > half.into();
        let marked = len > 0
            && (push
                || end == self.snd_mark
                || (end == self.snd_end && end == self.snd_psh)
                || half_passed);
        if marked || cut {
            flags = flags.with(Flags::PSH);
            self.snd_pushed = end;
        }
        if fin {
            flags = flags.with(Flags::FIN);
        }
        if !len.is_multiple_of(mss) {
            self.snd_sml = end;
        }
        let idle = self.sent.packets_out == 0;
        self.snd_nxt = end + u32::from(fin);
        if idle && len > 0 {
            let short = self.rate.app_limited != 0;
            self.cc
                .on_first_sent(now, self.lsndtime, self.snd_mss.into(), short);
        }
        let mut record = Sent {
            start: seq,
            end: self.snd_nxt,
            at: self.sent.moment(now),
            segs: u16::try_from(len.div_ceil(mss).max(1)).unwrap_or(u16::MAX),
            mss: mss as u16,
            flags: if marked { PUSHED } else { 0 },
            ..Sent::default()
        };
        if len > 0 && end == self.snd_record {
            record.flags |= ENDS_RECORD;
        }
        if fin {
            record.flags |= WITH_FIN;
        }
        self.rate_stamp(now, &mut record);
        self.noted.add(Mib::OrigDataSent, record.segs.into());
        self.sent.push(sent, record);
        if self.reducing() {
            self.recovery.prr_out += u32::from(record.segs);
        }
        let pending = self.timers.pending;
        let armed = self.timers.rexmit_at != Instant::NEVER;
        if self.state == State::SynReceived {
            // Fast Open's server: the timer is the SYN+ACK's.
        } else if idle || !armed {
            self.rearm_probe(now, sent, true);
        } else if pending == super::timers::Pending::LossProbe || self.may_probe() {
            self.rearm_probe(now, sent, false);
        }
        self.busy.spend(now, super::info::Spent::Busy);
        self.bytes_sent = self.bytes_sent.saturating_add(u64::from(len));
        if len > 0 {
            self.note_data_sent(now);
        }
        self.pace(now, len);
        let limited = self.sent.in_flight() >= self.cc.cwnd();
        if !limited && self.unsent() == 0 {
            self.busy.starved(now);
        }
        self.note_cwnd_use(now, limited);
        let mut tx = self.transmit(seq, false, |tcb| {
            let mut seg = tcb.segment(now, seq, flags, len);
            tcb.ecn_mark(&mut seg, true);
            seg
        });
        tx.mss = tx.mss.max(mss as u16);
        tx
    }

    /// Nagle (RFC 9293, section 3.7.4) in Minshall's form: a short segment waits only while a
    /// short one is unacknowledged. CORK holds it in any case.
    // RFC 9293 SHLD-7, MUST-60
    fn nagle_holds(&self, tail: u32, mss: u32) -> bool {
        let partial = tail > 0 && tail < mss;
        let pushed = self.push == Push::Now || self.recovery.push_new;
        if !partial || self.fin_queued || pushed || self.snd_up.gt(self.snd_una) {
            return false;
        }
        if self.options.cork || self.push == Push::Held {
            return true;
        }
        // RFC 9293 MUST-17
        !self.options.nodelay
            && self.snd_una != self.snd_nxt
            && self.snd_sml.gt(self.snd_una)
            && self.snd_sml.le(self.snd_nxt)
    }

    /// Linux's `tcp_cwnd_validate`.
    fn note_cwnd_use(&mut self, now: Instant, limited: bool) {
        let out = self.sent.packets_out;
        let new_window = self.snd_una.ge(self.recovery.usage_end);
        if self.cc.on_sent(out, limited, new_window) {
            self.recovery.usage_end = self.snd_nxt;
        }
        let calm = self.recovery.ca == CaState::Open && !self.busy.no_space();
        let decays = self.sysctl.tcp_slow_start_after_idle != 0;
        self.cc
            .on_used(now, out, decays.then(|| self.rtt.rto()), calm);
    }

    /// RFC 5681, section 4.1.
    ///
    /// Looked at where Linux does: when something is written to an empty queue, and when the
    /// window changes while something waits for it.
    // RFC 5681 S4.1-1
    pub(super) fn restart_after_idle(&mut self, now: Instant) {
        if self.snd_una != self.snd_nxt
            || self.sysctl.tcp_slow_start_after_idle == 0
            || self.cc.is_model_based()
        {
            return;
        }
        let idle = now.since(self.lsndtime);
        if idle > self.rtt.rto() {
            let rtos = idle.as_micros() / self.rtt.rto().as_micros().max(1);
            self.cc
                .on_idle(now, u64::try_from(rtos).unwrap_or(u64::MAX));
        }
    }

    /// A probe of the window, or of a silent peer (Linux: `tcp_write_wakeup`).
    fn probe(&mut self, now: Instant, sent: &mut [Sent]) -> Option<Transmit> {
        if !self.owes.probe {
            return None;
        }
        self.owes.probe = false;
        let unsent = self.unsent_of_record();
        let window = self.window_edge().diff(self.snd_nxt);
        let fin_waits = self.fin_queued && !self.fin_sent() && unsent == self.unsent();
        if window > 0 && (unsent > 0 || fin_waits) {
            // Some window, too small for good manners: use it.
            let len = unsent.min(window.unsigned_abs()).min(self.current_mss());
            let fin = fin_waits && len == unsent && window.unsigned_abs() > len;
            self.timers.probes_out = 0;
            self.timers.backoff = 0;
            self.timers.probes_at = None;
            let tx = self.send_new(now, len, fin, true, sent);
            // (No tail loss probe follows this.)
            self.rearm_retransmit(now);
            return Some(tx);
        }
        // "<SEQ=SND.UNA-1>", without data: the peer must answer (RFC 9293, section 3.8.4).
        // RFC 9293 SHLD-12
        let seq = SeqNum(self.snd_una.0.wrapping_sub(1));
        let waiting = unsent > 0 || fin_waits;
        self.noted.note(if waiting {
            Mib::WinProbe
        } else {
            Mib::KeepAlive
        });
        Some(self.transmit(self.snd_una(), false, |tcb| {
            tcb.segment(now, seq, Flags::NONE, 0)
        }))
    }
}
