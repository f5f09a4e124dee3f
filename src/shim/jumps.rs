//! stdio streams whose descriptor is one of our sockets: stdin, stdout and stderr after a dup2,
//! or what fdopen makes.
//!
//! Inside a stream libc calls its own read, write and close, which can't be interposed. But it
//! calls them by a table of functions (`_IO_file_jumps`, and `_IO_wfile_jumps` for wide
//! characters), and there these three are replaced once a stream may be on a socket. The table
//! is made writable for that moment; streams point to it as before, so libc's check of such
//! pointers holds. Where the table isn't as expected nothing is done, and fdopen falls back to
//! [`crate::streams`].

use crate::exports;
use crate::fdtable;
use crate::process;
use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use libc::FILE;
use utcp_stack::sys::process::{block_signals, set_mask};
use utcp_stack::sys::syscall;

/// Positions in glibc's `struct _IO_jump_t`, in words.
const READ: usize = 14;
const WRITE: usize = 15;
const CLOSE: usize = 17;

/// Where in a FILE its flags and its descriptor are.
const FLAGS: usize = 0;
const FILENO: usize = 112;
/// _IO_ERR_SEEN.
const ERROR: c_int = 0x20;

type Read = unsafe extern "C-unwind" fn(*mut FILE, *mut c_void, isize) -> isize;
type Write = unsafe extern "C-unwind" fn(*mut FILE, *const c_void, isize) -> isize;
type Close = unsafe extern "C-unwind" fn(*mut FILE) -> c_int;

/// libc's own functions.
static ORIGINAL: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// 0: not tried yet.
static STATE: AtomicU8 = AtomicU8::new(0);
const DONE: u8 = 1;
const IMPOSSIBLE: u8 = 2;

/// See to it that streams reach the stack; false if that can't be done.
pub fn ensure() -> bool {
    match STATE.load(Ordering::Acquire) {
        DONE => true,
        IMPOSSIBLE => false,
        // A child of vfork leaves its parent's memory alone.
        _ if process::in_vfork_child() => false,
        _ => {
            let mask = block_signals();
            let done = replace();
            set_mask(mask);
            STATE.store(if done { DONE } else { IMPOSSIBLE }, Ordering::Release);
            done
        }
    }
}

/// Two threads at once do the same.
#[cold]
fn replace() -> bool {
    let (Some(read), Some(write), Some(close)) = (
        find(c"_IO_file_read"),
        find(c"_IO_file_write"),
        find(c"_IO_file_close"),
    ) else {
        return false;
    };
    let new = [
        (READ, read, file_read as *const () as usize),
        (WRITE, write, file_write as *const () as usize),
        (CLOSE, close, file_close as *const () as usize),
    ];
    for (place, (_, old, _)) in ORIGINAL.iter().zip(&new) {
        place.store(*old, Ordering::Release);
    }
    let tables = [find(c"_IO_file_jumps"), find(c"_IO_wfile_jumps")];
    tables.into_iter().all(|table| {
        let Some(table) = table else { return false };
        // SAFETY: libc's symbol for its table of 21 words.
        unsafe { change(table as *const AtomicUsize, &new) }
    })
}

fn find(name: &CStr) -> Option<usize> {
    // SAFETY: `name` ends in a NUL.
    let at = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
    (at != 0).then_some(at)
}

/// # Safety
/// `table` must be one of libc's tables.
unsafe fn change(table: *const AtomicUsize, new: &[(usize, usize, usize); 3]) -> bool {
    // SAFETY: words of the table, by contract.
    let word = |i: usize| unsafe { &*table.add(i) };
    let as_expected = new.iter().all(|(i, old, ours)| {
        let now = word(*i).load(Ordering::Relaxed);
        now == *old || now == *ours
    });
    if !as_expected {
        return false;
    }
    let first = table as usize + READ * 8;
    let start = first & !4095;
    let len = (table as usize + (CLOSE + 1) * 8 - start).next_multiple_of(4096);
    if !protect(start, len, libc::PROT_READ | libc::PROT_WRITE) {
        return false;
    }
    for (i, _, ours) in new {
        word(*i).store(*ours, Ordering::Release);
    }
    protect(start, len, libc::PROT_READ);
    true
}

fn protect(at: usize, len: usize, prot: c_int) -> bool {
    // SAFETY: pages of libc's data; reading stays allowed throughout.
    unsafe { syscall(libc::SYS_mprotect, [at, len, prot as usize, 0, 0, 0]) }.is_ok()
}

/// # Safety
/// `stream` must be libc's.
unsafe fn descriptor(stream: *mut FILE) -> c_int {
    // SAFETY: by contract; `_fileno` is at this place in every glibc for x86-64.
    unsafe { stream.cast::<u8>().add(FILENO).cast::<c_int>().read() }
}

unsafe extern "C-unwind" fn file_read(stream: *mut FILE, buf: *mut c_void, n: isize) -> isize {
    // SAFETY: libc calls us with its stream and buffer; the original is libc's function.
    unsafe {
        let fd = descriptor(stream);
        if fdtable::ours(fd).is_none() {
            let original: Read = core::mem::transmute(ORIGINAL[0].load(Ordering::Acquire));
            return original(stream, buf, n);
        }
        exports::data::read(fd, buf, n.max(0) as usize)
    }
}

unsafe extern "C-unwind" fn file_write(stream: *mut FILE, buf: *const c_void, n: isize) -> isize {
    // SAFETY: as above.
    unsafe {
        let fd = descriptor(stream);
        if fdtable::ours(fd).is_none() {
            let original: Write = core::mem::transmute(ORIGINAL[1].load(Ordering::Acquire));
            return original(stream, buf, n);
        }
        let mut done = 0;
        while done < n {
            let rest = buf.cast::<u8>().add(done as usize);
            let sent = exports::data::write(fd, rest.cast(), (n - done) as usize);
            if sent < 0 {
                let flags = stream.cast::<u8>().add(FLAGS).cast::<c_int>();
                flags.write(flags.read() | ERROR);
                break;
            }
            done += sent;
        }
        done
    }
}

unsafe extern "C-unwind" fn file_close(stream: *mut FILE) -> c_int {
    // SAFETY: as above.
    unsafe {
        let fd = descriptor(stream);
        if fdtable::ours(fd).is_none() {
            fdtable::forget(fd);
            let original: Close = core::mem::transmute(ORIGINAL[2].load(Ordering::Acquire));
            return original(stream);
        }
        exports::descriptors::close(fd)
    }
}
