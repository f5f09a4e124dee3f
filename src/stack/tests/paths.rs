//! What ICMP told of a path's MTU, and for how long it counts.

use super::packets::{PEER, icmp, ipv4 as packet4};
use super::rules::*;
use super::*;
use crate::stack::{IpSettings, Opt};
use crate::tcp::{Options, Segment};
use core::net::Ipv4Addr;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A connection to PEER; its SYN's MSS.
fn open(host: &mut TestHost) -> (SockId, u16) {
    let c = host.with(|h| {
        let c = create(h);
        let to = Endpoint::new(Addr::v4(PEER), 80);
        assert_eq!(h.connect(c, to), Err(Error::InProgress));
        c
    });
    let syn = sent(host).pop().unwrap().0;
    let offers = Options {
        mss: Some(1460),
        ..Options::default()
    };
    give(host, PEER.into(), OWN.into(), answer(&syn, offers));
    sent(host);
    (c, syn.options.mss.unwrap())
}

/// Send a kilobyte and a half; what left, with its packets.
fn write(host: &mut TestHost, c: SockId) -> Vec<(Segment, Vec<u8>)> {
    host.with(|h| send(h, c, &[0; 1460]).unwrap());
    sent(host)
}

/// "Fragmentation needed" about this packet.
fn narrow(host: &mut TestHost, packet: &[u8], mtu: u16) -> Vec<Vec<u8>> {
    let [m0, m1] = mtu.to_be_bytes();
    let error = icmp([&[3, 4, 0, 0, 0, 0, m0, m1][..], &packet[..28]].concat());
    answers(host, packet4([10, 0, 0, 254], OWN.octets(), 1, 64, &error))
}

fn acked(host: &mut TestHost, last: &Segment) {
    give(
        host,
        PEER.into(),
        OWN.into(),
        answer(last, Options::default()),
    );
    sent(host);
}

fn mss(host: &mut TestHost, c: SockId) -> u32 {
    host.with(|h| h.info(c).unwrap().1.snd_mss)
}

// RFC 1191 S6.2-1, S6.3-1
// RFC 4821 S5.2-2
#[test]
fn what_one_learns_all_know_for_ten_minutes() {
    let mut host = host();
    let (first, own) = open(&mut host);
    let (second, _) = open(&mut host);
    assert_eq!(own, 1460);
    let data = write(&mut host, first);
    narrow(&mut host, &data[0].1, 1000);
    assert_eq!(mss(&mut host, first), 960);
    acked(&mut host, &data[0].0);
    // The other one, when it sends; and who connects now.
    let data = write(&mut host, second);
    assert_eq!(data[0].0.len, 960);
    assert_eq!(host.with(|h| h.path_mtu(second)), Ok(1000));
    acked(&mut host, &data[1].0);
    assert_eq!(open(&mut host).1, 960);
    // Not those to other hosts.
    let other = Addr::v4(Ipv4Addr::new(10, 0, 0, 77));
    host.with(|h| {
        let c = create(h);
        let _ = h.connect(c, Endpoint::new(other, 80));
    });
    assert_eq!(sent(&mut host)[0].0.options.mss, Some(1460));
    host.now = host.now + Duration::from_secs(601);
    assert_eq!(open(&mut host).1, 1460);
    let data = write(&mut host, first);
    assert_eq!(data[0].0.len, 1460);
}

#[test]
fn a_lie_about_a_segment_that_is_not_in_flight_teaches_nothing() {
    let mut host = host();
    let (c, _) = open(&mut host);
    let mut data = write(&mut host, c);
    acked(&mut host, &data[0].0);
    data[0].1[24] ^= 0x40;
    narrow(&mut host, &data[0].1, 600);
    assert_eq!(open(&mut host).1, 1460);
}

// RFC 4821 S5.2-3
#[test]
fn the_least_size_is_kept() {
    let mut host = host();
    let (first, _) = open(&mut host);
    let data = write(&mut host, first);
    narrow(&mut host, &data[0].1, 1000);
    narrow(&mut host, &data[0].1, 1400);
    assert_eq!(host.with(|h| h.path_mtu(first)), Ok(1000));
    narrow(&mut host, &data[0].1, 900);
    narrow(&mut host, &data[0].1, 1000);
    assert_eq!(host.with(|h| h.path_mtu(first)), Ok(900));
}

#[test]
fn many_paths_take_one_anothers_place() {
    let mut host = host();
    host.with(|h| h.sh.config.gateway4 = Addr::v4(Ipv4Addr::new(10, 0, 0, 254)));
    let peers: Vec<Ipv4Addr> = (1..=600u16)
        .map(|n| Ipv4Addr::new(10, 7, (n >> 8) as u8, n as u8))
        .collect();
    for peer in &peers {
        let c = host.with(|h| {
            let c = create(h);
            let to = Endpoint::new(Addr::v4(*peer), 80);
            assert_eq!(h.connect(c, to), Err(Error::InProgress));
            c
        });
        let syn = host.wire.out.pop_back().unwrap();
        narrow(&mut host, &syn, 1000);
        host.with(|h| h.close(c));
        host.wire.out.clear();
    }
    let now = host.now;
    let known = |peer: &&Ipv4Addr| {
        let learnt = host.arena.lock().learnt_mtu(Addr::v4(**peer), now);
        learnt.is_some_and(|(mtu, _)| mtu == 1000)
    };
    let left: Vec<_> = peers.iter().filter(known).collect();
    let most = crate::stack::paths::PATHS;
    assert!(
        left.len() <= most && left.len() > most / 2,
        "{}",
        left.len()
    );
    assert_eq!(left.last(), Some(&&peers[599]));
    let size = size_of_val(&host.arena.lock().paths);
    assert!(size <= most * 40 + 16, "{size}");
}

// RFC 4821 S4-2, S8-2
#[test]
fn df_by_ip_mtu_discover() {
    for (value, df, at_once) in [
        (0, false, false),
        (1, true, true),
        (2, true, true),
        (3, false, true),
        (4, false, false),
        (5, false, false),
    ] {
        let mut host = host();
        let (c, _) = open(&mut host);
        host.with(|h| h.set_option(c, Opt::MtuDiscover, value))
            .unwrap();
        assert_eq!(host.with(|h| h.get_option(c, Opt::MtuDiscover)), Ok(value));
        assert_eq!(host.with(|h| h.get_option(c, Opt::MtuDiscover6)), Ok(1));
        let data = write(&mut host, c);
        assert_eq!(data[0].1[6] & 0x40 != 0, df, "{value}");
        let again = narrow(&mut host, &data[0].1, 1000);
        assert_eq!(!again.is_empty(), at_once, "{value}");
        // The route knows in any case.
        assert_eq!(mss(&mut host, c), 960, "{value}");
    }
}

#[test]
fn ip_no_pmtu_disc() {
    for (value, discover, found) in [(0, 1, 960), (1, 0, 512), (2, 0, 1460), (3, 0, 960)] {
        let mut host = host();
        let settings = IpSettings {
            ip_no_pmtu_disc: value,
            ..IpSettings::default()
        };
        host.with(|h| h.set_ip_settings(&settings));
        let (c, _) = open(&mut host);
        assert_eq!(
            host.with(|h| h.get_option(c, Opt::MtuDiscover)),
            Ok(discover)
        );
        let data = write(&mut host, c);
        assert_eq!(data[0].1[6] & 0x40 != 0, discover == 1);
        narrow(&mut host, &data[0].1, 1000);
        assert_eq!(mss(&mut host, c), found, "{value}");
    }
}
