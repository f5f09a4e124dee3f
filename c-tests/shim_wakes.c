/* Options that make a socket ready wake who sleeps for it: raising SO_SNDBUF and TCP_NOTSENT_LOWAT,
 * lowering SO_RCVLOWAT. Who isn't woken sleeps until the alarm. */
#include "probe.h"
#include <pthread.h>

static struct pair p;
static int set;

static void *sender(void *size)
{
    static char b[1 << 20];
    R(send(p.c, b, (size_t)size, 0));
    return NULL;
}

static void *poller(void *events)
{
    struct pollfd f = {(long)events & POLLOUT ? p.c : p.s, (short)(long)events, 0};
    int r = poll(&f, 1, -1);
    say("poll = %d %s", r, events_name(f.revents));
    return NULL;
}

static void *selector(void *unused)
{
    fd_set in;
    FD_ZERO(&in);
    FD_SET(p.s, &in);
    R(select(p.s + 1, &in, NULL, NULL, NULL));
    return unused;
}

static void *epoller(void *events)
{
    struct epoll_event e = {(uint32_t)(long)events, {0}};
    int r = epoll_wait(set, &e, 1, -1);
    say("epoll_wait = %d %s", r, events_name((int)e.events));
    return NULL;
}

static pthread_t sleeping(void *(*what)(void *), long arg)
{
    pthread_t t;
    pthread_create(&t, NULL, what, (void *)arg);
    ms(100);
    return t;
}

static void watch(int fd, uint32_t events)
{
    struct epoll_event e = {events, {0}};
    set = MUST(epoll_create1(0));
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e));
}

/* More unsent than the mark allows, and room in the buffer. */
static void hold_back(int port)
{
    p = pair_at(port);
    MUST(set_int(p.c, SOL_SOCKET, SO_SNDBUF, 1 << 20));
    MUST(set_int(p.c, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1));
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVBUF, 4000));
    send_until_full(p.c, 4000);
    say_events("held back", p.c);
}

int main(void)
{
    alarm(30);
    pthread_t t;

    say("-- SO_SNDBUF, a send that waits");
    p = pair_at(9750);
    MUST(set_int(p.c, SOL_SOCKET, SO_SNDBUF, 20000));
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVBUF, 4000));
    t = sleeping(sender, 300000);
    MUST(set_int(p.c, SOL_SOCKET, SO_SNDBUF, 400000));
    pthread_join(t, NULL);
    close_pair(p);

    say("-- SO_SNDBUFFORCE, poll");
    p = pair_at(9751);
    MUST(set_int(p.c, SOL_SOCKET, SO_SNDBUF, 20000));
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVBUF, 4000));
    send_until_full(p.c, 4000);
    say_events("full", p.c);
    t = sleeping(poller, POLLOUT);
    MUST(set_int(p.c, SOL_SOCKET, SO_SNDBUFFORCE, 1 << 20));
    pthread_join(t, NULL);
    close_pair(p);

    say("-- TCP_NOTSENT_LOWAT, poll");
    hold_back(9752);
    t = sleeping(poller, POLLOUT);
    MUST(set_int(p.c, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1 << 30));
    pthread_join(t, NULL);
    close_pair(p);

    say("-- TCP_NOTSENT_LOWAT, epoll");
    hold_back(9753);
    watch(p.c, EPOLLOUT);
    t = sleeping(epoller, EPOLLOUT);
    MUST(set_int(p.c, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1 << 30));
    pthread_join(t, NULL);
    close(set);
    close_pair(p);

    say("-- SO_RCVLOWAT: poll, select, epoll");
    p = pair_at(9754);
    MUST(send(p.c, "0123456789", 10, 0));
    ms(20);
    OK(set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 1000));
    t = sleeping(poller, POLLIN);
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 5));
    pthread_join(t, NULL);
    OK(set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 1000));
    t = sleeping(selector, 0);
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 10));
    pthread_join(t, NULL);
    OK(set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 1000));
    watch(p.s, EPOLLIN);
    t = sleeping(epoller, EPOLLIN);
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 1));
    pthread_join(t, NULL);
    say_recv("all", p.s);
    close_pair(p);
    return 0;
}
