/* What is left out of TCP on purpose answers as on a kernel that was built without it: MPTCP,
 * MD5 signatures and TCP-AO, and congestion control by DCTCP.
 *
 * Prints a line for each, and the domain of the descriptor that the kernel knows: AF_UNIX (1), if
 * the socket is the library's.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static const char *result(int returned) {
    return returned < 0 ? strerror(errno) : "it works";
}

int main(void) {
    static const struct {
        int number;
        const char *name;
    } options[] = {
        {14, "TCP_MD5SIG"},      {32, "TCP_MD5SIG_EXT"}, {38, "TCP_AO_ADD_KEY"},
        {39, "TCP_AO_DEL_KEY"},  {40, "TCP_AO_INFO"},    {41, "TCP_AO_GET_KEYS"},
        {42, "TCP_AO_REPAIR"},   {31, "TCP_ULP"},        {43, "TCP_IS_MPTCP"},
    };
    printf("socket(MPTCP): %s\n", result(socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)));

    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return 1;
    int domain = -1;
    socklen_t size = sizeof domain;
    syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    printf("domain %d\n", domain);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char value[256] = {0};
        socklen_t length = sizeof value;
        printf("setsockopt(%s): %s\n", options[i].name,
               result(setsockopt(fd, IPPROTO_TCP, options[i].number, value, sizeof value)));
        printf("getsockopt(%s): %s\n", options[i].name,
               result(getsockopt(fd, IPPROTO_TCP, options[i].number, value, &length)));
    }
    printf("TCP_CONGESTION dctcp: %s\n",
           result(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "dctcp", 5)));
    close(fd);
    return 0;
}
