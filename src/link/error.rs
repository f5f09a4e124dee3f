//! Why there is no TUN device, one variant per cause.

use crate::sys::Errno;
use core::fmt;

/// Why a device can't be made, opened or configured. `Display` gives one line: what, why, and
/// the command that mends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TunError {
    /// There is no /dev/net/tun.
    NoNode,
    /// /dev/net/tun is there, but the kernel has no driver behind it.
    NoDriver,
    /// /dev/net/tun may not be opened by this user.
    NodePermission,
    /// Making a device needs CAP_NET_ADMIN in the network namespace.
    NoCapability,
    /// A device of that name exists already.
    NameTaken(String),
    /// Another process is attached to the device.
    InUse(String),
    /// The persistent device belongs to another user.
    NotOwner(String),
    /// The device to be opened does not exist.
    NoSuchDevice(String),
    /// A device of that name exists, but it is no TUN (a TAP, a bridge ...).
    NotTun(String),
    /// The name is empty, too long, or has characters that no device name may have.
    BadName(String),
    /// Changing addresses or state of the device needs CAP_NET_ADMIN.
    ConfigPermission(String),
    /// IPv6 is switched off for the device; IPv4 is in order.
    Ipv6Off(String),
    /// The address is on the device already, or is not one that a device may have.
    BadAddress(String),
    /// The MTU is outside of what the device takes.
    BadMtu(String, u16),
    /// The process, or the system, has no descriptor left.
    NoDescriptors,
    /// Anything else: what was being done, and the kernel's answer.
    Failed(&'static str, Errno),
}

impl fmt::Display for TunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use TunError::*;
        match self {
            NoNode => write!(
                f,
                "no TUN device: /dev/net/tun does not exist; `sudo modprobe tun` makes it \
                 (a container needs `--device /dev/net/tun`)"
            ),
            NoDriver => write!(
                f,
                "no TUN device: the kernel has no driver behind /dev/net/tun; `sudo modprobe tun` loads it"
            ),
            NodePermission => write!(
                f,
                "no TUN device: this user may not open /dev/net/tun; `sudo chmod 0666 /dev/net/tun` allows it"
            ),
            NoCapability => write!(
                f,
                "no TUN device: making one needs CAP_NET_ADMIN; `sudo utcp up` makes one for this user, \
                 to be named in UTCP_TUN"
            ),
            NameTaken(name) => write!(
                f,
                "no TUN device: {name} exists already; `sudo ip link delete {name}` removes it"
            ),
            InUse(name) => write!(
                f,
                "TUN device {name} can't be opened: another process is attached to it; \
                 `grep -l 'iff:.*{name}' /proc/*/fdinfo/*` finds it"
            ),
            NotOwner(name) => write!(
                f,
                "TUN device {name} can't be opened: it belongs to another user; \
                 `sudo utcp up` makes one for this user"
            ),
            NoSuchDevice(name) => write!(
                f,
                "TUN device {name} can't be opened: it does not exist here; `sudo utcp up` makes one, \
                 `ip tuntap` lists those there are"
            ),
            NotTun(name) => write!(
                f,
                "TUN device {name} can't be opened: it is a network device of another kind; \
                 `ip tuntap` lists those that can be"
            ),
            BadName(name) => write!(
                f,
                "TUN device {name:?} can't be made: a device's name has 1 to 15 characters, \
                 none of them a blank, '/' or ':'; set UTCP_TUN to such a name"
            ),
            ConfigPermission(name) => write!(
                f,
                "TUN device {name} can't be configured: that needs CAP_NET_ADMIN; `sudo utcp up` makes \
                 one that is configured"
            ),
            Ipv6Off(name) => write!(
                f,
                "no IPv6 on TUN device {name}: it is switched off; \
                 `sudo sysctl net.ipv6.conf.{name}.disable_ipv6=0` switches it on"
            ),
            BadAddress(name) => write!(
                f,
                "TUN device {name} can't be configured: the kernel refuses the address, as it is no \
                 host's or has one already; set UTCP_ADDR or UTCP_ADDR6 to another"
            ),
            BadMtu(name, mtu) => write!(
                f,
                "TUN device {name} can't be configured: the kernel refuses an MTU of {mtu}; \
                 set UTCP_MTU to a value from 1280 to 65535"
            ),
            NoDescriptors => write!(
                f,
                "no TUN device: no free descriptor is left; `ulimit -n` shows and raises the limit"
            ),
            Failed(doing, errno) => write!(
                f,
                "no TUN device: {doing} failed: {errno}; `utcp addr` shows what there is"
            ),
        }
    }
}

impl core::error::Error for TunError {}

impl TunError {
    /// What an errno means where no call-specific meaning applies.
    pub(super) fn other(doing: &'static str, errno: Errno) -> TunError {
        match errno.0 {
            libc::EMFILE | libc::ENFILE => TunError::NoDescriptors,
            _ => TunError::Failed(doing, errno),
        }
    }
}
