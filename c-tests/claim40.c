/* Claim 40: ICMP reports errors. Without arguments, UDP's port unreachable on one host, with IP_RECVERR. With addresses as arguments
 * (each behind a router that answers differently), what UDP and TCP sockets make of its answers. */
#include "probe.h"
#include <linux/errqueue.h>

static void udp(const char *ip, int recverr)
{
    int six = strchr(ip, ':') != NULL, s = MUST(socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0));
    if (recverr) MUST(six ? set_int(s, IPPROTO_IPV6, IPV6_RECVERR, 1) : set_int(s, IPPROTO_IP, IP_RECVERR, 1));
    int r = connect_raw(s, ip, 9040);
    if (r) { say("UDP %s: connect %s", ip, ename(errno)); close(s); return; }
    r = (int)send(s, "x", 1, 0);
    if (r < 0) say("UDP %s: send %s", ip, ename(errno));
    int came = await(s, POLLERR, 4500);
    say("UDP %s: error %s, %s", ip, came ? "reported" : "not reported", ename(so_error(s)));
    if (recverr) {
        char c[512], b[64];
        struct iovec v = {b, sizeof b};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
        r = (int)recvmsg(s, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
        struct cmsghdr *h = r < 0 ? NULL : CMSG_FIRSTHDR(&m);
        if (h) {
            struct sock_extended_err *e = (void *)CMSG_DATA(h);
            say("  queue: %s origin %d type %d code %d", ename((int)e->ee_errno), e->ee_origin, e->ee_type, e->ee_code);
        } else say("  queue: %s", ename(errno));
    }
    close(s);
}
static void tcp(const char *ip)
{
    int s = MUST(socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    set_int(s, IPPROTO_TCP, TCP_SYNCNT, 1);
    int r = connect_raw(s, ip, 9040);
    say("TCP %s: %s", ip, r ? ename(errno) : "ok");
    close(s);
}

int main(int argc, char **argv)
{
    int only_tcp = argc > 1 && !strcmp(argv[1], "tcp"); /* before addresses: leaves UDP out */
    for (int i = 1 + only_tcp; i < argc; i++) {
        if (!only_tcp) {
            udp(argv[i], 0);
            udp(argv[i], 1);
        }
        tcp(argv[i]);
    }
    if (argc == 1) {
        udp("127.0.0.1", 0);
        udp("127.0.0.1", 1);
        udp("::1", 0);
        udp("::1", 1);
    }
    return 0;
}
