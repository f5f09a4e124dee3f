/* One byte there, one byte back: the connecting side measures each round trip. */
#include "load.h"

#define WARM_UP 100

static void echo(void) {
    int from = listener(), fd = accepted(from);
    char byte;
    ssize_t n;
    nodelay(fd);
    while ((n = read(fd, &byte, 1)) == 1)
        if (write(fd, &byte, 1) != 1) die("write");
    if (n < 0) die("read");
    close(fd);
    close(from);
    printf("rounds=0");
    end_report();
}

static void measure(void) {
    int fd = connected();
    char byte = 'u';
    nodelay(fd);
    uint64_t begin = 0, end = UINT64_MAX, last = now_ns();
    for (uint64_t round = 0; last < end && (!opt.count || taken < opt.count); round++) {
        if (round == WARM_UP) {
            begin = last;
            end = begin + (uint64_t)(opt.seconds * 1e9);
        }
        if (write(fd, &byte, 1) != 1) die("write");
        if (read(fd, &byte, 1) != 1) die("read");
        uint64_t t = now_ns();
        if (round >= WARM_UP) sample(t - last);
        last = t;
    }
    close(fd);
    report_samples((last - begin) / 1e9);
}

int main(int argc, char **argv) {
    options(argc, argv);
    opt.connect ? measure() : echo();
    return 0;
}
