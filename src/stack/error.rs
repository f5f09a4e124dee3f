//! What a call on a socket can fail with, by meaning. The numbers are the shim's.

use crate::tcp::TcpError;

/// Why a call failed. Each variant names the errno that the shim gives for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Error {
    /// EAGAIN: it would block.
    WouldBlock = 1,
    /// EINPROGRESS: connect has begun.
    InProgress,
    /// EALREADY: connect is still going on.
    Already,
    /// EISCONN.
    IsConnected,
    /// ENOTCONN.
    NotConnected,
    /// EINVAL.
    Invalid,
    /// EADDRINUSE.
    AddrInUse,
    /// EADDRNOTAVAIL.
    AddrNotAvailable,
    /// EAFNOSUPPORT.
    AddrFamily,
    /// EACCES.
    Access,
    /// EPIPE (and SIGPIPE, unless refused).
    Pipe,
    /// ECONNREFUSED.
    Refused,
    /// ECONNRESET.
    Reset,
    /// ECONNABORTED.
    Aborted,
    /// ETIMEDOUT.
    TimedOut,
    /// EHOSTUNREACH.
    HostUnreachable,
    /// ENETUNREACH.
    NetUnreachable,
    /// ENOPROTOOPT.
    NoProtoOpt,
    /// EOPNOTSUPP.
    NotSupported,
    /// EPROTO.
    Protocol,
    /// ENOBUFS: a pool of the arena is used up.
    NoBuffers,
    /// EDESTADDRREQ.
    DestinationRequired,
    /// EMSGSIZE.
    MessageSize,
    /// EDOM.
    Domain,
    /// EPERM.
    Permission,
    /// ENODEV.
    NoDevice,
    /// The handle's socket is gone (its generation passed): EBADF.
    Stale,
}

impl From<TcpError> for Error {
    fn from(e: TcpError) -> Error {
        match e {
            TcpError::Refused => Error::Refused,
            TcpError::BrokenPipe => Error::Pipe,
            TcpError::Reset => Error::Reset,
            TcpError::TimedOut => Error::TimedOut,
            TcpError::HostUnreachable => Error::HostUnreachable,
            TcpError::NetUnreachable => Error::NetUnreachable,
            TcpError::ProtocolUnreachable => Error::NoProtoOpt,
            TcpError::Protocol => Error::Protocol,
            TcpError::Prohibited => Error::Access,
            TcpError::Aborted => Error::Aborted,
        }
    }
}

/// What a call gives.
pub type Result<T> = core::result::Result<T, Error>;
