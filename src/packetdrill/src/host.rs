//! The machine, shared by packetdrill's two threads.

use core::cell::Cell;
use core::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use utcp_script::machine::{Addresses, Begun, Machine, opens, sysctl};
use utcp_script::request::{Reply, Request};

/// The stack's descriptors begin here, far from the process's own.
pub const FIRST_FD: i32 = 1 << 20;

/// What the clock shows at the beginning, in seconds.
const EPOCH: u64 = 1_000_000_000;

/// How long a thread waits for something to happen, in the stack's time.
const PATIENCE: Duration = Duration::from_secs(3600);

thread_local! {
    /// When this thread's call that blocked came to its end: what it sees when it looks at the
    /// clock next, however late it is woken.
    static ENDED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// See the module.
pub struct Outside {
    machine: Mutex<Machine>,
    /// Congestion control that counts whatever the settings say.
    congestion: Option<String>,
    changed: Condvar,
    /// A thread's call has just come to its end: it needs a moment to say so to packetdrill.
    woken: AtomicBool,
    /// The thread that makes time pass.
    main: libc::pthread_t,
    /// What the commands of scripts see of the counters.
    netstat: Option<Netstat>,
}

/// A file with the stack's /proc/net/netstat, for `nstat` in commands, which looks where
/// PROC_NET_NETSTAT says.
struct Netstat {
    file: std::fs::File,
    kernels: String,
}

impl Netstat {
    fn new() -> Option<Netstat> {
        let kernels = std::fs::read_to_string("/proc/self/net/netstat").ok()?;
        // SAFETY: a C string; the descriptor is ours.
        let file = unsafe {
            let fd = libc::memfd_create(c"netstat".as_ptr(), 0);
            (fd >= 0).then(|| std::fs::File::from_raw_fd(fd))?
        };
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        // SAFETY: packetdrill has no other thread yet.
        unsafe { std::env::set_var("PROC_NET_NETSTAT", path) };
        Some(Netstat { file, kernels })
    }

    fn show(&self, m: &Machine) {
        let text = m.netstat(&self.kernels);
        let _ = self.file.write_all_at(text.as_bytes(), 0);
        let _ = self.file.set_len(text.len() as u64);
    }
}

/// One of `flags`: `name=value`.
fn flag<'a>(flags: &'a str, name: &str) -> Option<&'a str> {
    let mut all = flags.split([',', ' ']);
    all.find_map(|f| f.strip_prefix(name)?.strip_prefix('='))
}

fn prefixed<T: core::str::FromStr>(text: Option<&str>, default: (T, u8)) -> (T, u8) {
    let Some((addr, prefix)) = text.and_then(|t| t.split_once('/')) else {
        return default;
    };
    match (addr.parse(), prefix.parse()) {
        (Ok(addr), Ok(prefix)) => (addr, prefix),
        _ => default,
    }
}

impl Outside {
    /// A host as the flags say.
    pub fn new(flags: &str) -> Outside {
        let v6 = Ipv6Addr::new(0xfd3d, 0xa0b, 0x17d6, 0, 0, 0, 0, 1);
        let addresses = Addresses {
            v4: prefixed(flag(flags, "addr"), (Ipv4Addr::new(192, 168, 0, 1), 16)),
            v6: prefixed(flag(flags, "addr6"), (v6, 64)),
            offload: true,
            mtu: flag(flags, "mtu")
                .and_then(|t| t.parse().ok())
                .unwrap_or(1500),
        };
        let Some(mut machine) = Machine::new(addresses, 1) else {
            eprintln!("libutcp_packetdrill: no memory for a host");
            std::process::exit(1);
        };
        machine.first_fd = FIRST_FD;
        machine.epoch = Duration::from_secs(EPOCH);
        Outside {
            machine: Mutex::new(machine),
            congestion: flag(flags, "congestion").map(str::to_owned),
            changed: Condvar::new(),
            woken: AtomicBool::new(false),
            netstat: Netstat::new(),
            // SAFETY: a call without arguments.
            main: unsafe { libc::pthread_self() },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_main(&self) -> bool {
        // SAFETY: no pointers.
        unsafe { libc::pthread_self() == self.main }
    }

    /// Make a call; waits for its end if it blocks.
    pub fn call(&self, request: Request) -> Reply {
        let mut m = self.lock();
        if let Request::Socket { .. }
        | Request::Connect { .. }
        | Request::Listen { .. }
        | Request::Send { .. }
        | Request::SetOpt { .. } = request
        {
            read_sysctls(&mut m);
            if let Some(name) = &self.congestion {
                let _ = sysctl::set(&mut m.sysctl, "net.ipv4.tcp_congestion_control", name);
            }
        }
        let begun = m.call(request);
        self.changed.notify_all();
        let ticket = match begun {
            Begun::Done(reply) => return reply,
            Begun::Blocks(ticket) => ticket,
        };
        let limit = m.now() + PATIENCE;
        loop {
            if let Some((at, reply)) = m.finished(ticket) {
                ENDED.set(Some(at));
                self.woken.store(true, Ordering::Relaxed);
                return reply;
            }
            if !self.is_main() {
                m = self.changed.wait(m).unwrap_or_else(PoisonError::into_inner);
            } else if m.now() >= limit {
                return Reply::error(libc::EDEADLK);
            } else {
                // Nobody else makes time pass.
                let next = (m.now() + Duration::from_micros(500)).min(limit);
                m.run_until(next, false);
            }
        }
    }

    /// The clock.
    pub fn now(&self) -> Duration {
        let now = match ENDED.take() {
            Some(at) => at,
            None => {
                let mut m = self.lock();
                let next = m.now() + Duration::from_micros(1);
                m.run_until(next, false);
                self.changed.notify_all();
                m.now()
            }
        };
        Duration::from_secs(EPOCH) + now
    }

    /// Time passes.
    pub fn sleep(&self, how_long: Duration) {
        let mut m = self.lock();
        if m.has_finished() || self.woken.swap(false, Ordering::Relaxed) {
            // Real time: packetdrill's other thread gets its lock now.
            drop(m);
            std::thread::sleep(Duration::from_millis(5));
            m = self.lock();
        }
        let until = m.now() + how_long;
        m.run_until(until, false);
        self.changed.notify_all();
    }

    /// A packet comes to the host.
    pub fn send(&self, packet: &[u8]) {
        let mut m = self.lock();
        if opens(packet) {
            read_sysctls(&mut m);
        }
        m.inject(packet);
        if let Some(netstat) = &self.netstat {
            netstat.show(&m);
        }
        self.changed.notify_all();
    }

    /// Wait for a packet that leaves the host; `None`: there will never be one.
    pub fn receive(&self) -> Option<(Duration, Vec<u8>)> {
        let mut m = self.lock();
        let until = m.now() + PATIENCE;
        m.run_until(until, true);
        let got = m.sniff();
        self.changed.notify_all();
        got.map(|(at, packet)| (Duration::from_secs(EPOCH) + at, packet))
    }
}

/// The settings as they are in this network namespace; scripts change them by commands.
fn read_sysctls(m: &mut Machine) {
    for name in sysctl::NAMES {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        if let Ok(text) = std::fs::read_to_string(path) {
            let _ = sysctl::set(&mut m.sysctl, name, text.trim());
        }
    }
}
