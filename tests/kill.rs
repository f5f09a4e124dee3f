//! Processes are killed at random moments; the others, the stack and the arena stand it.

mod harness;

use harness::{build, netns, netns::Namespace};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use utcp_stack::config::Config;
use utcp_stack::keeper::{self, Connection};
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::Counters;

/// The test's own view of the stack under test.
struct Stack {
    runtime: Runtime,
    _conn: Connection,
    keeper: u32,
}

impl Stack {
    /// The stack that the programs started; none if they use the kernel's.
    fn attach() -> Stack {
        let attached = keeper::attach_running(&config()).expect("attaching to the stack");
        let attached = attached.expect("a stack; the programs must have used the kernel's");
        let runtime = Runtime::over(attached.arena, attached.tun).expect("a descriptor");
        let keeper = keeper_pid(&runtime);
        Stack {
            runtime,
            _conn: attached.conn,
            keeper,
        }
    }

    fn counters(&self) -> Counters {
        self.runtime.enter().sh.counters
    }

    /// Let the stack believe that hours pass, so that every lingering connection ends, then
    /// wait until nothing is in use. (What dead processes left is found within seconds.)
    fn assert_empties(&self) {
        let end = Instant::now() + Duration::from_secs(40);
        for hours in 1.. {
            let mut h = self.runtime.enter();
            h.now = h.now + Duration::from_secs(3600 * hours);
            h.run_timers();
            h.finish();
            assert_eq!(h.check(), Vec::<String>::new());
            let mut left = Vec::new();
            h.table(|row| left.push(row));
            let used = (
                h.sh.sockets.in_use(),
                h.sh.chunks.in_use(),
                h.sh.buffers.in_use(),
                h.sh.waiters.in_use(),
            );
            drop(h);
            if used == (0, 0, (0, 0), 0) {
                return;
            }
            assert!(
                Instant::now() < end,
                "sockets, pieces, buffers, waiters in use: {used:?}; {left:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn config() -> Config {
    Config {
        stack: STACK.parse().expect("a stack's name"),
        ..Config::default()
    }
}

const STACK: &str = "kill";

fn keeper_pid(runtime: &Runtime) -> u32 {
    let pid = &runtime.open().keeper_pid;
    pid.load(std::sync::atomic::Ordering::Relaxed)
}

/// A program under the library.
fn program(name: &'static str, args: &[&str]) -> Command {
    let mut command = Command::new(build::c(name));
    command
        .args(args)
        .env("LD_PRELOAD", harness::library())
        .env("UTCP_STACK", STACK)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// A bystander, ready.
struct Bystander {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Bystander {
    fn start(role: &str, port: &str) -> Bystander {
        let mut child = program("kill_bystander", &[role, port])
            .spawn()
            .expect("starting a bystander");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        out.read_line(&mut line).expect("its first line");
        assert_eq!(line, "ready\n", "{role}");
        Bystander { child, out }
    }

    /// Both ends of a transfer.
    fn pair(server: &str, client: &str, port: &str) -> [Bystander; 2] {
        [
            Bystander::start(server, port),
            Bystander::start(client, port),
        ]
    }

    /// Another pair if this one's connection was reset; how many were.
    fn replace(pair: &mut [Bystander; 2], server: &str, client: &str, port: u32) -> u32 {
        let ended = |b: &mut Bystander| b.child.try_wait().expect("a child").is_some();
        if !pair.iter_mut().any(ended) {
            return 0;
        }
        let new = Bystander::pair(server, client, &port.to_string());
        let end = end_pair(std::mem::replace(pair, new));
        assert_eq!(end, None, "they ended untold");
        1
    }

    /// Tell it to end; what it says, or nothing if its connection was reset.
    fn end(mut self) -> Option<String> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.out.read_to_string(&mut said).expect("its output");
        let status = self.child.wait().expect("its end");
        if status.code() == Some(3) {
            return None;
        }
        assert!(status.success(), "a bystander: {status}, {said:?}");
        Some(said)
    }
}

/// Stop both ends, which must have transferred the same; how many bytes that were. Nothing if
/// their connection was reset.
fn end_pair([server, client]: [Bystander; 2]) -> Option<u64> {
    let client = client.end();
    let server = server.end();
    let (server, client) = server.zip(client)?;
    assert_eq!(server, client);
    let bytes = client.split(' ').nth(1).and_then(|n| n.parse().ok());
    Some(bytes.expect("a number of bytes"))
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)) % n
    }
}

/// All that a stack leaves behind in this namespace: its device, names in the abstract
/// namespace, its keeper.
fn remains(keeper: u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |file: &str, what: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        found.extend(text.lines().filter(|l| l.contains(what)).map(str::to_owned));
    };
    look("/proc/thread-self/net/dev", "utcp");
    look("/proc/thread-self/net/unix", "@utcp");
    look(&format!("/proc/{keeper}/comm"), "utcp");
    found
}

fn assert_nothing_remains(keeper: u32) {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let remains = remains(keeper);
        if remains.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "still there: {remains:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Run `f` in a network namespace of its own.
fn in_namespace(test: &str, f: fn()) {
    if !netns::ran_elsewhere(test) {
        build::c("kill_bystander");
        build::c("kill_victim");
        Namespace::new().enter(f);
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |n| n.parse().expect(variable))
}

/// To be killed; and if the test fails, not to be left running.
struct Victim(Child);

impl Victim {
    fn kill(mut self) {
        self.0.kill().expect("killing our own child");
        self.0.wait().expect("its end");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // No more than ESRCH can come of it, or nothing, if it was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_thousand_kills() {
    in_namespace("a_thousand_kills", || {
        kill_beside_bystanders(number("UTCP_KILLS", 1000), number("UTCP_SEED", 1));
    });
}

fn kill_beside_bystanders(kills: u64, seed: u64) {
    let mut rng = Rng(seed);
    let mut bulk = Bystander::pair("sink", "source", "9400");
    let mut echo = Bystander::pair("pong", "ping", "9401");
    let mut resets = 0;
    let stack = Stack::attach();
    let before = stack.counters();
    let mut victims: Vec<Victim> = Vec::new();
    for kill in 0..kills {
        while victims.len() < 4 {
            let seed = (kill * 4 + victims.len() as u64).to_string();
            let victim = program("kill_victim", &[&seed, "9500"]).spawn();
            victims.push(Victim(victim.expect("starting a victim")));
        }
        std::thread::sleep(Duration::from_micros(rng.below(20_000)));
        // Every other time one that seems to hold the lock.
        let mut which = rng.below(victims.len() as u64) as usize;
        for _ in 0..if kill % 2 == 0 { 20_000 } else { 0 } {
            let holder = stack.runtime.arena().holder();
            let found = victims.iter().position(|v| Some(v.0.id()) == holder);
            if let Some(found) = found {
                which = found;
                break;
            }
        }
        let mut victim = victims.swap_remove(which);
        assert_eq!(
            victim.0.try_wait().expect("a child"),
            None,
            "it ended by itself"
        );
        victim.kill();
        resets += Bystander::replace(&mut bulk, "sink", "source", 9410 + 2 * resets);
        resets += Bystander::replace(&mut echo, "pong", "ping", 9411 + 2 * resets);
    }
    victims.into_iter().for_each(Victim::kill);
    let after = stack.counters();
    let mut end = |pair, server, client| {
        end_pair(pair).unwrap_or_else(|| {
            resets += 1;
            let port = if server == "sink" { "9402" } else { "9403" };
            end_pair(Bystander::pair(server, client, port)).expect("no reset without a kill")
        })
    };
    let (bulk, echo) = (end(bulk, "sink", "source"), end(echo, "pong", "ping"));
    let seen = format!(
        "{kills} kills, {} in the lock; {} connections reset ({resets} times bystanders'), \
         {} opened, {} accepted; {bulk} bytes transferred, {echo} echoed meanwhile",
        after.recoveries - before.recoveries,
        after.recovered_resets - before.recovered_resets,
        after.active_opens - before.active_opens,
        after.passive_opens - before.passive_opens,
    );
    eprintln!("{seen}");
    assert!(after.passive_opens - before.passive_opens > kills, "{seen}");
    assert!(after.recoveries > before.recoveries, "{seen}");
    // Whoever is in the stack when a timer is due runs it; who dies just then takes that
    // connection along, though it be a bystander's. On a busy machine that happens, seldom.
    let recoveries = after.recoveries - before.recoveries;
    assert!(u64::from(resets) * 10 <= recoveries, "{seen}");
    // Each goes on for as much after it is told to end.
    assert!(bulk > 2_000_000 && echo > 2_000, "{seen}");
    assert_eq!(keeper_pid(&stack.runtime), stack.keeper, "another keeper");
    // The stack is usable, at the victims' ports too.
    end_pair(Bystander::pair("sink", "source", "9500")).expect("no reset");
    stack.assert_empties();
    let keeper = stack.keeper;
    drop(stack);
    assert_nothing_remains(keeper);
}

#[test]
fn the_keeper_may_be_killed() {
    in_namespace("the_keeper_may_be_killed", || {
        let bulk = Bystander::pair("sink", "source", "9400");
        let echo = Bystander::pair("pong", "ping", "9401");
        let stack = Stack::attach();
        for _ in 0..20 {
            let keeper = keeper_pid(&stack.runtime);
            // SAFETY: no pointers. The keeper was started by our own children.
            let killed = unsafe { libc::kill(keeper as i32, libc::SIGKILL) };
            assert_eq!(killed, 0, "keeper {keeper}");
            let end = Instant::now() + Duration::from_secs(20);
            while keeper_pid(&stack.runtime) == keeper {
                assert!(Instant::now() < end, "no keeper has taken over");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // Each goes on for as much after it is told to end. A keeper that runs a connection's timer
        // when it is killed takes that one along; both would be strange.
        let (bulk, echo) = (end_pair(bulk), end_pair(echo));
        assert!(bulk.is_some() || echo.is_some(), "both were reset");
        assert!(bulk.is_none_or(|n| n > 2_000_000), "{bulk:?}");
        assert!(echo.is_none_or(|n| n > 2000), "{echo:?}");
        end_pair(Bystander::pair("sink", "source", "9402")).expect("no reset");
        drop(stack);
        let stack = Stack::attach();
        stack.assert_empties();
        let keeper = stack.keeper;
        drop(stack);
        assert_nothing_remains(keeper);
    });
}
