//! The packet scripts of `tests/conformance/`, on this stack in virtual time and on the kernel in
//! real time. The kernel proves the scripts; the scripts prove the stack.

#[path = "harness/netns.rs"]
#[allow(dead_code)]
mod netns;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Scripts that the kernel passes and this stack doesn't yet, and what they wait for.
const WAITING: &[(&str, &str)] = &[];

/// How often the kernel may try a script: its times are real, and the machine has others to serve.
const TRIES: usize = 4;

/// How many scripts run on the kernel at a time; they sleep nearly always.
const TOGETHER: usize = 16;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/conformance");
    let entries = std::fs::read_dir(folder).expect("the folder of scripts");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("a script").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "pkt"));
    paths.sort();
    assert!(paths.len() > 50, "only {} scripts", paths.len());
    paths
}

fn name(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a script's text")
}

#[test]
fn scripts_on_this_stack() {
    let mut wrong = Vec::new();
    for path in scripts() {
        let name = name(&path);
        let waits = WAITING.iter().find(|(n, _)| *n == name);
        match (utcp_script::run_on_ours(&text(&path)), waits) {
            (Err(e), None) => wrong.push(format!("{name}.pkt:{e}")),
            (Ok(()), Some((_, what))) => wrong.push(format!(
                "{name}.pkt passes and no longer waits for {what}: take it off the list"
            )),
            _ => {}
        }
    }
    for (name, _) in WAITING {
        let exists = scripts().iter().any(|p| self::name(p) == *name);
        assert!(exists, "{name}.pkt is waited for, but there is none");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn scripts_on_the_kernel() {
    if netns::ran_elsewhere("scripts_on_the_kernel") {
        return;
    }
    let left = Mutex::new(scripts());
    let wrong = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = left.lock().expect("the scripts").pop();
            let Some(path) = next else { return };
            let text = text(&path);
            let mut errors = Vec::new();
            while errors.len() < TRIES {
                match utcp_script::run_on_kernel(&text) {
                    Ok(()) => break,
                    Err(e) => errors.push(e),
                }
            }
            if errors.len() == TRIES {
                let message = format!("{}.pkt:{}", name(&path), errors.join("\n  then "));
                wrong.lock().expect("the failures").push(message);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().expect("the failures");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
