//! `struct sockaddr` and the stack's [`Endpoint`].
//!
//! The program's pointers are read and written by the kernel (process_vm_readv on ourselves),
//! so a bad one gives EFAULT, as it would from the system call.

use crate::errno::Result;
use crate::memory;
use core::ffi::c_int;
use core::net::Ipv4Addr;
use libc::{sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};
use utcp_stack::addr::{Addr, Endpoint};
use utcp_stack::stack::Family;
use utcp_stack::sys::Errno;

/// An address that a program gave: its bytes.
#[derive(Clone, Copy)]
pub struct Given {
    bytes: [u8; size_of::<sockaddr_storage>()],
    len: usize,
}

/// RFC 2133's sockaddr_in6, without the scope id: the least that Linux takes.
const IN6_MIN: usize = 24;

impl Given {
    /// Copy it in, with the kernel's checks (move_addr_to_kernel).
    pub fn read(addr: *const sockaddr, len: socklen_t) -> Result<Given> {
        let mut given = Given {
            bytes: [0; size_of::<sockaddr_storage>()],
            len: len as usize,
        };
        match given.bytes.get_mut(..len as usize) {
            Some(bytes) => memory::read_bytes(addr.cast(), bytes)?,
            None => return Err(Errno(libc::EINVAL)),
        }
        Ok(given)
    }

    /// Bytes given.
    pub fn len(&self) -> usize {
        self.len
    }

    /// sa_family; AF_UNSPEC when there are no bytes for it.
    pub fn family(&self) -> c_int {
        u16::from_ne_bytes([self.bytes[0], self.bytes[1]]).into()
    }

    /// The address and port as AF_INET, whatever the family says.
    fn v4(&self) -> Endpoint {
        let [_, _, p0, p1, a, b, c, d, ..] = self.bytes;
        Endpoint::new(
            Addr::v4(Ipv4Addr::new(a, b, c, d)),
            u16::from_be_bytes([p0, p1]),
        )
    }

    fn v6(&self) -> Endpoint {
        let mut addr = [0; 16];
        addr.copy_from_slice(&self.bytes[8..24]);
        Endpoint::new(
            Addr(addr),
            u16::from_be_bytes([self.bytes[2], self.bytes[3]]),
        )
    }

    /// For bind(2) (inet_bind, inet6_bind).
    pub fn for_bind(&self, family: Family) -> Result<Endpoint> {
        match family {
            Family::V4 => {
                if self.len < size_of::<sockaddr_in>() {
                    return Err(Errno(libc::EINVAL));
                }
                let to = self.v4();
                // A compatibility of Linux: AF_UNSPEC counts as AF_INET for the any address.
                match self.family() {
                    libc::AF_INET => Ok(to),
                    libc::AF_UNSPEC if to.addr.is_any() => Ok(to),
                    _ => Err(Errno(libc::EAFNOSUPPORT)),
                }
            }
            Family::V6 => self.v6_checked(),
        }
    }

    /// For connect(2), of any family but AF_UNSPEC (tcp_v4_connect, tcp_v6_connect).
    pub fn for_connect(&self, family: Family) -> Result<Endpoint> {
        match family {
            Family::V4 => {
                if self.len < size_of::<sockaddr_in>() {
                    return Err(Errno(libc::EINVAL));
                }
                if self.family() != libc::AF_INET {
                    return Err(Errno(libc::EAFNOSUPPORT));
                }
                Ok(self.v4())
            }
            Family::V6 => self.v6_checked(),
        }
    }

    fn v6_checked(&self) -> Result<Endpoint> {
        if self.len < IN6_MIN {
            return Err(Errno(libc::EINVAL));
        }
        if self.family() != libc::AF_INET6 {
            return Err(Errno(libc::EAFNOSUPPORT));
        }
        Ok(self.v6())
    }
}

/// An endpoint as the program of a socket of `family` sees it: its bytes.
pub fn encode(family: Family, e: Endpoint) -> ([u8; 28], usize) {
    let mut out = [0; 28];
    let port = e.port.to_be_bytes();
    out[2..4].copy_from_slice(&port);
    match family {
        Family::V4 => {
            out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            out[4..8].copy_from_slice(&e.addr.0[12..]);
            (out, size_of::<sockaddr_in>())
        }
        Family::V6 => {
            out[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            out[8..24].copy_from_slice(&e.addr.0);
            (out, size_of::<sockaddr_in6>())
        }
    }
}

/// Copy an endpoint out, with the kernel's checks (move_addr_to_user): as much as there is
/// room for, and the length that it has.
pub fn write(family: Family, e: Endpoint, addr: *mut sockaddr, len: *mut socklen_t) -> Result<()> {
    let (bytes, full) = encode(family, e);
    write_raw(&bytes[..full], addr, len)
}

/// [`write()`] of bytes.
pub fn write_raw(bytes: &[u8], addr: *mut sockaddr, len: *mut socklen_t) -> Result<()> {
    let room: c_int = memory::read(len.cast())?;
    let room = usize::try_from(room).map_err(|_| Errno(libc::EINVAL))?;
    memory::write_bytes(addr.cast(), &bytes[..room.min(bytes.len())])?;
    memory::write(len, bytes.len() as socklen_t)
}

impl core::fmt::Display for Given {
    /// As strace prints it, a little shorter.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.family() {
            libc::AF_INET if self.len >= size_of::<sockaddr_in>() => self.v4().fmt(f),
            libc::AF_INET6 if self.len >= IN6_MIN => {
                let e = self.v6();
                // An IPv4-mapped address shows that it is one.
                let addr = core::net::Ipv6Addr::from(e.addr.0);
                write!(f, "[{addr}]:{}", e.port)
            }
            libc::AF_UNSPEC => f.write_str("AF_UNSPEC"),
            family => write!(f, "{{sa_family={family}}}"),
        }
    }
}
