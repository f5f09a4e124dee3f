//! `struct tcp_info`, and Linux's numbers of TCP states.

use utcp_stack::tcp::{Info, State};

/// Bytes of Linux 6.18's struct; what it has of AccECN stays zero.
pub const LEN: usize = 280;

/// As in `include/net/tcp_states.h`.
pub fn state_number(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

/// The struct's bytes. `queue`: of a listener, the connections that wait and its limit.
pub fn encode(state: State, i: &Info, queue: (u32, u32), pmtu: u32) -> [u8; LEN] {
    let mut out = [0; LEN];
    // A descriptor never sees TIME_WAIT: the kernel's socket is CLOSE by then.
    out[0] = match state {
        State::TimeWait => 7,
        other => state_number(other),
    };
    if state == State::Listen {
        out[24..28].copy_from_slice(&queue.0.to_ne_bytes());
        out[28..32].copy_from_slice(&queue.1.to_ne_bytes());
        // And what every socket tells.
        out[80..84].copy_from_slice(&i.snd_cwnd.to_ne_bytes());
        out[88..92].copy_from_slice(&i.reordering.to_ne_bytes());
        out[104..112].copy_from_slice(&i.pacing_rate.to_ne_bytes());
        out[112..120].copy_from_slice(&i.max_pacing_rate.to_ne_bytes());
        return out;
    }
    out[1] = i.ca_state;
    out[2] = i.retransmits;
    out[3] = i.probes;
    out[4] = i.backoff;
    out[5] = u8::from(i.timestamps)
        | u8::from(i.sack) << 1
        | u8::from(i.wscale_ok) << 2
        | u8::from(i.ecn) << 3
        | u8::from(i.ecn_seen) << 4
        | u8::from(i.syn_data) << 5;
    out[6] = i.snd_wscale & 15 | i.rcv_wscale << 4;
    out[7] = u8::from(i.app_limited) | (i.fastopen_client_fail & 3) << 1;
    let words = [
        (8, i.rto_us),
        (12, i.ato_us),
        (16, i.snd_mss),
        (20, i.rcv_mss),
        (24, i.unacked),
        (28, i.sacked),
        (32, i.lost),
        (36, i.retrans),
        (44, i.last_data_sent_ms),
        (52, i.last_data_recv_ms),
        (56, i.last_ack_recv_ms),
        (60, pmtu),
        (64, i.rcv_ssthresh),
        (68, i.rtt_us),
        (72, i.rttvar_us),
        (76, i.snd_ssthresh),
        (80, i.snd_cwnd),
        (84, i.advmss),
        (88, i.reordering),
        (92, i.rcv_rtt_us),
        (96, i.rcv_space),
        (100, i.total_retrans),
        (136, i.segs_out),
        (140, i.segs_in),
        (144, i.notsent_bytes),
        (148, i.min_rtt_us),
        (152, i.data_segs_in),
        (156, i.data_segs_out),
        (192, i.delivered),
        (196, i.delivered_ce),
        (216, i.dsack_dups),
        (220, i.reord_seen),
        (224, i.rcv_ooopack),
        (228, i.snd_wnd),
        (232, i.rcv_wnd),
        // tcpi_rehash: Linux chooses another path, by its hash, at each timeout.
        (236, i.total_rto.into()),
        (244, i.total_rto_time_ms),
    ];
    for (at, value) in words {
        out[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    out[240..242].copy_from_slice(&i.total_rto.to_ne_bytes());
    out[242..244].copy_from_slice(&i.total_rto_recoveries.to_ne_bytes());
    let longs = [
        (104, i.pacing_rate),
        (112, i.max_pacing_rate),
        (120, i.bytes_acked),
        (128, i.bytes_received),
        (160, i.delivery_rate),
        (168, i.busy_us),
        (176, i.rwnd_limited_us),
        (184, i.sndbuf_limited_us),
        (200, i.bytes_sent),
        (208, i.bytes_retrans),
    ];
    for (at, value) in longs {
        out[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
    out
}
