//! Processes on one stack, killed at any moment, while two others go on.
#![allow(unsafe_code)]

use super::program::{Ledger, Program, Reader, Rng, fill};
use super::sequences::{assert_empty, places};
use super::*;
use crate::runtime::{Runtime, Wait, Woken};
use crate::stack::How;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// What the processes of the test tell each other.
#[repr(C)]
#[derive(Default)]
struct Board {
    stop: AtomicU32,
    /// Bytes that the survivors have transferred and checked.
    bytes: AtomicU64,
    /// Connections of theirs that were reset.
    resets: AtomicU64,
    /// Calls that victims have made.
    calls: AtomicU64,
}

fn board() -> &'static Board {
    // SAFETY: a fresh mapping, zeroed, which is never unmapped; the type is all atomics.
    unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let at = libc::mmap(core::ptr::null_mut(), 4096, prot, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        &*at.cast::<Board>()
    }
}

/// Run `child` in a process of its own. A panic there ends it with status 101.
fn process(runtime: &Runtime, child: impl FnOnce()) -> i32 {
    // SAFETY: the child ends itself.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: no pointers. (Should the test fail, nothing is left of it.)
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        runtime.after_fork_child();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: ends the process.
        unsafe { libc::_exit(if ran.is_ok() { 0 } else { 101 }) };
    }
    pid
}

fn wait_for(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

fn me() -> Owner {
    let pid = crate::sys::process::pid();
    Owner {
        pid,
        ..Owner::default()
    }
}

const PLACE: u16 = 9100;

/// Call `attempt` until it gives something else than WouldBlock.
fn blocking<R>(
    runtime: &Runtime,
    socket: SockId,
    attempt: impl FnMut(&mut Host<'_>) -> Result<R>,
) -> Result<R> {
    let limit = Duration::from_secs(20);
    within(limit, runtime, socket, attempt).expect("a call that never returns")
}

/// The same, for a limited time.
fn within<R>(
    limit: Duration,
    runtime: &Runtime,
    socket: SockId,
    mut attempt: impl FnMut(&mut Host<'_>) -> Result<R>,
) -> Option<Result<R>> {
    let wait = Wait {
        sockets: &[socket],
        timeout: Some(limit),
        ..Wait::default()
    };
    let woken = runtime.block(wait, |h, _| match attempt(h) {
        Err(Error::WouldBlock | Error::Already | Error::InProgress) => None,
        other => Some(other),
    });
    match woken {
        Woken::Ready(r) => Some(r),
        _ => None,
    }
}

/// Send streams, one connection after another, until told to stop.
fn sender(runtime: &Runtime, board: &Board) {
    let mut rng = Rng(77);
    let mut data = vec![0; 50_000];
    while board.stop.load(SeqCst) == 0 {
        let c = {
            let mut h = runtime.enter();
            h.create(Family::V4, me(), &Sysctl::default()).unwrap()
        };
        let to = Endpoint::new(v4([127, 0, 0, 1]), PLACE);
        let mut begun = false;
        let connected = blocking(runtime, c, |h| {
            if begun {
                return h.connect_result(c);
            }
            begun = true;
            h.connect(c, to)
        });
        let (stream, mut at) = (rng.next(), 0);
        let whole = 1_000_000 + rng.below(5_000_000) as u64;
        while connected.is_ok() && at < whole && board.stop.load(SeqCst) == 0 {
            let len = 1 + rng.below(data.len());
            fill(stream, at, &mut data[..len]);
            let part = [IoSlice::new(&data[..len])];
            match blocking(runtime, c, |h| h.send(c, &part, 0, SendFlags::default())) {
                Ok(n) => at += n as u64,
                Err(_) => break,
            }
        }
        runtime.enter().close(c);
    }
}

/// Receive them, and check every byte.
fn receiver(runtime: &Runtime, board: &Board, lossy: bool) {
    let mut rng = Rng(78);
    let mut data = vec![0; 50_000];
    let l = {
        let mut h = runtime.enter();
        let l = h.create(Family::V4, me(), &Sysctl::default()).unwrap();
        h.bind(l, Endpoint::new(Addr::ANY4, PLACE), true).unwrap();
        h.listen(l, 5).unwrap();
        l
    };
    while board.stop.load(SeqCst) < 2 {
        let wait = Wait {
            sockets: &[l],
            timeout: Some(Duration::from_millis(100)),
            ..Wait::default()
        };
        let got = runtime.block(wait, |h, _| h.accept(l, me()).ok());
        let Woken::Ready((s, _)) = got else { continue };
        let mut reader = Reader::default();
        loop {
            let most = 1 + rng.below(data.len());
            let mut part = [IoSliceMut::new(&mut data[..most])];
            // A RST is sent once. Where links lose packets, nobody else may tell a receiver that
            // its peer is gone.
            let limit = Duration::from_secs(if lossy { 2 } else { 20 });
            let got = within(limit, runtime, s, |h| {
                h.recv(s, &mut part, RecvFlags::default())
            });
            assert!(got.is_some() || lossy, "a call that never returns");
            match got {
                Some(Ok(0)) => break,
                Some(Ok(n)) => {
                    reader.take(&data[..n], false);
                    board.bytes.fetch_add(n as u64, SeqCst);
                }
                Some(Err(_)) | None => {
                    board.resets.fetch_add(1, SeqCst);
                    break;
                }
            }
        }
        let mut h = runtime.enter();
        let _ = h.shutdown(s, How::Both);
        h.close(s);
    }
    runtime.enter().close(l);
}

/// Make random calls until killed.
fn victim(runtime: &Runtime, board: &Board, seed: u64) {
    let mut program = Program::new(seed, &places(), &Ledger::default());
    // Others write what it reads: only the ledger's owner could tell whether that is all.
    program.knows_all = false;
    program.owner = me();
    program.largest = 20_000;
    loop {
        for _ in 0..=program.rng.below(4) {
            program.step(&mut runtime.enter());
            board.calls.fetch_add(1, SeqCst);
        }
        if program.rng.chance(5) {
            std::thread::yield_now();
        }
    }
}

/// What the keeper does when a process is gone.
fn clean_up(runtime: &Runtime, gone: i32) {
    let mut h = runtime.enter();
    h.reap_waiters(|pid| pid == gone as u32);
    h.wakes.all = true;
    for id in 1..=h.sh.waiters.high_water() {
        h.heard(id as u16);
    }
    for index in 1..=h.sh.sockets.high_water() {
        if let Some(s) = h.sh.sockets.get(index)
            && !s.orphan
            && (s.owner.pid == gone as u32 || s.owner.pid == 0)
        {
            let id = h.id_of(index, s);
            h.close(id);
        }
    }
    h.finish();
    let wrong = h.check();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn survivors_do_not_notice_the_death_of_others() {
    survivors_of(400, "");
}

/// Packets that links hold survive, too, or are lost as on any network.
#[test]
fn survivors_on_bad_links_notice_as_little() {
    survivors_of(
        200,
        "loss=0.5% delay=200us±100us reorder=2%,1ms duplicate=2% corrupt=0.5%",
    );
}

/// A new stack's memory; `which` one of this process's.
fn arena(which: u64) -> (Arena<Shared>, crate::sys::Fd) {
    let (arena, fd) = Arena::<Shared>::create("utcp-test").unwrap();
    let mut g = arena.lock();
    g.secret = [9; 16];
    g.nonce = u64::from(crate::sys::process::pid()) << 20 | 0xdead ^ which;
    g.config.addr4 = v4([10, 0, 0, 1]);
    drop(g);
    (arena, fd)
}

/// However many threads waited at once and ended: the process keeps some of their waiters for
/// threads to come, the numbers of all others are free.
#[test]
fn waiters_of_threads_that_ended_are_free() {
    const THREADS: usize = 150;
    let (_arena, fd) = arena(77_000);
    let runtime = Runtime::over(Arena::attach(&fd).unwrap(), None).unwrap();
    let wait = || {
        let wait = Wait {
            timeout: Some(Duration::from_millis(1)),
            ..Wait::default()
        };
        assert_eq!(runtime.block(wait, |_, _| None::<()>), Woken::TimedOut);
    };
    let child = process(&runtime, || {
        let all_waited = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            let thread = || {
                scope.spawn(|| {
                    wait();
                    all_waited.wait();
                })
            };
            let threads: Vec<_> = (0..THREADS).map(|_| thread()).collect();
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
        wait();
        let in_use = runtime.enter().sh.waiters.in_use();
        assert!(in_use <= 64, "{in_use}");
    });
    assert_eq!(wait_for(child), 0);
}

fn survivors_of(kills: u64, links: &str) {
    let (arena, fd) = arena(kills);
    {
        let mut g = arena.lock();
        let settings = crate::impair::Settings::parse(links).unwrap();
        g.impair(&settings, crate::sys::now());
    }
    let runtime = Runtime::over(Arena::attach(&fd).unwrap(), None).unwrap();
    let board = board();
    let mut rng = Rng(1);
    let receiver = process(&runtime, || receiver(&runtime, board, !links.is_empty()));
    let sender = process(&runtime, || sender(&runtime, board));
    let mut victims = Vec::new();
    for seed in 0..kills {
        while victims.len() < 3 {
            let seed = seed * 8 + victims.len() as u64;
            victims.push(process(&runtime, || victim(&runtime, board, seed)));
        }
        std::thread::sleep(Duration::from_micros(rng.below(8000) as u64));
        // Every other time, one that seems to hold the lock just now.
        let mut which = rng.below(victims.len());
        for _ in 0..if seed % 2 == 0 { 20_000 } else { 0 } {
            let holder = runtime.arena().holder();
            let victim = |pid: &i32| Some(*pid as u32) == holder;
            if let Some(found) = victims.iter().position(victim) {
                which = found;
                break;
            }
        }
        let pid = victims.swap_remove(which);
        // SAFETY: our own child.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        let status = wait_for(pid);
        assert!(libc::WIFSIGNALED(status), "a victim failed: {status:x}");
        clean_up(&runtime, pid);
    }
    for pid in victims {
        // SAFETY: our own child.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        wait_for(pid);
        clean_up(&runtime, pid);
    }
    board.stop.store(1, SeqCst);
    assert_eq!(wait_for(sender), 0);
    board.stop.store(2, SeqCst);
    assert_eq!(wait_for(receiver), 0);
    clean_up(&runtime, receiver);
    clean_up(&runtime, sender);

    let mut guard = arena.lock();
    let counters = guard.counters;
    let mut h = Host {
        sh: &mut guard,
        device: &mut crate::link::NoDevice,
        now: crate::sys::now(),
        pid: 1,
        tid: 1,
        wakes: WakeSet::default(),
    };
    for _ in 0..10_000 {
        let next = h.next_deadline();
        if next == Instant::NEVER {
            break;
        }
        h.now = h.now.max(next);
        h.run_timers();
    }
    h.finish();
    assert_eq!(h.check(), Vec::<String>::new());
    assert_empty(&h);
    let (bytes, resets) = (board.bytes.load(SeqCst), board.resets.load(SeqCst));
    let calls = board.calls.load(SeqCst);
    let seen = format!(
        "{kills} kills, {} in the lock, {} connections reset, {calls} calls; \
         survivors: {bytes} bytes, {resets} resets",
        counters.recoveries, counters.recovered_resets
    );
    eprintln!("{seen}");
    assert!(counters.recoveries > kills / 40, "{seen}");
    let least = if links.is_empty() {
        10_000_000
    } else {
        1_000_000
    };
    assert!(bytes > least && resets < 5, "{seen}");
}
