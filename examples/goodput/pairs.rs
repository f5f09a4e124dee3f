//! Two pairs of hosts and the model of a bad link between each: two kernels, and utcp with the
//! kernel.

use crate::Result;
use crate::forward::forward;
use crate::table::Row;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant as Clock};
use utcp_stack::impair::Settings;
use utcp_stack::link::Tun;
use utcp_stack::link::config::{Setup, configure};

const KERNEL_A: &str = "10.77.0.1";
const KERNEL_B: &str = "10.77.0.2";
const UTCP: &str = "198.18.0.2";
const UTCP_PEER: &str = "198.18.0.1";

/// One transfer.
pub struct Run<'a> {
    pub row: &'a Row,
    pub algorithm: &'a str,
    pub seed: u64,
    /// From the first namespace.
    pub outward: bool,
    pub seconds: f64,
    /// How long it may take.
    pub patience: Duration,
    pub watch: bool,
}

/// Where the pairs meet.
pub struct Pairs {
    exe: PathBuf,
    lib: PathBuf,
    /// Of the second namespace: a process that stays in it.
    second: Child,
    devices: Arc<[std::sync::Mutex<Tun>; 2]>,
    stack: AtomicU32,
}

impl Drop for Pairs {
    fn drop(&mut self) {
        let _ = self.second.kill();
        let _ = self.second.wait();
    }
}

fn device(name: &str, address: &str, offload: bool) -> Result<Tun> {
    let tun = if offload {
        Tun::create(name, false)
    } else {
        Tun::create_plain(name, false)
    };
    let tun = tun.map_err(|e| e.to_string())?;
    let address = address.parse().map_err(|_| "an address")?;
    let setup = Setup {
        ipv4: Some((address, 24)),
        ipv6: None,
        mtu: 1500,
        // What a bottleneck drops is the model's business.
        queue_len: 10_000,
    };
    configure(name, &setup).map_err(|e| e.to_string())?;
    Ok(tun)
}

impl Pairs {
    /// `offload`: the kernels' devices take and give large segments too, as the stack's does.
    pub fn new(exe: PathBuf, lib: PathBuf, offload: bool) -> Result<Pairs> {
        unshare()?;
        ip("link set lo up")?;
        let a = device("goodput0", KERNEL_A, offload)?;
        // Threads share a namespace until one of them leaves it.
        let there = std::thread::spawn(move || -> Result<(Tun, Child)> {
            unshare()?;
            ip("link set lo up")?;
            let b = device("goodput1", KERNEL_B, offload)?;
            let stays = Command::new("sleep").arg("1000000").spawn();
            Ok((b, stays.map_err(|e| e.to_string())?))
        });
        let (b, second) = there.join().map_err(|_| "the second namespace")??;
        Ok(Pairs {
            exe,
            lib,
            second,
            devices: Arc::new([a.into(), b.into()]),
            stack: AtomicU32::new(0),
        })
    }

    fn settings(run: &Run) -> Result<Settings> {
        Settings::parse(&format!("{} seed={}", run.row.links, run.seed))
    }

    /// From the first namespace to the second, or back; Mbit/s.
    pub fn kernel(&self, run: &Run) -> Result<f64> {
        let settings = Pairs::settings(run)?;
        self.probing(run)?;
        let over = Arc::new(AtomicBool::new(false));
        let forwarder = {
            let (devices, over) = (Arc::clone(&self.devices), Arc::clone(&over));
            std::thread::spawn(move || forward(&devices, &settings, &over))
        };
        let plain = |c: &mut Command| {
            c.env_remove("LD_PRELOAD");
        };
        let there = |c: &mut Command| {
            let path = format!("/proc/{}/ns/net", self.second.id());
            // SAFETY: open and setns may be called between fork and exec.
            unsafe {
                c.pre_exec(move || {
                    let file = std::fs::File::open(&path)?;
                    match libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) {
                        0 => Ok(()),
                        _ => Err(std::io::Error::last_os_error()),
                    }
                });
            }
        };
        let got = if run.outward {
            self.transfer(run, KERNEL_B, &there, &plain)
        } else {
            self.transfer(run, KERNEL_A, &plain, &there)
        };
        over.store(true, Ordering::Relaxed);
        let _ = forwarder.join();
        got
    }

    /// From the stack to the kernel, or back; Mbit/s.
    pub fn utcp(&self, run: &Run) -> Result<f64> {
        self.probing(run)?;
        let n = self.stack.fetch_add(1, Ordering::Relaxed);
        let name = format!("goodput-{}-{n}", std::process::id());
        let links = format!("{} on=tun seed={}", run.row.links, run.seed);
        let library = |c: &mut Command| {
            c.env("LD_PRELOAD", &self.lib)
                .env("UTCP_STACK", &name)
                .env("UTCP_IMPAIR", &links);
        };
        let plain = |_: &mut Command| {};
        let got = if run.outward {
            self.transfer(run, UTCP_PEER, &plain, &library)
        } else {
            self.transfer(run, UTCP, &library, &plain)
        };
        end_stack(&name);
        got
    }

    /// tcp_mtu_probing of both namespaces, for the sockets to come; and what the kernels have learnt
    /// of the paths' MTU in the runs before is forgotten. Of round trips, windows and reordering they
    /// are to learn nothing: every run is as the first.
    fn probing(&self, run: &Run) -> Result<()> {
        let value = if run.row.probing { "1" } else { "0" };
        let set = move || {
            for (name, value) in [
                ("tcp_mtu_probing", value),
                ("tcp_no_metrics_save", "1"),
                ("route/flush", "1"),
            ] {
                let path = format!("/proc/sys/net/ipv4/{name}");
                std::fs::write(&path, value).map_err(|e| format!("{path}: {e}"))?;
            }
            Ok::<(), String>(())
        };
        set()?;
        let there = format!("/proc/{}/ns/net", self.second.id());
        let other = std::thread::spawn(move || {
            let file = std::fs::File::open(&there).map_err(|e| format!("{there}: {e}"))?;
            // SAFETY: a system call with an open descriptor; the namespace is this thread's.
            match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
                0 => set(),
                _ => Err(format!("{there}: {}", std::io::Error::last_os_error())),
            }
        });
        other.join().map_err(|_| "the second namespace")?
    }

    /// One transfer; Mbit/s.
    fn transfer(
        &self,
        run: &Run,
        address: &str,
        receiver: &dyn Fn(&mut Command),
        sender: &dyn Fn(&mut Command),
    ) -> Result<f64> {
        let end = Clock::now() + run.patience;
        let mut c = Command::new(&self.exe);
        receiver(&mut c);
        let local = if address == UTCP_PEER {
            "0.0.0.0"
        } else {
            address
        };
        let reader = if run.row.slow { "slow" } else { "quick" };
        let watch = if run.watch { "watch" } else { "" };
        c.args(["receive", local, reader, watch])
            .stdout(Stdio::piped());
        let mut receiver = Ended(c.spawn().map_err(|e| e.to_string())?);
        let mut out = BufReader::new(receiver.0.stdout.take().ok_or("a pipe")?);
        let mut line = String::new();
        out.read_line(&mut line).map_err(|e| e.to_string())?;

        let mut c = Command::new(&self.exe);
        sender(&mut c);
        let seconds = run.seconds.to_string();
        c.args(["send", address, &seconds, run.algorithm, watch])
            .stdout(Stdio::piped());
        let mut sender = Ended(c.spawn().map_err(|e| e.to_string())?);
        let to = format!("the transfer to {address}");
        if !sender.wait(end) || !receiver.wait(end) {
            return Err(format!("{to} was not over in {:?}", run.patience));
        }
        let mut wrote = String::new();
        if let Some(mut out) = sender.0.stdout.take() {
            let _ = out.read_to_string(&mut wrote);
        }
        line.clear();
        let _ = out.read_to_string(&mut line);
        let (wrote, read) = (wrote.trim(), line.trim());
        match read.rsplit_once(' ') {
            Some((all, took)) if all == wrote => {
                let bytes = all.split(' ').next().and_then(|n| n.parse::<f64>().ok());
                match (bytes, took.parse::<f64>()) {
                    (Some(bytes), Ok(took)) => Ok(bytes * 8.0 / took / 1e6),
                    _ => Err(format!("{to} told {read:?}")),
                }
            }
            _ => Err(format!("{to}: wrote {wrote:?}, read {read:?}")),
        }
    }
}

/// A program that does not outlive its use.
struct Ended(Child);

impl Ended {
    /// Wait until then; false if it goes on.
    fn wait(&mut self, end: Clock) -> bool {
        loop {
            match self.0.try_wait() {
                Ok(None) if Clock::now() < end => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => return false,
                _ => return true,
            }
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// End the stack: its keeper is the process of that name in our namespace. It must be gone before
/// the next run: with its device the address goes to which that run would connect.
fn end_stack(name: &str) {
    let config = utcp_stack::config::Config {
        stack: name.to_owned(),
        ..utcp_stack::config::Config::default()
    };
    let Ok(Some(attached)) = utcp_stack::keeper::attach_running(&config) else {
        return;
    };
    let Ok(runtime) = utcp_stack::runtime::Runtime::over(attached.arena, attached.tun) else {
        return;
    };
    // Let it believe that hours pass, so that every connection ends; then wait for the keeper.
    let keeper = runtime.open().keeper_pid.load(Ordering::Relaxed);
    for hours in 1..20 {
        let mut h = runtime.enter();
        h.impair(&Settings::default());
        h.now = h.now + Duration::from_secs(3600 * hours);
        h.run_timers();
        let left = h.sh.sockets.in_use();
        drop(h);
        if left == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    drop((runtime, attached.conn));
    let path = format!("/proc/{keeper}");
    let is_gone = || {
        let end = Clock::now() + Duration::from_secs(5);
        while std::path::Path::new(&path).exists() && Clock::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        !std::path::Path::new(&path).exists()
    };
    if !is_gone() {
        // SAFETY: a system call without pointers; the keeper is this run's.
        unsafe { libc::kill(keeper as i32, libc::SIGKILL) };
        is_gone();
    }
}

fn unshare() -> Result<()> {
    // SAFETY: a system call without pointers.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(format!(
            "no network namespace of our own ({}); run it as root",
            std::io::Error::last_os_error()
        )),
    }
}

fn ip(args: &str) -> Result<()> {
    let status = Command::new("ip").args(args.split(' ')).status();
    match status {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(format!("ip {args}: {s}")),
        Err(e) => Err(format!(
            "can't run ip: {e}; it comes with the package iproute2"
        )),
    }
}
