/* Claim 19: read() and write() work on sockets, and readv, writev, sendmsg, recvmsg and stdio. */
#include "probe.h"

int main(void)
{
    struct pair p = pair_at(9019);
    char b[64] = "", d[64] = "";
    R(write(p.c, "written", 7));
    await(p.s, POLLIN, 10000);
    R(read(p.s, b, sizeof b));
    say("%s", b);
    struct iovec out[3] = {{"one ", 4}, {"", 0}, {"two", 3}}, in[2] = {{b, 2}, {d, 62}};
    R(writev(p.s, out, 3));
    await(p.c, POLLIN, 10000);
    R(readv(p.c, in, 2));
    say("%.2s|%.5s", b, d);
    struct msghdr m = {.msg_iov = out, .msg_iovlen = 3}, r = {.msg_iov = in, .msg_iovlen = 2, .msg_flags = -1};
    R(sendmsg(p.c, &m, 0));
    await(p.s, POLLIN, 10000);
    R(recvmsg(p.s, &r, 0));
    say("flags %x name length %d control length %d", r.msg_flags, (int)r.msg_namelen, (int)r.msg_controllen);
    R(write(p.c, "", 0));
    R(read(p.s, b, 0));
    FILE *w = fdopen(dup(p.c), "w"), *f = fdopen(dup(p.s), "r");
    say("streams: %s", w && f ? "ok" : ename(errno));
    fprintf(w, "a line of %s\nand %d more\n", "text", 1);
    fflush(w);
    say("fgets: %s", fgets(b, sizeof b, f) ? "ok" : "end");
    say("%.*s", (int)strcspn(b, "\n"), b);
    say("fgets: %s", fgets(b, sizeof b, f) ? "ok" : "end");
    say("%.*s", (int)strcspn(b, "\n"), b);
    R(dprintf(p.c, "by %s\n", "dprintf"));
    say("fgets: %s", fgets(b, sizeof b, f) ? "ok" : "end");
    say("%.*s", (int)strcspn(b, "\n"), b);
    fclose(w);
    close(p.c);
    say("fgets at the end: %s", fgets(b, sizeof b, f) ? "ok" : "NULL");
    say("feof %d ferror %d", feof(f) != 0, ferror(f) != 0);
    R(read(p.s, b, 1));
    fclose(f);
    R(read(p.s, b, 1));
    close(p.s);
    R(read(p.s, b, 1));
    R(write(p.s, b, 1));
    return 0;
}
