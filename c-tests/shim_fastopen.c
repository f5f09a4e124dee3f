/* TCP Fast Open (RFC 7413), client and server on one host: what the calls give, what becomes of the data, and the options. */
#include "probe.h"
#include <sys/uio.h>

#ifndef TCP_FASTOPEN_KEY
#define TCP_FASTOPEN_KEY 33
#endif
#ifndef TCP_FASTOPEN_NO_COOKIE
#define TCP_FASTOPEN_NO_COOKIE 34
#endif
#define PORT 9160
#define SYN_DATA 32

static void setting(const char *value)
{
    int fd = open("/proc/sys/net/ipv4/tcp_fastopen", O_WRONLY);
    if (fd < 0 || write(fd, value, strlen(value)) < 0) say("tcp_fastopen can't be set: %s", ename(errno));
    close(fd);
}

/* A counter of /proc/net/netstat. */
static long counter(const char *name)
{
    static char names[8192], values[8192];
    long found = -1;
    FILE *f = fopen("/proc/net/netstat", "r");
    if (f && fgets(names, sizeof names, f) && fgets(values, sizeof values, f)) {
        char *n, *v, *inside = NULL, *other = NULL;
        n = strtok_r(names, " \n", &inside);
        v = strtok_r(values, " \n", &other);
        for (; n && v; n = strtok_r(NULL, " \n", &inside), v = strtok_r(NULL, " \n", &other))
            if (!strcmp(n, name)) found = atol(v);
    }
    if (f) fclose(f);
    return found;
}

static int on_syn(int fd)
{
    return !!(info_of(fd).tcpi_options & SYN_DATA);
}

static int client(int flags)
{
    return MUST(socket(AF_INET, SOCK_STREAM | flags, 0));
}

static ssize_t fast(int fd, const void *data, size_t n, int flags)
{
    struct sockaddr_in a = in4("127.0.0.1", PORT);
    return sendto(fd, data, n, flags | MSG_FASTOPEN | MSG_NOSIGNAL, SA(a), sizeof a);
}

/* What the server finds, and both ends' view; the connection then ends. */
static void served(const char *what, int l, int c)
{
    char buf[64];
    int s = MUST(accept(l, NULL, NULL));
    ssize_t n = recv(s, buf, sizeof buf, 0);
    say("%s: the server reads %zd \"%.*s\", on a SYN: client %d, server %d", what, n, (int)(n > 0 ? n : 0), buf, on_syn(c), on_syn(s));
    MUST(send(s, "back", 4, 0));
    n = recv(c, buf, sizeof buf, 0);
    say("  the client reads %zd", n);
    reset_close(s);
    close(c);
}

static void errors(void)
{
    struct sockaddr_in a = in4("127.0.0.1", PORT);
    int c = client(SOCK_NONBLOCK);
    say("-- errors");
    R(send(c, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL));
    R(sendto(c, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, SA(a), 4));
    struct sockaddr none = { .sa_family = AF_UNSPEC };
    R(sendto(c, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, &none, sizeof none));
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(PORT), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    R(sendto(c, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, SA(six), sizeof six));
    R(sendto(c, (void *)1, 100, MSG_FASTOPEN | MSG_NOSIGNAL, SA(a), sizeof a));
    close(c);
    c = client(SOCK_NONBLOCK);
    struct sockaddr_in nobody = in4("127.0.0.1", PORT + 1);
    R(sendto(c, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, SA(nobody), sizeof nobody));
    R(send(c, "x", 1, MSG_NOSIGNAL));
    close(c);
    c = client(0);
    R(sendto(c, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, SA(nobody), sizeof nobody));
    R(recv(c, &a, 1, 0));
    close(c);
    setting("2");
    c = client(0);
    R(fast(c, "x", 1, 0));
    R(set_int(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
    close(c);
    setting("3");
}

static void options(void)
{
    say("-- options");
    int l = client(0), v;
    socklen_t n = sizeof v;
    R(getsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &v, &n));
    say("TCP_FASTOPEN %d", v);
    R(set_int(l, IPPROTO_TCP, TCP_FASTOPEN, -1));
    R(set_int(l, IPPROTO_TCP, TCP_FASTOPEN, 100000));
    n = sizeof v;
    getsockopt(l, IPPROTO_TCP, TCP_FASTOPEN, &v, &n);
    say("TCP_FASTOPEN %d", v);
    unsigned char key[32], got[64];
    for (int i = 0; i < 32; i++) key[i] = i;
    R(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 0));
    R(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 15));
    R(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 17));
    for (int len = 16; len <= 32; len += 16) {
        R(setsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, len));
        for (int room = 8; room <= 64; room += 28) {
            n = room;
            int r = getsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, got, &n);
            say("key of %d, room for %d: %d, %u bytes, as set: %d", len, room, r, (unsigned)n, !memcmp(key, got, n > 32 ? 32 : n));
        }
    }
    R(set_int(l, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 2));
    R(set_int(l, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 2));
    R(set_int(l, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1));
    n = sizeof v;
    getsockopt(l, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, &v, &n);
    say("TCP_FASTOPEN_NO_COOKIE %d", v);
    close(l);
}

int main(void)
{
    setting("3");
    int l = listener_at("127.0.0.1", PORT, 10), c;
    MUST(set_int(l, IPPROTO_TCP, TCP_FASTOPEN, 5));
    struct sockaddr_in a = in4("127.0.0.1", PORT);

    say("-- without a cookie, then with");
    c = client(0);
    R(fast(c, "first", 5, 0));
    served("first", l, c);
    c = client(0);
    R(fast(c, "second", 6, 0));
    R(fast(c, "more", 4, 0));
    served("second", l, c);
    c = client(SOCK_NONBLOCK);
    R(fast(c, "third", 5, 0));
    R(connect(c, SA(a), sizeof a));
    R(connect(c, SA(a), sizeof a));
    say_events("third", c);
    set_int(c, SOL_SOCKET, SO_RCVTIMEO, 0);
    fcntl(c, F_SETFL, 0);
    served("third", l, c);

    say("-- sendmsg, sendmmsg");
    c = client(0);
    struct iovec iov[3] = { { "one ", 4 }, { "two ", 4 }, { "three", 5 } };
    struct msghdr m = { .msg_name = &a, .msg_namelen = sizeof a, .msg_iov = iov, .msg_iovlen = 3 };
    R(sendmsg(c, &m, MSG_FASTOPEN));
    served("sendmsg", l, c);
    c = client(0);
    struct mmsghdr mm[1] = { { .msg_hdr = m } };
    R(sendmmsg(c, mm, 1, MSG_FASTOPEN));
    say("msg_len %u", mm[0].msg_len);
    served("sendmmsg", l, c);

    say("-- TCP_FASTOPEN_CONNECT");
    c = client(0);
    R(set_int(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
    R(connect(c, SA(a), sizeof a));
    R(write(c, "fourth", 6));
    R(set_int(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
    served("fourth", l, c);
    c = client(SOCK_NONBLOCK);
    MUST(set_int(c, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
    R(connect(c, SA(a), sizeof a));
    R(connect(c, SA(a), sizeof a));
    int ep = MUST(epoll_create1(0));
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT };
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, c, &e));
    int ready = epoll_wait(ep, &e, 1, 0);
    say("put off: epoll %d, %#x", ready, ready > 0 ? e.events : 0);
    close(ep);
    R(read(c, &e, sizeof e));
    R(writev(c, iov, 3));
    fcntl(c, F_SETFL, 0);
    served("fifth", l, c);

    say("-- without cookies");
    c = client(0);
    MUST(set_int(c, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1));
    R(fast(c, "sixth", 5, 0));
    served("sixth", l, c);
    errors();
    options();
    close(l);
    say("taken from SYNs: %ld, of ours %ld, refused %ld", counter("TCPFastOpenPassive"), counter("TCPFastOpenActive"), counter("TCPFastOpenActiveFail"));
    return 0;
}
