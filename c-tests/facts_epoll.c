/* epoll on sockets: level, edge, one-shot, exclusive, nested, data kept, closing, fork. */
#include "probe.h"

static int ep;
static const char *names(unsigned e)
{
    static char t[100];
    t[0] = 0;
    if (e & EPOLLIN) strcat(t, "IN ");
    if (e & EPOLLPRI) strcat(t, "PRI ");
    if (e & EPOLLOUT) strcat(t, "OUT ");
    if (e & EPOLLERR) strcat(t, "ERR ");
    if (e & EPOLLHUP) strcat(t, "HUP ");
    if (e & EPOLLRDHUP) strcat(t, "RDHUP ");
    return t;
}
static void wait_(const char *what, int timeout)
{
    struct epoll_event e[8];
    int n = epoll_wait(ep, e, 8, timeout);
    if (n < 0) say("%s: %s", what, ename(errno));
    else if (n == 0) say("%s: nothing", what);
    for (int i = 0; i < n; i++) say("%s: %s data %llx", what, names(e[i].events), (unsigned long long)e[i].data.u64);
}
static int add(int fd, unsigned events, unsigned long long data)
{
    struct epoll_event e = {.events = events, .data.u64 = data};
    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}
static int mod(int fd, unsigned events, unsigned long long data)
{
    struct epoll_event e = {.events = events, .data.u64 = data};
    return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
}

int main(void)
{
    char b[64];
    struct pair p = pair_at(9300);
    ep = MUST(epoll_create1(EPOLL_CLOEXEC));
    say("-- level");
    OK(add(p.c, EPOLLIN | EPOLLRDHUP, 0x123456789abcdefull));
    OK(add(p.c, EPOLLIN, 1));
    wait_("idle", 50);
    MUST(write(p.s, "abc", 3));
    wait_("data", 10000);
    wait_("still data", 0);
    MUST(read(p.c, b, 1));
    wait_("a part left", 0);
    MUST(read(p.c, b, 8));
    wait_("read", 30);
    OK(mod(p.c, EPOLLOUT, 2));
    wait_("room", 0);
    OK(mod(p.c, EPOLLIN | EPOLLOUT | EPOLLRDHUP, 3));
    MUST(shutdown(p.s, SHUT_WR));
    await(p.c, POLLRDHUP, 10000);
    wait_("peer's FIN", 10000);
    OK(epoll_ctl(ep, EPOLL_CTL_DEL, p.c, NULL));
    OK(epoll_ctl(ep, EPOLL_CTL_DEL, p.c, NULL));
    OK(mod(p.c, EPOLLIN, 3));
    close_pair(p);

    say("-- edge");
    p = pair_at(9301);
    OK(add(p.c, EPOLLIN | EPOLLET, 4));
    MUST(write(p.s, "1", 1));
    wait_("first", 10000);
    wait_("again, nothing new", 30);
    MUST(write(p.s, "2", 1));
    wait_("more, unread before", 10000);
    MUST(read(p.c, b, 1));
    wait_("a part was read", 30);
    MUST(read(p.c, b, 8));
    OK(mod(p.c, EPOLLIN | EPOLLET, 5));
    wait_("modified, nothing there", 30);
    MUST(write(p.s, "3", 1));
    wait_inq(p.c, 1);
    OK(mod(p.c, EPOLLIN | EPOLLET, 6));
    wait_("modified with data there", 10000);
    wait_("and then", 30);
    OK(mod(p.c, EPOLLIN | EPOLLOUT | EPOLLET, 7));
    wait_("room too", 10000);
    wait_("and then", 30);
    MUST(shutdown(p.s, SHUT_WR));
    wait_("FIN", 10000);
    wait_("and then", 60);
    close_pair(p);
    p = pair_at(9302);
    nonblocking(p.c);
    nonblocking(p.s);
    stuff(p.c, 65536);
    send_until_full(p.c, 1);
    OK(add(p.c, EPOLLOUT | EPOLLET, 8));
    wait_("full", 30);
    for (int i = 0; i < 2000 && outq(p.c) + inq(p.s) > 0; i++) {
        drain(p.s);
        ms(5);
    }
    wait_("room again", 10000);
    wait_("and then", 30);
    close_pair(p);

    say("-- one-shot");
    p = pair_at(9303);
    OK(add(p.c, EPOLLIN | EPOLLONESHOT, 9));
    MUST(write(p.s, "x", 1));
    wait_("first", 10000);
    MUST(write(p.s, "y", 1));
    wait_("disarmed", 30);
    OK(mod(p.c, EPOLLIN | EPOLLONESHOT, 10));
    wait_("armed", 10000);
    say("-- closed descriptors leave the set, unless duplicated");
    OK(mod(p.c, EPOLLIN, 11));
    int d = dup(p.c);
    close(p.c);
    wait_("closed, with a duplicate", 30);
    close(d);
    wait_("all closed", 30);
    close(p.s);
    close(p.l);

    say("-- fresh, listening, connecting, refused");
    int s = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    OK(add(s, EPOLLIN | EPOLLOUT, 12));
    wait_("fresh", 0);
    OK(connect_raw(s, "127.0.0.1", 9399));
    wait_("refused", 10000);
    close(s);
    int l = listener(9304);
    OK(add(l, EPOLLIN, 13));
    wait_("listening", 0);
    s = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    OK(add(s, EPOLLOUT | EPOLLET, 14));
    wait_("fresh, edge", 0);
    OK(connect_raw(s, "127.0.0.1", 9304));
    await(l, POLLIN, 10000);
    struct epoll_event e[4];
    int n = epoll_wait(ep, e, 4, 500);
    say("connected: %d events", n);
    close(s);
    close(l);

    say("-- nested, and poll on an epoll");
    p = pair_at(9305);
    int inner = MUST(epoll_create1(0)), outer = ep;
    ep = inner;
    OK(add(p.c, EPOLLIN, 15));
    ep = outer;
    OK(add(inner, EPOLLIN, 16));
    wait_("outer, idle", 30);
    MUST(write(p.s, "n", 1));
    wait_("outer, data", 10000);
    say_events("the inner one", inner);
    ep = inner;
    wait_("inner", 0);
    MUST(read(p.c, b, 1));
    ep = outer;
    wait_("outer, read", 30);
    close(inner);

    say("-- exclusive: one of two waiting processes");
    /* Linux wakes one; epoll_ctl(2) promises "one or more". What counts is that one gets the connection. */
    l = listener(9306);
    nonblocking(l);
    int woken[2];
    pid_t pid[2];
    MUST(pipe(woken));
    for (int i = 0; i < 2; i++)
        if (child(&pid[i])) {
            ep = MUST(epoll_create1(0));
            struct epoll_event x = {.events = EPOLLIN | EPOLLEXCLUSIVE};
            MUST(epoll_ctl(ep, EPOLL_CTL_ADD, l, &x));
            int r = epoll_wait(ep, &x, 1, 3000);
            if (r == 1) {
                s = accept(l, NULL, NULL);
                if (s >= 0 && write(woken[1], "w", 1)) {}
                ms(300);
            }
            _exit(0);
        }
    ms(150);
    int c = dial(9306);
    ms(150);
    say("accepted: %ld", (long)read(woken[0], b, 8));
    waitpid(pid[0], NULL, 0);
    waitpid(pid[1], NULL, 0);
    close(c);
    say("-- a thread waits while another process makes it ready");
    OK(add(p.c, EPOLLIN, 17));
    pid_t w;
    if (child(&w)) {
        ms(100);
        if (write(p.s, "other", 5)) {}
        _exit(0);
    }
    wait_("woken", 10000);
    waitpid(w, NULL, 0);
    close_pair(p);
    return 0;
}
