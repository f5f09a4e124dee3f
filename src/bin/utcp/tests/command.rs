//! The command as its users meet it: exit statuses, output, what it leaves alone.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// What `cargo run` says. It may build the command anew and puts it where it lies: so it is
/// done before any test runs that file, and a keeper of it.
static CARGO_RUN: LazyLock<Output> = LazyLock::new(|| {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--locked", "--", "--version"])
        .current_dir(root)
        .output()
        .expect("cargo")
});

/// The command, in a network namespace of its own where that can be had: a stack that it starts
/// may make a device. A user who isn't root is root of a user namespace there.
fn utcp(args: &[&str]) -> Command {
    LazyLock::force(&CARGO_RUN);
    let mut command = Command::new(env!("CARGO_BIN_EXE_utcp"));
    command.args(args).stdin(Stdio::null());
    for name in [
        "UTCP_STACK",
        "UTCP_TUN",
        "LD_PRELOAD",
        "NO_COLOR",
        "COLUMNS",
    ] {
        command.env_remove(name);
    }
    // SAFETY: no pointers.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let maps = [
        (c"/proc/self/setgroups", "deny".to_owned()),
        (c"/proc/self/uid_map", format!("0 {uid} 1")),
        (c"/proc/self/gid_map", format!("0 {gid} 1")),
    ];
    // SAFETY: these may be called between fork and exec; the texts were made before. Refused,
    // the test goes on.
    unsafe {
        command.pre_exec(move || {
            if libc::unshare(libc::CLONE_NEWNET) != 0 {
                let user = libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET);
                for (file, text) in maps.iter().filter(|_| user == 0) {
                    let fd = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                    libc::write(fd, text.as_ptr().cast(), text.len());
                }
            }
            Ok(())
        });
    }
    command
}

fn output(args: &[&str]) -> Output {
    utcp(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)))
}

/// A stack that nobody else uses.
fn own_stack() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{n}", std::process::id())
}

/// The flags of a scene's segments, with the sender's initial.
fn segments(scene: &Value) -> Vec<String> {
    let steps = scene["steps"].as_array().unwrap();
    let segments = steps.iter().filter(|s| s["event"] == "segment");
    let name = |s: &Value| {
        let side = s["side"].as_str().unwrap();
        format!("{}[{}]", &side[..1], s["flags"].as_str().unwrap())
    };
    segments.map(name).collect()
}

/// The README's first command: there are other binaries, and it must find this one.
#[test]
fn cargo_run_is_utcp() {
    let told = &*CARGO_RUN;
    let text = String::from_utf8_lossy(&told.stdout);
    let trouble = String::from_utf8_lossy(&told.stderr);
    assert!(text.starts_with("utcp "), "{text}{trouble}");
}

#[test]
fn the_demo_shows_handshake_data_and_close_without_a_difference() {
    let got = output(&["demo", "--json"]);
    let error = text(&got.stderr);
    let report = json(&got);
    let comparisons = &report["comparisons"];
    assert_eq!(got.status.code(), Some(0), "{error}{comparisons:#}");
    assert_eq!(report["equal"], true);
    let close = [
        "c[S]", "s[S.]", "c[.]", "s[P.]", "c[.]", "s[F.]", "c[.]", "c[F.]", "s[.]",
    ];
    for scene in report["scenes"].as_array().unwrap() {
        // It says what mends it; a scene that was not played has not passed.
        let skipped = &scene["skipped"];
        assert!(skipped.is_null(), "{}: {skipped}", scene["title"]);
        assert_eq!(segments(scene), close, "{}", scene["title"]);
    }
}

#[test]
fn the_demo_is_plain_text_in_a_pipe() {
    let got = output(&["demo"]);
    let shown = text(&got.stdout);
    assert!(!shown.contains('\u{1b}'));
    for part in [
        "SYN_SENT",
        "[S.]",
        "TIME_WAIT",
        "connect(3, 127.0.0.1:9000)",
        "No difference",
    ] {
        let (status, error) = (got.status, text(&got.stderr));
        assert!(
            shown.contains(part),
            "no {part}: {status}, {error}\n{shown}"
        );
    }
}

#[test]
fn compare_says_equal_different_or_trouble() {
    let equal = output(&["compare", "--", "sh", "-c", "echo same; exit 5"]);
    assert_eq!(equal.status.code(), Some(0), "{}", text(&equal.stderr));

    // The preloaded library is what differs.
    let script = "echo one; echo ${LD_PRELOAD##*/}";
    let different = output(&["compare", "--", "sh", "-c", script]);
    assert_eq!(different.status.code(), Some(1));
    let shown = text(&different.stdout);
    let first = shown.lines().next().unwrap();
    assert!(
        first.starts_with("first difference, in sh: standard output"),
        "{shown}"
    );
    assert!(shown.contains("utcp:   libutcp.so"), "{shown}");

    let trouble = output(&["compare", "--", "./no-such-program"]);
    assert_eq!(trouble.status.code(), Some(2));
    assert!(text(&trouble.stderr).contains("cannot run ./no-such-program: No such file"));
}

#[test]
fn compare_runs_two_programs_that_meet() {
    let server = "import socket; s=socket.create_server(('127.0.0.1',9100)); \
                  c,a=s.accept(); print(c.recv(9)); c.send(b'pong'); c.close()";
    let client = "import socket; c=socket.create_connection(('127.0.0.1',9100)); \
                  c.send(b'ping'); print(c.recv(9), c.recv(9))";
    if Command::new("python3").arg("-V").output().is_err() {
        return;
    }
    let args = ["compare", "--json", "--", "python3", "-c", server];
    let args = [&args[..], &["--with", "python3", "-c", client]].concat();
    let got = output(&args);
    let report = json(&got);
    assert_eq!(report["equal"], true, "{report:#}");
    assert_eq!(report["utcp"][0]["stdout"], "b'ping'\n");
    assert_eq!(report["utcp"][1]["stdout"], "b'pong' b''\n");
}

#[test]
fn run_is_the_program() {
    let stack = own_stack();
    let script = "echo ${LD_PRELOAD##*/} $UTCP_STACK; exit 7";
    let got = output(&["run", "--stack", &stack, "sh", "-c", script]);
    assert_eq!(got.status.code(), Some(7));
    assert_eq!(text(&got.stdout), format!("libutcp.so {stack}\n"));

    for trace in [&[][..], &["--trace"]] {
        let args = [
            &["run", "--stack", &stack],
            trace,
            &["--", "./no-such-program"],
        ]
        .concat();
        let missing = output(&args);
        assert_eq!(missing.status.code(), Some(127));
        assert!(text(&missing.stderr).starts_with("utcp: cannot run ./no-such-program"));
        let folder = output(&[&args[..args.len() - 1], &["/tmp"]].concat());
        assert_eq!(folder.status.code(), Some(126));
    }
}

#[test]
fn a_traced_run_ends_as_the_program_ends() {
    let stack = own_stack();
    let traced = |script: &str| output(&["run", "--stack", &stack, "--trace", "sh", "-c", script]);
    let got = traced("exit 7");
    assert_eq!(got.status.code(), Some(7), "{}", text(&got.stderr));
    let got = traced("kill -KILL $$");
    assert_eq!(
        got.status.signal(),
        Some(libc::SIGKILL),
        "{}",
        text(&got.stderr)
    );
}

#[test]
fn a_traced_run_passes_signals_on() {
    let stack = own_stack();
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = utcp(&["run", "--stack", &stack, "--trace", "sh", "-c", script]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    out.read_line(&mut said).unwrap();
    // SAFETY: our own child, not waited for yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    out.read_to_string(&mut said).unwrap();
    let got = child.wait_with_output().unwrap();
    assert_eq!(got.status.code(), Some(9), "{}", text(&got.stderr));
    assert_eq!(said, "ready\ngot it\n");
}

#[test]
fn the_trace_is_json_on_request() {
    let stack = own_stack();
    let script = "import socket; s=socket.create_server(('127.0.0.1',0)); \
                  socket.create_connection(s.getsockname())";
    if Command::new("python3").arg("-V").output().is_err() {
        return;
    }
    let args = [
        "run", "--stack", &stack, "--trace", "--json", "--", "python3", "-c", script,
    ];
    let got = output(&args);
    let error = text(&got.stderr);
    let events: Vec<Value> = error
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let has = |event: &str, key: &str, value: &str| {
        events
            .iter()
            .any(|e| e["event"] == event && e[key] == value)
    };
    assert!(
        has("segment", "flags", "S.") && has("state", "new", "ESTABLISHED"),
        "{error}"
    );
    assert!(has("exit", "status", "0"), "{error}");
}

#[test]
fn looking_does_not_start_a_stack() {
    let stack = own_stack();
    let sockets = output(&["ss", "--stack", &stack, "-a"]);
    assert_eq!(sockets.status.code(), Some(0));
    assert!(text(&sockets.stderr).contains("is running here"));
    let report = json(&output(&["addr", "--stack", &stack, "--json"]));
    assert_eq!(report["running"], false);
    assert_eq!(
        text(&output(&["ss", "--stack", &stack, "--json"]).stdout),
        "[]\n"
    );
}

#[test]
fn mistakes_are_one_line() {
    let got = output(&["ss", "--stack", "no such name"]);
    assert_eq!(got.status.code(), Some(2));
    let error = text(&got.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        error.starts_with("utcp: --stack: \"no such name\": a stack's name has"),
        "{error}"
    );
}

#[test]
fn every_command_teaches() {
    for command in [
        "run", "ss", "impair", "addr", "up", "down", "compare", "demo",
    ] {
        let help = text(&output(&[command, "--help"]).stdout);
        assert!(help.contains("Example"), "{command}: {help}");
    }
}
