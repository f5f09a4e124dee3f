//! A script from beginning to end.

use crate::calls::Program;
use crate::check::{self, Rigour, icmp_numbers, pattern, show_packet};
use crate::codec::{self, IpHeader, Segment};
use crate::flow::{Flow, Flows};
use crate::model::{
    Action, Body, Call, Ecn, Event, Icmp, Ip, Micros, Options, Packet, Position, Script, Tcp,
    TcpOption, Time,
};
use crate::names::{BBR, MEMORY, Told};
use crate::request::{Reply, Request};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host under test. Times are microseconds since [`Target::start`].
pub trait Target {
    /// The script begins: its time is 0 now.
    fn start(&mut self);
    /// The time.
    fn now(&mut self) -> Micros;
    /// Let time pass.
    fn wait_until(&mut self, at: Micros);
    /// A packet comes to the host.
    fn inject(&mut self, packet: &[u8]) -> Result<(), String>;
    /// The next packet that left the host, and when; waits for it until `until`.
    fn sniff(&mut self, until: Micros) -> Option<(Micros, Vec<u8>)>;
    /// The program makes a call. One that `blocks` (by the script) is waited for by
    /// [`Target::finish`].
    fn call(&mut self, request: Request, blocks: bool) -> Result<Option<Reply>, String>;
    /// When and how the call that blocks came to its end; waits for it until `until`.
    fn finish(&mut self, until: Micros) -> Option<(Micros, Reply)>;
    /// Change a setting.
    fn sysctl(&mut self, name: &str, value: &str) -> Result<(), String>;
    /// How far from the script's times things may happen: at least, and in percent of the time
    /// that passed since the event before.
    fn tolerance(&self) -> (Micros, i64);
    /// How much later, in milliseconds, a timestamp may be than one that the script has the same:
    /// on a clock that goes on while packets are made.
    fn stamps_off(&self) -> u32;
    /// How long to wait for a packet that is late, to tell when it came.
    fn patience(&self) -> Micros;
}

/// The host's addresses and the remote ones.
pub const LOCAL4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// What every unknown IPv4 packet comes from.
pub const REMOTE4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// As [`LOCAL4`].
pub const LOCAL6: Ipv6Addr = Ipv6Addr::new(0xfd75, 0x7463, 0x7000, 0, 0, 0, 0, 2);
/// As [`REMOTE4`].
pub const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// What is wrong, and where in the script.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The event.
    pub position: Position,
    /// What happened instead.
    pub message: String,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.position, self.message)
    }
}

type Step<T> = Result<T, String>;

/// A call that has begun and blocks.
struct Under<'a> {
    position: Position,
    call: &'a Call,
    request: Request,
    end: Micros,
}

pub(crate) struct Runner<'a, T: Target> {
    pub(crate) target: &'a mut T,
    pub(crate) flows: Flows,
    pub(crate) program: Program,
    v6: bool,
    content: bool,
    /// The base of relative times.
    pub(crate) last: Micros,
    /// Packets that were injected in fragments.
    fragmented: u16,
    under_way: Option<Under<'a>>,
}

/// Run `script` on `target`.
pub fn run<T: Target>(script: &Script, target: &mut T) -> Result<(), Failure> {
    let mut runner = Runner::new(script, target);
    let begins = script.begins();
    for (i, event) in script.events.iter().enumerate() {
        if i == begins {
            runner.target.start();
        }
        runner.event(event).map_err(|message| Failure {
            position: event.position,
            message,
        })?;
    }
    let end = script.events.last().map(|e| e.position).unwrap_or_default();
    runner.end(end)
}

impl<'a, T: Target> Runner<'a, T> {
    pub(crate) fn new(script: &Script, target: &'a mut T) -> Runner<'a, T> {
        let mut v6 = false;
        let mut domain = libc::AF_INET;
        for (name, value) in &script.options {
            match (name.as_str(), value.as_deref()) {
                ("ip_version", Some("ipv6")) => (v6, domain) = (true, libc::AF_INET6),
                ("ip_version", Some("ipv4-mapped-ipv6")) => domain = libc::AF_INET6,
                _ => {}
            }
        }
        let addresses = if v6 {
            (IpAddr::V6(LOCAL6), IpAddr::V6(REMOTE6))
        } else {
            (IpAddr::V4(LOCAL4), IpAddr::V4(REMOTE4))
        };
        Runner {
            target,
            flows: Flows::default(),
            program: Program::new(addresses.0, addresses.1, domain),
            v6,
            content: true,
            fragmented: 0,
            last: 0,
            under_way: None,
        }
    }

    /// From when to when an event is to happen.
    pub(crate) fn between(&mut self, time: Time) -> (Micros, Micros) {
        match time {
            Time::Absolute(t) => (t, t),
            Time::AbsoluteRange(a, b) => (a, b),
            Time::Relative(t) => (self.last + t, self.last + t),
            Time::RelativeRange(a, b) => (self.last + a, self.last + b),
            Time::Any => (self.target.now(), Micros::MAX),
        }
    }

    fn event(&mut self, event: &'a Event) -> Step<()> {
        let (from, to) = self.between(event.time);
        if let Action::Outbound(packet) = &event.action {
            return self.outbound(packet, from, to);
        }
        if event.time != Time::Any {
            self.target.wait_until(from);
        }
        self.last = match event.time {
            Time::Any => self.target.now(),
            _ => from,
        };
        match &event.action {
            Action::Inbound(packet) => self.inbound(packet),
            Action::Outbound(_) => Ok(()),
            Action::Call(call) => self.call(event, call),
            Action::Command(text) => self.command(text),
            Action::Code(text, _) => self.code(text),
        }
    }

    fn outbound(&mut self, want: &Packet, from: Micros, to: Micros) -> Step<()> {
        let late = to.saturating_add(self.target.patience()).min(1 << 50);
        let Some((at, packet)) = self.target.sniff(late) else {
            return Err("no packet left".to_owned());
        };
        let rigour = Rigour {
            content: self.content && self.program.plain,
            stamps: self.target.stamps_off(),
        };
        let base = self.last;
        self.last = at;
        check::check(want, &packet, &mut self.flows, rigour).map_err(|why| {
            let shown = show_packet(&packet, &self.flows);
            format!("another packet left at {}: {why}\n    {shown}", seconds(at))
        })?;
        self.check_time(base, from, to, at)
    }

    fn check_time(&self, base: Micros, from: Micros, to: Micros, at: Micros) -> Step<()> {
        let (least, percent) = self.target.tolerance();
        let slack = least.max((from - base).max(0) * percent / 100);
        if at >= from - slack && at <= to.saturating_add(slack) {
            return Ok(());
        }
        let expected = if from == to {
            seconds(from)
        } else {
            format!("{} to {}", seconds(from), seconds(to))
        };
        Err(format!(
            "it happened at {} instead of {expected}",
            seconds(at)
        ))
    }

    pub(crate) fn inbound(&mut self, packet: &Packet) -> Step<()> {
        let bytes = match &packet.body {
            Body::Tcp(tcp) => self.segment(&packet.ip, tcp)?,
            Body::Icmp(icmp) => self.icmp(&packet.ip, icmp)?,
            Body::Udp { ports, len } => {
                let ip = self.header(&packet.ip, codec::UDP);
                codec::udp_packet(&ip, ports.unwrap_or((40_000, crate::flow::PORT)), *len)
            }
        };
        let Some(size) = packet.ip.fragments else {
            return self.target.inject(&bytes);
        };
        self.fragmented = self.fragmented.wrapping_add(1);
        let pieces = codec::fragments(&bytes, size.into(), self.fragmented);
        pieces.iter().rev().try_for_each(|p| self.target.inject(p))
    }

    fn header(&self, ip: &Ip, protocol: u8) -> IpHeader {
        let ecn = match ip.ecn {
            None | Some(Ecn::NotEct) => 0,
            Some(Ecn::Ect0 | Ecn::Ect01) => 2,
            Some(Ecn::Ect1) => 1,
            Some(Ecn::Ce) => 3,
        };
        IpHeader {
            src: self.program.remote,
            dst: self.program.local,
            tos: ip.tos.unwrap_or(ecn),
            ttl: ip.ttl.unwrap_or(255),
            flow_label: ip.flow_label.unwrap_or(0),
            df: true,
            protocol,
        }
    }

    fn segment(&mut self, ip: &Ip, tcp: &Tcp) -> Step<Vec<u8>> {
        let header = self.header(ip, codec::TCP);
        let flow = self.flows.inbound(tcp.ports);
        let syn = tcp.flags & 2 != 0;
        if syn {
            flow.irs = Some(tcp.seq);
            flow.opening |= tcp.flags & 0x10 == 0;
        }
        let options = match &tcp.options {
            Options::These(options) => options.as_slice(),
            Options::Any => &[],
        };
        let options: Vec<TcpOption> = options.iter().map(|o| real_option(o, flow)).collect();
        let first = tcp.seq.wrapping_add(u32::from(syn));
        let start = first.wrapping_sub(flow.irs.unwrap_or(0)).wrapping_sub(1);
        let at = |i: u32| pattern(start.wrapping_add(i));
        let segment = Segment {
            src_port: flow.remote,
            dst_port: flow.local,
            seq: tcp.seq,
            ack: tcp.ack.map_or(0, |a| flow.real(a)),
            flags: tcp.flags,
            window: tcp.win.unwrap_or(0),
            urgent: tcp.urg.unwrap_or(0),
            options: codec::emit_options(&options),
            payload: (0..u32::from(tcp.len)).map(at).collect(),
        };
        if tcp.flags & 0x20 != 0 {
            self.program.plain = false;
        }
        if segment.options.len() > 40 {
            return Err("its options are longer than 40 bytes".to_owned());
        }
        Ok(codec::tcp_packet(&header, &segment))
    }

    fn icmp(&mut self, ip: &Ip, icmp: &Icmp) -> Step<Vec<u8>> {
        let protocol = if self.v6 { codec::ICMPV6 } else { codec::ICMP };
        let header = self.header(ip, protocol);
        let (kind, code) = icmp_numbers(&icmp.kind, icmp.code.as_deref(), self.v6)?;
        let quoted_header = IpHeader {
            src: header.dst,
            dst: header.src,
            tos: 0,
            ttl: 64,
            flow_label: 0,
            df: true,
            protocol: codec::TCP,
        };
        let flow = self.flows.inbound(None);
        let quoted = icmp.quoted.map(|(seq, len)| {
            let segment = Segment {
                src_port: flow.local,
                dst_port: flow.remote,
                seq: flow.real(seq),
                ack: 0,
                flags: 0x10,
                window: 0,
                urgent: 0,
                options: Vec::new(),
                payload: Vec::new(),
            };
            codec::quoted_segment(&quoted_header, &segment, len)
        });
        let rest = match icmp.id {
            Some(id) => u32::from(id) << 16,
            None => icmp.mtu.unwrap_or(0),
        };
        let quoted = quoted.unwrap_or_default();
        Ok(codec::icmp_packet(&header, kind, code, rest, &quoted))
    }

    fn call(&mut self, event: &'a Event, call: &'a Call) -> Step<()> {
        self.finish_call().map_err(|f| f.to_string())?;
        let request = self.program.request(call)?;
        let blocks = call.until.is_some();
        let reply = self.target.call(request.clone(), blocks)?;
        let begun = reply.as_ref().is_none_or(|r| {
            r.errno == libc::EINPROGRESS || r.errno == libc::ECONNREFUSED || blocks
        });
        if begun && matches!(&request, Request::Connect { .. }) {
            self.flows.program_connects();
        }
        match (reply, call.until) {
            (Some(reply), None) => self
                .program
                .check(call, &request, &reply)
                .map_err(|why| format!("{}: {why}", call.name)),
            (None, None) => Err(format!("{} blocks", call.name)),
            (_, Some(until)) => {
                // Counted as the event's own time.
                let end = match event.time {
                    Time::Relative(t) | Time::RelativeRange(t, _) => self.last - t + until,
                    _ => until,
                };
                self.under_way = Some(Under {
                    position: event.position,
                    call,
                    request,
                    end,
                });
                Ok(())
            }
        }
    }

    /// Wait for the end of the call that blocks, if there is one.
    fn finish_call(&mut self) -> Result<(), Failure> {
        let Some(under) = self.under_way.take() else {
            return Ok(());
        };
        let fail = |message: String| Failure {
            position: under.position,
            message: format!("{}: {message}", under.call.name),
        };
        let late = under.end.saturating_add(self.target.patience());
        let Some((at, reply)) = self.target.finish(late) else {
            return Err(fail("it goes on blocking".to_owned()));
        };
        self.program
            .check(under.call, &under.request, &reply)
            .map_err(fail)?;
        self.check_time(0, under.end, under.end, at).map_err(fail)
    }

    pub(crate) fn command(&mut self, text: &str) -> Step<()> {
        for line in text.split(['\n', ';']) {
            let mut words = line.split_whitespace().peekable();
            match words.next() {
                None | Some("true") => continue,
                Some("sysctl") => {}
                // What others use to set the kernel to what it is here anyway.
                Some(w) if w.ends_with("defaults.sh") => continue,
                Some(_) => return Err(format!("`{}` is not run here", line.trim())),
            }
            let rest = line.trim().trim_start_matches("sysctl").trim();
            let rest = rest.trim_start_matches("-q").trim();
            let rest = rest.trim_start_matches("-w").trim();
            for setting in split_settings(rest) {
                let Some((name, value)) = setting.split_once('=') else {
                    return Err(format!("`{setting}` sets nothing"));
                };
                let value = value.trim_matches(['"', '\'']);
                self.target.sysctl(name.trim(), value)?;
            }
        }
        Ok(())
    }

    fn code(&mut self, text: &str) -> Step<()> {
        let told = self.told(text)?;
        crate::code::run(text, &told)
    }

    /// What the kernel tells of the last socket, as far as `text` asks for it.
    pub(crate) fn told(&mut self, text: &str) -> Step<Told> {
        let fd = self.program.last.ok_or("there is no socket to look at")?;
        let mut read = |level, name, room| {
            let request = Request::GetOpt {
                fd,
                level,
                name,
                room,
            };
            match self.target.call(request, false)? {
                Some(Reply { errno: 0, data, .. }) => Ok(data),
                _ => Err(format!("option {name} of {level} can't be had")),
            }
        };
        let mut told = Told {
            info: read(libc::SOL_TCP, libc::TCP_INFO, 256)?,
            ..Told::default()
        };
        if text.contains(BBR) {
            told.congestion = read(libc::SOL_TCP, libc::TCP_CC_INFO, 20)?;
        }
        if text.contains(MEMORY) {
            told.memory = read(libc::SOL_SOCKET, libc::SO_MEMINFO, 36)?;
        }
        Ok(told)
    }

    /// After the last event: nothing may be left over.
    fn end(&mut self, position: Position) -> Result<(), Failure> {
        self.finish_call()?;
        let now = self.target.now();
        match self.target.sniff(now) {
            Some((at, packet)) if at <= now => Err(Failure {
                position,
                message: format!(
                    "at the end one more packet had left at {}:\n    {}",
                    seconds(at),
                    show_packet(&packet, &self.flows)
                ),
            }),
            _ => Ok(()),
        }
    }
}

/// `a=1 b="2 3"` taken apart.
fn split_settings(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), _) if c == q => quote = None,
            (None, c) if c.is_whitespace() => out.push(String::new()),
            (_, c) => {
                if let Some(last) = out.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    out.retain(|s| !s.is_empty());
    out
}

/// An inbound option with the host's real numbers.
fn real_option(o: &TcpOption, flow: &Flow) -> TcpOption {
    match o {
        TcpOption::Sack(blocks) => {
            let real = blocks.iter().map(|(a, b)| (flow.real(*a), flow.real(*b)));
            TcpOption::Sack(real.collect())
        }
        TcpOption::Timestamp { val, ecr } => TcpOption::Timestamp {
            val: *val,
            ecr: flow.echo(*ecr),
        },
        other => other.clone(),
    }
}

pub(crate) fn seconds(t: Micros) -> String {
    format!("{:.6}", t as f64 / 1e6)
}
