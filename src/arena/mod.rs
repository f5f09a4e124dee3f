//! Shared memory: one arena holds all of a stack's state, and every process maps it.
//!
//! An [`Arena`] is a header page followed by a `T`. What is in `T` is plain data: indices
//! instead of pointers (each process maps the arena where it likes), no `Box`, no closure, no
//! vtable, and all-zero bytes are a valid value, so a new arena needs no initialisation and
//! its untouched parts cost no memory.
//!
//! One lock guards `T`. It is robust (`mutex.rs`): when its owner dies, the next one in learns of
//! it from [`Guard::recovered`] and mends `T` first.

mod mutex;
pub mod pool;
#[cfg(test)]
mod tests;

pub use pool::{Plain, Pool};

use crate::sys::{Errno, Fd, memory};
use crate::time::Instant;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use mutex::Mutex;

/// What may live in an arena.
///
/// # Safety
/// All-zero bytes must be a valid value, and so must whatever another process running the same
/// layout left there: plain data without pointers, references, file descriptors or anything
/// else that means something in one process only. It must not need `Drop`.
pub unsafe trait Root: Sized {
    /// Changes whenever the layout or the meaning of a field does.
    const LAYOUT: u64;
}

/// Why an arena could not be made or used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArenaError {
    /// The system call named said this.
    System(&'static str, Errno),
    /// The file isn't an arena at all.
    NotAnArena,
    /// Made by another version of utcp: the arena's version and ours.
    Version(u32, u32),
    /// Made by the same version with another layout of its data (a different build).
    Layout,
    /// The arena's size, or its page size, isn't what its layout says.
    Size,
    /// The arena's file could change its size under our feet.
    NotSealed,
}

impl core::fmt::Display for ArenaError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            ArenaError::System(call, e) => write!(f, "the stack's memory: {call}: {e}"),
            ArenaError::NotAnArena => write!(f, "what the keeper handed over is no stack"),
            ArenaError::Version(theirs, ours) => write!(
                f,
                "the running stack is of utcp's format {theirs}, this is format {ours}: \
                 end the programs that use it, or choose another stack with UTCP_STACK=NAME"
            ),
            ArenaError::Layout => write!(
                f,
                "the running stack was made by another build of utcp: \
                 end the programs that use it, or choose another stack with UTCP_STACK=NAME"
            ),
            ArenaError::Size => write!(f, "the running stack's memory has an unexpected size"),
            ArenaError::NotSealed => write!(f, "the running stack's memory is not sealed"),
        }
    }
}

impl std::error::Error for ArenaError {}

/// "utcparen", little-endian.
const MAGIC: u64 = u64::from_le_bytes(*b"utcparen");
/// The format of the header itself.
const VERSION: u32 = 1;
/// Where `T` starts. A multiple of any page size in use on the machines we run on.
const OFFSET: usize = 4096;

/// The first page.
#[repr(C)]
struct Header {
    magic: u64,
    version: u32,
    offset: u32,
    layout: u64,
    /// Of the whole arena, header included.
    size: u64,
    /// One who held the lock died or panicked, and nobody has mended `T` since.
    dirty: AtomicU32,
    /// The lock has a cache line of its own: waiters spin on it.
    mutex: Line<Mutex>,
}

#[repr(C, align(64))]
struct Line<T>(T);

/// Shared memory that holds a `T` behind a robust lock. Unmapped on drop.
pub struct Arena<T: Root> {
    header: NonNull<Header>,
    owns: PhantomData<T>,
}

// SAFETY: all access to T goes through the lock (or through `as_ptr`, whose users answer for
// it), and a mapping belongs to no thread.
unsafe impl<T: Root> Send for Arena<T> {}
// SAFETY: as above.
unsafe impl<T: Root> Sync for Arena<T> {}

impl<T: Root> Arena<T> {
    const SIZE: usize = {
        assert!(align_of::<T>() <= OFFSET);
        assert!(size_of::<Header>() <= OFFSET);
        (OFFSET + size_of::<T>() + 4095) & !4095
    };

    /// Make a new arena, all zero, in a sealed memfd. `name` is shown in `/proc/PID/maps`.
    pub fn create(name: &str) -> Result<(Arena<T>, Fd), ArenaError> {
        let fd = memory::memfd_create(name).map_err(|e| ArenaError::System("memfd_create", e))?;
        memory::ftruncate(&fd, Self::SIZE).map_err(|e| ArenaError::System("ftruncate", e))?;
        memory::seal_size(&fd).map_err(|e| ArenaError::System("F_ADD_SEALS", e))?;
        let arena = Self::map(Some(&fd))?;
        arena.initialise()?;
        Ok((arena, fd))
    }

    /// Map an arena that another process made.
    pub fn attach(fd: &Fd) -> Result<Arena<T>, ArenaError> {
        let size = memory::file_size(fd).map_err(|e| ArenaError::System("fstat", e))?;
        if size < OFFSET as u64 {
            return Err(ArenaError::NotAnArena);
        }
        if !memory::size_is_sealed(fd) {
            return Err(ArenaError::NotSealed);
        }
        // The header says why an arena does not fit better than its size can.
        check(fd, size, T::LAYOUT, Self::SIZE as u64)?;
        Self::map(Some(fd))
    }

    /// An arena in this process's own memory, for tests and simulations.
    pub fn private() -> Result<Arena<T>, ArenaError> {
        let arena = Self::map(None)?;
        arena.initialise()?;
        Ok(arena)
    }

    /// Wait for the lock and take it.
    ///
    /// A waiter waits for as long as the owner lives: one that is stopped (SIGSTOP, a
    /// debugger) stalls the others, and [`Arena::holder`] tells who it is. A thread that
    /// holds the lock must not ask for it again, signal handlers included.
    pub fn lock(&self) -> Guard<'_, T> {
        self.guard(self.header().mutex.0.lock())
    }

    /// Wait for the lock until `end` at most: for those who have other duties.
    pub fn lock_until(&self, end: Instant) -> Option<Guard<'_, T>> {
        let got = self.header().mutex.0.lock_until(end)?;
        Some(self.guard(got))
    }

    /// The lock has been got in this way.
    fn guard(&self, got: mutex::Locked) -> Guard<'_, T> {
        let header = self.header();
        if got == mutex::Locked::OwnerDied {
            // In this order: whoever dies between the two leaves the mutex as it was found.
            header.dirty.store(1, Ordering::Relaxed);
            header.mutex.0.make_consistent();
        }
        Guard {
            recovered: header.dirty.load(Ordering::Relaxed) != 0,
            arena: self,
            stays_in_its_thread: PhantomData,
        }
    }

    /// The thread that holds the lock now, for diagnosis.
    pub fn holder(&self) -> Option<u32> {
        self.header().mutex.0.holder()
    }

    /// Where `T` is, for its parts that are used without the lock.
    ///
    /// Only atomics may be reached this way, and only by a pointer to themselves
    /// (`&raw const (*p).field`), never by a reference to the whole of `T`.
    pub fn as_ptr(&self) -> *const T {
        // SAFETY: the mapping is SIZE bytes long, more than OFFSET.
        unsafe { self.header.as_ptr().cast::<u8>().add(OFFSET).cast::<T>() }
    }

    fn map(fd: Option<&Fd>) -> Result<Arena<T>, ArenaError> {
        let at = memory::map(fd, Self::SIZE).map_err(|e| ArenaError::System("mmap", e))?;
        Ok(Arena {
            header: at.cast(),
            owns: PhantomData,
        })
    }

    /// Write the header of a new arena, which nobody else has yet.
    fn initialise(&self) -> Result<(), ArenaError> {
        let header = self.header.as_ptr();
        // SAFETY: a fresh zeroed mapping, seen by this thread alone, larger than a Header.
        unsafe {
            (*header).version = VERSION;
            (*header).offset = OFFSET as u32;
            (*header).layout = T::LAYOUT;
            (*header).size = Self::SIZE as u64;
            Mutex::initialise(&raw mut (*header).mutex.0)
                .map_err(|e| ArenaError::System("pthread_mutex_init", e))?;
            (*header).magic = MAGIC;
        }
        Ok(())
    }

    fn header(&self) -> &Header {
        // SAFETY: mapped as long as self lives; after `initialise` only atomics and the mutex
        // change, both of which may be shared.
        unsafe { self.header.as_ref() }
    }
}

impl<T: Root> Drop for Arena<T> {
    fn drop(&mut self) {
        // SAFETY: guards borrow the arena, so nothing refers to the mapping any more.
        unsafe { memory::unmap(self.header.cast(), Self::SIZE) };
    }
}

impl<T: Root> core::fmt::Debug for Arena<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Arena")
            .field("at", &self.header)
            .field("holder", &self.holder())
            .finish()
    }
}

/// Look at the header of the arena in `fd` before trusting its size.
fn check(fd: &Fd, size: u64, layout: u64, expected: u64) -> Result<(), ArenaError> {
    let at = memory::map(Some(fd), OFFSET).map_err(|e| ArenaError::System("mmap", e))?;
    // SAFETY: the file is sealed at OFFSET or more bytes; the fields read are plain numbers
    // that nobody changes once the arena has been handed out.
    let (magic, version, offset, its_layout, its_size) = unsafe {
        let header = at.cast::<Header>().as_ptr();
        (
            (*header).magic,
            (*header).version,
            (*header).offset,
            (*header).layout,
            (*header).size,
        )
    };
    // SAFETY: mapped above, no reference left.
    unsafe { memory::unmap(at, OFFSET) };
    if magic != MAGIC {
        return Err(ArenaError::NotAnArena);
    }
    if version != VERSION {
        return Err(ArenaError::Version(version, VERSION));
    }
    if its_layout != layout {
        return Err(ArenaError::Layout);
    }
    if offset as usize != OFFSET || size != expected || its_size != expected {
        return Err(ArenaError::Size);
    }
    Ok(())
}

/// The lock, held; gives access to `T`. Released on drop.
pub struct Guard<'a, T: Root> {
    arena: &'a Arena<T>,
    recovered: bool,
    /// The mutex belongs to the thread that locked it.
    stays_in_its_thread: PhantomData<*mut ()>,
}

impl<T: Root> Guard<'_, T> {
    /// An owner of the lock died (or panicked) while it held it, so `T` may be half-changed.
    /// Whoever is going to use it has to mend it first, and then say so ([`Guard::mended`]);
    /// until then everybody who gets the lock finds `true`.
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// `T` is whole again.
    pub fn mended(&mut self) {
        self.recovered = false;
        let dirty = &self.arena.header().dirty;
        dirty.store(0, Ordering::Relaxed);
    }
}

impl<T: Root> core::fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Guard")
            .field("recovered", &self.recovered)
            .finish()
    }
}

impl<T: Root> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: T is valid whatever its bytes (Root) and this thread holds the lock.
        unsafe { &*self.arena.as_ptr() }
    }
}

impl<T: Root> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in deref; `&mut self` makes the reference unique.
        unsafe { &mut *self.arena.as_ptr().cast_mut() }
    }
}

impl<T: Root> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        let header = self.arena.header();
        if std::thread::panicking() {
            header.dirty.store(1, Ordering::Relaxed);
        }
        header.mutex.0.unlock();
    }
}
