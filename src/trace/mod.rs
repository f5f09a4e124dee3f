//! What happened, as events in a ring in shared memory: calls with results, changes of TCP
//! state, segments. Written only while somebody traces; read by the `utcp` command.

pub mod capture;

use crate::addr::Endpoint;
use crate::tcp::{Segment, State};
use crate::time::Instant;

/// Text of bounded length, for call names and arguments.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Text<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// `s`, cut at the last whole character that fits.
    pub fn new(s: &str) -> Text<N> {
        let mut len = s.len().min(N).min(255);
        while !s.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; N];
        bytes[..len].copy_from_slice(&s.as_bytes()[..len]);
        Text {
            len: len as u8,
            bytes,
        }
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        let len = usize::from(self.len).min(N);
        core::str::from_utf8(&self.bytes[..len]).unwrap_or("")
    }
}

/// Which way a segment went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Direction {
    /// To the device.
    Out,
    /// From the device.
    In,
    /// Between two sockets of this stack.
    Loop,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub enum What {
    /// A program made a call (it may block before it returns).
    Enter {
        /// The function's name.
        name: Text<16>,
        /// Its descriptor, or -1.
        fd: i32,
        /// The arguments after the descriptor, as `strace` would print them.
        args: Text<96>,
    },
    /// The call returned.
    Return {
        /// The function's name.
        name: Text<16>,
        /// Its descriptor, or -1.
        fd: i32,
        /// The arguments as `strace` would print them once it has returned (buffers read).
        args: Text<96>,
        /// What it returned.
        ret: i64,
        /// The errno, if `ret` is -1.
        errno: i32,
    },
    /// A socket changed state.
    State {
        /// Before.
        old: State,
        /// After.
        new: State,
        /// The socket's own address.
        local: Endpoint,
        /// The peer.
        remote: Endpoint,
    },
    /// A segment was sent or received.
    Segment {
        /// Which way.
        direction: Direction,
        /// Source.
        src: Endpoint,
        /// Destination.
        dst: Endpoint,
        /// Its header.
        segment: Segment,
        /// It was sent before.
        retransmit: bool,
    },
}

/// An event with its circumstances.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Event {
    /// Position in the stream of events; from 1.
    pub number: u64,
    /// When.
    pub time: Instant,
    /// The process in whose context it happened (the keeper's for segments that nobody waited for).
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The socket ([`crate::stack::SockId`] as a number), 0 if none.
    pub socket: u64,
    /// What happened.
    pub what: What,
}

/// How many events are kept.
pub const CAPACITY: usize = 4096;

/// The ring. `next` is the number of the next event; event `n` is at `n % CAPACITY`.
#[repr(C)]
pub struct Ring {
    /// Events are written while this is not zero: a bit for each tracer
    /// ([`crate::runtime::Tracer`]).
    pub tracers: u32,
    next: u64,
    events: [Option<Event>; CAPACITY],
}

impl Ring {
    /// Somebody traces.
    pub fn enabled(&self) -> bool {
        self.tracers != 0
    }
    /// Append; `number` is filled in.
    pub fn push(&mut self, mut event: Event) {
        event.number = self.next + 1;
        self.next = event.number;
        self.events[(event.number % CAPACITY as u64) as usize] = Some(event);
    }
    /// The number of the newest event; 0 if there is none.
    pub fn newest(&self) -> u64 {
        self.next
    }
    /// Event `number`, unless it was overwritten or has not happened.
    pub fn get(&self, number: u64) -> Option<Event> {
        self.events[(number % CAPACITY as u64) as usize].filter(|e| e.number == number)
    }
}
