//! Headers on the wire: parsing and emitting IPv4, IPv6, TCP and ICMP, checksums, options.
#![forbid(unsafe_code)]

use crate::tcp::Segment;
use core::net::IpAddr;

/// The longest IP plus TCP header this stack emits: IPv6 (40) and TCP (60).
pub const MAX_HEADERS: usize = 100;

/// What a packet turned out to be. Slices point into the packet.
#[derive(Debug)]
pub enum Packet<'a> {
    /// A TCP segment for somebody.
    Tcp {
        /// Source address.
        src: IpAddr,
        /// Destination address.
        dst: IpAddr,
        /// The header; `len` is the payload's length.
        segment: Segment,
        /// Where in the packet the payload starts; it is `segment.len` bytes long.
        payload: usize,
        /// The IPv4 TOS or IPv6 traffic class.
        tos: u8,
    },
    /// An echo request, to be answered with the same identifier, sequence number and data.
    Echo {
        /// Source address.
        src: IpAddr,
        /// Destination address.
        dst: IpAddr,
        /// The ICMP message after its checksum: identifier, sequence number, data.
        body: &'a [u8],
    },
    /// An ICMP error about a TCP segment that this host sent.
    Error {
        /// Who reported it.
        from: IpAddr,
        /// The quoted segment's source (us), destination and sequence number.
        local: (IpAddr, u16),
        /// The quoted segment's destination.
        remote: (IpAddr, u16),
        /// The quoted sequence number.
        seq: crate::tcp::SeqNum,
        /// What is wrong.
        kind: IcmpError,
    },
    /// A datagram or other protocol; `proto` is the IP protocol number.
    Other {
        /// Source address.
        src: IpAddr,
        /// Destination address.
        dst: IpAddr,
        /// IP protocol number.
        proto: u8,
        /// The transport header and payload.
        body: &'a [u8],
    },
}

/// ICMP and ICMPv6 errors by meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpError {
    /// Network unreachable / no route to destination.
    NetUnreachable,
    /// Host unreachable / address unreachable.
    HostUnreachable,
    /// Protocol unreachable.
    ProtocolUnreachable,
    /// Port unreachable.
    PortUnreachable,
    /// Fragmentation needed / packet too big, with the next hop's MTU (0: not told).
    TooBig(u32),
    /// Administratively prohibited.
    Prohibited,
    /// Time exceeded.
    TimeExceeded,
    /// Parameter problem.
    ParameterProblem,
    /// Any other.
    Other,
}

/// Why a packet was not understood; it is dropped and counted under this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Shorter than its headers say.
    Truncated,
    /// A header field out of its range.
    BadHeader,
    /// IP, TCP or ICMP checksum wrong.
    Checksum,
    /// A fragment (reassembly is not done here).
    Fragment,
}

/// Parse one IP packet. `verified`: the transport checksum is known to be good or left to be
/// filled in by offload, and is not looked at.
pub fn parse(_packet: &[u8], _verified: bool) -> Result<Packet<'_>, Malformed> {
    todo!()
}

/// How the transport checksum of an emitted segment is to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// In full, over these payload parts.
    Full,
    /// Pseudo-header only; the device does the rest (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    Partial,
}

/// Write the IP and TCP headers of `segment` into `out`; returns their length and the IP header's length.
/// `payload` is what will follow (for lengths and, with [`Checksum::Full`], the checksum).
/// `id` is the IPv4 identification; DF is set.
#[allow(clippy::too_many_arguments)]
pub fn emit_tcp(
    _src: IpAddr,
    _dst: IpAddr,
    _segment: &Segment,
    _payload: &[&[u8]],
    _tos: u8,
    _ttl: u8,
    _id: u16,
    _checksum: Checksum,
    _out: &mut [u8; MAX_HEADERS],
) -> (usize, usize) {
    todo!()
}

/// Write an echo reply to `out`; returns its length, or `None` when it does not fit.
pub fn emit_echo_reply(_src: IpAddr, _dst: IpAddr, _body: &[u8], _out: &mut [u8]) -> Option<usize> {
    todo!()
}

/// The length of `options` as emitted, padded to a multiple of four.
pub fn options_len(_options: &crate::tcp::Options) -> usize {
    todo!()
}
