/* udp_echo_client PORT TEXT TRIES: sends, waits with SIGALRM for the answer, repeats. */
#include "net.h"

static volatile sig_atomic_t rang;
static void on_alarm(int sig) { (void)sig; rang++; }

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    int s = socket(AF_INET, SOCK_DGRAM, 0), tries = atoi(argv[3]);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    struct sigaction act = {.sa_handler = on_alarm}; /* no SA_RESTART */
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sigaction(SIGALRM, &act, NULL);
    for (int i = 1; i <= tries; i++) {
        char b[2048];
        struct itimerval t = {{0, 0}, {0, 200000}}, off = {{0, 0}, {0, 0}};
        sendto(s, argv[2], strlen(argv[2]), 0, (struct sockaddr *)&a, sizeof a);
        setitimer(ITIMER_REAL, &t, NULL);
        ssize_t n = recvfrom(s, b, sizeof b, 0, NULL, NULL);
        int e = errno;
        setitimer(ITIMER_REAL, &off, NULL);
        if (n >= 0) {
            printf("try %d: %.*s\n", i, (int)n, b);
            return 0;
        }
        printf("try %d: %s\n", i, e == EINTR ? "no answer" : strerror(e));
    }
    return 1;
}
