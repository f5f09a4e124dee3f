/* Claims 9 and 12 and the RST rules, seen from the wire: `hosts_raw peer` sends segments made by hand and prints the answers;
 * without arguments, the program under test, whose lines show what it noticed. */
#include "raw.h"

static const unsigned char SYN_OPT[] = {2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 100, 0, 0, 0, 0, 1, 3, 3, 7};
static const unsigned char MSS_ONLY[] = {2, 4, 5, 180};

/* A connection without options but the MSS, established. */
static void shake(int port)
{
    static int sport = 40000;
    raw_pair(sport++, port, 1000000);
    raw_send(F_SYN, 0, 0, 65535, MSS_ONLY, 4, NULL);
    say_seg("  SYN", 500);
    raw_send(F_ACK, 1, 1, 65535, NULL, 0, NULL);
}

static void closed_port(void)
{
    static const struct { const char *name; int flags; uint32_t seq, ack; const char *data; } t[] = {
        {"SYN", F_SYN, 0, 0, NULL}, {"SYN with data", F_SYN, 0, 0, "abc"}, {"ACK", F_ACK, 5, 777, NULL}, {"SYN+ACK", F_SYN | F_ACK, 5, 777, NULL},
        {"FIN", F_FIN, 5, 0, NULL}, {"FIN+ACK", F_FIN | F_ACK, 5, 777, "xy"}, {"data without ACK", F_PSH, 5, 0, "data"}, {"no flags", 0, 5, 0, NULL},
        {"RST", F_RST, 5, 0, NULL}, {"RST+ACK", F_RST | F_ACK, 5, 777, NULL}, {"SYN+FIN", F_SYN | F_FIN, 0, 0, NULL}, {"URG PSH FIN", F_URG | F_PSH | F_FIN, 0, 0, NULL}};
    for (int port = 9098; port <= 9099; port++) {
        say(port == 9098 ? "-- to a closed port" : "-- to a listener");
        for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
            raw_pair(41000 + (int)i, port, 5000);
            raw_send(t[i].flags, t[i].seq, t[i].ack, 1000, NULL, 0, t[i].data);
            int f = say_seg(t[i].name, 150);
            if (f == (F_SYN | F_ACK)) raw_send(F_RST, 1, 0, 0, NULL, 0, NULL);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "peer")) {
        unsigned char ts[12] = {1, 1, 8, 10};
        raw_open();
        ms(1000); /* until the other side listens */
        say("-- SYN_RCVD (9, 12)");
        raw_pair(39000, 9090, 0x10000000);
        raw_send(F_SYN, 0, 0, 65535, SYN_OPT, sizeof SYN_OPT, NULL);
        say_seg("SYN", 1000);
        say_seg("again, about a second later", 1500);
        raw_send(F_SYN, 0, 0, 65535, SYN_OPT, sizeof SYN_OPT, NULL);
        say_seg("the SYN again", 500);
        put32(ts + 4, 200);
        put32(ts + 8, their_ts);
        raw_send(F_ACK | F_PSH, 1, 1, 500, ts, 12, "early");
        say_seg("data with the ACK", 1000);
        say_seg("the program's answer", 1000);
        put32(ts + 4, 300);
        raw_send(F_RST, 6, 0, 0, ts, 12, NULL);
        say_seg("after RST", 200);

        closed_port();

        say("-- SYN_RCVD: wrong acknowledgement, then RST");
        raw_pair(39001, 9090, 0x20000000);
        raw_send(F_SYN, 0, 0, 65535, MSS_ONLY, 4, NULL);
        say_seg("SYN", 500);
        raw_send(F_ACK, 1, 77, 65535, NULL, 0, NULL);
        say_seg("ACK of what was never sent", 300);
        raw_send(F_ACK, 1, 0, 65535, NULL, 0, NULL);
        say_seg("ACK below", 300);
        raw_send(F_RST, 1, 0, 0, NULL, 0, NULL);
        say_seg("RST", 200);
        raw_send(F_ACK, 1, 1, 65535, NULL, 0, NULL);
        say_seg("ACK after the RST", 300);

        /* With backlog 2 the queue takes three; two of them now. (SYN cookies begin with the third unfinished handshake.) */
        say("-- the accept queue fills between SYN and ACK (backlog 2)");
        for (int i = 0; i < 2; i++) {
            raw_pair(39020 + i, 9094, 0x2f000000);
            raw_send(F_SYN, 0, 0, 65535, MSS_ONLY, 4, NULL);
            say_seg("  SYN", 500);
            raw_send(F_ACK, 1, 1, 65535, NULL, 0, NULL);
        }
        raw_pair(39011, 9094, 0x30000000);
        raw_send(F_SYN, 0, 0, 65535, MSS_ONLY, 4, NULL);
        say_seg("first SYN", 500);
        uint32_t iss1 = iss, irs1 = irs;
        raw_pair(39012, 9094, 0x31000000);
        raw_send(F_SYN, 0, 0, 65535, MSS_ONLY, 4, NULL);
        say_seg("second SYN", 500);
        uint32_t iss2 = iss, irs2 = irs;
        raw_pair(39011, 9094, iss1);
        irs = irs1;
        relative = 1;
        raw_send(F_ACK, 1, 1, 65535, NULL, 0, NULL);
        say_seg("first ACK", 100);
        raw_pair(39013, 9094, 0x32000000);
        raw_send(F_SYN, 0, 0, 65535, MSS_ONLY, 4, NULL);
        say_seg("third SYN, the queue is full", 100);
        raw_pair(39012, 9094, iss2);
        irs = irs2;
        relative = 1;
        raw_send(F_ACK, 1, 1, 65535, NULL, 0, NULL);
        say_seg("second ACK, the queue is full", 100);
        raw_send(F_ACK | F_PSH, 1, 1, 65535, NULL, 0, "data");
        say_seg("second's data", 100);
        say_seg("its SYN+ACK again", 1500);
        ms(1200); /* the program accepts */
        raw_send(F_ACK | F_PSH, 1, 1, 65535, NULL, 0, "data");
        say_seg("second's data again", 300);
        ms(200); /* the program looks at its state */
        raw_send(F_RST, 5, 0, 0, NULL, 0, NULL);

        say("-- established: what isn't expected");
        shake(9090);
        say_seg("established", 100);
        raw_send(F_ACK | F_PSH, 1, 1, 65535, NULL, 0, "one");
        say_seg("data", 300);
        say_seg("answer", 300);
        raw_send(F_ACK, 4, 6, 65535, NULL, 0, NULL);
        raw_send(F_ACK | F_PSH, 1, 6, 65535, NULL, 0, "one");
        say_seg("old data", 300);
        raw_send(F_ACK | F_PSH, 2, 6, 65535, NULL, 0, "neX");
        say_seg("partly old data", 300);
        say_seg("answer", 300);
        raw_send(F_ACK, 5, 11, 65535, NULL, 0, NULL);
        raw_send(F_ACK | F_PSH, 10, 11, 65535, NULL, 0, "later");
        say_seg("data with a hole before it", 300);
        raw_send(F_ACK | F_PSH, 5, 11, 65535, NULL, 0, "five5");
        say_seg("the hole", 300);
        say_seg("answer", 300);
        raw_send(F_ACK, 15, 16, 65535, NULL, 0, NULL);
        ms(600); /* challenge ACKs are limited to one in 500 ms */
        raw_send(F_RST, 2000000, 0, 0, NULL, 0, NULL);
        say_seg("RST out of the window", 200);
        raw_send(F_RST, 16, 0, 0, NULL, 0, NULL);
        say_seg("RST in the window, not exact", 300);
        ms(600);
        raw_send(F_SYN, 16, 0, 1000, NULL, 0, NULL);
        say_seg("SYN in the window", 300);
        ms(600);
        raw_send(F_ACK, 15, 500000, 65535, NULL, 0, NULL);
        say_seg("ACK of what was never sent", 300);
        ms(600);
        raw_send(F_ACK, 14, 16, 65535, NULL, 0, NULL);
        say_seg("keepalive probe", 300);
        raw_send(F_ACK | F_FIN, 15, 16, 65535, NULL, 0, NULL);
        say_seg("FIN", 300);
        raw_send(F_ACK, 16, 17, 65535, NULL, 0, NULL);
        say_seg("last ACK", 200);
        raw_send(F_ACK | F_PSH, 16, 17, 65535, NULL, 0, "late");
        say_seg("data after the end", 300);

        say("-- exact RST");
        shake(9090);
        raw_send(F_RST, 1, 0, 0, NULL, 0, NULL);
        say_seg("RST", 200);

        say("-- the program closes first: TIME_WAIT");
        shake(9091);
        say_seg("FIN", 500);
        raw_send(F_ACK | F_PSH, 1, 2, 65535, NULL, 0, "bye");
        say_seg("data after close", 300);

        shake(9092);
        say_seg("FIN", 500);
        raw_send(F_ACK | F_FIN, 1, 2, 65535, NULL, 0, NULL);
        say_seg("our FIN", 300);
        raw_send(F_ACK | F_FIN, 1, 2, 65535, NULL, 0, NULL);
        say_seg("our FIN again", 300);
        ms(600);
        raw_send(F_ACK | F_PSH, 2, 2, 65535, NULL, 0, "old");
        say_seg("data in TIME_WAIT", 300);
        iss += 5000000;
        uint32_t old = irs;
        relative = 0;
        raw_send(F_SYN, 0, 0, 65535, MSS_ONLY, 4, NULL);
        int f = say_seg("SYN above, in TIME_WAIT", 300);
        if (f == (F_SYN | F_ACK)) say("its sequence number is above the old one: %s", (int32_t)(irs - old) > 0 ? "yes" : "no");
        raw_send(F_RST, 1, 0, 0, NULL, 0, NULL);

        say("-- simultaneous close");
        shake(9092);
        say_seg("FIN", 500);
        raw_send(F_ACK | F_FIN, 1, 1, 65535, NULL, 0, NULL);
        say_seg("our FIN crosses", 300);
        raw_send(F_ACK, 2, 2, 65535, NULL, 0, NULL);
        say_seg("the ACK", 200);
        say("-- a window of zero");
        shake(9093);
        say_seg("greeting", 500);
        raw_send(F_ACK, 1, 9, 0, NULL, 0, NULL);
        say_seg("nothing into a closed window", 100);
        say_seg("a probe", 700);
        raw_send(F_ACK, 1, 9, 4, NULL, 0, NULL);
        say_seg("window of 4, at once", 80);
        say_seg("with the next probe", 900);
        raw_send(F_ACK, 1, 13, 1000, NULL, 0, NULL);
        say_seg("window open", 700);
        raw_send(F_RST, 1, 0, 0, NULL, 0, NULL);
        return 0;
    }

    int l = listener_at("0.0.0.0", 9090, 5), s, l1 = listener_at("0.0.0.0", 9091, 5), l2 = listener_at("0.0.0.0", 9092, 5),
        l3 = listener_at("0.0.0.0", 9093, 5), l4 = listener_at("0.0.0.0", 9094, 2), l9 = listener_at("0.0.0.0", 9099, 5);
    char b[64];
    say("ready");
    say("SYN_RECV %d", wait_rows(9090, S_SYN_RECV, 1));
    say_events("listener", l);
    say_table("table", 9090);
    s = MUST(accept(l, NULL, NULL));
    say_state("accepted", s);
    say_peer("accepted", s);
    R(read(s, b, sizeof b));
    MUST(write(s, "heard", 5));
    await(s, POLLERR, 5000);
    say_events("accepted", s);
    say_recv("accepted", s);
    close(s);
    for (int i = 0; i < 4000 && info_of(l4).tcpi_unacked < 3; i++) ms(5);
    ms(500);
    say("backlog 2: SYN_RECV %d, ESTABLISHED %d", count_rows(9094, S_SYN_RECV), count_rows(9094, S_ESTABLISHED));
    ms(1000);
    int four[4];
    for (int i = 0; i < 4; i++) {
        four[i] = MUST(accept(l4, NULL, NULL));
        say_state("accepted", four[i]);
    }
    await(four[3], POLLIN, 2000);
    say_recv("the one that had to wait", four[3]);
    for (int i = 0; i < 4; i++) reset_close(four[i]);
    s = MUST(accept(l, NULL, NULL));
    say_state("second", s);
    for (int i = 0; i < 5; i++) {
        long n = read(s, b, sizeof b - 1);
        b[n > 0 ? n : 0] = 0;
        say("second: read %ld %s", n, n < 0 ? ename(errno) : b);
        if (n <= 0) break;
        MUST(write(s, "reply", 5));
    }
    close(s);
    s = MUST(accept(l, NULL, NULL));
    R(read(s, b, sizeof b));
    close(s);
    s = MUST(accept(l1, NULL, NULL));
    close(s);
    for (int i = 0; i < 2; i++) {
        s = MUST(accept(l2, NULL, NULL));
        close(s);
    }
    s = MUST(accept(l3, NULL, NULL));
    MUST(write(s, "greeting", 8));
    ms(100);
    MUST(write(s, "in small pieces", 15));
    ms(2000);
    close(s);
    close(l9);
    return 0;
}
