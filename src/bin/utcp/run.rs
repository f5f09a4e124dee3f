//! `utcp run`: a program on the stack, perhaps watched.

use crate::cli;
use crate::impair;
use crate::ladder::Ladder;
use crate::model::{Event, What};
use crate::paint;
use crate::pcap::Packets;
use crate::procs;
use crate::programs;
use crate::ring::Follower;
use crate::sides::{Side, Sides};
use crate::stacks;
use crate::trouble::{Result, Trouble};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::rc::Rc;
use std::time::{Duration, Instant};
use utcp_stack::config::Config;

/// Run it.
pub fn run(args: &cli::Run) -> Result<ExitCode> {
    let config = stacks::config(args.stack.name.as_deref())?;
    let library = programs::library()?;
    let (program, rest) = args
        .program
        .split_first()
        .ok_or_else(|| Trouble::new("nothing to run", "no program was named"))?;
    let mut command = Command::new(program);
    command
        .args(rest)
        .env("LD_PRELOAD", programs::preload(&library))
        .env("UTCP_STACK", &config.stack);
    let mut config = config;
    prepare(args, &mut config, &mut command)?;
    if args.trace || args.pcap.is_some() {
        let stack = Rc::new(stacks::start(&config)?);
        let follower = if args.trace {
            Some(Follower::new(Rc::clone(&stack))?)
        } else {
            None
        };
        let packets = match &args.pcap {
            Some(path) => Some(Packets::new(stack, path, args.snap)?),
            None => None,
        };
        return watched(args, command, follower, packets);
    }
    let Signals { before, .. } = Signals::block();
    keep_mask(&mut command, before);
    Ok(not_run(program, &command.exec()))
}

/// Links and pace of the stack, as the options say: in the environment for a stack that the
/// program is going to start, and at once if it runs already.
fn prepare(args: &cli::Run, config: &mut Config, command: &mut Command) -> Result<()> {
    if let Some(scale) = &args.time_scale {
        config.time_scale = utcp_stack::config::time_scale(scale)
            .map_err(|why| Trouble::new("--time-scale", format!("{scale:?}: {why}")))?;
        command.env("UTCP_TIME_SCALE", config.time_scale.to_string());
    }
    let bad_links = impair::are_named(&args.links);
    if bad_links {
        config.impair = impair::with(&args.links, config.impair)?;
        command.env("UTCP_IMPAIR", config.impair.to_string());
    }
    if !bad_links && args.time_scale.is_none() {
        return Ok(());
    }
    let Some(stack) = stacks::running(config)? else {
        return Ok(());
    };
    let mut session = crate::ring::session(&stack.runtime)?;
    let scale = session.sh.pace.scale();
    if args.time_scale.is_some() && scale != u64::from(config.time_scale) {
        let what = format!(
            "stack {:?} runs already, with time scale {scale}",
            config.stack
        );
        let why = "the pace of time is set when a stack is made";
        return Err(Trouble::new(what, why).mend("another --stack NAME is a stack of its own"));
    }
    if bad_links {
        session.impair(&config.impair);
    }
    Ok(())
}

/// As shells and env(1) have it: 127 for what isn't there, 126 for what can't be run.
fn not_run(program: &OsStr, e: &std::io::Error) -> ExitCode {
    anstream::eprintln!("utcp: {}", programs::cannot_run(program, e));
    let there = e.kind() != std::io::ErrorKind::NotFound;
    ExitCode::from(if there { 126 } else { 127 })
}

/// The program gets the signal mask that we had; the standard library would empty it.
fn keep_mask(command: &mut Command, mask: libc::sigset_t) {
    // SAFETY: sigprocmask may be called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
            Ok(())
        });
    }
}

/// How often to look, and how long to hold back calls whose side is not known yet.
const PAUSE: Duration = Duration::from_millis(15);
/// The same for packets, of which the ring holds less.
const BRIEF: Duration = Duration::from_millis(3);
const HOLD: Duration = Duration::from_millis(150);
/// How long to watch after the program's end.
const REST: Duration = Duration::from_millis(60);

fn watched(
    args: &cli::Run,
    mut command: Command,
    mut follower: Option<Follower>,
    mut packets: Option<Packets>,
) -> Result<ExitCode> {
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(anstream::AutoStream::auto(
            std::fs::File::create(path).map_err(|e| {
                Trouble::new(format!("cannot write the trace to {}", path.display()), e)
            })?,
        )),
        None => Box::new(anstream::stderr()),
    };
    let signals = Signals::block();
    let program = command.get_program().to_owned();
    keep_mask(&mut command, signals.before);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => return Ok(not_run(&program, &e)),
    };
    let name = program_name(&program);
    let mut view = View::new(child.id(), name, args.json);
    let (mut status, mut gone) = (None, None);
    let status = loop {
        let pause = if packets.is_some() { BRIEF } else { PAUSE };
        signals.pass_on(status.is_none().then_some(&child), pause);
        if status.is_none() {
            status = ended(&mut child)?;
            gone = status.map(|_| Instant::now());
        }
        if let Some(packets) = &mut packets {
            packets.poll()?;
        }
        if let Some(follower) = &mut follower {
            let (events, lost) = follower.poll()?;
            if lost > 0 {
                say(
                    &mut out,
                    &format!("({lost} events came too fast and are not shown)"),
                );
            }
            view.take(events, status.is_some(), &mut out);
        }
        // The end of the program closes its sockets, which takes a moment.
        if let (Some(status), Some(at)) = (status, gone)
            && Instant::elapsed(&at) > REST
        {
            break status;
        }
    };
    if follower.is_some() {
        view.exit(procs::status_text(status), &mut out);
    }
    drop(follower);
    if let Some(packets) = packets {
        packets.finish()?;
    }
    Ok(end_as(status))
}

fn ended(child: &mut Child) -> Result<Option<ExitStatus>> {
    child
        .try_wait()
        .map_err(|e| Trouble::new("cannot wait for the program", e))
}

fn program_name(program: &OsStr) -> String {
    let path = std::path::Path::new(program);
    let name = path.file_name().unwrap_or(program);
    paint::printable(&name.display().to_string())
}

/// A broken pipe ends the trace, not the program.
fn say(out: &mut Box<dyn Write>, line: &str) {
    let _ = writeln!(out, "{line}");
}

/// Events on their way to the terminal.
struct View {
    root: u32,
    name: String,
    json: bool,
    sides: Sides,
    ladder: Ladder,
    headed: bool,
    /// Not shown yet: nothing says so far whether the program is client or server.
    held: Vec<Event>,
    since: Option<Instant>,
}

impl View {
    fn new(root: u32, name: String, json: bool) -> View {
        View {
            root,
            name,
            json,
            sides: Sides::default(),
            ladder: Ladder::new(paint::columns()),
            headed: false,
            held: Vec::new(),
            since: None,
        }
    }

    fn take(&mut self, events: Vec<Event>, last: bool, out: &mut Box<dyn Write>) {
        if !events.is_empty() {
            self.since.get_or_insert_with(Instant::now);
            self.held.extend(events);
        }
        if self.sides.of(self.root).is_none() {
            let role = self.held.iter().find_map(|e| self.role(e));
            let waited = self.since.is_some_and(|at| at.elapsed() > HOLD);
            match role {
                Some(side) => self.sides.put(self.root, side),
                None if waited || last => {}
                None => return,
            }
        }
        let events = std::mem::take(&mut self.held);
        self.since = None;
        self.show(&events, out);
    }

    /// What an event says about the program's side.
    fn role(&self, event: &Event) -> Option<Side> {
        let (What::Enter(call) | What::Return { call, .. }) = &event.what else {
            return None;
        };
        let side = match call.name.as_str() {
            "listen" | "accept" | "accept4" => Side::Server,
            "connect" => Side::Client,
            _ => return None,
        };
        procs::descends(event.pid, self.root).then_some(side)
    }

    /// The program's children are on its side, everybody else on the other. One that has ended
    /// before we look is where its socket is.
    fn place(&mut self, event: &Event) {
        let pid = event.pid;
        if pid == 0 || self.sides.of(pid).is_some() {
            return;
        }
        let own = self.sides.of(self.root).unwrap_or(Side::Client);
        if procs::descends(pid, self.root) {
            self.sides.put(pid, own);
        } else if procs::parent(pid).is_some() || self.sides.of_socket(event.socket).is_none() {
            self.sides.put(pid, own.other());
        }
    }

    fn show(&mut self, events: &[Event], out: &mut Box<dyn Write>) {
        let own = self.sides.of(self.root).unwrap_or(Side::Client);
        let mut steps = Vec::new();
        for event in events {
            let call = matches!(event.what, What::Enter(_) | What::Return { .. });
            if call {
                self.place(event);
            }
            steps.push(self.sides.place(event));
        }
        if self.json {
            for step in &steps {
                say(out, &serde_json::to_string(step).unwrap_or_default());
            }
            return;
        }
        if !self.headed && !steps.is_empty() {
            self.headed = true;
            let program = format!("{} ({})", self.name, self.root);
            let (client, server) = match own {
                Side::Client => (program.as_str(), "peer"),
                Side::Server => ("peer", program.as_str()),
            };
            for line in self.ladder.heading(client, server) {
                say(out, &line.render());
            }
        }
        self.ladder.number_connections |= self.sides.connections() > 1;
        for line in self.ladder.draw(&steps) {
            say(out, &line.render());
        }
    }

    fn exit(&mut self, status: String, out: &mut Box<dyn Write>) {
        if !self.headed && !self.json {
            let name = &self.name;
            let text = format!("{name} used no TCP socket of the stack; exit {status}");
            return say(out, &text);
        }
        let time = crate::capture::clock(libc::CLOCK_MONOTONIC);
        let (pid, tid) = (self.root, self.root);
        let what = What::Exit { status };
        let event = Event {
            time,
            pid,
            tid,
            socket: 0,
            what,
        };
        self.show(&[event], out);
    }
}

/// Signals that are for the program.
struct Signals {
    set: libc::sigset_t,
    before: libc::sigset_t,
}

impl Signals {
    /// What somebody may send to this command and mean the program. What the terminal sends
    /// (SIGINT, SIGQUIT, SIGTSTP) goes to the whole group, the program included.
    const PASSED: [i32; 6] = [
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGINT,
        libc::SIGQUIT,
    ];

    fn block() -> Signals {
        // SAFETY: the sets are filled by the calls that get pointers to them.
        unsafe {
            let mut set = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in Signals::PASSED.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(&raw mut set, signal);
            }
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
            Signals { set, before }
        }
    }

    /// Wait for `pause` or a signal, and pass signals on to the child while there is one.
    fn pass_on(&self, child: Option<&Child>, pause: Duration) {
        let wait = libc::timespec {
            tv_sec: 0,
            tv_nsec: pause.subsec_nanos().into(),
        };
        // SAFETY: the set is initialised; siginfo is filled when a signal is returned; the
        // child has not been waited for, so the id is its own.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let signal = libc::sigtimedwait(&raw const self.set, &raw mut info, &raw const wait);
            // The terminal's driver has reached the program already.
            let from_terminal = info.si_code == libc::SI_KERNEL;
            if let Some(child) = child
                && Signals::PASSED.contains(&signal)
                && !from_terminal
            {
                libc::kill(child.id() as libc::pid_t, signal);
            }
        }
    }
}

/// End as the program ended: with its status, or by the same signal.
fn end_as(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        // SAFETY: plain numbers; the set is initialised by sigemptyset. No core of ours is
        // wanted beside the program's.
        unsafe {
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            libc::signal(signal, libc::SIG_DFL);
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, signal);
            libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
            libc::raise(signal);
        }
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX));
    }
    ExitCode::from(status.code().unwrap_or(1) as u8)
}
