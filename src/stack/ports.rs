//! Who may bind what, and the tables of ports and connections.

use super::shared::CONN_BUCKETS;
use super::{Error, Family, Host, Result, Shared, SockId, Socket};
use crate::addr::{Addr, Endpoint};
use crate::tcp::mib::Mib;
use crate::tcp::{Former, State};
use crate::time::Duration;
use core::hash::{Hash, Hasher};

/// A hash keyed by the host's secret, so that peers can't choose buckets.
fn keyed_hash(secret: &[u8; 16], what: impl Hash) -> u64 {
    // FNV-like mixing over the secret would be predictable; SipHash is what std's HashMap has.
    let (a, b) = secret.split_at(8);
    let key = |s: &[u8]| s.iter().fold(0u64, |k, b| k << 8 | u64::from(*b));
    let mut h = siphasher::sip::SipHasher13::new_with_keys(key(a), key(b));
    what.hash(&mut h);
    h.finish()
}

impl Shared {
    pub(super) fn bucket(&self, local: Endpoint, remote: Endpoint) -> usize {
        keyed_hash(&self.secret, (local, remote)) as usize % CONN_BUCKETS
    }

    /// The connection between these two, if there is one (TIME_WAIT included).
    pub fn find_connection(&self, local: Endpoint, remote: Endpoint) -> Option<u32> {
        let mut i = self.conn_table[self.bucket(local, remote)];
        while let Some(s) = self.sockets.get(i) {
            if s.local == local && s.remote == remote {
                return Some(i);
            }
            i = s.hash_next;
        }
        None
    }

    /// The listening socket that a SYN from `remote` to `local` belongs to: the one bound to that
    /// very address before one bound to any; then to be bound to the device and to be of IPv4
    /// count the same. Among equals the one that began to listen last, or of its group
    /// (SO_REUSEPORT: same address, device and family) the one that a hash of the two ends says.
    pub fn find_listener(&self, local: Endpoint, remote: Endpoint) -> Option<u32> {
        let mut best: Option<(u32, u32)> = None;
        for (i, score) in self.listeners(local) {
            if best.is_none_or(|(b, _)| score > b) {
                best = Some((score, i));
            }
        }
        let (_, first) = best?;
        let group = |i: u32| {
            let s = self.sockets.get(i)?;
            (s.options.reuseport).then_some((s.local.addr, s.options.bound_if, s.family))
        };
        let Some(of_first) = group(first) else {
            return Some(first);
        };
        let members = || {
            let all = self.listeners(local).map(|(i, _)| i);
            all.filter(|i| group(*i) == Some(of_first))
        };
        let chosen = self.bucket(local, remote) % members().count().max(1);
        members().nth(chosen)
    }

    /// The listening sockets that may take what comes to `local`, each with its right to it.
    fn listeners(&self, local: Endpoint) -> impl Iterator<Item = (u32, u32)> {
        let mut i = self.port_table[usize::from(local.port)];
        let all = core::iter::from_fn(move || {
            // They stand before all others of their port.
            let s = self.sockets.get(i).filter(|s| s.listening)?;
            let this = i;
            i = s.port_next;
            Some((this, self.listener_score(s, local.addr)))
        });
        all.filter_map(|(i, score)| Some((i, score?)))
    }

    /// How good a right the listener has to what comes to `addr` (Linux: compute_score, and the
    /// order in which inet_lookup_listener asks).
    fn listener_score(&self, s: &Socket, addr: Addr) -> Option<u32> {
        let bound = s.local.addr;
        let any = bound == Addr::ANY4 && addr.is_v4()
            || bound == Addr::ANY6 && (!addr.is_v4() || !s.options.v6only);
        if bound != addr && !any || !self.hears(s, addr) {
            return None;
        }
        let exact = if bound == addr { 10 } else { 0 };
        let device = u32::from(s.options.bound_if != 0);
        Some(exact + device + u32::from(s.family == Family::V4))
    }

    /// Link into the table of connections.
    pub(super) fn hash_connection(&mut self, index: u32) {
        if !self.sockets[index].hashed {
            self.put_in_bucket(index);
        }
    }

    fn put_in_bucket(&mut self, index: u32) {
        let s = &self.sockets[index];
        let b = self.bucket(s.local, s.remote);
        self.sockets[index].hash_next = self.conn_table[b];
        self.sockets[index].hashed = true;
        self.conn_table[b] = index;
    }

    /// Make both tables anew, by what each socket says of itself.
    pub(super) fn rebuild_tables(&mut self) {
        self.conn_table.fill(0);
        self.port_table.fill(0);
        for index in 1..=self.sockets.high_water() {
            let Some(s) = self.sockets.get_mut(index) else {
                continue;
            };
            (s.hash_next, s.port_next, s.port_prev) = (0, 0, 0);
            let (hashed, has_port) = (s.hashed, s.has_port);
            if hashed {
                self.put_in_bucket(index);
            }
            if has_port {
                self.put_at_port(index);
            }
        }
    }

    /// Unlink from the table of connections.
    pub(super) fn unhash_connection(&mut self, index: u32) {
        let s = &self.sockets[index];
        if !s.hashed {
            return;
        }
        let (next, b) = (s.hash_next, self.bucket(s.local, s.remote));
        let mut i = self.conn_table[b];
        if i == index {
            self.conn_table[b] = next;
        } else {
            while let Some(n) = self.sockets.get(i).map(|s| s.hash_next) {
                if n == index {
                    self.sockets[i].hash_next = next;
                    break;
                }
                i = n;
            }
        }
        let s = &mut self.sockets[index];
        s.hashed = false;
        s.hash_next = 0;
    }

    /// Sockets bound to this port that have no connection: bound merely, or listening.
    pub fn bound_at(&self, port: u16) -> impl Iterator<Item = SockId> + '_ {
        let at = |index: u32| self.sockets.get(index).map(|s| (index, s));
        let mut next = at(self.port_table[usize::from(port)]);
        core::iter::from_fn(move || {
            let (index, s) = next?;
            next = at(s.port_next);
            Some((index, s))
        })
        .filter(|(_, s)| !s.orphan && !s.embryonic && s.remote.port == 0)
        .map(|(index, s)| SockId {
            index,
            generation: s.generation,
        })
    }

    /// Link into the table of bound ports.
    pub(super) fn link_port(&mut self, index: u32) {
        if !self.sockets[index].has_port {
            self.put_at_port(index);
        }
    }

    fn put_at_port(&mut self, index: u32) {
        let p = usize::from(self.sockets[index].local.port);
        let (mut prev, mut next) = (0, self.port_table[p]);
        if !self.sockets[index].listening {
            // A server's connections share its port, and may be many: a SYN must not have to
            // look at them.
            while let Some(s) = self.sockets.get(next).filter(|s| s.listening) {
                (prev, next) = (next, s.port_next);
            }
        }
        let s = &mut self.sockets[index];
        s.has_port = true;
        (s.port_prev, s.port_next) = (prev, next);
        match self.sockets.get_mut(prev) {
            Some(s) => s.port_next = index,
            None => self.port_table[p] = index,
        }
        if let Some(s) = self.sockets.get_mut(next) {
            s.port_prev = index;
        }
    }

    /// The socket listens now, or does no longer: that decides its place among those of its port.
    pub(super) fn listening_changed(&mut self, index: u32) {
        if self.sockets[index].has_port {
            self.take_from_port(index);
            self.put_at_port(index);
        }
    }

    /// Unlink from the table of bound ports.
    pub(super) fn unlink_port(&mut self, index: u32) {
        if self.sockets[index].has_port {
            self.take_from_port(index);
            self.sockets[index].has_port = false;
        }
    }

    /// Out of the list; that the socket has its port stays true, come what may.
    fn take_from_port(&mut self, index: u32) {
        let s = &self.sockets[index];
        let (prev, next, p) = (s.port_prev, s.port_next, usize::from(s.local.port));
        match self.sockets.get_mut(prev) {
            Some(s) => s.port_next = next,
            None => self.port_table[p] = next,
        }
        if let Some(s) = self.sockets.get_mut(next) {
            s.port_prev = prev;
        }
        let s = &mut self.sockets[index];
        (s.port_prev, s.port_next) = (0, 0);
    }

    /// Whether binding `index` to `local` collides with a socket that is bound already (Linux:
    /// inet_csk_bind_conflict).
    // RFC 9293 MUST-41, MUST-42
    pub(super) fn bind_conflict(&self, index: u32, local: Endpoint) -> bool {
        let me = &self.sockets[index];
        let mut i = self.port_table[usize::from(local.port)];
        while let Some(s) = self.sockets.get(i) {
            let reusable = me.options.reuseaddr && s.options.reuseaddr && !s.listening;
            let shared = me.options.reuseport && s.options.reuseport && me.owner.uid == s.owner.uid;
            // A child of a listener shares its port by nature; the listener's options count.
            if i != index
                && !reusable
                && !shared
                && same_device(me, s)
                && overlap(me, local.addr, s, bound_addr(s))
            {
                return true;
            }
            i = s.port_next;
        }
        false
    }

    fn port_is_free(&self, port: u16) -> bool {
        self.port_table[usize::from(port)] == 0
    }
}

/// The address that counts for conflicts.
fn bound_addr(s: &Socket) -> Addr {
    s.local.addr
}

/// Two sockets would both be meant by some address.
fn overlap(a: &Socket, a_addr: Addr, b: &Socket, b_addr: Addr) -> bool {
    let covers = |s: &Socket, any: Addr, other: Addr| {
        any == Addr::ANY6 && !(s.options.v6only && other.is_v4())
            || any == Addr::ANY4 && other.is_v4()
    };
    a_addr == b_addr || covers(a, a_addr, b_addr) || covers(b, b_addr, a_addr)
}

/// Some device is one of both's.
fn same_device(a: &Socket, b: &Socket) -> bool {
    let (a, b) = (a.options.bound_if, b.options.bound_if);
    a == 0 || b == 0 || a == b
}

impl Host<'_> {
    /// bind(2) with port 0, and listen(2) without bind: a port that nobody has.
    pub(super) fn pick_port(&mut self, index: u32, addr: Addr) -> Result<u16> {
        let range = self.sh.sockets[index].sysctl.ip_local_port_range;
        let (low, count) = span(range);
        // Like Linux, bind prefers ports of the other parity than connect.
        let start = self.random() as u32 % count;
        for want_odd in [true, false] {
            for n in 0..count {
                let port = low + ((start + n) % count) as u16;
                if (port % 2 == 1) == want_odd
                    && !self.sh.bind_conflict(index, Endpoint::new(addr, port))
                    && self.sh.port_is_free(port)
                {
                    return Ok(port);
                }
            }
        }
        Err(Error::AddrInUse)
    }

    /// connect(2) without bind: a port for which the pair of endpoints is new (RFC 6056), and whom
    /// it replaces.
    pub(super) fn pick_connect_port(
        &mut self,
        index: u32,
        local: Addr,
        remote: Endpoint,
    ) -> Result<(u16, Option<Former>)> {
        let range = self.sh.sockets[index].sysctl.ip_local_port_range;
        let (low, count) = span(range);
        let hash = keyed_hash(&self.sh.secret, (local, remote)) as u32;
        let start = hash.wrapping_add(self.sh.port_hint) % count;
        self.sh.port_hint = self
            .sh
            .port_hint
            .wrapping_add(2 + 2 * (self.random() as u32 & 7));
        for want_odd in [false, true] {
            for n in 0..count {
                let port = low + ((start + n) % count) as u16;
                if (port % 2 == 1) != want_odd {
                    continue;
                }
                if self.sh.port_is_free(port) {
                    return Ok((port, None));
                }
                if self.only_connected(port)
                    && let Ok(former) = self.claim_pair(Endpoint::new(local, port), remote, false)
                {
                    return Ok((port, former));
                }
            }
        }
        Err(Error::AddrNotAvailable)
    }

    /// Every socket at `port` got it from connect.
    fn only_connected(&self, port: u16) -> bool {
        let mut i = self.sh.port_table[usize::from(port)];
        while let Some(s) = self.sh.sockets.get(i) {
            if s.port_locked || s.listening || s.parent.index != 0 {
                return false;
            }
            i = s.port_next;
        }
        true
    }

    /// No connection is between the two, or one in TIME_WAIT that tcp_tw_reuse allows to replace:
    /// that one is then gone, and the new one goes on from it.
    pub(super) fn claim_pair(
        &mut self,
        local: Endpoint,
        remote: Endpoint,
        bound: bool,
    ) -> Result<Option<Former>> {
        let Some(i) = self.sh.find_connection(local, remote) else {
            return Ok(None);
        };
        let s = &self.sh.sockets[i];
        if s.tcb.state != State::TimeWait || !s.orphan {
            return Err(Error::AddrNotAvailable);
        }
        // tcp_tw_reuse 2: loopback only, and with timestamps one second old (tcp_twsk_unique).
        let allowed = match s.sysctl.tcp_tw_reuse {
            0 => false,
            2 => local.addr.is_loopback() || remote.addr.is_loopback(),
            _ => true,
        };
        let length = Duration::from_secs(u64::from(s.sysctl.time_wait));
        let old = self.now.since(s.tcb.deadline() - length) >= Duration::from_secs(1);
        // A port that the program bound itself needs only the timestamps.
        let former = s.tcb.former().filter(|_| bound || allowed && old);
        let former = former.ok_or(Error::AddrNotAvailable)?;
        self.sh.counters.mib.note(Mib::TwRecycled);
        self.free(i);
        Ok(Some(former))
    }

    /// Numbers that a peer can't foresee.
    pub(super) fn random(&mut self) -> u64 {
        self.sh.random_state = self.sh.random_state.wrapping_add(1);
        keyed_hash(&self.sh.secret, (self.sh.random_state, self.now))
    }
}

/// The first port of a range and how many there are.
fn span([low, high]: [u16; 2]) -> (u16, u32) {
    (low, u32::from(high.saturating_sub(low)) + 1)
}
