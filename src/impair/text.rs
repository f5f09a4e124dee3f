//! Settings as text, both ways: what `utcp impair` and `UTCP_IMPAIR` are given, and show.
//!
//! `loss=2% delay=50ms±10ms in.rate=20mbit on=tun seed=7`: items between blanks; a key without
//! prefix sets both directions, `in.` and `out.` one.

use super::settings::{Chain, REORDER_BY};
use super::{Chance, MAX_QUEUE, Outage, Profile, Settings, Where};
use core::fmt;

/// What one key means.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What a value looks like.
    pub example: &'static str,
}

/// All keys, in the order in which they are shown.
pub const KEYS: [Key; 14] = [
    key("loss", "2%"),
    key("burst", "5"),
    key("gemodel", "1%,25%,100%,0%"),
    key("delay", "50ms±10ms"),
    key("reorder", "1% or 1%,10ms"),
    key("duplicate", "1%"),
    key("corrupt", "0.1%"),
    key("rate", "20mbit"),
    key("queue", "100"),
    key("mtu", "1400"),
    key("black-hole", "on"),
    key("outage", "2s@10s or 2s/30s"),
    key("on", "lo, tun or both"),
    key("seed", "7"),
];

const fn key(name: &'static str, example: &'static str) -> Key {
    Key { name, example }
}

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLI;
/// No delay is longer than an hour, so that sums of times can't overflow.
const LONGEST: u64 = 3600 * SECOND;

impl Settings {
    /// Read a whole text; what it doesn't name is off. All is well or nothing is.
    pub fn parse(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        for item in text.split_whitespace() {
            let (name, value) = item
                .split_once('=')
                .ok_or_else(|| format!("{item:?} is no key=value, as in loss=2%"))?;
            let (way, name) = match name.split_once('.') {
                Some(("in", name)) => (Some(false), name),
                Some(("out", name)) => (Some(true), name),
                Some(_) => return Err(format!("{name:?}: a direction is in or out")),
                None => (None, name),
            };
            settings
                .set(way, name, value)
                .map_err(|why| format!("{name}={value}: {why}"))?;
        }
        settings.check()?;
        Ok(settings)
    }

    /// Set one key: of what goes out (`Some(true)`), comes in (`Some(false)`), or both.
    pub fn set(&mut self, out: Option<bool>, name: &str, value: &str) -> Result<(), String> {
        match name {
            "on" | "seed" if out.is_some() => {
                return Err("it holds for both directions".to_owned());
            }
            "on" => {
                self.on = match value {
                    "both" => Where::Both,
                    "lo" => Where::Lo,
                    "tun" => Where::Tun,
                    _ => return Err("it is lo, tun or both".to_owned()),
                };
            }
            "seed" => {
                self.seed = value
                    .parse()
                    .map_err(|_| "a seed is a whole number from 0 to 2^64-1".to_owned())?;
            }
            _ => {
                if out != Some(false) {
                    self.out.set(name, value)?;
                }
                if out != Some(true) {
                    self.in_.set(name, value)?;
                }
            }
        }
        Ok(())
    }

    /// What doesn't make sense together.
    pub fn check(&self) -> Result<(), String> {
        self.out.check()?;
        self.in_.check()
    }
}

impl Profile {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let off = matches!(value, "off" | "0");
        match name {
            "loss" => (self.loss, self.chain) = (chance(value)?, None),
            "burst" => {
                self.burst = if off { 0 } else { number(value, 1, 1_000_000)? };
            }
            "gemodel" => self.chain = if off { None } else { Some(chain(value)?) },
            "delay" => (self.delay, self.jitter) = if off { (0, 0) } else { delay(value)? },
            "reorder" => {
                let (share, by) = value.split_once(',').unwrap_or((value, ""));
                self.reorder = chance(share)?;
                self.reorder_by = match by {
                    "" if self.reorder == Chance::NEVER => 0,
                    "" => REORDER_BY,
                    by => span(by)?,
                };
            }
            "duplicate" => self.duplicate = chance(value)?,
            "corrupt" => self.corrupt = chance(value)?,
            "rate" => self.rate = if off { 0 } else { rate(value)? },
            "queue" => {
                self.queue = if off {
                    0
                } else {
                    number(value, 1, MAX_QUEUE as u32 - 1)?
                };
            }
            "mtu" => self.mtu = if off { 0 } else { number(value, 68, 65535)? },
            "black-hole" => {
                self.black_hole = match value {
                    "on" | "1" | "yes" => true,
                    "off" | "0" | "no" => false,
                    _ => return Err("it is on or off".to_owned()),
                };
            }
            "outage" => {
                self.outage = if off {
                    Outage::default()
                } else {
                    outage(value)?
                }
            }
            _ => {
                let names: Vec<&str> = KEYS.iter().map(|k| k.name).collect();
                return Err(format!(
                    "there is no such key; there are {}",
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let needs = |what: &str, other: &str| Err(format!("{what} has no meaning without {other}"));
        if self.burst > 1 && self.loss == Chance::NEVER {
            return needs("burst", "loss, the share of packets that is lost");
        }
        if self.queue != 0 && self.rate == 0 {
            return needs("queue", "rate: only behind a bottleneck do packets wait");
        }
        if self.black_hole && self.mtu == 0 {
            return needs("black-hole", "mtu, the size above which packets vanish");
        }
        if self.jitter > self.delay {
            return Err("the jitter is larger than the delay it varies".to_owned());
        }
        Ok(())
    }

    /// Its keys and values, in order.
    pub fn items(&self) -> Vec<(&'static str, String)> {
        let mut items = Vec::new();
        let mut put = |there: bool, name, text: String| {
            if there {
                items.push((name, text));
            }
        };
        let p = self;
        let never = Chance::NEVER;
        put(p.loss != never, "loss", p.loss.to_string());
        put(p.burst > 1, "burst", p.burst.to_string());
        if let Some(Chain {
            to_bad,
            to_good,
            bad,
            good,
        }) = p.chain
        {
            put(true, "gemodel", format!("{to_bad},{to_good},{bad},{good}"));
        }
        let delay = match p.jitter {
            0 => Span(p.delay).to_string(),
            jitter => format!("{}±{}", Span(p.delay), Span(jitter)),
        };
        put(p.delay != 0 || p.jitter != 0, "delay", delay);
        let reorder = format!("{},{}", p.reorder, Span(p.reorder_by));
        put(p.reorder != never, "reorder", reorder);
        put(p.duplicate != never, "duplicate", p.duplicate.to_string());
        put(p.corrupt != never, "corrupt", p.corrupt.to_string());
        put(p.rate != 0, "rate", rate_text(p.rate));
        put(p.queue != 0, "queue", p.queue.to_string());
        put(p.mtu != 0, "mtu", p.mtu.to_string());
        put(p.black_hole, "black-hole", "on".to_owned());
        let o = p.outage;
        let outage = match (o.every, o.start) {
            (0, start) => format!("{}@{}", Span(o.length), Span(start)),
            (every, _) => format!("{}/{}", Span(o.length), Span(every)),
        };
        put(o.length != 0, "outage", outage);
        items
    }
}

impl fmt::Display for Settings {
    /// As [`Settings::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, in_) = (self.out.items(), self.in_.items());
        for (name, value) in &out {
            let both = in_.contains(&(name, value.clone()));
            write!(f, "{}{name}={value} ", if both { "" } else { "out." })?;
        }
        for (name, value) in &in_ {
            if !out.contains(&(name, value.clone())) {
                write!(f, "in.{name}={value} ")?;
            }
        }
        match self.on {
            Where::Both => {}
            Where::Lo => write!(f, "on=lo ")?,
            Where::Tun => write!(f, "on=tun ")?,
        }
        write!(f, "seed={}", self.seed)
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", decimal(u64::from(self.0), 10_000_000))
    }
}

/// Nanoseconds, with the unit that suits them.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            n if n >= SECOND => (SECOND, "s"),
            n if n >= MILLI || n == 0 => (MILLI, "ms"),
            n if n >= 1000 => (1000, "us"),
            _ => (1, "ns"),
        };
        write!(f, "{}{name}", decimal(self.0, unit))
    }
}

fn rate_text(bits: u64) -> String {
    let (unit, name) = match bits {
        n if n >= 1_000_000_000 => (1_000_000_000, "gbit"),
        n if n >= 1_000_000 => (1_000_000, "mbit"),
        n if n >= 1000 => (1000, "kbit"),
        _ => (1, "bit"),
    };
    format!("{}{name}", decimal(bits, unit))
}

/// `n / unit` exactly; `unit` is a power of ten.
fn decimal(n: u64, unit: u64) -> String {
    let (whole, rest) = (n / unit, n % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    let rest = format!("{rest:0digits$}");
    format!("{whole}.{}", rest.trim_end_matches('0'))
}

/// A decimal number in units of `unit`, as `unit`ths; `None` if it isn't one or too large.
fn fixed(text: &str, unit: u64) -> Option<u64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !(rest.is_empty() || digits(rest)) || text.ends_with('.') {
        return None;
    }
    let mut value = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let mut place = unit;
    for digit in rest.bytes() {
        place /= 10;
        value = value.checked_add(u64::from(digit - b'0') * place)?;
    }
    Some(value)
}

fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let value = text.parse().ok();
    value
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("it is a whole number from {least} to {most}"))
}

fn chance(text: &str) -> Result<Chance, String> {
    if text == "off" || text == "0" {
        return Ok(Chance::NEVER);
    }
    text.strip_suffix('%')
        .and_then(|n| fixed(n, 10_000_000))
        .filter(|n| *n <= u64::from(Chance::ALWAYS.0))
        .map(|n| Chance(n as u32))
        .ok_or_else(|| "it is a share of the packets from 0% to 100%, as in 2% or 0.1%".to_owned())
}

/// A length of time.
fn span(text: &str) -> Result<u64, String> {
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1000,
        "ms" => MILLI,
        "s" => SECOND,
        "min" => 60 * SECOND,
        _ => return Err("a time needs a unit: 50ms, 1.5s, 200us, 1min".to_owned()),
    };
    fixed(number, if unit > SECOND { 1 } else { unit })
        .and_then(|n| n.checked_mul(if unit > SECOND { unit } else { 1 }))
        .filter(|n| *n <= LONGEST)
        .ok_or_else(|| "it is a time of up to an hour, as in 50ms or 1.5s".to_owned())
}

/// A delay, perhaps with jitter.
fn delay(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('±').or_else(|| text.split_once("+-"));
    match parts {
        Some((mean, jitter)) => Ok((span(mean)?, span(jitter)?)),
        None => Ok((span(text)?, 0)),
    }
}

fn rate(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let plain = lower
        .strip_suffix("/s")
        .or_else(|| lower.strip_suffix("ps"))
        .unwrap_or(&lower);
    let units = [
        ("gbit", 1_000_000_000),
        ("mbit", 1_000_000),
        ("kbit", 1000),
        ("bit", 1),
    ];
    units
        .iter()
        .find_map(|(name, unit)| fixed(plain.strip_suffix(name)?, *unit))
        .filter(|bits| (1000..=1_000_000_000_000).contains(bits))
        .ok_or_else(|| {
            "a rate is from 1kbit to 1000gbit, with kbit, mbit or gbit, as in 20mbit".to_owned()
        })
}

fn chain(text: &str) -> Result<Chain, String> {
    let mut chances = text.split(',').map(chance);
    let form = "write the chances good to bad, bad to good, and perhaps the loss in the bad and \
                in the good state: 1%,25%,100%,0%";
    let mut next = || chances.next().transpose();
    let (Some(to_bad), Some(to_good)) = (next()?, next()?) else {
        return Err(form.to_owned());
    };
    let chain = Chain {
        to_bad,
        to_good,
        bad: next()?.unwrap_or(Chance::ALWAYS),
        good: next()?.unwrap_or(Chance::NEVER),
    };
    match next()? {
        Some(_) => Err(form.to_owned()),
        None => Ok(chain),
    }
}

fn outage(text: &str) -> Result<Outage, String> {
    let form = "write 2s@10s (once, for two seconds, ten seconds from now) or 2s/30s (the last two \
                of every thirty seconds)";
    if let Some((length, start)) = text.split_once('@') {
        return Ok(Outage {
            length: span(length)?,
            start: span(start)?,
            every: 0,
        });
    }
    let (length, every) = text.split_once('/').ok_or(form)?;
    let (length, every) = (span(length)?, span(every)?);
    let start = every
        .checked_sub(length)
        .filter(|start| *start > 0)
        .ok_or("the link has to come back: the first time is the shorter one, as in 2s/30s")?;
    Ok(Outage {
        length,
        start,
        every,
    })
}
