//! Opening: SYN, SYN+ACK, what they agree on (RFC 9293, section 3.5).

use super::congestion::Congestion;
use super::cookie::Agreed;
use super::delack::DelayedAck;
use super::mib::Mib;
use super::recovery::Recovery;
use super::rtt::RttEstimator;
use super::sent::SentList;
use super::tcb::{Owes, Push};
use super::timers::Timers;
use super::window::{self, Autotune, DEFAULT_MSS, MAX_WSCALE};
use super::{Events, Outcome, Path, Segment, SeqNum, State, Sysctl, Tcb, TcpOptions};
use crate::time::Instant;

/// What timestamps take of each segment (RFC 7323, appendix A).
pub(super) const TIMESTAMPS_LEN: u16 = 12;
/// No segment is smaller, whatever the settings: timestamps and a word of data.
pub(super) const LEAST_MSS: u16 = TIMESTAMPS_LEN + 8;

impl Tcb {
    /// An active open: SYN_SENT with a SYN to be polled.
    pub fn connect(now: Instant, iss: SeqNum, path: Path, o: TcpOptions, s: &Sysctl) -> Tcb {
        let mut tcb = Tcb::new(now, iss, path, o, s);
        tcb.state = State::SynSent;
        tcb.wscale_ok = s.tcp_window_scaling != 0;
        tcb.choose_window(u32::from(tcb.advmss));
        tcb.owes.syn = true;
        tcb
    }

    /// A passive open: SYN_RECEIVED for `syn`, with a SYN+ACK to be polled.
    pub fn accept(
        now: Instant,
        iss: SeqNum,
        path: Path,
        o: TcpOptions,
        s: &Sysctl,
        syn: &Segment,
    ) -> Tcb {
        let mut tcb = Tcb::new(now, iss, path, o, s);
        tcb.passive = true;
        tcb.state = State::SynReceived;
        tcb.wscale_ok = s.tcp_window_scaling != 0;
        tcb.take_syn_options(now, syn);
        tcb.ecn_asked(syn);
        let timestamps = if tcb.ts_ok { TIMESTAMPS_LEN } else { 0 };
        tcb.choose_window(u32::from(tcb.advmss.saturating_sub(timestamps)));
        if !tcb.wscale_ok {
            tcb.without_scaling();
        }
        tcb.take_syn(syn);
        // The window of a SYN is never scaled (RFC 7323, section 2.2).
        // RFC 7323 S2.2-3
        tcb.max_window = u32::from(syn.window);
        tcb.owes.syn = true;
        tcb
    }

    /// The SYN+ACK of this passive open went out long ago, as a cookie: only the ACK that came
    /// back is known. `mss` is what the cookie tells of the peer's segments: from it Linux chooses
    /// the window anew.
    pub fn cookie_came_back(&mut self, mss: u16) {
        self.owes.syn = false;
        self.snd_nxt = self.iss + 1;
        self.choose_window(u32::from(mss));
        if !self.wscale_ok {
            self.without_scaling();
        }
    }

    /// What a cookie must keep of the handshake.
    pub fn agreed(&self) -> Agreed {
        Agreed {
            scale: self.wscale_ok.then_some(self.snd_wscale),
            sack: self.sack_ok,
            ecn: self.ecn.ok,
        }
    }

    pub(super) fn new(now: Instant, iss: SeqNum, path: Path, o: TcpOptions, s: &Sysctl) -> Tcb {
        let Path {
            mss,
            header,
            ip_options,
            rcv_buf,
            rcv_buf_locked,
            ts_offset,
        } = path;
        let advmss = match o.maxseg {
            0 => mss,
            set => set.min(mss),
        };
        Tcb {
            state: State::Closed,
            options: o,
            sysctl: *s,
            passive: false,
            orphan: false,
            rcv_shutdown: false,
            error: None,
            soft_error: None,
            owes: Owes::default(),
            ts_offset,
            ts_ok: false,
            sack_ok: false,
            wscale_ok: false,
            snd_wscale: 0,
            rcv_wscale: 0,
            syn_wscale: 0,
            path_mss: mss,
            ip_options,
            mss_clamp: DEFAULT_MSS,
            advmss,
            snd_mss: mss.min(DEFAULT_MSS),
            iss,
            snd_una: iss,
            snd_nxt: iss,
            snd_end: iss + 1,
            snd_sml: iss,
            snd_up: iss,
            snd_pushed: iss,
            snd_half: 0,
            gso: false,
            snd_psh: iss,
            snd_mark: iss,
            snd_moved: iss,
            snd_record: iss,
            snd_wnd: 0,
            snd_wl1: SeqNum(0),
            max_window: 0,
            push: Push::Usual,
            fin_queued: false,
            fin_received: false,
            fin_at: None,
            irs: SeqNum(0),
            rcv_nxt: SeqNum(0),
            rcv_wnd: 0,
            rcv_wup: SeqNum(0),
            copied_seq: SeqNum(0),
            rcv_up: None,
            rcv_buf,
            rcv_buf_locked,
            scaling_ratio: window::DEFAULT_RATIO,
            window_clamp: 0,
            rcv_ssthresh: 0,
            rcv_sack: [(SeqNum(0), SeqNum(0)); 4],
            rcv_sack_len: 0,
            dsack: None,
            ts_recent: 0,
            ts_recent_at: now,
            delack: DelayedAck::new(now),
            drs: Autotune::default(),
            rtt: RttEstimator::new(o.rto_min_ms(s), o.rto_max_ms(s)),
            cc: Congestion::new(o.congestion.unwrap_or(s.tcp_congestion_control)),
            recovery: Recovery::new(iss, s.tcp_reordering.into()),
            sent: SentList::default(),
            rack: super::rack::Rack::default(),
            rate: super::rate::Rate::default(),
            pacing: super::pacing::Pacing::default(),
            ecn: super::ecn::Ecn::default(),
            mtu: super::mtu::MtuSearch {
                header,
                high: u32::MAX,
                ..Default::default()
            },
            fast: super::fastopen::FastOpen::default(),
            timers: Timers::OFF,
            lsndtime: now,
            rcv_tstamp: now,
            oow_at: None,
            bytes_acked: 0,
            bytes_received: 0,
            segs_out: 0,
            segs_in: 0,
            data_segs_out: 0,
            data_segs_in: 0,
            rcv_ooopack: 0,
            total_retrans: 0,
            bytes_sent: 0,
            bytes_retrans: 0,
            busy: super::info::Busy::default(),
            tail_end: iss,
            noted: super::mib::Noted::NONE,
        }
    }

    /// The MSS of a peer whose SYN tells none: 536, unless this is called with 1220 for IPv6
    /// (RFC 9293, section 3.7.1) straight after [`Tcb::connect`], or after [`Tcb::accept`] of a
    /// SYN that tells none.
    // RFC 9293 MUST-15
    pub fn set_default_mss(&mut self, mss: u16) {
        if self.mss_clamp == DEFAULT_MSS {
            self.mss_clamp = mss;
            self.sync_mss();
        }
    }

    pub(super) fn choose_window(&mut self, mss: u32) {
        let space = window::win_from_space(self.rcv_buf, self.scaling_ratio);
        let mut clamp = self.options.window_clamp;
        if self.rcv_buf_locked && (clamp == 0 || clamp > space) {
            clamp = space.max(1);
        }
        let limits = (self.sysctl.tcp_rmem[2], self.sysctl.rmem_max);
        // RFC 7323 S2.3-5
        let chosen = window::select_initial_window(space, mss, clamp, self.wscale_ok, limits);
        self.rcv_wnd = chosen.wnd;
        self.rcv_ssthresh = chosen.wnd;
        self.window_clamp = chosen.clamp;
        self.rcv_wscale = chosen.wscale;
        self.syn_wscale = chosen.wscale;
    }

    fn without_scaling(&mut self) {
        self.wscale_ok = false;
        self.snd_wscale = 0;
        self.rcv_wscale = 0;
        self.window_clamp = self.window_clamp.min(65_535);
    }

    /// What both sides want is agreed.
    pub(super) fn take_syn_options(&mut self, now: Instant, seg: &Segment) {
        let o = &seg.options;
        // RFC 9293 MUST-14
        self.fast.mss_told = self.mss_clamp;
        if let Some(mss) = o.mss.filter(|&mss| mss > 0) {
            self.fast.mss_told = mss;
            self.mss_clamp = match self.options.maxseg {
                0 => mss,
                set => set.min(mss),
            };
        }
        match o.wscale {
            // RFC 7323, section 2.3: more than 14 is taken for 14.
            // RFC 7323 S2.2-1, S2.3-2, S2.3-6
            Some(shift) if self.wscale_ok => self.snd_wscale = shift.min(MAX_WSCALE),
            _ => self.without_scaling(),
        }
        self.sack_ok = o.sack_permitted && self.sysctl.tcp_sack != 0;
        if let Some((tsval, _)) = o.timestamps
            && self.sysctl.tcp_timestamps != 0
        {
            // RFC 7323 S3.2-10
            self.ts_ok = true;
            self.ts_recent = tsval;
            self.ts_recent_at = now;
        }
    }

    /// The peer's SYN counts: numbers and (unscaled) window.
    pub(super) fn take_syn(&mut self, seg: &Segment) {
        self.irs = seg.seq;
        self.rcv_nxt = seg.seq + 1;
        self.rcv_wup = self.rcv_nxt;
        self.copied_seq = self.rcv_nxt;
        self.drs_start();
        self.snd_wl1 = seg.seq;
        self.snd_wnd = u32::from(seg.window);
    }

    fn drs_start(&mut self) {
        self.drs = Autotune::default();
    }

    /// The size of our segments follows path, peer, options and window (Linux: `tcp_sync_mss`).
    // RFC 9293 MUST-16
    pub(super) fn sync_mss(&mut self) {
        let floor = self.sysctl.tcp_min_snd_mss.max(LEAST_MSS);
        let mss = self.path_mss.min(self.mss_clamp);
        let mut mss = mss.saturating_sub(self.ip_options).max(floor);
        if self.ts_ok {
            mss -= TIMESTAMPS_LEN;
        }
        // Linux's `tcp_bound_to_half_wnd`: a window should hold two segments, unless it is tiny.
        let half = if self.max_window > u32::from(DEFAULT_MSS) {
            self.max_window / 2
        } else {
            self.max_window
        };
        if half > 0 && u32::from(mss) > half {
            mss = (half as u16).max(48 - if self.ts_ok { TIMESTAMPS_LEN } else { 0 });
        }
        self.snd_mss = self.bound_by_search(mss);
    }

    /// How many SYNs or SYN+ACKs seem to have been lost, now that `seg` acknowledges one.
    fn syns_lost(&mut self, seg: &Segment) -> u32 {
        let again = u32::from(self.timers.retransmits);
        if again == 0 {
            // Timeouts that sent nothing (TCP_DEFER_ACCEPT) don't count, nor does what the peer's SYN
            // brought again, unless there was one.
            return 0;
        }
        let lost = if self.passive {
            self.total_retrans
        } else {
            again
        };
        if self.is_early() {
            return lost;
        }
        // The first was only late, as the echo of its timestamp says (RFC 3522; Linux:
        // `tcp_try_undo_spurious_syn`).
        let echo = seg.options.timestamps.filter(|_| self.ts_ok).map(|t| t.1);
        let late = echo.is_some() && echo == self.timers.retrans_stamp.map(|t| self.ts_now(t));
        // Where both opened Linux undoes the timeout if there are SACKs, whatever was echoed.
        let crossed = self.state == State::SynReceived && !self.passive && self.sack_ok;
        self.noted.add(Mib::LossUndo, crossed.into());
        if late || crossed { 0 } else { lost }
    }

    /// The handshake is complete (RFC 9293, section 3.10.7.3 and 3.10.7.4).
    pub(super) fn establish(&mut self, now: Instant, seg: &Segment, out: &mut Outcome) {
        if self.ts_ok {
            self.advmss = self.advmss.saturating_sub(TIMESTAMPS_LEN);
        }
        if !self.passive {
            self.start_mtu_search(now);
        }
        self.sync_mss();
        if self.passive {
            // Linux begins the search here, and lets it count when the size is set the next time.
            self.start_mtu_search(now);
        }
        self.init_rcv_mss();
        self.init_buffer_space(now);
        if self.rtt.srtt8 == 0 {
            // RFC 6298, section 5.7.
            // RFC 6298 S5.7-1
            self.rtt.fall_back();
        }
        // RFC 5681, section 3.1: a lost SYN means a small start. Linux forgives one.
        // RFC 5681 S3.1-3, S3.1-4
        // RFC 6928 S2-1
        if self.syns_lost(seg) > 1 {
            self.cc.start_small();
        }
        if !self.passive {
            self.cc.on_syn_acked();
        }
        self.timers.retransmits = 0;
        self.timers.backoff = 0;
        self.timers.retrans_stamp = None;
        self.timers.rexmit_at = Instant::NEVER;
        self.owes.syn = false;
        if self.passive {
            // Linux's connection begins here: the SYN+ACK was the listener's.
            (self.segs_out, self.segs_in) = (0, 2);
        }
        self.delack.lrcvtime = now;
        self.rcv_tstamp = now;
        self.lsndtime = now;
        self.snd_up = self.snd_una.max(self.snd_up);
        self.snd_sml = self.snd_una;
        self.snd_pushed = self.snd_una;
        // What was written for the SYN to carry (Fast Open) is still to be pushed.
        self.snd_psh = self.snd_una.max(self.snd_psh);
        self.snd_mark = self.snd_psh;
        self.snd_moved = self.snd_psh;
        self.snd_record = self.snd_una;
        // What Fast Open sent before may be lost already.
        if !self.is_early() || self.sent.packets_out == 0 {
            self.recovery = Recovery::new(self.snd_una, self.sysctl.tcp_reordering.into());
        }
        self.cc.begin(&self.start_of_control(now));
        self.note_pacing();
        self.soft_error = None;
        self.enter(State::Established, out);
        out.events.add(Events::CONNECTED);
        if self.options.keepalive {
            self.arm_keepalive(now);
        }
        if self.fin_queued {
            // A close before the handshake was complete waits until now.
            self.enter(State::FinWait1, out);
        }
    }
}
