//! README's table of features: what it says shows a feature is there, and runs; and every feature has
//! a row.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The rows' columns: feature, by what, what shows it.
fn rows(readme: &str) -> Vec<[String; 3]> {
    let table = readme
        .split("### TCP, feature by feature")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("the table of features");
    let rows = table.lines().filter(|l| l.starts_with("| "));
    rows.skip(1)
        .map(|line| {
            let mut columns = line.trim_matches('|').split(" | ").map(str::trim);
            let mut next = || columns.next().unwrap_or_default().to_owned();
            [next(), next(), next()]
        })
        .collect()
}

/// The words in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The files of `folder` that fit a name with perhaps one star.
fn fitting(folder: &Path, name: &str) -> Vec<PathBuf> {
    let (head, tail) = name.split_once('*').unwrap_or((name, ""));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let fits = |file: &str| match name.contains('*') {
        true => {
            file.len() >= head.len() + tail.len() && file.starts_with(head) && file.ends_with(tail)
        }
        false => file == name,
    };
    entries
        .filter(|e| fits(&e.file_name().to_string_lossy()))
        .map(|e| e.path())
        .collect()
}

/// Whether a file has a test, or is a program that some test runs.
fn shows(path: &Path, runners: &str) -> bool {
    let name = |p: &Path| {
        p.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    match path.extension().and_then(|e| e.to_str()) {
        Some("c") => {
            let program = name(path);
            let claim = program.get(..7).filter(|c| c.starts_with("claim"));
            runners.contains(&program) || claim.is_some_and(|c| runners.contains(c))
        }
        Some("rs") => std::fs::read_to_string(path).is_ok_and(|text| text.contains("#[test]")),
        _ => true,
    }
}

fn runners() -> String {
    fitting(&root().join("tests"), "*.rs")
        .iter()
        .map(|p| std::fs::read_to_string(p).expect("a file of tests"))
        .collect()
}

#[test]
fn what_shows_a_feature_is_there() {
    let (readme, runners) = (read("README.md"), runners());
    // Scripts that this stack does not pass show nothing.
    let conformance = read("tests/conformance.rs");
    let waiting = conformance
        .split("const WAITING")
        .nth(1)
        .and_then(|rest| rest.split("];").next())
        .expect("the list of scripts that wait");
    let rows = rows(&readme);
    assert!(rows.len() > 20, "{} rows", rows.len());
    let mut problems = Vec::new();
    for [feature, _, shown] in &rows {
        let mut shows_something = false;
        let mut folder = PathBuf::new();
        for clause in shown.split(';').map(str::trim) {
            let scripts = clause.starts_with("script");
            for word in quoted(clause) {
                let (at, name) = match word.rsplit_once('/') {
                    Some((at, name)) => (root().join(at), name.to_owned()),
                    None if word.ends_with(".rs") || word.ends_with(".c") => {
                        (folder.clone(), word.to_owned())
                    }
                    None if scripts => (root().join("tests/conformance"), format!("{word}.pkt")),
                    // A setting, a name.
                    None => continue,
                };
                let found = fitting(&at, &name);
                if !name.ends_with(".pkt") {
                    folder = at;
                }
                let waits = |p: &PathBuf| {
                    let stem = p.file_stem().unwrap_or_default().to_string_lossy();
                    name.ends_with(".pkt") && waiting.contains(&format!("\"{stem}\""))
                };
                if !found.iter().any(|p| shows(p, &runners) && !waits(p)) {
                    problems.push(format!("{feature}: {word} shows nothing"));
                }
                shows_something |= !name.ends_with(".md");
            }
        }
        let says_so = ["missing", "left out"].iter().any(|w| shown.contains(w));
        if !shows_something && !says_so {
            problems.push(format!("{feature}: shown by nothing"));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// What TCP of Linux 6.18 has, by a word of its row.
const FEATURES: &str = "SACK DSACK RACK-TLP PRR F-RTO undo limited_transmit spurious SACK_compression NewReno CUBIC HyStart++ BBR \
TCP_CONGESTION pacing initial_window_10 restart_after_idle window_validation DRS send_buffers window_updates TCP_NOTSENT_LOWAT \
SO_RCVLOWAT challenge_ACKs checks_on_ICMP SYN_cookies TCP_DEFER_ACCEPT Fast_Open ECN path_MTU_discovery probes IP_MTU_DISCOVER \
TCP_MAXSEG fragments TCP_USER_TIMEOUT TCP_LINGER2 TCP_SYNCNT TCP_CORK MSG_MORE TCP_QUICKACK Nagle TCP_WINDOW_CLAMP \
thin_streams urgent_data TCP_INFO TCP_CC_INFO SO_REUSEPORT SO_BINDTODEVICE SO_PRIORITY SO_TIMESTAMP SO_TIMESTAMPING IP_TOS IPV6_TCLASS IP_TTL";

/// Whether the text has the words as words of their own: `SACK` is not that of `DSACK`.
fn names(text: &str, words: &str) -> bool {
    let within = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c));
    text.match_indices(words).any(|(at, found)| {
        let (before, after) = (&text[..at], &text[at + found.len()..]);
        !within(before.chars().next_back()) && !within(after.chars().next())
    })
}

#[test]
fn every_feature_has_a_row() {
    let rows = rows(&read("README.md"));
    let words = FEATURES.split_whitespace().map(|w| w.replace('_', " "));
    let missing: Vec<String> = words
        .filter(|w| {
            let has = |r: &[String; 3]| {
                !r[2].starts_with("left out") && names(&r[0].replace('_', " "), w)
            };
            !rows.iter().any(has)
        })
        .collect();
    assert!(missing.is_empty(), "no row: {missing:?}");
}

/// The settings under /proc/sys/net that are read, by the last word of their names.
fn settings_read() -> std::collections::BTreeSet<String> {
    let folder = root().join("src/shim");
    let mut names = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("src/shim") {
        let path = file.expect("a file").path();
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for piece in text.split("\"/proc/sys/net/").skip(1) {
            let path = piece.split('"').next().unwrap_or_default();
            names.insert(path.rsplit('/').next().unwrap_or_default().to_owned());
        }
    }
    // A folder, to whose files names are added elsewhere.
    names.remove("");
    names
}

#[test]
fn every_setting_that_is_read_is_documented() {
    let text = read("docs/sysctls.md");
    let (table, at_their_default) = text.split_once("at their default:").expect("two lists");
    let words = |text: &str| -> std::collections::BTreeSet<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .map(str::to_owned)
            .collect()
    };
    let (table, defaults) = (words(table), words(at_their_default));
    let read = settings_read();
    assert!(read.len() > 60, "{read:?}");
    for name in read {
        assert!(
            table.contains(&name),
            "{name} is read, docs/sysctls.md does not say so"
        );
        assert!(
            !defaults.contains(&name),
            "{name} is not taken at its default"
        );
    }
}
