/* Claim 24: ordered, reliable, no duplicates, flow control: 4 MiB both ways at once, in uneven pieces, past a reader that pauses. */
#include "probe.h"

#define TOTAL (4u << 20)
static unsigned rnd(unsigned *s) { *s = *s * 1103515245u + 12345u; return *s >> 8; }

/* Sends and receives at once; says what arrived. */
static void both(const char *who, int fd, unsigned seed, size_t in_base, size_t out_base, int slow)
{
    static unsigned char b[70000];
    size_t in = 0, out = 0;
    int wrong = 0, done = 0, pauses = 0;
    nonblocking(fd);
    while (!done || out < TOTAL) {
        struct pollfd p = {fd, (short)((done ? 0 : POLLIN) | (out < TOTAL ? POLLOUT : 0)), 0};
        if (poll(&p, 1, 20000) < 1) {
            say("%s: stuck at %zu in, %zu out", who, in, out);
            return;
        }
        if (p.revents & POLLIN) {
            long n = read(fd, b, 1 + rnd(&seed) % 60000);
            if (n < 0 && errno != EAGAIN) { say("%s: read %s", who, ename(errno)); return; }
            if (n == 0) done = 1;
            if (n > 0) {
                wrong += !fits(b, (size_t)n, in_base + in);
                in += (size_t)n;
            }
            if (slow && ++pauses % 20 == 0) ms(10);
        }
        if (p.revents & POLLOUT && out < TOTAL) {
            size_t n = 1 + rnd(&seed) % 60000;
            if (n > TOTAL - out) n = TOTAL - out;
            fill(b, n, out_base + out);
            long k = write(fd, b, n);
            if (k < 0 && errno != EAGAIN) { say("%s: write %s", who, ename(errno)); return; }
            if (k > 0) out += (size_t)k;
            if (out == TOTAL) MUST(shutdown(fd, SHUT_WR));
        }
    }
    say("%s: %zu in, wrong pieces %d, then end of file", who, in, wrong);
}

/* Flow control: a reader that pauses gets no more than its buffer holds, however much is sent. */
static void paused(void)
{
    static unsigned char b[200 * 4096];
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0)), c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9124);
    set_int(l, SOL_SOCKET, SO_RCVBUF, 16384);
    set_int(c, SOL_SOCKET, SO_SNDBUF, 16384);
    MUST(bind(l, SA(a), sizeof a));
    MUST(listen(l, 1));
    MUST(connect_raw(c, "127.0.0.1", 9124));
    int s = MUST(accept(l, NULL, NULL));
    fill(b, sizeof b, 0);
    size_t out = 0, in = 0;
    for (int i = 0; i < 200; i++) {
        long n = send(c, b + out, 4096, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) out += (size_t)n;
        else ms(1);
    }
    ms(60);
    say("a reader that pauses: its queue is within SO_RCVBUF: %s, the sender is stopped: %s", inq(s) <= get_int(s, SOL_SOCKET, SO_RCVBUF) ? "yes" : "no",
        out < sizeof b ? "yes" : "no");
    shutdown(c, SHUT_WR);
    static unsigned char got[sizeof b];
    long n;
    while ((n = recv(s, got + in, sizeof got - in, 0)) > 0) in += (size_t)n;
    say("then it reads all: %s, the same bytes: %s", in == out ? "yes" : "no", fits(got, in, 0) ? "yes" : "no");
    close(c);
    close(s);
    close(l);
}

int main(void)
{
    struct pair p = pair_at(9024);
    pid_t pid;
    int order[2];
    MUST(pipe(order));
    if (child(&pid)) {
        char x;
        close(p.s);
        close(p.l);
        close(order[1]);
        fflush(stdout);
        FILE *real = stdout;
        char *text = NULL;
        size_t n = 0;
        stdout = open_memstream(&text, &n);
        both("client", p.c, 7, 1000003, 0, 0);
        fclose(stdout);
        stdout = real;
        if (read(order[0], &x, 1)) {} /* the server's line comes first */
        fputs(text, stdout);
        fflush(stdout);
        _exit(0);
    }
    close(p.c);
    both("server", p.s, 11, 0, 1000003, 1);
    close(order[1]);
    close(order[0]);
    say_exit("client", pid);
    paused();
    return 0;
}
