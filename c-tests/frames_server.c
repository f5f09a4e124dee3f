/* frames_server PORT CLIENTS: over fdopen streams, a line naming the framing, then records: "lines" ends each by a newline, "lengths"
 * puts four bytes of length before it. Answers every record with its length and itself, turned round. */
#include "net.h"

static void turn(char *s, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        char c = s[i];
        s[i] = s[n - 1 - i];
        s[n - 1 - i] = c;
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int l = serve_at("127.0.0.1", argv[1], 5);
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < atoi(argv[2]); i++) {
        int s = accept(l, NULL, NULL), records = 0;
        if (s < 0) die("accept");
        FILE *in = fdopen(s, "r"), *out = fdopen(dup(s), "w");
        char *line = NULL;
        size_t room = 0;
        if (!in || !out) die("fdopen");
        ssize_t n = getline(&line, &room, in);
        int lines = n > 0 && !strcmp(line, "lines\n");
        if (lines) {
            while ((n = getline(&line, &room, in)) > 0) {
                if (line[n - 1] == '\n') n--;
                turn(line, (size_t)n);
                fprintf(out, "%zd %.*s\n", n, (int)n, line);
                fflush(out);
                records++;
            }
        } else {
            uint32_t len;
            while (fread(&len, 4, 1, in) == 1) {
                len = ntohl(len);
                char *b = malloc(len + 1);
                if (fread(b, 1, len, in) != len) break;
                turn(b, len);
                uint32_t back = htonl(len);
                fwrite(&back, 4, 1, out);
                fwrite(b, 1, len, out);
                fflush(out);
                free(b);
                records++;
            }
        }
        printf("%s: %d records, end of file %d, error %d\n", lines ? "lines" : "lengths", records, feof(in) != 0, ferror(in) != 0);
        fflush(stdout);
        free(line);
        fclose(out);
        fclose(in);
    }
    return 0;
}
