//! Sequence arithmetic and the scoreboard, by property.

use super::solo::{ISS, Solo, ms};
use crate::tcp::{Flags, SeqNum};
use proptest::prelude::*;

proptest! {
    #[test]
    fn order_follows_distance(a: u32, d in 1u32..0x7fff_ffff) {
        let (x, y) = (SeqNum(a), SeqNum(a) + d);
        prop_assert!(x.lt(y) && y.gt(x) && x.le(y) && y.ge(x) && !y.lt(x));
        prop_assert_eq!(y - x, d);
        prop_assert_eq!(y.diff(x), d as i32);
        prop_assert_eq!(x.diff(y), -(d as i32));
        prop_assert_eq!((x.max(y), x.min(y)), (y, x));
    }

    #[test]
    fn equal_is_neither(a: u32) {
        let x = SeqNum(a);
        prop_assert!(!x.lt(x) && !x.gt(x) && x.le(x) && x.ge(x));
        prop_assert_eq!(x.max(x), x);
    }

    #[test]
    fn add_assign_is_add(a: u32, d: u32) {
        let mut x = SeqNum(a);
        x += d;
        prop_assert_eq!(x, SeqNum(a) + d);
        prop_assert_eq!(x - SeqNum(a), d);
    }

    /// The scoreboard against a set of segments: a peer that reports any of a hundred, in any
    /// order and in many pieces, is understood to the segment.
    #[test]
    fn the_scoreboard_is_a_set(big: bool, adds in prop::collection::vec((1u32..100, 1u32..6), 1..60)) {
        let mut t = Solo::open();
        t.max_payload = if big { 65_000 } else { 0 };
        // A window of forty-four segments, wide open.
        t.tcb.cc.set_cwnd(200);
        t.window = 65_535;
        t.gets(Flags::ACK, 1, 1, 0);
        t.write(44 * 1460);
        t.polled();
        let mut set = [false; 110];
        for (start, len) in adds {
            let (from, to) = (start.min(43), (start + len).min(44));
            set[from as usize..to as usize].fill(true);
            let mut seg = t.peer(Flags::ACK, 1, 1, 0);
            seg.options.sack[0] = (SeqNum(ISS + 1 + from * 1460), SeqNum(ISS + 1 + to * 1460));
            seg.options.sack_len = 1;
            t.give(seg);
            let count = set.iter().filter(|b| **b).count() as u32;
            prop_assert_eq!(t.tcb.info(t.now).sacked, count);
            prop_assert_eq!(t.tcb.info(t.now).unacked, 44);
            t.pass(ms(1));
            // Nothing that was reported is sent again.
            for tx in t.polled() {
                let first = (tx.segment.seq - SeqNum(ISS + 1)) / 1460;
                let last = (tx.segment.seq + tx.segment.len - SeqNum(ISS + 2)) / 1460;
                prop_assert!((first..=last).all(|i| !set[i as usize]));
            }
        }
    }
}
