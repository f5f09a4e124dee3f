/* Claims 10, 25 and 30 between two hosts, for the segments that the harness captures: `hosts_wire serve N` and `hosts_wire visit
 * ADDRESS`, either of them on either host. The client's first word says how to close. */
#include "probe.h"

static void serve(int l)
{
    char word[16] = "", b[64];
    int s = MUST(accept(l, NULL, NULL));
    long n = recv(s, word, sizeof word - 1, 0);
    say("asked to close: %s", word);
    if (n <= 0) { close(s); return; }
    if (!strcmp(word, "rst")) {
        reset_close(s);
        return;
    }
    if (!strcmp(word, "first")) {
        close(s);
        ms(100);
        return;
    }
    if (!strcmp(word, "answer")) MUST(write(s, "a short answer", 14));
    n = read(s, b, sizeof b);
    if (!strcmp(word, "late")) ms(200);
    close(s); /* within the 40 ms after which an ACK is due, so that nothing is said before */
    say("then read %ld", n);
}

static void visit(const char *ip, int port, const char *word)
{
    char b[64];
    int c = dial_at(ip, port);
    ms(60);
    MUST(write(c, word, strlen(word)));
    ms(100);
    if (!strcmp(word, "rst") || !strcmp(word, "first")) {
        await(c, POLLIN, 2000);
        say_recv(word, c);
        ms(100);
        close(c);
        ms(100);
        return;
    }
    if (!strcmp(word, "answer")) say("read %ld", (long)read(c, b, sizeof b));
    MUST(shutdown(c, SHUT_WR));
    say("%s: then %ld", word, (long)read(c, b, sizeof b));
    close(c);
    ms(100);
}

int main(int argc, char **argv)
{
    static const char *const words[] = {"late", "quick", "answer", "first", "rst"};
    if (argc < 3) return 2;
    if (!strcmp(argv[1], "serve")) {
        int l = listener_at("::", 9030, 5);
        say("ready");
        for (int i = 0; i < atoi(argv[2]); i++) serve(l);
        return 0;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) visit(argv[2], 9030, words[i]);
    return 0;
}
