//! A server and a client, run and watched in a network namespace: the demo's scenes.

use crate::capture::{self, Capture};
use crate::model::{Event, What};
use crate::programs::{self, Outcome, Running};
use crate::ring::Follower;
use crate::sides::Side;
use crate::states;
use crate::trouble::{Result, Trouble};
use crate::{observe, procs, stacks};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use utcp_stack::link::config as device;

/// Where the two run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Both on the kernel.
    Kernel,
    /// Both on one stack of utcp.
    Utcp,
    /// The client on the kernel, the server on utcp, a TUN device between them.
    Mixed,
}

/// What is to be run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Script {
    /// Where.
    pub setting: Setting,
    /// The server's program and arguments.
    pub server: Vec<OsString>,
    /// The client's.
    pub client: Vec<OsString>,
    /// The stack's name.
    pub stack: String,
    /// libutcp.so.
    pub library: PathBuf,
    /// A folder for what the programs' observations are written to.
    pub folder: PathBuf,
}

/// What was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// In order of time.
    pub events: Vec<Event>,
    /// Which processes were on which side.
    pub sides: Vec<(u32, Side)>,
    /// The server's output.
    pub server: Outcome,
    /// The client's output.
    pub client: Outcome,
    /// Why it could not be played; the rest is empty then.
    pub skipped: Option<String>,
    /// Why there are no segments (nor states, which are derived from them).
    pub no_segments: Option<String>,
    /// What the kernel's own capture on the device saw, if there is one.
    pub captured: Option<Vec<Event>>,
}

/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the client is held: longer than an ACK may be delayed.
const HOLD: Duration = Duration::from_millis(120);
/// How long to watch after both ended: the last ACK is on its way.
const REST: Duration = Duration::from_millis(150);

/// Play the script. To be called inside a namespace.
pub fn play(script: &Script) -> Result<Seen> {
    match script.setting {
        Setting::Kernel => on_kernel(script),
        Setting::Utcp => on_utcp(script),
        Setting::Mixed => mixed(script),
    }
}

fn on_kernel(script: &Script) -> Result<Seen> {
    let capture = Capture::start("lo");
    let mut watch = Watch::default();
    let server_notes = script.folder.join("server");
    let server = start_observed(
        script,
        &script.server,
        &server_notes,
        Side::Server,
        &mut watch,
    )?;
    watch.until_listening(&server)?;
    let client_notes = script.folder.join("client");
    let client = start_observed(
        script,
        &script.client,
        &client_notes,
        Side::Client,
        &mut watch,
    )?;
    let (server, client) = watch.until_both_end(server, client)?;
    let (mut events, no_segments) = match capture {
        Ok(capture) => (capture.stop(), None),
        Err(e) => (Vec::new(), Some(e.to_string())),
    };
    capture::mark_retransmissions(&mut events);
    events.append(&mut watch.events);
    events.sort_by_key(|e| e.time);
    if no_segments.is_none() {
        events = states::with_states(&events, |_| true);
    }
    Ok(Seen {
        events,
        sides: watch.sides.into_iter().collect(),
        server,
        client,
        skipped: None,
        no_segments,
        captured: None,
    })
}

fn on_utcp(script: &Script) -> Result<Seen> {
    let mut watch = Watch {
        follower: Some(Follower::new(start_stack(script)?)?),
        ..Watch::default()
    };
    let server = start_on_utcp(script, &script.server, Side::Server, &mut watch)?;
    watch.until_listening(&server)?;
    let client = start_on_utcp(script, &script.client, Side::Client, &mut watch)?;
    let (server, client) = watch.until_both_end(server, client)?;
    Ok(Seen {
        events: watch.events,
        sides: watch.sides.into_iter().collect(),
        server,
        client,
        skipped: None,
        no_segments: None,
        captured: None,
    })
}

fn mixed(script: &Script) -> Result<Seen> {
    let stack = start_stack(script)?;
    let (has_device, why, address) = {
        let session = crate::ring::session(&stack.runtime)?;
        let why = crate::addr::reason(&session.sh.no_device_why);
        (
            session.sh.config.has_device,
            why,
            session.sh.config.addr4.ip(),
        )
    };
    if !has_device {
        return Ok(Seen {
            events: Vec::new(),
            sides: Vec::new(),
            server: Outcome::default(),
            client: Outcome::default(),
            skipped: Some(why),
            no_segments: None,
            captured: None,
        });
    }
    let devices = device::list_utcp_devices().map_err(|e| Trouble::new("the TUN device", e))?;
    let name = devices.first().map_or("utcp0", |(_, d)| d.name.as_str());
    let capture = Capture::start(name).ok();
    let mut watch = Watch {
        follower: Some(Follower::new(stack)?),
        ..Watch::default()
    };
    let server = start_on_utcp(script, &script.server, Side::Server, &mut watch)?;
    watch.until_listening(&server)?;
    let notes = script.folder.join("client");
    let client = start_observed(script, &script.client, &notes, Side::Client, &mut watch)?;
    let (server, client) = watch.until_both_end(server, client)?;

    // utcp tells segments and its own states; the kernel's states are derived.
    let mut events = watch.events;
    events.sort_by_key(|e| e.time);
    let on_the_stack = |a: &SocketAddr| a.ip() == address || a.ip().is_unspecified();
    let events = states::with_states(&events, |a| !on_the_stack(a));
    Ok(Seen {
        events,
        sides: watch.sides.into_iter().collect(),
        server,
        client,
        skipped: None,
        no_segments: None,
        captured: capture.map(Capture::stop),
    })
}

fn start_stack(script: &Script) -> Result<stacks::Stack> {
    stacks::start(&stacks::config(Some(&script.stack))?)
}

/// The client is held when it prints what it received, until the server is gone: its ACKs and
/// its FIN go separately, and who closes first is no matter of luck.
fn start(words: &[OsString], env: &[(&str, OsString)], side: Side) -> Result<Running> {
    match side {
        Side::Client => Running::start_held(words, env),
        Side::Server => Running::start(words, env),
    }
}

fn start_observed(
    script: &Script,
    words: &[OsString],
    notes: &std::path::Path,
    side: Side,
    watch: &mut Watch,
) -> Result<Running> {
    let env = [
        ("LD_PRELOAD", programs::preload(&script.library)),
        (observe::VARIABLE, notes.as_os_str().to_owned()),
    ];
    let running = start(words, &env, side)?;
    watch.sides.insert(running.pid(), side);
    watch.notes.push(observe::Notes::new(notes, side));
    Ok(running)
}

fn start_on_utcp(
    script: &Script,
    words: &[OsString],
    side: Side,
    watch: &mut Watch,
) -> Result<Running> {
    let env = [
        ("LD_PRELOAD", programs::preload(&script.library)),
        ("UTCP_STACK", script.stack.clone().into()),
    ];
    let running = start(words, &env, side)?;
    watch.sides.insert(running.pid(), side);
    Ok(running)
}

/// Gathers events while the programs run.
#[derive(Default)]
struct Watch {
    events: Vec<Event>,
    sides: HashMap<u32, Side>,
    follower: Option<Follower>,
    notes: Vec<observe::Notes>,
}

impl Watch {
    /// Take what is new.
    fn look(&mut self) -> Result<()> {
        let first = self.events.len();
        for notes in &mut self.notes {
            for event in notes.read() {
                self.sides.insert(event.pid, notes.side());
                self.events.push(event);
            }
        }
        if let Some(follower) = &mut self.follower {
            let (events, lost) = follower.poll()?;
            if lost > 0 {
                return Err(Trouble::new(
                    "the trace is incomplete",
                    format!("{lost} events came faster than they could be read"),
                ));
            }
            self.events.extend(events);
        }
        for event in &self.events[first..] {
            if !self.sides.contains_key(&event.pid)
                && matches!(event.what, What::Enter(_) | What::Return { .. })
                && let Some(side) = self.side_of_ancestor(event.pid)
            {
                self.sides.insert(event.pid, side);
            }
        }
        Ok(())
    }

    fn side_of_ancestor(&self, pid: u32) -> Option<Side> {
        let mut known = self.sides.iter();
        known.find_map(|(root, side)| procs::descends(pid, *root).then_some(*side))
    }

    /// Wait until the server has called listen(), and accept() if it does so soon.
    fn until_listening(&mut self, server: &Running) -> Result<()> {
        let end = Instant::now() + LIMIT;
        let mut listening = None;
        while Instant::now() < end {
            self.look()?;
            let called = |name: &str| {
                self.events.iter().any(|e| match &e.what {
                    What::Enter(call) => call.name == name,
                    What::Return { call, ret, .. } => call.name == name && *ret >= 0,
                    _ => false,
                })
            };
            if called("listen") {
                let since = *listening.get_or_insert_with(Instant::now);
                let waits = ["accept", "accept4", "poll", "select", "epoll_wait"];
                if waits.into_iter().any(called) || since.elapsed() > Duration::from_millis(300) {
                    return Ok(());
                }
            }
            if !server.is_running() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Whoever is the client will find out.
        Ok(())
    }

    fn until_both_end(
        &mut self,
        server: Running,
        mut client: Running,
    ) -> Result<(Outcome, Outcome)> {
        let begin = Instant::now();
        let (mut client_gone, mut server_gone) = (None, None);
        loop {
            self.look()?;
            for (program, gone) in [(&client, &mut client_gone), (&server, &mut server_gone)] {
                if gone.is_none() && !program.is_running() {
                    *gone = Some(Instant::now());
                    self.events.push(exit(program));
                }
            }
            let since = |at: Option<Instant>, time| at.is_some_and(|at| at.elapsed() > time);
            // A server that serves on has had its time, too.
            if since(server_gone, HOLD) || since(Some(begin), HOLD * 5) {
                client.release();
            }
            let served = since(client_gone, Duration::from_secs(1));
            let both = client_gone.is_some() && server_gone.is_some();
            if both || served || begin.elapsed() > LIMIT {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(REST);
        self.look()?;
        let (server, client) = (server.outcome(), client.outcome());
        self.look()?;
        Ok((server, client))
    }
}

fn exit(program: &Running) -> Event {
    Event {
        time: capture::clock(libc::CLOCK_MONOTONIC),
        pid: program.pid(),
        tid: program.pid(),
        socket: 0,
        what: What::Exit {
            status: program.status_text(),
        },
    }
}
