/* Claim 27: a RST ends the connection with ECONNRESET (no answer, with ETIMEDOUT, needs another host: hosts_silence). */
#include "probe.h"

static void one(const char *title, int how)
{
    struct pair p = pair_at(9027);
    say("-- %s", title);
    signal(SIGPIPE, SIG_IGN);
    reset_close(p.s);
    await(p.c, POLLERR, 10000);
    say_state("client", p.c);
    say_events("client", p.c);
    char b[4];
    struct iovec v = {b, 4};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    fd_set rd, wr, ex;
    FD_ZERO(&rd);
    FD_ZERO(&wr);
    FD_ZERO(&ex);
    FD_SET(p.c, &rd);
    FD_SET(p.c, &wr);
    FD_SET(p.c, &ex);
    struct timeval tv = {0, 0};
    int n = select(p.c + 1, &rd, &wr, &ex, &tv);
    say("select %d: read %d write %d except %d", n, FD_ISSET(p.c, &rd) != 0, FD_ISSET(p.c, &wr) != 0, FD_ISSET(p.c, &ex) != 0);
    switch (how) {
    case 0: R(read(p.c, b, 4)); break;
    case 1: R(write(p.c, b, 4)); break;
    case 2: say_error("client", p.c); break;
    case 3: R(recvmsg(p.c, &m, 0)); break;
    case 4: R(sendmsg(p.c, &m, 0)); break;
    case 5: OK(connect_raw(p.c, "127.0.0.1", 9027)); break;
    case 6: R(recv(p.c, b, 4, MSG_PEEK)); break;
    case 7: R(shutdown(p.c, SHUT_WR)); break;
    }
    R(read(p.c, b, 4));
    R(write(p.c, b, 4));
    say_error("client", p.c);
    close(p.c);
    close(p.l);
}

int main(void)
{
    static const char *const titles[] = {"read", "write", "SO_ERROR", "recvmsg", "sendmsg", "connect", "peek", "shutdown"};
    for (int i = 0; i < 8; i++) one(titles[i], i);
    say("-- a blocked reader is woken");
    struct pair p = pair_at(9028);
    pid_t pid;
    if (child(&pid)) {
        close(p.c);
        wait_asleep(getppid());
        reset_close(p.s);
        _exit(0);
    }
    close(p.s);
    char b[4];
    R(read(p.c, b, 4));
    say_exit("resetter", pid);
    R(read(p.c, b, 4));
    say("-- SIGPIPE kills by default");
    p = pair_at(9029);
    if (child(&pid)) {
        signal(SIGPIPE, SIG_DFL);
        reset_close(p.s);
        close(p.c);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    reset_close(p.s);
    await(p.c, POLLERR, 10000);
    if (child(&pid)) {
        signal(SIGPIPE, SIG_DFL);
        R(write(p.c, "x", 1));
        if (write(p.c, "x", 1)) {}
        say("still here");
        _exit(0);
    }
    say_exit("writer", pid);
    return 0;
}
