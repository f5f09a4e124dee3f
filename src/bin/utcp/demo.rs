//! `utcp demo`: one TCP connection on the kernel and on utcp, drawn and compared.

use crate::cli;
use crate::diff::{self, Level, Names, Section, Verdict};
use crate::inside::Job;
use crate::ladder::{Ladder, segment_text};
use crate::model::{Event, What};
use crate::netns::{Place, Refused};
use crate::paint::{self, Line};
use crate::programs::{self, Outcome};
use crate::scene::{Script, Seen, Setting};
use crate::sides::{Act, Side, Sides, Step};
use crate::states::find_address;
use crate::trouble::{Result, Trouble};
use crate::{beside, netns, stacks};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// A scene that was played, its events placed.
struct Played {
    setting: Setting,
    steps: Vec<Step>,
    names: Names,
    connections: u32,
    seen: Seen,
}

/// The demo.
pub fn run(args: &cli::Demo) -> Result<ExitCode> {
    if args.no_color {
        anstream::ColorChoice::Never.write_global();
    }
    let folder = Folder::new()?;
    let sources = sources()?;
    let library = programs::library()?;
    let source = |name: &str| sources.join(format!("{name}.c"));
    let server = compile(&source("doc001_server"), &folder.0)?;
    let client = compile(&source("doc001_client"), &folder.0)?;
    let far_client = compile(&far_client(&source("doc001_client"), &folder.0)?, &folder.0)?;

    let mut out = Report {
        json: args.json,
        columns: paint::columns(),
        scenes: Vec::new(),
        comparisons: Vec::new(),
    };
    out.introduce(&sources);
    let mut place = Place::Namespace;
    let stack = format!("demo-{}", std::process::id());
    for setting in [Setting::Kernel, Setting::Utcp, Setting::Mixed] {
        let notes = folder.0.join(format!("{setting:?}"));
        std::fs::create_dir(&notes).map_err(|e| Trouble::new("cannot make a folder", e))?;
        let script = Script {
            setting,
            server: vec![server.clone().into()],
            client: match setting {
                Setting::Mixed => vec![far_client.clone().into()],
                _ => vec![client.clone().into()],
            },
            stack: stack.clone(),
            library: library.clone(),
            folder: notes,
        };
        if place == Place::Here && setting == Setting::Mixed {
            out.note("The scene over the TUN device needs a namespace, too, and is left out.");
            continue;
        }
        let job = Job::Scene(script);
        let seen = match netns::run(&job, place) {
            Err(Refused::Namespace(why)) => {
                out.note(&format!(
                    "{why}. The demo goes on over this host's own loopback."
                ));
                place = Place::Here;
                netns::run(&job, place)?
            }
            other => other?,
        };
        if place == Place::Here && port_taken(&seen) {
            let why = "its port 9000 is taken on this host";
            return Err(Trouble::new("the demo's server cannot run", why).mend(
                "`ss -tanp sport = 9000` shows by whom; TIME_WAIT, from the last demo, ends \
                 after a minute",
            ));
        }
        out.scene(Played::new(setting, seen));
    }
    out.compare(Setting::Utcp, Level::Segments);
    out.compare(Setting::Mixed, Level::Behaviour);
    Ok(out.end())
}

impl Played {
    fn new(setting: Setting, seen: Seen) -> Played {
        let mut sides = Sides::default();
        for (pid, side) in &seen.sides {
            sides.put(*pid, *side);
        }
        let steps: Vec<Step> = seen.events.iter().map(|e| sides.place(e)).collect();
        let mut ports = sides.client_ports();
        let mut addresses = sides.addresses();
        for event in &seen.events {
            if let What::Return { call, .. } = &event.what
                && let Some(address) = find_address(&call.args)
            {
                addresses.push(address.ip());
                // The range that systems pick from.
                ports.extend(Some(address.port()).filter(|p| (32768..=60999).contains(p)));
            }
        }
        addresses.retain(|a| !a.is_unspecified());
        let names = Names {
            ports,
            addresses: addresses.into_iter().map(|a| (a, "ADDRESS")).collect(),
        };
        Played {
            setting,
            steps,
            names,
            connections: sides.connections(),
            seen,
        }
    }
}

impl Played {
    /// What the stack told beside what passed the device.
    fn capture_section(&self) -> Option<Section> {
        let captured = self.seen.captured.as_ref()?;
        let mut sides = Sides::default();
        let steps: Vec<Step> = captured.iter().map(|e| sides.place(e)).collect();
        let segments = |steps: &[Step]| -> Vec<diff::Item> {
            let mut items = Vec::new();
            for side in [Side::Client, Side::Server] {
                items.extend(steps.iter().filter(|s| s.side == side).filter_map(
                    |s| match &s.act {
                        Act::Segment(a) => Some(diff::Item::exact(segment_text(a, true))),
                        _ => None,
                    },
                ));
            }
            items
        };
        let title = "segments that utcp told, and those captured on the device";
        Some(Section::new(
            title,
            &segments(&self.steps),
            &segments(&steps),
        ))
    }
}

impl Setting {
    fn title(self) -> &'static str {
        match self {
            Setting::Kernel => "on the kernel, 127.0.0.1",
            Setting::Utcp => "on utcp, 127.0.0.1",
            Setting::Mixed => "client on the kernel, server on utcp, over the TUN device",
        }
    }
    fn ends(self) -> (&'static str, &'static str) {
        match self {
            Setting::Kernel => ("client (kernel)", "server (kernel)"),
            Setting::Utcp => ("client (utcp)", "server (utcp)"),
            Setting::Mixed => ("client (kernel)", "server (utcp)"),
        }
    }
}

/// What has been shown, and what is shown next.
struct Report {
    json: bool,
    columns: usize,
    scenes: Vec<Played>,
    comparisons: Vec<(Setting, Vec<Section>)>,
}

#[derive(Serialize)]
struct JsonScene<'a> {
    setting: Setting,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
    steps: &'a [Step],
    client: &'a Outcome,
    server: &'a Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments_captured_by_the_kernel: Option<&'a [Event]>,
}

#[derive(Serialize)]
struct JsonComparison<'a> {
    left: Setting,
    right: Setting,
    sections: &'a [Section],
    differences: usize,
    variations: usize,
}

impl Report {
    fn print(&self, line: &Line) {
        if !self.json {
            anstream::println!("{}", line.render());
        }
    }

    fn text(&self, text: impl Into<String>) {
        self.print(&Line::new(text, paint::PLAIN));
    }

    /// What is not as it should be; not for JSON's stream.
    fn note(&self, text: &str) {
        if self.json {
            anstream::eprintln!("utcp: {text}");
            return;
        }
        self.text("");
        for line in paint::wrap(text, self.columns, "") {
            self.print(&Line::new(line, paint::NOTE));
        }
    }

    fn title(&self, text: &str) {
        self.text("");
        let rest = self.columns.saturating_sub(paint::width(text) + 4);
        let line = Line::new("── ", paint::DIM)
            .then(text, paint::BOLD)
            .then(format!(" {}", "─".repeat(rest)), paint::DIM);
        self.print(&line);
        self.text("");
    }

    fn introduce(&self, sources: &Path) {
        let text = format!(
            "doc001_server.c and doc001_client.c of {}, unmodified, as two processes; the third \
             time with the stack's address in the client instead of 127.0.0.1.",
            sources.display()
        );
        for line in paint::wrap(&text, self.columns, "") {
            self.text(line);
        }
        let text = "The client's terminal is held for a tenth of a second, as by Ctrl-S, when it \
                    prints what it received: so the server closes first. States as they change, \
                    segments as tcpdump prints them, numbers relative.";
        for line in paint::wrap(text, self.columns, "") {
            self.text(line);
        }
    }

    fn scene(&mut self, played: Played) {
        self.title(played.setting.title());
        if let Some(why) = &played.seen.skipped {
            self.print(&Line::new("not played: ", paint::NOTE).then(why.clone(), paint::PLAIN));
        } else {
            let (client, server) = played.setting.ends();
            let mut ladder = Ladder::new(self.columns);
            ladder.number_connections = played.connections > 1;
            let mut lines = ladder.heading(client, server);
            lines.extend(ladder.draw(&played.steps));
            for line in &lines {
                self.print(line);
            }
            self.text("");
            for (who, outcome) in [
                ("client", &played.seen.client),
                ("server", &played.seen.server),
            ] {
                self.said(who, outcome);
            }
            if let Some(why) = &played.seen.no_segments {
                self.note(&format!("No segments, and no states: {why}."));
            }
            if let Some(section) = played.capture_section() {
                let n = section.pairs.len();
                if section.count(Verdict::Differs) == 0 {
                    self.text(format!(
                        "A capture by the kernel on the device shows the same {n} segments."
                    ));
                } else {
                    for line in beside::section(&section, self.columns) {
                        self.print(&line);
                    }
                    self.comparisons.push((played.setting, vec![section]));
                }
            }
        }
        self.scenes.push(played);
    }

    fn said(&self, who: &str, outcome: &Outcome) {
        for (text, style) in [
            (&outcome.stdout, paint::PLAIN),
            (&outcome.stderr, paint::NOTE),
        ] {
            for line in text.lines() {
                let line = paint::printable(line);
                self.print(&Line::new(format!("{who} printed: "), paint::DIM).then(line, style));
            }
        }
    }

    fn played(&self, setting: Setting) -> Option<&Played> {
        let found = self.scenes.iter().find(|p| p.setting == setting);
        found.filter(|p| p.seen.skipped.is_none())
    }

    fn compare(&mut self, with: Setting, level: Level) {
        let (Some(kernel), Some(other)) = (self.played(Setting::Kernel), self.played(with)) else {
            return;
        };
        let mut sections = diff::compare(
            (&kernel.steps, &kernel.names),
            (&other.steps, &other.names),
            level,
        );
        if kernel.seen.no_segments.is_some() {
            sections.retain(|s| s.title.starts_with("calls"));
        }
        sections.push(output_section(kernel, other));
        let (left, right) = match with {
            Setting::Mixed => ("kernel - kernel", "kernel - utcp"),
            _ => ("kernel", "utcp"),
        };
        self.title(&format!("{left} and {right}, side by side"));
        self.print(&beside::heading(left, right, self.columns));
        for section in &sections {
            for line in beside::section(section, self.columns) {
                self.print(&line);
            }
        }
        self.comparisons.push((with, sections));
    }

    fn end(self) -> ExitCode {
        self.text("");
        let total = |verdict| -> usize {
            let all = self.comparisons.iter().flat_map(|(_, s)| s);
            all.map(|s| s.count(verdict)).sum()
        };
        let (differs, varies) = (total(Verdict::Differs), total(Verdict::Varies));
        let compared = !self.comparisons.is_empty();
        let verdict = match (compared, differs) {
            (false, _) => Line::new("Nothing was compared.", paint::BAD),
            (true, 0) => Line::new("No difference", paint::GOOD).then(
                match self.scenes.iter().any(|p| p.seen.no_segments.is_some()) {
                    false => " between the kernel and utcp: calls, results, states, segments.",
                    true => " between the kernel's and utcp's calls and results.",
                },
                paint::PLAIN,
            ),
            (true, n) => Line::new(count(n, "difference"), paint::BAD).then(
                " between the kernel and utcp, marked ≠ above.",
                paint::PLAIN,
            ),
        };
        self.print(&verdict);
        if varies > 0 {
            self.text(format!(
                "{} marked ~: windows, options of another device, ACKs of their own; these vary \
                 from run to run, or with the MTU.",
                count(varies, "line")
            ));
        }
        if self.json {
            self.print_json(differs == 0 && compared);
        }
        match (compared, differs) {
            (false, _) => ExitCode::from(2),
            (true, 0) => ExitCode::SUCCESS,
            (true, _) => ExitCode::from(1),
        }
    }

    fn print_json(&self, equal: bool) {
        let scene = |p: &'_ Played| -> serde_json::Value {
            let scene = JsonScene {
                setting: p.setting,
                title: p.setting.title(),
                skipped: p.seen.skipped.as_deref(),
                steps: &p.steps,
                client: &p.seen.client,
                server: &p.seen.server,
                segments_captured_by_the_kernel: p.seen.captured.as_deref(),
            };
            serde_json::to_value(scene).unwrap_or_default()
        };
        let sum = |sections: &[Section], v| sections.iter().map(|s| s.count(v)).sum();
        let report = serde_json::json!({
            "scenes": self.scenes.iter().map(scene).collect::<Vec<_>>(),
            "comparisons": self.comparisons.iter().map(|(right, sections)| JsonComparison {
                left: Setting::Kernel,
                right: *right,
                sections,
                differences: sum(sections, Verdict::Differs),
                variations: sum(sections, Verdict::Varies),
            }).collect::<Vec<_>>(),
            "equal": equal,
        });
        println!("{report:#}");
    }
}

/// What the programs printed, as a section.
fn output_section(left: &Played, right: &Played) -> Section {
    let lines = |p: &Played| -> Vec<diff::Item> {
        let mut items = Vec::new();
        for (who, outcome) in [("client", &p.seen.client), ("server", &p.seen.server)] {
            for line in outcome.stdout.lines().chain(outcome.stderr.lines()) {
                items.push(diff::Item::shown(format!("{who}: {line}"), &p.names));
            }
        }
        items
    };
    Section::new("what the programs printed", &lines(left), &lines(right))
}

fn count(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

fn port_taken(seen: &Seen) -> bool {
    seen.events.iter().any(|e| match &e.what {
        What::Return { call, errno, .. } => call.name == "bind" && *errno == libc::EADDRINUSE,
        _ => false,
    })
}

/// c-tests/: above this command, or where it was built.
fn sources() -> Result<PathBuf> {
    const NAME: &str = "c-tests";
    let exe = std::env::current_exe().unwrap_or_default();
    let built_at = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = exe.ancestors().skip(1).chain(built_at.ancestors());
    let mut found = places.map(|p| p.join(NAME)).filter(|p| p.is_dir());
    found.next().ok_or_else(|| {
        let why = format!("no folder above {} has {NAME}", exe.display());
        Trouble::new("cannot find the demo's programs", why)
            .mend("run `cargo run --release -- demo` in a clone of the project")
    })
}

/// The document's client has the server's address compiled in: for a server that is not on
/// this host, that line of it changes.
fn far_client(source: &Path, folder: &Path) -> Result<PathBuf> {
    const LINE: &str = "#define IPADDR \"127.0.0.1\"";
    let what = format!("cannot use {}", source.display());
    let text = std::fs::read_to_string(source).map_err(|e| Trouble::new(&what, e))?;
    if !text.contains(LINE) {
        return Err(Trouble::new(what, format!("it has no line {LINE}")));
    }
    let address = stacks::config(Some("demo"))?.addresses(0).addr.addr;
    let changed = text.replace(LINE, &format!("#define IPADDR \"{address}\""));
    let copy = folder.join("doc001_far_client.c");
    std::fs::write(&copy, changed).map_err(|e| Trouble::new(what, e))?;
    Ok(copy)
}

fn compile(source: &Path, folder: &Path) -> Result<PathBuf> {
    let program = folder.join(source.file_stem().unwrap_or_default());
    let what = format!("cannot compile {}", source.display());
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(&cc)
        // The documents' programs call functions without declaring them, as was usual.
        .args(["-w", "-O1", "-o"])
        .arg(&program)
        .arg(source)
        .output()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Trouble::new(&what, format!("there is no {}", cc.display()))
                    .mend("`sudo apt-get install gcc libc6-dev` brings it")
            }
            _ => Trouble::new(&what, e),
        })?;
    if output.status.success() {
        return Ok(program);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|l| l.contains("error")).unwrap_or("");
    let trouble = Trouble::new(what, first.trim());
    Err(if said.contains("stdio.h") || said.contains("crt1.o") {
        trouble.mend("`sudo apt-get install libc6-dev` brings what is missing")
    } else {
        trouble
    })
}

/// A folder for a while.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let base = std::env::temp_dir();
        let what = "cannot make a folder for the programs";
        for n in 0..100u32 {
            let path = base.join(format!("utcp-demo-{}-{n}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Folder(path)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    let why = format!("{}: {e}", path.display());
                    return Err(Trouble::new(what, why).mend("set TMPDIR to a folder of yours"));
                }
            }
        }
        Err(Trouble::new(
            what,
            format!("{} is full of them", base.display()),
        ))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
