//! A TUN device without offload, by the `tun-tap` crate.
//!
//! The crate can't ask for `IFF_VNET_HDR`; what it makes serves where every frame is to be seen
//! as on a wire (`UTCP_OFFLOAD=0`, and tests). It opens files through std and libc, so it is
//! used in the keeper and the command alone, never inside a program.

use super::TunError;
use super::tun::{AttachError, node_error};
use crate::sys::{Errno, Fd, io::dup_from};
use std::os::fd::AsRawFd;
use tun_tap::{Iface, Mode};

/// Make or attach to the device `name`, whose validity was checked.
pub(super) fn open(name: &str) -> Result<Fd, AttachError> {
    // The crate reports a failed open and a failed TUNSETIFF alike, so the node is tried first.
    crate::sys::io::open(c"/dev/net/tun", libc::O_RDWR).map_err(node_error)?;
    let iface = Iface::without_packet_info(name, Mode::Tun)
        .map_err(|e| AttachError::Iff(Errno(e.raw_os_error().unwrap_or(libc::EIO))))?;
    // Ours is closed past the symbols that the library exports; the crate's goes with `iface`.
    dup_from(iface.as_raw_fd(), 3).map_err(|e| TunError::other("fcntl", e).into())
}
