//! Two runs of a scenario compared, and the proof that the library carried the second.

use super::netns::Counters;
use super::run::{Outcome, Scenario, Side};
use std::fmt::Write;

/// Ok if both runs agree and each was carried by the stack it should have been carried by.
pub fn judge(
    scenario: &Scenario,
    kernel: &Outcome,
    other: &Outcome,
    side: &Side,
) -> Result<(), String> {
    let mut report = String::new();
    for (i, (k, o)) in kernel.results.iter().zip(&other.results).enumerate() {
        let (left, right) = (lines(&k.stdout, &k.end), lines(&o.stdout, &o.end));
        if left != right {
            let _ = writeln!(report, "{} differs:", k.label);
            report.push_str(&beside("kernel", side.name(), &left, &right));
            for (name, text) in [("kernel", &k.stderr), (side.name(), &o.stderr)] {
                if !text.is_empty() {
                    let _ = writeln!(report, "stderr on {name}:\n{text}");
                }
            }
        } else if k.end != "exit status 0" && scenario.must_succeed(i) {
            let _ = writeln!(
                report,
                "{}: {} on both sides\n{}{}",
                k.label, k.end, k.stdout, k.stderr
            );
        }
    }
    if scenario.segments {
        match (&kernel.segments, &other.segments) {
            (Ok(k), Ok(o)) => {
                let text = |s: &[_]| s.iter().map(ToString::to_string).collect::<Vec<String>>();
                let (k, o) = (text(k), text(o));
                if k.is_empty() {
                    report.push_str("no segment was captured on the kernel\n");
                }
                if k != o {
                    report.push_str("the segments differ:\n");
                    report.push_str(&beside("kernel", side.name(), &k, &o));
                }
            }
            (Err(e), _) => {
                let _ = writeln!(report, "no segments from the kernel: {e}");
            }
            (_, Err(e)) => {
                let _ = writeln!(report, "no segments from {}: {e}", side.name());
            }
        }
    }
    if let Some(inspect) = scenario.inspect {
        for (name, segments) in [("kernel", &kernel.segments), (side.name(), &other.segments)] {
            if let Err(e) = segments.as_deref().map_err(Clone::clone).and_then(inspect) {
                let _ = writeln!(report, "the segments on {name}: {e}");
            }
        }
    }
    if let Err(e) = proof(scenario, kernel, other, side) {
        let _ = writeln!(report, "{e}");
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(report)
    }
}

/// That the first run was the kernel's and the second was not.
fn proof(
    scenario: &Scenario,
    kernel: &Outcome,
    other: &Outcome,
    side: &Side,
) -> Result<(), String> {
    let Side::Library(path) = side else {
        return Ok(());
    };
    if scenario.on_the_kernel {
        return Ok(());
    }
    if kernel.kernel == Counters::default() {
        return Err(
            "proof: on the kernel's side the kernel's TCP counters did not move; a program that \
             makes no connection proves nothing"
                .to_owned(),
        );
    }
    if scenario.two_hosts {
        if !other.over_utcp0 {
            return Err(format!(
                "proof: {} did not carry this: no packets both ways over utcp0",
                path.display()
            ));
        }
    } else if other.kernel != Counters::default() {
        return Err(format!(
            "proof: {} did not carry this, the kernel did: its TCP counters in the namespace \
             moved: {:?}",
            path.display(),
            other.kernel
        ));
    }
    Ok(())
}

fn lines(stdout: &str, end: &str) -> Vec<String> {
    let mut lines: Vec<String> = stdout.lines().map(str::to_owned).collect();
    lines.push(format!("[{end}]"));
    lines
}

/// Both texts in two columns from shortly before the first difference on, which is marked.
pub fn beside(left_name: &str, right_name: &str, left: &[String], right: &[String]) -> String {
    const BEFORE: usize = 6;
    const AFTER: usize = 25;
    let first = left
        .iter()
        .zip(right)
        .position(|(l, r)| l != r)
        .unwrap_or(left.len().min(right.len()));
    let from = first.saturating_sub(BEFORE);
    let to = (first + AFTER).min(left.len().max(right.len()));
    let shown = left.iter().take(to).skip(from);
    let width = shown
        .map(|l| l.chars().count())
        .max()
        .unwrap_or(0)
        .clamp(left_name.len(), 90);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "  first difference in line {}\n  line   {left_name:width$} | {right_name}",
        first + 1
    );
    for i in from..to {
        let l = left.get(i).map_or("", String::as_str);
        let r = right.get(i).map_or("", String::as_str);
        let mark = if i == first {
            ">>"
        } else if l != r {
            " >"
        } else {
            "  "
        };
        let _ = writeln!(out, "{mark}{:4}   {l:width$} | {r}", i + 1);
    }
    if to < left.len().max(right.len()) {
        let _ = writeln!(out, "  ... to line {}", left.len().max(right.len()));
    }
    out
}
