//! Points in time, as the protocol sees them.

use core::ops::{Add, Sub};
pub use core::time::Duration;

/// A point in time: nanoseconds of `CLOCK_MONOTONIC` (in tests, of a virtual clock).
///
/// The clock starts at the host's boot, so every process of a host agrees on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
#[repr(transparent)]
pub struct Instant(pub u64);

impl Instant {
    /// Later than anything that happens: the deadline of a timer that is off.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// Milliseconds since the clock's zero.
    pub fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, d: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, d: Duration) -> Instant {
        Instant(
            self.0
                .saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}
