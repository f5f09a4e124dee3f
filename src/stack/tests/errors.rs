//! The error queue.

use super::*;

fn zerocopy_send(h: &mut Host<'_>, id: SockId) {
    assert_eq!(send(h, id, b"x"), Ok(1));
    h.send_ended(id, true, None);
}

fn notice(kind: NoticeKind, low: u32, high: u32) -> (NoticeKind, u32, u32) {
    (kind, low, high)
}

fn take(h: &mut Host<'_>, id: SockId) -> Option<(NoticeKind, u32, u32)> {
    let n = h.take_notice(id).unwrap()?;
    Some((n.kind, n.low, n.high))
}

#[test]
fn completions_are_numbered_and_told_in_ranges() {
    TestHost::new(1).with(|h| {
        let (_, c, _) = pair(h);
        zerocopy_send(h, c);
        assert_eq!(take(h, c), None, "without SO_ZEROCOPY");
        assert_eq!(h.set_option(c, Opt::ZeroCopy, 2), Err(Error::Invalid));
        h.set_option(c, Opt::ZeroCopy, 1).unwrap();
        for _ in 0..3 {
            zerocopy_send(h, c);
        }
        assert!(h.ready(c).unwrap().has(Ready::ERR));
        assert_eq!(take(h, c), Some(notice(NoticeKind::ZeroCopy, 0, 2)));
        assert!(!h.ready(c).unwrap().has(Ready::ERR));
        zerocopy_send(h, c);
        assert_eq!(take(h, c), Some(notice(NoticeKind::ZeroCopy, 3, 3)));
        assert_eq!(take(h, c), None);
    });
}

/// Its descriptor shows nothing of it: no thread that is woken could tell the others.
#[test]
fn a_notice_wakes_all_who_sleep_for_descriptors() {
    TestHost::new(1).with(|h| {
        let (_, c, _) = pair(h);
        h.set_option(c, Opt::ZeroCopy, 1).unwrap();
        let own = h.pid;
        let waiters = [own, own, own + 7].map(|pid| {
            let waiter = h.new_waiter(pid, 1).unwrap();
            h.pid = pid;
            h.sleeps(waiter, true);
            waiter
        });
        let awake = h.new_waiter(own, 1).unwrap();
        h.sleeps(awake, true);
        h.sleeps(awake, false);
        h.pid = own;
        let woken = |h: &Host<'_>| {
            let mut woken: Vec<u16> = h.wakes.iter().collect();
            woken.sort_unstable();
            woken
        };
        zerocopy_send(h, c);
        assert_eq!(h.sh.notices_came, 1);
        assert_eq!(woken(h), [], "nobody watches the descriptor");
        h.watch(c).unwrap();
        h.wakes = WakeSet::default();
        zerocopy_send(h, c);
        assert_eq!(woken(h), waiters);
    });
}

#[test]
fn the_last_byte_of_a_write_is_stamped() {
    TestHost::new(1).with(|h| {
        let (_, c, s) = pair(h);
        let all = stamping::RECORD | stamping::OPT_ID;
        h.set_option(c, Opt::Timestamping, all.into()).unwrap();
        assert_eq!(send(h, c, b"hello"), Ok(5));
        assert_eq!(recv(h, s, 5).unwrap(), b"hello");
        assert_eq!(take(h, c), Some(notice(NoticeKind::Scheduled, 4, 4)));
        assert_eq!(take(h, c), Some(notice(NoticeKind::Sent, 4, 4)));
        assert_eq!(take(h, c), Some(notice(NoticeKind::Acked, 4, 4)));
        assert_eq!(take(h, c), None);
        // Only what is asked for; keys go on from where they began.
        let acks = stamping::TX_ACK | stamping::OPT_ID;
        h.set_option(c, Opt::Timestamping, acks.into()).unwrap();
        assert_eq!(send(h, c, b"world"), Ok(5));
        assert_eq!(recv(h, s, 5).unwrap(), b"world");
        assert_eq!(take(h, c), Some(notice(NoticeKind::Acked, 9, 9)));
        let bad = i64::from(stamping::MASK) + 1;
        assert_eq!(h.set_option(c, Opt::Timestamping, bad), Err(Error::Invalid));
    });
}

#[test]
fn the_queue_is_bounded() {
    TestHost::new(1).with(|h| {
        let (_, c, s) = pair(h);
        let flags = stamping::TX_SOFTWARE;
        h.set_option(c, Opt::Timestamping, flags.into()).unwrap();
        for _ in 0..100 {
            assert_eq!(send(h, c, b"x"), Ok(1));
            assert_eq!(recv(h, s, 1).unwrap(), b"x");
        }
        let mut n = 0;
        while take(h, c).is_some() {
            n += 1;
        }
        assert_eq!(n, 32);
        // It works again.
        assert_eq!(send(h, c, b"x"), Ok(1));
        assert_eq!(take(h, c).map(|n| n.0), Some(NoticeKind::Sent));
    });
}

#[test]
fn a_socket_in_the_same_place_has_a_fresh_queue() {
    TestHost::new(1).with(|h| {
        let (l, c, s) = pair(h);
        h.set_option(c, Opt::ZeroCopy, 1).unwrap();
        zerocopy_send(h, c);
        h.set_option(c, Opt::Linger, 0).unwrap();
        for id in [c, s, l] {
            h.close(id);
        }
        for _ in 0..3 {
            let id = create(h);
            assert_eq!(take(h, id), None);
            assert!(!h.ready(id).unwrap().has(Ready::ERR));
        }
    });
}

#[test]
fn what_is_left_is_told_and_the_end_as_one() {
    TestHost::new(1).with(|h| {
        let (_, c, s) = pair(h);
        assert_eq!(send(h, c, b"hello"), Ok(5));
        assert_eq!(h.inq(s), Ok(5));
        assert_eq!(recv(h, s, 3).unwrap(), b"hel");
        assert_eq!(h.inq(s), Ok(2));
        h.shutdown(c, How::Write).unwrap();
        assert_eq!(h.inq(s), Ok(3));
        assert_eq!(recv(h, s, 3).unwrap(), b"lo");
        assert_eq!(h.inq(s), Ok(1));
        assert_eq!(recv(h, s, 3).unwrap(), b"");
        assert_eq!(h.inq(s), Ok(1));
    });
}

#[test]
fn records_stay_apart_in_the_send_queue() {
    let mut host = TestHost::new(1);
    host.with(|h| {
        let (_, c, s) = pair(h);
        let eor = SendFlags {
            eor: true,
            ..SendFlags::default()
        };
        h.set_option(c, Opt::Cork, 1).unwrap();
        for _ in 0..3 {
            assert_eq!(h.send(c, &[IoSlice::new(b"ab")], 0, eor), Ok(2));
        }
        let before = h.socket(c).unwrap().tcb.info(h.now).data_segs_out;
        h.set_option(c, Opt::Cork, 0).unwrap();
        let after = h.socket(c).unwrap().tcb.info(h.now).data_segs_out;
        assert!(before <= 2, "{before}");
        assert_eq!(after, 3);
        assert_eq!(recv(h, s, 10).unwrap(), b"ababab");
    });
}
