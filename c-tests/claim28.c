/* Claim 28: what an unreachable network does to a connection (needs another host: hosts_silence). On one host: connecting there. */
#include "probe.h"

int main(void)
{
    /* Addresses of documentation and of class E that no route leads to when there is no gateway. */
    static const char *const ips[] = {"198.51.100.1", "240.0.0.1", "2001:db8::1"};
    for (size_t i = 0; i < 3; i++) {
        int s = MUST(socket(strchr(ips[i], ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
        long t = now_ms();
        int r = connect_raw(s, ips[i], 9028);
        say("%s: %s", ips[i], r ? ename(errno) : "ok");
        say("at once: %s", within(t, 0, 900));
        say_state("then", s);
        say_events("then", s);
        say_error("then", s);
        say_name("then", s);
        close(s);
        s = MUST(socket(strchr(ips[i], ':') ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        r = connect_raw(s, ips[i], 9028);
        say("%s, non-blocking: %s", ips[i], r ? ename(errno) : "ok");
        close(s);
    }
    traffic(9028);
    return 0;
}
