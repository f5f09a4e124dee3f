/* What the load programs share: options, time, sockets, the line they report.
 *
 * They are ordinary programs with blocking sockets. Nothing here knows which stack carries
 * the traffic. */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *connect; /* -c ADDR: connect there; otherwise listen */
    const char *cc;      /* -C NAME: the kernel's congestion control */
    int port;            /* -p PORT */
    size_t size;         /* -w BYTES of one write or read */
    double seconds;      /* -t SECONDS to run */
    uint64_t count;      /* -n COUNT of bytes, rounds or connections at most; 0: no bound */
} opt = {.port = 5001, .size = 65536, .seconds = 1};

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline void options(int argc, char **argv) {
    int c;
    while ((c = getopt(argc, argv, "c:C:p:w:t:n:")) != -1) {
        switch (c) {
        case 'c': opt.connect = optarg; break;
        case 'C': opt.cc = optarg; break;
        case 'p': opt.port = atoi(optarg); break;
        case 'w': opt.size = strtoul(optarg, NULL, 10); break;
        case 't': opt.seconds = atof(optarg); break;
        case 'n': opt.count = strtoull(optarg, NULL, 10); break;
        default: exit(2);
        }
    }
    signal(SIGPIPE, SIG_IGN);
}

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline int new_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) die("socket");
    if (opt.cc && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, opt.cc, strlen(opt.cc)) < 0)
        die("TCP_CONGESTION");
    return fd;
}

static inline void nodelay(int fd) {
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) die("TCP_NODELAY");
}

static inline struct sockaddr_in address(const char *text) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
    if (text && inet_pton(AF_INET, text, &a.sin_addr) != 1) die("address");
    return a;
}

/* Listens on every address, and says so on standard output once a connection would succeed. */
static inline int listener(void) {
    struct sockaddr_in a = address(NULL);
    int on = 1, fd = new_socket();
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) die("bind");
    if (listen(fd, 128) < 0) die("listen");
    puts("ready");
    fflush(stdout);
    return fd;
}

static inline int accepted(int from) {
    int fd = accept(from, NULL, NULL);
    if (fd < 0) die("accept");
    return fd;
}

static inline int connected(void) {
    struct sockaddr_in a = address(opt.connect);
    int fd = new_socket();
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) die("connect");
    return fd;
}

/* Ends the report line, begun by the caller with its own fields, with what the run cost. */
static inline void end_report(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf(" user_us=%ld sys_us=%ld switches=%ld preempted=%ld\n",
           u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec,
           u.ru_stime.tv_sec * 1000000 + u.ru_stime.tv_usec, u.ru_nvcsw, u.ru_nivcsw);
    fflush(stdout);
}

/* Durations in ns, at most MAX_SAMPLES of them, reported as mean, median and 99th percentile. */
#define MAX_SAMPLES (1u << 21)
static uint32_t *samples;
static uint64_t taken;

static inline void sample(uint64_t ns) {
    if (!samples && !(samples = malloc(MAX_SAMPLES * sizeof *samples))) die("malloc");
    if (taken < MAX_SAMPLES) samples[taken] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
    taken++;
}

static inline int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static inline void report_samples(double seconds) {
    size_t n = taken < MAX_SAMPLES ? taken : MAX_SAMPLES;
    if (n == 0) {
        fprintf(stderr, "no round was completed\n");
        exit(1);
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += samples[i];
    qsort(samples, n, sizeof *samples, ascending);
    printf("rounds=%llu seconds=%.6f mean_ns=%.0f min_ns=%u median_ns=%u p99_ns=%u",
           (unsigned long long)taken, seconds, sum / n, samples[0], samples[n / 2],
           samples[n - 1 - n / 100]);
    end_report();
}

#endif
