/* Claim 18: netstat -nap shows queues, addresses, state and owner. This reads what netstat reads, then runs netstat. */
#include "probe.h"
#include <dirent.h>

/* The descriptor of this process whose link names the inode, as netstat finds the owner. */
static const char *owner(unsigned long inode)
{
    static char text[300];
    char want[64], path[600], link[128];
    DIR *d = opendir("/proc/self/fd");
    struct dirent *e;
    if (!inode) return "nobody";
    snprintf(want, sizeof want, "socket:[%lu]", inode);
    snprintf(text, sizeof text, "not found");
    while (d && (e = readdir(d))) {
        snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
        ssize_t n = readlink(path, link, sizeof link - 1);
        if (n > 0 && (link[n] = 0, !strcmp(link, want))) snprintf(text, sizeof text, "descriptor %s", e->d_name);
    }
    if (d) closedir(d);
    return text;
}

static void rows(const char *path, int port)
{
    struct row r[32];
    int n = table_read(path, port, r, 32);
    qsort(r, (size_t)(n > 0 ? n : 0), sizeof r[0], row_order);
    for (int i = 0; i < n; i++)
        say("%s: rx %u tx %u %s %s %s timer %d uid %d owner %s", path, r[i].rx, r[i].tx, r[i].local, r[i].remote, state_name(r[i].state),
            r[i].timer, r[i].uid == getuid(), owner(r[i].inode));
}

/* netstat's own lines that mention the port, with free ports and process ids made equal. */
static void netstat(const char *cmd, int port)
{
    char line[512], want[16], *lines[32];
    int n = 0;
    FILE *f = popen(cmd, "r");
    if (!f) { say("no netstat: %s", ename(errno)); return; }
    snprintf(want, sizeof want, ":%d", port);
    while (n < 32 && fgets(line, sizeof line, f)) {
        char proto[8], la[64], ra[64], st[16], own[64] = "";
        unsigned rx, tx;
        if (!strstr(line, want)) continue;
        if (sscanf(line, "%7s %u %u %63s %63s %15s %63s", proto, &rx, &tx, la, ra, st, own) < 6) continue;
        for (int k = 0; k < 2; k++) {
            char *p = strrchr(k ? la : ra, ':');
            if (p && atoi(p + 1) >= EPHEMERAL) strcpy(p, ":free");
        }
        char *slash = strchr(own, '/');
        if (asprintf(&lines[n], "%s %u %u %s %s %s %s", proto, rx, tx, la, ra, st, slash ? slash : own) < 0) continue;
        n++;
    }
    int st = pclose(f);
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++)
            if (strcmp(lines[i], lines[k]) > 0) { char *t = lines[i]; lines[i] = lines[k]; lines[k] = t; }
    say("%s: status %d", cmd, WEXITSTATUS(st));
    for (int i = 0; i < n; i++) say("  %s", lines[i]);
}

int main(void)
{
    struct pair p = pair_at(9018);
    int l6 = listener_at("::", 9019, 5), c6 = dial(9019);
    MUST(write(p.c, "unread by the server", 20));
    wait_acked(p.c);
    rows("/proc/net/tcp", 9018);
    rows("/proc/net/tcp", 9019);
    rows("/proc/net/tcp6", 9019);
    fcntl(p.l, F_SETFD, FD_CLOEXEC);
    fcntl(p.c, F_SETFD, FD_CLOEXEC);
    fcntl(p.s, F_SETFD, FD_CLOEXEC);
    fcntl(l6, F_SETFD, FD_CLOEXEC);
    fcntl(c6, F_SETFD, FD_CLOEXEC);
    netstat("netstat -nap 2>/dev/null", 9018);
    netstat("netstat -ntl 2>/dev/null", 9019);
    close(p.c);
    wait_rows(9018, S_FIN_WAIT2, 1);
    rows("/proc/net/tcp", 9018);
    return 0;
}
