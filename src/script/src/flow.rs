//! Connections, as the script counts and as they are.
//!
//! The script's sequence numbers of the host start where it says in the host's SYN; the remote
//! side's are the real ones. Timestamps of the host are names: the first time the script
//! expects one, it stands for what was seen.

use std::collections::HashMap;

/// One connection.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The host's port.
    pub local: u16,
    /// The remote port.
    pub remote: u16,
    /// What to add to the script's numbers of the host.
    pub offset: Option<u32>,
    /// A SYN came in, or the program connects: the next SYN of the host's may begin anew.
    pub opening: bool,
    /// The remote side's initial sequence number.
    pub irs: Option<u32>,
    /// Real timestamps of the host by the script's.
    stamps: HashMap<u32, u32>,
}

impl Flow {
    fn new(local: u16, remote: u16) -> Flow {
        Flow {
            local,
            remote,
            offset: None,
            opening: true,
            irs: None,
            stamps: HashMap::new(),
        }
    }

    /// A number of the host's, as it is.
    pub fn real(&self, script: u32) -> u32 {
        script.wrapping_add(self.offset.unwrap_or(0))
    }

    /// A number of the host's, as the script has it.
    pub fn script(&self, real: u32) -> u32 {
        real.wrapping_sub(self.offset.unwrap_or(0))
    }

    /// The host sent timestamp `real` where the script has `script`; how much later that is than
    /// what it stands for.
    pub fn stamp(&mut self, script: u32, real: u32) -> u32 {
        real.wrapping_sub(*self.stamps.entry(script).or_insert(real))
    }

    /// A timestamp to echo to the host.
    pub fn echo(&self, script: u32) -> u32 {
        if let Some(real) = self.stamps.get(&script) {
            return *real;
        }
        // One that was never seen: as far from the nearest that was.
        let nearest = self.stamps.iter().min_by_key(|(s, _)| s.abs_diff(script));
        match nearest {
            Some((s, real)) if script != 0 => real.wrapping_add(script.wrapping_sub(*s)),
            _ => script,
        }
    }
}

/// All connections of a script.
#[derive(Clone, Debug)]
pub struct Flows {
    flows: Vec<Flow>,
    /// What segments without ports belong to.
    current: Option<usize>,
    next_port: u16,
}

/// The port that `bind(fd, ..., ...)` and `connect(fd, ..., ...)` name.
pub const PORT: u16 = 8080;

impl Default for Flows {
    fn default() -> Flows {
        Flows {
            flows: Vec::new(),
            current: None,
            next_port: 40_001,
        }
    }
}

impl Flows {
    fn find(&self, local: u16, remote: u16) -> Option<usize> {
        let is = |f: &Flow| f.local == local && f.remote == remote;
        self.flows.iter().rposition(is)
    }

    fn add(&mut self, local: u16, remote: u16) -> usize {
        self.flows.push(Flow::new(local, remote));
        self.current = Some(self.flows.len() - 1);
        self.flows.len() - 1
    }

    /// The connection of an inbound segment; made if need be.
    pub fn inbound(&mut self, ports: Option<(u16, u16)>) -> &mut Flow {
        let index = match (ports, self.current) {
            (Some((remote, local)), _) => self
                .find(local, remote)
                .unwrap_or_else(|| self.add(local, remote)),
            (None, Some(current)) => current,
            (None, None) => {
                self.next_port += 1;
                self.add(PORT, self.next_port)
            }
        };
        &mut self.flows[index]
    }

    /// The connection of an outbound segment as it is: expected on `ports` (the host's first). One
    /// that `opens` may be of a connection that nothing was seen of, whatever call it comes from
    /// (with Fast Open, a sendto or a write).
    pub fn outbound(
        &mut self,
        ports: Option<(u16, u16)>,
        real: (u16, u16),
        opens: bool,
    ) -> Result<&mut Flow, String> {
        let index = match (ports, self.current) {
            (Some(expected), _) => {
                if expected != real {
                    return Err(format!(
                        "it goes from port {} to {} instead of {} to {}",
                        real.0, real.1, expected.0, expected.1
                    ));
                }
                self.find(real.0, real.1)
                    .unwrap_or_else(|| self.add(real.0, real.1))
            }
            (None, Some(current)) => {
                let f = &self.flows[current];
                let same = (f.local, f.remote) == real;
                if !same && opens && self.find(real.0, real.1).is_none() {
                    self.add(real.0, real.1)
                } else if same {
                    current
                } else {
                    return Err(format!(
                        "it belongs to another connection: ports {} > {} instead of {} > {}",
                        real.0, real.1, f.local, f.remote
                    ));
                }
            }
            (None, None) => self
                .find(real.0, real.1)
                .unwrap_or_else(|| self.add(real.0, real.1)),
        };
        Ok(&mut self.flows[index])
    }

    /// The connection with these ports, host's first, if there is one.
    pub fn get(&self, real: (u16, u16)) -> Option<&Flow> {
        self.find(real.0, real.1).map(|i| &self.flows[i])
    }

    /// The program connects: the next segment without ports opens another connection.
    pub fn program_connects(&mut self) {
        self.current = None;
    }
}
