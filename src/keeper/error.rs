//! Why a program can't have its stack.

use super::protocol::VERSION;
use crate::arena::ArenaError;
use crate::config::Mistake;
use crate::sys::Errno;
use core::fmt;

/// Why a program can't have its stack. `Display` gives one line: what, why, and what mends it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttachError {
    /// The environment has this mistake (the first of them).
    Config(Mistake),
    /// The system call named failed.
    System(&'static str, Errno),
    /// There is no such stack, and none was to be started.
    NotRunning,
    /// There is no libutcp.so here to be the keeper.
    NoLibrary(Option<String>),
    /// The library can't be executed.
    Exec(String, Errno),
    /// The new keeper ended without an answer.
    Mute(String),
    /// The new keeper said this and ended.
    Keeper(String),
    /// The keeper (process id, if known) does not answer.
    Silent(Option<i32>),
    /// Another user listens under this stack's name.
    Foreign(u32),
    /// What answers is no keeper.
    NoKeeper,
    /// The keeper is of this other version.
    Version(u32),
    /// The arena does not fit.
    Arena(ArenaError),
    /// The keeper that took over serves another arena: this one's connections are lost.
    Replaced,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use AttachError::*;
        match self {
            Config(mistake) => mistake.fmt(f),
            System(call, e) => write!(f, "no stack: {call}: {e}"),
            NotRunning => write!(
                f,
                "no such stack is running; `utcp run PROGRAM` starts it with a program"
            ),
            NoLibrary(None) => write!(
                f,
                "no stack: libutcp.so can't find its own file; mount /proc"
            ),
            NoLibrary(Some(path)) => write!(
                f,
                "no stack: {path} does not exist; `cargo build --release` makes it"
            ),
            Exec(path, e) if e.0 == libc::EACCES => write!(
                f,
                "no stack: {path} may not be executed by this user, and the stack's keeper is \
                 started from it; `chmod a+rx {path}` (and a+x on the folders above it) allows it"
            ),
            Exec(path, e) => write!(f, "no stack: {path} can't be executed: {e}"),
            Mute(path) => write!(
                f,
                "no stack: its keeper ended at once; `{path}` run by hand says why"
            ),
            Keeper(text) => write!(f, "no stack: {text}"),
            Silent(None) => write!(f, "no stack: its keeper does not get ready"),
            Silent(Some(pid)) => write!(
                f,
                "no stack: its keeper, process {pid}, does not answer; `kill -CONT {pid}` wakes \
                 it if it was stopped"
            ),
            Foreign(uid) => write!(
                f,
                "no stack: user {uid} has taken the stack's name; choose another with \
                 UTCP_STACK=NAME"
            ),
            NoKeeper => write!(
                f,
                "no stack: something else has taken the stack's name; choose another with \
                 UTCP_STACK=NAME"
            ),
            Version(theirs) => write!(
                f,
                "no stack: the one that runs is of utcp's version {theirs}, this is {VERSION}: end \
                 the programs that use it, or choose another stack with UTCP_STACK=NAME"
            ),
            Arena(e) => e.fmt(f),
            Replaced => write!(
                f,
                "the stack's keeper died and another stack has been started in its place: \
                 restart this program"
            ),
        }
    }
}

impl std::error::Error for AttachError {}

impl AttachError {
    /// What socket(2) is to fail with: the kernel's own reason where there is one, and
    /// ENETDOWN where the stack as such is not to be had.
    pub fn errno(&self) -> i32 {
        match self {
            AttachError::System(_, e) | AttachError::Arena(ArenaError::System(_, e))
                if [
                    libc::EMFILE,
                    libc::ENFILE,
                    libc::ENOMEM,
                    libc::EACCES,
                    libc::EPERM,
                ]
                .contains(&e.0) =>
            {
                e.0
            }
            _ => libc::ENETDOWN,
        }
    }
}

impl From<ArenaError> for AttachError {
    fn from(e: ArenaError) -> AttachError {
        AttachError::Arena(e)
    }
}
