/* echo_iterative HOST PORT CLIENTS: serves one client after the other, prints where each came from. */
#include "net.h"

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    int l = serve_at(argv[1], argv[2], 5);
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < atoi(argv[3]); i++) {
        struct sockaddr_storage a;
        socklen_t n = sizeof a;
        char ip[64];
        int s = accept(l, (struct sockaddr *)&a, &n);
        if (s < 0) die("accept");
        getnameinfo((struct sockaddr *)&a, n, ip, sizeof ip, NULL, 0, NI_NUMERICHOST);
        long k = echo(s);
        printf("client from %s: %ld bytes\n", ip, k);
        close(s);
    }
    close(l);
    return 0;
}
