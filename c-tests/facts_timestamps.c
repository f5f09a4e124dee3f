/* Timestamps of what is received: SO_TIMESTAMP and its kin; and of what a single call sends. Times are compared with the clock, not printed. */
#include "probe.h"
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>

#define PORT 9185
#define RX_FILTER (1 << 17)
#define NEW_TIMESTAMP 63
#define NEW_TIMESTAMPNS 64
#define NEW_TIMESTAMPING 65

static long long clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static const char *age(long long at, int whole)
{
    static char text[4][64];
    static int turn;
    char *t = text[turn++ & 3];
    if (!whole) return "a part";
    long long d = clock_ns() - at;
    if (!at) return "no time";
    if (d >= 0 && d < 600000000) return "now";
    if (d >= 600000000 && d < 20000000000) return "before";
    snprintf(t, 64, "%lld ns ago", d);
    return t;
}

static void say_control(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        long long v[6] = {0};
        size_t n = c->cmsg_len - CMSG_LEN(0);
        memcpy(v, CMSG_DATA(c), n < sizeof v ? n : sizeof v);
        if (c->cmsg_level == SOL_SOCKET && (c->cmsg_type == SO_TIMESTAMP || c->cmsg_type == NEW_TIMESTAMP))
            say("  %s, %zu bytes: %s", c->cmsg_type == SO_TIMESTAMP ? "SO_TIMESTAMP" : "new SO_TIMESTAMP", n, age(v[0] * 1000000000LL + v[1] * 1000, n >= 16));
        else if (c->cmsg_level == SOL_SOCKET && (c->cmsg_type == SO_TIMESTAMPNS || c->cmsg_type == NEW_TIMESTAMPNS))
            say("  %s, %zu bytes: %s", c->cmsg_type == SO_TIMESTAMPNS ? "SO_TIMESTAMPNS" : "new SO_TIMESTAMPNS", n, age(v[0] * 1000000000LL + v[1], n >= 16));
        else if (c->cmsg_level == SOL_SOCKET && (c->cmsg_type == SO_TIMESTAMPING || c->cmsg_type == NEW_TIMESTAMPING))
            say("  %s, %zu bytes: %s, %lld %lld", c->cmsg_type == SO_TIMESTAMPING ? "SO_TIMESTAMPING" : "new SO_TIMESTAMPING", n,
                age(v[0] * 1000000000LL + v[1], 1), v[2] | v[3], v[4] | v[5]);
        else if (c->cmsg_level == IPPROTO_TCP) say("  TCP_INQ %d", *(int *)CMSG_DATA(c));
        else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) {
            struct sock_extended_err *e = (void *)CMSG_DATA(c);
            say("  error: origin %d, type %d, info %u, data %u, %zu bytes", e->ee_origin, e->ee_type, e->ee_info, e->ee_data, n);
        } else say("  level %d, type %d", c->cmsg_level, c->cmsg_type);
    }
}

static void receive(const char *what, int fd, size_t n, int flags, size_t room)
{
    char buf[4096], control[512];
    struct iovec v = {buf, n};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    long got = recvmsg(fd, &m, flags | MSG_DONTWAIT);
    if (got < 0) {
        say("%s: %s", what, ename(errno));
        return;
    }
    say("%s: %ld bytes, flags %x, control %zu", what, got, m.msg_flags, (size_t)m.msg_controllen);
    say_control(&m);
}

static void sent(struct pair *p, int n)
{
    char buf[4096] = {0};
    int before = inq(p->s);
    MUST(send(p->c, buf, (size_t)n, 0));
    wait_inq(p->s, before + n);
}

static void options(void)
{
    static const struct { int number; const char *name; } o[] = {{SO_TIMESTAMP, "SO_TIMESTAMP"}, {SO_TIMESTAMPNS, "SO_TIMESTAMPNS"},
        {NEW_TIMESTAMP, "new SO_TIMESTAMP"}, {NEW_TIMESTAMPNS, "new SO_TIMESTAMPNS"}};
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say("-- options");
    for (int i = 0; i < 4; i++) {
        int r = set_int(fd, SOL_SOCKET, o[i].number, 7);
        say("%s 7: %d", o[i].name, r);
        for (int j = 0; j < 4; j++) say("  %s %d", o[j].name, get_int(fd, SOL_SOCKET, o[j].number));
    }
    MUST(set_int(fd, SOL_SOCKET, SO_TIMESTAMPNS, 0));
    for (int j = 0; j < 4; j++) say("off by SO_TIMESTAMPNS: %s %d", o[j].name, get_int(fd, SOL_SOCKET, o[j].number));
    MUST(set_int(fd, SOL_SOCKET, NEW_TIMESTAMPNS, 1));
    MUST(set_int(fd, SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_RX_SOFTWARE));
    for (int j = 0; j < 4; j++) say("then old SO_TIMESTAMPING: %s %d", o[j].name, get_int(fd, SOL_SOCKET, o[j].number));
    say("SO_TIMESTAMPING %d, new %d", get_int(fd, SOL_SOCKET, SO_TIMESTAMPING), get_int(fd, SOL_SOCKET, NEW_TIMESTAMPING));
    MUST(set_int(fd, SOL_SOCKET, SO_TIMESTAMP, 1));
    MUST(set_int(fd, SOL_SOCKET, NEW_TIMESTAMPING, SOF_TIMESTAMPING_RX_SOFTWARE));
    for (int j = 0; j < 4; j++) say("then new SO_TIMESTAMPING: %s %d", o[j].name, get_int(fd, SOL_SOCKET, o[j].number));
    say("SO_TIMESTAMPING %d, new %d", get_int(fd, SOL_SOCKET, SO_TIMESTAMPING), get_int(fd, SOL_SOCKET, NEW_TIMESTAMPING));
    close(fd);
}

static void receiving(void)
{
    static const int all[] = {SO_TIMESTAMP, SO_TIMESTAMPNS, NEW_TIMESTAMP, NEW_TIMESTAMPNS};
    static const int flags[] = {SOF_TIMESTAMPING_RX_SOFTWARE, SOF_TIMESTAMPING_SOFTWARE,
        SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE, SOF_TIMESTAMPING_SOFTWARE | RX_FILTER};
    struct pair p = pair_at(PORT);
    say("-- receiving");
    receive("nothing there", p.s, 10, 0, 512);
    for (int i = 0; i < 4; i++) {
        MUST(set_int(p.s, SOL_SOCKET, all[i], 1));
        sent(&p, 5);
        receive("received", p.s, 10, 0, 512);
        MUST(set_int(p.s, SOL_SOCKET, all[i], 0));
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        for (int new = 0; new < 2; new++) {
            MUST(set_int(p.s, SOL_SOCKET, SO_TIMESTAMP, 1));
            MUST(set_int(p.s, SOL_SOCKET, new ? NEW_TIMESTAMPING : SO_TIMESTAMPING, flags[i]));
            sent(&p, 5);
            receive(new ? "SO_TIMESTAMPING, new" : "SO_TIMESTAMPING", p.s, 10, 0, 512);
            MUST(set_int(p.s, SOL_SOCKET, SO_TIMESTAMP, 0));
            MUST(set_int(p.s, SOL_SOCKET, new ? NEW_TIMESTAMPING : SO_TIMESTAMPING, 0));
        }
    MUST(set_int(p.s, SOL_SOCKET, SO_TIMESTAMPNS, 1));
    MUST(set_int(p.s, IPPROTO_TCP, TCP_INQ, 1));
    MUST(set_int(p.c, IPPROTO_TCP, TCP_NODELAY, 1));
    sent(&p, 5);
    ms(700);
    receive("an old one, a part of it", p.s, 3, 0, 512);
    receive("peeked at", p.s, 3, MSG_PEEK, 512);
    sent(&p, 5);
    receive("with a newer one", p.s, 10, 0, 512);
    sent(&p, 5);
    receive("small room", p.s, 10, 0, 20);
    sent(&p, 5);
    receive("no room", p.s, 10, 0, 0);
    sent(&p, 5);
    receive("dropped", p.s, 10, MSG_TRUNC, 512);
    MUST(set_int(p.s, SOL_SOCKET, SO_TIMESTAMPNS, 0));
    MUST(set_int(p.s, IPPROTO_TCP, TCP_INQ, 0));
    sent(&p, 5);
    MUST(set_int(p.s, SOL_SOCKET, SO_TIMESTAMPNS, 1));
    shutdown(p.c, SHUT_WR);
    await(p.s, POLLRDHUP, 10000);
    receive("the rest", p.s, 10, 0, 512);
    receive("the end", p.s, 10, 0, 512);
    close_pair(p);
    p.l = listener(PORT + 1);
    MUST(set_int(p.l, SOL_SOCKET, SO_TIMESTAMPNS, 1));
    p.c = dial(PORT + 1);
    p.s = MUST(accept(p.l, NULL, NULL));
    say("accepted: %d", get_int(p.s, SOL_SOCKET, SO_TIMESTAMPNS));
    sent(&p, 5);
    receive("received", p.s, 10, 0, 512);
    close_pair(p);
}

static void send_stamped(int fd, int n, unsigned flags)
{
    char buf[100] = {0}, control[CMSG_SPACE(4)];
    struct iovec v = {buf, (size_t)n};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SO_TIMESTAMPING;
    c->cmsg_len = CMSG_LEN(4);
    memcpy(CMSG_DATA(c), &flags, 4);
    long r = sendmsg(fd, &m, 0);
    say("sendmsg with flags %x: %ld %s", flags, r, r < 0 ? ename(errno) : "");
}

static void sending(void)
{
    struct pair p = pair_at(PORT + 2);
    unsigned base = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY | SOF_TIMESTAMPING_OPT_ID;
    say("-- sending");
    MUST(set_int(p.c, SOL_SOCKET, SO_TIMESTAMPING, (int)base));
    sent(&p, 10);
    receive("not asked for", p.c, 0, MSG_ERRQUEUE, 512);
    send_stamped(p.c, 10, SOF_TIMESTAMPING_TX_ACK);
    wait_acked(p.c);
    ms(20);
    receive("of one call", p.c, 0, MSG_ERRQUEUE, 512);
    receive("no more", p.c, 0, MSG_ERRQUEUE, 512);
    send_stamped(p.c, 10, SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE);
    wait_acked(p.c);
    ms(20);
    for (int i = 0; i < 3; i++) receive("of one call", p.c, 0, MSG_ERRQUEUE, 512);
    sent(&p, 10);
    receive("not asked for again", p.c, 0, MSG_ERRQUEUE, 512);
    send_stamped(p.c, 10, SOF_TIMESTAMPING_SOFTWARE);
    send_stamped(p.c, 10, SOF_TIMESTAMPING_TX_ACK | SOF_TIMESTAMPING_RX_SOFTWARE);
    send_stamped(p.c, 10, 1u << 20);
    receive("refused", p.c, 0, MSG_ERRQUEUE, 512);
    MUST(set_int(p.c, SOL_SOCKET, SO_TIMESTAMPING, (int)(base | SOF_TIMESTAMPING_TX_ACK)));
    send_stamped(p.c, 10, SOF_TIMESTAMPING_TX_SOFTWARE);
    wait_acked(p.c);
    ms(20);
    for (int i = 0; i < 2; i++) receive("instead of the socket's", p.c, 0, MSG_ERRQUEUE, 512);
    sent(&p, 10);
    wait_acked(p.c);
    ms(20);
    for (int i = 0; i < 2; i++) receive("the socket's", p.c, 0, MSG_ERRQUEUE, 512);
    struct cmsghdr odd[4] = {{.cmsg_len = 3, .cmsg_level = SOL_SOCKET, .cmsg_type = SO_TIMESTAMPING}};
    struct msghdr m = {.msg_control = odd, .msg_controllen = sizeof odd};
    R(sendmsg(p.c, &m, 0));
    odd[0].cmsg_len = CMSG_LEN(8);
    R(sendmsg(p.c, &m, 0));
    odd[0].cmsg_len = sizeof odd + 1;
    R(sendmsg(p.c, &m, 0));
    odd[0] = (struct cmsghdr){.cmsg_len = CMSG_LEN(0), .cmsg_level = IPPROTO_IP, .cmsg_type = 999};
    m.msg_controllen = CMSG_LEN(0);
    R(sendmsg(p.c, &m, 0));
    m.msg_controllen = 7;
    R(sendmsg(p.c, &m, 0));
    /* Others than SO_TIMESTAMPING's. */
    static const int kinds[] = {SCM_RIGHTS, SCM_CREDENTIALS, SO_MARK, SO_PRIORITY, SO_TIMESTAMP, 61, 81, 999};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (size_t n = 0; n <= 8; n += 4) {
            odd[0] = (struct cmsghdr){.cmsg_len = CMSG_LEN(n), .cmsg_level = SOL_SOCKET, .cmsg_type = kinds[i]};
            memset(odd + 1, 0, sizeof *odd);
            m.msg_controllen = CMSG_SPACE(n);
            say("type %d, %zu bytes:", kinds[i], n);
            R(sendmsg(p.c, &m, 0));
        }
    /* More than anybody reads at once, and one behind it. */
    static struct { struct cmsghdr h; char rest[2000 - sizeof(struct cmsghdr)]; struct cmsghdr last; unsigned flags; } far;
    far.h = (struct cmsghdr){.cmsg_len = 2000, .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    far.last = (struct cmsghdr){.cmsg_len = CMSG_LEN(4), .cmsg_level = SOL_SOCKET, .cmsg_type = SO_TIMESTAMPING};
    m.msg_control = &far;
    m.msg_controllen = sizeof far;
    R(sendmsg(p.c, &m, 0));
    far.flags = 1u << 20;
    R(sendmsg(p.c, &m, 0));
    m.msg_control = (void *)1;
    m.msg_controllen = 64;
    R(sendmsg(p.c, &m, 0));
    close_pair(p);
}

int main(void)
{
    /* The kernel begins to stamp a moment after the first socket has asked. */
    MUST(set_int(MUST(socket(AF_INET, SOCK_STREAM, 0)), SOL_SOCKET, SO_TIMESTAMP, 1));
    ms(100);
    traffic(PORT);
    options();
    receiving();
    sending();
    return 0;
}
