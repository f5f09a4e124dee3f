//! The model of a bad link between the devices of two kernels.
//!
//! As the stack's own links do it (`src/stack/impair.rs`): each packet of the wire is judged by
//! itself, and where a device gives large segments those packets of one that arrive unharmed at
//! the same time go on together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use utcp_stack::impair::{Channel, Drop, Fate, Kind, Runs, Settings, Way};
use utcp_stack::link::{Device, Sent, Tun, VnetHdr};
use utcp_stack::sys::{self, io};
use utcp_stack::time::Instant;
use utcp_stack::wire::{self, Cut, ErrorMessage};

/// Packets taken from a device in one turn.
const AT_ONCE: usize = 64;
/// The longest sleep: somebody may say that it is over.
const NAP: Duration = Duration::from_millis(20);

/// A packet, or several, for one of the devices.
struct Load {
    to: usize,
    hdr: VnetHdr,
    packet: Vec<u8>,
}

/// What is under way, by due time and order.
#[derive(Default)]
struct UnderWay {
    loads: BTreeMap<(Instant, u64), Load>,
    order: u64,
}

impl UnderWay {
    fn put(&mut self, due: Instant, to: usize, hdr: VnetHdr, packet: Vec<u8>) {
        self.order += 1;
        let load = Load { to, hdr, packet };
        self.loads.insert((due, self.order), load);
    }
}

/// The model between the two devices, until it is over.
pub fn forward(devices: &[Mutex<Tun>; 2], settings: &Settings, over: &AtomicBool) {
    let [out, in_, _] = settings.profiles();
    let now = sys::now();
    let mut channels = [
        Box::new(Channel::new(out, settings.seed, Way::Out, now)),
        Box::new(Channel::new(in_, settings.seed, Way::In, now)),
    ];
    let mut devices: Vec<_> = devices
        .iter()
        .map(|d| d.lock().unwrap_or_else(PoisonError::into_inner))
        .collect();
    let mut under_way = UnderWay::default();
    let mut buf = vec![0; 65_600];
    while !over.load(Ordering::Relaxed) {
        let mut now = sys::now();
        for from in 0..2 {
            for _ in 0..AT_ONCE {
                let Some((hdr, len)) = devices[from].recv(&mut buf) else {
                    break;
                };
                now = sys::now();
                enters(
                    &mut channels[from],
                    from,
                    (hdr, &mut buf[..len]),
                    now,
                    &mut under_way,
                );
            }
        }
        while let Some(entry) = under_way.loads.first_entry().filter(|e| e.key().0 <= now) {
            let Load { to, hdr, packet } = entry.remove();
            if devices[to].send(&hdr, &[&packet]) == Sent::Gone {
                return;
            }
        }
        let next = under_way.loads.first_key_value();
        let wait = next.map_or(NAP, |(k, _)| k.0.since(sys::now()).min(NAP));
        let mut fds = [
            io::PollFd::new(devices[0].raw_fd(), libc::POLLIN),
            io::PollFd::new(devices[1].raw_fd(), libc::POLLIN),
        ];
        let _ = io::poll(&mut fds, Some(wait));
    }
    // What was still to come is lost, and what the kernels have queued.
    for d in &mut devices {
        while d.recv(&mut buf).is_some() {}
    }
}

/// What device `from` gave.
fn enters(
    channel: &mut Channel,
    from: usize,
    (hdr, packet): (VnetHdr, &mut [u8]),
    now: Instant,
    under_way: &mut UnderWay,
) {
    let cut = match hdr.gso_type {
        VnetHdr::GSO_NONE => None,
        _ => Cut::of(packet, hdr.gso_size.into()),
    };
    let Some(cut) = cut else {
        if hdr.flags & VnetHdr::NEEDS_CSUM != 0 {
            let (start, offset) = (hdr.csum_start.into(), hdr.csum_offset.into());
            wire::complete_checksum(packet, start, offset);
        }
        let kind = if wire::is_bare_ack(packet) {
            Kind::Bare
        } else {
            Kind::Carrying
        };
        let fate = channel.judge(now, packet.len(), kind);
        return meets(channel, from, packet.to_vec(), now, fate, under_way);
    };
    let mut runs = Runs::of(cut.pieces());
    while let Some((run, fate)) =
        runs.next(|n| channel.judge(now, cut.len(&(n..n + 1)), Kind::Carrying))
    {
        let mut part = vec![0; cut.len(&run)];
        if cut.write(packet, &run, &mut part).is_none() {
            continue;
        }
        match fate {
            Fate::Arrives(a) if run.len() > 1 => {
                let hdr = VnetHdr::to_cut(&part, &cut);
                under_way.put(a.due, 1 - from, hdr, part);
            }
            _ => meets(channel, from, part, now, fate, under_way),
        }
    }
}

/// One packet of the wire and its fate.
fn meets(
    channel: &Channel,
    from: usize,
    mut packet: Vec<u8>,
    now: Instant,
    fate: Fate,
    under_way: &mut UnderWay,
) {
    match fate {
        Fate::Arrives(a) => {
            if a.twice {
                under_way.put(a.due, 1 - from, VnetHdr::PLAIN, packet.clone());
            }
            a.corrupt(&mut packet);
            under_way.put(a.due, 1 - from, VnetHdr::PLAIN, packet);
        }
        Fate::Dropped(Drop::TooBig) if !channel.profile().black_hole => {
            let mut out = [0; 1280];
            let message = ErrorMessage::TooBig(channel.profile().mtu);
            if let Some((src, dst)) = wire::addresses(&packet)
                && let Some(n) = wire::emit_icmp_error(message, dst, src, &packet, &mut out)
            {
                under_way.put(now, from, VnetHdr::PLAIN, out[..n].to_vec());
            }
        }
        Fate::Dropped(_) => {}
    }
}
