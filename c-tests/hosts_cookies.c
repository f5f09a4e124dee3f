/* SYN cookies (RFC 4987, section 3.6): `hosts_cookies peer` opens more handshakes by hand than the listener's queue holds, then
 * completes them; without arguments, the program with the listener. */
#include "raw.h"

#define COUNT 6

static const unsigned char RICH[] = {2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 100, 0, 0, 0, 0, 1, 3, 3, 7};
static const unsigned char PLAIN[] = {2, 4, 3, 232};

/* Says which handshakes are remembered: their SYN+ACKs come again after a second. */
static void repeated(int port)
{
    char which[COUNT * 2 + 1] = "";
    int again[COUNT] = {0};
    for (long end = now_ms() + 1900; now_ms() < end;) {
        unsigned char b[256];
        long n = recv(raw_in, b, sizeof b, 0);
        if (n < 40) {
            await(raw_in, POLLIN, (int)(end - now_ms()));
            continue;
        }
        unsigned char *t = b + (b[0] & 15) * 4;
        int i = (t[2] << 8 | t[3]) - (39000 + port);
        if ((t[0] << 8 | t[1]) == port && i >= 0 && i < COUNT && t[13] == (F_SYN | F_ACK)) again[i] = 1;
    }
    for (int i = 0; i < COUNT; i++) strcat(which, again[i] ? (char[]){' ', (char)('1' + i), 0} : "");
    say("SYN+ACKs that came again:%s", which);
}

static void peer(int rich, int port)
{
    uint32_t isns[COUNT], theirs[COUNT], stamps[COUNT];
    char what[64];
    say("-- %s", rich ? "SYNs with all options" : "SYNs with an MSS of 1000 only");
    for (int i = 0; i < COUNT; i++) {
        raw_pair(39000 + port + i, port, 0x10000000u * (uint32_t)(i + 1));
        raw_send(F_SYN, 0, 0, 65535, rich ? RICH : PLAIN, rich ? sizeof RICH : sizeof PLAIN, NULL);
        snprintf(what, sizeof what, "SYN %d", i + 1);
        say_seg(what, 500);
        isns[i] = iss;
        theirs[i] = irs;
        stamps[i] = their_ts;
    }
    repeated(port);
    for (int i = 0; i < COUNT; i++) {
        unsigned char ts[12] = {1, 1, 8, 10};
        raw_sport = (uint16_t)(39000 + port + i);
        iss = isns[i];
        irs = theirs[i];
        relative = 1;
        put32(ts + 4, 2000);
        put32(ts + 8, stamps[i]);
        if (i == 3) {
            raw_send(F_ACK, 1, 100, 65535, ts, rich ? 12 : 0, NULL);
            say_seg("an ACK with another number", 100);
        }
        raw_pair(39000 + port + i, port, isns[i]);
        irs = theirs[i];
        relative = 1;
        raw_send(F_ACK | F_PSH, 1, 1, i ? 4000 : 1000, ts, rich ? 12 : 0, "hello");
        snprintf(what, sizeof what, "ACK %d with data", i + 1);
        say_seg(what, 300);
        say_seg("  then", 700);
        raw_send(F_RST, 6, 0, 0, ts, rich ? 12 : 0, NULL);
    }
}

static void serve(int l)
{
    char b[64];
    for (int i = 0; i < COUNT; i++) {
        int s = accept(l, NULL, NULL);
        long n = read(s, b, sizeof b - 1);
        b[n > 0 ? n : 0] = 0;
        struct tcp_info t = info_of(s);
        int mss = 0;
        socklen_t len = sizeof mss;
        MUST(getsockopt(s, IPPROTO_TCP, TCP_MAXSEG, &mss, &len));
        say("accepted: %s, timestamps %d sack %d wscale %d (%d), mss %d, read %s", state_name(t.tcpi_state), t.tcpi_options & TCPI_OPT_TIMESTAMPS ? 1 : 0,
            t.tcpi_options & TCPI_OPT_SACK ? 1 : 0, t.tcpi_options & TCPI_OPT_WSCALE ? 1 : 0, t.tcpi_snd_wscale, mss, n < 0 ? ename(errno) : b);
        MUST(write(s, "heard", 5));
        await(s, POLLERR, 5000);
        say_recv("  at the end", s);
        close(s);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "peer")) {
        raw_open();
        ms(1000); /* until the other side listens */
        peer(1, 9101);
        peer(0, 9102);
        return 0;
    }
    int rich = listener_at("0.0.0.0", 9101, 2), plain = listener_at("0.0.0.0", 9102, 2);
    say("ready");
    serve(rich);
    serve(plain);
    return 0;
}
