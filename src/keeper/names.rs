//! The abstract names by which keepers are found.
//!
//! (Those of descriptors and bells are in [`crate::runtime::Runtime`].) They live in the network namespace, as the stack does, and leave no file behind.

use crate::sys::unix::Name;

/// Where the keeper of a user's stack listens.
pub fn keeper(uid: u32, stack: &str) -> Name {
    Name::new(format_args!("utcp/{uid}/{stack}"))
}

/// What the names of a stack's members begin with; see `survivors.rs`.
pub fn members(uid: u32, stack: &str) -> String {
    format!("utcp/{uid}/{stack}/member/")
}

/// Held by the keeper whose device is `utcp<n>`.
pub fn device(n: u16) -> Name {
    Name::new(format_args!("utcp/device/{n}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_fit_and_differ() {
        let text = |name: Name| format!("{name:?}");
        let long = "x".repeat(40);
        let keeper = text(keeper(u32::MAX, &long));
        assert!(keeper.ends_with(&long));
        assert_eq!(text(device(3)), "@utcp/device/3");
    }
}
