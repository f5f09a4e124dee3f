//! `utcp-script`: run packet scripts on the stack, on the kernel, or on the library in LD_PRELOAD;
//! record them; and look for what the kernel does otherwise.

use std::process::ExitCode;
use utcp_script::random::{self, Kind};
use utcp_script::{
    counted_otherwise, done_otherwise, record_ours, run_on_kernel, run_on_library, run_on_ours,
};

const USAGE: &str = "usage: utcp-script [--kernel] FILE...
       utcp-script --counts FILE...     what the kernel counts otherwise than we do
       utcp-script --record FILE        what our stack sends and gives, as a script
       utcp-script --random KIND SEED   a script by chance: send, receive, close or mixed
       utcp-script --differences A..B   scripts by chance of these seeds: what the kernel does otherwise
       LD_PRELOAD=libutcp.so utcp-script --library FILE";

/// Scripts on the kernel sleep most of the time.
const TOGETHER: usize = 12;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["--random", kind, seed] => print_random(kind, seed),
        ["--differences", seeds] => return differences(seeds),
        ["--record", file] => read(file).and_then(|text| {
            print!("{}", record_ours(&text)?);
            Ok(())
        }),
        // SAFETY: this thread is the only one.
        ["--library", file] => {
            return report(&[file], 1, &|_, text| unsafe { run_on_library(text) });
        }
        ["--kernel", ref files @ ..] if are_files(files) => {
            return report(files, TOGETHER, &|_, text| run_on_kernel(text));
        }
        ["--counts", ref files @ ..] if are_files(files) => {
            return report(files, TOGETHER, &|file, text| {
                for counted in counted_otherwise(text)? {
                    println!("{counted}: {file}");
                }
                Ok(())
            });
        }
        ref files if are_files(files) => return report(files, 1, &|_, text| run_on_ours(text)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("{e}");
            ExitCode::from(2)
        }
    }
}

fn are_files(files: &[&str]) -> bool {
    !files.is_empty() && !files.iter().any(|f| f.starts_with("--"))
}

fn read(file: &str) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))
}

fn print_random(kind: &str, seed: &str) -> Result<(), String> {
    let kind = Kind::ALL.into_iter().find(|k| k.name() == kind);
    let kind = kind.ok_or(USAGE)?;
    let seed = seed.parse().map_err(|_| USAGE)?;
    print!("{}", record_ours(&random::script(kind, seed))?);
    Ok(())
}

/// Run scripts, so many at once, and say what became of each.
fn report(
    files: &[&str],
    together: usize,
    run: &(dyn Fn(&str, &str) -> Result<(), String> + Sync),
) -> ExitCode {
    let mut failed = 0;
    for (file, done) in at_once(files, together, &|file| run(file, &read(file)?)) {
        match done {
            Ok(()) => println!("ok     {file}"),
            Err(e) => {
                failed += 1;
                println!("FAILED {file}:{e}");
            }
        }
    }
    if files.len() > 1 {
        println!("{} of {} passed", files.len() - failed, files.len());
    }
    ExitCode::from(u8::from(failed > 0))
}

/// Scripts by chance of seeds `a..b`, of each kind.
fn differences(seeds: &str) -> ExitCode {
    let bounds = seeds.split_once("..");
    let bounds = bounds.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let Some((a, b)) = bounds else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let of = |kind| (a..b).map(move |seed: u64| (kind, seed));
    let all: Vec<(Kind, u64)> = Kind::ALL.into_iter().flat_map(of).collect();
    let mut others = 0;
    for ((kind, seed), done) in at_once(&all, TOGETHER, &|&(kind, seed)| done_otherwise(kind, seed))
    {
        let name = format!("{} {seed}", kind.name());
        match done {
            Ok(None) => {}
            Ok(Some((_, why))) => {
                others += 1;
                println!("{name}: {why}");
            }
            Err(e) => {
                others += 1;
                println!("{name}: not run: {e}");
            }
        }
    }
    println!(
        "{} of {} scripts are the same on the kernel",
        all.len() - others,
        all.len()
    );
    ExitCode::from(u8::from(others > 0))
}

/// So many at once; what comes of each, in order.
fn at_once<'a, A: Sync, R: Send>(
    all: &'a [A],
    together: usize,
    run: &(dyn Fn(&A) -> Result<R, String> + Sync),
) -> Vec<(&'a A, Result<R, String>)> {
    let mut out = Vec::new();
    for some in all.chunks(together) {
        let done: Vec<Result<R, String>> = std::thread::scope(|scope| {
            let begun: Vec<_> = some.iter().map(|a| scope.spawn(|| run(a))).collect();
            let join = begun.into_iter().map(|t| {
                t.join()
                    .unwrap_or_else(|_| Err("the runner panicked".to_owned()))
            });
            join.collect()
        });
        out.extend(some.iter().zip(done));
    }
    out
}
