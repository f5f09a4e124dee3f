use super::*;

fn items(words: &str) -> Vec<Item> {
    words.split_whitespace().map(Item::exact).collect()
}

/// `a=a`, `b!c`, `-~d`.
fn shown(pairs: &[Pair]) -> String {
    let text = |i: &Option<Item>| i.as_ref().map_or("-".to_owned(), |i| i.text.clone());
    let line = |p: &Pair| {
        let mark = match p.verdict {
            Verdict::Same => '=',
            Verdict::Varies => '~',
            Verdict::Differs => '!',
        };
        format!("{}{mark}{}", text(&p.left), text(&p.right))
    };
    pairs.iter().map(line).collect::<Vec<_>>().join(" ")
}

#[test]
fn lists_are_aligned_on_what_they_share() {
    let diff = |l, r| shown(&align(&items(l), &items(r)));
    assert_eq!(diff("a b c", "a b c"), "a=a b=b c=c");
    assert_eq!(diff("a b c", "a x c"), "a=a b!x c=c");
    assert_eq!(diff("a b c", "a c"), "a=a b!- c=c");
    assert_eq!(diff("", "a b"), "-!a -!b");
    assert_eq!(diff("a b c d", "c d e"), "a!- b!- c=c d=d -!e");
}

#[test]
fn what_is_optional_may_be_missing() {
    let mut left = items("a b c");
    left[1].optional = true;
    assert_eq!(shown(&align(&left, &items("a c"))), "a=a b~- c=c");
    assert_eq!(shown(&align(&left, &items("a x c"))), "a=a b~- -!x c=c");
}

#[test]
fn what_is_loose_may_differ() {
    let (mut left, right) = (items("a"), items("a"));
    left[0].loose = "512".to_owned();
    assert_eq!(shown(&align(&left, &right)), "a~a");
}

fn segment(side: Side, flags: Flags, ack: u32, win: u16, mss: Option<u16>) -> Step {
    Step {
        time: 0,
        pid: 0,
        side,
        connection: Some(1),
        act: Act::Segment(Arrow {
            flags,
            seq: 1,
            ack: Some(ack),
            win,
            urg: None,
            options: Options {
                mss,
                ts: Some((u32::from(win), 0)),
                ..Options::default()
            },
            len: 0,
            retransmit: false,
        }),
    }
}

fn differences(left: &[Step], right: &[Step], level: Level) -> (usize, usize) {
    let names = Names::default();
    let sections = compare((left, &names), (right, &names), level);
    let count = |v| sections.iter().map(|s| s.count(v)).sum();
    (count(Verdict::Differs), count(Verdict::Varies))
}

#[test]
fn windows_count_in_a_syn_only() {
    let side = Side::Client;
    for (flags, want) in [(Flags::SYN, (1, 0)), (Flags::FIN, (0, 1))] {
        let (a, b) = (
            segment(side, flags, 5, 100, None),
            segment(side, flags, 5, 200, None),
        );
        assert_eq!(differences(&[a], &[b], Level::Segments), want);
    }
}

#[test]
fn options_count_unless_the_device_is_another() {
    let (a, b) = (
        segment(Side::Server, Flags::SYN, 1, 100, Some(65495)),
        segment(Side::Server, Flags::SYN, 1, 100, Some(1460)),
    );
    let (a, b) = (&[a], &[b]);
    assert_eq!(differences(a, b, Level::Segments), (1, 0));
    assert_eq!(differences(a, b, Level::Behaviour), (0, 1));
}

#[test]
fn acks_alone_depend_on_timing_but_not_the_handshakes() {
    let ack = |n| segment(Side::Client, Flags::ACK, n, 1, None);
    assert_eq!(differences(&[ack(9)], &[], Level::Segments), (0, 1));
    assert_eq!(differences(&[ack(1)], &[], Level::Segments), (1, 0));
}

#[test]
fn the_order_of_independent_things_does_not_count() {
    let (a, b) = (
        segment(Side::Client, Flags::FIN, 5, 1, None),
        segment(Side::Server, Flags::FIN, 5, 1, None),
    );
    let (one, two) = ([a.clone(), b.clone()], [b, a]);
    assert_eq!(differences(&one, &two, Level::Segments), (0, 0));
}

#[test]
fn names_are_hidden_as_whole_words() {
    let names = Names {
        ports: vec![40000],
        addresses: vec![("198.18.0.2".parse().unwrap(), "SERVER")],
    };
    let hide = |t| names.hide(t);
    assert_eq!(
        hide("accept(3, 198.18.0.2:40000)"),
        "accept(3, SERVER:PORT)"
    );
    assert_eq!(hide("write(3, \"140000\", 6)"), "write(3, \"140000\", 6)");
    assert_eq!(hide("htons(40000)"), "htons(PORT)");
    assert_eq!(hide("서버 198.18.0.20"), "서버 198.18.0.20");
}
