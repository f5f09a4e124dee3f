use super::*;

fn parse(variables: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
    Config::parse(variables.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())))
}

fn lines(variables: &[(&str, &str)]) -> Vec<String> {
    parse(variables)
        .unwrap_err()
        .iter()
        .map(Mistake::to_string)
        .collect()
}

#[test]
fn nothing_set() {
    let config = parse(&[("PATH", "/bin"), ("UTCP_ADDR", "")]).unwrap();
    assert_eq!(config, Config::default());
    let zero = config.addresses(0);
    assert_eq!(zero.addr.addr.to_string(), "198.18.0.2");
    assert_eq!(zero.addr.prefix, 24);
    assert_eq!(zero.gateway.to_string(), "198.18.0.1");
    let (addr6, gateway6) = zero.v6.unwrap();
    assert_eq!(addr6.addr.to_string(), "fd75:7463:7000::2");
    assert_eq!(addr6.prefix, 64);
    assert_eq!(gateway6.to_string(), "fd75:7463:7000::1");
    let seven = config.addresses(7);
    assert_eq!(seven.addr.addr.to_string(), "198.18.7.2");
    assert_eq!(seven.v6.unwrap().1.to_string(), "fd75:7463:7000:7::1");
    assert_eq!(Config::device(7), "utcp7");
}

// RFC 1122 S3.3.1.6-1
#[test]
fn everything_set() {
    let variables = [
        ("UTCP_STACK", "web-1.a_b"),
        ("UTCP_TUN", "mytun"),
        ("UTCP_ADDR", "10.1.2.3/16"),
        ("UTCP_ADDR6", "2001:db8::3/48"),
        ("UTCP_GATEWAY", "10.1.255.254"),
        ("UTCP_GATEWAY6", "2001:db8::ffff"),
        ("UTCP_MTU", "9000"),
        ("UTCP_OFFLOAD", "0"),
    ];
    let config = parse(&variables).unwrap();
    assert_eq!(config.stack, "web-1.a_b");
    assert_eq!(config.tun.as_deref(), Some("mytun"));
    assert_eq!(config.mtu, Some(9000));
    assert!(!config.offload);
    let addresses = config.addresses(3);
    assert_eq!(addresses.addr.addr.to_string(), "10.1.2.3");
    assert_eq!(addresses.gateway.to_string(), "10.1.255.254");
    assert_eq!(addresses.v6.unwrap().1.to_string(), "2001:db8::ffff");
}

#[test]
fn environment_and_back() {
    let config = parse(&[
        ("UTCP_STACK", "a"),
        ("UTCP_ADDR", "10.0.0.9/8"),
        ("UTCP_GATEWAY", "10.0.0.1"),
        ("UTCP_OFFLOAD", "off"),
    ])
    .unwrap();
    for config in [config, Config::default()] {
        let variables = config.to_environment();
        let pairs: Vec<_> = variables
            .iter()
            .map(|v| v.split_once('=').unwrap())
            .collect();
        assert_eq!(parse(&pairs).unwrap(), config);
    }
}

#[test]
fn the_other_side_is_found() {
    let gateway = |addr| {
        let config = parse(&[("UTCP_ADDR", addr)]).unwrap();
        config.addresses(0).gateway.to_string()
    };
    assert_eq!(gateway("10.0.0.9/24"), "10.0.0.1");
    assert_eq!(gateway("10.0.0.1/24"), "10.0.0.2");
    assert_eq!(gateway("10.0.0.1/8"), "10.0.0.2");
    assert_eq!(gateway("10.0.0.0/31"), "10.0.0.1");
    assert_eq!(gateway("10.0.0.1/31"), "10.0.0.0");
}

#[test]
fn small_links_have_no_ipv6() {
    assert!(
        parse(&[("UTCP_MTU", "1279")])
            .unwrap()
            .addresses(0)
            .v6
            .is_none()
    );
    assert!(
        parse(&[("UTCP_MTU", "1280")])
            .unwrap()
            .addresses(0)
            .v6
            .is_some()
    );
}

#[test]
fn mistakes_are_one_line_each() {
    for (variable, value, says) in [
        ("UTCP_STACK", "a/b", "1 to 40 letters"),
        (
            "UTCP_STACK",
            "0123456789012345678901234567890123456789x",
            "1 to 40",
        ),
        ("UTCP_TUN", "tun%d", "no space, slash"),
        ("UTCP_TUN", "tun0", "make a device of their own"),
        ("UTCP_TUN", "0123456789abcdef", "1 to 15"),
        ("UTCP_ADDR", "198.18.0.2", "prefix is missing"),
        ("UTCP_ADDR", "198.18.0/24", "like 198.18.0.2/24"),
        ("UTCP_ADDR", "198.18.0.2/32", "1 to 31"),
        ("UTCP_ADDR", "198.18.0.2/-1", "1 to 31"),
        ("UTCP_ADDR", "127.0.0.5/8", "no host"),
        ("UTCP_ADDR6", "fe80::1", "prefix is missing"),
        ("UTCP_ADDR6", "::ffff:1.2.3.4/96", "belongs in UTCP_ADDR"),
        ("UTCP_GATEWAY", "nowhere", "not an IPv4 address"),
        ("UTCP_GATEWAY6", "198.18.0.1", "not an IPv6 address"),
        ("UTCP_MTU", "100", "from 576 to 65535"),
        ("UTCP_MTU", "70000", "from 576 to 65535"),
        ("UTCP_MTU", "big\nbig", "from 576 to 65535"),
        ("UTCP_OFFLOAD", "maybe", "1 (on) or 0 (off)"),
    ] {
        let lines = lines(&[(variable, value)]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(variable), "{lines:?}");
        assert!(lines[0].contains(says), "{lines:?} should say {says:?}");
        assert!(!lines[0].contains('\n'));
    }
    assert_eq!(lines(&[("UTCP_MTU", "x"), ("UTCP_ADDR", "y")]).len(), 2);
}

#[test]
fn gateways_are_neighbours() {
    let addr = ("UTCP_ADDR", "10.0.0.2/24");
    let line = |gateway| lines(&[addr, ("UTCP_GATEWAY", gateway)]).remove(0);
    assert!(line("10.0.1.1").contains("outside the network"));
    assert!(line("10.0.0.2").contains("UTCP_ADDR itself"));
    assert!(parse(&[addr, ("UTCP_GATEWAY", "10.0.0.77")]).is_ok());
    assert!(lines(&[("UTCP_GATEWAY", "10.0.0.1")])[0].contains("needs UTCP_ADDR"));
    let lines = lines(&[
        ("UTCP_ADDR6", "2001:db8::2/64"),
        ("UTCP_GATEWAY6", "2001:db8:1::1"),
    ]);
    assert!(lines[0].contains("outside"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(which in 0usize..8, value in "\\PC{0,20}") {
        if let Err(mistakes) = parse(&[(VARIABLES[which], &value)]) {
            assert!(!mistakes[0].to_string().contains('\n'));
        }
    }
}
