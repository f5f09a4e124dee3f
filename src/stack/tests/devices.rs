//! Sockets that are bound to a device (SO_BINDTODEVICE).

use super::packets::{PEER, syn, to_us};
use super::*;
use crate::stack::devices::LOOPBACK;
use crate::tcp::Flags;
use crate::wire::{self, Packet};

const TUN: u32 = 7;

fn host() -> TestHost {
    let mut host = TestHost::new(1);
    host.with(|h| {
        h.sh.config.index = TUN;
        h.sh.config.name[..4].copy_from_slice(b"tun7");
    });
    host
}

fn bound(h: &mut Host<'_>, device: u32) -> SockId {
    let s = create(h);
    h.bind_to_device(s, device as i32, false).unwrap();
    s
}

fn listening(h: &mut Host<'_>, device: u32, port: u16) -> SockId {
    let l = bound(h, device);
    h.bind(l, Endpoint::new(Addr::ANY4, port), true).unwrap();
    h.listen(l, 5).unwrap();
    l
}

/// Where a connection of this host to `to` arrives.
fn dial(h: &mut Host<'_>, to: [u8; 4], port: u16, listeners: [SockId; 2]) -> [bool; 2] {
    let c = create(h);
    let _ = h.connect(c, Endpoint::new(v4(to), port));
    listeners.map(|l| h.accept(l, Owner::default()).is_ok())
}

#[test]
fn names_and_numbers() {
    host().with(|h| {
        assert_eq!(h.sh.device_index(b"lo"), Some(LOOPBACK));
        assert_eq!(h.sh.device_index(b"tun7"), Some(TUN));
        assert_eq!(h.sh.device_index(b"tun"), None);
        assert_eq!(h.sh.device_name(TUN), Some(&b"tun7"[..]));
        assert_eq!(h.sh.device_name(3), None);
        h.sh.device_is_gone();
        assert_eq!(h.sh.device_index(b"tun7"), None);
        assert_eq!(h.sh.device_name(TUN), None);
    });
}

#[test]
fn without_privileges_once() {
    host().with(|h| {
        let s = create(h);
        assert_eq!(h.bind_to_device(s, 0, false), Ok(()));
        assert_eq!(h.bind_to_device(s, -1, false), Err(Error::Invalid));
        assert_eq!(h.bind_to_device(s, 4321, false), Ok(()));
        assert_eq!(h.bind_to_device(s, 0, false), Err(Error::Permission));
        assert_eq!(h.bind_to_device(s, -1, false), Err(Error::Permission));
        assert_eq!(h.bind_to_device(s, 0, true), Ok(()));
    });
}

#[test]
fn listeners_take_what_comes_on_their_device() {
    host().with(|h| {
        let both = [listening(h, TUN, 80), listening(h, LOOPBACK, 80)];
        assert_eq!(dial(h, [127, 0, 0, 1], 80, both), [false, true]);
        assert_eq!(dial(h, [127, 9, 9, 9], 80, both), [false, true]);
        // Its own address belongs to the TUN, though nothing goes over it.
        assert_eq!(dial(h, [10, 0, 0, 1], 80, both), [true, false]);
        // Neither is bound where the other is; a third that is bound nowhere is in both's way.
        let third = create(h);
        let at = Endpoint::new(Addr::ANY4, 80);
        assert_eq!(h.bind(third, at, true), Err(Error::AddrInUse));
    });
}

#[test]
fn what_comes_from_the_wire_is_not_for_the_loopback() {
    let mut host = host();
    let l = host.with(|h| listening(h, LOOPBACK, 80));
    let mut seg = syn(5000);
    seg.dst_port = 80;
    for (device, answer) in [(LOOPBACK, Flags::RST), (TUN, Flags::SYN), (0, Flags::SYN)] {
        host.with(|h| h.bind_to_device(l, device as i32, true).unwrap());
        host.wire.inward.push_back(to_us(PEER, &seg, &[]));
        host.with(|h| h.receive(1));
        let packet = host.wire.out.pop_front().unwrap();
        let Ok(Packet::Tcp { segment, .. }) = wire::parse(&packet, false) else {
            panic!()
        };
        assert!(segment.flags.has(answer), "{device}: {:?}", segment.flags);
        seg.src_port += 1;
        assert_eq!(host.wire.out.len(), 0);
    }
}

#[test]
fn accepted_sockets_are_bound_as_their_listener_was() {
    host().with(|h| {
        let l = listening(h, LOOPBACK, 80);
        let c = create(h);
        let _ = h.connect(c, Endpoint::new(v4([127, 0, 0, 1]), 80));
        let (s, _) = h.accept(l, Owner::default()).unwrap();
        assert_eq!(h.socket(s).unwrap().options.bound_if, LOOPBACK);
        assert_eq!(h.socket(c).unwrap().options.bound_if, 0);
        // Bound to another device, it hears nothing, and its peer a RST.
        h.bind_to_device(s, TUN as i32, true).unwrap();
        assert_eq!(send(h, c, b"lost"), Ok(4));
        assert_eq!(recv(h, s, 9), Err(Error::WouldBlock));
        assert_eq!(recv(h, c, 9), Err(Error::Reset));
    });
}

#[test]
fn connecting_by_a_device() {
    let mut host = host();
    let own = [10, 0, 0, 1];
    for (device, to, source, leaves) in [
        (TUN, [10, 0, 0, 9], own, true),
        (TUN, [127, 0, 0, 1], own, true),
        (TUN, own, own, false),
        (TUN, [8, 8, 8, 8], own, true),
        (LOOPBACK, [127, 0, 0, 2], [127, 0, 0, 1], false),
        (LOOPBACK, [10, 0, 0, 9], own, false),
        (LOOPBACK, own, own, false),
    ] {
        let s = host.with(|h| {
            let s = bound(h, device);
            let to = Endpoint::new(v4(to), 81);
            assert_eq!(h.connect(s, to), Err(Error::InProgress));
            s
        });
        let left = host.wire.out.pop_front().is_some();
        assert_eq!(left, leaves, "{device} {to:?}");
        let addr = host.with(|h| h.local_addr(s).unwrap().addr);
        assert_eq!(addr, v4(source));
    }
    host.with(|h| {
        let s = bound(h, 4321);
        let to = Endpoint::new(v4([10, 0, 0, 9]), 81);
        assert_eq!(h.connect(s, to), Err(Error::NoDevice));
        let s = bound(h, TUN);
        let here = Endpoint::new(v4([127, 0, 0, 1]), 82);
        h.bind(s, here, true).unwrap();
        assert_eq!(h.connect(s, here), Err(Error::Invalid));
    });
}
