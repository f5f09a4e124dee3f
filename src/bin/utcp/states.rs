//! The states of the kernel's connections, derived from what is to be seen outside: the
//! segments and the calls. (utcp reports its own states; the kernel doesn't.)
//!
//! A captured segment stands for both its ends: the sender's state changes before it (a FIN
//! makes FIN_WAIT_1), the receiver's after it, as on a link without loss or delay. What a
//! single segment changes at one end is one step, also when RFC 9293 (section 3.10.7.4) passes
//! through two states on the way.

use crate::model::{Event, Segment, What};
use std::collections::HashMap;
use std::net::SocketAddr;
use utcp_stack::tcp::{Flags, SeqNum, State};

/// `events`, which are in order of time, with the changes of state among them. Only sockets
/// whose own address `wanted` accepts are reported.
pub fn with_states(events: &[Event], wanted: impl Fn(&SocketAddr) -> bool) -> Vec<Event> {
    let mut tracker = Tracker::default();
    let mut out = Vec::new();
    for event in events {
        let (mut before, mut after) = tracker.step(event);
        for list in [&mut before, &mut after] {
            list.retain(|c| c.local.is_none_or(|local| wanted(&local)));
        }
        out.extend(before.iter().map(|c| c.event(event)));
        out.push(event.clone());
        out.extend(after.iter().map(|c| c.event(event)));
    }
    out
}

/// A change of state.
struct Change {
    pid: u32,
    old: State,
    new: State,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

impl Change {
    fn event(&self, cause: &Event) -> Event {
        Event {
            time: cause.time,
            pid: self.pid,
            tid: 0,
            socket: 0,
            what: What::State {
                old: self.old,
                new: self.new,
                local: self.local,
                remote: self.remote,
            },
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy)]
struct End {
    addr: SocketAddr,
    state: State,
    /// The sequence number of its SYN.
    iss: Option<SeqNum>,
    /// The sequence number after its FIN, once that was sent.
    fin_end: Option<SeqNum>,
    /// What it has received in order.
    rcv_nxt: Option<SeqNum>,
    /// It has processed the other's FIN.
    got_fin: bool,
}

impl End {
    fn new(addr: SocketAddr, state: State) -> End {
        End {
            addr,
            state,
            iss: None,
            fin_end: None,
            rcv_nxt: None,
            got_fin: false,
        }
    }

    /// Our own segment: RFC 9293, sections 3.10.1, 3.10.4 and 3.10.5.
    fn sends(&mut self, s: &Segment) {
        if s.flags.has(Flags::RST) {
            self.state = State::Closed;
            return;
        }
        if s.flags.has(Flags::SYN) {
            self.iss = Some(SeqNum(s.seq));
            self.state = match (self.state, s.flags.has(Flags::ACK)) {
                // Who was taken for a listener opens at the same time.
                (State::Closed | State::Listen, false) => State::SynSent,
                (State::Listen | State::SynSent, true) => State::SynReceived,
                (state, _) => state,
            };
        }
        if s.flags.has(Flags::FIN) {
            self.fin_end = Some(SeqNum(s.end()));
            self.state = match self.state {
                State::SynReceived | State::Established => State::FinWait1,
                State::CloseWait => State::LastAck,
                state => state,
            };
        }
    }

    /// The other end's segment: RFC 9293, section 3.10.7.
    fn receives(&mut self, s: &Segment, fin_end: Option<SeqNum>) {
        if s.flags.has(Flags::RST) {
            // Of a passive open, the child is gone; its listener stays as it is.
            if self.state != State::Listen {
                self.state = State::Closed;
            }
            return;
        }
        if s.flags.has(Flags::SYN) {
            self.rcv_nxt = Some(SeqNum(s.seq) + 1);
            if self.state == State::SynSent {
                // An ACK as well is looked at below; without one the opens are simultaneous.
                self.state = State::SynReceived;
            }
        }
        if s.flags.has(Flags::ACK) {
            self.acked(SeqNum(s.ack));
        }
        let (seq, end) = (SeqNum(s.seq), SeqNum(s.end()));
        match self.rcv_nxt {
            Some(nxt) if seq.le(nxt) && end.gt(nxt) => self.rcv_nxt = Some(end),
            _ => {}
        }
        self.reached_fin(fin_end);
    }

    fn acked(&mut self, ack: SeqNum) {
        if self.state == State::SynReceived && self.iss.is_some_and(|iss| ack.gt(iss)) {
            self.state = State::Established;
        }
        if self.fin_end.is_some_and(|end| ack.ge(end)) {
            self.state = match self.state {
                State::FinWait1 => State::FinWait2,
                State::Closing => State::TimeWait,
                State::LastAck => State::Closed,
                state => state,
            };
        }
    }

    /// Everything up to the other end's FIN has arrived.
    fn reached_fin(&mut self, fin_end: Option<SeqNum>) {
        let (Some(end), Some(nxt)) = (fin_end, self.rcv_nxt) else {
            return;
        };
        if self.got_fin || nxt.lt(end) {
            return;
        }
        self.got_fin = true;
        self.state = match self.state {
            State::SynReceived | State::Established => State::CloseWait,
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            state => state,
        };
    }
}

/// A listening socket, by the process and descriptor that made it.
struct Listener {
    pid: u32,
    fd: i32,
    local: Option<SocketAddr>,
}

#[derive(Default)]
struct Tracker {
    bound: HashMap<(u32, i32), SocketAddr>,
    listeners: Vec<Listener>,
    connections: Vec<[End; 2]>,
}

impl Tracker {
    /// The changes before the event and those after it.
    fn step(&mut self, event: &Event) -> (Vec<Change>, Vec<Change>) {
        match &event.what {
            What::Segment(s) => self.segment(s),
            What::Return {
                call,
                ret,
                errno,
                local,
            } => {
                let local = local.as_deref().and_then(find_address);
                (
                    Vec::new(),
                    self.returned(event.pid, call, (*ret, *errno), local),
                )
            }
            What::Exit { .. } => (self.listeners_close(|l| l.pid == event.pid), Vec::new()),
            What::Enter(_) | What::State { .. } => (Vec::new(), Vec::new()),
        }
    }

    fn returned(
        &mut self,
        pid: u32,
        call: &crate::model::Call,
        (ret, errno): (i64, i32),
        local: Option<SocketAddr>,
    ) -> Vec<Change> {
        match (call.name.as_str(), ret) {
            ("bind", 0) => {
                if let Some(addr) = find_address(&call.args) {
                    self.bound.insert((pid, call.fd), addr);
                }
            }
            ("listen", 0) if !self.listeners.iter().any(|l| l.is(pid, call.fd)) => {
                let bound = self.bound.get(&(pid, call.fd)).copied();
                let local = local.or(bound);
                let fd = call.fd;
                self.listeners.push(Listener { pid, fd, local });
                return vec![Change {
                    pid,
                    old: State::Closed,
                    new: State::Listen,
                    local,
                    remote: None,
                }];
            }
            ("close", 0) => {
                self.bound.remove(&(pid, call.fd));
                return self.listeners_close(|l| l.is(pid, call.fd));
            }
            ("connect", -1) if errno != libc::EINPROGRESS && errno != libc::EINTR => {
                // Without a RST there is nothing on the wire that tells of the end.
                let remote = find_address(&call.args);
                let given_up = self.connections.iter_mut().find(|c| {
                    c[0].state == State::SynSent && remote.is_none_or(|r| r == c[1].addr)
                });
                if let Some([end, other]) = given_up {
                    end.state = State::Closed;
                    return vec![Change {
                        pid,
                        old: State::SynSent,
                        new: State::Closed,
                        local: Some(end.addr),
                        remote: Some(other.addr),
                    }];
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn listeners_close(&mut self, which: impl Fn(&Listener) -> bool) -> Vec<Change> {
        let (gone, stay) = std::mem::take(&mut self.listeners)
            .into_iter()
            .partition::<Vec<_>, _>(|l| which(l));
        self.listeners = stay;
        let change = |l: Listener| Change {
            pid: l.pid,
            old: State::Listen,
            new: State::Closed,
            local: l.local,
            remote: None,
        };
        gone.into_iter().map(change).collect()
    }

    fn segment(&mut self, s: &Segment) -> (Vec<Change>, Vec<Change>) {
        let found = self.connections.iter().position(|c| {
            (c[0].addr, c[1].addr) == (s.src, s.dst) || (c[1].addr, c[0].addr) == (s.src, s.dst)
        });
        let opens = s.flags.has(Flags::SYN) && !s.flags.has(Flags::ACK);
        let index = match found {
            Some(index) => index,
            None if opens => {
                self.connections.push([
                    End::new(s.src, State::Closed),
                    End::new(s.dst, State::Listen),
                ]);
                self.connections.len() - 1
            }
            // The middle of something whose beginning nobody saw.
            None => return (Vec::new(), Vec::new()),
        };
        let c = &mut self.connections[index];
        let (mut me, mut you) = if c[0].addr == s.src { (0, 1) } else { (1, 0) };
        if opens && matches!(c[me].state, State::Closed | State::TimeWait) && c[me].iss.is_some() {
            // The pair of addresses is used again.
            *c = [
                End::new(s.src, State::Closed),
                End::new(s.dst, State::Listen),
            ];
            (me, you) = (0, 1);
        }

        let crosses = opens && c[me].state == State::Listen;
        if crosses {
            c[me].state = State::Closed;
        }
        let (mine, yours) = (c[me].state, c[you].state);
        // What the sender acknowledges, it has received.
        let mut before = mine;
        if s.flags.has(Flags::ACK) && !s.flags.has(Flags::RST) {
            let ack = SeqNum(s.ack);
            if c[me].rcv_nxt.is_some_and(|nxt| ack.gt(nxt)) {
                c[me].rcv_nxt = Some(ack);
                let fin_end = c[you].fin_end;
                c[me].reached_fin(fin_end);
                before = c[me].state;
            }
        }
        c[me].sends(s);
        let sent = c[me].state;
        if crosses {
            // The other's SYN, seen earlier, arrives now that this one is out.
            c[me].state = State::SynReceived;
        }
        let crossed = c[me].state;
        let fin_end = c[me].fin_end;
        c[you].receives(s, fin_end);
        let got = c[you].state;

        let ends = |a: usize, b: usize| (Some(c[a].addr), Some(c[b].addr));
        let change = |(local, remote), old, new| Change {
            pid: 0,
            old,
            new,
            local,
            remote,
        };
        // A refused SYN meets no socket at all: nothing changes at its other end.
        let nobody = |old: State, new: State| old == State::Listen && new == State::Closed;
        let steps = |list: [((usize, usize), State, State); 2]| -> Vec<Change> {
            list.into_iter()
                .filter(|(_, old, new)| old != new && !nobody(*old, *new))
                .map(|((a, b), old, new)| change(ends(a, b), old, new))
                .collect()
        };
        (
            steps([((me, you), mine, before), ((me, you), before, sent)]),
            steps([((me, you), sent, crossed), ((you, me), yours, got)]),
        )
    }
}

impl Listener {
    fn is(&self, pid: u32, fd: i32) -> bool {
        (self.pid, self.fd) == (pid, fd)
    }
}

/// The first address with a port in a call's arguments.
pub fn find_address(args: &str) -> Option<SocketAddr> {
    let mut words = args.split([' ', ',', '{', '}', '=', '"']);
    words.find_map(|word| {
        let mut address: SocketAddr = word.parse().ok()?;
        // Segments of an IPv4-mapped socket are IPv4.
        address.set_ip(address.ip().to_canonical());
        Some(address)
    })
}

#[cfg(test)]
#[path = "states/tests.rs"]
mod tests;
