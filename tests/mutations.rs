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
