/* Claim 16: how connect fails. Without arguments, what needs no other host; with addresses as arguments, those are tried in turn,
 * blocking with TCP_SYNCNT 1 (so that a silent host is given up after 3 s, not 131; SYNCNT overrides). */
#include "probe.h"

/* An ICMP error that the other end sends before connect() has gone to sleep is only noted, the next one (of the repeated
 * SYN) counts; so "soon" means at once or with the second SYN. */
static void try(const char *ip, int port)
{
    int s = MUST(socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    set_int(s, IPPROTO_TCP, TCP_SYNCNT, atoi(env_or("SYNCNT", "1")));
    long t = now_ms();
    int r = connect_raw(s, ip, port), e = errno;
    t = now_ms() - t;
    say("connect %s: %s %s", ip, r ? ename(e) : "ok", t < 1500 ? "soon" : t < 2500 ? "after two seconds" : t < 4500 ? "after three or four seconds" : "later");
    say_state("  then", s);
    say_name("  then", s);
    close(s);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        for (int i = 1; i < argc; i++) try(argv[i], 9016);
        return 0;
    }
    try("127.0.0.1", 9016);
    try("::1", 9016);
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in mine = in4("127.0.0.1", 0);
    MUST(bind(s, SA(mine), sizeof mine));
    say("-- a host that doesn't answer: the accept queue is full, TCP_SYNCNT 1");
    int l = listener_at("127.0.0.1", 9017, 0), c = dial(9017);
    try("127.0.0.1", 9017);
    say("-- the same, non-blocking");
    s = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    set_int(s, IPPROTO_TCP, TCP_SYNCNT, 1);
    long t = now_ms();
    OK(connect_raw(s, "127.0.0.1", 9017));
    say("poll says something: %s", await(s, POLLOUT, 9000) ? "yes" : "no");
    say("after 3 s: %s", within(t, 2900, 3500));
    say_events("then", s);
    say_error("then", s);
    say_recv("then", s);
    say("-- SO_SNDTIMEO 300 ms");
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct timeval tv = {0, 300000};
    MUST(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
    t = now_ms();
    OK(connect_raw(s, "127.0.0.1", 9017));
    say("after 300 ms: %s", within(t, 290, 450));
    say_state("then", s);
    OK(connect_raw(s, "127.0.0.1", 9017));
    close(s);
    say("-- TCP_USER_TIMEOUT 1500");
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    OK(set_int(s, IPPROTO_TCP, TCP_USER_TIMEOUT, 1500));
    t = now_ms();
    OK(connect_raw(s, "127.0.0.1", 9017));
    say("after 1.5 s: %s", within(t, 1400, 2200));
    close(s);
    close(c);
    close(l);
    return 0;
}
