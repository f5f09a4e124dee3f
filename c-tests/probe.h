/* Helpers for the probes: every line they print is the same on each run on the kernel, so that a
 * run on another stack can be compared byte for byte. Ports chosen by the system, process ids and
 * times are never printed; ports below EPHEMERAL are the probe's own and are. */
#ifndef PROBE_H
#define PROBE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/sockios.h>

#define EPHEMERAL 32768
#define MAYBE static __attribute__((unused))

enum { S_ESTABLISHED = 1, S_SYN_SENT, S_SYN_RECV, S_FIN_WAIT1, S_FIN_WAIT2, S_TIME_WAIT, S_CLOSE,
       S_CLOSE_WAIT, S_LAST_ACK, S_LISTEN, S_CLOSING, S_NEW_SYN_RECV };

MAYBE const char *ename(int e)
{
    static char other[16];
    const char *name = e ? strerrorname_np(e) : "0";
    if (name) return e == EAGAIN ? "EAGAIN" : name;
    snprintf(other, sizeof other, "errno %d", e);
    return other;
}

/* One line on stdout, written at once so that the lines of several processes keep their order. */
MAYBE void say(const char *fmt, ...)
{
    char line[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    if (n < 0 || n > (int)sizeof line - 2) n = sizeof line - 2;
    line[n++] = '\n';
    fwrite(line, 1, (size_t)n, stdout);
    fflush(stdout);
}

/* The call's text with its result, and the errno's name if it failed. errno is kept. */
MAYBE long said(const char *what, long r)
{
    int e = errno;
    if (r == -1) say("%s = -1 %s", what, ename(e));
    else say("%s = %ld", what, r);
    errno = e;
    return r;
}
#define R(call) said(#call, (long)(call))
/* The same, with the class of the result alone: "ok" or the error. */
MAYBE long said_ok(const char *what, long r)
{
    int e = errno;
    if (r == -1) say("%s = -1 %s", what, ename(e));
    else say("%s ok", what);
    errno = e;
    return r;
}
#define OK(call) said_ok(#call, (long)(call))

/* For set-up whose failure makes the rest pointless: silent when it works. */
MAYBE int must_(const char *what, long r)
{
    if (r == -1) {
        say("set-up failed: %s: %s", what, ename(errno));
        exit(99);
    }
    return (int)r;
}
#define MUST(call) must_(#call, (long)(call))

MAYBE void ms(int n)
{
    struct timespec t = {n / 1000, (n % 1000) * 1000000L};
    while (nanosleep(&t, &t) == -1 && errno == EINTR) {}
}

MAYBE long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000;
}

/* "yes" if the time since `since` lies in [lo, hi] ms, else the time itself, so that a failure says
 * what it was. */
MAYBE const char *within(long since, long lo, long hi)
{
    static char text[64];
    long t = now_ms() - since;
    if (t >= lo && t <= hi) return "yes";
    snprintf(text, sizeof text, "no: %ld ms, not in [%ld, %ld]", t, lo, hi);
    return text;
}

/* --- states ------------------------------------------------------------------------------- */

MAYBE const char *state_name(int s)
{
    static const char *const names[] = {"?", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1",
        "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV"};
    return s > 0 && s < 13 ? names[s] : "?";
}

MAYBE struct tcp_info info_of(int fd)
{
    struct tcp_info i;
    socklen_t n = sizeof i;
    memset(&i, 0, sizeof i);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n) == -1) i.tcpi_state = 0;
    return i;
}
MAYBE int state_of(int fd) { return info_of(fd).tcpi_state; }
MAYBE void say_state(const char *who, int fd) { say("%s: %s", who, state_name(state_of(fd))); }

/* Waits up to ten seconds for the state, then says what it is. */
MAYBE void wait_state(const char *who, int fd, int want)
{
    for (int i = 0; i < 2000 && state_of(fd) != want; i++) ms(5);
    say_state(who, fd);
}

MAYBE const char *events_name(int ev)
{
    static char text[128];
    static const struct { int bit; const char *name; } names[] = {{POLLIN, "IN"}, {POLLPRI, "PRI"},
        {POLLOUT, "OUT"}, {POLLRDNORM, "RDNORM"}, {POLLRDBAND, "RDBAND"}, {POLLWRNORM, "WRNORM"},
        {POLLWRBAND, "WRBAND"}, {POLLERR, "ERR"}, {POLLHUP, "HUP"}, {POLLRDHUP, "RDHUP"},
        {POLLNVAL, "NVAL"}};
    text[0] = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ev & names[i].bit) {
            if (text[0]) strcat(text, "|");
            strcat(text, names[i].name);
        }
    return text[0] ? text : "none";
}

#define POLL_ALL (POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLRDHUP)
MAYBE int events_of(int fd)
{
    struct pollfd p = {fd, POLL_ALL, 0};
    poll(&p, 1, 0);
    return p.revents;
}
MAYBE void say_events(const char *who, int fd) { say("%s: poll %s", who, events_name(events_of(fd))); }
MAYBE void wait_events(const char *who, int fd, int want)
{
    for (int i = 0; i < 2000 && (events_of(fd) & want) != want; i++) ms(5);
    say_events(who, fd);
}
/* Waits for events silently; 1 if they came. */
MAYBE int await(int fd, int events, int timeout)
{
    struct pollfd p = {fd, (short)events, 0};
    return poll(&p, 1, timeout) > 0;
}
MAYBE int so_error(int fd)
{
    int e = -1;
    socklen_t n = sizeof e;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n);
    return e;
}
MAYBE void say_error(const char *who, int fd) { say("%s: SO_ERROR %s", who, ename(so_error(fd))); }
MAYBE int get_int(int fd, int level, int opt)
{
    int v = -1;
    socklen_t n = sizeof v;
    if (getsockopt(fd, level, opt, &v, &n) == -1) return -errno;
    return v;
}
MAYBE int set_int(int fd, int level, int opt, int v) { return setsockopt(fd, level, opt, &v, sizeof v); }
MAYBE int inq(int fd) { int n = -1; ioctl(fd, FIONREAD, &n); return n; }
MAYBE int outq(int fd) { int n = -1; ioctl(fd, SIOCOUTQ, &n); return n; }
MAYBE int outq_unsent(int fd) { int n = -1; ioctl(fd, SIOCOUTQNSD, &n); return n; }
/* Waits until all that was sent is acknowledged, which a delayed ACK does after 40 ms or, on a busy machine, much later. */
MAYBE void wait_acked(int fd)
{
    for (int i = 0; i < 2000 && outq(fd) > 0; i++) ms(5);
}
/* Waits until so many bytes can be read. */
MAYBE void wait_inq(int fd, int want)
{
    for (int i = 0; i < 2000 && inq(fd) < want; i++) ms(5);
}

/* --- addresses ---------------------------------------------------------------------------- */

MAYBE struct sockaddr_in in4(const char *ip, int port)
{
    struct sockaddr_in a;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_port = htons((uint16_t)port);
    a.sin_addr.s_addr = inet_addr(ip);
    return a;
}
MAYBE struct sockaddr_in6 in6(const char *ip, int port)
{
    struct sockaddr_in6 a;
    memset(&a, 0, sizeof a);
    a.sin6_family = AF_INET6;
    a.sin6_port = htons((uint16_t)port);
    inet_pton(AF_INET6, ip, &a.sin6_addr);
    return a;
}
#define SA(a) ((struct sockaddr *)&(a))

MAYBE const char *addr_text(const struct sockaddr_storage *a)
{
    static char text[4][INET6_ADDRSTRLEN + 16];
    static int turn;
    char *t = text[turn++ & 3], ip[INET6_ADDRSTRLEN] = "?";
    int port = -1;
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)a;
        inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip);
        port = ntohs(v4->sin_port);
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)a;
        inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip);
        port = ntohs(v6->sin6_port);
    }
    if (port >= EPHEMERAL) snprintf(t, sizeof text[0], "%s:free", ip);
    else snprintf(t, sizeof text[0], "%s:%d", ip, port);
    return t;
}
MAYBE void say_name(const char *who, int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    memset(&a, 0, sizeof a);
    if (getsockname(fd, SA(a), &n) == -1) say("%s: getsockname -1 %s", who, ename(errno));
    else say("%s: local %s (length %d)", who, addr_text(&a), (int)n);
}
MAYBE void say_peer(const char *who, int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    memset(&a, 0, sizeof a);
    if (getpeername(fd, SA(a), &n) == -1) say("%s: getpeername -1 %s", who, ename(errno));
    else say("%s: peer %s (length %d)", who, addr_text(&a), (int)n);
}
MAYBE int port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, SA(a), &n) == -1) return -1;
    return ntohs(((struct sockaddr_in *)&a)->sin_port);
}

/* --- usual sockets ------------------------------------------------------------------------ */

MAYBE int listener_at(const char *ip, int port, int backlog)
{
    int v6 = strchr(ip, ':') != NULL, one = 1;
    int s = MUST(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    MUST(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    struct sockaddr_in a = in4(v6 ? "0.0.0.0" : ip, port);
    struct sockaddr_in6 b = in6(v6 ? ip : "::", port);
    MUST(v6 ? bind(s, SA(b), sizeof b) : bind(s, SA(a), sizeof a));
    MUST(listen(s, backlog));
    return s;
}
MAYBE int listener(int port) { return listener_at("127.0.0.1", port, 16); }

MAYBE int connect_raw(int s, const char *ip, int port)
{
    if (strchr(ip, ':')) {
        struct sockaddr_in6 b = in6(ip, port);
        return connect(s, SA(b), sizeof b);
    }
    struct sockaddr_in a = in4(ip, port);
    return connect(s, SA(a), sizeof a);
}
MAYBE int dial_at(const char *ip, int port)
{
    int s = MUST(socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    MUST(connect_raw(s, ip, port));
    return s;
}
MAYBE int dial(int port) { return dial_at("127.0.0.1", port); }
MAYBE void nonblocking(int fd) { MUST(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)); }

/* A connected pair over 127.0.0.1: c is the connecting end, s the accepted one. */
struct pair { int l, c, s; };
MAYBE struct pair pair_at(int port)
{
    struct pair p;
    p.l = listener(port);
    p.c = dial(port);
    p.s = MUST(accept(p.l, NULL, NULL));
    return p;
}
MAYBE void close_pair(struct pair p)
{
    close(p.c);
    close(p.s);
    close(p.l);
}
/* A connection with a few bytes, so that a probe that makes none otherwise shows whose sockets it used. */
MAYBE void traffic(int port)
{
    struct pair p = pair_at(port);
    char b[8];
    MUST(write(p.c, "traffic", 7));
    say("a connection carries %ld bytes", (long)recv(p.s, b, 7, MSG_WAITALL));
    close_pair(p);
}
/* Closes with a RST, so that no TIME_WAIT is left. */
MAYBE void reset_close(int fd)
{
    struct linger l = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(fd);
}

/* --- bytes -------------------------------------------------------------------------------- */

MAYBE unsigned char pattern(size_t i) { return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16) * 3); }
MAYBE void fill(unsigned char *b, size_t n, size_t from)
{
    for (size_t i = 0; i < n; i++) b[i] = pattern(from + i);
}
MAYBE int fits(const unsigned char *b, size_t n, size_t from)
{
    for (size_t i = 0; i < n; i++)
        if (b[i] != pattern(from + i)) return 0;
    return 1;
}
/* Reads to the end of file or to an error, which is then in drain_end. */
static int drain_end __attribute__((unused));
MAYBE long drain(int fd)
{
    static unsigned char b[65536];
    long sum = 0, n;
    while ((n = read(fd, b, sizeof b)) > 0) sum += n;
    drain_end = n < 0 ? errno : 0;
    return sum;
}
/* What recv gives now, without waiting: bytes, EOF or the error. */
MAYBE void say_recv(const char *who, int fd)
{
    char b[256];
    long n = recv(fd, b, sizeof b - 1, MSG_DONTWAIT);
    if (n < 0) say("%s: recv -1 %s", who, ename(errno));
    else if (n == 0) say("%s: recv 0 (end of file)", who);
    else {
        b[n] = 0;
        say("%s: recv %ld \"%s\"", who, n, b);
    }
}
MAYBE void say_send(const char *who, int fd, const char *text)
{
    long n = send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) say("%s: send -1 %s", who, ename(errno));
    else say("%s: send %ld", who, n);
}
MAYBE long send_until_full(int fd, size_t chunk)
{
    static char b[1 << 20];
    long sum = 0, n;
    while ((n = send(fd, b, chunk, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) sum += n;
    return sum;
}

/* Sends until there is no room and none comes while ACKs, which may be delayed, are due; how much. */
MAYBE long stuff(int fd, size_t chunk)
{
    long sum = 0;
    for (int pauses = 0; pauses < 10; pauses++) {
        long more = send_until_full(fd, chunk);
        sum += more;
        if (more) pauses = 0;
        if (pauses && !info_of(fd).tcpi_unacked) break;
        ms(60);
    }
    return sum;
}

/* --- processes ---------------------------------------------------------------------------- */

/* Waits until the process or thread sleeps, and does so for a while: it has come to the call that waits. */
MAYBE void wait_asleep(pid_t id)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)id);
    for (int i = 0, asleep = 0; i < 2000 && asleep < 10; i++) {
        FILE *f = fopen(path, "r");
        if (f && !fgets(line, sizeof line, f)) line[0] = 0;
        char *end = f ? strrchr(line, ')') : NULL;
        asleep = end && end[1] == ' ' && end[2] == 'S' ? asleep + 1 : 0;
        if (f) fclose(f);
        ms(5);
    }
}

/* if (child(&pid)) { ...; exit(0); } */
MAYBE int child(pid_t *pid)
{
    fflush(stdout);
    *pid = fork();
    if (*pid == -1) MUST(-1);
    if (*pid == 0) alarm(100);
    return *pid == 0;
}
MAYBE void say_exit(const char *who, pid_t pid)
{
    int st = 0;
    if (waitpid(pid, &st, 0) != pid) say("%s: waitpid -1 %s", who, ename(errno));
    else if (WIFSIGNALED(st)) say("%s: killed by SIG%s", who, sigabbrev_np(WTERMSIG(st)));
    else say("%s: exit status %d", who, WEXITSTATUS(st));
}

/* --- /proc/net/tcp as netstat reads it ---------------------------------------------------- */

struct row { char local[64], remote[64]; int state; unsigned tx, rx, uid; unsigned long inode; int timer; };

MAYBE int row_order(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = strcmp(x->local, y->local);
    if (!c) c = strcmp(x->remote, y->remote);
    if (!c) c = x->state - y->state;
    if (!c) c = (int)x->rx - (int)y->rx;
    if (!c) c = (int)x->tx - (int)y->tx;
    return c;
}
MAYBE int table_read(const char *path, int port, struct row *rows, int max)
{
    FILE *f = fopen(path, "r");
    char line[512];
    int n = 0;
    if (!f) return -1;
    if (!fgets(line, sizeof line, f)) line[0] = 0;
    while (n < max && fgets(line, sizeof line, f)) {
        char la[40], ra[40];
        unsigned lp, rp, st, tx, rx, timer, uid;
        unsigned long inode;
        if (sscanf(line, "%*d: %32[0-9A-Fa-f]:%x %32[0-9A-Fa-f]:%x %x %x:%x %x:%*x %*x %u %*d %lu", la, &lp,
                   ra, &rp, &st, &tx, &rx, &timer, &uid, &inode) != 10)
            continue;
        if (port && (int)lp != port && (int)rp != port) continue;
        for (int side = 0; side < 2; side++) {
            struct sockaddr_storage a;
            const char *hex = side ? ra : la;
            unsigned p = side ? rp : lp, w[4] = {0};
            memset(&a, 0, sizeof a);
            if (strlen(hex) == 8) {
                struct sockaddr_in *v4 = (void *)&a;
                a.ss_family = AF_INET;
                sscanf(hex, "%8x", &w[0]);
                v4->sin_addr.s_addr = w[0];
                v4->sin_port = htons((uint16_t)p);
            } else {
                struct sockaddr_in6 *v6 = (void *)&a;
                a.ss_family = AF_INET6;
                sscanf(hex, "%8x%8x%8x%8x", &w[0], &w[1], &w[2], &w[3]);
                memcpy(&v6->sin6_addr, w, 16);
                v6->sin6_port = htons((uint16_t)p);
            }
            strcpy(side ? rows[n].remote : rows[n].local, addr_text(&a));
        }
        rows[n].state = (int)st;
        rows[n].tx = tx;
        rows[n].rx = rx;
        rows[n].uid = uid;
        rows[n].inode = inode;
        rows[n].timer = (int)timer;
        n++;
    }
    fclose(f);
    return n;
}
/* Prints the rows that touch the port (0: all), sorted, as netstat -tan would. */
MAYBE void say_table(const char *title, int port)
{
    static struct row rows[512];
    int n = table_read("/proc/net/tcp", port, rows, 256), m;
    if (n < 0) n = 0;
    m = table_read("/proc/net/tcp6", port, rows + n, 256);
    if (m > 0) n += m;
    qsort(rows, (size_t)n, sizeof rows[0], row_order);
    say("%s:%s", title, n ? "" : " no socket");
    for (int i = 0; i < n; i++)
        say("  rx %u tx %u %s %s %s%s", rows[i].rx, rows[i].tx, rows[i].local, rows[i].remote,
            state_name(rows[i].state), rows[i].inode ? "" : " (no owner)");
}
/* How many sockets touching the port are in the state. */
MAYBE int count_rows(int port, int state)
{
    static struct row rows[512];
    int n = table_read("/proc/net/tcp", port, rows, 256), m, k = 0;
    if (n < 0) n = 0;
    m = table_read("/proc/net/tcp6", port, rows + n, 256);
    if (m > 0) n += m;
    for (int i = 0; i < n; i++) k += rows[i].state == state;
    return k;
}
/* Waits up to ten seconds until `want` sockets touching the port are in the state. */
MAYBE int wait_rows(int port, int state, int want)
{
    for (int i = 0; i < 2000 && count_rows(port, state) != want; i++) ms(5);
    return count_rows(port, state);
}

/* An argument given by environment for probes that need another host, with a default. */
MAYBE const char *env_or(const char *name, const char *other)
{
    const char *v = getenv(name);
    return v && *v ? v : other;
}
#endif
