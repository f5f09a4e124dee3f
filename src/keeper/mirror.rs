//! A socket's descriptor, made to show the readiness of the TCP socket behind it.
//!
//! The descriptor is the *near* end of a connected pair of AF_UNIX stream sockets; whoever
//! holds the *far* end (the keeper, or a program) sets what poll(2), select(2) and epoll(7)
//! say of the near end, in every process that has it:
//!
//! | near end shows | because of | undone by |
//! |---|---|---|
//! | IN | a byte sent by the far end ([`raise`]) | reading it from the near end ([`lower_in`]) |
//! | not OUT | its send buffer is full ([`lower_out`]) | reading it at the far end ([`raise`]) |
//! | PRI (and IN) | an out-of-band byte from the far end ([`raise`]) | reading it ([`lower_pri`]) |
//! | RDHUP, IN | the far end's shutdown(SHUT_WR) | nothing |
//! | HUP, RDHUP, IN | the far end's shutdown(SHUT_RDWR) | nothing |
//! | ERR, HUP, RDHUP, IN, OUT | the far end closed over unread data | ERR: reading SO_ERROR |
//!
//! An AF_UNIX stream socket that was never connected shows OUT and HUP, as a TCP socket does,
//! so the pair is made ([`pair`]) when the TCP socket connects, listens or is accepted.
//!
//! So that the far end can be closed over unread data at any time, one byte always stays in
//! its receive queue; and so that one more byte makes the near end unwritable, its send
//! buffer is as small as they come.

use crate::stack::Ready;
use crate::sys::{Errno, Fd, Result, io, unix};
use libc::{MSG_DONTWAIT, MSG_OOB, SHUT_RDWR, SHUT_WR};

/// What is left after [`raise`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// Close the far end, now: that is how the near end shows an error.
    pub close: bool,
}

/// Connect `near`, a fresh AF_UNIX stream socket that is bound to its name, to a new far end.
/// It then shows OUT alone.
pub fn pair(near: i32) -> Result<Fd> {
    prepare(near)?;
    let listener = unix::socket(unix::Kind::Stream, false)?;
    unix::autobind(listener.raw())?;
    unix::listen(listener.raw(), 8)?;
    unix::connect(near, &unix::local_name(listener.raw())?)?;
    let name = unix::local_name(near)?;
    // Anybody in the network namespace might have connected first.
    let far = loop {
        let far = unix::accept(listener.raw(), false)?;
        if unix::peer_name(far.raw())? == name {
            break far;
        }
    };
    seal(near)?;
    Ok(far)
}

/// Before a near end is connected: its send buffer is made as small as can be.
pub fn prepare(near: i32) -> Result<()> {
    // The kernel takes this for its least (4,608 bytes).
    unix::set_option(near, libc::SO_SNDBUF, 1)
}

/// After a near end was connected: the byte that stays at the far end.
pub fn seal(near: i32) -> Result<()> {
    unix::send(near, b"e", &[], MSG_DONTWAIT).map(drop)
}

/// Make the near end of `far` show those of `new` that are not in `old`.
///
/// What is in `old` and not in `new` only a holder of the near end can take away, if it can be
/// taken away at all; see the module.
pub fn raise(far: i32, old: Ready, new: Ready) -> Result<Left> {
    let added = |what: Ready| new.has(what) && !old.has(what);
    // First, as it shows everything at once: who waits must not see a part of it.
    if added(Ready::ERR) {
        return Ok(Left { close: true });
    }
    if added(Ready::OUT) && !added(Ready::HUP) {
        drain(far)?;
    }
    if added(Ready::PRI) {
        send(far, MSG_OOB)?;
    }
    // The end of the stream is readable by itself.
    if added(Ready::IN) && !new.any(Ready::RDHUP.with(Ready::HUP)) {
        send(far, 0)?;
    }
    if added(Ready::HUP) {
        unix::shutdown(far, SHUT_RDWR)?;
        if added(Ready::OUT) {
            drain(far)?;
        }
    } else if added(Ready::RDHUP) {
        unix::shutdown(far, SHUT_WR)?;
    }
    Ok(Left::default())
}

/// At the near end: not readable any more. Harmless when it isn't.
pub fn lower_in(near: i32) {
    let mut bytes = [0; 64];
    while unix::recv(near, &mut bytes, MSG_DONTWAIT).is_ok_and(|(n, _)| n == bytes.len()) {}
}

/// At the near end: not writable any more.
pub fn lower_out(near: i32) {
    // One byte is enough; a second in case this kernel's buffers are larger.
    for _ in 0..2 {
        let mut fds = [io::PollFd::new(near, libc::POLLOUT)];
        if io::poll(&mut fds, Some(crate::time::Duration::ZERO)) != Ok(1) {
            return;
        }
        let _ = unix::send(near, b"f", &[], MSG_DONTWAIT);
    }
}

/// At the near end: no urgent data any more.
pub fn lower_pri(near: i32) {
    let _ = unix::recv(near, &mut [0; 1], MSG_DONTWAIT | MSG_OOB);
}

/// At the near end: no error any more.
pub fn lower_err(near: i32) {
    let _ = unix::option(near, libc::SO_ERROR);
}

fn send(far: i32, flags: i32) -> Result<()> {
    match unix::send(far, b"r", &[], flags | MSG_DONTWAIT) {
        // EAGAIN: it is readable already, by many bytes. EPIPE: the end of the stream is there.
        Ok(_) | Err(Errno(libc::EAGAIN | libc::EPIPE)) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Read all but one byte.
fn drain(far: i32) -> Result<()> {
    let mut bytes = [0; 64];
    loop {
        let surplus = io::readable_bytes(far)?.saturating_sub(1);
        let most = surplus.min(bytes.len());
        let Some(place) = bytes.get_mut(..most).filter(|p| !p.is_empty()) else {
            return Ok(());
        };
        match unix::recv(far, place, MSG_DONTWAIT) {
            Ok((0, _)) | Err(Errno(libc::EAGAIN)) => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::unix::{Kind, Name};
    use core::sync::atomic::{AtomicU32, Ordering};

    const FRESH: Ready = Ready::OUT.with(Ready::HUP);
    const END: Ready = Ready::IN.with(Ready::RDHUP);

    /// What poll(2) says of `fd`.
    fn shown(fd: i32) -> Ready {
        let bits = [
            (libc::POLLIN, Ready::IN),
            (libc::POLLOUT, Ready::OUT),
            (libc::POLLPRI, Ready::PRI),
            (libc::POLLERR, Ready::ERR),
            (libc::POLLHUP, Ready::HUP),
            (libc::POLLRDHUP, Ready::RDHUP),
        ];
        let all = bits.iter().fold(0, |all, (bit, _)| all | bit);
        let mut fds = [io::PollFd::new(fd, all)];
        io::poll(&mut fds, Some(crate::time::Duration::ZERO)).unwrap();
        bits.iter().fold(Ready(0), |sum, (bit, ready)| {
            if fds[0].revents & bit != 0 {
                sum.with(*ready)
            } else {
                sum
            }
        })
    }

    fn fresh() -> Fd {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let near = unix::socket(Kind::Stream, true).unwrap();
        let pid = crate::sys::process::pid();
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        unix::bind(
            near.raw(),
            &Name::new(format_args!("mirror-test/{pid}/{n}")),
        )
        .unwrap();
        near
    }

    fn made() -> (Fd, Fd) {
        let near = fresh();
        assert_eq!(shown(near.raw()), FRESH);
        let far = pair(near.raw()).unwrap();
        assert_eq!(shown(near.raw()), Ready::OUT);
        (near, far)
    }

    #[test]
    fn readable_and_back() {
        let (near, far) = made();
        let both = Ready::OUT.with(Ready::IN);
        for _ in 0..3 {
            raise(far.raw(), Ready::OUT, both).unwrap();
            assert_eq!(shown(near.raw()), both);
            lower_in(near.raw());
            assert_eq!(shown(near.raw()), Ready::OUT);
        }
        lower_in(near.raw());
    }

    #[test]
    fn writable_and_back() {
        let (near, far) = made();
        for _ in 0..3 {
            lower_out(near.raw());
            lower_out(near.raw());
            assert_eq!(shown(near.raw()), Ready(0));
            raise(far.raw(), Ready(0), Ready::OUT).unwrap();
            assert_eq!(shown(near.raw()), Ready::OUT);
        }
        // A listener: readable or nothing.
        lower_out(near.raw());
        raise(far.raw(), Ready(0), Ready::IN).unwrap();
        assert_eq!(shown(near.raw()), Ready::IN);
    }

    #[test]
    fn urgent() {
        let (near, far) = made();
        raise(far.raw(), Ready::OUT, Ready::OUT.with(Ready::PRI)).unwrap();
        assert!(shown(near.raw()).has(Ready::PRI));
        lower_pri(near.raw());
        lower_in(near.raw());
        assert_eq!(shown(near.raw()), Ready::OUT);
    }

    #[test]
    fn ends() {
        let (near, far) = made();
        let eof = END.with(Ready::OUT);
        raise(far.raw(), Ready::OUT, eof).unwrap();
        assert_eq!(shown(near.raw()), eof);
        lower_in(near.raw());
        assert_eq!(shown(near.raw()), eof, "the end stays readable");
        let over = eof.with(Ready::HUP);
        raise(far.raw(), eof, over).unwrap();
        assert_eq!(shown(near.raw()), over);

        // All at once, from an unwritable state.
        let (near, far) = made();
        lower_out(near.raw());
        raise(far.raw(), Ready(0), over).unwrap();
        assert_eq!(shown(near.raw()), over);
    }

    #[test]
    fn an_error_is_the_far_end_closed() {
        let (near, far) = made();
        lower_out(near.raw());
        let over = END.with(Ready::OUT).with(Ready::HUP);
        let broken = over.with(Ready::ERR);
        let left = raise(far.raw(), Ready(0), broken).unwrap();
        assert!(left.close);
        drop(far);
        assert_eq!(shown(near.raw()), broken);
        lower_err(near.raw());
        assert_eq!(shown(near.raw()), over);
    }

    #[test]
    fn the_last_reference_shows_at_the_far_end() {
        let (near, far) = made();
        assert!(!shown(far.raw()).has(Ready::HUP));
        let copy = io::dup_from(near.raw(), 0).unwrap();
        drop(near);
        assert!(!shown(far.raw()).has(Ready::HUP));
        drop(copy);
        assert!(shown(far.raw()).has(Ready::HUP));
    }
}
