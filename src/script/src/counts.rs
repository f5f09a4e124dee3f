//! What a script makes the kernel count, and what this stack.

use crate::{kernel, mtu, ours, parse, run};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One counter of /proc/net/netstat or /proc/net/snmp.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Its name there.
    pub name: String,
    /// What it is on the kernel after a script.
    pub kernel: u64,
    /// And on this stack.
    pub ours: u64,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counted { name, kernel, ours } = self;
        write!(f, "{name}: {kernel} on the kernel, {ours} here")
    }
}

/// Run a script's text on the kernel and then on this project's stack: which counters of TCP
/// differ.
pub fn counted_otherwise(text: &str) -> Result<Vec<Counted>, String> {
    let script = parse::parse(text).map_err(|e| e.to_string())?;
    let mut kernel = kernel::Kernel::new(mtu(&script), kernel::Host::Kernel)?;
    run::run(&script, &mut kernel).map_err(|f| f.to_string())?;
    let [netstat, snmp] = kernel.counters()?;
    let mut ours = ours::Ours::new(mtu(&script)).ok_or("no memory for a host")?;
    run::run(&script, &mut ours).map_err(|f| f.to_string())?;
    let kernel = counts([&netstat, &snmp]);
    let ours = counts([&ours.netstat(&netstat), &ours.snmp(&snmp)]);
    Ok(differences(&kernel, &ours))
}

/// What is not 0, by name.
type Counts = BTreeMap<String, u64>;

fn counts([netstat, snmp]: [&str; 2]) -> Counts {
    let mut counts = Counts::new();
    for (file, group) in [(netstat, "TcpExt:"), (snmp, "Tcp:")] {
        let mut lines = file.lines().filter_map(|l| l.strip_prefix(group));
        let mut words = || lines.next().unwrap_or_default().split_whitespace();
        for (name, n) in words().zip(words()) {
            if let Ok(n @ 1..) = n.parse() {
                counts.insert(name.to_owned(), n);
            }
        }
    }
    counts
}

fn differences(kernel: &Counts, ours: &Counts) -> Vec<Counted> {
    let names: BTreeSet<&String> = kernel.keys().chain(ours.keys()).collect();
    let of = |counts: &Counts, name| counts.get(name).copied().unwrap_or(0);
    names
        .into_iter()
        .map(|name| Counted {
            name: name.clone(),
            kernel: of(kernel, name),
            ours: of(ours, name),
        })
        .filter(|c| c.kernel != c.ours)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_told() {
        let netstat = "TcpExt: A B C\nTcpExt: 1 0 2\nIpExt: D\nIpExt: 9\n";
        let kernel = counts([netstat, "Tcp: E F\nTcp: 0 -1\n"]);
        let ours = counts(["TcpExt: A C\nTcpExt: 1 3\n", "Tcp: E\nTcp: 4\n"]);
        let told: Vec<String> = differences(&kernel, &ours)
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = ["C: 2 on the kernel, 3 here", "E: 0 on the kernel, 4 here"];
        assert_eq!(told, expected);
    }
}
