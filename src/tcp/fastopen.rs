//! TCP Fast Open (RFC 7413), one connection's part: what SYN and SYN+ACK carry.
//!
//! ```text
//!  client                                   server
//!    SYN, asks for a cookie  ------------->
//!                            <-------------  SYN+ACK, cookie
//!  later:
//!    SYN, cookie, data       ------------->  the program reads at once, and may answer
//!                            <-------------  SYN+ACK of SYN and data
//! ```
//!
//! Whose cookie is good is for the host to say (`stack/fastopen.rs`).

use super::mib::Mib;
use super::sent::{PUSHED, Sent};
use super::{Events, Flags, Options, Outcome, RecvQueue, Segment, SeqNum, Tcb};
use crate::time::Instant;

/// The longest cookie (RFC 7413, section 4.1.1).
pub const MAX_COOKIE: usize = 16;

/// The Fast Open option of a SYN or SYN+ACK: kind 34, or the experiment's 254.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Cookie {
    /// How many of `bytes` count; 0 asks for a cookie.
    pub len: u8,
    /// The cookie.
    pub bytes: [u8; MAX_COOKIE],
    /// As option 254 with the number 0xF989.
    pub experimental: bool,
}

impl Cookie {
    /// The bytes that count.
    pub fn as_bytes(&self) -> &[u8] {
        let len = usize::from(self.len).min(MAX_COOKIE);
        &self.bytes[..len]
    }
}

/// Keys as `net.ipv4.tcp_fastopen_key` shows them: the one that cookies are made by, and perhaps an
/// older one whose cookies are good, too; each four words in hexadecimal digits. None for zeros,
/// which stand for no key.
pub fn parse_key(text: &str) -> [Option<[u8; 16]>; 2] {
    let mut keys = text.trim().split(',').map(parse_one_key);
    [keys.next().flatten(), keys.next().flatten()]
}

fn parse_one_key(text: &str) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    let mut words = text.split('-');
    for place in key.chunks_exact_mut(4) {
        let word = u32::from_str_radix(words.next()?, 16).ok()?;
        place.copy_from_slice(&word.to_le_bytes());
    }
    (words.next().is_none() && key != [0; 16]).then_some(key)
}

/// What a connection that is over tells of Fast Open on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing.
    None,
    /// The peer's data was swallowed, and its FIN was not.
    Swallowed,
    /// It works again after a pause.
    Works,
}

/// Fast Open's part of a connection.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FastOpen {
    /// What the first SYN (or SYN+ACK) says.
    option: Option<Cookie>,
    /// Bytes of the send queue that the first SYN carries.
    syn_data: u32,
    /// The SYN carried data.
    sent_data: bool,
    /// Data on the SYN was taken, by the peer or by us.
    data_taken: bool,
    /// A cookie that came with the SYN+ACK.
    received: Option<Cookie>,
    /// The program had the connection before the handshake was complete.
    early: bool,
    /// `tcpi_fastopen_client_fail`.
    client_fail: u8,
    /// The program waits to send more than the SYN carries.
    more_waits: bool,
    /// The MSS that the peer's SYN told, whatever TCP_MAXSEG made of it.
    pub(super) mss_told: u16,
    /// The host found Fast Open paused before and tries it again (Linux: `syn_fastopen_ch`).
    after_pause: bool,
}

/// `tcpi_fastopen_client_fail`: no cookie was there; the SYN+ACK did not acknowledge the data; the
/// SYN had to be sent again.
const COOKIE_UNAVAILABLE: u8 = 1;
const DATA_NOT_ACKED: u8 = 2;
const SYN_RETRANSMITTED: u8 = 3;

impl FastOpen {
    pub(super) fn is_early(&self) -> bool {
        self.early
    }
}

impl Tcb {
    /// After [`Tcb::connect`]: the SYN carries `option` and up to `data` bytes of what has been
    /// written; none: that can't be read, and the SYN asks for a cookie though one is known. `mss`:
    /// what the peer told last time; should it tell none now, that holds.
    pub fn connect_fast(&mut self, option: Option<Cookie>, data: Option<u32>, mss: Option<u16>) {
        self.mss_clamp = self.advmss.min(mss.unwrap_or(u16::MAX));
        self.sync_mss();
        self.fast.option = option;
        if option.is_some_and(|o| o.len == 0) {
            self.fast.client_fail = COOKIE_UNAVAILABLE;
        } else if let Some(data) = data {
            self.fast.syn_data = data.min(self.snd_end - (self.iss + 1));
        } else if let Some(asks) = &mut self.fast.option {
            asks.len = 0;
        }
    }

    /// After [`Tcb::accept`]: the SYN+ACK grants a cookie.
    pub fn grant(&mut self, cookie: Cookie) {
        self.fast.option = Some(cookie);
    }

    /// After [`Tcb::accept`]: the peer is known, so the program may have the connection, and the
    /// data of its SYN, before the handshake is complete.
    pub fn accept_fast(&mut self, now: Instant, syn: &Segment, rx: &mut impl RecvQueue) {
        self.fast.early = true;
        self.sync_mss();
        if syn.len > 0 {
            self.fast.data_taken = self.take_syn_data(syn.len, rx) > 0;
            self.rcv_wup = self.rcv_nxt;
            self.delack.lrcvtime = now;
        }
    }

    /// The program may use the connection though the handshake is not complete.
    pub fn is_early(&self) -> bool {
        self.fast.is_early()
    }

    /// The program waits to send more than the SYN carries: the ACK of the SYN+ACK goes with that
    /// (Linux: `sk_write_pending`).
    pub fn more_waits(&mut self) {
        self.fast.more_waits = true;
    }

    pub(super) fn synack_is_answered_by_data(&self) -> bool {
        self.fast.more_waits
    }

    /// The cookie that came with the SYN+ACK.
    pub fn received_cookie(&self) -> Option<Cookie> {
        self.fast.received
    }

    /// The option that was sent with the SYN.
    pub fn fast_open_tried(&self) -> Option<Cookie> {
        self.fast.option
    }

    /// The SYN bore data, and whether all of it was taken.
    pub fn fast_open_data(&self) -> Option<bool> {
        self.fast.sent_data.then_some(self.fast.data_taken)
    }

    /// For TCP_INFO: data went on a SYN and was taken (`TCPI_OPT_SYN_DATA`), and
    /// `tcpi_fastopen_client_fail`.
    pub(super) fn fast_open_info(&self) -> (bool, u8) {
        (self.fast.data_taken, self.fast.client_fail)
    }

    /// What a SYN carries: its option, and how many bytes. What is sent again carries neither.
    // RFC 7413 S4.2.2-1, S4.2.2-4
    pub(super) fn fast_syn(&mut self, options: &mut Options, retransmit: bool) -> u32 {
        if retransmit {
            if self.fast.sent_data {
                self.fast.client_fail = SYN_RETRANSMITTED;
            }
            return 0;
        }
        options.fastopen = self.fast.option;
        let len = core::mem::take(&mut self.fast.syn_data);
        self.fast.sent_data = len > 0;
        self.bytes_sent += u64::from(len);
        self.noted.add(Mib::OrigDataSent, u32::from(len > 0));
        self.data_segs_out = self.data_segs_out.wrapping_add(u32::from(len > 0));
        len
    }

    /// Our SYN is acknowledged up to `snd_una`: true if something that it carried isn't (Linux:
    /// `tcp_rcv_fastopen_synack`).
    // RFC 7413 S4.2.2-6
    pub(super) fn syn_data_answered(&mut self, seg: &Segment, out: &mut Outcome) -> bool {
        self.fast.received = seg.options.fastopen.filter(|c| c.len > 0);
        let start = self.iss + 1;
        let acked = self.snd_una.diff(start).max(0).unsigned_abs();
        out.acked = out.acked.saturating_add(acked);
        self.bytes_acked += u64::from(acked);
        if !self.fast.sent_data {
            return false;
        }
        // Linux: `syn_data_acked` stands for all of it.
        let rest = self.snd_nxt.gt(self.snd_una);
        self.fast.data_taken = acked > 0 && !rest;
        self.noted
            .add(Mib::Delivered, u32::from(self.fast.data_taken));
        if rest && self.fast.client_fail == 0 {
            self.fast.client_fail = DATA_NOT_ACKED;
        }
        rest
    }

    /// What the SYN carried beyond `snd_una` is in flight, as a record like any other: until now
    /// the SYN's own timer stood for it.
    pub(super) fn record_syn_data(&mut self, now: Instant, sent: &mut [Sent]) {
        let len = self.snd_nxt.diff(self.snd_una).max(0).unsigned_abs();
        let segs = len.div_ceil(u32::from(self.snd_mss).max(1)).max(1);
        let mut record = Sent {
            start: self.snd_una,
            end: self.snd_nxt,
            at: self.sent.moment(now),
            segs: u16::try_from(segs).unwrap_or(u16::MAX),
            mss: self.snd_mss,
            flags: PUSHED,
            ..Sent::default()
        };
        self.rate_stamp(now, &mut record);
        self.sent.push(sent, record);
    }

    /// The answer to a SYN of Fast Open may carry data and a FIN itself (Linux:
    /// `tcp_fastopen_add_skb`).
    pub(super) fn take_synack_data(
        &mut self,
        now: Instant,
        seg: &Segment,
        rx: &mut impl RecvQueue,
        out: &mut Outcome,
    ) {
        let used = self.fast.option.is_some() || self.fast.sent_data;
        if !used || seg.seq_len() < 2 {
            return;
        }
        self.fast.data_taken = true;
        if self.take_syn_data(seg.len, rx) > 0 {
            out.events.add(Events::READABLE);
        }
        let end = seg.seq + 1 + seg.len;
        if seg.flags.has(Flags::FIN) && self.rcv_nxt == end {
            self.fin_at = Some(end);
            self.take_fin(now, out);
        }
    }

    /// Data of a SYN, `len` bytes, goes to the program; gives how many.
    fn take_syn_data(&mut self, len: u32, rx: &mut impl RecvQueue) -> u32 {
        let len = self.rcv_wnd.min(len);
        if len == 0 {
            return 0;
        }
        let next = rx.insert(self.rcv_nxt, self.rcv_nxt, 0, len);
        let taken = next.diff(self.rcv_nxt).max(0).unsigned_abs().min(len);
        self.rcv_nxt += taken;
        self.bytes_received += u64::from(taken);
        taken
    }

    /// The SYN went with data, and has not gone again.
    pub(super) fn syn_bore_data(&self) -> bool {
        self.fast.sent_data && self.fast.client_fail != SYN_RETRANSMITTED
    }

    /// The SYN, or what its data was, timed out so often that something in between may swallow
    /// whatever Fast Open sends (Linux: `tcp_fastopen_active_detect_blackhole`).
    pub(super) fn suspect_fast_open(&self, expired: bool, out: &mut Outcome) {
        let tried = self.fast.option.is_some() && !self.passive;
        let used = tried || self.fast.sent_data || self.fast.data_taken;
        let count = self.timers.retransmits;
        if used && (count == 2 || (count < 2 && expired)) {
            out.events.add(Events::FAST_OPEN_SWALLOWED);
        }
    }

    /// Fast Open is tried again after it was paused: should it work, that counts.
    pub fn tries_after_pause(&mut self) {
        self.fast.after_pause = true;
    }

    /// What the end of a connection tells of Fast Open (Linux:
    /// `tcp_fastopen_active_disable_ofo_check`).
    pub fn fast_open_verdict(&self) -> Verdict {
        if self.passive || self.fast.option.is_none() {
            Verdict::None
        } else if self.data_segs_in == 0 && self.fin_at.is_some_and(|fin| fin.gt(self.rcv_nxt)) {
            Verdict::Swallowed
        } else if self.data_segs_in > 0 && self.fast.after_pause {
            Verdict::Works
        } else {
            Verdict::None
        }
    }

    /// SYN_RECEIVED of a connection that the program uses already: data may have been acknowledged
    /// too. Where the handshake stands to be complete, our data is still in flight.
    pub(super) fn early_una(&self, ack: SeqNum) -> SeqNum {
        if self.fast.early { self.iss + 1 } else { ack }
    }
}
