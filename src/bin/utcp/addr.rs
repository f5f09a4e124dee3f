//! `utcp addr`: a stack's addresses and device.

use crate::paint::{self, Line};
use crate::trouble::Result;
use crate::{cli, procs, stacks};
use serde::Serialize;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use utcp_stack::addr::Addr;
use utcp_stack::config::Config;
use utcp_stack::link::config::{Description, list_utcp_devices};
use utcp_stack::stack::HostConfig;

#[derive(Serialize)]
struct Report {
    stack: String,
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    keeper: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<Net>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<Net>,
    /// All that run here, this one included.
    stacks: Vec<String>,
}

#[derive(Serialize)]
struct Device {
    name: String,
    mtu: u16,
    offload: bool,
    up: bool,
}

#[derive(Serialize)]
struct Net {
    address: IpAddr,
    prefix: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

/// Show them.
pub fn run(args: &cli::Addr) -> Result<ExitCode> {
    let config = stacks::config(args.stack.name.as_deref())?;
    let report = look(&config)?;
    if args.json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        anstream::println!("{text}");
    } else {
        for line in lines(&report) {
            anstream::println!("{}", line.render());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn look(config: &Config) -> Result<Report> {
    let mut report = Report {
        stack: config.stack.clone(),
        running: false,
        keeper: None,
        device: None,
        no_device: None,
        ipv4: None,
        ipv6: None,
        stacks: stacks::list(),
    };
    let Some(stack) = stacks::running(config)? else {
        return Ok(report);
    };
    let (host, why) = {
        let session = crate::ring::session(&stack.runtime)?;
        (session.sh.config, session.sh.no_device_why)
    };
    let keeper = stack.runtime.open().keeper_pid.load(Ordering::Relaxed);
    report.running = true;
    report.keeper = (keeper != 0).then_some(keeper);
    report.ipv4 = net(host.addr4, host.prefix4, host.gateway4);
    report.ipv6 = net(host.addr6, host.prefix6, host.gateway6);
    if host.has_device {
        report.device = Some(device(config, &host));
    } else {
        report.no_device = Some(reason(&why));
    }
    Ok(report)
}

/// The text that the keeper left.
pub fn reason(why: &[u8]) -> String {
    let text = why.split(|b| *b == 0).next().unwrap_or_default();
    let text = paint::printable(&String::from_utf8_lossy(text));
    if text.is_empty() {
        "it is not known why".to_owned()
    } else {
        text
    }
}

fn net(address: Addr, prefix: u8, gateway: Addr) -> Option<Net> {
    (!address.is_any() && address != Addr::default()).then(|| Net {
        address: address.ip(),
        prefix,
        gateway: (!gateway.is_any()).then(|| gateway.ip()),
    })
}

/// The device is the one whose kernel side is in the stack's network.
fn device(config: &Config, host: &HostConfig) -> Device {
    let devices = list_utcp_devices().unwrap_or_default();
    let here = |d: &Description| {
        let v4 = d.ipv4.iter().any(|(a, _)| Addr::v4(*a) == host.gateway4);
        v4 || d.ipv6.iter().any(|(a, _)| Addr::v6(*a) == host.gateway6)
    };
    let found = devices.into_iter().map(|(_, d)| d).find(here);
    let named = || config.tun.clone().unwrap_or_else(|| "(unknown)".to_owned());
    Device {
        mtu: host.mtu,
        offload: host.offload,
        up: found.as_ref().is_none_or(|d| d.up),
        name: found.map_or_else(named, |d| d.name),
    }
}

fn lines(report: &Report) -> Vec<Line> {
    let mut lines = Vec::new();
    let name = Line::new("stack ", paint::PLAIN).then(report.stack.clone(), paint::BOLD);
    if report.running {
        let keeper = report.keeper.map_or_else(String::new, |pid| {
            let gone = if procs::parent(pid).is_some() {
                ""
            } else {
                " (gone; the next call starts another)"
            };
            format!(", kept by process {pid}{gone}")
        });
        lines.push(name.then(keeper, paint::DIM));
    } else {
        lines.push(
            name.then(" is not running here", paint::NOTE)
                .then("; `utcp run PROGRAM` starts it", paint::PLAIN),
        );
    }
    let mut say = |label: &str, text: String| {
        let label = Line::new(format!("  {label}"), paint::DIM).pad(11);
        lines.push(label.then(text, paint::PLAIN));
    };
    if let Some(d) = &report.device {
        let offload = if d.offload { "on" } else { "off" };
        let up = if d.up { "" } else { ", down" };
        say(
            "device",
            format!("{}, MTU {}, offload {offload}{up}", d.name, d.mtu),
        );
    }
    for (label, net) in [("IPv4", &report.ipv4), ("IPv6", &report.ipv6)] {
        if let Some(n) = net {
            let gateway = n
                .gateway
                .map_or_else(String::new, |g| format!(", gateway {g}"));
            say(label, format!("{}/{}{gateway}", n.address, n.prefix));
        }
    }
    if report.running {
        say("loopback", "127.0.0.1, ::1".to_owned());
    }
    if let Some(why) = &report.no_device {
        say("device", format!("none: {why}"));
    }
    let others: Vec<&str> = report
        .stacks
        .iter()
        .map(String::as_str)
        .filter(|s| *s != report.stack)
        .collect();
    if !others.is_empty() {
        lines.push(Line::new(
            format!("also running: {}", others.join(", ")),
            paint::PLAIN,
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_zero_padded_text() {
        let mut bytes = [0u8; 16];
        bytes[..4].copy_from_slice(b"why!");
        assert_eq!(reason(&bytes), "why!");
        assert_eq!(reason(&[0; 4]), "it is not known why");
    }
}
