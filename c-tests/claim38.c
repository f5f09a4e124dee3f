/* Claim 38: gethostbyname asks the DNS server first, over UDP. The server is a child of this program on 127.0.0.1. */
#include "probe.h"
#include <resolv.h>

static void serve(int s, int n)
{
    unsigned char b[512];
    while (n--) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        long k = recvfrom(s, b, sizeof b, 0, SA(from), &len);
        if (k < 12) continue;
        char name[256] = "";
        int i = 12;
        while (i < k && b[i]) {
            strncat(name, (char *)b + i + 1, b[i]);
            i += b[i] + 1;
            if (b[i]) strcat(name, ".");
        }
        int type = b[i + 1] << 8 | b[i + 2];
        say("the server was asked for %s, type %s, by UDP, recursion wanted %d", name, type == 1 ? "A" : type == 28 ? "AAAA" : "other", b[2] & 1);
        b[2] |= 0x80;
        b[3] = 0x80;
        b[10] = b[11] = 0; /* no additional section */
        int q = i + 5;
        if (!strcmp(name, "www.utcp.test") && type == 1) {
            static const unsigned char rr[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 7};
            b[7] = 1;
            memcpy(b + q, rr, sizeof rr);
            q += (int)sizeof rr;
        } else b[3] |= 3;
        MUST(sendto(s, b, (size_t)q, 0, SA(from), len));
    }
}

int main(void)
{
    int s = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9053);
    pid_t pid;
    MUST(bind(s, SA(a), sizeof a));
    if (child(&pid)) { serve(s, 2); exit(0); }
    res_init();
    _res.nscount = 1;
    _res.nsaddr_list[0] = a;
    _res.options &= ~(RES_DNSRCH | RES_DEFNAMES | RES_USE_EDNS0);
    struct hostent *h = gethostbyname("www.utcp.test");
    if (h) say("%s is %s, %d bytes, more %s", h->h_name, inet_ntoa(*(struct in_addr *)h->h_addr_list[0]), h->h_length, h->h_addr_list[1] ? "yes" : "no");
    else say("gethostbyname: h_errno %d", h_errno);
    h = gethostbyname("nobody.utcp.test");
    say("nobody: %s", h ? "found" : h_errno == HOST_NOT_FOUND ? "HOST_NOT_FOUND" : "another error");
    h = gethostbyname("127.0.0.1");
    say("a number isn't asked for: %s", h ? inet_ntoa(*(struct in_addr *)h->h_addr_list[0]) : "?");
    say_exit("server", pid);
    return 0;
}
