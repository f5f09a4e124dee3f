//! Addresses and ports as the socket tables keep them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address; IPv4 in its IPv4-mapped form, so that one table serves both families.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(transparent)]
pub struct Addr(pub [u8; 16]);

impl Addr {
    /// `::`: any address of either family.
    pub const ANY6: Addr = Addr([0; 16]);
    /// `0.0.0.0` (as `::ffff:0.0.0.0`).
    pub const ANY4: Addr = Addr([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);

    /// An IPv4 address.
    pub fn v4(a: Ipv4Addr) -> Addr {
        Addr(a.to_ipv6_mapped().octets())
    }
    /// An IPv6 address (an IPv4-mapped one is the IPv4 address).
    pub fn v6(a: Ipv6Addr) -> Addr {
        Addr(a.octets())
    }
    /// IPv4, or IPv4-mapped.
    pub fn is_v4(self) -> bool {
        self.0[..12] == Addr::ANY4.0[..12]
    }
    /// `0.0.0.0` or `::`.
    pub fn is_any(self) -> bool {
        self == Addr::ANY4 || self == Addr::ANY6
    }
    /// 127.0.0.0/8 or `::1`.
    pub fn is_loopback(self) -> bool {
        if self.is_v4() {
            self.0[12] == 127
        } else {
            self == Addr::v6(Ipv6Addr::LOCALHOST)
        }
    }
    /// Multicast of either family, or the IPv4 limited broadcast address.
    pub fn is_multicast(self) -> bool {
        if self.is_v4() {
            self.0[12] >= 224
        } else {
            self.0[0] == 0xff
        }
    }
    /// As the standard library's type; IPv4-mapped addresses become IPv4.
    pub fn ip(self) -> IpAddr {
        if self.is_v4() {
            IpAddr::V4(Ipv4Addr::new(
                self.0[12], self.0[13], self.0[14], self.0[15],
            ))
        } else {
            IpAddr::V6(Ipv6Addr::from(self.0))
        }
    }
    /// The first `prefix` bits (counted within the family) equal `other`'s.
    pub fn same_net(self, other: Addr, prefix: u8) -> bool {
        let bits = usize::from(prefix) + if self.is_v4() { 96 } else { 0 };
        let bits = bits.min(128);
        let (whole, rest) = (bits / 8, bits % 8);
        self.is_v4() == other.is_v4()
            && self.0[..whole] == other.0[..whole]
            && (rest == 0 || (self.0[whole] ^ other.0[whole]) >> (8 - rest) == 0)
    }
}

impl From<IpAddr> for Addr {
    fn from(a: IpAddr) -> Addr {
        match a {
            IpAddr::V4(a) => Addr::v4(a),
            IpAddr::V6(a) => Addr::v6(a),
        }
    }
}

impl core::fmt::Display for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.ip().fmt(f)
    }
}

/// An address and a port (host byte order).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(C)]
pub struct Endpoint {
    /// The address.
    pub addr: Addr,
    /// The port; 0 is none.
    pub port: u16,
}

impl Endpoint {
    /// `addr`:`port`.
    pub fn new(addr: Addr, port: u16) -> Endpoint {
        Endpoint { addr, port }
    }
}

impl core::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.addr.ip() {
            IpAddr::V4(a) => write!(f, "{a}:{}", self.port),
            IpAddr::V6(a) => write!(f, "[{a}]:{}", self.port),
        }
    }
}
