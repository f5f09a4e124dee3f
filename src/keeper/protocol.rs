//! What programs and their keeper tell each other: one message a packet of a SOCK_SEQPACKET
//! connection, descriptors beside it.
//!
//! | from | message | descriptors |
//! |---|---|---|
//! | keeper | [`Hello`], first thing | arena, device if there is one |
//! | program | [`Request::Far`]: the other end of a socket's descriptor | that end |
//! | program | [`Request::Device`]: the device, after a keeper died | device |
//! | program | [`Request::Process`]: a process that shares the connection | its pidfd |
//!
//! Both are built from the same source, but not always of the same day: the hello's magic,
//! version and layout are compared before anything else is believed.

use crate::arena::Root;
use crate::link::Mode;
use crate::stack::{Shared, SockId};

/// "utcpkeep", little-endian.
const MAGIC: u64 = u64::from_le_bytes(*b"utcpkeep");
/// Of these messages.
pub const VERSION: u32 = 2;

/// What the keeper says to each process that connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// [`Root::LAYOUT`] of [`Shared`].
    pub layout: u64,
    /// The stack's nonce.
    pub nonce: u64,
    /// How packets stand on the device; none: the stack is loopback only.
    pub device: Option<Mode>,
}

/// Why a hello can't be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Garbled {
    /// It is no hello.
    Foreign,
    /// It is a hello of this other version.
    Version(u32),
}

impl Hello {
    /// Bytes of a hello.
    pub const LEN: usize = 40;

    /// For a stack with this nonce and device.
    pub fn new(nonce: u64, device: Option<Mode>) -> Hello {
        Hello {
            layout: Shared::LAYOUT,
            nonce,
            device,
        }
    }

    /// As sent.
    pub fn to_bytes(self) -> [u8; Hello::LEN] {
        let mut out = [0; Hello::LEN];
        let mode = self.device.unwrap_or(Mode {
            vnet: false,
            offload: false,
            mtu: 0,
        });
        let flags = u8::from(self.device.is_some())
            | u8::from(mode.vnet) << 1
            | u8::from(mode.offload) << 2;
        out[..8].copy_from_slice(&MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12] = flags;
        out[14..16].copy_from_slice(&mode.mtu.to_le_bytes());
        out[16..24].copy_from_slice(&self.layout.to_le_bytes());
        out[24..32].copy_from_slice(&self.nonce.to_le_bytes());
        out
    }

    /// As received.
    pub fn from_bytes(bytes: &[u8]) -> Result<Hello, Garbled> {
        // Of any version, the first twelve bytes are these.
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Garbled::Foreign)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(Garbled::Foreign)?;
        if u64::from_le_bytes(*magic) != MAGIC {
            return Err(Garbled::Foreign);
        }
        let version = u32::from_le_bytes(*version);
        let (&[flags, _, mtu_low, mtu_high], rest) =
            rest.split_first_chunk::<4>().ok_or(Garbled::Foreign)?;
        let (layout, rest) = rest.split_first_chunk::<8>().ok_or(Garbled::Foreign)?;
        let (nonce, _) = rest.split_first_chunk::<8>().ok_or(Garbled::Foreign)?;
        if version != VERSION || bytes.len() != Hello::LEN {
            return Err(Garbled::Version(version));
        }
        Ok(Hello {
            layout: u64::from_le_bytes(*layout),
            nonce: u64::from_le_bytes(*nonce),
            device: (flags & 1 != 0).then_some(Mode {
                vnet: flags & 2 != 0,
                offload: flags & 4 != 0,
                mtu: u16::from_le_bytes([mtu_low, mtu_high]),
            }),
        })
    }
}

/// What a program asks of the keeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Here is the far end of this socket's descriptor.
    Far(SockId),
    /// Here is the stack's device, which you don't have.
    Device(Mode),
    /// Here is a process that has this connection, as others have.
    Process,
}

impl Request {
    /// Bytes of a request.
    pub const LEN: usize = 16;

    /// As sent.
    pub fn to_bytes(self) -> [u8; Request::LEN] {
        let mut out = [0; Request::LEN];
        match self {
            Request::Far(id) => {
                out[0] = 1;
                out[8..].copy_from_slice(&id.number().to_le_bytes());
            }
            Request::Device(mode) => {
                out[0] = 2;
                out[8] = u8::from(mode.vnet) | u8::from(mode.offload) << 1;
                out[10..12].copy_from_slice(&mode.mtu.to_le_bytes());
            }
            Request::Process => out[0] = 3,
        }
        out
    }

    /// As received; `None` for what is no request.
    pub fn from_bytes(bytes: &[u8]) -> Option<Request> {
        let bytes: &[u8; Request::LEN] = bytes.try_into().ok()?;
        let (_, value) = bytes.split_last_chunk::<8>()?;
        match bytes[0] {
            1 => Some(Request::Far(SockId::from_number(u64::from_le_bytes(
                *value,
            )))),
            2 => Some(Request::Device(Mode {
                vnet: value[0] & 1 != 0,
                offload: value[0] & 2 != 0,
                mtu: u16::from_le_bytes([value[2], value[3]]),
            })),
            3 => Some(Request::Process),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mode = Mode {
            vnet: true,
            offload: true,
            mtu: 1500,
        };
        let plain = Mode {
            vnet: false,
            offload: false,
            mtu: 65535,
        };
        for device in [None, Some(mode), Some(plain)] {
            let hello = Hello::new(0x0123_4567_89ab_cdef, device);
            assert_eq!(Hello::from_bytes(&hello.to_bytes()), Ok(hello));
        }
        for request in [
            Request::Far(SockId::from_number(77 << 32 | 5)),
            Request::Device(mode),
            Request::Device(plain),
            Request::Process,
        ] {
            assert_eq!(Request::from_bytes(&request.to_bytes()), Some(request));
        }
    }

    #[test]
    fn strangers_are_recognised() {
        let mut bytes = Hello::new(1, None).to_bytes();
        bytes[8] = 9;
        assert_eq!(Hello::from_bytes(&bytes), Err(Garbled::Version(9)));
        bytes[0] ^= 1;
        assert_eq!(Hello::from_bytes(&bytes), Err(Garbled::Foreign));
        assert_eq!(Hello::from_bytes(&[]), Err(Garbled::Foreign));
        assert_eq!(Request::from_bytes(&[4; Request::LEN]), None);
        assert_eq!(Request::from_bytes(&[1; 3]), None);
    }
}
