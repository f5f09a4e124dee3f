//! Whole programs: those of the documents, and the kinds that a book on sockets teaches. Server
//! and clients are separate processes.

mod harness;

use harness::{Scenario, Step};

fn check(test: &str, steps: impl Into<Vec<Step>>) {
    harness::check(test, &Scenario::alone(steps));
}

fn client(args: &str) -> Step {
    Step::c("echo_client").args(args)
}

#[test]
fn doc001_server_and_client() {
    let server = Step::c("doc001_server").background_once("");
    check(
        "doc001_server_and_client",
        [server, Step::c("doc001_client")],
    );
}

#[test]
fn doc001_client_alone() {
    // Nobody listens: "Can not connect". The second pair proves whose sockets these are.
    let server = Step::c("doc001_server").background_once("");
    let refused = Step::c("doc001_client").may_fail();
    let steps = [refused, server, Step::c("doc001_client")];
    check("doc001_client_alone", steps);
}

#[test]
fn doc003_java() {
    let server = Step::java("TCPServer").background_once("Server is listening on port 8080");
    check("doc003_java", [server, Step::java("TCPClient")]);
}

#[test]
fn echo_iterative() {
    check(
        "echo_iterative",
        [
            Step::c("echo_iterative").args("- 9000 4").background(),
            client("127.0.0.1 9000 hello"),
            client("::1 9000 six"),
            client("localhost 9000 by-name"),
            client("::ffff:127.0.0.1 9000 mapped 100"),
        ],
    );
}

#[test]
fn echo_fork() {
    check(
        "echo_fork",
        [
            Step::c("echo_fork").args("127.0.0.1 9001 3").background(),
            client("127.0.0.1 9001 one"),
            client("127.0.0.1 9001 two 50"),
            client("127.0.0.1 9001 three"),
        ],
    );
}

#[test]
fn echo_prefork() {
    check(
        "echo_prefork",
        [
            Step::c("echo_prefork")
                .args("127.0.0.1 9002 3 3")
                .background(),
            client("127.0.0.1 9002 one"),
            client("127.0.0.1 9002 two 50"),
            client("127.0.0.1 9002 three"),
        ],
    );
}

#[test]
fn echo_thread() {
    check(
        "echo_thread",
        [
            Step::c("echo_thread").args("::1 9003 3").background(),
            client("::1 9003 one"),
            client("::1 9003 two 50"),
            client("::1 9003 three"),
        ],
    );
}

#[test]
fn echo_select_times_out() {
    check(
        "echo_select_times_out",
        [
            Step::c("echo_select").args("5000 9004 9005").background(),
            client("127.0.0.1 9004 one"),
            client("127.0.0.1 9005 two 50"),
            client("127.0.0.1 9005 three"),
        ],
    );
}

#[test]
fn echo_select_told_to_stop() {
    check(
        "echo_select_told_to_stop",
        [
            Step::c("echo_select")
                .args("20000 9004 9005")
                .stdin("that is all\n")
                .background(),
            client("127.0.0.1 9005 one"),
        ],
    );
}

#[test]
fn fortified() {
    check(
        "fortified",
        [
            Step::c("echo_iterative+fortify")
                .args("127.0.0.1 9000 2")
                .background(),
            Step::c("echo_client+fortify").args("127.0.0.1 9000 hello 20"),
            Step::c("echo_client+fortify").args("localhost 9000 again"),
        ],
    );
}

#[test]
fn frames_over_streams() {
    check(
        "frames_over_streams",
        [
            Step::c("frames_server").args("9006 2").background(),
            Step::c("frames_client").args("9006 lines"),
            Step::c("frames_client").args("9006 lengths"),
        ],
    );
}

#[test]
fn half_close() {
    check(
        "half_close",
        [
            Step::c("halfclose_server").args("9007").background(),
            Step::c("halfclose_client").args("9007 1000000"),
        ],
    );
}

#[test]
fn deadlock_of_full_buffers() {
    check(
        "deadlock_of_full_buffers",
        [Step::c("deadlock").args("9008")],
    );
}

#[test]
fn sigio_tcp() {
    check("sigio_tcp", [Step::c("sigio").args("tcp 9010")]);
}

/// UDP stays on the kernel for now; programs that use it must not notice the library.
mod udp {
    use super::harness::{self, Scenario, Step};

    fn check(test: &str, steps: impl Into<Vec<Step>>) {
        harness::check(
            &format!("udp::{test}"),
            &Scenario::alone(steps).on_the_kernel(),
        );
    }

    #[test]
    fn echo_with_alarm() {
        check(
            "echo_with_alarm",
            [
                Step::c("udp_echo_server")
                    .args("9009 3 drop 1")
                    .background(),
                Step::c("udp_echo_client").args("9009 datagram 4"),
                Step::c("udp_echo_client").args("9009 more 4"),
            ],
        );
    }

    #[test]
    fn sigio() {
        check("sigio", [Step::c("sigio").args("udp 9010")]);
    }

    #[test]
    fn broadcast_and_multicast() {
        check(
            "broadcast_and_multicast",
            [Step::c("broadcast").args("9011")],
        );
    }
}

/// What the kernel notes say, call by call.
mod facts {
    use super::harness::{self, Scenario, Step};

    fn facts(test: &str, program: &'static str) {
        harness::check(
            &format!("facts::{test}"),
            &Scenario::alone([Step::c(program)]).no_gateway(),
        );
    }

    #[test]
    fn readiness() {
        facts("readiness", "facts_readiness");
    }
    #[test]
    fn errors() {
        facts("errors", "facts_errors");
    }
    #[test]
    fn backlog() {
        facts("backlog", "facts_backlog");
    }
    #[test]
    fn close() {
        facts("close", "facts_close");
    }
    #[test]
    fn blocking() {
        facts("blocking", "facts_blocking");
    }
    #[test]
    fn epoll() {
        facts("epoll", "facts_epoll");
    }
    #[test]
    fn descriptors() {
        facts("descriptors", "facts_descriptors");
    }
    #[test]
    fn sigurg() {
        facts("sigurg", "sigurg");
    }
    #[test]
    fn sending() {
        facts("sending", "facts_sending");
    }
}
