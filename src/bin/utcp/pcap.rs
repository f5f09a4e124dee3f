//! `utcp run --pcap`: the stack's packets in a file that Wireshark opens.
//!
//! pcapng, raw IP packets, times in nanoseconds. Each packet's comment says whose it is, and what
//! became of it if that is not the usual; `frame.comment contains "DROPPED"` finds those that
//! impairment lost.
//!
//! There is one interface for device and loopback: tcpdump (libpcap 1.10) refuses a file with
//! two of link type RAW, taking 101 and its own number for it for different types.

use crate::stacks::Stack;
use crate::trouble::{Result, Trouble};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use utcp_stack::trace::capture::{Link, Record, Verdict, records};
use utcp_stack::wire;

/// How much to read under one hold of the lock.
const PIECE: usize = 1 << 18;

/// A capture that goes to a file.
pub struct Packets {
    stack: Rc<Stack>,
    snap: u32,
    /// Where to read on.
    at: u64,
    file: CaptureFile<BufWriter<File>>,
    path: PathBuf,
}

impl Packets {
    /// Capture from now on.
    pub fn new(stack: Rc<Stack>, path: &Path, snap: u32) -> Result<Packets> {
        let failed = |e: &dyn std::fmt::Display| cannot_write(path, e);
        let out = BufWriter::new(File::create(path).map_err(|e| failed(&e))?);
        let file = CaptureFile::new(out, snap).map_err(|e| failed(&e))?;
        let at = {
            let mut session = crate::ring::session(&stack.runtime)?;
            session.watch_packets(snap);
            session.sh.capture.end()
        };
        Ok(Packets {
            stack,
            snap,
            at,
            file,
            path: path.to_owned(),
        })
    }

    /// Write what has come.
    pub fn poll(&mut self) -> Result<()> {
        let mut bytes = Vec::with_capacity(2 * PIECE);
        loop {
            bytes.clear();
            let end = {
                let mut session = crate::ring::session(&self.stack.runtime)?;
                session.watch_packets(self.snap);
                let capture = &session.sh.capture;
                self.at = capture.read(self.at, PIECE, &mut bytes);
                capture.end()
            };
            for (record, packet) in records(&bytes) {
                let wrote = self.file.write(&record, packet);
                wrote.map_err(|e| cannot_write(&self.path, &e))?;
            }
            if self.at == end {
                return Ok(());
            }
        }
    }

    /// The last packets.
    pub fn finish(mut self) -> Result<()> {
        self.poll()?;
        let flushed = self.file.flush();
        flushed.map_err(|e| cannot_write(&self.path, &e))?;
        if self.file.missed > 0 {
            anstream::eprintln!(
                "utcp: {} packets came too fast and are not in {}",
                self.file.missed,
                self.path.display()
            );
        }
        Ok(())
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        if let Ok(mut session) = crate::ring::session(&self.stack.runtime) {
            session.watch_packets_no_more();
        }
    }
}

fn cannot_write(path: &Path, e: &dyn std::fmt::Display) -> Trouble {
    Trouble::new(
        format!("cannot write packets to {}", path.display()),
        e.to_string(),
    )
}

/// The file itself.
struct CaptureFile<W: Write> {
    writer: PcapNgWriter<W>,
    /// From the clock that the stack uses to the one of calendars.
    epoch: u64,
    names: HashMap<u32, String>,
    /// The number of the packet before.
    last: Option<u64>,
    missed: u64,
}

type Written = std::result::Result<(), pcap_file::PcapError>;

impl<W: Write> CaptureFile<W> {
    fn new(out: W, snap: u32) -> std::result::Result<CaptureFile<W>, pcap_file::PcapError> {
        let mut writer = PcapNgWriter::new(out)?;
        writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: snap,
            options: vec![
                InterfaceDescriptionOption::IfName("utcp".into()),
                InterfaceDescriptionOption::IfDescription(
                    "the stack's TUN device and its loopback".into(),
                ),
                // Nanoseconds.
                InterfaceDescriptionOption::IfTsResol(9),
            ],
        })?;
        let clock = crate::capture::clock;
        let epoch = clock(libc::CLOCK_REALTIME).saturating_sub(clock(libc::CLOCK_MONOTONIC));
        Ok(CaptureFile {
            writer,
            epoch,
            names: HashMap::new(),
            last: None,
            missed: 0,
        })
    }

    fn write(&mut self, record: &Record, packet: &[u8]) -> Written {
        let mut data = Cow::Borrowed(packet);
        if record.csum_start != 0 && record.kept == record.len {
            // The device would have completed it.
            let (start, offset) = (record.csum_start.into(), record.csum_offset.into());
            wire::complete_checksum(data.to_mut(), start, offset);
        }
        let mut options = Vec::new();
        let comment = self.comment(record);
        if !comment.is_empty() {
            options.push(EnhancedPacketOption::Comment(comment.into()));
        }
        // Bits 0 and 1: inbound, outbound.
        match record.link {
            Link::In => options.push(EnhancedPacketOption::Flags(1)),
            Link::Out => options.push(EnhancedPacketOption::Flags(2)),
            Link::Loop => {}
        }
        let missed = self
            .last
            .map_or(0, |last| record.number.saturating_sub(last + 1));
        self.last = Some(record.number);
        if missed > 0 {
            self.missed += missed;
            options.push(EnhancedPacketOption::DropCount(missed));
        }
        self.writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(record.time + self.epoch),
            original_len: record.len,
            data,
            options,
        })?;
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.get_mut().flush()
    }

    fn comment(&mut self, record: &Record) -> String {
        let mut parts = Vec::new();
        let mut name = |pid| match pid {
            0 => None,
            pid => Some(self.name(pid)),
        };
        match (name(record.from), name(record.to)) {
            (Some(from), Some(to)) => parts.push(format!("{from} to {to}")),
            (Some(from), None) => parts.push(format!("from {from}")),
            (None, Some(to)) => parts.push(format!("to {to}")),
            (None, None) => {}
        }
        parts.extend(match record.verdict {
            Verdict::Passed => None,
            Verdict::Lost => Some("DROPPED: lost".to_owned()),
            Verdict::QueueFull => Some("DROPPED: the queue was full".to_owned()),
            Verdict::Outage => Some("DROPPED: outage".to_owned()),
            Verdict::TooBig => Some("DROPPED: larger than the path's MTU".to_owned()),
        });
        if record.corrupted {
            parts.push("CORRUPTED on its way".to_owned());
        }
        if record.twice {
            parts.push("arrives twice".to_owned());
        }
        if record.late {
            parts.push("held back for others".to_owned());
        }
        if record.delay > 0 {
            parts.push(format!("delayed {:.3} ms", record.delay as f64 / 1e6));
        }
        parts.join("; ")
    }

    fn name(&mut self, pid: u32) -> String {
        let known = self.names.entry(pid);
        known
            .or_insert_with(|| format!("{} ({pid})", crate::procs::name_of(pid)))
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::{Block, PcapNgReader};

    #[test]
    fn what_is_written_can_be_read() {
        let mut file = CaptureFile::new(Vec::new(), 65536).unwrap();
        file.epoch = 1_000_000_000_000;
        let me = std::process::id();
        let lost = Record {
            number: 1,
            time: 5,
            from: me,
            len: 100,
            kept: 4,
            link: Link::Loop,
            verdict: Verdict::Lost,
            ..Record::default()
        };
        file.write(&lost, b"\x45abc").unwrap();
        let late = Record {
            number: 4,
            link: Link::Out,
            verdict: Verdict::Passed,
            delay: 50_200_000,
            ..lost
        };
        file.write(&late, b"\x45abc").unwrap();
        let bytes = file.writer.into_inner();
        let mut reader = PcapNgReader::new(&bytes[..]).unwrap();
        let mut packets = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(p) = block.unwrap() {
                packets.push(p.into_owned());
            }
        }
        let [lost, late] = &packets[..] else {
            panic!("{packets:?}")
        };
        assert_eq!((lost.interface_id, lost.original_len), (0, 100));
        assert_eq!(lost.timestamp, Duration::from_nanos(1_000_000_000_005));
        let EnhancedPacketOption::Comment(text) = &lost.options[0] else {
            panic!("{lost:?}")
        };
        assert!(text.contains(&format!("({me}); DROPPED: lost")), "{text}");
        let shown = format!("{:?}", late.options);
        assert!(shown.contains("delayed 50.200 ms"), "{shown}");
        assert!(
            shown.contains("Flags(2)") && shown.contains("DropCount(2)"),
            "{shown}"
        );
        assert_eq!(file.missed, 2);
    }
}
