//! The stack's device: found or made, configured, or explained away.

use super::names;
use crate::addr::Addr;
use crate::config::{self, Addresses, Config, Net};
use crate::link::config::{Description, QUEUE_LEN, Setup, configure, describe, utcp_number};
use crate::link::{Tun, TunError};
use crate::stack::HostConfig;
use crate::sys::{self, Fd, io, unix};
use crate::time::Duration;

/// How long a device of a keeper that is just ending may take to vanish.
const REMNANT: Duration = Duration::from_millis(500);

/// A device with its addresses.
#[derive(Debug)]
pub struct Ready {
    /// The device.
    pub tun: Tun,
    /// Both sides.
    pub addresses: Addresses,
    /// What it lacks, if it is not all that was asked for.
    pub lacks: Option<TunError>,
    /// Keeps the number of the device from other keepers.
    pub number: Option<Fd>,
}

/// Find or make the device that `config` asks for.
pub fn open(config: &Config) -> Result<Ready, TunError> {
    match &config.tun {
        Some(name) => open_named(config, name),
        None => make(config),
    }
}

/// The stack's view of it.
pub fn host_config(config: &Config, ready: &Ready) -> HostConfig {
    let Addresses { addr, gateway, v6 } = ready.addresses;
    let mode = ready.tun.mode();
    let mut host = HostConfig {
        addr4: Addr::v4(addr.addr),
        prefix4: addr.prefix,
        gateway4: Addr::v4(gateway),
        mtu: mode.mtu,
        has_device: true,
        offload: mode.offload,
        ..HostConfig::default()
    };
    if let Ok(device) = ready.tun.name().and_then(|name| describe(&name)) {
        host.index = device.index;
        for (to, from) in host.name.iter_mut().zip(device.name.bytes()) {
            *to = from;
        }
    }
    if let Some((addr6, gateway6)) = v6 {
        host.addr6 = Addr::v6(addr6.addr);
        host.prefix6 = addr6.prefix;
        host.gateway6 = Addr::v6(gateway6);
    }
    if !config.routed {
        host.gateway4 = Addr::ANY4;
    }
    if !config.routed6 {
        host.gateway6 = Addr::ANY6;
    }
    host
}

/// A device that somebody made for us (`utcp up`, `ip tuntap`).
fn open_named(config: &Config, name: &str) -> Result<Ready, TunError> {
    let mut tun = if config.offload {
        Tun::open_existing(name)?
    } else {
        Tun::open_existing_plain(name)?
    };
    let mut config = config.clone();
    let device = describe(name)?;
    beside(&mut config, &device);
    let mtu = *config.mtu.get_or_insert(device.mtu);
    let number = utcp_number(name).and_then(|n| u16::try_from(n).ok());
    let addresses = config.addresses(number.unwrap_or(0));
    // Where its maker left the kernel's side bare, and we may, we do it. The device may have a
    // larger MTU than the stack, so that the kernel hands on more than the stack would send.
    let lacks = if device.ipv4.is_empty() {
        set_up(name, mtu.max(device.mtu), &addresses).err()
    } else {
        None
    };
    tun.set_mtu(mtu);
    Ok(Ready {
        tun,
        addresses,
        lacks,
        number: None,
    })
}

/// The kernel's side has addresses already: ours, where none are asked for, are next to them.
fn beside(config: &mut Config, device: &Description) {
    if let (None, Some(&(addr, prefix))) = (config.addr, device.ipv4.first())
        && (1..32).contains(&prefix)
    {
        let own = config::neighbour4(Net { addr, prefix });
        (config.addr, config.gateway) = (Some(Net { addr: own, prefix }), Some(addr));
    }
    if let (None, Some(&(addr, prefix))) = (config.addr6, device.ipv6.first())
        && (1..128).contains(&prefix)
    {
        let own = config::neighbour6(Net { addr, prefix });
        (config.addr6, config.gateway6) = (Some(Net { addr: own, prefix }), Some(addr));
    }
}

/// A device of our own: `utcp<n>` with the first free number.
fn make(config: &Config) -> Result<Ready, TunError> {
    let mut last = TunError::NameTaken(Config::device(0));
    for n in 0..config::MAX_STACKS {
        let Some(number) = reserve(n) else { continue };
        let name = Config::device(n);
        let tun = match create(&name, config.offload) {
            Ok(tun) => tun,
            Err(e @ TunError::NameTaken(_)) => {
                last = e;
                continue;
            }
            Err(e) => return Err(e),
        };
        let mut addresses = config.addresses(n);
        let mut tun = tun;
        let lacks = match set_up(&name, config.mtu(), &addresses) {
            Ok(()) => None,
            Err(e @ TunError::Ipv6Off(_)) => {
                addresses.v6 = None;
                Some(e)
            }
            Err(e) => return Err(e),
        };
        tun.refresh_mtu()?;
        return Ok(Ready {
            tun,
            addresses,
            lacks,
            number: Some(number),
        });
    }
    Err(last)
}

/// No two keepers of a network namespace take the same number, whoever they belong to.
pub fn reserve(n: u16) -> Option<Fd> {
    let fd = unix::socket(unix::Kind::Stream, false).ok()?;
    unix::bind(fd.raw(), &names::device(n)).ok()?;
    Some(fd)
}

/// Make the device. One of that name that somebody is attached to though no keeper has the
/// number is that of a keeper or program that is just ending.
fn create(name: &str, offload: bool) -> Result<Tun, TunError> {
    let end = sys::now() + REMNANT;
    loop {
        let made = if offload {
            Tun::create(name, false)
        } else {
            Tun::create_plain(name, false)
        };
        match made {
            Err(TunError::NameTaken(_)) if sys::now() < end => {
                if describe(name).is_ok_and(|device| !device.attached) {
                    return made;
                }
                io::sleep(Duration::from_millis(5));
            }
            made => return made,
        }
    }
}

fn set_up(name: &str, mtu: u16, addresses: &Addresses) -> Result<(), TunError> {
    let setup = Setup {
        ipv4: Some((addresses.gateway, addresses.addr.prefix)),
        ipv6: addresses.v6.map(|(net, gateway)| (gateway, net.prefix)),
        mtu,
        queue_len: QUEUE_LEN,
    };
    configure(name, &setup)
}
