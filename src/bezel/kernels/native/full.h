/* Attention in which every query sees every key: soft-max(q.k * scale) times the values, of one image at a time.

   Keys are laid out in panels, the same element of WIDTH keys side by side, so that scores need no sums across lanes.
   A row's blocks of keys are joined in their order, whichever rows share its tile. */

enum {
    NATIVES = PARTS == 1 ? 4 : PARTS,   /* of the processor's vectors, in a tile */
    WIDTH = NATIVES * LANES / PARTS,    /* floats in them */
    ROWS = PARTS == 4 ? 4 : 6,          /* in a tile */
    ITEM = 8 * ROWS,                    /* rows that use a block of keys while it is in L2 */
    KEY_BLOCK = 128
};

typedef struct {
    const float *q, *k, *v; /* rows `q_stride` and `stride` apart, heads head_dim apart */
    float *out, *keys, *values;
    long rows, seen, heads, head_dim, q_stride, stride, width, blocks; /* `seen`: keys */
    float scale;
    int failed;
} Full;

/* Parallel over blocks of heads: keys become panels, values rows of whole vectors. What is behind the last is 0. */
static void NAME(pack_blocks)(void *arguments, long first, long last) {
    const Full *a = arguments;
    for (long item = first; item < last; item++) {
        long head = item / a->blocks, base = item % a->blocks * KEY_BLOCK;
        long count = a->seen - base < KEY_BLOCK ? a->seen - base : KEY_BLOCK;
        float *keys = a->keys + item * KEY_BLOCK * a->head_dim, *values = a->values + item * KEY_BLOCK * a->width;
        memset(keys, 0, 4 * KEY_BLOCK * a->head_dim), memset(values, 0, 4 * KEY_BLOCK * a->width);
        for (long j = 0; j < count; j++) {
            long at = (base + j) * a->stride + head * a->head_dim;
            float *panel = keys + j / WIDTH * WIDTH * a->head_dim + j % WIDTH;
            for (long i = 0; i < a->head_dim; i++) panel[i * WIDTH] = a->k[at + i];
            memcpy(values + j * a->width, a->v + at, 4 * a->head_dim);
        }
    }
}

/* Scores of `rows` queries with the keys of one panel. */
INLINE void score_panel(const float *q, const float *panel, long n, float *scores, const int rows) {
    vpf sums[ROWS][NATIVES];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int k = 0; k < NATIVES; k++) sums[r][k] = (vpf){0};
    for (long i = 0; i < n; i++, panel += WIDTH) {
        vpf key[NATIVES];
#pragma GCC unroll 4
        for (int k = 0; k < NATIVES; k++) key[k] = load_part(panel + k * LANES / PARTS);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vpf query = q[r * n + i] - (vpf){0};
#pragma GCC unroll 4
            for (int k = 0; k < NATIVES; k++) sums[r][k] = fma_part(query, key[k], sums[r][k]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) memcpy(scores + r * KEY_BLOCK, sums[r], sizeof sums[r]);
}

/* out[r] += sum over j of weights[r][j] * values[j], for `natives` vectors of elements. */
INLINE void add_values(float *out, const float *weights, const float *values, long width, long count, const int rows,
                       const int natives) {
    vpf sums[ROWS][NATIVES];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int k = 0; k < natives; k++) sums[r][k] = load_part(out + r * width + k * LANES / PARTS);
    for (long j = 0; j < count; j++) {
        vpf value[NATIVES];
#pragma GCC unroll 4
        for (int k = 0; k < natives; k++) value[k] = load_part(values + j * width + k * LANES / PARTS);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vpf weight = weights[r * KEY_BLOCK + j] - (vpf){0};
#pragma GCC unroll 4
            for (int k = 0; k < natives; k++) sums[r][k] = fma_part(weight, value[k], sums[r][k]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int k = 0; k < natives; k++) memcpy(out + r * width + k * LANES / PARTS, &sums[r][k], sizeof(vpf));
}

/* The scores of one row become weights e^(score - largest); its sums so far are held to the new largest. */
INLINE void weigh_block(float *scores, long count, float *largest, v16f *total, float *out, long width) {
    const v16i lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    v16f most = all16(*largest);
    for (long j = 0; j < count; j += LANES)
        most = max_of(most, select16(lanes + (int)j < (int)count, load16(scores + j), most));
    float now = max16(most), keep = exp16(all16(*largest - now))[0];
    v16f sum = *total * keep;
    for (long j = 0; j < count; j += LANES) {
        v16f v = select16(lanes + (int)j < (int)count, exp16(load16(scores + j) - now), all16(0));
        sum += v;
        store16(scores + j, v);
    }
    if (*largest != now)
        for (long i = 0; i < width; i += LANES) store16(out + i, load16(out + i) * keep);
    *largest = now, *total = sum;
}

INLINE void attend_tile(const Full *a, const float *q, const float *keys, const float *values, long count,
                        float *largest, v16f *totals, float *out, const int rows) {
    _Alignas(64) float scores[ROWS * KEY_BLOCK];
    for (long j = 0; j < count; j += WIDTH) score_panel(q, keys + j * a->head_dim, a->head_dim, scores + j, rows);
    for (int r = 0; r < rows; r++)
        weigh_block(scores + r * KEY_BLOCK, count, largest + r, totals + r, out + r * a->width, a->width);
    long i = 0;
    for (; i + WIDTH <= a->width; i += WIDTH)
        add_values(out + i, scores, values + i, a->width, count, rows, NATIVES);
    for (; i < a->width; i += LANES) add_values(out + i, scores, values + i, a->width, count, rows, PARTS);
}

/* Parallel over stretches of ITEM rows of a head. */
static void NAME(attend_rows)(void *arguments, long first, long last) {
    Full *a = arguments;
    long n = a->head_dim, items = (a->rows + ITEM - 1) / ITEM;
    float *q = aligned_alloc(64, (4 * ITEM * (n + a->width) + 63) / 64 * 64), *out = q + ITEM * n;
    if (!q) {
        a->failed = 1;
        return;
    }
    for (long item = first; item < last; item++) {
        long head = item / items, row = item % items * ITEM, count = a->rows - row < ITEM ? a->rows - row : ITEM;
        float largest[ITEM];
        v16f totals[ITEM];
        for (long r = 0; r < count; r++) {
            const float *x = a->q + (row + r) * a->q_stride + head * n;
            for (long i = 0; i < n; i++) q[r * n + i] = x[i] * a->scale;
            largest[r] = -INFINITY, totals[r] = all16(0);
        }
        memset(out, 0, 4 * count * a->width);
        for (long block = 0; block < a->blocks; block++) {
            long seen = a->seen - block * KEY_BLOCK < KEY_BLOCK ? a->seen - block * KEY_BLOCK : KEY_BLOCK, r = 0;
            const float *keys = a->keys + (head * a->blocks + block) * KEY_BLOCK * n;
            const float *values = a->values + (head * a->blocks + block) * KEY_BLOCK * a->width;
            for (; r + ROWS <= count; r += ROWS)
                attend_tile(a, q + r * n, keys, values, seen, largest + r, totals + r, out + r * a->width, ROWS);
            for (; r < count; r++)
                attend_tile(a, q + r * n, keys, values, seen, largest + r, totals + r, out + r * a->width, 1);
        }
        for (long r = 0; r < count; r++) {
            float *place = a->out + ((row + r) * a->heads + head) * n, total = sum16(totals[r]);
            for (long i = 0; i < n; i++) place[i] = out[r * a->width + i] / total;
        }
    }
    free(q);
}

/* Returns 0, or 1 where memory is lacking. */
OP(full_attention) {
    Full a = {.q = s[0].p,
              .k = s[1].p,
              .v = s[2].p,
              .q_stride = s[3].i,
              .stride = s[4].i,
              .rows = s[5].i,
              .seen = s[6].i,
              .heads = s[7].i,
              .head_dim = s[8].i,
              .scale = s[9].f,
              .out = s[10].p};
    a.width = (a.head_dim + LANES - 1) / LANES * LANES, a.blocks = (a.seen + KEY_BLOCK - 1) / KEY_BLOCK;
    long all = a.heads * a.blocks * KEY_BLOCK;
    a.values = aligned_alloc(64, 4 * all * (a.width + a.head_dim));
    if (!a.values) return 1;
    a.keys = a.values + all * a.width;
    bezel_parallel(NAME(pack_blocks), &a, a.heads * a.blocks);
    bezel_parallel(NAME(attend_rows), &a, a.heads * ((a.rows + ITEM - 1) / ITEM));
    free(a.values);
    return a.failed;
}
