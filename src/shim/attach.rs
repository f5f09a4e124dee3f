//! How this process gets to its stack, and to its keeper.

use crate::{fars, process};
use core::sync::atomic::{AtomicBool, Ordering};
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

/// The keeper hears of this process's end by other means than the connection's.
static ANNOUNCED: AtomicBool = AtomicBool::new(false);
/// It has to: other processes have the connection too.
static SHARED: AtomicBool = AtomicBool::new(false);

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
    let revived = with_link(|link| {
        let lost = link.connection.send_far(id, far).is_err();
        let revived = lost && revive(link, runtime);
        if revived {
            let _ = link.connection.send_far(id, far);
        }
        revived
    });
    if revived == Some(true) {
        hand_over(runtime);
    }
}

/// A new keeper has no far ends: give it those that this process kept. What it hears by them, and
/// shows when we are gone, is then as if the old one had lived.
fn hand_over(runtime: &Runtime) {
    let mut from = 0;
    while let Some(portion) = fars::copies(runtime, &mut from) {
        with_link(|link| {
            for (id, far) in portion.iter().flatten() {
                let _ = link.connection.send_far(*id, far);
            }
        });
    }
}

/// See to it that there is a keeper, and that it hears of this process's end: the next call after
/// its death notices, and a child of fork's first.
pub fn check(runtime: &Runtime) {
    if process::in_vfork_child() {
        // It would get descriptors that its parent has not.
        return;
    }
    let revived = with_link(|link| {
        let revived = !link.connection.is_alive() && revive(link, runtime);
        announce(link);
        revived
    });
    if revived == Some(true) {
        hand_over(runtime);
    }
}

fn announce(link: &Link) {
    if SHARED.load(Ordering::Relaxed) && !ANNOUNCED.swap(true, Ordering::Relaxed) {
        link.connection.announce();
    }
}

fn revive(link: &mut Link, runtime: &Runtime) -> bool {
    match keeper::reattach(&link.config, &link.connection, runtime.device()) {
        Ok(new) => {
            runtime.keeper_is_at(new.raw());
            let old = core::mem::replace(&mut link.connection, new);
            retire(old);
            // The new connection is nobody else's.
            SHARED.store(false, Ordering::Relaxed);
            ANNOUNCED.store(false, Ordering::Relaxed);
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
pub fn after_fork(child: bool) {
    if child {
        ANNOUNCED.store(false, Ordering::Relaxed);
    }
    SHARED.store(true, Ordering::Relaxed);
    if !ANNOUNCED.load(Ordering::Relaxed)
        && let Some(runtime) = process::attached()
    {
        runtime.shares_keeper();
    }
    // SAFETY: locked by `before_fork`, in this thread or the one it is a copy of.
    unsafe { KEEPER.force_unlock() };
}
