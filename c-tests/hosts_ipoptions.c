/* IP options on the wire (RFC 791, section 3.1): `hosts_ipoptions peer` sends and reads segments by hand, and takes a transfer;
 * without arguments, the program whose sockets they are for. */
/* RFC 1122 S3.2.1.8-1, S3.2.1.8-2, S3.2.1.8-4 */
/* RFC 9293 MUST-51, MUST-52, MUST-53, SHLD-24 */
#include "raw.h"

#define LISTENS 9130
#define CONNECTS 9140
#define TRANSFER 9150
#define CONTROL 9160
#define BYTES 300000

static size_t unhex(const char *t, unsigned char *out)
{
    size_t n = 0;
    for (; t[0] && t[1]; t += 2) {
        unsigned v = 0;
        sscanf(t, "%2x", &v);
        out[n++] = (unsigned char)v;
    }
    return n;
}
/* The time of day in milliseconds, give or take a minute. */
static int is_now(const unsigned char *p)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    long now = t.tv_sec % 86400 * 1000L + t.tv_nsec / 1000000, said = (long)be32(p);
    return said - now < 60000 && now - said < 60000;
}
/* A list in hexadecimal digits; times that are now are "-now----". */
static const char *list_text(const unsigned char *p, int n)
{
    static char text[4][200];
    static int turn;
    char *t = text[turn++ & 3];
    t[0] = 0;
    int from = -1, step = 0, end = 0;
    for (int i = 0; i < n; i++) {
        if (i >= end) {
            from = -1;
            if (p[i] == 0x44 && i + 3 < n && p[i + 1] >= 4) {
                end = i + p[i + 1];
                step = (p[i + 3] & 15) == 0 ? 4 : 8;
                from = i + 4 + step - 4;
            } else if (p[i] > 1 && i + 1 < n && p[i + 1] >= 2) end = i + p[i + 1];
        }
        if (i == from && i + 4 <= n && is_now(p + i)) {
            strcat(t, "-now----");
            i += 3;
            from += step;
            continue;
        }
        if (i == from) from += step;
        sprintf(t + strlen(t), "%02x", p[i]);
    }
    return n ? t : "none";
}
/* A segment with IP options. */
static void send_with(const char *options, int flags, uint32_t seq, uint32_t ack, const void *opt, int optlen, const char *data)
{
    unsigned char p[256], list[60] = {0};
    int n = (int)unhex(options, list), len = raw_packet(p, flags, seq, ack, 65535, opt, optlen, data);
    n = (n + 3) / 4 * 4;
    memmove(p + 20 + n, p + 20, (size_t)(len - 20));
    memcpy(p + 20, list, (size_t)n);
    len += n;
    p[0] = (unsigned char)(0x40 | (20 + n) / 4);
    p[2] = (unsigned char)(len >> 8);
    p[3] = (unsigned char)len;
    raw_out_packet(p, len);
}
static int say_ip(const char *what, int timeout)
{
    struct seg s;
    if (!next_seg(&s, what, timeout)) return 0;
    say("%s: [%s] to %d.%d.%d.%d len %d IP options %s%s%s", what, flags_text(s.flags), s.ip[16], s.ip[17], s.ip[18], s.ip[19], s.len,
        list_text(s.ip + 20, s.iplen - 20), s.len ? " data " : "", s.data);
    return s.flags;
}

static const unsigned char MSS[] = {2, 4, 5, 180};

static const char *const heard[] = {
    "", "01010101", "070b040000000000000000", "0707040000000000", "070708c633640100", "070b08c6336401000000000000", "070f08c6336401000000000000000000",
    "440c0500000000000000000000", "44080500000000", "44080900000000", "440809e000000000", "44140501000000000000000000000000000000000000",
    "441c050100000000000000000000000000000000000000000000000000", "440c0503c612000200000000", "440c0503c633640100000000", "44140503c612000200000000c612000200000000",
    "44080507000000", "44040600", "94040000", "820b000000000000000000", "88040001", "1e040000", "070b04000000000000000044080500000000",
};
static const char *const dropped[] = {
    "0702", "070703", "0706040000", "0707050000000000", "4403", "440809f000000000", "94020000", "1e010000", "1e29", "070704000000000707040000000000",
    "8606000000010000", "830708c6336401", "830704c6120002", "830303", "830304",
};
/* What the setting makes of source routes that have ended, that end here, and that go on. */
static const char *const routed[] = {
    "830708c6336401", "830b0cc6336401c6336402", "830f10c6336401c6336402c6336403", "830704c6120002", "890b0cc6120001c6336402", "830304", "830b0cc6336401cb0071c8",
    "830b0ccb0071c8c6336401", "070b040000000000000000830b0cc6336401c6336402", "07070400000000830b0cc6336401c6336402",
};
static const char *const not_routed[] = {"830704c6336401", "830b08c6336401c6336402", "830303", "830708c633640183070800000000"};

/* SYNs with options, and what the connection answers with. */
static void to_listener(const char *const *lists, size_t n, int port)
{
    for (size_t i = 0; i < n; i++) {
        char what[120];
        raw_pair(port + (int)i, LISTENS, 0x10000000);
        send_with(lists[i], F_SYN, 0, 0, MSS, 4, NULL);
        snprintf(what, sizeof what, "SYN with %s", lists[i][0] ? lists[i] : "none");
        if (say_ip(what, 5000) != (F_SYN | F_ACK)) continue;
        send_with("", F_ACK, 1, 1, NULL, 0, NULL);
        send_with("01010101", F_ACK | F_PSH, 1, 1, NULL, 0, "x");
        say_ip("    answer", 5000);
        if (!strcmp(lists[i], "440809e000000000")) continue;
        say_ip("    more", 5000);
        send_with("", F_RST | F_ACK, 2, 2, NULL, 0, NULL);
    }
}
static void to_deaf_ears(const char *const *lists, size_t n, int port)
{
    for (size_t i = 0; i < n; i++) {
        char what[120];
        raw_pair(port + (int)i, LISTENS, 0x10000000);
        send_with(lists[i], F_SYN, 0, 0, MSS, 4, NULL);
        snprintf(what, sizeof what, "SYN with %s", lists[i]);
        say_ip(what, 100);
    }
}
#define ALL(lists) lists, sizeof lists / sizeof *lists
static void to_nobody(void)
{
    static const char *const lists[] = {"01010101", "070b040000000000000000", "44080500000000", "44080900000000", "94040000", "070b08c6336401000000000000"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        char what[120];
        raw_pair(39300 + (int)i, 9, 0x10000000);
        send_with(lists[i], F_SYN, 0, 0, MSS, 4, NULL);
        snprintf(what, sizeof what, "to nobody with %s", lists[i]);
        say_ip(what, 5000);
    }
}

static const char *const own[] = {
    "01010101", "070b040000000000000000", "0707080a000001", "44080500000000", "440c0501000000000000000000", "440c0503c612000200000000",
    "440c0503c633640100000000", "440809e000000000", "94040000", "820b000000000000000000", "07070400000000440805000000000094040000",
    "072704000000000000000000000000000000000000000000000000000000000000000000000000", "0107070400000000",
    "830704c6336401", "890b04c6120001c6336402", "0101830f04c6336401c6336402c6336403",
};

static void from_client(void)
{
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        char what[120];
        raw_sport = (uint16_t)(CONNECTS + i);
        raw_dport = (uint16_t)(41000 + i);
        iss = 0x20000000;
        relative = 0;
        their_ts = 0;
        snprintf(what, sizeof what, "SYN of one with %s", own[i]);
        if (say_ip(what, 5000) != F_SYN) continue;
        send_with("", F_SYN | F_ACK, 0, 1, MSS, 4, NULL);
        say_ip("    ACK", 5000);
        if (say_ip("    data", 5000)) send_with("070b040000000000000000", F_ACK | F_PSH, 1, 3, NULL, 0, "go");
        say_ip("    answer", 5000);
        say_ip("    FIN or RST", 5000);
        if (i < 2) {
            /* TIME_WAIT answers with what it is told. */
            send_with("", F_FIN | F_ACK, 3, 4, NULL, 0, NULL);
            say_ip("    last ACK", 5000);
            send_with(i ? "" : "070b040000000000000000", F_FIN | F_ACK, 3, 4, NULL, 0, NULL);
            say_ip("    again", 5000);
            continue;
        }
        send_with("", F_RST | F_ACK, 3, 3, NULL, 0, NULL);
        
    }
}

static void peer(void)
{
    char b[8];
    raw_open();
    raw_anywhere = 1;
    int l = listener_at("0.0.0.0", TRANSFER, 4), c;
    /* Until the other side listens. */
    for (;;) {
        c = MUST(socket(AF_INET, SOCK_STREAM, 0));
        if (connect_raw(c, RAW_HOST, CONTROL) == 0) break;
        close(c);
        ms(50);
    }
    to_listener(ALL(heard), 39000);
    to_deaf_ears(ALL(dropped), 39100);
    to_nobody();
    MUST(write(c, "x", 1));
    recv(c, b, 1, 0);
    say("-- the setting is 1");
    to_listener(ALL(routed), 39400);
    to_deaf_ears(ALL(not_routed), 39500);
    MUST(write(c, "x", 1));
    recv(c, b, 1, 0);
    say("-- the other side connects");
    from_client();
    for (int i = 0; i < 3; i++) {
        static unsigned char all[BYTES];
        int s = MUST(accept(l, NULL, NULL));
        long n = recv(s, all, sizeof all, MSG_WAITALL);
        say("the peer received %ld bytes, %s", n, fits(all, BYTES, 0) ? "as they were sent" : "not what was sent");
        MUST(send(s, all, sizeof all, 0));
        close(s);
    }
}

static void set(int fd, const char *list)
{
    unsigned char bytes[64];
    int n = (int)unhex(list, bytes);
    if (setsockopt(fd, IPPROTO_IP, IP_OPTIONS, bytes, (socklen_t)n) == -1) say("set %s: -1 %s", list, ename(errno));
}
static void say_options(const char *who, int fd)
{
    unsigned char bytes[64];
    socklen_t n = sizeof bytes;
    MUST(getsockopt(fd, IPPROTO_IP, IP_OPTIONS, bytes, &n));
    say("%s: %s", who, list_text(bytes, (int)n));
}

/* Serves until the peer says that this is enough. */
static void serve(int l, int control)
{
    for (;;) {
        struct pollfd p[2] = {{l, POLLIN, 0}, {control, POLLIN, 0}};
        poll(p, 2, -1);
        char b[4];
        if (!p[0].revents) {
            recv(control, b, 1, 0);
            return;
        }
        int s = MUST(accept(l, NULL, NULL));
        recv(s, b, 1, 0);
        struct sockaddr_in from;
        socklen_t n = sizeof from;
        getpeername(s, SA(from), &n);
        char what[64];
        snprintf(what, sizeof what, "accepted from port %d, mss %d", ntohs(from.sin_port), get_int(s, IPPROTO_TCP, TCP_MAXSEG));
        say_options(what, s);
        /* Its own list overrides the one that came. */
        if (ntohs(from.sin_port) % 2) set(s, "830704c6336409");
        send(s, "y", 1, MSG_NOSIGNAL);
        recv(s, b, 1, 0);
        close(s);
    }
}
static void setting(const char *value)
{
    int f = MUST(open("/proc/sys/net/ipv4/conf/all/accept_source_route", O_WRONLY));
    MUST(write(f, value, 1));
    close(f);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "peer")) {
        peer();
        return 0;
    }
    char b[8];
    say("ready");
    int l = listener_at("0.0.0.0", LISTENS, 64), m = listener_at("0.0.0.0", CONTROL, 4);
    set(l, "01010101");
    int c = MUST(accept(m, NULL, NULL));
    serve(l, c);
    setting("1");
    close(l);
    l = listener_at("0.0.0.0", LISTENS, 64);
    MUST(write(c, "x", 1));
    serve(l, c);
    setting("0");
    MUST(write(c, "x", 1));
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        struct sockaddr_in me = in4("0.0.0.0", 41000 + (int)i);
        int s = MUST(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
        MUST(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
        MUST(bind(s, SA(me), sizeof me));
        set(s, own[i]);
        if (connect_raw(s, RAW_ME, CONNECTS + (int)i) == -1) say("connect: -1 %s", ename(errno));
        else {
            struct tcp_info t = info_of(s);
            say("connected: mss %d, advmss %u", get_int(s, IPPROTO_TCP, TCP_MAXSEG), t.tcpi_advmss);
            MUST(write(s, "hi", 2));
            if (recv(s, b, 2, MSG_WAITALL) != 2) say("recv: %s", ename(errno));
        }
        say_options("its list", s);
        say_name("its", s);
        close(s);
    }
    for (int i = 0; i < 3; i++) {
        static unsigned char all[BYTES], back[BYTES];
        static const char *const lists[] = {"01010101010101010101010101010101010101010101010101010101010101010101010101010101", "070b040000000000000000", "010101010101010101010101010101010101010101"};
        fill(all, BYTES, 0);
        int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
        if (i < 2) set(s, lists[i]);
        MUST(connect_raw(s, "198.18.0.1", TRANSFER));
        if (i == 2) set(s, lists[i]);
        say("mss %d", get_int(s, IPPROTO_TCP, TCP_MAXSEG));
        MUST(send(s, all, BYTES, 0));
        long n = recv(s, back, sizeof back, MSG_WAITALL);
        say("back came %ld bytes, %s", n, fits(back, BYTES, 0) ? "as they were sent" : "not what was sent");
        close(s);
    }
    return 0;
}
