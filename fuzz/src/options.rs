//! TCP options, IPv4 options and IPv6 extension headers: read as another implementation
//! (etherparse) reads them.

use crate::input::Input;
use crate::rig::{fill_in, v4, v6};
use etherparse::{LaxSlicedPacket, TcpOptionElement, TcpOptionsIterator, TransportSlice};
use utcp_stack::tcp::{Options, SeqNum};
use utcp_stack::wire::{self, IpOptions, Mark, Packet, Sum};

const SYN: u8 = 2;
const ACK: u8 = 16;

/// The first byte says what the rest is.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    match kind & 3 {
        0 | 1 => tcp_options(input.0, if kind & 4 == 0 { SYN } else { ACK }),
        2 => ipv4_options(input.0),
        _ => ipv6_extensions(&mut input),
    }
}

/// A TCP segment with `options`, filled up to a multiple of four.
fn segment(options: &[u8], flags: u8) -> Vec<u8> {
    let mut tcp = vec![
        0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0, flags, 16, 0, 0, 0, 0, 0,
    ];
    tcp.extend(&options[..options.len().min(40)]);
    tcp.resize(tcp.len().next_multiple_of(4), 0);
    tcp[12] = (tcp.len() as u8 / 4) << 4;
    tcp.extend(b"payload");
    tcp
}

/// The packet that `header` begins, with TCP's checksum right.
fn with_checksum(header: &[u8], addresses: usize, tcp: &[u8]) -> Vec<u8> {
    let mut packet = [header, tcp].concat();
    let mut sum = Sum::new();
    let (src, dst) = header[if addresses == 4 { 12..20 } else { 8..40 }].split_at(addresses);
    sum.add_pseudo_header(src, dst, 6, tcp.len());
    sum.add(tcp);
    let at = header.len() + 16;
    packet[at..at + 2].copy_from_slice(&sum.checksum().to_be_bytes());
    packet
}

fn ipv4(options: &[u8], tcp: &[u8]) -> Vec<u8> {
    let mut header = vec![0, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0];
    header.extend(v4(2).octets().into_iter().chain(v4(1).octets()));
    header.extend(options);
    header.resize(header.len().next_multiple_of(4), 0);
    header[0] = 0x40 | (header.len() as u8 / 4);
    let total = (header.len() + tcp.len()) as u16;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    fill_in(&mut header, 10);
    with_checksum(&header, 4, tcp)
}

fn tcp_options(bytes: &[u8], flags: u8) {
    let bytes = &bytes[..bytes.len().min(40)];
    let tcp = segment(bytes, flags);
    let packet = ipv4(&[], &tcp);
    let Ok(Packet::Tcp {
        segment, payload, ..
    }) = wire::parse(&packet, false)
    else {
        panic!("no segment, for options {bytes:?}");
    };
    assert_eq!(&packet[payload..], b"payload");
    let Some(theirs) = read(bytes, flags == SYN) else {
        return;
    };
    assert_eq!(segment.options, theirs, "options {bytes:?}");
}

/// The options as etherparse finds them; none where it meets one that it calls wrong, which
/// Linux, and this stack, pass over.
fn read(bytes: &[u8], syn: bool) -> Option<Options> {
    let mut options = Options::default();
    for element in TcpOptionsIterator::from_slice(bytes) {
        match element.ok()? {
            TcpOptionElement::MaximumSegmentSize(0) => {}
            TcpOptionElement::MaximumSegmentSize(mss) if syn => options.mss = Some(mss),
            TcpOptionElement::WindowScale(shift) if syn => options.wscale = Some(shift.min(14)),
            TcpOptionElement::SelectiveAcknowledgementPermitted if syn => {
                options.sack_permitted = true;
            }
            TcpOptionElement::Timestamp(value, echo) => options.timestamps = Some((value, echo)),
            TcpOptionElement::SelectiveAcknowledgement(first, others) => {
                options.sack_len = 0;
                for (left, right) in std::iter::once(first).chain(others.into_iter().flatten()) {
                    options.sack[usize::from(options.sack_len)] = (SeqNum(left), SeqNum(right));
                    options.sack_len += 1;
                }
            }
            _ => {}
        }
    }
    Some(options)
}

/// Where etherparse finds TCP's payload in `packet`, if it finds TCP.
fn their_payload(packet: &[u8]) -> Option<usize> {
    let sliced = LaxSlicedPacket::from_ip(packet).ok()?;
    match sliced.transport? {
        TransportSlice::Tcp(tcp) => {
            let payload = tcp.payload();
            Some(payload.as_ptr() as usize - packet.as_ptr() as usize)
        }
        _ => None,
    }
}

/// Whether the chain of an IPv6 packet's headers has one of a fragment whose reserved bits are set.
fn has_reserved_bits(packet: &[u8]) -> bool {
    if packet.first().is_none_or(|b| b >> 4 != 6) {
        return false;
    }
    let (mut kind, mut at) = (packet[6], 40);
    while let Some(header) = packet.get(at..at + 8) {
        let len = match kind {
            44 if header[3] & 6 != 0 => return true,
            44 => 8,
            51 => 4 * (usize::from(header[1]) + 2),
            0 | 43 | 60 | 135 => 8 * (usize::from(header[1]) + 1),
            _ => return false,
        };
        (kind, at) = (header[0], at + len);
    }
    false
}

fn compare(packet: &[u8]) {
    if let Ok(Packet::Tcp {
        segment, payload, ..
    }) = wire::parse(packet, false)
    {
        assert_eq!(segment.len as usize, packet.len() - payload);
        // Where etherparse takes the header of an IPv6 fragment for that of a true one, though
        // only its reserved bits are set (RFC 8200, section 4.5), it looks no further.
        let theirs = their_payload(packet);
        assert!(
            theirs == Some(payload) || theirs.is_none() && has_reserved_bits(packet),
            "{payload} {theirs:?} {packet:?}"
        );
    }
}

fn ipv4_options(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(40)];
    let packet = ipv4(bytes, &segment(&[], ACK));
    compare(&packet);
    if let Ok(list) = IpOptions::given(bytes, true) {
        pass_on(list, false);
    }
    // TCP's checksum may be of another address, where there is a source route.
    if let Ok(Packet::Tcp { ip_options, .. }) = wire::parse(&packet, true) {
        pass_on(IpOptions::received(ip_options), true);
    }
}

/// What hosts on the way do with a list that is in order leaves it in order, but for a count of hosts
/// that found no room, which may be full then.
fn pass_on(mut list: IpOptions, received: bool) {
    let mark = Mark {
        address: v4(1),
        time: 7,
        elsewhere: &|a| a != v4(1),
        received,
    };
    if !received {
        list.towards(v4(2));
    }
    let sound = stay_in_order(list.as_bytes());
    list.record(&mark);
    let packet = ipv4(list.as_bytes(), &segment(&[], ACK));
    assert!(
        received || !sound || wire::parse(&packet, true).is_ok(),
        "{list:?} is sent"
    );
    if let Some(mut answer) = list.echo(v4(2)) {
        if let Ok(same) = IpOptions::given(answer.as_bytes(), true) {
            assert_eq!(same, answer, "the answer to {list:?}");
        }
        answer.towards(v4(2));
        answer.record(&mark);
    }
}

/// Whether the options of an IPv4 header stay in order while hosts fill them in. Linux sends others
/// as well: those with room for a part of an entry, which nobody understands once only that is
/// left, and those that can't count one more host that found no room.
pub fn stay_in_order(mut list: &[u8]) -> bool {
    while let [kind, rest @ ..] = list {
        let room = |len: &u8, pointer: &u8| usize::from(*len) + 1 - usize::from(*pointer.min(len));
        let sound = match (kind, rest) {
            (0, _) => break,
            (7 | 131 | 137, [len, pointer, ..]) => pointer > len || room(len, pointer) % 4 == 0,
            (68, [_, _, flags, ..]) if flags >> 4 == 15 => false,
            (68, [len, pointer, flags, ..]) => {
                let unit = if flags & 15 == 0 { 4 } else { 8 };
                pointer > len || room(len, pointer) % unit == 0
            }
            _ => true,
        };
        if !sound {
            return false;
        }
        let len = if *kind == 1 {
            1
        } else {
            rest.first().copied().unwrap_or(1)
        };
        list = list.get(usize::from(len.max(1))..).unwrap_or(&[]);
    }
    true
}

/// A chain of extension headers, each of any kind and length, then TCP.
fn ipv6_extensions(input: &mut Input<'_>) {
    let tcp = segment(&[], ACK);
    let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
    while !input.is_over() && chain.len() < 8 {
        let kind = input.one_of(&[0, 43, 60, 44, 51, 59, 135, 6]);
        let words = input.below(4);
        let mut body = vec![0, words as u8];
        body.extend(input.bytes(6 + 8 * words));
        body.resize(8 + 8 * words, 0);
        // Now and then the length lies.
        if input.byte() > 250 {
            body[1] = input.byte();
        }
        chain.push((kind, body));
    }
    let mut header = vec![0x60, 0, 0, 0, 0, 0, 6, 64];
    header.extend(v6(2).octets().into_iter().chain(v6(1).octets()));
    let mut next_at = 6;
    for (kind, body) in &chain {
        header[next_at] = *kind;
        next_at = header.len();
        header.extend(body);
    }
    header[next_at] = 6;
    let after = (header.len() - 40 + tcp.len()) as u16;
    header[4..6].copy_from_slice(&after.to_be_bytes());
    compare(&with_checksum(&header, 16, &tcp));
}
