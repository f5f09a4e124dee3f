/* http_sink PORT TIMES: takes that many uploads (PUT, as `curl -T` sends them), prints the length and a checksum (FNV-1a) of each. */
#include "net.h"

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int l = serve_at("-", argv[1], 5);
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < atoi(argv[2]); i++) {
        int s = accept(l, NULL, NULL);
        if (s < 0) die("accept");
        static char b[1 << 18];
        size_t have = 0;
        char *end = NULL;
        while (have < 8192 && !end) {
            ssize_t n = read(s, b + have, 8192 - have);
            if (n <= 0) die("read");
            have += (size_t)n;
            b[have] = 0;
            end = strstr(b, "\r\n\r\n");
        }
        if (!end) return 3;
        char *len = strcasestr(b, "content-length:");
        long long total = len ? atoll(len + 15) : 0, got = 0;
        if (strcasestr(b, "expect: 100-continue")) write_all(s, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        uint64_t sum = 14695981039346656037ull;
        char *p = end + 4;
        ssize_t n = (ssize_t)(b + have - p);
        for (;;) {
            for (ssize_t k = 0; k < n; k++) sum = (sum ^ (unsigned char)p[k]) * 1099511628211ull;
            got += n;
            if (got >= total) break;
            p = b;
            n = read(s, b, sizeof b);
            if (n <= 0) die("read");
        }
        static const char answer[] = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        write_all(s, answer, sizeof answer - 1);
        printf("%lld bytes, checksum %016llx\n", got, (unsigned long long)sum);
        fflush(stdout);
        close(s);
    }
    return 0;
}
