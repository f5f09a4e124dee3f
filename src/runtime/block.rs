//! Blocking calls.

use super::signals::{self, Watch};
use super::{KEEPER, KeeperMode, Runtime, Scratch, waiter};
use crate::stack::{Host, SockId};
use crate::sys::process::{Signals, block_signals, set_mask};
use crate::sys::{self, Errno, bell, syscall};
use crate::time::{Duration, Instant};
use core::sync::atomic::Ordering;

/// How a blocking call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken<R> {
    /// The attempt gave this.
    Ready(R),
    /// The time limit passed.
    TimedOut,
    /// A signal is due that has a handler. See [`Runtime::block_masked`].
    Interrupted {
        /// It has SA_RESTART; or the process was stopped ([`Wait::stops`]).
        restart: bool,
    },
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
    /// A process that was stopped and continues ends the wait, as a signal with SA_RESTART does:
    /// that of sockets and epoll, not of poll and select.
    pub stops: bool,
}

/// Descriptors of the library's own in the set that is polled.
const OWN_FDS: usize = 4;
/// Descriptors that fit without the heap.
const FEW: usize = 32;

impl Runtime {
    /// Call `attempt` under the lock until it gives something: at once, and whenever one of the
    /// sockets has an event or one of the descriptors is ready (their `revents` are given to
    /// it). Signals and the time limit end it too.
    pub fn block<R>(
        &self,
        wait: Wait<'_>,
        attempt: impl FnMut(&mut Host<'_>, &[libc::pollfd]) -> Option<R>,
    ) -> Woken<R> {
        let restore = block_signals();
        let woken = self.block_masked(wait, restore, attempt);
        set_mask(restore);
        woken
    }

    /// [`Runtime::block`] for a thread that has blocked all signals, and whose mask is else
    /// `mask`. No handler runs in here: if one is due the call is over ([`Woken::Interrupted`]),
    /// and it runs when the caller sets the mask. A handler may never return (siglongjmp), so
    /// the call lets go of all that it holds before.
    pub fn block_masked<R>(
        &self,
        wait: Wait<'_>,
        mask: Signals,
        mut attempt: impl FnMut(&mut Host<'_>, &[libc::pollfd]) -> Option<R>,
    ) -> Woken<R> {
        let Wait {
            sockets,
            fds,
            timeout,
            sigmask,
            stops,
        } = wait;
        let blocked = sigmask.map_or(mask, Signals);
        if !fds.is_empty() {
            poll_now(fds);
        }
        let first = attempt(&mut self.enter_masked(None), fds);
        if let Some(r) = first {
            return Woken::Ready(r);
        }
        if timeout != Some(Duration::ZERO) {
            let end = timeout.map_or(Instant::NEVER, |t| sys::now() + t);
            return self.sleep_until(sockets, fds, end, (blocked, stops), &mut attempt);
        }
        // A mask lets signals through even where there is no waiting.
        if sigmask.is_some()
            && let Some(restart) = signals::pass(blocked, false)
        {
            return Woken::Interrupted { restart };
        }
        Woken::TimedOut
    }

    fn sleep_until<R>(
        &self,
        sockets: &[SockId],
        fds: &mut [libc::pollfd],
        end: Instant,
        (blocked, stops): (Signals, bool),
        attempt: &mut impl FnMut(&mut Host<'_>, &[libc::pollfd]) -> Option<R>,
    ) -> Woken<R> {
        // Without a waiter (the table is full) or a signalfd the thread looks again every
        // millisecond: slow, but right.
        let waiter = waiter::obtain(self);
        let watch = Watch::over(blocked);
        let signal_fd = watch.fd();
        let id = waiter.map_or(0, |w| w.0);
        let mut registered = false;
        let mut keeper = self.keeper_fd();
        loop {
            let (device_deadline, has_device) = {
                let mut s = self.enter_masked(None);
                waiter::give_back(&mut s);
                if !registered && id != 0 {
                    for socket in sockets {
                        s.wait_on(*socket, id);
                    }
                    registered = true;
                }
                s.heard(id);
                if !fds.is_empty() && id != 0 {
                    s.sleeps(id, false);
                }
                if let Some(r) = attempt(&mut s, fds) {
                    leave(&mut s, sockets, id);
                    break Woken::Ready(r);
                }
                if s.sh.pace.real(s.now) >= end {
                    leave(&mut s, sockets, id);
                    break Woken::TimedOut;
                }
                if !fds.is_empty() && id != 0 {
                    s.sleeps(id, true);
                }
                (self.take_the_wheel(&s, id), s.sh.config.has_device)
            };
            let driving = device_deadline.is_some();
            let mut until = end.min(device_deadline.unwrap_or(Instant::NEVER));
            if waiter.is_none() || signal_fd.is_none() {
                until = until.min(sys::now() + Duration::from_millis(1));
            }
            // A device that was removed would report an error for ever.
            let tun = self.tun_fd.filter(|_| driving && has_device);
            let own = [
                (waiter.map_or(-1, |w| w.1), libc::POLLIN),
                (signal_fd.unwrap_or(-1), libc::POLLIN),
                (tun.unwrap_or(-1), libc::POLLIN),
                // Hanging up is told unasked.
                (keeper, 0),
            ];
            let rang = poll_all(own, fds, until);
            if driving {
                self.leave_the_wheel();
            }
            if rang[3] {
                keeper = self.keeper_died(keeper);
            }
            if let Some((_, bell)) = waiter
                && rang[0]
            {
                bell::silence(bell);
            }
            if !rang[1] && signal_fd.is_some() {
                continue;
            }
            let Some(restart) = signals::pass(blocked, stops) else {
                continue;
            };
            let mut s = self.enter_masked(None);
            let last = attempt(&mut s, fds);
            if !fds.is_empty() && id != 0 {
                s.sleeps(id, false);
            }
            leave(&mut s, sockets, id);
            break last.map_or(Woken::Interrupted { restart }, Woken::Ready);
        }
    }

    /// Become the driver if nobody is; gives the deadline of the next timer then.
    fn take_the_wheel(&self, host: &Host<'_>, id: u16) -> Option<Instant> {
        let open = self.open();
        let taken = id != 0
            && open
                .driver
                .compare_exchange(
                    u32::from(KEEPER),
                    u32::from(id),
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok();
        if !taken {
            return None;
        }
        open.driver_changes.fetch_add(1, Ordering::Relaxed);
        // A keeper that sleeps at the device shall leave it to us; and its deadline, which we
        // overwrite, must not be what it goes on sleeping for.
        let stepped_back = open.keeper_mode.compare_exchange(
            KeeperMode::Driving as u32,
            KeeperMode::Shallow as u32,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if stepped_back.is_ok() {
            self.ring(KEEPER);
        }
        let deadline = host.next_wakeup();
        open.sleeper_deadline.store(deadline.0, Ordering::Relaxed);
        Some(deadline)
    }

    fn leave_the_wheel(&self) {
        let open = self.open();
        open.sleeper_deadline.store(0, Ordering::Relaxed);
        // SeqCst: the keeper says that it is going to sleep before it looks for a driver the
        // last time, so one of us sees the other.
        open.driver.store(u32::from(KEEPER), Ordering::SeqCst);
        // A keeper that sleeps deeply would not notice that nobody drives.
        let deep = KeeperMode::Deep as u32;
        if open.keeper_mode.load(Ordering::SeqCst) == deep
            && open
                .keeper_mode
                .compare_exchange(
                    deep,
                    KeeperMode::Shallow as u32,
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                )
                .is_ok()
        {
            self.ring(KEEPER);
        }
    }
}

/// Waiter `id` waits for the sockets no longer.
fn leave(host: &mut Host<'_>, sockets: &[SockId], id: u16) {
    for socket in sockets {
        host.unwait(*socket, id);
    }
}

/// See what is ready now.
fn poll_now(fds: &mut [libc::pollfd]) {
    let _ = poll_raw(fds, Some(Duration::ZERO));
}

/// Poll the library's own descriptors and the program's until `until`; tells which of the own
/// ones are ready.
fn poll_all(
    own: [(i32, i16); OWN_FDS],
    fds: &mut [libc::pollfd],
    until: Instant,
) -> [bool; OWN_FDS] {
    let entry = |(fd, events)| libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let mut own = own.map(entry);
    let left = |until: Instant| (until != Instant::NEVER).then(|| until.since(sys::now()));
    let together = Scratch::<_, { OWN_FDS + FEW }>::new(OWN_FDS + fds.len()).and_then(|mut set| {
        own.iter().chain(fds.iter()).for_each(|f| set.push(*f));
        poll_raw(&mut set, left(until))?;
        let (ours, theirs) = set.split_at(OWN_FDS);
        own.copy_from_slice(ours);
        fds.copy_from_slice(theirs);
        Ok(())
    });
    if together.is_err() {
        // No memory; or the program's alone are as many as RLIMIT_NOFILE lets poll take. Look at
        // them every millisecond: slow, but right.
        let soon = until.min(sys::now() + Duration::from_millis(1));
        if poll_raw(&mut own, left(soon)).is_err() {
            // Ours are too many already: sleep over none, and look whether a signal is due.
            let _ = poll_raw(&mut [], left(soon));
            own[1].revents = libc::POLLIN;
        }
        poll_now(fds);
    }
    own.map(|f| f.revents != 0)
}

/// ppoll(2); when it fails nothing is ready.
fn poll_raw(fds: &mut [libc::pollfd], limit: Option<Duration>) -> sys::Result<()> {
    let mut limit = limit.map(|left| libc::timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    // The kernel writes the time left back.
    let limit = limit
        .as_mut()
        .map_or(core::ptr::null_mut(), core::ptr::from_mut);
    // SAFETY: the array and the time are valid for the call; no signal mask is given.
    let got = unsafe {
        syscall(
            libc::SYS_ppoll,
            [
                fds.as_mut_ptr() as usize,
                fds.len(),
                limit as usize,
                0,
                0,
                0,
            ],
        )
    };
    if got.is_err() {
        for fd in fds {
            fd.revents = 0;
        }
    }
    match got {
        // Only SIGSTOP can be what interrupted it.
        Err(Errno(libc::EINTR)) => Ok(()),
        other => other.map(drop),
    }
}
