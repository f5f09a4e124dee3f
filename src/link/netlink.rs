//! rtnetlink messages (RFC 3549): building requests, walking answers.

use crate::sys::{Errno, Fd, netlink as calls};

const HEADER: usize = 16;

/// A message under construction.
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A message of `kind` (RTM_...) whose fixed part is `fixed`.
    pub(super) fn new(kind: u16, flags: i32, fixed: &[u8]) -> Request {
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&1u32.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Request { bytes }
    }

    /// Add an attribute.
    pub(super) fn attr(mut self, kind: u16, value: &[u8]) -> Request {
        push_attr(&mut self.bytes, kind, value);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let len = self.bytes.len() as u32;
        if let Some(at) = self.bytes.first_chunk_mut::<4>() {
            *at = len.to_ne_bytes();
        }
        self.bytes
    }
}

/// Append an attribute to `bytes`; one may be the value of another.
pub(super) fn push_attr(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let len = 4 + value.len() as u16;
    bytes.extend_from_slice(&len.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A connection to the kernel's network configuration.
pub(super) struct Socket(Fd);

impl Socket {
    pub(super) fn open() -> Result<Socket, Errno> {
        calls::open().map(Socket)
    }

    /// Send a request and wait for its acknowledgment.
    pub(super) fn change(&self, request: Request) -> Result<(), Errno> {
        self.ask(request, |_, _| {})
    }

    /// Send a request; `each` is called with the type and body of every message that answers.
    pub(super) fn ask(
        &self,
        request: Request,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        calls::send(&self.0, &request.finish())?;
        let mut buf = vec![0; 32 * 1024];
        loop {
            let n = match calls::recv(&self.0, &mut buf) {
                Err(Errno(libc::EINTR)) => continue,
                n => n?,
            };
            let mut rest = buf.get(..n).unwrap_or_default();
            while let Some((kind, body, after)) = split_message(rest) {
                rest = after;
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let code = body
                            .first_chunk()
                            .map_or(-libc::EIO, |b| i32::from_ne_bytes(*b));
                        return if code == 0 { Ok(()) } else { Err(Errno(-code)) };
                    }
                    _ => each(kind, body),
                }
            }
        }
    }
}

/// The first message's type and body, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let &[l0, l1, l2, l3, k0, k1, ..] = bytes.first_chunk::<HEADER>()?;
    let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let body = bytes.get(HEADER..len)?;
    let after = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_ne_bytes([k0, k1]), body, after))
}

/// The attributes in `bytes`: type and value.
pub(super) fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let &[l0, l1, k0, k1] = bytes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]), value))
    })
}
