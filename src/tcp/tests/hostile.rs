//! Anything may come from the network: nothing panics, nothing breaks the invariants.

use super::pair::{Queue, Rng, path};
use crate::tcp::{
    Flags, Options, Outcome, Segment, SeqNum, State, Sysctl, Tcb, TcpError, TcpOptions,
};
use crate::time::{Duration, Instant};

/// A number near one of those that matter, or any.
fn near(r: &mut Rng, points: &[SeqNum]) -> SeqNum {
    if r.chance(10) {
        return SeqNum(r.next() as u32);
    }
    let p = points[r.below(points.len() as u64) as usize];
    let off = match r.below(4) {
        0 => 0,
        1 => r.below(4) as u32,
        2 => r.below(3000) as u32,
        _ => r.below(200_000) as u32,
    };
    if r.chance(50) {
        p + off
    } else {
        SeqNum(p.0.wrapping_sub(off))
    }
}

fn segment(r: &mut Rng, tcb: &Tcb) -> Segment {
    let ours = [tcb.snd_una, tcb.snd_nxt, tcb.snd_end, tcb.iss];
    let theirs = [tcb.rcv_nxt, tcb.rcv_wup + tcb.rcv_wnd, tcb.irs, tcb.rcv_wup];
    let mut o = Options::default();
    if r.chance(20) {
        o.mss = Some(r.next() as u16);
    }
    if r.chance(20) {
        o.wscale = Some(r.next() as u8);
    }
    o.sack_permitted = r.chance(30);
    if r.chance(60) {
        o.timestamps = Some((r.below(100) as u32, r.below(1 << 33) as u32));
        if r.chance(30) {
            let near = tcb
                .ts_recent
                .wrapping_add(r.below(20) as u32)
                .wrapping_sub(10);
            o.timestamps = Some((near, tcb.ts_offset.wrapping_add(50_000)));
        }
    }
    if r.chance(40) {
        o.sack_len = r.below(8) as u8;
        for s in &mut o.sack {
            *s = (near(r, &ours), near(r, &ours));
        }
    }
    let mut flags = Flags(r.next() as u8);
    if r.chance(70) {
        flags = [
            Flags::ACK,
            Flags::ACK.with(Flags::PSH),
            Flags::ACK.with(Flags::FIN),
        ][r.below(3) as usize];
    }
    if r.chance(90) {
        flags = Flags(flags.0 & !Flags::RST.0);
    }
    Segment {
        seq: near(r, &theirs),
        ack: near(r, &ours),
        flags,
        window: match r.below(3) {
            0 => 0,
            1 => r.below(3000) as u16,
            _ => r.next() as u16,
        },
        urgent: r.next() as u16,
        options: o,
        len: match r.below(5) {
            0 | 1 => 0,
            2 => r.below(100) as u32,
            3 => r.below(70_000) as u32,
            _ => r.below(3000) as u32,
        },
        ..Segment::default()
    }
}

fn run(seed: u64, seen: &mut [u32; 11]) {
    let mut r = Rng(seed);
    let mut now = Instant(50_000_000_000 + r.below(1_000_000_000));
    let mut s = Sysctl::default();
    if r.chance(20) {
        s.tcp_min_snd_mss = r.next() as u16;
        s.tcp_reordering = r.next() as u8;
        s.tcp_rto_min_ms = r.next() as u32;
        s.tcp_rto_max_ms = r.next() as u32;
        s.tcp_retries2 = r.next() as u8;
        s.tcp_rmem = [0, r.next() as u32, r.next() as u32];
        s.time_wait = r.next() as u32;
        s.tcp_fin_timeout = r.next() as u32;
    }
    let mut p = path();
    if r.chance(30) {
        p.mss = r.next() as u16;
        p.rcv_buf = r.next() as u32 >> r.below(32);
        p.rcv_buf_locked = r.chance(50);
    }
    let o = TcpOptions {
        nodelay: r.chance(30),
        cork: r.chance(10),
        keepalive: r.chance(30),
        keepidle: r.below(3) as u32,
        keepintvl: r.below(3) as u32,
        keepcnt: r.below(5) as u8,
        user_timeout: if r.chance(10) {
            r.next() as u32 >> 8
        } else {
            0
        },
        maxseg: if r.chance(10) { r.next() as u16 } else { 0 },
        linger2: r.below(4) as i32 - 1,
        ..TcpOptions::default()
    };
    // Few records, sometimes, so that they run out.
    let records = [4, 40, 4000][r.below(3) as usize];
    let mut sent = vec![crate::tcp::Sent::default(); records];
    let iss = SeqNum(r.next() as u32);
    let mut tcb = Tcb::connect(now, iss, p, o, &s);
    if r.chance(50) {
        let mut syn = segment(&mut r, &tcb);
        syn.flags = Flags::SYN;
        tcb = Tcb::accept(now, iss, p, o, &s, &syn);
    }
    let mut rx = Queue::default();
    let mut queued = 0u64;
    let mut edge: Option<SeqNum> = None;
    let steps = 20 + r.below(150);
    let mut outs: Vec<Outcome> = Vec::new();
    for _ in 0..steps {
        let una = tcb.snd_una();
        let before = tcb;
        match r.below(20) {
            0 => {
                let n = r.below(5000) as u32;
                if tcb.can_queue() {
                    queued += u64::from(n);
                }
                if r.chance(20) {
                    tcb.app_wrote_urgent(now, n);
                } else {
                    tcb.app_wrote(now, n);
                }
            }
            1 => {
                let n = rx.ready.len().min(r.below(100_000) as usize);
                rx.ready.drain(..n);
                tcb.app_read(now, n as u32);
            }
            2 => {
                now = now + Duration::from_millis(r.below(300));
                outs.push(tcb.on_timer(now, &mut sent));
            }
            3 => {
                if tcb.deadline() != Instant::NEVER && r.chance(50) {
                    now = now.max(tcb.deadline());
                    outs.push(tcb.on_timer(now, &mut sent));
                    assert!(tcb.deadline() > now);
                }
            }
            4 if r.chance(10) => tcb.shutdown_write(now),
            5 if r.chance(5) => tcb.close(now, r.chance(20)),
            6 if r.chance(2) => tcb.abort(now),
            7 if r.chance(20) => {
                let q = near(&mut r, &[before.snd_una, before.snd_nxt]);
                outs.push(tcb.on_icmp(now, TcpError::HostUnreachable, r.chance(50), q));
                tcb.on_packet_too_big(now, r.next() as u16, q, &mut sent);
            }
            8 if r.chance(20) => tcb.options_changed(now),
            9 if r.chance(5) => tcb.set_rcv_buf(r.next() as u32 >> r.below(32)),
            10 if r.chance(50) => {
                // A good ACK now and then, to get anywhere.
                let seg = Segment {
                    seq: tcb.rcv_nxt,
                    ack: tcb.snd_nxt,
                    flags: if tcb.state == State::SynSent {
                        Flags::SYN.with(Flags::ACK)
                    } else {
                        Flags::ACK
                    },
                    window: 30_000,
                    ..Segment::default()
                };
                outs.push(tcb.on_segment(now, &seg, &mut rx, &mut sent));
            }
            _ => {
                let seg = segment(&mut r, &tcb);
                rx.hand = vec![0; seg.len as usize];
                outs.push(tcb.on_segment(now, &seg, &mut rx, &mut sent));
            }
        }
        for o in outs.drain(..) {
            assert!(u64::from(o.acked) <= queued, "seed {seed}");
            queued -= u64::from(o.acked);
        }
        seen[tcb.state as usize] += 1;
        assert_eq!(u64::from(tcb.send_queue()), queued, "seed {seed} {tcb:?}");
        assert!(tcb.snd_una().ge(una), "seed {seed}: snd_una went back");
        assert!(rx.ready.len() as u32 >= tcb.unread(), "seed {seed}");
        let mut n = 0;
        let max = if r.chance(50) {
            r.next() as u32 >> r.below(32)
        } else {
            0
        };
        while let Some(t) = tcb.poll_transmit(now, max, &mut sent) {
            n += 1;
            assert!(n < 100_000, "seed {seed}: {t:?} {tcb:?}");
            assert!(
                u64::from(t.offset) + u64::from(t.segment.len) <= queued,
                "seed {seed} {t:?}"
            );
            assert!(t.segment.options.sack_len <= 4 && t.mss > 0);
            let f = t.segment.flags;
            if !f.has(Flags::SYN) && !f.has(Flags::RST) && tcb.state != State::TimeWait {
                let e = t.segment.ack + (u32::from(t.segment.window) << tcb.rcv_wscale);
                // (A buffer beyond what the field can say makes the first window a promise
                // that rounds down.)
                assert!(
                    edge.is_none_or(|old| e.ge(old)),
                    "seed {seed}: edge {edge:?} {e:?} {tcb:?}"
                );
                edge = Some(e);
            }
        }
        if let Err(why) = tcb.check_sent(&sent) {
            panic!("seed {seed}: {why} {tcb:?}");
        }
        if r.chance(30) {
            now = now + Duration::from_micros(r.below(100_000));
        }
    }
}

#[test]
fn random_segments_break_nothing() {
    let mut seen = [0; 11];
    for seed in 0..6000 {
        run(seed, &mut seen);
    }
    for (state, n) in seen.iter().enumerate() {
        assert!(
            *n > 0 || state == State::Listen as usize,
            "state {state} was never reached"
        );
    }
}
