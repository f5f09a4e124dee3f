//! `struct virtio_net_hdr` (virtio 1.2, section 5.1.6, in its legacy form of 10 bytes): what
//! travels before each packet on a TUN with `IFF_VNET_HDR`.

use crate::tcp::Flags;
use crate::wire::Cut;

/// The header; lengths and offsets count from the start of the IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VnetHdr {
    /// [`VnetHdr::NEEDS_CSUM`], [`VnetHdr::DATA_VALID`].
    pub flags: u8,
    /// [`VnetHdr::GSO_NONE`], [`VnetHdr::GSO_TCPV4`] ...
    pub gso_type: u8,
    /// Length of all headers.
    pub hdr_len: u16,
    /// Payload bytes of each packet to cut (the MSS less options).
    pub gso_size: u16,
    /// Where the checksum starts to be computed: the transport header.
    pub csum_start: u16,
    /// Where from there it belongs.
    pub csum_offset: u16,
}

impl VnetHdr {
    /// Bytes on the descriptor.
    pub const LEN: usize = 10;

    /// `flags`: the transport checksum field holds the pseudo-header's sum; complete it.
    pub const NEEDS_CSUM: u8 = 1;
    /// `flags`: the checksum was looked at and is right.
    pub const DATA_VALID: u8 = 2;

    /// `gso_type`: an ordinary packet.
    pub const GSO_NONE: u8 = 0;
    /// `gso_type`: TCP on IPv4, to be cut.
    pub const GSO_TCPV4: u8 = 1;
    /// `gso_type`: TCP on IPv6, to be cut.
    pub const GSO_TCPV6: u8 = 4;
    /// Added to `gso_type`: CWR is set, for the first packet only (RFC 3168, section 6.1.2).
    pub const GSO_ECN: u8 = 0x80;

    /// Nothing left to do: the packet is as it would be on a wire.
    pub const PLAIN: VnetHdr = VnetHdr {
        flags: 0,
        gso_type: 0,
        hdr_len: 0,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
    };

    /// For a TCP segment whose checksum is partial, to be cut to `mss` if `payload_len` exceeds
    /// it. `headers_len` and `ip_len` are what `wire::emit_tcp` returned; `v4` whether it is IPv4;
    /// `mss` is payload bytes per packet; `cwr` whether the segment has CWR set.
    #[inline]
    pub fn tcp(
        headers_len: usize,
        ip_len: usize,
        v4: bool,
        payload_len: u32,
        mss: u16,
        cwr: bool,
    ) -> VnetHdr {
        let mut hdr = VnetHdr {
            flags: VnetHdr::NEEDS_CSUM,
            gso_type: VnetHdr::GSO_NONE,
            hdr_len: headers_len as u16,
            gso_size: 0,
            csum_start: ip_len as u16,
            csum_offset: crate::wire::CHECKSUM_AT as u16,
        };
        if payload_len > u32::from(mss) {
            hdr.gso_size = mss;
            hdr.gso_type = if v4 {
                VnetHdr::GSO_TCPV4
            } else {
                VnetHdr::GSO_TCPV6
            };
            if cwr {
                hdr.gso_type |= VnetHdr::GSO_ECN;
            }
        }
        hdr
    }

    /// For `packet`, whose checksum is partial, which is to be cut to pieces as large as `cut` has
    /// them: a part of what that is of, or all of it.
    pub fn to_cut(packet: &[u8], cut: &Cut) -> VnetHdr {
        let (headers, ip_len) = (cut.headers(), cut.ip_len());
        let v4 = packet.first().is_some_and(|b| b >> 4 == 4);
        let flags = packet.get(ip_len + 13).copied().unwrap_or(0);
        let cwr = Flags(flags).has(Flags::CWR);
        let payload = packet.len().saturating_sub(headers) as u32;
        VnetHdr::tcp(headers, ip_len, v4, payload, cut.size() as u16, cwr)
    }

    /// A received packet's transport checksum needs no look: it was verified, or the sender is
    /// this machine's kernel, which left it to be filled in.
    #[inline]
    pub fn verified(&self) -> bool {
        self.flags & (VnetHdr::NEEDS_CSUM | VnetHdr::DATA_VALID) != 0
    }

    /// As on the descriptor: in the machine's byte order, as a legacy device.
    #[inline]
    pub fn to_bytes(&self) -> [u8; VnetHdr::LEN] {
        let [h0, h1] = self.hdr_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// Read what [`VnetHdr::to_bytes`] writes.
    #[inline]
    pub fn from_bytes(bytes: [u8; VnetHdr::LEN]) -> VnetHdr {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = bytes;
        VnetHdr {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([g0, g1]),
            csum_start: u16::from_ne_bytes([s0, s1]),
            csum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }
}
