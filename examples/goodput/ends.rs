//! The two ends of a transfer: programs that know nothing of what carries their bytes.

use crate::{PORT, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant as Clock};

/// The stream repeats after so many bytes: a prime, so that no buffer's size divides it.
const PERIOD: usize = 1_048_573;
/// The most that is read or written at once.
const PIECE: usize = 256 * 1024;

/// The bytes of the stream from `at` on, a piece at most.
fn stream(at: u64) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let byte = |i: usize| {
            let n = (i % PERIOD) as u64;
            (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
        };
        (0..PERIOD + PIECE).map(byte).collect()
    });
    let from = (at % PERIOD as u64) as usize;
    &bytes[from..from + PIECE]
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&b| u64::from(b)).sum()
}

/// A connection that has `algorithm` from the beginning: one that begins with BBR, which some
/// machines have for all, stays paced with any other.
fn connect(address: &str, algorithm: &str) -> Result<TcpStream> {
    let failed = |what: &str| format!("{what}: {}", std::io::Error::last_os_error());
    let address: Ipv4Addr = address.parse().map_err(|_| format!("{address}?"))?;
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(failed("socket"));
    }
    // SAFETY: it was just made, and is nobody else's.
    let out = unsafe { TcpStream::from_raw_fd(fd) };
    // SAFETY: the name is valid for the call, and as long as said.
    let set = unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            algorithm.as_ptr().cast(),
            algorithm.len() as u32,
        )
    };
    if set != 0 {
        return Err(failed(algorithm));
    }
    let to = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: PORT.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: an address of that length.
    match unsafe { libc::connect(fd, (&raw const to).cast(), size_of_val(&to) as u32) } {
        0 => Ok(out),
        _ => Err(failed("connect")),
    }
}

/// Write for some seconds; tell how much it was, and its sum.
pub fn send(address: &str, seconds: f64, algorithm: &str, watch: bool) -> Result<()> {
    let text = |e: std::io::Error| format!("sending: {e}");
    let mut out = connect(address, algorithm)?;
    let fd = out.as_raw_fd();
    let begin = Clock::now();
    if watch {
        std::thread::spawn(move || look_on(fd, begin));
    }
    let limit = Duration::from_secs_f64(seconds);
    out.set_write_timeout(Some(limit)).map_err(text)?;
    let (mut at, mut total) = (0, 0u64);
    while begin.elapsed() < limit {
        let piece = &stream(at)[..64 * 1024];
        match out.write(piece) {
            Ok(n) => {
                total = total.wrapping_add(sum(&piece[..n]));
                at += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => return Err(text(e)),
        }
    }
    out.shutdown(Shutdown::Write).map_err(text)?;
    println!("{at} {total}");
    // Until the other has it all, or has had enough.
    let _ = out.set_read_timeout(Some(Duration::from_secs(60)));
    let _ = out.read(&mut [0; 1]);
    Ok(())
}

/// Read to the end and look at every byte; tell how much it was, its sum, and how long it took.
/// A slow one rests for 50 ms after every 512 KiB, so that the window closes.
pub fn receive(address: &str, slow: bool, watch: bool) -> Result<()> {
    let text = |e: std::io::Error| format!("receiving: {e}");
    let listener = TcpListener::bind((address, PORT)).map_err(text)?;
    println!("ready");
    let (mut from, _) = listener.accept().map_err(text)?;
    let begin = Clock::now();
    if watch {
        let fd = from.as_raw_fd();
        std::thread::spawn(move || look_on(fd, begin));
    }
    let (mut at, mut total, mut rested) = (0u64, 0u64, 0);
    let mut buf = vec![0; PIECE];
    loop {
        let n = from.read(&mut buf).map_err(text)?;
        if n == 0 {
            break;
        }
        if buf[..n] != stream(at)[..n] {
            return Err(format!("the data differ behind byte {at}"));
        }
        total = total.wrapping_add(sum(&buf[..n]));
        at += n as u64;
        if slow && at / (512 << 10) > rested {
            rested = at / (512 << 10);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    println!("{at} {total} {}", begin.elapsed().as_secs_f64());
    Ok(())
}

/// What TCP_INFO and TCP_CC_INFO tell, ten times a second, on the standard error.
fn look_on(fd: RawFd, begin: Clock) {
    let option = |name, buf: &mut [u8]| -> bool {
        let mut len = buf.len() as u32;
        // SAFETY: the buffer is as long as said, and both are valid for the call.
        let got = unsafe {
            libc::getsockopt(
                fd,
                libc::IPPROTO_TCP,
                name,
                buf.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        got == 0
    };
    loop {
        // Linux's struct tcp_info and union tcp_cc_info, by offset.
        let (mut i, mut c) = ([0u8; 256], [0u8; 64]);
        if !option(libc::TCP_INFO, &mut i) {
            return;
        }
        option(26, &mut c);
        let int = |b: &[u8], at: usize| {
            b.get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map_or(0, u32::from_ne_bytes)
        };
        let mbit = |b: &[u8], at: usize| {
            let bytes = u64::from(int(b, at)) | u64::from(int(b, at + 4)) << 32;
            bytes as f64 * 8.0 / 1e6
        };
        eprintln!(
            "{:7.3} s: state {}, cwnd {}, ssthresh {}, out {}, sacked {}, lost {}, again {} (of {}), reordering {} (seen {}), rtt {} us \
             (least {}), pace {:.1}, rate {:.1}, acked {:.1} Mbit, unsent {}, window {}; receives: window {}, ssthresh {}, rtt {} us, space {}; bbr: {:.1} Mbit/s, {} us, gains {} {}",
            begin.elapsed().as_secs_f64(),
            i[1],
            int(&i, 80),
            int(&i, 76),
            int(&i, 24),
            int(&i, 28),
            int(&i, 32),
            int(&i, 36),
            int(&i, 100),
            int(&i, 88),
            int(&i, 220),
            int(&i, 68),
            int(&i, 148),
            mbit(&i, 104),
            mbit(&i, 160),
            mbit(&i, 120),
            int(&i, 144),
            int(&i, 228),
            int(&i, 232),
            int(&i, 64),
            int(&i, 92),
            int(&i, 96),
            mbit(&c, 0),
            int(&c, 8),
            int(&c, 12),
            int(&c, 16),
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
