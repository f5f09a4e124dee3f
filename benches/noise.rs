//! How much of the machine others use while we measure.

use std::fs;
use std::time::{Duration, Instant};

use crate::namespace;

/// Processor time, in seconds, that processes outside our network namespace have used so far.
///
/// It includes what their ended children used: otherwise the end of a compiler would look like
/// time given back.
pub fn used_elsewhere() -> f64 {
    let ours = namespace::of("self");
    let mut ticks = 0u64;
    for pid in namespace::processes() {
        if namespace::of(&pid.to_string()) == ours {
            continue;
        }
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name in parentheses may hold blanks; utime, stime, cutime, cstime are the 12th
        // to 15th field after it.
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The kernel's own threads (children of 2) work for everyone, for us as well.
        if fields
            .get(1)
            .is_some_and(|parent| matches!(*parent, "0" | "2"))
            && pid != 1
        {
            continue;
        }
        ticks += fields
            .iter()
            .skip(11)
            .take(4)
            .filter_map(|t| t.parse::<u64>().ok())
            .sum::<u64>();
    }
    // SAFETY: a pure query.
    let hz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ticks as f64 / hz.max(1) as f64
}

/// The share of one processor that others use now, looked at for half a second.
pub fn busy_elsewhere() -> f64 {
    let (begin, used) = (Instant::now(), used_elsewhere());
    std::thread::sleep(Duration::from_millis(500));
    ((used_elsewhere() - used) / begin.elapsed().as_secs_f64()).max(0.0)
}
