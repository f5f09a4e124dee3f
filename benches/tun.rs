//! TUN devices for smoltcp and for the raw costs, without help from the library measured here.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// How packets travel over the descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Bare packets, as long as the MTU.
    Plain,
    /// After a `virtio_net_hdr`, up to 64 KiB, checksums left to the other side.
    Offload,
}

/// `struct ifreq`.
#[repr(C)]
struct IfReq {
    name: [u8; libc::IFNAMSIZ],
    data: [u8; 24],
}

impl IfReq {
    fn new(name: &str) -> IfReq {
        let mut req = IfReq {
            name: [0; libc::IFNAMSIZ],
            data: [0; 24],
        };
        let n = name.len().min(libc::IFNAMSIZ - 1);
        req.name[..n].copy_from_slice(&name.as_bytes()[..n]);
        req
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// Open (and make, if it isn't there) the device `name`. The descriptor doesn't block.
pub fn open(name: &str, mode: Mode) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI;
    if mode == Mode::Offload {
        flags |= libc::IFF_VNET_HDR;
    }
    let mut req = IfReq::new(name);
    req.put(0, &(flags as u16).to_ne_bytes());
    ioctl(&file, libc::TUNSETIFF, &mut req)?;
    if mode == Mode::Offload {
        let features = libc::TUN_F_CSUM | libc::TUN_F_TSO4;
        // SAFETY: this request takes a number.
        if unsafe {
            libc::ioctl(
                file.as_raw_fd(),
                libc::TUNSETOFFLOAD,
                features as libc::c_ulong,
            )
        } != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(file)
}

/// Give the device the kernel's address `addr`/24 and `mtu`, and bring it up.
pub fn configure(name: &str, addr: Ipv4Addr, mtu: usize) -> io::Result<()> {
    let socket = control()?;
    let mut req = IfReq::new(name);
    req.put(0, &(mtu as i32).to_ne_bytes());
    ioctl(&socket, libc::SIOCSIFMTU, &mut req)?;
    let requests = [
        (libc::SIOCSIFADDR, addr.octets()),
        (libc::SIOCSIFNETMASK, [255, 255, 255, 0]),
    ];
    for (request, octets) in requests {
        let mut req = IfReq::new(name);
        // struct sockaddr_in: family, port, address.
        req.put(0, &(libc::AF_INET as u16).to_ne_bytes());
        req.put(4, &octets);
        ioctl(&socket, request, &mut req)?;
    }
    up(name)
}

/// Bring a device up.
pub fn up(name: &str) -> io::Result<()> {
    let socket = control()?;
    let mut req = IfReq::new(name);
    ioctl(&socket, libc::SIOCGIFFLAGS, &mut req)?;
    let flags = u16::from_ne_bytes([req.data[0], req.data[1]]) | libc::IFF_UP as u16;
    req.put(0, &flags.to_ne_bytes());
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut req)
}

fn control() -> io::Result<OwnedFd> {
    // SAFETY: a fresh descriptor that nobody else owns, if it is one.
    unsafe {
        match libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

fn ioctl(fd: &impl AsRawFd, request: libc::c_ulong, req: &mut IfReq) -> io::Result<()> {
    // SAFETY: `req` is as large as the kernel's structure, and any bytes are a valid one.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request as libc::Ioctl, req) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
