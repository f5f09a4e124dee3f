//! One TCP connection (RFC 9293), sans-IO: segments and `now` in, segments and deadlines out.
//!
//! A [`Tcb`] knows sequence numbers, never bytes: its owner keeps the payload. The send queue
//! is the run of bytes from `snd_una` on; [`Transmit::offset`] points into it and
//! [`Outcome::acked`] says how many to drop from its front. Received payload is handed to a
//! [`RecvQueue`], which keeps it and puts it in order.
//!
//! A `Tcb` is plain data (`Copy`, no pointers, no heap): it lives in shared memory.
//!
//! The model is RFC 9293 with RFC 1122, 2018, 2883, 3042, 3168, 3522, 4015, 5681, 5682, 5961,
//! 6069, 6298, 6528, 6582, 6937, 7323, 8985, 9406 and 9438; where Linux (6.18) differs from
//! them, Linux. Known to differ from Linux:
//!
//! - what goes beyond the window is trimmed, where Linux may drop the segment;
//! - TCP_DEFER_ACCEPT is the host's: `stack/listen.rs`; so are Fast Open's cookies.
//!
//! The order of calls: any `on_*`, `app_*`, `close`... first; then [`Tcb::poll_transmit`] until
//! it gives `None`; then [`Tcb::deadline`] for the next [`Tcb::on_timer`].
#![forbid(unsafe_code)]

mod ack;
mod close;
pub mod congestion;
pub mod cookie;
mod data;
mod delack;
mod ecn;
mod fastopen;
mod icmp;
mod info;
mod input;
mod isn;
pub mod mib;
mod mtu;
mod news;
mod open;
mod output;
mod pacing;
mod rack;
mod rate;
mod recovery;
mod resend;
mod reset;
mod rtt;
mod sack;
pub mod segment;
mod sent;
pub mod seq;
mod tail;
pub mod tcb;
mod time_wait;
mod timers;
mod undo;
mod window;

#[cfg(test)]
mod tests;

pub use fastopen::{Cookie, MAX_COOKIE, Verdict, parse_key};
pub use rate::RateSample;
pub use segment::{Flags, Options, Segment};
pub use sent::{Sent, forget_records, rebuild_records, records_in_use};
pub use seq::SeqNum;
pub use tcb::{Info, Tcb, TimerName, initial_seq, reset_for, timestamp_offset};
pub use time_wait::Former;

/// The states of RFC 9293, section 3.3.2. (`Listen` is kept here for the socket tables; a
/// listening socket has no `Tcb`.)
///
/// ```text
///        connect / SYN  +--------+   rcv SYN (at a listener) / SYN,ACK
///      +----------------| CLOSED |-----------------+
///      v                +--------+                 v
///  +----------+   rcv SYN / SYN,ACK         +--------------+
///  | SYN_SENT |---------------------------->| SYN_RECEIVED |
///  +----------+                             +--------------+
///      | rcv SYN,ACK / ACK                         | rcv ACK of SYN
///      |               +-------------+             |
///      +-------------->| ESTABLISHED |<------------+
///                      +-------------+
///          close / FIN    |       |    rcv FIN / ACK
///      +------------------+       +-------------------+
///      v                                              v
///  +------------+  rcv FIN / ACK  +---------+   +------------+
///  | FIN_WAIT_1 |---------------->| CLOSING |   | CLOSE_WAIT |
///  +------------+                 +---------+   +------------+
///      | rcv ACK of FIN                |              | close / FIN
///      v                               |              v
///  +------------+       rcv ACK of FIN |        +----------+
///  | FIN_WAIT_2 |                      |        | LAST_ACK |
///  +------------+                      v        +----------+
///      |   rcv FIN / ACK         +-----------+        | rcv ACK of FIN
///      +------------------------>| TIME_WAIT |        v
///                                +-----------+---> CLOSED
///                                      2 MSL
/// ```
///
/// A RST that is believed leads from every state but TIME_WAIT (see `tcp_rfc1337`) to CLOSED;
/// so do time-outs, [`Tcb::abort`], and [`Tcb::close`] with data unread. A FIN that also
/// acknowledges ours takes FIN_WAIT_1 straight to TIME_WAIT. A close in SYN_RECEIVED waits for
/// ESTABLISHED.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum State {
    #[default]
    Closed = 0,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

/// Why a connection ended, or what an ICMP message reported about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum TcpError {
    /// RST in SYN_SENT: ECONNREFUSED.
    Refused = 1,
    /// RST in CLOSE_WAIT: EPIPE.
    BrokenPipe,
    /// RST in any other synchronized state: ECONNRESET.
    Reset,
    /// No answer to retransmissions or keepalive probes: ETIMEDOUT.
    TimedOut,
    /// ICMP host unreachable: EHOSTUNREACH.
    HostUnreachable,
    /// ICMP network unreachable: ENETUNREACH.
    NetUnreachable,
    /// ICMP protocol unreachable: ENOPROTOOPT.
    ProtocolUnreachable,
    /// ICMP parameter problem: EPROTO.
    Protocol,
    /// ICMP administratively prohibited (v6): EACCES.
    Prohibited,
    /// The program aborted it: ECONNABORTED (an embryonic child of a closed listener).
    Aborted,
}

/// What happened, for the socket's owner; a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Events(pub u16);

impl Events {
    /// The three-way handshake is complete: SYN_SENT or SYN_RECEIVED became ESTABLISHED (or
    /// later, when the same segment carried a FIN).
    pub const CONNECTED: Events = Events(1);
    /// In-order payload was added to the receive queue.
    pub const READABLE: Events = Events(2);
    /// Payload was acknowledged; the send queue shrank.
    pub const ACKED: Events = Events(4);
    /// The peer's FIN was reached: end of file after the queued data.
    pub const PEER_FIN: Events = Events(8);
    /// [`Tcb::error`] was set; the connection is CLOSED.
    pub const ERROR: Events = Events(16);
    /// The state is now CLOSED and the `Tcb` may be dropped (if no descriptor refers to it).
    pub const CLOSED: Events = Events(32);
    /// An ICMP error was recorded as a soft error.
    pub const SOFT_ERROR: Events = Events(64);
    /// Urgent data arrived (the urgent pointer moved).
    pub const URGENT: Events = Events(128);
    /// The state changed in any way.
    pub const STATE: Events = Events(256);
    /// What Fast Open sends seems to be swallowed on the way.
    pub const FAST_OPEN_SWALLOWED: Events = Events(512);

    /// All bits of `other` are set.
    pub fn has(self, other: Events) -> bool {
        self.0 & other.0 == other.0
    }
    /// Add the bits of `other`.
    pub fn add(&mut self, other: Events) {
        self.0 |= other.0;
    }
}

/// What a segment, an ICMP message or a timer did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Payload bytes newly acknowledged: to be dropped from the front of the send queue.
    pub acked: u32,
    /// What the owner should know.
    pub events: Events,
    /// A RST that answers the segment (it is not the connection's: e.g. for a bad ACK in
    /// SYN_SENT or SYN_RECEIVED). Segments of the connection itself, its own abort RST
    /// included, come from [`Tcb::poll_transmit`].
    pub reset: Option<Segment>,
    /// TIME_WAIT only: the segment is a new SYN that may reuse the pair (RFC 9293, section
    /// 3.6.1; Linux's `tcp_timewait_state_process` gives TCP_TW_SYN). The owner drops this
    /// `Tcb` and gives the SYN to the listener with this as least initial sequence number.
    pub reopen: Option<SeqNum>,
}

/// Where received payload goes. The owner of the bytes implements it.
pub trait RecvQueue {
    /// Keep `len` bytes of the segment in hand, starting `skip` bytes into its payload; their
    /// first has sequence number `seq`, within the window. Overlaps with what is already kept
    /// are the queue's to trim. Returns the first sequence number at or after `rcv_nxt` that is
    /// still missing. A queue out of memory keeps nothing and returns `rcv_nxt`.
    fn insert(&mut self, rcv_nxt: SeqNum, seq: SeqNum, skip: u32, len: u32) -> SeqNum;

    /// The stream ends at `end`: forget what is held beyond it.
    fn cut(&mut self, end: SeqNum);

    /// The blocks held beyond `rcv_nxt`, the most recently changed first (RFC 2018, section
    /// 4): `out` comes with those told last time, in that order, and unused places empty.
    /// Returns how many were written.
    fn sack_blocks(&self, rcv_nxt: SeqNum, out: &mut [(SeqNum, SeqNum); 4]) -> usize;
}

/// A segment to send, and which bytes of the send queue it carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transmit {
    /// The header. `len` may be a multiple of `mss` for the link to cut (TSO); ports are the
    /// owner's to fill in.
    pub segment: Segment,
    /// Where its payload starts in the send queue, in bytes from `snd_una`.
    pub offset: u32,
    /// The size to cut payload to when `segment.len` exceeds it.
    pub mss: u16,
    /// These bytes were sent before.
    pub retransmit: bool,
}

/// Host-wide settings under their sysctl names (net.ipv4.*), copied at socket creation.
/// Times are milliseconds unless the name says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Sysctl {
    pub tcp_syn_retries: u8,
    pub tcp_synack_retries: u8,
    pub tcp_syn_linear_timeouts: u8,
    pub tcp_retries1: u8,
    pub tcp_retries2: u8,
    pub tcp_orphan_retries: u8,
    pub tcp_thin_linear_timeouts: u8,
    pub tcp_keepalive_probes: u8,
    pub tcp_max_orphans: u32,
    pub tcp_max_tw_buckets: u32,
    pub tcp_timestamps: u8,
    pub tcp_window_scaling: u8,
    pub tcp_sack: u8,
    pub tcp_reordering: u8,
    pub tcp_max_reordering: u32,
    pub tcp_recovery: u8,
    /// Short segments that go again go together.
    pub tcp_retrans_collapse: u8,
    pub tcp_early_retrans: u8,
    pub tcp_frto: u8,
    pub tcp_ecn: u8,
    pub tcp_ecn_fallback: u8,
    pub tcp_congestion_control: congestion::Algorithm,
    pub tcp_comp_sack_nr: u8,
    /// Percent of the window in a round trip: how fast at most in slow start, and afterwards.
    pub tcp_pacing_ss_ratio: u32,
    pub tcp_pacing_ca_ratio: u32,
    pub tcp_comp_sack_delay_ns: u32,
    pub tcp_notsent_lowat: u32,
    pub tcp_min_tso_segs: u8,
    pub tcp_tso_rtt_log: u8,
    pub tcp_slow_start_after_idle: u8,
    pub tcp_dsack: u8,
    /// So far apart are answers to what is out of window, and challenges.
    pub tcp_invalid_ratelimit: u32,
    /// About so many challenge ACKs of all connections in a second; `i32::MAX`: no limit.
    pub tcp_challenge_ack_limit: u32,
    pub tcp_moderate_rcvbuf: u8,
    pub ip_nonlocal_bind: u8,
    /// Hops, for IPv4.
    pub ip_default_ttl: u8,
    pub bindv6only: u8,
    pub tcp_rfc1337: u8,
    pub tcp_abort_on_overflow: u8,
    pub tcp_tw_reuse: u8,
    /// 0: never, 1: when a listener's queue is full, 2: always.
    pub tcp_syncookies: u8,
    pub tcp_min_snd_mss: u16,
    /// 0: no; 1: where a black hole is suspected; 2: always.
    pub tcp_mtu_probing: u8,
    pub tcp_base_mss: u32,
    pub tcp_mtu_probe_floor: u32,
    /// Seconds.
    pub tcp_probe_interval: u32,
    pub tcp_probe_threshold: u32,
    /// Seconds.
    pub tcp_fin_timeout: u32,
    /// Seconds.
    pub tcp_keepalive_time: u32,
    /// Seconds.
    pub tcp_keepalive_intvl: u32,
    pub tcp_rto_min_ms: u32,
    pub tcp_rto_max_ms: u32,
    pub tcp_rmem: [u32; 3],
    pub tcp_wmem: [u32; 3],
    pub rmem_default: u32,
    pub rmem_max: u32,
    pub wmem_default: u32,
    pub wmem_max: u32,
    pub somaxconn: u32,
    pub tcp_max_syn_backlog: u32,
    pub ip_local_port_range: [u16; 2],
    pub ip_unprivileged_port_start: u16,
    /// Bits: `stack/fastopen.rs`.
    pub tcp_fastopen: u32,
    /// Seconds for which Fast Open pauses once it seems to be swallowed on the way.
    pub tcp_fastopen_blackhole_timeout_sec: u32,
    /// The key of our cookies; none: one of the stack's own.
    pub tcp_fastopen_key: [Option<[u8; 16]>; 2],
    /// Length of TIME_WAIT in seconds (a constant in Linux: 60).
    pub time_wait: u32,
}

impl Default for Sysctl {
    /// Linux 6.18's defaults.
    fn default() -> Sysctl {
        Sysctl {
            tcp_syn_retries: 6,
            tcp_synack_retries: 5,
            tcp_syn_linear_timeouts: 4,
            tcp_retries1: 3,
            tcp_retries2: 15,
            tcp_orphan_retries: 0,
            tcp_max_orphans: 131_072,
            tcp_max_tw_buckets: 131_072,
            tcp_timestamps: 1,
            tcp_window_scaling: 1,
            tcp_sack: 1,
            tcp_reordering: 3,
            tcp_max_reordering: 300,
            tcp_recovery: 1,
            tcp_retrans_collapse: 1,
            tcp_early_retrans: 3,
            tcp_frto: 2,
            tcp_ecn: 2,
            tcp_ecn_fallback: 1,
            tcp_congestion_control: congestion::Algorithm::Cubic,
            tcp_comp_sack_nr: 44,
            tcp_pacing_ss_ratio: 200,
            tcp_pacing_ca_ratio: 120,
            tcp_comp_sack_delay_ns: 1_000_000,
            tcp_thin_linear_timeouts: 0,
            tcp_notsent_lowat: u32::MAX,
            tcp_min_tso_segs: 2,
            tcp_tso_rtt_log: 9,
            tcp_slow_start_after_idle: 1,
            tcp_dsack: 1,
            tcp_invalid_ratelimit: 500,
            tcp_challenge_ack_limit: i32::MAX.unsigned_abs(),
            tcp_moderate_rcvbuf: 1,
            ip_nonlocal_bind: 0,
            ip_default_ttl: 64,
            bindv6only: 0,
            tcp_rfc1337: 0,
            tcp_abort_on_overflow: 0,
            tcp_tw_reuse: 2,
            tcp_min_snd_mss: 48,
            tcp_mtu_probing: 0,
            tcp_base_mss: 1024,
            tcp_mtu_probe_floor: 48,
            tcp_probe_interval: 600,
            tcp_probe_threshold: 8,
            tcp_fin_timeout: 60,
            tcp_keepalive_time: 7200,
            tcp_keepalive_intvl: 75,
            tcp_keepalive_probes: 9,
            tcp_rto_min_ms: 200,
            tcp_rto_max_ms: 120_000,
            tcp_rmem: [4096, 131_072, 33_554_432],
            tcp_wmem: [4096, 16_384, 4_194_304],
            rmem_default: 212_992,
            rmem_max: 4_194_304,
            wmem_default: 212_992,
            wmem_max: 4_194_304,
            somaxconn: 4096,
            tcp_max_syn_backlog: 2048,
            tcp_syncookies: 1,
            tcp_fastopen: 1,
            tcp_fastopen_blackhole_timeout_sec: 0,
            tcp_fastopen_key: [None; 2],
            ip_local_port_range: [32768, 60999],
            ip_unprivileged_port_start: 1024,
            time_wait: 60,
        }
    }
}

/// One socket's options that change what TCP does. Zero means "the host's default".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct TcpOptions {
    /// TCP_NODELAY: no Nagle.
    pub nodelay: bool,
    /// TCP_CORK.
    pub cork: bool,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// TCP_KEEPIDLE, seconds.
    pub keepidle: u32,
    /// TCP_KEEPINTVL, seconds.
    pub keepintvl: u32,
    /// TCP_KEEPCNT.
    pub keepcnt: u8,
    /// TCP_SYNCNT.
    pub syncnt: u8,
    /// TCP_USER_TIMEOUT, milliseconds.
    pub user_timeout: u32,
    /// TCP_MAXSEG as set by the program.
    pub maxseg: u16,
    /// TCP_LINGER2, seconds; negative: no FIN_WAIT_2 at all.
    pub linger2: i32,
    /// TCP_CONGESTION; none: tcp_congestion_control.
    pub congestion: Option<congestion::Algorithm>,
    /// TCP_THIN_LINEAR_TIMEOUTS.
    pub thin_linear: bool,
    /// TCP_WINDOW_CLAMP, as set before the connection was opened.
    pub window_clamp: u32,
    /// SO_MAX_PACING_RATE, bytes a second.
    pub max_pacing_rate: u64,
    /// TCP_FASTOPEN_NO_COOKIE.
    pub fastopen_no_cookie: bool,
    /// TCP_RTO_MIN_US, rounded up to milliseconds.
    pub rto_min_ms: u32,
    /// TCP_RTO_MAX_MS.
    pub rto_max_ms: u32,
    /// TCP_DELACK_MAX_US, rounded up to milliseconds.
    pub delack_max_ms: u32,
}

/// A socket's own value, or the host's default where it has none.
fn own_or(own: u32, default: u32) -> u32 {
    if own == 0 { default } else { own }
}

impl TcpOptions {
    /// The least retransmission timeout, milliseconds (Linux: `tcp_rto_min`).
    pub fn rto_min_ms(&self, sysctl: &Sysctl) -> u32 {
        own_or(self.rto_min_ms, sysctl.tcp_rto_min_ms)
    }

    /// The largest, milliseconds (Linux: `tcp_rto_max`).
    pub fn rto_max_ms(&self, sysctl: &Sysctl) -> u32 {
        own_or(self.rto_max_ms, sysctl.tcp_rto_max_ms).max(1000)
    }

    /// The longest delay of an ACK, milliseconds (Linux: `icsk_delack_max`).
    pub fn delack_max_ms(&self) -> u32 {
        own_or(self.delack_max_ms, delack::DELACK_MAX)
    }
}

/// What a connection needs to know of its path when it opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// MTU less the IP and bare TCP headers: what the MSS option says.
    pub mss: u16,
    /// Bytes of the IP and bare TCP headers: 40, or 60 for IPv6.
    pub header: u8,
    /// Bytes of IPv4's options in each packet.
    pub ip_options: u16,
    /// Bytes of receive buffer (SO_RCVBUF as stored, i.e. doubled).
    pub rcv_buf: u32,
    /// The program set SO_RCVBUF: no autotuning.
    pub rcv_buf_locked: bool,
    /// Added to the millisecond clock for the timestamp option (RFC 7323, section 5.4).
    pub ts_offset: u32,
}
