//! Bad links, a faster time and captures, live: the command, the library and the kernel.

mod harness;

use harness::build;
use harness::netns::{self, Namespace, PEER, TESTED};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use utcp_stack::config::Config;
use utcp_stack::impair::{Channel, Fate, Kind, Settings, Way};
use utcp_stack::keeper;

/// A stack's name, and commands on it.
struct Stack<'a> {
    name: String,
    here: &'a Namespace,
}

impl<'a> Stack<'a> {
    fn new(here: &'a Namespace, name: &str) -> Stack<'a> {
        let name = format!("impair-{}-{name}", std::process::id());
        Stack { name, here }
    }

    /// `utcp COMMAND --stack NAME REST`.
    fn command(&self, command: &str, rest: &str) -> Command {
        let mut c = Command::new(build::utcp());
        c.args([command, "--stack", &self.name]);
        c.args(rest.split_whitespace()).stdin(Stdio::null());
        c.env_remove("UTCP_IMPAIR").env_remove("UTCP_TIME_SCALE");
        c
    }

    fn output(&self, command: &str, rest: &str) -> Output {
        let mut c = self.command(command, rest);
        self.here.enter(|| c.output().expect("the command"))
    }

    /// Run it; what it printed.
    fn text(&self, command: &str, rest: &str) -> String {
        let got = self.output(command, rest);
        let (out, error) = (text(&got.stdout), text(&got.stderr));
        assert!(got.status.success(), "{command} {rest}: {out}{error}");
        out
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.text("impair", "--json")).expect("JSON")
    }

    /// A number of one link's counters.
    fn count(&self, link: &str, what: &str) -> u64 {
        let report = self.report();
        let links = report["links"].as_array().expect("links");
        let row = links.iter().find(|l| l["link"] == link).expect("the link");
        row[what]
            .as_u64()
            .unwrap_or_else(|| panic!("{what}: {report:#}"))
    }

    /// Keep it for as long as what this gives is kept.
    fn hold(&self) -> keeper::Attachment {
        let config = Config {
            stack: self.name.clone(),
            ..Config::default()
        };
        let attached = self.here.enter(|| keeper::attach_running(&config));
        attached.expect("the stack").expect("a stack that runs")
    }

    fn start(&self, rest: &str) -> Running {
        Running::spawn(self.here, self.command("run", rest))
    }
}

struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn spawn(here: &Namespace, mut command: Command) -> Running {
        command.stdout(Stdio::piped());
        let mut child = here.enter(|| command.spawn().expect("the command"));
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Running { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn finish(mut self) -> String {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("its output");
        let status = self.child.wait().expect("its end");
        assert!(status.success(), "{status}: {rest}");
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn program(name: &'static str) -> String {
    build::c(name).display().to_string()
}

/// A transfer on the kernel, with a server of ours; what it printed.
fn client_of_the_kernel(here: &Namespace, port: u16, bytes: u64) -> String {
    let mut c = Command::new(build::c("impair_transfer"));
    c.args(["client", TESTED, &port.to_string(), &bytes.to_string()]);
    text(&here.enter(|| c.output().expect("the client")).stdout)
}

/// A server on the kernel that waits for a client.
fn server_of_the_kernel(here: &Namespace, port: u16, bytes: u64) -> Running {
    let mut c = Command::new(build::c("impair_transfer"));
    c.args(["server", PEER, &port.to_string(), &bytes.to_string()]);
    let mut server = Running::spawn(here, c);
    assert_eq!(server.line(), "ready");
    server
}

/// Segments that TCP says it sent again.
fn sent_again(output: &str) -> u64 {
    let line = output
        .lines()
        .find(|l| l.starts_with("whole"))
        .expect(output);
    let word = line.split(' ').nth(1).and_then(|n| n.parse().ok());
    word.unwrap_or_else(|| panic!("{output}"))
}

#[test]
fn the_loopback_is_impaired_and_the_data_are_whole() {
    if netns::ran_elsewhere("the_loopback_is_impaired_and_the_data_are_whole") {
        return;
    }
    let here = Namespace::new();
    let transfer = program("impair_transfer");
    for (name, links, counters) in [
        (
            "lossy",
            "--loss 2% --delay 2ms±1ms --mtu 1500 --seed 7",
            &["lost"][..],
        ),
        (
            "mixed",
            "--reorder 2% --duplicate 2% --corrupt 1% --mtu 9000",
            &["reordered", "duplicated", "corrupted"],
        ),
        (
            "narrow",
            "--rate 100mbit --queue 20 --delay 5ms --mtu 1500",
            &["queue_full"],
        ),
        ("small", "--mtu 1400", &["too_big"]),
    ] {
        let stack = Stack::new(&here, name);
        let mut run = stack.start(&format!(
            "{links} -- {transfer} both 127.0.0.1 9000 2000000"
        ));
        assert_eq!(run.line(), "ready");
        let _held = stack.hold();
        let got = run.finish();
        for what in counters {
            assert!(stack.count("lo", what) > 0, "{links}: {:#}", stack.report());
        }
        assert!(sent_again(&got) > 0 || name == "mixed", "{links}: {got}");
        assert_eq!(stack.count("out", "packets"), 0);
    }
}

/// No privilege is needed, where no device is: links are the stack's own.
#[test]
fn an_ordinary_user_has_bad_links() {
    if netns::ran_elsewhere("an_ordinary_user_has_bad_links") {
        return;
    }
    let here = Namespace::new();
    let transfer = program("impair_transfer");
    let stack = Stack::new(&here, "ordinary");
    // In a user namespace without a map: nobody, as far as the kernel is asked for privileges.
    let unprivileged = |command: &str, rest: &str| {
        let inner = stack.command(command, rest);
        let mut c = Command::new("unshare");
        c.arg("--user")
            .arg(inner.get_program())
            .args(inner.get_args());
        c.stdin(Stdio::null());
        c.env_remove("UTCP_IMPAIR").env_remove("UTCP_TIME_SCALE");
        c
    };
    let serve = format!("--mtu 1500 --seed 7 -- {transfer} server 127.0.0.1 9000 1000000");
    let mut server = Running::spawn(&here, unprivileged("run", &serve));
    assert_eq!(server.line(), "ready");
    let mut set = unprivileged("impair", "--loss 3% --mtu 1500");
    let set = here.enter(|| set.output().expect("the command"));
    assert!(set.status.success(), "{}", text(&set.stderr));
    let send = format!("-- {transfer} client 127.0.0.1 9000 1000000");
    let client = Running::spawn(&here, unprivileged("run", &send)).finish();
    // The kernel's 127.0.0.1 loses nothing.
    assert!(sent_again(&client) > 0, "{client}");
    server.finish();
}

#[test]
fn the_device_is_impaired_both_ways() {
    if netns::ran_elsewhere("the_device_is_impaired_both_ways") {
        return;
    }
    let here = Namespace::new();
    let transfer = program("impair_transfer");
    let stack = Stack::new(&here, "device");
    let links = "--loss 1% --delay 3ms --seed 5 --on tun";
    let mut server = stack.start(&format!(
        "{links} -- {transfer} server {TESTED} 9000 4000000"
    ));
    assert_eq!(server.line(), "ready");
    let _held = stack.hold();
    let kernel = client_of_the_kernel(&here, 9000, 4_000_000);
    // Both sides: the kernel, too, saw losses.
    assert!(sent_again(&kernel) > 0, "{kernel}");
    assert!(sent_again(&server.finish()) > 0);
    for way in ["out", "in"] {
        let (packets, lost) = (stack.count(way, "packets"), stack.count(way, "lost"));
        // Segments of the wire, not the 64 KiB that the device takes.
        assert!(packets > 4_000_000 / 1448, "{way}: {:#}", stack.report());
        assert!(
            lost > packets / 300 && lost < packets / 30,
            "{lost} of {packets}"
        );
    }
    assert_eq!(stack.count("lo", "packets"), 0);

    // The kernel is told of a smaller MTU, and we tell ourselves.
    stack.text("impair", "--loss off --delay off --mtu 1300");
    let mut server = stack.start(&format!("-- {transfer} server {TESTED} 9001 300000"));
    assert_eq!(server.line(), "ready");
    let kernel = client_of_the_kernel(&here, 9001, 300_000);
    assert!(kernel.contains("whole"), "{kernel}");
    server.finish();
    for way in ["out", "in"] {
        assert!(
            stack.count(way, "too_big") > 0,
            "{way}: {:#}",
            stack.report()
        );
    }

    // And as a client of the kernel's server.
    stack.text("impair", "--clear");
    stack.text("impair", "--out --loss 3% --seed 3");
    let server = server_of_the_kernel(&here, 9002, 2_000_000);
    let got = stack.text("run", &format!("-- {transfer} client {PEER} 9002 2000000"));
    assert!(sent_again(&got) > 0, "{got}");
    server.finish();
    assert!(stack.count("out", "lost") > 0 && stack.count("in", "lost") == 0);

    // What comes alone.
    stack.text("impair", "--clear");
    stack.text("impair", "--in --loss 3% --seed 3");
    let mut server = stack.start(&format!("-- {transfer} server {TESTED} 9003 1000000"));
    assert_eq!(server.line(), "ready");
    assert!(sent_again(&client_of_the_kernel(&here, 9003, 1_000_000)) > 0);
    server.finish();
    assert!(stack.count("in", "lost") > 0 && stack.count("out", "lost") == 0);
}

/// What docs/goodput.md measures, for correctness: on links of every kind, both ways at once, each byte
/// arrives, by CUBIC and by BBR.
#[test]
fn transfers_over_links_of_every_kind_are_whole() {
    if netns::ran_elsewhere("transfers_over_links_of_every_kind_are_whole") {
        return;
    }
    let runs = [
        ("--loss 2% --delay 50ms", "cubic", 300_000, &["lost"][..]),
        ("--loss 2% --delay 50ms", "bbr slow", 2_000_000, &["lost"]),
        ("--loss 10% --delay 1ms", "cubic", 300_000, &["lost"]),
        ("--loss 10% --delay 1ms", "bbr", 2_000_000, &["lost"]),
        ("--delay 150ms", "cubic slow", 1_500_000, &[]),
        (
            "--delay 10ms --reorder 5%,4ms --duplicate 2% --corrupt 1%",
            "bbr",
            1_000_000,
            &["reordered", "duplicated", "corrupted"],
        ),
        (
            "--delay 5ms --reorder 5%,4ms --duplicate 2% --corrupt 1%",
            "cubic slow",
            1_000_000,
            &["reordered", "duplicated", "corrupted"],
        ),
        ("--gemodel 1%,30% --delay 2ms", "bbr", 1_000_000, &["lost"]),
        (
            "--delay 2ms --rate 20mbit --queue 20 --outage 100ms/400ms",
            "cubic",
            1_500_000,
            &["queue_full", "outage"],
        ),
    ];
    std::thread::scope(|s| {
        for (n, (links, how, bytes, counters)) in runs.into_iter().enumerate() {
            s.spawn(move || whole(n, links, how, bytes, counters));
        }
    });
}

/// A server of ours, a client of the kernel, and `counters` of what the links were to do to both
/// directions.
fn whole(n: usize, links: &str, how: &str, bytes: u64, counters: &[&str]) {
    let here = Namespace::new();
    let stack = Stack::new(&here, &format!("kind{n}"));
    let transfer = program("impair_transfer");
    let mut server = stack.start(&format!("-- {transfer} server {TESTED} 9000 {bytes} {how}"));
    assert_eq!(server.line(), "ready", "{links}");
    let _held = stack.hold();
    stack.text("impair", &format!("{links} --on tun --seed 4"));
    let kernel = client_of_the_kernel(&here, 9000, bytes);
    let ours = server.finish();
    assert!(kernel.starts_with("whole"), "{links}: {kernel}");
    assert!(ours.starts_with("whole"), "{links}: {ours}");
    for way in ["out", "in"] {
        let packets = stack.count(way, "packets");
        assert!(packets > bytes / 1460, "{links}, {way}: {packets}");
        for what in counters {
            let count = stack.count(way, what);
            assert!(count > 0, "{links}, {way}: no {what}");
        }
    }
}

/// Packets that are too large vanish, and nobody says so (RFC 4821): with `tcp_mtu_probing` = 1 that
/// is found out after some retransmissions, with 2 segments begin small and probes find the size.
// RFC 4821 S7.7-1, S7.6.2-1
#[test]
fn a_black_hole_is_found_out_by_probing() {
    if netns::ran_elsewhere("a_black_hole_is_found_out_by_probing") {
        return;
    }
    let here = Namespace::new();
    let transfer = program("impair_transfer");
    // The stack makes the device that has the kernel's address.
    let stack = Stack::new(&here, "hole");
    let mut first = stack.start(&format!("-- {} echo 20 50", program("impair_times")));
    first.line();
    let _held = stack.hold();
    stack.text("impair", "--out --mtu 1200 --black-hole --on tun");
    let mut lost = Vec::new();
    for (probing, port) in [(1, 9011), (2, 9012)] {
        let path = "/proc/sys/net/ipv4/tcp_mtu_probing";
        here.enter(|| std::fs::write(path, format!("{probing}")).expect(path));
        let server = server_of_the_kernel(&here, port, 300_000);
        let before = stack.count("out", "too_big");
        stack.text("run", &format!("-- {transfer} client {PEER} {port} 300000"));
        server.finish();
        lost.push(stack.count("out", "too_big") - before);
    }
    // The whole first window, and again and again; a probe or two. What TCP sent again would also
    // tell how busy this machine is.
    assert!(lost[0] >= 10 && (1..=8).contains(&lost[1]), "{lost:?}");
}

/// Each packet of a capture: its bytes, and its comment.
fn packets(path: &Path) -> Vec<(Vec<u8>, String)> {
    let file = std::fs::File::open(path).expect("the capture");
    let mut reader = PcapNgReader::new(file).expect("pcapng");
    let mut all = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(p) = block.expect("a whole block") {
            let comment = p.options.iter().find_map(|o| match o {
                EnhancedPacketOption::Comment(text) => Some(text.to_string()),
                _ => None,
            });
            all.push((p.data.to_vec(), comment.unwrap_or_default()));
        }
    }
    all
}

#[test]
fn a_seed_says_which_packets_are_lost_and_the_capture_shows_it() {
    if netns::ran_elsewhere("a_seed_says_which_packets_are_lost_and_the_capture_shows_it") {
        return;
    }
    let here = Namespace::new();
    let transfer = program("impair_transfer");
    for run in 0..2 {
        let stack = Stack::new(&here, &format!("seed{run}"));
        let file = build::scratch(&format!("seed{run}.pcapng"));
        let links = "--loss 3% --delay 1ms --mtu 1500 --seed 11";
        let file_name = file.display();
        stack.text(
            "run",
            &format!("{links} --pcap {file_name} -- {transfer} both 127.0.0.1 9000 1000000"),
        );
        let settings = Settings::parse("loss=3% delay=1ms mtu=1500 seed=11").expect("settings");
        let now = utcp_stack::time::Instant(0);
        let mut model = Channel::new(settings.out, settings.seed, Way::Loop, now);
        let mut all = packets(&file);
        // ICMP that tells of the MTU is not on the loopback's link.
        all.retain(|(packet, _)| packet[9] == 6);
        let (mut lost, mut named) = (0, 0);
        for (n, (packet, comment)) in all.iter().enumerate() {
            let kind = if utcp_stack::wire::is_bare_ack(packet) {
                Kind::Bare
            } else {
                Kind::Carrying
            };
            let dropped = matches!(model.judge(now, packet.len(), kind), Fate::Dropped(_));
            assert_eq!(
                dropped,
                comment.contains("DROPPED"),
                "packet {n}: {comment}"
            );
            lost += usize::from(comment.contains("DROPPED: lost"));
            // Both ends are this program's, while there are sockets.
            named += usize::from(comment.matches("impair_transfer (").count() == 2);
        }
        assert!(lost > 30, "{lost} of {}", all.len());
        assert!(named * 20 > all.len() * 19, "{named} of {}", all.len());
        assert_eq!(stack.count("lo", "lost"), lost as u64);
        tcpdump_reads(&file, all.len());
        let _ = std::fs::remove_file(&file);
    }
}

/// tcpdump understands the file, and finds every checksum right.
fn tcpdump_reads(file: &Path, count: usize) {
    // As nobody in particular: root would have to become the user `tcpdump`, which one who is root
    // only in a user namespace can't.
    let got = Command::new("unshare")
        .args(["--user", "tcpdump"])
        .args(["-n", "-v", "-r"])
        .arg(file)
        .arg("tcp")
        .output()
        .expect("tcpdump, of the package tcpdump: apt-get install tcpdump");
    let (shown, error) = (text(&got.stdout), text(&got.stderr));
    assert!(got.status.success(), "{error}");
    let seen = shown
        .lines()
        .filter(|l| l.contains(".9000") && l.contains("Flags"))
        .count();
    assert_eq!(seen, count, "{error}");
    assert!(
        !shown.contains("incorrect") && !shown.contains("truncated"),
        "{shown}"
    );
}

#[test]
fn captures_show_the_device_and_its_processes() {
    if netns::ran_elsewhere("captures_show_the_device_and_its_processes") {
        return;
    }
    let here = Namespace::new();
    let transfer = program("impair_transfer");
    let stack = Stack::new(&here, "capture");
    let file = build::scratch("device.pcapng");
    let mut server = stack.start(&format!(
        "--pcap {} -- {transfer} server {TESTED} 9000 500000",
        file.display()
    ));
    assert_eq!(server.line(), "ready");
    here.enter(|| {
        let mut c = Command::new(build::c("impair_transfer"));
        c.args(["client", TESTED, "9000", "500000"])
            .output()
            .expect("the client")
    });
    server.finish();
    let all = packets(&file);
    // Large segments as the device takes them; their checksums were left to it.
    assert!(all.iter().any(|(p, _)| p.len() > 10_000));
    tcpdump_reads(&file, all.len());
    let _ = std::fs::remove_file(&file);
    let of = |start: &str| all.iter().filter(|(_, c)| c.starts_with(start)).count();
    assert!(
        of("to impair_transfer (") > 5 && of("from impair_transfer (") > 5,
        "{all:?}"
    );
}

#[test]
fn links_are_shown_and_changed_live() {
    if netns::ran_elsewhere("links_are_shown_and_changed_live") {
        return;
    }
    let here = Namespace::new();
    let stack = Stack::new(&here, "live");
    let mut echo = stack.start(&format!("-- {} echo 1000 30", program("impair_times")));
    let mut rtt = |at_least: u64, below: u64| {
        // The change may come in the midst of one.
        let mut last = 0;
        for _ in 0..10 {
            last = echo.line().parse().expect("microseconds");
            if (at_least..below).contains(&last) {
                return;
            }
        }
        panic!("{last} us, not {at_least} to {below}");
    };
    rtt(0, 60_000);
    assert_eq!(stack.report()["impaired"], false);
    assert!(stack.text("impair", "").contains("perfect"));
    let shown = stack.text("impair", "--delay 40ms --seed 9");
    assert!(
        shown.contains("delay=40ms") && shown.contains("seed      9"),
        "{shown}"
    );
    rtt(80_000, 800_000);
    let report = stack.report();
    assert_eq!(report["out"]["delay"], "40ms");
    assert_eq!(report["text"], "delay=40ms seed=9");
    assert!(stack.count("lo", "packets") >= 2);
    // Others stay as they were.
    stack.text("impair", "--in --loss 1%");
    assert_eq!(stack.report()["text"], "delay=40ms in.loss=1% seed=9");
    stack.text("impair", "--clear");
    rtt(0, 60_000);
    assert_eq!(stack.report()["impaired"], false);
}

#[test]
fn time_goes_faster_for_tcp_alone() {
    if netns::ran_elsewhere("time_goes_faster_for_tcp_alone") {
        return;
    }
    let here = Namespace::new();
    let times = program("impair_times");
    let stack = Stack::new(&here, "fast");
    let got = stack.text("run", &format!("--time-scale 1000 -- {times} limits"));
    for line in got.lines() {
        let ms: u64 = line
            .split(' ')
            .nth(2)
            .and_then(|n| n.parse().ok())
            .expect(line);
        assert!((195..4000).contains(&ms), "{got}");
    }
    // TIME_WAIT takes 60 ms now, and then nothing keeps the stack.
    let end = Instant::now() + Duration::from_secs(30);
    while stack.report()["running"] == true {
        assert!(Instant::now() < end, "{}", stack.text("ss", "-a"));
        std::thread::sleep(Duration::from_millis(50));
    }
    // Two hours of silence, then nine probes 75 seconds apart: 0.79 s.
    let stack = Stack::new(&here, "silent");
    let mut silent = stack.start(&format!("--time-scale 10000 -- {times} silent"));
    assert_eq!(silent.line(), "ready");
    assert!(stack.text("impair", "").contains("10000 times as fast"));
    let begin = Instant::now();
    stack.text("impair", "--loss 100%");
    let got = silent.finish();
    assert!(got.starts_with("Connection timed out"), "{got}");
    assert!(begin.elapsed() < Duration::from_secs(60));
    // A stack has one pace.
    let mut limits = Stack::new(&here, "one").start(&format!("-- {times} echo 20 50"));
    limits.line();
    let again = Stack::new(&here, "one").output("run", "--time-scale 5 -- true");
    assert_eq!(again.status.code(), Some(2));
    let error = text(&again.stderr);
    assert!(error.contains("runs already, with time scale 1"), "{error}");
}

#[test]
fn the_environment_does_the_same_without_the_command() {
    if netns::ran_elsewhere("the_environment_does_the_same_without_the_command") {
        return;
    }
    let here = Namespace::new();
    let stack = Stack::new(&here, "environment");
    let got = here.enter(|| {
        Command::new(build::c("impair_times"))
            .args(["echo", "3"])
            .env("LD_PRELOAD", build::libutcp())
            .env("UTCP_STACK", &stack.name)
            .env("UTCP_IMPAIR", "delay=30ms")
            .output()
            .expect("the program")
    });
    let rtts: Vec<u64> = text(&got.stdout)
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect();
    assert!(
        rtts.len() == 3 && rtts.iter().all(|us| (60_000..600_000).contains(us)),
        "{rtts:?}"
    );
    assert_eq!(stack.report()["text"], "delay=30ms seed=0");
}

#[test]
fn mistakes_are_one_line_that_helps() {
    if netns::ran_elsewhere("mistakes_are_one_line_that_helps") {
        return;
    }
    let here = Namespace::new();
    let stack = Stack::new(&here, "mistakes");
    for (command, rest, part) in [
        ("run", "--loss 2 -- true", "--loss 2: it is a share"),
        ("run", "--delay 50 -- true", "needs a unit"),
        ("run", "--rate 20 -- true", "as in 20mbit"),
        ("run", "--queue 20 -- true", "without rate"),
        ("run", "--time-scale 0 -- true", "from 1 to 10000"),
        (
            "run",
            "--pcap /no/such/folder/x -- true",
            "cannot write packets to /no/such",
        ),
        ("run", "--loss 1% --in --on lo -- true", "nothing comes in"),
        ("impair", "--loss 2%", "no such stack is running here"),
        ("impair", "--outage 2s", "2s@10s"),
        ("impair", "--in", "try --in --loss 2%"),
    ] {
        let got = stack.output(command, rest);
        let error = text(&got.stderr);
        assert_eq!(got.status.code(), Some(2), "{command} {rest}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(
            error.starts_with("utcp: ") && error.contains(part),
            "{error}"
        );
    }
    assert_eq!(stack.report()["running"], false);
}

/// A RST that is on its way when its socket and the stack's last program are gone.
#[test]
fn what_has_left_arrives_after_the_end() {
    if netns::ran_elsewhere("what_has_left_arrives_after_the_end") {
        return;
    }
    let here = Namespace::new();
    let stack = Stack::new(&here, "end");
    let script = "import socket; s=socket.create_server(('0.0.0.0', 9000)); print('ready', flush=True); \
                  c,a=s.accept(); c.recv(1); \
                  c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\1\\0\\0\\0\\0\\0\\0\\0')";
    let mut c = stack.command("run", "--delay 300ms --on tun -- python3 -c");
    c.arg(script);
    let mut child = here.enter(|| c.stdout(Stdio::piped()).spawn().expect("the command"));
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut server = Running { child, out };
    assert_eq!(server.line(), "ready");
    let end = here.enter(|| {
        use std::io::Write;
        let mut c = std::net::TcpStream::connect((TESTED, 9000)).expect("a connection");
        c.write_all(b"x").expect("sent");
        c.set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a limit");
        c.read(&mut [0; 1])
    });
    let kind = end.map_err(|e| e.kind());
    assert_eq!(kind, Err(std::io::ErrorKind::ConnectionReset));
    server.finish();
}
