//! The result: tables for people, JSON for programs.

use std::fmt::Write;

use crate::args::Format;
use crate::machine::Machine;
use crate::pairs::{self, Cells, LOADS, Load, PAIRS, Pair, Place, Run, Stack};
use crate::raw::Cost;
use crate::stats::median;

/// Others' share of a processor above which a run counts only if there are no better ones.
const NOISY: f64 = 0.1;

/// Everything a run found.
pub struct Report {
    machine: Machine,
    busy_before: f64,
    /// The costs that bound every stack.
    pub raw: Vec<Cost>,
    /// What the pairs reached.
    pub cells: Cells,
    /// What went wrong, and what was proved.
    pub notes: Vec<String>,
    /// How long all of it took.
    pub seconds: f64,
}

/// A column of the tables.
struct Column {
    title: &'static str,
    load: &'static str,
    /// From a run's fields to the column's unit.
    value: fn(&Run) -> Option<f64>,
    /// Smaller is better.
    time: bool,
}

const COLUMNS: [Column; 6] = [
    Column {
        title: "bulk, 64 KiB writes, Gbit/s",
        load: "bulk-64k",
        value: gbits,
        time: false,
    },
    Column {
        title: "bulk, 4 KiB writes, Gbit/s",
        load: "bulk-4k",
        value: gbits,
        time: false,
    },
    Column {
        title: "round trip, median, us",
        load: "pingpong",
        value: median_us,
        time: true,
    },
    Column {
        title: "mean, us",
        load: "pingpong",
        value: mean_us,
        time: true,
    },
    Column {
        title: "99 %, us",
        load: "pingpong",
        value: p99_us,
        time: true,
    },
    Column {
        title: "connect-request-close, 1/s",
        load: "crr",
        value: per_second,
        time: false,
    },
];

fn gbits(run: &Run) -> Option<f64> {
    Some(run.get("bytes")? * 8.0 / run.get("listener_seconds")? / 1e9)
}

fn median_us(run: &Run) -> Option<f64> {
    Some(run.get("median_ns")? / 1000.0)
}

fn mean_us(run: &Run) -> Option<f64> {
    Some(run.get("mean_ns")? / 1000.0)
}

fn p99_us(run: &Run) -> Option<f64> {
    Some(run.get("p99_ns")? / 1000.0)
}

fn per_second(run: &Run) -> Option<f64> {
    Some(run.get("rounds")? / run.get("seconds")?)
}

impl Report {
    /// A report without results. `busy_before`: what others used when it began.
    pub fn new(machine: Machine, busy_before: f64) -> Report {
        Report {
            machine,
            busy_before,
            raw: Vec::new(),
            cells: Cells::new(),
            notes: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Print it on standard output.
    pub fn print(&self, format: Format) {
        match format {
            Format::Text => print!("{}", self.tables(Style::TEXT)),
            Format::Markdown => print!("{}", self.tables(Style::MARKDOWN)),
            Format::Json => println!("{}", self.json()),
        }
    }

    fn tables(&self, style: Style) -> String {
        let mut out = format!("{}\n\n", self.machine);
        out += "Medians; in parentheses the speed relative to the kernel's own pair (more is \
                better).\n\"a -> b\": a connects, and sends in bulk; b listens.\n\n";
        for cores in [1, 2] {
            if self.cells.keys().any(|p| p.cores == cores) {
                let title = [
                    "both programs on one core",
                    "each program on a core of its own",
                ][cores - 1];
                out += &style.table(title, &self.rows(cores));
            }
        }
        if !self.raw.is_empty() {
            let mut rows = vec![["".into(), "us".into(), "Gbit/s".into()].to_vec()];
            rows.extend(self.raw.iter().map(|c| {
                let gbits = c.gbits().map_or("".into(), |g| format!("{g:.1}"));
                vec![c.what.to_owned(), format!("{:.2}", c.us), gbits]
            }));
            out += &style.table("what bounds them", &rows);
        }
        for note in &self.notes {
            out += &format!("{}{note}\n", style.bullet);
        }
        let noisy = self
            .cells
            .values()
            .flatten()
            .filter(|r| r.noise > NOISY)
            .count();
        let runs = self.cells.values().flatten().count();
        _ = writeln!(
            out,
            "{}{runs} runs in {:.0} s; others used {:.0} % of a core before, and more than {:.0} % in \
             {noisy} of the runs, which count only where there are too few others (marked ~)",
            style.bullet,
            self.seconds,
            self.busy_before * 100.0,
            NOISY * 100.0,
        );
        out
    }

    fn rows(&self, cores: usize) -> Vec<Vec<String>> {
        let mut header = vec![String::new()];
        let columns: Vec<&Column> = COLUMNS
            .iter()
            .filter(|c| {
                self.cells
                    .keys()
                    .any(|p| p.cores == cores && p.load.name == c.load)
            })
            .collect();
        header.extend(columns.iter().map(|c| c.title.to_owned()));
        let mut rows = vec![header];
        for pair in PAIRS {
            if !self
                .cells
                .keys()
                .any(|p| p.cores == cores && p.pair == pair)
            {
                continue;
            }
            let mut row = vec![label(pair)];
            for column in &columns {
                let kernel = self.value(cores, column, (Stack::Kernel, Stack::Kernel));
                row.push(match self.value(cores, column, pair) {
                    None => "-".to_owned(),
                    Some((value, noisy)) => {
                        let mark = if noisy { "~" } else { "" };
                        let ratio = kernel.map_or("".to_owned(), |(kernel, _)| {
                            let ratio = if column.time {
                                kernel / value
                            } else {
                                value / kernel
                            };
                            format!(" ({ratio:.2})")
                        });
                        format!("{mark}{}{ratio}", digits(value))
                    }
                });
            }
            rows.push(row);
        }
        rows
    }

    /// A cell's value, and whether it rests on noisy runs.
    fn value(&self, cores: usize, column: &Column, pair: Pair) -> Option<(f64, bool)> {
        let load = *LOADS.iter().find(|l| l.name == column.load)?;
        let runs = self.cells.get(&Place { cores, load, pair })?;
        let (runs, noisy) = chosen(runs);
        Some((median(runs.into_iter().filter_map(column.value))?, noisy))
    }

    fn json(&self) -> String {
        let m = &self.machine;
        let mut out = format!(
            "{{\"machine\":{{\"cpu\":{},\"cores\":{},\"virtual\":{},\"kernel\":{},\"date\":{},\
             \"commit\":{}}},\"seconds\":{},\"costs\":[",
            text(&m.cpu),
            m.cores,
            m.virtual_machine,
            text(&m.kernel),
            text(&m.date),
            text(&m.commit),
            number(self.seconds),
        );
        out += &list(self.raw.iter().map(|c| {
            format!(
                "{{\"what\":{},\"us\":{},\"bytes\":{}}}",
                text(c.what),
                number(c.us),
                c.bytes
            )
        }));
        out += "],\"results\":[";
        out += &list(
            self.cells
                .iter()
                .map(|(place, runs)| self.json_cell(place, runs)),
        );
        out += "],\"notes\":[";
        out += &list(self.notes.iter().map(|n| text(n)));
        out + "]}"
    }

    fn json_cell(&self, place: &Place, runs: &[Run]) -> String {
        let Load { name, .. } = place.load;
        let columns = COLUMNS.iter().filter(|c| c.load == name);
        let medians = list(columns.filter_map(|c| {
            let (value, _) = self.value(place.cores, c, place.pair)?;
            let kernel = self.value(place.cores, c, (Stack::Kernel, Stack::Kernel));
            let ratio = kernel.map(|(k, _)| if c.time { k / value } else { value / k });
            Some(format!(
                "{{\"what\":{},\"median\":{},\"speed_to_kernel\":{}}}",
                text(c.title),
                number(value),
                ratio.map_or("null".to_owned(), number)
            ))
        }));
        let all = list(runs.iter().map(|run| {
            let fields = list(
                run.fields
                    .iter()
                    .map(|(k, v)| format!("{}:{}", text(k), number(*v))),
            );
            format!(
                "{{{fields},\"noise\":{},\"kernel_ends\":{},\"kernel_segments\":{}}}",
                number(run.noise),
                run.kernel.ends,
                run.kernel.segments
            )
        }));
        format!(
            "{{\"pair\":{},\"load\":{},\"cores\":{},\"values\":[{medians}],\"runs\":[{all}]}}",
            text(&pairs::name(place.pair)),
            text(name),
            place.cores
        )
    }
}

/// The runs that count: the quiet ones, if they are at least half.
fn chosen(runs: &[Run]) -> (Vec<&Run>, bool) {
    let quiet: Vec<&Run> = runs.iter().filter(|r| r.noise <= NOISY).collect();
    if 2 * quiet.len() >= runs.len() {
        (quiet, false)
    } else {
        (runs.iter().collect(), true)
    }
}

fn label(pair: Pair) -> String {
    let one = |stack| match stack {
        Stack::Kernel => "kernel",
        Stack::Utcp => "utcp",
        Stack::Smoltcp(_) => "smoltcp",
    };
    let over = match pair {
        (Stack::Kernel, Stack::Kernel) => "lo".to_owned(),
        (Stack::Utcp, Stack::Utcp) => "127.0.0.1".to_owned(),
        (Stack::Smoltcp(mtu), _) | (_, Stack::Smoltcp(mtu)) => format!("TUN, MTU {mtu}"),
        _ => "TUN".to_owned(),
    };
    format!("{} -> {}, {over}", one(pair.0), one(pair.1))
}

/// Three significant digits, or all of an integer.
fn digits(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

fn number(value: f64) -> String {
    if value.is_finite() {
        format!("{value}")
    } else {
        "null".to_owned()
    }
}

fn text(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}

/// How a table is drawn.
#[derive(Clone, Copy)]
struct Style {
    markdown: bool,
    bullet: &'static str,
}

impl Style {
    const TEXT: Style = Style {
        markdown: false,
        bullet: "",
    };
    const MARKDOWN: Style = Style {
        markdown: true,
        bullet: "- ",
    };

    /// Columns padded to equal width: Markdown's source is to be readable too.
    fn table(self, title: &str, rows: &[Vec<String>]) -> String {
        let columns = rows.first().map_or(0, Vec::len);
        let width = |i: usize| {
            rows.iter()
                .filter_map(|r| r.get(i))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = if self.markdown {
            format!("**{title}**\n\n")
        } else {
            format!("{title}\n")
        };
        for (i, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(j, (c, &w))| {
                    if j == 0 {
                        format!("{c:<w$}")
                    } else {
                        format!("{c:>w$}")
                    }
                })
                .collect();
            if self.markdown {
                _ = writeln!(out, "| {} |", cells.join(" | "));
            } else {
                _ = writeln!(out, "  {}", cells.join("  "));
            }
            if i == 0 && self.markdown {
                let rules: Vec<String> = widths
                    .iter()
                    .enumerate()
                    .map(|(j, w)| {
                        "-".repeat(w.saturating_sub(1).max(2)) + if j == 0 { "-" } else { ":" }
                    })
                    .collect();
                _ = writeln!(out, "| {} |", rules.join(" | "));
            }
        }
        out + "\n"
    }
}
