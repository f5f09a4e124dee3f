//! Who drives: whether the keeper reads the device, or stands by while a program's thread does.
//!
//! ```text
//!             a thread takes the wheel (it rings)
//!     DRIVING -----------------------------------> SHALLOW
//!   sleeps at the   <----------------------------  looks every millisecond
//!   device and for     nobody drove for a tick     while drivers come and go
//!   the timers                                       |        ^
//!         ^                                          |        | it leaves
//!         |  the driver is dead or stuck             |        | (and rings)
//!         +------------------- DEEP <----------------+        |
//!                      sleeps   one thread has been driving   |
//!                        |      for ten ticks                 |
//!                        +------------------------------------+
//! ```
//!
//! Two may drive at a time without harm (the device is read under the lock, and each wakes
//! whom its packets concern); it only costs a wake-up. What must not happen is that each
//! believes in the other. So a driver that does nothing about a waiting packet or a timer that
//! is due is not believed for long: it may have been killed, stopped, or have left its
//! blocking call by longjmp.

use crate::runtime::{KEEPER, KeeperMode, Runtime};
use crate::stack::Host;
use crate::sys::{bell, io};
use crate::time::{Duration, Instant};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// How often the keeper looks while drivers come and go.
const TICK: Duration = Duration::from_millis(1);
/// After how many ticks with the same driver it stops looking so often.
const DEEP_AFTER: u32 = 10;
/// How soon it looks after the driver at first, doubling ...
const LOOK_FIRST: Duration = Duration::from_millis(4);
/// ... up to this.
const LOOK_LAST: Duration = Duration::from_secs(1);
/// How soon after it saw work that the driver left lying.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How late the driver may be with a timer.
const LATE: Duration = Duration::from_millis(50);

/// What is to be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Duty {
    /// The keeper drives.
    pub drives: bool,
    /// That has just changed.
    pub changed: bool,
    /// Enter the stack even if not (there may be something to mirror).
    pub enter: bool,
}

/// The keeper's view of who drives.
#[derive(Debug)]
pub struct Watch {
    mode: KeeperMode,
    /// The driver, and how often the role had been taken, when it was last looked at.
    seen: (u32, u32),
    /// Ticks for which they have stayed the same.
    ticks: u32,
    /// When to look again.
    next: Instant,
    /// In deep sleep: how long between two looks.
    interval: Duration,
    /// In deep sleep: the last look found work that the driver had left lying.
    lying: bool,
    /// Somebody has used the stack.
    pub served: bool,
}

impl Watch {
    /// Nobody has driven yet.
    pub fn new(now: Instant) -> Watch {
        Watch {
            mode: KeeperMode::Shallow,
            seen: (0, 0),
            ticks: 0,
            next: now,
            interval: LOOK_FIRST,
            lying: false,
            served: false,
        }
    }

    /// The keeper drives.
    pub fn drives(&self) -> bool {
        self.mode == KeeperMode::Driving
    }

    /// When to look again.
    pub fn until(&self) -> Instant {
        self.next
    }

    /// A process or descriptor ended: perhaps the driver's.
    pub fn suspect(&mut self, now: Instant) {
        self.served = true;
        if self.mode == KeeperMode::Deep {
            self.interval = LOOK_FIRST;
            self.next = self.next.min(now + TICK);
        }
    }

    /// Look who drives.
    pub fn look(&mut self, runtime: &Runtime, now: Instant) -> Duty {
        let drove = self.drives();
        let open = runtime.open();
        let driver = open.driver.load(SeqCst);
        let seen = (driver, open.driver_changes.load(SeqCst));
        let mut enter = false;
        match self.mode {
            KeeperMode::Driving => {
                if driver != u32::from(KEEPER) {
                    self.stand_by(runtime, seen, now);
                }
            }
            KeeperMode::Shallow if now >= self.next => {
                enter = true;
                let same = seen == self.seen;
                if same && driver == u32::from(KEEPER) {
                    // Told to everybody under the lock; see `before_sleep`.
                    self.mode = KeeperMode::Driving;
                } else if same && self.ticks >= DEEP_AFTER {
                    self.sleep_deeply(runtime, seen, now);
                } else {
                    self.ticks = if same { self.ticks + 1 } else { 0 };
                    self.next = now + TICK;
                }
                self.seen = seen;
            }
            KeeperMode::Shallow => {}
            KeeperMode::Deep => {
                if open.keeper_mode.load(SeqCst) != KeeperMode::Deep as u32 || seen != self.seen {
                    self.stand_by(runtime, seen, now);
                } else if now >= self.next && self.driver_is_idle(runtime, now) {
                    depose(runtime, driver);
                    self.mode = KeeperMode::Driving;
                }
            }
        }
        Duty {
            drives: self.drives(),
            changed: self.drives() != drove,
            enter,
        }
    }

    /// Under the lock, as the last thing before the keeper sleeps as the driver: say until
    /// when. Whoever takes the wheel or sets an earlier timer does so under the lock too, and
    /// rings.
    pub fn before_sleep(&mut self, runtime: &Runtime, host: &Host<'_>) {
        let open = runtime.open();
        if open.driver.load(SeqCst) != u32::from(KEEPER) {
            // Somebody was faster; the next look steps back.
            self.next = host.sh.pace.real(host.now);
            return;
        }
        let deadline = host.next_wakeup();
        open.keeper_mode.store(KeeperMode::Driving as u32, SeqCst);
        open.sleeper_deadline.store(deadline.0, Relaxed);
        self.next = deadline;
    }

    fn stand_by(&mut self, runtime: &Runtime, seen: (u32, u32), now: Instant) {
        let mode = &runtime.open().keeper_mode;
        mode.store(KeeperMode::Shallow as u32, SeqCst);
        self.served = true;
        self.mode = KeeperMode::Shallow;
        self.seen = seen;
        self.ticks = 0;
        self.next = now + TICK;
    }

    fn sleep_deeply(&mut self, runtime: &Runtime, seen: (u32, u32), now: Instant) {
        let open = runtime.open();
        open.keeper_mode.store(KeeperMode::Deep as u32, SeqCst);
        // A driver that leaves looks at the mode after it has left: one of us sees the other.
        let still = (open.driver.load(SeqCst), open.driver_changes.load(SeqCst));
        if still != seen {
            self.stand_by(runtime, still, now);
            return;
        }
        self.mode = KeeperMode::Deep;
        self.interval = LOOK_FIRST;
        self.next = now + self.interval;
        self.lying = false;
    }

    /// The driver is dead, or has twice been seen to leave work lying.
    fn driver_is_idle(&mut self, runtime: &Runtime, now: Instant) -> bool {
        let driver = self.seen.0 as u16;
        if !bell::hangs(&runtime.bell_name(driver)) {
            return true;
        }
        let packet = runtime.tun_fd().is_some_and(|tun| {
            let mut fds = [io::PollFd::new(tun, libc::POLLIN)];
            io::poll(&mut fds, Some(Duration::ZERO)) == Ok(1) && fds[0].revents & libc::POLLIN != 0
        });
        let deadline = Instant(runtime.open().sleeper_deadline.load(Relaxed));
        let late = deadline.0 != 0 && deadline != Instant::NEVER && now > deadline + LATE;
        let lying = packet || late;
        if lying && self.lying {
            return true;
        }
        self.lying = lying;
        self.interval = (self.interval * 2).min(LOOK_LAST);
        self.next = now + if lying { LOOK_AGAIN } else { self.interval };
        false
    }
}

/// Take the role from a driver that doesn't drive. Should it still live it loses nothing: it
/// may go on reading the device, and when it leaves it finds the role vacant.
fn depose(runtime: &Runtime, driver: u32) {
    let open = runtime.open();
    let deposed = open
        .driver
        .compare_exchange(driver, u32::from(KEEPER), SeqCst, SeqCst);
    if deposed.is_ok() {
        open.driver_changes.fetch_add(1, SeqCst);
        open.sleeper_deadline.store(0, Relaxed);
    }
}
