//! Packets for a capture file: whole ones, in a ring of bytes beside the events.
//!
//! Written only while somebody reads: a reader says again and again until when it will come
//! back ([`Capture::watch`]), so one that was killed leaves nothing switched on.

use crate::time::{Duration, Instant};

/// Bytes in the ring.
pub const SIZE: usize = 1 << 25;
/// How long the stack goes on capturing for a reader that doesn't come back.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Which link a packet was on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Link {
    /// The device, on its way out.
    #[default]
    Out = 0,
    /// The device, on its way in.
    In = 1,
    /// Between two sockets of the stack.
    Loop = 2,
}

/// What became of the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Verdict {
    /// It arrived, as far as the stack knows.
    #[default]
    Passed = 0,
    /// Impairment lost it.
    Lost = 1,
    /// The modelled bottleneck's queue was full.
    QueueFull = 2,
    /// The modelled link was out.
    Outage = 3,
    /// It was larger than the modelled path's MTU.
    TooBig = 4,
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Its number; gaps are packets that were overwritten before they were read.
    pub number: u64,
    /// When, by CLOCK_MONOTONIC, in nanoseconds.
    pub time: u64,
    /// By how much the model delays it, in nanoseconds of the stack's time.
    pub delay: u64,
    /// The process whose socket sent it; 0: not of this stack.
    pub from: u32,
    /// The process whose socket is to get it; 0: not of this stack, or nobody.
    pub to: u32,
    /// The packet's length.
    pub len: u32,
    /// How many bytes of it follow.
    pub kept: u32,
    /// Where the checksum that is left to the device starts, 0: it is complete ...
    pub csum_start: u16,
    /// ... and where from there it stands.
    pub csum_offset: u16,
    /// The link.
    pub link: Link,
    /// What became of it.
    pub verdict: Verdict,
    /// One bit of it is wrong on arrival.
    pub corrupted: bool,
    /// It arrives twice.
    pub twice: bool,
    /// It was held back, for others to overtake it.
    pub late: bool,
}

/// Bytes of a [`Record`] in the ring.
pub const HEADER: usize = 56;

impl Record {
    /// As in the ring.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let flags = u8::from(self.corrupted) | u8::from(self.twice) << 1 | u8::from(self.late) << 2;
        let mut out = [0; HEADER];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        for n in [self.number, self.time, self.delay] {
            put(&n.to_ne_bytes());
        }
        for n in [self.from, self.to, self.len, self.kept] {
            put(&n.to_ne_bytes());
        }
        put(&self.csum_start.to_ne_bytes());
        put(&self.csum_offset.to_ne_bytes());
        put(&[self.link as u8, self.verdict as u8, flags]);
        out
    }

    /// The inverse of [`Record::to_bytes`].
    pub fn from_bytes(bytes: &[u8; HEADER]) -> Record {
        let long = |at: usize| {
            let mut n = [0; 8];
            n.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(n)
        };
        let word = |at: usize| {
            let mut n = [0; 4];
            n.copy_from_slice(&bytes[at..at + 4]);
            u32::from_ne_bytes(n)
        };
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let flags = bytes[46];
        Record {
            number: long(0),
            time: long(8),
            delay: long(16),
            from: word(24),
            to: word(28),
            len: word(32),
            kept: word(36),
            csum_start: half(40),
            csum_offset: half(42),
            link: match bytes[44] {
                1 => Link::In,
                2 => Link::Loop,
                _ => Link::Out,
            },
            verdict: match bytes[45] {
                1 => Verdict::Lost,
                2 => Verdict::QueueFull,
                3 => Verdict::Outage,
                4 => Verdict::TooBig,
                _ => Verdict::Passed,
            },
            corrupted: flags & 1 != 0,
            twice: flags & 2 != 0,
            late: flags & 4 != 0,
        }
    }
}

/// The ring. Positions count bytes without end; records from `head` up to `tail` are whole.
#[repr(C)]
pub struct Capture {
    until: Instant,
    snap: u32,
    count: u64,
    head: u64,
    tail: u64,
    bytes: [u8; SIZE],
}

/// Where a record that is being written ends.
#[derive(Debug)]
#[must_use]
pub struct Writing {
    at: u64,
    end: u64,
}

impl Capture {
    /// Somebody reads, and comes back before [`PATIENCE`] is over. Of each packet, `snap` bytes
    /// are kept.
    pub fn watch(&mut self, now: Instant, snap: u32) {
        self.until = now + PATIENCE;
        self.snap = snap;
    }

    /// The reader has gone.
    pub fn leave(&mut self) {
        self.until = Instant(0);
    }

    /// Somebody reads, at `now` by the clock.
    pub fn is_watched(&self, now: Instant) -> bool {
        now < self.until
    }

    /// Where the next record will stand.
    pub fn end(&self) -> u64 {
        self.tail
    }

    /// Begin a record; its bytes follow by [`Capture::add`], then comes [`Capture::finish`].
    pub fn begin(&mut self, mut record: Record) -> Writing {
        self.count += 1;
        record.number = self.count;
        record.kept = record.len.min(self.snap);
        let start = self.tail;
        let end = start + HEADER as u64 + u64::from(record.kept);
        // Room, by forgetting the oldest records; what stands there is whole as long as `head`
        // says so.
        while end - self.head > SIZE as u64 {
            let mut header = [0; HEADER];
            self.copy_out(self.head, &mut header);
            let kept = Record::from_bytes(&header).kept;
            let next = self.head + HEADER as u64 + u64::from(kept);
            self.head = if next > self.tail { self.tail } else { next };
        }
        let mut writing = Writing { at: start, end };
        self.add(&mut writing, &record.to_bytes());
        writing
    }

    /// Add to the record, up to the bytes that are to be kept.
    pub fn add(&mut self, writing: &mut Writing, bytes: &[u8]) {
        let room = usize::try_from(writing.end - writing.at).unwrap_or(usize::MAX);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let start = (writing.at % SIZE as u64) as usize;
        let (first, second) = bytes.split_at(bytes.len().min(SIZE - start));
        self.bytes[start..start + first.len()].copy_from_slice(first);
        self.bytes[..second.len()].copy_from_slice(second);
        writing.at += bytes.len() as u64;
    }

    /// The record is whole.
    pub fn finish(&mut self, writing: Writing) {
        // After a death on the way there is no record.
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        self.tail = writing.end;
    }

    /// Copy whole records from position `from` on to the end of `out`, up to about `most`
    /// bytes; gives the position behind them.
    pub fn read(&self, from: u64, most: usize, out: &mut Vec<u8>) -> u64 {
        let mut at = from.clamp(self.head, self.tail);
        let stop = out.len() + most;
        while at < self.tail && out.len() < stop {
            let mut header = [0; HEADER];
            self.copy_out(at, &mut header);
            let len = HEADER + Record::from_bytes(&header).kept as usize;
            let start = out.len();
            out.resize(start + len, 0);
            self.copy_out(at, &mut out[start..]);
            at += len as u64;
        }
        at
    }

    fn copy_out(&self, from: u64, out: &mut [u8]) {
        let start = (from % SIZE as u64) as usize;
        let first = out.len().min(SIZE - start);
        let (a, b) = out.split_at_mut(first);
        a.copy_from_slice(&self.bytes[start..start + a.len()]);
        b.copy_from_slice(&self.bytes[..b.len()]);
    }
}

/// The records in what [`Capture::read`] gave.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = (Record, &[u8])> {
    core::iter::from_fn(move || {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let record = Record::from_bytes(header);
        let (packet, rest) = rest.split_at_checked(record.kept as usize)?;
        bytes = rest;
        Some((record, packet))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture() -> Box<Capture> {
        // SAFETY: plain numbers, of which zero is a value.
        #[allow(unsafe_code)]
        unsafe {
            Box::<Capture>::new_zeroed().assume_init()
        }
    }

    fn put(c: &mut Capture, n: u8, len: usize) {
        let record = Record {
            len: len as u32,
            from: n.into(),
            ..Record::default()
        };
        let mut w = c.begin(record);
        let bytes = vec![n; len];
        let (a, b) = bytes.split_at(len / 3);
        c.add(&mut w, a);
        c.add(&mut w, b);
        c.finish(w);
    }

    #[test]
    fn records_keep_what_they_hold() {
        let record = Record {
            number: 1,
            time: 2,
            delay: 3,
            from: 4,
            to: 5,
            len: 6,
            kept: 7,
            csum_start: 8,
            csum_offset: 9,
            link: Link::Loop,
            verdict: Verdict::TooBig,
            corrupted: true,
            twice: false,
            late: true,
        };
        assert_eq!(Record::from_bytes(&record.to_bytes()), record);
    }

    #[test]
    fn packets_are_cut_at_the_snap_length() {
        let mut c = capture();
        c.watch(Instant(0), 10);
        assert!(c.is_watched(Instant(1)) && !c.is_watched(Instant(0) + PATIENCE));
        put(&mut c, 1, 5);
        put(&mut c, 2, 50);
        let mut out = Vec::new();
        let end = c.read(0, 1 << 20, &mut out);
        assert_eq!(end, c.end());
        let all: Vec<_> = records(&out).collect();
        assert_eq!((all[0].0.kept, all[0].1), (5, &[1u8; 5][..]));
        assert_eq!((all[1].0.len, all[1].1), (50, &[2u8; 10][..]));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut c = capture();
        c.watch(Instant(0), 65536);
        let len = 60_011;
        for n in 0..2000u32 {
            put(&mut c, n as u8, len);
        }
        let mut out = Vec::new();
        let (mut at, mut next) = (0, None);
        loop {
            out.clear();
            let new = c.read(at, 1 << 20, &mut out);
            if new == at {
                break;
            }
            at = new;
            for (record, packet) in records(&out) {
                assert_eq!(next.unwrap_or(record.number), record.number);
                assert!(packet.len() == len && packet.iter().all(|b| *b == record.from as u8));
                next = Some(record.number + 1);
            }
        }
        assert_eq!(next, Some(2001));
    }
}
