/* Segments that come in pieces of IP packets (RFC 791, section 3.2): `hosts_fragments peer` cuts them up by hand; without
 * arguments, the program that reads them. */
#include "raw.h"

static unsigned char whole[256];
static int len, id = 100;

/* The piece of the packet's content from `at` (in bytes, a multiple of 8) of n bytes. */
static void piece(int at, int n, int more)
{
    unsigned char p[256];
    memcpy(p, whole, 20);
    memcpy(p + 20, whole + 20 + at, (size_t)n);
    p[2] = (unsigned char)((20 + n) >> 8);
    p[3] = (unsigned char)(20 + n);
    p[4] = (unsigned char)(id >> 8);
    p[5] = (unsigned char)id;
    p[6] = (unsigned char)((more ? 0x20 : 0) | at >> 11);
    p[7] = (unsigned char)(at >> 3);
    raw_out_packet(p, 20 + n);
}
/* The next segment, 40 bytes of data behind a header of 20. */
static void next(uint32_t seq)
{
    len = raw_packet(whole, F_ACK | F_PSH, seq, 1, 65535, NULL, 0, "0123456789abcdefghijklmnopqrstuvwxyz0123");
    id++;
}

static void peer(void)
{
    static const unsigned char MSS[] = {2, 4, 5, 180};
    raw_open();
    ms(1000); /* until the other side listens */
    raw_pair(39000, 9110, 0x10000000);
    raw_send(F_SYN, 0, 0, 65535, MSS, 4, NULL);
    say_seg("SYN", 500);
    raw_send(F_ACK, 1, 1, 65535, NULL, 0, NULL);
    next(1);
    piece(0, 24, 1);
    piece(24, 24, 1);
    say_seg("two of three pieces", 200);
    piece(48, len - 20 - 48, 0);
    say_seg("the third", 300);
    next(41);
    piece(48, len - 20 - 48, 0);
    piece(0, 24, 1);
    piece(0, 24, 1);
    piece(24, 24, 1);
    say_seg("the last first, the first twice", 300);
    next(81);
    piece(0, 32, 1);
    piece(24, 24, 1);
    piece(48, len - 20 - 48, 0);
    say_seg("pieces that overlap", 200);
    id++;
    piece(0, len - 20 - 12, 1);
    piece(48, len - 20 - 48, 0);
    say_seg("whole once more", 300);
    next(121);
    piece(0, 24, 1);
    int first = id;
    next(121);
    piece(24, len - 20 - 24, 0);
    say_seg("halves of different packets", 200);
    id = first;
    piece(24, len - 20 - 24, 0);
    say_seg("the right other half", 300);
    raw_send(F_ACK | F_FIN, 161, 1, 65535, NULL, 0, NULL);
    say_seg("FIN", 300);
    raw_send(F_RST, 162, 0, 0, NULL, 0, NULL);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "peer")) {
        peer();
        return 0;
    }
    int l = listener_at("0.0.0.0", 9110, 2), s;
    char b[400];
    long n = 0, got;
    say("ready");
    s = MUST(accept(l, NULL, NULL));
    while ((got = read(s, b + n, sizeof b - 1 - (size_t)n)) > 0) n += got;
    b[n] = 0;
    say("read %ld: %s", n, b);
    return 0;
}
