//! `utcp-script [--kernel|--library] FILE...`: run packet scripts on the stack, on the kernel, or on
//! the library in LD_PRELOAD.

use std::process::ExitCode;
use utcp_script::{counted_otherwise, run_on_kernel, run_on_library, run_on_ours};

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let kernel = args.iter().any(|a| a == "--kernel");
    let library = args.iter().any(|a| a == "--library");
    let counts = args.iter().any(|a| a == "--counts");
    args.retain(|a| a != "--kernel" && a != "--library" && a != "--counts");
    let many = args.len() > 1;
    if args.is_empty() || args.iter().any(|a| a.starts_with("--")) || library && (kernel || many) {
        println!("usage: utcp-script [--kernel] FILE...");
        println!(
            "       utcp-script --counts FILE...    what the kernel counts otherwise than we do"
        );
        println!("       LD_PRELOAD=libutcp.so utcp-script --library FILE");
        return ExitCode::from(2);
    }
    let run = |path: &String| {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        if counts {
            for counted in counted_otherwise(&text)? {
                println!("{counted}: {path}");
            }
            Ok(())
        } else if library {
            // SAFETY: this thread waits for the only other one, which runs this.
            unsafe { run_on_library(&text) }
        } else if kernel {
            run_on_kernel(&text)
        } else {
            run_on_ours(&text)
        }
    };
    // Scripts on the kernel sleep most of the time.
    let together = if kernel || counts { 12 } else { 1 };
    let mut failed = 0;
    for some in args.chunks(together) {
        let done: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let all: Vec<_> = some.iter().map(|path| scope.spawn(|| run(path))).collect();
            let join = all.into_iter().map(|t| {
                t.join()
                    .unwrap_or_else(|_| Err("the runner panicked".to_owned()))
            });
            join.collect()
        });
        for (path, done) in some.iter().zip(done) {
            match done {
                Ok(()) => println!("ok     {path}"),
                Err(e) => {
                    failed += 1;
                    println!("FAILED {path}:{e}");
                }
            }
        }
    }
    if args.len() > 1 {
        println!("{} of {} passed", args.len() - failed, args.len());
    }
    ExitCode::from(u8::from(failed > 0))
}
