//! The next definitions of the functions that this library interposes: libc's, or those of
//! whatever was preloaded after us.
//!
//! What isn't ours goes there, not to the kernel: libc's functions are where a blocked thread
//! can be cancelled. They are declared `extern "C"` and not "C-unwind" although a cancelled
//! thread does unwind out of them: so the compiler puts no landing pad behind the call, which
//! would end the process when the cancellation comes by. The functions that call them keep
//! nothing that has to be dropped.

use core::ffi::{c_char, c_int, c_uint, c_void};
use libc::{
    epoll_event, fd_set, iovec, mmsghdr, mode_t, msghdr, nfds_t, off_t, pollfd, sigset_t, size_t,
    sockaddr, sockaddr_in, socklen_t, ssize_t, timespec, timeval,
};
use once_cell::race::OnceNonZeroUsize;

/// A function's address, looked up when it is first called. Two threads may look it up at the
/// same time: they find the same.
struct Next {
    name: &'static core::ffi::CStr,
    at: OnceNonZeroUsize,
}

impl Next {
    const fn new(name: &'static core::ffi::CStr) -> Next {
        Next {
            name,
            at: OnceNonZeroUsize::new(),
        }
    }

    /// 1 if nobody defines it.
    fn find(&self) -> usize {
        if let Some(at) = self.at.get() {
            return at.get();
        }
        self.look_up()
    }

    #[cold]
    fn look_up(&self) -> usize {
        let errno = crate::errno::get();
        // SAFETY: `name` ends in a NUL.
        let at = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) } as usize;
        crate::errno::set(errno);
        let at = core::num::NonZeroUsize::new(at).unwrap_or(core::num::NonZeroUsize::MIN);
        let _ = self.at.set(at);
        at.get()
    }
}

macro_rules! next {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        /// The next definition. ENOSYS if there is none.
        ///
        /// # Safety
        /// As the function itself.
        #[inline]
        pub unsafe fn $name($($arg: $ty),*) -> $ret {
            static NEXT: Next = Next::new(
                // SAFETY: the string ends in its only NUL.
                unsafe {
                    core::ffi::CStr::from_bytes_with_nul_unchecked(
                        concat!(stringify!($name), "\0").as_bytes(),
                    )
                },
            );
            let at = NEXT.find();
            if at == 1 {
                crate::errno::set(libc::ENOSYS);
                return <$ret as Missing>::VALUE;
            }
            // SAFETY: dlsym gave a function with this name, whose signature is libc's.
            let f: unsafe extern "C" fn($($ty),*) -> $ret = unsafe { core::mem::transmute(at) };
            // SAFETY: the caller vouches for the arguments.
            unsafe { f($($arg),*) }
        }
    )*};
}

/// What a function returns that doesn't exist.
trait Missing {
    const VALUE: Self;
}
impl Missing for c_int {
    const VALUE: c_int = -1;
}
impl Missing for ssize_t {
    const VALUE: ssize_t = -1;
}
impl Missing for off_t {
    const VALUE: off_t = -1;
}
impl Missing for *mut libc::FILE {
    const VALUE: *mut libc::FILE = core::ptr::null_mut();
}
impl Missing for () {
    const VALUE: () = ();
}

next! {
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    bindresvport(fd: c_int, addr: *mut sockaddr_in) -> c_int;
    listen(fd: c_int, backlog: c_int) -> c_int;
    accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    accept4(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int;
    connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    shutdown(fd: c_int, how: c_int) -> c_int;
    getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int;
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int;
    sockatmark(fd: c_int) -> c_int;
    isfdtype(fd: c_int, kind: c_int) -> c_int;

    read(fd: c_int, buf: *mut c_void, n: size_t) -> ssize_t;
    write(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t;
    readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    pread64(fd: c_int, buf: *mut c_void, n: size_t, at: off_t) -> ssize_t;
    pwrite64(fd: c_int, buf: *const c_void, n: size_t, at: off_t) -> ssize_t;
    preadv64(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> ssize_t;
    pwritev64(fd: c_int, iov: *const iovec, n: c_int, at: off_t) -> ssize_t;
    preadv64v2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> ssize_t;
    pwritev64v2(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> ssize_t;
    send(fd: c_int, buf: *const c_void, n: size_t, flags: c_int) -> ssize_t;
    sendto(fd: c_int, buf: *const c_void, n: size_t, flags: c_int, to: *const sockaddr, len: socklen_t) -> ssize_t;
    sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t;
    sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int;
    recv(fd: c_int, buf: *mut c_void, n: size_t, flags: c_int) -> ssize_t;
    recvfrom(fd: c_int, buf: *mut c_void, n: size_t, flags: c_int, from: *mut sockaddr, len: *mut socklen_t) -> ssize_t;
    recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t;
    recvmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int;
    sendfile64(out: c_int, from: c_int, offset: *mut off_t, n: size_t) -> ssize_t;
    splice(from: c_int, from_at: *mut i64, to: c_int, to_at: *mut i64, n: size_t, flags: c_uint) -> ssize_t;

    __read_chk(fd: c_int, buf: *mut c_void, n: size_t, room: size_t) -> ssize_t;
    __recv_chk(fd: c_int, buf: *mut c_void, n: size_t, room: size_t, flags: c_int) -> ssize_t;
    __recvfrom_chk(fd: c_int, buf: *mut c_void, n: size_t, room: size_t, flags: c_int, from: *mut sockaddr, len: *mut socklen_t) -> ssize_t;
    __poll_chk(fds: *mut pollfd, n: nfds_t, timeout: c_int, room: size_t) -> c_int;
    __ppoll_chk(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t, room: size_t) -> c_int;

    poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int;
    ppoll(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    select(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *mut timeval) -> c_int;
    pselect(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *const timespec, mask: *const sigset_t) -> c_int;
    epoll_create(size: c_int) -> c_int;
    epoll_create1(flags: c_int) -> c_int;
    epoll_ctl(ep: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int;
    epoll_wait(ep: c_int, events: *mut epoll_event, n: c_int, timeout: c_int) -> c_int;
    epoll_pwait(ep: c_int, events: *mut epoll_event, n: c_int, timeout: c_int, mask: *const sigset_t) -> c_int;
    epoll_pwait2(ep: c_int, events: *mut epoll_event, n: c_int, timeout: *const timespec, mask: *const sigset_t) -> c_int;

    close(fd: c_int) -> c_int;
    close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    closefrom(first: c_int) -> ();
    dup(fd: c_int) -> c_int;
    dup2(fd: c_int, to: c_int) -> c_int;
    dup3(fd: c_int, to: c_int, flags: c_int) -> c_int;
    fcntl64(fd: c_int, cmd: c_int, arg: usize) -> c_int;
    ioctl(fd: c_int, request: libc::c_ulong, arg: usize) -> c_int;
    lseek64(fd: c_int, offset: off_t, whence: c_int) -> off_t;

    open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    __open64_2(path: *const c_char, flags: c_int) -> c_int;
    __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int;
    fopen64(path: *const c_char, mode: *const c_char) -> *mut libc::FILE;
    fdopen(fd: c_int, mode: *const c_char) -> *mut libc::FILE;
    fileno(f: *mut libc::FILE) -> c_int;
    fileno_unlocked(f: *mut libc::FILE) -> c_int;
    vdprintf(fd: c_int, format: *const c_char, args: *mut c_void) -> c_int;
    __vdprintf_chk(fd: c_int, flag: c_int, format: *const c_char, args: *mut c_void) -> c_int;

    pthread_cancel(thread: libc::pthread_t) -> c_int;
}
