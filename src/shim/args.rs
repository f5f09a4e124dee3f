//! Arguments of calls, printed as strace prints them.

use crate::memory;
use crate::sockaddr;
use core::ffi::{c_int, c_void};
use core::fmt::{self, Write};
use libc::{sockaddr as SockAddr, socklen_t};

/// Text of bounded length; what doesn't fit is dropped.
pub struct Args {
    bytes: [u8; Args::MAX],
    len: usize,
}

impl Args {
    /// As many bytes as an event keeps.
    pub const MAX: usize = 96;

    /// Nothing yet.
    pub fn new() -> Args {
        Args {
            bytes: [0; Args::MAX],
            len: 0,
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let text = &self.bytes[..self.len];
        match core::str::from_utf8(text) {
            Ok(text) => text,
            // Cut inside a character.
            Err(e) => core::str::from_utf8(&text[..e.valid_up_to()]).unwrap_or(""),
        }
    }

    /// Append formatted text.
    pub fn put(&mut self, text: fmt::Arguments<'_>) -> &mut Args {
        let _ = self.write_fmt(text);
        self
    }

    /// A comma, unless at the beginning.
    pub fn next(&mut self) -> &mut Args {
        if self.len > 0 {
            let _ = self.write_str(", ");
        }
        self
    }

    /// A number.
    pub fn number(&mut self, n: i64) -> &mut Args {
        self.next().put(format_args!("{n}"))
    }

    /// A word.
    pub fn word(&mut self, word: &str) -> &mut Args {
        self.next().put(format_args!("{word}"))
    }

    /// `len` bytes of a buffer as a C string, the first 32 of them.
    pub fn buffer(&mut self, at: *const c_void, len: usize) -> &mut Args {
        self.next();
        let mut bytes = [0; 32];
        let bytes = &mut bytes[..len.min(32)];
        if memory::read_bytes(at.cast(), bytes).is_err() {
            return self.pointer(at);
        }
        let _ = self.write_char('"');
        for byte in bytes.iter() {
            let _ = match byte {
                b'\n' => self.write_str("\\n"),
                b'\r' => self.write_str("\\r"),
                b'\t' => self.write_str("\\t"),
                b'"' => self.write_str("\\\""),
                b'\\' => self.write_str("\\\\"),
                0x20..=0x7e => self.write_char(char::from(*byte)),
                _ => write!(self, "\\x{byte:02x}"),
            };
        }
        let _ = self.write_char('"');
        if len > 32 {
            let _ = self.write_str("...");
        }
        self
    }

    /// A pointer whose target isn't shown.
    pub fn pointer(&mut self, at: *const c_void) -> &mut Args {
        if at.is_null() {
            self.put(format_args!("NULL"))
        } else {
            self.put(format_args!("{at:p}"))
        }
    }

    /// An address that the program gave.
    pub fn address(&mut self, at: *const SockAddr, len: socklen_t) -> &mut Args {
        self.next();
        if at.is_null() {
            return self.put(format_args!("NULL"));
        }
        match sockaddr::Given::read(at, len) {
            Ok(given) => self.put(format_args!("{given}")),
            Err(_) => self.pointer(at.cast()),
        }
    }

    /// An address that the call filled in, with its length.
    pub fn filled(&mut self, at: *const SockAddr, len: *const socklen_t) -> &mut Args {
        if at.is_null() || len.is_null() {
            return self.next().put(format_args!("NULL, NULL"));
        }
        let n = memory::read(len).unwrap_or(0);
        self.address(at, n.min(size_of::<libc::sockaddr_storage>() as socklen_t))
            .next()
            .put(format_args!("[{n}]"))
    }

    /// Flags by name, the rest as a number.
    pub fn flags(&mut self, value: c_int, names: &[(c_int, &str)]) -> &mut Args {
        self.next();
        let mut rest = value;
        let mut first = true;
        for (bit, name) in names {
            if *bit != 0 && rest & bit == *bit {
                let bar = if first { "" } else { "|" };
                self.put(format_args!("{bar}{name}"));
                first = false;
                rest &= !bit;
            }
        }
        match (first, rest) {
            (true, _) => self.put(format_args!("{rest}")),
            (false, 0) => self,
            (false, _) => self.put(format_args!("|{rest:#x}")),
        }
    }

    /// One of several names, or the number.
    pub fn one_of(&mut self, value: c_int, names: &[(c_int, &str)]) -> &mut Args {
        match names.iter().find(|(v, _)| *v == value) {
            Some((_, name)) => self.word(name),
            None => self.number(value.into()),
        }
    }
}

impl Write for Args {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = Args::MAX - self.len;
        let n = s.len().min(room);
        self.bytes[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// MSG_* of send and recv.
pub const MSG: &[(c_int, &str)] = &[
    (libc::MSG_OOB, "MSG_OOB"),
    (libc::MSG_PEEK, "MSG_PEEK"),
    (libc::MSG_DONTROUTE, "MSG_DONTROUTE"),
    (libc::MSG_TRUNC, "MSG_TRUNC"),
    (libc::MSG_DONTWAIT, "MSG_DONTWAIT"),
    (libc::MSG_WAITALL, "MSG_WAITALL"),
    (libc::MSG_NOSIGNAL, "MSG_NOSIGNAL"),
    (libc::MSG_MORE, "MSG_MORE"),
    (libc::MSG_ERRQUEUE, "MSG_ERRQUEUE"),
];

/// poll's events.
pub const POLL: &[(c_int, &str)] = &[
    (libc::POLLIN as c_int, "POLLIN"),
    (libc::POLLPRI as c_int, "POLLPRI"),
    (libc::POLLOUT as c_int, "POLLOUT"),
    (libc::POLLERR as c_int, "POLLERR"),
    (libc::POLLHUP as c_int, "POLLHUP"),
    (libc::POLLNVAL as c_int, "POLLNVAL"),
    (libc::POLLRDHUP as c_int, "POLLRDHUP"),
];

/// A socket option's level and name.
pub fn option(a: &mut Args, level: c_int, name: c_int) {
    let names: &[(c_int, &str)] = match level {
        libc::SOL_SOCKET => &[
            (libc::SO_REUSEADDR, "SO_REUSEADDR"),
            (libc::SO_REUSEPORT, "SO_REUSEPORT"),
            (libc::SO_TYPE, "SO_TYPE"),
            (libc::SO_ERROR, "SO_ERROR"),
            (libc::SO_SNDBUF, "SO_SNDBUF"),
            (libc::SO_RCVBUF, "SO_RCVBUF"),
            (libc::SO_KEEPALIVE, "SO_KEEPALIVE"),
            (libc::SO_OOBINLINE, "SO_OOBINLINE"),
            (libc::SO_LINGER, "SO_LINGER"),
            (libc::SO_RCVLOWAT, "SO_RCVLOWAT"),
            (libc::SO_RCVTIMEO, "SO_RCVTIMEO"),
            (libc::SO_SNDTIMEO, "SO_SNDTIMEO"),
            (libc::SO_ACCEPTCONN, "SO_ACCEPTCONN"),
            (libc::SO_PROTOCOL, "SO_PROTOCOL"),
            (libc::SO_DOMAIN, "SO_DOMAIN"),
        ],
        libc::SOL_TCP => &[
            (libc::TCP_NODELAY, "TCP_NODELAY"),
            (libc::TCP_MAXSEG, "TCP_MAXSEG"),
            (libc::TCP_CORK, "TCP_CORK"),
            (libc::TCP_KEEPIDLE, "TCP_KEEPIDLE"),
            (libc::TCP_KEEPINTVL, "TCP_KEEPINTVL"),
            (libc::TCP_KEEPCNT, "TCP_KEEPCNT"),
            (libc::TCP_SYNCNT, "TCP_SYNCNT"),
            (libc::TCP_LINGER2, "TCP_LINGER2"),
            (libc::TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"),
            (libc::TCP_INFO, "TCP_INFO"),
            (libc::TCP_QUICKACK, "TCP_QUICKACK"),
            (libc::TCP_CONGESTION, "TCP_CONGESTION"),
            (libc::TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"),
        ],
        libc::SOL_IP => &[(libc::IP_TOS, "IP_TOS"), (libc::IP_TTL, "IP_TTL")],
        libc::SOL_IPV6 => &[(libc::IPV6_V6ONLY, "IPV6_V6ONLY")],
        _ => &[],
    };
    a.one_of(
        level,
        &[
            (libc::SOL_SOCKET, "SOL_SOCKET"),
            (libc::SOL_TCP, "SOL_TCP"),
            (libc::SOL_IP, "SOL_IP"),
            (libc::SOL_IPV6, "SOL_IPV6"),
        ],
    );
    a.one_of(name, names);
}

impl Args {
    /// An option's value: an int, or so many bytes.
    pub fn option_value(&mut self, at: *const c_void, len: socklen_t) -> &mut Args {
        self.next();
        match memory::read(at.cast::<c_int>()) {
            Ok(v) if len == 4 => self.put(format_args!("[{v}], 4")),
            Ok(v) if len == 8 => {
                let second = memory::read(at.cast::<c_int>().wrapping_add(1)).unwrap_or(0);
                self.put(format_args!("{{{v}, {second}}}, 8"))
            }
            _ => self.pointer(at).put(format_args!(", {len}")),
        }
    }
}
