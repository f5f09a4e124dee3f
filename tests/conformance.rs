//! The packet scripts of `tests/conformance/`: on this stack in virtual time, on the kernel in real
//! time, and through the shim in real time, by the very calls that the kernel gets. The kernel
//! proves the scripts; the scripts prove the stack.

#[path = "harness/build.rs"]
#[allow(dead_code)]
mod build;
#[path = "harness/netns.rs"]
#[allow(dead_code)]
mod netns;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Scripts that the kernel passes and this stack doesn't yet, and what they wait for.
const WAITING: &[(&str, &str)] = &[];

/// How often a script may be tried where times are real: the machine has others to serve.
const TRIES: usize = 4;

/// How many scripts run in real time at a time; they sleep nearly always.
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

/// Runs all scripts but those named in `but`, some at a time, and what fails `tries` times then as
/// often by itself: a script's times are real here, and a busy machine is late. Which fail, and why.
fn fail_all(
    tries: usize,
    but: &[(&str, &str)],
    run: impl Fn(&Path) -> Result<(), String> + Sync,
) -> Vec<(String, String)> {
    // One kind at a time: those of another would only disturb.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let mut all = scripts();
    all.retain(|p| !but.iter().any(|(n, _)| *n == name(p)));
    let left = Mutex::new(all);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = left.lock().expect("the scripts").pop();
            let Some(path) = next else { return };
            let mut errors = Vec::new();
            if !passes(tries, &mut errors, || run(&path)) {
                wrong.lock().expect("the failures").push((path, errors));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(work);
        }
    });
    let mut wrong = wrong.into_inner().expect("the failures");
    if tries > 1 {
        wrong.retain_mut(|(path, errors)| !passes(tries, errors, || run(path)));
    }
    let message = |(path, errors): (PathBuf, Vec<String>)| {
        let name = name(&path);
        let message = format!("{name}.pkt:{}", errors.join("\n  then "));
        (name, message)
    };
    wrong.into_iter().map(message).collect()
}

/// Whether one of so many tries passes; why those before it failed.
fn passes(tries: usize, errors: &mut Vec<String>, run: impl Fn() -> Result<(), String>) -> bool {
    (0..tries).any(|_| run().map_err(|e| errors.push(e)).is_ok())
}

fn none(wrong: &[(String, String)]) {
    let lines: Vec<&str> = wrong.iter().map(|(_, line)| line.as_str()).collect();
    assert!(wrong.is_empty(), "{}", lines.join("\n"));
}

/// The kernel passes every script, and /proc/net/netstat and snmp then show the same as this stack's.
#[test]
fn scripts_on_the_kernel() {
    if netns::ran_elsewhere("scripts_on_the_kernel") {
        return;
    }
    none(&fail_all(TRIES, &[], |path| {
        let known = |what: &str| {
            ITS_OWN.contains(&what)
                || OTHERWISE
                    .iter()
                    .any(|(script, names, _)| *script == name(path) && names.contains(&what))
        };
        let wrong: Vec<String> = utcp_script::counted_otherwise(&text(path))?
            .iter()
            .filter(|c| !known(&c.name))
            .map(|c| format!("\n    {c}"))
            .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.concat())
        }
    }));
}

/// What of the files tells of the kernel's own ways with memory, queues and routes.
const ITS_OWN: [&str; 8] = [
    "TCPHPAcks",
    "TCPHPHits",
    "TCPPureAcks",
    "TCPRcvCoalesce",
    "TCPSackMerged",
    "TCPSackShiftFallback",
    "TCPSackShifted",
    "TcpTimeoutRehash",
];

/// Scripts in which the kernel counts something otherwise.
const OTHERWISE: [(&str, &[&str], &str); 4] = [
    (
        "fastopen-client-empty",
        &["TCPDelivered", "TCPOrigDataSent"],
        "for it a SYN's data is a segment even where there is none",
    ),
    (
        "fastopen-client-blackhole",
        &["TCPFastOpenActiveFail"],
        "it counts a connection twice",
    ),
    (
        "fastopen-client-simultaneous",
        &["TCPFastOpenActiveFail", "TCPLossProbes", "TCPTimeouts"],
        "its data on a SYN that crossed another goes again as a tail loss probe",
    ),
    (
        "hystart",
        &["TCPHystartDelayCwnd"],
        "its HyStart ends slow start at once, HyStart++ after some rounds",
    ),
];

/// Names the script that the test's process is to run itself, by its own calls.
const ONE: &str = "UTCP_TEST_SCRIPT";

/// The script in a process of its own under `library`: this test's program once more. With its
/// namespace of processes goes the stack's keeper, which would wait for connections that scripts
/// leave half closed.
fn run_live(path: &Path, library: &Path) -> Result<(), String> {
    let again = std::env::current_exe().expect("this test's own file");
    let done = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["sh", "-c"])
        .arg("LD_PRELOAD=\"$0\" \"$1\" --exact scripts_through_the_shim --nocapture; exit $?")
        .args([library, &again])
        .env(ONE, path)
        .output()
        .expect("unshare, of the package util-linux");
    if done.status.success() {
        return Ok(());
    }
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = |l: &&str| l.starts_with("the script:");
    Err(said.lines().find(line).unwrap_or(&said).to_owned())
}

/// The scripts' calls go through the shim, as a program's, and their packets over the device: the
/// kernel of the namespace only forwards.
#[test]
fn scripts_through_the_shim() {
    if let Some(path) = std::env::var_os(ONE) {
        // SAFETY: the process was started for this, and its other thread waits.
        let done = unsafe { utcp_script::run_on_library(&text(Path::new(&path))) };
        return done.unwrap_or_else(|e| panic!("\nthe script:{}", e.replace('\n', " | ")));
    }
    if netns::ran_elsewhere("scripts_through_the_shim") {
        return;
    }
    netns::need_device();
    none(&fail_all(TRIES, WAITING, |path| {
        run_live(path, &build::libutcp())
    }));
}

/// The kernel can't do it in our stead: with a library that does nothing, no script passes.
#[test]
fn an_empty_library_passes_no_script() {
    if netns::ran_elsewhere("an_empty_library_passes_no_script") {
        return;
    }
    let wrong = fail_all(1, &[], |path| run_live(path, &build::empty_library()));
    let failed: Vec<&String> = wrong.iter().map(|(name, _)| name).collect();
    for path in scripts() {
        let passed = !failed.contains(&&name(&path));
        assert!(!passed, "{} passes without the library", name(&path));
    }
}
