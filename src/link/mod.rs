//! The way out of the host.

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Handed over.
    Done,
    /// The device's queue is full.
    Full,
    /// There is no device (any more).
    Gone,
}

/// Stub of virtio_net_hdr.
#[derive(Clone, Copy, Debug, Default)]
pub struct VnetHdr {
    x: u8,
}
impl VnetHdr {
    /// A segment to be cut at `mss`.
    pub fn tso(_v4: bool, _headers: u16, _ip_header: u16, _mss: u16) -> VnetHdr {
        VnetHdr::default()
    }
    /// A segment whose checksum the device completes.
    pub fn partial_checksum(_ip_header: u16) -> VnetHdr {
        VnetHdr::default()
    }
    /// NEEDS_CSUM or DATA_VALID.
    pub fn checksum_is_good(&self) -> bool {
        self.x != 0
    }
}

/// A device.
pub trait Device {
    /// Send a packet made of these parts.
    fn send(&mut self, hdr: &VnetHdr, parts: &[&[u8]]) -> Sent;
    /// Receive a packet into `buf`.
    fn recv(&mut self, buf: &mut [u8]) -> Option<(VnetHdr, usize)>;
}
