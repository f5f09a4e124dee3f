//! Sequence arithmetic and the scoreboard, by property.

use crate::tcp::SeqNum;
use crate::tcp::sack::Scoreboard;
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

    /// Against a set of bytes. With few runs nothing may be forgotten.
    #[test]
    fn the_scoreboard_is_a_set(base: u32, adds in prop::collection::vec((0u32..200, 1u32..30), 0..12), una in 0u32..200) {
        let mut board = Scoreboard::default();
        let mut set = [false; 256];
        for (start, len) in adds {
            let news = (start..start + len).any(|i| !set[i as usize]);
            for i in start..start + len {
                set[i as usize] = true;
            }
            prop_assert_eq!(board.insert(SeqNum(base) + start, SeqNum(base) + start + len), news);
        }
        board.remove_below(SeqNum(base) + una);
        set[..una as usize].fill(false);
        let count = set.iter().filter(|b| **b).count() as u32;
        prop_assert_eq!(board.bytes(), count);
        prop_assert_eq!(board.unreported(SeqNum(base), SeqNum(base) + 256), 256 - count);
        // Walking the holes finds each byte that is missing, once.
        let mut at = SeqNum(base);
        let mut missing = 0;
        while let Some((start, end)) = board.next_hole(at, SeqNum(base) + 256) {
            prop_assert!(start.lt(end));
            for i in start - SeqNum(base)..end - SeqNum(base) {
                prop_assert!(!set[i as usize]);
            }
            missing += end - start;
            at = end;
        }
        prop_assert_eq!(missing, 256 - count);
        for pair in board.runs().windows(2) {
            prop_assert!(pair[0].1.lt(pair[1].0));
        }
    }
}
