//! Starting the keeper from inside a program that must not notice.
//!
//! The keeper is this library itself, executed (see `entry.rs` of the shim). It is never the
//! program's child: a first process is cloned whose end sends no signal and which only a wait
//! with `__WALL` finds; that one clones the keeper and ends, so that the keeper's parent is
//! init. Both share the program's memory and stop its thread until the image is replaced,
//! which copies nothing, however large the program is.
//!
//! (A program that is a child subreaper, or process 1 of its namespace, does become the parent;
//! the kernel leaves no way around that.)

use super::error::AttachError;
use crate::config::Config;
use crate::link::Mode;
use crate::sys::process::{self, Signals};
use crate::sys::{Errno, Fd, io, memory};
use core::ffi::{CStr, c_char};
use core::ptr::null;
use core::sync::atomic::{AtomicI32, Ordering};
use std::ffi::CString;

/// Where the keeper finds the pipe on which it answers.
pub const READY_FD: i32 = 3;
/// Where it finds the arena that it is to adopt.
pub const ARENA_FD: i32 = 4;
/// Where it finds the device that it is to adopt.
pub const DEVICE_FD: i32 = 5;
/// Numbers below are for the keeper's standard descriptors and those above.
const FIRST_FREE_FD: i32 = 6;

/// Its first argument; the stack's name comes after it.
pub const ARG0: &CStr = c"utcp-keeper";
/// The argument after the name if there is an arena to adopt. With a device, there is one more:
/// how packets stand on it ([`mode_to_text`]).
pub const ADOPT: &str = "adopt";

/// What the keeper writes to the pipe when it serves.
pub const READY: &[u8] = b"ready\n";
/// What it writes when another keeper serves already.
pub const TAKEN: &[u8] = b"taken\n";

/// How long to wait for its answer. On a busy machine it once took more than ten seconds.
const PATIENCE: crate::time::Duration = crate::time::Duration::from_secs(30);

/// What a new keeper is to go on with after another one died.
#[derive(Clone, Copy, Debug)]
pub struct Adopt<'a> {
    /// The arena.
    pub arena: &'a Fd,
    /// The device's descriptor, and how packets stand on it.
    pub device: Option<(i32, Mode)>,
}

/// `vnet`, `offload` and MTU, as an argument.
pub fn mode_to_text(mode: Mode) -> String {
    let Mode { vnet, offload, mtu } = mode;
    format!("{},{},{mtu}", u8::from(vnet), u8::from(offload))
}

/// The inverse of [`mode_to_text`].
pub fn mode_from_text(text: &str) -> Option<Mode> {
    let mut parts = text.split(',');
    let mut flag = || match parts.next()? {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    let (vnet, offload) = (flag()?, flag()?);
    let mtu = parts.next()?.parse().ok()?;
    Some(Mode { vnet, offload, mtu })
}

/// What became of a new keeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It serves.
    Ready,
    /// Another has the stack's name: one that was faster, or one that is going away.
    Taken,
}

/// Start a keeper for the stack.
pub fn spawn(config: &Config, adopt: Option<Adopt<'_>>) -> Result<Answer, AttachError> {
    let system = |call| move |e| AttachError::System(call, e);
    let path = image()?;
    let args = arguments(config, adopt);
    let environment: Vec<CString> = config
        .to_environment()
        .into_iter()
        .filter_map(|v| CString::new(v).ok())
        .collect();
    let argv = pointers(&args);
    let envp = pointers(&environment);
    let (answer, low) = io::pipe().map_err(system("pipe2"))?;
    let ready = above(&low)?;
    // While anybody has it open, a keeper that is killed before it answers would not show.
    drop(low);
    let arena = adopt.map(|a| above(a.arena)).transpose()?;
    let device = adopt
        .and_then(|a| a.device)
        .map(|(fd, _)| io::dup_from(fd, FIRST_FREE_FD))
        .transpose()
        .map_err(system("dup"))?;
    let stacks = Stacks::new().map_err(system("mmap"))?;
    let start = Start {
        path: &path,
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        ready: ready.raw(),
        arena: arena.as_ref().map_or(-1, Fd::raw),
        device: device.as_ref().map_or(-1, Fd::raw),
        second_stack: stacks.top(1),
        error: AtomicI32::new(0),
    };
    let mask = process::block_signals();
    // SAFETY: the stack is ours and unused; `middle` only makes system calls; signals are
    // blocked; `start` outlives the call, which returns when the child has ended.
    let cloned = unsafe {
        process::clone_vfork(stacks.top(0), middle, (&raw const start).cast_mut().cast())
    };
    if let Ok(pid) = cloned {
        process::wait_for(pid);
    }
    process::set_mask(mask);
    cloned.map_err(system("clone"))?;
    drop(ready);
    match start.error.load(Ordering::Relaxed) {
        0 => {}
        error => return Err(AttachError::Exec(lossy(&path), Errno(error))),
    }
    read_answer(&answer, &path)
}

/// What the two processes need, in the program's memory.
struct Start<'a> {
    path: &'a CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
    ready: i32,
    arena: i32,
    device: i32,
    second_stack: *mut u8,
    /// Why the last process could not become the keeper.
    error: AtomicI32,
}

/// The process in the middle: its end makes the next one init's child.
extern "C" fn middle(start: *mut u8) -> ! {
    // SAFETY: `spawn` passed a Start, which lives until this process has ended.
    let start: &Start<'_> = unsafe { &*start.cast_const().cast() };
    // SAFETY: as in `spawn`, with the other stack.
    let cloned = unsafe {
        process::clone_vfork(
            start.second_stack,
            last,
            core::ptr::from_ref(start).cast_mut().cast(),
        )
    };
    if let Err(e) = cloned {
        start.error.store(e.0, Ordering::Relaxed);
    }
    process::exit(0)
}

/// The process that becomes the keeper.
extern "C" fn last(start: *mut u8) -> ! {
    // SAFETY: as in `middle`.
    let start: &Start<'_> = unsafe { &*start.cast_const().cast() };
    process::new_session();
    process::change_directory(c"/");
    for signal in 1..=64 {
        process::set_default(signal, false);
    }
    // Where there is no /dev/null, a socket that leads nowhere.
    let null = io::open(c"/dev/null", libc::O_RDWR)
        .or_else(|_| crate::sys::unix::socket(crate::sys::unix::Kind::Stream, true));
    if let Ok(null) = null {
        for fd in 0..=2 {
            let _ = process::dup_to(null.raw(), fd);
        }
        // It may have one of the numbers below, and goes with the others.
        let _ = null.into_raw();
    }
    let mut first_unused = READY_FD;
    for (from, to) in [
        (start.ready, READY_FD),
        (start.arena, ARENA_FD),
        (start.device, DEVICE_FD),
    ] {
        if from >= 0 {
            let _ = process::dup_to(from, to);
            first_unused = to + 1;
        }
    }
    process::close_from(first_unused);
    process::set_mask(Signals(0));
    // SAFETY: arrays of C strings that end in a null pointer.
    let error = unsafe { process::exec(start.path, start.argv, start.envp) };
    start.error.store(error.0, Ordering::Relaxed);
    process::exit(1)
}

/// The same file above the numbers that the keeper is given its descriptors under.
fn above(fd: &Fd) -> Result<Fd, AttachError> {
    io::dup_from(fd.raw(), FIRST_FREE_FD).map_err(|e| AttachError::System("dup", e))
}

/// Wait for the keeper's line.
fn read_answer(answer: &Fd, path: &CStr) -> Result<Answer, AttachError> {
    let end = crate::sys::now() + PATIENCE;
    let mut line = Vec::new();
    let mut part = [0u8; 512];
    while !line.contains(&b'\n') {
        match io::poll_until(answer.raw(), libc::POLLIN, end) {
            Ok(true) => {}
            Ok(false) => return Err(AttachError::Silent(None)),
            Err(e) => return Err(AttachError::System("poll", e)),
        }
        match io::read(answer.raw(), &mut part) {
            Ok(0) => return Err(AttachError::Mute(lossy(path))),
            Ok(n) => line.extend_from_slice(part.get(..n).unwrap_or_default()),
            Err(Errno(libc::EINTR | libc::EAGAIN)) => {}
            Err(e) => return Err(AttachError::System("read", e)),
        }
    }
    match line.as_slice() {
        READY => Ok(Answer::Ready),
        TAKEN => Ok(Answer::Taken),
        text => {
            let text = String::from_utf8_lossy(text);
            Err(AttachError::Keeper(text.trim_end().to_owned()))
        }
    }
}

/// Stacks for two processes that do little.
struct Stacks(core::ptr::NonNull<u8>);

impl Stacks {
    const EACH: usize = 64 << 10;

    fn new() -> Result<Stacks, Errno> {
        memory::map(None, 2 * Stacks::EACH).map(Stacks)
    }

    /// The end of the `n`th.
    fn top(&self, n: usize) -> *mut u8 {
        // SAFETY: within the mapping, or its end.
        unsafe { self.0.as_ptr().add((n + 1) * Stacks::EACH) }
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        // SAFETY: the processes that ran on them have ended or have another image.
        unsafe { memory::unmap(self.0, 2 * Stacks::EACH) };
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([null()]).collect()
}

fn lossy(path: &CStr) -> String {
    path.to_string_lossy().into_owned()
}

/// The keeper's arguments: what `ps` shows.
fn arguments(config: &Config, adopt: Option<Adopt<'_>>) -> Vec<CString> {
    let mut args = vec![ARG0.to_owned()];
    args.extend(CString::new(config.stack.as_str()));
    if let Some(adopt) = adopt {
        args.extend(CString::new(ADOPT));
        let mode = adopt.device.map(|(_, mode)| mode_to_text(mode));
        args.extend(mode.and_then(|mode| CString::new(mode).ok()));
    }
    args
}

/// The library that this code is part of or, when it is part of a command, the one beside it.
#[cfg(not(test))]
fn image() -> Result<CString, AttachError> {
    let own = mapped_at(image as *const () as usize).ok_or(AttachError::NoLibrary(None))?;
    let exe = io::read_link(c"/proc/self/exe").unwrap_or_default();
    if own != exe {
        return runnable(own);
    }
    use std::os::unix::ffi::OsStringExt;
    // An ordinary program with the stack linked in: std's calls are the kernel's here.
    let exe = std::path::PathBuf::from(std::ffi::OsString::from_vec(exe));
    match library_for(&exe) {
        Some(path) => runnable(path.into_os_string().into_vec()),
        None => Err(AttachError::NoLibrary(
            exe.parent()
                .map(|p| p.join(LIBRARY).to_string_lossy().into_owned()),
        )),
    }
}

const LIBRARY: &str = "libutcp.so";

/// The libutcp.so that belongs to the program `exe`: beside it, or in `deps` there, where
/// `cargo test` leaves it (the newer of the two); else one folder up, as seen from cargo's tests.
pub fn library_for(exe: &std::path::Path) -> Option<std::path::PathBuf> {
    let made = |p: &std::path::PathBuf| std::fs::metadata(p).and_then(|m| m.modified()).ok();
    let folder = exe.parent()?;
    let near = [folder.join(LIBRARY), folder.join("deps").join(LIBRARY)];
    let newest = near
        .into_iter()
        .filter(|p| made(p).is_some())
        .max_by_key(made);
    newest.or_else(|| Some(folder.parent()?.join(LIBRARY)).filter(|p| p.is_file()))
}

#[cfg(not(test))]
fn runnable(path: Vec<u8>) -> Result<CString, AttachError> {
    let path = CString::new(path).map_err(|_| AttachError::NoLibrary(None))?;
    match io::is_executable(&path) {
        Ok(()) => Ok(path),
        Err(e) => Err(AttachError::Exec(lossy(&path), e)),
    }
}

/// Which file is mapped at `address`, by its full path.
#[cfg_attr(test, allow(dead_code))]
fn mapped_at(address: usize) -> Option<Vec<u8>> {
    let maps = io::read_file(c"/proc/self/maps")?;
    let line = maps.split(|b| *b == b'\n').find(|line| {
        let Some((start, rest)) = split_once(line, b'-') else {
            return false;
        };
        let end = split_once(rest, b' ').map_or(rest, |(end, _)| end);
        match (hex(start), hex(end)) {
            (Some(start), Some(end)) => (start..end).contains(&address),
            _ => false,
        }
    })?;
    let path = line.get(line.iter().position(|b| *b == b'/')?..)?;
    // The file may have been replaced by a newer one since.
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    Some(path.to_vec())
}

#[cfg_attr(test, allow(dead_code))]
fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let i = text.iter().position(|b| *b == at)?;
    Some((text.get(..i)?, text.get(i + 1..)?))
}

#[cfg_attr(test, allow(dead_code))]
fn hex(digits: &[u8]) -> Option<usize> {
    usize::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}

/// In this crate's tests, the test program itself is the keeper's image: there is no library
/// yet when they run.
#[cfg(test)]
fn image() -> Result<CString, AttachError> {
    Ok(c"/proc/self/exe".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_file_is_found() {
        let path = mapped_at(mapped_at as *const () as usize).unwrap();
        assert_eq!(path, io::read_link(c"/proc/self/exe").unwrap());
        assert_eq!(mapped_at(1), None);
    }
}
