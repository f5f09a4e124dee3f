//! A listener and peers that flood it, guess, reset, repeat themselves and go away, while its
//! program accepts, closes and listens again. Its queues keep within their bounds, and in the
//! end nothing may be left.

use crate::input::Input;
use crate::rig::{Rig, icmp_error, tcp_packet, tcp_packet_with, v4, v6};
use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::net::IpAddr;
use utcp_stack::addr::{Addr, Endpoint};
use utcp_stack::stack::{Family, How, IpSettings, Opt, Owner, RecvFlags, SendFlags, SockId};
use utcp_stack::tcp::{Cookie, Flags, Options, Segment, SeqNum, State, Sysctl};
use utcp_stack::time::Duration;
use utcp_stack::wire::{self, Packet};

const PORT: u16 = 80;
/// Sockets that the program has at most.
const MOST: usize = 30;

/// What a peer knows of its attempt: the numbers that would be right next.
#[derive(Clone, Copy, Default)]
struct Attempt {
    seq: u32,
    /// From the SYN+ACK.
    ack: u32,
    tsval: u32,
    cookie: Option<Cookie>,
}

struct World {
    rig: Rig,
    socks: Vec<SockId>,
    attempts: HashMap<(IpAddr, u16), Attempt>,
    /// The longest backlog that was asked for: a shorter one drops nobody.
    backlog: u32,
}

/// Do what the input says.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let set = input.byte();
    let sysctl = Sysctl {
        tcp_syncookies: set & 3,
        tcp_timestamps: set >> 2 & 1,
        tcp_abort_on_overflow: set >> 3 & 1,
        tcp_max_syn_backlog: [256, 4][usize::from(set >> 4 & 1)],
        // Fast Open, with cookies or without.
        tcp_fastopen: [0, 0x202, 2, 0x402][usize::from(set >> 6)],
        tcp_fastopen_key: [Some([9; 16]), None],
        ..Sysctl::default()
    };
    let mut world = World {
        rig: Rig::new(1, set & 0x20 != 0, sysctl),
        socks: Vec::new(),
        attempts: HashMap::new(),
        backlog: 0,
    };
    world.rig.wire.outward = Some(Vec::new());
    let ip = IpSettings {
        accept_source_route: 1,
        ..IpSettings::default()
    };
    world.rig.with(|h| h.set_ip_settings(&ip));
    world.listen(&mut input);
    for _ in 0..400 {
        if input.is_over() {
            break;
        }
        world.step(&mut input);
        world.look();
    }
    for id in world.socks.clone() {
        world.rig.with(|h| h.close(id));
    }
    world.rig.let_all_end();
}

impl World {
    fn listen(&mut self, input: &mut Input<'_>) {
        let (set, sysctl) = (input.byte(), self.rig.sysctl);
        let made = self.rig.with(|h| {
            let l = h.create(Family::V6, Owner::default(), &sysctl).ok()?;
            let _ = h.set_option(l, Opt::ReuseAddr, 1);
            let _ = h.set_option(l, Opt::ReusePort, i64::from(set >> 7));
            let _ = h.set_option(l, Opt::DeferAccept, i64::from(set >> 4 & 7));
            let _ = h.bind(l, Endpoint::new(Addr::ANY6, PORT), true);
            if sysctl.tcp_fastopen != 0 {
                let _ = h.set_option(l, Opt::FastOpen, i64::from(set & 3));
            }
            let _ = h.listen(l, i32::from(set & 15));
            Some(l)
        });
        self.backlog = self.backlog.max(u32::from(set & 15));
        self.socks.extend(made);
    }

    /// What the host sent is what its peers know; its queues are as short as they must be.
    fn look(&mut self) {
        for packet in self.rig.wire.outward.iter_mut().flat_map(|o| o.drain(..)) {
            let Ok(Packet::Tcp { dst, segment, .. }) = wire::parse(&packet, true) else {
                continue;
            };
            if segment.flags.has(Flags::SYN) {
                let attempt = self.attempts.entry((dst, segment.dst_port)).or_default();
                attempt.ack = segment.seq.0.wrapping_add(1);
                attempt.tsval = segment.options.timestamps.map_or(0, |t| t.0);
                attempt.cookie = segment.options.fastopen.or(attempt.cookie);
                // Of the SYN's data, what was taken.
                if segment.ack.0 != 0 {
                    attempt.seq = segment.ack.0;
                }
            }
        }
        let most = self.backlog + 1;
        self.rig.with(|h| {
            for (_, s) in h.sh.sockets.iter_in_use() {
                if s.state() == State::Listen {
                    assert!(s.accept_len <= most, "{} to be accepted", s.accept_len);
                    assert!(s.syn_len <= most, "{} half open", s.syn_len);
                    // Who had room then keeps it if TCP_FASTOPEN becomes less.
                    assert!(s.fast_pending <= 15, "{} early", s.fast_pending);
                }
            }
        });
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let room = self.socks.len() < MOST;
        match input.below(16) {
            0..4 => self.syn(input),
            4..10 => self.segment(input),
            10 => self.lie(input),
            11 => {
                let ms = input.one_of(&[1, 50, 1000, 3000, 30_000, 120_000]);
                self.rig.now = self.rig.now + Duration::from_millis(ms);
                self.rig.with(|h| h.run_timers());
            }
            12 if room => {
                let l = self.socks[input.below(self.socks.len())];
                let got = self.rig.with(|h| h.accept(l, Owner::default()).ok());
                self.socks.extend(got.map(|(s, _)| s));
            }
            13 if room => self.listen(input),
            14 => {
                self.rig.run_next_timer();
            }
            _ => self.call(input),
        }
    }

    /// Who: one of a few addresses of both families, and one of a few ports.
    fn peer(&self, input: &mut Input<'_>) -> (IpAddr, IpAddr, u16) {
        let who = input.byte();
        let n = 2 + (who & 3);
        let port = 4000 + u16::from(who >> 4);
        match who & 8 {
            0 => (v4(n).into(), v4(1).into(), port),
            _ => (v6(n).into(), v6(1).into(), port),
        }
    }

    fn arrives(&mut self, src: IpAddr, dst: IpAddr, segment: &Segment, payload: &[u8]) {
        self.rig.arrives(tcp_packet(src, dst, segment, payload));
        self.rig.receive();
    }

    fn syn(&mut self, input: &mut Input<'_>) {
        let (src, dst, port) = self.peer(input);
        let set = input.byte();
        let attempt = self.attempts.entry((src, port)).or_default();
        // The same again, or another.
        if set & 1 == 0 {
            attempt.seq = input.u32();
        }
        let seq = attempt.seq;
        attempt.seq = seq.wrapping_add(1);
        let segment = Segment {
            src_port: port,
            dst_port: PORT,
            seq: SeqNum(if set & 1 == 0 {
                seq
            } else {
                seq.wrapping_sub(1)
            }),
            flags: Flags::SYN.with(Flags(if set & 2 == 0 { 0 } else { input.byte() & 0xeb })),
            window: input.one_of(&[65535, 0, 100]),
            options: Options {
                mss: (set & 4 != 0).then(|| input.one_of(&[1460, 536, 0, 20])),
                wscale: (set & 8 != 0).then_some(7),
                sack_permitted: set & 16 != 0,
                timestamps: (set & 32 != 0).then_some((self.rig.now.millis() as u32, 0)),
                // The cookie that it was given, or none yet.
                fastopen: (set & 64 != 0).then(|| attempt.cookie.unwrap_or_default()),
                ..Options::default()
            },
            ..Segment::default()
        };
        let data = [7; 20];
        let data = &data[..input.one_of(&[0, 0, 0, 20])];
        let options = match set & 128 {
            0 => &[],
            _ => input.bytes(usize::from(set) % 41),
        };
        let packet = tcp_packet_with(src, dst, options, &segment, data);
        self.rig.arrives(packet);
        self.rig.receive();
    }

    /// A segment of an attempt, right or not quite.
    fn segment(&mut self, input: &mut Input<'_>) {
        let (src, dst, port) = self.peer(input);
        let attempt = self.attempts.get(&(src, port)).copied().unwrap_or_default();
        let off = [0i32, 0, 0, 0, 0, 0, 1, -1, 1000, 100_000, i32::MIN];
        const ACK: Flags = Flags::ACK;
        let flags = input.one_of(&[
            ACK,
            ACK,
            ACK,
            ACK.with(Flags::PSH),
            ACK.with(Flags::FIN),
            ACK.with(Flags::RST),
            Flags::RST,
            ACK.with(Flags::SYN),
            Flags::FIN,
            Flags(0),
        ]);
        let len = input.one_of(&[0usize, 0, 1, 100]);
        let segment = Segment {
            src_port: port,
            dst_port: PORT,
            seq: SeqNum(attempt.seq.wrapping_add_signed(input.one_of(&off))),
            ack: SeqNum(attempt.ack.wrapping_add_signed(input.one_of(&off))),
            flags,
            window: input.one_of(&[65535, 0, 1]),
            options: Options {
                timestamps: input.chance().then(|| {
                    let now = self.rig.now.millis() as u32;
                    (now.wrapping_add_signed(input.one_of(&off)), attempt.tsval)
                }),
                ..Options::default()
            },
            ..Segment::default()
        };
        self.arrives(src, dst, &segment, &vec![7; len]);
    }

    /// An ICMP error about a SYN+ACK.
    fn lie(&mut self, input: &mut Input<'_>) {
        let (IpAddr::V4(src), IpAddr::V4(dst), port) = self.peer(input) else {
            return;
        };
        let attempt = self.attempts.get(&(src.into(), port)).copied();
        let seq = attempt.unwrap_or_default().ack.wrapping_sub(1);
        let seq = seq.wrapping_add_signed(input.one_of(&[0, 0, 1, -1]));
        let about = input.one_of(&[(3, 0), (3, 1), (3, 3), (3, 4), (11, 0)]);
        let rest = [0, 0, input.byte(), input.byte()];
        self.rig
            .arrives(icmp_error((src, dst), about, rest, (src, PORT, port, seq)));
        self.rig.receive();
    }

    fn call(&mut self, input: &mut Input<'_>) {
        let which = input.below(self.socks.len());
        let Some(&id) = self.socks.get(which) else {
            return;
        };
        let mut buf = [1; 200];
        match input.below(8) {
            0 | 1 => {
                self.rig.with(|h| h.close(id));
                self.socks.swap_remove(which);
                if self.socks.is_empty() {
                    self.listen(input);
                }
            }
            2 => {
                let backlog = i32::from(input.byte() & 15);
                self.backlog = self.backlog.max(backlog as u32);
                let _ = self.rig.with(|h| h.listen(id, backlog));
            }
            3 => {
                let how = input.one_of(&[How::Read, How::Write, How::Both]);
                let _ = self.rig.with(|h| h.shutdown(id, how));
            }
            4 => {
                let _ = self.rig.with(|h| h.dissolve(id));
            }
            5 => {
                let flags = SendFlags::default();
                let _ = self
                    .rig
                    .with(|h| h.send(id, &[IoSlice::new(&buf)], 0, flags));
            }
            _ => {
                let flags = RecvFlags::default();
                let mut bufs = [IoSliceMut::new(&mut buf)];
                let _ = self.rig.with(|h| h.recv(id, &mut bufs, flags));
            }
        }
    }
}
