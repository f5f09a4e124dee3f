/* The urgent mark: where reading stops, what is counted up to it, and SIGURG for who sleeps. */
#include "probe.h"
#include <pthread.h>

static struct pair p;
static volatile int ran;

/* "abc", the urgent X, "def". */
static void write_all_three(void)
{
    MUST(send(p.c, "abc", 3, 0));
    MUST(send(p.c, "X", 1, MSG_OOB));
    MUST(send(p.c, "def", 3, 0));
    for (int n = 0; n < 400 && info_of(p.c).tcpi_unacked; n++) ms(5);
    ms(20);
}

static void got(const char *what, long n, const char *b)
{
    if (n < 0) say("%s = -1 %s", what, ename(errno));
    else say("%s = %ld \"%.*s\", mark %d, FIONREAD %d", what, n, (int)n, b, sockatmark(p.s), inq(p.s));
}
#define TAKE(call) memset(b, '.', sizeof b); got(#call, call, b)

static void on_urgent(int n)
{
    char c = '?';
    (void)n;
    ran++;
    long r = recv(p.s, &c, 1, MSG_OOB);
    say("SIGURG: recv OOB = %ld '%c'", r, c);
}

static void sleeping_read(const char *how, int flags, pid_t owner)
{
    char b[16];
    struct sigaction sa = {.sa_handler = on_urgent, .sa_flags = flags};
    pid_t pid;
    say("-- SIGURG, %s%s", how, flags ? ", SA_RESTART" : "");
    MUST(sigaction(SIGURG, &sa, NULL));
    if (child(&pid)) {
        ms(150);
        MUST(send(p.c, "X", 1, MSG_OOB));
        /* Interrupted or not, the other end has read nothing else by now. */
        if (flags) {
            ms(150);
            MUST(send(p.c, "y", 1, 0));
        }
        exit(0);
    }
    long n = owner ? recv(p.s, b, sizeof b, 0) : 0;
    if (owner) got("recv", n, b);
    waitpid(pid, NULL, 0);
    say("ran %d", ran);
}

int main(void)
{
    char b[100];
    alarm(30);
    say("-- out of line");
    p = pair_at(9760);
    write_all_three();
    say("FIONREAD %d", inq(p.s));
    TAKE(recv(p.s, b, 100, MSG_PEEK | MSG_WAITALL));
    TAKE(recv(p.s, b, 100, MSG_PEEK));
    TAKE(recv(p.s, b, 2, MSG_WAITALL));
    TAKE(recv(p.s, b, 100, MSG_WAITALL));
    TAKE(recv(p.s, b, 100, MSG_PEEK | MSG_DONTWAIT));
    TAKE(recv(p.s, b, 2, MSG_PEEK | MSG_WAITALL));
    TAKE(recv(p.s, b, 2, MSG_WAITALL));
    TAKE(recv(p.s, b, 100, MSG_DONTWAIT));
    close_pair(p);

    say("-- taken before, and MSG_TRUNC");
    p = pair_at(9761);
    write_all_three();
    TAKE(recv(p.s, b, 1, MSG_OOB));
    TAKE(recv(p.s, b, 100, MSG_TRUNC | MSG_WAITALL));
    TAKE(recv(p.s, b, 3, MSG_TRUNC | MSG_WAITALL));
    close_pair(p);

    say("-- in line");
    p = pair_at(9762);
    MUST(set_int(p.s, SOL_SOCKET, SO_OOBINLINE, 1));
    write_all_three();
    say("FIONREAD %d", inq(p.s));
    TAKE(recv(p.s, b, 100, MSG_PEEK | MSG_WAITALL));
    TAKE(recv(p.s, b, 100, MSG_WAITALL));
    TAKE(recv(p.s, b, 4, MSG_WAITALL));
    close_pair(p);

    say("-- SO_RCVLOWAT counts the urgent byte until it is next");
    p = pair_at(9763);
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 7));
    write_all_three();
    say_events("7 bytes with it", p.s);
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 4));
    TAKE(recv(p.s, b, 100, MSG_WAITALL));
    say_events("at the mark, 3 behind it", p.s);
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 3));
    say_events("at the mark, 3 asked for", p.s);
    TAKE(recv(p.s, b, 100, MSG_DONTWAIT));
    close_pair(p);

    say("-- the same ones twice");
    p = pair_at(9764);
    struct iovec v[2] = {{b, 2}, {b + 2, 98}};
    write_all_three();
    write_all_three();
    TAKE(readv(p.s, v, 2));
    TAKE(readv(p.s, v, 2));
    say_recv("nothing", p.s);
    close_pair(p);

    p = pair_at(9765);
    MUST(fcntl(p.s, F_SETOWN, getpid()));
    sleeping_read("F_SETOWN", 0, 1);
    sleeping_read("F_SETOWN", SA_RESTART, 1);
    close_pair(p);
    p = pair_at(9766);
    int me = getpid();
    MUST(ioctl(p.s, FIOSETOWN, &me));
    sleeping_read("FIOSETOWN", 0, 1);
    close_pair(p);
    p = pair_at(9767);
    MUST(ioctl(p.s, SIOCSPGRP, &me));
    sleeping_read("SIOCSPGRP", 0, 1);
    close_pair(p);
    p = pair_at(9768);
    struct f_owner_ex ex = {F_OWNER_PID, me};
    MUST(fcntl(p.s, F_SETOWN_EX, &ex));
    sleeping_read("F_SETOWN_EX", 0, 1);
    close_pair(p);
    return 0;
}
