/* epoll and error queues where more than one thread, process, socket or event has part in it. */
#include "probe.h"
#include <linux/net_tstamp.h>
#include <pthread.h>
#include <sched.h>

#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif
#define PORT 9190
#define MANY 100
#define ROUNDS 600

static char data[4000];

static void add(int set, int op, int fd, uint32_t events, uint64_t u64)
{
    struct epoll_event e = {.events = events, .data.u64 = u64};
    MUST(epoll_ctl(set, op, fd, &e));
}

static int set_of(int fd, uint32_t events)
{
    int set = MUST(epoll_create1(0));
    add(set, EPOLL_CTL_ADD, fd, events, (uint64_t)fd);
    return set;
}

static void say_wait(const char *what, int set, int limit)
{
    struct epoll_event e[4];
    int n = epoll_wait(set, e, 4, limit);
    if (n == 1) say("%s: %s", what, events_name((int)e[0].events));
    else say("%s: %d events", what, n);
}

static int dial_zerocopy(void)
{
    int fd = dial(PORT);
    MUST(set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1));
    return fd;
}

/* A completion is reported when the peer has what was sent. */
static void zerocopy(int from, int to, size_t len)
{
    MUST(send(from, data, len, MSG_ZEROCOPY));
    MUST(recv(to, data, len, MSG_WAITALL));
}

static int take(int fd)
{
    char control[256];
    int n = 0;
    for (;; n++) {
        struct msghdr m = {.msg_control = control, .msg_controllen = sizeof control};
        if (recvmsg(fd, &m, MSG_ERRQUEUE) < 0) return n > 0;
    }
}

struct waiter {
    int set, n;
    uint32_t events;
    const char *late;
    pthread_t thread;
};

static void *sleeps(void *arg)
{
    struct waiter *w = arg;
    struct epoll_event e[4];
    long began = now_ms();
    static __thread char text[64];
    w->n = epoll_wait(w->set, e, 4, 20000);
    w->events = w->n == 1 ? e[0].events : 0;
    snprintf(text, sizeof text, "%s", within(began, 0, 15000));
    w->late = strdup(text);
    return NULL;
}

static void begin(struct waiter *w, int set)
{
    w->set = set;
    pthread_create(&w->thread, NULL, sleeps, w);
    ms(150);
}

static void say_end(const char *who, struct waiter *w)
{
    pthread_join(w->thread, NULL);
    say("%s: %d, %s, in time: %s", who, w->n, events_name((int)w->events), w->late);
}

/* The first use of an error queue, while a thread sleeps. */
static void first(int l)
{
    struct waiter w;
    int c = dial(PORT), s = MUST(accept(l, NULL, NULL)), set = set_of(c, EPOLLIN);
    say("-- a thread that slept before the first use");
    begin(&w, set);
    MUST(set_int(c, SOL_SOCKET, SO_ZEROCOPY, 1));
    zerocopy(c, s, 1000);
    say_end("it", &w);
    close(set);
    close(c);
    close(s);
}

static void threads(int l)
{
    struct waiter w[3];
    int c[3], s[3], set[3];
    say("-- threads with sets of their own");
    for (int i = 0; i < 3; i++) {
        c[i] = dial_zerocopy();
        s[i] = MUST(accept(l, NULL, NULL));
        set[i] = set_of(c[i], EPOLLIN | (i == 1 ? EPOLLET : 0));
        begin(&w[i], set[i]);
    }
    for (int i = 0; i < 3; i++) zerocopy(c[i], s[i], 1000);
    for (int i = 0; i < 3; i++) {
        say_end("a thread", &w[i]);
        say("  something was there: %d", take(c[i]));
        close(set[i]);
        close(c[i]);
        close(s[i]);
    }
}

static void processes(int l)
{
    pid_t pid;
    int c = dial_zerocopy(), s = MUST(accept(l, NULL, NULL));
    say("-- the parent's socket, the child waits");
    if (child(&pid)) {
        struct waiter w;
        begin(&w, set_of(c, EPOLLIN));
        say_end("the child", &w);
        exit(0);
    }
    /* A sleeper of the parent's, too. */
    struct waiter w;
    begin(&w, set_of(s, EPOLLPRI));
    ms(200);
    zerocopy(c, s, 1000);
    say_exit("the child", pid);
    shutdown(c, SHUT_RDWR);
    shutdown(s, SHUT_RDWR);
    say_end("the parent", &w);
    close(w.set);
    close(c);
    close(s);
}

static volatile int forking = 1;
static void *waits_always(void *arg)
{
    struct epoll_event e[2];
    while (forking) epoll_wait(*(int *)arg, e, 2, 0);
    return NULL;
}

static void forks(int l)
{
    pthread_t t;
    int c = dial_zerocopy(), s = MUST(accept(l, NULL, NULL)), set = set_of(c, EPOLLIN | EPOLLET), good = 0;
    say("-- forks while a thread waits");
    zerocopy(c, s, 1000);
    pthread_create(&t, NULL, waits_always, &set);
    for (int i = 0; i < 40; i++) {
        pid_t pid;
        int st;
        if (child(&pid)) {
            struct epoll_event e[2];
            alarm(20);
            int own = set_of(c, EPOLLIN);
            exit(epoll_wait(own, e, 2, 0) == 1 ? 0 : 1);
        }
        waitpid(pid, &st, 0);
        good += WIFEXITED(st) && WEXITSTATUS(st) == 0;
    }
    forking = 0;
    pthread_join(t, NULL);
    say("children that were told: %d", good);
    close(set);
    close(c);
    close(s);
}

static void edges(int l)
{
    static struct epoll_event e[2 * MANY];
    static int c[MANY], s[MANY];
    int set = MUST(epoll_create1(0));
    say("-- many edges");
    for (int i = 0; i < MANY; i++) {
        c[i] = dial_zerocopy();
        s[i] = MUST(accept(l, NULL, NULL));
        add(set, EPOLL_CTL_ADD, c[i], EPOLLIN | EPOLLOUT | EPOLLET, (uint64_t)i);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) zerocopy(c[i], s[i], 100);
        ms(50);
        int n = epoll_wait(set, e, 2 * MANY, 1000), errors = 0;
        for (int i = 0; i < n; i++) errors += (e[i].events & EPOLLERR) != 0;
        say("%d events, %d errors", n, errors);
        say("then %d", epoll_wait(set, e, 2 * MANY, 100));
    }
    for (int i = 0; i < MANY; i++) {
        close(c[i]);
        close(s[i]);
    }
    close(set);
}

static void once(int l)
{
    int c = dial_zerocopy(), s = MUST(accept(l, NULL, NULL)), set = set_of(c, EPOLLIN | EPOLLONESHOT);
    say("-- once");
    zerocopy(c, s, 100);
    ms(20);
    say_wait("a send", set, 1000);
    shutdown(c, SHUT_RDWR);
    shutdown(s, SHUT_RDWR);
    ms(20);
    say_wait("hung up", set, 200);
    say_wait("again", set, 0);
    add(set, EPOLL_CTL_MOD, c, EPOLLIN | EPOLLONESHOT, 7);
    say_wait("armed", set, 1000);
    say_wait("again", set, 100);
    close(set);
    close(c);
    close(s);

    c = dial_zerocopy();
    s = MUST(accept(l, NULL, NULL));
    set = set_of(c, EPOLLIN | EPOLLMSG);
    zerocopy(c, s, 100);
    ms(20);
    say_wait("EPOLLMSG asked for", set, 1000);
    close(set);
    close(c);
    close(s);
}

static pthread_barrier_t gate;
static int there;
/* Both go on at the same moment, as far as there are processors. */
static void together(int round)
{
    pthread_barrier_wait(&gate);
    __atomic_add_fetch(&there, 1, __ATOMIC_SEQ_CST);
    for (int k = 0; __atomic_load_n(&there, __ATOMIC_SEQ_CST) < 2 * (round + 1); k++)
        if (k > 20000) sched_yield();
}

struct racer { int set, fd, round, told; uint64_t found; };

static void *takes(void *arg)
{
    struct racer *r = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct epoll_event e[2];
        together(i);
        int n = epoll_wait(r->set, e, 2, 0);
        r->told = n;
        r->found = n > 0 ? e[0].data.u64 : 0;
        pthread_barrier_wait(&gate);
    }
    return NULL;
}

static void races(int l)
{
    pthread_t t;
    int c = dial_zerocopy(), s = MUST(accept(l, NULL, NULL)), set = set_of(c, EPOLLIN | EPOLLONESHOT);
    struct racer other = {.set = set, .fd = c};
    int one = 0, right = 0;
    say("-- races");
    zerocopy(c, s, 100);
    ms(20);
    pthread_barrier_init(&gate, NULL, 2);
    pthread_create(&t, NULL, takes, &other);
    for (int i = 0; i < ROUNDS; i++) {
        struct epoll_event e[2];
        add(set, EPOLL_CTL_MOD, c, EPOLLIN | EPOLLONESHOT, 1);
        together(i);
        int n = epoll_wait(set, e, 2, 0);
        pthread_barrier_wait(&gate);
        one += n + other.told == 1;
    }
    pthread_join(t, NULL);
    there = 0;
    say("told once: %d of %d", one, ROUNDS);
    pthread_create(&t, NULL, takes, &other);
    for (int i = 0; i < ROUNDS; i++) {
        struct epoll_event e[2];
        uint64_t armed = (uint64_t)i + 1000000;
        add(set, EPOLL_CTL_MOD, c, EPOLLIN | EPOLLONESHOT, 1);
        together(i);
        for (volatile int k = 0; k < (i % 50) * 2000; k++) {}
        add(set, EPOLL_CTL_MOD, c, EPOLLIN | EPOLLONESHOT, armed);
        pthread_barrier_wait(&gate);
        int n = epoll_wait(set, e, 2, 0);
        right += other.found == armed ? n == 0 : n == 1 && e[0].data.u64 == armed;
    }
    pthread_join(t, NULL);
    say("armed again, told again: %d of %d", right, ROUNDS);
    close(set);
    close(c);
    close(s);
}

static void places(int l)
{
    int set = MUST(epoll_create1(0)), c[4], s[4];
    say("-- few places");
    for (int i = 0; i < 4; i++) {
        c[i] = dial_zerocopy();
        s[i] = MUST(accept(l, NULL, NULL));
        add(set, EPOLL_CTL_ADD, c[i], EPOLLIN, (uint64_t)i);
        if (i < 2) zerocopy(c[i], s[i], 100);
        else MUST(send(s[i], "x", 1, 0));
    }
    ms(50);
    for (int most = 1; most <= 3; most++) {
        int seen[4] = {0}, always = 1;
        for (int n = 0; n < 24; n++) {
            struct epoll_event e[4];
            int got = epoll_wait(set, e, most, 1000);
            always &= got > 0 && got <= most;
            for (int k = 0; k < got; k++) seen[e[k].data.u64 & 3] = (int)e[k].events;
        }
        say("%d: always something: %d", most, always);
        for (int i = 0; i < 4; i++) say("  %s", events_name(seen[i]));
    }
    for (int i = 0; i < 4; i++) {
        close(c[i]);
        close(s[i]);
    }
    close(set);
}

int main(void)
{
    int l = listener_at("127.0.0.1", PORT, 128);
    alarm(80);
    first(l);
    threads(l);
    processes(l);
    forks(l);
    edges(l);
    once(l);
    races(l);
    places(l);
    close(l);
    return 0;
}
