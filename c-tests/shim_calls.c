/* Calls and arguments that other probes leave out: bad pointers, no descriptors, several messages
 * at a time, vectors with a position, names that only some programs use. */
#include "probe.h"
#include <dlfcn.h>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

int bindresvport(int, struct sockaddr_in *);
static char *none, *readonly, *gone, *good;

static void bad_pointers(void)
{
    good = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    none = good + 4096;
    readonly = good + 2 * 4096;
    gone = good + 3 * 4096;
    MUST(mprotect(none, 4096, PROT_NONE));
    MUST(mprotect(readonly, 4096, PROT_READ));
    MUST(munmap(gone, 4096));
    const struct { const char *name; void *at; } bad[] = {{"null", NULL}, {"8", (void *)8},
        {"60000", (void *)60000}, {"not canonical", (void *)0xdead000000000000ul},
        {"the kernel's", (void *)0xffffffff81000000ul}, {"no access", none}, {"gone", gone}};
    struct pair p = pair_at(9700);
    nonblocking(p.c);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        void *at = bad[i].at;
        struct iovec v[2] = {{"ok", 2}, {at, 4}}, w[2] = {{good, 0}, {at, 4}};
        struct msghdr m = {.msg_iov = v + 1, .msg_iovlen = 1}, *bad_m = at;
        say("-- %s", bad[i].name);
        R(send(p.s, at, 4, 0));
        R(write(p.s, at, 100000));
        R(send(p.s, at, 0, 0));
        R(writev(p.s, v, 2));
        R(writev(p.s, (struct iovec *)at, 1));
        R(sendmsg(p.s, &m, 0));
        R(sendmsg(p.s, bad_m, 0));
        R(sendto(p.s, at, 4, MSG_DONTWAIT, NULL, 0));
        R(recv(p.c, at, 4, 0));
        MUST(write(p.s, "data", 4));
        await(p.c, POLLIN, 10000);
        R(recv(p.c, at, 4, 0));
        R(read(p.c, at, 4));
        R(recv(p.c, at, 4, MSG_PEEK));
        R(readv(p.c, w, 2));
        R(readv(p.c, (struct iovec *)at, 2));
        R(recvmsg(p.c, &m, 0));
        R(recvmsg(p.c, bad_m, 0));
        R(recvfrom(p.c, at, 4, 0, NULL, NULL));
        R(recv(p.c, good, 8, 0));
        MUST(write(p.s, "tail", 4));
        await(p.c, POLLIN, 10000);
        R(recv(p.c, at, 4, MSG_TRUNC));
        if (at) {
            socklen_t n = 16;
            R(bind(socket(AF_INET, SOCK_STREAM, 0), at, 16));
            R(connect(socket(AF_INET, SOCK_STREAM, 0), at, 16));
            R(getsockname(p.c, at, &n));
            R(getpeername(p.c, (struct sockaddr *)good, at));
            R(getsockopt(p.c, SOL_SOCKET, SO_TYPE, at, &n));
            R(setsockopt(p.c, SOL_SOCKET, SO_KEEPALIVE, at, 4));
            R(ioctl(p.c, FIONREAD, at));
        }
    }
    say("-- only for reading");
    MUST(write(p.s, "data", 4));
    await(p.c, POLLIN, 10000);
    R(recv(p.c, readonly, 4, 0));
    R(recv(p.c, good, 8, 0));
    R(send(p.s, readonly, 4, 0));
    await(p.c, POLLIN, 10000);
    R(recv(p.c, good, 8, 0));
    say("-- the second page is not there");
    R(send(p.s, none - 4, 8, 0));
    MUST(write(p.s, "datadata", 8));
    await(p.c, POLLIN, 10000);
    R(recv(p.c, none - 4, 8, 0));
    R(recv(p.c, good, 16, 0));
    say("-- at the end of the stream and without a connection");
    shutdown(p.s, SHUT_WR);
    await(p.c, POLLIN, 10000);
    R(recv(p.c, none, 4, 0));
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    R(recv(s, none, 4, 0));
    R(send(s, none, 4, MSG_NOSIGNAL));
    close_pair(p);
}

static void no_descriptors(void)
{
    say("-- no descriptors");
    struct pair p = pair_at(9710);
    int waiting = dial(9710), fd, least = 1000, most = 0;
    struct rlimit was, few;
    MUST(getrlimit(RLIMIT_NOFILE, &was));
    few = was;
    few.rlim_cur = 40;
    MUST(setrlimit(RLIMIT_NOFILE, &few));
    while ((fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0) {
        if (fd < least) least = fd;
        if (fd > most) most = fd;
    }
    say("socket: %s, up to %d", ename(errno), most);
    R(accept(p.l, NULL, NULL));
    R(dup(p.c));
    R(fcntl(p.c, F_DUPFD, 0));
    /* What there is goes on working. */
    MUST(write(p.c, "abc", 3));
    char b[8];
    R(recv(p.s, b, 8, 0));
    close(most);
    OK(fd = accept(p.l, NULL, NULL));
    MUST(write(waiting, "defg", 4));
    R(recv(fd, b, 8, 0));
    for (fd = least; fd <= most; fd++)
        if (fd != waiting && fd != p.c && fd != p.s && fd != p.l) close(fd);
    MUST(setrlimit(RLIMIT_NOFILE, &was));
    close(waiting);
    close_pair(p);
}

static void several(void)
{
    say("-- several messages");
    struct pair p = pair_at(9720);
    struct iovec v[4] = {{"one", 3}, {"two", 3}, {"three", 5}, {"four", 4}};
    struct mmsghdr m[3];
    memset(m, 0, sizeof m);
    m[0].msg_hdr.msg_iov = v, m[0].msg_hdr.msg_iovlen = 2;
    m[1].msg_hdr.msg_iov = v + 2, m[1].msg_hdr.msg_iovlen = 1;
    m[2].msg_hdr.msg_iov = v + 3, m[2].msg_hdr.msg_iovlen = 1;
    R(sendmmsg(p.c, m, 3, 0));
    say("lengths %u %u %u", m[0].msg_len, m[1].msg_len, m[2].msg_len);
    char b[4][8];
    memset(b, 0, sizeof b);
    for (int i = 0; i < 4; i++) v[i] = (struct iovec){b[i], i == 3 ? 8 : 3};
    wait_inq(p.s, 15);
    R(recvmmsg(p.s, m, 3, MSG_WAITFORONE, NULL));
    say("lengths %u %u %u: %.3s %.3s %.3s %.8s", m[0].msg_len, m[1].msg_len, m[2].msg_len, b[0], b[1], b[2], b[3]);
    struct timespec t = {0, 0};
    R(sendmmsg(p.c, m, 0, 0));
    R(recvmmsg(p.s, m, 3, MSG_DONTWAIT, &t));

    say("-- vectors");
    struct iovec w[3] = {{"a", 1}, {"", 0}, {"bcdef", 5}}, r[3] = {{b[0], 2}, {b[1], 1}, {b[2], 8}};
    R(pwritev(p.c, w, 3, 0));
    R(pwritev2(p.c, w, 3, -1, 0));
    await(p.s, POLLIN, 10000);
    R(preadv(p.s, r, 3, 0));
    R(preadv2(p.s, r, 3, -1, RWF_NOWAIT));
    say("%.2s %.1s %.3s", b[0], b[1], b[2]);
    R(preadv2(p.s, r, 3, -1, RWF_NOWAIT));
    R(pread(p.s, b[0], 4, 0));
    R(pwrite(p.c, "xy", 2, 0));
    R(lseek(p.c, 0, SEEK_SET));
    R(writev(p.c, w, 0));
    R(writev(p.c, w, -1));
    R(readv(p.s, r, 1025));

    say("-- MSG_MORE");
    R(send(p.c, "head ", 5, MSG_MORE));
    R(send(p.c, "body", 4, 0));
    char whole[16];
    R(recv(p.s, whole, 9, MSG_WAITALL));
    say("%.9s", whole);

    close_pair(p);
}

static void other_names(void)
{
    struct pair p = pair_at(9730);
    char b[16];
    say("-- names with underscores");
    ssize_t (*send_)(int, const void *, size_t, int) = (void *)dlsym(RTLD_DEFAULT, "__send");
    ssize_t (*read_)(int, void *, size_t) = (void *)dlsym(RTLD_DEFAULT, "__read");
    ssize_t (*write_)(int, const void *, size_t) = (void *)dlsym(RTLD_DEFAULT, "__write");
    int (*poll_)(struct pollfd *, nfds_t, int) = (void *)dlsym(RTLD_DEFAULT, "__poll");
    int (*select_)(int, fd_set *, fd_set *, fd_set *, struct timeval *) = (void *)dlsym(RTLD_DEFAULT, "__select");
    int (*connect_)(int, const struct sockaddr *, socklen_t) = (void *)dlsym(RTLD_DEFAULT, "__connect");
    int (*close_)(int) = (void *)dlsym(RTLD_DEFAULT, "__close");
    int (*dup2_)(int, int) = (void *)dlsym(RTLD_DEFAULT, "__dup2");
    int (*fcntl_)(int, int, ...) = (void *)dlsym(RTLD_DEFAULT, "__fcntl");
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9730);
    R(connect_(s, SA(a), sizeof a));
    R(send_(p.c, "abc", 3, 0));
    struct pollfd q = {p.s, POLLIN, 0};
    R(poll_(&q, 1, 500));
    fd_set set;
    FD_ZERO(&set);
    FD_SET(p.s, &set);
    R(select_(p.s + 1, &set, NULL, NULL, NULL));
    R(read_(p.s, b, 16));
    R(write_(p.s, "de", 2));
    R(recv(p.c, b, 2, MSG_WAITALL));
    int d = 50;
    R(dup2_(p.c, 50));
    OK(fcntl_(d, F_SETFD, FD_CLOEXEC));
    R(close_(d));
    R(close_(s));
    R(isfdtype(p.c, S_IFSOCK));
    R(isfdtype(1, S_IFSOCK));

    say("-- epoll's older and newer calls");
    int ep = MUST(epoll_create(1));
    struct epoll_event ev = {.events = EPOLLIN, .data = {.u32 = 7}};
    R(epoll_create(0));
    R(epoll_ctl(ep, EPOLL_CTL_ADD, p.s, &ev));
    sigset_t mask;
    sigemptyset(&mask);
    R(epoll_pwait(ep, &ev, 1, 20, &mask));
    struct timespec t = {0, 20000000};
    R(epoll_pwait2(ep, &ev, 1, &t, &mask));
    MUST(write(p.c, "x", 1));
    R(epoll_pwait(ep, &ev, 1, 500, &mask));
    R(epoll_pwait2(ep, &ev, 1, NULL, NULL));
    R(epoll_wait(ep, &ev, 0, 0));
    R(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &ev));
    R(epoll_ctl(ep, 9, p.s, &ev));
    close(ep);
    close_pair(p);

    say("-- errors of another process's socket");
    p = pair_at(9740);
    pid_t pid;
    ep = MUST(epoll_create1(0));
    if (child(&pid)) {
        struct pair own = pair_at(9741);
        (void)own;
        ms(100);
        /* Unread data at its close: RST. */
        MUST(write(p.c, "unread", 6));
        close(p.c);
        reset_close(p.s);
        _exit(0);
    }
    close(p.s);
    ev.events = EPOLLIN | EPOLLRDHUP;
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, p.c, &ev));
    R(epoll_wait(ep, &ev, 1, 2000));
    say("%s", events_name((int)(ev.events & 0xffff)));
    say_error("it", p.c);
    R(epoll_wait(ep, &ev, 1, 2000));
    say("%s", events_name((int)(ev.events & 0xffff)));
    waitpid(pid, NULL, 0);
    close(p.c);
    close(p.l);
}

static void daemons(void)
{
    say("-- a daemon serves");
    int l = listener(9750);
    pid_t pid;
    if (child(&pid)) {
        MUST(daemon(1, 1));
        int s = MUST(accept(l, NULL, NULL));
        MUST(write(s, "from a daemon", 13));
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    close(l);
    int s = dial(9750);
    char b[32] = {0};
    R(recv(s, b, 13, MSG_WAITALL));
    say("%s", b);
    R(recv(s, b, 13, 0));
    close(s);
    say("-- bindresvport");
    s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 0);
    OK(bindresvport(s, &a));
    say("reserved: %s", port_of(s) < 1024 && port_of(s) >= 512 ? "yes" : "no");
    close(s);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    bad_pointers();
    no_descriptors();
    several();
    other_names();
    daemons();
    return 0;
}
