//! Death at any instruction of a call.
//!
//! A child process makes one call, instruction by instruction (ptrace). Between two
//! instructions the shared memory is what another process would find if the child died just
//! there; so instead of killing it, the memory is copied, and the copy is recovered and looked
//! at.
#![allow(unsafe_code)]

use super::program::{Ledger, Program, Rng, Trying, seeds};
use super::sequences::{assert_empty, places};
use super::*;
use crate::sys::Fd;
use std::cell::RefCell;
use std::collections::HashSet;

/// A stack in shared memory.
struct Stack {
    arena: Arena<Shared>,
    fd: Fd,
    wire: RefCell<Wire>,
}

/// Where the shared state begins in the file.
const STATE_AT: usize = 4096;

impl Stack {
    fn new() -> Stack {
        let (arena, fd) = Arena::<Shared>::create("utcp-test").unwrap();
        Stack {
            arena,
            fd,
            wire: RefCell::default(),
        }
    }

    /// Become a copy of `other`, whose lock somebody may hold. Only what is in use is copied.
    fn copy(&self, other: &Stack) {
        let size = size_of::<Shared>();
        let (from, to) = (
            other.arena.as_ptr().cast::<u8>(),
            self.arena.as_ptr().cast_mut(),
        );
        // SAFETY: both files are as large as the mappings; nobody changes `other` meanwhile (its
        // only user is stopped), nobody else has this copy.
        unsafe {
            let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            let at = STATE_AT as i64;
            assert_eq!(libc::fallocate(self.fd.raw(), punch, at, size as i64), 0);
            let mut data = libc::lseek(other.fd.raw(), at, libc::SEEK_DATA);
            while data >= 0 {
                let hole = libc::lseek(other.fd.raw(), data, libc::SEEK_HOLE);
                let (start, end) = (data as usize - STATE_AT, hole as usize - STATE_AT);
                let len = end.min(size) - start;
                from.add(start).copy_to(to.cast::<u8>().add(start), len);
                data = libc::lseek(other.fd.raw(), hole, libc::SEEK_DATA);
            }
        }
    }

    fn with<R>(&self, now: Instant, f: impl FnOnce(&mut Host<'_>) -> R) -> R {
        let mut guard = self.arena.lock();
        let mut host = Host {
            sh: &mut guard,
            device: &mut *self.wire.borrow_mut(),
            now,
            pid: 1,
            tid: 1,
            wakes: WakeSet::default(),
        };
        let r = f(&mut host);
        host.finish();
        r
    }
}

/// A child that stops before every instruction.
struct Stepped {
    pid: i32,
    /// Two processes that take turns are best off on one core; these were allowed before.
    cores: libc::cpu_set_t,
    over: Option<i32>,
}

impl Stepped {
    /// Run `child` in a process of its own, stopped for now; should it be set off, it stops
    /// after `alarm` microseconds.
    fn new(alarm: usize, child: impl FnOnce()) -> Stepped {
        let cores = stay_on_this_core();
        // SAFETY: the child only computes, then ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: the interval is valid for the call.
            unsafe {
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::raise(libc::SIGSTOP);
                let mut timer: libc::itimerval = core::mem::zeroed();
                timer.it_value.tv_usec = alarm as i64;
                libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &timer, 0);
            }
            let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(!ok)) };
        }
        let over = None;
        let mut stepped = Stepped { pid, cores, over };
        stepped.wait();
        stepped
    }

    /// Let it go on, for one instruction or until it is stopped; false: it has ended.
    fn go(&mut self, how: core::ffi::c_uint) -> bool {
        // SAFETY: our own child, which is stopped; no signal is passed on.
        let went = unsafe { libc::ptrace(how, self.pid, 0, 0) };
        assert_eq!(went, 0, "ptrace: {}", std::io::Error::last_os_error());
        self.wait();
        assert!(self.over.is_none_or(|status| status == 0), "the child died");
        self.over.is_none()
    }

    fn wait(&mut self) {
        let mut status = 0;
        // SAFETY: our own child.
        let got = unsafe { libc::waitpid(self.pid, &mut status, 0) };
        assert_eq!(got, self.pid);
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            self.over = Some(status);
        }
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        // SAFETY: our own child, if it is still there; the set is a valid one.
        unsafe {
            if self.over.is_none() {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, &mut 0, 0);
            }
            libc::sched_setaffinity(0, size_of_val(&self.cores), &self.cores);
        }
    }
}

/// Run `child` one instruction after another, and call `look` now and then: every `rarely`-th
/// instruction, in the mean. Gives how many instructions there were.
fn step_through(rng: &mut Rng, rarely: usize, child: impl FnOnce(), mut look: impl FnMut()) -> u64 {
    let mut child = Stepped::new(0, child);
    let mut steps = 0;
    while child.go(libc::PTRACE_SINGLESTEP) {
        steps += 1;
        if rng.below(rarely) == 0 {
            look();
        }
    }
    steps
}

/// Run `child`, stop it at some moment, and call `look` then, unless it has ended.
fn stop_once(rng: &mut Rng, within: Duration, child: impl FnOnce(), look: impl FnOnce()) {
    let mut child = Stepped::new(1 + rng.below(within.as_micros() as usize), child);
    // The kernel prefers some instructions for its interrupts.
    if child.go(libc::PTRACE_CONT) && (0..rng.below(30)).all(|_| child.go(libc::PTRACE_SINGLESTEP))
    {
        look();
    }
}

fn stay_on_this_core() -> libc::cpu_set_t {
    // SAFETY: the sets are plain data of the size given.
    unsafe {
        let mut old: libc::cpu_set_t = core::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&old), &mut old);
        let mut one: libc::cpu_set_t = core::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut one);
        libc::sched_setaffinity(0, size_of_val(&one), &one);
        old
    }
}

/// The process that dies.
const VICTIM: u32 = 1;

/// What is known of a connection before the recovery.
type Alive = (SockId, State);

/// Connections of which neither end was being changed.
fn untouched(h: &Host<'_>) -> Vec<Alive> {
    let journal = &h.sh.journal[..h.sh.journal_len as usize];
    let suspects: HashSet<u32> = journal.iter().copied().collect();
    let mut alive = Vec::new();
    for index in 1..=h.sh.sockets.high_water() {
        let Some(s) = h.sh.sockets.slot(index) else {
            continue;
        };
        let peer = (1..=h.sh.sockets.high_water()).find(|p| {
            let p = h.sh.sockets.slot(*p);
            // A socket that was refused, or whose connection is over, keeps the names of both
            // ends, between which there may be a new connection: it is nobody's peer.
            p.is_some_and(|p| p.hashed && p.local == s.remote && p.remote == s.local)
        });
        // An unaccepted child goes with its listener.
        let safe = |i: u32| {
            let parent = h.sh.sockets.slot(i).filter(|s| s.embryonic);
            !suspects.contains(&i) && parent.is_none_or(|c| !suspects.contains(&c.parent.index))
        };
        let peer_safe = peer.map_or(!h.is_local(s.remote.addr), safe);
        if s.generation != 0 && s.open && safe(index) && peer_safe {
            alive.push((h.id_of(index, s), s.tcb.state));
        }
    }
    alive
}

/// A loopback connection must not wait for a peer that is gone.
fn assert_no_widows(h: &Host<'_>) {
    for (index, s) in h.sh.sockets.iter_in_use() {
        // In CLOSE_WAIT it is the program that is waited for; the peer may have given up.
        let over = matches!(s.tcb.state, State::Closed | State::CloseWait);
        let waits = s.open && !over && s.tcb.deadline() == Instant::NEVER;
        let here = h.is_local(s.remote.addr);
        if waits && here && h.sh.find_connection(s.remote, s.local).is_none() {
            panic!("socket {index}, {:?}, waits for nobody", s.tcb.state);
        }
    }
}

/// The victim died: recover, let the others go on, and see that all ends well.
fn aftermath(stack: &Stack, now: Instant, scene: &Scene) {
    *stack.wire.borrow_mut() = Wire::default();
    let alive = stack.with(now, |h| {
        assert!(h.sh.journal_len < 40, "{} touched", h.sh.journal_len);
        let alive = untouched(h);
        h.recover();
        alive
    });
    stack.with(now, |h| {
        let wrong = h.check();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(h.sh.counters.recoveries > 0);
        for (id, state) in alive {
            let now = h.socket(id).map(Socket::state);
            assert_eq!(now, Ok(state), "a connection that nobody touched");
        }
        // On a slow loopback the news may still be under way.
        if h.sh.attention == 0 {
            assert_no_widows(h);
        }
        // The keeper's part: close what the dead process had.
        h.reap_waiters(|pid| pid == VICTIM);
        for index in 1..=h.sh.sockets.high_water() {
            if let Some(s) = h.sh.sockets.get(index)
                && !s.orphan
                && (s.owner.pid == VICTIM || s.owner.pid == 0)
            {
                let id = h.id_of(index, s);
                h.close(id);
            }
        }
    });
    let mut now = now;
    let mut others: Vec<Program> = scene.others.to_vec();
    // How much of the victim's streams was sent in the end, nobody knows.
    let victims: HashSet<u64> = scene.victim.streams().collect();
    let mut known = others[0].ledger.borrow().clone();
    for id in victims {
        known.entry(id).or_default().1 = true;
    }
    let known = Ledger::new(known.into());
    for p in &mut others {
        p.ledger = known.clone();
    }
    for n in 0..40 {
        now = now + Duration::from_millis(30);
        stack.with(now, |h| {
            h.run_timers();
            let program = &mut others[n % 2];
            if n < 20 {
                program.step(h);
            } else {
                program.wind_down(h);
            }
        });
    }
    for p in &mut others {
        stack.with(now, |h| p.end(h));
    }
    for _ in 0..400 {
        let next = stack.with(now, |h| h.next_deadline());
        if next == Instant::NEVER {
            break;
        }
        now = now.max(next);
        stack.with(now, |h| h.run_timers());
    }
    stack.with(now, |h| {
        let wrong = h.check();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_empty(h);
    });
}

/// Three programs after some random calls, the first of which is going to die, and packets from
/// a fourth on another host.
struct Scene {
    stack: Stack,
    now: Instant,
    victim: Program,
    others: Vec<Program>,
}

fn scene(seed: u64) -> Scene {
    let stack = Stack::new();
    let mut outside = TestHost::new(2);
    stack.with(outside.now, |h| {
        h.sh.secret = [7; 16];
        h.sh.config = HostConfig {
            addr4: v4([10, 0, 0, 1]),
            ..outside.with(|o| o.sh.config)
        };
    });
    if seed % 3 == 2 {
        let text = "delay=4ms±3ms reorder=10%,5ms duplicate=10% rate=50mbit queue=1000";
        let settings = crate::impair::Settings::parse(text).unwrap();
        stack.with(outside.now, |h| h.impair(&settings));
    }
    let ledger = Ledger::default();
    let mut rng = Rng(!seed);
    let mut programs: Vec<Program> = (0..4)
        .map(|n| {
            let mut p = Program::new(seed * 4 + n, &places(), &ledger);
            p.owner.pid = VICTIM + n as u32;
            p.largest = 3000;
            p.fast = seed % 2 == 1;
            p
        })
        .collect();
    programs[3].places.retain(|place| !place.addr.is_loopback());
    for _ in 0..60 + rng.below(200) {
        outside.now = outside.now + Duration::from_millis(rng.below(10) as u64);
        let which = rng.below(4);
        let program = &mut programs[which];
        if which == 3 {
            outside.with(|h| {
                h.receive(100);
                h.run_timers();
                program.step(h);
            });
        } else {
            stack.with(outside.now, |h| {
                h.receive(rng.below(3));
                h.run_timers();
                program.step(h);
            });
        }
        let mut wire = stack.wire.borrow_mut();
        outside.wire.inward.extend(wire.out.drain(..));
        for packet in outside.wire.out.drain(..) {
            let behind = wire.inward.len() - rng.below(wire.inward.len().min(2) + 1);
            wire.inward.insert(behind, packet);
        }
    }
    Scene {
        stack,
        now: outside.now,
        victim: programs.remove(0),
        others: programs,
    }
}

/// Let the victims of these scenes make their call, and look at every `rarely`-th instruction
/// in the lock. Gives how many instructions there were.
fn deaths(
    seeds: core::ops::Range<u64>,
    rarely: usize,
    mut look: impl FnMut(&Scene, Instant),
) -> u64 {
    let mut steps = 0;
    for seed in seeds {
        let _trying = Trying(seed);
        let scene = scene(seed);
        let mut rng = Rng(seed);
        let mut victim = scene.victim.clone();
        let later = scene.now + Duration::from_millis([0, 0, 50, 300, 70_000][rng.below(5)]);
        let packets = [0, 0, 0, 1, 5][rng.below(5)];
        let kind = rng.below(4);
        let call = || {
            scene.stack.with(later, |h| {
                h.receive(packets);
                h.run_timers();
                match kind {
                    0 => victim.end(h),
                    1 => victim.close_one(h),
                    _ => victim.step(h),
                }
            });
        };
        steps += step_through(&mut rng, rarely, call, || {
            if scene.stack.arena.holder().is_some() {
                look(&scene, later);
            }
        });
    }
    steps
}

/// What names the same two ends as a connection, but is over.
#[test]
fn a_refused_socket_dies_without_the_next_connection_of_its_port() {
    let bound = |h: &mut Host<'_>| {
        let c = create(h);
        h.set_option(c, Opt::ReuseAddr, 1).unwrap();
        let at = Endpoint::new(v4([127, 0, 0, 1]), 9001);
        h.bind(c, at, true).unwrap();
        let to = Endpoint::new(v4([127, 0, 0, 1]), 9000);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        c
    };
    let state = |h: &Host<'_>, id| h.socket(id).map(Socket::state);
    TestHost::new(1).with(|h| {
        let refused = bound(h);
        assert_eq!(state(h, refused), Ok(State::Closed));
        let (l, other, _) = pair(h);
        let client = bound(h);
        let (server, _) = h.accept(l, Owner::default()).unwrap();
        h.finish();

        h.touch(refused.index);
        let alive = untouched(h);
        for id in [client, server, other] {
            assert!(alive.contains(&(id, State::Established)), "{alive:?}");
        }
        h.recover();
        assert_eq!(state(h, client), Ok(State::Established));
        assert_eq!(state(h, server), Ok(State::Established));
        assert_eq!(send(h, client, b"on"), Ok(2));
        assert_eq!(recv(h, server, 9), Ok(b"on".to_vec()));
        h.finish();

        h.touch(client.index);
        let alive = untouched(h);
        assert!(alive.contains(&(other, State::Established)), "{alive:?}");
        assert!(alive.iter().all(|(id, _)| *id != server), "{alive:?}");
        h.recover();
        assert_eq!(state(h, server), Ok(State::Closed));
        assert_eq!(state(h, other), Ok(State::Established));
    });
}

/// UTCP_RARELY=1 looks at every single instruction, which takes hours.
fn rarely(default: usize) -> usize {
    std::env::var("UTCP_RARELY").map_or(default, |n| n.parse().unwrap())
}

#[test]
fn death_at_any_instruction_costs_what_was_being_changed() {
    let copy = Stack::new();
    let mut count = 0;
    let steps = deaths(seeds(0..120), rarely(200), |scene, now| {
        count += 1;
        copy.copy(&scene.stack);
        aftermath(&copy, now, scene);
    });
    assert!(count > 500, "{steps} instructions, {count} deaths");
}

#[test]
fn recovery_may_die_too() {
    let (first, second) = (Stack::new(), Stack::new());
    let (mut count, mut in_lock) = (0, 0);
    let mut rng = Rng(1);
    deaths(seeds(120..220), rarely(500), |scene, now| {
        first.copy(&scene.stack);
        count += 1;
        stop_once(
            &mut rng,
            Duration::from_micros(700),
            || first.with(now, |h| h.recover()),
            || {
                in_lock += usize::from(first.arena.holder().is_some());
                second.copy(&first);
                aftermath(&second, now, scene);
            },
        );
    });
    eprintln!("{in_lock} of {count} recoveries died");
    assert!(in_lock > 100, "{in_lock} of {count} recoveries died");
}
