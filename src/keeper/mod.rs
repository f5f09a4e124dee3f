//! The keeper: the background process that stands where the kernel would.
//!
//! One keeper serves a stack, which belongs to a user and a network namespace. It holds the
//! arena and the device and hands both to every process that attaches; it reads the device
//! and runs the timers when no program's thread does; it holds the far ends of the sockets'
//! descriptors, by which the kernel tells when a socket's last reference is gone; and it leaves
//! when the last process and the last connection, TIME_WAIT included, are gone.
//!
//! | file | what |
//! |---|---|
//! | `attach.rs`, `spawn.rs` | in the program: find the keeper, or start it unnoticed |
//! | `protocol.rs`, `names.rs`, `error.rs` | what both say, where they meet, what can go wrong |
//! | `start.rs`, `device.rs`, `survivors.rs` | the keeper's beginning: a new stack, or one that lost its keeper |
//! | `serve.rs` | its loop |
//! | `watch.rs` | who drives |
//! | `far.rs`, `sweep.rs` | what dead processes held |
//! | `mirror.rs`, `mirrors.rs` | readiness, shown on descriptors |
//!
//! What the death of a keeper costs: connections, listeners and data live in the arena and go
//! on, and so does the device as long as one process holds it. Programs hand the far ends that they
//! kept to the new keeper. Those that no program kept are lost: their descriptors show POLLHUP to un-interposed waits from then on, and the ends of
//! their last references are found by the sweep, within seconds, instead of at once.

mod attach;
mod device;
mod error;
mod far;
pub mod mirror;
mod mirrors;
mod names;
pub mod protocol;
mod serve;
mod spawn;
mod start;
mod survivors;
mod sweep;
mod watch;

pub use attach::{Attachment, Connection, attach, attach_running, reattach};
pub use error::AttachError;
pub use spawn::library_for;
pub use start::main;

#[cfg(test)]
mod tests;
