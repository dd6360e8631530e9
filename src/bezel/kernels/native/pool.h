/* Persistent threads. `parts` never changes a result: a part owns whole outputs. */
#ifndef BEZEL_POOL_H
#define BEZEL_POOL_H

typedef void (*bezel_task)(void *arguments, long first, long last);

/* Run task(arguments, first, last) over pieces of [0, count), count under 2^32, several for each thread. */
void bezel_parallel(bezel_task task, void *arguments, long count);

/* Threads that wait for work, or for each other, fetch these bytes into their caches until the next call of this. */
void bezel_read_ahead(const void *from, long bytes);

int bezel_thread_count(void);

/* Whether a thread that works through weights should ask for them before their turn: on Intel's processors, whose own
   prefetching stops at every page and falls behind where each line brings work. On Zen it costs more than it gains. */
int bezel_asks_ahead(void);

/* One argument of a call. */
typedef union {
    long i;
    double f;
    void *p;
} Slot;

#endif
