//! `docs/rfc/*.txt`: what the RFCs ask. CONTRIBUTING.md has the form.

use std::path::Path;

/// Why a requirement isn't simply done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Linux does otherwise, and so does this stack.
    Linux,
    /// It asks something of somebody else, or has been replaced.
    Void,
    /// Some of it is done.
    Partly,
    /// Nothing of it is done.
    Missing,
}

impl Verdict {
    /// The word in the data.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Linux => "linux",
            Verdict::Void => "void",
            Verdict::Partly => "partly",
            Verdict::Missing => "missing",
        }
    }

    fn of(word: &str) -> Option<Verdict> {
        [
            Verdict::Linux,
            Verdict::Void,
            Verdict::Partly,
            Verdict::Missing,
        ]
        .into_iter()
        .find(|v| v.word() == word)
    }
}

/// One MUST or SHOULD.
#[derive(Debug)]
pub struct Requirement {
    pub id: String,
    pub section: String,
    pub level: String,
    /// For how many key words of the text it stands.
    pub times: u32,
    /// In our words.
    pub asks: String,
    pub verdict: Option<(Verdict, String)>,
}

/// One RFC.
#[derive(Debug)]
pub struct Rfc {
    pub number: u32,
    pub title: String,
    pub sections: Vec<String>,
    /// How often MUST, SHALL, SHOULD, REQUIRED or RECOMMENDED (with NOT or without) stands in a
    /// section's text, in capitals; none if it wasn't counted.
    pub keywords: Option<Vec<(String, u32)>>,
    /// Those of them that no row stands for, and why.
    pub aside: Vec<(Vec<(String, u32)>, String)>,
    pub requirements: Vec<Requirement>,
}

impl Rfc {
    /// Where rows and what is left aside don't add up to the key words of the text.
    pub fn miscounted(&self) -> Vec<String> {
        // Without any in the text the rows are ours.
        let Some(keywords) = self.keywords.as_ref().filter(|k| !k.is_empty()) else {
            return Vec::new();
        };
        // What was counted for a section covers the rules that are numbered within it.
        let covers = |outer: &str, inner: &str| {
            inner == outer
                || inner
                    .strip_prefix(outer)
                    .is_some_and(|r| r.starts_with('.'))
        };
        let home = |section: &str| {
            let all = keywords.iter().filter(|k| covers(&k.0, section));
            all.max_by_key(|k| k.0.len()).map(|k| k.0.clone())
        };
        let mut said = std::collections::BTreeMap::<String, u32>::new();
        let mut wrong = Vec::new();
        let rows = self.requirements.iter().map(|r| (&r.section, r.times));
        let aside = self
            .aside
            .iter()
            .flat_map(|a| a.0.iter().map(|c| (&c.0, c.1)));
        for (section, times) in rows.chain(aside).filter(|c| c.1 > 0) {
            match home(section) {
                Some(home) => *said.entry(home).or_default() += times,
                None => wrong.push(format!("section {section} has no key word")),
            }
        }
        for (section, n) in keywords {
            let m = said.get(section).copied().unwrap_or(0);
            if m != *n {
                wrong.push(format!(
                    "section {section}: {n} key words, {m} accounted for"
                ));
            }
        }
        wrong
    }

    pub fn requirement(&self, id: &str) -> Option<&Requirement> {
        self.requirements.iter().find(|r| r.id == id)
    }
}

/// All of them, in the order of the table: by the number of the RFC.
#[derive(Debug, Default)]
pub struct Ledger {
    pub rfcs: Vec<Rfc>,
}

impl Ledger {
    pub fn rfc(&self, number: u32) -> Option<&Rfc> {
        self.rfcs.iter().find(|r| r.number == number)
    }

    /// Read every `*.txt` of the folder.
    pub fn read(folder: &Path) -> Result<Ledger, String> {
        let mut ledger = Ledger::default();
        let entries = std::fs::read_dir(folder).map_err(|e| format!("{folder:?}: {e}"))?;
        for path in entries.flatten().map(|e| e.path()) {
            if path.extension().is_none_or(|e| e != "txt") {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{path:?}: {e}"))?;
            for (n, paragraph) in logical_lines(&text) {
                ledger
                    .take(&paragraph)
                    .map_err(|e| format!("{}:{n}: {e}", path.display()))?;
            }
        }
        ledger.rfcs.sort_by_key(|r| r.number);
        Ok(ledger)
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let (head, rest) = line.split_once(": ").ok_or("no colon")?;
        let rest = rest.trim().to_string();
        if let Some(number) = head.strip_prefix("RFC ") {
            let number = number.parse().map_err(|_| "not an RFC's number")?;
            if self.rfc(number).is_some() {
                return Err(format!("RFC {number} a second time"));
            }
            self.rfcs.push(Rfc {
                number,
                title: rest,
                sections: Vec::new(),
                keywords: None,
                aside: Vec::new(),
                requirements: Vec::new(),
            });
            return Ok(());
        }
        // The RFC that was begun last is the last of the list: it is sorted when all are read.
        let rfc = self.rfcs.last_mut().ok_or("no RFC yet")?;
        if head == "Sections" {
            rfc.sections = rest.split_whitespace().map(str::to_string).collect();
            return Ok(());
        }
        if head == "Keywords" {
            rfc.keywords = Some(match rest.as_str() {
                "none" => Vec::new(),
                counts => self::counts(counts)?,
            });
            return Ok(());
        }
        if let Some(counts) = head.strip_prefix("Aside ") {
            rfc.aside.push((self::counts(counts)?, rest));
            return Ok(());
        }
        if let Some(verdict) = Verdict::of(head) {
            if rest.len() < 4 {
                return Err(format!("{head} without a reason"));
            }
            let last = rfc.requirements.last_mut().ok_or("no requirement yet")?;
            if last.verdict.is_some() {
                return Err("a second verdict".into());
            }
            last.verdict = Some((verdict, rest));
            return Ok(());
        }
        let requirement = requirement(head, rest)?;
        if !rfc.sections.contains(&requirement.section) {
            return Err(format!("no section {}", requirement.section));
        }
        if rfc.requirement(&requirement.id).is_some() {
            return Err(format!("{} a second time", requirement.id));
        }
        rfc.requirements.push(requirement);
        Ok(())
    }
}

/// `3.1:2 3.2:4`.
fn counts(text: &str) -> Result<Vec<(String, u32)>, String> {
    let one = |word: &str| {
        let (section, n) = word.split_once(':')?;
        Some((section.to_string(), n.parse().ok()?))
    };
    let counts = text.split_whitespace().map(one).collect::<Option<_>>();
    counts.ok_or_else(|| format!("{text:?} counts nothing"))
}

/// `MUST-12 (3.6) MUST` or `S3.2-1 SHOULD NOT`, whose section is in its name.
fn requirement(head: &str, asks: String) -> Result<Requirement, String> {
    let (id, rest) = head.split_once(' ').ok_or("no level")?;
    let (section, level) = match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(") ").ok_or("no level")?,
        None => {
            let section = id.strip_prefix('S').and_then(|s| s.rsplit_once('-'));
            (section.ok_or("no section")?.0, rest)
        }
    };
    let (level, times) = match level.split_once(" x") {
        Some((level, n)) => (level, n.parse().map_err(|_| "how often?")?),
        None => (level, 1),
    };
    if !["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"].contains(&level) {
        return Err(format!("{level:?} is no level"));
    }
    Ok(Requirement {
        id: id.to_string(),
        section: section.to_string(),
        level: level.to_string(),
        times,
        asks,
        verdict: None,
    })
}

/// Lines with what continues them (an indented line that begins no verdict); `#` comments out.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let begins = !line.starts_with(' ')
            || content
                .split_once(": ")
                .is_some_and(|(w, _)| Verdict::of(w).is_some());
        match lines.last_mut() {
            Some(last) if !begins => {
                last.1.push(' ');
                last.1.push_str(content);
            }
            _ => lines.push((i + 1, content.to_string())),
        }
    }
    lines
}

#[cfg(test)]
mod form {
    use super::Ledger;

    fn take(lines: &[&str]) -> Result<Ledger, String> {
        let mut ledger = Ledger::default();
        for line in lines {
            ledger.take(line)?;
        }
        Ok(ledger)
    }

    const HEAD: [&str; 3] = ["RFC 1: One", "Sections: 1 2 2.1", "Keywords: 1:1 2:3"];

    #[test]
    fn key_words_are_counted() {
        let wrong = |more: &[&str]| {
            let ledger = take(&[&HEAD[..], more].concat()).expect("a list");
            ledger.rfcs[0].miscounted()
        };
        assert_eq!(
            wrong(&["S1-1 MUST: a", "S2.1-1 SHOULD NOT x2: b", "Aside 2:1: c"]),
            [""; 0]
        );
        assert_eq!(wrong(&["S1-1 MUST: a", "S2-1 MUST x2: b"]).len(), 1);
        assert_eq!(wrong(&["S1-1 MUST: a", "S2-1 MUST x4: b"]).len(), 1);
        assert_eq!(wrong(&["S2-1 MUST x3: b"]).len(), 1);
    }

    #[test]
    fn what_is_not_done_says_why() {
        for word in ["partly", "missing", "linux", "void"] {
            let row = "S1-1 MUST: a";
            let verdict = format!("{word}: it is so");
            assert!(take(&[&HEAD[..], &[row, &verdict]].concat()).is_ok());
            let verdict = format!("{word}: ");
            assert!(take(&[&HEAD[..], &[row, &verdict]].concat()).is_err());
        }
        assert!(take(&[&HEAD[..], &["S3-1 MUST: a"]].concat()).is_err());
        assert!(take(&[&HEAD[..], &["S1-1 MAY: a"]].concat()).is_err());
    }
}
