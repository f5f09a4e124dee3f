//! Claims that take two hosts. The tested one is a namespace of its own on the kernel's side,
//! and the stack behind `utcp0` on the library's; the peer is the kernel at `utcp0`'s other end.

mod harness;

use harness::capture::Segment;
use harness::netns::{PEER, PEER6, TESTED, TESTED6};
use harness::{Scenario, Step};

/// INADDR_ANY serves the address that another host reaches.
#[test]
fn claim04_any_address() {
    let steps = [
        Step::c("claim04")
            .env("LOCAL", TESTED)
            .env("LOCAL6", TESTED6)
            .env("PEER_COMES", "2")
            .background(),
        Step::c("claim04")
            .args(&format!("peer {TESTED} {TESTED6}"))
            .at_peer(),
    ];
    harness::check("claim04_any_address", &Scenario::two_hosts(steps));
}

/// Refused, silent, unreachable in each way a router can say it.
#[test]
fn claim16_connect_fails() {
    let addresses = format!(
        "{PEER} {PEER6} 203.0.113.1 203.0.113.2 203.0.113.3 203.0.113.99 \
         fd75:7463:7000:f::1 fd75:7463:7000:f::2 fd75:7463:7000:f::3 fd75:7463:7001::1"
    );
    let steps = [
        Step::c("claim16").args(&addresses),
        // A neighbour that doesn't answer: its router gives up after three seconds.
        Step::c("claim16").args("192.0.2.66").env("SYNCNT", "2"),
    ];
    harness::check("claim16_connect_fails", &Scenario::two_hosts(steps));
}

/// The other host falls silent, or becomes unreachable: claims 21, 27 and 28.
#[test]
fn claim21_27_28_silence() {
    let steps = [
        Step::c("hosts_silence").args("peer").at_peer().background(),
        Step::c("hosts_silence"),
    ];
    harness::check("claim21_27_28_silence", &Scenario::two_hosts(steps));
}

/// SYN_RCVD, data with the handshake's last ACK, and answers to what isn't expected.
#[test]
fn claim09_12_by_hand() {
    let steps = [
        Step::c("hosts_raw").background(),
        Step::c("hosts_raw").args("peer").at_peer(),
    ];
    harness::check("claim09_12_by_hand", &Scenario::two_hosts(steps));
}

/// More handshakes at once than the listener's queue holds (RFC 4987, section 3.6).
// RFC 4987 S3.6-1, S3.6-2
#[test]
fn syn_cookies() {
    let steps = [
        Step::c("hosts_cookies").background(),
        Step::c("hosts_cookies").args("peer").at_peer(),
    ];
    harness::check("syn_cookies", &Scenario::two_hosts(steps));
}

/// IP packets in pieces (RFC 791, section 3.2).
#[test]
fn fragments() {
    let steps = [
        Step::c("hosts_fragments").background(),
        Step::c("hosts_fragments").args("peer").at_peer(),
    ];
    harness::check("fragments", &Scenario::two_hosts(steps));
}

/// IP options of SYNs and of sockets (RFC 791, section 3.1), as they are on the wire.
// RFC 1122 S3.2.1.8-1, S3.2.1.8-2, S3.2.1.8-4
// RFC 9293 MUST-51, MUST-52, MUST-53
#[test]
fn ip_options() {
    let steps = [
        Step::c("hosts_ipoptions").background(),
        Step::c("hosts_ipoptions").args("peer").at_peer(),
    ];
    harness::check("ip_options", &Scenario::two_hosts(steps));
}

fn sink(test: &str, address: &str) {
    let steps = [
        Step::c("claim25").args("sink 2").at_peer().background(),
        Step::c("claim25").env("SINK", address),
    ];
    harness::check(test, &Scenario::two_hosts(steps).inspect(in_mss));
}

/// Nothing on the wire is larger than the MTU allows, and full segments are the rule.
fn in_mss(segments: &[Segment]) -> Result<(), String> {
    // The second connection's was set to 600.
    for (connection, v4, v6) in [(0, 1448, 1428), (1, 588, 588)] {
        let sizes: Vec<usize> = segments
            .iter()
            .filter(|s| s.connection == connection && s.forward && s.len > 0)
            .map(|s| s.piece)
            .collect();
        let largest = sizes.iter().max().copied().unwrap_or(0);
        if largest != v4 && largest != v6 {
            return Err(format!(
                "connection {connection}: the largest was {largest} bytes"
            ));
        }
        let full = sizes.iter().filter(|s| **s == largest).count();
        if full * 2 < sizes.len() {
            return Err(format!(
                "connection {connection}: {full} full of {}",
                sizes.len()
            ));
        }
    }
    Ok(())
}

/// Sequence numbers begin anywhere, but higher in each further life of a pair of ports.
fn random_isn(segments: &[Segment]) -> Result<(), String> {
    let of = |answer: bool| -> Vec<u32> {
        let mut all: Vec<(usize, u32)> = segments
            .iter()
            .filter(|s| (s.flags & 16 != 0) == answer)
            .filter_map(|s| Some((s.connection, s.isn?)))
            .collect();
        all.dedup();
        all.into_iter().map(|(_, isn)| isn).collect()
    };
    for (who, isns) in [("client", of(false)), ("server", of(true))] {
        let (same, other) = isns.split_at(isns.len().min(20));
        if isns.len() != 40 {
            return Err(format!("{} connections", isns.len()));
        }
        if same
            .windows(2)
            .any(|w| (w[1].wrapping_sub(w[0]) as i32) <= 0)
        {
            return Err(format!(
                "{who}: a life of the same ports began lower: {same:?}"
            ));
        }
        let (low, high) = (other.iter().min(), other.iter().max());
        let spread = high.zip(low).map_or(0, |(h, l)| h - l);
        if spread < 1 << 30 {
            return Err(format!("{who}: not random: {other:?}"));
        }
    }
    Ok(())
}

/// Initial sequence numbers, the tested host as the client.
#[test]
fn claim11_client() {
    let steps = [
        Step::c("claim11").args("serve").at_peer().background(),
        Step::c("claim11").args(&format!("visit {PEER}")),
    ];
    let scenario = Scenario::two_hosts(steps).inspect(random_isn);
    harness::check("claim11_client", &scenario);
}

/// The same, as the server.
#[test]
fn claim11_server() {
    let steps = [
        Step::c("claim11").args("serve").background(),
        Step::c("claim11")
            .args(&format!("visit {TESTED}"))
            .at_peer(),
    ];
    let scenario = Scenario::two_hosts(steps).inspect(random_isn);
    harness::check("claim11_server", &scenario);
}

/// What a send buffer takes at MTU 1500.
#[test]
fn claim23_send_buffer() {
    let steps = [
        Step::c("facts_sndbuf")
            .args("hold")
            .at_peer()
            .background()
            .endless(),
        Step::c("claim23").args(PEER),
    ];
    harness::check("claim23_send_buffer", &Scenario::two_hosts(steps));
}

/// A file that curl moves both ways: 64 MiB, or UTCP_TEST_TRANSFER_MIB.
#[test]
fn curl_downloads_and_uploads() {
    let mib = std::env::var("UTCP_TEST_TRANSFER_MIB");
    let mib: usize = mib.map_or(64, |v| v.parse().expect("UTCP_TEST_TRANSFER_MIB, a number"));
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("transfer");
    std::fs::create_dir_all(&dir).expect("a folder for the file");
    let file = dir.join(format!("{mib}.bin"));
    write_noise(&file, mib);
    let dir = dir.display();
    let steps = [
        Step::shell(&format!(
            "exec python3 -u -m http.server 8000 --bind :: --directory {dir}"
        ))
        .background_once("")
        .endless(),
        Step::c("http_sink").args("8001 2").background(),
        // Until Python listens.
        Step::shell(&format!(
            "for i in 1 2 3 4 5 6 7 8 9; do curl -s -o /dev/null http://{TESTED}:8000/ && break; \
             sleep 0.5; done"
        ))
        .at_peer(),
        Step::shell(&format!(
            "curl -sS http://{TESTED}:8000/{mib}.bin | cmp - {dir}/{mib}.bin && echo the same"
        ))
        .at_peer(),
        Step::shell(&format!(
            "curl -sS -g http://[{TESTED6}]:8000/{mib}.bin | cmp - {dir}/{mib}.bin && echo the same"
        ))
        .at_peer(),
        Step::shell(&format!(
            "curl -sS -T {dir}/{mib}.bin http://{TESTED}:8001/"
        ))
        .at_peer(),
        Step::shell(&format!(
            "curl -sS -g -T {dir}/{mib}.bin http://[{TESTED6}]:8001/"
        ))
        .at_peer(),
    ];
    let test = "curl_downloads_and_uploads";
    harness::check(test, &Scenario::two_hosts(steps).limit(120));
}

fn write_noise(path: &std::path::Path, mib: usize) {
    if std::fs::metadata(path).is_ok_and(|m| m.len() == (mib as u64) << 20) {
        return;
    }
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(1 << 20);
    let mut file = std::fs::File::create(path).expect("the file to move");
    for _ in 0..mib {
        bytes.clear();
        while bytes.len() < 1 << 20 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        std::io::Write::write_all(&mut file, &bytes).expect("room for the file to move");
    }
}

/// Both addresses answer to ping.
// RFC 1122 S3.1-1, S3.2.2.6-1
#[test]
fn ping() {
    let count = |address: &str| {
        Step::shell(&format!(
            "ping -n -q -c 3 -i 0.2 -W 2 {address} | grep -o '[0-9]* received'"
        ))
        .at_peer()
    };
    let steps = [
        Step::c("echo_iterative").args("- 9000 1").background(),
        count(TESTED),
        count(TESTED6),
        Step::c("echo_client")
            .args(&format!("{TESTED} 9000 hello"))
            .at_peer(),
    ];
    harness::check("ping", &Scenario::two_hosts(steps));
}

/// Echoes that come and go in fragments, and how many datagrams of a burst are answered
/// (`icmp_ratelimit`).
#[test]
fn large_pings_and_icmp_limits() {
    let ping = |size: u32, address: &str| {
        Step::shell(&format!(
            "ping -n -q -c 3 -i 0.2 -W 2 -s {size} {address} | grep -o '[0-9]* received'"
        ))
        .at_peer()
    };
    let steps = [
        Step::c("hosts_icmp").background_once("ready"),
        ping(8_000, TESTED),
        ping(8_000, TESTED6),
        ping(40_000, TESTED),
        Step::c("hosts_icmp").args(TESTED).at_peer(),
    ];
    harness::check("large_pings_and_icmp_limits", &Scenario::two_hosts(steps));
}

/// MSS 1460 at MTU 1500.
// RFC 9293 MUST-67
// RFC 1122 S3.3.3-2
#[test]
fn claim25_segment_size() {
    sink("claim25_segment_size", PEER);
}

/// MSS 1440 with IPv6.
// RFC 9293 MUST-67
#[test]
fn claim25_segment_size_v6() {
    sink("claim25_segment_size_v6", PEER6);
}

/// What sockets make of ICMP errors that a router sends.
// RFC 9293 MUST-54, MUST-47, SHLD-25
#[test]
fn claim40_icmp() {
    let addresses = format!(
        "{PEER} {PEER6} 203.0.113.2 203.0.113.3 203.0.113.99 \
         fd75:7463:7000:f::2 fd75:7463:7000:f::3 fd75:7463:7001::1"
    );
    let steps = [Step::c("claim40").args(&format!("tcp {addresses}"))];
    harness::check("claim40_icmp", &Scenario::two_hosts(steps));
}

/// Claims 10 and 30: handshakes and closes, the tested host as the client, segments compared.
#[test]
fn claim10_30_wire_client() {
    let steps = [
        Step::c("hosts_wire").args("serve 5").at_peer().background(),
        Step::c("hosts_wire").args(&format!("visit {PEER}")),
    ];
    let scenario = Scenario::two_hosts(steps).segments();
    harness::check("claim10_30_wire_client", &scenario);
}

/// The same, as the server.
#[test]
fn claim10_30_wire_server() {
    let steps = [
        Step::c("hosts_wire").args("serve 5").background(),
        Step::c("hosts_wire")
            .args(&format!("visit {TESTED}"))
            .at_peer(),
    ];
    let scenario = Scenario::two_hosts(steps).segments();
    harness::check("claim10_30_wire_server", &scenario);
}

/// The same over IPv6.
#[test]
fn claim10_30_wire_v6() {
    let steps = [
        Step::c("hosts_wire").args("serve 5").background(),
        Step::c("hosts_wire")
            .args(&format!("visit {TESTED6}"))
            .at_peer(),
    ];
    let scenario = Scenario::two_hosts(steps).segments();
    harness::check("claim10_30_wire_v6", &scenario);
}

/// An echo server on either host, with clients from both.
#[test]
fn echo_across() {
    let steps = [
        Step::c("echo_iterative").args("- 9000 3").background(),
        Step::c("echo_client")
            .args(&format!("{TESTED} 9000 hello 100"))
            .at_peer(),
        Step::c("echo_client")
            .args(&format!("{TESTED6} 9000 hello"))
            .at_peer(),
        Step::c("echo_client").args(&format!("{TESTED} 9000 self")),
        Step::c("echo_iterative")
            .args("- 9001 2")
            .at_peer()
            .background(),
        Step::c("echo_client").args(&format!("{PEER} 9001 hello 100")),
        Step::c("echo_client").args(&format!("{PEER6} 9001 hello")),
    ];
    harness::check("echo_across", &Scenario::two_hosts(steps));
}

/// SO_BINDTODEVICE: listeners and connections of one device.
#[test]
fn devices() {
    let steps = [
        Step::c("hosts_devices").at_peer().background(),
        Step::c("hosts_devices").args(&format!("{PEER} {TESTED} {TESTED6}")),
    ];
    harness::check("devices", &Scenario::two_hosts(steps));
}
