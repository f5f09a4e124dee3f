/* Claim 13: accept() returns a new socket once the handshake is complete, with the listener's port and a concrete address;
 * both exist side by side. */
#include "probe.h"

int main(void)
{
    int l = listener_at("0.0.0.0", 9013, 5);
    pid_t pid;
    long t = now_ms();
    if (child(&pid)) {
        ms(100);
        int c = dial(9013), d = dial(9013);
        char b[8];
        long n = read(c, b, sizeof b);
        say("client read %ld", n);
        close(c);
        close(d);
        exit(3);
    }
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    int s = MUST(accept(l, SA(from), &len));
    say("accept() waited for the client: %s", within(t, 95, 10000));
    int s2 = MUST(accept(l, NULL, NULL));
    say("new descriptors: %d %d", s - l, s2 - l);
    say_name("listener", l);
    say_state("listener", l);
    say_name("first", s);
    say_peer("first", s);
    say_state("first", s);
    say_name("second", s2);
    say_state("second", s2);
    say_table("table", 9013);
    MUST(write(s, "hi", 2));
    say_exit("client", pid);
    wait_state("first, after the client closed", s, S_CLOSE_WAIT);
    wait_state("second, after the client closed", s2, S_CLOSE_WAIT);
    say_state("listener", l);
    return 0;
}
