//! Modelled links between the stack and its device, and on the loopback.
//!
//! What passes here is a packet of the wire, with complete checksums: large segments are cut
//! first. The model ([`crate::impair`]) says what becomes of it; here it is lost, damaged,
//! doubled, or held until it is due ([`super::held`]). Packets of one segment that arrive
//! unharmed at the same time stay in one buffer, as segmentation offload has them: each
//! is judged, but they are not copied and written one by one.

use super::buffers::{BufId, LARGE, SMALL};
use super::capture::Seen;
use super::held::{Holding, Load, MAX_HELD, MAX_LARGE, Pieces};
use super::output::{IpFields, Looped};
use super::queue::{Queue, pools};
use super::{Host, Shared};
use crate::addr::Endpoint;
use crate::impair::{Arrival, Channel, Drop, Fate, Kind, Runs, Settings, Stats, Way};
use crate::link::{Sent, VnetHdr};
use crate::tcp::{Flags, Segment};
use crate::time::Instant;
use crate::wire::{self, Cut, ErrorMessage};
use core::ops::Range;

/// Which links packets have to take the long way on, in [`super::Shared::attention`].
pub mod attention {
    /// Those that leave by the device.
    pub const OUT: u32 = 1;
    /// Those that come from it.
    pub const IN: u32 = 2;
    /// Those on the loopback.
    pub const LOOP: u32 = 4;
}

/// So many packets at least have a large buffer together; then no fewer of the wire's are held than
/// if each had a small one.
const LEAST_RUN: usize = MAX_HELD / MAX_LARGE as usize;

/// Room for a quoted packet in an ICMP error: IPv6's least MTU.
const ICMP_MOST: usize = 1280;

/// The links of a stack.
#[repr(C)]
pub struct Links {
    /// As they were set.
    pub settings: Settings,
    /// To the device.
    out: Channel,
    /// From it.
    in_: Channel,
    /// On the loopback.
    lo: Channel,
    /// What is under way.
    pub(super) held: Holding,
    /// Packets for which there was no room among those.
    pub overflows: u64,
}

impl Links {
    /// One direction.
    pub fn channel(&self, way: Way) -> &Channel {
        match way {
            Way::Out => &self.out,
            Way::In => &self.in_,
            Way::Loop => &self.lo,
        }
    }

    fn channel_mut(&mut self, way: Way) -> &mut Channel {
        match way {
            Way::Out => &mut self.out,
            Way::In => &mut self.in_,
            Way::Loop => &mut self.lo,
        }
    }

    /// What the direction has done, and how many packets it holds.
    pub fn stats(&self, way: Way) -> (Stats, u32) {
        (self.channel(way).stats(), self.held.count(way))
    }
}

impl Shared {
    /// See [`Host::impair`]; `now` is the stack's time.
    pub fn impair(&mut self, settings: &Settings, now: Instant) {
        let [out, in_, lo] = settings.profiles();
        self.links.settings = *settings;
        for (way, profile) in [(Way::Out, out), (Way::In, in_), (Way::Loop, lo)] {
            let channel = self.links.channel_mut(way);
            channel.set(profile, settings.seed, way, now);
        }
        self.attend(now);
    }

    /// Say which links need a look at each packet.
    pub(super) fn attend(&mut self, now: Instant) {
        let links = &self.links;
        let of = |way, bit| if links.channel(way).is_on() { bit } else { 0 };
        let mut attention = of(Way::Out, attention::OUT)
            | of(Way::In, attention::IN)
            | of(Way::Loop, attention::LOOP);
        if self.capture.is_watched(self.pace.real(now)) {
            attention |= attention::OUT | attention::IN | attention::LOOP;
        }
        self.attention = attention;
    }
}

impl Host<'_> {
    /// Impair the links from now on like this. Packets are counted anew, from the first; those
    /// that are under way already arrive when they were to.
    pub fn impair(&mut self, settings: &Settings) {
        self.sh.impair(settings, self.now);
    }

    /// A reader of the capture comes back within [`crate::trace::capture::PATIENCE`].
    pub fn watch_packets(&mut self, snap: u32) {
        let real = self.sh.pace.real(self.now);
        self.sh.capture.watch(real, snap);
        self.attend();
    }

    /// The reader has gone.
    pub fn watch_packets_no_more(&mut self) {
        self.sh.capture.leave();
        self.attend();
    }

    /// See [`Shared::attend`].
    pub(super) fn attend(&mut self) {
        self.sh.attend(self.now);
    }

    /// A segment for the device, while somebody attends to those.
    #[cold]
    pub(super) fn send_attended(
        &mut self,
        local: Endpoint,
        remote: Endpoint,
        segment: &Segment,
        queue: Queue,
        (offset, mss): (u32, u16),
        ip: &IpFields<'_>,
    ) {
        // Cutting completes the checksum, and a device with offload does.
        let partial = self.sh.config.offload;
        self.sh.ip_id = self.sh.ip_id.wrapping_add(1);
        let id = self.sh.ip_id;
        let packet = self.packet(local, remote, segment, (&queue, offset), ip, (id, partial));
        let Some((buf, len, ip_len)) = packet else {
            self.sh.counters.no_buffers += 1;
            return;
        };
        if !ip.whole {
            wire::allow_fragments(self.sh.buffers.bytes_mut(buf));
        }
        let vnet = if partial {
            let headers = len - segment.len as usize;
            let cwr = segment.flags.has(Flags::CWR);
            VnetHdr::tcp(headers, ip_len, remote.addr.is_v4(), segment.len, mss, cwr)
        } else {
            VnetHdr::PLAIN
        };
        self.packet_leaves(buf, len, &vnet);
    }

    /// A packet of the stack's own making, for the device.
    pub(super) fn send_packet(&mut self, packet: &[u8]) {
        if self.sh.attention & attention::OUT == 0 {
            if self.device.send(&VnetHdr::PLAIN, &[packet]) != Sent::Done {
                self.sh.counters.device_drops += 1;
            }
            return;
        }
        match self.buffer_with(packet) {
            Some(buf) => self.packet_leaves(buf, packet.len(), &VnetHdr::PLAIN),
            None => self.sh.counters.no_buffers += 1,
        }
    }

    /// Takes over `buf`.
    fn packet_leaves(&mut self, buf: BufId, len: usize, vnet: &VnetHdr) {
        if self.sh.links.out.is_on() {
            self.onto_the_wire(Way::Out, buf, len, vnet);
        } else {
            self.capture(Way::Out, buf, len, vnet, Seen::default());
            self.arrive(Way::Out, buf, len, vnet);
        }
    }

    /// A packet from the device, while somebody attends to those. Takes over `buf`.
    #[cold]
    pub(super) fn packet_attended(&mut self, buf: BufId, len: usize, vnet: &VnetHdr) {
        if self.sh.links.in_.is_on() {
            self.onto_the_wire(Way::In, buf, len, vnet);
        } else {
            self.arrive(Way::In, buf, len, vnet);
        }
    }

    /// A segment for this host, while somebody attends to those. Takes over its payload.
    #[cold]
    pub(super) fn loop_attended(&mut self, mut l: Looped) {
        let headers = if l.src.is_v4() { 40 } else { 60 };
        let options = wire::options_len(&l.segment.options) + l.options.as_bytes().len();
        let len = headers + options + l.segment.len as usize;
        let f = l.segment.flags;
        let carries = l.segment.len > 0
            || [Flags::SYN, Flags::FIN, Flags::RST]
                .iter()
                .any(|flag| f.has(*flag));
        let kind = if carries { Kind::Carrying } else { Kind::Bare };
        let fate = self.sh.links.lo.judge(self.now, len, kind);
        self.capture_looped(&l, Seen::of(&fate, self.now));
        let a = match fate {
            Fate::Dropped(why) => {
                if why == Drop::TooBig && !self.sh.links.lo.profile().black_hole {
                    self.looped_too_big(&l);
                }
                return l.payload.clear(&mut pools!(self.sh));
            }
            Fate::Arrives(a) => a,
        };
        if a.twice {
            let first = self.sh.chunks.get(l.payload.head);
            let seq = first.map_or(l.segment.seq, |c| c.seq);
            let shared = l.payload.share(&mut pools!(self.sh), 0, l.segment.len, seq);
            if let Some(payload) = shared {
                let mut copy = l;
                copy.payload = payload;
                self.loop_at(copy, a.due);
            }
        }
        if a.flip.is_some() {
            // The checksum would find it.
            self.sh.counters.in_csum_errors += 1;
            self.sh.counters.in_errs += 1;
            return l.payload.clear(&mut pools!(self.sh));
        }
        self.loop_at(l, a.due);
    }

    fn loop_at(&mut self, mut l: Looped, due: Instant) {
        let links = &mut self.sh.links;
        let at_once = due <= self.now && links.held.count(Way::Loop) == 0;
        if at_once && !self.sh.looped.is_full() {
            self.sh.looped.push(l);
        } else if !links.held.hold(Load::Looped(l), due) {
            links.overflows += 1;
            l.payload.clear(&mut pools!(self.sh));
        }
    }

    /// What a router would tell the sender, who is one of our own.
    fn looped_too_big(&mut self, l: &Looped) {
        let (src, dst) = (l.src, l.dst);
        let (local, remote) = (
            Endpoint::new(src, l.segment.src_port),
            Endpoint::new(dst, l.segment.dst_port),
        );
        let bare = Segment {
            len: 0,
            ..l.segment
        };
        let none = Queue::default();
        let ip = looped_fields(l);
        let packet = self.packet(local, remote, &bare, (&none, 0), &ip, (0, false));
        if let Some((buf, len, _)) = packet {
            let mtu = self.sh.links.lo.profile().mtu;
            self.too_big(Way::Out, buf, len, mtu);
            self.sh.buffers.release(buf);
        }
    }

    /// Each packet of the wire that `buf` holds. Takes over `buf`.
    fn onto_the_wire(&mut self, way: Way, buf: BufId, len: usize, vnet: &VnetHdr) {
        let whole = self.sh.buffers.bytes(buf).get(..len).unwrap_or_default();
        let cut = match vnet.gso_type {
            VnetHdr::GSO_NONE => None,
            _ => Cut::of(whole, vnet.gso_size.into()),
        };
        if let Some(cut) = cut {
            return self.enter_link_cut(way, buf, &cut);
        }
        if vnet.flags & VnetHdr::NEEDS_CSUM != 0 {
            let whole = self.sh.buffers.bytes_mut(buf).get_mut(..len);
            let (start, offset) = (vnet.csum_start.into(), vnet.csum_offset.into());
            wire::complete_checksum(whole.unwrap_or_default(), start, offset);
        }
        let packet = self.sh.buffers.bytes(buf).get(..len).unwrap_or_default();
        let kind = if wire::is_bare_ack(packet) {
            Kind::Bare
        } else {
            Kind::Carrying
        };
        let fate = self.judge(way, len, kind, wire::may_fragment(packet));
        self.meets(way, buf, len, fate);
    }

    /// The pieces of a segment, each with its fate. Takes over `buf`.
    fn enter_link_cut(&mut self, way: Way, buf: BufId, cut: &Cut) {
        let fragile = wire::may_fragment(self.sh.buffers.bytes(buf));
        let mut runs = Runs::of(cut.pieces());
        while let Some((run, fate)) =
            runs.next(|n| self.judge(way, cut.len(&(n..n + 1)), Kind::Carrying, fragile))
        {
            self.run_enters(way, buf, cut, &run, fate);
        }
        self.sh.buffers.release(buf);
    }

    /// Pieces that share a fate: together, or, where that would take too much room or somebody
    /// looks at each packet, one by one.
    fn run_enters(&mut self, way: Way, buf: BufId, cut: &Cut, run: &Range<usize>, fate: Fate) {
        let small = cut.len(run) <= SMALL;
        let has_room = small || run.len() >= LEAST_RUN && self.sh.links.held.takes_large();
        let is_watched = self.sh.capture.is_watched(self.sh.pace.real(self.now));
        if let Fate::Arrives(a) = fate
            && run.len() > 1
            && has_room
            && !is_watched
        {
            let together = if run.len() == cut.pieces() {
                self.sh.buffers.retain(buf);
                Some(buf)
            } else {
                self.part_of(buf, cut, run)
            };
            if let Some(together) = together {
                let pieces = Pieces {
                    count: run.len() as u16,
                    size: cut.size() as u16,
                };
                return self.arrive_at(way, (together, cut.len(run), pieces), a.due);
            }
        }
        for n in run.clone() {
            let piece = n..n + 1;
            match self.part_of(buf, cut, &piece) {
                Some(part) => self.meets(way, part, cut.len(&piece), fate),
                None => self.sh.counters.no_buffers += 1,
            }
        }
    }

    /// Pieces of `buf` in a buffer of their own.
    fn part_of(&mut self, buf: BufId, cut: &Cut, run: &Range<usize>) -> Option<BufId> {
        let part = self.sh.buffers.alloc(cut.len(run))?;
        let wrote = match self.sh.buffers.pair(buf, part) {
            Some((from, to)) => cut.write(from, run, to),
            None => None,
        };
        if wrote.is_none() {
            self.sh.buffers.release(part);
        }
        wrote.map(|_| part)
    }

    fn judge(&mut self, way: Way, len: usize, kind: Kind, may_fragment: bool) -> Fate {
        let channel = self.sh.links.channel_mut(way);
        let mtu = channel.profile().mtu as usize;
        // A router would cut it, the receiver put it together; that is not modelled.
        let judged = if may_fragment && mtu != 0 {
            len.min(mtu)
        } else {
            len
        };
        channel.judge(self.now, judged, kind)
    }

    /// One packet of the wire and its fate. Takes over `buf`.
    fn meets(&mut self, way: Way, buf: BufId, len: usize, fate: Fate) {
        let dropped = matches!(fate, Fate::Dropped(_));
        if way == Way::Out || dropped {
            let seen = Seen::of(&fate, self.now);
            self.capture(way, buf, len, &VnetHdr::PLAIN, seen);
        }
        match fate {
            Fate::Dropped(why) => {
                let profile = self.sh.links.channel(way).profile();
                let (mtu, black_hole) = (profile.mtu, profile.black_hole);
                if why == Drop::TooBig && !black_hole {
                    self.too_big(way, buf, len, mtu);
                }
                self.sh.buffers.release(buf);
            }
            Fate::Arrives(a) => self.under_way(way, buf, len, &a),
        }
    }

    fn under_way(&mut self, way: Way, buf: BufId, len: usize, a: &Arrival) {
        let copy = if a.twice {
            self.copy_of(buf, len)
        } else {
            None
        };
        a.corrupt(
            self.sh
                .buffers
                .bytes_mut(buf)
                .get_mut(..len)
                .unwrap_or_default(),
        );
        self.arrive_at(way, (buf, len, Pieces::ONE), a.due);
        if let Some(copy) = copy {
            self.arrive_at(way, (copy, len, Pieces::ONE), a.due);
        }
    }

    fn arrive_at(&mut self, way: Way, (buf, len, pieces): (BufId, usize, Pieces), due: Instant) {
        let held = &mut self.sh.links.held;
        if due <= self.now && held.count(way) == 0 {
            let vnet = self.offload_header(buf, len, pieces);
            return self.arrive(way, buf, len, &vnet);
        }
        let load = Load::Packet {
            way,
            buf,
            len,
            pieces,
        };
        if !held.hold(load, due) {
            self.sh.links.overflows += u64::from(pieces.count);
            self.sh.buffers.release(buf);
        }
    }

    /// What goes before packets in one buffer.
    fn offload_header(&self, buf: BufId, len: usize, pieces: Pieces) -> VnetHdr {
        let packet = self.sh.buffers.bytes(buf).get(..len).unwrap_or_default();
        let cut = match pieces {
            Pieces::ONE => None,
            Pieces { size, .. } => Cut::of(packet, size.into()),
        };
        cut.map_or(VnetHdr::PLAIN, |cut| VnetHdr::to_cut(packet, &cut))
    }

    /// A packet at the far end of its link. Takes over `buf`.
    fn arrive(&mut self, way: Way, buf: BufId, len: usize, vnet: &VnetHdr) {
        if way == Way::Out {
            let packet = self.sh.buffers.bytes(buf).get(..len).unwrap_or_default();
            if self.device.send(vnet, &[packet]) != Sent::Done {
                self.sh.counters.device_drops += 1;
            }
        } else {
            self.capture(way, buf, len, vnet, Seen::default());
            self.packet_arrives(buf, len, vnet);
        }
        self.sh.buffers.release(buf);
    }

    /// Let arrive what is due, `most` packets.
    pub(super) fn release_held(&mut self, most: usize) {
        let touched = self.sh.journal_len;
        let mut left = most;
        while left > 0 {
            let Some(load) = self.sh.links.held.first(self.now) else {
                break;
            };
            left = left.saturating_sub(load.packets() as usize);
            match load {
                Load::Packet {
                    way,
                    buf,
                    len,
                    pieces,
                } => {
                    self.sh.links.held.drop_first();
                    let vnet = self.offload_header(buf, len, pieces);
                    self.arrive(way, buf, len, &vnet);
                }
                Load::Looped(l) => {
                    if self.sh.looped.is_full() {
                        self.deliver_looped();
                    }
                    // In this order: a RST that death makes come twice is better than one that
                    // never comes.
                    self.sh.looped.push(l);
                    self.sh.links.held.drop_first();
                }
            }
            self.deliver_looped();
            self.settled(touched);
        }
    }

    /// Tell the sender of a packet that went `way` that it was too big for a link of `mtu`.
    fn too_big(&mut self, way: Way, buf: BufId, len: usize, mtu: u32) {
        let packet = self.sh.buffers.bytes(buf).get(..len).unwrap_or_default();
        let Some((src, dst)) = wire::addresses(packet) else {
            return;
        };
        let (message, mut out) = (ErrorMessage::TooBig(mtu), [0; ICMP_MOST]);
        // The router is whom the packet was for: an address that the sender can reach.
        let Some(n) = wire::emit_icmp_error(message, dst, src, packet, &mut out) else {
            return;
        };
        let back = match way {
            Way::In => Way::Out,
            Way::Out | Way::Loop => Way::In,
        };
        let Some(buf) = self.buffer_with(&out[..n]) else {
            return;
        };
        let load = Load::Packet {
            way: back,
            buf,
            len: n,
            pieces: Pieces::ONE,
        };
        // Not at once: whoever sends is in the midst of something.
        if !self.sh.links.held.hold(load, self.now) {
            self.sh.buffers.release(buf);
        }
    }

    fn buffer_with(&mut self, packet: &[u8]) -> Option<BufId> {
        let buf = self.sh.buffers.alloc(packet.len())?;
        let room = self.sh.buffers.bytes_mut(buf).get_mut(..packet.len());
        room.unwrap_or_default().copy_from_slice(packet);
        Some(buf)
    }

    fn copy_of(&mut self, buf: BufId, len: usize) -> Option<BufId> {
        let copy = self.sh.buffers.alloc(len)?;
        if let Some((from, to)) = self.sh.buffers.pair(buf, copy) {
            to[..len].copy_from_slice(&from[..len]);
        }
        Some(copy)
    }

    /// A whole packet in a buffer: which, its length, that of its IP header. The payload is
    /// `queue`'s from `offset` on. `id` is IPv4's identification; `partial`: the checksum is left
    /// to others.
    pub(super) fn packet(
        &mut self,
        local: Endpoint,
        remote: Endpoint,
        segment: &Segment,
        (queue, offset): (&Queue, u32),
        ip: &IpFields<'_>,
        (id, partial): (u16, bool),
    ) -> Option<(BufId, usize, usize)> {
        let ip_len = if remote.addr.is_v4() {
            20 + ip.options.as_bytes().len()
        } else {
            40
        };
        let headers = ip_len + 20 + wire::options_len(&segment.options);
        let len = headers + segment.len as usize;
        if len > LARGE {
            return None;
        }
        let buf = self.sh.buffers.alloc(len)?;
        let (mut skip, mut at) = (offset as usize, headers);
        let mut i = queue.head;
        while i != 0 && at < len {
            let Some(&c) = self.sh.chunks.get(i) else {
                break;
            };
            i = c.next;
            if skip >= c.len as usize {
                skip -= c.len as usize;
                continue;
            }
            let n = (c.len as usize - skip).min(len - at);
            let start = c.off as usize + skip;
            skip = 0;
            let (from, to) = self.sh.buffers.pair(c.buf, buf)?;
            to[at..at + n].copy_from_slice(&from[start..start + n]);
            at += n;
        }
        if at < len {
            debug_assert!(false, "send queue shorter than the connection's");
            self.sh.buffers.release(buf);
            return None;
        }
        let checksum = if partial {
            wire::Checksum::Partial
        } else {
            wire::Checksum::Full
        };
        let mut out = [0u8; wire::MAX_HEADERS];
        let bytes = self.sh.buffers.bytes_mut(buf);
        let (head, rest) = bytes.split_at_mut(headers);
        let payload: &[u8] = &rest[..segment.len as usize];
        let header = ip.between(local.addr, remote.addr, id);
        let (written, _) = wire::emit_tcp(&header, segment, &[payload], checksum, &mut out);
        debug_assert_eq!(written, headers);
        head.copy_from_slice(&out[..headers]);
        Some((buf, len, ip_len))
    }
}

/// The IP header that a looped segment would have.
pub(super) fn looped_fields(l: &Looped) -> IpFields<'_> {
    IpFields {
        tos: 0,
        ttl: 64,
        whole: true,
        options: &l.options,
    }
}
