/* Claim 39: UDP: no accept, datagrams keep their bounds, their size is limited, one to many, loss is unreported. */
#include "probe.h"

int main(void)
{
    int a = MUST(socket(AF_INET, SOCK_DGRAM, 0)), b = MUST(socket(AF_INET, SOCK_DGRAM, 0)), c = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_in to = in4("127.0.0.1", 9039), to2 = in4("127.0.0.1", 9040), none = in4("127.0.0.1", 9041), from;
    socklen_t n = sizeof from;
    static char big[70000], buf[70000];
    MUST(bind(b, SA(to), sizeof to));
    MUST(bind(c, SA(to2), sizeof to2));
    say_events("fresh", a);
    OK(listen(b, 1));
    OK(accept(b, NULL, NULL));
    R(sendto(a, "one", 3, 0, SA(to), sizeof to));
    R(sendto(a, "three", 5, 0, SA(to), sizeof to));
    R(sendto(a, "", 0, 0, SA(to), sizeof to));
    R(sendto(a, "two", 3, 0, SA(to2), sizeof to2));
    await(b, POLLIN, 10000);
    say("FIONREAD %d", inq(b));
    R(recvfrom(b, buf, 100, 0, SA(from), &n));
    say("from %s, length %d, the sender's port: %s", inet_ntoa(from.sin_addr), (int)n, ntohs(from.sin_port) == port_of(a) ? "yes" : "no");
    R(recv(b, buf, 2, 0));
    R(recv(b, buf, 100, 0));
    R(recv(b, buf, 100, MSG_DONTWAIT));
    R(recv(c, buf, 100, 0));
    R(sendto(a, big, 65507, 0, SA(to), sizeof to));
    R(recv(b, buf, sizeof buf, 0));
    R(sendto(a, big, 65508, 0, SA(to), sizeof to));
    R(sendto(a, "long", 4, 0, SA(to), sizeof to));
    R(recv(b, buf, 2, MSG_TRUNC));
    say("-- nobody there");
    R(sendto(a, "x", 1, 0, SA(none), sizeof none));
    ms(20);
    say_error("unconnected", a);
    R(sendto(a, "x", 1, 0, SA(none), sizeof none));
    OK(connect(a, SA(none), sizeof none));
    say_peer("connected", a);
    R(send(a, "x", 1, 0));
    await(a, POLLERR, 10000);
    say_events("connected", a);
    R(send(a, "x", 1, 0));
    R(send(a, "x", 1, 0));
    await(a, POLLERR, 10000);
    R(recv(a, buf, 10, MSG_DONTWAIT));
    R(recv(a, buf, 10, MSG_DONTWAIT));
    say("-- a full receive buffer loses datagrams without a word");
    set_int(b, SOL_SOCKET, SO_RCVBUF, 4096);
    OK(connect(a, SA(to), sizeof to));
    int sent = 0, got = 0;
    for (int i = 0; i < 100; i++) sent += send(a, big, 1000, 0) == 1000;
    ms(20);
    while (recv(b, buf, sizeof buf, MSG_DONTWAIT) > 0) got++;
    say("sent %d, some arrived: %s, some were lost: %s", sent, got > 0 ? "yes" : "no", got < 100 ? "yes" : "no");
    return 0;
}
