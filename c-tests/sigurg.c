/* SIGURG: to whom the socket belongs, each time urgent data is announced. */
#include "probe.h"

static volatile sig_atomic_t urgent, other;

static void on_urgent(int n)
{
    (void)n;
    urgent++;
}

static void on_other(int n)
{
    (void)n;
    other++;
}

static void expect(const char *what, int want)
{
    for (int i = 0; i < 2000 && urgent < want; i++) usleep(5000);
    /* No more than that. */
    usleep(20000);
    say("%s: %d", what, urgent);
}

/* RFC 9293 MUST-32 */
int main(int argc, char **argv)
{
    struct sockaddr_in a = in4("127.0.0.1", argc > 1 ? atoi(argv[1]) : 9300);
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0)), c = MUST(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
    char buf[16];
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    MUST(bind(l, SA(a), sizeof a));
    MUST(listen(l, 1));
    MUST(connect(c, SA(a), sizeof a));
    int s = MUST(accept(l, NULL, NULL));
    signal(SIGURG, on_urgent);
    signal(SIGUSR1, on_other);

    say("owner %d", fcntl(s, F_GETOWN));
    OK(send(c, "ab", 2, MSG_OOB));
    usleep(50000);
    say("nobody's: %d", urgent);
    OK(recv(s, buf, 1, MSG_OOB));
    OK(recv(s, buf, 16, 0));

    OK(fcntl(s, F_SETOWN, getpid()));
    say("owner %s", fcntl(s, F_GETOWN) == getpid() ? "this process" : "another");
    OK(send(c, "cd", 2, MSG_OOB));
    expect("announced", 1);
    OK(recv(s, buf, 1, MSG_OOB));
    OK(recv(s, buf, 16, 0));
    OK(send(c, "ordinary", 8, 0));
    usleep(20000);
    say("ordinary data: %d", urgent);
    OK(recv(s, buf, 16, 0));
    OK(send(c, "ef", 2, MSG_OOB));
    expect("announced again", 2);
    /* It is SIGURG whatever F_SETSIG says, and to a group as well. */
    OK(recv(s, buf, 1, MSG_OOB));
    OK(recv(s, buf, 16, 0));
    OK(fcntl(s, F_SETSIG, SIGUSR1));
    int group = -getpgrp();
    OK(ioctl(s, SIOCSPGRP, &group));
    OK(send(c, "g", 1, MSG_OOB));
    expect("to the group", 3);
    say("SIGUSR1 %d", other);
    /* Nobody again. */
    OK(recv(s, buf, 1, MSG_OOB));
    OK(fcntl(s, F_SETOWN, 0));
    OK(send(c, "h", 1, MSG_OOB));
    usleep(50000);
    say("nobody's: %d", urgent);
    return 0;
}
