//! When what was received came (SO_TIMESTAMP and its kin).

use super::packets::{PEER, tcp};
use super::rules::{answer, give, host, sent};
use super::*;
use crate::stack::{Opt, stamping};
use crate::tcp::Options;

fn connected(host: &mut TestHost) -> (SockId, crate::tcp::Segment) {
    let c = host.with(|h| {
        let c = create(h);
        let _ = h.connect(c, Endpoint::new(Addr::v4(PEER), 80));
        c
    });
    let syn = sent(host)[0].0;
    let own = v4([10, 0, 0, 1]).ip();
    give(host, PEER.into(), own, answer(&syn, Options::default()));
    let ack = sent(host)[0].0;
    (c, answer(&ack, Options::default()))
}

/// The peer's bytes from `offset` on.
fn data(host: &mut TestHost, next: &crate::tcp::Segment, offset: u32, len: u32) -> Instant {
    let mut seg = *next;
    seg.seq += offset;
    seg.len = len;
    let own = v4([10, 0, 0, 1]).ip();
    let packet = tcp(PEER.into(), own, &seg, &vec![7; len as usize]);
    host.now = host.now + Duration::from_secs(1);
    host.wire.inward.push_back(packet);
    host.with(|h| h.receive(1));
    host.now
}

/// When what a call read came.
fn read(host: &mut TestHost, c: SockId, n: usize) -> Option<Instant> {
    host.with(|h| {
        assert_eq!(recv(h, c, n).unwrap().len(), n);
        h.read_at(c)
    })
}

#[test]
fn only_who_asks_is_told() {
    let mut host = host();
    let (c, next) = connected(&mut host);
    data(&mut host, &next, 0, 10);
    assert_eq!(read(&mut host, c, 5), None);
    host.with(|h| h.set_option(c, Opt::Timestamp, 1).unwrap());
    assert_eq!(read(&mut host, c, 5), None);
    let came = data(&mut host, &next, 10, 10);
    host.now = host.now + Duration::from_secs(5);
    assert_eq!(read(&mut host, c, 10), Some(came));
}

#[test]
fn the_last_piece_of_a_call_counts() {
    let mut host = host();
    let (c, next) = connected(&mut host);
    let flags = i64::from(stamping::RX_SOFTWARE | stamping::SOFTWARE);
    host.with(|h| h.set_option(c, Opt::Timestamping, flags).unwrap());
    // Large ones are not put together.
    let first = data(&mut host, &next, 0, 1400);
    // Behind a gap.
    let third = data(&mut host, &next, 2800, 1400);
    let second = data(&mut host, &next, 1400, 1400);
    assert_eq!(read(&mut host, c, 1400), Some(first));
    assert_eq!(read(&mut host, c, 1399), Some(second));
    assert_eq!(read(&mut host, c, 2), Some(third));
    assert_eq!(read(&mut host, c, 1399), Some(third));
}

#[test]
fn the_numbers_by_which_it_was_asked_for() {
    host().with(|h| {
        let s = create(h);
        let shown = |h: &Host<'_>| {
            [
                Opt::Timestamp,
                Opt::TimestampNs,
                Opt::TimestampNew,
                Opt::TimestampNsNew,
            ]
            .map(|o| h.get_option(s, o).unwrap())
        };
        for (opt, then) in [
            (Opt::Timestamp, [1, 0, 0, 0]),
            (Opt::TimestampNs, [0, 1, 0, 0]),
            (Opt::TimestampNew, [0, 0, 1, 0]),
            (Opt::TimestampNsNew, [0, 0, 1, 1]),
        ] {
            h.set_option(s, opt, 1).unwrap();
            assert_eq!(shown(h), then, "{opt:?}");
        }
        let flags = i64::from(stamping::RX_SOFTWARE);
        h.set_option(s, Opt::Timestamping, flags).unwrap();
        assert_eq!(shown(h), [0, 1, 0, 0]);
        h.set_option(s, Opt::TimestampNew, 0).unwrap();
        assert_eq!(shown(h), [0; 4]);
        assert!(!h.socket(s).unwrap().options.stamps_received());
        for (flags, told) in [
            (stamping::SOFTWARE, true),
            (stamping::SOFTWARE | stamping::OPT_RX_FILTER, false),
        ] {
            h.set_option(s, Opt::Timestamping, flags.into()).unwrap();
            assert_eq!(h.socket(s).unwrap().options.stamps_received(), told);
        }
    });
}
