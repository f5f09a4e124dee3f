//! Which descriptors are sockets of the stack.
//!
//! The table is a cache: the truth is the descriptor itself. The near end of each of our
//! sockets is bound to a name that tells the stack's nonce and the socket
//! ([`utcp_stack::runtime::Runtime::socket_name`]), so a descriptor that came by exec, in a message,
//! or from a call that libc made internally is recognised when it is first used. A number
//! that was closed behind our back and given to something else shows by a handle that is stale
//! ([`crate::dispatch`]).
//!
//! Nothing here locks or allocates heap memory: signal handlers come here.

use crate::{jumps, process};
use core::ffi::c_int;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use utcp_stack::stack::SockId;
use utcp_stack::sys::{memory, unix};

/// What is known of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing yet.
    Unknown,
    /// The kernel's.
    Other,
    /// The kernel's: an epoll set that one of our sockets was added to.
    Set,
    /// A socket of the stack.
    Ours(SockId),
}

const UNKNOWN: u64 = 0;
const OTHER: u64 = 1;
const SET: u64 = 2;

impl Entry {
    fn from_raw(raw: u64) -> Entry {
        match raw {
            UNKNOWN => Entry::Unknown,
            OTHER => Entry::Other,
            SET => Entry::Set,
            n => Entry::Ours(SockId::from_number(n)),
        }
    }
    fn raw(self) -> u64 {
        match self {
            Entry::Unknown => UNKNOWN,
            Entry::Other => OTHER,
            Entry::Set => SET,
            // Index and generation are never 0, so this is above the others.
            Entry::Ours(id) => id.number(),
        }
    }
}

/// Descriptors that most programs never get past have their places in the library's own
/// zeroed memory; the others' are mapped when first needed.
const FIRST: usize = 1024;
const PART: usize = 1 << 14;
const PARTS: usize = 1 << 10;

static LOW: [AtomicU64; FIRST] = [const { AtomicU64::new(UNKNOWN) }; FIRST];
static HIGH: [AtomicPtr<AtomicU64>; PARTS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; PARTS];

/// The place of `fd`; `None` for numbers that aren't kept (and, unless `make`, for those whose
/// part of the table isn't there yet).
fn place(fd: c_int, make: bool) -> Option<&'static AtomicU64> {
    let fd = usize::try_from(fd).ok()?;
    if let Some(place) = LOW.get(fd) {
        return Some(place);
    }
    let part = HIGH.get(fd / PART)?;
    let mut at = part.load(Ordering::Acquire);
    if at.is_null() {
        if !make {
            return None;
        }
        at = new_part(part)?;
    }
    // SAFETY: a part is a mapping of PART places that is never unmapped.
    Some(unsafe { &*at.add(fd % PART) })
}

#[cold]
fn new_part(part: &AtomicPtr<AtomicU64>) -> Option<*mut AtomicU64> {
    let len = PART * size_of::<AtomicU64>();
    let new = memory::map(None, len).ok()?;
    let made = part.compare_exchange(
        core::ptr::null_mut(),
        new.as_ptr().cast(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    Some(match made {
        Ok(_) => new.as_ptr().cast(),
        Err(other) => {
            // SAFETY: mapped above, and nobody has seen it.
            unsafe { memory::unmap(new, len) };
            other
        }
    })
}

/// What is known of `fd`, without looking at it.
pub fn known(fd: c_int) -> Entry {
    place(fd, false).map_or(Entry::Unknown, |p| {
        Entry::from_raw(p.load(Ordering::Acquire))
    })
}

/// The socket behind `fd`, if it is the stack's.
#[inline]
pub fn ours(fd: c_int) -> Option<SockId> {
    match look(fd) {
        Entry::Ours(id) => Some(id),
        _ => None,
    }
}

/// What `fd` is: from the table, or by looking at it.
#[inline]
pub fn look(fd: c_int) -> Entry {
    match known(fd) {
        Entry::Unknown => look_closely(fd),
        // A child of vfork shares this table, but its descriptors are its own.
        _ if process::in_vfork_child() => look_closely(fd),
        entry => entry,
    }
}

#[cold]
fn look_closely(fd: c_int) -> Entry {
    let entry = match identify(fd) {
        Identity::Closed => return Entry::Unknown,
        Identity::Other => Entry::Other,
        Identity::Ours(id) => Entry::Ours(id),
    };
    set(fd, entry);
    entry
}

/// Write down what `fd` is from now on.
pub fn set(fd: c_int, entry: Entry) {
    if process::in_vfork_child() {
        return;
    }
    if let Some(place) = place(fd, entry != Entry::Unknown) {
        place.store(entry.raw(), Ordering::Release);
    }
    if (0..=2).contains(&fd) && matches!(entry, Entry::Ours(_)) {
        // What is printed goes to the socket from now on.
        jumps::ensure();
    }
}

/// At start: a program that was given a socket as its standard input or output may use it by
/// stdio alone, which nothing here would see.
pub fn look_at_standard_descriptors() {
    for fd in 0..=2 {
        if unix::local_name(fd).is_ok_and(|name| parse(&name).is_some()) {
            jumps::ensure();
        }
    }
}

/// A call gave the descriptor `fd` (or failed), and it is the kernel's. Gives it back.
pub fn set_other(fd: c_int) -> c_int {
    if fd >= 0 {
        set(fd, Entry::Other);
    }
    fd
}

/// `fd` is closed, or may be something else now.
pub fn forget(fd: c_int) {
    set(fd, Entry::Unknown);
}

/// `fd` is to be forgotten, unless it is something else than `id` by now (another thread may
/// have closed it and made a new one).
pub fn forget_socket(fd: c_int, id: SockId) {
    if process::in_vfork_child() {
        return;
    }
    if let Some(place) = place(fd, false) {
        let _ = place.compare_exchange(id.number(), UNKNOWN, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// `to` refers to what `from` refers to.
pub fn copy(from: c_int, to: c_int) {
    set(to, known(from));
}

/// Call `f` for each socket of the stack from descriptor `first` to `last`.
pub fn each_ours(first: u32, last: u32, mut f: impl FnMut(c_int, SockId)) {
    each(first, last, |fd, place| {
        if let Entry::Ours(id) = Entry::from_raw(place.load(Ordering::Acquire)) {
            f(fd, id);
        }
    });
}

/// Forget the descriptors from `first` to `last`.
pub fn forget_range(first: u32, last: u32) {
    if !process::in_vfork_child() {
        each(first, last, |_, place| {
            if place.load(Ordering::Relaxed) != UNKNOWN {
                place.store(UNKNOWN, Ordering::Release);
            }
        });
    }
}

fn each(first: u32, last: u32, mut f: impl FnMut(c_int, &AtomicU64)) {
    let last = (last as usize).min(PARTS * PART - 1);
    let mut fd = first as usize;
    while fd <= last {
        if fd >= FIRST && HIGH[fd / PART].load(Ordering::Acquire).is_null() {
            // Nothing is known of this part.
            fd = (fd / PART + 1) * PART;
            continue;
        }
        if let Some(place) = place(fd as c_int, false) {
            f(fd as c_int, place);
        }
        fd += 1;
    }
}

/// What a descriptor turned out to be.
enum Identity {
    Closed,
    Other,
    Ours(SockId),
}

/// Look at the descriptor's name.
fn identify(fd: c_int) -> Identity {
    match unix::local_name(fd) {
        Err(e) if e.0 == libc::EBADF => Identity::Closed,
        Err(_) => Identity::Other,
        Ok(name) => match parse(&name) {
            Some(id) if process::belongs(&name, id) => Identity::Ours(id),
            _ => Identity::Other,
        },
    }
}

/// The socket in a name like `utcp/NONCE/NUMBER`. Whether the nonce is right is for
/// [`process::belongs`] to say.
fn parse(name: &unix::Name) -> Option<SockId> {
    let mut bytes = name.bytes();
    if !b"utcp/".iter().all(|b| bytes.next() == Some(*b)) {
        return None;
    }
    for byte in bytes.by_ref().take_while(|b| *b != b'/') {
        hex(byte)?;
    }
    let mut number: u64 = 0;
    for byte in bytes {
        number = number << 4 | u64::from(hex(byte)?);
    }
    let id = SockId::from_number(number);
    (id.index != 0 && id.generation != 0).then_some(id)
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
