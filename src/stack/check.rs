//! What must hold of the stack's state whenever nobody is changing it.
//!
//! [`Host::check`] walks everything: tables against sockets, queues against pieces against
//! buffers, timers, listeners, waiters. It is for tests, fuzzing and diagnosis, takes as long as
//! it takes, and uses the heap.

use super::buffers::BufId;
use super::queue::Queue;
use super::{Host, SockId, Socket};
use crate::tcp::{State, records_in_use};
use crate::time::Instant;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;

/// What was found wrong.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        // More would say nothing new.
        if !holds && self.0.len() < 20 {
            self.0.push(what());
        }
    }

    fn same<T: PartialEq + Display>(&mut self, what: impl Display, is: T, should: T) {
        self.expect(is == should, || format!("{what}: {is}, should be {should}"));
    }
}

/// A socket, to be told of.
#[derive(Clone, Copy)]
struct Name<'a>(u32, &'a Socket);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Name(index, s) = self;
        let state = s.state();
        write!(f, "socket {index} ({state:?} {} {})", s.local, s.remote)
    }
}

/// References counted by walking.
#[derive(Default)]
struct Counted {
    chunks: HashSet<u32>,
    buffers: HashMap<u32, (BufId, u32)>,
}

impl Host<'_> {
    /// Everything that is wrong, as text; empty when all is well. To be called between calls:
    /// while one runs, much of this does not hold.
    pub fn check(&self) -> Vec<String> {
        let mut f = Findings::default();
        self.check_pools(&mut f);
        self.check_payload(&mut f);
        self.check_connections(&mut f);
        self.check_ports(&mut f);
        self.check_listeners(&mut f);
        self.check_timers(&mut f);
        self.check_waiting(&mut f);
        for (index, s) in self.sh.sockets.iter_in_use() {
            self.check_socket(index, s, &mut f);
            if s.open && s.tcb.state != State::Closed && s.remote.addr.is_v4() {
                let what = format_args!("IP options of {}", Name(index, s));
                f.same(what, s.tcb.ip_options(), s.ip_options.len());
            }
        }
        let mut tallies = super::Tallies::default();
        for (index, s) in self.sh.sockets.iter_in_use() {
            f.expect(s.tally == s.counts_as(), || {
                format!("socket {index} counts as {:?}", s.tally)
            });
            tallies.time_waits += u32::from(s.tally == super::Tally::TimeWait);
            tallies.orphans += u32::from(s.tally == super::Tally::Orphan);
        }
        f.expect(self.sh.tallies == tallies, || {
            format!("{:?}, should be {tallies:?}", self.sh.tallies)
        });
        f.same("sockets in the journal", self.sh.journal_len, 0);
        f.same("segments left on the loopback", self.sh.looped.len(), 0);
        f.0
    }

    fn check_pools(&self, f: &mut Findings) {
        let sh = &*self.sh;
        let (small, large) = sh.buffers.free_lists();
        for (name, sound) in [
            ("sockets", sh.sockets.free_list_is_sound()),
            ("pieces", sh.chunks.free_list_is_sound()),
            ("waiters", sh.waiters.free_list_is_sound()),
            ("small buffers", small),
            ("large buffers", large),
        ] {
            f.expect(sound, || format!("the free list of {name} is broken"));
        }
        for index in 1..=sh.sockets.high_water() {
            let generation = sh.sockets.slot(index).map_or(0, |s| s.generation);
            let used = sh.sockets.is_in_use(index);
            f.expect(used == (generation != 0), || {
                format!("socket {index}: in use {used}, generation {generation}")
            });
        }
    }

    /// Every piece is in one queue, every buffer has as many references as pieces.
    fn check_payload(&self, f: &mut Findings) {
        let mut counted = Counted::default();
        for (index, s) in self.sh.sockets.iter_in_use() {
            for (name, q) in [("tx", &s.tx), ("rx", &s.rx), ("ooo", &s.ooo)] {
                self.check_queue(format_args!("{name} of socket {index}"), q, &mut counted, f);
            }
        }
        for q in self.sh.looped.payloads() {
            self.check_queue("a looped segment", q, &mut counted, f);
        }
        for buf in self.sh.fragments.buffers() {
            counted.buffers.entry(buf.number()).or_insert((buf, 0)).1 += 1;
        }
        for load in self.sh.links.held.loads() {
            if let Some(q) = super::held::payload(&load) {
                self.check_queue("a segment under way", &q, &mut counted, f);
            }
            if let super::held::Load::Packet { buf, .. } = load {
                let entry = counted.buffers.entry(buf.number());
                entry.or_insert((buf, 0)).1 += 1;
            }
        }
        let in_use = self.sh.chunks.in_use();
        f.same("pieces in use", in_use, counted.chunks.len() as u32);
        let mut used = (0, 0);
        for &(buf, references) in counted.buffers.values() {
            let refs = self.sh.buffers.refs(buf);
            f.same(format_args!("references of {buf:?}"), refs, references);
            if super::buffers::Buffers::capacity(buf) == super::buffers::LARGE {
                used.1 += 1;
            } else {
                used.0 += 1;
            }
        }
        let mut records = 0;
        for (index, s) in self.sh.sockets.iter_in_use() {
            match s.tcb.check_sent(&self.sh.sent) {
                Ok(n) => records += n,
                Err(why) => f.expect(false, || format!("records of socket {index}: {why}")),
            }
        }
        f.same("records in use", records_in_use(&self.sh.sent), records);
        let (small, large) = self.sh.buffers.in_use();
        f.same("small buffers in use", small, used.0);
        f.same("large buffers in use", large, used.1);
    }

    fn check_queue(
        &self,
        name: impl Display + Copy,
        q: &Queue,
        counted: &mut Counted,
        f: &mut Findings,
    ) {
        let (mut bytes, mut chunks, mut eors, mut last) = (0, 0, 0, 0);
        let mut i = q.head;
        while i != 0 {
            let Some(c) = self.sh.chunks.get(i) else {
                return f.expect(false, || format!("{name}: piece {i} is not in use"));
            };
            if !counted.chunks.insert(i) {
                return f.expect(false, || format!("{name}: piece {i} is in a queue already"));
            }
            let capacity = self.sh.buffers.bytes(c.buf).len();
            f.expect(
                c.len > 0 && (c.off as usize + c.len as usize) <= capacity,
                || format!("{name}: piece {i} is {c:?} of {capacity} bytes"),
            );
            let entry = counted.buffers.entry(c.buf.number());
            entry.or_insert((c.buf, 0)).1 += 1;
            bytes += c.len;
            chunks += 1;
            eors += u32::from(c.eor);
            last = i;
            i = c.next;
        }
        f.same(format_args!("bytes in {name}"), q.bytes, bytes);
        f.same(format_args!("pieces in {name}"), q.chunks, chunks);
        f.same(format_args!("records in {name}"), q.eors, eors);
        f.same(format_args!("last piece of {name}"), q.tail, last);
    }

    fn check_connections(&self, f: &mut Findings) {
        let sockets = &self.sh.sockets;
        let mut seen = HashSet::new();
        for (bucket, head) in heads(&self.sh.conn_table) {
            let mut i = head;
            while i != 0 {
                let Some(s) = sockets.get(i) else {
                    f.expect(false, || format!("bucket {bucket}: no socket {i}"));
                    break;
                };
                if !seen.insert(i) {
                    f.expect(false, || format!("bucket {bucket}: socket {i} again"));
                    break;
                }
                f.expect(s.hashed, || format!("socket {i} in a bucket, not hashed"));
                let found = self.sh.find_connection(s.local, s.remote);
                f.expect(found == Some(i), || {
                    format!("{} {}: finds {found:?}, not {i}", s.local, s.remote)
                });
                i = s.hash_next;
            }
        }
        let hashed = sockets.iter_in_use().filter(|(_, s)| s.hashed).count();
        f.same("sockets in buckets", seen.len(), hashed);
    }

    fn check_ports(&self, f: &mut Findings) {
        let sockets = &self.sh.sockets;
        let mut seen = HashSet::new();
        for (port, head) in heads(&self.sh.port_table) {
            let (mut prev, mut i) = (0, head);
            let mut listeners_over = false;
            while i != 0 {
                let Some(s) = sockets.get(i) else {
                    f.expect(false, || format!("port {port}: no socket {i}"));
                    break;
                };
                if !seen.insert(i) {
                    f.expect(false, || format!("port {port}: socket {i} again"));
                    break;
                }
                f.expect(s.has_port && usize::from(s.local.port) == port, || {
                    format!("port {port}: socket {i} is at {}", s.local)
                });
                f.expect(s.port_prev == prev, || {
                    format!(
                        "port {port}: socket {i} comes after {prev}, not {}",
                        s.port_prev
                    )
                });
                f.expect(!(s.listening && listeners_over), || {
                    format!("port {port}: socket {i} listens, but stands behind others")
                });
                listeners_over |= !s.listening;
                (prev, i) = (i, s.port_next);
            }
        }
        let bound = sockets.iter_in_use().filter(|(_, s)| s.has_port).count();
        f.same("sockets at ports", seen.len(), bound);
    }

    fn check_listeners(&self, f: &mut Findings) {
        let sockets = &self.sh.sockets;
        let mut half_open: HashMap<SockId, u32> = HashMap::new();
        let mut complete: HashMap<SockId, u32> = HashMap::new();
        let mut young: HashMap<SockId, u32> = HashMap::new();
        for (index, s) in sockets.iter_in_use().filter(|(_, s)| s.embryonic) {
            let queue = if s.was_connected {
                &mut complete
            } else {
                &mut half_open
            };
            *queue.entry(s.parent).or_default() += 1;
            if s.young {
                *young.entry(s.parent).or_default() += 1;
            }
            f.expect(!s.young || !s.was_connected, || {
                format!("child {index} is complete and young")
            });
            let parent = self.socket(s.parent);
            f.expect(s.orphan && parent.is_ok_and(|l| l.listening), || {
                format!("child {index} has no listener, or a descriptor")
            });
        }
        let mut early: HashMap<SockId, u32> = HashMap::new();
        for (_, s) in sockets.iter_in_use().filter(|(_, s)| s.early) {
            *early.entry(s.parent).or_default() += 1;
        }
        for (index, s) in sockets.iter_in_use() {
            let id = self.id_of(index, s);
            let resets = self.sh.fast_resets.count(id);
            let pending = early.get(&id).copied().unwrap_or(0) + resets;
            f.same(format_args!("early of {index}"), s.fast_pending, pending);
            let counts = (
                half_open.get(&id).copied().unwrap_or(0),
                complete.get(&id).copied().unwrap_or(0),
            );
            f.same(format_args!("half-open of {index}"), s.syn_len, counts.0);
            let young = young.get(&id).copied().unwrap_or(0);
            f.same(format_args!("young of {index}"), s.syn_young, young);
            f.same(format_args!("complete of {index}"), s.accept_len, counts.1);
            let (mut i, mut last, mut len) = (s.accept_head, 0, 0);
            while let Some(child) = sockets.get(i).filter(|_| len <= counts.1) {
                f.expect(
                    child.embryonic && child.was_connected && child.parent == id,
                    || format!("socket {i} in the queue of {index}"),
                );
                len += 1;
                last = i;
                i = child.accept_next;
            }
            f.same(format_args!("queue of listener {index}"), len, counts.1);
            f.same(
                format_args!("end of the queue of {index}"),
                s.accept_tail,
                last,
            );
        }
    }

    fn check_timers(&self, f: &mut Findings) {
        let timers = &self.sh.timers;
        f.expect(timers.is_sound(), || "the heap is not one".into());
        f.expect(self.sh.links.held.is_sound(), || {
            "what links hold is not in order".into()
        });
        let mut armed = 0;
        for (index, s) in self.sh.sockets.iter_in_use() {
            if s.timer_slot != 0 {
                armed += 1;
                let at = timers.socket_at(s.timer_slot);
                f.same(format_args!("socket at {}", s.timer_slot), at, index);
            }
            if s.open && s.tcb.deadline() != Instant::NEVER {
                let at = timers.at(s.timer_slot);
                f.expect(at <= s.tcb.deadline(), || {
                    format!("socket {index}: due {:?}, armed {at:?}", s.tcb.deadline())
                });
            }
        }
        f.same("timers", timers.len(), armed);
    }

    /// Waiters, the mirror's queue.
    fn check_waiting(&self, f: &mut Findings) {
        let sockets = &self.sh.sockets;
        for (index, s) in sockets.iter_in_use() {
            for &w in s.waiters.iter().filter(|w| **w != 0) {
                f.expect(self.sh.waiters.is_in_use(w.into()), || {
                    format!("waiter {w} of socket {index} does not exist")
                });
            }
        }
        let mut queued = HashSet::new();
        for index in self.sh.mirror_queue() {
            if sockets.get(index).is_some_and(|s| s.mirror_queued) {
                queued.insert(index);
            }
        }
        let flagged = sockets.iter_in_use().filter(|(_, s)| s.mirror_queued);
        f.same("sockets to mirror", queued.len(), flagged.count());
    }

    /// One socket by itself.
    fn check_socket(&self, index: u32, s: &Socket, f: &mut Findings) {
        let state = s.state();
        let name = Name(index, s);
        let alive = s.open && state != State::Closed;
        f.expect(!alive || s.hashed && s.has_port, || {
            format!("{}: not to be found", name)
        });
        f.expect(!s.hashed || alive, || format!("{}: found, dead", name));
        f.expect(!s.listening || s.has_port && !s.open, || {
            format!("{}: listens without a port", name)
        });
        f.expect(!s.tx_pending, || {
            format!("{}: waits for the loopback", name)
        });
        // Nobody would ever close it.
        let forgotten = s.orphan && !s.embryonic;
        f.expect(!forgotten || alive, || format!("{}: forgotten", name));
        f.expect(
            !(forgotten || s.embryonic && !s.was_connected)
                || !alive
                || s.tcb.deadline() != Instant::NEVER,
            || format!("{}: held by nobody, no timer: {:?}", name, s.tcb),
        );
        if alive {
            self.check_streams(name, s, f);
        } else {
            f.same(format_args!("unsent of {}", name), s.tx.bytes, 0);
            f.same(format_args!("reordered of {}", name), s.ooo.bytes, 0);
        }
    }

    /// A connection's queues against its sequence numbers.
    fn check_streams(&self, name: Name<'_>, s: &Socket, f: &mut Findings) {
        let chunks = |q: &Queue| {
            let mut i = q.head;
            std::iter::from_fn(move || {
                let c = self.sh.chunks.get(i)?;
                i = c.next;
                Some(*c)
            })
            .take(1 << 18)
        };
        f.same(
            format_args!("{}: bytes to send", name),
            s.tx.bytes,
            s.tcb.send_queue(),
        );
        // The peer's FIN takes a number, and no byte.
        let fin = u32::from(s.tcb.peer_closed());
        let end = crate::tcp::SeqNum(s.tcb.rcv_nxt().0.wrapping_sub(fin));
        let mut next = crate::tcp::SeqNum(end.0.wrapping_sub(s.rx.bytes));
        for c in chunks(&s.rx) {
            f.expect(c.seq == next, || {
                format!("{}: received {:?}, expected {next:?}", name, c.seq)
            });
            next = c.seq + c.len;
        }
        let mut next = end + 1;
        for c in chunks(&s.ooo) {
            f.expect(c.seq.ge(next), || {
                format!("{}: ahead {:?}, expected {next:?}", name, c.seq)
            });
            next = c.seq + c.len;
        }
        f.expect(!s.tcb.peer_closed() || s.ooo.head == 0, || {
            format!("{}: data beyond the FIN", name)
        });
    }
}

/// The entries of a table that are not empty: its place, and the head of its list.
fn heads(table: &[u32]) -> impl Iterator<Item = (usize, u32)> {
    // Most of it is empty, and comparing is fast: a large part, then the small ones within it.
    const LARGE: usize = 1 << 14;
    const SMALL: usize = 1 << 8;
    let large = used(0, table, LARGE);
    large
        .flat_map(|(at, part)| used(at, part, SMALL))
        .flat_map(|(at, part)| {
            let places = part.iter().enumerate().filter(|(_, head)| **head != 0);
            places.map(move |(i, head)| (at + i, *head))
        })
}

/// The parts of `size` entries, and where they begin, that are not empty.
fn used(at: usize, table: &[u32], size: usize) -> impl Iterator<Item = (usize, &[u32])> {
    static EMPTY: [u32; 1 << 14] = [0; 1 << 14];
    let parts = table.chunks(size).enumerate();
    let used = parts.filter(|(_, part)| *part != &EMPTY[..part.len()]);
    used.map(move |(n, part)| (at + n * size, part))
}
