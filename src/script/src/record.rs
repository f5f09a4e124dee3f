//! A script of what happens: the packets that the stack sends to a script of calls and packets
//! that come, and what the calls give.
//!
//! What comes out can be run on the kernel. Times are absolute; timestamps of the host count the
//! milliseconds from its first, which is 100. `%{ tell tcpi_snd_cwnd ... }%` becomes assertions.
//! Results of 0 are placeholders, which become what the calls give.

use crate::calls::events;
use crate::codec::{self, ACK, FIN, Parsed, SYN, Segment};
use crate::model::{Action, Event, Expr, ExprKind, Micros, Script, TcpOption};
use crate::request::Reply;
use crate::run::{Failure, Runner, Target, seconds};
use crate::{check, names};
use std::collections::HashMap;

/// The first timestamp of a connection.
const FIRST_STAMP: u32 = 100;

/// What happens on `target` if the program and the remote side do what `script` says, as a
/// script. `text` is its text: one event a line. Without `windows` nothing is said of those that
/// the host tells.
pub fn record<T: Target>(
    script: &Script,
    text: &str,
    target: &mut T,
    windows: bool,
) -> Result<String, Failure> {
    let mut recorder = Recorder {
        runner: Runner::new(script, target),
        stamps: HashMap::new(),
        windows,
        left: 0,
        out: String::new(),
    };
    for (name, value) in &script.options {
        let value = value.iter().map(|v| format!("={v}")).collect::<String>();
        recorder.out += &format!("--{name}{value}\n");
    }
    let lines: Vec<&str> = text.lines().collect();
    let begins = script.begins();
    for (i, event) in script.events.iter().enumerate() {
        if i == begins {
            recorder.runner.target.start();
        }
        let line = usize::try_from(event.position.line).unwrap_or(1);
        let line = lines.get(line - 1).copied().unwrap_or_default();
        recorder.event(event, line).map_err(|message| Failure {
            position: event.position,
            message,
        })?;
    }
    Ok(recorder.out)
}

struct Recorder<'a, T: Target> {
    runner: Runner<'a, T>,
    /// The first real timestamp of each connection.
    stamps: HashMap<(u16, u16), u32>,
    windows: bool,
    /// When the last packet left that asks for an ACK: that sets timers.
    left: Micros,
    out: String,
}

impl<T: Target> Recorder<'_, T> {
    fn event(&mut self, event: &Event, line: &str) -> Result<(), String> {
        let (at, _) = self.runner.between(event.time);
        self.packets(at)?;
        self.runner.target.wait_until(at);
        self.runner.last = at;
        // What follows the time.
        let line = line.trim_start_matches(|c: char| !c.is_whitespace()).trim();
        match &event.action {
            Action::Inbound(packet) => {
                self.runner.inbound(packet)?;
                self.say(at, line);
            }
            Action::Outbound(_) => {}
            Action::Call(call) => {
                let mut call = call.clone();
                let request = self.runner.program.request(&call)?;
                let reply = self.runner.target.call(request.clone(), false)?;
                let reply = reply.ok_or(format!("{} blocks", call.name))?;
                let head = line.rfind('=').map_or(line, |i| &line[..i]).trim_end();
                if reply.value < 0 {
                    let name = names::errno_name(reply.errno);
                    self.say(at, &format!("{head} = -1 {name} (...)"));
                    return Ok(());
                }
                if let Some(told) = answered(&call.name, &reply) {
                    let head = head.replacen(told.0, &told.1, 1);
                    self.say(at, &format!("{head} = {}", reply.value));
                    return Ok(());
                }
                if matches!(call.result.kind, ExprKind::Int(0)) && reply.value > 0 {
                    call.result = Expr {
                        kind: ExprKind::Int(reply.value),
                        ..call.result
                    };
                    self.say(at, &format!("{head} = {}", reply.value));
                } else {
                    self.say(at, line);
                }
                call.errno = None;
                self.runner.program.check(&call, &request, &reply)?;
            }
            Action::Command(text) => {
                self.runner.command(text)?;
                self.out += &format!("`{text}`\n");
            }
            Action::Code(text, _) => self.code(at, text)?,
        }
        Ok(())
    }

    fn say(&mut self, at: Micros, what: &str) {
        self.out += &format!("{} {what}\n", seconds(at));
    }

    /// What leaves until then.
    fn packets(&mut self, until: Micros) -> Result<(), String> {
        while let Some((at, packet)) = self.runner.target.sniff(until) {
            let mut waits = false;
            let said = match codec::parse(&packet)? {
                Parsed::Tcp(ip, s) => {
                    waits = s.flags & (SYN | FIN) != 0 || !s.payload.is_empty();
                    let ecn = ["", "[ect1] ", "[ect0] ", "[ce] "][usize::from(ip.tos & 3)];
                    format!("> {ecn}{}", self.segment(s)?)
                }
                Parsed::Icmp(_, kind, code) => format!("> icmp type_{kind} code_{code}"),
                _ => return Err("a packet of another protocol".to_owned()),
            };
            // By a timer: Linux's are late by an eighth at most.
            let set = self.left;
            if waits {
                self.left = at;
            }
            if at - self.runner.last > 1000 {
                let since = at - set;
                let latest = seconds(at + since / 8 + 10_000);
                self.out += &format!("{}~{latest} {said}\n", seconds(at));
            } else {
                self.say(at, &said);
            }
        }
        Ok(())
    }

    /// A segment in the script's numbers.
    fn segment(&mut self, mut s: Segment) -> Result<String, String> {
        let ports = (s.src_port, s.dst_port);
        let opens = s.flags & SYN != 0 && s.flags & ACK == 0;
        let flows = &mut self.runner.flows;
        // Without ports, as it will be expected.
        let mine = flows.outbound(None, ports, opens).is_ok();
        let flow = flows.outbound((!mine).then_some(ports), ports, opens)?;
        if s.flags & SYN != 0 && (flow.offset.is_none() || flow.opening) {
            flow.offset = Some(s.seq);
            flow.opening = false;
        }
        let mut options = codec::parse_options(&s.options).unwrap_or_default();
        for o in &mut options {
            if let TcpOption::Timestamp { val, .. } = o {
                let first = *self.stamps.entry(ports).or_insert(*val);
                let name = val.wrapping_sub(first).wrapping_add(FIRST_STAMP);
                flow.stamp(name, *val);
                *val = name;
            }
        }
        s.options = codec::emit_options(&options);
        let mut shown = check::show(&s, Some(flow));
        let window = format!(" win {}", s.window);
        if !self.windows {
            shown = shown.replacen(&window, "", 1);
        }
        let named = format!("{} > {} ", ports.0, ports.1);
        Ok(if mine { shown } else { named + &shown })
    }

    fn code(&mut self, at: Micros, text: &str) -> Result<(), String> {
        let told = self.runner.told(text)?;
        let mut assertions = Vec::new();
        for name in text.split_whitespace().filter(|n| *n != "tell") {
            let value = names::told(&told, name).ok_or(format!("{name} is no field"))?;
            assertions.push(format!("assert {name} == {value}, {name}"));
        }
        self.say(at, &format!("%{{ {} }}%", assertions.join("; ")));
        Ok(())
    }
}

/// The placeholder in a call that only asks, and what it gave.
fn answered(name: &str, reply: &Reply) -> Option<(&'static str, String)> {
    match name {
        "poll" => {
            let (bits, _) = reply.ready.first()?;
            Some(("revents=0", format!("revents={}", events(*bits))))
        }
        "ioctl" | "getsockopt" => {
            let number = i32::from_ne_bytes(reply.data.get(..4)?.try_into().ok()?);
            Some(("[0]", format!("[{number}]")))
        }
        _ => None,
    }
}
