/* What TCP counts, as a program reads it (nstat, netstat -s): /proc/net/snmp and /proc/net/netstat.
 * Each step, and what it adds. */
#include "probe.h"

static const char *const names[] = {"ActiveOpens", "PassiveOpens", "AttemptFails", "EstabResets", "CurrEstab", "RetransSegs", "OutRsts",
                                    "TCPAbortOnClose", "TCPAbortOnData", "ListenOverflows", "TCPTimeouts", "TCPOrigDataSent", "TW"};
enum { NAMES = sizeof names / sizeof *names };
static long before[NAMES];

/* The files have lines in pairs: names, values. */
static void look(const char *path, long *now)
{
    static char keys[16384], values[16384];
    FILE *f = fopen(path, "r");
    if (!f) { say("no %s: %s", path, ename(errno)); return; }
    while (fgets(keys, sizeof keys, f) && fgets(values, sizeof values, f)) {
        if (strncmp(keys, "Tcp", 3)) continue;
        char *k, *v, *key = strtok_r(keys, " \n", &k), *value = strtok_r(values, " \n", &v);
        while (key && value) {
            for (int i = 0; i < NAMES; i++)
                if (!strcmp(names[i], key)) now[i] = atol(value);
            key = strtok_r(NULL, " \n", &k);
            value = strtok_r(NULL, " \n", &v);
        }
    }
    fclose(f);
}

static void step(const char *what)
{
    long now[NAMES] = {0};
    char line[1024] = "";
    look("/proc/net/snmp", now);
    look("/proc/self/net/netstat", now);
    for (int i = 0; i < NAMES; i++) {
        if (now[i] != before[i]) sprintf(line + strlen(line), " %s %+ld", names[i], now[i] - before[i]);
        before[i] = now[i];
    }
    say("%s:%s", what, *line ? line : " nothing");
}

int main(void)
{
    alarm(30);
    char b[100] = {0};
    traffic(9800);
    ms(50);
    look("/proc/net/snmp", before);
    look("/proc/self/net/netstat", before);
    struct pair p = pair_at(9801);
    step("a connection");
    MUST(send(p.c, b, sizeof b, 0));
    MUST(recv(p.s, b, sizeof b, MSG_WAITALL));
    step("100 bytes");
    close(p.c);
    ms(50);
    close(p.s);
    ms(50);
    step("closed");
    close(p.l);
    step("and the listener");
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9802);
    R(connect(s, (void *)&a, sizeof a));
    step("refused");
    close(s);
    p = pair_at(9803);
    MUST(send(p.c, b, sizeof b, 0));
    ms(50);
    close(p.s);
    ms(50);
    step("closed with data unread");
    close_pair((struct pair){p.l, p.c, -1});
    p = pair_at(9804);
    struct linger l = {1, 0};
    MUST(setsockopt(p.c, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    close(p.c);
    ms(50);
    step("closed by SO_LINGER");
    close_pair((struct pair){p.l, -1, p.s});
    p = pair_at(9805);
    int again = dial(9805);
    close(p.l);
    ms(50);
    step("a listener closed with a connection in its queue");
    close(again);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    MUST(connect(p.c, &none, sizeof none));
    ms(50);
    step("dissolved");
    return 0;
}
