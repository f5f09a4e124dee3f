/* Claim 35: TIME_WAIT is visible; a restarted server gets EADDRINUSE meanwhile, unless both had SO_REUSEADDR.
 * With `long`, also that it ends after 60 s. */
#include "probe.h"

static int server(int port, int reuse, const char *ip)
{
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4(ip, port);
    if (reuse) set_int(s, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(s, SA(a), sizeof a) || listen(s, 5)) {
        int e = errno;
        close(s);
        errno = e;
        return -1;
    }
    return s;
}

int main(int argc, char **argv)
{
    int port = 9135;
    for (int before = 0; before < 2; before++)
        for (int after = 0; after < 2; after++, port++) {
            int l = server(port, before, "127.0.0.1"), c = dial(port), s = MUST(accept(l, NULL, NULL));
            close(s);
            await(c, POLLRDHUP, 10000);
            close(c);
            close(l);
            wait_rows(port, S_TIME_WAIT, 1);
            if (!before && !after) say_table("server closed first", port);
            int again = server(port, after, "127.0.0.1");
            say("SO_REUSEADDR before %d, after %d: %s", before, after, again < 0 ? ename(errno) : "ok");
            close(again);
            again = server(port, after, "127.0.0.2");
            say("  on another address: %s", again < 0 ? ename(errno) : "ok");
            close(again);
        }

    say("-- the client closed first: the server restarts at once");
    int l = server(port, 0, "127.0.0.1"), c = dial(port), s = MUST(accept(l, NULL, NULL));
    close(c);
    await(s, POLLRDHUP, 10000);
    close(s);
    close(l);
    wait_rows(port, S_TIME_WAIT, 1);
    say_table("table", port);
    l = server(port, 0, "127.0.0.1");
    say("restart: %s", l < 0 ? ename(errno) : "ok");

    say("-- the client's port while it is in TIME_WAIT");
    for (int reuse = 0; reuse < 2; reuse++) {
        struct sockaddr_in mine = in4("127.0.0.1", 9235 + reuse);
        for (int life = 0; life < 3; life++) {
            c = MUST(socket(AF_INET, SOCK_STREAM, 0));
            if (reuse) set_int(c, SOL_SOCKET, SO_REUSEADDR, 1);
            if (life == 2) ms(1200);
            int r = bind(c, SA(mine), sizeof mine);
            say("SO_REUSEADDR %d, life %d: bind: %s", reuse, life, r ? ename(errno) : "ok");
            if (!r) {
                r = connect_raw(c, "127.0.0.1", port);
                say("  connect%s: %s", life == 2 ? " after more than a second" : "", r ? ename(errno) : "ok");
            }
            if (!r) {
                s = MUST(accept(l, NULL, NULL));
                close(c);
                await(s, POLLRDHUP, 10000);
                close(s);
                say("  TIME_WAIT %d", wait_rows(9235 + reuse, S_TIME_WAIT, 1));
            } else close(c);
        }
    }
    if (argc > 1) {
        long t = now_ms();
        FILE *f = fopen("/proc/sys/net/ipv4/tcp_fin_timeout", "w");
        if (!f || fprintf(f, "3\n") < 0 || fclose(f)) say("can't set tcp_fin_timeout: %s", ename(errno));
        c = dial(port);
        s = MUST(accept(l, NULL, NULL));
        close(c);
        close(s);
        wait_rows(port, S_FIN_WAIT2, 0);
        int n = count_rows(port, S_TIME_WAIT), m;
        ms(10000);
        say("after 10 s: still there: %s", count_rows(port, S_TIME_WAIT) == n ? "yes" : "no");
        while ((m = count_rows(port, S_TIME_WAIT)) > 0 && now_ms() - t < 90000) ms(100);
        say("gone after 60 s: %s", within(t, 59000, 80000));
    }
    return 0;
}
