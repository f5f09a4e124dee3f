//! RFC 5681: slow start, congestion avoidance, halving.

use super::Congestion;

/// Grow for `acked` segments.
pub(super) fn on_ack(c: &mut Congestion, acked: u32) {
    let mut acked = acked;
    if c.in_slow_start() {
        acked = c.slow_start(acked);
        if acked == 0 {
            return;
        }
    }
    // Equation (3): one segment for each window's worth of ACKs.
    c.avoid(c.cwnd, acked);
}

/// Equation (4).
// RFC 5681 S3.1-13
pub(super) fn ssthresh(cwnd: u32) -> u32 {
    (cwnd / 2).max(2)
}
