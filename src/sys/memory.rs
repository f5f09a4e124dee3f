//! Memory that processes share: memfd, seals, mappings.

use super::{Errno, Fd, Result, syscall};
use core::ptr::NonNull;

/// memfd_create(2) with CLOEXEC and sealing allowed. Only the part of `name` before a NUL
/// counts, and the kernel shows it in `/proc/PID/maps`.
pub fn memfd_create(name: &str) -> Result<Fd> {
    // The kernel allows 249 bytes and the NUL.
    let mut buf = [0u8; 64];
    for (to, from) in buf.iter_mut().take(63).zip(name.bytes()) {
        *to = from;
    }
    let flags = (libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) as usize;
    // SAFETY: `buf` ends in a NUL.
    let raw = unsafe {
        syscall(
            libc::SYS_memfd_create,
            [buf.as_ptr() as usize, flags, 0, 0, 0, 0],
        )
    }?;
    Ok(Fd::own(raw as i32))
}

/// ftruncate(2).
pub fn ftruncate(fd: &Fd, len: usize) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_ftruncate, [fd.raw() as usize, len, 0, 0, 0, 0]) }.map(drop)
}

/// The size of the file behind `fd`.
pub fn file_size(fd: &Fd) -> Result<u64> {
    // SAFETY: zero is a valid `stat`.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: `stat` outlives the call.
    unsafe {
        syscall(
            libc::SYS_fstat,
            [fd.raw() as usize, &raw mut stat as usize, 0, 0, 0, 0],
        )
    }?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// F_ADD_SEALS: the file can't be shrunk or grown any more, nor its seals be changed.
pub fn seal_size(fd: &Fd) -> Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no pointers.
    unsafe {
        syscall(
            libc::SYS_fcntl,
            [
                fd.raw() as usize,
                libc::F_ADD_SEALS as usize,
                seals as usize,
                0,
                0,
                0,
            ],
        )
    }
    .map(drop)
}

/// Whether the file can neither shrink nor grow: a mapping of it never faults past its end.
pub fn size_is_sealed(fd: &Fd) -> bool {
    // SAFETY: no pointers.
    let got = unsafe {
        syscall(
            libc::SYS_fcntl,
            [fd.raw() as usize, libc::F_GET_SEALS as usize, 0, 0, 0, 0],
        )
    };
    let wanted = (libc::F_SEAL_SHRINK | libc::F_SEAL_GROW) as usize;
    got.is_ok_and(|seals| seals & wanted == wanted)
}

/// Map `len` bytes, readable and writable: of `fd`, shared, or anonymous and private.
/// No swap is reserved, core dumps leave it out, and it is not locked in memory, even if the
/// program locks all it maps (mlockall(2)): an arena is far larger than what is ever used of it.
pub fn map(fd: Option<&Fd>, len: usize) -> Result<NonNull<u8>> {
    let (raw, kind) = match fd {
        Some(fd) => (fd.raw() as usize, libc::MAP_SHARED),
        None => (usize::MAX, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
    };
    let flags = (kind | libc::MAP_NORESERVE) as usize;
    // Without access first: after mlockall(MCL_FUTURE) the kernel would fetch every page at once.
    // SAFETY: a new mapping at an address the kernel picks changes no existing memory.
    let at = unsafe { syscall(libc::SYS_mmap, [0, len, 0, flags, raw, 0]) }?;
    // SAFETY: the mapping was just made, and neither changes content. A refusal harms nothing.
    let _ = unsafe { syscall(libc::SYS_munlock, [at, len, 0, 0, 0, 0]) };
    let dont_dump = libc::MADV_DONTDUMP as usize;
    // SAFETY: as above.
    let _ = unsafe { syscall(libc::SYS_madvise, [at, len, dont_dump, 0, 0, 0]) };
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    // SAFETY: the mapping was just made, and nobody knows of it.
    unsafe { syscall(libc::SYS_mprotect, [at, len, prot, 0, 0, 0]) }?;
    NonNull::new(at as *mut u8).ok_or(Errno(libc::ENOMEM))
}

/// munmap(2).
///
/// # Safety
/// The range must be a mapping of [`map`] to which no reference is left.
pub unsafe fn unmap(at: NonNull<u8>, len: usize) {
    // SAFETY: the caller vouches for it.
    let _ = unsafe { syscall(libc::SYS_munmap, [at.as_ptr() as usize, len, 0, 0, 0, 0]) };
}
