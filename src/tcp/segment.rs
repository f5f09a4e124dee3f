//! A TCP segment without its payload, as the connection sees it.

use super::seq::SeqNum;

/// The control bits (RFC 9293, section 3.1), in header order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// No bit.
    pub const NONE: Flags = Flags(0);
    /// FIN: no more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// SYN: synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// RST: reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// PSH: push function.
    pub const PSH: Flags = Flags(0x08);
    /// ACK: the acknowledgment field is significant.
    pub const ACK: Flags = Flags(0x10);
    /// URG: the urgent pointer is significant.
    pub const URG: Flags = Flags(0x20);
    /// ECE (RFC 3168).
    pub const ECE: Flags = Flags(0x40);
    /// CWR (RFC 3168).
    pub const CWR: Flags = Flags(0x80);

    /// All bits of `other` are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// TCP options that the stack reads and writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Options {
    /// Maximum segment size (SYN only; RFC 9293, section 3.7.1).
    pub mss: Option<u16>,
    /// Window scale shift (SYN only; RFC 7323, section 2).
    pub wscale: Option<u8>,
    /// SACK permitted (SYN only; RFC 2018, section 2).
    pub sack_permitted: bool,
    /// Timestamps: value and echo reply (RFC 7323, section 3).
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks, `sack_len` of them (RFC 2018, section 3).
    pub sack: [(SeqNum, SeqNum); 4],
    /// How many of `sack` count.
    pub sack_len: u8,
    /// Fast Open (SYN only; RFC 7413, section 4.1.1).
    pub fastopen: Option<super::Cookie>,
}

/// A segment's header, parsed; also one to be emitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Segment {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte (of the SYN, if set).
    pub seq: SeqNum,
    /// Acknowledgment number; meaningful with [`Flags::ACK`].
    pub ack: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// Window as in the header, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: Options,
    /// Payload bytes.
    pub len: u32,
    /// The ECN field of the IP header (RFC 3168, section 5): the lowest two bits of TOS or
    /// traffic class.
    pub ecn: u8,
}

impl Segment {
    /// SEG.LEN of RFC 9293: payload plus one each for SYN and FIN.
    pub fn seq_len(&self) -> u32 {
        let control = u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN));
        self.len.wrapping_add(control)
    }
    /// The sequence number just after this segment.
    pub fn end(&self) -> SeqNum {
        self.seq + self.seq_len()
    }
}
