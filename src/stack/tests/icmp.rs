//! ICMP that this host sends: to what, of which size, how much.

use super::packets::{icmp, ipv4 as packet4};
use super::rules::*;
use super::*;
use crate::stack::IpSettings;
use crate::wire::{self, fragment};

const FROM: [u8; 4] = [10, 0, 0, 9];
const OWN: [u8; 4] = [10, 0, 0, 1];

fn packet6(next: u8, body: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    p[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
    p.extend(PEER6.octets());
    p.extend(OWN6.octets());
    p.extend(body);
    p
}

// RFC 1122 S3.2.2.1-1, S3.2.2.5-1
#[test]
fn an_unknown_protocol_is_told_of() {
    let mut host = host();
    let told = answers(&mut host, packet4(FROM, OWN, 132, 64, &[1; 20]));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0][9], &told[0][20..22]), (1, &[3, 2][..]));
    assert_eq!(told[0][28 + 9], 132);
    // IGMP is not for a host's programs.
    assert!(answers(&mut host, packet4(FROM, OWN, 2, 64, &[1; 20])).is_empty());
    // ICMPv6 points at where the packet says what follows.
    let told = answers(&mut host, packet6(132, &[1; 20]));
    assert_eq!((told[0][6], &told[0][40..42]), (58, &[4, 1][..]));
    assert_eq!(told[0][44..48], 6u32.to_be_bytes());
    let options = [&[132, 0, 1, 4, 0, 0, 0, 0][..], &[1; 20]].concat();
    let told = answers(&mut host, packet6(60, &options));
    assert_eq!(told[0][44..48], 40u32.to_be_bytes());
    // "No next header" is none.
    assert!(answers(&mut host, packet6(59, &[1; 8])).is_empty());
}

/// An echo request with `n` bytes, whole.
fn ask(v6: bool, n: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..n).map(|i| (i * 7 / 3) as u8).collect();
    if !v6 {
        let message = icmp([&[8, 0, 0, 0, 1, 2, 3, 4][..], &data].concat());
        return packet4(FROM, OWN, 1, 64, &message);
    }
    let mut m = [&[128, 0, 0, 0, 1, 2, 3, 4][..], &data].concat();
    let mut sum = wire::Sum::new();
    sum.add_pseudo_header(&PEER6.octets(), &OWN6.octets(), 58, m.len());
    sum.add(&m);
    m[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    packet6(58, &m)
}

/// The packets in pieces of 1500 bytes, if they are larger.
fn pieces(whole: &[u8], id: u32) -> Vec<Vec<u8>> {
    let content = whole.len() - if whole[0] == 0x60 { 40 } else { 20 };
    if whole.len() <= 1500 {
        return vec![whole.to_vec()];
    }
    let (mut sent, mut all) = (0, Vec::new());
    let mut out = [0; 1500];
    while sent < content {
        let (n, done) = fragment::cut(whole, sent, 1500, id, &mut out).unwrap();
        all.push(out[..n].to_vec());
        sent += done;
    }
    all
}

// RFC 1122 S3.2.2.6-3
#[test]
fn echo_of_any_size() {
    for v6 in [false, true] {
        let mut host = host();
        for n in [0, 56, 1452, 1473, 2100, 30_000, 65_507 - 28] {
            let whole = ask(v6, n);
            host.wire.inward.extend(pieces(&whole, n as u32));
            host.with(|h| h.receive(1000));
            let told: Vec<Vec<u8>> = host.wire.out.drain(..).collect();
            assert!(told.iter().all(|p| p.len() <= 1500), "{v6} {n}");
            let header = if v6 { 40 } else { 20 };
            let content: Vec<u8> = if told.len() == 1 {
                told[0][header..].to_vec()
            } else {
                let parts = told.iter().map(|p| fragment::parse(p).unwrap());
                parts.flat_map(|f| f.data.to_vec()).collect()
            };
            assert_eq!(content.len(), whole.len() - header, "{v6} {n}");
            assert_eq!(content[0], if v6 { 129 } else { 0 });
            assert_eq!(content[4..], whole[header + 4..]);
            let mut sum = wire::Sum::new();
            if v6 {
                sum.add_pseudo_header(&OWN6.octets(), &PEER6.octets(), 58, content.len());
            }
            sum.add(&content);
            assert_eq!(sum.fold(), 0xffff, "{v6} {n}");
            // A reply may be cut on its way.
            assert!(v6 || told.iter().all(|p| p[6] & 0x40 == 0));
        }
        assert_eq!(host.arena.lock().buffers.in_use(), (0, 0));
    }
}

#[test]
fn echo_can_be_ignored() {
    let mut host = host();
    let silent = IpSettings {
        icmp_echo_ignore_all: 1,
        ..IpSettings::default()
    };
    host.with(|h| h.set_ip_settings(&silent));
    assert!(answers(&mut host, ask(false, 5)).is_empty());
    assert_eq!(answers(&mut host, ask(true, 5)).len(), 1);
}

fn told_of(host: &mut TestHost, from: [u8; 4]) -> usize {
    answers(host, packet4(from, OWN, 17, 64, &UDP)).len()
}

// As Linux does it (RFC 1812 asks routers for a limit).
#[test]
fn errors_are_limited_and_echo_is_not() {
    let mut host = host();
    // Six at once to one host, then one a second (icmp_ratelimit).
    let n: usize = (0..20).map(|_| told_of(&mut host, FROM)).sum();
    assert_eq!(n, 6);
    host.now = host.now + Duration::from_millis(1000);
    let n: usize = (0..5).map(|_| told_of(&mut host, FROM)).sum();
    assert_eq!(n, 1);
    assert_eq!(answers(&mut host, ask(false, 5)).len(), 1);
    // Fifty at once to all (icmp_msgs_burst), though each is a stranger.
    let mut host = super::rules::host();
    let n: usize = (10..200).map(|i| told_of(&mut host, [10, 0, 0, i])).sum();
    assert_eq!(n, 50);
    // No limit to one host, or for no type.
    for settings in [
        IpSettings {
            icmp_ratelimit: 0,
            ..IpSettings::default()
        },
        IpSettings {
            icmp_ratemask: 0,
            ..IpSettings::default()
        },
    ] {
        let mut host = super::rules::host();
        host.with(|h| h.set_ip_settings(&settings));
        let n: usize = (0..40).map(|_| told_of(&mut host, FROM)).sum();
        assert_eq!(n, 40);
    }
}
