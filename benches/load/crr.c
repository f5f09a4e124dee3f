/* Connect, request of one byte, reply of one byte, close.
 *
 * The listening side closes first, as a server of HTTP/1.0 does: TIME_WAIT stays with it, and
 * the connecting side's ports are free again at once. */
#include "load.h"

#define LAST 'q' /* the request after which the listening side ends */

static void serve(void) {
    int from = listener();
    char request = 0;
    while (request != LAST) {
        int fd = accepted(from);
        if (read(fd, &request, 1) != 1) die("read");
        if (write(fd, &request, 1) != 1) die("write");
        close(fd);
    }
    close(from);
    printf("rounds=0");
    end_report();
}

static void ask(char request) {
    int fd = connected();
    char reply;
    if (write(fd, &request, 1) != 1) die("write");
    if (read(fd, &reply, 1) != 1) die("read");
    if (read(fd, &reply, 1) != 0) die("end of file");
    close(fd);
}

static void measure(void) {
    ask('u');
    uint64_t begin = now_ns(), end = begin + (uint64_t)(opt.seconds * 1e9), last = begin;
    while (last < end && (!opt.count || taken < opt.count)) {
        ask('u');
        uint64_t t = now_ns();
        sample(t - last);
        last = t;
    }
    double seconds = (last - begin) / 1e9;
    ask(LAST);
    report_samples(seconds);
}

int main(int argc, char **argv) {
    options(argc, argv);
    opt.connect ? measure() : serve();
    return 0;
}
