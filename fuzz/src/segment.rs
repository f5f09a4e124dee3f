//! Any bytes as an IP packet: nothing panics, and what is understood is understood the same
//! way when it is sent again.

use std::net::IpAddr;
use utcp_stack::tcp::{Options, Segment};
use utcp_stack::wire::{
    self, Checksum, ErrorMessage, IpHeader, IpOptions, MAX_HEADERS, Packet, Sum,
};

/// The first byte says how much of the rest is made valid: nothing; the checksums; or all of
/// the IP header, so that the rest is TCP's.
pub fn run(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let mut packet = rest.to_vec();
    match mode % 4 {
        0 => {}
        1 => mend_checksums(&mut packet),
        2 => packet = under_ipv4(rest),
        _ => packet = under_ipv6(rest),
    }
    let strict = wire::parse(&packet, false);
    let lenient = wire::parse(&packet, true);
    if let Ok(Packet::Tcp { segment, .. }) = &strict {
        let Ok(Packet::Tcp { segment: same, .. }) = &lenient else {
            panic!("{strict:?} but {lenient:?}");
        };
        assert_eq!(segment, same);
    }
    if let Ok(parsed) = lenient {
        look_at(&packet, parsed);
    }
}

fn look_at(packet: &[u8], parsed: Packet<'_>) {
    let mut out = [0; 65535];
    match parsed {
        Packet::Tcp {
            src,
            dst,
            segment,
            payload,
            tos,
            ip_options,
        } => {
            let bytes = packet.get(payload..payload + segment.len as usize);
            let bytes = bytes.expect("a payload inside the packet");
            assert!(segment.options.sack_len <= 4);
            send_again((src, dst), ip_options, &segment, bytes, tos);
        }
        Packet::Echo { src, dst, body } => {
            assert!(body.len() <= packet.len());
            let _ = wire::emit_echo_reply(dst, src, body, &mut out);
        }
        Packet::Error { .. } => {}
        Packet::Other { src, dst, body, .. } => {
            assert!(body.len() <= packet.len());
            for message in [
                ErrorMessage::PortUnreachable,
                ErrorMessage::ProtocolUnreachable,
                ErrorMessage::ReassemblyTimeout,
                ErrorMessage::IncompleteHeader,
                ErrorMessage::TooBig(1280),
            ] {
                if let Some(n) = wire::emit_icmp_error(message, dst, src, packet, &mut out) {
                    assert!((36..=1280).contains(&n), "an ICMP error of {n} bytes");
                }
            }
        }
    }
}

/// Emit what was parsed; it must parse to the same.
fn send_again(
    (src, dst): (IpAddr, IpAddr),
    ip_options: &[u8],
    segment: &Segment,
    payload: &[u8],
    tos: u8,
) {
    // Options as we align them may take more room than those that came: the blocks give way.
    let without_sack = Options {
        sack: Default::default(),
        sack_len: 0,
        ..segment.options
    };
    if wire::options_len(&without_sack) > 40 || payload.len() > 65_000 {
        return;
    }
    let sent = Segment {
        options: without_sack,
        ..*segment
    };
    let mut headers = [0; MAX_HEADERS];
    let (full, parts) = (Checksum::Full, [payload]);
    let list = IpOptions::received(ip_options);
    let out = &mut headers;
    let header = IpHeader {
        tos,
        options: &list,
        ..IpHeader::between(src, dst)
    };
    let (len, _) = wire::emit_tcp(&header, &sent, &parts, full, out);
    let packet = [&headers[..len], payload].concat();
    match wire::parse(&packet, false) {
        Ok(Packet::Tcp {
            segment,
            ip_options: same,
            ..
        }) => {
            assert_eq!((segment, same), (sent, ip_options));
        }
        other => panic!("{sent:?} parses as {other:?}"),
    }
}

fn mend_checksums(packet: &mut [u8]) {
    let Some(first) = packet.first() else { return };
    let (start, addresses, proto) = match first >> 4 {
        4 => {
            let len = usize::from(first & 15) * 4;
            if len < 20 || packet.len() < len {
                return;
            }
            packet[10..12].fill(0);
            let mut sum = Sum::new();
            sum.add(&packet[..len]);
            let sum = sum.checksum();
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            (len, 12..20, packet[9])
        }
        6 if packet.len() >= 40 => (40, 8..40, packet[6]),
        _ => return,
    };
    let at = start
        + match proto {
            6 => 16,
            1 | 58 => 2,
            _ => return,
        };
    if packet.len() < at + 2 {
        return;
    }
    packet[at..at + 2].fill(0);
    let mut sum = Sum::new();
    if proto != 1 {
        let both = &packet[addresses];
        let (src, dst) = both.split_at(both.len() / 2);
        let len = packet.len() - start;
        sum.add_pseudo_header(src, dst, proto, len);
    }
    sum.add(&packet[start..]);
    let sum = sum.checksum();
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn under_ipv4(tcp: &[u8]) -> Vec<u8> {
    let tcp = &tcp[..tcp.len().min(60_000)];
    let mut packet = vec![
        0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,
    ];
    packet[2..4].copy_from_slice(&((20 + tcp.len()) as u16).to_be_bytes());
    packet.extend_from_slice(tcp);
    mend_checksums(&mut packet);
    packet
}

fn under_ipv6(tcp: &[u8]) -> Vec<u8> {
    let tcp = &tcp[..tcp.len().min(60_000)];
    let mut packet = vec![0; 40];
    (packet[0], packet[6], packet[7]) = (0x60, 6, 64);
    packet[4..6].copy_from_slice(&(tcp.len() as u16).to_be_bytes());
    (packet[8], packet[23], packet[24], packet[39]) = (0xfd, 2, 0xfd, 1);
    packet.extend_from_slice(tcp);
    mend_checksums(&mut packet);
    packet
}
