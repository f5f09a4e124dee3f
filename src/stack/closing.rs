//! shutdown(2) and close(2): how a connection is ended.

use super::queue::pools;
use super::{Error, Host, Result, SockId};
use crate::tcp::mib::Mib;
use crate::tcp::{State, TcpError};

/// Which half shutdown(2) closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}

impl Host<'_> {
    /// shutdown(2).
    pub fn shutdown(&mut self, id: SockId, how: How) -> Result<()> {
        let index = self.index_of(id)?;
        self.touch(index);
        let s = &mut self.sh.sockets[index];
        let old = s.state();
        if old == State::Listen {
            if how != How::Write {
                self.drop_children(index);
                let s = &mut self.sh.sockets[index];
                s.listening = false;
                (s.rcv_shutdown, s.snd_shutdown) = (false, false);
                self.sh.listening_changed(index);
                let s = &mut self.sh.sockets[index];
                if !s.port_locked {
                    self.sh.unlink_port(index);
                }
                self.trace_state(index, State::Listen, State::Closed);
                self.notify(index);
                self.deliver_looped();
            }
            return Ok(());
        }
        if matches!(old, State::Closed | State::TimeWait) {
            // Linux says so, and shuts it down all the same.
            if s.deferred.is_none() {
                s.rcv_shutdown |= how != How::Write;
                s.snd_shutdown |= how != How::Read;
                self.notify(index);
            }
            return Err(Error::NotConnected);
        }
        if old == State::SynSent {
            // Linux: tcp_disconnect, which leaves ECONNRESET behind.
            s.tcb.abort(self.now);
            self.forget_sent(index);
            self.trace_state(index, old, State::Closed);
            self.disconnect(index);
            self.sh.sockets[index].error = Some(TcpError::Reset);
            self.notify(index);
            return Ok(());
        }
        if how != How::Write {
            s.rcv_shutdown = true;
            s.tcb.shutdown_read();
        }
        if how != How::Read {
            // It may be so from before there was a connection, and no FIN was sent then.
            s.snd_shutdown = true;
            s.tcb.shutdown_write(self.now);
            let new = s.tcb.state;
            self.trace_state(index, old, new);
            self.output(index);
            self.deliver_looped();
        }
        self.notify(index);
        Ok(())
    }

    /// The last descriptor is gone: FIN (RST with unread data, or SO_LINGER 0); the connection
    /// lives on until it is over. Calling it again for the same socket does nothing.
    pub fn close(&mut self, id: SockId) {
        let Ok(index) = self.index_of(id) else { return };
        self.touch(index);
        let s = &mut self.sh.sockets[index];
        if s.orphan {
            return;
        }
        let old = s.state();
        s.orphan = true;
        if s.listening {
            self.drop_children(index);
            self.trace_state(index, State::Listen, State::Closed);
            self.deliver_looped();
            self.free(index);
            return;
        }
        if old == State::Closed {
            self.free(index);
            return;
        }
        let unread = s.rx.bytes > 0;
        if s.options.linger == Some(0) {
            let why = if unread {
                Mib::AbortOnClose
            } else {
                Mib::AbortOnData
            };
            self.sh.counters.mib.note(why);
            s.tcb.abort(self.now);
        } else {
            s.tcb.close(self.now, unread);
        }
        let mut rx = s.rx;
        rx.clear(&mut pools!(self.sh));
        let s = &mut self.sh.sockets[index];
        s.rx = rx;
        s.rcv_shutdown = true;
        s.snd_shutdown = true;
        let new = s.tcb.state;
        self.trace_state(index, old, new);
        self.output(index);
        if !matches!(new, State::Closed | State::TimeWait) && self.orphans_are_many(index) {
            // Linux: tcp_check_oom.
            let s = &mut self.sh.sockets[index];
            s.tcb.abort(self.now);
            self.trace_state(index, new, State::Closed);
            self.output(index);
        }
        if self.sh.sockets[index].tcb.state == State::Closed {
            // An early connection that its program resets has not failed.
            let failed = match old {
                State::SynReceived => State::Closed,
                old => old,
            };
            self.connection_over(index, failed);
        } else {
            self.tally(index);
            self.notify(index);
        }
        self.deliver_looped();
    }
}
