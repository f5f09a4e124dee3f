//! Network namespaces. A thread moves into a new one (the others stay), and what it starts is
//! born there; a descriptor keeps the namespace while the harness wants it.
//!
//! An ordinary user makes them inside a user namespace. That takes a process with one thread,
//! so the test is then run again by `unshare -Ur`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use utcp_stack::sys::remedy;

/// The names that both hosts of an arrangement know each other by.
pub const PEER: &str = "198.18.0.1";
/// The tested host's address in the arrangement with two hosts.
pub const TESTED: &str = "198.18.0.2";
/// The same, IPv6.
pub const PEER6: &str = "fd75:7463:7000::1";
/// The same, IPv6.
pub const TESTED6: &str = "fd75:7463:7000::2";

const AGAIN: &str = "UTCP_TEST_IN_USER_NAMESPACE";

/// Whether this user can make network namespaces.
fn can_unshare() -> bool {
    std::thread::spawn(|| {
        // SAFETY: a system call without pointers; the thread ends with it.
        unsafe { libc::unshare(libc::CLONE_NEWNET) == 0 }
    })
    .join()
    .unwrap_or(false)
}

/// Runs the test again in a user namespace if this user can make network namespaces only
/// there; true if that was done (and went well).
pub fn ran_elsewhere(test: &str) -> bool {
    if can_unshare() {
        return false;
    }
    assert!(
        std::env::var_os(AGAIN).is_none(),
        "no network namespace can be made, not even in a user namespace; {}",
        remedy::namespaces()
    );
    let exe = std::env::current_exe().expect("this test's own file");
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--"])
        .arg(exe)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(AGAIN, "1")
        .status();
    match status {
        Err(e) => panic!("can't run unshare: {e}; it comes with the package util-linux"),
        Ok(s) => assert!(
            s.success(),
            "{test} failed in a user namespace ({s}). If that could not be made: {}",
            remedy::namespaces()
        ),
    }
    true
}

/// Fails the test where the stack can have no device, and says what opens it: without one the
/// tested host can't be reached, and a test that did not run has not passed.
pub fn need_device() {
    if let Err(e) = File::options().read(true).write(true).open("/dev/net/tun") {
        let opens = match e.kind() {
            std::io::ErrorKind::PermissionDenied => "`sudo chmod 0666 /dev/net/tun` allows it",
            _ => "`sudo modprobe tun` makes it (a container needs `--device /dev/net/tun`)",
        };
        panic!("this test needs a TUN device: /dev/net/tun: {e}; {opens}");
    }
}

/// A network namespace, its loopback up.
pub struct Namespace(File);

impl Namespace {
    /// A new one.
    pub fn new() -> Namespace {
        let file = std::thread::spawn(|| {
            // SAFETY: a system call without pointers; the thread ends with it.
            let r = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(r, 0, "unshare: {}", std::io::Error::last_os_error());
            ip("link set lo up");
            File::open("/proc/thread-self/ns/net").expect("the namespace's file")
        })
        .join()
        .expect("a thread in a new network namespace");
        Namespace(file)
    }

    /// Runs `f` in the namespace, on a thread of its own.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let fd = self.0.as_raw_fd();
        std::thread::scope(|scope| {
            let handle = scope.spawn(move || {
                // SAFETY: a system call without pointers, on a descriptor that lives.
                let r = unsafe { libc::setns(fd, libc::CLONE_NEWNET) };
                assert_eq!(r, 0, "setns: {}", std::io::Error::last_os_error());
                f()
            });
            match handle.join() {
                Ok(v) => v,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A path that names it to other processes, as long as this lives.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The two hosts' other one: routes to addresses that are silent (203.0.113.1),
    /// unreachable (.2), prohibited (.3), gone from here (.99), taken by the raw peer (.200), a
    /// neighbour that is dead (192.0.2.66), and an address it can take away (.10). It forwards.
    pub fn as_peer(&self) {
        self.enter(|| {
            for (name, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv6/icmp/ratelimit", "0"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/conf/default/send_redirects", "0"),
                ("ipv6/conf/default/accept_dad", "0"),
            ] {
                sysctl(name, value);
            }
            ip("addr add 203.0.113.10/32 dev lo");
            ip("route add blackhole 203.0.113.1");
            ip("route add unreachable 203.0.113.2");
            ip("route add prohibit 203.0.113.3");
            ip("route add blackhole 203.0.113.200");
            ip("-6 route add blackhole fd75:7463:7000:f::1");
            ip("-6 route add unreachable fd75:7463:7000:f::2");
            ip("-6 route add prohibit fd75:7463:7000:f::3");
            ip("link add n0 type veth peer name n1");
            ip("addr add 192.0.2.1/24 dev n0");
            ip("link set n0 up");
            ip("link set n1 up");
        });
    }

    /// Joins the tested host's namespace to this one by a wire with the addresses that a stack
    /// and the kernel have at the ends of `utcp0`.
    pub fn wire_to(&self, tested: &Namespace) {
        self.enter(|| {
            ip(&format!(
                "link add utcp0 type veth peer name eth0 netns {}",
                tested.path()
            ));
            ip(&format!("addr add {PEER}/24 dev utcp0"));
            ip(&format!("addr add {PEER6}/64 dev utcp0 nodad"));
            ip("link set utcp0 up");
        });
        tested.enter(|| {
            ip(&format!("addr add {TESTED}/24 dev eth0"));
            ip(&format!("addr add {TESTED6}/64 dev eth0 nodad"));
            ip("link set eth0 up");
            ip(&format!("route add default via {PEER}"));
            ip(&format!("-6 route add default via {PEER6}"));
        });
    }
}

/// Runs `ip` in the calling thread's namespace.
pub fn ip(args: &str) {
    match Command::new("ip").args(args.split(' ')).output() {
        Err(e) => panic!("can't run ip: {e}; it comes with the package iproute2"),
        Ok(o) => assert!(
            o.status.success(),
            "ip {args}: {}",
            String::from_utf8_lossy(&o.stderr)
        ),
    }
}

fn sysctl(name: &str, value: &str) {
    // Some exist only with modules or in some kernels; those that matter show in the results.
    let _ = std::fs::write(format!("/proc/sys/net/{name}"), value);
}

/// What the namespace's kernel has carried (the `Tcp:` lines of /proc/net/snmp).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Connections the kernel's TCP began.
    pub active_opens: u64,
    /// Connections the kernel's TCP took.
    pub passive_opens: u64,
    /// Segments in.
    pub in_segs: u64,
    /// Segments out.
    pub out_segs: u64,
}

/// The counters of the calling thread's namespace.
pub fn counters() -> Counters {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("/proc/net/snmp");
    let mut lines = text.lines().filter(|l| l.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let get = |name: &str| {
        names
            .split(' ')
            .zip(values.split(' '))
            .find(|(n, _)| *n == name)
            .and_then(|(_, v)| v.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in /proc/net/snmp"))
    };
    Counters {
        active_opens: get("ActiveOpens"),
        passive_opens: get("PassiveOpens"),
        in_segs: get("InSegs"),
        out_segs: get("OutSegs"),
    }
}
