//! libutcp.so exports exactly the functions that its list names, and `utcp_keeper_entry`.

#[path = "harness/build.rs"]
#[allow(dead_code)]
mod build;
#[path = "../src/shim/symbols.rs"]
mod symbols;

use std::collections::BTreeSet;
use std::process::Command;

/// Where the library starts when it is executed as a keeper.
const ENTRY: &str = "utcp_keeper_entry";

fn exported() -> BTreeSet<String> {
    let library = build::libutcp();
    let output = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(&library)
        .output()
        .expect("nm, of the package binutils");
    assert!(output.status.success(), "nm can't read {library:?}");
    String::from_utf8(output.stdout)
        .expect("nm prints text")
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(str::to_owned)
        .collect()
}

fn listed() -> Vec<&'static str> {
    symbols::INTERPOSED
        .iter()
        .flat_map(|group| group.symbols.iter().copied())
        .collect()
}

#[test]
fn the_list_is_what_is_exported() {
    let exported = exported();
    let listed: BTreeSet<String> = listed().into_iter().map(str::to_owned).collect();
    let missing: Vec<_> = listed.difference(&exported).collect();
    assert!(missing.is_empty(), "listed, but not exported: {missing:?}");
    let surplus: Vec<_> = exported
        .difference(&listed)
        .filter(|s| *s != ENTRY)
        .collect();
    assert!(surplus.is_empty(), "exported, but not listed: {surplus:?}");
}

#[test]
fn nothing_is_listed_twice() {
    let all = listed();
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(all.len(), distinct.len());
    for group in symbols::INTERPOSED {
        assert!(!group.symbols.is_empty(), "{} is empty", group.name);
    }
}

#[test]
fn libc_has_each() {
    // A name that libc doesn't have would never be called.
    for symbol in listed() {
        let name = std::ffi::CString::new(symbol).expect("no NUL in a name");
        // SAFETY: the name ends in a NUL; what is found isn't called.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        assert!(!found.is_null(), "libc has no {symbol}");
    }
}
