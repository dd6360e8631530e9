/* What towers of convolutions need beside products: a convolution of each channel by itself, the windows that make any
   other a product, and a norm with GELU behind it. Rows are pixels, channels lie side by side. */

typedef struct {
    const float *x, *weight;
    float *out;
    long height, width, channels, size, stride, top, left, columns;
} Convolution;

/* Where the window of an output place lies: taps from *first on to *end fall on places that there are. */
INLINE void taps_inside(long at, long before, long count, const Convolution *a, long *first, long *end) {
    long begin = at * a->stride - before;
    *first = begin < 0 ? -begin : 0;
    *end = count - begin < a->size ? count - begin : a->size;
}

/* Parallel over output rows. */
static void NAME(depthwise_rows)(void *arguments, long first, long last) {
    const Convolution *a = arguments;
    long n = a->channels;
    for (long row = first; row < last; row++) {
        long tap_row, rows_end, y = row * a->stride - a->top;
        taps_inside(row, a->top, a->height, a, &tap_row, &rows_end);
        for (long column = 0; column < a->columns; column++) {
            long tap_column, columns_end, x = column * a->stride - a->left;
            taps_inside(column, a->left, a->width, a, &tap_column, &columns_end);
            float *out = a->out + (row * a->columns + column) * n;
            for (long i = 0; i < n; i += LANES) {
                v16f sum = all16(0);
                for (long r = tap_row; r < rows_end; r++)
                    for (long c = tap_column; c < columns_end; c++)
                        sum = fma16(load_some(a->weight + (r * a->size + c) * n + i, n - i),
                                    load_some(a->x + ((y + r) * a->width + x + c) * n + i, n - i), sum);
                store_some(out + i, sum, n - i);
            }
        }
    }
}

INLINE Convolution convolution_of(const Slot *s) {
    return (Convolution){.x = s[0].p,
                         .weight = s[1].p,
                         .height = s[2].i,
                         .width = s[3].i,
                         .channels = s[4].i,
                         .size = s[5].i,
                         .stride = s[6].i,
                         .top = s[7].i,
                         .left = s[8].i,
                         .columns = s[10].i,
                         .out = s[11].p};
}

OP(depthwise) {
    Convolution conv = convolution_of(s);
    bezel_parallel(NAME(depthwise_rows), &conv, s[9].i);
    return 0;
}

/* Parallel over output rows; each place's window in the order channel, row, column, as weights have it. */
static void NAME(window_rows)(void *arguments, long first, long last) {
    const Convolution *a = arguments;
    long n = a->channels, taps = a->size * a->size;
    for (long row = first; row < last; row++) {
        long tap_row, rows_end, y = row * a->stride - a->top;
        taps_inside(row, a->top, a->height, a, &tap_row, &rows_end);
        for (long column = 0; column < a->columns; column++) {
            long tap_column, columns_end, x = column * a->stride - a->left;
            taps_inside(column, a->left, a->width, a, &tap_column, &columns_end);
            float *out = a->out + (row * a->columns + column) * n * taps;
            if (tap_row || tap_column || rows_end < a->size || columns_end < a->size) memset(out, 0, 4 * n * taps);
            for (long r = tap_row; r < rows_end; r++)
                for (long c = tap_column; c < columns_end; c++) {
                    const float *pixel = a->x + ((y + r) * a->width + x + c) * n;
                    float *place = out + r * a->size + c;
                    for (long i = 0; i < n; i++) place[i * taps] = pixel[i];
                }
        }
    }
}

OP(windows) {
    Convolution conv = convolution_of(s);
    bezel_parallel(NAME(window_rows), &conv, s[9].i);
    return 0;
}

static void NAME(norm_gelu_rows)(void *arguments, long first, long last) {
    const Norm *a = arguments;
    for (long row = first; row < last; row++) {
        float *x = a->out + row * a->n, scale = inverse_root(x, a->n, a->eps);
        for (long i = 0; i < a->n; i += LANES)
            store_some(x + i, gelu16(load_some(x + i, a->n - i) * scale * load_some(a->weight + i, a->n - i)),
                       a->n - i);
    }
}

OP(norm_gelu) {
    long rows = s[2].i;
    Norm norm = {s[0].p, s[1].p, s[0].p, s[3].i, s[4].f, 0};
    if (rows * norm.n < SMALL) NAME(norm_gelu_rows)(&norm, 0, rows);
    else bezel_parallel(NAME(norm_gelu_rows), &norm, rows);
    return 0;
}
