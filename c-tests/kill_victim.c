/* Random socket calls without end, to be killed: kill_victim SEED FIRST_PORT
 *
 * Several of them listen at the same four ports and connect to each other. Some fork; the
 * children die with their parents. */
#include "net.h"
#include <sys/epoll.h>
#include <sys/prctl.h>

enum { MOST = 24, PORTS = 4 };

static struct {
    int fd, listens;
} socks[MOST];
static int used, first_port;
static unsigned char buf[1 << 16];

static int below(int n)
{
    return random() % n;
}
static struct sockaddr_in place(void)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(first_port + below(PORTS)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}
static void keep(int fd, int listens)
{
    struct timeval limit = {.tv_usec = 1000 * (1 + below(5))};
    if (fd < 0) return;
    if (used == MOST) {
        close(fd);
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    socks[used].fd = fd;
    socks[used++].listens = listens;
}
static void drop(int i)
{
    close(socks[i].fd);
    socks[i] = socks[--used];
}
static void open_one(int listens)
{
    struct sockaddr_in at = place();
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | (below(2) ? SOCK_NONBLOCK : 0), 0);
    struct timeval limit = {.tv_usec = 3000};
    if (fd < 0) return;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    int bad = listens ? bind(fd, (void *)&at, sizeof at) || listen(fd, below(8))
                      : connect(fd, (void *)&at, sizeof at) && errno != EINPROGRESS;
    if (bad)
        close(fd);
    else
        keep(fd, listens);
}
static void use(int i)
{
    int fd = socks[i].fd, n = 1 + below(below(3) ? 500 : (int)sizeof buf);
    struct linger now = {.l_onoff = 1};
    if (socks[i].listens) {
        struct pollfd in = {.fd = fd, .events = POLLIN};
        if (poll(&in, 1, below(3)) == 1) keep(accept4(fd, NULL, NULL, below(2) ? SOCK_NONBLOCK : 0), 0);
        if (below(200) == 0) drop(i);
        return;
    }
    switch (below(30)) {
    case 0: drop(i); break;
    case 1: shutdown(fd, below(3)); break;
    case 2: setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); break;
    case 3: keep(dup(fd), 0); break;
    case 4: {
        int e = epoll_create1(0);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
        epoll_ctl(e, EPOLL_CTL_ADD, fd, &event);
        epoll_wait(e, &event, 1, below(3));
        close(e);
        break;
    }
    default:
        if (below(2))
            send(fd, buf, n, MSG_NOSIGNAL | (below(2) ? MSG_DONTWAIT : 0));
        else
            recv(fd, buf, n, below(2) ? MSG_DONTWAIT : 0);
    }
}
int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s SEED FIRST_PORT\n", argv[0]);
        return 2;
    }
    srandom(atoi(argv[1]));
    first_port = atoi(argv[2]);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int what = below(100);
        if (what < 4 && used < MOST)
            open_one(1);
        else if (what < 20 && used < MOST)
            open_one(0);
        else if (used && below(20 * MOST) == 0 && fork() == 0) {
            /* Its parent may be gone already. */
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == 1) _exit(0);
            for (int n = below(500); n > 0 && used; n--) use(below(used));
            _exit(0);
        } else if (used)
            use(below(used));
    }
}
