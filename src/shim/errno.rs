//! Error numbers: the one place that knows which errno stands for which of the stack's errors.

use core::ffi::c_int;
use utcp_stack::stack::Error;
use utcp_stack::sys::Errno;
use utcp_stack::tcp::TcpError;

/// What a call of the shim gives: its value, or the errno.
pub type Result<T> = core::result::Result<T, Errno>;

/// The errno of a stack's error.
pub fn of(e: Error) -> Errno {
    Errno(match e {
        Error::WouldBlock => libc::EAGAIN,
        Error::InProgress => libc::EINPROGRESS,
        Error::Already => libc::EALREADY,
        Error::IsConnected => libc::EISCONN,
        Error::NotConnected => libc::ENOTCONN,
        Error::Invalid => libc::EINVAL,
        Error::AddrInUse => libc::EADDRINUSE,
        Error::AddrNotAvailable => libc::EADDRNOTAVAIL,
        Error::AddrFamily => libc::EAFNOSUPPORT,
        Error::Access => libc::EACCES,
        Error::Pipe => libc::EPIPE,
        Error::Refused => libc::ECONNREFUSED,
        Error::Reset => libc::ECONNRESET,
        Error::Aborted => libc::ECONNABORTED,
        Error::TimedOut => libc::ETIMEDOUT,
        Error::HostUnreachable => libc::EHOSTUNREACH,
        Error::NetUnreachable => libc::ENETUNREACH,
        Error::NoProtoOpt => libc::ENOPROTOOPT,
        Error::NotSupported => libc::EOPNOTSUPP,
        Error::Protocol => libc::EPROTO,
        Error::NoBuffers => libc::ENOBUFS,
        Error::DestinationRequired => libc::EDESTADDRREQ,
        Error::MessageSize => libc::EMSGSIZE,
        Error::Domain => libc::EDOM,
        Error::Permission => libc::EPERM,
        Error::NoDevice => libc::ENODEV,
        Error::Stale => libc::EBADF,
    })
}

/// The errno that SO_ERROR shows for what ended a connection.
pub fn of_tcp(e: TcpError) -> Errno {
    of(Error::from(e))
}

/// The calling thread's errno.
pub fn get() -> c_int {
    // SAFETY: libc gives a pointer to this thread's errno.
    unsafe { *libc::__errno_location() }
}

/// Set the calling thread's errno.
pub fn set(e: c_int) {
    // SAFETY: libc gives a pointer to this thread's errno.
    unsafe { *libc::__errno_location() = e };
}

/// A value that C functions return, with -1 for an error.
pub trait Returned: Copy {
    /// -1.
    const FAILED: Self;
    /// As a number, for traces.
    fn number(self) -> i64;
}

impl Returned for c_int {
    const FAILED: c_int = -1;
    fn number(self) -> i64 {
        self.into()
    }
}

impl Returned for isize {
    const FAILED: isize = -1;
    fn number(self) -> i64 {
        self as i64
    }
}

impl Returned for i64 {
    const FAILED: i64 = -1;
    fn number(self) -> i64 {
        self
    }
}

/// As C has it: the value, or -1 with errno set. Success leaves errno alone.
pub fn returned<T: Returned>(r: Result<T>) -> T {
    match r {
        Ok(v) => v,
        Err(e) => {
            set(e.0);
            T::FAILED
        }
    }
}
