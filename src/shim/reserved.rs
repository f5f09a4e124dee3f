//! Descriptors that are made before what they are to be of.
//!
//! accept takes the number of its descriptor before all else, as in the kernel, where this is a
//! mere number while the call waits: a child that another thread makes meanwhile has nothing
//! there. Ours is a near end already, and a child that kept it would keep the connection to come.

use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, Ordering};
use utcp_stack::sys::{self, io};

const PLACES: usize = 1024;
static RESERVED: [AtomicI32; PLACES] = [const { AtomicI32::new(-1) }; PLACES];

/// A descriptor that no child gets; when this is dropped, it is as any other.
pub struct Reserved {
    place: Option<&'static AtomicI32>,
    fd: c_int,
    /// It is to be closed by exec.
    cloexec: bool,
}

impl Reserved {
    /// Reserve `fd`, which is closed by exec until then: for a child of vfork, and what libc
    /// starts by itself. The program wants that or not.
    pub fn new(fd: c_int, cloexec: bool) -> Reserved {
        let place = RESERVED.iter().find(|p| {
            p.compare_exchange(-1, fd, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        });
        Reserved { place, fd, cloexec }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.cloexec {
            let _ = io::set_cloexec(self.fd, false);
        }
        if let Some(place) = self.place {
            place.store(-1, Ordering::Release);
        }
    }
}

/// In the child of a fork.
pub fn in_fork_child() {
    for place in &RESERVED {
        let fd = place.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            let _ = sys::close(fd);
        }
    }
}
