/* The cache: rows of head_dim elements in F32, F16 or Q8_0 (GGUF's layouts, one row a position and key head). */

enum { HALF_MOST = 65504 };

/* Elements first ... first + count - 1 of a row, widened to float32 and filled with zeros up to whole vectors. */
INLINE void widen_row(float *out, const uint8_t *row, long first, long count, const int format) {
    if (format == Q8_0) {
        for (long i = first; i < first + count; i += LANES) {
            const uint8_t *group = row + i / GROUP * 34;
            uint16_t scale;
            memcpy(&scale, group, 2);
            v16i codes = codes16(group + 2 + i % GROUP);
            store16(out + i - first, __builtin_convertvector(codes, v16f) * half1(scale));
        }
        return;
    }
    long i = 0;
    for (; i + LANES <= count; i += LANES) store16(out + i, whole16(format, row, first + i));
    if (i < count) {
        uint8_t last[4 * LANES] = {0};
        memcpy(last, row + row_bytes(format, first + i), row_bytes(format, count - i));
        store16(out + i, whole16(format, last, 0));
    }
}

INLINE v16f within_half(v16f v) {
    v = select16(v > (float)HALF_MOST, all16(HALF_MOST), v);
    return select16(v < -(float)HALF_MOST, all16(-HALF_MOST), v);
}

/* F16: to nearest even, saturated at +-65504. */
INLINE void narrow_f16(uint8_t *row, const float *x, long n) {
    long i = 0;
    for (; i + LANES <= n; i += LANES) store_half16((uint16_t *)row + i, within_half(load16(x + i)));
    if (i < n) {
        float last[LANES] = {0};
        uint16_t halves[LANES];
        memcpy(last, x + i, 4 * (n - i));
        store_half16(halves, within_half(load16(last)));
        memcpy(row + 2 * i, halves, 2 * (n - i));
    }
}

/* Q8_0: per group of 32 the scale amax / 127, kept as a half, and codes rounded half away from zero. Elements
   saturate where the scale would leave a half's range. */
INLINE void narrow_q8_0(uint8_t *row, const float *x, long n) {
    for (long group = 0; group < n / GROUP; group++) {
        uint8_t *block = row + group * 34;
        v16f parts[2], scaled;
        uint16_t halves[LANES];
        for (int k = 0; k < 2; k++) {
            parts[k] = load16(x + group * GROUP + k * LANES);
            parts[k] = select16(parts[k] > HALF_MOST * 127.0f, all16(HALF_MOST * 127.0f), parts[k]);
            parts[k] = select16(parts[k] < HALF_MOST * -127.0f, all16(HALF_MOST * -127.0f), parts[k]);
        }
        float scale = max16(max_of(abs16(parts[0]), abs16(parts[1]))) / 127.0f, inverse = scale ? 1.0f / scale : 0.0f;
        store_half16(halves, all16(scale));
        memcpy(block, halves, 2);
        for (int k = 0; k < 2; k++) {
            scaled = parts[k] * inverse;
            v16i whole = __builtin_convertvector(scaled, v16i);
            v16f rest = scaled - __builtin_convertvector(whole, v16f);
            v16c codes = __builtin_convertvector(whole + __builtin_convertvector(rest + rest, v16i), v16c);
            memcpy(block + 2 + k * LANES, &codes, 16);
        }
    }
}

typedef struct {
    const float *k, *v;
    uint8_t *keys, *values;
    const int32_t *const *tables; /* one a row */
    const int32_t *positions;
    long stride, kv_heads, head_dim, block_size;
    int format;
} CacheWrite;

static void NAME(write_rows)(void *arguments, long first, long last) {
    const CacheWrite *a = arguments;
    long size = row_bytes(a->format, a->head_dim);
    for (long row = first; row < last; row++) {
        long position = a->positions[row];
        long at = (a->tables[row][position / a->block_size] * a->block_size + position % a->block_size) * a->kv_heads;
        for (long head = 0; head < a->kv_heads; head++)
            for (int which = 0; which < 2; which++) {
                const float *x = (which ? a->v : a->k) + row * a->stride + head * a->head_dim;
                uint8_t *place = (which ? a->values : a->keys) + (at + head) * size;
                if (a->format == F16) narrow_f16(place, x, a->head_dim);
                else if (a->format == Q8_0) narrow_q8_0(place, x, a->head_dim);
                else memcpy(place, x, size);
            }
    }
}

/* Keys and values of every row to the place of its position. */
OP(write_cache) {
    CacheWrite a = {s[0].p, s[1].p, s[3].p, s[4].p, s[5].p, s[6].p, s[2].i, s[8].i, s[9].i, s[10].i, s[11].i};
    long rows = s[7].i;
    if (rows * a.kv_heads * a.head_dim < SMALL) NAME(write_rows)(&a, 0, rows);
    else bezel_parallel(NAME(write_rows), &a, rows);
    return 0;
}
