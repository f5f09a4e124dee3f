/* Claim 17: 127.0.0.1 reaches a server on the same machine, another process; so do ::1 and the name localhost. */
#include "probe.h"

static void serve(int l, int n)
{
    while (n--) {
        struct sockaddr_storage a;
        socklen_t len = sizeof a;
        char b[64];
        int s = MUST(accept(l, SA(a), &len));
        long k = read(s, b, sizeof b);
        if (k > 0) MUST(write(s, b, (size_t)k));
        close(s);
    }
}
static void ask(const char *ip, int port)
{
    char b[64] = "";
    int c = dial_at(ip, port);
    MUST(write(c, ip, strlen(ip)));
    long n = recv(c, b, sizeof b, MSG_WAITALL);
    say("%s answered %ld \"%s\"", ip, n, b);
    say_peer("  it", c);
    close(c);
}

int main(void)
{
    int l = listener_at("127.0.0.1", 9017, 5), l6 = listener_at("::1", 9017, 5);
    pid_t a, b;
    if (child(&a)) { serve(l, 2); exit(0); }
    if (child(&b)) { serve(l6, 1); exit(0); }
    close(l);
    close(l6);
    ask("127.0.0.1", 9017);
    ask("::1", 9017);
    struct addrinfo hint = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *res = NULL;
    int e = getaddrinfo("localhost", "9017", &hint, &res);
    say("getaddrinfo localhost: %s", e ? gai_strerror(e) : "ok");
    if (!e) {
        int c = MUST(socket(res->ai_family, res->ai_socktype, res->ai_protocol));
        OK(connect(c, res->ai_addr, res->ai_addrlen));
        MUST(write(c, "name", 4));
        say("%ld bytes, then end of file", drain(c));
        close(c);
    }
    say_exit("IPv4 server", a);
    say_exit("IPv6 server", b);
    return 0;
}
