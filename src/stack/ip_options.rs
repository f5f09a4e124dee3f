//! IPv4's options of sockets and of packets (IP_OPTIONS; `wire/ip_options.rs` knows what is in
//! them): what a connection sends with each segment, and what a listener's children answer with.

use super::devices::Way;
use super::{Error, Host, Result, SockId, Socket};
use crate::addr::{Addr, Endpoint};
use crate::sys;
use crate::tcp::{Segment, State};
use crate::wire::{IpOptions, Mark};
use core::net::{IpAddr, Ipv4Addr};

const MILLIS_A_DAY: u128 = 24 * 3600 * 1000;
/// What Linux calls the size of segments where there is no connection, once IP_OPTIONS was set: no
/// path, but the header that isn't there yet.
const HEADER: u16 = 20;

/// A segment that came, and from where to where.
#[derive(Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    pub(super) seg: &'a Segment,
    /// IPv4's options, with what this host has written into them.
    pub(super) options: &'a IpOptions,
}

impl Incoming<'_> {
    /// What IPv4's options of an answer are. `None`: there can be no answer.
    pub(super) fn echo(&self) -> Option<IpOptions> {
        match (self.options.is_empty(), self.remote.addr.ip()) {
            (false, IpAddr::V4(src)) => self.options.echo(src),
            _ => Some(IpOptions::NONE),
        }
    }
}

/// The first hop of a list's source route. As in any route, 0.0.0.0 is this host: `own`.
pub(super) fn first_hop(list: &IpOptions, own: Addr) -> Option<Addr> {
    if list.is_empty() {
        return None;
    }
    let hop = list.first_hop().map(Addr::v4)?;
    Some(if hop.is_any() { own } else { hop })
}

impl Socket {
    /// Where its packets go first: to its peer, or to the first hop of the source route that it had
    /// when its connection was opened.
    // RFC 9293 MUST-51
    pub(super) fn next_hop(&self) -> Addr {
        self.first_hop.unwrap_or(self.remote.addr)
    }

    /// An IPv4 connection, or a socket that may become one.
    fn counts_ip_options(&self) -> bool {
        let connected = self.open && self.tcb.state != State::Closed;
        connected || self.family == super::Family::V4
    }
}

impl Host<'_> {
    /// IP_OPTIONS: each packet of the socket has these from now on.
    // RFC 9293 MUST-52
    pub fn set_ip_options(&mut self, id: SockId, list: &IpOptions) -> Result<()> {
        let index = self.index_of(id)?;
        self.touch(index);
        let s = &mut self.sh.sockets[index];
        let old = core::mem::replace(&mut s.ip_options, *list).len();
        if s.open && s.tcb.state != State::Closed {
            s.tcb.change_ip_options(old, list.len());
        } else if s.counts_ip_options() {
            s.idle_mss = s.sysctl.tcp_min_snd_mss.saturating_add(HEADER);
        }
        Ok(())
    }

    /// The socket's list, as a program would give it.
    pub fn ip_options(&self, id: SockId) -> Result<IpOptions> {
        Ok(self.socket(id)?.ip_options)
    }

    /// The list of a packet from `src` to `to`, whatever its first hop.
    pub(super) fn list_to_send(&self, list: &IpOptions, src: Addr, to: Addr) -> IpOptions {
        let (IpAddr::V4(address), IpAddr::V4(to)) = (src.ip(), to.ip()) else {
            return IpOptions::NONE;
        };
        let mut list = *list;
        list.towards(to);
        self.write_into(&mut list, address, false);
        list
    }

    /// This host's address and the time, where a list asks for them.
    fn write_into(&self, list: &mut IpOptions, address: Ipv4Addr, received: bool) {
        let elsewhere = |a: Ipv4Addr| {
            let a = Addr::v4(a);
            !a.is_any() && !a.is_multicast() && !self.is_broadcast(a) && !self.is_local(a)
        };
        list.record(&Mark {
            address,
            time: (sys::wall_clock().as_millis() % MILLIS_A_DAY) as u32,
            elsewhere: &elsewhere,
            received,
        });
    }

    /// A packet for `dst` came with options: what this host writes into them, and for whom the
    /// packet is at the end of its source route. `None`: it is not taken.
    // RFC 1122 S3.2.1.8-4
    #[cold]
    pub(super) fn hear_options(&self, dst: Addr, list: &[u8]) -> Option<(Addr, IpOptions)> {
        let mut list = IpOptions::received(list);
        let IpAddr::V4(address) = dst.ip() else {
            return None;
        };
        self.write_into(&mut list, address, true);
        if !list.has_route() {
            return Some((dst, list));
        }
        if self.ip_settings().accept_source_route == 0 {
            return None;
        }
        // Nothing is forwarded: all that is left of the route is here.
        let mut last = dst;
        for hop in list.hops_left()? {
            last = Addr::v4(hop);
            let here = self.is_ours(last) || dst.is_loopback() && last.is_loopback();
            if !here {
                return None;
            }
        }
        Some((last, list))
    }

    /// No router may be between this host and the first hop, but one is.
    pub(super) fn strict_route_fails(&self, list: &IpOptions, hop: Addr, way: Way) -> bool {
        let c = &self.sh.config;
        !list.is_empty() && list.is_strict() && way == Way::Tun && !hop.same_net(c.addr4, c.prefix4)
    }

    /// Send what answers a segment of no connection: with the options that it came with.
    pub(super) fn send_answer(&mut self, came: &Incoming<'_>, answer: Segment) {
        if let Some(list) = came.echo() {
            self.send_stray(came.local, came.remote, answer, &list);
        }
    }

    /// The socket is in TIME_WAIT: it answers with what comes, as if it were no connection.
    pub(super) fn answers_in_kind(&mut self, index: u32, came: &Incoming<'_>) {
        let s = &mut self.sh.sockets[index];
        if s.orphan && !(s.ip_options.is_empty() && came.options.is_empty()) {
            let list = came.echo().unwrap_or_default();
            s.tcb.change_ip_options(s.ip_options.len(), list.len());
            (s.ip_options, s.first_hop) = (list, first_hop(&list, s.local.addr));
        }
    }

    /// The list of a child for the SYN (or the cookie) that came. `None`: there is no way back.
    pub(super) fn list_of_child(&self, listener: u32, came: &Incoming<'_>) -> Option<IpOptions> {
        if came.options.is_empty() {
            return Some(IpOptions::NONE);
        }
        // What can't be answered is forgotten.
        let list = came.echo().unwrap_or_default();
        let hop = first_hop(&list, came.local.addr).unwrap_or(came.remote.addr);
        let way = self.way(self.sh.sockets[listener].options.bound_if, hop);
        (!self.strict_route_fails(&list, hop, way)).then_some(list)
    }
}

/// connect(2) of a socket with a source route goes to its first hop.
pub(super) fn hop_of_connect(list: &IpOptions, to: Addr) -> Result<Option<Addr>> {
    let hop = first_hop(list, Addr::v4(Ipv4Addr::LOCALHOST)).filter(|_| to.is_v4());
    if hop.is_some() && to.is_any() {
        return Err(Error::Invalid);
    }
    Ok(hop)
}
