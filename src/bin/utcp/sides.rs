//! Who is who: each event gets its side (client left, server right) and its connection, and
//! sequence numbers become relative to the connection's first.

use crate::model::{Event, Options, Segment, What, flag_letters, state_name};
use serde::Serialize;
use std::collections::HashMap;
use std::net::SocketAddr;
use utcp_stack::tcp::{Flags, State};

/// The two sides of a ladder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who connects; drawn on the left.
    Client,
    /// Who accepts; drawn on the right.
    Server,
}

impl Side {
    /// The other side.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// An event in its place.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Step {
    /// Nanoseconds since the first event.
    pub time: u64,
    /// In which process.
    pub pid: u32,
    /// Whose call or state it is; of a segment, its sender.
    pub side: Side,
    /// Which connection, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<u32>,
    /// What happened.
    #[serde(flatten)]
    pub act: Act,
}

/// What happened, sequence numbers relative.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Act {
    /// A call that has not returned yet.
    Enter {
        /// As written in C.
        call: String,
    },
    /// A call returned.
    Return {
        /// As written in C.
        call: String,
        /// What it gave.
        ret: i64,
        /// The error's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        errno: Option<String>,
    },
    /// A change of state.
    State {
        /// Before.
        #[serde(with = "state_name")]
        old: State,
        /// After.
        #[serde(with = "state_name")]
        new: State,
    },
    /// A segment.
    Segment(Arrow),
    /// The process ended.
    Exit {
        /// "0", or "SIGKILL".
        status: String,
    },
}

/// A segment with relative numbers.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Arrow {
    /// The control bits.
    #[serde(with = "flag_letters")]
    pub flags: Flags,
    /// Relative sequence number.
    pub seq: u32,
    /// Relative acknowledgment number, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<u32>,
    /// The window field, unscaled.
    pub win: u16,
    /// The urgent pointer, if it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urg: Option<u16>,
    /// Options.
    pub options: Options,
    /// Payload bytes.
    pub len: u32,
    /// It was sent before.
    #[serde(skip_serializing_if = "is_false")]
    pub retransmit: bool,
}

fn is_false(b: &bool) -> bool {
    !b
}

struct Connection {
    number: u32,
    initiator: SocketAddr,
    initiator_side: Side,
    /// What relative numbers are relative to: the initiator's, the responder's.
    base: [Option<u32>; 2],
}

/// Gives events their places; knows what it has seen so far.
#[derive(Default)]
pub struct Sides {
    start: Option<u64>,
    pids: HashMap<u32, Side>,
    sockets: HashMap<u64, Side>,
    listening: HashMap<u16, Side>,
    connections: HashMap<(SocketAddr, SocketAddr), Connection>,
    count: u32,
}

impl Sides {
    /// The process is on this side.
    pub fn put(&mut self, pid: u32, side: Side) {
        self.pids.insert(pid, side);
    }

    /// Where the process is, if that is known.
    pub fn of(&self, pid: u32) -> Option<Side> {
        self.pids.get(&pid).copied()
    }

    /// Where the socket is, if that is known.
    pub fn of_socket(&self, socket: u64) -> Option<Side> {
        self.sockets.get(&socket).copied()
    }

    /// How many connections there were.
    pub fn connections(&self) -> u32 {
        self.count
    }

    /// The local ports of those who connected: what a system picks differently every time.
    pub fn client_ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self
            .connections
            .values()
            .map(|c| c.initiator.port())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The addresses of both ends of all connections.
    pub fn addresses(&self) -> Vec<std::net::IpAddr> {
        let pairs = self.connections.keys();
        let mut all: Vec<_> = pairs.flat_map(|(a, b)| [a.ip(), b.ip()]).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Put one event in its place; events must come in order.
    pub fn place(&mut self, event: &Event) -> Step {
        let start = *self.start.get_or_insert(event.time);
        // A process that nobody placed is where its socket is.
        let known = self.of(event.pid).or(self.of_socket(event.socket));
        let own_side = known.unwrap_or(Side::Client);
        let (side, connection, act) = match &event.what {
            What::Enter(call) => (own_side, None, Act::Enter { call: call.text() }),
            What::Return {
                call, ret, errno, ..
            } => {
                let errno = (*ret == -1 && *errno != 0).then(|| crate::model::errno_name(*errno));
                let call = call.text();
                let ret = *ret;
                (own_side, None, Act::Return { call, ret, errno })
            }
            What::Exit { status } => {
                let status = status.clone();
                (own_side, None, Act::Exit { status })
            }
            What::State {
                old,
                new,
                local,
                remote,
            } => {
                let (old, new) = (*old, *new);
                let (side, connection) = self.state(event.pid, old, new, *local, *remote);
                (side, connection, Act::State { old, new })
            }
            What::Segment(s) => {
                let (side, connection, arrow) = self.segment(event.pid, s);
                (side, Some(connection), Act::Segment(arrow))
            }
        };
        let told = known.is_some() || matches!(act, Act::State { .. });
        if event.socket != 0 && told && !matches!(act, Act::Segment(_)) {
            self.sockets.insert(event.socket, side);
        }
        Step {
            time: event.time.saturating_sub(start),
            pid: event.pid,
            side,
            connection,
            act,
        }
    }

    fn state(
        &mut self,
        pid: u32,
        old: State,
        new: State,
        local: Option<SocketAddr>,
        remote: Option<SocketAddr>,
    ) -> (Side, Option<u32>) {
        let own_side = self.of(pid);
        let remote = remote.filter(|r| r.port() != 0);
        if new == State::Listen || old == State::Listen && remote.is_none() {
            let port = local.map_or(0, |l| l.port());
            let side = if new == State::Listen {
                let side = own_side.unwrap_or(Side::Server);
                self.listening.insert(port, side);
                side
            } else {
                let known = self.listening.remove(&port);
                known.or(own_side).unwrap_or(Side::Server)
            };
            return (side, None);
        }
        let (Some(local), Some(remote)) = (local, remote) else {
            return (own_side.unwrap_or(Side::Client), None);
        };
        let connects = new == State::SynSent
            || !(old == State::Listen || self.listening.contains_key(&local.port()));
        let (initiator, responder) = if connects {
            (local, remote)
        } else {
            (remote, local)
        };
        let c = self.connection(pid, initiator, responder);
        let side = if c.initiator == local {
            c.initiator_side
        } else {
            c.initiator_side.other()
        };
        (side, Some(c.number))
    }

    fn segment(&mut self, pid: u32, s: &Segment) -> (Side, u32, Arrow) {
        let answers = s.flags.has(Flags::SYN) && s.flags.has(Flags::ACK);
        let listens = self.listening.contains_key(&s.src.port())
            && !self.listening.contains_key(&s.dst.port());
        let (initiator, responder) = if answers || listens {
            (s.dst, s.src)
        } else {
            (s.src, s.dst)
        };
        let opens = s.flags.has(Flags::SYN) && !s.flags.has(Flags::ACK);
        if opens
            && let Some(c) = self.connections.get(&key(s.src, s.dst))
            && c.initiator == s.src
            && c.base[0].is_some_and(|base| base != s.seq)
        {
            // The pair of addresses is used again.
            self.connections.remove(&key(s.src, s.dst));
        }
        let c = self.connection(pid, initiator, responder);
        let (me, you) = if c.initiator == s.src { (0, 1) } else { (1, 0) };
        let acks = s.flags.has(Flags::ACK);
        let base = *c.base[me].get_or_insert(s.seq);
        // Without having seen the peer's SYN: what is acknowledged was its first byte.
        let peer_base = match c.base[you] {
            Some(base) => base,
            None if acks => *c.base[you].insert(s.ack.wrapping_sub(1)),
            None => 0,
        };
        let arrow = Arrow {
            flags: s.flags,
            seq: s.seq.wrapping_sub(base),
            ack: acks.then(|| s.ack.wrapping_sub(peer_base)),
            win: s.win,
            urg: s.flags.has(Flags::URG).then_some(s.urg),
            options: s.options.clone(),
            len: s.len,
            retransmit: s.retransmit,
        };
        let side = if me == 0 {
            c.initiator_side
        } else {
            c.initiator_side.other()
        };
        (side, c.number, arrow)
    }

    /// The connection between two addresses; made up with these roles when it is new. `pid` is
    /// the process that caused its first event.
    fn connection(
        &mut self,
        pid: u32,
        initiator: SocketAddr,
        responder: SocketAddr,
    ) -> &mut Connection {
        let initiator_side = match self.listening.get(&responder.port()) {
            Some(side) => side.other(),
            None => self.of(pid).unwrap_or(Side::Client),
        };
        self.connections
            .entry(key(initiator, responder))
            .or_insert_with(|| {
                self.count += 1;
                Connection {
                    number: self.count,
                    initiator,
                    initiator_side,
                    base: [None; 2],
                }
            })
    }
}

fn key(a: SocketAddr, b: SocketAddr) -> (SocketAddr, SocketAddr) {
    if a <= b { (a, b) } else { (b, a) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(src: &str, dst: &str, flags: Flags, seq: u32, ack: u32) -> Event {
        Event {
            time: 100,
            pid: 0,
            tid: 0,
            socket: 0,
            what: What::Segment(Segment {
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                flags,
                seq,
                ack,
                win: 0,
                urg: 0,
                len: 0,
                options: Options::default(),
                retransmit: false,
            }),
        }
    }

    fn arrow(step: &Step) -> (Side, u32, Option<u32>) {
        match &step.act {
            Act::Segment(a) => (step.side, a.seq, a.ack),
            other => panic!("{other:?}"),
        }
    }

    const A: &str = "127.0.0.1:40000";
    const B: &str = "127.0.0.1:9000";

    #[test]
    fn numbers_are_relative_to_each_syn() {
        let mut sides = Sides::default();
        let syn_ack = Flags::SYN.with(Flags::ACK);
        let script = [
            segment(A, B, Flags::SYN, u32::MAX, 0),
            segment(B, A, syn_ack, 77, 0),
            segment(A, B, Flags::ACK, 0, 78),
        ];
        let steps: Vec<_> = script.iter().map(|e| arrow(&sides.place(e))).collect();
        let want = [
            (Side::Client, 0, None),
            (Side::Server, 0, Some(1)),
            (Side::Client, 1, Some(1)),
        ];
        assert_eq!(steps, want);
        assert_eq!(sides.client_ports(), [40000]);
    }

    #[test]
    fn the_middle_of_a_connection_starts_at_zero() {
        let mut sides = Sides::default();
        let step = sides.place(&segment(A, B, Flags::ACK, 500, 900));
        assert_eq!(arrow(&step), (Side::Client, 0, Some(1)));
    }

    #[test]
    fn a_new_syn_on_the_same_pair_is_a_new_connection() {
        let mut sides = Sides::default();
        for (seq, number) in [(1, 1), (1, 1), (9, 2)] {
            let step = sides.place(&segment(A, B, Flags::SYN, seq, 0));
            assert_eq!(step.connection, Some(number));
            assert_eq!(arrow(&step).1, 0);
        }
    }

    #[test]
    fn a_process_that_is_gone_is_where_its_socket_is() {
        let mut sides = Sides::default();
        sides.put(7, Side::Server);
        let call = |pid, socket| Event {
            time: 1,
            pid,
            tid: pid,
            socket,
            what: What::Enter(crate::model::Call {
                name: "read".to_owned(),
                fd: 4,
                args: String::new(),
            }),
        };
        assert_eq!(sides.place(&call(7, 40)).side, Side::Server);
        assert_eq!(sides.place(&call(8, 40)).side, Side::Server);
        assert_eq!(sides.place(&call(8, 41)).side, Side::Client);
    }

    #[test]
    fn a_listener_tells_whose_side_a_connection_is_on() {
        let mut sides = Sides::default();
        sides.put(7, Side::Server);
        sides.place(&Event {
            time: 1,
            pid: 7,
            tid: 7,
            socket: 0,
            what: What::State {
                old: State::Closed,
                new: State::Listen,
                local: "0.0.0.0:9000".parse().ok(),
                remote: None,
            },
        });
        // Seen only from its second segment on, which is the server's.
        let step = sides.place(&segment(B, A, Flags::ACK, 1, 1));
        assert_eq!(step.side, Side::Server);
        // A child's state, reported from within the client's call.
        let step = sides.place(&Event {
            time: 2,
            pid: 8,
            tid: 8,
            socket: 0,
            what: What::State {
                old: State::Listen,
                new: State::SynReceived,
                local: B.parse().ok(),
                remote: A.parse().ok(),
            },
        });
        assert_eq!((step.side, step.connection), (Side::Server, Some(1)));
    }
}
