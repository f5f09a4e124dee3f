/* SO_REUSEPORT: listeners of one address share what comes, by a hash of the two ends; one that closes leaves its share to the
 * others, and each listener has a queue of its own. */
#include "probe.h"

#define LISTENERS 3
#define CLIENTS 90

static int one(const char *ip, int port)
{
    struct sockaddr_in a = in4(ip, port);
    int s = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    set_int(s, SOL_SOCKET, SO_REUSEPORT, 1);
    MUST(bind(s, SA(a), sizeof a));
    MUST(listen(s, 200));
    return s;
}

static int take(int l)
{
    int n = 0;
    for (int s; (s = accept(l, NULL, NULL)) >= 0; n++) reset_close(s);
    return n;
}

static void clients(int n)
{
    for (int i = 0; i < n; i++) {
        int c = MUST(socket(AF_INET, SOCK_STREAM, 0));
        MUST(connect_raw(c, "127.0.0.1", 9150));
        close(c);
    }
    ms(50);
}

int main(void)
{
    int l[LISTENERS], n[LISTENERS], all = 0, fair = 1;
    for (int i = 0; i < LISTENERS; i++) l[i] = one("127.0.0.1", 9150);
    struct sockaddr_in a = in4("127.0.0.1", 9150);
    int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say("bind without the option: %s", bind(s, SA(a), sizeof a) ? ename(errno) : "done");
    clients(CLIENTS);
    for (int i = 0; i < LISTENERS; i++) {
        n[i] = take(l[i]);
        all += n[i];
        fair &= n[i] > CLIENTS / LISTENERS / 4;
    }
    say("all were taken: %s, each has its share: %s", all == CLIENTS ? "yes" : "no", fair ? "yes" : "no");
    close(l[0]);
    clients(CLIENTS);
    for (int i = 1, sum = 0; i < LISTENERS; i++) {
        n[i] = take(l[i]);
        sum += n[i];
        if (i == LISTENERS - 1)
            say("without the first: %s, each has its share: %s", sum == CLIENTS ? "all" : "not all", n[1] > CLIENTS / 8 && n[2] > CLIENTS / 8 ? "yes" : "no");
    }
    int wild = one("0.0.0.0", 9150);
    clients(10);
    say("a listener at any address takes %d beside those at this one", take(wild));
    for (int i = 1; i < LISTENERS; i++) close(l[i]);
    clients(10);
    say("and %d without them", take(wild));
    return 0;
}
