//! Socket options, by meaning; the shim knows their numbers.

use super::{Asked, Error, Host, Result, SockId, stamping};
use crate::tcp::congestion::Algorithm;
use crate::tcp::{Info, State, TcpError};
use crate::time::Instant;

/// An option with an integer value. Booleans are 0 and 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Opt {
    ReuseAddr,
    ReusePort,
    KeepAlive,
    OobInline,
    Broadcast,
    DontRoute,
    /// -1: off, and the time stays as it was; else seconds, `u32::MAX` for no limit.
    Linger,
    /// Get only: SO_LINGER's time, which outlives its being off.
    LingerTime,
    Priority,
    Mark,
    RcvLowat,
    /// Set: the program's value, doubled and clamped as Linux does. Get: as stored.
    SndBuf,
    /// SO_SNDBUFFORCE: without wmem_max.
    SndBufForce,
    RcvBuf,
    RcvBufForce,
    /// Microseconds; 0 is none, -1 no wait at all.
    RcvTimeo,
    SndTimeo,
    /// Get only.
    AcceptConn,
    Tos,
    /// IP_TTL.
    Ttl,
    /// IPV6_UNICAST_HOPS.
    HopLimit,
    /// What IP is to tell of what is received: a bit of [`super::SocketOptions::ip_wants`].
    IpWants(u8),
    /// IP_MTU_DISCOVER.
    MtuDiscover,
    /// IPV6_MTU_DISCOVER.
    MtuDiscover6,
    Tclass,
    V6Only,
    FreeBind,
    NoDelay,
    Cork,
    MaxSeg,
    KeepIdle,
    KeepIntvl,
    KeepCnt,
    SynCnt,
    Linger2,
    /// Seconds; get: up to the end of the retransmission that falls behind them.
    DeferAccept,
    /// How many connections of a listener may be used before their handshakes are complete.
    FastOpen,
    FastOpenConnect,
    FastOpenNoCookie,
    UserTimeout,
    /// TCP_RTO_MIN_US. Microseconds, kept as milliseconds, rounded up.
    RtoMin,
    /// TCP_RTO_MAX_MS.
    RtoMax,
    /// TCP_DELACK_MAX_US, kept as RtoMin.
    DelackMax,
    QuickAck,
    NotSentLowat,
    /// TCP_INQ.
    Inq,
    /// SO_ZEROCOPY.
    ZeroCopy,
    /// SO_TXREHASH: kept; -1 is the host's setting.
    TxRehash,
    /// SO_TIMESTAMPING's flags.
    Timestamping,
    TimestampingNew,
    /// SO_TIMESTAMP and SO_TIMESTAMPNS; the same with Linux's new numbers.
    Timestamp,
    TimestampNs,
    TimestampNew,
    TimestampNsNew,
    ThinLinear,
    /// 0 only where there is no connection.
    WindowClamp,
    /// The number of a [`crate::tcp::congestion::Algorithm`].
    Congestion,
    /// Bytes a second; 0 and below, and what does not fit: no limit.
    MaxPacingRate,
}

/// Linux: SOCK_MIN_SNDBUF and SOCK_MIN_RCVBUF.
const MIN_SNDBUF: i64 = 4608;
const MIN_RCVBUF: i64 = 2304;
/// Linux: ip_tos2prio, without the bits that TCP doesn't let through.
const PRIORITY_BY_TOS: [u32; 8] = [0, 0, 2, 2, 6, 6, 4, 4];

fn within(value: i64, low: i64, high: i64) -> Result<i64> {
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(Error::Invalid)
    }
}

/// A time of some microseconds as Linux keeps it, in ticks, which are milliseconds here: not less
/// than two (`TCP_TIMEOUT_MIN`), not more than 200 (`TCP_RTO_MIN`, `TCP_DELACK_MAX`).
fn ticks(us: i64) -> Result<u32> {
    let ms = u32::try_from(us)
        .map_err(|_| Error::Invalid)?
        .div_ceil(1000);
    within(ms.into(), 2, 200).map(|_| ms)
}

/// A buffer's size as Linux takes it: compared as unsigned, so that a negative value is a very
/// large one.
fn unsigned(value: i64, most: u32) -> i64 {
    i64::from(value as u32).min(most.into())
}

/// The same of the options that no setting limits: a negative value is none.
fn forced(value: i64) -> i64 {
    value.clamp(0, i64::from(i32::MAX / 2))
}

impl Host<'_> {
    /// setsockopt(2).
    pub fn set_option(&mut self, id: SockId, opt: Opt, value: i64) -> Result<()> {
        let index = self.index_of(id)?;
        self.touch(index);
        let s = &mut self.sh.sockets[index];
        let on = value != 0;
        let o = &mut s.options;
        let t = &mut s.tcp_options;
        let mut stamps = false;
        match opt {
            Opt::ReuseAddr => o.reuseaddr = on,
            Opt::ReusePort => o.reuseport = on,
            Opt::KeepAlive => t.keepalive = on,
            Opt::OobInline => o.oobinline = on,
            Opt::Broadcast => o.broadcast = on,
            Opt::DontRoute => o.dontroute = on,
            Opt::Linger => {
                o.linger = u32::try_from(value).ok();
                o.linger_time = o.linger.unwrap_or(o.linger_time);
            }
            Opt::Priority => o.priority = value as u32,
            Opt::Mark => o.mark = value as u32,
            Opt::RcvLowat => {
                // Linux: `tcp_set_rcvlowat`. What can't be held is not waited for; what can is given
                // a buffer and a window for it.
                let most = match o.rcvbuf_locked {
                    true => o.rcvbuf / 2,
                    false => s.sysctl.tcp_rmem[2] / 2,
                };
                let mark = u32::try_from(value).unwrap_or(u32::MAX).min(most);
                o.rcvlowat = mark.max(1);
                if !o.rcvbuf_locked {
                    o.rcvbuf = o.rcvbuf.max(s.tcb.hold_at_least(mark));
                }
            }
            Opt::SndBuf | Opt::SndBufForce => {
                let value = match opt {
                    Opt::SndBuf => unsigned(value, s.sysctl.wmem_max),
                    _ => forced(value),
                };
                o.sndbuf = (value * 2).max(MIN_SNDBUF) as u32;
                o.sndbuf_locked = true;
            }
            Opt::RcvBuf | Opt::RcvBufForce => {
                let value = match opt {
                    Opt::RcvBuf => unsigned(value, s.sysctl.rmem_max),
                    _ => forced(value),
                };
                o.rcvbuf = (value * 2).max(MIN_RCVBUF) as u32;
                o.rcvbuf_locked = true;
                s.tcb.set_rcv_buf(s.options.rcvbuf);
            }
            Opt::RcvTimeo => o.rcvtimeo = value as u64,
            Opt::SndTimeo => o.sndtimeo = value as u64,
            Opt::AcceptConn | Opt::LingerTime => return Err(Error::NoProtoOpt),
            Opt::Tos => {
                // The two bits of ECN are TCP's.
                let tos = value as u8 & !3;
                // Linux compares the whole number.
                if value & !3 != i64::from(o.tos) {
                    o.priority = PRIORITY_BY_TOS[usize::from(tos >> 2 & 7)];
                }
                o.tos = tos;
            }
            Opt::Ttl => {
                o.ttl = if value == -1 {
                    0
                } else {
                    within(value, 1, 255)? as u8
                };
            }
            Opt::HopLimit => {
                let limit = within(value, -1, 255)?;
                o.hop_limit = u8::try_from(limit).ok();
            }
            Opt::IpWants(bit) if on => o.ip_wants |= bit,
            Opt::IpWants(bit) => o.ip_wants &= !bit,
            Opt::MtuDiscover => o.mtu_discover = within(value, 0, 5)? as u8,
            Opt::MtuDiscover6 => o.mtu_discover6 = within(value, 0, 5)? as u8,
            Opt::Tclass => {
                o.tclass = if value == -1 {
                    0
                } else {
                    within(value, 0, 255)? as u8 & !3
                }
            }
            Opt::FreeBind => o.freebind = on,
            Opt::V6Only => {
                if s.has_port {
                    return Err(Error::Invalid);
                }
                o.v6only = on;
            }
            Opt::NoDelay => t.nodelay = on,
            Opt::Cork => t.cork = on,
            Opt::MaxSeg => {
                if value != 0 {
                    within(value, 88, 32767)?;
                }
                t.maxseg = value as u16;
            }
            Opt::KeepIdle => t.keepidle = within(value, 1, 32767)? as u32,
            Opt::KeepIntvl => t.keepintvl = within(value, 1, 32767)? as u32,
            Opt::KeepCnt => t.keepcnt = within(value, 1, 127)? as u8,
            Opt::SynCnt => t.syncnt = within(value, 1, 127)? as u8,
            Opt::Linger2 => t.linger2 = if value < 0 { -1 } else { value.min(120) as i32 },
            Opt::DeferAccept => o.defer_accept = whole_periods(value),
            Opt::FastOpen => {
                let fresh = !s.open || s.tcb.state == State::Closed;
                if value < 0 || !(s.listening || fresh) {
                    return Err(Error::Invalid);
                }
                o.fastopen = value.min(i64::from(s.sysctl.somaxconn)) as u32;
            }
            Opt::FastOpenConnect | Opt::FastOpenNoCookie if !(0..=1).contains(&value) => {
                return Err(Error::Invalid);
            }
            Opt::FastOpenConnect => {
                if s.sysctl.tcp_fastopen & super::fastopen::setting::CLIENT == 0 {
                    return Err(Error::NotSupported);
                }
                if s.listening || s.open && s.tcb.state != State::Closed {
                    return Err(Error::Invalid);
                }
                o.fastopen_connect = on;
            }
            Opt::FastOpenNoCookie => {
                if !s.listening && s.open && s.tcb.state != State::Closed {
                    return Err(Error::Invalid);
                }
                t.fastopen_no_cookie = on;
            }
            Opt::UserTimeout => t.user_timeout = within(value, 0, i64::from(i32::MAX))? as u32,
            Opt::RtoMin => t.rto_min_ms = ticks(value)?,
            Opt::DelackMax => t.delack_max_ms = ticks(value)?,
            Opt::RtoMax => t.rto_max_ms = within(value, 1000, 120_000)? as u32,
            Opt::QuickAck => {
                if s.open {
                    s.tcb.set_quickack(value);
                }
            }
            Opt::ThinLinear => t.thin_linear = within(value, 0, 1)? != 0,
            Opt::WindowClamp if s.open && s.tcb.state != State::Closed => {
                if value == 0 {
                    return Err(Error::Invalid);
                }
                s.tcb.set_window_clamp(value as u32);
            }
            Opt::WindowClamp if s.listening && value == 0 => return Err(Error::Invalid),
            Opt::WindowClamp => {
                t.window_clamp = match value as u32 {
                    0 => 0,
                    n => n.max(1152),
                };
            }
            Opt::NotSentLowat => o.notsent_lowat = value as u32,
            Opt::Inq => o.inq = within(value, 0, 1)? != 0,
            Opt::ZeroCopy => o.zerocopy = within(value, 0, 1)? != 0,
            Opt::TxRehash => o.no_txrehash = within(value, -1, 1)? == 0,
            Opt::Timestamping | Opt::TimestampingNew => {
                let flags = value as u32;
                let has = |bit: u32| flags & bit != 0;
                let asked = has(stamping::OPT_ID) && o.timestamping & stamping::OPT_ID == 0;
                let nowhere = !s.open || s.tcb.state == State::Closed;
                if flags & !stamping::MASK != 0
                    || has(stamping::OPT_ID_TCP) && !has(stamping::OPT_ID)
                    || has(stamping::OPT_STATS) && !has(stamping::OPT_TSONLY)
                    || asked && (nowhere || s.listening)
                {
                    return Err(Error::Invalid);
                }
                o.timestamping = flags;
                stamps = has(stamping::RX_SOFTWARE);
                o.timestamping_new = opt == Opt::TimestampingNew;
                if asked {
                    let written = if has(stamping::OPT_ID_TCP) {
                        s.tcb.send_queue()
                    } else {
                        0
                    };
                    s.errors.key_base = s.tcb.snd_una() + written;
                }
            }
            Opt::Timestamp | Opt::TimestampNs | Opt::TimestampNew | Opt::TimestampNsNew => {
                o.timestamp = match opt {
                    _ if !on => Asked::No,
                    Opt::Timestamp | Opt::TimestampNew => Asked::Micros,
                    _ => Asked::Nanos,
                };
                if on {
                    o.timestamping_new = matches!(opt, Opt::TimestampNew | Opt::TimestampNsNew);
                }
                stamps = on;
            }
            Opt::Congestion => {
                let chosen = u8::try_from(value).ok().and_then(Algorithm::numbered);
                t.congestion = Some(chosen.ok_or(Error::Invalid)?);
            }
            Opt::MaxPacingRate => {
                t.max_pacing_rate = u64::try_from(value).unwrap_or(0);
            }
        }
        self.sh.arrivals.wanted |= stamps;
        let s = &mut self.sh.sockets[index];
        if s.open {
            s.tcb.options = s.tcp_options;
            match opt {
                Opt::NoDelay if on => s.tcb.push(),
                Opt::Cork if !on => s.tcb.uncorked(),
                _ => {}
            }
            s.tcb.options_changed(self.now);
            self.output(index);
            self.deliver_looped();
        }
        match opt {
            // Linux: sk_write_space, and tcp_data_ready of tcp_set_rcvlowat.
            Opt::SndBuf | Opt::SndBufForce | Opt::NotSentLowat | Opt::RcvLowat => {
                self.notify(index);
            }
            _ => self.mirror_later(index),
        }
        Ok(())
    }

    /// getsockopt(2).
    pub fn get_option(&self, id: SockId, opt: Opt) -> Result<i64> {
        let s = self.socket(id)?;
        let (o, t, sys) = (&s.options, &s.tcp_options, &s.sysctl);
        let or = |v: u32, default: u32| i64::from(if v == 0 { default } else { v });
        Ok(match opt {
            Opt::ReuseAddr => o.reuseaddr.into(),
            Opt::ReusePort => o.reuseport.into(),
            Opt::KeepAlive => t.keepalive.into(),
            Opt::OobInline => o.oobinline.into(),
            Opt::Broadcast => o.broadcast.into(),
            Opt::DontRoute => o.dontroute.into(),
            Opt::Linger => o.linger.map_or(-1, i64::from),
            Opt::LingerTime => o.linger_time.into(),
            Opt::Priority => o.priority.into(),
            Opt::Mark => o.mark.into(),
            Opt::RcvLowat => o.rcvlowat.max(1).into(),
            Opt::SndBuf | Opt::SndBufForce => o.sndbuf.into(),
            Opt::RcvBuf | Opt::RcvBufForce => s.rcv_buf().into(),
            Opt::RcvTimeo => o.rcvtimeo as i64,
            Opt::SndTimeo => o.sndtimeo as i64,
            Opt::AcceptConn => s.listening.into(),
            Opt::Tos => o.tos.into(),
            Opt::Ttl => s.ttl().into(),
            Opt::HopLimit => s.hop_limit().into(),
            Opt::IpWants(bit) => (o.ip_wants & bit != 0).into(),
            Opt::MtuDiscover => o.mtu_discover.into(),
            Opt::MtuDiscover6 => o.mtu_discover6.into(),
            Opt::Tclass => o.tclass.into(),
            Opt::V6Only => o.v6only.into(),
            Opt::FreeBind => o.freebind.into(),
            Opt::NoDelay => t.nodelay.into(),
            Opt::Cork => t.cork.into(),
            Opt::MaxSeg => match s.state() {
                State::Closed | State::Listen if t.maxseg != 0 => t.maxseg.into(),
                State::Closed | State::Listen if s.idle_mss != 0 => s.idle_mss.into(),
                State::Closed | State::Listen => 536,
                _ => s.tcb.mss().into(),
            },
            Opt::KeepIdle => or(t.keepidle, sys.tcp_keepalive_time),
            Opt::KeepIntvl => or(t.keepintvl, sys.tcp_keepalive_intvl),
            Opt::KeepCnt => or(t.keepcnt.into(), sys.tcp_keepalive_probes.into()),
            Opt::SynCnt => or(t.syncnt.into(), sys.tcp_syn_retries.into()),
            Opt::Linger2 if t.linger2 < 0 => -1,
            Opt::Linger2 => or(t.linger2 as u32, sys.tcp_fin_timeout),
            Opt::DeferAccept => o.defer_accept.into(),
            Opt::FastOpen => o.fastopen.into(),
            Opt::FastOpenConnect => o.fastopen_connect.into(),
            Opt::FastOpenNoCookie => t.fastopen_no_cookie.into(),
            Opt::UserTimeout => t.user_timeout.into(),
            Opt::RtoMin => i64::from(t.rto_min_ms(sys)) * 1000,
            Opt::DelackMax => i64::from(t.delack_max_ms()) * 1000,
            Opt::RtoMax => t.rto_max_ms(sys).into(),
            Opt::QuickAck => (!s.open || s.tcb.quickack()).into(),
            Opt::ThinLinear => t.thin_linear.into(),
            Opt::WindowClamp if s.open => s.tcb.window_clamp().into(),
            Opt::WindowClamp => t.window_clamp.into(),
            Opt::NotSentLowat => o.notsent_lowat.into(),
            Opt::Inq => o.inq.into(),
            Opt::ZeroCopy => o.zerocopy.into(),
            Opt::TxRehash => (!o.no_txrehash).into(),
            Opt::Timestamping => o.timestamping.into(),
            Opt::TimestampingNew if o.timestamping_new => o.timestamping.into(),
            Opt::TimestampingNew => 0,
            Opt::Timestamp => (o.timestamp == Asked::Micros && !o.timestamping_new).into(),
            Opt::TimestampNs => (o.timestamp == Asked::Nanos && !o.timestamping_new).into(),
            // Linux shows the new SO_TIMESTAMP of who has set the new SO_TIMESTAMPNS, too.
            Opt::TimestampNew => (o.timestamp != Asked::No && o.timestamping_new).into(),
            Opt::TimestampNsNew => (o.timestamp == Asked::Nanos && o.timestamping_new).into(),
            Opt::Congestion => {
                let default = sys.tcp_congestion_control;
                (t.congestion.unwrap_or(default) as u8).into()
            }
            Opt::MaxPacingRate => match t.max_pacing_rate {
                0 => -1,
                n => i64::try_from(n).unwrap_or(-1),
            },
        })
    }

    /// SO_ERROR: the pending error, once; a recorded soft error if there is none.
    pub fn take_error(&mut self, id: SockId) -> Result<Option<TcpError>> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        let e = s.error.take().or_else(|| s.tcb.take_soft_error());
        self.mirror_later(index);
        Ok(e)
    }

    /// The state and the numbers behind TCP_INFO.
    pub fn info(&self, id: SockId) -> Result<(State, Info)> {
        let s = self.socket(id)?;
        let info = if s.open {
            s.tcb.info(self.now)
        } else {
            unopened(s.sysctl.tcp_reordering.into(), self.now)
        };
        // A descriptor doesn't show TIME_WAIT: its socket is CLOSED.
        let state = match s.state() {
            State::TimeWait => State::Closed,
            state => state,
        };
        Ok((state, info))
    }

    /// What the clock of the connection's timestamp options shows, in milliseconds (TCP_TIMESTAMP).
    pub fn timestamp_clock(&self, id: SockId) -> Result<u32> {
        let s = self.socket(id)?;
        Ok(if s.open {
            s.tcb.ts_now(self.now)
        } else {
            self.now.millis() as u32
        })
    }

    /// `struct tcp_bbr_info` behind TCP_CC_INFO; other algorithms have nothing to tell.
    pub fn congestion_info(&self, id: SockId) -> Result<Option<[u32; 5]>> {
        let s = self.socket(id)?;
        Ok(if s.open {
            s.tcb.congestion_info()
        } else {
            None
        })
    }

    /// The path's MTU as it is known (IP_MTU, `tcpi_pmtu`).
    pub fn path_mtu(&self, id: SockId) -> Result<u32> {
        let s = self.socket(id)?;
        let (local, remote) = (s.local.addr, s.remote.addr);
        let mss = match s.state() {
            State::Closed | State::Listen => self.path_mss(local, remote),
            _ => s.tcb.path_mss(),
        };
        Ok(u32::from(mss) + if remote.is_v4() { 40 } else { 60 })
    }

    /// Linux's tcp_init_buffer_space and tcp_sndbuf_expand: a send buffer that is not the
    /// program's holds twice the congestion window, or what the algorithm wants, ten segments at
    /// least.
    pub(super) fn grow_send_buffer(&mut self, index: u32) {
        let s = &self.sh.sockets[index];
        if s.options.sndbuf_locked {
            return;
        }
        // MAX_TCP_HEADER (of a kernel without wireless meshes and the like: 256) and
        // skb_shared_info on top of the MSS, rounded to what kmalloc gives, and the sk_buff.
        let mss = u32::from(s.tcb.largest_mss());
        let per_mss = (mss + 256 + 320).next_power_of_two() + 256;
        let segments = s.tcb.snd_cwnd().clamp(10, 1 << 14);
        let windows = s.tcb.windows_to_buffer();
        let wanted = (windows * segments * per_mss).min(s.sysctl.tcp_wmem[2]);
        let s = &mut self.sh.sockets[index];
        s.options.sndbuf = s.options.sndbuf.max(wanted);
    }
}

/// TCP_INFO of a socket that was never connected.
fn unopened(reordering: u32, now: Instant) -> Info {
    let since_boot = u32::try_from(now.millis()).unwrap_or(u32::MAX);
    Info {
        rto_us: 1_000_000,
        rttvar_us: 250_000,
        snd_mss: 536,
        snd_ssthresh: 0x7fff_ffff,
        snd_cwnd: 10,
        reordering,
        min_rtt_us: u32::MAX,
        pacing_rate: u64::MAX,
        max_pacing_rate: u64::MAX,
        last_data_sent_ms: since_boot,
        last_data_recv_ms: since_boot,
        last_ack_recv_ms: since_boot,
        app_limited: true,
        ..Info::default()
    }
}

/// TCP_DEFER_ACCEPT's seconds as Linux keeps them, as a number of retransmissions: the first
/// after 1 s, each twice as long as the one before, up to 120 s (secs_to_retrans and back).
fn whole_periods(seconds: i64) -> u32 {
    counted_periods(seconds).1 as u32
}

/// How many timeouts of a SYN+ACK are over after `seconds` (Linux: `secs_to_retrans`).
pub(super) fn periods_in(seconds: u32) -> u8 {
    counted_periods(seconds.into()).0
}

/// So many timeouts of a SYN+ACK take at least `seconds`, and how long they do.
fn counted_periods(seconds: i64) -> (u8, i64) {
    if seconds <= 0 {
        return (0, 0);
    }
    let (mut timeout, mut period, mut count) = (1, 1, 1);
    while seconds > period && count < 255 {
        count += 1;
        timeout = (timeout * 2).min(120);
        period += timeout;
    }
    (count, period)
}
