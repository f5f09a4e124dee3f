//! Which descriptors the keeper has to make show more than they do.

use super::far::Fars;
use super::mirror;
use crate::stack::{Host, Ready, SockId, Socket};

/// Descriptors to mirror in one turn.
const AT_ONCE: usize = 64;
/// Far ends that can be awaited, or be about to be closed.
const ROOM: usize = 1024;

/// What could not be done at once.
#[derive(Debug)]
pub struct Mirrors {
    /// To be raised once the far end has come: its message may still be on the way.
    deferred: Vec<(SockId, Ready)>,
    /// Far ends to be closed, which is how an error is shown.
    to_drop: Vec<i32>,
}

impl Mirrors {
    /// None; with room, as nothing is to be allocated under the stack's lock.
    pub fn new() -> Mirrors {
        Mirrors {
            deferred: Vec::with_capacity(ROOM),
            to_drop: Vec::with_capacity(ROOM),
        }
    }

    /// Raise what waited for its far end.
    pub fn deferred(&mut self, host: &mut Host<'_>, fars: &mut Fars) {
        let Mirrors { deferred, to_drop } = self;
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
            let mine = |id, s: &Socket| s.watcher == 0 || fars.has(id);
            let Some((id, old, new)) = host.next_mirror_of(&mut left, mine) else {
                return false;
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
