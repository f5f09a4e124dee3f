//! `utcp ss`: the stack's sockets.

use crate::cli;
use crate::paint::{Line, PLAIN, printable};
use crate::procs::{self, Holder};
use crate::stacks;
use crate::trouble::Result;
use serde::Serialize;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use utcp_stack::addr::Endpoint;
use utcp_stack::stack::{Family, Row};
use utcp_stack::tcp::{State, TimerName};

/// Show them.
pub fn run(args: &cli::Ss) -> Result<ExitCode> {
    let config = stacks::config(args.stack.name.as_deref())?;
    let Some(stack) = stacks::running(&config)? else {
        return Ok(not_running(&config.stack, args.json));
    };
    // The table is large, and while we hold the lock we must not allocate: room first.
    let mut rows = Vec::new();
    loop {
        let room = rows.capacity();
        let mut all = 0;
        rows.clear();
        crate::ring::session(&stack.runtime)?.table(|row| {
            all += 1;
            if rows.len() < room {
                rows.push(row);
            }
        });
        if all <= room {
            break;
        }
        rows.reserve(all + 64);
    }
    let mut holders = if args.processes || args.json {
        procs::socket_holders()
    } else {
        HashMap::new()
    };
    rows.retain(|row| wanted(args, row));
    rows.sort_by_key(|r| {
        let v6 = r.family == Family::V6;
        (v6, r.state != State::Listen, r.local.port, r.remote.port)
    });
    let sockets = rows.iter().map(|row| Socket::new(row, &mut holders, args));
    let sockets: Vec<Socket> = sockets.collect();
    if args.json {
        let text = serde_json::to_string_pretty(&sockets).unwrap_or_default();
        anstream::println!("{text}");
    } else {
        for line in table(&sockets, args) {
            anstream::println!("{}", line.render());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// That is no error: there are no sockets then.
pub fn not_running(name: &str, json: bool) -> ExitCode {
    let others = stacks::list();
    let hint = if others.is_empty() {
        "; `utcp run PROGRAM` starts it".to_owned()
    } else {
        format!("; running: {}", others.join(", "))
    };
    anstream::eprintln!("utcp: no stack {name:?} is running here{hint}");
    if json {
        anstream::println!("[]");
    }
    ExitCode::SUCCESS
}

fn wanted(args: &cli::Ss, row: &Row) -> bool {
    let listens = row.state == State::Listen;
    // As ss: without -a or -l, what has a peer.
    let state = match (args.all, args.listening) {
        (true, _) => true,
        (false, true) => listens,
        (false, false) => !listens,
    };
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => row.family == Family::V4,
        (_, true) => row.family == Family::V6,
        _ => true,
    };
    state && family
}

/// A line of the table.
#[derive(Serialize)]
struct Socket {
    state: &'static str,
    recv_q: u32,
    send_q: u32,
    local: Side,
    peer: Side,
    processes: Vec<Process>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timer: Option<Timer>,
    inode: u64,
    uid: u32,
    v6only: bool,
    orphan: bool,
}

#[derive(Serialize)]
struct Side {
    address: IpAddr,
    port: u16,
    #[serde(skip)]
    shown: (String, String),
}

#[derive(Serialize)]
struct Process {
    name: String,
    pid: u32,
    fd: i32,
}

#[derive(Serialize)]
struct Timer {
    name: &'static str,
    milliseconds: u32,
    retransmissions: u8,
}

impl Socket {
    fn new(row: &Row, holders: &mut HashMap<u64, Vec<Holder>>, args: &cli::Ss) -> Socket {
        let found = match row.owner.inode {
            0 => Vec::new(),
            inode => holders.remove(&inode).unwrap_or_default(),
        };
        let process = |h: Holder| Process {
            name: h.name,
            pid: h.pid,
            fd: h.fd,
        };
        let (timer, milliseconds, retransmissions) = row.info.timer;
        Socket {
            state: state_name(row.state),
            recv_q: row.recv_q,
            send_q: row.send_q,
            local: side(row.local, row, args),
            peer: side(row.remote, row, args),
            processes: found.into_iter().map(process).collect(),
            timer: timer_name(timer).map(|name| Timer {
                name,
                milliseconds,
                retransmissions,
            }),
            inode: row.owner.inode,
            uid: row.owner.uid,
            v6only: row.v6only,
            orphan: row.orphan,
        }
    }
}

/// The states' names in ss.
fn state_name(state: State) -> &'static str {
    match state {
        State::Closed => "UNCONN",
        State::Listen => "LISTEN",
        State::SynSent => "SYN-SENT",
        State::SynReceived => "SYN-RECV",
        State::Established => "ESTAB",
        State::FinWait1 => "FIN-WAIT-1",
        State::FinWait2 => "FIN-WAIT-2",
        State::CloseWait => "CLOSE-WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST-ACK",
        State::TimeWait => "TIME-WAIT",
    }
}

fn timer_name(timer: TimerName) -> Option<&'static str> {
    match timer {
        TimerName::Off => None,
        TimerName::On => Some("on"),
        TimerName::Keepalive => Some("keepalive"),
        TimerName::TimeWait => Some("timewait"),
        TimerName::Persist => Some("persist"),
    }
}

fn side(at: Endpoint, row: &Row, args: &cli::Ss) -> Side {
    let v6 = row.family == Family::V6;
    let address = if at.addr.is_any() {
        if v6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        }
    } else {
        at.addr.ip()
    };
    let shown = match address {
        // ss shows a socket that serves both families as a star.
        IpAddr::V6(a) if a.is_unspecified() && !row.v6only => "*".to_owned(),
        IpAddr::V6(a) => format!("[{a}]"),
        IpAddr::V4(a) if v6 => format!("[::ffff:{a}]"),
        IpAddr::V4(a) => a.to_string(),
    };
    let port = match at.port {
        0 => "*".to_owned(),
        port if args.numeric => port.to_string(),
        port => service(port).unwrap_or_else(|| port.to_string()),
    };
    Side {
        address,
        port: at.port,
        shown: (shown, port),
    }
}

/// The name of a port in /etc/services.
fn service(port: u16) -> Option<String> {
    use std::sync::OnceLock;
    static NAMES: OnceLock<HashMap<u16, String>> = OnceLock::new();
    let names = NAMES
        .get_or_init(|| services(&std::fs::read_to_string("/etc/services").unwrap_or_default()));
    names.get(&port).cloned()
}

fn services(file: &str) -> HashMap<u16, String> {
    let mut names = HashMap::new();
    for line in file.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        if let (Some(name), Some(port)) = (words.next(), words.next())
            && let Some(port) = port.strip_suffix("/tcp").and_then(|p| p.parse().ok())
        {
            names.entry(port).or_insert_with(|| printable(name));
        }
    }
    names
}

/// `timer:(keepalive,1min59sec,0)`.
fn timer_text(timer: &Timer) -> String {
    let time = duration_text(timer.milliseconds);
    format!("timer:({},{time},{})", timer.name, timer.retransmissions)
}

/// Time as ss writes it.
fn duration_text(ms: u32) -> String {
    let (minutes, seconds, rest) = (ms / 60_000, ms / 1000 % 60, ms % 1000);
    match (minutes, seconds, rest) {
        (0, 0, 0) => String::new(),
        (0, 0, rest) => format!("{rest:03}ms"),
        (0, 1..=9, rest) if rest > 0 => format!("{seconds}.{rest:03}ms"),
        (0, seconds, _) => format!("{seconds}sec"),
        (minutes, 0, _) => format!("{minutes}min"),
        (minutes, seconds, _) if minutes <= 9 => format!("{minutes}min{seconds}sec"),
        (minutes, _, _) => format!("{minutes}min"),
    }
}

/// `users:(("nc",pid=812,fd=3))`.
fn users_text(processes: &[Process]) -> String {
    if processes.is_empty() {
        return String::new();
    }
    let one = |p: &Process| {
        let name = printable(&p.name);
        format!("(\"{name}\",pid={},fd={})", p.pid, p.fd)
    };
    let all: Vec<String> = processes.iter().map(one).collect();
    format!("users:({})", all.join(","))
}

fn table(sockets: &[Socket], args: &cli::Ss) -> Vec<Line> {
    let longest = |f: &dyn Fn(&Socket) -> usize, least: usize| {
        sockets.iter().map(f).max().unwrap_or(0).max(least)
    };
    let local = longest(&|s| s.local.shown.0.len(), "Local Address".len());
    let local_port = longest(&|s| s.local.shown.1.len(), "Port".len());
    let peer = longest(&|s| s.peer.shown.0.len(), "Peer Address".len());
    let peer_port = longest(&|s| s.peer.shown.1.len(), "Port".len());
    let row = |state: &str, r: &str, s: &str, l: (&str, &str), p: (&str, &str), rest: &str| {
        let text = format!(
            "{state:<10} {r:<6} {s:<6} {:>local$}:{:<local_port$} {:>peer$}:{:<peer_port$} {rest}",
            l.0, l.1, p.0, p.1
        );
        Line::new(text, PLAIN)
    };
    let mut lines = Vec::new();
    if !args.no_header {
        lines.push(row(
            "State",
            "Recv-Q",
            "Send-Q",
            ("Local Address", "Port"),
            ("Peer Address", "Port"),
            if args.processes { "Process" } else { "" },
        ));
    }
    for s in sockets {
        let mut rest = Vec::new();
        if args.processes {
            rest.push(users_text(&s.processes));
        }
        if args.options {
            rest.extend(s.timer.as_ref().map(timer_text));
        }
        rest.retain(|r| !r.is_empty());
        let (l, p) = (&s.local.shown, &s.peer.shown);
        lines.push(row(
            s.state,
            &s.recv_q.to_string(),
            &s.send_q.to_string(),
            (&l.0, &l.1),
            (&p.0, &p.1),
            &rest.join(" "),
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_in_ss() {
        let text = duration_text;
        assert_eq!(text(119_500), "1min59sec");
        assert_eq!(text(7_200_000), "120min");
        assert_eq!(text(60_000), "1min");
        assert_eq!(text(42_100), "42sec");
        assert_eq!(text(1_234), "1.234ms");
        assert_eq!(text(200), "200ms");
        assert_eq!(text(7), "007ms");
    }

    #[test]
    fn services_by_port() {
        let names = services("# comment\nhttp 80/tcp www # WWW\nhttp 80/udp\nssh\t22/tcp\n");
        assert_eq!(names.get(&80).map(String::as_str), Some("http"));
        assert_eq!(names.get(&22).map(String::as_str), Some("ssh"));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn users() {
        let p = |name: &str, pid, fd| Process {
            name: name.to_owned(),
            pid,
            fd,
        };
        let text = users_text(&[p("nc", 812, 3), p("sh\u{1b}", 813, 0)]);
        assert_eq!(
            text,
            "users:((\"nc\",pid=812,fd=3),(\"sh\u{fffd}\",pid=813,fd=0))"
        );
        assert_eq!(users_text(&[]), "");
    }
}
