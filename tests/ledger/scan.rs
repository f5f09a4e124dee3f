//! Citations of RFCs in the comments of the sources and in the documents.

use std::path::Path;

/// One RFC named in a comment: `RFC 5961, section 3.2`, `RFC 9293 MUST-12, MUST-13`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Citation {
    pub file: String,
    pub line: usize,
    pub rfc: u32,
    pub sections: Vec<String>,
    /// Requirements: these are the annotations.
    pub ids: Vec<String>,
    /// What the comment stands above or in: a function, a constant ...
    pub symbol: Option<String>,
    pub test: bool,
    /// An annotation of a test that nothing runs: why.
    pub idle: Option<&'static str>,
}

impl Citation {
    /// `tcp/input.rs: validate`.
    pub fn place(&self) -> String {
        let file = self.file.strip_prefix("src/").unwrap_or(&self.file);
        match &self.symbol {
            Some(s) => format!("{file}: {s}"),
            None => file.to_string(),
        }
    }
}

/// All citations.
#[derive(Debug, Default)]
pub struct Scan {
    pub citations: Vec<Citation>,
    /// Identifiers of requirements that no RFC precedes.
    pub strays: Vec<String>,
}

const FOLDERS: [&str; 7] = [
    "src", "tests", "c-tests", "fuzz", "benches", "examples", "docs",
];
const TEXTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "SECURITY.md"];

impl Scan {
    /// Read the sources below `root`.
    pub fn read(root: &Path) -> Scan {
        let mut files = Vec::new();
        for folder in FOLDERS {
            walk(&root.join(folder), &mut files);
        }
        files.extend(TEXTS.iter().map(|t| root.join(t)));
        files.sort();
        let mut scan = Scan::default();
        for path in files {
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = name.to_string_lossy();
            // What speaks of the ledger isn't in it.
            if !name.starts_with("tests/ledger") && !name.starts_with("docs/rfc/") {
                scan.file(&name, &text);
            }
        }
        scan
    }

    /// The annotations of a requirement: in code, in tests.
    pub fn of(&self, rfc: u32, id: &str) -> (Vec<&Citation>, Vec<&Citation>) {
        self.citations
            .iter()
            .filter(|c| c.rfc == rfc && c.ids.iter().any(|i| i == id))
            // What documents say is neither.
            .filter(|c| c.test || c.file.starts_with("src/"))
            .partition(|c| !c.test)
    }

    fn file(&mut self, name: &str, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        let extension = name.rsplit('.').next().unwrap_or_default();
        let is_test_file = ["tests/", "c-tests/", "fuzz/", "benches/"]
            .iter()
            .any(|f| name.starts_with(f))
            || name.contains("/tests/")
            || name.ends_with("/tests.rs");
        let tests_from = lines
            .windows(2)
            .position(|w| w[0] == "#[cfg(test)]" && w[1].ends_with('{'))
            .unwrap_or(usize::MAX);
        let mut i = 0;
        while i < lines.len() {
            let first = i;
            let mut block = String::new();
            while let Some(comment) = lines.get(i).and_then(|l| comment(l, extension)) {
                block.push_str(comment);
                block.push('\n');
                i += 1;
            }
            if first == i {
                // A comment behind code stands alone.
                if let Some((_, c)) = lines[i].split_once(" // ") {
                    block = c.to_string();
                }
                i += 1;
            }
            if !block.contains("RFC") && !block.contains("MUST-") && !block.contains("SHLD-") {
                continue;
            }
            let (found, strays) = parse(&block);
            for (line, id) in strays {
                self.strays
                    .push(format!("{name}:{}: {id} of which RFC?", first + line + 1));
            }
            for (line, mut c) in found {
                c.file = name.to_string();
                c.line = first + line + 1;
                c.test = is_test_file || first > tests_from;
                if extension == "rs" {
                    c.symbol = symbol(&lines, first, i);
                }
                if c.test && !c.ids.is_empty() {
                    c.idle = idle(name, &lines, first, i);
                }
                self.citations.push(c);
            }
        }
    }
}

fn walk(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            if path.file_name().is_none_or(|n| n != "target") {
                walk(&path, files);
            }
        } else if let Some("rs" | "c" | "h" | "pkt" | "md" | "rfc") =
            path.extension().and_then(|e| e.to_str())
        {
            files.push(path);
        }
    }
}

/// The text of a line that is nothing but comment. In Markdown all is.
fn comment<'a>(line: &'a str, extension: &str) -> Option<&'a str> {
    let line = line.trim();
    if extension == "md" {
        return (!line.is_empty()).then_some(line);
    }
    for mark in ["///", "//!", "//", "/*", "*"] {
        if mark == "*" && !matches!(extension, "c" | "h") {
            continue;
        }
        if let Some(rest) = line.strip_prefix(mark) {
            return Some(rest);
        }
    }
    (extension == "pkt").then(|| line.strip_prefix('#'))?
}

/// Why what stands below or around the comment of lines `first..after` is no test that runs.
fn idle(name: &str, lines: &[&str], first: usize, after: usize) -> Option<&'static str> {
    let indent = |l: &str| l.len() - l.trim_start().len();
    match name.rsplit('.').next().unwrap_or_default() {
        "rs" => {}
        "pkt" if name.starts_with("tests/conformance/") => return None,
        "c" if name.starts_with("c-tests/") => return None,
        _ => return Some("is in a file that no test runs"),
    }
    // Inside a function: what it begins with.
    let mut begin = after;
    if !lines
        .get(after)
        .is_some_and(|l| l.trim().starts_with("#[") || item(l.trim()).is_some())
    {
        let outer = |l: &&str| !l.trim().is_empty() && indent(l) < indent(lines[first]);
        let fn_line = (0..first).rev().find(|&n| {
            outer(&lines[n]) && item(lines[n].trim()).is_some() && lines[n].contains("fn ")
        });
        begin = fn_line.unwrap_or(after);
        while begin > 0 && lines[begin - 1].trim().starts_with("#[") {
            begin -= 1;
        }
    }
    let mut test = false;
    for line in lines[begin.min(lines.len())..].iter().map(|l| l.trim()) {
        if line.starts_with("#[ignore") {
            return Some("is ignored");
        }
        if line.starts_with("#[cfg") && line != "#[cfg(test)]" {
            return Some("is not always built");
        }
        test |= line == "#[test]";
        if !line.starts_with("#[") && !line.starts_with("//") {
            // Test binaries without a harness, and tests that a macro declares.
            let declared = line.ends_with(';') && name.starts_with("tests/");
            return (!test && !declared).then_some("stands above no test");
        }
    }
    Some("stands above nothing")
}

/// The item that follows the comment of lines `first..after`, else the one it is in.
fn symbol(lines: &[&str], first: usize, after: usize) -> Option<String> {
    let next = lines[after.min(lines.len())..]
        .iter()
        .map(|l| l.trim())
        .find(|l| !l.starts_with("#[") && !l.is_empty());
    if let Some(name) = next.and_then(item) {
        return Some(name);
    }
    let indent = |l: &str| l.len() - l.trim_start().len();
    let mut depth = indent(lines[first]);
    for line in lines[..first].iter().rev() {
        if line.trim().is_empty() || indent(line) >= depth {
            continue;
        }
        // The end of a signature of several lines stands as far left as its beginning.
        depth = indent(line) + usize::from(line.trim().starts_with(')'));
        if let Some(name) = item(line.trim()) {
            return Some(name);
        }
    }
    None
}

/// The name that a line declares.
fn item(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "fn" | "struct" | "enum" | "trait" | "static" | "type" | "const" => {
                if words.peek() == Some(&"fn") {
                    continue;
                }
                let name: String = words
                    .next()?
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                return (!name.is_empty()).then_some(name);
            }
            "unsafe" | "extern" | "\"C\"" => {}
            w if w == "pub" || w.starts_with("pub(") || w == "super)" || w == "crate)" => {}
            _ => return None,
        }
    }
    None
}

/// What was found, and on which line.
type Lines<T> = Vec<(usize, T)>;

/// The citations of a text, and requirements that no RFC precedes, by line of the text.
fn parse(text: &str) -> (Lines<Citation>, Lines<String>) {
    let words = words(text);
    let (mut found, mut strays) = (Vec::new(), Vec::new());
    let mut i = 0;
    while i < words.len() {
        let (line, word, _) = words[i];
        i += 1;
        if word != "RFC" {
            if is_id(word) {
                strays.push((line, word.to_string()));
            }
            continue;
        }
        let Some(number) = words.get(i).and_then(|w| w.1.parse().ok()) else {
            continue;
        };
        let mut c = Citation {
            rfc: number,
            ..Citation::default()
        };
        let mut goes_on = words[i].2;
        i += 1;
        let mut in_sections = false;
        while let Some(&(_, word, next_goes_on)) = words.get(i).filter(|_| goes_on) {
            match word {
                "section" | "sections" | "appendix" => in_sections = true,
                "and" | "or" => {}
                _ if is_id(word) => c.ids.push(word.to_string()),
                _ if word.len() >= 3 && word.bytes().all(|b| b.is_ascii_digit()) => {
                    found.push((line, std::mem::take(&mut c)));
                    c.rfc = word.parse().unwrap_or_default();
                    in_sections = false;
                }
                _ if is_section(word) && (in_sections || word.contains('.')) => {
                    c.sections.push(word.to_string());
                }
                _ => break,
            }
            goes_on = next_goes_on;
            i += 1;
        }
        found.push((line, c));
    }
    (found, strays)
}

/// The words of a text, with their lines, and whether nothing but a blank or a comma follows.
fn words(text: &str) -> Vec<(usize, &str, bool)> {
    let mut words = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
            rest = &rest[start..];
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_'))
                .unwrap_or(rest.len());
            let word = &rest[..end];
            let trimmed = word.trim_end_matches(['.', '-']);
            let mut between = rest[end..].chars();
            let gap = between.next();
            let goes_on = trimmed.len() == word.len()
                && match gap {
                    None => true,
                    Some(' ') => between.next().is_none_or(|c| c.is_ascii_alphanumeric()),
                    Some(',') => matches!(between.next(), None | Some(' ')),
                    _ => false,
                };
            words.push((n, trimmed, goes_on));
            rest = &rest[end..];
        }
    }
    words
}

fn is_number(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}

/// `3.10.7`, `A`, `B.2`.
fn is_section(word: &str) -> bool {
    let mut parts = word.split('.');
    let first = parts.next().unwrap_or_default();
    (is_number(first) || (first.len() == 1 && first.as_bytes()[0].is_ascii_uppercase()))
        && parts.all(is_number)
}

/// `MUST-12`, `SHLD-3`, `REC-1`, `S3.2-1`.
fn is_id(word: &str) -> bool {
    let Some((head, n)) = word.rsplit_once('-') else {
        return false;
    };
    is_number(n)
        && (matches!(head, "MUST" | "SHLD" | "MAY" | "REC")
            || head
                .strip_prefix('S')
                .is_some_and(|s| !s.is_empty() && is_section(s)))
}

#[cfg(test)]
mod form {
    use super::{Scan, parse};

    fn one(text: &str) -> (u32, String, String) {
        let c = &parse(text).0[0].1;
        (c.rfc, c.sections.join(" "), c.ids.join(" "))
    }

    #[test]
    fn citations_are_read() {
        let is = |n, s: &str, i: &str| (n, s.to_string(), i.to_string());
        assert_eq!(
            one("RFC 9293 MUST-12, MUST-13"),
            is(9293, "", "MUST-12 MUST-13")
        );
        assert_eq!(
            one("A word (RFC 7323 S2.2-1), more"),
            is(7323, "", "S2.2-1")
        );
        assert_eq!(
            one("RFC 9293, section 3.10.7.4. So"),
            is(9293, "3.10.7.4", "")
        );
        assert_eq!(
            one("RFC 6298, sections 5.1 and\n 5.3), or"),
            is(6298, "5.1 5.3", "")
        );
        assert_eq!(one("RFC 7323, appendix A)."), is(7323, "A", ""));
        assert_eq!(one("RFC 9293, 3.10.7): 5"), is(9293, "3.10.7", ""));
        assert_eq!(one("RFC 8985, section 7: 12"), is(8985, "7", ""));
        let all = parse("RFC 1122, 2018, section 3, and 5681").0;
        let numbers: Vec<u32> = all.iter().map(|c| c.1.rfc).collect();
        assert_eq!(numbers, [1122, 2018, 5681]);
        assert_eq!(parse("as MUST-3 asks").1.len(), 1);
    }

    /// Whether the annotation in a file of tests counts.
    fn counts(name: &str, text: &str) -> bool {
        let mut scan = Scan::default();
        scan.file(name, text);
        assert_eq!(scan.citations.len(), 1, "{text}");
        scan.citations[0].idle.is_none()
    }

    #[test]
    fn only_tests_that_run_count() {
        let head = "// RFC 9293 MUST-1\n";
        let with = |rest: &str| counts("tests/a.rs", &format!("{head}{rest}"));
        assert!(with("#[test]\nfn a() {\n}"));
        assert!(with("/// A test.\n#[test]\n#[should_panic]\nfn a() {\n}"));
        assert!(!with("#[test]\n#[ignore]\nfn a() {\n}"));
        assert!(!with("#[test]\n#[ignore = \"slow\"]\nfn a() {\n}"));
        assert!(!with("#[test]\n#[cfg(any())]\nfn a() {\n}"));
        assert!(!with("fn helps() {\n}"));
        assert!(
            !with("const A: u32 = 1;\n")
                || !counts("src/a/tests/b.rs", &format!("{head}const A: u32 = 1;\n"))
        );
        let inside = |above: &str| {
            format!("{above}fn a() {{\n    let b = 1;\n    {head}    assert!(b == 1);\n}}")
        };
        assert!(counts("tests/a.rs", &inside("#[test]\n")));
        assert!(!counts("tests/a.rs", &inside("#[test]\n#[ignore]\n")));
        assert!(!counts("tests/a.rs", &inside("")));
        assert!(counts("tests/conformance/a.pkt", head));
        assert!(!counts("tests/other/a.pkt", head));
    }
}
