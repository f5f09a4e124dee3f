//! The eyes of a capture: what passes on the links, told to whoever records it.

use super::Host;
use super::buffers::BufId;
use super::impair::looped_fields;
use super::output::Looped;
use crate::addr::Endpoint;
use crate::impair::{Drop, Fate, Way};
use crate::link::VnetHdr;
use crate::time::Instant;
use crate::trace::capture::{Link, Record, Verdict};
use crate::wire;

impl Host<'_> {
    pub(super) fn capture(&mut self, way: Way, buf: BufId, len: usize, vnet: &VnetHdr, seen: Seen) {
        let real = self.sh.pace.real(self.now);
        if !self.sh.capture.is_watched(real) {
            return self.attend();
        }
        let packet = self.sh.buffers.bytes(buf).get(..len).unwrap_or_default();
        let owner = wire::endpoints(packet).map_or(0, |(src, dst)| {
            let ends = [
                Endpoint::new(src.0.into(), src.1),
                Endpoint::new(dst.0.into(), dst.1),
            ];
            let [src, dst] = ends;
            match way {
                Way::Out => self.owner_of(src, dst),
                _ => self.owner_of(dst, src),
            }
        });
        let partial = vnet.flags & VnetHdr::NEEDS_CSUM != 0;
        let record = Record {
            time: real.0,
            len: len as u32,
            link: if way == Way::Out { Link::Out } else { Link::In },
            from: if way == Way::Out { owner } else { 0 },
            to: if way == Way::Out { 0 } else { owner },
            csum_start: if partial { vnet.csum_start } else { 0 },
            csum_offset: if partial { vnet.csum_offset } else { 0 },
            ..seen.record()
        };
        self.record(record, buf, len);
    }

    pub(super) fn capture_looped(&mut self, l: &Looped, seen: Seen) {
        let real = self.sh.pace.real(self.now);
        if !self.sh.capture.is_watched(real) {
            return self.attend();
        }
        let src = Endpoint::new(l.src, l.segment.src_port);
        let dst = Endpoint::new(l.dst, l.segment.dst_port);
        let ip = looped_fields(l);
        let packet = self.packet(src, dst, &l.segment, (&l.payload, 0), &ip, (0, false));
        let Some((buf, len, _)) = packet else { return };
        let record = Record {
            time: real.0,
            len: len as u32,
            link: Link::Loop,
            from: self.owner_of(src, dst),
            to: self.owner_of(dst, src),
            ..seen.record()
        };
        self.record(record, buf, len);
        self.sh.buffers.release(buf);
    }

    fn record(&mut self, record: Record, buf: BufId, len: usize) {
        let packet = self.sh.buffers.bytes(buf).get(..len).unwrap_or_default();
        let capture = &mut self.sh.capture;
        let mut writing = capture.begin(record);
        capture.add(&mut writing, packet);
        capture.finish(writing);
    }

    /// The process with the connection, or with the listener that would take it.
    fn owner_of(&self, local: Endpoint, remote: Endpoint) -> u32 {
        let connection = self.sh.find_connection(local, remote);
        let socket = connection.or_else(|| self.sh.find_listener(local, remote));
        let mut s = socket.and_then(|i| self.sh.sockets.get(i));
        // A child that nobody has accepted yet is the listener's.
        if let Some(child) = s
            && child.embryonic
            && let Ok(parent) = self.socket(child.parent)
        {
            s = Some(parent);
        }
        s.map_or(0, |s| s.owner.pid)
    }
}

/// What a capture says of a packet's fate.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    verdict: Verdict,
    delay: u64,
    corrupted: bool,
    twice: bool,
    late: bool,
}

impl Seen {
    pub(super) fn of(fate: &Fate, now: Instant) -> Seen {
        match fate {
            Fate::Dropped(why) => Seen {
                verdict: match why {
                    Drop::Loss => Verdict::Lost,
                    Drop::Queue => Verdict::QueueFull,
                    Drop::Outage => Verdict::Outage,
                    Drop::TooBig => Verdict::TooBig,
                },
                ..Seen::default()
            },
            Fate::Arrives(a) => Seen {
                verdict: Verdict::Passed,
                delay: a.due.0.saturating_sub(now.0),
                corrupted: a.flip.is_some(),
                twice: a.twice,
                late: a.late,
            },
        }
    }

    fn record(&self) -> Record {
        Record {
            verdict: self.verdict,
            delay: self.delay,
            corrupted: self.corrupted,
            twice: self.twice,
            late: self.late,
            ..Record::default()
        }
    }
}
