/* splice(2) between pipes and connections, and IP_FREEBIND. */
#include "probe.h"

static int listening, client, server;

static void pair_up(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    listening = socket(AF_INET, SOCK_STREAM, 0);
    bind(listening, (void *)&at, sizeof at);
    listen(listening, 1);
    getsockname(listening, (void *)&at, &len);
    client = socket(AF_INET, SOCK_STREAM, 0);
    connect(client, (void *)&at, len);
    server = accept(listening, NULL, NULL);
}

static void part(void)
{
    close(client);
    close(server);
    close(listening);
}

static int waits(int fd)
{
    int n = -1;
    ioctl(fd, FIONREAD, &n);
    return n;
}

static void readable(int fd, int n)
{
    for (int i = 0; i < 400 && waits(fd) < n; i++) usleep(5000);
}

int main(void)
{
    char buf[70000];
    loff_t at = 0;
    int p[2];
    signal(SIGPIPE, SIG_IGN);
    pair_up();
    pipe(p);

    say("-- to a pipe");
    R(write(client, "hello, world", 12));
    readable(server, 12);
    R(splice(server, NULL, p[1], NULL, 5, 0));
    R(splice(server, NULL, p[1], NULL, 100, 0));
    R(read(p[0], buf, sizeof buf));
    say("%.12s", buf);
    R(splice(server, NULL, p[1], NULL, 0, 0));
    fcntl(server, F_SETFL, O_NONBLOCK);
    R(splice(server, NULL, p[1], NULL, 10, 0));
    R(splice(server, &at, p[1], NULL, 10, 0));
    R(splice(server, NULL, p[1], &at, 10, 0));
    R(splice(server, NULL, client, NULL, 10, 0));
    int null = open("/dev/null", O_RDWR);
    R(splice(server, NULL, null, NULL, 10, 0));
    close(null);

    say("-- a full pipe");
    fcntl(p[1], F_SETFL, O_NONBLOCK);
    memset(buf, 'f', sizeof buf);
    while (write(p[1], buf, 4096) == 4096) ;
    R(write(client, "wait", 4));
    readable(server, 4);
    R(splice(server, NULL, p[1], NULL, 10, SPLICE_F_NONBLOCK));
    say("still there: %d", waits(server));
    while (waits(p[0]) > 0) read(p[0], buf, sizeof buf);
    R(splice(server, NULL, p[1], NULL, 10, SPLICE_F_NONBLOCK));
    R(read(p[0], buf, sizeof buf));

    say("-- from a pipe");
    R(write(p[1], "some text", 9));
    R(splice(p[0], NULL, client, NULL, 4, 0));
    R(splice(p[0], NULL, client, NULL, 100, SPLICE_F_MORE));
    R(splice(p[0], NULL, client, NULL, 100, SPLICE_F_NONBLOCK));
    R(splice(p[0], &at, client, NULL, 100, 0));
    R(splice(p[0], NULL, client, &at, 100, 0));
    readable(server, 9);
    fcntl(server, F_SETFL, 0);
    say("arrived: %d", (int)recv(server, buf, sizeof buf, 0));
    say("%.9s", buf);

    say("-- urgent");
    R(send(client, "abcd!", 5, MSG_OOB));
    R(send(client, "efg", 3, 0));
    readable(server, 7);
    R(splice(server, NULL, p[1], NULL, 2, 0));
    R(splice(server, NULL, p[1], NULL, 100, 0));
    R(splice(server, NULL, p[1], NULL, 100, 0));
    R(recv(server, buf, 1, MSG_OOB));
    R(splice(server, NULL, p[1], NULL, 100, 0));
    R(read(server, buf, 3));
    R(read(p[0], buf, sizeof buf));
    say("%.4s", buf);

    say("-- the end");
    R(shutdown(client, SHUT_WR));
    R(splice(server, NULL, p[1], NULL, 10, 0));
    close(p[1]);
    R(splice(p[0], NULL, server, NULL, 10, 0));
    part();
    close(p[0]);

    say("-- a lot, both ways");
    pair_up();
    pipe(p);
    if (fork() == 0) {
        int q[2], n, total = 0;
        pipe(q);
        while ((n = splice(server, NULL, q[1], NULL, 65536, SPLICE_F_MOVE)) > 0)
            for (int done = 0; done < n;) {
                int w = splice(q[0], NULL, server, NULL, n - done, SPLICE_F_MOVE);
                if (w <= 0) _exit(1);
                done += w;
                total += w;
            }
        shutdown(server, SHUT_WR);
        _exit(total != 3000000);
    }
    close(server);
    if (fork() == 0) {
        for (int i = 0; i < 3000000; i += 10000) {
            for (int j = 0; j < 10000; j++) buf[j] = (i + j) * 7 % 251;
            for (int done = 0; done < 10000;) {
                int w = write(client, buf + done, 10000 - done);
                if (w < 0) _exit(1);
                done += w;
            }
        }
        shutdown(client, SHUT_WR);
        _exit(0);
    }
    int n, total = 0, wrong = 0, status;
    while ((n = read(client, buf, sizeof buf)) > 0)
        for (int i = 0; i < n; i++, total++) wrong += (unsigned char)buf[i] != total * 7 % 251;
    say("came back: %d, wrong: %d", total, wrong);
    for (int i = 0; i < 2; i++) {
        wait(&status);
        say("child: %d", status);
    }

    say("-- IP_FREEBIND");
    struct sockaddr_in foreign = {.sin_family = AF_INET, .sin_port = htons(7777)};
    inet_pton(AF_INET, "192.0.2.99", &foreign.sin_addr);
    int s = socket(AF_INET, SOCK_STREAM, 0), v = 1;
    socklen_t len = sizeof v;
    R(bind(s, (void *)&foreign, sizeof foreign));
    R(getsockopt(s, SOL_IP, IP_FREEBIND, &v, &len));
    say("%d", v);
    v = 1;
    R(setsockopt(s, SOL_IP, IP_FREEBIND, &v, sizeof v));
    R(getsockopt(s, SOL_IP, IP_FREEBIND, &v, &len));
    say("%d", v);
    R(bind(s, (void *)&foreign, sizeof foreign));
    R(listen(s, 1));
    return 0;
}
