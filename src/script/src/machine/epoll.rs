//! epoll on a [`Machine`]: level, edge and one-shot.

use super::{Descriptor, Machine};
use std::collections::BTreeMap;

/// What an epoll descriptor watches.
#[derive(Default)]
pub(super) struct Interest(BTreeMap<i32, Watch>);

struct Watch {
    events: u32,
    data: u64,
    /// Edge: what was reported already, and how much had come by then.
    seen: u32,
    came: u32,
    /// One-shot: it was reported.
    off: bool,
}

const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

impl Machine {
    pub(super) fn epoll_ctl(
        &mut self,
        epoll: i32,
        op: i32,
        fd: i32,
        events: u32,
        data: u64,
    ) -> Result<(), i32> {
        if !self.descriptors.contains_key(&fd) {
            return Err(libc::EBADF);
        }
        let Some(Descriptor::Epoll(Interest(watched))) = self.descriptors.get_mut(&epoll) else {
            return Err(libc::EINVAL);
        };
        let watch = Watch {
            events,
            data,
            seen: 0,
            came: 0,
            off: false,
        };
        match (op, watched.contains_key(&fd)) {
            (libc::EPOLL_CTL_ADD, false) | (libc::EPOLL_CTL_MOD, true) => {
                watched.insert(fd, watch);
            }
            (libc::EPOLL_CTL_DEL, true) => {
                watched.remove(&fd);
            }
            (libc::EPOLL_CTL_ADD, true) => return Err(libc::EEXIST),
            (libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, false) => return Err(libc::ENOENT),
            _ => return Err(libc::EINVAL),
        }
        Ok(())
    }

    pub(super) fn epoll_ready(&mut self, epoll: i32, most: usize) -> Result<Vec<(u32, u64)>, i32> {
        let Some(Descriptor::Epoll(interest)) = self.descriptors.get_mut(&epoll) else {
            return Err(libc::EINVAL);
        };
        let mut watched = core::mem::take(&mut interest.0);
        let mut ready = Vec::new();
        for (fd, w) in &mut watched {
            let now = self.readiness(*fd).unwrap_or(0) & (w.events | ALWAYS);
            // An edge: something that was not so when it was last looked at.
            let edge = w.events & libc::EPOLLET as u32 != 0;
            let came = self.came(*fd);
            let fresh = now & !w.seen != 0 || came != w.came;
            let new = if edge && !fresh { 0 } else { now };
            (w.seen, w.came) = (now, came);
            if w.off || new == 0 || ready.len() == most {
                continue;
            }
            ready.push((now, w.data));
            w.off = w.events & libc::EPOLLONESHOT as u32 != 0;
        }
        if let Some(Descriptor::Epoll(interest)) = self.descriptors.get_mut(&epoll) {
            interest.0 = watched;
        }
        Ok(ready)
    }

    /// Changes whenever something comes for the socket.
    fn came(&mut self, fd: i32) -> u32 {
        match self.descriptors.get(&fd) {
            Some(&Descriptor::Socket { id, .. }) => self.with(|h| {
                h.socket(id).map_or(0, |s| {
                    let came = s.tcb.rcv_nxt().0.wrapping_add(s.accept_len);
                    came.wrapping_add(s.errors.came)
                })
            }),
            _ => 0,
        }
    }

    pub(super) fn forget_in_epolls(&mut self, fd: i32) {
        for d in self.descriptors.values_mut() {
            if let Descriptor::Epoll(interest) = d {
                interest.0.remove(&fd);
            }
        }
    }
}
