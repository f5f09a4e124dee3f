//! The host against the kernel's TCP over a TUN, in one process: bulk both ways, with the bytes
//! checked. Makes its own network namespace. `cargo run --release --example kernel_peer`
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::TcpListener;
use std::time::Instant;
use utcp_stack::addr::{Addr, Endpoint};
use utcp_stack::arena::Arena;
use utcp_stack::link::{self, Tun};
use utcp_stack::runtime::{Runtime, Wait, Woken};
use utcp_stack::stack::{Error, Family, Owner, RecvFlags, SendFlags, Shared, SockId};
use utcp_stack::tcp::Sysctl;

const TOTAL: usize = 2 << 30;

fn wait<R>(
    rt: &Runtime,
    id: SockId,
    mut f: impl FnMut(&mut utcp_stack::stack::Host<'_>) -> utcp_stack::stack::Result<R>,
) -> R {
    let w = Wait {
        sockets: &[id],
        ..Wait::default()
    };
    match rt.block(w, |h, _| match f(h) {
        Err(Error::WouldBlock | Error::Already | Error::InProgress) => None,
        r => Some(r),
    }) {
        Woken::Ready(r) => r.expect("call"),
        _ => unreachable!(),
    }
}

fn main() {
    // SAFETY: no pointers.
    assert_eq!(
        unsafe { libc::unshare(libc::CLONE_NEWNET) },
        0,
        "needs root"
    );
    let tun = Tun::create("utcp0", false).expect("tun");
    let setup = link::config::Setup {
        ipv4: Some(([198, 18, 0, 1].into(), 24)),
        ipv6: None,
        mtu: 1500,
        queue_len: link::config::QUEUE_LEN,
    };
    link::config::configure("utcp0", &setup).expect("configure");
    let arena = Arena::<Shared>::private().expect("memory");
    {
        let mut s = arena.lock();
        s.config.addr4 = Addr::v4([198, 18, 0, 2].into());
        s.config.prefix4 = 24;
        s.config.mtu = 1500;
        s.config.has_device = true;
        s.config.offload = true;
    }
    let rt = Runtime::over(arena, Some(tun)).expect("descriptors");
    let listener = TcpListener::bind("198.18.0.1:7000").expect("listen");
    let peer = std::thread::spawn(move || {
        let (mut s, _) = listener.accept().expect("accept");
        let mut buf = vec![0u8; 1 << 20];
        let (mut got, mut sum) = (0usize, 0u64);
        while got < TOTAL {
            let n = s.read(&mut buf).expect("read");
            assert!(n > 0, "early end after {got}");
            // Every 4,099th byte counts.
            let first = (4099 - got % 4099) % 4099;
            for b in buf[..n].iter().skip(first).step_by(4099) {
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(*b));
            }
            got += n;
        }
        let mut sent = 0;
        while sent < TOTAL {
            sent += s.write(&buf[..(TOTAL - sent).min(1 << 20)]).expect("write");
        }
        sum
    });
    let id = rt
        .enter()
        .create(Family::V4, Owner::default(), &Sysctl::default())
        .expect("socket");
    let _ = rt
        .enter()
        .connect(id, Endpoint::new(Addr::v4([198, 18, 0, 1].into()), 7000));
    wait(&rt, id, |h| h.connect_result(id));
    let block: Vec<u8> = (0..1 << 20).map(|i| (i / 3) as u8).collect();
    let (start, mut sent) = (Instant::now(), 0);
    while sent < TOTAL {
        let at = sent % block.len();
        let data = [IoSlice::new(&block[at..])];
        sent += wait(&rt, id, |h| h.send(id, &data, 0, SendFlags::default()));
    }
    let mut expected = 0u64;
    for i in (0..TOTAL).step_by(4099) {
        expected = expected
            .wrapping_mul(31)
            .wrapping_add(u64::from(block[i % block.len()]));
    }
    println!(
        "out: {:.1} Gbit/s",
        TOTAL as f64 * 8e-9 / start.elapsed().as_secs_f64()
    );
    let (start, mut got, mut buf) = (Instant::now(), 0, vec![0u8; 1 << 18]);
    while got < TOTAL {
        let n = wait(&rt, id, |h| {
            h.recv(id, &mut [IoSliceMut::new(&mut buf)], RecvFlags::default())
        });
        got += n;
    }
    println!(
        "in: {:.1} Gbit/s",
        TOTAL as f64 * 8e-9 / start.elapsed().as_secs_f64()
    );
    assert_eq!(peer.join().expect("peer"), expected, "bytes differ");
    let s = rt.enter();
    println!("{:?} {:?}", s.sh.counters, s.info(id).expect("info"));
}
