//! What ICMP says about the connection (RFC 1122, section 4.2.3.9; RFC 5927).

use super::mib::Mib;
use super::recovery::Resend;
use super::sent::Sent;
use super::{Events, Outcome, SeqNum, State, Tcb, TcpError};
use crate::time::Instant;

impl Tcb {
    /// An ICMP error whose quoted header has sequence number `quoted`. `hard`: what RFC 1122
    /// calls a hard error (port or protocol unreachable ...): it ends SYN_SENT and
    /// SYN_RECEIVED; everything else is soft. A sequence number not in flight is ignored
    /// (RFC 5927).
    ///
    /// Linux ends SYN_SENT for *any* error it has an errno for, so this does, too; and it ends a
    /// listener's child for unreachable hosts and networks only.
    pub fn on_icmp(
        &mut self,
        _now: Instant,
        error: TcpError,
        hard: bool,
        quoted: SeqNum,
    ) -> Outcome {
        let mut out = Outcome::default();
        if !self.is_in_flight(quoted) {
            return out;
        }
        match self.state {
            // RFC 9293 SHLD-26
            State::SynSent => self.fail(error, &mut out),
            State::SynReceived => {
                let ends = !self.passive
                    || (quoted == self.iss
                        && (hard && error != TcpError::Refused
                            || matches!(
                                error,
                                TcpError::HostUnreachable
                                    | TcpError::NetUnreachable
                                    | TcpError::Protocol
                            )));
                if ends {
                    self.fail(error, &mut out);
                }
            }
            _ => {
                // RFC 9293 MUST-47, MUST-56, SHLD-25
                // RFC 1122 S3.2.2.1-3
                // RFC 5927 S5.2-1
                self.soft_error = Some(error);
                out.events.add(Events::SOFT_ERROR);
            }
        }
        out
    }

    /// ICMP "network unreachable" or "host unreachable" (of ICMPv6 "no route" alone) quotes
    /// `quoted`: if that is what is being sent again, it is the path that lost it, and not congestion
    /// (RFC 6069, section 4.2; Linux: `tcp_ld_RTO_revert`). To be called before [`Tcb::on_icmp`].
    pub fn path_is_away(&mut self, now: Instant, quoted: SeqNum) {
        if quoted == self.snd_una {
            self.revert_backoff(now);
        }
    }

    /// Whether an ICMP error that quotes `quoted` may be about this connection (RFC 5927, section
    /// 4.1: SND.UNA =< SEG.SEQ < SND.NXT; Linux: =<).
    // RFC 5927 S4.1-1
    pub fn is_in_flight(&self, quoted: SeqNum) -> bool {
        !matches!(self.state, State::Closed | State::Listen | State::TimeWait)
            && quoted.ge(self.snd_una)
            && quoted.le(self.snd_nxt)
    }

    /// The path has another size than before, wider perhaps: `mss` is what it allows.
    // RFC 1191 S6.3-1, S6.3-2
    pub fn follow_path(&mut self, mss: u16) {
        if mss != self.path_mss && !matches!(self.state, State::Closed | State::Listen) {
            self.path_mss = mss;
            self.sync_mss();
        }
    }

    /// ICMP "fragmentation needed"/"packet too big": lower the MSS to what `mtu_mss` allows.
    // RFC 1191 S3-1, S3-2, S3-3, S3-6, S3-7, S6.4-1, S6.4-2, S6.4-3
    // RFC 4821 S4-9, S8-1
    // RFC 8201 S4-1, S4-4, S4-7, S5.2-1, S5.4-1, S5.4-2
    // RFC 7323 S5.7-1
    pub fn on_packet_too_big(
        &mut self,
        _now: Instant,
        mtu_mss: u16,
        quoted: SeqNum,
        sent: &mut [Sent],
    ) {
        if !self.is_in_flight(quoted) {
            return;
        }
        // Linux's least path MTU (552 bytes): no attacker makes us send crumbs.
        let mss = mtu_mss.max(512);
        if mss >= self.path_mss {
            return;
        }
        self.path_mss = mss;
        self.sync_mss();
        match self.state {
            State::SynSent => {
                // What our SYN says of the way to us holds for a SYN that goes again, too.
                self.advmss = self.advmss.min(mss);
                if self.syn_bore_data() {
                    // It is the SYN that was too long: it goes again at once, and alone.
                    self.owes.syn = true;
                    self.noted.note(Mib::SlowStartRetrans);
                    self.timers.rexmit_at = Instant::NEVER;
                }
            }
            State::SynReceived => {}
            _ => self.resend_all(sent, Resend::Long),
        }
    }
}
