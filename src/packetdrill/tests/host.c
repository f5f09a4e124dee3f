/* A host behind packetdrill's table, without packetdrill: `host LIBRARY` has a handshake with it, in virtual time, and
 * says what it saw. The table is as google/packetdrill calls it: userdata first, fcntl and ioctl with a third argument. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

struct table {
    void *userdata;
    void (*free)(void *);
    int (*socket)(void *, int, int, int);
    int (*bind)(void *, int, const struct sockaddr *, socklen_t);
    int (*listen)(void *, int, int);
    int (*accept)(void *, int, struct sockaddr *, socklen_t *);
    int (*connect)(void *, int, const struct sockaddr *, socklen_t);
    ssize_t (*read)(void *, int, void *, size_t);
    ssize_t (*readv)(void *, int, const struct iovec *, int);
    ssize_t (*recv)(void *, int, void *, size_t, int);
    ssize_t (*recvfrom)(void *, int, void *, size_t, int, struct sockaddr *, socklen_t *);
    ssize_t (*recvmsg)(void *, int, struct msghdr *, int);
    ssize_t (*write)(void *, int, const void *, size_t);
    ssize_t (*writev)(void *, int, const struct iovec *, int);
    ssize_t (*send)(void *, int, const void *, size_t, int);
    ssize_t (*sendto)(void *, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    ssize_t (*sendmsg)(void *, int, const struct msghdr *, int);
    int (*fcntl)(void *, int, int, ...);
    int (*ioctl)(void *, int, unsigned long, ...);
    int (*close)(void *, int);
    int (*shutdown)(void *, int, int);
    int (*getsockopt)(void *, int, int, int, void *, socklen_t *);
    int (*setsockopt)(void *, int, int, int, const void *, socklen_t);
    int (*poll)(void *, struct pollfd *, nfds_t, int);
    int (*netdev_send)(void *, const void *, size_t);
    int (*netdev_receive)(void *, void *, size_t *, long long *);
    int (*usleep)(void *, useconds_t);
    int (*gettimeofday)(void *, struct timeval *, struct timezone *);
    int (*epoll_create)(void *, int);
    int (*epoll_ctl)(void *, int, int, int, struct epoll_event *);
    int (*epoll_wait)(void *, int, struct epoll_event *, int, int);
    int (*pipe)(void *, int *);
    ssize_t (*splice)(void *, int, loff_t *, int, loff_t *, size_t, unsigned);
};

static struct table t;
#define CALL(f, ...) t.f(t.userdata, ##__VA_ARGS__)
#define MUST(e) must((long)(e), #e)

static long must(long n, const char *what)
{
    if (n >= 0) return n;
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

enum { FIN = 1, SYN = 2, PSH = 8, ACK = 16 };
static const char *const ours = "192.168.0.1", *const peer = "192.0.2.1";

static uint32_t sum(const unsigned char *p, size_t n)
{
    uint32_t s = 0;
    for (size_t i = 0; i < n; i++) s += i % 2 ? p[i] : p[i] << 8;
    return s;
}

static uint16_t folded(uint32_t s)
{
    while (s >> 16) s = (s & 0xffff) + (s >> 16);
    return (uint16_t)~s;
}

static void put(unsigned char *p, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) p[i] = (unsigned char)(v >> 8 * (bytes - 1 - i));
}

/* A segment from the peer's port 5000 to 8080. */
static void inject(int flags, uint32_t seq, uint32_t ack, const char *data)
{
    unsigned char p[200] = {0x45};
    size_t n = strlen(data), len = 40 + n;
    put(p + 2, (uint32_t)len, 2);
    p[8] = 64;
    p[9] = IPPROTO_TCP;
    inet_pton(AF_INET, peer, p + 12);
    inet_pton(AF_INET, ours, p + 16);
    put(p + 10, folded(sum(p, 20)), 2);
    put(p + 20, 5000, 2);
    put(p + 22, 8080, 2);
    put(p + 24, seq, 4);
    put(p + 28, ack, 4);
    p[32] = 0x50;
    p[33] = (unsigned char)flags;
    put(p + 34, 60000, 2);
    memcpy(p + 40, data, n);
    put(p + 36, folded(sum(p + 12, 8) + IPPROTO_TCP + (uint32_t)(20 + n) + sum(p + 20, 20 + n)), 2);
    MUST(CALL(netdev_send, p, len));
}

static long long last_at;
static uint32_t their_seq;

/* The next packet that leaves, and how long after the one before. */
static void next(const char *what)
{
    unsigned char p[4096];
    size_t n = sizeof p;
    long long at = 0;
    MUST(CALL(netdev_receive, p, &n, &at));
    their_seq = (uint32_t)p[24] << 24 | (uint32_t)p[25] << 16 | (uint32_t)p[26] << 8 | p[27];
    int f = p[33], data = (int)n - 20 - p[32] / 16 * 4;
    printf("%s: %s%s%s%s, %d bytes, after %lld ms\n", what, f & SYN ? "S" : "", f & FIN ? "F" : "", f & PSH ? "P" : "",
           f & ACK ? "." : "", data, last_at ? (at - last_at + 500) / 1000 : 0);
    last_at = at;
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        puts(dlerror());
        return 1;
    }
    void (*init)(const char *, struct table *) = (void (*)(const char *, struct table *))dlsym(library, "packetdrill_interface_init");
    if (!init) return 1;
    init(NULL, &t);
    for (size_t i = 0; i < sizeof t / sizeof(void *); i++)
        if (!((void **)&t)[i]) printf("entry %zu is empty\n", i);

    int l = (int)MUST(CALL(socket, AF_INET, SOCK_STREAM, IPPROTO_TCP)), one = 1;
    MUST(CALL(setsockopt, l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
    MUST(CALL(bind, l, (struct sockaddr *)&a, sizeof a));
    MUST(CALL(listen, l, 1));
    inject(SYN, 1000, 0, "");
    next("the peer's SYN");
    uint32_t iss = their_seq;
    next("nothing comes");
    next("nothing comes");
    inject(ACK, 1001, iss + 1, "");
    int s = (int)MUST(CALL(accept, l, NULL, NULL));
    struct tcp_info info;
    socklen_t len = sizeof info;
    MUST(CALL(getsockopt, s, IPPROTO_TCP, TCP_INFO, &info, &len));
    printf("state %d, window %d\n", info.tcpi_state, info.tcpi_snd_cwnd);

    struct timeval before, after;
    MUST(CALL(gettimeofday, &before, NULL));
    MUST(CALL(usleep, 3000000));
    MUST(CALL(gettimeofday, &after, NULL));
    long slept = (after.tv_sec - before.tv_sec) * 1000000 + after.tv_usec - before.tv_usec;
    printf("three seconds of sleep take %ld ms\n", (slept + 500) / 1000);
    printf("write: %zd\n", CALL(write, s, "hello", (size_t)5));
    next("written");
    inject(PSH | ACK, 1001, iss + 6, "hi there");
    next("the peer's data");
    struct pollfd p = {s, POLLIN | POLLOUT, 0};
    printf("poll: %d", CALL(poll, &p, 1, 0));
    printf(" %x\n", p.revents);
    int unread = 0;
    MUST(CALL(ioctl, s, FIONREAD, &unread));
    char b[100] = "";
    printf("unread: %d, read: %zd", unread, CALL(read, s, b, sizeof b));
    printf(" %s\n", b);
    MUST(CALL(fcntl, s, F_SETFL, O_RDWR | O_NONBLOCK));
    ssize_t n = CALL(read, s, b, sizeof b);
    printf("read: %zd %s\n", n, errno == EAGAIN ? "EAGAIN" : strerror(errno));
    MUST(CALL(close, s));
    next("closed");
    inject(FIN | ACK, 1009, iss + 7, "");
    next("the peer's FIN");
    MUST(CALL(close, l));
    CALL(free);
    return 0;
}
