//! The network namespace in which everything runs, and the kernel's counters there.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::tun;

/// Move this process into a network namespace of its own, with loopback up. An ordinary user
/// gets a user namespace as well. Call it before any thread exists.
pub fn enter() -> Result<(), String> {
    // SAFETY: both only ask and change what this process belongs to.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let flags = libc::CLONE_NEWNET | if uid == 0 { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: as above.
    if unsafe { libc::unshare(flags) } != 0 {
        return Err(format!(
            "no network namespace of our own: {}; as root it works, or with \
             `sysctl kernel.unprivileged_userns_clone=1`",
            io::Error::last_os_error()
        ));
    }
    if uid != 0 {
        let write = |file: &str, text: String| {
            fs::write(format!("/proc/self/{file}"), text).map_err(|e| format!("{file}: {e}"))
        };
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("0 {uid} 1"))?;
        write("gid_map", format!("0 {gid} 1"))?;
    }
    tun::up("lo").map_err(|e| format!("lo: {e}"))
}

/// All process ids there are.
pub fn processes() -> Vec<u32> {
    let Ok(dir) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    dir.flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

/// The network namespace of process `pid`.
pub fn of(pid: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// End what still runs in our namespace: a keeper that stays for its connections' TIME_WAIT.
/// Nobody else can be there.
pub fn end_leftovers() {
    let ours = of("self");
    for pid in processes() {
        if pid != std::process::id() && ours.is_some() && of(&pid.to_string()) == ours {
            // SAFETY: it was started by this run, or it would not be in its namespace.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
    }
}

/// What the kernel's TCP has done in our namespace.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Ends of connections that became established.
    pub ends: u64,
    /// Segments in and out.
    pub segments: u64,
}

impl Counters {
    /// Read them.
    pub fn read() -> Counters {
        let text = fs::read_to_string("/proc/self/net/snmp").unwrap_or_default();
        let mut lines = text.lines().filter(|l| l.starts_with("Tcp:"));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            return Counters::default();
        };
        let of = |name: &str| {
            let fields = names.split_whitespace().zip(values.split_whitespace());
            fields
                .filter(|(n, _)| *n == name)
                .find_map(|(_, v)| v.parse().ok())
                .unwrap_or(0u64)
        };
        Counters {
            ends: of("ActiveOpens") + of("PassiveOpens"),
            segments: of("InSegs") + of("OutSegs"),
        }
    }

    /// What was added since `before`.
    pub fn since(self, before: Counters) -> Counters {
        Counters {
            ends: self.ends.wrapping_sub(before.ends),
            segments: self.segments.wrapping_sub(before.segments),
        }
    }
}
