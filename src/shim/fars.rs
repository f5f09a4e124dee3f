//! The far ends that this process keeps beside the keeper.
//!
//! A program that uses epoll has them for its own sockets (any other for a few), so that the thread that runs the
//! stack also makes the descriptors show what happened, and a thread waiting in epoll is woken
//! with no other process in between. Everything here happens under the stack's lock: a far end
//! must not be closed while another thread raises it. A child of fork keeps none of its parent's:
//! an error is shown when the last holder closes.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use utcp_stack::keeper::mirror;
use utcp_stack::runtime::{Runtime, Session, high, own};
use utcp_stack::stack::{Host, Ready, SockId, Socket};
use utcp_stack::sys::io::dup_from;
use utcp_stack::sys::{self, Fd, process, unix};

/// Places; a socket has the one that its index falls on.
const PLACES: usize = 4096;
/// Of the descriptors a program may have, these are the library's at the most.
const SHARE: usize = 4;
/// So many are kept even before it is known whether the program uses epoll.
const FEW: usize = 32;
/// Descriptors to raise before the lock is given back.
const AT_ONCE: u32 = 64;

/// At a place: the socket's generation in the upper half, the descriptor below; 0: none.
static FARS: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
static HELD: AtomicUsize = AtomicUsize::new(0);
static WANTED: AtomicBool = AtomicBool::new(false);

/// The program uses epoll.
pub fn wanted() {
    WANTED.store(true, Ordering::Relaxed);
}

fn place(id: SockId) -> &'static AtomicU64 {
    &FARS[id.index as usize % PLACES]
}

/// Keep the far end of a socket's descriptor, if the program has descriptors to spare.
pub fn keep(host: &mut Host<'_>, id: SockId, far: Fd) {
    let most = if WANTED.load(Ordering::Relaxed) {
        PLACES
    } else {
        FEW
    };
    let spare = process::limit(libc::RLIMIT_NOFILE).map_or(0, |l| l.soft as usize / SHARE);
    if HELD.load(Ordering::Relaxed) >= most.min(spare) {
        return;
    }
    let Ok(far) = high(far) else { return };
    let packed = u64::from(id.generation) << 32 | far.into_raw() as u64;
    drop_packed(place(id).swap(packed, Ordering::Relaxed));
    HELD.fetch_add(1, Ordering::Relaxed);
    host.set_watcher(id, host.pid);
}

/// The socket's descriptor is closed, or an error is to be shown.
pub fn forget(_: &mut Host<'_>, id: SockId) {
    if of(id).is_some() {
        drop_packed(place(id).swap(0, Ordering::Relaxed));
    }
}

/// How many copies are made under one hold of the lock.
const PORTION: usize = 32;

/// Copies of the next far ends kept here, from place `from` on, for a new keeper. `None` when
/// there are no more.
pub fn copies(runtime: &Runtime, from: &mut usize) -> Option<[Option<(SockId, Fd)>; PORTION]> {
    let mut portion = [const { None }; PORTION];
    let mut count = 0;
    if HELD.load(Ordering::Relaxed) == 0 || *from >= PLACES {
        return None;
    }
    let host = runtime.enter();
    while let Some(place) = FARS.get(*from)
        && let Some(copy) = portion.get_mut(count)
    {
        let packed = place.load(Ordering::Relaxed);
        if packed != 0
            && let Some(id) = whose(&host, *from, packed)
            && let Ok(far) = dup_from(packed as u32 as i32, 3)
        {
            *copy = Some((id, far));
            count += 1;
        }
        *from += 1;
    }
    (count > 0).then_some(portion)
}

/// The socket whose far end is at `place`: its index falls there, and the near end has its name.
fn whose(host: &Session<'_>, place: usize, packed: u64) -> Option<SockId> {
    let near = unix::peer_name(packed as u32 as i32).ok()?;
    let generation = (packed >> 32) as u32;
    (place as u32..=host.sh.sockets.high_water())
        .step_by(PLACES)
        .map(|index| SockId { index, generation })
        .find(|id| host.socket(*id).is_ok() && host.runtime().socket_name(id.number()) == near)
}

/// The program needs the descriptors.
pub fn forget_all(_: &mut Host<'_>) -> bool {
    let any = HELD.load(Ordering::Relaxed) > 0;
    drop_all();
    any
}

/// This is a child of fork, with one thread.
pub fn in_fork_child() {
    if HELD.load(Ordering::Relaxed) > 0 {
        drop_all();
    }
}

fn drop_all() {
    for place in &FARS {
        drop_packed(place.swap(0, Ordering::Relaxed));
    }
}

fn drop_packed(packed: u64) {
    if packed != 0 {
        let fd = packed as u32 as i32;
        own::remove(fd);
        let _ = sys::close(fd);
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

fn of(id: SockId) -> Option<i32> {
    let packed = place(id).load(Ordering::Relaxed);
    (packed != 0 && (packed >> 32) as u32 == id.generation).then_some(packed as u32 as i32)
}

/// Raise the readiness of what is kept here; the rest stays for the keeper.
pub fn raise(host: &mut Host<'_>) {
    let mut left = host.sh.mirror_len.min(AT_ONCE);
    let pid = host.pid;
    // An error that we hold back is ours to let go of, whether the far end is still here or not.
    let mine = |id, s: &Socket| of(id).is_some() || s.watcher == pid && s.error_is_held();
    while let Some((id, old, new)) = host.next_mirror_of(&mut left, mine) {
        let error = new.has(Ready::ERR) && !old.has(Ready::ERR);
        match of(id) {
            Some(far) if !error => {
                let _ = mirror::raise(far, old, new);
            }
            // Shown by the last holder of the far end that closes it, the keeper, and all at
            // once: who waits must not see a part of it.
            _ => {
                forget(host, id);
                host.set_watcher(id, 0);
                host.unmirror(id, old, new);
            }
        }
    }
}
