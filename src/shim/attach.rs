//! How this process gets to its stack, and to its keeper.

use crate::fars;
use parking_lot::Mutex;
use utcp_stack::config::Config;
use utcp_stack::keeper::{self, AttachError, Attachment, Connection};
use utcp_stack::runtime::{Runtime, own};
use utcp_stack::stack::SockId;
use utcp_stack::sys::Fd;
use utcp_stack::sys::process::{block_signals, set_mask};

/// Why there is no stack for this process.
pub struct Failure {
    /// One line for the user; none if nobody asked for a stack.
    pub line: Option<String>,
    /// What socket(2) gives.
    pub errno: i32,
}

impl From<AttachError> for Failure {
    fn from(e: AttachError) -> Failure {
        Failure {
            line: Some(e.to_string()),
            errno: e.errno(),
        }
    }
}

/// The connection to the keeper, and how to get another.
struct Link {
    config: Config,
    connection: Connection,
}

static KEEPER: Mutex<Option<Link>> = Mutex::new(None);

fn config() -> Result<Config, Failure> {
    Config::from_env().map_err(|mistakes| Failure {
        line: mistakes.first().map(ToString::to_string),
        errno: libc::ENETDOWN,
    })
}

/// Attach to the stack that the environment names; start it if there is none.
pub fn attach() -> Result<Runtime, Failure> {
    let config = config()?;
    let attachment = keeper::attach(&config)?;
    begin(config, attachment)
}

/// [`attach`], if the stack is running.
pub fn attach_running() -> Result<Runtime, Failure> {
    let quiet = |errno| Failure { line: None, errno };
    let config = config().map_err(|f| quiet(f.errno))?;
    match keeper::attach_running(&config) {
        Ok(Some(attachment)) => begin(config, attachment),
        Ok(None) => Err(quiet(libc::ENETDOWN)),
        Err(e) => Err(quiet(e.errno())),
    }
}

fn begin(config: Config, attachment: Attachment) -> Result<Runtime, Failure> {
    let Attachment { arena, tun, conn } = attachment;
    let runtime =
        Runtime::over(arena, tun).map_err(|e| Failure::from(AttachError::System("socket", e)))?;
    let runtime = runtime.with_keeper(conn.raw(), check);
    runtime.raise_by(fars::raise);
    *KEEPER.lock() = Some(Link {
        config,
        connection: conn,
    });
    Ok(runtime)
}

/// With the connection, and signals blocked: a handler may make a socket.
fn with_link<R>(f: impl FnOnce(&mut Link) -> R) -> Option<R> {
    let mask = block_signals();
    let done = KEEPER.lock().as_mut().map(f);
    set_mask(mask);
    done
}

/// Give the far end of a socket's descriptor to the keeper. Should that have died, a new one
/// takes over first.
pub fn send_far(runtime: &Runtime, id: SockId, far: &Fd) {
    with_link(|link| {
        if link.connection.send_far(id, far).is_err() && revive(link, runtime) {
            let _ = link.connection.send_far(id, far);
        }
    });
}

/// See to it that there is a keeper: the next call after its death notices.
pub fn check(runtime: &Runtime) {
    with_link(|link| {
        if !link.connection.is_alive() {
            revive(link, runtime);
        }
    });
}

fn revive(link: &mut Link, runtime: &Runtime) -> bool {
    match keeper::reattach(&link.config, &link.connection, runtime.device()) {
        Ok(new) => {
            runtime.keeper_is_at(new.raw());
            let old = core::mem::replace(&mut link.connection, new);
            retire(old);
            true
        }
        Err(_) => false,
    }
}

/// A connection that is no more use. Its descriptors are left open: they may have been closed
/// by the program, and be something else by now.
fn retire(old: Connection) {
    for fd in old.descriptors() {
        own::remove(fd);
    }
    old.forget();
}

/// Around fork: the child must not find the lock held by a thread that it doesn't have.
pub fn before_fork() {
    core::mem::forget(KEEPER.lock());
}

/// See [`before_fork`]; in the parent and in the child.
pub fn after_fork() {
    // SAFETY: locked by `before_fork`, in this thread or the one it is a copy of.
    unsafe { KEEPER.force_unlock() };
}
