/* Claim 15: accept fills address and length; `int len` works. */
#include "probe.h"

int main(void)
{
    int l = listener(9015);
    struct sockaddr_in c_addr;
    memset(&c_addr, 0xee, sizeof c_addr);
    int c1 = dial(9015);
    int len = sizeof(c_addr);
    int s1 = accept(l, (struct sockaddr *)&c_addr, (socklen_t *)&len);
    say("accepted: %s, length %d, family %d, address %s, port of the client: %s, zeroes: %s", s1 >= 0 ? "yes" : "no", len,
        c_addr.sin_family, inet_ntoa(c_addr.sin_addr), ntohs(c_addr.sin_port) == port_of(c1) ? "yes" : "no",
        !memcmp(c_addr.sin_zero, "\0\0\0\0\0\0\0\0", 8) ? "yes" : "no");
    static const int lens[] = {0, 1, 2, 4, 8, 15, 16, 17, 64, 128};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        unsigned char b[128];
        memset(b, 0xee, sizeof b);
        int c = dial(9015);
        socklen_t n = (socklen_t)lens[i];
        int s = accept(l, (struct sockaddr *)b, &n), touched = 0;
        for (int k = 0; k < 128; k++)
            if (b[k] != 0xee) touched = k + 1;
        say("length %d: accept %s, length then %d, bytes written up to %d", lens[i], s >= 0 ? "ok" : ename(errno), (int)n,
            touched > 2 && touched < 9 ? (touched <= 4 ? 4 : 8) : touched);
        close(c);
        close(s);
    }
    int c2 = dial(9015), s2 = accept(l, NULL, NULL);
    say("without an address: %s", s2 >= 0 ? "ok" : ename(errno));
    close(c2);
    close(s2);
    int c3 = dial(9015);
    int s3 = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    say("accept4 flags: %d %d", fcntl(s3, F_GETFL) == (O_RDWR | O_NONBLOCK), fcntl(s3, F_GETFD));
    close(c3);
    struct sockaddr_in6 six;
    int l6 = listener_at("::1", 9016, 5), c6 = dial_at("::1", 9016);
    len = sizeof six;
    memset(&six, 0xee, sizeof six);
    int s6 = accept(l6, (struct sockaddr *)&six, (socklen_t *)&len);
    say("IPv6: %s, length %d, family %d, flow %x scope %x port of the client: %s", s6 >= 0 ? "ok" : ename(errno), len, six.sin6_family,
        six.sin6_flowinfo, six.sin6_scope_id, ntohs(six.sin6_port) == port_of(c6) ? "yes" : "no");
    len = 16;
    memset(&six, 0xee, sizeof six);
    OK(getpeername(s6, SA(six), (socklen_t *)&len));
    say("getpeername's length %d, byte 16: %02x", len, ((unsigned char *)&six)[16]);
    OK(getsockname(s6, (struct sockaddr *)8, (socklen_t *)&len));
    OK(getsockname(s6, SA(six), NULL));
    return 0;
}
