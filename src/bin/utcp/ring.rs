//! Following a stack's trace.

use crate::model::{Event, What};
use crate::stacks::Stack;
use crate::trouble::{Result, Trouble};
use std::rc::Rc;
use std::time::Duration;
use utcp_stack::runtime::{Runtime, Tracer};
use utcp_stack::sys;

/// Switches the stack's trace on, reads it, and switches it off again at the end.
pub struct Follower {
    stack: Rc<Stack>,
    tracer: Option<Tracer>,
    /// The last event read.
    seen: u64,
}

/// As long as a stopped process may keep us from the stack.
const PATIENCE: Duration = Duration::from_secs(5);

impl Follower {
    /// Follow from now on.
    pub fn new(stack: impl Into<Rc<Stack>>) -> Result<Follower> {
        let stack = stack.into();
        let (tracer, seen) = {
            let mut session = session(&stack.runtime)?;
            let tracer = stack.runtime.begin_trace(&mut session);
            (tracer, session.sh.trace.newest())
        };
        if tracer.is_none() {
            let why = "32 others trace this stack, or no descriptor is left";
            return Err(Trouble::new("the stack can't be traced", why)
                .mend("`ulimit -n` shows how many descriptors there may be"));
        }
        Ok(Follower {
            stack,
            tracer,
            seen,
        })
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
        let mut events: Vec<Event> = raw.iter().map(Event::from_trace).collect();
        cause_before_effect(&mut events);
        Ok((events, lost))
    }
}

/// A segment that arrives changes the state and is answered, under one hold of the lock; the
/// stack tells the answer first. Here the state comes first, as RFC 9293 has it.
fn cause_before_effect(events: &mut [Event]) {
    for i in 1..events.len() {
        let What::State {
            local: Some(own), ..
        } = events[i].what
        else {
            continue;
        };
        let time = events[i].time;
        let answers = |e: &Event| {
            let What::Segment(s) = &e.what else {
                return false;
            };
            e.time == time && s.src == own
        };
        let mut at = i;
        while at > 0 && answers(&events[at - 1]) {
            at -= 1;
        }
        events[at..=i].rotate_right(1);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // If the stack does not answer, the keeper finds us gone.
        if let (Some(tracer), Ok(mut session)) = (self.tracer.take(), session(&self.stack.runtime))
        {
            self.stack.runtime.end_trace(&mut session, tracer);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Options, Segment};
    use utcp_stack::tcp::{Flags, State};

    #[test]
    fn a_state_comes_before_the_answer_to_what_caused_it() {
        let (a, b) = (
            "127.0.0.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        );
        let event = |what| Event {
            time: 5,
            pid: 1,
            tid: 1,
            socket: 0,
            what,
        };
        let segment = |src, dst| {
            event(What::Segment(Segment {
                src,
                dst,
                flags: Flags::ACK,
                seq: 0,
                ack: 0,
                win: 0,
                urg: 0,
                len: 0,
                options: Options::default(),
                retransmit: false,
            }))
        };
        let state = |local, remote| {
            event(What::State {
                old: State::SynSent,
                new: State::Established,
                local: Some(local),
                remote: Some(remote),
            })
        };
        let mut events = [segment(b, a), segment(a, b), state(a, b), state(b, a)];
        let want = [segment(b, a), state(a, b), segment(a, b), state(b, a)];
        cause_before_effect(&mut events);
        assert_eq!(events, want);
        // Another time is another hold of the lock.
        let mut events = [
            segment(a, b),
            Event {
                time: 6,
                ..state(a, b)
            },
        ];
        let same = events.clone();
        cause_before_effect(&mut events);
        assert_eq!(events, same);
    }
}
