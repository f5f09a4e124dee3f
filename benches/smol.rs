//! The load programs on smoltcp: a single-threaded process that polls its stack and waits for
//! the device, which is how smoltcp's own examples run it.
//!
//! It has every advantage that the crate's interface gives: packet buffers are reused rather
//! than allocated, acknowledgments aren't delayed when that is faster, congestion control is off (the crate's
//! default). What it can't have is offload: no checksum and no segmentation by the device.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant as Clock};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::args::Peer;
use crate::{load, tun};

/// Bytes of each socket buffer of a bulk transfer.
const BULK_BUFFER: usize = 1 << 20;

/// The same for one byte.
const SMALL_BUFFER: usize = 4096;

/// As in load/pingpong.c.
const WARM_UP: u64 = 100;

/// As in load/crr.c: the request after which the listening side ends.
const LAST: u8 = b'q';

/// Be the end of a pair that `peer` describes.
pub fn run(peer: &Peer) -> Result<(), String> {
    let mut host = Host::new(peer).map_err(|e| format!("{}: {e}", peer.device))?;
    match (peer.program.as_str(), peer.connect) {
        ("bulk", true) => host.transmit(peer),
        ("bulk", false) => host.receive(peer),
        ("pingpong", true) => host.ping(peer),
        ("pingpong", false) => host.echo(peer),
        ("crr", true) => host.ask_often(peer),
        ("crr", false) => host.serve(peer),
        (other, _) => Err(format!("no load {other}")),
    }
}

/// A host on smoltcp.
struct Host {
    device: Device,
    iface: Interface,
    sockets: SocketSet<'static>,
    local_port: u16,
}

impl Host {
    fn new(peer: &Peer) -> std::io::Result<Host> {
        let file = tun::open(&peer.device, tun::Mode::Plain)?;
        let [own, kernel] = peer.addresses.map(Ipv4Addr::from);
        tun::configure(&peer.device, kernel, peer.mtu)?;
        let mut device = Device {
            file,
            mtu: peer.mtu,
            rx: vec![0; 65536],
            tx: vec![0; 65536],
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from(std::process::id());
        let mut iface = Interface::new(config, &mut device, Instant::now());
        // There is room for at least one address.
        iface.update_ip_addrs(|addrs| {
            addrs.push(IpCidr::new(IpAddress::Ipv4(own), 24)).ok();
        });
        let local_port = 40000 + (std::process::id() % 10000) as u16;
        Ok(Host {
            device,
            iface,
            sockets: SocketSet::new(Vec::new()),
            local_port,
        })
    }

    fn socket(&mut self, buffer: usize) -> SocketHandle {
        let new = || SocketBuffer::new(vec![0; buffer]);
        let mut socket = Socket::new(new(), new());
        socket.set_nagle_enabled(false);
        self.sockets.add(socket)
    }

    fn get(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn listen(&mut self, peer: &Peer, buffer: usize) -> Result<SocketHandle, String> {
        let handle = self.socket(buffer);
        self.get(handle)
            .listen(peer.port)
            .map_err(|e| format!("listen: {e}"))?;
        Ok(handle)
    }

    fn accept(&mut self, handle: SocketHandle) {
        self.until(handle, |s| s.may_recv() || s.can_recv());
    }

    fn connect(&mut self, peer: &Peer, buffer: usize) -> Result<SocketHandle, String> {
        let handle = self.socket(buffer);
        self.local_port = if self.local_port == u16::MAX {
            40000
        } else {
            self.local_port + 1
        };
        let remote = (Ipv4Addr::from(peer.addresses[1]), peer.port);
        let socket = self.sockets.get_mut::<Socket>(handle);
        socket
            .connect(self.iface.context(), remote, self.local_port)
            .map_err(|e| format!("connect: {e}"))?;
        self.until(handle, |s| s.may_send() || !s.is_open());
        if self.get(handle).may_send() {
            Ok(handle)
        } else {
            Err("connect: refused".to_owned())
        }
    }

    /// Run the stack until `done` says so of a socket. It is asked whenever something may have
    /// changed, and may send and receive.
    fn until(&mut self, handle: SocketHandle, mut done: impl FnMut(&mut Socket) -> bool) {
        loop {
            self.iface
                .poll(Instant::now(), &mut self.device, &mut self.sockets);
            if done(self.sockets.get_mut(handle)) {
                return;
            }
            let now = Instant::now();
            let delay = self.iface.poll_delay(now, &self.sockets);
            let wait = delay.map_or(Duration::from_secs(1), Duration::from);
            if !wait.is_zero() {
                // poll(2) counts in milliseconds; less is not worth a wait.
                load::readable(self.device.file.as_raw_fd(), wait);
            }
        }
    }

    /// Send one byte and wait for one.
    fn exchange(&mut self, handle: SocketHandle, byte: u8) -> Result<(), String> {
        self.get(handle)
            .send_slice(&[byte])
            .map_err(|e| format!("send: {e}"))?;
        match self.byte(handle) {
            Some(_) => Ok(()),
            None => Err("the other side ended".to_owned()),
        }
    }

    /// Wait for one byte; `None`: end of file.
    fn byte(&mut self, handle: SocketHandle) -> Option<u8> {
        let mut got = None;
        self.until(handle, |s| {
            let mut byte = [0];
            if let Ok(1) = s.recv_slice(&mut byte) {
                got = Some(byte[0]);
            }
            got.is_some() || !s.may_recv()
        });
        got
    }

    /// Close, and stay until the other side knows.
    fn close(&mut self, handle: SocketHandle) {
        self.get(handle).close();
        self.until(handle, |s| {
            matches!(s.state(), State::Closed | State::TimeWait)
        });
    }

    fn receive(&mut self, peer: &Peer) -> Result<(), String> {
        let handle = self.listen(peer, BULK_BUFFER)?;
        ready();
        self.accept(handle);
        let mut buf = vec![0; 65536];
        let (mut begin, mut bytes) = (None, 0);
        self.until(handle, |s| {
            while let Ok(n @ 1..) = s.recv_slice(&mut buf) {
                begin.get_or_insert_with(Clock::now);
                bytes += n;
            }
            !s.may_recv()
        });
        let seconds = begin.map_or(0.0, |b| b.elapsed().as_secs_f64());
        self.close(handle);
        println!("bytes={bytes} seconds={seconds:.6}");
        Ok(())
    }

    fn transmit(&mut self, peer: &Peer) -> Result<(), String> {
        let handle = self.connect(peer, BULK_BUFFER)?;
        let buf = vec![b'u'; peer.size];
        let begin = Clock::now();
        let end = begin + Duration::from_secs_f64(peer.seconds);
        let mut bytes = 0;
        self.until(handle, |s| {
            while let Ok(n @ 1..) = s.send_slice(&buf) {
                bytes += n;
                if Clock::now() >= end {
                    return true;
                }
            }
            Clock::now() >= end
        });
        self.get(handle).close();
        self.until(handle, |s| !s.may_recv());
        let seconds = begin.elapsed().as_secs_f64();
        self.close(handle);
        println!("bytes={bytes} seconds={seconds:.6}");
        Ok(())
    }

    fn ping(&mut self, peer: &Peer) -> Result<(), String> {
        let handle = self.connect(peer, SMALL_BUFFER)?;
        for _ in 0..WARM_UP {
            self.exchange(handle, b'u')?;
        }
        let mut samples = Samples::new(peer.seconds);
        while samples.more() {
            self.exchange(handle, b'u')?;
            samples.take();
        }
        self.get(handle).close();
        self.until(handle, |s| !s.may_recv());
        samples.report();
        Ok(())
    }

    fn echo(&mut self, peer: &Peer) -> Result<(), String> {
        let handle = self.listen(peer, SMALL_BUFFER)?;
        ready();
        self.accept(handle);
        while let Some(byte) = self.byte(handle) {
            self.get(handle)
                .send_slice(&[byte])
                .map_err(|e| format!("send: {e}"))?;
        }
        self.close(handle);
        println!("rounds=0");
        Ok(())
    }

    fn ask(&mut self, peer: &Peer, byte: u8) -> Result<SocketHandle, String> {
        let handle = self.connect(peer, SMALL_BUFFER)?;
        self.exchange(handle, byte)?;
        if self.byte(handle).is_some() {
            return Err("more than was asked for".to_owned());
        }
        self.get(handle).close();
        Ok(handle)
    }

    fn ask_often(&mut self, peer: &Peer) -> Result<(), String> {
        // As close(2) does, closing returns before the other side has acknowledged it.
        let mut closing = vec![self.ask(peer, b'u')?];
        let mut samples = Samples::new(peer.seconds);
        while samples.more() {
            closing.push(self.ask(peer, b'u')?);
            samples.take();
            self.forget_closed(&mut closing);
        }
        let last = self.ask(peer, LAST)?;
        self.until(last, |s| s.state() == State::Closed);
        samples.report();
        Ok(())
    }

    fn serve(&mut self, peer: &Peer) -> Result<(), String> {
        let mut next = self.listen(peer, SMALL_BUFFER)?;
        let mut closing = Vec::new();
        ready();
        loop {
            let handle = next;
            self.accept(handle);
            next = self.listen(peer, SMALL_BUFFER)?;
            let byte = self.byte(handle).ok_or("no request")?;
            self.get(handle)
                .send_slice(&[byte])
                .map_err(|e| format!("send: {e}"))?;
            self.get(handle).close();
            if byte == LAST {
                self.close(handle);
                println!("rounds=0");
                return Ok(());
            }
            closing.push(handle);
            self.forget_closed(&mut closing);
        }
    }

    /// Remove the sockets that have closed, TIME_WAIT included: smoltcp looks at every socket
    /// for every packet.
    fn forget_closed(&mut self, closing: &mut Vec<SocketHandle>) {
        closing.retain(|handle| {
            let state = self.sockets.get::<Socket>(*handle).state();
            let closed = matches!(state, State::Closed | State::TimeWait);
            if closed {
                self.sockets.remove(*handle);
            }
            !closed
        });
    }
}

fn ready() {
    println!("ready");
}

/// Durations of rounds, reported as load/load.h does.
struct Samples {
    begin: Clock,
    end: Clock,
    last: Clock,
    ns: Vec<u64>,
}

impl Samples {
    fn new(seconds: f64) -> Samples {
        let begin = Clock::now();
        let end = begin + Duration::from_secs_f64(seconds);
        Samples {
            begin,
            end,
            last: begin,
            ns: Vec::with_capacity(1 << 18),
        }
    }

    fn more(&self) -> bool {
        self.last < self.end
    }

    fn take(&mut self) {
        let now = Clock::now();
        self.ns.push((now - self.last).as_nanos() as u64);
        self.last = now;
    }

    fn report(mut self) {
        self.ns.sort_unstable();
        let n = self.ns.len().max(1);
        let at = |i: usize| self.ns.get(i).copied().unwrap_or(0);
        println!(
            "rounds={} seconds={:.6} mean_ns={:.0} min_ns={} median_ns={} p99_ns={}",
            self.ns.len(),
            (self.last - self.begin).as_secs_f64(),
            self.ns.iter().sum::<u64>() as f64 / n as f64,
            at(0),
            at(n / 2),
            at(n - 1 - n / 100),
        );
    }
}

/// A TUN that reuses one buffer each way.
struct Device {
    file: File,
    mtu: usize,
    rx: Vec<u8>,
    tx: Vec<u8>,
}

struct RxToken<'a>(&'a [u8]);

struct TxToken<'a> {
    file: &'a File,
    buf: &'a mut [u8],
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = self.mtu;
        caps
    }

    fn receive(&mut self, _now: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let n = (&self.file).read(&mut self.rx).ok()?;
        Some((
            RxToken(&self.rx[..n]),
            TxToken {
                file: &self.file,
                buf: &mut self.tx,
            },
        ))
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxToken<'_>> {
        Some(TxToken {
            file: &self.file,
            buf: &mut self.tx,
        })
    }
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let buf = &mut self.buf[..len];
        let result = f(buf);
        // A full device loses the packet, as a cable might; TCP sends it again.
        let _ = { self.file }.write(buf);
        result
    }
}
