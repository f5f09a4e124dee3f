//! The harness itself: what isn't carried by the library must fail, and differences must be seen.

mod harness;

use harness::run::Side;
use harness::{Scenario, Step, both, build, compare, netns};

/// With a library that does nothing every program works, on the kernel; the proof must say so.
fn rejected(test: &str, scenario: &Scenario, why: &str) {
    if netns::ran_elsewhere(test) {
        return;
    }
    let report = both(test, scenario, &Side::Library(build::empty_library()))
        .expect_err("an empty library was taken for a stack");
    assert!(report.contains(why), "rejected, but not for this: {report}");
}

#[test]
fn empty_library_is_rejected() {
    let scenario = Scenario::alone([Step::c("claim17")]);
    rejected("empty_library_is_rejected", &scenario, "the kernel did");
}

#[test]
fn empty_library_is_rejected_with_two_programs() {
    let server = Step::c("doc001_server").background_once("");
    let scenario = Scenario::alone([server, Step::c("doc001_client")]);
    let test = "empty_library_is_rejected_with_two_programs";
    rejected(test, &scenario, "the kernel did");
}

#[test]
fn empty_library_is_rejected_with_two_hosts() {
    let steps = [
        Step::c("echo_iterative")
            .args("- 9001 1")
            .at_peer()
            .background(),
        Step::c("echo_client").args(&format!("{} 9001 hello", netns::PEER)),
    ];
    let test = "empty_library_is_rejected_with_two_hosts";
    rejected(test, &Scenario::two_hosts(steps).limit(15), "over utcp0");
}

#[test]
fn a_program_without_connections_proves_nothing() {
    let scenario = Scenario::alone([Step::c("doc001_client+fortify").args("unused")]);
    let test = "a_program_without_connections_proves_nothing";
    if netns::ran_elsewhere(test) {
        return;
    }
    // Refused connections count; a program that only makes a UDP socket doesn't.
    let udp = Scenario::alone([Step::c("claim38")]);
    let side = Side::Library(build::empty_library());
    let report = both(test, &udp, &side).expect_err("nothing was proven");
    assert!(report.contains("proves nothing"), "{report}");
    let report = both(test, &scenario, &side).expect_err("the kernel carried it");
    assert!(report.contains("the kernel did"), "{report}");
}

#[test]
fn the_kernel_agrees_with_itself() {
    let test = "the_kernel_agrees_with_itself";
    if netns::ran_elsewhere(test) {
        return;
    }
    let scenario = Scenario::alone([Step::c("claim17")]).segments();
    // On a busy machine an ACK that was delayed may come between on one side.
    let mut tries = (0..4).map(|_| both(test, &scenario, &Side::Kernel));
    assert!(tries.any(|r| r.is_ok()), "the kernel differs from itself");
}

#[test]
fn differences_are_marked() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let text = compare::beside("kernel", "utcp", &lines("a\nb\nc"), &lines("a\nX\nc\nd"));
    assert!(text.contains("first difference in line 2"), "{text}");
    assert!(text.contains(">>   2"), "{text}");
    assert!(text.contains(" >   4"), "{text}");
}
