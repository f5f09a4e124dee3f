/* Claim 21: TCP keeps a copy until it is acknowledged: Send-Q. Here the peer's window is full; claim21_silence loses segments. */
#include "probe.h"

int main(void)
{
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9021);
    set_int(l, SOL_SOCKET, SO_RCVBUF, 8192);
    MUST(bind(l, SA(a), sizeof a));
    MUST(listen(l, 1));
    int c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set_int(c, SOL_SOCKET, SO_SNDBUF, 65536);
    MUST(connect_raw(c, "127.0.0.1", 9021));
    int s = MUST(accept(l, NULL, NULL));
    OK(write(c, "small", 5));
    wait_acked(c);
    say("acknowledged at once: Send-Q %d, peer's Recv-Q %d", outq(c), inq(s));
    nonblocking(c);
    static unsigned char b[1 << 20], d[1 << 20];
    fill(b, sizeof b, 0);
    size_t sent = 0, got = 0;
    long n;
    for (size_t before = 1; sent != before; ms(60)) {
        before = sent;
        while ((n = write(c, b + sent, 4096)) > 0) sent += (size_t)n;
    }
    n = read(s, d, 5);
    for (int i = 0; i < 2000 && (size_t)(outq(c) + inq(s)) != sent; i++) ms(5);
    say("window full: Send-Q + Recv-Q is what was sent: %s, Send-Q not empty: %s, some of it never sent: %s",
        (size_t)(outq(c) + inq(s)) == sent ? "yes" : "no", outq(c) > 0 ? "yes" : "no", outq_unsent(c) > 0 ? "yes" : "no");
    struct row r[8];
    int k = table_read("/proc/net/tcp", 9021, r, 8);
    for (int i = 0; i < k; i++)
        if (r[i].state == S_ESTABLISHED && strstr(r[i].remote, ":9021")) say("netstat says the same: %s", (int)r[i].tx == outq(c) ? "yes" : "no");
    int before = outq(c);
    nonblocking(s);
    int steps = 0, shrinks = 1, last = before;
    while (got < sent && steps++ < 4000) {
        n = read(s, d + got, 3000);
        if (n > 0) got += (size_t)n;
        else ms(1);
        int now = outq(c);
        if (now > last) shrinks = 0;
        last = now;
    }
    wait_acked(c);
    say("after the peer read all: Send-Q %d, it only shrank: %s, the bytes are right: %s", outq(c), shrinks ? "yes" : "no",
        got == sent && fits(d, got, 0) ? "yes" : "no");
    return 0;
}
