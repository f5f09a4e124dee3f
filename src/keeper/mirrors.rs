//! Which descriptors the keeper has to make show more than they do.

use super::far::Fars;
use super::mirror;
use super::sweep::has_ended;
use crate::stack::{Host, Ready, SockId, Socket};
use crate::sys::unix;
use crate::time::{Duration, Instant};

/// Descriptors to mirror in one turn.
const AT_ONCE: usize = 64;
/// Far ends that can be awaited, or be about to be closed.
const ROOM: usize = 1024;
/// How long a program may take to let go of an error's far end.
const LET_GO: Duration = Duration::from_millis(10);

/// What could not be done at once.
#[derive(Debug)]
pub struct Mirrors {
    /// To be raised once the far end has come: its message may still be on the way.
    deferred: Vec<(SockId, Ready)>,
    /// Far ends to be closed, which is how an error is shown.
    to_drop: Vec<i32>,
    /// Errors that another process has to let go of first.
    held: Vec<Held>,
}

/// An error that a process has not let go of.
#[derive(Debug)]
struct Held {
    id: SockId,
    watcher: u32,
    since: Instant,
    /// That process is dead.
    ended: bool,
}

impl Mirrors {
    /// None; with room, as nothing is to be allocated under the stack's lock.
    pub fn new() -> Mirrors {
        Mirrors {
            deferred: Vec::with_capacity(ROOM),
            to_drop: Vec::with_capacity(ROOM),
            held: Vec::with_capacity(ROOM),
        }
    }

    /// Before the lock is taken: see who has let go of nothing because it is dead.
    pub fn look_after(&mut self, now: Instant) {
        for held in &mut self.held {
            held.ended = now.since(held.since) >= LET_GO && has_ended(held.watcher);
        }
    }

    /// Raise what waited for its far end.
    pub fn deferred(&mut self, host: &mut Host<'_>, fars: &mut Fars) {
        let Mirrors {
            deferred, to_drop, ..
        } = self;
        deferred.retain(|&(id, bits)| {
            let Ok(socket) = host.socket(id) else {
                return false;
            };
            // What a program has lowered meanwhile is not to be shown.
            let wanted = Ready(bits.0 & socket.mirrored.0);
            !fars.has(id) || !raise(fars, to_drop, id, Ready(0), wanted)
        });
    }

    /// Raise what the stack asks for; true when there is more.
    pub fn queued(&mut self, host: &mut Host<'_>, fars: &mut Fars) -> bool {
        let mut left = host.sh.mirror_len;
        for _ in 0..AT_ONCE {
            // What a program holds and we don't, since the keeper before us died, is for it.
            // So is an error: closed by us first, it would show when the program happens to close.
            let mine = |id, s: &Socket| (s.watcher == 0 || fars.has(id)) && !s.error_is_held();
            let Some((id, old, new)) = host.next_mirror_of(&mut left, mine) else {
                return self.held(host, fars);
            };
            let over = old.has(Ready::ERR);
            if !over && !raise(fars, &mut self.to_drop, id, old, new) {
                if self.deferred.len() == ROOM {
                    self.deferred.swap_remove(0);
                }
                self.deferred.push((id, Ready(new.0 & !old.0)));
            }
        }
        true
    }

    /// Errors that programs have not let go of: they were rung, and do it at once if they can.
    /// True while one is still given its time.
    fn held(&mut self, host: &mut Host<'_>, fars: &mut Fars) -> bool {
        let Mirrors { to_drop, held, .. } = self;
        let mut found = [(SockId::default(), 0); AT_ONCE];
        let mut count = 0;
        for (place, error) in found.iter_mut().zip(host.errors_held()) {
            *place = error;
            count += 1;
        }
        let found = found.get(..count).unwrap_or_default();
        held.retain(|h| found.contains(&(h.id, h.watcher)));
        let mut more = false;
        let now = host.sh.pace.real(host.now);
        for &(id, watcher) in found {
            let Some(known) = held.iter().find(|h| h.id == id) else {
                if held.len() < ROOM {
                    held.push(Held {
                        id,
                        watcher,
                        since: now,
                        ended: false,
                    });
                }
                more = true;
                continue;
            };
            if now.since(known.since) < LET_GO {
                more = true;
            } else if known.ended {
                host.set_watcher(id, 0);
                more = true;
            } else if let Some(far) = fars.of(id) {
                // It runs, or waits by other means than ours: those see all but the error.
                let _ = unix::shutdown(far.fd.raw(), libc::SHUT_RDWR);
                if to_drop.len() < ROOM {
                    to_drop.push(far.fd.raw());
                }
            }
        }
        more
    }

    /// The descriptor of a far end that is to be closed.
    pub fn next_to_drop(&mut self) -> Option<i32> {
        self.to_drop.pop()
    }
}

/// False when there is no far end.
fn raise(fars: &mut Fars, to_drop: &mut Vec<i32>, id: SockId, old: Ready, new: Ready) -> bool {
    let Some(far) = fars.of(id) else {
        return false;
    };
    let fd = far.fd.raw();
    // An end that can't be mirrored to is one whose near end is gone; its event comes.
    if mirror::raise(fd, old, new).is_ok_and(|left| left.close) && to_drop.len() < ROOM {
        to_drop.push(fd);
    }
    true
}
