//! What programs may do with descriptors, with calls that wait, and with stdio: the same under
//! the library as on the kernel. And what a program sees of the library that needs none of it:
//! nothing.

mod harness;

use harness::{Scenario, Step, build, library};
use std::process::{Command, Stdio};

fn check(test: &str, program: &'static str) {
    harness::check(test, &Scenario::alone([Step::c(program)]).limit(90));
}

#[test]
fn descriptors() {
    check("descriptors", "shim_descriptors");
}

#[test]
fn descriptors_fortified() {
    check("descriptors_fortified", "shim_descriptors+fortify");
}

#[test]
fn waiting() {
    check("waiting", "shim_waiting");
}

#[test]
fn waiting_fortified() {
    check("waiting_fortified", "shim_waiting+fortify");
}

#[test]
fn blocking() {
    check("blocking", "shim_blocking");
}

#[test]
fn blocking_fortified() {
    check("blocking_fortified", "shim_blocking+fortify");
}

#[test]
fn stdio() {
    check("stdio", "shim_stdio");
}

#[test]
fn stdio_fortified() {
    check("stdio_fortified", "shim_stdio+fortify");
}

#[test]
fn congestion() {
    check("congestion", "shim_congestion");
}

#[test]
fn reuseport() {
    check("reuseport", "shim_reuseport");
}

#[test]
fn calls() {
    check("calls", "shim_calls");
}

#[test]
fn ends() {
    check("ends", "shim_ends");
}

#[test]
fn fast_open() {
    check("fast_open", "shim_fastopen");
}

#[test]
fn error_queue_in_epoll() {
    check("error_queue_in_epoll", "shim_errqueue");
}

#[test]
fn error_queues_in_epoll_together() {
    check("error_queues_in_epoll_together", "shim_errepoll");
}

#[test]
fn ip_options() {
    check("ip_options", "facts_ipoptions");
}

#[test]
fn ip_options_that_are_sent() {
    check("ip_options_that_are_sent", "facts_ipoptions_sent");
}

#[test]
fn timestamps() {
    check("timestamps", "facts_timestamps");
}

#[test]
fn priority() {
    check("priority", "facts_priority");
}

#[test]
fn counters() {
    check("counters", "facts_counters");
}

#[test]
fn options_at_their_ends() {
    check("options_at_their_ends", "facts_options");
}

#[test]
fn options_wake() {
    check("options_wake", "shim_wakes");
}

#[test]
fn urgent_mark() {
    check("urgent_mark", "facts_urgent");
}

#[test]
fn messages() {
    check("messages", "shim_messages");
}

#[test]
fn edges() {
    check("edges", "shim_edges");
}

#[test]
fn splice() {
    check("splice", "shim_splice");
}

/// What packetdrill does beside its sockets of TCP.
#[test]
fn tun() {
    harness::netns::need_device();
    check("tun", "shim_tun");
}

/// A shell's line, with the library preloaded or without: what it printed on both outputs.
fn shell(line: &str, preload: bool, stack: &str) -> (String, String) {
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("UTCP_STACK", stack)
        .stdin(Stdio::null());
    if preload {
        command.env("LD_PRELOAD", library());
    }
    let output = command.output().expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_program_without_sockets_is_left_alone() {
    let stack = format!("untouched-{}", std::process::id());
    let lines = [
        // Descriptors by number and by what they are, less the inodes.
        "ls -l /proc/self/fd | sed 's/.* \\([0-9]* -> [a-z/]*\\).*/\\1/' | sort",
        "ls /proc/self/task | wc -l",
        "echo text | sort | tr a-z A-Z",
        "exec 5</dev/null; ls /proc/self/fd | tr '\\n' ' '",
        "ulimit -n 8; cat /dev/null && echo fine",
        // UDP and AF_UNIX sockets are the kernel's.
        "bash -c 'exec 7<>/dev/udp/127.0.0.1/9; ls /proc/self/fd | tr \"\\n\" \" \"'",
    ];
    for line in lines {
        let (plain, under) = (shell(line, false, &stack), shell(line, true, &stack));
        assert_eq!(plain, under, "{line}");
    }
    let keepers = shell("grep -alz utcp-keeper /proc/[0-9]*/cmdline", false, &stack).0;
    for file in keepers.lines() {
        let cmdline = std::fs::read_to_string(file).unwrap_or_default();
        assert!(!cmdline.contains(&stack), "a keeper was started: {cmdline}");
    }
    // But where there is a TCP socket one is, though nobody listens at that port.
    let line = "bash -c ': 7<>/dev/tcp/127.0.0.1/9; \
        cat /proc/[0-9]*/cmdline | tr \"\\0\" \" \" | grep -ao \"[u]tcp-keeper $UTCP_STACK\"'";
    let (seen, error) = shell(line, true, &stack);
    assert!(
        seen.contains(&format!("utcp-keeper {stack}")),
        "{seen}{error}"
    );
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn a_mistake_in_the_settings_is_one_line() {
    let program = build::c("claim02");
    let output = Command::new(program)
        .env("LD_PRELOAD", library())
        .env("UTCP_MTU", "12")
        .output()
        .expect("claim02");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("utcp: UTCP_MTU=\"12\": "), "{text}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("ENETDOWN"), "{printed}");
}

/// A kernel built with what is left out here answers otherwise, so this is not compared.
#[test]
fn what_is_left_out_answers_as_where_it_was_not_built() {
    let output = Command::new(build::c("facts_left_out"))
        .env("LD_PRELOAD", library())
        .env("UTCP_STACK", format!("left-out-{}", std::process::id()))
        .output()
        .expect("facts_left_out");
    let text = String::from_utf8_lossy(&output.stdout);
    let no_option = "Protocol not available";
    let mut expected = "socket(MPTCP): Protocol not supported\ndomain 1\n".to_owned();
    for (name, set, get) in [
        ("TCP_MD5SIG", no_option, no_option),
        ("TCP_MD5SIG_EXT", no_option, no_option),
        ("TCP_AO_ADD_KEY", no_option, no_option),
        ("TCP_AO_DEL_KEY", no_option, no_option),
        ("TCP_AO_INFO", no_option, no_option),
        ("TCP_AO_GET_KEYS", no_option, no_option),
        ("TCP_AO_REPAIR", no_option, no_option),
        ("TCP_ULP", "No such file or directory", "it works"),
        ("TCP_IS_MPTCP", no_option, "it works"),
    ] {
        expected += &format!("setsockopt({name}): {set}\ngetsockopt({name}): {get}\n");
    }
    expected += "TCP_CONGESTION dctcp: No such file or directory\n";
    assert_eq!(text, expected);
}
