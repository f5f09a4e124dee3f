/* recvmsg and recvmmsg: control messages that can't be written, names nobody asked for, errors
 * that come after the first message, and the time that is left. */
#include "probe.h"
#include <pthread.h>
#include <linux/errqueue.h>

static struct pair p;

static void one(const char *what, void *control, size_t len, void *name, unsigned namelen)
{
    char b[8] = "";
    struct iovec v = {b, 8};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = len,
        .msg_name = name, .msg_namelen = namelen};
    MUST(send(p.c, "x", 1, 0));
    await(p.s, POLLIN, 2000);
    long n = recvmsg(p.s, &m, 0);
    int e = errno;
    say("%s: %ld %s, flags %x, control %zu, name %d, then %d there", what, n, n < 0 ? ename(e) : "", m.msg_flags,
        m.msg_controllen, (int)m.msg_namelen, inq(p.s));
    while (recv(p.s, b, 8, MSG_DONTWAIT) > 0) {}
}

static void each(const char *option)
{
    char good[256], name[64];
    say("-- %s", option);
    one("NULL, 64", NULL, 64, NULL, 0);
    one("NULL, 0", NULL, 0, NULL, 0);
    one("8, 64", (void *)8, 64, NULL, 0);
    one("8, 12", (void *)8, 12, NULL, 0);
    one("8, 17", (void *)8, 17, NULL, 0);
    one("good", good, sizeof good, NULL, 0);
    one("good, 12", good, 12, NULL, 0);
    one("good, 18", good, 18, NULL, 0);
    one("no name, 77", good, sizeof good, NULL, 77);
    one("no name, -1", good, sizeof good, NULL, (unsigned)-1);
    one("a name, 64", good, sizeof good, name, 64);
    one("a name, -1", good, sizeof good, name, (unsigned)-1);
    one("name 8", good, sizeof good, (void *)8, 64);
}

/* Linux stamps what comes from a moment after it was first asked to. */
static void until_stamped(void)
{
    for (int i = 0; i < 2000; i++, ms(1)) {
        char c, control[64];
        struct iovec v = {&c, 1};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        MUST(send(p.c, "x", 1, 0));
        await(p.s, POLLIN, 2000);
        MUST(recvmsg(p.s, &m, 0));
        for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
            if (h->cmsg_type == SCM_TIMESTAMP) return;
    }
}

static void notices(void)
{
    say("-- the error queue");
    int flags = 1 << 7 | 1 << 11 | 1 << 4 | 1 << 1;
    void *where[] = {NULL, (void *)8};
    MUST(set_int(p.c, SOL_SOCKET, 37, flags));
    for (int i = 0; i < 2; i++) {
        struct msghdr m = {.msg_control = where[i], .msg_controllen = 200, .msg_namelen = 33};
        MUST(send(p.c, "x", 1, 0));
        await(p.c, 0, 2000);
        long n = recvmsg(p.c, &m, MSG_ERRQUEUE);
        say("%s: %ld %s, flags %x, control %zu, name %d", i ? "8" : "NULL", n, n < 0 ? ename(errno) : "", m.msg_flags,
            m.msg_controllen, (int)m.msg_namelen);
        n = recvmsg(p.c, &m, MSG_ERRQUEUE);
        say("then %ld %s", n, n < 0 ? ename(errno) : "");
    }
    MUST(set_int(p.c, SOL_SOCKET, 37, 0));
    char b[8];
    while (recv(p.s, b, 8, MSG_DONTWAIT) > 0) {}
}

static struct mmsghdr many[1100];
static struct iovec parts[1100];
static char bytes[1100];

static void prepare(void)
{
    memset(many, 0, sizeof many);
    for (int i = 0; i < 1100; i++) {
        parts[i] = (struct iovec){bytes + i, 1};
        many[i].msg_hdr.msg_iov = parts + i;
        many[i].msg_hdr.msg_iovlen = 1;
    }
}

static void *reset_later(void *unused)
{
    ms(150);
    reset_close(p.c);
    return unused;
}

int main(void)
{
    alarm(30);
    prepare();
    p = pair_at(9770);
    each("nothing asked for");
    MUST(set_int(p.s, IPPROTO_TCP, TCP_INQ, 1));
    each("TCP_INQ");
    MUST(set_int(p.s, SOL_SOCKET, SO_TIMESTAMP, 1));
    until_stamped();
    each("TCP_INQ and SO_TIMESTAMP");
    MUST(set_int(p.s, SOL_SOCKET, SO_TIMESTAMP, 0));
    MUST(set_int(p.s, IPPROTO_TCP, TCP_INQ, 0));
    notices();

    say("-- more than 1024 messages");
    memset(bytes, 'm', sizeof bytes);
    MUST(send(p.c, bytes, 1100, 0));
    for (int i = 0; i < 400 && inq(p.s) < 1100; i++) ms(5);
    R(recvmmsg(p.s, many, 1100, MSG_DONTWAIT, NULL));
    say_recv("then", p.s);

    say("-- the time that is left");
    struct timespec t = {50, 0};
    MUST(send(p.c, "xy", 2, 0));
    await(p.s, POLLIN, 2000);
    R(recvmmsg(p.s, many, 2, 0, &t));
    say("less than was given: %s", t.tv_sec >= 20 && t.tv_sec < 50 ? "yes" : "no");
    t = (struct timespec){0, 1};
    MUST(send(p.c, "xy", 2, 0));
    await(p.s, POLLIN, 2000);
    R(recvmmsg(p.s, many, 2, 0, &t));
    say("left %ld.%09ld", (long)t.tv_sec, t.tv_nsec);
    say_recv("then", p.s);
    t = (struct timespec){5, 0};
    R(recvmmsg(p.s, many, 2, MSG_DONTWAIT, &t));
    say("after an error %ld.%09ld", (long)t.tv_sec, t.tv_nsec);
    t = (struct timespec){5, 1000000000};
    R(recvmmsg(p.s, many, 2, MSG_DONTWAIT, &t));

    say("-- urgent data ends it");
    MUST(send(p.c, "abX", 3, MSG_OOB));
    await(p.s, POLLPRI, 2000);
    R(recvmmsg(p.s, many, 3, MSG_OOB, NULL));
    say_recv("then", p.s);

    say("-- an error after the first message");
    pthread_t th;
    MUST(send(p.c, "x", 1, 0));
    await(p.s, POLLIN, 2000);
    pthread_create(&th, NULL, reset_later, NULL);
    R(recvmmsg(p.s, many, 2, 0, NULL));
    pthread_join(th, NULL);
    say_events("then", p.s);
    say_recv("then", p.s);
    say_recv("and", p.s);
    close(p.s);
    close(p.l);

    p = pair_at(9771);
    MUST(send(p.c, "x", 1, 0));
    await(p.s, POLLIN, 2000);
    pthread_create(&th, NULL, reset_later, NULL);
    R(recvmmsg(p.s, many, 2, 0, NULL));
    pthread_join(th, NULL);
    say_error("SO_ERROR", p.s);
    say_recv("then", p.s);
    close(p.s);
    close(p.l);

    say("-- an error before the first message");
    p = pair_at(9772);
    MUST(send(p.c, "x", 1, 0));
    await(p.s, POLLIN, 2000);
    reset_close(p.c);
    await(p.s, POLLERR, 2000);
    R(recvmmsg(p.s, many, 2, 0, NULL));
    R(recvmmsg(p.s, many, 2, 0, NULL));
    close(p.s);
    close(p.l);

    say("-- the end after the first message");
    p = pair_at(9773);
    MUST(send(p.c, "x", 1, 0));
    shutdown(p.c, SHUT_WR);
    await(p.s, POLLRDHUP, 2000);
    R(recvmmsg(p.s, many, 4, 0, NULL));
    close_pair(p);
    return 0;
}
