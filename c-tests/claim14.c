/* Claim 14: the listener carries no data: recv gives ENOTCONN, send EPIPE (with SIGPIPE). */
#include "probe.h"

static volatile int pipes;
static void on_pipe(int sig) { (void)sig; pipes++; }

int main(void)
{
    int l = listener(9014), c = dial(9014);
    char b[8];
    struct iovec v = {b, 8};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    struct sockaddr_in a = in4("127.0.0.1", 9014);
    signal(SIGPIPE, on_pipe);
    MUST(write(c, "data", 4));
    ms(20);
    R(recv(l, b, 8, 0));
    R(recv(l, b, 8, MSG_PEEK | MSG_DONTWAIT));
    R(recv(l, b, 8, MSG_OOB));
    R(read(l, b, 8));
    R(recvmsg(l, &m, 0));
    R(send(l, b, 8, MSG_NOSIGNAL));
    say("SIGPIPE came %d times", pipes);
    R(send(l, b, 8, 0));
    say("SIGPIPE came %d times", pipes);
    R(write(l, b, 8));
    R(writev(l, &v, 1));
    R(sendmsg(l, &m, 0));
    R(sendto(l, b, 8, 0, SA(a), sizeof a));
    say("SIGPIPE came %d times", pipes);
    say_peer("listener", l);
    say_error("listener", l);
    OK(connect(l, SA(a), sizeof a));
    OK(ioctl(l, FIONREAD, b));
    int s = MUST(accept(l, NULL, NULL));
    R(read(s, b, 8));
    return 0;
}
