/* broadcast PORT: sends to 127.255.255.255 (without SO_BROADCAST it may not) and receives; then a multicast group on the loopback interface. */
#include "net.h"

static void got(const char *who, int s)
{
    char b[64];
    struct pollfd p = {s, POLLIN, 0};
    ssize_t n = poll(&p, 1, 500) == 1 ? recv(s, b, sizeof b, 0) : -1;
    if (n < 0) printf("%s: nothing\n", who);
    else printf("%s: %.*s\n", who, (int)n, b);
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    uint16_t port = htons((uint16_t)atoi(argv[1]));
    int r1 = socket(AF_INET, SOCK_DGRAM, 0), r2 = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = port}, all = any, group = any;
    all.sin_addr.s_addr = inet_addr("127.255.255.255");
    group.sin_addr.s_addr = inet_addr("239.1.2.3");
    setsockopt(r1, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(r2, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(r1, (struct sockaddr *)&any, sizeof any) || bind(r2, (struct sockaddr *)&any, sizeof any)) die("bind");
    if (sendto(s, "x", 1, 0, (struct sockaddr *)&all, sizeof all) == -1) printf("without SO_BROADCAST: %s\n", strerror(errno));
    setsockopt(s, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    if (sendto(s, "to all", 6, 0, (struct sockaddr *)&all, sizeof all) != 6) die("broadcast");
    got("first receiver", r1);
    got("second receiver", r2);
    struct ip_mreq m = {.imr_multiaddr = group.sin_addr};
    m.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
    if (setsockopt(r1, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof m)) die("IP_ADD_MEMBERSHIP");
    if (setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &m.imr_interface, sizeof m.imr_interface)) die("IP_MULTICAST_IF");
    on = 0;
    setsockopt(r2, IPPROTO_IP, IP_MULTICAST_ALL, &on, sizeof on);
    if (sendto(s, "to the group", 12, 0, (struct sockaddr *)&group, sizeof group) != 12) die("multicast");
    got("member", r1);
    got("not a member", r2);
    if (setsockopt(r1, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof m)) die("IP_DROP_MEMBERSHIP");
    setsockopt(r1, IPPROTO_IP, IP_MULTICAST_ALL, &on, sizeof on);
    sendto(s, "again", 5, 0, (struct sockaddr *)&group, sizeof group);
    got("left the group", r1);
    return 0;
}
