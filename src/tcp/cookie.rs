//! SYN cookies (RFC 4987, section 3.6): a handshake that costs no memory. What the SYN said is
//! kept in the numbers of the SYN+ACK, and comes back with the final ACK.
//!
//! In the initial sequence number: keyed hashes, the minute, and one of four sizes of segment. In the last bits of the timestamp, if the peer has timestamps: the shift of its
//! window, and whether SACK and ECN were agreed. Without timestamps there is no place for these
//! three, and so the SYN+ACK agrees on none, as on Linux.

use super::isn::hash;
use super::{Flags, Options, Segment, SeqNum};
use crate::time::Instant;

/// The segment sizes that a cookie can tell, as Linux has them: IPv4, IPv6.
const SIZES: [[u16; 4]; 2] = [[536, 1300, 1440, 1460], [1220, 1420, 1440, 8940]];
/// A cookie is good for as many minutes.
const MAX_AGE: u32 = 2;
/// Bits below the minute.
const BITS: u32 = 24;
const PROOF: u32 = (1 << BITS) - 1;
/// Of these, those that say which size.
const INDEX: u32 = 3;

/// Of the timestamp, the bits that carry options.
const OPTION_BITS: u32 = 6;
const OPTION_MASK: u32 = (1 << OPTION_BITS) - 1;
const NO_SCALING: u32 = 0xf;
const SACK: u32 = 1 << 4;
const ECN: u32 = 1 << 5;

/// What a SYN+ACK agrees on and the final ACK doesn't tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The peer's shift for its window.
    pub scale: Option<u8>,
    /// SACK (RFC 2018).
    pub sack: bool,
    /// ECN (RFC 3168).
    pub ecn: bool,
}

fn minute(now: Instant) -> u32 {
    (now.0 / 60_000_000_000) as u32
}

/// The initial sequence number that stands for a SYN. `tuple` is the addresses and ports in
/// bytes, `irs` the SYN's number, `mss` what its option said.
pub fn make(
    now: Instant,
    key: &[u8; 16],
    tuple: &[u8; 36],
    irs: SeqNum,
    mss: u16,
    v6: bool,
) -> SeqNum {
    let sizes = &SIZES[usize::from(v6)];
    let index = sizes.iter().rposition(|size| *size <= mss).unwrap_or(0) as u32;
    let minute = minute(now);
    let rest = minute << BITS | proof(key, tuple, irs, minute, index);
    SeqNum(mask(key, tuple, irs).wrapping_add(rest))
}

/// The size of segment that was told by the SYN whose cookie this is; none if it is no cookie
/// of ours, or one that is too old.
// RFC 4987 S3.6-2, S3.6-3
pub fn check(
    now: Instant,
    key: &[u8; 16],
    tuple: &[u8; 36],
    irs: SeqNum,
    cookie: SeqNum,
    v6: bool,
) -> Option<u16> {
    let rest = cookie.0.wrapping_sub(mask(key, tuple, irs));
    let now = minute(now);
    let age = now.wrapping_sub(rest >> BITS) & (u32::MAX >> BITS);
    let index = rest & INDEX;
    let good =
        age < MAX_AGE && rest & PROOF == proof(key, tuple, irs, now.wrapping_sub(age), index);
    let size = SIZES[usize::from(v6)].get(index as usize);
    size.filter(|_| good).copied()
}

/// What hides the minute.
fn mask(key: &[u8; 16], tuple: &[u8; 36], irs: SeqNum) -> u32 {
    hashed(key, b'c', tuple, [irs.0, 0, 0])
}

/// The index and what proves it. Every number is hashed: in a sum, as Bernstein and Linux have
/// it, a segment that is a few bytes further on gives the cookie of another size. It would open a
/// connection in which these bytes are missing.
fn proof(key: &[u8; 16], tuple: &[u8; 36], irs: SeqNum, minute: u32, index: u32) -> u32 {
    hashed(key, b'C', tuple, [irs.0, minute, index]) & PROOF & !INDEX | index
}

fn hashed(key: &[u8; 16], domain: u8, tuple: &[u8; 36], numbers: [u32; 3]) -> u32 {
    let mut bytes = [0; 48];
    bytes[..36].copy_from_slice(tuple);
    for (place, n) in bytes[36..].chunks_exact_mut(4).zip(numbers) {
        place.copy_from_slice(&n.to_be_bytes());
    }
    hash(key, domain, &bytes)
}

/// `syn`, but that it asks for nothing that a cookie without timestamps can't tell (Linux:
/// `tcp_clear_options`).
pub fn stripped(syn: &Segment) -> Segment {
    Segment {
        flags: Flags::SYN,
        options: Options {
            wscale: None,
            sack_permitted: false,
            timestamps: None,
            ..syn.options
        },
        ..*syn
    }
}

/// The timestamp to send instead of `clock`, which tells the time: not later, and with what was
/// agreed in its last bits.
// RFC 4987 S3.6-4
pub fn stamp(clock: u32, agreed: Agreed) -> u32 {
    let bit = |agreed: bool, bit: u32| if agreed { bit } else { 0 };
    let scale = agreed.scale.map_or(NO_SCALING, u32::from) & NO_SCALING;
    let options = scale | bit(agreed.sack, SACK) | bit(agreed.ecn, ECN);
    let stamped = clock & !OPTION_MASK | options;
    if stamped > clock {
        stamped.wrapping_sub(1 << OPTION_BITS)
    } else {
        stamped
    }
}

/// What the SYN's options must have been, and its flags of ECN, by the final ACK's: `echoed` is
/// the timestamp that came back, without the connection's offset.
pub fn options(mss: u16, ack: &Options, echoed: Option<u32>) -> (Options, Flags) {
    let mut syn = Options {
        mss: Some(mss),
        ..Options::default()
    };
    let mut ecn = Flags::NONE;
    if let (Some((value, _)), Some(echoed)) = (ack.timestamps, echoed) {
        syn.timestamps = Some((value, 0));
        syn.sack_permitted = echoed & SACK != 0;
        let scale = echoed & NO_SCALING;
        syn.wscale = (scale != NO_SCALING).then_some(scale as u8);
        if echoed & ECN != 0 {
            ecn = Flags::ECE.with(Flags::CWR);
        }
    }
    (syn, ecn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const KEY: [u8; 16] = [7; 16];
    const TUPLE: [u8; 36] = [3; 36];

    #[test]
    fn a_cookie_tells_the_segment_size() {
        let now = Instant(5_000_000_000_000);
        for (v6, told) in [
            (false, [(100, 536), (1459, 1440), (9000, 1460)]),
            (true, [(88, 1220), (1439, 1420), (9000, 8940)]),
        ] {
            for (mss, size) in told {
                let cookie = make(now, &KEY, &TUPLE, SeqNum(77), mss, v6);
                assert_eq!(check(now, &KEY, &TUPLE, SeqNum(77), cookie, v6), Some(size));
            }
        }
    }

    // RFC 4987 S3.6-3
    #[test]
    fn it_is_good_for_one_to_two_minutes() {
        let start = Instant(600_000_000_000);
        let cookie = make(start, &KEY, &TUPLE, SeqNum(1), 1460, false);
        let at = |seconds| {
            let now = start + Duration::from_secs(seconds);
            check(now, &KEY, &TUPLE, SeqNum(1), cookie, false)
        };
        assert_eq!(at(119), Some(1460));
        assert_eq!(at(120), None);
    }

    // RFC 4987 S3.6-2
    #[test]
    fn guesses_fail() {
        let now = Instant(5_000_000_000_000);
        let cookie = make(now, &KEY, &TUPLE, SeqNum(77), 1460, false);
        let good = |guess| check(now, &KEY, &TUPLE, SeqNum(77), guess, false).is_some();
        // A guess hits four sizes times two minutes of 2^32 numbers. What is just beside a cookie
        // is no better: bytes of a connection that was opened with it.
        let hits = (1..1_000_000u32).filter(|n| good(cookie + *n)).count();
        assert_eq!(hits, 0);
        let seen = |irs| check(now, &KEY, &TUPLE, SeqNum(irs), cookie, false).is_some();
        assert!((70..77).chain(78..100_000).all(|irs| !seen(irs)));
        assert!(check(now, &KEY, &[4; 36], SeqNum(77), cookie, false).is_none());
        assert!(check(now, &[8; 16], &TUPLE, SeqNum(77), cookie, false).is_none());
    }

    // RFC 4987 S3.6-4
    #[test]
    fn options_come_back() {
        for clock in [0, 63, 64, 1_000_003] {
            for scale in [None, Some(0), Some(7), Some(14)] {
                for (sack, ecn) in [(false, false), (true, false), (false, true), (true, true)] {
                    let stamp = stamp(clock, Agreed { scale, sack, ecn });
                    assert!(clock.wrapping_sub(stamp) <= 2 * OPTION_MASK);
                    let ack = Options {
                        timestamps: Some((9, stamp)),
                        ..Options::default()
                    };
                    let (syn, flags) = options(1440, &ack, Some(stamp));
                    assert_eq!((syn.wscale, syn.sack_permitted), (scale, sack));
                    assert_eq!(flags.has(Flags::ECE.with(Flags::CWR)), ecn);
                    assert_eq!(syn.timestamps, Some((9, 0)));
                }
            }
        }
    }

    #[test]
    fn what_has_no_place_in_a_cookie_is_not_agreed() {
        let syn = Segment {
            flags: Flags::SYN.with(Flags::ECE).with(Flags::CWR),
            options: Options {
                mss: Some(1440),
                wscale: Some(7),
                sack_permitted: true,
                ..Options::default()
            },
            ..Segment::default()
        };
        // What the ACK that comes back makes of it is what was asked for in the first place.
        let syn = stripped(&syn);
        let back = options(1440, &Options::default(), None);
        assert_eq!((syn.options, Flags::SYN.with(back.1)), (back.0, syn.flags));
    }
}
