/* echo_fork HOST PORT CLIENTS: a process per client; SIGCHLD reaps them. */
#include "net.h"

static volatile sig_atomic_t reaped, failed;

static void on_child(int sig)
{
    int e = errno, st;
    (void)sig;
    while (waitpid(-1, &st, WNOHANG) > 0) {
        reaped++;
        if (st) failed++;
    }
    errno = e;
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    int l = serve_at(argv[1], argv[2], 5), want = atoi(argv[3]);
    struct sigaction act = {.sa_handler = on_child};
    sigaction(SIGCHLD, &act, NULL); /* without SA_RESTART: accept gives EINTR */
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < want;) {
        int s = accept(l, NULL, NULL);
        if (s < 0 && errno == EINTR) continue;
        if (s < 0) die("accept");
        pid_t pid = fork();
        if (pid < 0) die("fork");
        if (pid == 0) {
            close(l);
            echo(s);
            _exit(0);
        }
        close(s);
        i++;
    }
    while (reaped < want) usleep(10000);
    printf("%d children, %d failed\n", reaped, failed);
    return 0;
}
