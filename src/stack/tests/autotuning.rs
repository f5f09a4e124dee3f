//! Buffers that size themselves.

use super::packets::{PEER, US};
use super::rules::*;
use super::*;
use crate::stack::Opt;
use crate::tcp::Options;

/// A send buffer for which the program waits grows with the congestion window up to `tcp_wmem`'s
/// last, but for one whose size was set (Linux: `tcp_sndbuf_expand`).
#[test]
fn send_buffers_grow_with_the_window() {
    for set in [false, true] {
        let mut host = host();
        let c = host.with(|h| {
            let sysctl = Sysctl {
                tcp_wmem: [4096, 16_384, 600_000],
                ..Sysctl::default()
            };
            let c = h.create(Family::V4, Owner::default(), &sysctl).unwrap();
            if set {
                h.set_option(c, Opt::SndBuf, 20_000).unwrap();
            }
            let to = Endpoint::new(Addr::v4(PEER), 80);
            assert_eq!(h.connect(c, to), Err(Error::InProgress));
            c
        });
        let syn = sent(&mut host).pop().unwrap().0;
        let offers = Options {
            mss: Some(1460),
            wscale: Some(10),
            ..Options::default()
        };
        give(&mut host, PEER.into(), US.into(), answer(&syn, offers));
        sent(&mut host);
        let mut sizes = Vec::new();
        for _ in 0..12 {
            sizes.push(host.with(|h| {
                while send(h, c, &[0; 5000]).is_ok() {}
                h.get_option(c, Opt::SndBuf).unwrap()
            }));
            host.now = host.now + Duration::from_millis(20);
            while let Some((last, _)) = sent(&mut host).pop() {
                let ack = answer(&last, Options::default());
                give(&mut host, PEER.into(), US.into(), ack);
            }
        }
        if set {
            assert!(sizes.iter().all(|n| *n == 40_000), "{sizes:?}");
            continue;
        }
        assert!(sizes.is_sorted() && sizes[0] < 100_000, "{sizes:?}");
        assert_eq!(sizes.last(), Some(&600_000), "{sizes:?}");
    }
}
