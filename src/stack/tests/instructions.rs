//! Death at any instruction of a call.
//!
//! A child process makes one call, instruction by instruction (ptrace). Between two
//! instructions the shared memory is what another process would find if the child died just
//! there; so instead of killing it, the memory is copied, and the copy is recovered and looked
//! at.
#![allow(unsafe_code)]

use super::program::{Ledger, Program, Rng};
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

/// Run `child` in a process of its own, one instruction after another, and call `look` now and
/// then: every `rarely`-th instruction, in the mean. Gives how many instructions there were.
fn step_through(rng: &mut Rng, rarely: usize, child: impl FnOnce(), mut look: impl FnMut()) -> u64 {
    // Two processes that take turns are best off on one core.
    let restore = stay_on_this_core();
    // SAFETY: the child only computes, then ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: no pointers.
        unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
        }
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_ok();
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(!ok)) };
    }
    let mut status = 0;
    let mut wait = || {
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        status
    };
    wait();
    let mut steps = 0;
    let ended = loop {
        // SAFETY: our own child, which is stopped.
        let went = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) };
        assert_eq!(went, 0, "ptrace: {}", std::io::Error::last_os_error());
        let status = wait();
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            break status;
        }
        steps += 1;
        if rng.below(rarely) == 0 {
            look();
        }
    };
    assert_eq!(ended, 0, "the child panicked");
    // SAFETY: the set is a valid one.
    unsafe { libc::sched_setaffinity(0, size_of_val(&restore), &restore) };
    steps
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
            p.is_some_and(|p| p.open && p.local == s.remote && p.remote == s.local)
        });
        let safe = |i: u32| !suspects.contains(&i);
        if s.generation != 0 && s.open && safe(index) && peer.is_none_or(safe) {
            alive.push((h.id_of(index, s), s.tcb.state));
        }
    }
    alive
}

/// A loopback connection must not wait for a peer that is gone.
fn assert_no_widows(h: &Host<'_>) {
    for (index, s) in h.sh.sockets.iter_in_use() {
        let waits = s.open && s.tcb.state != State::Closed && s.tcb.deadline() == Instant::NEVER;
        let here = h.is_local(s.remote.addr);
        if waits && here && h.sh.find_connection(s.remote, s.local).is_none() {
            panic!("socket {index}, {:?}, waits for nobody", s.tcb.state);
        }
    }
}

/// The victim died: recover, let the others go on, and see that all ends well.
fn aftermath(stack: &Stack, now: Instant, others: &[Program], victims: &HashSet<u64>) {
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
        assert_no_widows(h);
        // The keeper's part: close what the dead process had.
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
    let mut others: Vec<Program> = others.to_vec();
    // How much of the victim's streams was sent, nobody knows.
    let mut known = others[0].ledger.borrow().clone();
    known.retain(|id, _| !victims.contains(id));
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
    let ledger = Ledger::default();
    let mut rng = Rng(!seed);
    let mut programs: Vec<Program> = (0..4)
        .map(|n| {
            let mut p = Program::new(seed * 4 + n, &places(), &ledger);
            p.owner.pid = VICTIM + n as u32;
            p.largest = 3000;
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

#[test]
fn death_at_any_instruction_costs_what_was_being_changed() {
    let copy = Stack::new();
    let (mut steps, mut deaths) = (0, 0);
    // UTCP_RARELY=1 looks at every single instruction, which takes minutes.
    let rarely = std::env::var("UTCP_RARELY").map_or(200, |n| n.parse().unwrap());
    for seed in 0..80 {
        let Scene {
            stack,
            now,
            mut victim,
            others,
        } = scene(seed);
        let victims: HashSet<u64> = victim.streams().collect();
        let mut rng = Rng(seed);
        let later = now + Duration::from_millis([0, 0, 50, 300, 70_000][rng.below(5)]);
        let packets = [0, 0, 0, 1, 5][rng.below(5)];
        steps += step_through(
            &mut rng,
            rarely,
            || {
                stack.with(later, |h| {
                    h.receive(packets);
                    h.run_timers();
                    victim.step(h);
                });
            },
            || {
                if stack.arena.holder().is_some() {
                    deaths += 1;
                    copy.copy(&stack);
                    aftermath(&copy, later, &others, &victims);
                }
            },
        );
    }
    eprintln!("{steps} instructions, {deaths} deaths");
    assert!(deaths > 500, "{steps} instructions, {deaths} deaths");
}
