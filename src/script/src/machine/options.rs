//! getsockopt and setsockopt on a [`super::Machine`]: Linux's numbers.

use crate::errno;
use crate::tcp_info;
use utcp_stack::stack::{Family, Host, Opt, SockId};
use utcp_stack::tcp::State;
use utcp_stack::tcp::congestion::Algorithm;

const TCP_FASTOPEN_KEY: i32 = 33;
const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
const TCP_RTO_MAX_MS: i32 = 44;
const TCP_RTO_MIN_US: i32 = 45;
const TCP_DELACK_MAX_US: i32 = 46;

fn opt(level: i32, name: i32, family: Family) -> Option<Opt> {
    Some(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR) => Opt::ReuseAddr,
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => Opt::ReusePort,
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => Opt::KeepAlive,
        (libc::SOL_SOCKET, libc::SO_OOBINLINE) => Opt::OobInline,
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => Opt::RcvLowat,
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => Opt::SndBuf,
        (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE) => Opt::SndBufForce,
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => Opt::RcvBuf,
        (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE) => Opt::RcvBufForce,
        (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => Opt::AcceptConn,
        (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE) => Opt::MaxPacingRate,
        (libc::SOL_SOCKET, libc::SO_PRIORITY) => Opt::Priority,
        (libc::SOL_SOCKET, libc::SO_MARK) => Opt::Mark,
        (libc::SOL_TCP, libc::TCP_NODELAY) => Opt::NoDelay,
        (libc::SOL_TCP, libc::TCP_MAXSEG) => Opt::MaxSeg,
        (libc::SOL_TCP, libc::TCP_CORK) => Opt::Cork,
        (libc::SOL_TCP, libc::TCP_KEEPIDLE) => Opt::KeepIdle,
        (libc::SOL_TCP, libc::TCP_KEEPINTVL) => Opt::KeepIntvl,
        (libc::SOL_TCP, libc::TCP_KEEPCNT) => Opt::KeepCnt,
        (libc::SOL_TCP, libc::TCP_SYNCNT) => Opt::SynCnt,
        (libc::SOL_TCP, libc::TCP_LINGER2) => Opt::Linger2,
        (libc::SOL_TCP, libc::TCP_DEFER_ACCEPT) => Opt::DeferAccept,
        (libc::SOL_TCP, libc::TCP_FASTOPEN) => Opt::FastOpen,
        (libc::SOL_TCP, libc::TCP_FASTOPEN_CONNECT) => Opt::FastOpenConnect,
        (libc::SOL_TCP, TCP_FASTOPEN_NO_COOKIE) => Opt::FastOpenNoCookie,
        (libc::SOL_TCP, libc::TCP_QUICKACK) => Opt::QuickAck,
        (libc::SOL_TCP, libc::TCP_USER_TIMEOUT) => Opt::UserTimeout,
        (libc::SOL_TCP, TCP_RTO_MIN_US) => Opt::RtoMin,
        (libc::SOL_TCP, TCP_RTO_MAX_MS) => Opt::RtoMax,
        (libc::SOL_TCP, TCP_DELACK_MAX_US) => Opt::DelackMax,
        (libc::SOL_TCP, libc::TCP_WINDOW_CLAMP) => Opt::WindowClamp,
        (libc::SOL_TCP, libc::TCP_THIN_LINEAR_TIMEOUTS) => Opt::ThinLinear,
        (libc::SOL_TCP, libc::TCP_NOTSENT_LOWAT) => Opt::NotSentLowat,
        (libc::SOL_TCP, libc::TCP_INQ) => Opt::Inq,
        (libc::SOL_SOCKET, libc::SO_ZEROCOPY) => Opt::ZeroCopy,
        (libc::SOL_SOCKET, libc::SO_TIMESTAMP) => Opt::Timestamp,
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => Opt::TimestampNs,
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPING) => Opt::Timestamping,
        (libc::SOL_IP, libc::IP_TOS) => Opt::Tos,
        (libc::SOL_IP, libc::IP_TTL) => Opt::Ttl,
        (libc::SOL_IP, libc::IP_MTU_DISCOVER) => Opt::MtuDiscover,
        (libc::SOL_IPV6, _) if family != Family::V6 => return None,
        (libc::SOL_IPV6, libc::IPV6_V6ONLY) => Opt::V6Only,
        (libc::SOL_IP, libc::IP_FREEBIND) | (libc::SOL_IPV6, libc::IPV6_FREEBIND) => Opt::FreeBind,
        (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS) => Opt::HopLimit,
        (libc::SOL_IPV6, libc::IPV6_TCLASS) => Opt::Tclass,
        (libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER) => Opt::MtuDiscover6,
        _ => return None,
    })
}

fn int(value: &[u8], at: usize) -> Result<i32, i32> {
    let bytes = value.get(at..at + 4).ok_or(libc::EINVAL)?;
    Ok(i32::from_ne_bytes(
        bytes.try_into().map_err(|_| libc::EINVAL)?,
    ))
}

fn micros(value: &[u8]) -> Result<i64, i32> {
    let long = |at: usize| -> Result<i64, i32> {
        let bytes = value.get(at..at + 8).ok_or(libc::EINVAL)?;
        Ok(i64::from_ne_bytes(
            bytes.try_into().map_err(|_| libc::EINVAL)?,
        ))
    };
    Ok(long(0)?.saturating_mul(1_000_000).saturating_add(long(8)?))
}

/// setsockopt(2); an errno if it fails.
pub(super) fn set(
    h: &mut Host<'_>,
    id: SockId,
    family: Family,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), i32> {
    let (opt, value) = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let on = int(value, 0)? != 0;
            let seconds = int(value, 4)?;
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            (Opt::Linger, if on { seconds.into() } else { -1 })
        }
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => (Opt::RcvTimeo, micros(value)?),
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => (Opt::SndTimeo, micros(value)?),
        (libc::SOL_TCP, TCP_FASTOPEN_KEY) => {
            let (first, older) = value.split_first_chunk::<16>().ok_or(libc::EINVAL)?;
            let older = match older.len() {
                0 => None,
                16 => older.first_chunk::<16>().copied(),
                _ => return Err(libc::EINVAL),
            };
            let keys = [Some(*first), older];
            return h.set_fast_keys(id, keys).map_err(|e| errno::of(e).0);
        }
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => {
            let index = h.sh.device_named(value).ok_or(libc::ENODEV)?;
            let bound = h.bind_to_device(id, index as i32, true);
            return bound.map_err(|e| errno::of(e).0);
        }
        (libc::SOL_TCP, libc::TCP_CONGESTION) => {
            let name = value.split(|b| *b == 0).next().unwrap_or_default();
            let algorithm = Algorithm::named(name).ok_or(libc::ENOENT)?;
            (Opt::Congestion, algorithm as i64)
        }
        _ => {
            let opt = opt(level, name, family).ok_or(libc::ENOPROTOOPT)?;
            match value {
                // do_ip_setsockopt: one byte will do.
                [byte, ..] if level == libc::SOL_IP && value.len() < 4 => (opt, i64::from(*byte)),
                _ => (opt, int(value, 0)?.into()),
            }
        }
    };
    h.set_option(id, opt, value).map_err(|e| errno::of(e).0)
}

/// getsockopt(2): the value's bytes; an errno if it fails.
pub(super) fn get(
    h: &mut Host<'_>,
    id: SockId,
    family: Family,
    level: i32,
    name: i32,
) -> Result<Vec<u8>, i32> {
    let read = |opt: Opt| h.get_option(id, opt).map_err(|e| errno::of(e).0);
    let one = |n: i64| (n as i32).to_ne_bytes().to_vec();
    Ok(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_ERROR) => {
            let e = h.take_error(id).map_err(|e| errno::of(e).0)?;
            one(e.map_or(0, |e| errno::of_tcp(e).0.into()))
        }
        (libc::SOL_SOCKET, libc::SO_TYPE) => one(libc::SOCK_STREAM.into()),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => one(libc::IPPROTO_TCP.into()),
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let mut out = one(i64::from(read(Opt::Linger)? >= 0));
            out.extend(one(read(Opt::LingerTime)?));
            out
        }
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
            let us = read(if name == libc::SO_RCVTIMEO {
                Opt::RcvTimeo
            } else {
                Opt::SndTimeo
            })?;
            let mut out = (us / 1_000_000).to_ne_bytes().to_vec();
            out.extend((us % 1_000_000).to_ne_bytes());
            out
        }
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE) => {
            let socket = h.socket(id).map_err(|e| errno::of(e).0)?;
            let name = match socket.options.bound_if {
                0 => &[][..],
                index => h.sh.device_name(index).ok_or(libc::ENODEV)?,
            };
            name.to_vec()
        }
        (libc::SOL_TCP, libc::TCP_INFO) => {
            let socket = h.socket(id).map_err(|e| errno::of(e).0)?;
            let queue = (socket.accept_len, socket.backlog);
            let pmtu = match socket.remote.addr.is_any() {
                true => 0,
                false => h.path_mtu(id).map_err(|e| errno::of(e).0)?,
            };
            let (state, info) = h.info(id).map_err(|e| errno::of(e).0)?;
            tcp_info::encode(state, &info, queue, pmtu).to_vec()
        }
        (libc::SOL_TCP, libc::TCP_CONGESTION) => {
            let number = read(Opt::Congestion)?;
            let algorithm = Algorithm::numbered(number as u8).unwrap_or_default();
            let mut name = algorithm.name().as_bytes().to_vec();
            name.resize(16, 0);
            name
        }
        (libc::SOL_TCP, libc::TCP_CC_INFO) => {
            let words = h.congestion_info(id).map_err(|e| errno::of(e).0)?;
            let bytes = |w: u32| w.to_ne_bytes();
            words.into_iter().flatten().flat_map(bytes).collect()
        }
        (libc::SOL_SOCKET, libc::SO_MEMINFO) => {
            let socket = h.socket(id).map_err(|e| errno::of(e).0)?;
            let fields = socket.meminfo();
            fields.iter().flat_map(|n| n.to_ne_bytes()).collect()
        }
        (libc::SOL_IP, libc::IP_MTU) | (libc::SOL_IPV6, libc::IPV6_MTU) => {
            let socket = h.socket(id).map_err(|e| errno::of(e).0)?;
            match socket.state() {
                State::Closed | State::Listen => return Err(libc::ENOTCONN),
                _ => one(h.path_mtu(id).map_err(|e| errno::of(e).0)?.into()),
            }
        }
        _ => one(read(opt(level, name, family).ok_or(libc::ENOPROTOOPT)?)?),
    })
}
