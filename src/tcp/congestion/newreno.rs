//! RFC 5681: slow start, congestion avoidance, halving.

use super::Congestion;

/// Grow for `acked` segments.
pub(super) fn on_ack(c: &mut Congestion, acked: u32) {
    let mut acked = acked;
    if c.in_slow_start() {
        // Section 3.1, equation (2), for as many segments as the ACK covers (RFC 3465).
        let grown = c.cwnd.saturating_add(acked).min(c.ssthresh);
        acked = acked.saturating_sub(grown - c.cwnd);
        c.cwnd = grown;
        if acked == 0 {
            return;
        }
    }
    // Equation (3): one segment for each window's worth of ACKs.
    c.cwnd_cnt = c.cwnd_cnt.saturating_add(acked);
    let window = c.cwnd.max(1);
    if c.cwnd_cnt >= window {
        let steps = c.cwnd_cnt / window;
        c.cwnd_cnt -= steps * window;
        c.cwnd = c.cwnd.saturating_add(steps).min(super::NO_SSTHRESH);
    }
}

/// Equation (4).
pub(super) fn ssthresh(cwnd: u32) -> u32 {
    (cwnd / 2).max(2)
}
