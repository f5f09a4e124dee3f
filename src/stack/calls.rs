//! What programs ask of a socket. Nothing here blocks: what would, says [`Error::WouldBlock`].

use super::devices::Way;
use super::queue::{Pools, Queue, pools};
use super::recover::in_this_order;
use super::{Error, Family, Host, Owner, Result, Shared, SockId, Socket};
use crate::addr::{Addr, Endpoint};
use crate::tcp::{State, Sysctl, Tcb, TcpError, TcpOptions};
use std::io::{IoSlice, IoSliceMut};

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

/// Flags of send(2) that reach the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SendFlags {
    /// MSG_OOB: the last byte is urgent.
    pub oob: bool,
    /// MSG_MORE: what is less than a segment may wait for more.
    pub more: bool,
    /// MSG_EOR: what is written later goes into segments of its own.
    pub eor: bool,
    /// The timestamps that this call asks for, in place of the socket's (SO_TIMESTAMPING's bits).
    pub stamps: Option<u32>,
    /// MSG_ZEROCOPY: no segment holds more than [`MAX_PARTS`] of the program's buffers.
    pub zerocopy: bool,
}

/// Linux's MAX_SKB_FRAGS: what MSG_ZEROCOPY sends is not copied together there, and an sk_buff has
/// so many pages at most.
const MAX_PARTS: u8 = 17;

/// Flags of recv(2) that reach the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecvFlags {
    /// MSG_PEEK: leave the data.
    pub peek: bool,
    /// With `peek`: how many bytes were peeked at already by this call.
    pub peek_offset: usize,
    /// MSG_TRUNC: drop the data instead of copying it.
    pub trunc: bool,
}

/// The MSS of an IPv6 peer that does not say (RFC 9293, section 3.7.1).
pub(super) const DEFAULT_MSS_V6: u16 = 1220;

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
        watcher: 0,
        has_far: false,
        local: nowhere,
        remote: nowhere,
        error: None,
        soft_error: None,
        options: super::SocketOptions::default(),
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

    /// connect(2): begins the handshake and gives [`Error::InProgress`]; called again, tells
    /// how it stands: `Ok` once (then [`Error::IsConnected`]), [`Error::Already`], or why it
    /// failed.
    pub fn connect(&mut self, id: SockId, to: Endpoint) -> Result<()> {
        let index = self.index_of(id)?;
        if self.sh.sockets[index].connecting {
            return self.connect_result(id);
        }
        self.connect_with(id, to, |_, _| ())?;
        Err(Error::InProgress)
    }

    /// Begin a connection; `prepare` is called before its SYN is sent.
    pub(super) fn connect_with<R>(
        &mut self,
        id: SockId,
        to: Endpoint,
        prepare: impl FnOnce(&mut Self, u32) -> R,
    ) -> Result<R> {
        let index = self.index_of(id)?;
        let s = &self.sh.sockets[index];
        if s.connecting {
            return Err(Error::Already);
        }
        // Linux: a socket that was connected stays so (SS_CONNECTED) when its connection ends.
        if s.listening || s.was_connected || s.open && s.tcb.state != State::Closed {
            return Err(Error::IsConnected);
        }
        let (family, v6only, local, addr_locked) =
            (s.family, s.options.v6only, s.local, s.addr_locked);
        let bound = s.options.bound_if;
        if family == Family::V6 && v6only && to.addr.is_v4() {
            return Err(Error::NetUnreachable);
        }
        let to = Endpoint::new(self.connect_addr(to.addr), to.port);
        // RFC 9293 MUST-43, MUST-44
        // RFC 1122 S3.3.4.2-1
        let source = if addr_locked {
            local.addr
        } else {
            self.source_on(bound, to.addr)?
        };
        if source.is_v4() != to.addr.is_v4() {
            return Err(Error::NetUnreachable);
        }
        if addr_locked {
            self.source_on(bound, to.addr)?;
        }
        if source.is_loopback() && self.way(bound, to.addr) == Way::Tun {
            return Err(Error::Invalid);
        }
        let has_port = s.has_port;
        let port = if has_port {
            if !self.pair_is_free(Endpoint::new(source, local.port), to, true) {
                return Err(Error::AddrNotAvailable);
            }
            local.port
        } else {
            self.pick_connect_port(index, source, to)?
        };
        self.touch(index);
        let local = Endpoint::new(source, port);
        let iss = self.isn(local, to);
        let path = {
            let s = self.sh.sockets[index];
            self.path(&s, local, to)
        };
        let now = self.now;
        let s = &mut self.sh.sockets[index];
        s.local = local;
        s.remote = to;
        s.tcb = Tcb::connect(now, iss, path, s.tcp_options, &s.sysctl);
        if !to.addr.is_v4() {
            s.tcb.set_default_mss(DEFAULT_MSS_V6);
        }
        s.open = true;
        s.connecting = true;
        s.was_connected = false;
        (s.eof, s.snd_shutdown, s.rcv_shutdown) = (false, false, false);
        s.eof_read = false;
        s.error = None;
        if !has_port {
            self.sh.link_port(index);
        }
        self.sh.hash_connection(index);
        self.sh.counters.active_opens += 1;
        let prepared = prepare(self, index);
        self.trace_state(index, State::Closed, State::SynSent);
        self.output(index);
        self.deliver_looped();
        self.mirror_later(index);
        Ok(prepared)
    }

    /// How a connect that was begun stands; see [`Host::connect`].
    pub fn connect_result(&mut self, id: SockId) -> Result<()> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        if !s.connecting {
            return if s.was_connected {
                Ok(())
            } else {
                Err(Error::NotConnected)
            };
        }
        match s.tcb.state {
            State::SynSent | State::SynReceived => Err(Error::Already),
            State::Closed => {
                let error = s.error.take().map_or(Error::Aborted, Error::from);
                self.disconnect(index);
                Err(error)
            }
            _ => {
                s.connecting = false;
                Ok(())
            }
        }
    }

    /// connect(2) with AF_UNSPEC: back to a fresh socket; what was bound stays bound.
    pub fn dissolve(&mut self, id: SockId) -> Result<()> {
        let index = self.index_of(id)?;
        if self.sh.sockets[index].orphan {
            // Closed by another thread meanwhile; nobody would ever close it again.
            return Err(Error::Stale);
        }
        self.touch(index);
        let mut error = None;
        let s = &mut self.sh.sockets[index];
        if s.open && s.tcb.state != State::Closed {
            let old = s.tcb.state;
            s.tcb.abort(self.now);
            self.output(index);
            self.trace_state(index, old, State::Closed);
            error = (old != State::SynSent && old != State::TimeWait).then_some(TcpError::Reset);
        }
        if self.sh.sockets[index].listening {
            self.drop_children(index);
        }
        self.disconnect(index);
        self.sh.sockets[index].error = error;
        self.deliver_looped();
        self.mirror_later(index);
        Ok(())
    }

    /// Linux's tcp_disconnect: as if it had never been connected.
    fn disconnect(&mut self, index: u32) {
        self.disarm(index);
        self.sh.unhash_connection(index);
        if !self.sh.sockets[index].port_locked {
            self.sh.unlink_port(index);
        }
        let s = &mut self.sh.sockets[index];
        let (mut tx, mut rx, mut ooo) = (s.tx, s.rx, s.ooo);
        let mut p = pools!(self.sh);
        tx.clear(&mut p);
        rx.clear(&mut p);
        ooo.clear(&mut p);
        let s = &mut self.sh.sockets[index];
        (s.tx, s.rx, s.ooo) = (tx, rx, ooo);
        let any = s.any();
        // getsockname goes on to show the port, though it is free again.
        if !s.addr_locked {
            s.local.addr = any;
        }
        s.remote = Endpoint::new(any, 0);
        (s.open, s.connecting, s.listening, s.was_connected) = (false, false, false, false);
        self.sh.listening_changed(index);
        let s = &mut self.sh.sockets[index];
        (s.eof, s.snd_shutdown, s.rcv_shutdown) = (false, false, false);
        s.error = None;
        s.soft_error = None;
        self.tally(index);
        self.notify(index);
    }

    /// Where a connection to `to` really goes: any address means this host.
    fn connect_addr(&self, to: Addr) -> Addr {
        if to == Addr::ANY4 {
            Addr::v4(core::net::Ipv4Addr::LOCALHOST)
        } else if to == Addr::ANY6 {
            Addr::v6(core::net::Ipv6Addr::LOCALHOST)
        } else {
            to
        }
    }

    /// The source address for a destination, by Linux's routing of a host with lo and one
    /// device.
    // RFC 1122 S3.2.1.3-1, S3.3.1.1-1, S3.3.1.2-1
    pub(super) fn source_for(&self, to: Addr) -> Result<Addr> {
        // RFC 9293 MUST-46
        if self.is_broadcast(to) {
            return Err(Error::NetUnreachable);
        }
        let c = &self.sh.config;
        if to.is_loopback() {
            // 127/8 is all local; the source is 127.0.0.1 unless the socket is bound.
            return Ok(if to.is_v4() {
                Addr::v4(core::net::Ipv4Addr::LOCALHOST)
            } else {
                to
            });
        }
        if self.is_local(to) {
            return Ok(to);
        }
        let (own, prefix, gateway) = if to.is_v4() {
            (c.addr4, c.prefix4, c.gateway4)
        } else {
            (c.addr6, c.prefix6, c.gateway6)
        };
        let reachable = c.has_device
            && !own.is_any()
            && !to.is_multicast()
            && (to.same_net(own, prefix) || !gateway.is_any());
        if reachable {
            Ok(own)
        } else {
            Err(Error::NetUnreachable)
        }
    }

    /// send(2): copies what fits, at least one byte or [`Error::WouldBlock`]. `skip` bytes of
    /// `data` were sent already.
    pub fn send(
        &mut self,
        id: SockId,
        data: &[IoSlice<'_>],
        skip: usize,
        flags: SendFlags,
    ) -> Result<usize> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        let state = s.state();
        if s.deferred.is_some() {
            return Err(Error::WouldBlock);
        }
        let early = s.is_early();
        if s.open
            && matches!(state, State::SynSent | State::SynReceived)
            && s.error.is_none()
            && !early
        {
            return Err(Error::WouldBlock);
        }
        if s.error.is_some()
            || s.snd_shutdown
            || !(early || matches!(state, State::Established | State::CloseWait))
        {
            return Err(s.error.take().map_or(Error::Pipe, Error::from));
        }
        self.touch(index);
        let total: usize = data.iter().map(|d| d.len()).sum();
        let total = total.saturating_sub(skip);
        let mut skip = skip;
        let (mut done, mut told) = (0, 0);
        let mut short = false;
        'parts: for part in data {
            let Some(mut part) = part.get(skip..) else {
                skip -= part.len();
                continue;
            };
            skip = 0;
            let mut counted = !(flags.zerocopy && self.sh.sockets[index].options.zerocopy);
            while !part.is_empty() {
                let Shared {
                    sockets,
                    chunks,
                    buffers,
                    counters,
                    ..
                } = &mut *self.sh;
                let s = &mut sockets[index];
                let mut p = Pools { chunks, buffers };
                if !counted && s.tail_parts >= MAX_PARTS && s.tail_unsent() > 0 {
                    s.tx.end_record(&mut p);
                }
                let (room, new_skb) = s.send_room(s.tx.at_record_end(&p));
                let n = part.len().min(room as usize);
                let copied = s.tx.append(&mut p, &part[..n], new_skb);
                if new_skb {
                    s.tail_parts = 0;
                } else if copied > 0 {
                    let untold = (done - told) as u32;
                    s.tcb.tail_grew(untold, copied as u32, done == 0);
                }
                if !counted && copied > 0 {
                    s.tail_parts = s.tail_parts.saturating_add(1);
                    counted = true;
                }
                done += copied;
                part = &part[copied..];
                if n == 0 || copied < n {
                    counters.no_buffers += u64::from(copied < n);
                    short = true;
                    break 'parts;
                }
                if n == room as usize && done < total {
                    s.tcb.app_wrote_more(self.now, (done - told) as u32);
                    told = done;
                    self.filled_one(index);
                }
            }
        }
        if done == 0 && total > 0 {
            self.sh.sockets[index].tcb.set_no_space(self.now, true);
            return Err(Error::WouldBlock);
        }
        let rest = (done - told) as u32;
        let s = &mut self.sh.sockets[index];
        if short {
            // The rest will come when there is room: until then this is all.
            s.tcb.app_wrote(self.now, rest);
            s.tcb.push();
            s.tcb.set_no_space(self.now, true);
        } else if flags.oob {
            s.tcb.app_wrote_urgent(self.now, rest);
        } else if flags.more && total > 0 {
            s.tcb.app_wrote_more(self.now, rest);
        } else if total > 0 {
            s.tcb.app_wrote(self.now, rest);
        }
        if flags.eor && !short && total > 0 {
            let mut tx = s.tx;
            tx.end_record(&mut pools!(self.sh));
            self.sh.sockets[index].tx = tx;
        }
        if !short && total > 0 {
            self.stamp_last(index, flags.stamps);
        }
        self.output(index);
        self.deliver_looped();
        self.mirror_later(index);
        Ok(done)
    }

    /// recv(2): what is there, 0 at end of file, else [`Error::WouldBlock`].
    pub fn recv(
        &mut self,
        id: SockId,
        out: &mut [IoSliceMut<'_>],
        flags: RecvFlags,
    ) -> Result<usize> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        if s.listening {
            return Err(Error::NotConnected);
        }
        let (skip, most) = s.readable();
        if most as usize <= flags.peek_offset {
            // Linux's order: end of file, the pending error, own shutdown, never connected.
            if s.eof {
                s.eof_read |= !flags.peek;
                return Ok(0);
            }
            if flags.peek_offset == 0
                && let Some(e) = s.error.take()
            {
                self.mirror_later(index);
                return Err(e.into());
            }
            return match s.state() {
                _ if s.rcv_shutdown => Ok(0),
                // TCP_FASTOPEN_CONNECT put the connect off: for Linux this is SYN_SENT.
                _ if s.deferred.is_some() => Err(Error::WouldBlock),
                State::Closed => Err(Error::NotConnected),
                State::TimeWait => Ok(0),
                _ => Err(Error::WouldBlock),
            };
        }
        self.touch(index);
        let queue = self.sh.sockets[index].rx;
        let p = pools!(self.sh);
        let mut offset = skip as usize + flags.peek_offset;
        let mut left = most as usize - flags.peek_offset;
        let mut done = 0;
        for part in out.iter_mut() {
            let want = part.len().min(left);
            let n = if flags.trunc && !flags.peek {
                want
            } else {
                queue.peek(&p, offset, &mut part[..want])
            };
            offset += n;
            left -= n;
            done += n;
        }
        if done > 0 {
            self.remember_arrival(index, skip as usize + flags.peek_offset + done);
        }
        if !flags.peek && done > 0 {
            let mut queue = queue;
            let taken = skip + done as u32;
            queue.consume(&mut pools!(self.sh), taken);
            let s = &mut self.sh.sockets[index];
            s.rx = queue;
            s.tcb.app_read(self.now, taken);
            self.pass_urgent(index);
            self.output(index);
            self.deliver_looped();
            self.mirror_later(index);
        }
        Ok(done)
    }

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
        if how != How::Read && !s.snd_shutdown {
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
            self.connection_over(index, old);
        } else {
            self.tally(index);
            self.notify(index);
        }
        self.deliver_looped();
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

    /// Bytes that recv could give (FIONREAD).
    pub fn readable_bytes(&self, id: SockId) -> Result<u32> {
        let s = self.socket(id)?;
        if s.listening {
            Err(Error::Invalid)
        } else {
            Ok(s.inline_bytes())
        }
    }

    /// Bytes not yet acknowledged (SIOCOUTQ).
    pub fn unacked_bytes(&self, id: SockId) -> Result<u32> {
        let s = self.socket(id)?;
        if s.listening {
            Err(Error::Invalid)
        } else {
            Ok(s.tx.bytes)
        }
    }

    /// The descriptor's O_NONBLOCK changed.
    pub fn set_nonblock(&mut self, id: SockId, on: bool) -> Result<()> {
        let index = self.index_of(id)?;
        self.sh.sockets[index].nonblock = on;
        Ok(())
    }
}
