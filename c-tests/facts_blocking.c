/* Blocking calls: what wakes them, signals with and without SA_RESTART, SO_RCVTIMEO and SO_SNDTIMEO, MSG_WAITALL, cancellation. */
#include "probe.h"
#include <pthread.h>

static volatile int rang;
static void on_alarm(int sig) { (void)sig; rang++; }

static void handler(int flags)
{
    struct sigaction a = {.sa_handler = on_alarm, .sa_flags = flags};
    sigaction(SIGALRM, &a, NULL);
}
/* And again and again, until quiet(): on a busy machine the first may come before the call that it is meant for. */
static void ring_in(int msec)
{
    struct itimerval t = {{msec / 1000, msec % 1000 * 1000}, {msec / 1000, msec % 1000 * 1000}};
    rang = 0;
    setitimer(ITIMER_REAL, &t, NULL);
}
static void quiet(void)
{
    struct itimerval t = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &t, NULL);
}
static void timeout(int fd, int opt, int msec)
{
    struct timeval tv = {msec / 1000, msec % 1000 * 1000};
    MUST(setsockopt(fd, SOL_SOCKET, opt, &tv, sizeof tv));
}
/* A child that does one thing after a while. */
static pid_t later(int msec, int fd, const char *what)
{
    pid_t pid;
    if (child(&pid)) {
        ms(msec);
        if (!strcmp(what, "connect")) { int c = dial(9201); ms(200); close(c); }
        else if (!strcmp(what, "shutdown")) shutdown(fd, SHUT_RDWR);
        else if (!strcmp(what, "close")) close(fd);
        else if (write(fd, what, strlen(what))) {}
        _exit(0);
    }
    return pid;
}

static volatile pid_t waiting;
static volatile int woken, number;
static long result;
static void *reader(void *arg)
{
    char b[4];
    waiting = gettid();
    result = read(*(int *)arg, b, 4);
    number = errno;
    woken = 1;
    return (void *)1;
}
/* Begins a thread; returns when it waits. */
static void begin(pthread_t *t, void *(*f)(void *), int *fd)
{
    waiting = woken = 0;
    MUST(pthread_create(t, NULL, f, fd) ? -1 : 0);
    while (!waiting) ms(1);
    wait_asleep(waiting);
}
static void say_reader(pthread_t t)
{
    pthread_join(t, NULL);
    say("thread: read %ld %s", result, result < 0 ? ename(number) : "");
}
static void cleanup(void *arg) { say("cleanup of %s", (char *)arg); }
static void *cancelled_reader(void *arg)
{
    char b[4];
    pthread_cleanup_push(cleanup, "the reader");
    waiting = gettid();
    if (read(*(int *)arg, b, 4)) {}
    pthread_cleanup_pop(0);
    say("not reached");
    return NULL;
}
static void *cancelled_accept(void *arg)
{
    waiting = gettid();
    accept(*(int *)arg, NULL, NULL);
    say("not reached");
    return NULL;
}

int main(void)
{
    char b[64];
    struct pair p = pair_at(9200);
    int l = listener(9201);
    long t;

    say("-- EINTR without SA_RESTART");
    handler(0);
    ring_in(100);
    R(read(p.c, b, 4));
    ring_in(100);
    R(accept(l, NULL, NULL));
    ring_in(100);
    struct pollfd pf = {p.c, POLLIN, 0};
    R(poll(&pf, 1, 10000));
    struct iovec v = {b, 4};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    ring_in(100);
    R(recvmsg(p.c, &m, 0));
    say("rang: %s", rang ? "yes" : "no");

    say("-- SA_RESTART goes on");
    handler(SA_RESTART);
    ring_in(100);
    pid_t pid = later(250, p.s, "late");
    R(read(p.c, b, 4));
    say("rang: %s", rang ? "yes" : "no");
    waitpid(pid, NULL, 0);
    ring_in(100);
    pid = later(250, -1, "connect");
    int s = accept(l, NULL, NULL);
    say("accept %s, rang: %s", s >= 0 ? "ok" : ename(errno), rang ? "yes" : "no");
    waitpid(pid, NULL, 0);
    close(s);
    ring_in(100);
    R(poll(&pf, 1, 10000));

    say("-- with a timeout, SA_RESTART doesn't restart");
    timeout(p.c, SO_RCVTIMEO, 20000);
    ring_in(100);
    R(read(p.c, b, 4));
    quiet();
    timeout(p.c, SO_RCVTIMEO, 200);
    t = now_ms();
    R(read(p.c, b, 4));
    say("after 200 ms: %s", within(t, 195, 5000));
    R(recv(p.c, b, 4, MSG_WAITALL));
    MUST(write(p.s, "ab", 2));
    wait_inq(p.c, 2);
    t = now_ms();
    R(recv(p.c, b, 4, MSG_WAITALL));
    say("a part after the timeout: %s", within(t, 150, 5000));
    timeout(l, SO_RCVTIMEO, 150);
    t = now_ms();
    R(accept(l, NULL, NULL));
    say("accept's: %s", within(t, 145, 5000));
    timeout(p.c, SO_RCVTIMEO, 0);
    timeout(l, SO_RCVTIMEO, 0);
    struct timeval tv = {0, 1}, back;
    socklen_t n = sizeof back;
    MUST(setsockopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    MUST(getsockopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &back, &n));
    say("1 us is a tick: %ld us", (long)back.tv_usec);
    timeout(p.c, SO_RCVTIMEO, 0);

    say("-- MSG_WAITALL");
    MUST(write(p.s, "1234", 4));
    pid = later(100, p.s, "5678");
    R(recv(p.c, b, 8, MSG_WAITALL));
    say("%.8s", b);
    waitpid(pid, NULL, 0);
    handler(0);
    MUST(write(p.s, "123", 3));
    ring_in(100);
    R(recv(p.c, b, 8, MSG_WAITALL));
    ring_in(100);
    R(recv(p.c, b, 8, MSG_WAITALL));
    quiet();
    MUST(write(p.s, "123", 3));
    wait_inq(p.c, 3);
    R(recv(p.c, b, 8, MSG_WAITALL | MSG_DONTWAIT));
    pid = later(100, p.s, "xyz");
    R(recv(p.c, b, 3, MSG_PEEK | MSG_WAITALL));
    R(recv(p.c, b, 3, 0));
    waitpid(pid, NULL, 0);

    say("-- shutdown wakes, in this process and in another");
    pthread_t th;
    begin(&th, reader, &p.c);
    OK(shutdown(p.c, SHUT_RD));
    say_reader(th);
    close_pair(p);
    p = pair_at(9202);
    pid = later(100, p.c, "shutdown");
    R(read(p.c, b, 4));
    waitpid(pid, NULL, 0);
    pid = later(100, l, "shutdown");
    R(accept(l, NULL, NULL));
    waitpid(pid, NULL, 0);
    MUST(listen(l, 5));
    close_pair(p);
    say("-- close doesn't");
    p = pair_at(9203);
    int twin = dup(p.c);
    begin(&th, reader, &p.c);
    OK(close(p.c));
    ms(100);
    say("the reader still waits: %s", woken ? "no" : "yes");
    MUST(write(p.s, "wake", 4));
    say_reader(th);
    close(twin);
    close(p.s);
    close(p.l);

    say("-- cancellation");
    p = pair_at(9204);
    void *ret;
    begin(&th, cancelled_reader, &p.c);
    pthread_cancel(th);
    pthread_join(th, &ret);
    say("reader cancelled: %s", ret == PTHREAD_CANCELED ? "yes" : "no");
    begin(&th, cancelled_accept, &l);
    pthread_cancel(th);
    pthread_join(th, &ret);
    say("accept cancelled: %s", ret == PTHREAD_CANCELED ? "yes" : "no");
    MUST(write(p.s, "ok", 2));
    R(read(p.c, b, 4));
    close_pair(p);

    say("-- non-blocking by O_NONBLOCK of a shared description");
    p = pair_at(9205);
    twin = dup(p.c);
    nonblocking(twin);
    R(read(p.c, b, 4));
    int on = 0;
    OK(ioctl(p.c, FIONBIO, &on));
    say("O_NONBLOCK of the other: %d", (fcntl(twin, F_GETFL) & O_NONBLOCK) != 0);
    close(twin);
    say("-- a blocked connect");
    int full = listener_at("127.0.0.1", 9206, 0), first = dial(9206), w = MUST(socket(AF_INET, SOCK_STREAM, 0));
    handler(0);
    ring_in(100);
    OK(connect_raw(w, "127.0.0.1", 9206));
    quiet();
    nonblocking(w);
    OK(connect_raw(w, "127.0.0.1", 9206));
    s = MUST(accept(full, NULL, NULL));
    await(w, POLLOUT, 10000);
    say_state("it went on", w);
    OK(connect_raw(w, "127.0.0.1", 9206));
    close(first);
    close_pair(p);
    return 0;
}
