//! SO_BINDTODEVICE and SO_BINDTOIFINDEX.

use crate::dispatch::Sock;
use crate::errno::{self, Result};
use crate::kernel;
use crate::memory;
use crate::optvalue::{Reply, Value};
use core::ffi::c_int;
use utcp_stack::stack::Host;
use utcp_stack::stack::devices::NAME;
use utcp_stack::sys::Errno;

const CAP_NET_RAW: u32 = 13;

/// To the device by its name, up to the first zero; to none for an empty one.
pub fn bind_to_named(s: Sock, given: Value) -> Result<()> {
    let mut text = [0u8; NAME - 1];
    let n = (given.len as usize).min(text.len());
    memory::read_bytes(given.at.cast(), &mut text[..n])?;
    let mut host = s.enter()?;
    let index = host.sh.device_named(&text).ok_or(Errno(libc::ENODEV))?;
    bind(&mut host, s, index as c_int)
}

/// By its number.
pub fn bind_to(s: Sock, device: c_int) -> Result<()> {
    bind(&mut *s.enter()?, s, device)
}

fn bind(host: &mut Host<'_>, s: Sock, device: c_int) -> Result<()> {
    let privileged = kernel::has_capability(CAP_NET_RAW);
    let done = host.bind_to_device(s.id, device, privileged);
    done.map_err(errno::of)
}

/// The device's number; 0: none.
pub fn number_of(s: Sock) -> Result<c_int> {
    let host = s.enter()?;
    let socket = host.socket(s.id).map_err(errno::of)?;
    Ok(socket.options.bound_if as c_int)
}

/// Its name; nothing for none.
pub fn name_of(s: Sock, out: &mut Reply) -> Result<()> {
    let index = number_of(s)?;
    if index == 0 {
        return Ok(());
    }
    if out.room < NAME {
        return Err(Errno(libc::EINVAL));
    }
    let host = s.enter()?;
    let name = host.sh.device_name(index as u32);
    out.put(name.ok_or(Errno(libc::ENODEV))?);
    out.put(&[0]);
    Ok(())
}
