//! Which machine, kernel and commit the numbers belong to.

use std::fs;
use std::process::Command;

/// What a reader needs to know to judge the numbers.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors this run may use.
    pub cores: usize,
    /// It says that it is a virtual machine.
    pub virtual_machine: bool,
    /// The kernel's release.
    pub kernel: String,
    /// Day of the run, UTC.
    pub date: String,
    /// The commit of the working tree, with `+` if it was changed.
    pub commit: String,
}

impl Machine {
    /// Look at the machine we run on.
    pub fn look() -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            info.lines()
                .find(|l| l.starts_with(name))
                .and_then(|l| l.split_once(':'))
                .map(|(_, v)| v.trim().to_owned())
                .unwrap_or_else(|| "unknown".to_owned())
        };
        Machine {
            cpu: field("model name"),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
            virtual_machine: field("flags").contains("hypervisor"),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            date: output("date", &["-u", "+%Y-%m-%d"]),
            commit: commit(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.virtual_machine {
            " (virtual machine)"
        } else {
            ""
        };
        write!(
            f,
            "{}, {} core(s){kind}, Linux {}, {}, commit {}",
            self.cpu, self.cores, self.kernel, self.date, self.commit
        )
    }
}

fn commit() -> String {
    let at = env!("CARGO_MANIFEST_DIR");
    let hash = output("git", &["-C", at, "rev-parse", "--short", "HEAD"]);
    let changed = output("git", &["-C", at, "status", "--porcelain", "-uno"]);
    if changed.is_empty() { hash } else { hash + "+" }
}

fn output(program: &str, args: &[&str]) -> String {
    Command::new(program)
        .args(args)
        .output()
        .ok()
        .and_then(|o| String::from_utf8(o.stdout).ok())
        .unwrap_or_default()
        .trim()
        .to_owned()
}
