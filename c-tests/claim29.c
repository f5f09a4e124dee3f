/* Claim 29: when the peer's process ends its kernel sends FIN, the reader sees end of file; also after SIGKILL. With data unread: RST. */
#include "probe.h"

static int l;
static void ending(const char *title, int how, int sent, int unread)
{
    pid_t pid;
    int c = dial(9029), s = MUST(accept(l, NULL, NULL));
    say("-- %s", title);
    if (unread) MUST(write(c, "unread", 6));
    long t = now_ms();
    if (child(&pid)) {
        static char big[40000];
        close(c);
        close(l);
        if (unread) await(s, POLLIN, 10000);
        if (sent) MUST(write(s, big, (size_t)sent));
        switch (how) {
        case 0: exit(0);
        case 1: _exit(1);
        case 2: signal(SIGABRT, SIG_DFL); abort();
        case 3: raise(SIGKILL); break;
        case 4: pause(); break;
        case 5: execl("/bin/true", "true", (char *)NULL); break;
        case 6: fcntl(s, F_SETFD, FD_CLOEXEC); execl("/bin/sleep", "sleep", "50", (char *)NULL); break;
        case 7: execl("/bin/sleep", "sleep", "0.3", (char *)NULL); break;
        }
        _exit(9);
    }
    close(s);
    if (how == 4) {
        wait_inq(c, sent);
        wait_asleep(pid);
        kill(pid, SIGKILL);
    }
    long n = drain(c);
    say("read %ld, then %s", n, drain_end ? ename(drain_end) : "end of file");
    if (how == 6) say("while the new program still runs: %s", kill(pid, SIGKILL) ? "no" : "yes");
    if (how == 7) say("when the new program ended: %s", within(t, 295, 20000));
    say_events("reader", c);
    say_error("reader", c);
    say_exit("peer", pid);
    close(c);
}

int main(void)
{
    l = listener(9029);
    ending("exit", 0, 0, 0);
    ending("exit after sending", 0, 40000, 0);
    ending("_exit", 1, 10, 0);
    ending("abort", 2, 10, 0);
    ending("SIGKILL by itself", 3, 10, 0);
    ending("SIGKILL while it waits", 4, 40000, 0);
    ending("exec of a program that doesn't know", 5, 10, 0);
    ending("exec with FD_CLOEXEC", 6, 10, 0);
    ending("exec that keeps it", 7, 10, 0);
    ending("exit with data unread", 0, 0, 1);
    ending("SIGKILL with data unread", 3, 0, 1);
    ending("exit with data unread, after sending", 0, 10, 1);
    return 0;
}
