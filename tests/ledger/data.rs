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
    pub requirements: Vec<Requirement>,
}

impl Rfc {
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
        if let Some(verdict) = Verdict::of(head) {
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
    if !["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"].contains(&level) {
        return Err(format!("{level:?} is no level"));
    }
    Ok(Requirement {
        id: id.to_string(),
        section: section.to_string(),
        level: level.to_string(),
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
