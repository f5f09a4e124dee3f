//! Whether a packet is the one that was expected, and packets in the script's terms.

use crate::codec::{self, ACK, Parsed, SYN, Segment};
use crate::flow::{Flow, Flows};
use crate::model::{Body, Ecn, Ip, Options, Packet, Tcp, TcpOption};
use crate::parse_packet::flag_letters;

/// The bytes that a stream carries, by position.
pub fn pattern(position: u32) -> u8 {
    (position.wrapping_mul(31) ^ (position >> 8)) as u8
}

/// `flags seq:end(len) ack win <options>` in the script's numbers, of an outbound segment.
pub fn show(s: &Segment, flow: Option<&Flow>) -> String {
    let script = |n: u32| flow.map_or(n, |f| f.script(n));
    let (seq, len) = (script(s.seq), s.payload.len() as u32);
    let mut out = format!(
        "{} {seq}:{}({len})",
        flag_letters(s.flags),
        seq.wrapping_add(len)
    );
    if s.flags & ACK != 0 {
        out += &format!(" ack {}", s.ack);
    }
    out += &format!(" win {}", s.window);
    if s.urgent != 0 {
        out += &format!(" urg {}", s.urgent);
    }
    match codec::parse_options(&s.options) {
        Some(options) if options.is_empty() => {}
        Some(options) => out += &format!(" <{}>", codec::show_options(&options)),
        None => out += " <broken options>",
    }
    out
}

/// The same of any packet.
pub fn show_packet(packet: &[u8], flows: &Flows) -> String {
    match codec::parse(packet) {
        Ok(Parsed::Tcp(_, s)) => {
            let ports = (s.src_port, s.dst_port);
            let flow = flows.get(ports);
            format!("{} > {} {}", ports.0, ports.1, show(&s, flow))
        }
        Ok(Parsed::Icmp(_, kind, code)) => format!("icmp type {kind} code {code}"),
        Ok(Parsed::Udp(_, _, len)) => format!("udp ({len})"),
        Ok(Parsed::Other(ip)) => format!("IP protocol {}", ip.protocol),
        Err(e) => e.to_owned(),
    }
}

fn check_ip(want: &Ip, ip: &codec::IpHeader) -> Result<(), String> {
    let ecn = ip.tos & 3;
    let right = match want.ecn {
        None => true,
        Some(Ecn::NotEct) => ecn == 0,
        Some(Ecn::Ect0) => ecn == 2,
        Some(Ecn::Ect1) => ecn == 1,
        Some(Ecn::Ect01) => ecn == 1 || ecn == 2,
        Some(Ecn::Ce) => ecn == 3,
    };
    if !right {
        return Err(format!("its ECN bits are {ecn:02b}"));
    }
    if want.tos.is_some_and(|t| t != ip.tos) {
        return Err(format!("its TOS is {:#x}", ip.tos));
    }
    if want.ttl.is_some_and(|t| t != ip.ttl) {
        return Err(format!("its TTL is {}", ip.ttl));
    }
    if want.flow_label.is_some_and(|f| f != ip.flow_label) {
        return Err(format!("its flow label is {:#x}", ip.flow_label));
    }
    Ok(())
}

/// What is compared beside headers.
#[derive(Clone, Copy, Debug)]
pub struct Rigour {
    /// The payload.
    pub content: bool,
    /// By how much a timestamp may differ from the one that its name stands for, in milliseconds.
    pub stamps: u32,
}

/// Compare what left the host with what was to leave; says the difference.
pub fn check(
    want: &Packet,
    packet: &[u8],
    flows: &mut Flows,
    rigour: Rigour,
) -> Result<(), String> {
    let real = codec::parse(packet).map_err(str::to_owned)?;
    match (&want.body, &real) {
        (Body::Tcp(tcp), Parsed::Tcp(ip, s)) => {
            let opens = tcp.flags & SYN != 0 && tcp.ack.is_none();
            let flow = flows.outbound(tcp.ports, (s.src_port, s.dst_port), opens)?;
            check_tcp(tcp, s, flow, rigour)?;
            check_ip(&want.ip, ip)
        }
        (Body::Icmp(icmp), Parsed::Icmp(ip, kind, code)) => {
            let (k, c) = icmp_numbers(&icmp.kind, icmp.code.as_deref(), ip.src.is_ipv6())?;
            if (k, c) != (*kind, *code) {
                return Err(format!("its type is {kind}, its code {code}"));
            }
            check_ip(&want.ip, ip)
        }
        (Body::Udp { len, .. }, Parsed::Udp(ip, _, n)) if len == n => check_ip(&want.ip, ip),
        _ => Err("it is something else".to_owned()),
    }
}

fn check_tcp(want: &Tcp, s: &Segment, flow: &mut Flow, rigour: Rigour) -> Result<(), String> {
    if want.flags != s.flags {
        return Err(format!("its flags are {}", flag_letters(s.flags)));
    }
    if s.flags & SYN != 0 && (flow.offset.is_none() || flow.opening) {
        flow.offset = Some(s.seq.wrapping_sub(want.seq));
        flow.opening = false;
    }
    if flow.script(s.seq) != want.seq {
        return Err(format!("it begins at {}", flow.script(s.seq)));
    }
    if s.payload.len() != usize::from(want.len) {
        return Err(format!("its length is {}", s.payload.len()));
    }
    if want.ack.is_some_and(|a| a != s.ack) {
        return Err(format!("it acknowledges {}", s.ack));
    }
    if want.win.is_some_and(|w| w != s.window) {
        return Err(format!("its window is {}", s.window));
    }
    if want.urg.unwrap_or(0) != s.urgent {
        return Err(format!("its urgent pointer is {}", s.urgent));
    }
    if let Options::These(options) = &want.options {
        check_options(options, s, flow, rigour.stamps)?;
    } else if let Some(real) = codec::parse_options(&s.options) {
        // `<...>`: nothing is told of them.
        drop(real);
    }
    let first = want.seq.wrapping_sub(1 - u32::from(s.flags & SYN != 0));
    let wrong = (0u32..)
        .zip(&s.payload)
        .find(|(i, b)| pattern(first.wrapping_add(*i)) != **b);
    match wrong {
        Some((i, _)) if rigour.content => Err(format!("its payload is wrong at byte {i}")),
        _ => Ok(()),
    }
}

fn check_options(want: &[TcpOption], s: &Segment, flow: &mut Flow, off: u32) -> Result<(), String> {
    let Some(real) = codec::parse_options(&s.options) else {
        return Err("its options make no sense".to_owned());
    };
    let differ = || format!("its options are <{}>", codec::show_options(&real));
    if want.len() != real.len() {
        return Err(differ());
    }
    for (w, r) in want.iter().zip(&real) {
        match (w, r) {
            (
                TcpOption::Timestamp { val, ecr },
                TcpOption::Timestamp {
                    val: real_val,
                    ecr: real_ecr,
                },
            ) => {
                if ecr != real_ecr {
                    return Err(differ());
                }
                if flow.stamp(*val, *real_val) > off {
                    return Err(format!(
                        "its timestamp {real_val} is not the one that {val} stood for before"
                    ));
                }
            }
            (w, r) if w == r => {}
            _ => return Err(differ()),
        }
    }
    Ok(())
}

/// Type and code of an ICMP message by their names.
pub fn icmp_numbers(kind: &str, code: Option<&str>, v6: bool) -> Result<(u8, u8), String> {
    const V4: [(&str, u8); 7] = [
        ("echo_reply", 0),
        ("unreachable", 3),
        ("source_quench", 4),
        ("redirect", 5),
        ("echo_request", 8),
        ("time_exceeded", 11),
        ("parameter_problem", 12),
    ];
    const V6: [(&str, u8); 6] = [
        ("unreachable", 1),
        ("packet_too_big", 2),
        ("time_exceeded", 3),
        ("parameter_problem", 4),
        ("echo_request", 128),
        ("echo_reply", 129),
    ];
    const CODES4: [(&str, u8); 16] = [
        ("net_unreachable", 0),
        ("host_unreachable", 1),
        ("protocol_unreachable", 2),
        ("port_unreachable", 3),
        ("frag_needed", 4),
        ("source_route_failed", 5),
        ("net_unknown", 6),
        ("host_unknown", 7),
        ("source_host_isolated", 8),
        ("net_prohibited", 9),
        ("host_prohibited", 10),
        ("net_unreachable_for_tos", 11),
        ("host_unreachable_for_tos", 12),
        ("packet_filtered", 13),
        ("precedence_violation", 14),
        ("precedence_cutoff", 15),
    ];
    const CODES6: [(&str, u8); 11] = [
        ("net_unreachable", 0),
        ("no_route", 0),
        ("admin_prohibited", 1),
        ("not_neighbour", 2),
        ("address_unreachable", 3),
        ("port_unreachable", 4),
        ("exceeded_hop_limit", 0),
        ("exceeded_frag_time", 1),
        ("header_field", 0),
        ("unknown_next_header", 1),
        ("unknown_option", 2),
    ];
    let look = |table: &[(&str, u8)], name: &str, prefix: &str| {
        let by_number = name.strip_prefix(prefix).and_then(|n| n.parse().ok());
        by_number.or_else(|| table.iter().find(|(n, _)| *n == name).map(|(_, v)| *v))
    };
    let (kinds, codes): (&[_], &[_]) = if v6 { (&V6, &CODES6) } else { (&V4, &CODES4) };
    let k = look(kinds, kind, "type_").ok_or(format!("no ICMP message is called {kind}"))?;
    let c = match code {
        None => 0,
        Some(c) => look(codes, c, "code_").ok_or(format!("{kind} has no code {c}"))?,
    };
    Ok((k, c))
}
