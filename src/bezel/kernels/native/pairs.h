/* BF16 matrices, in blocks of 16 interleaved rows, times rows of activations: products of float32. */

enum { PAIRED = TOKENS < 6 ? TOKENS : TILE };

/* A block of 16 interleaved BF16 rows times `tile` tokens: even and odd columns are summed apart. */
INLINE void paired_rows(const Product *p, long block, long token, const int tile) {
    long rows = p->matrix->rows, columns = p->matrix->columns, pairs = columns / 2;
    const uint8_t *weights = p->matrix->data + block * pair_bytes(columns) + 64;
    const float *x = p->x + token * columns;
    vpf even[PAIRED][PARTS], odd[PAIRED][PARTS];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) EVERY_PART even[t][part] = odd[t][part] = (vpf){0};
    for (long i = 0; i < pairs; i++) EVERY_PART {
        vpi both = load_codes(weights + 64 * i + part * PART_BYTES);
        vpf low = (vpf)(both << 16), high = (vpf)(both & (int32_t)0xffff0000);
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            const float *two = x + t * columns + 2 * i;
            even[t][part] = fma_part(low, two[0] - (vpf){0}, even[t][part]);
            odd[t][part] = fma_part(high, two[1] - (vpf){0}, odd[t][part]);
        }
    }
    if (columns % 2) EVERY_PART {
        vpf last = (vpf)(load_codes(weights + 64 * pairs + part * PART_BYTES) << 16);
        for (int t = 0; t < tile; t++)
            even[t][part] = fma_part(last, x[(t + 1) * columns - 1] - (vpf){0}, even[t][part]);
    }
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) {
        EVERY_PART even[t][part] += odd[t][part];
        put_rows(p->out + (token + t) * rows + block * LANES, even[t], rows - block * LANES);
    }
}

static void NAME(paired)(void *arguments, long first, long last) {
    const Product *p = arguments;
    for (long block = first; block < last; block++) {
        long token = 0;
        for (; token + PAIRED <= p->tokens; token += PAIRED) paired_rows(p, block, token, PAIRED);
        for (; token < p->tokens; token++) paired_rows(p, block, token, 1);
    }
}

INLINE int paired_product(const Product *p) {
    bezel_parallel(NAME(paired), (void *)p, (p->matrix->rows + LANES - 1) / LANES);
    return 0;
}
