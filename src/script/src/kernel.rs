//! The kernel under a script: a TUN device in a network namespace, in real time.
//!
//! One thread lives in the namespace and makes the program's calls, so that one may block; one
//! reads the device and notes when each packet left.

use crate::codec::{self, Parsed};
use crate::model::Micros;
use crate::request::{Reply, Request};
use crate::run::{LOCAL4, LOCAL6, Target};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

mod calls;

/// What the program's thread is asked for.
enum Job {
    Call(Request),
    Sysctl(String, String),
}

/// What it answers.
enum Answer {
    Call(Instant, Reply),
    Sysctl(Result<(), String>),
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
fn enter_namespace(mtu: u16) -> Result<File, String> {
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
    request[..6].copy_from_slice(b"script");
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
    ip(&format!("link set script mtu {mtu} addrgenmode none"))?;
    let _ = write_sysctl("net.ipv6.conf.script.router_solicitations", "0");
    let _ = write_sysctl("net.ipv4.conf.script.rp_filter", "0");
    ip(&format!("addr add {LOCAL4}/24 dev script"))?;
    ip(&format!("addr add {LOCAL6}/64 dev script nodad"))?;
    // One segment a packet: how many Linux would bundle (and mark PSH) depends on real times.
    ip("link set script gso_max_segs 1 gso_ipv4_max_size 1500")
        .or_else(|_| ip("link set script gso_max_segs 1"))?;
    ip("link set script up")?;
    ip("route add default via 198.18.0.1")?;
    ip("-6 route add default dev script")?;
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
    pub fn new(mtu: u16) -> Result<Kernel, String> {
        let (jobs, program_jobs) = channel();
        let (program_answers, answers) = channel();
        let (setup_done, setup) = channel();
        let inside = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let flag = inside.clone();
        std::thread::spawn(move || {
            let device = enter_namespace(mtu);
            hurry();
            // SAFETY: a system call without arguments.
            let tid = unsafe { libc::gettid() };
            let ready = device.is_ok();
            if setup_done.send((tid, device)).is_ok() && ready {
                program(&program_jobs, &program_answers, &flag);
            }
        });
        let (tid, device) = setup.recv().map_err(|_| "the program's thread is gone")?;
        let device = device?;
        let reader = device.try_clone().map_err(|e| e.to_string())?;
        let (packets_out, packets) = channel();
        let stopped = stop.clone();
        std::thread::spawn(move || read_device(reader, &packets_out, &stopped));
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
    while let Ok(job) = jobs.recv() {
        let answer = match job {
            Job::Sysctl(name, value) => Answer::Sysctl(write_sysctl(&name, &value)),
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

fn read_device(mut device: File, packets: &Sender<(Instant, Vec<u8>)>, stop: &AtomicBool) {
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
                Ok(Answer::Sysctl(_)) => {}
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
    fn patience(&self) -> Micros {
        1_000_000
    }
}
