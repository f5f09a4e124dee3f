//! Numbers a blind attacker must not guess: initial sequence numbers and timestamp offsets.

use super::SeqNum;
use crate::time::Instant;
use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// The initial sequence number of RFC 6528: a keyed hash of the 4-tuple plus a clock of 4 us
/// (Linux: 64 ns) ticks. `key` is the host's secret; `tuple` the addresses and ports in bytes.
pub fn initial_seq(now: Instant, key: &[u8; 16], tuple: &[u8]) -> SeqNum {
    // RFC 6528, section 3: ISN = M + F(localip, localport, remoteip, remoteport, secretkey).
    // RFC 9293 MUST-8, SHLD-1
    // RFC 6528 S3-1
    let clock = (now.0 >> 6) as u32;
    SeqNum(clock.wrapping_add(hash(key, b'i', tuple)))
}

/// The offset of a connection's timestamps (RFC 7323, section 5.4), by the same key.
// RFC 7323 S7.1-1
pub fn timestamp_offset(key: &[u8; 16], addresses: &[u8]) -> u32 {
    hash(key, b't', addresses)
}

/// `domain` keeps the two uses apart: who sees timestamps learns nothing of sequence numbers.
// RFC 9293 MUST-9
// RFC 6528 S3-2
pub(super) fn hash(key: &[u8; 16], domain: u8, bytes: &[u8]) -> u32 {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write_u8(domain);
    hasher.write(bytes);
    hasher.finish() as u32
}
