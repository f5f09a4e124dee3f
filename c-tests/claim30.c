/* Claim 30: FIN, ACK, FIN, ACK; three segments when the other side closes as soon as it sees the first FIN.
 * The harness compares the segments. Arguments: late | quick | both | data | rst */
#include "probe.h"

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "late";
    struct pair p = pair_at(9030);
    char b[16];
    if (!strcmp(how, "data")) MUST(write(p.c, "last words", 10));
    if (!strcmp(how, "rst")) {
        MUST(write(p.c, "unread", 6));
        wait_acked(p.c);
        OK(close(p.s));
        await(p.c, POLLERR, 10000);
        say_recv("client", p.c);
        OK(close(p.c));
        return 0;
    }
    /* An ACK of the FIN is due after 40 ms: whoever reads what is said must not take the processor before the other close. */
    long first, second = -2, words = -2, end = -2;
    ms(1);
    first = close(p.c);
    if (!strcmp(how, "late")) wait_rows(9030, S_FIN_WAIT2, 1);
    if (!strcmp(how, "data")) words = read(p.s, b, sizeof b);
    if (strcmp(how, "both")) end = read(p.s, b, sizeof b);
    second = close(p.s);
    say("closed %ld, read %ld, then %ld, closed %ld", first, words, end, second);
    say("TIME_WAIT %d", wait_rows(9030, S_TIME_WAIT, 1));
    return 0;
}
