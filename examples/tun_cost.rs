//! What it costs to move bytes over a TUN device: with offload (64 KiB in one call, checksum and
//! cutting left to the kernel) and without (frames of 1500 bytes, as the tun-tap crate gives).
//!
//! `cargo run --release --example tun_cost`, as root; it works in a network namespace of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use utcp_stack::link::config::{self, QUEUE_LEN, Setup};
use utcp_stack::link::{Device, MAX_PACKET, Sent, Tun, VnetHdr};
use utcp_stack::tcp::{Flags, Options, Segment, SeqNum};
use utcp_stack::wire::{self, Checksum, MAX_HEADERS, Packet};

const KERNEL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const STACK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Nobody's address: what goes there is dropped by the kernel's routing.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const MSS: usize = 1460;
const LARGE: usize = 64 * 1024 - 1024;

fn main() {
    // SAFETY: no pointers.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        eprintln!("tun_cost needs root for a network namespace; run it with sudo");
        std::process::exit(1);
    }
    println!(
        "                         written and dropped         kernel reads it    kernel sends it"
    );
    for offload in [true, false] {
        let mut link = Link::up(offload);
        let (call, bulk) = link.drop_cost();
        let (out, into) = (link.send_bulk(), link.receive_bulk());
        let name = if offload {
            "64 KiB, offload"
        } else {
            "1500 bytes, tun-tap"
        };
        println!(
            "{name:20} {:6.2} us/call {:6.1} us/64 KiB {out:13.1} Gbit/s {into:11.1} Gbit/s",
            call * 1e6,
            bulk * 1e6,
        );
    }
}

/// The device and one connection's worth of TCP: just enough to keep the kernel sending.
struct Link {
    tun: Tun,
    payload: Vec<u8>,
    buf: Vec<u8>,
}

impl Link {
    fn up(offload: bool) -> Link {
        let tun = if offload {
            Tun::create("cost%d", false)
        } else {
            Tun::create_plain("cost%d", false)
        };
        let setup = Setup {
            ipv4: Some((KERNEL, 24)),
            ipv6: None,
            mtu: 1500,
            queue_len: QUEUE_LEN,
        };
        let up = tun.and_then(|tun| {
            config::configure(&tun.name()?, &setup)?;
            Ok(tun)
        });
        let tun = up.unwrap_or_else(|e| {
            eprintln!("{e}");
            std::process::exit(1);
        });
        Link {
            tun,
            payload: vec![0x5a; LARGE],
            buf: vec![0; MAX_PACKET],
        }
    }

    /// Most payload that one call carries.
    fn step(&self) -> usize {
        if self.tun.offload() { LARGE } else { MSS }
    }

    fn send(&mut self, dst: Ipv4Addr, segment: &Segment, len: usize) {
        let mut out = [0; MAX_HEADERS];
        let payload = &self.payload[..len];
        let checksum = if self.tun.offload() {
            Checksum::Partial
        } else {
            Checksum::Full
        };
        let (src, dst) = (IpAddr::V4(STACK), IpAddr::V4(dst));
        let (n, ip) = wire::emit_tcp(
            &wire::IpHeader::between(src, dst),
            segment,
            &[payload],
            checksum,
            &mut out,
        );
        let hdr = if self.tun.offload() {
            VnetHdr::tcp(n, ip, src.is_ipv4(), len as u32, MSS as u16, false)
        } else {
            VnetHdr::PLAIN
        };
        while self.tun.send(&hdr, &[&out[..n], payload]) == Sent::Full {}
    }

    fn receive(&mut self, wait: Duration) -> Option<Segment> {
        let n = match self.tun.recv(&mut self.buf) {
            Some((_, n)) => n,
            None => {
                let mut poll = libc::pollfd {
                    fd: self.tun.raw_fd(),
                    events: libc::POLLIN,
                    revents: 0,
                };
                // SAFETY: one pollfd.
                unsafe { libc::poll(&mut poll, 1, wait.as_millis() as i32) };
                self.tun.recv(&mut self.buf)?.1
            }
        };
        // Checksums of received packets are no question of the device.
        match wire::parse(&self.buf[..n], true) {
            Ok(Packet::Tcp { segment, .. }) => Some(segment),
            _ => None,
        }
    }

    /// Seconds of a call, and of 64 KiB, headers and checksums included.
    fn drop_cost(&mut self) -> (f64, f64) {
        let step = self.step();
        let calls = if self.tun.offload() { 50_000 } else { 500_000 };
        let segment = Segment {
            flags: Flags::ACK,
            ..Segment::default()
        };
        let start = Instant::now();
        for _ in 0..calls {
            self.send(NOWHERE, &segment, step);
        }
        let call = start.elapsed().as_secs_f64() / f64::from(calls);
        (call, call * 65536.0 / step as f64)
    }

    /// Gbit/s to a program on the kernel's stack that reads and forgets.
    fn send_bulk(&mut self) -> f64 {
        let listener = TcpListener::bind(SocketAddr::from((KERNEL, 80))).expect("bind");
        let sink = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut buf = vec![0; 1 << 18];
            while stream.read(&mut buf).unwrap_or(0) > 0 {}
        });
        let mut ours = Segment {
            src_port: 9,
            dst_port: 80,
            flags: Flags::SYN,
            window: 65535,
            options: Options {
                mss: Some(MSS as u16),
                wscale: Some(7),
                sack_permitted: true,
                ..Options::default()
            },
            ..Segment::default()
        };
        self.send(KERNEL, &ours, 0);
        let syn_ack = self.receive(Duration::from_secs(1)).expect("SYN, ACK");
        let shift = syn_ack.options.wscale.unwrap_or(0);
        ours = Segment {
            seq: ours.end(),
            ack: syn_ack.end(),
            flags: Flags::ACK,
            options: Options::default(),
            ..ours
        };
        self.send(KERNEL, &ours, 0);
        let mut una = ours.seq;
        let mut edge = una + u32::from(syn_ack.window);
        let (mut acked, mut heard) = (0u64, Instant::now());
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            let step = self.step().min(edge.diff(ours.seq).max(0) as usize);
            let blocked = step < self.step().min(MSS);
            if !blocked {
                self.send(KERNEL, &ours, step);
                ours.seq += step as u32;
            }
            let wait = Duration::from_millis(u64::from(blocked));
            while let Some(ack) = self.receive(if blocked { wait } else { Duration::ZERO }) {
                if ack.ack.gt(una) {
                    acked += u64::from(ack.ack - una);
                    una = ack.ack;
                    heard = Instant::now();
                }
                edge = edge.max(ack.ack + (u32::from(ack.window) << shift));
                if edge.diff(ours.seq) >= MSS as i32 {
                    break;
                }
            }
            // Something was lost: go back.
            if heard.elapsed() > Duration::from_millis(20) {
                ours.seq = una;
                heard = Instant::now();
            }
        }
        let rate = acked as f64 * 8e-9 / start.elapsed().as_secs_f64();
        // Only a RST at exactly what the kernel expects counts (RFC 5961, section 3.2).
        while let Some(ack) = self.receive(Duration::from_millis(50)) {
            una = una.max(ack.ack);
        }
        ours.flags = Flags::RST;
        ours.seq = una;
        self.send(KERNEL, &ours, 0);
        sink.join().expect("sink");
        rate
    }

    /// Gbit/s from a program on the kernel's stack that writes all it can.
    fn receive_bulk(&mut self) -> f64 {
        let source = std::thread::spawn(|| {
            let to = SocketAddr::from((STACK, 80));
            let mut stream = TcpStream::connect(to).expect("connect");
            let buf = vec![0x5a; 1 << 18];
            while stream.write(&buf).is_ok() {}
        });
        let syn = loop {
            match self.receive(Duration::from_secs(1)) {
                Some(s) if s.flags == Flags::SYN => break s,
                _ => {}
            }
        };
        let mut ours = Segment {
            src_port: 80,
            dst_port: syn.src_port,
            seq: SeqNum(1),
            ack: syn.end(),
            flags: Flags::SYN.with(Flags::ACK),
            window: 65535,
            options: Options {
                mss: Some(MSS as u16),
                wscale: Some(7),
                ..Options::default()
            },
            ..Segment::default()
        };
        self.send(KERNEL, &ours, 0);
        ours = Segment {
            seq: ours.end(),
            flags: Flags::ACK,
            options: Options::default(),
            ..ours
        };
        let (mut got, mut unacked) = (0u64, 0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            let Some(segment) = self.receive(Duration::from_millis(10)) else {
                continue;
            };
            let new = segment.end().diff(ours.ack);
            if segment.seq.le(ours.ack) && new > 0 {
                got += new as u64;
                ours.ack = segment.end();
                unacked += new;
                if unacked < 2 * MSS as i32 {
                    continue;
                }
            }
            unacked = 0;
            self.send(KERNEL, &ours, 0);
        }
        let rate = got as f64 * 8e-9 / start.elapsed().as_secs_f64();
        ours.flags = Flags::RST;
        self.send(KERNEL, &ours, 0);
        source.join().expect("source");
        rate
    }
}
