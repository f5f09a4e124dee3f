//! stdio streams on sockets. libc's own read and write inside FILE can't be interposed, so
//! fdopen gives a stream with functions of ours (fopencookie) that call the stack.

use crate::blocked;
use crate::dispatch::{CANCELLED, RESTART, Sock};
use crate::errno::{self, Result};
use crate::lifecycle;
use crate::transfer;
use crate::vectors::Buffers;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::FILE;
use parking_lot::Mutex;
use utcp_stack::sys::Errno;
use utcp_stack::sys::process::{block_signals, set_mask};

/// glibc's cookie_io_functions_t.
#[repr(C)]
struct Functions {
    read: Option<unsafe extern "C" fn(*mut c_void, *mut c_char, usize) -> isize>,
    write: Option<unsafe extern "C" fn(*mut c_void, *const c_char, usize) -> isize>,
    seek: Option<unsafe extern "C" fn(*mut c_void, *mut i64, c_int) -> c_int>,
    close: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
}

unsafe extern "C" {
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut FILE;
    fn setvbuf(stream: *mut FILE, buf: *mut c_char, mode: c_int, size: usize) -> c_int;
}

/// What a socket's st_blksize makes of a stream's buffer.
const BUFFER: usize = 4096;

/// A stream's own data: libc's cookie, and the buffer.
#[repr(C)]
struct Cookie {
    fd: c_int,
    buffer: [u8; BUFFER],
}

/// Open streams and their descriptors.
static STREAMS: Mutex<Vec<(usize, c_int)>> = Mutex::new(Vec::new());
/// How many there are: programs without one pay for a look at this.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn with_streams<R>(f: impl FnOnce(&mut Vec<(usize, c_int)>) -> R) -> R {
    let mask = block_signals();
    let mut streams = STREAMS.lock();
    let r = f(&mut streams);
    COUNT.store(streams.len(), Ordering::Release);
    drop(streams);
    set_mask(mask);
    r
}

/// fdopen(3) on a socket.
pub fn open(s: Sock, mode: *const c_char) -> Result<*mut FILE> {
    if mode.is_null() {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: fdopen takes a C string.
    let text = unsafe { CStr::from_ptr(mode) }.to_bytes();
    if !matches!(text.first(), Some(b'r' | b'w' | b'a')) {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: zero is valid for a number and bytes.
    let cookie = unsafe { libc::calloc(1, size_of::<Cookie>()) }.cast::<Cookie>();
    if cookie.is_null() {
        return Err(Errno(libc::ENOMEM));
    }
    // SAFETY: allocated above.
    unsafe { (*cookie).fd = s.fd };
    let functions = Functions {
        read: Some(read),
        write: Some(write),
        seek: Some(seek),
        close: Some(close),
    };
    // SAFETY: the cookie lives until `close`.
    let stream = unsafe { fopencookie(cookie.cast(), mode, functions) };
    if stream.is_null() {
        // SAFETY: allocated above, and nobody has it.
        unsafe { libc::free(cookie.cast()) };
        return Err(Errno(errno::get()));
    }
    // SAFETY: the buffer lives as long as the stream.
    unsafe {
        let buffer = (&raw mut (*cookie).buffer).cast();
        setvbuf(stream, buffer, libc::_IOFBF, BUFFER);
    }
    with_streams(|streams| streams.push((stream as usize, s.fd)));
    Ok(stream)
}

/// The descriptor of a stream that [`open`] made.
pub fn descriptor(stream: *mut FILE) -> Option<c_int> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    with_streams(|streams| {
        let found = streams.iter().find(|(at, _)| *at == stream as usize)?;
        Some(found.1)
    })
}

/// A socket's call from inside libc. Nobody can be cancelled here: libc's stream functions
/// hold locks; the cancellation waits for the next call that may act on it.
fn call<T: errno::Returned>(cookie: *mut c_void, f: impl Fn(Sock) -> Result<T>) -> T {
    // SAFETY: libc gives back the cookie that `open` made.
    let fd = unsafe { (*cookie.cast::<Cookie>()).fd };
    let result = loop {
        let result = match Sock::at(fd) {
            Some(s) => f(s),
            None => Err(Errno(libc::EBADF)),
        };
        blocked::deliver();
        if !matches!(result, Err(RESTART)) {
            break result;
        }
    };
    errno::returned(match result {
        Err(CANCELLED) => Err(Errno(libc::EINTR)),
        other => other,
    })
}

unsafe extern "C" fn read(cookie: *mut c_void, buf: *mut c_char, n: usize) -> isize {
    call(cookie, |s| {
        transfer::recv(s, Buffers::one(buf.cast(), n), 0).map(|(n, _)| n)
    })
}

unsafe extern "C" fn write(cookie: *mut c_void, buf: *const c_char, n: usize) -> isize {
    let sent = call(cookie, |s| {
        transfer::send(s, Buffers::one(buf.cast(), n), 0)
    });
    // fopencookie: 0 is an error, and a negative number isn't allowed.
    sent.max(0)
}

unsafe extern "C" fn seek(_: *mut c_void, _: *mut i64, _: c_int) -> c_int {
    errno::set(libc::ESPIPE);
    -1
}

unsafe extern "C" fn close(cookie: *mut c_void) -> c_int {
    let fd = {
        // SAFETY: libc gives back the cookie that `open` made.
        unsafe { (*cookie.cast::<Cookie>()).fd }
    };
    with_streams(|streams| streams.retain(|(_, open)| *open != fd));
    let done = call(cookie, lifecycle::close);
    // SAFETY: the stream is being closed: neither cookie nor buffer is used after this.
    unsafe { libc::free(cookie) };
    done
}
