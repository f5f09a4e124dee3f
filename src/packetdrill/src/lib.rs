//! `libutcp_packetdrill.so`: the stack, in virtual time, behind packetdrill's interface for
//! shared objects (`packetdrill --so_filename=libutcp_packetdrill.so SCRIPT`).
//!
//! packetdrill runs scripts in one thread and calls that block in another. Both come here under
//! one lock. Time passes when packetdrill sleeps, when it waits for a packet, and by a
//! microsecond whenever it looks at the clock, for it waits for the last few by looking.
//!
//! The code blocks of scripts ask for TCP_INFO by getsockopt(2) itself, and at its end packetdrill
//! closes what is open by close(2), and it calls sendfile(2): with this library in LD_PRELOAD too,
//! all three reach the stack.

mod host;
mod interface;
mod memory;
mod transfer;

use host::Outside;
use interface::Interface;
use std::sync::OnceLock;

static OUTSIDE: OnceLock<Outside> = OnceLock::new();

/// What packetdrill looks for. `flags` (`--so_flags`) may have
/// `addr=192.168.0.1/16,addr6=fd3d:a0b:17d6::1/64,mtu=1500`.
///
/// # Safety
/// `flags` is null or ends with a zero byte; `table` has room for an [`Interface`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(
    flags: *const core::ffi::c_char,
    table: *mut Interface,
) {
    // SAFETY: packetdrill locks all memory, now and in future; the stack's is mostly never used.
    unsafe { libc::munlockall() };
    let text = if flags.is_null() {
        ""
    } else {
        // SAFETY: the caller's.
        unsafe { core::ffi::CStr::from_ptr(flags) }
            .to_str()
            .unwrap_or_default()
    };
    let outside = OUTSIDE.get_or_init(|| Outside::new(text));
    // SAFETY: the caller's.
    unsafe { table.write(interface::table(outside)) };
}

/// getsockopt(2), for code blocks; see the module.
///
/// # Safety
/// As for getsockopt(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: i32,
    level: i32,
    name: i32,
    value: *mut core::ffi::c_void,
    len: *mut libc::socklen_t,
) -> i32 {
    if let Some(outside) = OUTSIDE.get()
        && fd >= host::FIRST_FD
    {
        return interface::getsockopt(outside, fd, level, name, value, len);
    }
    // SAFETY: the kernel checks the pointers.
    unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, value, len) as i32 }
}

/// sendfile(2), which packetdrill calls itself.
///
/// # Safety
/// As for sendfile(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile(fd: i32, from: i32, at: *mut i64, len: usize) -> isize {
    if let Some(outside) = OUTSIDE.get()
        && fd >= host::FIRST_FD
    {
        return interface::sendfile_on(outside, fd, from, at, len);
    }
    // SAFETY: the kernel checks the pointer.
    unsafe { libc::syscall(libc::SYS_sendfile, fd, from, at, len) as isize }
}

/// close(2), for the end of a script; see the module.
#[unsafe(no_mangle)]
pub extern "C" fn close(fd: i32) -> i32 {
    if let Some(outside) = OUTSIDE.get()
        && fd >= host::FIRST_FD
    {
        return interface::close_on(outside, fd);
    }
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_close, fd) as i32 }
}
