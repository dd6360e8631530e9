#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST_THREADS 256
#define SPINS 4000
#define AT_ONCE 1024 /* bytes that are read ahead between two looks for work */

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

/* What is left of each thread's share: the first index in the upper half of the bits, the end in the lower. */
static struct {
    _Alignas(64) atomic_ulong range;
} shares[MOST_THREADS];

static const char *_Atomic ahead;
static atomic_long ahead_next, ahead_bytes;

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* What a thread does while it waits: fetches what will be read next, or rests. */
static void wait_a_little(void) {
    if (atomic_load_explicit(&ahead_next, memory_order_relaxed) >=
        atomic_load_explicit(&ahead_bytes, memory_order_relaxed)) {
        relax();
        return;
    }
    long first = atomic_fetch_add_explicit(&ahead_next, AT_ONCE, memory_order_relaxed);
    const char *from = atomic_load_explicit(&ahead, memory_order_relaxed) + first;
    for (int line = 0; line < AT_ONCE; line += 64) __builtin_prefetch(from + line, 0, 2);
}

void bezel_read_ahead(const void *from, long bytes) {
    atomic_store_explicit(&ahead_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&ahead, from, memory_order_relaxed);
    atomic_store_explicit(&ahead_next, 0, memory_order_relaxed);
    atomic_store_explicit(&ahead_bytes, bytes, memory_order_relaxed);
}

static unsigned long range_of(long first, long last) { return (unsigned long)first << 32 | (unsigned long)last; }

/* Takes a part of a share: a quarter of it from the front for its owner, half of it from the end for another thread.
   Returns the part, empty where the share is. */
static unsigned long take(int share, int owned) {
    unsigned long range = atomic_load_explicit(&shares[share].range, memory_order_relaxed), part, rest;
    do {
        long first = range >> 32, last = range & 0xffffffff, left = last - first;
        if (left <= 0) return 0;
        long piece = (left + (owned ? 3 : 1)) / (owned ? 4 : 2);
        part = owned ? range_of(first, first + piece) : range_of(last - piece, last);
        rest = owned ? range_of(first + piece, last) : range_of(first, last - piece);
    } while (!atomic_compare_exchange_weak_explicit(&shares[share].range, &range, rest, memory_order_relaxed,
                                                    memory_order_relaxed));
    return part;
}

/* Works through the thread's own share, then helps with what is left of the others'. So each thread reads memory in
   one stretch, and a thread that was held up keeps nobody waiting long. */
static void run_shares(int own) {
    for (unsigned long part;;) {
        while ((part = take(own, 1))) task(arguments, part >> 32, part & 0xffffffff);
        for (int i = 1; i < threads && !part; i++) part = take((own + i) % threads, 0);
        if (!part) return;
        atomic_store_explicit(&shares[own].range, part, memory_order_relaxed);
    }
}

static void *work(void *number) {
    int part = (int)(long)number;
    unsigned seen = 0;
    for (;;) {
        for (int spin = 0; spin < SPINS && atomic_load_explicit(&generation, memory_order_acquire) == seen; spin++)
            wait_a_little();
        if (atomic_load_explicit(&generation, memory_order_acquire) == seen) {
            pthread_mutex_lock(&lock);
            while (atomic_load_explicit(&generation, memory_order_acquire) == seen) pthread_cond_wait(&wake, &lock);
            pthread_mutex_unlock(&lock);
        }
        seen++;
        if (part < threads) run_shares(part);
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

void bezel_parallel(bezel_task new_task, void *new_arguments, long count) {
    if (threads == 1 || count < 2) {
        if (count > 0) new_task(new_arguments, 0, count);
        return;
    }
    pthread_mutex_lock(&entry);
    if (!started) start_threads();
    task = new_task, arguments = new_arguments;
    for (long i = 0; i < threads; i++)
        atomic_store_explicit(&shares[i].range, range_of(count * i / threads, count * (i + 1) / threads),
                              memory_order_relaxed);
    atomic_store_explicit(&unfinished, started, memory_order_relaxed);
    pthread_mutex_lock(&lock);
    atomic_fetch_add_explicit(&generation, 1, memory_order_release);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
    run_shares(0);
    /* Where other programs take the processors, spinning would only keep a worker from its turn. */
    for (int spin = 0; atomic_load_explicit(&unfinished, memory_order_acquire); spin++)
        if (spin < SPINS) wait_a_little();
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
