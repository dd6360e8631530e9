/* Rows of a table that stays in its file. Rows that were read last stay in memory, each in the place that its number
   modulo the places gives; an id behind the table has row 0, as in Transformers. */
#include "files.h"
#include "pool.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { UNREADABLE = 2 };

/* What both calls begin with. A row consists of some pieces (first byte, end) of the `stride` bytes that are stored. */
typedef struct {
    int file;
    long offset, rows, stride, piece_count, count, places;
    const int64_t *pieces;
    const int32_t *ids;
    int32_t *kept;
} Table;

static Table table_of(const Slot *s) {
    return (Table){(int)s[0].i, s[1].i, s[2].i, s[3].i, s[5].i, s[7].i, s[9].i, s[4].p, s[6].p, s[8].p};
}

static long row_of(const Table *t, long i) { return t->ids[i] < t->rows ? t->ids[i] : 0; }

static long size_of(const Table *t) {
    long size = 0;
    for (long i = 0; i < t->piece_count; i++) size += t->pieces[2 * i + 1] - t->pieces[2 * i];
    return size;
}

static int read_row(const Table *t, long row, uint8_t *to) {
    int failed = 0;
    for (long i = 0; i < t->piece_count && !failed; i++) {
        long start = t->pieces[2 * i], size = t->pieces[2 * i + 1] - start;
        if (read_whole(t->file, to, size, t->offset + row * t->stride + start)) failed = UNREADABLE;
        to += size;
    }
    return failed;
}

/* Tells the system which rows will be wanted soon, so that the disk works on all of them at once, and meanwhile. */
EXPORT int bezel_expect_rows(const Slot *s) {
#ifdef POSIX_FADV_WILLNEED
    Table t = table_of(s);
    for (long i = 0; i < t.count; i++) {
        long row = row_of(&t, i);
        if (t.kept[row % t.places] == row) continue;
        posix_fadvise(t.file, t.offset + row * t.stride, t.stride, POSIX_FADV_WILLNEED);
    }
#else
    (void)s;
#endif
    return 0;
}

/* The rows of `ids`, one after the other in their format. */
EXPORT int bezel_fetch_rows(const Slot *s) {
    static pthread_mutex_t reading = PTHREAD_MUTEX_INITIALIZER;
    Table t = table_of(s);
    uint8_t *hot = s[10].p, *out = s[11].p;
    long size = size_of(&t);
    int failed = 0;
    pthread_mutex_lock(&reading);
    for (long i = 0; i < t.count && !failed; i++, out += size) {
        long row = row_of(&t, i), place = row % t.places;
        if (t.kept[place] != row) {
            t.kept[place] = -1;
            failed = read_row(&t, row, hot + place * size);
            if (!failed) t.kept[place] = (int32_t)row;
        }
        if (!failed) memcpy(out, hot + place * size, size);
    }
    pthread_mutex_unlock(&reading);
    return failed;
}
