/* How long things take on an impaired stack, or on one whose time goes faster.
 *
 *   impair_times echo [ROUNDS [PAUSE]]  round trips over 127.0.0.1, one a line, in microseconds,
 *                                       PAUSE milliseconds apart
 *   impair_times silent                 connects, sets SO_KEEPALIVE, prints "ready", and waits for
 *                                       data that never come; then the errno and the time
 *   impair_times limits                 poll and SO_RCVTIMEO of 200 ms each: how long they take
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    setvbuf(stdout, 0, _IOLBF, 0);
    int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(l, (void *)&a, sizeof a) || listen(l, 5) || getsockname(l, (void *)&a, &len))
        die("listen");
    int c = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c, (void *)&a, sizeof a)) die("connect");
    int s = accept(l, 0, 0);
    if (s < 0) die("accept");
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char byte = 'x';
    if (!strcmp(argv[1], "echo")) {
        int rounds = argc > 2 ? atoi(argv[2]) : 1, pause = argc > 3 ? atoi(argv[3]) : 0;
        for (int i = 0; i < rounds; i++) {
            long begin = now_us();
            if (send(c, &byte, 1, 0) != 1 || recv(s, &byte, 1, 0) != 1) die("there");
            if (send(s, &byte, 1, 0) != 1 || recv(c, &byte, 1, 0) != 1) die("and back");
            printf("%ld\n", now_us() - begin);
            usleep(pause * 1000);
        }
    } else if (!strcmp(argv[1], "silent")) {
        setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        puts("ready");
        long begin = now_us();
        ssize_t n = recv(c, &byte, 1, 0);
        printf("%s after %ld ms\n", n < 0 ? strerror(errno) : "data", (now_us() - begin) / 1000);
    } else {
        struct pollfd p = {.fd = c, .events = POLLIN};
        long begin = now_us();
        int n = poll(&p, 1, 200);
        printf("poll %d %ld ms\n", n, (now_us() - begin) / 1000);
        struct timeval limit = {0, 200000};
        setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        begin = now_us();
        n = recv(c, &byte, 1, 0);
        printf("recv %d %ld ms\n", n, (now_us() - begin) / 1000);
    }
    return 0;
}
