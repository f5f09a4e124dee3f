/* SO_BINDTODEVICE and SO_BINDTOIFINDEX: what the calls give, whose connections a bound listener takes, and where a bound socket can
 * connect to. The peer dials what it is told to, and says what became of it. "DEV" stands for the device other than lo. */
#include "probe.h"
#include <net/if.h>

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#define CONTROL 9170
#define PORT 9171

static char dev[IFNAMSIZ] = "?";
static int dev_index;

static void find_device(void)
{
    /* The stack's own device, or that of the namespace in its stead. */
    strcpy(dev, if_nametoindex("utcp0") ? "utcp0" : "eth0");
    dev_index = (int)if_nametoindex(dev);
}

static int to_name(int fd, const char *name)
{
    return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name) + 1);
}

static const char *shown(int fd)
{
    static char name[64];
    socklen_t n = sizeof name;
    memset(name, 0, sizeof name);
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &n)) return ename(errno);
    if (!strcmp(name, dev)) return "DEV";
    return n ? name : "(none)";
}

static void show(const char *what, int fd)
{
    int i = get_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX);
    if (i == dev_index) say("%s: %s, the number of DEV", what, shown(fd));
    else say("%s: %s, number %d", what, shown(fd), i);
}

static int fresh(const char *device)
{
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    if (device) MUST(to_name(fd, device));
    return fd;
}

static void calls(void)
{
    int fd = fresh(NULL), v;
    char name[64];
    socklen_t n;
    say("-- calls");
    show("fresh", fd);
    R(to_name(fd, "nothing0"));
    R(to_name(fd, "lo:1"));
    R(to_name(fd, "averyveryverylongname"));
    R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, (void *)1, 4));
    R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, NULL, 0));
    show("none yet", fd);
    R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
    show("without the zero", fd);
    for (unsigned room = 0; room <= 20; room += 4) {
        n = room;
        memset(name, 'x', sizeof name);
        int r = getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &n);
        say("room for %u: %s, length %u, '%.2s'", room, r ? ename(errno) : "0", (unsigned)n, r || room < 3 ? "" : name);
    }
    n = 16;
    R(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, (void *)1, &n));
    R(to_name(fd, dev) ? -1 : 0);
    show("the other", fd);
    R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 1));
    show("an empty name", fd);
    R(to_name(fd, "lo"));
    R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 0));
    show("no length", fd);
    R(to_name(fd, "lo"));
    R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", -1));
    R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "\0lo", 3));
    show("a zero first", fd);
    R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo\0rest of it, and more", 24));
    show("a zero within", fd);
    R(set_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, -1));
    R(set_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 4321));
    show("an unknown number", fd);
    R(connect_raw(fd, "127.0.0.1", PORT));
    R(set_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 1));
    show("the first", fd);
    R(set_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 0));
    show("zero", fd);
    v = 1;
    R(setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &v, 2));
    n = 2;
    R(getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &v, &n));
    say("length %u", (unsigned)n);
    close(fd);
}

/* Without CAP_NET_RAW a socket may be bound once. */
static void unprivileged(void)
{
    pid_t pid;
    if (child(&pid)) {
        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) say("the user can't be changed");
        int fd = fresh(NULL);
        say("-- without privileges");
        R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 1));
        R(to_name(fd, "nothing0"));
        R(to_name(fd, "lo"));
        R(to_name(fd, "lo"));
        R(to_name(fd, "nothing0"));
        R(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 1));
        R(set_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, -1));
        R(set_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX, 0));
        show("still", fd);
        close(fd);
        exit(0);
    }
    waitpid(pid, NULL, 0);
}

/* What the peer says of a connection to us. */
static const char *from_peer(const char *peer, const char *to, int port)
{
    static char answer[64];
    int c = dial_at(peer, CONTROL);
    char line[64];
    int n = snprintf(line, sizeof line, "%s %d", to, port);
    MUST(write(c, line, (size_t)n));
    long got = recv(c, answer, sizeof answer - 1, 0);
    answer[got > 0 ? got : 0] = 0;
    close(c);
    return answer;
}

static const char *try_connect(int fd, const char *to, int port)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (connect_raw(fd, to, port) && errno != EINPROGRESS) return ename(errno);
    if (!await(fd, POLLOUT, 800)) return "silence";
    int e = so_error(fd);
    return e ? ename(e) : "done";
}

static int bound_listener(const char *device, const char *ip, int flag)
{
    int fd = MUST(socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    if (device) MUST(to_name(fd, device));
    if (flag) set_int(fd, SOL_SOCKET, flag, 1);
    struct sockaddr_in a = in4(strchr(ip, ':') ? "0.0.0.0" : ip, PORT);
    struct sockaddr_in6 b = in6(strchr(ip, ':') ? ip : "::", PORT);
    if (strchr(ip, ':') ? bind(fd, SA(b), sizeof b) : bind(fd, SA(a), sizeof a)) {
        say("bind: %s", ename(errno));
        close(fd);
        return -1;
    }
    if (listen(fd, 8)) say("listen: %s", ename(errno));
    return fd;
}

static int has_one(int l)
{
    int n = 0;
    for (int s; (s = accept(l, NULL, NULL)) >= 0; n++) reset_close(s);
    return n;
}

static const char *way(int n, const char *peer, const char *own)
{
    static char text[96];
    int c;
    switch (n) {
    case 0:
        snprintf(text, sizeof text, "the peer to DEV's address: %s", from_peer(peer, own, PORT));
        break;
    case 1:
        c = fresh(NULL);
        snprintf(text, sizeof text, "we to 127.0.0.1: %s", try_connect(c, "127.0.0.1", PORT));
        reset_close(c);
        break;
    default:
        c = fresh(NULL);
        snprintf(text, sizeof text, "we to DEV's address: %s", try_connect(c, own, PORT));
        reset_close(c);
    }
    ms(60);
    return text;
}

static void listeners(const char *peer, const char *own)
{
    say("-- listeners");
    const char *names[] = {dev, "lo", NULL};
    int all[3];
    for (int i = 0; i < 3; i++) {
        int l = bound_listener(names[i], "0.0.0.0", 0);
        say("a listener of %s", !names[i] ? "none" : i ? "lo" : "DEV");
        for (int n = 0; n < 3; n++) {
            const char *text = way(n, peer, own);
            say("  %s, accepted %d", text, has_one(l));
        }
        close(l);
    }
    say("all at once");
    all[0] = bound_listener(dev, "0.0.0.0", 0);
    all[1] = bound_listener("lo", "0.0.0.0", 0);
    all[2] = bound_listener(NULL, "0.0.0.0", 0);
    int again = bound_listener("lo", "127.0.0.1", 0);
    if (again >= 0) close(again);
    for (int i = 0; i < 3; i++)
        if (all[i] >= 0) close(all[i]);
    say("two of one port");
    all[0] = bound_listener(dev, "0.0.0.0", 0);
    all[1] = bound_listener("lo", "0.0.0.0", 0);
    for (int n = 0; n < 3; n++) {
        const char *text = way(n, peer, own);
        int a = has_one(all[0]), b = has_one(all[1]);
        say("  %s, accepted of DEV %d, of lo %d", text, a, b);
    }
    int six = bound_listener(NULL, "::", 0);
    if (six >= 0) close(six);
    close(all[0]);
    close(all[1]);
    all[0] = bound_listener(dev, "0.0.0.0", SO_REUSEADDR);
    all[1] = bound_listener("lo", "127.0.0.1", SO_REUSEADDR);
    for (int n = 0; n < 3; n++) {
        const char *text = way(n, peer, own);
        int a = has_one(all[0]), b = has_one(all[1]);
        say("  %s, accepted of DEV %d, of lo at its address %d", text, a, b);
    }
    close(all[0]);
    close(all[1]);
    /* Bound for a while: a listener that is bound later takes no more of the others. */
    int l = bound_listener(NULL, "0.0.0.0", 0);
    const char *text = way(1, peer, own);
    say("  %s, accepted %d", text, has_one(l));
    R(to_name(l, dev) ? -1 : 0);
    text = way(1, peer, own);
    say("  %s, accepted %d", text, has_one(l));
    int c = fresh(NULL);
    say("  to DEV's address: %s", try_connect(c, own, PORT));
    ms(50);
    int s = MUST(accept(l, NULL, NULL));
    show("  the accepted socket", s);
    show("  the one that connected", c);
    /* A connection that is bound to another device hears nothing any more. */
    R(to_name(s, "lo"));
    MUST(write(c, "lost", 4));
    ms(50);
    say_recv("  bound to lo", s);
    say_recv("  its peer", c);
    reset_close(s);
    reset_close(c);
    close(l);
}

static void connecting(const char *peer, const char *own)
{
    struct { const char *device, *name, *to; int listens; } cases[] = {
        {NULL, "no device", peer, 1}, {dev, "DEV", peer, 1}, {"lo", "lo", peer, 0},
        {dev, "DEV", "127.0.0.1", 1}, {"lo", "lo", "127.0.0.1", 1}, {dev, "DEV", own, 1},
        {"lo", "lo", own, 1}, {dev, "DEV", "203.0.113.2", 0}, {"lo", "lo", "203.0.113.77", 0},
    };
    say("-- connecting");
    int l = bound_listener(NULL, "0.0.0.0", 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int c = fresh(cases[i].device), port = !strcmp(cases[i].to, peer) ? CONTROL : PORT;
        const char *r = try_connect(c, cases[i].to, port);
        say("%s to %s: %s", cases[i].name, cases[i].to, r);
        say_name("  ", c);
        show("  ", c);
        if (!strcmp(r, "done") && port == CONTROL) MUST(write(c, "bye 0", 5));
        reset_close(c);
        has_one(l);
    }
    int c = fresh(dev);
    struct sockaddr_in a = in4("127.0.0.1", 0);
    R(bind(c, SA(a), sizeof a));
    say("127.0.0.1 of DEV to 127.0.0.1: %s", try_connect(c, "127.0.0.1", PORT));
    close(c);
    c = fresh("lo");
    a = in4(own, 0);
    R(bind(c, SA(a), sizeof a));
    say("DEV's address of lo to 127.0.0.1: %s", try_connect(c, "127.0.0.1", PORT));
    ms(30);
    say("accepted %d", has_one(l));
    reset_close(c);
    close(l);
}

static void six(const char *own6)
{
    say("-- IPv6");
    int l = bound_listener(dev, "::", 0), k = bound_listener("lo", "::", 0);
    const char *to[] = {"::1", own6};
    for (int i = 0; i < 2; i++) {
        int c = MUST(socket(AF_INET6, SOCK_STREAM, 0));
        const char *r = try_connect(c, to[i], PORT);
        ms(30);
        int a = has_one(l), b = has_one(k);
        say("we to %s: %s, accepted of DEV %d, of lo %d", i ? "DEV's address" : "::1", r, a, b);
        reset_close(c);
        for (int j = 0; j < 2; j++) {
            c = MUST(socket(AF_INET6, SOCK_STREAM, 0));
            MUST(to_name(c, j ? "lo" : dev));
            r = try_connect(c, to[i], PORT);
            ms(30);
            a = has_one(l), b = has_one(k);
            say("%s to %s: %s, accepted of DEV %d, of lo %d", j ? "lo" : "DEV", i ? "DEV's address" : "::1", r, a, b);
            reset_close(c);
        }
    }
    close(l);
    close(k);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            int c = MUST(socket(AF_INET6, SOCK_STREAM, 0));
            MUST(to_name(c, j ? "lo" : dev));
            struct sockaddr_in6 a = in6(to[i], PORT);
            int r = bind(c, SA(a), sizeof a);
            say("bind of %s to %s: %s", j ? "lo" : "DEV", i ? "DEV's address" : "::1", r ? ename(errno) : "0");
            close(c);
        }
    int c = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    struct sockaddr_in6 a = in6("::1", PORT);
    MUST(set_int(c, SOL_SOCKET, SO_BINDTOIFINDEX, 4321));
    R(bind(c, SA(a), sizeof a));
    R(connect(c, SA(a), sizeof a));
    close(c);
}

static int serve(void)
{
    int l = listener_at("0.0.0.0", CONTROL, 16);
    say("ready");
    for (;;) {
        int s = MUST(accept(l, NULL, NULL)), port = 0;
        char line[64] = "", ip[64] = "";
        if (recv(s, line, sizeof line - 1, 0) > 0 && sscanf(line, "%63s %d", ip, &port) == 2) {
            if (!strcmp(ip, "end")) return 0;
            if (strcmp(ip, "bye")) {
                int c = fresh(NULL);
                const char *r = try_connect(c, ip, port);
                MUST(write(s, r, strlen(r)));
                ms(20);
                reset_close(c);
            }
        }
        close(s);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) return serve();
    const char *peer = argv[1], *own = argv[2], *own6 = argv[3];
    traffic(PORT);
    find_device();
    calls();
    unprivileged();
    listeners(peer, own);
    connecting(peer, own);
    six(own6);
    int c = dial_at(peer, CONTROL);
    MUST(write(c, "end 0", 5));
    close(c);
    return 0;
}
