//! `%{ ... }%`: assertions, a small part of Python.
//!
//! Statements, one a line or separated by `;`: `assert EXPRESSION`, `assert EXPRESSION, MESSAGE`,
//! `print(...)`. Expressions have `or`, `and`, `not`, comparisons (in chains), `|`, `&`, `+`, `-`,
//! `*`, `//`, `%`, parentheses, numbers, texts, the fields of TCP_INFO, TCP_CC_INFO (of BBR) and
//! SO_MEMINFO, and Linux's constants.

use crate::names::{self, Told};

/// Run `code` against what was told of a socket; says what is wrong.
pub fn run(code: &str, told: &Told) -> Result<(), String> {
    for line in code.lines() {
        for statement in split(line) {
            run_statement(statement.trim(), told)?;
        }
    }
    Ok(())
}

/// Statements of a line, without its comment.
fn split(line: &str) -> Vec<&str> {
    let mut quote = None;
    let mut start = 0;
    let mut out = Vec::new();
    for (i, c) in line.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), _) if c == q => quote = None,
            (None, ';') => {
                out.push(&line[start..i]);
                start = i + 1;
            }
            (None, '#') => {
                out.push(&line[start..i]);
                return out;
            }
            _ => {}
        }
    }
    out.push(&line[start..]);
    out
}

fn run_statement(text: &str, told: &Told) -> Result<(), String> {
    if text.is_empty() || text.starts_with("print") {
        return Ok(());
    }
    let Some(asserted) = text.strip_prefix("assert") else {
        return Err(format!("`{text}` is no assertion"));
    };
    let mut e = Evaluator {
        rest: asserted,
        told,
        used: Vec::new(),
        deep: 0,
    };
    let value = e.or()?;
    e.skip();
    if !(e.rest.is_empty() || e.rest.starts_with(',')) {
        return Err(format!("`{}` is not understood", e.rest));
    }
    if value != 0 {
        return Ok(());
    }
    let values: Vec<String> = e.used.iter().map(|(n, v)| format!("{n} is {v}")).collect();
    let shown = asserted.trim();
    Err(format!("it is not so that {shown}: {}", values.join(", ")))
}

struct Evaluator<'a> {
    rest: &'a str,
    told: &'a Told,
    used: Vec<(String, i64)>,
    deep: u32,
}

type Value = Result<i64, String>;

impl Evaluator<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, sign: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(word) {
            Some(rest) if !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn or(&mut self) -> Value {
        let mut v = self.and()?;
        while self.eat_word("or") {
            let w = self.and()?;
            v = if v != 0 { v } else { w };
        }
        Ok(v)
    }

    fn and(&mut self) -> Value {
        let mut v = self.not()?;
        while self.eat_word("and") {
            let w = self.not()?;
            v = if v == 0 { v } else { w };
        }
        Ok(v)
    }

    fn not(&mut self) -> Value {
        let mut negate = false;
        while self.eat_word("not") {
            negate = !negate;
        }
        let v = self.comparison()?;
        Ok(if negate { i64::from(v == 0) } else { v })
    }

    fn comparison(&mut self) -> Value {
        let mut left = self.bits_or()?;
        let mut chain = None;
        loop {
            let compare: fn(&i64, &i64) -> bool = if self.eat("==") {
                i64::eq
            } else if self.eat("!=") {
                i64::ne
            } else if self.eat("<=") {
                i64::le
            } else if self.eat(">=") {
                i64::ge
            } else if self.eat("<") {
                i64::lt
            } else if self.eat(">") {
                i64::gt
            } else {
                return Ok(chain.unwrap_or(left));
            };
            let right = self.bits_or()?;
            let so = compare(&left, &right) && chain != Some(0);
            chain = Some(i64::from(so));
            left = right;
        }
    }

    fn bits_or(&mut self) -> Value {
        let mut v = self.bits_and()?;
        while self.eat("|") {
            v |= self.bits_and()?;
        }
        Ok(v)
    }

    fn bits_and(&mut self) -> Value {
        let mut v = self.sum()?;
        while self.eat("&") {
            v &= self.sum()?;
        }
        Ok(v)
    }

    fn sum(&mut self) -> Value {
        let mut v = self.product()?;
        loop {
            if self.eat("+") {
                v = v.wrapping_add(self.product()?);
            } else if self.eat("-") {
                v = v.wrapping_sub(self.product()?);
            } else {
                return Ok(v);
            }
        }
    }

    fn product(&mut self) -> Value {
        let mut v = self.atom()?;
        loop {
            if self.eat("*") {
                v = v.wrapping_mul(self.atom()?);
            } else if self.eat("//") || self.eat("/") {
                let by = self.atom()?;
                v = v.checked_div(by).ok_or("a division by zero")?;
            } else if self.eat("%") {
                let by = self.atom()?;
                v = v.checked_rem(by).ok_or("a division by zero")?;
            } else {
                return Ok(v);
            }
        }
    }

    fn atom(&mut self) -> Value {
        self.deep += 1;
        if self.deep > 200 {
            return Err("the expression is too long".to_owned());
        }
        if self.eat("(") {
            let v = self.or()?;
            return if self.eat(")") {
                Ok(v)
            } else {
                Err("a parenthesis has no end".to_owned())
            };
        }
        if self.eat("-") {
            return Ok(self.atom()?.wrapping_neg());
        }
        self.skip();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let n = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(n);
        if word.is_empty() {
            return Err(format!("a value is missing before `{}`", self.rest));
        }
        self.rest = rest;
        if let Some(hex) = word.strip_prefix("0x") {
            return i64::from_str_radix(hex, 16).map_err(|e| format!("{word}: {e}"));
        }
        if let Ok(n) = word.parse() {
            return Ok(n);
        }
        match word {
            "True" => return Ok(1),
            "False" | "None" => return Ok(0),
            _ => {}
        }
        if let Some(v) = names::told(self.told, word) {
            self.used.push((word.to_owned(), v));
            return Ok(v);
        }
        names::constant(word).ok_or_else(|| format!("nothing is known by the name {word}"))
    }
}
