//! A program that makes random calls on sockets and checks what it reads.
//!
//! Every stream begins with eight random bytes, from which all the others follow: whoever
//! reads it can tell a wrong, lost or doubled byte without knowing who wrote it.

use super::*;
use crate::stack::{How, Opt};
use std::collections::HashMap;
use std::rc::Rc;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Which seeds to try: these, unless UTCP_SEEDS=FIRST..END says others.
pub fn seeds(default: core::ops::Range<u64>) -> core::ops::Range<u64> {
    let given = std::env::var("UTCP_SEEDS").ok();
    let bounds = given.as_deref().and_then(|s| s.split_once(".."));
    bounds.map_or(default, |(a, b)| a.parse().unwrap()..b.parse().unwrap())
}

/// Tells which seed it was that failed.
pub struct Trying(pub u64);

impl Drop for Trying {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with seed {}", self.0);
        }
    }
}

/// The bytes of the stream `id` from `at` on.
pub fn fill(id: u64, at: u64, out: &mut [u8]) {
    for (n, byte) in (at..).zip(out) {
        *byte = byte_at(id, n);
    }
}

fn byte_at(id: u64, n: u64) -> u8 {
    if n < 8 {
        return id.to_le_bytes()[n as usize];
    }
    let z = (id ^ (n / 8)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((z ^ z >> 32) >> (n % 8 * 4)) as u8
}

/// One direction of a connection, as its reader knows it.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    id: [u8; 8],
    pub got: u64,
}

impl Reader {
    /// The stream's name, once it is known.
    pub fn id(&self) -> Option<u64> {
        (self.got >= 8).then(|| u64::from_le_bytes(self.id))
    }

    /// Check `bytes`, which come next; with `peeked`, they will come again.
    pub fn take(&mut self, bytes: &[u8], peeked: bool) {
        let before = self.clone();
        for &byte in bytes {
            match self.got {
                n @ 0..8 => self.id[n as usize] = byte,
                n => {
                    let id = u64::from_le_bytes(self.id);
                    assert_eq!(byte, byte_at(id, n), "byte {n} of stream {id:x}");
                }
            }
            self.got += 1;
        }
        if peeked {
            *self = before;
        }
    }
}

/// How many bytes were written into each stream; perhaps more, if the writer may have died.
pub type Ledger = Rc<std::cell::RefCell<HashMap<u64, (u64, bool)>>>;

/// What the program knows of a socket of its.
#[derive(Clone, Debug)]
struct Sock {
    id: SockId,
    stream: u64,
    wrote: u64,
    reader: Reader,
    /// An urgent byte is out of the stream, which `reader` can't know.
    urgent: bool,
    /// Its end was reported, or the program wants no more: that it reads no more means nothing.
    over: bool,
}

/// See the module.
#[derive(Clone)]
pub struct Program {
    pub rng: Rng,
    pub owner: Owner,
    /// Where it binds and connects to.
    pub places: Vec<Endpoint>,
    pub ledger: Ledger,
    /// How many streams it read to the end, and found whole.
    pub whole: usize,
    pub received: u64,
    /// Every stream's writer is in the ledger.
    pub knows_all: bool,
    /// It opens by Fast Open, too. Without that there are more connections in SYN_SENT, and more
    /// that were refused.
    pub fast: bool,
    /// The most sockets it has at a time.
    pub most: usize,
    /// The most bytes it reads or writes at a time.
    pub largest: usize,
    /// Its only thread's; 0: none yet.
    waiter: u16,
    socks: Vec<Sock>,
    buffer: Vec<u8>,
}

impl Program {
    pub fn new(seed: u64, places: &[Endpoint], ledger: &Ledger) -> Program {
        Program {
            rng: Rng(seed),
            owner: Owner::default(),
            places: places.to_vec(),
            ledger: ledger.clone(),
            whole: 0,
            received: 0,
            knows_all: true,
            fast: true,
            most: 12,
            largest: 70_000,
            waiter: 0,
            socks: Vec::new(),
            buffer: vec![0; 70_000],
        }
    }

    /// One random call.
    pub fn step(&mut self, h: &mut Host<'_>) {
        self.socks.retain(|s| h.socket(s.id).is_ok());
        let Some(which) = self.rng.below(self.socks.len() + 2).checked_sub(2) else {
            return if self.socks.len() < self.most {
                self.open(h);
            };
        };
        let id = self.socks[which].id;
        let state = h.socket(id).map_or(State::Closed, Socket::state);
        match (state, self.rng.below(100)) {
            (_, 0) => {
                self.socks.swap_remove(which);
                h.close(id);
            }
            (_, 1) => {
                let how = [How::Read, How::Write, How::Both][self.rng.below(3)];
                let _ = h.shutdown(id, how);
                self.socks[which].over |= how != How::Write;
            }
            (_, 4) => self.mirror(h, id),
            (_, 5) => self.option(h, id),
            (_, 2) if self.rng.chance(20) => {
                let _ = h.dissolve(id);
                self.renew(h, which);
            }
            (_, 7) => self.socks[which].over |= h.take_error(id) != Ok(None),
            (_, 8..12) => self.wait(h, id),
            (State::Closed, 12..30) => {
                let at = self.place(true);
                let _ = h.bind(id, at, true);
            }
            (State::Closed, 30..50) => {
                if self.fast && self.rng.chance(50) {
                    let _ = h.set_option(id, Opt::FastOpen, 3);
                }
                let _ = h.listen(id, self.rng.below(6) as i32);
            }
            (State::Closed, _) => {
                let to = self.place(false);
                if self.fast && self.socks[which].wrote == 0 && self.rng.chance(30) {
                    self.connect_fast(h, which, to);
                } else if h.connect(id, to) == Err(Error::InProgress) {
                    self.renew(h, which);
                }
            }
            (State::Listen, _) => {
                if let Ok((child, _)) = h.accept(id, self.owner) {
                    self.add(child);
                }
            }
            (State::SynSent | State::SynReceived, _)
                if !h.socket(id).is_ok_and(Socket::is_early) =>
            {
                let _ = h.connect_result(id);
            }
            (_, 12..50) => self.write(h, which),
            (_, 50..52) => {
                if let Ok(Some(_)) = h.recv_urgent(id, self.rng.chance(30)) {
                    self.socks[which].urgent = true;
                }
            }
            _ => self.read(h, which),
        }
    }

    /// End every stream, read what comes, close listeners.
    pub fn wind_down(&mut self, h: &mut Host<'_>) {
        self.socks.retain(|s| h.socket(s.id).is_ok());
        for which in (0..self.socks.len()).rev() {
            let id = self.socks[which].id;
            if h.socket(id).is_ok_and(|s| s.listening) {
                h.close(id);
                self.socks.swap_remove(which);
                continue;
            }
            let _ = h.shutdown(id, How::Write);
            self.read(h, which);
        }
    }

    /// After [`Program::wind_down`] by all, for long enough: every stream has come to its end.
    pub fn assert_finished(&self, h: &Host<'_>) {
        for s in &self.socks {
            let Ok(socket) = h.socket(s.id) else { continue };
            let state = socket.state();
            let finished = matches!(state, State::Closed | State::TimeWait);
            let shut = socket.rcv_shutdown && state == State::FinWait2;
            assert!(
                finished || s.over || shut,
                "{state:?}: {s:?} {:?}",
                socket.tcb
            );
        }
    }

    /// Close any of its sockets.
    pub fn close_one(&mut self, h: &mut Host<'_>) {
        if !self.socks.is_empty() {
            let which = self.rng.below(self.socks.len());
            h.close(self.socks.swap_remove(which).id);
        }
    }

    /// Close everything.
    pub fn end(&mut self, h: &mut Host<'_>) {
        for s in self.socks.drain(..) {
            h.close(s.id);
        }
        h.free_waiter(core::mem::take(&mut self.waiter));
    }

    /// The streams that it writes now.
    pub fn streams(&self) -> impl Iterator<Item = u64> {
        self.socks.iter().map(|s| s.stream)
    }

    fn open(&mut self, h: &mut Host<'_>) {
        let family = [Family::V4, Family::V6][self.rng.below(2)];
        let mut settings = Sysctl::default();
        if self.fast {
            // For clients and listeners, both without cookies.
            settings.tcp_fastopen = 0x207;
        }
        let Ok(id) = h.create(family, self.owner, &settings) else {
            return;
        };
        if self.rng.chance(70) {
            let _ = h.set_option(id, Opt::ReuseAddr, 1);
        }
        let _ = h.set_option(id, Opt::ZeroCopy, 1);
        self.add(id);
    }

    fn add(&mut self, id: SockId) {
        self.socks.push(Sock {
            id,
            stream: self.rng.next(),
            wrote: 0,
            reader: Reader::default(),
            urgent: false,
            over: false,
        });
    }

    /// A new connection on an old socket.
    fn renew(&mut self, h: &Host<'_>, which: usize) {
        let s = &mut self.socks[which];
        // Shut down before, it reads the end of the stream whenever there is nothing.
        let shut = h.socket(s.id).is_ok_and(|s| s.rcv_shutdown);
        s.stream = self.rng.next();
        (s.wrote, s.reader) = (0, Reader::default());
        (s.urgent, s.over) = (false, shut);
    }

    fn place(&mut self, own: bool) -> Endpoint {
        let mut place = self.places[self.rng.below(self.places.len())];
        if own && self.rng.chance(20) {
            place.port = 0;
        }
        if own && self.rng.chance(60) {
            place.addr = [Addr::ANY4, Addr::ANY6][self.rng.below(2)];
        }
        place
    }

    fn option(&mut self, h: &mut Host<'_>, id: SockId) {
        let n = self.rng.below(100_000) as i64;
        let (opt, value) = [
            (Opt::NoDelay, n % 2),
            (Opt::Cork, n % 2),
            (Opt::KeepAlive, n % 2),
            (Opt::KeepIdle, 1 + n % 50),
            (Opt::SndBuf, n),
            (Opt::RcvBuf, n),
            (Opt::Linger, [-1, 0, 5][n as usize % 3]),
            (Opt::Linger2, n % 20 - 1),
            (Opt::RcvLowat, n % 3000),
            (Opt::UserTimeout, n % 3 * 10_000),
            (Opt::V6Only, n % 2),
            (Opt::MaxSeg, 88 + n % 3000),
            (Opt::RtoMin, n % 2 * 100_000 + 2000),
            (Opt::RtoMax, 1000 + n),
            (Opt::DelackMax, n),
            (Opt::FastOpen, n % 4),
        ][self.rng.below(15 + usize::from(self.fast))];
        let _ = h.set_option(id, opt, value);
    }

    /// What the shim and the keeper do for epoll.
    fn mirror(&mut self, h: &mut Host<'_>, id: SockId) {
        let _ = h.has_far(id, Ready::OUT);
        let _ = h.take_notice(id);
        if self.rng.chance(50) {
            let _ = h.watch(id);
        }
        while h.next_mirror().is_some() {}
        let over = h.to_lower(id);
        h.lowered(id, over);
    }

    /// What a thread does that blocks, and one that goes on.
    fn wait(&mut self, h: &mut Host<'_>, id: SockId) {
        if self.waiter == 0 {
            self.waiter = h.new_waiter(self.owner.pid, 1).unwrap_or(0);
        }
        if self.rng.chance(60) {
            h.wait_on(id, self.waiter);
        } else {
            for s in &self.socks {
                h.unwait(s.id, self.waiter);
            }
            if self.rng.chance(20) {
                h.free_waiter(core::mem::take(&mut self.waiter));
            }
        }
    }

    /// The stream begins on the SYN.
    fn connect_fast(&mut self, h: &mut Host<'_>, which: usize, to: Endpoint) {
        let len = [0, 10, 3000][self.rng.below(3)];
        let s = &mut self.socks[which];
        let data = &mut self.buffer[..len];
        fill(s.stream, 0, data);
        if let Ok(n) = h.connect_fast(s.id, to, data, false) {
            s.wrote = n as u64;
            let shut = h.socket(s.id).is_ok_and(|s| s.rcv_shutdown);
            (s.reader, s.urgent, s.over) = (Reader::default(), false, shut);
            let mut ledger = self.ledger.borrow_mut();
            ledger.insert(s.stream, (s.wrote, false));
        }
    }

    fn write(&mut self, h: &mut Host<'_>, which: usize) {
        let s = &mut self.socks[which];
        let most = [10, 2000, 20_000, 70_000][self.rng.below(4)];
        let len = 1 + self.rng.below(most.min(self.largest));
        let data = &mut self.buffer[..len];
        fill(s.stream, s.wrote, data);
        let cut = self.rng.below(len);
        let parts = [IoSlice::new(&data[..cut]), IoSlice::new(&data[cut..])];
        let flags = SendFlags {
            oob: self.rng.chance(1),
            more: self.rng.chance(2),
            eor: self.rng.chance(2),
            stamps: None,
            zerocopy: self.rng.chance(2),
        };
        match h.send(s.id, &parts, 0, flags) {
            Ok(n) => {
                s.wrote += n as u64;
                h.send_ended(s.id, flags.zerocopy, None);
                let mut ledger = self.ledger.borrow_mut();
                ledger.insert(s.stream, (s.wrote, false));
            }
            Err(e) => s.over |= e != Error::WouldBlock,
        }
    }

    fn read(&mut self, h: &mut Host<'_>, which: usize) {
        let s = &mut self.socks[which];
        let most = [10, 2000, 20_000, 70_000][self.rng.below(4)];
        let len = 1 + self.rng.below(most.min(self.largest));
        let flags = RecvFlags {
            peek: self.rng.chance(10),
            ..RecvFlags::default()
        };
        let mut out = [IoSliceMut::new(&mut self.buffer[..len])];
        // An urgent byte out of line makes a hole that the reader can't see.
        s.urgent |= h.socket(s.id).is_ok_and(|s| s.tcb.urgent_mark().is_some());
        match h.recv(s.id, &mut out, flags) {
            Ok(0) if !s.over && !s.urgent => {
                if let Some(id) = s.reader.id().filter(|_| self.knows_all) {
                    let (wrote, more) = self.ledger.borrow()[&id];
                    let got = s.reader.got;
                    let whole = got == wrote || more && got > wrote;
                    assert!(whole, "stream {id:x} ends at {got} of {wrote}");
                    self.whole += 1;
                }
            }
            Ok(n) => {
                self.received += n as u64;
                if !s.urgent {
                    s.reader.take(&self.buffer[..n], flags.peek);
                }
            }
            Err(e) => s.over |= e != Error::WouldBlock,
        }
    }
}
