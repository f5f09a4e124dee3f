/* Claim 3: bind() sets the local address and fails when it is taken or not permitted. */
#include "probe.h"
#include <linux/capability.h>
#include <sys/syscall.h>

static void drop_bind_capability(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    MUST(syscall(SYS_capget, &h, d));
    d[0].effective &= ~(1u << CAP_NET_BIND_SERVICE);
    MUST(syscall(SYS_capset, &h, d));
}

static int try(const char *ip, int port)
{
    int six = strchr(ip, ':') != NULL, s = MUST(socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4(six ? "0.0.0.0" : ip, port);
    struct sockaddr_in6 b = in6(six ? ip : "::", port);
    int r = six ? bind(s, SA(b), sizeof b) : bind(s, SA(a), sizeof a);
    say("bind %s port %d: %s", ip, port, r ? ename(errno) : "ok");
    if (r) { close(s); return -1; }
    say_name("  bound", s);
    return s;
}

int main(void)
{
    int s = try("127.0.0.1", 9003);
    say_state("bound", s);
    say_table("bound sockets aren't in the table", 9003);
    try("127.0.0.1", 9003);
    try("0.0.0.0", 9003);
    int other = try("127.0.0.2", 9003);
    close(other);
    int six = try("::1", 9003);
    try("::1", 9003);
    close(six);
    try("::", 9003);
    struct sockaddr_in again = in4("127.0.0.1", 9004);
    OK(bind(s, SA(again), sizeof again));
    close(s);
    s = try("127.0.0.1", 9003);
    close(s);
    s = try("127.0.0.1", 0);
    say("a port was chosen: %s", port_of(s) >= 32768 && port_of(s) <= 60999 ? "yes" : "no");
    close(s);
    try("198.51.100.1", 9003);
    try("2001:db8::1", 9003);
    s = try("0.0.0.0", 80);
    close(s);
    drop_bind_capability();
    say("without the capability");
    try("0.0.0.0", 80);
    try("::", 1023);
    try("127.0.0.1", 1);
    s = try("0.0.0.0", 1024);
    close(s);
    traffic(9103);
    return 0;
}
