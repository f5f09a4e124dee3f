//! Scripts by chance: a program and a remote side that do what comes to mind, to be recorded on
//! this stack ([`crate::record`]) and run on the kernel.
//!
//! The remote side acknowledges, reports by SACK, sends in and out of order, closes and resets at
//! random, mostly within what makes sense; times are such that a real clock does as well.

use core::fmt::Write;

/// What a script is mostly about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program sends, and the remote side acknowledges.
    Send,
    /// The remote side sends.
    Receive,
    /// Both, and the connection closes.
    Close,
    /// All that, and options, urgent data, ECN, ICMP errors, questions; IPv6 as often as IPv4.
    Mixed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Send, Kind::Receive, Kind::Close, Kind::Mixed];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Send => "send",
            Kind::Receive => "receive",
            Kind::Close => "close",
            Kind::Mixed => "mixed",
        }
    }

    /// How often each step is taken, in the order of [`STEPS`].
    fn weights(self) -> [u32; STEPS.len()] {
        match self {
            Kind::Send => [40, 60, 60, 20, 10, 10, 0, 0, 2, 2, 1, 3, 10, 0, 0, 0, 0, 0],
            Kind::Receive => [5, 5, 0, 0, 2, 50, 60, 30, 1, 3, 1, 3, 10, 0, 0, 0, 0, 0],
            Kind::Close => [
                10, 30, 3, 3, 3, 20, 10, 10, 20, 20, 3, 10, 10, 0, 0, 0, 0, 0,
            ],
            Kind::Mixed => [
                20, 40, 10, 5, 3, 20, 10, 10, 3, 3, 1, 3, 10, 40, 20, 20, 10, 20,
            ],
        }
    }
}

/// A step of a script.
type Step = fn(&mut Random);

const STEPS: [Step; 18] = [
    Random::write,
    Random::ack,
    Random::sack,
    Random::repeat_ack,
    Random::window,
    Random::data,
    Random::out_of_order,
    Random::read,
    Random::close,
    Random::fin,
    Random::reset,
    Random::odd,
    Random::pause,
    Random::option,
    Random::flags,
    Random::urgent,
    Random::icmp,
    Random::ask,
];

/// Each of them with an even chance.
const SETTINGS: [&str; 5] = [
    "tcp_early_retrans=0",
    "tcp_dsack=0",
    "tcp_frto=0",
    "tcp_recovery=0",
    "tcp_slow_start_after_idle=0",
];

/// What is compared at the end, and in between now and then.
const TOLD: &str = "tcpi_state tcpi_ca_state tcpi_snd_cwnd tcpi_snd_ssthresh tcpi_unacked tcpi_sacked tcpi_lost \
     tcpi_retrans tcpi_total_retrans tcpi_backoff tcpi_reordering tcpi_snd_mss tcpi_rcv_mss tcpi_notsent_bytes \
     tcpi_snd_wnd tcpi_delivered tcpi_dsack_dups tcpi_reord_seen tcpi_rcv_ooopack tcpi_bytes_acked \
     tcpi_bytes_received tcpi_segs_in tcpi_segs_out tcpi_bytes_retrans";

/// A script of calls and packets that come, the same for the same seed.
pub fn script(kind: Kind, seed: u64) -> String {
    let mut r = Random::new(seed.wrapping_mul(3).wrapping_add(kind as u64));
    r.mixed = kind == Kind::Mixed;
    r.open();
    if kind == Kind::Send {
        let segments = r.among(&[3, 6, 10, 10, 13, 20]);
        r.write_some(r.segment * segments);
    }
    let weights = kind.weights();
    for _ in 0..r.between(4, 14) {
        let mut left = r.below(weights.iter().sum());
        for (step, weight) in STEPS.iter().zip(weights) {
            if left < weight {
                step(&mut r);
                break;
            }
            left -= weight;
        }
        if r.chance(50) {
            r.tell(3);
        }
    }
    r.tell(5);
    let rest = r.among(&[50, 300, 900]);
    r.say(rest, "`true`");
    r.tell(1);
    r.out
}

/// A script under way. Sequence numbers are the script's.
struct Random {
    state: u64,
    out: String,
    /// Milliseconds.
    now: u32,
    /// When the host's first segment left: its timestamps count from then.
    first: u32,
    mss: u32,
    /// Payload of a full segment.
    segment: u32,
    timestamps: bool,
    sack: bool,
    window: u32,
    stamp: u32,
    fd: u32,
    written: u32,
    /// What the remote side has acknowledged.
    una: u32,
    /// What it sends next.
    next: u32,
    /// It has sent its FIN, in its turn, or all before it.
    finished: bool,
    /// Where it has sent its FIN, ahead of its turn: it sends nothing beyond.
    fin_at: Option<u32>,
    /// Just after the last byte that it has sent, in a window or near it.
    highest: u32,
    /// The program has closed its side.
    shut: bool,
    /// There is a descriptor.
    open: bool,
    /// See [`Kind::Mixed`].
    mixed: bool,
    ipv6: bool,
    /// Both sides said that they know ECN.
    ecn: bool,
}

impl Random {
    fn new(seed: u64) -> Random {
        let mut r = Random {
            state: seed,
            out: String::new(),
            now: 0,
            first: 0,
            mss: 0,
            segment: 0,
            timestamps: false,
            sack: false,
            window: 0,
            stamp: 700,
            fd: 3,
            written: 0,
            una: 1,
            next: 1,
            finished: false,
            fin_at: None,
            highest: 1,
            shut: false,
            open: true,
            mixed: false,
            ipv6: false,
            ecn: false,
        };
        r.mss = r.among(&[536, 1000, 1460]);
        (r.timestamps, r.sack) = (r.chance(50), r.chance(75));
        r.segment = r.mss - if r.timestamps { 12 } else { 0 };
        r.window = r.among(&[2000, 8000, 32_000, 65_535]);
        r
    }

    // Splitmix64.
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u32) -> u32 {
        (self.number() % u64::from(n.max(1))) as u32
    }

    fn between(&mut self, a: u32, b: u32) -> u32 {
        a + self.below(b - a + 1)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    fn among<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }

    /// After so many milliseconds.
    fn say(&mut self, after: u32, what: &str) {
        self.now += after;
        let (s, ms) = (self.now / 1000, self.now % 1000);
        // Writing to a String can't fail.
        let _ = writeln!(self.out, "{s}.{ms:03} {what}");
    }

    /// After some time: ACKs in a round trip, beyond a delayed ACK's time, beyond a timeout.
    fn later(&mut self, what: &str) {
        let after = self.among(&[12, 12, 20, 20, 60, 250]);
        self.say(after, what);
    }

    fn tell(&mut self, after: u32) {
        if self.open {
            self.say(after, &format!("%{{ tell {TOLD} }}%"));
        }
    }

    fn call(&mut self, after: u32, what: &str) {
        let fd = self.fd;
        self.say(after, &what.replace("FD", &fd.to_string()));
    }

    /// The handshake, by either side.
    fn open(&mut self) {
        if self.mixed && self.chance(50) {
            self.ipv6 = true;
            self.out += "--ip_version=ipv6\n";
            // What the MTU holds.
            self.segment = self.mss.min(1440) - (self.mss - self.segment);
        }
        for setting in SETTINGS {
            if self.chance(20) {
                let _ = writeln!(self.out, "`sysctl -q net.ipv4.{setting}`");
            }
        }
        let active = self.chance(40);
        let mut options = format!("mss {}", self.mss);
        match (self.sack, self.timestamps) {
            (true, true) => options += ",sackOK",
            (true, false) => options += ",nop,nop,sackOK",
            (false, true) => options += ",nop,nop",
            (false, false) => {}
        }
        if self.timestamps {
            let echo = if active { 100 } else { 0 };
            let _ = write!(options, ",TS val 700 ecr {echo}");
        }
        if self.chance(40) {
            options += ",nop,wscale 2";
        }
        let window = self.window;
        self.say(0, "socket(..., SOCK_STREAM, IPPROTO_TCP) = 3");
        if active {
            self.call(1, "fcntl(FD, F_SETFL, O_RDWR|O_NONBLOCK) = 0");
            self.call(1, "connect(FD, ..., ...) = 0");
            self.first = self.now;
            self.say(20, &format!("< S. 0:0(0) ack 1 win {window} <{options}>"));
        } else {
            self.call(1, "bind(FD, ..., ...) = 0");
            self.call(1, "listen(FD, 5) = 0");
            self.ecn = self.mixed && self.chance(40);
            let flags = if self.ecn { "SEW" } else { "S" };
            self.say(10, &format!("< {flags} 0:0(0) win {window} <{options}>"));
            self.first = self.now;
            let stamps = if self.timestamps {
                " <nop,nop,TS val 701 ecr 100>"
            } else {
                ""
            };
            self.say(20, &format!("< . 1:1(0) ack 1 win {window}{stamps}"));
            self.call(1, "accept(FD, ..., ...) = 4");
            self.fd = 4;
            self.call(1, "fcntl(FD, F_SETFL, O_RDWR|O_NONBLOCK) = 0");
        }
        if self.chance(20) {
            self.call(1, "setsockopt(FD, SOL_TCP, TCP_NODELAY, [1], 4) = 0");
        }
        if self.chance(10) {
            self.call(1, "setsockopt(FD, SOL_TCP, TCP_QUICKACK, [0], 4) = 0");
        }
        self.now += 10;
    }

    /// `<...>` with a timestamp that may be some round trips old.
    fn options(&mut self, sack: &str) -> String {
        let mut all = Vec::new();
        if self.timestamps {
            self.stamp += self.among(&[0, 1, 20, 100]);
            let age = self.among(&[0, 0, 20, 40, 200]);
            let echo = (100 + self.now - self.first).saturating_sub(age).max(100);
            all.push(format!("nop,nop,TS val {} ecr {echo}", self.stamp));
        }
        if !sack.is_empty() {
            all.push(format!("nop,nop,sack{sack}"));
        }
        if all.is_empty() {
            return String::new();
        }
        format!(" <{}>", all.join(","))
    }

    /// A segment comes: flags, numbers, and the window that it tells.
    fn segment(&mut self, flags: &str, (seq, len): (u32, u32), ack: u32, window: u32, sack: &str) {
        self.marked(flags, (seq, len), ack, window, "", sack);
    }

    /// The same with what stands behind the window, and what ECN has to say.
    fn marked(
        &mut self,
        flags: &str,
        at: (u32, u32),
        ack: u32,
        window: u32,
        urgent: &str,
        sack: &str,
    ) {
        let options = self.options(sack);
        let (seq, len) = at;
        let end = seq + len;
        if end < self.next + 65_536 {
            self.highest = self.highest.max(end);
        }
        let (mut mark, mut echo) = ("", "");
        if self.ecn {
            mark = match len {
                0 => "",
                _ => self.among(&["[ect0] ", "[ect0] ", "[ect0] ", "[ce] "]),
            };
            echo = self.among(&["", "", "", "", "E", "W"]);
        }
        self.later(&format!(
            "< {mark}{flags}{echo} {seq}:{end}({len}) ack {ack} win {window}{urgent}{options}"
        ));
    }

    fn write_some(&mut self, len: u32) {
        self.call(0, &format!("write(FD, ..., {len}) = 0"));
        self.written += len;
    }

    fn write(&mut self) {
        if self.shut {
            return;
        }
        self.now += self.among(&[12, 20, 60]);
        let segment = self.segment;
        let len = self.among(&[
            1,
            100,
            segment - 1,
            segment,
            segment + 1,
            2 * segment,
            5 * segment,
        ]);
        self.write_some(len);
    }

    /// Segments that were written and are not acknowledged.
    fn waiting(&self) -> u32 {
        (1 + self.written).saturating_sub(self.una) / self.segment
    }

    fn ack(&mut self) {
        let all = 1 + self.written;
        let waiting = self.waiting();
        let mut ack = if waiting > 0 && self.chance(80) {
            self.una + self.segment * self.below(waiting.min(6) + 1)
        } else {
            self.among(&[all, self.una])
        };
        if self.shut && self.chance(50) {
            ack = all + 1;
        }
        self.una = self.una.max(ack);
        let (next, window) = (self.next, self.window);
        self.segment(".", (next, 0), ack, window, "");
    }

    fn sack(&mut self) {
        let waiting = self.waiting();
        if !self.sack || waiting < 2 {
            return self.ack();
        }
        let mut blocks = String::new();
        for _ in 0..self.between(1, 3) {
            let start = self.una + self.segment * self.between(1, waiting);
            let end = (start + self.segment * self.between(1, 3)).min(1 + self.written);
            if end > start {
                let _ = write!(blocks, " {start}:{end}");
            }
        }
        let (at, ack, window) = ((self.next, 0), self.una, self.window);
        self.segment(".", at, ack, window, &blocks);
    }

    fn repeat_ack(&mut self) {
        let (at, ack, window) = ((self.next, 0), self.una, self.window);
        self.segment(".", at, ack, window, "");
    }

    fn window(&mut self) {
        let segment = self.segment;
        let window = self.among(&[0, 100, segment, 2 * segment]);
        let (at, ack) = ((self.next, 0), self.una);
        self.segment(".", at, ack, window, "");
    }

    /// What of so many bytes from there on is not beyond its FIN.
    fn of_stream(&self, seq: u32, len: u32) -> u32 {
        self.fin_at
            .map_or(len, |fin| len.min(fin.saturating_sub(seq)))
    }

    /// So much was sent in its turn.
    fn sent(&mut self, len: u32) {
        if !self.finished {
            self.next += len;
            self.finished = self.fin_at == Some(self.next);
            self.next += u32::from(self.finished);
        }
    }

    fn data(&mut self) {
        let segment = self.segment;
        let len = self.among(&[1, 100, segment, segment, segment]);
        let len = self.of_stream(self.next, len);
        let flags = self.among(&[".", "P."]);
        let (at, ack, window) = ((self.next, len), self.una, self.window);
        self.segment(flags, at, ack, window, "");
        self.sent(len);
    }

    fn out_of_order(&mut self) {
        let segment = i64::from(self.segment);
        let far = self.among(&[-2, -1, 0, 1, 1, 2, 3, 4, 6, 100]) * segment;
        let by = self.among(&[0, 0, 100, -100]);
        let seq = (i64::from(self.next) + far + by).max(1) as u32;
        let len = self.among(&[1, 100, self.segment, self.segment]);
        let (len, ack, window) = (self.of_stream(seq, len), self.una, self.window);
        let seq = self.fin_at.map_or(seq, |fin| seq.min(fin));
        self.segment(".", (seq, len), ack, window, "");
    }

    fn read(&mut self) {
        self.now += self.among(&[12, 20, 60]);
        let len = self.among(&[1, 500, 5000, 100_000]);
        self.call(0, &format!("read(FD, ..., {len}) = 0"));
    }

    fn close(&mut self) {
        if self.shut {
            return;
        }
        self.shut = true;
        self.now += self.among(&[12, 20, 60]);
        match self.below(4) {
            0 => {
                self.call(0, "close(FD) = 0");
                self.open = false;
            }
            1 => self.call(0, "shutdown(FD, SHUT_RDWR) = 0"),
            _ => self.call(0, "shutdown(FD, SHUT_WR) = 0"),
        }
    }

    fn fin(&mut self) {
        let (ack, window) = (self.una, self.window);
        let len = self.among(&[0, 0, 100]);
        let ahead = self.among(&[0, 0, 0, self.segment]);
        // Where there is one already, that again.
        let at = match self.fin_at {
            Some(fin) => (fin, 0),
            None => (self.highest.max(self.next + ahead), len),
        };
        self.segment("F.", at, ack, window, "");
        if self.fin_at.is_none() && !self.finished {
            self.fin_at = Some(at.0 + at.1);
            if at.0 == self.next {
                self.sent(len);
            }
        }
    }

    fn reset(&mut self) {
        let seq = self.next + self.among(&[0, 0, 1, 100]);
        let (ack, window) = (self.una, self.window);
        self.segment("R.", (seq, 0), ack, window, "");
    }

    /// What a peer would not do, or seldom.
    fn odd(&mut self) {
        let (next, una, window) = (self.next, self.una, self.window);
        match self.below(5) {
            // A keepalive probe, without and with its byte.
            0 => self.segment(".", (next - 1, 0), una, window, ""),
            1 => self.segment(".", (next - 1, 1), una, window, ""),
            // Acknowledged before it was sent, and long ago.
            2 => self.segment(".", (next, 0), una + self.written + 5000, window, ""),
            3 => {
                let ack = una.saturating_sub(3 * self.segment).max(1);
                self.segment(".", (next, 0), ack, window, "");
            }
            // Without the timestamp that it should have.
            _ => {
                let len = self.of_stream(next, 10);
                let end = next + len;
                self.later(&format!("< P. {next}:{end}({len}) ack {una} win {window}"));
                self.sent(len);
            }
        }
    }

    fn option(&mut self) {
        if !self.open {
            return;
        }
        let segment = self.segment;
        let few = self.among(&[1, 0]);
        let size = self.among(&[1, segment, 3 * segment, 100_000]);
        let cubic = self.among(&["\"cubic\", 5", "\"reno\", 4"]);
        let option = match self.below(16) {
            0..3 => format!("SOL_TCP, TCP_CORK, [{few}], 4"),
            3 => format!("SOL_TCP, TCP_NODELAY, [{few}], 4"),
            4 => format!("SOL_TCP, TCP_QUICKACK, [{few}], 4"),
            5 => format!("SOL_TCP, TCP_NOTSENT_LOWAT, [{size}], 4"),
            6 => format!(
                "SOL_TCP, TCP_MAXSEG, [{}], 4",
                self.among(&[500, 900, 1400])
            ),
            7 => format!("SOL_TCP, TCP_WINDOW_CLAMP, [{size}], 4"),
            8 => format!("SOL_SOCKET, SO_RCVLOWAT, [{size}], 4"),
            9 => format!("SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS, [{few}], 4"),
            10 => format!(
                "SOL_TCP, TCP_USER_TIMEOUT, [{}], 4",
                self.among(&[0, 400, 700])
            ),
            11 => format!("SOL_TCP, TCP_CONGESTION, {cubic}"),
            12 => format!("SOL_SOCKET, SO_OOBINLINE, [{few}], 4"),
            13 => format!("SOL_TCP, TCP_LINGER2, [{}], 4", self.among(&[-1, 0, 1])),
            14 => format!("SOL_SOCKET, SO_LINGER, {{onoff={few}, linger=0}}, 8"),
            _ => {
                self.call(1, "setsockopt(FD, SOL_SOCKET, SO_KEEPALIVE, [1], 4) = 0");
                let n = self.among(&[1, 2]);
                self.call(
                    0,
                    &format!("setsockopt(FD, SOL_TCP, TCP_KEEPCNT, [{n}], 4) = 0"),
                );
                self.call(0, "setsockopt(FD, SOL_TCP, TCP_KEEPINTVL, [1], 4) = 0");
                "SOL_TCP, TCP_KEEPIDLE, [1], 4".to_owned()
            }
        };
        self.now += self.among(&[1, 12, 60]);
        self.call(0, &format!("setsockopt(FD, {option}) = 0"));
    }

    /// Sends and receives with flags.
    fn flags(&mut self) {
        if !self.open {
            return;
        }
        self.now += self.among(&[12, 20, 60]);
        let segment = self.segment;
        let len = self.among(&[1, 100, segment, segment + 1, 3 * segment]);
        if self.chance(70) {
            if self.shut {
                return;
            }
            let flags = self.among(&["MSG_MORE", "MSG_MORE", "MSG_OOB", "MSG_EOR"]);
            self.call(0, &format!("send(FD, ..., {len}, {flags}) = 0"));
            self.written += len;
        } else {
            let flags = self.among(&["MSG_PEEK", "MSG_OOB", "MSG_TRUNC", "MSG_OOB|MSG_PEEK"]);
            self.call(0, &format!("recv(FD, ..., {len}, {flags}) = 0"));
        }
    }

    /// Data with an urgent pointer: into it, at its end, beyond it, nowhere.
    fn urgent(&mut self) {
        let len = self.among(&[1, 10, self.segment]);
        let pointer = self.among(&[0, 1, len, len, len, len + 1, len + 100]);
        let seq = self.next + self.among(&[0, 0, 0, self.segment]);
        let len = self.of_stream(seq, len);
        if len == 0 {
            return;
        }
        let (ack, window) = (self.una, self.window);
        self.marked(
            "PU.",
            (seq, len),
            ack,
            window,
            &format!(" urg {pointer}"),
            "",
        );
        if seq == self.next {
            self.sent(len);
        }
    }

    /// An error about the first segment that is not acknowledged, or another.
    fn icmp(&mut self) {
        let start = self.una + self.among(&[0, 0, 0, self.segment, 100_000]);
        let len = self.segment;
        let mtu = self.among(&[1400, 900, 600, 1400]);
        let what = if self.ipv6 {
            match self.below(3) {
                0 => format!("packet_too_big mtu {}", mtu.max(1280)),
                1 => "unreachable address_unreachable".to_owned(),
                _ => "unreachable no_route".to_owned(),
            }
        } else {
            match self.below(3) {
                0 => format!("unreachable frag_needed mtu {mtu}"),
                1 => "unreachable host_unreachable".to_owned(),
                _ => "unreachable net_unreachable".to_owned(),
            }
        };
        let end = start + len;
        self.later(&format!("< icmp {what} [{start}:{end}({len})]"));
    }

    /// What is ready, and how much is waiting.
    fn ask(&mut self) {
        if !self.open {
            return;
        }
        let fd = self.fd;
        self.now += self.among(&[1, 12, 60]);
        match self.below(4) {
            0 => self.call(0, "ioctl(FD, SIOCINQ, [0]) = 0"),
            1 => self.call(0, "ioctl(FD, SIOCOUTQ, [0]) = 0"),
            2 => self.call(0, "getsockopt(FD, SOL_SOCKET, SO_ERROR, [0], [4]) = 0"),
            _ => {
                let events = "POLLIN|POLLPRI|POLLOUT|POLLRDHUP";
                let asked = format!("[{{fd={fd}, events={events}, revents=0}}]");
                self.call(0, &format!("poll({asked}, 1, 0) = 0"));
            }
        }
    }

    fn pause(&mut self) {
        self.now += self.among(&[100, 300, 500]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is recorded is what happens when it is run.
    #[test]
    fn what_is_recorded_passes() {
        for kind in Kind::ALL {
            for seed in 0..60 {
                let name = format!("{} {seed}", kind.name());
                let text = crate::record_ours(&script(kind, seed))
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
                crate::run_on_ours(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
            }
        }
    }
}
