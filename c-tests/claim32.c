/* Claim 32: closing side FIN_WAIT_1, FIN_WAIT_2, TIME_WAIT; other side CLOSE_WAIT, LAST_ACK, CLOSED; whoever closes first.
 * States that pass at once are held by a full window, behind which the FIN waits. */
#include "probe.h"

static struct pair stuffed(int port, int client_stuffs, int server_stuffs)
{
    struct pair p;
    struct sockaddr_in a = in4("127.0.0.1", port);
    p.l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set_int(p.l, SOL_SOCKET, SO_RCVBUF, 4096);
    set_int(p.l, SOL_SOCKET, SO_SNDBUF, 65536);
    MUST(bind(p.l, SA(a), sizeof a));
    MUST(listen(p.l, 1));
    p.c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set_int(p.c, SOL_SOCKET, SO_RCVBUF, 4096);
    set_int(p.c, SOL_SOCKET, SO_SNDBUF, 65536);
    MUST(connect_raw(p.c, "127.0.0.1", port));
    p.s = MUST(accept(p.l, NULL, NULL));
    if (client_stuffs) send_until_full(p.c, 16384);
    if (server_stuffs) send_until_full(p.s, 16384);
    ms(60);
    return p;
}

static void both(const char *when, struct pair p)
{
    say("%s: client %s, server %s", when, state_name(state_of(p.c)), state_name(state_of(p.s)));
}

static void plain(const char *title, int port, int server_first)
{
    struct pair p = pair_at(port);
    int first = server_first ? p.s : p.c, second = server_first ? p.c : p.s;
    say("-- %s", title);
    both("open", p);
    MUST(shutdown(first, SHUT_WR));
    wait_state("first", first, S_FIN_WAIT2);
    wait_state("second", second, S_CLOSE_WAIT);
    MUST(shutdown(second, SHUT_WR));
    wait_state("second", second, S_CLOSE);
    wait_state("first", first, S_CLOSE);
    say_table("table", port);
    close_pair(p);
    say_table("closed", port);
}

/* The state of the row that has no descriptor, by its local port. */
static void orphan(const char *who, int port, int server)
{
    struct row r[16];
    char want[32];
    int n = table_read("/proc/net/tcp", port, r, 16), found = 0;
    snprintf(want, sizeof want, ":%d", port);
    for (int i = 0; i < n; i++)
        if (r[i].state != S_LISTEN && !r[i].inode && (strstr(r[i].local, want) != NULL) == server) {
            say("%s: %s", who, state_name(r[i].state));
            found = 1;
        }
    if (!found) say("%s: gone", who);
}

int main(void)
{
    plain("the client closes first", 9132, 0);
    plain("the server closes first", 9133, 1);

    say("-- FIN_WAIT_1 while the FIN waits behind data");
    struct pair p = stuffed(9134, 1, 0);
    MUST(shutdown(p.c, SHUT_WR));
    ms(60);
    both("shut down", p);
    for (int i = 0; i < 2000 && state_of(p.c) != S_FIN_WAIT2; i++) {
        nonblocking(p.s);
        drain(p.s);
        ms(5);
    }
    both("read", p);
    close_pair(p);

    say("-- LAST_ACK while the FIN waits behind data");
    p = stuffed(9135, 0, 1);
    close(p.l);
    MUST(shutdown(p.c, SHUT_WR));
    await(p.s, POLLRDHUP, 10000);
    wait_state("client shut down: client", p.c, S_FIN_WAIT2);
    say_state("server", p.s);
    MUST(shutdown(p.s, SHUT_WR));
    ms(30);
    both("server too", p);
    say_events("server", p.s);
    say_recv("server", p.s);
    say_send("server", p.s, "x");
    close(p.s);
    orphan("server, closed", 9135, 1);
    say("client reads all: %s", drain(p.c) > 60000 ? "yes" : "no");
    wait_rows(9135, S_LAST_ACK, 0);
    orphan("server", 9135, 1);
    orphan("client", 9135, 0);
    close(p.c);

    say("-- CLOSING: both FINs cross");
    p = stuffed(9136, 1, 0);
    MUST(shutdown(p.c, SHUT_WR));
    MUST(shutdown(p.s, SHUT_WR));
    wait_state("both shut down: server", p.s, S_FIN_WAIT2);
    say_state("client", p.c);
    say_table("table", 9136);
    for (int i = 0; i < 2000 && state_of(p.s) != S_CLOSE; i++) {
        nonblocking(p.s);
        drain(p.s);
        ms(5);
    }
    both("read", p);
    say("TIME_WAIT %d", wait_rows(9136, S_TIME_WAIT, 2));
    close_pair(p);

    say("-- closed descriptors");
    p = pair_at(9137);
    close(p.l);
    close(p.c);
    wait_rows(9137, S_FIN_WAIT2, 1);
    orphan("client", 9137, 0);
    say_state("server", p.s);
    close(p.s);
    wait_rows(9137, S_TIME_WAIT, 1);
    orphan("client", 9137, 0);
    orphan("server", 9137, 1);
    return 0;
}
