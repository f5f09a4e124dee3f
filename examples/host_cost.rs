//! What the host costs without descriptors and waiting: a byte there and back, and bulk, over
//! the loopback inside one process. `cargo run --release --example host_cost`
use std::io::{IoSlice, IoSliceMut};
use utcp_stack::addr::{Addr, Endpoint};
use utcp_stack::arena::Arena;
use utcp_stack::runtime::Runtime;
use utcp_stack::stack::{Family, Owner, RecvFlags, SendFlags, Shared};
use utcp_stack::tcp::Sysctl;

fn main() {
    let runtime =
        Runtime::over(Arena::<Shared>::private().expect("memory"), None).expect("descriptors");
    let (client, server) = {
        let mut h = runtime.enter();
        let l = h
            .create(Family::V4, Owner::default(), &Sysctl::default())
            .expect("socket");
        let to = Endpoint::new(Addr::v4([127, 0, 0, 1].into()), 9000);
        h.bind(l, to, true).expect("bind");
        h.listen(l, 5).expect("listen");
        let c = h
            .create(Family::V4, Owner::default(), &Sysctl::default())
            .expect("socket");
        let _ = h.connect(c, to);
        h.connect_result(c).expect("connect");
        (c, h.accept(l, Owner::default()).expect("accept").0)
    };
    let rounds = 300_000u32;
    let start = utcp_stack::sys::now();
    let mut byte = [0u8; 1];
    for _ in 0..rounds {
        for (from, to) in [(client, server), (server, client)] {
            let sent = runtime
                .enter()
                .send(from, &[IoSlice::new(b"x")], 0, SendFlags::default());
            assert_eq!(sent, Ok(1));
            let got =
                runtime
                    .enter()
                    .recv(to, &mut [IoSliceMut::new(&mut byte)], RecvFlags::default());
            assert_eq!(got, Ok(1));
        }
    }
    let spent = utcp_stack::sys::now().since(start);
    println!("round trip: {} ns", spent.as_nanos() / u128::from(rounds));
    let block = vec![7u8; 65536];
    let mut sink = vec![0u8; 65536];
    let (mut total, start) = (0usize, utcp_stack::sys::now());
    while total < 8 << 30 {
        let _ = runtime
            .enter()
            .send(client, &[IoSlice::new(&block)], 0, SendFlags::default());
        while let Ok(n) = runtime.enter().recv(
            server,
            &mut [IoSliceMut::new(&mut sink)],
            RecvFlags::default(),
        ) {
            total += n;
        }
    }
    let spent = utcp_stack::sys::now().since(start);
    println!(
        "bulk: {:.1} Gbit/s",
        total as f64 * 8.0 / spent.as_nanos() as f64
    );
}
