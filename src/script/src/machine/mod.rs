//! This project's stack as a machine of its own: sockets behind descriptors, a wire of packets,
//! and time that passes only when it is told to.

mod calls;
mod epoll;
mod options;
pub mod sysctl;
mod transfer;

use crate::codec::{ACK, SYN};
use crate::request::{Reply, Request};
use calls::Progress;
use std::collections::{BTreeMap, VecDeque};
use utcp_stack::addr::Addr;
use utcp_stack::arena::Arena;
use utcp_stack::link::{Device, Sent, VnetHdr};
use utcp_stack::stack::wait::WakeSet;
use utcp_stack::stack::{Host, Shared, SockId};
use utcp_stack::tcp::Sysctl;
use utcp_stack::time::{Duration, Instant};

/// A device whose far end is in our hands.
#[derive(Default)]
struct Wire {
    now: Instant,
    mtu: u16,
    offload: bool,
    out: VecDeque<(Instant, Vec<u8>)>,
    inward: VecDeque<Vec<u8>>,
}

impl Device for Wire {
    fn send(&mut self, hdr: &VnetHdr, parts: &[&[u8]]) -> Sent {
        let mut packet = parts.concat();
        if hdr.flags & VnetHdr::NEEDS_CSUM != 0 {
            complete_checksum(&mut packet, hdr);
        }
        self.out.push_back((self.now, packet));
        Sent::Done
    }
    fn recv_parts(&mut self, parts: &mut [&mut [u8]]) -> Option<(VnetHdr, usize)> {
        let packet = self.inward.pop_front()?;
        let mut rest: &[u8] = &packet;
        for part in parts {
            let n = rest.len().min(part.len());
            part[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
        }
        Some((VnetHdr::PLAIN, packet.len() - rest.len()))
    }
    fn mtu(&self) -> u16 {
        self.mtu
    }
    fn offload(&self) -> bool {
        self.offload
    }
}

/// The field holds the pseudo-header's sum; make it the whole checksum.
fn complete_checksum(packet: &mut [u8], hdr: &VnetHdr) {
    let start = usize::from(hdr.csum_start);
    let at = start + usize::from(hdr.csum_offset);
    let Some(body) = packet.get(start..) else {
        return;
    };
    let check = !crate::codec::sum(&[body]);
    if let Some(field) = packet.get_mut(at..at + 2) {
        field.copy_from_slice(&check.to_be_bytes());
    }
}

/// Whether a packet is (or contains) a SYN without an ACK.
pub fn opens(packet: &[u8]) -> bool {
    let headers = match packet.first() {
        Some(b) if b >> 4 == 4 => usize::from(b & 15) * 4,
        _ => 40,
    };
    let flags = packet.get(headers + 13);
    flags.is_some_and(|f| f & (SYN | ACK) == SYN)
}

/// What a descriptor stands for.
enum Descriptor {
    Socket {
        id: SockId,
        nonblock: bool,
        flags: i32,
    },
    Epoll(epoll::Interest),
}

/// The host's addresses.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// IPv4 and its prefix length.
    pub v4: (core::net::Ipv4Addr, u8),
    /// IPv6 and its prefix length.
    pub v6: (core::net::Ipv6Addr, u8),
    /// MTU of the device.
    pub mtu: u16,
    /// The device takes large segments, and packets leave the machine so.
    pub offload: bool,
}

/// A call that blocks.
struct Blocked {
    ticket: u64,
    request: Request,
    progress: Progress,
}

/// See the module.
pub struct Machine {
    arena: Arena<Shared>,
    wire: Wire,
    /// The host's settings; sockets take them when they are made.
    pub sysctl: Sysctl,
    /// Where descriptors begin.
    pub first_fd: i32,
    /// The wall clock at the beginning, since 1970.
    pub epoch: Duration,
    descriptors: BTreeMap<i32, Descriptor>,
    blocked: Vec<Blocked>,
    /// Calls that blocked and came to their ends: when, and how.
    done: BTreeMap<u64, (Instant, Reply)>,
    tickets: u64,
}

/// How a call began.
pub enum Begun {
    /// It is over.
    Done(Reply),
    /// It blocks; [`Machine::finished`] of this tells of its end.
    Blocks(u64),
}

/// The host's device by name, for SO_BINDTODEVICE.
pub const DEVICE: &str = "utcp0";

/// Uptime at the beginning: a host has been running for a while.
const BOOT: Instant = Instant(1_000_000_000_000);

impl Machine {
    /// A new host; `None` when there is no memory for one.
    pub fn new(addresses: Addresses, seed: u8) -> Option<Machine> {
        let arena = Arena::<Shared>::private().ok()?;
        {
            let mut shared = arena.lock();
            shared.secret = [seed; 16];
            let c = &mut shared.config;
            (c.addr4, c.prefix4) = (Addr::v4(addresses.v4.0), addresses.v4.1);
            (c.addr6, c.prefix6) = (Addr::v6(addresses.v6.0), addresses.v6.1);
            // Everything else is behind the device.
            c.gateway4 = Addr::v4(core::net::Ipv4Addr::from(u32::from(addresses.v4.0) ^ 3));
            c.gateway6 = Addr::v6(core::net::Ipv6Addr::from(u128::from(addresses.v6.0) ^ 3));
            c.mtu = addresses.mtu;
            c.offload = addresses.offload;
            c.has_device = true;
            c.name[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
            c.index = 2;
        }
        Some(Machine {
            arena,
            wire: Wire {
                now: BOOT,
                mtu: addresses.mtu,
                offload: addresses.offload,
                ..Wire::default()
            },
            sysctl: Sysctl::default(),
            first_fd: 3,
            epoch: Duration::ZERO,
            descriptors: BTreeMap::new(),
            blocked: Vec::new(),
            done: BTreeMap::new(),
            tickets: 0,
        })
    }

    /// The time, in nanoseconds since the beginning.
    pub fn now(&self) -> Duration {
        self.wire.now.since(BOOT)
    }

    /// Put a few calls to the stack.
    fn with<R>(&mut self, f: impl FnOnce(&mut Host<'_>) -> R) -> R {
        let mut shared = self.arena.lock();
        let now = self.wire.now;
        let mut host = Host {
            sh: &mut shared,
            device: &mut self.wire,
            now,
            pid: 1,
            tid: 1,
            wakes: WakeSet::default(),
        };
        let r = f(&mut host);
        host.finish();
        debug_assert!(host.check().is_empty(), "{}", host.check().join("\n"));
        r
    }

    /// A packet comes.
    pub fn inject(&mut self, packet: &[u8]) {
        if opens(packet) {
            let sysctl = self.sysctl;
            let ids: Vec<SockId> = self.sockets().collect();
            self.with(|h| h.listeners_follow(ids.into_iter(), &sysctl));
        }
        self.wire.inward.push_back(packet.to_vec());
        self.with(|h| h.receive(usize::MAX));
        self.unblock();
    }

    /// The kernel's /proc/net/netstat with this host's counters in it.
    pub fn netstat(&self, kernels: &str) -> String {
        let counters = self.arena.lock().counters;
        counters.netstat(kernels)
    }

    /// The same of /proc/net/snmp.
    pub fn snmp(&mut self, kernels: &str) -> String {
        let (counters, established) = self.with(|h| (h.sh.counters, h.established()));
        counters.snmp(kernels, established)
    }

    fn sockets(&self) -> impl Iterator<Item = SockId> {
        self.descriptors.values().filter_map(|d| match d {
            Descriptor::Socket { id, .. } => Some(*id),
            Descriptor::Epoll(_) => None,
        })
    }

    /// The next packet that left: when, and its bytes.
    pub fn sniff(&mut self) -> Option<(Duration, Vec<u8>)> {
        let (at, packet) = self.wire.out.pop_front()?;
        Some((at.since(BOOT), packet))
    }

    /// When something happens by itself next.
    fn next_event(&mut self) -> Instant {
        let timer = self.arena.lock().timers.first();
        let calls = self.blocked.iter().map(|b| b.progress.deadline);
        let first = calls.min().unwrap_or(Instant::NEVER);
        timer.map_or(first, |(at, _)| at.min(first))
    }

    /// Let time pass until `until`; with `stop_at_packet`, only to the moment when a packet
    /// leaves.
    pub fn run_until(&mut self, until: Duration, stop_at_packet: bool) {
        let end = BOOT + until;
        loop {
            if stop_at_packet && !self.wire.out.is_empty() {
                return;
            }
            let next = self.next_event();
            if next > end || next == Instant::NEVER {
                self.wire.now = self.wire.now.max(end);
                return;
            }
            self.wire.now = self.wire.now.max(next);
            self.with(|h| h.run_timers());
            self.unblock();
        }
    }

    /// Something will happen by itself, in time.
    pub fn is_alive(&mut self) -> bool {
        self.next_event() != Instant::NEVER
    }

    /// A call of the program's.
    pub fn call(&mut self, request: Request) -> Begun {
        let mut progress = Progress::default();
        let reply = self.attempt(&request, &mut progress);
        self.unblock();
        match reply {
            Some(reply) => Begun::Done(reply),
            None => {
                self.tickets += 1;
                self.blocked.push(Blocked {
                    ticket: self.tickets,
                    request,
                    progress,
                });
                Begun::Blocks(self.tickets)
            }
        }
    }

    /// When and how a call that blocked ended, if it has.
    pub fn finished(&mut self, ticket: u64) -> Option<(Duration, Reply)> {
        let (at, reply) = self.done.remove(&ticket)?;
        Some((at.since(BOOT), reply))
    }

    /// A call that blocked has come to its end, and nobody has asked yet.
    pub fn has_finished(&self) -> bool {
        !self.done.is_empty()
    }

    /// Try the calls that block again.
    fn unblock(&mut self) {
        let mut again = !self.blocked.is_empty();
        while again {
            again = false;
            for mut b in core::mem::take(&mut self.blocked) {
                match self.attempt(&b.request, &mut b.progress) {
                    Some(reply) => {
                        self.done.insert(b.ticket, (self.wire.now, reply));
                        again = true;
                    }
                    None => self.blocked.push(b),
                }
            }
        }
    }
}
