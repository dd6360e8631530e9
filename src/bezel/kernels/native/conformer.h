/* What a conformer over sounds needs beside norms and products: gates, clipping, a norm over all that was heard so far,
   a light convolution, and attention inside a window. */

typedef struct {
    const float *x;
    float *out, limit;
    long count, n;
} Strips;

INLINE void run_strips(bezel_task task, Strips *a) {
    long strips = (a->count + LANES - 1) / LANES;
    if (a->count < SMALL) task(a, 0, strips);
    else bezel_parallel(task, a, strips);
}

static void NAME(clip_strips)(void *arguments, long first, long last) {
    const Strips *a = arguments;
    for (long i = first * LANES; i < last * LANES; i += LANES) {
        v16f v = load_some(a->x + i, a->count - i);
        v = select16(v > a->limit, all16(a->limit), v);
        v = select16(v < -a->limit, all16(-a->limit), v);
        store_some(a->out + i, v, a->count - i);
    }
}

OP(clip) {
    Strips clip = {.x = s[0].p, .count = s[1].i, .limit = s[2].f, .out = s[3].p};
    run_strips(NAME(clip_strips), &clip);
    return 0;
}

static void NAME(silu_strips)(void *arguments, long first, long last) {
    const Strips *a = arguments;
    for (long i = first * LANES; i < last * LANES; i += LANES) {
        v16f v = load_some(a->x + i, a->count - i);
        store_some(a->out + i, v / (1.0f + exp16(-v)), a->count - i);
    }
}

OP(silu) {
    Strips silu = {.x = s[0].p, .count = s[1].i, .out = s[0].p};
    run_strips(NAME(silu_strips), &silu);
    return 0;
}

static void NAME(glu_rows)(void *arguments, long first, long last) {
    const Strips *a = arguments;
    for (long row = first; row < last; row++)
        for (long i = 0; i < a->n; i += LANES) {
            const float *x = a->x + 2 * row * a->n + i;
            v16f gate = load_some(x + a->n, a->n - i);
            store_some(a->out + row * a->n + i, load_some(x, a->n - i) / (1.0f + exp16(-gate)), a->n - i);
        }
}

OP(glu) {
    long rows = s[1].i;
    Strips glu = {.x = s[0].p, .n = s[2].i, .out = s[3].p};
    if (rows * glu.n < SMALL) NAME(glu_rows)(&glu, 0, rows);
    else bezel_parallel(NAME(glu_rows), &glu, rows);
    return 0;
}

/* One row after another, since each knows the sums of those before: rows heard, their elements' sum, and the sum of
   their squares about the mean that each row had. */
OP(cumulative_norm) {
    const float *weight = s[1].p;
    long rows = s[2].i, n = s[3].i, channels = s[4].i;
    float eps = s[5].f;
    double *sums = s[6].p;
    for (long row = 0; row < rows; row++) {
        float *x = (float *)s[0].p + row * n;
        v16f sum = all16(0), squares = all16(0);
        for (long i = 0; i < n; i += LANES) sum += load_some(x + i, n - i);
        sums[0] += 1, sums[1] += sum16(sum);
        float mean = sums[1] / (sums[0] * n);
        for (long i = 0; i < n; i += LANES) {
            v16f centred = load_some(x + i, n - i) - mean;
            store_some(x + i, centred, n - i);
        }
        sums[2] += sum16(add_products(squares, x, x, n));
        float scale = 1.0f / sqrtf((float)(sums[2] / (sums[0] * n)) + eps);
        for (long group = 0; group < n; group += channels)
            for (long i = 0; i < channels; i += LANES) {
                float *at = x + group + i;
                v16f v = load_some(at, channels - i) * scale * load_some(weight + i, channels - i);
                store_some(at, max_of(v, all16(0)), channels - i);
            }
    }
    return 0;
}

typedef struct {
    const float *x, *weight;
    float *out;
    long n, taps;
} CausalConv;

static void NAME(causal_conv_rows)(void *arguments, long first, long last) {
    const CausalConv *a = arguments;
    for (long row = first; row < last; row++) {
        long missing = a->taps - 1 - row > 0 ? a->taps - 1 - row : 0;
        for (long i = 0; i < a->n; i += LANES) {
            v16f sum = all16(0);
            for (long tap = missing; tap < a->taps; tap++)
                sum = fma16(load_some(a->weight + tap * a->n + i, a->n - i),
                            load_some(a->x + (row - a->taps + 1 + tap) * a->n + i, a->n - i), sum);
            store_some(a->out + row * a->n + i, sum, a->n - i);
        }
    }
}

OP(causal_conv) {
    long rows = s[2].i;
    CausalConv conv = {s[0].p, s[1].p, s[5].p, s[3].i, s[4].i};
    if (rows * conv.n < SMALL) NAME(causal_conv_rows)(&conv, 0, rows);
    else bezel_parallel(NAME(causal_conv_rows), &conv, rows);
    return 0;
}

typedef struct {
    const float *q, *k, *v, *positions, *scale; /* rows of q, k, v `stride` apart, heads head_dim apart */
    float *out;
    long stride, rows, heads, head_dim, left, right;
    float cap;
    int failed;
} Local;

/* One row of one head: `q` holds it scaled, `scores` has room for the window in whole vectors. */
INLINE void attend_near(const Local *a, long row, long head, const float *q, float *scores) {
    long n = a->head_dim, first = row > a->left ? row - a->left : 0;
    long end = row + a->right < a->rows ? row + a->right + 1 : a->rows, count = end - first;
    const float *k = a->k + first * a->stride + head * n, *v = a->v + first * a->stride + head * n;
    const float *places = a->positions + ((first - row + a->left) * a->heads + head) * n;
    for (long j = 0; j < count; j++) {
        const float *key = k + j * a->stride, *place = places + j * a->heads * n;
        v16f sum = all16(0);
        for (long i = 0; i < n; i += LANES)
            sum = fma16(load_some(q + i, n - i), load_some(key + i, n - i) + load_some(place + i, n - i), sum);
        scores[j] = sum16(sum);
    }
    long strips = (count + LANES - 1) / LANES;
    Cap cap = {scores, a->cap, count};
    NAME(cap_strips)(&cap, 0, strips);
    for (long j = count; j < strips * LANES; j++) scores[j] = -INFINITY;
    v16f most = all16(-INFINITY), total = all16(0);
    for (long j = 0; j < strips; j++) most = max_of(most, load16(scores + j * LANES));
    float largest = max16(most);
    for (long j = 0; j < strips; j++) {
        v16f weight = exp16(load16(scores + j * LANES) - largest);
        store16(scores + j * LANES, weight), total += weight;
    }
    float whole = sum16(total), *out = a->out + (row * a->heads + head) * n;
    for (long i = 0; i < n; i += LANES) {
        v16f sum = all16(0);
        for (long j = 0; j < count; j++) sum = fma16(all16(scores[j]), load_some(v + j * a->stride + i, n - i), sum);
        store_some(out + i, sum / whole, n - i);
    }
}

/* Parallel over the rows of each head. */
static void NAME(local_rows)(void *arguments, long first, long last) {
    Local *a = arguments;
    long n = a->head_dim, window = a->left + a->right + 1;
    float *q = malloc(4 * (n + window + LANES));
    if (!q) {
        a->failed = 1;
        return;
    }
    for (long item = first; item < last; item++) {
        long head = item / a->rows, row = item % a->rows;
        const float *x = a->q + row * a->stride + head * n;
        for (long i = 0; i < n; i++) q[i] = x[i] * a->scale[i];
        attend_near(a, row, head, q, q + n);
    }
    free(q);
}

/* Returns 0, or 1 where memory is lacking. */
OP(local_attention) {
    Local a = {.q = s[0].p,
               .k = s[1].p,
               .v = s[2].p,
               .stride = s[3].i,
               .rows = s[4].i,
               .heads = s[5].i,
               .head_dim = s[6].i,
               .positions = s[7].p,
               .scale = s[8].p,
               .left = s[9].i,
               .right = s[10].i,
               .cap = s[11].f,
               .out = s[12].p};
    bezel_parallel(NAME(local_rows), &a, a.heads * a.rows);
    return a.failed;
}
