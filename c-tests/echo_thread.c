/* echo_thread HOST PORT CLIENTS: a thread per client. */
#include "net.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long sum;

static void *serve(void *arg)
{
    int s = (int)(intptr_t)arg;
    long n = echo(s);
    close(s);
    pthread_mutex_lock(&lock);
    sum += n;
    pthread_mutex_unlock(&lock);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    int l = serve_at(argv[1], argv[2], 5), want = atoi(argv[3]);
    pthread_t t[256];
    if (want > 256) return 2;
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < want; i++) {
        int s = accept(l, NULL, NULL);
        if (s < 0) die("accept");
        if (pthread_create(&t[i], NULL, serve, (void *)(intptr_t)s)) die("pthread_create");
    }
    for (int i = 0; i < want; i++) pthread_join(t[i], NULL);
    printf("%d threads, %ld bytes\n", want, sum);
    return 0;
}
