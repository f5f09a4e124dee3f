//! What happened, whichever stack it happened on: calls, changes of state, segments.
//!
//! The trace ring of utcp, the shim's observations of programs on the kernel's stack and
//! captured packets all become [`Event`]s; everything that draws, compares or prints JSON
//! knows these alone.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use utcp_stack::addr::Endpoint;
use utcp_stack::tcp::{self, Flags, State};
use utcp_stack::trace;

/// Something that happened, and when and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// The process in whose context it happened; 0: none (captured packets).
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// A number that stands for the socket, if it is known; else 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub socket: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The kinds of event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A program made a call, which may block.
    Enter(Call),
    /// A call returned.
    Return {
        /// The call, its arguments as they are now.
        #[serde(flatten)]
        call: Call,
        /// What it returned.
        ret: i64,
        /// The errno, if `ret` is -1.
        errno: i32,
        /// The socket's own address afterwards, if that was noted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        local: Option<String>,
    },
    /// A socket changed state.
    State {
        /// Before.
        #[serde(with = "state_name")]
        old: State,
        /// After.
        #[serde(with = "state_name")]
        new: State,
        /// The socket's own address.
        local: Option<SocketAddr>,
        /// Its peer.
        remote: Option<SocketAddr>,
    },
    /// A segment was on its way.
    Segment(Segment),
    /// A process ended.
    Exit {
        /// "0", or "SIGKILL".
        status: String,
    },
}

/// A call's name and arguments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The function.
    pub name: String,
    /// Its descriptor, or -1.
    pub fd: i32,
    /// The arguments after the descriptor, as `strace` prints them.
    pub args: String,
}

impl Call {
    /// As it is written in C.
    pub fn text(&self) -> String {
        match (self.fd, self.args.as_str()) {
            (-1, args) => format!("{}({args})", self.name),
            (fd, "") => format!("{}({fd})", self.name),
            (fd, args) => format!("{}({fd}, {args})", self.name),
        }
    }
}

/// A TCP segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// Who sent it.
    pub src: SocketAddr,
    /// To whom.
    pub dst: SocketAddr,
    /// The control bits.
    #[serde(with = "flag_letters")]
    pub flags: Flags,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// The window field, unscaled.
    pub win: u16,
    /// The urgent pointer.
    pub urg: u16,
    /// Payload bytes.
    pub len: u32,
    /// The options.
    pub options: Options,
    /// It was sent before.
    pub retransmit: bool,
}

/// TCP options.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Maximum segment size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss: Option<u16>,
    /// SACK permitted.
    #[serde(rename = "sackOK", skip_serializing_if = "is_false")]
    pub sack_ok: bool,
    /// Timestamp and its echo.
    #[serde(rename = "TS", skip_serializing_if = "Option::is_none")]
    pub ts: Option<(u32, u32)>,
    /// Window scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wscale: Option<u8>,
    /// SACK blocks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sack: Vec<(u32, u32)>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !b
}

impl Options {
    /// In tcpdump's words. Timestamps are named without their values, which say nothing to
    /// the eye.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        out.extend(self.mss.map(|mss| format!("mss {mss}")));
        out.extend(self.sack_ok.then(|| "sackOK".to_owned()));
        out.extend(self.ts.map(|_| "TS".to_owned()));
        out.extend(self.wscale.map(|shift| format!("wscale {shift}")));
        if !self.sack.is_empty() {
            out.push(format!("sack {}", self.sack.len()));
        }
        out.join(",")
    }
}

impl Segment {
    /// From the stack's own type.
    pub fn new(src: SocketAddr, dst: SocketAddr, s: &tcp::Segment, retransmit: bool) -> Segment {
        let o = &s.options;
        let blocks = o.sack.iter().take(usize::from(o.sack_len));
        Segment {
            src,
            dst,
            flags: s.flags,
            seq: s.seq.0,
            ack: s.ack.0,
            win: s.window,
            urg: s.urgent,
            len: s.len,
            options: Options {
                mss: o.mss,
                sack_ok: o.sack_permitted,
                ts: o.timestamps,
                wscale: o.wscale,
                sack: blocks.map(|(from, to)| (from.0, to.0)).collect(),
            },
            retransmit,
        }
    }

    /// The sequence number after this segment.
    pub fn end(&self) -> u32 {
        self.seq
            .wrapping_add(self.len)
            .wrapping_add(self.flags.has(Flags::SYN).into())
            .wrapping_add(self.flags.has(Flags::FIN).into())
    }
}

/// An endpoint as the standard library writes it; none when it is nowhere.
pub fn socket_addr(e: Endpoint) -> Option<SocketAddr> {
    (e.port != 0 || !e.addr.is_any()).then(|| SocketAddr::new(e.addr.ip(), e.port))
}

impl Event {
    /// From utcp's trace.
    pub fn from_trace(e: &trace::Event) -> Event {
        let call = |name: &str, fd: i32, args: &str| Call {
            name: name.to_owned(),
            fd,
            args: args.to_owned(),
        };
        let what = match &e.what {
            trace::What::Enter { name, fd, args } => {
                What::Enter(call(name.as_str(), *fd, args.as_str()))
            }
            trace::What::Return {
                name,
                fd,
                args,
                ret,
                errno,
            } => What::Return {
                call: call(name.as_str(), *fd, args.as_str()),
                ret: *ret,
                errno: *errno,
                local: None,
            },
            trace::What::State {
                old,
                new,
                local,
                remote,
            } => What::State {
                old: *old,
                new: *new,
                local: socket_addr(*local),
                remote: socket_addr(*remote),
            },
            trace::What::Segment {
                direction: _,
                src,
                dst,
                segment,
                retransmit,
            } => What::Segment(Segment::new(
                SocketAddr::new(src.addr.ip(), src.port),
                SocketAddr::new(dst.addr.ip(), dst.port),
                segment,
                *retransmit,
            )),
        };
        Event {
            time: e.time.0,
            pid: e.pid,
            tid: e.tid,
            socket: e.socket,
            what,
        }
    }
}

/// Control bits as tcpdump prints them, without the brackets.
pub fn flags_text(flags: Flags) -> String {
    // The order is tcpdump's.
    const LETTERS: [(Flags, char); 8] = [
        (Flags::FIN, 'F'),
        (Flags::SYN, 'S'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::ACK, '.'),
        (Flags::URG, 'U'),
        (Flags::ECE, 'E'),
        (Flags::CWR, 'W'),
    ];
    let set = LETTERS.iter().filter(|(bit, _)| flags.has(*bit));
    let text: String = set.map(|(_, letter)| *letter).collect();
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}

/// The states' names in RFC 9293's spelling, with an underscore as programs write them.
pub fn state_text(state: State) -> &'static str {
    match state {
        State::Closed => "CLOSED",
        State::Listen => "LISTEN",
        State::SynSent => "SYN_SENT",
        State::SynReceived => "SYN_RCVD",
        State::Established => "ESTABLISHED",
        State::FinWait1 => "FIN_WAIT_1",
        State::FinWait2 => "FIN_WAIT_2",
        State::CloseWait => "CLOSE_WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST_ACK",
        State::TimeWait => "TIME_WAIT",
    }
}

/// Every state.
pub const STATES: [State; 11] = [
    State::Closed,
    State::Listen,
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

/// States in JSON: their names.
pub mod state_name {
    use super::{STATES, State, state_text};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// The name.
    pub fn serialize<S: Serializer>(state: &State, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(state_text(*state))
    }
    /// By name.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<State, D::Error> {
        let name = String::deserialize(d)?;
        let found = STATES.into_iter().find(|s| state_text(*s) == name);
        found.ok_or_else(|| D::Error::custom(format!("no TCP state is called {name}")))
    }
}

/// Control bits in JSON: tcpdump's letters.
pub mod flag_letters {
    use super::{Flags, flags_text};
    use serde::{Deserialize, Deserializer, Serializer};

    /// The letters.
    pub fn serialize<S: Serializer>(flags: &Flags, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&flags_text(*flags))
    }
    /// By letters.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Flags, D::Error> {
        let letters = String::deserialize(d)?;
        let bits = (0..8).map(|bit| Flags(1 << bit));
        let set = bits.filter(|bit| letters != "none" && letters.contains(&flags_text(*bit)));
        Ok(set.fold(Flags::NONE, Flags::with))
    }
}

/// An errno's name.
pub fn errno_name(errno: i32) -> String {
    const NAMES: [(i32, &str); 45] = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENFILE, "ENFILE"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ESPIPE, "ESPIPE"),
        (libc::EPIPE, "EPIPE"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EPROTO, "EPROTO"),
        (libc::ENOTSOCK, "ENOTSOCK"),
        (libc::EDESTADDRREQ, "EDESTADDRREQ"),
        (libc::EMSGSIZE, "EMSGSIZE"),
        (libc::EPROTOTYPE, "EPROTOTYPE"),
        (libc::ENOPROTOOPT, "ENOPROTOOPT"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EADDRINUSE, "EADDRINUSE"),
        (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (libc::ENETDOWN, "ENETDOWN"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::ECONNABORTED, "ECONNABORTED"),
        (libc::ECONNRESET, "ECONNRESET"),
        (libc::ENOBUFS, "ENOBUFS"),
        (libc::EISCONN, "EISCONN"),
        (libc::ENOTCONN, "ENOTCONN"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::EHOSTUNREACH, "EHOSTUNREACH"),
        (libc::EALREADY, "EALREADY"),
        (libc::EINPROGRESS, "EINPROGRESS"),
        (libc::ECANCELED, "ECANCELED"),
    ];
    NAMES
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_tcpdump_prints_them() {
        let text = |f: Flags| flags_text(f);
        assert_eq!(text(Flags::SYN), "S");
        assert_eq!(text(Flags::SYN.with(Flags::ACK)), "S.");
        assert_eq!(text(Flags::ACK), ".");
        assert_eq!(text(Flags::PSH.with(Flags::ACK)), "P.");
        assert_eq!(text(Flags::FIN.with(Flags::ACK)), "F.");
        assert_eq!(text(Flags::NONE), "none");
    }

    #[test]
    fn events_survive_json() {
        let event = Event {
            time: 7,
            pid: 1,
            tid: 2,
            socket: 0,
            what: What::Segment(Segment {
                src: "127.0.0.1:1".parse().unwrap(),
                dst: "[::1]:2".parse().unwrap(),
                flags: Flags::SYN.with(Flags::ECE),
                seq: 1,
                ack: 2,
                win: 3,
                urg: 0,
                len: 0,
                options: Options {
                    mss: Some(1460),
                    wscale: Some(7),
                    ..Options::default()
                },
                retransmit: false,
            }),
        };
        let state = Event {
            what: What::State {
                old: State::Listen,
                new: State::SynReceived,
                local: None,
                remote: None,
            },
            ..event.clone()
        };
        for e in [event, state] {
            let json = serde_json::to_string(&e).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), e, "{json}");
        }
    }

    #[test]
    fn calls_read_as_c() {
        let call = |name: &str, fd, args: &str| {
            let (name, args) = (name.to_owned(), args.to_owned());
            Call { name, fd, args }.text()
        };
        assert_eq!(
            call("socket", -1, "AF_INET, SOCK_STREAM, 0"),
            "socket(AF_INET, SOCK_STREAM, 0)"
        );
        assert_eq!(call("close", 3, ""), "close(3)");
        assert_eq!(call("listen", 3, "5"), "listen(3, 5)");
    }
}
