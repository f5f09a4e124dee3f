/* How many of a burst of datagrams to a port that nobody has are answered (icmp_ratelimit). With an address the
 * sender; without, a program on the host that answers: it waits for the sender to be done. */
#include "probe.h"
#include <linux/errqueue.h>

#define BURST 12

int main(int argc, char **argv)
{
    if (argc < 2) {
        /* Both sides' hosts begin with Linux's own limit. */
        int f = MUST(open("/proc/sys/net/ipv4/icmp_ratelimit", O_WRONLY));
        MUST(write(f, "1000", 4));
        close(f);
        int l = listener_at("0.0.0.0", 9160, 5);
        say("ready");
        close(MUST(accept(l, NULL, NULL)));
        return 0;
    }
    const char *to = argv[1];
    struct sockaddr_in a = in4(to, 9161);
    int u = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)), answers = 0;
    set_int(u, SOL_IP, IP_RECVERR, 1);
    /* A lone byte each; errors of earlier ones come back from sendto and are in the queue, too. */
    for (int i = 0; i < BURST; i++) {
        while (sendto(u, "x", 1, 0, SA(a), sizeof a) < 0 && errno == ECONNREFUSED) {}
        ms(2);
    }
    ms(400);
    for (;;) {
        char buf[64], control[512];
        struct iovec io = {buf, sizeof buf};
        struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        if (recvmsg(u, &m, MSG_ERRQUEUE) < 0) break;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
            struct sock_extended_err *e = (void *)CMSG_DATA(c);
            if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) answers += e->ee_origin == SO_EE_ORIGIN_ICMP && e->ee_type == 3 && e->ee_code == 3;
        }
    }
    say("%d of %d answered", answers, BURST);
    int c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in l = in4(to, 9160);
    MUST(connect(c, SA(l), sizeof l));
    close(c);
    return 0;
}
