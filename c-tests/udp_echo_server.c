/* udp_echo_server PORT DATAGRAMS [drop N]: echoes; with drop, ignores the first N (so that the client must repeat). */
#include "net.h"

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int s = socket(AF_INET, SOCK_DGRAM, 0), n = atoi(argv[2]), drop = argc > 4 ? atoi(argv[4]) : 0;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))}, from;
    if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof a)) die("bind");
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < n; i++) {
        char b[2048];
        socklen_t len = sizeof from;
        ssize_t k = recvfrom(s, b, sizeof b, 0, (struct sockaddr *)&from, &len);
        if (k < 0) die("recvfrom");
        printf("%zd bytes%s\n", k, drop > 0 ? ", ignored" : "");
        if (drop-- > 0) continue;
        sendto(s, b, (size_t)k, 0, (struct sockaddr *)&from, len);
    }
    return 0;
}
