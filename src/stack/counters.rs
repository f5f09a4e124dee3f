//! The stack's counters by Linux's names.

use super::Counters;
use crate::tcp::mib::Mib;

impl Counters {
    /// What Linux shows as `name` among /proc/net/netstat's `TcpExt`; none for what is not counted
    /// here.
    pub fn tcp_ext(&self, name: &str) -> Option<u64> {
        Some(match name {
            "SyncookiesSent" => self.syncookies_sent,
            "SyncookiesRecv" => self.syncookies_recv,
            "SyncookiesFailed" => self.syncookies_failed,
            "TCPChallengeACK" => self.challenge_acks,
            "OutOfWindowIcmps" => self.out_of_window_icmps,
            "TSEcrRejected" => self.tsecr_rejected,
            "ListenOverflows" => self.listen_overflows,
            "ListenDrops" => self.listen_drops,
            "TCPFastOpenActive" => self.fastopen_active,
            "TCPFastOpenActiveFail" => self.fastopen_active_fail,
            "TCPFastOpenPassive" => self.fastopen_passive,
            "TCPFastOpenPassiveFail" => self.fastopen_passive_fail,
            "TCPFastOpenListenOverflow" => self.fastopen_listen_overflow,
            "TCPFastOpenBlackhole" => self.fastopen_blackhole,
            _ => return self.mib.named(name),
        })
    }

    /// What Linux shows as `name` among /proc/net/snmp's `Tcp`; none for what is no count.
    /// `established`: the connections that are now ([`super::Host::established`]).
    pub fn tcp(&self, name: &str, established: u64) -> Option<u64> {
        Some(match name {
            "ActiveOpens" => self.active_opens,
            "PassiveOpens" => self.passive_opens,
            "AttemptFails" => self.attempt_fails + self.mib.get(Mib::AttemptFails),
            "EstabResets" => self.estab_resets,
            "CurrEstab" => established,
            "InSegs" => self.in_segs,
            "OutSegs" => self.out_segs,
            "RetransSegs" => self.retrans_segs,
            "InErrs" => self.in_errs + self.mib.get(Mib::SynChallenge),
            "OutRsts" => self.out_rsts,
            "InCsumErrors" => self.in_csum_errors,
            _ => return None,
        })
    }

    /// The kernel's /proc/net/netstat with these counters in the place of its own of TCP: 0 for what
    /// is not counted here. IP's and all others stay.
    pub fn netstat(&self, kernels: &str) -> String {
        replaced(kernels, "TcpExt:", |name| {
            Some(self.tcp_ext(name).unwrap_or(0))
        })
    }

    /// The same of /proc/net/snmp. What is no count stays the kernel's.
    pub fn snmp(&self, kernels: &str, established: u64) -> String {
        replaced(kernels, "Tcp:", |name| self.tcp(name, established))
    }
}

/// A file of names and values, the values of `group` replaced by what `value` gives, if anything.
fn replaced(file: &str, group: &str, value: impl Fn(&str) -> Option<u64>) -> String {
    let mut text = String::new();
    let mut names: Option<&str> = None;
    for line in file.lines() {
        match (line.strip_prefix(group), names) {
            (Some(fields), None) => {
                names = Some(fields);
                text.push_str(line);
            }
            (Some(values), Some(fields)) => {
                text.push_str(group);
                let fields = fields.split_ascii_whitespace();
                for (name, old) in fields.zip(values.split_ascii_whitespace()) {
                    text.push(' ');
                    match value(name) {
                        Some(n) => text.push_str(&n.to_string()),
                        None => text.push_str(old),
                    }
                }
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netstat_has_our_counts_of_tcp_and_the_kernels_of_the_rest() {
        let mut counters = Counters {
            fastopen_passive: 3,
            listen_drops: 5,
            ..Counters::default()
        };
        counters.mib.note(Mib::LossProbes);
        let kernels = "TcpExt: ListenDrops TCPLossProbes TCPFastOpenPassive TCPHPHits\n\
                       TcpExt: 70 71 72 73\n\
                       IpExt: InNoRoutes\n\
                       IpExt: 9\n";
        let ours = "TcpExt: ListenDrops TCPLossProbes TCPFastOpenPassive TCPHPHits\n\
                    TcpExt: 5 1 3 0\n\
                    IpExt: InNoRoutes\n\
                    IpExt: 9\n";
        assert_eq!(counters.netstat(kernels), ours);
    }

    #[test]
    fn snmp_has_our_counts_of_tcp() {
        let counters = Counters {
            active_opens: 2,
            out_rsts: 1,
            ..Counters::default()
        };
        let kernels = "Ip: Forwarding\nIp: 1\n\
                       Tcp: RtoAlgorithm MaxConn ActiveOpens CurrEstab OutRsts\n\
                       Tcp: 1 -1 50 51 52\n";
        let ours = "Ip: Forwarding\nIp: 1\n\
                    Tcp: RtoAlgorithm MaxConn ActiveOpens CurrEstab OutRsts\n\
                    Tcp: 1 -1 2 3 1\n";
        assert_eq!(counters.snmp(kernels, 3), ours);
    }
}
