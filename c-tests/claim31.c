/* Claim 31: the other side sends its FIN when it is done: half-close. */
#include "probe.h"

int main(void)
{
    struct pair p = pair_at(9031);
    pid_t pid;
    int go[2];
    MUST(pipe(go));
    if (child(&pid)) {
        /* The server: reads to the end, answers, waits, answers again, then closes. */
        static unsigned char b[200000];
        close(p.c);
        close(p.l);
        long n = drain(p.s);
        char text[64];
        snprintf(text, sizeof text, "you sent %ld;", n);
        MUST(send(p.s, text, strlen(text), 0));
        MUST(read(go[0], text, 1));
        ms(150);
        MUST(send(p.s, b, sizeof b, 0));
        ms(150);
        close(p.s);
        exit(0);
    }
    close(p.s);
    static char b[100000];
    R(send(p.c, b, sizeof b, 0));
    OK(shutdown(p.c, SHUT_WR));
    wait_state("client", p.c, S_FIN_WAIT2);
    say_send("client", p.c, "more");
    char text[64] = "";
    R(recv(p.c, text, 16, MSG_WAITALL));
    say("%s", text);
    say_state("client", p.c);
    say_events("client", p.c);
    long t = now_ms();
    MUST(write(go[1], "", 1));
    long n = drain(p.c);
    say("%ld more, then the server's FIN", n);
    say("which came when it was done: %s", within(t, 295, 20000));
    wait_rows(9031, S_TIME_WAIT, 1);
    say_state("client", p.c);
    say_table("table", 9031);
    say_exit("server", pid);
    close(p.c);

    say("-- shutdown in both orders");
    struct pair q = pair_at(9032);
    OK(shutdown(q.s, SHUT_WR));
    wait_state("server", q.s, S_FIN_WAIT2);
    wait_state("client", q.c, S_CLOSE_WAIT);
    OK(shutdown(q.s, SHUT_WR));
    say_send("client", q.c, "still mine");
    await(q.s, POLLIN, 10000);
    say_recv("server", q.s);
    OK(shutdown(q.c, SHUT_RDWR));
    wait_rows(9032, S_TIME_WAIT, 1);
    say_table("table", 9032);
    close_pair(q);

    say("-- close with unsent data still delivers it, then FIN");
    q = pair_at(9033);
    n = 0;
    set_int(q.c, SOL_SOCKET, SO_SNDBUF, 300000);
    nonblocking(q.c);
    n = send_until_full(q.c, 100000);
    close(q.c);
    ms(50);
    say("all of it arrived: %s", drain(q.s) == n ? "yes" : "no");
    close(q.s);
    close(q.l);
    return 0;
}
