/* Bulk transfer: the connecting side sends, the listening side receives and reports. */
#include "load.h"

static void receive(void) {
    char *buf = malloc(opt.size);
    if (!buf) die("malloc");
    int from = listener(), fd = accepted(from);
    uint64_t bytes = 0, reads = 0, begin = 0;
    ssize_t n;
    while ((n = read(fd, buf, opt.size)) > 0) {
        if (!begin) begin = now_ns();
        bytes += (uint64_t)n;
        reads++;
    }
    if (n < 0) die("read");
    double seconds = (now_ns() - begin) / 1e9;
    close(fd);
    close(from);
    printf("bytes=%llu reads=%llu seconds=%.6f", (unsigned long long)bytes,
           (unsigned long long)reads, seconds);
    end_report();
}

static void transmit(void) {
    char *buf = malloc(opt.size);
    if (!buf) die("malloc");
    memset(buf, 'u', opt.size);
    int fd = connected();
    uint64_t bytes = 0, writes = 0, begin = now_ns(), end = begin + (uint64_t)(opt.seconds * 1e9);
    while (now_ns() < end && (!opt.count || bytes < opt.count)) {
        ssize_t n = write(fd, buf, opt.size);
        if (n < 0) die("write");
        bytes += (uint64_t)n;
        writes++;
    }
    /* The end of file from the other side says that all of it has arrived. */
    if (shutdown(fd, SHUT_WR) < 0) die("shutdown");
    if (read(fd, buf, 1) != 0) die("end of file");
    double seconds = (now_ns() - begin) / 1e9;
    close(fd);
    printf("bytes=%llu writes=%llu seconds=%.6f", (unsigned long long)bytes,
           (unsigned long long)writes, seconds);
    end_report();
}

int main(int argc, char **argv) {
    options(argc, argv);
    opt.connect ? transmit() : receive();
    return 0;
}
