//! How a process gets to its stack: find the keeper, or start one, and take what it hands out.

use super::error::AttachError;
use super::names;
use super::protocol::{Garbled, Hello, Request};
use super::spawn::{self, Adopt, Answer};
use super::survivors;
use crate::arena::{Arena, ArenaError, Root};
use crate::config::Config;
use crate::link::{Mode, Tun};
use crate::runtime::high;
use crate::stack::{Shared, SockId};
use crate::sys::{self, Errno, Fd, io, process, unix};
use crate::time::{Duration, Instant};

/// How long to wait for a keeper, from finding it to its hello.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many keepers that end before they answer may have been killed; the next one means that none
/// can start.
const KILLED: u32 = 3;
/// Between two attempts, while one keeper goes and another comes.
const PAUSE: Duration = Duration::from_millis(1);

/// A process's part in a stack.
#[derive(Debug)]
pub struct Attachment {
    /// The stack's state.
    pub arena: Arena<Shared>,
    /// The device, if there is one.
    pub tun: Option<Tun>,
    /// The connection to the keeper.
    pub conn: Connection,
}

/// The connection to the keeper. As long as any process has it open, the keeper stays.
///
/// Its descriptors are close-on-exec and far above those that the program uses.
#[derive(Debug)]
pub struct Connection {
    fd: Fd,
    identity: (u64, u64),
    /// The arena once more, for a keeper that has to take over.
    memfd: Fd,
    nonce: u64,
}

/// What a keeper hands out.
struct Met {
    fd: Fd,
    hello: Hello,
    memfd: Fd,
    device: Option<(Fd, Mode)>,
}

/// Attach this process to the stack that `config` names; start it if it isn't there.
pub fn attach(config: &Config) -> Result<Attachment, AttachError> {
    meet(config, Some(None)).and_then(|met| settle(config, met))
}

/// As [`attach`], but only to a stack that is running already.
pub fn attach_running(config: &Config) -> Result<Option<Attachment>, AttachError> {
    match meet(config, None) {
        Ok(met) => settle(config, met).map(Some),
        Err(AttachError::NotRunning) => Ok(None),
        Err(e) => Err(e),
    }
}

fn settle(config: &Config, met: Met) -> Result<Attachment, AttachError> {
    let arena = Arena::attach(&met.memfd)?;
    let device = met.device.as_ref().map(|(fd, mode)| (fd.raw(), *mode));
    survivors::sign(&config.stack, met.fd.raw(), &met.memfd, device);
    let tun = met.device.map(|(fd, mode)| Tun::from_fd(fd, mode));
    Ok(Attachment {
        arena,
        tun,
        conn: Connection::new(met.fd, met.memfd, met.hello.nonce)?,
    })
}

/// After the keeper died: a new one takes over the arena that this process has mapped, and the
/// device (see [`crate::runtime::Runtime::device`]). Several processes may do this at a time, and any number of times.
pub fn reattach(
    config: &Config,
    old: &Connection,
    device: Option<(i32, Mode)>,
) -> Result<Connection, AttachError> {
    let adopt = Adopt {
        arena: &old.memfd,
        device,
    };
    let met = meet(config, Some(Some(adopt)))?;
    if met.hello.nonce != old.nonce {
        return Err(AttachError::Replaced);
    }
    survivors::sign(&config.stack, met.fd.raw(), &met.memfd, device);
    let conn = Connection::new(met.fd, met.memfd, met.hello.nonce)?;
    if let (None, Some((fd, mode))) = (met.device, device) {
        conn.send(Request::Device(mode), fd)?;
    }
    Ok(conn)
}

impl Connection {
    fn new(fd: Fd, memfd: Fd, nonce: u64) -> Result<Connection, AttachError> {
        let identity = io::identity(fd.raw()).map_err(|e| AttachError::System("fstat", e))?;
        Ok(Connection {
            fd,
            identity,
            memfd,
            nonce,
        })
    }

    /// The descriptor's number.
    pub fn raw(&self) -> i32 {
        self.fd.raw()
    }

    /// The numbers of all descriptors of this connection, for those who guard them.
    pub fn descriptors(&self) -> [i32; 2] {
        [self.fd.raw(), self.memfd.raw()]
    }

    /// Whether a keeper is at the other end (and the descriptor still what it was: a program
    /// may have closed it by means that can't be seen). One or two system calls.
    pub fn is_alive(&self) -> bool {
        if io::identity(self.fd.raw()) != Ok(self.identity) {
            return false;
        }
        let mut fds = [io::PollFd::new(self.fd.raw(), 0)];
        io::poll(&mut fds, Some(Duration::ZERO)) == Ok(0)
    }

    /// The program closed our descriptor and perhaps uses the number itself: don't close it.
    pub fn forget(self) {
        let Connection { fd, memfd, .. } = self;
        let _ = (fd.into_raw(), memfd.into_raw());
    }

    /// Give the keeper the far end of the descriptor of socket `id`. The caller may keep or
    /// close its own.
    pub fn send_far(&self, id: SockId, far: &Fd) -> Result<(), AttachError> {
        self.send(Request::Far(id), far.raw())
    }

    /// Have the keeper told when this process ends. That this connection ends tells it too, but
    /// not of a process that shares it with its parent or its children.
    pub fn announce(&self) {
        // A keeper that is so busy (or stopped) that the message has to wait is not waited for.
        if let Ok(process) = process::pidfd() {
            let bytes = Request::Process.to_bytes();
            let _ = unix::send(self.fd.raw(), &bytes, &[process.raw()], libc::MSG_DONTWAIT);
        }
    }

    fn send(&self, request: Request, fd: i32) -> Result<(), AttachError> {
        // The kernel counts descriptors under way for each user, and refuses some beyond
        // RLIMIT_NOFILE; the keeper takes them out within microseconds.
        let end = sys::now() + PATIENCE;
        loop {
            match unix::send(self.fd.raw(), &request.to_bytes(), &[fd], 0) {
                Ok(_) => return Ok(()),
                Err(Errno(libc::EINTR)) => {}
                Err(Errno(libc::ETOOMANYREFS)) if sys::now() < end => io::sleep(PAUSE),
                Err(e) => return Err(AttachError::System("sendmsg", e)),
            }
        }
    }
}

/// Find a keeper that answers, starting one where there is none if that is wanted (and on what
/// it is to go on with).
///
/// A keeper that is going away may still have its name or even take a connection; then there
/// is no hello, and the next attempt finds the name free. Of two new keepers bind(2) decides,
/// and the other one's programs find the winner.
fn meet(config: &Config, start: Option<Option<Adopt<'_>>>) -> Result<Met, AttachError> {
    let uid = process::euid();
    let name = names::keeper(uid, &config.stack);
    let end = sys::now() + PATIENCE;
    let mut mute = 0;
    loop {
        let fd = high(sequenced()?).map_err(|e| AttachError::System("dup", e))?;
        match unix::connect(fd.raw(), &name) {
            Ok(()) => {
                if let Some(met) = hear(fd, uid, end)? {
                    return Ok(met);
                }
            }
            Err(Errno(libc::ECONNREFUSED)) => {
                drop(fd);
                let adopt = start.ok_or(AttachError::NotRunning)?;
                match spawn::spawn(config, adopt) {
                    Ok(Answer::Ready) => continue,
                    Ok(Answer::Taken) => {}
                    Err(AttachError::Mute(_)) if mute < KILLED => mute += 1,
                    Err(e) => return Err(e),
                }
            }
            Err(Errno(libc::EINTR | libc::EAGAIN)) => {}
            Err(e) => return Err(AttachError::System("connect", e)),
        }
        if sys::now() >= end {
            return Err(AttachError::Silent(None));
        }
        io::sleep(PAUSE);
    }
}

fn sequenced() -> Result<Fd, AttachError> {
    unix::socket(unix::Kind::SeqPacket, false).map_err(|e| AttachError::System("socket", e))
}

/// Receive the keeper's hello on a new connection; `None` when that keeper is going away.
fn hear(fd: Fd, uid: u32, end: Instant) -> Result<Option<Met>, AttachError> {
    let peer = unix::peer(fd.raw()).map_err(|e| AttachError::System("SO_PEERCRED", e))?;
    if peer.uid != uid {
        return Err(AttachError::Foreign(peer.uid));
    }
    let mut bytes = [0u8; 128];
    let (len, fds) = loop {
        match io::poll_until(fd.raw(), libc::POLLIN, end) {
            Ok(true) => {}
            Ok(false) => return Err(AttachError::Silent(Some(peer.pid))),
            Err(e) => return Err(AttachError::System("poll", e)),
        }
        match unix::recv(fd.raw(), &mut bytes, libc::MSG_DONTWAIT) {
            Ok((0, _)) | Err(Errno(libc::ECONNRESET)) => return Ok(None),
            Ok(got) => break got,
            Err(Errno(libc::EINTR | libc::EAGAIN)) => {}
            Err(e) => return Err(AttachError::System("recvmsg", e)),
        }
    };
    let hello = Hello::from_bytes(bytes.get(..len).unwrap_or_default()).map_err(|e| match e {
        Garbled::Foreign => AttachError::NoKeeper,
        Garbled::Version(v) => AttachError::Version(v),
    })?;
    if hello.layout != Shared::LAYOUT {
        return Err(AttachError::Arena(ArenaError::Layout));
    }
    let out_of_the_way = |fd: Fd| high(fd).map_err(|e| AttachError::System("dup", e));
    // One that is missing did not fit into the program's table.
    let none_left = AttachError::System("recvmsg", Errno(libc::EMFILE));
    let [memfd, device, ..] = fds;
    let device = match (hello.device, device) {
        (Some(mode), Some(device)) => Some((out_of_the_way(device)?, mode)),
        (Some(_), None) => return Err(none_left),
        (None, _) => None,
    };
    Ok(Some(Met {
        fd,
        hello,
        memfd: out_of_the_way(memfd.ok_or(none_left)?)?,
        device,
    }))
}
