use super::*;
use std::time::{Duration, Instant};

/// What the tests keep in an arena: large, and mostly untouched.
#[repr(C)]
struct Shared {
    a: u64,
    b: u64,
    turns: [u64; 16],
    hits: AtomicU32,
    pool: Pool<[u64; 512], { 1 << 20 }>,
}

// SAFETY: numbers.
unsafe impl Root for Shared {
    const LAYOUT: u64 = 1;
}

/// Run `child` in a forked process; it must not return.
fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the child uses arenas and system calls only, then ends.
    match unsafe { libc::fork() } {
        0 => {
            child();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        pid => {
            assert!(pid > 0);
            pid
        }
    }
}

fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

fn die() -> ! {
    // SAFETY: ends this very process.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        loop {
            libc::pause();
        }
    }
}

#[test]
fn size_and_cost() {
    let (arena, fd) = Arena::<Shared>::create("utcp-test").unwrap();
    assert!(memory::file_size(&fd).unwrap() > 4 << 30);
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: valid pointers.
    unsafe { libc::fstat(fd.raw(), &mut stat) };
    assert_eq!(
        stat.st_blocks * 512,
        OFFSET as i64,
        "only the header is real"
    );
    let mut shared = arena.lock();
    let first = shared.pool.alloc().unwrap();
    shared.pool[first][0] = 1;
    drop(shared);
    // SAFETY: as above.
    unsafe { libc::fstat(fd.raw(), &mut stat) };
    assert!(stat.st_blocks * 512 <= OFFSET as i64 + 4 * 4096);
}

#[test]
fn two_mappings_are_one() {
    let (one, fd) = Arena::<Shared>::create("utcp-test").unwrap();
    let two = Arena::<Shared>::attach(&fd).unwrap();
    one.lock().a = 7;
    assert_eq!(two.lock().a, 7);
    // SAFETY: an atomic, reached by its own pointer.
    unsafe { &(*one.as_ptr()).hits }.store(3, Ordering::Relaxed);
    assert_eq!(two.lock().hits.load(Ordering::Relaxed), 3);
    assert!(!one.lock().recovered());
    drop(one);
    assert_eq!(two.lock().a, 7);
}

#[test]
fn holder_is_named() {
    let arena = Arena::<Shared>::private().unwrap();
    assert_eq!(arena.holder(), None);
    let guard = arena.lock();
    // SAFETY: no arguments.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
    assert_eq!(arena.holder(), Some(tid));
    drop(guard);
    assert_eq!(arena.holder(), None);
}

#[test]
fn waiting_has_an_end_if_wanted() {
    let arena = Arena::<Shared>::private().unwrap();
    let soon = || crate::sys::now() + Duration::from_millis(20);
    assert!(arena.lock_until(soon()).is_some());
    std::thread::scope(|scope| {
        let _guard = arena.lock();
        let other = scope.spawn(|| arena.lock_until(soon()).is_none());
        assert!(other.join().unwrap());
    });
    assert!(arena.lock_until(soon()).is_some_and(|g| !g.recovered()));
}

#[test]
fn foreign_arenas_are_refused() {
    struct Other;
    // SAFETY: empty.
    unsafe impl Root for Other {
        const LAYOUT: u64 = 2;
    }
    let (_arena, fd) = Arena::<Shared>::create("utcp-test").unwrap();
    assert_eq!(Arena::<Other>::attach(&fd).unwrap_err(), ArenaError::Layout);

    let empty = memory::memfd_create("utcp-test").unwrap();
    assert_eq!(
        Arena::<Other>::attach(&empty).unwrap_err(),
        ArenaError::NotAnArena
    );
    memory::ftruncate(&empty, 1 << 20).unwrap();
    assert_eq!(
        Arena::<Other>::attach(&empty).unwrap_err(),
        ArenaError::NotSealed
    );
    memory::seal_size(&empty).unwrap();
    assert_eq!(
        Arena::<Other>::attach(&empty).unwrap_err(),
        ArenaError::NotAnArena
    );

    let (arena, fd) = Arena::<Other>::create("utcp-test").unwrap();
    // SAFETY: this test owns the arena.
    unsafe { (*arena.header.as_ptr()).version = 99 };
    let error = Arena::<Other>::attach(&fd).unwrap_err();
    assert_eq!(error, ArenaError::Version(99, VERSION));
    assert!(error.to_string().contains("UTCP_STACK"));

    // A file of the right kind that someone else made shorter.
    struct Large([u8; 1 << 20]);
    // SAFETY: bytes.
    unsafe impl Root for Large {
        const LAYOUT: u64 = 2;
    }
    let large = Arena::<Large>::private().unwrap();
    assert_eq!(large.lock().0[77], 0);
    let (_arena, fd) = Arena::<Other>::create("utcp-test").unwrap();
    assert_eq!(Arena::<Large>::attach(&fd).unwrap_err(), ArenaError::Size);
}

#[test]
fn death_in_the_lock_is_noticed_once() {
    let (arena, _fd) = Arena::<Shared>::create("utcp-test").unwrap();
    let child = fork(|| {
        let mut shared = arena.lock();
        shared.a = 1;
        die();
    });
    wait(child);
    assert!(arena.holder().is_none() || arena.holder() == Some(child as u32));
    let mut shared = arena.lock();
    assert!(shared.recovered());
    assert_eq!((shared.a, shared.b), (1, 0));
    shared.b = 1;
    drop(shared);
    assert!(arena.lock().recovered(), "nobody has mended it");
    arena.lock().mended();
    assert!(!arena.lock().recovered());
}

#[test]
fn a_repairer_may_die_too() {
    let (arena, _fd) = Arena::<Shared>::create("utcp-test").unwrap();
    for _ in 0..3 {
        wait(fork(|| {
            let _shared = arena.lock();
            die();
        }));
    }
    assert!(arena.lock().recovered());
    arena.lock().mended();
    assert!(!arena.lock().recovered());
}

#[test]
fn a_panic_in_the_lock_counts_as_a_death() {
    let arena = Arena::<Shared>::private().unwrap();
    let result = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let _shared = arena.lock();
                std::panic::resume_unwind(Box::new(()));
            })
            .join()
    });
    assert!(result.is_err());
    assert!(arena.lock().recovered());
    arena.lock().mended();
    assert!(!arena.lock().recovered());
}

#[test]
fn a_waiter_is_woken_by_the_owners_death() {
    let (arena, _fd) = Arena::<Shared>::create("utcp-test").unwrap();
    let child = fork(|| {
        let _shared = arena.lock();
        // SAFETY: an atomic, reached by its own pointer.
        unsafe { &(*arena.as_ptr()).hits }.store(1, Ordering::Release);
        loop {
            // SAFETY: no arguments.
            unsafe { libc::pause() };
        }
    });
    // SAFETY: as above.
    while unsafe { &(*arena.as_ptr()).hits }.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| arena.lock().recovered());
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        assert_eq!(arena.holder(), Some(child as u32));
        // SAFETY: our own child.
        unsafe { libc::kill(child, libc::SIGKILL) };
        assert!(waiter.join().unwrap());
    });
    wait(child);
}

/// Several processes change two numbers that must stay equal; some die at random moments. No
/// survivor may see them differ unless it was told.
#[test]
fn many_processes_and_many_deaths() {
    let (arena, _fd) = Arena::<Shared>::create("utcp-test").unwrap();
    let worker = |number: usize| {
        loop {
            let mut shared = arena.lock();
            if shared.recovered() {
                shared.b = shared.a;
                shared.mended();
            }
            if shared.a != shared.b {
                // SAFETY: ends the process; the parent sees the status.
                unsafe { libc::_exit(3) };
            }
            shared.a += 1;
            shared.turns[number] += 1;
            for _ in 0..20 {
                core::hint::spin_loop();
            }
            shared.b += 1;
        }
    };
    let mut children: Vec<i32> = (0..4).map(|n| fork(|| worker(n))).collect();
    let end = Instant::now() + Duration::from_millis(1500);
    let mut victim = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_micros(victim as u64 * 37 % 2000));
        let n = victim % children.len();
        // SAFETY: our own child.
        unsafe { libc::kill(children[n], libc::SIGKILL) };
        assert!(libc::WIFSIGNALED(wait(children[n])));
        children[n] = fork(|| worker(n));
        victim += 1;
    }
    for &child in &children {
        // SAFETY: our own child.
        unsafe { libc::kill(child, libc::SIGKILL) };
        assert!(libc::WIFSIGNALED(wait(child)));
    }
    let shared = arena.lock();
    assert!(shared.recovered() || shared.a == shared.b);
    assert!(shared.turns[..4].iter().all(|&turns| turns > 0));
}

#[test]
#[ignore = "a measurement: cargo test --release -- --ignored --nocapture lock_cost"]
fn lock_cost() {
    let (arena, _fd) = Arena::<Shared>::create("utcp-test").unwrap();
    let rounds = 10_000_000u32;
    let start = Instant::now();
    for _ in 0..rounds {
        arena.lock().a += 1;
    }
    let spent = start.elapsed();
    println!(
        "lock and unlock: {:.1} ns",
        spent.as_nanos() as f64 / rounds as f64
    );
}

mod pool {
    use super::super::{Arena, Pool, Root};

    struct Tiny(Pool<u32, 4>);
    // SAFETY: numbers.
    unsafe impl Root for Tiny {
        const LAYOUT: u64 = 3;
    }

    #[test]
    fn slots_come_and_go() {
        let arena = Arena::<Tiny>::private().unwrap();
        let pool = &mut arena.lock().0;
        assert_eq!(pool.in_use(), 0);
        assert_eq!(pool.get(0), None);
        assert_eq!(pool.get(1), None);
        let all: Vec<u32> = std::iter::from_fn(|| pool.alloc()).collect();
        assert_eq!(all, [1, 2, 3, 4]);
        for i in 1..=4 {
            pool[i] = i * 10;
        }
        assert_eq!(pool.get(5), None);
        assert_eq!(pool.get(u32::MAX), None);
        pool.free(2);
        pool.free(4);
        assert_eq!(pool.in_use(), 2);
        assert_eq!(pool.get(2), None);
        let left: Vec<(u32, u32)> = pool.iter_in_use().map(|(i, &v)| (i, v)).collect();
        assert_eq!(left, [(1, 10), (3, 30)]);
        assert_eq!(pool.alloc(), Some(4), "last in, first out");
        assert_eq!(pool[4], 40, "as its last user left it");
        assert_eq!(pool.alloc_zeroed(), Some(2));
        assert_eq!(pool[2], 0);
        assert_eq!(pool.alloc(), None);
    }

    #[test]
    fn fresh_slots_are_the_last_resort() {
        let arena = Arena::<Tiny>::private().unwrap();
        let pool = &mut arena.lock().0;
        for _ in 0..10 {
            let slot = pool.alloc().unwrap();
            assert_eq!(slot, 1);
            pool.free(slot);
        }
        assert_eq!(pool.high_water(), 1);
    }

    #[test]
    fn the_free_list_is_derived() {
        let arena = Arena::<Tiny>::private().unwrap();
        let pool = &mut arena.lock().0;
        while pool.alloc().is_some() {}
        pool.rebuild(|i| i == 3);
        assert_eq!(pool.in_use(), 1);
        assert!(pool.get(3).is_some());
        let mut rest: Vec<u32> = std::iter::from_fn(|| pool.alloc()).collect();
        rest.sort();
        assert_eq!(rest, [1, 2, 4]);
    }

    proptest::proptest! {
        #[test]
        fn like_a_set(steps in proptest::collection::vec(0u32..6, 0..200)) {
            let arena = Arena::<Tiny>::private().unwrap();
            let pool = &mut arena.lock().0;
            let mut model = std::collections::BTreeSet::new();
            for step in steps {
                if model.contains(&step) {
                    pool.free(step);
                    model.remove(&step);
                } else {
                    match pool.alloc() {
                        Some(slot) => assert!(model.insert(slot)),
                        None => assert_eq!(model.len(), 4),
                    }
                }
                assert_eq!(pool.in_use() as usize, model.len());
                assert!(pool.iter_in_use().map(|(i, _)| i).eq(model.iter().copied()));
            }
        }
    }
}
