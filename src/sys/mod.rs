//! System calls made directly, past every symbol that `libutcp.so` exports.
//!
//! Inside the preloaded library, Rust's std and libc's wrappers bind to the library's own
//! `close`, `write`, ...: a stack that used them would call itself. Everything below the shim
//! therefore makes its system calls here.

pub mod bell;
pub mod io;
pub mod memory;
pub mod netlink;
pub mod process;
pub mod remedy;
pub mod signals;
pub mod tun;
pub mod unix;

use core::arch::asm;

/// An error number as the kernel returns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl core::fmt::Display for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // std's table of messages makes no system call.
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

/// What a system call gives.
pub type Result<T> = core::result::Result<T, Errno>;

/// Make system call `number`.
///
/// # Safety
/// The arguments must be what that system call expects; pointers must be valid for it.
#[inline]
pub unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> Result<usize> {
    let ret: isize;
    // SAFETY: the caller vouches for the arguments; the kernel clobbers rcx and r11 only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => ret,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    if (-4095..0).contains(&ret) {
        Err(Errno(-ret as i32))
    } else {
        Ok(ret as usize)
    }
}

/// A descriptor that this library owns; closed on drop, past the interposed `close`.
#[derive(Debug)]
pub struct Fd(i32);

impl Fd {
    /// Take ownership of `raw`.
    pub fn own(raw: i32) -> Fd {
        Fd(raw)
    }
    /// The number; still owned.
    pub fn raw(&self) -> i32 {
        self.0
    }
    /// Give ownership away.
    pub fn into_raw(self) -> i32 {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        let _ = close(self.0);
    }
}

/// close(2).
pub fn close(fd: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// The time of `CLOCK_MONOTONIC`.
pub fn now() -> crate::time::Instant {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid timespec; libc's clock_gettime goes to the vDSO.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    crate::time::Instant(ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64)
}

/// CLOCK_REALTIME: since 1970.
pub fn wall_clock() -> crate::time::Duration {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid timespec; libc's clock_gettime goes to the vDSO.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut ts) };
    crate::time::Duration::new(ts.tv_sec as u64, ts.tv_nsec as u32)
}
