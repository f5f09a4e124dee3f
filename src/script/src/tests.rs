//! Tests of what no script shows: texts that aren't scripts, packets that aren't packets.

use crate::codec::{self, Parsed};
use crate::model::{Action, Body, Options, TcpOption, Time};
use crate::names::Told;
use crate::{code, machine, parse::parse, run_on_ours};

fn fails_at(text: &str, line: u32, column: u32) -> String {
    let e = parse(text).expect_err("an error");
    assert_eq!((e.position.line, e.position.column), (line, column), "{e}");
    e.message
}

#[test]
fn a_script_is_read() {
    let s = parse(
        "--ip_version=ipv4 // options\n`sysctl -q a=1`\n0.1 < S 0:0(0) win 10 <mss 1000,nop,sackOK>\n\
         +.5 > [ect0] S. 0:0(0) ack 1 <...>\n+0...0.25 accept(3, ..., ...) = 4\n\
         1~2 read(4, \"a\\n\", 1|2) = -1 EAGAIN (Try again)\n* %{ assert 1 }%",
    )
    .expect("a script");
    assert_eq!(s.options.len(), 1);
    assert_eq!(s.events.len(), 6);
    assert_eq!(s.events[1].time, Time::Absolute(100_000));
    assert_eq!(s.events[2].time, Time::Relative(500_000));
    assert_eq!(s.events[4].time, Time::AbsoluteRange(1_000_000, 2_000_000));
    assert_eq!(s.events[5].time, Time::Any);
    let Action::Inbound(p) = &s.events[1].action else {
        panic!("{:?}", s.events[1]);
    };
    let Body::Tcp(tcp) = &p.body else {
        panic!("{p:?}");
    };
    let options = vec![TcpOption::Mss(1000), TcpOption::Nop, TcpOption::SackOk];
    assert_eq!((tcp.flags, tcp.win), (2, Some(10)));
    assert_eq!(tcp.options, Options::These(options));
    let Action::Call(call) = &s.events[3].action else {
        panic!("{:?}", s.events[3]);
    };
    assert_eq!(call.until, Some(250_000));
}

#[test]
fn errors_say_where() {
    assert!(fails_at("0 < S 0:5(0)", 1, 12).contains("are not 0 bytes"));
    assert!(fails_at("0 < S 0:0(0)\n+0 > Q 0:0(0)", 2, 6).contains("`Q` is no flag"));
    assert!(fails_at("0 read(3, ..., 1 = 0", 1, 18).contains("`,`"));
    assert!(fails_at("0 read(3", 1, 9).contains("the end"));
    assert!(fails_at("\n  \"abc", 2, 4).contains("no end"));
    assert!(fails_at("0 < . 99999999999:1(0)", 1, 7).contains("out of range"));
    assert!(fails_at("99999999999999999999 close(3) = 0", 1, 1).contains("too large"));
    let deep = format!("0 a({}1", "[".repeat(5000));
    assert!(
        parse(&deep)
            .expect_err("an error")
            .message
            .contains("deeply")
    );
}

/// Scripts with a part changed, moved or cut; none makes the parser panic.
#[test]
fn no_text_makes_the_parser_panic() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance");
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the scripts") {
        texts.push(std::fs::read_to_string(entry.expect("a script").path()).expect("text"));
    }
    texts.sort();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % n.max(1)
    };
    let odd: Vec<char> = "<>[]{}()\"`%|.:,~+-*=0é\n\\/#9".chars().collect();
    for round in 0..20_000 {
        let mut chars: Vec<char> = texts[round % texts.len()].chars().collect();
        for _ in 0..1 + random(6) {
            let at = random(chars.len());
            match random(4) {
                0 => chars.truncate(at),
                1 => chars[at] = odd[random(odd.len())],
                2 => {
                    let end = (at + random(20)).min(chars.len());
                    let part: Vec<char> = chars.drain(at..end).collect();
                    let to = random(chars.len() + 1).min(chars.len());
                    chars.splice(to..to, part);
                }
                _ => chars.insert(at, odd[random(odd.len())]),
            }
            if chars.is_empty() {
                break;
            }
        }
        let text: String = chars.into_iter().collect();
        let _ = parse(&text);
    }
}

#[test]
fn code_is_evaluated() {
    let told = Told {
        info: vec![0; 256],
        congestion: [1u32, 2, 3, 4, 5].map(u32::to_ne_bytes).concat(),
        memory: [0u32, 1, 2, 3].map(u32::to_ne_bytes).concat(),
    };
    let good = [
        "assert 1 + 2 * 3 == 7 and not 0",
        "assert 1 < 2 <= 2 != 3, 'text; # all the same'",
        "assert (tcpi_options & TCPI_OPT_SACK) == 0 or False\nassert -3 // 2 == -1 # truncated",
        "assert bbr_bw == 0x200000001 and bbr_cwnd_gain == 5 and SK_MEMINFO_SNDBUF == 3",
        "print(tcpi_rtt); assert 0x10 | 1 == 17 % 20",
    ];
    for text in good {
        assert_eq!(code::run(text, &told), Ok(()), "{text}");
    }
    let e = code::run("assert tcpi_rtt > 5", &told).expect_err("false");
    assert!(e.contains("tcpi_rtt is 0"), "{e}");
    for text in [
        "assert 1 /",
        "assert (1",
        "assert x",
        "assert SK_MEMINFO_DROPS == 0",
        "assert 1 // 0",
        "import os",
        "assert 1 1",
    ] {
        assert!(code::run(text, &told).is_err(), "{text}");
    }
    let _ = code::run(&format!("assert {}1", "(".repeat(10_000)), &told);
}

#[test]
fn packets_keep_what_they_say() {
    let options = vec![
        TcpOption::Mss(1460),
        TcpOption::SackOk,
        TcpOption::Timestamp { val: 7, ecr: 9 },
        TcpOption::Nop,
        TcpOption::Wscale(3),
    ];
    let bytes = codec::emit_options(&options);
    assert_eq!(codec::parse_options(&bytes), Some(options));
    for cut in 0..60 {
        let packet = vec![0x45u8; cut];
        assert!(codec::parse(&packet).is_err());
        let packet = vec![0x60u8; cut];
        let _ = codec::parse(&packet);
        let _ = codec::parse_options(&packet);
    }
    let ip = codec::IpHeader {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        tos: 2,
        ttl: 9,
        flow_label: 0,
        df: true,
        protocol: codec::TCP,
    };
    let segment = codec::Segment {
        src_port: 1,
        dst_port: 2,
        seq: 3,
        ack: 4,
        flags: 0x18,
        window: 5,
        urgent: 6,
        options: vec![],
        payload: vec![1, 2, 3],
    };
    let whole = codec::tcp_packet(&ip, &segment);
    let pieces = codec::fragments(&whole, 8, 7);
    assert_eq!(pieces.len(), 3);
    assert_eq!(pieces[2][20..], whole[36..]);
    assert_eq!(pieces[0][4..8], [0, 7, 0x20, 0]);
    assert_eq!(pieces[2][4..8], [0, 7, 0, 2]);
    let mut packet = codec::tcp_packet(&ip, &segment);
    assert_eq!(codec::parse(&packet), Ok(Parsed::Tcp(ip, segment)));
    packet[42] ^= 1;
    assert!(codec::parse(&packet).is_err());
}

#[test]
fn a_wrong_script_fails_where_it_is_wrong() {
    let start = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n0 bind(3, ..., ...) = 0\n\
                 0 listen(3, 1) = 0\n+0 < S 0:0(0) win 1000\n";
    let cases = [
        (
            "+0 > S. 0:0(0) ack 2 win 64240 <mss 1460>",
            "it acknowledges 1",
        ),
        (
            "+0 > S. 0:0(0) ack 1 win 1 <mss 1460>",
            "its window is 64240",
        ),
        (
            "+0 > S. 0:0(0) ack 1 win 64240",
            "its options are <mss 1460>",
        ),
        ("+0 > . 0:0(0) ack 1", "its flags are S."),
        ("+0.1 > S. 0:0(0) ack 1 <...>", "instead of 0.100000"),
        ("+0.1 accept(3, ..., ...) = 4", "accept blocks"),
        (
            "+0 listen(3, 1) = -1 EINVAL (no)",
            "instead of failing with EINVAL",
        ),
        ("+0 read(7, ..., 1) = 1", "EBADF"),
        ("+0 %{ assert tcpi_state == 1 }%", "tcpi_state is 10"),
        ("+0 `reboot`", "is not run here"),
    ];
    for (line, why) in cases {
        let e = run_on_ours(&format!("{start}{line}\n")).expect_err(line);
        assert!(e.starts_with("5:1: ") && e.contains(why), "{line}: {e}");
    }
    let e = run_on_ours(start).expect_err("a packet is left over");
    assert!(e.contains("one more packet"), "{e}");
}

/// The shim reads the same settings from /proc/sys as scripts may set here.
#[test]
fn settings_are_the_same_everywhere() {
    let shim = include_str!("../../shim/sysctl.rs");
    let mut read: Vec<String> = shim
        .split("c\"/proc/sys/")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0.replace('/', ".")))
        .filter(|name| name.len() > "net.".len())
        // Asked by a call, and no part of the settings.
        .filter(|name| name != "net.ipv4.tcp_allowed_congestion_control")
        .collect();
    let mut known: Vec<String> = machine::sysctl::NAMES
        .iter()
        .map(|n| (*n).to_owned())
        .collect();
    read.sort();
    known.sort();
    assert_eq!(read, known);
    for name in known {
        let value = match name.as_str() {
            "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => "4096 8192 16384",
            "net.ipv4.ip_local_port_range" => "1024 2048",
            "net.ipv4.tcp_congestion_control" => "reno",
            _ => "1",
        };
        let mut sysctl = utcp_stack::tcp::Sysctl::default();
        let set = machine::sysctl::set(&mut sysctl, &name, value);
        assert_eq!(set, Ok(()), "{name}");
    }
}

/// TCP_CC_INFO: `struct tcp_bbr_info`, and nothing of the others.
#[test]
fn bbr_alone_tells_of_itself() {
    let told = |congestion: &str| {
        run_on_ours(&format!(
            "`sysctl -q net.ipv4.tcp_congestion_control={congestion}`
0  socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 60000 <mss 1000>
+0 > S. 0:0(0) ack 1 <mss 1460>
+.05 < . 1:1(0) ack 1 win 60000
+0 accept(3, ..., ...) = 4
+0 getsockopt(4, SOL_TCP, TCP_CC_INFO, [0], [20]) = 0
"
        ))
    };
    assert_eq!(told("bbr"), Ok(()));
    assert!(told("reno").is_err());
}
