//! Queues of payload: lists of pieces of buffers.

use super::buffers::{BufId, Buffers, SMALL};
use super::shared::MAX_CHUNKS;
use crate::arena::pool::{Plain, Pool};
use crate::tcp::SeqNum;

/// The longest piece that is copied behind another.
const MERGED: usize = 512;

/// Pieces that queues of data to be sent don't take if they have some.
const RESERVED: u32 = 1 << 15;

/// A piece of a buffer, in a queue.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Chunk {
    /// The buffer.
    pub buf: BufId,
    /// Where the piece starts in the buffer.
    pub off: u32,
    /// Its length.
    pub len: u32,
    /// In receive queues, the sequence number of its first byte.
    pub seq: SeqNum,
    /// The next piece; 0: none.
    pub next: u32,
    /// In send queues: no segment holds bytes of this piece and of the next (MSG_EOR).
    pub eor: bool,
}

// SAFETY: plain numbers.
#[allow(unsafe_code)]
unsafe impl Plain for Chunk {}

/// A list of pieces.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Queue {
    /// The first piece (index); 0: none.
    pub head: u32,
    /// The last one.
    pub tail: u32,
    /// Bytes in all.
    pub bytes: u32,
    /// Pieces in all.
    pub chunks: u32,
    /// In send queues, how many bytes Linux would have in its last sk_buff.
    pub tail_skb: u32,
    /// How many pieces end a record ([`Chunk::eor`]).
    pub eors: u32,
}

/// The pools that queues are made of.
pub struct Pools<'a> {
    /// Pieces.
    pub chunks: &'a mut Pool<Chunk, MAX_CHUNKS>,
    /// What they are pieces of.
    pub buffers: &'a mut Buffers,
}

/// The pools of a [`super::Shared`], borrowed apart from its other fields.
macro_rules! pools {
    ($sh:expr) => {
        $crate::stack::queue::Pools {
            chunks: &mut $sh.chunks,
            buffers: &mut $sh.buffers,
        }
    };
}
pub(crate) use pools;

impl Pools<'_> {
    /// Pieces are left only for queues that have none, and for what is under way on the loopback.
    fn are_short(&self) -> bool {
        self.chunks.in_use() >= MAX_CHUNKS as u32 - RESERVED
    }

    /// A new piece of `buf` (whose reference it takes over).
    pub fn chunk(&mut self, buf: BufId, off: u32, len: u32, seq: SeqNum) -> Option<u32> {
        let i = self.chunks.alloc()?;
        self.chunks[i] = Chunk {
            buf,
            off,
            len,
            seq,
            next: 0,
            eor: false,
        };
        Some(i)
    }

    /// Free a piece and its reference.
    pub fn free(&mut self, chunk: u32) {
        if let Some(c) = self.chunks.get(chunk) {
            let buf = c.buf;
            self.buffers.release(buf);
            self.chunks.free(chunk);
        }
    }

    /// Let `into`, a piece of received payload, take in `chunk`, if that follows it and nothing
    /// is lost by it: then true, and `chunk` is gone. Else tiny segments would each hold a buffer
    /// (Linux: `tcp_try_coalesce`).
    fn merge(&mut self, into: u32, chunk: u32) -> bool {
        let (Some(&a), Some(&b)) = (self.chunks.get(into), self.chunks.get(chunk)) else {
            return false;
        };
        if a.seq + a.len != b.seq {
            return false;
        }
        let (end, len) = ((a.off + a.len) as usize, b.len as usize);
        let side_by_side = a.buf == b.buf && a.off + a.len == b.off;
        if !side_by_side {
            let mut copy = [0; MERGED];
            let fits = len <= MERGED
                && Buffers::capacity(a.buf) == SMALL
                && end + len <= SMALL
                && self.buffers.refs(a.buf) == 1;
            if !fits {
                return false;
            }
            copy[..len].copy_from_slice(self.bytes(chunk));
            self.buffers.bytes_mut(a.buf)[end..end + len].copy_from_slice(&copy[..len]);
        }
        self.chunks[into].len += b.len;
        self.free(chunk);
        true
    }

    /// The bytes of a piece.
    pub fn bytes(&self, chunk: u32) -> &[u8] {
        let Some(c) = self.chunks.get(chunk) else {
            return &[];
        };
        self.buffers
            .bytes(c.buf)
            .get(c.off as usize..(c.off + c.len) as usize)
            .unwrap_or(&[])
    }
}

impl Queue {
    /// Append a piece.
    pub fn push(&mut self, p: &mut Pools<'_>, chunk: u32) {
        let len = p.chunks[chunk].len;
        p.chunks[chunk].next = 0;
        if self.tail == 0 {
            self.head = chunk;
        } else {
            p.chunks[self.tail].next = chunk;
        }
        self.tail = chunk;
        self.bytes += len;
        self.chunks += 1;
    }

    /// Append a piece of received payload, which follows the last one.
    pub fn push_received(&mut self, p: &mut Pools<'_>, chunk: u32) {
        let len = p.chunks[chunk].len;
        if p.merge(self.tail, chunk) {
            self.bytes += len;
        } else {
            self.push(p, chunk);
        }
    }

    /// Take the first piece off.
    pub fn pop(&mut self, p: &mut Pools<'_>) -> Option<u32> {
        let i = self.head;
        let c = *p.chunks.get(i)?;
        self.head = c.next;
        if self.head == 0 {
            self.tail = 0;
        }
        self.bytes = self.bytes.saturating_sub(c.len);
        self.chunks = self.chunks.saturating_sub(1);
        p.chunks[i].next = 0;
        self.eors = self.eors.saturating_sub(u32::from(c.eor));
        Some(i)
    }

    /// Free everything.
    pub fn clear(&mut self, p: &mut Pools<'_>) {
        while let Some(i) = self.pop(p) {
            p.free(i);
        }
        *self = Queue::default();
    }

    /// Drop `n` bytes from the front.
    pub fn consume(&mut self, p: &mut Pools<'_>, mut n: u32) {
        while n > 0 && self.head != 0 {
            let c = &mut p.chunks[self.head];
            if c.len > n {
                c.off += n;
                c.len -= n;
                c.seq += n;
                self.bytes -= n;
                return;
            }
            n -= c.len;
            if let Some(i) = self.pop(p) {
                p.free(i);
            }
        }
    }

    /// Drop what lies at `end` or beyond, in a list sorted by sequence number.
    pub fn cut(&mut self, p: &mut Pools<'_>, end: SeqNum) {
        let whole = core::mem::take(self);
        let mut i = whole.head;
        while let Some(&c) = p.chunks.get(i) {
            if c.seq.lt(end) {
                p.chunks[i].len = c.len.min(end - c.seq);
                self.push(p, i);
            } else {
                p.free(i);
            }
            i = c.next;
        }
    }

    /// Copy `data` to the end: into the free rest of the last buffer, then into new ones.
    /// `new_skb`: it begins what would be an sk_buff in Linux, in a piece of its own. Gives how much was copied; less
    /// than all means that the pools are used up.
    pub fn append(&mut self, p: &mut Pools<'_>, mut data: &[u8], new_skb: bool) -> usize {
        let whole = data.len();
        let mut begins = new_skb;
        while !data.is_empty() {
            let (buf, end) = match p.chunks.get(self.tail) {
                Some(c) => (c.buf, (c.off + c.len) as usize),
                None => (BufId::NONE, 0),
            };
            // Large buffers hold 64 KiB of payload.
            let room = match buf {
                BufId::NONE => 0,
                buf => Buffers::capacity(buf).min(65536).saturating_sub(end),
            };
            let n = data.len().min(room);
            if n == 0 || begins {
                if self.chunks > 0 && p.are_short() {
                    break;
                }
                // A new piece: of the same buffer while it has room, else of a new one.
                let (buf, off) = if n > 0 {
                    p.buffers.retain(buf);
                    (buf, end)
                } else {
                    match p
                        .buffers
                        .alloc_to_queue(data.len().min(65536), self.chunks == 0)
                    {
                        Some(buf) => (buf, 0),
                        None => break,
                    }
                };
                let Some(c) = p.chunk(buf, off as u32, 0, SeqNum(0)) else {
                    p.buffers.release(buf);
                    break;
                };
                self.push(p, c);
                if begins {
                    self.tail_skb = 0;
                    begins = false;
                }
                continue;
            }
            p.buffers.bytes_mut(buf)[end..end + n].copy_from_slice(&data[..n]);
            p.chunks[self.tail].len += n as u32;
            self.bytes += n as u32;
            self.tail_skb += n as u32;
            data = &data[n..];
        }
        whole - data.len()
    }

    /// What follows goes into segments of its own (MSG_EOR).
    pub fn end_record(&mut self, p: &mut Pools<'_>) {
        if let Some(c) = p.chunks.get_mut(self.tail) {
            self.eors += u32::from(!c.eor);
            c.eor = true;
        }
    }

    /// The last byte ends a record.
    pub fn at_record_end(&self, p: &Pools<'_>) -> bool {
        self.eors > 0 && p.chunks.get(self.tail).is_some_and(|c| c.eor)
    }

    /// The first end of a record beyond `offset`, in bytes from the front.
    pub fn record_end(&self, p: &Pools<'_>, offset: u32) -> Option<u32> {
        if self.eors == 0 {
            return None;
        }
        let (mut i, mut at) = (self.head, 0);
        while let Some(c) = p.chunks.get(i) {
            at += c.len;
            if c.eor && at > offset {
                return Some(at);
            }
            i = c.next;
        }
        None
    }

    /// Copy up to `out.len()` bytes from `offset` on, without taking them.
    pub fn peek(&self, p: &Pools<'_>, mut offset: usize, mut out: &mut [u8]) -> usize {
        let whole = out.len();
        let mut i = self.head;
        while i != 0 && !out.is_empty() {
            let bytes = p.bytes(i);
            if offset < bytes.len() {
                let n = (bytes.len() - offset).min(out.len());
                let (now, later) = out.split_at_mut(n);
                now.copy_from_slice(&bytes[offset..offset + n]);
                out = later;
                offset = 0;
            } else {
                offset -= bytes.len();
            }
            i = p.chunks[i].next;
        }
        whole - out.len()
    }

    /// The byte with sequence number `at`, if it is there.
    pub fn byte_at(&self, p: &Pools<'_>, at: SeqNum) -> Option<u8> {
        let mut i = self.head;
        while let Some(c) = p.chunks.get(i) {
            if at.ge(c.seq) && at.lt(c.seq + c.len) {
                return p.bytes(i).get((at - c.seq) as usize).copied();
            }
            i = c.next;
        }
        None
    }

    /// New pieces that refer to `len` bytes from `offset` on, sharing the buffers; the first
    /// has sequence number `seq`. `None` when pieces run out.
    pub fn share(
        &self,
        p: &mut Pools<'_>,
        mut offset: u32,
        mut len: u32,
        mut seq: SeqNum,
    ) -> Option<Queue> {
        let mut out = Queue::default();
        let mut i = self.head;
        while i != 0 && len > 0 {
            let c = p.chunks[i];
            if offset < c.len {
                let n = (c.len - offset).min(len);
                p.buffers.retain(c.buf);
                match p.chunk(c.buf, c.off + offset, n, seq) {
                    Some(new) => out.push(p, new),
                    None => {
                        p.buffers.release(c.buf);
                        out.clear(p);
                        return None;
                    }
                }
                seq += n;
                len -= n;
                offset = 0;
            } else {
                offset -= c.len;
            }
            i = c.next;
        }
        Some(out)
    }

    /// Insert a piece by its sequence number into a list sorted by it, trimming what is held
    /// already. Gives the index of the piece that now covers its bytes, 0 if none was new.
    pub fn insert_sorted(&mut self, p: &mut Pools<'_>, chunk: u32) -> u32 {
        let mut prev = 0;
        let mut at = self.head;
        // Mostly it belongs at the end.
        if self.tail != 0 && p.chunks[self.tail].seq.le(p.chunks[chunk].seq) {
            (prev, at) = (self.tail, 0);
        }
        // Skip everything that starts at or before the new piece.
        while at != 0 && p.chunks[at].seq.le(p.chunks[chunk].seq) {
            prev = at;
            at = p.chunks[at].next;
        }
        if prev != 0 {
            let before = p.chunks[prev];
            let end = before.seq + before.len;
            let new = &mut p.chunks[chunk];
            if end.gt(new.seq) {
                let overlap = end - new.seq;
                if overlap >= new.len {
                    p.free(chunk);
                    return 0;
                }
                new.off += overlap;
                new.len -= overlap;
                new.seq += overlap;
            }
        }
        // Cut what the pieces behind already hold; free those that are covered whole.
        while at != 0 {
            let new = p.chunks[chunk];
            let behind = p.chunks[at];
            let end = new.seq + new.len;
            if end.le(behind.seq) {
                break;
            }
            if end.lt(behind.seq + behind.len) {
                p.chunks[chunk].len = behind.seq - new.seq;
                break;
            }
            self.bytes -= behind.len;
            self.chunks -= 1;
            p.free(at);
            at = behind.next;
        }
        if p.chunks[chunk].len == 0 {
            p.free(chunk);
            // What was freed behind is linked past below.
            if prev == 0 {
                self.head = at
            } else {
                p.chunks[prev].next = at
            }
            if at == 0 {
                self.tail = prev;
            }
            return 0;
        }
        let len = p.chunks[chunk].len;
        if p.merge(prev, chunk) {
            p.chunks[prev].next = at;
            if at == 0 {
                self.tail = prev;
            }
            self.bytes += len;
            return prev;
        }
        p.chunks[chunk].next = at;
        if prev == 0 {
            self.head = chunk;
        } else {
            p.chunks[prev].next = chunk;
        }
        if at == 0 {
            self.tail = chunk;
        }
        self.bytes += p.chunks[chunk].len;
        self.chunks += 1;
        chunk
    }
}
