/* Claim 7: requests queue, and listen()'s backlog bounds them: with 5, six are ESTABLISHED, further ones stay SYN_SENT. */
#include "probe.h"

int main(void)
{
    int l = listener_at("127.0.0.1", 9007, 5), c[9];
    long t[9];
    for (int i = 0; i < 9; i++) {
        ms(i > 5 ? 30 : 0); /* so that the repeated SYNs don't come together */
        t[i] = now_ms();
        c[i] = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        connect_raw(c[i], "127.0.0.1", 9007);
    }
    ms(50);
    for (int i = 0; i < 9; i++) say("client %d: %s, poll %s", i + 1, state_name(state_of(c[i])), events_name(events_of(c[i])));
    say_table("table", 9007);
    int s = MUST(accept(l, NULL, NULL)), n = 1;
    ms(20);
    say("one accepted: client 7 is %s until its SYN is repeated", state_name(state_of(c[6])));
    say("it got in: %s", await(c[6], POLLOUT, 2000) ? "yes" : "no");
    say("about a second after its first SYN: %s", within(t[6], 950, 1300));
    ms(150);
    for (int i = 6; i < 9; i++) say_state("late client", c[i]);
    nonblocking(l);
    close(s);
    while ((s = accept(l, NULL, NULL)) >= 0) {
        n++;
        close(s);
    }
    say("accepted %d in all, then %s", n, ename(errno));
    while (n < 9 && now_ms() - t[8] < 4000) {
        while ((s = accept(l, NULL, NULL)) >= 0) {
            n++;
            close(s);
        }
        ms(5);
    }
    say("accepted %d, the last with its third SYN: %s", n, within(t[8], 1900, 2500));
    int small = listener_at("127.0.0.1", 9008, 0);
    struct tcp_info i = info_of(small);
    say("listen(0): limit %u", i.tcpi_sacked);
    MUST(listen(small, 100));
    i = info_of(small);
    say("listen(100): limit %u", i.tcpi_sacked);
    MUST(listen(small, -1));
    i = info_of(small);
    say("listen(-1): limit %u", i.tcpi_sacked);
    return 0;
}
