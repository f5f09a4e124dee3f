//! The link: where packets leave the host, a TUN device with or without offload.
//!
//! A device carries whole IP packets and doesn't look into them. Beside each packet travels a
//! [`VnetHdr`], which says what is left to do: a checksum to fill in, a large segment to cut.

pub mod config;
mod error;
mod netlink;
mod plain;
#[cfg(test)]
mod tests;
mod tun;
mod vnet;

pub use crate::sys::tun::MAX_PARTS;
pub use error::TunError;
#[cfg(test)]
pub(crate) use tun::node_error;
pub use tun::{Mode, Tun};
pub use vnet::VnetHdr;

/// The largest packet that a device gives: an IPv6 header and 65,535 bytes after it.
pub const MAX_PACKET: usize = 40 + 65_535;

/// What became of a packet given to [`Device::send`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Sent {
    /// The device has it, or has lost it as a cable might.
    Done,
    /// No room at present: try again when the device polls writable.
    Full,
    /// The device no longer exists.
    Gone,
}

/// A network device that carries IP packets. Neither call blocks.
pub trait Device {
    /// Send one packet: `parts[0]` holds its IP and TCP headers, the others its payload (at most
    /// [`MAX_PARTS`] less one altogether). A `hdr` that leaves work to the device is for those
    /// whose [`Device::offload`] is true.
    fn send(&mut self, hdr: &VnetHdr, parts: &[&[u8]]) -> Sent;

    /// Take the next packet into `parts`, one after another; returns its length. One that is
    /// longer than all of them ([`MAX_PACKET`] is enough for any) is cut. `None`: there is no
    /// packet now.
    fn recv_parts(&mut self, parts: &mut [&mut [u8]]) -> Option<(VnetHdr, usize)>;

    /// Take the next packet into `buf[0..n]`.
    fn recv(&mut self, buf: &mut [u8]) -> Option<(VnetHdr, usize)> {
        self.recv_parts(&mut [buf])
    }

    /// The largest IP packet on the wire, in bytes.
    fn mtu(&self) -> u16;

    /// The device fills in checksums and cuts large TCP segments, and gives such as need it.
    fn offload(&self) -> bool;

    /// The device no longer exists; nothing will come from it again.
    fn is_gone(&self) -> bool {
        false
    }
}

/// The link of a host that has none: what is sent is dropped, nothing comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDevice;

impl Device for NoDevice {
    fn send(&mut self, _hdr: &VnetHdr, _parts: &[&[u8]]) -> Sent {
        Sent::Done
    }
    fn recv_parts(&mut self, _parts: &mut [&mut [u8]]) -> Option<(VnetHdr, usize)> {
        None
    }
    fn mtu(&self) -> u16 {
        u16::MAX
    }
    fn offload(&self) -> bool {
        true
    }
}
