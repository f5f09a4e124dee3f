//! A host with connections, a hostile peer, and a program that calls in any order, in virtual
//! time. After every step everything on the host must be in order, and in the end nothing may
//! be left.
//!
//! The input is a list of steps, a byte for what to do and bytes for how. Segments are made
//! from what the connection expects and the input's deviations from it, so that most of them
//! get somewhere.

use crate::input::Input;
use crate::rig::{Rig, icmp_error, tcp_packet, v4, v6};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use utcp_stack::addr::{Addr, Endpoint};
use utcp_stack::impair::Settings;
use utcp_stack::link::VnetHdr;
use utcp_stack::stack::{Family, Host, How, Opt, Owner, Ready, RecvFlags, SendFlags, SockId};
use utcp_stack::tcp::{Flags, Options, Segment, SeqNum, State, Sysctl};
use utcp_stack::time::Duration;
use utcp_stack::wire::IpOptions;

const OURS: Ipv4Addr = v4(1);
const PEER: Ipv4Addr = v4(2);
const OURS6: Ipv6Addr = v6(1);
const PEER6: Ipv6Addr = v6(2);
const PORT: u16 = 80;

/// Lists that the program sets.
const IP_OPTIONS: [&[u8]; 5] = [
    &[],
    &[1; 40],
    &[7, 7, 4, 0, 0, 0, 0],
    &[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    &[131, 7, 4, 10, 0, 0, 9],
];

/// Sockets that the program has at most.
const MOST: usize = 40;

struct World {
    rig: Rig,
    socks: Vec<SockId>,
    /// Some segments that come are large, for the device to cut.
    large: bool,
}

/// Links that the stack itself makes bad.
const LINKS: [&str; 4] = [
    "",
    "delay=5ms",
    "loss=3% delay=5ms duplicate=3% reorder=3%,2ms",
    "in.corrupt=5% in.mtu=1200 rate=100mbit queue=20",
];

/// Do what the input says.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(&mut input);
    // Enough for anything worth finding, little enough to be quick.
    for _ in 0..400 {
        if input.is_over() {
            break;
        }
        world.step(&mut input);
    }
    world.end();
}

impl World {
    fn new(input: &mut Input<'_>) -> World {
        let set = input.byte();
        let on = |bit: u8| u8::from(set >> bit & 1 == 0);
        let offload = on(4) == 0;
        let sysctl = Sysctl {
            tcp_timestamps: on(0),
            tcp_sack: on(1),
            tcp_window_scaling: on(2),
            tcp_rfc1337: 1 - on(3),
            ..Sysctl::default()
        };
        let mut world = World {
            rig: Rig::new(1, offload, sysctl),
            socks: Vec::new(),
            large: offload && set & 0x20 != 0,
        };
        let links = Settings::parse(LINKS[usize::from(set >> 6)]).expect("settings");
        world.rig.with(|h| h.impair(&links));
        let listener = world.rig.with(|h| {
            let l = h
                .create(Family::V6, Owner::default(), &sysctl)
                .expect("room");
            h.bind(l, Endpoint::new(Addr::ANY6, PORT), true)
                .expect("a free port");
            h.listen(l, 3).expect("a bound socket");
            l
        });
        world.socks.push(listener);
        world.connect(input);
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let room = self.socks.len() < MOST;
        match input.below(32) {
            0..12 => self.segment(input),
            12 => self.syn(input),
            13 => self.bytes(input),
            14 => self.icmp(input),
            15..18 => {
                let ms = input.one_of(&[1, 10, 40, 200, 1000, 3000, 60_000, 7_200_000]);
                self.rig.now = self.rig.now + Duration::from_millis(ms);
                self.rig.with(|h| h.run_timers());
            }
            18 => {
                self.rig.run_next_timer();
            }
            19 if room => self.connect(input),
            20 if room => {
                let l = self.socks[0];
                if let Ok((s, _)) = self.rig.with(|h| h.accept(l, Owner::default())) {
                    self.socks.push(s);
                }
            }
            21 => self.rig.wire.full = input.chance(),
            _ => self.call(input),
        }
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let how = input.byte();
        let to = [Addr::v4(PEER), Addr::v6(PEER6), Addr::v4(OURS)][usize::from(how) % 3];
        let sysctl = self.rig.sysctl;
        let c = self.rig.with(|h| {
            let c = h.create(Family::V6, Owner::default(), &sysctl).ok()?;
            if how & 0x40 != 0 {
                let list = IP_OPTIONS[usize::from(how) % IP_OPTIONS.len()];
                let list = IpOptions::given(list, true).expect("a list in order");
                let _ = h.set_ip_options(c, &list);
            }
            if how & 0x80 != 0 {
                // Both might open.
                let own = Endpoint::new(Addr::ANY6, 1000 + u16::from(how));
                let _ = h.bind(c, own, true);
            }
            let _ = h.connect(c, Endpoint::new(to, PORT));
            Some(c)
        });
        self.socks.extend(c);
    }

    /// Any call on any socket.
    fn call(&mut self, input: &mut Input<'_>) {
        let which = input.below(self.socks.len());
        let id = self.socks[which];
        let what = input.byte();
        let n = input.one_of(&[1usize, 2, 100, 1460, 5000, 70_000]);
        let mut buf = vec![7; n];
        let value = i64::from(input.byte());
        self.rig.with(|h| match what % 16 {
            0..5 => {
                let oob = what & 0xf0 == 0xf0;
                let _ = h.send(
                    id,
                    &[IoSlice::new(&buf)],
                    0,
                    SendFlags {
                        oob,
                        ..SendFlags::default()
                    },
                );
            }
            5..9 => {
                let flags = RecvFlags {
                    peek: what & 0xf0 == 0xf0,
                    trunc: what & 0xf0 == 0xe0,
                    ..RecvFlags::default()
                };
                let _ = h.recv(id, &mut [IoSliceMut::new(&mut buf)], flags);
            }
            9 => {
                let how = [How::Read, How::Write, How::Both][usize::from(what >> 4) % 3];
                let _ = h.shutdown(id, how);
            }
            10 => h.close(id),
            11 => {
                let opts = [
                    (Opt::NoDelay, value & 1),
                    (Opt::Cork, value & 1),
                    (Opt::KeepAlive, value & 1),
                    (Opt::KeepIdle, value),
                    (Opt::SndBuf, value * 100),
                    (Opt::RcvBuf, value * 100),
                    (Opt::Linger, value - 1),
                    (Opt::Linger2, value - 1),
                    (Opt::UserTimeout, value * 100),
                    (Opt::MaxSeg, value * 10),
                    (Opt::OobInline, value & 1),
                    (Opt::DeferAccept, value),
                    (Opt::QuickAck, value & 1),
                    (Opt::RcvLowat, value * 10),
                ];
                let (opt, value) = opts[usize::from(what >> 4) % opts.len()];
                let _ = h.set_option(id, opt, value);
            }
            12 => {
                let _ = h.dissolve(id);
            }
            13 => {
                let _ = (h.connect_result(id), h.take_error(id));
            }
            14 => {
                let _ = h.recv_urgent(id, what & 0x10 != 0);
            }
            _ if what & 0x10 != 0 => {
                let list = IP_OPTIONS[usize::from(what >> 5) % IP_OPTIONS.len()];
                let list = IpOptions::given(list, true).expect("a list in order");
                let _ = h.set_ip_options(id, &list);
            }
            _ => {
                let _ = (h.has_far(id, Ready::OUT), h.watch(id));
                while h.next_mirror().is_some() {}
                let over = h.to_lower(id);
                h.lowered(id, over);
            }
        });
    }

    /// A segment for one of the connections.
    fn segment(&mut self, input: &mut Input<'_>) {
        let which = input.below(64);
        let at_device = |h: &Host<'_>, a: Addr| !h.is_local(a);
        let found = self.rig.with(|h| {
            let mut open = Vec::new();
            for (_, s) in h.sh.sockets.iter_in_use() {
                if s.open && s.state() != State::Closed && at_device(h, s.remote.addr) {
                    open.push((s.local, s.remote, s.tcb));
                }
            }
            (!open.is_empty()).then(|| open[which % open.len()])
        });
        let Some((local, remote, tcb)) = found else {
            return;
        };
        // What would be right, and how far it is off.
        let near = [0i32, 0, 0, 0, 1, -1, 100, 1460, -1460, 70_000];
        let kind = input.byte();
        let seq = tcb.rcv_nxt().0.wrapping_add_signed(input.one_of(&near));
        let ack = match kind & 3 {
            0 | 1 => tcb.snd_nxt().0.wrapping_add_signed(input.one_of(&near)),
            2 => tcb.snd_una().0.wrapping_add_signed(input.one_of(&near)),
            _ => input.u32(),
        };
        let seq = if kind & 0x1c == 0x1c {
            input.u32()
        } else {
            seq
        };
        const ACK: Flags = Flags::ACK;
        let flags = match input.byte() {
            raw @ 0x80.. => Flags(raw),
            b => [
                ACK,
                ACK,
                ACK.with(Flags::PSH),
                ACK.with(Flags::FIN),
                ACK.with(Flags::SYN),
                ACK.with(Flags::RST),
                Flags::SYN,
                Flags::RST,
                ACK.with(Flags::URG),
                ACK.with(Flags::FIN).with(Flags::PSH).with(Flags::URG),
            ][usize::from(b) % 10],
        };
        let len = input.one_of(&[0, 0, 1, 10, 536, 1460, 3000]);
        let len = if self.rig.wire.offload {
            len
        } else {
            len.min(1400)
        };
        let segment = Segment {
            src_port: remote.port,
            dst_port: local.port,
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            flags,
            window: input.one_of(&[65535, 1000, 100, 1, 0, 5840]),
            urgent: if flags.has(Flags::URG) {
                input.u16()
            } else {
                0
            },
            options: self.options(input, tcb.snd_una()),
            ecn: 0,
            len: 0,
        };
        self.arrives(remote.addr.ip(), local.addr.ip(), &segment, len, input);
    }

    fn options(&self, input: &mut Input<'_>, una: SeqNum) -> Options {
        let set = input.byte();
        let mut options = Options::default();
        if set & 1 != 0 {
            let now = self.rig.now.millis() as u32;
            let tsval = now.wrapping_add_signed(input.one_of(&[0, 0, 1, -1, -1000, 1 << 30]));
            let tsecr = match set & 2 {
                0 => self.rig.wire.tsval,
                _ => input.u32(),
            };
            options.timestamps = Some((tsval, tsecr));
        }
        if set & 4 != 0 {
            options.mss = Some(input.one_of(&[1460, 536, 88, 1, 0, 65535]));
        }
        if set & 8 != 0 {
            options.wscale = Some(input.one_of(&[0, 7, 14, 255]));
        }
        options.sack_permitted = set & 16 != 0;
        if set & 0xe0 != 0 && set & 4 == 0 {
            options.sack_len = 1 + (set >> 5) % 3;
            for i in 0..usize::from(options.sack_len) {
                let start = una.0.wrapping_add(u32::from(input.u16()));
                let len = u32::from(input.u16());
                options.sack[i] = (SeqNum(start), SeqNum(start.wrapping_add(len)));
            }
        }
        options
    }

    /// A segment, sent by the peer, arrives.
    fn arrives(
        &mut self,
        src: IpAddr,
        dst: IpAddr,
        segment: &Segment,
        len: usize,
        input: &mut Input<'_>,
    ) {
        if self.large && len == 3000 {
            let packet = tcp_packet(src, dst, segment, &[9; 30_000]);
            let size = input.one_of(&[1400, 536, 100]);
            self.rig.arrives_large(packet, size);
        } else {
            self.rig
                .arrives(tcp_packet(src, dst, segment, &vec![9; len]));
        }
        // Some at a time, now and then.
        if !input.byte().is_multiple_of(8) || self.rig.wire.inward.len() > 20 {
            self.rig.receive();
        }
    }

    /// Somebody connects to the listener, from one of a few ports.
    fn syn(&mut self, input: &mut Input<'_>) {
        let set = input.byte();
        let (src, dst): (IpAddr, IpAddr) = match set & 1 {
            0 => (PEER.into(), OURS.into()),
            _ => (PEER6.into(), OURS6.into()),
        };
        let segment = Segment {
            src_port: 5000 + u16::from(set >> 4),
            dst_port: PORT,
            seq: SeqNum(input.u32()),
            flags: Flags::SYN.with(Flags(input.byte() & !0x14)),
            window: 65535,
            options: self.options(input, SeqNum(0)),
            ..Segment::default()
        };
        let len = input.one_of(&[0, 0, 0, 10]);
        self.arrives(src, dst, &segment, len, input);
    }

    /// Any bytes arrive.
    fn bytes(&mut self, input: &mut Input<'_>) {
        let n = input.below(100);
        let packet = input.bytes(n).to_vec();
        self.rig.wire.inward.push_back((VnetHdr::PLAIN, packet));
        self.rig.receive();
    }

    /// An ICMP error about a segment of one of the connections.
    fn icmp(&mut self, input: &mut Input<'_>) {
        let which = input.below(64);
        let found = self.rig.with(|h| {
            let open = h.sh.sockets.iter_in_use().filter(|(_, s)| s.open);
            let mut open = open.map(|(_, s)| (s.local, s.remote, s.tcb.snd_una()));
            let count = h.sh.sockets.in_use() as usize;
            open.nth(which % count.max(1))
        });
        let Some((local, remote, una)) = found else {
            return;
        };
        let (IpAddr::V4(from), IpAddr::V4(to)) = (local.addr.ip(), remote.addr.ip()) else {
            return;
        };
        let seq = una
            .0
            .wrapping_add_signed(input.one_of(&[0, 0, 1, 1000, -1]));
        let (kind, code) = input.one_of(&[
            (3, 0),
            (3, 1),
            (3, 2),
            (3, 3),
            (3, 4),
            (3, 13),
            (11, 0),
            (12, 0),
        ]);
        let [m0, m1] = input
            .one_of(&[0u16, 68, 576, 1000, 1499, 65535])
            .to_be_bytes();
        let quoted = (to, local.port, remote.port, seq);
        let packet = icmp_error((PEER, from), (kind, code), [0, 0, m0, m1], quoted);
        self.rig.wire.inward.push_back((VnetHdr::PLAIN, packet));
        self.rig.receive();
    }

    /// The program ends; hours later nothing is left.
    fn end(mut self) {
        self.rig.wire.full = false;
        for id in self.socks.clone() {
            self.rig.with(|h| h.close(id));
        }
        self.rig.let_all_end();
    }
}
