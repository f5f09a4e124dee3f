//! Goodput on bad links: utcp and the kernel, under the same impairment and the same seed.
//!
//! `cargo run --release --example goodput -- [--cc cubic|bbr|reno] [--seconds S]
//! [--repeats N] [--lib FILE] [FILTER...]`
//!
//! As root, in network namespaces that it makes for itself. In every run one program sends for
//! some seconds, the other receives and looks at every byte; goodput is what arrived, over the
//! time from the connection to the last byte. The model of `src/impair` impairs both pairs with
//! the same settings and seed:
//!
//! - *kernel to kernel*: two namespaces, a TUN device in each, and a forwarder between them in
//!   this process;
//! - *utcp to kernel*, *kernel to utcp*: the stack's own links.
//!
//! The first namespace's kernel stands where the stack stands: what it sends goes "out".

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant as Clock};
use utcp_stack::impair::{Channel, Fate, Kind, Settings, Way};
use utcp_stack::link::config::{Setup, configure};
use utcp_stack::link::{Device, Sent, Tun, VnetHdr};
use utcp_stack::sys::{self, io};
use utcp_stack::time::Instant;
use utcp_stack::wire;

/// What links are like; a seed is added.
const LINKS: [&str; 12] = [
    "delay=5ms",
    "delay=5ms loss=0.1%",
    "delay=5ms loss=1%",
    "delay=5ms loss=3%",
    "delay=5ms loss=10%",
    "delay=50ms loss=0.1%",
    "delay=50ms loss=2%",
    "delay=10ms loss=2% burst=4",
    "delay=10ms reorder=2%,4ms",
    "delay=10ms duplicate=2% corrupt=0.5%",
    "delay=20ms rate=20mbit queue=50",
    "delay=5ms mtu=1300",
];

const KERNEL_A: &str = "10.77.0.1";
const KERNEL_B: &str = "10.77.0.2";
const UTCP: &str = "198.18.0.2";
const UTCP_PEER: &str = "198.18.0.1";
const PORT: u16 = 9000;

type Result<T> = std::result::Result<T, String>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["send", address, seconds, algorithm] => {
            send(address, seconds.parse().unwrap_or(1.0), algorithm)
        }
        ["receive", address] => receive(address),
        _ => compare(&words),
    };
    if let Err(e) = done {
        eprintln!("goodput: {e}");
        std::process::exit(1);
    }
}

/// What the byte at this place of the stream is.
fn fill(at: u64, out: &mut [u8]) {
    for (i, byte) in out.iter_mut().enumerate() {
        let n = at + i as u64;
        *byte = (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (n / 255) as u8;
    }
}

fn send(address: &str, seconds: f64, algorithm: &str) -> Result<()> {
    let text = |e: std::io::Error| format!("sending: {e}");
    let mut stream = TcpStream::connect((address, PORT)).map_err(text)?;
    // SAFETY: the name is valid for the call, and as long as said.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            algorithm.as_ptr().cast(),
            algorithm.len() as u32,
        )
    };
    if set != 0 {
        return Err(format!("{algorithm}: {}", std::io::Error::last_os_error()));
    }
    let begin = Clock::now();
    let limit = Duration::from_secs_f64(seconds);
    stream.set_write_timeout(Some(limit)).map_err(text)?;
    let (mut at, mut buf) = (0, vec![0; 64 * 1024]);
    while begin.elapsed() < limit {
        fill(at, &mut buf);
        match stream.write(&buf) {
            Ok(n) => at += n as u64,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(text(e)),
        }
    }
    stream.shutdown(std::net::Shutdown::Write).map_err(text)?;
    // Until the other has it all, or has had enough.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let _ = stream.read(&mut [0; 1]);
    Ok(())
}

fn receive(address: &str) -> Result<()> {
    let text = |e: std::io::Error| format!("receiving: {e}");
    let listener = TcpListener::bind((address, PORT)).map_err(text)?;
    println!("ready");
    let (mut stream, _) = listener.accept().map_err(text)?;
    let begin = Clock::now();
    let (mut at, mut buf, mut want) = (0, vec![0; 256 * 1024], vec![0; 256 * 1024]);
    loop {
        let n = stream.read(&mut buf).map_err(text)?;
        if n == 0 {
            break;
        }
        fill(at, &mut want[..n]);
        if buf[..n] != want[..n] {
            return Err(format!("the data differ behind byte {at}"));
        }
        at += n as u64;
    }
    println!("{at} {}", begin.elapsed().as_secs_f64());
    Ok(())
}

fn compare(words: &[&str]) -> Result<()> {
    let (mut seconds, mut repeats, mut lib, mut filters) = (2.0, 5, None, Vec::new());
    let mut algorithm = "cubic".to_owned();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match *word {
            "--seconds" => seconds = value()?.parse().map_err(|_| "--seconds: no number")?,
            "--repeats" => repeats = value()?.parse().map_err(|_| "--repeats: no number")?,
            "--cc" => algorithm = (*value()?).to_owned(),
            "--lib" => lib = Some(PathBuf::from(value()?)),
            "--help" | "-h" => {
                println!(
                    "goodput [--cc cubic|bbr|reno] [--seconds S] [--repeats N] [--lib FILE] [FILTER...]"
                );
                for links in LINKS {
                    println!("  {links}");
                }
                return Ok(());
            }
            w if w.starts_with('-') => return Err(format!("there is no option {w}")),
            filter => filters.push(filter),
        }
    }
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let lib = lib.unwrap_or_else(|| {
        let folder = exe.parent().and_then(|p| p.parent()).unwrap_or(&exe);
        folder.join("libutcp.so")
    });
    if !lib.exists() {
        return Err(format!(
            "no {}: cargo build --release makes it",
            lib.display()
        ));
    }
    let pairs = Pairs::new(exe, lib, algorithm.clone())?;
    println!(
        "{algorithm}: Mbit/s, median of {repeats} (least to most), {seconds} s each; then relative to \
         the kernel's own pair in the same direction\n"
    );
    println!(
        "| links | kernel -> kernel | utcp -> kernel | kernel <- kernel | utcp <- kernel |\n\
         |---|--:|--:|--:|--:|"
    );
    for links in LINKS {
        if !filters.is_empty() && !filters.iter().any(|f| links.contains(f)) {
            continue;
        }
        let mut row = format!("| {links}");
        for outward in [true, false] {
            let kernel = median(repeats, |n| pairs.kernel(links, n, outward, seconds))?;
            let utcp = median(repeats, |n| pairs.utcp(links, n, outward, seconds))?;
            let ratio = utcp[1] / kernel[1];
            row += &format!(" | {} | {} ({ratio:.2})", range(kernel), range(utcp));
        }
        println!("{row} |");
    }
    Ok(())
}

fn range([least, median, most]: [f64; 3]) -> String {
    format!("{median:.1} ({least:.1} to {most:.1})")
}

/// Least, median and most of some runs, each with its seed.
fn median(repeats: u64, run: impl Fn(u64) -> Result<f64>) -> Result<[f64; 3]> {
    let mut all = Vec::new();
    for seed in 1..=repeats.max(1) {
        all.push(run(seed)?);
    }
    all.sort_by(f64::total_cmp);
    Ok([all[0], all[all.len() / 2], all[all.len() - 1]])
}

/// Where the pairs meet.
struct Pairs {
    exe: PathBuf,
    lib: PathBuf,
    /// Congestion control of both senders.
    algorithm: String,
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

fn device(name: &str, address: &str) -> Result<Tun> {
    let tun = Tun::create_plain(name, false).map_err(|e| e.to_string())?;
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
    fn new(exe: PathBuf, lib: PathBuf, algorithm: String) -> Result<Pairs> {
        unshare()?;
        ip("link set lo up")?;
        let a = device("goodput0", KERNEL_A)?;
        // Threads share a namespace until one of them leaves it.
        let there = std::thread::spawn(|| -> Result<(Tun, Child)> {
            unshare()?;
            ip("link set lo up")?;
            let b = device("goodput1", KERNEL_B)?;
            let stays = Command::new("sleep").arg("1000000").spawn();
            Ok((b, stays.map_err(|e| e.to_string())?))
        });
        let (b, second) = there.join().map_err(|_| "the second namespace")??;
        Ok(Pairs {
            exe,
            lib,
            algorithm,
            second,
            devices: Arc::new([a.into(), b.into()]),
            stack: AtomicU32::new(0),
        })
    }

    /// From the first namespace to the second, or back.
    fn kernel(&self, links: &str, seed: u64, outward: bool, seconds: f64) -> Result<f64> {
        let settings = Settings::parse(&format!("{links} seed={seed}"))?;
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
        let got = if outward {
            self.run(KERNEL_B, &there, &plain, seconds)
        } else {
            self.run(KERNEL_A, &plain, &there, seconds)
        };
        over.store(true, Ordering::Relaxed);
        let _ = forwarder.join();
        got
    }

    /// From the stack to the kernel, or back.
    fn utcp(&self, links: &str, seed: u64, outward: bool, seconds: f64) -> Result<f64> {
        let n = self.stack.fetch_add(1, Ordering::Relaxed);
        let name = format!("goodput-{}-{n}", std::process::id());
        let links = format!("{links} on=tun seed={seed}");
        let keeper = |c: &mut Command| {
            c.env("LD_PRELOAD", &self.lib)
                .env("UTCP_STACK", &name)
                .env("UTCP_IMPAIR", &links);
        };
        let plain = |_: &mut Command| {};
        let got = if outward {
            self.run(UTCP_PEER, &plain, &keeper, seconds)
        } else {
            self.run(UTCP, &keeper, &plain, seconds)
        };
        end_stack(&name);
        got
    }

    /// One transfer; Mbit/s.
    fn run(
        &self,
        address: &str,
        receiver: &dyn Fn(&mut Command),
        sender: &dyn Fn(&mut Command),
        seconds: f64,
    ) -> Result<f64> {
        let mut c = Command::new(&self.exe);
        receiver(&mut c);
        let mut receiver = c
            .args([
                "receive",
                if address == UTCP_PEER {
                    "0.0.0.0"
                } else {
                    address
                },
            ])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut out = BufReader::new(receiver.stdout.take().ok_or("a pipe")?);
        let mut line = String::new();
        out.read_line(&mut line).map_err(|e| e.to_string())?;
        let mut c = Command::new(&self.exe);
        sender(&mut c);
        let sent = c
            .args(["send", address, &seconds.to_string(), &self.algorithm])
            .status();
        if !sent.is_ok_and(|s| s.success()) {
            let _ = receiver.kill();
        }
        line.clear();
        let _ = out.read_line(&mut line);
        let _ = receiver.wait();
        let numbers: Vec<f64> = line
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        match numbers[..] {
            [bytes, took] => Ok(bytes * 8.0 / took / 1e6),
            _ => Err(format!("the transfer to {address} failed: {line}")),
        }
    }
}

/// The model between the two devices, until it is over.
fn forward(devices: &[std::sync::Mutex<Tun>; 2], settings: &Settings, over: &AtomicBool) {
    let [out, in_, _] = settings.profiles();
    let now = sys::now();
    let mut channels = [
        Box::new(Channel::new(out, settings.seed, Way::Out, now)),
        Box::new(Channel::new(in_, settings.seed, Way::In, now)),
    ];
    let mut devices: Vec<_> = devices
        .iter()
        .map(|d| d.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
        .collect();
    // By due time and order: to which device, what.
    let mut under_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)> = BTreeMap::new();
    let mut order = 0;
    let mut buf = vec![0; 65_600];
    while !over.load(Ordering::Relaxed) {
        let mut now = sys::now();
        for from in 0..2 {
            for _ in 0..64 {
                let Some((_, len)) = devices[from].recv(&mut buf) else {
                    break;
                };
                now = sys::now();
                let packet = &buf[..len];
                let kind = if wire::is_bare_ack(packet) {
                    Kind::Bare
                } else {
                    Kind::Carrying
                };
                let mut put = |due, to, packet: Vec<u8>| {
                    order += 1;
                    under_way.insert((due, order), (to, packet));
                };
                match channels[from].judge(now, len, kind) {
                    Fate::Arrives(a) => {
                        let mut packet = packet.to_vec();
                        if a.twice {
                            put(a.due, 1 - from, packet.clone());
                        }
                        a.corrupt(&mut packet);
                        put(a.due, 1 - from, packet);
                    }
                    Fate::Dropped(utcp_stack::impair::Drop::TooBig) => {
                        let mut out = [0; 1280];
                        let mtu = channels[from].profile().mtu;
                        if let Some((src, dst)) = wire::addresses(packet)
                            && let Some(n) =
                                wire::emit_icmp_too_big(dst, src, mtu, packet, &mut out)
                        {
                            put(now, from, out[..n].to_vec());
                        }
                    }
                    Fate::Dropped(_) => {}
                }
            }
        }
        while let Some(entry) = under_way.first_entry().filter(|e| e.key().0 <= now) {
            let (to, packet) = entry.remove();
            if devices[to].send(&VnetHdr::PLAIN, &[&packet]) == Sent::Gone {
                return;
            }
        }
        let next = under_way
            .first_key_value()
            .map(|(k, _)| k.0.since(sys::now()));
        let wait = next
            .unwrap_or(Duration::from_millis(20))
            .min(Duration::from_millis(20));
        let mut fds = [
            io::PollFd::new(devices[0].raw_fd(), libc::POLLIN),
            io::PollFd::new(devices[1].raw_fd(), libc::POLLIN),
        ];
        let _ = io::poll(&mut fds, Some(wait));
    }
    // What was still to come is lost, and what the kernels have queued.
    for d in &mut devices {
        while d.recv(&mut buf).is_some() {}
    }
}

/// End the stack: its keeper is the process of that name in our namespace.
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
    let end = Clock::now() + Duration::from_secs(5);
    while std::path::Path::new(&path).exists() && Clock::now() < end {
        std::thread::sleep(Duration::from_millis(5));
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
