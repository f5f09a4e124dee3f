//! `utcp impair`: how bad the stack's links are.

use crate::trouble::{Result, Trouble};
use crate::{cli, stacks};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use unicode_width::UnicodeWidthStr;
use utcp_stack::impair::{Profile, Settings, Stats, Way, Where};

/// The settings that `links` makes of `old`.
pub fn with(links: &cli::Links, old: Settings) -> Result<Settings> {
    let mut new = old;
    let way = match (links.outward, links.inward) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    for (key, value) in named(links) {
        let way = if matches!(key, "on" | "seed") {
            None
        } else {
            way
        };
        new.set(way, key, value)
            .map_err(|why| Trouble::new(format!("--{key} {value}"), why))?;
    }
    new.check()
        .map_err(|why| Trouble::new("these options", why))?;
    if links.inward && new.on == Where::Lo {
        let why = "on the loopback nothing comes in: every segment leaves, once";
        return Err(Trouble::new("--in with --on lo", why).mend("--out is what holds there"));
    }
    Ok(new)
}

/// Anything is said about links.
pub fn are_named(links: &cli::Links) -> bool {
    !named(links).is_empty()
}

fn named(links: &cli::Links) -> Vec<(&'static str, &str)> {
    let cli::Links {
        loss,
        burst,
        gemodel,
        delay,
        reorder,
        duplicate,
        corrupt,
        rate,
        queue,
        mtu,
        black_hole,
        outage,
        inward: _,
        outward: _,
        on,
        seed,
    } = links;
    let all = [
        ("loss", loss),
        ("burst", burst),
        ("gemodel", gemodel),
        ("delay", delay),
        ("reorder", reorder),
        ("duplicate", duplicate),
        ("corrupt", corrupt),
        ("rate", rate),
        ("queue", queue),
        ("mtu", mtu),
        ("black-hole", black_hole),
        ("outage", outage),
        ("on", on),
        ("seed", seed),
    ];
    all.iter()
        .filter_map(|(key, value)| Some((*key, value.as_deref()?)))
        .collect()
}

/// Show or set.
pub fn run(args: &cli::Impair) -> Result<ExitCode> {
    let config = stacks::config(args.stack.name.as_deref())?;
    let change = args.clear || are_named(&args.links);
    if !change && (args.links.inward || args.links.outward) {
        let why = "they say for which direction an option holds, and there is none";
        return Err(Trouble::new("--in and --out", why).mend("try --in --loss 2%"));
    }
    let Some(stack) = stacks::running(&config)? else {
        if change {
            // What is wrong in itself comes first.
            with(&args.links, Settings::default())?;
            let what = format!("stack {:?}", config.stack);
            let why = "no such stack is running here, so it has no links";
            return Err(
                Trouble::new(what, why).mend("`utcp run` takes the same options and starts one")
            );
        }
        if args.json {
            let report = json!({ "stack": config.stack, "running": false });
            anstream::println!("{report:#}");
        } else {
            anstream::eprintln!("no stack {:?} is running here", config.stack);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let mut session = crate::ring::session(&stack.runtime)?;
    if change {
        let old = if args.clear {
            Settings::default()
        } else {
            session.sh.links.settings
        };
        let new = with(&args.links, old)?;
        session.impair(&new);
    }
    let links = &session.sh.links;
    let report = Report {
        stack: config.stack.clone(),
        settings: links.settings,
        scale: session.sh.pace.scale(),
        links: [Way::Out, Way::In, Way::Loop].map(|way| links.stats(way)),
        overflows: links.overflows,
    };
    drop(session);
    if args.json {
        anstream::println!("{:#}", report.json());
    } else {
        for line in report.lines() {
            anstream::println!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Report {
    stack: String,
    settings: Settings,
    scale: u64,
    links: [(Stats, u32); 3],
    overflows: u64,
}

const NAMES: [&str; 3] = ["out", "in", "lo"];

#[derive(Serialize)]
struct Row {
    link: &'static str,
    impaired: bool,
    packets: u64,
    lost: u64,
    queue_full: u64,
    outage: u64,
    too_big: u64,
    corrupted: u64,
    duplicated: u64,
    reordered: u64,
    under_way: u32,
}

impl Report {
    fn rows(&self) -> Vec<Row> {
        let profiles = self.settings.profiles();
        let rows = NAMES.iter().zip(profiles).zip(self.links);
        rows.map(|((link, profile), (s, under_way))| Row {
            link,
            impaired: !profile.is_clear(),
            packets: s.packets,
            lost: s.lost,
            queue_full: s.queue_drops,
            outage: s.outage_drops,
            too_big: s.too_big,
            corrupted: s.corrupted,
            duplicated: s.duplicated,
            reordered: s.reordered,
            under_way,
        })
        .collect()
    }

    fn json(&self) -> Value {
        let keys = |p: &Profile| -> Map<String, Value> {
            let items = p.items().into_iter();
            items.map(|(k, v)| (k.to_owned(), v.into())).collect()
        };
        json!({
            "stack": self.stack,
            "running": true,
            "impaired": !self.settings.is_clear(),
            "out": keys(&self.settings.out),
            "in": keys(&self.settings.in_),
            "on": on(self.settings.on),
            "seed": self.settings.seed,
            "text": self.settings.to_string(),
            "time_scale": self.scale,
            "overflows": self.overflows,
            "links": self.rows(),
        })
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("stack {}", self.stack)];
        if self.scale != 1 {
            lines.push(format!(
                "  time      {} times as fast as the clock",
                self.scale
            ));
        }
        if self.settings.is_clear() {
            lines.push("  links     perfect".to_owned());
            return lines;
        }
        let text = |p: &Profile| {
            let items = p.items().into_iter();
            let items: Vec<String> = items.map(|(k, v)| format!("{k}={v}")).collect();
            if items.is_empty() {
                "perfect".to_owned()
            } else {
                items.join(" ")
            }
        };
        let (out, in_) = (text(&self.settings.out), text(&self.settings.in_));
        if out == in_ {
            lines.push(format!("  links     {out}"));
        } else {
            lines.push(format!("  out       {out}"));
            lines.push(format!("  in        {in_}"));
        }
        let which = match self.settings.on {
            Where::Both => "the device and the loopback (which follows what goes out)",
            Where::Lo => "the loopback",
            Where::Tun => "the device",
        };
        lines.push(format!("  on        {which}"));
        lines.push(format!("  seed      {}", self.settings.seed));
        let heads = [
            "link",
            "packets",
            "lost",
            "queue full",
            "outage",
            "too big",
            "corrupted",
            "doubled",
            "late",
            "under way",
        ];
        let mut table = vec![heads.map(str::to_owned)];
        for r in self.rows().iter().filter(|r| r.impaired) {
            table.push([
                r.link.to_owned(),
                r.packets.to_string(),
                r.lost.to_string(),
                r.queue_full.to_string(),
                r.outage.to_string(),
                r.too_big.to_string(),
                r.corrupted.to_string(),
                r.duplicated.to_string(),
                r.reordered.to_string(),
                r.under_way.to_string(),
            ]);
        }
        lines.push(String::new());
        lines.extend(table.iter().map(|row| {
            let cells = row.iter().zip(heads).enumerate();
            let cells = cells.map(|(i, (cell, head))| match i {
                0 => format!("  {cell:<6}"),
                _ => format!("  {cell:>width$}", width = head.width().max(5)),
            });
            cells.collect::<String>()
        }));
        if self.overflows > 0 {
            lines.push(format!(
                "  {} more found no room among those under way and were lost",
                self.overflows
            ));
        }
        lines
    }
}

fn on(which: Where) -> &'static str {
    match which {
        Where::Both => "both",
        Where::Lo => "lo",
        Where::Tun => "tun",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> cli::Links {
        cli::Links {
            loss: Some("2%".into()),
            delay: Some("50ms±10ms".into()),
            ..cli::Links::default()
        }
    }

    #[test]
    fn options_change_what_they_name() {
        let both = with(&links(), Settings::default()).unwrap();
        assert_eq!(both.to_string(), "loss=2% delay=50ms±10ms seed=0");
        let inward = cli::Links {
            loss: Some("off".into()),
            seed: Some("7".into()),
            inward: true,
            ..cli::Links::default()
        };
        let mixed = with(&inward, both).unwrap();
        assert_eq!(mixed.to_string(), "out.loss=2% delay=50ms±10ms seed=7");
    }

    #[test]
    fn mistakes_are_explained() {
        let bad = cli::Links {
            delay: Some("50".into()),
            ..cli::Links::default()
        };
        let e = with(&bad, Settings::default()).unwrap_err().to_string();
        assert!(e.starts_with("--delay 50: a time needs a unit"), "{e}");
        let bad = cli::Links {
            queue: Some("50".into()),
            ..cli::Links::default()
        };
        let e = with(&bad, Settings::default()).unwrap_err().to_string();
        assert!(e.contains("rate"), "{e}");
        let bad = cli::Links {
            on: Some("lo".into()),
            inward: true,
            ..links()
        };
        assert!(with(&bad, Settings::default()).is_err());
    }
}
