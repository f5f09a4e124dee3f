//! The rows, what is measured for each, and how it is told.

use crate::Result;
use crate::pairs::{Pairs, Run};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as Clock};
use utcp_stack::impair::Settings;

/// What a link is like; a seed is added.
pub struct Row {
    /// The settings of the model.
    pub links: &'static str,
    /// The receiver reads slowly.
    pub slow: bool,
    /// `net.ipv4.tcp_mtu_probing` of both senders.
    pub probing: bool,
}

const fn row(links: &'static str) -> Row {
    Row {
        links,
        slow: false,
        probing: false,
    }
}

static ROWS: [Row; 18] = [
    row("delay=5ms"),
    row("delay=1ms loss=1%"),
    row("delay=5ms loss=0.1%"),
    row("delay=5ms loss=1%"),
    row("delay=5ms loss=3%"),
    row("delay=5ms loss=10%"),
    row("delay=50ms loss=0.1%"),
    row("delay=50ms loss=2%"),
    row("delay=150ms"),
    row("delay=150ms loss=0.1%"),
    row("delay=10ms loss=2% burst=4"),
    row("delay=10ms reorder=2%,4ms"),
    row("delay=10ms duplicate=2% corrupt=0.5%"),
    row("delay=20ms rate=20mbit queue=50"),
    row("delay=10ms rate=50mbit queue=100 outage=200ms/1s"),
    row("delay=5ms mtu=1300"),
    Row {
        probing: true,
        ..row("delay=5ms mtu=1300 black-hole=on")
    },
    Row {
        slow: true,
        ..row("delay=5ms loss=0.1%")
    },
];

impl Row {
    fn name(&self) -> String {
        let slow = if self.slow { ", slow reader" } else { "" };
        let probing = if self.probing {
            ", tcp_mtu_probing=1"
        } else {
            ""
        };
        format!("{}{slow}{probing}", self.links)
    }

    /// Long enough to say something: so many round trips at least.
    fn seconds(&self, least: f64) -> Result<f64> {
        const ROUND_TRIPS: u32 = 40;
        let [out, in_, _] = Settings::parse(self.links)?.profiles();
        let round_trip = Duration::from_nanos(out.delay + in_.delay);
        Ok(least.max((round_trip * ROUND_TRIPS).as_secs_f64()))
    }
}

const HELP: &str = "goodput [OPTION...] [FILTER...]
  --cc LIST         cubic, bbr, reno; several with commas (cubic,bbr)
  --seconds S       of sending in each run (2); more where round trips are long
  --seeds A..B      a run for each (1..5)
  --direction WAY   out (utcp sends), in (it receives), both
  --only PAIR       kernel, utcp
  --offload         the kernels' devices take large segments too (else packets of the wire alone)
  --links SETTINGS  a row of one's own, such as delay=5ms in.loss=3%, instead of the table's; may be repeated
  --lib FILE        libutcp.so (that beside the example's folder)
  --write FILE      put the tables into this file, between its two marks
  --watch           the sender's TCP_INFO ten times a second
FILTER: rows whose name has one of these in it; =NAME for the whole name
rows:";

struct Plan {
    algorithms: Vec<String>,
    seconds: f64,
    seeds: (u64, u64),
    ways: Vec<bool>,
    kernel: bool,
    utcp: bool,
    offload: bool,
    lib: Option<PathBuf>,
    write: Option<PathBuf>,
    watch: bool,
    /// Of one's own.
    rows: Vec<Row>,
    filters: Vec<String>,
}

impl Plan {
    fn parse(words: &[&str]) -> Result<Option<Plan>> {
        let mut plan = Plan {
            algorithms: vec!["cubic".into(), "bbr".into()],
            seconds: 2.0,
            seeds: (1, 5),
            ways: vec![true, false],
            kernel: true,
            utcp: true,
            offload: false,
            lib: None,
            write: None,
            watch: false,
            rows: Vec::new(),
            filters: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut value = || words.next().copied().ok_or(format!("{word} needs a value"));
            let bad = |v: &str| format!("{word}: {v:?} is none");
            match word {
                "--cc" => plan.algorithms = value()?.split(',').map(str::to_owned).collect(),
                "--seconds" => {
                    let v = value()?;
                    plan.seconds = v.parse().map_err(|_| bad(v))?;
                }
                "--seeds" => {
                    let v = value()?;
                    let (a, b) = v.split_once("..").unwrap_or((v, v));
                    let number = |n: &str| n.parse().map_err(|_| bad(v));
                    plan.seeds = (number(a)?, number(b)?);
                }
                "--direction" => {
                    plan.ways = match value()? {
                        "out" => vec![true],
                        "in" => vec![false],
                        "both" => vec![true, false],
                        v => return Err(bad(v)),
                    }
                }
                "--only" => match value()? {
                    "kernel" => plan.utcp = false,
                    "utcp" => plan.kernel = false,
                    v => return Err(bad(v)),
                },
                "--links" => {
                    let links = value()?;
                    Settings::parse(links)?;
                    plan.rows.push(row(links.to_owned().leak()));
                }
                "--lib" => plan.lib = Some(value()?.into()),
                "--write" => plan.write = Some(value()?.into()),
                "--watch" => plan.watch = true,
                "--offload" => plan.offload = true,
                "--help" | "-h" => {
                    println!("{HELP}");
                    for row in &ROWS {
                        println!("  {}", row.name());
                    }
                    return Ok(None);
                }
                w if w.starts_with('-') => return Err(format!("there is no option {w}")),
                filter => plan.filters.push(filter.to_owned()),
            }
        }
        Ok(Some(plan))
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        let own = !self.rows.is_empty();
        let table = ROWS.iter().filter(move |r| !own && self.wants(&r.name()));
        self.rows.iter().chain(table)
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |f: &String| match f.strip_prefix('=') {
            Some(whole) => name == whole,
            None => name.contains(f.as_str()),
        };
        self.filters.is_empty() || self.filters.iter().any(fits)
    }
}

/// What the runs of one cell gave, Mbit/s, and what went wrong.
#[derive(Default)]
struct Cell {
    got: Vec<f64>,
    failed: Vec<String>,
}

impl Cell {
    fn add(&mut self, seed: u64, got: Result<f64>) {
        match got {
            Ok(mbit) => self.got.push(mbit),
            Err(e) => {
                // No goodput at all, and it counts.
                eprintln!("seed {seed}: {e}");
                self.got.push(0.0);
                self.failed.push(e);
            }
        }
    }

    fn median(&mut self) -> f64 {
        self.got.sort_by(f64::total_cmp);
        self.got.get(self.got.len() / 2).copied().unwrap_or(0.0)
    }

    fn text(&mut self) -> String {
        if self.got.is_empty() {
            return "-".into();
        }
        let median = self.median();
        let (least, most) = (self.got[0], self.got[self.got.len() - 1]);
        let failed = match self.failed.len() {
            0 => String::new(),
            n => format!(", **{n} failed**"),
        };
        format!("{median:.1} ({least:.1} to {most:.1}){failed}")
    }
}

pub fn compare(words: &[&str]) -> Result<()> {
    let Some(plan) = Plan::parse(words)? else {
        return Ok(());
    };
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let lib = plan.lib.clone().unwrap_or_else(|| {
        let folder = exe.parent().and_then(|p| p.parent()).unwrap_or(&exe);
        folder.join("libutcp.so")
    });
    if !lib.exists() {
        let lib = lib.display();
        return Err(format!("no {lib}: cargo build --release makes it"));
    }
    let pairs = Pairs::new(exe, lib, plan.offload)?;
    let begin = Clock::now();
    let mut text = about(&plan);
    print!("{text}");
    let mut below = Vec::new();
    for algorithm in &plan.algorithms {
        let head = format!(
            "\n### {algorithm}\n\n\
             | links | kernel -> kernel | utcp -> kernel | kernel <- kernel | utcp <- kernel |\n\
             |---|--:|--:|--:|--:|\n"
        );
        print!("{head}");
        text += &head;
        for row in plan.rows() {
            let line = measure(&plan, &pairs, algorithm, row, &mut below)?;
            println!("{line}");
            text += &line;
            text.push('\n');
        }
    }
    let mut end = format!("\n(Measured in {} s.", begin.elapsed().as_secs());
    if below.is_empty() {
        end += " No median of utcp's is below 0.9 of the kernel's.)\n";
    } else {
        end += &format!(" Below 0.9 of the kernel's: {}.)\n", below.join("; "));
    }
    println!("{end}");
    text += &end;
    match &plan.write {
        Some(file) => put(file, &text),
        None => Ok(()),
    }
}

fn measure(
    plan: &Plan,
    pairs: &Pairs,
    algorithm: &str,
    row: &Row,
    below: &mut Vec<String>,
) -> Result<String> {
    let seconds = row.seconds(plan.seconds)?;
    let mut line = format!("| {}", row.name());
    for outward in [true, false] {
        let (mut kernel, mut utcp) = (Cell::default(), Cell::default());
        if plan.ways.contains(&outward) {
            // In turns, so that what else the machine does meets both.
            for seed in plan.seeds.0..=plan.seeds.1 {
                let run = Run {
                    row,
                    algorithm,
                    seed,
                    outward,
                    seconds,
                    patience: Duration::from_secs_f64(seconds * 3.0 + 60.0),
                    watch: plan.watch,
                };
                if plan.kernel {
                    kernel.add(seed, pairs.kernel(&run));
                }
                if plan.utcp {
                    utcp.add(seed, pairs.utcp(&run));
                }
            }
        }
        line += &format!(" | {} | {}", kernel.text(), utcp.text());
        if !kernel.got.is_empty() && !utcp.got.is_empty() {
            let ratio = utcp.median() / kernel.median();
            line += &format!(" ({ratio:.2})");
            if ratio < 0.9 {
                let way = if outward { "sending" } else { "receiving" };
                below.push(format!("{algorithm}, {}, {way}: {ratio:.2}", row.name()));
            }
        }
    }
    Ok(line + " |")
}

/// When, where, and how.
fn about(plan: &Plan) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let secs = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let build = if cfg!(debug_assertions) {
        "development build"
    } else {
        "release build"
    };
    format!(
        "Linux {}, {cores} cores, {}, {build}; load of the machine at the start {}. {} s of sending in each run, or 40 round \
         trips; seeds {} to {}{}.\n",
        kernel.trim(),
        date(secs / 86_400),
        load.split(' ').next().unwrap_or("?"),
        plan.seconds,
        plan.seeds.0,
        plan.seeds.1,
        if plan.offload {
            "; the kernels' devices take large segments"
        } else {
            ""
        },
    )
}

/// The day so many days after 1970-01-01.
fn date(days: u64) -> String {
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for days in months {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

const FROM: &str = "<!-- what examples/goodput wrote -->\n";
const TO: &str = "<!-- end of it -->";

fn put(file: &Path, text: &str) -> Result<()> {
    let name = file.display();
    let old = std::fs::read_to_string(file).map_err(|e| format!("{name}: {e}"))?;
    let parts = old
        .split_once(FROM)
        .and_then(|(head, rest)| rest.split_once(TO).map(|(_, tail)| (head, tail)));
    let Some((head, tail)) = parts else {
        return Err(format!("{name} has no {FROM}...{TO}"));
    };
    std::fs::write(file, format!("{head}{FROM}{text}{TO}{tail}"))
        .map_err(|e| format!("{name}: {e}"))
}
