/* Claim 22: send() returning means copied to the local buffer, no more. */
#include "probe.h"

int main(void)
{
    struct pair p = pair_at(9022);
    signal(SIGPIPE, SIG_IGN);
    R(send(p.c, "nobody will read this", 21, 0));
    await(p.s, POLLIN, 10000);
    close(p.s); /* with data unread: RST */
    await(p.c, POLLERR, 10000);
    say("the error comes after the success");
    say_events("client", p.c);
    R(send(p.c, "x", 1, 0));
    R(send(p.c, "x", 1, 0));
    close(p.c);
    close(p.l);

    p = pair_at(9023);
    close(p.s);
    await(p.c, POLLRDHUP, 10000);
    say("to a peer that has closed");
    R(send(p.c, "x", 1, 0));
    await(p.c, POLLERR, 10000);
    R(send(p.c, "x", 1, 0));
    say_error("client", p.c);
    close(p.c);
    close(p.l);

    say("the buffer is the kernel's: the program may change its own at once");
    p = pair_at(9024);
    char b[] = "first";
    MUST(send(p.c, b, 5, 0));
    memcpy(b, "XXXXX", 5);
    await(p.s, POLLIN, 10000);
    say_recv("server", p.s);
    say("and the sender may be gone before the data is read");
    pid_t pid;
    if (child(&pid)) {
        int c = dial(9024);
        static char big[30000];
        memset(big, 'a', sizeof big);
        MUST(send(c, big, sizeof big, 0));
        _exit(0);
    }
    say_exit("sender", pid);
    int s = MUST(accept(p.l, NULL, NULL));
    say("then read: %ld bytes", drain(s));
    close(s);
    close_pair(p);
    return 0;
}
