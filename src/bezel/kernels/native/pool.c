#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST_THREADS 256
#define SPINS 4000
#define PIECES 4 /* for each thread */

static pthread_mutex_t entry = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static pthread_t workers[MOST_THREADS];
static int threads = 1;
static int started = 0;
static int fork_handled = 0;
static atomic_uint generation;
static atomic_int unfinished;

static bezel_task task;
static void *arguments;
static long count, piece;
static atomic_long taken;

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes pieces of the range until none is left, so that a thread that was held up keeps nobody waiting long. */
static void run_pieces(void) {
    for (long first; (first = atomic_fetch_add_explicit(&taken, piece, memory_order_relaxed)) < count;)
        task(arguments, first, first + piece < count ? first + piece : count);
}

static void *work(void *number) {
    int part = (int)(long)number;
    unsigned seen = 0;
    for (;;) {
        for (int spin = 0; spin < SPINS && atomic_load_explicit(&generation, memory_order_acquire) == seen; spin++)
            relax();
        if (atomic_load_explicit(&generation, memory_order_acquire) == seen) {
            pthread_mutex_lock(&lock);
            while (atomic_load_explicit(&generation, memory_order_acquire) == seen) pthread_cond_wait(&wake, &lock);
            pthread_mutex_unlock(&lock);
        }
        seen++;
        if (part < threads) run_pieces();
        atomic_fetch_sub_explicit(&unfinished, 1, memory_order_release);
    }
    return 0;
}

/* A forked child has none of its parent's threads. */
static void forget_threads(void) {
    pthread_mutex_init(&entry, 0);
    pthread_mutex_init(&lock, 0);
    pthread_cond_init(&wake, 0);
    started = 0;
    atomic_store(&generation, 0);
    atomic_store(&unfinished, 0);
}

static void start_threads(void) {
    if (!fork_handled) fork_handled = pthread_atfork(0, 0, forget_threads) == 0;
    atomic_store(&generation, 0);
    while (started < threads - 1) {
        if (pthread_create(&workers[started], 0, work, (void *)(long)(started + 1))) {
            threads = started + 1;
            break;
        }
        pthread_detach(workers[started]);
        started++;
    }
}

void bezel_parallel(bezel_task new_task, void *new_arguments, long new_count) {
    if (threads == 1 || new_count < 2) {
        if (new_count > 0) new_task(new_arguments, 0, new_count);
        return;
    }
    pthread_mutex_lock(&entry);
    if (!started) start_threads();
    task = new_task, arguments = new_arguments, count = new_count;
    piece = count / (threads * PIECES) + 1;
    atomic_store_explicit(&taken, 0, memory_order_relaxed);
    atomic_store_explicit(&unfinished, started, memory_order_relaxed);
    pthread_mutex_lock(&lock);
    atomic_fetch_add_explicit(&generation, 1, memory_order_release);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
    run_pieces();
    /* Where other programs take the processors, spinning would only keep a worker from its turn. */
    for (int spin = 0; atomic_load_explicit(&unfinished, memory_order_acquire); spin++)
        if (spin < SPINS) relax();
        else sched_yield();
    pthread_mutex_unlock(&entry);
}

int bezel_thread_count(void) { return threads; }

/* Threads for all later calls, counting the caller's. More than were ever started can be asked for only before
   the first parallel call; fewer, at any time. Returns what is in force. */
EXPORT int bezel_set_threads(int wanted) {
    pthread_mutex_lock(&entry);
    int most = started ? started + 1 : MOST_THREADS;
    threads = wanted < 1 ? 1 : wanted > most ? most : wanted;
    pthread_mutex_unlock(&entry);
    return threads;
}
