//! Measures utcp, the kernel and smoltcp side by side, in one run.
//!
//! `cargo bench -p utcp-bench -- --help` lists the options. Everything happens in a network
//! namespace that the run makes for itself, and nothing of it outlives the run.

mod args;
mod load;
mod machine;
mod namespace;
mod noise;
mod pairs;
mod raw;
mod report;
mod smol;
mod stats;
mod tun;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use args::{Args, Role};
use report::Report;

fn main() -> ExitCode {
    match Args::parse(std::env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("utcp-bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(role: Role) -> Result<(), String> {
    match role {
        Role::Help => {
            print!("{}", args::HELP);
            Ok(())
        }
        Role::Smoltcp(peer) => smol::run(&peer),
        Role::Echo => raw::echo(),
        Role::Outer => outer(),
        Role::Bench(args) => bench(&args),
    }
}

/// Run the benchmarks in a child that is a session of its own: the scheduler groups processes by
/// session, and only a group can be favoured to the others. Ending this process ends it.
fn outer() -> Result<(), String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(exe);
    command.arg("--inner").args(std::env::args().skip(1));
    // SAFETY: two system calls, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            load::die_with_parent()
        });
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the run ended with {status}")),
        Err(e) => Err(e.to_string()),
    }
}

fn bench(args: &Args) -> Result<(), String> {
    let begin = Instant::now();
    // Only root may, and only where there are such groups.
    let _ = std::fs::write("/proc/self/autogroup", "-20");
    let machine = machine::Machine::look();
    let lib = match &args.lib {
        Some(path) => Some(path.clone()),
        None => load::build_library(),
    };
    let programs = load::Programs::build()?;
    namespace::enter()?;
    let busy_before = noise::busy_elsewhere();
    let mut report = Report::new(machine, busy_before);
    if args.raw {
        report.raw = raw::measure();
    }
    let mut runner = pairs::Runner::new(args, programs, lib, begin)?;
    runner.run_all();
    report.cells = runner.cells;
    report.notes = runner.notes;
    report.seconds = begin.elapsed().as_secs_f64();
    namespace::end_leftovers();
    report.print(args.format);
    Ok(())
}
