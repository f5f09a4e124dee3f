/* What epoll says of a socket whose error queue has something: completions of MSG_ZEROCOPY, timestamps of what was sent. */
#include "probe.h"
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <pthread.h>

#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif
#define PORT 9180

static char data[4000];
static struct pair p;

static int open_set(uint32_t events)
{
    struct epoll_event e = {.events = events, .data.u64 = 0x123456789abcdefULL};
    int set = MUST(epoll_create1(0));
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, p.c, &e));
    return set;
}

static void say_wait(const char *what, int set, int limit)
{
    struct epoll_event e[4];
    int n = epoll_wait(set, e, 4, limit);
    if (n == 1 && e[0].data.u64 == 0x123456789abcdefULL) say("%s: %s", what, events_name((int)e[0].events));
    else say("%s: %d events", what, n);
}

static void zerocopy(void)
{
    MUST(send(p.c, data, sizeof data, MSG_ZEROCOPY));
    MUST(recv(p.s, data, sizeof data, MSG_WAITALL));
    wait_acked(p.c);
    ms(20);
}

static int take(void)
{
    char control[256];
    struct msghdr m = {.msg_control = control, .msg_controllen = sizeof control};
    int n = 0;
    while (recvmsg(p.c, &m, MSG_ERRQUEUE) >= 0) {
        m.msg_controllen = sizeof control;
        n++;
    }
    return n > 0;
}

static void *later(void *arg)
{
    ms(100);
    MUST(send(p.c, data, 100, (int)(intptr_t)arg));
    return NULL;
}

static void waits(const char *what, int set, int flags)
{
    pthread_t t;
    long began = now_ms();
    pthread_create(&t, NULL, later, (void *)(intptr_t)flags);
    say_wait(what, set, 10000);
    say("  after a while: %s", within(began, 90, 9000));
    pthread_join(t, NULL);
    ms(50);
    MUST(recv(p.s, data, sizeof data, 0));
}

int main(void)
{
    int one = 1, set;
    struct epoll_event e;
    p = pair_at(PORT);
    MUST(set_int(p.c, SOL_SOCKET, SO_ZEROCOPY, one));
    nonblocking(p.c);

    say("-- edges");
    set = open_set(EPOLLOUT | EPOLLET);
    say_wait("at first", set, 0);
    say_wait("again", set, 0);
    zerocopy();
    zerocopy();
    say_wait("two sends", set, 0);
    say_wait("again", set, 0);
    zerocopy();
    say_wait("a third", set, 0);
    say_wait("again", set, 0);
    e = (struct epoll_event){.events = EPOLLOUT | EPOLLET, .data.u64 = 0x123456789abcdefULL};
    MUST(epoll_ctl(set, EPOLL_CTL_MOD, p.c, &e));
    say_wait("the same asked for anew", set, 0);
    say("something was there: %d", take());
    say_wait("taken", set, 0);
    zerocopy();
    say("taken before it is waited for: %d", take());
    say_wait("then", set, 0);
    close(set);

    say("-- levels");
    set = open_set(EPOLLIN);
    say_wait("nothing", set, 0);
    zerocopy();
    say_wait("a send", set, 0);
    say_wait("again", set, 0);
    MUST(send(p.s, "x", 1, 0));
    wait_inq(p.c, 1);
    say_wait("with data", set, 0);
    MUST(recv(p.c, data, 9, 0));
    say_wait("the data read", set, 100);
    say("something was there: %d", take());
    say_wait("taken", set, 20);
    close(set);
    zerocopy();
    set = open_set(0);
    say_wait("nothing but errors asked for", set, 1000);
    MUST(epoll_ctl(set, EPOLL_CTL_DEL, p.c, NULL));
    say_wait("taken out of the set", set, 0);
    close(set);
    take();

    say("-- once");
    set = open_set(EPOLLIN | EPOLLONESHOT);
    zerocopy();
    say_wait("a send", set, 0);
    say_wait("again", set, 0);
    zerocopy();
    say_wait("another", set, 0);
    e = (struct epoll_event){.events = EPOLLOUT | EPOLLONESHOT, .data.u64 = 0x123456789abcdefULL};
    MUST(epoll_ctl(set, EPOLL_CTL_MOD, p.c, &e));
    say_wait("armed", set, 0);
    say_wait("again", set, 0);
    take();
    e.events = EPOLLIN | EPOLLONESHOT;
    MUST(epoll_ctl(set, EPOLL_CTL_MOD, p.c, &e));
    say_wait("armed, nothing there", set, 20);
    MUST(send(p.s, "x", 1, 0));
    say_wait("data", set, 1000);
    MUST(recv(p.c, data, 9, 0));
    close(set);

    say("-- exclusive");
    set = open_set(EPOLLOUT | EPOLLET | EPOLLEXCLUSIVE);
    say_wait("at first", set, 0);
    zerocopy();
    say_wait("a send", set, 0);
    say_wait("again", set, 0);
    close(set);
    take();

    say("-- waiting");
    set = open_set(EPOLLIN);
    waits("zerocopy of another thread", set, MSG_ZEROCOPY);
    say("something was there: %d", take());
    int flags = SOF_TIMESTAMPING_TX_ACK | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;
    MUST(set_int(p.c, SOL_SOCKET, SO_TIMESTAMPING, flags));
    waits("an acknowledgement's time", set, 0);
    say("something was there: %d", take());
    close(set);
    set = open_set(EPOLLIN | EPOLLET);
    waits("the same, by edge", set, 0);
    say_wait("again", set, 20);
    say("something was there: %d", take());
    close(set);
    close_pair(p);
    return 0;
}
