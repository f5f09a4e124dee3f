/* halfclose_client PORT BYTES: sends that many, shuts its direction down, reads the answer to its end. */
#include "net.h"

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int s = connect_to("127.0.0.1", argv[1]);
    size_t n = (size_t)atol(argv[2]), got = 0, wrong = 0;
    char *b = malloc(n), r[65536];
    for (size_t i = 0; i < n; i++) b[i] = (char)('a' + i * 7 % 26);
    write_all(s, b, n);
    if (shutdown(s, SHUT_WR)) die("shutdown");
    signal(SIGPIPE, SIG_IGN);
    if (write(s, "x", 1) == -1) printf("no more can be sent: %s\n", strerror(errno));
    FILE *f = fdopen(s, "r");
    if (!f || !fgets(r, sizeof r, f)) die("fgets");
    printf("client: %s", r);
    size_t k;
    while ((k = fread(r, 1, sizeof r, f)) > 0)
        for (size_t i = 0; i < k; i++, got++) wrong += got >= n || r[i] != b[got] - 'a' + 'A';
    printf("%zu bytes came back, %zu wrong\n", got, wrong);
    fclose(f);
    return 0;
}
