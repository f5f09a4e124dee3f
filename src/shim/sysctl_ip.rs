//! The settings of IP and ICMP, read as those of TCP are (see [`crate::sysctl`]).

use crate::sysctl::one;
use utcp_stack::stack::IpSettings;

/// The settings now.
pub fn read() -> IpSettings {
    let mut s = IpSettings::default();
    one(
        c"/proc/sys/net/ipv4/ip_no_pmtu_disc",
        &mut s.ip_no_pmtu_disc,
    );
    // A device's own setting is what `default` was when it was made; both must be set.
    let mut device = 0u8;
    one(
        c"/proc/sys/net/ipv4/conf/all/accept_source_route",
        &mut s.accept_source_route,
    );
    if s.accept_source_route != 0 {
        one(
            c"/proc/sys/net/ipv4/conf/default/accept_source_route",
            &mut device,
        );
        s.accept_source_route = device;
    }
    one(c"/proc/sys/net/ipv4/route/min_pmtu", &mut s.min_pmtu);
    one(c"/proc/sys/net/ipv4/route/mtu_expires", &mut s.mtu_expires);
    one(c"/proc/sys/net/ipv6/route/mtu_expires", &mut s.mtu_expires6);
    one(
        c"/proc/sys/net/ipv4/icmp_echo_ignore_all",
        &mut s.icmp_echo_ignore_all,
    );
    one(
        c"/proc/sys/net/ipv6/icmp/echo_ignore_all",
        &mut s.echo_ignore_all6,
    );
    one(c"/proc/sys/net/ipv4/icmp_ratelimit", &mut s.icmp_ratelimit);
    one(c"/proc/sys/net/ipv6/icmp/ratelimit", &mut s.ratelimit6);
    one(c"/proc/sys/net/ipv4/icmp_ratemask", &mut s.icmp_ratemask);
    one(
        c"/proc/sys/net/ipv4/icmp_msgs_per_sec",
        &mut s.icmp_msgs_per_sec,
    );
    one(
        c"/proc/sys/net/ipv4/icmp_msgs_burst",
        &mut s.icmp_msgs_burst,
    );
    s
}
