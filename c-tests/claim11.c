/* Claim 11: each SYN carries an initial sequence number, which is random; a reused port takes no old segment.
 * The numbers are compared by the harness, which sees the segments: 20 connections from one address and port in turn, then 20 from
 * ports of the system's choice. `claim11 serve` and `claim11 visit ADDRESS` do it between two hosts; `claim11 lives` does it on one,
 * and without arguments, lives follow on a TIME_WAIT as well. */
#include "probe.h"

#define LIVES 20

static int life(const char *ip, int reuse, int n)
{
    int c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("0.0.0.0", 9111);
    char text[16];
    if (reuse) {
        set_int(c, SOL_SOCKET, SO_REUSEADDR, 1);
        MUST(bind(c, SA(a), sizeof a));
    }
    MUST(connect_raw(c, ip, 9011));
    snprintf(text, sizeof text, "life %d", n);
    MUST(write(c, text, strlen(text)));
    return c;
}
/* Accepts one and checks that it brings the bytes of this life alone. */
static int serve(int l, int n)
{
    char b[64] = "", want[16];
    int s = MUST(accept(l, NULL, NULL));
    long k = read(s, b, sizeof b);
    snprintf(want, sizeof want, "life %d", n);
    if (k != (long)strlen(want) || memcmp(b, want, (size_t)k)) say("got something else: %.*s", (int)k, b);
    return s;
}

/* The server closes first. In its TIME_WAIT, and without timestamps to go by, a SYN is taken at once only if its number is above
 * all of the old life's; if not, it is answered by an ACK of the old life, and the client must send its SYN again. */
static void after_time_wait(void)
{
    FILE *f = fopen("/proc/sys/net/ipv4/tcp_timestamps", "w");
    if (!f || fprintf(f, "0\n") < 0 || fclose(f)) say("can't set tcp_timestamps: %s", ename(errno));
    int l = listener(9011), late = 0;
    for (int i = 0; i < 6; i++) {
        int c = life("127.0.0.1", 1, i), s = serve(l, i);
        late += info_of(c).tcpi_total_retrans > 0;
        close(s);
        await(c, POLLRDHUP, 10000);
        close(c);
        if (wait_rows(9111, S_TIME_WAIT, 1) != 1) say("no TIME_WAIT after life %d", i);
    }
    say("6 lives, each but the first in the last one's TIME_WAIT: %d SYNs were not taken at once", late);
}

int main(int argc, char **argv)
{
    const char *role = argc > 1 ? argv[1] : "both";
    if (!strcmp(role, "serve")) {
        int l = listener_at("0.0.0.0", 9011, 50);
        char b[8];
        say("ready");
        for (int i = 0; i < 2 * LIVES; i++) {
            int s = serve(l, i);
            MUST(write(s, "ok", 2));
            if (read(s, b, sizeof b) <= 0) close(s);
        }
    } else if (!strcmp(role, "visit")) {
        for (int i = 0; i < 2 * LIVES; i++) {
            char b[4];
            int c = life(argv[2], i < LIVES, i);
            MUST(read(c, b, 2));
            reset_close(c);
        }
    } else {
        int l = listener(9011);
        for (int i = 0; i < 2 * LIVES; i++) {
            int c = life("127.0.0.1", i < LIVES, i), s = serve(l, i);
            reset_close(c);
            close(s);
        }
        close(l);
        if (!strcmp(role, "both")) after_time_wait();
    }
    say("%d lives of one pair of ports, %d of others, each with its own bytes alone", LIVES, LIVES);
    return 0;
}
