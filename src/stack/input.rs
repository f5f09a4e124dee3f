//! Packets in: from the device or the loopback to the connection, listener or RST they get.

use super::arrivals::Arrivals;
use super::buffers::{BufId, LARGE, SMALL};
use super::impair::attention;
use super::ip_options::Incoming;
use super::queue::{Pools, Queue, pools};
use super::{Host, Shared, SockId};
use crate::addr::{Addr, Endpoint};
use crate::link::VnetHdr;
use crate::tcp::{Flags, RecvQueue, Segment, SeqNum, State, Tcb, TcpError, reset_for};
use crate::time::Instant;
use crate::trace::Direction;
use crate::wire::{self, IPV4_HEADER, IcmpError, IpOptions, Malformed, Packet};

/// Payload up to this size is copied out of the buffer that the device wrote it to.
const COPY_BREAK: u32 = SMALL as u32;
/// Payload of this size keeps that buffer, a large one, however much its connection holds ...
const WORTH_A_BUFFER: u32 = LARGE as u32 / 4;
/// ... and smaller payload while the connection holds fewer pieces than this. Else a peer that
/// sends packets of 2,049 bytes would have 32 times as much memory held as it sends.
const FEW: u32 = 16;

/// What the device's packet asks for, once the borrow of its bytes is over.
enum Arrived {
    Segment {
        src: Addr,
        dst: Addr,
        segment: Segment,
        payload: usize,
        /// So many bytes of IP options are in the header.
        options: usize,
    },
    Icmp {
        local: Endpoint,
        remote: Endpoint,
        seq: SeqNum,
        kind: IcmpError,
    },
    /// An echo request: its message is `len` bytes long.
    Echo {
        src: Addr,
        dst: Addr,
        at: usize,
        len: usize,
    },
    /// Nobody here takes it.
    Unknown { src: Addr, dst: Addr, proto: u8 },
    /// A piece of a packet.
    Piece,
}

impl Host<'_> {
    /// Read packets from the device until it has none (or `most` have come) and process them.
    /// Gives how many there were.
    pub fn receive(&mut self, most: usize) -> usize {
        let mut count = 0;
        let touched = self.sh.journal_len;
        while count < most {
            let Some(buf) = self.sh.buffers.alloc(LARGE) else {
                self.sh.counters.no_buffers += 1;
                break;
            };
            let got = self.device.recv(self.sh.buffers.bytes_mut(buf));
            let Some((vnet, len)) = got else {
                self.sh.buffers.release(buf);
                break;
            };
            count += 1;
            if self.sh.attention & attention::IN != 0 {
                self.packet_attended(buf, len, &vnet);
            } else {
                self.packet_arrives(buf, len, &vnet);
                self.sh.buffers.release(buf);
            }
            self.deliver_looped();
            self.settled(touched);
        }
        count
    }

    /// Process the packet in `buf`.
    pub(super) fn packet_arrives(&mut self, buf: BufId, len: usize, vnet: &VnetHdr) {
        match self.parse(buf, 0, len, vnet) {
            Some(Arrived::Piece) => {
                if let Some(whole) = self.take_piece(buf, len) {
                    let arrived = self.parse(whole.buf, whole.start, whole.len, &VnetHdr::PLAIN);
                    self.process(whole.buf, (whole.start, whole.len), arrived);
                    self.sh.buffers.release(whole.buf);
                }
            }
            arrived => self.process(buf, (0, len), arrived),
        }
    }

    /// What the packet at `place` (start and length) in `buf` asks for.
    fn process(&mut self, buf: BufId, place: (usize, usize), arrived: Option<Arrived>) {
        match arrived {
            Some(Arrived::Segment {
                src,
                dst,
                segment,
                payload,
                options,
            }) => {
                let heard;
                let (dst, options) = if options == 0 {
                    (dst, &IpOptions::NONE)
                } else {
                    let at = place.0 + IPV4_HEADER;
                    let list = self.sh.buffers.bytes(buf).get(at..at + options);
                    match self.hear_options(dst, list.unwrap_or_default()) {
                        Some((dst, list)) => {
                            heard = list;
                            (dst, &heard)
                        }
                        None => {
                            self.sh.counters.in_errs += 1;
                            return;
                        }
                    }
                };
                self.sh.counters.in_segs += 1;
                let remote = Endpoint::new(src, segment.src_port);
                let local = Endpoint::new(dst, segment.dst_port);
                let payload = self.take_payload(buf, payload, &segment, local, remote);
                self.trace_segment(0, Direction::In, remote, local, &segment, false);
                let came = Incoming {
                    local,
                    remote,
                    seg: &segment,
                    options,
                };
                self.segment_arrives(&came, payload);
            }
            Some(Arrived::Icmp {
                local,
                remote,
                seq,
                kind,
            }) => {
                self.sh.counters.icmp_in += 1;
                self.icmp_arrives(local, remote, seq, kind);
            }
            Some(Arrived::Echo { src, dst, at, len }) => self.answer_echo(dst, src, buf, at, len),
            Some(Arrived::Unknown { src, dst, proto }) => {
                self.answer_unknown(dst, src, proto, buf, place);
            }
            Some(Arrived::Piece) | None => {}
        }
    }

    /// The packet that lies in `buf` from `start` on.
    fn parse(&mut self, buf: BufId, start: usize, len: usize, vnet: &VnetHdr) -> Option<Arrived> {
        let bytes = self.sh.buffers.bytes(buf);
        let packet = bytes.get(start..start + len)?;
        let parsed = match wire::parse(packet, vnet.verified()) {
            Ok(p) => p,
            // RFC 1122 S3.1-2
            Err(Malformed::Checksum) => {
                self.sh.counters.in_csum_errors += 1;
                self.sh.counters.in_errs += 1;
                return None;
            }
            Err(Malformed::Fragment) => return Some(Arrived::Piece),
            Err(_) => {
                self.sh.counters.in_errs += 1;
                return None;
            }
        };
        match parsed {
            Packet::Tcp {
                src,
                dst,
                segment,
                payload,
                ip_options,
                ..
            } => {
                let dst = Addr::from(dst);
                // Somebody else's packet, or one with an address of ours as its source.
                if !self.is_ours(dst) || self.is_local(src.into()) {
                    return None;
                }
                Some(Arrived::Segment {
                    src: src.into(),
                    dst,
                    segment,
                    payload: start + payload,
                    options: ip_options.len(),
                })
            }
            Packet::Echo { src, dst, body } => {
                if !self.is_ours(dst.into()) {
                    return None;
                }
                // The message begins four bytes before what is told of it.
                let before = body.as_ptr() as usize - packet.as_ptr() as usize;
                Some(Arrived::Echo {
                    src: src.into(),
                    dst: dst.into(),
                    at: start + before.checked_sub(4)?,
                    len: body.len() + 4,
                })
            }
            Packet::Error {
                local,
                remote,
                seq,
                kind,
                ..
            } => Some(Arrived::Icmp {
                local: Endpoint::new(local.0.into(), local.1),
                remote: Endpoint::new(remote.0.into(), remote.1),
                seq,
                kind,
            }),
            Packet::Other {
                src, dst, proto, ..
            } => Some(Arrived::Unknown {
                src: src.into(),
                dst: dst.into(),
                proto,
            }),
        }
    }

    /// Another host's own address.
    pub(super) fn may_be_answered(&self, a: Addr) -> bool {
        !a.is_any() && !a.is_multicast() && !self.is_broadcast(a) && !self.is_local(a)
    }

    // RFC 1122 S3.2.1.3-2
    pub(super) fn is_ours(&self, a: Addr) -> bool {
        !a.is_any() && (a == self.sh.config.addr4 || a == self.sh.config.addr6)
    }

    /// The payload as a queue: large ones by reference, others copied. Less than all of it, or
    /// nothing, when memory is short.
    fn take_payload(
        &mut self,
        buf: BufId,
        at: usize,
        seg: &Segment,
        local: Endpoint,
        remote: Endpoint,
    ) -> Queue {
        let mut q = Queue::default();
        if seg.len == 0 {
            return q;
        }
        // `seq` of payload: after the SYN, if there is one.
        let mut seq = seg.seq + u32::from(seg.flags.has(Flags::SYN));
        let mut held = None;
        if seg.len > COPY_BREAK && self.sh.buffers.may_queue_large() {
            let fills = seg.len >= WORTH_A_BUFFER;
            if fills || *held.get_or_insert_with(|| self.pieces_held(local, remote)) < FEW {
                let mut p = pools!(self.sh);
                p.buffers.retain(buf);
                match p.chunk(buf, at as u32, seg.len, seq) {
                    Some(c) => q.push(&mut p, c),
                    None => p.buffers.release(buf),
                }
                return q;
            }
        }
        let (mut from, mut left) = (at, seg.len as usize);
        while left > 0 {
            let needy = self.sh.buffers.is_short()
                && *held.get_or_insert_with(|| self.pieces_held(local, remote)) == 0;
            let mut p = pools!(self.sh);
            let n = left.min(SMALL);
            let Some(small) = p.buffers.alloc_to_queue(n, needy) else {
                break;
            };
            if let Some((bytes, to)) = p.buffers.pair(buf, small)
                && let Some(bytes) = bytes.get(from..from + n)
            {
                to[..n].copy_from_slice(bytes);
            }
            match p.chunk(small, 0, n as u32, seq) {
                Some(c) => q.push(&mut p, c),
                None => {
                    p.buffers.release(small);
                    break;
                }
            }
            (from, left, seq) = (from + n, left - n, seq + n as u32);
        }
        if left > 0 {
            self.sh.counters.no_buffers += 1;
        }
        q
    }

    /// Pieces of received payload that the connection between the two holds.
    fn pieces_held(&self, local: Endpoint, remote: Endpoint) -> u32 {
        let index = self.sh.find_connection(local, remote);
        let s = index.and_then(|i| self.sh.sockets.get(i));
        s.map_or(0, |s| s.rx.chunks + s.ooo.chunks)
    }

    /// The connection between the two, unless it is bound to another device than the one on which
    /// this comes.
    fn connection_that_hears(&self, local: Endpoint, remote: Endpoint) -> Option<u32> {
        let index = self.sh.find_connection(local, remote)?;
        let s = self.sh.sockets.get(index)?;
        self.sh.hears(s, local.addr).then_some(index)
    }

    /// A segment for this host. Takes over `payload`.
    pub(super) fn segment_arrives(&mut self, came: &Incoming<'_>, payload: Queue) {
        let mut payload = payload;
        if let Some(index) = self.connection_that_hears(came.local, came.remote) {
            self.connection_segment(index, came, &mut payload);
        } else {
            self.new_segment(came, &mut payload);
        }
        payload.clear(&mut pools!(self.sh));
    }

    fn connection_segment(&mut self, index: u32, came: &Incoming<'_>, payload: &mut Queue) {
        let s = &self.sh.sockets[index];
        let half_open = s.embryonic && s.tcb.state == State::SynReceived && !s.is_early();
        if half_open && s.tcb.rejects_echo(self.now, came.seg) {
            self.sh.counters.tsecr_rejected += 1;
        } else if half_open && self.handshake_must_wait(index, came) {
            return;
        }
        self.take_segment(index, came, payload);
    }

    /// A segment for a connection that may go on.
    pub(super) fn take_segment(&mut self, index: u32, came: &Incoming<'_>, payload: &mut Queue) {
        self.touch(index);
        if self.sh.sockets[index].tcb.state == State::TimeWait {
            self.answers_in_kind(index, came);
        }
        let Shared {
            sockets,
            chunks,
            buffers,
            sent,
            arrivals,
            ..
        } = &mut *self.sh;
        let s = &mut sockets[index];
        let old = s.tcb.state;
        let pools = Pools { chunks, buffers };
        let mut receiver = Receiver::of(
            &s.tcb,
            (&mut s.rx, &mut s.ooo, &mut s.ooo_recent),
            payload,
            pools,
            (arrivals, self.now),
        );
        let outcome = s.tcb.on_segment(self.now, came.seg, &mut receiver, sent);
        if self.sh.sockets[index].tcb.owes_challenge() {
            self.judge_challenge(index);
        }
        if let Some(reset) = outcome.reset {
            self.send_answer(came, reset);
        }
        let listener = outcome
            .reopen
            .map(|_| self.sh.find_listener(came.local, came.remote));
        match (outcome.reopen, listener.flatten()) {
            (Some(least), Some(listener)) => {
                // A descriptor that is open still keeps what came, without the connection.
                self.sh.sockets[index].tcb.end_time_wait();
                self.settle(index, old, outcome);
                self.listener_segment(listener, came, least, payload);
            }
            (Some(_), None) => {
                self.sh.sockets[index].tcb.stay_in_time_wait();
                self.settle(index, old, outcome);
            }
            (None, _) => self.settle(index, old, outcome),
        }
    }

    /// The SYN's data goes to a program that has the connection before its handshake is complete
    /// (Fast Open).
    pub(super) fn take_syn_data(&mut self, index: u32, syn: &Segment, payload: &mut Queue) {
        let Shared {
            sockets,
            chunks,
            buffers,
            arrivals,
            ..
        } = &mut *self.sh;
        let s = &mut sockets[index];
        let pools = Pools { chunks, buffers };
        let queues = (&mut s.rx, &mut s.ooo, &mut s.ooo_recent);
        let mut receiver = Receiver::of(&s.tcb, queues, payload, pools, (arrivals, self.now));
        s.tcb.accept_fast(self.now, syn, &mut receiver);
    }

    /// A segment for which there is no connection.
    fn new_segment(&mut self, came: &Incoming<'_>, payload: &mut Queue) {
        if let Some(listener) = self.sh.find_listener(came.local, came.remote) {
            self.listener_segment(listener, came, SeqNum(0), payload);
        } else if let Some(reset) = reset_for(came.seg) {
            self.send_answer(came, reset);
        }
    }

    // RFC 9293 MUST-54
    // RFC 1122 S3.2.2-3
    fn icmp_arrives(&mut self, local: Endpoint, remote: Endpoint, seq: SeqNum, kind: IcmpError) {
        let Some(index) = self.connection_that_hears(local, remote) else {
            return;
        };
        self.touch(index);
        let v6 = !remote.addr.is_v4();
        let s = &mut self.sh.sockets[index];
        let old = s.tcb.state;
        if old != State::TimeWait && !s.tcb.is_in_flight(seq) {
            self.sh.counters.out_of_window_icmps += 1;
            return;
        }
        let (error, hard) = match kind {
            IcmpError::TooBig(mtu) => return self.path_is_narrow(index, mtu, seq),
            IcmpError::NetUnreachable | IcmpError::NetUnknown => (TcpError::NetUnreachable, false),
            IcmpError::HostUnreachable | IcmpError::HostUnknown | IcmpError::TimeExceeded => {
                (TcpError::HostUnreachable, false)
            }
            IcmpError::ProtocolUnreachable => (TcpError::ProtocolUnreachable, true),
            IcmpError::PortUnreachable => (TcpError::Refused, true),
            IcmpError::Prohibited if v6 => (TcpError::Prohibited, true),
            IcmpError::Prohibited => (TcpError::HostUnreachable, false),
            IcmpError::ParameterProblem => (TcpError::Protocol, true),
            // RFC 6633 S2-2, S8-1
            // RFC 5927 S6.2-1
            // RFC 9293 MUST-55
            IcmpError::Other => return,
        };
        if matches!(kind, IcmpError::NetUnreachable | IcmpError::HostUnreachable) {
            s.tcb.path_is_away(self.now, seq);
        }
        let outcome = s.tcb.on_icmp(self.now, error, hard, seq);
        self.settle(index, old, outcome);
    }

    /// The name of the socket at `index`.
    pub(super) fn id_of(&self, index: u32, s: &super::Socket) -> SockId {
        SockId {
            index,
            generation: s.generation,
        }
    }
}

/// Pieces that may be held out of order, whatever the buffer's size: bounds what has to be looked
/// through.
const MAX_OUT_OF_ORDER: u32 = 4096;
/// As many may be held in any case.
const MIN_OUT_OF_ORDER: u32 = 32;

/// A connection's receive queues, while a segment is processed.
struct Receiver<'a, 'p> {
    /// How many pieces may be held out of order.
    most: u32,
    rx: &'a mut Queue,
    ooo: &'a mut Queue,
    recent: &'a mut u32,
    /// The segment's payload, its pieces labelled with their sequence numbers.
    payload: &'p mut Queue,
    pools: Pools<'a>,
    /// When it came, to be noted.
    arrivals: &'a mut Arrivals,
    now: Instant,
    /// What was held out of order when the segment came, if it lies ahead.
    before: Option<Ahead>,
}

/// A segment ahead of its turn, and what was held before it.
struct Ahead {
    /// Where it starts.
    seq: SeqNum,
    /// The bytes held.
    bytes: u32,
    /// Where the last of them ended.
    end: SeqNum,
}

impl<'a, 'p> Receiver<'a, 'p> {
    fn of(
        tcb: &Tcb,
        (rx, ooo, recent): (&'a mut Queue, &'a mut Queue, &'a mut u32),
        payload: &'p mut Queue,
        pools: Pools<'a>,
        (arrivals, now): (&'a mut Arrivals, Instant),
    ) -> Receiver<'a, 'p> {
        // Each piece may hold a buffer (Linux counts `truesize`). Segments of full size never come
        // to this: the window is smaller.
        let most = tcb.rcv_buf() / super::buffers::SMALL as u32;
        Receiver {
            most: most.clamp(MIN_OUT_OF_ORDER, MAX_OUT_OF_ORDER),
            rx,
            ooo,
            recent,
            payload,
            pools,
            arrivals,
            now,
            before: None,
        }
    }
}

impl Receiver<'_, '_> {
    /// Put one piece where it belongs; gives the new `rcv_nxt`.
    fn place(&mut self, c: u32, nxt: SeqNum) -> SeqNum {
        let p = &mut self.pools;
        let chunk = &mut p.chunks[c];
        let end = chunk.seq + chunk.len;
        if end.le(nxt) {
            p.free(c);
            return nxt;
        }
        if chunk.seq.gt(nxt) || self.ooo.head != 0 {
            // A duplicate is reported first as well: the block that has it (RFC 2883, section 4.1).
            *self.recent = chunk.seq.0;
            let kept = self.ooo.insert_sorted(p, c);
            if kept != 0 {
                self.arrivals.note(kept, self.now);
                *self.recent = p.chunks[kept].seq.0;
            }
            return self.drain(nxt);
        }
        // The common case: the next bytes, and nothing waits for them.
        trim_front(chunk, nxt);
        self.rx.push_received(p, c);
        self.arrivals.note(self.rx.tail, self.now);
        end
    }

    /// Move what is in order now from `ooo` to `rx`.
    fn drain(&mut self, mut nxt: SeqNum) -> SeqNum {
        let p = &mut self.pools;
        while let Some(c) = p.chunks.get(self.ooo.head).filter(|c| c.seq.le(nxt)) {
            let end = c.seq + c.len;
            let Some(i) = self.ooo.pop(p) else { break };
            if end.le(nxt) {
                p.free(i);
                continue;
            }
            trim_front(&mut p.chunks[i], nxt);
            let came = self.arrivals.of(i);
            self.rx.push_received(p, i);
            self.arrivals.note(self.rx.tail, came);
            nxt = end;
        }
        nxt
    }
}

/// Cut what lies before `nxt`.
fn trim_front(chunk: &mut super::queue::Chunk, nxt: SeqNum) {
    let old = nxt - chunk.seq;
    chunk.off += old;
    chunk.len -= old;
    chunk.seq = nxt;
}

impl RecvQueue for Receiver<'_, '_> {
    fn insert(&mut self, rcv_nxt: SeqNum, seq: SeqNum, skip: u32, len: u32) -> SeqNum {
        self.payload.consume(&mut self.pools, skip);
        self.before = self
            .held_end()
            .filter(|_| seq.gt(rcv_nxt))
            .map(|end| Ahead {
                seq,
                bytes: self.ooo.bytes,
                end,
            });
        if seq.gt(rcv_nxt) && self.ooo.chunks >= self.most {
            return rcv_nxt;
        }
        let (mut nxt, mut left) = (rcv_nxt, len);
        while left > 0 {
            let Some(c) = self.payload.pop(&mut self.pools) else {
                break;
            };
            let chunk = &mut self.pools.chunks[c];
            chunk.len = chunk.len.min(left);
            left -= chunk.len;
            nxt = self.place(c, nxt);
        }
        nxt
    }

    fn cut(&mut self, end: SeqNum) {
        self.ooo.cut(&mut self.pools, end);
    }

    // RFC 2018 S4-5, S4-7, S8-2
    fn sack_blocks(&self, rcv_nxt: SeqNum, out: &mut [(SeqNum, SeqNum); 4]) -> usize {
        let Some((place, highest)) = self.highest_block(rcv_nxt, out) else {
            return self.all_blocks(rcv_nxt, out);
        };
        let told = *out;
        out[..=place].rotate_right(1);
        out[0] = highest;
        let n = out.iter().take_while(|b| b.0 != b.1).count();
        debug_assert!({
            let mut all = told;
            self.all_blocks(rcv_nxt, &mut all) == n && all == *out
        });
        n
    }
}

impl Receiver<'_, '_> {
    /// Where the last of what is held out of order ends.
    fn held_end(&self) -> Option<SeqNum> {
        let last = self.pools.chunks.get(self.ooo.tail)?;
        Some(last.seq + last.len)
    }

    /// The highest block, and the place it has to leave among those `told` (the last, if it is
    /// new): of a segment that lay ahead and changed no other block, so that the pieces held need
    /// not be looked at. Most do, behind a loss.
    fn highest_block(
        &self,
        rcv_nxt: SeqNum,
        told: &[(SeqNum, SeqNum); 4],
    ) -> Option<(usize, (SeqNum, SeqNum))> {
        let (before, end) = (self.before.as_ref()?, self.held_end()?);
        // Blocks that are gone, or a FIN's, are not for here.
        let mut blocks = told.iter().take_while(|b| b.0 != b.1);
        if !blocks.all(|b| b.0.gt(rcv_nxt) && b.1.le(before.end)) {
            return None;
        }
        let (place, block, had) = if before.seq.gt(before.end) {
            (told.len() - 1, (before.seq, end), before.seq)
        } else {
            let place = told
                .iter()
                .position(|b| b.1 == before.end && b.0.le(before.seq))?;
            (place, (told[place].0, end), before.end)
        };
        // Bytes that filled holes below would be too many, those that found no room too few.
        let grew = end.ge(had) && self.ooo.bytes == before.bytes + (end - had);
        (grew && block.0.le(SeqNum(*self.recent))).then_some((place, block))
    }

    /// The blocks of all pieces.
    fn all_blocks(&self, rcv_nxt: SeqNum, out: &mut [(SeqNum, SeqNum); 4]) -> usize {
        let told = core::mem::take(out);
        let recent = SeqNum(*self.recent);
        let holds = |r: (SeqNum, SeqNum), at: SeqNum| r.0.le(at) && at.lt(r.1);
        let rank = |r| match told.iter().position(|t| t.0 != t.1 && holds(r, t.0)) {
            _ if holds(r, recent) => 0,
            Some(place) => 1 + place,
            None => 1 + told.len(),
        };
        // The four of the lowest rank, in its order.
        let mut ranks = [0; 4];
        let mut n = 0;
        let mut emit = |range: (SeqNum, SeqNum)| {
            let mine = rank(range);
            let at = ranks[..n].iter().take_while(|r| **r <= mine).count();
            if at < out.len() {
                n = (n + 1).min(out.len());
                out.copy_within(at..n - 1, at + 1);
                ranks.copy_within(at..n - 1, at + 1);
                (out[at], ranks[at]) = (range, mine);
            }
        };
        let mut i = self.ooo.head;
        let mut current: Option<(SeqNum, SeqNum)> = None;
        while i != 0 {
            let c = &self.pools.chunks[i];
            let (start, end) = (c.seq, c.seq + c.len);
            current = match current {
                Some((s, e)) if e == start => Some((s, end)),
                Some(range) => {
                    emit(range);
                    Some((start, end))
                }
                None => Some((start, end)),
            };
            i = c.next;
        }
        if let Some(range) = current {
            emit(range);
        }
        debug_assert!(out[..n].iter().all(|r| r.0.gt(rcv_nxt)));
        n
    }
}
