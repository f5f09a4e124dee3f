//! Values of socket options, at the program's addresses and for them.

use crate::errno::Result;
use crate::{kernel, memory};
use core::ffi::{c_int, c_void};
use libc::{socklen_t, timeval};
use utcp_stack::sys::Errno;

/// A value that the program gave.
#[derive(Clone, Copy)]
pub struct Value {
    /// Where.
    pub at: *const c_void,
    /// How much.
    pub len: socklen_t,
}

impl Value {
    /// All of it.
    pub fn read<T: memory::Plain>(self) -> Result<T> {
        if (self.len as usize) < size_of::<T>() {
            return Err(Errno(libc::EINVAL));
        }
        memory::read(self.at.cast())
    }

    /// An int.
    pub fn int(self) -> Result<c_int> {
        self.read()
    }

    /// do_ip_setsockopt: one byte will do.
    pub fn int_or_byte(self) -> Result<c_int> {
        if self.len as usize >= size_of::<c_int>() {
            return self.read();
        }
        if self.len == 0 {
            return Ok(0);
        }
        let mut byte = [0];
        memory::read_bytes(self.at.cast(), &mut byte)?;
        Ok(byte[0].into())
    }

    /// do_ipv6_setsockopt: no address is a 0.
    pub fn int_or_null(self) -> Result<c_int> {
        if self.at.is_null() && self.len as usize >= size_of::<c_int>() {
            return Ok(0);
        }
        self.read()
    }

    /// sock_set_timeout, in microseconds; 0 is none, -1 no wait at all. `near`, a socket of the
    /// kernel's, tells how long a tick is: what is asked for is made whole ticks.
    pub fn timeout(self, near: c_int) -> Result<i64> {
        let t: timeval = self.read()?;
        if !(0..1_000_000).contains(&t.tv_usec) {
            return Err(Errno(libc::EDOM));
        }
        if t.tv_sec < 0 {
            return Ok(-1);
        }
        let hz = kernel::hz(near);
        // MAX_SCHEDULE_TIMEOUT and beyond: no limit.
        if t.tv_sec >= i64::MAX / 1_000_000 - 1 || t.tv_sec >= i64::MAX / hz - 1 {
            return Ok(0);
        }
        let tick = 1_000_000 / hz;
        let ticks = t.tv_sec * hz + (t.tv_usec + tick - 1) / tick;
        Ok(ticks / hz * 1_000_000 + ticks % hz * 1_000_000 / hz)
    }
}

/// A value for the program.
pub struct Reply {
    bytes: [u8; Reply::MAX],
    len: usize,
    /// What the program has room for.
    pub room: usize,
}

impl Reply {
    const MAX: usize = 512;

    /// With `room` bytes at the program's.
    pub fn new(room: usize) -> Reply {
        Reply {
            bytes: [0; Reply::MAX],
            len: 0,
            room,
        }
    }

    /// What there is room for.
    pub fn fits(&self) -> &[u8] {
        &self.bytes[..self.len.min(self.room)]
    }

    /// Add to it.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
    /// Add an int.
    pub fn int(&mut self, v: c_int) {
        self.put(&v.to_ne_bytes());
    }
    /// Add a `timeval`.
    pub fn timeout(&mut self, micros: i64) {
        self.put(&(micros / 1_000_000).to_ne_bytes());
        self.put(&(micros % 1_000_000).to_ne_bytes());
    }
}
