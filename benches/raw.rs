//! The costs that bound every stack here: copies, system calls, wake-ups, the TUN device.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::load;
use crate::stats::median;
use crate::tun::{self, Mode};

/// How long each cost is measured.
const LENGTH: Duration = Duration::from_millis(150);

/// One cost.
#[derive(Clone, Debug)]
pub struct Cost {
    /// What was done.
    pub what: &'static str,
    /// Microseconds each.
    pub us: f64,
    /// Payload bytes each, or 0.
    pub bytes: usize,
}

impl Cost {
    /// Gbit/s, for what carries bytes.
    pub fn gbits(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.bytes as f64 * 8.0 / self.us / 1000.0)
    }
}

/// Measure all of them. What can't be measured here is left out.
pub fn measure() -> Vec<Cost> {
    // The calling thread goes back to where it was: the pairs are placed one by one.
    std::thread::scope(|scope| scope.spawn(all).join().unwrap_or_default())
}

fn all() -> Vec<Cost> {
    if load::pin(0).is_err() {
        return Vec::new();
    }
    let mut costs = vec![copy(), system_call()];
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    costs.extend(wake_up("a byte to another process and back, one core", 0).ok());
    // This thread may use one core only now, so ask the machine.
    if cores > 1 || fs::metadata("/sys/devices/system/cpu/cpu1").is_ok() {
        costs.extend(wake_up("a byte to another process and back, two cores", 1).ok());
    }
    let mut add = |cost: io::Result<Vec<Cost>>| costs.extend(cost.unwrap_or_default());
    add(device(
        Mode::Offload,
        65160,
        [
            "TUN with TSO: 64 KiB written",
            "TUN with TSO: 64 KiB written, forwarded, read",
        ],
    ));
    add(device(
        Mode::Plain,
        1460,
        [
            "TUN without: 1,500-byte packet written",
            "TUN without: 1,500-byte packet written, forwarded, read",
        ],
    ));
    costs
}

/// The role of the other process in [`wake_up`].
pub fn echo() -> Result<(), String> {
    let mut byte = [0];
    let (mut from, mut to) = (raw_file(0), raw_file(1));
    while let Ok(1) = from.read(&mut byte) {
        to.write_all(&byte).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// A descriptor without a buffer around it.
fn raw_file(fd: i32) -> std::mem::ManuallyDrop<File> {
    use std::os::fd::FromRawFd;
    // SAFETY: standard input and output stay open, and aren't closed here.
    std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(fd) })
}

/// Time `step` again and again, in batches of 16; the median of the batches, in us each.
fn timed(mut step: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let begin = Instant::now();
    let mut batches = Vec::new();
    while begin.elapsed() < LENGTH {
        let batch = Instant::now();
        for _ in 0..16 {
            step()?;
        }
        batches.push(batch.elapsed().as_secs_f64() * 1e6 / 16.0);
    }
    Ok(median(batches).unwrap_or(f64::NAN))
}

fn copy() -> Cost {
    const BYTES: usize = 65536;
    // A source larger than the second-level cache's share, as a stream's buffers are.
    let from = vec![1u8; 64 * BYTES];
    let mut to = vec![0u8; BYTES];
    let mut at = 0;
    let us = timed(|| {
        at = (at + 1) % 64;
        to.copy_from_slice(&from[at * BYTES..][..BYTES]);
        black_box(&mut to);
        Ok(())
    });
    Cost {
        what: "copy of 64 KiB",
        us: us.unwrap_or(f64::NAN),
        bytes: BYTES,
    }
}

fn system_call() -> Cost {
    // SAFETY: asks for a number.
    let us = timed(|| {
        black_box(unsafe { libc::syscall(libc::SYS_getppid) });
        Ok(())
    });
    Cost {
        what: "a system call",
        us: us.unwrap_or(f64::NAN),
        bytes: 0,
    }
}

fn wake_up(what: &'static str, core: usize) -> io::Result<Cost> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--echo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    // SAFETY: one system call, allowed between fork and exec.
    unsafe { command.pre_exec(move || load::pin(core)) };
    let mut child = command.spawn()?;
    let (Some(mut to), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut byte = [0];
    let us = timed(|| {
        to.write_all(&byte)?;
        from.read_exact(&mut byte)
    });
    drop(to);
    child.wait()?;
    Ok(Cost {
        what,
        us: us?,
        bytes: 0,
    })
}

/// A packet written to a device whose other side drops it at once; and one written to a device,
/// forwarded by the kernel to another and read there.
fn device(mode: Mode, payload: usize, names: [&'static str; 2]) -> io::Result<Vec<Cost>> {
    let (mut from, mut to) = (tun::open("cost0", mode)?, tun::open("cost1", mode)?);
    tun::configure("cost0", Ipv4Addr::new(198, 19, 2, 1), 1500)?;
    tun::configure("cost1", Ipv4Addr::new(198, 19, 3, 1), 1500)?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let dropped = packet(mode, payload, [0, 1, 2, 3]);
    let forwarded = packet(mode, payload, [198, 19, 3, 2]);
    let write = timed(|| from.write_all(&dropped))?;
    let mut buf = vec![0; 66000];
    // What the kernel says by itself when a device comes up isn't ours.
    while to.read(&mut buf).is_ok() {}
    let both = timed(|| {
        from.write_all(&forwarded)?;
        to.read(&mut buf).map(drop)
    });
    fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
    let mut costs = vec![Cost {
        what: names[0],
        us: write,
        bytes: payload,
    }];
    costs.extend(both.ok().map(|us| Cost {
        what: names[1],
        us,
        bytes: payload,
    }));
    Ok(costs)
}

/// A TCP segment that belongs to no connection, as the device takes it.
fn packet(mode: Mode, payload: usize, to: [u8; 4]) -> Vec<u8> {
    let total = 40 + payload;
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 19, 2, 2];
    ip.extend(to);
    ip[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    // Ports, sequence and acknowledgment number, ACK, window; the checksum is the device's.
    let tcp = [
        0x9c, 0x40, 0x13, 0x88, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0,
    ];
    let mut out = Vec::new();
    if mode == Mode::Offload {
        // virtio_net_hdr: NEEDS_CSUM, GSO_TCPV4, header length, MSS, where the checksum goes.
        out.extend([1, 1]);
        for word in [40u16, 1460, 20, 16] {
            out.extend(word.to_ne_bytes());
        }
    }
    out.extend(ip);
    out.extend(tcp);
    out.resize(out.len() + payload, b'u');
    out
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
