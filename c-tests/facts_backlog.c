/* What the backlog of listen() bounds, and what clients see when it is full. */
#include "probe.h"

static void one(int port, int backlog, int n)
{
    int c[40], l = listener_at("127.0.0.1", port, backlog), done = 0, waiting = 0;
    for (int i = 0; i < n; i++) {
        c[i] = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        connect_raw(c[i], "127.0.0.1", port);
    }
    ms(100);
    for (int i = 0; i < n; i++) {
        int st = state_of(c[i]);
        done += st == S_ESTABLISHED;
        waiting += st == S_SYN_SENT;
    }
    struct tcp_info t = info_of(l);
    say("listen(%d), %d connects: %d clients ESTABLISHED, %d SYN_SENT; server side ESTABLISHED %d SYN_RECV %d; "
        "listener: waiting %d of %d; table:", backlog, n, done, waiting, count_rows(port, S_ESTABLISHED) - done,
        count_rows(port, S_SYN_RECV), t.tcpi_unacked, t.tcpi_sacked);
    struct row rows[256];
    int m = table_read("/proc/net/tcp", port, rows, 256);
    for (int i = 0; i < m; i++)
        if (rows[i].state == S_LISTEN) say("  LISTEN rx %u tx %u", rows[i].rx, rows[i].tx);
    int a, k = 0;
    nonblocking(l);
    while ((a = accept(l, NULL, NULL)) >= 0) { k++; close(a); }
    say("  accepted %d", k);
    for (int i = 0; i < n; i++) close(c[i]);
    close(l);
}

int main(void)
{
    one(9100, 0, 4);
    one(9101, 1, 5);
    one(9102, 5, 10);
    one(9103, -1, 20);
    one(9104, 10, 14);

    say("-- the waiting client gets in when there is room");
    int l = listener_at("127.0.0.1", 9110, 0), c = dial(9110), s, d;
    int w = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    connect_raw(w, "127.0.0.1", 9110);
    long t = now_ms();
    ms(20);
    s = MUST(accept(l, NULL, NULL));
    say("accepted one; the other is %s", state_name(state_of(w)));
    await(w, POLLOUT, 5000);
    say("its SYN is repeated after about a second: %s", within(t, 950, 1900));
    say_state("waiting client", w);
    d = MUST(accept(l, NULL, NULL));
    close(d); close(w); close(c); close(s);
    say("-- the listener closes with connections waiting");
    c = dial(9110);
    say_events("client", c);
    close(l);
    await(c, POLLERR, 10000);
    say_state("client", c);
    say_events("client", c);
    say_recv("client", c);
    close(c);
    say("-- somaxconn and listen again");
    l = listener_at("127.0.0.1", 9111, 100000);
    say("listen(100000): limit %d", info_of(l).tcpi_sacked);
    MUST(listen(l, 3));
    say("listen(3): limit %d", info_of(l).tcpi_sacked);
    close(l);
    say("-- listen without bind takes a free port");
    l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    OK(listen(l, 1));
    say_name("listener", l);
    OK(connect_raw(l, "127.0.0.1", 9111));
    close(l);
    return 0;
}
