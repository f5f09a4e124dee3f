/* IP_OPTIONS on TCP sockets: what is taken, what getsockopt gives back, what it does to segment sizes, and what a listener's
 * children answer with (RFC 791, section 3.1; RFC 1122, section 3.2.1.8). */
/* RFC 1122 S3.2.1.8-1, S3.2.1.8-2 */
/* RFC 9293 MUST-51, MUST-52 */
#include "probe.h"

#define PORT 9200

static const char *hex(const unsigned char *p, size_t n)
{
    static char text[4][128];
    static int turn;
    char *t = text[turn++ & 3];
    t[0] = 0;
    for (size_t i = 0; i < n; i++) sprintf(t + 2 * i, "%02x", p[i]);
    return n ? t : "none";
}
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
static int put(int fd, const char *list)
{
    unsigned char bytes[64];
    size_t n = unhex(list, bytes);
    return setsockopt(fd, IPPROTO_IP, IP_OPTIONS, bytes, (socklen_t)n);
}
static void say_options(const char *who, int fd)
{
    unsigned char bytes[64];
    socklen_t n = sizeof bytes;
    if (getsockopt(fd, IPPROTO_IP, IP_OPTIONS, bytes, &n) == -1) say("%s: -1 %s", who, ename(errno));
    else say("%s: %s", who, hex(bytes, n));
}
/* As they are but for the times, which are the same in no two runs. */
static void try(int fd, const char *list)
{
    if (put(fd, list) == -1) {
        say("set %s = -1 %s", list, ename(errno));
        return;
    }
    char text[200];
    snprintf(text, sizeof text, "set %s, get", list);
    say_options(text, fd);
}

static const char *const lists[] = {
    /* Nothing but padding, and what follows an end. */
    "01", "0101", "010101", "01010101", "0101010101", "00", "000102", "01ff00", "0107040000000000",
    /* Record route. */
    "0707040a000001", "07070400000000", "070703", "070703000000", "0707080a000001", "070709", "0707050000000000", "0706040000000000",
    "070304", "070307", "0703ff", "0702", "07", "0701", "0707040000000007070400000000", "070b04000000000000000000", "072704",
    "07270400000000000000000000000000000000000000000000000000000000000000000000000000",
    "070b0801020304000000000000", "070bff010203040000000000",
    /* Timestamps. */
    "4408050000000000", "440405f0", "44040500", "440805f000000000", "44080900", "4408090000000000", "440809f000000000", "440809e000000000",
    "440c0501000000000000000000000000", "440c05010000000000000000", "440c05030a00000200000000", "440c05037f00000100000000",
    "440c0503000000000000000000000000", "440805010000000000", "44080502000000000000", "4408050200000000", "4408040000000000",
    "440305", "44080700000000000000", "440805000000000044080500000000", "442405000000000000000000000000000000000000000000000000000000000000000000000000",
    "441405010000000000000000000000000000000000", "4414090100000000000000000000000000000000",
    /* Router alert. */
    "94040000", "94040001", "940300", "9404000094040000",
    /* Source routes. */
    "8307040a000001", "8907040a000001", "830b040a0000010a000002", "890b040a0000010a000002", "830f040a0000010a0000020a000003",
    "830304", "830604000000", "8307050a000001", "830b080a0000010a000002", "8307040a0000018307040a000002", "83080400000000000000",
    "8307047f000001", "83", "8302", "01830b040a0000010a000002", "830704e0000001",
    /* Security, stream id, unknown, CIPSO. */
    "820b0000000000000000000000", "88040001", "8204", "1e040000", "5e0c000000000000000000000000", "1e02", "1e01", "1e29", "ff02",
    "8606000000010000", "860a0000000101040000", "8602",
    /* Several. */
    "01010100", "07070400000000440805000000000094040000", "0101070b040000000000000000",
};

static void sizes(const char *what, const char *list, int late)
{
    int l = listener(PORT + 1), c = MUST(socket(AF_INET, SOCK_STREAM, 0));
    if (!late) MUST(put(c, list));
    MUST(set_int(c, IPPROTO_TCP, TCP_MAXSEG, 1000));
    MUST(set_int(l, IPPROTO_TCP, TCP_MAXSEG, 900));
    MUST(connect_raw(c, "127.0.0.1", PORT + 1));
    int s = MUST(accept(l, NULL, NULL));
    if (late) MUST(put(c, list));
    struct tcp_info i = info_of(c), j = info_of(s);
    say("%s: mss %d (%u), advmss %u, pmtu %u; accepted: mss %d (%u), advmss %u", what, get_int(c, IPPROTO_TCP, TCP_MAXSEG), i.tcpi_snd_mss, i.tcpi_advmss,
        i.tcpi_pmtu, get_int(s, IPPROTO_TCP, TCP_MAXSEG), j.tcpi_snd_mss, j.tcpi_advmss);
    say_options("    connected", c);
    say_options("    accepted", s);
    char b[16];
    MUST(write(c, "there", 5));
    MUST(recv(s, b, 5, MSG_WAITALL));
    MUST(write(s, "and back", 8));
    MUST(recv(c, b, 8, MSG_WAITALL));
    MUST(put(c, ""));
    say("    without any: mss %d", get_int(c, IPPROTO_TCP, TCP_MAXSEG));
    say_options("    connected", c);
    close(c);
    close(s);
    close(l);
}

int main(void)
{
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say("-- with CAP_NET_RAW");
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) try(fd, lists[i]);
    say_options("what was refused changes nothing", fd);
    say("-- without");
    MUST(seteuid(65534));
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) try(fd, lists[i]);
    MUST(seteuid(0));
    say("-- places to write");
    MUST(put(fd, "01010101"));
    unsigned char b[8] = {9, 9, 9, 9, 9, 9, 9, 9};
    socklen_t n = 2;
    R(getsockopt(fd, IPPROTO_IP, IP_OPTIONS, b, &n));
    say("length %u: %s", n, hex(b, 8));
    n = 0;
    R(getsockopt(fd, IPPROTO_IP, IP_OPTIONS, b, &n));
    say("length %u", n);
    n = 8;
    R(getsockopt(fd, IPPROTO_IP, IP_OPTIONS, NULL, &n));
    R(setsockopt(fd, IPPROTO_IP, IP_OPTIONS, (void *)1, 4));
    say_options("still", fd);
    say("mss of a closed socket: %d", get_int(fd, IPPROTO_TCP, TCP_MAXSEG));
    R(put(fd, ""));
    say("mss of a closed socket: %d", get_int(fd, IPPROTO_TCP, TCP_MAXSEG));
    say_options("none", fd);
    say("-- a source route to nowhere");
    MUST(put(fd, "8307040a000001"));
    R(connect_raw(fd, "0.0.0.0", PORT));
    close(fd);

    say("-- connections");
    sizes("none", "", 0);
    sizes("no operation", "01010101", 0);
    sizes("no operation, late", "01010101", 1);
    sizes("record route", "070b040000000000000000", 0);
    sizes("record route, one place", "07070400000000", 0);
    sizes("record route, full", "0707080a000001", 0);
    sizes("record route of nothing", "070304", 0);
    sizes("router alert", "94040000", 0);
    sizes("security", "820b0000000000000000000000", 0);
    sizes("40 bytes of record route", "07270400000000000000000000000000000000000000000000000000000000000000000000000000", 0);
    sizes("timestamps, full", "4408090000000000", 0);
    sizes("two", "94040000070b040000000000000000", 0);

    say("-- listeners");
    int l = listener(PORT + 2);
    R(put(l, "0101010101010101"));
    MUST(set_int(l, IPPROTO_TCP, TCP_MAXSEG, 900));
    int c = dial(PORT + 2), s = MUST(accept(l, NULL, NULL));
    say("connected: mss %d, accepted: mss %d", get_int(c, IPPROTO_TCP, TCP_MAXSEG), get_int(s, IPPROTO_TCP, TCP_MAXSEG));
    say_options("listener", l);
    say_options("accepted", s);
    say_options("connected", c);
    R(put(s, "01010101"));
    say("accepted: mss %d", get_int(s, IPPROTO_TCP, TCP_MAXSEG));
    say("listener: mss %d", get_int(l, IPPROTO_TCP, TCP_MAXSEG));
    close(s);
    close(c);
    close(l);

    say("-- sockets of IPv6");
    l = listener_at("::", PORT + 3, 4);
    MUST(set_int(l, IPPROTO_TCP, TCP_MAXSEG, 900));
    c = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    R(put(c, "0101010101010101"));
    MUST(connect_raw(c, "::1", PORT + 3));
    s = MUST(accept(l, NULL, NULL));
    say("connected: mss %d, accepted: mss %d", get_int(c, IPPROTO_TCP, TCP_MAXSEG), get_int(s, IPPROTO_TCP, TCP_MAXSEG));
    say_options("connected", c);
    say_options("accepted", s);
    R(put(c, "070b040000000000000000"));
    say("connected: mss %d", get_int(c, IPPROTO_TCP, TCP_MAXSEG));
    close(c);
    close(s);
    c = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    R(put(c, "070b040000000000000000"));
    say("closed: mss %d", get_int(c, IPPROTO_TCP, TCP_MAXSEG));
    MUST(connect_raw(c, "::ffff:127.0.0.1", PORT + 3));
    s = MUST(accept(l, NULL, NULL));
    say("mapped, connected: mss %d, accepted: mss %d", get_int(c, IPPROTO_TCP, TCP_MAXSEG), get_int(s, IPPROTO_TCP, TCP_MAXSEG));
    say_options("connected", c);
    say_options("accepted", s);
    R(put(c, "01010101"));
    say("connected: mss %d", get_int(c, IPPROTO_TCP, TCP_MAXSEG));
    close(c);
    close(s);
    close(l);
    traffic(PORT + 4);
    return 0;
}
