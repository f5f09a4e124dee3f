//! The host: sockets, ports, demultiplexing, routes, listen queues, timers, wake-ups.
//!
//! A [`Host`] is the stack while somebody holds its lock: shared state, a device, the time.
//! Every call runs to completion without blocking; a call that would block says
//! [`Error::WouldBlock`] and the caller waits (see [`wait`]).
//!
//! | file | what |
//! |---|---|
//! | `calls.rs` | sockets made, bound, looked at, freed |
//! | `connect.rs`, `transfer.rs`, `closing.rs` | connect; send and recv; shutdown and close |
//! | `listen.rs` | SYN and accept queues, backlog |
//! | `fastopen.rs` | Fast Open: cookies, data on a SYN |
//! | `ports.rs` | who may bind what; the tables of ports and connections |
//! | `devices.rs` | the devices, and who is bound to one |
//! | `input.rs`, `output.rs` | packets in, segments out, the loopback |
//! | `challenges.rs` | how many challenge ACKs there are |
//! | `ip_options.rs` | IPv4's options: IP_OPTIONS, source routes |
//! | `impair.rs`, `held.rs` | modelled links, and what is under way on them; captures |
//! | `queue.rs`, `buffers.rs`, `arrivals.rs` | payload, and when it came |
//! | `ready.rs`, `readiness.rs`, `wait.rs` | what poll would say, who waits for it |
//! | `timers.rs` | deadlines |
//! | `tally.rs` | how many live on without a program; when they are too many |
//! | `urgent.rs` | MSG_OOB |
//! | `recover.rs` | after a death in the lock |
//! | `check.rs` | what must hold between calls |
//! | `table.rs` | what `ss` and /proc/net/tcp show |
#![deny(unsafe_code)]

mod arrivals;
pub mod buffers;
mod calls;
mod capture;
mod challenges;
mod check;
mod closing;
mod connect;
mod cookies;
mod counters;
pub mod devices;
mod error;
mod errqueue;
pub mod fastguard;
pub mod fastopen;
mod fragments;
mod held;
mod icmp;
mod impair;
mod input;
mod ip;
mod ip_options;
mod listen;
pub mod options;
mod output;
mod paths;
mod ports;
pub mod queue;
mod readiness;
mod ready;
mod recover;
pub mod settings;
mod shared;
mod socket;
mod table;
mod tally;
pub mod timers;
mod transfer;
mod urgent;
pub mod wait;

#[cfg(test)]
mod tests;

pub use arrivals::Asked;
pub use closing::How;
pub use error::{Error, Result};
pub use errqueue::{Notice, NoticeKind, stamping};
pub use impair::{Links, attention};
pub use ip::IpSettings;
pub use options::Opt;
pub use ready::Ready;
pub use shared::{Counters, HostConfig, Open, Shared};
pub use socket::{Family, Owner, SockId, Socket, SocketOptions};
pub use table::Row;
pub use tally::{Tallies, Tally};
pub use transfer::{RecvFlags, SendFlags};

use crate::link::Device;
use crate::time::Instant;
use wait::WakeSet;

/// The stack, for as long as its lock is held.
pub struct Host<'a> {
    /// State.
    pub sh: &'a mut Shared,
    /// The way out of the host.
    pub device: &'a mut dyn Device,
    /// The time of this entry.
    pub now: Instant,
    /// Whose process this is, for traces.
    pub pid: u32,
    /// And thread.
    pub tid: u32,
    /// To be woken when the lock has been given back.
    pub wakes: WakeSet,
}
