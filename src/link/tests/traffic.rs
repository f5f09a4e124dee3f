//! Real packets between this code and the kernel's own stack.

use super::*;
use crate::tcp::{Flags, Options, Segment, SeqNum};
use crate::wire::{self, Checksum, IcmpError, IpHeader, MAX_HEADERS, Packet, Sum};
use core::net::{IpAddr, SocketAddr};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Both families: the kernel's address and ours.
const PAIRS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(KERNEL4), IpAddr::V4(STACK4)),
    (IpAddr::V6(KERNEL6), IpAddr::V6(STACK6)),
];

fn up(offload: bool) -> Tun {
    let tun = if offload {
        Tun::create("utcp%d", false)
    } else {
        Tun::create_plain("utcp%d", false)
    };
    let tun = tun.unwrap();
    config::configure(&tun.name().unwrap(), &SETUP).unwrap();
    tun
}

/// The next packet, within twenty seconds.
fn next(tun: &mut Tun) -> (VnetHdr, Vec<u8>) {
    let mut buf = vec![0; MAX_PACKET];
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some((hdr, n)) = tun.recv(&mut buf) {
            buf.truncate(n);
            return (hdr, buf);
        }
        assert!(Instant::now() < deadline, "no packet came");
        let mut poll = libc::pollfd {
            fd: tun.raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd.
        unsafe { libc::poll(&mut poll, 1, 100) };
    }
}

/// The next segment, with its payload.
fn next_segment(tun: &mut Tun) -> (VnetHdr, Segment, Vec<u8>) {
    loop {
        let (hdr, packet) = next(tun);
        match wire::parse(&packet, hdr.verified()) {
            Ok(Packet::Tcp {
                segment, payload, ..
            }) => return (hdr, segment, packet[payload..].to_vec()),
            Ok(_) => {}
            Err(e) => panic!("{e:?}: {packet:02x?}"),
        }
    }
}

/// Send a segment, in full or with what the device can do left to it.
fn send(tun: &mut Tun, src: IpAddr, dst: IpAddr, segment: &Segment, payload: &[u8], mss: u16) {
    let mut out = [0; MAX_HEADERS];
    let checksum = if tun.offload() {
        Checksum::Partial
    } else {
        Checksum::Full
    };
    let (len, ip_len) = wire::emit_tcp(
        &IpHeader::between(src, dst),
        segment,
        &[payload],
        checksum,
        &mut out,
    );
    let hdr = if tun.offload() {
        VnetHdr::tcp(len, ip_len, src.is_ipv4(), payload.len() as u32, mss, false)
    } else {
        VnetHdr::PLAIN
    };
    // In several parts, as it will come from a queue of buffers.
    let (a, b) = payload.split_at(payload.len() / 3);
    assert_eq!(tun.send(&hdr, &[&out[..len], a, b]), Sent::Done);
}

#[test]
fn the_kernel_answers_our_ping() {
    in_namespace(|| {
        for offload in [true, false] {
            let mut tun = up(offload);
            for (kernel, stack) in PAIRS {
                let body = [0x12, 0x34, 0, 1, b'h', b'e', b'l', b'l', b'o'];
                let mut request = [0; 200];
                let n = wire::emit_echo_reply(stack, kernel, &body, &mut request).unwrap();
                // A reply is a request but for its type; the checksum takes the difference.
                let at = n - body.len() - 4;
                let (reply, ask) = if kernel.is_ipv4() { (0, 8) } else { (129, 128) };
                assert_eq!(request[at], reply);
                request[at] = ask;
                let mut sum = Sum::new();
                sum.add(&[!request[at + 2], !request[at + 3], !reply, 0xff, ask, 0]);
                request[at + 2..at + 4].copy_from_slice(&sum.checksum().to_be_bytes());
                assert_eq!(tun.send(&VnetHdr::PLAIN, &[&request[..n]]), Sent::Done);
                let (hdr, answer) = next(&mut tun);
                match wire::parse(&answer, hdr.verified()) {
                    Ok(Packet::Other {
                        src, dst, body: b, ..
                    }) => {
                        assert_eq!((src, dst, b[0]), (kernel, stack, reply));
                        assert_eq!(b[4..], body);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}

/// A connection made by the kernel, with this test as the other end.
fn accept(tun: &mut Tun, kernel: IpAddr, stack: IpAddr) -> (TcpStream, Segment, SeqNum) {
    let connect = std::thread::spawn(move || {
        TcpStream::connect_timeout(&SocketAddr::new(stack, 80), Duration::from_secs(2))
    });
    let (_, packet) = next(tun);
    let Ok(Packet::Tcp {
        src, segment: syn, ..
    }) = wire::parse(&packet, true)
    else {
        panic!("{packet:02x?}");
    };
    assert_eq!((src, syn.flags, syn.dst_port), (kernel, Flags::SYN, 80));
    assert!(syn.options.timestamps.is_some() && syn.options.sack_permitted);
    looks_like_ours(&packet, tun.offload());
    let mss = 1500 - if kernel.is_ipv4() { 40 } else { 60 };
    assert_eq!(syn.options.mss, Some(mss));
    let syn_ack = Segment {
        src_port: 80,
        dst_port: syn.src_port,
        seq: SeqNum(u32::MAX - 1000),
        ack: syn.end(),
        flags: Flags::SYN.with(Flags::ACK),
        window: 65535,
        options: Options {
            mss: Some(mss),
            wscale: Some(7),
            sack_permitted: true,
            ..Options::default()
        },
        ..Segment::default()
    };
    send(tun, stack, kernel, &syn_ack, &[], 1);
    let (_, ack, _) = next_segment(tun);
    assert_eq!((ack.flags, ack.ack), (Flags::ACK, syn_ack.end()));
    let stream = connect.join().unwrap().unwrap();
    let ours = Segment {
        seq: syn_ack.end(),
        ack: syn.end(),
        flags: Flags::ACK,
        options: Options::default(),
        ..syn_ack
    };
    (stream, ours, syn.end())
}

/// What Linux emitted is what we emit for the same segment, byte for byte, but for the
/// identification (IPv4) and the flow label (IPv6).
fn looks_like_ours(packet: &[u8], partial: bool) {
    let Ok(Packet::Tcp {
        src,
        dst,
        segment,
        tos,
        ..
    }) = wire::parse(packet, true)
    else {
        panic!("{packet:02x?}");
    };
    let checksum = if partial {
        Checksum::Partial
    } else {
        Checksum::Full
    };
    let mut packet = packet.to_vec();
    let (ttl, id) = if src.is_ipv4() {
        (packet[8], u16::from_be_bytes([packet[4], packet[5]]))
    } else {
        packet[1] &= 0xf0;
        packet[2..4].fill(0);
        (packet[7], 0)
    };
    let mut out = [0; MAX_HEADERS];
    let header = IpHeader {
        tos,
        ttl,
        id,
        ..IpHeader::between(src, dst)
    };
    let (n, _) = wire::emit_tcp(&header, &segment, &[], checksum, &mut out);
    assert_eq!(packet, out[..n]);
}

#[test]
fn large_segments_travel_both_ways() {
    in_namespace(|| {
        for offload in [true, false] {
            let mut tun = up(offload);
            for (kernel, stack) in PAIRS {
                transfer(&mut tun, kernel, stack);
            }
        }
    });
}

fn transfer(tun: &mut Tun, kernel: IpAddr, stack: IpAddr) {
    let (mut stream, mut ours, mut rcv_nxt) = accept(tun, kernel, stack);
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mss: u16 = if kernel.is_ipv4() { 1460 } else { 1440 };
    let data: Vec<u8> = (0..60_000u32).map(|i| (i % 251) as u8).collect();

    // To the kernel: one packet where the device cuts it.
    let step = if tun.offload() {
        data.len()
    } else {
        mss.into()
    };
    for part in data.chunks(step) {
        send(tun, stack, kernel, &ours, part, mss);
        ours.seq += part.len() as u32;
    }
    let mut got = vec![0; data.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == data);

    // From the kernel: packets larger than the MTU if we take such.
    stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut got = Vec::new();
    let mut largest = 0;
    while got.len() < data.len() {
        match stream.write(&data[sent..]) {
            Ok(n) => sent += n,
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
        let (hdr, segment, payload) = next_segment(tun);
        let skip = rcv_nxt.diff(segment.seq).max(0) as usize;
        assert!(segment.seq.le(rcv_nxt), "a segment was lost");
        got.extend_from_slice(payload.get(skip..).unwrap_or_default());
        rcv_nxt = rcv_nxt.max(segment.end());
        largest = largest.max(payload.len());
        let gso = if kernel.is_ipv4() {
            VnetHdr::GSO_TCPV4
        } else {
            VnetHdr::GSO_TCPV6
        };
        if payload.len() > usize::from(mss) {
            assert_eq!((hdr.gso_type, hdr.gso_size), (gso, mss));
            assert_eq!(hdr.flags & VnetHdr::NEEDS_CSUM, VnetHdr::NEEDS_CSUM);
        } else {
            assert_eq!(hdr.gso_type, VnetHdr::GSO_NONE);
        }
        if !tun.offload() {
            assert_eq!(hdr, VnetHdr::PLAIN);
        }
        ours.ack = rcv_nxt;
        send(tun, stack, kernel, &ours, &[], mss);
    }
    assert!(got == data);
    assert_eq!(largest > usize::from(mss), tun.offload());

    // And a RST ends it, with the error that the kernel gives for it.
    let rst = Segment {
        flags: Flags::RST,
        ..ours
    };
    send(tun, stack, kernel, &rst, &[], mss);
    let end = stream.read(&mut [0; 10]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn the_kernel_understands_port_unreachable() {
    in_namespace(|| {
        let mut tun = up(true);
        for (kernel, stack) in PAIRS {
            let socket = UdpSocket::bind(SocketAddr::new(kernel, 0)).unwrap();
            socket.connect(SocketAddr::new(stack, 9)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(2)))
                .unwrap();
            socket.send(&[7; 1400]).unwrap();
            let (hdr, datagram) = next(&mut tun);
            assert!(matches!(
                wire::parse(&datagram, hdr.verified()),
                Ok(Packet::Other { proto: 17, .. })
            ));
            let (unreachable, mut out) = (wire::ErrorMessage::PortUnreachable, [0; 1500]);
            let n = wire::emit_icmp_error(unreachable, stack, kernel, &datagram, &mut out).unwrap();
            assert_eq!(tun.send(&VnetHdr::PLAIN, &[&out[..n]]), Sent::Done);
            let error = socket.recv(&mut [0; 10]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn the_kernels_icmp_errors_are_understood() {
    in_namespace(|| {
        let mut tun = up(true);
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let file = std::ffi::CString::new(format!("/proc/sys/net/{file}")).unwrap();
            if crate::sys::tun::write_file(&file, b"1").is_err() {
                return; // /proc is not writable: this kernel can't be made a router
            }
        }
        let far = ["203.0.113.1", "2001:db8::1"].map(|a| a.parse::<IpAddr>().unwrap());
        for ((_, stack), far) in PAIRS.into_iter().zip(far) {
            for (ttl, want) in [
                (64, IcmpError::NetUnreachable),
                (1, IcmpError::TimeExceeded),
            ] {
                // (With a way to go, it runs out of hops before there is no route.)
                let dst = match (ttl, stack) {
                    (64, _) => far,
                    (_, IpAddr::V4(_)) => "198.18.0.77".parse().unwrap(),
                    (_, IpAddr::V6(_)) => "fd75:7463:7000::77".parse().unwrap(),
                };
                let segment = Segment {
                    src_port: 4000,
                    dst_port: 80,
                    seq: SeqNum(99),
                    flags: Flags::SYN,
                    ..Segment::default()
                };
                let mut out = [0; MAX_HEADERS];
                let header = IpHeader {
                    ttl,
                    ..IpHeader::between(stack, dst)
                };
                let (n, _) = wire::emit_tcp(&header, &segment, &[], Checksum::Full, &mut out);
                assert_eq!(tun.send(&VnetHdr::PLAIN, &[&out[..n]]), Sent::Done);
                let (hdr, answer) = next(&mut tun);
                match wire::parse(&answer, hdr.verified()) {
                    Ok(Packet::Error {
                        local,
                        remote,
                        seq,
                        kind,
                        ..
                    }) => {
                        assert_eq!((local, remote), ((stack, 4000), (dst, 80)));
                        assert_eq!((seq, kind), (SeqNum(99), want));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}
