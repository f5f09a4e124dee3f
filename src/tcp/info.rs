//! The numbers behind TCP_INFO and `ss`.

use super::congestion::Start;
use super::timers::{Long, Pending};
use super::{State, Tcb};
use crate::time::Instant;

/// The numbers behind TCP_INFO, in the units of `struct tcp_info` (times: microseconds where
/// Linux has microseconds, milliseconds where it has milliseconds).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Info {
    /// Data on a SYN was taken (Fast Open).
    pub syn_data: bool,
    /// Why it was not, as Linux numbers the reasons.
    pub fastopen_client_fail: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    pub timestamps: bool,
    pub sack: bool,
    pub wscale_ok: bool,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub rto_us: u32,
    pub ato_us: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub advmss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub last_data_sent_ms: u32,
    pub last_data_recv_ms: u32,
    pub last_ack_recv_ms: u32,
    pub rcv_ssthresh: u32,
    pub rtt_us: u32,
    pub rttvar_us: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub reordering: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub data_segs_out: u32,
    pub data_segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt_us: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
    /// 0 Open, 1 Disorder, 2 CWR, 3 Recovery, 4 Loss.
    pub ca_state: u8,
    pub delivered: u32,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub busy_us: u64,
    pub rwnd_limited_us: u64,
    pub sndbuf_limited_us: u64,
    pub rcv_rtt_us: u32,
    pub delivered_ce: u32,
    pub rcv_ooopack: u32,
    pub total_rto_recoveries: u16,
    pub total_rto_time_ms: u32,
    pub ecn: bool,
    pub ecn_seen: bool,
    /// Bytes a second, as are the other rates.
    pub pacing_rate: u64,
    pub max_pacing_rate: u64,
    pub delivery_rate: u64,
    /// `delivery_rate` was limited by the program.
    pub app_limited: bool,
    pub total_rto: u16,
    /// Which timer runs, as `ss -o` names it (on, keepalive, timewait, persist), its
    /// remaining time in milliseconds and its retransmission count.
    pub timer: (TimerName, u32, u8),
}

/// `ss -o`'s names of timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub enum TimerName {
    #[default]
    Off,
    On,
    Keepalive,
    TimeWait,
    Persist,
}

/// What the time was spent on while there was something to send (Linux: `tcp_chrono`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Busy {
    /// Since when it is spent like this.
    since: Instant,
    state: Spent,
    /// Microseconds busy, and of these waiting for the peer's window, and for room in the send
    /// buffer.
    busy: u64,
    rwnd: u64,
    sndbuf: u64,
    /// The program was refused room in the send buffer (Linux: `SOCK_NOSPACE`).
    no_space: bool,
}

/// See [`Busy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Spent {
    #[default]
    Idle,
    Busy,
    /// The peer's window is closed.
    Window,
    /// All is sent, and the program waits for room in the send buffer.
    Buffer,
}

impl Busy {
    pub(super) fn spend(&mut self, now: Instant, state: Spent) {
        // What waits for room does so until there is some, or nothing is under way.
        let stays = self.state == Spent::Buffer && matches!(state, Spent::Busy | Spent::Window);
        if self.state != state && !stays {
            self.enter(now, state);
        }
    }

    fn enter(&mut self, now: Instant, state: Spent) {
        (self.busy, self.rwnd, self.sndbuf) = self.spent(now);
        self.since = now;
        self.state = state;
    }

    /// All that could be sent is sent, and no window held it back.
    pub(super) fn starved(&mut self, now: Instant) {
        if self.no_space {
            self.spend(now, Spent::Buffer);
        }
    }

    /// The program was refused room in the send buffer.
    pub(super) fn no_space(&self) -> bool {
        self.no_space
    }

    fn spent(&self, now: Instant) -> (u64, u64, u64) {
        let us = now.since(self.since).as_micros() as u64;
        let or_nothing = |is: Spent| if self.state == is { us } else { 0 };
        (
            self.busy + us - or_nothing(Spent::Idle),
            self.rwnd + or_nothing(Spent::Window),
            self.sndbuf + or_nothing(Spent::Buffer),
        )
    }
}

impl Tcb {
    /// The program was refused room in the send buffer, or there is some again.
    pub fn set_no_space(&mut self, now: Instant, none: bool) {
        self.busy.no_space = none;
        if !none && self.busy.state == Spent::Buffer {
            self.busy.enter(now, Spent::Busy);
        }
    }

    /// See [`Tcb::set_no_space`].
    pub fn has_no_space(&self) -> bool {
        self.busy.no_space()
    }

    /// The congestion window, in segments.
    pub fn snd_cwnd(&self) -> u32 {
        self.cc.cwnd()
    }

    /// As much is in flight as the congestion window allows.
    pub fn fills_cwnd(&self) -> bool {
        self.sent.in_flight() >= self.cc.cwnd()
    }

    /// How many congestion windows the send buffer is to hold.
    pub fn windows_to_buffer(&self) -> u32 {
        self.cc.windows_to_buffer()
    }

    /// BBR's bandwidth in bytes a second (low half, high half), its least round-trip time in
    /// microseconds, its gains for rate and window in 256ths; nothing for other algorithms.
    pub fn congestion_info(&self) -> Option<[u32; 5]> {
        self.cc.model(self.snd_mss.into())
    }

    /// What is known where congestion control begins.
    pub(super) fn start_of_control(&self, now: Instant) -> Start {
        Start {
            now,
            min_rtt_us: self.rtt.least(),
            srtt_us: self.rtt.srtt8 >> 3,
            delivered: self.recovery.delivered,
            mss: self.snd_mss.into(),
        }
    }

    /// What TCP_INFO tells.
    pub fn info(&self, now: Instant) -> Info {
        let mss = u32::from(self.snd_mss).max(1);
        let ms = |at: Instant| u32::try_from(now.since(at).as_millis()).unwrap_or(u32::MAX);
        let opened = self.snd_una != self.iss;
        Info {
            syn_data: self.fast_open_info().0,
            fastopen_client_fail: self.fast_open_info().1,
            retransmits: self.timers.retransmits,
            probes: self.timers.probes_out,
            backoff: self.timers.backoff,
            timestamps: self.ts_ok,
            sack: self.sack_ok,
            wscale_ok: self.wscale_ok,
            snd_wscale: self.snd_wscale,
            rcv_wscale: self.rcv_wscale,
            rto_us: self.rtt.rto,
            ato_us: self.delack.ato.saturating_mul(1000),
            snd_mss: mss,
            rcv_mss: u32::from(self.delack.rcv_mss),
            advmss: u32::from(self.advmss),
            unacked: self.unacked_packets(),
            sacked: self.sent.sacked_out,
            lost: self.sent.lost_out,
            retrans: self.sent.retrans_out,
            ca_state: self.recovery.ca as u8,
            last_data_sent_ms: ms(self.lsndtime),
            last_data_recv_ms: ms(self.delack.lrcvtime),
            last_ack_recv_ms: ms(self.rcv_tstamp),
            rcv_ssthresh: self.rcv_ssthresh,
            rtt_us: self.rtt.srtt8 >> 3,
            rttvar_us: match self.rtt.srtt8 {
                0 => 250_000,
                _ => self.rtt.mdev >> 2,
            },
            snd_ssthresh: self.cc.ssthresh(),
            snd_cwnd: self.cc.cwnd(),
            reordering: self.recovery.reordering,
            rcv_space: self.rcv_space(),
            total_retrans: self.total_retrans,
            bytes_acked: self.numbers_acked(),
            bytes_received: self.bytes_received + u64::from(self.fin_received),
            segs_out: self.segs_out,
            segs_in: self.segs_in,
            data_segs_out: self.data_segs_out,
            data_segs_in: self.data_segs_in,
            // With the FIN, if it waits.
            notsent_bytes: self.snd_end.diff(self.snd_nxt).max(0).unsigned_abs()
                + u32::from(self.fin_unsent()),
            min_rtt_us: match (self.rtt.srtt8, self.rtt.min_rtt) {
                (0, _) => u32::MAX,
                (_, us) => us.max(1),
            },
            // The SYN counts, too.
            delivered: self.recovery.delivered.wrapping_add(u32::from(opened)),
            delivered_ce: self.recovery.delivered_ce,
            rcv_rtt_us: self.drs.rtt8() >> 3,
            rcv_ooopack: self.rcv_ooopack,
            sndbuf_limited_us: self.busy.spent(now).2,
            total_rto_recoveries: self.timers.rto_recoveries.into(),
            total_rto_time_ms: self.timers.rto_time_ms + self.timers.rto_since.map_or(0, ms),
            dsack_dups: self.recovery.dsack_dups,
            reord_seen: self.recovery.reord_seen,
            bytes_sent: self.bytes_sent,
            bytes_retrans: self.bytes_retrans,
            busy_us: self.busy.spent(now).0,
            rwnd_limited_us: self.busy.spent(now).1,
            ecn: self.ecn.ok,
            ecn_seen: self.ecn.seen,
            pacing_rate: self.pacing_rate().unwrap_or_else(|| self.usual_rate()),
            max_pacing_rate: match self.options.max_pacing_rate {
                0 => u64::MAX,
                n => n,
            },
            delivery_rate: self.delivery_rate(),
            app_limited: self.rate.best_limited || self.rate.best.1 == 0,
            total_rto: self.timers.total_rto.into(),
            snd_wnd: self.snd_wnd,
            rcv_wnd: self.rcv_wnd,
            timer: self.timer(now),
        }
    }

    /// A SYN in flight is a packet, too.
    fn unacked_packets(&self) -> u32 {
        match self.state {
            State::SynSent | State::SynReceived => 1,
            _ => self.sent.packets_out,
        }
    }

    fn delivery_rate(&self) -> u64 {
        let (segs, us) = self.rate.best;
        match us {
            0 => 0,
            us => u64::from(segs) * u64::from(self.snd_mss) * 1_000_000 / u64::from(us),
        }
    }

    fn timer(&self, now: Instant) -> (TimerName, u32, u8) {
        let t = &self.timers;
        let left = |at: Instant| u32::try_from(at.since(now).as_millis()).unwrap_or(u32::MAX);
        if self.state == State::Closed {
            return (TimerName::Off, 0, 0);
        }
        if t.rexmit_at != Instant::NEVER {
            return match t.pending {
                Pending::Retransmit | Pending::LossProbe | Pending::Reorder => {
                    (TimerName::On, left(t.rexmit_at), t.retransmits)
                }
                Pending::Persist => (TimerName::Persist, left(t.rexmit_at), t.probes_out),
            };
        }
        if t.long_at == Instant::NEVER {
            return (TimerName::Off, 0, 0);
        }
        match t.long {
            Long::Keepalive => (TimerName::Keepalive, left(t.long_at), t.probes_out),
            Long::FinWait2 | Long::StandIn | Long::TimeWait => {
                (TimerName::TimeWait, left(t.long_at), 0)
            }
        }
    }
}
