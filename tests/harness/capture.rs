//! TCP segments as an AF_PACKET socket sees them, and the form in which two runs' segments can
//! be compared: one connection after the other, sequence numbers relative, no ports, no times.

use super::build;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A segment, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which connection, counted from 0 in the order of their first segments.
    pub connection: usize,
    /// From the end that sent the connection's first segment.
    pub forward: bool,
    /// The control bits.
    pub flags: u8,
    /// Sequence number, relative to the sender's first.
    pub seq: u32,
    /// Acknowledgment number, relative to the other's first; 0 without ACK.
    pub ack: u32,
    /// Payload bytes.
    pub len: usize,
    /// The window field, of SYNs only (later ones follow the reader's pace).
    pub window: Option<u16>,
    /// The options in their order, without the timestamps' values.
    pub options: Vec<String>,
    /// The initial sequence number as it stood, of SYNs only. Not compared.
    pub isn: Option<u32>,
    /// The largest piece of it on the wire, if the device was to cut it up. Not compared.
    pub piece: usize,
}

/// The control bits' letters.
const FLAGS: [(u8, char); 8] = [
    (2, 'S'),
    (1, 'F'),
    (4, 'R'),
    (8, 'P'),
    (32, 'U'),
    (16, '.'),
    (64, 'E'),
    (128, 'W'),
];

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: String = FLAGS
            .iter()
            .filter(|(bit, _)| self.flags & bit != 0)
            .map(|(_, c)| *c)
            .collect();
        let arrow = if self.forward { "->" } else { "<-" };
        write!(f, "{} {arrow} [{flags}] seq {}", self.connection, self.seq)?;
        if self.flags & 16 != 0 {
            write!(f, " ack {}", self.ack)?;
        }
        if let Some(window) = self.window {
            write!(f, " win {window}")?;
        }
        write!(f, " len {} <{}>", self.len, self.options.join(","))
    }
}

/// A capture that runs.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What a capture saw.
#[derive(Default)]
pub struct Seen {
    /// The TCP segments.
    pub segments: Vec<Segment>,
    /// Whether packets left the host by the interface.
    pub left: bool,
    /// Whether packets came in.
    pub came: bool,
}

/// Bytes of the header that PACKET_VNET_HDR puts before each packet.
const VNET: usize = 10;

impl Capture {
    /// Starts to look at an interface of the calling thread's namespace, which may appear later.
    pub fn start(interface: &str) -> io::Result<Capture> {
        // SAFETY: socket(2) has no pointers; the descriptor is ours.
        let fd = unsafe {
            let fd = libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                i32::from((libc::ETH_P_ALL as u16).to_be()),
            );
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let set = |level, name, value: *const libc::c_void, len| {
            // SAFETY: `value` points to `len` bytes.
            let r = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, len) };
            if r < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(())
            }
        };
        let (one, room) = (1i32, 64 << 20);
        let wait = libc::timeval {
            tv_sec: 0,
            tv_usec: 50_000,
        };
        const PACKET_VNET_HDR: i32 = 15;
        set(
            libc::SOL_PACKET,
            PACKET_VNET_HDR,
            (&raw const one).cast(),
            4,
        )?;
        set(
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const room).cast(),
            4,
        )
        .or_else(|_| {
            set(
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                (&raw const room).cast(),
                4,
            )
        })?;
        set(
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const wait).cast(),
            16,
        )?;
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, interface) = (Arc::clone(&stop), interface.to_owned());
        let thread = std::thread::spawn(move || look(&fd, &interface, &theirs));
        Ok(Capture { stop, thread })
    }

    /// Ends it, with all that came.
    pub fn finish(self) -> Seen {
        // The last acknowledgments may be delayed.
        std::thread::sleep(Duration::from_millis(100));
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// The thread was started in the namespace whose interfaces the socket sees.
fn look(fd: &OwnedFd, interface: &str, stop: &AtomicBool) -> Seen {
    let mut all = Seen::default();
    let mut indices: HashMap<i32, bool> = HashMap::new();
    let mut known: HashMap<End, Connection> = HashMap::new();
    let mut buffer = vec![0u8; 70_000];
    loop {
        // SAFETY: an all-zero sockaddr_ll is one; recvfrom writes at most what it is told.
        let (n, from) = unsafe {
            let mut from: libc::sockaddr_ll = std::mem::zeroed();
            let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            let n = libc::recvfrom(
                fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut len,
            );
            (n, from)
        };
        let Ok(n) = usize::try_from(n) else {
            if stop.load(Ordering::Relaxed) {
                return all;
            }
            continue;
        };
        // A stack's device may be gone again when its packets are looked at here: an index is
        // resolved once, and one that can't be is taken for a TUN by its type.
        let wanted = *indices.entry(from.sll_ifindex).or_insert_with(|| {
            named(from.sll_ifindex).map_or(from.sll_hatype == ARPHRD_NONE, |n| n == interface)
        });
        // The loopback shows each packet twice, going and coming.
        let outgoing = from.sll_pkttype == libc::PACKET_OUTGOING;
        if !wanted || (interface == "lo" && outgoing) {
            continue;
        }
        all.left |= outgoing;
        all.came |= !outgoing;
        let gso = usize::from(u16::from_ne_bytes([buffer[4], buffer[5]]));
        let gso = if buffer[1] == 0 { 0 } else { gso };
        // Ethernet's header on the loopback and a wire, none on a TUN.
        let link = match from.sll_hatype {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => 14,
            _ => 0,
        };
        let packet = buffer.get(VNET + link..n).unwrap_or(&[]);
        if let Some(segment) = parse(packet, gso, &mut known) {
            all.segments.push(segment);
        }
    }
}

/// The type of a device without a link header.
const ARPHRD_NONE: u16 = 0xfffe;

/// The interface's name, if it is still there.
fn named(index: i32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has IF_NAMESIZE bytes.
    let r = unsafe { libc::if_indextoname(index as u32, name.as_mut_ptr().cast()) };
    let end = name.iter().position(|b| *b == 0)?;
    (!r.is_null()).then(|| String::from_utf8_lossy(&name[..end]).into_owned())
}

type End = (IpAddr, u16, IpAddr, u16);

struct Connection {
    index: usize,
    first: End,
    isn: Option<u32>,
    peer_isn: Option<u32>,
}

fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}
fn be32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// A TCP segment in an IP packet without extension headers.
fn parse(p: &[u8], gso: usize, known: &mut HashMap<End, Connection>) -> Option<Segment> {
    let (source, target, head, total) = match p.first()? >> 4 {
        4 if *p.get(9)? == 6 => {
            let source: [u8; 4] = p.get(12..16)?.try_into().ok()?;
            let target: [u8; 4] = p.get(16..20)?.try_into().ok()?;
            let head = usize::from(p[0] & 15) * 4;
            (
                IpAddr::from(source),
                IpAddr::from(target),
                head,
                usize::from(be16(p, 2)?),
            )
        }
        6 if *p.get(6)? == 6 => {
            let source: [u8; 16] = p.get(8..24)?.try_into().ok()?;
            let target: [u8; 16] = p.get(24..40)?.try_into().ok()?;
            (
                IpAddr::from(source),
                IpAddr::from(target),
                40,
                40 + usize::from(be16(p, 4)?),
            )
        }
        _ => return None,
    };
    let t = p.get(head..)?;
    let (flags, offset) = (*t.get(13)?, usize::from(t.get(12)? >> 4) * 4);
    let end: End = (source, be16(t, 0)?, target, be16(t, 2)?);
    let back: End = (target, end.3, source, end.1);
    let (syn, ack) = (flags & 2 != 0, flags & 16 != 0);
    let (seq, acked) = (be32(t, 4)?, be32(t, 8)?);
    let key = if known.contains_key(&back) { back } else { end };
    // A SYN without ACK begins a connection, unless it repeats one or crosses the other's.
    let opens = syn
        && !ack
        && known.get(&key).is_none_or(|c| {
            let isn = if end == c.first { c.isn } else { c.peer_isn };
            isn.is_some_and(|isn| isn != seq)
        });
    let key = if opens { end } else { key };
    if opens || !known.contains_key(&key) {
        let index = known.values().map(|c| c.index + 1).max().unwrap_or(0);
        known.remove(&back);
        let new = Connection {
            index,
            first: end,
            isn: None,
            peer_isn: None,
        };
        known.insert(key, new);
    }
    let c = known.get_mut(&key)?;
    let forward = end == c.first;
    let (mine, theirs) = if forward {
        (&mut c.isn, &mut c.peer_isn)
    } else {
        (&mut c.peer_isn, &mut c.isn)
    };
    let first = *mine.get_or_insert(seq);
    let acked = if ack {
        acked.wrapping_sub(*theirs.get_or_insert(acked.wrapping_sub(1)))
    } else {
        0
    };
    let connection = c.index;
    // An offloaded segment may say 0: too long for the field.
    let total = if total <= head { p.len() } else { total };
    let len = total.min(p.len()).checked_sub(head + offset)?;
    Some(Segment {
        connection,
        forward,
        flags,
        seq: seq.wrapping_sub(first),
        ack: acked,
        len,
        window: if syn { be16(t, 14) } else { None },
        options: options(t.get(20..offset)?),
        isn: syn.then_some(seq),
        piece: if gso == 0 { len } else { gso.min(len) },
    })
}

fn options(mut o: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(kind) = o.first() {
        let len = if *kind < 2 {
            1
        } else {
            usize::from(*o.get(1).unwrap_or(&0)).max(2)
        };
        let value = o.get(2..len).unwrap_or(&[]);
        all.push(match (kind, value) {
            (0, _) => break,
            (1, _) => "nop".to_owned(),
            (2, [a, b]) => format!("mss {}", u16::from_be_bytes([*a, *b])),
            (3, [shift]) => format!("ws {shift}"),
            (4, _) => "sackOK".to_owned(),
            (5, blocks) => format!("sack x{}", blocks.len() / 8),
            (8, _) => "ts".to_owned(),
            (kind, _) => format!("kind {kind}"),
        });
        o = o.get(len..).unwrap_or(&[]);
    }
    all
}

/// The segments in an order that doesn't depend on how connections overlapped: by connection.
/// Without `order`, that of the options is lost (a stack's own trace doesn't show it).
pub fn comparable(mut segments: Vec<Segment>, order: bool) -> Vec<Segment> {
    segments.sort_by_key(|s| s.connection);
    if !order {
        for segment in &mut segments {
            segment.options.retain(|o| o != "nop");
            segment.options.sort();
        }
    }
    segments
}

/// The program under `utcp run`, which writes the stack's trace to the file.
pub fn traced(program: &Command, stack: &str, file: &Path) -> Command {
    let mut command = Command::new(build::utcp());
    command
        .args(["run", "--stack", stack, "--trace", "--json", "--output"])
        .arg(file)
        .arg("--")
        .arg(program.get_program())
        .args(program.get_args());
    command
}

/// The segments in a trace that `utcp run --trace --json` wrote.
pub fn utcp_segments(file: &Path) -> Result<Vec<Segment>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let _ = std::fs::remove_file(file);
    let mut all = Vec::new();
    for line in text.lines() {
        let event: serde_json::Value =
            serde_json::from_str(line).map_err(|e| format!("the trace has {line}: {e}"))?;
        if event["event"] != "segment" {
            continue;
        }
        let number = |name: &str| event[name].as_u64().unwrap_or(0);
        let flags = event["flags"].as_str().unwrap_or("");
        let options = event["options"].as_object().into_iter().flatten();
        all.push(Segment {
            connection: (number("connection") as usize).saturating_sub(1),
            forward: event["side"] == "client",
            flags: FLAGS
                .iter()
                .filter(|(_, c)| flags.contains(*c))
                .fold(0, |all, (bit, _)| all | bit),
            seq: number("seq") as u32,
            ack: number("ack") as u32,
            len: number("len") as usize,
            window: flags.contains('S').then(|| number("win") as u16),
            options: options
                .map(|(name, value)| match name.as_str() {
                    "wscale" => format!("ws {value}"),
                    "TS" => "ts".to_owned(),
                    "mss" => format!("mss {value}"),
                    other => other.to_owned(),
                })
                .collect(),
            isn: None,
            piece: number("len") as usize,
        });
    }
    Ok(all)
}
