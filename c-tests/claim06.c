/* Claim 6: listen() makes it LISTEN; from then on connections are taken and data queues, before accept(). */
#include "probe.h"

int main(void)
{
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9006);
    MUST(bind(l, SA(a), sizeof a));
    say_state("bound", l);
    OK(listen(l, 5));
    say_state("listening", l);
    say("SO_ACCEPTCONN %d", get_int(l, SOL_SOCKET, SO_ACCEPTCONN));
    say_table("table", 9006);
    int c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = dial(9006);
        say_state("client", c[i]);
    }
    wait_events("listener", l, POLLIN);
    say_send("first client", c[0], "queued before accept");
    say_send("second client", c[1], "gone");
    close(c[1]);
    wait_rows(9006, S_FIN_WAIT2, 1); /* the FIN's ACK may be delayed */
    say_table("nobody has accepted", 9006);
    for (int i = 0; i < 3; i++) {
        int s = MUST(accept(l, NULL, NULL));
        say("accepted %d", i + 1);
        say_state("  it", s);
        say_recv("  it", s);
        say_recv("  it", s);
        say_events("  it", s);
        close(s);
    }
    nonblocking(l);
    OK(accept(l, NULL, NULL));
    say_events("listener", l);
    return 0;
}
