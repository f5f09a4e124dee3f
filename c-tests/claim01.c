/* Claim 1: socket() makes a CLOSED socket without addresses; netstat doesn't show it. */
#include "probe.h"

int main(void)
{
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0)), t = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    say("descriptors: %d", t - s);
    say_state("v4", s);
    say_name("v4", s);
    say_peer("v4", s);
    say_events("v4", s);
    say_error("v4", s);
    say_state("v6", t);
    say_name("v6", t);
    say_peer("v6", t);
    say_events("v6", t);
    say_table("table", 0);
    OK(close(s));
    OK(close(t));
    OK(close(s));
    say("the number is free again: %s", socket(AF_INET, SOCK_STREAM, 0) == s ? "yes" : "no");
    traffic(9001);
    return 0;
}
