/* Claim 4: INADDR_ANY:9000 serves every local address; each accepted socket shows its own.
 * LOCAL and LOCAL6 name further local addresses; with PEER_COMES=n, n connections from another
 * host (claim04 peer ADDRESS...) are served afterwards. */
#include "probe.h"

static int any6(int port, int only)
{
    int s = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    struct sockaddr_in6 a = in6("::", port);
    set_int(s, SOL_SOCKET, SO_REUSEADDR, 1);
    if (only) set_int(s, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    MUST(bind(s, SA(a), sizeof a));
    MUST(listen(s, 5));
    return s;
}

static void visit(int l, const char *ip, int port)
{
    int six = strchr(ip, ':') != NULL, c = MUST(socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    if (connect_raw(c, ip, port)) {
        say("to %s: %s", ip, ename(errno));
        close(c);
        return;
    }
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    memset(&a, 0, sizeof a);
    int s = MUST(accept(l, SA(a), &n));
    say("to %s: from %s", ip, addr_text(&a));
    say_name("  accepted", s);
    say_peer("  accepted", s);
    say_name("  connecting", c);
    say_peer("  connecting", c);
    close(c);
    close(s);
}

int main(int argc, char **argv)
{
    if (argc > 2 && !strcmp(argv[1], "peer")) {
        for (int i = 2; i < argc; i++) {
            char b[64];
            int c = dial_at(argv[i], i & 1 ? 9001 : 9000);
            say("peer reached %s", argv[i]);
            say_peer("peer", c);
            long n = read(c, b, sizeof b);
            say("peer got %.*s", (int)n, b);
            close(c);
        }
        return 0;
    }
    const char *local = getenv("LOCAL"), *local6 = getenv("LOCAL6");
    int l = listener_at("0.0.0.0", 9000, 5), l6 = any6(9001, 0), only = any6(9002, 1);
    say_name("listener", l);
    visit(l, "127.0.0.1", 9000);
    visit(l, "127.0.0.2", 9000);
    visit(l, "127.255.255.254", 9000);
    visit(l, "0.0.0.0", 9000);
    visit(l, "::ffff:127.0.0.1", 9000);
    visit(l, "::1", 9000);
    if (local) visit(l, local, 9000);
    say_name("dual-stack listener", l6);
    visit(l6, "::1", 9001);
    visit(l6, "::", 9001);
    visit(l6, "127.0.0.1", 9001);
    visit(l6, "::ffff:127.0.0.3", 9001);
    if (local6) visit(l6, local6, 9001);
    if (local) visit(l6, local, 9001);
    say_name("listener of IPv6 alone", only);
    visit(only, "::1", 9002);
    visit(only, "127.0.0.1", 9002);
    int comes = atoi(env_or("PEER_COMES", "0"));
    if (comes) say("ready");
    for (int i = 0; i < comes; i++) {
        struct pollfd p[2] = {{l, POLLIN, 0}, {l6, POLLIN, 0}};
        if (poll(p, 2, 5000) < 1) { say("nobody came"); break; }
        int s = MUST(accept(p[0].revents ? l : l6, NULL, NULL));
        say_name("served", s);
        say_peer("served", s);
        MUST(send(s, "welcome", 7, 0));
        close(s);
    }
    return 0;
}
