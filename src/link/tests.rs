//! The device against the kernel, in network namespaces of the tests' own.

mod traffic;

use super::config::{self, QUEUE_LEN, Setup};
use super::*;
use crate::worlds::{drop_capabilities, in_namespace};
use core::net::{Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;

const KERNEL4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const STACK4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const KERNEL6: Ipv6Addr = Ipv6Addr::new(0xfd75, 0x7463, 0x7000, 0, 0, 0, 0, 1);
const STACK6: Ipv6Addr = Ipv6Addr::new(0xfd75, 0x7463, 0x7000, 0, 0, 0, 0, 2);

const SETUP: Setup = Setup {
    ipv4: Some((KERNEL4, 24)),
    ipv6: Some((KERNEL6, 64)),
    mtu: 1500,
    queue_len: QUEUE_LEN,
};

fn names() -> Vec<String> {
    let devices = config::list_utcp_devices().unwrap();
    devices.into_iter().map(|(_, d)| d.name).collect()
}

#[test]
fn devices_are_numbered_configured_and_go_with_their_descriptor() {
    in_namespace(|| {
        assert_eq!(config::first_free().unwrap(), 0);
        let tun = Tun::create("utcp%d", false).unwrap();
        assert_eq!(tun.name().unwrap(), "utcp0");
        assert!(tun.offload() && tun.mode().vnet);
        let other = Tun::create("utcp%d", false).unwrap();
        assert_eq!(other.name().unwrap(), "utcp1");
        let plain = Tun::create_plain("utcp%d", false).unwrap();
        assert_eq!(plain.name().unwrap(), "utcp2");
        assert!(!plain.offload() && !plain.mode().vnet);

        config::configure("utcp0", &Setup { mtu: 1400, ..SETUP }).unwrap();
        let device = config::describe("utcp0").unwrap();
        assert_eq!(device.ipv4, [(KERNEL4, 24)]);
        assert_eq!(device.ipv6, [(KERNEL6, 64)]);
        assert_eq!((device.mtu, device.queue_len), (1400, QUEUE_LEN));
        assert!(device.up && device.attached && device.tun);
        let list = config::list_utcp_devices().unwrap();
        assert_eq!(list[0], (0, device));
        assert!(!list[1].1.up);

        drop(other);
        assert_eq!(names(), ["utcp0", "utcp2"]);
        assert_eq!(config::first_free().unwrap(), 1);
        drop((tun, plain));
        assert_eq!(names(), [""; 0]);
    });
}

#[test]
fn names_of_others_are_not_counted() {
    for name in [
        "utcp",
        "utcp-1",
        "utcp+1",
        "utcp01",
        "utcp1x",
        "xutcp1",
        "utcp99999999999",
    ] {
        assert_eq!(config::utcp_number(name), None, "{name}");
    }
    assert_eq!(config::utcp_number("utcp0"), Some(0));
    assert_eq!(config::utcp_number("utcp4294967295"), Some(u32::MAX));
}

#[test]
fn a_persistent_device_is_set_up_anew_each_time() {
    in_namespace(|| {
        let tun = Tun::create("keep", true).unwrap();
        config::configure("keep", &Setup { mtu: 9000, ..SETUP }).unwrap();
        assert_eq!(
            Tun::open_existing("keep").unwrap_err(),
            TunError::InUse("keep".into())
        );
        drop(tun);
        assert!(!config::describe("keep").unwrap().attached);
        for _ in 0..2 {
            let plain = Tun::open_existing_plain("keep").unwrap();
            assert_eq!((plain.offload(), plain.mtu()), (false, 9000));
            drop(plain);
            let tun = Tun::open_existing("keep").unwrap();
            assert_eq!((tun.offload(), tun.mtu()), (true, 9000));
        }
        config::delete("keep").unwrap();
        let error = Tun::open_existing("keep").unwrap_err();
        assert_eq!(error, TunError::NoSuchDevice("keep".into()));
        assert_eq!(config::delete("keep"), Err(error));
    });
}

#[test]
fn every_mistake_has_its_error() {
    in_namespace(|| {
        let _tun = Tun::create("mine", false).unwrap();
        let taken = TunError::NameTaken("mine".into());
        assert_eq!(Tun::create("mine", false).unwrap_err(), taken);
        assert_eq!(Tun::create_plain("mine", false).unwrap_err(), taken);
        for bad in ["", "a/b", "a b", "a:b", "0123456789abcdef", ".", ".."] {
            let error = TunError::BadName(bad.into());
            assert_eq!(Tun::create(bad, false).unwrap_err(), error);
            assert_eq!(Tun::create_plain(bad, false).unwrap_err(), error);
            assert_eq!(Tun::open_existing(bad).unwrap_err(), error);
        }
        let not_tun = TunError::NotTun("lo".into());
        assert_eq!(Tun::open_existing("lo").unwrap_err(), not_tun);
        assert_eq!(Tun::open_existing_plain("lo").unwrap_err(), not_tun);

        let setup = |ipv4, ipv6, mtu| {
            config::configure(
                "mine",
                &Setup {
                    ipv4,
                    ipv6,
                    mtu,
                    ..SETUP
                },
            )
        };
        let group = Some((Ipv4Addr::new(224, 0, 0, 1), 24));
        assert_eq!(setup(group, None, 1500), Ok(())); // the kernel doesn't mind
        assert_eq!(
            setup(None, None, 60),
            Err(TunError::BadMtu("mine".into(), 60))
        );
        let bad = Err(TunError::BadAddress("mine".into()));
        assert_eq!(setup(Some((KERNEL4, 33)), None, 1500), bad);
        assert_eq!(setup(None, Some((KERNEL6, 129)), 1500), bad);
        assert_eq!(setup(Some((KERNEL4, 24)), None, 1500), Ok(()));
        assert_eq!(setup(Some((KERNEL4, 24)), None, 1500), bad);
    });
}

#[test]
fn ipv6_may_be_switched_off() {
    in_namespace(|| {
        let _tun = Tun::create("mine", false).unwrap();
        let file = c"/proc/sys/net/ipv6/conf/mine/disable_ipv6";
        if crate::sys::tun::write_file(file, b"1").is_err() {
            return; // no IPv6, or /proc is not writable
        }
        let off = Err(TunError::Ipv6Off("mine".into()));
        assert_eq!(config::configure("mine", &SETUP), off);
        let device = config::describe("mine").unwrap();
        assert_eq!((device.up, device.ipv6), (true, vec![]));
        assert_eq!(device.ipv4, [(KERNEL4, 24)]);
    });
}

#[test]
fn without_the_capability() {
    in_namespace(|| {
        let tun = Tun::create("theirs", true).unwrap();
        // (In a user namespace other users may have no number.)
        let owned = tun.set_owner(4711).is_ok();
        let _tun2 = Tun::create("mine", false).unwrap();
        drop(tun);
        drop_capabilities();
        assert_eq!(Tun::create("x", false).unwrap_err(), TunError::NoCapability);
        assert_eq!(
            Tun::create_plain("x", false).unwrap_err(),
            TunError::NoCapability
        );
        if owned {
            let not_owner = TunError::NotOwner("theirs".into());
            assert_eq!(Tun::open_existing("theirs").unwrap_err(), not_owner);
        }
        let denied = Err(TunError::ConfigPermission("mine".into()));
        assert_eq!(config::configure("mine", &SETUP), denied);
    });
}

#[test]
fn a_device_that_is_down_or_gone() {
    in_namespace(|| {
        let mut tun = Tun::create("mine", false).unwrap();
        let packet = [0x45; 40];
        assert_eq!(tun.send(&VnetHdr::PLAIN, &[&packet]), Sent::Done);
        assert_eq!(tun.recv(&mut [0; 100]), None);
        assert!(!tun.is_gone());
        config::delete("mine").unwrap();
        assert_eq!(tun.send(&VnetHdr::PLAIN, &[&packet]), Sent::Gone);
        assert_eq!(tun.recv(&mut [0; 100]), None);
        assert!(tun.is_gone());
    });
}

#[test]
fn errors_are_one_line_with_a_remedy() {
    use TunError::*;
    let name = || "utcp0".to_owned();
    let all = [
        NoNode,
        NoDriver,
        NodePermission,
        NoCapability,
        NameTaken(name()),
        InUse(name()),
        NotOwner(name()),
        NoSuchDevice(name()),
        NotTun(name()),
        BadName(name()),
        ConfigPermission(name()),
        Ipv6Off(name()),
        BadAddress(name()),
        BadMtu(name(), 3),
        NoDescriptors,
        Failed("TUNSETIFF", crate::sys::Errno(libc::EIO)),
    ];
    for error in all {
        let line = error.to_string();
        assert!(!line.contains('\n') && !line.contains("  "), "{line}");
        assert!(line.contains('`') || line.contains("set UTCP_"), "{line}");
    }
}

proptest! {
    #[test]
    fn vnet_headers_survive_the_descriptor(bytes: [u8; VnetHdr::LEN]) {
        prop_assert_eq!(VnetHdr::from_bytes(bytes).to_bytes(), bytes);
    }
}
