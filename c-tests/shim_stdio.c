/* stdio on a socket: streams of fdopen, and the standard ones where a socket took their numbers,
 * as inetd does it: also in programs that were started so, by exec and posix_spawn. */
#include "probe.h"
#include <spawn.h>
#include <wchar.h>

extern char **environ;

static void pair(int *a, int *b)
{
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in at = in4("127.0.0.1", 0);
    socklen_t n = sizeof at;
    MUST(bind(l, SA(at), sizeof at));
    MUST(listen(l, 5));
    MUST(getsockname(l, SA(at), &n));
    *a = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(*a, SA(at), sizeof at));
    *b = MUST(accept(l, NULL, NULL));
    close(l);
}

/* Says what comes until nothing more does. */
static void told(const char *who, int fd)
{
    char buf[4096];
    size_t got = 0;
    ssize_t n = 0;
    if (!await(fd, POLLIN, 3000)) {
        say("%s: nothing came", who);
        return;
    }
    do {
        n = recv(fd, buf + got, sizeof buf - 1 - got, MSG_DONTWAIT);
        if (n > 0) got += (size_t)n;
    } while (n > 0 && await(fd, POLLIN, 100));
    if (got == 0 && n < 0) say("%s: -1 %s", who, ename(errno));
    else if (got == 0) say("%s: end of file", who);
    else {
        buf[got] = 0;
        for (char *p = buf; *p; p++) if (*p == '\n') *p = '/';
        say("%s: \"%s\"", who, buf);
    }
}

static void streams(void)
{
    int a, b;
    char line[128];
    pair(&a, &b);
    say("-- one stream for both directions, unbuffered; rewind between them");
    FILE *f = fdopen(a, "r+");
    setbuf(f, NULL);
    fprintf(f, "%d", 42);
    told("peer", b);
    MUST(send(b, "answer\n", 7, 0));
    say("fgets: %s", fgets(line, sizeof line, f) ? strtok(line, "\n") : "none");
    say("getc of a stream at its end:");
    MUST(shutdown(b, SHUT_WR));
    say("%d, feof %d ferror %d", getc(f), !!feof(f), !!ferror(f));
    say("fileno %d", fileno(f) == a);
    R(fclose(f));
    R(fcntl(a, F_GETFD));
    close(b);
    say("-- a full buffer is 4096 bytes");
    pair(&a, &b);
    f = fdopen(a, "w");
    for (int i = 0; i < 4096; i++) putc('x', f);
    say("after 4096: %d", inq(b));
    putc('x', f);
    ms(20);
    say("after 4097: %d", inq(b));
    R(fflush(f));
    ms(20);
    say("flushed: %d", inq(b));
    say("-- freopen gives the descriptor back");
    say("freopen: %d", freopen("/dev/null", "w", f) == f);
    char sink[8192];
    long got = 0;
    ssize_t n;
    while ((n = recv(b, sink, sizeof sink, 0)) > 0) got += n;
    say("peer: %ld bytes, then %zd", got, n);
    R(fclose(f));
    close(b);
    say("-- a stream whose peer is gone");
    pair(&a, &b);
    f = fdopen(a, "w");
    signal(SIGPIPE, SIG_IGN);
    struct linger rst = {1, 0};
    setsockopt(b, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
    close(b);
    ms(20);
    fputs("to nobody", f);
    int r = fflush(f);
    say("fflush = %d %s", r, ename(errno));
    say("ferror %d", !!ferror(f));
    say("fclose = %d", fclose(f));
    signal(SIGPIPE, SIG_DFL);
    say("-- wide characters");
    pair(&a, &b);
    f = fdopen(a, "w");
    fwprintf(f, L"%ls %d\n", L"wide", 7);
    R(fclose(f));
    told("peer", b);
    close(b);
}

static void standard(void)
{
    int a, b, st;
    say("-- printf after dup2");
    pair(&a, &b);
    pid_t p = fork();
    if (!p) {
        char line[64];
        dup2(a, 0), dup2(a, 1), dup2(a, 2);
        close(a), close(b);
        printf("hello from printf\n");
        fflush(stdout);
        while (fgets(line, sizeof line, stdin)) {
            printf("got %s", line);
            fflush(stdout);
            errno = ENOENT;
            perror("perror");
        }
        puts("over");
        exit(3);
    }
    close(a);
    told("peer", b);
    MUST(send(b, "one\n", 4, 0));
    told("peer", b);
    MUST(shutdown(b, SHUT_WR));
    told("peer", b);
    told("peer", b);
    waitpid(p, &st, 0);
    say("status %d", WEXITSTATUS(st));
    close(b);
    say("-- programs that know nothing of sockets");
    pair(&a, &b);
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, a, 0);
    posix_spawn_file_actions_adddup2(&fa, a, 1);
    posix_spawn_file_actions_addclose(&fa, a);
    posix_spawn_file_actions_addclose(&fa, b);
    char *sort[] = {"sort", NULL}, *sh[] = {"sh", "-c", "echo from sh; read x; echo got $x; exec cat", NULL};
    say("posix_spawnp = %d", posix_spawnp(&p, "sort", &fa, NULL, sort, environ));
    close(a);
    MUST(send(b, "b\nc\na\n", 6, 0));
    MUST(shutdown(b, SHUT_WR));
    told("sort", b);
    told("sort", b);
    waitpid(p, &st, 0);
    say("status %d", WEXITSTATUS(st));
    close(b);
    pair(&a, &b);
    if (!(p = fork())) {
        dup2(a, 0), dup2(a, 1);
        close(a), close(b);
        execvp("sh", sh);
        _exit(1);
    }
    close(a);
    told("sh", b);
    MUST(send(b, "line\nrest", 9, 0));
    MUST(shutdown(b, SHUT_WR));
    told("sh", b);
    wait_events("sh", b, POLLRDHUP);
    waitpid(p, &st, 0);
    say("status %d", WEXITSTATUS(st));
    close(b);
}

int main(void)
{
    streams();
    standard();
    return 0;
}
