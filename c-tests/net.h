/* What the programs share: opening by name, whole writes. */
#ifndef NET_H
#define NET_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED static __attribute__((unused))

UNUSED void die(const char *what)
{
    perror(what);
    exit(1);
}
/* A listening socket at the address ("-" for any, IPv6 and IPv4) and port. */
UNUSED int serve_at(const char *host, const char *port, int backlog)
{
    struct addrinfo hint = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *res, *r;
    int e = strcmp(host, "-") ? getaddrinfo(host, port, &hint, &res) : (hint.ai_family = AF_INET6, getaddrinfo(NULL, port, &hint, &res));
    int s = -1, on = 1;
    if (e) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(e));
        exit(1);
    }
    for (r = res; r; r = r->ai_next) {
        s = socket(r->ai_family, r->ai_socktype, r->ai_protocol);
        if (s < 0) continue;
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (!bind(s, r->ai_addr, r->ai_addrlen) && !listen(s, backlog)) break;
        close(s);
        s = -1;
    }
    freeaddrinfo(res);
    if (s < 0) die("can't listen");
    return s;
}
/* A connected socket: every address of the name is tried in turn. */
UNUSED int connect_to(const char *host, const char *port)
{
    struct addrinfo hint = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *res, *r;
    int e = getaddrinfo(host, port, &hint, &res), s = -1;
    if (e) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(e));
        exit(1);
    }
    for (r = res; r; r = r->ai_next) {
        s = socket(r->ai_family, r->ai_socktype, r->ai_protocol);
        if (s < 0) continue;
        if (!connect(s, r->ai_addr, r->ai_addrlen)) break;
        close(s);
        s = -1;
    }
    freeaddrinfo(res);
    if (s < 0) die("can't connect");
    return s;
}
UNUSED void write_all(int fd, const void *p, size_t n)
{
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) die("write");
        p = (const char *)p + k;
        n -= (size_t)k;
    }
}
/* Echoes until the end of file; how many bytes. */
UNUSED long echo(int fd)
{
    char b[4096];
    long sum = 0;
    ssize_t n;
    while ((n = read(fd, b, sizeof b)) > 0 || (n < 0 && errno == EINTR)) {
        if (n < 0) continue;
        write_all(fd, b, (size_t)n);
        sum += n;
    }
    return sum;
}
#endif
