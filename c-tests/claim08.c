/* Claim 8: connect() picks a free local port; bind() first is allowed. */
#include "probe.h"

int main(void)
{
    int l = listener_at("127.0.0.1", 9008, 200), l2 = listener_at("127.0.0.1", 9009, 200), c[50], twice = 0, out = 0;
    for (int i = 0; i < 50; i++) {
        c[i] = dial(9008);
        int p = port_of(c[i]);
        out += p < 32768 || p > 60999;
        for (int k = 0; k < i; k++) twice += port_of(c[k]) == p;
    }
    say("50 connections: %d ports outside 32768-60999, %d taken twice", out, twice);
    say_name("client", c[0]);
    for (int i = 0; i < 50; i++) reset_close(c[i]);

    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.5", 9108), part = in4("127.0.0.6", 0);
    MUST(bind(s, SA(a), sizeof a));
    OK(connect_raw(s, "127.0.0.1", 9008));
    say_name("bound to address and port", s);
    int t = MUST(socket(AF_INET, SOCK_STREAM, 0));
    OK(bind(t, SA(a), sizeof a));
    close(t);
    t = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(bind(t, SA(part), sizeof part));
    say("port chosen by bind: %s", port_of(t) ? "yes" : "no");
    OK(connect_raw(t, "127.0.0.1", 9008));
    say_name("bound to an address alone", t);
    reset_close(t);
    reset_close(s);

    say("-- two connections from one port, to different servers");
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    t = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set_int(s, SOL_SOCKET, SO_REUSEADDR, 1);
    set_int(t, SOL_SOCKET, SO_REUSEADDR, 1);
    OK(bind(s, SA(a), sizeof a));
    OK(bind(t, SA(a), sizeof a));
    OK(connect_raw(s, "127.0.0.1", 9008));
    OK(connect_raw(t, "127.0.0.1", 9009));
    say_table("table", 9108);
    int u = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set_int(u, SOL_SOCKET, SO_REUSEADDR, 1);
    OK(bind(u, SA(a), sizeof a));
    OK(connect_raw(u, "127.0.0.1", 9009));
    close(u);
    reset_close(s);
    reset_close(t);

    say("-- four ports in all");
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");
    if (!f || fprintf(f, "40000 40003\n") < 0 || fclose(f)) say("can't set the range: %s", ename(errno));
    int got = 0, d[6];
    for (int i = 0; i < 6; i++) {
        d[i] = MUST(socket(AF_INET, SOCK_STREAM, 0));
        int r = connect_raw(d[i], "127.0.0.1", 9008);
        if (!r) got++;
        else say("connect %d: %s", i + 1, ename(errno));
    }
    say("%d connections to one server", got);
    OK(connect_raw(d[5], "127.0.0.1", 9009));
    reset_close(d[0]);
    OK(connect_raw(d[4], "127.0.0.1", 9008));
    close(l);
    close(l2);
    return 0;
}
