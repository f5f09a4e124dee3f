/* TCP_CONGESTION: which algorithms a program may choose, with CAP_NET_ADMIN and without it. Tried are those that the kernel has. */
#include "probe.h"
#include <linux/capability.h>
#include <sys/syscall.h>

static char available[256], allowed[256];

static void slurp(const char *path, char *into, size_t size)
{
    int fd = MUST(open(path, O_RDONLY));
    ssize_t n = MUST(read(fd, into, size - 1));
    into[n] = 0;
    close(fd);
}

static int has(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\n' || !at[n])) return 1;
    return 0;
}

static const char *now(int s)
{
    static char name[16];
    socklen_t n = sizeof name;
    memset(name, 0, sizeof name);
    MUST(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
    return name;
}

static void choose(const char *who)
{
    const char *names[] = {"reno", "cubic", "bbr", "nonsense"};
    for (int i = 0; i < 4; i++) {
        if (i < 3 && !has(available, names[i])) continue;
        int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
        int r = setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, names[i], strlen(names[i]));
        say("%s, %s%s: %s, then %s", who, names[i], has(allowed, names[i]) ? " (allowed)" : "", r ? ename(errno) : "ok", now(s));
        /* What a socket has already is no choice. */
        char same[16];
        strcpy(same, now(s));
        say("the same again: %s", setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, same, strlen(same)) ? ename(errno) : "ok");
        close(s);
    }
}

int main(void)
{
    slurp("/proc/sys/net/ipv4/tcp_available_congestion_control", available, sizeof available);
    slurp("/proc/sys/net/ipv4/tcp_allowed_congestion_control", allowed, sizeof allowed);
    choose("privileged");
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2];
    MUST(syscall(SYS_capget, &head, caps));
    caps[0].effective &= ~(1u << CAP_NET_ADMIN);
    MUST(syscall(SYS_capset, &head, caps));
    choose("not");
    int l = listener(9170), c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9170);
    MUST(connect(c, SA(a), sizeof a));
    if (has(available, "bbr") && has(allowed, "bbr")) {
        uint32_t words[8] = {0};
        socklen_t n = sizeof words;
        MUST(setsockopt(c, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3));
        MUST(getsockopt(c, IPPROTO_TCP, TCP_CC_INFO, words, &n));
        say("BBR tells %d bytes; chosen on a connection its gains are %u and %u", (int)n, words[3], words[4]);
        /* The handshake's ACK comes before it is set up. */
        int early = MUST(socket(AF_INET, SOCK_STREAM, 0));
        MUST(setsockopt(early, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3));
        MUST(connect(early, SA(a), sizeof a));
        MUST(getsockopt(early, IPPROTO_TCP, TCP_CC_INFO, words, &n));
        say("chosen before it %u and %u", words[3], words[4]);
        close(early);
    }
    if (has(allowed, "reno")) {
        char words[32];
        socklen_t n = sizeof words;
        MUST(setsockopt(c, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
        MUST(getsockopt(c, IPPROTO_TCP, TCP_CC_INFO, words, &n));
        say("NewReno tells %d bytes", (int)n);
    }
    close(MUST(accept(l, NULL, NULL)));
    close(c);
    return 0;
}
