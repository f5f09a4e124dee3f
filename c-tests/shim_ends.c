/* What processes leave that are killed, and what goes on when a keeper is killed (the kernel has
 * none: there nothing happens). The waits are un-interposed system calls where they say so. */
#include "probe.h"
#include <dirent.h>
#include <sys/syscall.h>

/* Kill this namespace's utcp-keeper, if there is one, and wait until it is gone. */
static void kill_keeper(void)
{
    char path[64], text[64], here[64], there[64];
    ssize_t n = readlink("/proc/self/ns/net", here, sizeof here);
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        int pid = atoi(e->d_name);
        if (pid <= 0) continue;
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t k = fd < 0 ? -1 : read(fd, text, sizeof text);
        if (fd >= 0) close(fd);
        if (k != 12 || memcmp(text, "utcp-keeper\n", 12)) continue;
        snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
        if (readlink(path, there, sizeof there) != n || memcmp(here, there, (size_t)n)) continue;
        kill(pid, SIGKILL);
        snprintf(path, sizeof path, "/proc/%d/exe", pid);
        for (int i = 0; i < 1000 && access(path, F_OK) == 0; i++) ms(1);
    }
    if (d) closedir(d);
}

static long raw_epoll_wait(int ep, struct epoll_event *ev, int timeout)
{
    return syscall(SYS_epoll_pwait, ep, ev, 8, timeout, NULL, 8);
}

static void look(const char *what, int ep, int timeout)
{
    struct epoll_event ev[8];
    long n = raw_epoll_wait(ep, ev, timeout);
    if (n == 1) say("%s: %u %s", what, ev[0].data.u32, events_name((int)(ev[0].events & 0xffff)));
    else say("%s: %ld events", what, n);
}

static void add(int ep, int fd, unsigned events, unsigned tag)
{
    struct epoll_event ev = {.events = events, .data = {.u32 = tag}};
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
}

/* A child is killed after it has done `what`; the moment after, the port is free. */
static void killed_with(const char *name, int port, int listening, int twice)
{
    int ready[2], on = 0;
    pid_t pid;
    MUST(pipe(ready));
    if (child(&pid)) {
        for (int i = 0; i <= twice; i++) {
            int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
            struct sockaddr_in a = in4("127.0.0.1", port + i);
            MUST(bind(s, SA(a), sizeof a));
            if (listening) MUST(listen(s, 5));
        }
        if (write(ready[1], "x", 1)) {}
        pause();
        _exit(0);
    }
    char c;
    MUST(read(ready[0], &c, 1));
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(set_int(s, SOL_SOCKET, SO_REUSEADDR, on));
    struct sockaddr_in a = in4("127.0.0.1", port + twice);
    say("%s", name);
    R(bind(s, SA(a), sizeof a));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    R(bind(s, SA(a), sizeof a));
    close(s);
    close(ready[0]);
    close(ready[1]);
}

static void children(void)
{
    say("-- a killed child's ports");
    killed_with("bound", 9610, 0, 0);
    killed_with("listening", 9620, 1, 0);
    killed_with("the second of two bound", 9630, 0, 1);

    say("-- all of a killed child's sockets are gone without a further call");
    pid_t pid;
    int ready[2];
    char c;
    MUST(pipe(ready));
    if (child(&pid)) {
        for (int i = 0; i < 20; i++) {
            int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
            struct sockaddr_in a = in4("127.0.0.1", 9640 + i);
            MUST(bind(s, SA(a), sizeof a));
        }
        int l = listener(9639);
        if (write(ready[1], "x", 1)) {}
        accept(l, NULL, NULL);
        _exit(0);
    }
    MUST(read(ready[0], &c, 1));
    say("listening: %d", count_rows(9639, S_LISTEN));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    long since = now_ms();
    say("listening: %d", wait_rows(9639, S_LISTEN, 0));
    say("soon: %s", within(since, 0, 1500));

    say("-- a child that has a socket of its parent's alone");
    struct pair p = pair_at(9601);
    if (child(&pid)) {
        close(p.c);
        close(p.l);
        if (read(p.s, &c, 1) == 1 && write(ready[1], "x", 1)) {}
        pause();
        _exit(0);
    }
    close(p.s);
    MUST(write(p.c, "x", 1));
    MUST(read(ready[0], &c, 1));
    kill(pid, SIGKILL);
    since = now_ms();
    waitpid(pid, NULL, 0);
    await(p.c, POLLIN, 2000);
    say_recv("the peer", p.c);
    say("soon: %s", within(since, 0, 1500));
    close(p.c);
    close(p.l);
}

static void keepers(void)
{
    char c;
    pid_t pid;
    say("-- readiness of older descriptors after a keeper's death");
    int ep = MUST(epoll_create1(EPOLL_CLOEXEC));
    struct pair p = pair_at(9602);
    add(ep, p.l, EPOLLIN, 1);
    add(ep, p.s, EPOLLIN | EPOLLRDHUP, 2);
    look("idle", ep, 30);
    kill_keeper();
    /* Any call notices. */
    say_name("listener", p.l);
    ms(300);
    say_name("listener", p.l);
    look("idle", ep, 30);
    MUST(write(p.c, "abc", 3));
    look("data", ep, 2000);
    MUST(recv(p.s, &c, 1, 0));
    look("a part left", ep, 30);
    char rest[8];
    MUST(recv(p.s, rest, 8, 0));
    look("read", ep, 30);
    int other = dial(9602);
    look("a connection", ep, 2000);
    int accepted = MUST(accept(p.l, NULL, NULL));
    look("accepted", ep, 30);
    close(other);
    close(accepted);

    say("-- another process makes it ready");
    if (child(&pid)) {
        if (write(p.c, "x", 1)) {}
        _exit(0);
    }
    look("data", ep, 2000);
    waitpid(pid, NULL, 0);
    MUST(recv(p.s, rest, 8, 0));
    look("read", ep, 30);

    say("-- the last reference goes");
    if (child(&pid)) {
        pause();
        _exit(0);
    }
    close(p.c);
    look("not yet", ep, 100);
    kill(pid, SIGKILL);
    long since = now_ms();
    waitpid(pid, NULL, 0);
    look("end of file", ep, 2000);
    say("soon: %s", within(since, 0, 1500));
    close(p.s);
    close(p.l);

    say("-- and once more, with many");
    struct pair many[20];
    for (int i = 0; i < 20; i++) {
        many[i] = pair_at(9660 + i);
        add(ep, many[i].s, EPOLLIN, (unsigned)i);
    }
    kill_keeper();
    say_name("listener", many[0].l);
    ms(300);
    say_name("listener", many[0].l);
    for (int i = 0; i < 20; i += 7) {
        MUST(write(many[i].c, "y", 1));
        look("data", ep, 2000);
        MUST(recv(many[i].s, &c, 1, 0));
    }
    look("read", ep, 30);
    if (child(&pid)) {
        pause();
        _exit(0);
    }
    for (int i = 0; i < 20; i++) close(many[i].c);
    kill(pid, SIGKILL);
    since = now_ms();
    waitpid(pid, NULL, 0);
    int ended = 0;
    for (int i = 0; i < 20; i++) ended += recv(many[i].s, &c, 1, 0) == 0;
    say("ended: %d, soon: %s", ended, within(since, 0, 1500));
}

int main(void)
{
    children();
    keepers();
    return 0;
}
