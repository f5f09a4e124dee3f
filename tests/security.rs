//! `docs/security.md` and the table of features in README.md name tests; each of them is there.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder`.
fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push(path);
        }
    }
}

fn named<'a>(files: &'a [PathBuf], file: &'a str) -> impl Iterator<Item = &'a PathBuf> {
    files.iter().filter(move |f| f.ends_with(file))
}

/// Whether what stands between backticks exists; none if it is no name of a file or test.
fn exists(name: &str, files: &[PathBuf]) -> Option<bool> {
    if let Some((file, test)) = name.split_once(": ") {
        let header = format!("fn {test}(");
        let has = |f: &PathBuf| std::fs::read_to_string(f).is_ok_and(|s| s.contains(&header));
        return file.ends_with(".rs").then(|| named(files, file).any(has));
    }
    let kinds = [".pkt", ".rs", ".c"];
    kinds
        .iter()
        .any(|k| name.ends_with(k))
        .then(|| named(files, name).next().is_some())
}

#[test]
fn what_security_md_names_is_there() {
    let mut all = Vec::new();
    for folder in ["src", "tests", "c-tests"] {
        files(&root().join(folder), &mut all);
    }
    let text = std::fs::read_to_string(root().join("docs/security.md")).expect("docs/security.md");
    let named: Vec<(&str, bool)> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|name| Some((name, exists(name, &all)?)))
        .collect();
    assert!(named.len() > 25, "only {} names were read", named.len());
    let wrong: Vec<&str> = named.iter().filter(|n| !n.1).map(|n| n.0).collect();
    assert!(wrong.is_empty(), "there is no {}", wrong.join(", "));
}

/// Whether `name` is that of the file, where `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|n| rest.get(n..).is_some_and(|rest| fits(tail, rest)))
        }),
    }
}

/// What the cell of a feature's row names: files of tests, and packet scripts by their names.
fn shown_by(cell: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut paths, mut scripts) = (Vec::new(), Vec::new());
    for part in cell.split(';') {
        let mut of_scripts = false;
        for (n, text) in part.split('`').enumerate() {
            if n % 2 == 0 {
                of_scripts |= text.contains("script");
            } else if [".rs", ".c", ".pkt"].iter().any(|k| text.ends_with(k)) {
                paths.push(text);
            } else if of_scripts {
                scripts.push(text);
            }
        }
    }
    (paths, scripts)
}

/// Each row of README.md's "TCP, feature by feature" names what shows it, unless it says that the
/// feature is missing or left out; and what it names is there.
#[test]
fn what_the_table_of_features_names_is_there() {
    let mut all = Vec::new();
    for folder in ["src", "tests", "c-tests"] {
        files(&root().join(folder), &mut all);
    }
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let table = text
        .split("### TCP, feature by feature")
        .nth(1)
        .expect("the table");
    let table = table.split("\n## ").next().unwrap_or_default();
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in table.lines().filter(|l| l.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = line
            .trim()
            .trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let [feature, _, state] = cells[..] else {
            panic!("three cells? {line}");
        };
        rows += 1;
        let (paths, scripts) = shown_by(state);
        let excused = ["missing", "left out", "no test"];
        if paths.is_empty() && scripts.is_empty() && !excused.iter().any(|e| state.contains(e)) {
            wrong.push(format!("{feature}: what shows it?"));
        }
        for path in paths {
            let there = |f: &PathBuf| {
                let f = f.strip_prefix(root()).unwrap_or(f).to_string_lossy();
                fits(path, &f) || fits(&format!("*/{path}"), &f)
            };
            if !all.iter().any(there) {
                wrong.push(format!("{feature}: there is no {path}"));
            }
        }
        for script in scripts {
            let path = format!("*tests/conformance/{script}.pkt");
            if !all.iter().any(|f| fits(&path, &f.to_string_lossy())) {
                wrong.push(format!("{feature}: there is no script {script}"));
            }
        }
    }
    assert!(rows > 15, "only {rows} rows were read");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn names_are_read() {
    let cell = "`src/tcp/tests/a.rs`, `b.rs`; scripts `c`, `d-*`; `e` differs; `x*.c`";
    let (paths, scripts) = shown_by(cell);
    assert_eq!(paths, ["src/tcp/tests/a.rs", "b.rs", "x*.c"]);
    assert_eq!(scripts, ["c", "d-*"]);
    assert!(fits("a*c", "abc") && fits("a*c", "ac") && !fits("a*c", "abd") && !fits("a", "ab"));
}
