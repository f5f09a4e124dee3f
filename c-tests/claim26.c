/* Claim 26: SO_KEEPALIVE is off by default, 7200/75/9; answered probes are invisible to the program; what accepted sockets inherit. */
/* RFC 9293 MUST-24, MUST-25, MUST-27, MUST-28 */
#include "probe.h"

static void times(const char *who, int s)
{
    say("%s: SO_KEEPALIVE %d, idle %d, interval %d, count %d", who, get_int(s, SOL_SOCKET, SO_KEEPALIVE), get_int(s, IPPROTO_TCP, TCP_KEEPIDLE),
        get_int(s, IPPROTO_TCP, TCP_KEEPINTVL), get_int(s, IPPROTO_TCP, TCP_KEEPCNT));
}

int main(void)
{
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    times("fresh", s);
    OK(set_int(s, SOL_SOCKET, SO_KEEPALIVE, 1));
    times("on", s);
    OK(set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, 0));
    OK(set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, 32768));
    OK(set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, 32767));
    OK(set_int(s, IPPROTO_TCP, TCP_KEEPINTVL, 0));
    OK(set_int(s, IPPROTO_TCP, TCP_KEEPINTVL, 1));
    OK(set_int(s, IPPROTO_TCP, TCP_KEEPCNT, 0));
    OK(set_int(s, IPPROTO_TCP, TCP_KEEPCNT, 128));
    OK(set_int(s, IPPROTO_TCP, TCP_KEEPCNT, 127));
    times("extremes", s);
    close(s);

    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9026);
    struct linger lin = {1, 7};
    struct timeval tv = {3, 0}, back = {0, 0};
    socklen_t n = sizeof lin;
    set_int(l, SOL_SOCKET, SO_REUSEADDR, 1);
    set_int(l, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(l, IPPROTO_TCP, TCP_KEEPIDLE, 1);
    set_int(l, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    set_int(l, IPPROTO_TCP, TCP_KEEPCNT, 2);
    set_int(l, SOL_SOCKET, SO_SNDBUF, 20000);
    set_int(l, SOL_SOCKET, SO_RCVBUF, 30000);
    set_int(l, SOL_SOCKET, SO_OOBINLINE, 1);
    set_int(l, SOL_SOCKET, SO_RCVLOWAT, 3);
    set_int(l, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(l, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
    set_int(l, IPPROTO_TCP, TCP_LINGER2, 11);
    set_int(l, IPPROTO_TCP, TCP_SYNCNT, 2);
    set_int(l, IPPROTO_IP, IP_TOS, 0x10);
    set_int(l, IPPROTO_IP, IP_TTL, 33);
    set_int(l, SOL_SOCKET, SO_PRIORITY, 3);
    MUST(setsockopt(l, SOL_SOCKET, SO_LINGER, &lin, sizeof lin));
    MUST(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    MUST(setsockopt(l, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
    MUST(bind(l, SA(a), sizeof a));
    MUST(listen(l, 5));
    nonblocking(l);
    fcntl(l, F_SETFD, FD_CLOEXEC);
    int c = dial(9026);
    await(l, POLLIN, 10000);
    s = MUST(accept(l, NULL, NULL));
    times("accepted", s);
    memset(&lin, 0, sizeof lin);
    MUST(getsockopt(s, SOL_SOCKET, SO_LINGER, &lin, &n));
    n = sizeof back;
    MUST(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &back, &n));
    say("accepted: SNDBUF %d RCVBUF %d OOBINLINE %d RCVLOWAT %d NODELAY %d USER_TIMEOUT %d LINGER2 %d SYNCNT %d TOS %d TTL %d PRIORITY %d REUSEADDR %d",
        get_int(s, SOL_SOCKET, SO_SNDBUF), get_int(s, SOL_SOCKET, SO_RCVBUF), get_int(s, SOL_SOCKET, SO_OOBINLINE), get_int(s, SOL_SOCKET, SO_RCVLOWAT),
        get_int(s, IPPROTO_TCP, TCP_NODELAY), get_int(s, IPPROTO_TCP, TCP_USER_TIMEOUT), get_int(s, IPPROTO_TCP, TCP_LINGER2),
        get_int(s, IPPROTO_TCP, TCP_SYNCNT), get_int(s, IPPROTO_IP, IP_TOS), get_int(s, IPPROTO_IP, IP_TTL), get_int(s, SOL_SOCKET, SO_PRIORITY),
        get_int(s, SOL_SOCKET, SO_REUSEADDR));
    say("accepted: LINGER %d %d, RCVTIMEO %d, O_NONBLOCK %d, FD_CLOEXEC %d", lin.l_onoff, lin.l_linger, (int)back.tv_sec,
        (fcntl(s, F_GETFL) & O_NONBLOCK) != 0, fcntl(s, F_GETFD));
    say("the connecting end: KEEPALIVE %d NODELAY %d", get_int(c, SOL_SOCKET, SO_KEEPALIVE), get_int(c, IPPROTO_TCP, TCP_NODELAY));

    say("-- 2.5 s of silence with probes every second");
    struct pollfd p[2] = {{c, POLLIN | POLLRDHUP, 0}, {s, POLLIN | POLLRDHUP, 0}};
    long t = now_ms();
    int r = poll(p, 2, 2500);
    say("poll %d after all the time: %s", r, within(t, 2490, 10000));
    struct tcp_info i = info_of(s);
    say("the prober heard an acknowledgement lately: %s; probes outstanding %u", i.tcpi_last_ack_recv < 1600 ? "yes" : "no", i.tcpi_probes);
    say("no data came: %d %d", inq(c), inq(s));
    say_state("prober", s);
    say_state("probed", c);
    close(s);
    close(c);
    return 0;
}
