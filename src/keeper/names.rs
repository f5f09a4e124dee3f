//! The abstract names of AF_UNIX sockets that belong to a stack.
//!
//! They live in the network namespace, as the stack does, and leave no file behind.

use crate::stack::SockId;
use crate::sys::unix::Name;

/// Where the keeper of a user's stack listens.
pub fn keeper(uid: u32, stack: &str) -> Name {
    Name::new(format_args!("utcp/{uid}/{stack}"))
}

/// Held by the keeper whose device is `utcp<n>`.
pub fn device(n: u16) -> Name {
    Name::new(format_args!("utcp/device/{n}"))
}

/// The name of a socket's descriptor. As long as any process holds the descriptor, nobody else
/// can bind this name.
pub fn socket(nonce: u64, id: SockId) -> Name {
    Name::new(format_args!("utcp/{nonce:016x}/{:x}", id.number()))
}

/// The datagram socket that wakes a waiter who sleeps in poll(2).
pub fn bell(nonce: u64, waiter: u16) -> Name {
    Name::new(format_args!("utcp/{nonce:016x}/bell/{waiter}"))
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
        let id = SockId::from_number(u64::MAX);
        assert_eq!(
            text(socket(u64::MAX, id)),
            "@utcp/ffffffffffffffff/ffffffffffffffff"
        );
        assert_eq!(text(bell(1, 7)), "@utcp/0000000000000001/bell/7");
        assert_eq!(text(device(3)), "@utcp/device/3");
    }
}
