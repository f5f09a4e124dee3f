//! Random sequences of calls: no panic, everything in order after each, nothing left behind.

use super::program::{Ledger, Program, Rng, Trying, seeds};
use super::*;

/// Where the programs of a host bind, and connect to.
pub fn places() -> Vec<Endpoint> {
    let mut places = Vec::new();
    for port in 9000..9003 {
        places.push(Endpoint::new(v4([127, 0, 0, 1]), port));
        places.push(Endpoint::new(v4([10, 0, 0, 1]), port));
        places.push(Endpoint::new(
            Addr::v6(core::net::Ipv6Addr::LOCALHOST),
            port,
        ));
    }
    places
}

/// Nothing is in use.
pub fn assert_empty(h: &Host<'_>) {
    let mut left = Vec::new();
    h.table(|row| left.push(row));
    assert_eq!(h.sh.sockets.in_use(), 0, "{left:?}");
    assert_eq!(h.sh.chunks.in_use(), 0);
    assert_eq!(h.sh.buffers.in_use(), (0, 0));
    assert!(h.sh.conn_table.iter().all(|head| *head == 0));
    assert!(h.sh.port_table.iter().all(|head| *head == 0));
    assert_eq!(h.next_deadline(), Instant::NEVER);
    assert_eq!(h.sh.waiters.in_use(), 0);
}

/// Let the host's time pass until all connections are over.
pub fn let_all_end(host: &mut TestHost) {
    for _ in 0..200 {
        let next = host.with(|h| h.next_deadline());
        if next == Instant::NEVER {
            break;
        }
        host.now = host.now.max(next);
        host.with(|h| h.run_timers());
    }
}

fn sequence(seed: u64, steps: usize) -> (usize, u64) {
    let _trying = Trying(seed);
    let mut host = TestHost::new(1);
    let mut rng = Rng(!seed);
    let ledger = Ledger::default();
    let mut programs: Vec<Program> = (0..3)
        .map(|n| Program::new(seed * 3 + n, &places(), &ledger))
        .collect();
    for _ in 0..steps {
        if rng.chance(10) {
            let most = [1, 50, 1000, 100_000][rng.below(4)];
            host.now = host.now + Duration::from_millis(rng.below(most) as u64);
            host.with(|h| h.run_timers());
        }
        let program = &mut programs[rng.below(3)];
        host.with(|h| program.step(h));
    }
    for n in 0..20 {
        host.now = host.now + Duration::from_millis(50);
        host.with(|h| h.run_timers());
        let program = &mut programs[n % 3];
        host.with(|h| program.wind_down(h));
    }
    for p in &mut programs {
        host.with(|h| p.end(h));
    }
    let_all_end(&mut host);
    host.with(|h| assert_empty(h));
    let whole = programs.iter().map(|p| p.whole).sum();
    (whole, programs.iter().map(|p| p.received).sum())
}

#[test]
fn random_calls_leave_everything_in_order() {
    let mut all = (0, 0);
    for seed in seeds(0..150) {
        let (whole, bytes) = sequence(seed, 400);
        all = (all.0 + whole, all.1 + bytes);
    }
    // That much does happen in them.
    assert!(all.0 > 100 && all.1 > 1_000_000, "{all:?}");
}
