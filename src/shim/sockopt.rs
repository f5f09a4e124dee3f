//! getsockopt and setsockopt: Linux's numbers, sizes and checks.
//!
//! What the stack knows is an [`Opt`]. Options of SOL_SOCKET that every kind of socket has and
//! that change nothing here (SO_RXQ_OVFL, SO_INCOMING_CPU ...) are kept by the kernel, with the
//! near end. What nobody knows answers as a kernel without that option does.

use crate::ancillary::{SO_TIMESTAMP_NEW, SO_TIMESTAMPING_NEW, SO_TIMESTAMPNS_NEW};
use crate::devices;
use crate::dispatch::Sock;
use crate::ends;
use crate::errno::{self, Result};
use crate::memory;
use crate::optvalue::{Reply, Value};
use crate::tcp_info;
use core::ffi::{c_int, c_void};
use libc::{linger, socklen_t};
use utcp_stack::stack::stamping::RECORD;
use utcp_stack::stack::{Family, Opt};
use utcp_stack::sys::{Errno, syscall};
use utcp_stack::tcp::State;
use utcp_stack::tcp::congestion::Algorithm;
use utcp_stack::wire::{IpOptions, MAX_IP_OPTIONS, Refused};

const NO_SUCH: Errno = Errno(libc::ENOPROTOOPT);
const INVALID: Errno = Errno(libc::EINVAL);

// Linux's numbers that the libc crate lacks.
const SO_BINDTOIFINDEX: c_int = 62;
const SO_TXREHASH: c_int = 74;
const IP_RETOPTS: c_int = 7;
const SO_NO_CHECK: c_int = 11;
const SO_BSDCOMPAT: c_int = 14;
const TCP_FASTOPEN_KEY: c_int = 33;
const TCP_FASTOPEN_NO_COOKIE: c_int = 34;
const TCP_TX_DELAY: c_int = 37;
const TCP_IS_MPTCP: c_int = 43;
const TCP_RTO_MAX_MS: c_int = 44;
const TCP_RTO_MIN_US: c_int = 45;
const TCP_DELACK_MAX_US: c_int = 46;
const TCP_CA_NAME_MAX: usize = 16;
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// SOL_SOCKET: an int that the stack keeps.
fn socket_opt(name: c_int) -> Option<Opt> {
    Some(match name {
        libc::SO_REUSEADDR => Opt::ReuseAddr,
        libc::SO_REUSEPORT => Opt::ReusePort,
        libc::SO_KEEPALIVE => Opt::KeepAlive,
        libc::SO_OOBINLINE => Opt::OobInline,
        libc::SO_BROADCAST => Opt::Broadcast,
        libc::SO_DONTROUTE => Opt::DontRoute,
        libc::SO_RCVLOWAT => Opt::RcvLowat,
        libc::SO_SNDBUF => Opt::SndBuf,
        libc::SO_RCVBUF => Opt::RcvBuf,
        libc::SO_ACCEPTCONN => Opt::AcceptConn,
        libc::SO_PRIORITY => Opt::Priority,
        libc::SO_ZEROCOPY => Opt::ZeroCopy,
        SO_TXREHASH => Opt::TxRehash,
        libc::SO_TIMESTAMP => Opt::Timestamp,
        libc::SO_TIMESTAMPNS => Opt::TimestampNs,
        SO_TIMESTAMP_NEW => Opt::TimestampNew,
        SO_TIMESTAMPNS_NEW => Opt::TimestampNsNew,
        libc::SO_TIMESTAMPING => Opt::Timestamping,
        SO_TIMESTAMPING_NEW => Opt::TimestampingNew,
        _ => return None,
    })
}

/// SOL_SOCKET: what the near end keeps for us. (Not: what has an effect on the descriptor's
/// mirrored readiness, or another meaning for AF_UNIX.)
fn kept_by_kernel(name: c_int) -> bool {
    !matches!(
        name,
        libc::SO_PASSCRED
            | libc::SO_PASSSEC
            | libc::SO_PEERSEC
            | libc::SO_PEEK_OFF
            | libc::SO_ATTACH_FILTER
            | libc::SO_DETACH_FILTER
            | libc::SO_LOCK_FILTER
            | libc::SO_ATTACH_BPF
            | libc::SO_ATTACH_REUSEPORT_CBPF
            | libc::SO_ATTACH_REUSEPORT_EBPF
            | libc::SO_DETACH_REUSEPORT_BPF
            | libc::SO_ZEROCOPY
            | libc::SO_TIMESTAMPING
            | SO_TIMESTAMPING_NEW
            | libc::SO_BINDTODEVICE
            | SO_BINDTOIFINDEX
            | libc::SO_MEMINFO
            | libc::SO_PEERGROUPS
            | 76.. // SO_PASSPIDFD, SO_PEERPIDFD and what comes after them
    )
}

fn tcp_opt(name: c_int) -> Option<Opt> {
    Some(match name {
        libc::TCP_NODELAY => Opt::NoDelay,
        libc::TCP_MAXSEG => Opt::MaxSeg,
        libc::TCP_CORK => Opt::Cork,
        libc::TCP_KEEPIDLE => Opt::KeepIdle,
        libc::TCP_KEEPINTVL => Opt::KeepIntvl,
        libc::TCP_KEEPCNT => Opt::KeepCnt,
        libc::TCP_SYNCNT => Opt::SynCnt,
        libc::TCP_LINGER2 => Opt::Linger2,
        libc::TCP_DEFER_ACCEPT => Opt::DeferAccept,
        libc::TCP_FASTOPEN => Opt::FastOpen,
        libc::TCP_FASTOPEN_CONNECT => Opt::FastOpenConnect,
        TCP_FASTOPEN_NO_COOKIE => Opt::FastOpenNoCookie,
        libc::TCP_QUICKACK => Opt::QuickAck,
        libc::TCP_USER_TIMEOUT => Opt::UserTimeout,
        TCP_RTO_MIN_US => Opt::RtoMin,
        TCP_RTO_MAX_MS => Opt::RtoMax,
        TCP_DELACK_MAX_US => Opt::DelackMax,
        libc::TCP_NOTSENT_LOWAT => Opt::NotSentLowat,
        libc::TCP_INQ => Opt::Inq,
        libc::TCP_THIN_LINEAR_TIMEOUTS => Opt::ThinLinear,
        libc::TCP_WINDOW_CLAMP => Opt::WindowClamp,
        _ => return None,
    })
}

fn ip_opt(name: c_int) -> Option<Opt> {
    Some(match name {
        libc::IP_TOS => Opt::Tos,
        libc::IP_TTL => Opt::Ttl,
        libc::IP_MTU_DISCOVER => Opt::MtuDiscover,
        libc::IP_FREEBIND => Opt::FreeBind,
        libc::IP_RECVTTL => Opt::IpWants(1),
        libc::IP_RECVTOS => Opt::IpWants(2),
        libc::IP_RECVOPTS => Opt::IpWants(4),
        IP_RETOPTS => Opt::IpWants(8),
        libc::IP_PKTINFO => Opt::IpWants(16),
        _ => return None,
    })
}

fn ipv6_opt(name: c_int) -> Option<Opt> {
    Some(match name {
        libc::IPV6_V6ONLY => Opt::V6Only,
        libc::IPV6_FREEBIND => Opt::FreeBind,
        libc::IPV6_UNICAST_HOPS => Opt::HopLimit,
        libc::IPV6_TCLASS => Opt::Tclass,
        libc::IPV6_MTU_DISCOVER => Opt::MtuDiscover6,
        _ => return None,
    })
}

/// Options that the stack doesn't have, at the value that says so. That value can be read and
/// set; any other is refused as by a kernel without the option.
fn absent(level: c_int, name: c_int) -> Option<c_int> {
    let off: &[c_int] = match level {
        libc::SOL_TCP => &[libc::TCP_REPAIR, libc::TCP_SAVE_SYN, TCP_TX_DELAY],
        libc::SOL_IP => &[
            libc::IP_RECVERR,
            libc::IP_TRANSPARENT,
            libc::IP_BIND_ADDRESS_NO_PORT,
            libc::IP_MINTTL,
        ],
        libc::SOL_IPV6 => &[libc::IPV6_RECVERR, libc::IPV6_RECVPKTINFO],
        _ => &[],
    };
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_PEEK_OFF) => Some(-1),
        (libc::SOL_IP, libc::IP_MULTICAST_TTL | libc::IP_MULTICAST_LOOP) => Some(1),
        _ => off.contains(&name).then_some(0),
    }
}

fn set_absent(given: Value, value: c_int) -> Result<c_int> {
    if given.int_or_byte()? == value {
        Ok(0)
    } else {
        Err(NO_SUCH)
    }
}

/// setsockopt(2).
pub fn set(
    s: Sock,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> Result<c_int> {
    let given = Value { at: value, len };
    let family = family(s)?;
    if (len as c_int) < 0 {
        return Err(INVALID);
    }
    if let Some(value) = absent(level, name).filter(|_| knows(family, level)) {
        return set_absent(given, value);
    }
    match level {
        libc::SOL_SOCKET => set_socket(s, name, given)?,
        libc::SOL_TCP => set_tcp(s, name, given)?,
        libc::SOL_IP if name == libc::IP_OPTIONS => set_ip_options(s, given)?,
        libc::SOL_IP => {
            let opt = ip_opt(name).ok_or(NO_SUCH)?;
            set_opt(s, opt, given.int_or_byte()?.into())?;
        }
        libc::SOL_IPV6 if family == Family::V6 => {
            let opt = ipv6_opt(name).ok_or(NO_SUCH)?;
            set_opt(s, opt, given.int_or_null()?.into())?;
        }
        _ => return Err(NO_SUCH),
    }
    Ok(0)
}

/// getsockopt(2).
pub fn get(
    s: Sock,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> Result<c_int> {
    let family = family(s)?;
    if level == libc::SOL_SOCKET && passes_on(name) {
        return near(libc::SYS_getsockopt, s, name, value as usize, len as usize);
    }
    let room: c_int = memory::read(len.cast())?;
    let room = usize::try_from(room).map_err(|_| INVALID)?;
    let mut out = Reply::new(room);
    let absent = absent(level, name).filter(|_| knows(family, level));
    match level {
        _ if absent.is_some() => out.int(absent.unwrap_or(0)),
        libc::SOL_SOCKET => get_socket(s, family, name, &mut out)?,
        libc::SOL_TCP => get_tcp(s, name, &mut out)?,
        libc::SOL_IP if name == libc::IP_OPTIONS => {
            out.put(s.enter()?.ip_options(s.id).map_err(errno::of)?.as_bytes());
        }
        libc::SOL_IP if name == libc::IP_MTU => out.int(path_mtu(s)?),
        libc::SOL_IP => {
            let v = get_opt(s, ip_opt(name).ok_or(NO_SUCH)?)?;
            // do_ip_getsockopt: less room than an int, and a small value: a byte.
            if (1..4).contains(&room) && (0..=255).contains(&v) {
                out.put(&[v as u8]);
            } else {
                out.int(v);
            }
        }
        libc::SOL_IPV6 if family == Family::V6 => match name {
            libc::IPV6_MTU => out.int(path_mtu(s)?),
            _ => out.int(get_opt(s, ipv6_opt(name).ok_or(NO_SUCH)?)?),
        },
        // ipv6_getsockopt and do_ip_getsockopt.
        _ if family == Family::V6 => return Err(NO_SUCH),
        _ => return Err(Errno(libc::EOPNOTSUPP)),
    }
    let fits = out.fits();
    memory::write_bytes(value.cast(), fits)?;
    memory::write(len, fits.len() as socklen_t)?;
    Ok(0)
}

/// Whether sockets of `family` have options at `level`.
fn knows(family: Family, level: c_int) -> bool {
    level != libc::SOL_IPV6 || family == Family::V6
}

fn family(s: Sock) -> Result<Family> {
    Ok(s.enter()?.socket(s.id).map_err(errno::of)?.family)
}

fn set_opt(s: Sock, opt: Opt, value: i64) -> Result<()> {
    // Linux asks the host's settings what they are now.
    let asks = matches!(opt, Opt::FastOpen | Opt::FastOpenConnect);
    let settings = asks.then(crate::sysctl::now);
    let mut host = s.enter()?;
    if let Some((sysctl, _)) = &settings {
        host.follow_settings(s.id, sysctl).map_err(errno::of)?;
    }
    host.set_option(s.id, opt, value).map_err(errno::of)?;
    crate::ends::lower(&mut host, s.fd, s.id);
    Ok(())
}

fn get_opt(s: Sock, opt: Opt) -> Result<c_int> {
    let v = s.enter()?.get_option(s.id, opt).map_err(errno::of)?;
    Ok(v as c_int)
}

/// SOL_SOCKET options that go to the near end as they are.
fn passes_on(name: c_int) -> bool {
    let own = matches!(
        name,
        libc::SO_TYPE
            | libc::SO_ERROR
            | libc::SO_LINGER
            | libc::SO_RCVTIMEO
            | libc::SO_SNDTIMEO
            | 66
            | 67
            | libc::SO_PEERCRED
            | libc::SO_PEERNAME
            | libc::SO_PROTOCOL
            | libc::SO_DOMAIN
            | libc::SO_SNDBUFFORCE
            | libc::SO_RCVBUFFORCE
    );
    !own && socket_opt(name).is_none() && kept_by_kernel(name)
}

fn near(number: libc::c_long, s: Sock, name: c_int, value: usize, len: usize) -> Result<c_int> {
    // SAFETY: the kernel checks the program's pointers.
    unsafe {
        syscall(
            number,
            [
                s.fd as usize,
                libc::SOL_SOCKET as usize,
                name as usize,
                value,
                len,
                0,
            ],
        )
    }
    .map(|v| v as c_int)
}

fn set_socket(s: Sock, name: c_int, given: Value) -> Result<()> {
    if passes_on(name) {
        // The kernel knows who may set a mark.
        near(
            libc::SYS_setsockopt,
            s,
            name,
            given.at as usize,
            given.len as usize,
        )?;
        return match name {
            libc::SO_MARK => set_opt(s, Opt::Mark, given.int()?.into()),
            libc::SO_MAX_PACING_RATE => {
                let rate = if given.len as usize == size_of::<u64>() {
                    given.read::<u64>()?
                } else {
                    match given.int()? as u32 {
                        u32::MAX => u64::MAX,
                        n => n.into(),
                    }
                };
                set_opt(s, Opt::MaxPacingRate, i64::try_from(rate).unwrap_or(0))
            }
            _ => Ok(()),
        };
    }
    if name == libc::SO_BINDTODEVICE {
        return devices::bind_to_named(s, given);
    }
    let value = given.int()?;
    // Another process, or an image that comes by exec, may be the one that sends.
    match name {
        libc::SO_ZEROCOPY if value != 0 => crate::errepoll::used(),
        libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW if value as u32 & RECORD != 0 => {
            crate::errepoll::used();
        }
        _ => {}
    }
    match name {
        // Linux: TC_PRIO_INTERACTIVE; what is above is for the privileged.
        libc::SO_PRIORITY if !(0..=6).contains(&value) && !privileged() => Err(Errno(libc::EPERM)),
        SO_BINDTOIFINDEX => devices::bind_to(s, value),
        libc::SO_LINGER => {
            let l: linger = given.read()?;
            // Negative: MAX_SCHEDULE_TIMEOUT.
            let seconds = u32::try_from(l.l_linger).unwrap_or(u32::MAX);
            let off = l.l_onoff == 0;
            set_opt(s, Opt::Linger, if off { -1 } else { seconds.into() })
        }
        libc::SO_RCVTIMEO | 66 => set_opt(s, Opt::RcvTimeo, given.timeout(s.fd)?),
        libc::SO_SNDTIMEO | 67 => set_opt(s, Opt::SndTimeo, given.timeout(s.fd)?),
        libc::SO_SNDBUFFORCE | libc::SO_RCVBUFFORCE => {
            if !crate::kernel::has_capability(CAP_NET_ADMIN) {
                return Err(Errno(libc::EPERM));
            }
            let opt = if name == libc::SO_SNDBUFFORCE {
                Opt::SndBufForce
            } else {
                Opt::RcvBufForce
            };
            set_opt(s, opt, value.into())
        }
        // Obsolete, and without effect in Linux too.
        SO_BSDCOMPAT | SO_NO_CHECK => Ok(()),
        libc::SO_PASSCRED | libc::SO_PASSSEC => Err(Errno(libc::EOPNOTSUPP)),
        libc::SO_TYPE | libc::SO_PROTOCOL | libc::SO_DOMAIN | libc::SO_ERROR | libc::SO_MEMINFO => {
            Err(NO_SUCH)
        }
        _ => set_opt(s, socket_opt(name).ok_or(NO_SUCH)?, value.into()),
    }
}

/// IP_OPTIONS.
fn set_ip_options(s: Sock, given: Value) -> Result<()> {
    let mut list = [0u8; MAX_IP_OPTIONS];
    let place = list.get_mut(..given.len as usize).ok_or(INVALID)?;
    memory::read_bytes(given.at.cast(), place)?;
    let privileged = crate::kernel::has_capability(CAP_NET_RAW);
    let list = IpOptions::given(place, privileged).map_err(|refused| match refused {
        Refused::Invalid => INVALID,
        Refused::Forbidden => Errno(libc::EPERM),
    })?;
    let mut host = s.enter()?;
    host.set_ip_options(s.id, &list).map_err(errno::of)
}

/// CAP_NET_ADMIN or CAP_NET_RAW: may set priorities and marks.
pub fn privileged() -> bool {
    [CAP_NET_ADMIN, CAP_NET_RAW]
        .into_iter()
        .any(crate::kernel::has_capability)
}

fn get_socket(s: Sock, family: Family, name: c_int, out: &mut Reply) -> Result<()> {
    match name {
        libc::SO_TYPE => out.int(libc::SOCK_STREAM),
        libc::SO_PROTOCOL => out.int(libc::IPPROTO_TCP),
        libc::SO_DOMAIN => out.int(match family {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        }),
        libc::SO_ERROR => {
            let mut host = s.enter()?;
            let e = host.take_error(s.id).map_err(errno::of)?;
            ends::lower(&mut host, s.fd, s.id);
            out.int(e.map_or(0, |e| errno::of_tcp(e).0));
        }
        libc::SO_LINGER => {
            out.int((wide(s, Opt::Linger)? >= 0).into());
            out.int(match u32::try_from(wide(s, Opt::LingerTime)?) {
                // As many seconds as MAX_SCHEDULE_TIMEOUT has, and of them what an int holds.
                Ok(u32::MAX) => (i64::MAX / crate::kernel::hz(s.fd)) as c_int,
                Ok(seconds) => seconds as c_int,
                Err(_) => 0,
            });
        }
        libc::SO_RCVTIMEO | 66 => out.timeout(wide(s, Opt::RcvTimeo)?.max(0)),
        libc::SO_SNDTIMEO | 67 => out.timeout(wide(s, Opt::SndTimeo)?.max(0)),
        libc::SO_BINDTODEVICE => devices::name_of(s, out)?,
        SO_BINDTOIFINDEX => out.int(devices::number_of(s)?),
        libc::SO_PEERCRED => {
            // Nobody: process 0, user and group -1.
            out.put(&0i32.to_ne_bytes());
            out.put(&(-1i32).to_ne_bytes());
            out.put(&(-1i32).to_ne_bytes());
        }
        libc::SO_PEERNAME => {
            let peer = crate::names::peer(s)?;
            let (bytes, len) = crate::sockaddr::encode(family, peer);
            if out.room > len {
                return Err(INVALID);
            }
            out.put(&bytes[..len]);
        }
        libc::SO_MEMINFO => {
            let host = s.enter()?;
            for field in host.socket(s.id).map_err(errno::of)?.meminfo() {
                out.put(&field.to_ne_bytes());
            }
        }
        libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW => {
            let opt = socket_opt(name).ok_or(NO_SUCH)?;
            out.int(get_opt(s, opt)?);
            // No PHC.
            out.int(0);
        }
        libc::SO_PASSCRED | libc::SO_PASSSEC => return Err(Errno(libc::EOPNOTSUPP)),
        _ => out.int(get_opt(s, socket_opt(name).ok_or(NO_SUCH)?)?),
    }
    Ok(())
}

/// A value that an int doesn't hold.
fn wide(s: Sock, opt: Opt) -> Result<i64> {
    s.enter()?.get_option(s.id, opt).map_err(errno::of)
}

fn set_tcp(s: Sock, name: c_int, given: Value) -> Result<()> {
    if name == libc::TCP_CONGESTION {
        let mut text = [0u8; TCP_CA_NAME_MAX];
        if given.len == 0 {
            return Err(INVALID);
        }
        let n = (given.len as usize).min(TCP_CA_NAME_MAX - 1);
        memory::read_bytes(given.at.cast(), &mut text[..n])?;
        let name = text.split(|b| *b == 0).next().unwrap_or_default();
        let algorithm = Algorithm::named(name).ok_or(Errno(libc::ENOENT))?;
        // What is set already may be set again by anybody.
        if get_opt(s, Opt::Congestion)? != algorithm as i32
            && !crate::sysctl::allows_congestion_control(algorithm.name())
            && !crate::kernel::has_capability(CAP_NET_ADMIN)
        {
            return Err(Errno(libc::EPERM));
        }
        return set_opt(s, Opt::Congestion, algorithm as i64);
    }
    if name == TCP_FASTOPEN_KEY {
        let mut keys = [0u8; 32];
        let n = given.len as usize;
        if n != 16 && n != 32 {
            return Err(INVALID);
        }
        memory::read_bytes(given.at.cast(), &mut keys[..n])?;
        let (first, older) = keys.split_first_chunk::<16>().ok_or(INVALID)?;
        let older = older.first_chunk::<16>().filter(|_| n == 32);
        let mut host = s.enter()?;
        return host
            .set_fast_keys(s.id, [Some(*first), older.copied()])
            .map_err(errno::of);
    }
    if name == libc::TCP_ULP {
        // There are none: neither TLS nor others.
        return Err(match given.len {
            0 => INVALID,
            _ => Errno(libc::ENOENT),
        });
    }
    if name == libc::TCP_THIN_DUPACK {
        // Without effect in Linux, too, but checked.
        return match given.int()? {
            0 | 1 => Ok(()),
            _ => Err(INVALID),
        };
    }
    if name == libc::TCP_TIMESTAMP {
        // For TCP_REPAIR alone.
        return given.int().and(Err(Errno(libc::EPERM)));
    }
    let opt = tcp_opt(name).ok_or(NO_SUCH)?;
    let value = given.int()?;
    match opt {
        Opt::UserTimeout if value < 0 => Err(INVALID),
        Opt::RtoMin | Opt::DelackMax => match in_ticks(s, value, 1_000_000) {
            (0 | 1, _) => Err(INVALID),
            (_, us) => set_opt(s, opt, us),
        },
        Opt::RtoMax if value >= 1000 => set_opt(s, opt, in_ticks(s, value, 1000).1),
        _ => set_opt(s, opt, value.into()),
    }
}

/// A time, in units of which a second has `units`, as the kernel rounds it up: in its ticks, and so
/// many units as they are.
fn in_ticks(s: Sock, time: c_int, units: i64) -> (i64, i64) {
    let hz = crate::kernel::hz(s.fd);
    let ticks = (i64::from(time as u32) * hz + units - 1) / units;
    (ticks, ticks * units / hz)
}

fn get_tcp(s: Sock, name: c_int, out: &mut Reply) -> Result<()> {
    match name {
        libc::TCP_INFO => {
            let host = s.enter()?;
            let socket = host.socket(s.id).map_err(errno::of)?;
            let (state, info) = host.info(s.id).map_err(errno::of)?;
            let queue = (socket.accept_len, socket.backlog);
            let pmtu = match socket.remote.addr {
                nowhere if nowhere.is_any() => 0,
                to if to.is_loopback() => loopback_mtu(to.is_v4()),
                _ => host.path_mtu(s.id).map_err(errno::of)?,
            };
            out.put(&tcp_info::encode(state, &info, queue, pmtu));
        }
        libc::TCP_THIN_DUPACK | TCP_IS_MPTCP => out.int(0),
        // None is saved: see `absent`.
        libc::TCP_SAVED_SYN => {}
        libc::TCP_TIMESTAMP => {
            let clock = s.enter()?.timestamp_clock(s.id).map_err(errno::of)?;
            // An odd one would be of microseconds.
            out.int((clock & !1) as c_int);
        }
        TCP_FASTOPEN_KEY => {
            let keys = s
                .enter()?
                .socket(s.id)
                .map_err(errno::of)?
                .options
                .fastopen_keys;
            for key in keys.iter().flatten() {
                out.put(key);
            }
        }
        libc::TCP_ULP => {}
        libc::TCP_CC_INFO => {
            // Only BBR has something to tell.
            if let Some(words) = s.enter()?.congestion_info(s.id).map_err(errno::of)? {
                for word in words {
                    out.put(&word.to_ne_bytes());
                }
            }
        }
        libc::TCP_CONGESTION => {
            let mut name = [0u8; TCP_CA_NAME_MAX];
            let number = get_opt(s, Opt::Congestion)?;
            let algorithm = Algorithm::numbered(number as u8).unwrap_or_default();
            let text = algorithm.name().as_bytes();
            name[..text.len()].copy_from_slice(text);
            out.put(&name);
        }
        _ => out.int(get_opt(s, tcp_opt(name).ok_or(NO_SUCH)?)?),
    }
    Ok(())
}

/// What the loopback's MTU of 65536 leaves to an IP packet.
fn loopback_mtu(v4: bool) -> u32 {
    if v4 { 65535 } else { 65536 }
}

fn path_mtu(s: Sock) -> Result<c_int> {
    let host = s.enter()?;
    let socket = host.socket(s.id).map_err(errno::of)?;
    match socket.state() {
        State::Closed | State::Listen => Err(Errno(libc::ENOTCONN)),
        _ if socket.remote.addr.is_loopback() => {
            Ok(loopback_mtu(socket.remote.addr.is_v4()) as c_int)
        }
        _ => Ok(host.path_mtu(s.id).map_err(errno::of)? as c_int),
    }
}
