//! The host's settings as Linux has them now: /proc/sys/net of the program's network namespace.
//!
//! A script may change one between two sockets and expects it to count, so they are read when a
//! socket is made, though not more than once in a millisecond: a program that makes many sockets
//! would spend its time here. It may do so by a program that it starts: once a child has ended,
//! nothing is believed.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};
use parking_lot::Mutex;
use utcp_stack::stack::IpSettings;
use utcp_stack::stack::fastopen::setting::SERVER;
use utcp_stack::sys;
use utcp_stack::tcp::Sysctl;
use utcp_stack::tcp::congestion::Algorithm;
use utcp_stack::time::{Duration, Instant};

/// How long values are believed.
const FRESH: Duration = Duration::from_millis(1);

/// What was read, when, and what children had done by then.
static LAST: Mutex<Option<(Instant, i64, Settings)>> = Mutex::new(None);

/// TCP's settings, and IP's.
type Settings = (Sysctl, IpSettings);

/// Until when (in nanoseconds) nothing is believed: this program itself is changing settings.
static CHANGING: AtomicU64 = AtomicU64::new(0);

/// This program opens `path` to write: if that is a setting, it is about to change.
pub fn opened_to_write(path: &CStr) {
    if path.to_bytes().starts_with(b"/proc/sys/net/") {
        let end = sys::now() + Duration::from_secs(1);
        CHANGING.store(end.0, Ordering::Relaxed);
    }
}

/// The settings now.
pub fn now() -> Settings {
    let time = sys::now();
    // Somebody else is reading (or was, when this process was forked off).
    let Some(mut last) = LAST.try_lock() else {
        return (read(), crate::sysctl_ip::read());
    };
    let children = sys::process::faults_of_children();
    if let Some((at, then, values)) = *last
        && time.since(at) < FRESH
        && then == children
        && time.0 >= CHANGING.load(Ordering::Relaxed)
    {
        return values;
    }
    let values = (read(), crate::sysctl_ip::read());
    *last = Some((time, children, values));
    values
}

/// Numbers in a file of /proc/sys: how many there were.
fn numbers(path: &CStr, out: &mut [u64]) -> usize {
    let Ok(fd) = sys::io::open(path, libc::O_RDONLY) else {
        return 0;
    };
    let mut bytes = [0u8; 128];
    let Ok(len) = sys::io::read(fd.raw(), &mut bytes) else {
        return 0;
    };
    let text = core::str::from_utf8(bytes.get(..len).unwrap_or_default()).unwrap_or_default();
    let mut count = 0;
    for (place, word) in out.iter_mut().zip(text.split_ascii_whitespace()) {
        let Ok(n) = word.parse() else { break };
        *place = n;
        count += 1;
    }
    count
}

/// Whether every program may choose this algorithm: `tcp_allowed_congestion_control` names it, or
/// can't be read.
pub fn allows_congestion_control(name: &str) -> bool {
    let path = c"/proc/sys/net/ipv4/tcp_allowed_congestion_control";
    let Ok(fd) = sys::io::open(path, libc::O_RDONLY) else {
        return true;
    };
    let mut bytes = [0u8; 256];
    let Ok(len) = sys::io::read(fd.raw(), &mut bytes) else {
        return true;
    };
    let text = bytes.get(..len).unwrap_or_default();
    text.split(u8::is_ascii_whitespace)
        .any(|word| word == name.as_bytes())
}

/// The first word of a file.
fn word(path: &CStr, take: impl FnOnce(&[u8])) {
    let Ok(fd) = sys::io::open(path, libc::O_RDONLY) else {
        return;
    };
    let mut bytes = [0u8; 80];
    let Ok(len) = sys::io::read(fd.raw(), &mut bytes) else {
        return;
    };
    let text = bytes.get(..len).unwrap_or_default();
    take(
        text.split(u8::is_ascii_whitespace)
            .next()
            .unwrap_or_default(),
    );
}

/// One number that fits.
pub(crate) fn one<T: TryFrom<u64>>(path: &CStr, place: &mut T) {
    let mut n = [0];
    if numbers(path, &mut n) == 1
        && let Ok(value) = T::try_from(n[0])
    {
        *place = value;
    }
}

/// All numbers, or none.
fn all<T: TryFrom<u64> + Copy, const N: usize>(path: &CStr, places: &mut [T; N]) {
    let mut n = [0; N];
    if numbers(path, &mut n) == N {
        for (place, n) in places.iter_mut().zip(n) {
            if let Ok(value) = T::try_from(n) {
                *place = value;
            }
        }
    }
}

/// What Linux looks at when a SYN comes to a listener. This is called with the stack's lock held:
/// nothing is allocated.
pub fn read_for_syn(s: &mut Sysctl) {
    one(c"/proc/sys/net/ipv4/tcp_timestamps", &mut s.tcp_timestamps);
    one(
        c"/proc/sys/net/ipv4/tcp_window_scaling",
        &mut s.tcp_window_scaling,
    );
    one(c"/proc/sys/net/ipv4/tcp_sack", &mut s.tcp_sack);
    one(c"/proc/sys/net/ipv4/tcp_ecn", &mut s.tcp_ecn);
    one(
        c"/proc/sys/net/ipv4/tcp_synack_retries",
        &mut s.tcp_synack_retries,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_max_syn_backlog",
        &mut s.tcp_max_syn_backlog,
    );
    one(c"/proc/sys/net/ipv4/tcp_syncookies", &mut s.tcp_syncookies);
    one(
        c"/proc/sys/net/ipv4/tcp_abort_on_overflow",
        &mut s.tcp_abort_on_overflow,
    );
    one(c"/proc/sys/net/ipv4/tcp_fastopen", &mut s.tcp_fastopen);
    if s.tcp_fastopen & SERVER != 0 {
        word(c"/proc/sys/net/ipv4/tcp_fastopen_key", |key| {
            let key = core::str::from_utf8(key).unwrap_or_default();
            s.tcp_fastopen_key = utcp_stack::tcp::parse_key(key);
        });
    }
}

fn read() -> Sysctl {
    let mut s = Sysctl::default();
    read_for_syn(&mut s);
    one(
        c"/proc/sys/net/ipv4/tcp_syn_retries",
        &mut s.tcp_syn_retries,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_syn_linear_timeouts",
        &mut s.tcp_syn_linear_timeouts,
    );
    one(c"/proc/sys/net/ipv4/tcp_retries1", &mut s.tcp_retries1);
    one(c"/proc/sys/net/ipv4/tcp_retries2", &mut s.tcp_retries2);
    one(
        c"/proc/sys/net/ipv4/tcp_orphan_retries",
        &mut s.tcp_orphan_retries,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_max_orphans",
        &mut s.tcp_max_orphans,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_max_tw_buckets",
        &mut s.tcp_max_tw_buckets,
    );
    one(c"/proc/sys/net/ipv4/tcp_reordering", &mut s.tcp_reordering);
    one(
        c"/proc/sys/net/ipv4/tcp_max_reordering",
        &mut s.tcp_max_reordering,
    );
    one(c"/proc/sys/net/ipv4/tcp_recovery", &mut s.tcp_recovery);
    one(
        c"/proc/sys/net/ipv4/tcp_retrans_collapse",
        &mut s.tcp_retrans_collapse,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_early_retrans",
        &mut s.tcp_early_retrans,
    );
    one(c"/proc/sys/net/ipv4/tcp_frto", &mut s.tcp_frto);
    one(
        c"/proc/sys/net/ipv4/tcp_ecn_fallback",
        &mut s.tcp_ecn_fallback,
    );
    word(c"/proc/sys/net/ipv4/tcp_congestion_control", |name| {
        if let Some(algorithm) = Algorithm::named(name) {
            s.tcp_congestion_control = algorithm;
        }
    });
    one(
        c"/proc/sys/net/ipv4/tcp_comp_sack_nr",
        &mut s.tcp_comp_sack_nr,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_pacing_ss_ratio",
        &mut s.tcp_pacing_ss_ratio,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_pacing_ca_ratio",
        &mut s.tcp_pacing_ca_ratio,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_comp_sack_delay_ns",
        &mut s.tcp_comp_sack_delay_ns,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_thin_linear_timeouts",
        &mut s.tcp_thin_linear_timeouts,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_notsent_lowat",
        &mut s.tcp_notsent_lowat,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_min_tso_segs",
        &mut s.tcp_min_tso_segs,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_tso_rtt_log",
        &mut s.tcp_tso_rtt_log,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_slow_start_after_idle",
        &mut s.tcp_slow_start_after_idle,
    );
    one(c"/proc/sys/net/ipv4/tcp_rfc1337", &mut s.tcp_rfc1337);
    one(c"/proc/sys/net/ipv4/tcp_tw_reuse", &mut s.tcp_tw_reuse);
    one(
        c"/proc/sys/net/ipv4/tcp_min_snd_mss",
        &mut s.tcp_min_snd_mss,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_fin_timeout",
        &mut s.tcp_fin_timeout,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_keepalive_time",
        &mut s.tcp_keepalive_time,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_keepalive_intvl",
        &mut s.tcp_keepalive_intvl,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_keepalive_probes",
        &mut s.tcp_keepalive_probes,
    );
    one(c"/proc/sys/net/ipv4/tcp_dsack", &mut s.tcp_dsack);
    one(
        c"/proc/sys/net/ipv4/tcp_invalid_ratelimit",
        &mut s.tcp_invalid_ratelimit,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_challenge_ack_limit",
        &mut s.tcp_challenge_ack_limit,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_moderate_rcvbuf",
        &mut s.tcp_moderate_rcvbuf,
    );
    one(
        c"/proc/sys/net/ipv4/ip_nonlocal_bind",
        &mut s.ip_nonlocal_bind,
    );
    one(c"/proc/sys/net/ipv4/ip_default_ttl", &mut s.ip_default_ttl);
    one(c"/proc/sys/net/ipv4/tcp_rto_max_ms", &mut s.tcp_rto_max_ms);
    let mut us = 0u32;
    one(c"/proc/sys/net/ipv4/tcp_rto_min_us", &mut us);
    if us > 0 {
        s.tcp_rto_min_ms = us / 1000;
    }
    one(c"/proc/sys/net/ipv6/bindv6only", &mut s.bindv6only);
    all(c"/proc/sys/net/ipv4/tcp_rmem", &mut s.tcp_rmem);
    all(c"/proc/sys/net/ipv4/tcp_wmem", &mut s.tcp_wmem);
    one(c"/proc/sys/net/core/rmem_default", &mut s.rmem_default);
    one(c"/proc/sys/net/core/rmem_max", &mut s.rmem_max);
    one(c"/proc/sys/net/core/wmem_default", &mut s.wmem_default);
    one(c"/proc/sys/net/core/wmem_max", &mut s.wmem_max);
    one(c"/proc/sys/net/core/somaxconn", &mut s.somaxconn);
    one(
        c"/proc/sys/net/ipv4/tcp_fastopen_blackhole_timeout_sec",
        &mut s.tcp_fastopen_blackhole_timeout_sec,
    );
    all(
        c"/proc/sys/net/ipv4/ip_local_port_range",
        &mut s.ip_local_port_range,
    );
    one(
        c"/proc/sys/net/ipv4/ip_unprivileged_port_start",
        &mut s.ip_unprivileged_port_start,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_mtu_probing",
        &mut s.tcp_mtu_probing,
    );
    one(c"/proc/sys/net/ipv4/tcp_base_mss", &mut s.tcp_base_mss);
    one(
        c"/proc/sys/net/ipv4/tcp_mtu_probe_floor",
        &mut s.tcp_mtu_probe_floor,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_probe_interval",
        &mut s.tcp_probe_interval,
    );
    one(
        c"/proc/sys/net/ipv4/tcp_probe_threshold",
        &mut s.tcp_probe_threshold,
    );
    s
}
