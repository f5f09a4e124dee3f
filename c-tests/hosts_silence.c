/* Claims 21, 27 and 28 between two hosts: the other host falls silent, or becomes unreachable, under open connections.
 * `hosts_silence peer` runs on 198.18.0.1 as root of its network namespace; without arguments, this is the host under test. */
#include "probe.h"

#define PEER "198.18.0.1"
#define BEHIND "203.0.113.10" /* an address of the peer that it can take away */

/* Where the other host leaves word that it has done what it was told to: it can't say so over a wire that it has cut. */
static const char *word(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s.done", env_or("TEST_RUN", "/tmp/hosts_silence"));
    return path;
}
static void leave_word(void) { close(MUST(open(word(), O_CREAT | O_WRONLY, 0600))); }

static void run(const char *cmd) { if (system(cmd)) say("failed: %s", cmd); }

/* Takes commands, one per connection: "silence MS", "gone MS", "quit". Data on other connections is drained. */
static int peer(void)
{
    int l = listener_at("0.0.0.0", 9050, 50), fds[64], n = 0;
    say("ready");
    for (;;) {
        struct pollfd p[65] = {{l, POLLIN, 0}};
        for (int i = 0; i < n; i++) p[i + 1] = (struct pollfd){fds[i], POLLIN, 0};
        poll(p, (nfds_t)n + 1, -1);
        for (int i = n; i >= 1; i--)
            if (p[i].revents) {
                char b[4096];
                long k = read(fds[i - 1], b, sizeof b - 1);
                int time;
                if (k <= 0) {
                    close(fds[i - 1]);
                    fds[i - 1] = fds[--n];
                    continue;
                }
                b[k] = 0;
                if (!strcmp(b, "quit")) return 0;
                if (sscanf(b, "silence %d", &time) == 1) {
                    run("ip route add blackhole 198.18.0.2/32");
                    leave_word();
                    ms(time);
                    run("ip route del blackhole 198.18.0.2/32");
                } else if (sscanf(b, "gone %d", &time) == 1) {
                    run("ip addr del 203.0.113.10/32 dev lo");
                    run("ip route add unreachable 203.0.113.10/32");
                    leave_word();
                    ms(time);
                    run("ip route del unreachable 203.0.113.10/32");
                    run("ip addr add 203.0.113.10/32 dev lo");
                }
            }
        if (p[0].revents) fds[n++] = MUST(accept(l, NULL, NULL));
    }
}

static void sysctl(const char *name, const char *value)
{
    char path[128];
    snprintf(path, sizeof path, "/proc/sys/net/ipv4/%s", name);
    int fd = open(path, O_WRONLY);
    if (fd == -1 || write(fd, value, strlen(value)) < 0) say("can't set %s: %s", name, ename(errno));
    close(fd);
}

/* A connection whose first round trip was measured on a quiet machine: retransmissions start after the least timeout, 200 ms. */
static int dial_fast(const char *ip)
{
    for (int i = 0;; i++) {
        int s = dial_at(ip, 9050);
        if (info_of(s).tcpi_rto < 260000 || i == 20) return s;
        close(s);
        ms(100);
    }
}

static void order(const char *text)
{
    int c = dial_at(PEER, 9050);
    MUST(write(c, text, strlen(text)));
    if (strcmp(text, "quit"))
        for (int i = 0; i < 4000 && unlink(word()); i++) ms(5);
    close(c);
}
static void keepalive(int s, int idle, int every, int count)
{
    set_int(s, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, idle);
    set_int(s, IPPROTO_TCP, TCP_KEEPINTVL, every);
    set_int(s, IPPROTO_TCP, TCP_KEEPCNT, count);
}

struct one { const char *name; int fd, seconds; long died; int error, events; };

/* Watches until each has died or the time is over, then says how each did, in the order given. */
static void watch(struct one *o, int n, int time)
{
    long t = now_ms();
    while (now_ms() - t < time) {
        for (int i = 0; i < n; i++)
            if (!o[i].died && events_of(o[i].fd) & (POLLERR | POLLHUP)) {
                o[i].died = now_ms() - t + 1;
                o[i].events = events_of(o[i].fd);
                o[i].error = so_error(o[i].fd);
            }
        ms(10);
    }
    for (int i = 0; i < n; i++)
        if (!o[i].died) say("%s: %s, poll %s, Send-Q %s", o[i].name, state_name(state_of(o[i].fd)), events_name(events_of(o[i].fd)), outq(o[i].fd) ? "not empty" : "empty");
        else {
            char time[32];
            if (o[i].died > o[i].seconds * 1000 - 600 && o[i].died < o[i].seconds * 1000 + 1400) snprintf(time, sizeof time, "about %d s", o[i].seconds);
            else snprintf(time, sizeof time, "%ld ms", o[i].died);
            say("%s: %s after %s, poll %s, then %s", o[i].name, ename(o[i].error), time, events_name(o[i].events), state_name(state_of(o[i].fd)));
            say_recv("  it", o[i].fd);
            say_send("  it", o[i].fd, "x");
        }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "peer")) return peer();
    signal(SIGPIPE, SIG_IGN);
    /* Else the round trips of one connection decide the first timeouts of the next ones to the same address. */
    sysctl("tcp_no_metrics_save", "1\n");

    say("-- a second of silence: the copy is kept and sent again");
    int s = dial_fast(PEER);
    OK(write(s, "before", 6));
    for (int i = 0; i < 100 && outq(s); i++) ms(5);
    say("Send-Q %d", outq(s));
    long t = now_ms();
    order("silence 1200");
    OK(write(s, "while it is silent", 18));
    for (int k = 0; k < 180 && !info_of(s).tcpi_retransmits; k++) ms(5);
    struct tcp_info i = info_of(s);
    say("Send-Q %d, retransmissions: %s, %s", outq(s), i.tcpi_retransmits >= 1 && i.tcpi_retransmits <= 3 ? "one to three" : "other",
        state_name(state_of(s)));
    for (int k = 0; k < 600 && outq(s); k++) ms(5);
    say("Send-Q %d when it spoke again: %s", outq(s), within(t, 1200, 5000));
    i = info_of(s);
    say("in all sent again: %s", i.tcpi_total_retrans >= 2 && i.tcpi_total_retrans <= 5 ? "two to five times" : "other");
    close(s);

    say("-- eight seconds of silence");
    /* 1.4 s since the first timeout (which a loss probe precedes), found out at the fourth: 3.2 s and what rounding adds. */
    sysctl("tcp_retries2", "2\n");
    sysctl("tcp_orphan_retries", "2\n");
    struct one o[] = {{"keepalive 1 1 2, idle", dial_fast(PEER), 3, 0, 0, 0}, {"keepalive 2 1 1, idle", dial_fast(PEER), 3, 0, 0, 0},
        {"TCP_USER_TIMEOUT 2 s, data", dial_fast(PEER), 2, 0, 0, 0}, {"tcp_retries2 2, data", dial_fast(PEER), 3, 0, 0, 0},
        {"keepalive 1 1 2 and TCP_USER_TIMEOUT 5 s, idle", dial_fast(PEER), 5, 0, 0, 0}, {"idle, no keepalive", dial_fast(PEER), 0, 0, 0, 0},
        {"keepalive off again", dial_fast(PEER), 0, 0, 0, 0}};
    int orphan = dial_fast(PEER);
    struct sockaddr_in mine = in4("0.0.0.0", 9150);
    close(orphan);
    orphan = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set_int(orphan, SOL_SOCKET, SO_REUSEADDR, 1);
    MUST(bind(orphan, SA(mine), sizeof mine));
    MUST(connect_raw(orphan, PEER, 9050));
    ms(50);
    order("silence 8000");
    keepalive(o[0].fd, 1, 1, 2);
    keepalive(o[1].fd, 2, 1, 1);
    set_int(o[2].fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 2000);
    MUST(write(o[2].fd, "data", 4));
    MUST(write(o[3].fd, "data", 4));
    keepalive(o[4].fd, 1, 1, 2);
    set_int(o[4].fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
    keepalive(o[6].fd, 1, 1, 2);
    set_int(o[6].fd, SOL_SOCKET, SO_KEEPALIVE, 0);
    MUST(write(orphan, "orphaned", 8));
    close(orphan);
    ms(100);
    say("closed with data on its way: FIN_WAIT1 %d", count_rows(9150, S_FIN_WAIT1));
    watch(o, 7, 6500);
    say("closed with data on its way: FIN_WAIT1 %d", count_rows(9150, S_FIN_WAIT1));
    ms(2000);
    say_send("the idle one still works", o[5].fd, "hello");
    for (int k = 0; k < 200 && outq(o[5].fd); k++) ms(5);
    say("Send-Q %d", outq(o[5].fd));
    for (int k = 0; k < 7; k++) close(o[k].fd);

    say("-- an address that becomes unreachable");
    /* The router sends no more than one error a second; whose timeouts it shortens is not for us to compare. */
    sysctl("tcp_retries2", "15\n");
    struct one u[] = {{"keepalive 1 1 2 alone", dial_fast(BEHIND), 3, 0, 0, 0}, {"data, TCP_USER_TIMEOUT 2 s", dial_fast(BEHIND), 2, 0, 0, 0},
        {"data, tcp_retries2 15", dial_fast(BEHIND), 0, 0, 0, 0}, {"nothing sent", dial_fast(BEHIND), 0, 0, 0, 0},
        {"data, short", dial_fast(BEHIND), 0, 0, 0, 0}};
    ms(50);
    order("gone 6000");
    keepalive(u[0].fd, 1, 1, 2);
    set_int(u[1].fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 2000);
    MUST(write(u[1].fd, "data", 4));
    MUST(write(u[2].fd, "data", 4));
    MUST(write(u[4].fd, "data", 4));
    ms(300);
    say("after the first ICMP error");
    say_events("it", u[4].fd);
    say_error("it", u[4].fd);
    say_state("it", u[4].fd);
    watch(u, 4, 5500);
    ms(1000);
    for (int k = 0; k < 4; k++) close(u[k].fd);
    order("quit");
    return 0;
}
