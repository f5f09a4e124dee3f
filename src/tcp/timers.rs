//! Retransmission, persist, keepalive, FIN_WAIT_2 and TIME_WAIT.

use super::mib::Mib;
use super::recovery::CaState;
use super::sent::{Sent, SentList};
use super::{Outcome, State, Tcb, TcpError};
use crate::time::{Duration, Instant};

/// Linux's `TCP_RTO_MIN`, which its model of give-up times builds on.
const MODEL_RTO_MIN_MS: u64 = 200;
/// Linux's `TCP_TIMEOUT_INIT`.
const MODEL_RTO_INIT_MS: u64 = 1000;

/// Linux's `tcp_stream_is_thin`: fewer packets are out.
const THIN: u32 = 4;
/// Linux's `TCP_THIN_LINEAR_RETRIES`.
const THIN_LINEAR_RETRIES: u8 = 6;

/// Which of two timers, never both on, the retransmission slot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Pending {
    /// RFC 6298.
    #[default]
    Retransmit,
    /// Something is queued, nothing in flight: probe the window (RFC 9293, section 3.8.6.1).
    Persist,
    /// RFC 8985, section 7: the retransmission timer follows.
    LossProbe,
    /// RFC 8985, section 6.3: to look for losses again.
    Reorder,
}

/// What the long timer waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Long {
    /// RFC 9293, section 3.8.4.
    #[default]
    Keepalive,
    /// An orphan's FIN_WAIT_2, beyond the length of TIME_WAIT.
    FinWait2,
    /// An orphan's FIN_WAIT_2 that Linux has a stand-in for ([`Tcb::is_stand_in`]).
    StandIn,
    /// 2 MSL.
    TimeWait,
}

/// The timers, and how often they ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Timers {
    pub pending: Pending,
    pub long: Long,
    /// Retransmissions without progress; of a listener's child, timeouts.
    pub retransmits: u8,
    /// The ACK of a SYN+ACK came, but the handshake is not complete until there were so many
    /// timeouts, or data.
    pub acked_waits: u8,
    /// See [`Tcb::limit_synacks`].
    pub synack_limit: u8,
    /// Doublings of the RTO or the probe interval.
    pub backoff: u8,
    /// Probes without answer.
    pub probes_out: u8,
    /// Timeouts ever (Linux: `total_rto`).
    pub total_rto: u8,
    /// Runs of timeouts, the milliseconds until they were over, and when this one began.
    pub rto_recoveries: u8,
    pub rto_time_ms: u32,
    pub rto_since: Option<Instant>,
    pub tail: super::tail::Tail,
    pub rexmit_at: Instant,
    pub long_at: Instant,
    /// The first of the retransmissions that had no answer yet; for a SYN, the first SYN.
    pub retrans_stamp: Option<Instant>,
    /// The first window probe without progress.
    pub probes_at: Option<Instant>,
}

impl Timers {
    /// No timer runs.
    pub(super) const OFF: Timers = Timers {
        pending: Pending::Retransmit,
        long: Long::Keepalive,
        retransmits: 0,
        acked_waits: 0,
        synack_limit: u8::MAX,
        backoff: 0,
        probes_out: 0,
        total_rto: 0,
        rto_recoveries: 0,
        rto_time_ms: 0,
        rto_since: None,
        tail: super::tail::Tail::None,
        rexmit_at: Instant::NEVER,
        long_at: Instant::NEVER,
        retrans_stamp: None,
        probes_at: None,
    };

    /// No timer runs any more; what was counted can still be asked for.
    pub(super) fn stop(&mut self) {
        *self = Timers {
            retransmits: self.retransmits,
            backoff: self.backoff,
            total_rto: self.total_rto,
            rto_recoveries: self.rto_recoveries,
            rto_time_ms: self.rto_time_ms,
            ..Timers::OFF
        };
    }
}

fn secs(n: u32) -> Duration {
    Duration::from_secs(u64::from(n))
}

fn millis(n: u32) -> Duration {
    Duration::from_millis(u64::from(n))
}

impl Tcb {
    /// When [`Tcb::on_timer`] must be called next; [`Instant::NEVER`] if no timer runs.
    pub fn deadline(&self) -> Instant {
        if self.state == State::Closed {
            return Instant::NEVER;
        }
        let pace_at = if self.pacing.waits {
            self.pacing.next
        } else {
            Instant::NEVER
        };
        self.timers
            .rexmit_at
            .min(self.timers.long_at)
            .min(self.delack.at)
            .min(self.delack.compress_at)
            .min(pace_at)
    }

    /// Run the timers that are due.
    pub fn on_timer(&mut self, now: Instant, sent: &mut [Sent]) -> Outcome {
        let mut out = Outcome::default();
        if self.state == State::Closed {
            return out;
        }
        if self.pacing.next <= now {
            // What waited is polled now.
            self.pacing.waits = false;
        }
        if self.delack.compress_at <= now {
            self.on_compress_timer();
        }
        if self.delack.at <= now {
            self.on_delack_timer();
        }
        if self.timers.rexmit_at <= now {
            self.timers.rexmit_at = Instant::NEVER;
            match self.timers.pending {
                Pending::Retransmit => self.on_retransmit_timer(now, sent, &mut out),
                Pending::Persist => self.on_persist_timer(now, &mut out),
                Pending::LossProbe => self.on_probe_timer(now, sent),
                Pending::Reorder => self.on_reorder_timer(now, sent),
            }
        }
        if self.state != State::Closed && self.timers.long_at <= now {
            self.timers.long_at = Instant::NEVER;
            match self.timers.long {
                Long::Keepalive => self.on_keepalive_timer(now, &mut out),
                Long::FinWait2 => {
                    self.note_stand_in(self.fin_wait_2_excess());
                    // Linux waits the excess twice, once as a socket and once as its stand-in.
                    self.timers.long = Long::StandIn;
                    self.timers.long_at = now + self.fin_wait_2_excess();
                }
                // Silent, as in Linux.
                Long::StandIn | Long::TimeWait => self.done(&mut out),
            }
        }
        out
    }

    /// Start the retransmission timer (RFC 6298, sections 5.1 and 5.3), or stop it when all is
    /// acknowledged (5.2).
    // RFC 6298 S5-1, S5.1-1, S5.2-1, S5.3-1
    pub(super) fn rearm_retransmit(&mut self, now: Instant) {
        self.timers.pending = Pending::Retransmit;
        self.timers.rexmit_at = if self.snd_una == self.snd_nxt {
            Instant::NEVER
        } else {
            now + self.rtt.rto()
        };
    }

    /// The same for what was sent some time ago (Linux: `tcp_rearm_rto` when another timer ran
    /// in between): the first record's time counts.
    pub(super) fn rearm_retransmit_from_head(&mut self, now: Instant, sent: &[Sent]) {
        let other = matches!(self.timers.pending, Pending::LossProbe | Pending::Reorder);
        let head = SentList::get(sent, self.sent.head()).map(|s| s.at);
        self.rearm_retransmit(now);
        if let (true, Some(at), true) = (other, head, self.retransmit_armed()) {
            let left = (at + self.rtt.rto()).max(now + Duration::from_micros(1000));
            self.timers.rexmit_at = self.timers.rexmit_at.min(left);
        }
    }

    /// Whether the retransmission timer proper runs.
    pub(super) fn retransmit_armed(&self) -> bool {
        self.timers.pending == Pending::Retransmit && self.timers.rexmit_at != Instant::NEVER
    }

    /// Section 3.8.6.1 of RFC 9293 and Linux's `tcp_check_probe_timer`: queued data that nothing
    /// in flight will clock out needs a timer.
    // RFC 9293 MUST-36, SHLD-29
    pub(super) fn check_persist(&mut self, now: Instant) {
        let waiting = self.snd_nxt.lt(self.snd_end) || (self.fin_queued && !self.fin_sent());
        if waiting && self.snd_una == self.snd_nxt && self.timers.rexmit_at == Instant::NEVER {
            self.timers.pending = Pending::Persist;
            self.timers.rexmit_at = now + self.probe_base();
        }
    }

    fn probe_base(&self) -> Duration {
        self.rtt.rto().max(millis(MODEL_RTO_MIN_MS as u32))
    }

    /// The interval to the next probe: doubled each time, as RFC 9293, section 3.8.6.1 asks.
    // RFC 9293 SHLD-30
    fn probe_interval(&self) -> Duration {
        let doubled = self
            .probe_base()
            .saturating_mul(1u32 << self.timers.backoff.min(10));
        doubled.min(self.rtt.rto_max())
    }

    fn arm_persist(&mut self, now: Instant) {
        let mut when = self.probe_interval();
        // TCP_USER_TIMEOUT ends the wait in time (Linux: `tcp_clamp_probe0_to_user_timeout`).
        if let Some(since) = self.timers.probes_at
            && self.options.user_timeout > 0
        {
            let left = millis(self.options.user_timeout).saturating_sub(now.since(since));
            when = when.min(left.max(millis(2)));
        }
        self.timers.pending = Pending::Persist;
        self.timers.rexmit_at = now + when;
    }

    /// An ACK came while nothing was in flight (Linux: `tcp_ack_probe`): is the window open?
    pub(super) fn on_ack_while_probing(&mut self, now: Instant) {
        let waiting = self.snd_nxt.lt(self.snd_end) || (self.fin_queued && !self.fin_sent());
        if !waiting {
            if self.timers.pending == Pending::Persist {
                self.timers.rexmit_at = Instant::NEVER;
            }
            return;
        }
        if self.first_segment_fits() {
            self.timers.backoff = 0;
            self.timers.probes_at = None;
            if self.timers.pending == Pending::Persist {
                self.timers.rexmit_at = Instant::NEVER;
            }
        } else {
            self.arm_persist(now);
        }
    }

    fn timed_out(&mut self, out: &mut Outcome) {
        self.noted.note(Mib::AbortOnTimeout);
        // RFC 1122, section 4.2.3.9: what ICMP reported explains it better.
        self.fail(self.soft_error.unwrap_or(TcpError::TimedOut), out);
    }

    // RFC 6298 S5.4-1
    // RFC 2018 S5-3
    fn on_retransmit_timer(&mut self, now: Instant, sent: &mut [Sent], out: &mut Outcome) {
        if self.snd_una == self.snd_nxt {
            return;
        }
        match self.state {
            State::SynReceived if self.passive => return self.on_synack_timer(now, sent, out),
            State::SynSent | State::SynReceived => {
                self.noted.note(Mib::Timeouts);
                let expired = self.syn_expired(now);
                self.suspect_fast_open(expired, out);
                if expired {
                    return self.timed_out(out);
                }
                self.owes.syn = true;
                self.noted
                    .add(Mib::LostRetransmit, u32::from(self.timers.retransmits > 0));
            }
            _ => {
                // "Receiver dastardly shrinks window": its answers keep the connection alive.
                // RFC 9293 MUST-35, SHLD-17
                let persist = self.snd_wnd == 0 && !self.orphan;
                let expired = if persist {
                    self.closed_window_expired(now)
                } else {
                    self.noted.note(Mib::Timeouts);
                    self.data_expired(now)
                };
                if !persist {
                    self.suspect_fast_open(expired, out);
                }
                if expired {
                    return self.timed_out(out);
                }
                if !persist {
                    self.suspect_black_hole(now);
                    self.note_failure();
                }
                self.enter_loss(now, sent);
                if persist {
                    return self.back_off(now);
                }
            }
        }
        if self.timers.retransmits == 0 {
            self.timers.rto_recoveries = self.timers.rto_recoveries.saturating_add(1);
            self.timers.rto_since = Some(now);
        }
        self.timers.retransmits = self.timers.retransmits.saturating_add(1);
        self.timers.total_rto = self.timers.total_rto.saturating_add(1);
        self.timers.retrans_stamp.get_or_insert(now);
        // tcp_syn_linear_timeouts: the first SYNs keep their distance.
        if self.state == State::SynSent
            && self.timers.total_rto <= self.sysctl.tcp_syn_linear_timeouts
        {
            self.arm_backed_off(now);
        } else {
            self.back_off(now);
        }
    }

    /// What else had not helped, before the first of several timeouts.
    fn note_failure(&mut self) {
        if self.timers.retransmits > 0 {
            return;
        }
        let by_sack = |sack, reno| if self.sack_ok { sack } else { reno };
        let failed = match self.recovery.ca {
            CaState::Recovery => by_sack(Mib::SackRecoveryFail, Mib::RenoRecoveryFail),
            CaState::Loss => Mib::LossFailures,
            CaState::Disorder => by_sack(Mib::SackFailures, Mib::RenoFailures),
            _ if self.sent.sacked_out > 0 => by_sack(Mib::SackFailures, Mib::RenoFailures),
            _ => return,
        };
        self.noted.note(failed);
    }

    // RFC 9293 MUST-19
    // RFC 6298 S5.5-1, S5.6-1
    fn back_off(&mut self, now: Instant) {
        // A thin stream has nothing that would clock out a fast retransmit: its timeouts stay
        // as they are for a while (Linux: TCP_THIN_LINEAR_TIMEOUTS).
        let asked = self.options.thin_linear || self.sysctl.tcp_thin_linear_timeouts != 0;
        if asked
            && self.state == State::Established
            && self.sent.packets_out < THIN
            && self.cc.ssthresh() < super::congestion::NO_SSTHRESH
            && self.timers.retransmits <= THIN_LINEAR_RETRIES
        {
            self.timers.backoff = 0;
            self.rtt.set_backed_off(0);
            return self.arm_backed_off(now);
        }
        // RFC 6298, section 5.5.
        self.timers.backoff = self.timers.backoff.saturating_add(1);
        self.rtt.back_off();
        self.arm_backed_off(now);
    }

    fn arm_backed_off(&mut self, now: Instant) {
        let mut when = self.rtt.rto();
        if let Some(since) = self.timers.retrans_stamp
            && self.options.user_timeout > 0
        {
            let left = millis(self.options.user_timeout).saturating_sub(now.since(since));
            when = when.min(left.max(millis(1)));
        }
        self.timers.pending = Pending::Retransmit;
        self.timers.rexmit_at = now + when;
    }

    /// A listener's child: Linux's `reqsk_timer_handler`, and `tcp_fastopen_synack_timer` where the
    /// program has it already.
    fn on_synack_timer(&mut self, now: Instant, sent: &mut [Sent], out: &mut Outcome) {
        self.noted.note(Mib::Timeouts);
        let early = self.is_early();
        let retries = self.synack_retries().min(self.timers.synack_limit);
        let (count, waits_for) = (self.timers.retransmits, self.timers.acked_waits);
        if count >= retries && count >= waits_for {
            self.noted.add(Mib::AbortOnTimeout, early.into());
            return self.fail(TcpError::TimedOut, out);
        }
        if early && count == 1 {
            self.enter_loss(now, sent);
            self.owes.rexmit = false;
        }
        // A peer whose ACK came once is asked again when its time is nearly over.
        self.owes.syn = count.saturating_add(1) >= waits_for;
        self.timers.retransmits = self.timers.retransmits.saturating_add(1);
        self.timers.total_rto = self.timers.total_rto.saturating_add(1);
        self.rtt.back_off();
        self.timers.rexmit_at = now + self.rtt.rto();
    }

    /// How often a listener's child repeats its SYN-ACK.
    pub fn synack_retries(&self) -> u8 {
        match self.options.syncnt {
            0 => self
                .sysctl
                .tcp_synack_retries
                .saturating_add(self.is_early().into()),
            n => n,
        }
    }

    /// How often a listener's child has repeated its SYN-ACK when it gives up, if that is less than
    /// [`Tcb::synack_retries`].
    pub fn limit_synacks(&mut self, most: u8) {
        self.timers.synack_limit = most;
    }

    /// How often the timer of a listener's child has run out.
    pub fn synack_timeouts(&self) -> u8 {
        self.timers.retransmits
    }

    /// The segment that would complete the handshake ([`Tcb::would_complete`]) is passed over.
    /// `timeouts`: before as many no other ACK completes it (TCP_DEFER_ACCEPT), so that there is no
    /// use in asking for one (Linux: `acked`, `syn_ack_recalc`).
    pub fn handshake_waits(&mut self, timeouts: u8) {
        self.timers.acked_waits = timeouts;
    }

    // RFC 9293 MUST-22, MUST-23
    fn syn_expired(&self, now: Instant) -> bool {
        let retries = match self.options.syncnt {
            0 => self.sysctl.tcp_syn_retries,
            n => n,
        };
        let mut most = u32::from(retries);
        if self.state == State::SynSent {
            most += u32::from(self.sysctl.tcp_syn_linear_timeouts);
        }
        u32::from(self.timers.retransmits) >= most
            || self.retransmits_timed_out(now, u32::from(retries), MODEL_RTO_INIT_MS)
    }

    // RFC 9293 MUST-20, SHLD-11
    fn data_expired(&self, now: Instant) -> bool {
        let mut retries = u32::from(self.sysctl.tcp_retries2);
        if self.orphan {
            retries = self.orphan_retries(self.rtt.rto() < self.rtt.rto_max());
        }
        self.retransmits_timed_out(now, retries, MODEL_RTO_MIN_MS)
    }

    /// Linux's `tcp_rtx_probe0_timed_out`.
    fn closed_window_expired(&self, now: Instant) -> bool {
        let since = now.since(self.timers.retrans_stamp.unwrap_or(self.lsndtime));
        let mut limit = self.rtt.rto_max() * 2;
        if self.options.user_timeout > 0 {
            let user = millis(self.options.user_timeout);
            if since > user {
                return true;
            }
            limit = limit.min(user);
        }
        now.since(self.rcv_tstamp) > limit && since > limit
    }

    /// Linux's `tcp_orphan_retries`.
    fn orphan_retries(&self, alive: bool) -> u32 {
        let mut retries = u32::from(self.sysctl.tcp_orphan_retries);
        if self.soft_error.is_some() && !alive {
            retries = 0;
        }
        if retries == 0 && alive {
            // "8 corresponds to >100 seconds with minimal RTO of 200msec."
            retries = 8;
        }
        retries
    }

    /// Linux's `retransmits_timed_out`: retries are counted in time, as the time that so many
    /// doublings from the least RTO would take, since the first retransmission.
    fn retransmits_timed_out(&self, now: Instant, boundary: u32, base_ms: u64) -> bool {
        if self.timers.retransmits == 0 {
            return false;
        }
        let Some(since) = self.timers.retrans_stamp else {
            return false;
        };
        // RFC 9293 MUST-21
        let limit = match self.options.user_timeout {
            0 => self.model_timeout(boundary, base_ms),
            ms => u64::from(ms),
        };
        now.since(since) >= Duration::from_millis(limit)
    }

    /// Linux's `tcp_model_timeout`, milliseconds.
    pub(super) fn model_timeout(&self, boundary: u32, base_ms: u64) -> u64 {
        let max_ms = u64::from(self.options.rto_max_ms(&self.sysctl));
        let doublings = (max_ms / base_ms).max(1).ilog2();
        if boundary <= doublings {
            ((2u64 << boundary) - 1) * base_ms
        } else {
            ((2u64 << doublings) - 1) * base_ms + u64::from(boundary - doublings) * max_ms
        }
    }

    /// Linux's `tcp_probe_timer`.
    fn on_persist_timer(&mut self, now: Instant, out: &mut Outcome) {
        let waiting = self.snd_nxt.lt(self.snd_end) || (self.fin_queued && !self.fin_sent());
        if self.snd_una != self.snd_nxt || !waiting {
            self.timers.probes_out = 0;
            self.timers.probes_at = None;
            return;
        }
        match self.timers.probes_at {
            None => self.timers.probes_at = Some(now),
            Some(since) => {
                let user = self.options.user_timeout;
                if user > 0 && now.since(since) >= millis(user) {
                    return self.timed_out(out);
                }
            }
        }
        // RFC 9293, section 3.8.6.1: a connection stays open as long as probes are answered;
        // their answers reset `probes_out`.
        // RFC 9293 MUST-37
        let mut most = u32::from(self.sysctl.tcp_retries2);
        if self.orphan {
            let alive = self.probe_interval() < self.rtt.rto_max();
            most = self.orphan_retries(alive);
            if !alive && u32::from(self.timers.backoff) >= most {
                return self.timed_out(out);
            }
        }
        if u32::from(self.timers.probes_out) >= most {
            return self.timed_out(out);
        }
        self.owes.probe = true;
        self.timers.probes_out = self.timers.probes_out.saturating_add(1);
        if self.timers.backoff < self.sysctl.tcp_retries2 {
            self.timers.backoff += 1;
        }
        self.arm_persist(now);
    }

    // RFC 9293 MUST-27, MUST-28
    pub(super) fn keepidle(&self) -> Duration {
        secs(match self.options.keepidle {
            0 => self.sysctl.tcp_keepalive_time,
            n => n,
        })
    }

    /// (Re-)start keepalive for a connection that was just opened or whose options changed.
    pub(super) fn arm_keepalive(&mut self, now: Instant) {
        let idle = self.keepidle();
        let elapsed = self.idle_for(now);
        self.timers.long = Long::Keepalive;
        self.timers.long_at = now + idle.saturating_sub(elapsed);
    }

    /// How long nothing was heard of the peer.
    fn idle_for(&self, now: Instant) -> Duration {
        now.since(self.delack.lrcvtime.max(self.rcv_tstamp))
    }

    /// `options` was changed by the owner: re-arm keepalive, try to send what Nagle or CORK held.
    // RFC 9293 MUST-24, MUST-25
    pub fn options_changed(&mut self, now: Instant) {
        if let Some(algorithm) = self.options.congestion {
            let start = self.start_of_control(now);
            self.cc.choose(algorithm, &start);
        }
        let (least, most) = (
            self.options.rto_min_ms(&self.sysctl),
            self.options.rto_max_ms(&self.sysctl),
        );
        self.rtt = self.rtt.within(least, most);
        if !matches!(self.state, State::Closed | State::Listen | State::SynSent) {
            self.note_pacing();
        }
        if matches!(
            self.state,
            State::Closed | State::Listen | State::SynSent | State::TimeWait
        ) || self.timers.long != Long::Keepalive
        {
            return;
        }
        if self.options.keepalive {
            self.arm_keepalive(now);
        } else {
            self.timers.long_at = Instant::NEVER;
        }
    }

    /// Linux's `tcp_keepalive_timer`.
    // RFC 9293 MUST-26, MUST-29
    fn on_keepalive_timer(&mut self, now: Instant, out: &mut Outcome) {
        if !self.options.keepalive || matches!(self.state, State::SynSent | State::TimeWait) {
            return;
        }
        let idle = self.keepidle();
        // Data in flight or queued finds out by itself.
        if self.snd_una != self.snd_nxt || self.snd_nxt.lt(self.snd_end) {
            self.timers.long_at = now + idle;
            return;
        }
        let elapsed = self.idle_for(now);
        if elapsed < idle {
            self.timers.long_at = now + (idle - elapsed);
            return;
        }
        let probes = match self.options.keepcnt {
            0 => self.sysctl.tcp_keepalive_probes,
            n => n,
        };
        let user = self.options.user_timeout;
        let dead = if user > 0 {
            elapsed >= millis(user) && self.timers.probes_out > 0
        } else {
            self.timers.probes_out >= probes
        };
        if dead {
            self.owes.rst = true;
            return self.timed_out(out);
        }
        self.owes.probe = true;
        self.timers.probes_out = self.timers.probes_out.saturating_add(1);
        let interval = match self.options.keepintvl {
            0 => self.sysctl.tcp_keepalive_intvl,
            n => n,
        };
        self.timers.long_at = now + secs(interval);
    }

    /// How long an orphan stays in FIN_WAIT_2 (Linux: `tcp_fin_time`).
    fn fin_wait_2_time(&self) -> Duration {
        let rto = self.rtt.rto();
        let set = match self.options.linger2 {
            n if n > 0 => n.unsigned_abs(),
            _ => self.sysctl.tcp_fin_timeout,
        };
        secs(set).max(rto * 4 - rto / 2)
    }

    fn fin_wait_2_excess(&self) -> Duration {
        self.fin_wait_2_time()
            .saturating_sub(secs(self.sysctl.time_wait))
    }

    /// An orphan is in FIN_WAIT_2.
    pub(super) fn arm_fin_wait_2(&mut self, now: Instant) {
        let excess = self.fin_wait_2_excess();
        (self.timers.long, self.timers.long_at) = if excess == Duration::from_secs(0) {
            self.note_stand_in(self.fin_wait_2_time());
            (Long::StandIn, now + self.fin_wait_2_time())
        } else {
            (Long::FinWait2, now + excess)
        };
    }

    /// Numbers alone are kept of the orphan from here on, for so long.
    fn note_stand_in(&mut self, time: Duration) {
        self.noted.note(match time <= secs(4) {
            true => Mib::TwKilled,
            false => Mib::Tw,
        });
    }

    /// An orphan of which Linux keeps but numbers (a `tcp_timewait_sock` of substate FIN_WAIT2).
    pub(super) fn is_stand_in(&self) -> bool {
        self.state == State::FinWait2 && self.orphan && self.timers.long == Long::StandIn
    }

    /// TIME_WAIT begins, or begins again.
    pub(super) fn arm_time_wait(&mut self, now: Instant) {
        self.timers.long = Long::TimeWait;
        self.timers.long_at = now + secs(self.sysctl.time_wait);
    }

    /// RFC 6069, section 4.2: an ICMP "unreachable" for the segment being retransmitted says
    /// that the path, not congestion, lost it: take one doubling back.
    pub(super) fn revert_backoff(&mut self, now: Instant) {
        if self.timers.retransmits == 0 || self.timers.backoff == 0 || !self.retransmit_armed() {
            return;
        }
        let armed_for = self.rtt.rto();
        let sent_at = self.timers.rexmit_at - armed_for;
        self.timers.backoff -= 1;
        self.rtt.set_backed_off(self.timers.backoff);
        self.timers.rexmit_at = (sent_at + self.rtt.rto()).max(now);
    }
}
