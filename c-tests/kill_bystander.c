/* Transfers that nothing may disturb. All end when standard input does.
 *
 *   kill_bystander source PORT   sends bytes that follow from each other
 *   kill_bystander sink PORT     receives them and checks every one
 *   kill_bystander ping PORT     sends a message, waits in poll for it to come back, and again
 *   kill_bystander pong PORT     sends everything back; waits in epoll
 *
 * Their exit status is 3 if the connection was reset.
 * Each says "ready" when it is, goes on for a while after it was told to end, and says at the end
 * how many bytes there were and their sum. */
#include "net.h"
#include <sys/epoll.h>

enum { PATIENCE = 20000 };

static unsigned char buf[1 << 16];
static uint64_t state = 88172645463325252u, total, sum;

static unsigned char next_byte(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 56;
}
static void count(const unsigned char *p, size_t n)
{
    total += n;
    while (n--) sum = (sum ^ *p++) * 1099511628211u;
}
/* Told to stop, and so many bytes more have come through. */
static int done_with(uint64_t more)
{
    static uint64_t until;
    struct pollfd in = {.fd = 0, .events = POLLIN};
    if (!until && poll(&in, 1, 0) == 1) until = total + more;
    return until && total >= until;
}
static void report(const char *what)
{
    printf("%s %llu bytes, sum %016llx\n", what, (unsigned long long)total, (unsigned long long)sum);
}
static void ready(void)
{
    puts("ready");
    fflush(stdout);
}
static void gone(const char *what)
{
    if (errno == ECONNRESET) exit(3);
    die(what);
}
static void patient(int s)
{
    struct timeval limit = {.tv_sec = PATIENCE / 1000};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}
static int accepted(const char *port)
{
    int l = serve_at("127.0.0.1", port, 5);
    ready();
    int s = accept(l, NULL, NULL);
    if (s < 0) die("accept");
    patient(s);
    return s;
}
static int connected(const char *port)
{
    int s = connect_to("127.0.0.1", port);
    if (s < 0) die("connect");
    patient(s);
    ready();
    return s;
}
static void source(const char *port)
{
    int s = connected(port);
    while (!done_with(2000000)) {
        size_t len = 1 + random() % sizeof buf, done = 0;
        for (size_t i = 0; i < len; i++) buf[i] = next_byte();
        count(buf, len);
        while (done < len) {
            ssize_t n = send(s, buf + done, len - done, 0);
            if (n < 0) gone("send");
            done += n;
        }
    }
    if (shutdown(s, SHUT_WR)) gone("shutdown");
    if (recv(s, buf, 1, 0) != 0) gone("recv at the end");
    report("transferred");
}
static void sink(const char *port)
{
    int s = accepted(port);
    for (;;) {
        ssize_t n = recv(s, buf, 1 + random() % sizeof buf, 0);
        if (n < 0) gone("recv");
        if (n == 0) break;
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] == next_byte()) continue;
            fprintf(stderr, "byte %llu is wrong\n", (unsigned long long)total + i);
            exit(1);
        }
        count(buf, n);
    }
    close(s);
    report("transferred");
}
static void ping(const char *port)
{
    int s = connected(port);
    while (!done_with(2000)) {
        unsigned char message[100], answer[100];
        size_t len = 1 + random() % sizeof message, got = 0;
        for (size_t i = 0; i < len; i++) message[i] = next_byte();
        if (send(s, message, len, 0) != (ssize_t)len) gone("send");
        while (got < len) {
            struct pollfd in = {.fd = s, .events = POLLIN};
            if (poll(&in, 1, PATIENCE) != 1) die("poll");
            ssize_t n = recv(s, answer + got, len - got, 0);
            if (n <= 0) gone("recv");
            got += n;
        }
        if (memcmp(message, answer, len)) {
            fprintf(stderr, "another message came back\n");
            exit(1);
        }
        count(message, len);
    }
    report("echoed");
}
static void pong(const char *port)
{
    int s = accepted(port), e = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(e, EPOLL_CTL_ADD, s, &event)) die("epoll_ctl");
    for (;;) {
        if (epoll_wait(e, &event, 1, PATIENCE) != 1) die("epoll_wait");
        ssize_t n = recv(s, buf, sizeof buf, 0);
        if (n < 0) gone("recv");
        if (n == 0) break;
        count(buf, n);
        if (send(s, buf, n, 0) != n) gone("send");
    }
    report("echoed");
}
int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const char *);
    } roles[] = {{"source", source}, {"sink", sink}, {"ping", ping}, {"pong", pong}};
    srandom(1);
    for (size_t i = 0; argc == 3 && i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(argv[1], roles[i].name)) continue;
        roles[i].run(argv[2]);
        return 0;
    }
    fprintf(stderr, "usage: %s source|sink|ping|pong PORT\n", argv[0]);
    return 2;
}
