/* Descriptors of sockets: numbers, duplicates, inheritance, passing, standard streams of other programs. */
#include "probe.h"
#include <spawn.h>
#include <sys/stat.h>
#include <sys/un.h>

extern char **environ;

static void pass(int over, int fd)
{
    char c = 'f', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec v = {&c, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    MUST(sendmsg(over, &m, 0));
}
static int passed(int over)
{
    char c, control[CMSG_SPACE(sizeof(int))] = {0};
    int fd = -1;
    struct iovec v = {&c, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    MUST(recvmsg(over, &m, 0));
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (h) memcpy(&fd, CMSG_DATA(h), sizeof fd);
    return fd;
}

int main(void)
{
    char b[256];
    pid_t pid;
    struct pair p = pair_at(9400);
    say("-- numbers: %d %d", p.c - p.l, p.s - p.l);
    int d = dup(p.c);
    say("dup %d, dup2 %s, F_DUPFD at least 20: %d", d - p.l, dup2(p.c, 15) == 15 ? "ok" : "failed", fcntl(p.c, F_DUPFD, 20));
    say("dup3 %d, F_DUPFD_CLOEXEC %d", dup3(p.c, 16, O_CLOEXEC), fcntl(p.c, F_DUPFD_CLOEXEC, 30));
    say("FD_CLOEXEC: %d %d %d", fcntl(15, F_GETFD), fcntl(16, F_GETFD), fcntl(30, F_GETFD));
    R(dup3(p.c, p.c, 0));
    R(dup2(p.c, p.c) - p.c);
    say("the same address through all:");
    say_peer("15", 15);
    say_peer("30", 30);
    close(p.c);
    close(d);
    close(15);
    close(20);
    close(16);
    MUST(write(30, "last one", 8));
    say_recv("peer", p.s);
    close(30);
    await(p.s, POLLRDHUP, 10000);
    say_recv("peer, all closed", p.s);
    close(p.s);
    close(p.l);

    say("-- dup2 over a socket closes it");
    p = pair_at(9401);
    MUST(dup2(1, p.c));
    await(p.s, POLLRDHUP, 10000);
    say_recv("peer", p.s);
    struct stat st;
    MUST(fstat(p.c, &st));
    say("it is a socket no longer: %d; getpeername %s", S_ISSOCK(st.st_mode) == 0, connect_raw(p.c, "127.0.0.1", 1) ? ename(errno) : "?");
    close(p.c);
    close(p.s);
    close(p.l);

    say("-- the number is used for something else");
    p = pair_at(9402);
    int number = p.c;
    close(p.c);
    int pipes[2];
    MUST(pipe(pipes));
    say("the pipe took it: %s", pipes[0] == number || pipes[1] == number ? "yes" : "no");
    MUST(write(pipes[1], "pipe", 4));
    long n = read(pipes[0], b, 8);
    say("read %ld %.4s", n, b);
    R(send(pipes[1], "x", 1, 0));
    close(pipes[0]);
    close(pipes[1]);
    close(p.s);
    close(p.l);

    say("-- inherited by fork, both ends used in both");
    p = pair_at(9403);
    if (child(&pid)) {
        MUST(write(p.c, "from the child", 14));
        n = read(p.c, b, sizeof b);
        say("child read %.*s", (int)n, b);
        _exit(0);
    }
    await(p.s, POLLIN, 10000);
    say_recv("parent", p.s);
    MUST(write(p.s, "to the child", 12));
    say_exit("child", pid);
    MUST(write(p.c, "the parent still has it", 23));
    await(p.s, POLLIN, 10000);
    say_recv("parent", p.s);
    close_pair(p);

    say("-- passed over a Unix socket");
    int u[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, u));
    p = pair_at(9404);
    if (child(&pid)) {
        close(p.c);
        close(p.s);
        close(p.l);
        int got = passed(u[1]);
        say_peer("passed", got);
        MUST(write(got, "by the one it was passed to", 27));
        _exit(0);
    }
    pass(u[0], p.c);
    close(p.c);
    say_exit("child", pid);
    await(p.s, POLLRDHUP, 10000);
    say_recv("peer", p.s);
    say_recv("peer", p.s);
    p.c = dial(9404);
    pass(u[0], p.c);
    close(p.c);
    int s = MUST(accept(p.l, NULL, NULL));
    ms(50);
    say_events("while it is on its way", s);
    int got = passed(u[1]);
    MUST(write(got, "arrived", 7));
    await(s, POLLIN, 10000);
    say_recv("peer", s);
    close(got);
    close(s);
    close(p.s);
    close(p.l);
    close(u[0]);
    close(u[1]);

    say("-- standard streams of another program");
    p = pair_at(9405);
    if (child(&pid)) {
        dup2(p.s, 0);
        dup2(p.s, 1);
        close(p.c);
        close(p.s);
        close(p.l);
        execlp("cat", "cat", (char *)NULL);
        _exit(127);
    }
    close(p.s);
    MUST(write(p.c, "through cat", 11));
    await(p.c, POLLIN, 2000);
    say_recv("back", p.c);
    MUST(shutdown(p.c, SHUT_WR));
    say("then %ld", drain(p.c));
    say_exit("cat", pid);
    close(p.c);
    close(p.l);
    p = pair_at(9406);
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, p.s, 1);
    posix_spawn_file_actions_addclose(&fa, p.c);
    char *argv[] = {"echo", "spawned", NULL};
    say("posix_spawn %d", posix_spawnp(&pid, "echo", &fa, NULL, argv, environ));
    say_exit("echo", pid);
    await(p.c, POLLIN, 10000);
    say_recv("from it", p.c);
    fcntl(p.c, F_SETFD, FD_CLOEXEC);
    snprintf(b, sizeof b, "echo by the shell >&%d", p.s);
    say("system %d", system(b));
    await(p.c, POLLIN, 10000);
    say_recv("from it", p.c);
    close_pair(p);

    say("-- vfork's child closes; the parent's stays");
    p = pair_at(9407);
    pid = vfork();
    if (pid == 0) {
        close(p.c);
        _exit(0);
    }
    say_exit("child", pid);
    MUST(write(p.c, "still open", 10));
    await(p.s, POLLIN, 10000);
    say_recv("peer", p.s);
    close_pair(p);

    say("-- close_range and closefrom");
    p = pair_at(9408);
    MUST(close_range((unsigned)p.c, (unsigned)p.c, 0));
    await(p.s, POLLRDHUP, 10000);
    say_recv("peer", p.s);
    R(write(p.c, "x", 1));
    closefrom(p.l);
    R(write(p.s, "x", 1));
    p = pair_at(9409);
    MUST(write(p.c, "new ones work", 13));
    await(p.s, POLLIN, 10000);
    say_recv("peer", p.s);
    for (int i = 3; i < 1024; i++) close(i);
    p = pair_at(9410);
    MUST(write(p.c, "and after a loop to 1023", 24));
    await(p.s, POLLIN, 10000);
    say_recv("peer", p.s);
    say("numbers again: %d %d %d", p.l, p.c, p.s);
    close_pair(p);
    say("-- /proc/self/fd");
    p = pair_at(9411);
    snprintf(b, sizeof b, "/proc/self/fd/%d", p.c);
    char link[64] = "";
    if (readlink(b, link, sizeof link - 1) < 0) say("readlink %s", ename(errno));
    MUST(fstat(p.c, &st));
    snprintf(b, sizeof b, "socket:[%lu]", (unsigned long)st.st_ino);
    say("names the socket by fstat's inode: %s", !strcmp(b, link) ? "yes" : "no");
    close_pair(p);
    return 0;
}
