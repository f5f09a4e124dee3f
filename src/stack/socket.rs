//! A TCP socket as the tables keep it.

use super::queue::Queue;
use crate::addr::{Addr, Endpoint};
use crate::tcp::{State, Sysctl, Tcb, TcpError, TcpOptions};

/// Names a socket: its place in the pool, and which of the sockets that were there it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(C)]
pub struct SockId {
    /// Index into the pool, from 1.
    pub index: u32,
    /// Counts the sockets that this place has held.
    pub generation: u32,
}

impl SockId {
    /// As one number, for the keeper's messages and the descriptors' names.
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
    /// The inverse of [`SockId::number`].
    pub fn from_number(n: u64) -> SockId {
        SockId {
            index: n as u32,
            generation: (n >> 32) as u32,
        }
    }
}

/// AF_INET or AF_INET6.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Family {
    /// AF_INET.
    #[default]
    V4 = 0,
    /// AF_INET6.
    V6 = 1,
}

/// The program behind a socket, for `ss` and /proc/net/tcp.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Owner {
    /// The process that made or accepted it.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// The inode of the descriptor (what /proc/PID/fd shows); 0: none yet.
    pub inode: u64,
}

/// Options of SOL_SOCKET, IPPROTO_IP and IPPROTO_IPV6 with an effect or a value to give back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct SocketOptions {
    pub reuseaddr: bool,
    pub reuseport: bool,
    pub oobinline: bool,
    pub v6only: bool,
    /// IP_FREEBIND: bind takes addresses that the host doesn't have (yet).
    pub freebind: bool,
    pub broadcast: bool,
    pub dontroute: bool,
    /// SO_LINGER, in seconds; `u32::MAX` is no limit.
    pub linger: Option<u32>,
    /// The time that it last had.
    pub linger_time: u32,
    pub priority: u32,
    pub mark: u32,
    pub rcvlowat: u32,
    /// As stored: doubled.
    pub sndbuf: u32,
    pub sndbuf_locked: bool,
    /// As stored: doubled.
    pub rcvbuf: u32,
    pub rcvbuf_locked: bool,
    /// SO_RCVTIMEO in microseconds; 0 is none, `u64::MAX` no wait at all.
    pub rcvtimeo: u64,
    /// SO_SNDTIMEO in microseconds; the same.
    pub sndtimeo: u64,
    /// SO_BINDTODEVICE: the device's number; 0: none.
    pub bound_if: u32,
    pub tos: u8,
    /// IP_TTL; 0 is the default.
    pub ttl: u8,
    /// IPV6_UNICAST_HOPS; `None` is the default.
    pub hop_limit: Option<u8>,
    /// IP_RECVTTL and its kin, a bit each: kept, as TCP gives no such messages.
    pub ip_wants: u8,
    pub mtu_discover: u8,
    pub mtu_discover6: u8,
    pub tclass: u8,
    pub notsent_lowat: u32,
    /// TCP_INQ.
    pub inq: bool,
    /// SO_ZEROCOPY.
    pub zerocopy: bool,
    /// SO_TXREHASH is 0; without effect, as there is no flow label to be chosen.
    pub no_txrehash: bool,
    /// SO_TIMESTAMPING's flags; and whether they were set by SO_TIMESTAMPING_NEW.
    pub timestamping: u32,
    pub timestamping_new: bool,
    /// SO_TIMESTAMP or SO_TIMESTAMPNS; by which numbers, `timestamping_new` says.
    pub timestamp: super::Asked,
    pub defer_accept: u32,
    /// TCP_FASTOPEN: how many connections may be used before their handshakes are complete.
    pub fastopen: u32,
    /// TCP_FASTOPEN_KEY: the key, and an older one that is still good.
    pub fastopen_keys: [Option<[u8; 16]>; 2],
    /// TCP_FASTOPEN_CONNECT: connect(2) waits for the first send, if the server's cookie is known.
    pub fastopen_connect: bool,
}

/// How many waiters a socket names by itself; see [`super::wait`].
pub const OWN_WAITERS: usize = 6;

/// One TCP socket.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Socket {
    /// Part of the name; see [`SockId`].
    pub generation: u32,
    /// AF_INET or AF_INET6.
    pub family: Family,
    /// LISTEN is told here; else `tcb.state` counts, if `open`.
    pub listening: bool,
    /// `tcb` has been made by connect or by a SYN.
    pub open: bool,
    /// A non-blocking or interrupted connect has not been reported yet.
    pub connecting: bool,
    /// No descriptor refers to it any more (or not yet: a child before accept).
    pub orphan: bool,
    /// A child that waits in its listener's queue.
    pub embryonic: bool,
    /// A child in SYN_RECEIVED whose SYN-ACK was not repeated yet.
    pub young: bool,
    /// As what it is counted in [`super::Shared::tallies`].
    pub tally: super::Tally,
    /// shutdown(SHUT_RD) was called.
    pub rcv_shutdown: bool,
    /// shutdown(SHUT_WR) was called, or the connection ended.
    pub snd_shutdown: bool,
    /// The peer's FIN was reached.
    pub eof: bool,
    /// The program was told of that by recv.
    pub eof_read: bool,
    /// It counts among its listener's `fast_pending`.
    pub early: bool,
    /// The connection was established at some time: reads give 0, not ENOTCONN.
    pub was_connected: bool,
    /// O_NONBLOCK of its (shared) file description.
    pub nonblock: bool,
    /// The program bound the address (not only the port).
    pub addr_locked: bool,
    /// The program bound the port: connect must not choose one.
    pub port_locked: bool,
    /// Linked in the table of bound ports.
    pub has_port: bool,
    /// Linked in the table of connections.
    pub hashed: bool,
    /// How many changes about paths it knows of (see `paths.rs`).
    pub paths_seen: u32,
    /// Segments wait to be polled (see `output.rs`).
    pub tx_pending: bool,
    /// Kernel-visible readiness as last mirrored onto the descriptor.
    pub mirrored: super::Ready,
    /// Something came since readiness was last mirrored: an edge, for epoll.
    pub edge: bool,
    /// The mirror is to be made right: the socket is in the queue for it.
    pub mirror_queued: bool,
    /// Somebody may be waiting by means that only see the descriptor (epoll ...).
    pub watched: bool,
    /// Whether somebody is to have SIGURG, and whether it is due.
    pub sigurg: super::urgent::Sigurg,
    /// The process that holds its far end too and raises it; 0: only the keeper does.
    pub watcher: u32,
    /// Of how many buffers of the program what Linux would have in its last sk_buff of the send
    /// queue was sent by MSG_ZEROCOPY.
    pub tail_parts: u8,
    /// It has a far end; before that its descriptor is a fresh AF_UNIX socket.
    pub has_far: bool,
    /// The socket's own address.
    // RFC 9293 MUST-45
    pub local: Endpoint,
    /// The peer.
    pub remote: Endpoint,
    /// SO_ERROR: what ended the connection, until it is reported.
    pub error: Option<TcpError>,
    /// SOL_SOCKET and IP options.
    pub options: SocketOptions,
    /// IP_OPTIONS, as a program would give them.
    pub ip_options: crate::wire::IpOptions,
    /// Where its packets go, if there was a source route when the connection was opened.
    pub first_hop: Option<Addr>,
    /// What TCP_MAXSEG tells while there is no connection; 0: the usual.
    pub idle_mss: u16,
    /// SOL_TCP options, until `tcb` has them.
    pub tcp_options: TcpOptions,
    /// The host's settings when it was made.
    pub sysctl: Sysctl,
    /// The connection.
    pub tcb: Tcb,
    /// Sent, not acknowledged; and not sent yet. Its front is at `tcb.snd_una()`.
    pub tx: Queue,
    /// Received in order, not read.
    pub rx: Queue,
    /// Received out of order, sorted by sequence number.
    pub ooo: Queue,
    /// The out-of-order range that changed last, for SACK.
    pub ooo_recent: u32,
    /// What MSG_ERRQUEUE reads, and what will come there.
    pub errors: super::errqueue::Waiting,
    /// Urgent data.
    pub urgent: super::urgent::Urgent,
    /// Of a child: the listener's index and its generation.
    pub parent: SockId,
    /// Of a listener: its backlog; children complete and waiting; children in SYN_RECEIVED.
    pub backlog: u32,
    /// Children complete, waiting for accept.
    pub accept_len: u32,
    /// Children in SYN_RECEIVED.
    pub syn_len: u32,
    /// Those of them whose SYN-ACK was not repeated yet.
    pub syn_young: u32,
    /// Children in SYN_RECEIVED that the program has or may accept already (Fast Open).
    pub fast_pending: u32,
    /// Of a listener: when its settings were what the host's are.
    pub settings_at: crate::time::Instant,
    /// TCP_FASTOPEN_CONNECT: where the first send connects to.
    pub deferred: Option<Endpoint>,
    /// Of a listener: when it last answered a SYN with a cookie.
    pub cookie_sent: crate::time::Instant,
    /// The first and last of the children that wait for accept (index; 0 none).
    pub accept_head: u32,
    /// See `accept_head`.
    pub accept_tail: u32,
    /// The next child in the listener's queue.
    pub accept_next: u32,
    /// The next socket in the same bucket of the table of connections.
    pub hash_next: u32,
    /// The next socket bound to the same port.
    pub port_next: u32,
    /// And the one before.
    pub port_prev: u32,
    /// Position in the timer heap, from 1; 0: not in it.
    pub timer_slot: u32,
    /// When the lingering close gives up waiting (SO_LINGER); informational.
    pub created: crate::time::Instant,
    /// The waiters (index into the pool of waiters; 0 none).
    pub waiters: [u16; OWN_WAITERS],
    /// More waited than fit: wake everybody who says so.
    pub waiters_overflow: bool,
    /// Who has it.
    pub owner: Owner,
}

impl Socket {
    /// The program may use it though its handshake is not complete (Fast Open).
    pub fn is_early(&self) -> bool {
        self.open && self.tcb.state == crate::tcp::State::SynReceived && self.tcb.is_early()
    }

    /// The state that `ss` shows.
    pub fn state(&self) -> State {
        if self.listening {
            State::Listen
        } else if self.open {
            self.tcb.state
        } else {
            State::Closed
        }
    }

    /// TTL or hop limit of what it sends.
    pub fn hops(&self) -> u8 {
        if self.remote.addr.is_v4() {
            self.ttl()
        } else {
            self.hop_limit()
        }
    }

    /// IP_TTL, for IPv4, that of IPv4-mapped addresses as well.
    pub(super) fn ttl(&self) -> u8 {
        match self.options.ttl {
            0 => self.sysctl.ip_default_ttl.max(1),
            ttl => ttl,
        }
    }

    /// IPV6_UNICAST_HOPS, for IPv6.
    pub(super) fn hop_limit(&self) -> u8 {
        self.options.hop_limit.unwrap_or(64)
    }

    /// `0.0.0.0` or `::`, by family.
    pub fn any(&self) -> Addr {
        match self.family {
            Family::V4 => Addr::ANY4,
            Family::V6 => Addr::ANY6,
        }
    }
}
