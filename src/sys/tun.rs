//! The calls that make and use a TUN device, and the few on files that setting one up needs.

use super::{Errno, Fd, Result, io, syscall};
use core::ffi::CStr;

/// Bytes of a network device's name, the final zero included.
pub const NAME_LEN: usize = libc::IFNAMSIZ;

/// `struct ifreq` as TUNSETIFF reads it and TUNGETIFF fills it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct IfReq {
    /// The device's name, zero-terminated.
    pub name: [u8; NAME_LEN],
    /// `IFF_TUN`, `IFF_NO_PI` ...
    pub flags: u16,
    /// The rest of the kernel's union.
    rest: [u16; 11],
}

/// Write `bytes` to the existing file `path` in one call.
pub fn write_file(path: &CStr, bytes: &[u8]) -> Result<()> {
    let file = io::open(path, libc::O_WRONLY)?;
    io::write(file.raw(), bytes).map(drop)
}

/// Set `O_NONBLOCK` on the open file.
pub fn set_nonblocking(fd: &Fd) -> Result<()> {
    let fd = fd.raw() as usize;
    // SAFETY: no pointers.
    unsafe {
        let flags = syscall(libc::SYS_fcntl, [fd, libc::F_GETFL as usize, 0, 0, 0, 0])?;
        let flags = flags | libc::O_NONBLOCK as usize;
        syscall(
            libc::SYS_fcntl,
            [fd, libc::F_SETFL as usize, flags, 0, 0, 0],
        )?;
    }
    Ok(())
}

/// TUNSETIFF: make a device, or attach to one; `request` comes back with its real name.
pub fn set_iff(fd: &Fd, request: &mut IfReq) -> Result<()> {
    ioctl_pointer(fd, libc::TUNSETIFF, request)
}

/// TUNGETIFF: name and flags of the device that `fd` is attached to.
pub fn get_iff(fd: &Fd) -> Result<IfReq> {
    let mut request = IfReq::default();
    ioctl_pointer(fd, libc::TUNGETIFF, &mut request)?;
    Ok(request)
}

/// TUNSETVNETHDRSZ: the length of the header before each packet.
pub fn set_vnet_hdr_size(fd: &Fd, mut size: i32) -> Result<()> {
    ioctl_pointer(fd, libc::TUNSETVNETHDRSZ, &mut size)
}

/// TUNSETOFFLOAD: what packets the reader can take (`TUN_F_*`).
pub fn set_offload(fd: &Fd, features: u32) -> Result<()> {
    ioctl_value(fd, libc::TUNSETOFFLOAD, features as usize)
}

/// TUNSETPERSIST: the device stays when its last descriptor is closed.
pub fn set_persist(fd: &Fd, persist: bool) -> Result<()> {
    ioctl_value(fd, libc::TUNSETPERSIST, usize::from(persist))
}

/// TUNSETOWNER: the user who may attach to the device without privileges.
pub fn set_owner(fd: &Fd, uid: u32) -> Result<()> {
    ioctl_value(fd, libc::TUNSETOWNER, uid as usize)
}

/// An ioctl whose argument is a pointer to a plain structure.
fn ioctl_pointer<T: Copy>(fd: &Fd, request: libc::Ioctl, argument: &mut T) -> Result<()> {
    let args = [
        fd.raw() as usize,
        request as usize,
        core::ptr::from_mut(argument) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: each caller's `T` is at least as large as what its request reads and writes, and
    // any bytes are a valid `T` (integers only).
    unsafe { syscall(libc::SYS_ioctl, args) }.map(drop)
}

/// An ioctl whose argument is a number.
fn ioctl_value(fd: &Fd, request: libc::Ioctl, argument: usize) -> Result<()> {
    let args = [fd.raw() as usize, request as usize, argument, 0, 0, 0];
    // SAFETY: the callers' requests take their argument by value.
    unsafe { syscall(libc::SYS_ioctl, args) }.map(drop)
}

/// The most parts that one [`writev`] or [`readv`] takes: a 64 KiB packet in buffers of 1 KiB,
/// and headers.
pub const MAX_PARTS: usize = 72;

/// writev(2). More than [`MAX_PARTS`] parts give `EINVAL`.
#[inline]
pub fn writev(fd: i32, first: &[u8], parts: &[&[u8]]) -> Result<usize> {
    const EMPTY: libc::iovec = libc::iovec {
        iov_base: core::ptr::null_mut(),
        iov_len: 0,
    };
    let mut iov = [EMPTY; MAX_PARTS];
    if parts.len() >= MAX_PARTS {
        return Err(Errno(libc::EINVAL));
    }
    let all = core::iter::once(&first).chain(parts);
    let mut count = 0;
    for (slot, part) in iov.iter_mut().zip(all.filter(|part| !part.is_empty())) {
        slot.iov_base = part.as_ptr().cast_mut().cast();
        slot.iov_len = part.len();
        count += 1;
    }
    let args = [fd as usize, iov.as_ptr() as usize, count, 0, 0, 0];
    // SAFETY: the first `count` entries describe slices that are alive and are only read.
    unsafe { syscall(libc::SYS_writev, args) }
}

/// readv(2) into `first` and then `parts`. More than [`MAX_PARTS`] parts give `EINVAL`.
#[inline]
pub fn readv(fd: i32, first: &mut [u8], parts: &mut [&mut [u8]]) -> Result<usize> {
    const EMPTY: libc::iovec = libc::iovec {
        iov_base: core::ptr::null_mut(),
        iov_len: 0,
    };
    let mut iov = [EMPTY; MAX_PARTS];
    if parts.len() >= MAX_PARTS {
        return Err(Errno(libc::EINVAL));
    }
    let all = core::iter::once(first).chain(parts.iter_mut().map(|part| &mut **part));
    let mut count = 0;
    for (slot, part) in iov.iter_mut().zip(all.filter(|part| !part.is_empty())) {
        slot.iov_base = part.as_mut_ptr().cast();
        slot.iov_len = part.len();
        count += 1;
    }
    let args = [fd as usize, iov.as_ptr() as usize, count, 0, 0, 0];
    // SAFETY: the first `count` entries describe slices that are borrowed mutably here.
    unsafe { syscall(libc::SYS_readv, args) }
}
