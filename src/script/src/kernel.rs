//! The kernel under a script: a TUN device in a network namespace, in real time.
//!
//! One thread lives in the namespace and makes the program's calls, so that one may block; one
//! reads the device and notes when each packet left.
//!
//! Who answers the calls may also be a library that was loaded before this program's libc, with a
//! host on a device of its own: [`Host::Behind`]. Then the kernel only forwards.

use crate::codec::{self, Parsed};
use crate::model::Micros;
use crate::request::{Reply, Request};
use crate::run::{LOCAL4, LOCAL6, Target};
use core::ffi::CStr;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use utcp_stack::sys::io;

mod calls;

/// Who has the address that scripts call the host's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// The kernel of the namespace.
    Kernel,
    /// The library in LD_PRELOAD, on the device [`STACK_DEVICE`], to which the kernel forwards.
    Behind,
}

/// The device of the script's host, the kernel or one behind it.
pub const STACK_DEVICE: &str = crate::machine::DEVICE;
/// The kernel's address on it.
const KERNEL4: &str = "198.18.0.254";
/// As [`KERNEL4`].
const KERNEL6: &str = "fd75:7463:7000::fffe";

/// The variables by which the library finds its host's device, and knows who it is.
pub fn environment(mtu: u16) -> [(&'static str, String); 7] {
    [
        ("UTCP_TUN", STACK_DEVICE.to_owned()),
        ("UTCP_ADDR", format!("{LOCAL4}/24")),
        ("UTCP_ADDR6", format!("{LOCAL6}/64")),
        ("UTCP_GATEWAY", KERNEL4.to_owned()),
        ("UTCP_GATEWAY6", KERNEL6.to_owned()),
        ("UTCP_MTU", mtu.to_string()),
        // One segment a packet, as the kernel is made to send.
        ("UTCP_OFFLOAD", "0".to_owned()),
    ]
}

/// What the program's thread is asked for.
enum Job {
    Call(Request),
    Sysctl(String, String),
    /// What the kernel itself had to do with it.
    Carried,
    /// A file of /proc.
    File(&'static CStr),
}

/// What it answers.
enum Answer {
    Call(Instant, Reply),
    Sysctl(Result<(), String>),
    Carried(Carried),
    File(String),
}

/// What the kernel's own TCP had to do with a script.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Carried {
    /// Sockets of IP that the program got, and that are the kernel's.
    pub sockets: u64,
    /// Segments that the namespace's TCP has sent and received.
    pub segments: u64,
}

/// See the module.
pub struct Kernel {
    device: File,
    jobs: Sender<Job>,
    answers: Receiver<Answer>,
    packets: Receiver<(Instant, Vec<u8>)>,
    /// A packet that was taken out too early.
    pending: VecDeque<(Instant, Vec<u8>)>,
    started: Instant,
    /// The program's thread.
    tid: i32,
    /// It is in a call.
    inside: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    done: Option<(Instant, Reply)>,
    blocked: bool,
}

/// Settings that scripts may rely on, whatever the machine's are.
const DEFAULTS: [(&str, &str); 6] = [
    ("net.ipv4.tcp_congestion_control", "reno"),
    ("net.ipv4.tcp_rmem", "4096 131072 33554432"),
    ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.tcp_ecn", "2"),
];

fn os_error(what: &str) -> String {
    format!("{what}: {}", std::io::Error::last_os_error())
}

fn ip(args: &str) -> Result<(), String> {
    let done = Command::new("ip").args(args.split(' ')).output();
    let done = done.map_err(|e| format!("can't run ip: {e}"))?;
    if done.status.success() {
        Ok(())
    } else {
        Err(format!(
            "ip {args}: {}",
            String::from_utf8_lossy(&done.stderr)
        ))
    }
}

fn write_sysctl(name: &str, value: &str) -> Result<(), String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::write(&path, value).map_err(|e| format!("{path}: {e}"))
}

/// Times matter to these threads, and they sleep nearly always.
fn hurry() {
    let how = libc::sched_param { sched_priority: 10 };
    // SAFETY: the struct lives during the call. Without the privilege nothing happens.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &how) };
}

/// A namespace for the calling thread, with the device in it.
fn enter_namespace(mtu: u16, host: Host) -> Result<File, String> {
    // SAFETY: a system call without pointers; it concerns this thread alone.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(os_error("unshare"));
    }
    let mut device = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map_err(|e| format!("/dev/net/tun: {e}"))?;
    // struct ifreq: 16 bytes of name, then the flags.
    let mut request = [0u8; 40];
    let wire = match host {
        Host::Kernel => STACK_DEVICE,
        Host::Behind => "script",
    };
    request[..wire.len()].copy_from_slice(wire.as_bytes());
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes an ifreq, 40 bytes, where `request` is.
    if unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            libc::TUNSETIFF as _,
            request.as_mut_ptr(),
        )
    } != 0
    {
        return Err(os_error("TUNSETIFF"));
    }
    for (name, value) in DEFAULTS {
        // Some machines lack some.
        let _ = write_sysctl(name, value);
    }
    ip("link set lo up")?;
    ip(&format!("link set {wire} mtu {mtu} addrgenmode none"))?;
    let _ = write_sysctl(&format!("net.ipv6.conf.{wire}.router_solicitations"), "0");
    let _ = write_sysctl(&format!("net.ipv4.conf.{wire}.rp_filter"), "0");
    if host == Host::Kernel {
        ip(&format!("addr add {LOCAL4}/24 dev {wire}"))?;
        ip(&format!("addr add {LOCAL6}/64 dev {wire} nodad"))?;
    }
    // One segment a packet: how many Linux would bundle (and mark PSH) depends on real times.
    ip(&format!(
        "link set {wire} gso_max_segs 1 gso_ipv4_max_size 1500"
    ))
    .or_else(|_| ip(&format!("link set {wire} gso_max_segs 1")))?;
    ip(&format!("link set {wire} up"))?;
    match host {
        Host::Kernel => ip("route add default via 198.18.0.1")?,
        Host::Behind => {
            write_sysctl("net.ipv4.ip_forward", "1")?;
            write_sysctl("net.ipv6.conf.all.forwarding", "1")?;
            ip(&format!("tuntap add {STACK_DEVICE} mode tun"))?;
            // As large as packets get: the kernel is to hand on whatever comes.
            ip(&format!(
                "link set {STACK_DEVICE} mtu 65535 addrgenmode none up"
            ))?;
            ip(&format!("addr add {KERNEL4}/24 dev {STACK_DEVICE}"))?;
            ip(&format!("addr add {KERNEL6}/64 dev {STACK_DEVICE} nodad"))?;
            ip(&format!("route add default dev {wire}"))?;
        }
    }
    ip(&format!("-6 route add default dev {wire}"))?;
    device.flush().map_err(|e| e.to_string())?;
    Ok(device)
}

/// What the kernel says of its own accord, as every host with IPv6 does.
fn is_chatter(packet: &[u8]) -> bool {
    matches!(
        codec::parse(packet),
        Ok(Parsed::Icmp(ip, 133..=137 | 143, _)) if ip.src.is_ipv6()
    ) || packet.first().is_some_and(|b| b >> 4 == 6) && packet.get(6) == Some(&0)
}

impl Kernel {
    /// A namespace with a device of its own, and its threads; why not, if it can't be had.
    pub fn new(mtu: u16, host: Host) -> Result<Kernel, String> {
        let (jobs, program_jobs) = channel();
        let (program_answers, answers) = channel();
        let (setup_done, setup) = channel();
        let inside = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let flag = inside.clone();
        std::thread::spawn(move || {
            let device = enter_namespace(mtu, host);
            hurry();
            // SAFETY: a system call without arguments.
            let tid = unsafe { libc::gettid() };
            let ready = device.is_ok();
            // The library's host is there from the program's first socket on.
            let first = (ready && host == Host::Behind).then(first_socket);
            if setup_done.send((tid, device)).is_ok() && ready {
                program(&program_jobs, &program_answers, &flag);
            }
            drop(first);
        });
        let (tid, device) = setup.recv().map_err(|_| "the program's thread is gone")?;
        let device = device?;
        let reader = device.try_clone().map_err(|e| e.to_string())?;
        let (packets_out, packets) = channel();
        let stopped = stop.clone();
        std::thread::spawn(move || read_device(reader, host, &packets_out, &stopped));
        Ok(Kernel {
            device,
            jobs,
            answers,
            packets,
            pending: VecDeque::new(),
            started: Instant::now(),
            tid,
            inside,
            stop,
            done: None,
            blocked: false,
        })
    }

    /// What the namespace's kernel itself had to do with the script.
    pub fn carried(&mut self) -> Result<Carried, String> {
        self.ask(Job::Carried, |answer| match answer {
            Answer::Carried(c) => Some(c),
            _ => None,
        })
    }

    /// The /proc/net/netstat and /proc/net/snmp of the namespace.
    pub fn counters(&mut self) -> Result<[String; 2], String> {
        let mut read = |path| {
            self.ask(Job::File(path), |answer| match answer {
                Answer::File(text) => Some(text),
                _ => None,
            })
        };
        let netstat = read(c"/proc/thread-self/net/netstat")?;
        Ok([netstat, read(c"/proc/thread-self/net/snmp")?])
    }

    fn ask<T>(&mut self, job: Job, pick: impl Fn(Answer) -> Option<T>) -> Result<T, String> {
        let gone = "the program's thread is gone";
        self.jobs.send(job).map_err(|_| gone)?;
        loop {
            let answer = self.answers.recv().map_err(|_| gone)?;
            if let Some(picked) = pick(answer) {
                return Ok(picked);
            }
        }
    }

    fn at(&self, script: Micros) -> Instant {
        self.started + Duration::from_micros(u64::try_from(script).unwrap_or(0))
    }

    fn script(&self, t: Instant) -> Micros {
        match t.checked_duration_since(self.started) {
            Some(d) => d.as_micros() as Micros,
            None => -((self.started - t).as_micros() as Micros),
        }
    }

    /// The program's thread is asleep in its call.
    fn sleeps(&self) -> bool {
        if !self.inside.load(Ordering::Acquire) {
            return false;
        }
        let path = format!("/proc/self/task/{}/stat", self.tid);
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_some_and(|s| s.starts_with('S'))
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The program's thread: makes calls, until nobody asks for any.
fn program(jobs: &Receiver<Job>, answers: &Sender<Answer>, inside: &AtomicBool) {
    let mut open = Vec::new();
    let mut sockets = 0;
    while let Ok(job) = jobs.recv() {
        let answer = match job {
            Job::Sysctl(name, value) => Answer::Sysctl(write_sysctl(&name, &value)),
            Job::File(path) => Answer::File(own_file(path)),
            Job::Carried => Answer::Carried(Carried {
                sockets,
                segments: segments(),
            }),
            Job::Call(request) => {
                inside.store(true, Ordering::Release);
                let reply = calls::perform(&request);
                let at = Instant::now();
                inside.store(false, Ordering::Release);
                match request {
                    Request::Socket { .. }
                    | Request::Accept { .. }
                    | Request::EpollCreate { .. }
                        if reply.value >= 0 =>
                    {
                        open.push(reply.value as i32);
                        sockets += u64::from(is_of_ip(reply.value as i32));
                    }
                    Request::Close { fd } => open.retain(|f| *f != fd),
                    _ => {}
                }
                Answer::Call(at, reply)
            }
        };
        if answers.send(answer).is_err() {
            break;
        }
    }
    for fd in open {
        // SAFETY: this thread opened it, and nothing else closes it.
        drop(unsafe { File::from_raw_fd(fd) });
    }
}

/// Whether `fd` is a socket of IP to the kernel, whatever a library says of it.
fn is_of_ip(fd: i32) -> bool {
    let (mut domain, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: an int and its length, which live during the call.
    let r = unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            fd,
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            &raw mut domain,
            &raw mut len,
        )
    };
    r == 0 && matches!(domain, libc::AF_INET | libc::AF_INET6)
}

/// A file of /proc as the kernel has it, whatever a library shows in its place.
fn own_file(path: &CStr) -> String {
    let bytes = io::read_file(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// InSegs and OutSegs of the calling thread's namespace.
fn segments() -> u64 {
    let text = own_file(c"/proc/thread-self/net/snmp");
    let mut lines = text.lines().filter(|l| l.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let pairs = names.split(' ').zip(values.split(' '));
    let counted = pairs.filter(|(name, _)| matches!(*name, "InSegs" | "OutSegs"));
    // Nothing to be read is not nothing carried.
    let numbers: Vec<u64> = counted.filter_map(|(_, n)| n.parse().ok()).collect();
    match numbers[..] {
        [i, o] => i + o,
        _ => u64::MAX,
    }
}

/// A socket that nobody uses.
fn first_socket() -> std::io::Result<std::os::fd::OwnedFd> {
    // SAFETY: no pointers.
    match unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) } {
        -1 => Err(std::io::Error::last_os_error()),
        // SAFETY: just made, and nobody else's.
        fd => Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }),
    }
}

/// As the packet was before the kernel forwarded it: with a hop more to go.
fn unforward(packet: &mut [u8]) {
    match packet {
        [first, .., _] if *first >> 4 == 4 && packet.len() >= 20 => {
            packet[8] = packet[8].wrapping_add(1);
            // The word with the TTL in it is 0x100 more, so the checksum is as much less.
            let old = u16::from_be_bytes([packet[10], packet[11]]);
            let (sum, borrow) = old.overflowing_sub(0x100);
            packet[10..12].copy_from_slice(&sum.wrapping_sub(borrow.into()).to_be_bytes());
        }
        [first, .., _] if *first >> 4 == 6 && packet.len() >= 40 => {
            packet[7] = packet[7].wrapping_add(1);
        }
        _ => {}
    }
}

fn read_device(
    mut device: File,
    host: Host,
    packets: &Sender<(Instant, Vec<u8>)>,
    stop: &AtomicBool,
) {
    hurry();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let mut poll = libc::pollfd {
            fd: device.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, which lives during the call.
        let ready = unsafe { libc::poll(&mut poll, 1, 100) };
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if ready <= 0 {
            continue;
        }
        match device.read(&mut buffer) {
            Ok(n) if is_chatter(&buffer[..n]) => {}
            Ok(n) => {
                if host == Host::Behind {
                    unforward(&mut buffer[..n]);
                }
                if packets
                    .send((Instant::now(), buffer[..n].to_vec()))
                    .is_err()
                {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

impl Target for Kernel {
    fn start(&mut self) {
        hurry();
        self.started = Instant::now();
    }
    fn now(&mut self) -> Micros {
        self.script(Instant::now())
    }
    fn wait_until(&mut self, at: Micros) {
        let at = self.at(at);
        let now = Instant::now();
        if at > now {
            std::thread::sleep(at - now);
        }
    }
    fn inject(&mut self, packet: &[u8]) -> Result<(), String> {
        let written = self.device.write(packet);
        written.map(|_| ()).map_err(|e| format!("the device: {e}"))
    }
    fn sniff(&mut self, until: Micros) -> Option<(Micros, Vec<u8>)> {
        if let Some((at, packet)) = self.pending.pop_front() {
            return Some((self.script(at), packet));
        }
        // What has left already may still be on its way from the device.
        let least = Instant::now() + Duration::from_millis(2);
        let wait = self.at(until).max(least) - Instant::now();
        let (at, packet) = self.packets.recv_timeout(wait).ok()?;
        Some((self.script(at), packet))
    }
    fn call(&mut self, request: Request, blocks: bool) -> Result<Option<Reply>, String> {
        if self.blocked {
            return Err("another call blocks".to_owned());
        }
        let gone = "the program's thread is gone";
        self.jobs.send(Job::Call(request)).map_err(|_| gone)?;
        let give_up = Instant::now() + Duration::from_secs(2);
        loop {
            match self.answers.recv_timeout(Duration::from_micros(500)) {
                Ok(Answer::Call(at, reply)) => {
                    if blocks {
                        self.done = Some((at, reply.clone()));
                    }
                    return Ok(Some(reply));
                }
                Ok(Answer::Sysctl(_) | Answer::Carried(_) | Answer::File(_)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    if blocks && self.sleeps() {
                        self.blocked = true;
                        return Ok(None);
                    }
                    if Instant::now() > give_up {
                        self.blocked = true;
                        return Ok(None);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(gone.to_owned()),
            }
        }
    }
    fn finish(&mut self, until: Micros) -> Option<(Micros, Reply)> {
        if let Some((at, reply)) = self.done.take() {
            return Some((self.script(at), reply));
        }
        let wait = self.at(until).saturating_duration_since(Instant::now());
        match self.answers.recv_timeout(wait) {
            Ok(Answer::Call(at, reply)) => {
                self.blocked = false;
                Some((self.script(at), reply))
            }
            _ => None,
        }
    }
    fn sysctl(&mut self, name: &str, value: &str) -> Result<(), String> {
        let job = Job::Sysctl(name.to_owned(), value.to_owned());
        self.jobs.send(job).map_err(|_| "the thread is gone")?;
        match self.answers.recv() {
            Ok(Answer::Sysctl(r)) => r,
            _ => Err("the program's thread is gone".to_owned()),
        }
    }
    fn tolerance(&self) -> (Micros, i64) {
        (16_000, 12)
    }
    fn stamps_off(&self) -> u32 {
        16
    }
    fn patience(&self) -> Micros {
        1_000_000
    }
}
