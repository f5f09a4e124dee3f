/* What becomes of a socket's descriptor: dup, dup2, fcntl, fork, vfork, exec, descriptors sent in
 * messages, close_range, numbers that are used again; and stdio on it. */
#include "probe.h"
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/sendfile.h>
#include <spawn.h>

extern char **environ;
static const char *self;

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

static void numbers(void)
{
    say("-- numbers");
    int a = R(socket(AF_INET, SOCK_STREAM, 0));
    int b = R(socket(AF_INET6, SOCK_STREAM, 0));
    close(a);
    R(dup(b));
    R(fcntl(b, F_DUPFD, 20));
    R(fcntl(b, F_DUPFD_CLOEXEC, 20));
    R(fcntl(21, F_GETFD));
    R(dup2(b, 30));
    R(dup2(b, b));
    R(dup3(b, b, 0));
    R(dup3(b, 31, O_CLOEXEC));
    R(dup2(99, 5));
    R(fcntl(31, F_GETFD));
    struct stat st;
    fstat(b, &st);
    say("mode %o, size %ld", (unsigned)st.st_mode, (long)st.st_size);
    char link[64], path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", b);
    ssize_t n = readlink(path, link, sizeof link - 1);
    link[n > 0 ? n : 0] = 0;
    say("link %.8s", link);
    for (int fd = 3; fd < 40; fd++) close(fd);
    R(close(3));
    R(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
    R(fcntl(3, F_GETFD));
    say("flags %o", fcntl(3, F_GETFL));
    R(fcntl(3, F_SETFL, 0));
    say("flags %o", fcntl(3, F_GETFL));
    R(ioctl(3, FIONBIO, &(int){1}));
    say("flags %o", fcntl(3, F_GETFL));
    R(lseek(3, 0, SEEK_SET));
    R(pread(3, path, 1, 0));
    R(pwrite(3, path, 1, 0));
    R(fsync(3));
    R(isatty(3));
    say("isatty: %s", ename(errno));
    R(close(3));
    R(close(3));
    R(recv(3, path, 1, 0));
    R(send(0x7fffffff, path, 1, 0));
    R(socket(AF_INET, SOCK_STREAM, 17));
    R(socket(AF_INET, SOCK_STREAM | 0x100000, 0));
    R(socket(AF_INET, 77, 0));
    say("-- descriptors run out");
    struct rlimit { unsigned long cur, max; } lim, small = {8, 0};
    extern int getrlimit(int, void *), setrlimit(int, const void *);
    getrlimit(7, &lim);
    small.max = lim.max;
    setrlimit(7, &small);
    int got = 0, fd;
    while ((fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0) got++;
    say("%d sockets, then %s", got, ename(errno));
    for (fd = 3; fd < 8; fd++) close(fd);
    setrlimit(7, &lim);
}

static void replaced(void)
{
    int a, b, c, d;
    say("-- dup2 over the last descriptor closes the connection");
    pair(&a, &b);
    pair(&c, &d);
    OK(dup2(c, a));
    told("peer", b);
    MUST(send(a, "through the copy", 16, 0));
    told("other peer", d);
    close(c);
    MUST(send(a, "still", 5, 0));
    told("other peer", d);
    close(a);
    told("other peer", d);
    close(b), close(d);
    say("-- close_range");
    pair(&a, &b);
    pair(&c, &d);
    int top = a > c ? a : c;
    (void)top;
    int keep = MUST(fcntl(b, F_DUPFD, 100)), keep2 = MUST(fcntl(d, F_DUPFD, 101));
    OK(close_range(3, 99, 0));
    told("first", keep);
    told("second", keep2);
    OK(close_range(3, ~0U, 0));
    R(fcntl(keep, F_GETFD));
    pair(&a, &b);
    MUST(send(a, "after", 5, 0));
    told("new", b);
    close(a), close(b);
    say("-- a loop to 1023");
    for (int fd = 3; fd < 1024; fd++) close(fd);
    pair(&a, &b);
    MUST(send(a, "after", 5, 0));
    told("new", b);
    close(a), close(b);
    say("-- the number is used again by something else");
    pair(&a, &b);
    close(a);
    MUST(pipe((int[2]){0, 0}) == 0 ? 0 : -1);
    struct stat st;
    fstat(a, &st);
    say("now a pipe: %d, poll %s", !!S_ISFIFO(st.st_mode), events_name(events_of(a) & POLLIN));
    R(send(a, "x", 1, 0));
    close(b), close(a);
    for (int fd = 3; fd < 40; fd++) close(fd);
}

static void processes(void)
{
    int a, b;
    say("-- fork: the connection ends with the last process");
    pair(&a, &b);
    pid_t p = fork();
    if (!p) {
        close(b);
        ms(80);
        MUST(send(a, "from the child", 14, 0));
        _exit(0);
    }
    close(a);
    told("parent", b);
    told("parent", b);
    waitpid(p, NULL, 0);
    close(b);
    say("-- vfork and exec: stdin and stdout");
    pair(&a, &b);
    p = vfork();
    if (!p) {
        dup2(a, 0);
        dup2(a, 5 + (a == 5));
        close(a);
        execl(self, self, "echo", NULL);
        _exit(1);
    }
    say("parent still has it: %d", fcntl(a, F_GETFD) >= 0);
    close(a);
    MUST(send(b, "hello", 5, 0));
    told("from the new image", b);
    MUST(shutdown(b, SHUT_WR));
    told("from the new image", b);
    int st;
    waitpid(p, &st, 0);
    say("status %d", WEXITSTATUS(st));
    close(b);
    say("-- posix_spawn");
    pair(&a, &b);
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, a, 0);
    posix_spawn_file_actions_addclose(&fa, b);
    if (a) posix_spawn_file_actions_addclose(&fa, a);
    char *argv[] = {(char *)self, "echo", NULL};
    say("posix_spawn = %d", posix_spawn(&p, self, &fa, NULL, argv, environ));
    close(a);
    MUST(send(b, "spawned", 7, 0));
    told("from the new image", b);
    close(b);
    waitpid(p, &st, 0);
    say("status %d", WEXITSTATUS(st));
    say("-- SIGKILL: unsent data arrives, then the end");
    pair(&a, &b);
    p = fork();
    if (!p) {
        close(b);
        MUST(send(a, "last words", 10, 0));
        kill(getpid(), SIGKILL);
    }
    close(a);
    waitpid(p, NULL, 0);
    told("parent", b);
    told("parent", b);
    close(b);
    say("-- SIGKILL with unread data: RST");
    pair(&a, &b);
    p = fork();
    if (!p) {
        close(b);
        pause();
    }
    close(a);
    MUST(send(b, "unread", 6, 0));
    kill(p, SIGKILL);
    waitpid(p, NULL, 0);
    told("parent", b);
    close(b);
}

static void passing(void)
{
    int a, b, u[2];
    say("-- SCM_RIGHTS");
    pair(&a, &b);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, u));
    char byte = 'x', control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &a, sizeof a);
    pid_t p = fork();
    if (!p) {
        close(a), close(b), close(u[0]);
        MUST(recvmsg(u[1], &m, 0));
        int got;
        memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof got);
        say_state("received", got);
        MUST(send(got, "from the receiver", 17, 0));
        _exit(0);
    }
    MUST(sendmsg(u[0], &m, 0));
    close(a);
    told("peer", b);
    told("peer", b);
    waitpid(p, NULL, 0);
    close(b), close(u[0]), close(u[1]);
}

static void streams(void)
{
    int a, b;
    char line[128];
    say("-- stdio");
    pair(&a, &b);
    FILE *in = fdopen(a, "r"), *out = fdopen(dup(a), "w");
    say("fileno: %d", fileno(in) == a);
    fprintf(out, "%s %d\n", "line", 1);
    fputs("two\n", out);
    say("nothing yet: %d", !await(b, POLLIN, 30));
    fflush(out);
    told("peer", b);
    setvbuf(out, NULL, _IOLBF, 0);
    fputs("three\n", out);
    told("peer", b);
    MUST(send(b, "alpha\nbeta\ngam", 14, 0));
    say("fgets: %s", fgets(line, sizeof line, in) ? strtok(line, "\n") : "none");
    say("fgets: %s", fgets(line, sizeof line, in) ? strtok(line, "\n") : "none");
    R(dprintf(a, "%d+%d=%.1f %s|%d%d%d%d", 1, 2, 3.0, "yes", 4, 5, 6, 7));
    told("peer", b);
    MUST(shutdown(b, SHUT_WR));
    say("fgets: %s", fgets(line, sizeof line, in) ? strtok(line, "\n") : "none");
    say("fgets: %s, feof %d, ferror %d", fgets(line, sizeof line, in) ? "more" : "none", !!feof(in), !!ferror(in));
    R(fseek(in, 0, SEEK_SET));
    fputs("bye", out);
    R(fclose(out));
    told("peer", b);
    R(fclose(in));
    told("peer", b);
    R(fcntl(a, F_GETFD));
    close(b);
    R(fdopen(99, "r") == NULL ? -1 : 0);
}

static void files(void)
{
    int a, b;
    say("-- sendfile");
    pair(&a, &b);
    char name[] = "/tmp/utcp-sendfile-XXXXXX";
    int f = MUST(mkstemp(name));
    unlink(name);
    MUST(write(f, "0123456789", 10));
    off_t at = 2;
    R(sendfile(a, f, &at, 5));
    say("offset %ld", (long)at);
    told("peer", b);
    lseek(f, 8, SEEK_SET);
    R(sendfile(a, f, NULL, 100));
    say("position %ld", (long)lseek(f, 0, SEEK_CUR));
    told("peer", b);
    say("-- sendfile of what is none");
    int pipes[2], nowhere = open("/dev/null", O_WRONLY), path = open("/", O_PATH), dir = open("/", O_RDONLY);
    off_t before = -1;
    MUST(pipe(pipes));
    R(sendfile(a, -1, NULL, 5));
    R(sendfile(a, -1, &at, 5));
    R(sendfile(a, -1, &before, 0));
    R(sendfile(a, f, &before, 5));
    R(sendfile(a, nowhere, NULL, 0));
    R(sendfile(a, nowhere, &at, 5));
    R(sendfile(a, path, NULL, 5));
    R(sendfile(a, dir, NULL, 5));
    R(sendfile(a, dir, &at, 5));
    R(sendfile(a, pipes[0], NULL, 5));
    R(sendfile(a, pipes[0], &at, 5));
    R(sendfile(a, pipes[0], &at, 0));
    R(sendfile(a, a, NULL, 5));
    R(sendfile(a, a, &at, 5));
    close(pipes[0]), close(pipes[1]), close(nowhere), close(path), close(dir);
    struct iovec v[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
    R(writev(a, v, 3));
    told("peer", b);
    R(writev(a, v, -1));
    R(writev(a, v, 1025));
    R(send(a, NULL, 5, 0));
    R(recv(b, NULL, 5, MSG_DONTWAIT));
    close(a), close(b), close(f);
}

int main(int argc, char **argv)
{
    self = "/proc/self/exe";
    if (argc > 1) {
        /* The new image: an echo on descriptor 0. */
        char buf[64];
        ssize_t n;
        while ((n = read(0, buf, sizeof buf)) > 0) {
            struct sockaddr_in at;
            socklen_t len = sizeof at;
            getpeername(0, SA(at), &len);
            int m = snprintf(buf + n, sizeof buf - (size_t)n, " (%s)", at.sin_family == AF_INET ? "inet" : "?");
            write(0, buf, (size_t)(n + m));
        }
        return n == 0 ? 7 : 8;
    }
    numbers();
    replaced();
    processes();
    passing();
    streams();
    files();
    return 0;
}
