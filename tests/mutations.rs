//! The table of what `scripts/mutate` breaks on purpose must not rot: every test of a claim is to
//! notice something, and every text to be replaced is still there. Nothing is built or run here.

use std::path::Path;
use std::process::Command;

#[test]
fn every_claim_has_a_mutation_that_fits() {
    // The package that owns these tests is src/bin/utcp.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../scripts/mutate");
    let out = Command::new("python3").arg(script).arg("--check").output();
    let out = out.unwrap_or_else(|e| {
        panic!("can't run python3: {e}; it comes with the package python3: apt-get install python3")
    });
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// The same for the rules of TCP: a text that is gone, a feature without one, a test that isn't there.
#[test]
fn rules_that_do_not_fit_are_noticed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations-rules");
    let _ = std::fs::remove_dir_all(&copy);
    for folder in ["scripts", "tests"] {
        std::fs::create_dir_all(copy.join(folder)).expect("a folder");
    }
    std::fs::copy(root.join("scripts/mutate"), copy.join("scripts/mutate")).expect("a copy");
    std::fs::write(
        copy.join("tests/mutations.toml"),
        "[rules]\nfeatures = [\"RACK\"]\n[[rule]]\nname = \"gone\"\nfeature = \"PRR\"\nwhy = \"\"\n\
         file = \"scripts/mutate\"\nfind = \"no such \\u0074ext\"\nreplace = \"1\"\n\
         fails = [\"tcp::tests::none\"]\n",
    )
    .expect("a table");
    let out = Command::new("python3")
        .arg(copy.join("scripts/mutate"))
        .args(["--rules", "gone"])
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    for wanted in [
        "gone: its text is found 0 times in scripts/mutate",
        "gone: there is no test tcp::tests::none",
        "no rule is broken for the feature 'RACK'",
        "'PRR' is no feature of [rules]",
    ] {
        assert!(said.contains(wanted), "{wanted:?} is not in: {said}");
    }
    let _ = std::fs::remove_dir_all(&copy);
}

/// The check itself notices a text that is gone, and a test that has no mutation.
#[test]
fn what_does_not_fit_is_noticed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
    let _ = std::fs::remove_dir_all(&copy);
    for folder in ["scripts", "tests"] {
        std::fs::create_dir_all(copy.join(folder)).expect("a folder");
    }
    for file in ["scripts/mutate", "tests/claims.rs", "tests/hosts.rs"] {
        std::fs::copy(root.join(file), copy.join(file)).expect("a copy");
    }
    std::fs::write(
        copy.join("tests/mutations.toml"),
        "[[mutation]]\nname = \"gone\"\nclaim = [1]\nwhy = \"\"\nfile = \"tests/claims.rs\"\n\
         find = \"no such text\"\nreplace = \"\"\nfails = { \"claims::claim01\" = \"x\" }\n",
    )
    .expect("a table");
    let out = Command::new("python3")
        .arg(copy.join("scripts/mutate"))
        .arg("--check")
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    for wanted in [
        "gone: its text is found 0 times in tests/claims.rs",
        "no mutation for the test claims::segments::claim10",
        "no mutation for the test hosts::claim40_icmp",
        "no mutation for claim 40",
    ] {
        assert!(said.contains(wanted), "{wanted:?} is not in: {said}");
    }
    let _ = std::fs::remove_dir_all(&copy);
}
