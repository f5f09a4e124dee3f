//! What `ss`, `netstat` and /proc/net/tcp show.

use super::{Family, Host, Owner, SockId};
use crate::addr::Endpoint;
use crate::tcp::{Info, State};

/// A line of the table of sockets.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The socket.
    pub id: SockId,
    /// AF_INET or AF_INET6.
    pub family: Family,
    /// Its state.
    pub state: State,
    /// Bytes not read; of a listener: connections not accepted.
    pub recv_q: u32,
    /// Bytes not acknowledged; of a listener: the backlog.
    pub send_q: u32,
    /// Its own address.
    pub local: Endpoint,
    /// The peer's.
    pub remote: Endpoint,
    /// Who has it (inode 0: nobody).
    pub owner: Owner,
    /// No descriptor refers to it.
    pub orphan: bool,
    /// IPV6_V6ONLY.
    pub v6only: bool,
    /// Timers and the rest.
    pub info: Info,
}

impl Host<'_> {
    /// Give every socket that `ss -a` or `netstat -a` would show to `f` (CLOSED ones are not
    /// shown).
    ///
    /// Listening sockets first, TIME_WAIT last.
    pub fn table(&self, mut f: impl FnMut(Row)) {
        for part in [
            |s| s == State::Listen,
            is_connection,
            |s| s == State::TimeWait,
        ] {
            self.part_of_table(part, &mut f);
        }
    }

    /// The connections in ESTABLISHED and CLOSE_WAIT.
    pub fn established(&self) -> u64 {
        let sockets = (1..=self.sh.sockets.high_water()).filter_map(|i| self.sh.sockets.get(i));
        let open = sockets.filter(|s| {
            s.generation != 0 && matches!(s.state(), State::Established | State::CloseWait)
        });
        open.count() as u64
    }

    fn part_of_table(&self, part: fn(State) -> bool, f: &mut impl FnMut(Row)) {
        for index in 1..=self.sh.sockets.high_water() {
            let Some(s) = self.sh.sockets.get(index) else {
                continue;
            };
            let state = s.state();
            if s.generation == 0 || state == State::Closed || !part(state) {
                continue;
            }
            let (recv_q, send_q) = match state {
                State::Listen => (s.accept_len, s.backlog),
                // Linux counts sequence numbers: a SYN or FIN that is not acknowledged, a FIN
                // that recv has not told of.
                State::SynReceived if s.embryonic => (0, 0),
                State::SynSent | State::SynReceived => (s.rx.bytes, s.tx.bytes + 1),
                State::FinWait1 | State::Closing | State::LastAck => {
                    (s.rx.bytes + u32::from(s.eof && !s.eof_read), s.tx.bytes + 1)
                }
                State::TimeWait => (0, 0),
                _ => (s.rx.bytes + u32::from(s.eof && !s.eof_read), s.tx.bytes),
            };
            f(Row {
                id: SockId {
                    index,
                    generation: s.generation,
                },
                family: s.family,
                state,
                recv_q,
                send_q,
                local: s.local,
                remote: s.remote,
                // In TIME_WAIT it is nobody's, though a descriptor may still be open.
                owner: if s.orphan || state == State::TimeWait {
                    Owner {
                        inode: 0,
                        pid: 0,
                        ..s.owner
                    }
                } else {
                    s.owner
                },
                orphan: s.orphan,
                v6only: s.options.v6only,
                info: if s.open {
                    s.tcb.info(self.now)
                } else {
                    Info::default()
                },
            });
        }
    }
}

fn is_connection(s: State) -> bool {
    !matches!(s, State::Listen | State::TimeWait)
}
