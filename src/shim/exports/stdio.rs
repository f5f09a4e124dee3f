//! stdio on sockets: fdopen, fileno, dprintf.

use crate::dispatch::{RESTART, Sock, end};
use crate::transfer;
use crate::vectors::Buffers;
use crate::{blocked, errno, jumps, observe, real, streams};
use core::ffi::{c_char, c_int, c_void};
use libc::FILE;
use utcp_stack::sys::Errno;

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE {
    if !observe::active()
        && let Some(s) = Sock::at(fd)
        && !jumps::ensure()
    {
        return match streams::open(s, mode) {
            Ok(stream) => stream,
            Err(e) => {
                errno::set(e.0);
                core::ptr::null_mut()
            }
        };
    }
    // SAFETY: the caller's arguments.
    unsafe { real::fdopen(fd, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fileno(stream: *mut FILE) -> c_int {
    match streams::descriptor(stream) {
        Some(fd) => fd,
        // SAFETY: the caller's arguments.
        None => unsafe { real::fileno(stream) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fileno_unlocked(stream: *mut FILE) -> c_int {
    match streams::descriptor(stream) {
        Some(fd) => fd,
        // SAFETY: the caller's arguments.
        None => unsafe { real::fileno_unlocked(stream) },
    }
}

unsafe extern "C" {
    fn vasprintf(out: *mut *mut c_char, format: *const c_char, args: *mut c_void) -> c_int;
    fn __vasprintf_chk(
        out: *mut *mut c_char,
        flag: c_int,
        format: *const c_char,
        args: *mut c_void,
    ) -> c_int;
}

/// Print to a string with `print`, and send that.
fn print_to(s: Sock, print: impl FnOnce(*mut *mut c_char) -> c_int) -> c_int {
    let mut text: *mut c_char = core::ptr::null_mut();
    let n = print(&mut text);
    let Ok(len) = usize::try_from(n) else {
        return -1;
    };
    let mut done = 0;
    let result = loop {
        if done == len {
            break Ok(n);
        }
        let rest = text.wrapping_add(done);
        let sent = transfer::send(s, Buffers::one(rest.cast(), len - done), 0);
        blocked::deliver();
        match sent {
            Ok(sent) => done += sent as usize,
            Err(Errno(libc::EINTR)) if done > 0 => {}
            Err(RESTART) => {}
            Err(e) => break Err(e),
        }
    };
    // SAFETY: vasprintf allocated it.
    unsafe { libc::free(text.cast()) };
    end(result)
}

// A va_list is passed as a pointer on x86-64.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn vdprintf(fd: c_int, format: *const c_char, args: *mut c_void) -> c_int {
    match Sock::at(fd).filter(|_| !observe::active()) {
        // SAFETY: the caller's arguments.
        Some(s) => print_to(s, |out| unsafe { vasprintf(out, format, args) }),
        // SAFETY: the caller's arguments.
        None => unsafe { real::vdprintf(fd, format, args) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __vdprintf_chk(
    fd: c_int,
    flag: c_int,
    format: *const c_char,
    args: *mut c_void,
) -> c_int {
    match Sock::at(fd).filter(|_| !observe::active()) {
        // SAFETY: the caller's arguments.
        Some(s) => print_to(s, |out| unsafe { __vasprintf_chk(out, flag, format, args) }),
        // SAFETY: the caller's arguments.
        None => unsafe { real::__vdprintf_chk(fd, flag, format, args) },
    }
}

/// A function with "..." that calls one with a va_list. The arguments in registers are stored
/// as the System V ABI's register save area, and a va_list is made that points to them and
/// those on the stack: {named arguments' registers used, 48, stack, save area}.
macro_rules! variadic {
    ($name:ident, $target:path, named = $named:literal, list = $list:literal) => {
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C-unwind" fn $name() -> c_int {
            core::arch::naked_asm!(
                // 176 bytes of save area, 24 of va_list, and 8 to align.
                "sub rsp, 216",
                "mov [rsp + 32], rdi",
                "mov [rsp + 40], rsi",
                "mov [rsp + 48], rdx",
                "mov [rsp + 56], rcx",
                "mov [rsp + 64], r8",
                "mov [rsp + 72], r9",
                "test al, al",
                "jz 2f",
                "movaps [rsp + 80], xmm0",
                "movaps [rsp + 96], xmm1",
                "movaps [rsp + 112], xmm2",
                "movaps [rsp + 128], xmm3",
                "movaps [rsp + 144], xmm4",
                "movaps [rsp + 160], xmm5",
                "movaps [rsp + 176], xmm6",
                "movaps [rsp + 192], xmm7",
                "2:",
                concat!("mov dword ptr [rsp], ", $named),
                "mov dword ptr [rsp + 4], 48",
                "lea rax, [rsp + 224]",
                "mov [rsp + 8], rax",
                "lea rax, [rsp + 32]",
                "mov [rsp + 16], rax",
                concat!("mov ", $list, ", rsp"),
                "call {target}",
                "add rsp, 216",
                "ret",
                target = sym $target,
            )
        }
    };
}

variadic!(dprintf, vdprintf, named = 16, list = "rdx");
variadic!(__dprintf_chk, __vdprintf_chk, named = 24, list = "rcx");
