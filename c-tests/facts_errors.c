/* Errors of calls with wrong arguments or in wrong states. */
#include "probe.h"

int main(int argc, char **argv)
{
    struct sockaddr_in a = in4("127.0.0.1", 9100), b = in4("198.51.100.7", 9100);
    struct sockaddr_in6 a6 = in6("::1", 9100);
    socklen_t n;
    char buf[64];
    int s, l, c, v;
    signal(SIGPIPE, SIG_IGN);
    (void)argv;

    say("-- socket");
    OK(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
    OK(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    OK(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
    OK(socket(AF_INET, SOCK_STREAM, 255));
    OK(socket(AF_INET, SOCK_STREAM, 256));
    OK(socket(AF_INET, SOCK_STREAM, -1));
    OK(socket(AF_INET, 77, 0));
    OK(socket(AF_INET, SOCK_SEQPACKET, 0));
    OK(socket(AF_INET, SOCK_RDM, 0));
    OK(socket(77, SOCK_STREAM, 0));
    OK(socket(AF_INET, SOCK_STREAM | 0x100000, 0));
    OK(socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){0, 0}));
    s = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    say("F_GETFL %s, F_GETFD %d", fcntl(s, F_GETFL) == (O_RDWR | O_NONBLOCK) ? "O_RDWR|O_NONBLOCK" : "other", fcntl(s, F_GETFD));
    close(s);

    say("-- bind");
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    OK(bind(s, SA(a), sizeof a - 1));
    OK(bind(s, SA(a), 2));
    OK(bind(s, NULL, sizeof a));
    OK(bind(s, SA(a6), sizeof a6));
    OK(bind(s, SA(b), sizeof b));
    OK(bind(s, SA(a), 200));
    a.sin_family = AF_UNSPEC;
    OK(bind(s, SA(a), sizeof a));
    a.sin_family = AF_INET;
    OK(bind(s, SA(a), sizeof a));
    OK(bind(s, SA(a), sizeof a));
    l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    OK(bind(l, SA(a), sizeof a));
    close(l);
    close(s);
    s = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    OK(bind(s, SA(a), sizeof a));
    OK(bind(s, SA(a6), 24));
    OK(bind(s, SA(a6), sizeof a6));
    close(s);
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in broad = in4("255.255.255.255", 9100), multi = in4("224.0.0.1", 9100);
    OK(bind(s, SA(broad), sizeof broad));
    OK(bind(s, SA(multi), sizeof multi));
    close(s);
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    OK(bind(s, SA(multi), sizeof multi));
    OK(listen(s, 1));
    close(s);
    say("-- bind conflicts");
    static const struct { const char *x, *y; int rx, ry, lx; } cases[] = {
        {"127.0.0.1", "127.0.0.2", 0, 0, 1}, {"0.0.0.0", "127.0.0.1", 0, 0, 1}, {"127.0.0.1", "0.0.0.0", 0, 0, 1},
        {"0.0.0.0", "127.0.0.1", 1, 1, 1}, {"0.0.0.0", "127.0.0.1", 1, 1, 0}, {"127.0.0.1", "127.0.0.1", 1, 1, 0},
        {"127.0.0.1", "127.0.0.1", 1, 0, 0}, {"127.0.0.1", "127.0.0.1", 0, 1, 0}, {"::", "0.0.0.0", 0, 0, 1},
        {"::", "0.0.0.0", 1, 1, 1}, {"::1", "127.0.0.1", 0, 0, 1}, {"::", "127.0.0.1", 1, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd[2], r[2], e[2] = {0, 0};
        for (int k = 0; k < 2; k++) {
            const char *ip = k ? cases[i].y : cases[i].x;
            int six = strchr(ip, ':') != NULL;
            struct sockaddr_in v4 = in4(six ? "0.0.0.0" : ip, 9105);
            struct sockaddr_in6 v6 = in6(six ? ip : "::", 9105);
            fd[k] = MUST(socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
            set_int(fd[k], SOL_SOCKET, SO_REUSEADDR, k ? cases[i].ry : cases[i].rx);
            r[k] = six ? bind(fd[k], SA(v6), sizeof v6) : bind(fd[k], SA(v4), sizeof v4);
            if (r[k]) e[k] = errno;
            if (!k && cases[i].lx) MUST(listen(fd[0], 1));
        }
        int lr = r[1] ? -1 : listen(fd[1], 1), le = lr ? errno : 0;
        say("%s reuse %d %s, then %s reuse %d: bind %s, listen %s", cases[i].x, cases[i].rx, cases[i].lx ? "listening" : "bound",
            cases[i].y, cases[i].ry, ename(e[1]), r[1] ? "-" : ename(le));
        close(fd[0]);
        close(fd[1]);
    }

    say("-- connect");
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    OK(connect(s, SA(a), sizeof a - 1));
    OK(connect(s, SA(a), 1));
    OK(connect(s, NULL, sizeof a));
    OK(connect(s, SA(a6), sizeof a6));
    OK(connect(s, SA(a), sizeof a));
    OK(connect(s, SA(broad), sizeof broad));
    OK(connect(s, SA(multi), sizeof multi));
    OK(connect(s, SA(b), sizeof b));
    struct sockaddr_in zero = in4("127.0.0.1", 0), any = in4("0.0.0.0", 9101);
    OK(connect(s, SA(zero), sizeof zero));
    l = listener(9101);
    OK(connect(s, SA(any), sizeof any));
    say_peer("to 0.0.0.0", s);
    OK(connect(s, SA(any), sizeof any));
    OK(bind(s, SA(a), sizeof a));
    OK(listen(s, 1));
    OK(connect(l, SA(a), sizeof a));
    OK(accept(s, NULL, NULL));
    close(s);
    s = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    struct sockaddr_in6 mapped = in6("::ffff:127.0.0.1", 9101);
    OK(connect(s, SA(mapped), sizeof mapped));
    say_name("mapped", s);
    say_peer("mapped", s);
    close(s);
    s = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    set_int(s, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    OK(connect(s, SA(mapped), sizeof mapped));
    close(s);
    s = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    OK(connect(s, SA(any), sizeof any));
    OK(connect(s, SA(a6), sizeof a6));
    close(s);
    say("-- connect to itself");
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in self = in4("127.0.0.1", 9109);
    MUST(bind(s, SA(self), sizeof self));
    OK(connect(s, SA(self), sizeof self));
    say_state("itself", s);
    say_send("itself", s, "echo");
    await(s, POLLIN, 10000);
    say_recv("itself", s);
    OK(shutdown(s, SHUT_WR));
    ms(100);
    say_state("itself, closed", s);
    say_recv("itself", s);
    say_events("itself", s);
    close(s);

    say("-- accept");
    nonblocking(l);
    while ((c = accept(l, NULL, NULL)) >= 0) close(c);
    OK(accept(l, NULL, NULL));
    c = dial(9101);
    n = (socklen_t)-1;
    struct sockaddr_storage st;
    OK(accept(l, SA(st), &n));
    close(c);
    c = dial(9101);
    n = 4;
    memset(&st, 0x55, sizeof st);
    v = accept4(l, SA(st), &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    say("short address: length %d, family %d, byte 4 %02x, flags %s %d", (int)n, st.ss_family, ((unsigned char *)&st)[4],
        fcntl(v, F_GETFL) & O_NONBLOCK ? "nonblocking" : "blocking", fcntl(v, F_GETFD));
    close(v);
    close(c);
    OK(accept4(l, NULL, NULL, 0x1000));
    c = dial(9101);
    OK(accept(l, SA(st), NULL));
    close(c);
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    OK(accept(s, NULL, NULL));
    OK(shutdown(s, 77));
    close(s);
    OK(accept(s, NULL, NULL));
    OK(accept(-1, NULL, NULL));
    int pipes[2];
    MUST(pipe(pipes));
    OK(accept(pipes[0], NULL, NULL));
    OK(listen(pipes[0], 1));
    OK(connect(pipes[0], SA(a), sizeof a));
    OK(getsockname(pipes[0], SA(st), &n));

    say("-- data calls");
    struct pair p = pair_at(9103);
    OK(shutdown(p.c, 77));
    OK(shutdown(p.c, -1));
    OK(send(p.c, NULL, 0, 0));
    OK(send(p.c, (void *)8, 10, 0));
    OK(send(p.c, buf, 10, MSG_OOB | MSG_DONTWAIT));
    await(p.s, POLLPRI, 10000);
    R(recv(p.s, buf, 64, 0));
    R(recv(p.s, buf, 64, MSG_OOB));
    OK(recv(p.s, buf, 64, MSG_OOB));
    close_pair(p);
    p = pair_at(9104);
    R(recv(p.s, buf, 0, MSG_DONTWAIT));
    R(read(p.s, buf, 0));
    R(recv(p.s, buf, 64, MSG_DONTWAIT));
    R(send(p.c, "hello", 5, 0));
    ms(10);
    R(recv(p.s, (void *)8, 5, 0));
    R(recv(p.s, buf, 2, MSG_PEEK));
    R(recv(p.s, NULL, 3, MSG_TRUNC));
    R(recv(p.s, buf, 64, 0));
    OK(sendto(p.c, "x", 1, 0, SA(b), sizeof b));
    OK(recv(p.s, buf, 64, 0));
    n = sizeof st;
    memset(&st, 0, sizeof st);
    R(send(p.c, "from", 4, 0));
    R(recvfrom(p.s, buf, 64, 0, SA(st), &n));
    say("recvfrom's address length %d family %d", (int)n, st.ss_family);
    OK(readv(p.s, NULL, 0));
    OK(writev(p.s, (struct iovec[]){{buf, 1}}, 1025));
    OK(writev(p.s, (struct iovec[]){{buf, (size_t)-1}}, 1));
    OK(lseek(p.s, 0, SEEK_SET));
    OK(pread(p.s, buf, 1, 0));
    OK(pwrite(p.s, buf, 1, 0));
    OK(fsync(p.s));
    OK(ftruncate(p.s, 0));
    OK(sockatmark(p.s));
    OK(sockatmark(pipes[0]));
    close_pair(p);

    say("-- getsockopt, setsockopt");
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    n = sizeof v;
    OK(getsockopt(s, SOL_SOCKET, 9999, &v, &n));
    OK(getsockopt(s, IPPROTO_TCP, 9999, &v, &n));
    OK(getsockopt(s, IPPROTO_IP, 9999, &v, &n));
    OK(getsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &v, &n));
    OK(getsockopt(s, 7777, 1, &v, &n));
    OK(setsockopt(s, SOL_SOCKET, 9999, &v, n));
    OK(setsockopt(s, IPPROTO_TCP, 9999, &v, n));
    OK(setsockopt(s, 7777, 1, &v, n));
    OK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, 2));
    OK(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, 2));
    OK(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, NULL, 4));
    OK(setsockopt(s, SOL_SOCKET, SO_ERROR, &v, n));
    OK(setsockopt(s, SOL_SOCKET, SO_TYPE, &v, n));
    OK(setsockopt(s, SOL_SOCKET, SO_LINGER, &v, sizeof v));
    OK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &v, sizeof v));
    struct timeval bad = {0, 1000000}, minus = {-1, 0};
    OK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &bad, sizeof bad));
    OK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &minus, sizeof minus));
    n = 2;
    v = -1;
    set_int(s, SOL_SOCKET, SO_KEEPALIVE, 1);
    OK(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &v, &n));
    say("two bytes asked: length %d value %08x", (int)n, v);
    n = 16;
    OK(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &v, &n));
    say("sixteen bytes offered: length %d", (int)n);
    n = (socklen_t)-1;
    OK(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &v, &n));
    /* A stack may lack those below the line (and then say ENOPROTOOPT); `facts_errors all` shows them too. */
    static const struct { const char *name; int level, opt; } opts[] = {
#define O(l, o) {#o, l, o}
        O(SOL_SOCKET, SO_TYPE), O(SOL_SOCKET, SO_PROTOCOL), O(SOL_SOCKET, SO_DOMAIN), O(SOL_SOCKET, SO_ACCEPTCONN),
        O(SOL_SOCKET, SO_REUSEADDR), O(SOL_SOCKET, SO_REUSEPORT), O(SOL_SOCKET, SO_KEEPALIVE), O(SOL_SOCKET, SO_BROADCAST),
        O(SOL_SOCKET, SO_OOBINLINE), O(SOL_SOCKET, SO_DONTROUTE), O(SOL_SOCKET, SO_PRIORITY), O(SOL_SOCKET, SO_MARK),
        O(SOL_SOCKET, SO_DEBUG), O(SOL_SOCKET, SO_TIMESTAMP), O(SOL_SOCKET, SO_BUSY_POLL), O(SOL_SOCKET, SO_PEEK_OFF),
        O(SOL_SOCKET, SO_NO_CHECK), O(SOL_SOCKET, SO_PASSCRED), O(SOL_SOCKET, SO_MAX_PACING_RATE), O(SOL_SOCKET, SO_RXQ_OVFL),
        O(IPPROTO_TCP, TCP_NODELAY), O(IPPROTO_TCP, TCP_MAXSEG), O(IPPROTO_TCP, TCP_CORK), O(IPPROTO_TCP, TCP_KEEPIDLE),
        O(IPPROTO_TCP, TCP_KEEPINTVL), O(IPPROTO_TCP, TCP_KEEPCNT), O(IPPROTO_TCP, TCP_SYNCNT), O(IPPROTO_TCP, TCP_LINGER2),
        O(IPPROTO_TCP, TCP_DEFER_ACCEPT), O(IPPROTO_TCP, TCP_QUICKACK), O(IPPROTO_TCP, TCP_USER_TIMEOUT), O(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
        O(IPPROTO_IP, IP_TOS), O(IPPROTO_IP, IP_TTL), O(IPPROTO_IP, IP_MTU_DISCOVER), O(IPPROTO_IP, IP_MTU),
        {NULL, 0, 0},
        O(SOL_SOCKET, SO_ZEROCOPY), O(IPPROTO_TCP, TCP_FASTOPEN), O(IPPROTO_TCP, TCP_INQ), O(IPPROTO_TCP, TCP_SAVE_SYN),
        O(IPPROTO_TCP, TCP_REPAIR), O(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS), O(IPPROTO_TCP, TCP_THIN_DUPACK),
        O(IPPROTO_TCP, TCP_TX_DELAY),
        O(IPPROTO_TCP, TCP_FASTOPEN_CONNECT), O(IPPROTO_TCP, TCP_WINDOW_CLAMP), O(IPPROTO_IP, IP_RECVERR), O(IPPROTO_IP, IP_FREEBIND),
        O(IPPROTO_IP, IP_TRANSPARENT), O(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT), O(IPPROTO_IP, IP_MULTICAST_TTL),
        O(IPPROTO_IP, IP_PKTINFO), O(IPPROTO_IP, IP_MINTTL)};
    for (int round = 0; round < 2; round++) {
        if (round) { close(s); s = dial(9101); }
        for (size_t i = 0; i < sizeof opts / sizeof *opts; i++) {
            if (!opts[i].name && argc < 2) break;
            if (!opts[i].name) continue;
            int r = get_int(s, opts[i].level, opts[i].opt);
            say("%s %s %d", round ? "connected" : "fresh", opts[i].name, r);
        }
    }
    n = 16;
    memset(buf, 0, sizeof buf);
    OK(getsockopt(s, IPPROTO_TCP, TCP_INFO, buf, &n));
    say("TCP_INFO of 16 bytes: length %d", (int)n);
    v = 1;
    OK(ioctl(s, 0x1234, &v));
    OK(ioctl(s, FIONBIO, &v));
    say("FIONBIO: %d", (fcntl(s, F_GETFL) & O_NONBLOCK) != 0);
    OK(ioctl(s, FIONREAD, &v));
    OK(ioctl(s, SIOCATMARK, &v));
    OK(ioctl(s, TCGETS, buf));
    say("isatty %d", isatty(s));
    OK(ioctl(l, FIONREAD, &v));
    OK(ioctl(l, SIOCOUTQ, &v));
    return 0;
}
