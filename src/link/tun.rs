//! A TUN device as a descriptor: one packet per call, a [`VnetHdr`] before each.

use super::{Device, Sent, TunError, VnetHdr, config, plain};
use crate::sys::tun::{self as calls, IfReq, NAME_LEN};
use crate::sys::{Errno, Fd};

/// How packets stand on the descriptor. Plain data: a process that is handed the descriptor is
/// handed this with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Mode {
    /// A [`VnetHdr`] stands before each packet.
    pub vnet: bool,
    /// Checksums and the cutting of large segments are left to the kernel, both ways.
    pub offload: bool,
    /// The device's MTU.
    pub mtu: u16,
}

/// An open TUN device.
#[derive(Debug)]
pub struct Tun {
    fd: Fd,
    mode: Mode,
    gone: bool,
}

const NODE: &core::ffi::CStr = c"/dev/net/tun";

/// Checksums and TCP segmentation, also of segments with CWR.
const FEATURES: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

impl Tun {
    /// Make a new device. In `name`, `%d` stands for the first free number; [`Tun::name`] tells
    /// which. With `persist` it stays when the last descriptor is closed.
    pub fn create(name: &str, persist: bool) -> Result<Tun, TunError> {
        let request = request(name, libc::IFF_TUN_EXCL)?;
        let tun = Tun::attach(request).map_err(|e| match e {
            AttachError::Open(e) => e,
            AttachError::Iff(Errno(libc::EPERM)) => TunError::NoCapability,
            AttachError::Iff(Errno(libc::EBUSY | libc::EEXIST)) => {
                TunError::NameTaken(name.to_owned())
            }
            AttachError::Iff(Errno(libc::EINVAL)) => TunError::BadName(name.to_owned()),
            AttachError::Iff(errno) => TunError::other("TUNSETIFF", errno),
        })?;
        tun.keep(persist)
    }

    /// Open a device that exists: a persistent one that nobody is attached to.
    pub fn open_existing(name: &str) -> Result<Tun, TunError> {
        let request = request(name, 0)?;
        // TUNSETIFF would make a new one.
        config::require(name)?;
        Tun::attach(request).map_err(|e| match e {
            AttachError::Open(e) => e,
            AttachError::Iff(errno) => attach_error(name, errno),
        })
    }

    /// As [`Tun::create`], for a device that shows every packet as it would be on a wire: no
    /// header before it, checksums complete, nothing larger than the MTU.
    pub fn create_plain(name: &str, persist: bool) -> Result<Tun, TunError> {
        request(name, 0)?;
        if config::exists(name)? {
            return Err(TunError::NameTaken(name.to_owned()));
        }
        let fd = plain::open(name).map_err(|e| match e {
            AttachError::Open(e) => e,
            AttachError::Iff(Errno(libc::EPERM)) => TunError::NoCapability,
            AttachError::Iff(errno) => attach_error(name, errno),
        })?;
        Tun::without_header(fd)?.keep(persist)
    }

    /// As [`Tun::open_existing`], in the manner of [`Tun::create_plain`].
    pub fn open_existing_plain(name: &str) -> Result<Tun, TunError> {
        request(name, 0)?;
        config::require(name)?;
        let fd = plain::open(name).map_err(|e| match e {
            AttachError::Open(e) => e,
            AttachError::Iff(errno) => attach_error(name, errno),
        })?;
        Tun::without_header(fd)
    }

    /// Use a descriptor that another process opened and handed over with its [`Tun::mode`].
    pub fn from_fd(fd: Fd, mode: Mode) -> Tun {
        Tun {
            fd,
            mode,
            gone: false,
        }
    }

    /// The descriptor, for polling and for handing over; still owned.
    pub fn raw_fd(&self) -> i32 {
        self.fd.raw()
    }

    /// How packets stand on the descriptor.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Give the descriptor away.
    pub fn into_fd(self) -> Fd {
        self.fd
    }

    /// The device's name as it is now.
    pub fn name(&self) -> Result<String, TunError> {
        let request = calls::get_iff(&self.fd).map_err(|e| TunError::other("TUNGETIFF", e))?;
        Ok(text(&request.name))
    }

    /// Let the user `uid` open this device (a persistent one) without privileges.
    pub fn set_owner(&self, uid: u32) -> Result<(), TunError> {
        calls::set_owner(&self.fd, uid).map_err(|e| TunError::other("TUNSETOWNER", e))
    }

    /// Keep the device when the last descriptor is closed, or no longer.
    pub fn set_persist(&self, persist: bool) -> Result<(), TunError> {
        calls::set_persist(&self.fd, persist).map_err(|e| TunError::other("TUNSETPERSIST", e))
    }

    /// Read the device's MTU anew, after it was changed.
    pub fn refresh_mtu(&mut self) -> Result<u16, TunError> {
        self.mode.mtu = config::describe(&self.name()?)?.mtu;
        Ok(self.mode.mtu)
    }

    /// Have the stack send nothing larger than `mtu` bytes, whatever the device's own MTU is.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.mode.mtu = mtu;
    }

    fn attach(mut request: IfReq) -> Result<Tun, AttachError> {
        let fd = open_node()?;
        request.flags |= libc::IFF_VNET_HDR as u16;
        calls::set_iff(&fd, &mut request).map_err(AttachError::Iff)?;
        // A persistent device remembers what its last user set.
        calls::set_vnet_hdr_size(&fd, VnetHdr::LEN as i32)
            .map_err(|e| TunError::other("TUNSETVNETHDRSZ", e))?;
        let offload = calls::set_offload(&fd, FEATURES).is_ok();
        if !offload {
            let _ = calls::set_offload(&fd, 0);
        }
        Tun::ready(fd, true, offload)
    }

    fn without_header(fd: Fd) -> Result<Tun, TunError> {
        // A persistent device remembers that its last user took large segments.
        calls::set_offload(&fd, 0).map_err(|e| TunError::other("TUNSETOFFLOAD", e))?;
        Tun::ready(fd, false, false).map_err(|e| match e {
            AttachError::Open(e) => e,
            AttachError::Iff(errno) => TunError::other("fcntl", errno),
        })
    }

    fn ready(fd: Fd, vnet: bool, offload: bool) -> Result<Tun, AttachError> {
        calls::set_nonblocking(&fd).map_err(AttachError::Iff)?;
        let mut tun = Tun::from_fd(
            fd,
            Mode {
                vnet,
                offload,
                mtu: 0,
            },
        );
        tun.refresh_mtu()?;
        Ok(tun)
    }

    fn keep(self, persist: bool) -> Result<Tun, TunError> {
        if persist {
            self.set_persist(true)?;
        }
        Ok(self)
    }
}

/// What failed on the way to a device.
pub(super) enum AttachError {
    /// Something whose meaning is known already.
    Open(TunError),
    /// TUNSETIFF; what its errno means depends on what it was asked for.
    Iff(Errno),
}

impl From<TunError> for AttachError {
    fn from(e: TunError) -> AttachError {
        AttachError::Open(e)
    }
}

/// What TUNSETIFF's errno means for a device that exists.
fn attach_error(name: &str, errno: Errno) -> TunError {
    let name = name.to_owned();
    match errno.0 {
        libc::EPERM => TunError::NotOwner(name),
        libc::EBUSY => TunError::InUse(name),
        libc::EINVAL => TunError::NotTun(name),
        _ => TunError::other("TUNSETIFF", errno),
    }
}

fn open_node() -> Result<Fd, TunError> {
    crate::sys::io::open(NODE, libc::O_RDWR | libc::O_NONBLOCK).map_err(node_error)
}

/// What opening /dev/net/tun says.
pub(crate) fn node_error(errno: Errno) -> TunError {
    match errno.0 {
        libc::ENOENT | libc::ENOTDIR => TunError::NoNode,
        libc::ENXIO | libc::ENODEV => TunError::NoDriver,
        libc::EACCES | libc::EPERM => TunError::NodePermission,
        _ => TunError::other("opening /dev/net/tun", errno),
    }
}

/// The kernel's `dev_valid_name`, so that a bad name isn't cut or taken for another problem.
fn request(name: &str, flags: i32) -> Result<IfReq, TunError> {
    let bytes = name.as_bytes();
    let bad = |b: &u8| matches!(b, b'/' | b':' | 0) || b.is_ascii_whitespace();
    let mut request = IfReq::default();
    request.flags = (libc::IFF_TUN | libc::IFF_NO_PI | flags) as u16;
    let room = request.name.get_mut(..bytes.len());
    match room {
        Some(room)
            if !bytes.is_empty()
                && bytes.len() < NAME_LEN
                && !bytes.iter().any(bad)
                && name != "."
                && name != ".." =>
        {
            room.copy_from_slice(bytes);
            Ok(request)
        }
        _ => Err(TunError::BadName(name.to_owned())),
    }
}

/// The bytes before the first zero.
fn text(name: &[u8]) -> String {
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    String::from_utf8_lossy(name.get(..end).unwrap_or(name)).into_owned()
}

impl Device for Tun {
    #[inline]
    fn send(&mut self, hdr: &VnetHdr, parts: &[&[u8]]) -> Sent {
        debug_assert!(self.mode.vnet || (hdr.flags & VnetHdr::NEEDS_CSUM) == 0);
        let bytes = hdr.to_bytes();
        let first: &[u8] = if self.mode.vnet { &bytes } else { &[] };
        match calls::writev(self.fd.raw(), first, parts) {
            Ok(_) => Sent::Done,
            Err(Errno(libc::EAGAIN | libc::ENOMEM | libc::ENOBUFS | libc::EINTR)) => Sent::Full,
            Err(Errno(libc::EBADFD | libc::EBADF)) => {
                self.gone = true;
                Sent::Gone
            }
            // EIO: the device is down. EINVAL, EFAULT: the packet is not one. In both cases it
            // is lost, and to try again would not help.
            Err(_) => Sent::Done,
        }
    }

    #[inline]
    fn recv_parts(&mut self, parts: &mut [&mut [u8]]) -> Option<(VnetHdr, usize)> {
        let mut bytes = [0; VnetHdr::LEN];
        let first: &mut [u8] = if self.mode.vnet { &mut bytes } else { &mut [] };
        let header_len = first.len();
        loop {
            return match calls::readv(self.fd.raw(), first, parts) {
                Ok(n) => Some((VnetHdr::from_bytes(bytes), n.checked_sub(header_len)?)),
                Err(Errno(libc::EINTR)) => continue,
                Err(Errno(libc::EBADFD | libc::EBADF)) => {
                    self.gone = true;
                    None
                }
                Err(_) => None,
            };
        }
    }

    fn mtu(&self) -> u16 {
        self.mode.mtu
    }

    fn offload(&self) -> bool {
        self.mode.offload
    }

    fn is_gone(&self) -> bool {
        self.gone
    }
}
