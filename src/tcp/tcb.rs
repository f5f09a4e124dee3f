//! The transmission control block: see [`Tcb`].

use super::{
    Outcome, Path, RecvQueue, Segment, SeqNum, State, Sysctl, TcpError, TcpOptions, Transmit,
};
use crate::time::Instant;

/// One connection.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tcb {
    /// Where in the state diagram the connection is.
    pub state: State,
    /// The program's options; change them, then call [`Tcb::options_changed`].
    pub options: TcpOptions,
    /// The host's settings when the socket was made.
    pub sysctl: Sysctl,
}

impl Tcb {
    /// A connection that is not there: CLOSED, nothing to send, no timer.
    pub fn closed() -> Tcb {
        todo!()
    }

    /// An active open: SYN_SENT with a SYN to be polled.
    pub fn connect(_now: Instant, _iss: SeqNum, _path: Path, _o: TcpOptions, _s: &Sysctl) -> Tcb {
        todo!()
    }

    /// A passive open: SYN_RECEIVED for `syn`, with a SYN+ACK to be polled.
    pub fn accept(
        _now: Instant,
        _iss: SeqNum,
        _path: Path,
        _o: TcpOptions,
        _s: &Sysctl,
        _syn: &Segment,
    ) -> Tcb {
        todo!()
    }

    /// Process a segment of this connection. `rx` keeps its payload.
    pub fn on_segment(
        &mut self,
        _now: Instant,
        _seg: &Segment,
        _rx: &mut impl RecvQueue,
    ) -> Outcome {
        todo!()
    }

    /// An ICMP error whose quoted header has sequence number `quoted`. `hard`: what RFC 1122
    /// calls a hard error (port or protocol unreachable ...): it ends SYN_SENT and
    /// SYN_RECEIVED; everything else is soft. A sequence number not in flight is ignored
    /// (RFC 5927).
    pub fn on_icmp(
        &mut self,
        _now: Instant,
        _error: TcpError,
        _hard: bool,
        _quoted: SeqNum,
    ) -> Outcome {
        todo!()
    }

    /// ICMP "fragmentation needed"/"packet too big": lower the MSS to what `mtu_mss` allows.
    pub fn on_packet_too_big(&mut self, _now: Instant, _mtu_mss: u16, _quoted: SeqNum) {
        todo!()
    }

    /// Run the timers that are due.
    pub fn on_timer(&mut self, _now: Instant) -> Outcome {
        todo!()
    }

    /// When [`Tcb::on_timer`] must be called next; [`Instant::NEVER`] if no timer runs.
    pub fn deadline(&self) -> Instant {
        todo!()
    }

    /// The next segment to send, if any. `max_payload` bounds its payload (several MSS, for
    /// TSO); 0 means one MSS.
    pub fn poll_transmit(&mut self, _now: Instant, _max_payload: u32) -> Option<Transmit> {
        todo!()
    }

    /// The program appended `n` bytes to the send queue.
    pub fn app_wrote(&mut self, _now: Instant, _n: u32) {
        todo!()
    }

    /// `n` bytes were written with MSG_OOB: the urgent pointer is now at their end.
    pub fn app_wrote_urgent(&mut self, _now: Instant, _n: u32) {
        todo!()
    }

    /// The program took `n` bytes from the receive queue: the window may open.
    pub fn app_read(&mut self, _now: Instant, _n: u32) {
        todo!()
    }

    /// The program's SO_RCVBUF (as stored) changed.
    pub fn set_rcv_buf(&mut self, _bytes: u32) {
        todo!()
    }

    /// `options` was changed by the owner: re-arm keepalive, try to send what Nagle or CORK held.
    pub fn options_changed(&mut self, _now: Instant) {
        todo!()
    }

    /// shutdown(SHUT_WR): FIN after the queued data.
    pub fn shutdown_write(&mut self, _now: Instant) {
        todo!()
    }

    /// The last descriptor is gone. With `unread` data a RST goes out and the state is CLOSED;
    /// else FIN after the queued data, and the connection is an orphan (tcp_orphan_retries,
    /// FIN_WAIT_2's time limit). SO_LINGER with 0 seconds is [`Tcb::abort`].
    pub fn close(&mut self, _now: Instant, _unread: bool) {
        todo!()
    }

    /// ABORT (RFC 9293, section 3.10.5): RST to be polled, CLOSED at once.
    pub fn abort(&mut self, _now: Instant) {
        todo!()
    }

    /// The error that ended the connection, or a soft error that was recorded.
    pub fn error(&self) -> Option<TcpError> {
        todo!()
    }

    /// Bytes of the send queue not yet acknowledged or not yet sent (FIN and SYN not counted).
    pub fn send_queue(&self) -> u32 {
        todo!()
    }

    /// `snd_una` as a sequence number of payload: what offset 0 of the send queue stands for.
    pub fn snd_una(&self) -> SeqNum {
        todo!()
    }

    /// `snd_nxt`.
    pub fn snd_nxt(&self) -> SeqNum {
        todo!()
    }

    /// `rcv_nxt`.
    pub fn rcv_nxt(&self) -> SeqNum {
        todo!()
    }

    /// Linux's size_goal: what one sk_buff of the send queue is filled to.
    pub fn size_goal(&self) -> u32 {
        todo!()
    }

    /// The MSS for sending, less timestamps.
    pub fn mss(&self) -> u16 {
        todo!()
    }

    /// What TCP_INFO tells.
    pub fn info(&self, _now: Instant) -> Info {
        todo!()
    }
}

/// The numbers behind TCP_INFO, in the units of `struct tcp_info` (times: microseconds where
/// Linux has microseconds, milliseconds where it has milliseconds).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct Info {
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
    pub notsent_bytes: u32,
    pub min_rtt_us: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
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

/// The RST that answers a segment for which there is no connection (RFC 9293, section
/// 3.10.7.1); none for a RST.
pub fn reset_for(_seg: &Segment) -> Option<Segment> {
    todo!()
}

/// The initial sequence number of RFC 6528: a keyed hash of the 4-tuple plus a clock of 4 us
/// (Linux: 64 ns) ticks. `key` is the host's secret; `tuple` the addresses and ports in bytes.
pub fn initial_seq(_now: Instant, _key: &[u8; 16], _tuple: &[u8]) -> SeqNum {
    todo!()
}

/// The offset of a connection's timestamps (RFC 7323, section 5.4), by the same key.
pub fn timestamp_offset(_key: &[u8; 16], _addresses: &[u8]) -> u32 {
    todo!()
}
