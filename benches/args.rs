//! The command line.

use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
usage: cargo bench -p utcp-bench -- [OPTIONS] [FILTER...]

Only pairs and benchmarks whose names contain one of the FILTERs run, if there are any
(`utcp-utcp/pingpong`, `smoltcp`, `bulk-64k`). The first filters; the kernel's own pair always runs,
for the ratios, unless --no-kernel is given.

  --json            print everything measured as JSON
  --markdown        print the tables as Markdown
  --seconds S       length of one run (default 0.3)
  --repeats N       runs of each pair (default 5)
  --cores 1|2       only with both programs on one core, or on two
  --budget S        start no run after this many seconds (default 170)
  --no-raw          leave out the costs of device, copies and wake-ups
  --no-kernel       leave out the kernel's own pair
  --lib PATH        the library to preload (default: built now)
  --verbose         say each run's result on standard error
";

/// How the result is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Tables for a terminal.
    Text,
    /// Tables for README.md.
    Markdown,
    /// All values, of all runs.
    Json,
}

/// What this process is.
pub enum Role {
    /// It explains itself.
    Help,
    /// It starts the process that runs the benchmarks.
    Outer,
    /// It runs the benchmarks.
    Bench(Args),
    /// It is one end of a pair, on smoltcp.
    Smoltcp(Peer),
    /// It sends back each byte of its standard input.
    Echo,
}

/// The options of a run.
pub struct Args {
    /// How the result is printed.
    pub format: Format,
    /// Length of one run in seconds.
    pub seconds: f64,
    /// Runs of each cell of the table.
    pub repeats: usize,
    /// Both programs on one core, or on two; `None`: both placements.
    pub cores: Option<usize>,
    /// Start no run after this many seconds.
    pub budget: f64,
    /// Measure the costs of device, copies and wake-ups.
    pub raw: bool,
    /// Measure the kernel's own pair.
    pub kernel: bool,
    /// The library to preload; `None`: build it.
    pub lib: Option<PathBuf>,
    /// Say each run's result.
    pub verbose: bool,
    /// Names, or parts of them, of what runs; empty: everything.
    pub filters: Vec<String>,
}

/// What a smoltcp process does.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The TUN device it owns.
    pub device: String,
    /// The device's MTU.
    pub mtu: usize,
    /// Its own address, and the kernel's.
    pub addresses: [[u8; 4]; 2],
    /// Connects to the kernel; otherwise listens.
    pub connect: bool,
    /// `bulk`, `pingpong` or `crr`.
    pub program: String,
    /// The listener's port.
    pub port: u16,
    /// Bytes of one write.
    pub size: usize,
    /// Length of the run in seconds.
    pub seconds: f64,
}

impl Peer {
    /// The command line from which [`Args::parse`] makes this peer.
    pub fn to_args(&self) -> Vec<String> {
        let quad = |a: [u8; 4]| a.map(|b| b.to_string()).join(".");
        [
            "--smoltcp-peer".to_owned(),
            self.device.clone(),
            self.mtu.to_string(),
            quad(self.addresses[0]),
            quad(self.addresses[1]),
            self.connect.to_string(),
            self.program.clone(),
            self.port.to_string(),
            self.size.to_string(),
            self.seconds.to_string(),
        ]
        .into()
    }

    fn parse(args: &mut impl Iterator<Item = String>) -> Result<Peer, String> {
        Ok(Peer {
            device: value(args, "device")?,
            mtu: value(args, "mtu")?,
            addresses: [quad(args)?, quad(args)?],
            connect: value(args, "connect")?,
            program: value(args, "program")?,
            port: value(args, "port")?,
            size: value(args, "size")?,
            seconds: value(args, "seconds")?,
        })
    }
}

impl Args {
    /// Reads the command line, without the program's name.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Role, String> {
        let mut inner = false;
        let mut out = Args {
            format: Format::Text,
            seconds: 0.3,
            repeats: 5,
            cores: None,
            budget: 170.0,
            raw: true,
            kernel: true,
            lib: None,
            verbose: false,
            filters: Vec::new(),
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--help" | "-h" => return Ok(Role::Help),
                "--smoltcp-peer" => return Ok(Role::Smoltcp(Peer::parse(&mut args)?)),
                "--echo" => return Ok(Role::Echo),
                "--inner" => inner = true,
                // What cargo adds by itself.
                "--bench" => {}
                "--json" => out.format = Format::Json,
                "--markdown" => out.format = Format::Markdown,
                "--seconds" => out.seconds = value(&mut args, &arg)?,
                "--repeats" => out.repeats = value::<usize>(&mut args, &arg)?.max(1),
                "--cores" => out.cores = Some(value::<usize>(&mut args, &arg)?.clamp(1, 2)),
                "--budget" => out.budget = value(&mut args, &arg)?,
                "--no-raw" => out.raw = false,
                "--no-kernel" => out.kernel = false,
                "--lib" => out.lib = Some(value(&mut args, &arg)?),
                "--verbose" => out.verbose = true,
                _ if arg.starts_with('-') => {
                    return Err(format!(
                        "unknown option {arg}; --help lists those there are"
                    ));
                }
                _ => out.filters.push(arg),
            }
        }
        Ok(if inner { Role::Bench(out) } else { Role::Outer })
    }

    /// Whether the filters let `name` run.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f.as_str()))
    }
}

fn value<T: std::str::FromStr>(
    args: &mut impl Iterator<Item = String>,
    what: &str,
) -> Result<T, String> {
    let text = args.next().ok_or_else(|| format!("{what} needs a value"))?;
    text.parse().map_err(|_| format!("{what}: what is {text}?"))
}

fn quad(args: &mut impl Iterator<Item = String>) -> Result<[u8; 4], String> {
    value::<std::net::Ipv4Addr>(args, "address").map(|a| a.octets())
}
