//! Programs that are run and watched: their output kept, their end noted.

use crate::trouble::{Result, Trouble};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a program said and how it ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Its standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// "0", "SIGSEGV".
    pub status: String,
    /// It did not end by itself.
    pub ended: bool,
}

/// A program that runs.
pub struct Running {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    /// The terminal whose output is held.
    held: Option<OwnedFd>,
    status: Option<ExitStatus>,
    ended: bool,
}

impl Running {
    /// Start a program in a process group of its own, with these variables set.
    pub fn start(words: &[OsString], env: &[(&str, OsString)]) -> Result<Running> {
        Running::start_on(words, env, None)
    }

    /// As [`Running::start`], with a terminal as standard output that takes nothing, so that the
    /// program waits when it prints, until [`Running::release`].
    pub fn start_held(words: &[OsString], env: &[(&str, OsString)]) -> Result<Running> {
        // Without terminals it is not held.
        Running::start_on(words, env, held_terminal().ok())
    }

    fn start_on(
        words: &[OsString],
        env: &[(&str, OsString)],
        terminal: Option<(std::fs::File, OwnedFd)>,
    ) -> Result<Running> {
        let (program, args) = words
            .split_first()
            .ok_or_else(|| Trouble::new("nothing to run", "no program was named"))?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).process_group(0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, value) in env {
            command.env(name, value);
        }
        let (shows, held) = match terminal {
            Some((shows, writes)) => {
                let copy = writes.try_clone();
                let copy = copy.map_err(|e| Trouble::new("cannot share a terminal", e))?;
                command.stdout(copy);
                (Some(shows), Some(writes))
            }
            None => (None, None),
        };
        let mut child = command.spawn().map_err(|e| cannot_run(program, &e))?;
        // The command has the terminal open as well.
        drop(command);
        Ok(Running {
            stdout: match shows {
                Some(shows) => gather(Some(shows)),
                None => gather(child.stdout.take()),
            },
            stderr: gather(child.stderr.take()),
            child,
            held,
            status: None,
            ended: false,
        })
    }

    /// Let a program go on that was started with [`Running::start_held`].
    pub fn release(&mut self) {
        if let Some(terminal) = self.held.take() {
            // SAFETY: a descriptor of ours and a plain number.
            unsafe { libc::tcflow(terminal.as_raw_fd(), libc::TCOON) };
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It has not ended yet.
    ///
    /// One that has stays a zombie until [`Running::end`]: while it is one, nobody else gets
    /// its number, nor its group's.
    pub fn is_running(&self) -> bool {
        if self.status.is_some() {
            return false;
        }
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: all-zero is a valid siginfo_t, which the kernel fills; of a child that has
        // not ended it leaves the pid zero.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let done = libc::waitid(libc::P_PID, self.pid(), &raw mut info, flags);
            done == 0 && info.si_pid() == 0
        }
    }

    /// How it ended, once it has; it can still be waited for.
    pub fn status_text(&self) -> String {
        // SAFETY: as in is_running; WNOWAIT leaves the child as it is.
        let (code, status) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            libc::waitid(libc::P_PID, self.pid(), &raw mut info, flags);
            (info.si_code, info.si_status())
        };
        match code {
            libc::CLD_EXITED => status.to_string(),
            _ => crate::procs::signal_name(status),
        }
    }

    /// Wait until it has ended, or until `end`.
    pub fn wait_until(&self, end: Instant) {
        while self.is_running() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// End it and its children if they still run.
    pub fn end(&mut self) {
        if self.status.is_some() {
            return;
        }
        self.release();
        if self.is_running() {
            self.ended = true;
            signal_group(self.pid(), libc::SIGTERM);
            self.wait_until(Instant::now() + Duration::from_millis(500));
        }
        // Its children too, which may still write to the pipes.
        signal_group(self.pid(), libc::SIGKILL);
        self.status = self.child.wait().ok();
    }

    /// End it and take what it said.
    pub fn outcome(mut self) -> Outcome {
        self.end();
        let text = |thread: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
        };
        Outcome {
            stdout: text(self.stdout),
            stderr: text(self.stderr),
            status: self
                .status
                .map_or_else(|| "unknown".to_owned(), crate::procs::status_text),
            ended: self.ended,
        }
    }
}

/// A new terminal: what shows it, and what the program writes to. Bytes pass as they are;
/// output is held, as by Ctrl-S.
fn held_terminal() -> std::io::Result<(std::fs::File, OwnedFd)> {
    let (mut shows, mut writes) = (0, 0);
    // SAFETY: the two numbers are filled in with new descriptors, owned from then on; the
    // termios is filled by tcgetattr before it is used.
    unsafe {
        let none = std::ptr::null_mut();
        if libc::openpty(
            &raw mut shows,
            &raw mut writes,
            none,
            none.cast(),
            none.cast(),
        ) != 0
        {
            return Err(std::io::Error::last_os_error());
        }
        let (shows, writes) = (
            std::fs::File::from_raw_fd(shows),
            OwnedFd::from_raw_fd(writes),
        );
        let mut settings: libc::termios = std::mem::zeroed();
        for fd in [shows.as_raw_fd(), writes.as_raw_fd()] {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        if libc::tcgetattr(writes.as_raw_fd(), &raw mut settings) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::cfmakeraw(&raw mut settings);
        libc::tcsetattr(writes.as_raw_fd(), libc::TCSANOW, &raw const settings);
        libc::tcflow(writes.as_raw_fd(), libc::TCOOFF);
        Ok((shows, writes))
    }
}

/// A program that can't be started.
pub fn cannot_run(program: &OsStr, e: &std::io::Error) -> Trouble {
    Trouble::new(format!("cannot run {}", program.display()), e)
}

fn signal_group(pid: u32, signal: i32) {
    // SAFETY: a group made by `start`, whose leader has not been waited for, so that the id is
    // still its own.
    unsafe { libc::kill(-(pid as libc::pid_t), signal) };
}

/// Read all of a pipe in a thread.
fn gather(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut all);
        }
        all
    })
}

/// The libutcp.so of this command.
pub fn library() -> Result<PathBuf> {
    let exe = std::env::current_exe()
        .map_err(|e| Trouble::new("cannot find libutcp.so", e).mend("mount /proc"))?;
    utcp_stack::keeper::library_for(&exe).ok_or_else(|| {
        let beside = exe.with_file_name("libutcp.so");
        Trouble::new(
            "cannot find libutcp.so",
            format!("{} does not exist", beside.display()),
        )
        .mend("`cargo build --release` makes it")
    })
}

/// LD_PRELOAD with `library` in front of what is there.
pub fn preload(library: &std::path::Path) -> OsString {
    let mut value = library.as_os_str().to_owned();
    if let Some(old) = std::env::var_os("LD_PRELOAD").filter(|old| !old.is_empty()) {
        value.push(":");
        value.push(old);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Running {
        let words = ["sh", "-c", script].map(OsString::from);
        Running::start(&words, &[("GREETING", "hello".into())]).unwrap()
    }

    #[test]
    fn what_it_says_and_how_it_ends() {
        let run = shell("echo $GREETING; echo oops >&2; exit 3");
        run.wait_until(Instant::now() + Duration::from_secs(5));
        let got = run.outcome();
        let want = Outcome {
            stdout: "hello\n".to_owned(),
            stderr: "oops\n".to_owned(),
            status: "3".to_owned(),
            ended: false,
        };
        assert_eq!(got, want);
    }

    #[test]
    fn what_does_not_end_is_ended_with_its_children() {
        let begin = Instant::now();
        let run = shell("sleep 50 & sleep 50");
        std::thread::sleep(Duration::from_millis(50));
        let got = run.outcome();
        assert!(got.ended && got.status == "SIGTERM", "{got:?}");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_is_held_waits_when_it_prints() {
        let words = ["sh", "-c", "echo one; exit 4"].map(OsString::from);
        let mut run = Running::start_held(&words, &[]).unwrap();
        run.wait_until(Instant::now() + Duration::from_millis(200));
        assert!(run.is_running());
        run.release();
        run.wait_until(Instant::now() + Duration::from_secs(5));
        let got = run.outcome();
        assert_eq!((got.stdout.as_str(), got.status.as_str()), ("one\n", "4"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Running::start(&["./no such".into()], &[]).err().unwrap();
        assert!(
            error
                .to_string()
                .starts_with("cannot run ./no such: No such file")
        );
    }
}
