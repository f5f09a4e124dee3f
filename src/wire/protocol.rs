//! What an IP header says that follows (IANA's protocol numbers).

/// IPv6: options for every hop.
pub const HOP_BY_HOP: u8 = 0;
/// ICMP.
pub const ICMP: u8 = 1;
/// IGMP.
pub const IGMP: u8 = 2;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// IPv6: a route.
pub const ROUTING: u8 = 43;
/// IPv6: a piece of a packet.
pub const FRAGMENT: u8 = 44;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// IPv6: nothing follows.
pub const NO_NEXT_HEADER: u8 = 59;
/// IPv6: options for the destination.
pub const DESTINATION_OPTIONS: u8 = 60;
