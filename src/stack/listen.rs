//! Listening sockets: SYN and accept queues with Linux's arithmetic.

use super::fastopen::Fast;
use super::ip_options::{Incoming, first_hop};
use super::queue::Queue;
use super::{Error, Host, Result, SockId, Socket};
use crate::addr::Endpoint;
use crate::tcp::mib::Mib;
use crate::tcp::{Flags, Path, SeqNum, State, Tcb, initial_seq, reset_for, timestamp_offset};
use crate::wire::IpOptions;

impl Host<'_> {
    /// listen(2).
    pub fn listen(&mut self, id: SockId, backlog: i32) -> Result<()> {
        let index = self.index_of(id)?;
        let s = &self.sh.sockets[index];
        if s.open && s.tcb.state != State::Closed || s.connecting || s.was_connected {
            return Err(Error::Invalid);
        }
        // A negative backlog is a very large one (it is compared as unsigned).
        let backlog = (backlog as u32).min(s.sysctl.somaxconn);
        if s.listening {
            self.sh.sockets[index].backlog = backlog;
            return Ok(());
        }
        if !s.has_port {
            let addr = s.local.addr;
            let port = self.pick_port(index, addr)?;
            self.sh.sockets[index].local.port = port;
            self.sh.link_port(index);
        } else if self.sh.bind_conflict(index, s.local) {
            // Two sockets may share a port by SO_REUSEADDR only while neither listens.
            return Err(Error::AddrInUse);
        }
        let s = &mut self.sh.sockets[index];
        s.open = false;
        s.listening = true;
        s.backlog = backlog;
        super::fastopen::at_every_listener(s);
        self.forget_fast_resets(index);
        self.sh.listening_changed(index);
        self.trace_state(index, State::Closed, State::Listen);
        self.notify(index);
        Ok(())
    }

    /// accept(2): the first complete connection; it belongs to `owner` now.
    pub fn accept(&mut self, id: SockId, owner: super::Owner) -> Result<(SockId, Endpoint)> {
        let index = self.index_of(id)?;
        let s = &mut self.sh.sockets[index];
        if !s.listening {
            return Err(Error::Invalid);
        }
        let child = s.accept_head;
        if child == 0 {
            return match s.error.take() {
                Some(e) => Err(e.into()),
                None => Err(Error::WouldBlock),
            };
        }
        self.touch(child);
        let next = self.sh.sockets[child].accept_next;
        let s = &mut self.sh.sockets[index];
        s.accept_head = next;
        if next == 0 {
            s.accept_tail = 0;
        }
        s.accept_len -= 1;
        let c = &mut self.sh.sockets[child];
        c.accept_next = 0;
        c.embryonic = false;
        c.orphan = false;
        if !c.early {
            c.parent = SockId::default();
        }
        c.owner = owner;
        let id = SockId {
            index: child,
            generation: c.generation,
        };
        let peer = c.remote;
        self.mirror_later(index);
        Ok((id, peer))
    }

    /// Put back a connection that accept(2) took but could not give to the program.
    pub fn unaccept(&mut self, listener: SockId, child: SockId) {
        let (Ok(l), Ok(c)) = (self.index_of(listener), self.index_of(child)) else {
            return;
        };
        self.touch(c);
        let head = self.sh.sockets[l].accept_head;
        let s = &mut self.sh.sockets[c];
        s.accept_next = head;
        s.embryonic = true;
        s.orphan = true;
        s.parent = listener;
        let s = &mut self.sh.sockets[l];
        s.accept_head = c;
        if head == 0 {
            s.accept_tail = c;
        }
        s.accept_len += 1;
        self.notify(l);
    }

    /// A segment for a listening socket (RFC 9293, section 3.10.7.2).
    pub(super) fn listener_segment(
        &mut self,
        listener: u32,
        came: &Incoming<'_>,
        least_iss: SeqNum,
        payload: &mut Queue,
    ) {
        let Incoming {
            local, remote, seg, ..
        } = *came;
        if seg.flags.has(Flags::RST) {
            return;
        }
        if seg.flags.has(Flags::ACK) {
            if !self.cookie_comes_back(listener, came, payload)
                && let Some(reset) = reset_for(seg)
            {
                self.send_answer(came, reset);
            }
            return;
        }
        if !seg.flags.has(Flags::SYN) || seg.flags.has(Flags::FIN) {
            return;
        }
        self.renew_settings(listener);
        // Linux: tcp_conn_request.
        let l = &self.sh.sockets[listener];
        let cookies = l.sysctl.tcp_syncookies;
        let proven = least_iss != SeqNum(0);
        let cookie = !proven && (cookies == 2 || l.syn_len > l.backlog);
        if cookie {
            let (few, none) = (Mib::ReqQFullDoCookies, Mib::ReqQFullDrop);
            self.sh
                .counters
                .mib
                .note(if cookies == 0 { none } else { few });
        }
        if cookie && cookies == 0 {
            self.sh.counters.listen_drops += 1;
            return;
        }
        if l.accept_len > l.backlog {
            self.sh.counters.listen_overflows += 1;
            self.sh.counters.listen_drops += 1;
            return;
        }
        if cookie {
            self.send_cookie(listener, came);
            return;
        }
        // Without cookies the last quarter is for peers that are known.
        let most = l.sysctl.tcp_max_syn_backlog;
        if !proven && cookies == 0 && most.saturating_sub(l.syn_len) < most >> 2 {
            self.sh.counters.listen_drops += 1;
            return;
        }
        let iss = self.isn(local, remote);
        let iss = if proven && iss.lt(least_iss) {
            least_iss
        } else {
            iss
        };
        let fast = self.fast_open_asked(listener, local, remote, seg);
        let Some(list) = self.list_of_child(listener, came) else {
            self.sh.counters.listen_drops += 1;
            return;
        };
        let Some(child) = self.new_child(listener, came, &list, iss) else {
            self.sh.counters.no_buffers += 1;
            return;
        };
        // Else data on a SYN is not taken before the handshake is complete.
        match fast {
            Fast::No => {}
            Fast::Grant(cookie) => self.sh.sockets[child].tcb.grant(cookie),
            Fast::Open(newer) => {
                if let Some(cookie) = newer {
                    self.sh.sockets[child].tcb.grant(cookie);
                }
                self.open_early(child, seg, payload);
            }
        }
        self.trace_state(child, State::Listen, State::SynReceived);
        self.output(child);
    }

    /// A child in SYN_RECEIVED for the SYN `seg`.
    pub(super) fn new_child(
        &mut self,
        listener: u32,
        came: &Incoming<'_>,
        list: &IpOptions,
        iss: SeqNum,
    ) -> Option<u32> {
        let Incoming {
            local, remote, seg, ..
        } = *came;
        let child = self.alloc_socket()?;
        self.touch(listener);
        let l = self.sh.sockets[listener];
        let path = self.path(&l, list, local, remote);
        let mut tcb = Tcb::accept(self.now, iss, path, l.tcp_options, &l.sysctl, seg);
        if !remote.addr.is_v4() && seg.options.mss.is_none() {
            tcb.set_default_mss(super::connect::DEFAULT_MSS_V6);
        }
        let now = self.now;
        let c = &mut self.sh.sockets[child];
        let generation = c.generation;
        *c = Socket {
            generation,
            family: l.family,
            open: true,
            orphan: true,
            embryonic: true,
            young: true,
            local,
            remote,
            options: super::SocketOptions {
                priority: 0,
                ..l.options
            },
            ip_options: *list,
            first_hop: first_hop(list, local.addr),
            tcp_options: l.tcp_options,
            sysctl: l.sysctl,
            tcb,
            parent: SockId {
                index: listener,
                generation: l.generation,
            },
            owner: super::Owner {
                pid: 0,
                uid: l.owner.uid,
                inode: 0,
            },
            created: now,
            // The port came with the listener: accepted sockets keep it when they are reused.
            port_locked: true,
            addr_locked: true,
            ..super::calls::empty_socket()
        };
        self.sh.sockets[listener].syn_len += 1;
        self.sh.sockets[listener].syn_young += 1;
        self.sh.hash_connection(child);
        self.sh.link_port(child);
        Some(child)
    }

    /// The final ACK of a handshake comes too early (TCP_DEFER_ACCEPT) or finds the accept queue
    /// full: Linux drops it, and the SYN+ACK is sent again later; or the connection is reset
    /// (tcp_abort_on_overflow).
    pub(super) fn handshake_must_wait(&mut self, child: u32, came: &Incoming<'_>) -> bool {
        let seg = came.seg;
        let s = &self.sh.sockets[child];
        let (parent, old) = (s.parent, s.tcb.state);
        if !s.tcb.would_complete(self.now, seg) {
            return false;
        }
        let Ok(listener) = self.index_of(parent) else {
            return false;
        };
        let l = &self.sh.sockets[listener];
        // TCP_DEFER_ACCEPT: a bare ACK does not complete the handshake, data does.
        let defer = super::options::periods_in(l.options.defer_accept);
        let bare = seg.end() == s.tcb.rcv_nxt();
        if bare && s.tcb.synack_timeouts() < defer {
            self.touch(child);
            self.sh.sockets[child].tcb.handshake_waits(defer);
            self.sh.counters.mib.note(Mib::DeferAcceptDrop);
            return true;
        }
        if l.accept_len <= l.backlog {
            return false;
        }
        self.sh.counters.listen_overflows += 1;
        self.sh.counters.listen_drops += 1;
        self.renew_settings(listener);
        let aborts = self.sh.sockets[listener].sysctl.tcp_abort_on_overflow != 0;
        self.touch(child);
        let tcb = &mut self.sh.sockets[child].tcb;
        if !aborts {
            tcb.handshake_waits(defer);
            return true;
        }
        let outcome = tcb.refuse(seg);
        if let Some(reset) = outcome.reset {
            self.send_answer(came, reset);
        }
        self.settle(child, old, outcome);
        true
    }

    /// The handshake is complete: a child joins its listener's accept queue.
    pub(super) fn connected(&mut self, index: u32) {
        let s = &self.sh.sockets[index];
        if !s.embryonic || s.tcb.is_early() {
            self.grow_send_buffer(index);
            return;
        }
        self.grow_send_buffer(index);
        self.queue_child(index);
    }

    /// A child joins its listener's accept queue.
    pub(super) fn queue_child(&mut self, index: u32) {
        let parent = self.sh.sockets[index].parent;
        let Ok(l) = self.index_of(parent) else { return };
        self.touch(l);
        self.sh.counters.passive_opens += 1;
        let tail = self.sh.sockets[l].accept_tail;
        if tail == 0 {
            self.sh.sockets[l].accept_head = index;
        } else {
            self.sh.sockets[tail].accept_next = index;
        }
        let l_socket = &mut self.sh.sockets[l];
        l_socket.accept_tail = index;
        l_socket.accept_len += 1;
        l_socket.edge = true;
        l_socket.syn_len = l_socket.syn_len.saturating_sub(1);
        self.grows_old(index, l);
        self.notify(l);
    }

    /// A child of listener `l` is not young any more.
    fn grows_old(&mut self, child: u32, l: u32) {
        if core::mem::take(&mut self.sh.sockets[child].young) {
            let l = &mut self.sh.sockets[l];
            l.syn_young = l.syn_young.saturating_sub(1);
        }
    }

    /// The timer of a child's SYN-ACK is due: how often it may have been repeated before. While
    /// the queue is more than half full, half of it is kept for the young: the older a child is
    /// the sooner it goes (Linux: `reqsk_timer_handler`).
    pub(super) fn synack_timer(&mut self, child: u32) -> Option<u8> {
        let s = &self.sh.sockets[child];
        if !s.embryonic || s.tcb.state != State::SynReceived || s.tcb.is_early() {
            return None;
        }
        let l = self.index_of(s.parent).ok()?;
        let mut most = s.tcb.synack_retries();
        self.touch(l);
        let listener = &self.sh.sockets[l];
        let len = listener.syn_len;
        if len.saturating_mul(2) > listener.backlog.max(8) {
            let mut young = listener.syn_young.saturating_mul(2);
            while most > 2 && len >= young {
                most -= 1;
                young = young.saturating_mul(2);
            }
        }
        self.grows_old(child, l);
        Some(most)
    }

    /// A child that is over leaves its listener's queues.
    pub(super) fn leave_listener(&mut self, index: u32) {
        let s = &self.sh.sockets[index];
        if !s.embryonic {
            return;
        }
        let (parent, next, complete) = (s.parent, s.accept_next, s.was_connected);
        let Ok(l) = self.index_of(parent) else { return };
        self.touch(l);
        if !complete {
            let l_socket = &mut self.sh.sockets[l];
            l_socket.syn_len = l_socket.syn_len.saturating_sub(1);
            self.grows_old(index, l);
            return;
        }
        // Unlink from the accept queue.
        let mut prev = 0;
        let mut i = self.sh.sockets[l].accept_head;
        while i != 0 && i != index {
            prev = i;
            i = self.sh.sockets[i].accept_next;
        }
        if i == 0 {
            return;
        }
        if prev == 0 {
            self.sh.sockets[l].accept_head = next;
        } else {
            self.sh.sockets[prev].accept_next = next;
        }
        let l = &mut self.sh.sockets[l];
        if l.accept_tail == index {
            l.accept_tail = prev;
        }
        l.accept_len = l.accept_len.saturating_sub(1);
    }

    /// The listener closes: its children are reset (Linux: inet_csk_listen_stop).
    pub(super) fn drop_children(&mut self, listener: u32) {
        let id = {
            let s = &self.sh.sockets[listener];
            SockId {
                index: listener,
                generation: s.generation,
            }
        };
        // Complete ones are in the queue; those in SYN_RECEIVED are found by their port.
        let port = usize::from(self.sh.sockets[listener].local.port);
        let mut i = self.sh.port_table[port];
        while i != 0 {
            let s = &self.sh.sockets[i];
            let next = s.port_next;
            if s.embryonic && s.parent == id {
                self.drop_child(i);
            }
            i = next;
            if self.sh.looped.is_full() {
                // What that frees may be any socket of this port.
                self.deliver_looped();
                i = self.sh.port_table[port];
            }
        }
        let s = &mut self.sh.sockets[listener];
        (s.accept_head, s.accept_tail, s.accept_len) = (0, 0, 0);
        (s.syn_len, s.syn_young) = (0, 0);
    }

    /// A child goes with its listener: a half-open one silently, a complete one with a RST.
    pub(super) fn drop_child(&mut self, child: u32) {
        let touched = self.sh.journal_len;
        self.touch(child);
        let s = &mut self.sh.sockets[child];
        s.embryonic = false;
        let old = s.tcb.state;
        if s.was_connected {
            s.tcb.abort(self.now);
            self.output(child);
            self.count_reset(old);
            self.trace_state(child, old, State::Closed);
        }
        self.free(child);
        self.settled(touched);
    }

    /// The initial sequence number for a pair (RFC 6528).
    pub(super) fn isn(&self, local: Endpoint, remote: Endpoint) -> SeqNum {
        initial_seq(self.now, &self.sh.secret, &tuple(local, remote))
    }

    /// What a connection of `s` needs to know of its path.
    pub(super) fn path(
        &self,
        s: &Socket,
        list: &IpOptions,
        local: Endpoint,
        remote: Endpoint,
    ) -> Path {
        let mut both = [0u8; 32];
        both[..16].copy_from_slice(&local.addr.0);
        both[16..].copy_from_slice(&remote.addr.0);
        Path {
            mss: self.path_mss(local.addr, remote.addr),
            header: if remote.addr.is_v4() { 40 } else { 60 },
            ip_options: if remote.addr.is_v4() { list.len() } else { 0 },
            rcv_buf: s.options.rcvbuf,
            rcv_buf_locked: s.options.rcvbuf_locked,
            ts_offset: timestamp_offset(&self.sh.secret, &both),
        }
    }
}

/// Addresses and ports in bytes, to be hashed.
pub(super) fn tuple(local: Endpoint, remote: Endpoint) -> [u8; 36] {
    let mut tuple = [0u8; 36];
    tuple[..16].copy_from_slice(&local.addr.0);
    tuple[16..32].copy_from_slice(&remote.addr.0);
    tuple[32..34].copy_from_slice(&local.port.to_be_bytes());
    tuple[34..].copy_from_slice(&remote.port.to_be_bytes());
    tuple
}
