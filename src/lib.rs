//! The utcp stack: TCP/IP in shared memory, run by the processes that use it.
//!
//! Layers import downwards only; see ARCHITECTURE.md.
//!
//! | layer | knows |
//! |---|---|
//! | [`keeper`] | the background process that outlives the programs |
//! | [`stack`] | sockets, ports, demultiplexing, timers, wake-ups |
//! | [`tcp`] | one connection, sans-IO |
//! | [`wire`] | IP, TCP and ICMP headers |
//! | [`link`] | the TUN device |
//! | [`impair`] | a model of bad links, sans-IO, by seed |
//! | [`trace`] | what happened, as events |
//! | [`config`] | what the environment asks for |
//! | [`arena`] | shared memory and its lock |
//! | [`sys`] | system calls that no interposed symbol can see |

pub mod addr;
pub mod arena;
pub mod config;
pub mod impair;
pub mod keeper;
pub mod link;
pub mod runtime;
pub mod stack;
pub mod sys;
pub mod tcp;
pub mod time;
pub mod trace;
pub mod wire;
#[cfg(test)]
mod worlds;
