//! Who traces.
//!
//! Tracing costs every process of the stack something, so it must not outlive who asked for it,
//! however that one ends. A tracer has a place, a bit in [`Ring::tracers`], and as long as it
//! lives a socket with the place's name. Whoever finds a place taken and its name free takes it
//! back: the next tracer, and the keeper's sweep. Names and bits are changed under the lock, the
//! name first, so a bit without a name is a dead tracer's.
//!
//! [`Ring::tracers`]: crate::trace::Ring::tracers

use super::{Runtime, high, own};
use crate::stack::Host;
use crate::sys::unix::{self, Kind, Name};
use crate::sys::{self, Fd};

/// A place among the tracers, held until [`Runtime::end_trace`] or this process's end.
#[derive(Debug)]
pub struct Tracer {
    place: u32,
    name: Fd,
}

impl Runtime {
    fn tracer_name(&self, place: u32) -> Name {
        Name::new(format_args!("utcp/{:x}/tracer{place}", self.nonce))
    }

    /// A socket with the place's name; none if somebody has it, or none is to be had.
    fn take_tracer_name(&self, place: u32) -> Option<Fd> {
        let fd = unix::socket(Kind::Stream, false).ok()?;
        unix::bind(fd.raw(), &self.tracer_name(place)).ok()?;
        Some(fd)
    }

    /// Trace from now on; `None` when all places are taken, or no descriptor is left.
    pub fn begin_trace(&self, host: &mut Host<'_>) -> Option<Tracer> {
        self.sweep_tracers(host);
        (0..u32::BITS).find_map(|place| {
            let name = high(self.take_tracer_name(place)?).ok()?;
            host.sh.trace.tracers |= 1 << place;
            Some(Tracer { place, name })
        })
    }

    /// Trace no longer.
    pub fn end_trace(&self, host: &mut Host<'_>, tracer: Tracer) {
        host.sh.trace.tracers &= !(1 << tracer.place);
        let fd = tracer.name.into_raw();
        own::remove(fd);
        let _ = sys::close(fd);
    }

    /// Take the places of dead tracers back; whether any is left.
    pub fn sweep_tracers(&self, host: &mut Host<'_>) -> bool {
        for place in 0..u32::BITS {
            let taken = host.sh.trace.tracers >> place & 1 == 1;
            if taken && self.take_tracer_name(place).is_some() {
                host.sh.trace.tracers &= !(1 << place);
            }
        }
        host.sh.trace.tracers != 0
    }
}
