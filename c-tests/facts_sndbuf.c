/* How many bytes a non-blocking send takes while the peer doesn't read, for a range of buffer sizes
 * and of bytes per call; and how SO_SNDBUF and SO_RCVBUF read back.
 * With an address as argument, of another host, where `facts_sndbuf hold` runs; else a listener of this process on 127.0.0.1. */
#include "probe.h"

static const char *host;

static struct pair fresh(int port, int snd, int rcv)
{
    struct pair p;
    struct sockaddr_in a = in4("127.0.0.1", port);
    int one = 1;
    if (host) {
        p.c = MUST(socket(AF_INET, SOCK_STREAM, 0));
        if (snd) set_int(p.c, SOL_SOCKET, SO_SNDBUF, snd);
        MUST(connect_raw(p.c, host, 9101));
        p.l = p.s = -1;
        return p;
    }
    p.l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set_int(p.l, SOL_SOCKET, SO_REUSEADDR, one);
    if (rcv) set_int(p.l, SOL_SOCKET, SO_RCVBUF, rcv);
    MUST(bind(p.l, SA(a), sizeof a));
    MUST(listen(p.l, 5));
    p.c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    if (snd) set_int(p.c, SOL_SOCKET, SO_SNDBUF, snd);
    MUST(connect_raw(p.c, "127.0.0.1", port));
    p.s = MUST(accept(p.l, NULL, NULL));
    return p;
}

/* Accepts and never reads; lets go when the other end resets. */
static void hold(void)
{
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("0.0.0.0", 9101);
    set_int(l, SOL_SOCKET, SO_RCVBUF, 4096);
    MUST(bind(l, SA(a), sizeof a));
    MUST(listen(l, 5));
    say("ready");
    for (;;) {
        int s = MUST(accept(l, NULL, NULL));
        await(s, 0, -1);
        close(s);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "hold")) hold();
    host = argc > 1 ? argv[1] : NULL;
    static const int sizes[] = {0, 1, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 1048576};
    static const int chunks[] = {1, 100, 1000, 1448, 4096, 16384, 65536, 1 << 20};
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say("defaults: SO_SNDBUF %d SO_RCVBUF %d SO_SNDLOWAT %d SO_RCVLOWAT %d", get_int(s, SOL_SOCKET, SO_SNDBUF),
        get_int(s, SOL_SOCKET, SO_RCVBUF), get_int(s, SOL_SOCKET, SO_SNDLOWAT), get_int(s, SOL_SOCKET, SO_RCVLOWAT));
    static const int asked[] = {0, 1, 1151, 1152, 1153, 2303, 2304, 2305, 4096, 65536, 212992, 4194304, 10000000, -1};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        int a = set_int(s, SOL_SOCKET, SO_SNDBUF, asked[i]), ae = errno;
        int b = set_int(s, SOL_SOCKET, SO_RCVBUF, asked[i]), be = errno;
        say("set %d: SO_SNDBUF %s reads %d, SO_RCVBUF %s reads %d", asked[i], a ? ename(ae) : "ok",
            get_int(s, SOL_SOCKET, SO_SNDBUF), b ? ename(be) : "ok", get_int(s, SOL_SOCKET, SO_RCVBUF));
    }
    close(s);
    struct pair p = fresh(9100, 0, 0);
    if (!host) say("connected: client SO_SNDBUF %d SO_RCVBUF %d, accepted SO_SNDBUF %d SO_RCVBUF %d",
        get_int(p.c, SOL_SOCKET, SO_SNDBUF), get_int(p.c, SOL_SOCKET, SO_RCVBUF),
        get_int(p.s, SOL_SOCKET, SO_SNDBUF), get_int(p.s, SOL_SOCKET, SO_RCVBUF));
    if (host) reset_close(p.c);
    else close_pair(p);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++) {
            if (chunks[k] < 1000 && sizes[i] != 4096 && sizes[i] != 65536) continue;
            p = fresh(9101, sizes[i], 4096);
            nonblocking(p.c);
            static char b[1 << 20];
            long n, total = 0, last = 0, calls = 0;
            while ((n = send(p.c, b, (size_t)chunks[k], 0)) > 0) { total += n; last = n; calls++; }
            long first = total;
            ms(60);
            while ((n = send(p.c, b, (size_t)chunks[k], 0)) > 0) { total += n; last = n; calls++; }
            say("SO_SNDBUF %d, SO_RCVBUF 4096, %d a call: %ld taken at once, %ld in the end, last %ld, %ld calls; "
                "Send-Q %d unsent %d, peer has %d; SO_SNDBUF now %d",
                sizes[i], chunks[k], first, total, last, calls, outq(p.c), outq_unsent(p.c), inq(p.s), get_int(p.c, SOL_SOCKET, SO_SNDBUF));
            reset_close(p.c);
            if (p.s >= 0) close(p.s);
            if (p.l >= 0) close(p.l);
        }
    return 0;
}
