/* A transfer whose every byte is checked, in both directions at once.
 *
 *   impair_transfer both|server|client ADDRESS PORT BYTES [ALGORITHM] [slow]
 *
 * with that congestion control. Who is slow rests for 50 ms whenever it has read 256 KiB.
 * "both" does it within one process, over 127.0.0.1. Prints what differs, else "whole", and how
 * many segments TCP sent again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *address;
static int port;
static size_t total;
static const char *algorithm;
static int slow;

static void die(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static unsigned char byte_at(size_t i, int way) {
    return (unsigned char)((i * 2654435761u >> 13) + i / 255 + way);
}

struct job {
    int fd, way;
};

static void *sender(void *arg) {
    struct job *job = arg;
    unsigned char buf[30000];
    for (size_t at = 0; at < total;) {
        size_t n = sizeof buf < total - at ? sizeof buf : total - at;
        for (size_t i = 0; i < n; i++) buf[i] = byte_at(at + i, job->way);
        ssize_t sent = send(job->fd, buf, n, 0);
        if (sent < 0) die("send");
        at += sent;
    }
    if (shutdown(job->fd, SHUT_WR)) die("shutdown");
    return 0;
}

static void receive(int fd, int way) {
    static __thread unsigned char buf[50000];
    size_t at = 0;
    for (;;) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        if (n < 0) die("recv");
        if (n == 0) break;
        if (slow && at / 262144 != (at + n) / 262144) usleep(50000);
        for (ssize_t i = 0; i < n; i++, at++)
            if (buf[i] != byte_at(at, way)) {
                printf("byte %zu differs\n", at);
                exit(1);
            }
    }
    if (at != total) {
        printf("%zu bytes of %zu\n", at, total);
        exit(1);
    }
}

static unsigned transfer(int fd, int way) {
    struct job job = {fd, way};
    if (algorithm && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, algorithm, strlen(algorithm))) die(algorithm);
    pthread_t t;
    pthread_create(&t, 0, sender, &job);
    receive(fd, !way);
    pthread_join(t, 0);
    struct tcp_info info;
    socklen_t len = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len)) die("TCP_INFO");
    close(fd);
    return info.tcpi_total_retrans;
}

static struct sockaddr_in to(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &a.sin_addr);
    return a;
}

static int listener(void) {
    int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in a = to();
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(l, (void *)&a, sizeof a) || listen(l, 5)) die("listen");
    return l;
}

static void *serve(void *l) {
    int s = accept(*(int *)l, 0, 0);
    if (s < 0) die("accept");
    return (void *)(uintptr_t)transfer(s, 0);
}

static unsigned client(void) {
    int c = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = to();
    if (connect(c, (void *)&a, sizeof a)) die("connect");
    return transfer(c, 1);
}

int main(int argc, char **argv) {
    if (argc < 5 || argc > 7) return 2;
    algorithm = argc > 5 ? argv[5] : 0;
    slow = argc > 6;
    setvbuf(stdout, 0, _IOLBF, 0);
    address = argv[2];
    port = atoi(argv[3]);
    total = atoll(argv[4]);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    unsigned again = 0;
    if (argv[1][0] == 'c') {
        again = client();
    } else {
        int l = listener();
        puts("ready");
        if (argv[1][0] == 's') {
            again = (unsigned)(uintptr_t)serve(&l);
        } else {
            pthread_t t;
            void *more;
            pthread_create(&t, 0, serve, &l);
            again = client();
            pthread_join(t, &more);
            again += (unsigned)(uintptr_t)more;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double took = (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("whole, %u segments sent again, %.3f s\n", again, took);
    return 0;
}
