//! The receive window: what is advertised, how it grows, how the buffer follows.
//!
//! Linux's arithmetic (6.18), since programs and peers see it: half of the buffer is window
//! until the size of segments tells what part of a buffer is payload (`scaling_ratio`), the
//! first window is a multiple of the MSS, it opens by two MSS for each full segment, and its
//! right edge never moves left.

use super::mib::Mib;
use super::{SeqNum, State, Tcb};
use crate::time::Instant;

/// The largest shift (RFC 7323, section 2.3).
pub const MAX_WSCALE: u8 = 14;
/// The MSS of a peer that does not say (RFC 9293, section 3.7.1, for IPv4).
pub const DEFAULT_MSS: u16 = 536;
/// Linux: `TCP_MIN_MSS`.
const MIN_MSS: u32 = 88;

/// Dynamic right-sizing: raise the buffer when the program reads more in a round trip than fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Autotune {
    /// Start of this measurement.
    at: Instant,
    /// `copied_seq` then.
    seq: SeqNum,
    /// The most the program read in a round trip.
    space: u32,
    /// The round-trip time seen by a receiver, eight times, microseconds; 0 when unknown.
    rtt8: u32,
    /// A window's worth of data was sent when this is reached ...
    rtt_seq: SeqNum,
    /// ... counted from here.
    rtt_at: Option<Instant>,
    last_tsecr: u32,
    /// The end of what came out of order, while there is a gap.
    ahead: SeqNum,
}

/// What [`select_initial_window`] chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialWindow {
    pub wnd: u32,
    pub clamp: u32,
    pub wscale: u8,
}

/// Half: the part of a buffer that is payload, in 256ths, before anything is known (Linux:
/// `TCP_DEFAULT_SCALING_RATIO`).
pub(super) const DEFAULT_RATIO: u8 = 128;
/// What Linux's memory for a segment is beyond its payload (struct sk_buff, head, shared info):
/// seen on lo, where a window of 95,232 follows a first segment of 32,741 bytes.
const SEGMENT_OVERHEAD: u32 = 896;

/// The window part of `rcv_buf` bytes of buffer.
pub(super) fn win_from_space(rcv_buf: u32, ratio: u8) -> u32 {
    ((u64::from(rcv_buf) * u64::from(ratio)) >> 8) as u32
}

/// The buffer for a window: the other way round.
fn space_from_win(win: u64, ratio: u8) -> u64 {
    win.saturating_mul(256) / u64::from(ratio.max(1))
}

/// Where segments are as large as this, their data lies in pages.
const PAGED: u32 = 3600;

/// What Linux counts for a packet with `len` bytes behind `headers`: headroom and
/// `skb_shared_info` beside it, the size that kmalloc has, and the `sk_buff`.
fn truesize(len: u32, headers: u32) -> u32 {
    const HEADROOM: u32 = 64;
    const SHARED_INFO: u32 = 320;
    const SK_BUFF: u32 = 256;
    let size = (HEADROOM + headers + len).next_multiple_of(64) + SHARED_INFO;
    match size {
        0..=704 => 704 + SK_BUFF,
        705..=4096 => size.next_power_of_two() + SK_BUFF,
        _ => len + SEGMENT_OVERHEAD,
    }
}

/// Linux's `tcp_select_initial_window`. `clamp` 0: none.
pub(super) fn select_initial_window(
    space: u32,
    mss: u32,
    clamp: u32,
    wscale_ok: bool,
    limits: (u32, u32),
) -> InitialWindow {
    let most = 65_535u32 << MAX_WSCALE;
    let clamp = if clamp == 0 { most } else { clamp };
    let mut wnd = space.min(clamp);
    if wnd > mss && mss > 0 {
        wnd -= wnd % mss;
    }
    let mut wscale = 0;
    if wscale_ok {
        let space = wnd.max(limits.0).max(limits.1).min(clamp).max(1);
        // RFC 7323 S2.3-1
        wscale = space.ilog2().saturating_sub(15).min(u32::from(MAX_WSCALE)) as u8;
    }
    InitialWindow {
        wnd,
        clamp: clamp.min(65_535 << wscale),
        wscale,
    }
}

impl Autotune {
    /// Eight times the round-trip time as a receiver sees it, microseconds; 0: unknown.
    pub(super) fn rtt8(&self) -> u32 {
        self.rtt8
    }
}

impl Tcb {
    /// What is left of the advertised window (Linux: `tcp_receive_window`).
    pub(super) fn receive_window(&self) -> u32 {
        let edge = self.rcv_wup + self.rcv_wnd;
        edge.diff(self.rcv_nxt).max(0).unsigned_abs()
    }

    fn full_space(&self) -> u32 {
        win_from_space(self.rcv_buf, self.scaling_ratio)
    }

    /// What the program has not read takes room, and what waits behind a gap (of which the blocks
    /// that we would report are known here).
    fn free_space(&self) -> u32 {
        let blocks = self.rcv_sack.iter().take(self.rcv_sack_len.into());
        let waits = blocks.fold(0u32, |sum, b| sum.saturating_add(b.1 - b.0));
        let full = self.full_space();
        full.saturating_sub(self.unread()).saturating_sub(waits)
    }

    /// The window we would advertise now, were it not for the promise made (Linux:
    /// `__tcp_select_window`). Receiver's silly-window avoidance: RFC 9293, section 3.8.6.2.2.
    // RFC 9293 MUST-39
    pub(super) fn window_to_offer(&mut self) -> u32 {
        let allowed = self.full_space();
        let full = self.window_clamp.min(allowed);
        let mss = u32::from(self.delack.rcv_mss).min(full);
        if mss == 0 {
            return 0;
        }
        let mut free = self.free_space();
        if free < full / 2 {
            self.delack.quick = 0;
            free = free >> self.rcv_wscale << self.rcv_wscale;
            if free < allowed / 16 || free < mss {
                return 0;
            }
        }
        free = free.min(self.rcv_ssthresh);
        if self.rcv_wscale > 0 {
            return align(free, self.rcv_wscale);
        }
        let window = self.rcv_wnd;
        if window <= free.saturating_sub(mss) || window > free {
            free - free % mss
        } else if free > window.saturating_add(full / 2) {
            // Section 3.8.6.2.2: half the buffer is worth telling, too. (Linux asks for this
            // only where the MSS is all of the window, and may crawl where it is nearly all.)
            free
        } else {
            window
        }
    }

    /// Choose the window of a segment about to go, and promise it (Linux: `tcp_select_window`).
    /// Returns the header field.
    pub(super) fn advertise_window(&mut self) -> u16 {
        let current = self.receive_window();
        let mut window = self.window_to_offer();
        if window < current {
            self.noted
                .add(Mib::WantZeroWindowAdv, u32::from(window == 0));
            // RFC 9293, section 3.8.6: "a TCP receiver SHOULD NOT shrink the window".
            // RFC 9293 SHLD-14
            // RFC 7323 S2.4-2, S2.4-3
            window = align(current, self.rcv_wscale);
        }
        debug_assert!(window >= current, "the right edge moved left");
        // As in Linux this may be more than the field holds: what is told then stays the same while
        // data comes.
        // RFC 7323 S2.3-8
        let field = (window >> self.rcv_wscale).min(65_535) as u16;
        match (self.rcv_wnd, field) {
            (1.., 0) => self.noted.note(Mib::ToZeroWindowAdv),
            (0, 1..) => self.noted.note(Mib::FromZeroWindowAdv),
            _ => {}
        }
        self.rcv_wnd = window;
        self.rcv_wup = self.rcv_nxt;
        field
    }

    /// Set up receiving once the handshake told what the peer can do (Linux:
    /// `tcp_initialize_rcv_mss`).
    pub(super) fn init_rcv_mss(&mut self) {
        let hint = u32::from(self.advmss.min(self.snd_mss))
            .min(self.rcv_wnd / 2)
            .min(u32::from(DEFAULT_MSS))
            .max(MIN_MSS);
        self.delack.rcv_mss = hint as u16;
    }

    /// Linux's `tcp_init_buffer_space`.
    pub(super) fn init_buffer_space(&mut self, now: Instant) {
        let full = self.full_space();
        let advmss = u32::from(self.advmss);
        if self.window_clamp >= full {
            self.window_clamp = if full > 4 * advmss {
                full.max(4 * advmss)
            } else {
                full
            };
        }
        // One segment is kept back.
        if self.window_clamp > 2 * advmss && self.window_clamp.saturating_add(advmss) > full {
            self.window_clamp = (2 * advmss).max(full.saturating_sub(advmss));
        }
        self.rcv_ssthresh = self.rcv_ssthresh.min(self.window_clamp);
        self.drs = Autotune {
            at: now,
            seq: self.copied_seq,
            space: self
                .rcv_ssthresh
                .min(self.rcv_wnd)
                .min(super::congestion::INITIAL_WINDOW * advmss),
            ..Autotune::default()
        };
    }

    /// TCP_WINDOW_CLAMP on a connection (Linux: `tcp_set_window_clamp`).
    pub fn set_window_clamp(&mut self, value: u32) {
        let new = value.max(1152);
        let old = self.window_clamp;
        if new == old {
            return;
        }
        self.window_clamp = new;
        if new < old {
            self.rcv_ssthresh = self.rcv_ssthresh.min(new);
        } else {
            self.rcv_ssthresh = self.rcv_ssthresh.max(self.rcv_wnd.min(new));
        }
    }

    /// TCP_WINDOW_CLAMP.
    pub fn window_clamp(&self) -> u32 {
        self.window_clamp
    }

    /// A segment of `len` bytes came in order: the window may open further (Linux:
    /// `tcp_grow_window`).
    pub(super) fn grow_window(&mut self, len: u32) {
        self.grow_window_within(len, self.free_space());
    }

    fn grow_window_within(&mut self, len: u32, free: u32) {
        if len < 128 {
            return;
        }
        let most = self.window_clamp.min(free);
        let room = most.saturating_sub(self.rcv_ssthresh);
        if room > 0 {
            let by = (2 * u32::from(self.advmss)).max(len.saturating_mul(2));
            self.rcv_ssthresh = self.rcv_ssthresh.saturating_add(room.min(by));
            self.delack.quick |= 1;
        }
    }

    /// A segment of a size not seen before tells what part of the buffer is payload (Linux: in
    /// `tcp_measure_rcv_mss`).
    pub(super) fn adjust_scaling_ratio(&mut self, len: u32) {
        let truesize = match u32::from(self.advmss) < PAGED {
            true => truesize(len, if self.ts_ok { 52 } else { 40 }),
            false => len + SEGMENT_OVERHEAD,
        };
        let ratio = (u64::from(len) << 8) / u64::from(truesize);
        let ratio = ratio.clamp(1, 255) as u8;
        if ratio == self.scaling_ratio {
            return;
        }
        self.scaling_ratio = ratio;
        self.set_window_clamp(self.full_space());
        self.drs.space = self.drs.space.min(self.window_clamp);
    }

    /// A segment up to `end` came, and something before it is missing (Linux: the end of
    /// `tcp_data_queue_ofo`): what waits for the gap to be filled takes part of the window, so
    /// the buffer has to make up for it.
    pub(super) fn note_ahead(&mut self, end: SeqNum, len: u32, first: bool) {
        self.drs.ahead = match first {
            true => end,
            false => self.drs.ahead.max(end),
        };
        if self.sack_ok {
            // Linux does so before the segment takes its room.
            self.grow_window_within(len, self.free_space().saturating_add(len));
        }
        self.grow_rcv_buf(self.drs.space);
    }

    /// Measure the round trip as a receiver can: the time a window takes to be filled, or what
    /// timestamps say.
    pub(super) fn measure_rcv_rtt(&mut self, now: Instant, tsecr: Option<u32>, len: u32) {
        match self.drs.rtt_at {
            Some(_) if self.rcv_nxt.lt(self.drs.rtt_seq) => {}
            at => {
                if let Some(at) = at {
                    let us = u32::try_from(now.since(at).as_micros()).unwrap_or(u32::MAX);
                    self.take_rcv_rtt(us.max(1), true);
                }
                self.drs.rtt_at = Some(now);
                self.drs.rtt_seq = self.rcv_nxt + self.rcv_wnd;
            }
        }
        if let Some(tsecr) = tsecr
            && tsecr != self.drs.last_tsecr
        {
            self.drs.last_tsecr = tsecr;
            let ms = self.ts_now(now).wrapping_sub(tsecr);
            if len >= u32::from(self.delack.rcv_mss) && (1..1 << 20).contains(&ms) {
                self.take_rcv_rtt(ms * 1000, false);
            }
        }
    }

    /// Linux's `tcp_rcv_rtt_update`: the least is believed at once; more than that only from a
    /// timestamp, and while the program keeps up, since the peer may be waiting for it.
    fn take_rcv_rtt(&mut self, us: u32, by_window: bool) {
        let old = self.drs.rtt8;
        let new = us.saturating_mul(8);
        if old == 0 || new < old {
            self.drs.rtt8 = new;
        } else if !by_window && self.unread() == 0 {
            self.drs.rtt8 = (old - (old >> 3)).saturating_add(us);
        }
    }

    /// The program read: see whether the buffer is what limits it (Linux:
    /// `tcp_rcv_space_adjust`).
    pub(super) fn adjust_rcv_space(&mut self, now: Instant) {
        let elapsed = now.since(self.drs.at).as_micros();
        if self.drs.rtt8 == 0 || elapsed < u128::from(self.drs.rtt8 >> 3) {
            return;
        }
        let copied = (self.copied_seq - self.drs.seq).saturating_sub(self.unread());
        if copied > self.drs.space {
            self.grow_rcv_buf(copied);
        }
        self.drs.seq = self.copied_seq;
        self.drs.at = now;
    }

    fn grow_rcv_buf(&mut self, copied: u32) {
        let old = self.drs.space.max(1);
        self.drs.space = copied;
        if self.rcv_buf_locked || self.sysctl.tcp_moderate_rcvbuf == 0 {
            return;
        }
        // Twice what was read, for the measurement is a round trip late; and as much again as
        // it grew, for the sender may be in slow start.
        let win = u64::from(copied) * 2;
        let grow = win * u64::from(copied.saturating_sub(old)) / u64::from(old);
        let mut win = win.saturating_add(grow.saturating_mul(2));
        if self.rcv_sack_len > 0 {
            // What is beyond a gap can't be read, and the peer goes on meanwhile.
            win += u64::from(self.drs.ahead.diff(self.rcv_nxt).max(0).unsigned_abs());
        }
        let most = u64::from(self.sysctl.tcp_rmem[2]);
        let buf = space_from_win(win, self.scaling_ratio).min(most) as u32;
        if buf > self.rcv_buf {
            self.rcv_buf = buf;
            self.window_clamp = win_from_space(buf, self.scaling_ratio);
        }
    }

    /// The program waits for `mark` bytes (SO_RCVLOWAT): a buffer, and a window, that hold them. The
    /// size of that buffer.
    pub fn hold_at_least(&mut self, mark: u32) -> u32 {
        let ratio = match self.state {
            State::Closed => DEFAULT_RATIO,
            _ => self.scaling_ratio,
        };
        let buf = u32::try_from(space_from_win(mark.into(), ratio)).unwrap_or(u32::MAX);
        if self.state != State::Closed && buf > self.rcv_buf {
            self.rcv_buf = buf;
            if self.window_clamp < mark {
                self.set_window_clamp(mark);
            }
        }
        buf
    }

    /// What the program read in a round trip (TCP_INFO's `rcv_space`).
    pub(super) fn rcv_space(&self) -> u32 {
        self.drs.space
    }

    /// The program's SO_RCVBUF (as stored) changed.
    pub fn set_rcv_buf(&mut self, bytes: u32) {
        self.rcv_buf = bytes;
        self.rcv_buf_locked = true;
        // An advertised window stays promised; what is offered from now on follows the buffer.
        self.window_clamp = self
            .window_clamp
            .max(win_from_space(bytes, self.scaling_ratio))
            .min(65_535 << self.rcv_wscale);
    }
}

/// Round up to what the scaled field can say.
fn align(window: u32, wscale: u8) -> u32 {
    let unit = (1u32 << wscale) - 1;
    window.saturating_add(unit) & !unit
}
