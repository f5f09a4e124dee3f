//! Reassembly of IP packets that come in pieces (RFC 791, section 3.2; RFC 8200, section 4.5).
//!
//! Memory is bounded: so many packets at once, and each of so many separate stretches. Pieces
//! that overlap are an attack (RFC 5722, and Linux does the same with IPv4): the packet is
//! dropped; an exact repetition is passed over.

use super::buffers::{BufId, LARGE};
use super::{Host, Shared};
use crate::addr::Addr;
use crate::time::{Duration, Instant};
use crate::wire::fragment::{self, Fragment, MAX_HEADER};
use crate::wire::{ErrorMessage, emit_icmp_error};

/// Packets that may be incomplete at the same time; one more drops the oldest.
pub const PACKETS: usize = 16;
/// Separate stretches of one packet.
const STRETCHES: usize = 32;
/// How long a packet may take (Linux: net.ipv4.ipfrag_time, net.ipv6.ip6frag_time).
// RFC 1122 S3.3.2-3, S3.3.2-4
const V4_TIME: Duration = Duration::from_secs(30);
const V6_TIME: Duration = Duration::from_secs(60);

/// What tells packets apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Key {
    src: Addr,
    dst: Addr,
    id: u32,
    /// IPv4's protocol; 0 for IPv6.
    proto: u8,
}

/// A packet that is not complete yet.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Incomplete {
    key: Key,
    /// When it is given up.
    until: Instant,
    /// The header lies before [`MAX_HEADER`], the rest behind; none: this place is free.
    buf: BufId,
    /// Bytes after the header; 0 until the last piece tells.
    total: u32,
    /// Of the first piece: its header's length (0: it has not come), and where to mend that.
    header_len: u16,
    next_at: u8,
    proto: u8,
    /// Stretches that are there, in order, apart from one another.
    stretches: [(u32, u32); STRETCHES],
    count: u8,
    /// The pieces' ECN fields, a set.
    ecn: u8,
}

/// How a piece fits into what is there.
#[derive(PartialEq, Eq)]
enum Fit {
    New,
    Repeated,
    Impossible,
}

impl Incomplete {
    /// Note the stretch `start..end`.
    fn place(&mut self, start: u32, end: u32) -> Fit {
        let n = usize::from(self.count);
        let there = &self.stretches[..n];
        if there.iter().any(|s| s.0 <= start && end <= s.1) {
            return Fit::Repeated;
        }
        // RFC 5722 S4-2
        if there.iter().any(|s| s.0 < end && start < s.1) {
            return Fit::Impossible;
        }
        let at = there.iter().take_while(|s| s.1 <= start).count();
        let joins_left = at > 0 && there[at - 1].1 == start;
        let joins_right = at < n && there[at].0 == end;
        match (joins_left, joins_right) {
            (true, true) => {
                self.stretches[at - 1].1 = self.stretches[at].1;
                self.stretches.copy_within(at + 1..n, at);
                self.count -= 1;
            }
            (true, false) => self.stretches[at - 1].1 = end,
            (false, true) => self.stretches[at].0 = start,
            (false, false) if n < STRETCHES => {
                self.stretches.copy_within(at..n, at + 1);
                self.stretches[at] = (start, end);
                self.count += 1;
            }
            (false, false) => return Fit::Impossible,
        }
        Fit::New
    }

    /// Note where the packet ends.
    fn ends_at(&mut self, end: u32, is_last: bool) -> bool {
        let n = usize::from(self.count);
        let reached = self.stretches[..n].last().map_or(0, |s| s.1);
        if is_last && (self.total == 0 || self.total == end) && reached <= end {
            self.total = end;
            return true;
        }
        !is_last && (self.total == 0 || end <= self.total)
    }

    fn is_complete(&self) -> bool {
        self.total != 0 && self.count == 1 && self.stretches[0] == (0, self.total)
    }
}

/// All packets that are not complete yet.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Fragments {
    packets: [Incomplete; PACKETS],
    /// How many there are.
    count: u32,
}

impl Fragments {
    /// The buffers that are held.
    pub(super) fn buffers(&self) -> impl Iterator<Item = BufId> {
        let held = self.packets.iter().map(|p| p.buf);
        held.filter(|buf| *buf != BufId::NONE)
    }

    /// After a death: all are lost, as on any network (their buffers are counted anew).
    pub(super) fn lose(&mut self) {
        *self = Fragments::default();
    }

    /// When the first of them is given up.
    pub(super) fn deadline(&self) -> Instant {
        if self.count == 0 {
            return Instant::NEVER;
        }
        let there = self.packets.iter().filter(|p| p.buf != BufId::NONE);
        there.map(|p| p.until).min().unwrap_or(Instant::NEVER)
    }
}

impl Shared {
    /// Give up the packet at `place`.
    fn drop_packet(&mut self, place: usize) {
        let packet = core::mem::take(&mut self.fragments.packets[place]);
        if packet.buf != BufId::NONE {
            self.fragments.count -= 1;
            self.counters.reasm_fails += 1;
            self.buffers.release(packet.buf);
        }
    }

    /// The place of the packet that `key` names, made if there is none.
    fn packet_of(&mut self, key: Key, now: Instant) -> Option<usize> {
        let packets = &self.fragments.packets;
        let there = |p: &Incomplete| p.buf != BufId::NONE && p.key == key;
        if let Some(place) = packets.iter().position(there) {
            return Some(place);
        }
        let free = packets.iter().position(|p| p.buf == BufId::NONE);
        let oldest = || (0..PACKETS).min_by_key(|i| packets[*i].until);
        let place = free.or_else(oldest)?;
        self.drop_packet(place);
        let buf = self.buffers.alloc(LARGE)?;
        let time = if key.dst.is_v4() { V4_TIME } else { V6_TIME };
        self.fragments.packets[place] = Incomplete {
            key,
            until: now + time,
            buf,
            ..Incomplete::default()
        };
        self.fragments.count += 1;
        Some(place)
    }
}

/// A whole packet: its buffer, which is the caller's now, where in it the packet starts, and
/// how long it is.
pub(super) struct Whole {
    pub(super) buf: BufId,
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Host<'_> {
    /// Take in a piece, the packet of `len` bytes in `buf`; gives the packet that it completes.
    // RFC 1122 S3.2.1.4-1, S3.3.2-1, S3.3.2-2
    pub(super) fn take_piece(&mut self, buf: BufId, len: usize) -> Option<Whole> {
        self.sh.counters.reasm_reqds += 1;
        let bytes = self.sh.buffers.bytes(buf).get(..len)?;
        let Some(f) = fragment::parse(bytes) else {
            self.sh.counters.reasm_fails += 1;
            return None;
        };
        let (src, dst) = (Addr::from(f.src), Addr::from(f.dst));
        if !self.is_ours(dst) || !self.may_be_answered(src) {
            return None;
        }
        if f.lacks_header() {
            let mut out = [0; 1280];
            let (us, peer) = (dst.ip(), src.ip());
            let message = ErrorMessage::IncompleteHeader;
            if let Some(n) = emit_icmp_error(message, us, peer, bytes, &mut out) {
                self.send_icmp_error(src, &out[..n]);
            }
            return None;
        }
        let key = Key {
            src,
            dst,
            id: f.id,
            proto: if dst.is_v4() { f.proto } else { 0 },
        };
        let piece = Piece::of(&f);
        let place = self.sh.packet_of(key, self.now)?;
        let packet = &mut self.sh.fragments.packets[place];
        if !packet.ends_at(piece.end, piece.is_last) {
            self.sh.drop_packet(place);
            return None;
        }
        match packet.place(piece.start, piece.end) {
            Fit::New => {}
            Fit::Repeated => return None,
            Fit::Impossible => {
                self.sh.drop_packet(place);
                return None;
            }
        }
        packet.ecn |= piece.ecn;
        let to = packet.buf;
        let content = MAX_HEADER + piece.start as usize;
        self.copy(buf, piece.data_at, piece.data_len(), to, content);
        if piece.start == 0 {
            let header_at = MAX_HEADER - piece.header_len;
            self.copy(buf, 0, piece.header_len, to, header_at);
            let packet = &mut self.sh.fragments.packets[place];
            packet.header_len = piece.header_len as u16;
            (packet.next_at, packet.proto) = (piece.next_at, piece.proto);
        }
        self.complete(place)
    }

    /// The packet at `place`, if it is whole now.
    fn complete(&mut self, place: usize) -> Option<Whole> {
        let p = self.sh.fragments.packets[place];
        if !p.is_complete() {
            return None;
        }
        let Some(ecn) = fragment::merged_ecn(p.ecn) else {
            self.sh.drop_packet(place);
            return None;
        };
        self.sh.fragments.packets[place] = Incomplete::default();
        self.sh.fragments.count -= 1;
        self.sh.counters.reasm_oks += 1;
        let (header_len, total) = (usize::from(p.header_len), p.total as usize);
        let start = MAX_HEADER - header_len;
        if let Some(header) = self.sh.buffers.bytes_mut(p.buf).get_mut(start..MAX_HEADER) {
            fragment::make_whole(header, p.next_at, p.proto, total, ecn);
        }
        Some(Whole {
            buf: p.buf,
            start,
            len: header_len + total,
        })
    }

    /// Give up the packets whose time is over, and say so if their first piece had come.
    // RFC 1122 S3.3.2-3, S3.3.2-5
    pub(super) fn expire_fragments(&mut self) {
        for place in 0..PACKETS {
            let p = self.sh.fragments.packets[place];
            if p.buf == BufId::NONE || p.until > self.now {
                continue;
            }
            if p.header_len > 0 {
                let start = MAX_HEADER - usize::from(p.header_len);
                let end = MAX_HEADER + p.stretches[0].1 as usize;
                let first = self.sh.buffers.bytes(p.buf).get(start..end);
                let mut out = [0; 1280];
                let (us, peer) = (p.key.dst.ip(), p.key.src.ip());
                let first = first.unwrap_or_default();
                let message = ErrorMessage::ReassemblyTimeout;
                if let Some(n) = emit_icmp_error(message, us, peer, first, &mut out) {
                    self.send_icmp_error(p.key.src, &out[..n]);
                }
            }
            self.sh.drop_packet(place);
        }
    }

    /// From one buffer to another.
    fn copy(&mut self, from: BufId, at: usize, len: usize, to: BufId, to_at: usize) {
        let mut part = [0; 1024];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(part.len());
            let (a, b) = (at + done, to_at + done);
            let Some(source) = self.sh.buffers.bytes(from).get(a..a + n) else {
                return;
            };
            part[..n].copy_from_slice(source);
            let Some(target) = self.sh.buffers.bytes_mut(to).get_mut(b..b + n) else {
                return;
            };
            target.copy_from_slice(&part[..n]);
            done += n;
        }
    }
}

/// A piece, by places in its buffer.
struct Piece {
    start: u32,
    end: u32,
    is_last: bool,
    data_at: usize,
    header_len: usize,
    next_at: u8,
    proto: u8,
    ecn: u8,
}

impl Piece {
    fn of(f: &Fragment<'_>) -> Piece {
        const V6_FRAGMENT_HEADER: usize = 8;
        let extra = if f.src.is_ipv4() {
            0
        } else {
            V6_FRAGMENT_HEADER
        };
        Piece {
            start: f.offset,
            end: f.offset + f.data.len() as u32,
            is_last: !f.more,
            data_at: f.header.len() + extra,
            header_len: f.header.len(),
            next_at: f.next_at,
            proto: f.proto,
            ecn: f.ecn(),
        }
    }

    fn data_len(&self) -> usize {
        (self.end - self.start) as usize
    }
}
