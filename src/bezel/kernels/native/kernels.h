/* Every kernel, once per instruction set: the including file gives NAME, dot4 and half16.
   What each computes is stated in kernels/interface.py and defined by kernels/reference.py.

   Q4_0 and Q8_0 rows are interleaved by 16: a group of 32 columns of 16 rows is 16 float16 scales, then chunks of
   64 bytes, each holding 4 consecutive columns of the 16 rows (for Q4_0 in the low halves, and the 4 columns that
   lie 16 further in the high halves). Codes are unsigned; the offset is taken off again with the sum of x. */

#include "pool.h"

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q8_0 = 8, Q4_K = 12, Q5_K = 13, Q6_K = 14, BF16 = 30 };
enum { GROUP = 32, LANES = 16, TILE = 8, CHUNK = 256 };

typedef struct {
    int format;
    long rows, columns;
    uint8_t *data;
} Matrix;

INLINE long group_bytes(int format) { return format == Q8_0 ? 32 + 512 : 32 + 256; }

/* ---- packing ---- */

EXPORT void NAME(store)(int format, long columns, uint8_t *data, long first, long count, const uint8_t *raw) {
    long groups = columns / GROUP, size = group_bytes(format), codes = format == Q8_0 ? 32 : 16;
    for (long i = 0; i < count; i++) {
        long row = first + i, lane = row % LANES;
        for (long g = 0; g < groups; g++) {
            uint8_t *group = data + (row / LANES * groups + g) * size;
            memcpy(group + 2 * lane, raw, 2);
            for (long c = 0; c < codes; c++)
                group[32 + c / 4 * 64 + lane * 4 + c % 4] = format == Q8_0 ? raw[2 + c] ^ 128 : raw[2 + c];
            raw += 2 + codes;
        }
    }
}

/* ---- widening ---- */

INLINE float half_at(const uint8_t *p) {
    uint16_t bits;
    memcpy(&bits, p, 2);
    return half_to_float(bits);
}

INLINE void k_scale(const uint8_t *packed, int i, float *scale, float *minimum) {
    if (i < 4) *scale = packed[i] & 63, *minimum = packed[i + 4] & 63;
    else
        *scale = (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4, *minimum = packed[i + 4] >> 4 | packed[i] >> 6 << 4;
}

/* Columns [start, start + count) of one row in GGUF layout; start is a multiple of CHUNK, count at most CHUNK. */
static void NAME(widen)(int format, const uint8_t *row, long start, long count, float *out) {
    if (format == F32) {
        memcpy(out, row + 4 * start, 4 * count);
    } else if (format == F16) {
        for (long i = 0; i < count; i++) out[i] = half_at(row + 2 * (start + i));
    } else if (format == BF16) {
        for (long i = 0; i < count; i++) {
            uint32_t bits = (uint32_t)row[2 * (start + i)] << 16 | (uint32_t)row[2 * (start + i) + 1] << 24;
            memcpy(out + i, &bits, 4);
        }
    } else if (format == Q6_K) {
        const uint8_t *b = row + start / 256 * 210;
        float d = half_at(b + 208);
        for (int i = 0; i < 256; i++) {
            int part = i / 128, quarter = i % 128 / 32, at = i % 32;
            int low = b[part * 64 + quarter % 2 * 32 + at] >> (quarter / 2 * 4) & 15;
            int high = b[128 + part * 32 + at] >> (2 * quarter) & 3;
            out[i] = (d * (float)(int8_t)b[192 + i / 16]) * (float)((low | high << 4) - 32);
        }
    } else {
        const uint8_t *b = row + start / 256 * (format == Q4_K ? 144 : 176), *codes = b + (format == Q4_K ? 16 : 48);
        float d = half_at(b), d_minimum = half_at(b + 2);
        for (int g = 0; g < 8; g++) {
            float scale, minimum;
            k_scale(b + 4, g, &scale, &minimum);
            for (int i = 0; i < 32; i++) {
                int code = codes[g / 2 * 32 + i] >> (g % 2 * 4) & 15;
                if (format == Q5_K) code |= (b[16 + i] >> g & 1) << 4;
                out[g * 32 + i] = (d * scale) * (float)code - d_minimum * minimum;
            }
        }
    }
}

INLINE long row_bytes(int format, long columns) {
    switch (format) {
    case F32: return 4 * columns;
    case Q4_K: return columns / 256 * 144;
    case Q5_K: return columns / 256 * 176;
    case Q6_K: return columns / 256 * 210;
    default: return 2 * columns;
    }
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
} Product;

static void NAME(round_rows)(void *arguments, long first, long last) {
    Product *p = arguments;
    long groups = p->matrix->columns / GROUP;
    int offset = p->matrix->format == Q8_0 ? 128 : 8;
    for (long i = first * groups; i < last * groups; i++) {
        const float *x = p->x + i * GROUP;
        float largest = 0;
        for (int k = 0; k < GROUP; k++) largest = fabsf(x[k]) > largest ? fabsf(x[k]) : largest;
        float inverse = largest > 0 ? 127.0f / largest : 0;
        v16f magic = all16(12582912.0f); /* adding it rounds half to even */
        int32_t sum = 0, codes[GROUP];
        for (int k = 0; k < GROUP; k += 16) {
            v16i code = __builtin_convertvector((load16(x + k) * inverse + magic) - magic, v16i);
            memcpy(codes + k, &code, 64);
        }
        for (int k = 0; k < GROUP; k++) p->codes[i * GROUP + k] = (int8_t)codes[k], sum += codes[k];
        p->scales[i] = largest / 127.0f;
        p->offsets[i] = sum * offset;
    }
}

INLINE void sixteen_rows(const Product *p, long block, long token, const int tile, const int format) {
    long rows = p->matrix->rows, groups = p->matrix->columns / GROUP, size = group_bytes(format);
    const uint8_t *group = p->matrix->data + block * groups * size;
    v16f sums[TILE];
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
            v16i dot = (v16i){0} - p->offsets[at];
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
                if (left >= TILE) sixteen_rows(p, block, token, TILE, Q8_0), token += TILE;
                else if (left >= 2) sixteen_rows(p, block, token, 2, Q8_0), token += 2;
                else sixteen_rows(p, block, token, 1, Q8_0), token++;
            } else {
                if (left >= TILE) sixteen_rows(p, block, token, TILE, Q4_0), token += TILE;
                else if (left >= 2) sixteen_rows(p, block, token, 2, Q4_0), token += 2;
                else sixteen_rows(p, block, token, 1, Q4_0), token++;
            }
        }
}

/* `sum` gains a.b lane by lane; what is left behind the last 16 goes to the first lanes. */
INLINE v16f add_products(v16f sum, const float *a, const float *b, long count) {
    long i = 0;
    for (; i + 16 <= count; i += 16) sum += load16(a + i) * load16(b + i);
    if (i < count) {
        v16f last_a = all16(0), last_b = all16(0);
        memcpy(&last_a, a + i, 4 * (count - i));
        memcpy(&last_b, b + i, 4 * (count - i));
        sum += last_a * last_b;
    }
    return sum;
}

static void NAME(widened)(void *arguments, long first, long last) {
    const Product *p = arguments;
    long columns = p->matrix->columns, stride = row_bytes(p->matrix->format, columns);
    float w[CHUNK];
    for (long row = first; row < last; row++)
        for (long token = 0; token < p->tokens; token += TILE) {
            int tile = p->tokens - token < TILE ? (int)(p->tokens - token) : TILE;
            v16f sums[TILE];
            for (int t = 0; t < tile; t++) sums[t] = all16(0);
            for (long start = 0; start < columns; start += CHUNK) {
                long count = columns - start < CHUNK ? columns - start : CHUNK;
                NAME(widen)(p->matrix->format, p->matrix->data + row * stride, start, count, w);
                for (int t = 0; t < tile; t++)
                    sums[t] = add_products(sums[t], w, p->x + (token + t) * columns + start, count);
            }
            for (int t = 0; t < tile; t++) p->out[(token + t) * p->matrix->rows + row] = sum16(sums[t]);
        }
}

/* Returns 0, or 1 where memory for the rounded activations is lacking. */
EXPORT int NAME(linear)(int format, long rows, long columns, uint8_t *data, const float *x, long tokens, float *out) {
    Matrix matrix = {format, rows, columns, data};
    Product product = {&matrix, x, out, tokens, 0, 0, 0};
    if (format != Q4_0 && format != Q8_0) {
        bezel_parallel(NAME(widened), &product, rows);
        return 0;
    }
    long groups = tokens * (columns / GROUP);
    uint8_t *memory = malloc(groups * (GROUP + 8) + 1);
    if (!memory) return 1;
    product.scales = (float *)memory;
    product.offsets = (int32_t *)(memory + 4 * groups);
    product.codes = (int8_t *)(memory + 8 * groups);
    bezel_parallel(NAME(round_rows), &product, tokens);
    bezel_parallel(NAME(grouped), &product, (rows + LANES - 1) / LANES);
    free(memory);
    return 0;
}

EXPORT void NAME(embed)(int format, long columns, const uint8_t *data, const int32_t *ids, long count, float scale,
                        float *out) {
    for (long i = 0; i < count; i++, out += columns) {
        long row = ids[i], lane = row % LANES;
        if (format != Q4_0 && format != Q8_0) {
            for (long start = 0; start < columns; start += CHUNK)
                NAME(widen)(format, data + row * row_bytes(format, columns), start,
                            columns - start < CHUNK ? columns - start : CHUNK, out + start);
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
}

/* ---- norms ---- */

INLINE float inverse_root(const float *x, long n, float eps) {
    return 1.0f / sqrtf(sum16(add_products(all16(0), x, x, n)) / (float)n + eps);
}

EXPORT void NAME(rms_norm)(const float *x, const float *weight, long rows, long n, float eps, float *out, int add) {
    for (long row = 0; row < rows; row++, x += n, out += n) {
        float scale = inverse_root(x, n, eps);
        for (long i = 0; i < n; i++) {
            float normed = weight ? x[i] * scale * weight[i] : x[i] * scale;
            out[i] = add ? out[i] + normed : normed;
        }
    }
}

EXPORT void NAME(norm_rope)(float *x, const float *weight, long tokens, long heads, long n, float eps,
                            const float *cosine, const float *sine, const int32_t *positions) {
    long half = n / 2;
    for (long token = 0; token < tokens; token++) {
        const float *c = cosine + positions[token] * half, *s = sine + positions[token] * half;
        for (long head = 0; head < heads; head++, x += n) {
            if (weight) NAME(rms_norm)(x, weight, 1, n, eps, x, 0);
            for (long i = 0; i < half; i++) {
                float first = x[i], second = x[i + half];
                x[i] = first * c[i] - second * s[i];
                x[i + half] = second * c[i] + first * s[i];
            }
        }
    }
}

/* ---- attention ---- */

enum { MOST_SLOTS = 256, MOST_HEAD = 1024 };

typedef struct {
    const float *q, *keys, *values;
    const int32_t *const *tables; /* one a row */
    const int32_t *positions;
    long heads, kv_heads, head_dim, block_size, window;
    float scale, cap;
    float *out;
} Attention;

static void NAME(attend)(void *arguments, long first, long last) {
    const Attention *a = arguments;
    long n = a->head_dim, stride = a->kv_heads * n;
    for (long item = first; item < last; item++) {
        long row = item / a->heads, kv_head = item % a->heads / (a->heads / a->kv_heads);
        long end = a->positions[row] + 1, start = a->window && end > a->window ? end - a->window : 0;
        const float *q = a->q + item * n;
        float sums[MOST_HEAD] = {0}, scores[MOST_SLOTS + LANES], largest = -INFINITY, total = 0;
        for (long block = start / a->block_size; block * a->block_size < end; block++) {
            long base = block * a->block_size;
            long low = start > base ? start - base : 0, high = end - base < a->block_size ? end - base : a->block_size;
            long at = (a->tables[row][block] * a->block_size * a->kv_heads + kv_head) * n;
            const float *keys = a->keys + at, *values = a->values + at;
            float new_largest = largest;
            for (long j = low; j < high; j++)
                scores[j] = sum16(add_products(all16(0), q, keys + j * stride, n)) * a->scale;
            if (a->cap > 0)
                for (long j = low; j < high; j++) scores[j] = a->cap * tanhf(scores[j] / a->cap);
            for (long j = low; j < high; j++) new_largest = scores[j] > new_largest ? scores[j] : new_largest;
            float keep = exp16(all16(largest - new_largest))[0];
            for (long j = low; j < high; j += LANES) store16(scores + j, exp16(load16(scores + j) - new_largest));
            total *= keep;
            for (long i = 0; i < n; i++) sums[i] *= keep;
            for (long j = low; j < high; j++) {
                const float *v = values + j * stride;
                total += scores[j];
                for (long i = 0; i < n; i++) sums[i] += scores[j] * v[i];
            }
            largest = new_largest;
        }
        for (long i = 0; i < n; i++) a->out[item * n + i] = sums[i] / total;
    }
}

EXPORT void NAME(attention)(const float *q, const float *keys, const float *values, const int32_t *const *tables,
                            const int32_t *positions, long tokens, long heads, long kv_heads, long head_dim,
                            long block_size, long window, float scale, float cap, float *out) {
    Attention attention = {q,        keys,       values, tables, positions, heads,
                           kv_heads, head_dim, block_size, window, scale,  cap, out};
    bezel_parallel(NAME(attend), &attention, tokens * heads);
}

/* ---- element by element ---- */

EXPORT void NAME(geglu)(const float *gate_up, long rows, long n, float *out) {
    for (long row = 0; row < rows; row++, gate_up += 2 * n, out += n)
        for (long i = 0; i < n; i += LANES) {
            long count = n - i < LANES ? n - i : LANES;
            v16f gate = all16(0), up = all16(0);
            memcpy(&gate, gate_up + i, 4 * count);
            memcpy(&up, gate_up + n + i, 4 * count);
            v16f twice = 1.5957691216f * (gate + 0.044715f * gate * gate * gate);
            v16f result = gate / (1.0f + exp16(-twice)) * up;
            memcpy(out + i, &result, 4 * count);
        }
}

EXPORT void NAME(soft_cap)(float *x, long count, float cap) {
    for (long i = 0; i < count; i++) x[i] = cap * tanhf(x[i] / cap);
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

EXPORT void NAME(read)(void *data, long bytes) { bezel_parallel(NAME(read_part), data, bytes / 256); }
