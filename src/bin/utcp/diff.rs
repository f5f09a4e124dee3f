//! Two runs beside each other: what must be the same, what may vary, what differs.
//!
//! Runs are compared side by side of the connection and direction by direction, never by the
//! order in which independent things happened: that varies from run to run on one system.
//! What a system picks afresh each time (port numbers of clients, timestamps, initial sequence
//! numbers) does not count.

use crate::ladder::{segment_text, transition_text};
use crate::model::{Options, flags_text};
use crate::sides::{Act, Arrow, Side, Step};
use serde::Serialize;
use std::net::IpAddr;
use utcp_stack::tcp::{Flags, State};

/// How much of a segment has to be the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// All of it: the runs had the same device.
    Segments,
    /// Flags, numbers and lengths: MTU, and with it options and windows, are others.
    Behaviour,
}

/// Something to be compared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Item {
    /// How it is shown.
    pub text: String,
    /// What has to be the same.
    #[serde(skip)]
    pub key: String,
    /// What may be different, and is pointed out.
    #[serde(skip)]
    pub loose: String,
    /// Whether it is there at all depends on timing.
    #[serde(skip)]
    pub optional: bool,
}

impl Item {
    /// An item that has to be the same as it is shown.
    pub fn exact(text: impl Into<String>) -> Item {
        let text = text.into();
        Item {
            key: text.clone(),
            text,
            loose: String::new(),
            optional: false,
        }
    }

    /// An item that has to be the same but for these names.
    pub fn shown(text: impl Into<String>, names: &Names) -> Item {
        let text = text.into();
        Item {
            key: names.hide(&text),
            ..Item::exact(text)
        }
    }
}

/// What two items, or one and none, are to each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The same.
    Same,
    /// Different in what may vary from run to run.
    Varies,
    /// Different.
    Differs,
}

/// A line of the comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Pair {
    /// In the first run.
    pub left: Option<Item>,
    /// In the second run.
    pub right: Option<Item>,
    /// What they are to each other.
    pub verdict: Verdict,
}

/// A list that both runs have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Section {
    /// What it lists.
    pub title: String,
    /// Line by line.
    pub pairs: Vec<Pair>,
}

impl Section {
    /// Compare two lists.
    pub fn new(title: impl Into<String>, left: &[Item], right: &[Item]) -> Section {
        Section {
            title: title.into(),
            pairs: align(left, right),
        }
    }

    /// How many lines have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        let same = |p: &&Pair| p.verdict == verdict;
        self.pairs.iter().filter(same).count()
    }
}

/// Numbers and addresses that two runs need not share.
#[derive(Clone, Default, Debug)]
pub struct Names {
    /// Ports that a system picked.
    pub ports: Vec<u16>,
    /// Addresses, with what to call them.
    pub addresses: Vec<(IpAddr, &'static str)>,
}

impl Names {
    /// `text` without them.
    fn hide(&self, text: &str) -> String {
        let mut out = String::new();
        // Numbers and dotted or coloned addresses are whole words; so is a port within
        // "127.0.0.1:40000".
        let of_word = |c: char| c.is_ascii_alphanumeric() || c == '.';
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let len = rest.find(|c| !of_word(c)).unwrap_or(rest.len());
            if len == 0 {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
            let (word, after) = rest.split_at(len);
            rest = after;
            let port = word.parse::<u16>().ok();
            let address = word.parse::<IpAddr>().ok();
            let name = self.addresses.iter().find(|(a, _)| Some(*a) == address);
            match name {
                Some((_, name)) => out.push_str(name),
                None if port.is_some_and(|p| self.ports.contains(&p)) => out.push_str("PORT"),
                None => out.push_str(word),
            }
        }
        out
    }
}

/// Compare two runs; `names` are those of the first and of the second.
pub fn compare(left: (&[Step], &Names), right: (&[Step], &Names), level: Level) -> Vec<Section> {
    let mut sections = Vec::new();
    type Lister = fn(&Step, &Names, Level) -> Option<Item>;
    let lists: [(&str, &str, Lister); 3] = [
        ("calls of the client", "calls of the server", call_item),
        ("states of the client", "states of the server", state_item),
        (
            "segments from client to server",
            "segments from server to client",
            segment_item,
        ),
    ];
    for (client, server, item) in lists {
        for (side, title) in [(Side::Client, client), (Side::Server, server)] {
            let list = |(steps, names): (&[Step], &Names)| -> Vec<Item> {
                let mut mine: Vec<&Step> = steps.iter().filter(|s| s.side == side).collect();
                // Connections, and the listener beside them, each go their own way.
                mine.sort_by_key(|s| s.connection);
                mine.into_iter()
                    .filter_map(|s| item(s, names, level))
                    .collect()
            };
            sections.push(Section::new(title, &list(left), &list(right)));
        }
    }
    sections
}

fn call_item(step: &Step, names: &Names, _: Level) -> Option<Item> {
    let text = match &step.act {
        Act::Return { call, ret, errno } => match errno {
            Some(errno) => format!("{call} = {ret} {errno}"),
            None => format!("{call} = {ret}"),
        },
        Act::Exit { status } => format!("exit {status}"),
        _ => return None,
    };
    Some(Item::shown(text, names))
}

fn state_item(step: &Step, _: &Names, _: Level) -> Option<Item> {
    let Act::State { old, new } = step.act else {
        return None;
    };
    Some(Item {
        // Whether a FIN and the ACK of ours come together is a matter of timing.
        optional: matches!(new, State::FinWait2 | State::Closing),
        ..Item::exact(transition_text(step, old, new))
    })
}

fn segment_item(step: &Step, _: &Names, level: Level) -> Option<Item> {
    let Act::Segment(a) = &step.act else {
        return None;
    };
    let shown = segment_text(a, true);
    let syn = a.flags.has(Flags::SYN);
    let mut key = Arrow {
        retransmit: false,
        ..a.clone()
    };
    let mut loose = String::new();
    if level == Level::Behaviour {
        loose = format!("{} {}", a.win, a.options.text());
        key.options = Options::default();
        key.win = 0;
    } else if !syn {
        // Windows follow how fast programs read.
        loose = a.win.to_string();
        key.win = 0;
    }
    let handshake = step.side == Side::Client && (a.seq, a.ack) == (1, Some(1));
    Some(Item {
        key: segment_text(&key, true),
        text: shown,
        loose,
        // An ACK alone may be left out when something else carries it.
        optional: a.retransmit || flags_text(a.flags) == "." && a.len == 0 && !handshake,
    })
}

/// Put two lists beside each other, equal items on one line (their longest common
/// subsequence).
fn align(left: &[Item], right: &[Item]) -> Vec<Pair> {
    // Beyond this the table would be large; equal beginnings are taken off first anyway.
    const LIMIT: usize = 4000;
    let same_start = left
        .iter()
        .zip(right)
        .take_while(|(l, r)| l.key == r.key)
        .count();
    let mut pairs: Vec<Pair> = left[..same_start]
        .iter()
        .zip(&right[..same_start])
        .map(|(l, r)| together(l, r))
        .collect();
    let (left, right) = (&left[same_start..], &right[same_start..]);
    let (n, m) = (left.len().min(LIMIT), right.len().min(LIMIT));

    // longest[i][j]: of left[i..n] and right[j..m].
    let mut longest = vec![vec![0u32; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            longest[i][j] = if left[i].key == right[j].key {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let (mut lonely_left, mut lonely_right) = (Vec::new(), Vec::new());
    while i < n || j < m {
        if i < n && j < m && left[i].key == right[j].key {
            pairs.extend(beside(&mut lonely_left, &mut lonely_right));
            pairs.push(together(&left[i], &right[j]));
            (i, j) = (i + 1, j + 1);
        } else if j == m || i < n && longest[i + 1][j] >= longest[i][j + 1] {
            lonely_left.push(left[i].clone());
            i += 1;
        } else {
            lonely_right.push(right[j].clone());
            j += 1;
        }
    }
    lonely_left.extend_from_slice(&left[n..]);
    lonely_right.extend_from_slice(&right[m..]);
    pairs.extend(beside(&mut lonely_left, &mut lonely_right));
    pairs
}

fn together(left: &Item, right: &Item) -> Pair {
    let verdict = if left.loose == right.loose {
        Verdict::Same
    } else {
        Verdict::Varies
    };
    Pair {
        left: Some(left.clone()),
        right: Some(right.clone()),
        verdict,
    }
}

/// Items without a partner: what may be missing stands alone, the others beside each other.
fn beside(left: &mut Vec<Item>, right: &mut Vec<Item>) -> Vec<Pair> {
    let (mut left, mut right) = (std::mem::take(left), std::mem::take(right));
    let mut pairs = Vec::new();
    let alone = |item: Item, is_left| {
        let (l, r) = if is_left {
            (Some(item), None)
        } else {
            (None, Some(item))
        };
        Pair {
            left: l,
            right: r,
            verdict: Verdict::Varies,
        }
    };
    let taken = |list: &mut Vec<Item>| -> Vec<Item> {
        let (optional, firm) = std::mem::take(list).into_iter().partition(|i| i.optional);
        *list = firm;
        optional
    };
    pairs.extend(taken(&mut left).into_iter().map(|i| alone(i, true)));
    pairs.extend(taken(&mut right).into_iter().map(|i| alone(i, false)));
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    loop {
        let (l, r) = (left.next(), right.next());
        if l.is_none() && r.is_none() {
            return pairs;
        }
        pairs.push(Pair {
            left: l,
            right: r,
            verdict: Verdict::Differs,
        });
    }
}

#[cfg(test)]
#[path = "diff/tests.rs"]
mod tests;
