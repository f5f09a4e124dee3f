//! Tests of the host: two sockets over the loopback, two hosts over a wire.

mod arrivals;
mod attacks;
mod autotuning;
mod devices;
mod errors;
mod fastopen;
mod floods;
mod fragments;
mod icmp;
mod impaired;
mod instructions;
mod ip_options;
mod kills;
mod memory;
mod net;
mod packets;
mod paths;
mod priorities;
mod program;
mod rules;
mod sequences;

use super::*;
use crate::addr::{Addr, Endpoint};
use crate::arena::{Arena, Guard};
use crate::link::{Sent, VnetHdr};
use crate::tcp::{State, Sysctl};
use crate::time::Duration;
use crate::wire;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};

/// A device of a test: packets out on one side, in on the other.
#[derive(Default)]
struct Wire {
    out: VecDeque<Vec<u8>>,
    inward: VecDeque<Vec<u8>>,
    /// How often something was written, and what of it was on the wire, if that is asked for.
    writes: usize,
    seen: Option<Vec<Vec<u8>>>,
    /// Of a device with offload: what goes out large is cut, or stays here.
    large_out: Option<VecDeque<(VnetHdr, Vec<u8>)>>,
    large_in: VecDeque<(VnetHdr, Vec<u8>)>,
}

impl Wire {
    fn leaves(&mut self, packet: Vec<u8>) {
        if let Some(seen) = &mut self.seen {
            seen.push(packet.clone());
        }
        self.out.push_back(packet);
    }
}

impl Device for Wire {
    fn send(&mut self, hdr: &VnetHdr, parts: &[&[u8]]) -> Sent {
        self.writes += 1;
        let mut packet = parts.concat();
        if hdr.gso_type != VnetHdr::GSO_NONE {
            if let Some(large) = &mut self.large_out {
                large.push_back((*hdr, packet));
                return Sent::Done;
            }
            let cut = wire::Cut::of(&packet, hdr.gso_size.into()).expect("something to cut");
            for n in 0..cut.pieces() {
                let mut piece = vec![0; cut.len(&(n..n + 1))];
                cut.write(&packet, &(n..n + 1), &mut piece)
                    .expect("its place");
                self.leaves(piece);
            }
            return Sent::Done;
        }
        if hdr.flags & VnetHdr::NEEDS_CSUM != 0 {
            let (start, offset) = (hdr.csum_start.into(), hdr.csum_offset.into());
            wire::complete_checksum(&mut packet, start, offset).expect("a checksum");
        }
        self.leaves(packet);
        Sent::Done
    }
    fn recv_parts(&mut self, parts: &mut [&mut [u8]]) -> Option<(VnetHdr, usize)> {
        let plain = || Some((VnetHdr::PLAIN, self.inward.pop_front()?));
        let (hdr, p) = self.large_in.pop_front().or_else(plain)?;
        let (mut left, mut n) = (&p[..], 0);
        for part in parts {
            let here = left.len().min(part.len());
            part[..here].copy_from_slice(&left[..here]);
            left = &left[here..];
            n += here;
        }
        Some((hdr, n))
    }
    fn mtu(&self) -> u16 {
        1500
    }
    fn offload(&self) -> bool {
        false
    }
}

struct TestHost {
    arena: Arena<Shared>,
    wire: Wire,
    now: Instant,
}

impl TestHost {
    fn new(last: u8) -> TestHost {
        let arena = Arena::<Shared>::private().unwrap();
        {
            let mut g: Guard<'_, Shared> = arena.lock();
            g.secret = [last; 16];
            g.config.addr4 = v4([10, 0, 0, last]);
            g.config.prefix4 = 24;
            g.config.mtu = 1500;
            g.config.has_device = true;
        }
        TestHost {
            arena,
            wire: Wire::default(),
            now: Instant(1_000_000_000),
        }
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut Host<'_>) -> R) -> R {
        let mut guard = self.arena.lock();
        let mut host = Host {
            sh: &mut guard,
            device: &mut self.wire,
            now: self.now,
            pid: 1,
            tid: 1,
            wakes: WakeSet::default(),
        };
        let r = f(&mut host);
        host.finish();
        let wrong = host.check();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        r
    }
}

fn v4(a: [u8; 4]) -> Addr {
    Addr::v4(a.into())
}

fn create(h: &mut Host<'_>) -> SockId {
    h.create(Family::V4, Owner::default(), &Sysctl::default())
        .unwrap()
}

fn send(h: &mut Host<'_>, id: SockId, data: &[u8]) -> Result<usize> {
    h.send(id, &[IoSlice::new(data)], 0, SendFlags::default())
}

fn recv(h: &mut Host<'_>, id: SockId, most: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; most];
    let n = h.recv(id, &mut [IoSliceMut::new(&mut buf)], RecvFlags::default())?;
    buf.truncate(n);
    Ok(buf)
}

/// A listener on 127.0.0.1:9000 and a connection to it: (listener, client, server).
fn pair(h: &mut Host<'_>) -> (SockId, SockId, SockId) {
    let l = create(h);
    h.bind(l, Endpoint::new(Addr::ANY4, 9000), true).unwrap();
    h.listen(l, 5).unwrap();
    let c = create(h);
    assert_eq!(
        h.connect(c, Endpoint::new(v4([127, 0, 0, 1]), 9000)),
        Err(Error::InProgress)
    );
    assert_eq!(h.connect_result(c), Ok(()));
    let (s, peer) = h.accept(l, Owner::default()).unwrap();
    assert_eq!(peer, h.local_addr(c).unwrap());
    (l, c, s)
}

#[test]
fn loopback_connection_carries_data_and_closes() {
    TestHost::new(1).with(|h| {
        let (l, c, s) = pair(h);
        assert_eq!(send(h, c, b"hello"), Ok(5));
        assert!(h.ready(s).unwrap().has(Ready::IN));
        assert_eq!(recv(h, s, 100), Ok(b"hello".to_vec()));
        assert_eq!(recv(h, s, 100), Err(Error::WouldBlock));
        h.close(c);
        assert_eq!(h.socket(s).unwrap().state(), State::CloseWait);
        assert_eq!(recv(h, s, 100), Ok(vec![]));
        h.close(s);
        assert_eq!(h.socket(s).err(), Some(Error::Stale));
        assert_eq!(h.socket(c).unwrap().state(), State::TimeWait);
        h.now = h.now + Duration::from_secs(61);
        h.run_timers();
        assert_eq!(h.socket(c).err(), Some(Error::Stale));
        h.close(l);
        assert_eq!(h.sh.sockets.in_use(), 0);
        assert_eq!(h.sh.chunks.in_use(), 0);
        assert_eq!(h.sh.buffers.in_use(), (0, 0));
    });
}

#[test]
fn refused_without_a_listener() {
    TestHost::new(1).with(|h| {
        let c = create(h);
        let to = Endpoint::new(v4([127, 0, 0, 1]), 9);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        assert_eq!(h.connect_result(c), Err(Error::Refused));
    });
}

#[test]
fn a_backlog_of_five_takes_six() {
    TestHost::new(1).with(|h| {
        let l = create(h);
        h.bind(l, Endpoint::new(Addr::ANY4, 9000), true).unwrap();
        h.listen(l, 5).unwrap();
        let mut done = 0;
        for _ in 0..8 {
            let c = create(h);
            let _ = h.connect(c, Endpoint::new(v4([127, 0, 0, 1]), 9000));
            done += usize::from(h.connect_result(c).is_ok());
        }
        assert_eq!(done, 6);
        assert_eq!(h.socket(l).unwrap().accept_len, 6);
    });
}

#[test]
fn a_listener_takes_its_queue_with_it() {
    TestHost::new(1).with(|h| {
        let l = create(h);
        h.bind(l, Endpoint::new(Addr::ANY4, 9000), true).unwrap();
        h.listen(l, 5000).unwrap();
        // More than the loopback holds at a time.
        let clients: Vec<SockId> = (0..700).map(|_| create(h)).collect();
        for c in &clients {
            let _ = h.connect(*c, Endpoint::new(v4([127, 0, 0, 1]), 9000));
            assert_eq!(h.connect_result(*c), Ok(()));
        }
        h.close(l);
        for c in clients {
            assert_eq!(recv(h, c, 1), Err(Error::Reset));
            h.close(c);
        }
        assert_eq!(h.sh.sockets.in_use(), 0);
    });
}

// RFC 9293 MUST-30, MUST-32, MUST-33
#[test]
fn an_urgent_byte_stands_outside_the_stream() {
    TestHost::new(1).with(|h| {
        let (_, c, s) = pair(h);
        send(h, c, b"ab").unwrap();
        let oob = SendFlags {
            oob: true,
            ..SendFlags::default()
        };
        assert_eq!(h.send(c, &[IoSlice::new(b"!")], 0, oob), Ok(1));
        send(h, c, b"cd").unwrap();
        assert!(h.ready(s).unwrap().has(Ready::PRI.with(Ready::IN)));
        assert_eq!(h.at_mark(s), Ok(false));
        assert_eq!(recv(h, s, 10), Ok(b"ab".to_vec()));
        assert_eq!(h.at_mark(s), Ok(true));
        assert_eq!(h.recv_urgent(s, false), Ok(Some(b'!')));
        assert_eq!(h.recv_urgent(s, false), Err(Error::Invalid));
        assert_eq!(recv(h, s, 10), Ok(b"cd".to_vec()));
        assert_eq!(h.readable_bytes(s), Ok(0));
    });
}

#[test]
fn bulk_over_the_loopback_arrives_whole() {
    TestHost::new(1).with(|h| {
        let (_, c, s) = pair(h);
        let data: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
        let mut got = Vec::new();
        let mut sent = 0;
        for _ in 0..100_000 {
            if sent < data.len() {
                match send(h, c, &data[sent..data.len().min(sent + 100_000)]) {
                    Ok(n) => sent += n,
                    Err(Error::WouldBlock) => {}
                    Err(e) => panic!("{e:?}"),
                }
            }
            match recv(h, s, 70_000) {
                Ok(d) => got.extend(d),
                Err(Error::WouldBlock) => {}
                Err(e) => panic!("{e:?}"),
            }
            if got.len() == data.len() {
                break;
            }
            h.now = h.now + Duration::from_millis(1);
            h.run_timers();
        }
        assert!(got == data, "{} of {} bytes", got.len(), data.len());
    });
}

/// Let packets pass between two hosts until none is left, `drop(n)` says which are lost.
fn exchange(a: &mut TestHost, b: &mut TestHost, count: &mut usize, lost: &impl Fn(usize) -> bool) {
    loop {
        let mut moved = false;
        for p in std::mem::take(&mut a.wire.out) {
            *count += 1;
            if !lost(*count) {
                b.wire.inward.push_back(p);
            }
            moved = true;
        }
        for p in std::mem::take(&mut b.wire.out) {
            *count += 1;
            if !lost(*count) {
                a.wire.inward.push_back(p);
            }
            moved = true;
        }
        a.with(|h| h.receive(1000));
        b.with(|h| h.receive(1000));
        if !moved {
            return;
        }
    }
}

#[test]
fn two_hosts_over_a_lossy_wire() {
    for seed in 0..20usize {
        let (mut a, mut b) = (TestHost::new(1), TestHost::new(2));
        let lost = |n: usize| (n * 2654435761 + seed * 40503) >> 7 & 31 == 0;
        let mut count = 0;
        let l = b.with(|h| {
            let l = create(h);
            h.bind(l, Endpoint::new(Addr::ANY4, 80), true).unwrap();
            h.listen(l, 5).unwrap();
            l
        });
        let c = a.with(|h| {
            let c = create(h);
            let _ = h.connect(c, Endpoint::new(v4([10, 0, 0, 2]), 80));
            c
        });
        let data: Vec<u8> = (0..300_000u32).map(|i| ((i * 13) >> 2) as u8).collect();
        let (mut sent, mut got, mut s, mut closed) = (0, Vec::new(), None, false);
        for _ in 0..200_000 {
            exchange(&mut a, &mut b, &mut count, &lost);
            if sent < data.len() {
                sent += a.with(|h| send(h, c, &data[sent..])).unwrap_or(0);
            } else if !closed {
                a.with(|h| h.close(c));
                closed = true;
            }
            s = s.or_else(|| b.with(|h| h.accept(l, Owner::default()).ok()).map(|x| x.0));
            if let Some(s) = s {
                match b.with(|h| recv(h, s, 50_000)) {
                    Ok(d) if d.is_empty() => break,
                    Ok(d) => got.extend(d),
                    Err(_) => {}
                }
            }
            for host in [&mut a, &mut b] {
                host.now = host.now + Duration::from_millis(5);
                host.with(|h| h.run_timers());
            }
        }
        assert!(
            got == data,
            "seed {seed}: {} of {} bytes, {sent} sent",
            got.len(),
            data.len()
        );
    }
}

#[test]
fn recovery_resets_what_was_changing_and_keeps_the_rest() {
    TestHost::new(1).with(|h| {
        let (l, c, s) = pair(h);
        let c2 = create(h);
        let _ = h.connect(c2, Endpoint::new(v4([127, 0, 0, 1]), 9000));
        let (s2, _) = h.accept(l, Owner::default()).unwrap();
        send(h, c2, b"stays").unwrap();
        send(h, c, b"goes").unwrap();
        h.finish();
        // A death in the middle of a change to `c`.
        h.touch(c.index);
        h.sh.sockets[c.index].tx.head = 77;
        h.sh.sockets[c.index].tx.bytes = 1;
        h.recover();
        h.deliver_looped();
        assert_eq!(h.take_error(c).unwrap(), Some(crate::tcp::TcpError::Reset));
        assert_eq!(recv(h, s, 10), Ok(b"goes".to_vec()));
        assert_eq!(recv(h, s, 10), Err(Error::Reset));
        assert_eq!(recv(h, s2, 10), Ok(b"stays".to_vec()));
        assert_eq!(send(h, s2, b"more"), Ok(4));
        assert_eq!(recv(h, c2, 10), Ok(b"more".to_vec()));
        for id in [c, s, c2, s2, l] {
            h.close(id);
        }
        h.now = h.now + Duration::from_secs(200);
        h.run_timers();
        assert_eq!(h.sh.sockets.in_use(), 0);
        assert_eq!(h.sh.buffers.in_use(), (0, 0));
    });
}
