//! `docs/security.md` names tests; each of them is there.

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
