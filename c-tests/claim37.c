/* Claim 37: the calls that a Java server and client make on localhost:8080 (the programs themselves are in java/):
 * AF_INET6 sockets with V6ONLY off, [::]:8080 and ::ffff:127.0.0.1. */
#include "probe.h"

static int six(void)
{
    int s = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    OK(set_int(s, IPPROTO_IPV6, IPV6_V6ONLY, 0));
    return s;
}

int main(void)
{
    int l = six();
    struct sockaddr_in6 any = in6("::", 8080), host = in6("::ffff:127.0.0.1", 8080), a;
    socklen_t n;
    OK(set_int(l, SOL_SOCKET, SO_REUSEADDR, 1));
    OK(bind(l, SA(any), sizeof any));
    OK(listen(l, 50));
    say_name("server", l);
    say_table("table", 8080);
    pid_t pid;
    if (child(&pid)) {
        int c = six();
        OK(connect(c, SA(host), sizeof host));
        say_name("client", c);
        say_peer("client", c);
        OK(set_int(c, IPPROTO_TCP, TCP_NODELAY, 1));
        R(send(c, "Hello Server\n", 13, 0));
        char b[64] = "";
        R(recv(c, b, sizeof b, 0));
        say("Server: %.*s", (int)strcspn(b, "\n"), b);
        OK(shutdown(c, SHUT_RDWR));
        OK(close(c));
        exit(0);
    }
    n = sizeof a;
    fcntl(l, F_SETFL, fcntl(l, F_GETFL) | O_NONBLOCK);
    struct pollfd p = {l, POLLIN | POLLERR, 0};
    int r = poll(&p, 1, -1);
    int s = MUST(accept(l, SA(a), &n));
    char b[64] = "";
    long k = recv(s, b, sizeof b, 0);
    ms(100);
    MUST(send(s, "Hello Client\n", 13, 0));
    say_exit("client", pid);
    say("poll %d %s", r, events_name(p.revents));
    say("Client: %ld %.*s", k, (int)strcspn(b, "\n"), b);
    say_name("accepted", s);
    say_peer("accepted", s);
    await(s, POLLIN, 10000);
    say_recv("accepted", s);
    close(s);
    say("the same with an AF_INET client");
    int c = dial(8080);
    s = MUST(accept(l, SA(a), &n));
    say_peer("accepted", s);
    say("V6ONLY on once bound: %s", set_int(l, IPPROTO_IPV6, IPV6_V6ONLY, 1) ? ename(errno) : "ok");
    close(c);
    return 0;
}
