//! The kernel's side of the device: name, addresses, MTU, queue, up and down.
//!
//! For the keeper and the command, at set-up; these calls allocate.

use super::netlink::{Request, Socket, attrs, push_attr};
use super::{Tun, TunError};
use crate::sys::{Errno, io::sleep, tun::write_file};
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::ffi::CString;

/// Packets that the device keeps for a reader; beyond, a TUN drops. Linux's 500 is one bulk
/// transfer's window; this one costs 80 kB.
pub const QUEUE_LEN: u32 = 10_000;

/// How the kernel's side of a device is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Address and prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Address and prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// Packets that wait for the reader; see [`QUEUE_LEN`].
    pub queue_len: u32,
}

/// A device as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Description {
    /// The name.
    pub name: String,
    /// The kernel's number of it.
    pub index: u32,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// It is up.
    pub up: bool,
    /// Somebody is attached to it (or, for other kinds of device, there is a carrier).
    pub attached: bool,
    /// It is a TUN or TAP.
    pub tun: bool,
    /// Packets that wait for the reader.
    pub queue_len: u32,
    /// The kernel's IPv4 addresses on it, with prefix lengths.
    pub ipv4: Vec<(Ipv4Addr, u8)>,
    /// The kernel's IPv6 addresses on it, link-local ones left out.
    pub ipv6: Vec<(Ipv6Addr, u8)>,
}

/// Give the device its addresses and MTU, and bring it up.
///
/// `Ipv6Off` comes last, when all else is done: the caller may go on with IPv4.
pub fn configure(name: &str, setup: &Setup) -> Result<(), TunError> {
    let socket = open()?;
    let index = require(name)?.index;
    // Without this, the kernel makes up a link-local address and sends router solicitations
    // and MLD reports into the tunnel. Where there is no IPv6 it is refused, and not needed.
    let _ = socket.change(link_request(index, 0).attr(libc::IFLA_AF_SPEC, &no_link_local()));
    for (file, value) in [("accept_ra", "0"), ("autoconf", "0")] {
        if let Ok(path) = CString::new(format!("/proc/sys/net/ipv6/conf/{name}/{file}")) {
            let _ = write_file(&path, value.as_bytes());
        }
    }
    set_mtu_and_queue(&socket, name, index, setup)?;
    if let Some((address, prefix)) = setup.ipv4 {
        let octets = address.octets();
        let request = address_request(libc::AF_INET, prefix, 0, index)
            .attr(libc::IFA_LOCAL, &octets)
            .attr(libc::IFA_ADDRESS, &octets);
        socket.change(request).map_err(|e| address_error(name, e))?;
    }
    let ipv6 = setup.ipv6.map_or(Ok(()), |(address, prefix)| {
        // Nobody else is on the link to have the address, and without NODAD it could not be
        // used for a second.
        let request = address_request(libc::AF_INET6, prefix, libc::IFA_F_NODAD, index)
            .attr(libc::IFA_ADDRESS, &address.octets());
        socket.change(request).map_err(|e| match e.0 {
            libc::EACCES | libc::EAFNOSUPPORT | libc::EOPNOTSUPP => {
                TunError::Ipv6Off(name.to_owned())
            }
            _ => address_error(name, e),
        })
    });
    socket
        .change(link_request(index, libc::IFF_UP as u32))
        .map_err(|e| change_error(name, "setting the device up", e))?;
    ipv6?;
    if let Some((address, _)) = setup.ipv6 {
        await_local_route(&socket, address);
    }
    Ok(())
}

/// Even without duplicate address detection the kernel begins to take packets for an IPv6
/// address a moment later, from a work queue: wait until it does (some milliseconds).
fn await_local_route(socket: &Socket, address: Ipv6Addr) {
    for _ in 0..200 {
        // struct rtmsg: family, destination's length; the eighth byte is the type.
        let question = [libc::AF_INET6 as u8, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let request = Request::new(libc::RTM_GETROUTE, libc::NLM_F_ACK, &question)
            .attr(libc::RTA_DST, &address.octets());
        let mut local = false;
        let answer = socket.ask(request, |_, route| {
            local |= route.get(7) == Some(&libc::RTN_LOCAL);
        });
        if local {
            return;
        }
        // "No route" is an answer, too.
        let _ = answer;
        sleep(Duration::from_millis(1));
    }
}

/// Remove a device, whoever is attached to it.
pub fn delete(name: &str) -> Result<(), TunError> {
    let index = require(name)?.index;
    let request = Request::new(libc::RTM_DELLINK, libc::NLM_F_ACK, &link_header(index, 0));
    match open()?.change(request) {
        Ok(()) => Ok(()),
        // An owner without privileges may attach and let it go.
        Err(Errno(libc::EPERM)) => Tun::open_existing(name)?.set_persist(false),
        Err(e) => Err(TunError::other("RTM_DELLINK", e)),
    }
}

/// The device named `name` as it is.
pub fn describe(name: &str) -> Result<Description, TunError> {
    require(name).and_then(|mut device| {
        read_addresses(core::slice::from_mut(&mut device))?;
        Ok(device)
    })
}

/// The devices named `utcp` and a number, in the order of their numbers.
pub fn list_utcp_devices() -> Result<Vec<(u32, Description)>, TunError> {
    let mut devices = links()?;
    devices.retain(|d| utcp_number(&d.name).is_some());
    read_addresses(&mut devices)?;
    let numbered = |d: Description| utcp_number(&d.name).map(|n| (n, d));
    let mut devices: Vec<_> = devices.into_iter().filter_map(numbered).collect();
    devices.sort_by_key(|(n, _)| *n);
    Ok(devices)
}

/// The first number that no `utcpN` has. (`Tun::create("utcp%d", ...)` takes the same one
/// without a race.)
pub fn first_free() -> Result<u32, TunError> {
    let devices = list_utcp_devices()?;
    let taken = devices.iter().map(|(n, _)| *n);
    Ok((0..).zip(taken).take_while(|(i, n)| i == n).count() as u32)
}

/// The number in a name like `utcp7`.
pub fn utcp_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("utcp")?;
    let number = digits.parse().ok()?;
    // "utcp07" and "utcp+7" are somebody else's.
    (format!("{number}") == digits).then_some(number)
}

/// Whether there is a device of that name.
pub(super) fn exists(name: &str) -> Result<bool, TunError> {
    match require(name) {
        Ok(_) => Ok(true),
        Err(TunError::NoSuchDevice(_)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The device of that name, its addresses not yet read.
pub(super) fn require(name: &str) -> Result<Description, TunError> {
    let found = links()?.into_iter().find(|d| d.name == name);
    found.ok_or_else(|| TunError::NoSuchDevice(name.to_owned()))
}

fn open() -> Result<Socket, TunError> {
    Socket::open().map_err(|e| TunError::other("opening a netlink socket", e))
}

fn links() -> Result<Vec<Description>, TunError> {
    let mut devices = Vec::new();
    let request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &link_header(0, 0));
    open()?
        .ask(request, |kind, body| {
            if kind == libc::RTM_NEWLINK {
                devices.extend(read_link(body));
            }
        })
        .map_err(|e| TunError::other("RTM_GETLINK", e))?;
    Ok(devices)
}

fn read_link(body: &[u8]) -> Option<Description> {
    let (&[_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..], rest) =
        body.split_first_chunk::<16>()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut device = Description {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        up: flags & libc::IFF_UP as u32 != 0,
        ..Description::default()
    };
    for (kind, value) in attrs(rest) {
        match kind {
            libc::IFLA_IFNAME => device.name = text(value),
            libc::IFLA_MTU => device.mtu = u16::try_from(number(value)?).unwrap_or(u16::MAX),
            libc::IFLA_CARRIER => device.attached = value.first() == Some(&1),
            libc::IFLA_TXQLEN => device.queue_len = number(value)?,
            libc::IFLA_LINKINFO => {
                device.tun = attrs(value).any(|a| a == (libc::IFLA_INFO_KIND, b"tun\0"));
            }
            _ => {}
        }
    }
    Some(device)
}

fn read_addresses(devices: &mut [Description]) -> Result<(), TunError> {
    // struct ifaddrmsg, all zeros: every family, every device.
    let request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; 8]);
    open()?
        .ask(request, |kind, body| {
            let Some((&[family, prefix, _, _, i0, i1, i2, i3], rest)) = body.split_first_chunk()
            else {
                return;
            };
            let index = u32::from_ne_bytes([i0, i1, i2, i3]);
            let device = devices.iter_mut().find(|d| d.index == index);
            let (libc::RTM_NEWADDR, Some(device)) = (kind, device) else {
                return;
            };
            // IPv4: IFA_ADDRESS is the other end's address on a point-to-point device.
            for (kind, value) in attrs(rest) {
                match (i32::from(family), kind) {
                    (libc::AF_INET, libc::IFA_LOCAL) => {
                        let octets = value.first_chunk::<4>();
                        device
                            .ipv4
                            .extend(octets.map(|o| (Ipv4Addr::from(*o), prefix)));
                    }
                    (libc::AF_INET6, libc::IFA_ADDRESS) => {
                        let address = value.first_chunk::<16>().map(|o| Ipv6Addr::from(*o));
                        let address = address.filter(|a| !a.is_unicast_link_local());
                        device.ipv6.extend(address.map(|a| (a, prefix)));
                    }
                    _ => {}
                }
            }
        })
        .map_err(|e| TunError::other("RTM_GETADDR", e))
}

fn set_mtu_and_queue(
    socket: &Socket,
    name: &str,
    index: u32,
    setup: &Setup,
) -> Result<(), TunError> {
    let mtu = u32::from(setup.mtu).to_ne_bytes();
    socket
        .change(link_request(index, 0).attr(libc::IFLA_MTU, &mtu))
        .map_err(|e| match e.0 {
            libc::EINVAL | libc::ERANGE => TunError::BadMtu(name.to_owned(), setup.mtu),
            _ => change_error(name, "setting the MTU", e),
        })?;
    socket
        .change(link_request(index, 0).attr(libc::IFLA_TXQLEN, &setup.queue_len.to_ne_bytes()))
        .map_err(|e| change_error(name, "setting the queue length", e))
}

fn change_error(name: &str, doing: &'static str, errno: Errno) -> TunError {
    match errno.0 {
        libc::EPERM => TunError::ConfigPermission(name.to_owned()),
        _ => TunError::other(doing, errno),
    }
}

fn address_error(name: &str, errno: Errno) -> TunError {
    match errno.0 {
        libc::EEXIST | libc::EINVAL | libc::EADDRNOTAVAIL => TunError::BadAddress(name.to_owned()),
        _ => change_error(name, "setting an address", errno),
    }
}

/// `struct ifinfomsg`; `flags` are those to be switched on.
fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    let (_, fields) = header.split_at_mut(4);
    for (to, from) in fields.chunks_exact_mut(4).zip([index, flags, flags]) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    header
}

fn link_request(index: u32, flags: u32) -> Request {
    Request::new(
        libc::RTM_NEWLINK,
        libc::NLM_F_ACK,
        &link_header(index, flags),
    )
}

/// A new address; `struct ifaddrmsg` is family, prefix, flags, scope, index.
fn address_request(family: i32, prefix: u8, flags: u32, index: u32) -> Request {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    let header = [family as u8, prefix, flags as u8, 0, i0, i1, i2, i3];
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    Request::new(libc::RTM_NEWADDR, flags, &header)
}

/// IFLA_AF_SPEC { AF_INET6 { IFLA_INET6_ADDR_GEN_MODE: none } }.
fn no_link_local() -> Vec<u8> {
    const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
    const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
    let mut mode = Vec::new();
    push_attr(
        &mut mode,
        IFLA_INET6_ADDR_GEN_MODE,
        &[IN6_ADDR_GEN_MODE_NONE],
    );
    let mut spec = Vec::new();
    push_attr(&mut spec, libc::AF_INET6 as u16, &mode);
    spec
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

fn text(value: &[u8]) -> String {
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    String::from_utf8_lossy(value).into_owned()
}
