/* Claim 20: what one send() sent may take several recv(), and several sends one recv(). */
#include "probe.h"

int main(void)
{
    struct pair p = pair_at(9020);
    char b[128];
    R(send(p.c, "0123456789abcdefghijklmnopqrst", 30, 0));
    await(p.s, POLLIN, 10000);
    for (int i = 0; i < 4; i++) R(recv(p.s, b, 10, MSG_DONTWAIT));
    for (int i = 0; i < 5; i++) MUST(send(p.c, "xy", 2, 0));
    for (int i = 0; i < 100 && inq(p.s) < 10; i++) ms(5);
    say("FIONREAD %d", inq(p.s));
    R(recv(p.s, b, 100, 0));

    pid_t pid;
    int go[2];
    MUST(pipe(go));
    if (child(&pid)) {
        close(p.s);
        for (int i = 0; i < 4; i++) {
            ms(60);
            MUST(send(p.c, "piece", 5, 0));
            if (!i) MUST(read(go[0], b, 1)); /* until the first was read alone */
        }
        close(p.c);
        exit(0);
    }
    close(p.c);
    R(recv(p.s, b, 20, 0));
    MUST(write(go[1], "", 1));
    R(recv(p.s, b, 15, MSG_WAITALL));
    R(recv(p.s, b, 20, MSG_WAITALL));
    say_exit("sender", pid);

    struct pair q = pair_at(9120);
    static unsigned char big[1 << 20], got[1 << 20];
    fill(big, sizeof big, 0);
    if (child(&pid)) {
        close(q.s);
        close(q.l);
        size_t sent = 0;
        while (sent < sizeof big) {
            long n = send(q.c, big + sent, sizeof big - sent, 0);
            if (n < 0) MUST(-1);
            sent += (size_t)n;
        }
        close(q.c);
        exit(0);
    }
    close(q.c);
    size_t sum = 0;
    int calls = 0;
    long n;
    while ((n = recv(q.s, got + sum, sizeof got - sum, 0)) > 0) {
        sum += (size_t)n;
        calls++;
    }
    say("1 MiB: %zu bytes, more than one call: %s, the same bytes: %s, then %ld", sum, calls > 1 ? "yes" : "no",
        fits(got, sum, 0) ? "yes" : "no", n);
    say_exit("sender", pid);

    p = pair_at(9121);
    MUST(send(p.c, "peeked", 6, 0));
    await(p.s, POLLIN, 10000);
    R(recv(p.s, b, 3, MSG_PEEK));
    R(recv(p.s, b, 100, MSG_PEEK));
    say("%.6s", b);
    R(recv(p.s, b, 2, 0));
    R(recv(p.s, b, 100, MSG_PEEK));
    say("%.4s", b);
    R(recv(p.s, b, 4, MSG_TRUNC));
    close_pair(p);
    return 0;
}
