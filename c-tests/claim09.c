/* Claim 9: the client goes CLOSED, SYN_SENT, ESTABLISHED; the server LISTEN, SYN_RCVD, ESTABLISHED.
 * Here SYN_SENT is held by a full accept queue; SYN_RCVD is shown by claim09_synrcvd, which needs another host. */
#include "probe.h"

int main(void)
{
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in a = in4("127.0.0.1", 9009);
    say_state("server", l);
    MUST(bind(l, SA(a), sizeof a));
    say_state("server, bound", l);
    MUST(listen(l, 0));
    say_state("server, listening", l);
    int first = dial(9009), c = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    say_state("first client", first);
    say_state("client", c);
    OK(connect_raw(c, "127.0.0.1", 9009));
    say_state("client, connecting", c);
    say_name("client, connecting", c);
    say_peer("client, connecting", c);
    say_events("client, connecting", c);
    say_table("table", 9009);
    int s = MUST(accept(l, NULL, NULL));
    say_state("server's first", s);
    say_state("server's listener", l);
    await(c, POLLOUT, 3000);
    say_state("client, connected", c);
    int s2 = MUST(accept(l, NULL, NULL));
    say_state("server's second", s2);
    say_peer("client, connected", c);
    say_table("table", 9009);
    return 0;
}
