//! Following a stack's trace.

use crate::model::Event;
use crate::stacks::Stack;
use crate::trouble::{Result, Trouble};
use std::time::Duration;
use utcp_stack::runtime::Runtime;
use utcp_stack::sys;

/// Switches the stack's trace on, reads it, and switches it off again at the end.
pub struct Follower {
    stack: Stack,
    /// The last event read.
    seen: u64,
}

/// As long as a stopped process may keep us from the stack.
const PATIENCE: Duration = Duration::from_secs(5);

impl Follower {
    /// Follow from now on.
    pub fn new(stack: Stack) -> Result<Follower> {
        let seen = {
            let mut session = session(&stack.runtime)?;
            session.sh.trace.tracers = session.sh.trace.tracers.saturating_add(1);
            session.sh.trace.newest()
        };
        Ok(Follower { stack, seen })
    }

    /// The events since the last time, and how many were overwritten before they could be read.
    pub fn poll(&mut self) -> Result<(Vec<Event>, u64)> {
        let mut raw = Vec::with_capacity(256);
        let (mut lost, mut more) = (0, true);
        // In pieces: nobody is to wait long for the stack because of us.
        while more {
            raw.reserve(256);
            let session = session(&self.stack.runtime)?;
            let newest = session.sh.trace.newest();
            for number in self.seen + 1..=newest.min(self.seen + 256) {
                match session.sh.trace.get(number) {
                    Some(event) => raw.push(event),
                    None => lost += 1,
                }
            }
            more = newest > self.seen + 256;
            self.seen = newest.min(self.seen + 256);
        }
        Ok((raw.iter().map(Event::from_trace).collect(), lost))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Ok(mut session) = session(&self.stack.runtime) {
            session.sh.trace.tracers = session.sh.trace.tracers.saturating_sub(1);
        }
    }
}

/// Enter without receiving packets: the programs and the keeper do that.
pub fn session(runtime: &Runtime) -> Result<utcp_stack::runtime::Session<'_>> {
    runtime
        .enter_until(sys::now() + PATIENCE, false)
        .ok_or_else(|| match runtime.arena().holder() {
            Some(tid) => Trouble::new(
                "the stack does not answer",
                format!(
                    "thread {tid} ({}) is stopped inside it",
                    crate::procs::name_of(tid)
                ),
            )
            .mend(format!("`kill -CONT {tid}` lets it go on")),
            None => Trouble::new("the stack does not answer", "its lock is not to be had"),
        })
}
