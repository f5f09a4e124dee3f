/* What comes beside the data: TCP_INFO where nothing depends on time, TCP_INQ, the error queue of
 * MSG_ZEROCOPY and SO_TIMESTAMPING, and options of sending. */
#include "probe.h"
#include <linux/errqueue.h>

#include <linux/net_tstamp.h>

#ifndef SOL_TCP
#define SOL_TCP IPPROTO_TCP
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif

static uint32_t word(const unsigned char *b, int at)
{
    uint32_t v;
    memcpy(&v, b + at, 4);
    return v;
}

/* By offset: the headers here know less of the struct than the kernel. */
static void info(const char *who, int fd)
{
    unsigned char b[280];
    socklen_t n = sizeof b;
    memset(b, 0, sizeof b);
    int r = getsockopt(fd, SOL_TCP, TCP_INFO, b, &n);
    say("%s: %d len %u state %d ca %d probes %d options %d flags %d", who, r, n, b[0], b[1], b[3], b[5],
        b[0] == S_ESTABLISHED ? b[7] : 0);
    say("  rto %s snd_mss %u unacked %u sacked %u pmtu %u rttvar %s ssthresh %x cwnd %u reordering %u",
        word(b, 8) == 1000000 ? "1 s" : word(b, 8) ? "measured" : "0", b[0] == 7 ? word(b, 16) : 0, word(b, 24),
        word(b, 28), word(b, 60), word(b, 72) == 250000 ? "initial" : "other", word(b, 76), word(b, 80), word(b, 88));
    say("  acked %u received %u segs out %u in %u data out %u in %u delivered %u ce %u sent %u retrans %u ooo %u rto %x",
        word(b, 120), word(b, 128), word(b, 136), word(b, 140), word(b, 156), word(b, 152), word(b, 192), word(b, 196),
        word(b, 200), word(b, 208), word(b, 224), word(b, 240));
    say("  min_rtt %s max pacing %x%x sndbuf %u rwnd %u", word(b, 148) == UINT32_MAX ? "none" : "some", word(b, 112),
        word(b, 116), word(b, 184), word(b, 176));
}

/* One recvmsg with its control messages. */
static void message(int fd, size_t most, size_t room, int flags)
{
    char data[4096], control[256];
    struct iovec part = {data, most};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    errno = 0;
    ssize_t n = recvmsg(fd, &m, flags);
    say("recvmsg %zd %s flags %x control %zu", n, ename(n < 0 ? errno : 0), n < 0 ? 0 : m.msg_flags,
        n < 0 ? 0 : (size_t)m.msg_controllen);
    if (n < 0) return;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        struct sock_extended_err *e = (void *)CMSG_DATA(c);
        if (c->cmsg_level == SOL_SOCKET)
            say("  timestamp, %zu bytes, %s", (size_t)c->cmsg_len,
                llabs(*(long long *)CMSG_DATA(c) - (long long)time(NULL)) < 100 ? "now" : "another time");
        else if (c->cmsg_level == SOL_TCP)
            say("  tcp %d: %d, %zu bytes", c->cmsg_type, *(int *)CMSG_DATA(c), (size_t)c->cmsg_len);
        else if (c->cmsg_len < CMSG_LEN(sizeof *e))
            say("  level %d type %d %zu bytes", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len);
        else
            say("  level %d type %d %zu bytes: errno %s origin %d type %d code %d info %u data %u", c->cmsg_level,
                c->cmsg_type, (size_t)c->cmsg_len, ename((int)e->ee_errno), e->ee_origin, e->ee_type, e->ee_code,
                e->ee_info, e->ee_data);
    }
}

static void wait_for(int fd, short events)
{
    struct pollfd p = {fd, events, 0};
    poll(&p, 1, 5000);
    say("poll %x", p.revents & (POLLERR | POLLHUP | events));
}

/* Read what was written, so that it is acknowledged. */
static void take(int fd, size_t n)
{
    char buf[4096];
    while (n > 0) {
        ssize_t got = read(fd, buf, n < sizeof buf ? n : sizeof buf);
        if (got <= 0) return;
        n -= (size_t)got;
    }
}

static void pair(int domain, int *c, int *s, int *l)
{
    struct sockaddr_in a = in4("127.0.0.1", 9200);
    struct sockaddr_in6 a6 = in6("::1", 9200);
    void *at = domain == AF_INET ? (void *)&a : (void *)&a6;
    socklen_t n = domain == AF_INET ? sizeof a : sizeof a6;
    int one = 1;
    *l = MUST(socket(domain, SOCK_STREAM, 0));
    setsockopt(*l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    MUST(bind(*l, at, n));
    MUST(listen(*l, 5));
    *c = MUST(socket(domain, SOCK_STREAM, 0));
    info("fresh", *c);
    info("listening", *l);
    MUST(connect(*c, at, n));
    *s = MUST(accept(*l, NULL, NULL));
}

static void round_of(int domain)
{
    int c, s, l, v;
    socklen_t n;
    char buf[1000];
    memset(buf, 'x', sizeof buf);
    say("-- family %d", domain);
    pair(domain, &c, &s, &l);
    info("connected", c);
    info("accepted", s);

    say("-- TCP_INQ");
    v = 2;
    OK(setsockopt(s, SOL_TCP, TCP_INQ, &v, sizeof v));
    v = 1;
    OK(setsockopt(s, SOL_TCP, TCP_INQ, &v, sizeof v));
    OK(write(c, buf, 1000));
    wait_for(s, POLLIN);
    message(s, 300, 256, 0);
    message(s, 300, 18, 0);
    message(s, 300, 10, 0);
    message(s, 100, 256, MSG_PEEK);
    message(s, 100, 256, 0);

    say("-- MSG_ZEROCOPY");
    message(c, 0, 256, MSG_ERRQUEUE);
    v = 1;
    OK(setsockopt(c, SOL_SOCKET, SO_ZEROCOPY, &v, sizeof v));
    OK(send(c, buf, 1000, MSG_ZEROCOPY));
    take(s, 1000);
    wait_for(c, 0);
    OK(send(c, buf, 1000, MSG_ZEROCOPY));
    OK(send(c, buf, 1000, 0));
    take(s, 2000);
    wait_acked(c);
    usleep(20000);
    message(c, 0, 256, MSG_ERRQUEUE);
    message(c, 0, 256, MSG_ERRQUEUE);
    OK(send(c, buf, 1000, MSG_ZEROCOPY));
    take(s, 1000);
    wait_acked(c);
    usleep(20000);
    message(c, 0, 20, MSG_ERRQUEUE);

    say("-- SO_TIMESTAMPING");
    v = 1 << 19;
    OK(setsockopt(c, SOL_SOCKET, SO_TIMESTAMPING, &v, sizeof v));
    v = SOF_TIMESTAMPING_OPT_ID;
    OK(setsockopt(l, SOL_SOCKET, SO_TIMESTAMPING, &v, sizeof v));
    v = SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_ACK
        | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY;
    OK(setsockopt(c, SOL_SOCKET, SO_TIMESTAMPING, &v, sizeof v));
    int both[2] = {7, 7};
    n = sizeof both;
    OK(getsockopt(c, SOL_SOCKET, SO_TIMESTAMPING, both, &n));
    say("%d, %d of %u", both[0] == v, both[1], n);
    OK(write(c, buf, 700));
    take(s, 700);
    wait_acked(c);
    OK(write(c, buf, 300));
    take(s, 300);
    wait_acked(c);
    for (int i = 0; i < 7; i++) message(c, 0, 256, MSG_ERRQUEUE);

    say("-- options");
    v = 12345;
    OK(setsockopt(c, SOL_TCP, TCP_NOTSENT_LOWAT, &v, sizeof v));
    OK(setsockopt(c, SOL_TCP, TCP_NOTSENT_LOWAT, &v, 2));
    n = sizeof v, v = 0;
    OK(getsockopt(c, SOL_TCP, TCP_NOTSENT_LOWAT, &v, &n));
    say("lowat %d", v);
    v = 30000;
    OK(setsockopt(c, SOL_TCP, TCP_WINDOW_CLAMP, &v, sizeof v));
    n = sizeof v, v = 0;
    OK(getsockopt(c, SOL_TCP, TCP_WINDOW_CLAMP, &v, &n));
    say("clamp %d", v);
    v = 100;
    OK(setsockopt(c, SOL_TCP, TCP_WINDOW_CLAMP, &v, sizeof v));
    n = sizeof v, v = 0;
    OK(getsockopt(c, SOL_TCP, TCP_WINDOW_CLAMP, &v, &n));
    say("clamp %d", v);
    v = 0;
    OK(setsockopt(c, SOL_TCP, TCP_WINDOW_CLAMP, &v, sizeof v));
    v = 1000000;
    OK(setsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &v, sizeof v));
    uint64_t rate = 0;
    n = sizeof rate;
    OK(getsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &n));
    say("rate %llu of %u", (unsigned long long)rate, n);
    rate = 7000000000ull;
    OK(setsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate));
    n = sizeof v, v = 0;
    OK(getsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &v, &n));
    say("rate %u of %u", (unsigned)v, n);
    rate = UINT64_MAX;
    OK(setsockopt(c, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate));

    say("-- the end");
    shutdown(c, SHUT_WR);
    message(s, 100, 256, 0);
    for (int i = 0; i < 2000 && state_of(c) != S_FIN_WAIT2; i++) ms(5);
    info("shut down", c);
    info("its peer", s);
    close(s);
    usleep(20000);
    close(c);
    close(l);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    round_of(AF_INET);
    round_of(AF_INET6);
    return 0;
}
