/* Claim 33: FIN_WAIT_2 ends by itself once the descriptor is closed (60 s; here TCP_LINGER2 and tcp_fin_timeout shorten it), never
 * after shutdown(SHUT_WR) alone. */
#include "probe.h"

static void sysctl(const char *name, const char *value)
{
    char path[128];
    snprintf(path, sizeof path, "/proc/sys/net/ipv4/%s", name);
    int fd = open(path, O_WRONLY);
    if (fd == -1 || write(fd, value, strlen(value)) < 0) say("can't set %s: %s", name, ename(errno));
    close(fd);
}

int main(void)
{
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say("TCP_LINGER2 %d", get_int(s, IPPROTO_TCP, TCP_LINGER2));
    OK(set_int(s, IPPROTO_TCP, TCP_LINGER2, 121));
    say("121 reads %d", get_int(s, IPPROTO_TCP, TCP_LINGER2));
    OK(set_int(s, IPPROTO_TCP, TCP_LINGER2, -1));
    say("-1 reads %d", get_int(s, IPPROTO_TCP, TCP_LINGER2));
    OK(set_int(s, IPPROTO_TCP, TCP_LINGER2, 0));
    say("0 reads %d", get_int(s, IPPROTO_TCP, TCP_LINGER2));
    close(s);

    /* All in parallel: they take two or three seconds. */
    struct pair shut = pair_at(9133), linger2 = pair_at(9134), at_once = pair_at(9135), late = pair_at(9137);
    sysctl("tcp_fin_timeout", "2");
    struct pair closed = pair_at(9136);
    say("TCP_LINGER2 now %d", get_int(closed.c, IPPROTO_TCP, TCP_LINGER2));
    MUST(shutdown(shut.c, SHUT_WR));
    set_int(shut.c, IPPROTO_TCP, TCP_LINGER2, 2); /* counts for closed ones alone */
    set_int(linger2.c, IPPROTO_TCP, TCP_LINGER2, 3);
    set_int(at_once.c, IPPROTO_TCP, TCP_LINGER2, -1);
    set_int(late.c, IPPROTO_TCP, TCP_LINGER2, 3);
    close(linger2.c);
    close(at_once.c);
    close(closed.c);
    close(late.c);
    ms(200);
    say_state("shutdown alone", shut.c);
    say("closed: FIN_WAIT2 %d", count_rows(9136, S_FIN_WAIT2));
    say("closed with TCP_LINGER2 3: FIN_WAIT2 %d", count_rows(9134, S_FIN_WAIT2));
    say("closed with TCP_LINGER2 -1: FIN_WAIT2 %d", count_rows(9135, S_FIN_WAIT2));
    wait_events("its peer", at_once.s, POLLIN);
    say_state("its peer", at_once.s);
    ms(600);
    say_send("data for a closed one", late.s, "late");
    await(late.s, POLLERR, 10000);
    say_events("is answered by RST", late.s);
    say("FIN_WAIT2 %d", count_rows(9137, S_FIN_WAIT2));
    ms(1700);
    say("after 2.5 s: FIN_WAIT2 %d of tcp_fin_timeout 2, %d of TCP_LINGER2 3", count_rows(9136, S_FIN_WAIT2), count_rows(9134, S_FIN_WAIT2));
    ms(1000);
    say("after 3.5 s: FIN_WAIT2 %d of TCP_LINGER2 3", count_rows(9134, S_FIN_WAIT2));
    say_state("shutdown alone", shut.c);
    say_state("the other side of the closed one", closed.s);
    say_table("its row", 9136);
    say_send("it may still send", closed.s, "x");
    await(closed.s, POLLERR, 10000);
    say_events("and hears a RST", closed.s);
    say_send("shutdown alone: the other side sends", shut.s, "still works");
    await(shut.c, POLLIN, 10000);
    say_recv("received", shut.c);
    return 0;
}
