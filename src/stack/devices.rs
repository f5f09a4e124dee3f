//! The host's devices, and sockets that are bound to one (SO_BINDTODEVICE).
//!
//! There are two: the loopback, and the TUN, if the stack has one. As on Linux, what is sent to
//! an address of the host goes over the loopback and counts as having come on the device with the
//! address; what comes from the TUN is for the TUN's addresses only. So the address that a
//! segment was sent to tells on which device it came.

use super::{Error, Family, Host, Result, Shared, SockId, Socket};
use crate::addr::Addr;
use core::net::Ipv4Addr;

/// Linux's number of its loopback, in every network namespace.
pub const LOOPBACK: u32 = 1;
/// Linux: IFNAMSIZ.
pub const NAME: usize = 16;

/// Where a connection's segments go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// To a socket of this host.
    Loop,
    /// To the TUN.
    Tun,
    /// Out by a device behind which nobody is: on the loopback, to an address that is not its.
    Nowhere,
}

impl Shared {
    /// The number of the device with this name.
    pub fn device_index(&self, name: &[u8]) -> Option<u32> {
        let c = &self.config;
        match name {
            b"lo" => Some(LOOPBACK),
            _ if c.has_device && c.index != 0 && name == trimmed(&c.name) => Some(c.index),
            _ => None,
        }
    }

    /// The number of the device that SO_BINDTODEVICE names by `text`, which ends at its first zero; 0
    /// for no device at all, where there is no text.
    pub fn device_named(&self, text: &[u8]) -> Option<u32> {
        match text.split(|b| *b == 0).next() {
            None | Some([]) => Some(0),
            Some(name) => self.device_index(name),
        }
    }

    /// The name of the device with this number.
    pub fn device_name(&self, index: u32) -> Option<&[u8]> {
        let c = &self.config;
        match index {
            LOOPBACK => Some(b"lo"),
            _ if c.has_device && index == c.index => Some(trimmed(&c.name)),
            _ => None,
        }
    }

    /// What is sent to `local` may be for `s`, as far as devices are concerned.
    pub(super) fn hears(&self, s: &Socket, local: Addr) -> bool {
        let device = if local.is_loopback() {
            LOOPBACK
        } else {
            self.config.index
        };
        s.options.bound_if == 0 || s.options.bound_if == device
    }
}

fn trimmed(name: &[u8; NAME]) -> &[u8] {
    name.split(|b| *b == 0).next().unwrap_or_default()
}

impl Host<'_> {
    /// SO_BINDTODEVICE and SO_BINDTOIFINDEX: 0 is no device. `privileged`: the process has
    /// CAP_NET_RAW.
    pub fn bind_to_device(&mut self, id: SockId, device: i32, privileged: bool) -> Result<()> {
        let index = self.index_of(id)?;
        if self.sh.sockets[index].options.bound_if != 0 && !privileged {
            return Err(Error::Permission);
        }
        let device = u32::try_from(device).map_err(|_| Error::Invalid)?;
        self.touch(index);
        self.sh.sockets[index].options.bound_if = device;
        Ok(())
    }

    /// The way to `to` of a socket that is bound to this device.
    pub(super) fn way(&self, bound: u32, to: Addr) -> Way {
        let tun = self.sh.config.index;
        match bound {
            0 if self.is_local(to) => Way::Loop,
            LOOPBACK if to.is_loopback() => Way::Loop,
            0 => Way::Tun,
            // The kernel sends even 127.0.0.1 out of the device that was asked for.
            _ if bound == tun && to.is_loopback() => Way::Tun,
            _ if bound == tun && self.is_local(to) => Way::Loop,
            _ if bound == tun => Way::Tun,
            _ => Way::Nowhere,
        }
    }

    /// As [`Host::source_for`], for a socket that is bound to a device: in IPv4 every address is
    /// taken to be on its link, in IPv6 its routes count.
    pub(super) fn source_on(&self, bound: u32, to: Addr) -> Result<Addr> {
        let c = &self.sh.config;
        if bound == 0 {
            return self.source_for(to);
        }
        if self.is_broadcast(to) || to.is_multicast() {
            return Err(Error::NetUnreachable);
        }
        let exists = self.sh.device_name(bound).is_some();
        let source = match (to.is_v4(), bound == LOOPBACK) {
            (true, _) if !exists => return Err(Error::NoDevice),
            (true, true) if to.is_loopback() => Addr::v4(Ipv4Addr::LOCALHOST),
            (true, false) if self.is_local(to) && !to.is_loopback() => to,
            (true, _) => c.addr4,
            (false, _) if !exists => Addr::default(),
            (false, true) if to.is_loopback() => to,
            (false, false) if to == c.addr6 => to,
            (false, false) if to.same_net(c.addr6, c.prefix6) || !c.gateway6.is_any() => c.addr6,
            (false, _) => Addr::default(),
        };
        if source.is_any() {
            return Err(Error::NetUnreachable);
        }
        Ok(source)
    }

    /// An IPv6 address that a socket binds must be on the device that it is bound to, if the
    /// address belongs to its device alone.
    pub(super) fn may_bind_on(&self, index: u32, to: Addr) -> Result<()> {
        let s = &self.sh.sockets[index];
        let bound = s.options.bound_if;
        if s.family == Family::V4 || bound == 0 || to.is_v4() || to.is_any() {
            return Ok(());
        }
        if self.sh.device_name(bound).is_none() {
            return Err(Error::NoDevice);
        }
        if to.is_loopback() && bound != LOOPBACK {
            return Err(Error::AddrNotAvailable);
        }
        Ok(())
    }
}
