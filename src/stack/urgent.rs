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

    /// Bytes that count for POLLIN and FIONREAD: all but an urgent byte out of line.
    pub(super) fn inline_bytes(&self) -> u32 {
        match self.urgent_offset() {
            Some(_) if !self.options.oobinline => self.rx.bytes - 1,
            _ => self.rx.bytes,
        }
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
            s.urgent = Urgent::Announced(mark);
        }
        let s = &self.sh.sockets[index];
        if let (Urgent::Announced(at), Some(offset)) = (s.urgent, s.urgent_offset()) {
            let mut byte = [0u8];
            let rx = s.rx;
            rx.peek(&super::queue::pools!(self.sh), offset as usize, &mut byte);
            self.sh.sockets[index].urgent = Urgent::Here(at, byte[0]);
        }
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

    /// SIOCATMARK.
    // RFC 9293 MUST-33
    pub fn at_mark(&self, id: SockId) -> Result<bool> {
        let s = self.socket(id)?;
        Ok(s.urgent.at() == Some(s.copied_seq()))
    }
}
