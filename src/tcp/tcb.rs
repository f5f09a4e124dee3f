//! The transmission control block: see [`Tcb`].

use super::congestion::Congestion;
use super::rtt::RttEstimator;
use super::sent::{Sent, SentList};
use super::{Events, Outcome, SeqNum, State, Sysctl, TcpError, TcpOptions};
use crate::time::Instant;

pub use super::info::{Info, TimerName};
pub use super::isn::{initial_seq, timestamp_offset};
pub use super::reset::reset_for;

/// One connection.
///
/// Plain data: it may be copied, and lives in shared memory. Sequence numbers and windows bear
/// their names of RFC 9293, section 3.3.1.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tcb {
    /// Where in the state diagram the connection is.
    pub state: State,
    /// The program's options; change them, then call [`Tcb::options_changed`].
    pub options: TcpOptions,
    /// The host's settings when the socket was made.
    pub sysctl: Sysctl,

    // --- who we are -------------------------------------------------------------------
    /// Opened by a peer's SYN (SYN_RECEIVED is then an embryonic child of a listener).
    // RFC 9293 MUST-11
    pub(super) passive: bool,
    /// No descriptor refers to it any more.
    pub(super) orphan: bool,
    /// The program shut down its receiving side (or closed).
    pub(super) rcv_shutdown: bool,
    /// Why it ended.
    pub(super) error: Option<TcpError>,
    /// What ICMP last said (RFC 1122, section 4.2.3.9): the error of a later time-out.
    pub(super) soft_error: Option<TcpError>,
    /// Segments that [`Tcb::poll_transmit`] owes.
    pub(super) owes: Owes,
    /// Clock offset of our timestamps.
    pub(super) ts_offset: u32,
    /// Timestamps were negotiated (RFC 7323, section 3.2).
    pub(super) ts_ok: bool,
    /// SACK was negotiated (RFC 2018, section 2).
    pub(super) sack_ok: bool,
    /// Window scaling was negotiated (RFC 7323, section 2.2).
    pub(super) wscale_ok: bool,
    pub(super) snd_wscale: u8,
    pub(super) rcv_wscale: u8,
    /// What our SYN says of it.
    pub(super) syn_wscale: u8,
    /// What the path allows a segment to carry, without options.
    pub(super) path_mss: u16,
    /// What IPv4's options take of that (Linux: `icsk_ext_hdr_len`).
    pub(super) ip_options: u16,
    /// What the peer's SYN allows, without options.
    pub(super) mss_clamp: u16,
    /// What our SYN says; less timestamps once they are agreed.
    pub(super) advmss: u16,
    /// The size of full segments we send, less timestamps (Linux: `mss_cache`).
    pub(super) snd_mss: u16,

    // --- send sequence space ----------------------------------------------------------
    pub(super) iss: SeqNum,
    pub(super) snd_una: SeqNum,
    pub(super) snd_nxt: SeqNum,
    /// Just after the last byte the program wrote. A FIN takes the number itself.
    pub(super) snd_end: SeqNum,
    /// The last byte of the last short segment sent (Minshall's Nagle).
    pub(super) snd_sml: SeqNum,
    /// The end of urgent data; equals `snd_una` when there is none.
    pub(super) snd_up: SeqNum,
    /// Up to here a PSH went out.
    pub(super) snd_pushed: SeqNum,
    /// Half the peer's largest window when the program wrote last.
    pub(super) snd_half: u32,
    /// Several segments may go as one (GSO).
    pub(super) gso: bool,
    /// Where the last write ended that was to be pushed: a segment that ends there has a PSH,
    /// unless more was written behind it before it went.
    pub(super) snd_psh: SeqNum,
    /// The end of the first unsent buffer that is to be pushed (in Linux an sk_buff with PSH), if
    /// it is beyond `snd_nxt`: it keeps its PSH while the same write fills it further, and when
    /// others follow it.
    pub(super) snd_mark: SeqNum,
    /// Where the last write ended that was pushed, but has lost its PSH to what was appended: half a
    /// window counts from there.
    pub(super) snd_moved: SeqNum,
    /// No segment crosses this, if it is beyond `snd_nxt` (MSG_EOR).
    pub(super) snd_record: SeqNum,
    // RFC 9293 MUST-1, REC-1
    pub(super) snd_wnd: u32,
    pub(super) snd_wl1: SeqNum,
    /// The largest window the peer ever offered.
    pub(super) max_window: u32,
    /// How urgently what was written last is to go.
    pub(super) push: Push,
    /// The program is done writing: a FIN follows `snd_end`.
    pub(super) fin_queued: bool,

    // --- receive sequence space -------------------------------------------------------
    /// The peer's FIN was reached (it is counted in `rcv_nxt`).
    pub(super) fin_received: bool,
    /// The peer's FIN came, perhaps ahead of its turn, with this number.
    pub(super) fin_at: Option<SeqNum>,
    pub(super) irs: SeqNum,
    pub(super) rcv_nxt: SeqNum,
    /// The window as last advertised, from `rcv_wup` on.
    pub(super) rcv_wnd: u32,
    /// `rcv_nxt` when the last ACK was sent (`Last.ACK.sent` of RFC 7323, section 4.3).
    pub(super) rcv_wup: SeqNum,
    /// The next byte the program will read.
    pub(super) copied_seq: SeqNum,
    /// The urgent pointer, made to point at the urgent byte.
    pub(super) rcv_up: Option<SeqNum>,
    pub(super) rcv_buf: u32,
    pub(super) rcv_buf_locked: bool,
    /// Payload in a buffer, in 256ths (Linux: `scaling_ratio`).
    pub(super) scaling_ratio: u8,
    /// The most the window may ever be.
    pub(super) window_clamp: u32,
    /// The most the window may be now; grows with data (Linux: `rcv_ssthresh`).
    pub(super) rcv_ssthresh: u32,
    /// Blocks held beyond `rcv_nxt`, for our SACK options.
    pub(super) rcv_sack: [(SeqNum, SeqNum); 4],
    pub(super) rcv_sack_len: u8,
    /// A duplicate to report (RFC 2883).
    pub(super) dsack: Option<(SeqNum, SeqNum)>,
    /// TS.Recent of RFC 7323, and when it was set.
    pub(super) ts_recent: u32,
    pub(super) ts_recent_at: Instant,
    pub(super) delack: super::delack::DelayedAck,
    pub(super) drs: super::window::Autotune,

    // --- loss recovery ----------------------------------------------------------------
    pub(super) rtt: RttEstimator,
    pub(super) cc: Congestion,
    pub(super) recovery: super::recovery::Recovery,
    pub(super) sent: SentList,
    pub(super) rack: super::rack::Rack,
    pub(super) rate: super::rate::Rate,
    pub(super) pacing: super::pacing::Pacing,
    pub(super) ecn: super::ecn::Ecn,
    pub(super) mtu: super::mtu::MtuSearch,
    pub(super) fast: super::fastopen::FastOpen,

    // --- timers -----------------------------------------------------------------------
    pub(super) timers: super::timers::Timers,
    /// When data was last sent; in a listener's child that is not open yet, the SYN+ACK.
    pub(super) lsndtime: Instant,
    /// When an acceptable ACK last came.
    pub(super) rcv_tstamp: Instant,
    /// When an out-of-window segment or a challenge was last answered (RFC 5961, section 7).
    pub(super) oow_at: Option<Instant>,

    // --- counters ---------------------------------------------------------------------
    pub(super) bytes_acked: u64,
    pub(super) bytes_received: u64,
    /// Segments, as they are on the wire.
    pub(super) segs_out: u32,
    pub(super) segs_in: u32,
    /// Those with payload.
    pub(super) data_segs_out: u32,
    pub(super) data_segs_in: u32,
    /// Those that came out of order.
    pub(super) rcv_ooopack: u32,
    pub(super) total_retrans: u32,
    pub(super) bytes_sent: u64,
    pub(super) bytes_retrans: u64,
    pub(super) busy: super::info::Busy,
    /// `snd_nxt` when the tail loss probe was sent (RFC 8985, section 7).
    pub(super) tail_end: SeqNum,
    /// See [`super::mib`].
    pub(super) noted: super::mib::Noted,
}

/// How urgently what was written last is to go; see [`Tcb::push`] and [`Tcb::app_wrote_more`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Push {
    #[default]
    Usual,
    /// At once, whatever Nagle and TCP_CORK say.
    Now,
    /// More will follow, and nothing has happened since it was written: less than a segment
    /// waits.
    Held,
}

/// Segments that are owed, apart from data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Owes {
    /// A SYN or SYN+ACK, for the first time or again.
    pub syn: bool,
    /// An ACK, now.
    pub ack: bool,
    /// The same, as a challenge: the host may know that there have been enough.
    pub challenge: bool,
    /// Before all else an ACK with these blocks, if any, which the segment in hand has changed
    /// (see [`Tcb::tell_held_back`]).
    pub early: Told,
    /// The RST of an abort.
    pub rst: bool,
    /// A probe: keepalive or of a closed window.
    pub probe: bool,
    /// One retransmission that the congestion window cannot hold back.
    pub rexmit: bool,
}

/// The blocks of a SACK option, a DSACK's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Told {
    pub blocks: [(SeqNum, SeqNum); 4],
    pub len: u8,
}

impl Tcb {
    /// A connection that is not there: CLOSED, nothing to send, no timer.
    pub fn closed() -> Tcb {
        let path = super::Path {
            mss: super::window::DEFAULT_MSS,
            header: 40,
            ip_options: 0,
            rcv_buf: 0,
            rcv_buf_locked: false,
            ts_offset: 0,
        };
        Tcb::new(
            Instant(0),
            SeqNum(0),
            path,
            TcpOptions::default(),
            &Sysctl::default(),
        )
    }

    /// Change state and say so.
    pub(super) fn enter(&mut self, state: State, out: &mut Outcome) {
        if self.state != state {
            self.state = state;
            out.events.add(Events::STATE);
        }
    }

    /// CLOSED: no timer, nothing owed but perhaps a RST.
    pub(super) fn done(&mut self, out: &mut Outcome) {
        self.enter(State::Closed, out);
        self.timers.stop();
        self.delack.cancel();
        self.owes = Owes {
            rst: self.owes.rst,
            ..Owes::default()
        };
        out.events.add(Events::CLOSED);
    }

    /// CLOSED because of `error`.
    pub(super) fn fail(&mut self, error: TcpError, out: &mut Outcome) {
        self.error = Some(error);
        out.events.add(Events::ERROR);
        self.done(out);
        // (Linux: `tcp_write_queue_purge`.)
        self.timers.backoff = 0;
    }

    /// Our FIN was sent (perhaps not acknowledged).
    pub(super) fn fin_sent(&self) -> bool {
        self.fin_queued && self.snd_nxt.gt(self.snd_end)
    }

    /// Our FIN was acknowledged.
    pub(super) fn fin_acked(&self) -> bool {
        self.fin_queued && self.snd_una.gt(self.snd_end)
    }

    /// Numbers written and not acknowledged, the FIN's among them, also when the connection is over
    /// (Linux: `write_seq` less `snd_una`).
    pub fn unacked_numbers(&self) -> u32 {
        self.send_queue() + u32::from(self.fin_queued && !self.fin_acked())
    }

    /// Our FIN waits to be sent.
    pub(super) fn fin_unsent(&self) -> bool {
        self.fin_queued && !self.fin_sent()
    }

    /// The program still holds the connection open for writing data.
    pub(super) fn can_queue(&self) -> bool {
        !self.fin_queued
            && matches!(
                self.state,
                State::SynSent | State::SynReceived | State::Established | State::CloseWait
            )
    }

    /// In-order bytes the program has not read.
    pub(super) fn unread(&self) -> u32 {
        let end = SeqNum(self.rcv_nxt.0.wrapping_sub(u32::from(self.fin_received)));
        end.diff(self.copied_seq).max(0).unsigned_abs()
    }

    /// Give the records of what was in flight back. To be called when the connection is CLOSED,
    /// and before it is dropped.
    pub fn forget_sent(&mut self, sent: &mut [Sent]) {
        self.sent.clear(sent);
    }

    /// Forget the records without touching them: they are another's, or free.
    pub fn lose_sent(&mut self) {
        self.sent = SentList::default();
    }

    /// Claim the records, after [`super::forget_records`]; false if the list is broken.
    pub fn claim_sent(&self, sent: &mut [Sent]) -> bool {
        self.sent.claim(sent)
    }

    /// How many records the connection has; or what is wrong with them.
    pub fn check_sent(&self, sent: &[Sent]) -> Result<u32, String> {
        let una = if self.snd_una == self.iss {
            // A SYN's own data has no record; what an early connection sends has.
            if self.is_early() {
                self.snd_nxt.min(self.iss + 1)
            } else {
                self.snd_nxt
            }
        } else {
            self.snd_una
        };
        if self.state == State::Closed {
            return Ok(self.sent.records());
        }
        self.sent.check(sent, una, self.snd_nxt)
    }

    /// The error that ended the connection.
    pub fn error(&self) -> Option<TcpError> {
        self.error
    }

    /// The soft error that was recorded, once (Linux: `sk_err_soft`).
    pub fn take_soft_error(&mut self) -> Option<TcpError> {
        self.soft_error.take()
    }

    /// Bytes of the send queue not yet acknowledged or not yet sent (FIN and SYN not counted).
    pub fn send_queue(&self) -> u32 {
        self.snd_end - self.snd_una()
    }

    /// `snd_una` as a sequence number of payload: what offset 0 of the send queue stands for.
    pub fn snd_una(&self) -> SeqNum {
        if self.snd_una == self.iss {
            return self.iss + 1;
        }
        self.snd_una.min(self.snd_end)
    }

    /// `snd_nxt`.
    pub fn snd_nxt(&self) -> SeqNum {
        self.snd_nxt
    }

    /// `rcv_nxt`.
    pub fn rcv_nxt(&self) -> SeqNum {
        self.rcv_nxt
    }

    /// Linux's size_goal: what one sk_buff of the send queue is filled to
    /// (`tcp_xmit_size_goal`): as many full segments as one large packet and half the peer's
    /// window hold.
    pub fn size_goal(&self) -> u32 {
        /// 64 KiB less the room Linux keeps for headers.
        const GSO_MAX: u32 = 65_536 - 321;
        let half = match self.max_window {
            0 => GSO_MAX,
            w if w > u32::from(super::window::DEFAULT_MSS) => w / 2,
            w => w,
        };
        let mss = self.current_mss();
        // (Nothing is known of the peer yet where a SYN takes data.)
        if !self.gso && self.max_window > 0 {
            return mss;
        }
        (half.min(GSO_MAX) / mss).max(1) * mss
    }

    /// What the path allows a segment to carry, without options.
    pub fn path_mss(&self) -> u16 {
        self.path_mss
    }

    /// Bytes of IPv4's options in each packet.
    pub fn ip_options(&self) -> u16 {
        self.ip_options
    }

    /// A list of IPv4 options takes the place of another; in bytes. (On a connection of IPv6, Linux
    /// counts only those that are set while it lasts, and takes off what it has not counted.)
    pub fn change_ip_options(&mut self, old: u16, new: u16) {
        self.ip_options = self.ip_options.wrapping_sub(old).wrapping_add(new);
        self.sync_mss();
    }

    /// What our SYN says of the segments that we take: the path's MSS, or TCP_MAXSEG.
    pub fn advertised_mss(&self) -> u16 {
        self.advmss
    }

    /// The MSS that the peer's SYN told.
    pub fn mss_told(&self) -> u16 {
        self.fast.mss_told
    }

    /// The SYN went more than once.
    pub fn syn_was_repeated(&self) -> bool {
        self.timers.total_rto > 0
    }

    /// The MSS that the peer told, or ours where that is larger.
    pub fn largest_mss(&self) -> u16 {
        self.mss_clamp.max(self.snd_mss)
    }

    /// The MSS for sending, less timestamps.
    pub fn mss(&self) -> u16 {
        self.snd_mss
    }

    /// SO_RCVBUF as it is now: autotuning may have raised it.
    pub fn rcv_buf(&self) -> u32 {
        self.rcv_buf
    }

    /// The sequence number of the urgent byte, as Linux counts (one before where RFC 9293's
    /// pointer points).
    pub fn urgent_mark(&self) -> Option<SeqNum> {
        self.rcv_up
    }

    /// The peer's FIN was reached: nothing follows what is in the receive queue.
    pub fn peer_closed(&self) -> bool {
        self.fin_received
    }

    /// No descriptor refers to the connection any more ([`Tcb::close`] was called).
    pub fn is_orphan(&self) -> bool {
        self.orphan
    }

    /// A listener's child.
    pub fn is_passive(&self) -> bool {
        self.passive
    }

    /// The retransmission timer has run out since the last acknowledgment.
    pub fn has_timed_out(&self) -> bool {
        self.timers.retransmits > 0
    }

    /// The millisecond clock of our timestamps.
    // RFC 7323 S5.4-1, S5.4-2, S5.4-3, S4.1-2
    pub fn ts_now(&self, now: Instant) -> u32 {
        (now.millis() as u32).wrapping_add(self.ts_offset)
    }
}
