/* SO_PRIORITY: who may set what, and what IP_TOS and IPV6_TCLASS do to it; what accepted sockets have. */
#include "probe.h"

static int prio(int fd) { return get_int(fd, SOL_SOCKET, SO_PRIORITY); }

static void tries(const char *who)
{
    static const int values[] = {1, 6, 7, 0, -1, 100, 0x7fffffff};
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say("-- %s: at first %d", who, prio(fd));
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        int r = set_int(fd, SOL_SOCKET, SO_PRIORITY, values[i]), e = errno;
        say("set %d: %s, is %d", values[i], r ? ename(e) : "0", prio(fd));
    }
    char small = 3;
    R(setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &small, 1));
    R(setsockopt(fd, SOL_SOCKET, SO_PRIORITY, (void *)1, 4));
    socklen_t n = 2;
    int v = 0;
    R(getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &v, &n));
    say("length %u", (unsigned)n);
    close(fd);
}

static void tos(int family, int level, int option)
{
    int fd = MUST(socket(family, SOCK_STREAM, 0));
    say("-- %s", option == IP_TOS ? "IP_TOS" : "IPV6_TCLASS");
    for (int t = 0; t < 256; t += t < 32 ? 1 : 13) {
        set_int(fd, SOL_SOCKET, SO_PRIORITY, 5);
        int r = set_int(fd, level, option, t);
        say("%d: %d, option %d, priority %d", t, r, get_int(fd, level, option), prio(fd));
    }
    set_int(fd, SOL_SOCKET, SO_PRIORITY, 2);
    say("then SO_PRIORITY 2: option %d, priority %d", get_int(fd, level, option), prio(fd));
    set_int(fd, level, option, get_int(fd, level, option));
    say("the same option again: priority %d", prio(fd));
    int r = set_int(fd, level, option, -1), e = errno;
    say("-1: %s, option %d, priority %d", r ? ename(e) : "0", get_int(fd, level, option), prio(fd));
    r = set_int(fd, level, option, 0x1234), e = errno;
    say("0x1234: %s, option %d, priority %d", r ? ename(e) : "0", get_int(fd, level, option), prio(fd));
    close(fd);
}

static void accepted(int set_priority, int set_tos)
{
    int l = listener(9190);
    if (set_priority >= 0) MUST(set_int(l, SOL_SOCKET, SO_PRIORITY, set_priority));
    if (set_tos >= 0) MUST(set_int(l, IPPROTO_IP, IP_TOS, set_tos));
    int c = dial(9190), s = MUST(accept(l, NULL, NULL));
    say("listener %d, TOS %d: accepted %d, TOS %d; the client %d", prio(l), get_int(l, IPPROTO_IP, IP_TOS), prio(s),
        get_int(s, IPPROTO_IP, IP_TOS), prio(c));
    MUST(set_int(s, IPPROTO_IP, IP_TOS, 16));
    say("  TOS 16 while connected: %d", prio(s));
    reset_close(s);
    close(c);
    close(l);
}

int main(void)
{
    pid_t pid;
    traffic(9190);
    tries("with privileges");
    if (child(&pid)) {
        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) say("the user can't be changed");
        tries("without");
        exit(0);
    }
    waitpid(pid, NULL, 0);
    tos(AF_INET, IPPROTO_IP, IP_TOS);
    tos(AF_INET6, IPPROTO_IPV6, IPV6_TCLASS);
    tos(AF_INET6, IPPROTO_IP, IP_TOS);
    say("-- accepted");
    accepted(-1, -1);
    accepted(5, -1);
    accepted(-1, 16);
    accepted(3, 8);
    return 0;
}
