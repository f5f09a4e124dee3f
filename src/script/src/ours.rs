//! This project's stack under a script, in virtual time.

use crate::machine::{Addresses, Begun, Machine, sysctl};
use crate::model::Micros;
use crate::request::{Reply, Request};
use crate::run::{LOCAL4, LOCAL6, Target};
use core::time::Duration;
use utcp_stack::tcp::congestion::Algorithm;

/// See the module.
pub struct Ours {
    machine: Machine,
    started: Duration,
    blocked: Option<u64>,
    done: Option<(Micros, Reply)>,
}

impl Ours {
    /// A host of its own; `None` when there is no memory for one.
    pub fn new(mtu: u16) -> Option<Ours> {
        let addresses = Addresses {
            v4: (LOCAL4, 24),
            v6: (LOCAL6, 64),
            mtu,
            offload: false,
        };
        let mut machine = Machine::new(addresses, 7)?;
        // As the kernel has it under scripts: the same everywhere, and the simplest.
        machine.sysctl.tcp_congestion_control = Algorithm::NewReno;
        Some(Ours {
            machine,
            started: Duration::ZERO,
            blocked: None,
            done: None,
        })
    }

    /// What the host counted; see [`Machine::netstat`].
    pub fn netstat(&self, kernels: &str) -> String {
        self.machine.netstat(kernels)
    }

    /// The same; see [`Machine::snmp`].
    pub fn snmp(&mut self, kernels: &str) -> String {
        self.machine.snmp(kernels)
    }

    fn at(&self, script: Micros) -> Duration {
        self.started + Duration::from_micros(u64::try_from(script).unwrap_or(0))
    }

    fn script(&self, t: Duration) -> Micros {
        t.saturating_sub(self.started).as_micros() as Micros
    }
}

impl Target for Ours {
    fn start(&mut self) {
        self.started = self.machine.now();
    }
    fn now(&mut self) -> Micros {
        self.script(self.machine.now())
    }
    fn wait_until(&mut self, at: Micros) {
        let at = self.at(at);
        self.machine.run_until(at, false);
    }
    fn inject(&mut self, packet: &[u8]) -> Result<(), String> {
        self.machine.inject(packet);
        Ok(())
    }
    fn sniff(&mut self, until: Micros) -> Option<(Micros, Vec<u8>)> {
        let until = self.at(until);
        // No time passes for what has left already, or if nothing will.
        let now = self.machine.now();
        self.machine.run_until(until.max(now), true);
        let (at, packet) = self.machine.sniff()?;
        Some((self.script(at), packet))
    }
    fn call(&mut self, request: Request, blocks: bool) -> Result<Option<Reply>, String> {
        match self.machine.call(request) {
            Begun::Done(reply) => {
                self.done = blocks.then(|| (self.script(self.machine.now()), reply.clone()));
                Ok(Some(reply))
            }
            Begun::Blocks(ticket) => {
                self.blocked = Some(ticket);
                Ok(None)
            }
        }
    }
    fn finish(&mut self, until: Micros) -> Option<(Micros, Reply)> {
        if let Some(done) = self.done.take() {
            return Some(done);
        }
        let ticket = self.blocked?;
        if let Some((at, reply)) = self.machine.finished(ticket) {
            return Some((self.script(at), reply));
        }
        let until = self.at(until);
        self.machine.run_until(until, false);
        let (at, reply) = self.machine.finished(ticket)?;
        Some((self.script(at), reply))
    }
    fn sysctl(&mut self, name: &str, value: &str) -> Result<(), String> {
        match sysctl::set(&mut self.machine.sysctl, name, value) {
            // The stack does what the default says, and nothing else.
            Err(sysctl::Refused::Unknown) if FIXED.contains(&(name, value)) => Ok(()),
            Err(sysctl::Refused::Unknown) => Err(format!("the stack has no setting {name}")),
            Err(sysctl::Refused::Value) => Err(format!("{value} is no value of {name}")),
            Ok(()) => Ok(()),
        }
    }
    fn tolerance(&self) -> (Micros, i64) {
        (5_000, 3)
    }
    fn stamps_off(&self) -> u32 {
        0
    }
    fn patience(&self) -> Micros {
        600_000_000
    }
}

/// Settings that the stack has at one value only.
const FIXED: [(&str, &str); 1] = [("net.ipv4.tcp_comp_sack_nr", "0")];
