//! Settings of IP and ICMP, under their names of Linux (net.ipv4.*, net.ipv6.*). They are the
//! host's, not a socket's: those that were read last count.

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
#[allow(missing_docs)]
pub struct IpSettings {
    /// They were told; else the defaults count.
    pub told: bool,
    /// 0: "fragmentation needed" is believed, and new sockets want DF; 1: it means `min_pmtu`;
    /// 2: it is ignored; 3: as 0, for protocols that check what is quoted.
    pub ip_no_pmtu_disc: u8,
    /// net.ipv4.conf.*: packets with source routes are taken.
    pub accept_source_route: u8,
    pub icmp_echo_ignore_all: u8,
    /// net.ipv6.icmp.echo_ignore_all.
    pub echo_ignore_all6: u8,
    /// net.ipv4.route.min_pmtu, in bytes.
    pub min_pmtu: u32,
    /// net.ipv4.route.mtu_expires, in seconds.
    pub mtu_expires: u32,
    /// net.ipv6.route.mtu_expires, in seconds.
    pub mtu_expires6: u32,
    /// Milliseconds between two messages to one host; 0: no limit.
    pub icmp_ratelimit: u32,
    /// net.ipv6.icmp.ratelimit, in milliseconds.
    pub ratelimit6: u32,
    /// A bit for each type that is limited.
    pub icmp_ratemask: u32,
    pub icmp_msgs_per_sec: u32,
    pub icmp_msgs_burst: u32,
}

impl Default for IpSettings {
    /// Linux 6.18's defaults.
    fn default() -> IpSettings {
        IpSettings {
            told: false,
            ip_no_pmtu_disc: 0,
            accept_source_route: 0,
            icmp_echo_ignore_all: 0,
            echo_ignore_all6: 0,
            min_pmtu: 552,
            mtu_expires: 600,
            mtu_expires6: 600,
            icmp_ratelimit: 1000,
            ratelimit6: 1000,
            icmp_ratemask: 0x1818,
            icmp_msgs_per_sec: 1000,
            icmp_msgs_burst: 50,
        }
    }
}

impl super::Host<'_> {
    /// What the settings are now.
    pub fn set_ip_settings(&mut self, settings: &IpSettings) {
        self.sh.ip = IpSettings {
            told: true,
            ..*settings
        };
    }

    /// The settings that count.
    pub(super) fn ip_settings(&self) -> IpSettings {
        if self.sh.ip.told {
            self.sh.ip
        } else {
            IpSettings::default()
        }
    }
}
