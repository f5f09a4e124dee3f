/* Claim 5: before listen() a connection is refused, bound or not. */
#include "probe.h"

static void try(const char *what, const char *ip, int port)
{
    int s = MUST(socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    long t = now_ms();
    int r = connect_raw(s, ip, port);
    say("%s: %s, with the first SYN: %s", what, r ? ename(errno) : "connected", within(t, 0, 900));
    say_state("  after", s);
    say_error("  after", s);
    close(s);
    s = MUST(socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    r = connect_raw(s, ip, port);
    say("%s, non-blocking: %s", what, r ? ename(errno) : "connected");
    wait_events("  then", s, POLLOUT);
    say_error("  then", s);
    close(s);
}

int main(void)
{
    try("nobody there", "127.0.0.1", 9005);
    try("nobody there, IPv6", "::1", 9005);
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9005);
    MUST(bind(s, SA(a), sizeof a));
    try("bound", "127.0.0.1", 9005);
    MUST(listen(s, 5));
    try("listening", "127.0.0.1", 9005);
    try("listening on another address", "127.0.0.2", 9005);
    close(s);
    try("closed again", "127.0.0.1", 9005);
    return 0;
}
