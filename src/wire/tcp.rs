//! The TCP header (RFC 9293, section 3.1) and its options.

use super::{Malformed, be16, be32};
use crate::tcp::{Cookie, Flags, MAX_COOKIE, Options, Segment, SeqNum};

/// A TCP header without options.
pub(super) const MIN_HEADER: usize = 20;
/// The longest TCP header there can be.
pub(super) const MAX_HEADER: usize = 60;
/// Where the checksum stands in the header (`csum_offset` of a virtio header).
pub const CHECKSUM_AT: usize = 16;

// Option kinds (RFC 9293, section 3.1; RFC 7323; RFC 2018).
const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WSCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const FAST_OPEN: u8 = 34;
/// An experiment's option, and Fast Open's number there.
const EXPERIMENT: u8 = 254;
const FAST_OPEN_NUMBER: [u8; 2] = [0xf9, 0x89];

/// The greatest window scale shift (RFC 7323, section 2.3).
const MAX_WSCALE: u8 = 14;

/// Parse the header at the start of `body`, which ends where the IP packet ends. Returns the
/// segment and the length of its header.
#[inline]
pub(super) fn parse(body: &[u8]) -> Result<(Segment, usize), Malformed> {
    let Some(h) = body.first_chunk::<MIN_HEADER>() else {
        return Err(Malformed::Truncated);
    };
    let header_len = usize::from(h[12] >> 4) * 4;
    if header_len < MIN_HEADER {
        return Err(Malformed::BadHeader);
    }
    let Some(options) = body.get(MIN_HEADER..header_len) else {
        return Err(Malformed::Truncated);
    };
    let flags = Flags(h[13]);
    let segment = Segment {
        src_port: be16([h[0], h[1]]),
        dst_port: be16([h[2], h[3]]),
        seq: SeqNum(be32([h[4], h[5], h[6], h[7]])),
        ack: SeqNum(be32([h[8], h[9], h[10], h[11]])),
        flags,
        window: be16([h[14], h[15]]),
        urgent: be16([h[18], h[19]]),
        options: parse_options(options, flags.has(Flags::SYN)),
        len: (body.len() - header_len) as u32,
        ecn: 0,
    };
    Ok((segment, header_len))
}

/// Read the options. As in Linux's `tcp_parse_options`, an option of impossible length ends
/// the reading but doesn't spoil the segment, an option of the wrong length for its kind is
/// passed over, the last of several counts, and those for SYN are looked at only there.
// RFC 9293 MUST-4, MUST-5, MUST-6, MUST-7, MUST-64
#[inline]
fn parse_options(mut rest: &[u8], syn: bool) -> Options {
    let mut options = Options::default();
    // The usual data segment: NOP, NOP, timestamps.
    if let [NOP, NOP, TIMESTAMPS, 10, v0, v1, v2, v3, e0, e1, e2, e3] = *rest {
        options.timestamps = Some((be32([v0, v1, v2, v3]), be32([e0, e1, e2, e3])));
        return options;
    }
    loop {
        let (kind, len) = match *rest {
            [] | [END, ..] => return options,
            [NOP, ..] => {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            [kind, len, ..] => (kind, usize::from(len)),
            [_] => return options,
        };
        if len < 2 {
            return options;
        }
        let Some((option, after)) = rest.split_at_checked(len) else {
            return options;
        };
        rest = after;
        let value = option.get(2..).unwrap_or_default();
        match (kind, value) {
            (MSS, &[a, b]) if syn => {
                // Linux takes a zero for "not given".
                let mss = be16([a, b]);
                if mss != 0 {
                    options.mss = Some(mss);
                }
            }
            // RFC 7323 S2.2-2
            (WSCALE, &[shift]) if syn => options.wscale = Some(shift.min(MAX_WSCALE)),
            (SACK_PERMITTED, []) if syn => options.sack_permitted = true,
            (TIMESTAMPS, &[v0, v1, v2, v3, e0, e1, e2, e3]) => {
                options.timestamps = Some((be32([v0, v1, v2, v3]), be32([e0, e1, e2, e3])));
            }
            (FAST_OPEN, cookie) if syn => take_cookie(&mut options, cookie, false),
            (EXPERIMENT, &[a, b, ref cookie @ ..]) if syn && [a, b] == FAST_OPEN_NUMBER => {
                take_cookie(&mut options, cookie, true);
            }
            (SACK, blocks) if !blocks.is_empty() && blocks.len() % 8 == 0 => {
                options.sack_len = 0;
                let (blocks, _) = blocks.as_chunks::<8>();
                for (&[a, b, c, d, e, f, g, h], slot) in blocks.iter().zip(&mut options.sack) {
                    *slot = (SeqNum(be32([a, b, c, d])), SeqNum(be32([e, f, g, h])));
                    options.sack_len += 1;
                }
            }
            _ => {}
        }
    }
}

/// Fast Open's option, if its cookie is of a length there is (Linux: `tcp_parse_fastopen_option`).
// RFC 7413 S4.1.1-1, S4.1.1-2
fn take_cookie(options: &mut Options, cookie: &[u8], experimental: bool) {
    let good = cookie.len().is_multiple_of(2) && matches!(cookie.len(), 0 | 4..=MAX_COOKIE);
    if !good {
        return;
    }
    let mut bytes = [0; MAX_COOKIE];
    bytes[..cookie.len()].copy_from_slice(cookie);
    options.fastopen = Some(Cookie {
        len: cookie.len() as u8,
        bytes,
        experimental,
    });
}

/// How many SACK blocks of `options` find room beside the others; Linux, too, sends those
/// that fit.
fn sack_blocks_that_fit(options: &Options) -> usize {
    let wanted = usize::from(options.sack_len).min(options.sack.len());
    let room = MAX_HEADER - MIN_HEADER - len_without_sack(options);
    wanted.min(room.saturating_sub(4) / 8)
}

fn len_without_sack(options: &Options) -> usize {
    let mut len = 0;
    if options.mss.is_some() {
        len += 4;
    }
    if options.timestamps.is_some() {
        len += 12;
    } else if options.sack_permitted {
        len += 4;
    }
    if options.wscale.is_some() {
        len += 4;
    }
    len + options.fastopen.map_or(0, |c| fast_open_len(&c))
}

/// The length of Fast Open's option, padded.
fn fast_open_len(cookie: &Cookie) -> usize {
    let head = if cookie.experimental { 4 } else { 2 };
    (head + cookie.as_bytes().len()).next_multiple_of(4)
}

/// The length of `options` as emitted, padded to a multiple of four.
pub(super) fn options_len(options: &Options) -> usize {
    let sack = match sack_blocks_that_fit(options) {
        0 => 0,
        n => 4 + 8 * n,
    };
    len_without_sack(options) + sack
}

/// Write the header with a zero checksum into `out`; returns its length.
///
/// Options stand in the order and with the padding of Linux's `tcp_options_write`, in which
/// every option begins at a multiple of four bytes or fills its word from the end.
#[inline]
// RFC 9293 MUST-68, MUST-69
pub(super) fn emit(segment: &Segment, out: &mut [u8; MAX_HEADER]) -> usize {
    let options = &segment.options;
    let (fixed, mut rest) = out.split_at_mut(MIN_HEADER);
    let room = rest.len();
    let mut put = |word: [u8; 4]| {
        // There is always room: the lengths of all options sum up to at most 40 bytes.
        if let Some((to, after)) = core::mem::take(&mut rest).split_first_chunk_mut::<4>() {
            *to = word;
            rest = after;
        }
    };
    if let Some(mss) = options.mss {
        let [a, b] = mss.to_be_bytes();
        put([MSS, 4, a, b]);
    }
    if let Some((value, echo)) = options.timestamps {
        if options.sack_permitted {
            put([SACK_PERMITTED, 2, TIMESTAMPS, 10]);
        } else {
            put([NOP, NOP, TIMESTAMPS, 10]);
        }
        put(value.to_be_bytes());
        put(echo.to_be_bytes());
    } else if options.sack_permitted {
        put([NOP, NOP, SACK_PERMITTED, 2]);
    }
    if let Some(shift) = options.wscale {
        put([NOP, WSCALE, 3, shift]);
    }
    let blocks = sack_blocks_that_fit(options);
    if blocks > 0 {
        put([NOP, NOP, SACK, 2 + 8 * blocks as u8]);
        for (left, right) in options.sack.iter().take(blocks) {
            put(left.0.to_be_bytes());
            put(right.0.to_be_bytes());
        }
    }
    // RFC 7413 S9-1
    if let Some(cookie) = options.fastopen {
        let bytes = cookie.as_bytes();
        let mut option = [NOP; 4 + MAX_COOKIE];
        let head = if cookie.experimental {
            let [a, b] = FAST_OPEN_NUMBER;
            option[..4].copy_from_slice(&[EXPERIMENT, 4 + bytes.len() as u8, a, b]);
            4
        } else {
            option[..2].copy_from_slice(&[FAST_OPEN, 2 + bytes.len() as u8]);
            2
        };
        option[head..head + bytes.len()].copy_from_slice(bytes);
        let (words, _) = option[..fast_open_len(&cookie)].as_chunks::<4>();
        for word in words {
            put(*word);
        }
    }
    let header_len = MIN_HEADER + room - rest.len();

    if let Some(h) = fixed.first_chunk_mut::<MIN_HEADER>() {
        [h[0], h[1]] = segment.src_port.to_be_bytes();
        [h[2], h[3]] = segment.dst_port.to_be_bytes();
        [h[4], h[5], h[6], h[7]] = segment.seq.0.to_be_bytes();
        [h[8], h[9], h[10], h[11]] = segment.ack.0.to_be_bytes();
        h[12] = (header_len as u8 / 4) << 4;
        h[13] = segment.flags.0;
        [h[14], h[15]] = segment.window.to_be_bytes();
        [h[16], h[17]] = [0, 0];
        [h[18], h[19]] = segment.urgent.to_be_bytes();
    }
    header_len
}
