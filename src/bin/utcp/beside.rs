//! Two runs printed beside each other, differences marked.

use crate::diff::{Pair, Section, Verdict};
use crate::paint::{self, Line};

/// The lines of a section: its title, then its pairs.
pub fn section(section: &Section, columns: usize) -> Vec<Line> {
    let mut lines = vec![Line::new(section.title.clone(), paint::BOLD)];
    if section.pairs.is_empty() {
        lines.push(Line::new("  (none)", paint::DIM));
    }
    for p in &section.pairs {
        lines.extend(pair(p, columns));
    }
    lines
}

/// The line above sections.
pub fn heading(left: &str, right: &str, columns: usize) -> Line {
    let half = half(columns);
    Line::new("  ", paint::PLAIN)
        .then(left, paint::BOLD)
        .pad(2 + half)
        .then("   ", paint::PLAIN)
        .then(right, paint::BOLD)
}

fn half(columns: usize) -> usize {
    columns.saturating_sub(6) / 2
}

fn pair(p: &Pair, columns: usize) -> Vec<Line> {
    let half = half(columns);
    let (mark, style) = match p.verdict {
        Verdict::Same => ("=", paint::DIM),
        Verdict::Varies => ("~", paint::NOTE),
        Verdict::Differs => ("≠", paint::BAD),
    };
    let text_style = match p.verdict {
        Verdict::Same => paint::PLAIN,
        _ => style,
    };
    let parts = |item: &Option<crate::diff::Item>| match item {
        Some(item) => paint::wrap(&paint::printable(&item.text), half, "  "),
        None => vec!["(nothing)".to_owned()],
    };
    let (left, right) = (parts(&p.left), parts(&p.right));
    let mut lines = Vec::new();
    for i in 0..left.len().max(right.len()) {
        let mark = if i == 0 { mark } else { " " };
        let at = |side: &[String]| side.get(i).cloned().unwrap_or_default();
        lines.push(
            Line::new("  ", paint::PLAIN)
                .then(at(&left), text_style)
                .pad(2 + half)
                .then(format!(" {mark} "), style)
                .then(at(&right), text_style),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::Item;

    #[test]
    fn differences_are_marked() {
        let items = |words: &[&str]| words.iter().map(|w| Item::exact(*w)).collect::<Vec<_>>();
        let s = Section::new(
            "lines",
            &items(&["one", "two"]),
            &items(&["one", "three", "x"]),
        );
        let got: Vec<_> = section(&s, 40).iter().map(Line::plain).collect();
        let want = [
            "lines",
            "  one               = one",
            "  two               ≠ three",
            "  (nothing)         ≠ x",
        ];
        assert_eq!(got, want);
    }
}
