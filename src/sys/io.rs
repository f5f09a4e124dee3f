//! Plain input and output: read, write, pipes, files, waiting.

use super::{Errno, Fd, Result, syscall};
use crate::time::{Duration, Instant};
use core::ffi::CStr;

/// read(2).
pub fn read(fd: i32, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: `buf` is valid for its length.
    unsafe {
        syscall(
            libc::SYS_read,
            [fd as usize, buf.as_mut_ptr() as usize, buf.len(), 0, 0, 0],
        )
    }
}

/// write(2).
pub fn write(fd: i32, buf: &[u8]) -> Result<usize> {
    // SAFETY: `buf` is valid for its length.
    unsafe {
        syscall(
            libc::SYS_write,
            [fd as usize, buf.as_ptr() as usize, buf.len(), 0, 0, 0],
        )
    }
}

/// open(2) with CLOEXEC.
pub fn open(path: &CStr, flags: i32) -> Result<Fd> {
    let flags = (flags | libc::O_CLOEXEC) as usize;
    // SAFETY: `path` ends in a NUL.
    unsafe {
        syscall(
            libc::SYS_openat,
            [
                libc::AT_FDCWD as usize,
                path.as_ptr() as usize,
                flags,
                0,
                0,
                0,
            ],
        )
    }
    .map(|fd| Fd::own(fd as i32))
}

/// readlink(2); `None` when it fails. For /proc.
pub fn read_link(path: &CStr) -> Option<Vec<u8>> {
    let mut buf = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: `path` ends in a NUL and `buf` is valid for its length.
    let len = unsafe {
        syscall(
            libc::SYS_readlinkat,
            [
                libc::AT_FDCWD as usize,
                path.as_ptr() as usize,
                buf.as_mut_ptr() as usize,
                buf.len(),
                0,
                0,
            ],
        )
    }
    .ok()?;
    buf.truncate(len);
    Some(buf)
}

/// Whether this process may execute the file at `path`: access(2), by the effective ids.
pub fn is_executable(path: &CStr) -> Result<()> {
    // SAFETY: `path` ends in a NUL.
    unsafe {
        syscall(
            libc::SYS_faccessat2,
            [
                libc::AT_FDCWD as usize,
                path.as_ptr() as usize,
                libc::X_OK as usize,
                libc::AT_EACCESS as usize,
                0,
                0,
            ],
        )
    }
    .map(drop)
}

/// pipe2(2) with CLOEXEC: the end to read from, the end to write to.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [0i32; 2];
    // SAFETY: `ends` has room for two descriptors.
    unsafe {
        syscall(
            libc::SYS_pipe2,
            [
                ends.as_mut_ptr() as usize,
                libc::O_CLOEXEC as usize,
                0,
                0,
                0,
                0,
            ],
        )
    }?;
    Ok((Fd::own(ends[0]), Fd::own(ends[1])))
}

/// F_DUPFD_CLOEXEC: the same file under the lowest free number from `least` on.
pub fn dup_from(fd: i32, least: i32) -> Result<Fd> {
    // SAFETY: no pointers.
    unsafe {
        syscall(
            libc::SYS_fcntl,
            [
                fd as usize,
                libc::F_DUPFD_CLOEXEC as usize,
                least as usize,
                0,
                0,
                0,
            ],
        )
    }
    .map(|fd| Fd::own(fd as i32))
}

/// F_SETFD: whether exec closes `fd`.
pub fn set_cloexec(fd: i32, cloexec: bool) -> Result<()> {
    let flags = if cloexec { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: no pointers.
    unsafe {
        syscall(
            libc::SYS_fcntl,
            [fd as usize, libc::F_SETFD as usize, flags as usize, 0, 0, 0],
        )
    }
    .map(drop)
}

/// Which file this is: the device and inode of fstat(2).
pub fn identity(fd: i32) -> Result<(u64, u64)> {
    // SAFETY: zero is a valid `stat`.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: `stat` outlives the call.
    unsafe {
        syscall(
            libc::SYS_fstat,
            [fd as usize, &raw mut stat as usize, 0, 0, 0, 0],
        )
    }?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The owner of the file at `path`, which for /proc/PID is the process's user.
pub fn owner(path: &CStr) -> Result<u32> {
    // SAFETY: zero is a valid `stat`.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: `path` ends in a NUL; `stat` outlives the call.
    unsafe {
        syscall(
            libc::SYS_newfstatat,
            [
                libc::AT_FDCWD as usize,
                path.as_ptr() as usize,
                &raw mut stat as usize,
                0,
                0,
                0,
            ],
        )
    }?;
    Ok(stat.st_uid)
}

/// FIONREAD: how many bytes wait to be read.
pub fn readable_bytes(fd: i32) -> Result<usize> {
    let mut count = 0i32;
    // SAFETY: `count` outlives the call.
    unsafe {
        syscall(
            libc::SYS_ioctl,
            [
                fd as usize,
                libc::FIONREAD as usize,
                &raw mut count as usize,
                0,
                0,
                0,
            ],
        )
    }?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// What to wait for on a descriptor, and what came: the kernel's `struct pollfd`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PollFd {
    /// The descriptor.
    pub fd: i32,
    /// What to wait for.
    pub events: i16,
    /// What came.
    pub revents: i16,
}

impl PollFd {
    /// Wait for `events` on `fd`.
    pub fn new(fd: i32, events: i16) -> PollFd {
        PollFd {
            fd,
            events,
            revents: 0,
        }
    }
}

/// ppoll(2) without a signal mask; `None` waits for ever.
pub fn poll(fds: &mut [PollFd], timeout: Option<Duration>) -> Result<usize> {
    let ts = timeout.map(|t| libc::timespec {
        tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    let ts = ts.as_ref().map_or(0, |ts| core::ptr::from_ref(ts) as usize);
    // SAFETY: both pointers are valid for the call.
    unsafe {
        syscall(
            libc::SYS_ppoll,
            [fds.as_mut_ptr() as usize, fds.len(), ts, 0, 0, 0],
        )
    }
}

/// Wait for `events` on one descriptor until `end`, starting again after signals; false when
/// the time is over.
pub fn poll_until(fd: i32, events: i16, end: Instant) -> Result<bool> {
    loop {
        let now = super::now();
        let mut fds = [PollFd::new(fd, events)];
        match poll(&mut fds, Some(end.since(now))) {
            Ok(0) if now >= end => return Ok(false),
            Ok(0) | Err(Errno(libc::EINTR)) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e),
        }
    }
}

/// Sleep; signals don't cut it short.
pub fn sleep(time: Duration) {
    let end = super::now() + time;
    loop {
        let now = super::now();
        if now >= end {
            return;
        }
        let _ = poll(&mut [], Some(end.since(now)));
    }
}

/// epoll_create1(2) with CLOEXEC.
pub fn epoll() -> Result<Fd> {
    // SAFETY: no pointers.
    unsafe {
        syscall(
            libc::SYS_epoll_create1,
            [libc::EPOLL_CLOEXEC as usize, 0, 0, 0, 0, 0],
        )
    }
    .map(|fd| Fd::own(fd as i32))
}

/// epoll_ctl(2): `operation` is EPOLL_CTL_ADD, MOD or DEL.
pub fn epoll_ctl(epoll: &Fd, operation: i32, fd: i32, events: u32, data: u64) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: `event` outlives the call.
    unsafe {
        syscall(
            libc::SYS_epoll_ctl,
            [
                epoll.raw() as usize,
                operation as usize,
                fd as usize,
                &raw mut event as usize,
                0,
                0,
            ],
        )
    }
    .map(drop)
}

/// epoll_pwait2(2) without a signal mask, for at most `timeout` (`None`: for ever). Where the
/// kernel (before 5.11) or a sandbox doesn't have it, by whole milliseconds.
pub fn epoll_wait(
    epoll: &Fd,
    events: &mut [libc::epoll_event],
    timeout: Option<Duration>,
) -> Result<usize> {
    let limit = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs() as i64,
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    // SAFETY: `events` has room for as many as it says; the time is valid for the call.
    let got = unsafe {
        syscall(
            libc::SYS_epoll_pwait2,
            [
                epoll.raw() as usize,
                events.as_mut_ptr() as usize,
                events.len(),
                limit
                    .as_ref()
                    .map_or(core::ptr::null(), core::ptr::from_ref) as usize,
                0,
                0,
            ],
        )
    };
    if matches!(got, Ok(_) | Err(Errno(libc::EINTR))) {
        return got;
    }
    let timeout = timeout.map_or(-1, |t| {
        i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
    });
    // SAFETY: `events` has room for as many as it says.
    unsafe {
        syscall(
            libc::SYS_epoll_pwait,
            [
                epoll.raw() as usize,
                events.as_mut_ptr() as usize,
                events.len(),
                timeout as usize,
                0,
                0,
            ],
        )
    }
}

/// timerfd_create(2) on CLOCK_MONOTONIC, CLOEXEC and non-blocking.
pub fn timer() -> Result<Fd> {
    let flags = (libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) as usize;
    // SAFETY: no pointers.
    unsafe {
        syscall(
            libc::SYS_timerfd_create,
            [libc::CLOCK_MONOTONIC as usize, flags, 0, 0, 0, 0],
        )
    }
    .map(|fd| Fd::own(fd as i32))
}

/// timerfd_settime(2): readable from `at` on; a time that has passed makes it readable now,
/// [`Instant::NEVER`] stops it.
pub fn set_timer(timer: i32, at: Instant) -> Result<()> {
    let mut when = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if at != Instant::NEVER {
        // Zero would stop it.
        let at = at.0.max(1);
        when.tv_sec = i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX);
        when.tv_nsec = (at % 1_000_000_000) as i64;
    }
    let spec = libc::itimerspec {
        it_interval: libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: when,
    };
    // SAFETY: `spec` outlives the call; the old value isn't asked for.
    unsafe {
        syscall(
            libc::SYS_timerfd_settime,
            [
                timer as usize,
                libc::TFD_TIMER_ABSTIME as usize,
                &raw const spec as usize,
                0,
                0,
                0,
            ],
        )
    }
    .map(drop)
}

/// getrandom(2).
pub fn random(buf: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // SAFETY: `rest` is valid for its length.
        let got = unsafe {
            syscall(
                libc::SYS_getrandom,
                [rest.as_mut_ptr() as usize, rest.len(), 0, 0, 0, 0],
            )
        };
        match got {
            Ok(n) => done += n,
            Err(Errno(libc::EINTR)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The whole of a small file; `None` when it can't be read. For /proc.
pub fn read_file(path: &CStr) -> Option<Vec<u8>> {
    let fd = open(path, libc::O_RDONLY).ok()?;
    let mut all = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        match read(fd.raw(), &mut part) {
            Ok(0) => return Some(all),
            Ok(n) => all.extend_from_slice(part.get(..n)?),
            Err(Errno(libc::EINTR)) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    // RFC 6528 S4-1
    #[test]
    fn random_is_the_kernels() {
        let mut drawn = std::collections::BTreeSet::new();
        for _ in 0..64 {
            let mut key = [0u8; 16];
            super::random(&mut key).expect("getrandom");
            assert!(drawn.insert(key));
        }
        // No byte is left as it was: each takes many values.
        for at in 0..16 {
            let values: std::collections::BTreeSet<u8> = drawn.iter().map(|k| k[at]).collect();
            assert!(values.len() > 32, "byte {at}: {values:?}");
        }
    }
}
