//! Who talks with whom about what, and running it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::args::{Args, Peer};
use crate::load::{Fields, Programs, Running};
use crate::namespace::Counters;
use crate::{noise, tun};

/// Whose TCP carries a program's traffic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stack {
    /// The kernel's, congestion control cubic.
    Kernel,
    /// Ours, preloaded.
    Utcp,
    /// smoltcp on a TUN of the given MTU.
    Smoltcp(usize),
}

/// The stack of the connecting program, and that of the listening one.
pub type Pair = (Stack, Stack);

/// All pairs, in the order of the table. The connecting program sends in `bulk`.
pub const PAIRS: [Pair; 8] = {
    use Stack::*;
    [
        (Kernel, Kernel),
        (Utcp, Utcp),
        (Utcp, Kernel),
        (Kernel, Utcp),
        (Smoltcp(1500), Kernel),
        (Kernel, Smoltcp(1500)),
        (Smoltcp(65535), Kernel),
        (Kernel, Smoltcp(65535)),
    ]
};

/// A pair's name on the command line and in JSON.
pub fn name(pair: Pair) -> String {
    let one = |stack| match stack {
        Stack::Kernel => "kernel".to_owned(),
        Stack::Utcp => "utcp".to_owned(),
        Stack::Smoltcp(mtu) => format!("smoltcp{mtu}"),
    };
    format!("{}-{}", one(pair.0), one(pair.1))
}

/// A load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Load {
    /// Its name on the command line and in JSON.
    pub name: &'static str,
    /// The program of `load/`.
    pub program: &'static str,
    /// Bytes of one write.
    pub size: usize,
}

/// All loads.
pub const LOADS: [Load; 4] = [
    Load {
        name: "bulk-64k",
        program: "bulk",
        size: 65536,
    },
    Load {
        name: "bulk-4k",
        program: "bulk",
        size: 4096,
    },
    Load {
        name: "pingpong",
        program: "pingpong",
        size: 1,
    },
    Load {
        name: "crr",
        program: "crr",
        size: 1,
    },
];

/// One place in the tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Cores that the two programs run on: 1 or 2.
    pub cores: usize,
    /// What they do.
    pub load: Load,
    /// On which stacks.
    pub pair: Pair,
}

/// One run of a place.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the connecting program reported, and the listening one's bytes and seconds.
    pub fields: Fields,
    /// Processor time that others used meanwhile, as a share of one processor.
    pub noise: f64,
    /// What the kernel's TCP did meanwhile.
    pub kernel: Counters,
}

impl Run {
    /// A field of the report, in its own unit.
    pub fn get(&self, field: &str) -> Option<f64> {
        self.fields.get(field).copied()
    }

    /// Connections that the load made.
    fn connections(&self, load: Load) -> u64 {
        match load.program {
            // One to warm up, one to say that it was the last.
            "crr" => self.get("rounds").unwrap_or(0.0) as u64 + 2,
            _ => 1,
        }
    }
}

/// Everything measured.
pub type Cells = BTreeMap<Place, Vec<Run>>;

/// Runs the pairs.
pub struct Runner<'a> {
    args: &'a Args,
    programs: Programs,
    lib: Option<PathBuf>,
    has_tun: bool,
    begin: Instant,
    port: u16,
    /// What was measured.
    pub cells: Cells,
    /// What went wrong, and what was proved.
    pub notes: Vec<String>,
}

impl<'a> Runner<'a> {
    /// Prepare to run what `args` say; `begin` is when the whole run began.
    pub fn new(
        args: &'a Args,
        programs: Programs,
        lib: Option<PathBuf>,
        begin: Instant,
    ) -> Result<Runner<'a>, String> {
        let mut notes = Vec::new();
        if lib.is_none() {
            notes.push("libutcp.so could not be built: nothing ran on utcp".to_owned());
        }
        let tun = tun::open("probe", tun::Mode::Plain);
        if let Err(e) = &tun {
            notes.push(format!(
                "no TUN device: {e}; as root it works. Only loopback was measured"
            ));
        }
        Ok(Runner {
            has_tun: tun.is_ok(),
            args,
            programs,
            lib,
            begin,
            port: 5000,
            cells: Cells::new(),
            notes,
        })
    }

    /// Run everything, a round of all places after the other, so that a slow phase of the
    /// machine hits all alike. A place that failed twice isn't tried again.
    pub fn run_all(&mut self) {
        let mut places = self.places();
        let mut failed = BTreeMap::new();
        for round in 0..self.args.repeats {
            let mut next = Vec::with_capacity(places.len());
            for place in places {
                if self.begin.elapsed().as_secs_f64() > self.args.budget {
                    self.notes
                        .push(format!("the time was over in round {}", round + 1));
                    return self.prove();
                }
                let what = format!("{}/{}/{}", name(place.pair), place.load.name, place.cores);
                match self.run(place) {
                    Ok(run) => {
                        if self.args.verbose {
                            eprintln!("{what}: {run:?}");
                        }
                        self.cells.entry(place).or_default().push(run);
                        next.push(place);
                    }
                    Err(e) => {
                        if !std::mem::replace(failed.entry(place).or_insert(false), true) {
                            next.push(place);
                        }
                        self.notes.push(format!("{what}: {e}"));
                    }
                }
            }
            places = next;
        }
        self.prove();
    }

    fn places(&self) -> Vec<Place> {
        let available = std::thread::available_parallelism().map_or(1, |n| n.get());
        let mut places = Vec::new();
        for cores in [1, 2] {
            if cores > available || self.args.cores.is_some_and(|c| c != cores) {
                continue;
            }
            for load in LOADS {
                for pair in PAIRS {
                    let full = format!("{}/{}/{cores}", name(pair), load.name);
                    let kernel = pair == (Stack::Kernel, Stack::Kernel);
                    let possible = (self.lib.is_some() || !involves_utcp(pair))
                        && (self.has_tun || pair.0 == pair.1);
                    let wanted = if kernel {
                        self.args.kernel
                    } else {
                        self.args.wants(&full)
                    };
                    if possible && wanted {
                        places.push(Place { cores, load, pair });
                    }
                }
            }
        }
        places
    }

    fn run(&mut self, place: Place) -> Result<Run, String> {
        // A port of its own: what earlier runs left in TIME_WAIT is in nobody's way.
        self.port += 1;
        let seconds = self.args.seconds;
        let deadline = Instant::now() + Duration::from_secs_f64(seconds + 5.0);
        let (used, begin, counters) = (noise::used_elsewhere(), Instant::now(), Counters::read());
        let command = self.command(place, place.pair.1, None)?;
        let mut listener =
            Running::start(command, place.cores - 1).map_err(|e| format!("listener: {e}"))?;
        let ready = listener
            .line(deadline)
            .map_err(|e| format!("listener: {e}"))?;
        if ready != "ready" {
            return Err(format!("listener: said {ready}"));
        }
        let command = self.command(place, place.pair.0, Some(target(place.pair)))?;
        let mut connector = Running::start(command, 0).map_err(|e| format!("connector: {e}"))?;
        let sent = connector
            .report(deadline)
            .map_err(|e| format!("connector: {e}"))?;
        let got = listener
            .report(deadline)
            .map_err(|e| format!("listener: {e}"))?;
        connector
            .finish(deadline)
            .map_err(|e| format!("connector: {e}"))?;
        listener
            .finish(deadline)
            .map_err(|e| format!("listener: {e}"))?;
        // Only now: one that is just ending can't be told from a stranger.
        let kernel = Counters::read().since(counters);
        let noise = (noise::used_elsewhere() - used).max(0.0) / begin.elapsed().as_secs_f64();
        if place.load.program == "bulk" && sent.get("bytes") != got.get("bytes") {
            return Err(format!(
                "sent {:?} bytes, received {:?}",
                sent.get("bytes"),
                got.get("bytes")
            ));
        }
        let mut fields = sent;
        for (name, value) in got {
            fields.insert(format!("listener_{name}"), value);
        }
        Ok(Run {
            fields,
            noise,
            kernel,
        })
    }

    /// The command of one end; `connect`: where to, for the connecting end.
    fn command(
        &self,
        place: Place,
        stack: Stack,
        connect: Option<[u8; 4]>,
    ) -> Result<Command, String> {
        if let Stack::Smoltcp(mtu) = stack {
            let (name, kernel, own) = smoltcp_device(mtu);
            let peer = Peer {
                device: name.to_owned(),
                mtu,
                addresses: [own, kernel],
                connect: connect.is_some(),
                program: place.load.program.to_owned(),
                port: self.port,
                size: place.load.size,
                seconds: self.args.seconds,
            };
            let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
            command.args(peer.to_args());
            return Ok(command);
        }
        let mut command = self.programs.command(place.load.program);
        // The receiving end reads in 64 KiB whatever the sender writes.
        let size = if connect.is_some() {
            place.load.size
        } else {
            65536
        };
        command.args(["-p", &self.port.to_string(), "-w", &size.to_string()]);
        command.args(["-t", &self.args.seconds.to_string()]);
        if let Some(addr) = connect {
            command.args(["-c", &std::net::Ipv4Addr::from(addr).to_string()]);
        }
        match stack {
            // Asked for at each socket: a namespace may not choose what the host doesn't allow
            // to all.
            Stack::Kernel => command.args(["-C", "cubic"]),
            _ => {
                let lib = self.lib.as_ref().ok_or("no library")?;
                command.env("LD_PRELOAD", lib).env("UTCP_STACK", "bench")
            }
        };
        Ok(command)
    }

    /// Say what the kernel's counters prove: it was an end of as many connections as it should
    /// have been, and between two programs on utcp saw no segment at all.
    fn prove(&mut self) {
        let mut runs = BTreeMap::<Pair, (usize, u64, u64, u64)>::new();
        for (place, cell) in &self.cells {
            for run in cell {
                let sum = runs.entry(place.pair).or_default();
                sum.0 += 1;
                sum.1 += run.connections(place.load);
                sum.2 += run.kernel.ends;
                sum.3 += run.kernel.segments;
            }
        }
        for (pair, (runs, connections, ends, segments)) in runs {
            let kernels = [pair.0, pair.1]
                .iter()
                .filter(|s| **s == Stack::Kernel)
                .count() as u64;
            let right = ends == kernels * connections && (kernels > 0 || segments == 0);
            let verdict = if right {
                "as it must be"
            } else {
                "WRONG: these numbers are not valid"
            };
            self.notes.push(format!(
                "{}: {connections} connections in {runs} runs; the kernel's TCP was an end of \
                 {ends} and moved {segments} segments, {verdict}",
                name(pair)
            ));
        }
    }
}

fn involves_utcp(pair: Pair) -> bool {
    pair.0 == Stack::Utcp || pair.1 == Stack::Utcp
}

/// Where the connecting end of a pair connects to.
fn target(pair: Pair) -> [u8; 4] {
    match pair {
        (Stack::Utcp, Stack::Kernel) => [198, 18, 0, 1],
        (Stack::Kernel, Stack::Utcp) => [198, 18, 0, 2],
        (Stack::Smoltcp(mtu), _) => smoltcp_device(mtu).1,
        (_, Stack::Smoltcp(mtu)) => smoltcp_device(mtu).2,
        _ => [127, 0, 0, 1],
    }
}

/// Name, kernel's address and smoltcp's address of the device with this MTU.
fn smoltcp_device(mtu: usize) -> (&'static str, [u8; 4], [u8; 4]) {
    match mtu {
        1500 => ("smol1500", [198, 19, 0, 1], [198, 19, 0, 2]),
        _ => ("smol65535", [198, 19, 1, 1], [198, 19, 1, 2]),
    }
}
