/* A program that makes TUN devices of its own, locks its memory, starts others that change settings,
 * and has sockets of every other kind, as packetdrill does: all of that is the kernel's, and whoever
 * serves its TCP is neither in its way nor there before its first socket of TCP. */
#include "probe.h"
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/mman.h>

#define VNET_HDR 10

static int unnamed(const char *when)
{
    struct ifreq r = {0};
    int fd = open("/dev/net/tun", O_RDWR);
    if (fd < 0) {
        say("/dev/net/tun: %s", ename(errno));
        exit(1);
    }
    r.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    int e = ioctl(fd, TUNSETIFF, &r) ? errno : 0;
    say("%s: TUNSETIFF %s, %s", when, ename(e), r.ifr_name);
    said("TUNSETOFFLOAD", ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6));
    return fd;
}

/* Names of the stack in this namespace. */
static int traces(void)
{
    char line[512];
    int n = 0;
    FILE *f = fopen("/proc/net/unix", "r");
    while (f && fgets(line, sizeof line, f)) n += strstr(line, "@utcp/") != NULL;
    if (f) fclose(f);
    return n;
}

static void up(const char *name, const char *address)
{
    struct ifreq r = {0};
    struct sockaddr_in *a = (void *)&r.ifr_addr;
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    strcpy(r.ifr_name, name);
    a->sin_family = AF_INET;
    inet_pton(AF_INET, address, &a->sin_addr);
    said("SIOCSIFADDR", ioctl(s, SIOCSIFADDR, &r));
    inet_pton(AF_INET, "255.255.255.0", &a->sin_addr);
    said("SIOCSIFNETMASK", ioctl(s, SIOCSIFNETMASK, &r));
    said("SIOCGIFFLAGS", ioctl(s, SIOCGIFFLAGS, &r));
    r.ifr_flags |= IFF_UP | IFF_RUNNING;
    said("SIOCSIFFLAGS", ioctl(s, SIOCSIFFLAGS, &r));
    said("SIOCGIFMTU", ioctl(s, SIOCGIFMTU, &r));
    say("MTU %d", r.ifr_mtu);
    close(s);
}

static uint16_t sum(const uint8_t *p, int n)
{
    uint32_t s = 0;
    for (int i = 0; i + 1 < n; i += 2) s += p[i] << 8 | p[i + 1];
    while (s >> 16) s = (s & 0xffff) + (s >> 16);
    return htons(~s & 0xffff);
}

/* The next packet of protocol `proto` that leaves by the device; others (IPv6's chatter) don't count. */
static int next_packet(int tun, int proto, uint8_t *buf, int room)
{
    for (int tries = 0; tries < 50; tries++) {
        struct pollfd p = {.fd = tun, .events = POLLIN};
        if (poll(&p, 1, 2000) != 1) return -1;
        int n = read(tun, buf, room);
        if (n > VNET_HDR + 20 && buf[VNET_HDR] >> 4 == 4 && buf[VNET_HDR + 9] == proto) return n - VNET_HDR;
    }
    return -1;
}

static void exchange(int tun)
{
    uint8_t buf[2048], echo[VNET_HDR + 20 + 16] = {0}, *ip = echo + VNET_HDR;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    inet_pton(AF_INET, "10.77.0.9", &to.sin_addr);
    said("sendto", sendto(s, "datagram", 8, 0, (void *)&to, sizeof to));
    say("UDP left: %d bytes", next_packet(tun, IPPROTO_UDP, buf, sizeof buf));
    close(s);
    /* An echo request comes, and the kernel answers. */
    ip[0] = 0x45, ip[3] = 36, ip[8] = 64, ip[9] = IPPROTO_ICMP;
    inet_pton(AF_INET, "10.77.0.9", ip + 12);
    inet_pton(AF_INET, "10.77.0.1", ip + 16);
    *(uint16_t *)(ip + 10) = sum(ip, 20);
    ip[20] = 8;
    *(uint16_t *)(ip + 22) = sum(ip + 20, 16);
    said("write", write(tun, echo, sizeof echo));
    int n = next_packet(tun, IPPROTO_ICMP, buf, sizeof buf);
    say("ICMP left: %d bytes, type %d", n, buf[VNET_HDR + 20]);
}

/* A connection over the loopback: whether it has timestamps. */
static void connection(const char *when)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct tcp_info info;
    socklen_t len = sizeof at;
    char byte;
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(l, (void *)&at, sizeof at) || listen(l, 1) || getsockname(l, (void *)&at, &len) || connect(c, (void *)&at, len)) {
        say("%s: %s", when, ename(errno));
        exit(1);
    }
    int a = accept(l, NULL, NULL);
    said("write", write(c, "x", 1));
    said("read", read(a, &byte, 1));
    len = sizeof info;
    said("TCP_INFO", getsockopt(c, IPPROTO_TCP, TCP_INFO, &info, &len));
    say("%s: timestamps %d", when, info.tcpi_options & TCPI_OPT_TIMESTAMPS ? 1 : 0);
    uint32_t mem[9] = {0};
    len = sizeof mem;
    said("SO_MEMINFO", getsockopt(c, SOL_SOCKET, SO_MEMINFO, mem, &len));
    say("%d bytes; SO_RCVBUF and SO_SNDBUF there: %d", len, mem[1] > 0 && mem[3] > 0);
    close(a);
    close(c);
    close(l);
}

static void memory(void)
{
    char line[256];
    long locked = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "VmLck: %ld kB", &locked);
    if (f) fclose(f);
    say("locked memory is below 256 MB: %d", locked >= 0 && locked < 256 << 10);
}

/* All memory, now and in future, if this user may lock as much as a large program has. */
static void lock(void)
{
    const size_t large = 4ul << 30;
    if (mlockall(MCL_CURRENT | MCL_FUTURE)) return;
    void *p = mmap(NULL, large, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) munlockall();
    else munmap(p, large);
}

int main(void)
{
    struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    lock();
    int tun = unnamed("before the first socket");
    up("tun0", "10.77.0.1");
    int packet = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    ll.sll_ifindex = if_nametoindex("tun0");
    said_ok("AF_PACKET", packet);
    said("bind", bind(packet, (void *)&ll, sizeof ll));
    said_ok("AF_NETLINK", socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    exchange(tun);
    say("traces of a stack: %d", traces());
    connection("first");
    memory();
    exchange(tun);
    int second = unnamed("after it");
    said("system", system("echo 0 > /proc/sys/net/ipv4/tcp_timestamps"));
    connection("after a child's change");
    said("system", system("echo 1 > /proc/sys/net/ipv4/tcp_timestamps"));
    connection("after another");
    close(tun);
    close(second);
    return 0;
}
