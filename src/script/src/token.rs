//! Words and signs of a script.

use crate::model::Position;

/// Why a script can't be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub position: Position,
    /// Why.
    pub message: String,
}

impl core::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.position, self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// `[A-Za-z0-9_]+` that is no number.
    Word(String),
    /// A whole number.
    Int(i64),
    /// `0x...`.
    Hex(i64),
    /// A number with a point, in millionths (what is smaller is lost).
    Millionths(i64),
    /// `"..."`, escapes resolved.
    Text(Vec<u8>),
    /// `` `...` ``.
    Command(String),
    /// `%{ ... }%`.
    Code(String),
    /// `--name=value`.
    Option(String, Option<String>),
    /// `...`.
    Ellipsis,
    /// Any other character.
    Sign(char),
}

impl core::fmt::Display for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Token::Word(w) => write!(f, "`{w}`"),
            Token::Int(n) => write!(f, "`{n}`"),
            Token::Hex(n) => write!(f, "`{n:#x}`"),
            Token::Millionths(n) => write!(f, "`{}`", *n as f64 / 1e6),
            Token::Text(_) => f.write_str("a text"),
            Token::Command(_) => f.write_str("a command"),
            Token::Code(_) => f.write_str("code"),
            Token::Option(n, _) => write!(f, "`--{n}`"),
            Token::Ellipsis => f.write_str("`...`"),
            Token::Sign(c) => write!(f, "`{c}`"),
        }
    }
}

/// All tokens of `text` with their positions.
pub fn tokens(text: &str) -> Result<Vec<(Position, Token)>, SyntaxError> {
    let mut lexer = Lexer {
        rest: text,
        at: Position { line: 1, column: 1 },
    };
    let mut out = Vec::new();
    loop {
        lexer.skip_space()?;
        if lexer.rest.is_empty() {
            return Ok(out);
        }
        let at = lexer.at;
        out.push((at, lexer.next()?));
    }
}

struct Lexer<'a> {
    rest: &'a str,
    at: Position,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'a> Lexer<'a> {
    fn error<T>(&self, at: Position, message: &str) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            position: at,
            message: message.to_owned(),
        })
    }

    /// Go on by `n` bytes, which end a character; gives them.
    fn take(&mut self, n: usize) -> &'a str {
        let Some((taken, rest)) = self.rest.split_at_checked(n) else {
            return core::mem::take(&mut self.rest);
        };
        for c in taken.chars() {
            if c == '\n' {
                self.at.line += 1;
                self.at.column = 1;
            } else {
                self.at.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, f: impl Fn(char) -> bool) -> &'a str {
        let n = self.rest.find(|c| !f(c)).unwrap_or(self.rest.len());
        self.take(n)
    }

    /// Take up to and with `end`; gives what is before it.
    fn take_through(&mut self, end: &str, what: &str) -> Result<&'a str, SyntaxError> {
        let at = self.at;
        match self.rest.find(end) {
            Some(n) => {
                let inside = self.take(n);
                self.take(end.len());
                Ok(inside)
            }
            None => self.error(at, &format!("{what} has no end")),
        }
    }

    fn skip_space(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest.starts_with("//") || self.rest.starts_with('#') {
                self.take_while(|c| c != '\n');
            } else if self.rest.starts_with("/*") {
                self.take(2);
                self.take_through("*/", "the comment")?;
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Token, SyntaxError> {
        let at = self.at;
        if self.rest.starts_with("%{") {
            self.take(2);
            return Ok(Token::Code(self.take_through("}%", "the code")?.to_owned()));
        }
        if self.rest.starts_with("...") {
            self.take(3);
            return Ok(Token::Ellipsis);
        }
        if let Some(name) = self.rest.strip_prefix("--")
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return self.option();
        }
        let mut chars = self.rest.chars();
        let (first, second) = (chars.next().unwrap_or(' '), chars.next().unwrap_or(' '));
        match first {
            '"' => {
                self.take(1);
                self.quoted('"').map(Token::Text)
            }
            '`' => {
                self.take(1);
                let bytes = self.raw_quoted('`')?;
                Ok(Token::Command(bytes.to_owned()))
            }
            '-' if second.is_ascii_digit() || second == '.' => {
                self.take(1);
                match self.number(at)? {
                    Token::Int(n) => Ok(Token::Int(-n)),
                    Token::Millionths(n) => Ok(Token::Millionths(-n)),
                    _ => self.error(at, "a sign stands before a number"),
                }
            }
            '.' if second.is_ascii_digit() => self.number(at),
            c if is_word(c) => self.number(at),
            c => {
                self.take(c.len_utf8());
                Ok(Token::Sign(c))
            }
        }
    }

    fn option(&mut self) -> Result<Token, SyntaxError> {
        self.take(2);
        let name = self.take_while(is_word).to_owned();
        if !self.rest.starts_with('=') {
            return Ok(Token::Option(name, None));
        }
        self.take(1);
        let mut value = String::new();
        loop {
            value += self.take_while(|c| !c.is_whitespace() && c != '"' && c != '`');
            match self.rest.chars().next() {
                Some(q @ ('"' | '`')) => {
                    self.take(1);
                    value += self.raw_quoted(q)?;
                }
                _ => return Ok(Token::Option(name, Some(value))),
            }
        }
    }

    /// A word, or a number.
    fn number(&mut self, at: Position) -> Result<Token, SyntaxError> {
        let word = self.take_while(is_word);
        if let Some(hex) = word.strip_prefix("0x")
            && !hex.is_empty()
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return match u64::from_str_radix(hex, 16) {
                Ok(n) => Ok(Token::Hex(n as i64)),
                Err(_) => self.error(at, "the number is too large"),
            };
        }
        if !word.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Token::Word(word.to_owned()));
        }
        let mut after = self.rest.chars();
        let fraction =
            after.next() == Some('.') && after.next().is_some_and(|c| c.is_ascii_digit());
        let Ok(whole) = (if word.is_empty() {
            Ok(0)
        } else {
            word.parse::<i64>()
        }) else {
            return self.error(at, "the number is too large");
        };
        if !fraction {
            return Ok(Token::Int(whole));
        }
        self.take(1);
        let digits = self.take_while(|c| c.is_ascii_digit());
        let mut part = 0;
        for i in 0..6 {
            let digit = digits.as_bytes().get(i).map_or(0, |b| i64::from(b - b'0'));
            part = part * 10 + digit;
        }
        match whole
            .checked_mul(1_000_000)
            .and_then(|w| w.checked_add(part))
        {
            Some(n) => Ok(Token::Millionths(n)),
            None => self.error(at, "the number is too large"),
        }
    }

    /// What stands before the closing quote, backslashes left as they are.
    fn raw_quoted(&mut self, quote: char) -> Result<&'a str, SyntaxError> {
        let at = self.at;
        let mut escaped = false;
        let end = self.rest.char_indices().find(|(_, c)| {
            let here = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            here
        });
        match end {
            Some((n, _)) => {
                let inside = self.take(n);
                self.take(1);
                Ok(inside)
            }
            None => self.error(at, "the quote has no end"),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Vec<u8>, SyntaxError> {
        let at = self.at;
        let raw = self.raw_quoted(quote)?;
        let mut out = Vec::new();
        let mut bytes = raw.bytes();
        while let Some(b) = bytes.next() {
            if b != b'\\' {
                out.push(b);
                continue;
            }
            match bytes.next() {
                Some(b'n') => out.push(b'\n'),
                Some(b'r') => out.push(b'\r'),
                Some(b't') => out.push(b'\t'),
                Some(b'0') => out.push(0),
                Some(b'x') => {
                    let hex: Vec<u8> = bytes.by_ref().take(2).collect();
                    let text = core::str::from_utf8(&hex).unwrap_or_default();
                    match u8::from_str_radix(text, 16) {
                        Ok(n) => out.push(n),
                        Err(_) => return self.error(at, "\\x takes two hexadecimal digits"),
                    }
                }
                Some(other) => out.push(other),
                None => {}
            }
        }
        Ok(out)
    }
}
