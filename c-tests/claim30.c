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
        await(p.s, POLLIN, 1000);
        ms(60);
        OK(close(p.s));
        await(p.c, POLLERR, 1000);
        say_recv("client", p.c);
        OK(close(p.c));
        return 0;
    }
    OK(close(p.c));
    if (!strcmp(how, "late")) ms(200);
    if (!strcmp(how, "quick") || !strcmp(how, "late")) R(read(p.s, b, sizeof b));
    if (!strcmp(how, "data")) {
        R(read(p.s, b, sizeof b));
        R(read(p.s, b, sizeof b));
    }
    OK(close(p.s));
    say("TIME_WAIT %d", wait_rows(9030, S_TIME_WAIT, 1));
    return 0;
}
