/* Claim 7: requests queue, and listen()'s backlog bounds them: with 5, six are ESTABLISHED, further ones stay SYN_SENT. */
#include "probe.h"

static int connected(const int *c, int n)
{
    int k = 0;
    for (int i = 0; i < n; i++) k += state_of(c[i]) == S_ESTABLISHED;
    return k;
}

int main(void)
{
    int l = listener_at("127.0.0.1", 9007, 5), c[9];
    long t[9];
    for (int i = 0; i < 9; i++) {
        /* So that the late ones repeat their SYNs one after the other: Linux rounds a timer of a second by up to 80 ms. */
        ms(i > 5 ? 100 : 0);
        t[i] = now_ms();
        c[i] = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        connect_raw(c[i], "127.0.0.1", 9007);
    }
    ms(50);
    for (int i = 0; i < 9; i++) say("client %d: %s, poll %s", i + 1, state_name(state_of(c[i])), events_name(events_of(c[i])));
    say_table("table", 9007);
    int s = MUST(accept(l, NULL, NULL)), n = 1;
    ms(20);
    say("one accepted: of the three late ones %d are in until a SYN is repeated", connected(c + 6, 3));
    struct pollfd p[3] = {{c[6], POLLOUT, 0}, {c[7], POLLOUT, 0}, {c[8], POLLOUT, 0}};
    say("then one gets in: %s", poll(p, 3, 3000) > 0 ? "yes" : "no");
    say("about a second after the first SYN: %s", within(t[6], 950, 1900));
    /* All have repeated it by now, and none a second time. Who came first is a matter of timers; that it was one is the claim. */
    while (now_ms() - t[8] < 1300) ms(5);
    say("one and no more: %d", connected(c + 6, 3));
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
    say("accepted %d, the last two with their third SYN: %s", n, within(t[8], 1700, 2900));
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
