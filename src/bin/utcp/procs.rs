//! Processes: who has which socket, whose child is who, running and ending programs.

use std::collections::HashMap;
use std::fs;

/// A process that has a descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its name, as /proc/PID/comm has it.
    pub name: String,
    /// Its id.
    pub pid: u32,
    /// The descriptor.
    pub fd: i32,
}

/// For each socket's inode, the processes that have it, by pid. Those of other users are only
/// seen by root.
pub fn socket_holders() -> HashMap<u64, Vec<Holder>> {
    let mut found: HashMap<u64, Vec<Holder>> = HashMap::new();
    for pid in all() {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        let mut name = None;
        for entry in fds.flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let inode = target.to_str().and_then(inode_of);
            let fd = entry.file_name().to_str().and_then(|n| n.parse().ok());
            if let (Some(inode), Some(fd)) = (inode, fd) {
                let name = name.get_or_insert_with(|| name_of(pid)).clone();
                let holder = Holder { name, pid, fd };
                found.entry(inode).or_default().push(holder);
            }
        }
    }
    for holders in found.values_mut() {
        holders.sort_by_key(|h| (h.pid, h.fd));
    }
    found
}

/// The number in `socket:[4711]`.
fn inode_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// A process's name.
pub fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end_matches('\n').to_owned()
}

/// All processes.
fn all() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// A process's parent.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parent_in(&stat)
}

/// The fourth field of /proc/PID/stat; the second may hold anything, parentheses included.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// A process's children.
pub fn children(of: u32) -> Vec<u32> {
    all().filter(|pid| parent(*pid) == Some(of)).collect()
}

/// `pid` is `ancestor`, its child, its child's child ...
pub fn descends(mut pid: u32, ancestor: u32) -> bool {
    for _ in 0..64 {
        if pid == ancestor {
            return true;
        }
        match parent(pid) {
            Some(up) if up > 1 => pid = up,
            _ => return false,
        }
    }
    false
}

/// A signal's name.
pub fn signal_name(signal: i32) -> String {
    const NAMES: [(i32, &str); 20] = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGUSR2, "SIGUSR2"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGXFSZ, "SIGXFSZ"),
        (libc::SIGVTALRM, "SIGVTALRM"),
        (libc::SIGIO, "SIGIO"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    NAMES
        .iter()
        .find(|(number, _)| *number == signal)
        .map_or_else(
            || format!("signal {signal}"),
            |(_, name)| (*name).to_owned(),
        )
}

/// How a process ended: "0", "SIGKILL".
pub fn status_text(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => signal_name(signal),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_parent() {
        assert_eq!(parent_in("12 (a) S 1 (b)) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("12 (x"), None);
    }

    #[test]
    fn finds_who_has_a_socket() {
        let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let fd = socket.as_raw_fd();
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let inode = inode_of(link.to_str().unwrap()).unwrap();
        let holders = socket_holders();
        let pid = std::process::id();
        let name = name_of(pid);
        assert!(holders[&inode].contains(&Holder { name, pid, fd }));
    }

    #[test]
    fn family() {
        let mut child = std::process::Command::new("sleep")
            .arg("5")
            .spawn()
            .unwrap();
        let (me, pid) = (std::process::id(), child.id());
        assert!(children(me).contains(&pid));
        assert!(descends(pid, me) && !descends(me, pid));
        child.kill().unwrap();
        assert_eq!(status_text(child.wait().unwrap()), "SIGKILL");
    }
}
