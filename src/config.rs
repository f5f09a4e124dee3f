//! What the environment says about the stack a program wants.
//!
//! Only the first program of a stack decides: the others find it running. All parsing is a
//! pure function of the variables, and a mistake is one line that says what is allowed.

use crate::impair::Settings;
use crate::time::Pace;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[cfg(test)]
mod tests;

/// The names of all variables that [`Config`] knows.
pub const VARIABLES: [&str; 10] = [
    "UTCP_STACK",
    "UTCP_TUN",
    "UTCP_ADDR",
    "UTCP_ADDR6",
    "UTCP_GATEWAY",
    "UTCP_GATEWAY6",
    "UTCP_MTU",
    "UTCP_OFFLOAD",
    "UTCP_IMPAIR",
    "UTCP_TIME_SCALE",
];

/// How many stacks of one network namespace get a device of their own: 198.18.n.0/24 has room
/// for this many.
pub const MAX_STACKS: u16 = 256;

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net<A> {
    /// The address.
    pub addr: A,
    /// The prefix's length in bits.
    pub prefix: u8,
}

/// The settings of one stack; what isn't set has its default.
#[derive(Clone, PartialEq, Eq, Debug)]
// RFC 1122 S3.3.1.6-1
pub struct Config {
    /// UTCP_STACK: programs with the same name share one host.
    pub stack: String,
    /// UTCP_TUN: a device that exists already. Otherwise the keeper makes `utcp<n>`.
    pub tun: Option<String>,
    /// UTCP_ADDR: the stack's IPv4 address.
    pub addr: Option<Net<Ipv4Addr>>,
    /// UTCP_ADDR6: the stack's IPv6 address.
    pub addr6: Option<Net<Ipv6Addr>>,
    /// UTCP_GATEWAY: the kernel's IPv4 address on the device, and the stack's default route.
    pub gateway: Option<Ipv4Addr>,
    /// UTCP_GATEWAY6: the kernel's IPv6 address on the device, and the stack's default route.
    pub gateway6: Option<Ipv6Addr>,
    /// False for UTCP_GATEWAY=none: other IPv4 networks are unreachable.
    pub routed: bool,
    /// The same for IPv6.
    pub routed6: bool,
    /// UTCP_MTU, in bytes: of the device that the keeper makes, and on a device that exists
    /// already the stack's own, whatever the device's. Packets that come may be larger.
    pub mtu: Option<u16>,
    /// UTCP_OFFLOAD: checksums and segmentation are left to the device.
    pub offload: bool,
    /// UTCP_IMPAIR: how bad the stack's links are; see [`Settings::parse`].
    pub impair: Settings,
    /// UTCP_TIME_SCALE: how many times as fast as the clock the stack's time goes.
    pub time_scale: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            stack: "default".to_owned(),
            tun: None,
            addr: None,
            addr6: None,
            gateway: None,
            gateway6: None,
            routed: true,
            routed6: true,
            mtu: None,
            offload: true,
            impair: Settings::default(),
            time_scale: 1,
        }
    }
}

/// The addresses on both sides of a stack's device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The stack's IPv4 address.
    pub addr: Net<Ipv4Addr>,
    /// The kernel's IPv4 address.
    pub gateway: Ipv4Addr,
    /// The stack's IPv6 address and the kernel's; none when the MTU is below IPv6's least.
    pub v6: Option<(Net<Ipv6Addr>, Ipv6Addr)>,
}

/// IPv6 needs links that carry this much (RFC 8200, section 5).
pub const IPV6_MIN_MTU: u16 = 1280;
/// Every IPv4 host must take this much (RFC 1122, section 3.3.2).
const IPV4_MIN_MTU: u16 = 576;

/// One variable that can't be understood, as one line of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// The variable.
    pub variable: &'static str,
    /// What it was set to.
    pub value: String,
    /// What is wrong with that, and what is allowed.
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}: {}", self.variable, self.value, self.why)
    }
}

impl std::error::Error for Mistake {}

impl Config {
    /// Read the variables among `environment`, given as name and value; others are passed
    /// over, and one set to nothing counts as not set. All mistakes are reported.
    pub fn parse<'a>(
        environment: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Config, Vec<Mistake>> {
        let mut config = Config::default();
        let mut mistakes = Vec::new();
        for (name, value) in environment {
            let Some(&variable) = VARIABLES.iter().find(|v| v.as_bytes() == name) else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            let value = String::from_utf8_lossy(value);
            if let Err(why) = config.set(variable, &value) {
                mistakes.push(Mistake {
                    variable,
                    value: value.into_owned(),
                    why,
                });
            }
        }
        if mistakes.is_empty() {
            config.check_gateways(&mut mistakes);
        }
        if mistakes.is_empty() {
            Ok(config)
        } else {
            Err(mistakes)
        }
    }

    /// [`Config::parse`] of this process's environment.
    pub fn from_env() -> Result<Config, Vec<Mistake>> {
        use std::os::unix::ffi::OsStrExt;
        let all: Vec<_> = VARIABLES
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)))
            .collect();
        Config::parse(all.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())))
    }

    /// The variables that give this very configuration, as `NAME=VALUE`.
    pub fn to_environment(&self) -> Vec<String> {
        let net4 = |n: Net<Ipv4Addr>| format!("UTCP_ADDR={}/{}", n.addr, n.prefix);
        let net6 = |n: Net<Ipv6Addr>| format!("UTCP_ADDR6={}/{}", n.addr, n.prefix);
        [
            Some(format!("UTCP_STACK={}", self.stack)),
            self.tun.as_ref().map(|tun| format!("UTCP_TUN={tun}")),
            self.addr.map(net4),
            self.addr6.map(net6),
            self.gateway.map(|g| format!("UTCP_GATEWAY={g}")),
            self.gateway6.map(|g| format!("UTCP_GATEWAY6={g}")),
            (!self.routed).then(|| "UTCP_GATEWAY=none".to_owned()),
            (!self.routed6).then(|| "UTCP_GATEWAY6=none".to_owned()),
            self.mtu.map(|mtu| format!("UTCP_MTU={mtu}")),
            Some(format!("UTCP_OFFLOAD={}", u8::from(self.offload))),
            (!self.impair.is_clear()).then(|| format!("UTCP_IMPAIR={}", self.impair)),
            (self.time_scale != 1).then(|| format!("UTCP_TIME_SCALE={}", self.time_scale)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The addresses of the `n`th stack: 198.18.n.2/24 and fd75:7463:7000:n::2/64 with the
    /// kernel at 1, where the configuration doesn't say otherwise.
    pub fn addresses(&self, n: u16) -> Addresses {
        let addr = self.addr.unwrap_or(Net {
            addr: Ipv4Addr::new(198, 18, n as u8, 2),
            prefix: 24,
        });
        let addr6 = self.addr6.unwrap_or(Net {
            addr: Ipv6Addr::new(0xfd75, 0x7463, 0x7000, n, 0, 0, 0, 2),
            prefix: 64,
        });
        let gateway6 = self.gateway6.unwrap_or_else(|| neighbour6(addr6));
        Addresses {
            addr,
            gateway: self.gateway.unwrap_or_else(|| neighbour4(addr)),
            v6: (self.mtu() >= IPV6_MIN_MTU).then_some((addr6, gateway6)),
        }
    }

    /// UTCP_MTU, or what an Ethernet has.
    pub fn mtu(&self) -> u16 {
        self.mtu.unwrap_or(1500)
    }

    /// The device that the `n`th stack makes for itself.
    pub fn device(n: u16) -> String {
        format!("utcp{n}")
    }

    fn set(&mut self, variable: &str, value: &str) -> Result<(), String> {
        match variable {
            "UTCP_STACK" => self.stack = stack_name(value)?,
            "UTCP_TUN" => self.tun = Some(device_name(value)?),
            "UTCP_ADDR" => self.addr = Some(net4(value)?),
            "UTCP_ADDR6" => self.addr6 = Some(net6(value)?),
            "UTCP_GATEWAY" if value == "none" => self.routed = false,
            "UTCP_GATEWAY6" if value == "none" => self.routed6 = false,
            "UTCP_GATEWAY" => {
                let gateway = value.parse().map_err(|_| {
                    "not an IPv4 address; write one like 198.18.0.1, or none".to_owned()
                })?;
                self.gateway = Some(usable4(gateway)?);
            }
            "UTCP_GATEWAY6" => {
                let gateway = value.parse().map_err(|_| {
                    "not an IPv6 address; write one like fd75:7463:7000::1, or none".to_owned()
                })?;
                self.gateway6 = Some(usable6(gateway)?);
            }
            "UTCP_MTU" => {
                let mtu = value.parse().ok().filter(|mtu| *mtu >= IPV4_MIN_MTU);
                self.mtu = Some(mtu.ok_or_else(|| {
                    format!(
                        "the MTU is a number of bytes from {IPV4_MIN_MTU} to 65535 \
                         (below {IPV6_MIN_MTU} there is no IPv6)"
                    )
                })?);
            }
            "UTCP_OFFLOAD" => {
                self.offload = match value {
                    "1" | "on" | "yes" | "true" => true,
                    "0" | "off" | "no" | "false" => false,
                    _ => return Err("offload is 1 (on) or 0 (off)".to_owned()),
                };
            }
            "UTCP_IMPAIR" => self.impair = Settings::parse(value)?,
            "UTCP_TIME_SCALE" => self.time_scale = time_scale(value)?,
            _ => {}
        }
        Ok(())
    }

    /// A gateway has to be a neighbour: in the network of the stack's address, and not the
    /// stack itself.
    fn check_gateways(&self, mistakes: &mut Vec<Mistake>) {
        // The default network's number isn't known yet, so a gateway alone can't be checked
        // against it; it would be wrong for all stacks but one.
        let mut check = |variable: &'static str,
                         addr_variable: &str,
                         gateway: Option<IpAddr>,
                         net: Option<(u128, u8, u8)>| {
            let Some(gateway) = gateway else { return };
            let bits = match gateway {
                IpAddr::V4(a) => u128::from(a.to_bits()),
                IpAddr::V6(a) => a.to_bits(),
            };
            let why = match net {
                None => format!("a gateway needs {addr_variable}, the stack's address beside it"),
                Some((addr, _, _)) if addr == bits => {
                    format!("the gateway is {addr_variable} itself; it has to be another address")
                }
                Some((addr, prefix, width)) if (addr ^ bits) >> (width - prefix) != 0 => {
                    format!("the gateway is outside the network that {addr_variable} names")
                }
                Some(_) => return,
            };
            mistakes.push(Mistake {
                variable,
                value: gateway.to_string(),
                why,
            });
        };
        check(
            "UTCP_GATEWAY",
            "UTCP_ADDR",
            self.gateway.map(IpAddr::V4),
            self.addr
                .map(|n| (u128::from(n.addr.to_bits()), n.prefix, 32)),
        );
        check(
            "UTCP_GATEWAY6",
            "UTCP_ADDR6",
            self.gateway6.map(IpAddr::V6),
            self.addr6.map(|n| (n.addr.to_bits(), n.prefix, 128)),
        );
    }
}

/// The first other host in the network.
pub fn neighbour4(net: Net<Ipv4Addr>) -> Ipv4Addr {
    let host = neighbour(u128::from(net.addr.to_bits()), net.prefix, 32);
    Ipv4Addr::from_bits(host as u32)
}

/// The first other host in the network.
pub fn neighbour6(net: Net<Ipv6Addr>) -> Ipv6Addr {
    Ipv6Addr::from_bits(neighbour(net.addr.to_bits(), net.prefix, 128))
}

fn neighbour(addr: u128, prefix: u8, width: u8) -> u128 {
    let host_bits = u32::from(width - prefix);
    let network = addr >> host_bits << host_bits;
    // In a network of two (RFC 3021, RFC 6164) there is no address for the network itself.
    let first = if host_bits == 1 { network } else { network + 1 };
    if first == addr { first + 1 } else { first }
}

/// How fast the stack's time may go.
pub fn time_scale(value: &str) -> Result<u32, String> {
    let scale = value.parse().ok();
    scale
        .filter(|n| (1..=Pace::MAX).contains(n))
        .ok_or_else(|| {
            format!(
                "a time scale is a whole number from 1 to {}: seconds of TCP's time in one of the \
                 clock's",
                Pace::MAX
            )
        })
}

fn stack_name(value: &str) -> Result<String, String> {
    let fits = (1..=40).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if value == "tun0" {
        // What the kernel gives to who asks for no name, and what programs then count on.
        Err("tun0 is for programs that make a device of their own; name another".to_owned())
    } else if fits {
        Ok(value.to_owned())
    } else {
        Err("a stack's name has 1 to 40 letters, digits, dots, hyphens and underscores".to_owned())
    }
}

fn device_name(value: &str) -> Result<String, String> {
    // The kernel's rules (dev_valid_name), and no '%', which asks it to number the device.
    let fits = (1..libc::IFNAMSIZ).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"/:%".contains(&b))
        && value != "."
        && value != "..";
    if value == "tun0" {
        // What the kernel gives to who asks for no name, and what programs then count on.
        Err("tun0 is for programs that make a device of their own; name another".to_owned())
    } else if fits {
        Ok(value.to_owned())
    } else {
        Err("a device's name has 1 to 15 characters and no space, slash, colon or %".to_owned())
    }
}

fn net4(value: &str) -> Result<Net<Ipv4Addr>, String> {
    let (addr, prefix) = split_net(
        value,
        31,
        "write an IPv4 address and its prefix's length, like 198.18.0.2/24",
    )?;
    Ok(Net {
        addr: usable4(addr)?,
        prefix,
    })
}

fn net6(value: &str) -> Result<Net<Ipv6Addr>, String> {
    let (addr, prefix) = split_net(
        value,
        127,
        "write an IPv6 address and its prefix's length, like fd75:7463:7000::2/64",
    )?;
    Ok(Net {
        addr: usable6(addr)?,
        prefix,
    })
}

fn split_net<A: core::str::FromStr>(
    value: &str,
    longest: u8,
    form: &str,
) -> Result<(A, u8), String> {
    let (addr, prefix) = value
        .split_once('/')
        .ok_or_else(|| format!("the prefix is missing; {form}"))?;
    let addr = addr.parse().map_err(|_| form.to_owned())?;
    let prefix = prefix
        .parse()
        .ok()
        .filter(|prefix| (1..=longest).contains(prefix))
        .ok_or_else(|| {
            format!("the prefix is 1 to {longest}: the kernel's side needs an address too")
        })?;
    Ok((addr, prefix))
}

fn usable4(addr: Ipv4Addr) -> Result<Ipv4Addr, String> {
    let first = addr.octets()[0];
    if addr.is_loopback() || first == 0 || first >= 224 {
        return Err(
            "no host can have this address: 0.x, 127.x and those from 224 on are not for hosts"
                .to_owned(),
        );
    }
    Ok(addr)
}

fn usable6(addr: Ipv6Addr) -> Result<Ipv6Addr, String> {
    if addr.is_loopback() || addr.is_unspecified() || addr.is_multicast() {
        return Err("no host can have this address: ::, ::1 and ff00::/8 are reserved".to_owned());
    }
    if addr.to_ipv4_mapped().is_some() {
        return Err("this is an IPv4 address; it belongs in UTCP_ADDR or UTCP_GATEWAY".to_owned());
    }
    Ok(addr)
}
