//! Closing and aborting (RFC 9293, sections 3.6, 3.10.4 and 3.10.5).

use super::mib::Mib;
use super::{Outcome, Segment, State, Tcb, TcpError, reset_for};
use crate::time::Instant;

impl Tcb {
    /// shutdown(SHUT_WR): FIN after the queued data.
    pub fn shutdown_write(&mut self, _now: Instant) {
        let mut out = Outcome::default();
        match self.state {
            // There is no connection to half-close.
            State::SynSent => self.done(&mut out),
            // "... otherwise, queue for processing after entering ESTABLISHED state".
            State::SynReceived => self.fin_queued = true,
            State::Established => {
                self.fin_queued = true;
                self.state = State::FinWait1;
            }
            State::CloseWait => {
                self.fin_queued = true;
                self.state = State::LastAck;
            }
            _ => {}
        }
    }

    /// shutdown(SHUT_RD): the program reads no more. Data that arrives after our FIN then
    /// resets the connection, as on Linux; before it, it is queued as ever.
    pub fn shutdown_read(&mut self) {
        self.rcv_shutdown = true;
    }

    /// The last descriptor is gone. With `unread` data a RST goes out and the state is CLOSED;
    /// else FIN after the queued data, and the connection is an orphan (tcp_orphan_retries,
    /// FIN_WAIT_2's time limit). SO_LINGER with 0 seconds is [`Tcb::abort`].
    pub fn close(&mut self, now: Instant, unread: bool) {
        self.orphan = true;
        self.rcv_shutdown = true;
        if matches!(self.state, State::Closed | State::Listen | State::TimeWait) {
            return;
        }
        let mut out = Outcome::default();
        // RFC 9293 SHLD-3
        if unread && self.state != State::SynSent {
            // RFC 2525, section 2.17: the peer must learn that data was lost.
            self.noted.note(Mib::AbortOnClose);
            self.owes.rst = true;
            self.done(&mut out);
            return;
        }
        self.shutdown_write(now);
        if self.state == State::FinWait2 {
            if self.options.linger2 < 0 {
                self.noted.note(Mib::AbortOnLinger);
                self.owes.rst = true;
                self.done(&mut out);
            } else {
                self.arm_fin_wait_2(now);
            }
        }
    }

    /// A listener's child, whose handshake `seg` would complete, is not wanted: it ends, and the
    /// peer is reset (Linux: `tcp_abort_on_overflow`).
    pub fn refuse(&mut self, seg: &Segment) -> Outcome {
        let mut out = Outcome {
            reset: reset_for(seg),
            ..Outcome::default()
        };
        self.noted.note(Mib::EmbryonicRsts);
        self.fail(TcpError::Reset, &mut out);
        out
    }

    /// ABORT (RFC 9293, section 3.10.5): RST to be polled, CLOSED at once.
    pub fn abort(&mut self, _now: Instant) {
        let mut out = Outcome::default();
        let unsent = self.snd_nxt != self.snd_end + u32::from(self.fin_queued);
        match self.state {
            State::Closed | State::Listen => return,
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait => self.owes.rst = true,
            State::Closing | State::LastAck => self.owes.rst = unsent,
            State::SynSent | State::TimeWait => {}
        }
        if self.state != State::TimeWait {
            self.error = Some(TcpError::Aborted);
        }
        self.done(&mut out);
    }
}
