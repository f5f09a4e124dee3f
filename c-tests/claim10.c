/* Claim 10: SYN, SYN+ACK, ACK. The harness compares the segments; this connects, IPv4 then IPv6, and closes with RST
 * so that nothing else is on the wire. With SO_RCVBUF set, for the window and its scale. */
#include "probe.h"

static void once(const char *ip, int port, int buf)
{
    int six = strchr(ip, ':') != NULL, l = MUST(socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4(six ? "0.0.0.0" : ip, port);
    struct sockaddr_in6 b = in6(six ? ip : "::", port);
    if (buf) set_int(l, SOL_SOCKET, SO_RCVBUF, buf);
    MUST(six ? bind(l, SA(b), sizeof b) : bind(l, SA(a), sizeof a));
    MUST(listen(l, 1));
    int c = MUST(socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
    if (buf) set_int(c, SOL_SOCKET, SO_RCVBUF, buf);
    OK(connect_raw(c, ip, port));
    int s = MUST(accept(l, NULL, NULL));
    struct tcp_info i = info_of(c), k = info_of(s);
    say("client: mss %u advmss %u window scales %u %u options %x cwnd %u", i.tcpi_snd_mss, i.tcpi_advmss, i.tcpi_snd_wscale,
        i.tcpi_rcv_wscale, i.tcpi_options, i.tcpi_snd_cwnd);
    say("server: mss %u advmss %u window scales %u %u options %x cwnd %u", k.tcpi_snd_mss, k.tcpi_advmss, k.tcpi_snd_wscale,
        k.tcpi_rcv_wscale, k.tcpi_options, k.tcpi_snd_cwnd);
    ms(60);
    reset_close(c);
    await(s, POLLERR, 10000);
    close(s);
    close(l);
}

int main(void)
{
    once("127.0.0.1", 9010, 0);
    once("::1", 9010, 0);
    once("127.0.0.1", 9011, 4096);
    once("127.0.0.1", 9012, 65536);
    return 0;
}
