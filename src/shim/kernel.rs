//! Raw system calls on the program's descriptors, beside those of [`utcp_stack::sys`].

use crate::errno::Result;
use core::ffi::c_int;
use core::sync::atomic::{AtomicI64, Ordering};
use utcp_stack::sys::{io, syscall, unix};

/// A system call with plain arguments whose result is an int.
///
/// # Safety
/// As [`syscall`].
pub unsafe fn call(number: libc::c_long, args: [usize; 6]) -> Result<c_int> {
    // SAFETY: the caller vouches for it.
    unsafe { syscall(number, args) }.map(|v| v as c_int)
}

/// The flags SOCK_NONBLOCK and SOCK_CLOEXEC among `flags`.
pub fn descriptor_flags(flags: c_int) -> c_int {
    flags & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
}

/// socket(AF_UNIX, SOCK_STREAM) with the lowest free number.
pub fn unix_stream(flags: c_int) -> Result<c_int> {
    let kind = libc::SOCK_STREAM | descriptor_flags(flags);
    // SAFETY: no pointers.
    unsafe {
        call(
            libc::SYS_socket,
            [libc::AF_UNIX as usize, kind as usize, 0, 0, 0, 0],
        )
    }
}

/// fcntl(2).
pub fn fcntl(fd: c_int, cmd: c_int, arg: usize) -> Result<c_int> {
    // SAFETY: used by callers for commands without pointers, or with the program's.
    unsafe { call(libc::SYS_fcntl, [fd as usize, cmd as usize, arg, 0, 0, 0]) }
}

/// The inode of a descriptor.
pub fn inode(fd: c_int) -> u64 {
    io::identity(fd).map_or(0, |(_, inode)| inode)
}

/// The kernel's ticks a second (CONFIG_HZ): what `near`, an AF_UNIX socket, makes of the least time
/// limit. 1,000 if it can't be told.
pub fn hz(near: c_int) -> i64 {
    static KNOWN: AtomicI64 = AtomicI64::new(0);
    let known = KNOWN.load(Ordering::Relaxed);
    if known > 0 {
        return known;
    }
    // A timeval of a microsecond.
    let tick = unix::set_time_limit(near, 1).and_then(|()| unix::time_limit(near));
    let _ = unix::set_time_limit(near, 0);
    let hz = match tick {
        Ok(micros @ 1..=1_000_000) => (1_000_000 + micros / 2) / micros,
        _ => 1000,
    };
    KNOWN.store(hz, Ordering::Relaxed);
    hz
}

/// Send this thread a signal, as the kernel does for a call's own fault (SIGPIPE).
pub fn raise(signal: c_int) {
    let (pid, tid) = (
        utcp_stack::sys::process::pid(),
        utcp_stack::sys::process::tid(),
    );
    // SAFETY: no pointers.
    let _ = unsafe {
        syscall(
            libc::SYS_tgkill,
            [pid as usize, tid as usize, signal as usize, 0, 0, 0],
        )
    };
}

/// Whether the process has CAP_NET_BIND_SERVICE.
pub fn may_bind_low_ports() -> bool {
    has_capability(10)
}

/// Whether `capability` (below 32) is in the thread's effective set.
pub fn has_capability(capability: u32) -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable; twice.
    let mut sets = [0u32; 6];
    // SAFETY: header and data have the layout of version 3.
    let got = unsafe {
        syscall(
            libc::SYS_capget,
            [
                header.as_ptr() as usize,
                sets.as_mut_ptr() as usize,
                0,
                0,
                0,
                0,
            ],
        )
    };
    got.is_ok() && sets[0] >> capability & 1 != 0
}
