/* What options read after they were set, at the ends of their ranges; and what SO_LINGER and time
 * limits then do. */
#include "probe.h"

static void linger(int s, int on, int seconds)
{
    struct linger l = {on, seconds}, g = {-1, -1};
    socklen_t n = sizeof g;
    int r = setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    getsockopt(s, SOL_SOCKET, SO_LINGER, &g, &n);
    say("{%d, %d}: %d, reads {%d, %d}", on, seconds, r, g.l_onoff, g.l_linger);
}

/* Set, and read by another name. */
static void value(const char *name, int s, int level, int opt, int v, int read_as)
{
    int r = set_int(s, level, opt, v), e = errno;
    say("%s %d: %s, reads %d", name, v, r ? ename(e) : "0", get_int(s, level, read_as));
}
#define VALUE(s, level, opt, v) value(#opt, s, level, opt, v, opt)
#define FORCED(s, opt, v, read_as) value(#opt, s, SOL_SOCKET, opt, v, read_as)

/* The least time there is, in microseconds: a jiffy of the kernel's. */
static long tick;

static void timeo(int s, int opt, long sec, long usec)
{
    struct timeval t = {sec, usec}, u = {-1, -1};
    socklen_t n = sizeof u;
    int r = setsockopt(s, SOL_SOCKET, opt, &t, sizeof t), e = errno;
    getsockopt(s, SOL_SOCKET, opt, &u, &n);
    long asked = usec ? (usec + tick - 1) / tick * tick : 0, more = asked / 1000000;
    const char *fits = u.tv_sec == sec + more && u.tv_usec == asked % 1000000 ? "in whole ticks" : "otherwise";
    if (u.tv_sec == 0 && u.tv_usec == 0) fits = "nothing";
    say("%ld.%06ld: %s, reads %s", sec, usec, r ? ename(e) : "0", fits);
}

static void levels(int family)
{
    static const int asked[] = {IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, 12345, -1};
    int s = MUST(socket(family, SOCK_STREAM, 0));
    say("-- unknown options, family %d", family);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        int r = set_int(s, asked[i], 9999, 1), e = errno, v = get_int(s, asked[i], 9999);
        say("level %d: set %s, get %s", asked[i], r ? ename(e) : "0", v < 0 ? ename(-v) : "0");
    }
    close(s);
}

int main(void)
{
    alarm(30);
    char b[16];
    traffic(9790);
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0)), s6 = MUST(socket(AF_INET6, SOCK_STREAM, 0));

    say("-- SO_LINGER");
    linger(s, 0, 7);
    linger(s, 1, 5);
    linger(s, 0, 0);
    linger(s, 1, -1);
    linger(s, 0, 3);
    linger(s, 1, 0x7fffffff);
    linger(s, 1, 0);
    linger(s, 5, 2);

    say("-- close with {1, -1}");
    struct pair p = pair_at(9791);
    linger(p.c, 1, -1);
    MUST(send(p.c, "hello", 5, 0));
    close(p.c);
    ms(20);
    say_recv("the other", p.s);
    say_recv("the other", p.s);
    close(p.s);
    close(p.l);
    say("-- accepted sockets have the listener's");
    p.l = listener(9792);
    linger(p.l, 1, 5);
    linger(p.l, 0, 0);
    p.c = dial(9792);
    p.s = MUST(accept(p.l, NULL, NULL));
    struct linger g;
    socklen_t n = sizeof g;
    getsockopt(p.s, SOL_SOCKET, SO_LINGER, &g, &n);
    say("{%d, %d}", g.l_onoff, g.l_linger);
    close_pair(p);

    say("-- buffers");
    static const int sizes[] = {-1, 0x7fffffff, 0x40000000, 0x3fffffff, 0, 1, 5000, -0x7fffffff - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        FORCED(s, SO_SNDBUFFORCE, sizes[i], SO_SNDBUF);
        FORCED(s, SO_RCVBUFFORCE, sizes[i], SO_RCVBUF);
    }

    say("-- hops");
    VALUE(s6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 0);
    VALUE(s6, IPPROTO_IP, IP_TTL, 0);
    say("IP_TTL %d", get_int(s6, IPPROTO_IP, IP_TTL));
    VALUE(s6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 5);
    say("IP_TTL %d", get_int(s6, IPPROTO_IP, IP_TTL));
    VALUE(s6, IPPROTO_IP, IP_TTL, 9);
    say("IPV6_UNICAST_HOPS %d", get_int(s6, IPPROTO_IPV6, IPV6_UNICAST_HOPS));
    VALUE(s6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 255);
    VALUE(s6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256);
    VALUE(s6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -2);
    VALUE(s6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -1);
    VALUE(s6, IPPROTO_IP, IP_TTL, -1);

    say("-- IPv6 options from NULL");
    static const int opts[] = {IPV6_V6ONLY, IPV6_UNICAST_HOPS, IPV6_TCLASS, IPV6_MTU_DISCOVER};
    for (size_t i = 0; i < sizeof opts / sizeof *opts; i++) {
        set_int(s6, IPPROTO_IPV6, opts[i], 1);
        for (socklen_t len = 0; len <= 8; len += 2) {
            int r = setsockopt(s6, IPPROTO_IPV6, opts[i], NULL, len), e = errno;
            say("option %d, length %d: %s, reads %d", opts[i], (int)len, r ? ename(e) : "0", get_int(s6, IPPROTO_IPV6, opts[i]));
        }
    }
    levels(AF_INET);
    levels(AF_INET6);

    say("-- SO_TXREHASH");
    int other = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say("at first %d", get_int(other, SOL_SOCKET, 74));
    value("SO_TXREHASH", other, SOL_SOCKET, 74, 0, 74);
    value("SO_TXREHASH", other, SOL_SOCKET, 74, 1, 74);
    value("SO_TXREHASH", other, SOL_SOCKET, 74, 2, 74);
    value("SO_TXREHASH", other, SOL_SOCKET, 74, -2, 74);
    value("SO_TXREHASH", other, SOL_SOCKET, 74, 0, 74);
    value("SO_TXREHASH", other, SOL_SOCKET, 74, -1, 74);

    say("-- TCP_WINDOW_CLAMP");
    VALUE(other, IPPROTO_TCP, TCP_WINDOW_CLAMP, 0);
    VALUE(other, IPPROTO_TCP, TCP_WINDOW_CLAMP, 9000);
    VALUE(other, IPPROTO_TCP, TCP_WINDOW_CLAMP, 0);
    int l = listener(9793);
    VALUE(l, IPPROTO_TCP, TCP_WINDOW_CLAMP, 0);
    VALUE(l, IPPROTO_TCP, TCP_WINDOW_CLAMP, 9000);
    VALUE(l, IPPROTO_TCP, TCP_WINDOW_CLAMP, 0);

    say("-- a socket's own timeouts");
    static const int times[] = {-1, 0, 1, 999, 1000, 1001, 4000, 8000, 8001, 50000, 119999, 120000, 120001, 200000, 200001, 0x7fffffff};
    static const struct { const char *name; int opt; } timeouts[] = {{"TCP_RTO_MAX_MS", 44}, {"TCP_RTO_MIN_US", 45}, {"TCP_DELACK_MAX_US", 46}};
    for (size_t i = 0; i < sizeof timeouts / sizeof *timeouts; i++) {
        say("%s %d", timeouts[i].name, get_int(other, IPPROTO_TCP, timeouts[i].opt));
        for (size_t k = 0; k < sizeof times / sizeof *times; k++)
            value(timeouts[i].name, other, IPPROTO_TCP, timeouts[i].opt, times[k], timeouts[i].opt);
        say("a listener's %d", get_int(l, IPPROTO_TCP, timeouts[i].opt));
    }
    p = pair_at(9795);
    MUST(set_int(p.l, IPPROTO_TCP, 44, 5000));
    MUST(set_int(p.l, IPPROTO_TCP, 45, 40000));
    int c2 = dial(9795), s2 = MUST(accept(p.l, NULL, NULL));
    say("accepted %d %d %d", get_int(s2, IPPROTO_TCP, 44), get_int(s2, IPPROTO_TCP, 45), get_int(s2, IPPROTO_TCP, 46));
    close(c2);
    close(s2);

    say("-- TCP_TIMESTAMP and TCP_SAVED_SYN");
    for (int i = 0; i < 2; i++) {
        int o = i ? p.c : other, first = get_int(o, IPPROTO_TCP, TCP_TIMESTAMP);
        ms(20);
        int gone = get_int(o, IPPROTO_TCP, TCP_TIMESTAMP) - first;
        say("goes by milliseconds: %s, even: %s", gone >= 16 && gone < 1000 ? "yes" : "no", first & 1 ? "no" : "yes");
        OK(set_int(o, IPPROTO_TCP, TCP_TIMESTAMP, 1));
        n = sizeof b;
        OK(getsockopt(o, IPPROTO_TCP, TCP_SAVED_SYN, b, &n));
        say("length %d", (int)n);
    }
    close_pair(p);

    say("-- time limits");
    struct timeval t = {0, 1};
    n = sizeof t;
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, &n);
    tick = t.tv_usec;
    /* HZ is one of 100, 250, 300 and 1000. */
    say("a tick is one of the kernel's: %s", tick == 10000 || tick == 4000 || tick == 3333 || tick == 1000 ? "yes" : "no");
    /* Not a whole number of microseconds with 300. */
    if (tick == 3333) tick = 1;
    for (int i = 0; i < 2; i++) {
        int opt = i ? SO_SNDTIMEO : SO_RCVTIMEO;
        timeo(s, opt, 0, 0);
        timeo(s, opt, 0, 1);
        timeo(s, opt, 0, 3999);
        timeo(s, opt, 0, 500000);
        timeo(s, opt, 0, 999999);
        timeo(s, opt, 3, 1);
        timeo(s, opt, 0, 1000000);
        timeo(s, opt, 0, -1);
        timeo(s, opt, 9000000000000, 0);
        timeo(s, opt, -5, 0);
        timeo(s, opt, 0x7fffffffffffffff, 0);
    }
    say("-- none left");
    p = pair_at(9794);
    t = (struct timeval){-5, 0};
    MUST(setsockopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
    MUST(setsockopt(p.c, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t));
    R(recv(p.c, b, 4, 0));
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVBUF, 4000));
    static char large[1 << 24];
    OK(send(p.c, large, sizeof large, 0));
    for (int i = 0; i < 400 && send(p.c, large, sizeof large, MSG_DONTWAIT) > 0; i++) ms(5);
    R(send(p.c, large, sizeof large, 0));
    MUST(setsockopt(p.l, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
    R(accept(p.l, NULL, NULL));
    close_pair(p);
    return 0;
}
