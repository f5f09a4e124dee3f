//! The command line and its help.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;

/// Run unmodified programs on a TCP/IP stack of their own, and look at what it does.
#[derive(Parser)]
#[command(
    name = "utcp",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
Try first:
  utcp demo                          the whole of TCP, on the kernel and on utcp, side by side
  utcp run -- ./server               a program on the stack named \"default\"
  utcp run --trace -- ./client       the same, with every call, state and segment as it happens
  utcp run --loss 2% --delay 50ms -- ./client
                                     the same over a bad link; `utcp impair` changes it live
  utcp ss -anp                       the stack's sockets and who has them
  utcp compare -- ./server --with ./client
                                     do kernel and utcp give these programs the same?

Programs started with the same --stack NAME (or UTCP_STACK=NAME) share one host: 127.0.0.1,
ports and addresses. LD_PRELOAD=libutcp.so PROGRAM does what `utcp run` does.
`utcp COMMAND --help` says more about each command."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Run a program on the stack
    #[command(
        override_usage = "utcp run [OPTIONS] [--] PROGRAM [ARGS]",
        after_help = "\
Examples:
  utcp run -- python3 -m http.server          reachable from the kernel at 198.18.0.2:8000
  utcp run curl http://127.0.0.1:8000/        another program on the same stack
  utcp run --stack b -- ./server              a second host with addresses of its own
  utcp run --trace -- ./client                the ladder diagram, live, on standard error
  utcp run --trace --json -- ./client         the same as one JSON object a line
  utcp run --loss 2% --delay 50ms±10ms --seed 7 -- ./client
                                              over a bad link, the same one every time
  utcp run --rate 20mbit --queue 100 --in -- curl http://198.18.0.1/
                                              what comes in has to pass a bottleneck
  utcp run --time-scale 1000 -- ./server      TIME_WAIT in 60 ms, a keepalive in 7 s
  utcp run --pcap a.pcapng -- ./client        every packet, for Wireshark

The program takes the place of this command (its exit status and signals are its own). With
--trace this command stays, watches, passes signals on, and ends as the program ended. A program
that can't be run gives 127 (not found) or 126, as in a shell.
An impaired link belongs to the stack, not to the program: it stays until the stack ends or
`utcp impair --clear`. Of a stack that runs already, the links are changed.
Environment: UTCP_TUN, UTCP_ADDR, UTCP_ADDR6, UTCP_GATEWAY, UTCP_GATEWAY6, UTCP_MTU, UTCP_IMPAIR,
UTCP_TIME_SCALE; they count for the first program of a stack."
    )]
    Run(Run),
    /// Show the stack's sockets, as ss shows the kernel's
    #[command(after_help = "\
Examples:
  utcp ss              connections
  utcp ss -l           listening sockets; Recv-Q counts connections not yet accepted
  utcp ss -anp         everything, with the processes that have it
  utcp ss -ano         with timers: timer:(keepalive,1min59sec,0)
  utcp ss -a --json | jq '.[] | select(.state == \"ESTAB\")'

Process names of other users' programs are shown to root only. Unmodified tools work as well:
utcp run netstat -nap.")]
    Ss(Ss),
    /// Show or change how bad the stack's links are
    #[command(after_help = "\
Examples:
  utcp impair                          show them, with what they have done
  utcp impair --loss 2% --delay 50ms±10ms --seed 7
  utcp impair --in --rate 20mbit --queue 50
                                       only what comes in; the rest stays as it is
  utcp impair --loss 5% --burst 4      as much loss, four packets at a time in the mean
  utcp impair --outage 2s@5s           in five seconds, nothing passes for two
  utcp impair --loss off               no loss any more
  utcp impair --clear                  perfect links again
  utcp impair --json | jq .links

What isn't named stays as it was. Every change begins to count packets anew: the same seed gives
the same packets, by their numbers in each direction, the same fate. On 127.0.0.1 every segment
leaves the host once, so what is said of outgoing packets holds there: --delay 50ms makes a round
trip of 100 ms, on the device and on the loopback. With --in only the device is impaired.
`utcp run` takes the same options, UTCP_IMPAIR the same as text: \"loss=2% in.delay=50ms seed=7\".")]
    Impair(Impair),
    /// Show the stack's addresses and device, and list the stacks there are
    #[command(after_help = "\
Examples:
  utcp addr                  the stack \"default\", and every other that runs here
  utcp addr --stack b
  utcp addr --json | jq -r .ipv4.address

A stack exists from its first program's first socket until the last program and the last
lingering connection are gone.")]
    Addr(Addr),
    /// Make a TUN device that a user without privileges can use
    #[command(after_help = "\
Examples:
  sudo utcp up --user alice          makes utcp0, with 198.18.0.1 on the kernel's side
  UTCP_TUN=utcp0 utcp run ./server   as alice; the stack is at 198.18.0.2
  sudo utcp down utcp0               removes it

The device stays until it is removed or the machine is restarted.")]
    Up(Up),
    /// Remove a device that `utcp up` made
    #[command(after_help = "Example:\n  sudo utcp down utcp0")]
    Down(Down),
    /// Run programs on the kernel and on utcp, and show the first difference
    #[command(
        override_usage = "utcp compare [OPTIONS] [--] PROGRAM [ARGS] [--with PROGRAM [ARGS]]",
        after_help = "\
Examples:
  utcp compare -- ./server --with ./client 127.0.0.1
  utcp compare --json -- ./probe

Each run gets a fresh network namespace. The first PROGRAM is started, and the one after --with
when the first one listens (or after a second). Standard output, standard error and exit status
are compared; numbers that a system picks (ports above 32767) may differ.
Exit status: 0 equal, 1 different, 2 trouble."
    )]
    Compare(Compare),
    /// Show a TCP connection on the kernel and on utcp, side by side
    #[command(after_help = "\
Examples:
  utcp demo
  utcp demo --json > demo.json
  utcp demo | less                   plain text, no colours

It compiles the server and client in c-tests/ with cc and runs them in network namespaces of
their own: on the kernel, on utcp over 127.0.0.1, and a kernel client against a utcp server over
the TUN device. Nothing leaves the machine.
Exit status: 0 no difference, 1 differences, 2 trouble.")]
    Demo(Demo),
    /// What the command itself runs inside its namespaces
    #[command(hide = true, name = crate::netns::INSIDE)]
    Inside {
        /// What to do there.
        job: String,
        /// Not in a namespace at all.
        #[arg(long)]
        here: bool,
    },
}

/// Which stack.
#[derive(Args)]
pub struct Stack {
    /// Name of the stack [default: $UTCP_STACK, or "default"]
    #[arg(long = "stack", value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Args)]
#[allow(missing_docs)]
pub struct Run {
    #[command(flatten)]
    pub stack: Stack,
    /// Draw calls, states and segments while they happen
    #[arg(long)]
    pub trace: bool,
    /// With --trace: one JSON object a line
    #[arg(long, requires = "trace")]
    pub json: bool,
    /// Where the trace goes [default: standard error]
    #[arg(long, short = 'o', value_name = "FILE", requires = "trace")]
    pub output: Option<std::path::PathBuf>,
    /// Write every packet of the stack to FILE (pcapng), with processes and losses as comments
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<std::path::PathBuf>,
    /// With --pcap: keep this many bytes of each packet
    #[arg(long, value_name = "BYTES", requires = "pcap", default_value_t = 262_144,
          value_parser = clap::value_parser!(u32).range(40..=262_144), hide_default_value = true)]
    pub snap: u32,
    /// TCP's time goes N times as fast: its timers, and the delays of modelled links. The time
    /// limits of calls (poll, SO_RCVTIMEO) stay in real time
    #[arg(long, value_name = "N")]
    pub time_scale: Option<String>,
    #[command(flatten)]
    pub links: Links,
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "PROGRAM [ARGS]"
    )]
    pub program: Vec<OsString>,
}

#[derive(Args)]
#[allow(missing_docs)]
pub struct Ss {
    #[command(flatten)]
    pub stack: Stack,
    /// Listening sockets as well as connections
    #[arg(short, long)]
    pub all: bool,
    /// Listening sockets only
    #[arg(short, long)]
    pub listening: bool,
    /// Ports as numbers, not as names of services
    #[arg(short, long)]
    pub numeric: bool,
    /// The processes that have the socket
    #[arg(short, long)]
    pub processes: bool,
    /// Timers
    #[arg(short, long)]
    pub options: bool,
    /// TCP sockets (there are no others yet)
    #[arg(short, long)]
    pub tcp: bool,
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// No line of headings
    #[arg(short = 'H', long)]
    pub no_header: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// How bad links are to be.
#[derive(Args, Default)]
#[command(next_help_heading = "Bad links")]
pub struct Links {
    /// Lose this share of the packets, as in 2%
    #[arg(long, value_name = "SHARE")]
    pub loss: Option<String>,
    /// With --loss: lose N packets in a row, in the mean
    #[arg(long, value_name = "N")]
    pub burst: Option<String>,
    /// Loss by the Gilbert-Elliott model: chances to get bad and good, loss when bad and good
    #[arg(long, value_name = "P,R[,BAD[,GOOD]]")]
    pub gemodel: Option<String>,
    /// Delay packets, each way, as in 50ms or 50ms±10ms (or 50ms+-10ms)
    #[arg(long, value_name = "TIME[±JITTER]")]
    pub delay: Option<String>,
    /// Hold this share back by up to TIME (5ms), so that others overtake them
    #[arg(long, value_name = "SHARE[,TIME]")]
    pub reorder: Option<String>,
    /// Deliver this share twice
    #[arg(long, value_name = "SHARE")]
    pub duplicate: Option<String>,
    /// Deliver this share with one bit wrong
    #[arg(long, value_name = "SHARE")]
    pub corrupt: Option<String>,
    /// A bottleneck of this rate, as in 20mbit
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,
    /// With --rate: how many packets wait before it [default: 100]
    #[arg(long, value_name = "PACKETS")]
    pub queue: Option<String>,
    /// The largest packet that passes; of larger ones, ICMP tells the sender
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<String>,
    /// With --mtu: nobody tells (on, off)
    #[arg(long, value_name = "ON", num_args = 0..=1, default_missing_value = "on",
          require_equals = true)]
    pub black_hole: Option<String>,
    /// Nothing passes for LENGTH: once, START from now, or at the end of every PERIOD
    #[arg(long, value_name = "LENGTH@START or LENGTH/PERIOD")]
    pub outage: Option<String>,
    /// All this for what comes in from the device only
    #[arg(long = "in", conflicts_with = "outward")]
    pub inward: bool,
    /// All this for what goes out only (and stays on 127.0.0.1)
    #[arg(long = "out")]
    pub outward: bool,
    /// Which links: lo (127.0.0.1 and all else that stays inside), tun (the device) or both
    /// [default: both]
    #[arg(long, value_name = "LINK")]
    pub on: Option<String>,
    /// Where chance begins; the same number, the same losses [default: 0]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<String>,
}

#[derive(Args)]
#[allow(missing_docs)]
pub struct Impair {
    #[command(flatten)]
    pub stack: Stack,
    /// Perfect links again
    #[arg(long)]
    pub clear: bool,
    /// Show as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub links: Links,
}

#[derive(Args)]
#[allow(missing_docs)]
pub struct Addr {
    #[command(flatten)]
    pub stack: Stack,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[allow(missing_docs)]
pub struct Up {
    /// Who may use the device [default: the user who called sudo]
    #[arg(long, value_name = "NAME or UID")]
    pub user: Option<String>,
    /// Name of the device [default: the first free of utcp0, utcp1 ...]
    #[arg(value_name = "DEVICE")]
    pub device: Option<String>,
}

#[derive(Args)]
#[allow(missing_docs)]
pub struct Down {
    /// Name of the device
    #[arg(value_name = "DEVICE", default_value = "utcp0")]
    pub device: String,
}

#[derive(Args)]
#[allow(missing_docs)]
pub struct Compare {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Seconds until programs that still run are ended
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
    /// The program and its arguments; after --with, its partner and the partner's
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "PROGRAM [ARGS] [--with PROGRAM [ARGS]]"
    )]
    pub programs: Vec<OsString>,
}

#[derive(Args)]
#[allow(missing_docs)]
pub struct Demo {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Plain text on a terminal, too
    #[arg(long)]
    pub no_color: bool,
}
