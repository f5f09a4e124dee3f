/* Options of IP for what is received, on TCP sockets: they are kept, and accepted sockets have them. IP_OPTIONS without any. */
#include "probe.h"

#define PORT 9188

static const struct { int number; const char *name; } flags[] = {{IP_RECVTTL, "IP_RECVTTL"}, {IP_RECVTOS, "IP_RECVTOS"},
    {IP_RECVOPTS, "IP_RECVOPTS"}, {IP_RETOPTS, "IP_RETOPTS"}, {IP_PKTINFO, "IP_PKTINFO"}};

static void keep(int family)
{
    int fd = MUST(socket(family, SOCK_STREAM, 0));
    unsigned char byte = 3;
    say("-- sockets of IPv%d", family == AF_INET ? 4 : 6);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        int at_first = get_int(fd, IPPROTO_IP, flags[i].number);
        int r = set_int(fd, IPPROTO_IP, flags[i].number, 5);
        int then = get_int(fd, IPPROTO_IP, flags[i].number);
        set_int(fd, IPPROTO_IP, flags[i].number, 0);
        int off = get_int(fd, IPPROTO_IP, flags[i].number);
        int small = setsockopt(fd, IPPROTO_IP, flags[i].number, &byte, 1);
        say("%s: %d, set %d: %d, off %d, by a byte %d: %d", flags[i].name, at_first, r, then, off, small, get_int(fd, IPPROTO_IP, flags[i].number));
    }
    close(fd);
}

int main(void)
{
    char buf[64];
    socklen_t n = sizeof buf;
    struct pair p = pair_at(PORT);
    keep(AF_INET);
    keep(AF_INET6);
    say("-- IP_OPTIONS");
    R(getsockopt(p.c, IPPROTO_IP, IP_OPTIONS, buf, &n));
    say("length %u", (unsigned)n);
    R(setsockopt(p.c, IPPROTO_IP, IP_OPTIONS, NULL, 0));
    R(setsockopt(p.c, IPPROTO_IP, IP_OPTIONS, buf, 41));
    R(setsockopt(p.c, IPPROTO_IP, IP_OPTIONS, (void *)1, 4));
    n = 0;
    R(getsockopt(p.c, IPPROTO_IP, IP_OPTIONS, buf, &n));
    close_pair(p);
    int l = listener(PORT + 1);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) set_int(l, IPPROTO_IP, flags[i].number, 1);
    int c = dial(PORT + 1), s = MUST(accept(l, NULL, NULL));
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) say("accepted: %s %d", flags[i].name, get_int(s, IPPROTO_IP, flags[i].number));
    close(c);
    close(s);
    close(l);
    return 0;
}
