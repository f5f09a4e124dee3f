//! Control messages of recvmsg(2), as bytes.

use core::ffi::c_int;
use utcp_stack::stack::{Asked, Family, Notice, NoticeKind, SocketOptions, stamping};
use utcp_stack::time::Duration;

/// Linux's numbers that the libc crate lacks.
pub const SO_TIMESTAMP_NEW: c_int = 63;
/// See above.
pub const SO_TIMESTAMPNS_NEW: c_int = 64;
/// See above.
pub const SO_TIMESTAMPING_NEW: c_int = 65;
/// SO_EE_ORIGIN_TIMESTAMPING and SO_EE_ORIGIN_ZEROCOPY.
const ORIGIN_TIMESTAMPING: u8 = 4;
const ORIGIN_ZEROCOPY: u8 = 5;
/// SO_EE_CODE_ZEROCOPY_COPIED.
const COPIED: u8 = 1;
/// TCP_CM_INQ.
const CM_INQ: c_int = 36;

const HEADER: usize = size_of::<libc::cmsghdr>();

/// A `timeval` or `timespec`.
fn pair(seconds: u64, rest: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seconds.to_ne_bytes());
    bytes[8..].copy_from_slice(&u64::from(rest).to_ne_bytes());
    bytes
}

/// What goes to `msg_control`.
pub struct Control {
    bytes: [u8; Control::MAX],
    len: usize,
    room: usize,
    /// MSG_CTRUNC: something didn't fit.
    pub truncated: bool,
}

impl Control {
    const MAX: usize = 192;

    /// With `room` bytes at the program's.
    pub fn new(room: usize) -> Control {
        Control {
            bytes: [0; Control::MAX],
            len: 0,
            room: room.min(Control::MAX),
            truncated: false,
        }
    }

    /// The messages.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Linux's put_cmsg.
    pub fn put(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let left = self.room - self.len;
        if left < HEADER {
            self.truncated = true;
            return;
        }
        let whole = HEADER + data.len();
        let len = whole.min(left);
        self.truncated |= len < whole;
        let at = &mut self.bytes[self.len..];
        at[..8].copy_from_slice(&len.to_ne_bytes());
        at[8..12].copy_from_slice(&level.to_ne_bytes());
        at[12..16].copy_from_slice(&kind.to_ne_bytes());
        at[HEADER..len].copy_from_slice(&data[..len - HEADER]);
        self.len += len.next_multiple_of(8).min(left);
    }

    /// `struct scm_timestamping`, of which there is the first.
    fn put_times(&mut self, kind: c_int, at: Duration) {
        let mut times = [0; 48];
        times[..16].copy_from_slice(&pair(at.as_secs(), at.subsec_nanos()));
        self.put(libc::SOL_SOCKET, kind, &times);
    }

    /// When what was received came, as the program asked to be told.
    pub fn put_arrival(&mut self, o: &SocketOptions, at: Duration) {
        let by_number = |old, new| if o.timestamping_new { new } else { old };
        let level = libc::SOL_SOCKET;
        match o.timestamp {
            Asked::No => {}
            Asked::Micros => {
                let kind = by_number(libc::SO_TIMESTAMP, SO_TIMESTAMP_NEW);
                self.put(level, kind, &pair(at.as_secs(), at.subsec_micros()));
            }
            Asked::Nanos => {
                let kind = by_number(libc::SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW);
                self.put(level, kind, &pair(at.as_secs(), at.subsec_nanos()));
            }
        }
        if o.stamps_received() {
            self.put_times(by_number(libc::SO_TIMESTAMPING, SO_TIMESTAMPING_NEW), at);
        }
    }

    /// TCP_CM_INQ.
    pub fn put_inq(&mut self, inq: u32) {
        self.put(libc::SOL_TCP, CM_INQ, &inq.to_ne_bytes());
    }

    /// What MSG_ERRQUEUE gives. `at` is the notice's time since 1970; `asked` are the flags of
    /// SO_TIMESTAMPING, `kind` the option by which they were set.
    pub fn put_notice(
        &mut self,
        n: &Notice,
        family: Family,
        asked: u32,
        kind: c_int,
        at: Duration,
    ) {
        let stamped = n.kind != NoticeKind::ZeroCopy;
        if stamped && asked & stamping::SOFTWARE != 0 {
            self.put_times(kind, at);
        }
        let info = match n.kind {
            NoticeKind::ZeroCopy => n.low,
            NoticeKind::Sent => 0,
            NoticeKind::Scheduled => 1,
            NoticeKind::Acked => 2,
        };
        let data = match n.kind {
            NoticeKind::ZeroCopy => n.high,
            _ if asked & stamping::OPT_ID != 0 => n.low,
            _ => 0,
        };
        // struct sock_extended_err, and no address of who offended.
        let mut error = [0u8; 16 + 28];
        let (errno, origin, code) = match stamped {
            true => (libc::ENOMSG, ORIGIN_TIMESTAMPING, 0),
            false => (0, ORIGIN_ZEROCOPY, COPIED),
        };
        error[..4].copy_from_slice(&errno.to_ne_bytes());
        (error[4], error[6]) = (origin, code);
        error[8..12].copy_from_slice(&info.to_ne_bytes());
        error[12..16].copy_from_slice(&data.to_ne_bytes());
        match family {
            Family::V4 => self.put(libc::SOL_IP, libc::IP_RECVERR, &error[..32]),
            Family::V6 => self.put(libc::SOL_IPV6, libc::IPV6_RECVERR, &error),
        }
    }
}

/// MSG_TRUNC of a message of the error queue: the packet that would come with a timestamp doesn't
/// fit (it is never given).
pub fn without_packet(n: &Notice, asked: u32) -> bool {
    n.kind != NoticeKind::ZeroCopy && asked & stamping::OPT_TSONLY == 0
}
