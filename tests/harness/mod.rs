//! Runs the programs of `c-tests/` twice, on the kernel's stack and under `libutcp.so`, each time
//! in network namespaces made for that run, and compares what they printed.
//!
//! | file | what |
//! |---|---|
//! | `build.rs` | compiling the programs, the empty library, finding `libutcp.so` |
//! | `netns.rs` | network namespaces, one host or two |
//! | `run.rs` | the steps of a scenario, run on one side |
//! | `compare.rs` | two runs compared; proof that the stack under test carried the second |
//! | `capture.rs` | segments as an AF_PACKET socket sees them, made comparable |
//!
//! Sides that differ are compared again, a few times, if the machine was too busy to be punctual:
//! `UTCP_TEST_TRIES=1` doesn't. Two more variables turn the harness on itself: `UTCP_TEST_AGAINST=kernel` runs the kernel twice (a
//! program that differs then is not deterministic), `UTCP_TEST_LIBRARY=FILE` preloads another
//! library (an empty one must make every test fail).

// Each test crate uses its part of this.
#![allow(dead_code)]

pub mod build;
pub mod capture;
pub mod compare;
pub mod netns;
pub mod run;

#[allow(unused_imports)]
pub use run::{Scenario, Step};

use run::Side;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Runs the scenario on both sides and fails the test on any difference, or when the kernel
/// carried what the library should have. `test` is the test's full name.
pub fn check(test: &str, scenario: &Scenario) {
    if netns::ran_elsewhere(test) {
        return;
    }
    let other = match std::env::var("UTCP_TEST_AGAINST").as_deref() {
        Ok("kernel") => Side::Kernel,
        Ok(other) => panic!("UTCP_TEST_AGAINST is {other:?}; it can only be \"kernel\""),
        Err(_) => Side::Library(library()),
    };
    let tries = std::env::var("UTCP_TEST_TRIES").map_or(TRIES, |n| n.parse().expect("a number"));
    for n in 1.. {
        let watch = Punctuality::watch();
        let result = both(test, scenario, &other);
        let late = watch.latest();
        match result {
            Ok(()) => return,
            Err(report) if n < tries && late >= LATE => {
                eprintln!("try {n}: something was {late:?} late, and {report}");
            }
            Err(report) => panic!("{report}"),
        }
    }
}

/// How often sides that differ are compared on a machine that has others to serve.
const TRIES: usize = 4;

/// A machine on which a thread that slept goes on so much too late lets timers (a delayed ACK is
/// due after 40 ms) come between a program's calls on one side, and not on the other.
const LATE: Duration = Duration::from_millis(2);

/// Watches how punctually a thread of this process goes on after it has slept.
struct Punctuality {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Punctuality {
    fn watch() -> Punctuality {
        let over = Arc::new(AtomicBool::new(false));
        let ours = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            const NAP: Duration = Duration::from_millis(5);
            let mut latest = Duration::ZERO;
            while !ours.load(Ordering::Relaxed) {
                let begin = Instant::now();
                std::thread::sleep(NAP);
                latest = latest.max(begin.elapsed().saturating_sub(NAP));
            }
            latest
        });
        Punctuality { over, thread }
    }

    /// The most that it was late.
    fn latest(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch")
    }
}

/// The library under test.
pub fn library() -> PathBuf {
    std::env::var_os("UTCP_TEST_LIBRARY").map_or_else(build::libutcp, PathBuf::from)
}

/// Runs the scenario on the kernel and on the other side; the report says what differs.
pub fn both(test: &str, scenario: &Scenario, other: &Side) -> Result<(), String> {
    // Compile first: the time limits are for the programs.
    scenario.build();
    let (kernel, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| run::run(test, scenario, &Side::Kernel));
        let second = run::run(test, scenario, other);
        (first.join().expect("the kernel's side"), second)
    });
    compare::judge(scenario, &kernel, &second, other)
}
