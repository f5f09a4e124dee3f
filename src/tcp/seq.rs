//! Sequence numbers (RFC 9293, section 3.4): 32 bits that wrap.

use core::ops::{Add, AddAssign, Sub};

/// A sequence number. It has no `Ord`: "less" is only defined for two numbers less than
/// 2^31 apart, which is what [`SeqNum::lt`] and its kin say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(transparent)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// `self - other` as a signed distance.
    pub fn diff(self, other: SeqNum) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
    /// Before `other`.
    pub fn lt(self, other: SeqNum) -> bool {
        self.diff(other) < 0
    }
    /// Before or at `other`.
    pub fn le(self, other: SeqNum) -> bool {
        self.diff(other) <= 0
    }
    /// After `other`.
    pub fn gt(self, other: SeqNum) -> bool {
        self.diff(other) > 0
    }
    /// After or at `other`.
    pub fn ge(self, other: SeqNum) -> bool {
        self.diff(other) >= 0
    }
    /// The later of the two.
    pub fn max(self, other: SeqNum) -> SeqNum {
        if self.ge(other) { self } else { other }
    }
    /// The earlier of the two.
    pub fn min(self, other: SeqNum) -> SeqNum {
        if self.le(other) { self } else { other }
    }
}

impl Add<u32> for SeqNum {
    type Output = SeqNum;
    fn add(self, n: u32) -> SeqNum {
        SeqNum(self.0.wrapping_add(n))
    }
}

impl AddAssign<u32> for SeqNum {
    fn add_assign(&mut self, n: u32) {
        *self = *self + n;
    }
}

impl Sub<SeqNum> for SeqNum {
    type Output = u32;
    /// The distance from `other` up to `self`; `self` must not be before `other`.
    fn sub(self, other: SeqNum) -> u32 {
        self.0.wrapping_sub(other.0)
    }
}
