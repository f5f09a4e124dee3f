//! Readiness: what poll(2) would say of a socket.

/// A set of poll events, as the stack computes them for a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Ready(pub u8);

impl Ready {
    /// POLLIN | POLLRDNORM.
    pub const IN: Ready = Ready(1);
    /// POLLOUT | POLLWRNORM.
    pub const OUT: Ready = Ready(2);
    /// POLLPRI.
    pub const PRI: Ready = Ready(4);
    /// POLLERR.
    pub const ERR: Ready = Ready(8);
    /// POLLHUP.
    pub const HUP: Ready = Ready(16);
    /// POLLRDHUP.
    pub const RDHUP: Ready = Ready(32);

    /// All bits of `other` are set.
    pub fn has(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }
    /// Some bit of `other` is set.
    pub fn any(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }
    /// Add the bits of `other`.
    pub fn add(&mut self, other: Ready) {
        self.0 |= other.0;
    }
    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}
