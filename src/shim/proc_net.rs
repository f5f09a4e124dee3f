//! /proc/net/tcp and tcp6 as a program under the library sees them: the stack's sockets in the
//! kernel's format, so that an unmodified `netstat -nap` or `lsof` shows them with their owners; and
//! /proc/net/netstat and snmp with the stack's counters, for `nstat` and `netstat -s`.

use crate::errno::Result;
use crate::tcp_info::state_number;
use core::ffi::CStr;
use std::fmt::Write;
use utcp_stack::addr::{Addr, Endpoint};
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::{Family, Row};
use utcp_stack::sys::{self, Errno, Fd, memory};
use utcp_stack::tcp::{State, TimerName};

/// A file that shows the stack's instead of the kernel's.
#[derive(Clone, Copy)]
pub enum File {
    /// /proc/net/tcp or tcp6.
    Sockets(Family),
    /// /proc/net/netstat.
    Netstat,
    /// /proc/net/snmp.
    Snmp,
}

/// Which of the files `path` is, if it is one.
pub fn which(path: &CStr) -> Option<File> {
    let rest = path.to_bytes().strip_prefix(b"/proc/")?;
    let rest = match rest.strip_prefix(b"net/") {
        Some(rest) => rest,
        None => {
            let slash = rest.iter().position(|b| *b == b'/')?;
            let (who, rest) = rest.split_at(slash);
            let of_a_process =
                who == b"self" || who == b"thread-self" || who.iter().all(u8::is_ascii_digit);
            if !of_a_process {
                return None;
            }
            rest.strip_prefix(b"/net/")?
        }
    };
    match rest {
        b"tcp" => Some(File::Sockets(Family::V4)),
        b"tcp6" => Some(File::Sockets(Family::V6)),
        b"netstat" => Some(File::Netstat),
        b"snmp" => Some(File::Snmp),
        _ => None,
    }
}

/// The kernel's own file.
fn kernels(path: &CStr) -> Result<String> {
    let bytes = sys::io::read_file(path).ok_or(Errno(libc::EIO))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The kernel's counters, with the stack's in the place of TCP's.
fn netstat(runtime: &Runtime) -> Result<String> {
    let kernels = kernels(c"/proc/thread-self/net/netstat")?;
    // Copied first: nothing is allocated under the lock.
    let counters = runtime.enter().sh.counters;
    Ok(counters.netstat(&kernels))
}

fn snmp(runtime: &Runtime) -> Result<String> {
    let kernels = kernels(c"/proc/thread-self/net/snmp")?;
    let host = runtime.enter();
    let (counters, established) = (host.sh.counters, host.established());
    drop(host);
    Ok(counters.snmp(&kernels, established))
}

/// The file's content now, in a descriptor to read it from. `cloexec` as in open's flags.
pub fn open(runtime: &Runtime, file: File, cloexec: bool) -> Result<Fd> {
    let (name, text) = match file {
        File::Sockets(family) => ("/proc/net/tcp", sockets(runtime, family)),
        File::Netstat => ("/proc/net/netstat", netstat(runtime)?),
        File::Snmp => ("/proc/net/snmp", snmp(runtime)?),
    };
    let fd = memory::memfd_create(name)?;
    let mut left = text.as_bytes();
    while !left.is_empty() {
        let n = sys::io::write(fd.raw(), left)?;
        left = left.get(n..).unwrap_or_default();
    }
    // SAFETY: no pointers.
    unsafe { sys::syscall(libc::SYS_lseek, [fd.raw() as usize, 0, 0, 0, 0, 0]) }?;
    if !cloexec {
        // SAFETY: no pointers.
        unsafe {
            sys::syscall(
                libc::SYS_fcntl,
                [fd.raw() as usize, libc::F_SETFD as usize, 0, 0, 0, 0],
            )
        }?;
    }
    Ok(fd)
}

/// The table of sockets.
fn sockets(runtime: &Runtime, family: Family) -> String {
    // Rows are collected first: nothing is formatted or allocated under the lock.
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let session = runtime.enter();
        let mut count = 0;
        let room = rows.capacity();
        rows.clear();
        session.table(|row| {
            count += 1;
            if rows.len() < room {
                rows.push(row);
            }
        });
        drop(session);
        if count <= room {
            break;
        }
        rows.reserve(count + count / 2 + 16);
    }
    let mut text = String::from(match family {
        Family::V4 => {
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
        }
        Family::V6 => {
            "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
        }
    });
    if family == Family::V4 {
        // The kernel pads the IPv4 file's lines to 149 characters.
        let _ = write!(text, "{:pad$}", "", pad = 149 - text.len());
    }
    text.push('\n');
    for (n, row) in rows.iter().filter(|r| r.family == family).enumerate() {
        line(&mut text, n, row);
    }
    text
}

/// An address as the kernel prints it: words in the machine's byte order.
fn address(text: &mut String, family: Family, e: Endpoint) {
    let bytes: &Addr = &e.addr;
    let words = match family {
        Family::V4 => &bytes.0[12..],
        Family::V6 => &bytes.0[..],
    };
    for word in words.chunks_exact(4) {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        let _ = write!(text, "{word:08X}");
    }
    let _ = write!(text, ":{:04X}", e.port);
}

fn line(text: &mut String, n: usize, row: &Row) {
    let start = text.len();
    let _ = write!(text, "{n:4}: ");
    address(text, row.family, row.local);
    text.push(' ');
    address(text, row.family, row.remote);
    let (name, ms, retransmits) = row.info.timer;
    let timer = match name {
        TimerName::Off => 0,
        TimerName::On => 1,
        TimerName::Keepalive => 2,
        TimerName::TimeWait => 3,
        TimerName::Persist => 4,
    };
    let listening = row.state == State::Listen;
    // Jiffies, of which there are a hundred a second for programs.
    let when = if timer == 0 { 0 } else { ms.div_ceil(10) };
    let tx = if listening { 0 } else { row.send_q };
    // In TIME_WAIT the kernel's socket has parted from its descriptor.
    let parted = row.state == State::TimeWait;
    let (uid, inode) = if parted {
        (0, 0)
    } else {
        (row.owner.uid, row.owner.inode)
    };
    let references = if parted { 3 } else { i32::from(!row.orphan) };
    let _ = write!(
        text,
        " {:02X} {tx:08X}:{:08X} {timer:02X}:{when:08X} {retransmits:08X} {:5} {:8} {} {references} 0000000000000000",
        state_number(row.state),
        row.recv_q,
        uid,
        0,
        inode,
    );
    let (rto, ato) = (row.info.rto_us / 10_000, row.info.ato_us / 10_000);
    let ssthresh = if row.info.snd_ssthresh >= 0x7fff_ffff {
        -1
    } else {
        i64::from(row.info.snd_ssthresh)
    };
    match row.state {
        State::TimeWait => {}
        _ => {
            let _ = write!(
                text,
                " {rto} {ato} 0 {} {ssthresh}",
                row.info.snd_cwnd.max(10)
            );
        }
    }
    if row.family == Family::V4 {
        let len = text.len() - start;
        let _ = write!(text, "{:pad$}", "", pad = 149usize.saturating_sub(len));
    }
    text.push('\n');
}
