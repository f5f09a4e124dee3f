//! Pieces of packets of both families, in any order, overlapping, lying about the end, too many,
//! too late: the host puts together exactly those packets that a simple model does, holds exactly
//! those buffers, and what was put together is what was cut.

use crate::input::Input;
use crate::rig::{Rig, fill_in, v4, v6};
use utcp_stack::stack::Host;
use utcp_stack::tcp::Sysctl;
use utcp_stack::time::{Duration, Instant};
use utcp_stack::wire::Sum;

/// What Linux and this stack hold at most: packets, and separate stretches of one.
const PACKETS: usize = 16;
const STRETCHES: usize = 32;
/// Pieces begin at multiples of so many bytes.
const UNIT: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    v6: bool,
    peer: u8,
    id: u8,
}

/// A packet as the model knows it. Only the last piece may end within a unit of eight bytes, and
/// then the end is known.
struct Incomplete {
    key: Key,
    until: Instant,
    /// Which units are there.
    covered: Vec<bool>,
    total: usize,
    honest: bool,
}

#[derive(Default)]
struct Model {
    packets: Vec<Incomplete>,
    whole: u32,
}

/// What a piece says of itself.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    end: usize,
    last: bool,
}

impl Model {
    /// A piece comes; true if it completes a packet, all of whose pieces were honest.
    fn piece(&mut self, key: Key, piece: Piece, honest: bool, now: Instant) -> bool {
        let at = self.packets.iter().position(|p| p.key == key);
        let at = at.unwrap_or_else(|| self.begin(key, now));
        let p = &mut self.packets[at];
        p.honest &= honest;
        let reached = p
            .covered
            .iter()
            .rposition(|c| *c)
            .map_or(0, |last| (last + 1) * UNIT);
        let ends = if piece.last {
            p.total == piece.end || p.total == 0 && reached <= piece.end
        } else {
            p.total == 0 || piece.end <= p.total
        };
        if !ends {
            self.packets.remove(at);
            return false;
        }
        if piece.last {
            p.total = piece.end;
        }
        let place = &mut p.covered[piece.start / UNIT..piece.end.div_ceil(UNIT)];
        if place.iter().all(|c| *c) {
            return false;
        }
        let overlaps = place.iter().any(|c| *c);
        place.fill(true);
        let stretches = p.covered.chunk_by(|a, b| a == b).filter(|run| run[0]);
        if overlaps || stretches.count() > STRETCHES {
            self.packets.remove(at);
            return false;
        }
        let complete = p.total != 0 && p.covered[..p.total.div_ceil(UNIT)].iter().all(|c| *c);
        if !complete {
            return false;
        }
        self.whole += 1;
        self.packets.remove(at).honest
    }

    fn begin(&mut self, key: Key, now: Instant) -> usize {
        if self.packets.len() == PACKETS {
            let oldest = self.packets.iter().enumerate().min_by_key(|(_, p)| p.until);
            let oldest = oldest.map_or(0, |(at, _)| at);
            self.packets.remove(oldest);
        }
        self.packets.push(Incomplete {
            key,
            until: now + Duration::from_secs(if key.v6 { 60 } else { 30 }),
            covered: vec![false; 65_536 / UNIT],
            total: 0,
            honest: true,
        });
        self.packets.len() - 1
    }
}

/// An echo request of `len` bytes in all, its checksum right.
fn echo(key: Key, len: usize) -> Vec<u8> {
    let mut body: Vec<u8> = (0..len)
        .map(|i| (i * 7 + usize::from(key.id)) as u8)
        .collect();
    body[..8].copy_from_slice(&[if key.v6 { 128 } else { 8 }, 0, 0, 0, 0, 1, 0, key.id]);
    if key.v6 {
        let mut sum = Sum::new();
        let (src, dst) = (v6(key.peer).octets(), v6(1).octets());
        sum.add_pseudo_header(&src, &dst, 58, len);
        sum.add(&body);
        body[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    } else {
        fill_in(&mut body, 2);
    }
    body
}

fn packet(key: Key, piece: Piece, content: &[u8]) -> Vec<u8> {
    let place = (piece.start / 8) as u16;
    if key.v6 {
        let mut p = vec![0x60, 0, 0, 0, 0, 0, 44, 64];
        p.extend(v6(key.peer).octets().into_iter().chain(v6(1).octets()));
        p.extend([58, 0]);
        p.extend((place << 3 | u16::from(!piece.last)).to_be_bytes());
        p.extend([0, 0, 0, key.id]);
        p.extend(content);
        let len = (p.len() - 40) as u16;
        p[4..6].copy_from_slice(&len.to_be_bytes());
        return p;
    }
    let mut p = vec![0x45, 0, 0, 0, 0, key.id];
    p.extend((place | if piece.last { 0 } else { 0x2000 }).to_be_bytes());
    p.extend([64, 1, 0, 0]);
    p.extend(v4(key.peer).octets().into_iter().chain(v4(1).octets()));
    let len = (p.len() + content.len()) as u16;
    p[2..4].copy_from_slice(&len.to_be_bytes());
    fill_in(&mut p, 10);
    p.extend(content);
    p
}

/// Do what the input says.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut rig = Rig::new(1, false, Sysctl::default());
    let mut model = Model::default();
    for _ in 0..300 {
        if input.is_over() {
            break;
        }
        if input.below(16) == 0 {
            let ms = input.one_of(&[1, 1000, 10_000, 29_999, 30_000, 60_000]);
            rig.now = rig.now + Duration::from_millis(ms);
        } else {
            send_piece(&mut input, &mut rig, &mut model);
        }
        compare(&mut rig, &model);
        // No two packets are equally old.
        rig.now = rig.now + Duration::from_nanos(1_000_001);
        rig.with(|h| h.run_timers());
        model.packets.retain(|p| p.until > rig.now);
    }
    rig.let_all_end();
}

fn send_piece(input: &mut Input<'_>, rig: &mut Rig, model: &mut Model) {
    let set = input.byte();
    let key = Key {
        v6: set & 1 == 1,
        peer: 2 + (set >> 1 & 1),
        id: input.byte() % 12,
    };
    // How long a packet is follows from its name.
    let len = 64 + usize::from(key.id) * 110;
    let content = echo(key, len);
    let unit = [8, 64, 256, 1200][usize::from(set >> 2 & 3)];
    let start = (input.below(32) * unit).min(len.saturating_sub(1)) / 8 * 8;
    let mut piece = Piece {
        start,
        end: (start + unit).min(len),
        last: start + unit >= len,
    };
    let mut honest = true;
    let mut bytes = content[piece.start..piece.end].to_vec();
    if set >> 4 == 15 {
        // Anywhere up to the greatest packet, and whatever it says of the end.
        honest = false;
        piece.start = usize::from(input.u16()) & 0xfff8;
        let most = 65_535 - 40 - piece.start.min(65_000);
        let n = (1 + input.below(255)).min(most).next_multiple_of(8);
        piece.last = input.chance();
        piece.end = piece.start + n;
        bytes = vec![0xee; n];
        // Beyond the greatest packet it is no piece at all.
        if piece.end + 40 > 65_535 {
            return;
        }
    }
    let whole = piece.start == 0 && piece.last;
    let sent = rig.wire.sent;
    rig.arrives(packet(key, piece, &bytes));
    rig.receive();
    if whole {
        // Not a piece of anything (IPv4), or one with a header that says nothing (IPv6).
        return;
    }
    if model.piece(key, piece, honest, rig.now) {
        assert_eq!(rig.wire.sent, sent + 1, "an echo request of {len} bytes");
    }
}

fn compare(rig: &mut Rig, model: &Model) {
    rig.with(|h: &mut Host<'_>| {
        let large = h.sh.buffers.in_use().1;
        assert_eq!(large as usize, model.packets.len(), "incomplete packets");
        assert_eq!(h.sh.counters.reasm_oks as u32, model.whole, "whole ones");
    });
}
