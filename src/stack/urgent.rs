//! Urgent data as Linux has it: one byte, out of the stream unless SO_OOBINLINE.

use super::{Error, Host, Ready, Result, SockId, Socket};
use crate::tcp::SeqNum;

/// The urgent byte of a connection, by its sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub enum Urgent {
    /// None, or the program has read past it.
    #[default]
    None,
    /// Announced by the urgent pointer; not here yet (Linux: TCP_URG_NOTYET).
    Announced(SeqNum),
    /// Here (TCP_URG_VALID).
    Here(SeqNum, u8),
    /// Taken by MSG_OOB (TCP_URG_READ); still in the queue, to be skipped.
    Taken(SeqNum),
}

/// Whether urgent data is to be told by a signal. The near end's owner has it from the kernel when
/// the descriptor is made to show PRI: for that the mark must not be forgotten before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Sigurg {
    /// The descriptor never had an owner.
    #[default]
    Nobody,
    /// It may have one.
    Owned,
    /// The same, and urgent data came that was not shown yet.
    Due,
}

impl Urgent {
    fn at(self) -> Option<SeqNum> {
        match self {
            Urgent::None => None,
            Urgent::Announced(at) | Urgent::Here(at, _) | Urgent::Taken(at) => Some(at),
        }
    }
}

impl Socket {
    /// The sequence number of the next byte the program reads.
    fn copied_seq(&self) -> SeqNum {
        SeqNum(
            self.tcb
                .rcv_nxt()
                .0
                .wrapping_sub(self.rx.bytes + u32::from(self.eof)),
        )
    }

    /// Where in the receive queue the urgent byte lies, if it does.
    fn urgent_offset(&self) -> Option<u32> {
        let offset = self.urgent.at()?.diff(self.copied_seq());
        u32::try_from(offset).ok().filter(|o| *o < self.rx.bytes)
    }

    /// What recv may take: how many bytes to drop first (the urgent byte, out of line), and how
    /// many then up to the mark.
    pub(super) fn readable(&self) -> (u32, u32) {
        match self.urgent_offset() {
            None => (0, self.rx.bytes),
            Some(0) if self.options.oobinline => (0, self.rx.bytes),
            Some(0) => (1, self.rx.bytes - 1),
            Some(mark) => (0, mark),
        }
    }

    /// How many bytes recv may take now.
    pub fn next_readable(&self) -> u32 {
        self.readable().1
    }

    /// Bytes that count for POLLIN: all but an urgent byte out of line that is next (tcp_poll).
    pub(super) fn inline_bytes(&self) -> u32 {
        match self.urgent_offset() {
            Some(0) if !self.options.oobinline => self.rx.bytes - 1,
            _ => self.rx.bytes,
        }
    }

    /// Bytes that count for FIONREAD: those before an urgent byte out of line (tcp_inq).
    pub(super) fn bytes_to_mark(&self) -> u32 {
        match self.urgent_offset() {
            Some(mark) if !self.options.oobinline => mark,
            _ => self.rx.bytes,
        }
    }

    /// The urgent byte, here or announced, is the one after the next `n` that the program reads.
    pub fn mark_is_after(&self, n: u32) -> bool {
        self.urgent.at() == Some(self.copied_seq() + n)
    }

    /// POLLPRI.
    pub(super) fn urgent_ready(&self) -> Ready {
        match self.urgent {
            Urgent::Here(..) => Ready::PRI,
            _ => Ready(0),
        }
    }
}

impl Host<'_> {
    /// The urgent pointer moved, or data arrived that it may point at.
    pub(super) fn update_urgent(&mut self, index: u32) {
        let s = &mut self.sh.sockets[index];
        if let Some(mark) = s.tcb.urgent_mark()
            && s.urgent.at().is_none_or(|at| at != mark)
            && mark.ge(s.copied_seq())
        {
            let old = core::mem::replace(&mut s.urgent, Urgent::Announced(mark));
            self.drop_urgent_read_up_to(index, old);
        }
        let s = &self.sh.sockets[index];
        let Urgent::Announced(at) = s.urgent else {
            return;
        };
        // In turn, or ahead of its turn.
        let (rx, ooo) = (s.rx, s.ooo);
        let p = super::queue::pools!(self.sh);
        if let Some(byte) = rx.byte_at(&p, at).or_else(|| ooo.byte_at(&p, at)) {
            let s = &mut self.sh.sockets[index];
            s.urgent = Urgent::Here(at, byte);
            if s.sigurg == Sigurg::Owned {
                s.sigurg = Sigurg::Due;
            }
        }
    }

    /// The program reads, and only the urgent byte is there: it is passed over, unless a signal may be
    /// under way whose handler is to find it (Linux: `signal_pending` in `tcp_recvmsg_locked`).
    pub(super) fn pass_over_urgent(&mut self, index: u32) {
        let s = &self.sh.sockets[index];
        if s.sigurg != Sigurg::Nobody && matches!(s.urgent, Urgent::Here(..)) {
            return;
        }
        self.touch(index);
        self.drop_next_byte(index);
        self.pass_urgent(index);
        self.output(index);
        self.mirror_later(index);
    }

    /// Another mark takes the place of `old`: if its byte is what the program reads next, it is out
    /// of the stream for good (Linux: tcp_check_urg). One that is further behind becomes a part of it.
    fn drop_urgent_read_up_to(&mut self, index: u32, old: Urgent) {
        let s = &self.sh.sockets[index];
        let (Urgent::Here(at, _) | Urgent::Taken(at)) = old else {
            return;
        };
        if at != s.copied_seq() || s.options.oobinline || s.rx.bytes == 0 {
            return;
        }
        self.drop_next_byte(index);
    }

    /// What the program would read next, the urgent byte, is out of the stream.
    fn drop_next_byte(&mut self, index: u32) {
        let mut rx = self.sh.sockets[index].rx;
        rx.consume(&mut super::queue::pools!(self.sh), 1);
        let s = &mut self.sh.sockets[index];
        s.rx = rx;
        s.tcb.app_read(self.now, 1);
    }

    /// The program has read up to `copied_seq`: forget a mark that lies behind.
    pub(super) fn pass_urgent(&mut self, index: u32) {
        let s = &mut self.sh.sockets[index];
        if s.urgent.at().is_some_and(|at| at.lt(s.copied_seq())) {
            s.urgent = Urgent::None;
        }
    }

    /// recv(2) with MSG_OOB: the urgent byte, once; `None` at end of file.
    pub fn recv_urgent(&mut self, id: SockId, peek: bool) -> Result<Option<u8>> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        if s.listening {
            return Err(Error::NotConnected);
        }
        if s.options.oobinline {
            return Err(Error::Invalid);
        }
        match s.urgent {
            Urgent::None | Urgent::Taken(_) => Err(Error::Invalid),
            Urgent::Here(at, byte) => {
                if !peek {
                    s.urgent = Urgent::Taken(at);
                    self.mirror_later(index);
                }
                Ok(Some(byte))
            }
            Urgent::Announced(_) if s.eof || s.rcv_shutdown => Ok(None),
            Urgent::Announced(_) => Err(Error::WouldBlock),
        }
    }

    /// The descriptor may have an owner from now on, who is to have SIGURG.
    pub fn has_owner(&mut self, id: SockId) -> Result<()> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        if s.sigurg == Sigurg::Nobody {
            s.sigurg = Sigurg::Owned;
        }
        self.watch(id)
    }

    /// SIOCATMARK.
    // RFC 9293 MUST-33
    pub fn at_mark(&self, id: SockId) -> Result<bool> {
        let s = self.socket(id)?;
        Ok(s.mark_is_after(0))
    }
}
