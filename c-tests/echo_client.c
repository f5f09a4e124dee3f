/* echo_client HOST PORT TEXT [TIMES]: sends the text, reads it back, prints it. HOST is a name or an address, v4 or v6. */
#include "net.h"

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    int s = connect_to(argv[1], argv[2]), times = argc > 4 ? atoi(argv[4]) : 1;
    size_t n = strlen(argv[3]);
    char *b = calloc(1, n + 1);
    for (int i = 0; i < times; i++) {
        write_all(s, argv[3], n);
        size_t got = 0;
        while (got < n) {
            ssize_t k = recv(s, b + got, n - got, 0);
            if (k <= 0) die("recv");
            got += (size_t)k;
        }
        if (i == times - 1) printf("echo: %s\n", b);
        if (memcmp(b, argv[3], n)) printf("that is wrong\n");
    }
    close(s);
    free(b);
    return 0;
}
