/* deadlock PORT: two ends that both send without reading fill both buffers and wait for each other; a timeout shows it, and reading
 * on one side ends it. The ends are two processes. */
#include "net.h"

static long send_all(const char *who, int s, size_t total)
{
    static char b[65536];
    size_t sent = 0;
    while (sent < total) {
        ssize_t n = send(s, b, total - sent < sizeof b ? total - sent : sizeof b, MSG_NOSIGNAL);
        if (n < 0) {
            printf("%s: send stopped: %s\n", who, errno == EAGAIN ? "timeout" : strerror(errno));
            fflush(stdout);
            break;
        }
        sent += (size_t)n;
    }
    return (long)sent;
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    int l = serve_at("127.0.0.1", argv[1], 1), size = 20000, turn[2];
    size_t total = 4000000;
    struct timeval tv = {0, 400000};
    static char b[65536];
    ssize_t n;
    if (pipe(turn)) die("pipe");
    setsockopt(l, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(l, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        close(l);
        int c = connect_to("127.0.0.1", argv[1]);
        setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
        long sent = send_all("client", c, total), got = 0;
        if (write(turn[1], "x", 1) != 1) _exit(1);
        printf("client: stopped before the end: %s\n", sent < (long)total ? "yes" : "no");
        fflush(stdout);
        shutdown(c, SHUT_WR);
        while ((n = read(c, b, sizeof b)) > 0) got += n;
        printf("client: read %ld\n", got);
        fflush(stdout);
        _exit(0);
    }
    int s = accept(l, NULL, NULL);
    if (s < 0) die("accept");
    /* Blocks until the client gives up and reads. */
    static char out[65536];
    size_t sent = 0;
    while (sent < total) {
        n = send(s, out, total - sent < sizeof out ? total - sent : sizeof out, MSG_NOSIGNAL);
        if (n < 0) die("send");
        sent += (size_t)n;
    }
    shutdown(s, SHUT_WR);
    int st;
    waitpid(pid, &st, 0);
    long got = 0;
    while ((n = read(s, b, sizeof b)) > 0) got += n;
    printf("server: sent %zu; what the client had sent before it stopped arrived: %s\n", sent, got > 0 ? "yes" : "no");
    printf("client's status %d\n", WEXITSTATUS(st));
    return 0;
}
