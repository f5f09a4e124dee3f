//! `libutcp.so`: libc's socket calls, served by the utcp stack.
//!
//! | file | what |
//! |---|---|
//! | `exports/` | the functions that programs call, by group; `symbols.rs` is their list |
//! | `dispatch.rs` | stack, kernel or observer |
//! | `fdtable.rs` | which descriptors are the stack's sockets |
//! | `process.rs`, `attach.rs` | this process and its stack; fork and vfork |
//! | `ends.rs` | the two ends of a socket's descriptor |
//! | `blocked.rs` | threads that wait in the stack |
//! | `lifecycle.rs`, `transfer.rs`, `messages.rs`, `sendfile.rs`, `names.rs`, `sockopt.rs`, `descriptors.rs` | the calls, on the stack |
//! | `polling.rs`, `epoll.rs` | waiting for several descriptors |
//! | `jumps.rs`, `streams.rs` | stdio |
//! | `sysctl.rs`, `proc_net.rs` | the host's settings and tables |
//! | `trace.rs`, `observe.rs`, `args.rs` | calls as events |
//! | `real.rs`, `kernel.rs` | libc's own functions; raw system calls |
//! | `errno.rs`, `ancillary.rs`, `sockaddr.rs`, `tcp_info.rs`, `vectors.rs`, `memory.rs`, `own.rs`, `reserved.rs` | C's side of things |
//!
//! The crate's own system calls never go through the symbols it exports: Rust's std and libc's
//! wrappers, called from here, would come back to us.

mod ancillary;
mod args;
mod attach;
mod blocked;
mod descriptors;
mod devices;
mod dispatch;
mod ends;
mod entry;
mod epoll;
mod errepoll;
mod errno;
mod exports;
mod fars;
mod fastopen;
mod fdtable;
mod jumps;
mod kernel;
mod lifecycle;
mod memory;
mod messages;
mod names;
mod observe;
mod optvalue;
mod own;
mod polling;
mod proc_net;
mod process;
mod real;
mod reserved;
mod sendfile;
mod sockaddr;
mod sockopt;
mod splice;
mod streams;
pub mod symbols;
mod sysctl;
mod sysctl_ip;
mod tcp_info;
mod trace;
mod transfer;
mod vectors;
