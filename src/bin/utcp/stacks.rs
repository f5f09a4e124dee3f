//! Stacks: which one is meant, getting to it, which there are.

use crate::trouble::{Result, Trouble};
use utcp_stack::config::Config;
use utcp_stack::keeper;
use utcp_stack::runtime::Runtime;

/// What the environment and `--stack` say.
pub fn config(name: Option<&str>) -> Result<Config> {
    use std::os::unix::ffi::OsStrExt;
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for variable in utcp_stack::config::VARIABLES {
        if let Some(value) = std::env::var_os(variable) {
            all.push((variable.to_owned(), value.as_bytes().to_vec()));
        }
    }
    if let Some(name) = name {
        all.retain(|(n, _)| n != "UTCP_STACK");
        all.push(("UTCP_STACK".to_owned(), name.as_bytes().to_vec()));
    }
    let pairs = all.iter().map(|(n, v)| (n.as_bytes(), v.as_slice()));
    Config::parse(pairs).map_err(|mistakes| {
        let first = mistakes.first();
        let variable = first.map_or("the environment", |m| m.variable);
        let why = first.map_or_else(String::new, |m| format!("{:?}: {}", m.value, m.why));
        match name {
            Some(_) if variable == "UTCP_STACK" => Trouble::new("--stack", why),
            _ => Trouble::new(variable, why),
        }
    })
}

/// A stack, which stays as long as this is kept.
pub struct Stack {
    /// Access to it.
    pub runtime: Runtime,
    _conn: keeper::Connection,
}

/// The stack, if it is running.
pub fn running(config: &Config) -> Result<Option<Stack>> {
    let attached = keeper::attach_running(config).map_err(|e| no_stack(config, e))?;
    attached.map(|a| over(config, a)).transpose()
}

/// The stack, started if it isn't running.
pub fn start(config: &Config) -> Result<Stack> {
    let attached = keeper::attach(config).map_err(|e| no_stack(config, e))?;
    over(config, attached)
}

fn over(config: &Config, attached: keeper::Attachment) -> Result<Stack> {
    let runtime = Runtime::over(attached.arena, attached.tun).map_err(|e| no_stack(config, e))?;
    Ok(Stack {
        runtime,
        _conn: attached.conn,
    })
}

fn no_stack(config: &Config, e: impl std::fmt::Display) -> Trouble {
    Trouble::new(format!("stack {:?}", config.stack), e)
}

/// The names of this user's stacks in this network namespace.
pub fn list() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    // SAFETY: no arguments.
    names(&table, unsafe { libc::geteuid() })
}

/// The names in /proc/net/unix of what listens as `uid`'s keepers.
fn names(table: &str, uid: u32) -> Vec<String> {
    let prefix = format!("@utcp/{uid}/");
    let last = |line: &str| line.split_whitespace().last().map(str::to_owned);
    let paths = table.lines().filter_map(last);
    let mut names: Vec<String> = paths
        .filter_map(|p| Some(p.strip_prefix(&prefix)?.to_owned()))
        .filter(|name| !name.contains('/'))
        .collect();
    // A listener's accepted ends have its name, too.
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_found_by_their_keepers_names() {
        let table = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0005 01 12345 @utcp/1000/default
0000000000000000: 00000003 00000000 00000000 0005 03 12346 @utcp/1000/default
0000000000000000: 00000002 00000000 00010000 0005 01 12347 @utcp/1000/b
0000000000000000: 00000002 00000000 00010000 0005 01 12348 @utcp/0/other
0000000000000000: 00000002 00000000 00010000 0005 01 12348 @utcp/device/0
0000000000000000: 00000003 00000000 00000000 0001 03 12349";
        assert_eq!(names(table, 1000), ["b", "default"]);
        assert_eq!(names(table, 0), ["other"]);
    }
}
