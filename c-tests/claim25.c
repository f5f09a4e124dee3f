/* Claim 25: data goes in packets of tens to thousands of bytes: MSS 1460 at MTU 1500 (1448 with timestamps).
 * With SINK=address, sends 100,000 bytes there; `claim25 sink [v6]` is the other end. */
#include "probe.h"

static void about(const char *who, int s)
{
    struct tcp_info i = info_of(s);
    say("%s: sends %u a segment, offers %u, path MTU %u, TCP_MAXSEG %d, cwnd %u", who, i.tcpi_snd_mss, i.tcpi_advmss, i.tcpi_pmtu,
        get_int(s, IPPROTO_TCP, TCP_MAXSEG), i.tcpi_snd_cwnd);
}

int main(int argc, char **argv)
{
    const char *sink = getenv("SINK");
    if (argc > 1 && !strcmp(argv[1], "sink")) {
        int l = listener_at("::", 9025, 5);
        say("ready");
        for (int i = 0; i < atoi(argc > 2 ? argv[2] : "1"); i++) {
            int s = MUST(accept(l, NULL, NULL));
            say("got %ld", drain(s));
            close(s);
        }
        return 0;
    }
    if (sink) {
        for (int small = 0; small < 2; small++) {
            static char b[100000];
            int c = MUST(socket(strchr(sink, ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
            if (small) OK(set_int(c, IPPROTO_TCP, TCP_MAXSEG, 600));
            OK(connect_raw(c, sink, 9025));
            about("client", c);
            R(send(c, b, sizeof b, 0));
            wait_acked(c);
            struct tcp_info i = info_of(c);
            say("segments with data: %s, all acknowledged: %s", i.tcpi_data_segs_out >= sizeof b / i.tcpi_snd_mss ? "as many as needed" : "too few",
                outq(c) == 0 ? "yes" : "no");
            shutdown(c, SHUT_WR);
            say("then %ld", drain(c));
            close(c);
        }
        return 0;
    }
    static const int sizes[] = {0, 87, 88, 536, 1000, 32767, 32768};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int l = listener(9025), c = MUST(socket(AF_INET, SOCK_STREAM, 0));
        if (sizes[i]) say("TCP_MAXSEG %d: %s", sizes[i], set_int(c, IPPROTO_TCP, TCP_MAXSEG, sizes[i]) ? ename(errno) : "ok");
        say("before: %d", get_int(c, IPPROTO_TCP, TCP_MAXSEG));
        MUST(connect_raw(c, "127.0.0.1", 9025));
        int s = MUST(accept(l, NULL, NULL));
        about("client", c);
        about("server", s);
        static char b[20000];
        R(send(c, b, sizeof b, 0));
        R(recv(s, b, sizeof b, MSG_WAITALL));
        reset_close(c);
        close(s);
        close(l);
    }
    return 0;
}
