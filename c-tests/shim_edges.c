/* Arguments at the edge of what is allowed, and sockets at the edge of being connected. */
#include "probe.h"

static volatile int pipes;
static void on_pipe(int n)
{
    (void)n;
    pipes++;
}

static void writes(const char *who, int s)
{
    struct iovec none[2] = {{"a", 0}, {NULL, 0}};
    struct msghdr m = {.msg_iov = none, .msg_iovlen = 2};
    volatile int least = -1;
    say("-- %s", who);
#define W(call) pipes = 0; R(call); say("SIGPIPE %d", pipes)
    W(writev(s, NULL, 0));
    W(writev(s, none, 2));
    W(writev(s, none, least));
    W(pwritev2(s, none, 2, -1, 0));
    W(write(s, "", 0));
    W(send(s, "", 0, 0));
    W(sendmsg(s, &m, 0));
}

static void shut(const char *name, int how)
{
    say("-- shutdown(%s) of a fresh socket", name);
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    R(shutdown(s, how));
    say_events("then", s);
    say_recv("then", s);
    say_send("then", s, "x");
    R(shutdown(s, how));
    close(s);
}

static void connected_after(const char *name, int how)
{
    int l = listener(9783), s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say("-- connected after shutdown(%s)", name);
    OK(shutdown(s, how));
    OK(connect_raw(s, "127.0.0.1", 9783));
    int a = MUST(accept(l, NULL, NULL));
    say_events("it", s);
    say_send("it", s, "x");
    say_send("the other", a, "y");
    ms(50);
    say_recv("it", s);
    say_recv("the other", a);
    OK(shutdown(s, SHUT_WR));
    await(a, POLLRDHUP, 2000);
    say_events("the other, after another shutdown", a);
    reset_close(s);
    reset_close(a);
    close(l);
}

int main(void)
{
    alarm(30);
    signal(SIGPIPE, on_pipe);
    struct pair p = pair_at(9780);
    volatile int least = -1, most = 0x7fffffff;
    struct epoll_event e[2], in = {EPOLLIN, {0}};

    say("-- epoll_wait for no events");
    int set = MUST(epoll_create1(0));
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, p.s, &in));
    R(epoll_wait(set, e, 0, -1));
    R(epoll_wait(set, e, least, -1));
    R(epoll_wait(set, e, most, -1));
    R(epoll_wait(set, e, 0, 0));
    MUST(write(p.c, "abc", 3));
    await(p.s, POLLIN, 2000);
    R(epoll_wait(set, e, 0, -1));
    R(epoll_wait(set, e, 2, -1));
    close(set);

    int fresh = MUST(socket(AF_INET, SOCK_STREAM, 0));
    writes("not connected", fresh);
    close(fresh);
    writes("connected", p.c);
    shutdown(p.c, SHUT_WR);
    writes("shut down", p.c);
    close_pair(p);

    shut("SHUT_RD", SHUT_RD);
    shut("SHUT_WR", SHUT_WR);
    shut("SHUT_RDWR", SHUT_RDWR);
    connected_after("SHUT_RD", SHUT_RD);
    connected_after("SHUT_WR", SHUT_WR);
    connected_after("SHUT_RDWR", SHUT_RDWR);

    say("-- listen after shutdown(SHUT_RDWR)");
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9784);
    set_int(s, SOL_SOCKET, SO_REUSEADDR, 1);
    MUST(bind(s, SA(a), sizeof a));
    OK(shutdown(s, SHUT_RDWR));
    OK(listen(s, 4));
    say_events("it", s);
    close(s);

    say("-- the FIN counts in SIOCOUTQ");
    p = pair_at(9781);
    MUST(set_int(p.c, SOL_SOCKET, SO_SNDBUF, 20000));
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVBUF, 4000));
    nonblocking(p.c);
    while (send_until_full(p.c, 65536) > 0) ms(20);
    int q = outq(p.c), u = outq_unsent(p.c);
    OK(shutdown(p.c, SHUT_WR));
    say("%d more, unsent %d more", outq(p.c) - q, outq_unsent(p.c) - u);
    MUST(set_int(p.s, SOL_SOCKET, SO_RCVBUF, 1 << 20));
    say("the rest is %s", drain(p.s) >= q ? "there" : "missing");
    for (int i = 0; i < 400 && outq(p.c); i++) ms(5);
    say("all acknowledged: %d, unsent %d", outq(p.c), outq_unsent(p.c));
    close_pair(p);
    return 0;
}
