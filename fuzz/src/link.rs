//! Two stacks, and between them a link that loses, doubles, holds back, cuts, bends and replays
//! packets and lies about them. When it becomes honest everything that was sent must arrive, in
//! order, once, and both ends must come to their end.

use crate::input::Input;
use crate::rig::{Rig, icmp_error, v4};
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use utcp_stack::addr::{Addr, Endpoint};
use utcp_stack::stack::{Error, Family, How, Opt, Owner, RecvFlags, SendFlags, SockId};
use utcp_stack::tcp::congestion::Algorithm;
use utcp_stack::tcp::{State, Sysctl};
use utcp_stack::time::{Duration, Instant};
use utcp_stack::wire::{self, Packet};

const PORT: u16 = 80;
/// Old packets that the link remembers.
const MEMORY: usize = 32;

/// One host, its end of the connection, and what it has sent and received.
struct End {
    rig: Rig,
    socket: Option<SockId>,
    wrote: u64,
    read: u64,
    finished: bool,
    eof: bool,
}

/// The byte at this place of the stream that host `n` sends.
fn byte_at(n: usize, at: u64) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (at / 255) as u8 ^ (n as u8 * 0x55)
}

impl End {
    fn new(n: usize, sysctl: Sysctl) -> End {
        let mut rig = Rig::new(n as u8 + 1, false, sysctl);
        rig.wire.outward = Some(Vec::new());
        End {
            rig,
            socket: None,
            wrote: 0,
            read: 0,
            finished: false,
            eof: false,
        }
    }

    fn send(&mut self, n: usize, len: usize) {
        let Some(id) = self.socket.filter(|_| !self.finished) else {
            return;
        };
        let bytes: Vec<u8> = (0..len as u64)
            .map(|i| byte_at(n, self.wrote + i))
            .collect();
        let flags = SendFlags::default();
        match self
            .rig
            .with(|h| h.send(id, &[IoSlice::new(&bytes)], 0, flags))
        {
            Ok(sent) => self.wrote += sent as u64,
            Err(Error::WouldBlock | Error::NotConnected | Error::InProgress) => {}
            Err(e) => panic!("host {n} can't send: {e:?}"),
        }
    }

    /// Read once; whether there was anything.
    fn recv(&mut self, n: usize, len: usize) -> bool {
        let Some(id) = self.socket.filter(|_| !self.eof) else {
            return false;
        };
        let mut bytes = vec![0; len];
        let flags = RecvFlags::default();
        match self
            .rig
            .with(|h| h.recv(id, &mut [IoSliceMut::new(&mut bytes)], flags))
        {
            Ok(0) => {
                self.eof = true;
                false
            }
            Ok(got) => {
                for (i, byte) in bytes[..got].iter().enumerate() {
                    let at = self.read + i as u64;
                    assert_eq!(*byte, byte_at(1 - n, at), "byte {at} that host {n} read");
                }
                self.read += got as u64;
                true
            }
            Err(Error::WouldBlock | Error::NotConnected | Error::InProgress) => false,
            Err(e) => panic!("host {n} can't read: {e:?}"),
        }
    }

    /// The end of the stream, once there is one.
    fn finish(&mut self) {
        let Some(id) = self.socket else { return };
        self.finished = self.rig.with(|h| {
            let state = h.socket(id).map(|s| s.state());
            let open = matches!(state, Ok(State::Established | State::CloseWait));
            open && h.shutdown(id, How::Write).is_ok()
        });
    }

    /// It is not open yet.
    fn opens(&mut self) -> bool {
        let Some(id) = self.socket else { return true };
        let state = self.rig.with(|h| h.socket(id).map(|s| s.state()));
        matches!(state, Ok(State::SynSent | State::SynReceived))
    }

    fn next_deadline(&mut self) -> Instant {
        self.rig.with(|h| h.next_deadline())
    }
}

struct World {
    ends: [End; 2],
    listener: SockId,
    /// Packets held back, with whom they are for.
    held: VecDeque<(usize, Vec<u8>)>,
    old: VecDeque<(usize, Vec<u8>)>,
}

/// Do what the input says; then the link is honest.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(&mut input);
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
        let (set, more) = (input.byte(), input.byte());
        let sysctl = |bits: u8| Sysctl {
            tcp_timestamps: u8::from(bits & 1 == 0),
            tcp_sack: u8::from(bits & 2 == 0),
            tcp_window_scaling: u8::from(bits & 4 == 0),
            tcp_ecn: u8::from(bits & 8 != 0),
            // Nobody gives up.
            tcp_syn_retries: 60,
            tcp_synack_retries: 60,
            tcp_retries2: 60,
            tcp_orphan_retries: 60,
            // Bit 5 of `more`: the client opens by Fast Open, with cookies that nobody needs.
            tcp_fastopen: if more & 0x20 != 0 { 0x207 } else { 1 },
            tcp_congestion_control: Algorithm::numbered(more % 3).unwrap_or_default(),
            ..Sysctl::default()
        };
        let mut ends = [End::new(0, sysctl(set)), End::new(1, sysctl(set >> 4))];
        let at = Endpoint::new(Addr::v4(v4(2)), PORT);
        let sysctl = ends[1].rig.sysctl;
        let small = more & 0x80 != 0;
        let listener = ends[1].rig.with(|h| {
            let l = h
                .create(Family::V4, Owner::default(), &sysctl)
                .expect("room");
            if small {
                let _ = h.set_option(l, Opt::RcvBuf, 1);
            }
            h.bind(l, at, true).expect("a free port");
            // Bit 4: and the server wants none of it.
            let _ = h.set_option(l, Opt::FastOpen, i64::from(more & 0x10 == 0));
            h.listen(l, 3).expect("a bound socket");
            l
        });
        let sysctl = ends[0].rig.sysctl;
        let mut wrote = 0;
        ends[0].socket = Some(ends[0].rig.with(|h| {
            let c = h
                .create(Family::V4, Owner::default(), &sysctl)
                .expect("room");
            let _ = h.set_option(c, Opt::NoDelay, i64::from(more >> 6 & 1));
            if more & 0x20 == 0 {
                assert_eq!(h.connect(c, at), Err(Error::InProgress));
            } else {
                let len = 700 * u64::from(more >> 2 & 3);
                let bytes: Vec<u8> = (0..len).map(|i| byte_at(0, i)).collect();
                wrote = h.connect_fast(c, at, &bytes, false).expect("a SYN") as u64;
            }
            c
        }));
        ends[0].wrote = wrote;
        World {
            ends,
            listener,
            held: VecDeque::new(),
            old: VecDeque::new(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let n = input.below(2);
        match input.below(16) {
            0 | 1 => {
                let len = input.one_of(&[1, 100, 1448, 5000, 40_000]);
                self.ends[n].send(n, len);
            }
            2 | 3 => {
                let len = input.one_of(&[1, 1000, 100_000]);
                self.ends[n].recv(n, len);
            }
            4 if input.byte() > 200 && !self.ends[n].finished => self.ends[n].finish(),
            4 | 5 => self.time_passes(input.one_of(&[1, 5, 40, 200, 1000, 5000])),
            6 => self.lie(n, input),
            7 => {
                if let Some((to, packet)) = self.held.pop_front() {
                    self.deliver(to, packet);
                }
            }
            8 => {
                let which = input.below(self.old.len());
                if let Some((to, packet)) = self.old.get(which).cloned() {
                    self.deliver(to, packet);
                }
            }
            _ => {}
        }
        self.carry(&mut |world, to, packet| world.judge(to, packet, input));
        self.accept();
    }

    fn accept(&mut self) {
        let listener = self.listener;
        let server = &mut self.ends[1];
        if server.socket.is_none() {
            let got = server
                .rig
                .with(|h| h.accept(listener, Owner::default()).ok());
            server.socket = got.map(|(id, _)| id);
        }
    }

    fn time_passes(&mut self, ms: u64) {
        for end in &mut self.ends {
            end.rig.now = end.rig.now + Duration::from_millis(ms);
            end.rig.with(|h| h.run_timers());
        }
    }

    /// What both hosts sent goes to where `judge` sends it.
    fn carry(&mut self, judge: &mut dyn FnMut(&mut World, usize, Vec<u8>)) {
        // Answers are judged too, as long as there are any.
        for _ in 0..20 {
            let mut any = false;
            for from in 0..2 {
                let out = std::mem::take(&mut self.ends[from].rig.wire.outward);
                self.ends[from].rig.wire.outward = Some(Vec::new());
                for packet in out.unwrap_or_default() {
                    any = true;
                    judge(self, 1 - from, packet);
                }
            }
            if !any {
                return;
            }
        }
    }

    fn deliver(&mut self, to: usize, packet: Vec<u8>) {
        self.ends[to].rig.arrives(packet);
        self.ends[to].rig.receive();
    }

    /// What becomes of a packet for host `to`.
    fn judge(&mut self, to: usize, mut packet: Vec<u8>, input: &mut Input<'_>) {
        if self.old.len() == MEMORY {
            self.old.pop_front();
        }
        self.old.push_back((to, packet.clone()));
        match input.byte() {
            // An input that is over delivers.
            0..140 => self.deliver(to, packet),
            140..180 => {}
            180..200 => {
                self.deliver(to, packet.clone());
                self.deliver(to, packet);
            }
            200..230 => self.held.push_back((to, packet)),
            230..240 => {
                packet.truncate(input.below(packet.len()));
                self.deliver(to, packet);
            }
            240..250 => {
                let at = usize::from(input.u16()) % packet.len();
                packet[at] ^= 1 << input.below(8);
                self.deliver(to, packet);
            }
            _ => {
                // Held, and sent on behind the next that is held.
                self.held.push_front((to, packet.clone()));
                self.deliver(to, packet);
            }
        }
    }

    /// An ICMP error about something that host `n` sent; none that ends a connection that opens.
    fn lie(&mut self, n: usize, input: &mut Input<'_>) {
        let sent = self.old.iter().rev().filter(|(to, _)| *to != n);
        let Some((_, packet)) = sent.take(1 + input.below(8)).last() else {
            return;
        };
        let Ok(Packet::Tcp { segment, .. }) = wire::parse(packet, true) else {
            return;
        };
        let seq = segment.seq.0.wrapping_add_signed(input.one_of(&[0, 0, 1]));
        let mut about = input.one_of(&[(3, 4), (3, 0), (3, 1), (11, 0), (12, 0), (3, 13)]);
        if self.ends[n].opens() {
            about = (3, 4);
        }
        let [m0, m1] = input
            .one_of(&[0u16, 68, 600, 1200, 1499, 9000])
            .to_be_bytes();
        let (peer, us) = (v4(2 - n as u8), v4(n as u8 + 1));
        let quoted = (peer, segment.src_port, segment.dst_port, seq);
        let packet = icmp_error((peer, us), about, [0, 0, m0, m1], quoted);
        self.deliver(n, packet);
    }

    /// The link is honest; everything arrives.
    fn end(mut self) {
        let honest = &mut |world: &mut World, to, packet| world.deliver(to, packet);
        let mut idle = 0;
        for turn in 0.. {
            assert!(turn < 20_000, "stuck: {:?}", self.state());
            self.carry(honest);
            self.accept();
            for n in 0..2 {
                while self.ends[n].recv(n, 100_000) {}
                if !self.ends[n].finished {
                    self.ends[n].send(n, 10);
                    self.ends[n].finish();
                }
            }
            self.carry(honest);
            for n in 0..2 {
                while self.ends[n].recv(n, 100_000) {}
            }
            if self.ends.iter().all(|e| e.eof && e.finished) {
                break;
            }
            let next = self.ends.iter_mut().map(End::next_deadline).min();
            if next.is_none_or(|t| t == Instant::NEVER) {
                // Once more for what came just now.
                idle += 1;
                assert!(idle < 3, "nothing to come: {:?}", self.state());
                continue;
            }
            idle = 0;
            let next = next.unwrap_or(Instant::NEVER);
            for end in &mut self.ends {
                end.rig.now = end.rig.now.max(next);
                end.rig.with(|h| h.run_timers());
            }
        }
        for n in 0..2 {
            assert_eq!(self.ends[n].read, self.ends[1 - n].wrote, "to host {n}");
        }
        let listener = self.listener;
        self.ends[1].rig.with(|h| h.close(listener));
        for end in &mut self.ends {
            let id = end.socket;
            end.rig.with(|h| id.map(|id| h.close(id)));
        }
        self.carry(honest);
        for end in &mut self.ends {
            end.rig.let_all_end();
        }
    }

    fn state(&mut self) -> Vec<String> {
        let mut state = Vec::new();
        for end in &mut self.ends {
            let told = (end.wrote, end.read, end.finished, end.eof, end.rig.now);
            end.rig.with(|h| {
                let mut rows = Vec::new();
                h.table(|row| rows.push(row));
                state.push(format!("{told:?} {rows:?}"));
            });
        }
        state
    }
}
