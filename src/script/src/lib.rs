//! Packet scripts: a runner for packetdrill's language, and the two hosts it drives.
//!
//! | file | what |
//! |---|---|
//! | `token.rs`, `parse.rs`, `parse_packet.rs` | from text to a [`model::Script`] |
//! | `codec.rs` | packets as bytes |
//! | `names.rs` | Linux's constants by name |
//! | `flow.rs` | the script's sequence numbers, ports and timestamps, and the real ones |
//! | `check.rs` | whether a packet is the one that was expected |
//! | `calls.rs` | a script's calls and their results |
//! | `control.rs` | control messages that came |
//! | `code.rs` | assertions on TCP_INFO |
//! | `run.rs` | a script from beginning to end, on any [`run::Target`] |
//! | `machine/`, `ours.rs` | this stack in virtual time |
//! | `counts.rs` | which counters the kernel and this stack leave at another value |
//! | `kernel.rs` | the kernel, on a TUN device in a network namespace |

pub mod calls;
pub mod check;
pub mod code;
pub mod codec;
mod control;
mod counts;
pub mod flow;
pub mod kernel;
pub mod machine;
pub mod model;
pub mod names;
pub mod ours;
pub mod parse;
pub mod parse_packet;
pub mod random;
pub mod record;
pub mod request;
pub mod run;
pub mod token;

// The shim's, which exports libc's names and so can't be linked here.
#[path = "../../shim/ancillary.rs"]
#[allow(dead_code)]
mod ancillary;
#[path = "../../shim/errno.rs"]
#[allow(dead_code)]
mod errno;
#[path = "../../shim/tcp_info.rs"]
#[allow(dead_code)]
mod tcp_info;

#[cfg(test)]
mod tests;

pub use counts::{Counted, counted_otherwise};

/// The MTU that a script wants (`--mtu=1500`).
fn mtu(script: &model::Script) -> u16 {
    let told = script.options.iter().rev().find(|(n, _)| n == "mtu");
    told.and_then(|(_, v)| v.as_deref()?.parse().ok())
        .unwrap_or(1500)
}

/// Run a script's text on this project's stack; says where it fails, and why.
pub fn run_on_ours(text: &str) -> Result<(), String> {
    let script = parse::parse(text).map_err(|e| e.to_string())?;
    let mut target = ours::Ours::new(mtu(&script)).ok_or("no memory for a host")?;
    run::run(&script, &mut target).map_err(|f| f.to_string())
}

/// What happens on this project's stack, as a script (see [`record`]).
pub fn record_ours(text: &str) -> Result<String, String> {
    recorded(text, true)
}

fn recorded(text: &str, windows: bool) -> Result<String, String> {
    let script = parse::parse(text).map_err(|e| e.to_string())?;
    let mut target = ours::Ours::new(mtu(&script)).ok_or("no memory for a host")?;
    record::record(&script, text, &mut target, windows).map_err(|f| f.to_string())
}

/// What the kernel does otherwise than this stack in a script by chance ([`random`]): the script as
/// recorded here, and where the kernel failed it, each time of three. Windows are not compared:
/// they follow from the memory of Linux's sk_buffs.
pub fn done_otherwise(kind: random::Kind, seed: u64) -> Result<Option<(String, String)>, String> {
    let text = recorded(&random::script(kind, seed), false)?;
    let mut why = String::new();
    for _ in 0..3 {
        match run_on_kernel(&text) {
            Ok(()) => return Ok(None),
            Err(e) => why = e,
        }
    }
    Ok(Some((text, why)))
}

/// Run a script's text on the kernel, in a network namespace of its own (which takes the right
/// to make one).
pub fn run_on_kernel(text: &str) -> Result<(), String> {
    let script = parse::parse(text).map_err(|e| e.to_string())?;
    let mut target = kernel::Kernel::new(mtu(&script), kernel::Host::Kernel)?;
    run::run(&script, &mut target).map_err(|f| f.to_string())
}

/// Run a script's text on the library that is loaded before this program's libc: its host is on a
/// device of its own, and the kernel forwards between that and the script's. One script a process:
/// a program keeps to one stack.
///
/// # Safety
/// Changes the process's environment: nobody else may use that at the time.
pub unsafe fn run_on_library(text: &str) -> Result<(), String> {
    let script = parse::parse(text).map_err(|e| e.to_string())?;
    for (name, value) in kernel::environment(mtu(&script)) {
        // SAFETY: the caller's.
        unsafe { std::env::set_var(name, value) };
    }
    let mut target = kernel::Kernel::new(mtu(&script), kernel::Host::Behind)?;
    run::run(&script, &mut target).map_err(|f| f.to_string())?;
    match target.carried()? {
        kernel::Carried {
            sockets: 0,
            segments: 0,
        } => Ok(()),
        c => Err(format!("the kernel itself was at work: {c:?}")),
    }
}
