//! Segments as they pass a device of the kernel, by a packet socket.

use crate::model::{Event, Segment, What};
use crate::trouble::{Result, Trouble};
use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use utcp_stack::wire::{self, Packet};

/// A capture that goes on in a thread.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Event>>,
}

impl Capture {
    /// Begin to capture what passes `device`. The loopback device shows each packet twice;
    /// only its sending counts.
    pub fn start(device: &str) -> Result<Capture> {
        let socket = open(device)?;
        let offset = realtime_offset();
        let once = device == "lo";
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut events = Vec::new();
            let mut buf = vec![0; 128 * 1024];
            loop {
                // Asked before looking: what was sent before the end is still fetched.
                let last = stopped.load(Ordering::Acquire);
                match receive(&socket, &mut buf) {
                    Some((_, false, _)) if once => {}
                    Some((time, _, len)) => {
                        let packet = buf.get(..len).unwrap_or_default();
                        events.extend(event(time.wrapping_sub(offset), packet));
                    }
                    None if last => return events,
                    None => {}
                }
            }
        });
        Ok(Capture { stop, thread })
    }

    /// End it; what was captured, in order.
    pub fn stop(self) -> Vec<Event> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default()
    }
}

/// A captured IP packet as an event, if it is a TCP segment. Checksums are not looked at: the
/// kernel leaves them to the device.
fn event(time: u64, packet: &[u8]) -> Option<Event> {
    let Ok(Packet::Tcp {
        src, dst, segment, ..
    }) = wire::parse(packet, true)
    else {
        return None;
    };
    let src = SocketAddr::new(src, segment.src_port);
    let dst = SocketAddr::new(dst, segment.dst_port);
    Some(Event {
        time,
        pid: 0,
        tid: 0,
        socket: 0,
        what: What::Segment(Segment::new(src, dst, &segment, false)),
    })
}

/// Mark what was sent before: same sender, same sequence numbers taken.
pub fn mark_retransmissions(events: &mut [Event]) {
    let mut sent: Vec<(SocketAddr, SocketAddr, u32, u32)> = Vec::new();
    for event in events {
        if let What::Segment(s) = &mut event.what
            && s.end() != s.seq
        {
            let this = (s.src, s.dst, s.seq, s.end());
            s.retransmit |= sent.contains(&this);
            sent.push(this);
        }
    }
}

fn open(device: &str) -> Result<OwnedFd> {
    let what = format!("cannot capture on {device}");
    let failed = || Trouble::last(what.clone());
    let name = CString::new(device).map_err(|e| Trouble::new(what.clone(), e))?;
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: `name` ends with a zero byte; the socket is owned from the moment it exists;
    // sizes given are those of the values pointed to, which the kernel only reads.
    unsafe {
        let index = libc::if_nametoindex(name.as_ptr());
        if index == 0 {
            return Err(failed());
        }
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // Protocol 0: nothing arrives before it is bound to the device.
        let fd = libc::socket(libc::AF_PACKET, kind, 0);
        if fd < 0 {
            return Err(failed());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        let one: libc::c_int = 1;
        let room: libc::c_int = 64 << 20;
        let wait = libc::timeval {
            tv_sec: 0,
            tv_usec: 20_000,
        };
        let set = |option, value: *const libc::c_void, len: usize| {
            let len = len as libc::socklen_t;
            libc::setsockopt(fd, libc::SOL_SOCKET, option, value, len)
        };
        set(libc::SO_RCVBUFFORCE, (&raw const room).cast(), 4);
        if set(libc::SO_TIMESTAMPNS, (&raw const one).cast(), 4) != 0
            || set(
                libc::SO_RCVTIMEO,
                (&raw const wait).cast(),
                size_of_val(&wait),
            ) != 0
        {
            return Err(failed());
        }
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = index as i32;
        let len = size_of_val(&address) as libc::socklen_t;
        if libc::bind(fd, (&raw const address).cast(), len) != 0 {
            return Err(failed());
        }
        Ok(socket)
    }
}

/// The next packet: when (CLOCK_REALTIME), whether it was being sent, how long.
fn receive(socket: &OwnedFd, buf: &mut [u8]) -> Option<(u64, bool, usize)> {
    #[repr(align(8))]
    struct Control([u8; 128]);
    let mut control = Control([0; 128]);
    let mut part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: all-zero is valid for both; the kernel writes no more than the lengths given,
    // and the CMSG functions stay within the control buffer it filled.
    unsafe {
        let mut from: libc::sockaddr_ll = std::mem::zeroed();
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = size_of_val(&from) as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        let len = libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0);
        let len = usize::try_from(len).ok()?;
        let mut time = 0;
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(h) = header.as_ref() {
            if (h.cmsg_level, h.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                let at = libc::CMSG_DATA(header).cast::<libc::timespec>();
                let ts = at.read_unaligned();
                time = ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64;
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        let outgoing = from.sll_pkttype == libc::PACKET_OUTGOING;
        Some((time, outgoing, len))
    }
}

/// CLOCK_REALTIME less CLOCK_MONOTONIC, in nanoseconds.
fn realtime_offset() -> u64 {
    clock(libc::CLOCK_REALTIME).wrapping_sub(clock(libc::CLOCK_MONOTONIC))
}

/// A clock's time in nanoseconds.
pub fn clock(id: libc::clockid_t) -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(id, &raw mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use utcp_stack::tcp::Flags;

    #[test]
    fn sees_a_connection_on_the_loopback() {
        std::thread::spawn(|| {
            // SAFETY: this thread alone changes its namespace. Only root can do so.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
                crate::netns::loopback_up().unwrap();
                capture_a_connection();
            }
        })
        .join()
        .unwrap();
    }

    fn capture_a_connection() {
        let capture = Capture::start("lo").unwrap();
        let begin = clock(libc::CLOCK_MONOTONIC);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(server).unwrap();
        let (mut accepted, client_addr) = listener.accept().unwrap();
        accepted.write_all(b"hello").unwrap();
        drop(accepted);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        drop(client);
        let end = clock(libc::CLOCK_MONOTONIC);
        std::thread::sleep(std::time::Duration::from_millis(50));

        let mut seen = Vec::new();
        for event in capture.stop() {
            if let What::Segment(s) = &event.what
                && (s.src == server || s.dst == server)
            {
                assert!((begin..end + 60_000_000).contains(&event.time));
                assert!(s.src == client_addr || s.dst == client_addr);
                seen.push((s.flags, s.len));
            }
        }
        let syn_ack = Flags::SYN.with(Flags::ACK);
        assert_eq!(seen[..3], [(Flags::SYN, 0), (syn_ack, 0), (Flags::ACK, 0)]);
        let fins = seen.iter().filter(|(f, _)| f.has(Flags::FIN)).count();
        assert_eq!(fins, 2, "each packet once: {seen:?}");
        assert!(seen.iter().any(|(_, len)| *len == 5));
    }

    #[test]
    fn the_same_bytes_again_are_a_retransmission() {
        let segment = |seq, len| {
            let mut s = Segment::new(
                "127.0.0.1:1".parse().unwrap(),
                "127.0.0.1:2".parse().unwrap(),
                &utcp_stack::tcp::Segment::default(),
                false,
            );
            (s.seq, s.len) = (seq, len);
            Event {
                time: 0,
                pid: 0,
                tid: 0,
                socket: 0,
                what: What::Segment(s),
            }
        };
        let mut events = [segment(1, 5), segment(6, 0), segment(1, 5), segment(6, 0)];
        mark_retransmissions(&mut events);
        let again = events.map(|e| matches!(e.what, What::Segment(s) if s.retransmit));
        assert_eq!(again, [false, false, true, false]);
    }
}
