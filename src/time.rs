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

/// How the stack's time goes: as the clock, or faster.
///
/// The stack's time is what its protocol code calls `now`: all of TCP's timers, the lives of
/// connections, the delays and rates of modelled links. The time limits of calls (poll,
/// SO_RCVTIMEO, a sleeping program) are the clock's. Plain data; zero is the clock itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Pace {
    /// Seconds of the stack's time in one of the clock's; 0 is 1.
    scale: u64,
    /// When both are equal.
    epoch: Instant,
}

impl Pace {
    /// The fastest there is.
    pub const MAX: u32 = 10_000;

    /// From `now` on, `scale` times as fast as the clock.
    pub fn new(scale: u32, now: Instant) -> Pace {
        match scale {
            0 | 1 => Pace::default(),
            scale => Pace {
                scale: u64::from(scale.min(Pace::MAX)),
                epoch: now,
            },
        }
    }

    /// How many times as fast as the clock.
    pub fn scale(&self) -> u64 {
        self.scale.max(1)
    }

    /// The stack's time when the clock shows `real`.
    #[inline]
    pub fn stack(&self, real: Instant) -> Instant {
        if self.scale == 0 || real == Instant::NEVER {
            return real;
        }
        let passed = real.0.saturating_sub(self.epoch.0);
        Instant(
            self.epoch
                .0
                .saturating_add(passed.saturating_mul(self.scale)),
        )
    }

    /// What the clock shows when the stack's time has come to `at`.
    #[inline]
    pub fn real(&self, at: Instant) -> Instant {
        if self.scale == 0 || at == Instant::NEVER {
            return at;
        }
        let passed = at.0.saturating_sub(self.epoch.0);
        Instant(self.epoch.0.saturating_add(passed.div_ceil(self.scale)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paces() {
        let real = Pace::default();
        let fast = Pace::new(1000, Instant(5_000));
        for n in [5_000, 5_001, 77_777, 1 << 50] {
            assert_eq!(real.stack(Instant(n)), Instant(n));
            assert_eq!(fast.real(fast.stack(Instant(n))), Instant(n));
        }
        assert_eq!(fast.stack(Instant(6_000)), Instant(1_005_000));
        // Nobody wakes too early.
        assert_eq!(fast.real(Instant(1_005_001)), Instant(6_001));
        assert_eq!(fast.real(Instant::NEVER), Instant::NEVER);
        assert_eq!((real.scale(), fast.scale()), (1, 1000));
    }
}
