/* The cache and attention over it. */

enum { MOST_SLOTS = 256, TOGETHER = 4 /* heads, and keys */, SPAN = 512 /* positions */ };

typedef struct {
    const float *q, *keys, *values;
    const int32_t *const *tables; /* one a row */
    const int32_t *positions;
    long stride, heads, kv_heads, head_dim, block_size, window;
    float scale, cap;
    float *out, *scratch;
    struct Part *parts;
    long spans;
} Attention;

/* scores[h][j] = q[h].key[j] for `count` keys, 4 at a time, and for `heads` heads that share them. */
INLINE void scores_of(const float *q, const float *keys, long count, long stride, long n, const int heads,
                      float scores[][MOST_SLOTS + LANES]) {
    for (long j = 0; j < count; j += 4) {
        v16f sums[TOGETHER][4];
        long at[4];
        for (int k = 0; k < 4; k++) at[k] = (j + k < count ? j + k : count - 1) * stride;
#pragma GCC unroll 4
        for (int h = 0; h < heads; h++)
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) sums[h][k] = all16(0);
        long i = 0;
        for (; i + LANES <= n; i += LANES) {
            v16f key[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) key[k] = load16(keys + at[k] + i);
#pragma GCC unroll 4
            for (int h = 0; h < heads; h++) {
                v16f query = load16(q + h * n + i);
#pragma GCC unroll 4
                for (int k = 0; k < 4; k++) sums[h][k] = fma16(query, key[k], sums[h][k]);
            }
        }
#pragma GCC unroll 4
        for (int h = 0; h < heads; h++) {
            for (int k = 0; k < 4 && i < n; k++)
                sums[h][k] = add_products(sums[h][k], q + h * n + i, keys + at[k] + i, n - i);
            sums_of_four(sums[h], scores[h] + j);
        }
    }
}

/* out[h] = out[h] * keep[h] + sum over j of scores[h][j] * value[j], 64 dimensions at a time. */
INLINE void add_values(float *out, const float *keep, float scores[][MOST_SLOTS + LANES], const float *values,
                       long low, long high, long stride, long n, const int heads) {
    for (long i = 0; i < n; i += 4 * LANES) {
        v16f sums[TOGETHER][4];
        long width = n - i < 4 * LANES ? n - i : 4 * LANES;
        float edge[4 * LANES] = {0};
#pragma GCC unroll 4
        for (int h = 0; h < heads; h++) {
            if (width < 4 * LANES) memcpy(edge, out + h * n + i, 4 * width);
            const float *before = width < 4 * LANES ? edge : out + h * n + i;
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) sums[h][k] = load16(before + k * LANES) * keep[h];
        }
        for (long j = low; j < high; j++) {
            const float *value = values + j * stride + i;
            if (width < 4 * LANES) memcpy(edge, value, 4 * width), value = edge;
            v16f v[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) v[k] = load16(value + k * LANES);
#pragma GCC unroll 4
            for (int h = 0; h < heads; h++)
#pragma GCC unroll 4
                for (int k = 0; k < 4; k++) sums[h][k] = fma16(all16(scores[h][j]), v[k], sums[h][k]);
        }
#pragma GCC unroll 4
        for (int h = 0; h < heads; h++) {
            for (int k = 0; k < 4; k++) store16(edge + k * LANES, sums[h][k]);
            memcpy(out + h * n + i, edge, 4 * width);
        }
    }
}

/* What SPAN positions, counted from 0, give one row's head: the largest score, the sum of e^(score - largest), and
   the values summed with those weights. Spans are always joined in their order, whoever computed them, so that a
   row's result does not depend on how the work was shared out. */
typedef struct Part {
    float largest, total;
} Part;

INLINE void attend_span(const Attention *a, long row, long head, long span, const int heads, float *out, Part *parts) {
    long n = a->head_dim, stride = a->kv_heads * n, kv_head = head / (a->heads / a->kv_heads);
    long end = a->positions[row] + 1, start = a->window && end > a->window ? end - a->window : 0;
    const float *q = a->q + row * a->stride + head * n;
    float scores[TOGETHER][MOST_SLOTS + LANES], largest[TOGETHER], keep[TOGETHER];
    v16f totals[TOGETHER];
    if (start < span * SPAN) start = span * SPAN;
    if (end > (span + 1) * SPAN) end = (span + 1) * SPAN;
    memset(out, 0, 4 * heads * n);
    for (int h = 0; h < heads; h++) largest[h] = -INFINITY, totals[h] = all16(0);
    for (long block = start / a->block_size; block * a->block_size < end; block++) {
        long base = block * a->block_size;
        long low = start > base ? start - base : 0, high = end - base < a->block_size ? end - base : a->block_size;
        long at = (a->tables[row][block] * a->block_size * a->kv_heads + kv_head) * n;
        scores_of(q, a->keys + at, high, stride, n, heads, scores);
        for (int h = 0; h < heads; h++) {
            float *score = scores[h], most = largest[h];
            for (long j = 0; j < high; j += LANES) {
                v16f v = load16(score + j) * a->scale;
                if (a->cap > 0) v = a->cap * tanh16(v / a->cap);
                store16(score + j, v);
            }
            for (long j = low; j < high; j++) most = score[j] > most ? score[j] : most;
            keep[h] = exp16(all16(largest[h] - most))[0];
            largest[h] = most;
            for (long j = 0; j < high; j += LANES) {
                v16f v = exp16(load16(score + j) - most);
                v16i lane = (v16i){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + (int)j;
                v = select16((lane >= (int)low) & (lane < (int)high), v, all16(0));
                totals[h] = j ? totals[h] + v : totals[h] * keep[h] + v;
                store16(score + j, v);
            }
        }
        add_values(out, keep, scores, a->values + at, low, high, stride, n, heads);
    }
    for (int h = 0; h < heads; h++) parts[h] = (Part){largest[h], sum16(totals[h])};
}

INLINE long first_span(const Attention *a, long row) {
    long end = a->positions[row] + 1;
    return (a->window && end > a->window ? end - a->window : 0) / SPAN;
}

INLINE long span_count(const Attention *a, long row) { return a->positions[row] / SPAN - first_span(a, row) + 1; }

/* The heads of one row that share a key head, over one span. */
INLINE void attend_group(const Attention *a, long row, long kv_head, long span, float *out, Part *parts) {
    long together = a->heads / a->kv_heads, head = kv_head * together, done = 0;
    for (; done + TOGETHER <= together; done += TOGETHER)
        attend_span(a, row, head + done, span, TOGETHER, out + done * a->head_dim, parts + done);
    for (; done + 2 <= together; done += 2)
        attend_span(a, row, head + done, span, 2, out + done * a->head_dim, parts + done);
    for (; done < together; done++)
        attend_span(a, row, head + done, span, 1, out + done * a->head_dim, parts + done);
}

/* out and `sum` of the spans so far, with one more. */
static void NAME(join)(float *out, Part *sum, const float *more, const Part *part, long heads, long n) {
    for (long h = 0; h < heads; h++) {
        float largest = sum[h].largest > part[h].largest ? sum[h].largest : part[h].largest;
        float keep = exp16(all16(sum[h].largest - largest))[0], gain = exp16(all16(part[h].largest - largest))[0];
        for (long i = 0; i < n; i++) out[h * n + i] = out[h * n + i] * keep + more[h * n + i] * gain;
        sum[h] = (Part){largest, sum[h].total * keep + part[h].total * gain};
    }
}

static void NAME(divide)(float *out, const Part *sum, long heads, long n) {
    for (long h = 0; h < heads; h++)
        for (long i = 0; i < n; i++) out[h * n + i] /= sum[h].total;
}

/* Parallel over rows and key heads, each with all its spans. */
static void NAME(attend)(void *arguments, long first, long last) {
    const Attention *a = arguments;
    long together = a->heads / a->kv_heads, n = a->head_dim;
    for (long item = first; item < last; item++) {
        long row = item / a->kv_heads, kv_head = item % a->kv_heads, spans = span_count(a, row);
        float *out = a->out + (row * a->heads + kv_head * together) * n, *more = a->scratch + item * together * n;
        Part *parts = a->parts + 2 * item * together;
        attend_group(a, row, kv_head, first_span(a, row), out, parts);
        for (long i = 1; i < spans; i++) {
            attend_group(a, row, kv_head, first_span(a, row) + i, more, parts + together);
            NAME(join)(out, parts, more, parts + together, together, n);
        }
        NAME(divide)(out, parts, together, n);
    }
}

/* Parallel over the spans of few rows: item = (row, key head, span), spans counted up to the longest row's. */
static void NAME(attend_spans)(void *arguments, long first, long last) {
    const Attention *a = arguments;
    long together = a->heads / a->kv_heads;
    for (long item = first; item < last; item++) {
        long group = item / a->spans, row = group / a->kv_heads, i = item % a->spans;
        if (i < span_count(a, row))
            attend_group(a, row, group % a->kv_heads, first_span(a, row) + i,
                         a->scratch + item * together * a->head_dim, a->parts + item * together);
    }
}

/* Keys and values of every row to the place of its position. */
OP(write_cache) {
    const float *k = s[0].p, *v = s[1].p;
    long stride = s[2].i, tokens = s[7].i, size = s[8].i, block_size = s[9].i;
    const int32_t *const *tables = s[5].p, *positions = s[6].p;
    for (long row = 0; row < tokens; row++) {
        long position = positions[row];
        long at = (tables[row][position / block_size] * block_size + position % block_size) * size;
        memcpy((float *)s[3].p + at, k + row * stride, 4 * size);
        memcpy((float *)s[4].p + at, v + row * stride, 4 * size);
    }
    return 0;
}

/* Returns 0, or 1 where memory is lacking. */
OP(attention) {
    long tokens = s[6].i, heads = s[7].i, kv_heads = s[8].i, head_dim = s[9].i;
    float *out = s[14].p;
    Attention a = {.q = s[0].p,
                   .stride = s[1].i,
                   .keys = s[2].p,
                   .values = s[3].p,
                   .tables = s[4].p,
                   .positions = s[5].p,
                   .heads = heads,
                   .kv_heads = kv_heads,
                   .head_dim = head_dim,
                   .block_size = s[10].i,
                   .window = s[11].i,
                   .scale = s[12].f,
                   .cap = s[13].f,
                   .out = out,
                   .spans = 1};
    long groups = tokens * kv_heads, together = heads / kv_heads;
    for (long row = 0; row < tokens; row++)
        if (span_count(&a, row) > a.spans) a.spans = span_count(&a, row);
    int few = groups < 4 * bezel_thread_count() && a.spans > 1;
    long outs = groups * together * (few ? a.spans : 1), parts = groups * together * (few ? a.spans : 2);
    float *memory = malloc(4 * outs * head_dim + sizeof(Part) * parts);
    if (!memory) return 1;
    a.scratch = memory, a.parts = (Part *)(memory + outs * head_dim);
    if (few) {
        bezel_parallel(NAME(attend_spans), &a, groups * a.spans);
        for (long group = 0; group < groups; group++) {
            long row = group / kv_heads, size = together * head_dim, item = group * a.spans;
            float *joined = out + (row * heads + group % kv_heads * together) * head_dim;
            Part *sum = a.parts + item * together;
            memcpy(joined, a.scratch + item * size, 4 * size);
            for (long i = 1; i < span_count(&a, row); i++)
                NAME(join)(joined, sum, a.scratch + (item + i) * size, sum + i * together, together, head_dim);
            NAME(divide)(joined, sum, together, head_dim);
        }
    } else bezel_parallel(NAME(attend), &a, groups);
    free(memory);
    return 0;
}
