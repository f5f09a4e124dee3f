/* Claim 11: each SYN carries an initial sequence number, which is random; a reused port takes no old segment.
 * The numbers are compared by the harness, which sees the segments: 20 connections from one address and port in turn. */
#include "probe.h"

int main(void)
{
    int l = listener_at("127.0.0.1", 9011, 16);
    for (int i = 0; i < 20; i++) {
        int c = MUST(socket(AF_INET, SOCK_STREAM, 0));
        struct sockaddr_in a = in4("127.0.0.1", 9111);
        char b[16] = "";
        set_int(c, SOL_SOCKET, SO_REUSEADDR, 1);
        MUST(bind(c, SA(a), sizeof a));
        MUST(connect_raw(c, "127.0.0.1", 9011));
        int s = MUST(accept(l, NULL, NULL));
        char text[16];
        snprintf(text, sizeof text, "life %d", i);
        MUST(write(c, text, strlen(text)));
        long n = read(s, b, sizeof b);
        if (n != (long)strlen(text) || memcmp(b, text, (size_t)n)) say("got something else: %.*s", (int)n, b);
        reset_close(c);
        close(s);
    }
    say("20 lives of one pair of ports, each with its own bytes alone");
    return 0;
}
