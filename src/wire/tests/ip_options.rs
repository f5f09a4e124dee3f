//! IPv4's options: as the kernel takes, sends and answers them (`c-tests/facts_ipoptions_sent.c`,
//! `c-tests/hosts_ipoptions.c`).

use super::*;
use crate::wire::cut::Cut;

const US: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);
const TIME: u32 = 0x0102_0304;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |d: u8| (d as char).to_digit(16).unwrap() as u8;
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|d| digit(d[0]) << 4 | digit(d[1])).collect()
}

fn text(list: &IpOptions) -> String {
    list.as_bytes().iter().map(|b| format!("{b:02x}")).collect()
}

fn given(hex: &str, privileged: bool) -> Result<String, Refused> {
    IpOptions::given(&bytes(hex), privileged).map(|list| text(&list))
}

fn record(list: &mut IpOptions, received: bool) {
    list.record(&Mark {
        address: US,
        time: TIME,
        elsewhere: &|a| a != US,
        received,
    });
}

// RFC 1122 S3.2.1.8-1
// RFC 9293 MUST-51
#[test]
fn lists_of_programs() {
    for (list, kept) in [
        ("", ""),
        ("01", "01000000"),
        ("0101010101", "0101010101000000"),
        ("000102", "00000000"),
        ("0707040a000001", "0707040000000000"),
        ("0707080a000001", "0707080a00000100"),
        ("070304", "07030400"),
        ("0703ff", "0703ff00"),
        ("070b08010203040506070800", "070b08010203040000000000"),
        ("440809e000000000", "440809e000000000"),
        (
            "440c0501010203040506070801",
            "440c0501000000000000000001000000",
        ),
        ("440c05030a00000200000000", "440c05030a00000200000000"),
        ("94040001", "94040001"),
    ] {
        assert_eq!(given(list, false), Ok(kept.to_owned()), "{list}");
    }
    for list in [
        "01ff00",
        "0107040000000000",
        "070703",
        "070709",
        "0707050000000000",
        "0706040000000000",
        "0702",
        "07",
        "0701",
        "0707040000000007070400000000",
        "072704",
        "440405f0",
        "44080900",
        "440809f000000000",
        "440805010000000000",
        "4408040000000000",
        "440305",
        "940300",
        "830304",
        "830604000000",
        "8307050a000001",
        "830b080a0000010a000002",
        "8307040a0000018307040a000002",
        "83",
        "8302",
        "1e01",
        "1e29",
        "8606000000010000",
    ] {
        assert_eq!(given(list, true), Err(Refused::Invalid), "{list}");
    }
    assert_eq!(IpOptions::given(&[1; 41], true), Err(Refused::Invalid));
    assert_eq!(given(&"01".repeat(40), false), Ok("01".repeat(40)));
    // What only the privileged may send.
    for (list, refused) in [
        ("8307040a000001", Refused::Forbidden),
        ("01830b040a0000010a000002", Refused::Forbidden),
        ("820b0000000000000000000000", Refused::Invalid),
        ("88040001", Refused::Invalid),
        ("1e040000", Refused::Invalid),
        ("4408050200000000", Refused::Invalid),
    ] {
        assert_eq!(given(list, false), Err(refused), "{list}");
        let kept = given(list, true).unwrap();
        assert!(kept.starts_with(list), "{list}: {kept}");
    }
}

// RFC 1122 S3.2.1.8-1, S3.2.1.8-4
// RFC 9293 MUST-51
#[test]
fn lists_as_they_are_sent() {
    for (list, sent) in [
        ("01010101", "01010101"),
        ("070b040000000000000000", "070b08c61200020000000000"),
        ("0707080a000001", "0707080a00000100"),
        ("44080500000000", "4408090001020304"),
        ("440c0501000000000000000000", "440c0d01c612000201020304"),
        ("440c0503c612000200000000", "440c0d03c612000201020304"),
        ("440c0503c633640100000000", "440c0503c633640100000000"),
        ("440809e000000000", "440809e000000000"),
        ("830704c6336401", "830704cb0071c800"),
        ("890b04c6120001c6336402", "890b04c6336402cb0071c800"),
        (
            "0101830f04c6336401c6336402c6336403",
            "0101830f04c6336402c6336403cb0071c8000000",
        ),
    ] {
        let mut o = IpOptions::given(&bytes(list), true).unwrap();
        let route = list.contains("83") || list.starts_with("89");
        assert_eq!(o.has_route(), route);
        assert_eq!(o.is_strict(), list.starts_with("89"));
        let first = o.first_hop();
        assert_eq!(first.is_some(), route);
        o.towards(PEER);
        record(&mut o, false);
        assert!(text(&o).starts_with(sent), "{list}: {}", text(&o));
    }
}

/// What a SYN has, what the child shows (IP_OPTIONS), and what its segments have.
// RFC 1122 S3.2.1.8-2, S3.2.1.8-4
// RFC 9293 MUST-53
#[test]
fn answers() {
    for (came, kept, answer) in [
        ("01010101", "", ""),
        ("94040000", "", ""),
        (
            "070b040000000000000000",
            "070b08c61200020000000000",
            "070b0cc6120002c612000200",
        ),
        ("0707040000000000", "070708c612000200", "070708c612000200"),
        ("070708c633640100", "070708c633640100", "070708c633640100"),
        ("44080500000000", "4408090001020304", "4408090001020304"),
        ("44080900000000", "4408091000000000", "4408091000000000"),
        (
            "44140501000000000000000000000000000000000000",
            "44140d01c6120002010203040000000000000000",
            "44141501c612000201020304c612000201020304",
        ),
        (
            "44140503c612000200000000c612000200000000",
            "44140d03c612000201020304c612000200000000",
            "44141503c612000201020304c612000201020304",
        ),
        ("44080507000000", "4408050700000000", "4408050700000000"),
        ("830708c6336401", "830704c633640100", "830704cb0071c800"),
        (
            "830b0cc6336401c6336402",
            "830b04c6336402c633640100",
            "830b04c6336401cb0071c800",
        ),
        (
            "830b0cc6336401cb0071c8",
            "830b04cb0071c8c633640100",
            "830b04c6336401cb0071c800",
        ),
        (
            "830b0ccb0071c8c6336401",
            "830704c633640100",
            "830704cb0071c800",
        ),
        ("830704c6120002", "", ""),
        ("830304", "", ""),
        (
            "070b040000000000000000830b0cc6336401c6336402",
            "070b08c612000200000000830b04c6336402c63364010000",
            "070b0cc6120002c6120002830b04c6336401cb0071c80000",
        ),
    ] {
        let mut o = IpOptions::received(&bytes(came));
        record(&mut o, true);
        let mut o = o.echo(PEER).unwrap();
        assert_eq!(text(&o), kept, "{came}");
        o.towards(PEER);
        record(&mut o, false);
        assert_eq!(text(&o), answer, "{came}");
    }
    // There is room for a part of an address.
    let mut o = IpOptions::received(&bytes("070904000000000000"));
    record(&mut o, true);
    assert_eq!(o.echo(PEER), None);
}

/// Options in packets: read back, cut up, the checksum that of the route's end.
#[test]
fn packets_with_options() {
    let segment = Segment {
        flags: Flags::ACK,
        ..syn()
    };
    let data = [7u8; 5000];
    for list in ["01010101", "830b04c6336402cb0071c800", &"01".repeat(40)] {
        let list = IpOptions::received(&bytes(list));
        let mut out = [0; MAX_HEADERS];
        for (checksum, verified) in [(Checksum::Full, false), (Checksum::Partial, true)] {
            let header = IpHeader {
                tos: 8,
                options: &list,
                ..IpHeader::between(A4, B4)
            };
            let (len, ip_len) = emit_tcp(&header, &segment, &[&data], checksum, &mut out);
            assert_eq!(ip_len, 20 + list.as_bytes().len());
            let whole = [&out[..len], &data[..]].concat();
            match parse(&whole, verified) {
                Ok(Packet::Tcp {
                    src,
                    dst,
                    payload,
                    tos,
                    ip_options,
                    ..
                }) => {
                    assert_eq!((src, dst, tos), (A4, B4, 8));
                    assert_eq!((payload, ip_options), (len, list.as_bytes()));
                }
                other => panic!("{other:?}"),
            }
            let cut = Cut::of(&whole, 1000).unwrap();
            assert_eq!(cut.pieces(), 5);
            let mut piece = [0; 2000];
            for n in 0..5 {
                let len = cut.write(&whole, &(n..n + 1), &mut piece).unwrap();
                let parsed = parse(&piece[..len], false);
                let Ok(Packet::Tcp { ip_options, .. }) = parsed else {
                    panic!("{parsed:?}");
                };
                assert_eq!(ip_options, list.as_bytes());
            }
            let mut whole = whole;
            allow_fragments(&mut whole);
            assert_eq!(whole[6], 0);
            assert!(parse(&whole, verified).is_ok());
        }
    }
}

#[test]
fn options_count_for_nothing_in_ipv6() {
    let route = IpOptions::received(&bytes("8307080a000003"));
    assert!(route.has_route());
    let segment = Segment::default();
    let addresses = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    let emitted = |options| {
        let header = IpHeader {
            options,
            ..IpHeader::between(addresses.0, addresses.1)
        };
        let mut out = [0; MAX_HEADERS];
        let lengths = emit_tcp(&header, &segment, &[b"data"], Checksum::Full, &mut out);
        (lengths, out)
    };
    assert_eq!(emitted(&route), emitted(&IpOptions::NONE));
}
