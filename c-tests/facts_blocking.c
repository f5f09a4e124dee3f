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
static void ring_in(int msec)
{
    struct itimerval t = {{0, 0}, {msec / 1000, msec % 1000 * 1000}};
    rang = 0;
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

static void *reader(void *arg)
{
    char b[4];
    long n = read(*(int *)arg, b, 4);
    /* Whoever woke it says so first. */
    ms(20);
    say("thread: read %ld %s", n, n < 0 ? ename(errno) : "");
    return (void *)1;
}
static void cleanup(void *arg) { say("cleanup of %s", (char *)arg); }
static void *cancelled_reader(void *arg)
{
    char b[4];
    pthread_cleanup_push(cleanup, "the reader");
    if (read(*(int *)arg, b, 4)) {}
    pthread_cleanup_pop(0);
    say("not reached");
    return NULL;
}
static void *cancelled_accept(void *arg)
{
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
    R(poll(&pf, 1, 1000));
    struct iovec v = {b, 4};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    ring_in(100);
    R(recvmsg(p.c, &m, 0));
    say("rang %d", rang);

    say("-- SA_RESTART goes on");
    handler(SA_RESTART);
    ring_in(100);
    pid_t pid = later(250, p.s, "late");
    R(read(p.c, b, 4));
    say("rang %d", rang);
    waitpid(pid, NULL, 0);
    ring_in(100);
    pid = later(250, -1, "connect");
    int s = accept(l, NULL, NULL);
    say("accept %s, rang %d", s >= 0 ? "ok" : ename(errno), rang);
    waitpid(pid, NULL, 0);
    close(s);
    ring_in(100);
    R(poll(&pf, 1, 300));

    say("-- with a timeout, SA_RESTART doesn't restart");
    timeout(p.c, SO_RCVTIMEO, 2000);
    ring_in(100);
    R(read(p.c, b, 4));
    timeout(p.c, SO_RCVTIMEO, 200);
    t = now_ms();
    R(read(p.c, b, 4));
    say("after 200 ms: %s", within(t, 195, 300));
    R(recv(p.c, b, 4, MSG_WAITALL));
    MUST(write(p.s, "ab", 2));
    ms(20);
    t = now_ms();
    R(recv(p.c, b, 4, MSG_WAITALL));
    say("a part after the timeout: %s", within(t, 150, 300));
    timeout(l, SO_RCVTIMEO, 150);
    t = now_ms();
    R(accept(l, NULL, NULL));
    say("accept's: %s", within(t, 145, 250));
    timeout(p.c, SO_RCVTIMEO, 0);
    timeout(l, SO_RCVTIMEO, 0);
    struct timeval tv = {0, 1}, back;
    socklen_t n = sizeof back;
    MUST(setsockopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    MUST(getsockopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &back, &n));
    say("1 us is not rounded down to nothing: %s", back.tv_usec >= 1 ? "yes" : "no");
    timeout(p.c, SO_RCVTIMEO, 0);

    say("-- MSG_WAITALL");
    pid = later(100, p.s, "5678");
    MUST(write(p.s, "1234", 4));
    R(recv(p.c, b, 8, MSG_WAITALL));
    say("%.8s", b);
    waitpid(pid, NULL, 0);
    handler(0);
    MUST(write(p.s, "123", 3));
    ring_in(100);
    R(recv(p.c, b, 8, MSG_WAITALL));
    ring_in(100);
    R(recv(p.c, b, 8, MSG_WAITALL));
    MUST(write(p.s, "123", 3));
    ms(20);
    R(recv(p.c, b, 8, MSG_WAITALL | MSG_DONTWAIT));
    pid = later(100, p.s, "xyz");
    R(recv(p.c, b, 3, MSG_PEEK | MSG_WAITALL));
    R(recv(p.c, b, 3, 0));
    waitpid(pid, NULL, 0);

    say("-- shutdown wakes, in this process and in another");
    pthread_t th;
    pthread_create(&th, NULL, reader, &p.c);
    ms(100);
    OK(shutdown(p.c, SHUT_RD));
    pthread_join(th, NULL);
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
    pthread_create(&th, NULL, reader, &p.c);
    ms(50);
    OK(close(p.c));
    ms(100);
    say("the reader still waits");
    MUST(write(p.s, "wake", 4));
    pthread_join(th, NULL);
    close(twin);
    close(p.s);
    close(p.l);

    say("-- cancellation");
    p = pair_at(9204);
    void *ret;
    pthread_create(&th, NULL, cancelled_reader, &p.c);
    ms(50);
    pthread_cancel(th);
    pthread_join(th, &ret);
    say("reader cancelled: %s", ret == PTHREAD_CANCELED ? "yes" : "no");
    pthread_create(&th, NULL, cancelled_accept, &l);
    ms(50);
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
    nonblocking(w);
    OK(connect_raw(w, "127.0.0.1", 9206));
    s = MUST(accept(full, NULL, NULL));
    await(w, POLLOUT, 3000);
    say_state("it went on", w);
    OK(connect_raw(w, "127.0.0.1", 9206));
    close(first);
    close_pair(p);
    return 0;
}
