use super::*;
use crate::model::{Call, Options, state_text};

const CLIENT: &str = "127.0.0.1:40000";
const SERVER: &str = "127.0.0.1:9000";

/// `> S 0 0 0`: from the client (>) or the server (<), flags, seq, ack, length.
fn segment(line: &str) -> Event {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [way, letters, seq, ack, len] = words[..] else {
        panic!("{line}")
    };
    let (src, dst) = if way == ">" {
        (CLIENT, SERVER)
    } else {
        (SERVER, CLIENT)
    };
    let bit = |c| match c {
        'S' => Flags::SYN,
        'F' => Flags::FIN,
        'R' => Flags::RST,
        'P' => Flags::PSH,
        _ => Flags::ACK,
    };
    // Far up, so that the numbers wrap on the way.
    let base: u32 = u32::MAX - 2;
    event(What::Segment(Segment {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        flags: letters.chars().map(bit).fold(Flags::NONE, Flags::with),
        seq: base.wrapping_add(seq.parse().unwrap()),
        ack: base.wrapping_add(ack.parse().unwrap()),
        win: 0,
        urg: 0,
        len: len.parse().unwrap(),
        options: Options::default(),
        retransmit: false,
    }))
}

fn event(what: What) -> Event {
    Event {
        time: 0,
        pid: 5,
        tid: 5,
        socket: 0,
        what,
    }
}

fn returned(name: &str, fd: i32, args: &str, ret: i64, errno: i32) -> Event {
    let (name, args) = (name.to_owned(), args.to_owned());
    event(What::Return {
        call: Call { name, fd, args },
        ret,
        errno,
        local: None,
    })
}

/// The states that the client went through, and the server.
fn path(events: &[Event]) -> (String, String) {
    let mut paths = (Vec::new(), Vec::new());
    for e in with_states(events, |_| true) {
        if let What::State {
            old, new, local, ..
        } = e.what
        {
            let list = if local == Some(CLIENT.parse().unwrap()) {
                &mut paths.0
            } else {
                &mut paths.1
            };
            if list.last() != Some(&state_text(old)) {
                list.push(state_text(old));
            }
            list.push(state_text(new));
        }
    }
    (paths.0.join(" "), paths.1.join(" "))
}

fn segments(script: &[&str]) -> (String, String) {
    path(&script.iter().map(|l| segment(l)).collect::<Vec<_>>())
}

const OPEN: [&str; 3] = ["> S 0 0 0", "< S. 0 1 0", "> . 1 1 0"];

fn after_open(script: &[&str]) -> (String, String) {
    let (client, server) = segments(&[&OPEN, script].concat());
    let strip = |s: &str, prefix: &str| s.strip_prefix(prefix).unwrap_or(s).to_owned();
    (
        strip(&client, "CLOSED SYN_SENT ESTABLISHED "),
        strip(&server, "LISTEN SYN_RCVD ESTABLISHED "),
    )
}

#[test]
fn three_way_handshake() {
    let (client, server) = segments(&OPEN);
    assert_eq!(client, "CLOSED SYN_SENT ESTABLISHED");
    assert_eq!(server, "LISTEN SYN_RCVD ESTABLISHED");
}

#[test]
fn states_stand_where_they_change() {
    let events: Vec<Event> = OPEN.iter().map(|l| segment(l)).collect();
    let shape: String = with_states(&events, |_| true)
        .iter()
        .map(|e| match &e.what {
            What::Segment(_) => '-',
            What::State { local, .. } if *local == Some(CLIENT.parse().unwrap()) => 'c',
            _ => 's',
        })
        .collect();
    assert_eq!(shape, "c-s-c-s");
}

#[test]
fn close_in_four_segments() {
    let (client, server) = after_open(&["< F. 1 1 0", "> . 1 2 0", "> F. 1 2 0", "< . 2 2 0"]);
    assert_eq!(server, "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT");
    assert_eq!(client, "CLOSE_WAIT LAST_ACK CLOSED");
}

#[test]
fn close_in_three_segments() {
    let (client, server) = after_open(&["< F. 1 1 0", "> F. 1 2 0", "< . 2 2 0"]);
    assert_eq!(server, "FIN_WAIT_1 TIME_WAIT");
    assert_eq!(client, "CLOSE_WAIT LAST_ACK CLOSED");
}

#[test]
fn simultaneous_close() {
    let (client, server) = after_open(&["> F. 1 1 0", "< F. 1 1 0", "> . 2 2 0", "< . 2 2 0"]);
    // On this link the client's FIN is there before the server sends its own.
    assert_eq!(client, "FIN_WAIT_1 CLOSING TIME_WAIT");
    assert_eq!(server, "CLOSE_WAIT LAST_ACK CLOSED");
}

#[test]
fn simultaneous_open() {
    let (client, server) = segments(&["> S 0 0 0", "< S 0 0 0", "> S. 0 1 0", "< S. 0 1 0"]);
    assert_eq!(client, "CLOSED SYN_SENT SYN_RCVD ESTABLISHED");
    assert_eq!(server, "CLOSED SYN_SENT SYN_RCVD ESTABLISHED");
}

#[test]
fn refused() {
    let mut events = vec![segment("> S 0 0 0"), segment("< R. 0 1 0")];
    events.push(returned(
        "connect",
        3,
        "127.0.0.1:9000",
        -1,
        libc::ECONNREFUSED,
    ));
    let (client, server) = path(&events);
    assert_eq!(client, "CLOSED SYN_SENT CLOSED");
    assert_eq!(server, "");
}

#[test]
fn nobody_answers() {
    let events = [
        segment("> S 0 0 0"),
        segment("> S 0 0 0"),
        returned(
            "connect",
            3,
            "{AF_INET, 127.0.0.1:9000}, 16",
            -1,
            libc::ETIMEDOUT,
        ),
    ];
    assert_eq!(path(&events).0, "CLOSED SYN_SENT CLOSED");
}

#[test]
fn reset_ends_both() {
    let (client, server) = after_open(&["> R. 1 1 0"]);
    assert_eq!((client.as_str(), server.as_str()), ("CLOSED", "CLOSED"));
}

#[test]
fn a_fin_ahead_of_its_data_waits() {
    let (client, _) = after_open(&["< F. 11 1 0", "> . 1 1 0"]);
    assert_eq!(client, "CLOSED SYN_SENT ESTABLISHED");
    let (client, server) = after_open(&["< F. 11 1 0", "< P. 1 1 10", "> . 1 12 0"]);
    assert_eq!(client, "CLOSE_WAIT");
    assert_eq!(server, "FIN_WAIT_1 FIN_WAIT_2");
}

#[test]
fn retransmissions_change_nothing() {
    let once = after_open(&["< F. 1 1 0", "> . 1 2 0"]);
    let twice = after_open(&["< F. 1 1 0", "< F. 1 1 0", "> . 1 2 0", "> . 1 2 0"]);
    assert_eq!(once, twice);
}

#[test]
fn the_same_pair_again() {
    let all = ["> F. 1 1 0", "< F. 1 2 0", "> . 2 2 0", "> S 90 0 0"];
    let (client, _) = after_open(&all);
    assert_eq!(client, "FIN_WAIT_1 TIME_WAIT CLOSED SYN_SENT");
}

#[test]
fn a_listener_comes_and_goes() {
    let open = [
        returned("bind", 3, "{AF_INET, 0.0.0.0:9000}, 16", 0, 0),
        returned("listen", 3, "5", 0, 0),
    ];
    let closed = returned("close", 3, "", 0, 0);
    let exit = event(What::Exit {
        status: "0".to_owned(),
    });
    for end in [closed, exit] {
        let events = with_states(&[&open[..], &[end]].concat(), |_| true);
        let found: Vec<_> = events
            .iter()
            .filter_map(|e| match e.what {
                What::State {
                    old, new, local, ..
                } => Some((old, new, local)),
                _ => None,
            })
            .collect();
        let local = "0.0.0.0:9000".parse().ok();
        let want = [
            (State::Closed, State::Listen, local),
            (State::Listen, State::Closed, local),
        ];
        assert_eq!(found, want);
    }
}

#[test]
fn addresses_in_arguments() {
    let find = |args| find_address(args).map(|a| a.to_string());
    assert_eq!(
        find("{AF_INET, 127.0.0.1:80}, 16").as_deref(),
        Some("127.0.0.1:80")
    );
    assert_eq!(
        find("[::ffff:127.0.0.1]:80, 28").as_deref(),
        Some("127.0.0.1:80")
    );
    assert_eq!(find("[::1]:80, 28").as_deref(), Some("[::1]:80"));
    assert_eq!(find("\"abc\", 3"), None);
}

#[test]
fn a_connection_already_open_is_left_alone() {
    assert_eq!(segments(&["> P. 5 5 10", "< . 5 15 0"]), Default::default());
}
