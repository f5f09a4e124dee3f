//! The stack as a process uses it: its lock, its device, waiting and waking.
//!
//! A thread enters ([`Runtime::enter`]), which blocks its signals, takes the lock, repairs the
//! state if the last owner died, and drains the device; it calls the [`Host`]; leaving gives
//! the lock back and wakes whom the calls concern. [`Runtime::block`] is every blocking call.

use crate::addr::Endpoint;
use crate::stack::{Host, SockId};
use crate::time::Duration;

/// How a blocking call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken<R> {
    /// The attempt gave this.
    Ready(R),
    /// The time limit passed.
    TimedOut,
    /// A signal handler ran, and the call is to give EINTR.
    Interrupted,
}

/// What a blocking call waits for.
#[derive(Debug, Default)]
pub struct Wait<'a> {
    /// Any event of these sockets.
    pub sockets: &'a [SockId],
    /// Kernel descriptors polled beside them (poll, select; an epoll descriptor).
    pub fds: &'a mut [libc::pollfd],
    /// How long at most.
    pub timeout: Option<Duration>,
    /// The signal mask while waiting (ppoll, pselect, epoll_pwait), as the kernel's sigset.
    pub sigmask: Option<u64>,
    /// Whether SA_RESTART counts: recv, send, accept, connect without a time limit; never
    /// poll and its kin.
    pub restartable: bool,
}

#[allow(dead_code)]
fn interface_sketch(_: Endpoint, _: &Host<'_>) {}
