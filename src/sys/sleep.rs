//! Waiting for time to pass.

use super::{Result, syscall};
use core::time::Duration;

/// nanosleep(2); a signal cuts it short.
pub fn sleep(duration: Duration) -> Result<()> {
    let time = libc::timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    };
    let args = [core::ptr::from_ref(&time) as usize, 0, 0, 0, 0, 0];
    // SAFETY: `time` is a valid timespec, read only.
    unsafe { syscall(libc::SYS_nanosleep, args) }.map(drop)
}
