//! How many challenge ACKs the host sends in a second (RFC 5961, section 7; Linux:
//! `tcp_send_challenge_ack`). By default there is no limit but each connection's own
//! (`tcp_invalid_ratelimit`): a number that all share tells an attacker what happens on other
//! connections (CVE-2016-5696), so it is another one each second.

use super::{Host, Shared};
use crate::time::Instant;
use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// What may still be sent.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Challenges {
    /// The second for which that holds, and one more.
    second: u64,
    left: u32,
}

impl Shared {
    /// One challenge ACK more.
    // RFC 5961 S7-1, S7-2
    fn challenge_allowed(&mut self, limit: u32, now: Instant) -> bool {
        if limit == i32::MAX.unsigned_abs() {
            return true;
        }
        let second = now.millis() / 1000 + 1;
        if self.challenges.second != second {
            let mut hash = SipHasher24::new_with_key(&self.secret);
            hash.write(b"challenges");
            hash.write_u64(second);
            // From a half of the limit on, a half beyond it at most. (Linux takes 0 for any number.)
            let any = hash.finish() as u32;
            let some = any.checked_rem(limit).unwrap_or(any);
            self.challenges = Challenges {
                second,
                left: limit.div_ceil(2).saturating_add(some),
            };
        }
        let allowed = self.challenges.left > 0;
        self.challenges.left = self.challenges.left.saturating_sub(1);
        allowed
    }
}

impl Host<'_> {
    /// The connection owes a challenge ACK: it goes if it may.
    pub(super) fn judge_challenge(&mut self, index: u32) {
        let limit = self.sh.sockets[index].sysctl.tcp_challenge_ack_limit;
        let goes = self.sh.challenge_allowed(limit, self.now);
        self.sh.counters.challenge_acks += u64::from(goes);
        self.sh.sockets[index].tcb.judge_challenge(goes);
    }
}
