/* Claim 23: send blocks until everything is copied; SO_SNDBUF bounds the buffer.
 * With an address as argument, of a host where `facts_sndbuf hold` runs: what is taken at once over its wire, in calls of 1000 bytes.
 * What a buffer takes depends on how the bytes were cut, so that the counts are given as ranges around the kernel's. */
#include "probe.h"

static struct pair with(int port, int snd, int rcv)
{
    struct pair p;
    struct sockaddr_in a = in4("127.0.0.1", port);
    p.l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set_int(p.l, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rcv) set_int(p.l, SOL_SOCKET, SO_RCVBUF, rcv);
    MUST(bind(p.l, SA(a), sizeof a));
    MUST(listen(p.l, 1));
    p.c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    if (snd) set_int(p.c, SOL_SOCKET, SO_SNDBUF, snd);
    MUST(connect_raw(p.c, "127.0.0.1", port));
    p.s = MUST(accept(p.l, NULL, NULL));
    return p;
}
static void range(const char *what, long v, long lo, long hi)
{
    if (v >= lo && v <= hi) say("%s: between %ld and %ld", what, lo, hi);
    else say("%s: %ld, not between %ld and %ld", what, v, lo, hi);
}

static void on_alarm(int sig) { (void)sig; }

static void across(const char *ip)
{
    /* kernel, MTU 1500: 4896, 7000, 13584, 25168, 45440, 87432, 336488 */
    static const struct { int snd; long lo, hi; } rows[] = {{1, 3900, 7000}, {4096, 5800, 11500}, {8192, 11000, 19000},
        {16384, 21000, 33000}, {32768, 38000, 57000}, {65536, 74000, 105000}, {262144, 286000, 400000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int c = MUST(socket(AF_INET, SOCK_STREAM, 0));
        set_int(c, SOL_SOCKET, SO_SNDBUF, rows[i].snd);
        MUST(connect_raw(c, ip, 9101));
        char title[80];
        snprintf(title, sizeof title, "SO_SNDBUF %d, taken at once", rows[i].snd);
        range(title, send_until_full(c, 1000), rows[i].lo, rows[i].hi);
        stuff(c, 1000);
        say("  poll %s", events_name(events_of(c)));
        reset_close(c);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        across(argv[1]);
        return 0;
    }
    static const int asked[] = {1, 4096, 65536, 1000000, 2000000000};
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say("fresh: %d %d", get_int(s, SOL_SOCKET, SO_SNDBUF), get_int(s, SOL_SOCKET, SO_RCVBUF));
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        OK(set_int(s, SOL_SOCKET, SO_SNDBUF, asked[i]));
        OK(set_int(s, SOL_SOCKET, SO_RCVBUF, asked[i]));
        say("%d reads back %d %d", asked[i], get_int(s, SOL_SOCKET, SO_SNDBUF), get_int(s, SOL_SOCKET, SO_RCVBUF));
    }
    close(s);

    static const struct { int snd, chunk; long lo, hi; } rows[] = {
        /* kernel: 8192, 10000, 12288, 12227, 30720, 55296, 100352, 380928 */
        {1, 4096, 6000, 10500}, {4096, 1000, 7000, 13000}, {4096, 65536, 8500, 15500}, {4096, 1, 8500, 15500},
        {16384, 4096, 23000, 38000}, {32768, 16384, 41000, 68000}, {65536, 65536, 75000, 125000}, {262144, 65536, 290000, 470000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pair p = with(9023, rows[i].snd, 4096);
        nonblocking(p.c);
        long sum = stuff(p.c, (size_t)rows[i].chunk);
        for (int k = 0; k < 2000 && sum != outq(p.c) + inq(p.s); k++) ms(5);
        char title[80];
        snprintf(title, sizeof title, "SO_SNDBUF %d, %d a call, taken", rows[i].snd, rows[i].chunk);
        range(title, sum, rows[i].lo, rows[i].hi);
        say("  all of it is in Send-Q and the peer's Recv-Q: %s", sum == outq(p.c) + inq(p.s) ? "yes" : "no");
        say("  poll %s, then %s", events_name(events_of(p.c)), send(p.c, "x", 1, 0) == -1 ? ename(errno) : "taken");
        close_pair(p);
    }

    say("-- blocking");
    struct pair p = with(9024, 16384, 4096);
    pid_t pid;
    long t = now_ms();
    if (child(&pid)) {
        static unsigned char big[500000];
        close(p.s);
        close(p.l);
        fill(big, sizeof big, 0);
        long n = send(p.c, big, sizeof big, 0);
        say("send took all %ld of it, and waited for the reader: %s", n, within(t, 195, 20000));
        exit(0);
    }
    close(p.c);
    ms(200);
    static unsigned char got[600000];
    long n, sum = 0;
    while ((n = read(p.s, got + sum, sizeof got - (size_t)sum)) > 0) sum += n;
    say_exit("sender", pid);
    say("read %ld, right: %s", sum, fits(got, (size_t)sum, 0) ? "yes" : "no");
    close(p.s);
    close(p.l);

    say("-- interrupted");
    p = with(9025, 16384, 4096);
    static char big[1 << 20];
    struct sigaction act = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &act, NULL);
    /* Again and again: on a busy machine the first may come before the call. */
    struct itimerval it = {{0, 150000}, {0, 150000}}, none = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &it, NULL);
    n = send(p.c, big, sizeof big, 0);
    range("a signal after a part: the part is returned", n, 23000, 45000);
    while (send(p.c, big, sizeof big, 0) > 0) {}
    say("a signal before any: %s", ename(errno));
    setitimer(ITIMER_REAL, &none, NULL);
    struct timeval tv = {0, 200000};
    MUST(setsockopt(p.c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
    t = now_ms();
    R(send(p.c, big, sizeof big, 0));
    say("SO_SNDTIMEO 200 ms: %s", within(t, 190, 5000));
    R(send(p.c, big, sizeof big, MSG_DONTWAIT));
    close_pair(p);
    return 0;
}
