//! Linux's constants by name.

/// The value of a constant.
pub fn constant(name: &str) -> Option<i64> {
    let find = |table: &[(&str, i64)]| table.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    find(&CALLS)
        .or_else(|| find(&OPTIONS))
        .or_else(|| find(&OTHERS))
        .or_else(|| find(&INFO))
        .or_else(|| find(&CONTROL))
        .or_else(|| errno(name).map(i64::from))
}

/// The number of an errno.
pub fn errno(name: &str) -> Option<i32> {
    ERRNOS.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// The name of an errno.
pub fn errno_name(number: i32) -> String {
    match ERRNOS.iter().find(|(_, v)| *v == number) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("errno {number}"),
    }
}

macro_rules! table {
    ($($name:ident)*) => { [$((stringify!($name), libc::$name as _)),*] };
}

const ERRNOS: [(&str, i32); 48] = table! {
    EPERM ENOENT EINTR EIO EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST ENODEV EINVAL EMFILE
    ENOTTY EPIPE EDOM ENOSYS EPROTO ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT
    EPROTONOSUPPORT EOPNOTSUPP EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH
    ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED EHOSTDOWN
    EHOSTUNREACH EALREADY EINPROGRESS ECANCELED EWOULDBLOCK ENOSPC EXDEV ENOMSG
};

const CALLS: [(&str, i64); 63] = table! {
    AF_UNSPEC AF_INET AF_INET6 SOCK_STREAM SOCK_DGRAM SOCK_NONBLOCK SOCK_CLOEXEC
    SHUT_RD SHUT_WR SHUT_RDWR
    MSG_OOB MSG_PEEK MSG_DONTROUTE MSG_CTRUNC MSG_TRUNC MSG_DONTWAIT MSG_EOR MSG_WAITALL
    MSG_ERRQUEUE MSG_NOSIGNAL MSG_MORE MSG_FASTOPEN MSG_ZEROCOPY
    F_GETFL F_SETFL F_GETFD F_SETFD O_RDONLY O_RDWR O_NONBLOCK FD_CLOEXEC
    FIONREAD TIOCOUTQ
    POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLWRNORM POLLRDBAND POLLWRBAND
    POLLRDHUP
    EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDNORM EPOLLWRNORM EPOLLRDHUP EPOLLET
    EPOLLONESHOT EPOLLEXCLUSIVE EPOLL_CTL_ADD EPOLL_CTL_MOD EPOLL_CTL_DEL EPOLL_CLOEXEC
    IP_PMTUDISC_DONT IP_PMTUDISC_WANT IP_PMTUDISC_DO IP_PMTUDISC_PROBE
};

const OPTIONS: [(&str, i64); 73] = table! {
    SOL_SOCKET SOL_TCP SOL_IP SOL_IPV6 IPPROTO_TCP IPPROTO_IP IPPROTO_IPV6
    SO_REUSEADDR SO_REUSEPORT SO_KEEPALIVE SO_OOBINLINE SO_LINGER SO_RCVLOWAT SO_SNDBUF
    SO_SNDBUFFORCE SO_RCVBUF SO_RCVBUFFORCE SO_ACCEPTCONN SO_PRIORITY SO_MARK SO_ERROR SO_TYPE
    SO_PROTOCOL SO_DOMAIN SO_RCVTIMEO SO_SNDTIMEO SO_ZEROCOPY SO_TIMESTAMPING SO_BROADCAST
    SO_DONTROUTE SO_BINDTODEVICE SO_TIMESTAMP SO_BUSY_POLL SO_MAX_PACING_RATE SO_PEEK_OFF SO_INCOMING_CPU
    TCP_NODELAY TCP_MAXSEG TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_SYNCNT
    TCP_LINGER2 TCP_DEFER_ACCEPT TCP_WINDOW_CLAMP TCP_INFO TCP_QUICKACK TCP_CONGESTION
    TCP_MD5SIG TCP_THIN_LINEAR_TIMEOUTS TCP_THIN_DUPACK TCP_USER_TIMEOUT TCP_FASTOPEN
    TCP_TIMESTAMP TCP_NOTSENT_LOWAT TCP_CC_INFO TCP_SAVE_SYN TCP_SAVED_SYN
    TCP_FASTOPEN_CONNECT TCP_FASTOPEN_NO_COOKIE TCP_FASTOPEN_KEY TCP_INQ
    IP_TOS IP_TTL IP_MTU_DISCOVER IP_MTU IP_RECVERR
    IPV6_V6ONLY IPV6_TCLASS IPV6_UNICAST_HOPS IPV6_MTU IPV6_MTU_DISCOVER
};

/// What the libc crate has by another name, or not yet.
const OTHERS: [(&str, i64); 5] = [
    ("SIOCINQ", libc::FIONREAD as i64),
    ("SIOCOUTQ", libc::TIOCOUTQ as i64),
    ("TCP_RTO_MAX_MS", 44),
    ("TCP_RTO_MIN_US", 45),
    ("TCP_DELACK_MAX_US", 46),
];

/// Control messages: timestamps, errors, TCP_INQ.
const CONTROL: [(&str, i64); 20] = [
    ("SCM_TIMESTAMP", 29),
    ("SCM_TIMESTAMPING", 37),
    ("TCP_CM_INQ", 36),
    ("SO_EE_ORIGIN_TIMESTAMPING", 4),
    ("SO_EE_ORIGIN_ZEROCOPY", 5),
    ("SO_EE_CODE_ZEROCOPY_COPIED", 1),
    ("SCM_TSTAMP_SND", 0),
    ("SCM_TSTAMP_SCHED", 1),
    ("SCM_TSTAMP_ACK", 2),
    ("SOF_TIMESTAMPING_TX_HARDWARE", 1),
    ("SOF_TIMESTAMPING_TX_SOFTWARE", 1 << 1),
    ("SOF_TIMESTAMPING_RX_SOFTWARE", 1 << 3),
    ("SOF_TIMESTAMPING_SOFTWARE", 1 << 4),
    ("SOF_TIMESTAMPING_OPT_ID", 1 << 7),
    ("SOF_TIMESTAMPING_TX_SCHED", 1 << 8),
    ("SOF_TIMESTAMPING_TX_ACK", 1 << 9),
    ("SOF_TIMESTAMPING_OPT_CMSG", 1 << 10),
    ("SOF_TIMESTAMPING_OPT_TSONLY", 1 << 11),
    ("SOF_TIMESTAMPING_OPT_STATS", 1 << 12),
    ("SOF_TIMESTAMPING_OPT_ID_TCP", 1 << 16),
];

/// What TCP_INFO's fields are compared with.
const INFO: [(&str, i64); 23] = [
    ("TCP_ESTABLISHED", 1),
    ("TCP_SYN_SENT", 2),
    ("TCP_SYN_RECV", 3),
    ("TCP_FIN_WAIT1", 4),
    ("TCP_FIN_WAIT2", 5),
    ("TCP_TIME_WAIT", 6),
    ("TCP_CLOSE", 7),
    ("TCP_CLOSE_WAIT", 8),
    ("TCP_LAST_ACK", 9),
    ("TCP_LISTEN", 10),
    ("TCP_CLOSING", 11),
    ("TCP_CA_Open", 0),
    ("TCP_CA_Disorder", 1),
    ("TCP_CA_CWR", 2),
    ("TCP_CA_Recovery", 3),
    ("TCP_CA_Loss", 4),
    ("TCPI_OPT_TIMESTAMPS", 1),
    ("TCPI_OPT_SACK", 2),
    ("TCPI_OPT_WSCALE", 4),
    ("TCPI_OPT_ECN", 8),
    ("TCPI_OPT_ECN_SEEN", 16),
    ("TCPI_OPT_SYN_DATA", 32),
    ("TCP_INFINITE_SSTHRESH", 0x7fff_ffff),
];

/// A field of `struct tcp_info`: its offset and size in bytes (0: bits, see [`tcp_info`]).
const FIELDS: [(&str, usize, usize); 58] = [
    ("tcpi_state", 0, 1),
    ("tcpi_ca_state", 1, 1),
    ("tcpi_retransmits", 2, 1),
    ("tcpi_probes", 3, 1),
    ("tcpi_backoff", 4, 1),
    ("tcpi_options", 5, 1),
    ("tcpi_rto", 8, 4),
    ("tcpi_ato", 12, 4),
    ("tcpi_snd_mss", 16, 4),
    ("tcpi_rcv_mss", 20, 4),
    ("tcpi_unacked", 24, 4),
    ("tcpi_sacked", 28, 4),
    ("tcpi_lost", 32, 4),
    ("tcpi_retrans", 36, 4),
    ("tcpi_fackets", 40, 4),
    ("tcpi_last_data_sent", 44, 4),
    ("tcpi_last_ack_sent", 48, 4),
    ("tcpi_last_data_recv", 52, 4),
    ("tcpi_last_ack_recv", 56, 4),
    ("tcpi_pmtu", 60, 4),
    ("tcpi_rcv_ssthresh", 64, 4),
    ("tcpi_rtt", 68, 4),
    ("tcpi_rttvar", 72, 4),
    ("tcpi_snd_ssthresh", 76, 4),
    ("tcpi_snd_cwnd", 80, 4),
    ("tcpi_cwnd", 80, 4),
    ("tcpi_advmss", 84, 4),
    ("tcpi_reordering", 88, 4),
    ("tcpi_rcv_rtt", 92, 4),
    ("tcpi_rcv_space", 96, 4),
    ("tcpi_total_retrans", 100, 4),
    ("tcpi_pacing_rate", 104, 8),
    ("tcpi_max_pacing_rate", 112, 8),
    ("tcpi_bytes_acked", 120, 8),
    ("tcpi_bytes_received", 128, 8),
    ("tcpi_segs_out", 136, 4),
    ("tcpi_segs_in", 140, 4),
    ("tcpi_notsent_bytes", 144, 4),
    ("tcpi_min_rtt", 148, 4),
    ("tcpi_data_segs_in", 152, 4),
    ("tcpi_data_segs_out", 156, 4),
    ("tcpi_delivery_rate", 160, 8),
    ("tcpi_busy_time", 168, 8),
    ("tcpi_rwnd_limited", 176, 8),
    ("tcpi_sndbuf_limited", 184, 8),
    ("tcpi_delivered", 192, 4),
    ("tcpi_delivered_ce", 196, 4),
    ("tcpi_bytes_sent", 200, 8),
    ("tcpi_bytes_retrans", 208, 8),
    ("tcpi_dsack_dups", 216, 4),
    ("tcpi_reord_seen", 220, 4),
    ("tcpi_rcv_ooopack", 224, 4),
    ("tcpi_snd_wnd", 228, 4),
    ("tcpi_rcv_wnd", 232, 4),
    ("tcpi_rehash", 236, 4),
    ("tcpi_total_rto", 240, 2),
    ("tcpi_total_rto_recoveries", 242, 2),
    ("tcpi_total_rto_time", 244, 4),
];

/// What the kernel tells of a socket, for assertions; empty what was not asked for.
#[derive(Default)]
pub struct Told {
    /// TCP_INFO.
    pub info: Vec<u8>,
    /// TCP_CC_INFO, of BBR.
    pub congestion: Vec<u8>,
    /// SO_MEMINFO.
    pub memory: Vec<u8>,
}

/// How the names of TCP_CC_INFO's fields begin.
pub const BBR: &str = "bbr_";
/// How the names of SO_MEMINFO's begin.
pub const MEMORY: &str = "SK_MEMINFO_";

/// `struct tcp_bbr_info`, and its first two fields as one number.
const BBR_FIELDS: [&str; 5] = ["bw_lo", "bw_hi", "min_rtt", "pacing_gain", "cwnd_gain"];
const MEMORY_FIELDS: [&str; 9] = [
    "RMEM_ALLOC",
    "RCVBUF",
    "WMEM_ALLOC",
    "SNDBUF",
    "FWD_ALLOC",
    "WMEM_QUEUED",
    "OPTMEM",
    "BACKLOG",
    "DROPS",
];

/// A field of what was told, by name.
pub fn told(told: &Told, name: &str) -> Option<i64> {
    let word = |bytes: &[u8], names: &[&str], name: &str| {
        let at = 4 * names.iter().position(|n| *n == name)?;
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(i64::from(u32::from_ne_bytes(four)))
    };
    if let Some(name) = name.strip_prefix(BBR) {
        let field = |name| word(&told.congestion, &BBR_FIELDS, name);
        return match name {
            "bw" => Some(field("bw_hi")? << 32 | field("bw_lo")?),
            _ => field(name),
        };
    }
    if let Some(name) = name.strip_prefix(MEMORY) {
        return word(&told.memory, &MEMORY_FIELDS, name);
    }
    tcp_info(&told.info, name)
}

/// A field of TCP_INFO by name, out of the struct's bytes.
fn tcp_info(info: &[u8], name: &str) -> Option<i64> {
    match name {
        "tcpi_snd_wscale" => return Some(i64::from(info.get(6)? & 15)),
        "tcpi_rcv_wscale" => return Some(i64::from(info.get(6)? >> 4)),
        _ => {}
    }
    let (_, at, size) = FIELDS.iter().find(|(n, ..)| *n == name)?;
    let mut bytes = [0; 8];
    bytes[..*size].copy_from_slice(info.get(*at..at + size)?);
    Some(i64::from_le_bytes(bytes))
}
