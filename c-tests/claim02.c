/* Claim 2: socket(PF_INET, SOCK_STREAM, 0) is TCP. */
#include "probe.h"
#include <sys/stat.h>

static void about(const char *who, int s)
{
    struct stat st;
    memset(&st, 0, sizeof st);
    int stat = fstat(s, &st);
    say("%s: type %s protocol %s domain %s", who, get_int(s, SOL_SOCKET, SO_TYPE) == SOCK_STREAM ? "SOCK_STREAM" : "other",
        get_int(s, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP ? "TCP" : "other",
        get_int(s, SOL_SOCKET, SO_DOMAIN) == AF_INET ? "AF_INET" : get_int(s, SOL_SOCKET, SO_DOMAIN) == AF_INET6 ? "AF_INET6" : "other");
    say("%s: fstat %d, socket %d, listening %d, TCP_NODELAY %d, flags %x %x", who, stat, S_ISSOCK(st.st_mode) != 0,
        get_int(s, SOL_SOCKET, SO_ACCEPTCONN), get_int(s, IPPROTO_TCP, TCP_NODELAY), fcntl(s, F_GETFL), fcntl(s, F_GETFD));
}

int main(void)
{
    int a = MUST(socket(PF_INET, SOCK_STREAM, 0)), b = MUST(socket(PF_INET, SOCK_STREAM, IPPROTO_TCP)),
        c = MUST(socket(PF_INET6, SOCK_STREAM, 0)),
        d = MUST(socket(PF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    about("PF_INET, 0", a);
    about("PF_INET, IPPROTO_TCP", b);
    about("PF_INET6, 0", c);
    about("with flags", d);
    OK(socket(PF_INET, SOCK_STREAM, IPPROTO_UDP));
    OK(socket(PF_INET, SOCK_DGRAM, IPPROTO_TCP));
    struct pair p = pair_at(9002);
    about("connecting end", p.c);
    about("accepted end", p.s);
    about("listener", p.l);
    char text[8] = "";
    R(write(p.c, "stream", 6));
    R(recv(p.s, text, 6, MSG_WAITALL));
    say("%s", text);
    close_pair(p);
    return 0;
}
