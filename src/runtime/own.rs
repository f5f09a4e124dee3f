//! Which descriptors are the library's own, so that a program that closes what it doesn't know
//! does not close them.

use core::sync::atomic::{AtomicU64, Ordering};

/// Numbers that are kept track of; [`super::high`] goes no further.
const NUMBERS: usize = 1 << 16;
const BITS: usize = 64;

static OWN: [AtomicU64; NUMBERS / BITS] = [const { AtomicU64::new(0) }; NUMBERS / BITS];

fn word(fd: i32) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok()?;
    Some((OWN.get(fd / BITS)?, 1 << (fd % BITS)))
}

/// `fd` is the library's.
pub fn add(fd: i32) {
    if let Some((word, bit)) = word(fd) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// `fd` isn't any more.
pub fn remove(fd: i32) {
    if let Some((word, bit)) = word(fd) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Whether `fd` is.
#[inline]
pub fn is(fd: i32) -> bool {
    word(fd).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// The first from `fd` on.
pub fn next(fd: u32) -> Option<u32> {
    let fd = usize::try_from(fd).ok()?;
    let mut mask = u64::MAX << (fd % BITS);
    for (i, word) in OWN.iter().enumerate().skip(fd / BITS) {
        let bits = word.load(Ordering::Relaxed) & mask;
        mask = u64::MAX;
        if bits != 0 {
            return u32::try_from(i * BITS)
                .ok()
                .map(|n| n + bits.trailing_zeros());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_found_removed() {
        assert_eq!(next(50_000), None);
        add(50_000);
        add(50_100);
        assert!(is(50_000) && !is(50_001) && !is(-1) && !is(i32::MAX));
        assert_eq!(next(49_000), Some(50_000));
        assert_eq!(next(50_000), Some(50_000));
        assert_eq!(next(50_001), Some(50_100));
        remove(50_000);
        remove(50_100);
        assert_eq!(next(50_000), None);
    }
}
