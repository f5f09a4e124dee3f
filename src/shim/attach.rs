//! How this process gets to its stack.

use utcp_stack::arena::Arena;
use utcp_stack::config::Config;
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::SockId;
use utcp_stack::sys::Fd;

/// Why there is no stack for this process.
pub struct Failure {
    /// One line for the user; none if nobody asked for a stack.
    pub line: Option<String>,
    /// What socket(2) gives.
    pub errno: i32,
}

fn config() -> Result<Config, Failure> {
    Config::from_env().map_err(|mistakes| Failure {
        line: mistakes.first().map(ToString::to_string),
        errno: libc::ENETDOWN,
    })
}

/// Attach to the stack that the environment names; start it if there is none.
pub fn attach() -> Result<Runtime, Failure> {
    let config = config()?;
    let _ = config;
    let (arena, _) = Arena::<utcp_stack::stack::Shared>::create("utcp").map_err(|e| Failure {
        line: Some(e.to_string()),
        errno: libc::ENETDOWN,
    })?;
    {
        let mut sh = arena.lock();
        sh.nonce = u64::from(std::process::id()) << 32 | 1;
    }
    Runtime::over(arena, None).map_err(|e| Failure {
        line: Some(e.to_string()),
        errno: e.0,
    })
}

/// [`attach`], if the stack is running.
pub fn attach_running() -> Result<Runtime, Failure> {
    config()?;
    Err(Failure {
        line: None,
        errno: libc::ENETDOWN,
    })
}

/// Give the far end of a socket's descriptor to the keeper.
pub fn send_far(_runtime: &Runtime, _id: SockId, far: Fd) {
    if let Ok(far) = utcp_stack::runtime::high(far) {
        let _ = far.into_raw();
    }
}
