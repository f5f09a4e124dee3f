//! The ladder diagram: calls on the outer sides, states beside the lines, segments between
//! them. Time runs downwards.

use crate::model::{flags_text, state_text};
use crate::paint::{self, Line};
use crate::sides::{Act, Arrow, Side, Step};
use anstyle::Style;
use utcp_stack::tcp::{Flags, State};

/// Draws steps as lines.
pub struct Ladder {
    /// Columns for each side.
    outer: usize,
    /// Columns between the two vertical lines.
    inner: usize,
    /// Calls that have been drawn when they were entered: process and text.
    open: Vec<(u32, String)>,
    /// Say which connection a segment belongs to.
    pub number_connections: bool,
}

/// What is drawn on one line.
#[derive(Default)]
struct Row<'a> {
    left: Option<StateText>,
    right: Option<StateText>,
    arrow: Option<(Side, Option<u32>, &'a Arrow)>,
}

/// A new state, and how it is shown.
struct StateText {
    state: State,
    text: String,
}

impl Row<'_> {
    fn slot(&mut self, side: Side) -> &mut Option<StateText> {
        match side {
            Side::Client => &mut self.left,
            Side::Server => &mut self.right,
        }
    }
    fn is_empty(&self) -> bool {
        self.left.is_none() && self.right.is_none() && self.arrow.is_none()
    }
}

impl Ladder {
    /// A ladder on `columns` columns.
    pub fn new(columns: usize) -> Ladder {
        let inner = (columns * 2 / 5).clamp(34, 56);
        Ladder {
            outer: columns.saturating_sub(inner + 2) / 2,
            inner,
            open: Vec::new(),
            number_connections: false,
        }
    }

    /// The line above a ladder.
    pub fn heading(&self, client: &str, server: &str) -> Vec<Line> {
        let names = Line::new(client, paint::BOLD)
            .pad(self.outer + self.inner + 2)
            .join(Line::new(format!(" {server}"), paint::BOLD));
        vec![
            names,
            self.line(Line::default(), Line::default(), Line::default()),
        ]
    }

    /// The lines for these steps, which follow on those drawn before.
    pub fn draw(&mut self, steps: &[Step]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut row = Row::default();
        // Returns that were drawn with their calls.
        let mut done = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            match &step.act {
                Act::State { old, new } => {
                    // On the line of the segment that caused it, or that it causes.
                    let arrived = matches!(row.arrow, Some((sender, ..)) if sender != step.side);
                    let starts = row.arrow.is_none() && row.slot(step.side.other()).is_none();
                    let fits = if is_own_doing(*new) { starts } else { arrived };
                    if !fits || row.slot(step.side).is_some() {
                        self.flush(&mut row, &mut lines);
                    }
                    *row.slot(step.side) = Some(StateText {
                        state: *new,
                        text: self.state_text(step, *old, *new),
                    });
                }
                Act::Segment(arrow) => {
                    let slot = row.slot(step.side).as_ref();
                    let foreign = slot.is_some_and(|s| !is_own_doing(s.state));
                    let other = row.slot(step.side.other()).is_some();
                    if row.arrow.is_some() || other || foreign {
                        self.flush(&mut row, &mut lines);
                    }
                    row.arrow = Some((step.side, step.connection, arrow));
                }
                Act::Return { .. } if done.contains(&i) => {}
                _ => {
                    self.flush(&mut row, &mut lines);
                    match at_once(step, &steps[i + 1..]) {
                        Some(ahead) => {
                            done.push(i + 1 + ahead);
                            self.call(&steps[i + 1 + ahead], &mut lines);
                        }
                        None => self.call(step, &mut lines),
                    }
                }
            }
        }
        self.flush(&mut row, &mut lines);
        lines
    }

    fn state_text(&self, step: &Step, old: State, new: State) -> String {
        match step.connection {
            Some(c) if self.number_connections => format!("#{c} {}", state_text(new)),
            _ => transition_text(step, old, new),
        }
    }

    fn flush(&self, row: &mut Row<'_>, lines: &mut Vec<Line>) {
        let row = std::mem::take(row);
        if row.is_empty() {
            return;
        }
        let state = |s: Option<StateText>| match s {
            Some(s) => Line::new(s.text, paint::STATE),
            None => Line::default(),
        };
        let (left, right) = (state(row.left).pad_left(self.outer - 1), state(row.right));
        let Some((side, connection, arrow)) = row.arrow else {
            lines.push(self.line(left, Line::default(), right));
            return;
        };
        let connection = connection.filter(|_| self.number_connections);
        let (main, more) = self.arrow(side, connection, arrow);
        lines.push(self.line(left, main, right));
        for text in more {
            let middle = Line::new(format!("   {text}"), paint::DIM);
            lines.push(self.line(Line::default(), middle, Line::default()));
        }
    }

    /// The arrow itself, and lines below it for what did not fit.
    fn arrow(&self, side: Side, connection: Option<u32>, a: &Arrow) -> (Line, Vec<String>) {
        let style = arrow_style(a);
        let tag = connection.map_or_else(String::new, |c| format!("#{c} "));
        let short = format!(" {tag}{} ", segment_text(a, false));
        let long = format!(" {tag}{} ", segment_text(a, true));
        let room = self.inner.saturating_sub(5);
        let options = a.options.text();
        let (text, more) = if paint::width(&long) <= room {
            (long, Vec::new())
        } else {
            (
                short,
                paint::wrap(&format!("<{options}>").replace(',', ", "), room, " "),
            )
        };
        let more = if options.is_empty() { Vec::new() } else { more };
        let dashes = self.inner.saturating_sub(paint::width(&text) + 3);
        let line = match side {
            Side::Client => Line::new("──", paint::DIM)
                .then(text, style)
                .then(format!("{}▶", "─".repeat(dashes)), paint::DIM),
            Side::Server => Line::new("◀─", paint::DIM)
                .then(text, style)
                .then("─".repeat(dashes + 1), paint::DIM),
        };
        (line, more)
    }

    fn call(&mut self, step: &Step, lines: &mut Vec<Line>) {
        let (text, style) = match &step.act {
            Act::Enter { call } => {
                self.open.push((step.pid, name(call).to_owned()));
                (format!("{} …", without_pointers(call)), paint::DIM)
            }
            Act::Return { call, ret, errno } => {
                let same = |(pid, open): &(u32, String)| *pid == step.pid && open == name(call);
                let resumed = match self.open.iter().position(same) {
                    Some(at) => {
                        self.open.remove(at);
                        "… "
                    }
                    None => "",
                };
                match errno {
                    Some(errno) => (format!("{resumed}{call} = {ret} {errno}"), paint::BAD),
                    None => (format!("{resumed}{call} = {ret}"), paint::PLAIN),
                }
            }
            Act::Exit { status } => (format!("exit {status}"), paint::DIM),
            _ => return,
        };
        let text = paint::printable(&text);
        for part in paint::wrap(&text, self.outer - 2, "    ") {
            let part = Line::new(part, style);
            let (left, right) = match step.side {
                Side::Client => (part, Line::default()),
                Side::Server => (Line::default(), part),
            };
            lines.push(self.line(left, Line::default(), right));
        }
    }

    fn line(&self, left: Line, middle: Line, right: Line) -> Line {
        left.pad(self.outer)
            .then("│", paint::DIM)
            .join(middle.pad(self.inner))
            .then("│", paint::DIM)
            .then(" ", paint::PLAIN)
            .join(right)
    }
}

/// Where among `rest` the call that begins with `step` returns, if nothing but changes of its
/// own side's states come before: it takes one line then.
fn at_once(step: &Step, rest: &[Step]) -> Option<usize> {
    if !matches!(step.act, Act::Enter { .. }) {
        return None;
    }
    for (i, next) in rest.iter().enumerate() {
        match next.act {
            Act::Return { .. } if next.pid == step.pid => return Some(i),
            Act::State { .. } if next.side == step.side => {}
            _ => return None,
        }
    }
    None
}

/// States that a socket enters by sending a segment; the others come with a segment received.
fn is_own_doing(state: State) -> bool {
    matches!(state, State::SynSent | State::FinWait1 | State::LastAck)
}

/// A change of state as it is shown: the new one. That a listener ends is said as such, for
/// its connections go on beside it.
pub fn transition_text(step: &Step, old: State, new: State) -> String {
    if old == State::Listen && step.connection.is_none() {
        format!("{} → {}", state_text(old), state_text(new))
    } else {
        state_text(new).to_owned()
    }
}

/// A call that has not returned: what is to be filled in says nothing yet.
fn without_pointers(call: &str) -> String {
    let Some((name, args)) = call.split_once('(') else {
        return call.to_owned();
    };
    let mut kept: Vec<&str> = Vec::new();
    for arg in args.trim_end_matches(')').split(", ") {
        let arg = if arg.starts_with("0x") { "…" } else { arg };
        if arg != "…" || kept.last() != Some(&"…") {
            kept.push(arg);
        }
    }
    format!("{name}({})", kept.join(", "))
}

/// The function's name in a call.
fn name(call: &str) -> &str {
    call.split('(').next().unwrap_or(call)
}

fn arrow_style(a: &Arrow) -> Style {
    if a.flags.has(Flags::RST) {
        paint::BAD
    } else if a.flags.has(Flags::SYN) {
        paint::OPENING
    } else if a.flags.has(Flags::FIN) {
        paint::CLOSING
    } else if a.len > 0 {
        paint::DATA
    } else {
        paint::PLAIN
    }
}

/// A segment in tcpdump's words, its options perhaps left out.
pub fn segment_text(a: &Arrow, with_options: bool) -> String {
    let mut text = format!("[{}]", flags_text(a.flags));
    let takes_space = a.len > 0
        || [Flags::SYN, Flags::FIN, Flags::RST]
            .iter()
            .any(|f| a.flags.has(*f));
    if a.len > 0 {
        let end = a.seq.wrapping_add(a.len);
        text += &format!(" seq {}:{end}", a.seq);
    } else if takes_space {
        text += &format!(" seq {}", a.seq);
    }
    if let Some(ack) = a.ack {
        text += &format!(" ack {ack}");
    }
    text += &format!(" win {}", a.win);
    if let Some(urg) = a.urg {
        text += &format!(" urg {urg}");
    }
    let options = a.options.text();
    if with_options && !options.is_empty() {
        text += &format!(" <{options}>");
    }
    text += &format!(" len {}", a.len);
    if a.retransmit {
        text += " again";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Options;

    fn step(side: Side, act: Act) -> Step {
        Step {
            time: 0,
            pid: 1 + side as u32,
            side,
            connection: Some(1),
            act,
        }
    }
    fn state(side: Side, old: State, new: State) -> Step {
        step(side, Act::State { old, new })
    }
    fn segment(side: Side, flags: Flags, seq: u32, ack: Option<u32>, len: u32) -> Step {
        let mss = flags.has(Flags::SYN).then_some(65495);
        step(
            side,
            Act::Segment(Arrow {
                flags,
                seq,
                ack,
                win: 512,
                urg: None,
                options: Options {
                    mss,
                    ..Options::default()
                },
                len,
                retransmit: false,
            }),
        )
    }
    fn enter(side: Side, call: &str) -> Step {
        let call = call.to_owned();
        step(side, Act::Enter { call })
    }
    fn returned(side: Side, call: &str, ret: i64, errno: Option<&str>) -> Step {
        let (call, errno) = (call.to_owned(), errno.map(str::to_owned));
        step(side, Act::Return { call, ret, errno })
    }

    #[test]
    fn a_handshake() {
        use Side::{Client, Server};
        let steps = [
            enter(Server, "accept(3, 0x7ffe, 0x7fff)"),
            enter(Client, "connect(3, 127.0.0.1:9000)"),
            state(Client, State::Closed, State::SynSent),
            segment(Client, Flags::SYN, 0, None, 0),
            state(Server, State::Listen, State::SynReceived),
            segment(Server, Flags::SYN.with(Flags::ACK), 0, Some(1), 0),
            state(Client, State::SynSent, State::Established),
            segment(Client, Flags::ACK, 1, Some(1), 0),
            state(Server, State::SynReceived, State::Established),
            returned(Client, "connect(3, 127.0.0.1:9000)", 0, None),
            enter(Server, "listen(3, 5)"),
            returned(Server, "listen(3, 5)", -1, Some("EINVAL")),
            segment(Server, Flags::PSH.with(Flags::ACK), 1, Some(1), 13),
        ];
        let lines = Ladder::new(100).draw(&steps);
        let got: Vec<String> = lines.iter().map(Line::plain).collect();
        let first = format!("{0:29}│{0:40}│ accept(3, …) …\n", "");
        let want = "\
connect(3, 127.0.0.1:9000)   │                                        │
    …                        │                                        │
                    SYN_SENT │── [S] seq 0 win 512 len 0 ────────────▶│ SYN_RCVD
                             │   <mss 65495>                          │
                 ESTABLISHED │◀─ [S.] seq 0 ack 1 win 512 len 0 ──────│
                             │   <mss 65495>                          │
                             │── [.] ack 1 win 512 len 0 ────────────▶│ ESTABLISHED
… connect(3,                 │                                        │
    127.0.0.1:9000) = 0      │                                        │
                             │                                        │ listen(3, 5) = -1 EINVAL
                             │◀─ [P.] seq 1:14 ack 1 win 512 len 13 ──│";
        assert_eq!(got.join("\n"), first + want);
    }

    #[test]
    fn a_state_of_its_own_cause_stands_alone() {
        use Side::Client;
        let steps = [
            segment(Client, Flags::ACK, 1, Some(1), 0),
            state(Client, State::TimeWait, State::Closed),
            segment(Client, Flags::ACK, 1, Some(1), 0),
            state(Side::Server, State::CloseWait, State::LastAck),
            segment(Side::Server, Flags::FIN.with(Flags::ACK), 1, Some(1), 0),
        ];
        let lines = Ladder::new(100).draw(&steps);
        let got: Vec<String> = lines.iter().map(Line::plain).collect();
        assert_eq!(got.len(), 4, "{got:#?}");
        assert!(got[1].contains("CLOSED"));
        assert!(got[3].contains("[F.]") && got[3].ends_with("LAST_ACK"));
    }

    #[test]
    fn a_call_that_only_changes_a_state_takes_one_line() {
        let mut listen = state(Side::Server, State::Closed, State::Listen);
        listen.connection = None;
        let mut close = state(Side::Server, State::Listen, State::Closed);
        close.connection = None;
        let steps = [
            enter(Side::Server, "listen(3, 5)"),
            listen,
            returned(Side::Server, "listen(3, 5)", 0, None),
            enter(Side::Server, "close(3)"),
            close,
            returned(Side::Server, "close(3)", 0, None),
        ];
        let lines = Ladder::new(100).draw(&steps);
        let right: Vec<String> = lines
            .iter()
            .map(|l| l.plain().rsplit("│ ").next().unwrap_or("").to_owned())
            .collect();
        assert_eq!(
            right,
            [
                "listen(3, 5) = 0",
                "LISTEN",
                "close(3) = 0",
                "LISTEN → CLOSED"
            ]
        );
    }

    #[test]
    fn what_programs_say_cannot_move_the_cursor() {
        let steps = [returned(Side::Client, "write(1, \"\u{1b}[2J\")", 4, None)];
        let text = Ladder::new(120).draw(&steps)[0].plain();
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
