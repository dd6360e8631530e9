/* Every kernel, once per instruction set: the including file gives NAME, dot4 and half16.
   What each computes is stated in kernels/interface.py and defined by kernels/reference.py.

   Q4_0 and Q8_0 rows are interleaved by 16: a group of 32 columns of 16 rows is 16 float16 scales, then chunks of
   64 bytes, each holding 4 consecutive columns of the 16 rows (for Q4_0 in the low halves, and the 4 columns that
   lie 16 further in the high halves). Codes are unsigned; the offset is taken off again with the sum of x,
   whose negative multiple the products start from.

   BF16 rows are interleaved by 16 too: 64 bytes hold two consecutive columns of 16 rows.

   Q4_K, Q5_K and Q6_K: 256 columns of 16 rows are 16 float16 scales (and 16 of the minima but for Q6_K), then 8 groups
   of 32 columns, each 16 small scales and 16 small minima (Q6_K: 16 scales of either half), then codes as in Q4_0, or
   for Q5_K and Q6_K a byte each as in Q8_0. */

#include "pool.h"

#define EXPORT __attribute__((visibility("default")))
/* What Python calls: every argument in eight bytes, so that a call can be written down and made again (library.c). */
#define OP(name) EXPORT int NAME(name)(const Slot *s)
#define INLINE static inline __attribute__((always_inline))

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q8_0 = 8, Q4_K = 12, Q5_K = 13, Q6_K = 14, BF16 = 30 };
enum { GROUP = 32, LANES = 16, TILE = 8, WIDE = 6, AHEAD = 8192 /* bytes */, SMALL = 8192 /* elements that one thread does sooner alone */ };

typedef struct {
    int format;
    long rows, columns;
    uint8_t *data;
} Matrix;

INLINE long group_bytes(int format) { return format == Q8_0 ? 32 + 512 : 32 + 256; }

/* Where a weight of an interleaved BF16 matrix lies. */
INLINE long pair_place(long row, long column, long columns) {
    return ((row / LANES * ((columns + 1) / 2) + column / 2) * LANES + row % LANES) * 4 + column % 2 * 2;
}

/* Bytes of a row in GGUF's layout. */
INLINE long row_bytes(int format, long columns) {
    switch (format) {
    case F32: return 4 * columns;
    case Q4_0: return columns / 32 * 18;
    case Q8_0: return columns / 32 * 34;
    case Q4_K: return columns / 256 * 144;
    case Q5_K: return columns / 256 * 176;
    case Q6_K: return columns / 256 * 210;
    default: return 2 * columns;
    }
}

/* ---- packing ---- */

typedef struct {
    int format;
    long columns, first, count;
    uint8_t *data;
    const uint8_t *raw;
} Packing;

INLINE void pack_row(const Packing *p, long row, const uint8_t *raw) {
    long groups = p->columns / GROUP, size = group_bytes(p->format), lane = row % LANES;
    uint8_t *group = p->data + row / LANES * groups * size;
    uint32_t flip = p->format == Q8_0 ? 0x80808080u : 0, code;
    for (long g = 0; g < groups; g++, group += size) {
        memcpy(group + 2 * lane, raw, 2), raw += 2;
        for (long j = 0; j < (p->format == Q8_0 ? 8 : 4); j++, raw += 4) {
            memcpy(&code, raw, 4);
            code ^= flip;
            memcpy(group + 32 + 64 * j + 4 * lane, &code, 4);
        }
    }
}

INLINE int is_k(int format) { return format == Q4_K || format == Q5_K || format == Q6_K; }

INLINE long k_head(int format) { return format == Q6_K ? 32 : 64; }

INLINE long k_group(int format) { return 32 + (format == Q4_K ? 256 : 512); }

INLINE long k_bytes(int format) { return k_head(format) + 8 * k_group(format); }

/* The code of column `at` of a K block, with nothing taken off. */
INLINE int k_code(int format, const uint8_t *b, int at) {
    int group = at / 32, i = at % 32;
    if (format == Q6_K) {
        int part = at / 128, quarter = group % 4;
        int low = b[part * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
        return low | (b[128 + part * 32 + i] >> (2 * quarter) & 3) << 4;
    }
    int low = b[(format == Q4_K ? 16 : 48) + group / 2 * 32 + i] >> (group % 2 * 4) & 15;
    return format == Q4_K ? low : low | (b[16 + i] >> group & 1) << 4;
}

INLINE void k_scale(const uint8_t *packed, int i, uint8_t *scale, uint8_t *minimum) {
    if (i < 4) *scale = packed[i] & 63, *minimum = packed[i + 4] & 63;
    else
        *scale = (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4, *minimum = packed[i + 4] >> 4 | packed[i] >> 6 << 4;
}

INLINE void pack_k(const Packing *p, long row, const uint8_t *raw, const int format) {
    long blocks = p->columns / 256, lane = row % LANES;
    uint8_t *at = p->data + row / LANES * blocks * k_bytes(format);
    for (long block = 0; block < blocks; block++) {
        if (format == Q6_K) memcpy(at + 2 * lane, raw + 208, 2);
        else memcpy(at + 2 * lane, raw, 2), memcpy(at + 32 + 2 * lane, raw + 2, 2);
        at += k_head(format);
        for (int g = 0; g < 8; g++, at += k_group(format)) {
            if (format == Q6_K) at[lane] = raw[192 + 2 * g], at[16 + lane] = raw[193 + 2 * g];
            else k_scale(raw + 4, g, at + lane, at + 16 + lane);
            for (int i = 0; i < 32; i++) {
                int code = k_code(format, raw, g * 32 + i);
                uint8_t *place = at + 32 + i % (format == Q4_K ? 16 : 32) / 4 * 64 + lane * 4 + i % 4;
                if (format != Q4_K) *place = (uint8_t)code;
                else *place = i < 16 ? (*place & 0xf0) | code : (*place & 15) | code << 4;
            }
        }
        raw += format == Q4_K ? 144 : format == Q5_K ? 176 : 210;
    }
}

INLINE void pack_pairs(const Packing *p, long row, const uint8_t *raw) {
    uint8_t *at = p->data + pair_place(row, 0, p->columns);
    for (long i = 0; i < p->columns / 2; i++) memcpy(at + 64 * i, raw + 4 * i, 4);
    if (p->columns % 2) memcpy(at + 64 * (p->columns / 2), raw + 2 * (p->columns - 1), 2);
}

/* Parallel over blocks of 16 rows, counted from the first row's own. */
static void NAME(pack)(void *arguments, long first, long last) {
    const Packing *p = arguments;
    long bytes = row_bytes(p->format, p->columns);
    long start = (p->first / LANES + first) * LANES, end = (p->first / LANES + last) * LANES;
    if (start < p->first) start = p->first;
    if (end > p->first + p->count) end = p->first + p->count;
    for (long row = start; row < end; row++)
        switch (p->format) {
        case BF16: pack_pairs(p, row, p->raw + (row - p->first) * bytes); break;
        case Q4_K: pack_k(p, row, p->raw + (row - p->first) * bytes, Q4_K); break;
        case Q5_K: pack_k(p, row, p->raw + (row - p->first) * bytes, Q5_K); break;
        case Q6_K: pack_k(p, row, p->raw + (row - p->first) * bytes, Q6_K); break;
        default: pack_row(p, row, p->raw + (row - p->first) * bytes);
        }
}

OP(store) {
    Packing packing = {s[0].i, s[1].i, s[3].i, s[4].i, s[2].p, s[5].p};
    if (packing.count)
        bezel_parallel(NAME(pack), &packing, (packing.first + packing.count - 1) / LANES - packing.first / LANES + 1);
    return 0;
}

/* ---- widening ---- */

INLINE float half_at(const uint8_t *p) {
    uint16_t bits;
    memcpy(&bits, p, 2);
    return half_to_float(bits);
}

/* One weight of a K matrix. */
INLINE float k_weight(int format, const uint8_t *data, long row, long column, long columns) {
    long lane = row % LANES, i = column % 32;
    const uint8_t *at = data + (row / LANES * (columns / 256) + column / 256) * k_bytes(format);
    float d = half_at(at + 2 * lane), minimum = half_at(at + 32 + 2 * lane);
    at += k_head(format) + column % 256 / 32 * k_group(format);
    const uint8_t *code = at + 32 + i % (format == Q4_K ? 16 : 32) / 4 * 64 + lane * 4 + i % 4;
    if (format == Q6_K) return (d * (float)(int8_t)at[i / 16 * 16 + lane]) * (float)(*code - 32);
    int value = format == Q4_K ? *code >> (i / 16 * 4) & 15 : *code;
    return (d * (float)at[lane]) * (float)value - minimum * (float)at[16 + lane];
}

/* ---- products ---- */

typedef struct {
    const Matrix *matrix;
    const float *x;
    float *out;
    long tokens;
    int8_t *codes;
    float *scales;
    int32_t *offsets;
    int32_t *halves; /* sums of x over 16 columns, two a group */
    int failed;
} Product;

static void NAME(round_rows)(void *arguments, long first, long last) {
    Product *p = arguments;
    long groups = p->matrix->columns / GROUP;
    int offset = p->matrix->format == Q8_0 ? 128 : 8;
    for (long i = first * groups; i < last * groups; i++) {
        v16f low = load16(p->x + i * GROUP), high = load16(p->x + i * GROUP + LANES);
        float largest = max16(max_of(abs16(low), abs16(high)));
        float inverse = largest > 0 ? 127.0f / largest : 0;
        v16f magic = all16(12582912.0f); /* adding it rounds half to even */
        v16i first_codes = __builtin_convertvector((low * inverse + magic) - magic, v16i);
        v16i last_codes = __builtin_convertvector((high * inverse + magic) - magic, v16i);
        v16c bytes[2] = {__builtin_convertvector(first_codes, v16c), __builtin_convertvector(last_codes, v16c)};
        memcpy(p->codes + i * GROUP, bytes, GROUP);
        p->scales[i] = largest / 127.0f;
        p->halves[2 * i] = sum16i(first_codes), p->halves[2 * i + 1] = sum16i(last_codes);
        p->offsets[i] = -(p->halves[2 * i] + p->halves[2 * i + 1]) * offset;
    }
}

INLINE void sixteen_rows(const Product *p, long block, long token, const int tile, const int format) {
    long rows = p->matrix->rows, groups = p->matrix->columns / GROUP, size = group_bytes(format);
    const uint8_t *group = p->matrix->data + block * groups * size;
    v16f sums[2];
    for (int t = 0; t < tile; t++) sums[t] = all16(0);
    for (long g = 0; g < groups; g++, group += size) {
        v16f scale = half16((const uint16_t *)group);
        v16u w[8];
        if (format == Q8_0) memcpy(w, group + 32, 512);
        else
            for (int j = 0; j < 4; j++) {
                v16u both;
                memcpy(&both, group + 32 + 64 * j, 64);
                w[j] = both & 0x0f0f0f0fu;
                w[j + 4] = both >> 4 & 0x0f0f0f0fu;
            }
        for (int t = 0; t < tile; t++) {
            long at = (token + t) * groups + g;
            int32_t x[8];
            memcpy(x, p->codes + at * GROUP, 32);
            v16i dot = (v16i){0} + p->offsets[at];
            for (int j = 0; j < 8; j++) dot = dot4(dot, (v16i)w[j], x[j]);
            sums[t] += __builtin_convertvector(dot, v16f) * (scale * p->scales[at]);
        }
    }
    long count = rows - block * LANES < LANES ? rows - block * LANES : LANES;
    for (int t = 0; t < tile; t++) memcpy(p->out + (token + t) * rows + block * LANES, &sums[t], 4 * count);
}

static void NAME(grouped)(void *arguments, long first, long last) {
    const Product *p = arguments;
    for (long block = first; block < last; block++)
        for (long token = 0; token < p->tokens;) {
            long left = p->tokens - token;
            if (p->matrix->format == Q8_0) {
                if (left >= 2) sixteen_rows(p, block, token, 2, Q8_0), token += 2;
                else sixteen_rows(p, block, token, 1, Q8_0), token++;
            } else {
                if (left >= 2) sixteen_rows(p, block, token, 2, Q4_0), token += 2;
                else sixteen_rows(p, block, token, 1, Q4_0), token++;
            }
        }
}

/* Two blocks of 16 rows, unpacked once to bytes and floats, times all tokens, `tile` of them at a time. */
INLINE void unpack_block(const Matrix *m, long block, uint8_t *codes, float *scales) {
    long groups = m->columns / GROUP, size = group_bytes(m->format);
    const uint8_t *group = m->data + block * groups * size;
    for (long g = 0; g < groups; g++, group += size, codes += 512, scales += LANES) {
        store16(scales, half16((const uint16_t *)group));
        if (m->format == Q8_0) memcpy(codes, group + 32, 512);
        else
            for (int j = 0; j < 4; j++) {
                v16u both, low, high;
                memcpy(&both, group + 32 + 64 * j, 64);
                low = both & 0x0f0f0f0fu, high = both >> 4 & 0x0f0f0f0fu;
                memcpy(codes + 64 * j, &low, 64), memcpy(codes + 256 + 64 * j, &high, 64);
            }
    }
}

INLINE void two_blocks(const Product *p, const uint8_t *codes, const float *scales, long block, long token,
                       const int tile) {
    long rows = p->matrix->rows, groups = p->matrix->columns / GROUP;
    v16f first[WIDE], second[WIDE];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) first[t] = second[t] = all16(0);
    for (long g = 0; g < groups; g++) {
        v16i a[WIDE], b[WIDE];
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) a[t] = b[t] = (v16i){0} + p->offsets[(token + t) * groups + g];
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            v16i w, v;
            memcpy(&w, codes + g * 512 + 64 * j, 64);
            memcpy(&v, codes + (groups + g) * 512 + 64 * j, 64);
#pragma GCC unroll 8
            for (int t = 0; t < tile; t++) {
                int32_t x;
                memcpy(&x, p->codes + ((token + t) * groups + g) * GROUP + 4 * j, 4);
                a[t] = dot4(a[t], w, x), b[t] = dot4(b[t], v, x);
            }
        }
        v16f scale = load16(scales + g * LANES), other = load16(scales + (groups + g) * LANES);
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            float of_x = p->scales[(token + t) * groups + g];
            first[t] += __builtin_convertvector(a[t], v16f) * (scale * of_x);
            second[t] += __builtin_convertvector(b[t], v16f) * (other * of_x);
        }
    }
    long left = rows - block * LANES, count = left < 2 * LANES ? left : 2 * LANES;
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) {
        float *out = p->out + (token + t) * rows + block * LANES;
        memcpy(out, &first[t], 4 * (count < LANES ? count : LANES));
        if (count > LANES) memcpy(out + LANES, &second[t], 4 * (count - LANES));
    }
}

/* Parallel over pairs of blocks. */
static void NAME(many_tokens)(void *arguments, long first, long last) {
    Product *p = arguments;
    long groups = p->matrix->columns / GROUP, blocks = (p->matrix->rows + LANES - 1) / LANES;
    uint8_t *codes = aligned_alloc(64, 2 * groups * (512 + 64));
    if (!codes) {
        p->failed = 1;
        return;
    }
    float *scales = (float *)(codes + 2 * groups * 512);
    memset(codes, 0, 2 * groups * (512 + 64));
    for (long pair = first; pair < last; pair++) {
        for (long i = 0; i < 2 && 2 * pair + i < blocks; i++)
            unpack_block(p->matrix, 2 * pair + i, codes + i * groups * 512, scales + i * groups * LANES);
        long token = 0;
        for (; token + WIDE <= p->tokens; token += WIDE) two_blocks(p, codes, scales, 2 * pair, token, WIDE);
        for (; token + 2 <= p->tokens; token += 2) two_blocks(p, codes, scales, 2 * pair, token, 2);
        for (; token < p->tokens; token++) two_blocks(p, codes, scales, 2 * pair, token, 1);
    }
    free(codes);
}

/* `sum` gains a.b lane by lane; what is left behind the last 16 goes to the first lanes. */
INLINE v16f add_products(v16f sum, const float *a, const float *b, long count) {
    long i = 0;
    for (; i + 16 <= count; i += 16) sum = fma16(load16(a + i), load16(b + i), sum);
    if (i < count) {
        v16f last_a = all16(0), last_b = all16(0);
        memcpy(&last_a, a + i, 4 * (count - i));
        memcpy(&last_b, b + i, 4 * (count - i));
        sum += last_a * last_b;
    }
    return sum;
}

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

INLINE void whole_rows(const Product *p, long first, long last, const int format) {
    for (long row = first; row < last;) {
        int four = row + 4 <= last;
        for (long token = 0; token < p->tokens;)
            if (four && token + 4 <= p->tokens) whole_tile(p, row, 4, token, 4, format), token += 4;
            else if (four) whole_tile(p, row, 4, token++, 1, format);
            else whole_tile(p, row, 1, token++, 1, format);
        row += four ? 4 : 1;
    }
}

/* A block of 16 interleaved BF16 rows times `tile` tokens: even and odd columns are summed apart. */
INLINE void paired_rows(const Product *p, long block, long token, const int tile) {
    long rows = p->matrix->rows, columns = p->matrix->columns, pairs = (columns + 1) / 2;
    const uint8_t *weights = p->matrix->data + block * pairs * 64;
    v16f even[TILE], odd[TILE];
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) even[t] = odd[t] = all16(0);
    for (long i = 0; i < columns / 2; i++) {
        v16u both;
        memcpy(&both, weights + 64 * i, 64);
        v16f low = (v16f)(both << 16), high = (v16f)(both & 0xffff0000u);
#pragma GCC unroll 8
        for (int t = 0; t < tile; t++) {
            const float *x = p->x + (token + t) * columns + 2 * i;
            even[t] = fma16(low, all16(x[0]), even[t]), odd[t] = fma16(high, all16(x[1]), odd[t]);
        }
    }
    if (columns % 2) {
        v16u both;
        memcpy(&both, weights + 64 * (pairs - 1), 64);
        for (int t = 0; t < tile; t++)
            even[t] = fma16((v16f)(both << 16), all16(p->x[(token + t + 1) * columns - 1]), even[t]);
    }
    long count = rows - block * LANES < LANES ? rows - block * LANES : LANES;
#pragma GCC unroll 8
    for (int t = 0; t < tile; t++) {
        v16f sum = even[t] + odd[t];
        memcpy(p->out + (token + t) * rows + block * LANES, &sum, 4 * count);
    }
}

static void NAME(paired)(void *arguments, long first, long last) {
    const Product *p = arguments;
    for (long block = first; block < last; block++) {
        long token = 0;
        for (; token + TILE <= p->tokens; token += TILE) paired_rows(p, block, token, TILE);
        for (; token < p->tokens; token++) paired_rows(p, block, token, 1);
    }
}

static void NAME(whole)(void *arguments, long first, long last) {
    const Product *p = arguments;
    if (p->matrix->format == F16) whole_rows(p, first, last, F16);
    else whole_rows(p, first, last, F32);
}

INLINE v16f small16(const uint8_t *p, int is_signed) {
    v16c bytes;
    memcpy(&bytes, p, 16);
    v16i wide = __builtin_convertvector(bytes, v16i);
    return __builtin_convertvector(is_signed ? wide : wide & 255, v16f);
}

/* A block of 16 rows of a K matrix times `tile` tokens. */
INLINE void k_rows(const Product *p, long block, long token, const int tile, const int format) {
    long rows = p->matrix->rows, blocks = p->matrix->columns / 256, groups = p->matrix->columns / GROUP;
    const uint8_t *at = p->matrix->data + block * blocks * k_bytes(format);
    v16f sums[4];
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++) sums[t] = all16(0);
    for (long g = 0; g < groups; g++, at += k_group(format)) {
        v16f d, minimum = all16(0);
        const uint8_t *head = at - g % 8 * k_group(format);
        if (g % 8 == 0) at += k_head(format);
        else head -= k_head(format);
        d = half16((const uint16_t *)head);
        if (format != Q6_K) minimum = half16((const uint16_t *)(head + 32)) * small16(at + 16, 0);
        v16f scale = d * small16(at, format == Q6_K), other = d * small16(at + 16, 1);
        v16u w[8];
        if (format != Q4_K) memcpy(w, at + 32, 512);
        else
            for (int j = 0; j < 4; j++) {
                v16u both;
                memcpy(&both, at + 32 + 64 * j, 64);
                w[j] = both & 0x0f0f0f0fu, w[j + 4] = both >> 4 & 0x0f0f0f0fu;
            }
#pragma GCC unroll 4
        for (int t = 0; t < tile; t++) {
            long place = (token + t) * groups + g;
            const int32_t *halves = p->halves + 2 * place;
            float of_x = p->scales[place];
            int32_t x[8];
            memcpy(x, p->codes + place * GROUP, 32);
            v16i low = (v16i){0}, high = low;
            if (format == Q6_K) low -= 32 * halves[0], high -= 32 * halves[1];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) low = dot4(low, (v16i)w[j], x[j]), high = dot4(high, (v16i)w[j + 4], x[j + 4]);
            if (format == Q6_K)
                sums[t] += (__builtin_convertvector(low, v16f) * scale + __builtin_convertvector(high, v16f) * other) * of_x;
            else
                sums[t] += (__builtin_convertvector(low + high, v16f) * scale -
                            minimum * (float)(halves[0] + halves[1])) * of_x;
        }
    }
    long count = rows - block * LANES < LANES ? rows - block * LANES : LANES;
#pragma GCC unroll 4
    for (int t = 0; t < tile; t++) memcpy(p->out + (token + t) * rows + block * LANES, &sums[t], 4 * count);
}

INLINE void k_blocks_of(const Product *p, long first, long last, const int format) {
    for (long block = first; block < last; block++) {
        long token = 0;
        for (; token + 4 <= p->tokens; token += 4) k_rows(p, block, token, 4, format);
        for (; token < p->tokens; token++) k_rows(p, block, token, 1, format);
    }
}

static void NAME(k_blocks)(void *arguments, long first, long last) {
    const Product *p = arguments;
    if (p->matrix->format == Q4_K) k_blocks_of(p, first, last, Q4_K);
    else if (p->matrix->format == Q5_K) k_blocks_of(p, first, last, Q5_K);
    else k_blocks_of(p, first, last, Q6_K);
}

/* Returns 0, or 1 where memory for the rounded activations is lacking. */
OP(linear) {
    int format = s[0].i;
    long rows = s[1].i, columns = s[2].i, tokens = s[5].i;
    Matrix matrix = {format, rows, columns, s[3].p};
    Product product = {&matrix, s[4].p, s[6].p, tokens, 0, 0, 0, 0, 0};
    if (format == BF16) {
        bezel_parallel(NAME(paired), &product, (rows + LANES - 1) / LANES);
        return 0;
    }
    if (format == F32 || format == F16) {
        bezel_parallel(NAME(whole), &product, rows);
        return 0;
    }
    long groups = tokens * (columns / GROUP);
    uint8_t *memory = malloc(groups * (GROUP + 16) + 1);
    if (!memory) return 1;
    product.scales = (float *)memory;
    product.offsets = (int32_t *)(memory + 4 * groups);
    product.halves = (int32_t *)(memory + 8 * groups);
    product.codes = (int8_t *)(memory + 16 * groups);
    bezel_parallel(NAME(round_rows), &product, tokens);
    long blocks = (rows + LANES - 1) / LANES;
    if (is_k(format)) bezel_parallel(NAME(k_blocks), &product, blocks);
    else if (tokens < WIDE) bezel_parallel(NAME(grouped), &product, blocks);
    else bezel_parallel(NAME(many_tokens), &product, (blocks + 1) / 2);
    free(memory);
    return product.failed;
}

OP(embed) {
    int format = s[0].i;
    long columns = s[1].i, count = s[4].i;
    const uint8_t *data = s[2].p;
    const int32_t *ids = s[3].p;
    float scale = s[5].f, *out = s[6].p;
    for (long i = 0; i < count; i++, out += columns) {
        long row = ids[i], lane = row % LANES;
        if (format == BF16) {
            for (long c = 0; c < columns; c++) {
                uint16_t half;
                memcpy(&half, data + pair_place(row, c, columns), 2);
                uint32_t bits = (uint32_t)half << 16;
                memcpy(out + c, &bits, 4);
            }
        } else if (is_k(format)) {
            for (long c = 0; c < columns; c++) out[c] = k_weight(format, data, row, c, columns);
        } else if (format == F32) {
            memcpy(out, data + 4 * row * columns, 4 * columns);
        } else if (format == F16) {
            for (long c = 0; c < columns; c++) out[c] = half_at(data + 2 * (row * columns + c));
        } else {
            const uint8_t *group = data + row / LANES * (columns / GROUP) * group_bytes(format);
            for (long c = 0; c < columns; c++) {
                long k = c % GROUP;
                if (c && !k) group += group_bytes(format);
                const uint8_t *codes = group + 32 + lane * 4;
                int code = format == Q8_0 ? codes[k / 4 * 64 + k % 4] - 128
                                          : (codes[k % 16 / 4 * 64 + k % 4] >> (k / 16 * 4) & 15) - 8;
                out[c] = (float)code * half_at(group + 2 * lane);
            }
        }
        for (long c = 0; c < columns; c++) out[c] *= scale;
    }
    return 0;
}

/* out = the named rows of x. */
OP(rows) {
    const float *x = s[0].p;
    const int32_t *index = s[1].p;
    long count = s[2].i, n = s[3].i;
    for (long i = 0; i < count; i++) memcpy((float *)s[4].p + i * n, x + index[i] * n, 4 * n);
    return 0;
}

OP(add) {
    float *sum = s[0].p;
    const float *x = s[1].p;
    for (long i = 0; i < s[2].i; i++) sum[i] += x[i];
    return 0;
}

/* ---- norms ---- */

INLINE float inverse_root(const float *x, long n, float eps) {
    return 1.0f / sqrtf(sum16(add_products(all16(0), x, x, n)) / (float)n + eps);
}

typedef struct {
    const float *x, *weight;
    float *out;
    long n;
    float eps;
    int add;
} Norm;

static void NAME(norm_rows)(void *arguments, long first, long last) {
    const Norm *a = arguments;
    for (long row = first; row < last; row++) {
        const float *x = a->x + row * a->n;
        float *out = a->out + row * a->n, scale = inverse_root(x, a->n, a->eps);
        for (long i = 0; i < a->n; i++) {
            float normed = a->weight ? x[i] * scale * a->weight[i] : x[i] * scale;
            out[i] = a->add ? out[i] + normed : normed;
        }
    }
}

OP(rms_norm) {
    long rows = s[2].i;
    Norm norm = {s[0].p, s[1].p, s[5].p, s[3].i, s[4].f, s[6].i};
    if (rows * norm.n < SMALL) NAME(norm_rows)(&norm, 0, rows);
    else bezel_parallel(NAME(norm_rows), &norm, rows);
    return 0;
}

typedef struct {
    float *x;
    const float *weight, *cosine, *sine;
    const int32_t *positions;
    long stride, heads, n;
    float eps;
} NormRope;

static void NAME(norm_rope_tokens)(void *arguments, long first, long last) {
    const NormRope *a = arguments;
    long n = a->n, half = n / 2;
    for (long token = first; token < last; token++) {
        const float *c = a->cosine + a->positions[token] * half, *s = a->sine + a->positions[token] * half;
        for (long head = 0; head < a->heads; head++) {
            float *x = a->x + token * a->stride + head * n;
            Norm norm = {x, a->weight, x, n, a->eps, 0};
            if (a->weight) NAME(norm_rows)(&norm, 0, 1);
            for (long i = 0; i < half; i++) {
                float first_half = x[i], second_half = x[i + half];
                x[i] = first_half * c[i] - second_half * s[i];
                x[i + half] = second_half * c[i] + first_half * s[i];
            }
        }
    }
}

OP(norm_rope) {
    long tokens = s[3].i;
    NormRope a = {s[0].p, s[2].p, s[7].p, s[8].p, s[9].p, s[1].i, s[4].i, s[5].i, s[6].f};
    if (tokens * a.heads * a.n < SMALL) NAME(norm_rope_tokens)(&a, 0, tokens);
    else bezel_parallel(NAME(norm_rope_tokens), &a, tokens);
    return 0;
}

/* ---- attention ---- */

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

/* ---- element by element ---- */

typedef struct {
    const float *gate_up;
    long n;
    float *out;
} Geglu;

/* Parallel over rows cut into strips of 16. */
static void NAME(geglu_strips)(void *arguments, long first, long last) {
    const Geglu *a = arguments;
    long strips = (a->n + LANES - 1) / LANES;
    for (long strip = first; strip < last;) {
        long row = strip / strips, end = (row + 1) * strips < last ? (row + 1) * strips : last;
        const float *gates = a->gate_up + row * 2 * a->n, *ups = gates + a->n;
        for (; strip < end; strip++) {
            long i = (strip - row * strips) * LANES, count = a->n - i < LANES ? a->n - i : LANES;
            v16f gate = all16(0), up = all16(0);
            if (count == LANES) gate = load16(gates + i), up = load16(ups + i);
            else memcpy(&gate, gates + i, 4 * count), memcpy(&up, ups + i, 4 * count);
            v16f twice = 1.5957691216f * (gate + 0.044715f * gate * gate * gate);
            v16f result = gate / (1.0f + exp16(-twice)) * up;
            memcpy(a->out + row * a->n + i, &result, 4 * count);
        }
    }
}

OP(geglu) {
    long rows = s[1].i, n = s[2].i;
    Geglu arguments = {s[0].p, n, s[3].p};
    long strips = rows * ((n + LANES - 1) / LANES);
    if (strips * LANES < SMALL / 4) NAME(geglu_strips)(&arguments, 0, strips);
    else bezel_parallel(NAME(geglu_strips), &arguments, strips);
    return 0;
}

OP(soft_cap) {
    float *x = s[0].p, cap = s[2].f;
    for (long i = 0; i < s[1].i; i++) x[i] = cap * tanhf(x[i] / cap);
    return 0;
}

/* ---- the machine's limit ---- */

static void NAME(read_part)(void *arguments, long first, long last) {
    const uint8_t *data = arguments;
    v16u found[4] = {0};
    for (long i = first; i < last; i++)
        for (int j = 0; j < 4; j++) {
            v16u next;
            memcpy(&next, data + 256 * i + 64 * j, 64);
            found[j] |= next;
        }
    found[0] |= found[1] | found[2] | found[3];
    __asm__ volatile("" : : "m"(found[0]));
}

OP(read) {
    bezel_parallel(NAME(read_part), s[0].p, s[1].i / 256);
    return 0;
}
