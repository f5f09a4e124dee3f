/* What signals, jumps out of their handlers, cancellation, fork and close in other threads do to
 * calls that are blocked; and masks and numbers of descriptors at their limits. */
#include "probe.h"
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static volatile sig_atomic_t caught;
static void handler(int sig) { (void)sig; caught++; }

static void on(int sig, void (*f)(int), int flags)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = f;
    sa.sa_flags = flags;
    MUST(sigaction(sig, &sa, NULL));
}

static int listening(struct sockaddr_in *at)
{
    int l = MUST(socket(AF_INET, SOCK_STREAM, 0));
    socklen_t n = sizeof *at;
    *at = in4("127.0.0.1", 0);
    MUST(bind(l, SA(*at), sizeof *at));
    MUST(listen(l, 5));
    MUST(getsockname(l, SA(*at), &n));
    return l;
}

static void pair(int *a, int *b)
{
    struct sockaddr_in at;
    int l = listening(&at);
    *a = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(*a, SA(at), sizeof at));
    *b = MUST(accept(l, NULL, NULL));
    close(l);
}

/* Whether the peer sees the end within a time that is long enough on any machine. */
static void say_end(const char *what, int fd)
{
    char c;
    struct pollfd p = {fd, POLLIN, 0};
    int n = poll(&p, 1, 10000);
    say("%s: poll %d, recv %d", what, n, n == 1 ? (int)recv(fd, &c, 1, MSG_DONTWAIT) : -2);
}

static void say_open(const char *what, int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    say("%s: poll %d", what, poll(&p, 1, 100));
}

/* The thread sleeps (S) for a while: it is blocked. */
static void blocked_in(pid_t tid)
{
    for (int i = 0, calm = 0; i < 4000 && calm < 10; i++) {
        char path[64], line[512] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", tid);
        FILE *f = fopen(path, "r");
        if (!f) return; /* It is over. */
        if (!fgets(line, sizeof line, f)) line[0] = 0;
        fclose(f);
        char *state = strrchr(line, ')');
        calm = state && state[2] == 'S' ? calm + 1 : 0;
        ms(2);
    }
}

struct task {
    int fd, flags, number;
    size_t n;
    volatile int result;
    volatile int error;
    volatile pid_t tid;
    int (*call)(struct task *);
};

static void *run(void *arg)
{
    struct task *t = arg;
    t->tid = (pid_t)syscall(SYS_gettid);
    errno = 0;
    t->result = t->call(t);
    t->error = t->result < 0 ? errno : 0;
    return NULL;
}

static pthread_t start(struct task *t)
{
    pthread_t thread;
    t->tid = 0;
    MUST(pthread_create(&thread, NULL, run, t));
    while (!t->tid) ms(1);
    blocked_in(t->tid);
    return thread;
}

static int recv_call(struct task *t)
{
    static char b[4096];
    return (int)recv(t->fd, b, t->n, t->flags);
}
static int send_call(struct task *t)
{
    char *b = calloc(1, t->n);
    long n = send(t->fd, b, t->n, t->flags);
    free(b);
    return n > 0 && n < (long)t->n ? 1 : (int)n;
}
static int accept_call(struct task *t) { return accept(t->fd, NULL, NULL) < 0 ? -1 : 0; }

/* --- SA_RESTART with a part done ---------------------------------------------------------- */

static void restarted(void)
{
    int a, b;
    pair(&a, &b);
    on(SIGUSR1, handler, SA_RESTART);
    say("-- SA_RESTART after a part");
    struct task t = {.fd = a, .n = 100, .flags = MSG_WAITALL, .call = recv_call};
    MUST(send(b, "0123456789", 10, 0));
    pthread_t thread = start(&t);
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL);
    say("recv(MSG_WAITALL) with 10 bytes: %d, handlers %d", t.result, (int)caught);
    t = (struct task){.fd = a, .n = 8 << 20, .call = send_call};
    thread = start(&t);
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL);
    say("send of 8 MB is cut short: %d, handlers %d", t.result, (int)caught);
    say("-- without a part it goes on");
    t = (struct task){.fd = a, .n = 4, .flags = MSG_WAITALL, .call = recv_call};
    thread = start(&t);
    pthread_kill(thread, SIGUSR1);
    while (caught < 3) ms(1);
    blocked_in(t.tid);
    MUST(send(b, "late", 4, 0));
    pthread_join(thread, NULL);
    say("recv: %d, handlers %d", t.result, (int)caught);
    reset_close(a), reset_close(b);
}

static int closing;
static void closer(int sig) { (void)sig; close(closing); }

/* The call is made again, with what the descriptor is by then. */
static void closed_by_the_handler(void)
{
    int a, b;
    pair(&a, &b);
    say("-- the handler closes the socket, SA_RESTART");
    on(SIGUSR1, closer, SA_RESTART);
    closing = a;
    struct task t = {.fd = a, .n = 4, .call = recv_call};
    pthread_t thread = start(&t);
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL);
    say("recv: %d %s", t.result, ename(t.error));
    say_end("peer", b);
    close(b);
}

/* --- jumping out --------------------------------------------------------------------------- */

static sigjmp_buf out;
static void jump(int sig) { (void)sig; siglongjmp(out, 1); }

static int lowest(void)
{
    int fd = MUST(open("/dev/null", O_RDONLY));
    close(fd);
    return fd;
}

static int jumping_recv(struct task *t)
{
    char c;
    if (!sigsetjmp(out, 1)) return (int)recv(t->fd, &c, 1, 0);
    close(t->fd);
    return 7;
}
static int jumping_poll(struct task *t)
{
    struct pollfd p[40];
    for (int i = 0; i < 40; i++) p[i] = (struct pollfd){i ? -1 : t->fd, POLLIN, 0};
    if (!sigsetjmp(out, 1)) return poll(p, 40, -1);
    close(t->fd);
    return 7;
}
static int jumping_accept(struct task *t)
{
    if (!sigsetjmp(out, 1)) return accept(t->fd, NULL, NULL);
    return 7;
}

static void jumps(void)
{
    int a, b;
    struct sockaddr_in at;
    on(SIGUSR1, jump, 0);
    int (*calls[])(struct task *) = {jumping_recv, jumping_poll};
    for (int i = 0; i < 2; i++) {
        say("-- siglongjmp out of %s", i ? "poll" : "recv");
        pair(&a, &b);
        struct task t = {.fd = a, .call = calls[i]};
        pthread_t thread = start(&t);
        pthread_kill(thread, SIGUSR1);
        pthread_join(thread, NULL);
        say("jumped: %d", t.result);
        say_end("peer after close", b);
        close(b);
    }
    say("-- siglongjmp out of accept");
    int l = listening(&at), before = lowest();
    for (int i = 0; i < 3; i++) {
        struct task t = {.fd = l, .call = jumping_accept};
        pthread_t thread = start(&t);
        pthread_kill(thread, SIGUSR1);
        pthread_join(thread, NULL);
        say("jumped: %d, descriptors more: %d", t.result, lowest() - before);
    }
    close(l);
}

/* --- cancellation -------------------------------------------------------------------------- */

static volatile int go;
static int fd_of;

static int late_recv(void) { char c; return (int)recv(fd_of, &c, 1, 0); }
static int late_accept(void) { return accept(fd_of, NULL, NULL); }
static int late_poll(void) { struct pollfd p = {fd_of, POLLIN, 0}; return poll(&p, 1, -1); }
static int late_select(void)
{
    fd_set r;
    FD_ZERO(&r);
    FD_SET(fd_of, &r);
    return select(fd_of + 1, &r, NULL, NULL, NULL);
}
static int late_epoll(void)
{
    struct epoll_event ev = {.events = EPOLLIN};
    int ep = MUST(epoll_create1(0));
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd_of, &ev));
    int n = epoll_wait(ep, &ev, 1, -1);
    close(ep);
    return n;
}
static int late_send(void) { return (int)send(fd_of, "x", 1, 0); }

static void *late(void *call)
{
    while (!go) sched_yield();
    ((int (*)(void))call)();
    say("not cancelled");
    return NULL;
}

static void cancelled(const char *what, int (*call)(void), int fd)
{
    pthread_t t;
    void *result = NULL;
    go = 0;
    fd_of = fd;
    MUST(pthread_create(&t, NULL, late, (void *)call));
    MUST(pthread_cancel(t));
    go = 1;
    pthread_join(t, &result);
    say("%s: cancelled %d", what, result == PTHREAD_CANCELED);
}

static void cancellations(void)
{
    int a, b;
    struct sockaddr_in at;
    pair(&a, &b);
    int l = listening(&at);
    say("-- cancelled before the call");
    cancelled("recv", late_recv, a);
    cancelled("poll", late_poll, a);
    cancelled("select", late_select, a);
    cancelled("epoll_wait", late_epoll, a);
    cancelled("accept", late_accept, l);
    cancelled("send", late_send, a);
    say_open("peer", b);
    MUST(send(b, "x", 1, 0));
    wait_events("data", a, POLLIN);
    cancelled("recv with data there", late_recv, a);
    wait_events("data", a, POLLIN);
    close(a), close(b), close(l);
}

static volatile int stage;

/* It is kept for when it can act, in a child too. */
static void *disabled(void *arg)
{
    char c;
    int old;
    pid_t pid;
    (void)arg;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    stage = 1;
    while (stage != 2) sched_yield();
    R(recv(fd_of, &c, 1, MSG_DONTWAIT));
    if (!child(&pid)) say_exit("child", pid);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    recv(fd_of, &c, 1, 0);
    say("not cancelled");
    return NULL;
}

static void cancelled_while_disabled(void)
{
    int a, b;
    pthread_t t;
    void *result = NULL;
    pair(&a, &b);
    say("-- cancelled while that is disabled");
    fd_of = a;
    stage = 0;
    MUST(pthread_create(&t, NULL, disabled, NULL));
    while (stage != 1) sched_yield();
    MUST(pthread_cancel(t));
    stage = 2;
    pthread_join(t, &result);
    say("recv when it is enabled: cancelled %d", result == PTHREAD_CANCELED);
    close(a), close(b);
}

static void *in_pause(void *arg)
{
    pause();
    return arg;
}

static void *blocked_recv(void *arg)
{
    struct task *t = arg;
    run(t);
    say("not cancelled");
    return NULL;
}

/* Threads that libc has cancelled are nobody's concern afterwards. */
static void many_cancelled(void)
{
    enum { THREADS = 1100 };
    int a, b, n = 0;
    pthread_t t;
    void *result;
    say("-- %d threads cancelled in pause, one in recv", THREADS);
    for (int i = 0; i < THREADS; i++) {
        MUST(pthread_create(&t, NULL, in_pause, NULL));
        MUST(pthread_cancel(t));
        pthread_join(t, &result);
        n += result == PTHREAD_CANCELED;
    }
    say("cancelled: %d", n);
    pair(&a, &b);
    struct task task = {.fd = a, .n = 1, .call = recv_call};
    MUST(pthread_create(&t, NULL, blocked_recv, &task));
    while (!task.tid) ms(1);
    blocked_in(task.tid);
    MUST(pthread_cancel(t));
    pthread_join(t, &result);
    say("recv: cancelled %d", result == PTHREAD_CANCELED);
    close(a), close(b);
}

/* --- fork while accept is blocked ----------------------------------------------------------- */

static void *reap(void *arg)
{
    say_exit("child", *(pid_t *)arg);
    return NULL;
}

static void forks(void)
{
    extern char **environ;
    for (int how = 0; how < 2; how++) {
        struct sockaddr_in at;
        int l = listening(&at), hold[2];
        MUST(pipe2(hold, O_CLOEXEC));
        say("-- %s while accept is blocked", how ? "posix_spawn" : "fork");
        struct task t = {.fd = l, .call = accept_call};
        int taken = lowest();
        pthread_t thread = start(&t);
        say("a number is taken: %d", lowest() - taken);
        pid_t pid;
        char *argv[] = {"cat", NULL};
        posix_spawn_file_actions_t fa;
        posix_spawn_file_actions_init(&fa);
        posix_spawn_file_actions_adddup2(&fa, hold[0], 0);
        if (how) MUST(posix_spawnp(&pid, "cat", &fa, NULL, argv, environ) ? -1 : 0);
        else if (child(&pid)) {
            char c;
            say("in the child it is free: %d", lowest() <= taken);
            close(hold[1]), close(l);
            exit(read(hold[0], &c, 1) == 0 ? 3 : 4);
        }
        if (!how) ms(50);
        int c = MUST(socket(AF_INET, SOCK_STREAM, 0));
        MUST(connect(c, SA(at), sizeof at));
        pthread_join(thread, NULL);
        say("accepted: %d", t.result);
        /* The number that accept took. */
        close(taken);
        say_end("peer after close", c);
        close(c), close(l), close(hold[1]), close(hold[0]);
        pthread_create(&thread, NULL, reap, &pid);
        pthread_join(thread, NULL);
    }
}

/* --- no waiting, and a mask ------------------------------------------------------------------ */

static void zero(void)
{
    int a, b;
    pair(&a, &b);
    sigset_t usr1, none;
    sigemptyset(&usr1), sigemptyset(&none), sigaddset(&usr1, SIGUSR1);
    on(SIGUSR1, handler, 0);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    struct timespec ts = {0, 0};
    struct pollfd p = {a, POLLIN, 0};
    fd_set r;
    say("-- a signal pending that the mask lets through, time limit 0");
    caught = 0;
    raise(SIGUSR1);
    R(ppoll(&p, 1, &ts, &none));
    say("handlers ran: %d", (int)caught);
    raise(SIGUSR1);
    FD_ZERO(&r);
    FD_SET(a, &r);
    R(pselect(a + 1, &r, NULL, NULL, &ts, &none));
    say("handlers ran: %d", (int)caught);
    int ep = MUST(epoll_create1(0));
    struct epoll_event ev = {.events = EPOLLIN};
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, a, &ev));
    raise(SIGUSR1);
    R(epoll_pwait(ep, &ev, 1, 0, &none));
    say("handlers ran: %d", (int)caught);
    R(ppoll(&p, 1, &ts, NULL));
    say("handlers ran: %d", (int)caught);
    R(epoll_pwait(ep, &ev, 1, 1, &none));
    say("handlers ran: %d", (int)caught);
    MUST(send(b, "x", 1, 0));
    wait_events("data", a, POLLIN);
    raise(SIGUSR1);
    R(ppoll(&p, 1, &ts, &none));
    say("ready: handlers ran: %d", (int)caught);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    say("handlers ran: %d", (int)caught);
    close(a), close(b), close(ep);
}

/* --- close while another thread polls --------------------------------------------------------- */

static int poll_call(struct task *t)
{
    struct pollfd p = {t->fd, POLLIN, 0};
    int n = poll(&p, 1, t->number);
    say("poll = %d %s", n, events_name(p.revents));
    return n;
}
static int select_call(struct task *t)
{
    fd_set r;
    FD_ZERO(&r);
    FD_SET(t->fd, &r);
    struct timeval tv = {0, t->number * 1000};
    int n = select(t->fd + 1, &r, NULL, NULL, &tv);
    say("select = %d %s", n, n < 0 ? ename(errno) : "");
    return n;
}

static void closes(void)
{
    int a, b;
    for (int i = 0; i < 3; i++) {
        say("-- close while a thread is in %s%s", i == 1 ? "select" : "poll", i == 2 ? ", then data" : "");
        pair(&a, &b);
        struct task t = {.fd = a, .number = i == 2 ? 60000 : 700, .call = i == 1 ? select_call : poll_call};
        pthread_t thread = start(&t);
        close(a);
        say_open("peer", b);
        if (i == 2) MUST(send(b, "x", 1, 0));
        pthread_join(thread, NULL);
        if (i == 2) wait_events("peer", b, POLLHUP);
        else say_end("peer", b);
        close(b);
    }
}

/* --- stopped, and continued --------------------------------------------------------------------- */

static int epoll_call(struct task *t)
{
    struct epoll_event ev = {.events = EPOLLIN};
    int ep = MUST(epoll_create1(0));
    MUST(epoll_ctl(ep, EPOLL_CTL_ADD, t->fd, &ev));
    return epoll_wait(ep, &ev, 1, -1);
}

/* No signal for the process is pending any more. */
static void taken(pid_t pid)
{
    for (int i = 0, pending = 1; i < 4000 && pending; i++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/%d/status", pid);
        FILE *f = fopen(path, "r");
        if (!f) return;
        while (fgets(line, sizeof line, f))
            if (!strncmp(line, "ShdPnd:", 7)) pending = strtoull(line + 7, NULL, 16) != 0;
        fclose(f);
        ms(2);
    }
}

static void stops(void)
{
    int (*calls[])(struct task *) = {recv_call, recv_call, recv_call, epoll_call, poll_call};
    const char *names[] = {"recv", "recv with SO_RCVTIMEO", "recv(MSG_WAITALL) with a part", "epoll_wait", "poll"};
    for (int i = 0; i < 10; i++) {
        int a, b, which = i / 2, st, stop = i % 2 ? SIGTSTP : SIGSTOP;
        pid_t pid;
        say("-- SIG%s and SIGCONT: %s", sigabbrev_np(stop), names[which]);
        pair(&a, &b);
        if (which == 1) MUST(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){100, 0}, sizeof(struct timeval)));
        if (which == 2) MUST(send(b, "part", 4, 0));
        if (child(&pid)) {
            struct task t = {.fd = a, .n = 10, .flags = which == 2 ? MSG_WAITALL : 0, .number = 100000, .call = calls[which]};
            run(&t);
            say("%d %s", t.result, ename(t.error));
            exit(0);
        }
        blocked_in(pid);
        kill(pid, stop);
        if (stop == SIGSTOP) MUST(waitpid(pid, &st, WUNTRACED));
        else taken(pid); /* Nobody stops by it without a shell. */
        kill(pid, SIGCONT);
        if (which == 0 || which == 4) {
            blocked_in(pid);
            MUST(send(b, "x", 1, 0));
        }
        say_exit("child", pid);
        close(a), close(b);
    }
}

/* What arrives while the process is stopped ends the call when it continues. */
static void signalled_while_stopped(void)
{
    int (*calls[])(struct task *) = {recv_call, poll_call, epoll_call};
    const char *names[] = {"recv", "poll", "epoll_wait"};
    for (int i = 0; i < 6; i++) {
        int a, b, which = i / 2, st, stop = i % 2 ? SIGTSTP : SIGSTOP;
        pid_t pid;
        say("-- SIG%s, a signal with a handler, SIGCONT: %s", sigabbrev_np(stop), names[which]);
        pair(&a, &b);
        if (child(&pid)) {
            /* In a group of its own SIGTSTP stops it. */
            setpgid(0, 0);
            on(SIGUSR1, handler, 0);
            caught = 0;
            struct task t = {.fd = a, .n = 1, .number = 100000, .call = calls[which]};
            run(&t);
            say("%d %s, handlers %d", t.result, ename(t.error), (int)caught);
            exit(0);
        }
        blocked_in(pid);
        kill(pid, stop);
        MUST(waitpid(pid, &st, WUNTRACED));
        say("stopped: %d", WIFSTOPPED(st));
        kill(pid, SIGUSR1);
        kill(pid, SIGCONT);
        say_exit("child", pid);
        close(a), close(b);
    }
}

/* --- a connection and a signal come together ---------------------------------------------------- */

static int release[2];
static volatile sig_atomic_t handlers_child;

static void forking(int sig)
{
    (void)sig;
    caught++;
    if (fork()) return;
    handlers_child = 1;
    close(closing), close(release[1]);
}

static int held(void)
{
    char c;
    return (int)read(release[0], &c, 1);
}

/* Linux's accept is made again after the handler, whose child has closed the listener. */
static int forking_accept(struct task *t)
{
    char c;
    closing = t->fd;
    int before = lowest(), fd = accept(t->fd, NULL, NULL);
    if (handlers_child) _exit(held());
    MUST(send(fd, "p", 1, 0));
    MUST(recv(fd, &c, 1, 0));
    close(fd);
    say("accepted, handlers %d, descriptors more: %d", (int)caught, lowest() - before);
    return 0;
}

/* The number that accept had taken is as any other afterwards. */
static int jumped_accept(struct task *t)
{
    pid_t pid;
    t->number = lowest();
    if (!sigsetjmp(out, 1)) return accept(t->fd, NULL, NULL);
    MUST(dup2(release[0], t->number));
    if (child(&pid)) {
        say("in a child: %s", fcntl(t->number, F_GETFD) < 0 ? ename(errno) : "open");
        exit(0);
    }
    say_exit("child", pid);
    return 7;
}

static void together(void)
{
    for (int how = 0; how < 2; how++) {
        struct sockaddr_in at;
        struct task t = {.call = how ? jumped_accept : forking_accept};
        int st;
        pid_t pid;
        char c = 0;
        t.fd = listening(&at);
        say("-- a connection and a signal come together: the handler %s", how ? "jumps out" : "forks");
        MUST(pipe(release));
        if (child(&pid)) {
            on(SIGUSR1, how ? jump : forking, SA_RESTART);
            caught = 0;
            run(&t);
            exit(0);
        }
        blocked_in(pid);
        kill(pid, SIGSTOP);
        MUST(waitpid(pid, &st, WUNTRACED));
        int s = MUST(socket(AF_INET, SOCK_STREAM, 0));
        MUST(connect(s, SA(at), sizeof at));
        kill(pid, SIGUSR1);
        kill(pid, SIGCONT);
        if (!how) {
            R(recv(s, &c, 1, 0));
            say_open("peer", s);
            MUST(send(s, "x", 1, 0));
        }
        close(release[1]);
        say_exit("child", pid);
        close(t.fd);
        if (!how) say_end("peer", s);
        close(s), close(release[0]);
    }
}

/* --- limits ----------------------------------------------------------------------------------- */

static int many_call(struct task *t)
{
    static struct pollfd p[200];
    for (int i = 0; i < 200; i++) p[i] = (struct pollfd){-1, POLLIN, 0};
    p[0].fd = t->fd;
    p[1].fd = t->flags;
    int n = poll(p, (nfds_t)t->n, -1);
    say("poll of %d: %d %s", (int)t->n, n, n < 0 ? ename(errno) : events_name(p[0].revents));
    return n;
}

static void numbers(void)
{
    int a, b, pipes[2];
    struct rlimit old, few = {64, 64};
    MUST(pipe(pipes));
    MUST(getrlimit(RLIMIT_NOFILE, &old));
    few.rlim_max = old.rlim_max;
    pair(&a, &b);
    say("-- poll over as many as RLIMIT_NOFILE, and more");
    MUST(setrlimit(RLIMIT_NOFILE, &few));
    on(SIGUSR1, handler, 0);
    for (int n = 62; n <= 65; n++) {
        struct task t = {.fd = a, .flags = pipes[0], .n = (size_t)n, .call = many_call};
        pthread_t thread = start(&t);
        if (n == 63) MUST(send(b, "x", 1, 0));
        else if (n < 65) pthread_kill(thread, SIGUSR1);
        pthread_join(thread, NULL);
        if (n == 63) wait_events("a", a, POLLIN), MUST(recv(a, &few, 1, 0));
    }
    MUST(setrlimit(RLIMIT_NOFILE, &old));
    close(a), close(b), close(pipes[0]), close(pipes[1]);
}

/* Descriptors that are open stay so, whatever the limit is lowered to. */
static void hardly_any(void)
{
    int a, b;
    char c;
    pid_t pid;
    struct rlimit few;
    pair(&a, &b);
    say("-- RLIMIT_NOFILE below all descriptors");
    if (child(&pid)) {
        on(SIGUSR1, handler, 0);
        MUST(getrlimit(RLIMIT_NOFILE, &few));
        few.rlim_cur = 3;
        MUST(setrlimit(RLIMIT_NOFILE, &few));
        R(recv(a, &c, 1, 0));
        MUST(send(a, "y", 1, 0));
        R(recv(a, &c, 1, 0));
        exit(0);
    }
    blocked_in(pid);
    MUST(send(b, "x", 1, 0));
    R(recv(b, &c, 1, 0));
    blocked_in(pid);
    kill(pid, SIGUSR1);
    say_exit("child", pid);
    close(a), close(b);
}

static int masked_call(struct task *t)
{
    sigset_t mask;
    struct pollfd p = {t->fd, POLLIN, 0};
    sigemptyset(&mask);
    sigaddset(&mask, SIGRTMIN + t->number);
    return ppoll(&p, 1, NULL, &mask);
}

static void masks(void)
{
    enum { MASKS = 14 };
    int a, b;
    pair(&a, &b);
    say("-- threads wait with %d different masks", MASKS);
    on(SIGUSR1, handler, 0);
    struct task t[MASKS];
    pthread_t threads[MASKS];
    int interrupted = 0;
    for (int i = 0; i < MASKS; i++) {
        t[i] = (struct task){.fd = a, .number = i, .call = masked_call};
        threads[i] = start(&t[i]);
    }
    for (int i = 0; i < MASKS; i++) {
        pthread_kill(threads[i], SIGUSR1);
        pthread_join(threads[i], NULL);
        interrupted += t[i].result == -1 && t[i].error == EINTR;
    }
    say("interrupted: %d", interrupted);
    close(a), close(b);
}

/* --- Signals to the process ---------------------------------------------------------------- */

static volatile sig_atomic_t value;
static void takes_value(int sig, siginfo_t *info, void *c)
{
    (void)sig, (void)c;
    value = info->si_code == SI_QUEUE ? info->si_value.sival_int : -1;
    caught++;
}

static int unblocked_recv(struct task *t)
{
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    return recv_call(t);
}

static void one_of_many(void)
{
    enum { THREADS = 6, ROUNDS = 20 };
    int a, b;
    pair(&a, &b);
    say("-- %d threads wait, and %d signals come to the process", THREADS, ROUNDS);
    struct sigaction sa = {.sa_sigaction = takes_value, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGUSR1, &sa, NULL));
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    MUST(pthread_sigmask(SIG_BLOCK, &usr1, NULL));
    struct task t[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        t[i] = (struct task){.fd = a, .n = 1, .call = unblocked_recv};
        threads[i] = start(&t[i]);
    }
    caught = 0;
    int others = 0, values = 0;
    for (int round = 1; round <= ROUNDS; round++) {
        MUST(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = round}));
        while (caught < round) ms(1);
        values += value == round;
        for (int i = 0; i < THREADS; i++) blocked_in(t[i].tid);
        int over = 0;
        for (int i = 0; i < THREADS; i++) {
            if (t[i].error != EINTR) continue;
            over++;
            pthread_join(threads[i], NULL);
            t[i] = (struct task){.fd = a, .n = 1, .call = unblocked_recv};
            threads[i] = start(&t[i]);
        }
        others += over - 1;
    }
    say("interrupted but for those whose handler ran: %d; values that came: %d", others, values);
    MUST(shutdown(b, SHUT_WR));
    int ends = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        ends += t[i].result == 0;
    }
    say("ended: %d", ends);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
    close(a), close(b);
    caught = 0;
}

int main(void)
{
    restarted();
    closed_by_the_handler();
    jumps();
    cancellations();
    cancelled_while_disabled();
    many_cancelled();
    forks();
    zero();
    closes();
    stops();
    signalled_while_stopped();
    together();
    numbers();
    hardly_any();
    masks();
    one_of_many();
    return 0;
}
