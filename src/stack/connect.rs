//! connect(2): which address a connection comes from, its SYN, and back to a fresh socket.

use super::devices::Way;
use super::ip_options::hop_of_connect;
use super::queue::pools;
use super::{Error, Family, Host, Result, SockId};
use crate::addr::{Addr, Endpoint};
use crate::tcp::{State, Tcb, TcpError};

/// The MSS of an IPv6 peer that does not say (RFC 9293, section 3.7.1).
pub(super) const DEFAULT_MSS_V6: u16 = 1220;

impl Host<'_> {
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
        let hop = hop_of_connect(&s.ip_options, to.addr)?;
        let to = Endpoint::new(self.connect_addr(to.addr), to.port);
        let next = hop.unwrap_or(to.addr);
        // RFC 9293 MUST-43, MUST-44
        // RFC 1122 S3.3.4.2-1
        let source = if addr_locked {
            local.addr
        } else {
            self.source_on(bound, next)?
        };
        if source.is_v4() != to.addr.is_v4() {
            return Err(Error::NetUnreachable);
        }
        if addr_locked {
            self.source_on(bound, next)?;
        }
        if source.is_loopback() && self.way(bound, next) == Way::Tun {
            return Err(Error::Invalid);
        }
        let has_port = s.has_port;
        let (port, former) = if has_port {
            let former = self.claim_pair(Endpoint::new(source, local.port), to, true)?;
            (local.port, former)
        } else {
            self.pick_connect_port(index, source, to)?
        };
        self.touch(index);
        let local = Endpoint::new(source, port);
        let iss = match former {
            Some(former) => former.next_iss(),
            None => self.isn(local, to),
        };
        let path = {
            let s = &self.sh.sockets[index];
            self.path(s, &s.ip_options, local, to)
        };
        let now = self.now;
        let s = &mut self.sh.sockets[index];
        s.local = local;
        s.remote = to;
        s.first_hop = hop;
        s.tcb = Tcb::connect(now, iss, path, s.tcp_options, &s.sysctl);
        if let Some(former) = former {
            s.tcb.succeed(former);
        }
        if !to.addr.is_v4() {
            s.tcb.set_default_mss(DEFAULT_MSS_V6);
        }
        s.connecting = true;
        s.was_connected = false;
        if s.open {
            (s.snd_shutdown, s.rcv_shutdown) = (false, false);
        }
        if s.rcv_shutdown {
            s.tcb.shutdown_read();
        }
        s.open = true;
        s.eof = false;
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
            self.count_reset(old);
            self.trace_state(index, old, State::Closed);
            error = (old != State::TimeWait).then_some(TcpError::Reset);
        } else if self.sh.sockets[index].deferred.is_some() {
            // For Linux it is in SYN_SENT.
            error = Some(TcpError::Reset);
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
    pub(super) fn disconnect(&mut self, index: u32) {
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
        s.deferred = None;
        s.first_hop = None;
        self.sh.listening_changed(index);
        let s = &mut self.sh.sockets[index];
        (s.eof, s.snd_shutdown, s.rcv_shutdown) = (false, false, false);
        s.error = None;
        s.tcb.take_soft_error();
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
}
