/* Attention over the cache: soft-max(q.k * scale) times the values, block by block of a sequence's table.

   A unit is up to MOST_QUERIES queries that read the same keys: the heads of one key head, for one row or for rows of
   one sequence at positions that follow each other. A unit widens a block once for all of them; what a row gives does
   not depend on its unit: each row's scores, sums and weighted values are added in one order. */

#include <stdatomic.h>

enum { MOST_SLOTS = 256, MOST_QUERIES = 16, SPAN = 128 /* positions */, KEYS = 4 /* at a time */, STRIP = 64 };
enum { L2 = 2 /* fetched into L2 alone: a block of keys and values would push all else out of L1 */ };

/* What SPAN positions, counted from 0, give one query: the largest score, the sum of e^(score - largest), and the
   values summed with those weights. Spans are always joined in their order, whoever computed them, so that a row's
   result does not depend on how the work was shared out. */
typedef struct Part {
    float largest, total;
} Part;

typedef struct {
    long row, rows, head, heads; /* the first of each, and how many */
} Unit;

/* What one thread works in; width is head_dim up to whole vectors. */
typedef struct {
    float *q;              /* [MOST_QUERIES][width] */
    float *out, *more;     /* the same: of the spans so far, and of one more */
    float *keys, *values;  /* [KEYS][width] and [block_size][STRIP], widened */
    float (*scores)[MOST_SLOTS + LANES];
    Part sums[2 * MOST_QUERIES];
} Space;

typedef struct {
    const float *q;
    const uint8_t *keys, *values;
    const int32_t *const *tables; /* one a row */
    const int32_t *positions, *lasts; /* of each row: its own, and the last that it sees */
    long stride, heads, kv_heads, head_dim, block_size, window;
    float scale, cap;
    int format;
    float *out;
    long width, row_bytes, count, spans;
    Unit *units;
    float *partial; /* where units are cut into spans: [count][spans][MOST_QUERIES][width] and the same of parts */
    Part *parts;
    Space *spaces;
    atomic_long next;
} Attention;

INLINE long first_seen(const Attention *a, long row) {
    long end = a->positions[row] + 1;
    return a->window && end > a->window ? end - a->window : 0;
}

INLINE long first_span(const Attention *a, long row) { return first_seen(a, row) / SPAN; }

INLINE long last_span(const Attention *a, long row) { return a->lasts[row] / SPAN; }

/* scores[h][0 ... 3] = q[h] . key[0 ... 3], `stride` bytes apart: 16 sums side by side, then across. */
INLINE void score_tile(const float *q, const uint8_t *const *keys, long n, const int queries, const int format,
                       float (*scores)[MOST_SLOTS + LANES], long j) {
    v16f sums[4][KEYS];
#pragma GCC unroll 4
    for (int h = 0; h < queries; h++)
#pragma GCC unroll 4
        for (int k = 0; k < KEYS; k++) sums[h][k] = all16(0);
    for (long i = 0; i < n; i += LANES) {
        v16f key[KEYS];
#pragma GCC unroll 4
        for (int k = 0; k < KEYS; k++) key[k] = whole16(format, keys[k], i);
#pragma GCC unroll 4
        for (int h = 0; h < queries; h++) {
            v16f query = load16(q + h * n + i);
#pragma GCC unroll 4
            for (int k = 0; k < KEYS; k++) sums[h][k] = fma16(query, key[k], sums[h][k]);
        }
    }
    if (queries == 4) {
        v16f found = sums_of_sixteen(sums[0]);
        for (int h = 0; h < 4; h++) memcpy(scores[h] + j, (const char *)&found + 16 * h, 16);
        return;
    }
    for (int h = 0; h < queries; h++) sums_of_four(sums[h], scores[h] + j);
}

INLINE void score_tiles(const float *q, const uint8_t *const *keys, long n, long queries, const int format,
                        float (*scores)[MOST_SLOTS + LANES], long j) {
    long h = 0;
    if (QUERIES >= 4)
        for (; h + 4 <= queries; h += 4) score_tile(q + h * n, keys, n, 4, format, scores + h, j);
    if (QUERIES >= 2)
        for (; h + 2 <= queries; h += 2) score_tile(q + h * n, keys, n, 2, format, scores + h, j);
    for (; h < queries; h++) score_tile(q + h * n, keys, n, 1, format, scores + h, j);
}

/* Whether a block is widened on its way into the products, because one tile reads it all. */
INLINE int is_fused(const Attention *a, long queries) {
    return a->format != Q8_0 && a->width == a->head_dim && queries <= QUERIES;
}

/* Scores of every query with keys first ... last - 1 of a block; fetches its values meanwhile. */
INLINE void score_block(const Attention *a, const Space *s, long queries, const uint8_t *keys, const uint8_t *values,
                        long first, long last) {
    long stride = a->kv_heads * a->row_bytes, fused = is_fused(a, queries);
    for (long j = first / KEYS * KEYS; j < last; j += KEYS) {
        const uint8_t *at[KEYS];
        for (int k = 0; k < KEYS; k++) {
            long slot = j + k < last ? j + k : last - 1;
            at[k] = keys + slot * stride;
            for (long byte = 0; byte < a->row_bytes; byte += 64)
                __builtin_prefetch(values + slot * stride + byte, 0, L2);
            if (fused) continue;
            float *wide = s->keys + k * a->width;
            if (a->format == F16) widen_row(wide, at[k], 0, a->head_dim, F16);
            else if (a->format == Q8_0) widen_row(wide, at[k], 0, a->head_dim, Q8_0);
            else widen_row(wide, at[k], 0, a->head_dim, F32);
            at[k] = (const uint8_t *)wide;
        }
        if (fused && a->format == F16) score_tiles(s->q, at, a->width, queries, F16, s->scores, j);
        else score_tiles(s->q, at, a->width, queries, F32, s->scores, j);
    }
}

/* Scores low ... high - 1 of one query become weights e^(score - largest), the others 0. Returns what the sums so far
   are to be multiplied by, now that `largest` may have grown. */
INLINE float weigh(const Attention *a, float *score, long low, long high, float *largest, v16f *total) {
    const v16i lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    v16f most = all16(*largest);
    for (long j = low / LANES * LANES; j < high; j += LANES) {
        v16f v = load16(score + j) * a->scale;
        v16i lane = lanes + (int)j;
        if (a->cap > 0) v = a->cap * tanh16(v / a->cap);
        store16(score + j, v);
        most = max_of(most, select16((lane >= (int)low) & (lane < (int)high), v, most));
    }
    float before = *largest, now = max16(most), keep = now == before ? 1.0f : exp16(all16(before - now))[0];
    *largest = now;
    *total = *total * keep;
    for (long j = low / LANES * LANES; j < high; j += LANES) {
        v16f v = exp16(load16(score + j) - now);
        v16i lane = lanes + (int)j;
        v = select16((lane >= (int)low) & (lane < (int)high), v, all16(0));
        *total += v;
        store16(score + j, v);
    }
    return keep;
}

/* out[h] += sum over j of scores[h][j] * value[j], for `vectors` vectors of dimensions. */
INLINE void add_tile(float *out, long n, float (*scores)[MOST_SLOTS + LANES], const uint8_t *values, long stride,
                     long low, long high, const int queries, const int vectors, const int format) {
    v16f sums[4][4];
#pragma GCC unroll 4
    for (int h = 0; h < queries; h++)
#pragma GCC unroll 4
        for (int k = 0; k < vectors; k++) sums[h][k] = load16(out + h * n + k * LANES);
    for (long j = low; j < high; j++) {
        v16f v[4];
#pragma GCC unroll 4
        for (int k = 0; k < vectors; k++) v[k] = whole16(format, values + j * stride, k * LANES);
#pragma GCC unroll 4
        for (int h = 0; h < queries; h++)
#pragma GCC unroll 4
            for (int k = 0; k < vectors; k++) sums[h][k] = fma16(all16(scores[h][j]), v[k], sums[h][k]);
    }
#pragma GCC unroll 4
    for (int h = 0; h < queries; h++)
#pragma GCC unroll 4
        for (int k = 0; k < vectors; k++) store16(out + h * n + k * LANES, sums[h][k]);
}

/* The same for any number of vectors up to a strip. */
INLINE void add_strip(float *out, long n, float (*scores)[MOST_SLOTS + LANES], const uint8_t *values, long stride,
                      long low, long high, const int queries, long vectors, const int format) {
    if (low >= high) return;
    if (vectors == 4) {
        add_tile(out, n, scores, values, stride, low, high, queries, 4, format);
        return;
    }
    for (long k = 0; k < vectors; k++)
        add_tile(out + k * LANES, n, scores, values + row_bytes(format, k * LANES), stride, low, high, queries, 1,
                 format);
}

/* `count` queries, each over its own positions low[h] ... high[h] - 1 in their order: those that all see together,
   what is before and after them one query at a time. */
INLINE void add_queries(float *out, long n, float (*scores)[MOST_SLOTS + LANES], const uint8_t *values, long stride,
                        const long *low, const long *high, const int count, long vectors, const int format) {
    long first = low[0], last = high[0];
    for (int h = 1; h < count; h++) first = low[h] > first ? low[h] : first, last = high[h] < last ? high[h] : last;
    if (last < first) last = first;
    for (int h = 0; h < count; h++)
        add_strip(out + h * n, n, scores + h, values, stride, low[h], first < high[h] ? first : high[h], 1, vectors,
                  format);
    add_strip(out, n, scores, values, stride, first, last, count, vectors, format);
    for (int h = 0; h < count; h++)
        add_strip(out + h * n, n, scores + h, values, stride, last > low[h] ? last : low[h], high[h], 1, vectors,
                  format);
}

/* out += the weighted values of positions low[h] ... high[h] - 1 of a block, `first` ... `last` - 1 being all that any
   query sees; fetches the keys of the block after it meanwhile. */
INLINE void add_block(const Attention *a, const Space *s, float *out, long queries, const uint8_t *values,
                      const uint8_t *next, const long *low, const long *high, long first, long last) {
    long stride = a->kv_heads * a->row_bytes, n = a->width, fused = is_fused(a, queries);
    for (long i = 0; i < n; i += STRIP) {
        long elements = a->head_dim - i < STRIP ? a->head_dim - i : STRIP, vectors = (elements + LANES - 1) / LANES;
        long wide = 4 * STRIP, bytes = row_bytes(a->format, i);
        const uint8_t *strip = (const uint8_t *)s->values;
        for (long j = first; j < last; j++) {
            const uint8_t *row = values + j * stride;
            for (long byte = 0; next && byte < row_bytes(a->format, STRIP); byte += 64)
                __builtin_prefetch(next + j * stride + bytes + byte, 0, L2);
            if (fused) continue;
            float *place = s->values + j * STRIP;
            if (a->format == F16) widen_row(place, row, i, elements, F16);
            else if (a->format == Q8_0) widen_row(place, row, i, elements, Q8_0);
            else widen_row(place, row, i, elements, F32);
        }
        if (fused) strip = values + bytes, wide = stride;
        for (long h = 0; h < queries;) {
            long left = queries - h, tile = QUERIES >= 4 && left >= 4 ? 4 : QUERIES >= 2 && left >= 2 ? 2 : 1;
            float *sums = out + h * n + i, (*scores)[MOST_SLOTS + LANES] = s->scores + h;
            if (fused && a->format == F16) {
                if (tile == 4) add_queries(sums, n, scores, strip, wide, low + h, high + h, 4, vectors, F16);
                else if (tile == 2) add_queries(sums, n, scores, strip, wide, low + h, high + h, 2, vectors, F16);
                else add_strip(sums, n, scores, strip, wide, low[h], high[h], 1, vectors, F16);
            } else if (tile == 4) add_queries(sums, n, scores, strip, wide, low + h, high + h, 4, vectors, F32);
            else if (tile == 2) add_queries(sums, n, scores, strip, wide, low + h, high + h, 2, vectors, F32);
            else add_strip(sums, n, scores, strip, wide, low[h], high[h], 1, vectors, F32);
            h += tile;
        }
    }
}

/* The queries of a unit, packed in the space, over one span. */
static void NAME(attend_span)(const Attention *a, const Unit *u, long span, const Space *s, float *out, Part *parts) {
    long n = a->width, size = a->block_size, queries = u->rows * u->heads, start = a->positions[u->row], end = 0;
    long kv_head = u->head / (a->heads / a->kv_heads);
    const int32_t *table = a->tables[u->row];
    long starts[MOST_QUERIES], ends[MOST_QUERIES], low[MOST_QUERIES], high[MOST_QUERIES];
    v16f totals[MOST_QUERIES];
    for (long h = 0; h < queries; h++) {
        long row = u->row + h / u->heads, from = first_seen(a, row), to = a->lasts[row] + 1;
        starts[h] = from > span * SPAN ? from : span * SPAN;
        ends[h] = to < (span + 1) * SPAN ? to : (span + 1) * SPAN;
        start = starts[h] < start ? starts[h] : start, end = ends[h] > end ? ends[h] : end;
        parts[h].largest = -INFINITY, totals[h] = all16(0);
    }
    memset(out, 0, 4 * queries * n);
    for (long block = start / size; block * size < end; block++) {
        long base = block * size, first = size, last = 0;
        long at = (table[block] * size * a->kv_heads + kv_head) * a->row_bytes;
        const uint8_t *next = 0;
        if (base + size < end) next = a->keys + (table[block + 1] * size * a->kv_heads + kv_head) * a->row_bytes;
        for (long h = 0; h < queries; h++) {
            low[h] = starts[h] > base ? starts[h] - base : 0, high[h] = ends[h] - base < size ? ends[h] - base : size;
            if (low[h] >= high[h]) low[h] = high[h] = 0;
            else first = low[h] < first ? low[h] : first, last = high[h] > last ? high[h] : last;
        }
        score_block(a, s, queries, a->keys + at, a->values + at, first, last);
        for (long h = 0; h < queries; h++) {
            if (low[h] == high[h]) continue;
            float keep = weigh(a, s->scores[h], low[h], high[h], &parts[h].largest, &totals[h]);
            for (long i = 0; i < n && keep != 1; i += LANES) store16(out + h * n + i, load16(out + h * n + i) * keep);
        }
        add_block(a, s, out, queries, a->values + at, next, low, high, first, last);
    }
    for (long h = 0; h < queries; h++) parts[h].total = sum16(totals[h]);
}

/* out and `sum` of one query's spans so far, with one more. */
INLINE void join(float *out, Part *sum, const float *more, const Part *part, long n) {
    float largest = sum->largest > part->largest ? sum->largest : part->largest;
    float keep = exp16(all16(sum->largest - largest))[0], gain = exp16(all16(part->largest - largest))[0];
    for (long i = 0; i < n; i += LANES) store16(out + i, load16(out + i) * keep + load16(more + i) * gain);
    *sum = (Part){largest, sum->total * keep + part->total * gain};
}

/* The queries of a unit, joined with what one more span gave those of them that see it. */
INLINE void join_span(const Attention *a, const Unit *u, long span, float *out, Part *sums, const float *more,
                      const Part *parts) {
    for (long h = 0; h < u->rows * u->heads; h++) {
        long row = u->row + h / u->heads, at = h * a->width;
        if (span == first_span(a, row)) memcpy(out + at, more + at, 4 * a->width), sums[h] = parts[h];
        else if (span > first_span(a, row) && span <= last_span(a, row))
            join(out + at, sums + h, more + at, parts + h, a->width);
    }
}

INLINE void pack_queries(const Attention *a, const Unit *u, const Space *s) {
    memset(s->q, 0, 4 * u->rows * u->heads * a->width);
    for (long h = 0; h < u->rows * u->heads; h++) {
        const float *q = a->q + (u->row + h / u->heads) * a->stride + (u->head + h % u->heads) * a->head_dim;
        memcpy(s->q + h * a->width, q, 4 * a->head_dim);
    }
}

/* What the sums of all spans make of a unit's queries. */
INLINE void divide(const Attention *a, const Unit *u, const float *out, const Part *sums) {
    for (long h = 0; h < u->rows * u->heads; h++) {
        float *place = a->out + ((u->row + h / u->heads) * a->heads + u->head + h % u->heads) * a->head_dim;
        for (long i = 0; i < a->head_dim; i++) place[i] = out[h * a->width + i] / sums[h].total;
    }
}

/* One thread takes units, each with all its spans, until none is left; the last first, which see most. */
static void NAME(attend_units)(void *arguments, long first, long last) {
    Attention *a = arguments;
    Space *s = a->spaces + first;
    (void)last;
    for (long taken; (taken = atomic_fetch_add(&a->next, 1)) < a->count;) {
        const Unit *u = a->units + a->count - 1 - taken;
        pack_queries(a, u, s);
        for (long span = first_span(a, u->row); span <= last_span(a, u->row + u->rows - 1); span++) {
            NAME(attend_span)(a, u, span, s, s->more, s->sums + MOST_QUERIES);
            join_span(a, u, span, s->out, s->sums, s->more, s->sums + MOST_QUERIES);
        }
        divide(a, u, s->out, s->sums);
    }
}

/* One thread takes spans of few units. */
static void NAME(attend_spans)(void *arguments, long first, long last) {
    Attention *a = arguments;
    Space *s = a->spaces + first;
    (void)last;
    for (long item; (item = atomic_fetch_add(&a->next, 1)) < a->count * a->spans;) {
        const Unit *u = a->units + item / a->spans;
        long span = first_span(a, u->row) + item % a->spans;
        if (span > last_span(a, u->row + u->rows - 1)) continue;
        pack_queries(a, u, s);
        NAME(attend_span)(a, u, span, s, a->partial + item * MOST_QUERIES * a->width, a->parts + item * MOST_QUERIES);
    }
}

static void NAME(join_units)(void *arguments, long first, long last) {
    const Attention *a = arguments;
    for (long unit = first; unit < last; unit++) {
        const Unit *u = a->units + unit;
        Space *s = a->spaces;
        for (long i = 0; i <= last_span(a, u->row + u->rows - 1) - first_span(a, u->row); i++) {
            long item = (unit * a->spans + i) * MOST_QUERIES;
            join_span(a, u, first_span(a, u->row) + i, s->out, s->sums, a->partial + item * a->width, a->parts + item);
        }
        divide(a, u, s->out, s->sums);
    }
}

/* Cuts the rows into units, and finds the most spans that one has. Returns how many; with `units` 0 only counts. */
static long NAME(cut)(Attention *a, long rows, Unit *units) {
    long together = a->heads / a->kv_heads, heads = together < MOST_QUERIES ? together : MOST_QUERIES, count = 0;
    for (long row = 0, taken; row < rows; row += taken) {
        for (taken = 1; row + taken < rows && (taken + 1) * heads <= MOST_QUERIES; taken++)
            if (a->tables[row + taken] != a->tables[row] || a->positions[row + taken] != a->positions[row] + taken)
                break;
        long spans = last_span(a, row + taken - 1) - first_span(a, row) + 1;
        a->spans = spans > a->spans ? spans : a->spans;
        for (long kv_head = 0; kv_head < a->kv_heads; kv_head++)
            for (long head = 0; head < together; head += heads, count++) {
                long left = together - head < heads ? together - head : heads;
                if (units) units[count] = (Unit){row, taken, kv_head * together + head, left};
            }
    }
    return count;
}

/* Memory for everything, units first: for `items` parts of units, and for the spaces of `threads`. 0 where it lacks. */
static int NAME(make_room)(Attention *a, long items, long threads) {
    long each = MOST_QUERIES * a->width, scores = MOST_QUERIES * (MOST_SLOTS + LANES);
    long space = 3 * each + KEYS * a->width + a->block_size * STRIP + scores, queries = items * MOST_QUERIES;
    long floats = threads * space + items * each;
    a->units = malloc(sizeof(Unit) * a->count + sizeof(Space) * threads + sizeof(Part) * queries + 4 * floats + 64);
    if (!a->units) return 0;
    a->spaces = (Space *)(a->units + a->count), a->parts = (Part *)(a->spaces + threads);
    float *at = (float *)(((uintptr_t)(a->parts + queries) + 63) / 64 * 64);
    for (long i = 0; i < threads; i++, at += space) {
        Space *s = a->spaces + i;
        s->q = at, s->out = at + each, s->more = at + 2 * each, s->keys = at + 3 * each;
        s->values = s->keys + KEYS * a->width;
        s->scores = (float (*)[MOST_SLOTS + LANES])(s->values + a->block_size * STRIP);
    }
    a->partial = at;
    return 1;
}

/* Returns 0, or 1 where memory is lacking. */
OP(attention) {
    long rows = s[7].i, threads = bezel_thread_count();
    Attention a = {.q = s[0].p,
                   .stride = s[1].i,
                   .keys = s[2].p,
                   .values = s[3].p,
                   .tables = s[4].p,
                   .positions = s[5].p,
                   .lasts = s[6].p,
                   .heads = s[8].i,
                   .kv_heads = s[9].i,
                   .head_dim = s[10].i,
                   .block_size = s[11].i,
                   .window = s[12].i,
                   .format = s[13].i,
                   .scale = s[14].f,
                   .cap = s[15].f,
                   .out = s[16].p,
                   .spans = 1};
    a.width = (a.head_dim + LANES - 1) / LANES * LANES, a.row_bytes = row_bytes(a.format, a.head_dim);
    a.count = NAME(cut)(&a, rows, 0);
    if (a.count * a.spans < threads) threads = a.count * a.spans;
    int few = a.count < 4 * threads && a.spans > 1;
    if (!NAME(make_room)(&a, few ? a.count * a.spans : 0, threads)) return 1;
    NAME(cut)(&a, rows, a.units);
    bezel_parallel(few ? NAME(attend_spans) : NAME(attend_units), &a, threads);
    if (few) NAME(join_units)(&a, 0, a.count);
    free(a.units);
    return 0;
}
