//! The `utcp` command: run programs on the stack, watch it, compare it with the kernel.
//!
//! | file | what |
//! |---|---|
//! | `run.rs` `ss.rs` `impair.rs` `addr.rs` `device.rs` `compare.rs` `demo.rs` | the commands |
//! | `cli.rs` | the command line and its help |
//! | `model.rs` | events, whichever stack they come from |
//! | `pcap.rs` | packets to a file |
//! | `ring.rs` `observe.rs` `capture.rs` `states.rs` | where events come from |
//! | `sides.rs` `ladder.rs` `diff.rs` `beside.rs` `paint.rs` | events placed, drawn, compared |
//! | `netns.rs` `programs.rs` `procs.rs` `stacks.rs` | namespaces, programs, processes, stacks |

mod addr;
mod beside;
mod capture;
mod cli;
mod compare;
mod demo;
mod device;
mod diff;
mod impair;
mod inside;
mod ladder;
mod model;
mod netns;
mod observe;
mod paint;
mod pcap;
mod procs;
mod programs;
mod ring;
mod run;
mod scene;
mod sides;
mod ss;
mod stacks;
mod states;
mod trouble;

use clap::Parser;
use cli::{Cli, Command};
use netns::Place;
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Inside { job, here } => {
            let place = if here { Place::Here } else { Place::Namespace };
            inside::run(&job, place)
        }
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Ss(args) => ss::run(&args),
        Command::Impair(args) => impair::run(&args),
        Command::Addr(args) => addr::run(&args),
        Command::Up(args) => device::up(&args),
        Command::Down(args) => device::down(&args),
        Command::Compare(args) => compare::run(&args),
    };
    result.unwrap_or_else(|trouble| {
        anstream::eprintln!("utcp: {trouble}");
        ExitCode::from(2)
    })
}
