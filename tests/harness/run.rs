//! A scenario's steps, run on one side.

use super::capture::{Capture, Segment};
use super::netns::{self, Counters, Namespace};
use super::{build, capture};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Whose stack serves the tested programs.
#[derive(Clone, Debug)]
pub enum Side {
    /// The kernel's.
    Kernel,
    /// The one in this library, preloaded.
    Library(PathBuf),
}

impl Side {
    /// A title for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Side::Kernel => "kernel",
            Side::Library(_) => "utcp",
        }
    }
}

#[derive(Clone)]
enum Program {
    C(&'static str),
    Java(&'static str),
    Shell(String),
}

/// One program of a scenario.
#[derive(Clone)]
pub struct Step {
    program: Program,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    at_peer: bool,
    background: bool,
    ready: Option<&'static str>,
    stdin: Option<&'static str>,
    endless: bool,
    may_fail: bool,
}

impl Step {
    /// A program of `c-tests/`, without its `.c`.
    pub fn c(name: &'static str) -> Step {
        Step {
            program: Program::C(name),
            args: Vec::new(),
            env: Vec::new(),
            at_peer: false,
            background: false,
            ready: None,
            stdin: None,
            endless: false,
            may_fail: false,
        }
    }
    /// A class of `c-tests/java/`.
    pub fn java(name: &'static str) -> Step {
        Step {
            program: Program::Java(name),
            ..Step::c("")
        }
    }
    /// A line for the shell.
    pub fn shell(line: &str) -> Step {
        Step {
            program: Program::Shell(line.to_owned()),
            ..Step::c("")
        }
    }
    /// Its arguments, separated by blanks.
    pub fn args(mut self, args: &str) -> Step {
        self.args = args.split(' ').map(str::to_owned).collect();
        self
    }
    /// A variable of its environment.
    pub fn env(mut self, name: &'static str, value: &str) -> Step {
        self.env.push((name, value.to_owned()));
        self
    }
    /// It runs at the other host, on the kernel, whichever side is tested.
    pub fn at_peer(mut self) -> Step {
        self.at_peer = true;
        self
    }
    /// The next step starts while it runs: once it has printed "ready".
    pub fn background(self) -> Step {
        self.background_once("ready")
    }
    /// The next step starts while it runs: once it has printed the line, or if the line is empty
    /// (for programs that say nothing) once it has begun to wait for something.
    pub fn background_once(mut self, line: &'static str) -> Step {
        self.background = true;
        self.ready = Some(line);
        self
    }
    /// It doesn't end by itself: it is ended when all others have.
    pub fn endless(mut self) -> Step {
        self.endless = true;
        self
    }
    /// It is meant to fail. All others must succeed on the kernel: two equal failures prove
    /// nothing.
    pub fn may_fail(mut self) -> Step {
        self.may_fail = true;
        self
    }
    /// What it reads from its standard input.
    pub fn stdin(mut self, text: &'static str) -> Step {
        self.stdin = Some(text);
        self
    }

    fn label(&self) -> String {
        let name = match &self.program {
            Program::C(name) | Program::Java(name) => name,
            Program::Shell(line) => line.as_str(),
        };
        let at = if self.at_peer {
            " (at the other host)"
        } else {
            ""
        };
        format!("{name} {}{at}", self.args.join(" "))
    }
    fn command(&self) -> Command {
        let mut command = match &self.program {
            Program::C(name) => Command::new(build::c(name)),
            Program::Java(name) => {
                let mut java = Command::new("java");
                java.arg("-cp").arg(build::java(name)).arg(name);
                java
            }
            Program::Shell(line) => {
                let mut sh = Command::new("sh");
                sh.arg("-c").arg(line);
                sh
            }
        };
        command.args(&self.args);
        command
    }
}

/// Programs that run together, and where.
#[derive(Clone)]
pub struct Scenario {
    steps: Vec<Step>,
    pub(super) two_hosts: bool,
    limit: Duration,
    pub(super) on_the_kernel: bool,
    pub(super) segments: bool,
    pub(super) inspect: Option<Inspect>,
    no_gateway: bool,
}

/// Looks at one side's segments, with an eye to what two sides can't have in common.
pub type Inspect = fn(&[Segment]) -> std::result::Result<(), String>;

impl Scenario {
    /// On one host, over its loopback.
    pub fn alone(steps: impl Into<Vec<Step>>) -> Scenario {
        Scenario {
            steps: steps.into(),
            two_hosts: false,
            limit: Duration::from_secs(120),
            on_the_kernel: false,
            segments: false,
            inspect: None,
            no_gateway: false,
        }
    }
    /// On two hosts: the tested one and a peer, whose stack is always the kernel's.
    pub fn two_hosts(steps: impl Into<Vec<Step>>) -> Scenario {
        Scenario {
            two_hosts: true,
            ..Scenario::alone(steps)
        }
    }
    /// How long a program may take.
    pub fn limit(mut self, seconds: u64) -> Scenario {
        self.limit = Duration::from_secs(seconds);
        self
    }
    /// Its sockets stay on the kernel for now (UDP): no proof that the library carried them.
    pub fn on_the_kernel(mut self) -> Scenario {
        self.on_the_kernel = true;
        self
    }
    /// The segments are compared too.
    pub fn segments(mut self) -> Scenario {
        self.segments = true;
        self
    }
    /// Each side's segments are looked at.
    pub fn inspect(mut self, inspect: Inspect) -> Scenario {
        self.inspect = Some(inspect);
        self
    }
    /// The stack gets no next hop, as the kernel has none in a namespace with a loopback alone.
    pub fn no_gateway(mut self) -> Scenario {
        self.no_gateway = true;
        self
    }
    /// Whether the step at this place must succeed.
    pub(super) fn must_succeed(&self, step: usize) -> bool {
        let step = self.steps.get(step);
        step.is_some_and(|s| !s.endless && !s.may_fail)
    }
    /// Compiles its programs.
    pub(super) fn build(&self) {
        for step in &self.steps {
            step.command();
        }
    }
}

/// How a program went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Result {
    /// Program and arguments.
    pub label: String,
    /// What it printed.
    pub stdout: String,
    /// What it complained about; shown, not compared.
    pub stderr: String,
    /// Exit status or signal, or that its time was up.
    pub end: String,
}

/// How a side went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the order of the steps.
    pub results: Vec<Result>,
    /// What the kernel of the tested host's namespace carried. Under the library with two
    /// hosts, that is the peer's kernel.
    pub kernel: Counters,
    /// The segments, or why there are none.
    pub segments: std::result::Result<Vec<Segment>, String>,
    /// The interface `utcp0` carried packets in both directions.
    pub over_utcp0: bool,
}

/// Runs the steps on one side, in new namespaces.
pub fn run(test: &str, scenario: &Scenario, side: &Side) -> Outcome {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let n = SERIAL.fetch_add(1, Ordering::Relaxed);
    let stack = format!("test-{}-{n}", test.replace(':', "-"));
    let here = Namespace::new();
    let second = match (scenario.two_hosts, side) {
        (true, Side::Kernel) => Some(Namespace::new()),
        _ => None,
    };
    // With the library, the tested host is a stack inside the peer's namespace.
    let tested = second.as_ref().unwrap_or(&here);
    if scenario.two_hosts {
        if matches!(side, Side::Library(_)) {
            netns::need_device();
        }
        here.as_peer();
        if let Some(tested) = &second {
            here.wire_to(tested);
        }
    }
    let wire = if scenario.two_hosts { "utcp0" } else { "lo" };
    let wanted = scenario.segments || scenario.inspect.is_some();
    let watch = if scenario.two_hosts || (wanted && matches!(side, Side::Kernel)) {
        Some(here.enter(|| Capture::start(wire).expect("an AF_PACKET socket")))
    } else {
        None
    };
    // What a stack carries on its own loopback no capture sees: `utcp run` hands out its trace.
    let trace = match side {
        Side::Library(path) if wanted && watch.is_none() && *path == build::libutcp() => {
            Some(build::scratch(&stack))
        }
        _ => None,
    };
    let before = tested.enter(netns::counters);
    let mut running: Vec<(usize, Running)> = Vec::new();
    let mut results: Vec<Option<Result>> = vec![None; scenario.steps.len()];
    for (i, step) in scenario.steps.iter().enumerate() {
        let traced = trace.as_ref().filter(|_| i == 0);
        let mut command = match traced {
            Some(file) => capture::traced(&step.command(), &stack, file),
            None => step.command(),
        };
        command.envs(step.env.iter().map(|(k, v)| (*k, v.as_str())));
        // A file's name that the steps of this run have to themselves.
        command.env("TEST_RUN", build::scratch(&stack));
        if let (Side::Library(path), false) = (side, step.at_peer) {
            command.env("LD_PRELOAD", path).env("UTCP_STACK", &stack);
            if scenario.no_gateway {
                command
                    .env("UTCP_GATEWAY", "none")
                    .env("UTCP_GATEWAY6", "none");
            }
        }
        let place = if step.at_peer { &here } else { tested };
        let mut run = place.enter(|| Running::start(command, step, scenario.limit));
        if let Some(line) = step.ready {
            run.await_line(line);
            running.push((i, run));
        } else {
            results[i] = Some(run.finish());
        }
    }
    // Those that end by themselves first.
    running.sort_by_key(|(i, _)| scenario.steps.get(*i).is_some_and(|s| s.endless));
    for (i, mut run) in running {
        if scenario.steps.get(i).is_some_and(|s| s.endless) {
            run.end();
        }
        results[i] = Some(run.finish());
    }
    let after = tested.enter(netns::counters);
    let seen = watch.map(Capture::finish);
    let over_utcp0 = seen.as_ref().is_some_and(|s| s.left && s.came);
    let segments = match (seen, side) {
        (Some(seen), _) => Ok(seen.segments),
        (None, _) => trace.map_or_else(
            || Err("not captured".to_owned()),
            |file| capture::utcp_segments(&file),
        ),
    };
    Outcome {
        results: results.into_iter().flatten().collect(),
        kernel: Counters {
            active_opens: after.active_opens - before.active_opens,
            passive_opens: after.passive_opens - before.passive_opens,
            in_segs: after.in_segs - before.in_segs,
            out_segs: after.out_segs - before.out_segs,
        },
        segments: segments.map(|s| capture::comparable(s, scenario.two_hosts)),
        over_utcp0,
    }
}

/// What a reader thread has collected.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    closed: bool,
}

/// A program that runs.
struct Running {
    label: String,
    child: Child,
    stdout: Arc<(Mutex<Text>, Condvar)>,
    stderr: Arc<(Mutex<Text>, Condvar)>,
    /// What it is yet to read from its standard input, and from when on.
    stdin: Option<(ChildStdin, &'static str, Instant)>,
    deadline: Instant,
}

/// The process sleeps: how often it was taken from its processor so far, else nothing.
fn asleep(pid: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = |start: &str| status.lines().find(|l| l.starts_with(start));
    line("State:")?.contains('S').then_some(())?;
    Some(format!("{:?}", (line("voluntary"), line("nonvoluntary"))))
}

fn collect(mut from: impl Read + Send + 'static) -> Arc<(Mutex<Text>, Condvar)> {
    let text = Arc::new((Mutex::new(Text::default()), Condvar::new()));
    let ours = Arc::clone(&text);
    // Not joined: if another process keeps the pipe, it must not keep the test.
    std::thread::spawn(move || {
        let mut b = [0; 4096];
        loop {
            let n = from.read(&mut b).unwrap_or(0);
            let mut text = ours.0.lock().unwrap_or_else(|e| e.into_inner());
            text.bytes.extend_from_slice(&b[..n]);
            text.closed = n == 0;
            ours.1.notify_all();
            if n == 0 {
                return;
            }
        }
    });
    text
}

impl Running {
    fn start(mut command: Command, step: &Step, limit: Duration) -> Running {
        command
            .stdin(if step.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("can't run {program}: {e}"));
        let stdin = step.stdin.zip(child.stdin.take());
        // Later than it starts to wait, so that the waiting is tested.
        let soon = Instant::now() + Duration::from_millis(1500);
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        Running {
            label: step.label(),
            child,
            stdout,
            stderr,
            stdin: stdin.map(|(text, pipe)| (pipe, text, soon)),
            deadline: Instant::now() + limit,
        }
    }

    /// Waits until the line was printed, at most thirty seconds; if it is empty, until the program
    /// has slept for a while.
    fn await_line(&mut self, line: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        if line.is_empty() {
            let (mut was, mut same) = (None, 0);
            while same < 10 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
                let is = asleep(self.child.id());
                same = if is.is_some() && is == was {
                    same + 1
                } else {
                    0
                };
                was = is;
            }
            return;
        }
        let mut text = self.stdout.0.lock().unwrap_or_else(|e| e.into_inner());
        while !text.closed
            && !String::from_utf8_lossy(&text.bytes)
                .lines()
                .any(|l| l == line)
        {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            text = self
                .stdout
                .1
                .wait_timeout(text, left)
                .unwrap_or_else(|e| e.into_inner())
                .0;
        }
    }

    /// Tells it to end.
    fn end(&mut self) {
        let group = self.child.id() as libc::pid_t;
        // SAFETY: a system call without pointers.
        unsafe { libc::kill(-group, libc::SIGTERM) };
    }

    /// Waits for its end, or ends it when its time is up.
    fn finish(mut self) -> Result {
        if let Some((mut pipe, text, at)) = self.stdin.take() {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            // It may have ended already.
            let _ = std::io::Write::write_all(&mut pipe, text.as_bytes());
        }
        let status: Option<ExitStatus> = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < self.deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => break None,
            }
        };
        // Its own process group: children that outlived it end here too, and nothing else.
        let group = self.child.id() as libc::pid_t;
        // SAFETY: a system call without pointers.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        let mut end = match status {
            None => {
                let _ = self.child.wait();
                "its time was up".to_owned()
            }
            Some(s) => match (s.code(), s.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(signal)) => format!("killed by signal {signal}"),
                (None, None) => "unknown".to_owned(),
            },
        };
        let text = |of: &Arc<(Mutex<Text>, Condvar)>| {
            let text = of.0.lock().unwrap_or_else(|e| e.into_inner());
            let (text, _) =
                of.1.wait_timeout_while(text, Duration::from_secs(3), |t| !t.closed)
                    .unwrap_or_else(|e| e.into_inner());
            (
                String::from_utf8_lossy(&text.bytes).into_owned(),
                text.closed,
            )
        };
        let (stdout, closed) = text(&self.stdout);
        let (stderr, _) = text(&self.stderr);
        if !closed {
            end.push_str(", but another process still holds its stdout");
        }
        Result {
            label: self.label,
            stdout,
            stderr,
            end,
        }
    }
}
