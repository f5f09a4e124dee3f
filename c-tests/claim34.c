/* Claim 34: CLOSE_WAIT stays until close(). */
#include "probe.h"

int main(void)
{
    struct pair p = pair_at(9034);
    FILE *f = fopen("/proc/sys/net/ipv4/tcp_fin_timeout", "w");
    if (!f || fprintf(f, "1\n") < 0 || fclose(f)) say("can't set tcp_fin_timeout: %s", ename(errno));
    struct pair q = pair_at(9035);
    close(q.c);
    MUST(shutdown(p.c, SHUT_WR));
    wait_state("server", p.s, S_CLOSE_WAIT);
    wait_state("server of the closed client", q.s, S_CLOSE_WAIT);
    ms(2500);
    say_state("server, 2.5 s later", p.s);
    say_state("server of the closed client", q.s);
    say("the closed client's end: %d rows", count_rows(9035, S_FIN_WAIT2) + count_rows(9035, S_TIME_WAIT));
    say_events("server", p.s);
    say_recv("server", p.s);
    say_recv("server", p.s);
    say_state("reading the end doesn't change it", p.s);
    say_send("server", p.s, "and it may send");
    await(p.c, POLLIN, 10000);
    say_recv("client", p.c);
    say_state("server", p.s);
    OK(close(p.s));
    wait_rows(9034, S_TIME_WAIT, 1);
    say_table("after close", 9034);
    OK(close(q.s));
    wait_rows(9035, S_LAST_ACK, 0);
    say_table("the other", 9035);
    return 0;
}
