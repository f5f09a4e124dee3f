/* Claim 12: the client may send while the server is still SYN_RCVD. TCP_DEFER_ACCEPT keeps the server there until data comes. */
#include "probe.h"

int main(void)
{
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9012);
    MUST(bind(l, SA(a), sizeof a));
    OK(set_int(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, 10));
    MUST(listen(l, 5));
    int c = dial(9012);
    say_state("client", c);
    say_events("client", c);
    say_events("listener", l);
    say_table("table", 9012);
    say_send("client", c, "early");
    wait_events("listener", l, POLLIN);
    say_table("table", 9012);
    int s = MUST(accept(l, NULL, NULL));
    say_state("server", s);
    say_recv("server", s);
    close(s);
    close(c);
    return 0;
}
