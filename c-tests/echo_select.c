/* echo_select TIMEOUT_MS PORT...: one process, a listener on each port, select over them, the clients and stdin; ends with a line
 * on stdin, or when nothing happened for the time. */
#include "net.h"

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    int n = argc - 2, l[16], top = 0, served[16] = {0}, fd_port[FD_SETSIZE] = {0}, stdin_open = 1;
    long bytes = 0;
    fd_set all;
    FD_ZERO(&all);
    FD_SET(0, &all);
    for (int i = 0; i < n; i++) {
        l[i] = serve_at("127.0.0.1", argv[i + 2], 5);
        FD_SET(l[i], &all);
        if (l[i] > top) top = l[i];
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        fd_set rd = all;
        struct timeval tv = {atoi(argv[1]) / 1000, atoi(argv[1]) % 1000 * 1000};
        int k = select(top + 1, &rd, NULL, NULL, &tv);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) die("select");
        if (k == 0) {
            printf("nothing for %s ms\n", argv[1]);
            break;
        }
        if (stdin_open && FD_ISSET(0, &rd)) {
            char line[80];
            if (fgets(line, sizeof line, stdin)) {
                printf("stdin says %s", line);
                break;
            }
            stdin_open = 0;
            FD_CLR(0, &all);
        }
        for (int fd = 1; fd <= top; fd++) {
            int is_listener = -1;
            if (!FD_ISSET(fd, &rd)) continue;
            for (int i = 0; i < n; i++)
                if (l[i] == fd) is_listener = i;
            if (is_listener >= 0) {
                int s = accept(fd, NULL, NULL);
                if (s < 0) die("accept");
                FD_SET(s, &all);
                fd_port[s] = is_listener;
                if (s > top) top = s;
            } else {
                char b[4096];
                ssize_t r = read(fd, b, sizeof b);
                if (r > 0) {
                    write_all(fd, b, (size_t)r);
                    bytes += r;
                    continue;
                }
                served[fd_port[fd]]++;
                close(fd);
                FD_CLR(fd, &all);
            }
        }
    }
    for (int i = 0; i < n; i++) printf("port %s: %d clients\n", argv[i + 2], served[i]);
    printf("%ld bytes\n", bytes);
    return 0;
}
