//! sendmsg, recvmsg and their plurals.

use crate::ancillary::{Control, SO_TIMESTAMPING_NEW, without_packet};
use crate::dispatch::Sock;
use crate::errno::{self, Result};
use crate::fastopen;
use crate::fdtable;
use crate::memory;
use crate::sockopt::privileged;
use crate::transfer;
use crate::vectors::Buffers;
use core::ffi::{c_int, c_uint};
use libc::{mmsghdr, msghdr, timespec};
use utcp_stack::stack::{Host, stamping};
use utcp_stack::sys::{self, Errno};
use utcp_stack::time::{Duration, Instant};

/// Linux's bound of sendmmsg.
const MOST: c_uint = 1024;

/// sendmsg(2). Addresses are TCP's to ignore; so are control messages but SO_TIMESTAMPING's.
pub fn send(s: Sock, msg: *const msghdr, flags: c_int) -> Result<isize> {
    let m: msghdr = memory::read(msg)?;
    // SAFETY: the program says so.
    let data = unsafe { Buffers::many(m.msg_iov, m.msg_iovlen, libc::EMSGSIZE) }?;
    let stamps = stamps_asked(&m)?;
    if stamps.is_some() && flags & libc::MSG_FASTOPEN == 0 {
        return transfer::send_stamped(s, data, flags, stamps);
    }
    fastopen::send(s, data, flags, m.msg_name.cast(), m.msg_namelen)
}

/// The timestamps that a call asks for in place of its socket's (Linux: __sock_cmsg_send).
fn stamps_asked(m: &msghdr) -> Result<Option<u32>> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let control = m.msg_control.cast::<u8>();
    if control.is_null() {
        return Ok(None);
    }
    let invalid = Errno(libc::EINVAL);
    let (mut at, mut stamps) = (0, None);
    while m.msg_controllen.saturating_sub(at) >= HEADER {
        let mut header = [0; HEADER + 4];
        let left = m.msg_controllen - at;
        let known = left.min(header.len());
        memory::read_bytes(control.wrapping_add(at), &mut header[..known])?;
        let [a, b, c, d, e, f, g, h, level @ .., _, _, _, _] = header;
        let size = usize::from_ne_bytes([a, b, c, d, e, f, g, h]);
        let [l0, l1, l2, l3, k0, k1, k2, k3] = level;
        let level = c_int::from_ne_bytes([l0, l1, l2, l3]);
        let kind = c_int::from_ne_bytes([k0, k1, k2, k3]);
        if size < HEADER || size > left {
            return Err(invalid);
        }
        if level == libc::SOL_SOCKET {
            // What all but SCM_RIGHTS and SCM_CREDENTIALS have.
            let value = (size == HEADER + 4).then(|| {
                let [.., a, b, c, d] = header;
                u32::from_ne_bytes([a, b, c, d])
            });
            match kind {
                libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW => {
                    let flags = value.ok_or(invalid)?;
                    if flags & !stamping::PER_CALL != 0 {
                        return Err(invalid);
                    }
                    stamps = Some(flags);
                }
                libc::SCM_RIGHTS | libc::SCM_CREDENTIALS => {}
                libc::SO_MARK => {
                    if !privileged() {
                        return Err(Errno(libc::EPERM));
                    }
                    value.ok_or(invalid)?;
                }
                libc::SO_PRIORITY => {
                    if value.ok_or(invalid)? > 6 && !privileged() {
                        return Err(Errno(libc::EPERM));
                    }
                }
                _ => return Err(invalid),
            }
        }
        at = at.saturating_add(size.next_multiple_of(8));
    }
    Ok(stamps)
}

/// recvmsg(2).
pub fn recv(s: Sock, msg: *mut msghdr, flags: c_int) -> Result<isize> {
    recv_after(s, msg, flags, false).map(|(got, _)| got)
}

/// The same, after a `part` of what the program asked for; with what went to `msg_flags`.
fn recv_after(s: Sock, msg: *mut msghdr, flags: c_int, part: bool) -> Result<(isize, c_int)> {
    let mut m: msghdr = memory::read(msg)?;
    if !m.msg_name.is_null() && (m.msg_namelen as c_int) < 0 {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: the program says so.
    let out = unsafe { Buffers::many(m.msg_iov, m.msg_iovlen, libc::EMSGSIZE) }?;
    if flags & libc::MSG_ERRQUEUE != 0 {
        return recv_notice(s, msg, m).map(|()| (0, 0));
    }
    let nothing_wanted = out.total() == 0;
    let (got, beside) = transfer::recv_after(s, out, flags, part)?;
    no_name(&mut m);
    m.msg_flags = flags & libc::MSG_CMSG_CLOEXEC;
    let mut control = Control::new(room(&m));
    // (Closed by another thread meanwhile, nothing is left to be told.)
    if beside.stamped && got > 0 {
        let _ = put_arrival(s, &mut control);
    }
    if beside.inq {
        control.put_inq(s.enter().map_or(0, |host| host.inq(s.id).unwrap_or(0)));
    }
    give(&control, &mut m);
    if beside.urgent {
        m.msg_flags |= libc::MSG_OOB;
        if nothing_wanted {
            m.msg_flags |= libc::MSG_TRUNC;
        }
    }
    memory::write(msg, m)?;
    Ok((got, m.msg_flags))
}

/// A connection's data has no address of its own, and who asked for none is told nothing.
fn no_name(m: &mut msghdr) {
    if !m.msg_name.is_null() {
        m.msg_namelen = 0;
    }
}

/// How much fits into `msg_control`.
fn room(m: &msghdr) -> usize {
    if m.msg_control.is_null() {
        0
    } else {
        m.msg_controllen
    }
}

/// When what was read came.
fn put_arrival(s: Sock, control: &mut Control) -> Result<()> {
    let host = s.enter()?;
    let options = host.socket(s.id).map_err(errno::of)?.options;
    let Some(at) = host.read_at(s.id) else {
        return Ok(());
    };
    let at = wall_clock(&host, at);
    drop(host);
    control.put_arrival(&options, at);
    Ok(())
}

/// The stack's time, since 1970.
fn wall_clock(host: &Host<'_>, at: Instant) -> Duration {
    let ago = sys::now().since(host.sh.pace.real(at));
    sys::wall_clock().saturating_sub(ago)
}

/// Write control messages to where the program wants them. If they can't be written there, there
/// are none: what they come with is not lost for that (put_cmsg's errors are ignored).
fn give(control: &Control, m: &mut msghdr) {
    let bytes = control.bytes();
    let written = memory::write_bytes(m.msg_control.cast(), bytes);
    m.msg_controllen = written.map_or(0, |()| bytes.len());
    if control.truncated {
        m.msg_flags |= libc::MSG_CTRUNC;
    }
}

/// recvmsg(2) with MSG_ERRQUEUE.
fn recv_notice(s: Sock, msg: *mut msghdr, mut m: msghdr) -> Result<()> {
    crate::errepoll::used();
    let mut host = s.enter()?;
    let notice = host.take_notice(s.id).map_err(errno::of)?;
    let notice = notice.ok_or(Errno(libc::EAGAIN))?;
    crate::ends::lower(&mut host, s.fd, s.id);
    let socket = host.socket(s.id).map_err(errno::of)?;
    let (family, asked) = (socket.family, socket.options.timestamping);
    let kind = if socket.options.timestamping_new {
        SO_TIMESTAMPING_NEW
    } else {
        libc::SO_TIMESTAMPING
    };
    let at = wall_clock(&host, notice.at);
    drop(host);
    let mut control = Control::new(room(&m));
    control.put_notice(&notice, family, asked, kind, at);
    no_name(&mut m);
    m.msg_flags = libc::MSG_ERRQUEUE;
    if without_packet(&notice, asked) {
        m.msg_flags |= libc::MSG_TRUNC;
    }
    give(&control, &mut m);
    memory::write(msg, m)
}

/// The program's `i`th message.
fn nth(msgs: *mut mmsghdr, i: c_uint) -> (*mut msghdr, *mut c_uint) {
    let at = msgs.wrapping_add(i as usize);
    let len = at
        .cast::<u8>()
        .wrapping_add(core::mem::offset_of!(mmsghdr, msg_len));
    (at.cast(), len.cast())
}

/// sendmmsg(2).
pub fn send_many(s: Sock, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> Result<c_int> {
    let mut done = 0;
    for i in 0..n.min(MOST) {
        let (msg, len) = nth(msgs, i);
        match send(s, msg, flags).and_then(|sent| memory::write(len, sent as c_uint)) {
            Ok(()) => done += 1,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// recvmmsg(2). The time limit is looked at between messages, as in the kernel, and what is left
/// of it written back. An error that was there before comes first; one that comes after the first
/// message stays for the next call.
pub fn recv_many(
    s: Sock,
    msgs: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> Result<c_int> {
    let end = if timeout.is_null() {
        Instant::NEVER
    } else {
        let t = memory::read(timeout.cast_const())?;
        sys::now() + duration(&t)?
    };
    if flags & libc::MSG_ERRQUEUE == 0 {
        let mut host = s.enter()?;
        let pending = host.take_error(s.id).map_err(errno::of)?;
        crate::ends::lower(&mut host, s.fd, s.id);
        if let Some(e) = pending {
            return Err(errno::of_tcp(e));
        }
    }
    let mut flags = flags;
    let mut done = 0;
    let mut left = Duration::ZERO;
    for i in 0..n {
        let (msg, len) = nth(msgs, i);
        let one = recv_after(s, msg, flags & !libc::MSG_WAITFORONE, done > 0);
        let told = match one.and_then(|(got, told)| {
            memory::write(len, got as c_uint)?;
            Ok(told)
        }) {
            Ok(told) => told,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        };
        done += 1;
        if flags & libc::MSG_WAITFORONE != 0 {
            flags |= libc::MSG_DONTWAIT;
        }
        left = end.since(sys::now());
        if left == Duration::ZERO || told & libc::MSG_OOB != 0 {
            break;
        }
    }
    if done > 0 && !timeout.is_null() {
        let left = timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        memory::write(timeout, left)?;
    }
    Ok(done)
}

/// A time span as the kernel takes it.
pub fn duration(t: &timespec) -> Result<Duration> {
    let nanos = u32::try_from(t.tv_nsec).ok().filter(|n| *n < 1_000_000_000);
    match (u64::try_from(t.tv_sec), nanos) {
        (Ok(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(Errno(libc::EINVAL)),
    }
}

/// Descriptors that came in a message of the kernel's have numbers of which something else may
/// be known: forget it.
///
/// # Safety
/// `msg` must be a message that recvmsg has filled in.
pub unsafe fn forget_received(msg: *const msghdr) {
    // SAFETY: by contract; the CMSG functions stay within the control buffer.
    unsafe {
        if (*msg).msg_controllen < size_of::<libc::cmsghdr>() || (*msg).msg_control.is_null() {
            return;
        }
        let mut c = libc::CMSG_FIRSTHDR(msg);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_RIGHTS {
                let fds = libc::CMSG_DATA(c).cast::<c_int>();
                let bytes = (*c).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                for i in 0..bytes / size_of::<c_int>() {
                    fdtable::forget(fds.add(i).read_unaligned());
                }
            }
            c = libc::CMSG_NXTHDR(msg, c);
        }
    }
}
