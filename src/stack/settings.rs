//! Settings that change while there are sockets.
//!
//! Linux looks at most of the host's settings when it needs them, whatever they were when the socket
//! was made. A socket here has a copy; the calls that open connections renew it, and so does whoever
//! knows the settings when a SYN comes.

use super::{Host, Result, SockId};
use crate::sys;
use crate::tcp::{State, Sysctl};
use crate::time::Duration;
use std::sync::OnceLock;

/// How long a listener's settings are believed: others decide how often SYNs come.
const FRESH: Duration = Duration::from_millis(20);

/// For whose listeners this process knows the settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// A program for its own: it may be forbidden to read files, and may see other settings than
    /// the others.
    Own,
    /// The keeper for all.
    All,
}

/// Changes what is told of the settings.
pub type Ask = fn(&mut Sysctl);

/// Who knows the settings of the moment when a SYN comes.
static FOR_SYN: OnceLock<(Whose, Ask)> = OnceLock::new();

/// Whenever this process takes a SYN to one of those listeners, `ask` may change what that was told
/// of the settings. It is called under the stack's lock.
pub fn ask_for_syns(whose: Whose, ask: Ask) {
    let _ = FOR_SYN.set((whose, ask));
}

impl Host<'_> {
    /// The host's settings are `now`: they count for what the socket does next. Those that Linux
    /// copies when a socket is made stay as they are.
    pub fn follow_settings(&mut self, id: SockId, now: &Sysctl) -> Result<()> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        if s.open && s.tcb.state != State::Closed {
            return Ok(());
        }
        s.settings_at = self.now;
        let made = s.sysctl;
        s.sysctl = Sysctl {
            tcp_congestion_control: made.tcp_congestion_control,
            tcp_reordering: made.tcp_reordering,
            tcp_rto_min_ms: made.tcp_rto_min_ms,
            tcp_rto_max_ms: made.tcp_rto_max_ms,
            ..*now
        };
        Ok(())
    }

    /// The same for all listeners among `ids`.
    pub fn listeners_follow(&mut self, ids: impl Iterator<Item = SockId>, now: &Sysctl) {
        for id in ids {
            if self.socket(id).is_ok_and(|s| s.listening) {
                let _ = self.follow_settings(id, now);
            }
        }
    }

    /// A SYN comes to the listener.
    pub(super) fn renew_settings(&mut self, listener: u32) {
        let l = &mut self.sh.sockets[listener];
        if let Some((whose, ask)) = FOR_SYN.get()
            && self.now.since(l.settings_at) >= FRESH
            && (*whose == Whose::All || l.owner.pid == sys::process::pid())
        {
            l.settings_at = self.now;
            ask(&mut l.sysctl);
        }
    }
}
