//! What opens to a user what the system keeps closed: commands for messages.

use super::io;

/// Switches of the kernel that close namespaces: file, the value that does, one that opens.
const SWITCHES: [(&core::ffi::CStr, &str, &str, &str); 4] = [
    (
        c"/proc/sys/kernel/unprivileged_userns_clone",
        "kernel.unprivileged_userns_clone",
        "0",
        "1",
    ),
    (
        c"/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "kernel.apparmor_restrict_unprivileged_userns",
        "1",
        "0",
    ),
    (
        c"/proc/sys/user/max_user_namespaces",
        "user.max_user_namespaces",
        "0",
        "10000",
    ),
    (
        c"/proc/sys/user/max_net_namespaces",
        "user.max_net_namespaces",
        "0",
        "10000",
    ),
];

/// The command that opens network namespaces to this user, where one can't be made.
pub fn namespaces() -> String {
    for (file, name, closed, open) in SWITCHES {
        let value = io::read_file(file).unwrap_or_default();
        if value.trim_ascii() == closed.as_bytes() {
            return format!("`sudo sysctl -w {name}={open}` opens them, and sudo does without");
        }
    }
    "sudo does without (in a container, started with --privileged)".to_owned()
}
