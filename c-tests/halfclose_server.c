/* halfclose_server PORT: reads all that the client sends, up to its FIN, then answers with a sum and all of it in capitals. */
#include "net.h"
#include <ctype.h>

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    int l = serve_at("127.0.0.1", argv[1], 5);
    printf("ready\n");
    fflush(stdout);
    int s = accept(l, NULL, NULL);
    if (s < 0) die("accept");
    char *all = malloc(1 << 22);
    size_t n = 0;
    ssize_t k;
    while ((k = read(s, all + n, (1 << 22) - n)) > 0) n += (size_t)k;
    if (k < 0) die("read");
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum = sum * 31 + (unsigned char)all[i];
        all[i] = (char)toupper((unsigned char)all[i]);
    }
    char head[64];
    int h = snprintf(head, sizeof head, "%zu bytes, sum %08x\n", n, sum);
    write_all(s, head, (size_t)h);
    write_all(s, all, n);
    printf("server: %s", head);
    close(s);
    return 0;
}
