//! Fast Open: connections ahead of their handshake, their bound, their end, and what becomes of
//! them when a process dies.

use super::floods::{feed, feed_quickly, held};
use super::packets::{PEER, completes, syn, to_us};
use super::*;
use crate::stack::Opt;
use crate::tcp::{Cookie, Flags, MAX_COOKIE, Options, Segment, SeqNum};
use core::net::Ipv4Addr;

/// A listener on port 80 that hands out so many connections ahead of their handshake.
fn fast_listener(host: &mut TestHost, most: i64, backlog: i32) -> SockId {
    let settings = Sysctl {
        tcp_fastopen: 0x202,
        ..Sysctl::default()
    };
    host.with(|h| {
        let l = h.create(Family::V4, Owner::default(), &settings).unwrap();
        h.bind(l, Endpoint::new(Addr::ANY4, 80), true).unwrap();
        h.set_option(l, Opt::FastOpen, most).unwrap();
        h.listen(l, backlog).unwrap();
        l
    })
}

fn syn_with_data(port: u16) -> Segment {
    Segment {
        len: 5,
        ..syn(port)
    }
}

/// A SYN with data from `port`: whether the data was acknowledged, and the SYN+ACK.
fn knock(host: &mut TestHost, port: u16) -> (bool, Segment) {
    let told = feed(host, to_us(PEER, &syn_with_data(port), b"hello"));
    let taken = told[0].ack == syn(port).seq + 6;
    assert!(taken || told[0].ack == syn(port).seq + 1);
    (taken, told[0])
}

fn reset(host: &mut TestHost, answer: &Segment) {
    let rst = Segment {
        seq: answer.ack,
        flags: Flags::RST.with(Flags::ACK),
        ..completes(answer)
    };
    feed(host, to_us(PEER, &rst, &[]));
}

fn accept(host: &mut TestHost, l: SockId) -> Option<SockId> {
    host.with(|h| h.accept(l, Owner::default()).ok().map(|(s, _)| s))
}

fn pending(host: &mut TestHost, l: SockId) -> u32 {
    host.with(|h| h.socket(l).unwrap().fast_pending)
}

// RFC 7413 S4.2-2
#[test]
fn a_flood_of_syns_with_data_opens_no_more_than_tcp_fastopen_allows() {
    let mut host = TestHost::new(1);
    let l = fast_listener(&mut host, 16, 128);
    let flood = (0..20_000u32).map(|n| {
        let from = Ipv4Addr::from(0x0b00_0000 + n * 7919);
        let mut syn = syn((n % 60_000) as u16 + 1024);
        syn.len = 1400;
        to_us(from, &syn, &[1; 1400])
    });
    feed_quickly(&mut host, flood);
    // The others are half open without their data, and cookies.
    assert_eq!(pending(&mut host, l), 16);
    assert_eq!(host.arena.lock().sockets.in_use(), 1 + 16 + 129);
    let (bytes, pieces) = held(&host);
    assert!(
        bytes <= 16 * 2048 && pieces <= 16,
        "{bytes} bytes, {pieces} pieces"
    );
    let accepted: Vec<SockId> = (0..100).map_while(|_| accept(&mut host, l)).collect();
    assert_eq!(accepted.len(), 16);
    // An honest client gets in meanwhile.
    let told = feed(&mut host, to_us(PEER, &syn(4000), &[]));
    feed(&mut host, to_us(PEER, &completes(&told[0]), &[]));
    assert!(accept(&mut host, l).is_some());
    // And in time all that never answered are forgotten, those that were accepted with an error.
    for _ in 0..400 {
        host.now = host.now + Duration::from_secs(1);
        host.with(|h| h.run_timers());
    }
    host.wire.out.clear();
    assert_eq!(pending(&mut host, l), 0);
    assert_eq!(
        host.with(|h| recv(h, accepted[0], 2000)).map(|d| d.len()),
        Ok(1400)
    );
    assert_eq!(
        host.with(|h| recv(h, accepted[0], 10)),
        Err(Error::TimedOut)
    );
    assert!(knock(&mut host, 4001).0);
}

#[test]
fn who_is_reset_after_accept_counts_for_a_minute() {
    let mut host = TestHost::new(1);
    let l = fast_listener(&mut host, 2, 5);
    // Before accept it doesn't.
    let (taken, answer) = knock(&mut host, 4000);
    assert!(taken);
    reset(&mut host, &answer);
    assert_eq!(pending(&mut host, l), 0);
    accept(&mut host, l).unwrap();
    for port in [4001, 4002] {
        let (taken, answer) = knock(&mut host, port);
        assert!(taken);
        accept(&mut host, l).unwrap();
        reset(&mut host, &answer);
        host.now = host.now + Duration::from_secs(20);
        host.with(|h| h.run_timers());
    }
    assert_eq!(pending(&mut host, l), 2);
    assert!(!knock(&mut host, 4003).0);
    host.now = host.now + Duration::from_secs(19);
    assert!(!knock(&mut host, 4004).0);
    // The first one's minute is over, the second one's isn't.
    host.now = host.now + Duration::from_secs(2);
    assert!(knock(&mut host, 4005).0);
    assert!(!knock(&mut host, 4006).0);
    assert_eq!(host.arena.lock().counters.fastopen_listen_overflow, 3);
}

/// A handshake that is completed, or that the program ends, doesn't count any more.
#[test]
fn who_answers_or_is_closed_makes_room() {
    let mut host = TestHost::new(1);
    let l = fast_listener(&mut host, 1, 5);
    let (_, answer) = knock(&mut host, 4000);
    assert!(!knock(&mut host, 4001).0);
    let ack = Segment {
        seq: answer.ack,
        ..completes(&answer)
    };
    feed(&mut host, to_us(PEER, &ack, &[]));
    assert_eq!(pending(&mut host, l), 0);
    assert!(knock(&mut host, 4002).0);
    accept(&mut host, l).unwrap();
    let second = accept(&mut host, l).unwrap();
    host.with(|h| h.close(second));
    assert!(knock(&mut host, 4003).0);
}

/// What the dead process was changing is reset; the others, accepted or not, go on as they were,
/// and the listener's count is right.
#[test]
fn connections_ahead_of_their_handshake_survive_a_death() {
    let mut host = TestHost::new(1);
    let l = fast_listener(&mut host, 5, 5);
    let (_, first) = knock(&mut host, 4000);
    let accepted = accept(&mut host, l).unwrap();
    let (_, second) = knock(&mut host, 4001);
    accept(&mut host, l).unwrap();
    reset(&mut host, &second);
    knock(&mut host, 4002);
    knock(&mut host, 4003);
    assert_eq!(pending(&mut host, l), 4);
    host.with(|h| {
        // The last one was being changed; and what is derived can't be trusted.
        let last = h.sh.find_connection(
            Endpoint::new(Addr::v4(packets::US), 80),
            Endpoint::new(Addr::v4(PEER), 4003),
        );
        h.touch(last.unwrap());
        let index = h.index_of(l).unwrap();
        h.sh.sockets[index].fast_pending = 77;
        h.sh.sockets[index].accept_len = 0;
        h.recover();
    });
    // One accepted, one that waits for accept, one reset within the last minute.
    assert_eq!(pending(&mut host, l), 3);
    host.wire.out.clear();
    assert_eq!(host.with(|h| recv(h, accepted, 10)), Ok(b"hello".to_vec()));
    let ack = Segment {
        seq: first.ack,
        len: 3,
        ..completes(&first)
    };
    feed(&mut host, to_us(PEER, &ack, b"abc"));
    assert_eq!(host.with(|h| recv(h, accepted, 10)), Ok(b"abc".to_vec()));
    let waiting = accept(&mut host, l).unwrap();
    assert_eq!(host.with(|h| recv(h, waiting, 10)), Ok(b"hello".to_vec()));
    assert!(accept(&mut host, l).is_none());
    assert_eq!(pending(&mut host, l), 2);
    for port in 5000..5003 {
        assert!(knock(&mut host, port).0);
    }
    assert!(!knock(&mut host, 5003).0);
    host.now = host.now + Duration::from_secs(61);
    assert!(knock(&mut host, 5004).0);
}

/// What the dead process was changing is reset, and makes room at once, though the program keeps
/// its descriptor.
#[test]
fn an_accepted_connection_that_a_death_resets_makes_room() {
    let mut host = TestHost::new(1);
    let l = fast_listener(&mut host, 1, 5);
    assert!(knock(&mut host, 4000).0);
    let accepted = accept(&mut host, l).unwrap();
    host.with(|h| {
        h.touch(accepted.index);
        h.recover();
    });
    host.wire.out.clear();
    assert_eq!(host.with(|h| recv(h, accepted, 10)), Err(Error::Reset));
    assert_eq!(pending(&mut host, l), 0);
    assert!(knock(&mut host, 4001).0);
}

/// A connection from `port` that is reset after accept.
fn accepted_and_reset(host: &mut TestHost, l: SockId, port: u16) {
    let (taken, answer) = knock(host, port);
    assert!(taken);
    let accepted = accept(host, l).unwrap();
    reset(host, &answer);
    host.with(|h| h.close(accepted));
}

/// After a death those count whose minute isn't over and whose listener still is one.
#[test]
fn a_death_forgets_resets_that_count_no_more() {
    let mut host = TestHost::new(1);
    let l = fast_listener(&mut host, 9, 5);
    accepted_and_reset(&mut host, l, 4000);
    accepted_and_reset(&mut host, l, 4001);
    host.now = host.now + Duration::from_secs(61);
    accepted_and_reset(&mut host, l, 4002);
    assert_eq!(host.arena.lock().fast_resets.count(l), 3);
    host.with(|h| h.recover());
    assert_eq!(pending(&mut host, l), 1);
    assert_eq!(host.arena.lock().fast_resets.count(l), 1);
    host.with(|h| {
        h.close(l);
        h.recover();
    });
    assert_eq!(host.arena.lock().fast_resets.count(l), 0);
}

/// A listener that begins anew has all its room; who is reset while it isn't one takes none.
#[test]
fn resets_do_not_outlive_their_listener() {
    let mut host = TestHost::new(1);
    let l = fast_listener(&mut host, 2, 5);
    accepted_and_reset(&mut host, l, 4000);
    let (_, answer) = knock(&mut host, 4001);
    let accepted = accept(&mut host, l).unwrap();
    assert!(!knock(&mut host, 4002).0);
    host.with(|h| h.dissolve(l).unwrap());
    reset(&mut host, &answer);
    host.with(|h| h.close(accepted));
    assert_eq!(host.arena.lock().fast_resets.count(l), 1);
    host.with(|h| h.listen(l, 5).unwrap());
    assert_eq!(pending(&mut host, l), 0);
    assert_eq!(host.arena.lock().fast_resets.count(l), 0);
    assert!(knock(&mut host, 4003).0);
    assert!(knock(&mut host, 4004).0);
    assert!(!knock(&mut host, 4005).0);
}

/// A client's settings: Fast Open, and its pauses.
fn pausing() -> Sysctl {
    Sysctl {
        tcp_fastopen: 1,
        tcp_fastopen_blackhole_timeout_sec: 100,
        tcp_syn_retries: 4,
        tcp_syn_linear_timeouts: 4,
        ..Sysctl::default()
    }
}

/// Opens by Fast Open: the SYN, and the socket.
fn opens(host: &mut TestHost, settings: &Sysctl) -> (Segment, SockId) {
    let s = host.with(|h| {
        let s = h.create(Family::V4, Owner::default(), settings).unwrap();
        let to = Endpoint::new(Addr::v4(PEER), 80);
        h.connect_fast(s, to, b"hello", false).unwrap();
        s
    });
    let packet = host.wire.out.pop_back().unwrap();
    host.wire.out.clear();
    match crate::wire::parse(&packet, false) {
        Ok(crate::wire::Packet::Tcp { segment, .. }) => (segment, s),
        other => panic!("{other:?}"),
    }
}

/// The server's SYN+ACK, with a cookie; what follows may be made of it.
fn server_answers(host: &mut TestHost, syn: &Segment) -> Segment {
    let mut answer = Segment {
        src_port: 80,
        dst_port: syn.src_port,
        seq: SeqNum(7000),
        ack: syn.seq + 1 + syn.len,
        flags: Flags::SYN.with(Flags::ACK),
        window: 60_000,
        ..Segment::default()
    };
    answer.options.fastopen = Some(Cookie {
        len: 8,
        bytes: [5; MAX_COOKIE],
        experimental: false,
    });
    feed(host, to_us(PEER, &answer, &[]));
    Segment {
        seq: answer.seq + 1,
        flags: Flags::ACK,
        options: Options::default(),
        ..answer
    }
}

fn ends(host: &mut TestHost, next: &Segment, socket: SockId) {
    let rst = Segment {
        flags: Flags::RST,
        len: 0,
        ..*next
    };
    feed(host, to_us(PEER, &rst, &[]));
    host.with(|h| h.close(socket));
    host.wire.out.clear();
}

/// A host that knows a server's cookie.
fn client() -> TestHost {
    let mut host = TestHost::new(1);
    let (syn, s) = opens(&mut host, &pausing());
    assert_eq!(syn.len, 0);
    let next = server_answers(&mut host, &syn);
    ends(&mut host, &next, s);
    host
}

/// The SYN with data is lost, and so are those that follow it; when that was noticed.
fn fails(host: &mut TestHost) -> Instant {
    let (syn, s) = opens(host, &pausing());
    assert_eq!(syn.len, 5);
    for _ in 0..3 {
        host.now = host.now + Duration::from_millis(1001);
        host.with(|h| h.run_timers());
    }
    host.with(|h| h.close(s));
    host.wire.out.clear();
    host.now
}

#[test]
fn each_pause_is_twice_as_long_as_the_one_before() {
    let mut host = client();
    for n in 0..3 {
        let begun = fails(&mut host);
        let pause = Duration::from_secs(100 << n);
        host.now = begun + pause - Duration::from_secs(1);
        let (syn, s) = opens(&mut host, &pausing());
        assert_eq!((syn.len, syn.options.fastopen), (0, None), "pause {n}");
        host.with(|h| h.close(s));
        host.now = begun + pause + Duration::from_secs(1);
    }
    assert_eq!(host.arena.lock().counters.fastopen_blackhole, 3);
    // It works again, and is forgiven: the next pause is a short one.
    let (syn, s) = opens(&mut host, &pausing());
    let mut next = server_answers(&mut host, &syn);
    next.len = 5;
    feed(&mut host, to_us(PEER, &next, b"world"));
    next.seq += 5;
    ends(&mut host, &next, s);
    let begun = fails(&mut host);
    host.now = begun + Duration::from_secs(99);
    assert_eq!(opens(&mut host, &pausing()).0.len, 0);
    host.now = begun + Duration::from_secs(101);
    assert_eq!(opens(&mut host, &pausing()).0.len, 5);
    // Another value begins anew.
    host.now = begun;
    let other = Sysctl {
        tcp_fastopen_blackhole_timeout_sec: 50,
        ..pausing()
    };
    assert_eq!(opens(&mut host, &other).0.len, 5);
}

/// The server's data is swallowed, and its FIN is not.
#[test]
fn a_fin_without_what_is_before_it_pauses_fast_open() {
    let mut host = client();
    let (syn, s) = opens(&mut host, &pausing());
    let next = server_answers(&mut host, &syn);
    let fin = Segment {
        seq: next.seq + 1000,
        flags: Flags::FIN.with(Flags::ACK),
        ..next
    };
    feed(&mut host, to_us(PEER, &fin, &[]));
    ends(&mut host, &next, s);
    assert_eq!(opens(&mut host, &pausing()).0.len, 0);
    assert_eq!(host.arena.lock().counters.fastopen_blackhole, 1);
}

/// That Fast Open works is of the time when the connection ended, not of when its TIME_WAIT did: the
/// pause that began in between stays.
#[test]
fn the_end_of_time_wait_says_nothing_new() {
    let mut host = client();
    let begun = fails(&mut host);
    host.now = begun + Duration::from_secs(101);
    let (syn, s) = opens(&mut host, &pausing());
    let mut next = server_answers(&mut host, &syn);
    next.len = 5;
    feed(&mut host, to_us(PEER, &next, b"world"));
    assert_eq!(host.with(|h| recv(h, s, 10)), Ok(b"world".to_vec()));
    host.with(|h| h.close(s));
    let fin = Segment {
        seq: next.seq + 5,
        ack: next.ack + 1,
        flags: Flags::FIN.with(Flags::ACK),
        len: 0,
        ..next
    };
    feed(&mut host, to_us(PEER, &fin, &[]));
    assert_eq!(
        host.with(|h| h.socket(s).unwrap().tcb.state),
        State::TimeWait
    );
    let begun = fails(&mut host);
    host.now = begun + Duration::from_secs(70);
    host.with(|h| h.run_timers());
    assert!(host.with(|h| h.socket(s).is_err()));
    assert_eq!(opens(&mut host, &pausing()).0.len, 0);
    // It had been forgiven: this pause is a short one.
    host.now = begun + Duration::from_secs(101);
    assert_eq!(opens(&mut host, &pausing()).0.len, 5);
}

/// What counts is the setting as it is, which the latest connect saw, not what it was for the socket
/// whose SYNs are lost.
#[test]
fn a_pause_is_of_the_setting_that_the_latest_connect_saw() {
    let mut host = client();
    let changed = Sysctl {
        tcp_fastopen_blackhole_timeout_sec: 50,
        ..pausing()
    };
    let (_, lost) = opens(&mut host, &pausing());
    let (syn, s) = opens(&mut host, &changed);
    let next = server_answers(&mut host, &syn);
    ends(&mut host, &next, s);
    for _ in 0..3 {
        host.now = host.now + Duration::from_millis(1001);
        host.with(|h| h.run_timers());
    }
    host.with(|h| h.close(lost));
    let begun = host.now;
    assert_eq!(opens(&mut host, &changed).0.len, 0);
    host.now = begun + Duration::from_secs(51);
    assert_eq!(opens(&mut host, &changed).0.len, 5);
    // Switched off meanwhile: nothing pauses.
    let off = Sysctl {
        tcp_fastopen_blackhole_timeout_sec: 0,
        ..pausing()
    };
    let before = host.arena.lock().counters.fastopen_blackhole;
    opens(&mut host, &pausing());
    opens(&mut host, &off);
    for _ in 0..3 {
        host.now = host.now + Duration::from_millis(1001);
        host.with(|h| h.run_timers());
    }
    assert_eq!(host.arena.lock().counters.fastopen_blackhole, before);
}

/// TCP_INFO tells that there was no cookie only where there was none.
#[test]
fn data_that_cannot_be_read_is_no_missing_cookie() {
    for (mut host, fail) in [(TestHost::new(1), 1), (client(), 0)] {
        let s = host.with(|h| {
            let s = h.create(Family::V4, Owner::default(), &pausing()).unwrap();
            let to = Endpoint::new(Addr::v4(PEER), 80);
            assert_eq!(h.connect_fast_or_ask(s, to, None, false), Ok(0));
            s
        });
        let packet = host.wire.out.pop_back().unwrap();
        let Ok(crate::wire::Packet::Tcp { segment, .. }) = crate::wire::parse(&packet, false)
        else {
            panic!();
        };
        let asks = segment.options.fastopen.map(|c| c.len);
        assert_eq!((asks, segment.len), (Some(0), 0));
        let info = host.with(|h| h.info(s)).unwrap().1;
        assert_eq!(info.fastopen_client_fail, fail);
    }
}
