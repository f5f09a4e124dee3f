//! AF_UNIX sockets with abstract names, and descriptors sent over them.

use super::{Errno, Fd, Result, syscall};
use core::mem::{offset_of, size_of, zeroed};

/// What kind of AF_UNIX socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SOCK_STREAM.
    Stream,
    /// SOCK_SEQPACKET.
    SeqPacket,
}

/// An abstract name: it is nowhere in the file system, belongs to the network namespace and
/// goes with the socket that is bound to it.
#[derive(Clone, Copy)]
pub struct Name {
    addr: libc::sockaddr_un,
    len: usize,
}

/// Where sun_path starts.
const PATH: usize = offset_of!(libc::sockaddr_un, sun_path);

impl Name {
    /// The name `text`, after the NUL that makes it abstract. At most 107 bytes count.
    pub fn new(text: core::fmt::Arguments<'_>) -> Name {
        // SAFETY: zero is a valid sockaddr_un.
        let addr: libc::sockaddr_un = unsafe { zeroed() };
        let mut name = Name {
            addr,
            len: PATH + 1,
        };
        name.addr.sun_family = libc::AF_UNIX as u16;
        // `write_str` below never fails.
        let _ = core::fmt::write(&mut name, text);
        name
    }

    /// For the kernel: the address and its length.
    pub fn as_raw(&self) -> (*const libc::sockaddr_un, usize) {
        (&raw const self.addr, self.len)
    }

    /// The bytes after the NUL.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        let path = self.addr.sun_path.get(1..self.len - PATH);
        path.unwrap_or_default().iter().map(|&b| b as u8)
    }
}

impl core::fmt::Write for Name {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for byte in s.bytes() {
            if let Some(place) = self.addr.sun_path.get_mut(self.len - PATH) {
                *place = byte as libc::c_char;
                self.len += 1;
            }
        }
        Ok(())
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.len == other.len && self.bytes().eq(other.bytes())
    }
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("@")?;
        self.bytes().try_for_each(|b| write!(f, "{}", b as char))
    }
}

/// Who is at the other end, as the kernel knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Process id in our namespace; 0 when it is in another.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
}

/// socket(2) with CLOEXEC.
pub fn socket(kind: Kind, nonblocking: bool) -> Result<Fd> {
    let mut kind = libc::SOCK_CLOEXEC
        | match kind {
            Kind::Stream => libc::SOCK_STREAM,
            Kind::SeqPacket => libc::SOCK_SEQPACKET,
        };
    if nonblocking {
        kind |= libc::SOCK_NONBLOCK;
    }
    // SAFETY: no pointers.
    unsafe {
        syscall(
            libc::SYS_socket,
            [libc::AF_UNIX as usize, kind as usize, 0, 0, 0, 0],
        )
    }
    .map(|fd| Fd::own(fd as i32))
}

/// socketpair(2), stream, with CLOEXEC.
pub fn socketpair() -> Result<(Fd, Fd)> {
    let mut pair = [0i32; 2];
    let kind = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as usize;
    // SAFETY: `pair` has room for two descriptors.
    unsafe {
        syscall(
            libc::SYS_socketpair,
            [
                libc::AF_UNIX as usize,
                kind,
                0,
                pair.as_mut_ptr() as usize,
                0,
                0,
            ],
        )
    }?;
    Ok((Fd::own(pair[0]), Fd::own(pair[1])))
}

/// bind(2) to an abstract name; EADDRINUSE when some socket has it.
pub fn bind(fd: i32, name: &Name) -> Result<()> {
    // SAFETY: the address is `len` bytes long.
    unsafe {
        syscall(
            libc::SYS_bind,
            [
                fd as usize,
                &raw const name.addr as usize,
                name.len,
                0,
                0,
                0,
            ],
        )
    }
    .map(drop)
}

/// listen(2).
pub fn listen(fd: i32, backlog: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe {
        syscall(
            libc::SYS_listen,
            [fd as usize, backlog as usize, 0, 0, 0, 0],
        )
    }
    .map(drop)
}

/// connect(2).
pub fn connect(fd: i32, name: &Name) -> Result<()> {
    // SAFETY: the address is `len` bytes long.
    unsafe {
        syscall(
            libc::SYS_connect,
            [
                fd as usize,
                &raw const name.addr as usize,
                name.len,
                0,
                0,
                0,
            ],
        )
    }
    .map(drop)
}

/// accept4(2) with CLOEXEC.
pub fn accept(fd: i32, nonblocking: bool) -> Result<Fd> {
    let mut flags = libc::SOCK_CLOEXEC;
    if nonblocking {
        flags |= libc::SOCK_NONBLOCK;
    }
    // SAFETY: null address and length are allowed.
    unsafe { syscall(libc::SYS_accept4, [fd as usize, 0, 0, flags as usize, 0, 0]) }
        .map(|fd| Fd::own(fd as i32))
}

/// shutdown(2); `how` as SHUT_RD, SHUT_WR or SHUT_RDWR.
pub fn shutdown(fd: i32, how: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall(libc::SYS_shutdown, [fd as usize, how as usize, 0, 0, 0, 0]) }.map(drop)
}

/// SO_PEERCRED: who connected; at the connecting end, who called listen.
pub fn peer(fd: i32) -> Result<Peer> {
    // SAFETY: zero is a valid ucred.
    let mut cred: libc::ucred = unsafe { zeroed() };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are valid for the call.
    unsafe {
        syscall(
            libc::SYS_getsockopt,
            [
                fd as usize,
                libc::SOL_SOCKET as usize,
                libc::SO_PEERCRED as usize,
                &raw mut cred as usize,
                &raw mut len as usize,
                0,
            ],
        )
    }?;
    Ok(Peer {
        pid: cred.pid,
        uid: cred.uid,
    })
}

/// The value of a SOL_SOCKET option that is an `int`.
pub fn option(fd: i32, option: i32) -> Result<i32> {
    let mut value = 0i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: both pointers are valid for the call.
    unsafe {
        syscall(
            libc::SYS_getsockopt,
            [
                fd as usize,
                libc::SOL_SOCKET as usize,
                option as usize,
                &raw mut value as usize,
                &raw mut len as usize,
                0,
            ],
        )
    }?;
    Ok(value)
}

/// A SOL_SOCKET option that is an `int`.
pub fn set_option(fd: i32, option: i32, value: i32) -> Result<()> {
    // SAFETY: `value` is four bytes long.
    unsafe {
        syscall(
            libc::SYS_setsockopt,
            [
                fd as usize,
                libc::SOL_SOCKET as usize,
                option as usize,
                &raw const value as usize,
                size_of::<i32>(),
                0,
            ],
        )
    }
    .map(drop)
}

/// SO_RCVTIMEO, in microseconds, as the kernel keeps it.
pub fn time_limit(fd: i32) -> Result<i64> {
    let mut value = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut len = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: both pointers are valid for the call.
    unsafe {
        syscall(
            libc::SYS_getsockopt,
            [
                fd as usize,
                libc::SOL_SOCKET as usize,
                libc::SO_RCVTIMEO as usize,
                &raw mut value as usize,
                &raw mut len as usize,
                0,
            ],
        )
    }?;
    Ok(value.tv_sec * 1_000_000 + value.tv_usec)
}

/// Set SO_RCVTIMEO, to microseconds, less than a second; 0 is none.
pub fn set_time_limit(fd: i32, micros: u32) -> Result<()> {
    let value = libc::timeval {
        tv_sec: 0,
        tv_usec: micros.into(),
    };
    // SAFETY: `value` is valid for the call.
    unsafe {
        syscall(
            libc::SYS_setsockopt,
            [
                fd as usize,
                libc::SOL_SOCKET as usize,
                libc::SO_RCVTIMEO as usize,
                &raw const value as usize,
                size_of::<libc::timeval>(),
                0,
            ],
        )
    }
    .map(drop)
}

/// How many descriptors a message can carry here.
pub const MAX_FDS: usize = 4;

/// Room for the control message of [`MAX_FDS`] descriptors: a cmsghdr (16 bytes) and them.
#[repr(C, align(8))]
struct Control {
    header: libc::cmsghdr,
    fds: [i32; MAX_FDS],
}

fn message(iov: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: zero is a valid msghdr.
    let mut msg: libc::msghdr = unsafe { zeroed() };
    msg.msg_iov = iov;
    msg.msg_iovlen = 1;
    msg
}

/// sendmsg(2) of `bytes` with descriptors beside them (at most [`MAX_FDS`]); no SIGPIPE.
/// `flags`: MSG_DONTWAIT or 0.
pub fn send(fd: i32, bytes: &[u8], fds: &[i32], flags: i32) -> Result<usize> {
    let mut iov = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut msg = message(&mut iov);
    // SAFETY: zero is a valid cmsghdr.
    let mut control: Control = unsafe { zeroed() };
    if !fds.is_empty() {
        let Some(places) = control.fds.get_mut(..fds.len()) else {
            return Err(Errno(libc::EINVAL));
        };
        places.copy_from_slice(fds);
        let len = size_of::<libc::cmsghdr>() + size_of_val(fds);
        control.header.cmsg_len = len;
        control.header.cmsg_level = libc::SOL_SOCKET;
        control.header.cmsg_type = libc::SCM_RIGHTS;
        msg.msg_control = (&raw mut control).cast();
        msg.msg_controllen = len;
    }
    let flags = (flags | libc::MSG_NOSIGNAL) as usize;
    // SAFETY: the message's pointers are valid for the call.
    unsafe {
        syscall(
            libc::SYS_sendmsg,
            [fd as usize, &raw const msg as usize, flags, 0, 0, 0],
        )
    }
}

/// recvmsg(2): how many bytes came into `buf`, and the descriptors (CLOEXEC) beside them.
/// 0 bytes is the end. `flags`: MSG_DONTWAIT or 0.
pub fn recv(fd: i32, buf: &mut [u8], flags: i32) -> Result<(usize, [Option<Fd>; MAX_FDS])> {
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let mut msg = message(&mut iov);
    // SAFETY: zero is a valid cmsghdr.
    let mut control: Control = unsafe { zeroed() };
    msg.msg_control = (&raw mut control).cast();
    msg.msg_controllen = size_of::<Control>();
    let flags = (flags | libc::MSG_CMSG_CLOEXEC) as usize;
    // SAFETY: the message's pointers are valid for the call.
    let len = unsafe {
        syscall(
            libc::SYS_recvmsg,
            [fd as usize, &raw mut msg as usize, flags, 0, 0, 0],
        )
    }?;
    let mut got = [const { None }; MAX_FDS];
    let header = control.header;
    if msg.msg_controllen >= size_of::<libc::cmsghdr>()
        && header.cmsg_level == libc::SOL_SOCKET
        && header.cmsg_type == libc::SCM_RIGHTS
    {
        let count = header.cmsg_len.saturating_sub(size_of::<libc::cmsghdr>()) / size_of::<i32>();
        for (place, fd) in got.iter_mut().zip(control.fds).take(count) {
            *place = Some(Fd::own(fd));
        }
    }
    Ok((len, got))
}

/// getsockname(2): the name that `fd` is bound to.
pub fn local_name(fd: i32) -> Result<Name> {
    name_of(libc::SYS_getsockname, fd)
}

/// getpeername(2): the name of the socket at the other end.
pub fn peer_name(fd: i32) -> Result<Name> {
    name_of(libc::SYS_getpeername, fd)
}

fn name_of(call: libc::c_long, fd: i32) -> Result<Name> {
    let mut name = Name::new(format_args!(""));
    let mut len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address has room for `len` bytes.
    unsafe {
        syscall(
            call,
            [
                fd as usize,
                &raw mut name.addr as usize,
                &raw mut len as usize,
                0,
                0,
                0,
            ],
        )
    }?;
    // A socket without a name gives the family alone.
    name.len = (len as usize).clamp(PATH, size_of::<libc::sockaddr_un>());
    Ok(name)
}

/// bind(2) to an abstract name that the kernel makes up.
pub fn autobind(fd: i32) -> Result<()> {
    let mut name = Name::new(format_args!(""));
    name.len = PATH;
    bind(fd, &name)
}
