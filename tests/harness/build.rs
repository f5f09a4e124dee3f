//! Compiles what the tests run. A missing compiler is an error that names the package.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// The folder of the C programs.
pub fn sources() -> PathBuf {
    // The package that owns these tests is src/bin/utcp.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../c-tests")
        .canonicalize()
        .expect("the folder c-tests")
}

/// Where compiled programs go. One folder a test binary: several may run at once. (And one may
/// several times: an ordinary user's tests run themselves again, each in its user namespace.)
fn out() -> &'static Path {
    static OUT: OnceLock<PathBuf> = OnceLock::new();
    OUT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "programs-{}",
            std::env::current_exe()
                .ok()
                .and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()))
                .unwrap_or_default()
        ));
        std::fs::create_dir_all(&dir).expect("the folder for compiled programs");
        dir
    })
}

/// The `utcp` command.
pub fn utcp() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_utcp"))
}

/// A file for a run's own use.
pub fn scratch(name: &str) -> PathBuf {
    out().join(format!("{name}-{}", std::process::id()))
}

/// `libutcp.so` of this build.
pub fn libutcp() -> PathBuf {
    utcp_stack::keeper::library_for(utcp()).unwrap_or_else(|| {
        panic!(
            "no libutcp.so beside {}: cargo build makes it",
            utcp().display()
        )
    })
}

/// Runs a command to its end; what it printed on failure, with the package that has the tool.
fn tool(command: &mut Command, package: &str) {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Err(e) => panic!(
            "can't run {name}: {e}; it comes with the package {package}: apt-get install {package}"
        ),
        Ok(o) if !o.status.success() => panic!(
            "{name} failed ({}):\n{}",
            o.status,
            String::from_utf8_lossy(&o.stderr)
        ),
        Ok(_) => {}
    }
}

/// Each thing is built once in a process, while whoever else wants it waits.
fn once(key: &str, build: impl FnOnce() -> PathBuf) -> PathBuf {
    static DONE: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(|e| e.into_inner());
    let done = done.get_or_insert_with(HashMap::new);
    if let Some(path) = done.get(key) {
        return path.clone();
    }
    let path = build();
    done.insert(key.to_owned(), path.clone());
    path
}

/// Have `build` make a file or folder beside `path`, then put it there: another process may be
/// running what is there already.
fn in_place(path: &Path, build: impl FnOnce(&Path)) {
    let new = path.with_file_name(format!(
        "{}.{}",
        path.file_name().unwrap_or_default().display(),
        std::process::id()
    ));
    build(&new);
    std::fs::rename(&new, path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// The program `c-tests/NAME.c`, compiled. A name that ends in `+fortify` is compiled with
/// `-O2 -D_FORTIFY_SOURCE=2`, whose programs call `__read_chk` and the like.
pub fn c(name: &str) -> PathBuf {
    once(name, || {
        let path = out().join(name);
        let stem = name.strip_suffix("+fortify").unwrap_or(name);
        let level: &[&str] = if stem == name {
            &["-O1"]
        } else {
            &["-O2", "-D_FORTIFY_SOURCE=2"]
        };
        in_place(&path, |new| {
            let mut cc = Command::new("cc");
            cc.args(level)
                .args(["-g", "-pthread", "-w", "-o"])
                .arg(new)
                .arg(sources().join(stem).with_extension("c"))
                .arg("-lresolv");
            tool(&mut cc, "gcc");
        });
        path
    })
}

/// The folder with the classes of `c-tests/java/NAME.java`.
pub fn java(name: &str) -> PathBuf {
    once(&format!("java {name}"), || {
        let dir = out().join(format!("java-{name}"));
        std::fs::create_dir_all(&dir).expect("the folder for classes");
        let class = dir.join(name).with_extension("class");
        let source = sources().join("java").join(name).with_extension("java");
        in_place(&class, |new| {
            let classes = new.with_extension("folder");
            std::fs::create_dir_all(&classes).expect("the folder for classes");
            let mut javac = Command::new("javac");
            javac.arg("-encoding").arg("UTF-8").arg("-d").arg(&classes);
            tool(javac.arg(source), "default-jdk-headless");
            let made = classes.join(name).with_extension("class");
            std::fs::rename(made, new).expect("a class of the file's name, and no other");
            std::fs::remove_dir(classes).expect("a class of the file's name, and no other");
        });
        dir
    })
}

/// A shared library that does nothing: what every proof must reject.
pub fn empty_library() -> PathBuf {
    once("empty library", || {
        let path = out().join("libempty.so");
        in_place(&path, |new| {
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-fPIC", "-x", "c", "/dev/null", "-o"]);
            tool(cc.arg(new), "gcc");
        });
        path
    })
}
