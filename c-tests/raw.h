/* Segments made by hand, for the other host of a two-host arrangement: sent through a raw IP socket from an address that
 * its kernel drops (so that the kernel doesn't answer), answers taken from the interface by a packet socket. IPv4. */
#ifndef RAW_H
#define RAW_H
#include "probe.h"
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>

#define F_FIN 1
#define F_SYN 2
#define F_RST 4
#define F_PSH 8
#define F_ACK 16
#define F_URG 32

#define RAW_ME "203.0.113.200"
#define RAW_HOST "198.18.0.2"

static int raw_out = -1, raw_in = -1;
static uint16_t raw_sport, raw_dport;
static uint32_t iss, irs;              /* our and their initial sequence numbers */
static uint32_t their_ts;
static int relative;                   /* irs is known */

static int raw_anywhere;               /* segments to any address are this pair's */

struct seg { int flags, len, win; uint32_t seq, ack; unsigned char opt[40]; int optlen; char data[64]; unsigned char ip[60]; int iplen; };

MAYBE uint32_t be32(const unsigned char *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
MAYBE void put32(unsigned char *p, uint32_t v) { p[0] = (unsigned char)(v >> 24); p[1] = (unsigned char)(v >> 16); p[2] = (unsigned char)(v >> 8); p[3] = (unsigned char)v; }

MAYBE void raw_open(void)
{
    struct sockaddr_ll ll;
    memset(&ll, 0, sizeof ll);
    ll.sll_family = AF_PACKET;
    ll.sll_protocol = htons(ETH_P_IP);
    ll.sll_ifindex = (int)if_nametoindex("utcp0");
    raw_in = MUST(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(ETH_P_IP)));
    MUST(bind(raw_in, SA(ll), sizeof ll));
    raw_out = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_RAW));
}
MAYBE void raw_pair(int sport, int dport, uint32_t isn)
{
    unsigned char b[4096];
    while (recv(raw_in, b, sizeof b, 0) > 0) {}
    raw_sport = (uint16_t)sport;
    raw_dport = (uint16_t)dport;
    iss = isn;
    relative = 0;
    their_ts = 0;
}
static uint32_t sum16(uint32_t s, const unsigned char *p, int n)
{
    for (int i = 0; i + 1 < n; i += 2) s += (uint32_t)p[i] << 8 | p[i + 1];
    if (n & 1) s += (uint32_t)p[n - 1] << 8;
    return s;
}
static uint16_t fold(uint32_t s)
{
    while (s >> 16) s = (s & 0xffff) + (s >> 16);
    return (uint16_t)~s;
}
/* A packet in p, of up to 256 bytes; its length. seq and ack are relative to iss and irs (absolute as long as irs isn't known). */
MAYBE int raw_packet(unsigned char *p, int flags, uint32_t seq, uint32_t ack, int win, const void *opt, int optlen, const char *data)
{
    unsigned char pseudo[12];
    int len = data ? (int)strlen(data) : 0, tcp = 20 + optlen + len;
    struct sockaddr_in to = in4(RAW_HOST, 0), from = in4(RAW_ME, 0);
    memset(p, 0, 256);
    p[0] = 0x45;
    p[2] = (unsigned char)((20 + tcp) >> 8);
    p[3] = (unsigned char)(20 + tcp);
    p[8] = 64;
    p[9] = IPPROTO_TCP;
    memcpy(p + 12, &from.sin_addr, 4);
    memcpy(p + 16, &to.sin_addr, 4);
    unsigned char *t = p + 20;
    t[0] = (unsigned char)(raw_sport >> 8);
    t[1] = (unsigned char)raw_sport;
    t[2] = (unsigned char)(raw_dport >> 8);
    t[3] = (unsigned char)raw_dport;
    put32(t + 4, iss + seq);
    put32(t + 8, flags & F_ACK || ack ? ack + (relative ? irs : 0) : 0);
    t[12] = (unsigned char)((20 + optlen) / 4 << 4);
    t[13] = (unsigned char)flags;
    t[14] = (unsigned char)(win >> 8);
    t[15] = (unsigned char)win;
    if (optlen) memcpy(t + 20, opt, (size_t)optlen);
    if (len) memcpy(t + 20 + optlen, data, (size_t)len);
    memcpy(pseudo, p + 12, 8);
    pseudo[8] = 0;
    pseudo[9] = IPPROTO_TCP;
    pseudo[10] = (unsigned char)(tcp >> 8);
    pseudo[11] = (unsigned char)tcp;
    uint16_t c = fold(sum16(sum16(0, pseudo, 12), t, tcp));
    t[16] = (unsigned char)(c >> 8);
    t[17] = (unsigned char)c;
    return 20 + tcp;
}
MAYBE void raw_out_packet(const unsigned char *p, int len)
{
    struct sockaddr_in to = in4(RAW_HOST, 0);
    MUST(sendto(raw_out, p, (size_t)len, 0, SA(to), sizeof to));
}
MAYBE void raw_send(int flags, uint32_t seq, uint32_t ack, int win, const void *opt, int optlen, const char *data)
{
    unsigned char p[256];
    raw_out_packet(p, raw_packet(p, flags, seq, ack, win, opt, optlen, data));
}
/* The next segment of this pair of ports within the time; 0 if none came. */
MAYBE int raw_recv(struct seg *s, int timeout)
{
    long end = now_ms() + timeout;
    for (;;) {
        unsigned char b[70000];
        long n = recv(raw_in, b, sizeof b, 0);
        if (n < 40) {
            if (n < 0 && now_ms() >= end) return 0;
            if (n < 0) await(raw_in, POLLIN, (int)(end - now_ms()));
            continue;
        }
        int ihl = (b[0] & 15) * 4;
        unsigned char *t = b + ihl;
        struct sockaddr_in from = in4(RAW_HOST, 0), me = in4(RAW_ME, 0);
        if (b[9] != IPPROTO_TCP || memcmp(b + 12, &from.sin_addr, 4) || (!raw_anywhere && memcmp(b + 16, &me.sin_addr, 4))) continue;
        if ((t[0] << 8 | t[1]) != raw_dport || (t[2] << 8 | t[3]) != raw_sport) continue;
        int off = (t[12] >> 4) * 4, total = b[2] << 8 | b[3];
        memset(s, 0, sizeof *s);
        s->seq = be32(t + 4);
        s->ack = be32(t + 8);
        s->flags = t[13];
        s->win = t[14] << 8 | t[15];
        s->optlen = off - 20;
        memcpy(s->opt, t + 20, (size_t)s->optlen);
        s->len = total - ihl - off;
        s->iplen = ihl;
        memcpy(s->ip, b, (size_t)ihl);
        memcpy(s->data, t + off, (size_t)(s->len < 63 ? s->len : 63));
        return 1;
    }
}
MAYBE const char *flags_text(int f)
{
    static char t[16];
    int n = 0;
    if (f & F_SYN) t[n++] = 'S';
    if (f & F_FIN) t[n++] = 'F';
    if (f & F_RST) t[n++] = 'R';
    if (f & F_PSH) t[n++] = 'P';
    if (f & F_URG) t[n++] = 'U';
    if (f & F_ACK) t[n++] = '.';
    if (f & 0xc0) t[n++] = '+';
    t[n] = 0;
    return t;
}
/* The options in their order, without the timestamps' values: "mss 1460,sack,ts,nop,ws 10" */
MAYBE const char *options_text(const struct seg *s)
{
    static char t[200];
    t[0] = 0;
    for (int i = 0; i < s->optlen;) {
        const unsigned char *o = s->opt + i;
        char one[80];
        if (*o == 0) break;
        switch (*o) {
        case 1: snprintf(one, sizeof one, "nop"); break;
        case 2: snprintf(one, sizeof one, "mss %d", o[2] << 8 | o[3]); break;
        case 3: snprintf(one, sizeof one, "ws %d", o[2]); break;
        case 4: snprintf(one, sizeof one, "sack"); break;
        case 5: snprintf(one, sizeof one, "sack %u-%u", be32(o + 2) - iss, be32(o + 6) - iss); break;
        case 8: snprintf(one, sizeof one, "ts"); their_ts = be32(o + 2); break;
        default: snprintf(one, sizeof one, "kind %d", *o);
        }
        if (t[0]) strcat(t, ",");
        strcat(t, one);
        i += *o == 1 ? 1 : o[1] ? o[1] : 40;
    }
    return t[0] ? t : "-";
}
/* The next segment, from the first SYN on with its number to count from; or prints that none came. */
MAYBE int next_seg(struct seg *s, const char *what, int timeout)
{
    if (!raw_recv(s, timeout)) {
        say("%s: no answer", what);
        return 0;
    }
    if (s->flags & F_SYN && !relative) {
        irs = s->seq;
        relative = 1;
    }
    return 1;
}
/* Prints the next segment, sequence numbers relative; or that none came. */
MAYBE int say_seg(const char *what, int timeout)
{
    struct seg s;
    if (!next_seg(&s, what, timeout)) return 0;
    say("%s: [%s] seq %ld ack %ld len %d options %s%s%s", what, flags_text(s.flags),
        relative ? (long)(int32_t)(s.seq - irs) : (long)s.seq, s.flags & F_ACK ? (long)(int32_t)(s.ack - iss) : 0L, s.len, options_text(&s),
        s.len ? " data " : "", s.data);
    return s.flags;
}
#endif
