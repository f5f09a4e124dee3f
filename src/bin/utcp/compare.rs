//! `utcp compare`: the same programs on the kernel and on utcp.

use crate::diff::{Item, Names, Section, Verdict};
use crate::inside::Job;
use crate::netns::Place;
use crate::paint::{self, Line};
use crate::programs::{self, Outcome, Running};
use crate::trouble::{Result, Trouble};
use crate::{beside, cli, netns, stacks};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Programs to be run in a namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Runs {
    /// The first, and the one after --with.
    programs: Vec<Vec<OsString>>,
    /// libutcp.so, if they are to run on utcp.
    library: Option<PathBuf>,
    /// Seconds for all of it.
    timeout: u64,
}

/// Compare.
pub fn run(args: &cli::Compare) -> Result<ExitCode> {
    let programs = split(&args.programs)?;
    let library = programs::library()?;
    let runs = |library| Runs {
        programs: programs.clone(),
        library,
        timeout: args.timeout,
    };
    let on_kernel: Vec<Outcome> = netns::run(&Job::Compare(runs(None)), Place::Namespace)?;
    let on_utcp: Vec<Outcome> = netns::run(&Job::Compare(runs(Some(library))), Place::Namespace)?;

    let mut sections = Vec::new();
    for ((words, kernel), utcp) in programs.iter().zip(&on_kernel).zip(&on_utcp) {
        let name = words.first().map(|w| w.display().to_string());
        let name = name.unwrap_or_default();
        let mut section = |title: &str, left: Vec<Item>, right: Vec<Item>| {
            sections.push(Section::new(format!("{name}: {title}"), &left, &right));
        };
        section("exit status", vec![status(kernel)], vec![status(utcp)]);
        section(
            "standard output",
            lines(&kernel.stdout),
            lines(&utcp.stdout),
        );
        section("standard error", lines(&kernel.stderr), lines(&utcp.stderr));
    }
    let equal = sections.iter().all(|s| s.count(Verdict::Differs) == 0);
    if args.json {
        print_json(&programs, &on_kernel, &on_utcp, &sections, equal);
    } else {
        print(&sections, equal);
    }
    Ok(if equal {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn split(words: &[OsString]) -> Result<Vec<Vec<OsString>>> {
    let programs: Vec<Vec<OsString>> = words
        .split(|w| w == "--with")
        .map(<[OsString]>::to_vec)
        .collect();
    let usage = "utcp compare -- PROGRAM [ARGS] --with PROGRAM [ARGS]";
    if programs.len() > 2 {
        return Err(Trouble::new("compare", "--with may be given once").mend(usage));
    }
    if programs.iter().any(Vec::is_empty) {
        return Err(Trouble::new("compare", "a program is missing beside --with").mend(usage));
    }
    Ok(programs)
}

/// Run them, inside a namespace.
pub fn play(runs: &Runs) -> Result<Vec<Outcome>> {
    let end = Instant::now() + Duration::from_secs(runs.timeout);
    let env = match &runs.library {
        Some(library) => vec![
            ("LD_PRELOAD", programs::preload(library)),
            ("UTCP_STACK", "compare".into()),
        ],
        None => Vec::new(),
    };
    let mut running: Vec<Running> = Vec::new();
    for words in &runs.programs {
        if let Some(first) = running.first() {
            wait_for_listener(first, runs.library.is_some())?;
        }
        running.push(Running::start(words, &env)?);
    }
    // The partner decides when it is over; a server may go on for ever.
    if let Some(last) = running.last() {
        last.wait_until(end);
    }
    if running.len() > 1 {
        let rest = Instant::now() + Duration::from_secs(2);
        running[0].wait_until(rest.min(end));
    }
    Ok(running.into_iter().map(Running::outcome).collect())
}

/// Until something listens in this namespace, the program has ended, or a second has passed.
fn wait_for_listener(first: &Running, on_utcp: bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(1);
    let config = stacks::config(Some("compare"))?;
    while Instant::now() < end && first.is_running() {
        let listens = if on_utcp {
            listens_on_utcp(&config)?
        } else {
            listens_on_kernel()
        };
        if listens {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn listens_on_kernel() -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|file| {
        let table = std::fs::read_to_string(file).unwrap_or_default();
        // The fourth field is the state; 0A is LISTEN.
        let state = |line: &str| line.split_whitespace().nth(3) == Some("0A");
        table.lines().skip(1).any(state)
    })
}

fn listens_on_utcp(config: &utcp_stack::config::Config) -> Result<bool> {
    let Some(stack) = stacks::running(config)? else {
        return Ok(false);
    };
    let mut found = false;
    crate::ring::session(&stack.runtime)?
        .table(|row| found |= row.state == utcp_stack::tcp::State::Listen);
    Ok(found)
}

fn status(outcome: &Outcome) -> Item {
    if outcome.ended {
        Item::exact("still running, so it was ended")
    } else {
        Item::exact(outcome.status.clone())
    }
}

/// Lines as items: the ports that a system picks may differ.
fn lines(text: &str) -> Vec<Item> {
    let line = |line: &str| {
        let ports = line
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse().ok())
            .filter(|n| (32768..=60999).contains(n))
            .collect();
        let names = Names {
            ports,
            addresses: Vec::new(),
        };
        Item::shown(line, &names)
    };
    text.lines().map(line).collect()
}

fn print(sections: &[Section], equal: bool) {
    let columns = paint::columns();
    let say = |line: &Line| anstream::println!("{}", line.render());
    if let Some((section, pair)) = first_difference(sections) {
        say(&Line::new("first difference, in ", paint::BAD).then(&section.title, paint::BOLD));
        let text = |item: &Option<Item>| {
            let shown = item.as_ref().map(|i| paint::printable(&i.text));
            shown.unwrap_or_else(|| "(nothing)".to_owned())
        };
        say(&Line::new("  kernel: ", paint::DIM).then(text(&pair.left), paint::BAD));
        say(&Line::new("  utcp:   ", paint::DIM).then(text(&pair.right), paint::BAD));
        say(&Line::default());
    }
    say(&beside::heading("kernel", "utcp", columns));
    for section in sections.iter().filter(|s| !s.pairs.is_empty()) {
        for line in beside::section(section, columns) {
            say(&line);
        }
    }
    say(&Line::default());
    let different: usize = sections.iter().map(|s| s.count(Verdict::Differs)).sum();
    say(&if equal {
        Line::new("No difference.", paint::GOOD)
    } else {
        let s = if different == 1 { "" } else { "s" };
        Line::new(
            format!("{different} line{s} different, marked ≠."),
            paint::BAD,
        )
    });
}

fn first_difference(sections: &[Section]) -> Option<(&Section, &crate::diff::Pair)> {
    let differs = |p: &&crate::diff::Pair| p.verdict == Verdict::Differs;
    // An exit status says less than the output that led to it.
    let (status, output): (Vec<_>, Vec<_>) = sections
        .iter()
        .partition(|s| s.title.ends_with("exit status"));
    let mut all = output.into_iter().chain(status);
    all.find_map(|s| Some((s, s.pairs.iter().find(differs)?)))
}

fn print_json(
    programs: &[Vec<OsString>],
    on_kernel: &[Outcome],
    on_utcp: &[Outcome],
    sections: &[Section],
    equal: bool,
) {
    let words = |words: &Vec<OsString>| -> Vec<String> {
        words.iter().map(|w| w.display().to_string()).collect()
    };
    let first = first_difference(sections).map(|(section, pair)| {
        serde_json::json!({ "section": section.title, "kernel": pair.left, "utcp": pair.right })
    });
    let report = serde_json::json!({
        "equal": equal,
        "first_difference": first,
        "programs": programs.iter().map(words).collect::<Vec<_>>(),
        "kernel": on_kernel,
        "utcp": on_utcp,
        "sections": sections,
    });
    anstream::println!("{report:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn programs_are_split_at_with() {
        let got = split(&words("./a -x --with ./b 1 2")).unwrap();
        assert_eq!(got, [words("./a -x"), words("./b 1 2")]);
        assert_eq!(split(&words("./a")).unwrap().len(), 1);
        assert!(split(&words("./a --with")).is_err());
        assert!(split(&words("a --with b --with c")).is_err());
    }

    #[test]
    fn ports_that_a_system_picks_may_differ() {
        let differ = |a: &str, b: &str| {
            let s = Section::new("", &lines(a), &lines(b));
            s.count(Verdict::Differs)
        };
        assert_eq!(differ("from 127.0.0.1:40001", "from 127.0.0.1:50112"), 0);
        assert_eq!(differ("port 9000", "port 9001"), 1);
        assert_eq!(differ("sent 40001 bytes", "sent 4001 bytes"), 1);
        assert_eq!(differ("a\nb", "a"), 1);
    }

    #[test]
    fn output_differs_before_status() {
        let exact = |t: &str| vec![Item::exact(t)];
        let sections = [
            Section::new("x: exit status", &exact("0"), &exact("1")),
            Section::new("x: standard output", &exact("a"), &exact("b")),
        ];
        let (section, _) = first_difference(&sections).unwrap();
        assert_eq!(section.title, "x: standard output");
    }
}
