//! What to send next (RFC 9293, sections 3.7 and 3.8), after Linux's `tcp_write_xmit`.

use super::tcb::Push;
use super::{Flags, Options, Segment, SeqNum, State, Tcb, Transmit};
use crate::time::Instant;

impl Tcb {
    /// The next segment to send, if any. `max_payload` bounds its payload (several MSS, for
    /// TSO); 0 means one MSS.
    pub fn poll_transmit(&mut self, now: Instant, max_payload: u32) -> Option<Transmit> {
        if self.owes.rst {
            self.owes.rst = false;
            return Some(self.reset(now));
        }
        let sent = match self.state {
            State::Closed | State::Listen => None,
            State::SynSent => self.syn(now),
            State::SynReceived => self.syn(now).or_else(|| self.bare_ack(now)),
            State::TimeWait => self.bare_ack(now),
            _ => self
                .retransmission(now, max_payload)
                .or_else(|| self.tail_probe(now))
                .or_else(|| self.new_data(now, max_payload))
                .or_else(|| self.probe(now))
                .or_else(|| self.bare_ack(now)),
        };
        if sent.is_none() && self.state != State::Closed {
            self.check_persist(now);
        }
        self.check_invariants();
        sent
    }

    /// The program appended `n` bytes to the send queue.
    pub fn app_wrote(&mut self, _now: Instant, n: u32) {
        self.push = Push::Usual;
        if self.can_queue() {
            // Half the sequence space is the most that can be told apart.
            let room = (1u32 << 30).saturating_sub(self.snd_end - self.snd_una);
            debug_assert!(n <= room, "a send queue of more than 1 GiB");
            self.snd_end += n.min(room);
        }
    }

    /// `n` bytes were written with MSG_OOB: they are appended as [`Tcb::app_wrote`] does, and
    /// the urgent pointer is now at their end.
    pub fn app_wrote_urgent(&mut self, now: Instant, n: u32) {
        self.app_wrote(now, n);
        if self.can_queue() {
            self.snd_up = self.snd_end;
        }
    }

    /// What was written last came with MSG_MORE: less than a segment is not sent for it, though
    /// the next segment or timer may let it go (Linux: `tcp_push`).
    pub fn expect_more(&mut self) {
        self.push = Push::Held;
    }

    /// What was written so far goes, whatever Nagle and TCP_CORK say (Linux:
    /// `TCP_NAGLE_PUSH`).
    pub fn push(&mut self) {
        self.push = Push::Now;
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
        let scales = offers(self.wscale_ok, self.sysctl.tcp_window_scaling);
        let options = Options {
            mss: Some(self.advmss),
            wscale: scales.then_some(self.syn_wscale),
            sack_permitted: offers(self.sack_ok, self.sysctl.tcp_sack),
            timestamps: offers(self.ts_ok, self.sysctl.tcp_timestamps)
                .then(|| (self.ts_now(now), self.ts_recent)),
            ..Options::default()
        };
        let retransmit = self.snd_nxt != self.iss;
        if retransmit {
            self.rtt.retransmitted(self.iss, self.snd_nxt);
            self.total_retrans = self.total_retrans.wrapping_add(1);
        } else {
            self.snd_nxt = self.iss + 1;
            self.rtt.start(now, self.iss, self.snd_nxt);
            self.timers.retrans_stamp = Some(now);
        }
        if self.timers.rexmit_at == Instant::NEVER {
            self.rearm_retransmit(now);
        }
        if answer {
            self.owes.ack = false;
        }
        self.segs_out = self.segs_out.wrapping_add(1);
        Some(Transmit {
            segment: Segment {
                seq: self.iss,
                ack: if answer { self.rcv_nxt } else { SeqNum(0) },
                flags: if answer {
                    Flags::SYN.with(Flags::ACK)
                } else {
                    Flags::SYN
                },
                // "The window field in a segment where the SYN bit is set ... MUST NOT be
                // scaled" (RFC 7323, section 2.2).
                window: self.rcv_wnd.min(65_535) as u16,
                options,
                ..Segment::default()
            },
            offset: 0,
            mss: self.snd_mss,
            retransmit,
        })
    }

    /// A segment with an ACK: it takes care of what acknowledging is owed.
    pub(super) fn segment(&mut self, now: Instant, seq: SeqNum, flags: Flags, len: u32) -> Segment {
        let window = if self.state == State::TimeWait {
            (self.receive_window() >> self.rcv_wscale).min(65_535) as u16
        } else {
            self.advertise_window()
        };
        let mut options = Options::default();
        if self.ts_ok {
            options.timestamps = Some((self.ts_now(now), self.ts_recent));
        }
        // Before the options are settled: what decides the size of the pieces on the wire.
        let mss = self.current_mss();
        let blocks = self.sack_blocks_to_send();
        let held = self.rcv_sack.iter().take(usize::from(self.rcv_sack_len));
        let all = self.dsack.iter().chain(held);
        for (slot, block) in options.sack.iter_mut().take(blocks).zip(all) {
            *slot = *block;
        }
        options.sack_len = blocks as u8;
        self.dsack = None;
        self.note_ack_sent();
        self.count_out(len, mss);
        let mut segment = Segment {
            seq,
            ack: self.rcv_nxt,
            flags: flags.with(Flags::ACK),
            window,
            options,
            len,
            ..Segment::default()
        };
        // RFC 9293, section 3.8.5, with the pointer just past the urgent byte (RFC 6093).
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
        let pieces = len.div_ceil(mss).max(1);
        self.segs_out = self.segs_out.wrapping_add(pieces);
        if len > 0 {
            self.data_segs_out = self.data_segs_out.wrapping_add(pieces);
        }
    }

    fn bare_ack(&mut self, now: Instant) -> Option<Transmit> {
        if !self.owes.ack {
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

    /// `max_payload` in whole segments.
    fn bound(max_payload: u32, mss: u32) -> u32 {
        match max_payload {
            0 => mss,
            n if n < mss => n,
            n => n - n % mss,
        }
    }

    /// What was lost, once more.
    fn retransmission(&mut self, now: Instant, max_payload: u32) -> Option<Transmit> {
        if !self.recovering() {
            self.owes.rexmit = false;
            return None;
        }
        let from = self.recovery.rexmit_nxt.max(self.snd_una);
        let Some((start, end)) = self.board.next_hole(from, self.recovery.lost_end) else {
            self.owes.rexmit = false;
            return None;
        };
        let mss = self.current_mss();
        let cwnd = self.cc.cwnd();
        let mut quota = cwnd.saturating_sub(self.segments_in_flight());
        if self.owes.rexmit {
            quota = quota.max(1);
        }
        if quota == 0 {
            return None;
        }
        let mut bound = Self::bound(max_payload, mss).min(quota.saturating_mul(mss));
        if self.timers.retransmits > 0 && self.owes.rexmit {
            // A timeout probes with a single segment.
            bound = bound.min(mss);
        }
        // The peer's window may have shrunk under what was sent.
        let window = self.window_edge().diff(start);
        if window <= 0 {
            if start != self.snd_una {
                return None;
            }
            bound = bound.min(mss);
        } else if bound > window.unsigned_abs() {
            let window = window.unsigned_abs();
            bound = if window >= mss {
                window - window % mss
            } else {
                window
            };
        }
        let text_end = end.min(self.snd_end);
        let len = text_end.diff(start).max(0).unsigned_abs().min(bound);
        let fin = end.gt(self.snd_end) && start + len == self.snd_end;
        let mut flags = Flags::NONE;
        if len > 0 && start + len == self.snd_end {
            flags = flags.with(Flags::PSH);
        }
        if fin {
            flags = flags.with(Flags::FIN);
        }
        if len == 0 && !fin {
            self.owes.rexmit = false;
            return None;
        }
        let next = start + len + u32::from(fin);
        self.rtt.retransmitted(start, next);
        self.timers.retrans_stamp.get_or_insert(now);
        if start == self.snd_una && self.timers.retransmits == 0 {
            // The first segment goes again: its ACK is a round trip away (RFC 6298, 5.1).
            self.rearm_retransmit(now);
        }
        if self.timers.rexmit_at == Instant::NEVER {
            self.rearm_retransmit(now);
        }
        self.recovery.rexmit_nxt = next;
        self.owes.rexmit = false;
        self.total_retrans = self.total_retrans.wrapping_add(len.div_ceil(mss).max(1));
        Some(self.transmit(start, true, |tcb| tcb.segment(now, start, flags, len)))
    }

    /// Whether the segment at `snd_nxt` fits into the window whole (Linux: `tcp_snd_wnd_test`),
    /// which is the sender's silly-window avoidance (RFC 9293, section 3.8.6.2.1).
    pub(super) fn first_segment_fits(&self) -> bool {
        let unsent = self.snd_end.diff(self.snd_nxt).max(0).unsigned_abs();
        let mss = self.current_mss();
        let fin = u32::from(self.fin_queued && unsent <= mss);
        (self.snd_nxt + unsent.min(mss) + fin).le(self.window_edge())
    }

    /// Data that was never sent, and the FIN.
    fn new_data(&mut self, now: Instant, max_payload: u32) -> Option<Transmit> {
        if self.fin_sent() {
            return None;
        }
        let unsent = self.snd_end - self.snd_nxt;
        if unsent == 0 && !self.fin_queued {
            return None;
        }
        let mss = self.current_mss();
        self.restart_after_idle(now, unsent);
        let in_flight = self.segments_in_flight();
        let cwnd = self.cc.cwnd();
        if in_flight >= cwnd {
            self.note_cwnd_use(true);
            return None;
        }
        if !self.first_segment_fits() {
            return None;
        }
        // Linux: at most half the window at once, so that two large segments are under way.
        let quota = (cwnd / 2).max(1).min(cwnd - in_flight);
        let len = if unsent <= mss {
            if self.nagle_holds(unsent, mss) {
                return None;
            }
            unsent.min(Self::bound(max_payload, mss))
        } else {
            let window = self.window_edge() - self.snd_nxt;
            let most = Self::bound(max_payload, mss).min(quota.saturating_mul(mss));
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
        let fin = self.fin_queued && len == unsent && window > len;
        Some(self.send_new(now, len, fin, false))
    }

    pub(super) fn send_new(&mut self, now: Instant, len: u32, fin: bool, push: bool) -> Transmit {
        let seq = self.snd_nxt;
        let end = seq + len;
        let mut flags = Flags::NONE;
        // PSH at the end of what was written, every half window (Linux: `forced_push`), and on
        // every packet that the device cuts (so that the receiver's GRO hands them on).
        let half = self.max_window / 2;
        let cut = len > self.current_mss();
        if len > 0
            && (push
                || cut
                || (end == self.snd_end && !matches!(self.push, Push::More | Push::Held))
                || (end.diff(self.snd_pushed) as i64) > half.into())
        {
            flags = flags.with(Flags::PSH);
            self.snd_pushed = end;
        }
        if fin {
            flags = flags.with(Flags::FIN);
        }
        if !len.is_multiple_of(self.current_mss()) {
            self.snd_sml = end;
        }
        let idle = self.snd_una == self.snd_nxt;
        self.snd_nxt = end + u32::from(fin);
        self.rtt.start(now, seq, self.snd_nxt);
        if idle || self.timers.rexmit_at == Instant::NEVER {
            self.rearm_probe(now);
        } else {
            self.tighten_probe(now);
        }
        if len > 0 {
            self.note_data_sent(now);
        }
        self.note_cwnd_use(self.segments_in_flight() >= self.cc.cwnd());
        self.transmit(seq, false, |tcb| tcb.segment(now, seq, flags, len))
    }

    /// Nagle (RFC 9293, section 3.7.4) in Minshall's form: a short segment waits only while a
    /// short one is unacknowledged. CORK holds it in any case.
    fn nagle_holds(&self, tail: u32, mss: u32) -> bool {
        let partial = tail > 0 && tail < mss;
        if !partial || self.fin_queued || self.push == Push::Now || self.snd_up.gt(self.snd_una) {
            return false;
        }
        if self.options.cork || self.push == Push::Held {
            return true;
        }
        !self.options.nodelay
            && self.snd_una != self.snd_nxt
            && self.snd_sml.gt(self.snd_una)
            && self.snd_sml.le(self.snd_nxt)
    }

    fn note_cwnd_use(&mut self, limited: bool) {
        let out = (self.snd_nxt - self.snd_una).div_ceil(u32::from(self.snd_mss).max(1));
        let new_window = self.snd_una.ge(self.recovery.usage_end);
        if new_window || limited {
            self.recovery.usage_end = self.snd_nxt;
        }
        self.cc.on_sent(out, limited, new_window);
    }

    /// RFC 5681, section 4.1.
    fn restart_after_idle(&mut self, now: Instant, unsent: u32) {
        if unsent == 0 || self.snd_una != self.snd_nxt || self.sysctl.tcp_slow_start_after_idle == 0
        {
            return;
        }
        let idle = now.since(self.lsndtime);
        if idle > self.rtt.rto() {
            let rtos = idle.as_micros() / self.rtt.rto().as_micros().max(1);
            self.cc.on_idle(u64::try_from(rtos).unwrap_or(u64::MAX));
        }
    }

    /// A probe of the window, or of a silent peer (Linux: `tcp_write_wakeup`).
    fn probe(&mut self, now: Instant) -> Option<Transmit> {
        if !self.owes.probe {
            return None;
        }
        self.owes.probe = false;
        let unsent = self.snd_end.diff(self.snd_nxt).max(0).unsigned_abs();
        let window = self.window_edge().diff(self.snd_nxt);
        let fin_waits = self.fin_queued && !self.fin_sent();
        if window > 0 && (unsent > 0 || fin_waits) {
            // Some window, too small for good manners: use it.
            let len = unsent.min(window.unsigned_abs()).min(self.current_mss());
            let fin = fin_waits && len == unsent && window.unsigned_abs() > len;
            self.timers.probes_out = 0;
            self.timers.backoff = 0;
            self.timers.probes_at = None;
            return Some(self.send_new(now, len, fin, true));
        }
        // "<SEQ=SND.UNA-1>", without data: the peer must answer (RFC 9293, section 3.8.4).
        let seq = SeqNum(self.snd_una.0.wrapping_sub(1));
        Some(self.transmit(self.snd_una(), false, |tcb| {
            tcb.segment(now, seq, Flags::NONE, 0)
        }))
    }
}
