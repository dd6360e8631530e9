/* Matrices of F32 and F16 times rows of activations. */

enum { AHEAD = 8192 /* bytes that are fetched ahead of their use */ };
enum { STRIP_BYTES = 256 << 10 /* bytes of x that stay in a core's own cache while all rows of weights pass by */ };

/* 16 weights of a row stored as F16 or F32. */
INLINE v16f whole16(int format, const uint8_t *row, long column) {
    if (format == F16) return half16((const uint16_t *)(row + 2 * column));
    return load16((const float *)(row + 4 * column));
}

/* `rows` rows (4 or 1) times `tile` tokens, each product in the lanes' order of add_products. */
INLINE void whole_tile(const Product *p, long row, const int rows, long token, const int tile, const int format) {
    long columns = p->matrix->columns, stride = row_bytes(format, columns), i = 0;
    const uint8_t *weights = p->matrix->data + row * stride;
    v16f sums[4][4];
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++)
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) sums[t][r] = all16(0);
    for (; i + LANES <= columns; i += LANES) {
        v16f w[4];
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const uint8_t *at = weights + r * stride;
            w[r] = whole16(format, at, i);
            if (tile == 1) __builtin_prefetch(at + row_bytes(format, i) + AHEAD);
        }
#pragma GCC unroll 4
        for (int t = 0; t < tile; t++) {
            v16f x = load16(p->x + (token + t) * columns + i);
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) sums[t][r] = fma16(w[r], x, sums[t][r]);
        }
    }
    if (i < columns)
        for (int r = 0; r < rows; r++) {
            uint8_t rest[64] = {0};
            long size = row_bytes(format, 1);
            memcpy(rest, weights + r * stride + size * i, size * (columns - i));
            v16f w = whole16(format, rest, 0);
            for (int t = 0; t < tile; t++) {
                v16f x = all16(0);
                memcpy(&x, p->x + (token + t) * columns + i, 4 * (columns - i));
                sums[t][r] = fma16(w, x, sums[t][r]);
            }
        }
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++) {
        float found[4];
        sums_of_four(sums[t], found);
        memcpy(p->out + (token + t) * p->matrix->rows + row, found, 4 * rows);
    }
}

/* Tokens start ... end - 1. */
INLINE void whole_strip(const Product *p, long first, long last, long start, long end, const int format) {
    for (long row = first; row < last;) {
        int four = row + 4 <= last;
        for (long token = start; token < end;)
            if (four && token + 4 <= end) whole_tile(p, row, 4, token, 4, format), token += 4;
            else if (four) whole_tile(p, row, 4, token++, 1, format);
            else whole_tile(p, row, 1, token++, 1, format);
        row += four ? 4 : 1;
    }
}

INLINE void whole_rows(const Product *p, long first, long last, const int format) {
    long strip = STRIP_BYTES / (4 * p->matrix->columns) / 4 * 4;
    if (strip < 16) strip = 16;
    for (long start = 0; start < p->tokens; start += strip)
        whole_strip(p, first, last, start, start + strip < p->tokens ? start + strip : p->tokens, format);
}

static void NAME(whole)(void *arguments, long first, long last) {
    const Product *p = arguments;
    if (p->matrix->format == F16) whole_rows(p, first, last, F16);
    else whole_rows(p, first, last, F32);
}
