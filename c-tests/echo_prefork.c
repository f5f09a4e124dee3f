/* echo_prefork HOST PORT CLIENTS WORKERS: the workers accept from one listener that they inherited. */
#include "net.h"

int main(int argc, char **argv)
{
    if (argc < 5) return 2;
    int l = serve_at(argv[1], argv[2], 20), want = atoi(argv[3]), workers = atoi(argv[4]), done[2];
    pid_t pids[64];
    if (workers > 64) return 2;
    if (pipe(done)) die("pipe");
    for (int i = 0; i < workers; i++) {
        pid_t pid = pids[i] = fork();
        if (pid < 0) die("fork");
        if (pid == 0) {
            for (;;) {
                int s = accept(l, NULL, NULL);
                if (s < 0) die("accept");
                long n = echo(s);
                close(s);
                if (write(done[1], &n, sizeof n) != sizeof n) _exit(1);
            }
        }
    }
    printf("ready\n");
    fflush(stdout);
    long sum = 0, n;
    for (int i = 0; i < want; i++) {
        if (read(done[0], &n, sizeof n) != sizeof n) die("read");
        sum += n;
    }
    printf("%d clients, %ld bytes\n", want, sum);
    fflush(stdout);
    for (int i = 0; i < workers; i++) kill(pids[i], SIGTERM);
    while (wait(NULL) > 0) {}
    printf("workers ended\n");
    return 0;
}
