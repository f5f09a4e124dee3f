//! /proc/net/tcp, tcp6, netstat and snmp, by whatever function they are opened.

use super::alias;
use crate::{fdtable, observe, proc_net, process, real, sysctl};
use core::ffi::{CStr, c_char, c_int};
use libc::{FILE, mode_t};

/// The stack's table of sockets or counters instead of the kernel's, if `path` names that and this program
/// uses a stack, or could.
fn table(path: *const c_char, flags: c_int) -> Option<c_int> {
    if path.is_null() || observe::active() {
        return None;
    }
    // SAFETY: open takes a C string.
    let path = unsafe { CStr::from_ptr(path) };
    if flags & libc::O_ACCMODE != libc::O_RDONLY {
        sysctl::opened_to_write(path);
        return None;
    }
    let file = proc_net::which(path)?;
    let rt = process::running()?;
    let fd = proc_net::open(rt, file, flags & libc::O_CLOEXEC != 0).ok()?;
    Some(fdtable::set_other(fd.into_raw()))
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    if let Some(fd) = table(path, flags) {
        return fd;
    }
    // SAFETY: the caller's arguments.
    fdtable::set_other(unsafe { real::open64(path, flags, mode) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn openat64(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    if let Some(fd) = table(path, flags) {
        return fd;
    }
    // SAFETY: the caller's arguments.
    fdtable::set_other(unsafe { real::openat64(dir, path, flags, mode) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
    // Fortified: only for flags that need no mode, which libc checks.
    if let Some(fd) = table(path, flags) {
        return fd;
    }
    // SAFETY: the caller's arguments.
    fdtable::set_other(unsafe { real::__open64_2(path, flags) })
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    if let Some(fd) = table(path, flags) {
        return fd;
    }
    // SAFETY: the caller's arguments.
    fdtable::set_other(unsafe { real::__openat64_2(dir, path, flags) })
}

alias! {
    open = open64: fn(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    openat = openat64: fn(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    __open_2 = __open64_2: fn(path: *const c_char, flags: c_int) -> c_int;
    __openat_2 = __openat64_2: fn(dir: c_int, path: *const c_char, flags: c_int) -> c_int;
    fopen = fopen64: fn(path: *const c_char, mode: *const c_char) -> *mut FILE;
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: fopen takes C strings.
    let reads =
        !mode.is_null() && unsafe { CStr::from_ptr(mode) }.to_bytes().first() == Some(&b'r');
    let flags = if reads {
        libc::O_RDONLY
    } else {
        libc::O_WRONLY
    };
    if let Some(fd) = table(path, flags) {
        // SAFETY: a fresh descriptor of the kernel's.
        return unsafe { real::fdopen(fd, c"r".as_ptr()) };
    }
    // SAFETY: the caller's arguments.
    unsafe { real::fopen64(path, mode) }
}
