//! From text to [`Script`]. No text makes this panic; errors say where.

use crate::model::{Action, Call, Event, Expr, ExprKind, Micros, Position, Script, Time};
use crate::token::{SyntaxError, Token, tokens};

/// What parsing gives.
pub type Result<T> = core::result::Result<T, SyntaxError>;

/// Read a script.
pub fn parse(text: &str) -> Result<Script> {
    let tokens = tokens(text)?;
    let end = Position {
        line: text.lines().count().max(1) as u32,
        column: text.lines().next_back().map_or(0, |l| l.chars().count()) as u32 + 1,
    };
    let mut p = Parser {
        tokens: &tokens,
        next: 0,
        end,
        defines: Vec::new(),
    };
    let mut script = Script::default();
    while let Some(Token::Option(name, value)) = p.peek() {
        script.options.push((name.clone(), value.clone()));
        // `--define=NAME=value`: a name for a number or a text.
        if name == "define"
            && let Some((name, value)) = value.as_deref().and_then(|v| v.split_once('='))
        {
            p.defines.push((name.to_owned(), value.to_owned()));
        }
        p.next += 1;
    }
    while p.peek().is_some() {
        script.events.push(p.event()?);
    }
    Ok(script)
}

/// How deep expressions may be nested.
const DEEPEST: usize = 40;

pub(crate) struct Parser<'a> {
    tokens: &'a [(Position, Token)],
    next: usize,
    end: Position,
    defines: Vec<(String, String)>,
}

impl<'a> Parser<'a> {
    pub(crate) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next).map(|(_, t)| t)
    }

    pub(crate) fn peek_after(&self, n: usize) -> Option<&'a Token> {
        self.tokens.get(self.next + n).map(|(_, t)| t)
    }

    pub(crate) fn position(&self) -> Position {
        self.tokens.get(self.next).map_or(self.end, |(p, _)| *p)
    }

    pub(crate) fn take(&mut self) -> Option<&'a Token> {
        let t = self.peek();
        self.next += 1;
        t
    }

    pub(crate) fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(SyntaxError {
            position: self.position(),
            message: message.into(),
        })
    }

    /// "expected this, found that".
    pub(crate) fn expected<T>(&self, what: &str) -> Result<T> {
        match self.peek() {
            Some(t) => self.error(format!("expected {what}, found {t}")),
            None => self.error(format!("expected {what}, found the end")),
        }
    }

    pub(crate) fn is(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w == word)
    }

    pub(crate) fn eat(&mut self, sign: char) -> bool {
        let yes = self.is(sign);
        self.next += usize::from(yes);
        yes
    }

    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let yes = self.is_word(word);
        self.next += usize::from(yes);
        yes
    }

    pub(crate) fn need(&mut self, sign: char) -> Result<()> {
        if self.eat(sign) {
            Ok(())
        } else {
            self.expected(&format!("`{sign}`"))
        }
    }

    /// A whole number, perhaps by a defined name.
    pub(crate) fn int<T: TryFrom<i64>>(&mut self, what: &str) -> Result<T> {
        let n = match self.peek() {
            Some(Token::Int(n) | Token::Hex(n)) => *n,
            Some(Token::Word(w)) => match self.define(w).and_then(|v| number(&v)) {
                Some(n) => n,
                None => return self.expected(what),
            },
            _ => return self.expected(what),
        };
        let Ok(n) = T::try_from(n) else {
            return self.error(format!("{n} is out of range for {what}"));
        };
        self.next += 1;
        Ok(n)
    }

    pub(crate) fn word(&mut self, what: &str) -> Result<String> {
        match self.peek() {
            Some(Token::Word(w)) => {
                self.next += 1;
                Ok(w.clone())
            }
            _ => self.expected(what),
        }
    }

    pub(crate) fn define(&self, name: &str) -> Option<String> {
        let found = self.defines.iter().rev().find(|(n, _)| n == name);
        found.map(|(_, v)| v.clone())
    }

    fn micros(&mut self) -> Result<Micros> {
        let micros = match self.peek() {
            Some(Token::Millionths(n)) => Some(*n),
            Some(Token::Int(n)) => n.checked_mul(1_000_000),
            _ => return self.expected("a time"),
        };
        // A century is enough, and sums of such don't overflow.
        match micros.filter(|n| (0..=100 * 366 * 86_400_000_000).contains(n)) {
            Some(n) => {
                self.next += 1;
                Ok(n)
            }
            None => self.error("a time is out of range"),
        }
    }

    fn time(&mut self) -> Result<Time> {
        if self.eat('*') {
            return Ok(Time::Any);
        }
        if self.eat('+') {
            let from = self.micros()?;
            if self.eat('~') {
                self.need('+')?;
                return Ok(Time::RelativeRange(from, self.micros()?));
            }
            return Ok(Time::Relative(from));
        }
        let from = self.micros()?;
        if self.eat('~') {
            return Ok(Time::AbsoluteRange(from, self.micros()?));
        }
        Ok(Time::Absolute(from))
    }

    fn event(&mut self) -> Result<Event> {
        let position = self.position();
        // Commands at the beginning and at the end stand without a time.
        let time = match self.peek() {
            Some(Token::Command(_) | Token::Code(_)) => Time::Relative(0),
            _ => self.time()?,
        };
        let at = self.position();
        let action = match self.peek() {
            Some(Token::Sign('<')) => {
                self.next += 1;
                Action::Inbound(self.packet(true)?)
            }
            Some(Token::Sign('>')) => {
                self.next += 1;
                Action::Outbound(self.packet(false)?)
            }
            Some(Token::Command(c)) => {
                self.next += 1;
                Action::Command(c.clone())
            }
            Some(Token::Code(c)) => {
                self.next += 1;
                Action::Code(c.clone(), at)
            }
            Some(Token::Word(_) | Token::Ellipsis) => Action::Call(self.call()?),
            _ => return self.expected("a packet, a call, a command or code"),
        };
        Ok(Event {
            position,
            time,
            action,
        })
    }

    fn call(&mut self) -> Result<Call> {
        let until = if self.peek() == Some(&Token::Ellipsis) {
            self.next += 1;
            Some(self.micros()?)
        } else {
            None
        };
        let name = self.word("a call's name")?;
        self.need('(')?;
        let args = self.list(')', DEEPEST)?;
        self.need('=')?;
        let result = self.expr(DEEPEST)?;
        let mut errno = None;
        if matches!(self.peek(), Some(Token::Word(_))) && !self.is_event_start() {
            errno = Some(self.word("an errno")?);
        }
        // `(what strerror says)`, or flags in words.
        if self.eat('(') {
            while !self.eat(')') {
                if self.take().is_none() {
                    return self.expected("`)`");
                }
            }
        }
        Ok(Call {
            until,
            name,
            args,
            result,
            errno,
        })
    }

    fn is_event_start(&self) -> bool {
        matches!(
            self.peek(),
            Some(Token::Sign('+' | '*') | Token::Int(_) | Token::Millionths(_))
        )
    }

    /// Expressions up to `end`, which is taken.
    fn list(&mut self, end: char, deep: usize) -> Result<Vec<Expr>> {
        let mut out = Vec::new();
        if self.eat(end) {
            return Ok(out);
        }
        loop {
            out.push(self.expr(deep)?);
            if self.eat(end) {
                return Ok(out);
            }
            self.need(',')?;
        }
    }

    fn expr(&mut self, deep: usize) -> Result<Expr> {
        let position = self.position();
        let first = self.simple(deep)?;
        if !self.is('|') {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.eat('|') {
            parts.push(self.simple(deep)?);
        }
        Ok(Expr {
            position,
            kind: ExprKind::Or(parts),
        })
    }

    fn simple(&mut self, deep: usize) -> Result<Expr> {
        let position = self.position();
        let Some(deep) = deep.checked_sub(1) else {
            return self.error("nested too deeply");
        };
        let kind = match self.peek() {
            Some(Token::Ellipsis) => {
                self.next += 1;
                ExprKind::Ellipsis
            }
            Some(Token::Int(n) | Token::Hex(n)) => {
                self.next += 1;
                ExprKind::Int(*n)
            }
            Some(Token::Text(t)) => {
                self.next += 1;
                let more = self.peek() == Some(&Token::Ellipsis);
                self.next += usize::from(more);
                ExprKind::Text(t.clone(), more)
            }
            Some(Token::Sign('[')) => {
                self.next += 1;
                ExprKind::Array(self.list(']', deep)?)
            }
            Some(Token::Sign('{')) => {
                self.next += 1;
                ExprKind::Struct(self.fields(deep)?)
            }
            Some(Token::Word(w)) => {
                self.next += 1;
                if self.eat('(') {
                    ExprKind::Of(w.clone(), self.list(')', deep)?)
                } else {
                    self.named(w)
                }
            }
            _ => return self.expected("an expression"),
        };
        Ok(Expr { position, kind })
    }

    fn named(&self, word: &str) -> ExprKind {
        match self.define(word) {
            Some(v) => match number(&v) {
                Some(n) => ExprKind::Int(n),
                None => ExprKind::Text(v.into_bytes(), false),
            },
            None => ExprKind::Word(word.to_owned()),
        }
    }

    /// `name=value` or `name(value)=value` or `value`, up to the brace.
    fn fields(&mut self, deep: usize) -> Result<Vec<(Option<String>, Expr)>> {
        let mut out = Vec::new();
        if self.eat('}') {
            return Ok(out);
        }
        loop {
            let mut name = None;
            if let Some(Token::Word(w)) = self.peek() {
                if self.peek_after(1) == Some(&Token::Sign('=')) {
                    name = Some(w.clone());
                    self.next += 2;
                } else if matches!(w.as_str(), "msg_name" | "msg_iov") {
                    // The length in parentheses follows from what is there.
                    name = Some(w.clone());
                    self.next += 1;
                    self.need('(')?;
                    self.list(')', deep)?;
                    self.need('=')?;
                }
            }
            out.push((name, self.expr(deep)?));
            if self.eat('}') {
                return Ok(out);
            }
            self.need(',')?;
        }
    }
}

/// A whole number in decimal or hexadecimal.
fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
