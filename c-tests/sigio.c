/* sigio udp|tcp PORT: the socket's arrivals are told by SIGIO; the program itself does something else meanwhile. */
#include "net.h"

static int sock;
static volatile sig_atomic_t signals, bytes;
static void on_io(int sig)
{
    char b[256];
    ssize_t n;
    int e = errno;
    (void)sig;
    signals++;
    while ((n = recv(sock, b, sizeof b, MSG_DONTWAIT)) > 0) bytes += (int)n;
    errno = e;
}

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int udp = !strcmp(argv[1], "udp"), other;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct sigaction act = {.sa_handler = on_io, .sa_flags = SA_RESTART};
    if (udp) {
        sock = socket(AF_INET, SOCK_DGRAM, 0);
        if (bind(sock, (struct sockaddr *)&a, sizeof a)) die("bind");
        other = socket(AF_INET, SOCK_DGRAM, 0);
        if (connect(other, (struct sockaddr *)&a, sizeof a)) die("connect");
    } else {
        int l = serve_at("127.0.0.1", argv[2], 1);
        other = connect_to("127.0.0.1", argv[2]);
        sock = accept(l, NULL, NULL);
    }
    sigaction(SIGIO, &act, NULL);
    if (fcntl(sock, F_SETOWN, getpid())) die("F_SETOWN");
    if (fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | O_ASYNC | O_NONBLOCK)) die("F_SETFL");
    printf("owner is this process: %s, O_ASYNC %d\n", fcntl(sock, F_GETOWN) == getpid() ? "yes" : "no", (fcntl(sock, F_GETFL) & O_ASYNC) != 0);
    for (int i = 0; i < 3; i++) {
        if (send(other, "signal", 6, 0) != 6) die("send");
        for (int k = 0; k < 2000 && bytes < (i + 1) * 6; k++) usleep(5000);
    }
    printf("%d bytes read in the handler, signals: %s\n", bytes, signals >= 1 ? "some" : "none");
    return 0;
}
