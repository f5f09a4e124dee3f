/* frames_client PORT lines|lengths: see frames_server. */
#include "net.h"

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int s = connect_to("127.0.0.1", argv[1]), lines = !strcmp(argv[2], "lines");
    FILE *f = fdopen(s, "r+");
    static const char *const words[] = {"first", "", "a longer record with spaces", "x"};
    if (!f) die("fdopen");
    fprintf(f, "%s\n", argv[2]);
    for (int i = 0; i < 4; i++) {
        uint32_t n = (uint32_t)strlen(words[i]), back;
        char *line = NULL;
        size_t room = 0;
        if (lines) {
            fprintf(f, "%s\n", words[i]);
            fflush(f);
            if (getline(&line, &room, f) < 0) die("getline");
            printf("answer: %s", line);
        } else {
            uint32_t net = htonl(n);
            fwrite(&net, 4, 1, f);
            fwrite(words[i], 1, n, f);
            fflush(f);
            if (fread(&back, 4, 1, f) != 1) die("fread");
            back = ntohl(back);
            line = calloc(1, back + 1);
            if (fread(line, 1, back, f) != back) die("fread");
            printf("answer: %u %s\n", back, line);
        }
        free(line);
    }
    /* One big record, in several segments and reads. */
    static char big[300000];
    memset(big, 'b', sizeof big - 1);
    big[0] = 'a';
    if (lines) {
        char *line = NULL;
        size_t room = 0;
        fprintf(f, "%s\n", big);
        fflush(f);
        ssize_t n = getline(&line, &room, f);
        printf("big: %zd bytes, begins %.10s, ends %c\n", n, line, n > 1 ? line[n - 2] : '?');
        free(line);
    }
    fclose(f);
    return 0;
}
