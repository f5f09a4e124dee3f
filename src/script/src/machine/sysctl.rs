//! Settings by their names of Linux.

use utcp_stack::tcp::Sysctl;
use utcp_stack::tcp::congestion::Algorithm;

/// Why a setting can't be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The stack has no such setting (Linux may have).
    Unknown,
    /// The value makes no sense.
    Value,
}

fn one<T: TryFrom<u64>>(place: &mut T, value: &str) -> Result<(), Refused> {
    let n: u64 = value.trim().parse().map_err(|_| Refused::Value)?;
    *place = T::try_from(n).map_err(|_| Refused::Value)?;
    Ok(())
}

fn all<T: TryFrom<u64>, const N: usize>(places: &mut [T; N], value: &str) -> Result<(), Refused> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    if words.len() != N {
        return Err(Refused::Value);
    }
    for (place, word) in places.iter_mut().zip(words) {
        one(place, word)?;
    }
    Ok(())
}

/// Set `net.ipv4.tcp_sack` (or `net/ipv4/tcp_sack`) and the like.
pub fn set(s: &mut Sysctl, name: &str, value: &str) -> Result<(), Refused> {
    let name = name.replace('/', ".");
    match name.as_str() {
        "net.ipv4.tcp_syn_retries" => one(&mut s.tcp_syn_retries, value),
        "net.ipv4.tcp_synack_retries" => one(&mut s.tcp_synack_retries, value),
        "net.ipv4.tcp_syn_linear_timeouts" => one(&mut s.tcp_syn_linear_timeouts, value),
        "net.ipv4.tcp_retries1" => one(&mut s.tcp_retries1, value),
        "net.ipv4.tcp_retries2" => one(&mut s.tcp_retries2, value),
        "net.ipv4.tcp_orphan_retries" => one(&mut s.tcp_orphan_retries, value),
        "net.ipv4.tcp_max_orphans" => one(&mut s.tcp_max_orphans, value),
        "net.ipv4.tcp_max_tw_buckets" => one(&mut s.tcp_max_tw_buckets, value),
        "net.ipv4.tcp_timestamps" => one(&mut s.tcp_timestamps, value),
        "net.ipv4.tcp_window_scaling" => one(&mut s.tcp_window_scaling, value),
        "net.ipv4.tcp_sack" => one(&mut s.tcp_sack, value),
        "net.ipv4.tcp_reordering" => one(&mut s.tcp_reordering, value),
        "net.ipv4.tcp_slow_start_after_idle" => one(&mut s.tcp_slow_start_after_idle, value),
        "net.ipv4.tcp_notsent_lowat" => one(&mut s.tcp_notsent_lowat, value),
        "net.ipv4.tcp_min_tso_segs" => one(&mut s.tcp_min_tso_segs, value),
        "net.ipv4.tcp_tso_rtt_log" => one(&mut s.tcp_tso_rtt_log, value),
        "net.ipv4.tcp_rfc1337" => one(&mut s.tcp_rfc1337, value),
        "net.ipv4.tcp_abort_on_overflow" => one(&mut s.tcp_abort_on_overflow, value),
        "net.ipv4.tcp_tw_reuse" => one(&mut s.tcp_tw_reuse, value),
        "net.ipv4.tcp_min_snd_mss" => one(&mut s.tcp_min_snd_mss, value),
        "net.ipv4.tcp_fin_timeout" => one(&mut s.tcp_fin_timeout, value),
        "net.ipv4.tcp_keepalive_time" => one(&mut s.tcp_keepalive_time, value),
        "net.ipv4.tcp_keepalive_intvl" => one(&mut s.tcp_keepalive_intvl, value),
        "net.ipv4.tcp_keepalive_probes" => one(&mut s.tcp_keepalive_probes, value),
        "net.ipv4.tcp_rto_max_ms" => one(&mut s.tcp_rto_max_ms, value),
        "net.ipv4.tcp_rto_min_us" => {
            let mut us = 0u32;
            one(&mut us, value)?;
            s.tcp_rto_min_ms = us / 1000;
            Ok(())
        }
        "net.ipv4.tcp_comp_sack_nr" => one(&mut s.tcp_comp_sack_nr, value),
        "net.ipv4.tcp_comp_sack_delay_ns" => one(&mut s.tcp_comp_sack_delay_ns, value),
        "net.ipv4.tcp_thin_linear_timeouts" => one(&mut s.tcp_thin_linear_timeouts, value),
        "net.ipv4.tcp_dsack" => one(&mut s.tcp_dsack, value),
        "net.ipv4.tcp_invalid_ratelimit" => one(&mut s.tcp_invalid_ratelimit, value),
        "net.ipv4.tcp_challenge_ack_limit" => one(&mut s.tcp_challenge_ack_limit, value),
        "net.ipv4.tcp_pacing_ss_ratio" => one(&mut s.tcp_pacing_ss_ratio, value),
        "net.ipv4.tcp_pacing_ca_ratio" => one(&mut s.tcp_pacing_ca_ratio, value),
        "net.ipv4.tcp_moderate_rcvbuf" => one(&mut s.tcp_moderate_rcvbuf, value),
        "net.ipv4.ip_nonlocal_bind" => one(&mut s.ip_nonlocal_bind, value),
        "net.ipv4.ip_default_ttl" => one(&mut s.ip_default_ttl, value),
        "net.ipv4.ip_unprivileged_port_start" => one(&mut s.ip_unprivileged_port_start, value),
        "net.ipv6.bindv6only" => one(&mut s.bindv6only, value),
        "net.ipv4.tcp_rmem" => all(&mut s.tcp_rmem, value),
        "net.ipv4.tcp_wmem" => all(&mut s.tcp_wmem, value),
        "net.core.rmem_default" => one(&mut s.rmem_default, value),
        "net.core.rmem_max" => one(&mut s.rmem_max, value),
        "net.core.wmem_default" => one(&mut s.wmem_default, value),
        "net.core.wmem_max" => one(&mut s.wmem_max, value),
        "net.core.somaxconn" => one(&mut s.somaxconn, value),
        "net.ipv4.tcp_syncookies" => one(&mut s.tcp_syncookies, value),
        "net.ipv4.tcp_fastopen" => match value.strip_prefix("0x") {
            Some(hex) => {
                let bits = u32::from_str_radix(hex.trim(), 16);
                s.tcp_fastopen = bits.map_err(|_| Refused::Value)?;
                Ok(())
            }
            None => one(&mut s.tcp_fastopen, value),
        },
        "net.ipv4.tcp_fastopen_blackhole_timeout_sec" => {
            one(&mut s.tcp_fastopen_blackhole_timeout_sec, value)
        }
        "net.ipv4.tcp_fastopen_key" => {
            s.tcp_fastopen_key = utcp_stack::tcp::parse_key(value);
            Ok(())
        }
        "net.ipv4.tcp_ecn" => one(&mut s.tcp_ecn, value),
        "net.ipv4.tcp_ecn_fallback" => one(&mut s.tcp_ecn_fallback, value),
        "net.ipv4.tcp_frto" => one(&mut s.tcp_frto, value),
        "net.ipv4.tcp_recovery" => one(&mut s.tcp_recovery, value),
        "net.ipv4.tcp_retrans_collapse" => one(&mut s.tcp_retrans_collapse, value),
        "net.ipv4.tcp_early_retrans" => one(&mut s.tcp_early_retrans, value),
        "net.ipv4.tcp_max_reordering" => one(&mut s.tcp_max_reordering, value),
        "net.ipv4.tcp_congestion_control" => {
            let named = Algorithm::named(value.trim().as_bytes());
            s.tcp_congestion_control = named.ok_or(Refused::Value)?;
            Ok(())
        }
        "net.ipv4.tcp_max_syn_backlog" => one(&mut s.tcp_max_syn_backlog, value),
        "net.ipv4.ip_local_port_range" => all(&mut s.ip_local_port_range, value),
        "net.ipv4.tcp_mtu_probing" => one(&mut s.tcp_mtu_probing, value),
        "net.ipv4.tcp_base_mss" => one(&mut s.tcp_base_mss, value),
        "net.ipv4.tcp_mtu_probe_floor" => one(&mut s.tcp_mtu_probe_floor, value),
        "net.ipv4.tcp_probe_interval" => one(&mut s.tcp_probe_interval, value),
        "net.ipv4.tcp_probe_threshold" => one(&mut s.tcp_probe_threshold, value),
        _ => Err(Refused::Unknown),
    }
}

/// The names that [`set`] knows, for reading them all from /proc/sys.
pub const NAMES: &[&str] = &[
    "net.ipv4.tcp_comp_sack_nr",
    "net.ipv4.tcp_comp_sack_delay_ns",
    "net.ipv4.tcp_thin_linear_timeouts",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_dsack",
    "net.ipv4.tcp_invalid_ratelimit",
    "net.ipv4.tcp_challenge_ack_limit",
    "net.ipv4.tcp_pacing_ss_ratio",
    "net.ipv4.tcp_pacing_ca_ratio",
    "net.ipv4.tcp_moderate_rcvbuf",
    "net.ipv4.ip_nonlocal_bind",
    "net.ipv4.ip_default_ttl",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv6.bindv6only",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_fastopen",
    "net.ipv4.tcp_fastopen_key",
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec",
    "net.ipv4.tcp_ecn",
    "net.ipv4.tcp_ecn_fallback",
    "net.ipv4.tcp_frto",
    "net.ipv4.tcp_recovery",
    "net.ipv4.tcp_retrans_collapse",
    "net.ipv4.tcp_early_retrans",
    "net.ipv4.tcp_max_reordering",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_syn_linear_timeouts",
    "net.ipv4.tcp_retries1",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_reordering",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_min_tso_segs",
    "net.ipv4.tcp_tso_rtt_log",
    "net.ipv4.tcp_rfc1337",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_min_snd_mss",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rto_max_ms",
    "net.ipv4.tcp_rto_min_us",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_mtu_probing",
    "net.ipv4.tcp_base_mss",
    "net.ipv4.tcp_mtu_probe_floor",
    "net.ipv4.tcp_probe_interval",
    "net.ipv4.tcp_probe_threshold",
];
