//! The stack's counters by Linux's names.

use super::Counters;

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

    /// The kernel's /proc/net/netstat with these counters in the place of its own of TCP: 0 for what
    /// is not counted here. IP's and all others stay.
    pub fn netstat(&self, kernels: &str) -> String {
        const TCP: &str = "TcpExt:";
        let mut text = String::new();
        let mut names: Option<&str> = None;
        for line in kernels.lines() {
            match (line.strip_prefix(TCP), names) {
                (Some(fields), None) => {
                    names = Some(fields);
                    text.push_str(line);
                }
                (Some(_), Some(fields)) => {
                    text.push_str(TCP);
                    for name in fields.split_ascii_whitespace() {
                        let count = self.tcp_ext(name).unwrap_or(0);
                        text.push_str(&format!(" {count}"));
                    }
                }
                _ => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }
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
        counters.mib.note(crate::tcp::mib::Mib::LossProbes);
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
}
