//! keeper
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
