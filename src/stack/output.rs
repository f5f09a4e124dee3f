//! Segments out: from a connection to the device, or straight to another socket of this host.

use super::buffers::BufId;
use super::devices::Way;
use super::impair::attention;
use super::ip_options::{Incoming, first_hop};
use super::queue::{Queue, pools};
use super::recover::in_this_order;
use super::{Host, Shared};
use crate::addr::{Addr, Endpoint};
use crate::link::{self, Sent, VnetHdr};
use crate::tcp::{Events, Flags, Outcome, Segment, State, Transmit};
use crate::trace::{Direction, Event, What};
use crate::wire::{self, IpOptions};

/// MTU of the loopback, as Linux's `lo` has it.
pub const LOOPBACK_MTU: u32 = 65536;
/// Segments that may wait for delivery on the loopback.
const LOOP_SLOTS: usize = 256;
/// The most parts of payload in one write to the device. Every part but the first and the
/// last fills its buffer, so 64 KiB are never more than 34.
const MAX_PARTS: usize = link::MAX_PARTS - 1;

/// What a packet's IP header says, beside the addresses.
pub(super) struct IpFields<'a> {
    pub(super) tos: u8,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// Routers may not cut it.
    pub(super) whole: bool,
    /// IPv4's.
    pub(super) options: &'a IpOptions,
}

impl<'a> IpFields<'a> {
    /// The header of a packet with them.
    pub(super) fn between(&self, src: Addr, dst: Addr, id: u16) -> wire::IpHeader<'a> {
        wire::IpHeader {
            src: src.ip(),
            dst: dst.ip(),
            tos: self.tos,
            ttl: self.ttl,
            id,
            options: self.options,
        }
    }
}

/// A segment on its way between two sockets of this host; its payload shares the sender's
/// buffers.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Looped {
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) segment: Segment,
    pub(super) payload: Queue,
    /// IPv4's options, as they would be in a packet.
    pub(super) options: IpOptions,
    /// It was lost: its payload with the recovery after a death.
    lost: bool,
}

/// Segments on the loopback, in order: those from `head` up to `tail` (counted without end).
///
/// After a death in the lock those that carry something are lost, as on any network, and sent
/// again; but a RST is sent only once, by a connection that is no more. So one that was pushed
/// is delivered: `tail` moves when the slot has been written, `head` when the segment has been
/// dealt with.
#[repr(C)]
pub struct LoopQueue {
    head: u32,
    tail: u32,
    slots: [Looped; LOOP_SLOTS],
}

impl LoopQueue {
    /// Lose all but the RSTs (the payload's references are forgotten).
    pub(super) fn lose(&mut self) {
        if self.len() as usize > LOOP_SLOTS {
            self.head = self.tail;
        }
        for i in 0..self.len() {
            let l = &mut self.slots[self.head.wrapping_add(i) as usize % LOOP_SLOTS];
            l.payload = Queue::default();
            l.lost = !l.segment.flags.has(Flags::RST);
        }
    }
    /// How many segments wait.
    pub(super) fn len(&self) -> u32 {
        self.tail.wrapping_sub(self.head)
    }
    /// Their payloads.
    pub(super) fn payloads(&self) -> impl Iterator<Item = &Queue> {
        let places = (0..self.len()).map(|i| self.head.wrapping_add(i) as usize % LOOP_SLOTS);
        places.map(|at| &self.slots[at].payload)
    }
    pub(super) fn is_full(&self) -> bool {
        self.len() as usize >= LOOP_SLOTS
    }
    pub(super) fn push(&mut self, l: Looped) {
        self.slots[self.tail as usize % LOOP_SLOTS] = l;
        in_this_order();
        self.tail = self.tail.wrapping_add(1);
    }
    /// The first one; to be dealt with, and then dropped.
    fn first(&self) -> Option<Looped> {
        (self.len() > 0).then(|| self.slots[self.head as usize % LOOP_SLOTS])
    }
    fn drop_first(&mut self) {
        in_this_order();
        self.head = self.head.wrapping_add(1);
    }
}

impl Host<'_> {
    /// This host has the address.
    pub fn is_local(&self, a: Addr) -> bool {
        let c = &self.sh.config;
        a.is_loopback() || !a.is_any() && (a == c.addr4 || a == c.addr6)
    }

    /// A broadcast address of this host: TCP may bind it, though nothing will come.
    pub(super) fn is_broadcast(&self, a: Addr) -> bool {
        let c = &self.sh.config;
        let host_bits = u32::MAX.checked_shr(c.prefix4.into()).unwrap_or(0);
        let last = |a: Addr| u32::from_be_bytes([a.0[12], a.0[13], a.0[14], a.0[15]]);
        a.is_v4()
            && (last(a) == u32::MAX
                || last(a) == 0x7fff_ffff
                || a.same_net(c.addr4, c.prefix4) && last(a) & host_bits == host_bits)
    }

    /// The largest segment payload on the way to `remote`, without TCP options.
    // RFC 9293 MUST-67
    // RFC 1122 S3.3.3-2
    pub(super) fn path_mss(&self, local: Addr, remote: Addr) -> u16 {
        let mtu = if self.is_local(remote) && self.is_local(local) {
            LOOPBACK_MTU
        } else {
            u32::from(self.sh.config.mtu.max(576))
        };
        let headers = if remote.is_v4() { 40 } else { 60 };
        let mtu = match self.sh.learnt_mtu(remote, self.now) {
            Some((learnt, _)) => mtu.min(learnt),
            None => mtu,
        };
        // Linux: lo's MSS is 65495 for IPv4 (the IP packet is at most 65535), 65476 for IPv6.
        (mtu.min(if remote.is_v4() { 65535 } else { 65536 }) - headers) as u16
    }

    /// Poll every segment that the connection has to send.
    pub(super) fn output(&mut self, index: u32) {
        self.output_some(index, u32::MAX);
        self.collect(index);
    }

    /// Count what happened to the connection of the socket at `index`.
    pub(super) fn collect(&mut self, index: u32) {
        let Some(s) = self.sh.sockets.get_mut(index) else {
            return;
        };
        if let Some(noted) = s.tcb.take_noted() {
            self.sh.counters.mib.add(&noted);
        }
    }

    /// A call to send has filled what would be an sk_buff, and has more: Linux sends one packet if
    /// nothing waits before it, and all it may when half a window is written (`forced_push`).
    pub(super) fn filled_one(&mut self, index: u32) {
        let s = &mut self.sh.sockets[index];
        if s.tcb.wrote_half_window() {
            if self.sh.config.offload {
                s.tcb.app_wrote(self.now, 0);
            }
            s.tcb.push();
            self.output(index);
        } else if s.tcb.unsent() <= s.tx.tail_skb {
            s.tcb.push();
            self.output_some(index, 1);
            self.collect(index);
        }
    }

    /// Poll so many segments that the connection has to send.
    fn output_some(&mut self, index: u32, most: u32) {
        let Some(s) = self.sh.sockets.get(index) else {
            return;
        };
        if !s.open {
            return;
        }
        let (local, remote) = (s.local, s.remote);
        self.follow_path(index);
        let s = &self.sh.sockets[index];
        let next = Endpoint::new(s.next_hop(), remote.port);
        let way = self.way(s.options.bound_if, next.addr);
        let max_payload = if way == Way::Tun && self.sh.config.offload {
            let mss = u32::from(s.tcb.mss()).max(1);
            (65535 - wire::MAX_HEADERS as u32) / mss * mss
        } else {
            0
        };
        for _ in 0..most {
            if way == Way::Loop && self.sh.looped.is_full() {
                if !self.sh.sockets[index].tx_pending && self.sh.tx_waiting.push(index) {
                    self.sh.sockets[index].tx_pending = true;
                }
                break;
            }
            self.find_record_end(index);
            let Shared { sockets, sent, .. } = &mut *self.sh;
            let tcb = &mut sockets[index].tcb;
            let Some(tx) = tcb.poll_transmit(self.now, max_payload, sent) else {
                break;
            };
            self.transmit(index, local, next, &tx, way);
        }
        if self.sh.sockets[index].tcb.state == State::Closed {
            self.forget_sent(index);
        }
        self.arm(index);
    }

    /// Tell the connection where MSG_EOR cuts what is not sent yet.
    fn find_record_end(&mut self, index: u32) {
        let s = &self.sh.sockets[index];
        if s.tx.eors == 0 {
            return;
        }
        let (tx, sent) = (s.tx, s.tcb.snd_nxt() - s.tcb.snd_una());
        let end = tx.record_end(&pools!(self.sh), sent).unwrap_or(0);
        self.sh.sockets[index].tcb.set_record_end(end);
    }

    /// Nothing of the connection is in flight any more, as far as it is concerned.
    pub(super) fn forget_sent(&mut self, index: u32) {
        let Shared { sockets, sent, .. } = &mut *self.sh;
        if let Some(s) = sockets.get_mut(index) {
            s.tcb.forget_sent(sent);
        }
    }

    /// Send a segment to `remote`, or to the first hop of its source route.
    fn transmit(&mut self, index: u32, local: Endpoint, remote: Endpoint, tx: &Transmit, way: Way) {
        let mut segment = tx.segment;
        segment.src_port = local.port;
        segment.dst_port = remote.port;
        let pieces = u64::from(segment.len.div_ceil(tx.mss.max(1).into()).max(1));
        if segment.flags.has(Flags::RST) {
            self.sh.counters.out_rsts += 1;
        }
        // tcpOutSegs: "excluding those containing only retransmitted octets"; but Linux makes a
        // listener's SYN+ACK anew. Where both opened, a SYN+ACK is the SYN, sent again, which counts
        // for nothing the first time.
        let syn_ack = segment.flags.has(Flags::SYN) && segment.flags.has(Flags::ACK);
        let tcb = &self.sh.sockets[index].tcb;
        let anew = syn_ack && tcb.is_passive();
        if tx.retransmit && (anew || !syn_ack || tcb.has_timed_out()) {
            self.sh.counters.retrans_segs += pieces;
        }
        if !tx.retransmit || anew {
            self.sh.counters.out_segs += pieces;
        }
        let direction = if way == Way::Tun {
            Direction::Out
        } else {
            Direction::Loop
        };
        self.trace_segment(index, direction, local, remote, &segment, tx.retransmit);
        if segment.len > 0 && !tx.retransmit {
            self.stamps_sent(index, segment.seq, segment.len);
        }
        let s = &self.sh.sockets[index];
        let (tx_queue, list) = (s.tx, &s.ip_options);
        let options = if list.is_empty() {
            IpOptions::NONE
        } else {
            self.list_to_send(list, local.addr, s.remote.addr)
        };
        if way == Way::Nowhere || self.strict_route_fails(list, remote.addr, way) {
            self.sh.counters.loop_drops += 1;
        } else if way == Way::Loop {
            let mut p = pools!(self.sh);
            let first = segment.seq + u32::from(segment.flags.has(Flags::SYN));
            let Some(payload) = tx_queue.share(&mut p, tx.offset, segment.len, first) else {
                self.sh.counters.no_buffers += 1;
                return;
            };
            let l = Looped {
                src: local.addr,
                dst: remote.addr,
                segment,
                payload,
                options,
                lost: false,
            };
            self.onto_the_loopback(l);
        } else {
            let o = &self.sh.sockets[index].options;
            let tos = if local.addr.is_v4() { o.tos } else { o.tclass };
            // RFC 9293 MUST-48, MUST-49, SHLD-21, SHLD-22
            // RFC 1122 S3.2.1.6-1, S3.2.1.7-1, S3.2.1.7-3
            let ip = IpFields {
                tos: tos & !3 | segment.ecn,
                ttl: self.sh.sockets[index].hops(),
                whole: self.forbids_fragments(index),
                options: &options,
            };
            self.send_to_device(local, remote, &segment, tx_queue, (tx.offset, tx.mss), &ip);
        }
    }

    /// The payload is `queue`'s from an offset on, to be cut to a size.
    fn send_to_device(
        &mut self,
        local: Endpoint,
        remote: Endpoint,
        segment: &Segment,
        queue: Queue,
        (offset, mss): (u32, u16),
        ip: &IpFields<'_>,
    ) {
        if self.sh.attention & attention::OUT != 0 {
            return self.send_attended(local, remote, segment, queue, (offset, mss), ip);
        }
        let offload = self.sh.config.offload;
        self.sh.ip_id = self.sh.ip_id.wrapping_add(1);
        let id = self.sh.ip_id;
        let p = pools!(self.sh);
        // The payload's pieces, behind a place for the headers.
        let mut parts: [&[u8]; MAX_PARTS + 1] = [&[]; MAX_PARTS + 1];
        let mut count = 1;
        let (mut skip, mut left) = (offset as usize, segment.len as usize);
        let (mut i, mut last) = (queue.head, (BufId::NONE, 0..0));
        while i != 0 && left > 0 && count <= MAX_PARTS {
            let c = p.chunks[i];
            if skip >= c.len as usize {
                skip -= c.len as usize;
            } else {
                let n = (c.len as usize - skip).min(left);
                let start = c.off as usize + skip;
                // Pieces may be small, and very many, but then they lie side by side.
                let (buf, range) = &mut last;
                if *buf == c.buf && range.end == start {
                    range.end += n;
                    count -= 1;
                } else {
                    last = (c.buf, start..start + n);
                }
                parts[count] = p.buffers.bytes(c.buf).get(last.1.clone()).unwrap_or(&[]);
                count += 1;
                left -= n;
                skip = 0;
            }
            i = c.next;
        }
        if left > 0 {
            // The queue holds less than the connection believes: nothing sane can be sent.
            debug_assert!(false, "send queue shorter than the connection's");
            return;
        }
        let mut headers = [0u8; wire::MAX_HEADERS];
        let checksum = if offload {
            wire::Checksum::Partial
        } else {
            wire::Checksum::Full
        };
        let header = ip.between(local.addr, remote.addr, id);
        let payload = &parts[1..count];
        let (len, ip_len) = wire::emit_tcp(&header, segment, payload, checksum, &mut headers);
        if !ip.whole {
            wire::allow_fragments(&mut headers);
        }
        parts[0] = &headers[..len];
        let vnet = if offload {
            let cwr = segment.flags.has(Flags::CWR);
            VnetHdr::tcp(len, ip_len, remote.addr.is_v4(), segment.len, mss, cwr)
        } else {
            VnetHdr::PLAIN
        };
        if self.device.send(&vnet, &parts[..count]) != Sent::Done {
            self.sh.counters.device_drops += 1;
        }
    }

    fn onto_the_loopback(&mut self, l: Looped) {
        if self.sh.attention & attention::LOOP != 0 {
            self.loop_attended(l);
        } else {
            self.sh.looped.push(l);
        }
    }

    /// Send a segment that belongs to no connection: a RST, or a SYN+ACK that is not remembered.
    pub(super) fn send_stray(
        &mut self,
        local: Endpoint,
        remote: Endpoint,
        mut segment: Segment,
        list: &IpOptions,
    ) {
        segment.src_port = local.port;
        segment.dst_port = remote.port;
        self.sh.counters.out_segs += 1;
        self.sh.counters.out_rsts += u64::from(segment.flags.has(Flags::RST));
        let next = first_hop(list, local.addr).unwrap_or(remote.addr);
        let options = if list.is_empty() {
            IpOptions::NONE
        } else {
            self.list_to_send(list, local.addr, remote.addr)
        };
        if self.is_local(next) {
            self.trace_segment(0, Direction::Loop, local, remote, &segment, false);
            if self.sh.looped.is_full() {
                self.sh.counters.loop_drops += 1;
                return;
            }
            self.onto_the_loopback(Looped {
                src: local.addr,
                dst: next,
                segment,
                options,
                ..Looped::default()
            });
        } else {
            self.trace_segment(0, Direction::Out, local, remote, &segment, false);
            let ip = IpFields {
                tos: 0,
                ttl: 64,
                whole: true,
                options: &options,
            };
            let next = Endpoint::new(next, remote.port);
            self.send_to_device(local, next, &segment, Queue::default(), (0, 0), &ip);
        }
    }

    fn looped_arrives(&mut self, mut l: Looped) {
        if !l.options.is_empty() {
            match self.hear_options(l.dst, l.options.as_bytes()) {
                Some((dst, list)) => (l.dst, l.options) = (dst, list),
                None => return l.payload.clear(&mut pools!(self.sh)),
            }
        }
        let came = Incoming {
            local: Endpoint::new(l.dst, l.segment.dst_port),
            remote: Endpoint::new(l.src, l.segment.src_port),
            seg: &l.segment,
            options: &l.options,
        };
        self.segment_arrives(&came, l.payload);
    }

    /// Hand every segment on the loopback to its receiver, those included that this provokes.
    pub(super) fn deliver_looped(&mut self) {
        let touched = self.sh.journal_len;
        loop {
            while let Some(l) = self.sh.looped.first() {
                if !l.lost {
                    self.looped_arrives(l);
                }
                self.sh.looped.drop_first();
                self.settled(touched);
            }
            // Whoever found the loopback full goes on now.
            let Some(index) = self.sh.tx_waiting.pop() else {
                break;
            };
            if self.sh.sockets.is_in_use(index) {
                self.touch(index);
                self.sh.sockets[index].tx_pending = false;
                self.output(index);
                self.settled(touched);
            }
        }
    }

    /// Something was acknowledged, and what that let go was sent (Linux: tcp_check_space,
    /// tcp_new_space): a send buffer for which a program waits grows, but not while the congestion
    /// window is full, for then it isn't the buffer that holds the connection up.
    fn make_space(&mut self, index: u32) {
        let Some(s) = self.sh.sockets.get(index).filter(|s| s.tcb.has_no_space()) else {
            return;
        };
        if !s.tcb.fills_cwnd() {
            self.grow_send_buffer(index);
        }
        let s = &mut self.sh.sockets[index];
        if s.writable() {
            s.tcb.set_no_space(self.now, false);
        }
    }

    /// After a connection has processed something: drop what was acknowledged, report, send,
    /// re-arm; free the socket if it is over and nobody holds it.
    pub(super) fn settle(&mut self, index: u32, old: State, outcome: Outcome) {
        let Some(s) = self.sh.sockets.get_mut(index) else {
            return;
        };
        let e = outcome.events;
        if outcome.acked > 0 {
            let mut tx = s.tx;
            tx.consume(&mut pools!(self.sh), outcome.acked);
            self.sh.sockets[index].tx = tx;
            self.stamps_acked(index);
        }
        self.output(index);
        if outcome.acked > 0 {
            self.make_space(index);
        }
        if self.sh.sockets[index].tcb.state == State::TimeWait
            && old != State::TimeWait
            && self.time_waits_are_many(index)
        {
            // Its last ACK is on its way; should that be lost, the peer gets a RST.
            self.sh.sockets[index].tcb.end_time_wait();
        }
        let s = &mut self.sh.sockets[index];
        let new = s.tcb.state;
        if e.has(Events::CONNECTED) {
            s.was_connected = true;
        }
        if e.has(Events::PEER_FIN) {
            s.eof = true;
            // What lies beyond it is nonsense (Linux: tcp_fin).
            let mut ooo = core::mem::take(&mut s.ooo);
            ooo.clear(&mut pools!(self.sh));
        }
        let s = &mut self.sh.sockets[index];
        s.edge |= e.0 & (Events::READABLE.0 | Events::PEER_FIN.0) != 0;
        if e.has(Events::URGENT) || !matches!(s.urgent, super::urgent::Urgent::None) {
            self.update_urgent(index);
        }
        let s = &mut self.sh.sockets[index];
        if e.has(Events::ERROR) {
            s.error = s.tcb.error();
        }
        self.trace_state(index, old, new);
        if e.has(Events::FAST_OPEN_SWALLOWED) {
            self.sh.pause_fast_open(self.now);
        }
        if new == State::TimeWait && old != State::TimeWait {
            // What it tells is of now, not of a minute later.
            self.judge_fast_open(index);
        }
        if new != State::SynReceived {
            let s = &self.sh.sockets[index];
            let (listener, error) = (s.parent, s.tcb.error());
            let reset = s.early && !s.embryonic && error == Some(crate::tcp::TcpError::Reset);
            self.no_longer_early(index);
            if reset && old == State::SynReceived {
                self.fast_reset_counts(listener);
            }
        }
        if e.has(Events::CONNECTED) {
            self.fast_open_answered(index);
            self.connected(index);
        }
        if new == State::Closed {
            self.connection_over(index, old);
        } else if e.0 & !(Events::STATE.0) != 0
            || old != new
            || self.sh.sockets[index].options.notsent_lowat != 0
        {
            self.notify(index);
        }
        self.tally(index);
        self.arm(index);
    }

    /// From `old` a connection went to CLOSED at once.
    pub(super) fn count_reset(&mut self, old: State) {
        let open = matches!(old, State::Established | State::CloseWait);
        self.sh.counters.estab_resets += u64::from(open);
    }

    /// The connection is CLOSED: nothing finds it any more; the socket stays while a descriptor
    /// refers to it.
    pub(super) fn connection_over(&mut self, index: u32, old: State) {
        let s = &self.sh.sockets[index];
        match old {
            // For Linux a listener's child is no socket yet.
            State::SynReceived if s.embryonic && !s.was_connected => {}
            State::SynSent | State::SynReceived => self.sh.counters.attempt_fails += 1,
            _ => self.count_reset(old),
        }
        self.no_longer_early(index);
        if old != State::TimeWait {
            self.judge_fast_open(index);
        }
        self.disarm(index);
        self.sh.unhash_connection(index);
        let s = &mut self.sh.sockets[index];
        // A complete connection that waits for accept is still given to it, with its error.
        if s.orphan && !(s.embryonic && s.was_connected) {
            self.leave_listener(index);
            self.free(index);
            return;
        }
        s.snd_shutdown = true;
        s.rcv_shutdown = true;
        let (mut tx, mut ooo) = (s.tx, s.ooo);
        tx.clear(&mut pools!(self.sh));
        ooo.clear(&mut pools!(self.sh));
        let s = &mut self.sh.sockets[index];
        (s.tx, s.ooo) = (tx, ooo);
        if !s.port_locked {
            self.sh.unlink_port(index);
        }
        self.notify(index);
    }

    pub(super) fn trace_segment(
        &mut self,
        index: u32,
        direction: Direction,
        src: Endpoint,
        dst: Endpoint,
        segment: &Segment,
        retransmit: bool,
    ) {
        if self.sh.trace.enabled() {
            let what = What::Segment {
                direction,
                src,
                dst,
                segment: *segment,
                retransmit,
            };
            self.trace(index, what);
        }
    }

    pub(super) fn trace_state(&mut self, index: u32, old: State, new: State) {
        if old != new && self.sh.trace.enabled() {
            let s = &self.sh.sockets[index];
            let what = What::State {
                old,
                new,
                local: s.local,
                remote: s.remote,
            };
            self.trace(index, what);
        }
    }

    /// Record an event about socket `index` (0: none).
    pub fn trace(&mut self, index: u32, what: What) {
        let socket = self
            .sh
            .sockets
            .get(index)
            .map_or(0, |s| self.id_of(index, s).number());
        let (time, pid, tid) = (self.sh.pace.real(self.now), self.pid, self.tid);
        self.sh.trace.push(Event {
            number: 0,
            time,
            pid,
            tid,
            socket,
            what,
        });
    }
}

/// Sockets that wait for room on the loopback.
#[repr(C)]
pub struct TxWaiting {
    len: u32,
    sockets: [u32; LOOP_SLOTS],
}

impl TxWaiting {
    /// Forget everything.
    pub fn clear(&mut self) {
        self.len = 0;
    }
    /// Add `index`; false when there is no place.
    fn push(&mut self, index: u32) -> bool {
        match self.sockets.get_mut(self.len as usize) {
            Some(place) => {
                *place = index;
                self.len += 1;
                true
            }
            None => false,
        }
    }
    fn pop(&mut self) -> Option<u32> {
        self.len = self.len.checked_sub(1)?;
        Some(self.sockets[self.len as usize])
    }
}
