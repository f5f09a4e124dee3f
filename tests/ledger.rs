//! The ledger of requirements (`docs/rfc/`): each MUST and SHOULD of the RFCs that the stack
//! follows is done by annotated code and shown by an annotated test, or says why not.
//!
//! `UTCP_LEDGER=write cargo test --test ledger` rewrites `docs/rfc/README.md`.

mod ledger {
    pub mod data;
    pub mod scan;
    pub mod table;
}

use ledger::data::{Ledger, Verdict};
use ledger::scan::{Citation, Scan};
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read() -> (Ledger, Scan) {
    let ledger = Ledger::read(&root().join("docs/rfc")).unwrap_or_else(|e| panic!("{e}"));
    (ledger, Scan::read(root()))
}

/// What is wrong with one citation.
fn check(ledger: &Ledger, c: &Citation, problems: &mut Vec<String>) {
    let at = format!("{}:{}", c.file, c.line);
    let Some(rfc) = ledger.rfc(c.rfc) else {
        problems.push(format!("{at}: RFC {} is not in docs/rfc/", c.rfc));
        return;
    };
    for s in c.sections.iter().filter(|s| !rfc.sections.contains(s)) {
        problems.push(format!("{at}: RFC {} has no section {s}", c.rfc));
    }
    for id in c.ids.iter().filter(|id| rfc.requirement(id).is_none()) {
        problems.push(format!("{at}: RFC {} has no requirement {id}", c.rfc));
    }
}

#[test]
fn citations_name_what_exists() {
    let (ledger, scan) = read();
    let mut problems = scan.strays.clone();
    for c in &scan.citations {
        check(&ledger, c, &mut problems);
        if let Some(why) = c.idle {
            let ids = c.ids.join(", ");
            problems.push(format!("{}:{}: {ids}: {why}", c.file, c.line));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// A C program shows something only if a test runs it.
#[test]
fn c_programs_that_show_something_are_run() {
    let scan = read().1;
    let mut runners = String::new();
    for entry in std::fs::read_dir(root().join("tests"))
        .expect("tests")
        .flatten()
    {
        if entry.path().extension().is_some_and(|e| e == "rs") {
            runners += &std::fs::read_to_string(entry.path()).expect("a file of tests");
        }
    }
    let mut problems = Vec::new();
    for c in scan.citations.iter().filter(|c| !c.ids.is_empty()) {
        let Some(program) = c
            .file
            .strip_prefix("c-tests/")
            .and_then(|f| f.strip_suffix(".c"))
        else {
            continue;
        };
        let words = |text: &str| {
            let mut parts = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            parts.any(|w| {
                w == program || w.len() == 7 && w.starts_with("claim") && program.starts_with(w)
            })
        };
        if !words(&runners) {
            problems.push(format!("{}:{}: no test runs {program}", c.file, c.line));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// RFCs whose key words are not counted: the first is numbered by itself, the second counted by the
/// table of its section 3.5.
const NOT_COUNTED: [u32; 2] = [9293, 1122];

#[test]
fn every_key_word_has_a_row() {
    let ledger = read().0;
    let mut problems = Vec::new();
    for rfc in ledger.rfcs.iter().filter(|r| !r.requirements.is_empty()) {
        if rfc.keywords.is_none() && !NOT_COUNTED.contains(&rfc.number) {
            problems.push(format!(
                "RFC {}: its key words were not counted",
                rfc.number
            ));
        }
        let wrong = rfc.miscounted();
        problems.extend(wrong.iter().map(|w| format!("RFC {}: {w}", rfc.number)));
    }
    // RFC 9293 numbers its own: MUST-1 to MUST-69, SHLD-1 to SHLD-31, REC-1.
    let tcp = ledger.rfc(9293).expect("RFC 9293");
    for (kind, last) in [("MUST", 69), ("SHLD", 31), ("REC", 1)] {
        for n in 1..=last {
            if tcp.requirement(&format!("{kind}-{n}")).is_none() {
                problems.push(format!("RFC 9293: no row for {kind}-{n}"));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_requirement_is_accounted_for() {
    let (ledger, scan) = read();
    let mut problems = Vec::new();
    for rfc in &ledger.rfcs {
        for r in &rfc.requirements {
            let name = format!("RFC {} {}", rfc.number, r.id);
            let (code, tests) = scan.of(rfc.number, &r.id);
            match r.verdict.as_ref().map(|v| v.0) {
                None if code.is_empty() && tests.is_empty() => {
                    problems.push(format!("{name}: neither code nor a word why not"));
                }
                None if code.is_empty() => problems.push(format!("{name}: a test, but no code")),
                None if tests.is_empty() => problems.push(format!("{name}: code, but no test")),
                Some(Verdict::Missing | Verdict::Void) if !code.is_empty() => {
                    problems.push(format!(
                        "{name}: {} does it, the data say it isn't done",
                        code[0].place()
                    ));
                }
                _ => {}
            }
        }
    }
    println!("{}", table::summary(&ledger, &scan));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_table_is_up_to_date() {
    let (ledger, scan) = read();
    let path = root().join("docs/rfc/README.md");
    let table = table::render(&ledger, &scan);
    if std::env::var("UTCP_LEDGER").is_ok_and(|v| v == "write") {
        std::fs::write(&path, &table).expect("docs/rfc/README.md can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((n, (is, should))) = committed
        .lines()
        .zip(table.lines())
        .enumerate()
        .find(|(_, (a, b))| a != b)
    {
        panic!(
            "docs/rfc/README.md, line {}:\n  {is}\nshould be\n  {should}\n(UTCP_LEDGER=write cargo test --test ledger rewrites it)",
            n + 1
        );
    }
    assert_eq!(committed.len(), table.len(), "docs/rfc/README.md");
}

use ledger::table;
