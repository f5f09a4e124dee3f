//! A segment arrives (RFC 9293, section 3.10.7), after Linux's `tcp_rcv_state_process`.

use super::ack::AckResult;
use super::mib::Mib;
use super::recovery::Resend;
use super::sent::Sent;
use super::{Events, Flags, Outcome, RecvQueue, Segment, SeqNum, State, Tcb, TcpError, reset_for};
use crate::time::{Duration, Instant};

/// Linux's `TCP_TIMEOUT_MIN`, two ticks: so soon a SYN goes out again after an answer to
/// something else.
const SYN_AGAIN: Duration = Duration::from_millis(8);
/// After so long without news TS.Recent says nothing (RFC 7323, section 5.5; Linux's
/// `TCP_PAWS_WRAP`).
const TS_RECENT_LIFE: Duration = Duration::from_secs(2147);

/// Why a segment fails PAWS (RFC 7323, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paws {
    Fine,
    Reject,
    /// An old pure ACK: dropped without answer.
    OldAck,
}

/// What a segment is to a listener's child in SYN_RECEIVED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Embryonic {
    /// The SYN once more: the SYN+ACK was lost.
    Again,
    /// It acknowledges something else.
    WrongAck,
    /// It is old, or lies out of the window.
    Unacceptable,
    /// It echoes a timestamp that no SYN+ACK bore.
    WrongEcho,
    /// A RST, or a SYN of another connection.
    Ends,
    /// What can't be judged without an ACK.
    Nothing,
    /// The handshake's last.
    Completes,
}

impl Tcb {
    /// Process a segment of this connection. `rx` keeps its payload.
    /// `sent`: see [`super::Sent`].
    pub fn on_segment(
        &mut self,
        now: Instant,
        seg: &Segment,
        rx: &mut impl RecvQueue,
        sent: &mut [Sent],
    ) -> Outcome {
        let mut out = Outcome::default();
        if self.state != State::TimeWait {
            self.count_in(seg.len);
        }
        match self.state {
            State::Closed | State::Listen => out.reset = reset_for(seg),
            State::SynSent => self.in_syn_sent(now, seg, rx, sent, &mut out),
            State::TimeWait => self.in_time_wait(now, seg, &mut out),
            State::FinWait2 if self.is_stand_in() => {
                self.in_orphans_fin_wait_2(now, seg, &mut out);
            }
            State::SynReceived if self.passive => {
                if self.embryonic(now, seg, &mut out) {
                    self.in_synchronized(now, seg, rx, sent, &mut out);
                }
            }
            _ => self.in_synchronized(now, seg, rx, sent, &mut out),
        }
        self.check_invariants();
        out
    }

    /// Several segments may come as one packet where the link gathers them; how many `len` bytes
    /// were follows from the size of the peer's segments, as far as that is known.
    pub(super) fn pieces_of(&self, len: u32) -> u32 {
        if len > u32::from(self.advmss) {
            len.div_ceil(u32::from(self.delack.rcv_mss).max(1))
        } else {
            1
        }
    }

    /// Count a segment.
    fn count_in(&mut self, len: u32) {
        let pieces = self.pieces_of(len);
        self.segs_in = self.segs_in.wrapping_add(pieces);
        if len > 0 {
            self.data_segs_in = self.data_segs_in.wrapping_add(pieces);
        }
    }

    /// Section 3.10.7.3.
    fn in_syn_sent(
        &mut self,
        now: Instant,
        seg: &Segment,
        rx: &mut impl RecvQueue,
        sent: &mut [Sent],
        out: &mut Outcome,
    ) {
        let flags = seg.flags;
        if flags.has(Flags::ACK) {
            // "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset".
            let acceptable = seg.ack.gt(self.snd_una) && seg.ack.le(self.snd_nxt);
            if !acceptable && self.timers.retransmits == 0 {
                // Linux: the peer was busy with an older connection; it may listen now.
                self.timers.rexmit_at = now + SYN_AGAIN;
            }
            if !acceptable || !self.syn_echo_plausible(now, seg) {
                out.reset = reset_for(seg);
                return;
            }
            if flags.has(Flags::RST) {
                return self.fail(TcpError::Refused, out);
            }
            if !flags.has(Flags::SYN) {
                return;
            }
            self.syn_acked(now, seg, rx, sent, out);
            return;
        }
        // RFC 7323 S3.2-5
        if flags.has(Flags::RST) || !flags.has(Flags::SYN) {
            return;
        }
        // A SYN without ACK: both opened (section 3.5, figure 7).
        self.take_syn_options(now, seg);
        self.take_syn(seg);
        self.max_window = self.snd_wnd;
        self.sync_mss();
        self.init_rcv_mss();
        // RFC 9293 MUST-10
        self.enter(State::SynReceived, out);
        self.owes.syn = true;
    }

    /// A SYN+ACK must echo a timestamp that was sent (as Linux demands).
    fn syn_echo_plausible(&self, now: Instant, seg: &Segment) -> bool {
        let (Some((_, tsecr)), Some(since)) = (seg.options.timestamps, self.timers.retrans_stamp)
        else {
            return true;
        };
        tsecr == 0
            || self.sysctl.tcp_timestamps == 0
            || tsecr.wrapping_sub(self.ts_now(since))
                <= self.ts_now(now).wrapping_sub(self.ts_now(since))
    }

    /// SYN_SENT's SYN was acknowledged by a SYN: ESTABLISHED.
    fn syn_acked(
        &mut self,
        now: Instant,
        seg: &Segment,
        rx: &mut impl RecvQueue,
        sent: &mut [Sent],
        out: &mut Outcome,
    ) {
        self.take_syn_options(now, seg);
        self.ecn_answered(seg);
        self.take_syn(seg);
        self.max_window = self.snd_wnd;
        self.snd_una = seg.ack;
        self.noted.note(Mib::Delivered);
        let rest = self.syn_data_answered(seg, out);
        self.syn_rtt(now, seg);
        self.establish(now, seg, out);
        if rest {
            self.record_syn_data(now, sent);
            self.resend_all(sent, Resend::All);
        } else {
            self.take_synack_data(now, seg, rx, out);
        }
        self.delack.scheduled = true;
        // (Or the SYN+ACK brought a FIN: ours may follow.)
        if self.synack_is_answered_by_data() || self.delack.pingpong {
            self.enter_quickack();
            self.delack.at = now + super::delack::LONGEST;
        } else {
            self.owes.ack = true;
        }
    }

    fn syn_rtt(&mut self, now: Instant, seg: &Segment) {
        let timed = self.rtt.syn_acked(now);
        let stamped = if self.ts_ok && timed.is_none() {
            self.ts_sample(now, seg)
        } else {
            None
        };
        if let Some(us) = timed.or(stamped) {
            self.rtt.note_min(now, us);
            self.rtt.sample(us, self.snd_una, self.snd_nxt);
        }
    }

    /// SYN_RECEIVED as a listener's child, before the checks it shares with other states
    /// (Linux: `tcp_check_req`); false if that was all.
    fn embryonic(&mut self, now: Instant, seg: &Segment, out: &mut Outcome) -> bool {
        match self.judge_embryonic(now, seg) {
            Embryonic::Completes => return true,
            Embryonic::Again => {
                if self.answer_allowed(now, Mib::SkippedSynRecv) {
                    self.owes.syn = true;
                    self.rearm_retransmit(now);
                }
            }
            Embryonic::WrongAck => out.reset = reset_for(seg),
            Embryonic::Unacceptable | Embryonic::WrongEcho => {
                if !seg.flags.has(Flags::RST)
                    && self.oow_answer_allowed(now, seg, Mib::SkippedSynRecv)
                {
                    self.owes.ack = true;
                }
            }
            Embryonic::Ends => {
                self.noted.note(Mib::AttemptFails);
                self.noted
                    .add(Mib::EmbryonicRsts, u32::from(!self.is_early()));
                if !seg.flags.has(Flags::RST) {
                    out.reset = reset_for(seg);
                }
                self.fail(TcpError::Reset, out);
            }
            Embryonic::Nothing => {}
        }
        false
    }

    fn judge_embryonic(&self, now: Instant, seg: &Segment) -> Embryonic {
        let flags = seg.flags;
        let paws_failed = self.paws_rejects(now, seg);
        let only_syn = flags.has(Flags::SYN) && !flags.has(Flags::RST) && !flags.has(Flags::ACK);
        if only_syn && seg.seq == self.irs && !paws_failed {
            return Embryonic::Again;
        }
        // Section 3.5.2, group 2: "... acknowledges something not yet sent ... a reset is sent".
        // (Of data that went with the SYN+ACK, Fast Open's, some may be acknowledged as well.)
        if flags.has(Flags::ACK) && seg.ack != self.iss + 1 && !self.is_early() {
            return Embryonic::WrongAck;
        }
        if !paws_failed && !self.echoes_synack(seg) {
            return Embryonic::WrongEcho;
        }
        if paws_failed || !self.inside(seg, self.rcv_wnd) {
            return Embryonic::Unacceptable;
        }
        // A SYN that is the original one is out of the window: only what follows it counts.
        if flags.has(Flags::RST) || (flags.has(Flags::SYN) && seg.seq != self.irs) {
            return Embryonic::Ends;
        }
        if flags.has(Flags::ACK) {
            Embryonic::Completes
        } else {
            Embryonic::Nothing
        }
    }

    /// Whether the segment is the one that completes the handshake of a listener's child: then its
    /// owner may still have it wait ([`Tcb::handshake_waits`]) or refuse it.
    pub fn would_complete(&self, now: Instant, seg: &Segment) -> bool {
        self.judge_embryonic(now, seg) == Embryonic::Completes
    }

    /// Whether the segment would be answered as unacceptable for what it echoes alone (Linux counts
    /// it as TSEcrRejected).
    pub fn rejects_echo(&self, now: Instant, seg: &Segment) -> bool {
        self.judge_embryonic(now, seg) == Embryonic::WrongEcho
    }

    /// The segment lies in a window of `window` bytes from RCV.NXT on (Linux: `tcp_in_window`).
    pub(super) fn inside(&self, seg: &Segment, window: u32) -> bool {
        let (start, edge) = (self.rcv_nxt, self.rcv_nxt + window);
        seg.seq == start
            || (seg.end().gt(start) && seg.seq.lt(edge))
            || (seg.seq == edge && seg.seq_len() == 0)
    }

    /// What the final ACK of a handshake echoes, if anything, a SYN+ACK has borne, or one between
    /// the first and the last might have. (Of cookies nobody knows; Fast Open's peer has proven
    /// itself.)
    fn echoes_synack(&self, seg: &Segment) -> bool {
        let (Some((_, tsecr)), Some(first)) = (seg.options.timestamps, self.timers.retrans_stamp)
        else {
            return true;
        };
        let (first, last) = (self.ts_now(first), self.ts_now(self.lsndtime));
        tsecr == 0
            || !self.ts_ok
            || self.is_early()
            || tsecr.wrapping_sub(first) <= last.wrapping_sub(first)
    }

    /// Section 3.10.7.4.
    fn in_synchronized(
        &mut self,
        now: Instant,
        seg: &Segment,
        rx: &mut impl RecvQueue,
        sent: &mut [Sent],
        out: &mut Outcome,
    ) {
        let flags = seg.flags;
        if !flags.has(Flags::ACK) && !flags.has(Flags::RST) && !flags.has(Flags::SYN) {
            return;
        }
        if !self.validate(now, seg, out) {
            return;
        }
        if self.state == State::SynReceived {
            // "If SND.UNA < SEG.ACK =< SND.NXT, then enter ESTABLISHED ... If not, form a reset".
            if !(seg.ack.gt(self.snd_una) && seg.ack.le(self.snd_nxt)) {
                out.reset = reset_for(seg);
                return;
            }
            self.update_ts_recent_if_ok(now, seg);
            self.snd_una = self.early_una(seg.ack);
            self.snd_wnd = u32::from(seg.window)
                << if flags.has(Flags::SYN) {
                    0
                } else {
                    self.snd_wscale
                };
            // Linux's passive opens begin with this segment: what the SYN offered is forgotten.
            self.max_window = if self.passive {
                self.snd_wnd
            } else {
                self.max_window.max(self.snd_wnd)
            };
            self.snd_wl1 = seg.seq;
            self.noted.add(Mib::Delivered, u32::from(!self.passive));
            let rest = !self.is_early() && self.syn_data_answered(seg, out);
            self.syn_rtt(now, seg);
            self.establish(now, seg, out);
            if rest {
                // Both opened with data: only the SYN was acknowledged, and nothing says that the
                // rest is lost.
                self.record_syn_data(now, sent);
            }
            if self.snd_nxt.gt(self.snd_una) {
                // What the program sent before the handshake was complete.
                self.rearm_retransmit(now);
                if seg.ack.gt(self.snd_una)
                    && matches!(self.take_ack(now, seg, sent, out), AckResult::Bad)
                {
                    return;
                }
            }
            if flags.has(Flags::SYN) {
                // Both opened: this repeats the peer's SYN.
                self.noted.note(Mib::DelayedAckLost);
                self.note_duplicate(seg.seq, seg.seq + 1);
                self.enter_quickack();
                self.delack.scheduled = true;
            }
        } else {
            match self.take_ack(now, seg, sent, out) {
                AckResult::Good | AckResult::Old => {}
                AckResult::Bad => return,
            }
        }
        if !self.advance_close(now, seg, out) {
            return;
        }
        self.take_urgent(seg, out);
        // RFC 3168 S6.1.5-2
        self.ecn_received(seg);
        if !self.take_payload(now, seg, rx, out) {
            return;
        }
        if self.state != State::Closed {
            self.uncorked();
            self.check_ack(now);
        }
    }

    pub(super) fn update_ts_recent_if_ok(&mut self, now: Instant, seg: &Segment) {
        if self.ts_ok {
            self.update_ts_recent(now, seg);
        }
    }

    /// PAWS, sequence number, RST, SYN: the first four checks (Linux: `tcp_validate_incoming`).
    // RFC 5961 S1.1-1, S3.2-5, S4.2-3, S4.2-4
    // RFC 7323 S5.3-2
    fn validate(&mut self, now: Instant, seg: &Segment, out: &mut Outcome) -> bool {
        let flags = seg.flags;
        match self.paws(now, seg) {
            Paws::Fine => {}
            // "Reset is accepted even if it did not pass PAWS."
            // RFC 7323 S5.2-1, S5.2-2
            _ if flags.has(Flags::RST) => {}
            _ if flags.has(Flags::SYN) => {
                self.challenge_syn(now);
                return false;
            }
            Paws::OldAck => {
                self.noted.note(Mib::PawsOldAck);
                return false;
            }
            Paws::Reject => {
                self.noted.note(Mib::PawsEstab);
                self.answer_unacceptable(now, seg, Mib::SkippedPaws);
                return false;
            }
        }
        if !self.acceptable(seg) {
            if flags.has(Flags::RST) {
                // RFC 5961 S3.2-1
                if self.rst_after_fin(seg) {
                    self.reset_by_peer(out);
                }
            } else if flags.has(Flags::SYN) {
                self.challenge_syn(now);
            } else {
                let beyond = seg.seq.gt(self.rcv_nxt + self.receive_window());
                self.noted.add(Mib::BeyondWindow, beyond.into());
                self.answer_unacceptable(now, seg, Mib::SkippedSeq);
            }
            return false;
        }
        if flags.has(Flags::RST) {
            // RFC 5961, section 3.2: exactly RCV.NXT resets; elsewhere in the window, a
            // challenge. Linux takes the end of the highest block held as exact, too.
            // RFC 5961 S3.2-2, S3.2-3, S3.2-4
            if seg.seq == self.rcv_nxt || self.rst_after_fin(seg) || self.at_highest_block(seg.seq)
            {
                self.reset_by_peer(out);
            } else {
                self.challenge(now);
            }
            return false;
        }
        if flags.has(Flags::SYN) {
            // RFC 5961, section 4.2. But the SYN+ACK of a simultaneous open passes.
            let crossed = self.state == State::SynReceived
                && flags.has(Flags::ACK)
                && seg.seq_len() == 1
                && seg.seq + 1 == self.rcv_nxt
                && seg.ack == self.snd_nxt;
            // RFC 5961 S4.2-1, S4.2-2
            if !crossed {
                self.challenge_syn(now);
            }
            return crossed;
        }
        flags.has(Flags::ACK)
    }

    /// The acceptability test of section 3.4, with Linux's leniency: what begins in the window
    /// and does not end before the last ACK is looked at, even if the window is closed.
    // RFC 9293 MUST-66
    fn acceptable(&self, seg: &Segment) -> bool {
        let edge = self.rcv_nxt + self.receive_window();
        seg.end().ge(self.rcv_wup) && seg.seq.le(edge)
    }

    /// A RST one below RCV.NXT, after a FIN: some stacks do not count theirs.
    fn rst_after_fin(&self, seg: &Segment) -> bool {
        seg.seq + 1 == self.rcv_nxt
            && matches!(
                self.state,
                State::CloseWait | State::LastAck | State::Closing
            )
    }

    fn at_highest_block(&self, seq: SeqNum) -> bool {
        let blocks = self.rcv_sack.iter().take(usize::from(self.rcv_sack_len));
        let highest = blocks.fold(None, |high: Option<SeqNum>, b| {
            Some(high.map_or(b.1, |h| h.max(b.1)))
        });
        self.sack_ok && highest == Some(seq)
    }

    /// "If the RST bit is set": section 3.10.7.4, second check.
    // RFC 9293 MUST-12, SHLD-2
    pub(super) fn reset_by_peer(&mut self, out: &mut Outcome) {
        let error = match self.state {
            State::SynSent => TcpError::Refused,
            State::CloseWait => TcpError::BrokenPipe,
            _ => TcpError::Reset,
        };
        self.fail(error, out);
    }

    /// TS.Recent was set too long ago to judge by (RFC 7323, section 5.5).
    pub(super) fn ts_recent_expired(&self, now: Instant) -> bool {
        now.since(self.ts_recent_at) >= TS_RECENT_LIFE
    }

    /// The timestamp is older than TS.Recent by more than one tick (Linux's `TCP_PAWS_WINDOW`).
    // RFC 7323 S3.2-4, S3.2-7
    pub(super) fn paws_rejects(&self, now: Instant, seg: &Segment) -> bool {
        let Some((tsval, _)) = seg.options.timestamps else {
            return false;
        };
        self.ts_ok
            && (self.ts_recent.wrapping_sub(tsval) as i32) > 1
            && !self.ts_recent_expired(now)
            && self.ts_recent != 0
    }

    /// RFC 7323, section 5.3, rule R1, with Linux's exception for reordered duplicate ACKs.
    // RFC 7323 S5.3-1, S5.3-3
    fn paws(&self, now: Instant, seg: &Segment) -> Paws {
        if !self.paws_rejects(now, seg) {
            return Paws::Fine;
        }
        if !seg.flags.has(Flags::ACK) || seg.seq_len() > 0 {
            return Paws::Reject;
        }
        if seg.seq != self.rcv_nxt {
            return if seg.seq.lt(self.rcv_nxt) {
                Paws::OldAck
            } else {
                Paws::Reject
            };
        }
        let window = u32::from(seg.window) << self.snd_wscale;
        let plain = seg.ack == self.snd_una && window <= self.snd_wnd && window != 0;
        let age = seg
            .options
            .timestamps
            .map_or(0, |t| self.ts_recent.wrapping_sub(t.0));
        // Within one RTO and a fifth it is the network's reordering.
        if plain && u64::from(age) <= u64::from(self.rtt.rto) * 12 / 10_000 {
            Paws::Fine
        } else {
            Paws::Reject
        }
    }

    /// "If an incoming segment is not acceptable, an acknowledgment should be sent in reply".
    fn answer_unacceptable(&mut self, now: Instant, seg: &Segment, skipped: Mib) {
        if !self.oow_answer_allowed(now, seg, skipped) {
            return;
        }
        if seg.seq_len() > 0 && seg.seq.lt(self.rcv_nxt) {
            // A retransmission: our ACK was lost or slow.
            self.noted.note(Mib::DelayedAckLost);
            self.enter_quickack();
            self.note_duplicate(seg.seq, seg.end().min(self.rcv_nxt));
        }
        self.owes.ack = true;
    }

    /// What holds data is answered always; the rest, where two hosts could keep answering each
    /// other, at most twice a second; `skipped` counts what is not.
    pub(super) fn oow_answer_allowed(&mut self, now: Instant, seg: &Segment, skipped: Mib) -> bool {
        if seg.seq_len() > 0 && !seg.flags.has(Flags::SYN) {
            return true;
        }
        self.answer_allowed(now, skipped)
    }

    // RFC 5961 S7-1
    fn answer_allowed(&mut self, now: Instant, skipped: Mib) -> bool {
        // RFC 5961 S7-2
        let apart = Duration::from_millis(u64::from(self.sysctl.tcp_invalid_ratelimit));
        if self.oow_at.is_some_and(|at| now.since(at) < apart) {
            self.noted.note(skipped);
            return false;
        }
        self.oow_at = Some(now);
        true
    }

    /// A challenge ACK (RFC 5961).
    pub(super) fn challenge(&mut self, now: Instant) {
        if self.answer_allowed(now, Mib::SkippedChallenge) {
            self.owes.challenge = true;
        }
    }

    /// The same for a SYN.
    fn challenge_syn(&mut self, now: Instant) {
        self.noted.note(Mib::SynChallenge);
        self.challenge(now);
    }

    /// A challenge ACK is owed that the host has not heard of: see [`Tcb::judge_challenge`].
    pub fn owes_challenge(&self) -> bool {
        self.owes.challenge
    }

    /// The challenge ACK that is owed goes, or doesn't, for there have been enough.
    pub fn judge_challenge(&mut self, goes: bool) {
        self.owes.challenge = false;
        self.owes.ack |= goes;
    }

    /// What follows from our FIN being acknowledged; false if the segment is done with.
    fn advance_close(&mut self, now: Instant, seg: &Segment, out: &mut Outcome) -> bool {
        match self.state {
            State::FinWait1 if self.fin_acked() => {
                self.enter(State::FinWait2, out);
                if self.orphan {
                    let data = self.data_after_close(seg);
                    if self.options.linger2 < 0 || data {
                        self.noted.note(if self.options.linger2 < 0 {
                            Mib::AbortOnLinger
                        } else {
                            Mib::AbortOnData
                        });
                        out.reset = reset_for(seg);
                        self.done(out);
                        return false;
                    }
                    self.arm_fin_wait_2(now);
                }
            }
            State::Closing if self.fin_acked() => {
                self.enter_time_wait(now, out);
                return false;
            }
            State::LastAck if self.fin_acked() => {
                self.done(out);
                return false;
            }
            _ => {}
        }
        true
    }

    /// Payload that nobody will read.
    pub(super) fn data_after_close(&self, seg: &Segment) -> bool {
        seg.seq_len() > 0 && (seg.seq + seg.len).gt(self.rcv_nxt)
    }

    /// The urgent pointer (RFC 9293, section 3.8.5; Linux's `tcp_check_urg`, which takes it to
    /// point just past the urgent byte).
    // RFC 9293 MUST-30, MUST-31, MUST-32, MUST-62
    fn take_urgent(&mut self, seg: &Segment, out: &mut Outcome) {
        if !seg.flags.has(Flags::URG) || self.fin_received {
            return;
        }
        let mark = seg.seq + u32::from(seg.urgent.saturating_sub(1));
        if mark.lt(self.copied_seq) || mark.lt(self.rcv_nxt) {
            return;
        }
        if self
            .rcv_up
            .is_none_or(|up| mark.gt(up) || up.lt(self.copied_seq))
        {
            self.rcv_up = Some(mark);
            out.events.add(Events::URGENT);
        }
    }

    /// What must hold between calls.
    pub(super) fn check_invariants(&self) {
        debug_assert!(self.snd_una.le(self.snd_nxt), "snd_una <= snd_nxt");
        debug_assert!(
            self.snd_nxt.le(self.snd_end + u32::from(self.fin_queued)),
            "snd_nxt <= what was written"
        );
        debug_assert!(
            matches!(self.state, State::Closed | State::SynSent)
                || self.copied_seq.le(self.rcv_nxt),
            "copied_seq <= rcv_nxt"
        );
    }
}
