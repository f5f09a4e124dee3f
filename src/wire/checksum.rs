//! The internet checksum (RFC 1071) over data that comes in parts.

/// A running ones' complement sum.
///
/// Words are summed in the host's byte order, which gives the same sum with its bytes swapped
/// (RFC 1071, section 2 (B)); [`Sum::fold`] swaps back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// The sum so far, not folded; its upper half stays far from overflowing.
    acc: u64,
    /// An odd number of bytes was added: the next one is the low half of its word.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    pub fn new() -> Sum {
        Sum::default()
    }

    /// Add `bytes`, which follow directly on what was added before.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let sum = sum_native(bytes);
        // A part that starts in the middle of a word has its halves exchanged (RFC 1071,
        // section 2 (B) again).
        let sum = if self.odd {
            u64::from(fold_native(sum).swap_bytes())
        } else {
            sum
        };
        self.acc = u64::from(fold_native(self.acc)) + sum;
        self.odd ^= !bytes.len().is_multiple_of(2);
    }

    /// Add one 16-bit word, given in host order. What was added before must be of even length.
    #[inline]
    pub fn add_u16(&mut self, word: u16) {
        debug_assert!(!self.odd);
        self.acc += u64::from(word.to_be());
    }

    /// Add the pseudo-header of TCP or ICMPv6 (RFC 9293, section 3.1; RFC 8200, section 8.1).
    /// The IPv4 form is the same sum: its length field is 16 bits where IPv6 has 32.
    #[inline]
    pub fn add_pseudo_header(&mut self, src: &[u8], dst: &[u8], proto: u8, len: usize) {
        self.add(src);
        self.add(dst);
        self.add_u16(u16::from(proto));
        self.add_u16((len >> 16) as u16);
        self.add_u16(len as u16);
    }

    /// The sum folded to 16 bits, in host order, not complemented: 0xffff over data that
    /// includes its right checksum.
    #[inline]
    pub fn fold(self) -> u16 {
        fold_native(self.acc).to_be()
    }

    /// The checksum: the complement of the sum.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// Sum of 32-bit words in host order, the last one padded with zeros. For up to 2^32 words the
/// accumulator can't overflow, so no carry needs looking at and the loop becomes vector code.
#[inline]
fn sum_native(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut acc = 0u64;
    for word in words {
        acc += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0u8; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    acc + u64::from(u32::from_ne_bytes(last))
}

/// Add carries back in until 16 bits are left.
#[inline]
fn fold_native(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    // At most 0x1_0000 is left before this step.
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071, section 4.1, in words.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn rfc_1071_example() {
        let mut sum = Sum::new();
        sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
        assert_eq!(sum.checksum(), 0x220d);
    }

    #[test]
    fn all_ones_do_not_overflow() {
        let mut sum = Sum::new();
        for _ in 0..100 {
            sum.add(&[0xff; 65535]);
        }
        assert_eq!(sum.fold(), 0xffff);
    }

    proptest! {
        #[test]
        fn equals_the_reference(bytes: Vec<u8>) {
            let mut sum = Sum::new();
            sum.add(&bytes);
            prop_assert_eq!(sum.fold(), reference(&bytes));
        }

        #[test]
        fn parts_of_any_length_equal_the_whole(parts: Vec<Vec<u8>>) {
            let mut sum = Sum::new();
            for part in &parts {
                sum.add(part);
            }
            prop_assert_eq!(sum.fold(), reference(&parts.concat()));
        }
    }
}
