//! The RST for a segment that belongs to no connection.

use super::{Flags, Segment, SeqNum};

/// The RST that answers a segment for which there is no connection (RFC 9293, section
/// 3.10.7.1); none for a RST.
pub fn reset_for(seg: &Segment) -> Option<Segment> {
    if seg.flags.has(Flags::RST) {
        return None;
    }
    let mut reset = Segment {
        src_port: seg.dst_port,
        dst_port: seg.src_port,
        flags: Flags::RST,
        ..Segment::default()
    };
    if seg.flags.has(Flags::ACK) {
        // "<SEQ=SEG.ACK><CTL=RST>"
        reset.seq = seg.ack;
    } else {
        // "<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>"
        reset.seq = SeqNum(0);
        reset.ack = seg.end();
        reset.flags = Flags::RST.with(Flags::ACK);
    }
    Some(reset)
}
