//! Sockets are made, bound, looked at and freed. What else programs ask of them is in
//! `connect.rs`, `transfer.rs` and `closing.rs`. Nothing there blocks: what would, says
//! [`Error::WouldBlock`].

use super::queue::{Queue, pools};
use super::recover::in_this_order;
use super::{Error, Family, Host, Owner, Result, SockId, Socket};
use crate::addr::Endpoint;
use crate::tcp::{State, Sysctl, Tcb, TcpOptions};

/// A socket with nothing in it.
pub(super) fn empty_socket() -> Socket {
    let nowhere = Endpoint::default();
    Socket {
        generation: 0,
        family: Family::V4,
        listening: false,
        open: false,
        connecting: false,
        orphan: false,
        embryonic: false,
        young: false,
        tally: super::Tally::None,
        rcv_shutdown: false,
        snd_shutdown: false,
        eof: false,
        eof_read: false,
        was_connected: false,
        nonblock: false,
        addr_locked: false,
        port_locked: false,
        has_port: false,
        hashed: false,
        paths_seen: 0,
        tx_pending: false,
        mirrored: super::Ready(0),
        edge: false,
        mirror_queued: false,
        tail_parts: 0,
        watched: false,
        sigurg: super::urgent::Sigurg::Nobody,
        watcher: 0,
        has_far: false,
        local: nowhere,
        remote: nowhere,
        error: None,
        options: super::SocketOptions::default(),
        ip_options: crate::wire::IpOptions::NONE,
        first_hop: None,
        idle_mss: 0,
        tcp_options: TcpOptions::default(),
        sysctl: Sysctl::default(),
        tcb: Tcb::closed(),
        tx: Queue::default(),
        rx: Queue::default(),
        ooo: Queue::default(),
        ooo_recent: 0,
        errors: super::errqueue::Waiting::default(),
        urgent: super::urgent::Urgent::None,
        parent: SockId::default(),
        backlog: 0,
        accept_len: 0,
        syn_len: 0,
        syn_young: 0,
        fast_pending: 0,
        settings_at: crate::time::Instant::default(),
        early: false,
        deferred: None,
        cookie_sent: crate::time::Instant::default(),
        accept_head: 0,
        accept_tail: 0,
        accept_next: 0,
        hash_next: 0,
        port_next: 0,
        port_prev: 0,
        timer_slot: 0,
        created: crate::time::Instant::default(),
        waiters: [0; super::socket::OWN_WAITERS],
        waiters_overflow: false,
        owner: Owner::default(),
    }
}

impl Host<'_> {
    /// The place of a socket that still exists.
    pub(super) fn index_of(&self, id: SockId) -> Result<u32> {
        match self.sh.sockets.get(id.index) {
            Some(s) if s.generation == id.generation && s.generation != 0 => Ok(id.index),
            _ => Err(Error::Stale),
        }
    }

    /// The socket, to be looked at.
    pub fn socket(&self, id: SockId) -> Result<&Socket> {
        let i = self.index_of(id)?;
        Ok(&self.sh.sockets[i])
    }

    /// A place in the pool, with a generation of its own; an orphan for now.
    pub(super) fn alloc_socket(&mut self) -> Option<u32> {
        let index = self.sh.sockets.alloc()?;
        self.touch(index);
        self.sh.next_generation = self.sh.next_generation.wrapping_add(1).max(1);
        let generation = self.sh.next_generation;
        self.sh.sockets[index] = Socket {
            orphan: true,
            ..empty_socket()
        };
        // With it, it exists.
        in_this_order();
        self.sh.sockets[index].generation = generation;
        Some(index)
    }

    /// socket(2): a CLOSED socket without addresses. `sysctl` are the host's settings now.
    pub fn create(&mut self, family: Family, owner: Owner, sysctl: &Sysctl) -> Result<SockId> {
        let index = self.alloc_socket().ok_or(Error::NoBuffers)?;
        let now = self.now;
        let no_pmtu_disc = self.ip_settings().ip_no_pmtu_disc;
        let s = &mut self.sh.sockets[index];
        s.family = family;
        s.owner = owner;
        s.sysctl = *sysctl;
        s.created = now;
        s.options.rcvlowat = 1;
        s.options.sndbuf = sysctl.tcp_wmem[1];
        s.options.rcvbuf = sysctl.tcp_rmem[1];
        // Want DF, unless the host does without path MTU discovery.
        s.options.mtu_discover = u8::from(no_pmtu_disc == 0);
        s.options.mtu_discover6 = 1;
        s.options.v6only = family == Family::V6 && sysctl.bindv6only != 0;
        s.local = Endpoint::new(s.any(), 0);
        s.remote = Endpoint::new(s.any(), 0);
        s.orphan = false;
        Ok(SockId {
            index,
            generation: s.generation,
        })
    }

    /// bind(2). `privileged`: the process may use ports below ip_unprivileged_port_start.
    pub fn bind(&mut self, id: SockId, to: Endpoint, privileged: bool) -> Result<()> {
        let index = self.index_of(id)?;
        let s = &self.sh.sockets[index];
        if s.family == Family::V6 && s.options.v6only && to.addr.is_v4() {
            return Err(Error::Invalid);
        }
        // Linux takes multicast and broadcast addresses here, of IPv4 (inet_addr_valid_or_nonlocal).
        let group = to.addr.is_v4() && to.addr.is_multicast();
        let known = to.addr.is_any() || self.is_local(to.addr) || self.is_broadcast(to.addr);
        if !known && !group && !s.options.freebind && s.sysctl.ip_nonlocal_bind == 0 {
            return Err(Error::AddrNotAvailable);
        }
        self.may_bind_on(index, to.addr)?;
        if to.port != 0 && to.port < s.sysctl.ip_unprivileged_port_start && !privileged {
            return Err(Error::Access);
        }
        if s.has_port || s.listening || s.open && s.tcb.state != State::Closed {
            return Err(Error::Invalid);
        }
        let port = if to.port == 0 {
            self.pick_port(index, to.addr)?
        } else if self.sh.bind_conflict(index, to) {
            return Err(Error::AddrInUse);
        } else {
            to.port
        };
        self.touch(index);
        let s = &mut self.sh.sockets[index];
        s.local = Endpoint::new(to.addr, port);
        s.addr_locked = !to.addr.is_any();
        s.port_locked = true;
        self.sh.link_port(index);
        Ok(())
    }

    /// Remove every trace of the socket.
    pub(super) fn free(&mut self, index: u32) {
        self.touch(index);
        self.untally(index);
        self.no_longer_early(index);
        self.disarm(index);
        self.forget_sent(index);
        self.sh.unhash_connection(index);
        self.sh.unlink_port(index);
        // Waiters find that the handle is stale.
        self.notify(index);
        let s = &mut self.sh.sockets[index];
        let (mut tx, mut rx, mut ooo) = (s.tx, s.rx, s.ooo);
        let mut p = pools!(self.sh);
        tx.clear(&mut p);
        rx.clear(&mut p);
        ooo.clear(&mut p);
        self.sh.sockets[index].generation = 0;
        in_this_order();
        self.sh.sockets[index] = empty_socket();
        self.sh.sockets.free(index);
    }

    /// getsockname(2).
    pub fn local_addr(&self, id: SockId) -> Result<Endpoint> {
        Ok(self.socket(id)?.local)
    }

    /// getpeername(2).
    pub fn peer_addr(&self, id: SockId) -> Result<Endpoint> {
        let s = self.socket(id)?;
        match s.state() {
            // A descriptor doesn't show TIME_WAIT: its socket is CLOSED.
            State::Closed | State::Listen | State::SynSent | State::TimeWait => {
                Err(Error::NotConnected)
            }
            _ => Ok(s.remote),
        }
    }

    /// The descriptor's O_NONBLOCK changed.
    pub fn set_nonblock(&mut self, id: SockId, on: bool) -> Result<()> {
        let index = self.index_of(id)?;
        self.sh.sockets[index].nonblock = on;
        Ok(())
    }
}
