/* Claim 36: closing one client leaves the listener and its loop working, however the client goes. */
#include "probe.h"

int main(void)
{
    int l = listener(9036);
    pid_t server;
    if (child(&server)) {
        int n = 0;
        signal(SIGPIPE, SIG_IGN);
        for (;;) {
            char b[64];
            int s = MUST(accept(l, NULL, NULL));
            long k = read(s, b, sizeof b);
            n++;
            if (k > 0) {
                if (write(s, b, (size_t)k)) {}
            }
            close(s);
            if (k == 4 && !memcmp(b, "stop", 4)) break;
        }
        exit(n);
    }
    for (int i = 0; i < 12; i++) {
        char b[64];
        int c = dial(9036);
        switch (i % 4) {
        case 0: break;                                   /* closes without a word */
        case 1: MUST(write(c, "gone", 4)); reset_close(c); c = -1; break;
        case 2: reset_close(c); c = -1; break;           /* resets before it is served */
        case 3: {
            MUST(write(c, "hello", 5));
            long n = recv(c, b, 5, MSG_WAITALL);
            say("client %d: answered %ld", i, n);
        }
        }
        if (c >= 0) close(c);
        say_state("listener", l);
    }
    int c = dial(9036);
    MUST(write(c, "stop", 4));
    say("last: %ld", drain(c));
    close(c);
    say_exit("server", server);
    say_state("listener", l);
    c = dial(9036);
    say_state("one more client", c);
    return 0;
}
