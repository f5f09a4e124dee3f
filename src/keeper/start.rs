//! The keeper from its first instruction to readiness.

use super::device;
use super::names;
use super::serve::{Keeper, Parts};
use super::spawn::{ADOPT, ARENA_FD, ARG0, DEVICE_FD, READY, READY_FD, TAKEN, mode_from_text};
use super::survivors;
use crate::arena::Arena;
use crate::config::Config;
use crate::link::Tun;
use crate::link::config::utcp_number;
use crate::runtime::Runtime;
use crate::stack::Shared;
use crate::sys::{Errno, Fd, io, process, unix};
use crate::time::Pace;
use core::sync::atomic::Ordering;

/// Processes that may wait for a hello at a time.
const BACKLOG: i32 = 4096;

/// The keeper's whole life. `args` and `environment` are those of its process.
pub fn main(args: &[&[u8]], environment: &[&[u8]]) -> ! {
    if args.first() != Some(&ARG0.to_bytes()) {
        explain();
        process::exit(0);
    }
    match start(args, environment) {
        Ok(Some(keeper)) => {
            answer(READY);
            keeper.serve()
        }
        Ok(None) => {
            answer(TAKEN);
            process::exit(0)
        }
        Err(text) => {
            answer(format!("{}\n", text.replace('\n', " ")).as_bytes());
            process::exit(1)
        }
    }
}

/// Somebody runs the library by hand.
fn explain() {
    let text = b"This is libutcp.so, the utcp stack. To run a program on it:\n\
                 \x20   LD_PRELOAD=/path/to/libutcp.so PROGRAM\n";
    let _ = io::write(1, text);
}

/// Tell the process that started us, and let it go on.
fn answer(line: &[u8]) {
    let _ = io::write(READY_FD, line);
    let _ = crate::sys::close(READY_FD);
}

/// Everything up to readiness; `None` when another keeper has the stack.
fn start(args: &[&[u8]], environment: &[&[u8]]) -> Result<Option<Keeper>, String> {
    process::set_name(ARG0);
    // Limits are the program's; what it may not spend, the stack of others may need.
    for resource in [
        libc::RLIMIT_NOFILE,
        libc::RLIMIT_AS,
        libc::RLIMIT_DATA,
        libc::RLIMIT_CPU,
    ] {
        process::raise_limit(resource);
    }
    process::set_default(libc::SIGPIPE, true);
    let pairs = environment.iter().filter_map(|variable| {
        let at = variable.iter().position(|b| *b == b'=')?;
        Some((variable.get(..at)?, variable.get(at + 1..)?))
    });
    let config = Config::parse(pairs).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        lines.join("; ")
    })?;
    // The name comes first: it decides between several keepers.
    let failed = |what: &'static str| move |e: Errno| format!("{what}: {e}");
    let listener = unix::socket(unix::Kind::SeqPacket, true).map_err(failed("socket"))?;
    match unix::bind(
        listener.raw(),
        &names::keeper(process::euid(), &config.stack),
    ) {
        Ok(()) => {}
        Err(Errno(libc::EADDRINUSE)) => return Ok(None),
        Err(e) => return Err(failed("bind")(e)),
    }
    unix::listen(listener.raw(), BACKLOG).map_err(failed("listen"))?;
    let parts = if args.get(2) == Some(&ADOPT.as_bytes()) {
        let mode = args
            .get(3)
            .and_then(|text| core::str::from_utf8(text).ok())
            .and_then(mode_from_text);
        let device = mode.map(|mode| Tun::from_fd(Fd::own(DEVICE_FD), mode));
        adopt(listener, Fd::own(ARENA_FD), device)?
    } else {
        // Whoever started us may not know of a stack that has lost its keeper.
        match survivors::find(&config.stack) {
            Some((memfd, device)) => adopt(listener, memfd, device)?,
            None => create(listener, &config)?,
        }
    };
    Keeper::new(parts)
        .map(Some)
        .map_err(failed("the keeper's descriptors"))
}

/// A new stack.
fn create(listener: Fd, config: &Config) -> Result<Parts, String> {
    let name = format!("utcp:{}", config.stack);
    let (arena, memfd) = Arena::<Shared>::create(&name).map_err(|e| e.to_string())?;
    let mut random = [0u8; 32];
    io::random(&mut random).map_err(|e| format!("getrandom: {e}"))?;
    let device = device::open(config);
    {
        let mut shared = arena.lock();
        let (secret, rest) = random.split_at(16);
        shared.secret.copy_from_slice(secret);
        let (nonce, state) = rest.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        shared.nonce = number(nonce).max(1);
        shared.random_state = number(state);
        let now = crate::sys::now();
        shared.pace = Pace::new(config.time_scale, now);
        shared.impair(&config.impair, now);
        let why = match &device {
            Ok(ready) => {
                shared.config = device::host_config(config, ready);
                ready.lacks.as_ref()
            }
            Err(e) => Some(e),
        };
        let why = why.map(ToString::to_string).unwrap_or_default();
        shared.explain_device(&why);
    }
    let (tun, number) = match device {
        Ok(ready) => (Some(ready.tun), ready.number),
        Err(_) => (None, None),
    };
    parts(listener, arena, memfd, tun, number, false)
}

/// The stack of a keeper that died.
fn adopt(listener: Fd, memfd: Fd, tun: Option<Tun>) -> Result<Parts, String> {
    let arena = Arena::<Shared>::attach(&memfd).map_err(|e| e.to_string())?;
    let number = tun.as_ref().and_then(device_number);
    parts(listener, arena, memfd, tun, number, true)
}

/// Keeps the number of a device that a dead keeper made.
pub(super) fn device_number(tun: &Tun) -> Option<Fd> {
    let n = utcp_number(&tun.name().ok()?)?;
    device::reserve(u16::try_from(n).ok()?)
}

fn parts(
    listener: Fd,
    arena: Arena<Shared>,
    memfd: Fd,
    tun: Option<Tun>,
    number: Option<Fd>,
    adopted: bool,
) -> Result<Parts, String> {
    let mode = tun.as_ref().map(Tun::mode);
    let runtime = Runtime::over(arena, tun).map_err(|e| format!("no descriptor left: {e}"))?;
    let pid = process::pid();
    runtime.open().keeper_pid.store(pid, Ordering::Relaxed);
    Ok(Parts {
        listener,
        runtime,
        memfd,
        mode,
        number,
        adopted,
    })
}
