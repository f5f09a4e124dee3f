/* epoll (level, edge, one-shot, nested), poll and select over sockets and pipes together, and what
 * signals, time limits and closing from another thread do to calls that wait. */
#include "probe.h"
#include <pthread.h>

static volatile sig_atomic_t caught;
static void handler(int sig) { (void)sig; caught++; }

static void pair(int *a, int *b)
{
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in at = in4("127.0.0.1", 0);
    socklen_t n = sizeof at;
    MUST(bind(l, SA(at), sizeof at));
    MUST(listen(l, 5));
    MUST(getsockname(l, SA(at), &n));
    *a = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(*a, SA(at), sizeof at));
    *b = MUST(accept(l, NULL, NULL));
    close(l);
}

static void say_set(const char *what, int ep, int timeout)
{
    struct epoll_event ev[8];
    memset(ev, 0, sizeof ev);
    int n = epoll_wait(ep, ev, 8, timeout);
    if (n < 0) say("%s: epoll_wait -1 %s", what, ename(errno));
    else if (n == 0) say("%s: nothing", what);
    /* In which order they come is nobody's promise. */
    for (unsigned tag = 1; tag < 10; tag++)
        for (int i = 0; i < n; i++)
            if (ev[i].data.u32 == tag)
                say("%s: %u: %s", what, tag, events_name((int)(ev[i].events & 0xffff)));
}

static int add(int ep, int fd, unsigned events, unsigned tag)
{
    struct epoll_event ev = {.events = events, .data = {.u32 = tag}};
    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static void epolls(void)
{
    int a, b;
    pair(&a, &b);
    int ep = MUST(epoll_create1(EPOLL_CLOEXEC));
    say("-- level");
    OK(add(ep, a, EPOLLIN | EPOLLRDHUP, 1));
    say_set("idle", ep, 30);
    MUST(send(b, "xy", 2, 0));
    say_set("data", ep, 10000);
    say_set("data still", ep, 10000);
    char buf[64];
    MUST(recv(a, buf, 64, 0));
    say_set("read", ep, 30);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data = {.u32 = 2}};
    OK(epoll_ctl(ep, EPOLL_CTL_MOD, a, &ev));
    say_set("writable", ep, 10000);
    OK(add(ep, a, EPOLLIN, 1));
    OK(epoll_ctl(ep, EPOLL_CTL_DEL, a, NULL));
    say_set("removed", ep, 30);
    OK(epoll_ctl(ep, EPOLL_CTL_DEL, a, NULL));

    say("-- edge");
    OK(add(ep, a, EPOLLIN | EPOLLET, 3));
    MUST(send(b, "1", 1, 0));
    say_set("first", ep, 10000);
    say_set("no new edge", ep, 30);
    MUST(recv(a, buf, 64, 0));
    MUST(send(b, "2", 1, 0));
    say_set("second", ep, 10000);
    MUST(recv(a, buf, 64, 0));
    OK(epoll_ctl(ep, EPOLL_CTL_DEL, a, NULL));

    say("-- one-shot, nested");
    OK(add(ep, a, EPOLLIN | EPOLLONESHOT, 4));
    int outer = MUST(epoll_create1(0));
    OK(add(outer, ep, EPOLLIN, 5));
    MUST(send(b, "3", 1, 0));
    say_set("outer", outer, 10000);
    say_set("inner", ep, 10000);
    say_set("inner again", ep, 30);
    MUST(recv(a, buf, 64, 0));
    struct pollfd p = {outer, POLLIN, 0};
    say("poll of the set: %d", poll(&p, 1, 0));
    ev.events = EPOLLIN | EPOLLONESHOT;
    OK(epoll_ctl(ep, EPOLL_CTL_MOD, a, &ev));
    MUST(send(b, "4", 1, 0));
    say("poll of the outer set: %d", poll(&p, 1, 10000));
    MUST(recv(a, buf, 64, 0));

    say("-- the end");
    ev.events = EPOLLIN | EPOLLRDHUP;
    ev.data.u32 = 6;
    OK(epoll_ctl(ep, EPOLL_CTL_MOD, a, &ev));
    MUST(shutdown(b, SHUT_WR));
    say_set("FIN", ep, 10000);
    close(b);
    close(a);
    say_set("closed", ep, 30);

    say("-- a listener and a connect");
    int l = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    struct sockaddr_in at = in4("127.0.0.1", 9201);
    OK(add(ep, l, EPOLLIN, 7));
    say_set("fresh", ep, 10000);
    OK(epoll_ctl(ep, EPOLL_CTL_DEL, l, NULL));
    MUST(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, 4));
    MUST(bind(l, SA(at), sizeof at));
    MUST(listen(l, 5));
    OK(add(ep, l, EPOLLIN, 7));
    say_set("listening", ep, 30);
    int c = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    int r = connect(c, SA(at), sizeof at);
    if (r) MUST(errno == EINPROGRESS ? 0 : -1);
    OK(add(ep, c, EPOLLOUT, 8));
    ms(50);
    say_set("both", ep, 10000);
    int s = MUST(accept4(l, NULL, NULL, SOCK_NONBLOCK));
    say_error("client", c);
    say("accepted O_NONBLOCK: %d", !!(fcntl(s, F_GETFL) & O_NONBLOCK));
    MUST(recv(s, buf, 64, 0) == -1 && errno == EAGAIN ? 0 : -1);
    close(c);
    OK(add(ep, s, EPOLLIN, 9));
    ms(50);
    say_set("closed by peer", ep, 10000);
    close(s);
    close(l);
    close(ep);
    close(outer);
}

static void mixed(void)
{
    int a, b, pipe_[2];
    pair(&a, &b);
    MUST(pipe(pipe_));
    say("-- poll over a socket, a pipe, nothing and a closed one");
    struct pollfd p[4] = {{a, POLLIN, 0}, {pipe_[0], POLLIN, 0}, {-1, POLLIN, 7}, {777, POLLIN, 0}};
    R(poll(p, 3, 20));
    say("%s", events_name(p[0].revents | p[1].revents | p[2].revents));
    R(poll(p, 4, 20));
    say("%s", events_name(p[3].revents));
    MUST(write(pipe_[1], "x", 1));
    R(poll(p, 3, 10000));
    say("socket %s", events_name(p[0].revents));
    say("pipe %s", events_name(p[1].revents));
    MUST(write(b, "x", 1));
    ms(20);
    R(poll(p, 3, 10000));
    say("socket %s", events_name(p[0].revents));
    say("pipe %s", events_name(p[1].revents));
    say("-- select");
    fd_set r, w, e;
    FD_ZERO(&r); FD_ZERO(&w); FD_ZERO(&e);
    FD_SET(a, &r), FD_SET(pipe_[0], &r), FD_SET(a, &w), FD_SET(b, &r), FD_SET(a, &e);
    struct timeval tv = {5, 0};
    int top = 64;
    R(select(top, &r, &w, &e, &tv));
    say("read: a %d b %d pipe %d; write: a %d; urgent: a %d; time left %d", !!FD_ISSET(a, &r),
        !!FD_ISSET(b, &r), !!FD_ISSET(pipe_[0], &r), !!FD_ISSET(a, &w), !!FD_ISSET(a, &e),
        tv.tv_sec >= 4);
    MUST(send(b, "!", 1, MSG_OOB));
    ms(20);
    FD_ZERO(&r); FD_ZERO(&w); FD_ZERO(&e);
    FD_SET(a, &e);
    tv.tv_sec = 1;
    int ready = select(top, NULL, NULL, &e, &tv);
    say("select = %d, urgent %d", ready, !!FD_ISSET(a, &e));
    char c = 0;
    int got = (int)recv(a, &c, 1, MSG_OOB);
    say("recv OOB = %d '%c'", got, c);
    FD_ZERO(&r);
    FD_SET(b, &r);
    tv = (struct timeval){0, 30000};
    ready = select(top, &r, NULL, NULL, &tv);
    say("select = %d, b %d, time left %d %d", ready, !!FD_ISSET(b, &r), (int)tv.tv_sec, (int)tv.tv_usec);
    FD_SET(a, &r), FD_SET(50, &r);
    tv.tv_sec = 1;
    ready = select(top, &r, NULL, NULL, &tv);
    say("select with a closed one = %d %s", ready, ename(errno));
    struct timespec ts = {0, 10000000};
    FD_ZERO(&r);
    FD_SET(b, &r);
    say("pselect = %d", pselect(top, &r, NULL, NULL, &ts, NULL));
    close(a), close(b), close(pipe_[0]), close(pipe_[1]);
}

static pthread_t target;
static int victim;
static void *disturb(void *how)
{
    wait_asleep(getpid()); /* the first thread, in the call */
    switch (*(char *)how) {
    case 's': pthread_kill(target, SIGUSR1); break;
    case 'd': MUST(send(victim, "late", 4, 0)); break;
    case 'k': pthread_kill(target, SIGUSR1); ms(60); MUST(send(victim, "late", 4, 0)); break;
    }
    return NULL;
}
#define WITH(how, stmt) do { pthread_t t_; char h_ = how; target = pthread_self(); \
    pthread_create(&t_, NULL, disturb, &h_); stmt; int e_ = errno; pthread_join(t_, NULL); errno = e_; } while (0)

static void signals(void)
{
    int a, b;
    char buf[64];
    pair(&a, &b);
    victim = b;
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = handler;
    sigaction(SIGUSR1, &sa, NULL);
    say("-- a handler without SA_RESTART");
    WITH('s', R(recv(a, buf, 64, 0)));
    struct pollfd p = {a, POLLIN, 0};
    WITH('s', R(poll(&p, 1, 10000)));
    int ep = MUST(epoll_create1(0));
    OK(add(ep, a, EPOLLIN, 1));
    struct epoll_event ev;
    WITH('s', R(epoll_wait(ep, &ev, 1, 10000)));
    say("handlers ran: %d", (int)caught);
    say("-- with SA_RESTART");
    sa.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &sa, NULL);
    WITH('k', R(recv(a, buf, 64, 0)));
    WITH('s', R(poll(&p, 1, 10000)));
    struct timeval tv = {20, 0};
    setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    WITH('s', R(recv(a, buf, 64, 0)));
    tv = (struct timeval){0, 50000};
    setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    long t = now_ms();
    R(recv(a, buf, 64, 0));
    say("after the time limit: %s", within(t, 45, 5000));
    tv = (struct timeval){0, 0};
    setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    say("-- MSG_WAITALL with a signal after some bytes");
    sa.sa_flags = 0;
    sigaction(SIGUSR1, &sa, NULL);
    MUST(send(b, "part", 4, 0));
    WITH('s', R(recv(a, buf, 64, MSG_WAITALL)));
    say("-- ppoll with a mask");
    sigset_t block, none;
    sigemptyset(&block), sigemptyset(&none);
    sigaddset(&block, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &block, NULL);
    caught = 0;
    pthread_kill(pthread_self(), SIGUSR1);
    struct timespec ts = {1, 0};
    R(ppoll(&p, 1, &ts, &none));
    say("handlers ran: %d", (int)caught);
    pthread_kill(pthread_self(), SIGUSR1);
    ts = (struct timespec){0, 30000000};
    R(ppoll(&p, 1, &ts, NULL));
    say("handlers ran: %d", (int)caught);
    pthread_sigmask(SIG_UNBLOCK, &block, NULL);
    say("handlers ran: %d", (int)caught);
    close(a), close(b), close(ep);
}

static volatile pid_t blocked;
/* Begins a thread; returns when it waits. */
static void begin(pthread_t *t, void *(*f)(void *), int *fd)
{
    blocked = 0;
    MUST(pthread_create(t, NULL, f, fd) ? -1 : 0);
    while (!blocked) ms(1);
    wait_asleep(blocked);
}

static void *blocked_recv(void *arg)
{
    char buf[8];
    int fd = *(int *)arg;
    blocked = gettid();
    long n = recv(fd, buf, 8, 0);
    say("blocked recv = %ld %s", n, n < 0 ? ename(errno) : "");
    return NULL;
}

static void *blocked_forever(void *arg)
{
    char buf[8];
    blocked = gettid();
    recv(*(int *)arg, buf, 8, 0);
    say("not cancelled");
    return NULL;
}

static void *blocked_read(void *arg)
{
    char buf[8];
    blocked = gettid();
    read(*(int *)arg, buf, 8);
    say("not cancelled");
    return NULL;
}

static void *blocked_accept(void *arg)
{
    blocked = gettid();
    accept(*(int *)arg, NULL, NULL);
    say("not cancelled");
    return NULL;
}

static void *blocked_poll(void *arg)
{
    struct pollfd p = {*(int *)arg, POLLIN, 0};
    blocked = gettid();
    poll(&p, 1, -1);
    say("not cancelled");
    return NULL;
}

static void *disabled(void *arg)
{
    char buf[8];
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    blocked = gettid();
    say("cancellation disabled: recv = %d", (int)recv(*(int *)arg, buf, 8, 0));
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_testcancel();
    say("not cancelled");
    return NULL;
}

static void cancel(const char *what, void *(*f)(void *), int fd, int wake)
{
    pthread_t t;
    void *result = NULL;
    begin(&t, f, &fd);
    int r = pthread_cancel(t);
    ms(30);
    if (wake >= 0) MUST(send(wake, "x", 1, 0));
    pthread_join(t, &result);
    say("%s: %d, cancelled: %d", what, r, result == PTHREAD_CANCELED);
}

static void threads(void)
{
    int a, b;
    pthread_t t;
    pair(&a, &b);
    say("-- close while a thread is blocked: it goes on, and so does the connection");
    begin(&t, blocked_recv, &a);
    close(a);
    ms(60);
    say_events("peer", b);
    MUST(send(b, "data", 4, 0));
    pthread_join(t, NULL);
    wait_events("peer", b, POLLIN);
    close(b);
    say("-- shutdown while a thread is blocked");
    pair(&a, &b);
    begin(&t, blocked_recv, &a);
    int r = shutdown(a, SHUT_RDWR);
    pthread_join(t, NULL);
    say("shutdown = %d", r);
    close(a), close(b);
    say("-- cancellation");
    pair(&a, &b);
    int pipe_[2];
    MUST(pipe(pipe_));
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(listen(l, 1));
    cancel("recv", blocked_forever, a, -1);
    cancel("read", blocked_read, a, -1);
    cancel("read of a pipe", blocked_read, pipe_[0], -1);
    cancel("accept", blocked_accept, l, -1);
    cancel("poll", blocked_poll, a, -1);
    cancel("poll of a pipe", blocked_poll, pipe_[0], -1);
    cancel("disabled", disabled, a, b);
    close(a), close(b), close(l);
}

int main(void)
{
    epolls();
    mixed();
    signals();
    threads();
    return 0;
}
