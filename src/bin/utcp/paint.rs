//! Text with colours and a known width.

use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;
use unicode_width::UnicodeWidthStr;

/// Nothing special.
pub const PLAIN: Style = Style::new();
/// Less important.
pub const DIM: Style = Style::new().dimmed();
/// More important.
pub const BOLD: Style = Style::new().bold();
/// Wrong, or different.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// As it should be.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Worth a look.
pub const NOTE: Style = AnsiColor::Yellow.on_default();
/// TCP states.
pub const STATE: Style = AnsiColor::Green.on_default().bold();
/// Segments that open.
pub const OPENING: Style = AnsiColor::Cyan.on_default().bold();
/// Segments that carry data.
pub const DATA: Style = AnsiColor::Blue.on_default().bold();
/// Segments that close.
pub const CLOSING: Style = AnsiColor::Magenta.on_default().bold();

/// The columns a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// One line, in pieces of one style each.
#[derive(Clone, Default, Debug)]
pub struct Line {
    parts: Vec<(String, Style)>,
}

impl Line {
    /// A line of one piece.
    pub fn new(text: impl Into<String>, style: Style) -> Line {
        Line {
            parts: vec![(text.into(), style)],
        }
    }

    /// Add a piece.
    #[must_use]
    pub fn then(mut self, text: impl Into<String>, style: Style) -> Line {
        self.parts.push((text.into(), style));
        self
    }

    /// Add another line's pieces.
    #[must_use]
    pub fn join(mut self, other: Line) -> Line {
        self.parts.extend(other.parts);
        self
    }

    /// Its width in columns.
    pub fn width(&self) -> usize {
        self.parts.iter().map(|(text, _)| width(text)).sum()
    }

    /// Fill with spaces on the right up to `columns`.
    #[must_use]
    pub fn pad(self, columns: usize) -> Line {
        let missing = columns.saturating_sub(self.width());
        self.then(" ".repeat(missing), PLAIN)
    }

    /// Fill with spaces on the left up to `columns`.
    #[must_use]
    pub fn pad_left(self, columns: usize) -> Line {
        let missing = columns.saturating_sub(self.width());
        Line::new(" ".repeat(missing), PLAIN).join(self)
    }

    /// With escape sequences (the stream it is printed to strips them where they don't belong),
    /// without spaces at the end.
    pub fn render(&self) -> String {
        let mut parts = self.parts.clone();
        while let Some((text, style)) = parts.last_mut() {
            if *style == PLAIN {
                text.truncate(text.trim_end().len());
                if text.is_empty() {
                    parts.pop();
                    continue;
                }
            }
            break;
        }
        let mut out = String::new();
        for (text, style) in parts.iter().filter(|(text, _)| !text.is_empty()) {
            if *style == PLAIN {
                out.push_str(text);
            } else {
                let _ = write!(out, "{style}{text}{style:#}");
            }
        }
        out
    }

    /// Without escape sequences.
    #[cfg(test)]
    pub fn plain(&self) -> String {
        let text: String = self.parts.iter().map(|(text, _)| text.as_str()).collect();
        text.trim_end().to_owned()
    }
}

/// `text` in lines of at most `columns`, broken at spaces where there are any; lines after the
/// first start with `indent`.
pub fn wrap(text: &str, columns: usize, indent: &str) -> Vec<String> {
    let columns = columns.max(width(indent) + 4);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        if !line.trim().is_empty() && width(&line) + width(word.trim_end()) > columns {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        }
        line.push_str(word);
        while width(line.trim_end()) > columns {
            let mut cut = 0;
            let mut used = 0;
            for (at, c) in line.char_indices() {
                used += width(c.encode_utf8(&mut [0; 4]));
                if used > columns {
                    break;
                }
                cut = at + c.len_utf8();
            }
            let rest = format!("{indent}{}", &line[cut..]);
            line.truncate(cut);
            lines.push(std::mem::replace(&mut line, rest));
        }
    }
    if !line.trim().is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines.into_iter().map(|l| l.trim_end().to_owned()).collect()
}

/// How many columns there are to print in: the terminal's; in a pipe, what COLUMNS says or 120.
pub fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let terminal = terminal_size::terminal_size().map(|(w, _)| usize::from(w.0));
    said.or(terminal).unwrap_or(120).clamp(80, 200)
}

/// `text` without what would move the cursor or ring the bell: for text that programs and
/// files gave.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces() {
        let got = wrap("bind(3, 127.0.0.1:9000, 16) = 0", 16, "  ");
        assert_eq!(got, ["bind(3,", "  127.0.0.1:9000", "  , 16) = 0"]);
        assert_eq!(wrap("short", 20, "  "), ["short"]);
        assert_eq!(wrap("", 20, "  "), [""]);
        assert_eq!(wrap("aaaaaaaaaa", 6, " "), ["aaaaaa", " aaaa"]);
    }

    #[test]
    fn wide_characters_count_double() {
        assert_eq!(wrap("서버클라이언트", 8, ""), ["서버클라", "이언트"]);
        assert_eq!(Line::new("서버", BOLD).pad(6).width(), 6);
    }

    #[test]
    fn padding_is_not_printed_at_the_end() {
        let line = Line::new("a", BOLD).pad(10);
        assert!(!line.render().ends_with(' '));
        assert_eq!(line.plain(), "a");
    }
}
