//! The load programs: compiling them, starting them, hearing what they report.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The compiled programs of `load/`.
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// Compile them with `cc`, beside what cargo builds.
    pub fn build() -> Result<Programs, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("load");
        let dir = target().join("bench-load");
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        for name in ["bulk", "pingpong", "crr"] {
            let ok = Command::new("cc")
                .args(["-O2", "-Wall", "-Wextra", "-o"])
                .arg(dir.join(name))
                .arg(source.join(format!("{name}.c")))
                .status()
                .map_err(|e| format!("cc: {e}; install gcc"))?;
            if !ok.success() {
                return Err(format!("cc could not compile {name}.c"));
            }
        }
        Ok(Programs { dir })
    }

    /// A command that runs one of them.
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.dir.join(name))
    }
}

/// Build libutcp.so as it is shipped; `None` if that fails (cargo says why).
pub fn build_library() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "-p", "utcp-shim"])
        .current_dir(root)
        .status()
        .is_ok_and(|s| s.success());
    let lib = target().join("release/libutcp.so");
    (built && lib.exists()).then_some(lib)
}

/// Cargo's target folder, seen from the benchmark's own place in it (target/release/deps).
fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.ancestors()
        .nth(3)
        .map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

/// The fields of a report line, by name.
pub type Fields = BTreeMap<String, f64>;

/// A running program, ended when dropped.
pub struct Running {
    child: Child,
    out: ChildStdout,
    pending: Vec<u8>,
}

impl Running {
    /// Start `command` on the given core. It dies with us.
    pub fn start(mut command: Command, core: usize) -> Result<Running, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let prepare = move || {
            pin(core)?;
            stand_out();
            die_with_parent()
        };
        // SAFETY: it makes three system calls, which are allowed between fork and exec.
        unsafe { command.pre_exec(prepare) };
        let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        let out = child.stdout.take().ok_or("no standard output")?;
        Ok(Running {
            child,
            out,
            pending: Vec::new(),
        })
    }

    /// The next line of its output, without waiting for longer than until `deadline`. Waiting
    /// costs nothing: the programs have the processors to themselves.
    pub fn line(&mut self, deadline: Instant) -> Result<String, String> {
        loop {
            if let Some(end) = self.pending.iter().position(|b| *b == b'\n') {
                let rest = self.pending.split_off(end + 1);
                let line = std::mem::replace(&mut self.pending, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !readable(self.out.as_raw_fd(), left) {
                return Err("timed out".to_owned());
            }
            let mut buf = [0; 4096];
            match self.out.read(&mut buf) {
                Ok(0) | Err(_) => return Err(self.how_it_ended()),
                Ok(n) => self.pending.extend_from_slice(&buf[..n]),
            }
        }
    }

    /// The report line's fields.
    pub fn report(&mut self, deadline: Instant) -> Result<Fields, String> {
        let line = self.line(deadline)?;
        let field = |word: &str| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        line.split_whitespace()
            .map(|word| field(word).ok_or_else(|| format!("not a report: {line}")))
            .collect()
    }

    /// Wait for its end. It has reported already, so there is no hurry.
    pub fn finish(mut self, deadline: Instant) -> Result<(), String> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(_)) | Err(_) => return Err(self.how_it_ended()),
                Ok(None) if Instant::now() >= deadline => return Err("does not exit".to_owned()),
                Ok(None) => std::thread::sleep(Duration::from_micros(500)),
            }
        }
    }

    fn how_it_ended(&mut self) -> String {
        match self.child.wait() {
            Ok(status) => format!("{status}"),
            Err(e) => e.to_string(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bind the calling thread to one core.
pub fn pin(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero set is the empty set; the call only reads it.
    let rc = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Let the scheduler favour the programs to whatever else the machine does. Not a realtime class:
/// that would change how they wake each other. An ordinary user may not, and does without.
fn stand_out() {
    // SAFETY: sets an attribute of the calling process.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}

/// Arrange for the calling process to be killed when its parent ends.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: sets an attribute of the calling process.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Wait until `fd` is readable; false: it wasn't within `timeout`.
pub fn readable(fd: i32, timeout: Duration) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let ms = timeout.as_millis().min(i32::MAX as u128) as i32;
    // SAFETY: one valid entry.
    unsafe { libc::poll(&mut poll, 1, ms) > 0 }
}
